"""One step: a thing as it was read, as it is wanted, what differs, what would be sent; and its result.

A step and its result are values. While a step is done, its `Job` knows how far it has come, also at a signal.
"""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, TypedDict

from qoder_cli.app import App
from qoder_cli.base import jsontext
from qoder_cli.base.errors import ApiError, ErrorData, InternalError, NotFound, OutcomeUnknown, QoderError, Rejected
from qoder_cli.base.ids import called
from qoder_cli.base.marks import without_ours
from qoder_cli.base.model import Raw, Resource, mapping, open_shape
from qoder_cli.base.polling import poll
from qoder_cli.base.times import unix
from qoder_cli.base.tokens import without_tokens
from qoder_cli.base.words import few
from qoder_cli.http.pace import Closed, Pace
from qoder_cli.http.readback import Part
from qoder_cli.http.write import Journal, Write
from qoder_cli.nouns.edits.create import creating
from qoder_cli.nouns.edits.difference import (
    ChangeData,
    FieldChange,
    Form,
    Secrets,
    difference,
    differing,
    lines_of,
    missing,
    same,
)
from qoder_cli.nouns.edits.thing import Target, archived, read, target_of
from qoder_cli.nouns.edits.update import Overtaken, Update
from qoder_cli.nouns.edits.verbs import BY_VERB, ending
from qoder_cli.nouns.named import alive
from qoder_cli.nouns.noun import Noun
from qoder_cli.nouns.shown import name_of
from qoder_cli.nouns.table import operation, words_of
from qoder_cli.output.cells import Fields, Id, Name, Status
from qoder_cli.output.results import Result

FIRST = ("name", "action", "changes", "error", "file", "id")  # what matters most first
_LAG = (0.5, 0.5, 1.0, 2.0)  # seconds between two looks at a replica that lags

Action = Literal[
    "created",
    "changed",
    "unchanged",
    "archived",
    "deleted",
    "would_create",
    "would_change",
    "would_archive",
    "would_delete",
    "failed",
    "unknown",
    "not_attempted",
]
_DONE: dict[str, Action] = {"archive": "archived", "delete": "deleted"}
_WOULD: dict[str, Action] = {"archive": "would_archive", "delete": "would_delete"}


class Send(NamedTuple):
    """One request of a step."""

    verb: str  # create, update, or one of `verbs.BY_VERB`
    body: Raw
    files: Sequence[Part] = ()  # then it is a form
    zipped: Callable[[], Part] | None = None  # the same files in one, for a server that asks for that
    make: Callable[[App, Raw, Sequence[Part]], Write[Resource]] | None = None  # what sends it, where that is its own


class Origin(NamedTuple):
    """What declares a step: a line of a file, or what was typed."""

    name: str = ""
    file: str = ""
    line: int = 0
    secrets: Secrets = Secrets()
    again: Sequence[str] | None = None  # the command to type once more

    @property
    def place(self) -> str | None:
        if self.file and self.line:
            return f"{self.file}:{self.line}"
        return self.file or None


_UNNAMED = Origin()


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """One thing, and what to do about it."""

    noun: Noun
    form: Form
    wanted: Raw  # the fields that it is to have; metadata whole
    current: Raw | None = None  # as it was read; None to create it
    parents: tuple[str, ...] = ()
    changes: Sequence[FieldChange] = ()
    sends: Sequence[Send] = ()
    origin: Origin = _UNNAMED
    error: QoderError | None = None  # why it cannot be done

    @property
    def target(self) -> Target:
        """What is there already."""
        assert self.current is not None  # asked only for what is there
        return target_of(self.noun, *self.parents, str(self.current["id"]))

    @property
    def before(self) -> Raw:
        """It as it was read; empty for a new one."""
        return self.current or {}

    @property
    def name(self) -> str:
        return self.origin.name or name_of(self.before) or name_of(self.wanted) or f"the {self.noun.called}"

    @property
    def label(self) -> str:
        """Its name, with its id if it has one."""
        if self.current is None:
            return self.name
        return called(name_of(self.current) or self.target.id, self.target.id)

    @property
    def body(self) -> Raw:
        """The fields that it sends, of all its requests."""
        return {name: value for send in self.sends for name, value in send.body.items()}

    @property
    def done(self) -> Action:
        """What became of it once all is sent."""
        verb = self.sends[-1].verb if self.sends else ""
        return _DONE.get(verb, "changed" if self.current else "created")

    @property
    def is_open(self) -> bool:
        return self.error is None and bool(self.sends)

    @property
    def is_shown(self) -> bool:
        """Whether a thing shows the changes: secrets are never shown."""
        return any(not change.is_secret for change in self.changes)

    def differs(self, raw: Raw) -> list[FieldChange]:
        """Return what is not as wanted; a version left open never differs."""
        return list(differing(self.form, self.form.normal(self.wanted), self.form.settable(raw)))

    def lines(self) -> list[str]:
        """Return its changes, as people read them."""
        return [line for change in self.changes for line in lines_of(change, self.origin.secrets)]

    def sending(self, body: Raw) -> "Step":
        """Return it with the one request that sends a body: the creation, or the change of what can be changed."""
        if self.current is None:
            return replace(self, sends=(Send("create", body),))
        updated, version = operation(self.noun, "update"), self.current.get("version")
        if updated is None:
            return replace(self, sends=())
        if "version" in updated.body and version is not None:
            body = {**body, "version": version}
        return replace(self, sends=(Send("update", body),))

    def with_(self, **changes: Any) -> "Step":
        return replace(self, **changes)


def planned(step: Step) -> Step:
    """Return a step with what differs, and the request that makes it so."""
    current = {} if step.current is None else step.form.settable(step.current)
    body, changes = difference(step.form, step.wanted, current)
    if step.current is None:
        return replace(step, changes=changes).sending(step.wanted)
    if not changes:
        return step
    return replace(step, changes=changes).sending(body)


class OfStack(TypedDict, total=False):
    """What a stack says of a thing besides."""

    kind: Annotated[str, "what it is, with `apply` and `diff`"]
    file: Annotated[str | None, "the file that declares it, or null"]
    version: Annotated[Any, "its version, if it has one"]
    remarks: Annotated[list[str], "what a reader of the plan should know"]


class Done(TypedDict):
    """What was done with a thing, or would be."""

    error: NotRequired[Annotated[ErrorData, "the error, if it failed"]]
    action: Annotated[
        Action, "created, changed, unchanged, archived, deleted, the same with would_, failed, not_attempted or unknown"
    ]
    changes: Annotated[list[ChangeData], "what differs: objects with path, before and after"]
    input: Annotated[str | None, "file and line; null for what was typed"]
    exit_code: Annotated[int | None, "exit code of this item; null if it was not attempted"]


@open_shape
class AppliedData(OfStack, Done):
    """A thing of the API, every field of it but secrets, and what was done with it."""

    id: Annotated[str | None, "its id, null while there is none"]
    name: NotRequired[Annotated[Any, "its name"]]


@dataclass(frozen=True, kw_only=True)
class Applied(Result[Resource]):
    """The result of a step; `found` is the thing as last known."""

    step: Step
    action: Action
    of_stack: OfStack = field(default_factory=OfStack)

    @property
    def label(self) -> str:
        """Its name, with its id if it has one."""
        if self.found:
            return f"{self.step.name} ({self.found.id})"
        return self.step.name

    @property
    def became(self) -> str:
        return self.action.replace("_", " ")

    @property
    def is_fine(self) -> bool:
        """Whether a thing is known and no write of it went wrong."""
        return self.found is not None and self.action not in ("failed", "unknown", "not_attempted")

    def as_json(self) -> Raw:
        """Return its JSON: the thing, if any, and what was done."""
        secrets = self.step.origin.secrets
        shown: Raw = {"id": None, "name": without_tokens(self.step.name)}
        if self.found is not None:
            shown = secrets.out_of(self.found.as_json())
        done: Done = {
            "action": self.action,
            "changes": [change.hidden(secrets).as_json() for change in self.step.changes],
            "input": self.step.origin.place,
            "exit_code": self.exit_code,
        }
        if self.error is not None:
            done = {"error": self.error.as_json(), **done}
        return {**shown, **done, **self.of_stack}

    def row(self) -> Fields:
        return {
            "name": Name(self.step.name if self.found else without_tokens(self.step.name)),
            "id": self.found and Id(self.found.id),
            "action": Status(self.action),
            "changes": ", ".join(dict.fromkeys(change.field for change in self.step.changes)) or None,
            "file": self.step.origin.place,
            "error": self.error and self.error.type_name,
        }


def result_of(step: Step, action: Action, written: Raw | None = None, error: QoderError | None = None) -> Applied:
    """Return a step's result."""
    resource = None
    if raw := written or step.current:
        resource = Resource(raw)
    word = step.origin.place or step.name
    return Applied(word, resource, error, action != "not_attempted", step=step, action=action)


def without_writing(step: Step) -> Applied:
    """Return the result without a write: unchanged, failed, or what it would do."""
    if step.error is not None:
        return result_of(step, "failed", error=step.error)
    if not step.is_open:
        return result_of(step, "unchanged")
    if step.current is None:
        return result_of(step, "would_create")
    return result_of(step, _WOULD.get(step.sends[-1].verb, "would_change"))


def _otherwise(form: Form, body: Raw, raw: Raw) -> set[str]:
    """Return the fields of a body that a thing does not show as they were sent."""
    return {change.field for change in missing(form, body, raw)}


def as_stored(app: App, noun: Noun, form: Form, sent: Raw, answer: Raw, *parents: str) -> Raw:
    """Warn of what a server does not show as it was sent. Return the answer; the thing where it is short."""
    body: Raw = jsontext.parse(app.client.hide(jsontext.dump(sent)))  # an answer shows no token of ours
    if "metadata" in body:
        body["metadata"] = without_ours(mapping(body["metadata"]))
    others = _otherwise(form, body, answer)
    if unshown := others - answer.keys():
        others -= unshown
        with suppress(ApiError):
            answer = read(app.client, target_of(noun, *parents, str(answer["id"])), fresh=True)
            others = _otherwise(form, body, answer)
    if other := ", ".join(sorted(others)):
        app.progress.warn(f"{answer['id']}: the server does not show {other} as it was sent")
    return answer


class Job:
    """The doing of one step: which of its requests is under way, and how the thing is as far as that is known."""

    def __init__(
        self, app: App, step: Step, pace: Pace | None = None, *, at_send: Callable[[], None] = lambda: None
    ) -> None:
        self.app, self.step, self.pace = app, step, pace
        self.at_send = at_send  # called right before a request is sent
        self.write: Write[Resource] | None = None  # the newest, of the request that is `sending`
        self.sending: Send | None = None
        self.found = step.current
        self.left = list(step.sends)  # that are not done

    def do(self) -> Applied:
        """Send what the step sends, and look what became of it. Raises only Closed, Signalled."""
        step = self.step
        if not step.is_open:
            return without_writing(step)
        try:
            if step.current is not None and step.form.is_read_first:
                self._look_again()
                if not self.left:
                    return result_of(step, "unchanged", self.found)
            while self.left:
                self._send(self.left[0])
                self.left.pop(0)
            answer = self.found or {}
            if step.done in _DONE.values():
                return result_of(step, step.done, answer)
            if step.form.is_read_back:
                return self._verified(answer)
            self._heed_others(answer)
            stored = as_stored(self.app, step.noun, step.form, step.body, answer, *step.parents)
            return result_of(step, step.done, stored)
        except Closed:
            raise
        except QoderError as error:
            return self._failed(self._explained(error))
        except Exception as error:  # a bug must not leave its step open for ever
            why = f"a bug in qoder: {type(error).__name__}: {error}"
            if self.write is not None and self.write.may_have_acted:
                return self._failed(self.write.unknown(why))
            return self._failed(InternalError(why))

    def given_up(self) -> Applied:
        """Return what is known of it once it was stopped, maybe between two of its requests."""
        step, write, left, found = self.step, self.write, [*self.left], self.found
        if not step.is_open:
            return without_writing(step)
        if left and write is not None and self.sending is left[0] and write.is_open_or_done:
            if write.result is None:
                return self._failed(write.unknown("interrupted before it was confirmed"))
            found = self._after(left.pop(0), write.result.value.raw)
        if not left:
            return result_of(step, step.done, found)
        if len(left) == len(step.sends):
            return result_of(step, "not_attempted")
        label = called(step.name, str((found or {}).get("id")))
        begun = "created" if step.current is None else "changed"
        stopped = Rejected(f"{label} was {begun}, but is not yet as the file says", hint="apply again")
        return result_of(step, "failed", found, stopped)

    @property
    def has_sent(self) -> bool:
        """Whether one of several requests is done."""
        return len(self.left) < len(self.step.sends)

    def _failed(self, error: QoderError) -> Applied:
        action: Action = "unknown" if isinstance(error, OutcomeUnknown) else "failed"
        return result_of(self.step, action, self.found, error)

    # Its requests.

    def _send(self, send: Send) -> None:
        step = self.step
        if self.has_sent and send.verb == "update":  # a pause has changed its time
            before, id = self.found or {}, str((self.found or {})["id"])
            target = target_of(step.noun, *step.parents, id)
            self.found = now = self._once_known(
                partial(read, self.app.client, target, fresh=True, params=step.form.params)
            )
            if step.current is not None:
                self._refuse_others(before, now, "not all was sent")
        try:
            raw = self._once_known(partial(self._sent, send, send.files))
        except Rejected as error:
            if send.zipped is None or error.http_status != 400 or not re.search(r"\bfiles?\b", error.message):
                raise
            self.app.progress.note("the API takes only a zip; sending one")
            raw = self._sent(send, [send.zipped()])
        self.found = self._after(send, raw)

    def _once_known(self, ask: Callable[[], Raw]) -> Raw:
        """Return what is answered once a replica that lags knows the thing that was just created. Raises QoderError."""
        is_new = self.has_sent and self.step.current is None
        return poll(ask, self.app.clock, pauses=_LAG, may_pass=lambda error: is_new and isinstance(error, NotFound))

    def _after(self, send: Send, raw: Raw) -> Raw:
        """Return the thing as the answer to a request shows it; only that of a create or an update shows all of it."""
        if send.verb in ("create", "update"):
            return raw
        return {**(self.found or {}), **raw}

    def _sent(self, send: Send, files: Sequence[Part]) -> Raw:
        app, step = self.app, self.step
        if send.verb == "create":
            write = creating(app, step.noun, send.body, *step.parents, files=files, what=f"creating {step.name}")
        else:
            assert self.found is not None  # it was there, or was created by the request before
            target = target_of(step.noun, *step.parents, str(self.found["id"]))
            if send.verb == "update":
                write = self._update(send.body, self.found).write(what=f"changing {target.id}")
            elif send.make is not None:
                write = send.make(app, self.found, files)
            else:
                write = ending(app, target, BY_VERB[send.verb])
        self.write, self.sending = write, send
        write.pace, write.journal = self.pace, Journal(begin=self.at_send)
        return write.send().value.raw

    def _update(self, body: Raw, before: Raw) -> Update:
        step, target = self.step, target_of(self.step.noun, *self.step.parents, str(before["id"]))
        return Update(self.app, target, before, body, step.form, is_shown=step.is_shown)

    def _look_again(self) -> None:
        """Read a thing once more, right before it is changed. What somebody else did already is not left to be done.

        Raises Rejected, after showing it, if they changed something else; ApiError.
        """
        step, app = self.step, self.app
        self.found = now = read(app.client, step.target, params=step.form.params, fresh=True)
        if error := archived(step.target, now):
            raise error
        body = next((send.body for send in step.sends if send.verb == "update"), None)
        if body is None or step.differs(now) or not self._update(body, step.before).is_so(now):
            return self._refuse_others(step.before, now, "nothing was sent")
        app.progress.note(f"{step.label} was already changed as requested, by someone else")
        self.left = [send for send in self.left if send.verb != "update"]

    def _refuse_others(self, before: Raw, now: Raw, what: str) -> None:
        """Raise Rejected, after showing it, if somebody else changed what can be set."""
        step, settable = self.step, self.step.form.settable
        if same(step.form, settable(now), settable(before)):
            return
        self._show_theirs(before, now)
        raise Rejected(
            f"{step.target.called} was changed by someone else in the meantime; {what}",
            hint="check the new differences and try again",
        )

    # What became of it.

    def _verified(self, written: Raw) -> Applied:
        step, app = self.step, self.app
        assert self.write is not None  # it was sent
        try:
            current = poll(
                partial(read, app.client, target_of(step.noun, *step.parents, str(written["id"]))),
                app.clock,
                pauses=_LAG,
                is_enough=lambda current: not step.differs(current) or self._shows_otherwise(written),
                may_pass=lambda error: isinstance(error, NotFound),
            )
        except ApiError as unread:
            why = f"could not be read back: {unread.message}"
            if step.current is not None and step.differs(written):
                raise self.write.unknown(f"the response does not show it, and it {why}") from unread
            app.progress.warn(f"{step.name} ({written['id']}) was {step.done}, but {why}")
            return result_of(step, step.done, written)
        kept = [change.path for change in step.differs(current)]
        if not kept:
            self._heed_others(current)
            return result_of(step, step.done, current)
        what, hint = "reading it back still shows something else", "check again later"
        if self._shows_otherwise(written):  # else it may be a replica that lags
            what, hint = "the server stored something else", "compare it with what you wanted"
        elif (unix(current.get("updated_at")) or 0.0) > (unix(written.get("updated_at")) or float("inf")):
            self._show_theirs(written, current)
            what, hint = "someone else has changed it since", "compare, then run it again"
        error = Rejected(
            f"{step.name} ({current['id']}) was {step.done}, but {what}: {', '.join(kept[:5])}",
            hint=hint,
            next=app.looking(*words_of(step.noun, "get", *step.parents, str(current["id"]))),
        )
        return result_of(step, step.done, current, error)

    def _shows_otherwise(self, written: Raw) -> bool:
        """Return whether the response to a write shows the thing, not as wanted; it may show no more than the id."""
        return name_of(written) is not None and bool(self.step.differs(written))

    def _explained(self, error: QoderError) -> QoderError:
        """Return the error of a request with what is known of why, after showing what somebody else changed."""
        step, app = self.step, self.app
        if isinstance(error, Overtaken):
            self._show_theirs(step.before, error.theirs)
            return error
        if not isinstance(error, Rejected | NotFound) or not error.http_status:
            return error
        with suppress(ApiError):
            if error.http_status == 409 and "version" in step.body:
                return self._stale(error)
            if error.http_status == 409 and step.current is None and step.noun.naming.has_name:
                rows = alive(app.client, step.noun, *step.parents, fresh=True)
                if taken := few([str(row["id"]) for row in rows if name_of(row) == step.name]):
                    return error.with_(message=f"{error.message.rstrip('.')}; the name is that of {taken}")
        if step.current is not None and step.noun.kind.refused:
            delete = words_of(step.noun, "delete", *step.parents, step.target.id, "--yes")
            return error.with_(hint=step.noun.kind.refused, next=app.command(*delete))
        return error

    def _stale(self, error: QoderError) -> QoderError:
        """Show what somebody else changed, and return the error of a write that was refused for its version."""
        step = self.step
        newer, was = read(self.app.client, step.target), step.body["version"]
        if newer.get("version") == was:
            return error
        self._show_theirs(step.before, newer)
        message = f"{step.target.id} was changed by someone else in the meantime"
        return error.with_(
            message=f"{message} (version {was} was read, {newer.get('version')} is there); nothing was changed",
            hint="check that change, then run it again",
            next=step.origin.again and list(step.origin.again),
        )

    # What others did.

    def _heed_others(self, current: Raw) -> None:
        """Show what somebody else changed while a thing was changed here, where no version protects it."""
        step = self.step
        if step.current is None or "version" in step.body or all(send.verb != "update" for send in step.sends):
            return
        update = self._update(step.body, step.before)
        now, before = update.rest(current), update.rest(step.current)
        shown = {name: value for name, value in now.items() if name in current}  # an answer may be short
        if changes := list(differing(step.form, shown, before)):
            self._note_theirs(changes)

    def _show_theirs(self, before: Raw, theirs: Raw) -> None:
        """Show what somebody else changed of what can be set."""
        form = self.step.form
        self._note_theirs(list(differing(form, form.settable(theirs), form.settable(before))))

    def _note_theirs(self, changes: Sequence[FieldChange]) -> None:
        lines = [f"  {line}" for change in changes for line in lines_of(change, self.step.origin.secrets)]
        self.app.progress.note(f"what someone else changed in {self.step.label}:", always=True)
        for line in lines or ["  nothing that shows"]:
            self.app.progress.note(line, always=True)
