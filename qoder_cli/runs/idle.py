"""`--if-idle`: find a run of a deployment that is going, in at most five requests.

In doubt, a run counts as going: a run too many costs more than one too few. Not a lock.
"""

import math
from collections.abc import Sequence
from typing import Any

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, AuthError, NotFound, QoderError, RunSkipped
from qoder_cli.base.model import Run, mapping, text
from qoder_cli.base.outcome import AGENT_EVENTS, ENDING_EVENTS, SessionStory, Standing, settle, standing
from qoder_cli.http.client import Client
from qoder_cli.runs.ending import going_on
from qoder_cli.runs.listed import pages_of_runs
from qoder_cli.runs.observe import YOUNG
from qoder_cli.sessions.story import PAGE, is_last, pages_of_events, story_of

MOST_REQUESTS = 5
NEWEST = 100  # runs: one page
GONE_AFTER = 300.0  # seconds of a run's age after which a session that is not found is gone
MOVING = ("running", "rescheduling")  # what is asked for; but those at rest, any may be at work
AT_REST = ("idle", "terminated", "archived")


def find_going(app: App, deployment_id: str) -> Run | None:
    """Return a run of the deployment that is going, or may be; None if it is idle.

    A run whose session rests may wait for an answer: the newest are asked, as the requests allow.
    Raises ApiError; RunSkipped if a session works that belongs to none of the newest 100 runs.
    """
    client = app.client
    newest = next(pages_of_runs(client, deployment_id, NEWEST, fresh=True))
    runs = sorted(newest, key=lambda run: run.created or math.inf, reverse=True)
    open_runs = []
    for run in runs:
        match standing(run):
            case Standing.GOING | Standing.HALF_WRITTEN:
                return settle(run)
            case Standing.ASK_SESSION:
                open_runs.append(run)
    stories = _Stories(client, left=MOST_REQUESTS - 1)
    if len(open_runs) <= stories.left:
        return next((settle(run) for run in open_runs if not stories.has_ended(run)), None)
    stories.left -= 1
    sessions, is_all = _sessions(client, deployment_id)
    moving = {id: row for id, row in sessions.items() if text(row.get("status")) not in AT_REST}
    old = client.server_now() - YOUNG  # younger runs' sessions may not be listed yet

    def may_move(run: Run) -> bool:
        """Return whether its session is, or may be, at work."""
        is_seen = is_all or run.session_id in sessions
        return run.session_id in moving or not is_seen or (run.created or math.inf) > old

    for run in sorted(open_runs, key=may_move, reverse=True):
        if (stories.left or may_move(run)) and not stories.has_ended(run):
            return settle(run)
    known = {run.session_id for run in runs}
    for session_id, row in moving.items():
        is_other = row.get("deployment_id") == deployment_id and session_id not in known
        if is_other and not stories.ended(session_id, SessionStory()):
            raise RunSkipped(
                f"nothing was started: session {session_id} of {deployment_id} is running, and does not belong to "
                f"the newest {NEWEST} runs",
                hint="to see it",
                next=app.command("run", "list", deployment_id),
                session_id=session_id,
                run_state="unknown",
            )
    return None


def already_going(run: Run, app: App) -> QoderError:
    """Return the error that nothing was started because this run is going."""
    error = RunSkipped(f"nothing was started: run {run.id} is still running", hint="to wait for it")
    return going_on(error, run, app)


def _sessions(client: Client, deployment_id: str) -> tuple[dict[str, dict[str, Any]], bool]:
    """Return the sessions listed at work, by id, and whether these are all."""
    query = {"deployment_id": deployment_id, "statuses[]": MOVING, "limit": NEWEST, "include_archived": "true"}
    try:
        page = next(client.pages("/sessions", query, fresh=True))
    except AuthError:
        raise
    except ApiError:
        return {}, False
    rows = list(map(mapping, page["data"]))
    rows.sort(key=lambda row: text(row.get("status")) not in AT_REST)  # the one at work counts
    found = {id: row for row in rows if (id := text(row.get("id")))}
    return found, is_last(page) and len(found) == len(rows)


class _Stories:
    """Asks sessions for their first ending, while requests are `left`."""

    def __init__(self, client: Client, *, left: int) -> None:
        self._client = client
        self.left = left

    def has_ended(self, run: Run) -> bool:
        try:
            return self.ended(run.session_id or "", story_of(run, self._client.server_now()))
        except NotFound as error:
            is_old = self._client.server_now() - (run.created or math.inf) > GONE_AFTER
            return error.enveloped and is_old  # a missing session does not work

    def ended(self, session_id: str, story: SessionStory) -> bool:
        is_whole = self._tell(session_id, story, ENDING_EVENTS)
        if is_whole and story.judged.is_unclear and not story.ending:
            # Only the agent's own events show whether it ever worked.
            self._tell(session_id, story, (*ENDING_EVENTS, *AGENT_EVENTS))
        return story.ending is not None

    def _tell(self, session_id: str, story: SessionStory, types: Sequence[str]) -> bool:
        """Add a story's first page of events. Return whether that is all."""
        if not self.left:
            return False
        self.left -= 1
        query: dict[str, Any] = {"types[]": tuple(types), "limit": PAGE, "order": "asc"}
        page = next(pages_of_events(self._client, session_id, query, fresh=True))
        story.tell(page["data"])
        return is_last(page)
