"""A request under way.

It runs in a thread of its own while the caller waits for it, so that a total deadline and Ctrl-C hold whatever the
server does: httpx's own timeouts are per read, and a server that sends a byte a second satisfies them for ever.
"""

import math
import threading
from collections.abc import Callable

from qoder_cli.base.pool import Late, Task
from qoder_cli.base.times import span
from qoder_cli.http.answers import Answer, no_answer

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
WITH_BODY = ("POST", "PUT", "PATCH")  # those whose requests have a body


class Pending(Task[Answer]):
    """A request under way.

    Giving up and sending exclude each other: once a caller was told that nothing was sent, nothing will be.
    `reached_server` is True from the start where nobody can tell when the first byte goes out.
    """

    def __init__(self, call: Callable[["Pending"], Answer], *, reached_server: bool = False) -> None:
        super().__init__(lambda: call(self))
        self._reached_server = reached_server
        self._given_up = False
        self._lock = threading.Lock()

    def result(self, within: float = math.inf) -> Answer:
        """Return the answer, waiting `within` seconds at most.

        Raises NoAnswer when there is none by then or the connection failed; the request goes on in its thread.
        """
        try:
            return super().result(within)
        except Late:
            with self._lock:
                self._given_up = True
            message = f"no complete response within {span(within)}"
            raise no_answer(message, sent=self._reached_server) from None

    def about_to_send(self) -> None:
        """Note that the first byte goes out now. Raises NoAnswer when the caller has given up: then none does."""
        with self._lock:
            if self._given_up:
                raise no_answer("stopped before anything was sent", sent=False)
            self._reached_server = True
