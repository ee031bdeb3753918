"""`qoder api`: any operation, byte for byte; nothing is sent that was not meant, nothing twice that may not be."""

import json
import re
import signal
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qoder_cli.base import plainfile
from qoder_cli.base.errors import Signalled, UsageError
from qoder_cli.base.pool import Task
from qoder_cli.commands.api.request import read_target
from qoder_cli.http.redact import REDACTED
from qoder_cli.nouns.table import Operation, all_operations
from tests.conftest import TOKEN, Qoder, examples
from tests.support.desk import FAULTS
from tests.support.interrupting import interrupt
from tests.support.things import Things
from tests.support.wire import BASE, Unwritable, api_error, page

OPERATIONS = all_operations()
PAUSE = ("POST", "/deployments/dep_1/pause")
ODD = '{"a" : 1.10,\r\n "b":[ 1E400, -0 ], "c": "\u00e9\u202e" }\n'  # not as we would write it
BUSY = api_error(503, "api_error", "Busy.")


EVENTS = {"content-type": "text/event-stream"}
STREAM = "/sessions/sess_1/events/stream"
FRAMES = [b"id: evt_1\ndata: {}\n\n", b": heartbeat\r\n\r\n", "data: é\x1b[31m\n\n".encode()]


def event_stream(*frames: bytes) -> httpx.Response:
    return httpx.Response(200, headers=EVENTS, content=b"".join(frames))


def answered(
    content: bytes, kind: str = "application/json", status: int = 200, more: dict[str, str] | None = None
) -> httpx.Response:
    return httpx.Response(status, headers={"content-type": kind, **(more or {})}, content=content)


def sent(qoder: Qoder) -> httpx.Request:
    """The one request that was made."""
    (request,) = qoder.wire.requests
    return request


def filled(path: str) -> str:
    return re.sub(r"\{(\w+)\}", r"\1-1", path)


def body_words(operation: Operation, folder: Path) -> tuple[list[str], Any]:
    """Return the options that give each field of an operation's body, and the body that is to be sent."""
    files = [name for name in operation.body if name in ("file", "files[]")]
    if files:
        (folder / "notes.txt").write_text("some notes")
        others = [name for name in operation.body if name not in files]
        texts = [word for name in others for word in ("--form", f"{name}=of {name}")]
        return ["--form", f"{files[0]}=@{folder / 'notes.txt'}", *texts], None
    words: list[str] = []
    fields: dict[str, Any] = {}
    for number, name in enumerate(operation.body):
        fields[name] = {"of": [name, None, True]} if number % 2 else f"the {name}=é"
        words += ["-F", f"{name}={json.dumps(fields[name])}"] if number % 2 else ["-f", f"{name}={fields[name]}"]
    return words, fields


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
@pytest.mark.few(10)
def test_api_sends_what_every_operation_takes(qoder: Qoder, tmp_path: Path, operation: Operation) -> None:
    path = filled(operation.path)
    answer = {
        "stream": lambda: event_stream(b"id: evt_1\n", b"data: {}\n\n"),
        "binary": lambda: answered(b"PK\x03\x04\x00", "application/zip"),
    }.get(operation.kind, lambda: answered(ODD.encode()))()
    qoder.wire.on(operation.method, path, answer)
    query = [(name, f"{name} & more") for name in operation.query for _ in range(2 if name.endswith("[]") else 1)]
    words, fields = body_words(operation, tmp_path)
    options = [word for name, value in query for word in ("--query", f"{name}={value}")]

    ran = qoder("api", operation.method.lower(), path, *options, *words)

    request = sent(qoder)
    assert (ran.code, ran.out.encode()) == (0, answer.content)
    assert str(request.url).partition("?")[0] == BASE + path
    assert sorted(request.url.params.multi_items()) == sorted(query)
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    if operation.method != "POST":
        assert request.content == b""
    elif fields is None:
        assert b'filename="notes.txt"' in request.content
        assert b"some notes" in request.content
        assert all(f'name="{name}"'.encode() in request.content for name in operation.body)
        assert request.headers["content-type"].startswith("multipart/form-data; boundary=")
    else:
        assert json.loads(request.content) == fields
        assert request.headers["content-type"] == "application/json"
    accept = request.headers["accept"]
    assert accept.startswith("text/event-stream" if operation.kind == "stream" else "application/json")


def test_api_list_needs_no_token_and_asks_nobody(qoder: Qoder) -> None:
    del qoder.env["QODER_PAT"]
    ran = qoder("api", "--list")
    assert (ran.code, ran.err, len(ran.out.splitlines())) == (0, "", len(OPERATIONS))
    rows = [line.split("\t") for line in ran.out.splitlines()]
    path = "/deployments/{deployment_id}/run"
    assert ["POST", path, "deployments.run", "model", "-", "-", "qoder deploy run"] in rows
    (operation,) = qoder("api", "--list", "vaults.credentials.create", "--json").json
    assert (operation["required"], operation["command"]) == (["vault_id", "auth"], ["vault", "put"])


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        (["DEPLOYMENTS", "post", "pause"], ["deployments.pause", "deployments.unpause"]),
        (["events/stream"], ["sessions.events.stream"]),
        (["get", "{run_id}"], ["deployments.runs.retrieve"]),
        (["no", "such"], []),
    ],
)
def test_api_list_finds_what_has_every_word(qoder: Qoder, words: list[str], ids: list[str]) -> None:
    assert qoder("api", "--list", *words, "-q").out.splitlines() == ids
    ran = qoder("api", "--list", *words, "--json")
    assert [each["id"] for each in ran.json] == ids
    assert ("no endpoint matches" in ran.err) == (not ids)


OWN = "http://127.0.0.1:8080/gateway"


@pytest.mark.parametrize(
    ("base_url", "typed"),
    [
        *((BASE, path) for path in ("deployments/dep_1", "/deployments/dep_1/", "/v1/deployments/dep_1")),
        *((BASE, path) for path in ("/api/v1/cloud/deployments/dep_1", f"{BASE}/deployments/dep_1")),
        (BASE, "HTTPS://API.Qoder.com:443/api/v1/cloud/deployments/dep_1"),
        *((OWN, path) for path in ("/deployments/dep_1", "/gateway/deployments/dep_1", f"{OWN}/deployments/dep_1")),
    ],
)
def test_api_understands_a_path_as_every_page_writes_it(qoder: Qoder, base_url: str, typed: str) -> None:
    qoder.env["QODER_BASE_URL"] = base_url
    qoder.wire.on("GET", "*/deployments/dep_1", {"id": "dep_1"})
    assert qoder("api", "GET", typed).code == 0
    assert str(sent(qoder).url) == f"{base_url}/deployments/dep_1"


def test_api_joins_the_query_of_the_path_and_of_the_options(qoder: Qoder) -> None:
    qoder.wire.on("GET", "/sessions/s%2F1/events", page())
    typed = "/sessions/s%2F1/events?limit=5&types[]=a&x=&created_at%5Bgte%5D=2026-01-01T00:00:00%2B00:00"
    assert qoder("api", "GET", typed, "--query", "types[]=b=c", "--query", "order=").code == 0
    assert sorted(sent(qoder).url.params.multi_items()) == [
        ("created_at[gte]", "2026-01-01T00:00:00+00:00"),
        ("limit", "5"),
        ("order", ""),
        ("types[]", "a"),
        ("types[]", "b=c"),
        ("x", ""),
    ]


NOWHERE = [
    *("", "/", "/v1", "..", "/deployments/..", "/deployments/../agents", "/deployments/./x", "/deployments//x"),
    *("/deployments/%2e%2e/x", "/deployments/%252E%252e/x", "/deployments/..%2fx", "//evil.example/deployments"),
    *(f"https://{host}/api/v1/cloud/deployments" for host in ("evil.example", "api.qoder.com.evil.example")),
    *(f"https://{user}api.qoder.com/api/v1/cloud/deployments" for user in ("evil.example@", "user:secret@")),
    "https://api.qoder.com@evil.example/api/v1/cloud/deployments",
    "http://api.qoder.com/api/v1/cloud/deployments",
    "https://api.qoder.com/api/v1/cloud/../forward/x",
    "https://api.qoder.com/api/v1/cloud",
    "ftp://api.qoder.com/api/v1/cloud/deployments",
    *("file:///etc/passwd", "evil.example/deployments", "localhost:8080/deployments", "@evil.example/x"),
    *("/api/v1/forward/x", "/deployments/{id}", "/deployments/{deployment_id}/runs", "/deployments/<id>"),
    *("/deployments/dep_…", "/deployments/%7Bid%7D", "/deployments/dep_1#part", "/deployments/dep 1"),
    *("/deployments/dep_1\n", "/deployments/dep_1%0a", "/deployments/\x1b[31m"),
    *("/deployments\\..\\x", "/deployments/%5c..%5cx", "/deployments/50%", "/deployments/%zz"),
    *("/deployments?name=%ff", "/deployments/" + "x" * 9000),
]


@pytest.mark.parametrize("typed", NOWHERE)
@pytest.mark.few(14)
def test_api_never_asks_a_path_that_leads_elsewhere_or_nowhere(qoder: Qoder, typed: str) -> None:
    for method in ("GET", "POST"):
        ran = qoder("api", method, typed, "--json")
        assert (ran.code, ran.out, qoder.wire.requests) == (2, "", [])
        assert ran.error["hint"]
        assert "secret" not in ran.err
        if "{" in typed:
            assert "PATH contains {" in ran.error["message"]
            assert "replace {…} by an id" in ran.error["hint"]


PIECES = [
    *("..", ".", "/", "//", "%2e", "%252e", "%2f", "\\", "@", ":", "?", "#", "%", "é", "[", "&", "=", "+", ";", "\x00"),
    *("https://", "http:", "evil.example", "127.0.0.1", "api.qoder.com", "deployments", "v1", "api", "cloud", "dep_1"),
]


@examples(Fraction(2, 3))
@given(st.text() | st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
@example(f"{BASE}/deployments/dep_1?x=1")
def test_api_stays_below_the_base_url_whatever_is_typed(typed: str) -> None:
    try:
        path, params = read_target(typed, base_url=BASE)
    except UsageError:
        return
    url = httpx.URL(BASE + path, params=params or None)
    assert (url.scheme, url.host, url.port, url.userinfo) == ("https", "api.qoder.com", None, b"")
    assert url.raw_path.startswith(b"/api/v1/cloud/")
    assert not {b"..", b"."} & set(url.raw_path.partition(b"?")[0].split(b"/"))
    assert url.params.multi_items() == [(name, value) for name in params for value in params[name]]


@pytest.mark.parametrize(
    ("words", "body"),
    [
        (["-f", "a=1", "-F", "b=1"], '{"a":"1","b":1}'),
        (["-f", "a=x=y", "-f", "b=@file"], '{"a":"x=y","b":"@file"}'),
        (["-f", "metadata[team]=web", "-f", "metadata[x y]=z"], '{"metadata":{"team":"web","x y":"z"}}'),
        (["-F", 'metadata={"a":"b"}', "-F", "metadata[old]=null"], '{"metadata":{"a":"b","old":null}}'),
        (["-f", "vault_ids[]=v_1", "-f", "vault_ids[]=v_2"], '{"vault_ids":["v_1","v_2"]}'),
        (["-f", "a[b][c][]=x"], '{"a":{"b":{"c":["x"]}}}'),
        (["-F", "a=1.10", "-F", "b=[1E400]"], '{"a":1.10,"b":[1E400]}'),
    ],
    ids=" ".join,
)
def test_api_makes_a_body_of_fields(qoder: Qoder, words: list[str], body: str) -> None:
    qoder.wire.on("POST", "/deployments", {})
    assert qoder("api", "POST", "/deployments", *words).code == 0
    assert sent(qoder).content.decode() == body


HEADERS = [
    *("Authorization: Bearer hunter2", "AUTHORIZATION:x", "Proxy-Authorization: x", "x-api-key: x", "Cookie: a=b"),
    *("Host: evil.example", "Content-Length: 0", "Transfer-Encoding: chunked", "Connection: close", "Upgrade: h2c"),
    *("Idempotency-Key: k", "qoder-workspace-id: ws", "no-colon", ": x", "a b: c", "x: a\r\ny: b", "x: a\nb"),
    *("X-HTTP-Method-Override: DELETE", "x-http-method: POST", "X-Method-Override:PUT"),
    *("x: \x00", "x: é", "é: x", "x: " + "y" * 9000, ""),
]


@pytest.mark.parametrize(
    "words",
    [
        *(["GET", "--header", header] for header in HEADERS),  # which are not one's own to set
        *(["POST", "-f", field] for field in ("name", "=x", "a[=1", "[a]=1", "a[][b]=1")),
        *(["POST", "-F", f"name{value}"] for value in ("", "=nightly", "=NaN", "=" + "[" * 1000)),
        ["POST", "-f", "a=1", "-f", "a=2"],
        ["POST", "-f", "a=1", "-f", "a[b]=2"],
        ["POST", "-f", "a[b]=1", "-f", "a[]=2"],
        ["POST", "-f", "a=b", "--input", "-"],
        ["POST", "-F", "a=1", "--form", "file=@x"],
        ["POST", "--input", "-", "--form", "file=@x"],
        *(["POST", "--input", name] for name in ("missing.json", ".", "", "nul\0")),
        *(["POST", "--form", typed] for typed in ("file", "=@x", "file=@missing", "file=@", "name=only texts")),
        ["POST", "--form", f"file=@{__file__}", "--header", "Content-Type: text/plain"],
        ["POST", "--idempotency-key", "a\nb"],
        ["POST", "--paginate"],
        ["GET", "-f", "limit=5"],
        ["GET", "--input", "-"],
        ["GET", "--idempotency-key", "k"],
        ["GET", "--paginate", "--include"],
        *(["GET", "--query", typed] for typed in ("limit", "=5", "", 'a="\udcff"')),
        *(["POST", option, 'a="\udcff"'] for option in ("-f", "-F", "--form")),  # bytes that are no UTF-8
        ["DELETE", "-F", "force=true"],
    ],
)
@pytest.mark.few(32)
def test_api_refuses_options_that_cannot_be_meant(qoder: Qoder, words: list[str]) -> None:
    method, *options = words
    ran = qoder("api", method, "/deployments", *options, "--json")
    assert (ran.code, ran.out, bool(ran.error["hint"]), "hunter2" in ran.err) == (2, "", True, False)


def test_api_sends_a_file_and_stdin_byte_for_byte(qoder: Qoder, tmp_path: Path) -> None:
    (tmp_path / "body.json").write_bytes(ODD.encode())
    qoder.stdin = ODD
    for source in (str(tmp_path / "body.json"), "-"):
        qoder.wire.on("POST", "/deployments", {})
        assert qoder("api", "POST", "/deployments", "--input", source).code == 0
    assert [request.content for request in qoder.wire.requests] == [ODD.encode()] * 2


@pytest.mark.parametrize(
    "content", [b"", b"{", b"name: nightly", b"{} {}", b'{"a":NaN}', b"\xff\xfe{\x00}\x00", b"[" * 999]
)
def test_api_sends_no_file_that_is_no_json(qoder: Qoder, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "body.json").write_bytes(content)
    ran = qoder("api", "POST", "/deployments", "--input", str(tmp_path / "body.json"))
    assert (ran.code, ran.out) == (2, "")
    assert "is not JSON" in ran.errors[0]


def test_api_reads_no_endless_body_to_its_end(qoder: Qoder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(plainfile, "LARGEST_BODY", 2**20)
    (tmp_path / "large").write_bytes(b"1" * (2**20 + 1))
    qoder.stdin = "1" * (2**20 + 1)
    for source in ("-", str(tmp_path / "large")):
        assert "is larger than 1 MiB" in qoder("api", "POST", "/deployments", "--input", source).err


def test_api_form_keeps_the_paths_of_files(qoder: Qoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "skill").mkdir()
    (tmp_path / "skill" / "SKILL.md").write_bytes(b"\xff\x00")
    qoder.wire.on("POST", "/skills", {"id": "skill_1"})
    words = ["--form", "files[]=@skill/SKILL.md", "--form", "files[]=@skill/../skill/SKILL.md", "--debug"]
    ran = qoder("api", "POST", "/skills", *words)
    assert ran.code == 0
    content = sent(qoder).content
    assert re.findall(rb'filename="(.*?)"', content) == [b"skill/SKILL.md", b"SKILL.md"]
    assert content.count(b"\xff\x00") == 2
    assert f"({len(content)} bytes of multipart/form-data" in ran.err


def test_api_sends_headers(qoder: Qoder) -> None:
    qoder.wire.on("GET", "/environments/env_1/work/poll", (204, ""))
    words = ["--header", "Worker-ID: w 1", "--header", "x-qoder-beta:a,b", "--workspace", "ws_1"]
    ran = qoder("api", "GET", "/environments/env_1/work/poll", *words)
    assert (ran.code, ran.out) == (0, "")
    request = sent(qoder)
    assert (request.headers["worker-id"], request.headers["x-qoder-beta"]) == ("w 1", "a,b")
    assert request.headers["qoder-workspace-id"] == "ws_1"


# Answers.


LINK = b'{"url":"https://files.example/x?Signature=abc","expires_at":"2026-01-01T00:00:00Z"}'


@pytest.mark.parametrize("options", [[], ["--json"]], ids=" ".join)
@pytest.mark.parametrize("answer", [answered(LINK), answered(b"", "text/html", 202, {"content-length": "0"})])
def test_api_prints_an_answer_byte_for_byte(qoder: Qoder, answer: httpx.Response, options: list[str]) -> None:
    qoder.wire.on("GET", "/deployments/dep_1", answer)
    ran = qoder("api", "GET", "/deployments/dep_1", *options)
    assert (ran.code, ran.out.encode()) == (0, answer.content)


@pytest.mark.parametrize("answer", [answered(b"OK", "text/plain"), httpx.Response(200, stream=httpx.ByteStream(b""))])
def test_api_prints_nothing_that_is_not_the_apis_answer(qoder: Qoder, answer: Any) -> None:
    qoder.wire.on("GET", "/deployments", answer, repeat=True)
    ran = qoder("api", "GET", "/deployments", "--json")
    assert (ran.code, ran.out, ran.error["type"]) == (7, "", "unavailable")


def test_api_explains_a_path_that_nobody_knows(qoder: Qoder) -> None:
    missing = api_error(404, "not_found_error", "Not found.")
    qoder.wire.on("GET", "/deployment", missing).on("GET", "/deployments/dep_1", missing)
    qoder.wire.on("PUT", "/deployments/dep_1", api_error(405, "invalid_request_error", "No."))
    listed = "is not documented for this path; to list the operations: qoder api --list"
    assert f"GET {listed}" in qoder("api", "GET", "deployment").err
    assert "check the id and the profile (default)" in qoder("api", "GET", "deployments/dep_1").err
    assert f"PUT {listed}" in qoder("api", "PUT", "deployments/dep_1").err


@pytest.mark.parametrize(
    ("answer", "status", "code"), [(answered(b"{}"), "200 OK", 0), (answered(LINK, status=409), "409 Conflict", 6)]
)
def test_api_include_prints_head_and_body_of_an_error(qoder: Qoder, answer: Any, status: str, code: int) -> None:
    answer.headers.update({"x-request-id": "req_7", "set-cookie": "session=hunter2", "x-evil": "\x1b[31m", "x": TOKEN})
    if code:
        answer = httpx.Response(409, headers=answer.headers, json=api_error(409, "conflict_error", "Paused.")[1])
    qoder.wire.on("POST", "/deployments", answer)
    ran = qoder("api", "POST", "/deployments", "-i")
    head, _, content = ran.out.partition("\n\n")
    assert (ran.code, head.splitlines()[0], content.encode()) == (code, f"HTTP/1.1 {status}", answer.content)
    assert "x-request-id: req_7" in head
    assert "set-cookie: [redacted]" in head
    assert "x: [redacted]" in head
    assert "\x1b" not in head


@pytest.mark.parametrize(
    ("answer", "out", "lacking"),
    [
        (page({"id": "a"}, {"id": "b"}, {"name": "none"}), "a\nb\n", "1 of 3"),
        ([{"id": "a"}, {"id": "b"}], "a\nb\n", None),
        ({"id": "a"}, "a\n", None),
        ((204, ""), "", None),
        ([], "", None),
        ([{"id": "a"}, 5], "a\n", "1 of 2"),
        ({"data": {"id": "within"}}, "", "1 of 1"),
        (httpx.Response(200, text="plain text"), "", "1 of 1"),
    ],
)
def test_api_q_prints_ids_and_says_where_none_is(qoder: Qoder, answer: Any, out: str, lacking: str | None) -> None:
    qoder.wire.on("GET", "/search", answer)
    ran = qoder("api", "GET", "/search", "-q")
    assert (ran.code, ran.out) == (0, out)
    assert ran.err == (f"warning: {lacking} in the response have no id, and -q prints only ids\n" if lacking else "")


@pytest.mark.parametrize(
    ("answer", "out", "warned"),
    [
        (
            answered('{"id":"dep_1","name":"\x9b31m\u202e", "n": 1.10}'.encode()),
            '{\n  "id": "dep_1",\n  "name": "\\u009b31m\\u202e",\n  "n": 1.10\n}\n',
            "",
        ),
        (answered(b"a\x1b]0;owned\x07\tb\r\nc", "text/plain"), "a\\u001b]0;owned\\u0007\tb\nc\n", ""),
        (answered(b"PK\xff\xfe", "application/zip"), "", "4 bytes of application/zip, which a terminal cannot show"),
        ((204, ""), "", ""),
    ],
    ids=["json", "text", "zip", "nothing"],
)
def test_api_prints_nothing_raw_to_a_terminal(qoder: Qoder, answer: Any, out: str, warned: str) -> None:
    qoder.terminal = True
    qoder.wire.on("GET", "/skills/skill_1/versions/1/content", answer)
    ran = qoder("api", "GET", "/skills/skill_1/versions/1/content")
    assert (ran.code, ran.out) == (0, out)
    assert warned in ran.err
    qoder.wire.on("GET", STREAM, event_stream(*FRAMES))
    assert qoder("api", "GET", STREAM).out == "id: evt_1\ndata: {}\n\n: heartbeat\n\ndata: é\\u001b[31m\n\n"


BY_PAGE = [
    {**page({"id": "a"}, more=True), "next_page": "p2"},
    {**page(more=True), "next_page": "p3"},
    {**page({"id": "b"}), "next_page": None},
]
BY_ID = [page({"id": "a"}, more=True), page({"id": "b"})]


@pytest.mark.parametrize(
    ("pages", "cursors"),
    [(BY_PAGE, [("page", "p2"), ("page", "p3")]), (BY_ID, [("after_id", "a")]), ([page()], [])],
    ids=["current", "legacy", "empty"],
)
def test_api_paginate_makes_one_array(qoder: Qoder, pages: list[Any], cursors: list[tuple[str, str]]) -> None:
    qoder.wire.on("GET", "/deployment_runs", *pages)
    ran = qoder("api", "GET", "/v1/deployment_runs?has_error=true", "--paginate")
    assert (ran.code, ran.json) == (0, [{"id": "a"}, {"id": "b"}] if cursors else [])
    queries = [dict(request.url.params) for request in qoder.wire.requests]
    shared = {"limit": "100", "has_error": "true"}
    assert queries == [shared, *({**shared, name: value} for name, value in cursors)]


def test_api_paginate_prints_items_one_a_line_and_as_they_are(qoder: Qoder) -> None:
    qoder.wire.on("GET", "/models", answered(b'{"data":[{"id":"auto","price_factor":1.10},7,null],"has_more":false}'))
    ran = qoder("api", "GET", "models", "--paginate", "-o", "jsonl")
    assert ran.out == '{"id":"auto","price_factor":1.10}\n7\nnull\n'


@pytest.mark.parametrize(
    ("second", "code"),
    [
        (api_error(404, "not_found_error", "Gone."), 5),
        ({**page({"id": "c"}, more=True), "next_page": "p2"}, 7),
        ({"id": "no page"}, 7),
    ],
)
def test_api_paginate_leaves_the_array_open_where_the_list_breaks_off(qoder: Qoder, second: Any, code: int) -> None:
    qoder.wire.on("GET", "/deployments", BY_PAGE[0], second)
    ran = qoder("api", "GET", "/deployments", "--paginate")
    assert ran.code == code
    assert not ran.out.endswith("]\n")
    with pytest.raises(ValueError, match="delimiter"):
        json.loads(ran.out)


@pytest.mark.parametrize(
    ("answer", "told"),
    [({"id": "x_1"}, "to see the response: qoder api GET /search"), ((204, ""), "the response is empty")],
    ids=["no list", "nothing"],
)
def test_api_paginate_exits_7_at_what_turns_out_to_be_no_list(qoder: Qoder, answer: Any, told: str) -> None:
    qoder.wire.on("GET", "/search", answer)
    ran = qoder("api", "GET", "/search", "--paginate", "--json")
    assert (ran.code, ran.out, told in ran.err) == (7, "", True)


@pytest.mark.parametrize("cursor", ["before_id", "before", "after"])
def test_api_paginate_takes_no_cursor_beside_its_own(qoder: Qoder, cursor: str) -> None:
    for words in (["/deployments", "--query", f"{cursor}=dep_9"], [f"/deployments?limit=5&{cursor}=dep_9"]):
        ran = qoder("api", "GET", *words, "--paginate", "--json")
        assert (ran.code, ran.out, f"{cursor} in the query" in ran.error["message"]) == (2, "", True)
        assert "remove --paginate to read one page" in ran.error["hint"]
    qoder.wire.on("GET", "/deployments", page({"id": "dep_1"}))
    assert qoder("api", "GET", "/deployments", "--query", f"{cursor}=dep_9", "-q").out == "dep_1\n"


@pytest.mark.parametrize("pages", [BY_PAGE, BY_ID], ids=["current", "legacy"])
@pytest.mark.parametrize("cursor", ["after_id", "page"])
def test_api_paginate_begins_anywhere(qoder: Qoder, pages: list[Any], cursor: str) -> None:
    qoder.wire.on("GET", "/deployments", *pages)
    assert qoder("api", "GET", "/deployments", "--query", f"{cursor}=x", "--paginate", "-q").out == "a\nb\n"
    cursors = [{"page", "after_id"} & {*request.url.params} for request in qoder.wire.requests]
    assert [len(names) for names in cursors] == [1] * len(pages)


@pytest.mark.parametrize(
    ("path", "words", "head"),
    [
        (f"{STREAM}?event_deltas[]=agent.message", ["--header", "Last-Event-ID: evt_0"], None),
        ("/sessions/sess_1/events", ["--header", "Accept: text/event-stream", "--include"], "HTTP/1.1 200 OK"),
    ],
)
def test_api_prints_a_stream_byte_for_byte(qoder: Qoder, path: str, words: list[str], head: str | None) -> None:
    qoder.wire.on("GET", path.partition("?")[0], event_stream(*FRAMES))
    ran = qoder("api", "GET", path, *words)
    before, _, content = ran.out.partition("\n\n") if head else ("", "", ran.out)
    assert (ran.code, content.encode()) == (0, b"".join(FRAMES))
    assert before.startswith(head or "")
    if not head:
        assert sent(qoder).headers["last-event-id"] == "evt_0"
        assert sent(qoder).extensions["timeout"] == {"connect": 10.0, "read": 75.0, "write": 75.0, "pool": 75.0}
        assert dict(sent(qoder).url.params) == {"event_deltas[]": "agent.message"}


def breaking() -> Iterator[bytes]:
    yield FRAMES[0]
    raise httpx.ReadError("reset")


@pytest.mark.parametrize(
    ("answer", "code", "out"),
    [
        (api_error(404, "not_found_error", "Gone."), 5, b""),
        (answered(b"{}"), 7, b""),
        (lambda request: httpx.Response(200, headers=EVENTS, content=breaking()), 7, FRAMES[0]),
    ],
    ids=["not found", "no stream", "broken off"],
)
def test_api_exits_5_or_7_where_a_stream_breaks_off(qoder: Qoder, answer: Any, code: int, out: bytes) -> None:
    qoder.wire.on("GET", STREAM, answer, repeat=True)
    ran = qoder("api", "GET", STREAM)
    assert (ran.code, ran.out.encode()) == (code, out)


def test_api_prints_no_token_of_a_stream_wherever_it_is_cut(qoder: Qoder) -> None:
    parts = (b"data: ", TOKEN[:5].encode(), TOKEN[5:].encode(), b"\n\n", TOKEN[:9].encode())
    qoder.wire.on("GET", STREAM, httpx.Response(200, headers=EVENTS, content=iter(parts)))
    assert qoder("api", "GET", STREAM).out == f"data: {REDACTED}\n\n{TOKEN[:9]}"


# Writes.


@pytest.mark.parametrize("key", [None, "k-1"])
def test_api_says_first_what_it_writes_where(qoder: Qoder, key: str | None) -> None:
    qoder.wire.on(*PAUSE, {})
    ran = qoder("api", *PAUSE, *(["--idempotency-key", key] if key else []))
    told = ran.err.splitlines()[0]
    assert told.startswith("POST /deployments/dep_1/pause")
    assert ("with the key k-1" in told) == (key is not None)
    assert sent(qoder).headers.get("idempotency-key") == key


# What else becomes of a write is a clause of the contract: tests/contract/test_servers.py.
LOST: list[tuple[Any, int]] = [
    *((httpx.ReadTimeout("slow"), 9), (httpx.ConnectError("refused"), 7), (BUSY, 9), ((302, ""), 9)),
    (api_error(408, "timeout_error", "Late."), 9),
    (httpx.Response(409, json=api_error(409, "conflict_error", "Paused.")[1], headers={"age": "60"}), 6),
    (api_error(499, "odd_error", "Gone."), 9),
]


@pytest.mark.parametrize(("answer", "code"), LOST)
def test_api_never_sends_a_write_again_by_itself(qoder: Qoder, answer: Any, code: int) -> None:
    qoder.wire.on(*PAUSE, answer)
    ran = qoder("api", *PAUSE, "--json")
    assert (ran.code, ran.out, len(qoder.wire.requests)) == (code, "", 1)
    if code == 9:
        assert ran.error["message"].startswith("unknown whether POST /deployments/dep_1/pause was done: ")
        assert ran.error["next"] == ["qoder", "api", "GET", "/deployments/dep_1", "-o", "json"]
        assert ran.error["run_state"] == "unknown"


@pytest.mark.parametrize(
    ("answers", "code"),
    [
        *(
            ([first, {}], 0)
            for first in (httpx.ReadTimeout("slow"), BUSY, (502, "<html>"), httpx.ConnectError("refused"))
        ),
        ([BUSY] * 5, 9),
        ([httpx.ConnectError("refused")] * 5, 7),
        ([BUSY, httpx.ConnectError("refused"), api_error(409, "conflict_error", "Paused.")], 9),
        ([api_error(429, "rate_limit_error", "Slow."), api_error(404, "not_found_error", "Gone.")], 5),
    ],
)
def test_api_under_a_key_resends_a_write_and_counts_every_attempt(qoder: Qoder, answers: list[Any], code: int) -> None:
    qoder.wire.on(*PAUSE, *answers)
    ran = qoder("api", *PAUSE, "--idempotency-key", "k-1")
    assert ran.code == code
    assert "retrying in" in ran.err or "sending it again in" in ran.err
    assert {request.headers["idempotency-key"] for request in qoder.wire.requests} == {"k-1"}


@pytest.mark.parametrize("times", ["", "*inf"])
@pytest.mark.parametrize("fault", [*FAULTS, "429=3600"])
@pytest.mark.few(7)
def test_api_says_only_what_is_true_of_a_write_under_a_key(qoder: Qoder, fault: str, times: str) -> None:
    world = Things(qoder, "current", f"trigger:{fault}{times}").world
    world.honour_key = False
    ran = qoder("api", "POST", "/deployments/dep_demo/run", "--json", "--idempotency-key", "k-1")
    qoder.clock.sleep(60)
    world.settle()
    started = len(world.started())
    if ran.code == 0:
        assert (started, ran.out != "") == (1, True)
    elif ran.code != 9:
        assert (ran.code in (4, 5, 6, 7), started, ran.out) == (True, 0, "")
    assert started <= 1


@pytest.mark.parametrize(
    ("late", "kind"),
    [
        ((200, {"id": "dep_1"}), "interrupted"),
        (api_error(409, "conflict_error", "Paused."), "interrupted"),
        (api_error(429, "rate_limit_error", "Slow down."), "interrupted"),
        ((502, "<html>"), "outcome_unknown"),
    ],
)
def test_api_says_all_it_knows_at_a_signal(qoder: Qoder, monkeypatch: pytest.MonkeyPatch, late: Any, kind: str) -> None:
    wait, waits = Task.wait, []

    def interrupted(pending: Task[Any], within: float) -> Any:
        waits.append(within)
        if len(waits) == 1:
            raise Signalled(signal.SIGINT)
        return wait(pending, within)

    monkeypatch.setattr(Task, "wait", interrupted)
    qoder.wire.on(*PAUSE, late)
    ran = qoder("api", *PAUSE, "--json")
    assert (ran.code, ran.error["type"], waits) == (130, kind, [60.0, 2.0])
    assert "waiting up to 2 s for the response" in ran.err
    assert (ran.out != "") == ("is done (HTTP" in ran.error["message"])
    if kind == "outcome_unknown":
        assert ran.error["next"][:4] == ["qoder", "api", "GET", "/deployments/dep_1"]
    else:
        assert re.search("is done|nothing was started", ran.error["message"])


def test_api_says_what_is_known_at_a_signal_between_two_attempts(qoder: Qoder) -> None:
    qoder.clock.at_sleep = interrupt
    qoder.wire.on(*PAUSE, BUSY)
    ran = qoder("api", *PAUSE, "--idempotency-key", "k", "--json")
    assert (ran.code, ran.error["type"]) == (130, "outcome_unknown")
    qoder.wire.on(*PAUSE, httpx.ConnectError("refused"))
    ran = qoder("api", *PAUSE, "--idempotency-key", "k", "--json")
    assert (ran.code, ran.error["message"]) == (130, "interrupted; nothing was started")


@pytest.mark.parametrize(
    ("words", "answer", "error", "code", "said"),
    [
        (PAUSE, (200, {}), Signalled(signal.SIGTERM), 143, "POST /deployments/dep_1/pause is done (HTTP"),
        (("GET", "/x"), (200, {}), Signalled(signal.SIGTERM), 143, "nothing was started"),
        (PAUSE, (201, {}), OSError("no space"), 70, "pause is done (HTTP 201); do not repeat it"),
        (("GET", "/x"), (200, {}), OSError("no space"), 70, "no space"),
        ((*PAUSE, "--include"), (201, {}), OSError("no space"), 70, "pause is done (HTTP 201); do not repeat it"),
        ((*PAUSE, "--include"), api_error(409, "conflict_error", "Paused."), OSError("no space"), 6, "Paused."),
        ((*PAUSE, "--include"), BUSY, OSError("no space"), 9, "unknown whether"),
    ],
)
def test_api_tells_what_became_of_a_write_that_cannot_be_printed(
    qoder: Qoder, words: tuple[str, ...], answer: Any, error: BaseException, code: int, said: str
) -> None:
    qoder.wire.on(words[0], words[1], answer)
    qoder.out = Unwritable(error)
    ran = qoder("api", *words, "--json")
    assert (ran.code, said in ran.error["message"]) == (code, True)
    assert words[0] == "POST" or "GET" not in ran.error["message"]
