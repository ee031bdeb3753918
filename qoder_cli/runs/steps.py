"""The steps of a protocol of keys (`keys.protocol`, `keys.slots`), done over a store."""

from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, QoderError, Signalled
from qoder_cli.base.ids import segment
from qoder_cli.base.model import Run
from qoder_cli.base.times import Instant, utc_text
from qoder_cli.http.write import Write
from qoder_cli.keys.protocol import (
    NOTHING,
    RETRIES,
    SEND_WITHIN,
    UNKNOWN,
    UNREAD,
    Put,
    Read,
    Started,
    Step,
)
from qoder_cli.keys.record import KeyRecord, KeyStore, Lost, StoredKey


def played(steps: Generator[Any, Any, Any], do: Callable[[Any], Any], answer: Any = None) -> Any:
    """Do all steps that are left, each as `do` says, and return what they come to."""
    try:
        while True:
            answer = do(steps.send(answer))
    except StopIteration as ended:
        return ended.value


def result_of(write: Write[Run], answer: Run | None = None) -> Started | str:
    """Return what is known of a trigger: its run, or that of the `answer`, NOTHING or UNKNOWN."""
    if answer is not None:
        return Started(answer.id, answer.adopted)
    if write.result is not None:
        return Started(write.result.value.id, write.result.value.adopted)
    return UNKNOWN if write.may_have_acted else NOTHING


class StoreSteps:
    """Reads and writes a store for one command, under one name at a time: that of the record written last.

    Once a trigger may have been sent (`is_sent`), nothing but its result counts: a failure of the store is only noted,
    and a signal is kept in `signalled`.
    """

    def __init__(self, app: App, keys: KeyStore) -> None:
        self.is_sent = False
        self.signalled: Signalled | None = None
        self._app = app
        self._keys = keys
        self.name = ""
        self._refused = 0  # writes in a row that the store did not do, or that were lost
        self._sending_since: Instant | None = None

    @property
    def is_in_time(self) -> bool:
        """Whether nobody can hold the trigger that is about to be sent for abandoned yet."""
        return self._sending_since is not None and self._sending_since.age(self._app.client.clock) <= SEND_WITHIN

    def do(self, step: Step) -> Any:
        """Do one reading or writing, and return its result for the protocol. Raises QoderError, Signalled."""
        if not self.is_sent:
            return self._done(step)
        if self.signalled is None:
            try:
                return self._done(step)
            except Signalled as signalled:
                self.signalled = signalled
            except QoderError as error:
                self._app.client.progress.note(error.message)
        return UNREAD if isinstance(step, Read) else None

    def _done(self, step: Step) -> StoredKey | None:
        """Do it once. A lost write counts as a refused one: both are read back."""
        if not isinstance(step, Put):
            return self._keys.read(self.name)
        if self._refused:
            self._app.client.clock.sleep(RETRIES[min(self._refused, len(RETRIES)) - 1])
        found, record = step
        if found is not None:
            self.name = found.record.name
        if record is not None:
            self.name, record = record.name, self._stamped(record)
        done = None
        with suppress(Lost):
            done = self._keys.put(found, record)
        self._refused = 0 if done else self._refused + 1
        if done is not None and done.record.state == "claimed":
            self._sending_since = None  # until now an earlier try to send could still be done, however late
        return done

    def _stamped(self, record: KeyRecord) -> KeyRecord:
        """Return a record with the time. From when on it may be sent counts from the first try to say so."""
        clock = self._app.client.clock
        if record.state == "sending":
            self._sending_since = self._sending_since or Instant.now(clock)
            ahead = server_ahead(self._app, record.deployment)
            if ahead is not None:  # without it nobody can ever adopt its run
                record = record._replace(sent=clock.now() + ahead)
        return record._replace(at=utc_text(clock.now()))


def server_ahead(app: App, deployment_id: str) -> float | None:
    """Return by how much the service's clock is ahead: a database does not tell it, so one reading is for that."""
    client = app.client
    if client.server_ahead is None:
        with suppress(ApiError):
            client.get(f"/deployments/{segment(deployment_id)}", retry=False)
    return client.server_ahead
