"""A session as the server shows it, how it stands as its log shows it, and for how long."""

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from qoder_cli.base.errors import ApiError, NoResponse, NotFound, Rejected
from qoder_cli.base.ids import segment
from qoder_cli.base.model import mapping
from qoder_cli.base.outcome import ASKS_FOR, NO_WORK, SESSION_ARCHIVED, SESSION_DELETED, Asks, Ending, Rest
from qoder_cli.base.times import unix
from qoder_cli.sessions.log import LAGGING, Log
from qoder_cli.sessions.story import Story, read_story

if TYPE_CHECKING:
    from qoder_cli.app import App
    from qoder_cli.http.client import Client

DISAGREEMENT_AFTER = 60.0  # seconds for which a session may contradict what else is told, and between two looks at it
AT_WORK = ("running", "rescheduling", "canceling")  # what a session says of itself while it works
GONE_READS = 3  # 404s needed, besides the time, before a session counts as deleted
THREADS_EVERY = 60.0  # seconds between two listings of a session's threads
SILENT = 60.0  # seconds without news of a session after which its run is read again, and between two such readings


def read_session(client: "Client", id: str, **how: Any) -> dict[str, Any]:
    """Return what a session shows; `how` is passed to `Client.get`. Raises ApiError, NoResponse for another session."""
    session = mapping(client.get(f"/sessions/{segment(id)}", **how))
    if session.get("id") not in (None, id):
        raise NoResponse(f"the response is not session {id}")
    return session


def names_agents(session: Mapping[str, Any]) -> bool | None:
    """Return whether the agent of a session has others to work for it; None if that is not shown."""
    agent = mapping(session.get("agent"))
    if "multiagent" in agent or "model" in agent:  # the whole agent: what has no roster may leave it out
        return bool(agent.get("multiagent"))
    return None


def session_of(app: "App", id: str) -> dict[str, Any]:
    """Return a session as the server shows it. Raises ApiError."""
    from qoder_cli.nouns.edits.thing import read, target_of
    from qoder_cli.nouns.table import NOUNS

    try:
        return {**read(app.client, target_of(NOUNS["session"], id)), "type": "session"}
    except NotFound as error:
        raise error.with_(hint=f"{error.hint}; list them: qoder session list") from None


def session_taking_messages(app: "App", id: str) -> dict[str, Any]:
    """Return a session. Raises Rejected if it takes no messages, ApiError."""
    session = session_of(app, id)
    if session.get("archived_at") or session.get("status") == "terminated":
        why = "is archived" if session.get("archived_at") else "was terminated"
        message = f"session {id} {why}, so it takes no messages; nothing was sent"
        raise Rejected(message, hint="start another run or session")
    return session


@dataclass(eq=False, repr=False)
class SubAgents:
    """What the agents ask that work for a session's agent, while that works on.

    An event that says so is looked into at once. Once a minute, unless there are no others, their threads are listed:
    what they tell may stand in logs of their own (api.md#threads). Times are the monotonic clock's.
    """

    unknown_since: float  # since when whether there are others was not asked
    are_there: bool | None = None  # None while no session shows it
    asks: Asks | None = None  # as of the newest look
    _looked: float = -math.inf
    _seen_asking: frozenset[str] = frozenset()  # the events that said so, as of then

    def look(self, log: Log, story: Story) -> bool:
        """Look what they ask, if that is due. Return whether it was read; what cannot be read now is read next time."""
        now = log.client.clock.monotonic()
        if story.has_threads:
            self.are_there = True
        is_asked = self.are_there is None and now - self.unknown_since >= THREADS_EVERY
        if is_asked:
            self.unknown_since = now
            with suppress(ApiError):
                self.note(read_session(log.client, log.session_id, retry=False))
        may_be_there = self.are_there or (is_asked and self.are_there is None)
        pause = THREADS_EVERY
        if self.asks is not None:
            pause = ASKS_FOR
        is_due = (may_be_there or self.asks is not None) and now - self._looked >= pause
        if not is_due and story.asking_threads == self._seen_asking:
            return False
        from qoder_cli.sessions.asks import look

        self._looked = now
        with suppress(ApiError):
            asked = look(log.client, log.session_id, retry=False, threads=bool(is_due), may_lack_threads=True)
            self.asks = asked.open
            self._seen_asking = story.asking_threads
            return True
        return False

    def note(self, session: Mapping[str, Any]) -> None:
        """Take note of a session, which a list may show in part: whether its agent has others."""
        if (are_named := names_agents(session)) is not None:
            self.are_there = self.are_there or are_named

    def forget(self) -> None:
        """Assume that what they ask was answered. It is looked at again."""
        self.asks, self._looked, self._seen_asking = None, -math.inf, frozenset()


class SessionReading(NamedTuple):
    """What a session tells of its run: its first ending, or the API's own 404; `is_silent`: no news for a minute."""

    ending: Ending | None = None
    error: NotFound | None = None
    is_silent: bool = False


class TurnJudge:
    """Ends a turn that will never end: of a session that is archived, or rests without having worked on a message."""

    def __init__(self, client: "Client", session: dict[str, Any]) -> None:
        self._client = client
        self.read = session  # as it was read last
        self._read_at = client.clock.monotonic()
        self._unworked: tuple[str, float] | None = None  # the event at which it rests, and since when that is known

    def session(self, within: float | None) -> dict[str, Any]:
        """Return the session, read again if that is due and possible."""
        if self._client.clock.monotonic() - self._read_at < DISAGREEMENT_AFTER:
            return self.read
        return self.reread(within) or self.read

    def reread(self, within: float | None) -> dict[str, Any] | None:
        """Return the session, read now; None if it cannot be."""
        id = str(self.read["id"])
        with suppress(ApiError):
            session = read_session(self._client, id, within=within, retry=False)
            if session.get("id") == id:
                self._read_at = self._client.clock.monotonic()
                return {**session, "type": "session"}
        return None

    def ending(self, session: dict[str, Any], story: Story) -> Ending | None:
        """Return why the turn will never end; None if it may."""
        now = self._client.server_now()
        archived_at = unix(session.get("archived_at"))
        if session.get("archived_at") and (archived_at is None or now - archived_at >= DISAGREEMENT_AFTER):
            return SESSION_ARCHIVED
        if (unworked := story.unworked) is None:
            self._unworked = None
            return None
        if self._unworked is None or self._unworked[0] != unworked.key:
            self._unworked = unworked.key, self._client.clock.monotonic()
        rests_for = self._client.clock.monotonic() - self._unworked[1]
        if unworked.at is not None and story.is_latest:
            rests_for = max(rests_for, now - unworked.at)
        if rests_for < DISAGREEMENT_AFTER or session.get("status") in AT_WORK:
            return None
        return SESSION_ARCHIVED if session.get("archived_at") else NO_WORK


@dataclass(eq=False, repr=False)
class SessionState:
    """How a session stands; a turn of it has a judge, and its story goes beyond the first ending.

    Times are the monotonic clock's.
    """

    log: Log
    story: Story
    judge: TurnJudge | None = None
    asks: tuple[Asks, float] | None = None  # what the agent waits for, and since when it is seen to
    asked_until: float = -math.inf  # when it was last seen to
    rests: tuple[Rest, float] | None = None  # the ending that it rests at, and since when it does
    missing: tuple[float, int] | None = None  # since when, and how often, it was not found
    events: int = 0  # how many its story has
    quiet_since: float = -math.inf  # when there were last more of them, or its run was read whether it still names it
    checked: float = -math.inf  # when it was last read because its run's status does not move
    sub_agents: SubAgents = field(init=False)

    def __post_init__(self) -> None:
        self.sub_agents = SubAgents(self.log.client.clock.monotonic())
        if self.judge is not None:
            self.sub_agents.note(self.judge.read)

    def ask(self, *, within: float | None, retry: bool) -> SessionReading:
        """Read what it tells of its run. Raises ApiError, but for a 404 of the API's own, which is returned."""
        clock, judge = self.log.client.clock, self.judge
        session = judge.session(within) if judge else {}
        try:
            read_story(self.log, self.story, within=within, retry=retry, whole=judge is not None)
        except NotFound as error:
            if not error.enveloped:
                raise  # it is not the API's own, and says nothing at all
            # A 404 may come of a replica that lags: the session is gone once the API has said so again and again.
            now = clock.monotonic()
            since, times = self.missing or (now, 0)
            self.missing = since, times + 1
            if now - since < LAGGING or times + 1 < GONE_READS:
                return SessionReading(error=error.with_(retryable=True))  # in a while it is certain
            return SessionReading(self.story.ending or SESSION_DELETED)
        self.take_note()
        is_silent = clock.monotonic() - self.quiet_since >= SILENT
        ending = self.story.ending
        if judge and ending is None:
            ending = judge.ending(session, self.story)
        return SessionReading(ending, is_silent=is_silent)

    def take_note(self) -> None:
        """Take note of what its story, read just now, tells."""
        now = self.log.client.clock.monotonic()
        if len(self.story.events) != self.events:
            self.events, self.quiet_since = len(self.story.events), now
        asks, rest = self.story.asks, self.story.rest
        is_read, is_behind = True, asks is None and self.story.ending is None and self.story.judged.worked
        if is_behind:
            is_read = self.sub_agents.look(self.log, self.story)
            asks = self.sub_agents.asks
        if asks is None:
            self.asks = None
        else:
            before, since = self.asks or (None, now)
            # Of sub-agents, whichever asked last: it goes on while one of the calls still waits.
            is_still = before is not None and (
                asks.key == before.key or (is_behind and not set(asks.event_ids).isdisjoint(before.event_ids))
            )
            self.asks = asks, since if is_still else now  # some calls may be answered by now
        if rest is None:
            self.rests = None
        elif self.rests is None or self.rests[0].key != rest.key:
            self.rests = rest, now
        self.missing = None
        if is_read:
            self.asked_until = now

    def forget_asks(self) -> None:
        """Assume that what it waits for was answered: if it still waits, it counts as new."""
        self.asks = None
        self.sub_agents.forget()
