"""`qoder memory`: memory stores and what they hold."""

from qoder_cli.app import App
from qoder_cli.base import ids
from qoder_cli.base.errors import NoResponse, UsageError
from qoder_cli.base.model import Raw
from qoder_cli.base.plainfile import text_of
from qoder_cli.cli.options import YES, Text, argument, flag, is_list, named, option
from qoder_cli.commands import generic
from qoder_cli.commands.generic import change_things, need_a_yes, print_list
from qoder_cli.commands.viewing import View, Viewing
from qoder_cli.help.completion import values
from qoder_cli.nouns import memory as memories
from qoder_cli.nouns.bodies import check_typed
from qoder_cli.nouns.edits.thing import target_of
from qoder_cli.nouns.edits.verbs import DELETE
from qoder_cli.nouns.named import id_of
from qoder_cli.nouns.shown import show
from qoder_cli.nouns.table import NOUNS, path_of
from qoder_cli.output.listing import ALL, LIMIT, rows_wanted

STORE = NOUNS["memory"]
_STORE = argument("STORE", "Store: its id (memstore_…) or exact name.", values.things(STORE.words))
_PATH_TEXTS = ("PATH", "Path, e.g. notes/today.md, or id (mem_…).")
_PATH, _PATH_OR_ALL = argument(*_PATH_TEXTS), argument(*_PATH_TEXTS, default=None)
_MESSAGE = option("--message -m", "TEXT|@FILE|-", "Content of the memory (default: standard input).")


def ls(
    app: App,
    store: str = _STORE,
    prefix: Text = argument("PREFIX", "Only those whose paths begin so.", default=None),
    limit: int | None = LIMIT,
    all: bool = ALL,
    *,
    viewing: Viewing,
) -> None:
    """List the memories of a store (20 by default).

    Examples:
      qoder memory ls project"""
    view = View(app, viewing, memories.ENTRY.listing.columns)
    wanted = rows_wanted(limit, all=all)
    query: Raw = {}
    if folder := (prefix or "").lstrip("/"):
        memories.checked(folder.rstrip("/"))
        query["path_prefix"] = folder
    path = path_of(memories.ENTRY, id_of(app, STORE, store, archived=True))

    def matches(raw: Raw) -> bool:
        return memories.path_in(raw).startswith(folder)

    view.show(lambda: print_list(app, memories.ENTRY, path, query, wanted, matches))


def cat(app: App, store: str = _STORE, path: str = _PATH) -> None:
    """Print a memory.

    Prints it unchanged; on a terminal, control sequences are removed. Warns if
    it does not match its digest. In JSON it is the memory, with its `content`.

    Examples:
      qoder memory cat project conventions.md"""
    checked_path = memories.checked(path)
    raw = memories.found(app, id_of(app, STORE, store, archived=True), checked_path)
    if app.output.format != "table":
        app.output.record({}, data=raw, id=str(raw["id"]))
        return
    content = raw.get("content")
    if not isinstance(content, str):
        raise NoResponse(f"the response has no content of {raw['id']}")
    if not memories.is_whole(raw, content):
        app.progress.warn(f"the content of {raw['id']} was cut, or holds your token, which is shown as [redacted]")
    app.output.content(content.encode("utf-8", "replace"))


def history(
    app: App,
    store: str = _STORE,
    path: Text = _PATH_OR_ALL,
    version: Text = option("--version", "ID", "Show only this version (memver_…)."),
    limit: int | None = LIMIT,
    all: bool = ALL,
    *,
    viewing: Viewing,
) -> None:
    """List the versions of a memory, or of all in a store (20 by default).

    Examples:
      qoder memory history project conventions.md"""
    view = View(app, viewing, memories.VERSION.listing.columns)
    wanted = rows_wanted(limit, all=all)
    checked_path = None if path is None else memories.checked(path)
    if version is not None and (checked_path or limit or all or any(viewing)):
        raise UsageError("--version shows one version", hint="leave out the other options, or --version")
    version_id = None if version is None else ids.memory_version(version)
    id = id_of(app, STORE, store, archived=True)
    if version_id:
        show(app, memories.VERSION, memories.whole(app, memories.VERSION, id, version_id))
        return
    memory = checked_path and memories.find(app, id, checked_path)
    query: Raw = {"memory_id": memory["id"]} if memory else {}

    def matches(raw: Raw) -> bool:
        if memory:
            return raw.get("memory_id") in (None, memory["id"])
        return checked_path in (None, raw.get("memory_id"), memories.path_in(raw))  # one that is deleted

    view.show(lambda: print_list(app, memories.VERSION, path_of(memories.VERSION, id), query, wanted, matches))


def write(app: App, store: str = _STORE, path: str = _PATH, message: Text = _MESSAGE) -> None:
    """Write a memory: a new one, or over the one with this path.

    If someone else has changed it, their version is shown and kept (exit 6).
    Sends nothing if it is up to date. Exits 9 if the response was lost and it
    is unclear whether it was written.

    Examples:
      qoder memory write project conventions.md -m 'Releases are on Monday.'"""
    checked_path = memories.checked(path)
    if message is None and not app.is_piped_into:
        raise UsageError("missing option -m", hint="pass -m TEXT, -m @FILE, or pipe the text in")
    content = text_of("-" if message is None else message, stdin=app.stdin, option="-m")
    check_typed("-m", "content", content)
    if len(content.encode()) > memories.LARGEST:
        raise UsageError(f"-m: more than {memories.LARGEST // 2**10} KB", hint="split it into several memories")
    if "\0" in content:
        raise UsageError("-m: the text contains a NUL; memories are texts")
    show(app, memories.ENTRY, memories.write(app, id_of(app, STORE, store), checked_path, content))


def remove(
    app: App,
    store: str = _STORE,
    paths: list[str] = argument("PATH...", "Paths or ids (mem_…); - reads them from stdin."),
    yes: bool = YES,
) -> None:
    """Remove memories. Their versions stay in the history.

    Asks first; scripts need --yes. If someone else has just changed it, it
    stays (exit 6).

    Examples:
      qoder memory remove project conventions.md --yes"""
    need_a_yes(app, DELETE, yes)
    words = [(word, memories.checked(word)) for word in named(paths, app, what="memories")]
    id = id_of(app, STORE, store)
    targets = [(word, memories.target_as_read(id, memories.found(app, id, path))) for word, path in words]

    def question(raw: Raw) -> str:
        return f"memory '{raw.get('path')}' ({raw.get('id')})?"

    many, refused = is_list(paths), "check what it says now: someone else has changed it"
    change_things(app, memories.ENTRY, DELETE, targets, question, yes=yes, as_list=many, refused=refused)


def redact(
    app: App,
    store: str = _STORE,
    versions: list[str] = argument("VERSION...", "Ids of versions (memver_…); - reads them from stdin."),
    yes: bool = YES,
) -> None:
    """Permanently erase the content of memory versions.

    Use it when a secret was stored by mistake: rewrite the memory first, then
    redact the versions that contain it.

    Examples:
      qoder memory redact project memver_1 --yes"""
    need_a_yes(app, memories.REDACT, yes)
    words = [ids.memory_version(word) for word in named(versions, app, what="versions")]
    id = id_of(app, STORE, store)
    look = ("memory", "history", id, "--version")
    targets = [(word, target_of(memories.VERSION, id, word)._replace(look=(*look, word))) for word in words]

    def question(raw: Raw) -> str:
        what = f"version {raw.get('id')} of memory '{raw.get('path')}'"
        return f"{what}? Its content cannot be brought back."

    many = is_list(versions)
    change_things(app, memories.VERSION, memories.REDACT, targets, question, yes=yes, as_list=many)


def restore(
    app: App,
    store: str = _STORE,
    path: str = _PATH,
    version: str = argument("VERSION", "Id of the version (memver_…); see memory history."),
    dry_run: bool = flag("--dry-run", "Show the difference without writing."),
) -> None:
    """Write what a version of a memory said over it.

    Shows the difference first. If someone else changes the memory then, their
    version is shown and kept (exit 6). A removed memory is created again; the
    replaced version stays in the history.

    Examples:
      qoder memory restore project conventions.md memver_1"""
    checked_path, wanted = memories.checked(path), ids.memory_version(version)
    show(app, memories.ENTRY, memories.restore(app, id_of(app, STORE, store), checked_path, wanted, only_look=dry_run))


COMMANDS = generic.commands(
    "memory", ls=ls, cat=cat, write=write, remove=remove, history=history, restore=restore, redact=redact
)
