"""How a session stands, as its log shows it, and for how long."""

from dataclasses import dataclass
from typing import NamedTuple

from qoder_cli.base.errors import NotFound
from qoder_cli.base.outcome import SESSION_DELETED, Asks, Ending, Rest
from qoder_cli.sessions.log import LAGGING, Log
from qoder_cli.sessions.story import Story, read_story

GONE_READS = 3  # times that the API must say that there is no such session, besides for how long
SILENT = 60.0  # seconds without news of a session after which its run is read again, and between two such readings


class SessionReading(NamedTuple):
    """What a session tells of its run: its first ending, or the API's own 404; `is_silent`: no news for a minute."""

    ending: Ending | None = None
    error: NotFound | None = None
    is_silent: bool = False


@dataclass(eq=False, repr=False)
class SessionState:
    """How a session stands. Times are the monotonic clock's."""

    log: Log
    story: Story
    asks: tuple[Asks, float] | None = None  # what the agent waits for, and since when it is seen to
    asked_until: float = 0.0  # when it was last seen to
    rests: tuple[Rest, float] | None = None  # the ending that it rests at, and since when it does
    missing: tuple[float, int] | None = None  # since when, and how often, it was not found
    events: int = 0  # how many its story has
    news: float = 0.0  # when there were last more of them
    confirmed: float = 0.0  # when its run was last read to see whether it still names this session
    checked: float = 0.0  # when it was last read because its run's status does not move

    def ask(self, *, within: float | None, retry: bool, whole: bool) -> SessionReading:
        """Read what it tells of its run. Raises ApiError, but for a 404 of the API's own, which is returned."""
        clock = self.log.client.clock
        try:
            self.read(within=within, retry=retry, whole=whole)
        except NotFound as error:
            if not error.enveloped:
                raise  # it is not the API's own, and says nothing at all
            # A 404 may come of a replica that lags: the session is gone once the API has said so again and again.
            now = clock.monotonic()
            since, times = self.missing or (now, 0)
            self.missing = since, times + 1
            if now - since < LAGGING or times + 1 < GONE_READS:
                return SessionReading(error=error.with_(retryable=True))  # in a while it is settled
            return SessionReading(self.story.ending or SESSION_DELETED)
        is_silent = clock.monotonic() - max(self.news, self.confirmed) >= SILENT
        return SessionReading(self.story.ending, is_silent=is_silent)

    def read(self, *, within: float | None, retry: bool, whole: bool) -> None:
        """Read its story on, to the first ending or the `whole`. Raises ApiError."""
        read_story(self.log, self.story, within=within, retry=retry, whole=whole)
        now = self.log.client.clock.monotonic()
        if len(self.story.events) != self.events:
            self.events, self.news = len(self.story.events), now
        asks, rest = self.story.asks, self.story.rest
        if asks is None:
            self.asks = None
        elif self.asks is None or self.asks[0].key != asks.key:
            self.asks = asks, now
        else:
            self.asks = asks, self.asks[1]  # some calls may be answered by now
        if rest is None:
            self.rests = None
        elif self.rests is None or self.rests[0].key != rest.key:
            self.rests = rest, now
        self.asked_until, self.missing = now, None
