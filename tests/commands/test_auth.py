"""`qoder auth`: a token is saved only when the server accepts it, and is never shown."""

import getpass
import io
import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from qoder_cli.app import App
from qoder_cli.settings.configfile import load
from qoder_cli.settings.seal import seal
from tests.conftest import TOKEN, Qoder, Ran
from tests.support.wire import api_error, page

HERE = "http://127.0.0.1:8080/api/v1/cloud"
REFUSED = api_error(401, "authentication_error", "Invalid API key or token.")
NO_CONNECTION = httpx.ConnectError("connection refused")


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


def file_of(qoder: Qoder) -> Path:
    return Path(qoder.env["QODER_CONFIG"])


def profiles(qoder: Qoder) -> Any:
    return load(file_of(qoder)).profiles


def saved(qoder: Qoder, text: str) -> None:
    file_of(qoder).write_text(text)
    file_of(qoder).chmod(0o600)


def log_in(qoder: Qoder, *options: str) -> Ran:
    return qoder("auth", "login", "--with-token", *options)


def accept(qoder: Qoder) -> None:
    qoder.wire.on("GET", "/deployments", page())


# --- login


@pytest.mark.parametrize(
    ("options", "profile", "values"),
    [
        ([], "default", {"region": "global"}),
        (["--region", "cn"], "default", {"region": "cn"}),
        (["--base-url", "127.0.0.1:8080/"], "default", {"base_url": HERE}),
        (["--base-url", "api.qoder.com.cn"], "default", {"region": "cn"}),
        (["--profile", "work", "--workspace", "ws_1"], "work", {"region": "global", "workspace_id": "ws_1"}),
    ],
)
def test_login_saves_the_token_with_the_server_that_accepted_it(
    qoder: Qoder, options: list[str], profile: str, values: dict[str, str]
) -> None:
    accept(qoder)
    ran = log_in(qoder, *options)
    assert (ran.code, ran.out) == (0, "")
    assert f" in profile {profile} of {file_of(qoder)}" in ran.err
    assert "warning" not in ran.err
    assert profiles(qoder) == {profile: {"token": TOKEN, **values}}
    (request,) = qoder.wire.requests
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert request.headers.get("qoder-workspace-id") == values.get("workspace_id")
    assert request.url.query == b"limit=1"


def test_what_was_saved_is_used_from_then_on(qoder: Qoder) -> None:
    qoder.wire.on("GET", "/deployments", page(), page())
    assert log_in(qoder, "--region", "cn").code == 0
    ran = qoder("auth", "status", "--json")
    assert (ran.code, ran.json["accepted"], ran.json["token"]) == (0, True, "pt-****cdef")
    assert {request.url.host for request in qoder.wire.requests} == {"api.qoder.com.cn"}


def test_login_keeps_the_rest_of_the_profile_and_the_comments(qoder: Qoder) -> None:
    saved(qoder, f'# mine\n[profiles.default]\nbase_url = "{HERE}"\nworkspace_id = "ws_1"\n')
    accept(qoder)
    assert log_in(qoder).code == 0
    assert profiles(qoder) == {"default": {"token": TOKEN, "base_url": HERE, "workspace_id": "ws_1"}}
    assert file_of(qoder).read_text().startswith("# mine\n")
    assert qoder.wire.requests[0].url.host == "127.0.0.1"


def test_a_region_replaces_the_base_url_that_would_win_over_it(qoder: Qoder) -> None:
    saved(qoder, f'[profiles.default]\nbase_url = "{HERE}"\n')
    accept(qoder)
    assert log_in(qoder, "--region", "cn").code == 0
    assert profiles(qoder) == {"default": {"token": TOKEN, "region": "cn"}}


def test_without_options_the_environment_chooses_the_server(qoder: Qoder) -> None:
    qoder.env["QODER_REGION"] = "cn"
    accept(qoder)
    assert log_in(qoder).code == 0
    assert profiles(qoder)["default"]["region"] == "cn"


@pytest.mark.parametrize(
    ("answer", "code", "hint"),
    [
        (REFUSED, 4, "tokens only work in their own region: try --region "),
        (api_error(403, "permission_error", "Scope too small."), 4, "nothing was saved"),
        ((404, "<html>"), 5, "nothing was saved"),
        ((302, ""), 7, "nothing was saved"),
        ((501, ""), 7, "nothing was saved"),
    ],
)
def test_a_token_that_is_not_accepted_is_not_saved(qoder: Qoder, answer: object, code: int, hint: str) -> None:
    qoder.wire.on("GET", "/deployments", answer)
    ran = log_in(qoder, "--json")
    assert (ran.code, ran.out) == (code, "")
    assert hint in ran.error["message"] + "; " + (ran.error["hint"] or "")
    assert re.search(r"[^.]; nothing was saved$", ran.error["message"])
    assert not file_of(qoder).exists()


NOT_THE_API = [{"hello": 1}, [], "hello", {"data": {}}, {"data": "x"}, {"deployments": []}]


@pytest.mark.parametrize("answer", [*NOT_THE_API, httpx.Response(200, html="<p>Welcome</p>")], ids=repr)
def test_only_the_api_accepts_a_token(qoder: Qoder, answer: Any) -> None:
    qoder.wire.on("GET", "/deployments", answer, repeat=True)
    ran = log_in(qoder, "--json")
    assert (ran.code, profiles(qoder), "nothing was saved" in ran.error["message"]) == (7, {}, True)
    qoder.env["QODER_PAT"] = TOKEN
    ran = qoder("auth", "status", "--json")
    assert (ran.code, json.loads(ran.out)["accepted"]) == (7, None)


def test_an_unreachable_server_saves_nothing(qoder: Qoder) -> None:
    qoder.wire.on("GET", "/deployments", NO_CONNECTION, repeat=True)
    ran = log_in(qoder)
    assert (ran.code, len(ran.errors)) == (7, 1)
    assert not file_of(qoder).exists()


@pytest.mark.parametrize("text", ["", "\n", f"{TOKEN} x", f"{TOKEN}\n\n", f"{TOKEN}é", f"{TOKEN}\x00", TOKEN * 1000])
def test_a_text_that_is_no_token_is_never_sent(qoder: Qoder, text: str) -> None:
    qoder.stdin = text
    ran = log_in(qoder)
    assert (ran.code, ran.out) == (2, "")
    assert "the token from standard input" in ran.errors[0]
    assert not file_of(qoder).exists()


def test_bytes_that_are_no_text_are_refused(qoder: Qoder, monkeypatch: pytest.MonkeyPatch) -> None:
    def undecodable(self: io.StringIO, size: int = -1) -> str:
        return b"\xff".decode()

    monkeypatch.setattr(io, "StringIO", type("Broken", (io.StringIO,), {"read": undecodable}))
    ran = log_in(qoder)
    assert ran.code == 2
    assert "cannot read standard input" in ran.errors[0]


def test_a_terminal_is_asked_without_showing_the_token(qoder: Qoder, person: list[str]) -> None:
    accept(qoder)
    ran = qoder("auth", "login", "--region", "cn")
    assert (ran.code, ran.out) == (0, "")
    assert person == ["Token for api.qoder.com.cn (not shown): "]
    assert "create a token at https://qoder.com.cn/cloud/pat-keys" in ran.err
    assert profiles(qoder)["default"] == {"token": TOKEN, "region": "cn"}


@pytest.mark.usefixtures("person")
def test_no_answer_at_the_prompt_is_no_token(qoder: Qoder, monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(prompt: str) -> str:
        raise EOFError

    monkeypatch.setattr(getpass, "getpass", leave)
    ran = qoder("auth", "login")
    assert ran.code == 2
    assert "the token from the prompt is empty" in ran.errors[0]


def test_without_a_terminal_with_token_is_named(qoder: Qoder) -> None:
    ran = qoder("auth", "login")
    assert (ran.code, ran.out) == (2, "")
    assert "--with-token" in ran.err


def test_with_token_does_not_read_from_a_keyboard(qoder: Qoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(io, "StringIO", type("Keyboard", (io.StringIO,), {"isatty": lambda self: True}))
    ran = log_in(qoder)
    assert ran.code == 2
    assert "expects the token on standard input" in ran.errors[0]


@pytest.mark.parametrize(
    ("env", "options", "warned"),
    [
        ({"QODER_PAT": "pt-other"}, [], "QODER_PAT is set and overrides the saved token"),
        ({"QODER_ACCESS_TOKEN": "pt-other"}, [], "QODER_ACCESS_TOKEN is set and overrides"),
        ({"QODER_REGION": "global"}, ["--region", "cn"], "QODER_REGION is set and overrides the saved server"),
        ({"QODER_REGION": "mars"}, ["--region", "cn"], "other commands will fail: QODER_REGION must be"),
        ({"QODER_REGION": "cn"}, ["--region", "cn"], None),
        ({"QODER_REGION": "cn"}, [], None),
    ],
)
def test_what_will_win_over_the_saved_token_is_a_warning(
    qoder: Qoder, env: dict[str, str], options: list[str], warned: str | None
) -> None:
    qoder.env.update(env)
    accept(qoder)
    ran = log_in(qoder, *options, "--no-progress")
    assert ran.code == 0
    assert profiles(qoder)["default"]["token"] == TOKEN
    assert warned in ran.err if warned else ran.err == ""


def test_a_profile_that_is_named_is_not_overruled_by_the_environment(qoder: Qoder) -> None:
    qoder.env.update(QODER_PAT="pt-other", QODER_REGION="cn")
    accept(qoder)
    ran = log_in(qoder, "--profile", "work", "--no-progress")
    assert ran.err == "warning: --profile work overrides: QODER_PAT, QODER_REGION\n"
    assert profiles(qoder) == {"work": {"token": TOKEN, "region": "global"}}


OTHER_HOST = f'[profiles.default]\ntoken = "pt-old-0123456789"\nbase_url = "{HERE}"\n'


def test_a_token_of_another_host_is_not_replaced_unasked(qoder: Qoder) -> None:
    saved(qoder, OTHER_HOST)
    ran = log_in(qoder, "--region", "cn")
    assert (ran.code, ran.out) == (2, "")
    assert "already holds a token for 127.0.0.1:8080; nothing was changed" in ran.errors[0]
    assert "--yes" in ran.err
    assert file_of(qoder).read_text() == OTHER_HOST


def test_yes_replaces_a_token_of_another_host(qoder: Qoder) -> None:
    saved(qoder, OTHER_HOST)
    accept(qoder)
    assert log_in(qoder, "--region", "cn", "--yes").code == 0
    assert profiles(qoder) == {"default": {"token": TOKEN, "region": "cn"}}


def test_a_token_of_the_same_host_is_replaced(qoder: Qoder) -> None:
    saved(qoder, OTHER_HOST)
    accept(qoder)
    assert log_in(qoder).code == 0
    assert profiles(qoder) == {"default": {"token": TOKEN, "base_url": HERE}}


@pytest.mark.parametrize("answer", [True, False])
@pytest.mark.usefixtures("person")
def test_a_person_is_asked_before_a_token_of_another_host_is_replaced(
    qoder: Qoder, monkeypatch: pytest.MonkeyPatch, answer: bool
) -> None:
    saved(qoder, OTHER_HOST)
    asked: list[str] = []

    def choice_of(stdin: Any, screen: Any, question: str, choices: str, **_: Any) -> str:
        asked.append(question)
        return "y" if answer else "n"

    monkeypatch.setattr("qoder_cli.cli.options.choice_of", choice_of)
    if answer:
        accept(qoder)
    ran = qoder("auth", "login", "--region", "cn")
    assert ran.code == (0 if answer else 2)
    question = "profile default already holds a token for 127.0.0.1:8080. Replace it with one for api.qoder.com.cn?"
    assert asked == [f"{question} [y/N]:"]
    assert profiles(qoder)["default"]["token"] == (TOKEN if answer else "pt-old-0123456789")


@pytest.mark.parametrize("text", ["[broken\n", "[profiles.default]\ntoken = 1\n"])
def test_a_broken_file_is_found_before_the_token_is_asked_for(qoder: Qoder, person: list[str], text: str) -> None:
    saved(qoder, text)
    assert qoder("auth", "login").code == 2
    assert person == []
    assert file_of(qoder).read_text() == text


@pytest.mark.parametrize("name", ["", "a b", "../x", "x" * 65])
def test_a_name_that_no_profile_can_have_is_refused(qoder: Qoder, name: str) -> None:
    ran = log_in(qoder, "--profile", name)
    assert (ran.code, ran.out) == (2, "")
    assert "invalid profile name" in ran.errors[0]


def test_a_config_file_that_cannot_be_written_is_one_error(qoder: Qoder, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    qoder.env["QODER_CONFIG"] = str(tmp_path / "file" / "config.toml")
    accept(qoder)
    ran = log_in(qoder)
    assert (ran.code, len(ran.errors)) == (2, 1)
    assert "nothing was changed" in ran.errors[0]


def test_login_inside_the_sandbox_saves_in_its_own_config(qoder: Qoder, tmp_path: Path) -> None:
    qoder.env.update(QODER_SANDBOX=HERE, QODER_PAT=TOKEN)
    seal(tmp_path, HERE)
    accept(qoder)
    ran = log_in(qoder)
    assert (ran.code, "warning" in ran.err) == (0, False)
    assert profiles(qoder) == {"default": {"token": TOKEN, "base_url": HERE}}


def test_login_inside_the_sandbox_asks_nothing_before_it_refuses_a_real_config(qoder: Qoder) -> None:
    qoder.env.update(QODER_SANDBOX=HERE, QODER_PAT=TOKEN)
    ran = log_in(qoder, "--yes")
    assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)
    assert f"{file_of(qoder)} is outside the folder of this sandbox" in ran.errors[0]
    assert not file_of(qoder).exists()


def test_inside_the_sandbox_a_real_token_stays(qoder: Qoder, tmp_path: Path) -> None:
    real = '[profiles.default]\ntoken = "pt-real-0123456789"\n'
    saved(qoder, real)
    qoder.env.update(QODER_SANDBOX=HERE, QODER_PAT=TOKEN)
    seal(tmp_path, HERE)
    assert log_in(qoder).code == 2
    assert file_of(qoder).read_text() == real


# --- logout


def test_logout_removes_the_token_and_keeps_the_rest(qoder: Qoder) -> None:
    saved(qoder, f'[profiles.default]\ntoken = "{TOKEN}"\nregion = "cn" # far\n[profiles.b]\ntoken = "pt-b"\n')
    ran = qoder("auth", "logout")
    assert (ran.code, ran.out) == (0, "")
    assert "token removed from profile default" in ran.err
    assert "the token itself is still valid" in ran.err
    assert profiles(qoder) == {"default": {"region": "cn"}, "b": {"token": "pt-b"}}
    assert "# far" in file_of(qoder).read_text()


def test_logout_of_a_profile(qoder: Qoder) -> None:
    saved(qoder, f'[profiles.default]\ntoken = "{TOKEN}"\n[profiles.b]\ntoken = "pt-b"\n')
    assert qoder("auth", "logout", "--profile", "b").code == 0
    assert profiles(qoder) == {"default": {"token": TOKEN}, "b": {}}
    assert qoder("auth", "logout", "--profile", "c").code == 2


def test_logout_without_a_token_says_so(qoder: Qoder) -> None:
    ran = qoder("auth", "logout")
    assert (ran.code, ran.out) == (0, "")
    assert "not logged in" in ran.err
    assert not file_of(qoder).exists()


def test_logout_names_the_token_that_still_applies(qoder: Qoder) -> None:
    qoder.env["QODER_PAT"] = TOKEN
    assert "still set, and used: QODER_PAT\n" in qoder("auth", "logout").err


# --- status


def test_status_of_an_accepted_token(qoder: Qoder) -> None:
    qoder.env.update(QODER_PAT=TOKEN, QODER_WORKSPACE_ID="ws_1")
    accept(qoder)
    ran = qoder("auth", "status")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        "profile\tdefault",
        "base_url\thttps://api.qoder.com/api/v1/cloud",
        "base_url_source\tdefault",
        "token\tpt-****cdef",
        "token_source\tQODER_PAT",
        "workspace_id\tws_1",
        "accepted\tyes",
    ]


def test_status_with_json_is_the_document_and_then_the_error(qoder: Qoder) -> None:
    qoder.env["QODER_PAT"] = TOKEN
    qoder.wire.on("GET", "/deployments", REFUSED)
    ran = qoder("auth", "status", "--json")
    assert ran.json == {
        "profile": "default",
        "base_url": "https://api.qoder.com/api/v1/cloud",
        "base_url_source": "default",
        "token": "pt-****cdef",
        "token_source": "QODER_PAT",
        "workspace_id": None,
        "accepted": False,
        "reason": "HTTP 401 from api.qoder.com: Invalid API key or token.",
    }
    assert (ran.code, ran.error["type"], ran.error["http_status"]) == (4, "auth", 401)


@pytest.mark.parametrize(
    ("answer", "code", "accepted"),
    [(REFUSED, 4, "no: "), (NO_CONNECTION, 7, "unknown: "), ((400, ""), 6, "unknown: ")],
)
def test_status_says_why_not(qoder: Qoder, answer: object, code: int, accepted: str) -> None:
    qoder.env["QODER_PAT"] = TOKEN
    qoder.wire.on("GET", "/deployments", answer, repeat=True)
    ran = qoder("auth", "status")
    assert (ran.code, len(ran.errors)) == (code, 1)
    assert ran.out.splitlines()[-1].startswith(f"accepted\t{accepted}")


def test_status_without_a_token_asks_nobody(qoder: Qoder) -> None:
    ran = qoder("auth", "status", "--json")
    assert (ran.code, ran.json["token"], ran.json["accepted"]) == (4, None, False)
    assert ran.error["hint"] == "set QODER_PAT, or run: qoder auth login"


def test_status_explains_a_saved_token_that_may_not_go_there(qoder: Qoder) -> None:
    saved(qoder, f'[profiles.default]\ntoken = "{TOKEN}"\n')
    ran = qoder("auth", "status", "--base-url", HERE, "--json")
    assert (ran.code, ran.json["token"]) == (4, None)
    assert "is for api.qoder.com and is not sent to 127.0.0.1:8080" in ran.error["hint"]


def test_status_prints_the_profile_as_its_id(qoder: Qoder) -> None:
    qoder.env["QODER_PAT"] = TOKEN
    accept(qoder)
    assert qoder("auth", "status", "-q").out == "default\n"


def test_a_short_token_is_masked_whole(qoder: Qoder) -> None:
    qoder.env["QODER_PAT"] = "pt-12345"
    accept(qoder)
    ran = qoder("auth", "status")
    assert "token\t****\n" in ran.out
    assert "12345" not in ran.out + ran.err


@pytest.mark.parametrize("verb", ["login", "logout", "status"])
def test_help_shows_an_example_and_the_exit_codes(qoder: Qoder, capsys: pytest.CaptureFixture[str], verb: str) -> None:
    ran = qoder("auth", verb, "--help")
    shown = ran.out + capsys.readouterr().out
    assert (ran.code, ran.err) == (0, "")
    assert f"  qoder auth {verb}\n" in shown
    assert "qoder help exit-codes" in shown
    assert max(map(len, shown.splitlines())) <= 80


# A token that is refused.


@pytest.mark.parametrize(
    ("options", "env", "way"),
    [
        ([], {"QODER_PAT": TOKEN}, "set QODER_PAT to a valid token, or unset it and run: qoder auth login"),
        (
            [],
            {"QODER_ACCESS_TOKEN": TOKEN},
            "set QODER_ACCESS_TOKEN to a valid token, or unset it and run: qoder auth login",
        ),
        (
            [],
            {"QODER_PAT_FILE": "FILE"},
            "replace the token in that file, or unset QODER_PAT_FILE and run: qoder auth login",
        ),
        ([], {}, "run: qoder auth login"),
        (["--profile", "work"], {"QODER_PAT": TOKEN}, "run: qoder auth login --profile work"),
        (["--region", "cn"], {"QODER_PAT": TOKEN}, "unset it and run: qoder auth login --region cn"),
        ([], {"QODER_SANDBOX": HERE, "QODER_PAT": TOKEN}, "set QODER_PAT to the token that `qoder sandbox` printed"),
    ],
)
@pytest.mark.parametrize("answer", [REFUSED, api_error(403, "permission_error", "Scope.")], ids=["401", "403"])
@pytest.mark.parametrize(
    ("words", "path"),
    [
        ("run list", ("GET", "/deployment_runs")),
        ("deploy run dep_1", ("POST", "/deployments/dep_1/run")),
        ("api GET /agents", ("GET", "/agents")),
        ("doctor", ("GET", "/deployments")),
    ],
)
def test_the_way_to_another_token_is_one_that_counts(
    qoder: Qoder,
    tmp_path: Path,
    words: str,
    path: tuple[str, str],
    answer: object,
    options: list[str],
    env: dict[str, str],
    way: str,
) -> None:
    (tmp_path / "token").write_text(TOKEN)
    saved(qoder, "".join(f'[profiles.{name}]\ntoken = "{TOKEN}"\n' for name in ("default", "work")))
    qoder.env |= {name: value.replace("FILE", str(tmp_path / "token")) for name, value in env.items()}
    seal(tmp_path, HERE)
    qoder.wire.on(*path, answer)
    ran = qoder(*words.split(), *options, "--json")
    assert ran.code == 4
    hint = ran.error["hint"]
    assert way in hint
    assert ("unset" in hint) == ("unset" in way)
