"""What happens in a session: beats on a time line, written once, shared by every session that follows.

A turn is told in the usual order (api/facts.md, 2.6): running, the echo of the user's message, the model's work, idle.
A session may say before that it is idle; most do not (api/facts.md, 7.2).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Ref:
    """Stands for the id of an earlier beat of the same script."""

    index: int


@dataclass(frozen=True, slots=True)
class Beat:
    """An event `at` seconds after the session was created. `fields` are those beyond id and type."""

    at: float
    type: str
    fields: Fields = field(default_factory=dict)


Script = tuple[Beat, ...]

WORK = "session.status_running"
_START = 0.04  # a session is there at once; its turn begins a moment later


def idle(reason: str, **more: Any) -> Fields:
    """Return the fields of an idle event with this stop reason."""
    return {"stop_reason": {"type": reason, **more}}


class _Reel:
    """A script being written."""

    def __init__(self) -> None:
        self.beats: list[Beat] = []

    def add(self, at: float, type: str, **fields: Any) -> Ref:
        self.beats.append(Beat(at, type, fields))
        return Ref(len(self.beats) - 1)

    def open(self, start: float) -> Ref:
        """Write the beginning of a turn, `start` seconds after the session's."""
        self.add(start, WORK)
        self.add(start, "session.thread_status_running")
        self.add(start + 0.01, "user.message")
        return self.add(start + 0.02, "span.model_request_start")

    def use_tool(self, at: float, took: float, command: str, output: str) -> None:
        call = self.add(at, "agent.tool_use", name="Bash", input={"command": command}, evaluated_permission="allow")
        self.add(at + took, "agent.tool_result", tool_use_id=call, content=_text(output), is_error=False)

    def close(self, at: float, request: Ref, stop: Fields, *, failed: bool = False) -> Script:
        """Write the end of a turn at `at` seconds, and return the whole script."""
        usage = {} if failed else {"model_usage": {"credits": 0.42}}
        self.add(at, "span.model_request_end", is_error=failed, model_request_start_id=request, **usage)
        self.add(at, "session.thread_status_idle", **stop)
        self.add(at, "session.status_idle", **stop)
        return tuple(self.beats)


def _text(text: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text}]


def turn(
    *,
    seconds: float,
    start: float = _START,
    steps: int = 1,
    message: str | None = None,
    reason: str = "end_turn",
    idles: bool = False,
) -> Script:
    """Return a turn that is over after `seconds`: it thinks, uses a tool `steps` times, may say `message`.

    With `idles` the session is told to be idle before the turn starts, which is no ending.
    """
    reel, length = _Reel(), seconds - start
    if idles:
        reel.add(0.0, "session.status_idle", **idle("end_turn"))
    request = reel.open(start)
    reel.add(start + length * 0.1, "agent.thinking")
    for step in range(steps):
        reel.use_tool(
            start + length * (0.2 + 0.6 * step / steps),
            length * 0.4 / steps,
            command="git log --oneline --since=yesterday",
            output="4f2a91c Retry uploads once\nb07d3e8 Describe the retry",
        )
    if message is not None:
        reel.add(start + length * 0.9, "agent.message", content=_text(message))
    return reel.close(seconds, request, idle(reason))


def exhausted(*, seconds: float) -> Script:
    """Return a turn whose model calls fail until the retries are used up."""
    reel = _Reel()
    request = reel.open(_START)
    reel.add(seconds * 0.3, "agent.thinking")
    reel.add(seconds * 0.5, "session.error", error=_model_error("retrying"))
    reel.add(seconds * 0.9, "session.error", error=_model_error("exhausted"))
    return reel.close(seconds, request, idle("retries_exhausted"), failed=True)


def terminated(*, seconds: float) -> Script:
    """Return a turn that an error ends together with its session."""
    reel = _Reel()
    reel.open(_START)
    reel.add(seconds * 0.3, "agent.thinking")
    reel.add(seconds * 0.9, "session.error", error=_model_error("terminal"))
    reel.add(seconds, "session.thread_status_terminated")
    reel.add(seconds, "session.status_terminated")
    return tuple(reel.beats)


def asking(*, seconds: float) -> Script:
    """Return a turn that stops to ask whether it may use a tool, and is never answered."""
    reel = _Reel()
    request = reel.open(_START)
    reel.add(seconds * 0.3, "agent.thinking")
    call = reel.add(
        seconds * 0.9,
        "agent.tool_use",
        name="Bash",
        input={"command": "git push origin main"},
        evaluated_permission="ask",
    )
    return reel.close(seconds, request, idle("requires_action", event_ids=[call]))


def _model_error(retry_status: str) -> Fields:
    return {
        "type": "model_request_failed_error",
        "message": "The model did not answer.",
        "retry_status": {"type": retry_status},
    }


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a run of a deployment comes to: a session that follows `script`; or none, with an error or a skip.

    `error` is a type and a message. The current generation has no skipped runs: there `error` stands in.
    """

    script: Script = ()
    error: tuple[str, str] | None = None
    skipped: bool = False
