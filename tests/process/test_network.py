"""Proxies, certificates, headers and bodies, with real sockets on this machine."""

import gzip
import io
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from qoder_cli.base.errors import NoResponse
from qoder_cli.base.times import Clock
from qoder_cli.http.client import Client
from qoder_cli.output.progress import Progress
from qoder_cli.output.screen import Screen
from qoder_cli.sandbox.server import Server
from qoder_cli.sandbox.wire import GENERATIONS, Generation
from qoder_cli.sandbox.world import World
from qoder_cli.settings.config import Found, Settings
from tests.conftest import TOKEN, Qoder, Ran
from tests.support.cells import checkerboard
from tests.support.network import Break, breaking, listening
from tests.support.nursery import PATIENCE
from tests.support.wire import FakeClock

DEPLOYMENT = b'{"id": "dep_1", "type": "deployment", "name": "over TLS"}'
RUN = b'{"id": "drun_1", "deployment_id": "dep_1", "status": "completed", "session_id": "sess_1", "error": null}'
AGENTS = ("--base-url", "https://agents.invalid")


def answer(body: bytes, *headers: bytes) -> bytes:
    lines = (b"content-type: application/json", b"connection: close", b"content-length: %d" % len(body), *headers)
    return b"HTTP/1.1 200 OK\r\n" + b"\r\n".join(lines) + b"\r\n\r\n" + body


@pytest.fixture
def online(qoder: Qoder, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """Return what runs a command line over real connections, with these variables and no other for proxies."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    qoder.transport = None

    def run(words: str, *more: str, **variables: str) -> Ran:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        qoder.env |= variables
        return qoder(*words.split(), *more)

    return run


# Certificates.


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[trustme.CA, str]:
    """Return who vouches for certificates, and the file that says so."""
    made, path = trustme.CA(), tmp_path_factory.mktemp("ca") / "ca.pem"
    made.cert_pem.write_to_path(str(path))
    return made, str(path)


@pytest.fixture
def tls(authority: tuple[trustme.CA, str]) -> Iterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority[0].issue_cert("127.0.0.1").configure_cert(context)
    with listening(answer(DEPLOYMENT), context) as (port, _):
        yield f"https://127.0.0.1:{port}"


@pytest.mark.parametrize("proxies", [{}, dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "gopher://[")])
def test_deploy_get_trusts_the_certificate_that_ssl_cert_file_names(
    online: Callable[..., Ran], authority: tuple[trustme.CA, str], tls: str, proxies: dict[str, str]
) -> None:
    """Also where proxies are named that are not in effect: loopback is never proxied."""
    ran = online("deploy get dep_1 --json", "--base-url", tls, SSL_CERT_FILE=authority[1], **proxies)
    assert (ran.code, '"over TLS"' in ran.out) == (0, True), ran.err


@pytest.mark.parametrize("verb", ["get", "run"])
def test_deploy_exits_7_at_once_for_an_untrusted_certificate(online: Callable[..., Ran], tls: str, verb: str) -> None:
    ran = online(f"deploy {verb} dep_1", "--base-url", tls)
    assert (ran.code, ran.out) == (7, "")
    assert "certificate verification failed for" in ran.err
    assert "SSL_CERT_FILE" in ran.err
    assert "retrying" not in ran.err


def test_deploy_get_refuses_a_certificate_file_that_is_not_there(tmp_path: Path, online: Callable[..., Ran]) -> None:
    ran = online("deploy get dep_1", SSL_CERT_FILE=str(tmp_path / "missing.pem"))
    assert (ran.code, "SSL_CERT_FILE" in ran.err) == (2, True), ran.err


# Proxies.


def test_deploy_run_asks_the_proxy_and_never_tells_it_the_token(online: Callable[..., Ran]) -> None:
    with listening(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n") as (port, heard):
        ran = online("deploy run dep_1", *AGENTS, HTTPS_PROXY=f"http://127.0.0.1:{port}")
    assert ran.code == 7, ran.err
    assert heard
    assert all(request.startswith(b"CONNECT agents.invalid:443 ") for request in heard)
    assert not any(TOKEN.encode() in request for request in heard)


def test_deploy_get_goes_around_the_proxy_where_no_proxy_says_so(online: Callable[..., Ran]) -> None:
    with listening(b"") as (port, heard):
        proxy = f"http://127.0.0.1:{port}"
        ran = online("deploy get dep_1", *AGENTS, HTTPS_PROXY=proxy, NO_PROXY="agents.invalid")
    assert (ran.code, heard) == (7, [])


@pytest.mark.parametrize(
    ("words", "variable"),
    [("deploy run dep_1", "HTTPS_PROXY"), ("run wait drun_1", "https_proxy"), ("doctor", "ALL_PROXY")],
)
def test_commands_name_the_variable_of_a_silent_proxy(online: Callable[..., Ran], words: str, variable: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed_afterwards:
        address = f"http://me:hunter2@127.0.0.1:{closed_afterwards.getsockname()[1]}"
    ran = online(words, *AGENTS, **{variable: address})
    named = f"the proxy {address.replace('me:hunter2', '****')} (from {variable}): "
    assert (ran.code, named in ran.errors[0]) == (7, True), ran.err
    assert f"correct {variable}, or unset it" in ran.err.splitlines()[-1]
    assert "hunter2" not in ran.out + ran.err


@pytest.mark.parametrize(
    "proxy",
    ["socks5://127.0.0.1:1", "gopher://hunter2:x@127.0.0.1:1", "http://[::1", "http://me:hunter2/@[::1", "http://a..b"],
)
def test_deploy_get_refuses_a_proxy_that_cannot_be_used(online: Callable[..., Ran], proxy: str) -> None:
    ran = online("deploy get dep_1", *AGENTS, all_proxy=proxy)
    assert (ran.code, "hunter2" in ran.err) == (2, False), ran.err
    assert "(from all_proxy): " in ran.err
    assert "hint: correct all_proxy, or unset it" in ran.err


# Headers and bodies.

HEADERS = [
    "X-Gateway-Node: Zürich",
    'Content-Disposition: attachment; filename="résumé.zip"',
    "Set-Cookie: node=Zürich; Path=/",
    f"X-Echo: é {TOKEN}",
]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
@pytest.mark.parametrize(
    ("words", "content", "printed"),
    [
        ("deploy run dep_1 -q", RUN, "drun_1\n"),
        ("api GET /deployments/dep_1 -i", b'{"id": "dep_1"}', 'filename="résumé.zip"\n'),
        ("doctor -q", b'{"data": [], "has_more": false}', "access\n"),
    ],
)
def test_commands_take_headers_of_any_bytes(
    online: Callable[..., Ran], words: str, content: bytes, printed: str, encoding: str
) -> None:
    with listening(answer(content, *(header.encode(encoding) for header in HEADERS))) as (port, heard):
        ran = online(words, "--debug", QODER_BASE_URL=f"http://127.0.0.1:{port}")
    assert (ran.code, printed in ran.out, bool(heard)) == (0, True, True), ran.err
    assert not any(b"cookie:" in request.lower() for request in heard)


@pytest.mark.parametrize(
    ("words", "code"), [("deploy run dep_1", 9), ("run get drun_1", 7), ("api GET /deployments/dep_1", 7)]
)
def test_commands_take_a_body_in_layers_of_compression_for_no_answer(
    online: Callable[..., Ran], words: str, code: int
) -> None:
    layers = answer(gzip.compress(gzip.compress(RUN)), *[b"content-encoding: gzip"] * 2)
    with listening(layers) as (port, _):
        ran = online(words, QODER_BASE_URL=f"http://127.0.0.1:{port}")
    assert (ran.code, "is encoded in an unknown way" in ran.err) == (code, True)


def test_deploy_run_reads_a_compressed_answer(online: Callable[..., Ran]) -> None:
    with listening(answer(gzip.compress(RUN), b"content-encoding: gzip")) as (port, heard):
        assert online("deploy run dep_1 -q", QODER_BASE_URL=f"http://127.0.0.1:{port}").out == "drun_1\n"
    assert b"accept-encoding: gzip, deflate\r\n" in heard[0].lower()


# Connections that break.

# Bytes: none, in the headers, around the end of them, and in the answer's body.
BREAKS = checkerboard(("cut", "reset", "half-close", "stall"), ("out", "in"), (0, 190, 417, 560))


@pytest.mark.parametrize("fault", [Break(*each) for each in BREAKS], ids=lambda fault: "-".join(map(str, fault)))
@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.few(8)
def test_deploy_run_over_a_connection_that_breaks_at_any_byte_starts_none_twice(
    qoder: Qoder, online: Callable[..., Ran], fault: Break, generation: Generation
) -> None:
    world = World(clock=qoder.clock.now, generation=generation, honour_key=False, token=TOKEN)
    words = "deploy run dep_demo --json --idempotency-key k --request-timeout"
    with Server(world).start() as server, breaking(server.port, fault) as port:
        # The clock of looks is not that of the network: what was sent must be there before it is looked for.
        for patience in ("1s" if fault.how == "stall" else "5s", "5s"):
            ran = online(words, patience, QODER_BASE_URL=f"http://127.0.0.1:{port}/api/v1/cloud")
            with world.lock:
                started = [run.id for run in world.started()]
            assert ran.code == 9 or started == ([ran.json["id"]] if ran.code == 0 else [])
    assert len(started) <= 1


def test_deploy_run_that_gets_no_connection_in_time_knows_that_nothing_was_started(
    online: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    is_over = threading.Event()
    monkeypatch.setattr(socket, "create_connection", lambda *words, **more: is_over.wait(PATIENCE))
    ran = online("deploy run dep_1 --request-timeout 0.05s", "--base-url", "http://127.0.0.1:1")
    is_over.set()
    assert (ran.code, "no complete response within" in ran.err) == (7, True)


# The client and its connections.


def client_of(url: str, *, transport: httpx.BaseTransport | None = None, err: io.BytesIO | None = None) -> Client:
    progress = Progress(Screen(err or io.BytesIO()), clock=Clock(), quiet=err is None)
    return Client(Settings(Found(url, "here"), token=TOKEN), clock=Clock(), progress=progress, transport=transport)


def test_client_that_outlives_its_command_asks_and_says_nothing() -> None:
    client = client_of("https://api.example", err=(written := io.BytesIO()))
    client.close()
    with pytest.raises(NoResponse) as caught:
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


def test_client_leaves_an_answer_that_drips_for_ever_with_its_connection() -> None:
    """Of a hundred that stayed open nothing more could be asked."""
    body, asked = _Dripping(), list[str]()

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.method)
        return httpx.Response(200, stream=body)

    transport = httpx.MockTransport(answer)
    while not asked:  # a busy machine may not begin in time
        with pytest.raises(NoResponse):
            client_of("https://api.example", transport=transport).get("/deployments", within=0.1, retry=False)
    assert body.closed.wait(PATIENCE)


def test_client_sends_no_write_over_a_connection_that_has_idled(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    monkeypatch.setattr("httpcore._sync.http11.time", clock)  # by which a connection idles for too long
    made: list[int] = []
    connect = socket.create_connection

    def noted(*words: Any, **more: Any) -> socket.socket:
        made.append(1)
        return connect(*words, **more)

    monkeypatch.setattr(socket, "create_connection", noted)
    with Server(World()).start() as server:
        client, connections = client_of(server.base_url), []
        for pause, method in ((0, "GET"), (1.2, "GET"), (0, "POST"), (0, "POST"), (1.2, "POST")):
            clock.sleep(pause)
            client.send(client.prepare(method, "/x"), PATIENCE)
            connections.append(len(made))
        client.close()
    assert connections == [1, 1, 2, 2, 3]  # a read may be asked again, so that it may use what idled
