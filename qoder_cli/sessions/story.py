"""How a run or a turn went, as far as its session's log shows."""

from collections.abc import Collection, Iterable, Sequence
from copy import copy
from itertools import islice
from typing import Any

from qoder_cli.base.model import Run, mapping, text
from qoder_cli.base.outcome import (
    AGENT_EVENTS,
    ENDING_EVENTS,
    ENDS,
    REPLIES,
    RUNNING,
    THREAD_STATUSES,
    UNREADABLE,
    Asks,
    Ending,
    Placed,
    Rest,
    event_at,
    event_key,
    is_asking,
    judge,
    stop_reason,
)
from qoder_cli.base.times import unix
from qoder_cli.sessions.log import APART, Events, Log, by_time, dated

FUTURE = 86400.0  # seconds that a run may seem to be created after now

MESSAGES = ("user.message", "user.define_outcome")
# All that is sent to a session, and may begin a turn.
SENT = (*MESSAGES, *REPLIES, "user.interrupt")


class Story:
    """The events that tell how a run or a turn went, judged again whenever more are added.

    Each counts once, in the order in which it was added; where times contradict that, they decide. What is older than
    `since` (unix seconds) does not count. Of the agent's events in a row, only the first and the last are kept, and of
    each thread its newest status: it ends nothing, but a sub-agent may ask while the main agent works.
    `needs_proof`: a stop whose reason cannot be read is no ending.
    """

    needs_proof = False

    def __init__(
        self,
        *,
        since: float | None = None,
        is_turn: bool = False,
        before: Collection[str] = (),
        after: Collection[str] = (),
    ) -> None:
        self.types: Sequence[str] = (*ENDING_EVENTS, *REPLIES, *THREAD_STATUSES)  # taken in, besides the agent's own
        if is_turn:
            self.types = (*ENDING_EVENTS, *SENT, *THREAD_STATUSES)
        self.is_latest = is_turn and not after  # whether it is the latest turn, which may have begun long ago
        self._since = since
        self._before = frozenset(before) - frozenset(after)
        self._after = frozenset(after)
        self._kept: dict[str, Placed] = {}
        self._left_out = set[str]()  # work between other work, which says nothing new
        self._threads: dict[str | None, Placed] = {}  # the newest status of each
        self._complete = frozenset[str]()  # events before which no work was left out
        self.judged = judge([])

    def copy(self) -> "Story":
        """Return an independent copy."""
        other = copy(self)
        other._kept, other._left_out, other._threads = dict(self._kept), set(self._left_out), dict(self._threads)
        return other

    def add(self, events: Iterable[object]) -> None:
        """Add events, such as a page of a list, and judge all of them again."""
        for event, at in dated(list(filter(None, map(mapping, events))), self._kept):
            self._keep(event, at)
        counting, is_of_message = self._counting(), bool(self.starts)
        self.judged = judged = judge(counting, needs_work=is_of_message, needs_proof=self.needs_proof)
        if counting and is_of_message:
            # Work that is not read yet may stand before an idle, and behind a start of work right before the message.
            is_work = [placed.kind == RUNNING or placed.kind.startswith("agent.") for placed in counting]
            begun = next((n for n, works in enumerate(is_work) if works and n > 0), len(counting))
            doubtful = {placed.key for placed in counting[:begun] if placed.kind in ENDS} - self._complete
            self.judged = judged._replace(is_unclear=bool(doubtful) or not judged.worked)

    def restart(self) -> Events:
        """Forget all events, so that they are added in another order. Return those that `events` has."""
        kept, self._kept, self._left_out = self.events, {}, set()
        return kept

    def note_complete(self) -> None:
        """Take note that the agent's events were added, back to the beginning of the turn. The next `add` heeds it."""
        self._complete |= self._kept.keys()

    @property
    def events(self) -> Events:
        """The events that an ending can depend on, except the agent's."""
        return [placed.event for placed in self._ordered() if placed.event]

    @property
    def starts(self) -> frozenset[str]:
        """The keys of the events that a turn begins with, if any."""
        newest = self._newest_start(self._ordered())
        return self._after or (frozenset() if newest is None else frozenset([newest.key]))

    @property
    def begins(self) -> str | None:
        """The key of the first event that counts, if not all of the session do."""
        counting = self._counting()
        if counting and self.starts:
            return counting[0].key
        return None

    @property
    def ending(self) -> Ending | None:
        """The first ending, or that at which the latest turn rests; None if there is none yet."""
        ending = self._ending
        return ending and ending.ending

    @property
    def ending_key(self) -> str | None:
        ending = self._ending
        return ending and ending.key

    @property
    def _ending(self) -> Rest | None:
        endings = self.judged.endings
        if not self.is_latest:
            return next(iter(endings), None)  # what follows does not change it
        if self.judged.rests:
            return endings[-1]
        return None

    @property
    def rest(self) -> Rest | None:
        """The ending it rests at, a success only if all were; None while it works."""
        endings = self.judged.endings
        if not self.judged.rests:
            return None
        worst = next((rest.ending for rest in endings if rest.ending.status != "completed"), endings[-1].ending)
        return Rest(endings[-1].key, worst)

    @property
    def asks(self) -> Asks | None:
        """What the agent waits for; None if nothing, or if it has ended."""
        has_ended = bool(self.judged.endings) and not self.is_latest
        if has_ended:
            return None
        return self.judged.asks

    @property
    def may_wait(self) -> bool:
        """Whether it stopped last for a reason that cannot be read."""
        statuses = [event for event in self.events if event.get("type") in (RUNNING, *ENDS)]
        return bool(statuses) and stop_reason(statuses[-1]) == UNREADABLE

    @property
    def asking_threads(self) -> frozenset[str]:
        """The keys of the events at which threads stopped to ask, and have not gone on since."""
        return frozenset(placed.key for placed in self._threads.values() if is_asking(placed.event))

    @property
    def has_threads(self) -> bool:
        """Whether an event names another thread than that of the main agent."""
        return len(self._threads) > 1

    @property
    def unworked(self) -> Placed | None:
        """The event since which the session has rested without having worked on the message; None if it did."""
        ordered, judged = self._ordered(), self.judged
        start = self._newest_start(ordered)
        if start is None or judged.worked or judged.endings or judged.asks:
            return None
        rests = [placed for placed in ordered if placed.kind in (RUNNING, *ENDS)][-1:]
        if rests and rests[0].kind == RUNNING:
            return None
        return max([start, *rests], key=ordered.index)

    def is_since(self, at: float | None) -> bool:
        """Return whether something may belong to the run: it is not older, or its time is unknown (None)."""
        return at is None or self._since is None or at >= self._since

    def _keep(self, event: dict[str, Any], at: float | None) -> None:
        key, kind = event_key(event), text(event.get("type")) or ""
        if key in self._kept or key in self._left_out or key in self._before or not self.is_since(at):
            return
        if kind in THREAD_STATUSES:
            thread = text(event.get("session_thread_id"))
            newest = self._threads.get(thread)
            if newest is None or newest.at is None or at is None or at >= newest.at:
                self._threads[thread] = Placed(key, kind, at, event)
        elif kind in self.types or key in self._after:
            self._kept[key] = Placed(key, kind, at, event)
        elif kind.startswith("agent."):
            # Of several in a row, one that is followed by one that is not older decides nothing.
            last = [*islice(reversed(self._kept.values()), 2)]
            is_between = len(last) == 2 and all(placed.kind.startswith("agent.") for placed in last)
            if is_between and (at is None or last[0].at is None or last[0].at <= at):
                self._left_out.add(last[0].key)
                del self._kept[last[0].key]
            self._kept[key] = Placed(key, kind, at, {})

    def _counting(self) -> list[Placed]:
        """Return the events that count: of a turn, those from its start, with the start of work before that is its own.

        Servers may show that right before the message (api.md#events). It is this turn's, unless the agent
        had done something by then.
        """
        ordered = self._ordered()
        start = self._newest_start(ordered)
        if start is None:
            running = next((n for n, placed in enumerate(ordered) if placed.kind == RUNNING), len(ordered))
            if self._after:
                return ordered[running:]
            return ordered
        place = ordered.index(start)
        before = [placed for placed in ordered[:place] if placed.kind not in (*SENT, "session.error")][-1:]
        return [*(placed for placed in before if placed.kind == RUNNING), *ordered[place:]]

    def _newest_start(self, ordered: Sequence[Placed]) -> Placed | None:
        """Return the event that begins the turn, if it is there."""
        if self._after:
            starts = [placed for placed in ordered if placed.key in self._after]
        else:
            starts = [placed for placed in ordered if placed.kind in MESSAGES]
        if starts:
            return starts[-1]
        return None

    def _ordered(self) -> list[Placed]:
        return by_time([(placed, placed.at) for placed in self._kept.values()])


def story_of(run: Run, now: float) -> Story:
    """Return an empty story of a run's session; older events will not count."""
    created = run.created or unix(run.raw.get("triggered_at"))
    if created is None or created > now + FUTURE:
        return Story()
    return Story(since=created - APART)


def turn_story(*, before: Collection[str] = (), after: Collection[str] = ()) -> Story:
    """Return an empty story of one turn: what follows the events `after`, which were sent, else the newest message.

    It begins there, worked on or not; without any message it is the whole story. No idle before work ends it. The
    first ending counts that follows `after`; else the last one, at which the session rests. Events `before` do not
    count. If a list does not show `after`, the turn begins with the first work that is new.
    """
    return Story(is_turn=True, before=before, after=after)


def read_story(
    log: Log,
    story: Story,
    *,
    types: Sequence[str] | None = None,
    within: float | None = None,
    retry: bool = True,
    whole: bool = False,
) -> None:
    """Add to a story what its log shows, to the first ending or the `whole`; of these `types`, if not all it takes in.

    Raises ApiError; what was read by then is added.
    """
    kept: Events = []
    first = story.types if types is None else types
    try:
        for asked in (first, (*first, *AGENT_EVENTS)):
            times: list[float] = []
            for events in log.whole(asked, within=within, retry=retry):
                story.add(events)
                times += [at for at in map(event_at, events) if at is not None]
                # Where times bear out that the oldest comes first, nothing later can precede the ending.
                is_upward = times == sorted(times) and times[:1] < times[-1:]
                if story.ending and is_upward and not whole:
                    break
            if kept or not story.judged.is_unclear:
                break
            if story.begins is not None:  # the newest events tell, and the whole story would be long
                _add_newest(log, story, (*asked, *AGENT_EVENTS), within=within, retry=retry)
                break
            # It went idle, and only the agent's own events can tell whether it ever ran.
            kept = story.restart()
    finally:
        story.add(kept)


def _add_newest(log: Log, story: Story, types: Sequence[str], *, within: float | None, retry: bool) -> None:
    """Add to a story its log's newest events, until they make it clear, or back to where it begins."""
    begins, kept = story.begins, story.events
    newest: Events = []
    for portion in log.back(types, within=within, retry=retry):
        newest = [*reversed(portion), *newest]
        read = keys(newest)
        story.restart()
        story.add([*(event for event in kept if event_key(event) not in read), *newest])
        if begins in read:
            story.note_complete()
        if begins in read or not story.judged.is_unclear:
            break


def keys(events: Iterable[dict[str, Any]]) -> set[str]:
    """Return the keys of events."""
    return set(map(event_key, events))


def events_so_far(log: Log) -> set[str]:
    """Return the keys of events that can begin or end a turn. Raises ApiError."""
    story = turn_story()
    read_story(log, story, whole=True)
    return keys(story.events)
