"""`qoder deploy run` and `run wait` of many at once: at signals, in pipes, and on a terminal."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from qoder_cli.sandbox.scripts import Behaviour, turn
from qoder_cli.sandbox.server import Server
from qoder_cli.sandbox.wire import GENERATIONS, Generation
from tests.support.processes import (
    HEARING,
    DelayedAnswers,
    Ended,
    Shell,
    Terminal,
    an_hour_later,
    sandbox,
    until,
)
from tests.support.stored import entries_in

FULL = Path("/dev/full")
both = pytest.mark.parametrize("generation", GENERATIONS)


def many(server: Server, count: int, *, seconds: float = 3600.0) -> list[str]:
    """Add deployments whose runs take so long, and return their ids."""
    behaviour = Behaviour(turn(seconds=seconds))
    return [each.id for each in server.world.seed_deployments(count, behaviour=behaviour)]


def unaccounted(server: Server, items: list[dict[str, Any]]) -> list[str]:
    """Return the runs that were started and are neither named nor covered by an item that says unknown."""
    named = {item["id"] for item in items}
    unknown = {item["input"] for item in items if item["exit_code"] == 9}
    runs = server.world.started()
    return [run.id for run in runs if run.id not in named and run.deployment.id not in unknown]


def journaled(alone: Shell) -> tuple[set[str], set[str]]:
    """Return the runs that the store knows, and the deployments of the triggers that it does not know the end of."""
    entries = entries_in(alone.home / "state")
    still_open = {entry.attempt.deployment for entry in entries if entry.open}
    return {entry.run for entry in entries if entry.run}, still_open


def test_deploy_run_of_many_starts_twenty_in_a_second(alone: Shell) -> None:
    with sandbox("legacy", speed=1) as server:
        ids = many(server, 21)
        assert alone.enter(server).qoder("deploy", "run", *ids, "--parallel", "100", "-q").code == 0
        times = [request.at for request in server.world.requests if request.method == "POST"]
    assert len(times) == 21
    assert max(times) - min(times) > 0.9


# Signals.


@pytest.mark.parametrize(
    ("signum", "code", "exit_code", "wait"),
    [(signal.SIGINT, -signal.SIGINT, 130, ()), (signal.SIGTERM, 143, 143, ("--wait",))],
)
def test_deploy_run_of_many_leaves_none_unknown_at_a_signal_while_they_start(
    signum: int, code: int, exit_code: int, wait: tuple[str, ...], alone: Shell
) -> None:
    delayed = DelayedAnswers(first=10)
    with sandbox("legacy" if wait else "current", speed=1, delayed=delayed) as server:
        ids = many(server, 40)
        going = alone.enter(server).begin("deploy", "run", *ids, *wait, "--json", prologue=HEARING)
        until(lambda: len(server.world.started()) > 9, "ten runs")
        going.signal(signum).says("heard")
        delayed.released.set()
        ended = going.end()
        items = ended.json
        assert (ended.code, [item["input"] for item in items]) == (code, ids)
        assert unaccounted(server, items) == []
        assert 9 < len(server.world.started()) < 40
        assert {item["exit_code"] for item in items} == {exit_code if wait else 0, None}
        runs = [item["id"] for item in items if item["id"]]
        assert ended.error["exit_code"] == exit_code
        assert f"{len(runs)} runs keep running" in ended.error["message"]
        assert ended.error["next"][:3] == ["qoder", "run", "wait"]
        assert ended.error["next"][3:-2] == runs


def test_deploy_run_of_many_calls_those_unknown_whose_triggers_hang_at_a_signal(alone: Shell) -> None:
    with sandbox("current", "trigger:hang-after*inf", speed=1) as server:
        ids = many(server, 12)
        going = alone.enter(server).hurry().begin("deploy", "run", *ids, "--wait", "--json")
        until(lambda: len(server.world.started()) == 8, "all that start at a time")
        ended = going.signal(signal.SIGINT).end()
        assert (ended.code, ended.error["type"]) == (-signal.SIGINT, "outcome_unknown")
        assert "8 unknown (may have started)" in ended.error["message"]
        assert [item["exit_code"] for item in ended.json] == [9] * 8 + [None] * 4
        assert unaccounted(server, ended.json) == []
        assert len(server.world.started()) == 8
        assert journaled(alone) == (set(), set(ids[:8]))


@both
def test_deploy_run_of_many_tells_how_each_is_at_a_signal_in_its_wait(generation: Generation, alone: Shell) -> None:
    with sandbox(generation, speed=1) as server:
        ids = [*many(server, 10), "dep_nothere", "dep_nostart"]
        going = alone.enter(server).hurry().begin("deploy", "run", *ids, "--wait", "--json")
        until(lambda: sent(server).count("run") == 12, "all triggers")
        # Once it has polled twice since then, it knows what became of each.
        until(
            lambda: len([word for word in sent(server)[-2:] if word in ("deployment_runs", "sessions")]) == 2, "polls"
        )
        ended = going.signal(signal.SIGTERM).end()
        assert ended.code == 143
        assert [item["exit_code"] for item in ended.json] == [143] * 10 + [5, 1]
        assert [item.get("status") for item in ended.json] == ["running"] * 10 + [None, "failed"]
        resumed = alone.qoder(*ended.error["next"][1:], "--timeout", "0")
        assert (resumed.code, [item["exit_code"] for item in resumed.json]) == (124, [124] * 10)


def sent(server: Server) -> list[str]:
    """Return the last word of the path of each request."""
    return [seen.path.rpartition("/")[2] for seen in server.world.requests]


# A server that does not answer.

HANGS = [f"{where}:hang-before*inf" for where in ("session", "run", "list", "events")]


def test_deploy_run_of_many_tells_the_ids_and_keeps_the_time_whatever_hangs(alone: Shell) -> None:
    with sandbox("current", *HANGS, speed=1) as server:
        words = ("--wait", "-o", "jsonl", "--timeout", "10")
        going = alone.enter(server).hurry().begin("deploy", "run", "dep_minute", "dep_slow", "dep_nostart", *words)
        until(lambda: going.err.count("run drun_") == 3, "the ids")
        until(lambda: '"dep_nostart"' in going.out, "the end of what never began")
        ended = going.end()
        assert "no complete answer" not in ended.err  # that would take 30 s
        assert (ended.code, ended.error["type"]) == (1, "run_failed")
        assert [json.loads(line)["exit_code"] for line in ended.out.splitlines()] == [1, 124, 124]


def test_deploy_run_of_many_notices_a_reader_that_has_enough_whatever_hangs(alone: Shell) -> None:
    with sandbox("current", *HANGS, speed=1) as server:
        line = "qoder deploy run dep_minute dep_slow dep_nostart --wait -o jsonl | head -n1"
        ended = alone.enter(server).quick().bash(f"{line}; echo ${{PIPESTATUS[0]}}")
        assert (json.loads(ended.out.splitlines()[0])["input"], ended.out.splitlines()[1:]) == ("dep_nostart", ["141"])


def test_deploy_run_of_very_many_names_a_short_command_that_goes_on(alone: Shell) -> None:
    with sandbox("current", speed=1) as server:
        words = ("deploy", "run", *many(server, 120), "--wait", "--timeout", "0", "--parallel", "50")
        ended = alone.enter(server).hurry().qoder(*words)
        [hint] = [line for line in ended.err.splitlines() if line.startswith("hint: ")]
        assert hint == "hint: to wait for the rest: qoder run wait --last 120"
        again = alone.quick().qoder("run", "wait", "--last", "120", "--timeout", "0", "--json")
        runs = [line.split("\t")[0] for line in ended.out.splitlines()]
        assert (again.code, {item["id"] for item in again.json}) == (124, set(runs))
        assert again.error["next"] == ["qoder", "run", "wait", *(item["id"] for item in again.json), "-o", "json"]


# Pipes, and what they lead into.


def _in_bash(alone: Shell, line: str) -> tuple[list[int], Ended]:
    """Run a pipeline, and return the exit codes of its commands too."""
    ended = alone.quick().bash(f'{line}; echo "${{PIPESTATUS[@]}}" >&2')
    *_, codes = ended.err.splitlines()
    return [int(code) for code in codes.split()], ended


def test_deploy_run_of_many_starts_no_more_when_its_reader_has_taken_one_line(alone: Shell) -> None:
    with sandbox("current", speed=1) as server:
        ids = many(server, 200, seconds=0.1)  # which take 10 s to start
        (alone.home / "ids").write_text("\n".join(ids))
        line = "qoder deploy run - --wait -o jsonl --parallel 1 < ids | head -n1"
        codes, ended = _in_bash(alone.enter(server), line)
        assert (codes, len(ended.out.splitlines())) == ([141, 0], 1)
        runs, still_open = journaled(alone)
        assert {run.id for run in server.world.started()} == runs
        assert still_open == set()
        assert len(runs) < 200
        assert ended.errors == []


@pytest.mark.skipif(not FULL.exists(), reason="only Linux has a disk that is always full")
def test_deploy_run_of_many_names_the_runs_that_go_on_when_the_disk_is_full(alone: Shell) -> None:
    with sandbox("current", speed=1) as server, FULL.open("wb") as full:
        ids = many(server, 3)
        ended = alone.enter(server).qoder("deploy", "run", *ids, "--json", stdout=full)
        assert (ended.code, ended.error["type"]) == (70, "internal")
        assert ended.error["next"][:3] == ["qoder", "run", "wait"]
        started = {run.id for run in server.world.started()}
        assert set(ended.error["next"][3:-2]) == started == journaled(alone)[0]


# On a terminal.


def test_deploy_run_of_many_shows_a_table_while_they_run_of_which_nothing_stays(alone: Shell) -> None:
    with sandbox("current", speed=1) as server:
        for number in range(20):
            seconds = 0.5 if number == 19 else 3600.0
            reason = "budget_reached" if number == 19 else "end_turn"
            behaviour = Behaviour(turn(seconds=seconds, reason=reason))
            server.world.add_deployment(name=f"job-{number:02}", behaviour=behaviour)
        words = ("deploy", "run", *(f"job-{number:02}" for number in range(20)), "--wait", "--parallel", "20")

        with Terminal(alone.enter(server).hurry(), "qoder", *words, rows=16) as terminal:
            terminal.shows("1 failed, 19 running, 7 not shown")
            rows = [line for line in terminal.screen if "drun_" in line]
            assert 0 < len(rows) <= 16 - 3  # below them the status line; above what was said before
            assert rows[0].startswith("job-19  failed")
            an_hour_later(server)
            assert terminal.end() == 1
        left = terminal.screen
        assert not [line for line in left if "Ctrl-C" in line or "running" in line]
        rows = [line for line in left if line.startswith("job-")]
        assert [row.split()[0] for row in rows] == ["job-19", *(f"job-{n:02}" for n in range(7))]
        assert any(line.startswith("12 completed not shown") for line in left)
        *_, error = (number for number, line in enumerate(left) if line.startswith("error: 19 of 20 runs completed; "))
        assert "20 runs: 19 completed, 1 failed" in left[error - 1]
        assert any(line.startswith("hint: ") for line in left[error:])


def test_deploy_run_with_a_dash_says_on_a_terminal_that_it_reads_ids(alone: Shell) -> None:
    with (
        sandbox("current", speed=1) as server,
        Terminal(alone.enter(server), "qoder", "deploy", "run", "-", "-q") as terminal,
    ):
        terminal.shows("enter ids of deployments, one per line; finish with Ctrl-D")
        terminal.type("dep_demo\n\x04")
        assert terminal.end() == 0
        assert terminal.screen[-1] == server.world.started()[0].id
