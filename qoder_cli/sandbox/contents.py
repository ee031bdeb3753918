"""What has content: files, skills and memories (api.md#files and #limits)."""

import re
from collections.abc import Mapping
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import HTTP
from hashlib import blake2s, sha256
from typing import TYPE_CHECKING, NamedTuple, cast

from qoder_cli.sandbox.bodies import body_of
from qoder_cli.sandbox.kinds import SERVED, OperationCall, Reply, Things, of
from qoder_cli.sandbox.records import BY, FakeThing, stamp
from qoder_cli.sandbox.wire import BLOBS, Refusal, Request, Shape, invalid, unknown_field
from qoder_cli.sandbox.world import World
from qoder_cli.settings.values import is_loopback

if TYPE_CHECKING:
    from qoder_cli.nouns.skill import Files

_DIGEST = ("content", "content_sha256", "content_size_bytes")  # what redaction removes

# Forms.


class _Part(NamedTuple):
    """A file in a form."""

    field: str
    path: str
    type: str
    content: bytes


def _form(call: OperationCall) -> tuple[Shape, list[_Part]]:
    """Return a form's fields, of which `metadata` is JSON, and its files. Raises Refusal."""
    head = b"content-type: %s\r\n\r\n" % call.request.headers.get("content-type", "").encode()
    form = BytesParser(EmailMessage, policy=HTTP).parsebytes(head + call.request.body)
    if not form.is_multipart():
        raise invalid("The body must be multipart/form-data.")
    texts, files = Shape(), list[_Part]()
    for part in form.iter_parts():
        name, path = str(part.get_param("name", header="content-disposition")), part.get_filename()
        content = cast(bytes, part.get_payload(decode=True) or b"")
        if name not in (*call.operation.body, "files", "file"):
            raise unknown_field(name, name)
        if path:
            files.append(_Part(name, path, part.get_content_type(), content))
        else:
            texts[name] = content.decode(errors="replace")
    if len(texts.get("metadata", "")) > 8 * 1024:
        raise invalid("metadata has at most 8 KB.", "metadata")
    return body_of(call.operation, texts), files


# Files.


@of("files")
class _Files(Things):
    def upload(self, call: OperationCall) -> Reply:
        texts, parts = _form(call)
        file = next((part for part in parts if part.field == "file"), None)
        if file is None:
            raise invalid("Missing required field: file", "file")
        content, name = file.content, texts.get("name") or file.path
        if len(content) > 5_000_000:
            raise Refusal(413, "A file has at most 5 MB.")
        try:
            content.decode()
        except UnicodeDecodeError:
            raise invalid("Only text files are taken.", "file") from None
        if not 1 <= len(name.encode()) <= 255:
            raise invalid("name must have 1 to 255 bytes.", "name")
        lasts = texts.get("expires_in_seconds")
        fields = {"filename": name, "mime_type": file.type, "size_bytes": len(content)}
        fields |= {"metadata": texts.get("metadata"), "expires_at": lasts and stamp(call.now + int(lasts))}
        return self.show(call, self.created(call, {**fields, "_content": content}))

    def leave(self, call: OperationCall, entity: FakeThing) -> None:
        active = (session for session in call.world.alive("sessions") if session.archived is None)
        if any(resource.get("file_id") == entity.id for session in active for resource in session.fields["resources"]):
            raise Refusal(409, "An active session uses this file.")
        super().leave(call, entity)

    def download(self, call: OperationCall) -> Reply:
        """Return a link that fetches the file without a token."""
        file = self.find(call)
        if not file.fields["downloadable"]:
            raise Refusal(403, "The file is not downloadable.")
        host = call.request.headers.get("host", "localhost")
        scheme = "http" if is_loopback(host) else "https"
        url = f"{scheme}://{host}{BLOBS}/{file.id}?signature={_signature(call.world, file.id)}"
        return {"url": url, "expires_at": stamp(call.now + 600)}


def _signature(world: World, id: str) -> str:
    return blake2s(f"{world.token}:{id}".encode(), digest_size=16).hexdigest()


def fetched(world: World, request: Request) -> bytes:
    """Return the file behind a link, which never expires here. Raises Refusal."""
    id = request.path.removeprefix(BLOBS + "/")
    file = world.thing("files", id)
    if file is None or request.query != f"signature={_signature(world, id)}":
        raise Refusal(403, "The link is not valid.")
    return cast(bytes, file.fields["_content"])


# Skills.


def _files_of_skill(parts: list[_Part]) -> "Files":
    """Return a skill's files by path. Raises Refusal, also without a SKILL.md."""
    from qoder_cli.nouns.skill import LARGEST, MAIN, Unfit, rooted, unzipped

    files: Files = {part.path: part.content for part in parts}
    try:
        for content in files.values():
            if len(files) == 1 and content.startswith(b"PK\x03\x04"):
                files = unzipped(content, LARGEST)
    except Unfit as error:
        raise invalid(f"The file {error}.", "file") from None
    if sum(map(len, files.values())) > LARGEST:
        raise Refusal(413, "A skill has at most 50 MiB.")
    if not files:
        raise invalid("Missing required field: files[]", "files[]")
    if wrong := [path for path in files if {"", ".", ".."} & set(path.split("/"))]:
        raise invalid(f"{wrong[0]} is not a relative path.", "files[]")
    files = rooted(files)
    if MAIN not in files:
        raise invalid(f"{MAIN} must be at the root.", "files[]")
    return files


def _front_matter(content: bytes) -> dict[str, str]:
    """Return SKILL.md's plain front matter fields. Raises Refusal without a name."""
    text = "\n".join(content.decode(errors="replace").splitlines())
    head = re.match(r"---\n(.*?)\n---(\n|$)", text, re.DOTALL)
    fields = dict(re.findall(r"^(\w+): *[\"']?(.*?)[\"']?$", head[1] if head else "", re.MULTILINE))
    if not fields.get("name"):
        raise invalid("SKILL.md must have front matter with a name.", "files[]")
    return fields


@of("skills")
class _Skills(Things):
    def create(self, call: OperationCall) -> Reply:
        texts, parts = _form(call)
        files = _files_of_skill(parts)
        name = _front_matter(files["SKILL.md"])["name"]
        title = texts.get("display_title") or name
        skill = self.created(call, {"display_title": title, "metadata": texts.get("metadata")})
        _add_version(call, skill, files)
        return self.show(call, skill)

    def show(self, call: OperationCall, entity: FakeThing) -> Shape:
        versions = call.world.alive(f"skills/{entity.id}/versions")
        numbers = [version.id for version in reversed(versions)]
        return super().show(call, entity) | {"latest_version": next(iter(numbers), None)}


@of("skills.versions")
class _SkillVersions(Things):
    def create(self, call: OperationCall) -> Reply:
        skill, files = SERVED["skills"].find(call), _files_of_skill(_form(call)[1])
        skill.change(call.now)
        return self.show(call, _add_version(call, skill, files))

    def download(self, call: OperationCall) -> Reply:
        from qoder_cli.nouns.skill import zipped

        return zipped(self.find(call).fields["_files"])


def _add_version(call: OperationCall, skill: FakeThing, files: "Files") -> FakeThing:
    head, before = _front_matter(files["SKILL.md"]), call.world.things.get(f"skills/{skill.id}/versions", {})
    skill.fields["_name"] = head["name"]
    about: Shape = {"name": head["name"], "description": head.get("description", ""), "directory": head["name"]}
    kept = {"skill_id": skill.id, "version": str(len(before) + 1), "_files": files, **about}
    return call.world.keep("skills.versions", skill.id, at=call.now, **kept)


# Memories.


@of("memory_stores")
class _MemoryStores(Things):
    def show(self, call: OperationCall, entity: FakeThing) -> Shape:
        memories = _memories(call.world, entity.id)
        size = sum(memory.fields["content_size_bytes"] for memory in memories)
        status = "active" if entity.archived is None else "archived"
        return super().show(call, entity) | {"status": status, "entry_count": len(memories), "total_size": size}


class _Viewed(Things):
    """Things shown with content if `view` is full, the default for a single one."""

    def show(self, call: OperationCall, entity: FakeThing) -> Shape:
        shape = super().show(call, entity)
        view = call.choice("view", "basic", "full")
        if (view or call.verb) not in ("full", "retrieve"):
            del shape["content"]
        return shape


@of("memory_stores.memories")
class _Memories(_Viewed):
    def guard(self, call: OperationCall) -> None:
        if call.request.method != "GET":
            SERVED["memory_stores"].unarchived(call)

    def accept(self, call: OperationCall, fields: Shape, old: FakeThing | None) -> None:
        expected, path = fields.pop("content_sha256", None), fields.get("path")
        if old is not None:
            _refuse_stale(old, expected)
        if any(memory is not old and memory.fields["path"] == path for memory in _memories(call.world, call.ids[0])):
            raise Refusal(409, "A memory with this path already exists.", type="invalid_request_error")
        if "content" in fields:
            content = fields["content"].encode(errors="surrogatepass")
            if len(content) > 100 * 1024:
                raise invalid("content has at most 100 KB.", "content")
            fields |= {"content_sha256": sha256(content).hexdigest(), "content_size_bytes": len(content)}

    def leave(self, call: OperationCall, entity: FakeThing) -> None:
        _refuse_stale(entity, call.query("expected_content_sha256"))
        super().leave(call, entity)

    def changed(self, call: OperationCall, entity: FakeThing, how: str) -> None:
        """Keep a version of it."""
        fields, store_id = entity.fields, entity.fields["memory_store_id"]
        kept = {"memory_store_id": store_id, "memory_id": fields["id"], "path": fields["path"], "operation": how}
        kept |= {name: fields[name] for name in _DIGEST if how != "deleted"}
        version = call.world.keep("memory_stores.memory_versions", store_id, at=call.now, **kept)
        fields["memory_version_id"] = version.fields["id"]

    def things(self, call: OperationCall) -> Mapping[str, FakeThing]:
        """Return the memories; a list has folders for those deeper than `depth`."""
        memories = super().things(call)
        if not call.operation.id.endswith(".list"):
            return memories
        prefix, depth = call.query("path_prefix") or "", call.number("depth", 10**9, least=1)
        shown = dict[str, FakeThing]()
        for memory in memories.values():
            path = memory.fields["path"]
            parts = path.removeprefix(prefix).split("/")
            if not self.is_visible(call, memory) or not path.startswith(prefix):
                continue
            if len(parts) > depth:
                folder = prefix + "/".join(parts[:depth]) + "/"
                fields = {"type": "memory_prefix", "path": folder, "content": ""}
                memory = FakeThing(folder, fields, memory.created)
            shown[memory.id] = memory
        return shown


@of("memory_stores.memory_versions")
class _MemoryVersions(_Viewed):
    def redact(self, call: OperationCall) -> Reply:
        version = self.find(call)
        version.fields.update(dict.fromkeys(_DIGEST), redacted_at=stamp(call.now), redacted_by=BY)
        return version.fields


def _memories(world: World, store_id: str) -> list[FakeThing]:
    return world.alive(f"memory_stores/{store_id}/memories")


def _refuse_stale(memory: FakeThing, sha256: str | None) -> None:
    if sha256 not in (None, memory.fields["content_sha256"]):
        message = "The memory has other content now: content_sha256 does not match."
        raise Refusal(409, message, type="invalid_request_error")  # api.md#memory
