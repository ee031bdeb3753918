"""A slim record of a run: 200,000 of them fit into memory."""

from math import inf
from sys import intern
from typing import Literal, NamedTuple

from qoder_cli.base.errors import Exit
from qoder_cli.base.model import OLDEST, Run, mapping, text
from qoder_cli.base.outcome import Standing, calls_to_answer, standing, verdict, waits_for_answer
from qoder_cli.base.times import unix, utc_text
from qoder_cli.runs.observe import LONGEST_RUN

LAG = 60.0  # seconds that a list may lag
LATE = 900.0  # seconds after a fire within which its run is in time: jitter is documented, its size is not

Outcome = Literal["completed", "failed", "skipped", "going", "unknown"]
_OUTCOMES: dict[Exit, Outcome] = {
    Exit.OK: "completed",
    Exit.RUN_FAILED: "failed",
    Exit.RUN_SKIPPED: "skipped",
    Exit.NOT_YET: "going",
}


def outcome_of(run: Run) -> Outcome:
    """Return the outcome of a run, its status filled in, in a word; `unknown` also where it was not read."""
    if run.status is None:
        return "unknown"
    return _OUTCOMES.get(verdict(run), "unknown")


class RunDetail(NamedTuple):
    """What few runs have: an error; calls that they wait for, since a time in unix seconds; that they left nothing."""

    error_type: str | None = None
    message: str | None = None
    asks: tuple[str, ...] | None = None
    asks_since: float | None = None
    left: bool | None = None  # whether it left a message, a tool call or a file, if known
    is_idle: bool = False  # no work was seen of it


_NO_DETAIL = RunDetail()


class RunRecord(NamedTuple):
    """A run, its times in unix seconds of the server's clock; None where it does not say.

    `trigger` is what started it, `due` the fire that it names. It is `unread` if its session had to be asked how it
    ended, and was not.
    """

    id: str
    deployment: str
    session: str | None
    trigger: str | None
    created: float | None
    due: float | None
    outcome: Outcome | Literal["unread"]
    ended: float | None
    duration_ms: int | None = None
    detail: RunDetail = _NO_DETAIL

    @classmethod
    def of(cls, run: Run, *, left: bool | None = None, is_idle: bool = False) -> "RunRecord":
        """Return the record of a run whose status is filled in, as far as that is known."""
        context = run.raw.get("trigger_context")
        trigger, outcome = text(context) or text(mapping(context).get("type")), outcome_of(run)
        is_read = standing(run) is not Standing.ASK_SESSION or bool(run.derived)
        detail = _NO_DETAIL
        if waits_for_answer(run):
            detail = RunDetail(asks=tuple(calls_to_answer(run)), asks_since=run.asks_since)
        elif outcome == "failed":
            detail = RunDetail(run.error_type and intern(run.error_type), run.error_message)
        elif left is False or is_idle:
            detail = RunDetail(left=left, is_idle=is_idle)
        return cls(
            run.id,
            intern(run.deployment_id or ""),
            run.session_id,
            trigger and intern(trigger),
            run.created,
            moment(mapping(context).get("scheduled_at")),
            outcome if is_read else "unread",
            moment(run.completed_at) if outcome != "going" else None,
            run.duration_ms if outcome == "completed" else None,
            detail,
        )

    @property
    def is_scheduled(self) -> bool:
        return self.trigger == "schedule"

    @property
    def may_be_scheduled(self) -> bool:
        return self.trigger not in ("manual", "retry")

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to be learnt of it."""
        return self.outcome not in ("going", "unread")

    @property
    def order(self) -> float:
        """When it was created; 0 if it does not say."""
        return self.created or 0.0

    def certain(self, now: float) -> tuple[float, float]:
        """Return from when on its ending is certain: the earliest and the latest time, where it does not say."""
        if self.ended is not None and self.ended <= now + LAG:
            at = max(self.ended, self.created or 0.0) + LAG
            return at, at
        if self.created is None or self.created > now + LAG:
            return 0.0, inf
        longest = 0.0 if self.session is None else LONGEST_RUN
        return self.created + LAG, self.created + longest + LAG


def time_text(at: float | None) -> str | None:
    """Return a time in unix seconds as RFC 3339 in UTC."""
    return None if at is None else utc_text(at)


def moment(value: object) -> float | None:
    """Return a server's time in unix seconds; one before 2020 is none."""
    at = unix(value)
    return at if at is not None and at >= OLDEST else None
