"""`qoder deploy run` at a signal: what it says, what it leaves going, and how it ends."""

import json
import re
import signal
import time

import pytest

from qoder_cli.base.errors import Signalled
from qoder_cli.output.screen import errors_of_second_signals
from qoder_cli.sandbox.server import Server
from qoder_cli.sandbox.wire import Generation
from tests.support.cells import checkerboard
from tests.support.processes import (
    HEARING,
    MORE_THAN_ONE_SIGNAL,
    DelayedAnswers,
    Going,
    Shell,
    Terminal,
    sandbox,
    staged,
    until,
)

Servers = dict[Generation, Server]
MINUTE = ("deploy", "run", "dep_minute")
SIGINT, SIGTERM, SIGHUP = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
INTERRUPTED = -SIGINT  # it dies by the signal, so that a shell loop stops


def waiting(shell: Shell, server: Server, *words: str) -> Going:
    """Return a wait for a run of a minute that has begun."""
    return shell.enter(server).begin(*MINUTE, "--wait", *words).says("run drun_")


def started(server: Server) -> list[str]:
    return [run.id for run in server.world.started()]


@pytest.mark.parametrize(
    ("signum", "code", "type", "generation"),
    [
        (SIGINT, INTERRUPTED, "interrupted", "current"),
        (SIGTERM, 143, "terminated", "legacy"),
        (SIGHUP, 129, "hung_up", "current"),
    ],
)
@pytest.mark.few(2)
def test_deploy_run_leaves_its_run_going_at_a_signal(
    generation: Generation, signum: int, code: int, type: str, alone: Shell, lasting: Servers
) -> None:
    server = lasting[generation]
    going = waiting(alone, server, "--json")
    assert (going.process.poll(), going.out) == (None, "")
    named = re.findall(r"drun_\w+", going.err)
    ended = going.signal(signum).end()
    assert ended.json["id"] == named[0], "it is named before the wait"
    told = {name: ended.error[name] for name in ("type", "exit_code", "run_id", "run_state")}
    assert told == {"type": type, "exit_code": 128 + signum, "run_id": ended.json["id"], "run_state": "going"}
    assert ended.code == code
    assert [seen.path for seen in server.world.requests if seen.method == "POST" and "/sessions/" in seen.path] == []
    resumed = alone.qoder(*ended.error["next"][1:], "--timeout", "0")
    assert (resumed.code, resumed.json["id"]) == (124, ended.json["id"])


@pytest.mark.parametrize("moment", ["at the trigger", "just started", "while waiting"])
@pytest.mark.few(2)
def test_deploy_run_with_on_leave_cancel_cancels_whenever_the_signal_comes(moment: str, alone: Shell) -> None:
    delayed = DelayedAnswers()
    if moment != "at the trigger":
        delayed.released.set()
    with sandbox("current", speed=1, delayed=delayed) as server:
        words = (*MINUTE, "--wait", "--on-leave", "cancel", "--json")
        going = alone.enter(server).begin(*words, prologue=HEARING)
        until(server.world.started, "a run")
        if moment != "at the trigger":
            going.says("run drun_")
        if moment == "while waiting":
            until(lambda: any("/events" in seen.path for seen in server.world.requests), "the waiting")
        going.signal(SIGINT).says("heard")
        delayed.released.set()
        ended = going.end()
        assert (ended.code, ended.error["run_id"]) == (INTERRUPTED, ended.json["id"])
        assert [seen.path for seen in server.world.requests if seen.path.endswith("/cancel")]


# At the trigger.


# The trigger is sent in another thread, while the main one is still where it has begun that.
BUSY_MACHINE = """
import time
from qoder_cli.base import pool, signals
begin = pool.begin
def slowly(work):
    begin(work)
    while not signals._seen:
        time.sleep(0.005)
pool.begin = slowly
"""


@pytest.mark.parametrize(("signum", "busy"), [(SIGTERM, False), (SIGINT, True), (SIGINT, False)])
@pytest.mark.few(2)
def test_deploy_run_waits_at_a_signal_for_the_answer_to_its_trigger(signum: int, busy: bool, alone: Shell) -> None:
    delayed = DelayedAnswers()
    with sandbox("current", speed=1, delayed=delayed) as server:
        going = alone.enter(server).begin(*MINUTE, "--json", prologue=HEARING + (BUSY_MACHINE if busy else ""))
        until(server.world.started, "a run")
        going.signal(signum).says("heard")
        delayed.released.set()
        ended = going.end()
        assert ended.code == (INTERRUPTED if signum == SIGINT else 143)
        assert [ended.error["run_id"]] == [ended.json["id"]] == started(server)
        assert ended.error["run_state"] == "going"
        assert alone.qoder("run", "get", "last", "-q").out.split() == started(server)


def test_deploy_run_starts_nothing_where_the_signal_comes_before_the_trigger(alone: Shell) -> None:
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
        ended = alone.enter(server).begin(*MINUTE, "--json", prologue=early).end()
        assert (ended.code, ended.error["run_state"]) == (INTERRUPTED, "none")
        assert started(server) == []
        assert alone.qoder("run", "get", "last").code == 5


# As it begins and ends.


def signal_at_import(module: str, signum: int) -> tuple[str, ...]:
    """Return the command that gets a signal at the moment in which it imports a module."""
    return staged(f"""
import os, sys
class Finder:
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), {int(signum)})
sys.meta_path.insert(0, Finder())
""")


@pytest.mark.parametrize("module", ["signal", "qoder_cli.base.errors", "qoder_cli.cli.main", "httpx"])
@pytest.mark.few(2)
def test_deploy_run_shows_no_traceback_and_one_error_at_a_signal_while_it_starts(shell: Shell, module: str) -> None:
    ended = shell.run(*signal_at_import(module, SIGINT), "deploy", "run", "dep_demo")
    assert (ended.code, ended.out) == (INTERRUPTED, "")
    if module in ("qoder_cli.cli.main", "httpx"):
        ended = shell.run(*signal_at_import(module, SIGTERM), "deploy", "run", "dep_demo", "--json")
        assert (ended.code, ended.out) == (143, "")
        assert (ended.error["type"], ended.error["run_state"]) == ("terminated", "none")


def test_deploy_run_shows_no_traceback_at_a_signal_while_it_ends(shell: Shell) -> None:
    # Python's own hook for the moment in which it waits for the threads that are left.
    at_exit = "import os, threading; threading._register_atexit(os.kill, os.getpid(), 15)"
    ended = shell.run(*staged(at_exit), "deploy", "run", "dep_demo", "-q")
    assert ended.out.startswith("drun_")
    assert ended.code in (0, 143, -SIGTERM)


# Has Ctrl-C come at a certain call of the main thread, counted from the first moment in which it is not Python's own
# to answer, and says in the end how many there were.
AT_A_CALL = """
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


def test_deploy_run_shows_no_traceback_at_ctrl_c_whenever_it_comes(shell: Shell) -> None:
    words = ("deploy", "run", "dep_demo", "-q")
    shell.qoder(*words)  # where nothing is kept yet, the first has more calls than those after it
    whole = shell.qoder(*words, prologue=AT_A_CALL.format(-1))
    calls = int(whole.err.splitlines()[-1])
    moments = [1, *(calls * part // 3 for part in range(1, 4))]
    ended = [shell.qoder(*words, prologue=AT_A_CALL.format(moment)).code for moment in moments]
    assert ended[:2] == [INTERRUPTED] * 2
    assert set(ended[2:]) <= {INTERRUPTED, 0}  # when all is done it comes too late


def test_deploy_run_does_not_lose_a_signal_where_nothing_can_be_raised(alone: Shell, lasting: Servers) -> None:
    in_a_callback = (
        "import os, threading, time\n"
        "class Grave:\n"
        "    def __del__(self): os.kill(os.getpid(), 15); time.sleep(0.01)\n"
        "start = threading.Thread.start\n"
        "def dig(thread): threading.Thread.start = start; start(thread); Grave()\n"
        "threading.Thread.start = dig"
    )
    ended = alone.enter(lasting["current"]).qoder(*MINUTE, "--wait", "--json", prologue=in_a_callback)
    assert (ended.code, ended.error["type"]) == (143, "terminated")
    assert ended.error["run_id"] == ended.json["id"]


def test_deploy_run_ignores_what_its_parent_ignores(shell: Shell) -> None:
    line = "trap '' HUP INT; exec qoder deploy run dep_demo --wait -q"
    ended = shell.start("sh", "-c", line).says("run drun_").signal(SIGHUP).signal(SIGINT).end()
    assert (ended.code, ended.err.splitlines()[-1]) == (0, f"{ended.out.strip()} completed")


@pytest.mark.parametrize(
    ("signum", "fault"), checkerboard((SIGINT, SIGTERM), ("run:slow=0.01", "any:half-written=60*inf"))
)
def test_deploy_run_heeds_a_signal_more_than_a_reader_that_went_away(
    signum: int, fault: str, alone: Shell, broken_pipe: int
) -> None:
    wait = ["--wait"] if fault.startswith("run") else []
    with sandbox("current", fault, speed=1) as server:
        going = alone.enter(server).begin(*MINUTE, *wait, stdout=broken_pipe).says("run drun_")
        until(lambda: len(server.world.requests) > 1, "the waiting")
        ended = going.signal(signum).end()
        assert ended.code == (INTERRUPTED if signum == SIGINT else 143)
        assert "keeps running" in ended.errors[-1]


# On a terminal.


@pytest.mark.parametrize(
    ("command", "question", "so"),
    [
        ("deploy archive dep_demo", "cannot be undone. [y/N]:", "nothing was archived"),
        ("run cancel last", "Cancel run", "was not cancelled"),
        ("auth login", "(not shown):", "nothing was saved"),
    ],
)
def test_question_ends_at_ctrl_c_with_a_line_and_what_is_so(
    command: str, question: str, so: str, alone: Shell, lasting: Servers
) -> None:
    alone.enter(lasting["current"])
    if "last" in command:
        alone.qoder(*MINUTE, "-q")
    with Terminal(alone, "qoder", *command.split()) as terminal:
        terminal.shows(question).type("\x03")
        assert terminal.end() == INTERRUPTED
    assert so in " ".join(terminal.screen[-2:])
    error = next(n for n, line in enumerate(terminal.screen) if line.startswith("error: interrupted"))
    assert any(question in line for line in terminal.screen[:error])  # and, of a run, how it stands
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
@pytest.mark.few(1)
def test_shell_loop_over_runs_stops_at_ctrl_c(command: str, alone: Shell) -> None:
    with sandbox("current", speed=1) as server:
        line = f"for run in 1 2 3; do echo round $run >&2; {command}; done; echo not stopped"
        with Terminal(alone.enter(server), "bash", "--norc", "-c", line) as terminal:
            terminal.shows("nothing here is real" if "sandbox" in command else "run drun_").type("\x03")
            until(
                lambda: terminal.process.poll() is not None or any("round 2" in line for line in terminal.screen),
                "the end, or the second round",
            )
            assert "round 2" not in terminal.raw
            assert terminal.end() == INTERRUPTED
            assert len(server.world.started()) == (0 if "sandbox" in command else 1)


@pytest.mark.parametrize("words", [(), ("--json",)])
@pytest.mark.few(1)
def test_deploy_run_exits_129_when_its_terminal_closes(alone: Shell, lasting: Servers, words: tuple[str, ...]) -> None:
    with Terminal(alone.enter(lasting["current"]), "qoder", *MINUTE, "--wait", *words) as terminal:
        terminal.shows("run drun_").hang_up()
        assert terminal.process.wait() == 129


# A second signal ends it at once, and standard error still ends with an error.


SIGNALS = {signal.SIGINT: ("interrupted", 130), signal.SIGTERM: ("terminated", 143), signal.SIGHUP: ("hung_up", 129)}
SAID = "interrupted again; what was under way may have been done"


@pytest.mark.parametrize(("signum", "options"), [*zip(SIGNALS, [(), ("--json",), ("-ojsonl",)], strict=True)])
def test_deploy_run_says_how_it_stands_when_a_second_signal_ends_it(
    alone: Shell, signum: signal.Signals, options: tuple[str, ...]
) -> None:
    with sandbox("current", "trigger:hang-before") as server:
        going = alone.enter(server).begin("deploy", "run", "dep_demo", *options, prologue=HEARING)
        until(lambda: server.world.requests, "a request")
        going.signal(signum).says("heard")
        time.sleep(MORE_THAN_ONE_SIGNAL)
        assert going.process.poll() is None  # the answer is waited for
        ended = going.signal(signum).end()
    assert (ended.code, ended.out) == (-signum, "")
    kind, code = SIGNALS[signum]
    if options:
        error = {name: ended.error[name] for name in ("type", "exit_code", "message", "run_state")}
        assert error == {"type": kind, "exit_code": code, "message": SAID, "run_state": "unknown"}
    else:
        hint = "hint: look before you repeat it; for a run: qoder run wait last"
        assert ended.err.splitlines()[-2:] == [f"error: {SAID}", hint]


@pytest.mark.parametrize("signum", SIGNALS)
def test_deploy_run_prepares_the_json_error_with_all_that_errors_have(signum: signal.Signals) -> None:
    told = json.loads(errors_of_second_signals("json", on_line=False)[signum])
    hint = told["error"]["hint"]
    assert told == {"error": Signalled(signum).in_words(SAID, hint=hint, run_state="unknown").as_json()}
