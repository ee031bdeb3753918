"""`deploy run --dry-run`: show each trigger's request, and why it would be refused."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, NotRequired, TypedDict

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, ErrorData, QoderError
from qoder_cli.base.ids import segment
from qoder_cli.base.pool import in_order
from qoder_cli.nouns.lookup import find_deployment, refusal_of
from qoder_cli.output.cells import Fields
from qoder_cli.output.results import Item, NotFoundItem, deciding_error
from qoder_cli.runs.ending import Ended
from qoder_cli.runs.trigger import Order

if TYPE_CHECKING:
    from qoder_cli.fleet.queue import Queue

_REQUEST = ("dry_run", "method", "url", "idempotency_key", "token_from", "profile", "body", "deployment")
_FIELDS = (*_REQUEST, "error", "at_most", "group")


class DryRun(TypedDict):
    """The request that would start a run."""

    dry_run: Annotated[Literal[True], "true"]
    method: Annotated[str, "the method of the request that would be sent"]
    url: Annotated[str, "the URL of the request that would be sent"]
    idempotency_key: Annotated[str, "its idempotency key"]
    token_from: Annotated[str | None, "where the token comes from"]
    profile: Annotated[str, "the profile of the config file"]
    body: Annotated[dict[str, Any], "the body of the request that would be sent"]
    deployment: Annotated[str, "deployment id, dep_…"]
    at_most: Annotated[int | None, "with --at-most, how many of its group may run at once, else null"]
    group: Annotated[str | None, "the group of --in, or null"]
    error: NotRequired[Annotated[ErrorData, "why it would be refused, if it would"]]


class DryRunItem(DryRun, Item):
    """A request that is one of several."""


class NoRequest(NotFoundItem):
    """An item for which no request would be sent."""

    dry_run: Annotated[Literal[True], "true"]


AnyRequest = DryRunItem | NoRequest


def show_requests(
    app: App,
    words: Sequence[str],
    orders: Sequence[Order | QoderError],
    *,
    as_list: bool,
    queue: "Queue | None" = None,
) -> None:
    """Print the requests, or errors, with the queue for which they would wait. Raises why one would be refused."""
    from qoder_cli.cli.several import last_words
    from qoder_cli.fleet.conductor import warn_of

    app.pace_reads()
    is_ids = app.output.format == "id"
    ids = list(dict.fromkeys(order.deployment_id for order in orders if isinstance(order, Order)))
    refusals = dict(zip(ids, in_order(lambda id: _refusal(app, id), ids), strict=True))
    items = []
    for word, order in zip(words, orders, strict=True):
        if isinstance(order, QoderError):
            items.append(Ended(word, None, order))
        else:
            items.append(Ended(word, None, refusals[order.deployment_id]))
    shown = [(item, order) for item, order in zip(items, orders, strict=True) if not item.error or not is_ids]
    rows = [_shown(app, item, order, queue, as_list=as_list) for item, order in shown]
    error = deciding_error(items)
    if as_list:
        warned = Counter[tuple[str, str | None]]()
        for item in items:
            warn_of(app, item, warned)
        app.output.records([row for row, _ in rows], data=[data for _, data in rows], id="deployment")
        error = error and last_words(app, error, items, verb="would be started")
    else:
        for fields, data in rows:
            app.output.record(fields, data=data, id=data["deployment"])
    if error is not None:
        raise error


def _shown(
    app: App, item: Ended, order: Order | QoderError, queue: "Queue | None", *, as_list: bool
) -> tuple[Fields, dict[str, Any]]:
    """Return a request, or why there is none, as a row and as JSON."""
    status = item.error and item.status
    if not isinstance(order, Order):
        data = {"dry_run": True, **item.as_json()}
        return {**dict.fromkeys(_FIELDS), "dry_run": True, "deployment": data["input"], "error": status}, data
    settings = app.client.settings  # the client's: a missing token is found here too
    request: DryRun = {
        "dry_run": True,
        "method": "POST",
        "url": f"{settings.base_url}/deployments/{segment(order.deployment_id)}/run",
        "idempotency_key": order.key or "(generated)",
        "token_from": settings.token_source,
        "profile": settings.profile,
        "body": {},
        "deployment": order.deployment_id,
        "at_most": queue.most if queue else None,
        "group": queue.group if queue else None,
    }
    fields: Fields = {**dict.fromkeys(_FIELDS), **request, "body": "{}", "error": status}
    if item.error is not None:
        request["error"] = item.error.as_json()
    return fields, {**request, **item.item} if as_list else dict(request)


def _refusal(app: App, id: str) -> QoderError | None:
    """Return the error that a run would be refused with; None if none is known."""
    try:
        deployment = find_deployment(app, id)
    except ApiError as error:
        return error
    refused = refusal_of(deployment, app)
    return refused and refused.with_(message=f"{refused.message}; a run would be refused")
