"""The key of a service account: exchanged for a token, which is renewed in time, and neither is ever printed."""

import json
from typing import Any

import httpx
import pytest

from tests.conftest import Qoder
from tests.support.one_run import DONE, EVENTS, LEGACY, RUN, TRIGGER
from tests.support.wire import page

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


@pytest.mark.parametrize("ends", [{"expires_in": 300}, {"expires_in": "300"}, {"expires_in": None}, {"expires_in": -5}])
def test_service_account_token_is_renewed_a_minute_before_it_ends_whatever_the_clock_says(
    qoder: Qoder, ends: dict[str, Any]
) -> None:
    """A wait of some minutes, while this machine's clock is an hour off."""
    asked = list[float]()

    def exchange(request: httpx.Request) -> dict[str, Any]:
        asked.append(qoder.clock.monotonic())
        return token(len(asked), **ends)

    qoder.wire.on(*EXCHANGE, exchange, exchange).on(*RUN, *[LEGACY] * 20, DONE).may(*EVENTS, page())
    assert qoder("run", "wait", "drun_1", "--interval", "30s", "--json").code == 0
    assert 240 <= asked[1] - asked[0] <= 240 + 40


REFUSED: dict[str, tuple[Any, int]] = {
    "refused": ((401, {"error": "invalid_client"}), 4),
    "no scope": ((400, {"error": "invalid_scope"}), 4),
    "a redirect": (httpx.Response(302, headers={"location": "https://evil.example/"}), 4),
    "a page": ((200, "<html>"), 7),
    "no token": ((200, {"token_type": "Bearer"}), 7),
    "another type": (token(token_type="mac"), 7),
    "a token with a space": (token(access_token="eyJ a b"), 7),
}


@pytest.mark.parametrize("name", REFUSED)
def test_deploy_run_starts_nothing_where_no_token_is_given(qoder: Qoder, name: str) -> None:
    answer, code = REFUSED[name]
    qoder.wire.on(*EXCHANGE, answer, repeat=True)
    ran = qoder("deploy", "run", "dep_1", "--json")
    assert (ran.code, ran.error["run_state"]) == (code, "none")
    assert {each.url.host for each in qoder.wire.requests} == {"openapi.qoder.com.cn"}
    assert KEY not in ran.out + ran.err


def test_service_account_exchange_is_tried_again_after_trouble(qoder: Qoder) -> None:
    trouble = (500, ""), (408, ""), (429, ""), httpx.ReadError("reset")
    qoder.wire.on(*EXCHANGE, *trouble, token()).on("GET", "/deployments", page())
    assert (qoder(*LIST).code, qoder.clock.slept) == (0, [0.5, 1.0, 2.0, 4.0])


def test_deploy_run_is_unknown_where_a_token_for_sending_it_again_is_refused(qoder: Qoder) -> None:
    """The first attempt may have acted: no refusal of the key says that nothing was started."""
    qoder.wire.on(*EXCHANGE, token(expires_in=8), (401, {}), repeat=True)
    qoder.wire.on(*TRIGGER, httpx.ReadError("cut"))
    qoder.wire.may("GET", "/deployments/dep_1/runs", page())
    ran = qoder("deploy", "run", "dep_1", "--on-lost", "resend", "--json")
    assert ran.code == 9


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
