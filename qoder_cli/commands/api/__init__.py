"""`qoder api`: any endpoint of the API, with no write sent twice.

A GET is retried. A write is sent once: a 4xx did nothing; after a 5xx, no response, or one not the API's, nobody knows
(exit 9), unless it certainly never arrived (exit 7). With a key it is retried like a GET, under that key, which a
server may ignore (api.md#idempotency): so what has an agent work is sent once all the same.
"""

import codecs
import io
from contextlib import ExitStack, suppress
from http import HTTPStatus
from typing import Any

import typer

from qoder_cli.app import App
from qoder_cli.base import jsontext
from qoder_cli.base.errors import (
    ApiError,
    InternalError,
    Interrupted,
    NotFound,
    OutcomeUnknown,
    Signalled,
    UsageError,
    exclude,
)
from qoder_cli.base.model import mapping, text
from qoder_cli.base.pool import OneAhead
from qoder_cli.cli.options import Text, Texts, argument, flag, option, several
from qoder_cli.commands.api.request import Body, RawRequest, of_fields, of_file, of_form, read_headers, read_target
from qoder_cli.help.completion import values
from qoder_cli.http import redact
from qoder_cli.http.answers import METHODS, WITH_BODY, WITHOUT_BODY, Answer, Pending, no_response, not_json
from qoder_cli.http.pace import next_try
from qoder_cli.http.write import Meaning, Recovery, Write
from qoder_cli.nouns.table import Operation, readable, search
from qoder_cli.output.cells import Words
from qoder_cli.output.data import Output, Rows
from qoder_cli.output.listing import LARGEST_PAGE
from qoder_cli.output.screen import inert, inert_lines

_METHOD = argument("METHOD", "GET, POST, PUT, PATCH or DELETE.", values.one_of("method"), default=None)
_INPUT = option("--input", "FILE|-", "Send this JSON unchanged; - reads stdin.", values.files)
_KEY = option("--idempotency-key", "KEY", "Allow retries of a write under this key.")
_EXAMPLE = "for example: qoder api GET /deployments; to list endpoints: qoder api --list"
# Cursors that conflict with the one for the next page (api.md#lists-and-pages).
_OTHER_CURSORS = ("before_id", "before", "after")
WRITE_TIMEOUT = 60.0  # seconds; a lost response to a write costs more than waiting for it


def api(
    app: App,
    method: Text = _METHOD,
    path: Text = argument("PATH", "Request path, e.g. /deployments/dep_1.", default=None),
    words: Texts = typer.Argument(None, metavar="WORDS", hidden=True),
    text_fields: Texts = several("-f", "KEY=TEXT", "String field in the body."),
    json_fields: Texts = several("-F", "KEY=JSON", "JSON field in the body."),
    input: Text = _INPUT,
    form: Texts = several("--form", "KEY=@FILE", "Upload a form with this file."),
    query: Texts = several("--query", "NAME=VALUE", "Query parameter."),
    header: Texts = several("--header", "NAME:VALUE", "Request header."),
    paginate: bool = flag("--paginate", "Fetch all pages as one array."),
    include: bool = flag("--include -i", "Print status line and headers first."),
    idempotency_key: Text = _KEY,
    list_: bool = flag("--list", "List endpoints matching all WORDS."),
) -> None:
    """Call any API endpoint.

    Prints the response body unchanged (on a terminal indented, without control
    sequences). PATH may begin with /v1 or /api/v1/cloud. Requests never go to
    another host.

    POST, PUT and PATCH send the object that -f and -F describe (`a[b]=c` is a
    key within `a`, `a[]=b` an item of a list), or --input, or the form of
    --form (key=text for its other fields), or {}. Other methods take --query.
    For uploads that keep folders, use `files[]=@skill/SKILL.md`.

    GETs are retried, writes sent once (exit 9: effect unknown).
    --idempotency-key allows retries, but not every endpoint honours it: what
    starts a run, a session or a dream, and a message, is still sent once.
    Start runs with `qoder deploy run`.

    --paginate follows all pages; -o jsonl prints an item a line, -q ids. Event
    streams are printed as they arrive. On errors stdout is empty, or with
    --include has the response.

    Examples:
      qoder api GET /deployments --query limit=5
      qoder api POST /deployments/dep_slow -f 'metadata[team]=web'
      qoder api --list session events

    Exits 0 on 2xx, 2 if nothing was sent, 4 to 7 on errors that changed
    nothing, 9 if unknown."""
    if list_:
        return _list(app, [word for word in (method, path, *(words or [])) if word])
    verb = _method(method, path, words)
    body = _body(app, verb, text_fields or [], json_fields or [], input, form or [])
    own = read_headers(header or [])
    if body is not None and "content-type" in own and not body.kind.endswith("json"):
        raise UsageError("--header cannot set the content-type of a form", hint="drop the header")
    if idempotency_key is not None:
        if verb == "GET":
            raise UsageError("--idempotency-key only works for writes", hint="drop it; GETs are retried anyway")
        from qoder_cli.base.ids import check_key

        idempotency_key = check_key(idempotency_key, app.keep_secrets(app.settings.token))
    below, params = read_target(path or "", base_url=app.settings.base_url, query=query or [])
    request = RawRequest(verb, below, params, body, own, idempotency_key)
    is_no_list = request.operation is not None and request.operation.kind != "page"
    if paginate and (request.is_write or request.is_stream or is_no_list):
        raise UsageError("--paginate only works for a GET of a list", hint="drop it")
    exclude({"--paginate": paginate, "--include": include})
    try:
        if paginate:
            show_pages(app, request)
        elif request.is_stream:
            show_stream(app, request, include=include)
        else:
            RawCall(app, request, include=include).show()
        if request.operation and app.err.is_terminal:
            app.progress.note(f"qoder {' '.join(request.operation.command)} does the same; see its --help")
    except ApiError as error:
        if request.operation is None and (isinstance(error, NotFound) or error.http_status == 405):
            hint = f"{verb} is not documented for this path; to list the operations: qoder api --list"
            raise error.with_(hint=hint) from None
        raise


def _list(app: App, words: list[str]) -> None:
    operations = list(search(words))
    app.output.records(
        [
            {"method": row.method, "path": Words(row.path, least=70), "id": row.id, "kind": row.kind}
            | {"query": ",".join(row.query) or None, "body": ",".join(row.body) or None}
            | {"command": " ".join(("qoder", *row.command))}
            for row in operations
        ],
        data=[operation._asdict() for operation in operations],
        id="id",
        first=("path", "method", "command", "id", "kind", "query", "body"),
    )
    if not operations:
        app.progress.note("note: no endpoint matches all of these words (searched id, method and path)")


def _method(method: str | None, path: str | None, words: list[str] | None) -> str:
    if method is None:
        raise UsageError("missing arguments METHOD and PATH", hint=_EXAMPLE)
    if method.upper() not in METHODS:
        raise UsageError(f"unknown method {method[:60]!r}; expected one of {', '.join(METHODS)}", hint=_EXAMPLE)
    if path is None:
        raise UsageError("missing argument PATH", hint=_EXAMPLE)
    if words:
        raise UsageError(f"unexpected argument {words[0][:60]!r}", hint="quote PATH if it contains spaces")
    return method.upper()


def _body(
    app: App, method: str, texts: list[str], values: list[str], input: str | None, form: list[str]
) -> Body | None:
    sources = {"-f or -F": texts + values, "--input": input, "--form": form}
    if input == "":
        raise UsageError("--input is empty", hint="give a file, or - for standard input")
    exclude(sources)
    given = any(sources.values())
    if given and method not in WITH_BODY:
        raise UsageError(f"{method} requests have no body", hint="use --query NAME=VALUE")
    if not given:
        return None
    if input:
        return of_file(input, stdin=app.stdin)
    if form:
        return of_form(form)
    return of_fields(texts, values)


class RawCall:
    """A request, and the last complete response to it. A lost one cannot be settled: the request may be any."""

    def __init__(self, app: App, request: RawRequest, *, include: bool) -> None:
        self._app = app
        self._request = request
        self._include = include
        self._answer: Answer | None = None
        self._is_done = False  # whether the response says that all is done
        self._announced = False

    def show(self) -> None:
        """Send it, and print a 2xx response that can be believed. Raises as `Write.deliver`."""
        try:
            answer = self._make()
        except (ApiError, OutcomeUnknown, Interrupted):
            if self._answer and (self._include or self._is_done):  # it can be done when a signal came
                with suppress(InternalError):  # a full disk is the smaller trouble
                    self._print(self._answer)
            raise
        try:
            self._print(answer)
        except Signalled as signalled:
            if self._request.is_write:
                raise self._stopped_after(signalled, answer) from None
            raise
        except InternalError as error:  # a full disk does not undo a write
            if not self._request.is_write:
                raise
            message = f"{error.message}; {self._request} is done (HTTP {answer.status}); do not repeat it"
            raise error.with_(run_state="unknown", message=message) from None

    def _print(self, answer: Answer) -> None:
        if self._include:
            show_head(self._app, answer)
        show_body(self._app, answer)

    def _make(self) -> Answer:
        client = self._app.client
        if not self._request.is_write:
            return client.patiently(lambda: self._read(client.send(self._prepare())))
        recovery = Recovery(
            self._doubt,
            resend_after=self._resend_after,
            stopped_after=self._stopped_after,
            retries=self._request.key is not None,
        )
        return Write(client, self._prepare, self._read, recovery).deliver()

    def _prepare(self) -> Pending:
        request, client = self._request, self._app.client
        self._answer = None
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
            again = ""
            if request.key and not request.is_start:
                again = f"; retried with the key {request.key} if no response comes"
            client.progress.note(f"{request}{client.settings.whereabouts}{again}")
        return pending

    def _read(self, answer: Answer) -> Answer:
        client = self._app.client
        self._answer = answer
        _check(client.accept(answer), self._request.operation, client.settings.host)
        self._is_done = True
        return answer

    def _resend_after(self, error: ApiError, meaning: Meaning, resends: int, spent: float) -> float | None:
        if self._request.key is None or self._request.is_start or meaning is Meaning.DOUBTFUL:
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

    def _stopped_after(self, signalled: Signalled, answer: Answer) -> Interrupted:
        message = f"stopped by a signal; {self._request} is done (HTTP {answer.status})"
        return signalled.in_words(message, run_state="unknown")


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


def _output(app: App) -> Output:
    """Return what prints JSON, where a table would be printed by default."""
    return Output(app.out, "json" if app.output.format == "table" else app.flags.output)


def show_body(app: App, answer: Answer) -> None:
    """Print a body: as it came, as ids with -q, as YAML; harmless on a terminal."""
    output, content = _output(app), answer.content
    if output.format == "id":
        items: list[Any] = [answer.body] if answer.body else []
        with suppress(ValueError):
            value = jsontext.parse(answer.body)
            data = mapping(value).get("data", value)
            items = data if isinstance(data, list) else [value]
        ids = [id for item in items if (id := text(mapping(item).get("id")))]
        app.out.write("".join(f"{inert(id)}\n" for id in ids))
        if without := len(items) - len(ids):
            app.progress.warn(f"{without} of {len(items)} in the response have no id, and -q prints only ids")
        return
    if not content or not (app.out.is_terminal or output.format == "yaml"):
        return app.out.write_exactly(content)
    try:
        value = jsontext.parse(content.decode())
    except UnicodeDecodeError:
        what = f"{len(content):,} bytes of {answer.kind or 'an unknown type'}"
        if not app.out.is_terminal:
            return app.out.write_exactly(content)
        app.progress.warn(f"the response is {what}, which a terminal cannot show; write it to a file: > FILE")
    except ValueError:  # it is not JSON
        output.content(content)
    else:
        output.record({}, data=value)


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
    with Rows(_output(app), fields=mapping, data=lambda item: item) as rows:
        for page in pages:
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
