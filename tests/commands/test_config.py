"""Which server is asked with which token, the config file, and `qoder config`."""

import errno
import os
import re
import stat
import threading
import tomllib
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qoder_cli.base.errors import QoderError, UsageError
from qoder_cli.settings.config import Settings, resolve
from qoder_cli.settings.configfile import change, load, locate
from qoder_cli.settings.values import (
    LONGEST_TOKEN,
    REGIONS,
    Flags,
    is_loopback,
    mask,
    read_base_url,
    read_region,
    read_token,
    read_workspace,
)
from tests.conftest import TOKEN, Qoder

GLOBAL, CN = REGIONS["global"], REGIONS["cn"]
ELSEWHERE = "https://elsewhere.example/api/v1/cloud"
HERE = "http://127.0.0.1:8080/api/v1/cloud"
POSIX = pytest.mark.skipif(os.name != "posix", reason="Windows has no such modes, and links need a privilege there")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return the path of a config file that does not exist yet."""
    return tmp_path / "qoder" / "config.toml"


def written(path: Path, text: str, *, mode: int = 0o600) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text.encode())
    path.chmod(mode)
    return path


def settings(config: Path, env: dict[str, str] | None = None, **flags: Any) -> Settings:
    return resolve(Flags(**flags), {"QODER_CONFIG": str(config), **(env or {})})


def refused(call: Callable[[], object]) -> UsageError:
    with pytest.raises(UsageError) as caught:
        call()
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value.as_json())
    assert TOKEN not in shown
    return caught.value


TWO_PROFILES = f"""
[profiles.default]
token = "pt-default-0001"
region = "cn"

[profiles.work]
token = "pt-work-0002"
base_url = "{ELSEWHERE}"
workspace_id = "ws_work"

[profiles.bare]
"""


@pytest.mark.parametrize(
    ("flags", "env", "base_url", "source"),
    [
        ({}, {}, CN, "profiles.default.region"),
        ({"profile": "bare"}, {}, GLOBAL, "default"),
        ({"profile": "work"}, {}, ELSEWHERE, "profiles.work.base_url"),
        ({}, {"QODER_REGION": "global"}, GLOBAL, "QODER_REGION"),
        ({}, {"QODER_REGION": "global", "QODER_MANAGED_BASE_URL": HERE}, HERE, "QODER_MANAGED_BASE_URL"),
        ({}, {"QODER_MANAGED_BASE_URL": HERE, "QODER_BASE_URL": ELSEWHERE}, ELSEWHERE, "QODER_BASE_URL"),
        ({}, {"QODER_BASE_URL": "", "QODER_REGION": ""}, CN, "profiles.default.region"),
        ({"region": "global"}, {"QODER_BASE_URL": HERE}, GLOBAL, "--region"),
        ({"base_url": HERE}, {"QODER_BASE_URL": ELSEWHERE}, HERE, "--base-url"),
        (
            {"profile": "work"},
            {"QODER_BASE_URL": HERE, "QODER_REGION": "cn"},
            ELSEWHERE,
            "profiles.work.base_url",
        ),
        ({"profile": "work", "region": "cn"}, {"QODER_BASE_URL": HERE}, CN, "--region"),
        ({"profile": "work", "base_url": HERE}, {}, HERE, "--base-url"),
        (
            {"base_url": ELSEWHERE},
            {"QODER_SANDBOX": HERE, "QODER_BASE_URL": ELSEWHERE},
            HERE,
            "QODER_SANDBOX",
        ),
        ({"region": "cn"}, {"QODER_SANDBOX": HERE}, HERE, "QODER_SANDBOX"),
        ({"profile": "work"}, {"QODER_SANDBOX": HERE}, HERE, "QODER_SANDBOX"),
    ],
)
def test_the_base_url_comes_from_option_then_environment_then_file_then_default(
    config: Path, flags: dict[str, str], env: dict[str, str], base_url: str, source: str
) -> None:
    found = settings(written(config, TWO_PROFILES), env, **flags)
    assert found.base_url == base_url
    assert found.base_url_source.startswith(source)


@pytest.mark.parametrize(
    ("flags", "env", "token", "source"),
    [
        ({}, {}, "pt-default-0001", "profiles.default.token"),
        ({"profile": "work"}, {}, "pt-work-0002", "profiles.work.token"),
        ({"profile": "bare"}, {"QODER_PAT": "pt-env"}, None, None),
        ({}, {"QODER_PAT": "pt-env"}, "pt-env", "QODER_PAT"),
        ({}, {"QODER_PAT": "pt-env\r\n"}, "pt-env", "QODER_PAT"),
        ({}, {"QODER_PAT": "", "QODER_ACCESS_TOKEN": "jwt.a.b"}, "jwt.a.b", "QODER_ACCESS_TOKEN"),
        ({}, {"QODER_PAT": "pt-env", "QODER_ACCESS_TOKEN": "jwt"}, "pt-env", "QODER_PAT"),
        ({"base_url": HERE}, {"QODER_PAT": "pt-env"}, "pt-env", "QODER_PAT"),
        ({"profile": "work"}, {"QODER_PAT": "pt-env"}, "pt-work-0002", "profiles.work.token"),
        # a profile's token goes to its own host only
        ({"base_url": HERE}, {}, None, None),
        ({"region": "global"}, {}, None, None),
        ({"region": "cn"}, {}, "pt-default-0001", "profiles.default.token"),
        (
            {"base_url": "HTTPS://api.qoder.com.cn:443/other/"},
            {},
            "pt-default-0001",
            "profiles.default.token",
        ),
        ({"base_url": "https://api.qoder.com.cn:8443"}, {}, None, None),
        ({"base_url": "https://api.qoder.com.cn.evil.example"}, {}, None, None),
        ({"profile": "work", "region": "cn"}, {}, None, None),
        ({}, {"QODER_BASE_URL": HERE}, None, None),
        ({}, {"QODER_REGION": "global"}, None, None),
        # nothing inside the sandbox uses a saved token
        ({}, {"QODER_SANDBOX": HERE}, None, None),
        ({"profile": "work"}, {"QODER_SANDBOX": HERE}, None, None),
        ({"profile": "work"}, {"QODER_SANDBOX": HERE, "QODER_PAT": "pt-sandbox"}, "pt-sandbox", "QODER_PAT"),
    ],
)
def test_the_token_comes_from_the_environment_or_from_the_profile_of_that_host(
    config: Path, flags: dict[str, str], env: dict[str, str], token: str | None, source: str | None
) -> None:
    found = settings(written(config, TWO_PROFILES), env, **flags)
    assert found.token == token
    assert (found.token_source or "").startswith(source or "")
    assert (found.token_source is None) == (source is None)


@pytest.mark.parametrize(
    ("flags", "env", "hint"),
    [
        ({}, {}, "set QODER_PAT, or run: qoder auth login"),
        ({"profile": "bare"}, {}, "run: qoder auth login --profile bare"),
        ({"region": "cn"}, {}, "set QODER_PAT, or run: qoder auth login --region cn"),
        ({}, {"QODER_SANDBOX": HERE}, "set QODER_PAT to the token that `qoder sandbox` printed"),
    ],
)
def test_without_a_token_the_way_to_one_is_said(
    config: Path, flags: dict[str, str], env: dict[str, str], hint: str
) -> None:
    found = settings(written(config, "[profiles.bare]\n"), env, **flags)
    assert found.token is None
    assert found.advice == hint


def test_a_saved_token_for_another_host_is_explained(config: Path) -> None:
    found = settings(written(config, TWO_PROFILES), base_url=HERE)
    assert "the token of profile default is for api.qoder.com.cn and is not sent to 127.0.0.1:8080" in found.advice


@pytest.mark.parametrize(
    ("flags", "env", "workspace"),
    [
        ({}, {}, None),
        ({"profile": "work"}, {}, "ws_work"),
        ({"profile": "work"}, {"QODER_WORKSPACE_ID": "ws_env"}, "ws_work"),
        ({}, {"QODER_WORKSPACE_ID": "ws_env"}, "ws_env"),
        ({"workspace": "ws_flag"}, {"QODER_WORKSPACE_ID": "ws_env"}, "ws_flag"),
    ],
)
def test_the_workspace(config: Path, flags: dict[str, str], env: dict[str, str], workspace: str | None) -> None:
    assert settings(written(config, TWO_PROFILES), env, **flags).workspace_id == workspace


@pytest.mark.parametrize(
    ("flags", "env", "named"),
    [
        ({"profile": "work"}, {"QODER_PAT": "pt-env", "QODER_REGION": "cn"}, ["QODER_PAT", "QODER_REGION"]),
        (
            {"profile": "work", "base_url": ELSEWHERE},
            {"QODER_PAT": "pt-env", "QODER_REGION": "cn"},
            ["QODER_PAT"],
        ),
        ({"profile": "work"}, {"QODER_WORKSPACE_ID": "ws_env"}, ["QODER_WORKSPACE_ID"]),
        ({"profile": "work", "workspace": "ws"}, {"QODER_WORKSPACE_ID": "ws_env"}, []),
        ({"profile": "work"}, {"QODER_PAT": ""}, []),
        ({}, {"QODER_PAT": "pt-env", "QODER_REGION": "cn"}, []),
        ({}, {"QODER_PAT": "pt-env", "QODER_ACCESS_TOKEN": "pt-env\n"}, []),
        ({}, {"QODER_PAT": "pt-env", "QODER_ACCESS_TOKEN": "pt-2"}, ["QODER_PAT", "QODER_ACCESS_TOKEN"]),
        ({}, {"QODER_PAT": "pt-env", "QODER_PAT_FILE": "/nowhere"}, ["QODER_PAT", "QODER_PAT_FILE"]),
        ({"base_url": "127.0.0.1:8080"}, {"QODER_SANDBOX": HERE}, []),
        ({"region": "cn", "profile": "x"}, {"QODER_SANDBOX": HERE}, ["--region", "--profile"]),
    ],
)
def test_what_is_ignored_is_named_in_one_warning(
    config: Path, flags: dict[str, str], env: dict[str, str], named: list[str]
) -> None:
    warnings = settings(written(config, TWO_PROFILES), env, **flags).warnings
    assert len(warnings) == bool(named)
    assert re.findall(r"QODER_[A-Z_]+|--(?:region|profile)\b(?! work)", "".join(warnings)) == named


def test_a_file_can_hold_the_token(config: Path, tmp_path: Path) -> None:
    secret = written(tmp_path / "secret", TOKEN + "\n")
    found = settings(config, {"QODER_PAT_FILE": str(secret)})
    assert (found.token, found.token_source) == (TOKEN, "QODER_PAT_FILE")


@pytest.mark.parametrize("content", ["", "\n", TOKEN + "\n\n", f"{TOKEN} \n", "\ufeff" + TOKEN, TOKEN * 1000])
def test_a_token_file_with_anything_else_in_it_is_refused(config: Path, tmp_path: Path, content: str) -> None:
    secret = written(tmp_path / "secret", content)
    assert "QODER_PAT_FILE" in refused(lambda: settings(config, {"QODER_PAT_FILE": str(secret)})).message


@pytest.mark.parametrize("name", ["missing", "."])
def test_a_token_file_that_cannot_be_read_is_refused(config: Path, tmp_path: Path, name: str) -> None:
    error = refused(lambda: settings(config, {"QODER_PAT_FILE": str(tmp_path / name)}))
    assert str(tmp_path) in error.message


@POSIX
@pytest.mark.parametrize("where", ["QODER_PAT_FILE", "QODER_CONFIG", "--input", "--form"])
def test_a_pipe_that_nobody_writes_to_is_not_waited_for(qoder: Qoder, tmp_path: Path, where: str) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    if where.startswith("QODER"):
        qoder.env |= {where: str(pipe), "QODER_PAT": ""}
    typed = {"--input": ["--input", str(pipe)], "--form": ["--form", f"file=@{pipe}"]}.get(where, [])
    ran = qoder("api", "POST", "/files", *typed)
    assert (ran.code, "named pipe that nothing writes to" in ran.err) == (2, True)


@POSIX
def test_a_pipe_that_somebody_writes_to_is_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = os.open(pipe, os.O_RDWR)  # it does not wait for a reader either
    os.write(writer, f"{TOKEN}\n".encode())
    closing = threading.Timer(0.1, os.close, [writer])
    closing.start()
    assert settings(tmp_path / "none", {"QODER_PAT_FILE": str(pipe)}).token == TOKEN
    closing.join()


@pytest.mark.parametrize("token", ["pt-SECRETSECRET123", "pt-onlyletters", "eyJhbGciOi.eyJzdWIi.c2lnbmF0"])
def test_no_profile_is_made_that_is_called_as_a_token(qoder: Qoder, token: str) -> None:
    for words in (["config", "set", "region", "cn"], ["auth", "login", "--with-token"]):
        ran = qoder(*words, "--profile", token)
        assert (ran.code, token in ran.err) == (2, False)
        assert qoder(*words, "--json", "--profile", token).code == 2
    qoder.env["QODER_PROFILE"] = token
    assert (qoder("config", "set", "region", "cn").code, load(Path(qoder.env["QODER_CONFIG"])).profiles) == (2, {})


@pytest.mark.parametrize("name", ["pt-br", "pt-br-production-2", "pt-team"])
def test_a_profile_may_be_called_as_a_language_or_a_team(qoder: Qoder, name: str) -> None:
    assert qoder("config", "set", "region", "cn", "--profile", name).code == 0


PERSONAL = "QODER_PERSONAL_ACCESS_TOKEN"


@pytest.mark.parametrize(
    ("env", "source"),
    [
        ({PERSONAL: "pt-p"}, PERSONAL),
        ({PERSONAL: "pt-p", "QODER_ACCESS_TOKEN": "pt-a"}, "QODER_ACCESS_TOKEN"),
        ({PERSONAL: "pt-p", "QODER_PAT_FILE": "/nowhere"}, PERSONAL),
    ],
)
def test_the_token_of_qoders_own_tools_is_the_third(config: Path, env: dict[str, str], source: str) -> None:
    found = settings(config, env)
    assert (found.token_source, found.token) == (source, env[source])
    others = [name for name in env if name != source]
    assert found.warnings == ((f"using {source}, which differs from {others[0]}",) if others else ())


def test_a_profile_of_the_environment_is_the_one_where_none_is_named(config: Path) -> None:
    written(config, TWO_PROFILES)
    found = settings(config, {"QODER_PROFILE": "work"})
    assert (found.profile, found.token) == ("work", "pt-work-0002")
    named = settings(config, {"QODER_PROFILE": "nobody"}, profile="work")
    assert (named.profile, named.token) == ("work", "pt-work-0002")
    beaten = settings(config, {"QODER_PROFILE": "work", "QODER_PAT": "pt-env"})
    assert (beaten.profile, beaten.token, beaten.warnings) == ("work", "pt-env", ())
    assert settings(config, {"QODER_PROFILE": ""}).profile == "default"
    error = refused(lambda: settings(config, {"QODER_PROFILE": "wrok", "QODER_PAT": "pt-env"}))
    assert "no profile 'wrok'" in error.message
    assert "(named by QODER_PROFILE)" in error.message


def test_config_and_auth_work_on_the_profile_of_the_environment(qoder: Qoder) -> None:
    qoder.env["QODER_PROFILE"] = "work"
    assert qoder("config", "set", "region", "cn").code == 0
    assert load(Path(qoder.env["QODER_CONFIG"])).profiles == {"work": {"region": "cn"}}
    assert qoder("config", "get", "region").out == "cn\n"
    assert qoder("config", "set", "region", "global", "--profile", "b").code == 0
    assert qoder("config", "list").out == "profiles.work.region\tcn\n"
    assert "profile work," in qoder("auth", "logout").err


@pytest.mark.parametrize(
    ("managed", "flags", "is_warned_of"),
    [
        ("https://b.example", {}, True),
        ("not a url", {}, True),
        ("https://A.example:443/api/v1/cloud/", {}, False),
        ("", {}, False),
        ("https://b.example", {"base_url": "https://c.example"}, False),
    ],
)
def test_two_base_urls_that_differ_are_a_warning(
    config: Path, managed: str, flags: dict[str, str], is_warned_of: bool
) -> None:
    env = {"QODER_BASE_URL": "https://a.example", "QODER_MANAGED_BASE_URL": managed, "QODER_PAT": "pt-env"}
    warning = "using QODER_BASE_URL, which differs from QODER_MANAGED_BASE_URL"
    assert settings(config, env, **flags).warnings == ((warning,) if is_warned_of else ())


@pytest.mark.parametrize(
    "token", ["pt-0123456789abcdef", "PT-ABCDEFGH", "eyJhbGciOi.eyJzdWIi.c2lnbmF0", "https://pt-abcdefgh"]
)
def test_a_base_url_that_is_a_token_is_not_a_server(token: str) -> None:
    error = refused(lambda: read_base_url(token, source="--base-url"))
    assert "contains a token" in error.message
    assert token not in repr(error.as_json())
    portal = "https://pt-portal.example.com/api/v1/cloud"
    assert read_base_url("https://pt-portal.example.com", source="--base-url") == portal


def test_settings_never_show_the_token(config: Path) -> None:
    found = settings(config, {"QODER_PAT": TOKEN})
    assert found.token == TOKEN
    assert TOKEN not in repr(found) + str(found)
    assert TOKEN not in repr(load(written(config, f'[profiles.default]\ntoken = "{TOKEN}"\n')))


@pytest.mark.parametrize(
    ("env", "read_only"),
    [({}, False), ({"QODER_READ_ONLY": "0"}, False), ({"QODER_READ_ONLY": "false"}, True)],
)
def test_read_only_is_any_value_but_0(config: Path, env: dict[str, str], read_only: bool) -> None:
    assert settings(config, env).read_only is read_only


def test_the_request_timeout_is_in_seconds(config: Path) -> None:
    assert settings(config).request_timeout is None
    assert settings(config, request_timeout="1m30s").request_timeout == 90
    assert "--request-timeout" in refused(lambda: settings(config, request_timeout="0")).message
    assert "--request-timeout" in refused(lambda: settings(config, request_timeout="-5")).message


@pytest.mark.parametrize(
    ("flags", "env", "file", "named"),
    [
        ({"region": "global", "base_url": HERE}, {}, "", "--region and --base-url"),
        ({"region": "us"}, {}, "", "--region must be global or cn"),
        ({"region": ""}, {}, "", "--region must be"),
        ({"base_url": ""}, {}, "", "--base-url"),
        ({}, {"QODER_REGION": "CN"}, "", "QODER_REGION must be"),
        ({}, {"QODER_BASE_URL": "ftp://x"}, "", "QODER_BASE_URL must begin with https://"),
        ({}, {"QODER_MANAGED_BASE_URL": "http://example.com"}, "", "QODER_MANAGED_BASE_URL is plain http"),
        ({}, {}, '[profiles.default]\nregion = "eu"\n', "profiles.default.region in "),
        ({}, {}, '[profiles.default]\nbase_url = "https://a b"\n', "profiles.default.base_url in "),
        ({}, {}, '[profiles.default]\nworkspace_id = "a b"\n', "profiles.default.workspace_id in "),
        ({}, {}, f'[profiles.default]\ntoken = "{TOKEN} x"\n', "profiles.default.token in "),
        ({}, {"QODER_PAT": f"{TOKEN} x"}, "", "QODER_PAT"),
        ({}, {"QODER_ACCESS_TOKEN": f"{TOKEN}\nx"}, "", "QODER_ACCESS_TOKEN"),
        ({}, {"QODER_WORKSPACE_ID": "a\nb"}, "", "QODER_WORKSPACE_ID"),
        ({"workspace": ""}, {}, "", "--workspace"),
        ({}, {"QODER_SANDBOX": ELSEWHERE}, "", "QODER_SANDBOX names elsewhere.example"),
        ({}, {"QODER_SANDBOX": "1"}, "", "QODER_SANDBOX"),
        ({"profile": "home"}, {"QODER_PAT": TOKEN}, "", "no profile 'home'"),
        ({"profile": ""}, {}, "", "no profile ''"),
    ],
)
def test_a_bad_value_is_refused_with_the_name_of_where_it_stands(
    config: Path, flags: dict[str, str], env: dict[str, str], file: str, named: str
) -> None:
    written(config, file)
    assert named in refused(lambda: settings(config, env, **flags)).message


def test_a_missing_profile_names_those_that_exist(config: Path) -> None:
    written(config, TWO_PROFILES)
    assert refused(lambda: settings(config, profile="wrk")).hint == (
        "use one of: default, work, bare; to create it: qoder auth login --profile NAME"
    )


def test_the_default_profile_always_exists(config: Path) -> None:
    assert settings(config, profile="default").base_url == GLOBAL


# --- the values themselves


@given(st.text())
@example("pt-1\n")
@example("pt-1\r\n")
@example("pt-1\n\n")
@example("pt-1\r")
@example("x" * (LONGEST_TOKEN + 1))
def test_a_token_is_printable_ascii_or_refused_without_being_shown(text: str) -> None:
    text = "~Zq7" + text
    token = re.sub(r"\r?\n\Z", "", text)
    if re.fullmatch("[!-~]+", token) and len(token) <= LONGEST_TOKEN:
        assert read_token(text, source="here") == token
    else:
        assert "~Zq7" not in repr(refused(lambda: read_token(text, source="here")).as_json())


@pytest.mark.parametrize("text", ["", "\n", "\r\n", " ", "a b", "a\tb", "pt-é", "pt-\x7f", "a\n\n", "a\r", "\na"])
def test_a_token_that_is_not_only_a_token_is_refused(text: str) -> None:
    refused(lambda: read_token(text, source="here"))


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("Bearer pt-1", "begins with 'Bearer'", "set the token only, without 'Bearer'"),
        ("pt-1 ", "contains a space", "copy the token again, without anything around it"),
        ("pt-1\npt-2", "contains a line break", "copy the token again, without anything around it"),
        ("pt-1\x07", "contains a control character", "copy the token again, without anything around it"),
        ("pt-\u200b1", "contains a character that is not ASCII", "copy the token again, without anything around it"),
    ],
)
def test_a_token_that_is_refused_names_the_one_fault(text: str, message: str, hint: str) -> None:
    error = refused(lambda: read_token(text, source="QODER_PAT"))
    assert (error.message, error.hint) == (f"the token from QODER_PAT {message}", hint)


@pytest.mark.parametrize(
    ("token", "masked"),
    [
        ("pt-0123456789", "pt-****6789"),
        ("eyJhbGciOi.x.sign", "****sign"),
        ("pt-01234567", "****"),
        ("x", "****"),
    ],
)
def test_a_token_is_masked(token: str, masked: str) -> None:
    assert mask(token) == masked


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://api.qoder.com/api/v1/cloud", GLOBAL),
        ("https://api.qoder.com/api/v1/cloud//", GLOBAL),
        ("https://api.qoder.com/", GLOBAL),
        ("api.qoder.com", GLOBAL),
        ("API.Qoder.com:443", GLOBAL),
        ("api.qoder.com/v2/", "https://api.qoder.com/v2"),
        ("https://gateway.example:8443/Base", "https://gateway.example:8443/Base"),
        ("localhost:8080", "http://localhost:8080/api/v1/cloud"),
        ("https://localhost", "https://localhost/api/v1/cloud"),
        ("http://api.localhost:80", "http://api.localhost/api/v1/cloud"),
        ("127.8.9.10", "http://127.8.9.10/api/v1/cloud"),
        ("[0:0::1]:99", "http://[::1]:99/api/v1/cloud"),
        ("[2001:DB8::1]", "https://[2001:db8::1]/api/v1/cloud"),
    ],
)
def test_a_base_url_has_one_spelling(text: str, url: str) -> None:
    assert read_base_url(text, source="here") == url


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "https://", "https:///x", "//host", "https//host", "/api", "ftp://host", "mailto:x",
        "https://host:", "https://host:0", "https://host:65536", "https://host:x", "https://host:٣", "https://host:-1",
        "https://user@host", "https://user:secret@host", "https://host?x=1", "https://host#x", "https://host/a?b",
        "https://ho st", "https://host\n", "https://host\x00", "https://hôst", "https://host\\@evil", "https://a..b",
        "https://host/../x", "https://host/%2E%2e/x", "https://host/a//b", "https://[::1", "https://[::g]", "https://[",
        "https://999.1.1.1", "https://127.1", "https://2130706433", "https://127.00.0.1", "https://" + "h" * 3000,
        "http://api.qoder.com", "http://127.0.0.1.evil.example", "http://localhost.evil.example", "http://mylocalhost",
        "http://128.0.0.1", "http://0.0.0.0", "http://[::2]", "http://[::ffff:127.0.0.1]", "http://localhost.",
    ],
)  # fmt: skip
def test_what_is_not_plainly_a_server_is_refused(text: str) -> None:
    error = refused(lambda: read_base_url(text, source="--base-url"))
    assert error.message.startswith("--base-url ")
    assert "secret" not in repr(error.as_json())


PIECES = [
    *("http://", "https://", "HTTPS://", "ftp://", "//", "/", "localhost", "127.0.0.1", "127.", "[::1]", "[", "]"),
    *("example", ".com", "api.", "x", "0", "-", "_", "é", ".", "..", "/..", "%2e", "/api"),
    *(":80", ":443", ":8080", ":", "@", "?", "#", "\\"),
]


@given(st.lists(st.sampled_from(PIECES), max_size=8).map("".join))
def test_every_reader_of_an_accepted_url_sees_the_same_server(text: str) -> None:
    try:
        url = read_base_url(text, source="here")
    except UsageError:
        return
    assert read_base_url(url, source="here") == url
    seen, host = httpx.URL(url), Settings(url, "here").host
    assert (seen.userinfo, seen.query, seen.fragment) == (b"", b"", "")
    assert seen.netloc.decode() == host
    assert seen.scheme == "https" or is_loopback(host)
    assert str(httpx.URL(url + "/deployments")) == url + "/deployments"


@pytest.mark.parametrize("text", ["", "a b", "a\n", "é", "x" * 257])
def test_a_workspace_must_fit_a_header(text: str) -> None:
    refused(lambda: read_workspace(text, source="--workspace"))


# --- reading the file


def test_a_missing_file_is_an_empty_one(config: Path, tmp_path: Path) -> None:
    assert load(config).profiles == {}
    assert load(written(tmp_path / "file", "") / "config.toml").profiles == {}


def test_empty_values_count_as_not_set(config: Path) -> None:
    assert load(written(config, '[profiles.a]\ntoken = ""\nregion = "cn"\n')).profiles == {"a": {"region": "cn"}}


def test_a_byte_order_mark_does_no_harm(config: Path) -> None:
    assert load(written(config, '\ufeff[profiles.a]\r\nregion = "cn"\r\n')).profile("a") == {"region": "cn"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[profiles.default]\n\ntoken = "x', "line 3"),
        ("a = 1\na = 2\n", "line 2"),
        (f"n = {'1' * 5000}\n", "is not TOML"),
        (f"n = {'[' * 5000}{']' * 5000}\n", "nested too deeply"),
        ("profiles = 1\n", "'profiles' as a value"),
        ('[profiles]\ntoken = "x"\n', "'profiles.token' as a value"),
        ("[profiles.a]\ntoken = 5\n", "profiles.a.token"),
        ("[profiles.a]\nregion = ['cn']\n", "profiles.a.region"),
        ("# " + "x" * 2**20, "larger than 1 MiB"),
    ],
)
def test_a_broken_file_is_refused_with_its_name(config: Path, text: str, said: str) -> None:
    written(config, text)
    error = refused(lambda: settings(config, {"QODER_PAT": TOKEN}))
    assert str(config) in error.message
    assert said in error.message
    assert error.hint


def test_a_file_that_is_not_utf_8_is_refused_with_the_line(config: Path) -> None:
    written(config, "").write_bytes(b"# one\n# \xff\n")
    assert "not UTF-8 (at line 2)" in refused(lambda: load(config)).message


def test_a_folder_in_its_place_is_refused(config: Path) -> None:
    config.mkdir(parents=True)
    assert f"{config} cannot be read" in refused(lambda: load(config)).message


def test_an_unreadable_file_is_refused(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*args: object) -> object:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("os.open", denied)
    assert f"{config} cannot be read: Permission denied" in refused(lambda: load(config)).message


@POSIX
@pytest.mark.parametrize(
    ("mode", "key", "warned"),
    [(0o600, "token", False), (0o640, "token", True), (0o604, "token", True), (0o644, "region", False)],
)
def test_a_token_that_others_can_read_is_a_warning(config: Path, mode: int, key: str, warned: bool) -> None:
    warnings = load(written(config, f'[profiles.a]\n{key} = "{TOKEN}"\n', mode=mode)).warnings
    assert any(f"chmod 600 {config}" in warning for warning in warnings) is warned
    assert TOKEN not in "".join(warnings)


def test_unknown_keys_are_one_warning_with_the_nearest_known_key(config: Path) -> None:
    text = f'token = "{TOKEN}"\nprofile = 1\nzzz = 1\n[work]\n[profiles.a]\nregoin = "cn"\nsecret = "{TOKEN}"\n'
    (warning,) = load(written(config, text)).warnings
    assert warning.partition(": ")[2].split(", ") == [
        "token (did you mean profiles.default.token?)",
        "profile (did you mean profiles?)",
        "zzz",
        "work (did you mean profiles.work?)",
        "profiles.a.regoin (did you mean profiles.a.region?)",
        "profiles.a.secret",
    ]
    assert TOKEN not in warning


def test_the_file_is_where_the_platform_keeps_such_files() -> None:
    assert locate({}).parts[-2:] == ("qoder", "config.toml")
    assert locate({"QODER_CONFIG": "else.toml"}) == Path("else.toml")
    assert locate({"QODER_CONFIG": ""}) == locate({})


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have neither $HOME nor an entry in the user database."""
    import platformdirs

    monkeypatch.setattr(platformdirs, "user_config_path", lambda *args, **kwargs: Path("~/.config/qoder"))
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)


@pytest.mark.usefixtures("homeless")
def test_without_a_home_the_environment_is_enough() -> None:
    assert resolve(Flags(), {"QODER_PAT": TOKEN}).token == TOKEN
    assert resolve(Flags(), {"QODER_SANDBOX": HERE}).base_url == HERE
    for flags, env in [(Flags(), {}), (Flags(profile="default"), {"QODER_PAT": TOKEN})]:
        assert "HOME is not set" in refused(lambda flags=flags, env=env: resolve(flags, env)).message  # type: ignore[misc]


@pytest.mark.usefixtures("homeless")
@pytest.mark.parametrize("words", [["config", "path"], ["config", "set", "region", "cn"], ["auth", "logout"]])
def test_without_a_home_there_is_nothing_to_change(qoder: Qoder, words: list[str]) -> None:
    del qoder.env["QODER_CONFIG"]
    ran = qoder(*words)
    assert (ran.code, ran.out) == (2, "")
    assert "HOME is not set" in ran.errors[0]


# --- changing the file


def test_comments_and_unknown_keys_are_kept(config: Path) -> None:
    text = '# mine\n[other]\nx = 1  # one\n\n[profiles.work] # job\nregion = "cn" # far\nteam = "blue"\n'
    change(written(config, text), "work", {"token": "pt-1", "region": "global"}, env={})
    change(config, "home", {"base_url": HERE}, env={})
    after = config.read_text()
    for kept in ("# mine\n", "x = 1  # one\n", "[profiles.work] # job\n", "# far\n", 'team = "blue"\n'):
        assert kept in after
    assert load(config).profiles == {
        "work": {"token": "pt-1", "region": "global"},
        "home": {"base_url": HERE},
    }


@pytest.mark.parametrize(
    "before",
    [
        "",
        "x = 1",
        "\n\n# only a comment",
        "[profiles]\n",
        "[profiles.work]",
        'profiles.work.region = "cn"\n',
        "profiles = {}\n",
        'profiles = { work = { region = "cn" } }\n',
        'profiles = { home = { region = "cn" } }\n',
        '[profiles]\nwork = { region = "cn" }\n',
        '[profiles.work]\nregion = "cn"\n[other]\n[profiles.home]\nregion = "cn"\n',
        '[profiles.home]\r\nregion = "cn"\r\n\r\n[other]\r\ny = [1, 2]\r\n',
        "[profiles.work.deeper]\nx = 1\n",
    ],
)
def test_whatever_the_layout_a_change_is_that_change_only(config: Path, before: str) -> None:
    written(config, before)
    expected = {name: dict(values) for name, values in load(config).profiles.items()}
    expected.setdefault("work", {}).update(token="pt-1")
    expected["work"].pop("region", None)
    change(config, "work", {"token": "pt-1", "region": None}, env={})
    assert load(config).profiles == expected
    assert tomllib.loads(config.read_text()).get("other") == tomllib.loads(before).get("other")


@pytest.mark.parametrize("broken", ["", "[profiles.work]\ntoken = 'pt-2'\n", "[", "# lost\n"])
def test_a_mistake_of_the_toml_writer_does_not_reach_the_file(
    config: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    monkeypatch.setattr("tomlkit.dumps", lambda document: broken)
    written(config, TWO_PROFILES)
    assert "cannot be edited safely" in refused(lambda: change(config, "work", {"token": "pt-1"}, env={})).message
    assert config.read_text() == TWO_PROFILES


@POSIX
def test_the_file_and_its_folder_are_private(tmp_path: Path) -> None:
    config = tmp_path / "new" / "deep" / "config.toml"
    change(config, "default", {"token": TOKEN}, env={})
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in (config.parent, config.parent.parent)] == [0o700] * 2
    config.chmod(0o644)
    change(config, "default", {"region": "cn"}, env={})
    assert stat.S_IMODE(config.stat().st_mode) == 0o600


@POSIX
@pytest.mark.parametrize("exists", [True, False])
def test_a_symlink_stays_one(config: Path, tmp_path: Path, exists: bool) -> None:
    target = tmp_path / "dotfiles" / "qoder.toml"
    target.parent.mkdir()
    if exists:
        written(target, "# mine\n")
    config.parent.mkdir()
    config.symlink_to(target)
    change(config, "default", {"region": "cn"}, env={})
    assert config.is_symlink()
    assert target.read_text().startswith("# mine\n" if exists else "[profiles")
    assert load(target).profile("default") == {"region": "cn"}


def left_in(folder: Path) -> list[str]:
    """Return the names in a folder, but for the lock, which stays and is empty."""
    assert all(path.stat().st_size == 0 for path in folder.glob(".*.lock"))
    return [name for name in os.listdir(folder) if not name.endswith(".lock")]


@pytest.mark.parametrize(
    ("function", "error"),
    [
        ("os.replace", OSError(errno.EACCES, "Permission denied")),
        ("os.fsync", OSError(errno.ENOSPC, "No space left on device")),
        ("tempfile.mkstemp", OSError(errno.EROFS, "Read-only file system")),
    ],
)
def test_a_change_that_cannot_be_written_leaves_everything_as_it_was(
    config: Path, monkeypatch: pytest.MonkeyPatch, function: str, error: OSError
) -> None:
    written(config, TWO_PROFILES)

    def fail(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(function, fail)
    said = refused(lambda: change(config, "default", {"token": TOKEN}, env={})).message
    assert f"cannot write the config file {config}: {error.strerror}" in said
    assert config.read_text() == TWO_PROFILES
    assert left_in(config.parent) == [config.name]


def test_an_interruption_leaves_no_token_lying_about(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        change(config, "default", {"token": TOKEN}, env={})
    assert left_in(config.parent) == []


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "file", "x")
    config = tmp_path / "file" / "qoder" / "config.toml"
    assert (
        "cannot write the config file" in refused(lambda: change(config, "default", {"region": "cn"}, env={})).message
    )


@POSIX
def test_what_is_no_file_is_not_replaced(qoder: Qoder, tmp_path: Path) -> None:
    link = tmp_path / "device"  # it can be read, as an empty file; root could replace the device itself
    link.symlink_to(os.devnull)
    qoder.env["QODER_CONFIG"] = str(link)
    ran = qoder("config", "set", "region", "cn")
    assert (ran.code, "not a regular file" in ran.err, "QODER_CONFIG" in ran.err) == (2, True, True)
    assert link.is_char_device()


# --- qoder config


def file_of(qoder: Qoder) -> Path:
    return Path(qoder.env["QODER_CONFIG"])


def test_path_prints_the_path_alone(qoder: Qoder) -> None:
    ran = qoder("config", "path")
    assert (ran.code, ran.out, ran.err) == (0, f"{file_of(qoder)}\n", "")
    assert qoder("config", "path", "-q").out == ran.out
    assert qoder("config", "path", "--json").json == {"path": str(file_of(qoder))}


def test_list_shows_everything_but_tokens(qoder: Qoder) -> None:
    written(
        file_of(qoder),
        f'[profiles.default]\ntoken = "{TOKEN}"\nregion = "cn"\n[profiles.b]\nregion = "global"\n',
    )
    rows = [
        ("profiles.default.token", "pt-****cdef"),
        ("profiles.default.region", "cn"),
        ("profiles.b.region", "global"),
    ]
    assert qoder("config", "list").out == "".join(f"{key}\t{value}\n" for key, value in rows)
    assert qoder("config", "list", "--json").json == [{"key": key, "value": value} for key, value in rows]
    assert qoder("config", "list", "-q", "--profile", "b").out == "profiles.b.region\n"
    assert qoder("config", "list", "--profile", "c").code == 2


def test_list_of_nothing_is_nothing(qoder: Qoder) -> None:
    assert (qoder("config", "list").out, qoder("config", "list", "--json").out) == ("", "[]\n")


def test_list_warns_about_the_file(qoder: Qoder) -> None:
    written(file_of(qoder), "colour = 1\n")
    assert "warning:" in qoder("config", "list", "--no-progress").err


@pytest.mark.parametrize(
    ("key", "value", "printed"),
    [
        ("region", "cn", "cn"),
        ("base_url", "Localhost:99/", "http://localhost:99/api/v1/cloud"),
        ("workspace_id", "ws_1", "ws_1"),
        ("profiles.new.team.region", "global", "global"),
    ],
)
def test_what_was_set_can_be_read_and_unset(qoder: Qoder, key: str, value: str, printed: str) -> None:
    assert qoder("config", "set", key, value).code == 0
    ran = qoder("config", "get", key)
    assert (ran.code, ran.out, ran.err) == (0, printed + "\n", "")
    assert qoder("config", "get", key, "--json").json == {key.rpartition(".")[2]: printed}
    assert qoder("config", "unset", key, "--no-progress").err == ""
    gone = qoder("config", "get", key)
    assert (gone.code, gone.out) == (5, "")
    assert "is not set" in gone.errors[0]
    again = qoder("config", "unset", key)
    assert (again.code, again.out) == (0, "")
    assert "is not set" in again.err


def test_set_creates_the_profile_that_is_asked_for(qoder: Qoder) -> None:
    assert qoder("config", "set", "region", "cn", "--profile", "work").code == 0
    assert load(file_of(qoder)).profiles == {"work": {"region": "cn"}}
    assert qoder("config", "get", "region", "--profile", "work").out == "cn\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["set", "region", "us"], "region must be global or cn"),
        (["set", "region", ""], "region must be"),
        (["set", "base_url", "http://example.com"], "plain http"),
        (["set", "workspace_id", "a b"], "workspace_id must be"),
        (["set", "region"], "missing value for region"),
        (["set", "regoin", "cn"], "did you mean region?"),
        (["get", "profiles.a.tokn"], "did you mean token?"),
        (["get", "zzzz"], "the keys are token, region, base_url, workspace_id"),
        (["unset", "profile.a.region"], "unknown key 'profile.a.region'"),
        (["get", "profiles.region"], "unknown key"),
        (["get", "profiles..region"], "unknown key"),
        (["set", "profiles.a/b.region", "cn"], "invalid profile name"),
        (["set", "region", "cn", "--profile", ""], "invalid profile name"),
        (["set", "profiles.a.region", "cn", "--profile", "b"], "name two profiles"),
        (["get", "region", "--profile", "b"], "no profile 'b'"),
        (["unset", "region", "--profile", "b"], "no profile 'b'"),
    ],
)
def test_a_bad_key_or_value_changes_nothing(qoder: Qoder, words: list[str], said: str) -> None:
    ran = qoder("config", *words)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
    assert not file_of(qoder).exists()


@pytest.mark.parametrize("value", [[], [TOKEN]])
def test_a_token_is_never_an_argument(qoder: Qoder, value: list[str]) -> None:
    ran = qoder("config", "set", "token", *value)
    assert ran.code == 2
    assert "auth login --with-token" in ran.err
    assert not file_of(qoder).exists()


def test_get_token_is_masked_and_says_so(qoder: Qoder) -> None:
    written(file_of(qoder), f'[profiles.default]\ntoken = "{TOKEN}"\n')
    ran = qoder("config", "get", "token")
    assert (ran.code, ran.out) == (0, "pt-****cdef\n")
    assert "masked" in ran.err


def test_moving_a_token_to_another_host_is_a_warning(qoder: Qoder) -> None:
    written(file_of(qoder), f'[profiles.default]\ntoken = "{TOKEN}"\n')
    assert "warning" not in qoder("config", "set", "region", "global").err
    assert "will now be sent to https://elsewhere.example" in qoder("config", "set", "base_url", ELSEWHERE).err
    assert "profile default also has base_url" in qoder("config", "set", "region", "cn").err
    assert "will now be sent to https://api.qoder.com.cn" in qoder("config", "unset", "base_url").err


def test_a_broken_value_in_the_file_can_be_corrected(qoder: Qoder) -> None:
    written(file_of(qoder), f'[profiles.default]\ntoken = "{TOKEN}"\nregion = "mars"\n')
    assert qoder("config", "get", "region").out == "mars\n"
    assert qoder("config", "set", "region", "cn").code == 0


@pytest.mark.parametrize("verb", [["list"], ["get", "region"], ["set", "region", "cn"], ["unset", "region"]])
def test_a_broken_file_stops_every_command_that_reads_it(qoder: Qoder, verb: list[str]) -> None:
    written(file_of(qoder), "[broken\n")
    ran = qoder("config", *verb, "--json")
    assert (ran.code, ran.out) == (2, "")
    assert "line 1" in ran.error["message"]
    assert file_of(qoder).read_text() == "[broken\n"


def test_values_from_the_file_cannot_steer_a_terminal(qoder: Qoder) -> None:
    written(file_of(qoder), '[profiles.default]\nregion = "\\u001b[31m"\n')
    assert qoder("config", "get", "region").out == "\\u001b[31m\n"
    assert "\x1b" not in qoder("config", "list").out


@pytest.mark.parametrize("verb", ["list", "get", "set", "unset", "path"])
def test_help_shows_an_example_and_the_exit_codes(qoder: Qoder, capsys: pytest.CaptureFixture[str], verb: str) -> None:
    ran = qoder("config", verb, "--help")
    shown = ran.out + capsys.readouterr().out
    assert (ran.code, ran.err) == (0, "")
    assert f"  qoder config {verb}" in shown
    assert "qoder help exit-codes" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_region_names_are_exact() -> None:
    assert [read_region(name, source="x") for name in REGIONS] == ["global", "cn"]
    with pytest.raises(QoderError):
        read_region("Global", source="x")
