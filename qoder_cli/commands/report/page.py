"""A report in words, section by section."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

from qoder_cli.base.times import coarse, local_zone_name, span, unix
from qoder_cli.base.words import counted, few, shortened
from qoder_cli.commands.report.entries import CannotTell, Coming, Entry, Failed, Paused, Ran, Refused, Report, Waits
from qoder_cli.output.sheet import ForeignText, Section, SheetLine

_LONGEST_CALL = 50  # characters
_MOST_LINES = 12  # of a section
_MOST_TIMES = 6  # of a line
_TITLES = {
    "needs_you": ("Needs you", "yellow"),
    "did_not_happen": ("Did not happen", "red"),
    "failed": ("Failed", "red"),
    "did_nothing": ("Did nothing", "yellow"),
    "paused": ("Paused", "yellow"),
    "cannot_tell": ("Cannot tell", "yellow"),
    "ran": ("Ran", "green"),
    "next": ("Next", ""),
}


class ReportPage:
    """The lines of a report, by section. `twins` are names that several deployments have."""

    def __init__(self, report: Report, *, twins: Iterable[str] = ()) -> None:
        self._report = report
        self._now = unix(report.until) or 0.0
        self._is_news = report.reader is not None
        self._twins = frozenset(twins)

    @property
    def head(self) -> list[str]:
        """What the page is about, and a sentence where all is well."""
        report = self._report
        times = [datetime.fromtimestamp(unix(at) or 0.0) for at in (report.since, report.until)]
        since, until = (f"{at:%Y-%m-%d %H:%M}" for at in times)
        counts = f"{_count(report.deployments, 'deployment')}, {_count(report.runs, 'run')}"
        if report.not_decided:
            counts += f"; {report.not_decided} not decided yet"
        if report.began == report.since:
            counts += " (the first report: nothing earlier is included)"
        what = "News" if self._is_news else "Report"
        if report.reader:
            what = f"News for {report.reader}"
        return [f"{what} of {since} to {until} {local_zone_name()}: {counts}", *filter(None, [report.verdict])]

    def sections(self, *, most: int = _MOST_LINES, without: Collection[str] = ()) -> Iterator[Section]:
        """Yield each section that has any lines, `most` of them."""
        for name, (title, style) in _TITLES.items():
            if name in without:
                continue
            make: Callable[[Any], Iterator[SheetLine]] = getattr(self, f"_{name}")
            lines = list(make(getattr(self._report, name)))
            if len(lines) > most and not self._is_news:  # what --new leaves out would never be shown
                rest = f"and {len(lines) - most + 1:,} more: -o json has all"
                lines = [*lines[: most - 1], SheetLine("", [rest])]
            if lines:
                yield Section(title, style, lines)

    def _needs_you(self, entries: list[Entry]) -> Iterator[SheetLine]:
        for entry in entries:
            match entry:
                case Waits():
                    since = unix(entry.since)
                    pieces = ["waits for an answer"] if since is None else [f"waits {coarse(self._now - since)}"]
                    for call in entry.calls[:1]:
                        pieces += [": ", ForeignText(shortened(f"{call.name} {call.input}", _LONGEST_CALL))]
                    if len(entry.calls) > 1:
                        pieces += [f" (and {len(entry.calls) - 1} more)"]
                    yield SheetLine(self._label(entry), pieces, [entry.next])
                case Paused():
                    pieces = [f"paused: {entry.message} (", ForeignText(entry.error_type), ")"]
                    yield SheetLine(self._label(entry), pieces, [entry.next, entry.then])
                case Refused():
                    pieces = ["a credential was refused: ", ForeignText(entry.message or entry.error_type)]
                    yield SheetLine(self._label(entry), pieces, [entry.next])

    def _did_not_happen(self, entries: list[Any]) -> Iterator[SheetLine]:
        for kind, of_kind in _grouped(entries):
            first, number = of_kind[0], len(of_kind)
            at = self._times(entry.when for entry in of_kind)
            match kind:
                case "missed":
                    pieces = [f"{_count(number, 'scheduled run')} missed: {at}"]
                    if runs := list(dict.fromkeys(fire.made_up_by for fire in of_kind if fire.made_up_by)):
                        some = "" if all(fire.made_up_by for fire in of_kind) else "some "
                        pieces += [f" · {some}made up by {few(runs, 3)}"]
                case "late" if number == 1:
                    late = span((unix(first.came) or 0.0) - (unix(first.due) or 0.0))
                    pieces = [f"late by {late}: due {at}"]
                    if first.was_missed:
                        pieces += [", reported as missed before"]
                case "late":
                    pieces = [f"{_count(number, 'scheduled run')} late: due {at}"]
                case "twice":
                    pieces = [f"{_count(len({entry.due for entry in of_kind}), 'scheduled run')} started twice: {at}"]
                case "stray":
                    came = self._times(entry.came for entry in of_kind)
                    pieces = [f"{_count(number, 'run')} outside the schedule: {came}"]
                case "counted":
                    due, came = sum(hour.due for hour in of_kind), sum(hour.came for hour in of_kind)
                    what = f"{due - came} of {due} did not happen" if came < due else f"{came} runs instead of {due}"
                    pieces = [f"{what}: in the hour from {at}"]
                case "skipped":
                    pieces = [f"{_count(number, 'run')} skipped: {at}"]
                case _:
                    pieces = [f"{_count(number, 'run')} accepted, never started: {at}"]
                    if first.message or first.error_type:
                        pieces += [" · ", ForeignText(first.message or first.error_type)]
            yield SheetLine(self._label(first), pieces, [first.next] if kind != "missed" else ())

    def _failed(self, entries: list[Failed]) -> Iterator[SheetLine]:
        for entry in entries:
            pieces: list[str] = [f"{entry.failed} of {entry.runs}"]
            if entry.error_type:
                pieces += [" · ", ForeignText(entry.error_type)]
            if entry.message:
                pieces += [": ", ForeignText(entry.message)]
            if entry.in_a_row:
                pieces += [" · the last 3 all failed"]
            yield SheetLine(self._label(entry), pieces, [entry.next])

    def _did_nothing(self, entries: list[Any]) -> Iterator[SheetLine]:
        for _, of_kind in _grouped(entries):
            at = self._times(entry.completed for entry in of_kind)
            what = f"{_count(len(of_kind), 'run')} completed, left no message, call or file: {at}"
            yield SheetLine(self._label(of_kind[0]), [what], [of_kind[0].next])

    def _paused(self, entries: list[Paused]) -> Iterator[SheetLine]:
        for entry in entries:
            yield SheetLine(self._label(entry), [f"{entry.message} since {self.clock(entry.since)}"], [entry.next])

    def _cannot_tell(self, entries: list[CannotTell]) -> Iterator[SheetLine]:
        for entry in sorted(entries, key=lambda entry: entry.what is None):
            if entry.what is not None:
                yield SheetLine(entry.what, ["not read in full: ", ForeignText(entry.message)])
                continue
            pieces: list[str] = [entry.message]
            if entry.detail or entry.run:
                pieces += [": ", ForeignText(entry.detail or entry.run)]
            if entry.kind == "changed":
                pieces = [f"changed at {self.clock(entry.until)}; what was due before is unknown"]
            yield SheetLine(self._label(entry), pieces)

    def _ran(self, entries: list[Ran]) -> Iterator[SheetLine]:
        for entry in entries:
            yield SheetLine(self._label(entry), [self.facts(entry)])

    def facts(self, entry: Ran) -> str:
        """Return a line about the runs of a deployment."""
        runs = _count(entry.runs, "run")
        if more := entry.runs - entry.runs_before:
            runs += f" ({more:+})"
        facts = [runs]
        for word in ("completed", "failed", "skipped", "running", "unknown"):
            number = getattr(entry, word)
            if number and (word != "completed" or number != entry.runs):
                facts.append(f"{number} {word}")
        if entry.median_ms is not None:
            facts.append(f"median {span(entry.median_ms / 1000)}")
        if entry.p95_ms not in (None, entry.median_ms):
            facts.append(f"p95 {span((entry.p95_ms or 0) / 1000)}")
        if entry.credits is not None:
            at_least = "at least " if entry.credits_unknown or entry.running else ""
            facts.append(f"{at_least}{entry.credits} credits")
        return ", ".join(facts)

    def _next(self, entries: list[Coming]) -> Iterator[SheetLine]:
        for entry in entries:
            times = f", {entry.fires} times" if entry.fires > 1 else ""
            yield SheetLine(self._label(entry), [f"{self.clock(entry.first)}{times}"])

    def _label(self, entry: Entry | Ran | Coming) -> ForeignText:
        return self.label(entry.deployment, entry.deployment_name)

    def label(self, id: str | None, name: str | None) -> ForeignText:
        """Return what a deployment is called: its id where several have its name."""
        shown = id if name is None or name in self._twins else name
        return ForeignText(shown or "no deployment")

    def clock(self, at: object) -> str:
        """Return a time on the local clock, with the day if that is not today."""
        moment = unix(at)
        return "an unknown time" if moment is None else self.clock_at(moment)

    def clock_at(self, moment: float) -> str:
        """Return the same of unix seconds."""
        there, today = datetime.fromtimestamp(moment), datetime.fromtimestamp(self._now).date()
        if there.date() == today:
            return there.strftime("%H:%M")
        if abs(there.date() - today) < timedelta(days=300):
            return there.strftime("%m-%d %H:%M")
        return there.strftime("%Y-%m-%d %H:%M")

    def _times(self, times: Iterable[object]) -> str:
        shown = list(dict.fromkeys(self.clock(at) for at in sorted(times, key=lambda at: unix(at) or 0.0)))
        if len(shown) <= _MOST_TIMES:
            return ", ".join(shown)
        return f"{', '.join(shown[: _MOST_TIMES - 2])}, …, {shown[-1]}"


def _grouped(entries: Iterable[Entry]) -> Iterator[tuple[str, list[Any]]]:
    """Yield the entries of each kind and deployment together, in the order of their first."""
    groups: dict[tuple[str, str | None], list[Entry]] = defaultdict(list)
    for entry in entries:
        groups[entry.kind, entry.deployment].append(entry)
    return ((kind, of_kind) for (kind, _), of_kind in groups.items())


def _count(number: int, noun: str) -> str:
    return counted(number, noun) if number < 1000 else f"{number:,} {noun}s"
