"""`qoder run list`: the runs of one deployment, or of all."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import chain
from operator import itemgetter
from typing import Annotated, Any

import typer

from qoder_cli.app import State
from qoder_cli.base.errors import NotFound
from qoder_cli.base.model import Run, mapping, text
from qoder_cli.base.times import parse_timestamp
from qoder_cli.help.completion import values
from qoder_cli.output.listing import All, Limit, Listing, Object, rows_wanted
from qoder_cli.runs.query import ALWAYS, APART, Asked, Matches, Status, Trigger, Window

Page = dict[str, Any]

LONGEST_RESOLVED = 100  # rows


def list_runs(
    ctx: typer.Context,
    deployment: Annotated[
        str | None,
        typer.Argument(
            metavar="DEPLOYMENT",
            help="Only runs of this deployment (id or name).",
            autocompletion=values.deployments,
        ),
    ] = None,
    status: Annotated[
        list[Status] | None,
        typer.Option(metavar="STATUS", help=f"Only runs with this status: {', '.join(Status)}. Repeatable."),
    ] = None,
    trigger: Annotated[
        Trigger | None,
        typer.Option(metavar="HOW", help="Only runs triggered this way: manual, schedule or retry."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="WHEN", help="Only runs created since: an age (90m, 7d, 2w), a date or an RFC 3339 time."),
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="WHEN", help="Only runs created until then.")] = None,
    limit: Limit = None,
    all: All = False,
    resolve: Annotated[
        bool | None,
        typer.Option("--resolve/--no-resolve", help="Read missing statuses from the runs' sessions."),
    ] = None,
) -> None:
    """List runs, newest first (20 by default).

    Some servers do not report a status; qoder then reads it from each run's
    session, for lists of up to 100 rows or with --status. Longer lists show
    "-" unless you pass --resolve.

    Examples:
      qoder run list
      qoder run list nightly-report --status failed --since 7d
      qoder run list --all -o jsonl | jq -r .id

    Exits 0 whatever the runs' status."""
    from qoder_cli.deployments.lookup import explain_missing
    from qoder_cli.runs import names

    state: State = ctx.obj
    window = Window.read(since, until, state=state)
    wanted = rows_wanted(limit, all=all, bounded=window != ALWAYS)
    of = None if deployment is None else names.deployment(deployment, state)
    asked = Asked(of, frozenset(status or ()), trigger, window, wanted, resolve)
    try:
        _list(state, asked)
    except NotFound as error:
        raise explain_missing(error, of, state) if of else error from None


def _list(state: State, asked: Asked) -> None:
    """Print the list; the first page decides how the rest is read."""
    from qoder_cli.base.pages import next_cursor
    from qoder_cli.local.remembered import MOST_RUNS, remember_runs
    from qoder_cli.output.views import RUN_FIRST, run_row
    from qoder_cli.runs.resolve import Resolver

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
    adopted = state.store.adopted(state.settings.host)
    matches = Matches(asked.trigger, asked.window)

    def read(objects: Sequence[Object]) -> Iterable[Run]:
        runs = resolver.runs(objects) if resolver.asks or asked.statuses else map(Run, objects)
        for run in runs:
            if not asked.statuses or run.status in asked.statuses:
                yield replace(run, adopted=True) if run.raw.get("id") in adopted else run

    listing = Listing(
        pages,
        read=read,
        limit=asked.limit,
        matches=None if matches.everything else matches,
        sifts=bool(asked.statuses),
        sure=not asked.filtered_here and asked.window == ALWAYS,
        slow=resolver.asks and not state.output.is_drawn,
    )
    listing.print(state.output.rows(fields=run_row, data=Run.as_json, first=RUN_FIRST))
    remember_runs(state, filter(None, map(Run.read, first["data"][:MOST_RUNS])))
    if matches.undated:
        state.progress.warn(f"ignored {matches.undated} runs without a creation time")
    if resolver.unread:
        what = "ignored" if asked.statuses else "status unknown for"
        why = "their sessions could not be read" if resolver.asks else "--no-resolve"
        state.progress.warn(f"{what} {resolver.unread} runs: {why}")
    listing.conclude(state.progress)


def _resolves(asked: Asked, is_whole: bool, state: State) -> bool:
    """Return whether sessions are asked for what their runs do not say (contract, section 3)."""
    if state.output.format == "id" and not asked.statuses:
        return False  # no status is shown and none is needed
    if asked.resolve is not None:
        return asked.resolve
    return bool(asked.statuses) or is_whole or (asked.limit is not None and asked.limit <= LONGEST_RESOLVED)


def _newest_first(data: list[Any]) -> list[Any]:
    """Return a list that is one page in the order of creation, the newest first.

    The order of the list of all runs is not documented; the one example has the newest first (api/facts.md, 1.3). A
    longer list is taken to be in that order too, for sorting it would mean to hold it all: the order of the rows
    depends on that, and which of them a limit leaves out; what --since and --until leave out does not.
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
    from qoder_cli.base.pages import next_cursor

    name, value = next_cursor(first) or ("", "")
    shows_status = any(text(mapping(item).get("status")) for item in first["data"])
    if len(statuses) != 1 or name != "after_id" or not shows_status:
        return None
    return {**query, "status": next(iter(statuses)), name: value}


def _down_to(since: datetime, pages: Iterable[Page]) -> Iterator[Page]:
    """Yield the pages of a deployment's runs, newest first, until one ends before `since`."""
    for page in pages:
        yield page
        last = mapping(page["data"][-1]) if page["data"] else {}
        moment = parse_timestamp(last.get("triggered_at") or last.get("created_at"))
        if moment is not None and moment < since - APART:
            return
