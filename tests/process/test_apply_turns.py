"""`qoder apply` as real processes: killed, interrupted, and asked at a terminal."""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from qoder_cli.sandbox.server import Server
from tests.support.processes import HEARING, DelayedAnswers, Going, Shell, Terminal, sandbox, until

NEW = {"agent": "agent_writer", "environment_id": "env_workers", "message": "Report."}


def write_files(folder: Path, *names: str, **fields: Any) -> str:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / f"{name}.json").write_text(json.dumps({"type": "deployment", **NEW, "name": name, **fields}))
    return str(folder)


def descriptions(server: Server) -> dict[str, list[str | None]]:
    """Return, by name, what is said of the deployments that there truly are."""
    found: dict[str, list[str | None]] = {}
    with server.world.lock:
        server.world.settle()
        for one in server.world.deployments.values():
            found.setdefault(one.name, []).append(one.fields["description"])
    return found


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.few(1)
def test_apply_says_at_a_signal_what_is_done_and_begins_no_more(tmp_path: Path, signum: signal.Signals) -> None:
    names = [f"new-{n:02}" for n in range(20)]
    folder = write_files(tmp_path / "files", *names)
    delayed = DelayedAnswers(first=4)
    with sandbox("current", delayed=delayed) as server:
        shell = Shell(tmp_path, server)
        going = shell.begin("apply", folder, "--yes", "--json", prologue=HEARING)
        going.says("created deployment new-").signal(signum).says("heard")
        delayed.released.set()
        ended = going.end()
        made = descriptions(server).keys() & set(names)
        told = {item["name"]: item["action"] for item in ended.json}
        assert ended.code == (-signum if signum == signal.SIGINT else 143)
        assert list(told) == names
        assert {name for name, action in told.items() if action == "created"} == made
        assert 0 < len(made) < 20
        assert {action for name, action in told.items() if name not in made} == {"not_attempted"}
        counts = f"{len(made)} created, {20 - len(made)} not attempted"
        assert ended.error["message"] == f"stopped by a signal; {counts}"
        assert ended.error["hint"] == "apply again to finish"


@contextmanager
def writing(folder: str, home: Path) -> Iterator[tuple[Shell, Server, DelayedAnswers, Going]]:
    """Have a command write what this folder holds, until its answer is released."""
    delayed = DelayedAnswers()
    with sandbox("current", delayed=delayed) as server:
        shell = Shell(home, server)
        first = shell.begin("apply", folder, "--yes")
        until(lambda: "weekly" in descriptions(server), "what is created")
        yield shell, server, delayed, first


CREATE = ("deploy", "create", *["--name", "weekly", "--agent", "agent_writer", "--env", "env_workers", "-m", "Report."])
WAITING = "another command of this machine applies files, or writes deployments or environments; waiting for it"
SECOND = {"create": CREATE, "env update": ("env", "update", "default", "--pip", "pandas")}


@pytest.mark.parametrize("second", ["apply", *SECOND])
def test_apply_and_create_wait_for_their_turn_and_say_so(tmp_path: Path, second: str) -> None:
    folder = write_files(tmp_path / "files", "weekly")
    with writing(folder, tmp_path) as (shell, server, delayed, first):
        words = SECOND.get(second, ("apply", folder, "--yes"))
        waiting = shell.begin(*words, "--json").says(WAITING)
        assert shell.qoder("diff", folder).code == 0  # who only looks does not wait
        delayed.released.set()
        assert first.end().code == 0
        ended = waiting.end()
        assert len(descriptions(server)["weekly"]) == 1
    if second == "apply":
        assert (ended.code, ended.json[0]["action"]) == (0, "unchanged")
    elif second == "create":
        assert (ended.code, "already exists" in ended.error["message"]) == (6, True)
    else:
        assert (ended.code, "pandas" in ended.json["config"]["packages"]["pip"]) == (0, True)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.few(1)
def test_apply_that_waits_for_its_turn_is_ended_by_a_signal(tmp_path: Path, signum: signal.Signals) -> None:
    folder = write_files(tmp_path / "files", "weekly")
    with writing(folder, tmp_path) as (shell, server, delayed, first):
        asked = len(server.world.requests)
        ended = shell.begin("apply", folder, "--yes", "--json").says(WAITING).signal(signum).end()
        assert ended.code == (-signum if signum == signal.SIGINT else 143)
        assert ended.error["message"] == "interrupted; nothing was started"
        assert len(server.world.requests) == asked
        delayed.released.set()
        assert first.end().code == 0


def test_apply_has_its_turn_when_the_one_before_was_killed_and_makes_nothing_twice(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "files", "weekly")
    with writing(folder, tmp_path) as (shell, server, delayed, first):
        first.signal(signal.SIGKILL).last()
        delayed.released.set()
        ended = shell.qoder("apply", folder, "--yes")
        assert (ended.code, WAITING in ended.err) == (0, False)
        assert len(descriptions(server)["weekly"]) == 1


@pytest.mark.parametrize(("typed", "code"), [("y\n", 0), ("n\n", 2), ("\x03", -signal.SIGINT), ("\x04", 2)])
@pytest.mark.few(2)
def test_apply_asks_a_person(tmp_path: Path, typed: str, code: int) -> None:
    folder = write_files(tmp_path / "files", "weekly", description="New")
    with (
        sandbox("current") as server,
        Terminal(Shell(tmp_path, server), "qoder", "apply", folder) as terminal,
    ):
        terminal.shows("create deployment weekly").shows("1 to create?")
        terminal.reply(typed)
        assert terminal.end() == code
        assert ("weekly" in descriptions(server)) == (code == 0)


def test_apply_shows_what_it_adds_in_green_and_what_it_takes_in_red(tmp_path: Path) -> None:
    folder = write_files(
        tmp_path / "files", "weekly", metadata={"b": "2"}, description="- a list\n- of two, now three\n- c"
    )
    with sandbox("current") as server:
        server.world.add_deployment(name="weekly", metadata={"a": "1"}, description="- a list\n- of two")
        with Terminal(Shell(tmp_path, server), "qoder", "diff", folder) as terminal:
            assert terminal.end() == 8
    assert "\x1b[32m+ metadata.b" in terminal.raw
    assert "\x1b[31m- metadata.a" in terminal.raw
    assert "\x1b[31m    -- of two\x1b[0m" in terminal.raw
    assert "\x1b[32m    +- c\x1b[0m" in terminal.raw
    assert "         - a list\r\n" in terminal.raw  # what stays has no colour


def test_apply_and_update_read_pipes(tmp_path: Path) -> None:
    with sandbox("current") as server:
        shell = Shell(tmp_path, server).quick()
        line = "qoder deploy get dep_demo --json | qoder diff - --verbose -q"
        assert (shell.bash(line).out, shell.bash(line).code) == ("dep_demo\n", 0)
        line = "qoder deploy get nightly-report --json | qoder apply /dev/stdin --yes -q"
        assert (shell.bash(line).out, shell.bash(line).code) == ("dep_scheduled\n", 0)
        ended = shell.bash(r"printf 'name: a\ndescription: \xff' | qoder apply - --yes")
        assert (ended.code, "byte 21 (0xff) is not UTF-8" in ended.err) == (2, True)
        ended = shell.bash(r"qoder deploy update demo --description $'\xff'")
        assert (ended.code, ended.errors) == (2, ["error: --description: is not UTF-8"])
        ended = shell.bash(r"printf '\xff' | qoder deploy update demo -m -")
        assert (ended.code, ended.errors) == (2, ["error: --message: the text is not UTF-8"])
        assert "dep_demo" not in str([seen.path for seen in server.world.requests if seen.method == "POST"])
