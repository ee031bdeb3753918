"""Memory stores, and the memories in them: named by path, changed only as read (api.md#memory and #limits)."""

import re
from collections.abc import Sequence
from difflib import unified_diff
from hashlib import sha256
from typing import Annotated, Any
from unicodedata import normalize

from qoder_cli.app import App
from qoder_cli.base.errors import NoResponse, NotFound, Rejected, UsageError
from qoder_cli.base.ids import segment
from qoder_cli.base.model import Raw, mapping, text
from qoder_cli.base.pool import in_order
from qoder_cli.base.tokens import names_token
from qoder_cli.base.words import few
from qoder_cli.nouns.declared import Declaration
from qoder_cli.nouns.edits.create import creating
from qoder_cli.nouns.edits.difference import ABSENT, FieldChange, Form
from qoder_cli.nouns.edits.step import Step
from qoder_cli.nouns.edits.thing import Target, read, target_of
from qoder_cli.nouns.edits.update import Overtaken, Update
from qoder_cli.nouns.edits.verbs import Change
from qoder_cli.nouns.file import UNSEEN, safe_name
from qoder_cli.nouns.how import Exporting, How, Lists
from qoder_cli.nouns.noun import Kind, Noun
from qoder_cli.nouns.parts import Description, Metadata, Name, Text
from qoder_cli.nouns.schema import Fields, Size, like
from qoder_cli.nouns.table import noun, path_of


class MemoryStore(Fields):
    """A memory store."""

    name: Name
    description: Description
    metadata: Metadata


class Memory(Fields):
    """A memory: a text at a path."""

    path: Annotated[
        str, Size(1, 1024), like(r"(?!\.{0,2}(?:/|$))(?:(?!/\.{0,2}(?:/|$)).)+", "must be relative"), "Where it is."
    ]
    content: Text
    metadata: Metadata
    content_sha256: str


_DIGEST = {"content": None, "content_sha256": None, "content_size_bytes": None}

noun(
    *("memory", "memory_stores"),
    columns="id name entries bytes status updated archived",
    more="description metadata created",
    sample="project",
    created="Say in --description what it is for: agents read that.",
    archived="An archived memory store can no longer be written to.",
    deleted="The memories in a store are deleted too.",
    kept={"name": "", "description": "", "metadata": {}},
    body=MemoryStore,
    kind=Kind(rank=4, text="description", below="memory entry", how="memory:OF_STORE"),
)
ENTRY = noun(
    *("memory entry", "memory_stores.memories"),
    columns="id path bytes updated",
    more="sha256 metadata created",
    sample="conventions.md",
    kept={"memory_store_id": "", "path": "", **_DIGEST, "metadata": {}},
    dated="created_at updated_at",
    takes_file=False,
    body=Memory,
    named_by="path",
    kind=Kind(rank=4, is_declared=False, is_written_once=True, how="memory:OF_ENTRY"),
)
VERSION = noun(
    *("memory version", "memory_stores.memory_versions"),
    type="memory_version",
    kept={"memory_store_id": "", "memory_id": "", "operation": "created", "path": "", **_DIGEST}
    | {"created_by": {"type": "api_actor", "api_key_id": "key_sandbox"}, "redacted_at": None, "redacted_by": None},
    dated="created_at",
    called="version",
    columns="id path operation bytes by created redacted",
    more="memory sha256",
    sample="memver_1",
)


LARGEST = 100 * 2**10  # bytes of a memory
REDACT = Change("redact", "redacting", "redacted", "POST", "/redact", "redacted")
_ID = re.compile("mem_[A-Za-z0-9]+")
_SHOWN = 2000  # characters of what somebody else wrote


def checked(word: str) -> str:
    """Return a path, without leading slashes, or an id. Raises UsageError."""
    path = word.lstrip("/")
    if not path.strip():
        raise UsageError("the path of the memory is empty", hint="is a shell variable unset?")
    if names_token(path):
        raise UsageError("a token was given instead of the path of a memory", hint="set QODER_PAT to it")
    if UNSEEN.search(path) or {"", ".", ".."} & set(path.split("/")):
        raise UsageError(f"{word[:60]!r} is not the path of a memory", hint="use a path like notes/today.md")
    return path


def find(app: App, store: str, word: str, *, fresh: bool = False) -> Raw | None:
    """Return a memory with content; None if missing. `fresh` is that of `Client.get`. Raises ApiError."""

    def there(id: str) -> Raw | None:
        try:
            return whole(app, ENTRY, store, id, fresh=fresh)
        except NotFound as error:
            if error.enveloped:
                return None
            raise

    if _ID.fullmatch(word):
        return there(word)
    query = {"path_prefix": word, "limit": 100}
    for page in app.client.pages(path_of(ENTRY, store), query, fresh=fresh):
        for row in map(mapping, page["data"]):
            # All below a folder is one item of another type.
            is_one = row.get("type") in (None, ENTRY.called) and text(row.get("id"))
            if is_one and path_in(row) == word:
                memory = there(str(row["id"]))
                if memory is not None and path_in(memory) == word:  # a list may lag
                    return memory
    return None


def path_in(raw: Raw) -> str:
    """Return the path in a memory, or in a version of one."""
    return str(raw.get("path")).lstrip("/")


def whole(app: App, noun: Noun, store: str, id: str, **how: Any) -> Raw:
    """Return a memory or version with content; `how` is passed to `Client.get`. Raises ApiError."""
    return read(app.client, target_of(noun, store, id), params={"view": "full"}, **how)


def found(app: App, store: str, word: str) -> Raw:
    """Return a memory with content. Raises NotFound, ApiError."""
    raw = find(app, store, word)
    if raw is None:
        raise NotFound(f"no memory {word} in {store}", hint="list them", next=app.looking("memory", "ls", store))
    return raw


def digest(raw: Raw) -> str:
    """Return the digest of a memory's content. Raises NoResponse."""
    if (sha256 := text(raw.get("content_sha256"))) is not None:
        return sha256
    if not isinstance(raw.get("content"), str):
        raise NoResponse(f"the response does not show the content of {raw.get('id')}")
    return sha256_of(raw["content"])


def sha256_of(content: str) -> str:
    """Return a text's digest, as the API writes it."""
    return sha256(content.encode("utf-8", "surrogatepass")).hexdigest()


def is_whole(raw: Raw, content: str) -> bool:
    """Return whether the content of a memory, or of a version, has its digest, where it shows one."""
    return raw.get("content_sha256") in (None, sha256_of(content))


# A memory is its content, and that its digest: a list and a short answer show no more.
_FORM = Form(
    lambda raw: {"content": digest(raw), "path": path_in(raw)},
    lambda fields: {"content": sha256_of(str(fields["content"]))},
    own={},
    is_exact=True,
    params={"view": "full"},
)


def target_as_read(store: str, raw: Raw) -> Target:
    """Return a memory, to change only as it was read. Raises NoResponse."""
    target, query = target_of(ENTRY, store, str(raw["id"])), f"?expected_content_sha256={segment(digest(raw))}"
    look = ("memory", "cat", store, target.id)
    return target._replace(called=f"memory {raw.get('path')}", look=look, query=query)


def write(app: App, store: str, word: str, content: str) -> Raw:
    """Write a memory, new or over what was read, and return it.

    Sends nothing if it says so already. Raises Rejected, after showing what someone else
    wrote in the meantime; other QoderErrors.
    """
    memory = find(app, store, word, fresh=True)
    if memory is None and _ID.fullmatch(word):
        found(app, store, word)
    if memory is not None and digest(memory) == sha256_of(content):
        app.progress.note(f"{word} already says this; nothing was sent")
        return memory
    return _put(app, store, word, memory, content)


def restore(app: App, store: str, word: str, version: str, *, only_look: bool) -> Raw:
    """Write what a version said over a memory, as it was when the difference was shown; return the memory.

    A memory that was removed is made anew, with the path that it had. Nothing is sent if `only_look`, or if it says so
    already. Raises Rejected as `write` does, and for a version of another memory, or one that was erased.
    """
    old = whole(app, VERSION, store, version)
    memory = find(app, store, word, fresh=True)
    path = path_in(old) if memory is None else path_in(memory)
    its = {path_in(old), text(old.get("memory_id"))}  # one that was made anew has another id
    if word not in its and (memory is None or its.isdisjoint((path, memory["id"]))):
        look = app.looking("memory", "history", store, word)
        raise Rejected(f"{version} is not a version of {word} in {store}", hint="list its versions", next=look)
    content = old.get("content")
    if not isinstance(content, str):
        why = "was erased" if old.get("redacted_at") else f"has no content ({old.get('operation')})"
        raise Rejected(f"{version} {why}; nothing was sent", hint="choose another version")
    if not is_whole(old, content):
        why = "was cut, or holds your token, which is hidden"
        raise Rejected(f"the content of {version} {why}; nothing was sent", hint="try again, or with another token")
    if memory is not None and digest(memory) == sha256_of(content):
        app.progress.note(f"{path} already says this; nothing was sent")
        return memory
    now = "" if memory is None else str(memory.get("content") or "")
    for line in unified_diff(now.splitlines(), content.splitlines(), "now", version, lineterm="", n=2):
        app.progress.note(f"  {line}")
    if only_look:
        return old if memory is None else memory
    return _put(app, store, path, memory, content)


def _put(app: App, store: str, word: str, memory: Raw | None, content: str) -> Raw:
    app.progress.note(f"writing {word} in {store}{app.client.settings.whereabouts}")
    try:
        if memory is None:
            return creating(app, ENTRY, {"path": word, "content": content}, store).deliver().raw
        target = target_of(ENTRY, store, str(memory["id"]))._replace(look=("memory", "cat", store, word))
        body = {"content": content, "content_sha256": digest(memory)}
        return Update(app, target, memory, body, _FORM).write().deliver().raw
    except Overtaken as error:
        raise _shown(app, store, word, error, error.now) from None
    except Rejected as error:
        if error.http_status != 409:
            raise
        error = error.with_(message=f"{error.message.rstrip('.')}; {word} was not written")
        raise _shown(app, store, word, error, find(app, store, word)) from None


def _shown(app: App, store: str, word: str, error: Rejected, theirs: Raw | None) -> Rejected:
    if theirs and (content := text(theirs.get("content"))):
        app.progress.note(f"{word} now says (sha256 {digest(theirs)}):", always=True)
        for line in content[:_SHOWN].splitlines():
            app.progress.note(f"  {line}", always=True)
    return error.with_(hint="see what it says now, then write again", next=app.looking("memory", "cat", store, word))


def _find_entry(lists: Lists, declared: Declaration, parents: Sequence[str]) -> list[Raw]:
    return [row for row in lists.rows(ENTRY, *parents) if path_in(row) == declared.name]


def _plan_entry(lists: Lists, declared: Declaration, step: Step) -> Step:
    return step.with_(changes=[FieldChange("content", ABSENT, declared.fields["content"])])


def _export_entries(export: Exporting, fields: Raw) -> Raw:
    """Write the entries of a store as files of the folder beside its own; return the store's fields."""
    lists, id = export.lists, str(export.raw["id"])
    listed = [row if row.get("path") else lists.whole(ENTRY, row, id) for row in lists.rows(ENTRY, id)]
    rows = {path_in(row): row for row in listed}
    taken, wanted, left_out = set[str](), list[str](), list[str]()
    for path in sorted(rows):
        plain = normalize("NFC", path).casefold()  # what another system takes for the same
        parts = plain.split("/")
        above = {"/".join(parts[:count]) for count in range(1, len(parts))}
        if _fits_a_file(path) and plain not in taken and above.isdisjoint(taken):
            taken.add(plain)
            wanted.append(path)
        else:
            left_out.append(path)

    def read_one(path: str) -> Raw:
        return whole(export.lists.app, ENTRY, str(export.raw["id"]), str(rows[path]["id"]))

    for path, memory in zip(wanted, in_order(read_one, wanted), strict=True):
        content = memory.get("content")
        if isinstance(content, str) and content.strip():
            mark = "\ufeff" if content.startswith("\ufeff") else ""  # the first one is not read
            export.files[f"{export.path.removesuffix('.yaml')}/{path}"] = (mark + content).encode("utf-8", "replace")
        else:
            left_out.append(path)
    if left_out:
        paths = few([ascii(path)[1:-1] for path in left_out])
        export.note(f"ignored entries that no file can be: {paths} (only names like a/b.md)")
    return fields


def _fits_a_file(path: str) -> bool:
    """Return whether the path of a memory can be that of a file, on every system, which is read as a memory."""
    parts = path.split("/")
    return path.lower().endswith(".md") and all(
        safe_name(part) == part and not part.startswith(".") and len(part.encode()) <= 255 for part in parts
    )


OF_STORE = How(export=_export_entries)
OF_ENTRY = How(find=_find_entry, form=_FORM, plan=_plan_entry)
