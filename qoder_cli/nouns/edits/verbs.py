"""Archiving, deleting, pausing …: one verb done to one thing or many, by writes that may be repeated."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from qoder_cli.app import App
from qoder_cli.base.errors import (
    ApiError,
    CannotBe,
    NotFound,
    OutcomeUnknown,
    QoderError,
    Rejected,
    Signalled,
    UsageError,
)
from qoder_cli.base.ids import called
from qoder_cli.base.model import Deployment, Raw, Resource, text
from qoder_cli.base.times import unix
from qoder_cli.base.tokens import without_tokens
from qoder_cli.http.readback import Sent, object_write
from qoder_cli.http.write import Write
from qoder_cli.nouns.edits.thing import ONCE, Target, archived, read
from qoder_cli.nouns.noun import Noun
from qoder_cli.nouns.shown import name_of, row_of, sheet_of
from qoder_cli.output.cells import Fields, Status
from qoder_cli.output.data import Rows
from qoder_cli.output.results import Printed, Result, deciding_error, last_words
from qoder_cli.output.screen import inert

Named = tuple[str, Target | QoderError]  # a word, and what it names, or why nothing

_SHOWN = 3  # things that the first line names
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


def _has_state(state: str) -> Callable[[Raw], bool]:
    return lambda raw: Deployment(raw).state == state


ARCHIVE = Change("archive", "archiving", "archived", "POST", "/archive", "archived")
DELETE = Change(
    *("delete", "deleting", "deleted", "DELETE", "", "deleted"),
    shows=lambda raw: str(raw.get("type")).endswith("_deleted"),
)
PAUSE = Change("pause", "pausing", "paused", "POST", "/pause", "paused", shows=_has_state("paused"), can_be_undone=True)
UNPAUSE = Change(
    "unpause", "unpausing", "unpaused", "POST", "/unpause", "active", shows=_has_state("active"), can_be_undone=True
)
BY_VERB = {change.verb: change for change in (ARCHIVE, DELETE, PAUSE, UNPAUSE)}


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
            current = read(app.client, target, **ONCE)
        except NotFound as error:
            if change is DELETE and error.enveloped:
                return Resource({"id": target.id, "type": "deleted"})
            raise
        if change not in (ARCHIVE, DELETE) and (refused := archived(target, current)):
            raise refused
        if change.is_so(target, current) and (change.reads is None or change.reads(current)):
            return Resource(current)
        if not change.can_be_undone:
            return None
        asked, written = app.client.on_server_clock(began), unix(current.get("updated_at"))
        if asked is not None and written is not None and written >= asked - _SECOND:
            message = f"{target.id} was written to in the meantime, and it is {text(current.get('status'))}"
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
        shows=lambda current: change.is_so(target, current.raw),
        find=find,
        at_attempt=note_attempt,
    )


def _about(error: NotFound, target: Target) -> NotFound:
    if target.called in error.message:
        return error
    return error.about(target.called)


def changed(app: App, target: Target, change: Change, write: Write[Resource]) -> Resource:
    """Send a change and return the thing as it is then. Say so if it was so before, or had to be read back."""
    written = write.send()
    if written.how == "already":
        app.progress.note(f"{target.id} is already {change.state}")
    elif written.how == "settled":
        app.progress.note(f"{target.id} is {change.state} (confirmed by reading it back)")
    return written.value


@dataclass(eq=False)
class Changes:
    """One change of several things, each printed as it becomes known.

    `is_wanted` is asked about each, as read, before any is changed; `perform` changes one, and returns
    it. `refused` says why the API may refuse it.
    """

    app: App
    noun: Noun
    change: Change
    is_wanted: Callable[[Raw], bool] | None
    perform: Callable[[Target], Resource]
    refused: str = ""
    missing: Callable[[NotFound, Target], NotFound] = _about
    _signalled: Signalled | None = None
    _results: dict[Target, Result[Resource]] = field(default_factory=dict)

    def make(self, named: Sequence[Named], *, as_list: bool) -> None:
        """Make the change. Raises what decides the exit code."""
        words: dict[Target, str] = {}
        for word, target in named:
            if isinstance(target, Target):
                words.setdefault(target, word)
        if self.is_wanted is not None:
            for target in words:
                self._ask(target, self.is_wanted)
        if labels := [called(word, target.id) for target, word in words.items() if target not in self._results]:
            if len(labels) > _SHOWN:
                labels[_SHOWN:] = [f"{len(labels) - _SHOWN} more"]
            where = self.app.client.settings.whereabouts
            self.app.progress.note(f"{self.change.doing} {', '.join(labels)}{where}")
        try:
            if as_list:
                self._print(named)
            else:
                self._print_one(self._result(named[0]))
        except Signalled as signalled:  # while something was printed
            self._signalled = signalled
        if error := self._deciding(list(map(self._result, named))):
            raise error

    def _ask(self, target: Target, is_wanted: Callable[[Raw], bool]) -> None:
        try:
            current = read(self.app.client, target, fresh=True)
        except ApiError as error:
            if isinstance(error, NotFound):
                error = self.missing(error, target)
            self._results[target] = Result(target.id, error=error)
            return
        if self.change.is_so(target, current):
            self._results[target] = Result(target.id, Resource(current))
            self.app.progress.note(f"{target.id} is already {self.change.state}")
        elif not is_wanted(current):
            refused = UsageError(f"cancelled; {target.id} was not {self.change.participle}")
            self._results[target] = Result(target.id, error=refused)

    def _print(self, named: Sequence[Named]) -> None:
        is_whole = self.noun.listing.row is not None
        columns = self.noun.listing.columns if is_whole else ("id", "name", "status")
        whole, first = row_of(self.noun, columns, self.app)

        def row(result: Result[Resource]) -> Fields:
            changed, error = result.found, result.error
            if changed and is_whole and self.change is not DELETE:
                return whole(changed.raw)
            status = error.type_name if error else "not_attempted"
            shown: Fields = {"id": without_tokens(result.typed)}
            if changed:
                shown, status = {"id": changed.id, "name": name_of(changed.raw)}, self.change.participle
            shown |= dict.fromkeys(("status", "state"), Status(status))
            return {column: shown.get(column) for column in columns}

        rows = Rows(self.app.output, fields=row, data=Result[Resource].as_json, first=first, may_go=first)
        printed = Printed(rows, self.app.progress, len(named))
        for number, target in enumerate(named):
            printed.put(number, self._result(target))
            if printed.broken:
                break
        printed.end()
        if printed.broken:
            raise printed.broken

    def _print_one(self, result: Result[Resource]) -> None:
        output = self.app.output
        if (resource := result.found) is None:
            return
        if output.is_drawn:
            name = text(resource.raw.get("name"))
            self.app.out.write(f"{inert(called(name or resource.id, resource.id))} is {self.change.state}\n")
        else:
            shown: Fields = dict(resource.raw)
            if self.change is not DELETE:
                shown = sheet_of(self.noun, resource.raw, self.app)
            output.record(shown, data=resource.as_json(), id=resource.id)

    def _result(self, named: Named) -> Result[Resource]:
        """Return a thing's result, changed now if it was not yet."""
        word, target = named
        if isinstance(target, QoderError):
            return Result(word, error=target)
        if self._signalled is None and target not in self._results:
            self._results[target] = self._changed(target)
        return self._results.get(target, Result(word, attempted=False)).with_(typed=word)

    def _changed(self, target: Target) -> Result[Resource]:
        sent = len(self.app.writes)
        try:
            return Result(target.id, self.perform(target))
        except NotFound as error:
            return Result(target.id, error=self.missing(error, target))
        except QoderError as error:
            is_refused = isinstance(error, Rejected) and not error.hint
            return Result(target.id, error=error.with_(hint=self.refused or None) if is_refused else error)
        except Signalled as signalled:
            self._signalled = signalled
            for write in self.app.writes[sent:]:
                if write.result is not None:
                    return Result(target.id, write.result.value)
                if write.may_have_acted:
                    return Result(target.id, error=write.unknown("interrupted before it was confirmed"))
            return Result(target.id, attempted=False)

    def _deciding(self, results: Sequence[Result[Resource]]) -> QoderError | None:
        """Return the error that decides the exit code, and tells of all."""
        error = deciding_error(results)
        fine = sum(result.found is not None for result in results)
        so_far = f"{fine} of {len(results)} are {self.change.state}" if len(results) > 1 else None
        if self._signalled is None:
            return error and last_words(error, so_far, error.message)
        if fine and so_far is None:
            so_far = f"it is {self.change.state}"
        stopped = self._signalled.in_words("stopped by a signal")
        if not isinstance(error, OutcomeUnknown):
            return last_words(stopped, so_far, stopped.message)
        parts = (so_far, stopped.message, error.message)
        return last_words(stopped, *parts, is_unknown=True, hint=error.hint, next=error.next)
