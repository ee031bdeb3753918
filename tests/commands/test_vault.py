"""`qoder vault`: secrets are taken from where nobody can see them, put once, checked, and shown nowhere."""

import getpass
import io
from typing import Any

import pytest

from qoder_cli.app import App
from qoder_cli.cli.main import main
from qoder_cli.output.screen import Screen
from qoder_cli.sandbox.wire import GENERATIONS
from tests.conftest import Qoder, Ran
from tests.support.blobs import LOST, UNDONE, Object, Refused, Service

LIST = "/vaults/vault_1/credentials"
SECRET = 's3cret-Value/with"quotes" and spaces'
TOKEN = "tok-0123456789abcdef"


@pytest.fixture(params=GENERATIONS)
def service(qoder: Qoder, request: pytest.FixtureRequest) -> Service:
    qoder.stdin = f"{SECRET}\n"
    return Service(qoder, request.param)


def put(qoder: Qoder, *words: str) -> Ran:
    ran = qoder("vault", "put", "team-secrets", *words)
    for shown in (ran.out, ran.err):
        assert SECRET not in shown
        assert "s3cret" not in shown
        assert TOKEN not in shown
    return ran


def variable(service: Service, name: str = "GITHUB_TOKEN", **auth: Any) -> Object:
    known = {"type": "environment_variable", "secret_name": name, "secret_value": "old"}
    return service.add(LIST, "vcred_", type="vault_credential", display_name=name, auth=known | auth, metadata={})


def oauth(service: Service, name: str, status: str, **found: Any) -> Object:
    auth = {"type": "mcp_oauth", "mcp_server_url": "https://mcp.example.com"}
    raw = service.add(LIST, "vcred_", type="vault_credential", display_name=name, auth=auth)
    answer = {"type": "vault_credential_validation", "status": status, **found}
    service.answers[f"POST {LIST}/{raw['id']}/mcp_oauth_validate"] = answer
    return raw


# Putting.


@pytest.mark.parametrize("format", ["table", "json", "jsonl", "id"])
def test_a_secret_is_put_under_a_new_name(qoder: Qoder, service: Service, format: str) -> None:
    ran = put(qoder, "GITHUB_TOKEN", "--env", "--allow-host", "api.github.com", "-o", format)
    assert ran.code == 0, ran.err
    [made] = service.things[LIST]
    assert made["display_name"] == "GITHUB_TOKEN"
    assert made["auth"] == {
        "type": "environment_variable",
        "secret_name": "GITHUB_TOKEN",
        "secret_value": SECRET,
        "networking": {"type": "limited", "allowed_hosts": ["api.github.com"]},
    }
    assert made["id"] in ran.out
    assert "creating credential GITHUB_TOKEN in vault_1 (profile default, api.qoder.com)" in ran.err


@pytest.mark.parametrize("host", ["*", "*.example.com", "auth_proxy", "_api.example.com:8443"])
def test_a_secret_may_go_to_any_host_and_to_names_of_services(qoder: Qoder, service: Service, host: str) -> None:
    assert put(qoder, "GITHUB_TOKEN", "--env", "--allow-host", host).code == 0
    assert service.things[LIST][0]["auth"]["networking"] == {"type": "limited", "allowed_hosts": [host]}


def test_a_secret_for_a_server_is_a_bearer_token(qoder: Qoder, service: Service) -> None:
    qoder.stdin = TOKEN
    assert put(qoder, "docs", "--mcp", "https://mcp.example.com/mcp").code == 0
    auth = {"type": "static_bearer", "mcp_server_url": "https://mcp.example.com/mcp", "token": TOKEN}
    assert service.things[LIST][0]["auth"] == auth


def test_a_known_name_is_updated_and_keeps_where_it_may_be_sent(qoder: Qoder, service: Service) -> None:
    limited = {"type": "limited", "allowed_hosts": ["api.github.com"]}
    raw = variable(service, networking=limited, injection_location="header")
    ran = put(qoder, "GITHUB_TOKEN", "--env", "-q")
    assert (ran.code, ran.out) == (0, f"{raw['id']}\n")
    assert [path for _, path, _ in service.sent] == [f"{LIST}/{raw['id']}"]
    kept = {"networking": limited, "injection_location": "header"}
    wanted = {"type": "environment_variable", "secret_name": "GITHUB_TOKEN", "secret_value": SECRET}
    assert raw["auth"] == wanted | kept
    assert put(qoder, raw["id"], "--env", "--allow-host", "example.com").code == 0
    assert raw["auth"]["secret_name"] == "GITHUB_TOKEN"
    assert raw["auth"]["networking"]["allowed_hosts"] == ["example.com"]


@pytest.mark.parametrize("refused", ["405", "404", "400"])
def test_where_the_api_does_not_replace_it_says_so(qoder: Qoder, service: Service, refused: str) -> None:
    raw = variable(service)
    service.refusals[f"{LIST}/{raw['id']}"] = [Refused(int(refused), "Not allowed.")]
    ran = put(qoder, "GITHUB_TOKEN", "--env", "--json")
    assert ran.code == {"404": 5}.get(refused, 6)
    assert "delete it, then add it" in ran.error["hint"]
    assert ran.error["next"] == ["qoder", "vault", "credential", "delete", "vault_1", raw["id"], "--yes", "-o", "json"]


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_may_not_is_another_matter(qoder: Qoder, service: Service, status: int) -> None:
    raw = variable(service)
    service.refusals[f"{LIST}/{raw['id']}"] = [Refused(status, "No.")] * 9
    ran = put(qoder, "GITHUB_TOKEN", "--env")
    assert (ran.code, "delete it" in ran.err) == (4, False)


def test_a_name_of_another_kind_is_refused(qoder: Qoder, service: Service) -> None:
    variable(service)
    qoder.stdin = TOKEN
    ran = put(qoder, "GITHUB_TOKEN", "--mcp", "https://mcp.example.com")
    assert (ran.code, service.sent) == (2, [])
    assert "is of the type environment_variable, not static_bearer" in ran.err


def test_a_name_that_two_have_is_refused(qoder: Qoder, service: Service) -> None:
    first, second = variable(service)["id"], variable(service)["id"]
    ran = put(qoder, "GITHUB_TOKEN", "--env")
    assert (ran.code, service.sent) == (2, [])
    assert first in ran.err
    assert second in ran.err
    assert put(qoder, "vcred_9", "--env").code == 5


@pytest.mark.parametrize("fault", LOST)
@pytest.mark.parametrize("known", [False, True])
def test_a_lost_answer_is_settled_or_harmless(qoder: Qoder, service: Service, fault: str, known: bool) -> None:
    if known:
        variable(service)
    service.faults[LIST + ("/vcred_1" if known else "")] = [fault]
    ran = put(qoder, "GITHUB_TOKEN", "--env")
    assert ran.code == 0, ran.err
    assert [each["auth"]["secret_value"] for each in service.things[LIST]] == [SECRET]
    assert len(service.sent) == (2 if known else 1)  # nothing tells whether a secret was replaced


@pytest.mark.parametrize("fault", UNDONE)
def test_a_secret_that_does_not_show_is_unknown(qoder: Qoder, service: Service, fault: str) -> None:
    service.faults[LIST] = [fault]
    ran = put(qoder, "GITHUB_TOKEN", "--env")
    assert (ran.code, len(service.sent)) == (9, 1)
    raw = variable(service)
    service.faults[f"{LIST}/{raw['id']}"] = [fault] * 3
    ran = put(qoder, "GITHUB_TOKEN", "--env", "--json")
    assert (ran.code, ran.error["hint"]) == (9, "check; it is safe to repeat")


def test_a_colleague_who_puts_one_meanwhile_is_not_taken_for_us(qoder: Qoder, service: Service) -> None:
    service.faults[LIST] = ["reset"]
    service.before[f"POST {LIST}"] = lambda: variable(service)
    assert put(qoder, "GITHUB_TOKEN", "--env").code == 9


WRONG = [
    ["GITHUB_TOKEN"],
    ["GITHUB_TOKEN", "--env", "--mcp", "https://mcp.example.com"],
    ["docs", "--mcp", "https://mcp.example.com", "--allow-host", "example.com"],
    ["docs", "--mcp", "http://mcp.example.com"],
    ["docs", "--mcp", "https://user:s3cret-1234@mcp.example.com"],
    ["docs", "--mcp", "https://mcp.example.com/?token=s3cret-1234"],
    ["docs", "--mcp", "ftp://mcp.example.com"],
    ["docs", "--mcp", ""],
    ["docs", "--mcp", "https://[x"],
    ["a b", "--env"],
    ["a\nb", "--mcp", "https://mcp.example.com"],
    ["", "--env"],
    ["GITHUB_TOKEN=s3cret", "--env"],
    ["GITHUB_TOKEN", "s3cret", "--env"],
    ["GITHUB_TOKEN", "--env", "--value", "s3cret"],
    ["GITHUB_TOKEN", "--env", "--secret=s3cret"],
    ["GITHUB_TOKEN", "--env", "--from-env", "NOT_SET"],
    ["GITHUB_TOKEN", "--env", "--from-env", "s3cret value"],
    ["GITHUB_TOKEN", "--env", "--allow-host", "https://example.com/s"],
    ["GITHUB_TOKEN", "--env", "--allow-host", "example.com:https"],
    ["GITHUB_TOKEN", "--env", "--allow-host", "a" * 254],
]


@pytest.mark.parametrize("words", WRONG)
def test_words_that_cannot_be_meant_ask_nothing(qoder: Qoder, service: Service, words: list[str]) -> None:
    ran = put(qoder, *words)
    assert (ran.code, service.asked) == (2, [])


@pytest.mark.parametrize(
    "secret",
    ["ghp_Abcdefghij0123456789", "sk-Abcdefghij0123456789", "glpat-Abcdefghij0123456789", "pt-Abcdefghij0123456789"],
)
@pytest.mark.parametrize("place", ["VAULT", "NAME", "--from-env", "--allow-host", "--mcp"])
def test_a_secret_in_the_wrong_place_is_not_repeated(qoder: Qoder, service: Service, secret: str, place: str) -> None:
    words = {
        "VAULT": [secret, "GITHUB_TOKEN", "--env"],
        "NAME": ["team-secrets", secret, "--env"],
        "--from-env": ["team-secrets", "GITHUB_TOKEN", "--env", "--from-env", secret],
        "--allow-host": ["team-secrets", "GITHUB_TOKEN", "--env", "--allow-host", secret],
        "--mcp": ["team-secrets", "docs", "--mcp", f"https://example.com/{secret}"],
    }[place]
    ran = qoder("vault", "put", *words)
    assert (ran.code, service.asked) == (2, [])
    assert "bcdefghij" not in ran.out + ran.err


@pytest.mark.parametrize("text", ["", "\n", "  ", "a\0b", "x" * 70_000, "\udcff"])
def test_what_is_no_secret_is_refused(qoder: Qoder, service: Service, text: str) -> None:
    qoder.stdin = text
    assert qoder("vault", "put", "team-secrets", "GITHUB_TOKEN", "--env").code == 2
    assert service.sent == []


def test_a_bearer_token_is_one_word(qoder: Qoder, service: Service) -> None:
    assert put(qoder, "docs", "--mcp", "https://mcp.example.com").code == 2
    qoder.stdin = f"Bearer {TOKEN}"
    assert put(qoder, "docs", "--mcp", "https://mcp.example.com").code == 2


def test_a_key_of_several_lines_stays_whole_and_hidden(qoder: Qoder, service: Service) -> None:
    qoder.stdin = "-----BEGIN KEY-----\ns3cretline0123\n-----END KEY-----\n"
    service.refusals[LIST] = [Refused(400, f"bad value {qoder.stdin}")]
    assert put(qoder, "DEPLOY_KEY", "--env", "--json", "--debug").code == 6
    assert put(qoder, "DEPLOY_KEY", "--env", "--debug").code == 0
    assert service.things[LIST][0]["auth"]["secret_value"] == qoder.stdin.rstrip("\n")


def test_debug_and_errors_do_not_show_it(qoder: Qoder, service: Service) -> None:
    service.refusals[LIST] = [Refused(400, f"the value {SECRET} is too weak")]
    ran = put(qoder, "GITHUB_TOKEN", "--env", "--debug", "--json")
    assert (ran.code, "too weak" in ran.err) == (6, True)


def test_it_can_come_from_a_variable(qoder: Qoder, service: Service) -> None:
    qoder.env["MINE"] = TOKEN
    assert put(qoder, "GITHUB_TOKEN", "--env", "--from-env", "MINE").code == 0
    assert service.things[LIST][0]["auth"]["secret_value"] == TOKEN


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "code"), [(SECRET, 0), (EOFError(), 2)], ids=["typed", "end"])
def test_a_person_is_asked_without_echo(
    qoder: Qoder, service: Service, monkeypatch: pytest.MonkeyPatch, answer: Any, code: int
) -> None:
    prompts: list[str] = []

    def ask(prompt: str) -> str:
        prompts.append(prompt)
        if isinstance(answer, BaseException):
            raise answer
        return str(answer)

    monkeypatch.setattr(App, "may_ask", True)
    monkeypatch.setattr(getpass, "getpass", ask)
    screen = Screen(io.BytesIO())
    app = App(env=qoder.env, out=screen, err=screen, stdin=Terminal(), transport=qoder.transport, clock=qoder.clock)
    assert main(["vault", "put", "team-secrets", "GITHUB_TOKEN", "--env"], app) == code
    assert prompts == ["Secret for GITHUB_TOKEN (not shown): "]
    assert len(service.sent) == (code == 0)


def test_closed_standard_input_is_no_secret(qoder: Qoder, service: Service) -> None:
    err = io.BytesIO()
    app = App(env=qoder.env, out=Screen(io.BytesIO()), err=Screen(err), stdin=None, transport=qoder.transport)
    assert main(["vault", "put", "team-secrets", "GITHUB_TOKEN", "--env"], app) == 2
    assert service.sent == []


def test_nothing_is_put_where_writing_is_forbidden(qoder: Qoder, service: Service) -> None:
    qoder.env["QODER_READ_ONLY"] = "1"
    assert (put(qoder, "GITHUB_TOKEN", "--env").code, service.sent) == (2, [])


# Looking and checking.


def test_a_vault_is_shown_with_its_credentials(qoder: Qoder, service: Service) -> None:
    raw = variable(service, networking={"type": "limited", "allowed_hosts": ["a.example"]})
    ran = qoder("vault", "get", "team-secrets", "--json")
    shown = {**raw, "auth": {key: value for key, value in raw["auth"].items() if key != "secret_value"}}
    if service.generation == "legacy":
        shown.pop("metadata")
    assert ran.json == {**service.things["/vaults"][0], "credentials": [shown]}
    assert len(service.asked) == 3
    ran = qoder("vault", "get", "vault_1")
    assert f"credential\tGITHUB_TOKEN  {raw['id']}  environment_variable  GITHUB_TOKEN  a.example\n" in ran.out
    assert qoder("vault", "get", "vault_1", "-q").out == "vault_1\n"
    qoder.terminal = True
    assert "GITHUB_TOKEN" in qoder("vault", "get", "vault_1").out


def test_oauth_credentials_are_checked(qoder: Qoder, service: Service) -> None:
    variable(service)
    fine = oauth(service, "docs", "valid")
    ran = qoder("vault", "check", "team-secrets")
    assert (ran.code, ran.out) == (0, f"{fine['id']}\tdocs\tvalid\tstatus valid\n")
    why = {"refresh": {"status": "failed", "http_response": {"status_code": 400}}}
    bad = oauth(service, "mail", "invalid", mcp_probe={"http_response": {"status_code": 401}}, **why)
    ran = qoder("vault", "check", "team-secrets", "--json")
    assert ran.code == 6
    assert [(each["input"], each["status"]) for each in ran.json] == [(bad["id"], "invalid"), (fine["id"], "valid")]
    assert "mail (status invalid, refresh failed, refresh HTTP 400, server HTTP 401)" in ran.error["message"]


def test_others_cannot_be_checked(qoder: Qoder, service: Service) -> None:
    variable(service)
    ran = qoder("vault", "check", "team-secrets", "--json")
    assert (ran.code, ran.json) == (0, [])
    assert "no OAuth credentials" in ran.err
    assert qoder("vault", "check", "other").code == 5


@pytest.mark.parametrize("fault", [None, *LOST])
def test_a_vault_is_created_once(qoder: Qoder, service: Service, fault: str | None) -> None:
    service.faults["POST /vaults"] = [fault] if fault else []
    ran = qoder("vault", "create", "--name", "staging", "--metadata", "team=core", "-q")
    assert (ran.code, ran.out) == (0, f"{service.things['/vaults'][1]['id']}\n"), ran.err
    assert len(service.sent) == 1
    assert qoder("vault", "create").code == 2
