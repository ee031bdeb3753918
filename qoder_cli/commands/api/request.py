"""A request as it is typed, checked: method, path, query, headers, and a body of fields, a file or a form."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import PurePath
from typing import IO, Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from qoder_cli.base import jsontext
from qoder_cli.base.errors import UsageError
from qoder_cli.base.plainfile import read_body
from qoder_cli.base.tokens import is_token
from qoder_cli.nouns.table import Operation, find
from qoder_cli.settings.values import API_PATH, host_of, origin, read_base_url

_LONGEST = 8000  # characters of a path, and of a header
_STRAY_PERCENT = re.compile("%(?![0-9A-Fa-f]{2})")
_PLACEHOLDER = re.compile("[{}<>…]")
_EXAMPLE = "for example: qoder api GET /deployments"
_ANYTHING = "application/json, */*;q=0.5"

_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_HEADER_VALUE = re.compile(r"[\x20-\x7e\t]*")
# The token, options and the connection decide these. A gateway that heeds a method's override makes a write of a GET,
# repeated and allowed with QODER_READ_ONLY.
_REFUSED = (
    "authorization proxy-authorization x-api-key cookie host idempotency-key x-idempotency-key qoder-workspace-id"
    " x-http-method-override x-http-method x-method-override connection content-encoding content-length expect"
    " keep-alive proxy-connection te trailer transfer-encoding upgrade"
)
_STARTS = ("deployments.run", "sessions.create", "sessions.events.send", "dreams.create")
_KEY = re.compile(r"[^\[\]]+(\[[^\[\]]+\])*(\[\])?")  # a, a[b], a[b][c], a[], a[b][]
_EXAMPLES = {"-f": "name=nightly", "-F": "budget=null", "--form": "file=@report.txt", "--query": "limit=5"}
_UNDECODED = re.compile("[\ud800-\udfff]")  # from bytes in a command line that are not UTF-8


class Body(NamedTuple):
    """The bytes of a body, and their media type."""

    content: bytes
    kind: str = "application/json"


def split(word: str, option: str) -> tuple[str, str]:
    """Return an option's NAME and VALUE. Raises UsageError."""
    name, sign, value = word.partition("=")
    if not name or not sign:
        takes = "NAME=VALUE" if option == "--query" else "KEY=VALUE"
        hint = f"for example: {option} {_EXAMPLES[option]}"
        raise UsageError(f"{option} takes {takes}, not {word[:60]!r}", hint=hint)
    if _UNDECODED.search(word):
        raise UsageError(f"{option} {name[:60]!r} has bytes that are not UTF-8", hint="write it in UTF-8")
    return name, value


def of_fields(texts: Sequence[str], values: Sequence[str]) -> Body:
    """Return the object for `-f key=text` and `-F key=json`. Raises UsageError."""
    body: dict[str, Any] = {}
    for text_field in texts:
        name, text = split(text_field, "-f")
        _put(body, name, text, "-f")
    for json_field in values:
        name, text = split(json_field, "-F")
        try:
            _put(body, name, jsontext.parse(text), "-F")
        except ValueError as error:
            raise UsageError(
                f"-F takes JSON, not {text[:60]!r}: {error}",
                hint="for a text: -f key=text, or -F 'key=\"text\"'",
            ) from None
    return Body(jsontext.dump(body).encode())


def of_file(path: str, *, stdin: IO[str] | None) -> Body:
    """Return the JSON of a file, or of stdin for `-`, unchanged. Raises UsageError."""
    content = read_body(path, stdin, option="--input")
    try:
        jsontext.parse(content.decode())
    except ValueError as error:
        name = "standard input" if path == "-" else path
        raise UsageError(f"--input: {name} is not JSON: {error}", hint="check it with: jq . FILE") from None
    return Body(content)


def of_form(parts: Sequence[str]) -> Body:
    """Return the form of `name=text` and `name=@file`, of `name[]` with relative paths."""
    from qoder_cli.http.client import multipart

    texts: dict[str, list[str]] = {}
    files: list[tuple[str, str, bytes]] = []
    for part in parts:
        name, value = split(part, "--form")
        if value.startswith("@"):
            path = PurePath(value[1:])
            called = path.name
            if name.endswith("[]") and not path.is_absolute() and ".." not in path.parts:
                called = path.as_posix()
            files.append((name, called, read_body(value[1:], None, option="--form")))
        else:
            texts.setdefault(name, []).append(value)
    if not files:
        hint = "for example: --form file=@report.txt; for other fields: -f key=value"
        raise UsageError("--form needs a file", hint=hint)
    return Body(*multipart(texts, files))


def _put(body: dict[str, Any], name: str, value: Any, option: str) -> None:
    if not _KEY.fullmatch(name):
        hint = "use a, a[b] for a key within a, or a[] for an item"
        raise UsageError(f"{option}: {name[:60]!r} is not a valid key", hint=hint)
    steps = name.replace("]", "").split("[")
    place: Any = body
    for step, next_step in pairwise(steps):
        place = place.setdefault(step, {} if next_step else [])
        if not isinstance(place, dict if next_step else list):
            place = None
            break
    if isinstance(place, list) and not steps[-1]:
        place.append(value)
    elif isinstance(place, dict) and steps[-1] and steps[-1] not in place:
        place[steps[-1]] = value
    else:
        raise UsageError(f"the field {name[:60]!r} is given twice, or as two kinds of thing", hint="give each once")


@dataclass(frozen=True)
class RawRequest:
    """A request; `headers` are the caller's own, `key` is an idempotency key."""

    method: str
    path: str  # below the base URL, percent-encoded as typed
    params: dict[str, list[str]]  # the query, decoded
    body: Body | None = None
    headers: dict[str, str] = field(default_factory=dict)
    key: str | None = None

    @property
    def operation(self) -> Operation | None:
        return find(self.method, self.path)

    @property
    def is_write(self) -> bool:
        return self.method != "GET"

    @property
    def is_start(self) -> bool:
        """Whether it has an agent work, which costs credits: a key may be ignored (api.md#idempotency)."""
        return self.operation is not None and self.operation.id in _STARTS

    @property
    def is_stream(self) -> bool:
        """Whether it asks for an event stream, by operation or Accept header."""
        is_declared = self.operation is not None and self.operation.kind == "stream"
        return not self.is_write and (is_declared or "text/event-stream" in self.headers.get("accept", ""))

    @property
    def all_headers(self) -> dict[str, str]:
        """The headers to send, besides those that every request has."""
        headers = {}
        if self.operation is not None and self.operation.kind == "binary":
            headers["accept"] = _ANYTHING
        if self.body:
            headers["content-type"] = self.body.kind
        if self.key:
            headers["idempotency-key"] = self.key
        return headers | self.headers

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def read_headers(words: Sequence[str]) -> dict[str, str]:
    """Return headers by lower-case name. Raises UsageError for a header that only qoder may set."""
    headers: dict[str, str] = {}
    for header in words:
        name, sign, value = header.partition(":")
        name, value = name.strip().lower(), value.strip()
        if not sign or not _HEADER.fullmatch(name) or not _HEADER_VALUE.fullmatch(value) or len(header) > _LONGEST:
            raise UsageError(  # not shown: it may be a secret in the wrong place
                "--header takes 'Name: value' of printable ASCII characters",
                hint="for example: --header 'x-request-id: 7'",
            )
        if name in _REFUSED.split():
            hint = "for some there is an option: --idempotency-key, --workspace, --profile, --base-url"
            raise UsageError(f"--header cannot set {name}", hint=hint)
        headers[name] = value
    return headers


def read_target(word: str, *, base_url: str, query: Sequence[str] = ()) -> tuple[str, dict[str, list[str]]]:
    """Return the target of a PATH as typed, with --query added to its own query.

    PATH is below the base URL, with or without `/v1` (api.md#hosts-and-regions) or the base URL's own
    path, or a URL that begins with the base URL. Raises UsageError for anything else: another
    host, `.` and `..` however encoded, a placeholder left in it, what belongs in no URL.
    """
    if not word or len(word) > _LONGEST:
        raise UsageError("PATH is empty or too long", hint=_EXAMPLE)
    if not word.isprintable() or any(sign in word for sign in " \\#"):
        raise _no_path("contains a space, a control character, a backslash or a #")
    address, _, own_query = word.partition("?")
    path = _below(address, base_url).removesuffix("/")
    _check(path)
    try:
        pairs = parse_qsl(own_query, keep_blank_values=True, errors="strict")
    except ValueError:
        raise _no_path("has a query that is not UTF-8") from None
    params: dict[str, list[str]] = {}
    for name, value in (*pairs, *(split(parameter, "--query") for parameter in query)):
        params.setdefault(name, []).append(value)
    return path, params


def _below(address: str, base_url: str) -> str:
    if address.startswith("//"):
        raise _no_path("begins with //, as a host does; nothing was sent")
    base = urlsplit(base_url).path
    if "://" in address:
        scheme, _, rest = address.partition("://")
        host, slash, path = rest.partition("/")
        there = read_base_url(f"{scheme}://{host}", source="PATH")
        if origin(there) != origin(base_url):
            raise UsageError(
                f"PATH names {host_of(there)}, but the server is {host_of(base_url)}; nothing was sent",
                hint="choose the server with --profile, --region or --base-url; PATH is for example /deployments",
            )
        if not f"/{path}".startswith(f"{base}/"):
            raise _no_path(f"is a URL that does not begin with {base_url}/")
        return f"{slash}{path}"[len(base) :]
    path = "/" + address.removeprefix("/")
    prefixes = sorted((API_PATH, base, "/v1"), key=len, reverse=True)
    own = next((prefix for prefix in prefixes if f"{path}/".startswith(f"{prefix}/")), "")
    if not own and path.startswith("/api/"):
        raise _no_path(f"is not below {base}", hint="use what follows it, for example /deployments")
    return path[len(own) :]


def _check(path: str) -> None:
    """Raise UsageError for a path that a server could read differently."""
    if path in ("", "/"):
        raise _no_path("is empty", hint="use for example /deployments; to list the operations: qoder api --list")
    if _STRAY_PERCENT.search(path):
        raise _no_path("has a % that is not followed by two hexadecimal digits", hint="write a % itself as %25")
    decoded = path
    while (once := unquote(decoded)) != decoded:  # some gateways decode twice
        decoded = once
    if match := _PLACEHOLDER.search(decoded):
        raise _no_path(f"contains {match[0]}", hint="replace {…} by an id, for example /deployments/dep_123")
    segments = decoded.removeprefix("/").split("/")
    if any(map(is_token, segments)):
        raise _no_path("contains a token; nothing was sent", hint="set QODER_PAT to it, or: qoder auth login")
    is_plain = decoded.isprintable() and "\\" not in decoded
    if not is_plain or {"", ".", ".."} & set(segments) or any(sign in segments[0] for sign in ".:@"):
        what = "contains an empty part, '.', '..', a control character or a backslash, or begins with a host"
        raise _no_path(f"{what}; nothing was sent")


def _no_path(what: str, *, hint: str = _EXAMPLE) -> UsageError:
    return UsageError(f"PATH {what}", hint=hint)
