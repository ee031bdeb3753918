"""`qoder run list`: the runs of one deployment, or of all."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from qoder_cli.errors import NotFound, UsageError
from qoder_cli.ids import segment
from qoder_cli.listing import LARGEST_PAGE, All, Limit, Listing, Object, page_size, rows_wanted
from qoder_cli.model import Run, mapping, text
from qoder_cli.state import State
from qoder_cli.times import parse_timestamp

if TYPE_CHECKING:
    from qoder_cli.resolve import Resolver


class Status(StrEnum):
    """The statuses that can be asked for (an enum, because typer takes no list of a Literal)."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"


Trigger = Literal["manual", "schedule", "retry"]
Page = dict[str, Any]

# How far a run's triggered_at and created_at may be apart, at the very most: what the server leaves out by the one is
# never within the other.
_APART = timedelta(hours=1)
LONGEST_RESOLVED = 100  # rows
_ROUNDED = timedelta(seconds=1)  # the current generation shows whole seconds


class Window(NamedTuple):
    """The times between which runs were created, both included; None where there is no bound."""

    since: datetime | None
    until: datetime | None

    @classmethod
    def read(cls, since: str | None, until: str | None, *, state: State) -> "Window":
        """Return the window that was typed. Raises UsageError, also for one that ends before it begins."""
        if since is None and until is None:
            return cls(None, None)
        from qoder_cli.when import parse_when

        now = datetime.fromtimestamp(state.clock.now(), UTC)
        window = cls(
            None if since is None else parse_when(since, option="--since", now=now),
            None if until is None else parse_when(until, option="--until", now=now),
        )
        if window.since and window.until and window.since > window.until:
            raise UsageError("--since is after --until", hint="nothing can lie between them; swap them")
        return window

    def holds(self, moment: datetime) -> bool:
        """Return whether a moment lies within."""
        return (self.since is None or moment >= self.since) and (self.until is None or moment <= self.until)

    def query(self, after: str, before: str, *, slack: timedelta) -> dict[str, str]:
        """Return the window as two parameters of a request, wider by the slack: what is left over is filtered here."""
        query = {} if self.since is None else {after: _stamp(self.since - slack)}
        return query | ({} if self.until is None else {before: _stamp(self.until + slack)})


ALWAYS = Window(None, None)


class Asked(NamedTuple):
    """What runs were asked for. `deployment` is an id, None for all; `limit` None for no limit."""

    deployment: str | None
    statuses: frozenset[str]
    trigger: Trigger | None
    window: Window
    limit: int | None
    resolve: bool | None

    @property
    def filtered_here(self) -> bool:
        """Whether the server cannot be asked for less than every run (api/facts.md, 1.3)."""
        one_it_filters = self.trigger is None or (self.deployment is None and self.trigger != "retry")
        return bool(self.statuses) or not one_it_filters

    def request(self) -> tuple[str, dict[str, Any]]:
        """Return the path and the query of the list, with the filters that both generations document."""
        if self.deployment is not None:
            path = f"/deployments/{segment(self.deployment)}/runs"
            filters = self.window.query("triggered_after", "triggered_before", slack=_APART)
        else:
            path = "/deployment_runs"
            filters = self.window.query("created_at[gte]", "created_at[lte]", slack=_ROUNDED)
            if self.trigger in ("manual", "schedule"):  # the current generation knows no retry
                filters["trigger_type"] = str(self.trigger)
        return path, {"limit": LARGEST_PAGE if self.filtered_here else page_size(self.limit), **filters}


class Matches:
    """The test for what a run shows of itself, applied also to what the server was asked to filter.

    `undated` counts the runs that do not say when they were created, where that was asked.
    """

    def __init__(self, trigger: Trigger | None, window: Window) -> None:
        self._trigger = trigger
        self._window = None if window == ALWAYS else window
        self.undated = 0

    @property
    def everything(self) -> bool:
        """Whether there is nothing to test."""
        return self._trigger is None and self._window is None

    def __call__(self, item: Object) -> bool:
        """Return whether a run of a list was asked for."""
        if self._trigger is not None and mapping(item.get("trigger_context")).get("type") != self._trigger:
            return False
        if self._window is None:
            return True
        created = parse_timestamp(item.get("created_at"))
        self.undated += created is None
        return created is not None and self._window.holds(created)


def list_runs(
    ctx: typer.Context,
    deployment: Annotated[
        str | None, typer.Argument(metavar="DEPLOYMENT", help="Only of this one, dep_… or its name.")
    ] = None,
    status: Annotated[
        list[Status] | None,
        typer.Option("--status", metavar="STATUS", help=f"Only with it: {', '.join(Status)}. Repeatable."),
    ] = None,
    trigger: Annotated[
        Trigger | None, typer.Option(metavar="HOW", help="Only those started by manual, schedule or retry.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="WHEN", help="Only created since: 90m, 7d, 2w, a date or an RFC 3339 time.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="WHEN", help="Only created until.")] = None,
    limit: Limit = None,
    all: All = False,
    resolve: Annotated[
        bool | None,
        typer.Option("--resolve/--no-resolve", help="Ask the sessions of runs without a status how they ended."),
    ] = None,
) -> None:
    """List runs, newest first: the newest 20 unless told otherwise.

    Where the server gives runs no status, their sessions are asked for it, in
    a list of at most 100 rows or with --status. Longer lists show what the
    server sent, `-` for the status, unless --resolve is given.

    Examples:
      qoder run list
      qoder run list nightly-report --status failed --since 7d
      qoder run list --all -o jsonl | jq -r .id

    Exit 0 whatever the status of the runs.
    All exit codes: qoder help exit-codes"""
    from qoder_cli import names

    state: State = ctx.obj
    window = Window.read(since, until, state=state)
    wanted = rows_wanted(limit, all=all, bounded=window != ALWAYS)
    of = None if deployment is None else names.deployment(deployment, state)
    asked = Asked(of, frozenset(status or ()), trigger, window, wanted, resolve)
    try:
        _list(state, asked)
    except NotFound as error:
        raise names.explain_missing(error, of, state) if of else error from None


def _list(state: State, asked: Asked) -> None:
    """Print the list; the first page decides how the rest is read."""
    from qoder_cli.client import next_cursor
    from qoder_cli.resolve import Resolver
    from qoder_cli.views import RUN_FIRST, run_row

    path, query = asked.request()
    pages = state.client.pages(path, query)
    first = next(pages)
    is_whole = next_cursor(first) is None
    if is_whole and asked.deployment is None:
        first["data"] = _newest_first(first["data"])
    if narrowed := _narrowed(first, query, asked.statuses):
        pages = state.client.pages(path, narrowed)
    pages = chain([first], pages)
    if asked.deployment is not None and asked.window.since is not None:
        pages = _down_to(asked.window.since, pages)

    resolver = Resolver(state.client, progress=state.progress, ask=_resolves(asked, is_whole, state))
    matches = Matches(asked.trigger, asked.window)
    listing = Listing(
        pages,
        read=_reader(resolver, asked.statuses),
        limit=asked.limit,
        matches=None if matches.everything else matches,
        sifts=bool(asked.statuses),
        sure=not asked.filtered_here and asked.window == ALWAYS,
        slow=resolver.asks and not state.output.is_drawn,
    )
    listing.print(state.output.rows(fields=run_row, data=Run.as_json, first=RUN_FIRST))
    _warn(state, asked, resolver, matches)
    listing.conclude(state.progress)


def _resolves(asked: Asked, is_whole: bool, state: State) -> bool:
    """Return whether sessions are asked for what their runs do not say (contract, section 3)."""
    if state.output.format == "id" and not asked.statuses:
        return False  # no status is shown and none is needed
    if asked.resolve is not None:
        return asked.resolve
    return bool(asked.statuses) or is_whole or (asked.limit is not None and asked.limit <= LONGEST_RESOLVED)


def _reader(resolver: "Resolver", statuses: frozenset[str]) -> Callable[[Sequence[Object]], Iterable[Run]]:
    if statuses:
        return lambda objects: (run for run in resolver.runs(objects) if run.status in statuses)
    return resolver.runs if resolver.asks else lambda objects: map(Run, objects)


def _newest_first(data: list[Any]) -> list[Any]:
    """Return a list that is one page in the order of creation, the newest first.

    The order of the list of all runs is not documented; the one example has the newest first (api/facts.md, 1.3). A
    longer list is taken to be in that order too: sorting it would mean to hold it all. Nothing but the order of the
    rows depends on it.
    """
    moments = [parse_timestamp(mapping(item).get("created_at")) for item in data]
    if None in moments:
        return data
    return [item for _, item in sorted(zip(moments, data, strict=True), key=itemgetter(0), reverse=True)]


def _narrowed(first: Page, query: dict[str, Any], statuses: frozenset[str]) -> dict[str, Any] | None:
    """Return the query with which a server that filters by status goes on after the first page; None for others.

    Only the older generation does, which gives runs a status and has no `next_page` (api/facts.md, 1.3); there a
    cursor is an id, which means the same whatever the filter.
    """
    from qoder_cli.client import next_cursor

    name, value = next_cursor(first) or ("", "")
    shows_status = any(text(mapping(item).get("status")) for item in first["data"])
    if len(statuses) != 1 or name != "after_id" or not shows_status:
        return None
    return {**query, "status": next(iter(statuses)), name: value}


def _down_to(since: datetime, pages: Iterable[Page]) -> Iterator[Page]:
    """Yield the pages of a deployment's runs, newest first by documentation, until one ends before what was asked."""
    for page in pages:
        yield page
        last = mapping(page["data"][-1]) if page["data"] else {}
        moment = parse_timestamp(last.get("triggered_at") or last.get("created_at"))
        if moment is not None and moment < since - _APART:
            return


def _warn(state: State, asked: Asked, resolver: "Resolver", matches: Matches) -> None:
    if matches.undated:
        state.progress.warn(f"{matches.undated} runs that do not say when they were created were left out")
    if resolver.unread:
        what = "were left out" if asked.statuses else "are shown as the server sent them"
        why = "could not be read" if resolver.asks else "were not asked (--no-resolve)"
        state.progress.warn(f"{resolver.unread} runs {what}: their sessions {why}")


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
