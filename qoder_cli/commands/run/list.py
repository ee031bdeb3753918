"""`qoder run list`: the runs of one deployment, or of all."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from enum import StrEnum
from itertools import chain
from operator import itemgetter
from typing import Any, Literal

from qoder_cli.app import App
from qoder_cli.base.errors import Exit, NotFound, UsageError
from qoder_cli.base.model import Run, mapping, next_cursor, text
from qoder_cli.base.outcome import is_going, verdict
from qoder_cli.base.times import parse_timestamp
from qoder_cli.base.words import counted
from qoder_cli.cli.options import Text, argument, flag, option, several
from qoder_cli.commands.viewing import View, Viewing
from qoder_cli.help.completion import values
from qoder_cli.history.window import ALWAYS, Page, Window, runs_within
from qoder_cli.local.remembered import MOST_RUNS, remember_runs
from qoder_cli.nouns.lookup import deployment_id_of, explain_missing
from qoder_cli.nouns.views import RUN_COLUMNS, RUN_FIRST, listed_run, run_row
from qoder_cli.output.cells import Fields
from qoder_cli.output.data import Rows
from qoder_cli.output.listing import ALL, LARGEST_PAGE, LIMIT, Object, WantedRows, page_size, rows_wanted

_LONGEST_RESOLVED = 100  # rows

# To filter by: an enum, as typer takes no list of a Literal.
Status = StrEnum("Status", "PENDING RUNNING COMPLETED FAILED SKIPPED")
Trigger = Literal["manual", "schedule", "retry"]
_SENT_TRIGGERS = ("manual", "schedule")  # the current generation knows no retry


_OF_THIS = "Only runs of this deployment."
_OF = argument("DEPLOYMENT", _OF_THIS, values.deployments, default=None)
_STATUS = several("--status", "STATUS,…", f"Only {', '.join(Status)}.")
_TRIGGER = option("--trigger", "HOW", "manual, schedule or retry.")
_SINCE = option("--since", "WHEN", "Created since an age (7d), date or time.")
RESOLVE = flag("--resolve/--no-resolve", "Read missing statuses from sessions.", default=None)


def list_runs(
    app: App,
    deployment: Text = _OF,
    of_deployment: Text = option("--deployment", "DEPLOYMENT", "The same as DEPLOYMENT.", values.deployments),
    status: list[Status] | None = _STATUS,
    trigger: Trigger | None = _TRIGGER,
    since: Text = _SINCE,
    until: Text = option("--until", "WHEN", "Created before then."),
    limit: int | None = LIMIT,
    all: bool = ALL,
    resolve: bool | None = RESOLVE,
    *,
    viewing: Viewing,
) -> None:
    """List runs, newest first (20 by default).

    Where servers report no status, it is read from each run's session, for up
    to 100 rows or with --status; longer lists show "-" without --resolve.
    Costs are in `session list`.

    Examples:
      qoder run list nightly-report --status failed,skipped --since 7d
      qoder run list --all -o jsonl | jq -r .id"""
    view = View(app, viewing, RUN_COLUMNS, "error")
    window = Window.read(since, until, app=app)
    if deployment is not None and of_deployment not in (None, deployment):
        raise UsageError(f"DEPLOYMENT and --deployment name two: {deployment}, {of_deployment}", hint="give one")
    deployment = of_deployment if deployment is None else deployment
    wanted = rows_wanted(limit, all=all, bounded=window != ALWAYS)
    try:
        of = None if deployment is None else deployment_id_of(deployment, app)
    except NotFound as error:
        if deployment not in [*Status]:
            raise
        hint = f"to list the runs of all deployments by status: --status {deployment}"
        raise error.with_(hint=hint, next=None) from None
    options = [*(("--status", word) for word in status or ()), ("--trigger", trigger), ("--since", since)]
    filters = " ".join(f"{option} {value}" for option, value in [*options, ("--until", until)] if value is not None)
    none = f"no runs match {filters}" if filters else "no runs found"

    def look() -> None:
        statuses = {str(word) for word in status or ()}
        _look(app, of, statuses, trigger, (since, until), wanted, resolve=resolve, none=none)

    view.show(look)


def _look(
    app: App,
    of: str | None,
    statuses: set[str],
    trigger: Trigger | None,
    span: tuple[str | None, str | None],
    wanted: int | None,
    *,
    resolve: bool | None,
    none: str,
) -> None:
    """Print the runs that there are now. Raises ApiError."""
    from qoder_cli.history.listed import Resolver

    def ask() -> tuple[Window, bool, Page, Iterable[Page]]:
        window = Window.read(*span, app=app)
        filters: dict[str, Any] = {"trigger_type": trigger} if trigger in _SENT_TRIGGERS and of is None else {}
        # The server cannot be asked for less than every run (api.md#runs).
        filtered_here = bool(statuses) or not (trigger is None or filters)
        pages = runs_within(
            app.client, of, window, limit=LARGEST_PAGE if filtered_here else page_size(wanted), **filters
        )
        return window, filtered_here, next(pages), pages

    try:
        window, filtered_here, first, pages = app.by_server_clock(ask)
    except NotFound as error:
        raise explain_missing(error, of, app) if of else error from None
    is_whole, pages = next_cursor(first) is None, chain([first], pages)
    if is_whole and of is None:
        first["data"] = _newest_first(first["data"])

    is_short = is_whole or (wanted is not None and wanted <= _LONGEST_RESOLVED)
    asks = bool(statuses) or is_short  # whether to ask sessions
    if resolve is not None:
        asks = resolve
    if app.output.format == "id" and not statuses:
        asks = False  # no status is shown and none is needed
    resolver = Resolver(app, ask=asks)
    adopted = app.store.adopted(app.settings.host)
    undated = unknown = 0

    def matches(item: Object) -> bool:
        """Return whether a run is wanted, whatever the server filtered."""
        nonlocal undated
        context = item.get("trigger_context")
        if trigger not in (None, context, mapping(context).get("type")):
            return False
        if window == ALWAYS:
            return True
        created = parse_timestamp(item.get("created_at"))
        undated += created is None
        return created is not None and window.holds(created)

    def read(objects: Sequence[Object]) -> Iterator[Run]:
        nonlocal unknown
        for run in resolver.runs(objects) if asks or statuses else map(Run, objects):
            if statuses and _status(run) not in statuses:
                unknown += verdict(run) is Exit.OUTCOME_UNKNOWN
            else:
                yield app.named(replace(run, adopted=True) if text(run.raw.get("id")) in adopted else run)

    listing = WantedRows(
        pages,
        read=read,
        limit=wanted,
        matches=matches,
        sifts=bool(statuses),
        sure=not filtered_here and window == ALWAYS,
        slow=asks and not app.output.is_drawn,
    )
    listing.print(Rows(app.output, fields=_row(app), data=Run.as_json, first=RUN_FIRST, may_go=RUN_FIRST))
    remember_runs(app.store, app.settings, filter(None, map(Run.read, first["data"][:MOST_RUNS])))
    if undated:
        app.progress.warn(f"ignored {counted(undated, 'run')} without a creation time")
    if unknown:
        app.progress.warn(f"ignored {counted(unknown, 'run')}: the outcome is unknown, as the session was deleted")
    if resolver.unread:
        what = "ignored" if statuses else "status unknown for"
        why = "sessions could not be read" if resolver.asks else "--no-resolve"
        app.progress.warn(f"{what} {counted(resolver.unread, 'run')}: {why}")
    if resolver.unasked:
        app.progress.warn(f"{counted(resolver.unasked, 'run')} may wait for an answer: sessions could not be read")
    if statuses and resolver.unread:
        none += ", as far as is known"
    listing.conclude(app.progress, none=none)


def _status(run: Run) -> str | None:
    """Return the status by which a run is found: that which an unrecognised one is taken for."""
    if run.status in (None, *Status):
        return run.status
    return "running" if is_going(run) else "failed"


def _row(app: App) -> Callable[[Run], Fields]:
    """Return what makes a row; on a terminal with a deployment's name in the place of its id.

    It has all columns where some are chosen, or one that it lacks decides the order.
    """
    own, sorting = RUN_FIRST if app.output.is_drawn else RUN_COLUMNS, app.output.sorting
    chooses = app.output.columns is not None or (sorting is not None and sorting.column not in own)
    if not app.output.is_drawn and not chooses:
        return run_row
    now, is_wide = app.client.server_now(), app.output.is_wide

    def drawn(run: Run) -> Fields:
        name = app.seen_names.standing_for(run.deployment_id)
        return listed_run(run, now=now, name=name, is_wide=is_wide)

    if not chooses:
        return drawn
    if app.output.is_drawn:
        return lambda run: {**run_row(run), **drawn(run)}
    return lambda run: {**drawn(run), **run_row(run)}


def _newest_first(data: list[Any]) -> list[Any]:
    """Return a one-page list in order of creation, newest first.

    The order of all runs is not documented; the one example has the newest first
    (api.md#runs). A longer list is taken to be so too: sorting it would mean holding it all.
    """
    moments = [parse_timestamp(mapping(item).get("created_at")) for item in data]
    if None in moments:
        return data
    return [item for _, item in sorted(zip(moments, data, strict=True), key=itemgetter(0), reverse=True)]
