"""What a shell, a terminal and a script meet: real processes, their signals, pipes and exit codes."""

import json
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("signals, pipes and terminals as POSIX has them", allow_module_level=True)

import qoder_cli
from qoder_cli.sandbox.server import Server
from qoder_cli.sandbox.wire import GENERATIONS, Generation
from tests.support.processes import (
    BIN,
    HEARING,
    IMPATIENT,
    MODULE,
    MORE_THAN_ONE_SIGNAL,
    PATIENCE,
    Ended,
    Going,
    Held,
    Shell,
    Terminal,
    an_hour_later,
    sandbox,
    staged,
    until,
)
from tests.support.programs import need

NOWHERE = "/dev/null/home"  # nothing can be made or read below it, by root neither
FULL = Path("/dev/full")
COLOUR = re.compile("\x1b\\[[0-9;]*m")
Servers = dict[Generation, Server]
both = pytest.mark.parametrize("generation", GENERATIONS)


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """Serve a fast world of each generation, shared by the tests that do not look into it."""
    with sandbox("current") as current, sandbox("legacy") as legacy:
        yield {"current": current, "legacy": legacy}


@pytest.fixture(scope="session")
def lasting() -> Iterator[Servers]:
    """Serve worlds in which a minute is a minute: runs that go on."""
    with sandbox("current", speed=1) as current, sandbox("legacy", speed=1) as legacy:
        yield {"current": current, "legacy": legacy}


@pytest.fixture
def alone(tmp_path: Path) -> Shell:
    """Return a shell that knows no server."""
    return Shell(tmp_path)


@pytest.fixture
def shell(alone: Shell, servers: Servers) -> Shell:
    """Return a shell in a sandbox of the current generation."""
    return alone.enter(servers["current"])


# What takes long stands first, so that it runs beside the rest.


def test_what_the_network_does_not_answer(alone: Shell) -> None:
    with sandbox("current", "any:html*inf") as gateway, sandbox("legacy", "any:hang-before*inf") as silent:
        places = {
            "refused": "http://127.0.0.1:1",
            "unknown host": "https://nowhere.invalid",
            "not TLS": f"https://127.0.0.1:{gateway.port}",
            "a page": gateway.base_url,
        }
        alone.hurry().env["QODER_PAT"] = "pt-0123456789abcdef"
        tries = {
            (name, verb): alone.begin("deploy", verb, "dep_demo", "--json", "--base-url", url)
            for name, url in places.items()
            for verb in ("run", "get")
            if (name, verb) != ("a page", "run")  # that is exit 9, below
        }
        hanging = alone.begin("run", "wait", "drun_x", "--timeout", "1", "--json", "--base-url", silent.base_url)
        ended = {name: going.end() for name, going in tries.items()}
        assert {name: one.code for name, one in ended.items()} == dict.fromkeys(tries, 7)
        told = {(one.error["type"], one.error["run_state"], one.out) for one in ended.values()}
        assert told == {("unavailable", "none", "")}
        assert all(one.error["hint"] for one in ended.values())
        waited = hanging.end()
        assert (waited.code, waited.error["run_state"]) == (124, "unknown")
        assert len(silent.world.requests) == 1  # the look that was under way may end; another one is too late


def test_the_next_command_finds_the_run_whose_answer_was_lost_to_a_signal(tmp_path: Path) -> None:
    with sandbox("current", "trigger:hang-after") as current, sandbox("legacy", "trigger:hang-after") as legacy:
        for name in ("int", "term"):
            (tmp_path / name).mkdir()
        shells = {signal.SIGINT: Shell(tmp_path / "int", current), signal.SIGTERM: Shell(tmp_path / "term", legacy)}
        going = {}
        for (signum, shell), server in zip(shells.items(), (current, legacy), strict=True):
            going[signum] = shell.begin("deploy", "run", "dep_demo", "--wait", "--json", prologue=IMPATIENT)
            until(server.world.started, "a run")
            going[signum].signal(signum)
        for (signum, shell), server in zip(shells.items(), (current, legacy), strict=True):
            ended = going[signum].end()
            assert (ended.code, ended.out) == (-signum if signum == signal.SIGINT else 143, "")
            assert (ended.error["type"], ended.error["exit_code"]) == ("outcome_unknown", 128 + signum)
            assert (ended.error["run_state"], ended.error["run_id"]) == ("unknown", None)
            resumed = shell.qoder(*ended.error["next"][1:], prologue=HASTY_LOOKS)
            assert resumed.code == 0
            assert [resumed.json["id"]] == [run.id for run in server.world.started()]


# The run list is looked at for 30 s where an answer was lost; here it does not lag.
HASTY_LOOKS = """
from qoder_cli.runs import lost
lost.LOOKS, lost.MORE_LOOKS = (0.1,), (0.2,)
"""


# Every exit code.


@both
def test_the_exit_code_says_how_the_run_ended(generation: Generation, alone: Shell, servers: Servers) -> None:
    alone.enter(servers[generation])
    expected = {
        "dep_demo": (0, "completed", None),
        "dep_silent": (0, "completed", None),
        "dep_fail": (1, "failed", "run_failed"),
        "dep_terminated": (1, "failed", "run_failed"),
        "dep_budget": (1, "failed", "run_failed"),
        "dep_nostart": (1, "failed", "run_failed"),
        "dep_skip": (3, "skipped", "run_skipped") if generation == "legacy" else (1, "failed", "run_failed"),
    }
    going = {id: alone.begin("deploy", "run", id, "--wait", "--json") for id in expected}
    ended = {id: one.end() for id, one in going.items()}
    told = {id: (one.code, one.json["status"], one.error["type"] if one.code else None) for id, one in ended.items()}
    assert told == expected
    assert all(one.error["run_id"] == one.json["id"] for one in ended.values() if one.code)
    assert all(one.error["exit_code"] == one.code for one in ended.values() if one.code)


@both
def test_without_waiting_a_run_that_never_started_is_no_success(
    generation: Generation, alone: Shell, servers: Servers
) -> None:
    alone.enter(servers[generation])
    assert alone.qoder("deploy", "run", "dep_demo").code == 0
    assert alone.qoder("deploy", "run", "dep_nostart").code == 1
    assert alone.qoder("deploy", "run", "dep_skip").code == (3 if generation == "legacy" else 1)


@pytest.mark.parametrize(
    ("words", "code", "type"),
    [
        (("deploy", "run"), 2, "usage"),
        (("deploy", "run", ""), 2, "usage"),
        (("deploy", "run", "../x"), 2, "usage"),
        (("deploy", "run", "dep_" + "x" * 500), 2, "usage"),
        (("deploy", "run", "dep_demo", "--timeout", "5"), 2, "usage"),
        (("deploy", "run", "dep_demo", "--wait", "--timeout", "-5"), 2, "usage"),
        (("deploy", "rnu", "dep_demo"), 2, "usage"),
        (("deploy", "run", "dep_demo", "--nonsense"), 2, "usage"),
        (("run", "wait", "-"), 2, "usage"),
        (("auth", "login"), 2, "usage"),
        (("deploy", "run", "dep_nothere"), 5, "not_found"),
        (("run", "get", "drun_nothere"), 5, "not_found"),
        (("run", "wait", "drun_nothere"), 5, "not_found"),
        (("deploy", "run", "dep_paused"), 6, "rejected"),
        (("deploy", "run", "dep_archived"), 6, "rejected"),
    ],
)
def test_what_cannot_be_done_has_its_code(shell: Shell, words: tuple[str, ...], code: int, type: str) -> None:
    ended = shell.qoder(*words, "--json")
    assert (ended.code, ended.out) == (code, "")
    assert (ended.error["type"], ended.error["exit_code"], ended.error["run_id"]) == (type, code, None)
    assert set(ended.error) == {
        *("type", "exit_code", "message", "hint", "next", "run_id", "session_id", "run_state"),
        *("api_type", "http_status", "request_id"),
    }


def test_the_command_and_the_hint_name_what_was_not_found(shell: Shell) -> None:
    ended = shell.qoder("deploy", "run", "dep_dmeo")
    assert ended.code == 5
    assert "dep_dmeo" in ended.errors[0]
    assert "dep_demo" in ended.err  # the nearest name


@pytest.mark.parametrize(
    ("env", "code"),
    [
        ({"QODER_PAT": ""}, 4),
        ({"QODER_PAT": "pt-somebody-elses-token"}, 4),
        ({"QODER_PAT": "pt-sand box"}, 2),
        ({"QODER_PAT": "pt-sand\nbox"}, 2),
        ({"QODER_SANDBOX": "", "QODER_BASE_URL": "http://example.com"}, 2),
        ({"QODER_READ_ONLY": "1"}, 2),
    ],
)
def test_a_token_or_a_server_that_will_not_do(shell: Shell, env: dict[str, str], code: int) -> None:
    ended = shell.qoder("deploy", "run", "dep_demo", "--json", env=env)
    assert (ended.code, ended.out, ended.error["run_state"]) == (code, "", "none")
    assert "somebody-elses" not in ended.err


def test_a_trigger_that_certainly_started_nothing(alone: Shell) -> None:
    codes = {"400": 6, "401": 4, "403": 4, "404": 5, "429=90": 7}
    with sandbox("current") as server:
        alone.enter(server)
        ended: dict[str, Ended] = {}
        for fault in codes:  # one after the other, for each has to meet its own fault
            server.faults.add(f"trigger:{fault}")
            ended[fault] = alone.qoder("deploy", "run", "dep_demo", "--wait", "--json")
        assert {fault: one.code for fault, one in ended.items()} == codes
        assert {(one.out, one.error["run_state"], one.error["run_id"]) for one in ended.values()} == {
            ("", "none", None)
        }
        assert len([seen for seen in server.world.requests if seen.method == "POST"]) == len(codes)
        assert server.world.started() == []


def test_a_trigger_whose_answer_is_lost_is_exit_9(alone: Shell) -> None:
    faults = ("drop-after", "hang-after", "html", "garbage", "list", "not-a-run", "truncated", "503-bare")
    words = ("deploy", "run", "dep_demo", "--json", "--on-lost", "fail")
    ended: dict[str, Ended] = {}
    with sandbox("legacy") as server:
        alone.enter(server)
        for fault in faults:
            server.faults.add(f"trigger:{fault}")
            impatient = ("--request-timeout", "0.5") if fault == "hang-after" else ()
            ended[fault] = alone.qoder(*words, *impatient)
    assert {fault: one.code for fault, one in ended.items()} == dict.fromkeys(faults, 9)
    assert {(one.error["type"], one.error["run_state"], one.out) for one in ended.values()} == {
        ("outcome_unknown", "unknown", "")
    }


@both
def test_a_token_that_is_refused_while_waiting_loses_sight_of_the_run(generation: Generation, alone: Shell) -> None:
    with sandbox(generation, "run:401*inf", "events:401*inf", speed=1) as server:
        ended = alone.enter(server).qoder("deploy", "run", "dep_minute", "--wait", "--json")
        assert (ended.code, ended.error["type"]) == (10, "lost_sight")
        (run,) = server.world.started()
        assert (ended.json["id"], ended.error["run_id"]) == (run.id, run.id)
        server.faults.on_order.clear()
        assert ended.error["next"][:4] == ["qoder", "run", "wait", run.id]
        assert alone.run(*ended.error["next"], "--timeout", "0").code == 124


@both
def test_a_run_that_goes_on(generation: Generation, alone: Shell, lasting: Servers) -> None:
    id = lasting[generation].world.start("dep_minute").id
    alone.enter(lasting[generation])
    assert alone.qoder("run", "get", id, "--exit-status").code == 8
    assert alone.qoder("run", "get", id).code == 0
    idle = alone.qoder("deploy", "run", "dep_minute", "--if-idle", "-q")
    assert (idle.code, idle.out.startswith("drun_")) == (3, True)


@both
def test_a_timeout_leaves_the_run_going_and_the_next_command_really_resumes(
    generation: Generation, alone: Shell
) -> None:
    with sandbox(generation, speed=1) as server:
        alone.enter(server)
        early = alone.qoder("deploy", "run", "dep_minute", "--wait", "--json", "--timeout", "0")
        assert (early.code, early.error["type"], early.error["run_state"]) == (124, "wait_timeout", "going")
        assert early.json["status"] in ("pending", "running")
        an_hour_later(server)
        resumed = alone.run(*early.error["next"])
    assert (resumed.code, resumed.json["id"], resumed.json["status"]) == (0, early.json["id"], "completed")


# Waiting: what is said, when, and where.


@both
def test_the_run_is_named_before_the_waiting_begins(generation: Generation, alone: Shell, lasting: Servers) -> None:
    going = alone.enter(lasting[generation]).begin("deploy", "run", "dep_minute", "--wait", "--json")
    going.says("run drun_")
    assert going.process.poll() is None
    assert going.out == ""
    named = re.findall(r"drun_\w+", going.err)
    ended = going.signal(signal.SIGTERM).end()
    assert ended.json["id"] == named[0]


def test_progress_can_be_switched_off(shell: Shell) -> None:
    assert shell.qoder("deploy", "run", "dep_demo", "--wait", "--no-progress").err == ""
    assert shell.qoder("deploy", "run", "dep_demo", env={"QODER_NO_PROGRESS": "1"}).err == ""
    assert len(shell.qoder("deploy", "run", "dep_nothere", "--no-progress").errors) == 1


def test_the_legacy_run_is_passed_on_as_it_was_sent(alone: Shell, servers: Servers) -> None:
    assert "derived" not in alone.enter(servers["legacy"]).qoder("deploy", "run", "dep_demo", "--wait", "--json").json
    derived = alone.enter(servers["current"]).qoder("deploy", "run", "dep_demo", "--wait", "--json").json["derived"]
    assert {"status", "completed_at", "duration_ms"} <= set(derived)


def test_the_sandbox_runs_a_whole_pipeline(alone: Shell) -> None:
    need("jq")
    for generation in GENERATIONS:
        line = "qoder deploy run dep_demo --wait --json | jq -r .status"
        ended = alone.run("qoder", "sandbox", "--speed", "40", "--generation", generation, "--", "sh", "-c", line)
        assert (ended.code, ended.out) == (0, "completed\n")


def test_many_at_once_each_start_one_run(shell: Shell) -> None:
    ended = [one.end() for one in [shell.begin("deploy", "run", "dep_demo", "-q") for _ in range(8)]]
    assert {one.code for one in ended} == {0}
    assert len({one.out for one in ended}) == 8
    assert shell.qoder("run", "get", "last", "-q").out in {one.out for one in ended}


@both
def test_two_at_once_with_one_key_start_one_run(generation: Generation, alone: Shell) -> None:
    words = ("deploy", "run", "dep_demo", "--idempotency-key", "nightly-1", "-q")
    held = Held()
    with sandbox(generation, honour_key=False, held=held) as server:
        first = alone.enter(server).begin(*words)
        until(server.world.started, "a run")
        second = alone.begin(*words).says("waiting for it")
        held.released.set()
        ended = [first.end(), second.end()]
        assert {one.code for one in ended} == {0}
        assert {one.out.strip() for one in ended} == {run.id for run in server.world.started()}


def test_a_key_is_free_again_when_its_process_was_killed(alone: Shell) -> None:
    words = ("deploy", "run", "dep_demo", "--idempotency-key", "nightly-1", "--json")
    with sandbox("current", "trigger:hang-after", honour_key=False) as server:
        killed = alone.enter(server).hurry().begin(*words)
        until(server.world.started, "a run")
        killed.signal(signal.SIGKILL).last()
        ended = alone.qoder(*words)
        assert (ended.code, ended.json["adopted"]) == (0, True)
        assert [ended.json["id"]] == [run.id for run in server.world.started()]


def test_a_slow_name_server_starts_nothing_twice(alone: Shell) -> None:
    slow_once = """
import socket, time
resolve, slept = socket.getaddrinfo, []
def slowly(*words, **more):
    if not slept:
        slept.append(True)
        time.sleep(1)
    return resolve(*words, **more)
socket.getaddrinfo = slowly
"""
    with sandbox("current", honour_key=False) as server:
        words = ("deploy", "run", "dep_demo", "--json", "--on-lost", "fail", "--request-timeout", "0.7")
        ended = alone.enter(server).qoder(*words, prologue=slow_once)
        assert ended.code in (0, 7, 9)
        assert len(server.world.started()) <= 1


# Signals.


def _awaited(alone: Shell, server: Server, *words: str) -> Going:
    """Return a wait for a run of a minute that has begun."""
    return alone.enter(server).begin("deploy", "run", "dep_minute", "--wait", *words).says("run drun_")


@both
@pytest.mark.parametrize(
    ("signum", "code", "type"),
    [
        (signal.SIGINT, -signal.SIGINT, "interrupted"),
        (signal.SIGTERM, 143, "terminated"),
        (signal.SIGHUP, 129, "hung_up"),
    ],
)
def test_a_signal_leaves_the_run_going(
    generation: Generation, signum: int, code: int, type: str, alone: Shell, lasting: Servers
) -> None:
    server = lasting[generation]
    ended = _awaited(alone, server, "--json").signal(signum).end()
    told = (ended.code, ended.error["type"], ended.error["exit_code"])
    assert told == (code, type, abs(128 + signum)), ended.err
    assert (ended.error["run_id"], ended.error["run_state"]) == (ended.json["id"], "going")
    assert [seen.path for seen in server.world.requests if seen.method == "POST" and "/sessions/" in seen.path] == []
    resumed = alone.run(*ended.error["next"], "--timeout", "0")
    assert (resumed.code, resumed.json["id"]) == (124, ended.json["id"])


@pytest.mark.parametrize("moment", ["at the trigger", "just started", "while waiting"])
def test_on_leave_cancel_cancels_it_whenever_the_signal_comes(moment: str, alone: Shell) -> None:
    held = Held()
    if moment != "at the trigger":
        held.released.set()
    with sandbox("current", speed=1, held=held) as server:
        words = ("deploy", "run", "dep_minute", "--wait", "--on-leave", "cancel", "--json")
        going = alone.enter(server).begin(*words, prologue=HEARING)
        until(server.world.started, "a run")
        if moment != "at the trigger":
            going.says("run drun_")
        if moment == "while waiting":
            until(lambda: any("/events" in seen.path for seen in server.world.requests), "the waiting")
        going.signal(signal.SIGINT).says("heard")
        held.released.set()
        ended = going.end()
        assert (ended.code, ended.error["run_id"]) == (-signal.SIGINT, ended.json["id"])
        assert [seen.path for seen in server.world.requests if seen.path.endswith("/cancel")]


def test_several_runs_and_ctrl_c(alone: Shell, lasting: Servers) -> None:
    world = lasting["current"].world
    ids = [world.start("dep_minute").id, world.start("dep_demo", at=world.now() - 100).id, world.start("dep_minute").id]
    going = alone.enter(lasting["current"]).begin("run", "wait", *ids, "--json")
    for id in ids:
        going.says(id)
    ended = going.signal(signal.SIGINT).end()
    assert ended.code == -signal.SIGINT
    assert [(item["id"], item["exit_code"]) for item in ended.json] == [(ids[0], 130), (ids[1], 0), (ids[2], 130)]
    assert ended.error["next"][:5] == ["qoder", "run", "wait", ids[0], ids[2]]
    assert "2 runs keep running" in ended.error["message"]


def test_ctrl_c_before_anything_was_heard_does_not_claim_that_the_run_goes_on(alone: Shell) -> None:
    with sandbox("current", "run:hang-before*inf") as server:
        going = alone.enter(server).begin("run", "wait", "drun_nothere", "--json")
        until(lambda: server.world.requests, "a request")
        ended = going.signal(signal.SIGINT).end()
        assert (ended.code, ended.error["run_state"]) == (-signal.SIGINT, "unknown")
        assert "keeps running" not in ended.error["message"]


def test_a_signal_just_as_the_trigger_leaves_does_not_claim_that_nothing_was_started(alone: Shell) -> None:
    busy_machine = """
import threading, time
from qoder_cli.base import signals
start = threading.Thread.start
def slowly(self):
    threading.Thread.start = start
    start(self)
    while not signals._seen:
        time.sleep(0.005)
threading.Thread.start = slowly
"""
    with sandbox("current", speed=1) as server:
        going = alone.enter(server).begin("deploy", "run", "dep_minute", "--json", prologue=busy_machine)
        until(server.world.started, "a run")
        ended = going.signal(signal.SIGINT).end()
        (run,) = server.world.started()
        assert (ended.code, ended.error["run_id"], ended.error["run_state"]) == (-signal.SIGINT, run.id, "going")
        assert alone.qoder("run", "get", "last", "-q").out == f"{run.id}\n"


def test_a_signal_before_the_trigger_leaves_keeps_it_from_leaving(alone: Shell) -> None:
    """The store may have been locked for a second meanwhile."""
    early = """
import os, signal
from qoder_cli.local.store import Store
begin = Store.begin
def interrupted(self, **told):
    os.kill(os.getpid(), signal.SIGINT)
    return begin(self, **told)
Store.begin = interrupted
"""
    with sandbox("current", speed=1) as server:
        shell = alone.enter(server)
        ended = shell.begin("deploy", "run", "dep_minute", "--json", prologue=early).end()
        assert (ended.code, ended.error["run_state"]) == (-signal.SIGINT, "none")
        assert server.world.started() == []
        assert shell.qoder("run", "get", "last").code == 5


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_the_trigger_waits_a_moment_for_the_answer(signum: int, alone: Shell) -> None:
    held = Held()
    with sandbox("current", speed=1, held=held) as server:
        going = alone.enter(server).begin("deploy", "run", "dep_minute", "--wait", "--json", prologue=HEARING)
        until(server.world.started, "a run")
        going.signal(signum).says("heard")
        held.released.set()
        ended = going.end()
        assert ended.code == (-signum if signum == signal.SIGINT else 143)
        assert [ended.json["id"]] == [run.id for run in server.world.started()]
        assert ended.error["run_state"] == "going"


def test_the_second_ctrl_c_ends_it_at_once(alone: Shell) -> None:
    with sandbox("current", "trigger:hang-before") as server:
        going = alone.enter(server).begin("deploy", "run", "dep_demo", "--json", prologue=HEARING)
        until(lambda: server.world.requests, "a request")
        going.signal(signal.SIGINT).says("heard")
        time.sleep(MORE_THAN_ONE_SIGNAL)
        assert going.process.poll() is None  # the answer is waited for
        ended = going.signal(signal.SIGINT).end()
        assert ended.code == -signal.SIGINT
        assert '"error"' not in ended.err  # no last words


def test_ctrl_c_in_the_pause_before_trying_again_started_nothing(alone: Shell) -> None:
    with sandbox("current", "trigger:429=20") as server:
        going = alone.enter(server).begin("deploy", "run", "dep_demo", "--json").says("retrying")
        ended = going.signal(signal.SIGINT).end()
        assert (ended.code, ended.error["run_state"]) == (-signal.SIGINT, "none")
        assert server.world.started() == []


def _signal_at_import(module: str, signum: int) -> tuple[str, ...]:
    """Return the command that gets a signal at the moment in which it imports a module."""
    return staged(f"""
import os, sys
class Finder:
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), {int(signum)})
sys.meta_path.insert(0, Finder())
""")


@pytest.mark.parametrize("module", ["signal", "enum", "qoder_cli.base.errors", "qoder_cli.cli.main", "typer", "httpx"])
def test_ctrl_c_while_it_starts_shows_no_traceback(shell: Shell, module: str) -> None:
    ended = shell.run(*_signal_at_import(module, signal.SIGINT), "deploy", "run", "dep_demo")
    assert (ended.code, ended.out) == (-signal.SIGINT, "")


@pytest.mark.parametrize("module", ["qoder_cli.cli.main", "typer", "qoder_cli.commands.deploy.run", "httpx"])
def test_a_signal_while_it_starts_still_ends_stderr_with_one_error(shell: Shell, module: str) -> None:
    ended = shell.run(*_signal_at_import(module, signal.SIGTERM), "deploy", "run", "dep_demo", "--json")
    assert (ended.code, ended.out) == (143, "")
    assert (ended.error["type"], ended.error["run_state"]) == ("terminated", "none")


def test_a_signal_while_it_ends_shows_no_traceback(shell: Shell) -> None:
    # Python's own hook for the moment in which it waits for the threads that are left.
    at_exit = "import os, threading; threading._register_atexit(os.kill, os.getpid(), 15)"
    ended = shell.run(*staged(at_exit), "deploy", "run", "dep_demo", "-q")
    assert ended.out.startswith("drun_")
    assert ended.code in (0, 143, -signal.SIGTERM)


# Has Ctrl-C come at a certain call of the main thread, counted from the first moment in which it is not Python's own
# to answer, and says in the end how many there were.
_AT_A_CALL = """
import _signal, atexit, os, sys
calls = 0
def count(frame, event, arg):
    global calls
    calls += _signal.getsignal(2) is not _signal.default_int_handler
    if calls == {}:
        sys.setprofile(None)
        os.kill(os.getpid(), 2)
atexit.register(lambda: print(calls, file=sys.stderr))
sys.setprofile(count)
"""


def test_ctrl_c_at_any_moment_shows_no_traceback(shell: Shell) -> None:
    words = ("deploy", "run", "dep_demo", "-q")
    shell.run(*MODULE, *words)  # where nothing was compiled yet, the first has more calls than those after it
    whole = shell.run(*staged(_AT_A_CALL.format(-1)), *words)
    calls = int(whole.err.splitlines()[-1])
    moments = [1, 2, 3, *(calls * part // 12 for part in range(1, 13))]
    going = [shell.start(*staged(_AT_A_CALL.format(moment)), *words) for moment in moments]
    codes = [one.end().code for one in going]  # which also looks for tracebacks
    assert codes[:10] == [-signal.SIGINT] * 10
    assert set(codes[10:]) <= {-signal.SIGINT, 0}  # when all is done it comes too late


def test_what_the_parent_ignores_is_ignored(shell: Shell) -> None:
    line = "trap '' HUP INT; exec qoder deploy run dep_demo --wait -q"
    going = shell.start("sh", "-c", line).says("run drun_")
    ended = going.signal(signal.SIGHUP).signal(signal.SIGINT).end()
    assert (ended.code, ended.err.splitlines()[-1]) == (0, f"{ended.out.strip()} completed")


@pytest.mark.parametrize(
    ("command", "question", "so"),
    [
        ("qoder deploy archive dep_demo", "cannot be undone. [y/N]:", "nothing was archived"),
        ("qoder deploy run dep_minute -q && qoder run cancel last", "Cancel run", "was not cancelled"),
        ("qoder auth login", "(not shown):", "nothing was saved"),
    ],
)
def test_ctrl_c_at_a_question_begins_a_new_line_and_says_what_is_so(
    command: str, question: str, so: str, alone: Shell
) -> None:
    with (
        sandbox("current", speed=1) as server,  # a run that is still going when it is to be cancelled
        Terminal(alone.enter(server), "bash", "--norc", "-c", command) as terminal,
    ):
        terminal.shows(question).type("\x03")
        assert terminal.end() == -signal.SIGINT
    assert so in " ".join(terminal.screen[-2:])
    error = next(n for n, line in enumerate(terminal.screen) if line.startswith("error: interrupted"))
    assert question in terminal.screen[error - 1]
    assert "archiving" not in terminal.raw  # it asks before it announces


@pytest.mark.parametrize(
    "command",
    [
        "qoder deploy run dep_minute --wait",
        "qoder deploy run dep_minute --wait --json | cat",  # cat dies of the same Ctrl-C, and nobody reads any more
        "qoder deploy run dep_minute 2>&1 --wait | cat",
        "id=$(qoder deploy run dep_minute --wait -q)",
        "qoder sandbox -- sh -c 'exec sleep 60'",
    ],
)
def test_a_loop_over_runs_stops_at_ctrl_c(command: str, alone: Shell) -> None:
    with sandbox("current", speed=1) as server:
        line = f"for run in 1 2 3; do echo round $run >&2; {command}; done; echo not stopped"
        with Terminal(alone.enter(server), "bash", "--norc", "-c", line) as terminal:
            terminal.shows("nothing here is real" if "sandbox" in command else "run drun_")
            terminal.type("\x03")
            until(
                lambda: terminal.process.poll() is not None or any("round 2" in line for line in terminal.screen),
                "the end, or the second round",
            )
            assert "round 2" not in terminal.raw
            assert terminal.end() == -signal.SIGINT
            assert len(server.world.started()) == (0 if "sandbox" in command else 1)


# Pipes, files and streams that are closed.


def _broken_pipe() -> int:
    """Return the end for writing of a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


@pytest.mark.parametrize(
    "words",
    [
        ("deploy", "run", "dep_demo", "--wait", "--json"),
        ("deploy", "run", "dep_nostart"),
        ("deploy", "get", "dep_demo"),
        ("--help",),
        ("deploy", "run", "--help"),
        ("help", "exit-codes"),
    ],
)
def test_a_reader_that_went_away_is_exit_141_without_a_word(shell: Shell, words: tuple[str, ...]) -> None:
    writer = _broken_pipe()
    ended = shell.qoder(*words, stdout=writer)
    os.close(writer)
    assert (ended.code, ended.errors) == (141, [])
    assert '"error"' not in ended.err


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("fault", ["run:slow=0.01", "any:half-written=60*inf"])
def test_a_signal_counts_more_than_a_reader_that_went_away(signum: int, code: int, fault: str, alone: Shell) -> None:
    wait = ["--wait"] if fault.startswith("run") else []
    writer = _broken_pipe()
    with sandbox("current", fault, speed=1) as server:
        going = alone.enter(server).begin("deploy", "run", "dep_minute", *wait, stdout=writer).says("run drun_")
        until(lambda: len(server.world.requests) > 1, "the waiting")
        ended = going.signal(signum).end()
        os.close(writer)
        assert ended.code == code
        assert "keeps running" in ended.errors[-1]


def test_head_takes_a_line(shell: Shell) -> None:
    ended = shell.bash("qoder deploy run dep_demo | head -1")
    assert (ended.code, ended.out[:8]) == (0, "id\tdrun_")
    assert ended.errors == []


def test_a_pipe_gets_plain_lines_with_whole_ids(shell: Shell) -> None:
    ended = shell.bash("FORCE_COLOR=1 COLUMNS=20 qoder deploy run dep_demo --wait | cat")
    assert "\x1b" not in ended.out
    fields = dict(line.split("\t") for line in ended.out.splitlines())
    assert re.fullmatch(r"drun_[0-9a-z]{20}", fields["id"])
    assert re.fullmatch(r"sess_[0-9a-z]{20}", fields["session"])
    assert fields["status"] == "completed"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_do_not_change_the_outcome(shell: Shell, closed: str) -> None:
    ended = shell.bash(f"exec qoder deploy run dep_nostart --json {closed}")
    assert ended.code == 1
    if closed in ("<&-", "2>&-"):
        assert ended.json["status"] == "failed"
    if closed in ("<&-", ">&-"):
        assert ended.error["type"] == "run_failed"


@pytest.mark.parametrize(("deployment", "code"), [("dep_demo", 0), ("dep_nostart", 1), ("dep_nothere", 5)])
def test_an_stderr_that_takes_nothing_does_not_change_the_outcome(shell: Shell, deployment: str, code: int) -> None:
    writer = _broken_pipe()
    ended = shell.qoder("deploy", "run", deployment, "-q", stderr=writer)
    os.close(writer)
    assert (ended.code, ended.out.startswith("drun_")) == (code, code != 5)
    if FULL.exists():
        with FULL.open("wb") as full:
            ended = shell.qoder("deploy", "run", deployment, "-q", stderr=full)
        assert (ended.code, ended.out.startswith("drun_")) == (code, code != 5)


@pytest.mark.skipif(not FULL.exists(), reason="only Linux has a disk that is always full")
@pytest.mark.parametrize(
    "words", [("deploy", "run", "dep_demo"), ("--help",), ("deploy", "run", "--help"), ("--version",)]
)
def test_a_full_disk_is_exit_70_and_says_so(shell: Shell, words: tuple[str, ...]) -> None:
    with FULL.open("wb") as full:
        ended = shell.qoder(*words, stdout=full)
    assert ended.code == 70
    assert [error[:38] for error in ended.errors] == ["error: cannot write to standard output"]


@pytest.mark.skipif(not FULL.exists(), reason="only Linux has a disk that is always full")
def test_a_full_disk_does_not_make_the_run_unknown(shell: Shell) -> None:
    with FULL.open("wb") as full:
        ended = shell.qoder("deploy", "run", "dep_demo", "--wait", "--json", stdout=full)
    assert (ended.code, ended.error["type"]) == (70, "internal")
    assert ended.error["run_id"] == re.findall(r"drun_\w+", ended.err)[0]
    assert ended.error["run_state"] == "ended"


@pytest.mark.skipif(not FULL.exists(), reason="only Linux has a disk that is always full")
def test_a_full_disk_does_not_keep_a_run_from_being_cancelled_at_a_signal(alone: Shell) -> None:
    held = Held()
    with sandbox("legacy", speed=1, held=held) as server, FULL.open("wb") as full:
        words = ("deploy", "run", "dep_minute", "--wait", "--on-leave", "cancel", "--json")
        going = alone.enter(server).begin(*words, stdout=full, prologue=HEARING)
        until(server.world.started, "a run")
        going.signal(signal.SIGTERM).says("heard")
        held.released.set()
        ended = going.end()
        assert (ended.code, ended.error["type"]) == (143, "terminated")
        [run] = server.world.started()
        assert ended.error["run_id"] == run.id
        assert [request.path for request in server.world.requests][-1].endswith("/cancel")


@pytest.mark.parametrize("env", [{}, {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "utf-8"}])
def test_ids_on_stdin_that_are_no_text_are_a_usage_error(shell: Shell, env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "ids").write_bytes(b"drun_\xff\xfe\n")
    with (tmp_path / "ids").open("rb") as ids:
        ended = shell.qoder("run", "wait", "-", "--json", stdin=ids, env=env)
    assert (ended.code, ended.error["type"]) == (2, "usage")


# Terminals.


@both
def test_a_terminal_of_80_columns_shows_whole_ids(generation: Generation, alone: Shell, servers: Servers) -> None:
    with Terminal(alone.enter(servers[generation]), "qoder", "deploy", "run", "dep_demo", "--wait") as terminal:
        assert terminal.end() == 0
        assert max(map(len, terminal.screen)) <= 80
        assert "times are local (UTC)" in terminal.screen
        fields = dict(line.split("  ", 1) for line in terminal.screen if "  " in line)
    fields = {name: value.strip() for name, value in fields.items()}
    assert re.fullmatch(r"drun_[0-9a-z]{20}", fields["id"])
    assert re.fullmatch(r"sess_[0-9a-z]{20}", fields["session"])
    assert re.fullmatch(r"agent_[0-9a-f]+@1", fields["agent"])
    assert fields["status"] == "completed"


@pytest.mark.parametrize(("env", "columns"), [({"TZ": "UTC+99"}, 80), ({}, 8)])
def test_an_odd_zone_and_a_narrow_terminal_hide_nothing(shell: Shell, env: dict[str, str], columns: int) -> None:
    with Terminal(shell, "qoder", "deploy", "run", "dep_demo", columns=columns, env=env) as terminal:
        assert terminal.end() == 0
        assert "running" in "".join(terminal.screen)


def test_a_list_of_runs_shows_at_80_columns_which_id_is_which(shell: Shell) -> None:
    ids = [shell.qoder("deploy", "run", "dep_demo", "-q").out.strip() for _ in range(2)]
    with Terminal(shell, "qoder", "run", "wait", *ids) as terminal:
        assert terminal.end() == 0
        shown = [line.split()[0].rstrip("…") for line in terminal.screen if line.lstrip().startswith("drun_")]
        assert sorted([id for id in ids if id.startswith(short)] for short in shown) == sorted([id] for id in ids)


def test_what_is_typed_during_a_wait_moves_nothing(alone: Shell, lasting: Servers) -> None:
    line = "trap : INT; qoder deploy run dep_minute --wait; stty -a"
    with Terminal(alone.enter(lasting["current"]), "sh", "-c", line) as terminal:
        terminal.shows("Ctrl-C")
        terminal.type("typed\r\r\r")
        seen = len(terminal.raw)
        until(lambda: "Ctrl-C" in terminal.raw[seen + 200 :], "the status line again")
        assert len([line for line in terminal.screen if "Ctrl-C" in line]) == 1
        terminal.type("\x03")
        terminal.end()
        assert "typed" not in terminal.raw
        assert re.search(r"\becho\b", terminal.raw)  # and is seen again
        assert not re.search(r"-echo\b", terminal.raw)


def test_the_status_line_comes_and_goes_on_one_line(alone: Shell, lasting: Servers) -> None:
    with Terminal(alone.enter(lasting["current"]), "qoder", "deploy", "run", "dep_minute", "--wait") as terminal:
        terminal.shows("Ctrl-C")
        (line,) = [line for line in terminal.screen if "Ctrl-C" in line]
        assert "running" in line
        assert line.endswith(("the run keeps running", "…"))
        terminal.type("\x03")
        assert terminal.end() == -signal.SIGINT
        assert "Ctrl-C" not in "".join(terminal.screen)
        assert "\x1b[?25h" in terminal.raw  # the cursor is back
        assert any(line.startswith("error: stopped waiting") for line in terminal.screen)


@pytest.mark.parametrize(
    ("words", "env", "coloured"),
    [
        ((), {}, True),
        (("--no-color",), {}, False),
        ((), {"NO_COLOR": "1"}, False),
        ((), {"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
        ((), {"TERM": "dumb"}, False),
        ((), {"TERM": "dumb", "FORCE_COLOR": "1"}, True),
        ((), {"NO_COLOR": ""}, True),
    ],
)
def test_colour_is_as_the_environment_says(
    shell: Shell, words: tuple[str, ...], env: dict[str, str], coloured: bool
) -> None:
    with Terminal(shell, "qoder", "deploy", "run", "dep_nostart", *words, env=env) as terminal:
        assert terminal.end() == 1
        assert (COLOUR.search(terminal.raw) is not None) == coloured


def test_a_dumb_terminal_gets_lines_and_no_escapes(shell: Shell) -> None:
    with Terminal(shell, "qoder", "deploy", "run", "dep_demo", "--wait", env={"TERM": "dumb"}) as terminal:
        assert terminal.end() == 0
        assert "\x1b" not in terminal.raw
        assert any(re.fullmatch(r"drun_\w+ completed", line) for line in terminal.screen)


def test_json_is_indented_for_eyes_only(shell: Shell) -> None:
    with Terminal(shell, "qoder", "deploy", "get", "dep_demo", "--json") as terminal:
        assert terminal.end() == 0
        assert json.loads("\n".join(terminal.screen))["id"] == "dep_demo"
        assert len(terminal.screen) > 10
    assert shell.qoder("deploy", "get", "dep_demo", "--json").out.count("\n") == 1


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_a_terminal_that_is_closed_is_exit_129(alone: Shell, lasting: Servers, words: tuple[str, ...]) -> None:
    terminal = Terminal(alone.enter(lasting["current"]), "qoder", "deploy", "run", "dep_minute", "--wait", *words)
    with terminal:
        terminal.shows("run drun_").hang_up()
        assert terminal.process.wait(PATIENCE) == 129


def test_the_program_has_three_names(shell: Shell) -> None:
    ways = [MODULE, (str(BIN / "qoder"),), (str(BIN / "qoder-cli"),)]
    for words in (("--version",), ("deploy", "get", "dep_demo", "--json")):
        assert len({shell.run(*way, *words).out for way in ways}) == 1
    hint = shell.run("qoder-cli", "deploy", "run", "dep_minute", "--wait", "--timeout", "0", "--json").error["next"]
    assert hint[0] == "qoder-cli"


@pytest.mark.parametrize(
    ("words", "why", "error"),
    [
        (("dep_fail", "--wait"), "The session ran out of retries.", "error: the run failed"),
        (("dep_nostart",), "environment is archived", "error: the run did not start"),
    ],
)
def test_a_terminal_says_once_why_a_run_failed(words: tuple[str, ...], why: str, error: str, shell: Shell) -> None:
    with Terminal(shell, "qoder", "deploy", "run", *words) as terminal:
        assert terminal.end() == 1
    said = " ".join(terminal.screen)
    assert said.count(why) == 1
    assert error in [line.rstrip() for line in terminal.screen]


# Odd environments.


def test_no_home_and_no_folders(shell: Shell) -> None:
    env = {name: shell.env[name] for name in ("PATH", "QODER_BASE_URL", "QODER_PAT")}
    env["QODER_STATE_DIR"] = str(shell.home / "state")  # the home is found without $HOME, and is not the test's
    shell.env = env
    assert shell.qoder("deploy", "run", "dep_demo").code == 0


def test_a_home_that_cannot_be_written(shell: Shell) -> None:
    shell.env |= {**dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "QODER_STATE_DIR"), NOWHERE), "QODER_SANDBOX": ""}
    ended = shell.qoder("deploy", "run", "dep_demo", "--json")
    assert (ended.code, ended.json["deployment_id"]) == (0, "dep_demo")
    assert len([line for line in ended.err.splitlines() if line.startswith("warning:")]) == 1  # the store
    written = shell.qoder("config", "set", "region", "cn", "--json")
    assert (written.code, written.error["type"]) == (2, "usage")


def test_utf_8_whatever_the_locale(alone: Shell) -> None:
    locale = {"LC_ALL": "C", "LANG": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    alone.env |= locale
    with sandbox("current") as server:
        id = server.world.add_deployment(name="Täglich 日報 ✓").id
        alone.enter(server)
        assert "name\tTäglich 日報 ✓\n" in alone.qoder("deploy", "get", id).out
        assert alone.qoder("deploy", "get", id, "--json").json["name"] == "Täglich 日報 ✓"
        assert "dep_…" in alone.qoder("deploy", "run", "--help").out
        assert "dep_…" in alone.qoder("deploy", "run", "dep_ä").err


def test_what_a_server_writes_steers_no_terminal(alone: Shell) -> None:
    with sandbox("current") as server:
        id = server.world.add_deployment(name="evil", description="\x1b]0;owned\x07\r\n\u202ename\tgood [bold]x").id
        alone.enter(server)
        shown = alone.qoder("deploy", "get", id).out
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", shown)
        assert {line.count("\t") for line in shown.splitlines()} == {1}
        with Terminal(alone, "qoder", "deploy", "get", id, env={"NO_COLOR": "1"}) as terminal:
            assert terminal.end() == 0
            assert "\x1b" not in terminal.raw
            assert "[bold]x" in terminal.raw


def test_python_has_nothing_to_warn_about(shell: Shell) -> None:
    strict = (sys.executable, "-X", "dev", "-W", "error", "-m", "qoder_cli")
    ended = shell.run(*strict, "deploy", "run", "dep_demo", "--wait", "--json", "--no-progress")
    assert (ended.code, ended.err) == (0, "")


def test_a_folder_with_modules_of_pythons_names_breaks_nothing(shell: Shell) -> None:
    for name in ("json", "typing", "httpx", "typer", "signal", "re", "qoder_cli"):
        (shell.home / f"{name}.py").write_text("raise SystemExit('the wrong module')")
    assert shell.run("qoder", "deploy", "run", "dep_demo").code == 0
    assert shell.run("qoder", "sandbox", "--", "qoder", "deploy", "run", "dep_demo").code == 0


@pytest.mark.parametrize(
    ("words", "unneeded"),
    [
        (
            ("deploy", "run", "dep_demo", "-o", "json"),
            {"pydantic", "yaml", "rich", "tomlkit", "asyncio", "starlette", "qoder_cli.runs.wait"},
        ),
        (("deploy", "run", "dep_demo"), {"pydantic", "rich"}),
        (("--version",), {"httpx", "pydantic", "rich", "qoder_cli.http.client"}),
        (("--help",), {"httpx", "pydantic", "rich", "qoder_cli.commands.deploy"}),
        (("deploy", "run", "--help"), {"httpx", "pydantic", "rich", "qoder_cli.http.client"}),
    ],
)
def test_what_is_not_needed_is_not_imported(shell: Shell, words: tuple[str, ...], unneeded: set[str]) -> None:
    at_exit = "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr))"
    ended = shell.run(*staged(at_exit), *words)
    imported = set(ended.err.splitlines()[-1].split())
    assert ended.code == 0
    assert "qoder_cli.cli.main" in imported
    assert unneeded & imported == set()


def test_a_signal_that_comes_where_nothing_can_be_raised_is_not_lost(alone: Shell, lasting: Servers) -> None:
    in_a_callback = (
        "import os, threading, time\n"
        "class Grave:\n"
        "    def __del__(self): os.kill(os.getpid(), 15); time.sleep(0.01)\n"
        "start = threading.Thread.start\n"
        "def dig(thread): threading.Thread.start = start; start(thread); Grave()\n"
        "threading.Thread.start = dig"
    )
    words = ("deploy", "run", "dep_minute", "--wait", "--json")
    ended = alone.enter(lasting["current"]).run(*staged(in_a_callback), *words)
    assert (ended.code, ended.error["type"]) == (143, "terminated")
    assert ended.error["run_id"] == ended.json["id"]


# What a program meets whose files are exchanged, or that can open no more, while its run goes on.

NO_LAST_WORDS = {
    "the module of last words is gone": """
from qoder_cli.runs import ending
def gone(error, run, app):
    raise ModuleNotFoundError("No module named 'qoder_cli.runs.ending' \x1b[31m")
ending.complete = gone
""",
    "nothing can be imported any more": """
import sys
from qoder_cli.runs import awaiting, ending, wait
class Full:
    def find_spec(*args):
        raise OSError(24, "Too many open files")
ended = wait.Wait.until_over
def then_full(self, watch):
    ended(self, watch)
    sys.meta_path[:] = [Full]
    ending.complete = None
wait.Wait.until_over = then_full
""",
}


@both
@pytest.mark.parametrize("format", ["json", "table"])
@pytest.mark.parametrize("prologue", NO_LAST_WORDS.values(), ids=NO_LAST_WORDS.keys())
def test_deploy_run_names_its_run_with_exit_70_where_its_last_words_fail(
    alone: Shell, servers: Servers, generation: Generation, prologue: str, format: str
) -> None:
    ended = alone.enter(servers[generation]).run(
        *staged(prologue), "deploy", "run", "dep_fail", "--wait", "-o", format, "--no-progress"
    )
    assert ended.code == 70
    run_id = next(word for word in ended.err.replace('"', " ").split() if word.startswith("drun_"))
    assert f"qoder run wait {run_id}" in ended.err.replace('","', " ")
    assert "\x1b" not in ended.err
    if format == "json":
        assert (ended.error["run_id"], ended.error["type"]) == (run_id, "internal")
        assert not ended.out or ended.json["id"] == run_id


def test_deploy_run_outlives_an_upgrade_or_ends_in_70_with_its_run(
    alone: Shell, servers: Servers, tmp_path: Path
) -> None:
    """As `pip install -U` does: the files of the package go while it waits."""
    package = tmp_path / "lib" / "qoder_cli"
    shutil.copytree(Path(qoder_cli.__file__).parent, package)
    shell = alone.enter(servers["current"])
    shell.env["PYTHONPATH"] = str(package.parent)
    for format in ("table", "json", "id"):
        going = shell.start(*MODULE, "deploy", "run", "dep_demo", "--wait", "-o", format).says("run drun_")
        package.rename(tmp_path / "lib" / "gone")
        ended = going.end()
        assert ended.code in (0, 70)
        assert "drun_" in ended.out + (ended.err if ended.code == 0 else ended.errors[0] if ended.errors else ended.err)
        (tmp_path / "lib" / "gone").rename(package)
