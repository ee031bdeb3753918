"""What a report has, as declared types: their fields are its JSON."""

from dataclasses import dataclass, field
from typing import Literal

from qoder_cli.history.nights import Problem

Command = list[str]  # words to type next


@dataclass(frozen=True)
class Entry:
    """A line of a report, by its kind; of which deployment, and what to type next."""

    kind: str
    deployment: str | None
    deployment_name: str | None
    next: Command | None


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
    """A deployment that is paused: by an error, or, without a type, by hand although it has a schedule."""

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

    `runs` are all of that fire. `was_missed`: the same reader was told before that none came.
    """

    due: str | None
    came: str | None = None
    run: str | None = None
    runs: list[str] = field(default_factory=list)
    was_missed: bool = False


@dataclass(frozen=True)
class Counted(Entry):
    """An hour in which another number of runs came than fires were due."""

    since: str
    until: str
    due: int
    came: int
    runs: list[str]


@dataclass(frozen=True)
class NotRun(Entry):
    """A run that was skipped, or that never started."""

    run: str
    created: str | None
    error_type: str | None
    message: str | None


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
    """What cannot be told of a deployment, and until when that was so; or `what` was not read, a `problem`."""

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
Section = Literal["needs_you", "did_not_happen", "failed", "did_nothing", "paused", "cannot_tell"]


@dataclass(frozen=True)
class Report:
    """A report. `fires` were judged; `not_decided` are fires and runs of which it cannot be told yet.

    `verdict` is a sentence where all is well. `reader` and `began` are those of `--new`.
    """

    since: str
    until: str
    verdict: str | None
    deployments: int
    runs: int
    fires: int
    not_decided: int
    needs_you: list[NeedsYou] = field(default_factory=list)
    did_not_happen: list[DidNotHappen] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)
    did_nothing: list[DidNothing] = field(default_factory=list)
    paused: list[Paused] = field(default_factory=list)
    cannot_tell: list[CannotTell] = field(default_factory=list)
    ran: list[Ran] = field(default_factory=list)
    days: list[Day] = field(default_factory=list)
    next: list[Coming] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    reader: str | None = None
    began: str | None = None

    @property
    def is_urgent(self) -> bool:
        return bool(self.needs_you or self.did_not_happen or self.failed)
