"""What happens in a session: beats on a time line, shared by every session that follows them.

A turn is in the usual order (api/facts.md, 2.6): running, the user's message, work, idle.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Ref:
    """Stands for the id of the last earlier beat of this type."""

    type: str


@dataclass(frozen=True, slots=True)
class Beat:
    """An event `at` seconds after its session's creation, with `fields` beyond id and type."""

    at: float
    type: str
    fields: Fields = field(default_factory=dict)


Script = tuple[Beat, ...]


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a run comes to: a session with a `script`, or an `error` (type and message), or a skip.

    The current generation has no skipped runs: there `error` stands in.
    """

    script: Script = ()
    error: tuple[str, str] | None = None
    skipped: bool = False


WORK = "session.status_running"
_START = 0.04  # a session is there at once; its turn begins a moment later


def turn(
    *,
    seconds: float,
    start: float = _START,
    steps: int = 1,
    message: str | None = None,
    reason: str = "end_turn",
    idles: bool = False,
) -> Script:
    """Return a turn of `seconds`: it thinks, uses a tool `steps` times, may say `message`.

    With `idles` the session is idle before that; most are not (api/facts.md, 7.2).
    """
    length = seconds - start
    beats = [Beat(0, "session.status_idle", idle("end_turn"))] if idles else []
    beats += [*_open(start), Beat(start + length * 0.1, "agent.thinking")]
    output = {
        "tool_use_id": Ref("agent.tool_use"),
        "content": _text("4f2a91c Retry uploads once\nb07d3e8 Describe the retry"),
    }
    for step in range(steps):
        at = start + length * (0.2 + 0.6 * step / steps)
        beats.append(_tool_use(at, "git log --oneline --since=yesterday", "allow"))
        beats.append(Beat(at + length * 0.4 / steps, "agent.tool_result", {**output, "is_error": False}))
    if message is not None:
        beats.append(Beat(start + length * 0.9, "agent.message", {"content": _text(message)}))
    return (*beats, *_close(seconds, idle(reason)))


def exhausted(*, seconds: float) -> Script:
    """Return a turn whose model calls fail until the retries are used up."""
    errors = [_model_error(seconds * 0.5, "retrying"), _model_error(seconds * 0.9, "exhausted")]
    return (*_thinking(seconds), *errors, *_close(seconds, idle("retries_exhausted"), failed=True))


def terminated(*, seconds: float) -> Script:
    """Return a turn that an error ends together with its session."""
    ends = [Beat(seconds, "session.thread_status_terminated"), Beat(seconds, "session.status_terminated")]
    return (*_thinking(seconds), _model_error(seconds * 0.9, "terminal"), *ends)


def asking(*, seconds: float) -> Script:
    """Return a turn that stops to ask whether it may use a tool, and is never answered."""
    asks = _tool_use(seconds * 0.9, "git push origin main", "ask")
    return (*_thinking(seconds), asks, *_close(seconds, idle("requires_action", event_ids=[Ref("agent.tool_use")])))


def idle(reason: str, **more: Any) -> Fields:
    """Return the fields of an idle event with this stop reason."""
    return {"stop_reason": {"type": reason, **more}}


# How a turn that is cancelled ends.
CANCELLED = (
    Beat(0.2, "session.thread_status_idle", idle("cancelled")),
    Beat(0.2, "session.status_idle", idle("cancelled")),
)


def _open(start: float) -> Script:
    """Return the beginning of a turn."""
    return (
        Beat(start, WORK),
        Beat(start, "session.thread_status_running"),
        Beat(start + 0.01, "user.message"),
        Beat(start + 0.02, "span.model_request_start"),
    )


def _thinking(seconds: float) -> Script:
    return (*_open(_START), Beat(seconds * 0.3, "agent.thinking"))


def _close(at: float, stop: Fields, *, failed: bool = False) -> Script:
    """Return the end of a turn."""
    request: Fields = {"is_error": failed, "model_request_start_id": Ref("span.model_request_start")}
    if not failed:
        request = {**request, "model_usage": {"credits": 0.42}}
    return (
        Beat(at, "span.model_request_end", request),
        Beat(at, "session.thread_status_idle", stop),
        Beat(at, "session.status_idle", stop),
    )


def _tool_use(at: float, command: str, permission: str) -> Beat:
    fields = {"name": "Bash", "input": {"command": command}, "evaluated_permission": permission}
    return Beat(at, "agent.tool_use", fields)


def _text(text: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text}]


def _model_error(at: float, retry_status: str) -> Beat:
    error = {"type": "model_request_failed_error", "message": "The model did not answer."}
    return Beat(at, "session.error", {"error": {**error, "retry_status": {"type": retry_status}}})
