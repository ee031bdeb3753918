"""`qoder session update`."""

from typing import Annotated

import typer

from qoder_cli.app import App
from qoder_cli.base.errors import Exit, UsageError
from qoder_cli.base.model import Run
from qoder_cli.cli.options import OneRun, flag


def update(
    app: App,
    run: OneRun,
    title: Annotated[str | None, typer.Option(metavar="TEXT", help="Title.")] = None,
    metadata: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Set a metadata key. Repeatable.")
    ] = None,
    remove_metadata: Annotated[
        list[str] | None, typer.Option(metavar="KEY", help="Remove a metadata key. Repeatable.")
    ] = None,
    budget: Annotated[str | None, typer.Option(metavar="CREDITS", help="Maximum credits.")] = None,
    no_budget: Annotated[bool, flag("--no-budget", "Remove the budget.")] = False,
) -> int:
    """Update a session. Only the settings you pass are changed.

    Exits 0 even if there was nothing to change, 6 if it is archived.

    Examples:
      qoder session update sess_demo --title 'June report' --metadata team=core
      qoder session update sess_demo --budget 12.50"""
    from qoder_cli.deployments.typed import declare_fields, metadata_of
    from qoder_cli.nouns.table import NOUNS
    from qoder_cli.nouns.write import differing, target_of
    from qoder_cli.nouns.write import update as change
    from qoder_cli.output.views import session_fields
    from qoder_cli.runs.answering import target_of as session_named
    from qoder_cli.sessions.objects import refuse_archived, session_of

    if budget is not None and no_budget:
        raise UsageError("--budget and --no-budget cannot be used together")
    checked = metadata_of(metadata, None, {}) | ({} if budget is None else {"budget": budget})
    body = dict(declare_fields(checked).fields) if checked else {}
    body |= {} if title is None else {"title": title}
    body |= {"budget": None} if no_budget else {}
    if remove_metadata:
        body["metadata"] = dict.fromkeys(remove_metadata) | body.get("metadata", {})
    if not body:
        raise UsageError("nothing to update", hint="pass at least one option; see qoder session update --help")
    current = Run(session_of(app, session_named(run, app).session_id))
    refuse_archived(current, "nothing was changed")
    if left := differing(current.raw, body):
        app.progress.note(f"updating {current.id} {app.client.settings.whereabouts}")
        current = Run({**change(app, target_of(NOUNS["session"], current.id), left), "type": "session"})
    else:
        app.progress.note(f"{current.id} is already up to date")
    app.output.record(session_fields(current), data=current.as_json(), id=current.id)
    return Exit.OK
