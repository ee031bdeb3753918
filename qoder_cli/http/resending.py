"""What the answer to a write means for sending it again, and how long to wait before that (contract, section 6)."""

from enum import Enum

from qoder_cli.base.clock import TRIES, may_wait
from qoder_cli.base.errors import ApiError, NoAnswer

GATEWAY = (502, 504)  # who answers so does not know what became of the request, whatever the envelope
_NO_ANSWER = (408, 499)  # the same


class Meaning(Enum):
    """What an answer to a write, or its lack, says of what the write did."""

    NOTHING = "it did nothing, and may do it now"
    REFUSED = "the API refused it"
    DOUBTFUL = "somebody on the way refused it, who may not know"
    FAILED = "the API failed at it, and may have done it"
    LOST = "nobody said anything that can be believed"


def meaning_of(error: ApiError) -> Meaning:
    """Return what the error that a write ended with means. Only the API's own envelope speaks for the API."""
    status = error.http_status
    if isinstance(error, NoAnswer) or status is None:
        return Meaning.LOST if getattr(error, "sent", True) else Meaning.NOTHING
    if status == 429:
        return Meaning.NOTHING
    if status in _NO_ANSWER:
        return Meaning.LOST
    if 400 <= status < 500:
        return Meaning.REFUSED if error.enveloped else Meaning.DOUBTFUL
    if 300 <= status < 400:
        return Meaning.DOUBTFUL
    return Meaning.FAILED if error.enveloped and status not in GATEWAY else Meaning.LOST


def next_try(error: ApiError, *, tries: int, spent: float, jitter: float) -> float | None:
    """Return the seconds to wait before trying again what can be; None when that is pointless or enough.

    `tries` counts those so far, `spent` is the seconds since the first.
    """
    wait = min(0.5 * 2 ** (tries - 1), 8.0) * jitter if error.retry_after is None else error.retry_after
    return wait if error.retryable and tries < TRIES and may_wait(wait, spent) else None
