"""The key of a service account: exchanged for a token, which is renewed in time, and neither is ever printed."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import Qoder
from tests.support.one_run import DONE, EVENTS, LEGACY, RUN, TRIGGER
from tests.support.triggers import fresh
from tests.support.wire import FakeClock, page

KEY = "sak-0123456789-secret"
EXCHANGE = ("POST", "/api/v1/serviceToken/exchange")
LIST = ("deploy", "list", "--json")


def token(number: int = 1, **fields: Any) -> dict[str, Any]:
    return {"access_token": f"eyJ.token-{number}", "token_type": "Bearer", "expires_in": 3600, **fields}


@pytest.fixture(autouse=True)
def account(qoder: Qoder) -> None:
    """Have no token, but the key of an account, and a region."""
    del qoder.env["QODER_PAT"]
    qoder.env |= {"QODER_SA_KEY": KEY, "QODER_REGION": "cn"}


def bearers(qoder: Qoder) -> list[tuple[str, str]]:
    return [(each.url.host, each.headers["authorization"].removeprefix("Bearer ")) for each in qoder.wire.requests]


def test_service_account_key_goes_to_its_own_host_alone_and_the_token_to_the_api(qoder: Qoder) -> None:
    qoder.wire.on(*EXCHANGE, token()).on("GET", "/deployments", page())
    assert qoder(*LIST).code == 0
    assert bearers(qoder) == [("openapi.qoder.com.cn", KEY), ("api.qoder.com.cn", "eyJ.token-1")]
    wanted = json.loads(qoder.wire.requests[0].content)
    assert wanted == {
        "grant_type": "client_credentials",
        "audience": "qoder",
        "scope": "qca.access",
        "ttl_seconds": 3600,
    }


@pytest.mark.parametrize(("ends", "good"), [(300, 240), ("300", 240), (None, 240), (-5, 240), (0, 240), (60, 30)])
def test_service_account_token_is_renewed_a_minute_before_it_ends_whatever_the_clock_says(
    qoder: Qoder, ends: Any, good: int
) -> None:
    """A wait of some minutes, while this machine's clock is an hour off. Of a token that lives short, half is used."""
    asked = list[float]()

    def exchange(request: httpx.Request) -> dict[str, Any]:
        asked.append(qoder.clock.monotonic())
        return token(len(asked), expires_in=ends)

    qoder.wire.on(*EXCHANGE, exchange, repeat=True).on(*RUN, *[LEGACY] * 20, DONE).may(*EVENTS, page())
    assert qoder("run", "wait", "drun_1", "--interval", "30s", "--json").code == 0
    assert good <= asked[1] - asked[0] <= good + 40


REFUSED: dict[str, tuple[Any, int]] = {
    "refused": ((401, {"error": "invalid_client"}), 4),
    "no scope": ((400, {"error": "invalid_scope"}), 4),
    "a redirect": (httpx.Response(302, headers={"location": "https://evil.example/"}), 4),
    "a page": ((200, "<html>"), 7),
    "no token": ((200, {"token_type": "Bearer"}), 7),
    "another type": (token(token_type="mac"), 7),
    "a token with a space": (token(access_token="eyJ a b"), 7),
    "trouble": ((503, ""), 7),
    "cut": (httpx.ReadError("reset"), 7),
}


@pytest.mark.parametrize("name", REFUSED)
def test_deploy_run_starts_nothing_where_no_token_is_given(qoder: Qoder, name: str) -> None:
    answer, code = REFUSED[name]
    qoder.wire.on(*EXCHANGE, answer, repeat=True)
    ran = qoder("deploy", "run", "dep_1", "--json")
    assert (ran.code, ran.error["run_state"]) == (code, "none")
    assert {each.url.host for each in qoder.wire.requests} == {"openapi.qoder.com.cn"}
    assert KEY not in ran.out + ran.err
    fixes = [each["fix"] for each in qoder("doctor", "--json").json if each["check"] == "server"]
    assert (fixes == ["check the network and the base URL"]) == (code == 7)


def test_service_account_exchange_is_tried_again_after_trouble(qoder: Qoder) -> None:
    trouble = (500, ""), (408, ""), (429, ""), httpx.ReadError("reset")
    qoder.wire.on(*EXCHANGE, *trouble, token()).on("GET", "/deployments", page())
    ran = qoder(*LIST)
    assert (ran.code, ran.err.count("; retrying in "), qoder.clock.slept) == (0, 4, [0.5, 1.0, 2.0, 4.0])


def test_deploy_run_is_unknown_where_a_token_for_sending_it_again_is_refused(qoder: Qoder) -> None:
    """The first attempt may have acted: no refusal of the key says that nothing was started."""
    qoder.wire.on(*EXCHANGE, token(expires_in=8), (401, {}), repeat=True)
    qoder.wire.on(*TRIGGER, httpx.ReadError("cut"))
    qoder.wire.may("GET", "/deployments/dep_1/runs", page())
    ran = qoder("deploy", "run", "dep_1", "--on-lost", "resend", "--json")
    assert ran.code == 9


class Api:
    """An exchange, and an API that knows only the newest token, until that ends early."""

    def __init__(self, qoder: Qoder, *, renews: bool = True) -> None:
        self.sent: list[str] = []  # the tokens that came, with the method that they came with
        self.exchanges = 0
        self._renews = renews
        self._is_over = False
        qoder.wire.may(*EXCHANGE, self._exchange)

    def end(self) -> None:
        """Let the token end, long before its time."""
        self._is_over = True

    def _exchange(self, request: httpx.Request) -> Any:
        self.exchanges += 1
        self._is_over = self._is_over and not self._renews
        return token(self.exchanges)

    def says(self, *answers: Any) -> list[Any]:
        """Return what answers requests in turn; a function is called as its request comes."""
        return [partial(self._say, answer) for answer in answers]

    def _say(self, answer: Any, request: httpx.Request) -> Any:
        bearer = request.headers["authorization"].removeprefix("Bearer eyJ.token-")
        self.sent.append(f"{request.method} {bearer}")
        answer = answer() if callable(answer) else answer
        if self._is_over or bearer != str(self.exchanges):
            return 401, {"type": "error", "error": {"type": "authentication_error", "message": "Invalid token."}}
        return answer


DEPLOYMENT = {"type": "deployment", "id": "dep_1", "name": "nightly", "status": "active"}


def test_service_account_token_that_ends_early_is_renewed_for_a_read(qoder: Qoder) -> None:
    api = Api(qoder)
    first, second = page(DEPLOYMENT, more=True), page({**DEPLOYMENT, "id": "dep_2"})
    qoder.wire.on("GET", "/deployments", *api.says(first, api.end, second))
    ran = qoder("deploy", "list", "--all", "--json")
    assert ([row["id"] for row in ran.json], ran.code) == (["dep_1", "dep_2"], 0)
    assert (api.sent, api.exchanges) == (["GET 1", "GET 1", "GET 2"], 2)


def test_service_account_token_is_renewed_once_for_a_read(qoder: Qoder) -> None:
    api = Api(qoder, renews=False)
    qoder.wire.on("GET", "/deployments", *api.says(page(DEPLOYMENT, more=True), api.end, api.end))
    ran = qoder("deploy", "list", "--all", "--json")
    assert (ran.code, api.exchanges) == (4, 2)


def test_deploy_run_never_repeats_a_start_that_was_refused_for_its_token(qoder: Qoder) -> None:
    api = Api(qoder)
    qoder.wire.on("GET", "/deployments", *api.says(page(DEPLOYMENT)))
    qoder.wire.on(*TRIGGER, *api.says(api.end)).may("GET", "/deployments/dep_1", *api.says(DEPLOYMENT))
    ran = qoder("deploy", "run", "nightly", "--json")
    assert (ran.code, ran.error["run_state"]) == (4, "none")
    assert [each for each in api.sent if each.startswith("POST")] == ["POST 1"]


def test_deploy_run_of_several_starts_the_next_with_a_new_token(qoder: Qoder) -> None:
    api, qoder.clock.patience = Api(qoder), 20.0
    qoder.wire.on("POST", "/deployments/*/run", *api.says(fresh(6), api.end, {**fresh(7), "deployment_id": "dep_3"}))
    line = "deploy run dep_1 dep_2 dep_3 --parallel 1 --json"
    ran = qoder(*line.split())
    assert [item["exit_code"] for item in ran.json] == [0, 4, 0]
    assert [each for each in api.sent if each.startswith("POST")] == ["POST 1", "POST 1", "POST 2"]


def test_service_account_key_that_is_rotated_is_read_again_from_its_file(qoder: Qoder, tmp_path: Path) -> None:
    key, asked = tmp_path / "key", list[str]()
    key.write_text(f"{KEY}\n")
    del qoder.env["QODER_SA_KEY"]
    qoder.env["QODER_SA_KEY_FILE"] = str(key)

    def exchange(request: httpx.Request) -> Any:
        asked.append(request.headers["authorization"].removeprefix("Bearer "))
        key.write_text("sak-another-9876543210" if len(asked) == 1 else "two words")
        return token(len(asked), expires_in=300)

    echo = {**DONE, "error": {"type": "sak-another-9876543210", "message": "of sak-another-9876543210"}}
    qoder.wire.may(*EXCHANGE, exchange).on(*RUN, *[LEGACY] * 30, echo).may(*EVENTS, page())
    ran = qoder("run", "wait", "drun_1", "--interval", "30s", "--debug")
    assert (ran.code, asked[:3]) == (0, [KEY, "sak-another-9876543210", "sak-another-9876543210"])
    assert "sak-another" not in ran.out + ran.err


class Suspended(FakeClock):
    """The clocks of a machine that sleeps: one stands still meanwhile."""

    asleep = 0.0

    def now(self) -> float:
        return self.time + self.asleep


def test_service_account_token_is_renewed_after_the_machine_was_asleep(qoder: Qoder) -> None:
    clock, api = Suspended(), Api(qoder)
    qoder.clock = clock

    def sleep() -> dict[str, Any]:
        clock.asleep = 7200.0
        return LEGACY

    qoder.wire.on(*RUN, *api.says(LEGACY, sleep, DONE)).may(*EVENTS, *api.says(page()))
    assert qoder("run", "wait", "drun_1", "--json").code == 0
    assert (api.exchanges, api.sent[-1]) == (2, "GET 2")


def test_service_account_needs_a_region(qoder: Qoder) -> None:
    del qoder.env["QODER_REGION"]
    assert "needs a region" in qoder(*LIST).error["message"]
    qoder.env["QODER_BASE_URL"] = "https://gateway.example.com"
    assert qoder(*LIST).code == 2


def test_service_account_gives_way_to_a_token_and_says_so(qoder: Qoder) -> None:
    qoder.env["QODER_PAT"] = "pt-another-0123456789"
    qoder.wire.on("GET", "/deployments", page())
    ran = qoder("deploy", "list")
    assert bearers(qoder)[0][1] == "pt-another-0123456789"
    assert "the key of the service account is not used" in ran.err


def test_auth_token_prints_a_new_token_for_so_long_and_masks_it_in_github(qoder: Qoder) -> None:
    qoder.env["GITHUB_ACTIONS"] = "true"
    qoder.wire.on(*EXCHANGE, token())
    ran = qoder("auth", "token", "--ttl", "10m")
    assert (ran.code, ran.out, ran.err) == (0, "eyJ.token-1\n", "::add-mask::eyJ.token-1\n")
    assert json.loads(qoder.wire.requests[0].content)["ttl_seconds"] == 600


def test_auth_token_shows_none_on_a_terminal_unless_told_to(qoder: Qoder) -> None:
    qoder.terminal = True
    assert qoder("auth", "token").code == 2
    qoder.terminal = False
    assert [qoder("auth", "token", "--ttl", ttl).code for ttl in ("0", "13h", "soon")] == [2, 2, 2]
    qoder.env["QODER_PAT"] = "pt-another-0123456789"
    assert (qoder("auth", "token", "--ttl", "1h").code, qoder("auth", "token").code) == (2, 0)


@pytest.mark.parametrize("line", ["auth status", "auth status --json", "doctor", "--debug deploy list", "config list"])
def test_service_account_key_and_token_are_in_nothing_that_is_written(qoder: Qoder, line: str) -> None:
    echo = page({"id": "dep_1", "name": f"{KEY} eyJ.token-1", "type": "deployment"})
    qoder.wire.may(*EXCHANGE, token()).may("GET", "/deployments", echo).may("GET", "/deployment_runs", page())
    ran = qoder(*line.split())
    assert KEY not in ran.out + ran.err
    assert "eyJ.token-1" not in ran.out + ran.err
