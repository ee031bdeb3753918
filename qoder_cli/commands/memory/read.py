"""`qoder memory ls`, `cat` and `history`: what a store holds, and who wrote it."""

from typing import Annotated, Any

import typer

from qoder_cli.app import App
from qoder_cli.base.errors import UsageError
from qoder_cli.cli.options import argument
from qoder_cli.commands.made import ROUNDED, one_argument, print_list
from qoder_cli.commands.run.list import ALWAYS, Window
from qoder_cli.nouns.shown import show
from qoder_cli.nouns.table import NOUNS, path_of
from qoder_cli.output.listing import All, Limit, page_size, rows_wanted

STORE = NOUNS["memory"]
Store: Any = one_argument(STORE)
_PATH = argument("PATH", "Path, for example notes/today.md, or id (mem_…).")
Path = Annotated[str, _PATH]


def ls(
    ctx: typer.Context,
    store: Store,
    prefix: Annotated[str | None, argument("PREFIX", "Only those whose paths begin so.")] = None,
    depth: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Show what is deeper than N folders as its folder.")
    ] = None,
    limit: Limit = None,
    all: All = False,
) -> None:
    """List the memories of a store (20 by default).

    Piped: id, path, bytes, updated. A folder has a path alone.

    Examples:
      qoder memory ls project
      qoder memory ls project notes/ --depth 1 --json"""
    from qoder_cli.nouns import memories
    from qoder_cli.nouns.named import id_of

    app: App = ctx.obj
    wanted = rows_wanted(limit, all=all)
    query: dict[str, Any] = {"limit": page_size(wanted)}
    folder = (prefix or "").lstrip("/")
    if folder:
        memories.checked(folder.rstrip("/"))
        query["path_prefix"] = folder
    if depth is not None:
        query["depth"] = depth
    id = id_of(app, STORE, store, archived=True)
    pages = app.client.pages(path_of(memories.ENTRY, id), query)
    columns = memories.ENTRY.columns

    def matches(raw: dict[str, Any]) -> bool:
        return str(raw.get("path")).lstrip("/").startswith(folder)

    listing = print_list(app, pages, columns, wanted, matches)
    listing.conclude(app.progress, none="no memories found")


def cat(
    ctx: typer.Context,
    store: Store,
    path: Path,
    version: Annotated[str | None, typer.Option(metavar="ID", help="As this version (memver_…) has it.")] = None,
) -> None:
    """Print what a memory says.

    Exactly as it is, but on a terminal, where nothing in it can steer it. In
    JSON it is the memory, with its `content`.

    Examples:
      qoder memory cat project conventions.md
      qoder memory cat project conventions.md --json | jq -r .content_sha256"""
    from qoder_cli.base.errors import NoAnswer, NotFound
    from qoder_cli.nouns import memories
    from qoder_cli.nouns.named import id_of

    app: App = ctx.obj
    typed = memories.checked(path)
    wanted = version and memories.version_checked(version)
    id = id_of(app, STORE, store, archived=True)
    raw = memories.version(app, id, wanted).raw if wanted else memories.found(app, id, typed)
    if wanted and typed not in (raw.get("memory_id"), str(raw.get("path")).lstrip("/")):
        raise NotFound(
            f"{wanted} is not a version of {typed}", hint=f"see those of it: qoder memory history {id} {typed}"
        )
    if app.output.format != "table":
        app.output.record({}, data=raw, id=str(raw["id"]))
        return
    content = raw.get("content")
    if not isinstance(content, str):
        redacted = ": it was redacted" if raw.get("redacted_at") else ""
        raise NoAnswer(f"the response has no content of {raw['id']}{redacted}")
    app.output.content(content.encode("utf-8", "replace"))


def history(
    ctx: typer.Context,
    store: Store,
    path: Annotated[str | None, _PATH] = None,
    version: Annotated[str | None, typer.Option(metavar="ID", help="Show this version (memver_…) alone.")] = None,
    since: Annotated[str | None, typer.Option(metavar="WHEN", help="Only those made since, e.g. 90m, 7d.")] = None,
    limit: Limit = None,
    all: All = False,
) -> None:
    """List the versions of a memory, or of all in a store (20 by default).

    Piped: id, path, operation, bytes, by, created, redacted.

    Examples:
      qoder memory history project conventions.md
      qoder memory history project --since 7d --json"""
    from qoder_cli.nouns import memories
    from qoder_cli.nouns.named import id_of

    app: App = ctx.obj
    window = Window.read(since, None, app=app)
    wanted = rows_wanted(limit, all=all, bounded=window != ALWAYS)
    typed = None if path is None else memories.checked(path)
    if version is not None and (typed or since or limit or all):
        raise UsageError("--version shows one version", hint="leave out the other options, or --version")
    one = version and memories.version_checked(version)
    id = id_of(app, STORE, store, archived=True)
    if one:
        show(app, memories.VERSION, memories.version(app, id, one).raw)
        return
    query: dict[str, Any] = {"limit": page_size(wanted)}
    query |= window.query("created_at[gte]", "created_at[lte]", slack=ROUNDED)
    known = typed and memories.find(app, id, typed)
    if known:
        query["memory_id"] = known["id"]

    def matches(raw: dict[str, Any]) -> bool:
        if window != ALWAYS and not window.has(raw.get("created_at")):
            return False
        if known:
            return raw.get("memory_id") in (None, known["id"])
        return typed in (None, raw.get("memory_id"), str(raw.get("path")).lstrip("/"))  # one that is deleted

    pages = app.client.pages(path_of(memories.VERSION, id), query)
    listing = print_list(app, pages, memories.VERSION.columns, wanted, matches)
    listing.conclude(app.progress, none="no versions found")
