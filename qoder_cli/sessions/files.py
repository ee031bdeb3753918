"""A session's files and other resources: upload, add, list, remove."""

import re
from pathlib import PurePath
from typing import Any, NamedTuple

from qoder_cli.app import App
from qoder_cli.base import ids
from qoder_cli.base.errors import UsageError
from qoder_cli.base.ids import segment
from qoder_cli.base.model import Resource, filled, mapping, text
from qoder_cli.http.readback import READ_WITHIN
from qoder_cli.nouns.deployments import TOKENS
from qoder_cli.nouns.edits.forms import form_with
from qoder_cli.nouns.edits.thing import Target
from qoder_cli.nouns.edits.update import Update
from qoder_cli.nouns.edits.verbs import DELETE, ending, writing
from qoder_cli.nouns.files import read_text, upload

_MOUNTED = re.compile(r"(.+?):(/[^:]*)", re.DOTALL)


class FileTyped(NamedTuple):
    """A file typed as PATH[:MOUNT], or file_…[:MOUNT] without `content`."""

    name: str
    mount: str | None
    content: bytes | None


def read_file(word: str, option: str) -> FileTyped:
    """Return the file typed, read. Raises UsageError unless it is readable text."""
    match = _MOUNTED.fullmatch(word)
    path, mount = (match[1], match[2]) if match and len(match[1]) > 1 else (word, None)
    if path.startswith("file_") and "." not in path:
        return FileTyped(ids.file_id(path), mount, None)
    return FileTyped(path, mount, read_text(path, option))


def resource_of(app: App, file: FileTyped) -> dict[str, Any]:
    """Return a session's resource for a file, uploaded first if need be."""
    id = file.name
    if file.content is not None:
        id = upload(app, PurePath(file.name).name, file.content).deliver().id
        app.progress.note(f"uploaded {PurePath(file.name).name} as {id}")
    return {"type": "file", "file_id": id, **filled({"mount_path": file.mount})}


def add(app: App, session_id: str, file: FileTyped) -> Resource:
    """Put a file into a session and return its resource. Raises QoderError."""
    body = resource_of(app, file)

    def is_it(resource: Resource) -> bool:
        return resource.raw.get("file_id") == body["file_id"] and file.mount in (None, resource.raw.get("mount_path"))

    write = writing(
        app,
        _target(session_id)._replace(id=body["file_id"]),
        "adding",
        body,
        shows=lambda resource: bool(text(resource.raw.get("id"))),
        find=lambda: next(filter(is_it, listed(app, session_id, within=READ_WITHIN, retry=False)), None),
    )
    return write.deliver()


def listed(app: App, session_id: str, **how: Any) -> list[Resource]:
    """Return a session's resources; `how` goes to `Client.pages`. Raises ApiError."""
    pages = app.client.pages(_target(session_id).path, {"limit": 100}, **how)
    return [Resource(mapping(row)) for page in pages for row in page["data"]]


def remove(app: App, session_id: str, id: str) -> None:
    """Remove a resource from a session. Raises QoderError, NotFound if unknown."""
    ending(app, _target(session_id, id), DELETE).deliver()


def renew(app: App, session_id: str, id: str, token: str) -> None:
    """Give a repository a new token; harmless if repeated. Raises QoderError."""
    target = _target(session_id, id)
    resource = mapping(app.client.get(target.path, fresh=True))
    kind = resource.get("type")
    if (field := TOKENS.get(str(kind))) is None:
        raise UsageError(f"{id} is a {kind}, which has no token", hint="name a repository of the session")
    # No token is shown.
    Update(app, target, resource, {field: token}, form_with(()), is_shown=False).write().deliver()


def _target(session_id: str, *id: str) -> Target:
    """Return a session's resource; without an id, all of them."""
    path = "/".join(["/sessions", segment(session_id), "resources", *map(segment, id)])
    return Target(path, "".join(id), "resource", ("session", "files", session_id))
