"""What tests share of: `qoder deploy run` and `deploy get`, in the user's words, on both generations of server."""

from typing import Any

LEGACY = {
    "id": "drun_1",
    "type": "deployment_run",
    "deployment_id": "dep_1",
    "agent": {"id": "agent_1", "type": "agent", "version": 4},
    "created_at": "2026-06-14T08:54:06.271902633Z",
    "session_id": "sess_1",
    "error": None,
    "trigger_context": {"type": "manual"},
    "status": "running",
    "triggered_at": "2026-06-14T08:54:06.271902633Z",
    "cas_run_extras": {"attempt": 1, "turn_id": "turn_1", "started_at": "2026-06-14T08:54:06.310253147Z"},
}


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


DONE = {**LEGACY, "status": "completed", "completed_at": "2026-06-14T08:54:23.5Z", "duration_ms": 17229}


TRIGGER = ("POST", "/deployments/dep_1/run")


EVENTS = ("GET", "/sessions/sess_1/events")


SESSION = ("GET", "/sessions/sess_1")


RUN = ("GET", "/deployment_runs/drun_1")


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
