"""A session's events from the newest back, on servers that may not do as they are asked (api/facts.md, 2.4)."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from qoder_cli.base.outcome import event_key, event_moment, in_order
from qoder_cli.sessions.reading import Events, events_of

Pages = Callable[[Mapping[str, Any]], Iterable[dict[str, Any]]]  # from a query to the pages of its answer


def newest_first(pages: Pages, query: Mapping[str, Any]) -> Iterator[Events]:
    """Yield the events that `query` asks for in portions, newest first, each once. Raises ApiError.

    They are asked for in that order, and it is believed as far as their times bear it out. Where they do not, all are
    read from the oldest on and turned around.
    """
    seen: set[str] = set()
    oldest: float | None = None
    for page in pages({**query, "order": "desc"}):
        events = events_of(page)
        new = [event for event in events if event_key(event) not in seen]
        times = [moment.timestamp() if (moment := event_moment(event)) else None for event in new]
        is_alone = not seen and len(new) <= 1 and page.get("has_more") is not True and not page.get("next_page")
        if not (is_alone or _descend(times, oldest)):
            yield _from_the_oldest(pages, query, seen)
            return
        seen.update(map(event_key, new))
        oldest = min([at for at in times if at is not None], default=oldest)
        yield new


def _descend(times: Sequence[float | None], before: float | None) -> bool:
    """Return whether times never rise, from the time `before` them on, and fall at least once where there is none."""
    known = [at for at in times if at is not None]
    if before is None:
        return bool(known) and known[0] > known[-1] and known == sorted(known, reverse=True)
    return [before, *known] == sorted([before, *known], reverse=True)


def _from_the_oldest(pages: Pages, query: Mapping[str, Any], seen: set[str]) -> Events:
    events = [event for page in pages({**query, "order": "asc"}) for event in events_of(page)]
    return [event for event in in_order(events)[::-1] if event_key(event) not in seen]
