"""How a deployment has been doing: its recent runs as a small picture."""

from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING

from qoder_cli.base.errors import ApiError
from qoder_cli.base.model import Run
from qoder_cli.base.outcome import Standing, standing
from qoder_cli.output.cells import Durations, Fields, Milliseconds, Outcomes
from qoder_cli.runs.newest import newest_runs
from qoder_cli.runs.resolve import Resolver

if TYPE_CHECKING:
    from qoder_cli.app import State

RECENT = 20  # runs


def recent_runs(state: "State", deployment_id: str) -> Fields:
    """Return the newest 20 runs of a deployment as fields; nothing, with a warning, when they cannot be read."""
    resolver = Resolver(state.client, progress=state.progress)
    try:
        newest = newest_runs(state.client, deployment_id, RECENT)
    except ApiError as error:
        state.progress.warn(f"could not read its runs: {error.message}")
        return {}
    runs = list(resolver.runs([run.raw for run in newest]))
    if resolver.unread:
        state.progress.warn(f"ignored {resolver.unread} of its runs: could not read their sessions")
    return picture([run for run in runs if standing(run) is not Standing.ASK_SESSION])


def picture(runs: Sequence[Run]) -> Fields:
    """Return the picture of runs that come newest first: outcomes, durations, success rate, and median duration.

    The rate ignores runs that are still running, were skipped, or have an unknown outcome.
    """
    oldest_first = list(reversed(runs))
    if not runs:
        return {"recent_runs": "none yet"}
    took = [run.duration_ms for run in runs if run.status == "completed" and run.duration_ms is not None]
    return {
        "recent_runs": Outcomes(tuple(run.status for run in oldest_first)),
        "durations": Durations(tuple(run.duration_ms for run in oldest_first)),
        "success_rate": _rate([run for run in runs if standing(run) is Standing.ENDED]),
        "usual_duration": Milliseconds(round(median(took))) if took else None,
    }


def _rate(ended: Sequence[Run]) -> str | None:
    ran = [run for run in ended if run.status not in (None, "skipped")]
    if not ran:
        return None
    completed = sum(run.status == "completed" for run in ran)
    return f"{100 * completed // len(ran)}% ({completed} of {len(ran)})"
