"""`qoder deploy run` and `run wait` of several at once, in the user's words, on both generations of server."""

import errno
import io
import itertools
import json
import re
import signal
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from qoder_cli.app import App
from qoder_cli.base.errors import RANKING, Exit, NotYet, QoderError, Signalled, UsageError, first_by_rank
from qoder_cli.base.model import Run
from qoder_cli.cli.options import named
from qoder_cli.output.screen import Screen
from qoder_cli.runs.awaiting import Item
from qoder_cli.runs.fleet.conductor import last_words
from qoder_cli.sandbox.faults import Faults
from qoder_cli.sandbox.scripts import Behaviour, turn
from qoder_cli.sandbox.wire import GENERATIONS, Generation
from tests.conftest import Qoder, Ran
from tests.support.crowd import Asked, Town
from tests.support.hasty import HastyClock
from tests.support.one_run import DONE
from tests.support.stored import entries_in
from tests.support.wire import api_error

SPEED = 100.0
SEVERAL = ("dep_demo", "dep_fail", "dep_skip", "dep_paused", "dep_nothere", "dep_locked", "dep_nostart")
RUN_FAILED_OR_SKIPPED = {"legacy": 3, "current": 1}  # a current server has no skips


@pytest.fixture(params=GENERATIONS)
def town(request: pytest.FixtureRequest, tmp_path: Path) -> Town:
    return _town(request.param, tmp_path)


@pytest.fixture
def current(tmp_path: Path) -> Town:
    return _town("current", tmp_path)


def _town(generation: Generation, folder: Path) -> Town:
    """Return a town in which nobody may run `dep_locked`, and `dep_long` takes an hour."""
    town = Town(generation, folder, HastyClock(SPEED))
    town.world.add_deployment(id="dep_locked", name="locked")
    town.world.add_deployment(id="dep_long", name="long", behaviour=Behaviour(turn(seconds=3600)))
    town.server.refuse = lambda asked: (
        answer(403, "permission_error") if asked.path == "/deployments/dep_locked/run" else None
    )
    return town


def answer(status: int, kind: str = "api_error") -> httpx.Response:
    return httpx.Response(status, json=api_error(status, kind, "No.")[1])


def lines(ran: Ran) -> list[dict[str, Any]]:
    """The JSON lines on stdout."""
    return [json.loads(line) for line in ran.out.splitlines()]


def posts(town: Town) -> list[str]:
    """The ids of the deployments that a run was asked of, in turn."""
    return [seen.path.split("/")[-2] for seen in town.world.requests if seen.method == "POST" and "/run" in seen.path]


def is_accounted_for(town: Town, items: list[dict[str, Any]]) -> bool:
    """Return whether every run that was started is named, or its deployment called unknown."""
    named_runs = {item["id"] for item in items}
    unknown = {item["input"] for item in items if item["exit_code"] == Exit.OUTCOME_UNKNOWN}
    return all(run.id in named_runs or run.deployment.id in unknown for run in town.world.started())


# How each ended.


def test_each_has_its_item_in_the_order_of_the_input_and_the_first_by_rank_is_the_exit_code(town: Town) -> None:
    skipped = RUN_FAILED_OR_SKIPPED[town.world.generation]
    ran = town("deploy", "run", *SEVERAL, "--wait", "--json")
    assert [item["input"] for item in ran.json] == list(SEVERAL)
    assert [item["exit_code"] for item in ran.json] == [0, 1, skipped, 6, 5, 4, 1]
    assert [item["id"] is None for item in ran.json] == [False, False, False, True, True, True, False]
    assert (ran.code, ran.error["type"]) == (4, "auth")
    assert (ran.error["run_id"], ran.error["session_id"], ran.error["run_state"]) == (None, None, "ended")
    assert ran.error["message"].startswith("1 of 7 runs completed; ")
    assert "dep_paused is paused" in ran.json[3]["error"]["message"]
    assert ran.json[4]["error"]["message"].startswith("deployment dep_nothere: ")
    assert is_accounted_for(town, ran.json)


def test_without_waiting_what_was_accepted_is_exit_0_and_what_never_started_is_not(town: Town) -> None:
    skipped = RUN_FAILED_OR_SKIPPED[town.world.generation]
    ran = town("deploy", "run", *SEVERAL, "--json")
    assert [item["exit_code"] for item in ran.json] == [0, 0, skipped, 6, 5, 4, 1]
    assert (ran.code, ran.error["message"].split(";")[0]) == (4, "2 of 7 runs started")
    assert posts(town).count("dep_demo") == 1
    assert town("deploy", "run", "dep_demo", "dep_fail", "-q").code == 0


@pytest.mark.parametrize(
    ("deployments", "code"),
    [
        ("demo slow", 0),
        ("demo fail", 1),
        ("long fail", 1),
        ("demo long", 124),
        ("nostart demo", 1),
        ("nothere fail", 5),
        ("paused nothere", 6),
        ("locked paused", 4),
    ],
)
def test_the_worst_of_them_counts(current: Town, deployments: str, code: int) -> None:
    words = [f"dep_{word}" for word in deployments.split()]
    timeout = "60" if "long" in deployments else "20m"
    assert current("deploy", "run", *words, "--wait", "--timeout", timeout).code == code


def test_of_several_exit_codes_the_gravest_counts() -> None:
    gravest_first = [130, 143, 9, 70, 10, 4, 7, 6, 5, 1, 11, 124, 3, 8, 0]
    assert [code for code in RANKING if code not in (Exit.HUNG_UP, Exit.USAGE)] == gravest_first
    assert set(RANKING) == set(Exit) - {Exit.CLOSED_PIPE}
    for worse, better in itertools.pairwise(RANKING):
        errors = [QoderError("").with_(exit=better), QoderError("").with_(exit=worse)]
        assert first_by_rank(errors) is errors[1]


def test_json_lines_come_as_each_ends(town: Town) -> None:
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


def test_a_pipe_gets_rows_in_the_order_of_the_input(town: Town) -> None:
    ran = town("deploy", "run", "dep_slow", "dep_demo", "dep_nothere", "--wait")
    rows = [line.split("\t") for line in ran.out.splitlines()]
    assert [row[1] for row in rows] == ["completed", "completed", "not_found"]
    assert [row[2] for row in rows] == ["dep_slow", "dep_demo", "dep_nothere"]
    assert rows[2][0] == ""
    assert "\x1b" not in ran.out
    assert "3 runs: 2 completed, 1 not found · in " in ran.err
    assert "credits" in ran.err


def test_the_first_column_has_ids_that_another_command_takes(town: Town) -> None:
    ran = town("deploy", "run", "nosuch", "demo", "dep_paused", "fail", "--keep-going")
    first = "\n".join(line.split("\t")[0] for line in ran.out.splitlines())
    ended = town("run", "wait", "-", "drun_none", "nosuch@last", stdin=first)
    rows = [line.split("\t")[:3] for line in ended.out.splitlines()]
    assert [row[1] for row in rows] == ["completed", "failed", "not_found", "not_found"]
    assert rows[2:] == [["drun_none", "not_found", "-"], ["", "not_found", "nosuch@last"]]


def test_quiet_prints_the_ids_of_runs_alone(town: Town) -> None:
    ran = town("deploy", "run", "dep_nothere", "dep_demo", "dep_paused", "dep_fail", "-q")
    runs = {run.deployment.id: run.id for run in town.world.started()}
    assert ran.out.splitlines() == [runs["dep_demo"], runs["dep_fail"]]


def test_one_from_standard_input_is_an_array_of_one(town: Town) -> None:
    ran = town("deploy", "run", "-", "--wait", "--json", stdin="dep_demo\n")
    assert [item["input"] for item in ran.json] == ["dep_demo"]


def test_what_one_command_prints_another_takes(town: Town) -> None:
    listed = town("deploy", "list", "--status", "active", "-q")
    started = town("deploy", "run", "-", "-q", "--parallel", "20", stdin=listed.out)
    assert started.code == 4  # dep_locked is among them
    ended = town("run", "wait", "-", "-o", "jsonl", "--timeout", "60", stdin=started.out)
    assert len(lines(ended)) == len(started.out.splitlines()) > 8
    assert {item["exit_code"] for item in lines(ended)} >= {0, 1, 124}


# Which runs are waited for.


def test_what_cannot_be_found_has_its_item_and_the_others_are_waited_for(town: Town) -> None:
    good = town("deploy", "run", "dep_demo", "-q").out.strip()
    words = (good, "drun_missing", "sess_missing", "nosuch@last", "dep_slow@last", "dep_demo@last", "last")
    ran = town("run", "wait", *words, "--json")
    assert [item["input"] for item in ran.json] == list(words)
    assert [item["exit_code"] for item in ran.json] == [0, 5, 5, 5, 5, 0, 0]
    assert [item["id"] for item in ran.json] == [good, None, None, None, None, good, good]
    assert ran.code == 5
    said = " ".join(warnings(ran))
    for word in ("drun_missing", "sess_missing", "nosuch", "dep_slow"):
        assert word in said


def test_a_name_that_several_have_is_an_item_too(current: Town) -> None:
    good = current("deploy", "run", "dep_demo", "-q").out.strip()
    current.world.unique_names = False
    for _ in range(2):
        current.world.add_deployment(name="twin")
    ran = current("run", "wait", "twin@last", good, "--json")
    assert (ran.code, [item["exit_code"] for item in ran.json]) == (2, [2, 0])


def test_what_can_be_no_run_is_refused_before_anything_is_asked(current: Town) -> None:
    ran = current("run", "wait", "drun_1", "dep_1", "--json")
    assert (ran.code, ran.out, current.server.asked) == (2, "", [])


def test_when_a_token_is_refused_no_further_run_is_looked_for(current: Town) -> None:
    current.server.refuse = lambda asked: answer(401, "authentication_error")
    ran = current("run", "wait", "-", "--json", stdin="\n".join(f"dep_{n}@last" for n in range(40)))
    assert (ran.code, {item["exit_code"] for item in ran.json}) == (4, {4})
    assert len(current.server.asked) <= 8


def test_finding_out_which_runs_are_meant_is_part_of_the_time(town: Town) -> None:
    known = town.world.start("dep_long").id
    deployments = town.world.seed_deployments(800, behaviour=Behaviour(turn(seconds=3600)))
    for each in deployments:
        town.world.start(each)
    words = [known, *(f"{each.id}@last" for each in deployments)]
    ran = town("run", "wait", "-", "--timeout", "10", "--json", stdin="\n".join(words))
    assert (ran.code, {item["exit_code"] for item in ran.json}) == (124, {124})
    missed = [item for item in ran.json if "was not identified within 10s" in str(item["error"])]
    assert len(missed) > 100  # to find all takes 40 s
    assert len([asked for asked in town.server.asked if asked.path.endswith("/runs")]) < 700
    assert {known, *(item["input"] for item in missed)} <= set(ran.error["next"])
    assert warnings(ran) == []


# What is said of those that came to nothing.


def warnings(ran: Ran) -> list[str]:
    return [line for line in ran.err.splitlines() if line.startswith("warning:")]


@pytest.mark.parametrize("format", ["-q", "--json", "--output=table"])
def test_each_of_which_there_is_no_run_is_warned_of_with_what_to_do(town: Town, format: str) -> None:
    ran = town("deploy", "run", "demo", "dep_paused", "dep_nothere", "locked", "typo", "--keep-going", format)
    said = sorted(warnings(ran))
    assert [next(word for word in ("nothere", "paused", "locked", "typo") if word in line) for line in said] == [
        "nothere",
        "paused",
        "locked",
        "typo",
    ]
    assert "(hint: resume it first: qoder deploy unpause dep_paused" in said[1]
    assert "no deployment is named 'typo'" in said[3]
    if format == "-q":
        assert ran.errors == [f"error: 1 of 5 runs started; {said[2].removeprefix('warning: ').partition(' (')[0]}"]


def test_one_that_decides_alone_is_not_warned_of(town: Town) -> None:
    ran = town("deploy", "run", "-", stdin="dep_nothere\n")
    assert (ran.code, warnings(ran)) == (5, [])


def test_the_error_names_the_deployment_whose_run_decides(town: Town) -> None:
    ran = town("deploy", "run", "demo", "fail", "--wait", "--json")
    assert ran.error["message"].startswith(f"1 of 2 runs completed; fail: run {ran.json[1]['id']} failed (")
    assert ran.json[1]["error"] == {"type": "retries_exhausted", "message": ran.json[1]["error"]["message"]}


def test_a_flood_of_the_same_is_warned_of_for_a_few(town: Town) -> None:
    refused = town.server.refuse
    town.server.refuse = lambda asked: answer(403, "permission_error") if "/run" in asked.path else refused(asked)
    ids = [each.id for each in town.world.seed_deployments(40)]
    ran = town("deploy", "run", *ids, "-q")
    assert ran.code == 4
    assert len(warnings(ran)) == 11
    assert warnings(ran)[-1].endswith("(further identical warnings suppressed)")


def test_each_that_is_unknown_is_told_with_the_command_that_repeats_it_under_its_key(town: Town) -> None:
    town.server.faults = Faults("trigger:drop-before*2")
    words = ("--wait", "--timeout", "4", "--parallel", "1")
    ran = town("deploy", "run", "dep_demo", "dep_silent", "dep_long", *words, "--json")
    assert [item["exit_code"] for item in ran.json] == [9, 9, 124]
    said = [line for line in warnings(ran) if "unknown whether" in line]
    keys = [seen.key for seen in town.world.requests if seen.method == "POST"]
    for line, id in zip(said, ["dep_demo", "dep_silent"], strict=True):
        repeated = re.search(rf"qoder deploy run {id} --idempotency-key (\S+) --wait --timeout 4 -o json\)", line)
        assert repeated is not None, line
        assert repeated[1] in keys
    assert (ran.code, ran.error["type"]) == (9, "outcome_unknown")
    assert ran.error["hint"] == (
        "check the runs of those 2 before starting them again (see their warnings); to wait for the rest"
    )
    assert ran.error["next"] == ["qoder", "run", "wait", ran.json[2]["id"], "-o", "json"]
    again = town(*ran.json[0]["error"]["next"][1:])
    assert (again.code, again.json["deployment_id"]) == (0, "dep_demo")


def test_of_one_that_is_unknown_the_last_error_has_the_command(town: Town) -> None:
    town.server.faults = Faults("trigger:drop-before")
    ran = town("deploy", "run", "dep_demo", "dep_silent", "--parallel", "1", "--json")
    assert ran.error["next"] == ran.json[0]["error"]["next"]
    assert ran.error["next"][:4] == ["qoder", "deploy", "run", "dep_demo"]


def test_those_that_were_refused_are_started_by_one_command_under_their_keys(town: Town) -> None:
    town.server.refuse = lambda asked: answer(429) if asked.path == "/deployments/dep_silent/run" else None
    words = ("deploy", "run", "dep_demo", "silent", "dep_paused", "dep_nothere", "--idempotency-key", "night", "--json")
    ran = town(*words)
    assert (ran.code, [item["exit_code"] for item in ran.json]) == (7, [0, 7, 6, 5])
    repeat = ["qoder", "deploy", "run", "dep_silent", "dep_paused", "--idempotency-key", "night", "-o", "json"]
    assert ran.error["next"] == repeat
    assert ran.error["hint"].endswith("to start the ones not started")
    town.server.refuse = lambda asked: None
    again = town(*repeat[1:])
    assert [item["exit_code"] for item in again.json] == [0, 6]
    assert again.error["next"] == [*repeat[:3], "dep_paused", "--idempotency-key", "night:dep_paused", "-o", "json"]
    assert town(*words).json[1]["id"] == again.json[0]["id"]


def test_where_none_was_started_the_error_has_no_command(town: Town) -> None:
    ran = town("deploy", "run", "dep_paused", "dep_nothere", "--json")
    assert (ran.code, ran.error["next"]) == (6, None)


# What is named.


@pytest.mark.parametrize(
    "stdin",
    [
        "dep_demo\ndep_fail\n",
        "\n\n  dep_demo  \n# dep_paused\n\t\n   # and that is all\ndep_fail",
        "dep_demo\r\n\r\ndep_fail\r\n",
        "\ufeffdep_demo\ndep_fail\n",
    ],
)
def test_standard_input_is_a_name_a_line(current: Town, stdin: str) -> None:
    ran = current("deploy", "run", "-", "-q", stdin=stdin)
    assert (ran.code, sorted(posts(current))) == (0, ["dep_demo", "dep_fail"])


LONG = "x" * 5000
NO_LISTS = {
    "nothing": "",
    "blank": "\n \n\t\n",
    "comments": "# one\n#two",
    "a mark of the order of bytes": "\ufeff",
    "a million lines": "dep_demo\n" * 1_000_000,
    "too many": "".join(f"dep_{number}\n" for number in range(10_001)),
    "a line of 10 MB": "y" * 10_000_000,
    "a comment that ends in a name": "# " + " " * 4094 + "dep_demo\n",
    "a name that is too long": f"dep_demo\n{'z' * 257}\n",
    "a control character": "dep_demo\ndep_\x00\n",
    "another kind": "dep_demo\nagent_1\n",
    "a path": "dep_demo\n../dep_fail\n",
    "UTF-16": "d\0e\0p\0_\0d\0e\0m\0o\0\n\0",
}


@pytest.mark.parametrize("stdin", NO_LISTS.values(), ids=NO_LISTS.keys())
def test_what_is_no_list_of_names_is_exit_2_and_nothing_is_sent(current: Town, stdin: str) -> None:
    ran = current("deploy", "run", "-", stdin=stdin)
    assert (ran.code, ran.out, current.server.asked) == (2, "", [])
    assert len(ran.errors[0]) < 400


@pytest.mark.parametrize("line", ["dep_demo\n", "\n", "# nothing\n", LONG])
def test_a_pipe_that_never_ends_is_exit_2(line: str) -> None:
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


def test_standard_input_that_is_closed_is_exit_2() -> None:
    with pytest.raises(UsageError, match="standard input is empty"):
        named(["-"], App(env={}, out=Screen(None), err=Screen(None)))


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "ascii"])
def test_standard_input_is_utf_8_whatever_the_locale(encoding: str) -> None:
    assert named(["-"], piped("\ufeffTäglich\r\n日報\n".encode(), encoding)) == ["Täglich", "日報"]
    with pytest.raises(UsageError, match="line 2 of standard input is not UTF-8"):
        named(["-"], piped("demo\nTäglich\n".encode("cp1252"), encoding))
    with pytest.raises(UsageError, match="line 1 of standard input is not UTF-8"):
        named(["-"], piped("demo\n".encode("utf-16"), encoding))


@pytest.mark.parametrize(
    "words",
    [
        ("dep_demo", "dep_demo"),
        ("dep_demo", "demo"),
        ("demo", "dep_fail", "demo"),
        ("dep_demo", "dep_demo", "--keep-going"),
        ("dep_demo", "dep_demo", "--allow-duplicates", "--idempotency-key", "k"),
    ],
)
def test_a_deployment_that_is_named_twice_starts_nothing(current: Town, words: tuple[str, ...]) -> None:
    ran = current("deploy", "run", *words)
    assert (ran.code, ran.out, posts(current)) == (2, "", [])
    assert "duplicate deployment: " in ran.errors[0]


def test_duplicates_can_be_allowed(current: Town) -> None:
    ran = current("deploy", "run", "dep_demo", "demo", "dep_demo", "--allow-duplicates", "--wait", "--json")
    assert (ran.code, posts(current)) == (0, ["dep_demo"] * 3)
    assert len({item["id"] for item in ran.json}) == 3


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["demo", "nope"], 5, "no deployment is named 'nope'"),
        (["dep_demo", "twin"], 2, "2 deployments are named 'twin'"),
        (["nope", "twin", "demo"], 5, "2 of 3 deployments"),
        ([f"no-{number}" for number in range(50)], 5, "and 45 more"),
    ],
)
def test_while_a_name_is_not_known_nothing_is_started(current: Town, words: list[str], code: int, said: str) -> None:
    current.world.unique_names = False
    for _ in range(2):
        current.world.add_deployment(name="twin")
    ran = current("deploy", "run", *words, "--json")
    assert (ran.code, ran.out, posts(current)) == (code, "", [])
    assert said in ran.error["message"]
    assert "--keep-going" in ran.error["hint"]


def test_each_name_that_is_not_known_has_its_nearest(current: Town) -> None:
    ran = current("deploy", "run", "demmo", "silnt", "quuxquux", "fail", "--json")
    assert "named 'demmo', did you mean 'demo' (dep_demo)?" in ran.error["message"]
    assert "named 'silnt', did you mean 'silent' (dep_silent)" in ran.error["message"]
    assert ran.error["message"].endswith("no deployment is named 'quuxquux'")


def test_keep_going_starts_the_others(current: Town) -> None:
    current.world.unique_names = False
    for _ in range(2):
        current.world.add_deployment(name="twin")
    ran = current("deploy", "run", "nope", "demo", "twin", "dep_fail", "--keep-going", "--json")
    assert [item["exit_code"] for item in ran.json] == [5, 0, 2, 0]
    assert (ran.code, sorted(posts(current))) == (5, ["dep_demo", "dep_fail"])


@pytest.mark.parametrize("number", ["0", "-1", "101", "1000000", "many", "1.5"])
def test_parallel_has_bounds(current: Town, number: str) -> None:
    ran = current("deploy", "run", "dep_demo", "dep_fail", "--parallel", number)
    assert (ran.code, ran.out, current.server.asked) == (2, "", [])


@pytest.mark.parametrize("parallel", [1, 3])
def test_parallel_is_how_many_are_under_way(current: Town, parallel: int) -> None:
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


def test_no_more_than_twenty_are_started_in_a_second(current: Town) -> None:
    ids = [each.id for each in current.world.seed_deployments(45)]
    assert current("deploy", "run", "-", "--parallel", "100", "-q", stdin="\n".join(ids)).code == 0
    moments = [seen.at for seen in current.world.requests if seen.method == "POST"]
    assert moments[-1] - moments[0] >= 44 / 20


def test_order_and_ids_are_kept_with_many(town: Town) -> None:
    ids = [each.id for each in town.world.seed_deployments(60)]
    ran = town("deploy", "run", "-", "--wait", "--json", stdin="\n".join(ids))
    assert (ran.code, [item["input"] for item in ran.json]) == (0, ids)
    assert {item["deployment_id"]: item["id"] for item in ran.json} == {
        run.deployment.id: run.id for run in town.world.started()
    }
    assert {item["status"] for item in ran.json} == {"completed"}


# What may stop it.


@pytest.mark.parametrize("wait", [(), ("--wait",)])
def test_fail_fast_starts_no_more_and_leaves_nothing_unknown(town: Town, wait: tuple[str, ...]) -> None:
    ids = [each.id for each in town.world.seed_deployments(30, behaviour=Behaviour(turn(seconds=600)))]
    words = [*ids[:5], "dep_nostart", *ids[5:]]
    ran = town("deploy", "run", *words, "--fail-fast", "--parallel", "2", *wait, "--json")
    assert (ran.code, [item["input"] for item in ran.json]) == (1, words)
    codes = [item["exit_code"] for item in ran.json]
    assert codes[5] == 1
    assert codes.count(None) >= 15
    assert set(codes) == {1, None, 8 if wait else 0}
    assert is_accounted_for(town, ran.json)
    going = [item["id"] for item in ran.json if item["exit_code"] == 8]
    command = ["run", "wait", *going] if wait else ["deploy", "get", "dep_nostart"]
    assert ran.error["next"] == ["qoder", *command, "-o", "json"]
    for item in ran.json:
        if item["exit_code"] is None:
            assert (item["id"], item["error"]["type"]) == (None, "not_yet")
            assert "not started" in item["error"]["message"]


def test_fail_fast_starts_nothing_after_one_that_failed_whatever_is_being_read(town: Town) -> None:
    words = ["dep_long", "dep_paused", "dep_minute", "dep_silent"]
    ran = town("deploy", "run", *words, "--wait", "--fail-fast", "--parallel", "1", "--json")
    assert (ran.code, [item["exit_code"] for item in ran.json]) == (6, [8, 6, None, None])
    assert posts(town) == words[:2]
    restart = "3 were not started; to start them: qoder deploy run dep_paused dep_minute dep_silent --wait -o json"
    assert ran.error["hint"].endswith(f"{restart}; to wait for the rest")
    assert ran.error["next"] == ["qoder", "run", "wait", ran.json[0]["id"], "-o", "json"]


@pytest.mark.parametrize("options", [("--on-skip", "ok"), ()])
def test_what_is_excused_does_not_stop_the_others(town: Town, options: tuple[str, ...]) -> None:
    words = ("dep_long", "--parallel", "1", "--fail-fast", "--if-idle", "--json")
    assert town("deploy", "run", "dep_long").code == 0
    ran = town("deploy", "run", "dep_demo", *words, "dep_silent", *options)
    assert (ran.code, [item["exit_code"] for item in ran.json]) == ((0, [0, 0, 0]) if options else (3, [0, 3, None]))


def test_fail_fast_waits_no_longer_when_one_of_them_fails(current: Town) -> None:
    ran = current("deploy", "run", "dep_long", "dep_fail", "dep_minute", "--wait", "--fail-fast", "--json")
    assert (ran.code, [item["exit_code"] for item in ran.json]) == (1, [8, 1, 8])
    assert [item["status"] for item in ran.json] == ["running", "failed", "running"]


def test_fail_fast_starts_nothing_when_a_name_is_unknown_though_the_others_could_go(current: Town) -> None:
    ran = current("deploy", "run", "nope", "demo", "--keep-going", "--fail-fast", "--json")
    assert (ran.code, [item["exit_code"] for item in ran.json]) == (5, [5, None])
    assert posts(current) == []


@pytest.mark.parametrize("on_skip", [(), ("--on-skip", "ok")])
@pytest.mark.parametrize("wait", [(), ("--wait",)])
def test_if_idle_names_the_run_that_is_going(town: Town, on_skip: tuple[str, ...], wait: tuple[str, ...]) -> None:
    going = town.world.start("dep_long")
    ran = town("deploy", "run", "dep_demo", "dep_long", "--if-idle", *on_skip, *wait, "--json")
    code = 0 if on_skip else 3
    assert (ran.code, [item["exit_code"] for item in ran.json]) == (code, [0, code])
    assert ran.json[1]["id"] == going.id
    assert posts(town) == ["dep_demo"]


def test_a_skip_can_be_fine(tmp_path: Path) -> None:
    legacy = _town("legacy", tmp_path)
    for words in ((), ("--wait",)):
        ran = legacy("deploy", "run", "dep_skip", "dep_demo", "--on-skip", "ok", *words, "--json")
        assert (ran.code, [item["exit_code"] for item in ran.json]) == (0, [0, 0])


def test_under_a_key_each_is_started_once_however_often_it_is_asked(town: Town) -> None:
    words = ("deploy", "run", "dep_demo", "dep_fail", "dep_paused", "--idempotency-key", "night-1", "--json")
    first = town(*words)
    keys = {seen.path.split("/")[-2]: seen.key for seen in town.world.requests if seen.method == "POST"}
    assert keys == {id: f"night-1:{id}" for id in ("dep_demo", "dep_fail", "dep_paused")}
    again = town(*words)
    assert [item["id"] for item in again.json] == [item["id"] for item in first.json]
    assert Counter(posts(town)) == {"dep_demo": 1, "dep_fail": 1, "dep_paused": 2}
    assert again.err.count("nothing was sent") == 2


def test_under_a_key_three_hundred_are_started_once(tmp_path: Path) -> None:
    town = Town("current", tmp_path, HastyClock(1000.0))
    ids = [each.id for each in town.world.seed_deployments(300)]
    words = ("deploy", "run", "-", "-q", "--idempotency-key", "nightly", "--parallel", "20")
    first, again = (town(*words, stdin="\n".join(ids)) for _ in range(2))
    assert (first.code, again.code) == (0, 0)
    assert again.out == first.out
    assert sorted(posts(town)) == sorted(ids)


def test_a_key_that_becomes_too_long_starts_nothing(current: Town) -> None:
    ran = current("deploy", "run", "dep_demo", "dep_fail", "--idempotency-key", "k" * 250)
    assert (ran.code, ran.out, current.server.asked) == (2, "", [])


def test_a_dry_run_shows_each_request_and_sends_none(current: Town) -> None:
    ran = current("deploy", "run", "demo", "dep_fail", "--dry-run", "--idempotency-key", "k", "--json")
    assert (ran.code, posts(current)) == (0, [])
    assert [item["idempotency_key"] for item in ran.json] == ["k:dep_demo", "k:dep_fail"]
    assert [(item["input"], item["exit_code"]) for item in ran.json] == [("demo", 0), ("dep_fail", 0)]
    assert current("deploy", "run", "demo", "nope", "--dry-run").code == 5


def test_a_dry_run_names_what_is_not_known_and_ends_as_the_command_would(current: Town) -> None:
    words = ("deploy", "run", "demo", "nope", "dep_fail", "--keep-going")
    ran = current(*words, "--dry-run", "--json")
    assert [item["exit_code"] for item in ran.json] == [0, 5, 0]
    assert (ran.json[1]["id"], ran.json[1]["input"], ran.json[1]["error"]["type"]) == (None, "nope", "not_found")
    assert (ran.code, ran.error["message"]) == (5, "2 of 3 runs would be started; no deployment is named 'nope'")
    rows = [line.split("\t") for line in current(*words, "--dry-run").out.splitlines()]
    assert [(row[1], row[7], row[8]) for row in rows] == [
        ("POST", "dep_demo", "-"),
        ("-", "nope", "not_found"),
        ("POST", "dep_fail", "-"),
    ]
    assert current(*words, "--dry-run", "-q").out.splitlines() == ["dep_demo", "dep_fail"]
    assert posts(current) == []
    assert current(*words).code == 5


def test_a_dry_run_of_several_says_which_would_be_refused(current: Town) -> None:
    words = ("deploy", "run", "demo", "paused", "dep_archived", "dep_nothere", "--dry-run")
    ran = current(*words, "--json")
    assert [item["exit_code"] for item in ran.json] == [0, 6, 6, 5]
    assert [item["deployment"] for item in ran.json] == ["dep_demo", "dep_paused", "dep_archived", "dep_nothere"]
    assert "error" not in ran.json[0]
    assert ran.json[1]["error"]["message"] == "deployment dep_paused is paused (manual); a run would be refused"
    assert ran.code == 6
    assert ran.error["message"].startswith("1 of 4 runs would be started; deployment dep_paused is paused")
    rows = [line.split("\t") for line in current(*words).out.splitlines()]
    assert [(row[7], row[8]) for row in rows] == [
        ("dep_demo", "-"),
        ("dep_paused", "rejected"),
        ("dep_archived", "rejected"),
        ("dep_nothere", "not_found"),
    ]
    assert current(*words, "-q").out == "dep_demo\n"
    assert posts(current) == []


@pytest.mark.parametrize("change", [{"QODER_READ_ONLY": "1"}, {"QODER_PAT": ""}])
def test_what_may_not_be_sent_is_not(current: Town, change: dict[str, str]) -> None:
    current.env |= change
    ran = current("deploy", "run", "dep_demo", "dep_fail", "--wait", "--json")
    assert (ran.code, posts(current)) == (2 if "QODER_READ_ONLY" in change else 4, [])
    if ran.out:
        assert [item["exit_code"] for item in ran.json] == [2, 2]
        assert "QODER_READ_ONLY" in ran.error["message"]


def test_the_progress_counts_what_has_ended_and_what_was_refused(town: Town) -> None:
    ran = town("deploy", "run", "dep_demo", "dep_paused", "dep_long", "--wait", "--timeout", "45", "-q")
    assert "\n1 of 3 runs finished, 1 not started after " in ran.err


# What is asked of the end.


def test_results_go_with_json(town: Town) -> None:
    ran = town("deploy", "run", "dep_demo", "dep_silent", "dep_nothere", "dep_long", *RESULT, "--json")
    results = [item.get("result", "absent") for item in ran.json]
    assert results[0].startswith("Status report")
    assert results[1:] == [None, "absent", "absent"]
    assert town("deploy", "run", "dep_demo", "dep_silent", "--result").code == 2


RESULT = ("--result", "--timeout", "60")


def test_a_result_that_cannot_be_read_is_exit_10_and_the_others_are_told(town: Town) -> None:
    refused = town.server.refuse
    town.server.refuse = lambda asked: answer(501) if "agent.message" in str(asked.query) else refused(asked)
    ran = town("deploy", "run", "dep_demo", "dep_fail", "dep_nothere", *RESULT, "--json")
    assert [item["exit_code"] for item in ran.json] == [10, 1, 5]
    assert [item["id"] is None for item in ran.json] == [False, False, True]
    assert (ran.code, ran.error["type"]) == (10, "lost_sight")
    assert "cannot be read" in ran.error["message"]


def test_results_are_read_beside_the_wait(town: Town) -> None:
    ids = [each.id for each in town.world.seed_deployments(20, behaviour=Behaviour(turn(seconds=2)))]
    last = town.world.add_deployment(name="last", behaviour=Behaviour(turn(seconds=8))).id

    def refuse(asked: Asked) -> None:
        if "agent.message" in str(asked.query):
            town.clock.sleep(10)

    town.server.refuse = refuse
    ran = town("deploy", "run", *ids, last, "--parallel", "20", "--result", "--timeout", "20", "--json")
    assert {item["status"] for item in ran.json} == {"completed"}
    codes = Counter(item["exit_code"] for item in ran.json)
    assert codes.keys() == {0, 10}
    assert codes[0] >= 6  # so many at a time
    assert [item["exit_code"] for item in ran.json if "result" in item] == [0] * codes[0]
    assert (ran.code, ran.error["run_state"]) == (10, "ended")
    assert "there was no time left" in ran.error["message"]


def test_an_outcome_that_cannot_be_read_is_exit_10(current: Town) -> None:
    refused = current.server.refuse

    def refuse(asked: Asked) -> httpx.Response | None:
        is_session = asked.path.startswith("/sessions/") and asked.path.count("/") == 2
        return answer(501) if is_session else refused(asked)

    current.server.refuse = refuse
    ran = current("deploy", "run", "dep_demo", "dep_fail", "--wait", "--require-satisfied", "--json")
    assert (ran.code, [item["exit_code"] for item in ran.json]) == (10, [10, 1])


def test_without_an_evaluation_no_outcome_is_good_enough(current: Town) -> None:
    ran = current("deploy", "run", "dep_demo", "dep_silent", "--wait", "--require-satisfied", "--json")
    assert (ran.code, [item["exit_code"] for item in ran.json]) == (1, [1, 1])
    assert "2 runs: 2 completed" in ran.err
    assert ran.error["message"].startswith("0 of 2 runs succeeded; dep_demo: ")


def test_on_leave_cancel_cancels_each_that_goes_on(town: Town) -> None:
    ids = [each.id for each in town.world.seed_deployments(12, behaviour=Behaviour(turn(seconds=600)))]
    ran = town("deploy", "run", *ids, "--wait", "--timeout", "2", "--on-leave", "cancel", "--json")
    assert (ran.code, [item["exit_code"] for item in ran.json]) == (124, [124] * 12)
    sessions = {item["session_id"] for item in ran.json}
    cancelled = {seen.path.split("/")[-2] for seen in town.world.requests if seen.path.endswith("/cancel")}
    assert cancelled == sessions
    assert ran.error["message"].endswith("; cancellation was requested for 12 runs")


def test_an_adopted_run_among_them_is_not_cancelled(current: Town) -> None:
    current.server.faults = Faults("trigger:drop-after")
    current.world.deployments["dep_demo"].behaviour = Behaviour(turn(seconds=600))
    words = ("--wait", "--timeout", "2", "--on-leave", "cancel", "--parallel", "1", "--json")
    ran = current("deploy", "run", "dep_demo", "dep_long", *words)
    assert [item.get("adopted", False) for item in ran.json] == [True, False]
    cancelled = [seen.path.split("/")[-2] for seen in current.world.requests if seen.path.endswith("/cancel")]
    assert cancelled == [ran.json[1]["session_id"]]
    assert "was not cancelled: it was adopted" in ran.err
    assert ran.error["message"].endswith("; cancellation was requested for 1 run")


def test_following_several_names_the_deployment_in_each_line(current: Town) -> None:
    ran = current("deploy", "run", "dep_demo", "dep_fail", "--follow", "-q")
    said = [line for line in ran.err.splitlines() if "agent\t" in line or "Bash" in line or "Status report" in line]
    assert [line for line in said if line.startswith("dep_demo")]
    assert ran.code == 1


# What was lost.


@pytest.mark.parametrize(
    ("fault", "codes"),
    [
        ("trigger:drop-after*3", {0}),
        ("trigger:drop-before*3", {0, 9}),
        ("trigger:act-503*3", {0}),
        ("trigger:503*9", {0, 7}),
        ("trigger:429=1*5", {0}),
        ("trigger:garbage*3", {0}),
    ],
)
def test_an_answer_that_is_lost_is_found_or_called_unknown(town: Town, fault: str, codes: set[int]) -> None:
    town.server.faults = Faults(fault)
    ids = [each.id for each in town.world.seed_deployments(6)]
    ran = town("deploy", "run", *ids, "--wait", "--json", "--parallel", "100")
    assert {item["exit_code"] for item in ran.json} <= codes
    assert is_accounted_for(town, ran.json)
    assert max(Counter(run.deployment.id for run in town.world.started()).values()) == 1


# Where it is written.


class Breaking(io.BytesIO):
    """Standard output that takes two writes, and then no more."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.left, self.error = 2, error

    def write(self, data: Any) -> int:
        self.left -= 1
        if self.left < 0:
            raise self.error
        return super().write(data)


BROKEN = {"gone": (BrokenPipeError(), 141), "full": (OSError(errno.ENOSPC, "No space left on device"), 70)}


@pytest.mark.parametrize("wait", [(), ("--wait",)])
@pytest.mark.parametrize(("error", "code"), BROKEN.values(), ids=BROKEN.keys())
def test_an_output_that_breaks_stops_the_launching_and_loses_nothing(
    town: Town, error: OSError, code: int, wait: tuple[str, ...]
) -> None:
    assert isinstance(town.clock, HastyClock)
    town.clock.speed = 10.0  # else all are launched while a busy machine keeps one thread from printing
    ids = [each.id for each in town.world.seed_deployments(60, behaviour=Behaviour(turn(seconds=0.3)))]
    words = ("--parallel", "1", *wait, "-o", "jsonl")
    ran = town("deploy", "run", "-", *words, stdin="\n".join(ids), out=Breaking(error))
    started = [run.id for run in town.world.started()]
    assert ran.code == code
    assert len(started) < 60
    assert [entry.run for entry in entries_in(town.folder) if entry.run] == started
    if code == 70:
        assert set(ran.error["next"][3:-2]) <= set(started)
        assert "cannot write" in ran.error["message"]
    else:
        assert ran.errors == []
        assert '"error"' not in ran.err


def test_what_a_bug_stops_is_unknown_or_an_error_of_its_own(current: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    from qoder_cli.runs.trigger import Trigger

    begin = Trigger.start

    def start(self: Trigger) -> Any:
        if self.deployment_id == "dep_fail":
            raise ZeroDivisionError
        started = begin(self)
        if self.deployment_id == "dep_silent":
            raise KeyError("oops")
        return started

    monkeypatch.setattr(Trigger, "start", start)
    ran = current("deploy", "run", "dep_demo", "dep_fail", "dep_silent", "--wait", "--json")
    assert (ran.code, [item["exit_code"] for item in ran.json]) == (9, [0, 70, 9])
    assert is_accounted_for(current, ran.json)


def test_an_item_that_was_not_attempted_has_no_exit_code() -> None:
    from qoder_cli.runs.awaiting import Item

    item = Item("dep_1", None, NotYet("not begun"), attempted=False).as_json()
    assert (item["input"], item["exit_code"], item["id"]) == ("dep_1", None, None)


def test_a_signal_when_all_that_were_started_have_ended_says_so(qoder: Qoder) -> None:
    screen = Screen(io.BytesIO())
    app = App(env=qoder.env, out=screen, err=screen, clock=qoder.clock)
    ended, not_begun = Item("dep_1", Run(DONE)), Item("dep_2", None, NotYet("not started"), attempted=False)
    error = Signalled(signal.SIGINT).in_words("stopped")
    assert last_words(app, error, [ended, not_begun], verb="completed").run_state == "ended"
    assert last_words(app, error, [not_begun, not_begun], verb="completed").run_state == "none"
