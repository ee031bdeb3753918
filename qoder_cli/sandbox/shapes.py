"""How things look on the wire, in either generation. Key order is that of api/examples.jsonl."""

import time
from functools import lru_cache
from typing import Any, NamedTuple

from qoder_cli.sandbox.records import Deployment, Moment, Run, Session
from qoder_cli.sandbox.wire import Generation

Shape = dict[str, Any]

# The fields of a deployment that are shown as they are kept, in this order.
_PLAIN = (
    *("name", "description", "agent", "environment_id", "environment_variables"),
    *("initial_events", "metadata"),
)
_AGENT = {
    "name": "sandbox-agent",
    "description": "Rehearses; nothing it does is real.",
    "model": {"id": "ultimate", "effective_context_window": 200_000},
    "system": "",
    "tools": [{"type": "agent_toolset_20260401"}],
    "skills": [],
    "mcp_servers": [],
    "multiagent": None,
}


@lru_cache(20_000)  # lists show the same thousands again and again
def stamp(moment: float, *, digits: int = 0) -> str:
    """Return a unix time in UTC, with 0, up to 6 or all 9 digits of a second."""
    whole, nanos = divmod(int(moment * 1_000_000_000), 1_000_000_000)
    fraction = f"{nanos:09d}"[:digits]
    if digits < 9:
        fraction = fraction.rstrip("0")
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + (f".{fraction}" if fraction else "") + "Z"


class View(NamedTuple):
    """Things as this generation of server shows them at `now`."""

    now: float
    generation: Generation
    half_written: float = 0  # seconds: younger runs have neither session nor error

    @property
    def legacy(self) -> bool:
        return self.generation == "legacy"

    def run(self, run: Run, *, fresh: bool = False) -> Shape:
        """Return a run (api/facts.md, 1.3). `fresh` is the response to its trigger."""
        digits = 9 if fresh else 6
        created_at = stamp(run.created, digits=digits if self.legacy else 0)
        half_written = run.created > self.now - self.half_written
        trigger = dict(run.trigger)
        if "scheduled_at" in trigger:
            trigger["scheduled_at"] = stamp(trigger["scheduled_at"])
        shape: Shape = {
            "id": run.id,
            "type": "deployment_run",
            "deployment_id": run.deployment.id,
            "agent": run.agent,
            "created_at": created_at,
            "session_id": run.session.id if run.session and not half_written else None,
            "error": None,
            "trigger_context": trigger,
        }
        if half_written and self.legacy:
            del shape["session_id"]
            return shape | {"status": "pending", "triggered_at": created_at}
        if self.legacy:
            shape |= {"status": run.status(self.now), "triggered_at": created_at}
            return shape | self._outcome(run, digits)
        if run.error and not half_written:
            shape["error"] = {"type": run.error[0], "message": run.error[1]}
        return shape

    def _outcome(self, run: Run, digits: int) -> Shape:
        """Return what comes with an older server's status."""
        fields: Shape = {}
        started, ending = run.session.starts() if run.session else None, run.ending(self.now)
        if ending is not None:
            fields["completed_at"] = stamp(ending.at, digits=6)
            if ending.status == "failed":
                fields["error"] = {"message": ending.message, "type": ending.type}
            if ending.status == "completed" and started is not None:
                fields["duration_ms"] = round((ending.at - started) * 1000)
        if run.session and started is not None and run.status(self.now) != "pending":
            started_at = stamp(started, digits=digits)
            fields["cas_run_extras"] = {"attempt": 1, "turn_id": run.session.turn_id, "started_at": started_at}
        return fields

    def deployment(self, deployment: Deployment) -> Shape:
        """Return a deployment (api/facts.md, 1.2 and 1.4)."""
        shape: Shape = {
            "id": deployment.id,
            "type": "deployment",
            **{name: getattr(deployment, name) for name in _PLAIN},
            "paused_reason": None,
            "resources": deployment.resources,
            "schedule": None,
            "status": "paused" if deployment.paused else "active",
            "vault_ids": deployment.vault_ids,
            "created_at": stamp(deployment.created),
            "updated_at": stamp(deployment.updated),
            "archived_at": deployment.archived and stamp(deployment.archived),
        }
        if deployment.schedule is not None:
            shape["schedule"] = {**deployment.schedule, "type": "cron"}
            if deployment.last_run is not None:
                shape["schedule"]["last_run_at"] = stamp(deployment.last_run)
            shape["schedule"]["upcoming_runs_at"] = [stamp(moment) for moment in deployment.upcoming(self.now)]
        if deployment.paused:
            shape["paused_reason"] = {"type": "manual"}
            if deployment.paused_error is not None:
                shape["paused_reason"] = {"type": "error", "error": {"type": deployment.paused_error}}
        if self.legacy:
            del shape["environment_variables"]
            shape["initial_events"] = [_legacy_event(event) for event in deployment.initial_events]
            shape["metadata"] = deployment.metadata | {"cas_config": _cas_config(deployment)}
        if deployment.budget:
            shape["budget"] = deployment.budget
        return shape

    def session(self, session: Session) -> Shape:
        """Return a session (api/facts.md, 2.2 and 7.2)."""
        past = session.past(self.now)
        started, last = session.starts(), past[-1].at if past else session.created
        active = 0.0 if started is None else max(0.0, last - started)
        worked = sum(moment.beat.type.startswith("agent.") for moment in past)
        shape: Shape = {
            "id": session.id,
            "type": "session",
            "agent": session.agent | _AGENT | session.agent,
            "environment_id": session.environment_id,
            "title": session.title,
            "status": self.status(session),
            "metadata": session.metadata,
            "environment_variables": session.environment_variables,
            "resources": session.resources,
            "vault_ids": session.vault_ids,
            "deployment_id": session.deployment_id,
            "budget": session.budget,
            "outcome_evaluations": [],
            "stats": {"active_seconds": round(active, 9), "duration_seconds": round(last - session.created, 9)},
            "usage": {"total_credits": worked * 17 / 100 if worked else 0},
            "created_at": stamp(session.created, digits=6),
            "updated_at": stamp(max(last, session.updated), digits=6),
            "archived_at": session.archived and stamp(session.archived, digits=6),
        }
        if session.budget is None:
            del shape["budget"]
        return shape

    def thread(self, session: Session) -> Shape:
        """Return the only thread of a session (api/facts.md, 4)."""
        whole = self.session(session)
        agent = {name: whole["agent"][name] for name in ("id", "type", "version", "name")}
        shape: Shape = {"id": session.thread_id, "type": "session_thread", "session_id": session.id, "agent": agent}
        shape |= {"parent_thread_id": None, "status": session.status(self.now)}
        return shape | {name: whole[name] for name in ("stats", "created_at", "updated_at", "archived_at")}

    def status(self, session: Session) -> str:
        """Return the status of a session; `canceling` is shown by older servers only."""
        if self.legacy and session.cancelled is not None and session.busy(self.now):
            return "canceling"
        return session.status(self.now)

    def event(self, session: Session, moment: Moment) -> Shape:
        """Return an event (api/facts.md, 2.6)."""
        beat, at = moment.beat, stamp(moment.at, digits=6)
        shape: Shape = {"id": session.event_id(moment), "type": beat.type}
        shape |= session.fields(moment)
        if beat.type.startswith("session.thread_"):
            shape |= {"session_thread_id": session.thread_id, "agent_name": session.agent.get("name", _AGENT["name"])}
        shape["processed_at"] = at
        if self.legacy:
            shape |= {"session_id": session.id, "turn_id": session.turn_id, "schema_version": "1.0", "created_at": at}
        return shape

    def page(self, data: list[Shape], names: list[str], *, next_page: str | None) -> Shape:
        """Return a page; cursors call its things by `names`. Older servers name no next one (api/facts.md, 3.6)."""
        first, last = (names[0], names[-1]) if names else (None, None)
        shape: Shape = {"data": data, "first_id": first, "last_id": last, "has_more": next_page is not None}
        if not self.legacy:
            shape["next_page"] = next_page
        return shape


def _legacy_event(event: Shape) -> Shape:
    """Return an initial event with its text as a plain string, as older servers have it."""
    content = event.get("content")
    if isinstance(content, list):
        content = "\n".join(block["text"] for block in content if block.get("type") == "text")
    return {"content": content, "type": event["type"]}


def _cas_config(deployment: Deployment) -> Shape:
    fires, last = deployment.next_fire, deployment.last_run
    stats: Shape = {"consecutive_failures": 0}
    if fires is not None:
        stats["next_trigger_at"] = stamp(fires)
    stats |= {"total_failures": 0, "total_runs": deployment.total_runs}
    if last is not None:
        stats["last_triggered_at"] = stamp(last)
    config = {"max_concurrent": 1, "max_retries": 0, "timeout_ms": 300_000}
    return {"config": config, "session_strategy": "new_session", "stats": stats}
