"""Proxies and certificates, with real sockets on this machine and a real process."""

import gzip
import io
import socket
import ssl
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
import trustme

from qoder_cli.base.errors import NoAnswer
from qoder_cli.base.times import Clock
from qoder_cli.http.client import Client
from qoder_cli.output.progress import Progress
from qoder_cli.output.screen import Screen
from qoder_cli.sandbox.server import serve
from qoder_cli.sandbox.world import World
from qoder_cli.settings.config import Settings
from qoder_cli.settings.seal import seal
from tests.conftest import TOKEN as PLANTED
from tests.conftest import Qoder, Ran
from tests.support.network import listening
from tests.support.nursery import PATIENCE
from tests.support.processes import Ended, Shell
from tests.support.wire import FakeClock

DEPLOYMENT = b'{"id": "dep_1", "type": "deployment", "name": "over TLS"}'
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s"
TOKEN = "pt-0123456789abcdef"
AGENTS = ("--base-url", "https://agents.invalid")


def qoder(tmp_path: Path, *words: str, **variables: str) -> Ended:
    return Shell(tmp_path).qoder(*words, env={"QODER_PAT": TOKEN, **variables})


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA) -> Iterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with listening(ANSWER % (len(DEPLOYMENT), DEPLOYMENT), context) as (port, _):
        yield port


def test_a_certificate_that_ssl_cert_file_names_is_trusted(tmp_path: Path, authority: trustme.CA, tls: int) -> None:
    trusted = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(trusted))
    words = ("deploy", "get", "dep_1", "--json", "--base-url", f"https://127.0.0.1:{tls}")
    ran = qoder(tmp_path, *words, SSL_CERT_FILE=str(trusted))
    assert (ran.code, '"over TLS"' in ran.out) == (0, True), ran.err


@pytest.mark.parametrize("verb", ["get", "run"])
def test_a_certificate_that_nobody_vouches_for_is_exit_7_at_once(tmp_path: Path, tls: int, verb: str) -> None:
    ran = qoder(tmp_path, "deploy", verb, "dep_1", "--base-url", f"https://127.0.0.1:{tls}")
    assert (ran.code, ran.out) == (7, "")
    assert "certificate verification failed for" in ran.err
    assert "SSL_CERT_FILE" in ran.err
    assert "retrying" not in ran.err


def test_a_certificate_file_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    ran = qoder(tmp_path, "deploy", "get", "dep_1", SSL_CERT_FILE=str(tmp_path / "missing.pem"))
    assert (ran.code, "SSL_CERT_FILE" in ran.err) == (2, True), ran.err


@pytest.fixture
def proxied(qoder: Qoder, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """Return what runs a command line over real connections, with these variables and no other for proxies."""
    for name in ("HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    qoder.transport = None

    def run(*words: str, **variables: str) -> Ran:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        qoder.env |= variables
        return qoder(*words)

    return run


def test_the_proxy_is_asked_and_never_hears_the_token(proxied: Callable[..., Ran]) -> None:
    with listening(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n") as (port, heard):
        ran = proxied("deploy", "run", "dep_1", *AGENTS, HTTPS_PROXY=f"http://127.0.0.1:{port}")
    assert ran.code == 7, ran.err
    assert heard
    assert all(request.startswith(b"CONNECT agents.invalid:443 ") for request in heard)
    assert not any(PLANTED.encode() in request for request in heard)


def test_no_proxy_goes_around_the_proxy(proxied: Callable[..., Ran]) -> None:
    with listening(b"") as (port, heard):
        proxy = f"http://127.0.0.1:{port}"
        ran = proxied("deploy", "get", "dep_1", *AGENTS, HTTPS_PROXY=proxy, NO_PROXY="agents.invalid")
    assert (ran.code, heard) == (7, [])


def test_loopback_is_never_proxied(tmp_path: Path) -> None:
    world = World()
    with listening(b"") as (port, heard), serve(world) as server:
        proxies = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY"), f"http://127.0.0.1:{port}")
        inside = {"QODER_SANDBOX": server.base_url, "QODER_PAT": world.token}
        seal(tmp_path, server.base_url)
        ran = qoder(tmp_path, "deploy", "get", "dep_demo", "-q", **proxies, **inside)
    assert (ran.code, ran.out, heard) == (0, "dep_demo\n", [])


HEADERS = [
    "X-Gateway-Node: Zürich",
    'Content-Disposition: attachment; filename="résumé.zip"',
    "Set-Cookie: node=Zürich; Path=/",
    f"X-Echo: é {PLANTED}",
]
RUN = b'{"id": "drun_1", "deployment_id": "dep_1", "status": "completed", "session_id": "sess_1", "error": null}'


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize(
    ("words", "content", "printed"),
    [
        ("deploy run dep_1 -q", RUN, "drun_1\n"),
        ("run list -q", b'{"data": [%s], "has_more": false}' % RUN, "drun_1\n"),
        ("api GET /skills/s_1/versions/1/content -q", b'{"id": "x"}', "x\n"),
        ("api GET /deployments/dep_1 -i -q", b'{"id": "dep_1"}', "dep_1\n"),
        ("doctor -q", b'{"data": [], "has_more": false}', "access\n"),
    ],
)
def test_a_header_may_have_any_bytes(
    qoder: Qoder, words: str, content: bytes, printed: str, header: str, encoding: str
) -> None:
    answer = ANSWER.replace(b"\r\n\r\n", b"\r\n%b\r\n\r\n" % header.encode(encoding)) % (len(content), content)
    with listening(answer) as (port, heard):
        qoder.env["QODER_BASE_URL"] = f"http://127.0.0.1:{port}"
        qoder.transport = httpx.HTTPTransport()
        ran = qoder(*words.split(), "--debug")
    assert (ran.code, printed in ran.out, bool(heard)) == (0, True, True), ran.err
    assert not any(b"cookie:" in request.lower() for request in heard)


BOMB = gzip.compress(gzip.compress(b" " * 2**30))  # a gigabyte, of about a thousand bytes


@pytest.mark.parametrize("layers", ["gzip, gzip", "gzip\r\ncontent-encoding: gzip", "br", "zstd", "x-unknown"])
@pytest.mark.parametrize("words", ["run get drun_1", "api GET /deployments/dep_1", "deploy run dep_1"])
def test_a_body_in_layers_of_compression_is_no_answer(qoder: Qoder, words: str, layers: str) -> None:
    answer = ANSWER.replace(b"\r\n\r\n", f"\r\ncontent-encoding: {layers}\r\n\r\n".encode()) % (len(BOMB), BOMB)
    with listening(answer) as (port, _):
        qoder.env["QODER_BASE_URL"] = f"http://127.0.0.1:{port}"
        qoder.transport = httpx.HTTPTransport()
        tracemalloc.start()
        try:
            ran = qoder(*words.split())
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert (ran.code, "is encoded in an unknown way" in ran.err) == (9 if words.startswith("deploy") else 7, True)
    assert most < 2**25


def test_a_compressed_answer_is_read(qoder: Qoder) -> None:
    body = gzip.compress(RUN)
    answer = ANSWER.replace(b"\r\n\r\n", b"\r\ncontent-encoding: gzip\r\n\r\n") % (len(body), body)
    with listening(answer) as (port, heard):
        qoder.env["QODER_BASE_URL"] = f"http://127.0.0.1:{port}"
        qoder.transport = httpx.HTTPTransport()
        assert qoder("deploy", "run", "dep_1", "-q").out == "drun_1\n"
    assert b"accept-encoding: gzip, deflate\r\n" in heard[0].lower()


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("words", ["deploy run dep_1", "run wait drun_1", "api POST /agents", "doctor"])
def test_a_proxy_that_nobody_answers_at_is_named_with_its_variable(
    proxied: Callable[..., Ran], words: str, variable: str
) -> None:
    address = f"http://me:hunter2@127.0.0.1:{closed_port()}"
    ran = proxied(*words.split(), *AGENTS, **{variable: address})
    named = f"the proxy {address.replace('me:hunter2', '****')} (from {variable}): "
    assert (ran.code, named in ran.errors[0]) == (7, True), ran.err
    assert f"correct {variable}, or unset it" in ran.err.splitlines()[-1]
    assert "hunter2" not in ran.out + ran.err


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "all_proxy"])
@pytest.mark.parametrize(
    "proxy", ["socks5://127.0.0.1:1", "gopher://hunter2:x@127.0.0.1:1", "http://[::1", "http://me:hunter2/@[::1"]
)
def test_a_proxy_that_cannot_be_used_is_a_usage_error(tmp_path: Path, proxy: str, variable: str) -> None:
    ran = qoder(tmp_path, "deploy", "get", "dep_1", *AGENTS, **{variable: proxy})
    assert (ran.code, "Traceback" in ran.err, "hunter2" in ran.err) == (2, False, False), ran.err
    assert f"(from {variable}): " in ran.err
    assert f"hint: correct {variable}, or unset it" in ran.err


def test_a_proxy_that_is_not_in_effect_is_in_nobodys_way(tmp_path: Path, authority: trustme.CA, tls: int) -> None:
    trusted = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(trusted))
    words = ("deploy", "get", "dep_1", "-q", "--base-url", f"https://127.0.0.1:{tls}")
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "gopher://[")
    ran = qoder(tmp_path, *words, SSL_CERT_FILE=str(trusted), **proxies)
    assert (ran.code, ran.out) == (0, "dep_1\n"), ran.err


def test_a_thread_that_outlives_the_command_asks_nothing_and_says_nothing() -> None:
    written = io.BytesIO()
    progress = Progress(Screen(written), clock=Clock(), quiet=False)
    client = Client(Settings("https://api.example", "here", token=TOKEN), clock=Clock(), progress=progress)
    client.close()
    with pytest.raises(NoAnswer) as caught:
        client.get("/deployments")
    assert (caught.value.sent, caught.value.message, written.getvalue()) == (False, "the command has ended", b"")


class _Dripping(httpx.SyncByteStream):
    """A body that never ends: one space at a time."""

    def __init__(self) -> None:
        self.closed = threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        while True:
            time.sleep(0.01)
            yield b" "

    def close(self) -> None:
        self.closed.set()


def test_an_answer_that_drips_for_ever_is_left_with_its_connection() -> None:
    """Of a hundred that stayed open nothing more could be asked."""
    body = _Dripping()
    transport = httpx.MockTransport(lambda request: httpx.Response(200, stream=body))
    progress = Progress(Screen(io.BytesIO()), clock=Clock(), quiet=True)
    settings = Settings("https://api.example", "here", token=TOKEN)
    client = Client(settings, clock=Clock(), progress=progress, transport=transport)
    with pytest.raises(NoAnswer):
        client.get("/deployments", within=0.1, retry=False)
    assert body.closed.wait(PATIENCE)


class _KeepingAlive(BaseHTTPRequestHandler):
    """Answers everything with an empty object, and notes from which connection each request came."""

    protocol_version = "HTTP/1.1"
    came: ClassVar[list[tuple[str, int]]] = []

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.came.append((self.command, self.client_address[1]))
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_POST = do_GET

    def log_message(self, format: str, *values: Any) -> None:
        pass


def test_a_write_never_goes_over_a_connection_that_has_idled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_KeepingAlive, "came", [])
    clock = FakeClock()
    monkeypatch.setattr("httpcore._sync.http11.time", clock)  # by which a connection idles for too long
    with ThreadingHTTPServer(("127.0.0.1", 0), _KeepingAlive) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        progress = Progress(Screen(io.BytesIO()), clock=Clock(), quiet=True)
        client = Client(Settings(url, "here", token=TOKEN), clock=Clock(), progress=progress)
        for pause, method in ((0, "GET"), (1.2, "GET"), (0, "POST"), (0, "POST"), (1.2, "POST")):
            clock.sleep(pause)
            client.send(client.prepare(method, "/x"), PATIENCE)
        client.close()
        server.shutdown()
    reads = {port for method, port in _KeepingAlive.came if method == "GET"}
    writes = [port for method, port in _KeepingAlive.came if method == "POST"]
    assert len(reads) == 1  # a read may be asked again, so that it may use what idled
    assert (writes[0] == writes[1], writes[1] != writes[2], reads & set(writes)) == (True, True, set())
