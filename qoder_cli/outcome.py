"""How a run ended, on either generation of server. Pure functions; the table of cases is in tests/test_outcome.py.

The older generation gives a run a `status`. The current one only records that a session was created (`session_id`) or
was not (`error`); how it went must be read from the session's events (api/facts.md, 1.3 and 2.6).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

from qoder_cli.errors import Exit
from qoder_cli.model import Run, mapping, text
from qoder_cli.times import milliseconds_between

FINAL = frozenset({"completed", "failed", "skipped"})
GOING = frozenset({"pending", "running"})

# Asked for with `types[]`, and filtered again here: a server may ignore the filter.
ENDING_EVENTS = (
    "session.status_running",
    "session.status_idle",
    "session.status_terminated",
    "session.deleted",
    "session.error",
)
# Any of them shows that work has begun, where no `session.status_running` says so.
AGENT_EVENTS = (
    "agent.message",
    "agent.thinking",
    "agent.tool_use",
    "agent.tool_result",
    "agent.custom_tool_use",
    "agent.mcp_tool_use",
    "agent.mcp_tool_result",
    "agent.artifact_delivered",
    "agent.thread_message_sent",
    "agent.thread_message_received",
    "agent.thread_context_compacted",
)
_TURN_DONE = frozenset({"end_turn", "stop_sequence"})


class Standing(Enum):
    """What the run object alone says."""

    ENDED = "ended"
    GOING = "going"
    ASK_SESSION = "its session decides"
    HALF_WRITTEN = "neither status, nor error, nor session yet"


class Ending(NamedTuple):
    """The first ending read from a session's events.

    `status` is completed or failed, None when it cannot be known any more; `at` is the ending event's time as the
    server wrote it; `error` is `{type, message}` of anything but a completed run.
    """

    status: str | None
    at: str | None = None
    error: dict[str, Any] | None = None


SESSION_DELETED = Ending(
    None,
    error={
        "type": "session_deleted",
        "message": "The session was deleted before its ending was seen, so how the run ended cannot be known.",
    },
)


def standing(run: Run) -> Standing:
    """Return what the run object alone says (contract, section 1)."""
    status = run.status
    if status is not None:
        ended = status in FINAL or (status not in GOING and run.completed_at is not None)
        return Standing.ENDED if ended else Standing.GOING
    if run.error or (run.raw.get("error") is not None and not run.session_id):
        return Standing.ENDED
    return Standing.ASK_SESSION if run.session_id else Standing.HALF_WRITTEN


def is_going(run: Run) -> bool:
    """Return whether a settled run has not ended yet."""
    return verdict(run) is Exit.NOT_YET


def is_strange(run: Run) -> bool:
    """Return whether the status is one that this program does not know."""
    return run.status is not None and run.status not in FINAL | GOING


def settle(run: Run) -> Run:
    """Return the run with the status filled in that its own fields decide, without asking its session."""
    if run.status is not None or run.derived:
        return run
    match standing(run):
        case Standing.ENDED:
            return Run(run.raw, {"status": "failed"})
        case Standing.ASK_SESSION:
            return Run(run.raw, {"status": "running"})
        case _:
            return Run(run.raw, {"status": "pending"})


def apply_ending(run: Run, ending: Ending, *, usage: dict[str, Any] | None = None) -> Run:
    """Return the run with what its session's first ending fills in; `usage` is the session's own object."""
    derived: dict[str, Any] = {}
    if ending.status or run.raw.get("status") is not None:
        derived["status"] = ending.status  # None takes a status away that the session has overruled
    if ending.at:
        derived["completed_at"] = ending.at
    start = run.raw.get("triggered_at") or run.raw.get("created_at")
    duration = milliseconds_between(start, ending.at)
    if ending.status == "completed" and duration is not None:
        derived["duration_ms"] = duration
    if ending.error:
        derived["error"] = ending.error
    if usage:
        derived["usage"] = usage
    return Run(run.raw, derived)


def verdict(run: Run) -> Exit:
    """Return the exit code of a settled run: NOT_YET while it is going on."""
    if run.derived.get("error") == SESSION_DELETED.error:
        return Exit.OUTCOME_UNKNOWN
    if standing(run) is not Standing.ENDED:
        return Exit.NOT_YET
    return {"completed": Exit.OK, "skipped": Exit.RUN_SKIPPED}.get(run.status or "failed", Exit.RUN_FAILED)


@dataclass
class SessionStory:
    """The session's events, told oldest first, up to the first ending. What comes later does not change a run."""

    ending: Ending | None = None
    worked: bool = False
    idled_early: bool = False
    waits_for_action: bool = False
    _fatal_error: dict[str, Any] | None = field(default=None)
    _last_error: dict[str, Any] | None = field(default=None)

    def tell(self, events: Iterable[object]) -> "SessionStory":
        """Take in more events; anything that is no event is passed over. Returns itself."""
        for event in events:
            self._take(mapping(event))
        return self

    def _take(self, event: dict[str, Any]) -> None:
        kind = text(event.get("type")) or ""
        if kind.startswith("agent."):
            self.worked = True
        if kind not in ENDING_EVENTS:
            return
        if self.waits_for_action:  # no longer the last of these events: somebody answered, or it moved on
            self.waits_for_action, self.ending = False, None
        if self.ending is None:
            self._judge(kind, event)

    def _judge(self, kind: str, event: dict[str, Any]) -> None:
        match kind:
            case "session.status_running":
                self.worked, self._fatal_error = True, None
            case "session.error":
                self._on_error(event)
            case "session.status_idle":
                self._on_idle(event)
            case "session.status_terminated":
                self.ending = Ending("failed", _time_of(event), self._explain("session_terminated"))
            case "session.deleted":
                self.ending = SESSION_DELETED

    def _on_error(self, event: dict[str, Any]) -> None:
        self._last_error = error = _session_error(event)
        if error.pop("retry_status") in ("exhausted", "terminal"):
            self._fatal_error = error

    def _on_idle(self, event: dict[str, Any]) -> None:
        reason = stop_reason(event)
        if not self.worked and (reason is None or reason in _TURN_DONE):
            self.idled_early = True  # a new session may be idle before it starts (api/facts.md, 1.7)
        elif reason in _TURN_DONE or (reason is None and self._fatal_error is None):
            self.ending = Ending("completed", _time_of(event))
        elif reason is None:
            self.ending = Ending("failed", _time_of(event), self._fatal_error)
        else:
            self.waits_for_action = reason == "requires_action"
            self.ending = Ending("failed", _time_of(event), self._explain(reason))

    def _explain(self, reason: str) -> dict[str, Any]:
        message = _EXPLANATIONS.get(reason, f"The session stopped: {reason}.")
        cause = (self._last_error or {}).get("message")
        return {"type": reason, "message": f"{message} {cause}" if cause and reason in _CAUSED else message}


_EXPLANATIONS = {
    "requires_action": "The agent waits for someone to allow a tool or give its result; nobody in a run does. "
    "Answer in the session in the console, or with POST /sessions/{id}/events (user.tool_confirmation).",
    "budget_reached": "The credit budget was used up.",
    "retries_exhausted": "Errors used up the session's retries.",
    "cancelled": "The session was cancelled.",
    "session_terminated": "The session was terminated.",
}
_CAUSED = frozenset({"retries_exhausted", "session_terminated"})


def evaluations(session: dict[str, Any]) -> list[dict[str, Any]]:
    """Return each outcome's newest evaluation from a session (api/facts.md, 2.2 and 2.6)."""
    sent = session.get("outcome_evaluations")
    newest = {str(one.get("outcome_id")): one for one in map(mapping, sent if isinstance(sent, list) else [])}
    return list(newest.values())


def stop_reason(event: dict[str, Any]) -> str | None:
    """Return why a `session.status_idle` stopped: `{type}` or a plain string; None when missing or empty."""
    reason = event.get("stop_reason")
    return text(reason) or text(mapping(reason).get("type"))


def _session_error(event: dict[str, Any]) -> dict[str, Any]:
    error = event.get("error")
    if isinstance(error, str):  # the older form: {error: "…", code: "…"} (api/facts.md, 2.6)
        return {"type": text(event.get("code")) or "unknown_error", "message": error, "retry_status": None}
    fields = mapping(error)
    status = fields.get("retry_status")
    return {
        "type": text(fields.get("type")) or "unknown_error",
        "message": text(fields.get("message")) or "The session reported an error.",
        "retry_status": text(status) or text(mapping(status).get("type")),
    }


def _time_of(event: dict[str, Any]) -> str | None:
    return text(event.get("processed_at")) or text(event.get("created_at"))
