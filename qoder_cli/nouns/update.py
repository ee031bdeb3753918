"""Changing a thing, and never over what somebody else wrote meanwhile.

A lost answer is settled by reading the thing back. It is sent again only while the thing is still exactly as it
was before; what somebody else wrote is kept for the error, whatever else is read afterwards. Where nothing shows
a change, as of a secret, our mark in its metadata does.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, CannotBe, OutcomeUnknown
from qoder_cli.base.kinds import KINDS_OF_NOUNS
from qoder_cli.base.marks import KEY, has_room, without_ours
from qoder_cli.base.model import Resource, mapping, text
from qoder_cli.http.change import READ_WITHIN, Sent, object_write
from qoder_cli.http.pace import Pace
from qoder_cli.http.write import Meaning, Write
from qoder_cli.nouns.change import Target, read
from qoder_cli.nouns.write import contains, differing, same

Body = dict[str, Any]

_CONDITIONS = ("version", "content_sha256")  # fields of a body that say what it may replace
_MOVING = (KINDS_OF_NOUNS["session"].prefix,)  # of ids of what changes by itself


class Overtaken(CannotBe):
    """Somebody else wrote meanwhile. `theirs` is the thing as they left it, `now` as it was read last."""

    theirs: Body
    now: Body


def updating(
    app: App,
    target: Target,
    body: Body,
    *,
    before: Body,
    again: Callable[[], Body],
    shows: Callable[[Body], bool],
    is_so: Callable[[Body], bool] | None,
    settable: Callable[[Body], Mapping[str, Any]],
    what: str = "",
    pace: Pace | None = None,
) -> Write[Resource]:
    """Return the write that changes one thing that was read `before`.

    `again` reads the thing once more, with one request. `shows` tells whether an answer shows the change,
    `is_so` the same of what is read back; None if nothing does. `settable` returns all that can be set of
    it, `metadata` only if that can.
    """
    mark: str | None = None
    metadata = mapping(body.get("metadata"))
    is_markable = "metadata" in settable(before) and has_room({**mapping(before.get("metadata")), **metadata})
    if is_so is None and is_markable:
        mark = str(uuid.uuid4())
        body = {**body, "metadata": {**metadata, KEY: mark}}
    others = _Others(app, target, body, before, again, is_so, settable, mark)
    write = object_write(
        app.client,
        Sent("POST", target.path, body),
        what=what or f"updating {target.id}",
        shows=lambda found: shows(found.raw),
        find=others.find,
        look=app.looking(*target.look),
        repeatable=True,
        pace=pace,
    )
    read_back = write.recovery

    def settle(error: ApiError, meaning: Meaning) -> Resource | None:
        found = read_back.settle(error, meaning)
        others.heed(error)
        return found

    def already(error: ApiError, write: Write[Resource]) -> Resource | None:
        found = read_back.already(error, write)
        if write.may_have_acted:
            others.heed(error)
        return found

    # A second is too coarse to say of a change that does not show that it was not made.
    write.recovery = read_back._replace(settle=settle, already=already, can_tell=is_so is not None)
    return write


@dataclass
class _Others:
    """What tells a change of ours from what somebody else wrote meanwhile."""

    _app: App
    _target: Target
    _body: Body
    _before: Body
    _again: Callable[[], Body]
    _shows: Callable[[Body], bool] | None
    _settable: Callable[[Body], Mapping[str, Any]]
    _mark: str | None
    _theirs: Body | None = None
    _now: Body = field(default_factory=dict)

    def find(self) -> Resource | None:
        """Read it; return it if our change is there, and nothing else."""
        self._now = raw = self._again()
        is_so, steps = self._is_so(raw), _steps(self._before, raw)
        has_rest = same(self._rest(raw), self._rest(self._before)) and steps in (None, 0, 1)
        if is_so and has_rest:
            return Resource(raw)
        if self._is_as_before(raw):
            return None
        mark = _mark_in(raw)
        is_marked = mark is not None and mark not in (self._mark, _mark_in(self._before))
        if self._shows is None and has_rest and not is_marked:
            raise OutcomeUnknown("it was written to, and nothing shows by whom")
        self._theirs = self._theirs or raw
        if is_so:
            raise self._overtaken()
        return None

    def heed(self, error: ApiError) -> None:
        """Raise the error if somebody else was seen to write."""
        if self._theirs is not None:
            raise self._overtaken().with_(http_status=error.http_status, request_id=error.request_id) from error

    def _is_so(self, raw: Body) -> bool:
        if self._shows is not None:
            return self._shows(raw)
        return self._mark is not None and _mark_in(raw) == self._mark

    def _overtaken(self) -> Overtaken:
        id, ours = self._target.id, "our change was not seen, and not sent again"
        if self._is_so(self._now):
            ours = "our change is there, too"
            if self._theirs is not self._now and self._theirs and not self._is_so(self._theirs):
                ours = "our change came late, and has replaced that"
        error = Overtaken(
            f"someone else changed {id} in the meantime; {ours}",
            hint="compare, then run it again",
            next=self._app.looking(*self._target.look),
        )
        return error.with_(theirs=self._theirs, now=self._now)

    def _is_as_before(self, raw: Body) -> bool:
        """Return whether nobody has written to it, as far as it shows."""
        is_same = same(self._settable(raw), self._settable(self._before)) and _steps(self._before, raw) in (None, 0)
        is_dated = text(self._before.get("updated_at")) is not None
        has_moved = _has_moved(self._target, self._before, raw)
        return is_same and not has_moved and (is_dated or self._shows is not None)

    def _rest(self, raw: Body) -> Any:
        """Return what can be set of it and this change leaves alone."""
        body, all = self._body, self._settable(raw)
        left = {name: value for name, value in all.items() if name not in body}
        if "metadata" in body:
            set_here, kept = mapping(body["metadata"]), mapping(all.get("metadata"))
            left["metadata"] = {key: value for key, value in kept.items() if key not in set_here}
        return left


def _is_next(target: Target, before: Body, raw: Body) -> bool:
    """Return whether an answer is of a thing that was just written to."""
    steps = _steps(before, raw)
    if steps is None:
        return _has_moved(target, before, raw)
    return steps == 1


def _has_moved(target: Target, before: Body, raw: Body) -> bool:
    return before.get("updated_at") != raw.get("updated_at") and not target.id.startswith(_MOVING)


def _steps(before: Body, raw: Body) -> int | None:
    """Return by how many versions it is newer; None if it has none."""
    was, now = before.get("version"), raw.get("version")
    if isinstance(was, int) and isinstance(now, int):
        return now - was
    return None


def _mark_in(raw: Body) -> str | None:
    return text(mapping(raw.get("metadata")).get(KEY))


def update(
    app: App,
    target: Target,
    body: Body,
    *,
    before: Body,
    fields: Sequence[str],
    shows: Callable[[Body], bool] | None = None,
    is_told: bool = True,
    **how: Any,
) -> Body:
    """Change a thing and return it as it is then.

    `before` is the thing as read, `fields` what of it can be set. `shows` tests whether an object has
    the change; by default each field is as sent. No reading shows it unless `is_told`. `how` is passed
    on to `read`. Raises QoderError: a stale `version` is a 409; Overtaken.
    """

    def is_so(raw: Body) -> bool:
        is_there = shows(raw) if shows else not differing(raw, body)
        return target.is_it(raw) and is_there and _has_gone(before, raw, body)

    def is_answered(raw: Body) -> bool:  # or by its version
        return is_so(raw) or (target.is_it(raw) and (not is_told or _is_next(target, before, raw)))

    def settable(raw: Body) -> Body:
        found = {name: raw.get(name) for name in fields if name not in _CONDITIONS}
        if "metadata" in fields:
            found["metadata"] = without_ours(mapping(raw.get("metadata")))
        return found

    write = updating(
        app,
        target,
        body,
        before=before,
        again=lambda: read(app, target, within=READ_WITHIN, retry=False, fresh=True, **how),
        shows=is_answered,
        is_so=is_so if is_told else None,
        settable=settable,
    )
    return write.deliver().raw


def _has_gone(before: Body, found: Body, body: Body) -> bool:
    """Return whether what an update takes away is gone."""
    plain = [name for name in body if name != "metadata" and name not in _CONDITIONS]
    showed = [name for name in plain if contains(before.get(name), body[name])]
    return not any(same(before.get(name), found.get(name)) for name in showed)
