"""The only module that speaks HTTP: requests, retries, pages, streams. `answers` says what a response means."""

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache, partial
from http.cookiejar import DefaultCookiePolicy
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import urlsplit

from qoder_cli import __version__
from qoder_cli.base import jsontext
from qoder_cli.base.errors import ApiError, AuthError, NoResponse, Rejected, UsageError
from qoder_cli.base.times import Clock, span
from qoder_cli.base.words import shortened
from qoder_cli.http.answers import (
    WITH_BODY,
    WITHOUT_BODY,
    Answer,
    Pending,
    answer_to,
    broken,
    http_date,
    is_kept,
    no_response,
    not_json,
    refuse,
)
from qoder_cli.http.pace import next_try
from qoder_cli.http.proxy import Proxy, goes_around, named
from qoder_cli.output.progress import Progress
from qoder_cli.settings.config import Settings
from qoder_cli.settings.values import is_loopback

# `import httpx` brings its own command line with it (rich, pygments) wherever click happens to be installed, which is
# a third of its cost. Hiding that one module leaves the library whole.
if "httpx" not in sys.modules:
    sys.modules["httpx._main"] = cast(ModuleType, None)
import httpx

from qoder_cli.base.model import next_cursor

if sys.modules["httpx._main"] is None:
    del sys.modules["httpx._main"]

BODY_LIMIT = 64 * 2**20  # bytes, after decompression; the API takes 32 MB in a request (api.md#limits)
REQUEST_TIMEOUT = 30.0  # seconds
CONNECT_TIMEOUT = 10.0  # seconds
MOST_REPEATS = 10  # pages in a row that were there before, until an endless list is given up
FRESH_FOR = 1.0  # seconds that a connection may have idled when a write goes over it
STREAM_SILENCE = 75.0  # seconds without a byte until a stream is given up; how often heartbeats come is not published
_CODINGS = ("", "identity", "gzip", "x-gzip", "deflate")  # of a body; other decoders may be installed beside httpx
_REDACTED = b"[redacted]"
_MAY_HOLD_A_SECRET = 4 * 2**20  # bytes of a body; a larger one is a file
_LARGEST_ELSEWHERE = 65_536  # bytes of a response that has one
_UNREACHED = (httpx.HTTPError, httpx.InvalidURL, UnicodeError)  # the last: of a name too long to ask for
_SHORTEST_SECRET = 8  # characters; a shorter "token" would redact ordinary words

if TYPE_CHECKING:
    from qoder_cli.http.account import AccountTokens
    from qoder_cli.http.redact import KnownSecrets

T = TypeVar("T")


class _OurSecrets:
    """What a server may repeat and nobody is to see: our tokens, the one in use last, and what was sent."""

    def __init__(self, keep: Callable[[str], object]) -> None:
        self.tokens: list[str] = []
        self.were_read = False  # one was hidden in an answer
        self._keep = keep
        self._sent: dict[bytes, None] = {}  # bodies, which may hold secrets

    def got(self, token: str) -> None:
        self.tokens.append(token)
        self._keep(token)

    def note(self, content: bytes) -> None:
        """Note what is to be sent.

        Raises Rejected where a token of ours may have been hidden in it when it was read: it would be overwritten.
        """
        if self.were_read and _REDACTED in content:
            raise Rejected(
                "what is to be sent has [redacted] where the server may have your token; nothing was sent",
                hint="write that field whole, into a file with ${NAME} for the token; or use another token",
            )
        if len(content) < _MAY_HOLD_A_SECRET:
            self._sent[content] = None

    @property
    def _long(self) -> list[str]:
        """The tokens that are so long that no ordinary words are hidden with them."""
        return [token for token in self.tokens if len(token) >= _SHORTEST_SECRET]

    def hidden_in(self, content: bytes) -> bytes:
        """Return bytes without our tokens."""
        for token in self._long:
            content = content.replace(token.encode(), _REDACTED)
            if b"\\" in content:
                content = _escaped(token).sub(_REDACTED, content)
        return content

    def known(self, *, sent: bool) -> "KnownSecrets":
        """Return our tokens, with the secrets in the bodies that were `sent`."""
        from qoder_cli.http.redact import KnownSecrets

        bodies = []
        for content in self._sent if sent else ():
            with suppress(ValueError):
                bodies.append(jsontext.parse(content.decode()))
        return KnownSecrets(bodies, self._long)


class Client:
    """The API of one server, with one token."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock,
        progress: Progress,
        transport: httpx.BaseTransport | None = None,
        debug: bool = False,
        keep: Callable[[str], object] = lambda token: None,
    ) -> None:
        """Prepare connections; `keep` hears of each token that is got. Raises AuthError, UsageError."""
        if settings.token is None and settings.account is None:
            raise AuthError(f"not logged in to {settings.host}", hint=settings.advice)
        self.settings = settings
        self.clock = clock
        self.progress = progress
        self.take_turn: Callable[[], None] = lambda: None  # waits before each read, where there are very many
        self._debug = debug
        self._transport = transport
        self._date: tuple[float, float] | None = None  # see `_note_clock`
        self.writes: list[Any] = []  # each Write that was sent: the message after a signal depends on them
        self._secrets = _OurSecrets(keep)
        if settings.token:
            self._secrets.tokens.append(settings.token)
        headers = {
            "accept": "application/json",
            "cache-control": "no-cache",  # cached responses may be stale
            "user-agent": f"qoder-cli/{__version__}",
        }
        if settings.workspace_id:
            headers["qoder-workspace-id"] = settings.workspace_id
        if settings.token:
            headers["authorization"] = f"Bearer {settings.token}"
        connect = partial(_http_client, transport, self._proxy_for(settings.host), headers=headers)
        trust = _trust(settings.base_url) if transport is None else True
        self.account: AccountTokens | None = None
        if settings.account is not None:
            from qoder_cli.http import account

            self._secrets.tokens.append(settings.account.key)
            self.account = account.AccountTokens(settings.account, clock, self._post_for_token, self._secrets.got)
        self._http = dict.fromkeys(("reads", "writes"), connect(verify=trust))
        # A connection that idles may be closed just as it is used, and then nobody knows whether the request was heard.
        if transport is None:
            self._http["writes"] = connect(verify=trust, limits=httpx.Limits(keepalive_expiry=FRESH_FOR))

    @property
    def request_timeout(self) -> float:
        return self.settings.request_timeout or REQUEST_TIMEOUT

    def close(self) -> None:
        for http in self._http.values():
            http.close()

    def _proxy_for(self, host: str, scheme: str = "https") -> Proxy | None:
        if self._transport is not None or is_loopback(host) or goes_around(host, os.environ):
            return None
        return named(os.environ, scheme)

    def server_now(self) -> float:
        """Return the server's clock in unix seconds, from its Date headers; ours if there were none."""
        return self.clock.now() + (self.server_ahead or 0.0)

    def on_server_clock(self, moment: float) -> float | None:
        """Return a moment of our monotonic clock as unix seconds of the server, the latest it can
        have been; None while no response told the time.
        """
        if self._date is None:
            return None
        return moment + self._date[0]

    @property
    def server_ahead(self) -> float | None:
        """By how many seconds the server's clock is ahead; None while unknown."""
        moment = self.on_server_clock(self.clock.monotonic())
        if moment is None:
            return None
        return moment - self.clock.now()

    def get(
        self,
        path: str,
        params: Mapping[str, Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        within: float | None = None,
        retry: bool = True,
        fresh: bool = False,
        exact: bool = False,
    ) -> Any:
        """Return the JSON response to a GET, `within` seconds for each try. Raises ApiError.

        If it is to be `fresh`, one that a proxy has kept does not count; for `exact` see `jsontext.parse`.
        """

        def ask() -> Any:
            answer = answer_to(self.prepare("GET", path, params=params, headers=headers).start(), within)
            value = self.understand(answer, exact=exact)
            if fresh and answer.is_kept:
                raise no_response("the response is an old one that a proxy has kept")
            return value

        return self.patiently(ask) if retry else ask()

    def patiently(self, ask: Callable[[], T], *, within: float | None = None) -> T:
        """Return what `ask` returns, trying again as `next_try` says."""
        began, tries = self.clock.monotonic(), 0
        while True:
            try:
                return ask()
            except ApiError as error:
                tries += 1
                spent = self.clock.monotonic() - began
                wait = next_try(error, tries=tries, spent=spent, jitter=self.clock.jitter(), within=within)
                if wait is None:
                    raise
                self.progress.note(f"{error.message.rstrip('.')}; retrying in {span(wait)}")
            self.clock.sleep(wait)

    def prepare(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Pending:
        """Return one request, to be sent by its `start`; `timeout` is its limit, and each of its steps', in seconds.

        A POST, PUT or PATCH carries `content`, else `body` as JSON. Raises UsageError where only reading is allowed,
        Rejected for a body with a token of ours that is hidden.
        """
        if method != "GET" and self.settings.read_only:
            raise UsageError(
                f"{self.settings.read_only}: {method} {path} was not sent", hint=self.settings.allowed.remedy
            )
        if content is None and method in WITH_BODY:
            content = jsontext.dump({} if body is None else body).encode()
        if method == "GET":
            self.take_turn()
        elif content is not None:
            self._secrets.note(content)
        longest = timeout or self.request_timeout
        request = self._request(
            method,
            path,
            params=params,
            content=content,
            headers={**({"content-type": "application/json"} if content else {}), **(headers or {})},
            timeout=httpx.Timeout(longest, connect=min(longest, CONNECT_TIMEOUT)),
        )
        http = self._http["reads" if method == "GET" else "writes"]
        pending = Pending(lambda: self._exchange(http, request, pending), within=longest)
        return pending

    def _request(self, method: str, path: str, **parts: Any) -> httpx.Request:
        """Return a request. Raises NoResponse for an id or a cursor of the server that no URL can hold.

        That of a write has its token: if there is none, nothing was sent. That of a read gets it when it is sent.
        """
        try:
            request = self._http["reads"].build_request(method, self.settings.base_url + path, **parts)
        except (httpx.InvalidURL, UnicodeError) as error:
            raise no_response(f"cannot ask for {path[:100]}: {error}", sent=False, retryable=False) from None
        if self.account is not None and method != "GET":
            _put_token(request, self.account.current())
        return request

    def _sent(self, http: httpx.Client, request: httpx.Request) -> httpx.Response:
        """Send a request and return its response, with the body still to come.

        The token of a service account may end early, as while a machine sleeps or when keys are rotated. A read that is
        refused then is sent once more with a new one. A write never is.
        """
        if self._debug:
            self._show(">", f"{request.method} {request.url}", request.headers, request.content)
        account = self.account
        if account is None:
            return http.send(request, stream=True)
        is_read = request.method == "GET"
        if is_read:
            _put_token(request, account.current())
        response = http.send(request, stream=True)
        if response.status_code == 401:
            account.refused(str(request.headers["authorization"]).removeprefix("Bearer "))
            if is_read:
                response.close()
                _put_token(request, account.current())
                response = http.send(request, stream=True)
        return response

    def send(self, request: Pending, within: float | None = None) -> Answer:
        """Send a request and return the response, within so many seconds, else its own limit. Raises ApiError."""
        return answer_to(request.start(), within)

    @contextmanager
    def open_stream(
        self,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[tuple[Answer, Iterator[bytes]]]:
        """Open an event stream: its head, and its bytes as they come. Raises ApiError."""
        self.take_turn()
        request = self._request(
            "GET",
            path,
            params=params,
            headers={
                "accept": "text/event-stream",
                "accept-encoding": "identity",  # a compressor may hold back events
                **(headers or {}),
            },
            timeout=httpx.Timeout(STREAM_SILENCE, connect=CONNECT_TIMEOUT),
        )
        asked = self.clock.monotonic()
        with self._transport_failures():
            response = self._sent(self._http["reads"], request)
        self._note_clock(response.headers, asked)
        try:
            is_accepted = 200 <= response.status_code < 300
            with self._transport_failures():
                head = self._answer(request, response, b"" if is_accepted else _body(response))
            self.accept(head)
            if head.kind != "text/event-stream":
                raise no_response(f"HTTP {head.status} from {self.settings.host}: not an event stream ({head.kind})")
            yield head, self._chunks(response)
        finally:
            response.close()

    def _chunks(self, response: httpx.Response) -> Iterator[bytes]:
        token = "".join(self._secrets.tokens[-1:]).encode()
        with self._transport_failures():
            yield from veiled(_decoded(response), token if len(token) >= _SHORTEST_SECRET else b"")

    @contextmanager
    def _transport_failures(self) -> Iterator[None]:
        try:
            yield
        except (httpx.HTTPError, httpx.StreamError) as failure:
            if self._debug:
                self.progress.debug(f"< {type(failure).__name__}: {self.veil(str(failure))}")
            proxy = self._proxy_for(self.settings.host)
            raise broken(failure, self.settings.host, proxy, veil=self.veil) from failure
        except RuntimeError as failure:  # in a thread that nobody waits for any more
            if not self._http["reads"].is_closed:
                raise
            raise no_response("the command has ended", sent=False, retryable=False) from failure

    def _elsewhere(self, url: str, timeout: float) -> tuple[httpx.Client, Proxy | None]:
        """Return what asks another host, with nothing of ours, and the proxy on the way."""
        parts = urlsplit(url)
        trust = _trust(url) if self._transport is None else True
        proxy = self._proxy_for(parts.netloc, parts.scheme)
        return _http_client(self._transport, proxy, verify=trust, timeout=timeout), proxy

    def post_elsewhere(self, url: str, headers: Mapping[str, str], content: bytes, *, within: float) -> Answer:
        """Return the response to a POST to another host, with nothing of ours but these headers. Raises ApiError."""
        http, proxy = self._elsewhere(url, within)

        def post() -> Answer:
            with http as elsewhere:
                try:
                    request = elsewhere.build_request("POST", url, headers=headers, content=content)
                    response = elsewhere.send(request, stream=True)
                    body = b"".join(_limited(_decoded(response), _LARGEST_ELSEWHERE, "the response is too large"))
                except _UNREACHED as failure:
                    raise broken(failure, urlsplit(url).netloc, proxy, veil=self.veil) from failure
            return Answer(response.status_code, response.headers, body, body.decode("utf-8", "replace"), "")

        return answer_to(Pending(post, within=within).start())

    def _post_for_token(self, url: str, headers: Mapping[str, str], content: bytes) -> Answer:

        def ask() -> Answer:
            try:
                answer = self.post_elsewhere(url, headers, content, within=self.request_timeout)
            except NoResponse as error:
                raise error.with_(sent=False, retryable=True) from error
            if answer.status in (408, 429) or answer.status >= 500:
                raise no_response(f"HTTP {answer.status} from {urlsplit(url).netloc}: no token was given", sent=False)
            return answer

        return self.patiently(ask)

    def hide(self, text: str) -> str:
        """Return a text without our token, which a server may echo."""
        return self._secrets.hidden_in(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")

    def _exchange(self, http: httpx.Client, request: httpx.Request, pending: Pending) -> Answer:
        def trace(event: str, info: Mapping[str, Any]) -> None:
            if event.endswith("send_request_headers.started"):
                pending.commit()

        request.extensions["trace"] = trace
        if self._transport is not None:  # one of a test does not say when it sends
            pending.commit()
        asked = self.clock.monotonic()
        with self._transport_failures():
            response = self._sent(http, request)
            kept = is_kept(response.headers, self.on_server_clock(asked))
            if not kept:
                self._note_clock(response.headers, asked)
            try:
                return self._answer(request, response, _body(response, pending.commit), is_kept=kept)
            finally:
                response.close()
                # Request and response refer to each other, and so would they, by way of `trace`, to the body's text,
                # which then stays in memory until someone looks for such garbage.
                del request.extensions["trace"]

    def _answer(
        self, request: httpx.Request, response: httpx.Response, body: bytes, *, is_kept: bool = False
    ) -> Answer:
        # Bytes, because a header may have any: what is no ASCII cannot be put back as text.
        headers = httpx.Headers([(name, self._secrets.hidden_in(value)) for name, value in response.headers.raw])
        shown = self._secrets.hidden_in(body)
        self._secrets.were_read |= shown != body
        body = shown
        kind = str(headers.get("content-type", "")).partition(";")[0].strip().lower()
        answer = Answer(response.status_code, headers, body, body.decode("utf-8", "replace"), kind, is_kept)
        if self._debug:
            line = f"{answer.status} to {request.method} {request.url.path}"
            self._show("<", line, headers, answer.content, is_refusal=not 200 <= answer.status < 300)
        return answer

    def _show(self, sign: str, line: str, headers: httpx.Headers, content: bytes, *, is_refusal: bool = False) -> None:
        from qoder_cli.http import redact

        token = "".join(self._secrets.tokens[-1:])
        self.progress.debug(f"{sign} {redact.by_shape(line, token)}")
        shown_headers = (redact.header(name, value, token) for name, value in headers.items())
        self.progress.debug(f"{sign} {'; '.join(shown_headers)}")
        if content:
            shown = redact.body(content, headers.get("content-type", ""), token)
            self.progress.debug(f"{sign} {self._secrets.known(sent=is_refusal).out_of(shown)}")

    def _note_clock(self, headers: httpx.Headers, asked: float) -> None:
        """Keep the offset between the server's clock and ours, from the fastest response."""
        moment, now = http_date(headers.get("date", "")), self.clock.monotonic()
        took = now - asked
        if moment is not None and (self._date is None or took <= max(self._date[1], 1.0)):
            self._date = moment.timestamp() - now, took

    def fetch_elsewhere(self, url: str, *, largest: int) -> Iterator[bytes]:
        """Yield the bytes behind a link to another host. No token is sent, and --debug does not show it.

        Raises Unavailable for anything but a plain 200, for a link that is neither https nor on this machine, and
        beyond `largest` bytes.
        """
        try:
            parts = urlsplit(url)
        except ValueError:
            raise no_response("the download link is not a URL", retryable=False) from None
        if parts.scheme != "https" and not is_loopback(parts.netloc):
            raise no_response("the download link is not https, so it was not followed", retryable=False)
        http, proxy = self._elsewhere(url, self.request_timeout)
        with http as elsewhere:
            try:
                with elsewhere.stream("GET", url) as response:
                    if response.status_code != 200:
                        raise no_response(f"HTTP {response.status_code} from {parts.hostname}: no file")
                    why = f"the file is larger than {largest:,} bytes"
                    yield from _limited(_decoded(response), largest, why)
            except _UNREACHED:  # what it says may quote the link, which is signed
                what = f"cannot download the file from {parts.hostname}: the connection failed"
                raise no_response(what, hint=proxy and f"if this is the proxy {proxy}, {proxy.fix}") from None

    def accept(self, answer: Answer) -> Answer:
        """Return a 2xx response; raise the ApiError that any other means."""
        if not 200 <= answer.status < 300:
            refuse(answer, self.settings, now=self.server_now(), veil=self.veil)
        return answer

    def veil(self, text: str) -> str:
        """Return what a server says without what looks like a secret, without our token and what else it was sent."""
        from qoder_cli.http.redact import LONGEST_READ, LONGEST_SHOWN, by_shape

        return shortened(by_shape(self._secrets.known(sent=True).out_of(text[:LONGEST_READ])), LONGEST_SHOWN)

    def understand(self, answer: Answer, *, exact: bool = False) -> Any:
        """Return the JSON of a 2xx response; raise the ApiError of any other (api.md#errors)."""
        host = self.settings.host
        if self.accept(answer).status in WITHOUT_BODY:  # which is meant, so that asking again does not help
            raise no_response(f"HTTP {answer.status} from {host}: the response is empty", retryable=False)
        try:
            return jsontext.parse(answer.body, exact=exact)
        except ValueError as error:
            raise not_json(answer, host, error) from None

    def pages(
        self,
        path: str,
        params: Mapping[str, Any],
        *,
        headers: Mapping[str, str] | None = None,
        within: float | None = None,
        retry: bool = True,
        fresh: bool = False,
        exact: bool = False,
    ) -> Iterator[dict[str, Any]]:
        """Yield a list's pages, a repeated one as empty, as they say (api.md#lists-and-pages). Raises ApiError."""
        query = dict(params)
        seen: set[str] = set()
        pages_seen: set[int] = set()  # hashes
        repeats = 0
        while True:
            page = self.get(path, query, headers=headers, within=within, retry=retry, fresh=fresh, exact=exact)
            if isinstance(page, dict) and page.get("data", ...) is None:
                page["data"] = []  # how some servers spell an empty list
            if not isinstance(page, dict) or not isinstance(page.get("data"), list) or page.get("error"):
                raise no_response(
                    f"unexpected response from {self.settings.host}: not a page of a list",
                    hint=f"to see the response: qoder api GET {path}",
                )
            cursor = next_cursor(page)
            rows = hash(jsontext.dump(page["data"]))
            repeats = repeats + 1 if page["data"] and rows in pages_seen else 0
            if repeats == MOST_REPEATS:
                raise no_response("the list is incomplete: the server returns the same page again and again")
            pages_seen.add(rows)
            yield {**page, "data": []} if repeats else page
            if cursor is None:
                if page.get("has_more") not in (None, False):
                    raise no_response("the list is incomplete: the server reports more pages but no cursor")
                return
            if cursor[1] in seen:
                raise no_response("the list is incomplete: the server returns the same page cursor again")
            seen.add(cursor[1])
            query = {name: value for name, value in query.items() if name not in ("page", "after_id")}
            query[cursor[0]] = cursor[1]


def multipart(texts: Mapping[str, list[str]], files: Sequence[tuple[str, str, bytes]]) -> tuple[bytes, str]:
    """Return a form's bytes and content type; a file is name, file name, content."""
    parts = [(name, (file_name, content)) for name, file_name, content in files]
    request = httpx.Request("POST", "https://localhost", data=texts, files=parts)
    return request.read(), request.headers["content-type"]


def _put_token(request: httpx.Request, token: str) -> None:
    request.headers["authorization"] = f"Bearer {token}"


def _http_client(transport: httpx.BaseTransport | None, proxy: Proxy | None, **settings: Any) -> httpx.Client:
    try:
        if proxy is not None:
            httpx.URL(proxy.url).host.encode("idna")  # as asking for its address does
        client = httpx.Client(
            transport=transport,
            proxy=proxy.url if proxy else None,
            trust_env=False,  # what of it counts is in `proxy` and `verify`
            follow_redirects=False,
            **settings,
        )
    except (ValueError, ImportError, httpx.InvalidURL) as error:
        if proxy is None:
            raise
        # What httpx says of an address may be the user name, or a piece of the password, in it.
        reason = error if isinstance(error, ImportError) else "it is not a valid address"
        raise UsageError(f"cannot use the proxy {proxy}: {reason}", hint=proxy.fix) from None
    client.headers["accept-encoding"] = "gzip, deflate"
    # As curl: nothing but the token says who asks. httpx would send cookies back, and fails where one is no ASCII.
    client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=()))
    return client


@lru_cache(maxsize=8)
def _escaped(token: str) -> re.Pattern[bytes]:
    """Return a pattern for a token as JSON may spell it, with `\\u0041` for A."""

    def spelled(character: str) -> str:
        behind = rf"|\\{re.escape(character)}" if character in '/"\\' else ""
        return rf"(?:{re.escape(character)}|\\u00(?i:{ord(character):02x}){behind})"

    return re.compile("".join(map(spelled, token)).encode())


def _trust(url: str) -> Any:
    """Return the TLS context, by SSL_CERT_FILE and SSL_CERT_DIR; for plain http, one that trusts nobody."""
    import ssl

    if url.startswith("http:"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        return httpx.create_ssl_context(trust_env=True)
    except OSError as error:
        hint = "check SSL_CERT_FILE and SSL_CERT_DIR"
        raise UsageError(f"cannot read the certificates: {error}", hint=hint) from None


def _body(response: httpx.Response, heed: Callable[[], None] = lambda: None) -> bytes:
    """Return a whole body. `heed` is called at each piece, because a body that drips in never times out."""

    def pieces() -> Iterator[bytes]:
        for piece in _decoded(response):
            heed()
            yield piece

    why = f"the response is larger than {BODY_LIMIT // 2**20} MiB"
    return b"".join(_limited(pieces(), BODY_LIMIT, why))


def _decoded(response: httpx.Response) -> Iterator[bytes]:
    """Yield a body as it comes in, decoded. Raises httpx.DecodingError for one that ends before its checksum, or after.

    Raises NoResponse for an encoding that was not asked for, or more than one: a piece of a few hundred bytes can
    become gigabytes at once, before anybody can count them.
    """
    codings = [coding.strip().lower() for coding in response.headers.get("content-encoding", "").split(",")]
    if len(codings) > 1 or codings[0] not in _CODINGS:
        raise no_response(f"the response is encoded in an unknown way ({', '.join(codings)[:60]!a})", retryable=False)
    yield from response.iter_bytes()
    unzip = getattr(getattr(response, "_decoder", None), "decompressor", None)  # httpx does not look how it ended
    if unzip is not None and response.num_bytes_downloaded and (not unzip.eof or unzip.unused_data):
        raise httpx.DecodingError("the compressed body was cut")


def _limited(pieces: Iterator[bytes], most: int, why: str) -> Iterator[bytes]:
    """Yield a body in pieces. Raises NoResponse beyond `most` bytes."""
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > most:
            raise no_response(why, retryable=False)
        yield piece


def veiled(pieces: Iterable[bytes], secret: bytes) -> Iterator[bytes]:
    """Yield bytes that come in pieces without a secret, wherever they are cut."""
    if not secret:
        yield from pieces
        return
    kept = b""  # the end of what came, while it may be the beginning of the secret
    for piece in pieces:
        whole = (kept + piece).replace(secret, _REDACTED)
        at = whole.find(secret[:1], max(len(whole) - len(secret) + 1, 0))
        while at >= 0 and not secret.startswith(whole[at:]):
            at = whole.find(secret[:1], at + 1)
        certain = at if at >= 0 else len(whole)
        kept = whole[certain:]
        yield whole[:certain]
    yield kept
