"""A request under way, and what its response means: a value or an error (api.md#errors)."""

import math
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

from qoder_cli.base import jsontext
from qoder_cli.base.errors import LONGEST_RETRY_AFTER, ApiError, AuthError, NoResponse, NotFound, Rejected, Unavailable
from qoder_cli.base.model import mapping, text
from qoder_cli.base.pool import Task
from qoder_cli.base.times import span
from qoder_cli.http.proxy import Proxy
from qoder_cli.settings.config import Settings

if TYPE_CHECKING:
    import httpx

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
WITH_BODY = ("POST", "PUT", "PATCH")  # those whose requests have a body
WITHOUT_BODY = (204, 205)  # statuses
CLOCKS_DIFFER = 10.0  # seconds by which the clocks of a server's replicas may differ
_LONGEST_ASKED = 366 * 86400.0  # seconds that a server may ask to wait; more is a mistake
SEE_DOCTOR = ": qoder doctor"  # behind a hint; what doctor prints itself is without it


@dataclass(eq=False, repr=False)
class Answer:
    """A complete response, with our own token taken out."""

    status: int
    headers: "httpx.Headers"
    content: bytes
    body: str  # the content as text; U+FFFD stands for what is not UTF-8
    kind: str  # the media type in lowercase; empty when the server names none
    is_kept: bool = False  # by a cache: it may be out of date


# A request in a thread of its own, so that deadlines and Ctrl-C hold whatever the server does: httpx's
# timeouts are per read, and a byte a second satisfies them. It commits as its first byte goes out.
Pending = Task[Answer]


def answer_to(request: Pending, within: float | None = None) -> Answer:
    """Return the response to a request that was started. Raises ApiError; NoResponse after so many seconds."""
    seconds = within or request.within
    if not request.wait(seconds):
        request.give_up()
        raise no_response(f"no complete response within {span(seconds)}", sent=request.is_committed)
    return request.value


def not_json(answer: Answer, host: str, error: ValueError) -> NoResponse:
    """Return the error for a response that is not JSON."""
    hint = "check the base URL, and any proxy in between: qoder doctor"
    return no_response(f"HTTP {answer.status} from {host}: the response is not JSON ({error})", hint=hint)


def refuse(answer: Answer, settings: Settings, *, now: float, veil: Callable[[str], str]) -> NoReturn:
    """Raise the ApiError of a response other than 2xx; `veil` hides secrets in what it says."""
    envelope: dict[str, Any] = {}
    with suppress(ValueError):
        envelope = mapping(jsontext.parse(answer.body))
    error = mapping(envelope.get("error"))
    kind, hint, retryable = _kind(answer.status, settings)
    retry_after = _retry_after(answer.headers.get("retry-after"), now)
    if retry_after is not None and retry_after > LONGEST_RETRY_AFTER:
        hint = f"try again in {span(retry_after)}, as the server requests"
    headers = answer.headers
    is_enveloped = envelope.get("type") == "error" and text(error.get("type")) is not None
    raise kind(
        f"HTTP {answer.status} from {settings.host}: {veil(_message_of(answer, error))}",
        hint=hint,
        api_type=_veiled(error.get("type"), veil),
        http_status=answer.status,
        request_id=_veiled(
            headers.get("x-request-id") or headers.get("request-id") or envelope.get("request_id"), veil
        ),
    ).with_(enveloped=is_enveloped, retryable=retryable, retry_after=retry_after)


def _message_of(answer: Answer, error: dict[str, Any]) -> str:
    message, field = text(error.get("message")), text(error.get("param"))
    if message is None and 300 <= answer.status < 400:
        try:
            host = urlsplit(answer.headers.get("location", "")).netloc.rpartition("@")[2]
        except ValueError:
            host = ""
        message = f"redirect to {host or 'an unknown place'}"
    elif message is None:
        is_ours = answer.kind in ("", "application/json")
        message = "no error message" if is_ours else f"not the API's response ({answer.kind})"
    if field is None or re.search(rf"(?<!\w){re.escape(field)}(?!\w)", message):
        return message
    return f"{message.rstrip('.')} (field: {field[:200]})"


def _veiled(value: Any, veil: Callable[[str], str]) -> str | None:
    """Return a server's word; what is more than one may quote something."""
    word = text(value)
    if word is None or re.fullmatch(r"[\w.-]{1,40}", word):
        return word
    return veil(word)


def _kind(status: int, settings: Settings) -> tuple[type[ApiError], str | None, bool]:
    if status == 401:
        return AuthError, f"the token from {settings.token_source} was rejected: {settings.advice}", False
    if status == 403:
        lacking = f"the token from {settings.token_source} (profile {settings.profile}) lacks permission for this"
        return AuthError, f"{lacking}; to use another, {settings.advice}", False
    if status == 404:
        return NotFound, f"check the id and the profile ({settings.profile})", False
    if status == 413:  # api.md#limits
        return Rejected, "send less: a file may have about 5 MB, a request 4 MB on some servers", False
    if status == 429:
        return Unavailable, "try again later: too many requests", True
    if 400 <= status < 500:
        return Rejected, None, status == 408
    if 300 <= status < 400:
        return Unavailable, f"redirects are not followed; check the base URL{SEE_DOCTOR}", False
    if status == 501:
        return Unavailable, f"this server cannot do that; check the profile ({settings.profile}){SEE_DOCTOR}", False
    return Unavailable, "try again later: this is a server problem", status < 600


def _retry_after(value: str | None, now: float) -> float | None:
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        moment = http_date(value)
        seconds = moment.timestamp() - now if moment else math.nan
    if 0 <= seconds <= _LONGEST_ASKED:
        return seconds
    return None


def no_response(message: str, *, sent: bool = True, retryable: bool = True, hint: str | None = None) -> NoResponse:
    """Return the error for no believable response; `sent` if the request may have arrived."""
    return NoResponse(message, hint=hint).with_(sent=sent, retryable=retryable)


# What to do about a certificate that is not trusted, by what OpenSSL says of it.
_OF_CERTIFICATES = (
    ("has expired", "the server's certificate expired; check this machine's clock, then tell the server's owner"),
    ("not yet valid", "check this machine's clock, then tell the server's owner"),
    ("not valid for", "the certificate is for another name; check the base URL"),
    ("", "if a proxy intercepts TLS, set SSL_CERT_FILE to its CA certificate"),
)


def broken(failure: Exception, host: str, proxy: Proxy | None, *, veil: Callable[[str], str]) -> NoResponse:
    """Return the error of a failed transport, `sent` if the request may have arrived."""
    import httpx

    reason = re.sub(r"^\[Errno -?\d+\] ", "", veil(str(failure))).rstrip(".") or type(failure).__name__
    where = f"{host} through the proxy {proxy}" if proxy else host
    if not isinstance(
        failure,
        # Only these come before the first byte of a request: the connection, or the tunnel of a proxy, was never made.
        httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout | httpx.ProxyError | httpx.UnsupportedProtocol,
    ):
        if isinstance(failure, httpx.TimeoutException):
            return no_response(f"{where} did not respond in time")
        hint = f"if this is the proxy, {proxy.fix}" if proxy else None
        return no_response(f"the connection to {where} was lost ({reason})", hint=hint)
    if "certificate" in reason.lower():
        return no_response(
            f"certificate verification failed for {host}: {reason}",
            sent=False,
            retryable=False,
            hint=next(hint for words, hint in _OF_CERTIFICATES if words in reason),
        )
    hint = proxy.fix if proxy else f"check the network and the base URL{SEE_DOCTOR}"
    return no_response(f"cannot connect to {where}: {reason}", sent=False, hint=hint)


def is_kept(headers: "httpx.Headers", asked: float | None) -> bool:
    """Return whether a cache has kept a response for a second or more (RFC 9111, 5.1).

    It may say so, or its Date lies before the request: `asked` is that moment on the server's clock, if known.
    """
    moment = http_date(headers.get("date", ""))
    is_old = moment is not None and asked is not None and moment.timestamp() < asked - CLOCKS_DIFFER
    return is_old or str(headers.get("age", "0")).strip() != "0"


@lru_cache(10)  # each response is asked twice, and many have the same second
def http_date(value: str) -> datetime | None:
    """Return the moment of a Date or Retry-After header, or None."""
    from email.utils import parsedate_to_datetime

    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
