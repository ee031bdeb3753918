"""`--if-idle`: find a run of a deployment that is going, in at most five requests.

Going is read from lists by status, whatever the history: the runs that are running or pending, where runs have a
status, else the deployment's sessions that are running or rescheduling. A session at rest may wait for an answer:
the newest three are asked. What cannot be told starts nothing. Not a lock.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, AuthError, NotFound, QoderError, RunSkipped, Unavailable
from qoder_cli.base.ids import segment
from qoder_cli.base.model import GOING, Run, mapping, says_whether_more, text
from qoder_cli.base.outcome import ENDING_EVENTS, Standing, apply_asks, apply_ending, fill_status, may_wait, standing
from qoder_cli.runs.ending import going_on
from qoder_cli.sessions.log import Log, is_last
from qoder_cli.sessions.story import read_story, story_of

MOST_REQUESTS = 5
NEWEST = 100  # rows: one page
ASKED = 3  # sessions at rest
GONE_AFTER = 300.0  # seconds of a run's age after which a session that is not found is gone
MOVING = ("running", "rescheduling")  # what is asked for; any other word but those at rest may be at work, too
AT_REST = ("idle", "terminated", "archived")


def find_going(app: App, deployment_id: str) -> Run | None:
    """Return a run of the deployment that is going, or may be; None if it is idle.

    Raises ApiError, with exit code 7 where it cannot be told; RunSkipped if a session works whose run is not
    among the newest 100.
    """
    lists = _RunLists(app, deployment_id)
    newest, is_whole = lists.runs()
    try:
        return lists.going(newest, is_whole=is_whole)
    except (AuthError, IdleUnknown):
        raise
    except ApiError as error:
        lists.give_up(error.message, error)


def already_going(run: Run, app: App) -> QoderError:
    """Return the error that nothing was started because this run is going."""
    error = RunSkipped(f"nothing was started: run {run.id} is still running", hint="to wait for it")
    return going_on(error, run, app)


class IdleUnknown(Unavailable):
    """It is unknown whether a deployment is idle."""


class _RunLists:
    """Reads the lists of one deployment, while requests are left."""

    def __init__(self, app: App, deployment_id: str) -> None:
        self._app = app
        self._id = deployment_id
        self._left = MOST_REQUESTS

    def going(self, newest: list[Run], *, is_whole: bool) -> Run | None:
        """Return what is going, by the first page of the runs and what else is to be read. Raises ApiError."""
        if going := next((run for run in newest if standing(run) in (Standing.GOING, Standing.HALF_WRITTEN)), None):
            return fill_status(going)
        newest = [*{run.id: run for run in newest}.values()]  # a list may repeat a run
        have_status = any(run.status is not None for run in newest)
        if have_status and not is_whole:
            for status in sorted(GOING):
                runs, is_all = self.runs(status=status)
                if going := next((run for run in runs if standing(run) is Standing.GOING), None):
                    return fill_status(going)
                if runs:
                    self.give_up("the run list cannot be filtered by status")
                if not is_all:
                    self.give_up("the run list is incomplete")
        by_session = [run for run in newest if standing(run) is Standing.ASK_SESSION]
        if not by_session and (is_whole or have_status):
            return None
        created = [run.created or 0.0 for run in newest]
        if not is_whole and (0.0 in created or created != sorted(created, reverse=True)):  # not the newest first
            self.give_up("the run list is not in its order")
        if len(by_session) > ASKED and any(run.created is None for run in by_session):
            self.give_up("the run list does not say when its runs were created")
        by_session.sort(key=lambda run: run.created or 0.0, reverse=True)  # a whole list may have another order
        if going := self._in_moving_session(newest):
            return fill_status(going)
        if not is_whole and len(newest) < NEWEST and len(by_session) < ASKED:  # a page may be short, or empty
            self.give_up("the first page of the run list does not show its newest runs")
        for run in by_session[:ASKED]:
            if going := self._unended(run):
                return going
        return None

    def runs(self, **filters: str) -> tuple[list[Run], bool]:
        """Return the first page of the runs, newest first, and whether that is all. Raises ApiError."""
        page = next(self._pages(f"/deployments/{segment(self._id)}/runs", {"limit": NEWEST, **filters}))
        runs = []
        for row in page["data"]:
            if (run := Run.read(row)) is None:
                self.give_up("the run list shows something that is not a run")
            if run.deployment_id not in (None, self._id):
                self.give_up("the run list shows runs of another deployment")
            runs.append(run)
        if not says_whether_more(page):
            self.give_up("the run list does not say whether it is complete")
        return runs, is_last(page)

    def _in_moving_session(self, newest: list[Run]) -> Run | None:
        """Return the run whose session is at work; None if no session of the deployment is.

        Raises RunSkipped for a session at work without a run here.
        """
        query = {"deployment_id": self._id, "statuses[]": MOVING, "limit": NEWEST, "include_archived": "true"}
        page = next(self._pages("/sessions", query))
        runs = {run.session_id: run for run in reversed(newest)}
        for session in map(mapping, page["data"]):
            id, status = text(session.get("id")), text(session.get("status"))
            is_ours = session.get("deployment_id") == self._id or id in runs
            if id and is_ours and status and status not in AT_REST:
                if id in runs:
                    return runs[id]
                raise RunSkipped(
                    f"nothing was started: session {id} of {self._id} is running, and does not belong to "
                    f"the newest {NEWEST} runs",
                    hint="to see it",
                    next=self._app.command("session", "get", id),
                    session_id=id,
                    run_state="unknown",
                )
        if page["data"] or not (says_whether_more(page) and is_last(page)):
            self.give_up(
                "the list of sessions does not show just those of this deployment that are at work, or not all"
            )
        return None

    def _unended(self, run: Run) -> Run | None:
        """Return a run that has not ended by its session's events, with what it waits for; None if it has."""
        story = story_of(run, self._app.client.server_now())
        try:
            log = Log(self._app.client, run.session_id or "", pages=self._pages)
            read_story(log, story, types=ENDING_EVENTS)
        except NotFound as error:
            age = self._app.client.server_now() - (run.created or math.inf)
            is_gone = error.enveloped and age > GONE_AFTER  # and what is gone does not work
            return None if is_gone else fill_status(run)
        if story.ending is not None:
            if may_wait(apply_ending(run, story.ending)):
                self.give_up(f"why {run.called} stopped cannot be read, so it may wait for an answer")
            return None
        if story.asks:
            return apply_asks(run, story.asks)
        return fill_status(run)

    def _pages(self, path: str, query: Mapping[str, Any], **how: object) -> Iterator[dict[str, Any]]:
        """Yield the pages of a list that no proxy has kept, while requests are left. Raises ApiError."""
        pages = self._app.client.pages(path, query, fresh=True)
        is_over = False
        while not is_over:
            if not self._left:
                self.give_up(f"that takes more than {MOST_REQUESTS} requests")
            self._left -= 1
            page = next(pages)
            is_over = is_last(page)
            yield page

    def give_up(self, why: str, cause: ApiError | None = None) -> NoReturn:
        """Raise the error that it cannot be told."""
        message = f"cannot tell whether {self._id} is idle: {why.rstrip('.')}; nothing was started"
        next = self._app.command("run", "list", self._id)
        raise IdleUnknown(message, hint="try again later, or look at its runs", next=next, cause=cause) from cause
