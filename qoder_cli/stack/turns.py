"""One apply of a stack at a time: on this machine, and on all with a store of keys that machines share.

The turn is a record of that store, moved by compare-and-set. Its owner is heard of again and again, and writes nothing
more once it was not for long; who finds it unchanged for longer takes it over. Each counts by its own clocks.
"""

import math
import os
import platform
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain, islice, repeat

from qoder_cli.app import App
from qoder_cli.base.errors import QoderError, Rejected, Signalled, Unavailable, UsageError
from qoder_cli.base.polling import poll
from qoder_cli.base.times import Instant, span, utc_text
from qoder_cli.keys.protocol import ABANDONED, LOOKS, MOST_TRIES, RETRIES, SEND_WITHIN
from qoder_cli.keys.record import KeyRecord, KeyStore, Lost, StoreAway, StoredKey

RENEW_AFTER = 20.0  # seconds after which the owner lets itself be heard of
_LAST_TRIES = 3
_PAUSE = 0.2  # seconds between two looks whether it is our turn
_SAID_AFTER = 10  # seconds until even a quiet command says that it waits for that
_TURN = "deployments"  # what is written in it


@contextmanager
def machine_turn(
    app: App, what: str = _TURN, *, does: str = "applies files, or writes deployments or environments"
) -> Iterator[None]:
    """Let one process of this machine at a time do something: `what` it does, and in words. Raises Signalled.

    The wait has no limit: who has the turn may ask a person, or wait for a free slot.
    """
    store, host = app.store, app.settings.host

    def has_turn() -> bool:
        app.progress.beat()
        return store.hold(what, host=host)

    if not store.hold(what, host=host):
        status = f"another command of this machine {does}; waiting for it"

        def pauses() -> Iterator[float]:
            yield from repeat(_PAUSE, round(_SAID_AFTER / _PAUSE))
            app.progress.warn(f"{status}, however long it takes; see whether it hangs")
            yield from repeat(_PAUSE)

        app.progress.note(status)
        with app.progress.waiting(status, leaving="nothing is written"):
            poll(has_turn, app.clock, pauses=pauses(), is_enough=bool)
    try:
        yield
    finally:
        store.let_go(what, host=host)


@contextmanager
def turn_of(app: App, stack: str | None) -> Iterator["StackTurn | None"]:
    """Let one command apply a stack at a time. Yield its turn where machines share it, else None.

    Raises UsageError, StoreAway if the store cannot be used; Signalled while it waits.
    """
    with machine_turn(app):
        if stack is None or app.settings.keys is None or app.settings.read_only:
            yield None
            return
        from qoder_cli.keys.opening import shared_store

        shared = StackTurn(app, shared_store(app), stack)
        try:
            shared.take()
            yield shared
        finally:
            shared.end()


class StackTurn:
    """The turn to apply a stack. All but `is_over` is for one thread."""

    def __init__(self, app: App, keys: KeyStore, stack: str) -> None:
        settings = app.client.settings
        self._app = app
        self._keys = keys
        self._stack = stack
        self._mine = KeyRecord(
            "applying",
            str(uuid.uuid4()),
            f"stack {stack}",
            "",
            settings.host,
            settings.workspace_id,
            machine=f"{platform.node() or 'a machine without a name'} (process {os.getpid()})",
        )
        self._found: StoredKey | None = None  # the turn, while it is ours as far as we know
        self._heard: list[Instant] = []  # when each beat was sent: it may be done at any later time
        self._loss: Rejected | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing may be written any more: others may have the turn, or hold it for abandoned."""
        return self.loss is not None

    @property
    def loss(self) -> Rejected | None:
        """The error of a turn that was lost before its end; None if it was not."""
        if self._loss is None and self._age() > SEND_WITHIN:
            self._loss = self._lost("the store of keys could not be told that this goes on")
        return self._loss

    def _age(self) -> float:
        if self._found is None:
            return math.inf
        return self._heard[self._found.record.beat].age(self._app.clock)

    def _is_mine(self, stored: StoredKey) -> bool:
        return stored.record.owner == self._mine.owner

    def take(self) -> None:
        """Wait for the turn, and take it. Raises UsageError, StoreAway, Unavailable, Signalled."""
        try:
            for pause in islice(chain(RETRIES, repeat(RETRIES[-1])), MOST_TRIES):
                stored = self._written(None)
                if stored is not None and not self._is_mine(stored):
                    stored = self._after(stored)
                if stored is not None and self._is_mine(stored):
                    self._found = stored
                    self.renew()
                    return
                self._app.clock.sleep(pause)
        except StoreAway as away:
            raise away.with_(message=f"{away.message}; nothing was applied") from away
        raise Unavailable(
            f"the store of keys {self._keys.shown} does not take the turn of the stack {self._stack}; "
            "nothing was applied",
            hint="try again later; to see the store: qoder key list",
        )

    def _written(self, found: StoredKey | None) -> StoredKey | None:
        """Write a new beat of ours over what was found. Return what is there then; None also if it is not seen yet."""
        clock, beat = self._app.clock, len(self._heard)
        self._heard.append(Instant.now(clock))
        record = self._mine._replace(beat=beat, at=self._mine.at or utc_text(clock.now()))
        with suppress(Lost):
            if (done := self._keys.put(found, record)) is not None:
                self._mine = record
                return done
        return self._read()

    def _read(self) -> StoredKey | None:
        return self._keys.read(self._mine.name)

    def _after(self, stored: StoredKey) -> StoredKey | None:
        """Wait while another has the turn; take it over from one that is not heard of. Return what is there then."""
        clock, progress = self._app.clock, self._app.progress
        first, since = stored.record, clock.monotonic()
        if first.state != "applying":
            raise UsageError(
                f"the key {self._mine.key!r} is that of a run; nothing was applied",
                hint="give the stack another name, or free the key: qoder key free KEY",
            )
        who = f"{first.machine} has been applying the stack {self._stack} since {first.at}; waiting for it"
        progress.note(f"{who} (if it is stuck: qoder key free {self._mine.key!r})")
        with progress.waiting(who, leaving="nothing is applied"):
            for pause in chain(LOOKS, repeat(LOOKS[-1])):
                left = since + ABANDONED - clock.monotonic()
                if left <= 0:
                    break
                clock.sleep(min(pause, left))
                progress.beat()
                now = self._read()
                if now is None or now.record.owner != first.owner:
                    return now
                if now != stored:
                    stored, since = now, clock.monotonic()
        progress.warn(f"{first.machine} has not reported for {span(ABANDONED)}; its turn is over")
        return self._written(stored)

    def renew(self) -> None:
        """Let others know that we are still there, now and then. Never raises QoderError: `loss` says what came."""
        stored = self._found
        if stored is None or self._loss is not None or self._age() < RENEW_AFTER:
            return
        try:
            now = self._written(stored)
        except QoderError as error:
            self._app.progress.note(error.message)
            return
        if now is None:
            self._loss = self._lost("somebody ended it")
        elif not self._is_mine(now):
            self._loss = self._lost(f"{now.record.machine} took it over")
        else:
            self._found = now

    def _lost(self, why: str) -> Rejected:
        return Rejected(f"the turn of the stack {self._stack} was lost: {why}", hint="apply again")

    def end(self) -> None:
        """Let the next one have the turn. Raises only Signalled, once that is done or was given up."""
        signalled = None
        for _ in range(_LAST_TRIES):
            try:
                if self._is_ended():
                    break
            except Signalled as late:
                signalled = late
            except QoderError as error:
                self._app.progress.note(error.message)
        else:
            self._app.progress.warn(
                f"the turn of the stack {self._stack} could not be ended: others wait for {span(ABANDONED)}, or until: "
                f"qoder key free {self._mine.key!r}"
            )
        if signalled is not None:
            raise signalled

    def _is_ended(self) -> bool:
        with suppress(Lost):
            if self._found is not None and self._keys.put(self._found, None):
                return True
        now = self._read()
        if now is None or not self._is_mine(now):
            return True
        self._found = now
        return False
