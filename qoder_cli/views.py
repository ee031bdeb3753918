"""What a run or a deployment shows, as fields: declared here, drawn by `output`."""

from typing import Any

from qoder_cli.model import Deployment, Run, mapping, text
from qoder_cli.output import Fields, Milliseconds, Moment, Status


def run_fields(run: Run) -> Fields:
    """Return everything a run shows, in order; absent fields are None."""
    return {
        "id": run.id,
        "deployment": run.deployment_id,
        "status": _status(run),
        "adopted": "yes" if run.adopted else None,
        "status_from": "session" if run.derived.get("completed_at") else None,
        "error_type": run.error_type,
        "error_message": run.error_message,
        "trigger": text(mapping(run.raw.get("trigger_context")).get("type")),
        "session": run.session_id,
        "agent": run.agent,
        "attempt": run.extras.get("attempt"),
        "turn": text(run.extras.get("turn_id")),
        "triggered": _moment(run.raw.get("triggered_at") or run.raw.get("created_at")),
        "started": _moment(run.extras.get("started_at")),
        "completed": _moment(run.completed_at),
        "duration": None if run.duration_ms is None else Milliseconds(run.duration_ms),
        "credits": run.credits,
    }


RUN_COLUMNS = ("id", "status", "deployment", "triggered", "duration", "error_type", "trigger", "session")


def run_row(run: Run) -> Fields:
    """Return a run as one row of a list; the columns are only ever appended to."""
    fields = run_fields(run)
    return {name: fields[name] for name in RUN_COLUMNS}


def missing_row(typed: str, word: str) -> Fields:
    """Return the row of a run that could not be read: what was typed, and one word for why."""
    return {**dict.fromkeys(RUN_COLUMNS), "id": typed, "status": Status(word)}


def deployment_fields(deployment: Deployment) -> Fields:
    """Return what a deployment shows, in order; absent fields are None."""
    raw, schedule = deployment.raw, deployment.schedule
    agent = mapping(raw.get("agent"))
    return {
        "id": deployment.id,
        "name": deployment.name,
        "description": text(raw.get("description")),
        "state": Status(deployment.state),
        "paused_because": deployment.paused_because,
        "archived": _moment(deployment.archived_at),
        "agent": f"{agent['id']}@{agent.get('version', '?')}" if text(agent.get("id")) else None,
        "environment": text(raw.get("environment_id")),
        "schedule": text(schedule.get("expression")),
        "timezone": text(schedule.get("timezone")),
        "last_run": _moment(schedule.get("last_run_at")),
        "next_run": _moment(next(iter(deployment.next_fires), None)),
        "created": _moment(raw.get("created_at")),
        "updated": _moment(raw.get("updated_at")),
    }


def _status(run: Run) -> Status | None:
    return Status(run.status) if run.status else None


def _moment(value: Any) -> Moment | None:
    return Moment(value) if text(value) else None
