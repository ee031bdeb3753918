"""The token of a service account: got for its key when it is needed, renewed early, kept in memory alone."""

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from qoder_cli.base import jsontext
from qoder_cli.base.errors import AuthError, UsageError
from qoder_cli.base.model import mapping, text
from qoder_cli.base.pool import Task
from qoder_cli.base.times import Clock, Instant, span
from qoder_cli.http.answers import Answer, no_response
from qoder_cli.settings.account import KEY_FILE, LONGEST_TTL, TTL, Account
from qoder_cli.settings.values import host_of, read_token, token_in_file

EARLY = 60.0  # seconds before its end at which a token is renewed; of one that lives short, half is used
EXCHANGE_WITHIN = 30.0  # seconds
_DEFAULT_LIFE = 300  # seconds that a token counts as good if the response does not say
_HINT = "check the key, and that it is of this region: qoder auth status"


class ServiceToken(NamedTuple):
    """A token, and for how many seconds it is good."""

    value: str
    seconds: float


class AccountTokens:
    """Exchanges a key for tokens. Several threads may ask; one exchange is made, and whoever waits for it can leave.

    `send` makes one POST to a URL, with these headers and this JSON alone, and follows no redirect. `keep` hears of
    each token, and each new key, to keep it out of all that is printed.
    """

    def __init__(
        self,
        account: Account,
        clock: Clock,
        send: Callable[[str, dict[str, str], bytes], Answer],
        keep: Callable[[str], object],
    ) -> None:
        self._account, self._clock, self._send, self._keep = account, clock, send, keep
        self._lock = threading.Lock()  # never held while anything is waited for
        self._token = ""
        self._good_for = 0.0  # seconds since it was asked for
        self._asked = Instant.now(clock)  # by both clocks: one stands still while the machine sleeps
        self._exchange: Task[str] | None = None  # while one is under way

    def current(self) -> str:
        """Return a token that is good for some time. Raises ApiError, after 30 s at most; Signalled."""
        with self._lock:
            if self._asked.age(self._clock) < self._good_for:
                return self._token
            exchange = self._exchange
            if exchange is None:
                exchange = self._exchange = Task(self._renew, within=EXCHANGE_WITHIN).start()
        if not exchange.wait(exchange.within):
            why = f"{host_of(self._account.url)} gave no token within {span(exchange.within)}"
            raise no_response(why, sent=False)
        return exchange.value

    def refused(self, token: str) -> None:
        """Note that the API has refused a token, which may have ended early: the next request gets another."""
        with self._lock:
            if token == self._token:
                self._good_for = 0.0

    def _renew(self) -> str:
        try:
            asked = Instant.now(self._clock)
            token = self.exchange()
            with self._lock:
                self._token, self._asked = token.value, asked
                self._good_for = max(token.seconds - EARLY, token.seconds / 2)
            return token.value
        finally:
            with self._lock:
                self._exchange = None

    def exchange(self, ttl: int = TTL) -> ServiceToken:
        """Return a new token for so many seconds. Raises AuthError for a key that is refused, ApiError."""
        if self._account.path:  # keys are rotated; as it was if the file cannot be read
            with suppress(UsageError):
                self._account = self._account._replace(key=token_in_file(self._account.path, source=KEY_FILE))
        self._keep(self._account.key)
        host = host_of(self._account.url)
        wanted = {"grant_type": "client_credentials", "audience": "qoder", "scope": "qca.access", "ttl_seconds": ttl}
        headers = {"authorization": f"Bearer {self._account.key}", "content-type": "application/json"}
        answer = self._send(self._account.url, headers, jsontext.dump(wanted).encode())
        if not 200 <= answer.status < 300:
            what = f"the key of the service account ({self._account.source}) was refused by {host}"
            raise AuthError(f"{what} (HTTP {answer.status})", hint=_HINT).with_(http_status=answer.status)
        try:
            body = mapping(jsontext.parse(answer.body))
            token = read_token(text(body.get("access_token")) or "", source="the exchange")
        except (ValueError, UsageError):
            raise no_response(f"the response of {host} has no token", sent=False) from None
        if str(body.get("token_type", "Bearer")).lower() != "bearer":
            raise no_response(f"the token of {host} is of an unknown type", sent=False)
        self._keep(token)
        digits = str(body.get("expires_in"))
        if digits.isascii() and digits.isdigit() and int(digits[:9]):
            return ServiceToken(token, float(min(int(digits[:9]), LONGEST_TTL)))
        return ServiceToken(token, float(min(ttl, _DEFAULT_LIFE)))
