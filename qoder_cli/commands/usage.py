"""`qoder usage`: what runs used, added up."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from qoder_cli.app import App
from qoder_cli.base.credits import amount, as_text
from qoder_cli.base.errors import ApiError, NotFound, UsageError, exclude
from qoder_cli.base.jsontext import declared
from qoder_cli.base.model import mapping, next_cursor, says_whether_more
from qoder_cli.base.pool import OneAhead
from qoder_cli.base.times import span, utc_text
from qoder_cli.base.words import counted
from qoder_cli.cli.judging import conclude
from qoder_cli.cli.options import Text, Texts, option, several
from qoder_cli.commands.run.list import RESOLVE
from qoder_cli.commands.viewing import View, Viewing
from qoder_cli.help.completion import values
from qoder_cli.history.listed import Resolver, runs_in
from qoder_cli.history.usage import By, Tally, Usage, UsageSum
from qoder_cli.history.window import ROUNDED, Page, Window, runs_within
from qoder_cli.local.remembered import remember
from qoder_cli.nouns.lookup import explain_missing, ids_of_all
from qoder_cli.output.cells import Beside, Fields, Id, Milliseconds, NamedId, Share, Words, plain
from qoder_cli.output.data import Rows, in_order
from qoder_cli.output.listing import LARGEST_PAGE

COLUMNS = (
    *("key", "runs", "completed", "failed", "unknown", "success", "p50", "p95", "credits", "credits_per_run"),
    *("dearest", "skipped", "going", "sessions", "credits_unknown", "growing", "name"),
)
# In the order in which they get room on a terminal.
_FIRST = (
    *("credits", "runs", "failed", "credits_per_run", "success", "p95", "dearest", "completed", "p50", "unknown"),
    *("skipped", "going", "sessions", "credits_unknown", "growing"),
)
# Where all are alike.
_MAY_GO = ("unknown", "skipped", "going", "credits_unknown", "growing", "sessions", "completed", "p50")

_NOUNS = {"deployment": "deploy", "agent": "agent", "environment": "env"}  # whose names are read
_SINCE = "Created since an age (7d), date or time."
_UNTIL = "Created before then (default: now; never in the future)."
_OF = "Only of this deployment."
_OVER = "Exit 8 if more was used."
_AROUND = timedelta(minutes=10)  # between the creation of a run and that of its session, at most


def usage(
    app: App,
    since: str = option("--since", "WHEN", _SINCE, default="30d"),
    until: Text = option("--until", "WHEN", _UNTIL),
    by: By = option("--by", None, "What to add up by.", default="deployment"),
    deployment: Texts = several("--deployment", "DEPLOYMENT", _OF, values.deployments),
    over: Text = option("--over", "CREDITS", _OVER),
    resolve: bool | None = RESOLVE,
    *,
    viewing: Viewing,
) -> None:
    """Add up what runs and sessions used, and how runs ended.

    Adds up what each session says. At least so much was used: values are
    rounded down, deleted sessions are gone, running ones grow. The last line
    on stderr counts these. A missing value is unknown, never 0. Sums of parts
    may exceed the whole.

    With --over: exits 8 if more was used, 7 if less was seen, but not all (an
    incomplete list, a finished session that does not show what it used, or
    that may not count).

    Where servers do not report how a run ended, its session is read, for up to
    100 runs; --resolve reads all. Days are those of this machine's time zone.
    Piped: key, runs, completed, failed, unknown, success, p50, p95, credits,
    credits_per_run, dearest, skipped, going, sessions, credits_unknown,
    growing, name.

    Examples:
      qoder usage
      qoder usage --by day -o html > usage.html
      qoder usage --since 2026-05-01 --until 2026-06-01 -o csv > may.csv
      qoder usage --since 1d --deployment nightly-report --over 50"""
    view = View(app, viewing, COLUMNS)
    limit = amount(over) if over is not None else None
    if over is not None and limit is None:
        raise UsageError(f"--over: {over[:60]!r} is not an amount of credits", hint="use for example 50 or 12.50")
    exclude({"--watch": view.is_watched, "--over": over is not None})
    Window.read(since, until, app=app)
    deployments = ids_of_all(deployment or (), app)
    bounds, may_lack = (since, until), limit is not None
    every, unseen = view.show(lambda: _look(app, bounds, by, deployments, resolve=resolve, may_lack=may_lack))
    if limit is None:
        return
    finding, hint, words = None, "to see them", ["--all", "-o", "json"]
    if every.credits > limit:
        span = f"since {since} until {until}" if until else f"since {since}"
        finding = f"at least {as_text(every.credits)} credits were used {span}, more than {as_text(limit)}"
        hint, words = "to see by which sessions", ["--since", since]
    if every.silent:
        unseen.append(f"{counted(every.silent, 'session')} of what was used is unknown")
    next = app.looking("session", "list", *words)
    conclude(app, finding=finding, unseen=unseen, judges=True, hint=hint, next=next)


def _look(
    app: App, span: tuple[str, str | None], by: By, deployments: list[str], *, resolve: bool | None, may_lack: bool
) -> tuple[Tally, list[str]]:
    """Print the sums as they are now; return that of all, and what could not be read.

    Raises ApiError; where something `may_lack`, only if nothing can be read. Then nothing is printed that is not whole.
    """
    only = deployments[0] if len(deployments) == 1 else None

    def ask() -> tuple[Window, Usage, ApiError | None]:
        window = Window.read(*span, app=app)
        used = Usage(by, window, deployments=deployments or None)
        return window, used, _add_runs(app, used, window, only, resolve=resolve, may_lack=may_lack)

    window, used, without_runs = app.by_server_clock(ask)
    has_runs = without_runs is None
    query = window.query("created_at[gte]", "created_at[lte]", slack=_AROUND if has_runs else ROUNDED)
    query |= {"limit": LARGEST_PAGE, "include_archived": "true"}
    if only is not None:
        query["deployment_id"] = only
    unseen: list[str] = []
    nothing_read = not has_runs
    page: Page = {}
    try:
        for page in OneAhead(app.client.pages("/sessions", query)):
            nothing_read = False
            used.add_sessions(map(mapping, page["data"]))
    except ApiError as error:
        if not may_lack or error.is_logged_out or nothing_read:
            raise
        return used.every, [f"the sessions: {error.message}"]
    sums, every = _named(app, by, used.sums(has_runs=has_runs)), used.every
    sums = in_order(sums, partial(_fields, is_drawn=False), app.output.sorting)
    most = max(map(_spent, sums), default=Decimal(0)) or Decimal(1)

    def row(usage_sum: UsageSum) -> Fields:
        is_drawn = app.output.is_drawn and app.output.columns is None
        fields = _fields(usage_sum, is_drawn=is_drawn)
        if is_drawn and by == "day":
            fields |= {"": Share(float(_spent(usage_sum) / most))}
        return fields

    first = (by, "credits", "", *_FIRST[1:]) if by == "day" else (by, *_FIRST)
    if not says_whether_more(page):
        unseen.append("the list of sessions does not say whether it is complete")
    if used.unclear:
        unseen.append(f"{counted(used.unclear, 'session')} may count, too")
    about = _last_line(every, window)
    if app.output.is_html:
        app.output.screen.write(_page(by, sums, most, [about.removeprefix("note: "), *unseen]))
    else:
        key = by if app.output.is_drawn else "key"
        with Rows[UsageSum](app.output, fields=row, data=declared, id=key, first=first, may_go=_MAY_GO) as printed:
            printed.show(sums)
    if used.undated:
        undated = counted(used.undated, "run or session", "runs or sessions")
        app.progress.warn(f"ignored {undated} without a creation time")
    for doubt in () if may_lack else unseen:
        app.progress.warn(doubt)
    app.progress.note(about, always=bool(every.unknown or every.growing))
    return every, unseen


def _add_runs(
    app: App, used: Usage, window: Window, only: str | None, *, resolve: bool | None, may_lack: bool
) -> ApiError | None:
    """Add the runs of the span; return why they may not be read, if so. Raises ApiError."""
    try:
        resolver: Resolver | None = None
        page: Page = {}
        for page in OneAhead(runs_within(app.client, only, window)):
            if resolver is None:
                resolver = Resolver(app, ask=next_cursor(page) is None if resolve is None else resolve)
            runs = runs_in(page, only)
            used.add_runs(resolver.runs([run.raw for run in runs]))
            used.undated += len(page["data"]) - len(runs)
            used.lacks_runs |= len(runs) < len(page["data"])
        used.lacks_runs |= not says_whether_more(page)
    except ApiError as error:
        used.lacks_runs = True
        if isinstance(error, NotFound) and only is not None:
            raise explain_missing(error, only, app) from None
        may_go_on = isinstance(error, NotFound) or error.http_status == 403 or may_lack
        if error.is_logged_out or not may_go_on:
            raise
        app.progress.warn(f"the runs cannot be read, only what sessions used: {error.message}")
        return error
    if resolver is not None and resolver.unread:
        why = "sessions could not be read" if resolver.asks else "--resolve reads them from sessions"
        app.progress.warn(f"status unknown for {counted(resolver.unread, 'run')}: {why}")
    return None


def _named(app: App, by: By, sums: list[UsageSum]) -> list[UsageSum]:
    """Return sums with the names that this machine has seen, or else those of a list of what they are of."""
    if by == "deployment":
        sums = [replace(one, name=one.name or app.seen_names.name_of(one.key)) for one in sums]
    if by not in _NOUNS or all(one.name or one.key is None for one in sums):
        return sums
    from qoder_cli.nouns.named import alive, kept
    from qoder_cli.nouns.table import NOUNS

    noun = NOUNS[_NOUNS[by]]
    try:
        named = list(map(kept, alive(app.client, noun, archived=True)))
    except ApiError:  # the sums stand without them
        return sums
    remember(app.store, app.settings, noun.words, named)
    names = {raw["id"]: name for raw, name in named}
    return [replace(one, name=one.name or names.get(one.key or "")) for one in sums]


def _spent(usage_sum: UsageSum) -> Decimal:
    return amount(usage_sum.credits) or Decimal(0)


def _fields(usage_sum: UsageSum, *, is_drawn: bool) -> Fields:
    key: Any = usage_sum.key and Words(usage_sum.key, least=12)
    if usage_sum.key and usage_sum.by in _NOUNS:
        key = NamedId(usage_sum.key, usage_sum.name) if usage_sum.name else Id(usage_sum.key)
    fields: Fields = {
        usage_sum.by if is_drawn else "key": key,
        **{name: getattr(usage_sum, name) for name in ("runs", "completed", "failed", "unknown")},
        "success": None if usage_sum.success_percent is None else f"{usage_sum.success_percent}%",
        "p50": None if usage_sum.p50_ms is None else Milliseconds(usage_sum.p50_ms),
        "p95": None if usage_sum.p95_ms is None else Milliseconds(usage_sum.p95_ms),
        "credits": usage_sum.credits and usage_sum.credits.text,
        "credits_per_run": usage_sum.credits_per_run and usage_sum.credits_per_run.text,
        "dearest": usage_sum.dearest and Id(usage_sum.dearest.session_id),
        **{name: getattr(usage_sum, name) for name in ("skipped", "going", "sessions", "credits_unknown", "growing")},
    }
    if not is_drawn:
        fields["name"] = usage_sum.name and Beside(usage_sum.name)
    return fields


def _page(by: By, sums: Iterable[UsageSum], most: Decimal, about: Iterable[str]) -> str:
    """Return the sums as a page for a browser; `most` is what the dearest has used, `about` is said above."""
    from qoder_cli.output import html
    from qoder_cli.output.sheet import ForeignText

    rows, nothing = [_fields(usage_sum, is_drawn=True) for usage_sum in sums], (None, 0)
    columns = [name for name in _FIRST if name not in _MAY_GO or any(row[name] not in nothing for row in rows)]
    columns.sort(key="dearest".__eq__)  # a whole id is wide

    def cell(value: Any) -> html.Html:
        match value:
            case NamedId(id, name):
                return f'<span title="{html.text(id)}">{html.text(ForeignText(name))}</span>'
            case Milliseconds(milliseconds):
                return html.text(span(milliseconds / 1000))
            case Words(text) | Id(text):
                return html.text(ForeignText(text))
            case _:
                return html.text(plain(value))

    cells = []
    for row in rows:
        share = float(Decimal(row["credits"] or 0) / most)
        cells.append([cell(row[by]), html.bar(share), *(cell(row[name]) for name in columns)])
    header = [name.replace("_", " ").capitalize() for name in (by, "", *columns)]
    paragraphs = [f"<p>{html.text(words[:1].upper() + words[1:])}</p>" for words in about]
    return html.document(f"Usage by {by}", [*paragraphs, html.table(header, cells, name="Usage")])


def _last_line(every: Tally, window: Window) -> str:
    since = f"since {utc_text(window.since)}" if window.since is not None else ""
    if window.until is not None:
        since = f"{since} until {utc_text(window.until)}"
    if not every.sessions:
        return f"note: no sessions {since}"
    total = f"at least {as_text(every.credits)} credits in {counted(every.sessions, 'session')} {since}"
    counts = ((every.unknown, "unknown"), (every.growing, "still running"))
    doubts = ", ".join(f"{count} {what}" for count, what in counts if count)
    return f"{total}; {doubts}" if doubts else total
