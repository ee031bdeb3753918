"""One run under several keys: `deploy backfill --once`.

The others point at the key of the run before it is started, so that nobody starts one under them meanwhile; they are
then given the run. One that somebody else has is not covered.
"""

import uuid
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime

from qoder_cli.app import App
from qoder_cli.base import signals
from qoder_cli.base.errors import QoderError
from qoder_cli.base.model import Run
from qoder_cli.base.times import utc_text
from qoder_cli.http.pace import WRITES_PER_SECOND, Pace
from qoder_cli.keys.opening import shared_store
from qoder_cli.keys.protocol import Started, noting
from qoder_cli.keys.record import KeyRecord, KeyStore, Lost, StoredKey
from qoder_cli.runs.trigger import AnyTrigger, Order

_LAST_TRIES = 3


class CoveringTrigger:
    """A trigger that covers other keys, too: in the store that machines share, if there is one."""

    def __init__(self, app: App, order: Order, trigger: AnyTrigger) -> None:
        self._app = app
        self._order = order
        self._keys = None if app.settings.keys is None else shared_store(app)
        self._trigger = trigger
        self._pointers: list[StoredKey] = []
        self.write = trigger.write
        self.doubt = trigger.doubt

    @property
    def run(self) -> Run | None:
        return self._trigger.run

    def start(self) -> Run:
        """Start the run, and note it under each key. Raises as a Trigger does."""
        with signals.deferred():
            try:
                if self._keys is not None:
                    self._point(self._keys)
                run = self._trigger.start()
            except BaseException:
                if self.run is not None:
                    self._note(self.run)
                elif not self.write.may_have_acted:
                    self._write([(pointer, None) for pointer in self._pointers])
                raise
            self._note(run)
            return run

    def _point(self, keys: KeyStore) -> None:
        """Have each key point at that of the run. Raises QoderError."""
        app, order = self._app, self._order
        settings, owner = app.client.settings, str(uuid.uuid4())
        pace = Pace(app.clock, per_second=WRITES_PER_SECOND)
        taken = []
        for key in order.covers:
            at = utc_text(datetime.fromtimestamp(app.server_now, UTC))
            record = KeyRecord("sending", owner, key, order.deployment_id, settings.host, settings.workspace_id, at=at)
            pace.wait_turn()
            pointer = None
            with suppress(Lost):
                pointer = keys.take(record._replace(under=order.key or ""))
            if pointer is None:
                there = keys.read(record.name)
                pointer = there if there is not None and there.record.owner == owner else None
            if pointer is not None:
                self._pointers.append(pointer)
            else:
                taken.append(key)
        if taken:
            app.progress.warn(f"another command makes up {', '.join(taken[:3])}: {len(taken)} in all are not covered")

    def _note(self, run: Run) -> None:
        """Write the run under each key; warn of one that cannot be written, which still points at the run's key."""
        settings, store, order = self._app.client.settings, self._app.store, self._order
        if self._keys is None:
            for key in order.covers:
                at, ahead = self._app.clock.now(), self._app.client.server_ahead
                where = {"profile": settings.profile, "host": settings.host, "deployment": order.deployment_id}
                store.record_run(store.begin(at=at, ahead=ahead, key=key, **where), run.id)
            return
        started = Started(run.id, run.adopted)
        self._write([(pointer, noting(pointer.record, pointer.record.owner, started)) for pointer in self._pointers])

    def _write(self, changes: Sequence[tuple[StoredKey, KeyRecord | None]]) -> None:
        keys, pace = self._keys, Pace(self._app.clock, per_second=WRITES_PER_SECOND)
        if keys is None:
            return
        for pointer, record in changes:
            for _ in range(_LAST_TRIES):
                pace.wait_turn()
                try:
                    with suppress(Lost):
                        if keys.free(pointer) if record is None else keys.move(pointer, record):
                            break
                    if keys.read(pointer.record.name) != pointer:
                        break
                except QoderError as error:
                    self._app.progress.note(error.message)
            else:
                free = f"qoder key free {pointer.record.key}"
                self._app.progress.warn(f"the key {pointer.record.key} could not be written; to start under it: {free}")
