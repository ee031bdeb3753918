"""Sessions as the server has them, changed one at a time: each by a write that may be repeated."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from qoder_cli.base.errors import Exit, NotFound, OutcomeUnknown, QoderError, Rejected, Signalled, UsageError
from qoder_cli.base.ids import segment
from qoder_cli.base.model import Run, mapping
from qoder_cli.base.tokens import without_tokens
from qoder_cli.http.change import READ_WITHIN, ObjectWrite
from qoder_cli.output.cells import Fields, Status
from qoder_cli.output.results import Printed, Result, deciding_error, last_words
from qoder_cli.output.screen import inert
from qoder_cli.output.views import SESSION_COLUMNS, SESSION_FIRST, session_fields, session_row

if TYPE_CHECKING:
    from qoder_cli.app import App

DELETED = "session_deleted"


def session_of(app: "App", id: str, **how: Any) -> dict[str, Any]:
    """Return a session as the server shows it; `how` is that of `Client.get`.

    Raises ApiError, NotFound also for a response that is another one.
    """
    try:
        session = mapping(app.client.get(f"/sessions/{segment(id)}", **how))
    except NotFound as error:
        raise error.about(f"session {id}") from None
    if session.get("id") != id:
        raise NotFound(f"the response is not session {id}")
    return {**session, "type": "session"}


class Change(NamedTuple):
    """What can be done to a session for good, in the words for it."""

    verb: str
    doing: str
    participle: str
    method: str
    path: str  # behind that of the session


ARCHIVE = Change("archive", "archiving", "archived", "POST", "/archive")
DELETE = Change("delete", "deleting", "deleted", "DELETE", "")


class SessionChange(ObjectWrite[Run]):
    """Archives or deletes a session."""

    def __init__(self, app: "App", id: str, change: Change) -> None:
        self._app, self._id, self._change = app, id, change
        super().__init__(
            app.client,
            f"/sessions/{segment(id)}{change.path}",
            method=change.method,
            parse=lambda value: Run(mapping(value)),
            what=f"{change.doing} {id}",
            shows=self._is_so,
            settle=self._look_again,
            look=app.looking("session", "get", id),
            repeatable=True,
        )

    def _is_so(self, found: Run) -> bool:
        if found.raw.get("id") != self._id:
            return False
        return found.raw.get("type") == DELETED if self._change is DELETE else bool(found.raw.get("archived_at"))

    def _look_again(self) -> Run | None:
        """Return the session if it is as it was to become. Raises ApiError."""
        try:
            found = Run(session_of(self._app, self._id, within=READ_WITHIN, retry=False))
        except NotFound as error:
            if self._change is DELETE and error.enveloped:
                return self._gone()
            raise
        return found if self._is_so(found) else None

    def _gone(self) -> Run:
        return Run({"id": self._id, "type": DELETED})


def update(app: "App", current: Run, body: dict[str, Any]) -> Run:
    """Change a session, and return it as it is then. Raises QoderError."""

    def shows(found: Run) -> bool:
        return found.id == current.id and not differing(found, body)

    def look_again() -> Run | None:
        found = Run(session_of(app, current.id, within=READ_WITHIN, retry=False))
        return found if shows(found) else None

    write = ObjectWrite(
        app.client,
        f"/sessions/{segment(current.id)}",
        body,
        parse=Run.read_session,
        what=f"updating {current.id}",
        shows=shows,
        settle=look_again,
        look=app.looking("session", "get", current.id),
        repeatable=True,
    )
    return write.deliver()


def differing(found: Run, body: dict[str, Any]) -> dict[str, Any]:
    """Return what of the body of an update a session does not show yet."""
    known = mapping(found.raw.get("metadata"))
    left = {name: value for name, value in body.items() if name != "metadata" and value != found.raw.get(name)}
    wanted = {key: value for key, value in body.get("metadata", {}).items() if known.get(key) != value}
    return left | ({"metadata": wanted} if wanted else {})


class Changes:
    """One change of several sessions, one after the other; each is printed as it becomes known.

    `resolve` returns the session that a word names, or raises QoderError. `is_wanted` is asked about each, read first.
    """

    def __init__(
        self, app: "App", change: Change, resolve: Callable[[str], str], is_wanted: Callable[[Run], bool] | None
    ) -> None:
        self._app = app
        self._change = change
        self._resolve = resolve
        self._is_wanted = is_wanted
        self._signalled: Signalled | None = None
        self._known: dict[str, Result[Run]] = {}  # by id

    def make(self, typed: Sequence[str], *, as_list: bool) -> int:
        """Make the change, and return 0 or raise the error that decides the exit code."""
        output = self._app.output
        if not as_list:
            result = self._result(typed[0])
            if (found := result.found) is not None and output.is_drawn:
                output.raw(f"{inert(found.id)} is {self._change.participle}\n")
            elif found is not None:
                fields: Fields = dict(found.raw) if self._change is DELETE else session_fields(found)
                output.record(fields, data=found.as_json(), id=found.id)
            results = [result]
        else:
            printed = Printed[Result[Run]](output, self._app.progress, len(typed), row=self._row, first=SESSION_FIRST)
            for number, word in enumerate(typed):
                printed.put(number, self._result(word))
                if printed.broken:
                    raise printed.broken
            printed.end()
            results = printed.results
        if error := self._deciding(results):
            raise error
        return Exit.OK

    def _row(self, result: Result[Run]) -> Fields:
        if result.found is not None and self._change is not DELETE:
            return session_row(result.found)
        word = self._change.participle if result.found else result.error.type_name if result.error else "not_attempted"
        id = result.found.id if result.found else without_tokens(result.typed)
        return {**dict.fromkeys(SESSION_COLUMNS), "id": id, "status": Status(word)}

    def _result(self, word: str) -> Result[Run]:
        """Return what became of the session that a word names, having changed it if that is still to be done."""
        if self._signalled is not None:
            return Result(word, attempted=False)
        try:
            id = self._resolve(word)
            if id not in self._known:
                self._known[id] = Result(word, self._changed(id))
            return self._known[id].with_(typed=word)
        except QoderError as error:
            return Result(word, error=error)
        except Signalled as signalled:
            self._signalled = signalled
            return Result(word, attempted=False)

    def _changed(self, id: str) -> Run | None:
        progress = self._app.progress
        if self._is_wanted is not None:
            current = Run(session_of(self._app, id))
            if self._change is ARCHIVE and current.raw.get("archived_at"):
                progress.note(f"{id} is already archived")
                return current
            if not self._is_wanted(current):
                raise UsageError(f"cancelled; {id} was not {self._change.participle}")
        progress.note(f"{self._change.doing} {id} {self._app.client.settings.whereabouts}")
        write = SessionChange(self._app, id, self._change)
        try:
            written = write.send()
        except NotFound as error:
            raise error.about(f"session {id}") from None
        except Signalled as signalled:
            self._signalled = signalled
            if write.result is not None:
                return write.result.value
            if write.may_have_acted:
                raise write.unknown("interrupted before it was confirmed") from None
            raise
        if written.how != "answered":
            progress.note(f"{id} is {self._change.participle} (confirmed by reading it back)")
        return written.value

    def _deciding(self, results: Sequence[Result[Run]]) -> QoderError | None:
        error = deciding_error(results)
        fine = sum(each.found is not None for each in results)
        so_far = f"{fine} of {len(results)} are {self._change.participle}" if len(results) > 1 else None
        if self._signalled is None:
            return error and last_words(error, so_far, error.message)
        stopped = self._signalled.in_words("stopped by a signal")
        parts = (so_far, stopped.message, error.message if error else None)
        is_unknown = isinstance(error, OutcomeUnknown)
        return last_words(stopped, *parts, is_unknown=is_unknown, next=error.next if error else None)


def refuse_archived(session: Run, what: str) -> None:
    """Raise Rejected for a session that is archived."""
    if archived := session.raw.get("archived_at"):
        raise Rejected(
            f"session {session.id} was archived on {archived}; {what}",
            hint="to start another: qoder session new",
        )
