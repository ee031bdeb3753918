"""Create or change a thing by file and options; show, send and confirm it."""

from collections.abc import Mapping, Sequence
from typing import Any

import typer

from qoder_cli.app import App
from qoder_cli.base.errors import InternalError, Rejected, UsageError
from qoder_cli.base.model import mapping
from qoder_cli.cli.options import flag, option, options_typed, several
from qoder_cli.deployments.changes import Secrets, difference, lines_of
from qoder_cli.files import body
from qoder_cli.help.completion import values
from qoder_cli.nouns.change import Target, read
from qoder_cli.nouns.named import read_one
from qoder_cli.nouns.shown import name_of, show
from qoder_cli.nouns.table import Noun, operation, words_of
from qoder_cli.nouns.update import Overtaken
from qoder_cli.nouns.update import update as change
from qoder_cli.nouns.write import creating, differing, same, target_of

Raw = dict[str, Any]

NAME = option("--name", "NAME", "Name.")
DESCRIPTION = option("--description", "TEXT", "Description.")
TITLE = option("--title", "TEXT", "Title.")
BUDGET = option("--budget", "CREDITS", "Maximum credits.")
NO_BUDGET = flag("--no-budget", "Remove the budget.")
METADATA = several("--metadata", "KEY=VALUE", "Set a metadata key.")
REMOVE_METADATA = several("--remove-metadata", "KEY", "Remove a metadata key.")
FILE = option("--file -f", "FILE", "YAML or JSON with the API's fields, - for stdin; options win.", values.files)
DRY_RUN = flag("--dry-run", "Show the changes without applying them.")


def text_typed(app: App, option: str, typed: str | None, file: str | None) -> str | None:
    """Return text as typed, of `@FILE`, or of stdin for `-`. Raises UsageError."""
    from qoder_cli.api.body import text_of

    if typed is None:
        return None
    if typed == "-" and file == "-":
        message = f"{option} - and --file - both read standard input"
        raise UsageError(message, hint=f"use {option} @FILE")
    return text_of(typed, stdin=app.stdin, option=option)


def body_of(app: App, noun: Noun, verb: str, typed: Mapping[str, Any], *plain: str, **own: Any) -> Raw:
    """Return the body from file, `plain` options, `own` fields. Raises UsageError."""
    options = {name: typed[name] for name in plain} | own
    if "metadata" in typed:
        options["metadata"] = body.metadata_change(typed["metadata"], typed.get("remove_metadata"))
    return body.body_of(app, noun, verb, options, file=typed.get("file"))


def budget_of(typed: str | None, is_none: bool = False) -> Raw:
    """Return the typed budget as a field. Raises UsageError."""
    from qoder_cli.deployments.typed import declare_fields

    if typed is None:
        return {}
    if is_none:
        raise UsageError("--budget and --no-budget cannot be used together")
    return dict(declare_fields({"budget": typed}).fields)


def create(app: App, noun: Noun, body: Raw, *, dry_run: bool) -> None:
    """Create a thing and print it, or show what would be sent."""
    from qoder_cli.http.redact import by_name

    if dry_run:
        app.progress.note(f"the {noun.called} that would be created {app.client.settings.whereabouts}")
        show(app, noun, by_name(body))
        return
    called = " ".join(filter(None, (noun.called, name_of(body))))
    app.progress.note(f"creating the {called} {app.client.settings.whereabouts}")
    created = creating(app, noun, body).deliver().raw
    _warn_of_other(app, created, body)
    try:
        show(app, noun, created)
    except InternalError as error:  # a full disk does not undo it
        raise error.with_(message=f"{noun.called} {created['id']} was created, but {error.message}") from error


def _warn_of_other(app: App, found: Raw, body: Raw) -> None:
    if other := ", ".join(field for field in differing(found, body) if field in found):
        message = f"the server stored {other} differently from what was sent"
        app.progress.warn(f"{found['id']}: {message}")


def read_current(app: App, noun: Noun, typed: str, *parents: str, is_said: bool) -> Raw:
    """Return the thing to change, by id or name.

    Raises UsageError unless a change `is_said`; Rejected if it is archived.
    """
    if not is_said:
        help = " ".join(words_of(noun, "update"))
        raise UsageError("nothing to update", hint=f"pass at least one option; see qoder {help} --help")
    current = read_one(app, noun, typed, *parents, fresh=True)
    creation = operation(noun, "create")
    if creation and (archived := current.get("archived_at")):
        raise Rejected(
            f"{noun.called} {current['id']} was archived on {archived}; it cannot be changed",
            hint=f"create another: {' '.join(app.command(*creation.command))}",
        )
    return current


def update(ctx: typer.Context, noun: Noun, current: Raw, wanted: Raw, *parents: str, dry_run: bool) -> None:
    """Make a thing as wanted and print it.

    `current` is the thing as read. `wanted` has whole fields, but metadata is merged, and null
    removes a key. Raises Rejected, after showing what someone else changed meanwhile.
    """
    from qoder_cli.http.redact import by_name

    app: App = ctx.obj
    target = target_of(noun, *parents, str(current["id"]))
    had, added = mapping(current.get("metadata")), mapping(wanted.get("metadata"))
    if "metadata" in wanted:
        wanted = wanted | {"metadata": {key: value for key, value in {**had, **added}.items() if value is not None}}
    differs = {name: value for name, value in wanted.items() if not same(current.get(name), value)}
    body = dict(differs)
    if not body:
        app.progress.note(f"{target.called} is already up to date")
        show(app, noun, current)
        return
    if "metadata" in body:
        body["metadata"] = {key: value for key, value in added.items() if had.get(key) != value}
    updated = operation(noun, "update")
    if updated and "version" in updated.body and current.get("version") is not None:
        body["version"] = current["version"]
    if not dry_run:
        app.progress.note(f"updating {target.called} {app.client.settings.whereabouts}")
    if not app.progress.is_quiet:
        _tell(app, current, differs)
    if dry_run:
        show(app, noun, {**current, **by_name(differs)})
        return
    assert updated is not None  # asked only for what the API has
    try:
        found = change(app, target, body, before=current, fields=updated.body)
    except Overtaken as error:
        _tell_theirs(app, target, current, error.theirs, updated.body)
        raise
    except Rejected as error:
        if error.http_status != 409:
            raise
        raise _explained(ctx, noun, target, current, error) from None
    _warn_of_other(app, found, body)
    show(app, noun, found)


def _explained(ctx: typer.Context, noun: Noun, target: Target, current: Raw, error: Rejected) -> Rejected:
    """Show what someone else changed, and return the error."""
    app: App = ctx.obj
    newer = read(app, target)
    was, now = current.get("version"), newer.get("version")
    if was == now:
        return error
    updated = operation(noun, "update")
    _tell_theirs(app, target, current, newer, updated.body if updated else ())
    message = f"{target.id} was changed by someone else in the meantime"
    again = app.command(*words_of(noun, "update", target.id), *options_typed(ctx))
    return error.with_(
        message=f"{message} (version {was} was read, {now} is there); nothing was changed",
        hint="check that change, then run it again",
        next=None if "-" in ctx.params.values() else again,  # standard input was read
    )


def _tell_theirs(app: App, target: Target, current: Raw, theirs: Raw, fields: Sequence[str]) -> None:
    """Show what someone else changed of what can be set."""
    app.progress.note(f"what someone else changed in {target.id}:", always=True)
    _tell(app, current, {name: theirs.get(name) for name in fields if name != "version"})


def _tell(app: App, current: Raw, wanted: Raw) -> None:
    """Show the changes on stderr; stdout has the thing."""
    for each in difference(wanted, current).changes:
        app.err.tell("".join(f"  {line}\n" for line in lines_of(each, Secrets())))
