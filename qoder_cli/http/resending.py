"""When a write may be sent again: what its answer is certain to mean, and how long to wait."""

from qoder_cli.clock import TRIES, may_wait
from qoder_cli.errors import ApiError, NoAnswer, Unavailable


def did_nothing(error: ApiError) -> bool:
    """Return whether the answer to a write, or its lack, is certain to mean that this attempt changed nothing."""
    if isinstance(error, NoAnswer):
        return not error.sent
    if isinstance(error, Unavailable):
        return error.http_status == 429 or 300 <= (error.http_status or 0) < 400
    return True


def next_try(error: ApiError, *, refusals: int, spent: float, jitter: float) -> float | None:
    """Return the seconds to wait before sending again what did nothing; None when that is pointless or enough.

    `refusals` counts those so far, `spent` is the seconds since the first attempt.
    """
    again = error.retryable and (error.http_status == 429 or isinstance(error, NoAnswer))
    wait = min(0.5 * 2 ** (refusals - 1), 8.0) * jitter if error.retry_after is None else error.retry_after
    return wait if again and refusals < TRIES and may_wait(wait, spent) else None
