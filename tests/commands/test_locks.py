"""The config file is changed by one at a time: two changes at once both count, or one fails."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from qoder_cli.base.errors import UsageError
from qoder_cli.settings import configfile
from qoder_cli.settings.configfile import change, load
from tests.conftest import Qoder
from tests.support.processes import Shell

HOLD = """
import sys, time
from filelock import FileLock
lock = FileLock(sys.argv[1], mode=0o600)
lock.acquire()
print("held", flush=True)
time.sleep(600)
"""


class _Api(BaseHTTPRequestHandler):
    """Accepts every token."""

    def do_GET(self) -> None:
        body = json.dumps({"data": [], "has_more": False}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def base_url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Api)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/api/v1/cloud"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "qoder" / "config.toml"


@contextmanager
def held(config: Path) -> "Iterator[subprocess.Popen[bytes]]":
    """Let another process hold the lock of a config file."""
    config.parent.mkdir(exist_ok=True)
    words = [sys.executable, "-c", HOLD, str(config.with_name(f".{config.name}.lock"))]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            yield holder
        finally:
            holder.kill()


def test_as_many_logins_at_once_are_as_many_tokens(config: Path, base_url: str, tmp_path: Path) -> None:
    tokens = {f"p{number}": f"pt-of-p{number}-0123456789" for number in range(8)}
    pipes = {name: os.pipe() for name in tokens}
    shell = Shell(tmp_path)
    shell.env["QODER_CONFIG"] = str(config)
    words = ["auth", "login", "--with-token", "--base-url", base_url, "--profile"]
    logins = {name: shell.begin(*words, name, stdin=pipe[0]) for name, pipe in pipes.items()}
    for name, pipe in pipes.items():  # all wait for their tokens, then for each other
        os.write(pipe[1], f"{tokens[name]}\n".encode())
        for end in pipe:
            os.close(end)
    ended = {name: login.last() for name, login in logins.items()}
    assert {name: code for name, (code, _) in ended.items() if code} == {}, ended
    assert {name: values["token"] for name, values in load(config).profiles.items()} == tokens


def test_a_change_made_while_another_reads_is_not_lost(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edited = configfile._edited

    def slow(text: str, profile: str, values: object) -> str | None:
        if profile == "a" and not other.is_alive() and not done:
            other.start()
            other.join(0.2)  # with no lock it is through by now, and what it wrote is lost
        return edited(text, profile, values)  # type: ignore[arg-type]

    done: list[int] = []

    def change_b() -> None:
        change(config, "b", {"region": "cn"}, env={})
        done.append(1)

    other = threading.Thread(target=change_b)
    monkeypatch.setattr(configfile, "_edited", slow)
    change(config, "a", {"region": "cn"}, env={})
    other.join()
    assert set(load(config).profiles) == {"a", "b"}


def test_who_holds_the_lock_too_long_is_told_of(qoder: Qoder, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configfile, "LONGEST_WAIT", 0.05)
    qoder.env["QODER_CONFIG"] = str(config)
    with held(config):
        for words in (["set", "region", "cn"], ["unset", "region"]):
            config.write_text('[profiles.default]\nregion = "global"\n')
            ran = qoder("config", *words, "--json")
            assert (ran.code, "another qoder" in ran.error["message"]) == (2, True)
            assert load(config).profile("default") == {"region": "global"}
        assert qoder("config", "get", "region").out == "global\n"  # who only reads waits for nobody
    assert configfile.LONGEST_WAIT < 1


def test_a_holder_that_died_is_in_nobodys_way(config: Path) -> None:
    with held(config) as holder:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        change(config, "default", {"region": "cn"}, env={})
    assert load(config).profile("default") == {"region": "cn"}


@pytest.mark.skipif(os.name != "posix", reason="symbolic links need rights on Windows")
def test_two_paths_of_one_file_have_one_lock(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configfile, "LONGEST_WAIT", 0.05)
    link = config.parent.parent / "link.toml"
    link.symlink_to(config)
    with held(config), pytest.raises(UsageError, match="another qoder"):
        change(link, "default", {"region": "cn"}, env={})
    change(link, "default", {"region": "cn"}, env={})
    assert (link.is_symlink(), load(config).profile("default")) == (True, {"region": "cn"})


def test_a_folder_that_nobody_may_write_to_is_said_to_be_so(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.parent.mkdir()
    config.write_text('[profiles.default]\nregion = "global"\n')
    opened = os.open

    def denied(path: str, flags: int, *args: int, **kwargs: int) -> int:
        if flags & os.O_CREAT:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return opened(path, flags, *args, **kwargs)

    monkeypatch.setattr("os.open", denied)  # root may write anywhere
    with pytest.raises(UsageError, match=r"cannot write the config file .*: Permission denied; nothing was changed"):
        change(config, "default", {"region": "cn"}, env={})
    monkeypatch.undo()
    assert load(config).profile("default") == {"region": "global"}
