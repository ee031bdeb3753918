"""`deploy run --dry-run`: the request that each trigger would be, and what cannot be triggered in its place."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qoder_cli.base.errors import Exit, QoderError
from qoder_cli.base.ids import segment
from qoder_cli.base.tokens import without_tokens
from qoder_cli.output.cells import Fields
from qoder_cli.output.results import deciding_error
from qoder_cli.runs.item import Item
from qoder_cli.runs.trigger import Order

if TYPE_CHECKING:
    from qoder_cli.app import State


def show_request(state: "State", order: Order) -> int:
    """Print the request of one order, and return 0."""
    request = _request(state, order)
    state.output.record({**request, "body": "{}"}, data=request, id=order.deployment_id)
    return Exit.OK


def show_requests(state: "State", typed: Sequence[str], orders: Sequence[Order | QoderError]) -> int:
    """Print the requests, an error standing for what cannot be ordered; `orders` are in the order of `typed`.

    Returns 0, or raises the error that the command itself would end with.
    """
    from qoder_cli.runs.fleet.last_words import Warnings, last_words

    warnings = Warnings(state)
    items = [Item(word, None, _error(order)) for word, order in zip(typed, orders, strict=True)]
    rows: list[tuple[Fields, dict[str, Any]]] = []
    for item, order in zip(items, orders, strict=True):
        if isinstance(order, Order):
            request = _request(state, order)
            told = {"input": without_tokens(item.typed), "exit_code": item.exit_code}
            rows.append(({**request, "body": "{}", "error": None}, {**request, **told}))
        else:
            warnings.take(item)
            typed_word = without_tokens(item.typed)
            missing: Fields = {**dict.fromkeys(_FIELDS), "dry_run": True, "deployment": typed_word, "error": item.word}
            if state.output.format != "id":
                rows.append((missing, {"dry_run": True, **item.as_json()}))
    state.output.records([row for row, _ in rows], data=[data for _, data in rows], id="deployment")
    if (error := deciding_error(items)) is not None:
        raise last_words(state, error, items, verb="would be started")
    return Exit.OK


_FIELDS = ("dry_run", "method", "url", "idempotency_key", "token_from", "profile", "body", "deployment")


def _error(order: Order | QoderError) -> QoderError | None:
    return order if isinstance(order, QoderError) else None


def _request(state: "State", order: Order) -> dict[str, Any]:
    settings = state.client.settings  # by way of the client, so that a missing token is found here too
    values: tuple[Any, ...] = (
        True,
        "POST",
        f"{settings.base_url}/deployments/{segment(order.deployment_id)}/run",
        order.key or "(generated)",
        settings.token_source,
        settings.profile,
        {},
        order.deployment_id,
    )
    return dict(zip(_FIELDS, values, strict=True))
