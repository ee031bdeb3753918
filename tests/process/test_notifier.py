"""`--notify` in a process of its own: at signals, in pipes, and where its command takes its time."""

import json
import shlex
import signal
import sys
from pathlib import Path

from qoder_cli.sandbox.server import Server
from tests.support.processes import Shell, sandbox, until

WAITING = "import os, time\nwhile not os.path.exists('go'):\n    time.sleep(0.05)\nopen('late', 'w').close()"
SLOW = shlex.join([sys.executable, "-c", WAITING])


def noting(folder: Path) -> str:
    """Return a command that notes the event and what it is told."""
    code = f"import os, sys; open({str(folder / 'told')!r}, 'a').write(os.environ['QODER_EVENT'] + sys.stdin.read())"
    return shlex.join([sys.executable, "-c", code])


def test_notify_tells_of_a_wait_that_a_signal_ends(alone: Shell) -> None:
    with sandbox("current", speed=1) as server:
        going = alone.enter(server).begin(
            *("deploy", "run", "dep_minute", "--wait", "--json", "--notify", noting(alone.home))
        )
        until(lambda: len(server.world.started()) == 1 and "run drun_" in going.err, "the run")
        ended = going.signal(signal.SIGTERM).end()
        assert (ended.code, ended.error["type"], ended.error["run_state"]) == (143, "terminated", "going")
        until(lambda: (alone.home / "told").read_text().endswith("}\n"), "what is told")
        told = (alone.home / "told").read_text()
        assert told.startswith("lost{")
        assert json.loads(told.removeprefix("lost"))["id"] == server.world.started()[0].id


def test_notify_keeps_no_pipe_open_and_its_command_lives_on(alone: Shell, servers: dict[str, Server]) -> None:
    alone.enter(servers["current"])
    line = f"qoder deploy run dep_demo --wait -q --notify {shlex.quote(SLOW)} 2>&1 | cat >log"
    alone.bash(line)  # which would end later than the command may
    lines = (alone.home / "log").read_text().splitlines()
    assert any("is still running" in line for line in lines)
    assert any(line.startswith("drun_") for line in lines)
    (alone.home / "go").touch()
    until(lambda: (alone.home / "late").exists(), "the end of the command, which nobody cut short")
