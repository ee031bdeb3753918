"""A request under way.

It runs in a thread of its own while the caller waits for it, so that a total deadline and Ctrl-C hold whatever the
server does: httpx's own timeouts are per read, and a server that sends a byte a second satisfies them for ever.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from qoder_cli.base.threads import Gate, begin
from qoder_cli.base.times import span
from qoder_cli.http.answers import Answer, no_answer

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
WITH_BODY = ("POST", "PUT", "PATCH")  # those whose requests have a body


@dataclass
class Pending:
    """A request under way in its own thread.

    Giving up and sending exclude each other: once a caller was told that nothing was sent, nothing will be.
    """

    _call: Callable[["Pending"], Answer]
    reached_server: bool = False
    started: bool = False
    _given_up: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _done: Gate = field(default_factory=Gate)
    _answer: Answer | None = None
    _failure: BaseException | None = None

    def start(self) -> "Pending":
        """Send it, and return itself. From here on it counts as started, whatever interrupts this."""
        self.started = True
        begin(self._run)
        return self

    def _run(self) -> None:
        try:
            self._answer = self._call(self)
        except BaseException as failure:  # handed to the thread that waits
            self._failure = failure
        finally:
            self._done.open()

    def result(self, within: float) -> Answer:
        """Return the answer, waiting `within` seconds at most.

        Raises NoAnswer when there is none by then or the connection failed; the request goes on in its thread.
        """
        self._done.wait(within)
        if self._failure is not None:
            raise self._failure
        if self._answer is None:
            raise no_answer(f"no complete response within {span(within)}", sent=self._give_up())
        return self._answer

    def about_to_send(self) -> None:
        """Note that the first byte goes out now. Raises NoAnswer when the caller has given up: then none does."""
        with self._lock:
            if self._given_up:
                raise no_answer("stopped before anything was sent", sent=False)
            self.reached_server = True

    def _give_up(self) -> bool:
        """Forbid sending from now on, and return whether it was too late for that."""
        with self._lock:
            self._given_up = True
            return self.reached_server
