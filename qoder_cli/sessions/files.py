"""Files for a session: read here, uploaded once, put into the session."""

import json
import re
import uuid
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, NamedTuple

from qoder_cli.app import App
from qoder_cli.base import ids
from qoder_cli.base.errors import UsageError
from qoder_cli.base.ids import segment
from qoder_cli.base.model import Resource, mapping, text
from qoder_cli.base.plainfile import open_at_once, read_most, reason_of
from qoder_cli.http.change import READ_WITHIN, ObjectWrite

if TYPE_CHECKING:
    from qoder_cli.http.answers import Pending

LARGEST = 5 * 2**20  # bytes; about as much as the API takes (api/facts.md, 7.2)
_KEY = "qoder_key"
_MOUNTED = re.compile(r"(.+?):(/[^:]*)", re.DOTALL)


class FileTyped(NamedTuple):
    """A file as it was typed, PATH[:MOUNT] or file_…[:MOUNT]; `content` is None for one that is on the server."""

    name: str
    mount: str | None
    content: bytes | None


def read_file(typed: str, option: str) -> FileTyped:
    """Return the file that was typed, read. Raises UsageError if it cannot be read or is not text."""
    found = _MOUNTED.fullmatch(typed)
    path, mount = (found[1], found[2]) if found and len(found[1]) > 1 else (typed, None)
    if path.startswith("file_") and "." not in path:
        return FileTyped(ids.file_id(path), mount, None)
    try:
        with open_at_once(path) as file:
            content = read_most(file, LARGEST + 1)
        content.decode()
    except UnicodeDecodeError:
        raise UsageError(f"{option}: {path} is not a UTF-8 text; the API takes texts alone") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{option}: cannot read {path}: {reason_of(error)}", hint="check the file's name") from None
    if b"\0" in content:
        raise UsageError(f"{option}: {path} is a binary file; the API takes texts alone")
    if len(content) > LARGEST:
        raise UsageError(f"{option}: {path} is larger than {LARGEST // 2**20} MiB", hint="split it")
    return FileTyped(path, mount, content)


class Upload(ObjectWrite[Resource]):
    """Uploads a file, once; it is found again by a key of ours in its metadata."""

    def __init__(self, app: App, name: str, content: bytes) -> None:
        self._name, self._content, self._mark = PurePath(name).name, content, str(uuid.uuid4())
        super().__init__(
            app.client,
            "/files",
            parse=lambda value: Resource(mapping(value)) if text(mapping(value).get("id")) else None,
            what=f"uploading {self._name}",
            shows=lambda found: found.id.startswith("file_"),
            settle=self._find,
            look=app.looking("api", "GET", "/files"),
        )

    def request(self) -> "Pending":
        from qoder_cli.http.client import multipart

        metadata = json.dumps({_KEY: self._mark})
        content, form = multipart({"metadata": [metadata]}, [("file", self._name, self._content)])
        headers = {"content-type": form, "idempotency-key": self._key}
        return self.client.prepare("POST", "/files", content=content, headers=headers)

    def _find(self) -> Resource | None:
        for page in self.client.pages("/files", {"limit": 100, "name": self._name}, within=READ_WITHIN, retry=False):
            for row in map(mapping, page["data"]):
                if mapping(row.get("metadata")).get(_KEY) == self._mark:
                    return Resource(row)
        return None


def resource_of(app: App, file: FileTyped) -> dict[str, Any]:
    """Return the resource of a session that a file is, uploaded where it is not on the server yet."""
    id = file.name
    if file.content is not None:
        id = Upload(app, file.name, file.content).deliver().id
        app.progress.note(f"uploaded {PurePath(file.name).name} as {id}")
    return {"type": "file", "file_id": id, **({"mount_path": file.mount} if file.mount else {})}


def add(app: App, session_id: str, file: FileTyped) -> Resource:
    """Put a file into a session, and return the resource that it is there. Raises QoderError."""
    path = f"/sessions/{segment(session_id)}/resources"
    body = resource_of(app, file)

    def find() -> Resource | None:
        for page in app.client.pages(path, {"limit": 100}, within=READ_WITHIN, retry=False):
            for row in map(mapping, page["data"]):
                if row.get("file_id") == body["file_id"] and file.mount in (None, row.get("mount_path")):
                    return Resource(row)
        return None

    write = ObjectWrite[Resource](
        app.client,
        path,
        body,
        parse=lambda value: Resource(mapping(value)) if text(mapping(value).get("id")) else None,
        what=f"adding {body['file_id']} to {session_id}",
        shows=lambda found: True,
        settle=find,
        look=app.looking("session", "files", session_id),
        repeatable=True,
    )
    return write.deliver()


def listed(app: App, session_id: str) -> list[Resource]:
    """Return the resources of a session. Raises ApiError."""
    path = f"/sessions/{segment(session_id)}/resources"
    return [Resource(mapping(row)) for page in app.client.pages(path, {"limit": 100}) for row in page["data"]]


def remove(app: App, session_id: str, id: str) -> None:
    """Take a resource out of a session. Raises QoderError, NotFound where there is none of this id."""
    path = f"/sessions/{segment(session_id)}/resources/{segment(id)}"
    gone = Resource({"id": id, "type": "session_resource_deleted"})

    def look_again() -> Resource | None:
        return None if any(each.raw.get("id") == id for each in listed(app, session_id)) else gone

    ObjectWrite[Resource](
        app.client,
        path,
        method="DELETE",
        parse=lambda value: Resource(mapping(value)),
        what=f"removing {id} from {session_id}",
        shows=lambda found: found.raw.get("id") == id,
        settle=look_again,
        look=app.looking("session", "files", session_id),
        repeatable=True,
    ).deliver()


def renew(app: App, session_id: str, id: str, token: str) -> None:
    """Give a repository of a session another token: to do it twice does no harm. Raises QoderError."""
    path = f"/sessions/{segment(session_id)}/resources/{segment(id)}"
    kind = mapping(app.client.get(path)).get("type")
    field = {"github_repository": "authorization_token", "git_repository": "password"}.get(str(kind))
    if field is None:
        raise UsageError(f"{id} is a {kind}, which has no token", hint="name a repository of the session")
    ObjectWrite[Resource](
        app.client,
        path,
        {field: token},
        parse=lambda value: Resource(mapping(value)),
        what=f"renewing the token of {id}",
        shows=lambda found: found.raw.get("id") == id,
        settle=lambda: None,  # a token is never told
        look=app.looking("session", "files", session_id),
        repeatable=True,
    ).deliver()
