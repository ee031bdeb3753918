"""The log of a run's session, or why there is none."""

from collections.abc import Iterator
from contextlib import contextmanager

from qoder_cli.app import App
from qoder_cli.base.errors import NotFound, NotYet, QoderError
from qoder_cli.base.ids import noun
from qoder_cli.base.model import Run
from qoder_cli.base.outcome import is_going
from qoder_cli.runs.ending import going_on
from qoder_cli.runs.observe import YOUNG
from qoder_cli.sessions.log import LAGGING, Log
from qoder_cli.sessions.showing import Selection


def log_of(app: App, run: Run, selection: Selection) -> Log:
    """Return the log of a run's session. Raises NotYet or NotFound without one."""
    if run.session_id is None:
        raise _without_session(app, run)
    young = run.created is not None and app.client.server_now() - run.created < YOUNG
    patience = LAGGING if young else 0.0
    return Log(app.client, run.session_id, thread=selection.thread, filters=selection.filters(), patience=patience)


@contextmanager
def explained(run: Run, selection: Selection) -> Iterator[None]:
    """Say of a NotFound of the API's own in this block that the session was deleted, or may not have that thread."""
    try:
        yield
    except NotFound as error:
        message = error.message
        if error.enveloped:
            became = "was deleted, along with its events"
            if selection.thread is not None:
                became = f"was deleted, or has no thread {selection.thread}"
            message = f"session {run.session_id}{'' if run.is_session else f' of run {run.id}'} {became}"
        raise error.with_(message=message, run_id=run.id, session_id=run.session_id) from error


def nothing_shown(run_id: str, selection: Selection) -> str:
    """Return the message for an empty log."""
    return f"{noun(run_id)} {run_id} has no " + ("matching events" if selection != Selection() else "events yet")


def _without_session(app: App, run: Run) -> QoderError:
    if is_going(run):
        words = f"run {run.id} ({run.status}) has no session yet, so it has no events"
        again = app.command(noun(run.id), "logs", run.id, "--follow")
        return going_on(NotYet(words, hint="to wait for them", next=again), run, app)
    why = ": ".join(filter(None, (run.error_type, run.error_message))) or run.status or "it never started"
    return NotFound(
        f"run {run.id} has no session, so it has no events: {why}",
        run_id=run.id,
        run_state="ended",
        api_type=run.error_type,
    )
