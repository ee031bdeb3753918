"""A server for what is no plain JSON: files, skills, memories and secrets, which loses answers as it is told."""

import email
import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from email.message import Message
from typing import Any
from urllib.parse import parse_qs

import httpx

from qoder_cli.sandbox.wire import Generation
from tests.conftest import Qoder

PREFIX = "/api/v1/cloud"
# What becomes of a write: it is done or not, and how the answer is lost.
LOST = ("done-reset", "done-502", "done-html", "done-cut", "done-timeout")
UNDONE = ("reset", "502", "html")

Object = dict[str, Any]


def zipped(files: dict[str, bytes]) -> bytes:
    """Return a zip of some files."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return made.getvalue()


def form_of(request: httpx.Request) -> tuple[dict[str, str], list[tuple[str, str, bytes]]]:
    """Return the texts of a form, and its files as field, name and content."""
    head = f"content-type: {request.headers['content-type']}\r\n\r\n".encode()
    texts: dict[str, str] = {}
    files = []
    parts: Any = email.message_from_bytes(head + request.read()).get_payload()
    for part in parts:
        assert isinstance(part, Message)
        field, name = str(part.get_param("name", header="content-disposition")), part.get_filename()
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        if name is None:
            texts[field] = content.decode()
        else:
            files.append((field, name, content))
    return texts, files


class Refused(Exception):
    """What the server says instead of doing something."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Service(httpx.BaseTransport):
    """Objects by the path of their list, the newest last; `sent` are the bodies of writes, by method and path.

    `faults` are what becomes of the next writes of a kind, by the end of their path; `before` is done once before one.
    """

    def __init__(self, qoder: Qoder, generation: Generation) -> None:
        self.qoder, self.generation = qoder, generation
        self.things: dict[str, list[Object]] = {
            "/vaults": [{"id": "vault_1", "type": "vault", "display_name": "team-secrets"}],
            "/environments": [{"id": "env_1", "type": "environment", "name": "default"}],
            "/memory_stores": [{"id": "memstore_1", "type": "memory_store", "name": "project"}],
        }
        self.contents: dict[str, bytes] = {}
        self.sent: list[tuple[str, str, Any]] = []
        self.asked: list[httpx.Request] = []
        self.faults: dict[str, list[str]] = {}
        self.refusals: dict[str, list[Refused]] = {}
        self.before: dict[str, Callable[[], object]] = {}
        self.answers: dict[str, Any] = {}  # by method and path
        self.lists_metadata = generation == "current"
        self.takes = "files[]"  # the field of a form that has a skill
        self.replaces_secrets = True
        self._count = 0
        qoder.transport = self

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if request.url.host == "storage.example":
            assert "authorization" not in request.headers
            return httpx.Response(200, content=self.contents[request.url.path.strip("/")])
        path = request.url.path.removeprefix(PREFIX)
        if request.method == "GET":
            return self._told(lambda: self._get(path, parse_qs(request.url.query.decode())))
        body: Any = request.read()
        if request.headers.get("content-type") == "application/json":
            body = json.loads(body)
        self.sent.append((request.method, path, body))
        for end in list(self.before):
            if f"{request.method} {path}".endswith(end):
                self.before.pop(end)()
        fault = self._next(self.faults, request.method, path)
        if refusal := self._next(self.refusals, request.method, path):
            return self._told(lambda: _raise(refusal))
        answer = None
        if fault is None or fault.startswith("done-"):
            answer = self._told(lambda: self._write(request, path, body))
        return self._lost(fault, answer, request) if fault else answer or httpx.Response(500)

    def add(self, list_of: str, prefix: str, **fields: Any) -> Object:
        """Put an object into a list, and return it."""
        self._count += 1
        if any(each.get("id") == f"{prefix}{self._count}" for each in self.things.get(list_of, ())):
            self._count += 1
        made = {"id": f"{prefix}{self._count}", **fields, "created_at": self._now(), "updated_at": self._now()}
        self.things.setdefault(list_of, []).append(made)
        return made

    def memory(self, path: str, content: str, store: str = "memstore_1") -> Object:
        """Add a memory."""
        list_of = f"/memory_stores/{store}/memories"
        return self.add(list_of, "mem_", type="memory", path=path, **_content(content))

    def skill(self, name: str, files: dict[str, bytes], **fields: Any) -> Object:
        """Add a skill, with one version."""
        source = {"source": "custom", "latest_version": "1", "metadata": {}}
        made = self.add("/skills", "skill_", type="skill", display_title=name, **source, **fields)
        self._version(made, name, zipped(files))
        return made

    def _version(self, skill: Object, name: str, content: bytes) -> Object:
        list_of = f"/skills/{skill['id']}/versions"
        number = str(len(self.things.get(list_of, ())) + 1)
        skill["latest_version"] = number
        self.contents[f"{skill['id']}/{number}"] = content
        kind = {"type": "skill_version", "skill_id": skill["id"]}
        return self.add(list_of, "skillver_", version=number, name=name, description="x", **kind)

    def _now(self) -> str:
        return datetime.fromtimestamp(self.qoder.clock.now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def _next(self, kept: dict[str, list[Any]], method: str, path: str) -> Any:
        for end, left in kept.items():
            if left and f"{method} {path}".endswith(end):
                return left.pop(0)
        return None

    def _told(self, do: Callable[[], Any]) -> httpx.Response:
        headers = {"date": datetime.fromtimestamp(self.qoder.clock.now(), UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")}
        try:
            found = do()
        except Refused as refused:
            told = {"type": "invalid_request_error", "message": str(refused)}
            return httpx.Response(refused.status, json={"type": "error", "error": told}, headers=headers)
        if isinstance(found, bytes):
            return httpx.Response(200, content=found, headers=headers)
        return httpx.Response(200, content=json.dumps(found), headers=headers | {"content-type": "application/json"})

    def _lost(self, fault: str, answer: httpx.Response | None, request: httpx.Request) -> httpx.Response:
        match fault.removeprefix("done-"):
            case "reset":
                raise httpx.RemoteProtocolError("Server disconnected without sending a response.", request=request)
            case "timeout":
                raise httpx.ReadTimeout("The read operation timed out", request=request)
            case "502":
                return httpx.Response(502, text="<html>Bad Gateway</html>", headers={"content-type": "text/html"})
            case "html":
                return httpx.Response(200, text="<html>Welcome</html>", headers={"content-type": "text/html"})
        assert answer is not None
        return httpx.Response(200, content=answer.read()[:-5], headers={"content-type": "application/json"})

    def _get(self, path: str, query: dict[str, list[str]]) -> Any:
        if f"GET {path}" in self.answers:
            return self._ready("GET", path)
        if path in self.things or path.rpartition("/")[2] in ("memories", "credentials", "versions", "memory_versions"):
            rows = [self._listed(each, query) for each in reversed(self.things.get(path, []))]
            rows = [each for each in rows if str(each.get("path", "")).startswith(query.get("path_prefix", [""])[0])]
            rows = [
                each for each in rows if query.get("memory_id", [each.get("memory_id")])[0] == each.get("memory_id")
            ]
            rows = rows[: int(query["limit"][0])]
            page: Object = {"data": rows, "has_more": False}
            return page | ({"next_page": None} if self.generation == "current" else {})
        if path in ("/files", "/skills", "/dreams"):
            return {"data": [], "has_more": False}
        if path.endswith("/content"):
            return self._content_of(path)
        return _veiled(self._find(path)[1])

    def _listed(self, raw: Object, query: dict[str, list[str]]) -> Object:
        left_out = {"content"} if raw.get("type") in ("memory", "memory_version") else set()
        left_out |= set() if self.lists_metadata else {"metadata"}
        return _veiled({key: value for key, value in raw.items() if key not in left_out})

    def _content_of(self, path: str) -> Any:
        parts = path.split("/")
        if parts[1] == "skills":
            return self.contents[f"{parts[2]}/{parts[4]}"]
        _, raw = self._find(f"/files/{parts[2]}")
        if not raw["downloadable"]:
            raise Refused(403, "File is not downloadable.")
        return {"url": f"https://storage.example/{raw['id']}", "expires_at": "2027-06-01T00:00:00Z"}

    def _find(self, path: str) -> tuple[str, Object]:
        list_of, _, id = path.rpartition("/")
        for each in self.things.get(list_of, ()):
            if id in (each["id"], each.get("version")):
                return list_of, each
        raise Refused(404, f"{path} not found")

    def _ready(self, method: str, path: str) -> Any:
        answer = self.answers[f"{method} {path}"]
        if isinstance(answer, Refused):
            raise answer
        return answer

    def _write(self, request: httpx.Request, path: str, body: Any) -> Any:
        if f"{request.method} {path}" in self.answers:
            return self._ready(request.method, path)
        kind = path.rpartition("/")[2]
        if request.method == "DELETE":
            list_of, raw = self._find(path)
            expected = request.url.params.get("expected_content_sha256")
            if expected not in (None, raw.get("content_sha256")):
                raise Refused(409, "The memory was changed.")
            self.things[list_of].remove(raw)
            return {"id": raw["id"], "type": f"{raw['type']}_deleted"}
        if isinstance(body, bytes):
            return self._form(path, *form_of(request))
        if kind == "memories":
            if any(each["path"] == body["path"] for each in self.things.get(path, ())):
                raise Refused(409, "A memory with this path exists.")
            rest = {key: value for key, value in body.items() if key != "content"}
            return self.add(path, "mem_", type="memory", **rest, **_content(body["content"]))
        if kind == "credentials":
            if body["auth"]["type"] == "environment_variable" and "networking" not in body["auth"]:
                raise Refused(400, "Missing required field: auth.networking")
            return _veiled(self.add(path, "vcred_", type="vault_credential", **body))
        if kind in ("redact", "cancel", "stop", "ack", "heartbeat"):
            _, raw = self._find(path.rpartition("/")[0])
            done: dict[str, Object] = {
                "redact": {"redacted_at": self._now(), "content": None},
                "cancel": {"status": "canceled"},
                "stop": {"state": "stopping"},
                "ack": {"acknowledged_at": self._now()},
            }
            raw.update(done.get(kind, {}))
            return raw
        if path in ("/memory_stores", "/vaults", "/dreams"):
            prefix, of = {"/memory_stores": ("memstore_", "memory_store"), "/vaults": ("vault_", "vault")}.get(
                path, ("drm_", "dream")
            )
            return self.add(path, prefix, type=of, **body)
        _, raw = self._find(path)
        if "auth" in body and not self.replaces_secrets:
            raise Refused(405, "Not allowed.")
        if body.get("content_sha256", raw.get("content_sha256")) != raw.get("content_sha256"):
            raise Refused(409, "The memory was changed.")
        if known := {"secret_name", "mcp_server_url"} & body.get("auth", {}).keys():
            raise Refused(400, f"unknown field: auth.{min(known)}")  # help/pages/api.md#vaults
        merged = {name: {**raw.get(name, {}), **body[name]} for name in ("auth", "metadata") if name in body}
        raw |= body | merged | (_content(body["content"]) if "content" in body else {}) | {"updated_at": self._now()}
        return _veiled(raw)

    def _form(self, path: str, texts: dict[str, str], files: list[tuple[str, str, bytes]]) -> Any:
        metadata: Object = json.loads(texts.get("metadata", "{}"))
        if path == "/files":
            [(_, name, content)] = files
            more = {key: int(value) for key, value in texts.items() if key == "expires_in_seconds"}
            made = self.add("/files", "file_", type="file", filename=name, size_bytes=len(content), **more)
            self.contents[made["id"]] = content
            made.update({"metadata": metadata, "downloadable": False, "scope": None})
            return made
        if {field for field, _, _ in files} != {self.takes}:
            raise Refused(400, f"Missing required field: {self.takes}")
        content = files[0][2] if self.takes == "file" else zipped({name: held for _, name, held in files})
        name = files[0][1].partition("/")[0].removesuffix(".zip")
        if path == "/skills":
            made = self.add(path, "skill_", type="skill", source="custom", display_title=texts.get("display_title"))
            made["metadata"] = metadata
            self._version(made, name, content)
            return made
        return self._version(self._find(path.rpartition("/")[0])[1], name, content)


def _content(content: str) -> Object:
    data = content.encode()
    return {
        "content": content,
        "content_sha256": hashlib.sha256(data).hexdigest(),
        "content_size_bytes": len(data),
    }


def _veiled(raw: Object) -> Object:
    """Return a credential as the API shows it: without its secret."""
    if "auth" not in raw:
        return raw
    auth = {key: value for key, value in raw["auth"].items() if key not in ("token", "secret_value")}
    return {**raw, "auth": auth}


def _raise(refused: Refused) -> Any:
    raise refused
