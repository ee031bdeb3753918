"""`qoder` as it is installed: its names, several at once, odd homes and locales, a broken network, and its imports."""

import json
import shlex
import signal
import sys
from pathlib import Path

import pytest

from qoder_cli.sandbox.server import Server
from qoder_cli.sandbox.wire import GENERATIONS, Generation
from tests.support.cells import ALL_CELLS, checkerboard
from tests.support.processes import BIN, HASTY_LOOKS, MODULE, DelayedAnswers, Shell, sandbox, staged, until

KEYED = ("deploy", "run", "dep_demo", "--idempotency-key", "nightly-1", "--json")


def test_qoder_has_three_names(shell: Shell) -> None:
    ways = [MODULE, (str(BIN / "qoder"),)] if ALL_CELLS else [(str(BIN / "qoder"),)]
    assert {shell.run(*way, "--version").out for way in ways} == {shell.qoder("--version").out}
    words = ("deploy", "run", "dep_minute", "--wait", "--timeout", "0", "--json")
    hint = shell.run(str(BIN / "qoder-cli"), *words).error["next"]
    assert hint[0] == "qoder-cli"


# Several at once.


@pytest.mark.parametrize("generation", GENERATIONS)
def test_deploy_run_twice_at_once_with_one_key_starts_one_run(generation: Generation, alone: Shell) -> None:
    delayed = DelayedAnswers()
    with sandbox(generation, honour_key=False, delayed=delayed) as server:
        first = alone.enter(server).begin(*KEYED)
        until(server.world.started, "a run")
        second = alone.begin(*KEYED).says("waiting for it")
        delayed.released.set()
        ended = [first.end(), second.end()]
        assert [one.code for one in ended] == [0, 0]
        assert [one.json["id"] for one in ended] == [run.id for run in server.world.started()] * 2


# Kills the process before or after one of its steps, whichever thread takes it.
KILLED = """
import os
from qoder_cli.http.client import Client
from qoder_cli.local.store import Store
from qoder_cli.output.data import Output
step = {step}
def killed(*given, **more):
    {before} or step(*given, **more)
    os.kill(os.getpid(), 9)
{step} = killed
"""
STEPS = ("Store.begin", "Client._exchange", "Store.record_run", "Output.record")


@pytest.mark.parametrize(("step", "before", "generation"), checkerboard(STEPS, (True, False), GENERATIONS))
def test_deploy_run_that_is_killed_at_any_step_starts_none_twice(
    step: str, before: bool, generation: Generation, alone: Shell
) -> None:
    with sandbox(generation, honour_key=False) as server:
        shell = alone.enter(server)
        killed = shell.begin(*KEYED, prologue=KILLED.format(step=step, before=before))
        assert killed.last()[0] == -signal.SIGKILL
        ended = shell.qoder(*KEYED, prologue=HASTY_LOOKS)
        assert (ended.code, [ended.json["id"]]) == (0, [run.id for run in server.world.started()])
        assert shell.qoder("run", "get", "last", "-q").out.split() == [ended.json["id"]]


# The network.


def test_deploy_run_and_get_exit_7_where_the_network_does_not_answer(alone: Shell) -> None:
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
            for (name, url), verb in checkerboard(places.items(), ("get", "run"))
            if (name, verb) != ("a page", "run")  # that is exit 9
        }
        hanging = alone.begin("run", "wait", "drun_x", "--timeout", "1", "--json", "--base-url", silent.base_url)
        ended = {name: going.end() for name, going in tries.items()}
        told = {name: (one.code, one.error["type"], one.error["run_state"], one.out) for name, one in ended.items()}
        assert told == dict.fromkeys(tries, (7, "unavailable", "none", ""))
        assert all(one.error["hint"] for one in ended.values())
        waited = hanging.end()
        assert (waited.code, waited.error["run_state"]) == (124, "unknown")
        assert len(silent.world.requests) == 1  # the look that was under way may end; another one is too late


# Odd environments.


def test_deploy_get_prints_utf_8_whatever_the_locale(alone: Shell) -> None:
    locale = {"LC_ALL": "C", "LANG": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    alone.env |= locale
    with sandbox("current") as server:
        id = server.world.add_deployment(name="Täglich 日報 ✓").id
        alone.enter(server)
        assert "name\tTäglich 日報 ✓\n" in alone.qoder("deploy", "get", id).out
        if ALL_CELLS:
            assert alone.qoder("deploy", "get", id, "--json").json["name"] == "Täglich 日報 ✓"
        assert "dep_…" in alone.qoder("deploy", "run", "dep_ä").err


def test_deploy_run_gives_python_nothing_to_warn_about(shell: Shell) -> None:
    strict = (sys.executable, "-X", "dev", "-W", "error", "-m", "qoder_cli")
    ended = shell.run(*strict, "deploy", "run", "dep_demo", "--wait", "--json", "--no-progress")
    assert (ended.code, ended.err) == (0, "")


def test_deploy_run_works_in_a_folder_with_modules_of_pythons_names(shell: Shell) -> None:
    for name in ("json", "typing", "httpx", "typer", "signal", "re", "qoder_cli"):
        (shell.home / f"{name}.py").write_text("raise SystemExit('the wrong module')")
    assert shell.qoder("sandbox", "--", str(BIN / "qoder"), "deploy", "run", "dep_demo").code == 0


@pytest.mark.parametrize(
    ("words", "unneeded"),
    [
        (
            "deploy run dep_demo -o json",
            "pydantic yaml rich tomlkit asyncio starlette prompt_toolkit qoder_cli.fleet.wait",
        ),
        ("deploy run dep_demo", "pydantic rich prompt_toolkit"),
        ("deploy run dep_demo --follow", "pydantic prompt_toolkit asyncio"),
        ("session chat --help", "httpx pydantic rich prompt_toolkit asyncio"),
        ("run pending", "pydantic prompt_toolkit asyncio"),
        ("api --list run", "httpx pydantic rich sqlite3 qoder_cli.http.client"),
        ("--version", "httpx pydantic rich qoder_cli.http.client"),
        ("--help", "httpx pydantic rich sqlite3 qoder_cli.commands.deploy"),
        ("deploy run --help", "httpx pydantic rich qoder_cli.http.client"),
    ],
)
@pytest.mark.few(3)
def test_qoder_imports_only_what_it_needs(shell: Shell, words: str, unneeded: str) -> None:
    at_exit = "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr))"
    ended = shell.run(*staged(at_exit), *words.split())
    imported = set(ended.err.splitlines()[-1].split())
    assert ended.code == 0
    assert "qoder_cli.cli.main" in imported
    assert set(unneeded.split()) & imported == set()


# `--notify` in a process of its own: at signals, in pipes, and where its command takes its time.

WAITING = "import os, time\nwhile not os.path.exists('go'):\n    time.sleep(0.05)\nopen('late', 'w').close()"
SLOW = shlex.join([sys.executable, "-c", WAITING])


def noting(folder: Path) -> str:
    """Return a command that writes the event and its input into a file."""
    code = (
        f"import os, sys; open({str(folder / 'notified')!r}, 'a').write(os.environ['QODER_EVENT'] + sys.stdin.read())"
    )
    return shlex.join([sys.executable, "-c", code])


def test_notify_tells_of_a_wait_that_a_signal_ends(alone: Shell) -> None:
    with sandbox("current", speed=1) as server:
        going = alone.enter(server).begin(
            *("deploy", "run", "dep_minute", "--wait", "--json", "--notify", noting(alone.home))
        )
        until(lambda: len(server.world.started()) == 1 and "run drun_" in going.err, "the run")
        ended = going.signal(signal.SIGTERM).end()
        assert (ended.code, ended.error["type"], ended.error["run_state"]) == (143, "terminated", "going")
        until(lambda: (alone.home / "notified").read_text().endswith("}\n"), "the command's file")
        event, brace, rest = (alone.home / "notified").read_text().partition("{")
        assert event == "lost"
        assert json.loads(brace + rest)["id"] == server.world.started()[0].id


def test_notify_keeps_no_pipe_open_and_its_command_lives_on(alone: Shell, servers: dict[str, Server]) -> None:
    alone.enter(servers["current"])
    line = f"qoder deploy run dep_demo --wait -q --notify {shlex.quote(SLOW)} 2>&1 | cat >log"
    alone.bash(line)  # which would end later than the command may
    lines = (alone.home / "log").read_text().splitlines()
    assert any("is still running" in line for line in lines)
    assert any(line.startswith("drun_") for line in lines)
    (alone.home / "go").touch()
    until(lambda: (alone.home / "late").exists(), "the end of the command, which nobody cut short")
