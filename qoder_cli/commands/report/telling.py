"""Decide what a report tells: each event once, and each state that lasts.

An event is told in the report in whose span it became certain: an ending a minute after it, since lists lag by so much;
a fire 16 minutes after it was due. So reports whose spans meet tell each event once, and two that look at one span tell
the same. `--new` goes by keys besides: it tells what it has not told and what happened since its first span began.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from math import inf
from typing import Any, NamedTuple, get_args

from qoder_cli.app import App
from qoder_cli.base import cron
from qoder_cli.base.credits import as_text, total
from qoder_cli.base.errors import QoderError
from qoder_cli.base.model import Deployment, array, text
from qoder_cli.base.outcome import ASKS_FOR
from qoder_cli.base.times import unix, utc_text
from qoder_cli.base.words import counted, first_line, shortened
from qoder_cli.commands.report import entries
from qoder_cli.history.findings import PAUSED_BY, mended_by
from qoder_cli.history.fires import MOST_FIRES, fire_key
from qoder_cli.history.nights import Night, Unread, made_up, to_remember
from qoder_cli.history.records import LAG, LATE, RunRecord, time_text
from qoder_cli.history.usage import percentile
from qoder_cli.local.reports import ReaderMemory, ReportMemory
from qoder_cli.sessions.transcript import in_a_line
from qoder_cli.settings.values import repeated

IN_A_ROW = 3  # runs
AGAIN = 86400.0  # seconds after which --new tells a state again that lasts
_LONGEST = 200  # characters of a message
_NOT_STARTED = "a run could not be started"
_CREDENTIAL_ERRORS = ("mcp_authentication_failed_error",)

UNCLEAR = {
    "changed": "changed since; what was due before is unknown",
    "unsaid": "does not say when it was last changed",
    "unexplained": "paused; the server does not say why",
    "paused": "paused; when, and what was due before, is unknown",
    "archived": "archived; what was due before is unknown",
    "unscheduled": "has no schedule now; what was due before is unknown",
    "unreadable": "its schedule cannot be read here",
    "too_many": "fires too often to tell further",
    "list_late": "the list lacks a run that the deployment names",
    "undated": "runs do not say when they were",
    "unknown": "its session was deleted before its outcome was seen",
}
# What was not, or cannot be, read.
_UNREAD = ("list_late", "undated", "unsaid", "unexplained", "unreadable", "too_many", "unknown", "problem")


_About = tuple[str, str | None, str | None, entries.Command | None]


class ReportItem(NamedTuple):
    """Something to tell, and the key by which it is known again.

    An event became certain at some time from `first` to `last`. A state is so now, and has no such time.
    """

    section: entries.Section
    key: str
    entry: Any
    first: float = 0.0
    last: float = inf
    is_state: bool = False


class Reported(NamedTuple):
    """A report, the keys of the events in it, and what is to be remembered once it is printed."""

    report: entries.Report
    keys: list[str]
    memory: ReaderMemory
    unseen: list[str]  # what was not looked at, in words
    has_just_happened: bool = False  # something urgent, in the last minute, which the next report tells

    @property
    def is_empty(self) -> bool:
        report = self.report
        return not any((report.is_urgent, report.did_nothing, report.paused, report.cannot_tell))


class Reporter:
    """Says what to report of what was read."""

    def __init__(self, app: App, night: Night, remembered: ReportMemory) -> None:
        self._app = app
        self._night = night
        self._remembered = remembered
        self._fires = {id: night.fires_of(deployment) for id, deployment in night.deployments.items()}
        self._events = [(id, event) for id, fires in self._fires.items() for event in fires.events]
        missed = [(id, event) for id, event in self._events if event.kind == "missed"]
        of_span = [fire_key(id, event.due or 0.0) for id, event in missed if night.after < event.at <= night.until]
        self._made_up: dict[str, str] = {}  # the runs that make up missed fires, by their keys
        try:
            self._made_up = made_up(app, of_span)
        except QoderError as error:
            night.problems.append(Unread("keys", f"{error.message}: which missed fires were made up is unknown"))

    def reported(self, reader: str) -> Reported:
        """Return a report to a reader, and what to remember of it."""
        night, is_news = self._night, self._night.options.is_news
        items = [*self._states(), *self._of_fires(), *self._of_runs(), *self._of_unclear()]
        within = [item for item in items if item.first <= night.until and item.last > night.after]
        states = dict(night.memory.states) if night.memory else {}
        shown = within
        if is_news:
            old = self._remembered.reported_of([item.key for item in within if not item.is_state])
            # One that was reported in the future comes from a wrong clock.
            lately = {key for key, at in states.items() if night.now - AGAIN + LAG < at <= night.now + LAG}
            shown = [item for item in within if item.key not in (lately if item.is_state else old)]
        sections: dict[str, Any] = {name: [] for name in get_args(entries.Section)}
        for item in shown:
            sections[item.section].append(item.entry)
        sections["failed"] = self._grouped(sections["failed"])
        report = entries.Report(
            since=time_text(night.since) or "",
            until=time_text(night.until) or "",
            verdict=None,
            deployments=len(night.deployments),
            runs=sum(map(night.has, night.runs)),
            fires=sum(fires.judged for fires in self._fires.values()),
            not_decided=sum(map(self._is_open, night.runs)) + sum(fires.undecided for fires in self._fires.values()),
            problems=[replace(problem, message=self._veiled(problem.message)) for problem in night.problems],
        )
        report = replace(report, **sections)
        if is_news:
            report = replace(report, reader=reader, began=time_text(night.after))
        else:
            report = replace(report, ran=self._ran(), days=self._days(), next=self._next())
            is_well = not any(item.last > night.after for item in items)  # also of what is not certain yet
            report = replace(report, verdict=self._verdict(report) if is_well else None)
        lasting = {item.key for item in within if item.is_state}
        states |= dict.fromkeys((item.key for item in shown if item.is_state), night.now)
        states = {key: at for key, at in states.items() if key in lasting or not night.whole}
        keys = dict.fromkeys(item.key for item in shown if not item.is_state)
        doubts = [
            item.entry for item in within if item.section == "cannot_tell" and (item.is_state or item.key in keys)
        ]
        return Reported(
            report,
            list(keys),
            to_remember(night, states),
            [
                f"{entry.what or entry.deployment_name or entry.deployment}: {entry.message}"
                for entry in doubts
                if entry.kind in _UNREAD
            ],
            has_just_happened=not is_news and night.until == night.now and any(map(self._is_just_now, items)),
        )

    def _is_just_now(self, item: ReportItem) -> bool:
        """Return whether a run failed, or did not start, less than a minute ago: the next report tells it.

        What a fire came to may look otherwise by then: its run, or another schedule, may not be listed yet.
        """
        is_of_run = item.section == "failed" or isinstance(item.entry, entries.NotRun)
        return is_of_run and item.first - LAG <= self._night.now < item.first

    def _is_open(self, run: RunRecord) -> bool:
        """Return whether it is still unknown how a run ended, or whether it begins."""
        until = self._night.until
        if run.order > until or run.detail.asks is not None:
            return False
        if run.outcome == "going":
            return not run.detail.is_idle or run.order + LATE + LAG > until
        return run.is_over and run.certain(self._night.now)[0] > until

    def _verdict(self, report: entries.Report) -> str | None:
        if any(row.unknown for row in report.ran):
            return None
        if not report.deployments:
            return "No deployments."
        if report.fires or any(fires.undecided for fires in self._fires.values()):
            return f"All is well: {counted(report.fires, 'scheduled time')}, none missed; no run failed."
        return "All is well: nothing was due, and no run failed."

    # States.

    def _states(self) -> Iterator[ReportItem]:
        night = self._night
        for run in night.newest:
            asks, since = run.detail.asks, run.detail.asks_since
            if asks is not None and night.now - (since or 0.0) >= ASKS_FOR:
                about = self._about("waits", run.deployment, "run", "pending", run.id)
                calls = [
                    entries.WaitingCall(call.id, call.name, shortened(in_a_line(call.input), _LONGEST))
                    for call in night.calls.get(run.id, ())
                ]
                waits = entries.Waits(*about, run.id, run.session, time_text(since), calls)
                yield ReportItem("needs_you", f"waits {run.id} {' '.join(asks)}", waits, is_state=True)
        for deployment in night.deployments.values():
            if deployment.state == "paused":
                yield from self._paused(deployment)
        for id, runs in night.runs_of.items():
            newest = next((run for run in runs if run.is_over), None)
            if newest and newest.detail.error_type in _CREDENTIAL_ERRORS:
                owner = night.deployments.get(id)
                vaults = list(filter(text, array(owner.raw.get("vault_ids")))) if owner else []
                words = ("vault", "check", vaults[0]) if vaults else ("vault", "list")
                about = self._about("credential", id, *words)
                refused = entries.Refused(*about, newest.id, newest.detail.error_type, self._message(newest))
                yield ReportItem("needs_you", f"credential {id}", refused, is_state=True)
        for problem in night.problems:
            unread = entries.CannotTell(*self._about("problem"), self._veiled(problem.message), what=problem.what)
            yield ReportItem("cannot_tell", f"problem {problem.what}", unread, is_state=True)

    def _paused(self, deployment: Deployment) -> Iterator[ReportItem]:
        id, since = deployment.id, text(deployment.raw.get("updated_at"))
        resume = ("deploy", "unpause", id)
        if kind := deployment.paused_by_error:
            about, message = self._about("paused", id, *mended_by(kind, id)), PAUSED_BY.get(kind, _NOT_STARTED)
            entry = entries.Paused(*about, since, kind, message, self._command(*resume))
            yield ReportItem("needs_you", f"paused {id} {kind}", entry, is_state=True)
        elif deployment.is_paused_unexplained:
            unsaid = entries.CannotTell(*self._about("unexplained", id), UNCLEAR["unexplained"])
            yield ReportItem("cannot_tell", f"paused {id}", unsaid, is_state=True)
        elif deployment.schedule:
            entry = entries.Paused(*self._about("paused", id, *resume), since, None, "paused by hand")
            yield ReportItem("paused", f"paused {id}", entry, is_state=True)

    # Events.

    def _of_fires(self) -> Iterator[ReportItem]:
        missed_before = set[str]()
        if self._night.options.is_news:
            late = [f"missed {id} {event.due or 0.0:.0f}" for id, event in self._events if event.kind == "late"]
            missed_before = self._remembered.reported_of(late)
        for id, event in self._events:
            due, run = event.due or 0.0, event.run
            fire, day = f"{id} {due:.0f}", f"{datetime.fromtimestamp(due or self._night.since):%Y-%m-%d}"
            key = f"{event.kind} {fire}"
            about = self._about(event.kind, id, "run", "list", id, "--since", day)
            if run is not None:
                key = f"came {run.id}"
                if event.kind != "twice":
                    about = self._about(event.kind, id, "run", "get", run.id)
            entry: entries.Entry = entries.Fire(
                *about,
                due=time_text(event.due),
                came=run and time_text(run.created),
                run=run and run.id,
                runs=list(event.runs),
                was_missed=event.kind == "late" and f"missed {fire}" in missed_before,
                made_up_by=self._made_up.get(fire_key(id, due)),
            )
            if event.kind == "counted":
                hour = utc_text(due), utc_text(due + 3600)
                entry = entries.Counted(*about, *hour, event.were_due, event.came, list(event.runs))
            yield ReportItem("did_not_happen", key, entry, event.at, event.at)

    def _of_runs(self) -> Iterator[ReportItem]:
        night = self._night
        for run in night.newest:
            first, last = run.certain(night.now)
            may_begin = run.outcome == "going" and run.detail.is_idle and run.detail.asks is None
            if may_begin:
                first = last = (run.created or inf) + LATE + LAG
            if run.outcome == "skipped" or may_begin or (run.outcome == "failed" and run.session is None):
                kind = "skipped" if run.outcome == "skipped" else "not_started"
                about, error_type = self._about(kind, run.deployment, "run", "get", run.id), run.detail.error_type
                not_run = entries.NotRun(*about, run.id, time_text(run.created), error_type, self._message(run))
                yield ReportItem("did_not_happen", f"{kind} {run.id}", not_run, first, last)
            elif run.outcome == "failed":
                yield ReportItem("failed", f"failed {run.id}", run, first, last)
            elif run.outcome == "completed" and run.detail.left is False:
                about = self._about("did_nothing", run.deployment, "run", "logs", run.id)
                did_nothing = entries.DidNothing(*about, run.id, time_text(run.ended))
                yield ReportItem("did_nothing", f"did_nothing {run.id}", did_nothing, first, last)
            elif run.outcome == "unknown":
                unknown = entries.CannotTell(*self._about("unknown", run.deployment), UNCLEAR["unknown"], run=run.id)
                yield ReportItem("cannot_tell", f"unknown {run.id}", unknown, first, last)

    def _grouped(self, failures: Sequence[RunRecord]) -> list[entries.Failed]:
        """Return failed runs, newest first, as one entry for each deployment and type of error."""
        night = self._night
        groups: dict[tuple[str, str | None], list[RunRecord]] = defaultdict(list)
        for run in failures:
            groups[run.deployment, run.detail.error_type].append(run)
        failed = []
        for (id, kind), runs in groups.items():
            ended = [run for run in night.runs_of[id] if run.outcome in ("completed", "failed")]
            within = sum(run.certain(night.now)[1] > night.since for run in ended)
            entry = entries.Failed(
                *self._about("failed", id, "run", "why", runs[0].id),
                run=runs[0].id,
                error_type=kind,
                message=self._message(runs[0]),
                failed=len(runs),
                runs=max(within, len(runs)),
                in_a_row=[run.outcome for run in ended[:IN_A_ROW]] == ["failed"] * IN_A_ROW,
                run_ids=[run.id for run in runs],
            )
            failed.append(entry)
        return failed

    def _of_unclear(self) -> Iterator[ReportItem]:
        for id, fires in self._fires.items():
            for part in fires.unclear:
                if part.why == "list_cut":
                    continue  # said once, of all
                about, key = self._about(part.why, id), f"{part.why} {id} {part.detail}"
                entry = entries.CannotTell(*about, UNCLEAR[part.why], time_text(part.until), part.detail or None)
                if part.at is None:
                    yield ReportItem("cannot_tell", key, entry, is_state=True)
                else:
                    yield ReportItem("cannot_tell", f"{part.why} {id} {part.at:.0f}", entry, last=part.matters_to)

    # Runs of the span, and the next fires.

    def _ran(self) -> list[entries.Ran]:
        """Return a line for each deployment that ran, the busiest first."""
        night, rows = self._night, []
        for id, runs_read in night.runs_of.items():
            runs = list(filter(night.has, runs_read))
            if not runs:
                continue
            took = [run.duration_ms for run in runs if run.duration_ms is not None]
            outcomes = Counter(run.outcome for run in runs)
            row = entries.Ran(
                id or None,
                self._name(id),
                len(runs),
                night.before[id],
                outcomes["completed"],
                outcomes["failed"],
                outcomes["skipped"],
                outcomes["going"],
                outcomes["unknown"] + outcomes["unread"],
                percentile(took, 50),
                percentile(took, 95),
                *_credits(runs, [spent for (of, _), spent in night.spent.items() if of == id]),
            )
            rows.append(row)
        return sorted(rows, key=lambda row: (-row.runs, str(row.deployment_name), str(row.deployment)))

    def _days(self) -> list[entries.Day]:
        """Return what the runs of each day cost."""
        night, by_day = self._night, defaultdict[str, list[RunRecord]](list)
        for run in filter(night.has, night.runs):
            by_day[night.day_of(run)].append(run)
        days = []
        for day, runs in sorted(by_day.items()):
            running = sum(run.outcome == "going" for run in runs)
            credits = _credits(runs, [spent for (_, at), spent in night.spent.items() if at == day])
            days.append(entries.Day(day, len(runs), running, *credits))
        return days

    def _next(self) -> list[entries.Coming]:
        """Return what fires in as long a time as the report covers, the soonest first."""
        night, now, rows = self._night, self._night.now, []
        until = now + night.until - night.since
        for deployment in night.deployments.values():
            if deployment.state != "active":
                continue
            fires: Sequence[float]
            try:
                fires = cron.upcoming(deployment.schedule, after=now, until=until, count=MOST_FIRES)
            except ValueError:
                listed = (at for at in map(unix, deployment.next_fires) if at is not None)
                fires = [at for at in listed if now < at <= until]
            if fires:
                first = time_text(fires[0]) or ""
                rows.append(entries.Coming(deployment.id, deployment.name, first, len(fires)))
        return sorted(rows, key=lambda row: (row.first, str(row.deployment_name)))

    # Entries.

    def _about(self, kind: str, id: str | None = None, *words: str) -> _About:
        """Return what each entry has: its kind, its deployment with the name, and the command to type next."""
        return kind, id or None, self._name(id), self._command(*words) if words else None

    def _command(self, *words: str) -> list[str]:
        return [self._app.program, *words, *repeated(replace(self._app.flags, no_progress=False))]

    def _name(self, id: str | None) -> str | None:
        deployment = self._night.deployments.get(id or "")
        return deployment.name if deployment else self._app.seen_names.name_of(id)

    def _message(self, run: RunRecord) -> str | None:
        """Return the first line of an error."""
        return first_line(self._veiled(run.detail.message or ""))

    def _veiled(self, message: str) -> str:
        return shortened(self._app.client.veil(message), _LONGEST)


def _credits(runs: Sequence[RunRecord], spent: Sequence[tuple[Decimal, int]]) -> tuple[str | None, int]:
    """Return what runs used at least, if anything is known of it, and of how many with a session it is not."""
    unknown = sum(run.session is not None for run in runs) - sum(count for _, count in spent)
    if not spent:
        return None, unknown
    return as_text(total(credits for credits, _ in spent)), unknown
