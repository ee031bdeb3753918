"""Reading one run until its ending is known, with the least that has to be asked."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from qoder_cli.errors import ApiError, Exit, NoAnswer, NotFound
from qoder_cli.ids import segment
from qoder_cli.model import Run, mapping, text
from qoder_cli.outcome import (
    AGENT_EVENTS,
    ENDING_EVENTS,
    SESSION_DELETED,
    Ending,
    SessionStory,
    Standing,
    apply_ending,
    is_strange,
    settle,
    standing,
    verdict,
)
from qoder_cli.output.progress import Progress
from qoder_cli.times import parse_timestamp

if TYPE_CHECKING:
    from qoder_cli.http.client import Client
    from qoder_cli.state import State

DISAGREEMENT_AFTER = 60.0  # seconds a status may stay behind its session before the session is asked, and between asks
LONGEST_SILENCE = 300.0  # seconds without a word from the server until sight of a run is lost
LAGGING = 30.0  # seconds for which a replica may not have heard of a run or a session yet
YOUNG = 60.0  # seconds since a run was created in which its session may not have reached every replica
USAGE_WITHIN = 1.0  # seconds to be told what the session used, which decides nothing
LAG_PAUSE = 1.0  # seconds between two looks for what a replica does not show yet
HALF_WRITTEN_READS = 3
HALF_WRITTEN_PAUSE = 1.0  # seconds; three reads in two seconds


class Observer:
    """One run, and how much of its session's story is known already.

    `run` is the newest reading, settled (its status filled in where the server sent none); None before the first.
    `adopted` says that its trigger's answer was lost, `is_fresh` whether a run that the server does not show may just
    not have reached every replica yet.
    """

    def __init__(
        self,
        client: "Client",
        run_id: str,
        *,
        run: Run | None = None,
        adopted: bool = False,
        is_fresh: Callable[[str], bool] = lambda run_id: False,
        progress: Progress,
    ) -> None:
        self.run_id = run_id
        self.adopted = adopted
        self._is_fresh = is_fresh
        self.session: dict[str, Any] | None = None  # as a list showed it at rest, which saves asking what it used
        self._run = settle(run) if run else None
        self._client = client
        self._progress = progress
        self._story = SessionStory()
        self._read_to: str | None = None  # the last session event read
        self._going_since: float | None = None
        self._session_asked = 0.0
        self._warned: set[str] = set()

    @property
    def run(self) -> Run | None:
        """The newest reading."""
        return replace(self._run, adopted=True) if self._run and self.adopted else self._run

    @property
    def read_to(self) -> str | None:
        """The id of the last session event read, from where a stream can go on."""
        return self._read_to

    @property
    def worked(self) -> bool:
        """Whether the session is known to have begun its work."""
        return self._story.worked

    @property
    def ended(self) -> bool:
        """Whether the ending, or that it cannot be known, is known."""
        if self._run is None:
            return False
        return verdict(self._run) is not Exit.NOT_YET

    def look(self, *, within: float | None = None, retry: bool = False) -> Run:
        """Ask what is needed to know whether the run has ended, and return the newest reading.

        `within` is the longest time for one request in seconds. Raises ApiError; NotFound also for the session of a
        run so young that its replica may lag.
        """
        raw = Run(self.run.raw) if self.run else None
        if raw is None or standing(raw) in (Standing.GOING, Standing.HALF_WRITTEN):
            raw = self._read_run(within, retry)
        self._run = settle(raw)
        match standing(raw):
            case Standing.ASK_SESSION:
                self._ask_session(raw, within, retry)
            case Standing.GOING:
                self._mind_disagreement(raw, within, retry)
            case _:
                self._mind_strange(raw)
        return self.run or self._run

    def take(self, run: Run) -> None:
        """Take in what a list shows of the run; a status that stays behind its session is minded by `look` alone."""
        if not self.ended:
            self._run = settle(run)
            self._mind_strange(run)
            if standing(run) is Standing.GOING and self._going_since is None:
                self._going_since = self._client.clock.monotonic()

    def reread(self, run: Run) -> bool:
        """Return whether a run that a list showed has ended, asking no more than its session. Raises ApiError."""
        if standing(run) is Standing.ASK_SESSION:
            with suppress(NotFound):  # a session that replicas do not know yet is going on
                self._ask_session(run, None, True)
        return self.ended

    def read_once(self) -> Run:
        """Read without waiting for the run: with retries, and a half-written one three times in two seconds.

        A 404 is read again for 30 s while replicas may lag. Raises ApiError.
        """
        run = self._look_past_lag()
        for _ in range(HALF_WRITTEN_READS - 1):
            if standing(Run(run.raw)) is not Standing.HALF_WRITTEN:
                break
            self._client.clock.sleep(HALF_WRITTEN_PAUSE)
            run = self._look_past_lag()
        return run

    def _look_past_lag(self) -> Run:
        clock = self._client.clock
        began = clock.monotonic()
        while True:
            try:
                return self.look(retry=True)
            except NotFound:
                if not self.may_lag or clock.monotonic() - began >= LAGGING:
                    raise
            clock.sleep(LAG_PAUSE)

    @property
    def may_lag(self) -> bool:
        """Whether the run is so young that a replica may not have heard of it, or of its session."""
        return self._is_young(self._run) if self._run else self._is_fresh(self.run_id)

    def _read_run(self, within: float | None, retry: bool) -> Run:
        try:
            answer = self._client.get(f"/deployment_runs/{segment(self.run_id)}", within=within, retry=retry)
        except NotFound as error:
            error.hint = f"qoder run list shows what there is; {error.hint}"
            raise error.about(f"run {self.run_id}") from None
        run = Run.read(answer)
        if run is None or run.id != self.run_id:
            raise NoAnswer(f"the server answered for run {self.run_id} with something that is not that run")
        return run

    def _ask_session(self, run: Run, within: float | None, retry: bool) -> None:
        try:
            self._read_story(run, within, retry)
        except NotFound:
            if self._is_young(run):
                raise
            self._story.ending = self._story.ending or SESSION_DELETED
        if ending := self._story.ending:
            self._run = apply_ending(run, ending)  # known, whatever comes of asking what it cost
            self._run = apply_ending(run, ending, usage=self._usage(run, ending))

    def _read_story(self, run: Run, within: float | None, retry: bool) -> None:
        """Read on where the last look ended, up to the first ending."""
        self._take_events(run, ENDING_EVENTS, within, retry)
        if self._story.idled_early and not self._story.worked and not self._story.ending:
            # It went idle and nothing says that it ever ran: only the agent's own events can tell.
            events = f"/sessions/{segment(run.session_id or '')}/events"
            page = self._client.get(events, {"types[]": AGENT_EVENTS, "limit": 1}, within=within, retry=retry)
            first = next((event for event in _items(page) if str(event.get("type")).startswith("agent.")), None)
            if first and text(first.get("id")):
                self._story = SessionStory(worked=True)
                self._read_to = text(first.get("id"))
                self._take_events(run, ENDING_EVENTS, within, retry)

    def _take_events(self, run: Run, types: tuple[str, ...], within: float | None, retry: bool) -> None:
        query: dict[str, Any] = {"types[]": types, "limit": 100, "order": "asc"}
        if self._read_to:
            query["after_id"] = self._read_to
        path = f"/sessions/{segment(run.session_id or '')}/events"
        for page in self._client.pages(path, query, within=within, retry=retry):
            events = _items(page)
            self._story.tell(events)
            last = text(page.get("last_id")) or (text(events[-1].get("id")) if events else None)
            self._read_to = last or self._read_to
            if self._story.ending and not self._story.waits_for_action:
                return

    def _is_young(self, run: Run) -> bool:
        created = parse_timestamp(run.raw.get("created_at"))
        return created is not None and self._client.server_now() - created.timestamp() < YOUNG

    def _usage(self, run: Run, ending: Ending) -> dict[str, Any]:
        """Return what the session used; nothing when it does not say so at once, for it decides nothing."""
        if ending is SESSION_DELETED:
            return {}
        if self.session is not None:
            return mapping(self.session.get("usage"))
        try:
            session = self._client.get(f"/sessions/{segment(run.session_id or '')}", within=USAGE_WITHIN, retry=False)
        except ApiError:
            return {}
        return mapping(mapping(session).get("usage"))

    def _mind_disagreement(self, run: Run, within: float | None, retry: bool) -> None:
        """Once a minute, ask the session of a run whose status does not move (contract, section 1)."""
        now = self._client.clock.monotonic()
        self._mind_strange(run)
        self._going_since = now if self._going_since is None else self._going_since
        stale = now - max(self._going_since, self._session_asked) >= DISAGREEMENT_AFTER
        if not (stale and run.session_id):
            return
        self._session_asked = now
        try:
            self._ask_session(run, within, retry)
        except ApiError:
            return  # the run itself was heard; its session is asked again in a minute
        if self.ended:
            self._warn(
                f"the server still calls run {run.id} {run.status}, but its session has ended: "
                "the session's ending is reported"
            )

    def _mind_strange(self, run: Run) -> None:
        if not is_strange(run):
            return
        if standing(run) is Standing.ENDED:
            self._warn(f"run {run.id} ended with the status {run.status!r}, which is unknown here: not a success")
        else:
            self._warn(f"run {run.id} has the status {run.status!r}, which is unknown here: taken as still going")

    def _warn(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            self._progress.warn(message)


def observer_of(state: "State", run_id: str, *, run: Run | None = None, adopted: bool = False) -> Observer:
    """Return the observer of the one run that a command is about, which its last words can tell of."""
    state.observed = Observer(
        state.client, run_id, run=run, adopted=adopted, is_fresh=freshness(state), progress=state.progress
    )
    return state.observed


def freshness(state: "State") -> Callable[[str], bool]:
    """Return what tells of a run whether it was triggered here so lately that a replica may not have heard of it."""

    @cache
    def triggered_lately() -> set[str | None]:
        since = state.clock.now() - YOUNG
        return {
            entry.run for entry in state.store.entries(state.settings.host, since=since) if entry.attempt.at > since
        }

    return lambda run_id: run_id in triggered_lately()


def _items(page: object) -> list[dict[str, Any]]:
    data = mapping(page).get("data")
    return [mapping(item) for item in data] if isinstance(data, list) else []
