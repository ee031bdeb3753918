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
        raise UsageError("PATH is empty, or far too long", hint="as in: qoder api GET /deployments")
    if not typed.isprintable() or any(sign in typed for sign in " \\#"):
        raise _no_path("has a space, a control character, a backslash or a # in it")
    address, _, own_query = typed.partition("?")
    path = _below(address, base_url)
    _check(path)
    return Target(path, [*_pairs(own_query), *(split(each, "--query") for each in query)])


def _below(address: str, base_url: str) -> str:
    """Return the path below the base URL, without a slash at its end."""
    if address.startswith("//"):
        raise _no_path("begins with //, which is how a host begins; nothing was sent")
    if "://" in address:
        path = _of_url(address, base_url)
    else:
        path = "/" + address.removeprefix("/")
        base = urlsplit(base_url).path
        prefixes = sorted((API_PATH, base, "/v1"), key=len, reverse=True)
        own = next((prefix for prefix in prefixes if f"{path}/".startswith(f"{prefix}/")), "")
        path = path[len(own) :]
        if not own and path.startswith("/api/"):
            raise _no_path(f"is not below {base}", hint="give what follows, as in /deployments")
    return path.removesuffix("/")


def _of_url(url: str, base_url: str) -> str:
    """Return the path of a URL below the base URL. Raises UsageError for a URL of another server, or another API."""
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    there = read_base_url(f"{scheme}://{host}", source="PATH")
    if origin(there) != origin(base_url):
        raise UsageError(
            f"PATH names {host_of(there)}, and only {host_of(base_url)} is asked; nothing was sent",
            hint="--profile, --region or --base-url choose the server; PATH is as in /deployments",
        )
    base = urlsplit(base_url).path
    if not f"/{path}".startswith(f"{base}/"):
        raise _no_path(f"is a URL that does not begin with {base_url}/")
    return f"{slash}{path}"[len(base) :]


def _check(path: str) -> None:
    """Refuse what a server could read as something else than what it looks like."""
    if path in ("", "/"):
        raise _no_path("names nothing", hint="as in /deployments; the operations: qoder api --list")
    if _STRAY_PERCENT.search(path):
        raise _no_path("has a % that is not followed by two hexadecimal digits", hint="a % itself is written %25")
    decoded = _decoded(path)
    if match := _PLACEHOLDER.search(decoded):
        raise _no_path(f"has a {match[0]} in it", hint="put an id in the place of {…}, as in /deployments/dep_123")
    segments = decoded.removeprefix("/").split("/")
    if any(map(is_token, segments)):
        raise _no_path("has a token in it; nothing was sent", hint="set QODER_PAT to it, or: qoder auth login")
    if {"", ".", ".."} & set(segments):
        raise _no_path("has an empty part, '.' or '..' in it; nothing was sent", hint="write it out")
    if not decoded.isprintable() or "\\" in decoded:
        raise _no_path("has a control character or a backslash in it; nothing was sent")
    if any(sign in segments[0] for sign in ".:@"):
        raise _no_path("begins with a host", hint="give what follows the base URL, as in /deployments")


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


def _no_path(what: str, *, hint: str = "as in: qoder api GET /deployments") -> UsageError:
    return UsageError(f"PATH {what}", hint=hint)
