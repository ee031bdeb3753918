"""A wire on which a signal comes while the answer to a write is waited for."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import httpx

from qoder_cli.base import signals
from qoder_cli.base.errors import Signalled
from tests.conftest import Qoder


class _Interrupting(httpx.BaseTransport):
    """Answers as another wire does; when a write was done, a signal comes before its answer, or instead of it."""

    def __init__(self, wire: httpx.BaseTransport, *, answer_comes: bool) -> None:
        self._wire = wire
        self._answer_comes = answer_comes

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self._wire.handle_request(request)
        if request.method == "POST":
            signal.raise_signal(signal.SIGTERM)  # the thread that waits is told when it goes on
            if not self._answer_comes:
                raise httpx.ReadError("reset")
        return answer


def interrupt(*_: object) -> NoReturn:
    """Press Ctrl-C, in the place of whatever is called."""
    raise Signalled(signal.SIGINT)


@contextmanager
def caught(signum: int) -> Iterator[None]:
    """Raise a signal as the program does: where Python drops what is raised, it is raised at the next wait."""

    def raised(signum: int, frame: Any) -> None:
        raise Signalled(signum)

    before, hook = signal.signal(signum, raised), sys.unraisablehook
    sys.unraisablehook = signals._on_unraisable
    try:
        yield
    finally:
        sys.unraisablehook = hook
        signal.signal(signum, before)
        signals._swallowed.clear()


@contextmanager
def interrupted(qoder: Qoder, *, answer_comes: bool) -> Iterator[None]:
    """Let a signal come, for as long as the block runs, while the answer to a write is waited for."""
    assert qoder.transport is not None
    qoder.transport = _Interrupting(qoder.transport, answer_comes=answer_comes)
    with caught(signal.SIGTERM):
        yield
