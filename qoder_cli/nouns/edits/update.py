"""Changing a thing, and never over what somebody else wrote in the meantime.

A lost answer is settled by reading the thing back. It is sent again, also where nothing can have happened, only
while the thing is still exactly as it was before; what somebody else wrote is kept for the error, whatever else is
read afterwards. Where nothing shows a change, as of a secret, our mark in its metadata does.
"""

import uuid
from dataclasses import dataclass, field

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, CannotBe, NoResponse, OutcomeUnknown
from qoder_cli.base.marks import KEY, has_room
from qoder_cli.base.model import Raw, Resource, mapping, text
from qoder_cli.base.times import unix
from qoder_cli.http.readback import Sent, object_write
from qoder_cli.http.write import Meaning, Write
from qoder_cli.nouns.edits.difference import CONDITIONS, Form, missing, same
from qoder_cli.nouns.edits.thing import ONCE, Target, archived, mark_in, read

_MARKS = ("version", "updated_at")  # what tells one state of a thing from another


class Overtaken(CannotBe):
    """Somebody else wrote in the meantime. `theirs` is the thing as they left it, `now` as it was read last."""

    theirs: Raw
    now: Raw


@dataclass(eq=False, repr=False)
class Update:
    """The change of one thing that was read `before`, by a body. Where nothing shows it, it is not `is_shown`."""

    app: App
    target: Target
    before: Raw
    body: Raw
    form: Form
    is_shown: bool = field(default=True, kw_only=True)
    is_read: bool = field(default=True, init=False)  # since the attempt before
    _theirs: Raw | None = field(default=None, init=False)
    _now: Raw = field(default_factory=dict, init=False)

    def write(self, *, what: str = "") -> Write[Resource]:
        """Return the write. It raises Overtaken, other QoderErrors; a stale `version` is a 409."""
        metadata = mapping(self.body.get("metadata"))
        is_markable = "metadata" in self.form.settable(self.before)
        if not self.is_shown and is_markable and has_room({**mapping(self.before.get("metadata")), **metadata}):
            self.body = {**self.body, "metadata": {**metadata, KEY: str(uuid.uuid4())}}
        write = object_write(
            self.app.client,
            Sent("POST", self.target.path, self.body),
            what=what or f"updating {self.target.id}",
            shows=self._is_answer,
            find=self._find,
            look=self.app.looking(*self.target.look),
            repeatable=True,
            at_attempt=self._look_again,
        )
        read_back = write.recovery

        def settle(error: ApiError, meaning: Meaning) -> Resource | None:
            settled = read_back.settle(error, meaning)
            self._heed(error)
            return settled

        def already(error: ApiError, write: Write[Resource]) -> Resource | None:
            settled = read_back.already(error, write)
            if write.may_have_acted:
                self._heed(error)
            return settled

        # A second is too coarse to say of a change that does not show that it was not made.
        write.recovery = read_back._replace(settle=settle, already=already, can_rule_out=self.is_shown)
        return write

    def _is_answer(self, resource: Resource) -> bool:
        """Return whether an answer is that of the change: by its version, a later time, or what it shows."""
        raw = resource.raw
        if not self.target.is_it(raw):
            return False
        if self.form.is_read_back or not self.is_shown:
            return True
        steps = self._steps(raw)
        was, now = unix(self.before.get("updated_at")), unix(raw.get("updated_at"))
        is_later = was is not None and now is not None and now > was
        is_next = steps == 1 or (steps is None and is_later)
        return (is_next and not self.form.is_exact) or self.is_so(raw)

    def _look_again(self) -> None:
        """Before an attempt, look whether it may be written over: one that was put off may have taken a minute.

        Raises Overtaken, ApiError. A server refuses by itself what says what it may replace.
        """
        is_read, self.is_read = self.is_read, False
        if is_read or any(name in self.body for name in CONDITIONS):
            return
        self._now = raw = read(self.app.client, self.target, params=self.form.params, fresh=True)
        is_same = same(self.form, self.form.settable(raw), self.form.settable(self.before))
        is_still = self._steps(raw) in (None, 0) and (self.is_shown or not self._has_moved(raw))
        if not self.is_so(raw) and not (is_same and is_still):
            self._theirs = raw
            raise self._overtaken(raw)

    def _find(self) -> Resource | None:
        """Read it; return it if our change is there, and nothing else."""
        self._now = raw = read(self.app.client, self.target, params=self.form.params, **ONCE)
        if error := archived(self.target, raw):
            raise error
        is_so, steps = self.is_so(raw), self._steps(raw)
        has_rest = same(self.form, self.rest(raw), self.rest(self.before)) and steps in (None, 0, 1)
        if is_so and has_rest:
            return Resource(raw)
        if self._is_as_before(raw):
            self.is_read = True
            return None
        if any(self.before.get(name) is not None and raw.get(name) is None for name in _MARKS):
            raise NoResponse(f"the response does not show which version of {self.target.id} it is")
        if not self.is_shown and has_rest and not self._is_marked_by_others(raw):
            raise OutcomeUnknown("it was written to, and nothing shows by whom")
        self._theirs = self._theirs or raw
        if is_so:
            raise self._overtaken(self._theirs)
        return None

    def _heed(self, error: ApiError) -> None:
        if self._theirs is not None:
            raise self._overtaken(self._theirs).with_(
                http_status=error.http_status, request_id=error.request_id
            ) from error

    def _overtaken(self, theirs: Raw) -> Overtaken:
        id, ours = self.target.id, "our change was not seen, and not sent again"
        if self.is_so(self._now):
            ours = "our change is there, too"
            if not self.is_so(theirs):
                ours = "our change came late, and has replaced that"
        error = Overtaken(
            f"someone else changed {id} in the meantime; {ours}",
            hint="compare, then run it again",
            next=self.app.looking(*self.target.look),
        )
        return error.with_(theirs=theirs, now=self._now)

    def is_so(self, raw: Raw) -> bool:
        """Return whether it shows the change, and that what the change takes away is gone."""
        if not self.is_shown:
            mark = mark_in(self.body)
            return mark is not None and mark_in(raw) == mark
        if not self.target.is_it(raw) or any(missing(self.form, self.body, raw)):
            return False
        before, now = self.form.settable(self.before), self.form.settable(raw)
        sent = self.form.normal(self.body)
        return not any(same(self.form, {name: before.get(name)}, {name: now.get(name)}) for name in sent)

    def _is_as_before(self, raw: Raw) -> bool:
        """Return whether nobody has written to it, as far as it shows."""
        is_same = same(self.form, self.form.settable(raw), self.form.settable(self.before))
        is_dated = text(self.before.get("updated_at")) is not None
        is_still = self._steps(raw) in (None, 0) and not self._has_moved(raw)
        return is_same and is_still and (is_dated or self.is_shown)

    def rest(self, raw: Raw) -> Raw:
        """Return what can be set of it and this change does not touch."""
        settable = self.form.settable(raw)
        left = {name: value for name, value in settable.items() if name not in self.body}
        if "metadata" in self.body:
            set_here, kept = mapping(self.body["metadata"]), mapping(settable.get("metadata"))
            left["metadata"] = {key: value for key, value in kept.items() if key not in set_here}
        return left

    def _steps(self, raw: Raw) -> int | None:
        """Return by how many versions it is newer; None if it has none."""
        was, now = self.before.get("version"), raw.get("version")
        if isinstance(was, int) and isinstance(now, int):
            return now - was
        return None

    def _has_moved(self, raw: Raw) -> bool:
        is_dated_anew = self.before.get("updated_at") != raw.get("updated_at") and not self.form.moves
        return is_dated_anew or self._is_marked_by_others(raw)

    def _is_marked_by_others(self, raw: Raw) -> bool:
        """Return whether somebody else made a change that does not show: a date may be too coarse to say so."""
        mark = mark_in(raw)
        return not self.is_shown and mark is not None and mark not in (mark_in(self.body), mark_in(self.before))
