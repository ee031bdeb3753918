"""`qoder memory write`, `remove` and `redact`."""

import re
from typing import Annotated, Any

import typer

from qoder_cli.app import App
from qoder_cli.base.errors import UsageError
from qoder_cli.cli.options import Yes, argument, is_list, named
from qoder_cli.commands.made import change_things, need_a_yes
from qoder_cli.commands.memory.read import STORE, Path, Store
from qoder_cli.nouns.shown import show


def write(
    ctx: typer.Context,
    store: Store,
    path: Path,
    message: Annotated[
        str | None,
        typer.Option("--message", "-m", metavar="TEXT|@FILE|-", help="What it shall say; default: standard input."),
    ] = None,
    if_sha256: Annotated[
        str | None, typer.Option(metavar="HEX", help="Only over content with this digest (see cat --json).")
    ] = None,
) -> None:
    """Write a memory: a new one, or over the one with this path.

    It is written only over what was read a moment before: what somebody else
    wrote in between is shown and stays (exit 6). Nothing is sent if it says
    so already. Exits 9 if the response was lost and it is unclear.

    Examples:
      qoder memory write project conventions.md -m 'Releases are on Monday.'
      qoder memory write project conventions.md -m @notes.md"""
    from qoder_cli.api.body import text_of
    from qoder_cli.nouns import memories
    from qoder_cli.nouns.named import id_of

    app: App = ctx.obj
    typed = memories.checked(path)
    if if_sha256 is not None and not re.fullmatch("[0-9a-fA-F]{64}", if_sha256):
        raise UsageError("--if-sha256 is not a SHA-256 in hexadecimal", hint="see qoder memory cat STORE PATH --json")
    if message is None and (app.stdin is None or app.stdin.isatty()):
        raise UsageError("missing option -m", hint="pass -m TEXT, -m @FILE, or pipe the text in")
    content = text_of("-" if message is None else message, stdin=app.stdin, option="-m")
    try:
        size = len(content.encode())
    except UnicodeEncodeError:
        raise UsageError("-m: the text is not UTF-8", hint="save it in a file, and use -m @FILE") from None
    if size > memories.LARGEST:
        raise UsageError(f"-m: more than {memories.LARGEST // 2**10} KB", hint="split it into several memories")
    if "\0" in content:
        raise UsageError("-m: the text contains a NUL; memories are texts")
    id = id_of(app, STORE, store)
    expected = if_sha256 and if_sha256.lower()
    show(app, memories.ENTRY, memories.write(app, id, typed, content, expected=expected))


def remove(
    ctx: typer.Context,
    store: Store,
    paths: Annotated[list[str], argument("PATH...", "Paths or ids (mem_…); - reads them from stdin.")],
    yes: Yes = False,
) -> int:
    """Remove memories. Their versions stay in the history.

    Asks before each one; scripts need --yes. What somebody else wrote
    meanwhile is not removed (exit 6).

    Examples:
      qoder memory remove project conventions.md --yes"""
    from qoder_cli.nouns import memories
    from qoder_cli.nouns.change import DELETE
    from qoder_cli.nouns.named import id_of

    app: App = ctx.obj
    need_a_yes(app, DELETE, yes)
    words = [(word, memories.checked(word)) for word in named(paths, app, what="memories")]
    id = id_of(app, STORE, store)
    targets = [(word, memories.target_as_read(id, memories.found(app, id, path))) for word, path in words]

    def question(raw: dict[str, Any]) -> str:
        return f"memory '{raw.get('path')}' ({raw.get('id')})?"

    asked, many = None if yes else question, is_list(paths)
    refused = "check what it says now: it was written meanwhile"
    return change_things(app, memories.ENTRY, DELETE, targets, asked, as_list=many, refused=refused)


def redact(
    ctx: typer.Context,
    store: Store,
    versions: Annotated[list[str], argument("VERSION...", "Ids of versions (memver_…); - reads them from stdin.")],
    yes: Yes = False,
) -> int:
    """Take the content out of versions of memories, for good.

    For a secret that was remembered by mistake: write the memory anew first,
    then redact the versions that have it.

    Examples:
      qoder memory redact project memver_1 --yes"""
    from qoder_cli.nouns import memories
    from qoder_cli.nouns.named import id_of
    from qoder_cli.nouns.write import target_of

    app: App = ctx.obj
    need_a_yes(app, memories.REDACT, yes)
    words = [memories.version_checked(word) for word in named(versions, app, what="versions")]
    id = id_of(app, STORE, store)
    look = ("memory", "history", id, "--version")
    targets = [(word, target_of(memories.VERSION, id, word)._replace(look=(*look, word))) for word in words]

    def question(raw: dict[str, Any]) -> str:
        what = f"version {raw.get('id')} of memory '{raw.get('path')}'"
        return f"{what}? Its content cannot be brought back."

    asked, many = None if yes else question, is_list(versions)
    return change_things(app, memories.VERSION, memories.REDACT, targets, asked, as_list=many)
