"""A picture of a night, for a browser: a row for each deployment, time to the right, runs as bars by how they ended.

It is drawn from what was read for the report, and its words and numbers are those of the report.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from math import inf
from typing import NamedTuple

from qoder_cli.base.times import unix
from qoder_cli.base.words import shortened
from qoder_cli.commands.report.entries import Counted, DidNotHappen, Fire, Report
from qoder_cli.commands.report.page import ReportPage
from qoder_cli.history.nights import Night
from qoder_cli.history.records import RunRecord
from qoder_cli.output import html
from qoder_cli.output.html import Html

_COUNTED = ("needs_you", "did_not_happen", "failed", "did_nothing", "paused", "cannot_tell")
_MOST_LINES = 200  # of a section
_MOST_MARKS = 7_500  # of a picture: it stays below 2 MB
_MOST_SLOTS = 288  # parts of the time; what begins in one of them is one mark
_LONGEST_ERROR = 40  # characters
_NARROWEST = 0.5  # percent of the picture: what a mark is wide at least
_WIDEST_SIGN = 1.0  # percent: equal signs that are nearer to each other are one
_MOST_TICKS = 9
_STEPS = tuple(timedelta(minutes=minutes) for minutes in (5, 15, 30, 60, 120, 180, 360, 720, 1440))


# How marks look: their class in `page.css`, and a sign for those who do not see the colour. By the word for them, the
# worst first: of several in one place the worst is drawn.
_KINDS = {
    "failed": ("failed", "×"),
    "waits for you": ("waits", "?"),
    "missed": ("missed", "!"),
    "skipped": ("skipped", "–"),
    "unknown": ("unknown", "*"),
    "did nothing": ("nothing", "o"),
    "running": ("running", "»"),
    "completed": ("completed", ""),
}
_WORST_FIRST = {word: place for place, word in enumerate(_KINDS)}


class Mark(NamedTuple):
    """What was so `times` from one time to another, in unix seconds; and a detail."""

    word: str
    since: float
    until: float
    more: str = ""
    times: int = 1


def as_html(report: Report, night: Night, page: ReportPage) -> str:
    """Return a report as a page with a picture."""
    title, *paragraphs = page.head
    parts = [f"<p>{html.text(paragraph)}</p>" for paragraph in paragraphs]
    sections = list(page.sections(most=_MOST_LINES, without=["ran"]))
    shown = {section.title: html.sheet(section) for section in sections}
    counts = {name.replace("_", " ").capitalize(): len(getattr(report, name)) for name in _COUNTED}
    counts["Failed"] = sum(entry.failed for entry in report.failed)  # runs, as everywhere on the page
    links = [
        f'<li><a href="#{html.anchor(title)}">{title} <b>{count:,}</b></a>' for title, count in counts.items() if count
    ]
    if links:
        parts += ['<ul class="counts">', *links, "</ul>"]
    drawn = _NightsPicture(report, night, page).section()
    first = shown.pop("Needs you", "")
    return html.document(title, [*parts, first, drawn, _days(report), *shown.values()])


class _NightsPicture:
    def __init__(self, report: Report, night: Night, page: ReportPage) -> None:
        self._report = report
        self._night = night
        self._page = page
        self._ran = {entry.deployment or "": entry for entry in report.ran}
        self._missed: dict[str, list[Mark]] = defaultdict(list)
        for entry in report.did_not_happen:
            if mark := _missed(entry):
                self._missed[entry.deployment or ""].append(mark)
        self._is_of_now = night.until == night.now
        self._since, self._until = night.since, max(night.until, night.since + 1)
        self._end = self._until
        if self._is_of_now:
            self._end += (self._until - self._since) / 40  # room behind the present

    def section(self) -> Html:
        """Return the picture, if there is anything to draw: first what has something urgent, then the busiest."""
        report = self._report
        urgent = [*report.needs_you, *report.did_not_happen, *report.failed]
        ids = dict.fromkeys([*(entry.deployment or "" for entry in urgent), *self._ran, *self._night.runs_of])
        slots = max(min(_MOST_MARKS // max(len(ids), 1), _MOST_SLOTS), 1)
        words, rows = set[str](), list[Html]()
        for id in ids:
            runs = self._night.runs_of.get(id, ())
            marks = [*self._missed.get(id, ()), *filter(None, map(self._mark, runs))]
            marks = [mark for mark in marks if mark.since <= self._until and mark.until >= self._since]
            marks.sort(key=lambda mark: mark.since)
            if not marks and id not in self._ran:
                continue
            words |= {mark.word for mark in marks}
            facts, name = "", None
            if id in self._ran:
                facts, name = self._page.facts(self._ran[id]), self._ran[id].deployment_name
            elif id in self._night.deployments:
                name = self._night.deployments[id].name
            label = html.text(self._page.label(id, name))
            rows.append(f'<tr><th scope="row">{label}<td>{self._row(marks, slots)}<td>{facts}')
        if not rows:
            return ""
        head = f'<thead><tr><th scope="col">Deployment<th scope="col">{self._axis()}<th scope="col">In short'
        return html.section("Runs", [_legend(words), '<table class="night">', head, "<tbody>", *rows, "</table>"])

    def _mark(self, run: RunRecord) -> Mark | None:
        since = run.created or run.due
        if since is None:
            return None
        until = min(run.ended or since, self._night.now)
        word = "unknown"
        if run.detail.asks is not None:
            word, until = "waits for you", inf
        elif run.outcome == "going":
            word, until = "running", inf
        elif run.outcome == "completed" and run.detail.left is False:
            word = "did nothing"
        elif run.outcome in _KINDS:
            word = run.outcome
        more = shortened(run.detail.error_type or "", _LONGEST_ERROR)
        return Mark(word, since, max(since, until), more)

    def _row(self, marks: Sequence[Mark], slots: int) -> Html:
        """Return the marks of a row; those that begin in one slot are one."""
        by_slot: dict[int, list[Mark]] = defaultdict(list)
        for mark in marks:
            by_slot[int(self._x(mark.since) * slots / 100)].append(mark)
        said = ", ".join(f"{count} {word}" for word, count in _counts(marks))
        drawn, signs = "", dict[str, float]()  # where each stands last
        for together in by_slot.values():
            drawn += self._drawn(together, signs)
        return f'<svg role="img" aria-label="{said or "no runs"}"><use href="#grid"/>{drawn}</svg>'

    def _drawn(self, marks: Sequence[Mark], signs: dict[str, float]) -> Html:
        """Return marks as one; its sign is added to `signs`, unless the same stands too near."""
        since, until = min(mark.since for mark in marks), max(mark.until for mark in marks)
        worst = min(marks, key=lambda mark: _WORST_FIRST[mark.word])
        left = min(self._x(since), self._x(self._until) - _NARROWEST)
        width = max(self._x(until) - left, _NARROWEST)
        counts = [f"{count} {word}" for word, count in _counts(marks)]
        if worst.more:
            counts[0] += f" ({worst.more})"
        when = self._page.clock_at(since)
        if until == inf:
            when += " until now"
        elif until > since:
            when += f" to {self._page.clock_at(until)}"
        style, sign = _KINDS[worst.word]
        title = f"<title>{html.text(f'{when} ' + ', '.join(counts))}</title>"
        drawn = f'<rect class="{style}" x="{left:.2f}%" width="{width:.2f}%" y="13" height="11">{title}</rect>'
        if sign and left - signs.get(sign, -inf) >= _WIDEST_SIGN:
            signs[sign] = left
            drawn += f'<text x="{left + _NARROWEST / 2:.2f}%" y="10">{sign}</text>'
        return drawn

    def _x(self, at: float) -> float:
        """Return where a time is, in percent of the picture."""
        within = min(max(at, self._since), self._until)
        return 100 * (within - self._since) / (self._end - self._since)

    def _axis(self) -> Html:
        """Return the axis of time, and the lines that each row repeats."""
        ticks = {self._x(at.timestamp()): at for at in self._ticks()}
        # A little longer than most rows are high, so that in those of two lines there is no gap.
        line = '<line class="{style}" x1="{x:.2f}%" x2="{x:.2f}%" y2="36"/>'
        grid = "".join(line.format(style="tick", x=x) for x in ticks)
        names = ""
        for number, (x, at) in enumerate(ticks.items()):
            name = at.strftime("%H:%M" if at.hour or at.minute else "%m-%d")
            minor = ' class="minor"' if number % 2 else ""
            if not self._is_of_now or x < 91:
                names += f'<text{minor} x="{x:.2f}%" y="20">{name}</text>'
        if self._is_of_now:
            now = self._x(self._until)
            grid += line.format(style="now", x=now)
            names += f'<text x="{now:.2f}%" y="20">now</text>'
        return f'<svg role="img" aria-label="Time"><defs><g id="grid">{grid}</g></defs>{names}</svg>'

    def _ticks(self) -> Iterator[datetime]:
        """Yield the full hours, or days, of the local clock that are named."""
        seconds = self._until - self._since
        days = timedelta(days=int(seconds / 86400 / _MOST_TICKS) + 1)
        step = next((step for step in _STEPS if seconds <= step.total_seconds() * _MOST_TICKS), days)
        at = datetime.fromtimestamp(self._since).replace(hour=0, minute=0, second=0, microsecond=0)
        while (moment := at.timestamp()) <= self._until:
            if moment > self._since + seconds / 50:  # its name has room
                yield at
            at += step


def _missed(entry: DidNotHappen) -> Mark | None:
    """Return a fire, or the fires of an hour, of which no run came; None for what else did not happen."""
    if isinstance(entry, Fire) and entry.kind == "missed" and (due := unix(entry.due)) is not None:
        return Mark("missed", due, due)
    if isinstance(entry, Counted) and entry.came < entry.due and (due := unix(entry.since)) is not None:
        return Mark("missed", due, unix(entry.until) or due, f"of {entry.due}", entry.due - entry.came)
    return None


def _counts(marks: Iterable[Mark]) -> list[tuple[str, int]]:
    """Return how many marks there are of each word, the worst first."""
    counts = Counter[str]()
    for mark in marks:
        counts[mark.word] += mark.times
    return sorted(counts.items(), key=lambda pair: _WORST_FIRST[pair[0]])


def _legend(words: Iterable[str]) -> Html:
    items = []
    for word in sorted(words, key=_WORST_FIRST.__getitem__, reverse=True):
        style, sign = _KINDS[word]
        drawn = f'<rect class="{style}" x="2" width="12" y="13" height="11"/>'
        drawn += f'<text x="8" y="10">{sign}</text>' if sign else ""
        items.append(f'<li><svg aria-hidden="true">{drawn}</svg>{word}')
    return "\n".join(['<ul class="legend">', *items, "</ul>"])


def _days(report: Report) -> Html:
    """Return what each day cost, as a section, if that is known."""
    spent = {day.day: Decimal(day.credits) for day in report.days if day.credits is not None}
    if not spent:
        return ""
    most = max(spent.values())
    rows = []
    for day in report.days:
        credits, share = "unknown", 0.0
        if day.credits is not None:
            credits = f"at least {day.credits}" if day.credits_unknown or day.running else day.credits
            share = float(spent[day.day] / most) if most else 0.0
        rows.append([day.day, html.bar(share), credits, str(day.runs)])
    title = "Credits by day"
    return html.section(title, [html.table(["Day", "", "Credits", "Runs"], rows, name=title)])
