"""Archiving and deleting: of one thing or many, each by a write that may be repeated."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from qoder_cli.base.errors import Exit, NotFound, OutcomeUnknown, QoderError, Rejected, Signalled, UsageError
from qoder_cli.base.model import Resource, mapping
from qoder_cli.base.tokens import without_tokens
from qoder_cli.http.change import READ_WITHIN, ObjectWrite
from qoder_cli.output.cells import Fields, Status
from qoder_cli.output.results import Printed, Result, deciding_error, last_words
from qoder_cli.output.screen import inert

if TYPE_CHECKING:
    from qoder_cli.app import App


class Change(NamedTuple):
    """What can be done to a thing for good, in the words for it."""

    verb: str
    doing: str
    participle: str
    method: str
    path: str  # behind that of the thing


ARCHIVE = Change("archive", "archiving", "archived", "POST", "/archive")
DELETE = Change("delete", "deleting", "deleted", "DELETE", "")


class Target(NamedTuple):
    """One thing of the server: its path, its id (of a version, its number), what it is called, how to look at it."""

    path: str
    id: str
    called: str
    look: tuple[str, ...]  # the words of a command

    def is_it(self, raw: dict[str, Any]) -> bool:
        """Return whether an object is this thing."""
        return self.id in (raw.get("id"), str(raw.get("version")))


def read(app: "App", target: Target, **how: Any) -> dict[str, Any]:
    """Return a thing as the server shows it; `how` is that of `Client.get`.

    Raises ApiError, NotFound also for a response that is another one.
    """
    try:
        found = mapping(app.client.get(target.path, **how))
    except NotFound as error:
        raise error.about(target.called) from None
    if not target.is_it(found):
        raise NotFound(f"the response is not {target.called}")
    return found


class Ending(ObjectWrite[Resource]):
    """Archives or deletes one thing."""

    def __init__(self, app: "App", target: Target, change: Change) -> None:
        self._app, self._target, self._change = app, target, change
        super().__init__(
            app.client,
            target.path + change.path,
            method=change.method,
            parse=lambda value: Resource(mapping(value)),
            what=f"{change.doing} {target.id}",
            shows=self._is_so,
            settle=self._look_again,
            look=app.looking(*target.look),
            repeatable=True,
        )

    def _is_so(self, found: Resource) -> bool:
        if not self._target.is_it(found.raw):
            return False
        if self._change is DELETE:
            return str(found.raw.get("type")).endswith("_deleted")
        return bool(found.raw.get("archived_at"))

    def _look_again(self) -> Resource | None:
        """Return the thing if it is as it was to become. Raises ApiError."""
        try:
            found = Resource(read(self._app, self._target, within=READ_WITHIN, retry=False))
        except NotFound as error:
            if self._change is DELETE and error.enveloped:
                return Resource({"id": self._target.id, "type": "deleted"})
            raise
        return found if self._is_so(found) else None


class Changes:
    """One change of several things, one after the other; each is printed as it becomes known.

    `resolve` returns what a word names, or raises QoderError. `is_wanted` is asked about each, read first. `row` makes
    the row of a list, with these `columns`, of which the `first` get room before others; `sheet` the fields of one.
    `refused` says why the API may refuse it.
    """

    def __init__(
        self,
        app: "App",
        change: Change,
        resolve: Callable[[str], Target],
        is_wanted: Callable[[dict[str, Any]], bool] | None,
        *,
        row: Callable[[dict[str, Any]], Fields],
        sheet: Callable[[dict[str, Any]], Fields],
        columns: Sequence[str],
        first: Sequence[str],
        refused: str = "",
    ) -> None:
        self._app = app
        self._change = change
        self._resolve = resolve
        self._is_wanted = is_wanted
        self._row_of, self._sheet = row, sheet
        self._columns, self._first = columns, first
        self._refused = refused
        self._signalled: Signalled | None = None
        self._known: dict[Target, Result[Resource]] = {}

    def make(self, typed: Sequence[str], *, as_list: bool) -> int:
        """Make the change, and return 0 or raise the error that decides the exit code."""
        output = self._app.output
        if not as_list:
            result = self._result(typed[0])
            if (found := result.found) is not None and output.is_drawn:
                output.raw(f"{inert(found.id)} is {self._change.participle}\n")
            elif found is not None:
                shown: Fields = dict(found.raw) if self._change is DELETE else self._sheet(found.raw)
                output.record(shown, data=found.as_json(), id=found.id)
            results = [result]
        else:
            printed = Printed[Result[Resource]](
                output, self._app.progress, len(typed), row=self._row, first=self._first
            )
            for number, word in enumerate(typed):
                printed.put(number, self._result(word))
                if printed.broken:
                    raise printed.broken
            printed.end()
            results = printed.results
        if error := self._deciding(results):
            raise error
        return Exit.OK

    def _row(self, result: Result[Resource]) -> Fields:
        """Return the row of a list: of what is gone or failed, its id and a word in the column of the status."""
        if result.found is not None and self._change is not DELETE:
            return self._row_of(result.found.raw)
        word = self._change.participle if result.found else result.error.type_name if result.error else "not_attempted"
        id = result.found.id if result.found else without_tokens(result.typed)
        return {**dict.fromkeys(self._columns), "id": id, "status": Status(word)}

    def _result(self, word: str) -> Result[Resource]:
        """Return what became of the thing that a word names, having changed it if that is still to be done."""
        if self._signalled is not None:
            return Result(word, attempted=False)
        try:
            target = self._resolve(word)
            if target not in self._known:
                self._known[target] = Result(word, self._changed(target))
            return self._known[target].with_(typed=word)
        except QoderError as error:
            return Result(word, error=error)
        except Signalled as signalled:
            self._signalled = signalled
            return Result(word, attempted=False)

    def _changed(self, target: Target) -> Resource | None:
        progress = self._app.progress
        if self._is_wanted is not None:
            current = read(self._app, target)
            if self._change is ARCHIVE and current.get("archived_at"):
                progress.note(f"{target.id} is already archived")
                return Resource(current)
            if not self._is_wanted(current):
                raise UsageError(f"cancelled; {target.id} was not {self._change.participle}")
        progress.note(f"{self._change.doing} {target.id} {self._app.client.settings.whereabouts}")
        write = Ending(self._app, target, self._change)
        try:
            written = write.send()
        except NotFound as error:
            raise error.about(target.called) from None
        except Rejected as error:
            raise error.with_(hint=error.hint or self._refused or None) from None
        except Signalled as signalled:
            self._signalled = signalled
            if write.result is not None:
                return write.result.value
            if write.may_have_acted:
                raise write.unknown("interrupted before it was confirmed") from None
            raise
        if written.how != "answered":
            progress.note(f"{target.id} is {self._change.participle} (confirmed by reading it back)")
        return written.value

    def _deciding(self, results: Sequence[Result[Resource]]) -> QoderError | None:
        error = deciding_error(results)
        fine = sum(each.found is not None for each in results)
        so_far = f"{fine} of {len(results)} are {self._change.participle}" if len(results) > 1 else None
        if self._signalled is None:
            return error and last_words(error, so_far, error.message)
        stopped = self._signalled.in_words("stopped by a signal")
        parts = (so_far, stopped.message, error.message if error else None)
        is_unknown = isinstance(error, OutcomeUnknown)
        return last_words(stopped, *parts, is_unknown=is_unknown, next=error.next if error else None)
