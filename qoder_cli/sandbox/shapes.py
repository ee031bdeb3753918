"""How things look on the wire, in either generation. Key order is that of api/examples.jsonl."""

import time
from functools import lru_cache
from typing import Any

from qoder_cli.sandbox.records import Deployment, Moment, Run, Session
from qoder_cli.sandbox.scripts import Ref
from qoder_cli.sandbox.wire import Generation

Shape = dict[str, Any]


@lru_cache(20_000)  # lists show the same thousands again and again
def stamp(moment: float, *, digits: int = 0) -> str:
    """Return a unix time in UTC, with 0, up to 6 or all 9 digits of a second."""
    whole, nanos = divmod(int(moment * 1_000_000_000), 1_000_000_000)
    fraction = f"{nanos:09d}"[:digits]
    if digits < 9:
        fraction = fraction.rstrip("0")
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + (f".{fraction}" if fraction else "") + "Z"


def run(run: Run, *, now: float, generation: Generation, fresh: bool = False, half_written: bool = False) -> Shape:
    """Return a run at `now` (api/facts.md, 1.3).

    `fresh` is the response to its trigger; `half_written` has neither session nor error.
    """
    legacy = generation == "legacy"
    digits = 0 if not legacy else 9 if fresh else 6
    created_at = stamp(run.created, digits=digits)
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
    if half_written and legacy:
        del shape["session_id"]
        return shape | {"status": "pending", "triggered_at": created_at}
    if legacy:
        return shape | {"status": run.status(now), "triggered_at": created_at} | _outcome(run, now=now, digits=digits)
    if run.error and not half_written:
        shape["error"] = {"type": run.error[0], "message": run.error[1]}
    return shape


def _outcome(run: Run, *, now: float, digits: int) -> Shape:
    """Return what comes with an older server's status."""
    fields: Shape = {}
    started, ending = run.session.starts() if run.session else None, run.ending(now)
    if ending is not None:
        fields["completed_at"] = stamp(ending.at, digits=6)
        if ending.status == "failed":
            fields["error"] = {"message": ending.message, "type": ending.type}
        if ending.status == "completed" and started is not None:
            fields["duration_ms"] = round((ending.at - started) * 1000)
    if run.session and started is not None and run.status(now) != "pending":
        started_at = stamp(started, digits=digits)
        fields["cas_run_extras"] = {"attempt": 1, "turn_id": run.session.turn_id, "started_at": started_at}
    return fields


def deployment(deployment: Deployment, *, now: float, generation: Generation) -> Shape:
    """Return a deployment (api/facts.md, 1.2 and 1.4)."""
    shape: Shape = {
        "id": deployment.id,
        "type": "deployment",
        "name": deployment.name,
        "description": deployment.description,
        "agent": deployment.agent,
        "environment_id": deployment.environment_id,
        "environment_variables": deployment.environment_variables,
        "initial_events": deployment.initial_events,
        "metadata": deployment.metadata,
        "paused_reason": None,
        "resources": deployment.resources,
        "schedule": _schedule(deployment, now=now),
        "status": "paused" if deployment.paused else "active",
        "vault_ids": deployment.vault_ids,
        "created_at": stamp(deployment.created),
        "updated_at": stamp(deployment.updated),
        "archived_at": None if deployment.archived is None else stamp(deployment.archived),
    }
    if deployment.paused:
        shape["paused_reason"] = {"type": "manual"}
        if deployment.paused_error is not None:
            shape["paused_reason"] = {"type": "error", "error": {"type": deployment.paused_error}}
    if generation == "legacy":
        del shape["environment_variables"]
        shape["initial_events"] = [_legacy_event(event) for event in deployment.initial_events]
        shape["metadata"] = deployment.metadata | {"cas_config": _cas_config(deployment)}
    if deployment.budget:
        shape["budget"] = deployment.budget
    return shape


def _legacy_event(event: Shape) -> Shape:
    """Return an initial event with its text as a plain string, as older servers have it."""
    content = event.get("content")
    if isinstance(content, list):
        content = "\n".join(block["text"] for block in content if block.get("type") == "text")
    return {"content": content, "type": event["type"]}


def _schedule(deployment: Deployment, *, now: float) -> Shape | None:
    if deployment.schedule is None:
        return None
    return {
        "expression": deployment.schedule["expression"],
        "timezone": deployment.schedule["timezone"],
        "type": "cron",
        **({} if deployment.last_run is None else {"last_run_at": stamp(deployment.last_run)}),
        "upcoming_runs_at": [stamp(moment) for moment in deployment.upcoming(now)],
    }


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


def session(session: Session, *, now: float, generation: Generation) -> Shape:
    """Return a session (api/facts.md, 2.2 and 7.2)."""
    past = session.past(now)
    started, last = session.starts(), past[-1].at if past else session.created
    active = 0.0 if started is None else max(0.0, last - started)
    worked = sum(moment.beat.type.startswith("agent.") for moment in past)
    shape: Shape = {
        "id": session.id,
        "type": "session",
        "agent": session.agent | _AGENT,
        "environment_id": session.environment_id,
        "title": "Generate today's status report",
        "status": session_status(session, now=now, generation=generation),
        "metadata": {},
        "environment_variables": {},
        "resources": [],
        "vault_ids": [],
        "deployment_id": session.deployment_id,
        "budget": session.budget,
        "outcome_evaluations": [],
        "stats": {"active_seconds": round(active, 9), "duration_seconds": round(last - session.created, 9)},
        "usage": {"total_credits": worked * 17 / 100 if worked else 0},
        "created_at": stamp(session.created, digits=6),
        "updated_at": stamp(last, digits=6),
        "archived_at": None,
    }
    if session.budget is None:
        del shape["budget"]
    return shape


def session_status(session: Session, *, now: float, generation: Generation) -> str:
    """Return its status; `canceling` is shown by older servers only."""
    if generation == "legacy" and session.cancelled is not None and session.busy(now):
        return "canceling"
    return session.status(now)


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


def event(session: Session, moment: Moment, *, generation: Generation) -> Shape:
    """Return an event (api/facts.md, 2.6)."""
    beat, at = moment.beat, stamp(moment.at, digits=6)
    shape = {"id": session.event_id(moment.number), "type": beat.type}
    shape |= _with_ids(dict(beat.fields), session, before=moment.number)
    if beat.type == "user.message":
        shape["content"] = session.prompt
    if beat.type.startswith("session.thread_"):
        shape |= {"session_thread_id": "sthr_" + session.id.removeprefix("sess_"), "agent_name": "sandbox-agent"}
    shape["processed_at"] = at
    if generation == "legacy":
        shape |= {"session_id": session.id, "turn_id": session.turn_id, "schema_version": "1.0", "created_at": at}
    return shape


def _with_ids(value: Any, session: Session, *, before: int) -> Any:
    """Return `value` with every reference replaced by the id of that event."""
    if isinstance(value, Ref):
        return session.event_id(max(n for n, beat in enumerate(session.script[:before]) if beat.type == value.type))
    if isinstance(value, dict):
        return {key: _with_ids(inner, session, before=before) for key, inner in value.items()}
    return [_with_ids(inner, session, before=before) for inner in value] if isinstance(value, list) else value


def page(data: list[Shape], *, next_page: str | None, generation: Generation) -> Shape:
    """Return a page: only the current generation names the next one (api/facts.md, 3.6)."""
    shape = {
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": next_page is not None,
    }
    return shape | ({"next_page": next_page} if generation == "current" else {})
