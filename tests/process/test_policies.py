"""Policies, in processes of their own: with nobody there, killed in between, and two at once."""

import signal
from pathlib import Path

import pytest

from qoder_cli.sandbox.server import Server
from qoder_cli.sandbox.wire import GENERATIONS, Generation
from tests.support.processes import DelayedAnswers, Shell, sandbox, until

POLICY = """\
work: /repo
allow:
  - run: git status
deny:
  - run: git push
  - run: rm
"""


def by_policy(folder: Path, *words: str) -> tuple[str, ...]:
    file = folder / "policy.yaml"
    file.write_text(POLICY)
    file.chmod(0o600)
    return (*words, "--on-ask", f"policy={file}")


@pytest.mark.parametrize("generation", GENERATIONS)
def test_deploy_run_with_a_policy_completes_with_nobody_there(tmp_path: Path, generation: Generation) -> None:
    with sandbox(generation) as server:
        shell = Shell(tmp_path, server).hurry()
        ended = shell.begin(*by_policy(tmp_path, "deploy", "run", "dep_askmany", "--wait", "--result")).end()
        said = [seen.body.decode() for seen in server.world.requests if seen.path.endswith("/events") and seen.body]
    assert ended.code == 0, ended.err
    assert ended.out.startswith("I ran 'git status'.")
    yes = {"current": '"allow"', "legacy": '"approve"'}[generation]  # the older form, once that was asked for
    assert (said[-1].count(yes), said[-1].count('"deny"'), len(said)) == (1, 2, 1 if generation == "current" else 2)


def test_run_wait_with_a_policy_that_was_killed_finds_what_it_sent(tmp_path: Path) -> None:
    delayed = DelayedAnswers(first=2)  # after the start
    with sandbox("current", delayed=delayed) as server:
        shell = Shell(tmp_path, server).hurry()
        run = shell.qoder("deploy", "run", "dep_askmany", "-q").out.strip()
        killed = shell.begin(*by_policy(tmp_path, "run", "wait", run))
        until(lambda: _posts(server) == 1, "a decision is sent")
        killed.signal(signal.SIGKILL).last()
        delayed.released.set()
        ended = shell.begin(*by_policy(tmp_path, "run", "wait", run)).end()
        assert (ended.code, _posts(server)) == (0, 1), ended.err


def test_run_wait_with_a_policy_twice_at_once_sends_each_decision_once(tmp_path: Path) -> None:
    with sandbox("current") as server:
        shell = Shell(tmp_path, server).hurry()
        run = shell.qoder("deploy", "run", "dep_askmany", "-q").out.strip()
        waiting = by_policy(tmp_path, "run", "wait", run)
        both = [shell.begin(*waiting) for _ in range(2)]
        assert ([each.end().code for each in both], _posts(server)) == ([0, 0], 1)


def _posts(server: Server) -> int:
    return sum(seen.method == "POST" and seen.path.endswith("/events") for seen in server.world.requests)
