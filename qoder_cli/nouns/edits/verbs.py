"""Archiving, deleting, pausing …: one verb done to one thing, by a write that may be repeated."""

from collections.abc import Callable
from typing import Any, NamedTuple

from qoder_cli.app import App
from qoder_cli.base.errors import CannotBe, NotFound, OutcomeUnknown
from qoder_cli.base.model import Resource, text
from qoder_cli.base.times import unix
from qoder_cli.http.change import Sent, object_write
from qoder_cli.http.write import Write
from qoder_cli.nouns.edits.thing import ONCE, Raw, Target, read

_SECOND = 1.0  # to which the server's clock is known, and its timestamps are rounded down


class Change(NamedTuple):
    """What can be done to a thing, in words, and its state afterwards."""

    verb: str
    doing: str
    participle: str
    method: str
    path: str  # behind that of the thing
    state: str
    body: Raw | None = None
    shows: Callable[[Raw], bool] | None = None  # whether a thing is so
    reads: Callable[[Raw], bool] | None = None  # the same, of what is read back
    can_be_undone: bool = False  # by somebody else, before a lost answer is settled

    def is_so(self, target: Target, raw: Raw) -> bool:
        """Return whether an object is this thing, changed as wanted."""
        is_changed = bool(raw.get(f"{self.state}_at")) or self.state in (raw.get("status"), raw.get("state"))
        return target.is_it(raw) and (self.shows(raw) if self.shows else is_changed)


def _is_deleted(raw: Raw) -> bool:
    return str(raw.get("type")).endswith("_deleted")


ARCHIVE = Change("archive", "archiving", "archived", "POST", "/archive", "archived")
DELETE = Change("delete", "deleting", "deleted", "DELETE", "", "deleted", shows=_is_deleted)


def writing(
    app: App, target: Target, doing: str, body: Raw | None = None, *, below: str = "", method: str = "POST", **how: Any
) -> Write[Resource]:
    """Return the write that may be repeated of a thing, or `below` it; `how` is passed to `object_write`."""
    sent, look = Sent(method, target.path + below, body), app.looking(*target.look)
    return object_write(app.client, sent, what=f"{doing} {target.id}", look=look, repeatable=True, **how)


def ending(app: App, target: Target, change: Change) -> Write[Resource]:
    """Return the write that changes one thing."""
    began = 0.0  # when the newest attempt was prepared, on the monotonic clock

    def note_attempt() -> None:
        nonlocal began
        began = app.clock.monotonic()

    def find() -> Resource | None:
        try:
            found = read(app, target, **ONCE)
        except NotFound as error:
            if change is DELETE and error.enveloped:
                return Resource({"id": target.id, "type": "deleted"})
            raise
        if found.get("archived_at") and change not in (ARCHIVE, DELETE):
            message = f"{target.id} was archived on {found['archived_at']}, so it cannot be {change.participle}"
            raise CannotBe(message, hint="create another; archiving cannot be undone")
        is_so = change.is_so(target, found) and (change.reads is None or change.reads(found))
        if is_so or not change.can_be_undone:
            if is_so:
                return Resource(found)
            return None
        asked, written = app.client.on_server_clock(began), unix(found.get("updated_at"))
        if asked is not None and written is not None and written >= asked - _SECOND:
            message = f"{target.id} was written to in the meantime, and it is {text(found.get('status'))}"
            if written <= asked + _SECOND:
                raise OutcomeUnknown(message)
            message = f"{message}: someone else changed it; it was not {change.participle} again"
            raise CannotBe(message, hint="if that is not meant, try again")
        return None

    return writing(
        app,
        target,
        change.doing,
        change.body,
        below=change.path + target.query,
        method=change.method,
        shows=lambda found: change.is_so(target, found.raw),
        find=find,
        at_attempt=note_attempt,
    )


def changed(app: App, target: Target, change: Change, write: Write[Resource]) -> Resource:
    """Send a change and return the thing as it is then. Say so if it was so before, or had to be read back."""
    written = write.send()
    if written.how == "already":
        app.progress.note(f"{target.id} is already {change.state}")
    elif written.how == "settled":
        app.progress.note(f"{target.id} is {change.state} (confirmed by reading it back)")
    return written.value
