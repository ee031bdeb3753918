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
    [(_, path, body)] = service.sent
    kept = {"networking": limited, "injection_location": "header"}
    wanted = {"type": "environment_variable", "secret_value": SECRET}
    assert (path, body["auth"]) == (f"{LIST}/{raw['id']}", wanted | kept)  # all that an update knows
    assert raw["auth"] == wanted | kept | {"secret_name": "GITHUB_TOKEN"}


def test_vault_put_asks_before_a_secret_goes_to_other_hosts(qoder: Qoder, service: Service) -> None:
    hosts = ["api.github.com"]
    raw = variable(service, networking={"type": "limited", "allowed_hosts": hosts})
    for name in ("GITHUB_TOKEN", raw["id"]):
        ran = put(qoder, name, "--env", "--allow-host", "example.com", "--json")
        said = f"{raw['id']} is sent to example.com from now on, and not to api.github.com"
        assert (ran.code, ran.error["message"]) == (2, f"{said}: confirmation required; nothing was sent")
        assert (ran.error["hint"], service.sent) == ("confirm with --yes", [])
    assert put(qoder, "GITHUB_TOKEN", "--env", "--allow-host", "api.github.com").code == 0  # the same
    ran = put(qoder, "GITHUB_TOKEN", "--env", "--allow-host", "example.com", "--yes", "--no-progress")
    assert (ran.code, ran.err) == (0, f"{said}\n")
    assert raw["auth"]["networking"]["allowed_hosts"] == ["example.com"]


@pytest.mark.parametrize("name", ["FOO", "foo"])
def test_vault_put_env_replaces_the_variable_and_not_what_is_called_so(
    qoder: Qoder, service: Service, name: str
) -> None:
    other = variable(service, "BAR")
    other["display_name"] = "FOO"
    ours = variable(service, "FOO") if name == "foo" else None
    if ours:
        ours["display_name"] = "the one of the team"
    assert put(qoder, "FOO", "--env").code == 0
    assert (other["auth"]["secret_value"], other["auth"]["secret_name"]) == ("old", "BAR")
    if ours is None:
        ours = service.things[LIST][-1]
        assert ours["auth"]["networking"] == {"type": "unrestricted"}
    assert (ours["auth"]["secret_name"], ours["auth"]["secret_value"]) == ("FOO", SECRET)
    assert len(service.sent) == 1


def test_vault_put_env_says_what_else_is_called_so(qoder: Qoder, service: Service) -> None:
    other = variable(service, "BAR")
    other["display_name"] = "FOO"
    ran = put(qoder, "FOO", "--env")
    assert f"FOO ({other['id']}) is only called so: it is for BAR\n" in ran.err
    assert "it may be sent to any host (--allow-host restricts it)\n" in ran.err


def test_vault_put_replaces_nothing_that_does_not_show_what_it_is_for(qoder: Qoder, service: Service) -> None:
    raw = variable(service)
    del raw["auth"]["secret_name"]
    ran = put(qoder, "GITHUB_TOKEN", "--env")
    assert (ran.code, service.sent) == (2, [])
    assert f"GITHUB_TOKEN ({raw['id']}) does not show what it is for" in ran.err
    assert put(qoder, raw["id"], "--env").code == 0


def bearer(service: Service, name: str, url: str) -> Object:
    auth = {"type": "static_bearer", "mcp_server_url": url, "token": "old"}
    return service.add(LIST, "vcred_", type="vault_credential", display_name=name, auth=auth, metadata={})


def test_vault_put_mcp_moves_no_credential_to_another_server(qoder: Qoder, service: Service) -> None:
    qoder.stdin = TOKEN
    raw = bearer(service, "docs", "https://a.example/mcp")
    words = ("docs", "--mcp", "https://b.example/mcp")
    ran = put(qoder, *words)
    assert (ran.code, service.sent) == (2, [])
    said = f"docs ({raw['id']}) is for https://a.example/mcp, and stays so; another docs is created for {words[2]}"
    assert f"error: {said}: confirmation required; nothing was sent" in ran.err
    assert put(qoder, raw["id"], *words[1:], "--yes").code == 2
    assert service.sent == []
    ran = put(qoder, *words, "--yes")
    assert (ran.code, said in ran.err) == (0, True)
    assert (raw["auth"]["mcp_server_url"], raw["auth"]["token"]) == ("https://a.example/mcp", "old")
    assert service.things[LIST][-1]["auth"]["mcp_server_url"] == "https://b.example/mcp"
    assert put(qoder, *words).code == 0  # now it is known by its server
    assert [path for _, path, _ in service.sent] == [LIST, f"{LIST}/{service.things[LIST][-1]['id']}"]


def test_vault_put_mcp_asks_before_it_replaces_one_of_another_name(qoder: Qoder, service: Service) -> None:
    qoder.stdin = TOKEN
    raw = bearer(service, "theirs", "https://a.example/mcp")
    words = ("docs", "--mcp", "https://a.example/mcp")
    assert (put(qoder, *words).code, service.sent) == (2, [])
    assert (put(qoder, *words, "--yes").code, raw["auth"]["token"]) == (0, TOKEN)
    assert service.sent[0][2]["auth"] == {"type": "static_bearer", "token": TOKEN}


@pytest.mark.parametrize("loss", ["done-reset", "reset"])
@pytest.mark.parametrize("mark", ["another", None])
def test_vault_put_does_not_write_over_a_colleagues_secret(
    qoder: Qoder, service: Service, loss: str, mark: str | None
) -> None:
    raw = variable(service)
    service.faults[f"{LIST}/{raw['id']}"] = [loss]

    def rotate() -> None:
        qoder.clock.at_sleep = lambda: None
        raw["auth"]["secret_value"] = "theirs"
        raw.update(updated_at="2027-01-15T08:30:00Z", metadata={"qoder_key": mark} if mark else {})

    qoder.clock.at_sleep = rotate
    ran = put(qoder, "GITHUB_TOKEN", "--env", "--json")
    assert (ran.code, raw["auth"]["secret_value"], len(service.sent)) == (6 if mark else 9, "theirs", 1)
    told = "someone else changed vcred_1 in the meantime" if mark else "it was written to, and nothing shows by whom"
    assert told in ran.error["message"]


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
    assert len(service.sent) == 1  # our mark tells that a secret was replaced


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
