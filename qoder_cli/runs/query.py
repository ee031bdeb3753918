"""Which runs are asked for: what of it the server filters, and what is filtered here."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Literal, NamedTuple

from qoder_cli.app import State
from qoder_cli.base.errors import UsageError
from qoder_cli.base.ids import segment
from qoder_cli.base.model import mapping
from qoder_cli.base.times import parse_timestamp, utc_text
from qoder_cli.output.listing import LARGEST_PAGE, Object, page_size


class Status(StrEnum):
    """The statuses that can be asked for (an enum, because typer takes no list of a Literal)."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"


Trigger = Literal["manual", "schedule", "retry"]
_SENT_TRIGGERS = ("manual", "schedule")  # the current generation knows no retry

# By how much a run's triggered_at and created_at differ at the very most: a window is asked for by the one, so much
# wider, and kept to here by the other.
APART = timedelta(hours=1)
_ROUNDED = timedelta(seconds=1)  # the current generation shows whole seconds


class Window(NamedTuple):
    """The times between which runs were created, both included; None where there is no bound."""

    since: datetime | None
    until: datetime | None

    @classmethod
    def read(cls, since: str | None, until: str | None, *, state: State) -> "Window":
        """Return the window that was typed. Raises UsageError, also for one that ends before it begins."""
        if since is None and until is None:
            return cls(None, None)
        from qoder_cli.base.times import parse_when

        now = datetime.fromtimestamp(state.clock.now(), UTC)
        window = cls(
            None if since is None else parse_when(since, option="--since", now=now),
            None if until is None else parse_when(until, option="--until", now=now),
        )
        if window.since and window.until and window.since > window.until:
            raise UsageError("--since is later than --until", hint="swap them")
        return window

    def holds(self, moment: datetime) -> bool:
        """Return whether a moment lies within."""
        return (self.since is None or moment >= self.since) and (self.until is None or moment <= self.until)

    def query(self, after: str, before: str, *, slack: timedelta) -> dict[str, str]:
        """Return the window as two parameters of a request, wider by the slack: what is left over is filtered here."""
        query = {} if self.since is None else {after: utc_text(self.since - slack)}
        return query | ({} if self.until is None else {before: utc_text(self.until + slack)})


ALWAYS = Window(None, None)


class Asked(NamedTuple):
    """What runs were asked for. `deployment` is an id, None for all; `limit` None for no limit."""

    deployment: str | None
    statuses: frozenset[str]
    trigger: Trigger | None
    window: Window
    limit: int | None
    resolve: bool | None

    @property
    def filtered_here(self) -> bool:
        """Whether the server cannot be asked for less than every run (api/facts.md, 1.3)."""
        is_sent = self.deployment is None and self.trigger in _SENT_TRIGGERS
        return bool(self.statuses) or not (self.trigger is None or is_sent)

    def request(self) -> tuple[str, dict[str, Any]]:
        """Return the path and the query of the list, with the filters that both generations document."""
        if self.deployment is not None:
            path = f"/deployments/{segment(self.deployment)}/runs"
            filters = self.window.query("triggered_after", "triggered_before", slack=APART)
        else:
            path = "/deployment_runs"
            filters = self.window.query("created_at[gte]", "created_at[lte]", slack=_ROUNDED)
            if self.trigger in _SENT_TRIGGERS:
                filters["trigger_type"] = str(self.trigger)
        return path, {"limit": LARGEST_PAGE if self.filtered_here else page_size(self.limit), **filters}


class Matches:
    """The test for what a run shows of itself, applied also to what the server was asked to filter.

    `undated` counts the runs that do not say when they were created, where that was asked.
    """

    def __init__(self, trigger: Trigger | None, window: Window) -> None:
        self._trigger = trigger
        self._window = None if window == ALWAYS else window
        self.undated = 0

    @property
    def everything(self) -> bool:
        """Whether there is nothing to test."""
        return self._trigger is None and self._window is None

    def __call__(self, item: Object) -> bool:
        """Return whether a run of a list was asked for."""
        if self._trigger is not None and mapping(item.get("trigger_context")).get("type") != self._trigger:
            return False
        if self._window is None:
            return True
        created = parse_timestamp(item.get("created_at"))
        self.undated += created is None
        return created is not None and self._window.holds(created)
