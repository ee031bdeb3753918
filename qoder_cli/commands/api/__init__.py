"""`qoder api`: any endpoint of the API, with no write sent twice."""

from contextlib import suppress

import typer

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, InternalError, Interrupted, OutcomeUnknown, Signalled, UsageError, exclude
from qoder_cli.cli.options import Text, Texts, argument, flag, option, several
from qoder_cli.commands.api import body
from qoder_cli.commands.api.body import Body
from qoder_cli.commands.api.call import RawCall, explained, show_body, show_head, show_pages, show_stream
from qoder_cli.commands.api.request import RawRequest, read_headers, read_target
from qoder_cli.help.completion import values
from qoder_cli.http.answers import METHODS, WITH_BODY, Answer
from qoder_cli.nouns.table import search
from qoder_cli.output.cells import Words

_METHOD = argument("METHOD", "GET, POST, PUT, PATCH or DELETE.", values.one_of("method"), default=None)
_INPUT = option("--input", "FILE|-", "Send this JSON unchanged; - reads stdin.", values.files)
_KEY = option("--idempotency-key", "KEY", "Allow retries of a write under this key.")
_EXAMPLE = "for example: qoder api GET /deployments; to list endpoints: qoder api --list"


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
    --idempotency-key allows retries, but not every endpoint honours it. Start
    runs with `qoder deploy run`.

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
            _call(app, request, include=include)
        if request.operation and app.err.is_terminal:
            app.progress.note(f"qoder {' '.join(request.operation.command)} does the same; see its --help")
    except ApiError as error:
        raise explained(request, error) from None


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
        return body.of_file(input, stdin=app.stdin)
    if form:
        return body.of_form(form)
    return body.of_fields(texts, values)


def _call(app: App, request: RawRequest, *, include: bool) -> None:
    call = RawCall(app, request)
    try:
        answer = call.make()
    except (ApiError, OutcomeUnknown, Interrupted):
        if call.answer and (include or call.is_done):  # it can be done when a signal came
            with suppress(InternalError):  # a full disk is the smaller trouble
                _show(app, call.answer, include=include)
        raise
    try:
        _show(app, answer, include=include)
    except Signalled as signalled:
        if request.is_write:
            raise call.stopped_after(signalled, answer) from None
        raise
    except InternalError as error:  # a full disk does not undo a write
        if not request.is_write:
            raise
        message = f"{error.message}; {request} is done (HTTP {answer.status}); do not repeat it"
        raise error.with_(run_state="unknown", message=message) from None


def _show(app: App, answer: Answer, *, include: bool) -> None:
    if include:
        show_head(app, answer)
    show_body(app, answer)
