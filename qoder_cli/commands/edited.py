"""A thing made, or changed, from a file and options: what changes is shown, sent and confirmed."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from qoder_cli.app import App
from qoder_cli.base import ids
from qoder_cli.base.errors import Exit, Rejected, UsageError
from qoder_cli.base.model import mapping
from qoder_cli.cli.options import flag, options_typed
from qoder_cli.help.completion import values
from qoder_cli.nouns.table import Noun, operation, words_of

Raw = dict[str, Any]

Description = Annotated[str | None, typer.Option(metavar="TEXT", help="Description.")]
Metadata = Annotated[
    list[str] | None, typer.Option("--metadata", metavar="KEY=VALUE", help="Set a metadata key. Repeatable.")
]
RemoveMetadata = Annotated[list[str] | None, typer.Option(metavar="KEY", help="Remove a metadata key. Repeatable.")]
File = Annotated[
    str | None,
    typer.Option(
        "--file",
        "-f",
        metavar="FILE",
        help="YAML or JSON with the API's fields, - for stdin; options win.",
        autocompletion=values.files,
    ),
]
DryRun = Annotated[bool, flag("--dry-run", "Show the changes without applying them.")]


def text_typed(app: App, option: str, typed: str | None, file: str | None) -> str | None:
    """Return a text as typed, of a file for `@FILE`, of stdin for `-`. Raises UsageError."""
    from qoder_cli.api.body import text_of

    if typed is None:
        return None
    if typed == "-" and file == "-":
        said = f"{option} - and --file - both read standard input"
        raise UsageError(said, hint=f"use {option} @FILE")
    return text_of(typed, stdin=app.stdin, option=option)


def create(app: App, noun: Noun, body: Raw, *, dry_run: bool) -> int:
    """Create a thing, or show what would be sent, and print it."""
    from qoder_cli.commands.made import show
    from qoder_cli.nouns.shown import name_of
    from qoder_cli.nouns.write import Create

    _warn_of_name(app, noun, body)
    if dry_run:
        app.progress.note(f"the {noun.called} that would be created {app.client.settings.whereabouts}")
        _show_planned(app, noun, body)
        return Exit.OK
    called = " ".join(filter(None, (noun.called, name_of(body))))
    app.progress.note(f"creating the {called} {app.client.settings.whereabouts}")
    made = Create(app, noun, body).deliver().raw
    _warn_of_other(app, made, body)
    show(app, noun, made)
    return Exit.OK


def _warn_of_other(app: App, found: Raw, body: Raw) -> None:
    """Warn of fields that the server stored in another way than they were sent."""
    from qoder_cli.nouns.write import differing

    if other := ", ".join(field for field in differing(found, body) if field in found):
        said = f"the server stored {other} differently from what was sent"
        app.progress.warn(f"{found['id']}: {said}")


def _warn_of_name(app: App, noun: Noun, body: Raw) -> None:
    """Warn of a name that no command will take for one."""
    from qoder_cli.nouns.shown import name_of

    name = name_of(body)
    if name is None or not noun.has_name:
        return
    try:
        reads_as_id = ids.id_or_name(name, noun.prefix, noun.called, "")
    except UsageError:
        reads_as_id = True
    if reads_as_id:
        app.progress.warn("commands will not take this name; use the id")


def read_current(app: App, noun: Noun, typed: str) -> Raw:
    """Return the thing to be changed, by its id or name. Raises Rejected if it is archived."""
    from qoder_cli.commands.made import read_one

    current = read_one(app, noun, typed)
    if archived := current.get("archived_at"):
        raise Rejected(
            f"{noun.called} {current['id']} was archived on {archived}; it cannot be changed",
            hint=f"create another: {' '.join(app.command(*words_of(noun, 'create')))}",
        )
    return current


def merged(current: Raw, body: Raw) -> Raw:
    """Return the fields of an update with all metadata: it is merged, and null removes a key."""
    if "metadata" not in body:
        return body
    metadata = {**mapping(current.get("metadata")), **mapping(body["metadata"])}
    kept = {key: value for key, value in metadata.items() if value is not None}
    return {**body, "metadata": kept}


def update(ctx: typer.Context, noun: Noun, current: Raw, wanted: Mapping[str, Any], *, dry_run: bool) -> int:
    """Make a thing what is wanted, and print it as it is then.

    `current` is the thing as it was read, `wanted` has whole fields. Raises Rejected, having shown
    what someone else changed in the meantime.
    """
    from qoder_cli.commands.made import show
    from qoder_cli.nouns.write import same, target_of
    from qoder_cli.nouns.write import update as change

    app: App = ctx.obj
    known, id = f"{noun.called} {current['id']}", str(current["id"])
    differs = {name: value for name, value in wanted.items() if not same(current.get(name), value)}
    body = _body(noun, current, differs)
    if not body:
        app.progress.note(f"{known} is already up to date")
        show(app, noun, current)
        return Exit.OK
    _warn_of_name(app, noun, body)
    if not dry_run:
        app.progress.note(f"updating {known} {app.client.settings.whereabouts}")
    if dry_run or not app.progress.is_quiet:
        _tell(app, current, differs)
    if dry_run:
        _show_planned(app, noun, {**current, **differs})
        return Exit.OK
    try:
        found = change(app, target_of(noun, id), body, before=current)
    except Rejected as error:
        if error.http_status != 409:
            raise
        raise _explained(ctx, noun, current, error) from None
    _warn_of_other(app, found, body)
    show(app, noun, found)
    return Exit.OK


def _body(noun: Noun, current: Raw, changed: Raw) -> Raw:
    """Return the body that changes fields: metadata is merged, the version is what was read."""
    if not changed:
        return {}
    body = dict(changed)
    if "metadata" in body:
        had, has = mapping(current.get("metadata")), body["metadata"]
        body["metadata"] = {key: value for key, value in has.items() if had.get(key) != value}
        body["metadata"] |= dict.fromkeys(key for key in had if key not in has)
    updated = operation(noun, "update")
    if updated and "version" in updated.body and current.get("version") is not None:
        body["version"] = current["version"]
    return body


def _explained(ctx: typer.Context, noun: Noun, current: Raw, error: Rejected) -> Rejected:
    """Return the error of a conflict: where it is someone else's change, that is shown."""
    from qoder_cli.nouns.change import read
    from qoder_cli.nouns.write import target_of

    app: App = ctx.obj
    newer = read(app, target_of(noun, str(current["id"])))
    was, now = current.get("version"), newer.get("version")
    if was == now:
        return error
    app.progress.note(f"what someone else changed in {current['id']}:")
    _tell(app, current, {**newer, **{name: current.get(name) for name in ("version", "updated_at")}})
    said = f"{current['id']} was changed by someone else in the meantime"
    again = app.command(*words_of(noun, "update", str(current["id"])), *options_typed(ctx))
    return error.with_(
        message=f"{said} (version {was} was read, {now} is there); nothing was changed",
        hint="check that change, then run it again",
        next=None if "-" in ctx.params.values() else again,  # standard input was read
    )


def _tell(app: App, current: Raw, wanted: Raw) -> None:
    """Show on stderr what goes and what comes: stdout has the thing."""
    from qoder_cli.deployments.changes import Secrets, difference, told

    for each in difference(wanted, current).changes:
        app.err.tell("".join(f"  {line}\n" for line in told(each, Secrets())))


def _show_planned(app: App, noun: Noun, raw: Raw) -> None:
    from qoder_cli.nouns.shown import fields

    if app.output.format == "id" and "id" not in raw:
        return  # what is not there has no id to print
    shown = fields(raw, (*noun.columns, *noun.more)) if app.output.format == "table" else {}
    app.output.record(shown, data=raw, id=str(raw.get("id", "")))
