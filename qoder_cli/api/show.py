"""Print answers: byte for byte in a pipe, harmless on a terminal."""

import codecs
import io
from contextlib import ExitStack, suppress
from http import HTTPStatus
from typing import Any

from qoder_cli.api.request import RawRequest
from qoder_cli.app import App
from qoder_cli.base import jsontext
from qoder_cli.base.errors import UsageError
from qoder_cli.base.model import mapping, text
from qoder_cli.base.pool import OneAhead
from qoder_cli.http import redact
from qoder_cli.http.answers import Answer
from qoder_cli.output.data import Output, Rows
from qoder_cli.output.listing import LARGEST_PAGE
from qoder_cli.output.screen import inert, inert_lines

# Cursors that conflict with the one for the next page (api.md#lists-and-pages).
_OTHER_CURSORS = ("before_id", "before", "after")


def show_head(app: App, answer: Answer) -> None:
    """Print status line and headers, without secrets, and an empty line."""
    try:
        phrase = HTTPStatus(answer.status).phrase
    except ValueError:
        phrase = ""
    lines = [f"HTTP/1.1 {answer.status} {phrase}".rstrip()]
    lines += [redact.header(name, value) for name, value in answer.headers.multi_items()]
    app.out.write("".join(f"{inert(line)}\n" for line in lines) + "\n")


def show_body(app: App, answer: Answer) -> None:
    """Print a body: as it came, as ids with -q, as YAML; harmless on a terminal."""
    if app.flags.output == "id":
        _show_ids(app, answer.body)
    elif app.flags.output == "yaml":
        from qoder_cli.output.yamltext import document

        try:
            app.out.write(document(jsontext.parse(answer.content.decode())))
        except ValueError:  # it is not JSON
            app.out.write_exactly(answer.content)
    elif not app.out.is_terminal:
        app.out.write_exactly(answer.content)
    elif answer.content:
        try:
            app.out.write(app.output.document(jsontext.parse(answer.content.decode())) + "\n")
        except UnicodeDecodeError:
            what = f"{len(answer.content):,} bytes of {answer.kind or 'an unknown type'}"
            app.progress.warn(f"the response is {what}, which a terminal cannot show; write it to a file: > FILE")
        except ValueError:
            app.out.write(inert_lines(answer.body).removesuffix("\n") + "\n")


def _show_ids(app: App, body: str) -> None:
    items: list[Any] = [body] if body else []
    with suppress(ValueError):
        value = jsontext.parse(body)
        data = mapping(value).get("data", value)
        items = data if isinstance(data, list) else [value]
    ids = [id for item in items if (id := text(mapping(item).get("id")))]
    app.out.write("".join(f"{inert(id)}\n" for id in ids))
    if without := len(items) - len(ids):
        app.progress.warn(f"{without} of {len(items)} in the response have no id, and -q prints only ids")


def show_pages(app: App, request: RawRequest) -> None:
    """Print the items of all pages, one page ahead: an array, or one a line.

    Raises UsageError, before anything is sent, if the query fits only one page;
    ApiError: what was printed stands, and an array stays open.
    """
    params: dict[str, Any] = dict(request.params)
    if other := next((name for name in _OTHER_CURSORS if name in params), None):
        raise UsageError(
            f"--paginate and {other} in the query cannot be used together",
            hint="remove it, and use after_id to begin elsewhere; or remove --paginate to read one page",
        )
    if request.operation is not None and "limit" in request.operation.query:
        params.setdefault("limit", LARGEST_PAGE)
    pages = OneAhead(app.client.pages(request.path, params, headers=request.all_headers))
    output = Output(app.out, "json" if app.output.format == "table" else app.flags.output)
    with Rows(output, fields=mapping, data=lambda item: item) as rows:
        while (page := pages.next()) is not None:
            pages.prepare()
            rows.show(page["data"])


def show_stream(app: App, request: RawRequest, *, include: bool) -> None:
    """Print an event stream until it ends. Raises ApiError, also when it breaks off."""
    client = app.client
    characters: Any = codecs.getincrementaldecoder("utf-8")("replace")
    lines = io.IncrementalNewlineDecoder(characters, translate=True)
    with ExitStack() as opened:
        head, stream = client.patiently(
            lambda: opened.enter_context(
                client.open_stream(request.path, params=request.params or None, headers=request.headers)
            )
        )
        if include:
            show_head(app, head)
        chunks = OneAhead(filter(None, stream))
        chunks.prepare()
        while (chunk := chunks.next()) is not None:
            if app.out.is_terminal:
                app.out.write(inert_lines(lines.decode(chunk)))
            else:
                app.out.write_exactly(chunk)
            chunks.prepare()
