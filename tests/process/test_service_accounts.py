"""The token of a service account that ends early, or is never given, as real processes see it."""

import math
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from qoder_cli.sandbox.api import EXCHANGE, SERVICE_KEY
from qoder_cli.sandbox.faults import Faults
from qoder_cli.sandbox.server import Server
from qoder_cli.sandbox.wire import GENERATIONS, Generation, Request, WireResponse
from qoder_cli.sandbox.world import World
from tests.support.processes import Shell, an_hour_later, served, until

ACCOUNT = {"QODER_PAT": "", "QODER_SA_KEY": SERVICE_KEY}


class Exchange(Faults):
    """Gives tokens, or never answers. One request of these, by its method and the end of its path, is refused."""

    def __init__(self, refuses: str = "", *, is_silent: bool = False) -> None:
        super().__init__()
        self.asked = 0
        self.tokens: list[str] = []  # with which that request came
        self._refuses = refuses
        self._is_silent = is_silent

    def answer(self, world: World, request: Request) -> WireResponse:
        if f"{request.method} {request.path}".endswith(self._refuses or " "):
            self.tokens.append(request.headers["authorization"])
            if len(self.tokens) == 1:
                world.service_tokens.clear()
        answer = super().answer(world, request)
        if request.path == EXCHANGE:
            self.asked += 1
            if self._is_silent:
                return replace(answer, stream=_nothing())
        return answer


def _nothing() -> Iterator[float]:
    while True:
        yield 0.01


@contextmanager
def account(folder: Path, generation: Generation, faults: Exchange) -> Iterator[tuple[Shell, Server]]:
    with served(World(generation=generation), faults) as server:
        shell = Shell(folder, server)
        shell.env |= ACCOUNT
        yield shell, server


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("refused", ["/events/stream", "/events", "/run"])
def test_deploy_run_repeats_a_read_alone_where_the_token_of_its_account_ends_early(
    tmp_path: Path, generation: Generation, refused: str
) -> None:
    exchange = Exchange(refused)
    with account(tmp_path, generation, exchange) as (shell, server):
        line = "deploy run slow --wait --follow --json"  # by its name: a list is read first
        going = shell.begin(*line.split())
        if refused != "/run":
            until(lambda: len(set(exchange.tokens)) == 2, "a new token")
            server.world.service_tokens = dict.fromkeys(server.world.service_tokens, math.inf)
            an_hour_later(server)
        ended, runs = going.end(), server.world.started()
    if refused == "/run":
        assert (ended.code, ended.error["run_state"], runs, len(exchange.tokens)) == (4, "none", [], 1)
        assert exchange.asked == 1
        return
    assert (ended.code, ended.json["status"], exchange.asked) == (0, "completed", 2)


@pytest.mark.parametrize("line", ["deploy list --json", "deploy run dep_demo dep_slow --wait --json"])
def test_commands_leave_an_exchange_that_is_silent_soon_and_at_a_signal(tmp_path: Path, line: str) -> None:
    exchange = Exchange(is_silent=True)
    with account(tmp_path, "current", exchange) as (shell, server):
        hasty = "from qoder_cli.http import account, pace; account.EXCHANGE_WITHIN, pace.TRIES = 0.2, 1"
        ended = shell.begin(*line.split(), "--request-timeout", "5s", prologue=hasty).end()
        assert (ended.code, "gave no token within 0.2s" in ended.err) == (7, True)
        exchange.asked = 0
        going = shell.begin(*line.split(), "--request-timeout", "1h")
        until(lambda: exchange.asked, "the exchange")
        assert going.signal(signal.SIGTERM).end().code == 143
        assert server.world.started() == []
