"""`qoder api`: any operation of the API, with our token, retries and care for what must not happen twice."""

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from qoder_cli.app import State
from qoder_cli.base.errors import ApiError, Exit, InternalError, Interrupted, OutcomeUnknown, Signalled, UsageError
from qoder_cli.help.completion import values
from qoder_cli.http.pending import METHODS

if TYPE_CHECKING:
    from qoder_cli.api.body import Body
    from qoder_cli.api.call import Call, Request


def api(
    ctx: typer.Context,
    method: Annotated[
        str | None,
        typer.Argument(
            metavar="METHOD",
            help="GET, POST, PUT, PATCH or DELETE.",
            show_default=False,
            autocompletion=values.one_of("method"),
        ),
    ] = None,
    path: Annotated[
        str | None, typer.Argument(metavar="PATH", help="As in /deployments/dep_1.", show_default=False)
    ] = None,
    words: Annotated[list[str] | None, typer.Argument(metavar="WORDS", hidden=True)] = None,
    text_fields: Annotated[
        list[str] | None, typer.Option("-f", metavar="KEY=TEXT", help="A text in the body; repeatable.")
    ] = None,
    json_fields: Annotated[
        list[str] | None, typer.Option("-F", metavar="KEY=JSON", help="A JSON value in the body; repeatable.")
    ] = None,
    input: Annotated[
        str | None,
        typer.Option(
            "--input",
            metavar="FILE|-",
            help="Send this JSON as it is; - is stdin.",
            autocompletion=values.files,
        ),
    ] = None,
    form: Annotated[
        list[str] | None, typer.Option(metavar="KEY=@FILE", help="Send a form with this file; repeatable.")
    ] = None,
    query: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Add this to the query; repeatable.")
    ] = None,
    header: Annotated[
        list[str] | None, typer.Option(metavar="NAME:VALUE", help="Send this header; repeatable.")
    ] = None,
    paginate: Annotated[bool, typer.Option("--paginate", help="All pages of a list, as one array.")] = False,
    include: Annotated[bool, typer.Option("--include", "-i", help="Print status line and headers first.")] = False,
    idempotency_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="Let a write be sent again, under this key.")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the operations with all the WORDS that follow.")] = False,
) -> int:
    """Ask for any operation of the API.

    The answer is printed byte for byte; on a terminal JSON is indented, and
    what would steer the terminal is not passed on. PATH is as the API's pages
    write it, with or without /v1 or /api/v1/cloud. No other host is asked.

    POST, PUT and PATCH send the object that -f and -F describe (`a[b]=c` is a
    key within `a`, `a[]=b` an item of a list), or --input, or the form of
    --form (key=text for its other fields), or {}. The others have a --query.
    A skill's files are each `files[]=@skill/SKILL.md`: [] keeps the folders.

    GETs are tried again as everywhere. A write is sent once: exit 9 if nobody
    knows what it did. --idempotency-key lets it be sent again; not every
    operation promises to honour one. To start a run, `qoder deploy run` is
    the safe way: it looks for a run whose answer was lost.

    --paginate follows both kinds of cursors; -o jsonl prints an item a line.
    -q prints the ids in an answer. An event stream is printed as it comes,
    until it ends or Ctrl-C. Of an error stdout has nothing, or with --include
    all that came.

    Examples:
      qoder api GET /deployments --query limit=5
      qoder api GET deployment_runs --paginate -o jsonl | jq -r .id
      qoder api POST /deployments/dep_slow -f 'metadata[team]=web'
      qoder api --list session events

    Exit 0 a 2xx answer, 2 nothing was sent, 4 to 7 an error that changed
    nothing, 9 not known. All exit codes: qoder help exit-codes"""
    state: State = ctx.obj
    if list_:
        return _list(state, [word for word in (method, path, *(words or [])) if word])
    typed = _method(method, path, words)
    body = _body(state, typed, text_fields or [], json_fields or [], input, form or [])
    request = _request(state, typed, path or "", query or [], header or [], body, idempotency_key)
    try:
        _answer(state, request, paginate=paginate, include=include)
    except ApiError as error:
        from qoder_cli.api.call import explained

        raise explained(request, error) from None
    return Exit.OK


def _list(state: State, words: list[str]) -> int:
    """Print the operations in which every word occurs; no server is asked."""
    from qoder_cli.api.operations import search
    from qoder_cli.output.cells import Words

    found = list(search(words))
    state.output.records(
        [
            {"method": each.method, "path": Words(each.path, least=70), "id": each.id, "kind": each.kind}
            | {"query": ",".join(each.query) or None, "body": ",".join(each.body) or None}
            for each in found
        ],
        data=[each._asdict() for each in found],
        id="id",
        first=("method", "path", "id", "kind", "query", "body"),
    )
    if not found:
        state.progress.note("note: none found; each word is looked for in id, method and path")
    return Exit.OK


def _method(method: str | None, path: str | None, words: list[str] | None) -> str:
    """Return the method in capitals. Raises UsageError when the words are not METHOD and PATH."""
    if method is None:
        raise UsageError("METHOD and PATH are missing", hint="as in: qoder api GET /deployments; --list shows all")
    if method.upper() not in METHODS:
        swapped = path is None or path.upper() in METHODS
        hint = f"did you mean: qoder api {(path or 'GET').upper()} {method[:60]}" if swapped else None
        raise UsageError(
            f"{method[:60]!r} is no method; it is {', '.join(METHODS[:-1])} or {METHODS[-1]}",
            hint=hint or "as in: qoder api GET /deployments",
        )
    if path is None:
        raise UsageError("PATH is missing", hint=f"as in: qoder api {method.upper()} /deployments; --list shows all")
    if words:
        raise UsageError(f"{words[0][:60]!r} is one word too many", hint="put PATH in quotes; --list takes words")
    return method.upper()


def _body(
    state: State, method: str, texts: list[str], values: list[str], input: str | None, form: list[str]
) -> "Body | None":
    """Return what is to be sent, None for nothing of one's own."""
    from qoder_cli.http.pending import WITH_BODY

    given = [name for name, value in (("-f or -F", texts + values), ("--input", input), ("--form", form)) if value]
    if input == "":
        raise UsageError("--input names no file", hint="name a file, or - for standard input")
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} contradict each other", hint="give one of them")
    if given and method not in WITH_BODY:
        raise UsageError(f"{given[0]} makes a body, and a {method} has none", hint="use --query NAME=VALUE")
    if not given:
        return None
    from qoder_cli.api import body

    if input:
        return body.of_file(input, stdin=state.stdin)
    return body.of_form(form) if form else body.of_fields(texts, values)


def _request(
    state: State,
    method: str,
    path: str,
    query: list[str],
    header: list[str],
    body: "Body | None",
    key: str | None,
) -> "Request":
    """Return the request that was typed, checked. Raises UsageError."""
    from qoder_cli.api import headers, target
    from qoder_cli.api.call import Request
    from qoder_cli.runs.trigger import check_key

    own = headers.read(header)
    if body is not None and "content-type" in own and not body.kind.endswith("json"):
        raise UsageError("--header cannot set content-type of a form", hint="leave it out")
    if key is not None and method == "GET":
        raise UsageError("--idempotency-key is for writes", hint="a GET is tried again anyway")
    where = target.read(path, base_url=state.settings.base_url, query=query)
    return Request(method, where, body, own, None if key is None else check_key(key, state.known_secrets))


def _answer(state: State, request: "Request", *, paginate: bool, include: bool) -> None:
    """Send a request and print what comes back, in whichever of three ways it comes."""
    if paginate:
        _paginate(state, request, include=include)
    elif request.is_stream:
        from qoder_cli.api.reading import show_stream

        show_stream(state, request, include=include)
    else:
        _call(state, request, include=include)


def _paginate(state: State, request: "Request", *, include: bool) -> None:
    from qoder_cli.api.reading import show_pages

    if not request.may_be_list:
        raise UsageError("--paginate is for a GET of a list", hint="leave it out")
    if include:
        raise UsageError("--paginate and --include contradict each other", hint="give one of them")
    show_pages(state, request)


def _call(state: State, request: "Request", *, include: bool) -> None:
    """Send a request and print its answer. Raises what became of it."""
    from qoder_cli.api.call import Call
    from qoder_cli.api.show import show_body

    call = Call(state, request)
    try:
        answer = call.send()
    except (ApiError, OutcomeUnknown, Interrupted):
        with suppress(InternalError):  # a full disk is the smaller trouble
            if include:
                _show_all(state, call)
            elif call.is_done and call.answer is not None:  # a signal came before the answer, and the answer after all
                show_body(state, call.answer)
        raise
    try:
        if include:
            _show_all(state, call)
        else:
            show_body(state, answer)
    except Signalled as signalled:
        if request.is_write:
            raise call.done(signalled, answer) from None
        raise
    except InternalError as error:  # a full disk does not undo a write
        raise call.unprinted(error, answer) from None


def _show_all(state: State, call: "Call") -> None:
    from qoder_cli.api.show import show_body, show_head

    if call.answer is not None:
        show_head(state, call.answer)
        show_body(state, call.answer)


COMMANDS = {"api": api}
