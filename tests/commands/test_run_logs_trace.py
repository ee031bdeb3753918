"""`qoder run logs -o otlp` and `--otlp URL`: a run as a trace of OpenTelemetry."""

import json
from hashlib import sha256
from typing import Any

import httpx
import pytest

from qoder_cli.sandbox.world import World
from tests.conftest import Qoder
from tests.support.inprocess import WorldTransport
from tests.support.one_run import DONE
from tests.support.wire import page

pytestmark = pytest.mark.usefixtures("plain_http")

SESSION = {
    "id": "sess_1",
    "type": "session",
    "status": "idle",
    "agent": {"id": "agent_1", "name": "writer", "model": "auto"},
}
PLANTED = "planted-text"  # in every text of a session


def at(seconds: int) -> str:
    return f"2026-06-14T08:{54 + seconds // 60:02}:{seconds % 60:02}.123456789Z"


def spans_of(trace: Any) -> list[Any]:
    [of_resource] = trace["resourceSpans"]
    [of_scope] = of_resource["scopeSpans"]
    spans: list[Any] = of_scope["spans"]
    return spans


def attributes(span: Any) -> dict[str, Any]:
    return {item["key"]: next(iter(item["value"].values())) for item in span["attributes"]}


def traced(qoder: Qoder, events: list[Any], *words: str, **fields: Any) -> Any:
    """Return the trace of a run of which these are the events."""
    run = {**DONE, "id": "drun_1", "session_id": "sess_1", **fields}
    qoder.wire.may("GET", "/deployment_runs/drun_1", run)
    qoder.wire.may("GET", "/sessions/sess_1/events", page(*events))
    qoder.wire.may("GET", "/sessions/sess_1", SESSION)
    ran = qoder("run", "logs", "drun_1", "-o", "otlp", *words)
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


def happened(id: str, kind: str, second: int, **fields: Any) -> dict[str, Any]:
    return {"id": f"evt_{id}", "type": kind, "processed_at": at(second), **fields}


def called(id: str, second: int, kind: str = "agent.tool_use", **fields: Any) -> dict[str, Any]:
    return happened(id, kind, second, name="Bash", input={"x": PLANTED}, **fields)


SAID = [{"type": "text", "text": PLANTED}]
OF_HELPER = {"session_thread_id": "sthr_2", "agent_name": "helper"}
EVENTS = [
    happened("turn", "session.status_running", 0),
    happened("main", "session.thread_status_running", 0, session_thread_id="sthr_1"),
    happened("asked", "user.message", 0, content=f"Say {PLANTED}"),
    happened("request", "span.model_request_start", 1),
    happened("response", "span.model_request_end", 2, model_request_start_id="evt_request", is_error=True),
    called("call", 3),
    happened("allowed", "user.tool_confirmation", 4, tool_use_id="evt_call", result="allow"),
    happened("result", "agent.tool_result", 5, tool_use_id="evt_call", content=SAID),
    happened("helper", "session.thread_status_running", 6, **OF_HELPER),
    called("mcp", 7, "agent.mcp_tool_use", **OF_HELPER),
    happened("failed", "agent.mcp_tool_result", 8, mcp_tool_use_id="evt_mcp", is_error=True, **OF_HELPER),
    happened("rests", "session.thread_status_idle", 9, **OF_HELPER),
    happened("again", "session.thread_status_running", 10, **OF_HELPER),
    called("cut", 11, **OF_HELPER),
    called("own", 12, session_thread_id="sthr_1"),
    happened("said", "agent.message", 13, content=SAID),
    happened("idle", "session.status_idle", 14),
    happened("turn2", "session.status_running", 16),
    happened("idle2", "session.status_idle", 17),
]
# The spans: each with what it is in, its first and last second, and what is said of its end.
SPANS = [
    ("invoke_agent writer", None, 0, 18, ""),
    ("turn", "invoke_agent writer", 0, 14, ""),
    ("chat auto", "turn", 1, 2, "request_error"),
    ("evt_call", "turn", 3, 5, ""),
    ("invoke_agent helper", "turn", 6, 14, "unfinished"),
    ("evt_mcp", "invoke_agent helper", 7, 8, "tool_error"),
    ("evt_cut", "invoke_agent helper", 11, 14, "unfinished"),
    ("evt_own", "turn", 12, 14, "unfinished"),
    ("turn", "invoke_agent writer", 16, 17, ""),
]


def test_run_logs_traces_turns_sub_agents_requests_and_calls_with_their_times(qoder: Qoder) -> None:
    trace = traced(qoder, [*EVENTS, *EVENTS[2:9]], created_at=at(1), completed_at=at(18))
    shown, names = [], {None: None}
    for span in spans_of(trace):
        about = attributes(span)
        names[span["spanId"]] = name = about.get("gen_ai.tool.call.id", span["name"])
        assert ("gen_ai.tool.call.id" in about) == (span["name"] == "execute_tool Bash")
        times = [(int(span[f"{end}TimeUnixNano"]) - 1781427240123456789) / 10**9 for end in ("start", "end")]
        end = "unfinished" if about.get("qoder.unfinished") else about.get("error.type", "")
        shown.append((name, names[span.get("parentSpanId")], *times, end))
    assert shown == SPANS
    assert {span["traceId"] for span in spans_of(trace)} == {sha256(b"drun_1").hexdigest()[:32]}
    assert PLANTED not in json.dumps(trace)


def test_run_logs_has_texts_in_a_trace_only_where_they_are_wanted(qoder: Qoder) -> None:
    [run, call] = [attributes(span) for span in spans_of(traced(qoder, EVENTS, "--with-content"))][:4:3]
    [[asked], [said]] = [json.loads(run[f"gen_ai.{which}.messages"]) for which in ("input", "output")]
    assert asked == {"role": "user", "parts": [{"type": "text", "content": f"Say {PLANTED}"}]}
    assert said == {"role": "assistant", "parts": [{"type": "text", "content": PLANTED}]}
    assert call["gen_ai.tool.call.arguments"] == f'{{"x":"{PLANTED}"}}'
    assert call["gen_ai.tool.call.result"] == PLANTED


def test_run_logs_traces_a_failed_run_without_times(qoder: Qoder) -> None:
    events = [
        {"id": "evt_0", "type": "session.status_running"},
        {"id": "evt_1", "type": "agent.message", "content": "x"},
    ]
    run, turn = spans_of(traced(qoder, events))
    assert (run["startTimeUnixNano"] > "0", turn["startTimeUnixNano"]) == (True, run["startTimeUnixNano"])


@pytest.fixture
def received(qoder: Qoder, world: World) -> list[httpx.Request]:
    """Requests to the receiver `otel.example`, whose answer is in the variable ANSWER."""
    requests: list[httpx.Request] = []

    def lie(request: httpx.Request, true: Any) -> httpx.Response:
        if request.url.host != "otel.example":
            response: httpx.Response = true()
            return response
        requests.append(request)
        answer = qoder.env.get("ANSWER", "200")
        if answer == "hang":
            raise httpx.ReadTimeout("timed out")
        if answer == "unnamed":
            raise UnicodeError("label empty or too long")  # as `socket.getaddrinfo` does
        if answer[:1] in "\n{":
            return httpx.Response(200, text=answer)
        return httpx.Response(int(answer), json={}, headers={"location": "https://elsewhere.example/"})

    qoder.transport = WorldTransport(world, sleep=qoder.clock.sleep, lie=lie)
    return requests


def ended(qoder: Qoder, world: World) -> str:
    with world.lock:
        id = world.start("dep_demo", origin="other").id
    qoder.clock.sleep(60)
    return id


def test_run_logs_sends_a_trace(qoder: Qoder, world: World, received: list[httpx.Request]) -> None:
    qoder.env["OTEL_EXPORTER_OTLP_HEADERS"] = "api-key=abc, x-user=Basic%20abc%3D, content-type=text/plain,"
    ran = qoder("run", "logs", ended(qoder, world), "--otlp", "https://otel.example")
    [request] = received
    assert (ran.code, ran.out, str(request.url)) == (0, "", "https://otel.example/v1/traces")
    sent = [request.headers.get(name) for name in ("api-key", "x-user", "content-type", "authorization")]
    assert sent == ["abc", "Basic abc=", "application/json", None]
    count = len(spans_of(json.loads(request.content)))
    assert f"sent {count} spans of run " in ran.err
    assert "names, times and ids" in ran.err


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("400", 6),
        ("413", 6),
        ("302", 6),
        ("429", 7),
        ("503", 7),
        ("hang", 7),
        ("unnamed", 7),
        ('{"partialSuccess": "of none"}', 7),
        ('{"partialSuccess": {"rejectedSpans": "2"}}', 6),
        ('\n {"partialSuccess": {"rejectedSpans": 2, "errorMessage": "too old"}}', 6),
        ('{"partialSuccess": {"rejectedSpans": "\x1b[2J"}}', 7),
        ('{"partialSuccess": {', 7),
    ],
)
def test_run_logs_says_that_a_receiver_did_not_take_a_trace(
    qoder: Qoder, world: World, received: list[httpx.Request], answer: str, code: int
) -> None:
    qoder.env["ANSWER"] = answer
    ran = qoder("run", "logs", ended(qoder, world), "--otlp", "https://otel.example/custom")
    assert (ran.code, len(received), received[0].url.path) == (code, 1, "/custom")
    assert "otel.example" in ran.err


@pytest.mark.parametrize("model", ["auto", None])
def test_run_logs_traces_a_request_to_the_model_without_text(qoder: Qoder, model: str | None) -> None:
    begun = {"id": "evt_1", "type": "span.model_request_start", "processed_at": at(1)}
    ended = {"type": "span.model_request_end", "model_request_start_id": "evt_1", "is_error": True}
    qoder.wire.may("GET", "/sessions/sess_1", {**SESSION, "agent": {"name": "writer", "model": model}})
    events = [begun, {"id": "evt_2", **ended, "processed_at": at(2), "content": PLANTED}]
    request = spans_of(traced(qoder, events, "--with-content"))[1]
    assert (request["name"], request["kind"]) == (f"chat {model or ''}".strip(), 3)
    assert attributes(request)["error.type"] == "request_error"
    assert PLANTED not in json.dumps(request)


@pytest.mark.parametrize(("status", "is_unfinished", "code"), [("running", True, None), ("failed", False, 2)])
def test_run_logs_calls_the_trace_of_a_running_run_unfinished(
    qoder: Qoder, status: str, is_unfinished: bool, code: int | None
) -> None:
    events = [{"id": "evt_0", "type": "session.status_running", "processed_at": at(0)}]
    root, _ = spans_of(traced(qoder, events, status=status, completed_at=None, error=None))
    assert ("qoder.unfinished" in attributes(root), root.get("status", {}).get("code")) == (is_unfinished, code)


@pytest.mark.parametrize(
    "headers",
    ["api-key=word\x01", "api-key=w\u00f6rd", "a key=word", "word", "=word", "Content-Length=1", "transfer-encoding=x"],
)
def test_run_logs_refuses_headers_that_are_none_and_does_not_repeat_them(
    qoder: Qoder, world: World, received: list[httpx.Request], headers: str
) -> None:
    qoder.env["OTEL_EXPORTER_OTLP_HEADERS"] = headers
    ran = qoder("run", "logs", ended(qoder, world), "--otlp", "https://otel.example")
    assert (ran.code, received, "word" in ran.err) == (2, [], False)
    assert "OTEL_EXPORTER_OTLP_HEADERS" in ran.err
