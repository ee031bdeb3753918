"""A shared store of keys that says nothing: a real PostgreSQL server behind a network that goes silent."""

import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest

from qoder_cli.sandbox.faults import Faults
from qoder_cli.sandbox.server import Server
from qoder_cli.sandbox.wire import GENERATIONS, Generation, Request, WireResponse
from qoder_cli.sandbox.world import World
from tests.support import stacks
from tests.support.cells import checkerboard
from tests.support.machines import PostgresServer, lacks_postgres
from tests.support.processes import HASTY_LOOKS, DelayedAnswers, Going, Shell, sandbox, until
from tests.support.silence import Moment, SilentNetwork

MOMENTS: dict[str, Moment] = {
    "at the connection": Moment("connection"),
    "after the login": Moment("login"),
    "a claim is lost": Moment("statement", b"INSERT"),
    "a claim is made": Moment("statement", b"INSERT", "done"),
    "a claim is half answered": Moment("statement", b"INSERT", "half answered"),
    "sending is lost": Moment("statement", b'"sending"'),
    "sending is noted": Moment("statement", b'"sending"', "done"),
}
AFTER_THE_START: dict[str, Moment] = {
    "the run is lost": Moment("statement", b'"started"'),
    "the run is noted": Moment("statement", b'"started"', "done"),
    "the run is half answered": Moment("statement", b'"started"', "half answered"),
}
SIGNALS: dict[int, int] = {signal.SIGINT: -signal.SIGINT, signal.SIGTERM: 128 + signal.SIGTERM}
FOR_EVER = """
from qoder_cli.keys import patience, postgres
for module in (patience, postgres):
    module.CONNECT_WITHIN = module.ANSWER_WITHIN = 3600.0  # whatever ends then was not ended by them
"""
# As soon as a file says that the store is silent, so that no answer can come any more, the time flies.
HASTY = """
import os, time
real, began = time.monotonic, []
def monotonic():
    now = real()
    if not began and os.path.exists({file!r}):
        began.append(now)
    return now + 100 * (now - began[0]) if began else now
time.monotonic = monotonic
"""
# What others seem to have left behind is so after a moment.
SOON = f"from qoder_cli.keys import protocol; protocol.STALE_CLAIM, protocol.ABANDONED = 0.1, 0.2\n{HASTY_LOOKS}\n"
NIGHT = ("deploy", "run", "dep_slow", "--idempotency-key", "night-1", "--json")


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    if (missing := lacks_postgres()) is not None:
        pytest.skip(f"{missing} is not installed")
    pytest.importorskip("psycopg")
    with closing(PostgresServer()) as database:
        with sandbox("current") as server:
            shell = Shell(tmp_path_factory.mktemp("init"), server)
            assert shell.qoder("key", "init", "--store", database.url()).code == 0
        yield database


class Night:
    """Someone who starts a run with a store of keys, and a sandbox."""

    def __init__(self, folder: Path, server: Server, postgres: PostgresServer) -> None:
        self.server = server
        self.postgres = postgres
        self.shell = Shell(folder, server)
        self.silence = folder / "silence"  # there once the store is silent
        self.hasty = HASTY.format(file=str(self.silence))
        postgres.execute("DELETE FROM qoder_keys")

    def with_store(self, *words: str, port: int | None = None, prologue: str = "") -> Going:
        return self.shell.begin(*words, env={"QODER_KEYS": self.postgres.url(port)}, prologue=prologue)

    @contextmanager
    def silent(self, moment: Moment) -> Iterator["partial[Going]"]:
        """Begin commands over a network that goes silent."""
        self.silence.unlink(missing_ok=True)
        with closing(SilentNetwork(self.postgres.port, moment, self.silence)) as network:
            self.port = network.port
            yield partial(self.with_store, port=network.port)

    @property
    def runs(self) -> list[str]:
        with self.server.world.lock:
            return [run.id for run in self.server.world.started()]


@pytest.fixture
def night(tmp_path: Path, postgres: PostgresServer, generation: Generation) -> Iterator[Night]:
    with sandbox(generation, honour_key=False, speed=1.0) as server:
        yield Night(tmp_path, server, postgres)


@pytest.fixture
def generation() -> Generation:
    return "current"


@pytest.mark.parametrize(("moment", "signum"), checkerboard(MOMENTS, SIGNALS))
def test_deploy_run_heeds_a_signal_while_the_store_is_silent_before_the_start(
    night: Night, moment: str, signum: int
) -> None:
    with night.silent(MOMENTS[moment]) as begin:
        going = begin(*NIGHT, prologue=FOR_EVER).says("checking the key ")
        until(night.silence.exists, "silence")
        ended = going.signal(signum).end()
    assert (ended.code, ended.out, night.runs) == (SIGNALS[signum], "", [])
    assert ended.error["message"] == "interrupted; nothing was started"


@pytest.mark.parametrize(("moment", "signum", "generation"), checkerboard(AFTER_THE_START, SIGNALS, GENERATIONS))
def test_deploy_run_says_its_run_and_heeds_a_signal_while_the_store_is_silent_after_the_start(
    night: Night, moment: str, signum: int
) -> None:
    with night.silent(AFTER_THE_START[moment]) as begin:
        going = begin(*NIGHT, "--wait", prologue=FOR_EVER).says("run drun_")
        until(night.silence.exists, "silence")
        assert night.runs[0] in going.err
        ended = going.signal(signum).end()
    assert (ended.code, [ended.json["id"]], [ended.error["run_id"]]) == (SIGNALS[signum], night.runs, night.runs)


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.few(1)
def test_deploy_run_waits_no_longer_than_its_timeout_for_a_silent_store(night: Night) -> None:
    for moment, code in ((MOMENTS["sending is noted"], 7), (AFTER_THE_START["the run is noted"], 124)):
        with night.silent(moment) as begin:
            ended = begin(
                *NIGHT[:4], f"night-{code}", "--json", "--wait", "--timeout", "30s", prologue=FOR_EVER + night.hasty
            ).end()
        assert ended.code == code, ended.err


class Holding(DelayedAnswers):
    """Holds back the answer to the memory that names the run."""

    def answer(self, world: World, request: Request) -> WireResponse:
        if b"started" in request.body:
            return super().answer(world, request)
        return Faults.answer(self, world, request)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_deploy_run_says_its_run_and_heeds_a_signal_while_a_memory_store_is_silent(
    tmp_path: Path, generation: Generation
) -> None:
    with sandbox(generation, honour_key=False, delayed=(holding := Holding())) as server:
        shell = Shell(tmp_path, server)
        store = shell.qoder("key", "init", "-q").out.strip()
        going = shell.begin(*NIGHT, "--wait", env={"QODER_KEYS": store}).says("run drun_")
        until(lambda: holding.is_holding, "silence")
        ended = going.signal(signal.SIGINT).end()
        [run] = server.world.started()
    assert (ended.code, ended.json["id"], ended.error["run_id"]) == (-signal.SIGINT, run.id, run.id)


# Ctrl-C comes as soon as the first thread of a write is begun, and the store has as long as a busy machine needs.
AT_A_WRITE = """
import os
from qoder_cli.base import pool
from qoder_cli.keys import memstore, patience, postgres
from qoder_cli.runs.steps import StoreSteps
for module in (memstore, patience, postgres):
    module.AT_A_SIGNAL = 60.0
left, stamped, start = [{state!r}], StoreSteps._stamped, pool.Task.start
def stamp(self, record):
    record = stamped(self, record)
    if [record.state] == left:
        left.append("begun")
    return record
def begin(task):
    start(task)
    if "begun" in left:
        left.clear()
        os.kill(os.getpid(), 2)
    return task
StoreSteps._stamped, pool.Task.start = stamp, begin
"""


@pytest.mark.parametrize("store", ["memory store", "PostgreSQL"])
@pytest.mark.parametrize("state", ["sending", "started"])
def test_deploy_run_loses_no_write_of_a_store_at_a_signal(night: Night, state: str, store: str) -> None:
    url = night.postgres.url() if store == "PostgreSQL" else night.shell.qoder("key", "init", "-q").out.strip()
    night.shell.env["QODER_KEYS"] = url
    ended = night.shell.qoder(*NIGHT, prologue=AT_A_WRITE.format(state=state))
    kept = night.shell.qoder("key", "get", "night-1", "--json")
    assert (ended.code, "could not" in ended.err) == (-signal.SIGINT, False), ended.err
    if state == "sending":  # nothing was sent: the key is free again
        assert (ended.error["message"], night.runs, kept.code) == ("interrupted; nothing was started", [], 5)
    else:
        assert [ended.json["id"]] == night.runs == [kept.json["run"]]


IN_DOUBT = ("sending is noted",)  # it may have been sent, as far as the next command knows
UNKNOWN_TO_OTHERS = ("the run is lost",)


@pytest.mark.parametrize(
    ("moment", "is_another", "generation"), checkerboard({**MOMENTS, **AFTER_THE_START}, (False, True), GENERATIONS)
)
@pytest.mark.few(12)
def test_deploy_run_leaves_a_silent_store_and_starts_no_second_run_once_it_answers_again(
    night: Night, moment: str, is_another: bool
) -> None:
    with night.silent({**MOMENTS, **AFTER_THE_START}[moment]) as begin:
        first = begin(*NIGHT, prologue=night.hasty).end()
    if moment in MOMENTS:
        assert (first.code, first.out, night.runs) == (7, "", [])
        assert "did not respond within" in first.error["message"]
        assert "nothing was sent" in first.error["message"]
    else:
        assert (first.code, [first.json["id"]]) == (0, night.runs)
        assert "how the start under the key 'night-1' ended" in first.err
        assert "nothing was sent" not in first.err
    if is_another:
        night.shell.env["QODER_STATE_DIR"] += "/another-machine"
    ended = night.with_store(*NIGHT, prologue=SOON).end()
    if moment in IN_DOUBT:
        assert (ended.code, night.runs) == (9, [])
        return
    assert (ended.code, [ended.json["id"]]) == (0, night.runs), ended.err
    assert ended.json.get("adopted", False) == (is_another and moment in UNKNOWN_TO_OTHERS)


OTHERS = {
    "key list --json": 7,
    "key get night-1 --json": 7,
    "key free night-1 --yes --json": 7,
    "key init --store {url} --json": 7,
    "run retry --all-failed dep_fail --since 1d --json": 7,
    "apply {folder} --yes --json": 7,
    "doctor --json": 7,
    "doctor --probe --json": 7,
}


@pytest.mark.parametrize(("line", "moment"), checkerboard(OTHERS, ("at the connection", "after the login")))
def test_other_commands_leave_a_silent_store_soon_and_at_a_signal(night: Night, line: str, moment: str) -> None:
    folder = night.shell.home / "folder"
    stacks.write(folder, {"qoder.yaml": "stack: reports\n", "environments/build.yaml": "name: build\n"})
    for prologue, code in ((night.hasty, OTHERS[line]), (FOR_EVER, 143)):
        with night.silent(MOMENTS[moment]) as begin:
            url = night.postgres.url(night.port)
            going = begin(*line.format(url=url, folder=folder).split(), prologue=prologue)
            if code == 143:
                until(night.silence.exists, "silence")
                going.signal(signal.SIGTERM)
            assert going.end().code == code, going.err


@pytest.mark.parametrize("prologue", ["hasty", "for ever"])
def test_key_free_does_not_know_whether_it_was_done_where_the_store_is_silent(night: Night, prologue: str) -> None:
    assert night.with_store(*NIGHT).end().code == 0
    with night.silent(Moment("statement", b'"free"', "done")) as begin:
        if prologue == "hasty":
            ended = begin("key", "free", "night-1", "--yes", "--json", prologue=night.hasty).end()
            assert (ended.code, ended.error["next"][:4]) == (9, ["qoder", "key", "get", "night-1"])
            assert "unknown whether the key 'night-1' was freed: " in ended.error["message"]
        else:
            going = begin("key", "free", "night-1", "--yes", prologue=FOR_EVER)
            until(night.silence.exists, "silence")
            assert going.signal(signal.SIGTERM).end().code == 143
    assert night.with_store("key", "get", "night-1").end().code == 5
