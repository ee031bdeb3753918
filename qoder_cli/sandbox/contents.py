"""What has content: files, skills and memories (api/facts.md, 4 and 7.3)."""

import json
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import HTTP
from hashlib import blake2s, sha256
from io import BytesIO
from typing import Any, cast
from urllib.parse import parse_qs

from qoder_cli.nouns.operations import Operation
from qoder_cli.sandbox.call import Call, Reply
from qoder_cli.sandbox.records import Thing
from qoder_cli.sandbox.shapes import Shape, stamp
from qoder_cli.sandbox.store import (
    Act,
    Kind,
    add,
    check,
    create,
    filters,
    touch,
    visible,
)
from qoder_cli.sandbox.wire import BLOBS, Refusal, Request, invalid, unknown_field
from qoder_cli.sandbox.world import World
from qoder_cli.settings.values import is_loopback

_MOST_OF_A_FILE = 5_000_000
_MOST_OF_METADATA = 8 * 1024
_MOST_OF_A_SKILL = 50 * 1024 * 1024
_MOST_OF_A_MEMORY = 100 * 1024
_LINK_LASTS = 600  # seconds
_BY = {"type": "api_actor", "api_key_id": "key_sandbox"}

# Forms.


def _form(operation: Operation, call: Call) -> list[tuple[str, Any]]:
    """Return the parts of a form with their names. Raises Refusal for a body that is none, or has others."""
    request = call.request
    kind = request.headers.get("content-type", "").encode()
    form = BytesParser(EmailMessage, policy=HTTP).parsebytes(b"content-type: " + kind + b"\r\n\r\n" + request.body)
    if not form.is_multipart():
        raise invalid("The body must be multipart/form-data.")
    parts = [(str(part.get_param("name", header="content-disposition")), part) for part in form.iter_parts()]
    for name, _ in parts:
        if name not in (*operation.body, "files", "file"):
            raise unknown_field(name, name)
    return parts


def _bytes_of(part: Any) -> bytes:
    return cast(bytes, part.get_payload(decode=True) or b"")


def _texts(parts: list[tuple[str, Any]]) -> Shape:
    """Return the fields of a form that are no files; `metadata` is JSON."""
    texts: Shape = {name: _bytes_of(part).decode() for name, part in parts if part.get_filename() is None}
    if "metadata" in texts:
        try:
            texts["metadata"] = json.loads(texts["metadata"])
        except ValueError:
            raise invalid("metadata must be a JSON object.", "metadata") from None
        if len(json.dumps(texts["metadata"])) > _MOST_OF_METADATA:
            raise invalid("metadata has at most 8 KB.", "metadata")
        check("metadata", texts["metadata"])
    return texts


# Files.


def _upload(kind: Kind, operation: Operation, call: Call) -> Reply:
    parts = _form(operation, call)
    texts, file = _texts(parts), next((part for name, part in parts if name == "file"), None)
    if file is None or file.get_filename() is None:
        raise invalid("Missing required field: file", "file")
    content, name = _bytes_of(file), texts.get("name") or file.get_filename()
    if len(content) > _MOST_OF_A_FILE:
        raise Refusal(413, "A file has at most 5 MB.")
    try:
        content.decode()
    except UnicodeDecodeError:
        raise invalid("Only text files are taken.", "file") from None
    if not 1 <= len(name.encode()) <= 255:
        raise invalid("name must have 1 to 255 bytes.", "name")
    expires = texts.get("expires_in_seconds")
    if expires is not None and not (expires.isdigit() and int(expires) > 0):
        raise invalid("expires_in_seconds must be a number above 0.", "expires_in_seconds")
    fields = {
        "filename": name,
        "mime_type": file.get_content_type(),
        "size_bytes": len(content),
        "metadata": texts.get("metadata", {}),
        "expires_at": stamp(call.now + int(expires)) if expires else None,
        "_content": content,
    }
    return create(kind, operation, call, fields)


def _refuse_mounted(call: Call, file: Thing) -> None:
    active = (each for each in call.world.sessions.values() if each.archived is None and each.deleted is None)
    if any(resource.get("file_id") == file.fields["id"] for session in active for resource in session.resources):
        raise Refusal(409, "An active session uses this file.")


def _link(kind: Kind, operation: Operation, call: Call) -> Reply:
    """Return where a file is fetched from without a token: here, for a while."""
    file = kind.known(call).fields
    if not file["downloadable"]:
        raise Refusal(403, "The file is not downloadable.")
    expires = int(call.now) + _LINK_LASTS
    host = call.request.headers.get("host", "localhost")
    scheme = "http" if is_loopback(host) else "https"
    query = f"expires={expires}&signature={_signature(call.world, file['id'], expires)}"
    return {"url": f"{scheme}://{host}{BLOBS}/{file['id']}?{query}", "expires_at": stamp(expires)}


def _signature(world: World, id: str, expires: int) -> str:
    return blake2s(f"{world.token}:{id}:{expires}".encode(), digest_size=16).hexdigest()


def fetched(world: World, request: Request) -> bytes:
    """Return the file that a link leads to. Raises Refusal for any other link."""
    id, query = request.path.removeprefix(BLOBS + "/"), parse_qs(request.query)
    file, expires = world.thing("files", id), query.get("expires", [""])[0]
    if file is None or not expires.isdigit() or query.get("signature") != [_signature(world, id, int(expires))]:
        raise Refusal(403, "The link is not valid.")
    if int(expires) < world.now():
        raise Refusal(403, "The link has expired.")
    return cast(bytes, file.fields["_content"])


# Skills.


def _files_of_skill(parts: list[tuple[str, Any]]) -> dict[str, bytes]:
    """Return the files of a skill by their paths, SKILL.md among them. Raises Refusal."""
    given = [
        (part.get_filename() or "", _bytes_of(part)) for name, part in parts if name in ("files", "files[]", "file")
    ]
    if len(given) == 1 and given[0][1].startswith(b"PK"):
        given = _unzipped(given[0][1])
    if sum(len(content) for _, content in given) > _MOST_OF_A_SKILL:
        raise Refusal(413, "A skill has at most 50 MiB.")
    if not given:
        raise invalid("Missing required field: files[]", "files[]")
    for path, _ in given:
        if not path or path.startswith("/") or ".." in path.split("/"):
            raise invalid(f"{path} is not a relative path.", "files[]")
    tops = {path.partition("/")[0] for path, _ in given}
    if len(tops) == 1 and all("/" in path for path, _ in given):  # all of it in one folder
        given = [(path.partition("/")[2], content) for path, content in given]
    files = dict(given)
    if "SKILL.md" not in files:
        raise invalid("SKILL.md must be at the root.", "files[]")
    return files


def _unzipped(content: bytes) -> list[tuple[str, bytes]]:
    from zipfile import BadZipFile, ZipFile

    try:
        with ZipFile(BytesIO(content)) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
            if sum(info.file_size for info in infos) > _MOST_OF_A_SKILL:
                raise Refusal(413, "A skill has at most 50 MiB.")
            return [(info.filename, archive.read(info)) for info in infos]
    except (BadZipFile, NotImplementedError, RuntimeError):
        raise invalid("The file is not a zip.", "file") from None


def _front_matter(content: bytes) -> dict[str, str]:
    """Return the plain fields at the top of a SKILL.md. Raises Refusal without a name."""
    found: dict[str, str] = {}
    lines = content.decode(errors="replace").splitlines()
    for line in lines[1:] if lines[:1] == ["---"] else []:
        if line == "---":
            break
        name, colon, value = line.partition(":")
        if colon and not name.startswith(" "):
            found[name] = value.strip().strip("\"'")
    if not found.get("name"):
        raise invalid("SKILL.md must have front matter with a name.", "files[]")
    return found


def _create_skill(kind: Kind, operation: Operation, call: Call) -> Reply:
    parts = _form(operation, call)
    files, texts = _files_of_skill(parts), _texts(parts)
    name = _front_matter(files["SKILL.md"])["name"]
    title = texts.get("display_title") or name
    made = create(kind, operation, call, {"display_title": title, "metadata": texts.get("metadata", {})})
    assert isinstance(made, dict)
    add_version(call.world, made["id"], files, at=call.now)
    return kind.show(call, kind.known(call, made["id"]), "create")


def _create_version(kind: Kind, operation: Operation, call: Call) -> Reply:
    skill = KINDS["skills"].known(call)
    made = add_version(call.world, call.ids[0], _files_of_skill(_form(operation, call)), at=call.now)
    touch(call, skill)
    return visible(made)


def add_version(world: World, skill_id: str, files: dict[str, bytes], *, at: float) -> Thing:
    """Keep a version of a skill; its number was never used before. Raises Refusal."""
    kind, home, told = KINDS["skills.versions"], f"skills/{skill_id}/versions", _front_matter(files["SKILL.md"])
    fields = {
        "skill_id": skill_id,
        "version": str(len(world.things.get(home, {})) + 1),
        "name": told["name"],
        "description": told.get("description", ""),
        "directory": told["name"],
        "_files": files,
    }
    if skill := world.thing("skills", skill_id):
        skill.fields["_name"] = told["name"]
    return add(world, kind, home, fields, at=at)


def _show_skill(call: Call, skill: Thing, verb: str) -> Shape:
    versions = call.world.things.get(f"skills/{skill.fields['id']}/versions", {}).values()
    latest = next((each.fields["version"] for each in reversed(versions) if each.deleted is None), None)
    return visible(skill) | {"latest_version": latest}


def _zip(kind: Kind, operation: Operation, call: Call) -> Reply:
    from zipfile import ZipFile, ZipInfo

    fields, zipped = kind.known(call).fields, BytesIO()
    with ZipFile(zipped, "w") as archive:
        for path, content in fields["_files"].items():
            archive.writestr(ZipInfo(path), content)  # of no time: the same content is the same zip
    return zipped.getvalue()


# Memories.


def _show_store(call: Call, store: Thing, verb: str) -> Shape:
    memories = _memories(call.world, store.fields["id"])
    size = sum(memory.fields["content_size_bytes"] for memory in memories)
    status = "active" if store.fields["archived_at"] is None else "archived"
    return store.fields | {"status": status, "entry_count": len(memories), "total_size": size}


def _memories(world: World, store_id: str) -> list[Thing]:
    kept = world.things.get(f"memory_stores/{store_id}/memories", {}).values()
    return [memory for memory in kept if memory.deleted is None]


def _memory(call: Call, said: Shape, old: Thing | None) -> None:
    store_id, known, path = call.ids[0], said.pop("content_sha256", None), said.get("path")
    _refuse_archived(call)
    if old is not None:
        _refuse_stale(old, known)
    else:
        said["memory_store_id"] = store_id
    if path is not None and (path.startswith("/") or not all(part not in ("", "..") for part in path.split("/"))):
        raise invalid("path must be relative.", "path")
    if any(each is not old and each.fields["path"] == path for each in _memories(call.world, store_id)):
        raise Refusal(409, "A memory with this path already exists.")
    if "content" in said:
        said.update(_measured(said["content"]))


def _refuse_archived(call: Call) -> None:
    if call.world.is_archived("memory_stores", call.ids[0]):
        raise Refusal(409, "Memory store is archived.")


def _refuse_stale(memory: Thing, sha256: str | None) -> None:
    if sha256 not in (None, memory.fields["content_sha256"]):
        raise Refusal(409, "The memory has other content now: content_sha256 does not match.")


def _measured(content: str) -> Shape:
    """Return content with its digest and size. Raises Refusal when there is too much of it."""
    raw = content.encode(errors="surrogatepass")
    if len(raw) > _MOST_OF_A_MEMORY:
        raise invalid("content has at most 100 KB.", "content")
    return {"content": content, "content_sha256": sha256(raw).hexdigest(), "content_size_bytes": len(raw)}


def _memory_leaves(call: Call, memory: Thing) -> None:
    _refuse_archived(call)
    _refuse_stale(memory, call.query.one("expected_content_sha256"))


def _memory_changed(call: Call, memory: Thing, how: str) -> None:
    keep_memory_version(call.world, memory, how, at=call.now)


def keep_memory_version(world: World, memory: Thing, how: str, *, at: float, by: Shape = _BY) -> None:
    """Remember what a memory was made into."""
    fields, store_id = memory.fields, memory.fields["memory_store_id"]
    names = ("memory_store_id", "path", "content", "content_sha256", "content_size_bytes")
    kept: Shape = {"memory_id": fields["id"], "operation": how, **{name: fields[name] for name in names}}
    if how == "deleted":
        kept |= {"content": None, "content_sha256": None, "content_size_bytes": None}
    home = f"memory_stores/{store_id}/memory_versions"
    version = add(world, KINDS["memory_stores.memory_versions"], home, kept | {"created_by": by}, at=at)
    fields["memory_version_id"] = version.fields["id"]


def _with_view(call: Call, thing: Thing, verb: str) -> Shape:
    """Return a memory or a version of one: with content where `view` is full, which one alone is by itself."""
    view = call.query.one("view") or ("full" if verb == "retrieve" else "basic")
    if view not in ("basic", "full"):
        raise invalid("view must be basic or full.", "view")
    return {name: value for name, value in thing.fields.items() if view == "full" or name != "content"}


def _list_memories(kind: Kind, operation: Operation, call: Call) -> Reply:
    """Return a page of memories; those deeper than `depth` below the prefix are shown as the folder they are in."""
    prefix, depth = call.query.one("path_prefix") or "", call.query.one("depth")
    if depth is not None and not (depth.isdigit() and int(depth) > 0):
        raise invalid("depth must be a number above 0.", "depth")
    keep, shown = filters(kind, operation, call), dict[str, Shape]()
    for memory in call.world.things.get(kind.home(call), {}).values():
        path = memory.fields["path"]
        if not call.knows(memory) or not keep(memory) or not path.startswith(prefix):
            continue
        parts = path.removeprefix(prefix).split("/")
        if depth is not None and len(parts) > int(depth):
            folder = prefix + "/".join(parts[: int(depth)]) + "/"
            shown[folder] = {"type": "memory_prefix", "path": folder}
        else:
            shown[memory.fields["id"]] = kind.show(call, memory, "list")
    return call.page(shown.items(), lambda item: item[1], name=lambda item: item[0])


def _redact(kind: Kind, operation: Operation, call: Call) -> Reply:
    version = kind.known(call)
    call.expect_no_fields()
    gone = dict.fromkeys(("content", "content_sha256", "content_size_bytes"))
    version.fields.update(gone, redacted_at=stamp(call.now), redacted_by=_BY)
    return version.fields


def dreamt(world: World, dream: Shape, *, at: float) -> Shape:
    """Return the output of a dream: a store with what it was given, and a summary of that (api/facts.md, 4)."""
    sources = [each["memory_store_id"] for each in dream["inputs"] if each["type"] == "memory_store"]
    memories = [memory.fields for source in sources for memory in _memories(world, source)]
    texts = {memory["path"]: memory["content"] for memory in memories}
    summary = {"dream.md": "".join(f"- {path}\n" for path in texts) or "- nothing new\n"}
    store_id = dream["output_behavior"].get("memory_store_id")
    if store_id is None:
        kind = KINDS["memory_stores"]
        store_id = add(world, kind, kind.path, {"name": f"dream of {dream['id']}"}, at=at).fields["id"]
        summary = texts | summary
    by = {"type": "session_actor", "session_id": dream["session_id"]}
    for path, content in summary.items():
        write_memory(world, store_id, path, content, at=at, by=by)
    return {"type": "memory_store", "memory_store_id": store_id, "files_touched": list(summary)}


def write_memory(world: World, store_id: str, path: str, content: str, *, at: float, by: Shape = _BY) -> None:
    """Write a memory as something within the service does it."""
    known = next((memory for memory in _memories(world, store_id) if memory.fields["path"] == path), None)
    fields = {"memory_store_id": store_id, "path": path, **_measured(content)}
    if known is None:
        home = f"memory_stores/{store_id}/memories"
        known = add(world, KINDS["memory_stores.memories"], home, fields, at=at)
        keep_memory_version(world, known, "created", at=at, by=by)
    else:
        known.fields.update(fields, updated_at=stamp(at))
        keep_memory_version(world, known, "modified", at=at, by=by)


_FILE: Shape = {
    **{"filename": "", "mime_type": "text/plain", "size_bytes": 0, "downloadable": False, "scope": None},
    **{"metadata": {}, "status": "ready", "expires_at": None},
}
_SKILL: Shape = {"display_title": "", "source": "custom", "metadata": {}}
_VERSION: Shape = {"skill_id": "", "version": "", "name": "", "description": "", "directory": ""}
_STORE: Shape = {"name": "", "description": "", "metadata": {}}
_MEMORY: Shape = {
    **{"memory_store_id": "", "path": "", "content": "", "content_sha256": "", "content_size_bytes": 0},
    **{"memory_version_id": "", "metadata": {}},
}
_MEMORY_VERSION: Shape = {
    **{"memory_store_id": "", "memory_id": "", "operation": "", "path": "", "content": None},
    **{"content_sha256": None, "content_size_bytes": None, "created_by": {}},
    **{"redacted_at": None, "redacted_by": None},
}
_CREATED, _UPDATED = ("created_at",), ("created_at", "updated_at")

KINDS = {
    "files": Kind("files", "file", "file", _FILE, leaves=_refuse_mounted, name="filename", dated=_CREATED),
    "skills": Kind("skills", "skill", "skill", _SKILL, show=_show_skill, name="_name", dated=_UPDATED),
    "skills.versions": Kind("skills/{}/versions", "skill_version", "skillver", _VERSION, key="version", dated=_CREATED),
    "memory_stores": Kind("memory_stores", "memory_store", "memstore", _STORE, show=_show_store),
    "memory_stores.memories": Kind(
        "memory_stores/{}/memories",
        "memory",
        "mem",
        _MEMORY,
        _memory,
        _memory_changed,
        _with_view,
        leaves=_memory_leaves,
        dated=_UPDATED,
    ),
    "memory_stores.memory_versions": Kind(
        "memory_stores/{}/memory_versions", "memory_version", "memver", _MEMORY_VERSION, show=_with_view, dated=_CREATED
    ),
}
OWN: dict[str, Act] = {
    "files.upload": _upload,
    "files.download": _link,
    "skills.create": _create_skill,
    "skills.versions.create": _create_version,
    "skills.versions.download": _zip,
    "memory_stores.memories.list": _list_memories,
    "memory_stores.memory_versions.redact": _redact,
}
