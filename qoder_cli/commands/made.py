"""The commands that every noun has, made from its row of the table: list, get, versions, archive, delete."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from inspect import Parameter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qoder_cli.app import App
from qoder_cli.base.errors import UsageError
from qoder_cli.base.model import Resource, text
from qoder_cli.cli.options import (
    AllowEmpty,
    OneRun,
    Yes,
    argument,
    as_command,
    confirmed,
    declared,
    flag,
    is_list,
    named,
)
from qoder_cli.commands.run.list import ALWAYS, Window
from qoder_cli.help.completion import values
from qoder_cli.nouns.table import Noun, holder, operation, path_of, words_of
from qoder_cli.output.listing import All, Limit, Listing, page_size, rows_wanted

if TYPE_CHECKING:
    from qoder_cli.nouns.change import Change, Changes, Target
    from qoder_cli.nouns.operations import Operation
    from qoder_cli.output.data import Rows

Command = Callable[..., Any] | str
_ROUNDED = timedelta(seconds=1)

# The filters of a list, by the parameter of its operation: the name and the kind of an option.
_SINCE = Annotated[
    str | None,
    typer.Option("--since", metavar="WHEN", help="Only those created since, e.g. 90m, 7d, a date or an RFC 3339 time."),
]
_UNTIL = Annotated[str | None, typer.Option("--until", metavar="WHEN", help="Only those created until then.")]
_ARCHIVED = Annotated[bool, flag("--include-archived", "Include archived ones.")]
_NAME = Annotated[str | None, typer.Option("--name", metavar="TEXT", help="Only those with this name.")]
_TITLE = Annotated[str | None, typer.Option("--title", metavar="TEXT", help="Only those with this title.")]
_SOURCE = Annotated[str | None, typer.Option("--source", metavar="SOURCE", help="Only those from custom or qoder.")]
_STATUS = Annotated[
    list[str] | None, typer.Option("--status", metavar="STATUS", help="Only those with this status. Repeatable.")
]
_SESSION = Annotated[
    str | None, typer.Option("--session", metavar="ID", help="Only those that this session (sess_…) made.")
]
FILTERS: dict[str, tuple[str, Any]] = {
    "name": ("name", _NAME),
    "display_title": ("title", _TITLE),
    "source": ("source", _SOURCE),
    "scope_id": ("session", _SESSION),
    "statuses[]": ("status", _STATUS),
    "created_at[gte]": ("since", _SINCE),
    "created_at[gt]": ("since", _SINCE),
    "created_at[lte]": ("until", _UNTIL),
    "created_at[lt]": ("until", _UNTIL),
    "include_archived": ("include_archived", _ARCHIVED),
}
_MATCHED = {"title": "display_title", "source": "source", "session": "session"}  # columns, filtered here too


def commands(noun: Noun, **own: Command) -> dict[str, Command]:
    """Return the commands of a noun by their verbs: those that its operations call for, and its own."""
    made: dict[str, Command] = {"list": list_command(noun)}
    if operation(noun, "retrieve") or operation(noun, "retrieve_metadata"):
        made["get"] = get_command(noun)
    if noun.created:
        made |= {verb: edit_command(noun, verb) for verb in ("create", "update") if operation(noun, verb)}
    made |= {verb: own[verb] for verb in own if verb in ("create", "update")}
    if noun.numbered:
        made["versions"] = versions_command(noun)
    if noun.archived:
        made["archive"] = change_command(noun, "archive")
    if noun.deleted:
        made["delete"] = change_command(noun, "delete")
    return made | own


def one_argument(noun: Noun, *, several: bool = False) -> Any:
    """Return the argument that names one of a noun's things, or several."""
    metavar = noun.words.split()[-1].upper()
    wanted = f"{noun.prefix}…" + (" or an exact name" if noun.has_name else "")
    if several:
        help = f"{noun.called.capitalize()}s ({wanted}); - reads them from stdin."
        return Annotated[list[str], argument(f"{metavar}...", help, values.things(noun.words))]
    return Annotated[str, argument(metavar, f"{noun.called.capitalize()} ({wanted}).", values.things(noun.words))]


def held_by(noun: Noun) -> list[tuple[str, Any, Any]]:
    """Return the argument for what holds a noun's things, where something does."""
    above = holder(noun)
    if above is None:
        return []
    return [("holder", OneRun if above.words == "session" else one_argument(above), Parameter.empty)]


def holder_of(app: App, noun: Noun, typed: dict[str, Any]) -> tuple[str, ...]:
    """Return the id of what holds the things, and take it out of what was typed. Raises UsageError, NotFound."""
    above = holder(noun)
    if above is None:
        return ()
    word = typed.pop("holder")
    if above.words == "session":
        from qoder_cli.runs.answering import target_of

        return (target_of(word, app).session_id,)
    from qoder_cli.nouns.named import id_of

    return (id_of(app, above, word),)


def _example(noun: Noun, verb: str, *rest: str) -> str:
    held = [noun.sample_of] if noun.sample_of else []
    return " ".join(["qoder", *words_of(noun, verb, *held), *rest])


def list_command(noun: Noun) -> Command:
    """Return the command that lists a noun's things."""
    listed = operation(noun, "list")
    assert listed is not None  # all nouns of the table have a list
    filters = {FILTERS[name][0]: FILTERS[name][1] for name in FILTERS if name in listed.query}
    parameters: list[tuple[str, Any, Any]] = held_by(noun)
    parameters += [
        (name, annotation, False if annotation is _ARCHIVED else None) for name, annotation in filters.items()
    ]
    parameters += [("limit", Limit, None), ("all", All, False)] if noun.is_paged else []
    first = f"List {noun.called}s" + (", newest first (20 by default)" if noun.is_paged else "")
    doc = (
        f"{first}.\n\n{_piped(noun.columns)}\n\nExamples:\n  {_example(noun, 'list')}\n"
        f"  {_example(noun, 'list', '--json')} | jq -r '.[].id'"
    )
    return as_command(lambda app, **typed: _list(app, noun, listed, typed), doc, parameters)


def _piped(columns: Sequence[str]) -> str:
    """Return the sentence that tells the columns in a pipe, in lines of at most 76 characters."""
    lines = ["Piped:"]
    for name in columns:
        word = f" {name}" + ("." if name == columns[-1] else ",")
        if len(lines[-1] + word) > 76:
            lines.append("")
        lines[-1] = (lines[-1] + word).lstrip()
    return "\n".join(lines)


def _list(app: App, noun: Noun, listed: "Operation", typed: dict[str, Any]) -> None:
    from qoder_cli.local.remembered import MOST_THINGS, remember_things
    from qoder_cli.nouns.shown import fields, found_at, name_of

    held = holder_of(app, noun, typed)
    window = Window.read(typed.get("since"), typed.get("until"), app=app)
    wanted = rows_wanted(typed.get("limit"), all=typed.get("all", not noun.is_paged), bounded=window != ALWAYS)
    statuses, name = typed.get("status") or (), typed.get("name")

    def matches(raw: dict[str, Any]) -> bool:
        session = typed.get("session")
        return (
            (typed.get("include_archived", True) or not text(raw.get("archived_at")))
            and (not statuses or raw.get("status") in statuses)
            and (name is None or name.lower() in (name_of(raw) or "").lower())
            and session in (None, found_at(raw, "scope.id"))
            and (window == ALWAYS or window.has(raw.get("created_at")))
        )

    seen: list[dict[str, Any]] = []

    def read(objects: Sequence[dict[str, Any]]) -> list[Resource]:
        seen.extend(objects[: MOST_THINGS - len(seen)])
        return list(map(Resource, objects))

    query: dict[str, Any] = {"limit": page_size(wanted)} if noun.is_paged else {}
    after = next((each for each in ("created_at[gte]", "created_at[gt]") if each in listed.query), "")
    query |= window.query(after, after.replace("g", "l", 1), slack=_ROUNDED) if after else {}
    for parameter, (option, _) in FILTERS.items():
        if parameter in listed.query and not parameter.startswith("created_at") and typed.get(option):
            value = typed[option]
            query[parameter] = "true" if value is True else tuple(value) if isinstance(value, list) else value
    pages = app.client.pages(path_of(noun, *held), query)
    listing = Listing(pages, read=read, limit=wanted, matches=matches)
    listing.print(
        app.output.rows(fields=lambda each: fields(each.raw, noun.columns), data=Resource.as_json, first=noun.columns)
    )
    remember_things(app, noun.words, [(each, name_of(each)) for each in seen])
    listing.conclude(app.progress, none=f"no {noun.called}s found")


def get_command(noun: Noun) -> Command:
    """Return the command that shows one of a noun's things."""
    parameters = [*held_by(noun), ("thing", one_argument(noun), Parameter.empty)]
    versioned = ""
    if noun.numbered:
        parameters.append(("version", _VERSION, None))
        versioned = f"\n  {_example(noun, 'get', noun.sample, '--version', '1')}"
    doc = (
        f"Show {_a(noun)}.\n\nJSON is the server's object. Exits 5 if it does not exist.\n\n"
        f"Examples:\n  {_example(noun, 'get', noun.sample)}{versioned}"
    )
    return as_command(lambda app, **typed: _get(app, noun, typed), doc, parameters)


_VERSION = Annotated[
    int | None, typer.Option("--version", min=1, metavar="N", help="This version instead of the latest.")
]


def _get(app: App, noun: Noun, typed: dict[str, Any]) -> None:
    from qoder_cli.nouns.named import read_one
    from qoder_cli.nouns.shown import show

    held = holder_of(app, noun, typed)
    show(app, noun, read_one(app, noun, typed["thing"], *held, version=typed.get("version")))


def edit_command(noun: Noun, verb: str) -> Command:
    """Return the command that creates a noun's things, or updates one, of plain fields alone."""
    from qoder_cli.commands import edited

    done = operation(noun, verb)
    assert done is not None  # asked only for what the API has
    plain = [field for field in ("name", "display_name", "description") if field in done.body]
    is_new = verb == "create"
    if is_new:
        first, example = f"Create {_a(noun)}.", _example(noun, verb, "--name", "team")
        about = f"Requires --name, as an option or in a file. {noun.created}\n"
        end = "9 if the response was lost and it is not found"
    else:
        first, about = f"Update {_a(noun)}. Only what you pass is changed.", ""
        example = _example(noun, verb, noun.sample, "--metadata", "team=core")
        end = "0 even if there was nothing to change, 6 if it is archived"
    doc = f"{first}\n\n{about}Exits {end}.\n\nExamples:\n  {example}"
    parameters = [] if is_new else [*held_by(noun), ("thing", one_argument(noun), Parameter.empty)]
    options = {"name": edited.Name, "description": edited.Description}
    parameters += [(field.removeprefix("display_"), options[field.removeprefix("display_")], None) for field in plain]
    parameters += [("metadata", edited.Metadata, None)]
    parameters += [] if is_new else [("remove_metadata", edited.RemoveMetadata, None)]
    parameters += [("file", edited.File, None), ("dry_run", edited.DryRun, False)]

    def edit(ctx: typer.Context, **typed: Any) -> int:
        said = {field: typed[field.removeprefix("display_")] for field in plain}
        body = edited.body_of(ctx.obj, noun, verb, typed, **said)
        if is_new:
            return edited.create(ctx.obj, noun, body, dry_run=typed["dry_run"])
        held = holder_of(ctx.obj, noun, typed)
        current = edited.read_current(ctx.obj, noun, typed["thing"], *held, is_said=bool(body))
        wanted = edited.merged(current, body)
        return edited.update(ctx, noun, current, wanted, *held, dry_run=typed["dry_run"])

    return declared(edit, doc, parameters)


def versions_command(noun: Noun) -> Command:
    """Return the command that lists the versions of one of a noun's things."""
    doc = (
        f"List the versions of {_a(noun)}, newest first (20 by default).\n\n{_piped(noun.numbered)}\n\n"
        f"Examples:\n  {_example(noun, 'versions', noun.sample)}"
    )
    parameters = [("thing", one_argument(noun), Parameter.empty), ("limit", Limit, None), ("all", All, False)]
    return as_command(lambda app, **typed: _versions(app, noun, **typed), doc, parameters)


def _versions(app: App, noun: Noun, *, thing: str, limit: int | None, all: bool) -> None:
    from qoder_cli.nouns.named import id_of
    from qoder_cli.nouns.shown import fields

    wanted = rows_wanted(limit, all=all)
    id = id_of(app, noun, thing, archived=True)
    pages = app.client.pages(path_of(noun, id) + "/versions", {"limit": page_size(wanted)})
    # A version of an agent has the agent's id: here its number is what tells it from the others.
    listing = Listing(pages, read=lambda found: found, limit=wanted, key="version")
    rows: Rows[dict[str, Any]] = app.output.rows(
        fields=lambda raw: fields(raw, noun.numbered), data=dict, id="version", first=noun.numbered
    )
    listing.print(rows)
    listing.conclude(app.progress, none=f"no versions of {id} found")


def change_command(noun: Noun, verb: str) -> Command:
    """Return the command that archives or deletes a noun's things."""
    about = noun.archived if verb == "archive" else noun.deleted
    end = "(or already was) archived, 6 if the API refuses" if verb == "archive" else "deleted, 5 if it does not exist"
    version = verb == "delete" and operation(noun, "versions.delete") is not None
    doc = (
        f"{verb.capitalize()} {noun.called}s. This cannot be undone.\n\n{about}\n"
        f"Asks before each one; scripts need --yes. Exits 0 if it is\n{end}.\n\n"
        f"Examples:\n  {_example(noun, verb, noun.sample, '--yes')}"
    )
    several = one_argument(noun, several=True)
    parameters = [*held_by(noun), ("things", several, Parameter.empty)]
    parameters += [("version", _DELETED_VERSION, None)] if version else []
    parameters += [("yes", Yes, False), ("allow_empty", AllowEmpty, False)]
    return as_command(lambda app, **typed: _change(app, noun, verb, typed), doc, parameters)


_DELETED_VERSION = Annotated[
    int | None, typer.Option("--version", min=1, metavar="N", help="Only this version, of one.")
]


def _change(app: App, noun: Noun, verb: str, typed: dict[str, Any]) -> int:
    from qoder_cli.nouns.change import ARCHIVE, DELETE, Target
    from qoder_cli.nouns.shown import called

    change: Change = ARCHIVE if verb == "archive" else DELETE
    about = noun.archived if verb == "archive" else noun.deleted
    things, version = typed["things"], typed.get("version")
    need_a_yes(app, change, typed["yes"])
    held = holder_of(app, noun, typed)
    # Before anything is changed, all names are looked up: a wrong one changes nothing.
    targets = things_named(app, noun, things, *held, archived=True, allow_empty=typed["allow_empty"])
    if version is not None:
        if len(targets) > 1:
            raise UsageError(f"--version is that of one {noun.called}", hint="name one")
        [(word, whole)] = targets
        path, what = f"{whole.path}/versions/{version}", f"version {version} of {whole.called}"
        targets = [(word, Target(path, str(version), what, words_of(noun, "versions", whole.id)))]

    def question(raw: dict[str, Any]) -> str:
        what = f"version {version} of {targets[0][0]}?" if version else f"{called(noun, raw)}? {about}"
        return f"{what} This cannot be undone."

    asked = None if typed["yes"] else question
    return change_things(app, noun, change, targets, asked, as_list=is_list(things), refused=about)


def need_a_yes(app: App, change: "Change", yes: bool) -> None:
    """Raise UsageError for what cannot be undone, where nobody said yes or can be asked."""
    if not yes and not app.may_ask:
        raise UsageError(f"{change.doing} cannot be undone; nothing was {change.participle}", hint="confirm with --yes")


def things_named(
    app: App, noun: Noun, typed: Sequence[str], *held: str, archived: bool = False, allow_empty: bool = False
) -> "list[tuple[str, Target]]":
    """Return the things that were typed, or read from stdin for `-`, each with its word. Raises QoderError."""
    from qoder_cli.nouns.named import Names
    from qoder_cli.nouns.write import target_of

    words = named(typed, app, what=f"{noun.called}s", allow_empty=allow_empty)
    names = Names(app, *held, archived=archived)
    return [(word, target_of(noun, *held, names.id_of(noun, word))) for word in words]


def change_things(
    app: App,
    noun: Noun,
    change: "Change",
    targets: "Sequence[tuple[str, Target]]",
    question: Callable[[dict[str, Any]], str] | None = None,
    *,
    as_list: bool,
    refused: str = "",
    changes: "type[Changes] | None" = None,
) -> int:
    """Change things, each with the word that it was named by. Raises QoderError, as `Changes.make` does.

    With a `question`, behind the verb, a person is asked about each.
    """
    from qoder_cli.nouns.change import Changes
    from qoder_cli.nouns.shown import fields, name_of

    def is_wanted(raw: dict[str, Any]) -> bool:
        return question is None or confirmed(app, f"{change.verb.capitalize()} {question(raw)}")

    made = (changes or Changes)(
        app,
        change,
        dict(targets).__getitem__,
        question and is_wanted,
        row=lambda raw: {"id": raw.get("id"), "name": name_of(raw), "status": change.participle},
        sheet=lambda raw: fields(raw, (*noun.columns, *noun.more)),
        columns=("id", "name", "status"),
        first=("id", "status", "name"),
        refused=refused,
    )
    return made.make([word for word, _ in targets], as_list=as_list)


def _a(noun: Noun) -> str:
    return f"an {noun.called}" if noun.called[0] in "aeiou" else f"a {noun.called}"
