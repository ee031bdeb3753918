"""The commands that every noun has, made from its row of the table."""

import re
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import partial
from textwrap import fill
from typing import Any, cast

import typer

from qoder_cli.app import App
from qoder_cli.base import ids
from qoder_cli.base.errors import QoderError, UsageError
from qoder_cli.base.model import Raw, Resource, text
from qoder_cli.base.times import CLOCK_AHEAD
from qoder_cli.cli import options
from qoder_cli.cli.options import (
    Text,
    Texts,
    argument,
    confirmed,
    declared,
    flag,
    is_list,
    named,
    named_at,
    option,
    several,
)
from qoder_cli.commands.viewing import View, Viewing
from qoder_cli.help.completion import values
from qoder_cli.history.window import ALWAYS, ROUNDED, Window
from qoder_cli.local.remembered import MOST_KEPT, remember
from qoder_cli.nouns.edits.thing import Target, target_of
from qoder_cli.nouns.edits.verbs import BY_VERB, Change, Changes, Named, changed, ending
from qoder_cli.nouns.named import Kept, Names, id_of, kept, read_named, read_one
from qoder_cli.nouns.noun import Noun
from qoder_cli.nouns.schema import Field, fields_of
from qoder_cli.nouns.shown import called, found_at, name_of, row_of, show
from qoder_cli.nouns.table import NOUNS, Operation, body_of, operation, parent_of, path_of, words_of
from qoder_cli.output.data import Rows
from qoder_cli.output.listing import ALL, LARGEST_PAGE, LIMIT, WantedRows, page_size, rows_wanted

Command = Callable[..., Any] | options.HiddenCommand
Parameter = tuple[str, Any, Any]  # a parameter: its name, type and option

_FOREVER = "This cannot be undone."
_SINCE = option("--since", "WHEN", "Created since an age (7d), date or time.")
_UNTIL = option("--until", "WHEN", "Created before then.")
_STATUS = several("--status", "STATUS", "Only those with this status.")
_OF_DEPLOYMENT = option("--deployment", "DEPLOYMENT", "Only of this deployment.", values.deployments)
_OF_AGENT = option("--agent", "AGENT", "Only of this agent.", values.things("agent"))

# A list's filters by query parameter.
FILTERS: dict[str, Parameter] = {
    "name": ("name", Text, option("--name", "TEXT", "Only names that contain TEXT.")),
    "display_title": ("title", Text, option("--title", "TEXT", "Only those with this title.")),
    "source": ("source", Text, option("--source", "SOURCE", "Only those from custom or qoder.")),
    "scope_id": ("session", Text, option("--session", "ID", "Only those that this session (sess_…) made.")),
    "deployment_id": ("deployment", Text, _OF_DEPLOYMENT),
    "agent_id": ("agent", Text, _OF_AGENT),
    "status": ("status", Text, _STATUS),
    "statuses[]": ("status", Texts, _STATUS),
    "created_at[gte]": ("since", Text, _SINCE),
    "created_at[gt]": ("since", Text, _SINCE),
    "created_at[lte]": ("until", Text, _UNTIL),
    "created_at[lt]": ("until", Text, _UNTIL),
    "include_archived": ("include_archived", bool, flag("--include-archived", "Include archived ones.")),
}
_ARCHIVED: Parameter = ("archived", bool, flag("--archived", "Only archived ones."))
_LIMITS: tuple[Parameter, ...] = (("limit", int | None, LIMIT), ("all", bool, ALL))
_VIEWING: tuple[Parameter, ...] = tuple(options.fields_of(Viewing))
# Where an object has the filtered value.
_PLACES = {"session": ["scope.id"], "deployment": ["deployment_id"], "agent": ["agent.id", "agent"]}


def commands(words: str, **own: Command) -> dict[str, Command]:
    """Return a noun's commands: those its operations call for, and its own."""
    noun = NOUNS[words]
    verbs: dict[str, Command] = {"list": partial(list_command, noun)}
    if operation(noun, "retrieve") or operation(noun, "retrieve_metadata"):
        verbs["get"] = partial(get_command, noun)
    if noun.help.created:
        verbs |= {verb: partial(edit_command, noun, verb) for verb in ("create", "update") if operation(noun, verb)}
    verbs |= {verb: own[verb] for verb in ("create", "update") if verb in own}
    if noun.listing.numbered:
        verbs["versions"] = partial(versions_command, noun)
    if noun.help.archived:
        verbs["archive"] = partial(change_command, noun, "archive")
    if noun.help.deleted:
        verbs["delete"] = partial(change_command, noun, "delete")
    return verbs | own


def one_argument(noun: Noun, *, several: bool = False) -> Any:
    """Return the argument for one of a noun's things, or several."""
    if noun.naming.arguments:
        return options.ARGUMENTS[noun.naming.arguments][several]
    metavar, about = noun.words.split()[-1].upper(), f"Id ({noun.prefix}…) or exact name."
    if several:
        metavar, about = f"{metavar}...", f"Ids ({noun.prefix}…) or exact names; - reads stdin."
    if not noun.naming.has_name:
        about = re.sub(" or exact names?", "", about)
    return argument(metavar, about, values.things(noun.words))


def parent_argument(noun: Noun) -> list[Parameter]:
    """Return the argument for the parent of a noun's things, if it has one."""
    parent = parent_of(noun)
    if parent:
        return [("parent", str, one_argument(parent))]
    return []


def parents_typed(app: App, noun: Noun, given: Raw) -> tuple[str, ...]:
    """Take the parent out of what was typed. Raises QoderError, for what can be no such thing before any request."""
    parent = parent_of(noun)
    if "thing" in given and not noun.naming.found_by:
        Names.among(noun, [given["thing"]])
    if parent is None:
        return ()
    return (one_found(app, parent, given.pop("parent")),)


def one_found(app: App, noun: Noun, word: str) -> str:
    """Return the id of what was typed. Raises QoderError."""
    if not noun.naming.found_by:
        return id_of(app, noun, word)
    [id_or_error] = named_at(noun.naming.found_by)([word], app)
    if isinstance(id_or_error, QoderError):
        raise id_or_error
    return str(id_or_error)


def _example(noun: Noun, verb: str, *rest: str) -> str:
    parents = [noun.naming.sample_of] if noun.naming.sample_of else []
    return " ".join(["qoder", *words_of(noun, verb, *parents), *rest])


def list_command(noun: Noun) -> Callable[..., Any]:
    """Return the command that lists a noun's things."""
    listed = operation(noun, "list")
    assert listed is not None  # all nouns of the table have a list
    filters = {filter[0]: filter for name, filter in FILTERS.items() if name in listed.query}
    if noun.listing.statuses:
        enum: Any = StrEnum  # typer takes no list of a Literal
        kind: Any = enum("Status", {status.upper(): status for status in noun.listing.statuses})
        about = f"Only {', '.join(noun.listing.statuses)}."
        if "status" in listed.query:
            filters["status"] = ("status", kind | None, option("--status", "STATUS", about))
        else:
            filters["status"] = ("status", cast(Any, list)[kind] | None, several("--status", "STATUS", about))
    if "name" in noun.listing.columns:
        filters.setdefault("name", FILTERS["name"])
    if "include_archived" in filters:
        filters["archived"] = _ARCHIVED
    parameters = [*parent_argument(noun), *filters.values(), *(_LIMITS if noun.listing.is_paged else ()), *_VIEWING]
    first = f"List {noun.plural}" + (", newest first (20 by default)" if noun.listing.is_paged else "")
    doc = _doc(f"{first}.", "", _example(noun, "list"))
    return declared(lambda ctx, **given: _list(ctx.obj, noun, listed, given), doc, parameters)


def _doc(first: str, about: str, *examples: str) -> str:
    return "\n  ".join(["\n\n".join(filter(None, (first, about, "Examples:"))), *examples])


def _list(app: App, noun: Noun, listed: Operation, given: Raw) -> None:
    view = view_typed(app, given, noun.listing.columns)
    window = Window.read(given.get("since"), given.get("until"), app=app)
    parents = parents_typed(app, noun, given)
    wanted = rows_wanted(given.get("limit"), all=given.get("all", not noun.listing.is_paged), bounded=window != ALWAYS)
    for field, words in (("deployment", "deploy"), ("agent", "agent")):
        if given.get(field) is not None:
            given[field] = id_of(app, NOUNS[words], given[field])
    view.show(lambda: _look(app, noun, listed, given, parents, wanted))


def view_typed(app: App, given: Raw, columns: Sequence[str]) -> View:
    """Take the way to look at a list out of what was typed. Raises UsageError."""
    return View(app, Viewing(*(given.pop(field) for field in Viewing._fields)), columns)


def _look(app: App, noun: Noun, listed: Operation, given: Raw, parents: Sequence[str], wanted: int | None) -> None:
    began, window = app.server_now, Window.read(given.get("since"), given.get("until"), app=app)
    statuses, name = given.get("status"), given.get("name")
    places = [field for field in _PLACES if given.get(field) is not None]
    only_archived = bool(given.get("archived"))
    given = {**given, "include_archived": given.get("include_archived", True) or only_archived}
    if isinstance(statuses, str):
        statuses = [statuses]
    seen: list[Kept] = []  # what is remembered

    def matches(raw: Raw) -> bool:
        if len(seen) < MOST_KEPT:
            seen.append(kept(raw))
        return (
            (given.get("include_archived", True) or not text(raw.get("archived_at")))
            and (not only_archived or text(raw.get("archived_at")) is not None)
            and (not statuses or raw.get("status") in statuses)
            and (name is None or name.lower() in (name_of(raw) or "").lower())
            and all(given[place] in [found_at(raw, at) for at in _PLACES[place]] for place in places)
            and (window == ALWAYS or window.has(raw.get("created_at")))
        )

    sent = {**given, **window.query("since", "until", slack=ROUNDED)}
    taken = {of: field for field, (of, *_) in reversed(FILTERS.items()) if field in listed.query}
    query: Raw = {field: sent[of] for of, field in taken.items() if sent.get(of)}
    if query.keys() >= {"status", "include_archived"}:  # the API does not take both (api.md#deployments)
        query = {**query, "limit": LARGEST_PAGE}
        del query["status"]
    filtered_here = only_archived or (name is not None and "name" not in listed.query)
    if filtered_here and noun.listing.is_paged:
        query["limit"] = LARGEST_PAGE
    is_whole = print_list(app, noun, path_of(noun, *parents), query, wanted, matches, sure=not filtered_here)
    is_ahead = began - app.server_now > CLOCK_AHEAD
    if is_ahead and window != Window.read(given.get("since"), given.get("until"), app=app):  # so, it was an age
        app.progress.warn("this machine's clock is ahead of the server's: some may be missing; give a time in UTC")
    is_filtered = parents or any(given.get(name) for name, *_ in FILTERS.values() if name != "include_archived")
    remember(app.store, app.settings, noun.words, seen, whole=is_whole and not is_filtered)


def print_list(
    app: App,
    noun: Noun,
    path: str,
    query: Raw,
    wanted: int | None,
    matches: Callable[[Raw], bool] = bool,
    *,
    versions: bool = False,
    sure: bool = True,
) -> bool:
    """Print a list's matches; return whether none was left out. If `sure`, the server filters as `matches` does."""
    columns, what = (noun.listing.numbered, "versions") if versions else (noun.listing.columns, noun.plural)
    if noun.listing.is_paged:
        query = {"limit": page_size(wanted)} | query
    # Versions of an agent share its id: their numbers tell them apart.
    id = "version" if versions else "id"
    row, first = row_of(noun, columns, app)
    listing = WantedRows(app.client.pages(path, query), read=list, limit=wanted, matches=matches, sure=sure, key=id)
    listing.print(Rows(app.output, fields=row, data=dict, id=id, first=first, may_go=first))
    listing.conclude(app.progress, none=f"no {what} found")
    return listing.left_out is None and listing.says_its_end


def get_command(noun: Noun) -> Callable[..., Any]:
    """Return the command that shows one of a noun's things."""
    parameters = [*parent_argument(noun), ("thing", str, one_argument(noun))]
    if noun.listing.numbered:
        parameters.append(_version("This version instead of the latest."))
    doc = _doc(f"Show {ids.a(noun.called)}.", "", _example(noun, "get", noun.naming.sample))

    def get(ctx: typer.Context, **given: Any) -> None:
        parents = parents_typed(ctx.obj, noun, given)
        show(ctx.obj, noun, read_one(ctx.obj, noun, given["thing"], *parents, version=given.get("version")))

    return declared(get, doc, parameters)


def parameter_of(field: Field) -> str:
    """Return the name of the parameter that sets a field."""
    assert field.option is not None  # asked only for what has one
    return field.option.name.removeprefix("--").replace("-", "_")


def _typed(field: Field) -> Parameter:
    assert field.option is not None  # the same
    name, metavar, help, is_repeatable = field.option
    make, kind = (several, Texts) if is_repeatable else (option, Text)
    return parameter_of(field), kind, make(name, metavar, help or field.about)


def _version(help: str) -> Parameter:
    return "version", int | None, option("--version", "N", help, min=1)


def edit_command(noun: Noun, verb: str) -> Callable[..., Any]:
    """Return the command that creates or updates things, by plain fields."""
    done = operation(noun, verb)
    assert done is not None  # asked only for what the API has
    from qoder_cli.commands import editing

    fields_typed = {name: field for name, field in fields_of(body_of(done)).items() if field.option}
    plain = {name: parameter_of(field) for name, field in fields_typed.items() if name != "metadata"}
    is_new, has_budget = verb == "create", "budget" in done.body
    if is_new:
        needed = [field.option.name for field in fields_typed.values() if field.option and field.is_needed]
        how = "options" if len(needed) > 1 else "an option"
        about = fill(f"Requires {' and '.join(needed)}, as {how} or in a file. {noun.help.created}", 76)
        about += f"\n{editing.EXITS}"
        doc = _doc(f"Create {ids.a(noun.called)}.", about, _example(noun, verb, noun.help.example))
    else:
        about = "Exits 0 if nothing had to change."
        example = _example(noun, verb, noun.naming.sample, "--metadata", "team=core")
        doc = _doc(f"Update {ids.a(noun.called)}. Only what you pass is changed.", about, example)
    parameters = [] if is_new else [*parent_argument(noun), ("thing", str, one_argument(noun))]
    parameters += map(_typed, fields_typed.values())
    if not is_new:
        parameters.append(("remove_metadata", Texts, editing.REMOVE_METADATA))
    if has_budget:
        parameters += [("budget", Text, editing.BUDGET), ("no_budget", bool, editing.NO_BUDGET)]
    if noun.holds.takes_file:
        parameters.append(("file", Text, editing.FILE))
    if is_new:
        parameters += options.fields_of(editing.Making)
    else:
        parameters += [("dry_run", bool, editing.DRY_RUN)]

    def edit(ctx: typer.Context, **given: Any) -> None:
        making = editing.Making(*(given.get(field, False) for field in editing.Making._fields))
        making.check()
        fields: Raw = {field: given[name] for field, name in plain.items()}
        if has_budget:
            fields |= editing.budget_of(given["budget"], given["no_budget"])
        body = editing.body_of(ctx.obj, noun, verb, given, **fields)
        if given.get("no_budget"):
            body["budget"] = None
        if is_new:
            return editing.create(ctx.obj, noun, body, making)
        word, parents = given["thing"], parents_typed(ctx.obj, noun, given)
        if noun.naming.found_by and body:
            word = one_found(ctx.obj, noun, word)
        current = editing.read_current(ctx.obj, noun, word, *parents, has_change=bool(body))
        editing.update(ctx, noun, current, body, *parents, dry_run=given["dry_run"])

    return declared(edit, doc, parameters)


def versions_command(noun: Noun) -> Callable[..., Any]:
    """Return the command that lists the versions of one of a noun's things."""
    first = f"List the versions of {ids.a(noun.called)}, newest first (20 by default)."
    doc = _doc(first, "", _example(noun, "versions", noun.naming.sample))
    parameters = [("thing", str, one_argument(noun)), *_LIMITS, *_VIEWING]

    def versions(ctx: typer.Context, thing: str, limit: int | None, all: bool, **viewing: Any) -> None:
        view = view_typed(ctx.obj, viewing, noun.listing.numbered)
        wanted = rows_wanted(limit, all=all)
        path = path_of(noun, id_of(ctx.obj, noun, thing, archived=True)) + "/versions"
        view.show(lambda: print_list(ctx.obj, noun, path, {}, wanted, versions=True))

    return declared(versions, doc, parameters)


def change_command(noun: Noun, verb: str) -> Callable[..., Any]:
    """Return the command that archives or deletes a noun's things."""
    end = "" if verb == "delete" else " Exits 0 if already archived."
    about = fill(f"{getattr(noun.help, BY_VERB[verb].participle)} Asks first; scripts need --yes.{end}", 76)
    doc = _doc(
        f"{verb.capitalize()} {noun.plural}. {_FOREVER}", about, _example(noun, verb, noun.naming.sample, "--yes")
    )
    parameters = [*parent_argument(noun), ("things", list[str], one_argument(noun, several=True))]
    if verb == "delete" and operation(noun, "versions.delete"):
        parameters.append(_version("Only this version, of one."))
    parameters += [("yes", bool, options.YES), ("allow_empty", bool, options.ALLOW_EMPTY)]
    return declared(lambda ctx, **given: _change(ctx.obj, noun, verb, given), doc, parameters)


def _change(app: App, noun: Noun, verb: str, given: Raw) -> None:
    change = BY_VERB[verb]
    about: str = getattr(noun.help, change.participle)
    words, version = given["things"], given.get("version")
    need_a_yes(app, change, given["yes"])
    # All names are looked up first: a wrong one changes nothing.
    targets = things_named(app, noun, words, given, allow_empty=given["allow_empty"])
    if version is not None:
        if len(targets) > 1:
            raise UsageError(f"--version is that of one {noun.called}", hint="name one")
        [(word, whole)] = targets
        assert isinstance(whole, Target)  # only a session's may be an error
        path, what = f"{whole.path}/versions/{version}", f"version {version} of {whole.called}"
        targets = [(word, Target(path, str(version), what, words_of(noun, "versions", whole.id)))]

    def question(raw: Raw) -> str:
        what = f"{called(noun, raw)}? {about}"
        if version:
            what = f"version {version} of {targets[0][0]}?"
        return " ".join(filter(None, (what, noun.help.warned(raw).rstrip(), _FOREVER)))

    reasons = []
    if verb == "delete" and noun.help.archived and version is None:
        reasons.append("archive it instead")
    if about.startswith("The API refuses "):  # what else is said about it would be true if it had been done
        reasons.append(about[:1].lower() + about[1:].rstrip("."))
    many, yes = is_list(words), given["yes"]
    change_things(app, noun, change, targets, question, yes=yes, as_list=many, refused="; ".join(reasons))


def need_a_yes(app: App, change: Change, yes: bool) -> None:
    """Raise UsageError if nobody said yes or can be asked."""
    if not yes and not app.may_ask:
        raise UsageError(f"{change.doing} cannot be undone; nothing was {change.participle}", hint="confirm with --yes")


def things_named(
    app: App, noun: Noun, given: Sequence[str], others: Raw | None = None, *, allow_empty: bool | None = None
) -> list[Named]:
    """Return the things typed; one named is read. What holds them is among the `others` typed. Raises QoderError."""
    words = named(given, app, what=noun.plural, allow_empty=allow_empty)
    if noun.naming.found_by:
        ids = zip(words, named_at(noun.naming.found_by)(words, app), strict=True)
        return [(word, id if isinstance(id, QoderError) else target_of(noun, id)) for word, id in ids]
    Names.among(noun, words)  # check all before any request
    parents = parents_typed(app, noun, others or {})
    names = Names(app, *parents, archived=True)
    targets: list[Named] = []
    for word in words:
        target = target_of(noun, *parents, names.id_of(noun, word))
        if word != target.id:
            read_named(app, noun, word, target, fresh=True)
        targets.append((word, target))
    return targets


def change_things(
    app: App,
    noun: Noun,
    change: Change,
    targets: Sequence[Named],
    question: Callable[[Raw], str] = str,
    *,
    as_list: bool,
    yes: bool = True,
    refused: str = "",
    perform: Callable[[Target], Resource] | None = None,
) -> None:
    """Change things; without a `yes` ask the `question` about each. Raises QoderError."""

    def is_wanted(raw: Raw) -> bool:
        asked, nothing = f"{change.verb.capitalize()} {question(raw)}", f"nothing was {change.participle}"
        return confirmed(app, asked, nothing=nothing)  # all are asked about before any is changed

    perform = perform or (lambda target: changed(app, target, change, ending(app, target, change)))
    changes = Changes(app, noun, change, None if yes else is_wanted, perform, refused)
    if noun.naming.explained_by:
        changes.missing = lambda error, target: named_at(noun.naming.explained_by)(error, target.id, app)
    changes.make(targets, as_list=as_list)
