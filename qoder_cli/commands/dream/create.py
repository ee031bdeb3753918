"""`qoder dream create`."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from qoder_cli.app import App
from qoder_cli.cli.options import ModelTyped, several
from qoder_cli.commands import edited
from qoder_cli.nouns.table import NOUNS


def create(
    ctx: typer.Context,
    sources: Annotated[
        list[str] | None,
        several("--from", "STORE|SESSION", "Memory store or session (sess_…)."),
    ] = None,
    model: ModelTyped = None,
    instructions: Annotated[
        str | None, typer.Option(metavar="TEXT|@FILE|-", help="What to look for; - reads stdin.")
    ] = None,
    into: Annotated[
        str | None, typer.Option(metavar="STORE", help="Memory store to write to; default: a new one.")
    ] = None,
    file: edited.File = None,
    dry_run: edited.DryRun = False,
) -> int:
    """Have memories and sessions gone through, and memories written from them.

    Requires --from and --model, as options or in a file. It costs credits.
    Nothing marks a dream as ours: if the response was lost, it exits 9.

    Examples:
      qoder dream create --from project --model auto --dry-run
      qoder dream create --from project --into project --model auto"""
    from qoder_cli.nouns.body import body_of
    from qoder_cli.nouns.named import id_of

    app: App = ctx.obj
    noun = NOUNS["dream"]
    told = edited.text_typed(app, "--instructions", instructions, file)
    options: dict[str, Any] = {"model": model, "instructions": told, "inputs": None, "output_behavior": None}
    if sources:
        options["inputs"] = _inputs(app, sources)
    if into is not None:
        store = id_of(app, NOUNS["memory"], into)
        options["output_behavior"] = {"type": "update_existing", "memory_store_id": store}
    called = {"inputs": "--from", "output_behavior": "--into"}
    return edited.create(app, noun, body_of(app, noun, "create", options, file=file, called=called), dry_run=dry_run)


def _inputs(app: App, sources: Sequence[str]) -> list[dict[str, Any]]:
    """Return the inputs that stores and sessions are (api/facts.md, 4). Raises UsageError, NotFound."""
    from qoder_cli.nouns.named import id_of

    sessions = [id_of(app, NOUNS["session"], each) for each in sources if each.startswith("sess_")]
    stores = [id_of(app, NOUNS["memory"], each) for each in sources if not each.startswith("sess_")]
    found: list[dict[str, Any]] = [{"type": "memory_store", "memory_store_id": id} for id in dict.fromkeys(stores)]
    if sessions:
        found.append({"type": "sessions", "session_ids": list(dict.fromkeys(sessions))})
    return found
