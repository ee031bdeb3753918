"""One request of `qoder api`, sent again only if that is safe, and its response, printed.

A GET is retried. A write is sent once: a 4xx did nothing; after a 5xx, no response, or one
not the API's, nobody knows (exit 9), unless it certainly never arrived (exit 7). With a key
it is retried like a GET, under that key, which a server may ignore (api.md#idempotency).
"""

import codecs
import io
from contextlib import ExitStack, suppress
from http import HTTPStatus
from typing import Any

from qoder_cli.app import App
from qoder_cli.base import jsontext
from qoder_cli.base.errors import ApiError, Interrupted, NotFound, OutcomeUnknown, Signalled, UsageError
from qoder_cli.base.model import mapping, text
from qoder_cli.base.pool import OneAhead
from qoder_cli.commands.api.request import RawRequest
from qoder_cli.http import redact
from qoder_cli.http.answers import WITHOUT_BODY, Answer, Pending, no_response, not_json
from qoder_cli.http.pace import next_try
from qoder_cli.http.write import Meaning, Recovery, Write
from qoder_cli.nouns.table import Operation, readable
from qoder_cli.output.data import Output, Rows
from qoder_cli.output.listing import LARGEST_PAGE
from qoder_cli.output.screen import inert, inert_lines

# Cursors that conflict with the one for the next page (api.md#lists-and-pages).
_OTHER_CURSORS = ("before_id", "before", "after")
WRITE_TIMEOUT = 60.0  # seconds; a lost response to a write costs more than waiting for it


class RawCall:
    """A request and its result. A lost response cannot be settled: the request may be any.

    `answer` is the last complete response; `is_done` is True once one says that all is done.
    """

    def __init__(self, app: App, request: RawRequest) -> None:
        self.answer: Answer | None = None
        self.is_done = False
        self._app = app
        self._request = request
        self._announced = False

    def make(self) -> Answer:
        """Send it and return a 2xx response that can be believed. Raises as `Write.deliver`."""
        client = self._app.client
        if not self._request.is_write:
            return client.patiently(lambda: self._read(client.send(self._prepare())))
        recovery = Recovery(
            self._doubt,
            resend_after=self._resend_after,
            stopped_after=self.stopped_after,
            retries=self._request.key is not None,
        )
        return Write(client, self._prepare, self._read, recovery).deliver()

    def _prepare(self) -> Pending:
        request, client = self._request, self._app.client
        self.answer = None
        usual = WRITE_TIMEOUT if request.is_write else client.request_timeout
        pending = client.prepare(
            request.method,
            request.path,
            params=request.params or None,
            content=request.body and request.body.content,
            headers=request.all_headers,
            timeout=client.settings.request_timeout or usual,
        )
        if request.is_write and not self._announced:
            self._announced = True
            again = f"; retried with the key {request.key} if no response comes" if request.key else ""
            client.progress.note(f"{request}{client.settings.whereabouts}{again}")
        return pending

    def _read(self, answer: Answer) -> Answer:
        client = self._app.client
        self.answer = answer
        _check(client.accept(answer), self._request.operation, client.settings.host)
        self.is_done = True
        return answer

    def _resend_after(self, error: ApiError, meaning: Meaning, resends: int, spent: float) -> float | None:
        if self._request.key is None or meaning is Meaning.DOUBTFUL:
            return None
        return next_try(error, tries=resends + 1, spent=spent, jitter=self._app.clock.jitter())

    def _doubt(self, why: str, cause: ApiError | None, may_repeat: bool) -> OutcomeUnknown:
        path = readable(self._request.path)
        return OutcomeUnknown(
            f"unknown whether {self._request} was done: {why}",
            hint="check before doing it again",
            next=self._app.command("api", "GET", path) if path else None,
            run_state="unknown",
            cause=cause,
        )

    def stopped_after(self, signalled: Signalled, answer: Answer) -> Interrupted:
        """Return the error of a signal that came once it was done."""
        message = f"stopped by a signal; {self._request} is done (HTTP {answer.status})"
        return signalled.in_words(message, run_state="unknown")


def explained(request: RawRequest, error: ApiError) -> ApiError:
    """Return an error with a better hint, if operations or options have one."""
    if request.operation is None and (isinstance(error, NotFound) or error.http_status == 405):
        what = f"{request.method} is not documented for this path"
        return error.with_(hint=f"{what}; to list the operations: qoder api --list")
    return error


def _check(answer: Answer, operation: Operation | None, host: str) -> None:
    """Raise NoResponse for what cannot be the API's, such as a gateway's page."""
    kind = answer.kind
    if not answer.content and (answer.status in WITHOUT_BODY or answer.headers.get("content-length") == "0"):
        return
    if kind == "text/html":
        raise no_response(f"HTTP {answer.status} from {host}: not the API's response ({kind})")
    may_be_anything = operation is None or operation.kind == "binary"
    if not may_be_anything or kind == "application/json" or kind.endswith("+json"):
        try:
            jsontext.parse(answer.body)
        except ValueError as error:
            raise not_json(answer, host, error) from None


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
