"""Answers without an end that is known beforehand: all pages of a list, and event streams."""

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from qoder_cli.api.call import Request
from qoder_cli.api.show import StreamPrinter, show_head
from qoder_cli.base.ahead import OneAhead
from qoder_cli.base.errors import UsageError
from qoder_cli.base.model import mapping
from qoder_cli.output.data import Output
from qoder_cli.output.listing import LARGEST_PAGE

if TYPE_CHECKING:
    from qoder_cli.app import State


# Cursors that would stand beside the one that asks for the next page (api/facts.md, 3.6).
_OTHER_CURSORS = ("before_id", "before", "after")


def show_pages(state: "State", request: Request) -> None:
    """Print the items of all pages of a list as one array, or one a line, each page while the next is fetched.

    Raises UsageError for a query that only fits one page, before anything is sent; and ApiError: what was printed
    before stands, and an array is not closed then.
    """
    params: dict[str, Any] = dict(request.target.params)
    if other := next((name for name in _OTHER_CURSORS if name in params), None):
        raise UsageError(
            f"--paginate and {other} in the query cannot be used together",
            hint="remove it, and use after_id to begin elsewhere; or remove --paginate to read one page",
        )
    if request.operation is not None and "limit" in request.operation.query:
        params.setdefault("limit", LARGEST_PAGE)
    pages = OneAhead(state.client.pages(request.target.path, params, headers=request.all_headers))
    output = Output(state.out, "json" if state.output.format == "table" else state.flags.output)
    with output.rows(fields=mapping, data=_as_it_is, id="id") as rows:
        while (page := pages.take()) is not None:
            pages.prepare()
            rows.show(page["data"])


def _as_it_is(item: Any) -> Any:
    return item


def show_stream(state: "State", request: Request, *, include: bool) -> None:
    """Print an event stream as it comes, until it ends. Raises ApiError, also when it breaks off."""
    printer, client = StreamPrinter(state), state.client
    with ExitStack() as opened:
        stream = client.patiently(
            lambda: opened.enter_context(
                client.open_stream(request.target.path, params=request.target.params or None, headers=request.headers)
            )
        )
        if include:
            show_head(state, stream.head)
        chunks = OneAhead(iter(stream))
        chunks.prepare()
        while (chunk := chunks.take()) is not None:
            printer.show(chunk)
            chunks.prepare()
