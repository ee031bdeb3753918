"""Creating, once: a lost answer is settled by our mark."""

import uuid
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Any

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, CannotBe, NotFound, OutcomeUnknown
from qoder_cli.base.marks import KEY, has_room
from qoder_cli.base.model import Raw, Resource, created_at, mapping, text
from qoder_cli.base.times import utc_text
from qoder_cli.http.readback import Part, ReadBack, Sent, object_write
from qoder_cli.http.write import Write
from qoder_cli.nouns.edits.thing import ONCE, mark_in, read, target_of
from qoder_cli.nouns.noun import Noun
from qoder_cli.nouns.shown import NAMES
from qoder_cli.nouns.table import has_id, operation, path_of, words_of

ABOUT = 60.0  # seconds by which a clock may be off
_READ_SINGLY = 20  # things whose metadata a list does not show
_NAMED = 5  # things that an error lists
_IN_ANSWER = (*NAMES, "path", "agent", "environment_id")  # what the answer to a create may not show otherwise than sent
_IN_LIST = ("title", "description", "system", "model", "auth")  # the same, of what is listed
_CUT_AT = 64  # characters; what is that long may be the beginning of a longer text


def creating(
    app: App, noun: Noun, body: Raw, *parents: str, files: Sequence[Part] = (), what: str = ""
) -> Write[Resource]:
    """Return the write that creates a thing, once; with `files`, as a form.

    A lost answer is settled by our mark in its metadata: the list shows it, or the things do. An
    empty `metadata` proves nothing (api.md#vaults): what may be ours by name, body and time
    leaves it unknown, as does a thing that has no metadata, or no room in it.
    """
    wanted, content = body, Raw()
    if "content" in body:
        content["content_sha256"] = sha256(str(body["content"]).encode()).hexdigest()
    if files:
        wanted = {**body, noun.naming.named_by: files[0][1]}
        content["size_bytes"] = sum(len(part) for _, _, part in files)
    ours = _Ours(app, noun, parents, wanted, content)
    created = operation(noun, "create") or operation(noun, "upload")
    assert created is not None  # asked only for what can be created
    metadata = mapping(body.get("metadata"))
    is_marked = "metadata" in created.body and has_room(metadata)
    if is_marked:
        body = {**body, "metadata": {**metadata, KEY: ours.mark}}

    def already(error: ApiError, write: Write[Resource]) -> Resource | None:
        """Return it if a refusal is only for its repeat: a proxy may send a request twice."""
        if error.http_status == 409 and is_marked:
            with suppress(ApiError, OutcomeUnknown):
                return ours.find()
        return None

    write = object_write(
        app.client,
        Sent("POST", path_of(noun, *parents), body, files),
        parse=lambda value: Resource(mapping(value)) if text(mapping(value).get("id")) else None,
        what=what or f"creating the {noun.called}",
        shows=lambda resource: ours.can_be(resource.raw),
        find=ours.find if is_marked else None,
        look=app.looking(*words_of(noun, "list", *parents)),
        at_attempt=ours.note_attempt,
    )
    write.recovery = write.recovery._replace(already=already)
    return write


class _Ours:
    """What tells a new thing of ours from others."""

    def __init__(self, app: App, noun: Noun, parents: Sequence[str], sent: Raw, content: Raw) -> None:
        self.mark = str(uuid.uuid4())
        self._app, self._noun, self._parents, self._sent = app, noun, parents, sent
        self._content = content  # what a thing says of its content, if it does
        self._attempt: tuple[float, float] | None = None  # the first, on our clock and the monotonic
        self._suspects: dict[str, Raw] = {}

    def note_attempt(self) -> None:
        """Note the time of the first attempt."""
        if self._attempt is None:
            self._attempt = self._app.clock.now(), self._app.clock.monotonic()

    def _first(self) -> float | None:
        """Return before when nothing can be of the first attempt, in unix seconds; None if a clock is unknown."""
        assert self._attempt is not None  # it was sent
        at, moment = self._attempt
        server = self._app.client.on_server_clock(moment)
        if server is None:
            return None
        return min(at, server) - ABOUT

    def can_be(self, raw: Raw) -> bool:
        """Return whether an answer may be it: by kind, mark, names, what it is made of, content, and time."""
        sent, noun = self._sent, self._noun
        is_other = any(contradicts(raw.get(field), sent[field]) for field in _IN_ANSWER if field in sent)
        is_of_kind = str(raw.get("id")).startswith(noun.prefix) or raw.get("type") == noun.called
        is_alive = not raw.get("archived_at") and ("name" not in sent or bool(raw.get("name")))
        is_marked = mark_in(raw) in (None, self.mark)
        is_whole = not self._otherwise(raw)
        return is_of_kind and is_alive and not is_other and is_marked and is_whole and not self._is_older(raw)

    def _otherwise(self, raw: Raw) -> list[str]:
        """Return what a thing says of its content that was not sent so."""
        return [f"{name} {raw[name]}" for name, sent in self._content.items() if raw.get(name) not in (None, sent)]

    def _confirmed(self, raw: Raw) -> Resource:
        """Return what has our mark. Raises CannotBe for other content than was sent."""
        if other := self._otherwise(raw):
            message = f"{raw['id']} was created, but the server has other content: {other[0]}"
            raise CannotBe(message, hint="compare it with what you sent")
        return Resource(raw)

    def _may_be_ours(self, raw: Raw) -> bool:
        """Return whether something whose metadata is silent, without anybody's mark, cannot be ruled out."""
        sent = self._sent
        shown = {key: value for key, value in mapping(raw.get("metadata")).items() if isinstance(value, str)}
        is_silent = not shown or shown == sent.get("metadata")
        is_of_deployment = raw.get("deployment_id") is not None
        is_other = any(contradicts(raw.get(field), sent[field]) for field in (*_IN_ANSWER, *_IN_LIST) if field in sent)
        return is_silent and not is_of_deployment and not is_other and not self._is_older(raw)

    def _is_older(self, raw: Raw) -> bool:
        """Return whether something is certainly older than the first attempt, on either clock."""
        created, first = created_at(raw), self._first()
        return created is not None and first is not None and created < first

    def find(self) -> Resource | None:
        """Return the one with our mark. Raises OutcomeUnknown if nobody can tell, CannotBe for other content."""
        first, listed, query = self._first(), operation(self._noun, "list"), dict[str, str]()
        assert listed is not None  # what can be created can be listed
        if first is not None and "created_at[gte]" in listed.query:
            query["created_at[gte]"] = utc_text(max(first, 0.0))
        if "path_prefix" in listed.query:  # else what is below a folder may be one row
            query["path_prefix"] = str(self._sent.get("path"))
        reading = ReadBack(self._app.client, path_of(self._noun, *self._parents), query)
        has_others, silent = False, []
        for row in reading.rows(self._first):
            if not has_id(self._noun, row):
                has_others = True
            elif mark_in(row) == self.mark:
                return self._confirmed(row)
            elif not self._is_older(row) and (self._may_be_ours(row) or not isinstance(row.get("metadata"), dict)):
                silent.append(row)
        for row in sorted(silent, key=self._may_be_ours, reverse=True)[:_READ_SINGLY]:
            target, current = target_of(self._noun, *self._parents, str(row["id"])), row
            with suppress(NotFound):  # it is gone, or a replica lags
                current = read(self._app.client, target, **ONCE)
            if mark_in(current) == self.mark:
                return self._confirmed(current)
            if self._may_be_ours(current):
                self._suspects[target.id] = current
        if len(silent) > _READ_SINGLY or has_others or not reading.is_whole:
            raise OutcomeUnknown(f"the list of {self._noun.plural} since the attempt could not be read in full")
        if self._suspects:
            these = ", ".join(list(self._suspects)[:_NAMED])
            raise OutcomeUnknown(f"{these} may be yours, but nothing in it tells")
        return None


def contradicts(shown: Any, sent: Any) -> bool:
    """Return whether a value can certainly not have been made from the one that was sent.

    A server may add defaults, trim or cut a text, and spell out a short form: an id as an object with it.
    """
    if isinstance(shown, dict) or isinstance(sent, dict):
        one, other = (value if isinstance(value, dict) else {"id": value} for value in (shown, sent))
        shared = one.keys() & other.keys()
        return any(contradicts(one[key], other[key]) for key in shared & {"id"} or shared)
    if not isinstance(shown, str) or not isinstance(sent, str) or not shown.strip():
        return False
    shown, sent = (value.strip().strip("/") for value in (shown, sent))
    return shown != sent and not (len(shown) >= _CUT_AT and sent.startswith(shown))
