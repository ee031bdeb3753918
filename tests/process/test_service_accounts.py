"""The token of a service account that is never given, as real processes see it."""

import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from qoder_cli.sandbox.api import EXCHANGE, SERVICE_KEY
from qoder_cli.sandbox.faults import Faults
from qoder_cli.sandbox.wire import Request, WireResponse
from qoder_cli.sandbox.world import World
from tests.support.processes import IMPATIENT, Shell, served, until


class SilentExchange(Faults):
    """Never answers who asks for a token."""

    asked = 0

    def answer(self, world: World, request: Request) -> WireResponse:
        answer = super().answer(world, request)
        if request.path != EXCHANGE:
            return answer
        self.asked += 1
        return replace(answer, stream=_nothing())


def _nothing() -> Iterator[float]:
    while True:
        yield 0.01


@pytest.mark.parametrize("line", ["deploy list --json", "deploy run dep_demo dep_slow --wait --json"])
def test_commands_leave_an_exchange_that_is_silent_soon_and_at_a_signal(tmp_path: Path, line: str) -> None:
    exchange = SilentExchange()
    with served(World(), exchange) as server:
        shell = Shell(tmp_path, server)
        shell.env |= {"QODER_PAT": "", "QODER_SA_KEY": SERVICE_KEY}
        hasty = "from qoder_cli.http import account, pace; account.EXCHANGE_WITHIN, pace.TRIES = 0.2, 1"
        ended = shell.begin(*line.split(), "--request-timeout", "5s", prologue=hasty).end()
        assert (ended.code, "gave no token within 0.2s" in ended.err) == (7, True)
        exchange.asked = 0
        going = shell.begin(*line.split(), "--request-timeout", "1h", prologue=IMPATIENT)
        until(lambda: exchange.asked, "the exchange")
        assert going.signal(signal.SIGTERM).end().code == 143
        assert server.world.started() == []
