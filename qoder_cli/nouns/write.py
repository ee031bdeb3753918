"""Creating and changing: settled by reading back, new things by our mark."""

import math
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from qoder_cli.app import App
from qoder_cli.base import jsontext
from qoder_cli.base.errors import OutcomeUnknown
from qoder_cli.base.model import Resource, mapping, text
from qoder_cli.base.times import unix, utc_text
from qoder_cli.http.answers import Pending
from qoder_cli.http.change import READ_WITHIN, CannotBe, ObjectWrite, ReadBack
from qoder_cli.nouns.change import Target, read, writing
from qoder_cli.nouns.shown import NAMES
from qoder_cli.nouns.table import Noun, has_id, operation, path_of, words_of

Body = dict[str, Any]
Part = tuple[str, str, bytes]  # of a form: field, file name, content

KEY = "qoder_key"  # of the metadata
SLACK = 120.0  # seconds by which more of the list is asked for
_READ_SINGLY = 20  # things listed without metadata


def target_of(noun: Noun, *ids: str) -> Target:
    """Return the thing whose id comes last, after those of its holders."""
    look = words_of(noun, "get", *ids)
    return Target(path_of(noun, *ids), ids[-1], f"{noun.called} {ids[-1]}", look)


class Form(ObjectWrite[Resource]):
    """A write that goes as a form if it has files: its fields are texts or JSON."""

    def __init__(self, *args: Any, parts: Sequence[Part] = (), **how: Any) -> None:
        super().__init__(*args, **how)
        self._parts = parts

    def request(self) -> Pending:
        if not self._parts:
            return super().request()
        from qoder_cli.http.client import multipart

        texts = {name: [text(value) or jsontext.dump(value)] for name, value in (self.sent.body or {}).items()}
        content, form = multipart(texts, self._parts)
        headers = {"content-type": form, "idempotency-key": self.key}
        return self.client.prepare(self.sent.method, self.sent.path, content=content, headers=headers)


class Create(Form):
    """Creates a thing, once; with `files`, as a form.

    A key of ours in its metadata settles a lost answer: the list shows it, or the things do.
    What has no metadata cannot be told from someone else's.
    """

    def __init__(self, app: App, noun: Noun, body: Body, *held_by: str, files: Sequence[Part] = ()) -> None:
        self._app, self._noun, self._held_by = app, noun, held_by
        self._mark = str(uuid.uuid4())
        self._began = app.clock.monotonic()
        made = operation(noun, "create") or operation(noun, "upload")
        self._is_marked = made is not None and "metadata" in made.body
        if self._is_marked:
            body = {**body, "metadata": {**body.get("metadata", {}), KEY: self._mark}}
        super().__init__(
            app.client,
            path_of(noun, *held_by),
            body,
            parts=files,
            parse=lambda value: Resource(mapping(value)) if text(mapping(value).get("id")) else None,
            what=f"creating the {noun.called}",
            shows=self._is_ours,
            settle=self._find,
            look=app.looking(*words_of(noun, "list", *held_by)),
        )

    def request(self) -> Pending:
        """Prepare an attempt."""
        self._began = self.client.clock.monotonic()
        return super().request()

    def _is_ours(self, found: Resource) -> bool:
        """Return whether an answer may be it: by kind, mark and name."""
        sent, raw, noun = self.sent.body or {}, found.raw, self._noun
        marks = {KEY: self._mark} if self._is_marked else {}
        told = {key: (text(raw.get(key)), text(sent.get(key))) for key in ("path", *NAMES)}
        told |= {key: (text(mapping(raw.get("metadata")).get(key)), mark) for key, mark in marks.items()}
        is_other = any(has and had and has.strip() != had.strip() for has, had in told.values())
        return (found.id.startswith(noun.prefix) or raw.get("type") == noun.called) and not is_other

    def _find(self) -> Resource | None:
        """Return the one with our mark. Raises OutcomeUnknown if nobody can tell."""
        if not self._is_marked:
            raise OutcomeUnknown(f"nothing marks a {self._noun.called} as ours")
        since = self.client.on_server_clock(self._began)
        listed = operation(self._noun, "list")
        query: dict[str, str] = {}
        if since is not None and listed is not None and "created_at[gte]" in listed.query:
            query["created_at[gte]"] = utc_text(datetime.fromtimestamp(since - SLACK, UTC))
        reading = ReadBack(self.client, path_of(self._noun, *self._held_by), query)
        silent = []  # those listed without metadata
        for row in reading.rows(lambda: self.client.on_server_clock(self._began)):
            if mapping(row.get("metadata")).get(KEY) == self._mark:
                if not has_id(self._noun, row):
                    raise OutcomeUnknown(f"the list shows it without the id of a {self._noun.called}")
                return Resource(row)
            created = unix(row.get("created_at"))
            is_older = since and created and created < math.floor(since) - 1
            if not isinstance(row.get("metadata"), dict) and has_id(self._noun, row) and not is_older:
                silent.append(str(row["id"]))
        for id in silent[:_READ_SINGLY]:
            target = target_of(self._noun, *self._held_by, id)
            found = read(self._app, target, within=READ_WITHIN, retry=False)
            if mapping(found.get("metadata")).get(KEY) == self._mark:
                return Resource(found)
        if len(silent) > _READ_SINGLY or not reading.is_whole:
            raise OutcomeUnknown(f"the list of {self._noun.plural} could not be read back to the attempt")
        return None


def update(
    app: App,
    target: Target,
    body: Body,
    *,
    shows: Callable[[Body], bool] | None = None,
    before: Body | None = None,
    is_told: bool = True,
) -> Body:
    """Change a thing and return it as it is then.

    `shows` tests whether an object has the change; by default each field is as sent. With
    `before`, the thing as read, someone else's change is told apart and never overwritten;
    without, repeating it must do no harm. Nothing is read back unless `is_told`. Raises
    QoderError: a stale `version` is a 409.
    """

    def is_so(raw: Body) -> bool:
        is_there = shows(raw) if shows else not differing(raw, body)
        return target.is_it(raw) and is_there and (before is None or _has_gone(before, raw, body))

    def is_answered(found: Resource) -> bool:  # or by its version
        return is_so(found.raw) or (target.is_it(found.raw) and _steps(before, found.raw) == 1)

    def look_again() -> Resource | None:
        found = read(app, target, within=READ_WITHIN, retry=False)
        steps = _steps(before, found)
        if is_so(found) and steps in (None, 1):
            return Resource(found)
        is_changed = any(not same(value, found.get(name)) for name, value in (before or {}).items() if name in body)
        if before is not None and (steps or is_changed):
            said = f"someone else changed {target.id} in the meantime"
            raise OutcomeUnknown(said) if write.may_have_acted else CannotBe(said)
        return None

    write = writing(app, target, "updating", body, shows=is_answered, settle=look_again if is_told else None)
    return write.deliver().raw


def _steps(before: Body | None, found: Body) -> int | None:
    """Return by how many versions a thing is newer; None if it has none."""
    was, now = (before or {}).get("version"), found.get("version")
    return now - was if isinstance(was, int) and isinstance(now, int) else None


def _has_gone(before: Body, found: Body, body: Body) -> bool:
    """Return whether what an update takes away is gone."""
    plain = [name for name in body if name not in ("metadata", "version")]
    showed = [name for name in plain if covers(before.get(name), body[name])]
    return not any(same(before.get(name), found.get(name)) for name in showed)


def differing(found: Body, body: Body) -> Body:
    """Return what of a body is not shown; metadata is merged (api/facts.md, 3.8)."""
    known = mapping(found.get("metadata"))
    left = {name: body[name] for name in body if name not in ("metadata", "version")}
    left = {name: value for name, value in left.items() if not covers(found.get(name), value)}
    wanted = {key: value for key, value in (body.get("metadata") or {}).items() if known.get(key) != value}
    return left | ({"metadata": wanted} if wanted else {})


def covers(found: Any, sent: Any) -> bool:
    """Return whether a value shows all that was sent; servers add defaults."""
    found, sent = telling(found), telling(sent)
    if isinstance(found, dict) and isinstance(sent, dict):
        return all(covers(found.get(key), value) for key, value in sent.items())
    if isinstance(found, list) and isinstance(sent, list):
        left = list(found)
        for each in sent:
            twins = [at for at, one in enumerate(left) if covers(one, each)]
            if not twins:
                return False
            del left[twins[0]]
        return not left
    if isinstance(found, dict) and isinstance(sent, str):  # a model
        return bool(found.get("id") == sent)
    if isinstance(found, str) and isinstance(sent, str):
        return found.strip() == sent.strip()
    return bool(found == sent)


def same(one: Any, other: Any) -> bool:
    """Return whether two values mean the same."""
    return bool(telling(one) == telling(other))


def telling(value: Any) -> Any:
    """Return a value without empty parts and known defaults (api/facts.md, 4)."""
    if isinstance(value, dict):
        kept = {key: telling(item) for key, item in value.items() if not (key.startswith("allow_") and item is False)}
        if "default_config" in kept:
            config = mapping(kept["default_config"])
            kept["default_config"] = {key: item for key, item in config.items() if (key, item) not in _DEFAULTS}
        kept = {key: item for key, item in kept.items() if item not in _EMPTY}
        return kept["id"] if set(kept) == {"id"} else kept  # a model that is nothing but its id
    if isinstance(value, list):
        return [telling(item) for item in value]
    return None if value in _EMPTY else value


_EMPTY: tuple[Any, ...] = (None, "", [], {})
_DEFAULTS = (("enabled", True), ("permission_policy", {"type": "always_allow"}))
