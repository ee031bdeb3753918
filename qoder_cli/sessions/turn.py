"""The story of one turn: what follows something that was said to a session, or what the session did last."""

from collections.abc import Collection, Iterable
from typing import Any

from qoder_cli.base.outcome import Asks, Ending, SessionStory, Told, event_key

# What is said to a session, after which a turn begins.
SAID = ("user.message", "user.tool_confirmation", "user.custom_tool_result", "user.interrupt")
_RUNNING = "session.status_running"


class TurnStory(SessionStory):
    """The part of a session's story that follows the events `after`, which were said to it.

    The events `known` before do not count. Where a list does not show what was said, the turn begins with the
    first work that was not known. Without `after` it is the whole story, and its last ending counts.
    """

    def __init__(self, *, known: Collection[str] = (), after: Collection[str] = ()) -> None:
        super().__init__()
        self._known = frozenset(known)
        self._after = frozenset(after)

    def copy(self) -> "TurnStory":
        other = TurnStory(known=self._known, after=self._after)
        other._told, other._work_began, other._judged = dict(self._told), self._work_began, self._judged
        return other

    @property
    def starts(self) -> frozenset[str]:
        return self._after

    @property
    def ending(self) -> Ending | None:
        if self._after:
            return super().ending
        return self._judged.endings[-1].ending if self._judged.rests and self._judged.endings else None

    @property
    def ending_key(self) -> str | None:
        if self._after:
            return super().ending_key
        return self._judged.endings[-1].key if self.ending else None

    @property
    def asks(self) -> Asks | None:
        return super().asks if self._after else self._judged.asks

    def _take(self, event: dict[str, Any], at: float | None) -> None:
        key = event_key(event)
        if key in self._after:  # what was said is work that has begun
            self._told[key] = Told(key, _RUNNING, at, event)
        elif key not in self._known:
            super()._take(event, at)

    def _ordered(self) -> list[Told]:
        ordered = super()._ordered()
        if not self._after:
            return ordered
        places = [n for n, told in enumerate(ordered) if told.key in self._after]
        places = places[-1:] or [n for n, told in enumerate(ordered) if told.kind == _RUNNING]
        return ordered[places[0] :] if places else []


def keys(events: Iterable[dict[str, Any]]) -> set[str]:
    """Return what tells events from all others."""
    return set(map(event_key, events))
