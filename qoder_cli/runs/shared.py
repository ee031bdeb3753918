"""One key, one run, on every machine: a trigger by the protocol of `keys.protocol`, with a store that is shared."""

import shlex
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain, repeat
from typing import Any

from qoder_cli.app import App
from qoder_cli.base.errors import (
    ApiError,
    Exit,
    NoResponse,
    OutcomeUnknown,
    QoderError,
    Signalled,
    Unavailable,
    UsageError,
)
from qoder_cli.base.ids import segment
from qoder_cli.base.model import Run
from qoder_cli.base.outcome import fill_status, verdict, why_not_failed
from qoder_cli.base.times import span
from qoder_cli.base.words import few
from qoder_cli.http.answers import Answer
from qoder_cli.http.pace import WRITES_PER_SECOND, Closed, Pace
from qoder_cli.keys import protocol
from qoder_cli.keys.opening import shared_store
from qoder_cli.keys.protocol import LOOKS, KeyVerdict, SendTrigger, Started, Step, Watch, give_back, settle, start_once
from qoder_cli.keys.record import KeyRecord, KeyStore, StoreAway, StoredKey, name_of
from qoder_cli.local.store import Attempt, StoredAttempt
from qoder_cli.runs.lost import dated, look_for_run, may_have_started, others_in
from qoder_cli.runs.steps import StoreSteps, played, result_of, server_ahead
from qoder_cli.runs.trigger import Hold, Order, RunTrigger

_LISTED = 3  # keys that a warning names


class CoveredKeys(Hold):
    """The other keys under which a run is written: `deploy backfill --once`.

    They are taken before it is started, so that nobody starts one under them meanwhile, and point at the key of the
    run, with the owner of its claim: should this command die, that key tells which run it started, if any. A key that
    somebody else has is not covered.
    """

    def __init__(self, app: App, order: Order) -> None:
        self._app = app
        self._order = order
        self._pace = Pace(app.clock, per_second=WRITES_PER_SECOND)
        self._covered: list[tuple[StoreSteps, StoredKey]] = []

    @contextmanager
    def during(self, trigger: RunTrigger) -> Iterator[None]:
        assert isinstance(trigger, SharedTrigger)
        try:
            self._cover(shared_store(self._app), trigger.owner)
            yield
        finally:
            self._settle(result_of(trigger.write, trigger.answer))

    def _cover(self, keys: KeyStore, owner: str) -> None:
        """Take each key, up to where a run would be started under it. Raises QoderError, Signalled."""
        order, settings, taken = self._order, self._app.settings, []
        for key in order.covers:
            where = order.deployment_id, settings.host, settings.workspace_id
            pointer = KeyRecord("sending", owner, key, *where, under=order.key or "")
            store, steps, step = StoreSteps(self._app, keys), start_once(pointer), None
            self._pace.wait_turn()
            with suppress(StopIteration):
                step = next(steps)
                while not isinstance(step, SendTrigger | Watch):
                    step = steps.send(store.do(step))
            if isinstance(step, SendTrigger):
                self._covered.append((store, step.found))
            else:
                taken.append(key)
        if taken:
            listed = few(taken, _LISTED)
            self._app.progress.warn(f"another command makes up {listed}: {len(taken)} in all are not covered")

    def _settle(self, result: Started | str) -> None:
        """Write down under each key what is known of the run. Raises Signalled."""
        for store, pointer in self._covered:
            store.is_sent = True
            self._pace.wait_turn()
            if not played(settle(pointer, result), store.do).noted:
                free = shlex.join(self._app.command("key", "free", pointer.record.key))
                self._app.progress.warn(f"the key {pointer.record.key} could not be written; to start under it: {free}")
        signalled = next((store.signalled for store, _ in self._covered if store.signalled), None)
        if signalled is not None:
            raise signalled


class SharedTrigger(RunTrigger):
    """A trigger whose key several machines share. What local knowledge there is still counts, and comes second."""

    def __init__(self, app: App, order: Order, keys: KeyStore, **how: Any) -> None:
        settings = app.client.settings
        assert order.key is not None
        self._keys = keys
        self.owner = str(uuid.uuid4())  # of its claim
        self._claim = KeyRecord(
            "claimed", self.owner, order.key, order.deployment_id, settings.host, settings.workspace_id
        )
        self._abandoned = (
            f"a command on another machine may have started a run under the key {order.key!r} and was not heard of"
        )
        super().__init__(app, order, others=others_in(keys, self._claim, app.clock), **how)
        self._steps = StoreSteps(app, keys)
        self._failure: BaseException | None = None  # what the trigger raised
        self._why = ""  # no run was adopted
        self._before: tuple[str, ...] = ()  # earlier runs under the key
        self._freed_in_store = ""  # what the store says that it was freed after
        self._unused_claim: StoredKey | None = None  # a claim of ours under which nothing was sent

    def _start(self) -> Run:
        client = self._app.client
        client.prepare("POST", f"/deployments/{segment(self._order.deployment_id)}/run")  # is writing forbidden?
        steps = start_once(self._claim, until_completed=self._order.until_completed)
        try:
            ended = played(steps, self._do)
        except (QoderError, Signalled, Closed) as error:
            if self._steps.is_sent:
                raise
            if (claim := self._unused_claim) is not None:
                self._steps.is_sent = True  # what fails from now on does not count
                played(give_back(claim), self._steps.do)
            if isinstance(error, StoreAway):
                raise error.with_(message=f"{error.message}; nothing was sent") from error
            raise
        return self._run_of(ended)

    def _do(self, step: Step) -> Any:
        match step:
            case SendTrigger(stored):
                self._before, self._freed_in_store = stored.record.before, stored.record.freed_after
                self._steps.is_sent = True
                try:
                    self._send_now()
                except BaseException as failure:  # signals, too: the store is to know
                    self._failure = failure
                if self.write.result is not None:
                    self._tell(self.write.result.value)  # before the store, which may not answer
                return result_of(self.write)
            case Watch(stored, seconds):
                return self._watch(stored, seconds)
            case protocol.LookForRun(stored):
                return self._look(stored)
            case protocol.HasFailed(stored):
                run = fill_status(self._reread(self._entry_of(stored.record)))
                return verdict(run) is Exit.RUN_FAILED and why_not_failed(run) is None
            case protocol.Put(None):
                self._unused_claim = self._steps.do(step)
                return self._unused_claim
            case protocol.Put(StoredKey() as stored, KeyRecord() as record):
                return self._move(stored, record)
        return self._steps.do(step)

    def _move(self, stored: StoredKey, record: KeyRecord) -> StoredKey | None:
        store, host = self._app.store, self._claim.host
        if record.state == "sending":
            earlier = (*record.before, record.freed_after)
            if any(entry.run in earlier for entry in store.of_key(self._key, host=host)):
                store.free_key(self._key, host=host)
            if (run := self._started_before()) is not None:  # what this machine knows of the key, from before
                record = record._replace(state="started", run=run.id, adopted=run.adopted)
            elif self._open_under_key:
                raise self.write.unknown(
                    f"an earlier attempt of this machine with the key {self._key!r} is unconfirmed"
                )
        moved: StoredKey | None = self._steps.do(protocol.Put(stored, record))
        if record.state == "claimed":
            self._unused_claim = moved
        return moved

    def _watch(self, stored: StoredKey, seconds: float) -> StoredKey | None:
        """Read again until it has changed, or for so long by our own clock."""
        clock = self._app.client.clock
        began = clock.monotonic()
        what = "claimed" if stored.record.state == "claimed" else "is starting a run under"
        self._app.client.progress.note(
            f"another command {what} the key {self._key!r}; waiting for it, up to {span(seconds)}"
        )
        for pause in chain(LOOKS, repeat(LOOKS[-1])):
            left = began + seconds - clock.monotonic()
            if left <= 0:
                break
            clock.sleep(min(pause, left))
            if self.write.pace is not None and self.write.pace.is_closed:
                raise Closed
            now = self._keys.read(self._claim.name)
            if now != stored:
                return now
        return stored

    @property
    def _freed_after(self) -> str:
        return self._freed_in_store or super()._freed_after

    def _read(self, answer: Answer) -> Run:
        run = super()._read(answer)
        if run.id in (*self._before, self._freed_in_store):
            raise NoResponse(f"the response is an earlier run under the key ({run.id})")
        return run

    def _begin(self) -> None:
        """Note an attempt whose turn has come, as long as nobody can hold it for abandoned. Raises Unavailable."""
        if not self._steps.is_in_time:
            why = f"it took too long to start a run under the key {self._key!r}; nothing was started"
            raise Unavailable(why, hint="try again")
        super()._begin()

    def _look(self, stored: StoredKey) -> Started | None:
        """Look for the one run that an abandoned trigger can have started."""
        attempt = attempt_of(self._app, stored.record)
        if attempt is not None and (run_id := self._started_here(attempt)) is not None:
            return Started(run_id)
        self._app.client.progress.note(f"{self._abandoned}; looking for its run")
        try:
            return run_of_abandoned(self._app, self._keys, stored.record)
        except (OutcomeUnknown, ApiError) as error:
            self._why = error.message
            return None

    def _started_here(self, attempt: Attempt) -> str | None:
        """Return the run that a command of this machine started in an attempt, if it could not tell the store of it."""
        for entry in self._app.store.of_key(self._key, host=attempt.host):
            own = dated(self._app.client, entry.attempt)
            is_known = entry.run and not entry.adopted and own.deployment == attempt.deployment
            if is_known and may_have_started(attempt, own.at + (own.ahead or 0.0)):
                return entry.run
        return None

    def _run_of(self, ended: KeyVerdict) -> Run:
        """Return the run of a verdict, or raise what it means."""
        stored, progress = ended.found, self._app.client.progress
        if ended.how == "triggered":
            if not ended.noted:
                progress.warn(
                    f"could not note in the store of keys {self._keys.shown} how the start under the key {self._key!r} "
                    "ended; the next command with this key finds out, or exits 9"
                )
            if failure := self._failure or self._steps.signalled:
                raise failure
            assert self.write.result is not None
            return self.write.result.value
        if ended.how == "other":
            assert stored is not None
            whose = f"deployment {stored.record.deployment}"
            if stored.record.state == "applying":
                whose = f"an apply of {stored.record.machine}"
            raise UsageError(f"the key {self._key!r} belongs to {whose}", hint="use another key for another deployment")
        if ended.how == "answered":
            assert stored is not None
            return self._reread(self._entry_of(stored.record))
        if ended.how == "abandoned":
            raise self.doubt(f"{self._abandoned}; {self._why}", None, False)
        raise Unavailable(
            f"the store of keys {self._keys.shown} does not take the key {self._key!r}: it refuses what it does not "
            "show, or other commands were always faster; nothing was sent",
            hint="is it archived? to see it: qoder key list",
        )

    def _entry_of(self, record: KeyRecord) -> StoredAttempt:
        client = self._app.client
        at = record.sent if record.sent is not None else 0.0
        attempt = Attempt("", at, 0.0, client.settings.profile, client.settings.host, record.deployment, record.key)
        return StoredAttempt(attempt, record.run, adopted=record.adopted)


def run_of_abandoned(app: App, keys: KeyStore, record: KeyRecord) -> Started:
    """Return the one run that an abandoned trigger can have started: that of the key it was under, or a listed one.

    Raises OutcomeUnknown, which says why none can be told to be it, and ApiError.
    """
    if record.under:
        there = keys.read(name_of(record.host, record.workspace, record.under))
        if there is None or there.record.state != "started" or there.record.run is None:
            raise OutcomeUnknown(f"its run is that of the key {record.under!r}, which has none")
        if there.record.owner != record.owner and not record.group:
            raise OutcomeUnknown(f"another command started the run of the key {record.under!r}")
        return Started(there.record.run, there.record.adopted)
    client, attempt = app.client, attempt_of(app, record)
    if attempt is None:
        raise OutcomeUnknown("nothing shows when it was sent")
    others = others_in(keys, record, client.clock)
    run = look_for_run(client, app.store, lambda: [dated(client, attempt)], thoroughly=False, others=others)
    if run is None:
        raise OutcomeUnknown("no new run is listed")
    what = f" in the slot {record.key!r}" if record.group else ""
    client.progress.warn(f"adopted run {run.id}{what}: it is the only run started since")
    return Started(run.id, adopted=True)


def attempt_of(app: App, record: KeyRecord) -> Attempt | None:
    """Return a trigger of another command as one of this machine, on our clock; None if its time is unknown."""
    client, ahead = app.client, server_ahead(app, record.deployment)
    if record.sent is None or ahead is None:
        return None
    profile, host = client.settings.profile, client.settings.host
    id = uuid.uuid5(uuid.NAMESPACE_OID, record.owner).hex
    return Attempt(id, record.sent - ahead, ahead, profile, host, record.deployment, record.key)
