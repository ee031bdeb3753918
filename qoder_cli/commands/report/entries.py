"""What a report has, as declared types: their fields are its JSON."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from qoder_cli.history.nights import Unread

Command = list[str]  # words to type next


@dataclass(frozen=True)
class Entry:
    """A line of a report: its kind, its deployment, and what to type next."""

    kind: Annotated[str, "what it is"]
    deployment: Annotated[str | None, "the deployment's id"]
    deployment_name: Annotated[str | None, "the deployment's name"]
    next: Annotated[Command | None, "the command to type next, as an array of words"]


@dataclass(frozen=True)
class WaitingCall:
    """A call that a run waits for."""

    call: str
    name: str
    input: str  # its beginning, in one line


@dataclass(frozen=True)
class Waits(Entry):
    """A run that waits for an answer."""

    run: str
    session: str | None
    since: str | None
    calls: list[WaitingCall]


@dataclass(frozen=True)
class Paused(Entry):
    """A deployment that is paused: by an error, or, without a type, by a person although it has a schedule."""

    since: str | None
    error_type: str | None
    message: str
    then: Command | None = None


@dataclass(frozen=True)
class Refused(Entry):
    """A credential that was refused when a deployment last ran."""

    run: str
    error_type: str | None
    message: str | None


@dataclass(frozen=True)
class Fire(Entry):
    """A fire that is `missed`, of which the run came `late`, or `twice`; or a scheduled run that fits none, `stray`.

    `runs` are all of that fire. `was_missed`: an earlier report to this reader said that none came. `made_up_by` is
    the run that `deploy backfill` started for one that was missed.
    """

    due: str | None
    came: str | None = None
    run: str | None = None
    runs: list[str] = field(default_factory=list)
    was_missed: bool = False
    made_up_by: str | None = None

    @property
    def when(self) -> str | None:
        return self.due


@dataclass(frozen=True)
class Counted(Entry):
    """An hour in which another number of runs came than fires were due."""

    since: str
    until: str
    due: int
    came: int
    runs: list[str]

    @property
    def when(self) -> str | None:
        return self.since


@dataclass(frozen=True)
class NotRun(Entry):
    """A run that was skipped, or that never started."""

    run: str
    created: str | None
    error_type: str | None
    message: str | None

    @property
    def when(self) -> str | None:
        return self.created


@dataclass(frozen=True)
class Failed(Entry):
    """Runs of a deployment that failed with one type of error; `run` is the newest, `runs` counts all that ended."""

    run: str
    error_type: str | None
    message: str | None
    failed: int
    runs: int
    in_a_row: bool
    run_ids: list[str]


@dataclass(frozen=True)
class DidNothing(Entry):
    """A run that completed and left nothing."""

    run: str
    completed: str | None


@dataclass(frozen=True)
class CannotTell(Entry):
    """What is unknown about a deployment, and until when; or the list (`what`) that was not read, a `problem`."""

    message: str
    until: str | None = None
    detail: str | None = None
    run: str | None = None
    what: str | None = None


@dataclass(frozen=True)
class Ran:
    """The runs of a deployment that were created in the time, and how many in the same time before."""

    deployment: str | None
    deployment_name: str | None
    runs: int
    runs_before: int
    completed: int
    failed: int
    skipped: int
    running: int
    unknown: int
    median_ms: int | None
    p95_ms: int | None
    credits: str | None
    credits_unknown: int


@dataclass(frozen=True)
class Day:
    """The runs that were created on a day, and what they cost: at least so much, as far as it is known."""

    day: str
    runs: int
    running: int
    credits: str | None
    credits_unknown: int


@dataclass(frozen=True)
class Coming:
    """When a deployment fires next, and how often in as long a time as the report covers."""

    deployment: str
    deployment_name: str | None
    first: str
    fires: int


NeedsYou = Waits | Paused | Refused
DidNotHappen = Fire | Counted | NotRun
_SPAN = "the time that it covers, on the server's clock"
_LOOKED_AT = "how many were looked at; fires are those that were judged"
_READER = "with --new: who reads it, and when the first report began; else null"
Section = Literal["needs_you", "did_not_happen", "failed", "did_nothing", "paused", "cannot_tell"]


@dataclass(frozen=True)
class Report:
    """A report: what happened to deployments and runs in a time, and how things stand."""

    since: Annotated[str, _SPAN]
    until: Annotated[str, _SPAN]
    verdict: Annotated[str | None, "a sentence where all is well, else null"]
    deployments: Annotated[int, _LOOKED_AT]
    runs: Annotated[int, _LOOKED_AT]
    fires: Annotated[int, _LOOKED_AT]
    not_decided: Annotated[int, "fires and runs that cannot be judged yet"]
    needs_you: Annotated[
        list[NeedsYou],
        "kind waits (run, session, since, calls), paused (error_type, message, then) or credential (run, message);"
        " like those below with deployment, deployment_name and next, the command to type next as words",
    ] = field(default_factory=list)
    did_not_happen: Annotated[
        list[DidNotHappen],
        "kind missed, late, twice or stray (due, came, run, runs, made_up_by), counted (due, came), skipped or"
        " not_started",
    ] = field(default_factory=list)
    failed: Annotated[
        list[Failed],
        "for each deployment and error: failed, runs, error_type, message, in_a_row, run (the newest) and run_ids",
    ] = field(default_factory=list)
    did_nothing: Annotated[list[DidNothing], "run, completed"] = field(default_factory=list)
    paused: Annotated[list[Paused], "schedules that a person paused: since, message"] = field(default_factory=list)
    cannot_tell: Annotated[
        list[CannotTell],
        "kind (changed, paused, unknown, …), message, until, detail and run; or problem, with what and message",
    ] = field(default_factory=list)
    ran: Annotated[
        list[Ran],
        "for each deployment: runs, runs_before, completed, failed, skipped, running, unknown, median_ms, p95_ms,"
        " credits",
    ] = field(default_factory=list)
    days: Annotated[list[Day], "for each day: runs, running, credits and credits_unknown"] = field(default_factory=list)
    next: Annotated[list[Coming], "for each deployment: first, and how many fires in as long a time"] = field(
        default_factory=list
    )
    problems: Annotated[list[Unread], "what was not read, or not whole: what and message"] = field(default_factory=list)
    reader: Annotated[str | None, _READER] = None
    began: Annotated[str | None, _READER] = None

    @property
    def is_urgent(self) -> bool:
        return bool(self.needs_you or self.did_not_happen or self.failed)
