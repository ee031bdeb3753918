"""Where a request goes: the path that was typed, in any of the spellings of the documentation, never another host."""

import re
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from qoder_cli.api.pairs import split
from qoder_cli.base.errors import UsageError
from qoder_cli.base.tokens import is_token
from qoder_cli.settings.values import API_PATH, host_of, origin, read_base_url

_LONGEST = 8000  # characters
_STRAY_PERCENT = re.compile("%(?![0-9A-Fa-f]{2})")
_PLACEHOLDER = re.compile("[{}<>…]")
_EXAMPLE = "for example: qoder api GET /deployments"


class Target(NamedTuple):
    """A path below the base URL, beginning with `/` and percent-encoded as typed; and the query, decoded."""

    path: str
    query: list[tuple[str, str]]

    @property
    def params(self) -> dict[str, list[str]]:
        """The query with the values of a name that is repeated in one place."""
        params: dict[str, list[str]] = {}
        for name, value in self.query:
            params.setdefault(name, []).append(value)
        return params


def read(typed: str, *, base_url: str, query: Sequence[str] = ()) -> Target:
    """Return where a PATH leads that was typed, with the `name=value` of --query behind its own query.

    It is a path below the base URL, with or without `/v1` (api/facts.md, 3.1) or the base URL's own path, or a URL
    that begins with the base URL. Raises UsageError for anything else: another host, `.` and `..` however encoded, a
    placeholder that is left in it, what belongs in no URL.
    """
    if not typed or len(typed) > _LONGEST:
        raise UsageError("PATH is empty or too long", hint=_EXAMPLE)
    if not typed.isprintable() or any(sign in typed for sign in " \\#"):
        raise _no_path("contains a space, a control character, a backslash or a #")
    address, _, own_query = typed.partition("?")
    path = _below(address, base_url)
    _check(path)
    return Target(path, [*_pairs(own_query), *(split(each, "--query") for each in query)])


def _below(address: str, base_url: str) -> str:
    """Return the path below the base URL, without a slash at its end."""
    if address.startswith("//"):
        raise _no_path("begins with //, as a host does; nothing was sent")
    if "://" in address:
        path = _of_url(address, base_url)
    else:
        path = "/" + address.removeprefix("/")
        base = urlsplit(base_url).path
        prefixes = sorted((API_PATH, base, "/v1"), key=len, reverse=True)
        own = next((prefix for prefix in prefixes if f"{path}/".startswith(f"{prefix}/")), "")
        path = path[len(own) :]
        if not own and path.startswith("/api/"):
            raise _no_path(f"is not below {base}", hint="use what follows it, for example /deployments")
    return path.removesuffix("/")


def _of_url(url: str, base_url: str) -> str:
    """Return the path of a URL below the base URL. Raises UsageError for a URL of another server, or another API."""
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    there = read_base_url(f"{scheme}://{host}", source="PATH")
    if origin(there) != origin(base_url):
        raise UsageError(
            f"PATH names {host_of(there)}, but the server is {host_of(base_url)}; nothing was sent",
            hint="choose the server with --profile, --region or --base-url; PATH is for example /deployments",
        )
    base = urlsplit(base_url).path
    if not f"/{path}".startswith(f"{base}/"):
        raise _no_path(f"is a URL that does not begin with {base_url}/")
    return f"{slash}{path}"[len(base) :]


def _check(path: str) -> None:
    """Refuse what a server could read as something else than what it looks like."""
    if path in ("", "/"):
        raise _no_path("is empty", hint="use for example /deployments; to list the operations: qoder api --list")
    if _STRAY_PERCENT.search(path):
        raise _no_path("has a % that is not followed by two hexadecimal digits", hint="write a % itself as %25")
    decoded = _decoded(path)
    if match := _PLACEHOLDER.search(decoded):
        raise _no_path(f"contains {match[0]}", hint="replace {…} by an id, for example /deployments/dep_123")
    segments = decoded.removeprefix("/").split("/")
    if any(map(is_token, segments)):
        raise _no_path("contains a token; nothing was sent", hint="set QODER_PAT to it, or: qoder auth login")
    if {"", ".", ".."} & set(segments):
        raise _no_path("contains an empty part, '.' or '..'; nothing was sent", hint="write it out")
    if not decoded.isprintable() or "\\" in decoded:
        raise _no_path("contains a control character or a backslash; nothing was sent")
    if any(sign in segments[0] for sign in ".:@"):
        raise _no_path("begins with a host", hint="use what follows the base URL, for example /deployments")


def _decoded(path: str) -> str:
    """Return a path without any percent-encoding, even one of a percent sign: some gateways decode twice."""
    while (decoded := unquote(path)) != path:
        path = decoded
    return path


def _pairs(query: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query, keep_blank_values=True, errors="strict")
    except ValueError:
        raise _no_path("has a query that is not UTF-8") from None


def _no_path(what: str, *, hint: str = _EXAMPLE) -> UsageError:
    return UsageError(f"PATH {what}", hint=hint)
