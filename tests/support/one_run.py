"""One run as both generations of server show it, and what may happen in its session."""

from typing import Any

CURRENT = {
    "id": "drun_1",
    "type": "deployment_run",
    "deployment_id": "dep_1",
    "agent": {"id": "agent_1", "type": "agent", "version": 4},
    "created_at": "2026-06-14T08:54:06Z",
    "session_id": "sess_1",
    "error": None,
    "trigger_context": {"type": "manual"},
}
LEGACY = {
    **CURRENT,
    "created_at": "2026-06-14T08:54:06.271902633Z",
    "status": "running",
    "triggered_at": "2026-06-14T08:54:06.271902633Z",
    "cas_run_extras": {"attempt": 1, "turn_id": "turn_1", "started_at": "2026-06-14T08:54:06.310253147Z"},
}
DONE = {**LEGACY, "status": "completed", "completed_at": "2026-06-14T08:54:23.5Z", "duration_ms": 17229}
ELAPSED: dict[str, Any] = {"elapsed_ms": 17228, "derived": ["elapsed_ms"]}
SHOWN = {**DONE, **ELAPSED}  # in JSON
DEPLOYMENTS = ("GET", "/deployments")
TRIGGER = ("POST", "/deployments/dep_1/run")
EVENTS = ("GET", "/sessions/sess_1/events")
SESSION = ("GET", "/sessions/sess_1")
RUN = ("GET", "/deployment_runs/drun_1")


def deployment(number: int, name: str, **fields: Any) -> dict[str, Any]:
    return {"id": f"dep_{number}", "type": "deployment", "name": name, "status": "active", **fields}


def event(kind: str, second: int = 9, **fields: Any) -> dict[str, Any]:
    return {
        "id": f"evt_{kind}_{second}",
        "type": f"session.{kind}",
        "processed_at": f"2026-06-14T08:54:{second:02}Z",
        **fields,
    }


def idle(reason: str, second: int = 23) -> dict[str, Any]:
    return event("status_idle", second, stop_reason={"type": reason})


FIRST_IDLE = idle("end_turn", 6)
WORK = [FIRST_IDLE, event("status_running", 7)]

# The same without id and time, which `story` gives them: it is when they happen that counts.
RUNNING = {"type": "session.status_running"}
MESSAGE = {"type": "agent.message", "content": [{"type": "text", "text": "Well."}]}
TERMINATED = {"type": "session.status_terminated"}
DELETED = {"type": "session.deleted"}


def rests(reason: Any = "end_turn") -> dict[str, Any]:
    """Return an idle with this stop reason, as it is or as its type."""
    return {"type": "session.status_idle", "stop_reason": {"type": reason} if isinstance(reason, str) else reason}


def fails(retry_status: Any, kind: str = "billing_error") -> dict[str, Any]:
    """Return a session's error, which is tried again or not."""
    return {"type": "session.error", "error": {"type": kind, "message": "No.", "retry_status": retry_status}}


def story(*events: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what happened in a session, one event a second, each with an id of its own."""
    return [
        {"id": f"evt_{n}", "processed_at": f"2026-06-14T08:54:{7 + n:02}Z", **event} for n, event in enumerate(events)
    ]
