"""What a terminal shows of a run: whole ids, one status line, colour as the environment says."""

import re
import signal
from functools import partial

import pytest

from qoder_cli.sandbox.server import Server
from qoder_cli.sandbox.wire import GENERATIONS, Generation
from tests.support.processes import Shell, Terminal, sandbox, until

Servers = dict[Generation, Server]
RUN = ("qoder", "deploy", "run")


@pytest.mark.parametrize("generation", GENERATIONS)
def test_deploy_run_shows_whole_ids_in_80_columns(generation: Generation, alone: Shell, servers: Servers) -> None:
    with Terminal(alone.enter(servers[generation]), *RUN, "dep_demo", "--wait") as terminal:
        assert terminal.end() == 0
        assert max(map(len, terminal.screen)) <= 80
        assert re.fullmatch(r"starting dep_demo \(127\.0\.0\.1:\d+\)", terminal.screen[0])
        assert re.fullmatch(r"run drun_[0-9a-z]{20}", terminal.screen[1])
    fields = dict(re.split("  +", line, maxsplit=1) for line in terminal.screen if "  " in line)
    assert not {"id", "deployment"} & fields.keys()  # they are in the lines above
    assert re.fullmatch(r"sess_[0-9a-z]{20}", fields["session"])
    assert re.fullmatch(r"agent_[0-9a-f]+@1", fields["agent"])
    assert fields["status"] == "completed"


def test_run_wait_shows_in_80_columns_which_id_is_which(shell: Shell) -> None:
    ids = [shell.qoder("deploy", "run", "dep_demo", "-q").out.strip() for _ in range(2)]
    with Terminal(shell, "qoder", "run", "wait", *ids) as terminal:
        assert terminal.end() == 0
        [header] = [number for number, line in enumerate(terminal.screen) if line.endswith("  id")]
        shown = [line.split()[-1].rstrip("…") for line in terminal.screen[header + 1 :][:2]]
        assert sorted([id for id in ids if id.startswith(short)] for short in shown) == sorted([id] for id in ids)


def test_deploy_run_shows_one_status_line_that_typing_does_not_move(alone: Shell, lasting: Servers) -> None:
    line = "trap : INT; qoder deploy run dep_minute --wait; stty -a"
    with Terminal(alone.enter(lasting["current"]), "sh", "-c", line) as terminal:
        terminal.shows("Ctrl-C").type("typed\r\r\r")
        seen = len(terminal.raw)
        until(lambda: "Ctrl-C" in terminal.raw[seen + 200 :], "the status line again")
        [status] = [line for line in terminal.screen if "Ctrl-C" in line]
        assert "running" in status
        assert status.endswith(("the run keeps running", "…"))
        terminal.type("\x03")
        terminal.end()
    assert "typed" not in terminal.raw
    assert re.search(r"(?<!-)\becho\b", terminal.raw)  # and is seen again
    assert not re.search(r"-echo\b", terminal.raw)
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
@pytest.mark.few(3)
def test_deploy_run_says_once_why_a_run_failed_in_colour_as_the_environment_says(
    shell: Shell, words: tuple[str, ...], env: dict[str, str], coloured: bool
) -> None:
    with Terminal(shell, *RUN, "dep_nostart", *words, env=env) as terminal:
        assert terminal.end() == 1
    assert (re.search("\x1b\\[[0-9;]*m", terminal.raw) is not None) == coloured
    assert " ".join(terminal.screen).count("environment is archived") == 1
    assert "error: the run did not start" in terminal.screen


def test_deploy_run_gives_a_dumb_terminal_lines_and_no_escapes(shell: Shell) -> None:
    with Terminal(shell, *RUN, "dep_fail", "--wait", env={"TERM": "dumb"}) as terminal:
        assert terminal.end() == 1
    assert "\x1b" not in terminal.raw
    assert any(re.fullmatch(r"drun_\w+ failed.*", line) for line in terminal.screen)
    assert " ".join(terminal.screen).count("The session ran out of retries.") == 1
    assert "error: the run failed" in terminal.screen


def test_run_list_watch_redraws_in_place_until_ctrl_c(alone: Shell) -> None:
    with sandbox("current") as server:  # where nobody else starts runs
        shell = alone.enter(server)
        shell.qoder("deploy", "run", "dep_demo", "--wait")
        with Terminal(shell, "qoder", "run", "list", "--watch", "1") as terminal:
            terminal.shows("every 1s").type("typed\r")
            shell.qoder("deploy", "run", "dep_fail", "--wait")
            terminal.shows("retries_exhausted")
            rows = [line.split()[1] for line in terminal.screen if "drun_" in line]
            assert sorted(rows) == ["completed", "failed"]
            terminal.type("\x03")
            assert terminal.end() == -signal.SIGINT
    assert "typed" not in terminal.raw
    assert not re.search("\x1b\\[\\?", terminal.raw), "no mode of the terminal is changed"
    assert sum(line.startswith("deployment ") for line in terminal.screen) == 1
    assert "error: interrupted" in terminal.screen


def test_run_list_watch_shows_as_much_as_fits_a_small_terminal(alone: Shell, servers: Servers) -> None:
    with Terminal(alone.enter(servers["current"]), "qoder", "deploy", "list", "--watch", rows=8) as terminal:
        terminal.shows("every 5s")
        assert len(terminal.screen) <= 7
        assert re.fullmatch(r"… \d+ more lines", terminal.screen[-2])


def fits(terminal: Terminal, columns: int) -> bool:
    return max(map(len, terminal.screen)) <= columns and any("as of " in line for line in terminal.screen[-2:])


def test_run_list_watch_leaves_no_stale_rows_at_another_width(alone: Shell, servers: Servers) -> None:
    with Terminal(alone.enter(servers["current"]), "qoder", "deploy", "list", "--watch", "1", columns=120) as terminal:
        for columns in (60, 24, 100):
            terminal.shows("as of ").resize(columns)
            until(partial(fits, terminal, columns), "a list that fits")
            assert sum("as of " in line for line in terminal.screen) == 1
            assert sum(line.startswith("name") for line in terminal.screen) == 1
        terminal.type("\x03")
        assert terminal.end() == -signal.SIGINT
        assert terminal.screen[-1] == "error: interrupted"
