"""At most so many runs at once: each trigger waits for a slot of its group, by the protocol of `keys.slots`.

Who waits reads the group's slots every 2 s, and each second the runs that hold them, through their lists: a slot whose
run has ended can be taken. Without a group the slots are in this process alone: the same protocol, and no store.
"""

import platform
import shlex
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from math import inf
from typing import Any

from qoder_cli.app import App
from qoder_cli.base import signals
from qoder_cli.base.errors import ApiError, AuthError, NotFound, OutcomeUnknown, QoderError, RunSkipped, Unavailable
from qoder_cli.base.ids import segment
from qoder_cli.base.model import Run, mapping, says_whether_more, text
from qoder_cli.base.outcome import is_going, may_wait
from qoder_cli.base.pool import Late
from qoder_cli.base.times import Deadline, Limits, span
from qoder_cli.base.words import counted
from qoder_cli.fleet.page_poller import PageReader
from qoder_cli.http.pace import Closed, Pace
from qoder_cli.keys.patience import Patience
from qoder_cli.keys.protocol import NOTHING, LookForRun, Read, Started, settle
from qoder_cli.keys.record import KeyRecord, KeyStore, Lost, StoreAway, StoredKey, name_of
from qoder_cli.keys.slots import (
    LookAround,
    QueueStep,
    Slot,
    Wait,
    begin_sending,
    slot_key,
    take_slot,
)
from qoder_cli.runs.idle import MOVING
from qoder_cli.runs.observe import Observer
from qoder_cli.runs.polled import PolledRun
from qoder_cli.runs.shared import run_of_abandoned
from qoder_cli.runs.steps import StoreSteps, played, result_of
from qoder_cli.runs.trigger import Hold, Order, RunTrigger
from qoder_cli.sessions.log import is_last

LOOK_EVERY = 2.0  # seconds between two readings of the slots
READ_EVERY = 1.0  # the same of the runs that hold them, ...
LONGEST_PAUSE = 30.0  # ... and at most, while no answer comes: each pause is twice as long as the one before
_TICK = 0.5  # seconds between two looks whether this is to stop
_AWAY_FOR = 60.0  # seconds for which a store may be away while this waits
_LAST_WORDS = 5.0  # seconds at the end of a command to free the slots of runs that have ended


@dataclass(eq=False)
class OwnSlots:
    """A store of slots in this process."""

    shown = "this command"

    patience: Patience
    _kept: dict[str, StoredKey] = field(default_factory=dict, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def put(self, found: StoredKey | None, record: KeyRecord | None) -> StoredKey | None:
        about = record or (found and found.record)
        assert about is not None
        with self._lock:
            if self._kept.get(about.name) != found:
                return None
            if record is None:
                return self._kept.pop(about.name)
            id = str(uuid.uuid4()) if found is None else found.id
            self._kept[about.name] = stored = StoredKey(id, record, record.content)
            return stored

    def read(self, name: str) -> StoredKey | None:
        return self._kept.get(name)

    def entries(self, prefix: str = "") -> list[StoredKey]:
        return [kept for name, kept in list(self._kept.items()) if name.startswith(prefix)]


@dataclass(eq=False)
class Queue:
    """The slots of a group, as this command sees them; one of its orders waits at a time, in the order typed."""

    app: App
    most: int
    group: str | None = None
    timeout: float | None = None  # seconds that an order may wait
    queued: int = 1  # orders that are not started yet
    keys: KeyStore = field(init=False)
    called: str = field(init=False)  # the group, in messages
    name: str = field(init=False)  # the group, in keys
    _pace: Pace | None = field(default=None, init=False)  # of the triggers: once it is closed, nobody waits any more
    _slots: dict[str, tuple[StoredKey, float]] = field(default_factory=dict, init=False)  # by name, and since when
    _looked_at: float = field(default=-inf, init=False)
    _away_since: float = field(default=inf, init=False)  # since when the store cannot be used
    _began: float | None = field(default=None, init=False)
    _holders: dict[str, PolledRun] = field(default_factory=dict, init=False)  # runs that hold slots, by id
    _read_at: float = field(default=-inf, init=False)  # when they were read; later where the server asked for a pause
    _pause: float = field(default=READ_EVERY, init=False)  # until they are read again
    _over: set[str] = field(default_factory=set, init=False)  # runs that are over for certain
    _has_news: bool = field(default=False, init=False)  # a run is over, since the slots were looked at
    _said: dict[str, str] = field(default_factory=dict, init=False)  # what was said last, by what it is about

    def __post_init__(self) -> None:
        self.called = self.group or "this command"
        self.name = self.called.replace(" ", "-")
        self.keys = OwnSlots(Patience(self.app.clock))
        if self.group is not None:
            from qoder_cli.keys.opening import shared_store

            self.keys = shared_store(self.app)
        settings = self.app.settings
        first = name_of(settings.host, settings.workspace_id, slot_key(self.name, 1))
        self._prefix = first.removesuffix("1")  # by which the names of all its slots begin
        self._reader = PageReader(self.app.client, Deadline(self.app.clock, Limits()), LOOK_EVERY)

    def slot_for(self, order: Order, pace: Pace | None = None) -> "HeldSlot":
        """Return what a trigger of this order holds; once the `pace` of the triggers is closed, nobody waits."""
        self._pace = pace
        return HeldSlot(self, order)

    # How it stands.

    @property
    def line(self) -> str:
        """How many run and are queued, in words."""
        holders = list(self._holders.values())
        asking = sum(polled.observer.needs_answer and not polled.observer.ended for polled in holders)
        words = f"{sum(slot.is_held for slot in self._seen())} running of at most {self.most}, {self.queued} queued"
        if asking:
            words += f", {asking} waits for you" if asking == 1 else f", {asking} wait for you"
        return words

    def say(self, about: str, words: str, *, warns: bool = False) -> None:
        """Say something once, until it changes."""
        before, self._said[about] = self._said.get(about, ""), words
        if words not in ("", before):
            (self.app.progress.warn if warns else self.app.progress.change)(words)

    def to_free(self, record: KeyRecord) -> str:
        """Return the command by which a person frees a slot."""
        return shlex.join(self.app.command("key", "free", record.key))

    # The slots.

    def note(self, name: str, stored: StoredKey | None) -> None:
        """Take in what the store has under the name of a slot."""
        before, since = self._slots.pop(name, (None, 0.0))
        if stored is not None:
            self._slots[name] = stored, since if stored == before else self.app.clock.monotonic()

    def _seen(self) -> list[Slot]:
        now, slots = self.app.clock.monotonic(), list(self._slots.values())
        return [Slot(stored, now - since, stored.record.run in self._over) for stored, since in slots]

    def look_around(self) -> list[Slot]:
        """Return the slots, read again if that is 2 s ago. Raises QoderError where the store is away for long."""
        clock = self.app.clock
        if clock.monotonic() - self._looked_at >= LOOK_EVERY:
            stored = {each.record.name: each for each in self.patiently(lambda: self.keys.entries(self._prefix))}
            self._looked_at = clock.monotonic()
            for name in {*stored, *self._slots}:
                self.note(name, stored.get(name))
        self._has_news = False
        return self._seen()

    def patiently(self, ask: Callable[[], Any]) -> Any:
        """Return what the store answers. One that has answered before may be away for a minute. Raises QoderError."""
        clock = self.app.clock
        while True:
            try:
                answer = ask()
            except StoreAway as away:
                self._away_since = min(self._away_since, clock.monotonic())
                if self._looked_at == -inf or clock.monotonic() - self._away_since > _AWAY_FOR:
                    raise
                self.say("store", f"{away.message}; still waiting")
            else:
                self._away_since = inf
                return answer
            clock.sleep(LOOK_EVERY)
            self._heed()

    def _heed(self) -> None:
        if self._pace is not None and self._pace.is_closed:
            raise Closed

    def wait(self) -> None:
        """Wait until the slots are to be read again, or a run is over. Raises RunSkipped, Unavailable, Closed."""
        clock = self.app.clock
        self._began = clock.monotonic() if self._began is None else self._began
        self._name_doubts()
        self.say("line", self.line)
        while self._looked_at + LOOK_EVERY > clock.monotonic() and not self._has_news:
            if self.timeout is not None and clock.monotonic() - self._began >= self.timeout:
                why = f"not started: no slot of {self.called} was free within {span(self.timeout)}"
                raise RunSkipped(why, hint="start it later, or raise --queue-timeout")
            self._heed()
            self._read_holders()
            clock.sleep(_TICK)
            self.app.progress.beat()

    def _name_doubts(self) -> None:
        """Name the slots of which nobody knows whether a run was started. Raises Unavailable if nothing else can go."""
        slots = self._seen()
        resting = {id for id, polled in list(self._holders.items()) if polled.observer.state.story.may_wait}
        unclear = [slot.stored.record for slot in slots if slot.stored.record.run in resting]
        in_doubt = [slot for slot in slots if slot.stored.record.state == "sending"]
        if self.group is None and len(in_doubt) + len(unclear) >= self.most:
            why = "no run can be told to have ended, so that nothing more is started"
            raise Unavailable(why, hint="check the unconfirmed runs, then start the rest")
        for record in (slot.stored.record for slot in in_doubt if slot.is_abandoned and self.group is not None):
            words = f"{record.machine or 'a command'} may have started a run of {record.deployment} in {record.key!r} "
            words += f"at {record.at}, and was not heard of; look for it: "
            words += shlex.join(self.app.command("run", "list", record.deployment))
            self.say(record.key, f"{words}; if there is none: {self.to_free(record)}", warns=True)
        for record in unclear if self.group is not None else ():
            words = f"run {record.run}, which holds the slot {record.key!r}, stopped for a reason that cannot be read: "
            words += f"it may wait for an answer; once it has ended: {self.to_free(record)}"
            self.say(record.key, words, warns=True)

    # The runs that hold them.

    def note_run(self, run: Run | None) -> None:
        """Take note of a run that has ended, if it has. One that may wait for an answer keeps its slot."""
        if run is not None and not is_going(run) and not may_wait(run):
            self._over.add(run.id)
            self._has_news = True

    def _read_holders(self) -> None:
        """Read the runs that hold slots, once a second. Only an ending, or the API's own 404 for 30 s, is proof."""
        clock, troubles, is_answered = self.app.clock, list[ApiError](), False
        ids = {stored.record.run for stored, _ in list(self._slots.values())} - self._over
        for id in filter(None, ids - self._holders.keys()):
            observer = Observer(self.app.client, id, is_fresh=lambda _: True)
            observer.needs_proof = True
            self._holders[id] = PolledRun(observer)
            self._holders[id].begin(clock.monotonic())
        self._holders = {id: polled for id, polled in self._holders.items() if id in ids}
        if not self._holders or clock.monotonic() - self._read_at < self._pause:
            return
        self._read_at = clock.monotonic()
        try:
            for polled, error, *_ in self._reader.read(list(self._holders.values()), signals.has_come):
                polled.heard(error, clock.monotonic())
                is_answered |= error is None or (isinstance(error, NotFound) and error.enveloped)
                if error is not None:
                    troubles.append(error)
                self.note_run(polled.observer.run)
                if polled.observer.ended or not polled.is_over:
                    continue
                if isinstance(error, NotFound) and error.enveloped and self._is_deleted(polled):
                    self._over.add(polled.observer.run_id)
                    self._has_news = True
                else:  # lost from sight: it may still be running, and is read anew
                    del self._holders[polled.observer.run_id]
        except Late:
            return
        except ApiError as error:
            troubles.append(error)
        if lost := next((error for error in troubles if error.is_logged_out), None):
            raise lost  # it would wait for ever
        self._read_at += max((error.asked_pause for error in troubles), default=0.0)
        is_down = bool(troubles) and not is_answered
        self._pause = min(self._pause * 2, LONGEST_PAUSE) if is_down else READ_EVERY
        if troubles:
            self.say("holders", f"the runs that hold slots cannot be read: {troubles[0].message.rstrip('.')}")
        elif is_answered:
            self.say("holders", "")

    def _is_deleted(self, polled: PolledRun) -> bool:
        """Return whether a run that cannot be found is gone: of another account, its deployment is not shown either."""
        run_id = polled.observer.run_id
        records = [stored.record for stored, _ in list(self._slots.values()) if stored.record.run == run_id]
        if not records:  # another thread reads the slots anew
            return False
        record = records[0]
        try:
            self.app.client.get(f"/deployments/{segment(record.deployment)}", retry=False, fresh=True)
            return True
        except NotFound:
            words = f"run {run_id}, which holds the slot {record.key!r}, cannot be found, nor can {record.deployment}: "
            words += f"it may be another account's; once it has ended: {self.to_free(record)}"
            self.say(record.key, words, warns=True)
        except ApiError as error:
            self.say("holders", f"the runs that hold slots cannot be read: {error.message.rstrip('.')}")
        return False

    def count_beside(self, deployment_id: str) -> None:
        """Say how many sessions of the group's deployments are at work that hold no slot: they are not prevented."""
        self._read_holders()
        started = [slot.stored.record for slot in self._seen() if slot.stored.record.state == "started"]
        ours = {polled.session_id for polled in list(self._holders.values())}
        if any(record.run not in {*self._holders, *self._over} for record in started) or None in ours:
            return  # which sessions are ours is not known yet
        deployments = {deployment_id, *(record.deployment for record in started)}
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

    def close(self) -> None:
        """Free the slots of runs that are over, for some seconds. The others can be taken by whoever sees that."""
        self.queued = 0
        until = self.app.clock.monotonic() + _LAST_WORDS
        for slot in self._seen():
            if slot.is_over and slot.stored.record.state == "started" and self.app.clock.monotonic() < until:
                with suppress(QoderError, Lost):
                    self.keys.put(slot.stored, slot.stored.record.emptied)


class HeldSlot(Hold):
    """A slot for the trigger of an order."""

    def __init__(self, queue: Queue, order: Order) -> None:
        self._queue = queue
        self._order = order
        settings = queue.app.settings
        about = order.deployment_id, settings.host, settings.workspace_id
        claim = KeyRecord("claimed", str(uuid.uuid4()), slot_key(queue.name, 1), *about, group=queue.name)
        self._claim = claim._replace(under=order.key or "", machine=platform.node() or "an unnamed machine")
        self._steps = StoreSteps(queue.app, queue.keys)
        self._slot: StoredKey | None = None  # ours, as far as we know
        self._taken_over: list[StoredKey] = []  # claims of ours that others took

    @property
    def left(self) -> str:
        if self._slot is None or self._queue.group is None:
            return ""
        return f"; its slot stays taken ({self._queue.to_free(self._slot.record)})"

    @contextmanager
    def during(self, trigger: RunTrigger) -> Iterator[None]:
        try:
            self._slot = self._take()
            try:
                self._queue.count_beside(self._order.deployment_id)
                yield
            finally:
                self._settle(result_of(trigger.write))
        finally:
            self._queue.queued -= 1

    def _take(self) -> StoredKey:
        """Wait for a slot. Raises StoreAway and other QoderErrors, Closed, Signalled."""
        queue = self._queue
        try:
            with ExitStack() as shown:
                if threading.current_thread() is threading.main_thread():  # else the wait for the runs shows it
                    waiting = queue.app.progress.waiting(lambda: queue.line, leaving="nothing is started")
                    shown.enter_context(waiting)
                slot: StoredKey = played(take_slot(self._claim, queue.most, self._taken_over), self._do)
        except (StoreAway, AuthError) as error:
            raise error.with_(message=f"{error.message.rstrip('.')}; nothing was started") from error
        return slot

    def before_sending(self) -> None:
        """Note that an attempt is about to be sent, in another slot if ours was taken over. Raises QoderError."""
        while (claim := self._slot or self._take()).record.state == "claimed":
            self._slot = claim
            self._slot = played(begin_sending(claim), self._do)
            if self._slot is None:
                self._taken_over.append(claim)
        if not self._steps.is_in_time:
            why = f"it took too long to start a run in a slot of {self._queue.called}; nothing was started"
            raise Unavailable(why, hint="try again")

    def _settle(self, result: Started | str) -> None:
        """Note what came of the trigger in its slot, or give the slot back. Raises Signalled."""
        slot, queue = self._slot, self._queue
        if slot is None:
            return
        self._steps.is_sent = True
        if slot.record.state == "claimed":
            result = NOTHING
        if not played(settle(slot, result), self._do).noted:
            why = "could not be told how the start ended; once no run is going in it"
            words = f"the slot {slot.record.key!r} {why}: {queue.to_free(slot.record)}"
            queue.say(slot.record.key, words, warns=True)
        if self._steps.signalled is not None:
            raise self._steps.signalled

    def _do(self, step: QueueStep) -> Any:
        queue = self._queue
        match step:
            case LookAround():
                return queue.look_around()
            case Wait():
                return queue.wait()
            case LookForRun(found):
                with suppress(OutcomeUnknown, ApiError):
                    return run_of_abandoned(queue.app, queue.keys, found.record)
                return None
        is_queueing = self._slot is None
        result = queue.patiently(lambda: self._steps.do(step)) if is_queueing else self._steps.do(step)
        if result or isinstance(step, Read):
            queue.note(self._steps.name, result if isinstance(result, StoredKey) else None)
        return result
