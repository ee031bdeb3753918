"""How a session's run or turn went, as far as its log shows."""

from collections.abc import Collection, Iterable, Sequence
from itertools import islice
from typing import Any, Self

from qoder_cli.base.model import Run, text
from qoder_cli.base.outcome import (
    AGENT_EVENTS,
    ENDING_EVENTS,
    ENDS,
    REPLIES,
    RUNNING,
    Asks,
    Ending,
    Judgement,
    SessionStory,
    Told,
    event_at,
    event_key,
    judge,
)
from qoder_cli.base.times import unix
from qoder_cli.sessions.log import APART, Events, Log

FUTURE = 86400.0  # seconds that a run may seem to be created after now


MESSAGES = ("user.message", "user.define_outcome")
# All that is sent to a session, and may begin a turn.
SAID = (*MESSAGES, *REPLIES, "user.interrupt")


def story_of(run: Run, now: float) -> SessionStory:
    """Return an empty story of a run's session; older events will not count."""
    created = run.created or unix(run.raw.get("triggered_at"))
    if created is None or created > now + FUTURE:
        return SessionStory()
    return SessionStory(since=created - APART)


def read_story(
    log: Log,
    story: SessionStory,
    *,
    types: Sequence[str] | None = None,
    within: float | None = None,
    retry: bool = True,
    whole: bool = False,
) -> None:
    """Tell a story what its session's list shows, to the first ending or the `whole`; if not all, of these `types`.

    Raises ApiError; what was read by then is told.
    """
    known: Events = []
    first = story.types if types is None else types
    try:
        for types in (first, (*first, *AGENT_EVENTS)):
            times: list[float] = []
            for events in log.whole(types, within=within, retry=retry):
                story.tell(events)
                times += [at for at in map(event_at, events) if at is not None]
                # Where times bear out that the oldest comes first, nothing later can precede the ending.
                is_upward = times == sorted(times) and times[:1] < times[-1:]
                if story.ending and is_upward and not whole:
                    break
            if known or not story.judged.is_unclear:
                break
            if story.begins is not None:  # the newest events tell, and the whole story would be long
                _tell_newest(log, story, (*types, *AGENT_EVENTS), within=within, retry=retry)
                break
            # It went idle, and only the agent's own events can tell whether it ever ran.
            known = story.restart()
    finally:
        story.tell(known)


def _tell_newest(log: Log, story: SessionStory, types: Sequence[str], *, within: float | None, retry: bool) -> None:
    """Tell a story its session's newest events, until they make it clear, or back to where it begins."""
    begins, known = story.begins, story.events
    newest: Events = []
    for portion in log.back(types, within=within, retry=retry):
        newest = [*reversed(portion), *newest]
        read = set(map(event_key, newest))
        story.restart()
        story.tell([*(event for event in known if event_key(event) not in read), *newest])
        if begins in read:
            story.clear()
        if begins in read or not story.judged.is_unclear:
            break


class TurnStory(SessionStory):
    """One turn of a session: what follows the events `after`, which were sent to it, else its newest message.

    It begins there, worked on or not; without any message it is the whole story. No idle before work ends it. The
    first ending counts that follows `after`; else the last one, at which the session rests.

    Servers may show the start of work right before the message (help/pages/api.md#events). It is this turn's, unless
    the agent had done something by then. Events `known` before do not count. If a list does not show `after`, the turn
    begins with the first unknown work.
    """

    types = (*ENDING_EVENTS, *SAID)

    def __init__(self, *, known: Collection[str] = (), after: Collection[str] = ()) -> None:
        super().__init__()
        self._known = frozenset(known)
        self._after = frozenset(after)
        self._cleared = frozenset[str]()  # events before which all work is known
        self._left_out = set[str]()  # work between other work, which says nothing new

    @property
    def starts(self) -> frozenset[str]:
        newest = self._newest_start(self._ordered())
        return self._after or (frozenset() if newest is None else frozenset([newest.key]))

    @property
    def is_of_this_command(self) -> bool:
        """Whether it begins with what was just sent; else with what may have been said long ago."""
        return bool(self._after)

    @property
    def begins(self) -> str | None:
        turn = self._turn()
        return turn[0].key if turn and self.starts else None

    @property
    def ending(self) -> Ending | None:
        if self._after:
            return super().ending
        return self.judged.endings[-1].ending if self.judged.rests and self.judged.endings else None

    @property
    def ending_key(self) -> str | None:
        if self._after:
            return super().ending_key
        return self.judged.endings[-1].key if self.ending else None

    @property
    def asks(self) -> Asks | None:
        return super().asks if self._after else self.judged.asks

    @property
    def unworked(self) -> Told | None:
        """The event since which the session has rested without having worked on what was said; None if it did."""
        ordered, judged = self._ordered(), self.judged
        start = self._newest_start(ordered)
        if start is None or judged.worked or judged.endings or judged.asks:
            return None
        rests = [told for told in ordered if told.kind in (RUNNING, *ENDS)][-1:]
        if rests and rests[0].kind == RUNNING:
            return None
        return max([start, *rests], key=ordered.index)

    def _take(self, event: dict[str, Any], at: float | None) -> None:
        key, kind = event_key(event), text(event.get("type")) or ""
        if key in self._told or key in self._left_out or (key in self._known and key not in self._after):
            return
        if kind in SAID or key in self._after:
            self._told[key] = Told(key, kind, at, event)
        elif not kind.startswith("agent."):
            super()._take(event, at)
        else:
            self._leave_out_between(at)
            self._told[key] = Told(key, kind, at, {})

    def _leave_out_between(self, at: float | None) -> None:
        """Forget the last of two or more pieces of work, told one after the other, before one that is no older."""
        last = [*islice(reversed(self._told.values()), 2)]
        if len(last) < 2 or not all(told.kind.startswith("agent.") for told in last):
            return
        if at is None or last[0].at is None or last[0].at <= at:
            self._left_out.add(last[0].key)
            del self._told[last[0].key]

    def _judged(self) -> Judgement:
        turn, is_of_message = self._turn(), bool(self.starts)
        judged = judge(turn, needs_work=is_of_message)
        if not (turn and is_of_message):
            return judged
        # Work that is not known yet may stand before an idle, and behind a start of work right before the message.
        begun = next((n for n, told in enumerate(turn[1:], 1) if _is_work(told)), len(turn))
        doubtful = {told.key for told in turn[:begun] if told.kind in ENDS} - self._cleared
        return judged._replace(is_unclear=bool(doubtful) or not judged.worked)

    def copy(self) -> Self:
        other = super().copy()
        other._left_out = set(self._left_out)
        return other

    def restart(self) -> Events:
        self._left_out = set()
        return super().restart()

    def clear(self) -> None:
        """Take note that the agent's events were told, back to the beginning of the turn."""
        self._cleared |= self._told.keys()
        self.judged = self._judged()

    def _turn(self) -> list[Told]:
        """Return the turn's events, with the start of work before them that is theirs."""
        ordered = self._ordered()
        start = self._newest_start(ordered)
        if start is None:
            running = next((n for n, told in enumerate(ordered) if told.kind == RUNNING), len(ordered))
            return ordered[running:] if self._after else ordered
        place = ordered.index(start)
        before = [told for told in ordered[:place] if told.kind not in (*SAID, "session.error")][-1:]
        return [*(told for told in before if told.kind == RUNNING), *ordered[place:]]

    def _newest_start(self, ordered: Sequence[Told]) -> Told | None:
        """Return the event that begins the turn, if it is there."""
        starts = [told for told in ordered if (told.key in self._after if self._after else told.kind in MESSAGES)]
        return starts[-1] if starts else None


def _is_work(told: Told) -> bool:
    return told.kind == RUNNING or told.kind.startswith("agent.")


def keys(events: Iterable[dict[str, Any]]) -> set[str]:
    """Return the keys of events."""
    return set(map(event_key, events))


def events_so_far(log: Log) -> set[str]:
    """Return the keys of events that can begin or end a turn. Raises ApiError."""
    story = TurnStory()
    read_story(log, story, whole=True)
    return keys(story.events)
