"""Several deployments of one name, where two create it at once: no page of the API promises that names are unique."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from qoder_cli.base.errors import ApiError, Rejected
from qoder_cli.base.model import Deployment
from qoder_cli.deployments.applied import Applied, as_it_is, result_of
from qoder_cli.deployments.planning import Book, created_meanwhile
from qoder_cli.deployments.step import Step
from qoder_cli.deployments.writing import LOOKS

if TYPE_CHECKING:
    from qoder_cli.app import State


def there_already(state: "State", step: Step) -> Applied | None:
    """Return what a step comes to that cannot be created, for its name is taken; None where that does not show."""
    alive = _named_by_now(state, step)
    if len(alive) == 1 and not step.differs(alive[0]):
        state.progress.note(f"{step.name} ({alive[0].id}) was already created as requested, by someone else")
        return as_it_is(replace(step, current=alive[0], changes=()))
    return result_of(step, "failed", error=created_meanwhile(step, alive)) if alive else None


def _named_by_now(state: "State", step: Step) -> list[Deployment]:
    """Return those of the name of a step, looking again while there are none: replicas lag."""
    began = state.clock.monotonic()
    for look in (0.0, *LOOKS):
        state.clock.sleep(max(began + look - state.clock.monotonic(), 0.0))
        with suppress(ApiError):
            if alive := Book.of(state).alive(step.declared.name):
                return alive
    return []


def with_twins(state: "State", items: Sequence[Applied]) -> list[Applied]:
    """Return what became of all, with an error where someone else has created one of the same name; one listing."""
    if not any(item.action == "created" for item in items):
        return list(items)
    try:
        book = Book.of(state)
    except ApiError as unread:
        state.progress.warn(f"unknown whether someone else created one of the same name: {unread.message}")
        return list(items)
    return [_with_twins(item, book) for item in items]


def _with_twins(item: Applied, book: Book) -> Applied:
    if item.action != "created" or item.error is not None or item.found is None:
        return item
    others = [found.id for found in book.alive(item.step.declared.name) if found.id != item.found.id]
    if not others:
        return item
    error = Rejected(
        f"{item.known} was created, and someone else created another of this name: {', '.join(others)}",
        hint="archive the one you do not want: qoder deploy archive ID",
    )
    return item.with_(error=error)
