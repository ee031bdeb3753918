"""The token of a service account: got for its key when it is needed, renewed early, kept in memory alone."""

import math
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from qoder_cli.base import jsontext
from qoder_cli.base.errors import AuthError, UsageError
from qoder_cli.base.model import mapping, text
from qoder_cli.base.times import Clock
from qoder_cli.http.answers import Answer, no_response
from qoder_cli.settings.account import LONGEST_TTL, TTL, Account
from qoder_cli.settings.values import host_of, read_token

EARLY = 60.0  # seconds before its end at which a token is renewed; of one that lives short, half is used
_DEFAULT_LIFE = 300  # seconds that a token counts as good if the response does not say
_HINT = "check the key, and that it is of this region: qoder auth status"


class ServiceToken(NamedTuple):
    """A token, and for how many seconds it is good."""

    value: str
    seconds: float


class AccountTokens:
    """Exchanges a key for tokens. Several threads may ask; one exchange is made.

    `send` makes one POST to a URL, with these headers and this JSON alone, and follows no redirect. `keep` hears of
    each token, to keep it out of all that is printed.
    """

    def __init__(
        self,
        account: Account,
        clock: Clock,
        send: Callable[[str, dict[str, str], bytes], Answer],
        keep: Callable[[str], object],
    ) -> None:
        self._account, self._clock, self._send, self._keep = account, clock, send, keep
        self._lock = threading.Lock()
        self._token = ""
        self._until = -math.inf  # on the monotonic clock: the machine's own may be wrong by hours

    def current(self) -> str:
        """Return a token that is good for some time. Raises ApiError."""
        with self._lock:
            if self._clock.monotonic() >= self._until:
                asked = self._clock.monotonic()
                found = self.exchange()
                self._token = found.value
                self._until = asked + max(found.seconds - EARLY, found.seconds / 2)
            return self._token

    def exchange(self, ttl: int = TTL) -> ServiceToken:
        """Return a new token for so many seconds. Raises AuthError for a key that is refused, ApiError."""
        host = host_of(self._account.url)
        wanted = {"grant_type": "client_credentials", "audience": "qoder", "scope": "qca.access", "ttl_seconds": ttl}
        headers = {"authorization": f"Bearer {self._account.key}", "content-type": "application/json"}
        answer = self._send(self._account.url, headers, jsontext.dump(wanted).encode())
        if not 200 <= answer.status < 300:
            what = f"the key of the service account ({self._account.source}) was refused by {host}"
            raise AuthError(f"{what} (HTTP {answer.status})", hint=_HINT).with_(http_status=answer.status)
        found = _token_in(answer, ttl)
        if found is None:
            raise no_response(f"the response of {host} has no token", sent=False)
        self._keep(found.value)
        return found


def _token_in(answer: Answer, ttl: int) -> ServiceToken | None:
    """Return the token in an answer; None if there is none as documented."""
    try:
        body = mapping(jsontext.parse(answer.body))
        value = read_token(text(body.get("access_token")) or "", source="the exchange")
    except (ValueError, UsageError):
        return None
    if str(body.get("token_type", "Bearer")).lower() != "bearer":
        return None
    seconds = _seconds_in(body.get("expires_in"))
    return ServiceToken(value, seconds or float(min(ttl, _DEFAULT_LIFE)))


def _seconds_in(value: Any) -> float:
    """Return the seconds that a number, or its digits, says; 0 for what makes no sense."""
    digits = str(value)
    if digits.isascii() and digits.isdigit():
        return float(min(int(digits[:9]), LONGEST_TTL))
    return 0.0
