"""Inside the sandbox nothing real is reached or changed, whoever asks: our own commands, and the official SDK."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

import httpx
import pytest

from qoder_cli.base.errors import UsageError
from qoder_cli.base.plainfile import seal
from qoder_cli.commands import sandbox as command
from qoder_cli.help.documented import VARIABLES
from qoder_cli.sandbox.server import Server
from qoder_cli.sandbox.world import World
from tests.conftest import Qoder
from tests.sandbox.desk import exported, needs_signals
from tests.support.cells import ALL_CELLS
from tests.support.network import listening
from tests.support.nursery import ENVIRONMENT, PATIENCE, nursery
from tests.support.processes import Shell, until

BASE_URL = "http://127.0.0.1:1/api/v1/cloud"
SERVERS = ("QODER_SANDBOX", "QODER_BASE_URL", "QODER_MANAGED_BASE_URL")
TOKENS = ("QODER_PAT", "QODER_ACCESS_TOKEN", "QODER_PERSONAL_ACCESS_TOKEN")
# They say how a command behaves, not whom it asks, as who, or what it writes to.
HARMLESS = {"QODER_READ_ONLY", "QODER_ALLOW", "QODER_NO_PROGRESS", "QODER_NO_INPUT", "QODER_BELL"}
HARMLESS |= {"QODER_REPO_TOKEN", "QODER_EVENT"}  # sent to the sandbox alone; set for others
REAL = "pt-real-0123456789abcdef"
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


def inside(base: Mapping[str, str], folder: Path = Path("/own")) -> dict[str, str]:
    """Return the environment of a command in a sandbox."""
    led = command.variables(base, base_url=BASE_URL, token="pt-sandbox", folder=folder)
    return command.environment(base, led)


def test_sandbox_turns_every_variable_around_that_leads_out() -> None:
    outside = {
        "PATH": "/bin",
        "HOME": "/home/me",
        **dict.fromkeys((*SERVERS, "QODER_FORWARD_BASE_URL"), "https://api.qoder.com/api/v1/cloud"),
        **dict.fromkeys((*TOKENS, "QODER_SA_KEY"), REAL),
        "QODER_SA_KEY_FILE": "/key",
        "QODER_KEYS": "postgresql://keys.example/keys",
        "QODER_PAT_FILE": "/token",
        "QODER_REGION": "cn",
        "QODER_PROFILE": "work",
        "QODER_WORKSPACE_ID": "ws_1",
        "QODER_CONFIG": "/home/me/config.toml",
        "QODER_STATE_DIR": "/home/me/state",
        "STATE_DIRECTORY": "/var/lib/qoder",
        "QODER_NO_INPUT": "1",
    }
    env = inside(outside)
    path = env.pop("PATH").split(os.pathsep)
    no_proxy = {} if sys.platform == "win32" else {"no_proxy": "127.0.0.1,localhost"}
    assert env == {
        "HOME": "/home/me",
        "QODER_NO_INPUT": "1",
        **dict.fromkeys(SERVERS, BASE_URL),
        "QODER_FORWARD_BASE_URL": "http://127.0.0.1:1/api/v1/forward",
        **dict.fromkeys(TOKENS, "pt-sandbox"),
        "QODER_CONFIG": str(Path("/own/config.toml")),
        "QODER_STATE_DIR": str(Path("/own/state")),
        "NO_PROXY": "127.0.0.1,localhost",
        **no_proxy,
    }
    assert path[-1] == "/bin"
    assert str(Path(sys.executable).parent) in path[:-1]


def test_sandbox_knows_every_variable_of_ours() -> None:
    ours = {name for each in VARIABLES for name in each.names if name.startswith("QODER_")}
    led = command.variables({}, base_url=BASE_URL, token="pt-sandbox", folder=Path("/own"))
    assert ours <= set(led) | HARMLESS


def test_sandbox_leaves_python_the_users_where_the_program_has_a_folder_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "qoder").touch()  # as pipx installs it
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "qoder")])
    assert inside({"PATH": "/bin"})["PATH"].split(os.pathsep) == [str(tmp_path), "/bin"]


@pytest.mark.skipif(sys.platform == "win32", reason="there a variable has one name only")
@pytest.mark.parametrize(
    ("outside", "exceptions"),
    [
        ({"NO_PROXY": "intra"}, "127.0.0.1,localhost,intra"),
        ({"no_proxy": "intra"}, "127.0.0.1,localhost,intra"),
        ({"NO_PROXY": "a", "no_proxy": "b"}, "127.0.0.1,localhost,a,b"),
        ({"NO_PROXY": "", "no_proxy": "*"}, "*"),
    ],
)
def test_sandbox_keeps_the_exceptions_from_a_proxy(outside: dict[str, str], exceptions: str) -> None:
    env = inside(outside)
    assert (env["NO_PROXY"], env["no_proxy"]) == (exceptions, exceptions)


def test_sandbox_says_that_it_has_no_place_for_its_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*given: object, **settings: object) -> None:
        raise FileNotFoundError(2, "No usable folder")

    monkeypatch.setattr("qoder_cli.commands.sandbox.TemporaryDirectory", none)
    with pytest.raises(UsageError, match="No usable folder"), command._folder():
        pass


def outside(home: Path, trap: str) -> dict[str, str]:
    """Return an environment in which everything leads to a trap, with a home that is used every day."""
    config = home / "config" / "qoder" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text(f'# mine\n[profiles.default]\ntoken = "{REAL}"\nbase_url = "{trap}"\n[profiles.work]\n')
    config.chmod(0o600)
    (home / "state").mkdir()
    (home / "token.txt").write_text(REAL)
    return {
        **ENVIRONMENT,
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_STATE_HOME": str(home / "state"),
        **dict.fromkeys((*SERVERS[1:], "QODER_FORWARD_BASE_URL"), trap),
        **dict.fromkeys(TOKENS, REAL),
        "QODER_PAT_FILE": str(home / "token.txt"),
        "QODER_PROFILE": "work",
        "QODER_WORKSPACE_ID": "ws_1",
        **dict.fromkeys(PROXIES, trap),
        **dict.fromkeys(map(str.lower, PROXIES), trap),
    }


def snapshot(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def shell_in(folder: Path, env: Mapping[str, str]) -> Shell:
    """Return a shell in a folder, with this environment and no more."""
    made = Shell(folder)
    made.env = dict(env)
    return made


# Whatever may be typed in a rehearsal that asks a server or writes a file of ours.
REHEARSED = [
    "auth status",
    "deploy list -q",
    "deploy get dep_demo -q",
    "deploy run dep_demo --wait -q",
    "deploy run dep_demo -q --profile work",
    "run get last -q",
    "run list -q --base-url https://api.qoder.com",
    "deploy list -q --region cn",
    "api GET /deployments -q",
    "config set region cn",
    "config set profiles.work.region cn",
    "config unset region",
    "auth login --with-token --yes < {token}",
    "auth login --with-token --yes --profile new < {token}",
    "config list",
    "auth logout",
    "doctor -q",
]


@needs_signals
@pytest.mark.parametrize("alone", [False, True], ids=["with a command", "by its exports"])
def test_sandbox_reaches_and_changes_nothing_real_whatever_is_typed_inside(tmp_path: Path, alone: bool) -> None:
    with listening(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}") as (port, heard):
        env = outside(tmp_path, f"http://127.0.0.1:{port}/api/v1/cloud")
        before = snapshot(tmp_path)
        lines = ['cd "$1"', 'printf %s "$QODER_PAT" > token', "set -x"]
        qoder = shlex.quote(str(nursery().programs / "qoder"))
        typed = REHEARSED if ALL_CELLS else REHEARSED[alone::3]
        lines += [f"{qoder} {line.format(token='token')} || echo FAILED" for line in typed]
        words = ["sh", "-c", "\n".join(lines), "sh"]
        (elsewhere := tmp_path.with_name("elsewhere")).mkdir(exist_ok=True)
        shell = shell_in(tmp_path, env)
        if alone:
            sandbox = shell.begin("sandbox", "--speed", "50")
            exported(sandbox)
            ended = shell.run("sh", "-c", sandbox.out + shlex.join([*words, str(elsewhere)]))
            sandbox.signal(signal.SIGTERM).end()  # so that it removes what is its own
        else:
            ended = shell.qoder("sandbox", "--speed", "50", "--", *words, str(elsewhere))
    assert (ended.code, "FAILED" in ended.out) == (0, False), ended.err
    assert heard == []
    assert snapshot(tmp_path) == before
    assert REAL not in ended.out + ended.err


# Ways in which a command inside may come to write a real file: what is set in its environment, or taken out of it.
# `$own` is the sandbox's folder, `$home` the real one.
NEW_CONFIGS = ("QODER_CONFIG=$home/new/config.toml", "QODER_CONFIG=$own/state/../../$name.toml")
CONFIGS = (
    "QODER_CONFIG=$home/config/qoder/config.toml",
    "QODER_CONFIG",  # XDG_CONFIG_HOME is the real one
    "QODER_CONFIG XDG_CONFIG_HOME HOME=$home/other",
    "QODER_CONFIG=$own/link.toml",
    "QODER_CONFIG=$own/linked/config.toml",
)
STATES = (
    "QODER_STATE_DIR=$home/state/qoder",
    "QODER_STATE_DIR",
    "QODER_STATE_DIR STATE_DIRECTORY=$home/state/qoder",
    "QODER_STATE_DIR XDG_STATE_HOME HOME=$home/other",
    "QODER_STATE_DIR=$home/new",
    "QODER_STATE_DIR=$own/state-linked",
    "QODER_STATE_DIR=$own/linked-db",
    "QODER_STATE_DIR=$own/linked-lock",
    "QODER_STATE_DIR=$home/ended/state",  # the folder of another sandbox
    "QODER_SANDBOX=http://localhost:1/api/v1/cloud",
)
LINKS = {
    "link.toml": "config/qoder/config.toml",
    "linked": "config/qoder",
    "state-linked": "state/qoder",
    "linked-db/state.db": "state/qoder/state.db",
    "linked-lock/keys.lock": "state/qoder/keys.lock",
}
SETS = ("config set region cn", "auth login --with-token --yes")
REMOVES = ("config unset region", "auth logout")
REMEMBERS = ("deploy run dep_demo -q", "deploy run dep_demo --idempotency-key k -q", "deploy list -q", "run get last")
OUT = {  # what is changed in the environment, and what is typed then
    **dict.fromkeys(NEW_CONFIGS, SETS),
    **dict.fromkeys(CONFIGS, (*SETS, *REMOVES)),
    **dict.fromkeys(STATES, REMEMBERS),
    "XDG_DATA_HOME=$home/data": ("completion bash --install", "completion fish --install"),
}


@needs_signals
@pytest.mark.parametrize("way", OUT)
def test_sandbox_refuses_a_write_out_of_it_before_anything_is_sent(
    qoder: Qoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    home, own = tmp_path / "home", tmp_path / "own"
    qoder.env = inside(outside(home, "http://127.0.0.1:9"), own)
    qoder.stdin = qoder.env["QODER_PAT"]
    for folder in (*(f"home/{each}" for each in ("state/qoder", "other/.config/qoder", "ended/state")), "own/state"):
        (tmp_path / folder).mkdir(parents=True)
    for config in (home / "config/qoder/config.toml", home / "other/.config/qoder/config.toml"):
        config.write_text(f'[profiles.default]\ntoken = "{REAL}"\nregion = "global"\n')
    for file in ("state.db", "keys.lock"):
        (home / "state/qoder" / file).touch()
    seal(home / "ended", "http://127.0.0.1:9/api/v1/cloud")
    seal(own, BASE_URL)
    for link, target in LINKS.items():
        (own / link).parent.mkdir(exist_ok=True)
        (own / link).symlink_to(home / target)
    for change in Template(way).substitute(home=home, own=own, name="own").split():
        name, is_set, value = change.partition("=")
        qoder.env.pop(name, None)
        qoder.env |= {name: value} if is_set else {}
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, qoder.env[name]) if name in qoder.env else monkeypatch.delenv(name, raising=False)
    before = {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")}, snapshot(tmp_path)
    ended = {words: qoder(*words.split()) for words in OUT[way]}
    assert {words: ran.code for words, ran in ended.items()} == dict.fromkeys(OUT[way], 2)
    for ran in ended.values():
        assert "is outside the folder of this sandbox; nothing was sent or written" in ran.errors[0]
        assert ran.err.endswith("\nhint: run it outside the sandbox\n")
        assert ran.err.count("hint: ") == 1
        assert "starting " not in ran.err
    assert ({path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")}, snapshot(tmp_path)) == before


@needs_signals
def test_sandbox_leaves_running_what_its_command_leaves_running(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    line = 'cat "$1/pipe" > "$1/part" && mv "$1/part" "$1/said" & exit 3'
    nowhere: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    left = Shell(tmp_path).begin("sandbox", "--", "sh", "-c", line, "sh", str(tmp_path), **nowhere)
    assert left.end().code == 3
    (tmp_path / "pipe").write_text("still here")
    until(lambda: (tmp_path / "said").exists(), "what was left running has read the pipe")
    assert (tmp_path / "said").read_text() == "still here"


def test_sandbox_has_a_new_token_each_time() -> None:
    tokens = {World().token for _ in range(2)}
    assert (len(tokens), {len(token) > 40 for token in tokens}) == (2, {True})


@needs_signals
@pytest.mark.parametrize(
    ("name", "alone", "code"), [("SIGINT", True, -signal.SIGINT), ("SIGTERM", True, 143), ("SIGHUP", False, 129)]
)
@pytest.mark.few(2)
def test_sandbox_leaves_no_files_when_it_is_stopped(tmp_path: Path, name: str, alone: bool, code: int) -> None:
    # All but the sleep comes before the line: an import or a file that is closed may swallow a Ctrl-C.
    command = "import os, time; open(os.environ['QODER_CONFIG'], 'w').close(); print(1, flush=True); time.sleep(60)"
    words = [] if alone else ["--", sys.executable, "-c", command]
    shell = shell_in(tmp_path, {**ENVIRONMENT, "PATH": os.environ["PATH"], "TMPDIR": str(tmp_path)})
    sandbox = shell.begin("sandbox", *words)
    if alone:
        exported(sandbox.says("press Ctrl-C here to stop"))
    else:
        until(lambda: sandbox.out == "1\n", "its command")
    said = sandbox.out
    assert list(tmp_path.iterdir())
    ended = sandbox.signal(signal.Signals[name]).end()
    assert (ended.code, ended.out) == (code, said)
    assert list(tmp_path.iterdir()) == []


@needs_signals
def test_sandbox_is_what_the_official_sdk_asks_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, qca: Any
) -> None:
    with listening(b"") as (port, heard):
        env = outside(tmp_path, f"http://127.0.0.1:{port}/api/v1/cloud")
        sandbox = shell_in(tmp_path, env).begin("sandbox")
        led = exported(sandbox)
        for name in os.environ:
            monkeypatch.delenv(name)
        for name, value in (env | led).items():
            monkeypatch.setenv(name, value)
        with qca.Managed() as client:
            ids = [each.id for each in client.deployments.list()]
            kind = client.sessions.retrieve(client.deployments.run("dep_demo").session_id).type
        sandbox.signal(signal.SIGTERM).end()
    assert str(client.base_url).startswith("http://127.0.0.1:")
    assert client.base_url.port != port
    assert "dep_demo" in ids
    assert (kind, heard) == ("session", [])


@pytest.fixture(scope="module")
def server() -> Any:
    with Server(World()).start() as server:
        yield server


def ask(server: Server, path: str, host: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {server.world.token}", "Host": host, "Accept": "application/json"}
    return httpx.get(server.base_url + path, headers=headers, trust_env=False, timeout=PATIENCE)


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost@evil.example:{port}", "evil.example, 127.0.0.1", "sandbox", "[::]:{port}", ""]
)
@pytest.mark.parametrize("path", ["/deployments", "/sessions/{session}/events/stream"])
def test_sandbox_refuses_a_page_that_has_its_name_lead_here(server: Server, path: str, host: str) -> None:
    session = server.world.start("dep_ask").session
    assert session is not None
    seen = len(server.world.requests)
    answer = ask(server, path.format(session=session.id), host.format(port=server.port))
    assert (answer.status_code, answer.json()["error"]["type"]) == (403, "permission_error")
    assert len(server.world.requests) == seen


@pytest.mark.parametrize(
    "host", ["127.0.0.1:{port}", "localhost:{port}", "LocalHost:{port}", "[::1]:{port}", "localhost", "127.0.0.1"]
)
def test_sandbox_answers_by_the_names_of_this_machine(server: Server, host: str) -> None:
    assert ask(server, "/deployments", host.format(port=server.port)).status_code == 200
