"""`qoder deploy run` and `run wait` of several at once, on both generations of server."""

import io
import itertools
import json
import re
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from qoder_cli.app import App
from qoder_cli.base.errors import RANKING, Exit, QoderError, UsageError, first_by_rank
from qoder_cli.cli.options import named
from qoder_cli.output.screen import Screen
from qoder_cli.sandbox.scripts import Behaviour, turn
from qoder_cli.sandbox.wire import GENERATIONS, Generation
from tests.conftest import Qoder, Ran
from tests.support.cells import checkerboard
from tests.support.crowd import Asked, Town
from tests.support.hasty import HastyClock
from tests.support.lies import Lies
from tests.support.stored import entries_in
from tests.support.wire import api_error

DEPLOY = ("deploy", "run")
SEVERAL = ("dep_demo", "dep_fail", "dep_skip", "dep_paused", "dep_nothere", "dep_locked", "dep_nostart")


@pytest.fixture(params=GENERATIONS)
def town(request: pytest.FixtureRequest, tmp_path: Path) -> Town:
    return _town(request.param, tmp_path)


@pytest.fixture
def current(tmp_path: Path) -> Town:
    return _town("current", tmp_path)


def _town(generation: Generation, folder: Path, *, speed: float = 100.0) -> Town:
    """Return a town in which nobody may run `dep_locked`, and `dep_long` takes an hour."""
    town = Town(generation, folder, HastyClock(speed))
    town.world.add_deployment(id="dep_locked", name="locked")
    town.world.add_deployment(id="dep_long", name="long", behaviour=Behaviour(turn(seconds=3600)))
    town.server.refuse = refusing("/deployments/dep_locked/run", 403, "permission_error")
    return town


def answer(status: int, kind: str = "api_error") -> httpx.Response:
    return httpx.Response(status, json=api_error(status, kind, "No.")[1])


def refusing(part: str, status: int, kind: str = "api_error") -> Callable[[Asked], httpx.Response | None]:
    return lambda asked: answer(status, kind) if part in f"{asked.path}?{asked.query}" else None


def many(town: Town, count: int, seconds: float | None = None) -> list[str]:
    """Add so many deployments, and return their ids."""
    behaviour = {} if seconds is None else {"behaviour": Behaviour(turn(seconds=seconds))}
    return [each.id for each in town.world.seed_deployments(count, **behaviour)]


def posts(town: Town) -> list[str]:
    """The ids of the deployments that a run was asked of, in turn."""
    return [seen.path.split("/")[-2] for seen in town.world.requests if seen.method == "POST" and "/run" in seen.path]


def codes(ran: Ran) -> list[int | None]:
    return [item["exit_code"] for item in ran.json]


def warnings(ran: Ran) -> list[str]:
    return [line for line in ran.err.splitlines() if line.startswith("warning:")]


def is_accounted_for(town: Town, items: list[dict[str, Any]]) -> bool:
    """Return whether every run that was started is named, or its deployment called unknown."""
    named_runs = {item["id"] for item in items}
    unknown = {item["input"] for item in items if item["exit_code"] == Exit.OUTCOME_UNKNOWN}
    return all(run.id in named_runs or run.deployment.id in unknown for run in town.world.started())


@pytest.mark.parametrize("wait", [(), ("--wait",)])
def test_deploy_run_of_several_has_an_item_each_in_the_order_of_input(town: Town, wait: tuple[str, ...]) -> None:
    skipped = 3 if town.world.generation == "legacy" else 1  # a current server has no skips
    ran = town(*DEPLOY, *SEVERAL, *wait, "--json")
    assert [item["input"] for item in ran.json] == list(SEVERAL)
    assert codes(ran) == [0, 1 if wait else 0, skipped, 6, 5, 4, 1]
    assert [item["id"] is None for item in ran.json] == [False, False, False, True, True, True, False]
    assert (ran.code, ran.error["type"]) == (4, "auth")
    assert (ran.error["run_id"], ran.error["session_id"]) == (None, None)
    assert ran.error["run_state"] == ("ended" if wait else "going")
    assert ran.error["message"].startswith("1 of 7 runs completed; " if wait else "2 of 7 runs started; ")
    assert "dep_paused is paused" in ran.json[3]["error"]["message"]
    assert ran.json[4]["error"]["message"].startswith("deployment dep_nothere: ")
    assert is_accounted_for(town, ran.json)
    assert posts(town).count("dep_demo") == 1


def test_exit_codes_of_several_rank_by_gravity() -> None:
    gravest_first = [130, 143, 9, 70, 10, 4, 7, 6, 5, 1, 11, 124, 3, 8, 0]
    assert [code for code in RANKING if code not in (Exit.HUNG_UP, Exit.USAGE)] == gravest_first
    assert set(RANKING) == set(Exit) - {Exit.CLOSED_PIPE}
    for worse, better in itertools.pairwise(RANKING):
        errors = [QoderError("").with_(exit=better), QoderError("").with_(exit=worse)]
        assert first_by_rank(errors) is errors[1]


def test_deploy_run_of_several_prints_json_lines_as_each_ends(town: Town) -> None:
    class Reader(io.BytesIO):
        """Lets the hour that `dep_long` takes pass once there is a line of `dep_demo`."""

        def write(self, data: Any) -> int:
            if b'"dep_demo"' in bytes(data):
                town.clock.skip(3600.0)  # type: ignore[attr-defined]
            return super().write(data)

    out = Reader()
    town("deploy", "run", "dep_long", "dep_demo", "dep_nothere", "--wait", "-o", "jsonl", out=out)
    inputs = [json.loads(line)["input"] for line in out.getvalue().splitlines()]
    assert sorted(inputs) == ["dep_demo", "dep_long", "dep_nothere"]
    assert inputs.index("dep_demo") < inputs.index("dep_long")


def test_deploy_run_of_several_prints_rows_in_the_order_of_the_input(town: Town) -> None:
    words = ("dep_slow", "dep_demo", "dep_nothere")
    ran = town(*DEPLOY, *words, "--wait")
    rows = [line.split("\t") for line in ran.out.splitlines()]
    assert [row[1:3] for row in rows] == [["completed", "dep_slow"], ["completed", "dep_demo"], ["not_found", words[2]]]
    assert rows[2][0] == ""
    assert "\x1b" not in ran.out
    assert "3 runs: 2 completed, 1 not found · in " in ran.err
    ids = town(*DEPLOY, *words, "-q").out.splitlines()
    assert {id: town.world.runs[id].deployment.id for id in ids} == dict(zip(ids, words, strict=False))


def test_run_wait_takes_what_deploy_run_prints_and_that_what_deploy_list_prints(town: Town) -> None:
    listed = town("deploy", "list", "--status", "active", "-q")
    started = town(*DEPLOY, "-", "-q", "--parallel", "20", stdin=listed.out)
    assert started.code == 4  # dep_locked is among them
    ended = town("run", "wait", "-", "-o", "json", "--timeout", "60", stdin=started.out)
    assert len(ended.json) == len(started.out.splitlines()) > 8
    assert set(codes(ended)) >= {0, 1, 124}


# Which runs are waited for.


def test_run_wait_of_several_waits_for_the_others_where_one_cannot_be_found(town: Town) -> None:
    good = town(*DEPLOY, "dep_demo", "-q").out.strip()
    words = (good, "drun_missing", "sess_missing", "nosuch@last", "dep_slow@last", "dep_demo@last", "last")
    ran = town("run", "wait", *words, "--json")
    assert [item["input"] for item in ran.json] == list(words)
    assert (ran.code, codes(ran)) == (5, [0, 5, 5, 5, 5, 0, 0])
    assert [item["id"] for item in ran.json] == [good, None, None, None, None, good, good]
    said = " ".join(warnings(ran))
    assert [word for word in ("drun_missing", "sess_missing", "nosuch", "dep_slow") if word not in said] == []


def twins(town: Town) -> None:
    """Let two deployments have one name."""
    town.world.unique_names = False
    for _ in range(2):
        town.world.add_deployment(name="twin")


def test_run_wait_of_several_has_an_item_for_a_name_of_two_and_looks_for_none_without_a_token(current: Town) -> None:
    good = current(*DEPLOY, "dep_demo", "-q").out.strip()
    twins(current)
    ran = current("run", "wait", "twin@last", good, "--json")
    assert (ran.code, codes(ran)) == (2, [2, 0])
    current.server.refuse, asked = refusing("", 401, "authentication_error"), len(current.server.asked)
    ran = current("run", "wait", "-", "--json", stdin="\n".join(f"dep_{n}@last" for n in range(40)))
    assert (ran.code, {*codes(ran)}) == (4, {4})
    assert len(current.server.asked) - asked <= 8


def test_run_wait_of_several_counts_the_time_to_find_out_which_are_meant(current: Town) -> None:
    known = current.world.start("dep_long").id
    ids = many(current, 400, seconds=3600)
    for id in ids:
        current.world.start(id)
    words = [known, *(f"{id}@last" for id in ids)]
    answered, released = itertools.count(), threading.Event()

    def hold_back(asked: Asked) -> None:
        if asked.path.endswith("/runs") and next(answered) >= 100:
            released.wait()

    current.server.refuse = hold_back
    try:
        ran = current("run", "wait", "-", "--timeout", "10", "--json", stdin="\n".join(words))
        asked = [asked for asked in current.server.asked if asked.path.endswith("/runs")]
    finally:
        released.set()
    assert (ran.code, {*codes(ran)}) == (124, {124})
    missed = [item["input"] for item in ran.json if "was not identified within 10s" in str(item["error"])]
    assert len(missed) >= 300
    assert len(asked) < 150  # what was not begun by then never is
    assert {known, *missed} <= set(ran.error["next"])
    assert warnings(ran) == []


# What is said of those that came to nothing.


@pytest.mark.parametrize("format", ["-q", "--json", "--output=table"])
def test_deploy_run_of_several_warns_of_each_that_has_no_run_with_what_to_do(current: Town, format: str) -> None:
    ran = current(*DEPLOY, "demo", "dep_paused", "dep_nothere", "locked", "typo", "--keep-going", format)
    said = sorted(warnings(ran))
    for word, line in zip(("nothere", "paused", "locked", "typo"), said, strict=True):
        assert word in line
    assert "(hint: resume it first: qoder deploy unpause dep_paused" in said[1]
    assert "no deployment is named 'typo'" in said[3]
    if format == "-q":
        assert ran.errors == [f"error: 1 of 5 runs started; {said[2].removeprefix('warning: ').partition(' (')[0]}"]
    alone = current(*DEPLOY, "-", stdin="dep_nothere\n")
    assert (alone.code, warnings(alone)) == (5, [])


def test_deploy_run_of_several_names_the_deployment_that_decides(town: Town) -> None:
    ran = town(*DEPLOY, "demo", "fail", "--wait", "--json")
    assert ran.error["message"].startswith(f"1 of 2 runs completed; fail: run {ran.json[1]['id']} failed (")
    assert ran.json[1]["error"] == {"type": "retries_exhausted", "message": ran.json[1]["error"]["message"]}
    ran = town(*DEPLOY, "dep_paused", "dep_nothere", "--json")
    assert (ran.code, ran.error["next"]) == (6, None)


def test_deploy_run_of_several_warns_of_a_few_of_a_flood(current: Town) -> None:
    current.server.refuse = refusing("/run", 403, "permission_error")
    ran = current(*DEPLOY, *many(current, 13), "-q")
    assert (ran.code, len(warnings(ran))) == (4, 11)
    assert warnings(ran)[-1].endswith("(further identical warnings suppressed)")


def test_deploy_run_of_several_names_the_command_that_repeats_each_that_is_unknown(town: Town) -> None:
    town.server.faults = Lies("trigger:drop-before*2")
    words = ("--wait", "--timeout", "4", "--parallel", "1")
    ran = town(*DEPLOY, "dep_demo", "dep_silent", "dep_long", *words, "--json")
    assert codes(ran) == [9, 9, 124]
    said = [line for line in warnings(ran) if "unknown whether" in line]
    keys = [seen.key for seen in town.world.requests if seen.method == "POST"]
    for line, id in zip(said, ["dep_demo", "dep_silent"], strict=True):
        repeated = re.search(rf"qoder deploy run {id} --idempotency-key (\S+) --wait --timeout 4 -o json\)", line)
        assert repeated is not None, line
        assert repeated[1] in keys
    assert (ran.code, ran.error["type"]) == (9, "outcome_unknown")
    hint = "check the runs of those 2 before starting them again (see their warnings); to wait for the rest"
    assert ran.error["hint"] == hint
    assert ran.error["next"] == ["qoder", "run", "wait", ran.json[2]["id"], "-o", "json"]
    again = town(*ran.json[0]["error"]["next"][1:])
    assert (again.code, again.json["deployment_id"]) == (0, "dep_demo")
    town.server.faults = Lies("trigger:drop-before")
    ran = town(*DEPLOY, "dep_fail", "dep_silent", "--parallel", "1", "--json")
    assert ran.error["next"] == ran.json[0]["error"]["next"]
    assert ran.error["next"][:4] == ["qoder", "deploy", "run", "dep_fail"]


def test_deploy_run_of_several_names_one_command_for_those_that_were_refused(current: Town) -> None:
    current.server.refuse = refusing("/deployments/dep_silent/run", 429)
    words = (*DEPLOY, "dep_demo", "silent", "dep_paused", "dep_nothere", "--idempotency-key", "night", "--json")
    ran = current(*words)
    assert (ran.code, codes(ran)) == (7, [0, 7, 6, 5])
    repeat = ["qoder", *DEPLOY, "dep_silent", "dep_paused", "--idempotency-key", "night", "-o", "json"]
    assert ran.error["next"] == repeat
    assert ran.error["hint"].endswith("to start the ones not started")
    current.server.refuse = lambda asked: None
    again = current(*repeat[1:])
    assert codes(again) == [0, 6]
    assert again.error["next"] == [*repeat[:3], "dep_paused", "--idempotency-key", "night:dep_paused", "-o", "json"]
    assert current(*words).json[1]["id"] == again.json[0]["id"]


NO_LISTS = {
    "a mark of the order of bytes": "\ufeff",
    "a million lines": "dep_demo\n" * 1_000_000,
    "too many": "".join(f"dep_{number}\n" for number in range(10_001)),
    "a line of 10 MB": "y" * 10_000_000,
    "a comment that ends in a name": "# " + " " * 4094 + "dep_demo\n",
    "a name that is too long": f"dep_demo\n{'z' * 257}\n",
    "UTF-16": "d\0e\0p\0_\0d\0e\0m\0o\0\n\0",
}


@pytest.mark.parametrize("stdin", NO_LISTS.values(), ids=NO_LISTS.keys())
def test_deploy_run_refuses_standard_input_that_is_no_list_of_names(current: Town, stdin: str) -> None:
    ran = current(*DEPLOY, "-", stdin=stdin)
    assert (ran.code, ran.out, current.server.asked) == (2, "", [])
    assert len(ran.errors[0]) < 400


@pytest.mark.parametrize("line", ["dep_demo\n", "# nothing\n", "x" * 5000])
def test_deploy_run_refuses_a_pipe_that_never_ends(line: str) -> None:
    class Endless(io.StringIO):
        """Says the same for ever."""

        def read(self, size: int | None = -1, /) -> str:
            most = size or -1
            assert most > 0  # else it never comes back
            return (line * (most // len(line) + 1))[:most]

    app = App(env={}, out=Screen(None), err=Screen(None), stdin=Endless())
    with pytest.raises(UsageError):
        named(["-"], app)


def piped(data: bytes, encoding: str = "utf-8") -> App:
    """Return a state whose standard input has this data, in a locale with this encoding."""
    return App(env={}, out=Screen(None), err=Screen(None), stdin=io.TextIOWrapper(io.BytesIO(data), encoding))


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "ascii"])
def test_deploy_run_reads_standard_input_as_utf_8_whatever_the_locale(encoding: str) -> None:
    with pytest.raises(UsageError, match="standard input is empty"):  # it is closed
        named(["-"], App(env={}, out=Screen(None), err=Screen(None)))
    assert named(["-"], piped("\ufeffTäglich\r\n日報\n".encode(), encoding)) == ["Täglich", "日報"]
    with pytest.raises(UsageError, match="line 2 of standard input is not UTF-8"):
        named(["-"], piped("demo\nTäglich\n".encode("cp1252"), encoding))
    with pytest.raises(UsageError, match="line 1 of standard input is not UTF-8"):
        named(["-"], piped("demo\n".encode("utf-16"), encoding))


@pytest.mark.parametrize(
    ("line", "why"),
    [
        *((line, "standard input is empty") for line in ("run pending -", "session send - -m x", "file download -")),
        ("memory write memstore_1 a.md", "-m: standard input is empty"),
        *((f"session {verb} -", f"session {verb} takes one session") for verb in ("wait", "logs")),
    ],
)
def test_commands_name_no_option_for_an_empty_list_that_they_do_not_have(qoder: Qoder, line: str, why: str) -> None:
    qoder.stdin = ""
    ran = qoder(*line.split())
    assert (ran.code, why in ran.err, "--allow-empty" in ran.err) == (2, True, False)


TWICE = ["dep_demo dep_demo", "dep_demo demo", "demo dep_fail demo", "dep_demo dep_demo --keep-going"]


@pytest.mark.parametrize("line", [*TWICE, "dep_demo dep_demo --allow-duplicates --idempotency-key k"])
def test_deploy_run_starts_nothing_where_one_is_named_twice(current: Town, line: str) -> None:
    ran = current(*DEPLOY, *line.split())
    assert (ran.code, ran.out, posts(current)) == (2, "", [])
    assert "duplicate deployment: " in ran.errors[0]


def test_deploy_run_starts_duplicates_that_are_allowed(current: Town) -> None:
    ran = current(*DEPLOY, "dep_demo", "demo", "dep_demo", "--allow-duplicates", "--wait", "--json")
    assert (ran.code, posts(current)) == (0, ["dep_demo"] * 3)
    assert len({item["id"] for item in ran.json}) == 3


UNKNOWN: list[tuple[str, int, str]] = [
    ("demo nope", 5, "no deployment is named 'nope'"),
    ("dep_demo twin", 2, "2 deployments are named 'twin'"),
    ("nope twin demo", 5, "2 of 3 deployments"),
    (" ".join(f"no-{number}" for number in range(50)), 5, "and 45 more"),
    ("demmo silnt fail", 5, "named 'demmo', did you mean 'demo' (dep_demo)?"),
]


@pytest.mark.parametrize(("names", "code", "said"), UNKNOWN)
def test_deploy_run_starts_nothing_while_a_name_is_not_known(current: Town, names: str, code: int, said: str) -> None:
    twins(current)
    ran = current(*DEPLOY, *names.split(), "--json")
    assert (ran.code, ran.out, posts(current)) == (code, "", [])
    assert said in ran.error["message"]
    assert "--keep-going" in ran.error["hint"]


@pytest.mark.parametrize(("option", "expected"), [((), [5, 0, 2, 0]), (("--fail-fast",), [5, None, 2, None])])
def test_deploy_run_keep_going_starts_the_others_unless_it_is_to_fail_fast(
    current: Town, option: tuple[str, ...], expected: list[int | None]
) -> None:
    twins(current)
    ran = current(*DEPLOY, "nope", "demo", "twin", "dep_fail", "--keep-going", *option, "--json")
    assert (ran.code, codes(ran)) == (5, expected)
    assert sorted(posts(current)) == ([] if option else ["dep_demo", "dep_fail"])


@pytest.mark.parametrize("parallel", [1, 3])
def test_deploy_run_parallel_is_how_many_are_under_way(current: Town, parallel: int) -> None:
    under_way: list[int] = []
    counted, all_came = threading.Lock(), threading.Event()
    most = 0

    def refuse(asked: Asked) -> None:
        nonlocal most
        if asked.path.endswith("/run"):
            with counted:
                under_way.append(1)
                most = max(most, len(under_way))
            if most >= parallel:
                all_came.set()
            all_came.wait(30)  # however slowly they come
            current.clock.sleep(0.4)  # one too many would come meanwhile
            with counted:
                under_way.pop()

    current.server.refuse = refuse
    ids = [each.id for each in current.world.seed_deployments(8)]
    assert current("deploy", "run", *ids, "--parallel", str(parallel), "-q").code == 0
    assert most == parallel


# What befalls seventeen of fifty starts, and how many of them stay unknown; None where one start may meet it thrice.
BEFALLS: dict[str, int | None] = {
    "trigger:drop-after*17": 0,
    "trigger:drop-before*17": 17,
    "trigger:late=3*17": 0,
    "trigger:503*34": None,
    "trigger:act-503-bare*17": 0,
    "trigger:429=2*17": None,
    "trigger:drop-after*17 trigger:stranger*17": 17,
    "trigger:act-503*17 any:half-written=3": 0,
    "trigger:drop-after*17 list:503-bare*2": 0,
    "trigger:late=3*17 list:garbage*2": 0,
    "session:garbage*50": 0,
}


@pytest.mark.parametrize("faults", BEFALLS)
@pytest.mark.few(3)
def test_deploy_run_of_fifty_at_once_starts_none_twice_and_loses_none(town: Town, faults: str) -> None:
    for fault in faults.split():
        town.server.faults.add(fault)
    ids = many(town, 50, seconds=3)
    ran = town(*DEPLOY, "-", "--parallel", "50", "--wait", "--json", stdin="\n".join(ids))
    started = Counter(run.deployment.id for run in town.world.started())
    assert set(started.values()) == {1}
    assert is_accounted_for(town, ran.json)
    assert len(entries_in(town.folder)) >= 50  # what fifty threads wrote
    assert {*codes(ran)} <= ({0, 9} if BEFALLS[faults] is not None else {0, 7, 9})
    assert BEFALLS[faults] in (None, codes(ran).count(9))


@pytest.mark.parametrize("wait", [(), ("--wait",)])
def test_deploy_run_fail_fast_starts_no_more_and_leaves_nothing_unknown(town: Town, wait: tuple[str, ...]) -> None:
    ids = many(town, 30, seconds=600)
    words = [*ids[:5], "dep_nostart", *ids[5:]]
    ran = town(*DEPLOY, *words, "--fail-fast", "--parallel", "2", *wait, "--json")
    assert (ran.code, [item["input"] for item in ran.json]) == (1, words)
    assert codes(ran)[5] == 1
    assert codes(ran).count(None) >= 15
    assert {*codes(ran)} == {1, None, 8 if wait else 0}
    assert is_accounted_for(town, ran.json)
    going = [item["id"] for item in ran.json if item["exit_code"] == 8]
    command = ["run", "wait", *going] if wait else ["deploy", "check", "dep_nostart"]
    assert ran.error["next"] == ["qoder", *command, "-o", "json"]
    not_begun = [item for item in ran.json if item["exit_code"] is None]
    assert {(item["id"], item["error"]["type"]) for item in not_begun} == {(None, "not_yet")}
    assert all("not started" in item["error"]["message"] for item in not_begun)


def test_deploy_run_fail_fast_ends_with_the_first_that_fails(current: Town) -> None:
    ran = current(*DEPLOY, "dep_long", "dep_fail", "dep_minute", "--wait", "--fail-fast", "--json")
    assert (ran.code, codes(ran)) == (1, [8, 1, 8])
    assert [item["status"] for item in ran.json] == ["running", "failed", "running"]
    current.world.requests.clear()
    words = ["dep_long", "dep_paused", "dep_minute", "dep_silent"]
    ran = current(*DEPLOY, *words, "--wait", "--fail-fast", "--parallel", "1", "--json")
    assert (ran.code, codes(ran), posts(current)) == (6, [8, 6, None, None], words[:2])
    restart = "3 were not started; to start them: qoder deploy run dep_paused dep_minute dep_silent --wait -o json"
    assert ran.error["hint"].endswith(f"{restart}; to wait for the rest")
    assert ran.error["next"] == ["qoder", "run", "wait", ran.json[0]["id"], "-o", "json"]


@pytest.mark.parametrize(("on_skip", "wait"), checkerboard([(), ("--on-skip", "ok")], [(), ("--wait",)]))
def test_deploy_run_if_idle_of_several_names_the_run_that_is_going(
    town: Town, on_skip: tuple[str, ...], wait: tuple[str, ...]
) -> None:
    going, code = town.world.start("dep_long"), 0 if on_skip else 3
    ran = town(*DEPLOY, "dep_demo", "dep_long", "--if-idle", *on_skip, *wait, "--json")
    found = ran.json[1]
    assert (ran.code, codes(ran), found["going" if on_skip else "id"]) == (code, [0, code], going.id)
    if on_skip:
        assert (found["id"], found["input"]) == (None, "dep_long")
        assert f"warning: dep_long: nothing was started: run {going.id} is still running" in ran.err
    assert posts(town) == ["dep_demo"]
    words = ("dep_silent", "dep_long", "dep_minute", "--parallel", "1", "--fail-fast", "--if-idle", *on_skip)
    ran = town(*DEPLOY, *words, "--json")  # what is excused does not stop the others
    assert (ran.code, codes(ran)) == ((0, [0, 0, 0]) if on_skip else (3, [0, 3, None]))


def test_deploy_run_of_several_starts_each_once_under_a_key(current: Town) -> None:
    assert current(*DEPLOY, "dep_demo", "dep_fail", "--idempotency-key", "k" * 250).code == 2  # it becomes too long
    words = (*DEPLOY, "dep_demo", "dep_fail", "dep_paused", "--idempotency-key", "night-1", "--json")
    first = current(*words)
    keys = {seen.path.split("/")[-2]: seen.key for seen in current.world.requests if seen.method == "POST"}
    assert keys == {id: f"night-1:{id}" for id in ("dep_demo", "dep_fail", "dep_paused")}
    again = current(*words)
    assert [item["id"] for item in again.json] == [item["id"] for item in first.json]
    assert Counter(posts(current)) == {"dep_demo": 1, "dep_fail": 1, "dep_paused": 2}
    assert again.err.count("nothing was sent") == 2


def test_deploy_run_dry_run_of_several_says_which_would_be_refused(current: Town) -> None:
    names = ("demo", "paused", "dep_archived", "dep_nothere", "nope")
    words = (*DEPLOY, *names, "--keep-going", "--idempotency-key", "k")
    ran = current(*words, "--dry-run", "--json")
    assert (ran.code, [(item["input"], item["exit_code"]) for item in ran.json]) == (
        *(6, [("demo", 0), ("paused", 6), ("dep_archived", 6), ("dep_nothere", 5), ("nope", 5)]),
    )
    assert ran.error["message"].startswith("1 of 5 runs would be started; deployment dep_paused is paused")
    first, paused, *_, unknown = ran.json
    assert (first["idempotency_key"], first["deployment"], "error" in first) == ("k:dep_demo", "dep_demo", False)
    assert paused["error"]["message"] == "deployment dep_paused is paused (manual); a run would be refused"
    assert (unknown["id"], unknown["error"]["type"]) == (None, "not_found")
    rows = [line.split("\t") for line in current(*words, "--dry-run").out.splitlines()]
    assert [(row[1], row[7], row[8]) for row in rows] == [
        ("POST", "dep_demo", "-"),
        ("POST", "dep_paused", "rejected"),
        ("POST", "dep_archived", "rejected"),
        ("POST", "dep_nothere", "not_found"),
        ("-", "nope", "not_found"),
    ]
    assert current(*words, "--dry-run", "-q").out == "dep_demo\n"
    assert posts(current) == []
    assert current(*words).code == 6


def test_deploy_run_of_several_counts_no_run_as_finished_that_waits_for_an_answer(town: Town) -> None:
    ran = town(*DEPLOY, "dep_demo", "dep_ask", "dep_paused", "dep_long", "--wait", "--timeout", "140", "-q")
    assert "\n1 of 4 runs finished, 1 waiting for an answer, 1 not started after " in ran.err
    assert "\n2 of 4 runs finished" not in ran.err


# What is asked of the end.

RESULT = ("--result", "--timeout", "60", "--json")


def test_deploy_run_result_of_several_goes_with_json_and_exits_10_where_one_cannot_be_read(town: Town) -> None:
    ran = town(*DEPLOY, "dep_demo", "dep_silent", "dep_nothere", "dep_long", *RESULT)
    results = [item.get("result", "absent") for item in ran.json]
    assert results[0].startswith("Status report")
    assert results[1:] == [None, "absent", "absent"]
    assert town(*DEPLOY, "dep_demo", "dep_silent", "--result").code == 2
    town.server.refuse = refusing("agent.message", 501)
    ran = town(*DEPLOY, "dep_demo", "dep_fail", "dep_nothere", *RESULT)
    assert (ran.code, codes(ran), ran.error["type"]) == (10, [10, 1, 5], "lost_sight")
    assert [item["id"] is None for item in ran.json] == [False, False, True]
    assert "cannot be read" in ran.error["message"]


def test_deploy_run_result_of_several_is_read_beside_the_wait(tmp_path: Path) -> None:
    current = _town("current", tmp_path, speed=20.0)  # a busy machine must read every list before the deadline
    last = current.world.add_deployment(name="last", behaviour=Behaviour(turn(seconds=8))).id

    def refuse(asked: Asked) -> None:
        if "agent.message" in str(asked.query):
            current.clock.sleep(10)

    current.server.refuse = refuse
    words = (*many(current, 14, seconds=2), last, "--parallel", "20", "--result", "--timeout", "20", "--json")
    ran = current(*DEPLOY, *words)
    assert {item["status"] for item in ran.json} == {"completed"}
    found = Counter(codes(ran))
    assert found.keys() == {0, 10}
    assert found[0] >= 5  # so many at a time, on a machine that may be busy
    assert [item["exit_code"] for item in ran.json if "result" in item] == [0] * found[0]
    assert (ran.code, ran.error["run_state"]) == (10, "ended")
    assert "there was no time left" in ran.error["message"]


@pytest.mark.parametrize("adopted", [0, 1])
def test_deploy_run_on_leave_of_several_cancels_each_that_goes_on_but_was_not_adopted(town: Town, adopted: int) -> None:
    town.server.faults = Lies(*["trigger:drop-after"] * adopted)
    words = ("--wait", "--timeout", "2", "--on-leave", "cancel", "--parallel", "1" if adopted else "20", "--json")
    ran = town(*DEPLOY, *many(town, 5, seconds=600), *words)
    assert (ran.code, codes(ran)) == (124, [124] * 5)
    assert [item.get("adopted", False) for item in ran.json] == [True] * adopted + [False] * (5 - adopted)
    cancelled = {seen.path.split("/")[-2] for seen in town.world.requests if seen.path.endswith("/cancel")}
    assert cancelled == {item["session_id"] for item in ran.json[adopted:]}
    assert ("was not cancelled: it was adopted" in ran.err) == bool(adopted)
    assert ran.error["message"].endswith(f"; cancellation was requested for {5 - adopted} runs")


# What is lost, or breaks.


def test_deploy_run_of_several_calls_unknown_what_a_bug_stops_after_it_was_sent(current: Town) -> None:
    def bug(request: httpx.Request, respond: Callable[[], httpx.Response]) -> httpx.Response:
        if request.url.path.endswith("/dep_fail/run"):
            raise ZeroDivisionError
        answer = respond()
        if request.url.path.endswith("/dep_silent/run"):
            raise KeyError("oops")
        return answer

    current.server.lie = bug
    ran = current(*DEPLOY, "dep_demo", "dep_fail", "dep_silent", "--wait", "--json")
    assert (ran.code, codes(ran)) == (9, [0, 9, 9])
    assert is_accounted_for(current, ran.json)
