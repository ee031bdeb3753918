"""One run under several keys: `deploy backfill --once`.

The others are taken before it is started, so that nobody starts one under them meanwhile, and point at the key of the
run: should this command die, that one tells which run it is. A key that somebody else has is not covered.
"""

import shlex
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from qoder_cli.app import App
from qoder_cli.base.words import few
from qoder_cli.http.pace import WRITES_PER_SECOND, Pace
from qoder_cli.keys.opening import shared_store
from qoder_cli.keys.protocol import SendTrigger, Started, Watch, settle, start_once
from qoder_cli.keys.record import KeyRecord, KeyStore, StoredKey
from qoder_cli.runs.steps import StoreSteps, played, result_of
from qoder_cli.runs.trigger import Hold, Order, RunTrigger

_LISTED = 3  # keys that a warning names


class CoveredKeys(Hold):
    """The other keys that a trigger covers, in the store that machines share."""

    def __init__(self, app: App, order: Order) -> None:
        self._app = app
        self._order = order
        self._pace = Pace(app.clock, per_second=WRITES_PER_SECOND)
        self._covered: list[tuple[StoreSteps, StoredKey]] = []

    @contextmanager
    def during(self, trigger: RunTrigger) -> Iterator[None]:
        try:
            self._cover(shared_store(self._app))
            yield
        finally:
            self._settle(result_of(trigger.write, trigger.answer))

    def _cover(self, keys: KeyStore) -> None:
        """Take each key, up to where a run would be started under it. Raises QoderError, Signalled."""
        order, settings, taken = self._order, self._app.settings, []
        for key in order.covers:
            where = order.deployment_id, settings.host, settings.workspace_id
            pointer = KeyRecord("sending", str(uuid.uuid4()), key, *where, under=order.key or "")
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
