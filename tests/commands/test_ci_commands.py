"""`--ci` in the user's words: what a step of a job learns from `deploy run` and `run wait`, and when."""

import html
import io
import json
import re
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from qoder_cli.base.errors import Signalled
from qoder_cli.ci import Ci
from qoder_cli.output.screen import Screen
from qoder_cli.sandbox.faults import Faults
from qoder_cli.sandbox.wire import GENERATIONS
from qoder_cli.sandbox.world import World
from tests.conftest import TOKEN, Qoder
from tests.support.inprocess import WorldTransport
from tests.support.one_run import DONE, EVENTS, LEGACY, RUN, TRIGGER, WORK
from tests.support.result import END, says
from tests.support.wire import api_error, page


@pytest.fixture
def output(qoder: Qoder, tmp_path: Path) -> Path:
    """Return the file that GitHub Actions reads a step's outputs from."""
    qoder.env |= {
        "GITHUB_ACTIONS": "true",
        "GITHUB_OUTPUT": str(tmp_path / "output"),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
    }
    return tmp_path / "output"


@pytest.fixture(params=GENERATIONS)
def world(request: pytest.FixtureRequest, qoder: Qoder) -> World:
    """Return a world that the user is in."""
    made = World(clock=qoder.clock.now, generation=request.param, token=TOKEN, seed=7)
    qoder.transport = WorldTransport(made, sleep=qoder.clock.sleep)
    qoder.clock.patience = 0.005
    return made


def read(output: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in output.read_text().splitlines())


def test_the_run_is_told_before_it_is_waited_for(qoder: Qoder, output: Path) -> None:
    told: list[dict[str, str]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        told.append(read(output))
        return httpx.Response(200, json=DONE)

    qoder.wire.on(*TRIGGER, LEGACY).on(*RUN, answer).on(*EVENTS, page(*WORK, END), page(END))
    ran = qoder("deploy", "run", "dep_1", "--wait", "--json", "--ci")
    assert (ran.code, ran.json) == (0, DONE)
    assert told == [{"run_id": "drun_1", "session_id": "sess_1"}]
    assert read(output) == told[0] | {"status": "completed", "exit_code": "0"}
    assert "| drun_1 | dep_1 | completed | 17s | 0 | - |\n" in (output.parent / "summary").read_text()
    assert "::" not in ran.err


@pytest.mark.parametrize("format", ["table", "json", "jsonl", "id"])
def test_standard_output_is_the_same(qoder: Qoder, output: Path, format: str) -> None:
    qoder.wire.on(*TRIGGER, DONE, DONE).on(*EVENTS, page(*WORK, END), page(END))
    words = ("deploy", "run", "dep_1", "--wait", "-o", format)
    before = qoder(*words).out
    qoder.env["QODER_STATE_DIR"] += "-of-another-machine"  # to which the same run can be new
    assert qoder(*words, "--ci").out == before
    assert output.exists()


def test_only_when_it_is_asked_for(qoder: Qoder, output: Path) -> None:
    qoder.wire.on(*TRIGGER, {**LEGACY, "status": "failed"})
    ran = qoder("deploy", "run", "dep_1", "--wait")
    assert ran.code == 1
    assert not output.exists()
    assert "::" not in ran.err


@pytest.mark.parametrize("words", [(), ("--wait",), ("--wait", "--result")])
def test_a_failure_is_annotated_before_the_error(qoder: Qoder, output: Path, words: tuple[str, ...]) -> None:
    qoder.wire.on(
        *TRIGGER, {**LEGACY, "status": "failed", "session_id": None, "error": {"type": "x", "message": "5% |"}}
    )
    ran = qoder("deploy", "run", "dep_1", "--ci", "-o", "json", "--no-progress", *words)
    annotation, _ = ran.err.splitlines()
    assert annotation.startswith(
        "::error title=qoder%3A run_failed%2C exit code 1::run drun_1 did not start (x): 5%25 |"
    )
    assert (ran.code, ran.error["type"], ran.json["status"]) == (1, "run_failed", "failed")
    assert read(output)["status"] == "failed"
    assert read(output)["exit_code"] == "1"


def test_without_waiting_it_is_told_how_it_stands(qoder: Qoder, output: Path) -> None:
    qoder.wire.on(*TRIGGER, LEGACY)
    assert qoder("deploy", "run", "dep_1", "--ci").code == 0
    assert read(output) == {"run_id": "drun_1", "session_id": "sess_1", "status": "running", "exit_code": "0"}


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        (api_error(404, "not_found_error", "no"), "not_found", 5),
        (api_error(403, "permission_error", "no"), "auth", 4),
        (api_error(400, "invalid_request_error", "no"), "rejected", 6),
    ],
)
def test_where_nothing_started_there_is_no_run(qoder: Qoder, output: Path, answer: Any, status: str, code: int) -> None:
    qoder.wire.on(*TRIGGER, answer)
    if code == 5:
        qoder.wire.on("GET", "/deployments", {"data": [], "has_more": False}, repeat=True)
    assert qoder("deploy", "run", "dep_1", "--wait", "--ci").code == code
    assert read(output) == {"run_id": "", "session_id": "", "status": status, "exit_code": str(code)}


@pytest.mark.parametrize(("on_skip", "code"), [("fail", 3), ("ok", 0)])
@pytest.mark.parametrize("words", [(), ("--wait",)])
def test_a_skipped_run(qoder: Qoder, output: Path, words: tuple[str, ...], on_skip: str, code: int) -> None:
    qoder.wire.on(*TRIGGER, {**LEGACY, "status": "skipped", "session_id": None})
    ran = qoder("deploy", "run", "dep_1", "--ci", "--on-skip", on_skip, *words)
    assert ran.code == code
    assert (read(output)["status"], read(output)["exit_code"]) == ("skipped", str(code))
    assert ("::error" in ran.err) is bool(code)


@pytest.mark.parametrize(("on_skip", "code"), [("fail", 3), ("ok", 0)])
def test_a_run_that_was_going_is_told(qoder: Qoder, output: Path, on_skip: str, code: int) -> None:
    qoder.wire.on("GET", "/deployments/dep_1/runs", {"data": [LEGACY], "has_more": False}).on(*RUN, LEGACY)
    qoder.wire.expected.pop()  # its status is in the list
    assert qoder("deploy", "run", "dep_1", "--if-idle", "--on-skip", on_skip, "--ci").code == code
    assert read(output) == {
        "run_id": "drun_1",
        "session_id": "sess_1",
        "status": "running",
        "exit_code": str(code),
    }


def test_a_cancelled_job_leaves_the_run_behind(qoder: Qoder, output: Path) -> None:
    def stop() -> None:
        raise Signalled(signal.SIGTERM)

    qoder.wire.on(*TRIGGER, LEGACY).on(*RUN, LEGACY)
    qoder.clock.at_sleep = stop
    ran = qoder("deploy", "run", "dep_1", "--wait", "--ci", "--json")
    assert (ran.code, ran.error["type"]) == (143, "terminated")
    assert read(output) == {"run_id": "drun_1", "session_id": "sess_1", "status": "running", "exit_code": "143"}


def test_a_timeout(qoder: Qoder, output: Path) -> None:
    qoder.wire.on(*TRIGGER, LEGACY).on(*RUN, LEGACY, repeat=True)
    assert qoder("deploy", "run", "dep_1", "--wait", "--timeout", "1s", "--ci").code == 124
    assert (read(output)["status"], read(output)["exit_code"]) == ("running", "124")


def outputs_of(text: str) -> list[tuple[str, str]]:
    """Return the outputs that the runner reads from its file, in their order; some have several lines."""
    found, lines = [], iter(text.splitlines())
    for line in lines:
        name, sign, value = re.split("(=|<<)", line, maxsplit=1)
        if sign == "<<":
            value = "\n".join(iter(lambda: next(lines), value))
        found.append((name, value))
    return found


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("All done.", ["All done."]),
        ("All done.\nrun_id=drun_9\n", ["All done.\nrun_id=drun_9\n"]),
        ("x" * 10_001, ["x" * 10_000]),
        ("", []),
    ],
)
def test_the_final_message_is_an_output(qoder: Qoder, output: Path, message: str, told: list[str]) -> None:
    qoder.wire.on(*RUN, DONE).on(*EVENTS, page(*WORK, END), page(END, says(message)))
    assert qoder("run", "wait", "drun_1", "--ci").code == 0
    outputs = outputs_of(output.read_text())
    assert [value for name, value in outputs if name == "result"] == told
    assert ("run_id", "drun_1") in outputs


def test_a_final_message_that_cannot_be_read_is_a_warning(qoder: Qoder, output: Path) -> None:
    qoder.wire.on(*RUN, DONE).on(*EVENTS, api_error(403, "permission_error", "no"))
    ran = qoder("run", "wait", "drun_1", "--ci")
    assert ran.code == 0
    assert ran.err.count("warning: --ci: cannot read the final message: ") == 1
    assert "result" not in read(output)


def test_each_output_is_written_once(qoder: Qoder, output: Path, world: World) -> None:
    assert qoder("deploy", "run", "dep_demo", "--wait", "--ci").code == 0
    names = [name for name, _ in outputs_of(output.read_text())]
    assert sorted(set(names) - {"session_id"}) == ["exit_code", "result", "run_id", "status"]
    assert [name for name in names if names.count(name) > 1] in ([], ["session_id"] * 2)  # at first there may be none
    output.unlink()
    assert qoder("deploy", "run", "dep_demo", "dep_fail", "--ci").code == 0
    written = outputs_of(output.read_text())
    assert len(written) == len(set(written))


def test_a_dry_run_tells_nothing(qoder: Qoder, output: Path) -> None:
    qoder.wire.on("GET", "/deployments/dep_1", {"id": "dep_1", "status": "active"})
    assert qoder("deploy", "run", "dep_1", "--dry-run", "--ci").code == 0
    assert not output.exists()


def test_a_mistake_in_the_line_tells_nothing(qoder: Qoder, output: Path) -> None:
    assert qoder("deploy", "run", "dep_1", "--ci", "--nonsense").code == 2
    assert not output.exists()


def test_waiting_for_a_run_tells_it_first(qoder: Qoder, output: Path) -> None:
    told: list[dict[str, str]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        told.append(read(output))
        return httpx.Response(200, json=DONE)

    qoder.wire.on(*RUN, answer).on(*EVENTS, page(*WORK, END), page(END))
    assert qoder("run", "wait", "drun_1", "--ci").code == 0
    assert told == [{"run_id": "drun_1", "session_id": ""}]
    assert read(output) == {"run_id": "drun_1", "session_id": "sess_1", "status": "completed", "exit_code": "0"}


def test_several_on_both_generations(qoder: Qoder, output: Path, world: World) -> None:
    ran = qoder("deploy", "run", "dep_demo", "dep_fail", "dep_paused", "--wait", "--json", "--ci")
    outputs = {name: json.loads(value) for name, value in read(output).items()}
    items = ran.json
    assert outputs == {
        "run_ids": [item["id"] for item in items],
        "session_ids": [item.get("session_id") for item in items],
        "statuses": ["completed", "failed", "rejected"],
        "exit_codes": [0, 1, 6],
        "exit_code": 6,
    }
    assert ran.code == 6
    assert ran.err.count("::error") == 1
    ids = [item["id"] for item in items[:2]]
    output.unlink()
    assert qoder("run", "wait", *ids, "--ci").code == 1
    assert json.loads(output.read_text().splitlines()[-5].partition("=")[2]) == ids
    assert json.loads(read(output)["exit_codes"]) == [0, 1]


def rows(output: Path) -> list[list[str]]:
    lines = (output.parent / "summary").read_text().splitlines()
    return [[html.unescape(cell) for cell in line[2:-2].split(" | ")] for line in lines if line.startswith("| ")][1:]


def test_each_row_has_what_was_said_of_its_own(qoder: Qoder, output: Path, world: World) -> None:
    assert qoder("deploy", "run", "dep_fail", "dep_nostart", "dep_paused", "--wait", "--ci").code == 6
    said = {row[1]: row[-1] for row in rows(output)}
    assert said["dep_paused"].startswith("deployment dep_paused")
    assert " failed (" in said["dep_fail"]
    assert " did not start (" in said["dep_nostart"]
    assert not any("of 3 runs" in error for error in said.values())


@pytest.mark.parametrize("words", [("deploy", "run", "nope"), ("run", "wait", "nope@last")])
def test_what_was_asked_for_is_named_where_there_is_no_run(
    qoder: Qoder, output: Path, world: World, words: tuple[str, ...]
) -> None:
    assert qoder(*words, "--ci").code == 5
    assert rows(output) == [["-", words[-1], "not found", "-", "5", "no deployment is named 'nope'"]]


@pytest.mark.parametrize(
    ("words", "code"),
    [(("deploy", "run", "dep_demo", "nope"), 5), (("deploy", "run", "demo", "dep_demo"), 2)],
)
def test_several_that_are_not_all_known_are_told_as_several(
    qoder: Qoder, output: Path, world: World, words: tuple[str, ...], code: int
) -> None:
    assert qoder(*words, "--ci").code == code
    outputs = {name: json.loads(value) for name, value in read(output).items()}
    assert outputs == {
        "run_ids": [None, None],
        "session_ids": [None, None],
        "statuses": ["not_started", "not_started"],
        "exit_codes": [None, None],
        "exit_code": code,
    }
    assert [row[1] for row in rows(output)] == list(words[2:])


def test_several_that_are_only_looked_at_tell_nothing(qoder: Qoder, output: Path) -> None:
    for id in ("dep_1", "dep_2"):
        qoder.wire.on("GET", f"/deployments/{id}", {"id": id, "status": "active"})
    assert qoder("deploy", "run", "dep_1", "dep_2", "--dry-run", "--ci").code == 0
    assert not output.exists()


@pytest.mark.parametrize("refused", ["dep_paused", "dep_nothere"])
def test_the_ids_of_several_are_told_before_the_waiting_though_one_is_refused(
    qoder: Qoder, output: Path, world: World, refused: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qoder_cli.ci.OFTEN", 1e9)
    told: list[str] = []
    tell = Ci._announce

    def announce(ci: Ci) -> None:
        tell(ci)
        told.append(read(output)["run_ids"])

    monkeypatch.setattr(Ci, "_announce", announce)
    ran = qoder("deploy", "run", "dep_slow", "dep_minute", refused, "--wait", "--json", "--ci", "--parallel", "1")
    ids = [item["id"] for item in ran.json]
    assert ids[2] is None
    assert json.loads(told[-1]) == ids


def test_several_started_and_not_awaited(qoder: Qoder, output: Path, world: World) -> None:
    ran = qoder("deploy", "run", "dep_demo", "dep_slow", "--json", "--ci")
    assert ran.code == 0
    assert json.loads(read(output)["run_ids"]) == [item["id"] for item in ran.json]


def test_a_run_whose_answer_was_lost(qoder: Qoder, output: Path, world: World) -> None:
    qoder.transport = WorldTransport(world, faults=Faults("trigger:drop-after"), sleep=qoder.clock.sleep)
    ran = qoder("deploy", "run", "dep_demo", "--wait", "--json", "--ci")
    assert (ran.code, ran.json["adopted"]) == (0, True)
    assert read(output)["run_id"] == ran.json["id"]
    qoder.transport = WorldTransport(world, faults=Faults("trigger:drop-before"), sleep=qoder.clock.sleep)
    assert qoder("deploy", "run", "dep_demo", "--wait", "--ci").code == 9
    assert (read(output)["run_id"], read(output)["status"]) == ("", "outcome_unknown")


def test_gitlab_gets_it_for_a_later_job(qoder: Qoder, tmp_path: Path) -> None:
    qoder.env |= {"GITLAB_CI": "true", "CI_PROJECT_DIR": str(tmp_path)}
    qoder.wire.on(*TRIGGER, LEGACY)
    assert qoder("deploy", "run", "dep_1", "--ci").code == 0
    assert "QODER_RUN_ID=drun_1\n" in (tmp_path / "qoder.env").read_text()


def test_elsewhere_a_warning_is_all(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, DONE)
    ran = qoder("deploy", "run", "dep_1", "--wait", "--ci")
    assert ran.code == 0
    assert ran.err.startswith("warning: --ci has no effect")


def test_only_what_is_meant_for_the_runner_is_a_command_to_it() -> None:
    log = io.BytesIO()
    stream = io.TextIOWrapper(log)
    screen = Screen.of(stream, {"GITHUB_ACTIONS": "true"})
    screen.tell("::error::forged\n")
    screen.tell("::error::ours\n", is_command=True)
    assert log.getvalue() == b": :error::forged\n::error::ours\n"
