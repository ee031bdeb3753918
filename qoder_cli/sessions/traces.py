"""A run as a trace of OpenTelemetry: one span for the run, and within it turns, sub-agents, model requests and calls.

OTLP in JSON (opentelemetry.io/docs/specs/otlp). The names of attributes are those of the conventions for `gen_ai` of
version 1.41; what these have no name for begins with `qoder.`. Ids are made of those of the run and its events, so
that a trace sent twice is one. What was said, and what calls were given and gave, is in it only where that is wanted.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from urllib.parse import unquote, urlsplit

from qoder_cli import __version__
from qoder_cli.app import App
from qoder_cli.base import jsontext
from qoder_cli.base.errors import ApiError, Rejected, Unavailable, UsageError
from qoder_cli.base.model import Run, mapping, text
from qoder_cli.base.outcome import ENDS, RUNNING, THREAD_RUNNING, THREAD_STATUSES, event_key, event_time, is_going
from qoder_cli.base.times import parse_timestamp
from qoder_cli.sessions.asks import ANSWERS, CALL_KINDS
from qoder_cli.sessions.log import in_order, message_text

SCHEMA = "https://opentelemetry.io/schemas/1.41.0"
WITHIN = 10.0  # seconds for a receiver to answer
_HEADERS = "OTEL_EXPORTER_OTLP_HEADERS"
_FRAMING = ("content-length", "transfer-encoding")  # they say where a request ends: that is ours to say
_INTERNAL, _CLIENT, _ERROR = 1, 3, 2
_REQUEST, _RESPONSE = "span.model_request_start", "span.model_request_end"

Event = Mapping[str, Any]


@dataclass
class Span:
    """A span of a trace; times are nanoseconds, `until` is 0 while its end is unknown."""

    key: str
    name: str
    since: int
    parent: str = ""
    until: int = 0
    kind: int = _INTERNAL
    error: str | None = None
    attributes: dict[str, Any] = field(default_factory=dict)


def as_trace(run: Run, session: Event, events: Iterable[Event], *, service: str, with_content: bool) -> dict[str, Any]:
    """Return a run as an `ExportTraceServiceRequest`: of its session and the events of its log, in any order."""
    spans = list(_Spans(run, session, with_content=with_content).of(in_order(dict(event) for event in events)))
    trace = sha256(run.id.encode()).hexdigest()[:32]
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": _attributes({"service.name": service})},
                "scopeSpans": [
                    {
                        "scope": {"name": "qoder", "version": __version__},
                        "schemaUrl": SCHEMA,
                        "spans": [_as_json(span, trace) for span in spans],
                    }
                ],
                "schemaUrl": SCHEMA,
            }
        ]
    }


def count_of(trace: Mapping[str, Any]) -> int:
    """Return how many spans a trace has."""
    return len(trace["resourceSpans"][0]["scopeSpans"][0]["spans"])


class _Spans:
    """Makes spans of events, oldest first. What has no end of its own ends with what it is in."""

    def __init__(self, run: Run, session: Event, *, with_content: bool) -> None:
        agent = mapping(session.get("agent")) or mapping(run.raw.get("agent"))
        name, model = text(agent.get("name")) or text(agent.get("id")) or "agent", agent.get("model")
        begin = _nanoseconds(text(run.raw.get("created_at")) or text(run.raw.get("triggered_at")))
        self._with_content, self._is_going = with_content, is_going(run)
        self._root = Span(run.id, f"invoke_agent {name}", begin, until=_nanoseconds(run.completed_at), kind=_CLIENT)
        self._root.error = run.error_type or ("_OTHER" if run.status == "failed" else None)
        self._root.attributes = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.provider.name": "qoder",
            "gen_ai.agent.id": text(agent.get("id")),
            "gen_ai.agent.name": text(agent.get("name")),
            "gen_ai.agent.version": agent.get("version") and str(agent["version"]),
            "gen_ai.request.model": text(model) or text(mapping(model).get("id")),
            "gen_ai.conversation.id": run.session_id,
            "qoder.run.id": None if run.is_session else run.id,
            "qoder.deployment.id": run.deployment_id,
            "qoder.status": run.status,
        }
        self._primary: str | None = None  # the thread of the run's own agent
        self._threads: dict[str, Span] = {}
        self._open: dict[str, Span] = {}  # calls and requests, by the id of the event that began them
        self._turn: Span | None = None
        self._now = begin

    def of(self, events: Sequence[dict[str, Any]]) -> Iterator[Span]:
        """Return all spans, the run's first."""
        spans = [self._root]
        for event in events:
            self._now = _nanoseconds(event_time(event)) or self._now
            self._root.since = min(self._root.since or self._now, self._now)  # clocks may be apart
            if (span := self._begun(event)) is not None:
                spans.append(span)
            self._end(event)
        if not self._is_going:
            self._root.until = self._root.until or self._now
        until = {"": self._now}
        for span in spans:  # what a span is in comes before it
            if not span.until:
                span.until, span.attributes["qoder.unfinished"] = until[span.parent], True
            until[span.key] = span.until = max(span.until, span.since)
        return iter(spans)

    def _begun(self, event: dict[str, Any]) -> Span | None:
        """Return the span that an event begins."""
        kind, key, thread = str(event.get("type")), event_key(event), text(event.get("session_thread_id"))
        if kind == RUNNING and self._turn is None:
            self._turn = Span(key, "turn", self._now, self._root.key)
            return self._turn
        if kind == THREAD_RUNNING and thread is not None:
            self._primary = self._primary or thread
            if thread in self._threads:
                self._threads[thread].until = 0  # it goes on
            if thread in (self._primary, *self._threads):
                return None
            agent = text(event.get("agent_name"))
            about = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": agent, "qoder.thread.id": thread}
            span = Span(key, f"invoke_agent {agent or thread}", self._now, self._within(None), attributes=about)
            self._threads[thread] = span
            return span
        if kind == _REQUEST:
            model = self._root.attributes["gen_ai.request.model"]
            about = {"gen_ai.operation.name": "chat", "gen_ai.request.model": model}
            span = Span(
                key, f"chat {model or ''}".strip(), self._now, self._within(thread), kind=_CLIENT, attributes=about
            )
        elif kind in CALL_KINDS:
            name = text(event.get("name")) or "tool"
            about = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": name, "gen_ai.tool.call.id": key}
            about["gen_ai.tool.type"] = "extension" if CALL_KINDS[kind] == "mcp" else "function"
            if self._with_content:
                about["gen_ai.tool.call.arguments"] = jsontext.dump(event.get("input"))
            span = Span(key, f"execute_tool {name}", self._now, self._within(thread), attributes=about)
        else:
            return None
        self._open[key] = span
        return span

    def _within(self, thread: str | None) -> str:
        """Return what a span is in: its sub-agent's, else the turn, else the run."""
        if thread is not None and thread in self._threads:
            return self._threads[thread].key
        return self._turn.key if self._turn else self._root.key

    def _end(self, event: dict[str, Any]) -> None:
        kind, thread = str(event.get("type")), text(event.get("session_thread_id"))
        begun = event.get("model_request_start_id") if kind == _RESPONSE else event.get(ANSWERS.get(kind, ""))
        if kind != "user.tool_confirmation" and (span := self._open.pop(str(begun), None)) is not None:
            span.until = self._now
            if event.get("is_error") is True:
                span.error = "tool_error" if kind != _RESPONSE else "request_error"
            if kind != _RESPONSE and self._with_content:
                span.attributes["gen_ai.tool.call.result"] = message_text(event)
        elif kind in THREAD_STATUSES and kind != THREAD_RUNNING and thread in self._threads:
            self._threads[thread or ""].until = self._now
        elif kind in ENDS and self._turn is not None:
            self._turn.until, self._turn = self._now, None
        if self._with_content and kind in ("user.message", "agent.message"):
            which, role = ("input", "user") if kind == "user.message" else ("output", "assistant")
            message = {"role": role, "parts": [{"type": "text", "content": message_text(event)}]}
            name = f"gen_ai.{which}.messages"
            self._root.attributes[name] = [*self._root.attributes.get(name, []), message]


def _nanoseconds(at: str | None) -> int:
    """Return a server's time in nanoseconds since 1970, every digit of it; 0 for none."""
    moment = parse_timestamp(at)
    if at is None or moment is None:
        return 0
    fraction = re.search(r"\.(\d{1,9})", at)
    whole = int(moment.replace(microsecond=0).timestamp())
    return whole * 10**9 + int(fraction[1].ljust(9, "0") if fraction else 0)


def _as_json(span: Span, trace: str) -> dict[str, Any]:
    def id_of(key: str) -> str:
        return sha256(f"{trace} {key}".encode()).hexdigest()[:16]

    data: dict[str, Any] = {"traceId": trace, "spanId": id_of(span.key), "name": span.name, "kind": span.kind}
    if span.parent:
        data["parentSpanId"] = id_of(span.parent)
    data |= {"startTimeUnixNano": str(span.since), "endTimeUnixNano": str(span.until)}
    data["attributes"] = _attributes({**span.attributes, "error.type": span.error})
    if span.error:
        data["status"] = {"code": _ERROR, "message": span.error}
    return data


def _attributes(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    attributes = []
    for name, value in values.items():
        if isinstance(value, bool):
            attributes.append({"key": name, "value": {"boolValue": value}})
        elif value not in (None, "", []):
            written = value if isinstance(value, str) else jsontext.dump(value)
            attributes.append({"key": name, "value": {"stringValue": written}})
    return attributes


def send(app: App, url: str, trace: Mapping[str, Any]) -> None:
    """Send a trace to a receiver. Raises UsageError, Rejected, Unavailable."""
    address = checked(url)
    host = urlsplit(address).netloc
    headers = {**_headers(app.env.get(_HEADERS, "")), "content-type": "application/json"}
    content = jsontext.dump(trace).encode("utf-8", "replace")  # half of a surrogate pair
    try:
        answer = app.client.post_elsewhere(address, headers, content, within=WITHIN)
    except ApiError as error:
        why = f"{host} did not take the trace: {error.message}"
        raise Unavailable(why, hint="check the address, and that a receiver of OTLP over HTTP runs there") from None
    if not 200 <= answer.status < 300:
        why = f"{host} refused the trace: HTTP {answer.status}"
        if answer.status == 429 or answer.status >= 500:
            raise Unavailable(why, hint="send it again later: the ids stay the same")
        raise Rejected(why, hint=f"check that it takes OTLP in JSON at this path; a token goes into {_HEADERS}")
    try:
        partial = jsontext.parse(answer.body or "{}").get("partialSuccess") or {}
        rejected = int(partial.get("rejectedSpans") or 0)
    except (AttributeError, TypeError, ValueError):
        raise Unavailable(f"{host} sent no response of OTLP: the trace may not have arrived") from None
    if rejected:
        raise Rejected(f"{host} refused {rejected} of the spans")


def _headers(pairs: str) -> dict[str, str]:
    """Return headers that are written as NAME=VALUE, with commas between, `%20` for a blank. Raises UsageError."""
    headers = {}
    for pair in filter(None, map(str.strip, pairs.split(","))):
        name, _, value = map(str.strip, map(unquote, pair.partition("=")))
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", name) or "=" not in pair or not re.fullmatch(r"[ -~]*", value):
            raise UsageError(f"{_HEADERS} is not NAME=VALUE, with commas between; nothing was sent")
        if name.lower() in _FRAMING:
            raise UsageError(f"{_HEADERS} cannot set {name.lower()}; nothing was sent")
        headers[name.lower()] = value
    return headers


def checked(url: str) -> str:
    """Return the address that a trace is sent to: `/v1/traces`, unless the URL has a path. Raises UsageError."""
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address or not re.fullmatch("[!-~]+", url) or re.search("[@?#]", url):
        hint = f"use for example --otlp http://localhost:4318; a token goes into {_HEADERS}"
        raise UsageError("--otlp takes the http or https address of a receiver; nothing was sent", hint=hint)
    if parts.path in ("", "/"):
        parts = parts._replace(path="/v1/traces")
    return parts.geturl()
