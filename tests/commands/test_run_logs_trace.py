"""`qoder run logs -o otlp` and `--otlp URL`: a run as a trace of OpenTelemetry."""

import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qoder_cli.sandbox.wire import GENERATIONS, Generation
from qoder_cli.sandbox.world import World
from tests.conftest import TOKEN, Qoder, examples
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


KINDS = {
    "agent.tool_use": ("agent.tool_result", "tool_use_id"),
    "agent.mcp_tool_use": ("agent.mcp_tool_result", "mcp_tool_use_id"),
}


@st.composite
def sessions(draw: st.DrawFn) -> tuple[list[Any], dict[str, tuple[str, str | None]]]:
    """Draw the events of a session in their order, and of each call its times: when it began, and ended if it did."""
    events: list[Any] = [{"id": "evt_0", "type": "session.status_running", "processed_at": at(0)}]
    calls: dict[str, tuple[str, str | None]] = {}
    second = 0
    for number in range(draw(st.integers(0, 5))):
        begun, ended = at(second + 1), at(second + 2) if draw(st.booleans()) else None
        kind, id = draw(st.sampled_from(sorted(KINDS))), f"evt_call{number}"
        thread = draw(st.sampled_from([None, "sthr_2"]))
        if thread and not any(event.get("session_thread_id") == thread for event in events):
            main = {"id": f"evt_m{number}", "type": "session.thread_status_running", "session_thread_id": "sthr_1"}
            other = {**main, "id": f"evt_t{number}", "session_thread_id": thread, "agent_name": "helper"}
            events += [{**event, "processed_at": begun} for event in (main, other)]
        about = {"session_thread_id": thread} if thread else {}
        events.append({"id": id, "type": kind, "name": "Bash", "input": {"x": PLANTED}, "processed_at": begun, **about})
        if ended:
            result, names = KINDS[kind]
            content = [{"type": "text", "text": PLANTED}]
            answer = {"id": f"evt_r{number}", "type": result, names: id, "content": content, "processed_at": ended}
            events.append({**answer, "is_error": draw(st.booleans()), **about})
        calls[id] = begun, ended
        second += 3
    message = {"type": "agent.message", "content": [{"type": "text", "text": PLANTED}]}
    events.append({"id": "evt_m", **message, "processed_at": at(second + 1)})
    if draw(st.booleans()):
        idle = {"type": "session.status_idle", "stop_reason": {"type": "end_turn"}}
        events.append({"id": "evt_e", **idle, "processed_at": at(second + 2)})
    repeated = draw(st.lists(st.sampled_from(events), max_size=3))
    return sorted([*events, *repeated], key=lambda event: events.index(event)), calls


@examples(1)
@given(drawn=sessions())
def test_run_logs_traces_each_call_with_its_times(qoder: Qoder, drawn: Any) -> None:
    events, calls = drawn
    trace = traced(qoder, events)
    spans = spans_of(trace)
    by_call = {
        attributes(span)["gen_ai.tool.call.id"]: span for span in spans if span["name"].startswith("execute_tool")
    }
    assert by_call.keys() == calls.keys()
    ids = {span["spanId"]: span for span in spans}
    assert (len(ids), len({span["traceId"] for span in spans})) == (len(spans), 1)
    assert [span["name"] for span in spans if "parentSpanId" not in span] == ["invoke_agent writer"]
    for id, (begun, ended) in calls.items():
        span = by_call[id]
        assert int(span["startTimeUnixNano"]) % 10**9 == 123456789
        took = int(span["endTimeUnixNano"]) - int(span["startTimeUnixNano"])
        assert (took == 10**9, "qoder.unfinished" in attributes(span)) == (
            (True, False) if ended else (took == 10**9, True)
        )
        [event] = [event for event in {event["id"]: event for event in events}.values() if event["id"] == id]
        is_of_helper = ids[span["parentSpanId"]]["name"] == "invoke_agent helper"
        assert is_of_helper == ("session_thread_id" in event)
        assert begun[:19] in at_text(span)
    assert PLANTED not in json.dumps(trace)
    qoder.wire.expected.clear()


def at_text(span: Any) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(int(span["startTimeUnixNano"]) // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def test_run_logs_has_texts_in_a_trace_only_where_they_are_wanted(qoder: Qoder) -> None:
    call = {"id": "evt_1", "type": "agent.tool_use", "name": "Bash", "input": {"x": PLANTED}, "processed_at": at(1)}
    result = {
        "id": "evt_2",
        "type": "agent.tool_result",
        "tool_use_id": "evt_1",
        "content": [{"type": "text", "text": PLANTED}],
    }
    asked = {"id": "evt_0", "type": "user.message", "content": f"Say {PLANTED}", "processed_at": at(0)}
    said = {
        "id": "evt_3",
        "type": "agent.message",
        "content": [{"type": "text", "text": PLANTED}],
        "processed_at": at(3),
    }
    events = [asked, call, {**result, "processed_at": at(2)}, said]
    assert PLANTED not in json.dumps(traced(qoder, events))
    qoder.wire.expected.clear()
    run, tool = spans_of(traced(qoder, events, "--with-content"))
    assert json.loads(attributes(run)["gen_ai.input.messages"])[0]["parts"][0]["content"] == f"Say {PLANTED}"
    assert PLANTED in attributes(run)["gen_ai.output.messages"]
    assert attributes(tool)["gen_ai.tool.call.arguments"] == f'{{"x":"{PLANTED}"}}'
    assert attributes(tool)["gen_ai.tool.call.result"] == PLANTED


def test_run_logs_traces_a_failed_run_without_times(qoder: Qoder) -> None:
    events = [
        {"id": "evt_0", "type": "session.status_running"},
        {"id": "evt_1", "type": "agent.message", "content": "x"},
    ]
    run, turn = spans_of(traced(qoder, events))
    assert (run["startTimeUnixNano"] > "0", turn["startTimeUnixNano"]) == (True, run["startTimeUnixNano"])


@pytest.fixture(params=GENERATIONS)
def world(request: pytest.FixtureRequest, qoder: Qoder) -> World:
    generation: Generation = request.param
    return World(generation=generation, token=TOKEN, clock=qoder.clock.now)


@pytest.fixture
def received(qoder: Qoder, world: World) -> list[httpx.Request]:
    """Requests to the receiver `otel.example`, whose next answer is in `world.answered`."""
    requests: list[httpx.Request] = []

    def lie(request: httpx.Request, true: Any) -> httpx.Response:
        if request.url.host != "otel.example":
            response: httpx.Response = true()
            return response
        requests.append(request)
        answer = qoder.env.get("ANSWER", "200")
        if answer == "hang":
            raise httpx.ReadTimeout("timed out")
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
    qoder.env["OTEL_EXPORTER_OTLP_HEADERS"] = "api-key=abc"
    ran = qoder("run", "logs", ended(qoder, world), "--otlp", "https://otel.example")
    [request] = received
    assert (ran.code, ran.out, str(request.url)) == (0, "", "https://otel.example/v1/traces")
    assert (request.headers["api-key"], "authorization" in request.headers) == ("abc", False)
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


@pytest.mark.parametrize(
    "words",
    [
        ("--otlp", "otel.example"),
        *(("--otlp", f"https://{host}") for host in ("user:word@otel.example", ":word@otel.example", "[::1")),
        *(("--otlp", f"https://otel{rest}") for rest in (".example:99999", ".example:x", ".example/\x00", " example")),
        ("--with-content",),
        ("-o", "otlp", "--follow"),
        ("-o", "otlp", "--tail", "3"),
        ("drun_2", "-o", "otlp"),
    ],
)
def test_run_logs_refuses_what_is_no_trace(qoder: Qoder, words: tuple[str, ...]) -> None:
    ran = qoder("run", "logs", "drun_1", *words)
    assert (ran.code, "word" in ran.err) == (2, False)
    assert "--otlp" not in words or "takes the http or https address" in ran.err


def test_only_logs_have_a_trace(qoder: Qoder) -> None:
    ran = qoder("run", "list", "-o", "otlp")
    assert (ran.code, "-o otlp is a trace of `run logs`" in ran.err) == (2, True)


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


def called(id: str, second: int, **fields: Any) -> dict[str, Any]:
    return {"id": id, "type": "agent.tool_use", "name": "Bash", "processed_at": at(second), **fields}


def test_run_logs_keeps_what_has_no_end_within_what_it_is_in(qoder: Qoder) -> None:
    thread = {"session_thread_id": "sthr_2", "agent_name": "helper"}
    events = [
        {"id": "evt_0", "type": "session.status_running", "processed_at": at(0)},
        {"id": "evt_1", "type": "session.thread_status_running", "session_thread_id": "sthr_1", "processed_at": at(0)},
        called("evt_cut", 1),
        {"id": "evt_2", "type": "session.thread_status_running", **thread, "processed_at": at(2)},
        {"id": "evt_3", "type": "session.thread_status_idle", **thread, "processed_at": at(3)},
        {"id": "evt_4", "type": "session.thread_status_running", **thread, "processed_at": at(4)},
        called("evt_again", 5, **thread),
        {"id": "evt_5", "type": "session.status_idle", "processed_at": at(6)},
        {"id": "evt_6", "type": "session.status_running", "processed_at": at(8)},
        {"id": "evt_7", "type": "session.status_idle", "processed_at": at(9)},
    ]
    spans = spans_of(traced(qoder, events))
    by_id = {span["spanId"]: span for span in spans}
    for span in spans:
        parent = by_id.get(span.get("parentSpanId", ""), span)
        assert int(parent["startTimeUnixNano"]) <= int(span["startTimeUnixNano"])
        assert int(span["endTimeUnixNano"]) <= int(parent["endTimeUnixNano"]), span["name"]


@pytest.mark.parametrize(("status", "is_unfinished"), [("running", True), ("failed", False)])
def test_run_logs_calls_the_trace_of_a_running_run_unfinished(
    qoder: Qoder, status: str, *, is_unfinished: bool
) -> None:
    events = [{"id": "evt_0", "type": "session.status_running", "processed_at": at(0)}]
    root, _ = spans_of(traced(qoder, events, status=status, completed_at=None))
    assert ("qoder.unfinished" in attributes(root)) == is_unfinished


def test_run_logs_traces_a_run_without_a_type_of_error_as_failed(qoder: Qoder) -> None:
    events = [{"id": "evt_0", "type": "session.status_running", "processed_at": at(0)}]
    [root, _] = spans_of(traced(qoder, events, status="failed", error=None))
    assert root["status"]["code"] == 2


@pytest.mark.parametrize("headers", ["api-key=word\x01", "api-key=w\u00f6rd", "a key=word", "word", "=word"])
def test_run_logs_refuses_headers_that_are_none_and_does_not_repeat_them(
    qoder: Qoder, world: World, received: list[httpx.Request], headers: str
) -> None:
    qoder.env["OTEL_EXPORTER_OTLP_HEADERS"] = headers
    ran = qoder("run", "logs", ended(qoder, world), "--otlp", "https://otel.example")
    assert (ran.code, received, "word" in ran.err) == (2, [], False)
    assert "OTEL_EXPORTER_OTLP_HEADERS" in ran.err


def test_run_logs_decodes_the_headers_of_a_trace(qoder: Qoder, world: World, received: list[httpx.Request]) -> None:
    qoder.env["OTEL_EXPORTER_OTLP_HEADERS"] = "authorization=Basic%20abc%3D, content-type=text/plain,"
    assert qoder("run", "logs", ended(qoder, world), "--otlp", "https://otel.example").code == 0
    assert (received[0].headers["authorization"], received[0].headers["content-type"]) == (
        "Basic abc=",
        "application/json",
    )
