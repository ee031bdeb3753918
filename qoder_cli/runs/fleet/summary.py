"""How many things went, in one line on stderr, and what they cost."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from itertools import islice
from typing import TYPE_CHECKING

from qoder_cli.base.errors import ApiError
from qoder_cli.base.model import mapping, text
from qoder_cli.base.times import parse_timestamp, span, utc_text
from qoder_cli.runs.item import Item

if TYPE_CHECKING:
    from qoder_cli.app import State

MOST_PAGES = 5  # of sessions, to learn what the runs cost where they do not say so
_WITHIN = 2.0  # seconds after which no further one is read


def sum_up(state: "State", items: Sequence[Item], *, seconds: float, costs: bool, ask: bool) -> None:
    """Say how many of the items went how, how long it took and, if wanted, what it `costs`; nothing when quiet.

    `ask` says that there is time to ask for what the runs do not tell of their cost.
    """
    if state.progress.is_quiet or len(items) < 2:
        return
    counts = Counter(item.word.replace("_", " ") for item in items)
    parts = [", ".join(f"{count} {word}" for word, count in counts.most_common()), f"in {span(seconds)}"]
    if costs and (cost := _cost(state, items, ask=ask)):
        parts.append(cost)
    state.progress.note(f"{len(items)} runs: " + " · ".join(parts))


def _cost(state: "State", items: Sequence[Item], *, ask: bool) -> str | None:
    """Return the credits that the runs' sessions used, in words; None when that is not known of any.

    Each session's figure is a snapshot of its own (api/facts.md, 2.2), so those of different sessions add up.
    """
    runs = {item.run.session_id: item.run for item in items if item.run is not None and item.run.session_id}
    told: dict[str, object] = {id: run.credits for id, run in runs.items() if run.credits is not None}
    silent = runs.keys() - told.keys()
    if silent and ask:
        told |= _asked(state, silent, [run.raw.get("created_at") for run in runs.values()])
    amounts = [amount for credits in told.values() if (amount := _amount(credits)) is not None]
    if not amounts:
        return None
    total = f"{sum(amounts, Decimal(0)).normalize():f} credits"
    return total if len(amounts) == len(runs) else f"at least {total}"


def _asked(state: "State", sessions: set[str], created: Sequence[object]) -> dict[str, object]:
    """Return what sessions say that they used, from the list of sessions of that time, as far as it can be read."""
    told: dict[str, object] = {}
    until = state.clock.monotonic() + _WITHIN
    with suppress(ApiError, OverflowError):
        query = {"limit": 100, "include_archived": "true", **_window(created)}
        pages = state.client.pages("/sessions", query, within=_WITHIN, retry=False)
        for page in islice(pages, MOST_PAGES):
            for row in map(mapping, page["data"]):
                if (id := text(row.get("id"))) in sessions:
                    told[str(id)] = mapping(row.get("usage")).get("total_credits")
            if len(told) == len(sessions) or state.clock.monotonic() > until:
                break
    return told


def _window(created: Sequence[object]) -> dict[str, str]:
    """Return the time in which the sessions of runs were created. Raises OverflowError at the edge of the calendar."""
    moments = [moment for each in created if (moment := parse_timestamp(each))]
    if not moments:
        return {}
    first, last = min(moments) - timedelta(minutes=1), max(moments) + timedelta(minutes=1)
    return {"created_at[gte]": utc_text(first), "created_at[lte]": utc_text(last)}


def _amount(credits: object) -> Decimal | None:
    with suppress(InvalidOperation, ValueError):
        amount = Decimal(str(credits))
        return amount if amount.is_finite() else None
    return None
