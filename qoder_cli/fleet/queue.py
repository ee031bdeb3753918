"""At most so many runs at once: each trigger waits for a slot of its group, by the protocol of `keys.slots`.

Who waits reads the group's slots every 2 s, and the runs that hold them through their lists, and frees what has ended.
Without a group the slots are in this process alone: the same protocol, and no store.
"""

import platform
import shlex
import threading
import uuid
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import inf
from typing import Any

from qoder_cli.app import App
from qoder_cli.base import signals
from qoder_cli.base.errors import (
    ApiError,
    NotFound,
    OutcomeUnknown,
    QoderError,
    RunSkipped,
    Signalled,
    Unavailable,
)
from qoder_cli.base.model import Run, mapping, text
from qoder_cli.base.pool import Late, Task
from qoder_cli.base.times import Deadline, Instant, Limits, span, utc_text
from qoder_cli.base.words import counted
from qoder_cli.fleet.page_poller import PageReader
from qoder_cli.http.pace import Closed, Pace
from qoder_cli.http.readback import says_whether_more
from qoder_cli.http.write import Write
from qoder_cli.keys import protocol, slots
from qoder_cli.keys.patience import Patience
from qoder_cli.keys.protocol import ABANDONED, NOTHING, RETRIES, SEND_WITHIN, UNKNOWN, UNREAD, KeyVerdict, Started
from qoder_cli.keys.record import KeyRecord, KeyStore, Lost, StoreAway, StoredKey
from qoder_cli.keys.slots import SlotSeen
from qoder_cli.runs.idle import MOVING
from qoder_cli.runs.observe import Observer
from qoder_cli.runs.shared import attempt_of, run_of_abandoned, run_under, server_ahead
from qoder_cli.runs.starting import trigger_for
from qoder_cli.runs.trigger import AnyTrigger, Order
from qoder_cli.runs.wait import PolledRun
from qoder_cli.sessions.log import is_last

LOOK_EVERY = 2.0  # seconds between two readings of the slots
READ_EVERY = 1.0  # the same of the runs that hold them
_TICK = 0.5  # seconds between two looks whether this is to stop
_AWAY_FOR = 60.0  # seconds for which a store may be away while this waits
_ALONE = "this command"
_LAST_WORDS = 5.0  # seconds at the end of a command to free the slots of runs that have ended


class SlotTakenOver(Unavailable):
    """Nothing was sent: the slot is another's by now."""


class OwnSlots:
    """A store of slots in this process."""

    shown = _ALONE

    def __init__(self, patience: Patience) -> None:
        self.patience = patience
        self._kept: dict[str, StoredKey] = {}
        self._lock = threading.Lock()

    def take(self, record: KeyRecord) -> StoredKey | None:
        return self._put(record, None)

    def move(self, found: StoredKey, record: KeyRecord) -> StoredKey | None:
        return self._put(record, found)

    def _put(self, record: KeyRecord, before: StoredKey | None) -> StoredKey | None:
        with self._lock:
            if self._kept.get(record.name) != before:
                return None
            kept = self._kept[record.name] = StoredKey(str(uuid.uuid4()), record, record.content)
            return kept

    def free(self, found: StoredKey) -> bool:
        with self._lock:
            return self._kept.get(found.record.name) == found and bool(self._kept.pop(found.record.name))

    def read(self, name: str) -> StoredKey | None:
        return self._kept.get(name)

    def entries(self, prefix: str = "") -> list[StoredKey]:
        return [kept for name, kept in list(self._kept.items()) if name.startswith(prefix)]

    def close(self) -> None:
        """Do nothing: nobody else has it."""


@dataclass(eq=False)
class Queue:
    """The slots of a group, as this command sees them; one of its orders waits at a time, in the order typed."""

    app: App
    most: int
    group: str | None
    timeout: float | None
    queued: int  # orders whose turn is still to come
    keys: KeyStore = field(init=False)
    _name: str = field(init=False)  # of the group, in its store
    _prefix: str = field(init=False)  # of the names of its slots
    _slots: dict[int, tuple[StoredKey, float]] = field(default_factory=dict, init=False)  # and since when it is so
    _looked_at: float = field(default=-inf, init=False)
    _began: float | None = field(default=None, init=False)
    _holders: dict[str, PolledRun] = field(default_factory=dict, init=False)  # runs that are read here, by id
    _awaited: dict[str, PolledRun] = field(default_factory=dict, init=False)  # those that the command's own wait reads
    _own: dict[str, StoredKey] = field(default_factory=dict, init=False)  # slots of this command's runs
    _over: set[str] = field(default_factory=set, init=False)  # runs that are over for certain
    _read_at: float = field(default=-inf, init=False)
    _has_news: bool = field(default=False, init=False)  # a slot can be freed, or was
    _said: dict[str, str] = field(default_factory=dict, init=False)  # what was said last, by what it is about
    _freeing: list[Task[None]] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        if self.group is None:
            self.keys = OwnSlots(Patience(self.app.clock))
        else:
            from qoder_cli.keys.opening import shared_store

            self.keys = shared_store(self.app)
        settings = self.app.client.settings
        self._name = self.group or "this-command"
        self._prefix = slots.slots_named(settings.host, settings.workspace_id, self._name)
        self._reader = PageReader(self.app.client, Deadline(self.app.clock, Limits()), LOOK_EVERY)

    @property
    def called(self) -> str:
        """What the group is called in messages."""
        return self.group or _ALONE

    def trigger_for(self, app: App, order: Order, **how: Any) -> "QueuedTrigger":
        """Return what starts a run once it has a slot, as `runs.starting.trigger_for` does."""
        return QueuedTrigger(self, order, pace=how.get("pace"), on_known=how["on_known"])

    def claim(self, order: Order) -> KeyRecord:
        """Return a claim of a slot, for an order."""
        settings = self.app.client.settings
        about = order.deployment_id, settings.host, settings.workspace_id
        claim = KeyRecord("claimed", str(uuid.uuid4()), slots.slot_key(self._name, 1), *about)
        return claim._replace(group=self._name, under=order.key or "", machine=platform.node() or "an unnamed machine")

    # How it stands.

    @property
    def line(self) -> str:
        """How many run and are queued, in words."""
        records = [found.record for found, _ in list(self._slots.values()) if found.record.state != "free"]
        runs = {record.run for record in records}
        polled = [polled for id, polled in {**self._awaited, **self._holders}.items() if id in runs]
        words = f"{len(records)} running of at most {self.most}, {self.queued} queued"
        asking = sum(each.observer.needs_answer for each in polled if not each.observer.ended)
        if asking:
            words += f", {asking} waits for you" if asking == 1 else f", {asking} wait for you"
        return words

    def say(self, about: str, words: str, *, warns: bool = False) -> None:
        """Say something once, until it changes."""
        if words == self._said.get(about, ""):
            return
        self._said[about] = words
        if words and warns:
            self.app.progress.warn(words)
        elif words:
            self.app.progress.change(words)

    def to_free(self, record: KeyRecord) -> str:
        """Return what a person has to do about a slot of which nobody knows whether a run was started in it."""
        if self.group is None:
            return "its place stays taken"
        look = shlex.join(self.app.command("run", "list", record.deployment))
        return f"look for it: {look}; if there is none: {self.freeing(record)}"

    def freeing(self, record: KeyRecord) -> str:
        """Return the command by which a person frees a slot."""
        return shlex.join(self.app.command("key", "free", record.key))

    # The slots.

    def note(self, found: StoredKey | None, name: str) -> None:
        """Take in what the store has under the name of a slot."""
        number = int(name.removeprefix(self._prefix))
        before = self._slots.pop(number, None)
        if found is not None:
            since = before[1] if before is not None and before[0] == found else self.app.clock.monotonic()
            self._slots[number] = found, since

    def look_around(self, heed: Callable[[], None]) -> list[SlotSeen]:
        """Return the slots, read again if that is 2 s ago. Raises QoderError where the store is away for long."""
        clock, self._has_news = self.app.clock, False
        if clock.monotonic() - self._looked_at >= LOOK_EVERY:
            entries = self.patiently(lambda: self.keys.entries(self._prefix), heed)
            self._looked_at = clock.monotonic()
            there = {found.record.name: found for found in entries}
            for name in {*there, *(found.record.name for found, _ in self._slots.values())}:
                self.note(there.get(name), name)
        now = clock.monotonic()
        return [
            SlotSeen(found, now - since, found.record.run in self._over) for found, since in list(self._slots.values())
        ]

    def patiently(self, ask: Callable[[], Any], heed: Callable[[], None]) -> Any:
        """Return what the store answers. A store that answered before may be away for a minute. Raises QoderError."""
        clock = self.app.clock
        began = clock.monotonic()
        while True:
            try:
                return ask()
            except StoreAway as away:
                if self._looked_at == -inf or clock.monotonic() - began > _AWAY_FOR:
                    raise
                self.say("store", f"{away.message}; still waiting")
            clock.sleep(LOOK_EVERY)
            heed()

    def wait(self, heed: Callable[[], None]) -> None:
        """Wait until the slots are to be read again, or one of ours is free. Raises RunSkipped, Unavailable."""
        clock = self.app.clock
        self._began = clock.monotonic() if self._began is None else self._began
        self._check_doubts()
        self.say("line", self.line)
        while self._looked_at + LOOK_EVERY > clock.monotonic():
            if self.timeout is not None and clock.monotonic() - self._began >= self.timeout:
                why = f"not started: no slot of {self.called} was free within {span(self.timeout)}"
                raise RunSkipped(why, hint="start it later, or raise --queue-timeout")
            heed()
            self.read_holders()
            if self._has_news:
                return
            clock.sleep(_TICK)
            self.app.progress.beat()

    def _check_doubts(self) -> None:
        """Name the slots of which nobody knows whether a run was started. Raises Unavailable if nothing else can go."""
        doubtful = []
        for found, since in self._slots.values():
            if found.record.state == "sending" and self.app.clock.monotonic() - since >= ABANDONED:
                doubtful.append(found.record)
            elif not found.record.group and found.record.state != "free":
                self.say(found.record.key, f"the key {found.record.key!r} is in the way: it is one of a run")
        for record in doubtful:
            words = f"{record.machine or 'a command'} may have started a run of {record.deployment} in {record.key!r} "
            words += f"at {record.at}, and was not heard of; {self.to_free(record)}"
            self.say(record.key, words, warns=True)
        records = [found.record for found, _ in self._slots.values()]
        if self.group is None and sum(record.state == "sending" for record in records) >= self.most:
            why = "no run can be told to have ended, so that nothing more is started"
            raise Unavailable(why, hint="check the unconfirmed runs, then start the rest")

    # The runs that hold them.

    def watch(self, polled: PolledRun) -> None:
        """Take note of a run that the command itself waits for."""
        self._awaited[polled.observer.run_id] = polled

    def read_holders(self) -> None:
        """Read, once a second, the runs of which nobody here knows how they stand."""
        clock = self.app.clock
        running = {found.record.run: found.record for found, _ in list(self._slots.values()) if found.record.run}
        self._over |= {id for id, polled in list(self._awaited.items()) if polled.observer.ended}
        read_elsewhere = {id for id, polled in list(self._awaited.items()) if not polled.is_over}
        wanted = running.keys() - read_elsewhere - self._over
        for id in wanted - self._holders.keys():
            known = self._awaited[id].run if id in self._awaited else None
            polled = PolledRun(Observer(self.app.client, id, run=known, is_fresh=lambda _: True))
            polled.begin(clock.monotonic())
            self._holders[id] = polled
        self._holders = {id: polled for id, polled in self._holders.items() if id in wanted}
        if not self._holders or clock.monotonic() - self._read_at < READ_EVERY:
            return
        self._read_at = clock.monotonic()
        going, troubles = list(self._holders.values()), list[ApiError]()
        try:
            for polled, error, *_ in self._reader.read(going, troubles, signals.has_come):
                self._judge(polled, error)
        except Late:
            return
        except ApiError as error:
            troubles.append(error)
        self._read_at += max((error.asked_pause for error in troubles), default=0.0)
        words = f"the runs that hold slots cannot be read: {troubles[0].message.rstrip('.')}" if troubles else ""
        self.say("holders", words)

    def _judge(self, polled: PolledRun, error: ApiError | None) -> None:
        """Take in a reading. Only an ending, or the API's own 404 for half a minute, is proof that a run is over."""
        id, now = polled.observer.run_id, self.app.clock.monotonic()
        if error is None:
            polled.contact.heard(now)
        else:
            polled.failed(error, now)
        if polled.observer.ended or (polled.is_over and isinstance(error, NotFound) and error.enveloped):
            self._over.add(id)
            self._has_news = True
        elif polled.is_over:  # lost from sight: it may go on, and so does this
            del self._holders[id]

    def count_beside(self, deployment_id: str) -> None:
        """Say how many sessions of the group's deployments are at work that hold no slot. It may not be locked out."""
        records = [found.record for found, _ in list(self._slots.values()) if found.record.state == "started"]
        deployments = {deployment_id, *(record.deployment for record in records)}
        polled = {**self._awaited, **self._holders}
        ours = {polled[str(record.run)].session_id for record in records if record.run in polled}
        if len(ours - {None}) < len(records):
            return  # which sessions are ours is not known yet
        query = {"statuses[]": MOVING, "limit": 100}
        try:
            page = next(iter(self.app.client.pages("/sessions", query, retry=False, fresh=True)))
        except ApiError as error:
            self.say("beside", f"what else runs could not be counted: {error.message.rstrip('.')}")
            return
        rows = [row for row in map(mapping, page["data"]) if row.get("deployment_id") in deployments]
        count = sum(row.get("status") in MOVING and text(row.get("id")) not in ours for row in rows)
        least = "" if says_whether_more(page) and is_last(page) else "at least "
        words = f"beside {self.called}: {least}{counted(count, 'session')} of its deployments at work that hold no slot"
        self.say("beside", words if count else "")

    # The end of our own.

    def started(self, slot: StoredKey) -> None:
        """Take note of the slot of a run that this command started."""
        self._own[str(slot.record.run)] = slot

    def is_over(self, run_id: str) -> None:
        """Free the slot of a run of ours that has ended, beside what else is done."""
        self._over.add(run_id)
        slot = self._own.pop(run_id, None)
        if slot is not None:
            self._freeing.append(Task(lambda: self._free(slot)).start())

    def _free(self, slot: StoredKey) -> None:
        with suppress(QoderError, Lost):  # else whoever waits for one frees it
            if freed := self.keys.move(slot, slot.record.emptied):
                self.note(freed, slot.record.name)
                self._has_news = True

    def close(self) -> None:
        """Let the slots of ended runs be freed, for some seconds."""
        self.queued = 0
        until = self.app.clock.monotonic() + _LAST_WORDS
        for task in self._freeing:
            task.wait(until - self.app.clock.monotonic())


class QueuedTrigger:
    """A trigger that is sent once it has a slot; `run`, `write` and `doubt` are those of the trigger that it makes."""

    def __init__(self, queue: Queue, order: Order, *, pace: Pace | None, on_known: Callable[[Run], None]) -> None:
        self._queue = queue
        self._app = queue.app
        self._order = order
        self._pace = pace
        self._on_known = on_known
        self._trigger = self._made()
        self._steps = slots.through_queue(queue.claim(order), queue.most)
        self._step: slots.QueueStep | None = None  # the step that waits for the trigger
        self._slot: StoredKey | None = None  # ours, as far as we know
        self._name = ""  # of the slot that was written last
        self._refused = 0
        self._sending_since: Instant | None = None
        self._is_kept = False  # nobody knows whether a run was started in the slot
        self._is_told = False  # the trigger has ended: no failure of the store may hide what came of it
        self._signalled: Signalled | None = None

    def _made(self) -> AnyTrigger:
        how: dict[str, Any] = {"pace": self._pace, "on_known": self._on_known, "before_sending": self._begin}
        return trigger_for(self._app, self._order, **how)

    @property
    def run(self) -> Run | None:
        return self._trigger.run

    @property
    def write(self) -> Write[Run]:
        return self._trigger.write

    def doubt(self, why: str, cause: ApiError | None, may_repeat: bool) -> OutcomeUnknown:
        return self._with_slot(self._trigger.doubt(why, cause, may_repeat))

    def _with_slot(self, error: OutcomeUnknown) -> OutcomeUnknown:
        """Return the error with the slot that stays taken."""
        if self._slot is None or self._queue.group is None:
            return error
        free = shlex.join(self._app.command("key", "free", self._slot.record.key))
        return error.with_(message=f"{error.message}; its slot stays taken ({free})")

    def start(self) -> Run:
        """Wait for a slot, and start a run in it. Raises as a Trigger does, and RunSkipped."""
        try:
            with signals.deferred():
                return self._start()
        finally:
            self._queue.queued -= 1

    def _start(self) -> Run:
        while True:
            self._queue_up()
            try:
                self._queue.count_beside(self._order.deployment_id)
                run = self._trigger.start()
            except SlotTakenOver:
                self._trigger, self._slot, self._step = self._made(), None, None
                continue
            except BaseException as failure:
                self._settle()
                if self._signalled is not None:
                    raise self._signalled from failure
                if isinstance(failure, OutcomeUnknown) and self._is_kept:
                    raise self._with_slot(failure) from failure
                raise
            self._settle()
            if self._signalled is not None:
                raise self._signalled
            return run

    def _queue_up(self) -> None:
        """Go on until a slot is ours. Raises QoderError, Signalled, Closed; then none is, but for a claim."""
        try:
            with ExitStack() as shown:
                if threading.current_thread() is threading.main_thread():  # else the wait for the runs shows it
                    waiting = self._app.progress.waiting(lambda: self._queue.line, leaving="nothing is started")
                    shown.enter_context(waiting)
                self._go_on(None)
        except StoreAway as away:
            raise away.with_(message=f"{away.message}; nothing was started") from away

    def _go_on(self, answer: Any) -> KeyVerdict | None:
        """Do what comes next, until the trigger has to. Return the verdict, at the end."""
        try:
            step = self._steps.send(answer)
            while not isinstance(step, slots.Ready | protocol.SendTrigger | slots.TakenOver):
                step = self._steps.send(self._do(step))
        except StopIteration as ended:
            self._step = None
            verdict: KeyVerdict = ended.value
            return verdict
        self._step = step
        if not isinstance(step, slots.TakenOver):
            self._slot = step.found
        return None

    def _begin(self) -> None:
        """Note that an attempt is about to be sent. Raises SlotTakenOver, Unavailable, StoreAway if it must not be."""
        if isinstance(self._step, slots.Ready) and self._slot is not None:
            claim = self._slot
            try:
                self._go_on(True)
            except BaseException as failure:  # nothing is sent: whatever was written is taken back
                self._steps, self._step = slots.withdraw(claim), None
                if not isinstance(failure, Signalled):
                    raise
                self._signalled = failure
                raise Unavailable("interrupted; nothing was sent") from failure
        if isinstance(self._step, slots.TakenOver):
            raise SlotTakenOver("another command took the slot over; nothing was sent")
        if self._sending_since is None or self._sending_since.age(self._app.clock) > SEND_WITHIN:
            why = f"it took too long to start a run in a slot of {self._queue.called}; nothing was started"
            raise Unavailable(why, hint="try again")

    def _settle(self) -> None:
        """Note what came of the trigger in its slot, or give the slot back."""
        answer: Any = None
        if isinstance(self._step, protocol.SendTrigger):
            answer = NOTHING
            if self.write.result is not None:
                run = self.write.result.value
                answer = Started(run.id, run.adopted)
            elif self.write.may_have_acted:
                answer = UNKNOWN
        elif isinstance(self._step, slots.TakenOver):
            return
        self._is_told, self._is_kept = True, answer == UNKNOWN
        verdict = self._go_on(answer)
        slot = verdict and verdict.found
        if slot is not None and slot.record.run is not None:
            self._queue.started(slot)
        if slot is not None and verdict is not None and not verdict.noted:
            what = f"run {answer.run}; once that has ended" if isinstance(answer, Started) else "its end; if it stays"
            words = f"the slot {slot.record.key!r} could not be told of {what}: {self._queue.freeing(slot.record)}"
            self._queue.say(slot.record.key, words, warns=True)

    # The steps.

    def _heed(self) -> None:
        if self._pace is not None and self._pace.is_closed:
            raise Closed

    def _do(self, step: slots.QueueStep) -> Any:
        queue = self._queue
        match step:
            case slots.LookAround():
                return queue.look_around(self._heed)
            case slots.Wait():
                return queue.wait(self._heed)
            case protocol.LookForRun(found):
                return self._look(found)
        if not self._is_told:
            return queue.patiently(lambda: self._ask(step), self._heed) if self._step is None else self._ask(step)
        try:
            return self._ask(step)
        except Signalled as signalled:
            self._signalled = signalled
        except QoderError as error:
            self._app.progress.note(error.message)
        return UNREAD if isinstance(step, protocol.Read) else None

    def _ask(self, step: slots.QueueStep) -> Any:
        """Read or write the store once. A lost write counts as refused: both are read back."""
        queue, name = self._queue, self._name
        done: StoredKey | bool | None = None
        if self._refused and self._step is not None:
            self._app.clock.sleep(RETRIES[min(self._refused, len(RETRIES)) - 1])
        with suppress(Lost):
            match step:
                case protocol.Read():
                    found = queue.keys.read(name)
                    queue.note(found, name)
                    return found
                case protocol.Take(record):
                    self._name = name = record.name
                    done = queue.keys.take(self._stamped(record))
                case protocol.Move(found, record):
                    self._name = name = record.name
                    done = queue.keys.move(found, self._stamped(record))
                case protocol.Free(found):
                    self._name = name = found.record.name
                    done = queue.keys.free(found)
        if done:
            queue.note(done if isinstance(done, StoredKey) else None, name)
        self._refused = 0 if done else self._refused + 1
        return done

    def _stamped(self, record: KeyRecord) -> KeyRecord:
        """Return a record with the time; from when on it may be sent counts from the first try to say so."""
        clock = self._app.client.clock
        if record.state == "sending":
            self._sending_since = self._sending_since or Instant.now(clock)
            ahead = server_ahead(self._app, record.deployment)
            if ahead is not None:  # without it nobody can ever adopt its run
                record = record._replace(sent=clock.now() + ahead)
        elif record.state == "claimed":
            self._sending_since = None
        return record._replace(at=utc_text(datetime.fromtimestamp(clock.now(), UTC)))

    def _look(self, found: StoredKey) -> Started | None:
        """Look for the run of a slot that was sending for long: its key knows it, or it is the only one listed."""
        record, keys = found.record, self._queue.keys
        if record.under:
            return run_under(keys, record)
        attempt = attempt_of(self._app, record)
        try:
            run = None if attempt is None else run_of_abandoned(self._app, keys, record, attempt)
        except (OutcomeUnknown, ApiError):
            return None
        if run is None:
            return None
        self._app.progress.warn(f"the slot {record.key!r} is that of run {run.id}: the only one started since")
        return Started(run.id, adopted=True)
