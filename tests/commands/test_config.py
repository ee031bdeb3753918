"""Which server is asked with which token, the config file, and `qoder config`."""

import errno
import os
import re
import stat
import threading
import tomllib
import traceback
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qoder_cli.base.errors import UsageError
from qoder_cli.settings.config import TOKEN_VARIABLES, Found, Settings, resolve
from qoder_cli.settings.configfile import change, load
from qoder_cli.settings.values import LONGEST_TOKEN, REGIONS, Flags, is_loopback, read_base_url, read_token
from tests.conftest import TOKEN, Qoder, examples

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


def resolved(config: Path, env: dict[str, str] | None = None, **flags: Any) -> Settings:
    return resolve(Flags(**flags), {"QODER_CONFIG": str(config), **(env or {})})


def refused(call: Callable[[], object]) -> UsageError:
    with pytest.raises(UsageError) as caught:
        call()
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value.as_json())
    assert TOKEN not in shown
    return caught.value


# What wins over what.

PROFILES: dict[str, dict[str, str]] = {
    "default": {"token": "pt-default-0001", "region": "cn"},
    "work": {"token": "pt-work-0002", "base_url": ELSEWHERE, "workspace_id": "ws_work", "keys": "memstore_1"},
    "bare": {},
}
TWO_PROFILES = "\n".join(
    "\n".join([f"[profiles.{name}]", *(f'{key} = "{value}"' for key, value in values.items()), ""])
    for name, values in PROFILES.items()
)
FLAGS = st.fixed_dictionaries(
    {}, optional={"profile": st.sampled_from([*PROFILES]), "workspace": st.just("ws_flag")}
) | st.sampled_from([{"region": "global"}, {"region": "cn", "profile": "work"}, {"base_url": HERE}])
ENV = st.fixed_dictionaries(
    {},
    optional={
        "QODER_BASE_URL": st.sampled_from([HERE, ""]),
        "QODER_MANAGED_BASE_URL": st.just(ELSEWHERE),
        "QODER_REGION": st.sampled_from(["global", "cn", ""]),
        "QODER_SANDBOX": st.just("http://localhost:1/api/v1/cloud"),
        "QODER_PROFILE": st.sampled_from(["work", ""]),
        "QODER_WORKSPACE_ID": st.just("ws_env"),
        "QODER_KEYS": st.sampled_from(["memstore_2", ""]),
        "QODER_PAT": st.sampled_from(["pt-env\r\n", ""]),
        "QODER_ACCESS_TOKEN": st.just("jwt.a.b"),
        "QODER_PERSONAL_ACCESS_TOKEN": st.just("pt-third"),
    },
)


def first(*sources: tuple[str | None, str]) -> tuple[str | None, str | None]:
    return next(((value.rstrip("\r\n"), source) for value, source in sources if value), (None, None))


@examples(Fraction(4, 3))
@given(FLAGS, ENV)
@example({"profile": "bare"}, {"QODER_KEYS": "memstore_2"})
def test_settings_come_from_option_then_environment_then_file_then_default(
    tmp_path_factory: pytest.TempPathFactory, flags: dict[str, str], env: dict[str, str]
) -> None:
    config = written(tmp_path_factory.getbasetemp() / "config.toml", TWO_PROFILES)
    profile = flags.get("profile") or env.get("QODER_PROFILE") or "default"
    sandbox = env.get("QODER_SANDBOX")
    file = {} if sandbox else PROFILES[profile]  # nothing inside the sandbox uses what is saved
    seen = {} if "profile" in flags and not sandbox else env  # an option beats the whole environment
    of = f"profiles.{profile}."
    own = ((file.get("base_url"), f"{of}base_url"), (REGIONS.get(file.get("region", "")), f"{of}region"))
    server = first(
        (sandbox, "QODER_SANDBOX"),
        (flags.get("base_url"), "--base-url"),
        (REGIONS.get(flags.get("region", "")), "--region"),
        (seen.get("QODER_BASE_URL"), "QODER_BASE_URL"),
        (seen.get("QODER_MANAGED_BASE_URL"), "QODER_MANAGED_BASE_URL"),
        (REGIONS.get(seen.get("QODER_REGION", "")), "QODER_REGION"),
        *own,
        (GLOBAL, "default"),
    )
    saved = file.get("token") if server[0] == first(*own, (GLOBAL, ""))[0] else None  # for its own host only
    found = resolved(config, env, **flags)
    assert found.profile == profile
    assert (found.base_url, found.base_url_source.partition(" ")[0]) == server
    tokens = first(*((seen.get(name), name) for name in TOKEN_VARIABLES), (saved, f"{of}token"))
    assert (found.token, found.token_source and found.token_source.partition(" ")[0]) == tokens
    workspaces = (flags.get("workspace"), seen.get("QODER_WORKSPACE_ID"), file.get("workspace_id"))
    assert found.workspace_id == first(*((value, "") for value in workspaces))[0]
    keys = env.get("QODER_KEYS") or file.get("keys")  # even beside an option: shared keys are never left silently
    assert (found.keys and found.keys.value) == keys
    assert (found.token or "no token") not in f"{found!r} {load(config)!r}"


@pytest.mark.parametrize(
    ("base_url", "is_sent"),
    [
        ("HTTPS://api.qoder.com.cn:443/other/", True),
        ("https://api.qoder.com.cn:8443", False),
        ("https://api.qoder.com.cn.evil.example", False),
    ],
)
def test_settings_send_a_saved_token_to_its_own_host_only(config: Path, base_url: str, is_sent: bool) -> None:
    found = resolved(written(config, TWO_PROFILES), base_url=base_url)
    assert found.token == ("pt-default-0001" if is_sent else None)
    assert ("the token of profile default is for api.qoder.com.cn and is not sent to" in found.advice) != is_sent


PAT = {"QODER_PAT": "pt-env"}
URL = {"QODER_BASE_URL": "https://a.example"}


@pytest.mark.parametrize(
    ("flags", "env", "warned"),
    [
        ({"profile": "work"}, PAT | {"QODER_REGION": "cn"}, "--profile work overrides: QODER_PAT, QODER_REGION"),
        ({"profile": "work", "base_url": ELSEWHERE}, PAT | URL, "--profile work overrides: QODER_PAT"),
        ({"profile": "work"}, {"QODER_WORKSPACE_ID": "ws"}, "--profile work overrides: QODER_WORKSPACE_ID"),
        ({"profile": "work", "workspace": "ws"}, {"QODER_WORKSPACE_ID": "ws"}, ""),
        ({}, PAT | {"QODER_ACCESS_TOKEN": "pt-env\n"}, ""),
        ({}, PAT | {"QODER_ACCESS_TOKEN": "pt-2"}, "using QODER_PAT, which differs from QODER_ACCESS_TOKEN"),
        ({}, PAT | {"QODER_PAT_FILE": "/nowhere"}, "using QODER_PAT, which differs from QODER_PAT_FILE"),
        ({}, URL | {"QODER_MANAGED_BASE_URL": "https://b.example"}, "which differs from QODER_MANAGED_BASE_URL"),
        ({}, URL | {"QODER_MANAGED_BASE_URL": "https://A.example:443/api/v1/cloud/"}, ""),
        ({"base_url": HERE}, URL | {"QODER_MANAGED_BASE_URL": "https://b.example"}, ""),
        ({"region": "cn", "profile": "x"}, {"QODER_SANDBOX": HERE}, "inside the sandbox: --region and --profile"),
    ],
)
def test_settings_name_what_is_ignored_in_one_warning(config: Path, flags: Any, env: Any, warned: str) -> None:
    warnings = resolved(written(config, TWO_PROFILES), env, **flags).warnings
    assert len(warnings) == bool(warned)
    assert warned in "".join(warnings)


@pytest.mark.parametrize(
    ("flags", "env", "file", "named"),
    [
        ({"region": "global", "base_url": HERE}, {}, "", "--region and --base-url"),
        ({"region": "us"}, {}, "", "--region must be global or cn"),
        ({"base_url": ""}, {}, "", "--base-url"),
        ({"request_timeout": "0"}, {}, "", "--request-timeout"),
        ({}, {"QODER_REGION": "CN"}, "", "QODER_REGION must be"),
        ({}, {"QODER_BASE_URL": "ftp://x"}, "", "QODER_BASE_URL is not a valid URL"),
        ({}, {"QODER_MANAGED_BASE_URL": "http://example.com"}, "", "QODER_MANAGED_BASE_URL is plain http"),
        ({}, {}, 'region = "eu"\n', "profiles.default.region in "),
        ({}, {}, 'base_url = "https://a b"\n', "profiles.default.base_url in "),
        ({}, {}, 'workspace_id = "a b"\n', "profiles.default.workspace_id in "),
        ({}, {}, f'token = "{TOKEN} x"\n', "profiles.default.token in "),
        ({}, {"QODER_PAT": f"{TOKEN} x"}, "", "QODER_PAT"),
        ({}, {"QODER_PAT": f'"{TOKEN}"'}, "", "the token from QODER_PAT begins with a quote"),
        ({}, {"QODER_PAT": f"'{TOKEN}'"}, "", "the token from QODER_PAT begins with a quote"),
        ({}, {"QODER_PAT": f"Bearer {TOKEN}"}, "", "the token from QODER_PAT begins with 'Bearer'"),
        ({}, {"QODER_CONFIG": TOKEN}, "", "QODER_CONFIG holds a token, not the path of a file"),
        ({}, {"QODER_PAT_FILE": TOKEN}, "", "cannot read the file of QODER_PAT_FILE"),
        ({}, {"QODER_WORKSPACE_ID": "a\nb"}, "", "QODER_WORKSPACE_ID"),
        ({"workspace": ""}, {}, "", "--workspace"),
        ({}, {"QODER_SANDBOX": ELSEWHERE}, "", "QODER_SANDBOX names elsewhere.example"),
        ({"profile": "home"}, {"QODER_PAT": TOKEN}, "", "no profile 'home'"),
        ({"profile": ""}, {}, "", "no profile ''"),
        ({}, {"QODER_PROFILE": "wrok", **PAT}, "", "no profile 'wrok'"),
    ],
)
def test_settings_name_where_a_bad_value_stands(config: Path, flags: Any, env: Any, file: str, named: str) -> None:
    written(config, f"[profiles.default]\n{file}" if file else "")
    assert named in refused(lambda: resolved(config, env, **flags)).message


# A token in a file, or in a pipe.


@pytest.mark.parametrize(
    "content", ["", "\n", TOKEN + "\n\n", f"{TOKEN} \n", "\ufeff" + TOKEN, TOKEN * 1000, None], ids=range(7)
)
def test_settings_refuse_a_token_file_with_anything_else_in_it(config: Path, tmp_path: Path, content: Any) -> None:
    secret = written(tmp_path / "secret", TOKEN + "\n")
    env = {"QODER_PAT_FILE": str(secret)}
    assert (resolved(config, env).token, resolved(config, env).token_source) == (TOKEN, "QODER_PAT_FILE")
    secret.unlink() if content is None else written(secret, content)
    assert "QODER_PAT_FILE" in refused(lambda: resolved(config, env)).message


@POSIX
@pytest.mark.parametrize("where", ["QODER_PAT_FILE", "QODER_CONFIG", "--input", "--form"])
def test_api_waits_for_no_pipe_that_nobody_writes_to(qoder: Qoder, tmp_path: Path, where: str) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    if where.startswith("QODER"):
        qoder.env |= {where: str(pipe), "QODER_PAT": ""}
    typed = {"--input": ["--input", str(pipe)], "--form": ["--form", f"file=@{pipe}"]}.get(where, [])
    ran = qoder("api", "POST", "/files", *typed)
    assert ran.code == 2
    assert "named pipe that nothing writes to" in ran.err


@POSIX
def test_settings_read_a_pipe_that_somebody_writes_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = os.open(pipe, os.O_RDWR)  # it does not wait for a reader either
    os.write(writer, f"{TOKEN}\n".encode())
    closing = threading.Timer(0.1, os.close, [writer])
    closing.start()
    assert resolved(tmp_path / "none", {"QODER_PAT_FILE": str(pipe)}).token == TOKEN
    closing.join()


# The values themselves.


@examples(Fraction(2, 3))
@given(st.text())
@example("pt-1\n")
@example("pt-1\r\n")
@example("pt-1\n\n")
@example("pt-1\r")
@example("x" * (LONGEST_TOKEN + 1))
def test_token_is_printable_ascii_or_refused_without_being_shown(text: str) -> None:
    text = "~Zq7" + text
    token = re.sub(r"\r?\n\Z", "", text)
    if re.fullmatch("[!-~]+", token) and len(token) <= LONGEST_TOKEN:
        assert read_token(text, source="here") == token
    else:
        error = refused(lambda: read_token(text, source="here"))
        assert error.message.startswith("the token from here ")
        assert "~Zq7" not in repr(error.as_json())


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://api.qoder.com/api/v1/cloud", GLOBAL),
        ("https://api.qoder.com/", GLOBAL),
        ("API.Qoder.com:443", GLOBAL),
        ("api.qoder.com/v2/", "https://api.qoder.com/v2"),
        ("localhost:8080", "http://localhost:8080/api/v1/cloud"),
        ("http://api.localhost:80", "http://api.localhost/api/v1/cloud"),
        ("[0:0::1]:99", "http://[::1]:99/api/v1/cloud"),
        ("[2001:DB8::1]", "https://[2001:db8::1]/api/v1/cloud"),
    ],
)
def test_base_url_has_one_spelling(text: str, url: str) -> None:
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
        f"https://{'h' * 64}.x",
        "http://api.qoder.com", "http://127.0.0.1.evil.example", "http://localhost.evil.example", "http://mylocalhost",
        "http://128.0.0.1", "http://0.0.0.0", "http://[::2]", "http://[::ffff:127.0.0.1]", "http://localhost.",
        "pt-secret-0123456789", "PT-SECRETSE", "eyJhbGciOi.eyJzdWIi.c2lnbmF0", "https://pt-secretse",
    ],
)  # fmt: skip
def test_base_url_is_plainly_a_server_or_refused(text: str) -> None:
    error = refused(lambda: read_base_url(text, source="--base-url"))
    assert error.message.startswith("--base-url ")
    assert not re.search("secret|c2lnbmF0", repr(error.as_json()), re.IGNORECASE)


PIECES = [
    *("http://", "https://", "HTTPS://", "ftp://", "//", "/", "localhost", "127.0.0.1", "127.", "[::1]", "[", "]"),
    *("example", ".com", "api.", "x", "0", "-", "_", "é", ".", "..", "/..", "%2e", "/api"),
    *(":80", ":443", ":8080", ":", "@", "?", "#", "\\"),
]


@given(st.lists(st.sampled_from(PIECES), max_size=8).map("".join))
def test_base_url_that_is_accepted_is_the_same_server_to_every_reader(text: str) -> None:
    try:
        url = read_base_url(text, source="here")
    except UsageError:
        return
    assert read_base_url(url, source="here") == url
    seen, host = httpx.URL(url), Settings(Found(url, "here")).host
    assert (seen.userinfo, seen.query, seen.fragment) == (b"", b"", "")
    assert seen.netloc.decode() == host
    assert seen.scheme == "https" or is_loopback(host)
    assert str(httpx.URL(url + "/deployments")) == url + "/deployments"


# Reading the file.


@pytest.mark.parametrize(
    ("text", "profiles"),
    [
        (None, {}),
        ("", {}),
        ('\ufeff[profiles.a]\r\nregion = "cn"\r\ntoken = ""\r\n', {"a": {"region": "cn"}}),
    ],
    ids=["missing", "empty", "with a mark"],
)
def test_config_file_has_the_profiles_with_what_is_not_empty(config: Path, text: str | None, profiles: Any) -> None:
    assert load(config if text is None else written(config, text)).profiles == profiles


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b'[profiles.default]\n\ntoken = "x', "at end of document"),
        (b"a = 1\na = 2\n", "line 2"),
        (b"# one\n# \xff\n", "is not TOML"),
        (b"n = " + b"1" * 5000 + b"\n", "is not TOML"),
        (b"n = " + b"[" * 5000 + b"]" * 5000 + b"\n", "is not TOML"),
        (b"profiles = 1\n", "'profiles' as a value"),
        (b'[profiles]\ntoken = "x"\n', "'profiles.token' as a value"),
        (b"[profiles.a]\ntoken = 5\n", "profiles.a.token"),
        (b"[profiles.a]\nregion = ['cn']\n", "profiles.a.region"),
        (b"# " + b"x" * 2**20, "larger than 1 MiB"),
        (None, "cannot be read"),  # a folder in its place
    ],
    ids=range(11),
)
def test_config_file_that_is_broken_is_refused_with_its_name(config: Path, text: bytes | None, said: str) -> None:
    if text is None:
        config.mkdir(parents=True)
    else:
        written(config, "").write_bytes(text)
    error = refused(lambda: resolved(config, {"QODER_PAT": TOKEN}))
    assert str(config) in error.message
    assert said in error.message
    assert error.hint


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have neither $HOME nor an entry in the user database."""
    import platformdirs

    monkeypatch.setattr(platformdirs, "user_config_path", lambda *args, **kwargs: Path("~/.config/qoder"))
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)


@pytest.mark.usefixtures("homeless")
def test_settings_without_a_home_need_only_the_environment(qoder: Qoder) -> None:
    assert resolve(Flags(), {"QODER_PAT": TOKEN}).token == TOKEN
    assert resolve(Flags(), {"QODER_SANDBOX": HERE}).base_url == HERE
    for flags, env in [(Flags(), {}), (Flags(profile="default"), {"QODER_PAT": TOKEN})]:
        assert "HOME is not set" in refused(lambda flags=flags, env=env: resolve(flags, env)).message  # type: ignore[misc]
    del qoder.env["QODER_CONFIG"]
    for words in ("config path", "config set region cn", "auth logout"):
        ran = qoder(*words.split())
        assert (ran.code, ran.out) == (2, "")
        assert "HOME is not set" in ran.errors[0]


# Changing the file.


def test_config_change_keeps_comments_and_unknown_keys(config: Path) -> None:
    text = '# mine\n[other]\nx = 1  # one\n\n[profiles.work] # job\nregion = "cn" # far\nteam = "blue"\n'
    change(written(config, text), "work", {"token": "pt-1", "region": "global"}, env={})
    change(config, "home", {"base_url": HERE}, env={})
    kept = ("# mine\n", "x = 1  # one\n", "[profiles.work] # job\n", "# far\n", 'team = "blue"\n')
    assert [each for each in kept if each not in config.read_text()] == []
    assert load(config).profiles == {"work": {"token": "pt-1", "region": "global"}, "home": {"base_url": HERE}}


@pytest.mark.parametrize(
    "before",
    [
        "",
        "x = 1",
        "[profiles.work]",
        'profiles.work.region = "cn"\n',
        "profiles = {}\n",
        'profiles = { work = { region = "cn" } }\n',
        '[profiles]\nwork = { region = "cn" }\n',
        '[profiles.work]\nregion = "cn"\n[other]\n[profiles.home]\nregion = "cn"\n',
        '[profiles.home]\r\nregion = "cn"\r\n\r\n[other]\r\ny = [1, 2]\r\n',
        "[profiles.work.deeper]\nx = 1\n",
    ],
)
def test_config_change_is_that_change_only_whatever_the_layout(config: Path, before: str) -> None:
    written(config, before)
    expected = {name: dict(values) for name, values in load(config).profiles.items()}
    expected.setdefault("work", {}).update(token="pt-1")
    expected["work"].pop("region", None)
    change(config, "work", {"token": "pt-1", "region": None}, env={})
    assert load(config).profiles == expected
    assert tomllib.loads(config.read_text()).get("other") == tomllib.loads(before).get("other")


@pytest.mark.parametrize("broken", ["", "[profiles.work]\ntoken = 'pt-2'\n", "[", "# lost\n"])
def test_config_change_never_writes_a_mistake_of_the_toml_writer(
    config: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    monkeypatch.setattr("tomlkit.dumps", lambda document: broken)
    written(config, TWO_PROFILES)
    assert "cannot be edited safely" in refused(lambda: change(config, "work", {"token": "pt-1"}, env={})).message
    assert config.read_text() == TWO_PROFILES


@POSIX
def test_config_change_leaves_the_file_and_its_folder_private(tmp_path: Path) -> None:
    below_a_file = written(tmp_path / "file", "x") / "qoder" / "config.toml"
    said = refused(lambda: change(below_a_file, "default", {"region": "cn"}, env={})).message
    assert "cannot write the config file" in said
    config = tmp_path / "new" / "deep" / "config.toml"
    change(config, "default", {"token": TOKEN}, env={})
    assert [stat.S_IMODE(path.stat().st_mode) for path in (config, config.parent)] == [0o600, 0o700]
    config.chmod(0o644)
    change(config, "default", {"region": "cn"}, env={})
    assert stat.S_IMODE(config.stat().st_mode) == 0o600


@POSIX
@pytest.mark.parametrize("exists", [True, False])
def test_config_change_leaves_a_link_one(config: Path, tmp_path: Path, exists: bool) -> None:
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


@pytest.mark.parametrize(
    ("function", "error"),
    [
        ("os.replace", OSError(errno.EACCES, "Permission denied")),
        ("os.replace", KeyboardInterrupt()),
        ("os.fsync", OSError(errno.ENOSPC, "No space left on device")),
        ("qoder_cli.base.plainfile.partial", OSError(errno.EROFS, "Read-only file system")),
    ],
)
def test_config_change_that_cannot_be_written_leaves_all_as_it_was_and_no_token_about(
    config: Path, monkeypatch: pytest.MonkeyPatch, function: str, error: BaseException
) -> None:
    written(config, TWO_PROFILES)

    def fail(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(function, fail)
    if isinstance(error, OSError):
        said = refused(lambda: change(config, "default", {"token": TOKEN}, env={})).message
        assert f"cannot write the config file {config}: {error.strerror}" in said
    else:
        with pytest.raises(KeyboardInterrupt):
            change(config, "default", {"token": TOKEN}, env={})
    assert config.read_text() == TWO_PROFILES
    left = {path.name: path.stat().st_size for path in config.parent.iterdir()}
    assert [name for name, size in left.items() if size] == [config.name]  # but for the lock, which stays and is empty
    assert [name for name in left if not name.endswith(".lock")] == [config.name]


# The commands.


@POSIX
def test_config_set_replaces_no_device(qoder: Qoder, tmp_path: Path) -> None:
    link = tmp_path / "device"  # it can be read, as an empty file; root could replace the device itself
    link.symlink_to(os.devnull)
    qoder.env["QODER_CONFIG"] = str(link)
    ran = qoder("config", "set", "region", "cn")
    assert (ran.code, "not a regular file" in ran.err, "QODER_CONFIG" in ran.err) == (2, True, True)
    assert link.is_char_device()


@pytest.mark.parametrize("token", ["pt-SECRETSECRET123", "pt-onlyletters", "eyJhbGciOi.eyJzdWIi.c2lnbmF0"])
def test_config_set_makes_no_profile_that_is_called_as_a_token(qoder: Qoder, token: str) -> None:
    for words in (["config", "set", "region", "cn"], ["auth", "login", "--with-token"]):
        ran = qoder(*words, "--profile", token)
        assert (ran.code, token in ran.err) == (2, False)
    qoder.env["QODER_PROFILE"] = token
    assert qoder("config", "set", "region", "cn").code == 2
    assert not qoder.config.exists()
    for language in ("pt-br", "pt-br-production-2", "pt-team"):
        assert qoder("config", "set", "region", "cn", "--profile", language).code == 0


def test_config_works_on_the_profile_of_the_environment(qoder: Qoder) -> None:
    qoder.env["QODER_PROFILE"] = "work"
    assert qoder("config", "set", "region", "cn").code == 0
    assert load(qoder.config).profiles == {"work": {"region": "cn"}}
    assert qoder("config", "get", "region").out == "cn\n"
    assert qoder("config", "set", "region", "global", "--profile", "b").code == 0
    assert qoder("config", "list").out == "profiles.work.region\tcn\n"
    assert "profile work," in qoder("auth", "logout").err


def test_config_path_prints_the_path_alone(qoder: Qoder) -> None:
    for words in (["config", "path"], ["config", "path", "-q"]):
        ran = qoder(*words)
        assert (ran.code, ran.out, ran.err) == (0, f"{qoder.config}\n", "")
    assert qoder("config", "path", "--json").json == {"path": str(qoder.config)}


def test_config_list_shows_everything_but_tokens(qoder: Qoder) -> None:
    assert (qoder("config", "list").out, qoder("config", "list", "--json").out) == ("", "[]\n")
    text = f'colour = 1\n[profiles.default]\ntoken = "{TOKEN}"\nregion = "cn"\n'
    text += '[profiles.b]\nregion = "global"\nregoin = 1\n'
    qoder.configured(text)
    rows = {"profiles.default.token": "pt-****cdef", "profiles.default.region": "cn", "profiles.b.region": "global"}
    assert qoder("config", "list").out == "".join(f"{key}\t{value}\n" for key, value in rows.items())
    assert qoder("config", "list", "--json").json == [{"key": key, "value": value} for key, value in rows.items()]
    assert qoder("config", "list", "-q", "--profile", "b").out == "profiles.b.region\n"
    masked = qoder("config", "get", "token")
    assert (masked.code, masked.out) == (0, "pt-****cdef\n")
    assert qoder("config", "list", "--profile", "c").code == 2
    assert "has unknown keys, which are ignored: colour, profiles.b.regoin" in qoder("config", "list").err


@pytest.mark.parametrize(
    ("key", "value", "printed"),
    [
        ("region", "cn", "cn"),
        ("allow", "all", "all"),
        ("policy", "/etc/guard.yaml", "/etc/guard.yaml"),
        ("base_url", "Localhost:99/", "http://localhost:99/api/v1/cloud"),
        ("workspace_id", "ws_1", "ws_1"),
        ("keys", "required:postgresql://team@db.example.com/ci", "required:postgresql://db.example.com/ci"),
        ("profiles.new.team.region", "global", "global"),
    ],
)
def test_config_get_reads_what_was_set_until_it_is_unset(qoder: Qoder, key: str, value: str, printed: str) -> None:
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


def test_config_set_warns_where_a_token_moves_to_another_host(qoder: Qoder) -> None:
    qoder.configured(f'[profiles.default]\ntoken = "{TOKEN}"\n')
    assert "warning" not in qoder("config", "set", "region", "global").err
    assert "will now be sent to https://elsewhere.example" in qoder("config", "set", "base_url", ELSEWHERE).err
    assert qoder("config", "set", "region", "cn").code == 0
    assert "warning" not in qoder("config", "set", "workspace_id", "ws_1").err
    assert "will now be sent to https://api.qoder.com.cn" in qoder("config", "unset", "base_url").err


def test_config_set_corrects_a_broken_value(qoder: Qoder) -> None:
    qoder.configured(f'[profiles.default]\ntoken = "{TOKEN}"\nregion = "mars\\u001b[31m pt-another-0123456"\n')
    assert qoder("config", "get", "region").out == "mars\\u001b[31m [redacted]\n"
    assert "\x1b" not in qoder("config", "list").out
    assert qoder("config", "set", "region", "cn").code == 0


@pytest.mark.parametrize("words", ["list", "get region", "set region cn", "unset region"])
def test_config_stops_at_a_broken_file(qoder: Qoder, words: str) -> None:
    qoder.configured("[broken\n")
    ran = qoder("config", *words.split(), "--json")
    assert (ran.code, ran.out) == (2, "")
    assert "line 1" in ran.error["message"]
    assert qoder.config.read_text() == "[broken\n"
