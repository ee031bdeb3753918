"""Read one run until its ending is known, with as few requests as possible."""

import math
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import replace
from functools import cache, partial
from itertools import count
from typing import TYPE_CHECKING, Any

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, NoResponse, NotFound, QoderError
from qoder_cli.base.ids import segment
from qoder_cli.base.model import GOING, Run, mapping
from qoder_cli.base.outcome import (
    ASKS_FOR,
    FINAL,
    SESSION_ARCHIVED,
    SESSION_DELETED,
    Ending,
    Standing,
    apply_asks,
    apply_ending,
    fill_status,
    is_going,
    standing,
)
from qoder_cli.base.polling import doubling, poll
from qoder_cli.base.times import unix
from qoder_cli.sessions.log import LAGGING, Log
from qoder_cli.sessions.state import (
    AT_WORK,
    DISAGREEMENT_AFTER,
    THREADS_EVERY,
    SessionReading,
    SessionState,
    TurnJudge,
    read_session,
    session_of,
)
from qoder_cli.sessions.story import Story, read_story, story_of, turn_story

if TYPE_CHECKING:
    from qoder_cli.http.client import Client

YOUNG = 60.0  # seconds since a run was created in which its session may not have reached every replica
USAGE_WITHIN = 1.0  # seconds to read what the session used, which decides nothing
LAG_PAUSE = 1.0  # seconds between two looks for what a replica does not show yet, doubling
LONGEST_LAG_PAUSE = 8.0
LONGEST_RUN = 26 * 3600.0  # seconds; a session lasts no longer (api.md#limits)
MOST_MOVES = 4  # sessions that a run may name, one after the other, in one look
HALF_WRITTEN_READS = 3
HALF_WRITTEN_PAUSE = 1.0  # seconds; three reads in two seconds


class Observer:
    """One run, and how much of its session's story is known.

    `run`: the newest reading, its status filled in; None before the first.
    `is_fresh`: a run that the server does not show may not have reached every replica yet. A session's turn is observed
    by the `state` of the session, which has a judge; it is asked for by its own id.
    `asks_a_person`: somebody, or a policy, is there to be asked, so an ask counts since its own time, not since it was
    seen, and is looked for more often where a status does not show it.
    `needs_proof`: a stop whose reason cannot be read does not end it, for it may wait for an answer.
    """

    asks_a_person = False
    needs_proof = False

    def __init__(
        self,
        client: "Client",
        run_id: str,
        *,
        run: Run | None = None,
        adopted: bool = False,
        is_fresh: Callable[[str], bool] = lambda run_id: False,
        state: SessionState | None = None,
    ) -> None:
        self.run_id = run_id
        self.adopted = adopted
        self._is_fresh = is_fresh
        self._session: dict[str, Any] | None = None  # see take_session
        self._client = client
        self.state = state or SessionState(Log(client, ""), Story())
        self._going_since: float | None = None
        self._rest_heard = False  # whether its session was heard to rest, and not read since
        self._replied_at = -math.inf  # when an ask was last assumed to be answered
        self._warned: set[str] = set()
        self.unconfirmed: tuple[Run, SessionReading] | None = None  # what a session told, before the run is read again
        self.run: Run | None = None
        if run is not None:
            self._keep(fill_status(run))

    def _keep(self, run: Run) -> None:
        self.adopted |= run.adopted
        self.run = replace(run, adopted=self.adopted)
        self._session_of(run)

    @property
    def ended(self) -> bool:
        """Whether its ending is known, or never will be."""
        return self.run is not None and not is_going(self.run)

    @property
    def asks_since(self) -> float | None:
        """Since when the agent has waited for an answer, by the monotonic clock; None if it does not."""
        if self.state.asks is None or self.ended:
            return None
        asks, seen = self.state.asks
        if not self.asks_a_person or asks.since is None:
            return seen
        began = self._client.clock.monotonic() - (self._client.server_now() - asks.since)
        return min(max(began, self._replied_at), seen)

    @property
    def asks_in(self) -> float:
        """The seconds until a person is to be asked, unless the agent goes on by itself; 0 if nobody is, or now."""
        since = self.asks_since
        if since is None or not self.asks_a_person:
            return 0.0
        return max(since + ASKS_FOR - self._client.clock.monotonic(), 0.0)

    @property
    def needs_answer(self) -> bool:
        """Whether the agent has waited so long that it will not go on by itself."""
        since = self.asks_since
        return since is not None and self.state.asked_until - since >= ASKS_FOR

    def forget_asks(self) -> None:
        """Assume that the ask was answered: if it still stands, it counts as new."""
        self.state.forget_asks()
        self._replied_at = self._client.clock.monotonic()

    def note_rest(self) -> None:
        """Take note that its session was heard to rest, perhaps to ask."""
        self._rest_heard = True

    def look(self, *, within: float | None = None, retry: bool = False, confirms: bool = True) -> Run:
        """Read what tells whether the run has ended, `within` seconds a request. Raises ApiError.

        Before its session decides, the run is read again: it may name another session by now. Unless this look itself
        `confirms` so, it leaves that to `confirm`.
        """
        raw, self.unconfirmed = Run(self.run.raw) if self.run else None, None
        is_read = False
        if raw is None or standing(raw) in (Standing.GOING, Standing.HALF_WRITTEN):
            raw, is_read = self._read_run(within, retry), True
        for _ in range(MOST_MOVES):
            self._put(raw)
            if standing(raw) is not Standing.ASK_SESSION:
                break
            reading = self._session_of(raw).ask(within=within, retry=retry)
            if reading.ending is None and reading.error is None and not reading.is_silent:
                return self._take_reading(raw, reading)
            if not (is_read or confirms):
                self.unconfirmed = raw, reading
                break
            again = raw if is_read else self._read_again(raw, within, retry)
            if again.session_id == raw.session_id and standing(again) is Standing.ASK_SESSION:
                return self._take_confirmed(raw, reading, within)
            raw, is_read = again, False
        else:
            raise NoResponse(f"run {self.run_id} names another session each time it is read")
        if standing(raw) is Standing.GOING:
            self._check_session(raw, within, retry)
        else:
            self._warn_if_unrecognised(raw)
        return self._shown()

    def confirm(self, again: Run | None, *, within: float | None = None) -> Run:
        """Take what its session told, if the run still names that session: as a list shows it now, or it is read again.

        Raises ApiError.
        """
        assert self.unconfirmed is not None  # it is called after a look that left that open
        (run, reading), self.unconfirmed = self.unconfirmed, None
        if again is None:
            again = self._read_again(run, within, retry=False)
        if again.session_id == run.session_id and standing(again) is Standing.ASK_SESSION:
            return self._take_confirmed(run, reading, within)
        self._put(again)
        return self.look(within=within)

    def _take_confirmed(self, run: Run, reading: SessionReading, within: float | None) -> Run:
        """Take what a session told. If a silent one is archived and not at work, its run will never end."""
        if reading.is_silent and reading.ending is None and reading.error is None:
            with suppress(ApiError):
                session = read_session(self._client, run.session_id or "", within=within, retry=False)
                archived_at, now = session.get("archived_at"), self._client.server_now()
                is_over = bool(archived_at) and session.get("status") not in AT_WORK
                if is_over and now - (unix(archived_at) or 0.0) >= DISAGREEMENT_AFTER:
                    reading = reading._replace(ending=SESSION_ARCHIVED)
        return self._take_reading(run, reading)

    def _shown(self) -> Run:
        assert self.run is not None  # it was put there before
        return self.run

    def _take_reading(self, run: Run, reading: SessionReading) -> Run:
        """Take in what was read of a run's session. Raises its error."""
        if reading.error is not None:
            raise reading.error
        if reading.ending is not None:
            self._conclude(run, reading.ending)
        elif self.state.asks:
            self._keep(apply_asks(run, self.state.asks[0]))
        return self._shown()

    def _put(self, run: Run) -> None:
        """Keep a reading, with what its session waits for."""
        self._keep(fill_status(run))
        if self.state.asks and not self.ended:
            self._keep(apply_asks(run, self.state.asks[0]))

    def take(self, run: Run) -> None:
        """Take a run from a list. Only `look` deals with a status that lags behind its session."""
        if not self.ended:
            self._put(run)
            self._warn_if_unrecognised(run)
            if standing(run) is Standing.GOING and self._going_since is None:
                self._going_since = self._client.clock.monotonic()

    def take_session(self, session: dict[str, Any] | None) -> None:
        """Take a session at rest from a list, which saves asking what it used; None if the session has gone on."""
        self._session = session

    def take_working(self, session: dict[str, Any]) -> float:
        """Take a session at work from a list. Return after how many seconds to look whether a sub-agent asks."""
        self.state.sub_agents.note(session)
        if self.state.asks is not None:
            return ASKS_FOR
        if self.state.sub_agents.are_there:
            return THREADS_EVERY
        return math.inf

    def reread(self, run: Run) -> Run:
        """Ask the session of a run from a list once. Return the run as that tells it. Raises ApiError."""
        try:
            self._take_reading(run, self._session_of(run).ask(within=None, retry=True))
        except NotFound as error:
            if error.enveloped and self._age(run) > LONGEST_RUN:
                self._keep(apply_ending(run, SESSION_DELETED))
            elif self._age(run) >= YOUNG:
                raise
        return self._shown()

    def read_if_unclear(self, started: Run) -> Run:
        """Return a run that was started; read now, if the response said too little and the run can be read."""
        if self.adopted or standing(started) is Standing.HALF_WRITTEN:
            with suppress(ApiError):
                return self.read_once()
        return self._shown()

    def read_once(self) -> Run:
        """Read without waiting: a half-written run three times, a 404 for 30 s. Raises ApiError."""
        clock = self._client.clock
        for reads in count(1):
            may_pass = partial(self._may_pass, until=clock.monotonic() + LAGGING + LONGEST_LAG_PAUSE)
            pauses = doubling(LAG_PAUSE, LONGEST_LAG_PAUSE)
            run = poll(partial(self.look, retry=True), clock, pauses=pauses, may_pass=may_pass)
            if standing(Run(run.raw)) is not Standing.HALF_WRITTEN or reads == HALF_WRITTEN_READS:
                break
            clock.sleep(HALF_WRITTEN_PAUSE)
        return run

    def _may_pass(self, error: QoderError, *, until: float) -> bool:
        """Return whether an error may come of a replica that lags. Say that the run is read again then."""
        if self._client.clock.monotonic() > until or not isinstance(error, NotFound):
            return False
        if not (self.may_lag or self.state.missing):
            return False
        self._client.progress.note(f"{error.message.rstrip('.')}; retrying for {LAGGING:.0f}s")
        return True

    @property
    def may_lag(self) -> bool:
        """Whether the run is so young that a replica may not know it, or its session."""
        return self._age(self.run) < YOUNG if self.run else self._is_fresh(self.run_id)

    def _read_run(self, within: float | None, retry: bool) -> Run:
        try:
            answer = self._client.get(f"/deployment_runs/{segment(self.run_id)}", within=within, retry=retry)
        except NotFound as error:
            hint = f"{error.hint}; list them: qoder run list"
            raise error.with_(hint=hint).about(f"run {self.run_id}") from None
        run = Run.read(answer)
        if run is None or run.id != self.run_id:
            raise NoResponse(f"the response is not run {self.run_id}")
        return run

    def _read_again(self, run: Run, within: float | None, retry: bool) -> Run:
        """Return the run as it is now, before its session decides. Raises ApiError."""
        if self.state.judge:
            return run
        self.state.quiet_since = self._client.clock.monotonic()
        return self._read_run(within, retry)

    def _conclude(self, run: Run, ending: Ending) -> None:
        self._keep(apply_ending(run, ending))  # kept first, in case reading the usage fails
        if self.state.judge is None:
            session = self._session
            if ending is SESSION_DELETED:
                session = {}
            elif session is None:  # it says what it used at once, or not: that decides nothing
                with suppress(ApiError):
                    session = read_session(self._client, run.session_id or "", within=USAGE_WITHIN, retry=False)
            self._keep(apply_ending(run, ending, usage=mapping(mapping(session).get("usage"))))
        elif session := self.state.judge.reread(USAGE_WITHIN):
            self._keep(apply_ending(Run(session), ending))

    def _session_of(self, run: Run) -> SessionState:
        if run.session_id and run.session_id != self.state.log.session_id:
            now = self._client.clock.monotonic()
            log, story = Log(self._client, run.session_id), story_of(run, self._client.server_now())
            story.needs_proof = self.needs_proof
            self.state = SessionState(log, story, quiet_since=now)
        return self.state

    def _age(self, run: Run) -> float:
        """Return a run's age in seconds on the server's clock; without a time, the limit itself."""
        return YOUNG if run.created is None else self._client.server_now() - run.created

    def _check_session(self, run: Run, within: float | None, retry: bool) -> None:
        """Once a minute, ask the session of a run whose status does not change.

        It overrules the status only after a minute at rest.
        """
        now = self._client.clock.monotonic()
        self._warn_if_unrecognised(run)
        if self._going_since is None:
            self._going_since = now
        state = self._session_of(run)
        due = max(self._going_since, state.checked) + DISAGREEMENT_AFTER
        if self.asks_a_person:
            due = max(self._going_since, state.checked) + ASKS_FOR
        since = self.asks_since
        if since is not None and since + ASKS_FOR > state.checked:
            due = min(due, since + ASKS_FOR)
        if self._rest_heard and self.asks_a_person:
            due = now
        if now < due or not run.session_id:
            return
        state.checked, self._rest_heard = now, False
        try:
            read_story(state.log, state.story, within=within, retry=retry, whole=True)
        except ApiError:
            return  # the run itself was heard; its session is asked again in a minute
        state.take_note()
        if state.rests and now - state.rests[1] >= DISAGREEMENT_AFTER:
            self._conclude(run, state.rests[0].ending)
            self._warn(
                f"run {run.id} is still {run.status!r} on the server, but its session ended; "
                "reporting the session's outcome"
            )
        else:
            self._put(run)

    def _warn_if_unrecognised(self, run: Run) -> None:
        if run.status in (None, *FINAL, *GOING):
            return
        if standing(run) is Standing.ENDED:
            self._warn(f"run {run.id} ended with the unrecognised status {run.status!r}: treated as failed")
        else:
            self._warn(f"run {run.id} has the unrecognised status {run.status!r}: treated as still running")

    def _warn(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            self._client.progress.warn(message)


def observer_of(app: App, run_id: str, *, run: Run | None = None) -> Observer:
    """Return the observer of the run that a command is about. A run once adopted here stays adopted."""
    adopted = run_id in app.store.adopted(app.settings.host)
    observer = app.tracked.observer = Observer(app.client, run_id, run=run, adopted=adopted, is_fresh=freshness(app))
    return observer


def turn_observer(
    app: App,
    session: dict[str, Any],
    *,
    before: Collection[str] = (),
    after: Collection[str] = (),
    is_new: bool = False,
) -> Observer:
    """Return the observer of the turn after the events `after`, else of the last turn.

    `before` are the keys of earlier events. Of a session that `is_new`, the first turn is meant.
    """
    story = Story() if is_new else turn_story(before=before, after=after)
    id = str(session["id"])
    state = SessionState(Log(app.client, id), story, TurnJudge(app.client, session))
    observer = app.tracked.observer = Observer(app.client, id, run=Run(session), state=state)
    return observer


def any_observer(app: App, id: str) -> Observer:
    """Return the observer of a run or of a session. Raises ApiError."""
    if id.startswith("sess_"):
        return turn_observer(app, session_of(app, id))
    return observer_of(app, id)


def freshness(app: App) -> Callable[[str], bool]:
    """Return a test for runs triggered here so lately that a replica may not know them."""

    @cache
    def triggered_lately() -> set[str | None]:
        since = app.clock.now() - YOUNG
        return {entry.run for entry in app.store.entries(app.settings.host, since=since) if entry.attempt.at > since}

    return lambda run_id: run_id in triggered_lately()
