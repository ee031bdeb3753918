"""What is read of a run once it has ended: the agent's final message, and what its outcome evaluations say."""

from typing import TYPE_CHECKING, NamedTuple

from qoder_cli.base.errors import ApiError, LostSight, QoderError, RunFailed, Signalled
from qoder_cli.base.ids import segment
from qoder_cli.base.model import Run, mapping, text
from qoder_cli.base.outcome import evaluations, is_going
from qoder_cli.runs.item import Item
from qoder_cli.settings.values import OnAsk

if TYPE_CHECKING:
    from qoder_cli.app import State
    from qoder_cli.http.client import Client


class Wanted(NamedTuple):
    """What is asked of a wait beyond the run itself."""

    follow: bool = False  # show the session's events as they happen
    require_satisfied: bool = False  # anything but `satisfied` outcome evaluations fails
    result: bool = False  # the agent's final message goes with the run into JSON
    on_ask: OnAsk = "stop"  # what to do while the agent waits for an answer

    def asks_more_of(self, item: Item) -> bool:
        """Return whether there is more to read of a run: it has ended, and something is wanted of it."""
        has_ended = item.run is not None and not is_going(item.run)
        return has_ended and (self.result or (self.require_satisfied and item.error is None))


NOTHING_MORE = Wanted()


def read_more(state: "State", item: Item, wanted: Wanted) -> Item:
    """Return an item with what is wanted of it; where that cannot be read, it says why in its error."""
    if not wanted.asks_more_of(item):
        return item
    try:
        if wanted.require_satisfied:
            item = _judged_by_outcome(item, state.client)
        if wanted.result and item.run is not None:
            from qoder_cli.runs.result import final_message

            item = item.with_(more={"result": final_message(state.client, item.run)})
    except ApiError as error:
        return item.with_(error=item.error or unreadable(item, error, wanted, state))
    return item


def unread(run: Run, signalled: Signalled) -> QoderError:
    """Return the error of a run that has ended, of which more was to be read when a signal came."""
    why = f"run {run.id} has ended, but nothing more was read of it"
    return signalled.in_words(why, run_id=run.id, session_id=run.session_id, run_state="ended")


def unreadable(item: Item, error: ApiError, wanted: Wanted, state: "State") -> QoderError:
    """Return the error of a run that has ended, when what is wanted of it cannot be read."""
    if (run := item.run) is None:
        return error
    again = ("wait", run.id, "--require-satisfied") if wanted.require_satisfied else ("result", run.id)
    return LostSight(
        f"run {run.id} has ended, but its outcome cannot be read: {error.message}",
        hint="try again; do not start another",
        next=state.command("run", *again),
        run_id=run.id,
        session_id=run.session_id,
        run_state="ended",
        cause=error,
    )


def _judged_by_outcome(item: Item, client: "Client") -> Item:
    """Return a completed run as failed when its outcome evaluations are missing or not all satisfied."""
    if item.error is not None or item.run is None:
        return item
    session = client.get(f"/sessions/{segment(item.run.session_id)}") if item.run.session_id else {}
    results = {text(one.get("result")) or "unknown" for one in evaluations(mapping(session))}
    if results == {"satisfied"}:
        return item
    why = f"its outcome is {', '.join(sorted(results))}" if results else "it has no outcome evaluation"
    error = RunFailed(
        f"run {item.run.id} completed, but {why}",
        hint=f"see: qoder run get {item.run.id}",
        run_id=item.run.id,
        session_id=item.run.session_id,
        run_state="ended",
    )
    return item.with_(error=error)
