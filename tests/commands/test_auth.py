"""`qoder auth`: a token is saved only when the server accepts it, and is never shown; which profile commands use."""

import getpass
import io
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from qoder_cli.app import App
from qoder_cli.base.plainfile import seal
from qoder_cli.settings.configfile import load
from tests.conftest import TOKEN, Qoder, Ran
from tests.support.wire import api_error, page

HERE = "http://127.0.0.1:8080/api/v1/cloud"
REFUSED = api_error(401, "authentication_error", "Invalid API key or token.")
SAVED = f'[profiles.default]\ntoken = "{TOKEN}"\n'
OTHER_HOST = f'[profiles.default]\ntoken = "pt-old-0123456789"\nbase_url = "{HERE}"\n'


@pytest.fixture(autouse=True)
def logged_out(qoder: Qoder) -> None:
    """Start without a token in the environment, and with one on standard input."""
    del qoder.env["QODER_PAT"]
    qoder.stdin = TOKEN + "\n"


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Seat someone at a terminal who pastes the token; return the prompts that were shown."""
    prompts: list[str] = []

    def paste(prompt: str) -> str:
        prompts.append(prompt)
        return TOKEN

    monkeypatch.setattr(App, "may_ask", True)
    monkeypatch.setattr(getpass, "getpass", paste)
    return prompts


def profiles(qoder: Qoder) -> Any:
    return load(qoder.config).profiles


def log_in(qoder: Qoder, *options: str, accepted: bool = True) -> Ran:
    if accepted:
        qoder.wire.on("GET", "/deployments", page())
    return qoder("auth", "login", "--with-token", *options)


def enter_sandbox(qoder: Qoder) -> None:
    qoder.env.update(QODER_SANDBOX=HERE, QODER_PAT=TOKEN)
    seal(qoder.config.parent, HERE)


# login


@pytest.mark.parametrize(
    ("before", "options", "after"),
    [
        ("", [], {"default": {"region": "global"}}),
        ("", ["--region", "cn"], {"default": {"region": "cn"}}),
        ("", ["--base-url", "127.0.0.1:8080/"], {"default": {"base_url": HERE}}),
        ("", ["--base-url", "api.qoder.com.cn"], {"default": {"region": "cn"}}),
        ("", ["--profile", "work", "--workspace", "ws_1"], {"work": {"region": "global", "workspace_id": "ws_1"}}),
        # What else is there is kept; a token of the same host is replaced; a region replaces the URL that would win.
        (f'base_url = "{HERE}"\nworkspace_id = "w"\n', [], {"default": {"base_url": HERE, "workspace_id": "w"}}),
        (f'base_url = "{HERE}"\ntoken = "pt-old-0123456789"\n', [], {"default": {"base_url": HERE}}),
        (f'base_url = "{HERE}"\n', ["--region", "cn"], {"default": {"region": "cn"}}),
        (f'base_url = "{HERE}"\ntoken = "pt-old"\n', ["--region", "cn", "--yes"], {"default": {"region": "cn"}}),
    ],
)
def test_auth_login_saves_the_token_with_the_server_that_accepted_it(
    qoder: Qoder, before: str, options: list[str], after: dict[str, dict[str, str]]
) -> None:
    qoder.configured(f"# mine\n[profiles.default]\n{before}" if before else "# mine\n")
    ran = log_in(qoder, *options)
    [(name, values)] = after.items()
    assert (ran.code, ran.out) == (0, "")
    assert f" in profile {name} of {qoder.config}" in ran.err
    assert "warning" not in ran.err
    assert profiles(qoder) == {name: {"token": TOKEN, **values}}
    assert qoder.config.read_text().startswith("# mine\n")
    [request] = qoder.wire.requests
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert request.headers.get("qoder-workspace-id") == values.get("workspace_id")
    assert request.url.query == b"limit=1"
    hosts = {"global": "api.qoder.com", "cn": "api.qoder.com.cn"}
    assert request.url.host == hosts.get(values.get("region", ""), "127.0.0.1")


NOT_THE_API = [{"hello": 1}, [], {"data": "x"}, httpx.Response(200, html="<p>Welcome</p>")]
NO_ANSWERS = [*NOT_THE_API, (302, ""), (501, ""), httpx.ConnectError("connection refused")]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (REFUSED, 4),
        (api_error(403, "permission_error", "No."), 4),
        ((404, "<html>"), 5),
        *((no, 7) for no in NO_ANSWERS),
    ],
    ids=repr,
)
def test_auth_login_saves_no_token_that_is_not_accepted(qoder: Qoder, answer: Any, code: int) -> None:
    qoder.wire.on("GET", "/deployments", answer, repeat=True)
    ran = log_in(qoder, "--json", accepted=False)
    assert (ran.code, ran.out) == (code, "")
    where = "tokens only work in their own region: try --region cn, "
    assert (where in (ran.error["hint"] or "")) == (code == 4)
    assert re.search(r"[^.]; nothing was saved$", ran.error["message"])
    assert not qoder.config.exists()


@pytest.mark.parametrize("text", ["", f"{TOKEN} x", TOKEN * 1000])
def test_auth_login_sends_no_text_that_is_no_token(qoder: Qoder, text: str) -> None:
    qoder.stdin = text
    ran = log_in(qoder, accepted=False)
    assert (ran.code, ran.out) == (2, "")
    assert "the token from standard input" in ran.errors[0]
    assert not qoder.config.exists()


@pytest.mark.parametrize(
    ("stdin", "said"),
    [
        ({"read": lambda self, size=-1: b"\xff".decode()}, "cannot read standard input"),
        ({"isatty": lambda self: True}, "expects the token on standard input"),
    ],
    ids=["no text", "a keyboard"],
)
def test_auth_login_with_token_reads_text_that_is_piped(
    qoder: Qoder, monkeypatch: pytest.MonkeyPatch, stdin: dict[str, Any], said: str
) -> None:
    monkeypatch.setattr(io, "StringIO", type("Odd", (io.StringIO,), stdin))
    ran = log_in(qoder, accepted=False)
    assert ran.code == 2
    assert said in ran.errors[0]
    without = qoder("auth", "login")
    assert (without.code, without.out, "--with-token" in without.err) == (2, "", True)


def test_auth_login_asks_a_person_without_showing_the_token(qoder: Qoder, person: list[str]) -> None:
    qoder.wire.on("GET", "/deployments", page())
    ran = qoder("auth", "login", "--region", "cn")
    assert (ran.code, ran.out) == (0, "")
    assert person == ["Token for api.qoder.com.cn (not shown): "]
    assert "create a token at https://qoder.com.cn/cloud/pat-keys" in ran.err
    assert profiles(qoder)["default"] == {"token": TOKEN, "region": "cn"}


@pytest.mark.parametrize(
    ("env", "options", "warned"),
    [
        ({"QODER_PAT": "pt-other"}, [], "set, and stronger than the profile: QODER_PAT"),
        ({"QODER_REGION": "global"}, ["--region", "cn"], "set, and stronger than the profile: QODER_REGION"),
        ({"QODER_PROFILE": "default"}, [], None),
        ({"QODER_PAT": "pt-other"}, ["--profile", "work"], "warning: --profile work overrides: QODER_PAT\n"),
    ],
)
def test_auth_login_warns_of_what_will_win_over_it(
    qoder: Qoder, env: dict[str, str], options: list[str], warned: str | None
) -> None:
    qoder.env.update(env)
    ran = log_in(qoder, *options, "--no-progress")
    assert ran.code == 0
    assert warned in ran.err if warned else ran.err == ""
    assert [values["token"] for values in profiles(qoder).values()] == [TOKEN]


def test_auth_login_replaces_no_token_of_another_host_unasked(qoder: Qoder) -> None:
    qoder.configured(OTHER_HOST)
    ran = log_in(qoder, "--region", "cn", accepted=False)
    assert (ran.code, ran.out) == (2, "")
    assert "already holds a token for 127.0.0.1:8080; nothing was changed" in ran.errors[0]
    assert "--yes" in ran.err
    assert qoder.config.read_text() == OTHER_HOST


@pytest.mark.parametrize("answer", [True, False])
@pytest.mark.usefixtures("person")
def test_auth_login_asks_before_it_replaces_a_token_of_another_host(
    qoder: Qoder, questions: Callable[..., list[str]], answer: bool
) -> None:
    qoder.configured(OTHER_HOST)
    asked = questions(answer)
    if answer:
        qoder.wire.on("GET", "/deployments", page())
    ran = qoder("auth", "login", "--region", "cn")
    question = "profile default already holds a token for 127.0.0.1:8080. Replace it with one for api.qoder.com.cn?"
    assert asked == [question]
    token = profiles(qoder)["default"]["token"]
    assert (ran.code, token) == ((0, TOKEN) if answer else (2, "pt-old-0123456789"))


@pytest.mark.parametrize("text", ["[broken\n", "[profiles.default]\ntoken = 1\n"])
def test_auth_login_finds_a_broken_file_before_it_asks_for_a_token(qoder: Qoder, person: list[str], text: str) -> None:
    qoder.configured(text)
    assert qoder("auth", "login").code == 2
    assert person == []
    assert qoder.config.read_text() == text


def test_auth_login_inside_the_sandbox_saves_in_its_own_config_and_replaces_no_real_token(qoder: Qoder) -> None:
    enter_sandbox(qoder)
    ran = log_in(qoder)
    assert (ran.code, "warning" in ran.err) == (0, False)
    assert profiles(qoder) == {"default": {"token": TOKEN, "base_url": HERE}}
    real = '[profiles.default]\ntoken = "pt-real-0123456789"\n'
    qoder.configured(real)
    assert log_in(qoder, accepted=False).code == 2
    assert qoder.config.read_text() == real


# logout


def test_auth_logout_removes_the_token_of_its_profile_and_keeps_the_rest(qoder: Qoder) -> None:
    qoder.configured(f'[profiles.default]\ntoken = "{TOKEN}"\nregion = "cn" # far\n[profiles.b]\ntoken = "pt-b"\n')
    ran = qoder("auth", "logout")
    assert (ran.code, ran.out) == (0, "")
    assert "token removed from profile default" in ran.err
    assert "the token itself is still valid" in ran.err
    assert profiles(qoder) == {"default": {"region": "cn"}, "b": {"token": "pt-b"}}
    assert "# far" in qoder.config.read_text()
    assert qoder("auth", "logout", "--profile", "b").code == 0
    assert profiles(qoder) == {"default": {"region": "cn"}, "b": {}}
    assert qoder("auth", "logout", "--profile", "c").code == 2


def test_auth_logout_says_what_is_not_there_and_what_still_applies(qoder: Qoder) -> None:
    qoder.env["QODER_PAT"] = TOKEN
    ran = qoder("auth", "logout")
    assert (ran.code, ran.out) == (0, "")
    assert "not logged in" in ran.err
    assert "set, and stronger than the profile: QODER_PAT\n" in ran.err
    assert not qoder.config.exists()


# status


def test_auth_status_of_an_accepted_token(qoder: Qoder) -> None:
    qoder.env.update(QODER_PAT="pt-12345", QODER_WORKSPACE_ID="ws_1")
    qoder.wire.on("GET", "/deployments", page(), page())
    ran = qoder("auth", "status")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        "profile\tdefault",
        "base_url\thttps://api.qoder.com/api/v1/cloud",
        "base_url_source\tdefault",
        "token\t****",  # a short one whole
        "token_source\tQODER_PAT",
        "workspace_id\tws_1",
        "accepted\tyes",
    ]
    assert qoder("auth", "status", "-q").out == "default\n"


@pytest.mark.parametrize(
    ("answer", "code", "accepted"),
    [(REFUSED, 4, "no: "), ((400, ""), 6, "unknown: "), *((answer, 7, "unknown: ") for answer in NO_ANSWERS)],
    ids=repr,
)
def test_auth_status_says_why_not(qoder: Qoder, answer: Any, code: int, accepted: str) -> None:
    qoder.env["QODER_PAT"] = TOKEN
    qoder.wire.on("GET", "/deployments", answer, repeat=True)
    ran = qoder("auth", "status")
    assert (ran.code, len(ran.errors)) == (code, 1)
    assert ran.out.splitlines()[-1].startswith(f"accepted\t{accepted}")
    ran = qoder("auth", "status", "--json")
    assert (ran.code, ran.json["accepted"]) == (code, False if accepted == "no: " else None)
    assert ran.json["reason"] in ran.error["message"]


@pytest.mark.parametrize(
    ("file", "options", "hint"),
    [
        ("", [], "set QODER_PAT, or run: qoder auth login"),
        ("[profiles.bare]\n", ["--profile", "bare"], "run: qoder auth login --profile bare"),
        ("", ["--region", "cn"], "set QODER_PAT, or run: qoder auth login --region cn"),
        ("", ["--base-url", HERE], "set QODER_PAT to the token that `qoder sandbox` printed"),
        (SAVED, ["--base-url", HERE], "is for api.qoder.com and is not sent to 127.0.0.1:8080"),
    ],
)
def test_auth_status_without_a_token_for_the_host_asks_nobody(
    qoder: Qoder, file: str, options: list[str], hint: str
) -> None:
    qoder.configured(file)
    if "sandbox" in hint:
        qoder.env["QODER_SANDBOX"] = HERE
        seal(qoder.config.parent, HERE)
    ran = qoder("auth", "status", *options, "--json")
    assert (ran.code, ran.json["token"], ran.json["accepted"]) == (4, None, False)
    assert hint in ran.error["hint"]


# switch


PROFILES = """\
# my own
[profiles.default]
region = "cn"  # first

[profiles.work]
base_url = "https://work.example.com/api/v1/cloud"
"""


@pytest.fixture
def config(qoder: Qoder) -> Path:
    """Save two profiles, and put a token into the environment."""
    qoder.configured(PROFILES)
    qoder.env["QODER_PAT"] = TOKEN
    return qoder.config


def host(qoder: Qoder) -> str:
    """Return the host that a command asks."""
    assert qoder("deploy", "run", "dep_1", "--dry-run").code == 0
    return qoder.wire.requests[-1].url.host


def test_auth_switch_makes_a_profile_the_default(qoder: Qoder, config: Path) -> None:
    qoder.wire.may("GET", "/deployments/dep_1", {"id": "dep_1", "type": "deployment", "status": "active"})
    assert host(qoder) == "api.qoder.com.cn"
    ran = qoder("auth", "switch", "work")
    assert (ran.code, ran.out) == (0, "")
    assert "profile work is used by default from now on" in ran.err
    assert host(qoder) == "work.example.com"
    qoder.env["QODER_PROFILE"] = "default"
    assert host(qoder) == "api.qoder.com.cn"
    del qoder.env["QODER_PROFILE"]
    text = config.read_text()
    assert tomllib.loads(text) == {**tomllib.loads(PROFILES), "default_profile": "work"}
    assert "# my own" in text
    assert "# first" in text
    assert qoder("auth", "switch", "default").code == 0
    assert host(qoder) == "api.qoder.com.cn"


@pytest.mark.parametrize("words", [["wrok"], [""], ["a b"], ["default", "--profile", "work"]], ids=str)
def test_auth_switch_refuses_an_unknown_profile_and_names_the_others(
    qoder: Qoder, config: Path, words: list[str]
) -> None:
    ran = qoder("auth", "switch", *words)
    assert (ran.code, ran.out, config.read_text()) == (2, "", PROFILES)
    assert "default, work" in ran.err


def test_auth_switch_says_which_variables_are_stronger(qoder: Qoder, config: Path) -> None:
    qoder.env |= {"QODER_PROFILE": "default", "QODER_REGION": "cn"}
    ran = qoder("auth", "switch", "work")
    over = "warning: set, and stronger than the profile: "
    assert ran.err.splitlines()[-1] == over + "QODER_PROFILE, QODER_PAT, QODER_REGION"
    assert qoder("auth", "switch", "default").err.splitlines()[-1] == over + "QODER_PAT, QODER_REGION"
    qoder.env["QODER_WORKSPACE_ID"] = "default"  # not the name of a profile
    assert qoder("auth", "switch", "default").err.endswith("QODER_REGION, QODER_WORKSPACE_ID\n")


def test_auth_switch_to_what_is_gone_is_told_by_each_command(qoder: Qoder, config: Path) -> None:
    config.write_text(f'default_profile = "gone"\n{PROFILES}')
    ran = qoder("deploy", "list")
    assert (ran.code, qoder.wire.requests) == (2, [])
    assert "no profile 'gone' in" in ran.err
    assert qoder("auth", "switch", "work").code == 0


# A token that is refused.


@pytest.mark.parametrize(
    ("options", "env", "way"),
    [
        ([], {"QODER_PAT": TOKEN}, "set QODER_PAT to a valid token, or unset it and run: qoder auth login"),
        ([], {"QODER_ACCESS_TOKEN": TOKEN}, "set QODER_ACCESS_TOKEN to a valid token, or unset it and run: qoder"),
        ([], {"QODER_PAT_FILE": "{file}"}, "replace the token in that file, or unset QODER_PAT_FILE and run: qoder"),
        ([], {}, "run: qoder auth login"),
        (["--profile", "work"], {"QODER_PAT": TOKEN}, "run: qoder auth login --profile work"),
        (["--region", "cn"], {"QODER_PAT": TOKEN}, "unset it and run: qoder auth login --region cn"),
        ([], {"QODER_SANDBOX": HERE, "QODER_PAT": TOKEN}, "unset QODER_PAT inside the sandbox"),
    ],
)
def test_commands_name_the_way_to_another_token_that_counts(
    qoder: Qoder, tmp_path: Path, options: list[str], env: dict[str, str], way: str
) -> None:
    (tmp_path / "token").write_text(TOKEN)
    qoder.configured("".join(f'[profiles.{name}]\ntoken = "{TOKEN}"\n' for name in ("default", "work")))
    qoder.env |= {name: value.format(file=tmp_path / "token") for name, value in env.items()}
    seal(tmp_path, HERE)
    qoder.wire.on("POST", "/deployments/dep_1/run", REFUSED)
    qoder.wire.on("GET", "/agents", api_error(403, "permission_error", "Scope."))
    for words in ("deploy run dep_1", "api GET /agents"):
        ran = qoder(*words.split(), *options, "--json")
        assert ran.code == 4
        assert way in ran.error["hint"]
        assert ("unset" in ran.error["hint"]) == ("unset" in way)


OF_CERTIFICATES = {
    "has expired": "the server's certificate expired; check this machine's clock, then tell the server's owner",
    "is not yet valid": "check this machine's clock, then tell the server's owner",
    "is not valid for 'x'.": "the certificate is for another name; check the base URL",
    "is self-signed": "if a proxy intercepts TLS, set SSL_CERT_FILE to its CA certificate",
}
REFUSING = "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate"


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (httpx.ConnectError("refused"), "check the network and the base URL: qoder doctor"),
        ((302, ""), "redirects are not followed; check the base URL: qoder doctor"),
        ((501, ""), "this server cannot do that; check the profile (default): qoder doctor"),
        *((httpx.ConnectError(f"{REFUSING} {why} (_ssl.c:1006)"), hint) for why, hint in OF_CERTIFICATES.items()),
    ],
)
def test_auth_status_and_doctor_hint_at_another_command_than_themselves(qoder: Qoder, answer: Any, hint: str) -> None:
    qoder.env["QODER_PAT"] = TOKEN
    qoder.wire.on("GET", "/deployments", answer, repeat=True)
    assert qoder("auth", "status", "--json").error["hint"] == hint
    assert ": qoder doctor" not in qoder("doctor").err
