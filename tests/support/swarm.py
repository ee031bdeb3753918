"""Many machines in one process, on a stage that decides who goes on: shared keys, in histories drawn by chance.

The program is the real one, from the trigger down to httpx or to the statements of SQL. Its machines are threads of
which one goes on at a time, until it asks the network or sleeps; the stage has the time, and nobody waits really. Each
machine has a clock (off, fast or slow), a state folder and a network that loses, delays, repeats and reorders. It may
be stopped for minutes at a step, or killed there: it does nothing any more then. Reads of a memory store may be old; a
database does each statement at once, as PostgreSQL does, and is restarted now and then. It may also say nothing: to one
statement, or to all while it is frozen; what it was sent then is done when it goes on.
"""

import heapq
import io
import json
import math
import random
import threading
from collections.abc import Callable
from contextlib import ExitStack
from copy import copy
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import accumulate, groupby, pairwise
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import httpx
from httpx import _urls
from httpx._urlparse import urlparse

from qoder_cli.app import App
from qoder_cli.base import pool
from qoder_cli.base.errors import Exit, QoderError
from qoder_cli.base.model import Run
from qoder_cli.base.pool import Late, begin
from qoder_cli.base.times import Clock
from qoder_cli.commands.key import free
from qoder_cli.fleet.queue import Queue
from qoder_cli.fleet.starting import trigger_for
from qoder_cli.keys import selftest
from qoder_cli.keys.opening import opened
from qoder_cli.keys.patience import ANSWER_WITHIN, CONNECT_WITHIN, Patience
from qoder_cli.keys.postgres import PostgresKeys
from qoder_cli.keys.record import KeyStore
from qoder_cli.output.screen import Screen
from qoder_cli.runs import shared
from qoder_cli.runs.trigger import Order
from qoder_cli.sandbox.faults import Faults
from qoder_cli.sandbox.wire import Request, WireResponse
from qoder_cli.sandbox.world import World
from qoder_cli.stack import turns
from qoder_cli.stack.turns import turn_of
from tests.support.inprocess import as_request
from tests.support.typed import TOKEN, Killed

STORES = ("memory", "postgresql")
MEMORY_STORE = "memstore_keys"
STACK = "reports"
GROUP = "repo"
QUEUE_FOR = 3600.0  # seconds
DATABASE = "postgresql://ci@db.example.com/ci"
_MEMORIES = f"memory_stores/{MEMORY_STORE}/memories"
_BEGAN = 1_800_000_000.0
_WINDOW = 5.0  # seconds in which a store made to break its promise does so
BREAKS = ("creates", "updates", "halves")  # two creates, or a stale update, succeed; decided in two places


class Stage:
    """Has the time, and lets one machine go on at a time: the one that stops says who is next."""

    def __init__(self) -> None:
        self.now = _BEGAN
        self._events: list[tuple[float, int, Callable[[], object] | _Waits]] = []
        self._count = 0
        self._over = _Waits()

    def at(self, seconds: float, act: "Callable[[], object] | _Waits") -> None:
        """Have something done, or let one go on, in so many seconds."""
        self._count += 1
        heapq.heappush(self._events, (self.now + seconds, self._count, act))

    def pause(self, seconds: float) -> None:
        """Let others go on for so long. Called by the one that goes on."""
        mine = _Waits()
        self.at(seconds, mine)
        self._go_on(mine)

    def enter(self, seconds: float, work: Callable[[], object]) -> None:
        """Have a machine begin its work in so many seconds."""

        def whole() -> None:
            try:
                work()
            finally:
                self._go_on(None)

        def start() -> _Waits:
            begin(whole)
            return _ELSEWHERE

        self.at(seconds, start)

    def play(self) -> None:
        """Let the time pass until nothing is left to be done."""
        self._over = _Waits()
        self._go_on(None)
        self._over.wait()

    def _go_on(self, mine: "_Waits | None") -> None:
        """Do what comes next, until it is this one's turn again; None if it has ended."""
        while self._events:
            when, _, act = heapq.heappop(self._events)
            self.now = max(self.now, when)
            if act is mine:
                return
            if isinstance(act, _Waits):
                act.go()
                break
            if act() is _ELSEWHERE:
                break
        else:
            self._over.go()
        if mine is not None:
            mine.wait()


class _Waits:
    """One that waits for its turn."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def go(self) -> None:
        self._lock.release()

    def wait(self) -> None:
        self._lock.acquire()


_ELSEWHERE = _Waits()  # what is returned by what lets another thread go on


class Cell(NamedTuple):
    """One history: all of it follows from the seed."""

    store: str
    seed: int
    breaks: str = ""
    applies: bool = False  # the machines apply a stack
    queues: bool = False  # they start runs, of which only so many are to be going at once

    def __str__(self) -> str:
        name = f"{self.store} {self.seed}" + (f", {self.breaks} broken" if self.breaks else "")
        return name + ", apply" * self.applies + ", queue" * self.queues


@dataclass(eq=False)
class Machine(Clock):
    """One command on one machine, with what will happen to it; it is its own clock."""

    history: "History"
    name: str
    key: str
    folder: Path
    half: int = 0
    offset: float = 0.0
    rate: float = 1.0
    kill_at: float = math.inf  # the step
    stop_at: float = math.inf
    stopped: float = 0.0  # for so long
    sleeps: bool = False  # its monotonic clock stands still meanwhile
    code: int | None = None
    run: str | None = None
    hint: str = ""
    said: str = ""  # on standard error
    heard: io.BytesIO = field(default_factory=io.BytesIO)
    is_dead: bool = False
    steps: int = 0
    _asleep: float = 0.0

    def now(self) -> float:
        return _BEGAN + self.offset + (self.history.stage.now - _BEGAN) * self.rate

    def monotonic(self) -> float:
        return (self.history.stage.now - _BEGAN) * self.rate - self._asleep

    def sleep(self, seconds: float) -> None:
        self.step()
        self.history.stage.pause(max(seconds, 0.0) / self.rate)
        self.step()

    def jitter(self) -> float:
        return 1.0

    def step(self) -> None:
        """Come to a point at which it may be stopped, or killed. Raises Killed."""
        self.steps += 1
        if self.steps == self.stop_at:
            self.history.stage.pause(self.stopped)
            if self.sleeps:
                self._asleep += self.stopped * self.rate
        if self.steps >= self.kill_at or self.is_dead:
            self.is_dead = True
            raise Killed

    def app(self) -> App:
        """Return the command's surroundings, with the store of this history."""
        self.heard = io.BytesIO()
        screen, keys = Screen(self.heard), MEMORY_STORE if self.history.cell.store == "memory" else DATABASE
        env = {"QODER_PAT": TOKEN, "QODER_STATE_DIR": str(self.folder), "QODER_KEYS": keys}
        env["QODER_CONFIG"] = str(self.folder / "config.toml")
        app = App(env=env, out=screen, err=screen, clock=self, transport=Network(self))
        if keys == DATABASE:
            app.shared_keys.append(Keys(self))
        return app

    def work(self, do: Callable[[App], str | None]) -> None:
        """Type a command. What came of it is noted, unless it was killed."""
        app = self.app()
        try:
            run = do(app)
            self.code, self.run = 0, run
        except Killed:
            return
        except QoderError as error:
            self.code, self.run, self.hint = int(error.exit), error.run_id, error.hint or ""
        except Exception as bug:
            self.code, self.hint = int(Exit.INTERNAL), f"{type(bug).__name__}: {bug}"
        self.said = self.heard.getvalue().decode()
        app.close()

    def use(self, app: App) -> str | None:
        """Do what all machines of this history do."""
        if self.history.cell.queues:
            return self.queue(app)
        if not self.history.cell.applies:
            return self.start(app)
        self.apply(app)
        return None

    def apply(self, app: App) -> None:
        """Write now and then, as long as the turn permits it."""
        with turn_of(app, STACK) as turn:
            assert turn is not None
            for _ in range(self.history.chance.randrange(1, 30)):
                turn.renew()
                if turn.is_over:
                    break
                self.history.written.append((self.name, self.history.stage.now))
                self.sleep(self.history.chance.choice((0.1, 5.0, 30.0, 70.0)))

    def queue(self, app: App) -> str | None:
        """Start a run in a slot of the group, now and then under a key of its own."""
        queue = Queue(app, self.history.most, GROUP, QUEUE_FOR)
        key = f"{self.name}-{self.key}" if self.history.chance.random() < 0.3 else None
        order = Order(self.history.deployment, key)
        run = trigger_for(app, order, hold=queue.slot_for(order)).start().id
        if self.history.chance.random() < 0.3:
            self.sleep(30.0)
            if self.history.world.ending(run) is not None:
                queue.note_run(Run({"id": run, "status": "completed"}))
        queue.close()
        return run

    def free_slots(self, app: App) -> None:
        """Free, as a person would, the slots of which nobody knows whether a run was started."""
        for found in (
            opened(app, app.env["QODER_KEYS"]).entries() if not app.shared_keys else app.shared_keys[0].entries()
        ):
            if found.record.group and found.record.state == "sending":
                free(app, found.record.key, yes=True)

    def start(self, app: App) -> str | None:
        order = Order(self.history.deployment, self.key, until_completed=self.history.until)
        return trigger_for(app, order).start().id

    def free(self, app: App) -> None:
        free(app, self.key, yes=True)


class Network(httpx.BaseTransport):
    """The way from a machine to the service, and back; `is_direct` if nothing happens on it."""

    def __init__(self, machine: Machine, *, is_direct: bool = False) -> None:
        self._machine = machine
        self._history = machine.history
        self._is_direct = is_direct

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        wire, history = as_request(request), self._history
        act = partial(history.act, wire, self._machine)
        if self._is_direct:
            return _told(act())
        self._machine.step()
        chance, stage = history.chance, history.stage
        is_trigger = wire.method == "POST" and wire.path.endswith("/run")
        fate = "well"
        if chance.random() < history.trouble:
            fate = chance.choice(_FATES if wire.method != "GET" else _FATES_OF_READS)
        if fate == "refused":
            stage.pause(0.01)
            raise httpx.ConnectError("[Errno 111] Connection refused", request=request)
        stage.pause(chance.uniform(5, 50) if fate == "slow" else history.latency())
        answer = None
        if fate == "late":
            stage.at(_late(chance), act)
        elif fate == "fails":
            answer = WireResponse(chance.choice((500, 503, 429)), {}, _FAILED)
        elif fate == "gateway":
            answer = WireResponse(chance.choice((502, 403, 404)), {"content-type": "text/html"}, b"<h1>Oops</h1>")
            if chance.random() < 0.5:
                act()
        elif fate != "never":
            answer = act()
            if fate == "fails late":
                answer = WireResponse(500, {}, _FAILED)
            if fate == "twice" and not is_trigger:
                stage.at(_late(chance), act)
        stage.pause(chance.uniform(5, 50) if fate == "slow" else history.latency())
        self._machine.step()
        if answer is None or fate == "unheard":
            if chance.random() < 0.3:
                stage.pause(ANSWER_WITHIN if f"/{_MEMORIES}" in wire.path else 60.0)
                self._machine.step()
                raise httpx.ReadTimeout("The read operation timed out", request=request)
            raise httpx.RemoteProtocolError("Server disconnected without sending a response.", request=request)
        return _told(answer)


_FAILED = b'{"type": "error", "error": {"type": "api_error", "message": "It failed."}}'
_FATES = ("refused", "late", "never", "fails", "fails late", "gateway", "twice", "unheard", "unheard", "slow")
_FATES_OF_READS = ("refused", "never", "fails", "gateway", "slow")


def _late(chance: random.Random) -> float:
    return chance.choice((chance.uniform(0, 1), chance.uniform(1, 30), chance.uniform(30, 600)))


def _told(answer: WireResponse) -> httpx.Response:
    return httpx.Response(answer.status, headers=answer.headers, content=answer.body)


class _Silence(Exception):
    """Nothing is answered."""


class Keys(PostgresKeys):
    """The real store, on connections of the stage; `is_direct` if nothing happens to them."""

    def __init__(self, machine: Machine, *, is_direct: bool = False) -> None:
        super().__init__(DATABASE, Patience(machine))
        self._machine = machine
        self._is_direct = is_direct

    def _connect(self, commit: Callable[[], None]) -> Any:
        made = _Connection(self._machine, self._is_direct)
        made.reach()
        return made

    def _within(self, seconds: float, call: Callable[[Callable[[], None]], Any], *, undisturbed: float = 0.0) -> Any:
        """Do it in the thread of the machine, which waits as long as it would."""
        try:
            return call(lambda: None)
        except _Silence:
            self._machine.sleep(seconds)
            raise Late from None


class _Connection:
    """A connection to the database, over a network that breaks."""

    def __init__(self, machine: Machine, is_direct: bool) -> None:
        self.description = True
        self._machine = machine
        self._is_direct = is_direct
        self._opened = machine.history.stage.now
        self._rows: list[tuple[Any, ...]] = []

    def reach(self) -> None:
        if self._is_direct:
            return
        self._machine.step()
        history = self._machine.history
        history.stage.pause(history.latency())
        self._check()
        if self._thaw(CONNECT_WITHIN) is not None or history.chance.random() < history.trouble / 10:
            raise _Silence
        if history.chance.random() < history.trouble / 3:
            raise self._lost()

    def _lost(self) -> Exception:
        import psycopg

        return psycopg.OperationalError("server closed the connection unexpectedly")

    def _check(self) -> None:
        """Raise if the database is down, or was since this was opened."""
        history = self._machine.history
        if any(self._opened <= ends and begins <= history.stage.now for begins, ends in history.down):
            raise self._lost()

    def _thaw(self, within: float) -> float | None:
        """Wait while the database is frozen; if that is too long, return the seconds until it goes on at once."""
        history = self._machine.history
        left = max(
            (ends - history.stage.now for begins, ends in history.frozen if begins <= history.stage.now), default=0
        )
        if left < within:
            history.stage.pause(max(left, 0.0))
            return None
        return left

    def execute(self, statement: bytes, values: tuple[str, ...] = ()) -> "_Connection":
        import psycopg

        machine, history = self._machine, self._machine.history
        act = partial(history.execute, statement.decode(), values, machine)
        if self._is_direct:
            self._rows = act()
            return self
        machine.step()
        chance, stage = history.chance, history.stage
        fate = "well"
        if chance.random() < history.trouble:
            fate = chance.choice(("never", "late", "unheard", "unheard", "canceled", "slow"))
        stage.pause(chance.uniform(1, 14) if fate == "slow" else history.latency())
        self._check()
        if (left := self._thaw(ANSWER_WITHIN)) is not None:
            stage.at(left + chance.uniform(0, 1), act)
            raise _Silence
        if fate == "late":  # that its client is gone is noticed at the end of a statement only
            stage.at(_late(chance), act)
        elif fate == "canceled":
            raise psycopg.errors.QueryCanceled("canceling statement due to statement timeout")
        elif fate != "never":
            self._rows = act()
        stage.pause(history.latency())
        machine.step()
        self._check()
        if fate in ("late", "never", "unheard"):
            raise _Silence if chance.random() < 0.5 else self._lost()
        return self

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self._rows

    def close(self) -> None:
        """Do nothing: it is no more than this."""


@dataclass
class History:
    """The service, its store, and the machines of one history."""

    cell: Cell
    folder: Path
    chance: random.Random = field(init=False)
    stage: Stage = field(default_factory=Stage)
    machines: list[Machine] = field(default_factory=list)
    started: list[tuple[str, str, str, float]] = field(default_factory=list)  # key, machine, run, when
    written: list[tuple[str, float]] = field(default_factory=list)  # by which apply, and when
    down: list[tuple[float, float]] = field(default_factory=list)  # when the database is, from and to
    frozen: list[tuple[float, float]] = field(default_factory=list)  # the same

    def __post_init__(self) -> None:
        chance = self.chance = random.Random(f"{self.cell}")
        self.trouble = chance.choice((0.0, 0.05, 0.1, 0.2, 0.3))
        self.fast = chance.choice((0.05, 0.5, 3.0))  # seconds on the way at most
        self.lag = chance.choice((0.0, 0.0, 0.3, 3.0, 30.0))  # of a read, at most
        if self.cell.breaks:
            self.lag = 0.0
        self.until = chance.random() < 0.15
        self.most = chance.choice((1, 1, 2))
        self.deployment = "dep_fail" if self.until else "dep_demo"
        self.world = World(token=TOKEN, honour_key=False, clock=lambda: self.stage.now, seed=self.cell.seed)
        self.world.keep("memory_stores", at=self.world.now(), id=MEMORY_STORE, name="qoder-keys")
        self.halves: list[dict[str, Any]] = [{}, {}]  # what the store has; both the same, unless it is broken so
        if self.cell.breaks != "halves":
            self.halves[1] = self.halves[0]
        self._before: list[tuple[float, dict[str, Any]]] = [(0.0, {})]  # what memories were there, since when
        if chance.random() < 0.3:
            begins = self.stage.now + chance.uniform(0, 60)
            self.down.append((begins, begins + chance.uniform(0, 20)))
        if self.cell.store == "postgresql" and chance.random() < 0.3:
            begins = self.stage.now + chance.uniform(0, 60)
            self.frozen.append((begins, begins + chance.choice((chance.uniform(0, 30), chance.uniform(30, 900)))))
        count, names = chance.choice((2, 2, 2, 3, 3, 4, 6)), chance.choice((1, 1, 1, 2))
        spread = chance.choice((0.0, 0.3, 30.0, 400.0))
        for number in range(count):
            machine = self.machine(f"m{number}", f"key-{number % names}")
            machine.offset, machine.rate = chance.choice((0.0, 0.0, -3600.0, 3600.0, 1e6)), chance.uniform(0.98, 1.02)
            machine.half = number % 2
            if number and chance.random() < 0.2:
                machine.folder = self.machines[0].folder
            if chance.random() < 0.35:
                machine.kill_at = chance.randrange(1, 14)
            if chance.random() < 0.2:
                machine.stop_at, machine.stopped = chance.randrange(1, 14), chance.choice((20.0, 120.0, 300.0))
                machine.sleeps = chance.random() < 0.5
            self.machines.append(machine)
            self.stage.enter(chance.random() * spread, partial(machine.work, machine.use))

    def machine(self, name: str, key: str) -> Machine:
        folder = self.folder / name
        folder.mkdir(parents=True)
        return Machine(self, name, key, folder)

    def latency(self) -> float:
        return self.chance.uniform(0.001, self.fast)

    def quieten(self) -> None:
        """Let nothing go wrong from now on."""
        self.trouble = self.lag = 0.0
        self.down = []
        self.frozen = []
        if self.cell.breaks == "halves":
            self.halves[0] = self.halves[1] = {**self.halves[0], **self.halves[1]}

    # The service.

    def act(self, wire: Request, machine: Machine) -> WireResponse:
        """Do what a request asks for."""
        is_of_store = f"/{_MEMORIES}" in wire.path
        kept = self.world.things[_MEMORIES] = self.halves[machine.half]
        if is_of_store and wire.method == "GET" and self.lag:
            seen = self.stage.now - self.chance.uniform(0, self.lag)
            self.world.things[_MEMORIES] = next(old for since, old in reversed(self._before) if since <= seen)
        elif is_of_store and self.cell.breaks in ("creates", "updates"):
            wire = self._let(wire)
        count = len(self.world.runs)
        answer = Faults().answer(self.world, wire)
        is_trigger = wire.method == "POST" and wire.path.endswith("/run")  # a schedule may be due meanwhile, too
        if is_trigger and len(self.world.runs) > count:
            self.started.append((machine.key, machine.name, [*self.world.runs][-1], self.world.now()))
        if is_of_store and wire.method != "GET":
            self._before.append((self.stage.now, {id: _frozen(each) for id, each in kept.items()}))
        return answer

    def _let(self, wire: Request) -> Request:
        """Let a write of a store that is broken pass: one within seconds of another."""
        said = json.loads(wire.body or b"{}")
        kept = self.world.things[_MEMORIES]
        is_create = wire.method == "POST" and wire.path.endswith("/memories")
        for id, each in list(kept.items()):
            is_young = self.stage.now - max(each.created, each.changed) < _WINDOW
            if self.cell.breaks == "creates" and is_create and is_young and each.fields["path"] == said.get("path"):
                del kept[id]
            if self.cell.breaks == "updates" and not is_create and is_young and wire.path.endswith(f"/{id}"):
                said.pop("content_sha256", None)
        body = json.dumps(said).encode() if wire.body else b""
        return Request(wire.method, wire.path, wire.query, wire.headers, body)

    def execute(self, statement: str, values: tuple[str, ...], machine: Machine) -> list[tuple[Any, ...]]:
        """Do one statement, whole, as a table with a primary key does."""
        rows, now = self.halves[machine.half], self.stage.now
        word = statement.partition(" ")[0]
        if word == "INSERT":
            name, id, content = values
            there = rows.get(name)
            may = self.cell.breaks == "creates" and there is not None and now - there[2] < _WINDOW
            if there is not None and not may:
                return []
            rows[name] = id, content, now
            return [(id,)]
        if word == "SELECT":
            shown = [rows[values[0]]] if values[0] in rows else []
            if "LIKE" in statement:
                shown = [kept for name, kept in rows.items() if name.startswith(values[0].removesuffix("%"))]
            return [(id, content) for id, content, _ in shown]
        if word not in ("UPDATE", "DELETE"):
            return []
        *new, name, id, content = values
        there = rows.get(name)
        may = self.cell.breaks == "updates" and there is not None and now - there[2] < _WINDOW
        if there is None or there[0] != id or (there[1] != content and not may):
            return []
        if word == "DELETE":
            del rows[name]
        else:
            rows[name] = id, new[0], now
        return [(id,)]


def _frozen(thing: Any) -> Any:
    made = copy(thing)
    made.fields = dict(thing.fields)
    return made


class Ended(NamedTuple):
    """What a history came to: what the machines said, and what was so; then what a person did."""

    history: History
    after: dict[str, list[Machine]]  # by key: a quiet machine, and where that exits 9 one that frees it, and one more

    def wrong(self) -> dict[str, str]:
        """Return each promise that was broken, with how."""
        history, found = self.history, dict[str, str]()
        first = [*history.machines, *(machines[0] for machines in self.after.values())]
        by_key: dict[str, list[tuple[str, float]]] = {}
        names = {machine.name for machine in first}
        for key, name, run, at in history.started:
            if name in names:
                by_key.setdefault(key, []).append((run, at))
        if self.history.cell.queues:
            return self._wrong_in_queue()
        appliers = [name for name, _ in history.written]
        if len([name for name, _ in groupby(appliers)]) > len(set(appliers)):
            found["twice"] = f"two applies at once: {history.written}"
        for key, runs in by_key.items():
            for (run, _), (second, at) in pairwise(runs):
                ending = history.world.runs[run].ending(at)
                if not history.until or ending is None or ending.status != "failed":
                    found["twice"] = f"{key}: {run} and {second}"
        for machine in first:
            runs_of_key = [run for run, _ in by_key.get(machine.key, [])]
            mine = [run for _, name, run, _ in history.started if name == machine.name]
            if machine.run is not None and machine.run not in runs_of_key:
                found["lost"] = f"{machine.name} names {machine.run}, which is not of its key: {runs_of_key}"
            if machine.code in (2, 4, 5, 6, 7) and mine:
                found["lost"] = f"{machine.name} exits {machine.code} and says that nothing was started: {mine}"
            if machine.code == Exit.INTERNAL:
                found["wrong"] = f"{machine.name}: {machine.hint}"
            if machine.code == 9 and "key free" not in machine.hint and machine.run is None:
                found["stuck"] = f"{machine.name} exits 9 without a word: {machine.hint}"
        for key, machines in self.after.items():
            codes = [machine.code for machine in machines]
            if codes not in ([0], [9, 0, 0]):
                found["stuck"] = f"{key}: {codes} {machines[-1].hint}"
        return found

    def _wrong_in_queue(self) -> dict[str, str]:
        history, found = self.history, dict[str, str]()
        first = {machine.name: machine for machine in history.machines}
        moments = list[tuple[float, int]]()
        for _, name, run, at in history.started:
            ending = history.world.ending(run)
            if name in first:
                moments += [(at, 1), *([(ending.at, -1)] if ending else [])]
        going = list(accumulate(change for _, change in sorted(moments)))
        if max(going, default=0) > history.most:
            found["twice"] = f"{max(going)} of at most {history.most}: {history.started}"
        for machine in first.values():
            mine = [run for _, name, run, _ in history.started if name == machine.name]
            if machine.code in (2, 3, 4, 5, 6, 7) and mine:
                found["lost"] = f"{machine.name} exits {machine.code} and says that nothing was started: {mine}"
            if machine.code == Exit.INTERNAL:
                found["wrong"] = f"{machine.name}: {machine.hint}"
        for key, machines in self.after.items():
            codes = [machine.code for machine in machines]
            if codes not in ([0], [3, 0, 0]):
                found["stuck"] = f"{key}: {codes} {machines[-1].hint}"
            if codes[0] == 3 and "key free 'slot repo" not in machines[0].said:
                found["stuck"] = f"{key}: {machines[0].said}"
        return found


def play(cell: Cell, folder: Path) -> Ended:
    """Play one history, then let a quiet machine use each key once more, and a person decide where it exits 9."""
    with ExitStack() as stack:
        for where, name, instead in _FASTER:
            stack.enter_context(patch.object(where, name, instead))
        return _played(History(cell, folder))


# What makes a history take half of the time: a request goes in the thread of its machine, who waits for another looks
# less often, and httpx takes no URL apart twice.
_FASTER: tuple[tuple[Any, str, Any], ...] = (
    (pool, "begin", lambda work: work()),
    (shared, "LOOKS", (0.5, 2.0, 10.0, 30.0)),
    (turns, "LOOKS", (0.5, 2.0, 10.0, 30.0)),
    (_urls, "urlparse", lru_cache(1000)(urlparse)),
)


def _played(history: History) -> Ended:
    history.stage.play()
    history.quieten()

    def alone(word: str, key: str) -> Machine:
        machine = history.machine(f"{word}-{key}", key)
        frees = machine.free_slots if history.cell.queues else machine.free
        history.stage.enter(1.0, partial(machine.work, frees if word == "free" else machine.use))
        history.stage.play()
        return machine

    keys = sorted({machine.key for machine in history.machines})
    after = {key: [alone("after", key)] for key in keys}
    for key, machines in after.items():
        if machines[0].code == (Exit.RUN_SKIPPED if history.cell.queues else Exit.OUTCOME_UNKNOWN):
            machines += [alone("free", key), alone("again", key)]
    return Ended(history, after)


def is_refused(cell: Cell, folder: Path) -> bool:
    """Return whether the self-test finds that this store breaks its promise."""
    history = History(cell, folder)
    history.lag = 0.0
    machine = history.machine("tester", "key-0")
    keys: KeyStore
    if cell.store == "memory":
        app = machine.app()
        app.__dict__["transport"] = Network(machine, is_direct=True)
        keys = opened(app, MEMORY_STORE)
    else:
        keys = Keys(machine, is_direct=True)
    try:
        selftest.check(keys)
    except QoderError:
        return True
    return False
