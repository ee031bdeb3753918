"""What a report says: each thing once, with a key by which it is known again."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from qoder_cli.app import App
from qoder_cli.base.credits import as_text, total
from qoder_cli.base.errors import Exit
from qoder_cli.base.model import Deployment, Run, array, filled, mapping, text
from qoder_cli.base.outcome import ASKS_FOR, Standing, calls_to_answer, standing, verdict, waits_for_answer
from qoder_cli.base.times import unix, utc_text
from qoder_cli.base.words import shortened
from qoder_cli.deployments.findings import PAUSED_BY
from qoder_cli.history.usage import percentile
from qoder_cli.report.fires import LATE, Fires, Unclear, came_at, fires_of, walked
from qoder_cli.report.reading import IN_A_ROW, Night, newest_first
from qoder_cli.sessions.asks import Call
from qoder_cli.sessions.transcript import in_a_line
from qoder_cli.settings.values import repeated

URGENT = ("needs_you", "did_not_happen", "failed")
REPORTED_ONCE = (*URGENT, "did_nothing", "cannot_tell")  # what --new tells of, once
_LONGEST = 200  # characters of a message
_CREDENTIAL_ERRORS = ("mcp_authentication_failed_error",)

# What to change of a deployment that an error paused, by the type of the error.
_ENV, _AGENT, _VAULT = ("--env", "ENV"), ("--agent", "AGENT"), ("--vault", "VAULT")
_CHANGE = {
    "environment_archived_error": _ENV,
    "environment_not_found_error": _ENV,
    "agent_archived_error": _AGENT,
    "vault_archived_error": _VAULT,
    "vault_not_found_error": _VAULT,
    "skill_not_found_error": _AGENT,
    "self_hosted_resources_unsupported_error": _ENV,
    "mcp_egress_blocked_error": _ENV,
}
UNCLEAR = {
    "changed": "changed since; what was due before is unknown",
    "unsaid": "does not say when it was last changed",
    "paused": "paused; when, and what was due before, is unknown",
    "archived": "archived; what was due before is unknown",
    "unscheduled": "has no schedule any more; what was due before is unknown",
    "unreadable": "its schedule cannot be read here",
    "too_many": "fires too often to tell further",
    "list_cut": "the list of runs could not be read whole",
    "list_late": "the list lacks a run that the deployment names",
    "undated": "runs do not say when they were",
}
_UNREAD = ("list_late", "undated", "unsaid", "unreadable")  # of these, what is not said, or cannot be read


class ReportItem(NamedTuple):
    """Something to tell: its section, its key, and its fields in JSON; some of them are for people alone."""

    section: str
    key: str
    fields: dict[str, Any]


@dataclass(frozen=True)
class Report:
    """A report: its items, what is told of each deployment that ran, and what comes."""

    night: Night
    items: list[ReportItem]
    ran: list[dict[str, Any]]
    next: list[dict[str, Any]]
    expected: int  # fires

    def of(self, section: str) -> list[dict[str, Any]]:
        """Return what one section has, in order."""
        found = [item.fields for item in self.items if item.section == section]
        return _by_deployment(found) if section == "failed" else found

    @property
    def is_urgent(self) -> bool:
        return any(item.section in URGENT for item in self.items)

    @property
    def is_unread(self) -> bool:
        """Return whether something was not read, or is not said."""
        return bool(self.night.problems) or any(item.fields["kind"] in _UNREAD for item in self.items)

    def only(self, wanted: Callable[[str], bool]) -> "Report":
        """Return a report of the items with wanted keys alone."""
        return Report(self.night, [item for item in self.items if wanted(item.key)], [], [], self.expected)

    def as_json(self) -> dict[str, Any]:
        return {
            "since": time_text(self.night.since),
            "until": time_text(self.night.now),
            "deployments": len(self.night.deployments),
            "runs": len(self.night.runs),
            "fires": self.expected,
            **{section: self.of(section) for section in REPORTED_ONCE},
            "ran": self.ran,
            "next": self.next,
            "problems": [{"what": each.what, "message": each.message} for each in self.night.problems],
        }


def report_of(app: App, night: Night) -> Report:
    """Return what is to be told of a night."""
    teller = _Teller(app, night)
    items = [*teller.needs_you(), *teller.did_not_happen(), *teller.failed(), *teller.did_nothing()]
    return Report(night, [*items, *teller.cannot_tell()], teller.ran(), teller.next(), teller.expected)


def time_text(at: float) -> str:
    """Return a time as RFC 3339 in UTC."""
    return utc_text(datetime.fromtimestamp(at, UTC))


class _Teller:
    def __init__(self, app: App, night: Night) -> None:
        self._app = app
        self._night = night
        self._runs, self._before = night.of(night.runs), night.of(night.before)
        self._fires: dict[str, Fires] = {}
        for id, deployment in night.deployments.items():
            its = [*self._runs.get(id, ()), *self._before.get(id, ())]
            self._fires[id] = fires_of(deployment, its, since=night.since, now=night.now, whole=night.whole)

    @property
    def expected(self) -> int:
        return sum(each.expected for each in self._fires.values())

    def _command(self, *words: str) -> list[str]:
        return [self._app.program, *words, *repeated(replace(self._app.flags, no_progress=False))]

    def _item(self, section: str, key: str, id: str | None, next: list[str] | None, **fields: Any) -> ReportItem:
        """Return an item of a kind, which is the first word of its key."""
        whose = {"kind": key.partition(" ")[0], "deployment": id, "deployment_name": self._name(id)}
        return ReportItem(section, key, {**whose, **fields, **filled({"next": next})})

    def _name(self, id: str | None) -> str | None:
        deployment = self._night.deployments.get(id or "")
        return deployment.name if deployment else self._app.seen_names.name_of(id)

    def needs_you(self) -> Iterator[ReportItem]:
        for run in newest_first(filter(self._waits, self._night.runs)):
            since = None if run.asks_since is None else time_text(run.asks_since)
            calls = [_call(call) for call in self._night.calls.get(run.id, ())]
            key, next = f"waits {run.id} {' '.join(calls_to_answer(run))}", self._command("run", "pending", run.id)
            about: dict[str, Any] = {"run": run.id, "session": run.session_id, "since": since, "calls": calls}
            yield self._item("needs_you", key, run.deployment_id, next, **about)
        for deployment in self._night.deployments.values():
            reason = mapping(deployment.raw.get("paused_reason"))
            is_by_error = deployment.state == "paused" and reason.get("type") not in (None, "manual")
            if is_by_error:
                yield self._paused(deployment)
        deployments = set()
        for run in self._failures():
            if run.error_type in _CREDENTIAL_ERRORS and run.deployment_id not in deployments:
                deployments.add(run.deployment_id)
                about = {"run": run.id, "error_type": run.error_type, "message": self._message(run)}
                vaults = self._vaults(run.deployment_id)
                next = self._command("vault", "check", vaults[0]) if vaults else self._command("vault", "list")
                yield self._item("needs_you", f"credential {run.id}", run.deployment_id, next, **about)

    def _vaults(self, id: str | None) -> list[str]:
        deployment = self._night.deployments.get(id or "")
        return list(filter(text, array(deployment.raw.get("vault_ids")))) if deployment else []

    def _waits(self, run: Run) -> bool:
        """Return whether a run waits for a person: sessions pass through that state by themselves, too."""
        return waits_for_answer(run) and self._night.now - (run.asks_since or 0.0) >= ASKS_FOR

    def _paused(self, deployment: Deployment) -> ReportItem:
        kind, since = deployment.paused_because or "unknown_error", text(deployment.raw.get("updated_at"))
        why = PAUSED_BY.get(kind, "a run could not be started")
        fix = self._command("deploy", "get", deployment.id)
        if kind in _CHANGE:
            fix = self._command("deploy", "update", deployment.id, *_CHANGE[kind])
        then, key = self._command("deploy", "unpause", deployment.id), f"paused {deployment.id} {kind} {since}"
        about: dict[str, Any] = {"since": since, "error_type": kind, "message": why}
        return self._item("needs_you", key, deployment.id, fix, **about, then=then)

    def did_not_happen(self) -> Iterator[ReportItem]:
        section, day = "did_not_happen", f"{datetime.fromtimestamp(self._night.since):%Y-%m-%d}"
        for id, fires in self._fires.items():
            look = self._command("run", "list", id, "--since", day)
            for due in fires.missed:
                yield self._item(section, f"missed {id} {due:.0f}", id, look, due=time_text(due))
            for fired in fires.late:
                run = fired.runs[0]
                came = came_at(run) or fired.due
                next = self._command("run", "get", run.id)
                times = {"due": time_text(fired.due), "came": time_text(came)}
                yield self._item(section, f"late {run.id}", id, next, **times, run=run.id)
            for fired in fires.doubled:
                runs = sorted(run.id for run in fired.runs)
                key = f"twice {' '.join(runs)}"
                yield self._item(section, key, id, look, due=time_text(fired.due), runs=runs)
        for run in newest_first(self._night.runs):
            if kind := self._not_run(run):
                next = self._command("run", "get", run.id)
                created = text(run.raw.get("created_at"))
                yield self._item(section, f"{kind} {run.id}", run.deployment_id, next, run=run.id, created=created)

    def _not_run(self, run: Run) -> str | None:
        if verdict(run) is Exit.RUN_SKIPPED:
            return "skipped"
        came = came_at(run)
        if came is None or self._night.now - came <= LATE:
            return None
        has_not_begun = run.status == "pending" or run.id in self._night.idle
        return "not_started" if has_not_begun and verdict(run) is Exit.NOT_YET else None

    def _failures(self) -> list[Run]:
        return newest_first(run for run in self._night.runs if verdict(run) is Exit.RUN_FAILED)

    def failed(self) -> Iterator[ReportItem]:
        in_a_row = {id for id, runs in self._runs.items() if self._fails_each_time(runs, self._before.get(id, ()))}
        for run in self._failures():
            id = run.deployment_id or ""
            next = self._command("run", "logs" if run.session_id else "get", run.id)
            why = {"error_type": run.error_type, "message": self._message(run)}
            about: dict[str, Any] = {"runs": len(self._runs.get(id, ())), "in_a_row": id in in_a_row, "run": run.id}
            yield self._item("failed", f"failed {run.id}", run.deployment_id, next, **about, **why)

    def _message(self, run: Run) -> str | None:
        """Return the first line of an error."""
        message = self._app.client.veil(run.error_message or "").strip()
        return shortened(message.splitlines()[0], _LONGEST) if message else None

    @staticmethod
    def _fails_each_time(runs: Sequence[Run], before: Sequence[Run]) -> bool:
        newest = [run for run in newest_first([*runs, *before]) if verdict(run) is not Exit.RUN_SKIPPED]
        over = [run for run in newest if verdict(run) is not Exit.NOT_YET or standing(run) is Standing.ASK_SESSION]
        return [verdict(run) for run in over[:IN_A_ROW]] == [Exit.RUN_FAILED] * IN_A_ROW

    def did_nothing(self) -> Iterator[ReportItem]:
        for run in newest_first(self._night.runs):
            if verdict(run) is Exit.OK and self._night.left.get(run.id) is False:
                next, about = self._command("run", "logs", run.id), {"run": run.id, "completed": run.completed_at}
                yield self._item("did_nothing", f"did_nothing {run.id}", run.deployment_id, next, **about)

    def cannot_tell(self) -> Iterator[ReportItem]:
        for id, fires in self._fires.items():
            for part in fires.unclear:
                if part.why == "list_cut":  # said once, of all
                    continue
                yield self._unclear(id, part)
        for problem in self._night.problems:
            key = f"problem {problem.what} {problem.message}"
            message = shortened(self._app.client.veil(problem.message), _LONGEST)
            yield self._item("cannot_tell", key, None, None, what=problem.what, message=message)

    def _unclear(self, id: str, part: Unclear) -> ReportItem:
        key = f"{part.why} {id} {part.detail or f'{part.until:.0f}'}"
        if part.why in ("paused", "undated", "unscheduled", "unsaid", "unreadable") and part.until == self._night.now:
            key = f"{part.why} {id} {part.detail}"  # its end moves on
        about = {"since": time_text(part.since), "until": time_text(part.until), "message": UNCLEAR[part.why]}
        return self._item("cannot_tell", key, id, None, **about, **filled({"detail": part.detail}))

    def ran(self) -> list[dict[str, Any]]:
        """Return what is told of each deployment that ran, the busiest first."""
        found = [self._row(id, runs) for id, runs in self._runs.items()]
        return sorted(found, key=lambda each: (-each["runs"], str(each["deployment_name"]), str(each["deployment"])))

    def _row(self, id: str, runs: Sequence[Run]) -> dict[str, Any]:
        took = [run.duration_ms for run in runs if verdict(run) is Exit.OK and run.duration_ms is not None]
        spent = [self._night.credits[run.session_id] for run in runs if run.session_id in self._night.credits]
        verdicts = [verdict(run) for run in runs]
        going = sum(run.status in ("running", "pending") for run in runs)
        counts = {"completed": Exit.OK, "failed": Exit.RUN_FAILED, "skipped": Exit.RUN_SKIPPED}
        counted = {word: verdicts.count(code) for word, code in counts.items()}
        priced = sum(run.session_id is not None for run in runs)
        return {
            "deployment": id or None,
            "deployment_name": self._name(id),
            "runs": len(runs),
            "runs_before": len(self._before.get(id, ())),
            **counted,
            "running": going,
            "unknown": len(runs) - going - sum(counted.values()),
            "median_ms": percentile(took, 50),
            "p95_ms": percentile(took, 95),
            "credits": as_text(total(spent)) if spent else None,
            "credits_unknown": priced - len(spent),
        }

    def next(self) -> list[dict[str, Any]]:
        """Return what fires in as long a time as the report covers, the soonest first."""
        until, found = 2 * self._night.now - self._night.since, []
        for deployment in self._night.deployments.values():
            if deployment.state == "active" and (fires := _coming(deployment, self._night.now, until)):
                about = {"deployment": deployment.id, "deployment_name": deployment.name}
                found.append({**about, "first": time_text(fires[0]), "fires": len(fires)})
        return sorted(found, key=lambda each: (each["first"], str(each["deployment_name"])))


def _by_deployment(failures: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return failed runs, newest first, as one entry for each deployment and type of error."""
    found: dict[tuple[Any, Any], dict[str, Any]] = {}
    for run in failures:
        group = found.setdefault((run["deployment"], run["error_type"]), {**run, "failed": 0, "run_ids": []})
        group["failed"] += 1
        group["run_ids"].append(run["run"])
    return list(found.values())


def _coming(deployment: Deployment, now: float, until: float) -> Sequence[float]:
    try:
        return walked(deployment, now, until)
    except ValueError:
        fires = [at for at in map(unix, deployment.next_fires) if at is not None]
        return [at for at in fires if now < at <= until]


def _call(call: Call) -> dict[str, Any]:
    return {"call": call.id, "name": call.name, "input": shortened(in_a_line(call.input), _LONGEST)}
