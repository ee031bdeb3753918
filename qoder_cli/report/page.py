"""A report as one page: plain text of 80 columns, or Markdown for a comment on GitHub."""

import shlex
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, NamedTuple

from qoder_cli.base.times import coarse, local_zone_name, span, unix
from qoder_cli.base.words import shortened
from qoder_cli.output.layout import columns, cut, wrapped
from qoder_cli.output.markdown import code, harmless
from qoder_cli.output.screen import Screen, inert
from qoder_cli.report.items import REPORTED_ONCE, URGENT, Report

WIDTH = 80
_LONGEST_LABEL = 24  # columns
_LONGEST_CALL = 50  # characters
_MOST_LINES = 12  # of a section
_MOST_TIMES = 6  # of a line
_TITLES = {
    "needs_you": ("Needs you", "yellow"),
    "did_not_happen": ("Did not happen", "red"),
    "failed": ("Failed", "red"),
    "did_nothing": ("Did nothing", "yellow"),
    "cannot_tell": ("Cannot tell", "yellow"),
    "ran": ("Ran", "green"),
    "next": ("Next", ""),
}

Entry = dict[str, Any]


class ForeignText(str):
    """A text that is not ours: of the server, or of who named something."""


class PageLine(NamedTuple):
    """A line of a section: whose it is, what is said, and the commands to type next."""

    label: str
    pieces: Sequence[str]
    commands: Sequence[list[str]] = ()


class ReportPage:
    """The lines of a report, by section."""

    def __init__(self, report: Report, *, is_news: bool) -> None:
        self._report = report
        self._now = report.night.now
        self._is_news = is_news
        names = [each.name for each in report.night.deployments.values()]
        self._twins = {name for name, count in Counter(names).items() if count > 1}

    @property
    def head(self) -> str:
        """What the page is about."""
        night = self._report.night
        since, until = (datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M") for at in (night.since, night.now))
        counts = f"{_count(len(night.deployments), 'deployment')}, {_count(len(night.runs), 'run')}"
        return f"{'News' if self._is_news else 'Report'} of {since} to {until} {local_zone_name()}: {counts}"

    @property
    def verdict(self) -> str | None:
        """A sentence where all is well, as far as that can be claimed."""
        report = self._report
        if self._is_news or report.items or report.night.problems or any(each["unknown"] for each in report.ran):
            return None
        if report.expected:
            return f"All is well: {_count(report.expected, 'fire')} of schedules, none missed; no run failed."
        return "All is well: nothing was due, and no run failed." if report.night.deployments else "No deployments."

    def sections(self) -> Iterator[tuple[str, str, list[PageLine]]]:
        """Yield title, style and lines of each section that has any."""
        for name, (title, style) in _TITLES.items():
            entries = self._report.of(name) if name in REPORTED_ONCE else getattr(self._report, name)
            make: Callable[[list[Entry]], Iterator[PageLine]] = getattr(self, f"_{name}")
            lines = list(make(entries))
            is_shown_once = self._is_news and name in URGENT  # what is left out would never be shown
            if len(lines) > _MOST_LINES and not is_shown_once:
                rest = f"and {len(lines) - _MOST_LINES + 1:,} more: -o json has all"
                lines = [*lines[: _MOST_LINES - 1], PageLine("", [rest])]
            if lines:
                yield title, style, lines

    def _needs_you(self, entries: list[Entry]) -> Iterator[PageLine]:
        for entry in entries:
            label, commands = self._label(entry), [entry["next"]]
            match entry["kind"]:
                case "waits":
                    since = unix(entry["since"])
                    pieces = ["waits for an answer"] if since is None else [f"waits {coarse(self._now - since)}"]
                    for call in entry["calls"][:1]:
                        pieces += [": ", ForeignText(shortened(f"{call['name']} {call['input']}", _LONGEST_CALL))]
                    if len(entry["calls"]) > 1:
                        pieces += [f" (and {len(entry['calls']) - 1} more)"]
                case "paused":
                    pieces = [f"paused: {entry['message']} (", ForeignText(entry["error_type"]), ")"]
                    commands = [entry["next"], entry["then"]]
                case _:
                    pieces = ["a credential was refused: ", ForeignText(entry["message"] or entry["error_type"])]
            yield PageLine(label, pieces, commands)

    def _did_not_happen(self, entries: list[Entry]) -> Iterator[PageLine]:
        for kind, whose in _grouped(entries):
            times = [each.get("due") or each.get("created") for each in whose]
            at = self._times(times)
            match kind:
                case "missed":
                    pieces = [f"{_count(len(whose), 'fire')} missed: {at}"]
                case "late":
                    first = whose[0]
                    late = span((unix(first["came"]) or 0.0) - (unix(first["due"]) or 0.0))
                    pieces = [f"late by {late}: due {self._clock(first['due'])}"]
                    if len(whose) > 1:
                        pieces = [f"{len(whose)} fires late: {at}"]
                case "twice":
                    pieces = [f"{_count(len(whose), 'fire')} ran twice: {at}"]
                case "skipped":
                    pieces = [f"{_count(len(whose), 'run')} skipped: {at}"]
                case _:
                    pieces = [f"{_count(len(whose), 'run')} accepted, never started: {at}"]
            yield PageLine(self._label(whose[0]), pieces, [each["next"] for each in whose[:1] if kind != "missed"])

    def _failed(self, entries: list[Entry]) -> Iterator[PageLine]:
        for entry in entries:
            pieces: list[str] = [f"{entry['failed']} of {entry['runs']}"]
            if entry["error_type"]:
                pieces += [" · ", ForeignText(entry["error_type"])]
            if entry["message"]:
                pieces += [": ", ForeignText(entry["message"])]
            if entry["in_a_row"]:
                pieces += [" · the last 3 all failed"]
            yield PageLine(self._label(entry), pieces, [entry["next"]])

    def _did_nothing(self, entries: list[Entry]) -> Iterator[PageLine]:
        for _, whose in _grouped(entries):
            at = self._times([each["completed"] for each in whose])
            what = f"{_count(len(whose), 'run')} completed, left no message, call or file: {at}"
            yield PageLine(self._label(whose[0]), [what], [whose[0]["next"]])

    def _cannot_tell(self, entries: list[Entry]) -> Iterator[PageLine]:
        for entry in entries:
            if entry["kind"] == "problem":
                yield PageLine(entry["what"], ["not read whole: ", ForeignText(entry["message"])])
        for message, group in groupby(sorted(entries, key=_message), key=_message):
            whose = [each for each in group if each["kind"] != "problem"]
            for entry in whose[:3]:
                detail: list[str] = [message]
                if "detail" in entry:
                    detail = [f"{message}: ", ForeignText(entry["detail"])]
                if entry["kind"] == "changed":
                    detail = [f"changed at {self._clock(entry['until'])}; what was due before is unknown"]
                yield PageLine(self._label(entry), detail)
            if len(whose) > 3:
                yield PageLine("", [f"and {len(whose) - 3} more: {message}"])

    def _ran(self, entries: list[Entry]) -> Iterator[PageLine]:
        for entry in entries:
            more = entry["runs"] - entry["runs_before"]
            runs = _count(entry["runs"], "run")
            if more:
                runs += f" ({more:+})"
            facts = [runs]
            facts += [
                f"{entry[word]} {word}"
                for word in ("completed", "failed", "skipped", "running", "unknown")
                if entry[word] and (word != "completed" or entry[word] != entry["runs"])
            ]
            if entry["median_ms"] is not None:
                facts.append(f"median {span(entry['median_ms'] / 1000)}")
            if entry["p95_ms"] not in (None, entry["median_ms"]):
                facts.append(f"p95 {span(entry['p95_ms'] / 1000)}")
            if entry["credits"] is not None:
                at_least = "at least " if entry["credits_unknown"] or entry["running"] else ""
                facts.append(f"{at_least}{entry['credits']} credits")
            yield PageLine(self._label(entry), [", ".join(facts)])

    def _next(self, entries: list[Entry]) -> Iterator[PageLine]:
        for entry in entries:
            times = f", {entry['fires']} times" if entry["fires"] > 1 else ""
            yield PageLine(self._label(entry), [f"{self._clock(entry['first'])}{times}"])

    def _label(self, entry: Entry) -> str:
        name = entry["deployment_name"]
        shown = entry["deployment"] if name is None or name in self._twins else name
        return ForeignText(shown or "no deployment")

    def _clock(self, at: object) -> str:
        """Return a time on the local clock, with the day if that is not today."""
        moment = unix(at)
        if moment is None:
            return "at an unknown time"
        there, today = datetime.fromtimestamp(moment), datetime.fromtimestamp(self._now).date()
        if there.date() == today:
            return there.strftime("%H:%M")
        if abs(there.date() - today) < timedelta(days=300):
            return there.strftime("%m-%d %H:%M")
        return there.strftime("%Y-%m-%d %H:%M")

    def _times(self, times: Iterable[object]) -> str:
        shown = [self._clock(at) for at in sorted(times, key=lambda at: unix(at) or 0.0)]
        if len(shown) <= _MOST_TIMES:
            return ", ".join(shown)
        return f"{', '.join(shown[: _MOST_TIMES - 2])}, …, {shown[-1]}"


def as_text(page: ReportPage, screen: Screen) -> str:
    """Return the page as plain text; a screen with colour has its headings in it."""
    parts = [*_flowed(page.head, "")]
    if page.verdict:
        parts += ["", page.verdict]
    for title, style, lines in page.sections():
        parts += ["", screen.styled(title.upper(), style or "bold")]
        width = min(max(columns(inert(line.label)) for line in lines), _LONGEST_LABEL)
        before = ""
        for line in lines:
            label = cut("" if line.label == before else inert(line.label), width)
            before = "" if line.commands else line.label
            parts += _flowed("".join(map(inert, line.pieces)), f"  {label}  ")
            parts += ["    " + inert(shlex.join(command)) for command in line.commands]
    return "\n".join(parts) + "\n"


def _flowed(text: str, first: str) -> Iterator[str]:
    """Yield a text in lines, the first behind something, the others below it."""
    indent = columns(first)
    for piece in wrapped(text, WIDTH - indent):
        for part in _fitting(piece, WIDTH - indent):
            yield (first + part).rstrip()
            first = " " * indent


def _fitting(text: str, room: int) -> Iterator[str]:
    """Yield a text in pieces of so many columns at most."""
    while columns(text) > room:
        fits = next(n for n in range(room, 0, -1) if columns(text[:n]) <= room)
        yield text[:fits]
        text = text[fits:]
    yield text


def as_markdown(page: ReportPage) -> str:
    """Return the page as Markdown, in which nothing that others wrote is more than a text."""
    parts = [f"**{page.head}**"]
    if page.verdict:
        parts += ["", page.verdict]
    for title, _, lines in page.sections():
        parts += ["", f"### {title}", ""]
        for line in lines:
            label = f"**{_harmless(line.label)}** " if line.label else ""
            parts.append(f"- {label}{''.join(map(_harmless, line.pieces))}")
            parts += [f"  {code(shlex.join(command))}" for command in line.commands]
    return "\n".join(parts) + "\n"


def _harmless(text: str) -> str:
    return harmless(text) if isinstance(text, ForeignText) else text


def _grouped(entries: Iterable[Entry]) -> Iterator[tuple[str, list[Entry]]]:
    """Yield the entries of each kind and deployment together, in the order of their first."""
    found: dict[tuple[str, str | None], list[Entry]] = defaultdict(list)
    for entry in entries:
        found[entry["kind"], entry["deployment"]].append(entry)
    return ((kind, whose) for (kind, _), whose in found.items())


def _message(entry: Entry) -> str:
    return str(entry["message"])


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
