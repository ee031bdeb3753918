"""Create or change a thing by file and options; show, send and confirm it."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import typer

from qoder_cli.app import App
from qoder_cli.base.errors import (
    InternalError,
    NoResponse,
    ReaderGone,
    Rejected,
    Signalled,
    UsageError,
    exclude,
)
from qoder_cli.base.ids import a
from qoder_cli.base.marks import without_ours
from qoder_cli.base.model import Raw, filled, mapping
from qoder_cli.base.words import few
from qoder_cli.cli.options import ADVANCED, Text, flag, option, options_typed, several
from qoder_cli.help.completion import values
from qoder_cli.nouns import bodies
from qoder_cli.nouns.edits.forms import form_of
from qoder_cli.nouns.edits.step import Job, Origin, Step, planned
from qoder_cli.nouns.edits.thing import archived, read, target_of
from qoder_cli.nouns.lists import ServerLists
from qoder_cli.nouns.named import Names, read_named
from qoder_cli.nouns.noun import Noun
from qoder_cli.nouns.shown import name_of, show
from qoder_cli.nouns.table import NOUNS, operation, words_of
from qoder_cli.output.results import last_words

NAME = option("--name", "NAME", "Name.")
DESCRIPTION = option("--description", "TEXT", "Description.")
TITLE = option("--title", "TEXT", "Title.")
BUDGET = option("--budget", "CREDITS", "Maximum credits.")
NO_BUDGET = flag("--no-budget", "Remove the budget.")
METADATA = several("--metadata", "KEY=VALUE", "Set a metadata key.")
REMOVE_METADATA = several("--remove-metadata", "KEY", "Remove a metadata key.")
FILE = option("--file -f", "FILE", "YAML or JSON with the fields; - reads stdin. Options win.", values.files)
DRY_RUN = flag("--dry-run", "Show the changes without applying them.")


EXITS = """Exits 6 if the name is taken (see --if-missing), 9 if the response was lost
and it is not found."""
LONGEST_RUBRIC = 262_144  # characters (api.md#limits)


class Making(NamedTuple):
    """How something is created, as typed. These are the options, too."""

    if_missing: bool = flag("--if-missing", "If the name is taken, show that one and exit 0.")
    allow_duplicate: bool = flag("--allow-duplicate", "Create it even if the name is taken.")
    dry_run: bool = DRY_RUN

    def check(self) -> None:
        """Raise UsageError for options that exclude each other."""
        exclude({"--if-missing": self.if_missing, "--allow-duplicate": self.allow_duplicate})


class OutcomeOptions(NamedTuple):
    """The goal of the agent, and how it is judged, as typed. These are the options, too."""

    outcome: Text = option("--outcome", "TEXT", "Goal, which the service judges.", group=ADVANCED)
    rubric: Text = option("--rubric", "TEXT|@FILE", "How --outcome is judged.", group=ADVANCED)
    max_iterations: int | None = option("--max-iterations", "N", "Tries at most.", group=ADVANCED, min=1, max=20)

    def event(self, app: App) -> list[Raw]:
        """Return the event that says so, if it was typed (api.md#sending-events). Raises UsageError."""
        if self.outcome is None and self.rubric is None and self.max_iterations is None:
            return []
        if not (self.outcome or "").strip() or self.rubric is None:
            why = "an outcome needs both --outcome and --rubric, by which it is judged"
            raise UsageError(why, hint="e.g. --outcome 'A report' --rubric @rubric.md")
        content = text_typed(app, "--rubric", self.rubric, None) or ""
        if not content.strip() or len(content) > LONGEST_RUBRIC:
            raise UsageError(f"--rubric has {len(content):,} characters; 1 to {LONGEST_RUBRIC:,} are taken")
        for name, value in (("--outcome", self.outcome), ("--rubric", content)):
            bodies.check_typed(name, "text", value)
        rubric = {"type": "text", "content": content}
        about = {"type": "user.define_outcome", "description": self.outcome, "rubric": rubric}
        return [{**about, **filled({"max_iterations": self.max_iterations})}]


def with_outcome(events: Sequence[Any], outcome: Sequence[Raw]) -> list[Any]:
    """Return first events with this outcome, which is one event, in place of the one before."""
    return [*(event for event in events if mapping(event).get("type") != outcome[0]["type"]), *outcome]


def text_typed(app: App, option: str, word: str | None, file: str | None) -> str | None:
    """Return text as typed, of `@FILE`, or of stdin for `-`. Raises UsageError."""
    from qoder_cli.base.plainfile import text_of

    if word is None:
        return None
    if word == "-" and file == "-":
        message = f"{option} - and --file - both read standard input"
        raise UsageError(message, hint=f"use {option} @FILE")
    return text_of(word, stdin=app.stdin, option=option)


def body_of(app: App, noun: Noun, verb: str, given: Mapping[str, Any], *plain: str, **own: Any) -> Raw:
    """Return the body from file, `plain` options, `own` fields. Raises UsageError."""
    options = {name: given[name] for name in plain} | own
    if "metadata" in given:
        options["metadata"] = bodies.metadata_change(given["metadata"], given.get("remove_metadata"))
    if file := given.get("file"):
        from qoder_cli.stack.fence import check_file

        check_file(app, file)
    return bodies.body_of(app, noun, verb, options, file=given.get("file"))


def budget_of(word: str | None, is_none: bool = False) -> Raw:
    """Return the typed budget as a field. Raises UsageError."""
    if word is None:
        return {}
    exclude({"--budget": True, "--no-budget": is_none})
    return bodies.declared_by_options(NOUNS["deploy"], {"budget": word}, {"budget": "--budget"}).fields


def create(app: App, noun: Noun, body: Raw, making: Making) -> None:
    """Create a thing and print it, or show what would be sent, or what has its name. Raises Rejected."""
    from qoder_cli.http.redact import by_name

    step = Step(noun=noun, form=form_of(noun), wanted=body)
    if existing := taken(app, noun, name_of(body), making, step):
        show(app, noun, existing)
        return
    if making.dry_run:
        app.progress.note(f"the {noun.called} that would be created{app.client.settings.whereabouts}")
        show(app, noun, by_name(body))
        return
    called = " ".join(filter(None, (noun.called, name_of(body))))
    app.progress.note(f"creating the {called}{app.client.settings.whereabouts}")
    write(app, planned(step))


def write(app: App, step: Step) -> Raw:
    """Do a step's write, print the thing, also where it ends early, and return it. Raises what decides the code."""
    applied, job = None, Job(app, step)
    try:
        applied = job.do()
        if applied.found is not None and applied.is_fine:
            show(app, step.noun, applied.found.raw)
    except Signalled as signalled:
        applied = applied or job.given_up()
        if not app.out.has_written and applied.found is not None and applied.is_fine:
            with suppress(ReaderGone, InternalError):  # the signal decides, whoever still listens
                show(app, step.noun, applied.found.raw)
        if applied.error is None:
            raise signalled.in_words(f"stopped by a signal; {applied.step.name} was {applied.became}") from None
        stopped = signalled.in_words("stopped by a signal", next=applied.error.next)
        is_unknown = applied.action == "unknown"
        raise last_words(stopped, stopped.message, applied.error.message, is_unknown=is_unknown) from None
    except InternalError as unwritten:  # a full disk does not undo it
        applied = applied or job.given_up()
        message = f"{applied.label} was {applied.became}, but {unwritten.message}"
        look = applied.found and app.looking(*words_of(step.noun, "get", *step.parents, applied.found.id))
        raise unwritten.with_(message=message, next=look) from None
    if applied.error is not None:
        raise applied.error
    return applied.found.raw if applied.found else {}


def taken(app: App, noun: Noun, name: str | None, making: Making, step: Step) -> Raw | None:
    """Return what has the name of a new thing, where that is enough; None if it can be created.

    Warns where it is not as the step wants it. Raises Rejected, UsageError, ApiError.
    """
    if making.allow_duplicate or not name or not noun.naming.has_name:
        return None
    try:
        [rows] = ServerLists(app).holders(noun, name)
    except NoResponse as error:
        raise error.with_(hint="--allow-duplicate creates it without asking") from None
    if not rows:
        return None
    these = few([str(row["id"]) for row in rows])
    if not making.if_missing or len(rows) > 1:
        exists = f"{a(noun.called)} named {name!r} already exists"
        if len(rows) > 1:
            exists = f"{len(rows)} {noun.plural} named {name!r} already exist"
        hint = "choose another name, or pass --if-missing or --allow-duplicate; to see the existing one"
        raise Rejected(f"{exists} ({these})", hint=hint, next=app.looking(*words_of(noun, "get", str(rows[0]["id"]))))
    existing = read(app.client, target_of(noun, these), fresh=True)  # a list may have what is gone
    app.progress.note(f"{noun.called} {name} is there already ({these}); nothing was created")
    if other := ", ".join(sorted({change.field for change in step.differs(existing)})):
        app.progress.warn(f"{these}: is not as asked for: {other}")
    return existing


def read_current(app: App, noun: Noun, word: str, *parents: str, has_change: bool) -> Raw:
    """Return the thing to change, by id or name.

    Raises UsageError unless it `has_change`; Rejected if it is archived.
    """
    if not has_change:
        help = " ".join(words_of(noun, "update"))
        raise UsageError("nothing to update", hint=f"pass at least one option; see qoder {help} --help")
    target = target_of(noun, *parents, Names(app, *parents, archived=True).id_of(noun, word))
    current = read_named(app, noun, word, target, fresh=True)
    creation = operation(noun, "create")
    if creation and (error := archived(target, current)):
        raise error.with_(hint=f"create another: {' '.join(app.command(*creation.command))}")
    return current


def refuse_unseen(current: Raw, names: Iterable[str]) -> None:
    """Raise NoResponse for a field that is replaced whole, but by what was added to what is not shown."""
    if unseen := sorted(set(names) - current.keys()):
        what = f"the response does not show the {unseen[0]} of {current['id']}, which is replaced whole"
        raise NoResponse(f"{what}; nothing was sent", hint="try again, or write all of it into a file: -f FILE")


def note_changes(app: App, step: Step) -> None:
    """Say what a step changes, and that the files of a stack declare the thing."""
    from qoder_cli.nouns.edits.owner import owner_of

    if not app.progress.is_quiet:  # stdout has the thing
        app.err.print("".join(f"  {line}\n" for line in step.lines()))
    if step.current is not None and (stack := owner_of(step.noun, step.current)):
        app.progress.note(f"{step.label} belongs to the stack {stack}, whose next apply may undo this")


def update(ctx: typer.Context, noun: Noun, current: Raw, wanted: Raw, *parents: str, dry_run: bool) -> Raw:
    """Make a thing as wanted, print it, and return it as it is then; empty if nothing was sent.

    `current` is the thing as read. `wanted` has whole fields, but metadata is merged, and null
    removes a key. Raises Rejected, after showing what someone else changed in the meantime.
    """
    from qoder_cli.http.redact import by_name

    app: App = ctx.obj
    had = mapping(current.get("metadata"))
    if "metadata" in wanted:
        labels = {**without_ours(had), **(wanted["metadata"] or {})}
        wanted = wanted | {"metadata": {key: value for key, value in labels.items() if value is not None}}
    step = planned(Step(noun=noun, form=form_of(noun), wanted=wanted, current=current, parents=parents))
    if not step.is_open:
        app.progress.note(f"{step.target.called} is already up to date")
        show(app, noun, current)
        return {}
    if not dry_run:
        app.progress.note(f"updating {step.target.called}{app.client.settings.whereabouts}")
    note_changes(app, step)
    if dry_run:
        show(app, noun, {**current, **by_name({name: wanted[name] for name in step.body if name in wanted})})
        return {}
    if "-" not in ctx.params.values():  # standard input was read
        again = app.command(*words_of(noun, "update", step.target.id), *options_typed(ctx))
        step = step.with_(origin=Origin(again=again))
    return write(app, step)
