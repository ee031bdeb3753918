"""`--ci`: what a step of a job learns from `deploy run` and `run wait`, and when, whatever a server has written."""

import io
import json
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qoder_cli.app import App
from qoder_cli.base.errors import QoderError, ReaderGone, RunFailed, Signalled
from qoder_cli.base.model import Run
from qoder_cli.cli.ci import Ci
from qoder_cli.output.screen import Screen
from qoder_cli.runs.ending import Ended
from qoder_cli.sandbox.world import World
from tests.conftest import Qoder, examples
from tests.support.inprocess import WorldTransport
from tests.support.lies import Lies
from tests.support.one_run import DONE, EVENTS, LEGACY, RUN, TRIGGER, WORK
from tests.support.result import END, says
from tests.support.wire import FakeClock, api_error, page

RUN_1 = ("deploy", "run", "dep_1", "--ci")
FAILED = {**LEGACY, "status": "failed", "session_id": None, "error": {"type": "x", "message": "5% |"}}
TOLD = {"run_id": "drun_1", "session_id": "sess_1", "status": "running"}


@pytest.fixture
def output(qoder: Qoder, tmp_path: Path) -> Path:
    """Return the file that GitHub Actions reads a step's outputs from."""
    qoder.env |= {"GITHUB_ACTIONS": "true", "GITHUB_OUTPUT": str(tmp_path / "output")}
    return tmp_path / "output"


@pytest.fixture
def world(qoder: Qoder, world: World) -> World:
    """Return a world whose streams let no time pass."""
    qoder.clock.patience = 0.005
    return world


def outputs_of(file: Path) -> list[tuple[str, str]]:
    """Return the outputs that the runner reads from its file, in their order; some have several lines."""
    found, lines = [], iter(file.read_text().splitlines())
    for line in lines:
        name, sign, value = re.split("(=|<<)", line, maxsplit=1)
        if sign == "<<":
            value = "\n".join(iter(lambda: next(lines), value))
        found.append((name, value))
    return found


def read(file: Path) -> dict[str, str]:
    return dict(outputs_of(file))


def arrays(output: Path) -> dict[str, Any]:
    return {name: json.loads(value) for name, value in read(output).items()}


def elsewhere(qoder: Qoder) -> None:
    """Go to another machine, to which the same run can be new."""
    qoder.env["QODER_STATE_DIR"] += "-of-another"


# One run.


@pytest.mark.parametrize("format", ["table", "json", "jsonl", "id"])
def test_deploy_run_ci_tells_of_the_run_before_and_after_the_wait(qoder: Qoder, output: Path, format: str) -> None:
    told: list[dict[str, str]] = []

    def answer(request: httpx.Request) -> Any:
        told.append(read(output) if output.exists() else {})
        return DONE

    qoder.wire.on(*TRIGGER, LEGACY, LEGACY).on(*RUN, answer, repeat=True)
    qoder.wire.on(*EVENTS, *[page(*WORK, END), page(END)] * 2)
    plain = qoder("deploy", "run", "dep_1", "--wait", "-o", format)
    assert not output.exists(), "only when it is asked for"
    elsewhere(qoder)
    ran = qoder(*RUN_1, "--wait", "-o", format)
    assert (ran.code, ran.out) == (0, plain.out)
    assert "::" not in ran.err
    qoder("run", "wait", "drun_1", "--ci")
    ids = {"run_id": "drun_1", "session_id": "sess_1"}
    assert told == [{}, ids, {**read(output), "session_id": ""}]
    assert read(output) == {**ids, "status": "completed", "exit_code": "0"}


@pytest.mark.parametrize("words", [(), ("--wait",), ("--wait", "--result")])
def test_deploy_run_ci_annotates_a_failure_before_the_error(qoder: Qoder, output: Path, words: tuple[str, ...]) -> None:
    qoder.wire.on(*TRIGGER, FAILED, FAILED)
    assert "::" not in qoder("deploy", "run", "dep_1", *words).err
    assert not output.exists()
    elsewhere(qoder)
    ran = qoder(*RUN_1, "--json", "--no-progress", *words)
    annotation, _ = ran.err.splitlines()
    title = "::error title=qoder%3A run_failed%2C exit code 1::run drun_1 did not start (x): 5%25 |"
    assert annotation.startswith(title)
    assert annotation.endswith(": qoder deploy check dep_1 --no-progress -o json")
    assert (ran.code, ran.error["type"], ran.json["status"]) == (1, "run_failed", "failed")
    assert (read(output)["status"], read(output)["exit_code"]) == ("failed", "1")


SKIPPED = {**LEGACY, "status": "skipped", "session_id": None}
ENDS: dict[str, tuple[list[Any], str, int, dict[str, str]]] = {
    # What answers the start, options, exit code, and what the job learns.
    "without waiting": ([LEGACY], "", 0, TOLD),
    "a timeout": ([LEGACY], "--wait --timeout 1s", 124, TOLD),
    "skipped": ([SKIPPED], "", 3, {"run_id": "drun_1", "session_id": "", "status": "skipped"}),
    "skipped, awaited, which is ok": ([SKIPPED], "--wait --on-skip ok", 0, {"status": "skipped"}),
    "404": ([api_error(404, "not_found_error", "no")], "--wait", 5, {"run_id": "", "status": "not_found"}),
    "403": ([api_error(403, "permission_error", "no")], "--wait", 4, {"run_id": "", "status": "auth"}),
    "one was going": ([], "--if-idle", 3, TOLD),
    "one was going, which is ok": ([], "--if-idle --on-skip ok", 0, {"run_id": "", "status": "not_started"}),
}


@pytest.mark.parametrize("name", ENDS)
def test_deploy_run_ci_tells_how_it_ended(qoder: Qoder, output: Path, name: str) -> None:
    answers, options, code, told = ENDS[name]
    qoder.wire.on(*TRIGGER, *answers).may(*RUN, LEGACY).may("GET", "/deployments", page())
    qoder.wire.may("GET", "/deployments/dep_1/runs", page(LEGACY))
    ran = qoder(*RUN_1, *options.split())
    assert ran.code == code
    assert read(output) | told | {"exit_code": str(code)} == read(output)
    assert ("::error" in ran.err) is bool(code)


STOPS: list[tuple[BaseException, int]] = [
    *((Signalled(signal.SIGINT), 130), (Signalled(signal.SIGTERM), 143), (ReaderGone(), 141)),
    (ValueError("a bug"), 70),
]


@pytest.mark.parametrize(("failure", "code"), STOPS, ids=["130", "143", "141", "70"])
def test_deploy_run_ci_tells_of_the_run_whatever_stops_it(
    qoder: Qoder, output: Path, failure: BaseException, code: int
) -> None:
    def stop() -> None:
        raise failure

    qoder.clock.at_sleep = stop
    qoder.wire.on(*TRIGGER, LEGACY).on(*RUN, LEGACY)
    ran = qoder(*RUN_1, "--wait")
    assert ran.code == code
    assert read(output) == {**TOLD, "exit_code": str(code)}
    assert ("::error" in ran.err) is (code != 141)


def test_deploy_run_ci_tells_of_a_signal_that_came_when_all_was_printed(
    qoder: Qoder, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def stopped_behind(app: object) -> Iterator[None]:
        yield
        raise Signalled(signal.SIGTERM)

    monkeypatch.setattr("qoder_cli.cli.main._notifying", stopped_behind)
    qoder.wire.on(*TRIGGER, LEGACY).on(*RUN, DONE)
    ran = qoder(*RUN_1, "--wait")
    assert (ran.code, read(output)["exit_code"], "a bug" in ran.err) == (143, "143", False)


def test_deploy_run_ci_tells_of_a_run_that_only_the_error_knows_and_of_an_adopted_one(
    qoder: Qoder, output: Path, world: World
) -> None:
    transport = qoder.transport = WorldTransport(world, faults=Lies("trigger:drop-after"), sleep=qoder.clock.sleep)
    ran = qoder("deploy", "run", "dep_demo", "--wait", "--json", "--ci")
    assert (ran.code, ran.json["adopted"], read(output)["run_id"]) == (0, True, ran.json["id"])
    transport.faults.add("trigger:drop-before")
    assert qoder("deploy", "run", "dep_demo", "--wait", "--ci").code == 9
    assert (read(output)["run_id"], read(output)["status"]) == ("", "outcome_unknown")
    qoder.transport = qoder.wire
    qoder.wire.on(*TRIGGER, LEGACY).on(*RUN, api_error(404, "not_found_error", "Gone."))
    assert qoder(*RUN_1, "--idempotency-key", "night-1").code == 0
    qoder.clock.time += 3600
    assert qoder(*RUN_1, "--idempotency-key", "night-1").code == 10
    assert (read(output)["run_id"], read(output)["status"]) == ("drun_1", "lost_sight")


MESSAGES = {
    "All done.": ["All done."],
    "All done.\nrun_id=drun_9\n": ["All done.\nrun_id=drun_9\n"],
    "x" * 10_001: ["x" * 10_000],
    "": [],
}


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message[:10])
def test_run_wait_ci_has_the_final_message_as_an_output(qoder: Qoder, output: Path, message: str) -> None:
    qoder.wire.on(*RUN, DONE).on(*EVENTS, page(*WORK, END), page(END, says(message)))
    assert qoder("run", "wait", "drun_1", "--ci").code == 0
    outputs = outputs_of(output)
    assert [value for name, value in outputs if name == "result"] == MESSAGES[message]
    assert ("run_id", "drun_1") in outputs


def test_run_wait_ci_warns_of_a_final_message_that_cannot_be_read(qoder: Qoder, output: Path) -> None:
    qoder.wire.on(*RUN, DONE).on(*EVENTS, api_error(403, "permission_error", "no"))
    ran = qoder("run", "wait", "drun_1", "--ci")
    assert ran.code == 0
    assert ran.err.count("warning: --ci: cannot read the final message: ") == 1
    assert "result" not in read(output)


@pytest.mark.parametrize("line", ["dep_1 --dry-run", "dep_1 --nonsense", "dep_1 dep_2 --dry-run"])
def test_deploy_run_ci_tells_nothing_of_what_was_not_tried(qoder: Qoder, output: Path, line: str) -> None:
    qoder.wire.may("GET", "/deployments/dep_1", {"id": "dep_1", "status": "active"})
    qoder.wire.may("GET", "/deployments/dep_2", {"id": "dep_2", "status": "active"})
    assert qoder("deploy", "run", *line.split(), "--ci").code == (2 if "nonsense" in line else 0)
    assert not output.exists()


@pytest.mark.parametrize("mistake", ["--on-leave=keep", "--parallel=x", "--keys=foo", "--timeout=soon"])
def test_deploy_run_ci_tells_of_a_mistake_in_an_option_wherever_it_stands(
    qoder: Qoder, output: Path, mistake: str
) -> None:
    for words in (("--ci", mistake), (mistake, "--ci")):
        ran = qoder("deploy", "run", "dep_1", "--wait", *words)
        annotation, error, _ = ran.err.splitlines()
        assert (ran.code, annotation.startswith("::error title=qoder%3A usage%2C exit code 2::")) == (2, True)
        assert error.removeprefix("error: ").partition("%")[0] in annotation
        assert read(output) == {"run_id": "", "session_id": "", "status": "usage", "exit_code": "2"}
        output.unlink()


# Several.


def test_deploy_run_ci_of_several_tells_ids_and_the_exit_code(qoder: Qoder, output: Path, world: World) -> None:
    words = ("dep_demo", "dep_fail", "dep_paused", "dep_nostart")
    ran = qoder("deploy", "run", *words, "--wait", "--json", "--ci")
    assert ran.code == 6
    assert arrays(output) == {"run_ids": [item["id"] for item in ran.json], "exit_code": 6}
    assert ran.err.count("::error") == 1
    ids = [item["id"] for item in ran.json[:2]]
    output.unlink()
    assert qoder("run", "wait", *ids, "--ci").code == 1
    assert arrays(output) == {"run_ids": ids, "exit_code": 1}


@pytest.mark.parametrize("line", ["deploy run nope", "run wait nope@last"])
def test_deploy_run_ci_tells_why_there_is_no_run(qoder: Qoder, output: Path, world: World, line: str) -> None:
    assert qoder(*line.split(), "--ci").code == 5
    assert read(output) == {"run_id": "", "session_id": "", "status": "not_found", "exit_code": "5"}


@pytest.mark.parametrize("refused", ["dep_paused", "dep_nothere"])
def test_deploy_run_ci_tells_the_ids_of_several_before_the_wait_though_one_is_refused(
    qoder: Qoder, output: Path, world: World, refused: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    tell = Ci._announce

    def announce(ci: Ci) -> None:
        tell(ci)
        if output.exists():
            told.append(read(output)["run_ids"])

    monkeypatch.setattr(Ci, "_announce", announce)
    ran = qoder("deploy", "run", "dep_slow", "dep_minute", refused, "--wait", "--json", "--ci", "--parallel", "1")
    ids = [item["id"] for item in ran.json]
    assert ids[2] is None
    assert json.loads(told[-1]) == ids


# Elsewhere.


@pytest.mark.parametrize("env", [{}, {"GITHUB_ACTIONS": "false"}], ids=str)
def test_deploy_run_ci_warns_elsewhere_and_goes_on(qoder: Qoder, env: dict[str, str]) -> None:
    qoder.env |= env
    qoder.wire.on(*TRIGGER, FAILED)
    ran = qoder(*RUN_1, "--wait")
    assert ran.code == 1
    assert ran.err.startswith("warning: --ci has no effect: GitHub Actions was not detected\n")
    assert "::" not in ran.err


@pytest.mark.parametrize("place", ["a folder", "no/where", "\0", ""])
def test_deploy_run_ci_warns_once_of_a_file_that_cannot_be_written(
    qoder: Qoder, output: Path, tmp_path: Path, place: str
) -> None:
    (tmp_path / "a folder").mkdir()
    qoder.env["GITHUB_OUTPUT"] = place and str(tmp_path / place)
    qoder.wire.on(*TRIGGER, LEGACY)
    ran = qoder(*RUN_1, "-q")
    assert (ran.code, ran.out) == (0, "drun_1\n")
    assert ran.err.count("warning: --ci: cannot write GITHUB_OUTPUT: ") == ran.err.count("warning:") == 1


# What a server has written, and how much.


def here(env: dict[str, str], err: io.BytesIO | None = None) -> App:
    return App(env=env, out=Screen(io.BytesIO()), err=Screen(err or io.BytesIO()), clock=FakeClock())


EVIL = (
    "a|b `c` <script>x</script>\n::set-output name=run_id::x\r\n[l](https://x.example) ![i](//x) @all **b** \\| &lt; #1"
)


@examples(Fraction(2, 3))
@given(st.text(max_size=60) | st.just(EVIL))
@example("%0A::error::x")
@example("\x1b[31m\u202e\u2028")
def test_ci_lets_no_text_break_the_line(text: str) -> None:
    error = RunFailed(text, hint=f"{text}\n{text}")
    Ci(here({}, written := io.BytesIO()))._complain(error)
    line = written.getvalue().decode()
    assert line.count("\n") == 1
    assert line.startswith("::error title=qoder%3A run_failed%2C exit code 1::")


@examples(Fraction(2, 3))
@given(st.text() | st.sampled_from(["drun_1\nexit_code=0", "x y", "", "é", "-", "a" * 300, "a=b", "a<<b"]))
def test_ci_tells_no_id_or_status_that_is_no_plain_word(text: str) -> None:
    told: list[dict[str, Any]] = []

    def listen(_: Ci, values: dict[str, str]) -> None:
        told.append(values)

    with pytest.MonkeyPatch.context() as patched, Ci(here({"GITHUB_ACTIONS": "true"})) as ci:
        patched.setattr(Ci, "_set_changed", listen)
        ci.tracked.begun(text, text)
        ci.tracked.ended(Ended(text, Run({"id": text, "session_id": text, "status": text}), None))
    assert [values.keys() for values in told][:1] == [{"run_id", "session_id"}]
    for value in (value for values in told for value in values.values()):
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.@:-]*|", value)


def test_ci_keeps_its_file_small_however_many_there_are(tmp_path: Path) -> None:
    output = tmp_path / "output"
    app = here({"GITHUB_ACTIONS": "true", "GITHUB_OUTPUT": str(output)})
    with Ci(app) as ci:
        ci.tracked.typed = [f"dep_{number}" for number in range(1000)]
        for number in range(1000):
            ci.tracked.begun(f"drun_{number:032}", number=number)
            app.clock.sleep(0.05)  # 20 a second
        for number in range(1000):
            ci.tracked.ended(Ended("x", None, QoderError("|" * 5000)), number=number)
    assert output.stat().st_size < 2**22
