"""`qoder vault`: secrets are taken from where nobody can see them, put once, checked, and shown nowhere."""

import getpass
import io
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from qoder_cli.app import App
from tests.conftest import Qoder, Ran
from tests.support.things import Raw, Things, each_row, ok, refusal

SERVED_BY = ("current",)
LIST = "/vaults/vault_team/credentials"
OLD = f"{LIST}/vcred_old"
SECRET = 's3cret-Value/with"quotes" and spaces'
TOKEN = "tok-0123456789abcdef"
HOSTS = {"type": "limited", "allowed_hosts": ["api.github.com"]}


@pytest.fixture
def service(qoder: Qoder, service: Things) -> Things:
    qoder.stdin = f"{SECRET}\n"
    service.world.things[LIST[1:]].clear()
    return service


def put(qoder: Qoder, *words: str) -> Ran:
    ran = qoder("vault", "put", "team-secrets", *words)
    for shown in (ran.out, ran.err):
        assert SECRET not in shown
        assert "s3cret" not in shown
        assert TOKEN not in shown
    return ran


def credential(service: Things, id: str, name: str | None, **auth: Any) -> Raw:
    """Keep a credential in the vault, as the API shows it, and return it."""
    raw = {**service.change(LIST, {"display_name": name, "auth": auth}), "id": id}
    service.world.things[LIST[1:]].popitem()
    return service.keep(LIST[1:], raw)


def variable(service: Things, name: str = "GITHUB_TOKEN", id: str = "vcred_old", **more: Any) -> Raw:
    auth = {"type": "environment_variable", "secret_name": name, "secret_value": "old", "networking": HOSTS}
    return credential(service, id, name, **auth | more)


def static_bearer(service: Things, name: str, url: str) -> Raw:
    return credential(service, "vcred_old", name, type="static_bearer", mcp_server_url=url, token="old")


def oauth(service: Things, name: str, status: str, **found: Any) -> str:
    """Keep an OAuth credential that the API finds to be so, and return its id."""
    id, url = f"vcred_{name}", "https://mcp.example.com"
    credential(service, id, name, type="mcp_oauth", mcp_server_url=url, access_token="x")
    service.lies[f"POST {LIST}/{id}/mcp_oauth_validate"] = lambda told: {**told, "status": status, **found}
    return id


@pytest.mark.parametrize(
    ("words", "networking", "said"),
    [
        ((), {"type": "unrestricted"}, "it may be sent to any host (--allow-host restricts it)\n"),
        (("--allow-host", "api.github.com"), HOSTS, ""),
        *(
            (("--allow-host", host), {"type": "limited", "allowed_hosts": [host]}, "")
            for host in ("*", "*.example.com", "auth_proxy", "_api.example.com:8443")
        ),
    ],
)
def test_vault_put_env_creates_a_variable_and_says_where_it_may_go(
    qoder: Qoder, service: Things, words: tuple[str, ...], networking: Raw, said: str
) -> None:
    ran = put(qoder, "GITHUB_TOKEN", "--variable", *words)
    assert ran.code == 0, ran.err
    [body] = service.sent
    auth = {"type": "environment_variable", "secret_name": "GITHUB_TOKEN", "secret_value": SECRET}
    assert body["display_name"] == "GITHUB_TOKEN"
    assert body["auth"] == {**auth, "networking": networking}
    assert "creating credential GITHUB_TOKEN in vault_team" in ran.err
    assert said in ran.err


def test_vault_put_mcp_creates_a_bearer_token_of_one_word(qoder: Qoder, service: Things) -> None:
    for text, code in ((SECRET, 2), (f"Bearer {TOKEN}", 2), (TOKEN, 0)):
        qoder.stdin = text
        assert put(qoder, "team docs", "--mcp", "https://mcp.example.com/mcp").code == code
    auth = {"type": "static_bearer", "mcp_server_url": "https://mcp.example.com/mcp", "token": TOKEN}
    assert service.sent[0]["auth"] == auth


def test_vault_put_env_replaces_a_known_name_and_keeps_its_hosts(qoder: Qoder, service: Things) -> None:
    variable(service, injection_location="header")
    ran = put(qoder, "GITHUB_TOKEN", "--variable", "-q")
    assert (ran.code, ran.out) == (0, "vcred_old\n")
    assert "updating credential GITHUB_TOKEN (vcred_old), for GITHUB_TOKEN, in vault_team\n" in ran.err
    assert service.writes == [f"POST {OLD}"]
    assert service.sent[0]["auth"] == {  # all that an update knows
        "type": "environment_variable",
        "secret_value": SECRET,
        "networking": HOSTS,
        "injection_location": "header",
    }


def test_vault_put_asks_before_a_secret_goes_to_other_hosts(qoder: Qoder, service: Things) -> None:
    raw = variable(service)
    said = "vcred_old is sent to example.com from now on, and not to api.github.com"
    for name in ("GITHUB_TOKEN", "vcred_old"):
        ran = put(qoder, name, "--variable", "--allow-host", "example.com", "--json")
        assert (ran.code, ran.error["message"]) == (2, f"{said}: confirmation required; nothing was sent")
        assert (ran.error["hint"], service.writes) == ("confirm with --yes", [])
    assert put(qoder, "GITHUB_TOKEN", "--variable", "--allow-host", "api.github.com").code == 0  # the same
    ran = put(qoder, "GITHUB_TOKEN", "--variable", "--allow-host", "example.com", "--yes", "--no-progress")
    assert (ran.code, ran.err) == (0, f"{said}\n")
    assert raw["auth"]["networking"]["allowed_hosts"] == ["example.com"]
    raw["auth"]["networking"] = {"type": "unrestricted"}
    assert "and not to any host: conf" in put(qoder, "GITHUB_TOKEN", "--variable", "--allow-host", "api.github.com").err


def test_vault_put_replaces_nothing_changed_while_it_asked(qoder: Qoder, service: Things, questions: Any) -> None:
    raw, theirs = variable(service), {"type": "limited", "allowed_hosts": ["theirs.example.com"]}
    qoder.env["KEY"] = SECRET
    words = ("team-secrets", "vcred_old", "--variable", "--from-env", "KEY", "--allow-host", "x.com")
    for change in (lambda: raw["auth"].update(networking=theirs), lambda: raw["metadata"].update(qoder_key="theirs")):
        questions(change)
        ran = qoder("vault", "put", *words)
        assert (ran.code, service.writes, "meantime; nothing was sent" in ran.err) == (6, [], True)


@pytest.mark.parametrize("ours", [None, "the one of the team"])
def test_vault_put_env_replaces_not_what_is_only_called_so(qoder: Qoder, service: Things, ours: str | None) -> None:
    variable(service, "BAR", "vcred_bar")["display_name"] = "FOO"
    if ours:
        variable(service, "FOO")["display_name"] = ours
    ran = put(qoder, "FOO", "--variable", *([] if ours else ["--yes"]))
    assert ran.code == 0
    assert service.writes == [f"POST {OLD}" if ours else f"POST {LIST}"]
    assert ours or "FOO (vcred_bar) is for BAR, and stays so; another FOO is created for FOO\n" in ran.err


def test_vault_put_replaces_nothing_that_does_not_show_what_it_is_for(qoder: Qoder, service: Things) -> None:
    del variable(service)["auth"]["secret_name"]
    ran = put(qoder, "GITHUB_TOKEN", "--variable", "--yes")
    assert (ran.code, service.writes) == (2, [])
    assert "GITHUB_TOKEN (vcred_old) does not show what it is for" in ran.err
    ran = put(qoder, "vcred_old", "--variable", "--allow-host", "example.com", "--yes")
    assert (ran.code, "GITHUB_TOKEN (vcred_old), for nothing that it shows, in" in ran.err) == (0, True)
    assert put(qoder, "ANOTHER", "--variable").code == 0
    assert service.writes == [f"POST {OLD}", f"POST {LIST}"]


def test_vault_put_by_id_keeps_what_the_credential_is_for(qoder: Qoder, service: Things) -> None:
    variable(service)["auth"]["networking"] = {"type": "limited"}
    ran = put(qoder, "vcred_old", "--variable", "--allow-host", "example.com", "--json")
    unseen = "vcred_old is sent to example.com from now on, and not to hosts that it does not show"
    assert (ran.code, ran.error["message"].startswith(unseen)) == (2, True)
    qoder.stdin = TOKEN
    static_bearer(service, "docs", CONNECT[4])
    assert put(qoder, "vcred_old", "--mcp", CONNECT[4]).code == 0
    assert service.sent[-1]["auth"] == {"type": "static_bearer", "token": TOKEN}


def test_vault_put_replaces_nothing_by_an_answer_that_a_proxy_has_kept(qoder: Qoder, service: Things) -> None:
    service.instead[f"GET {OLD}"] = [httpx.Response(200, json=variable(service), headers={"age": "600"})] * 9
    assert (put(qoder, "vcred_old", "--variable").code, service.writes) == (7, [])


def test_vault_put_mcp_moves_no_credential_to_another_server(qoder: Qoder, service: Things) -> None:
    qoder.stdin = TOKEN
    raw = static_bearer(service, "docs", "https://a.example/mcp")
    words = ("docs", "--mcp", "https://b.example/mcp")
    ran = put(qoder, *words)
    assert (ran.code, service.writes) == (2, [])
    said = f"docs (vcred_old) is for https://a.example/mcp, and stays so; another docs is created for {words[2]}"
    assert f"error: {said}: confirmation required; nothing was sent" in ran.err
    assert put(qoder, "vcred_old", *words[1:], "--yes").code == 2
    assert service.writes == []
    ran = put(qoder, *words, "--yes")
    assert (ran.code, said in ran.err) == (0, True)
    assert raw["auth"]["mcp_server_url"] == "https://a.example/mcp"
    assert put(qoder, *words).code == 0  # now it is known by its server
    [new] = set(service.world.things[LIST[1:]]) - {"vcred_old"}
    assert service.writes == [f"POST {LIST}", f"POST {LIST}/{new}"]


def test_vault_put_mcp_asks_before_it_replaces_one_of_another_name(qoder: Qoder, service: Things) -> None:
    qoder.stdin = TOKEN
    static_bearer(service, "theirs", "https://a.example/mcp")
    words = ("docs", "--mcp", "https://a.example/mcp")
    assert (put(qoder, *words).code, service.writes) == (2, [])
    assert f"updating credential theirs (vcred_old), for {words[2]}, in" in put(qoder, *words, "--yes").err
    assert (service.writes, service.sent[0]["auth"]) == ([f"POST {OLD}"], {"type": "static_bearer", "token": TOKEN})


def test_vault_put_env_reads_what_the_list_does_not_show(qoder: Qoder, service: Things) -> None:
    variable(service)
    service.lies[f"GET {LIST}"] = each_row(lambda row: {**row, "auth": {}})
    assert (put(qoder, "GITHUB_TOKEN", "--variable").code, service.writes) == (0, [f"POST {OLD}"])


@pytest.mark.parametrize(
    ("names", "name", "replaced"),
    [
        (("docs", "other"), "docs", ["vcred_1"]),
        (("docs", "other"), "new", []),
        (("docs", "docs"), "docs", []),
        ((None,), "docs", ["vcred_1"]),
    ],
)
def test_vault_put_mcp_replaces_of_several_for_a_server_the_one_of_this_name(
    qoder: Qoder, service: Things, names: tuple[str | None, ...], name: str, replaced: list[str]
) -> None:
    auth = {"type": "static_bearer", "mcp_server_url": CONNECT[4], "token": "old"}
    for n, each in enumerate(names, 1):
        credential(service, f"vcred_{n}", "old", **auth)["display_name"] = each
    qoder.stdin = TOKEN
    ran = put(qoder, name, "--mcp", CONNECT[4], "--yes")
    assert (ran.code, service.writes) == (0 if replaced else 2, [f"POST {LIST}/{id}" for id in replaced]), ran.err
    assert "None" not in ran.err
    assert replaced or "use an id: vcred_2, vcred_1" in ran.err
    assert names[0] or f"vcred_1 (vcred_1) is for {CONNECT[4]}, and gets this token" in ran.err


@pytest.mark.parametrize("arrives", [True, False])
@pytest.mark.parametrize("mark", ["another", "of the same second", None])
def test_vault_put_keeps_a_colleagues_secret(qoder: Qoder, service: Things, arrives: bool, mark: str | None) -> None:
    raw = variable(service)
    before = raw["updated_at"]
    service.loses("reset", done=arrives)

    def rotate() -> None:
        at = before if mark == "of the same second" else "2027-01-15T08:30:00Z"
        raw.update(updated_at=at, metadata={"qoder_key": mark} if mark else {})

    qoder.clock.at_sleep = rotate
    ran = put(qoder, "GITHUB_TOKEN", "--variable", "--json")
    assert (ran.code, len(service.writes)) == (6 if mark else 9, 1)
    told = "someone else changed vcred_old in the meantime" if mark else "it was written to, and nothing shows by whom"
    assert told in ran.error["message"]
    assert not mark or ran.error["hint"] == "compare, then run it again"  # not to delete it


def test_vault_put_is_safe_to_repeat_where_no_answer_comes(qoder: Qoder, service: Things) -> None:
    variable(service)
    service.never = [refusal(502, "", "")] * 3
    ran = put(qoder, "GITHUB_TOKEN", "--variable", "--json")
    assert (ran.code, ran.error["hint"]) == (9, "check; it is safe to repeat")
    assert "unknown whether changing vcred_old succeeded" in ran.error["message"]


@pytest.mark.parametrize(("status", "code"), [(405, 6), (404, 5), (400, 6), (401, 4), (403, 4)])
def test_vault_put_says_where_the_api_does_not_replace(qoder: Qoder, service: Things, status: int, code: int) -> None:
    variable(service)
    service.never = [refusal(status, "x", "Not allowed.")]
    ran = put(qoder, "GITHUB_TOKEN", "--variable", "--json")
    assert ran.code == code
    if code == 4:
        assert "delete it" not in ran.err
    else:
        assert "delete it, then add it" in ran.error["hint"]
        assert ran.error["next"][:6] == ["qoder", "vault", "credential", "delete", "vault_team", "vcred_old"]


def test_vault_put_refuses_a_name_of_another_kind_or_of_two(qoder: Qoder, service: Things) -> None:
    variable(service)
    qoder.stdin = TOKEN
    ran = put(qoder, "GITHUB_TOKEN", "--mcp", "https://mcp.example.com")
    assert (ran.code, "GITHUB_TOKEN (vcred_old) is for GITHUB_TOKEN, and stays so" in ran.err) == (2, True)
    ran = put(qoder, "vcred_old", "--mcp", "https://mcp.example.com")
    assert (ran.code, "vcred_old is of the type environment_variable, not" in ran.err) == (2, True)
    variable(service, id="vcred_other")["display_name"] = "theirs"
    ran = put(qoder, "GITHUB_TOKEN", "--variable")
    assert (ran.code, service.writes) == (2, [])
    assert "use an id: " in ran.err
    assert {"vcred_old", "vcred_other"} <= set(ran.err.replace(",", "").split())
    ran = put(qoder, "vcred_9", "--variable", "--json")
    assert (ran.code, ran.error["next"][:4]) == (5, ["qoder", "vault", "get", "vault_team"])
    assert ran.error["message"].startswith("credential vcred_9: HTTP 404")
    variable(service)["archived_at"] = "2026-06-14T08:54:06Z"
    ran = put(qoder, "vcred_old", "--variable")
    assert (ran.code, "vcred_old was archived on 2026-06-14T08:54:06Z" in ran.err) == (2, True)


def test_vault_put_takes_a_text_of_at_most_64_kib(qoder: Qoder, service: Things) -> None:
    for text in ("", "\n", "  ", "a\0b", "x" * (64 * 1024 + 1), "\udcff", None):
        qoder.stdin = text
        ran = put(qoder, "GITHUB_TOKEN", "--variable")
        assert (ran.code, service.writes) == (2, [])
        assert ("is binary or longer than 64 KiB" in ran.err) is bool(text and (len(text) > 9 or "\0" in text))
    qoder.stdin = "x" * 64 * 1024
    assert put(qoder, "GITHUB_TOKEN", "--variable").code == 0


def test_vault_put_keeps_a_key_of_several_lines_whole_and_hidden(qoder: Qoder, service: Things) -> None:
    qoder.stdin = "-----BEGIN KEY-----\ns3cretline0123\n-----END KEY-----\n"
    service.never = [refusal(400, "invalid_request_error", f"bad value {qoder.stdin}")]
    assert put(qoder, "DEPLOY_KEY", "--variable", "--json", "--debug").code == 6
    qoder.stdin = f"\ufeff{(key := qoder.stdin)}"  # as Windows may pipe it
    assert put(qoder, "DEPLOY_KEY", "--variable", "--debug").code == 0
    assert service.sent[-1]["auth"]["secret_value"] == key.rstrip("\n")


def test_vault_put_takes_the_secret_from_a_variable(qoder: Qoder, service: Things) -> None:
    qoder.env["MINE"] = TOKEN
    assert put(qoder, "GITHUB_TOKEN", "--variable", "--from-env", "MINE").code == 0
    assert service.sent[0]["auth"]["secret_value"] == TOKEN
    qoder.env["MINE"] = "\udcff"
    assert "from MINE is not UTF-8" in put(qoder, "GITHUB_TOKEN", "--variable", "--from-env", "MINE").err


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "code"), [(SECRET, 0), (EOFError(), 2)], ids=["typed", "end"])
def test_vault_put_asks_a_person_without_echo(
    qoder: Qoder, service: Things, monkeypatch: pytest.MonkeyPatch, answer: Any, code: int
) -> None:
    prompts: list[str] = []

    def ask(prompt: str) -> str:
        prompts.append(prompt)
        if isinstance(answer, BaseException):
            raise answer
        return str(answer)

    monkeypatch.setattr(App, "may_ask", True)
    monkeypatch.setattr(getpass, "getpass", ask)
    qoder.stdin = Terminal()
    assert put(qoder, "GITHUB_TOKEN", "--variable").code == code
    assert prompts == ["Secret for GITHUB_TOKEN (not shown): "]
    assert len(service.writes) == (code == 0)


def test_vault_put_sends_nothing_after_a_no(qoder: Qoder, service: Things, questions: Callable[..., list[str]]) -> None:
    variable(service)
    qoder.env["SECRET"], asked = SECRET, questions(False)
    ran = put(qoder, "GITHUB_TOKEN", "--variable", "--from-env", "SECRET", "--allow-host", "example.com")
    assert (ran.code, len(asked), service.writes) == (2, 1, [])


def test_vault_get_shows_its_credentials(qoder: Qoder, service: Things) -> None:
    raw = variable(service)
    raw["archived_at"] = "2026-06-14T08:54:06Z"
    vault = service.thing("vault_team")
    assert qoder("vault", "get", "team-secrets", "--json").json == {**vault, "credentials": [raw]}
    line = "credential\tGITHUB_TOKEN  vcred_old  environment_variable  GITHUB_TOKEN  api.github.com  archived\n"
    assert line in qoder("vault", "get", "vault_team").out
    qoder.terminal = True
    assert "GITHUB_TOKEN" in qoder("vault", "get", "vault_team").out
    rows: list[Any] = [None, {"name": "docs"}]
    service.lies["GET /vaults/vault_team/credentials"] = lambda page: {**page, "data": [rows.pop(), *page["data"]]}
    while rows:
        ran = qoder("vault", "get", "vault_team", "--json")
        assert (ran.code, ran.out, "something else in it" in ran.err) == (7, "", True)


def test_vault_check_tells_which_oauth_credential_is_invalid_and_why(qoder: Qoder, service: Things) -> None:
    variable(service)
    ran = qoder("vault", "check", "team-secrets", "--json")
    assert (ran.code, ran.json) == (0, [])
    assert "no OAuth credentials" in ran.err
    fine = oauth(service, "docs", "unknown", refresh=None, mcp_probe=None)
    ran = qoder("vault", "check", "team-secrets")
    assert (ran.code, ran.out) == (0, f"{fine}\tdocs\tunknown\tstatus unknown\n")
    why = {"refresh": {"status": "failed", "http_response": {"status_code": 400}}}
    bad = oauth(service, "mail", "invalid", mcp_probe={"http_response": {"status_code": 401}}, **why)
    ran = qoder("vault", "check", "team-secrets", "--json")
    assert ran.code == 6
    assert sorted((each["input"], each["status"]) for each in ran.json) == [(fine, "unknown"), (bad, "invalid")]
    assert "mail (status invalid, refresh failed, refresh HTTP 400, server HTTP 401)" in ran.error["message"]


@pytest.mark.parametrize("answer", [{}, {"status": 5}, {"type": "vault", "id": "vault_1"}, [], None])
def test_vault_check_believes_no_answer_without_a_status(qoder: Qoder, service: Things, answer: Any) -> None:
    oauth(service, "docs", "valid")
    service.instead[f"POST {LIST}/vcred_docs/mcp_oauth_validate"] = [ok(answer)] * 9
    assert qoder("vault", "check", "team-secrets").code == 7


@pytest.mark.parametrize("verb", ["check", "connect", "put"])
def test_vault_believes_no_list_of_credentials_that_may_be_cut(qoder: Qoder, service: Things, verb: str) -> None:
    more = {"check": ("--json",), "connect": CONNECT[3:], "put": ("GITHUB_TOKEN", "--variable", "--json")}
    oauth(service, "docs", "invalid")
    service.lies[f"GET {LIST}"] = lambda page: {"data": []}
    ran = qoder("vault", verb, "team-secrets", *more[verb])
    assert (ran.code, service.writes) == (7, [])
    assert "does not say whether it is complete" in ran.error["message"]


CONNECT = ("vault", "connect", "team-secrets", "--mcp", "https://mcp.example.com/mcp", "--json")
PAGE = {"authorization_url": "https://login.example.com/start?state=1"}


def test_vault_connect_shows_who_has_logged_in(qoder: Qoder, service: Things, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = list[str]()
    monkeypatch.setattr("webbrowser.open", opened.append)
    service.instead = {"POST /oauth/start": [ok(PAGE), ok(PAGE)]}
    auth = {"type": "mcp_oauth", "mcp_server_url": CONNECT[4], "access_token": "x"}

    def log_in() -> None:
        credential(service, "vcred_new", "docs", **auth)
        credential(service, "vcred_a", "a", **{**auth, "mcp_server_url": "https://mcp.example.com/other"})
        static_bearer(service, "b", CONNECT[4])

    qoder.clock.at_sleep = log_in
    ran = qoder(*CONNECT, "--no-progress")
    assert (ran.code, ran.json["id"], opened) == (0, "vcred_new", []), ran.err
    assert f"to log in, open: {PAGE['authorization_url']}" in ran.err
    assert service.sent[0] == {"vault_id": "vault_team", "mcp_server_url": CONNECT[4]}
    qoder.clock.at_sleep = lambda: service.thing("vcred_new").update(updated_at="2027-02-01T00:00:00Z")
    ran = qoder(*CONNECT, "--open")
    assert (ran.code, ran.json["id"], opened) == (0, "vcred_new", [PAGE["authorization_url"]])
    assert "vcred_new was there before, and has changed: by this login, or" in ran.err


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (ok(PAGE), 124),
        (refusal(404, "not_found_error", "No."), 5),
        *((ok({"authorization_url": url}), 7) for url in ("http://x", "https://[x")),
    ],
)
def test_vault_connect_ends_where_nobody_logs_in_or_nobody_can(
    qoder: Qoder, service: Things, answer: Any, code: int
) -> None:
    service.instead = {"POST /oauth/start": [answer]}
    credential(service, "vcred_old", "docs", type="mcp_oauth", mcp_server_url=CONNECT[4], access_token="x")
    ran = qoder(*CONNECT, "--timeout", "20")
    assert (ran.code, ran.out) == (code, "")
    assert code != 5 or "not every server can do this" in ran.error["hint"]


def test_vault_put_replaces_no_secret_whose_hosts_are_not_shown(qoder: Qoder, service: Things) -> None:
    variable(service)
    service.thing("vcred_old")["auth"].pop("networking", None)
    service.requests.clear()
    for hosts, code in (((), 7), (("--allow-host", "api.github.com"), 0)):
        qoder.stdin = f"{SECRET}\n"
        ran = qoder("vault", "put", "team-secrets", "GITHUB_TOKEN", "--variable", "--yes", *hosts)
        assert (ran.code, len(service.writes)) == (code, int(not code)), ran.err
