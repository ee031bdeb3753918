"""Creating a thing and changing one: each settled by reading back, a new one by our own mark in its metadata."""

import math
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from qoder_cli.base import jsontext
from qoder_cli.base.errors import OutcomeUnknown
from qoder_cli.base.model import Resource, mapping, text
from qoder_cli.base.times import parse_timestamp, utc_text
from qoder_cli.http.change import READ_WITHIN, ObjectWrite
from qoder_cli.http.readback import ReadBack
from qoder_cli.nouns.change import Target, read
from qoder_cli.nouns.table import Noun, operation, path_of, words_of

if TYPE_CHECKING:
    from qoder_cli.app import App
    from qoder_cli.http.answers import Pending

Body = dict[str, Any]
Part = tuple[str, str, bytes]  # of a form: field, file name, content

KEY = "qoder_key"  # of the metadata
SLACK = 120.0  # seconds by which the list is asked for more than has been created since
_READ_SINGLY = 20  # things of which the list does not tell the metadata


def target_of(noun: Noun, *ids: str) -> Target:
    """Return the thing whose id comes last; those of its holders come first."""
    look = words_of(noun, "get", *ids)
    return Target(path_of(noun, *ids), ids[-1], f"{noun.called} {ids[-1]}", look)


class Create(ObjectWrite[Resource]):
    """Creates a thing, once. `held_by` is the id of what holds it.

    With `files`, as field, file name and content, it is sent as a form, and what is no text in it as JSON.
    It carries a key of ours in its metadata, by which a lost answer is settled: the list shows it, or the things
    themselves where lists have no metadata. What has no metadata cannot be told from someone else's.
    """

    def __init__(self, app: "App", noun: Noun, body: Body, *held_by: str, files: Sequence[Part] = ()) -> None:
        self._app, self._noun, self._held_by, self._files = app, noun, held_by, files
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
            parse=lambda value: Resource(mapping(value)) if text(mapping(value).get("id")) else None,
            what=f"creating the {noun.called}",
            shows=lambda found: found.id.startswith(noun.prefix) or found.raw.get("type") == noun.called,
            settle=self._find,
            look=app.looking(*words_of(noun, "list", *held_by)),
        )

    @property
    def mark(self) -> str:
        """The key by which it is found again."""
        return self._mark

    def request(self) -> "Pending":
        """Prepare an attempt."""
        self._began = self.client.clock.monotonic()
        return as_form(self, self._files) if self._files else super().request()

    def _find(self) -> Resource | None:
        """Return the one with our mark among those created since. Raises OutcomeUnknown where none can tell."""
        if not self._is_marked:
            raise OutcomeUnknown(f"nothing marks a {self._noun.called} as ours")
        since = self.client.on_server_clock(self._began)
        listed = operation(self._noun, "list")
        query: dict[str, str] = {}
        if since is not None and listed is not None and "created_at[gte]" in listed.query:
            query["created_at[gte]"] = utc_text(datetime.fromtimestamp(since - SLACK, UTC))
        reading = ReadBack(self.client, path_of(self._noun, *self._held_by), query)
        silent = []  # those of which the list does not tell the metadata
        for row in reading.rows(lambda: self.client.on_server_clock(self._began)):
            if mapping(row.get("metadata")).get(KEY) == self._mark:
                return Resource(row)
            created = parse_timestamp(row.get("created_at"))
            is_older = since and created and created.timestamp() < math.floor(since) - 1
            if not isinstance(row.get("metadata"), dict) and text(row.get("id")) and not is_older:
                silent.append(str(row["id"]))
        for id in silent[:_READ_SINGLY]:
            target = target_of(self._noun, *self._held_by, id)
            found = read(self._app, target, within=READ_WITHIN, retry=False)
            if mapping(found.get("metadata")).get(KEY) == self._mark:
                return Resource(found)
        if len(silent) > _READ_SINGLY or not reading.is_whole:
            raise OutcomeUnknown(f"the list of {self._noun.called}s could not be read back to the attempt")
        return None


def as_form(write: ObjectWrite[Resource], files: Sequence[Part]) -> "Pending":
    """Prepare an attempt as a form: the files, and the fields of the body beside them."""
    from qoder_cli.http.client import multipart

    texts = {name: [text(value) or jsontext.dump(value)] for name, value in (write.body or {}).items()}
    content, form = multipart(texts, files)
    headers = {"content-type": form, "idempotency-key": write.key}
    return write.client.prepare(write.method, write.path, content=content, headers=headers)


def update(
    app: "App", target: Target, body: Body, *, shows: Callable[[dict[str, Any]], bool] | None = None
) -> dict[str, Any]:
    """Change a thing, and return it as it is then; to do it twice does no harm.

    `shows` tells whether an object has the change; by default, whether each of its fields is as it was sent. Raises
    QoderError.
    """

    def is_so(found: Resource) -> bool:
        return target.is_it(found.raw) and (shows or (lambda raw: not differing(raw, body)))(found.raw)

    def look_again() -> Resource | None:
        found = Resource(read(app, target, within=READ_WITHIN, retry=False))
        return found if is_so(found) else None

    write = ObjectWrite[Resource](
        app.client,
        target.path,
        body,
        parse=lambda value: Resource(mapping(value)),
        what=f"updating {target.id}",
        shows=is_so,
        settle=look_again,
        look=app.looking(*target.look),
        repeatable=True,
    )
    return write.deliver().raw


def differing(found: dict[str, Any], body: Body) -> Body:
    """Return what of the body of an update a thing does not show yet; metadata is merged (api/facts.md, 3.8)."""
    known = mapping(found.get("metadata"))
    left = {name: value for name, value in body.items() if name != "metadata" and value != found.get(name)}
    wanted = {key: value for key, value in body.get("metadata", {}).items() if known.get(key) != value}
    return left | ({"metadata": wanted} if wanted else {})
