"""The order in which events happened, from the order in which they are listed and their times. Pure."""

from collections.abc import Container, Iterable, Sequence
from typing import Any, TypeVar

from qoder_cli.base.model import text
from qoder_cli.base.outcome import RUNNING, event_at, event_key

T = TypeVar("T")


def in_order(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return events oldest first, each once: as they come, or by their times."""
    known: dict[str, tuple[dict[str, Any], float | None]] = {}
    for event, at in dated(list(events)):
        known.setdefault(event_key(event), (event, at))
    return by_time(list(known.values()))


def dated(events: Sequence[dict[str, Any]], read: Container[str] = ()) -> list[tuple[dict[str, Any], float | None]]:
    """Return events oldest first, each with its time or that of the one before it; `read` are the keys of earlier ones.

    Where the newest comes first, they are turned around.
    """
    times = list(map(event_at, events))
    if _is_newest_first(events, times, read):
        events, times = events[::-1], times[::-1]
    found: list[tuple[dict[str, Any], float | None]] = []
    last: float | None = None
    for event, at in zip(events, times, strict=True):
        if at is not None:
            last = at
        found.append((event, last))
    return found


def by_time(items: list[tuple[T, float | None]]) -> list[T]:
    """Return items in the order in which they come, unless their times contradict it."""
    times = [at for _, at in items if at is not None]
    if times != sorted(times):
        items = sorted(items, key=lambda pair: float("-inf") if pair[1] is None else pair[1])
    return [item for item, _ in items]


def _is_newest_first(events: Sequence[dict[str, Any]], times: Sequence[float | None], read: Container[str]) -> bool:
    """Return whether the newest comes first, as on servers that ignore the order asked for.

    Where times do not tell: what is new comes after what was read before, and the agent's work after its beginning.
    """
    known = [at for at in times if at is not None]
    if known and known[0] != known[-1]:
        return known[0] > known[-1]
    is_old = [event_key(event) in read for event in events]
    if any(is_old) and not all(is_old):
        return is_old[-1] and not is_old[0]
    kinds = [text(event.get("type")) or "" for event in events]
    works = next((n for n, kind in enumerate(kinds) if kind.startswith("agent.")), None)
    return works is not None and RUNNING in kinds[works:] and RUNNING not in kinds[:works]
