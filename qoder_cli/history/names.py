"""Find the ids of what people type: names, sessions, `last` and `DEPLOYMENT@last`."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, TypeVar

from qoder_cli.app import App
from qoder_cli.base import ids
from qoder_cli.base.errors import (
    ApiError,
    AuthError,
    NotFound,
    NotYet,
    QoderError,
    Unavailable,
    UsageError,
    WaitTimeout,
)
from qoder_cli.base.model import text
from qoder_cli.base.pool import Late, Task, in_order
from qoder_cli.base.times import parse_timestamp, span
from qoder_cli.nouns.lookup import deployment_ids_of, explain_missing
from qoder_cli.sessions.state import read_session

_LISTED = 10  # ids in an error about an ambiguous one

_PREFIX = range(9, 25)  # characters of what may be the beginning of a run's id

P = TypeVar("P")
T = TypeVar("T")
Found = dict[str, str | QoderError]  # from what was typed to the run's id


def run(word: str, app: App, *, timeout: float | None = None) -> str:
    """Return a run's id. Raises UsageError, OutcomeUnknown, WaitTimeout, ApiError."""
    [id_or_error] = runs([word], app, timeout=timeout).values()
    if isinstance(id_or_error, QoderError):
        raise id_or_error
    return id_or_error


def runs(given: Iterable[str], app: App, *, timeout: float | None = None) -> Found:
    """Return the id or error for each word, within `timeout` seconds. Raises UsageError."""
    words = [ids.run(word) for word in dict.fromkeys(given)]
    finder = _RunFinder(app, words)
    if not timeout:
        finder.find()
        return finder.found
    until = app.clock.monotonic() + timeout
    try:
        Task(finder.find).start().result_unless(lambda: app.clock.monotonic() >= until)
    except Late:
        ids_or_errors = dict(finder.found)  # before stopping causes more errors
        finder.stop()
        for word in words:
            why, next = f"run {word} was not identified within {span(timeout)}", app.command("run", "wait", word)
            late = WaitTimeout(why, hint="to resume waiting", next=next, run_state="unknown")
            ids_or_errors.setdefault(word, late)
        return ids_or_errors
    return finder.found


def _whole(word: str, app: App) -> str | QoderError:
    """Complete a short id from the runs seen here; an error if several match."""
    if len(word) not in _PREFIX:
        return word
    from qoder_cli.local.remembered import ids_with_prefix

    seen = ids_with_prefix(app.store, app.settings.host, word, noun="run")
    if not seen or word in seen:
        return word
    if len(seen) > 1:
        return UsageError(f"{word!r} matches {len(seen)} runs: {', '.join(seen[:_LISTED])}", hint="use the full id")
    app.progress.note(f"using run {seen[0]}")
    return seen[0]


class _RunFinder:
    """Finds the runs meant; `found` has the ids and errors so far."""

    def __init__(self, app: App, words: Sequence[str]) -> None:
        self._app = app
        self._words = words
        self._for_all: QoderError | None = None  # an error that all others would get
        self.found: Found = {word: _whole(word, app) for word in words if word.startswith("drun_")}

    def find(self) -> None:
        for word in self._words:
            if word in ids.LAST:
                from qoder_cli.runs.lost import last_run

                self.found[word] = self._or_error(last_run, self._app)
        of_words = {word: of for word in self._words if (of := ids.deployment_of(word))}
        deployments = list(dict.fromkeys(of_words.values()))
        try:
            ids_or_errors = deployment_ids_of(deployments, self._app)
        except ApiError as error:
            ids_or_errors = [of if of.startswith("dep_") else error for of in deployments]
        newest_runs = in_order(partial(self._or_error, self._newest), ids_or_errors)
        for deployment, newest in zip(deployments, newest_runs, strict=True):
            self.found |= {word: newest for word, of in of_words.items() if of == deployment}
        session_ids = [word for word in self._words if word.startswith("sess_")]
        sessions = in_order(partial(self._or_error, self._session), session_ids)
        of_deployment: dict[str, dict[str, Any]] = {}  # to sessions and their creation
        for id, session in zip(session_ids, sessions, strict=True):
            if isinstance(session, QoderError):
                self.found[id] = session
            else:
                of_deployment.setdefault(str(session["deployment_id"]), {})[id] = session.get("created_at")
        for deployment_id, of_it in of_deployment.items():
            self._look_in_deployment(deployment_id, of_it)

    def stop(self) -> None:
        """Send no more requests: a thread in `find` leaves it soon."""
        self._for_all = NotYet("gave up")

    def _or_error(self, look: Callable[[P], T], given: P) -> T | QoderError:
        """Return what `look` finds, or its error. One that hits any request is kept."""
        if self._for_all is not None:
            return self._for_all
        try:
            return look(given)
        except QoderError as error:
            if isinstance(error, Unavailable) or (isinstance(error, AuthError) and error.http_status == 401):
                self._for_all = error
            return error

    def _newest(self, deployment_id: str | QoderError) -> str:
        """Return the newest run of a deployment, by a list that no proxy has kept. Raises QoderError."""
        from qoder_cli.history.listed import newest_runs

        if isinstance(deployment_id, QoderError):
            raise deployment_id
        try:
            newest = newest_runs(self._app.client, deployment_id, fresh=True)
            newest = newest or newest_runs(self._app.client, deployment_id, fresh=True, must_say=True)
        except NotFound as error:
            raise explain_missing(error, deployment_id, self._app) from None
        if not newest:
            hint = f"to start one: qoder deploy run {deployment_id}"
            raise NotFound(f"deployment {deployment_id} has no runs yet", hint=hint)
        return newest[0].id

    def _session(self, id: str) -> dict[str, Any]:
        """Return a session that belongs to a deployment. Raises ApiError."""
        try:
            session = read_session(self._app.client, id)
        except NotFound as error:
            raise error.with_(hint=f"{error.hint}; list them: qoder session list").about(f"session {id}") from None
        if text(session.get("deployment_id")) is None:
            why = f"session {id} does not belong to a deployment, so it has no run"
            raise NotFound(why, hint=f"use qoder session ({self._app.settings.asked})")
        return session

    def _look_in_deployment(self, deployment_id: str, sessions: dict[str, Any]) -> None:
        """Look for sessions in a deployment's runs, back to the oldest of them."""
        from qoder_cli.history.listed import pages_of_runs
        from qoder_cli.history.window import Window

        wanted, times = set(sessions), [parse_timestamp(created) for created in sessions.values()]
        dated = list(filter(None, times))
        # A session and its run differ in age by less than the window is widened by.
        window = Window(min(dated) if dated and len(dated) == len(times) else None, None)

        def look(deployment_id: str) -> None:
            for page in pages_of_runs(self._app.client, deployment_id, window):
                for listed in page:
                    if listed.session_id in wanted:
                        self.found[listed.session_id] = listed.id
                        wanted.discard(listed.session_id)
                if not wanted:
                    break

        failure = self._or_error(look, deployment_id)
        for id in wanted:
            why = f"no run of deployment {deployment_id} has the session {id}"
            self.found[id] = failure or NotFound(why, hint=self._app.settings.asked)
