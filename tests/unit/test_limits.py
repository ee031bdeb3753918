"""What is just within a limit is taken, and what is just beyond it is not; and words that are taken or refused."""

import io
import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from qoder_cli.base import ids, jsontext
from qoder_cli.base.credits import amount
from qoder_cli.base.errors import ApiError, NoResponse, QoderError, Unavailable
from qoder_cli.base.marks import KEY, has_room, is_ours
from qoder_cli.base.model import Run, says_whether_more
from qoder_cli.base.places import spelled
from qoder_cli.base.plainfile import read_checked, read_most
from qoder_cli.base.times import parse_duration, read_limits, utc_text
from qoder_cli.base.words import few
from qoder_cli.commands.session.new import repository
from qoder_cli.http import redact
from qoder_cli.http.answers import CLOCKS_DIFFER, Answer, broken, is_kept, no_response, refuse
from qoder_cli.http.client import Client, _decoded, _limited
from qoder_cli.http.pace import next_try
from qoder_cli.http.proxy import Proxy, goes_around, named
from qoder_cli.http.readback import ReadBack
from qoder_cli.http.write import Meaning, meaning_of
from qoder_cli.nouns import file as files
from qoder_cli.nouns import memory as memories
from qoder_cli.nouns import vault as secrets
from qoder_cli.nouns.agent import servers_typed
from qoder_cli.nouns.edits.create import contradicts
from qoder_cli.nouns.edits.difference import ABSENT, _by_line
from qoder_cli.nouns.schema import slip_of
from qoder_cli.output.progress import Progress
from qoder_cli.output.screen import Screen
from qoder_cli.runs.ending import timed_out
from qoder_cli.sessions.story import story_of
from qoder_cli.sessions.stream import Frame, frames
from qoder_cli.sessions.transcript import entry
from qoder_cli.settings.config import Found, Settings
from tests.conftest import TOKEN
from tests.support.wire import FakeClock, Wire, page

BUSY = Unavailable("busy").with_(retryable=True)
NOW = datetime(2026, 6, 14, tzinfo=UTC)
GOING = Run({"id": "drun_1", "status": "running"})


def client_of(wire: Wire, clock: FakeClock) -> Client:
    settings = Settings(Found("https://api.example", "here"), token=TOKEN)
    progress = Progress(Screen(io.BytesIO()), clock=clock, quiet=True)
    return Client(settings, clock=clock, progress=progress, transport=wire)


def refused(status: int, body: Any = None, **headers: str) -> ApiError:
    """Return the error that a response means, at 10 s by the server's clock."""
    settings, content = Settings(Found("https://api.example", "here"), token=TOKEN), jsontext.dump(body)
    sent = httpx.Headers({name.replace("_", "-"): text for name, text in headers.items()})
    with pytest.raises(ApiError) as caught:
        refuse(Answer(status, sent, b"", content, ""), settings, now=10.0, veil=lambda text: f"<{text}>")
    return caught.value


def is_read_on(rows: int, age: Callable[[int], int] = lambda n: n) -> bool:
    """Return whether a list is read on after so many rows of which most are from before a moment."""
    dated = [{"id": n, "created_at": utc_text(NOW - timedelta(seconds=age(n)))} for n in range(rows)]
    wire = Wire().on("GET", "*", {"data": dated, "next_page": "2"}).may("GET", "*", page())
    assert list(ReadBack(client_of(wire, FakeClock()), "/things").rows(NOW.timestamp)) == dated
    return len(wire.requests) == 2


def is_whole(pages: int, seconds: float = 0.0) -> bool:
    """Return whether a list of so many pages is read back to its end, if whoever reads takes so long for a row."""
    listed, clock = [{"data": [{"id": f"{n}"}], "next_page": f"{n}"} for n in range(1, pages)], FakeClock()
    reading = ReadBack(client_of(Wire().on("GET", "*", *listed, page()), clock), "/things")
    for _ in reading.rows(lambda: None):
        clock.time += seconds
    return reading.is_whole


def tells_the_time(took: float) -> bool:
    """Return whether a response that takes so many seconds is believed about the server's clock, after a quick one."""
    clock, wire = FakeClock(NOW.timestamp()), Wire()
    client = client_of(wire, clock)
    for seconds, date in ((0.0, "Sun, 14 Jun 2026 00:00:00 GMT"), (took, "Sun, 14 Jun 2026 01:00:00 GMT")):

        def answer(_: httpx.Request, seconds: float = seconds, date: str = date) -> httpx.Response:
            clock.time += seconds
            return httpx.Response(200, json={}, headers={"date": date})

        wire.on("GET", "*", answer)
        client.get("/things")
    return client.server_ahead != 0.0


def is_taken(take: Callable[[Any], object], word: Any) -> bool:
    """Return whether something is taken; what is not is refused, or nothing comes of it."""
    try:
        return bool(take(word))
    except (QoderError, OSError, ValueError):
        return False


def piped(data: bytes) -> bytes:
    """Return what is read of a pipe that holds this."""
    reader, writer = os.pipe()
    os.write(writer, data)
    os.close(writer)
    with open(reader, "rb") as file:
        return read_most(file, 9)


# What takes something, the last that it takes, and the first that it does not.
LIMITS: dict[str, tuple[Callable[[Any], object], Any, Any]] = {
    "characters of an id": (lambda n: ids.call("e" * n), 256, 257),
    "characters of a run's id": (lambda n: ids.run("drun_" + "e" * n), 251, 252),
    "characters of a call's id": (lambda n: ids.may_be_call("e" * n), 256, 257),
    "a duration": (lambda typed: parse_duration(typed, option="--timeout"), "366d", "366d1s"),
    "an interval": (lambda typed: read_limits(wait=True, timeout=None, interval=typed), "0.1", "0.09"),
    "levels of JSON": (lambda n: jsontext.parse("[" * n + "1" + "]" * n), 200, 201),
    "levels of JSON in objects": (lambda n: jsontext.parse('{"a":' * n + "1" + "}" * n), 200, 201),
    "levels of JSON beside others": (lambda n: jsontext.parse("[" * (n - 1) + "[],[]" + "]" * (n - 1)), 200, 201),
    "digits of a plain number": (lambda n: isinstance(jsontext.parse("1" * n), int), 18, 19),
    "when a run was made": (
        lambda at: Run({"id": "drun_1", "created_at": at}).created,
        "2020-01-01T00:00:00Z",
        "2019-12-31T23:59:59Z",
    ),
    "seconds from a run to an event before it": (
        lambda s: story_of(Run({"id": "drun_1", "triggered_at": utc_text(NOW)}), NOW.timestamp()).is_since(
            NOW.timestamp() - s
        ),
        5.0,
        5.1,
    ),
    "digits of credits": (lambda n: amount("9" * n), 40, 41),
    "places of credits": (lambda n: amount("0." + "1" * n), 40, 41),
    "other keys of metadata": (lambda n: has_room(dict.fromkeys(map(str, range(n)))), 15, 16),
    "bytes of a file's name": (lambda n: files.check_name("é" + "x" * (n - 2)), 255, 256),
    "bytes of standard input": (lambda n: read_checked("-", io.StringIO("x" * n), 2**20), 2**20, 2**20 + 1),
    "characters of a body": (lambda n: "…" not in redact.body(b"x" * n), 2000, 2001),
    "seconds from now to a run": (
        lambda s: (
            not story_of(
                Run({"id": "drun_1", "created_at": utc_text(NOW + timedelta(seconds=s))}), NOW.timestamp()
            ).is_since(0.0)
        ),
        86400,
        86401,
    ),
    "seconds from a date to a request": (
        lambda s: not is_kept(httpx.Headers({"date": "Sun, 14 Jun 2026 00:00:00 GMT"}), NOW.timestamp() + s),
        CLOCKS_DIFFER,
        CLOCKS_DIFFER + 1,
    ),
    "seconds of silence": (lambda s: "is still running" in str(timed_out("drun_1", GOING, None, s)), 60.0, 60.1),
    "names in a row": (lambda n: not few(["a"] * n, 2).endswith("more"), 2, 3),
    "letters of an odd field": (lambda n: "…" not in spelled((" " * n,)), 40, 41),
    "lines of a difference": (lambda n: "more lines" not in _by_line(ABSENT, "x\n" * n)[-1], 30, 31),
    "letters of a line": (lambda n: "…" not in _by_line(ABSENT, "x" * n)[-1], 999, 1000),
    "bytes of a frame": (lambda n: isinstance(next(frames([b"data:" + b"x" * n, b"\n\n"], limit=9)), Frame), 4, 5),
    "a pause that is asked for": (lambda s: next_try(BUSY.with_(retry_after=s), tries=1, spent=0, jitter=1), 60, 61),
    "a pause at the end": (lambda s: next_try(BUSY, tries=1, spent=s, jitter=1), 29.5, 29.6),
    "a long pause at the end": (lambda s: next_try(BUSY.with_(retry_after=60), tries=1, spent=s, jitter=1), 29.9, 30),
    "a pause that no hint names": (lambda s: "as the server" not in str(refused(429, retry_after=s).hint), "60", "61"),
    "seconds that may be asked for": (lambda s: refused(429, retry_after=s).retry_after, "31622400", "31622401"),
    "statuses of a server's problem": (lambda status: refused(status).retryable, 599, 600),
    "bytes of what comes": (lambda n: [*_limited(iter([b"x" * n]), 9, "too large")], 9, 10),
    "rows that do not yet show an order": (is_read_on, 7, 8),
    "pages that are read back": (is_whole, 29, 30),
    "seconds in which they are": (lambda s: is_whole(2, s), 45.0, 45.1),
    "seconds of a response that tells the time": (tells_the_time, 1.0, 1.1),
    "characters of a body that is looked through": (
        lambda n: "…" not in redact.body(b"pwd=" + b"x" * (n - 4)),
        20000,
        20001,
    ),
}


@pytest.mark.parametrize("what", LIMITS)
def test_limit_is_where_it_is_said_to_be(what: str) -> None:
    take, last, beyond = LIMITS[what]
    assert (is_taken(take, last), is_taken(take, beyond)) == (True, False)


# What takes words, those that it takes, and those that it refuses.
TAKEN: dict[str, tuple[Callable[[Any], object], list[Any], list[Any]]] = {
    "an MCP server of an agent": (
        lambda url: servers_typed([f"docs={url}"]),
        ["https://docs.example/mcp", "http://docs.example"],
        ["ftp://docs.example", "https://", "https://docs.example/a b", "https://[docs", "https://:x@docs.example"],
    ),
    "an MCP server of a credential": (
        secrets.server,
        ["https://docs.example/mcp", "http://127.0.0.1:8000/mcp"],
        ["http://docs.example", f"https://docs.example/{TOKEN}"],
    ),
    "a repository": (
        lambda typed: repository(typed, None),
        ["https://github.com/org/repo", "https://git.example/a@main:/data"],
        [
            *("https://github.com", "https://github.com/", "http://github.com/a/b", "github.com/a/b", "https:///a/b"),
            *("https://me@github.com/a/b", ""),
        ],
    ),
    "the path of a memory": (memories.checked, ["a.md", "/a/b.md"], ["", "/", "a\x07b", "a/../b", "a//b", TOKEN]),
    "an idempotency key": (
        lambda key: ids.check_key(key, ["s3cret"]) or key,
        ["night-2", "x" * 255],
        ["", "x" * 256, " x", "é", "a\x7f", "my-s3cret", "pt-0123456789abcdef"],
    ),
    "DEPLOYMENT@last": (ids.deployment_of, ["nightly@last", "a@b@last"], ["@last", "nightly@2", "last"]),
    "a deployment": (ids.is_deployment, ["nightly", "dep_1"], ["last", "@last", "nightly@last", "drun_1", "sess_1"]),
    "a pipe": (piped, [b"x"], [b""]),
    "JSON that names a field twice": (
        lambda written: jsontext.is_repeated(jsontext.parse(written, exact=True)),
        ['{"a": 1, "a": 2}', '[0, [{"a": 1, "a": 2}]]', '{"b": {"a": 1, "a": 2}}'],
        ['{"a": 1, "b": {"a": 2}}', "[0, 1]", '"ab"', "1", "null"],
    ),
    "the id of a call": (ids.may_be_call, ["evt_1"], ["evt/1", "-1", "12"]),
    "a call": (ids.call, ["evt_1", "5"], ["drun_1", " ", TOKEN, "a\x07"]),
    "a version of a memory": (ids.memory_version, ["memver_1", "5"], ["mem_1", "..", "a/b", "", TOKEN]),
    "a resource": (ids.resource, ["sesr_1", "5"], ["file_1", "..", "%2E%2E", "a/b", "", TOKEN]),
    "a file": (ids.file_id, ["file_1"], ["file_", "file_a/b", "drun_1", "a.md", f"file_{TOKEN}"]),
    "a run": (
        Run.read,
        [{"id": "drun_1"}, {"id": "run-9", "type": "deployment_run"}],
        [{"id": "", "type": "deployment_run"}, {"id": "drun/1"}, {"id": "dep_1", "type": "deployment"}, None],
    ),
    "the coding of a body": (
        lambda coding: not [*_decoded(httpx.Response(200, content=b"", headers={"content-encoding": coding}))],
        ["", "gzip", " GZIP ", "identity"],
        ["br", "zstd", "gzip, gzip", "gzip,"],
    ),
    "credits": (amount, ["1", 5, "1e39", " 2.50 "], ["1e40", "-1", "", "x", True, None, 1.5]),
    "our own key": (is_ours, ["qoder_key"], ["key", 5, None]),
    "room for our key": (lambda keys: has_room(dict.fromkeys(keys)), [[KEY, *range(15)]], [range(16)]),
    "a host around the proxy": (
        lambda host: goes_around(host, {"NO_PROXY": "one.example, .two.example,three.example:8000"}),
        ["one.example", "a.one.example", "a.two.example", "three.example:8000"],
        ["two.example.org", "anyone.example", "three.example:9000", ""],
    ),
    "all hosts around the proxy": (lambda host: goes_around(host, {"no_proxy": "*"}), ["one.example"], []),
    "rows in no order": (lambda rows: is_read_on(rows, lambda n: n ^ 1), [8, 99], []),
    "rows of one second": (lambda rows: is_read_on(rows, lambda n: 0), [8, 99], []),
    "a page that says whether more follows": (
        says_whether_more,
        [{"has_more": False}, {"next_page": None}, {"next_page": "2"}, {"has_more": True, "next_page": None}],
        [{}, {"has_more": 0}, {"has_more": None}, {"next_page": 0}, {"has_more": False, "next_page": 0}],
    ),
    "a rest that nobody has to look at": (
        lambda reason: "dim" in (entry({"type": "session.status_idle", "stop_reason": reason}) or ()),
        [None, {"type": "end_turn"}, "stop_sequence"],
        [{"type": "requires_action"}, "cancelled", 5],
    ),
    "a text that reads as JSON": (jsontext.reads_as_json, ["1", " null", '"a"', "[]"], ["a", "2 apples", "{", ""]),
    "what may have acted": (
        lambda error: meaning_of(error) is Meaning.LOST,
        [NoResponse("cut", http_status=400), Unavailable("busy")],
        [no_response("no connection", sent=False), Unavailable("busy", http_status=429)],
    ),
    "a slip of a word": (
        lambda word: slip_of(word, ("agent_toolset_20260401", "custom")),
        ["costum", "agent_tolset_20260401"],
        ["custom", "agent_toolset_20990101", "zzz"],
    ),
    # What can certainly not have been made of `sent`.
    "another value": (
        lambda pair: contradicts(*pair),
        [("b", "a"), ({"id": "b"}, "a"), ("b", {"id": "a"}), ({"id": "b", "n": "1"}, {"id": "a", "n": "1"}),
         ("x" * 63, "x" * 99), ("y" * 64, "x" * 99), ({"n": "1"}, {"n": "2"})],
        [("a", "a"), (" a/", "/a"), ("", "a"), (None, "a"), ("a", None), (5, "a"), ("a", 5), ({"id": "a"}, "a"),
         ("x" * 64, "x" * 99), ({"id": "a", "n": "1"}, {"id": "a", "n": "2"}), ({"n": "1"}, {"m": "2"})],
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", TAKEN)
def test_word_is_taken_or_refused(what: str) -> None:
    take, taken, refused = TAKEN[what]
    assert [word for word in taken if not is_taken(take, word)] == []
    assert [word for word in refused if is_taken(take, word)] == []


def test_pipe_that_fills_slowly_is_read_to_its_end() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"half, ")

    def rest() -> None:
        os.write(writer, b"and the rest")
        os.close(writer)

    later = threading.Timer(0.1, rest)
    later.start()
    assert read_checked(f"/dev/fd/{reader}", None, 99) == b"half, and the rest"
    later.join()
    os.close(reader)


def test_write_that_fails_means_what_its_status_says_if_the_api_itself_said_it() -> None:
    meant = {400: "REFUSED", 500: "FAILED", 503: "FAILED"}
    others = {304: "DOUBTFUL", 400: "DOUBTFUL", 408: "LOST", 429: "NOTHING", 499: "LOST", 500: "LOST", 502: "LOST"}
    for is_its, meanings in ((False, others | {503: "LOST", 504: "LOST"}), (True, others | {504: "LOST"} | meant)):
        errors = [Unavailable("", http_status=status).with_(enveloped=is_its) for status in meanings]
        assert [meaning_of(error).name for error in errors] == [*meanings.values()]


def test_client_sends_no_cookie_back() -> None:
    wire = Wire().on("GET", "*", httpx.Response(200, headers={"set-cookie": "a=b"}, json={}), {})
    client = client_of(wire, FakeClock())
    assert [client.get("/deployments") for _ in range(2)] == [{}, {}]
    assert "cookie" not in wire.requests[1].headers


def error_of(**fields: Any) -> dict[str, Any]:
    return {"type": "error", "error": fields}


NO, RETRY = {"retryable": False}, {"retryable": True}
LATER = "Thu, 01 Jan 1970 00:00:40 GMT"
# A response; the end of its error's message, words of the hint, and what else the error says.
MEANT: list[tuple[int, Any, dict[str, str], str, str, dict[str, Any]]] = [
    (302, None, {"location": "https://me:pw@b.example/x"}, ": <redirect to b.example>", "not followed", NO),
    (399, None, {"location": "https://[x"}, ": <redirect to an unknown place>", "not followed", NO),
    (302, error_of(message="Moved."), {}, ": <Moved.>", "not followed", NO),
    (401, None, {}, ": <no error message>", "was rejected", NO | {"enveloped": False}),
    (403, None, {}, "", "lacks permission", NO),
    (404, None, {}, "", "check the id", NO),
    (408, None, {}, "", "None", RETRY),
    (413, None, {}, "", "send less", NO),
    (429, None, {"retry_after": LATER}, "", "too many", RETRY | {"retry_after": 30}),
    *((429, None, {"retry_after": text}, "", "too many", {"retry_after": None}) for text in ("soon", "-1", "nan", "")),
    (429, None, {"retry_after": "0"}, "", "too many", {"retry_after": 0}),
    (501, None, {}, "", "this server cannot", NO),
    (400, error_of(message="Bad.", param="name"), {}, ": <Bad (field: name)>", "None", NO | {"enveloped": False}),
    (400, error_of(message="The name.", param="name"), {}, ": <The name.>", "", {}),
    (400, error_of(message="Bad.", param="n" * 300), {}, f": <Bad (field: {'n' * 200})>", "", {}),
    (400, {**error_of(type="x"), "request_id": "req_1"}, {}, "", "", {"enveloped": True, "request_id": "req_1"}),
    *(
        (400, {"error": {"type": "x"}}, {name: "r"}, "", "", {"enveloped": False, "request_id": "r"})
        for name in ("request_id", "x_request_id")
    ),
    (400, error_of(type="two words"), {}, "", "", {"enveloped": True, "api_type": "<two words>"}),
]


@pytest.mark.parametrize(("status", "body", "headers", "message", "hint", "says"), MEANT)
def test_response_means_what_its_status_and_envelope_say(
    status: int, body: Any, headers: dict[str, str], message: str, hint: str, says: dict[str, Any]
) -> None:
    error = refused(status, body, **headers)
    assert (error.message.endswith(message), hint in str(error.hint)) == (True, True), (error.message, error.hint)
    assert {name: getattr(error, name) for name in says} == says


PROXY, FIX = Proxy("http://me:pw@p.example", "HTTPS_PROXY"), "correct HTTPS_PROXY, or unset it"
THROUGH = "api.example through the proxy http://****@p.example (from HTTPS_PROXY)"
LOOK = "check the network and the base URL: qoder doctor"
UNSENT = (httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError, httpx.UnsupportedProtocol)
# What broke, on the way by which proxy, and the message and hint.
BROKEN: list[tuple[Exception, Proxy | None, str, str | None]] = [
    (httpx.ConnectError("[Errno 111] Refused."), None, "cannot connect to api.example: Refused", LOOK),
    (httpx.ConnectError("[Errno -2] Refused"), PROXY, f"cannot connect to {THROUGH}: Refused", FIX),
    *((kind(""), None, f"cannot connect to api.example: {kind.__name__}", LOOK) for kind in UNSENT),
    (httpx.ReadTimeout("slow"), PROXY, f"{THROUGH} did not respond in time", None),
    (httpx.ReadError("reset"), None, "the connection to api.example was lost (reset)", None),
    (httpx.ReadError(""), PROXY, f"the connection to {THROUGH} was lost (ReadError)", f"if this is the proxy, {FIX}"),
]


@pytest.mark.parametrize(("failure", "proxy", "message", "hint"), BROKEN)
def test_connection_that_breaks_says_where_and_whether_anything_was_sent(
    failure: Exception, proxy: Proxy | None, message: str, hint: str | None
) -> None:
    error = broken(failure, "api.example", proxy, veil=str)
    assert (error.message, error.hint, error.sent) == (message, hint, not message.startswith("cannot connect"))


def test_proxy_whose_scheme_is_left_out_is_met_by_http() -> None:
    urls = [Proxy(address, "HTTPS_PROXY").url for address in ("proxy.example:3128", "socks5://proxy.example")]
    assert urls == ["http://proxy.example:3128", "socks5://proxy.example"]


def test_proxy_is_that_of_the_scheme() -> None:
    env = {"HTTPS_PROXY": "https.example", "HTTP_PROXY": "http.example"}
    assert [named(env, scheme) for scheme in ("https", "http")] == [
        Proxy("https.example", "HTTPS_PROXY"),
        Proxy("http.example", "HTTP_PROXY"),
    ]
