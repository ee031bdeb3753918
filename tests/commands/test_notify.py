"""`--notify`: what a command is told when a wait is over, and what it can never change."""

import json
import os
import shlex
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from qoder_cli.base.errors import Signalled
from qoder_cli.runs import notifier, notify
from qoder_cli.sandbox.world import World
from tests.conftest import TOKEN, Qoder

RUN = ("deploy", "run")
PATIENCE = notify.PATIENCE
NOTES = """
import json, os, sys
with open(sys.argv[1], "a") as notes:
    print(json.dumps({"told": json.load(sys.stdin), "env": dict(os.environ), "words": sys.argv[2:]}), file=notes)
"""


class Notes:
    """A command that notes what it is told, and then does what a test wants."""

    def __init__(self, folder: Path) -> None:
        self._program, self._notes = folder / "notes.py", folder / "notes"
        self.then("")

    def then(self, code: str) -> str:
        """Return the command, which does this in the end."""
        self._program.write_text(NOTES + code)
        return self.command

    @property
    def command(self) -> str:
        return shlex.join([sys.executable, str(self._program), str(self._notes)])

    @property
    def all(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._notes.read_text().splitlines()] if self._notes.exists() else []

    @property
    def events(self) -> list[str]:
        return [note["env"]["QODER_EVENT"] for note in self.all]


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Notes:
    monkeypatch.setattr(notify, "PATIENCE", 60.0)  # on a busy machine it may take its time
    monkeypatch.setattr(notify, "TIME", 60.0)
    return Notes(tmp_path)


def test_notify_tells_a_command_the_json_of_the_run_that_was_printed(qoder: Qoder, world: World, notes: Notes) -> None:
    ran = qoder(*RUN, "dep_demo", "--wait", "--json", "--notify", f"{notes.command} 'two words' $HOME")
    [note] = notes.all
    assert (ran.code, note["told"], note["env"]["QODER_EVENT"]) == (0, ran.json, "ended")
    assert note["words"] == ["two words", "$HOME"], "no shell expands anything"


def test_notify_hands_on_no_token_key_or_store_of_keys(qoder: Qoder, world: World, notes: Notes) -> None:
    others = {"QODER_REPO_TOKEN": TOKEN, "QODER_ACCESS_TOKEN": TOKEN, "QODER_SA_KEY_FILE": "/run/key"}
    qoder.env |= others | {"A_COPY": f"Bearer {TOKEN}", "HOOK": "https://hooks.example/x"}
    assert qoder(*RUN, "dep_demo", "--wait", "--notify", notes.command).code == 0
    [note] = notes.all
    assert not {"A_COPY", *notify.SECRETS} & note["env"].keys()
    assert {"QODER_PAT", "QODER_PAT_FILE", "QODER_SA_KEY", "QODER_KEYS", *others} <= set(notify.SECRETS)
    assert note["env"]["HOOK"] == "https://hooks.example/x"
    assert TOKEN not in json.dumps(note)


ENDINGS = {
    "dep_fail": (1, "ended"),
    "dep_nostart": (1, "ended"),
    "dep_ask": (11, "asks"),
    "dep_minute --timeout 5": (124, "lost"),
    "dep_paused": (6, "ended"),
}


@pytest.mark.parametrize("line", ENDINGS)
@pytest.mark.few(3)
def test_notify_says_how_the_wait_ended_and_changes_no_exit_code(
    qoder: Qoder, world: World, notes: Notes, line: str
) -> None:
    code, event = ENDINGS[line]
    ran = qoder(*RUN, *line.split(), "--wait", "--json", "--notify", notes.then("print('told')"))
    [note] = notes.all
    assert (ran.code, note["env"]["QODER_EVENT"]) == (code, event)
    assert "\ntold\n" in ran.err
    assert ran.error["exit_code"] == code, "the error is the last line all the same"
    if ran.out:
        assert note["told"] == ran.json
    else:
        assert (note["told"]["id"], note["told"]["error"]) == (None, ran.error)


def test_notify_of_several_tells_of_all_of_them_once(qoder: Qoder, world: World, notes: Notes) -> None:
    runs = [world.start(f"dep_{word}", at=world.now() - 600).id for word in ("demo", "fail", "ask")]
    ran = qoder("run", "wait", *runs, "drun_nowhere", "--json", "--notify", notes.command)
    [note] = notes.all
    assert (ran.code, note["told"], note["env"]["QODER_EVENT"]) == (5, ran.json, "asks")


def test_notify_tells_of_an_ask_once_where_the_wait_goes_on(qoder: Qoder, world: World, notes: Notes) -> None:
    words = ("--wait", "--on-ask", "wait", "--timeout", "10m", "--json", "--notify", notes.command)
    assert qoder(*RUN, "dep_ask", *words).code == 124
    assert notes.events == ["asks", "lost"]
    [call] = notes.all[0]["told"]["requires_action"]["event_ids"]
    assert call.startswith("evt_")


def test_notify_of_a_profile_is_quiet_in_commands_that_do_not_wait(qoder: Qoder, world: World, notes: Notes) -> None:
    assert qoder("config", "set", "notify", notes.command).code == 0
    assert qoder("config", "get", "notify").out == f"{notes.command}\n"
    for line in ("deploy run dep_demo", "run list", "run get last", "run logs last --follow"):
        assert qoder(*line.split()).code == 0
    assert qoder("deploy", "run", "dep_demo", "--wait", "--dry-run").code == 0
    assert notes.all == []
    assert qoder("run", "wait", "last").code == 0
    assert notes.events == ["ended"]


def test_notify_of_a_program_that_is_missing_is_a_warning_at_once(qoder: Qoder, world: World) -> None:
    ran = qoder(*RUN, "dep_demo", "--wait", "--json", "--notify", "nowhere-to-be-found --now")
    assert (ran.code, ran.json["status"]) == (0, "completed")
    assert ran.err.startswith("warning: --notify: nowhere-to-be-found was not found\nstarting ")
    assert ran.err.count("nowhere-to-be-found was not found") == 2


FAILS = {"import sys; sys.exit(3)": "failed with exit code 3", "os.kill(os.getpid(), 9)": "failed with exit code 9"}


@pytest.mark.parametrize("code", FAILS)
def test_notify_whose_command_fails_is_a_warning(qoder: Qoder, world: World, notes: Notes, code: str) -> None:
    ran = qoder(*RUN, "dep_demo", "--wait", "--no-progress", "--notify", notes.then(code))
    assert ran.code == 0
    assert ran.err.startswith("warning: --notify: ")
    assert ran.err.endswith(f" {FAILS[code]}\n")


def test_notify_is_waited_for_a_second_only(
    qoder: Qoder, world: World, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert PATIENCE == 1
    monkeypatch.setattr(notify, "PATIENCE", 0.1)
    began = time.monotonic()
    ran = qoder(*RUN, "dep_demo", "--wait", "--json", "--notify", notes.then("import time; time.sleep(60)"))
    assert (ran.code, ran.json["status"]) == (0, "completed")
    assert time.monotonic() - began < notify.TIME
    assert "is still running; it has 60 s in all" in ran.err


def test_notify_of_a_hostile_output_steers_no_terminal(qoder: Qoder, world: World, notes: Notes) -> None:
    said = "print('\\x1b[2J', '::error::x', os.environ.get('QODER_PAT'))"
    ran = qoder(*RUN, "dep_demo", "--wait", "--notify", notes.then(said))
    assert "\\u001b[2J" in ran.err
    assert "\x1b" not in ran.err


# What happens while the command is told; the line, the exit code and the status that is printed.
TROUBLE: dict[str, tuple[BaseException, str, int, str]] = {
    "a signal": (Signalled(signal.SIGTERM), "dep_demo", 0, "completed"),
    "a bug": (RuntimeError("oops"), "dep_demo", 0, "completed"),
    "a signal at an ask, which ends the wait": (
        Signalled(signal.SIGTERM),
        "dep_ask --on-ask wait --timeout 10m",
        143,
        "running",
    ),
}


@pytest.mark.parametrize("name", TROUBLE)
def test_notify_changes_no_exit_code_whatever_happens_meanwhile(
    qoder: Qoder, world: World, notes: Notes, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    trouble, line, code, status = TROUBLE[name]

    def raises(self: Any, **_: Any) -> Any:
        raise trouble

    monkeypatch.setattr("subprocess.Popen.communicate", raises)
    ran = qoder(*RUN, *line.split(), "--wait", "--json", "--notify", notes.command)
    assert (ran.code, ran.json["status"]) == (code, status)
    assert ("warning: --notify: RuntimeError: oops" in ran.err) == (name == "a bug")


@pytest.mark.skipif(os.name != "posix", reason="only there are groups of processes")
def test_notifier_ends_a_command_and_all_that_it_began_when_its_time_is_over(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    began = time.monotonic()
    assert notifier.run(0.5, ["sh", "-c", f"sleep 60 & echo $! > {pids}; echo $$ >> {pids}; wait"]) == -signal.SIGKILL
    assert time.monotonic() - began < 30
    for pid in map(int, pids.read_text().split()):
        for _ in range(100):
            if not _is_running(pid):
                break
            time.sleep(0.05)
        assert not _is_running(pid)


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
