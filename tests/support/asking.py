"""A server whose agents ask: a session waits for answers, takes each once, works on, and can be made to go wrong."""

import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from tests.support.processes import Terminal

Event = dict[str, Any]
WORKS_FOR = 2.0  # seconds that a turn takes
PREFIX = "/api/v1/cloud"

# A command that asks, and what it asks.
APPROVE = ("qoder", "session", "approve", "sess_1")
ASKED = "allow? [y]es [n]o [w]hy not [a]ll equal [r]est: deny [?]"


def asked_again(terminal: "Terminal", question: str, times: int) -> "Terminal":
    """Return the terminal once it has asked so often."""
    from tests.support.processes import until

    until(lambda: terminal.raw.count(question) >= times, f"{question!r} for the {times}. time")
    return terminal


def fields_drawn(screen: list[str]) -> list[str]:
    """Return what stands where only the name of a field may."""
    rows = [line.removeprefix("  │ ") for line in screen if line.startswith("  │ ")]
    return [row for row in rows if row[:1] not in ("", " ")]


def stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


def refusal(status: int, message: str, kind: str = "invalid_request_error") -> httpx.Response:
    body = {"type": "error", "request_id": "req_1", "error": {"type": kind, "message": message}}
    return httpx.Response(status, json=body)


def call(number: int, name: str = "Bash", kind: str = "agent.tool_use", **fields: Any) -> Event:
    return {"id": f"evt_{number}", "type": kind, "name": name, "input": {"command": f"echo {number}"}, **fields}


def sha256_of(event: Event) -> str:
    """Return the hash that `pending` gives for a call, as it is made."""
    kinds = {"agent.tool_use": "tool", "agent.mcp_tool_use": "mcp", "agent.custom_tool_use": "custom"}
    told = {"kind": kinds[event["type"]], "thread": event.get("session_thread_id"), "input": event["input"]}
    told |= {name: event.get(name) for name in ("name", "mcp_server_name")}
    return hashlib.sha256(json.dumps(told, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@dataclass
class Session:
    """One session: its events with the time at which each becomes true, and the calls that wait."""

    id: str
    object: dict[str, Any]
    told: list[tuple[float, Event]] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    busy_until: float = 0.0


@dataclass(eq=False)
class Server(httpx.BaseTransport):
    """The API, as far as answering needs it; `goes_wrong` are what happens to the next writes, one each.

    `told` is what becomes of a page of events before it is sent, and `lag` for how long a list does not show them.
    """

    clock: Any  # a clock of `tests.support.wire`, or one with the time as `time`
    generation: str = "current"
    goes_wrong: list[str] = field(default_factory=list)
    told: Callable[[list[Event]], list[Event]] = list
    lag: float = 0.0
    older_form: bool = False
    lenient: bool = False  # takes a second answer to the same call, as a server may
    reads_fail: int = 0  # so many readings of events end in 503, once something was posted
    ignores: tuple[str, ...] = ()  # parameters of lists
    records: str | None = None  # what it makes of every answer to a call, whatever was said, or the `opposite`
    echoes: str | None = None  # the same, of what it responds alone
    asks_again: int = 0  # so many answers are accepted and shown, and the calls named again
    before_post: list[Callable[[], object]] = field(default_factory=list)
    sessions: dict[str, Session] = field(default_factory=dict)
    taken: Counter[str] = field(default_factory=Counter)  # how often each call, or message, was taken
    ours: Counter[str] = field(default_factory=Counter)  # the same, of what came by a request
    requests: list[tuple[str, str]] = field(default_factory=list)
    posted: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Respond as the API does; a test replaces one of these."""
        self.respond: Callable[[httpx.Request], httpx.Response] = self._respond
        self.accept: Callable[[Session, list[Event]], httpx.Response] = self._accept
        self.list_events: Callable[[httpx.Request, Session], httpx.Response] = self._list_events
        self.show_run: Callable[[str], dict[str, Any]] = self._show_run

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self.respond(request)

    def session(self, id: str = "sess_1", *calls: Event, names: bool = True, run: bool = True) -> Session:
        """Add a session that has worked and now waits for these calls, or has ended its turn without any."""
        now = self.clock.time - 60
        made: Event = {"id": id, "type": "session", "status": "idle", "created_at": stamp(now), "archived_at": None}
        made |= {"deployment_id": "dep_1" if run else None, "title": "Nightly", "usage": {"total_credits": 1.5}}
        self.sessions[id] = session = Session(id, made)
        self._tell(session, now + 1, {"type": "session.status_running"})
        for number, each in enumerate(calls):
            permission = {} if each["type"] == "agent.custom_tool_use" else {"evaluated_permission": "ask"}
            self._tell(session, now + 2 + number, {**permission, **each})
        if calls:
            session.waiting = [each["id"] for each in calls]
            self._asks(session, now + 10, names=names)
        else:
            self._tell(session, now + 10, {"type": "session.status_idle", "stop_reason": {"type": "end_turn"}})
        return session

    def sub_agent_asks(self, id: str, *asking: Event, calls: int) -> Session:
        """Add a session whose main thread makes so many calls while a sub-agent waits for answers."""
        session = self.session(id)
        session.object["status"] = "running"
        sub, now = {"session_thread_id": asking[0]["session_thread_id"]}, self.clock.time - 40
        self._tell(session, now, {"type": "session.status_running"})
        self._tell(session, now + 1, {"type": "session.thread_status_running", "session_thread_id": "sthr_1"})
        self._tell(session, now + 2, {"type": "session.thread_status_running", **sub})
        for each in asking:
            self._tell(session, now + 3, {"evaluated_permission": "ask", **each})
        stop = {"type": "requires_action", "event_ids": [each["id"] for each in asking]}
        self._tell(session, now + 4, {"type": "session.thread_status_idle", "stop_reason": stop, **sub})
        for number in range(calls):
            at = now + 5 + 30 * number / calls
            self._tell(session, at, {**call(1), "id": f"evt_m{number}", "evaluated_permission": "allow"})
            self._tell(session, at, {"type": "agent.tool_result", "tool_use_id": f"evt_m{number}"})
        session.waiting = [each["id"] for each in asking]
        return session

    def _asks(self, session: Session, at: float, *, names: bool = True) -> None:
        ids = {"event_ids": list(session.waiting)} if names else {}
        self._tell(session, at, {"type": "session.status_idle", "stop_reason": {"type": "requires_action", **ids}})

    def _tell(self, session: Session, at: float, event: Event) -> Event:
        made = {"id": f"evt_s{len(session.told)}_{session.id}", **event, "processed_at": stamp(at)}
        session.told.append((at, made))
        return made

    def turn(self, session: Session, at: float, says: str = "All done.", *after: Event) -> None:
        """Let the agent work from then on, and end its turn."""
        session.busy_until = at + WORKS_FOR
        self._tell(session, at + 0.01, {"type": "session.status_running"})
        for event in after:
            self._tell(session, at + 0.02, event)
        message = {"type": "agent.message", "content": [{"type": "text", "text": says}]}
        self._tell(session, at + WORKS_FOR - 0.1, message)
        self._tell(session, at + WORKS_FOR, {"type": "session.status_idle", "stop_reason": {"type": "end_turn"}})

    def answered_by_a_colleague(self, id: str, result: str = "allow", session: str = "sess_1") -> None:
        """Let somebody else answer a call now."""
        event = {"type": "user.tool_confirmation", "tool_use_id": id, "result": result}
        self._answer(self.sessions[session], event, id)

    def _respond(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix(PREFIX)
        self.requests.append((request.method, path))
        parts = path.strip("/").split("/")
        if request.method == "POST":
            return self._post(parts, json.loads(request.content))
        match parts:
            case ["deployment_runs", run]:
                return httpx.Response(200, json=self.show_run(run))
            case ["deployments", id]:
                return httpx.Response(200, json={"id": id, "type": "deployment", "name": "nightly"})
            case ["deployments", _, "runs"]:
                return self._list(request, [self.show_run(id.replace("sess_", "drun_")) for id in self.sessions])
            case ["sessions"]:
                return self._list(request, [each.object for each in self.sessions.values()])
            case ["sessions", id, *_] if id not in self.sessions:
                return refusal(404, "No such session.", "not_found_error")
            case ["sessions", id]:
                return httpx.Response(200, json=self.sessions[id].object)
            case ["sessions", _, "events"] if self.posted and self.reads_fail > 0:
                self.reads_fail -= 1
                return refusal(503, "Busy.", "api_error")
            case ["sessions", id, "events"]:
                return self.list_events(request, self.sessions[id])
            case ["sessions", _, "threads"]:
                return httpx.Response(200, json={"data": [], "has_more": False})
        return refusal(501, "No stream here.", "feature_not_available")

    def _show_run(self, id: str) -> dict[str, Any]:
        session = self.sessions["sess_" + id.removeprefix("drun_")]
        run: Event = {
            "id": id,
            "type": "deployment_run",
            "deployment_id": "dep_1",
            "session_id": session.id,
            "error": None,
        }
        run |= {"agent": {"id": "agent_1", "version": 1}, "created_at": session.object["created_at"]}
        if self.generation == "legacy":
            ends = [at for at, event in session.told if _ends(event) and at <= self.clock.time]
            run |= {"status": "completed", "completed_at": stamp(ends[0])} if ends else {"status": "running"}
        return run

    def _list_events(self, request: httpx.Request, session: Session) -> httpx.Response:
        seen = [
            event for at, event in sorted(session.told, key=lambda told: told[0]) if at <= self.clock.time - self.lag
        ]
        types = request.url.params.get_list("types[]")
        if types and "types[]" not in self.ignores:
            seen = [event for event in seen if event["type"] in types]
        if request.url.params.get("order") == "desc" and "order" not in self.ignores:
            seen.reverse()
        return self._list(request, self.told(seen))

    def _list(self, request: httpx.Request, rows: list[Any]) -> httpx.Response:
        statuses = request.url.params.get_list("statuses[]")
        if statuses and "statuses[]" not in self.ignores:
            rows = [row for row in rows if row["status"] in statuses]
        size = int(request.url.params.get("limit", 20))
        start = int(request.url.params.get("page", 0))
        more = str(start + size) if start + size < len(rows) else None
        page = {"data": rows[start : start + size], "next_page": more, "has_more": more is not None}
        return httpx.Response(200, json=page, headers={"date": ""})

    def _post(self, parts: list[str], body: Any) -> httpx.Response:
        self.posted.append(body)
        for meanwhile in self.before_post:
            meanwhile()
        self.before_post.clear()
        wrong = self.goes_wrong.pop(0) if self.goes_wrong else ""
        before = _before(wrong)
        if isinstance(before, Exception):
            raise before
        if before is not None:
            return before
        if parts[-1] == "cancel":
            return httpx.Response(202, json={"id": parts[1], "type": "session", "status": "canceling"})
        answer = self.accept(self.sessions[parts[1]], body["events"])
        return _after(wrong, answer)

    def _accept(self, session: Session, events: list[Event]) -> httpx.Response:
        if session.object["archived_at"]:
            return refusal(409, "The session is archived.")
        for event in events:
            named = event.get("tool_use_id") or event.get("custom_tool_use_id")
            if named and named not in session.waiting and not (self.lenient and self.taken[named]):
                return refusal(400, f"{named} is not waiting for a confirmation.")
            if named and self.older_form and "decision" not in event and event["type"] == "user.tool_confirmation":
                return refusal(400, "Field 'decision' is required.")
            if event["type"] == "user.message" and (self.clock.time < session.busy_until or session.waiting):
                return refusal(409, "Session is currently processing a turn.")
        accepted = []
        for event in events:
            named = event.get("tool_use_id") or event.get("custom_tool_use_id")
            if named:
                self.ours[named] += 1
                accepted.append(self._answer(session, event, named))
            elif event["type"] == "user.interrupt":
                accepted.append(self._tell(session, self.clock.time, event))
                session.told = [told for told in session.told if told[0] <= self.clock.time]
                session.waiting, session.busy_until = [], 0.0
                stopped = {"type": "session.status_idle", "stop_reason": {"type": "cancelled"}}
                self._tell(session, self.clock.time + 0.5, stopped)
            else:
                self.taken[event["content"][0]["text"]] += 1
                self.ours[event["content"][0]["text"]] += 1
                self.turn(session, self.clock.time, f"You said {event['content'][0]['text']}")
                accepted.append(self._tell(session, self.clock.time + 0.02, event))
        return httpx.Response(200, json={"data": [_otherwise(each, self.echoes) for each in accepted]})

    def _answer(self, session: Session, event: Event, named: str) -> Event:
        self.taken[named] += 1
        event = _otherwise(event, self.records)
        accepted = self._tell(session, self.clock.time, event)
        if self.asks_again > 0:
            self.asks_again -= 1
            self._asks(session, self.clock.time + 0.01)
            return accepted
        if named not in session.waiting:
            return accepted
        session.waiting.remove(named)
        if session.waiting:
            self._asks(session, self.clock.time + 0.01)
        else:
            denied = "deny" in (event.get("result"), event.get("decision"))
            ran = {"type": "agent.tool_result", "tool_use_id": named, "content": [{"type": "text", "text": "ok"}]}
            self.turn(session, self.clock.time, "I could not." if denied else "All done.", ran)
        return accepted


def _otherwise(event: Event, result: str | None) -> Event:
    """Return an answer with another result, or the opposite of its own."""
    form = next((form for form in ("result", "decision") if form in event), None)
    if result is None or form is None:
        return event
    if result == "opposite":
        result = "allow" if event[form] == "deny" else "deny"
    return {**event, form: "approve" if (form, result) == ("decision", "allow") else result}


def _ends(event: Event) -> bool:
    return event["type"] == "session.status_idle" and bool(event["stop_reason"]["type"] != "requires_action")


def _before(wrong: str) -> httpx.Response | Exception | None:
    match wrong:
        case "refused":
            return httpx.ConnectError("refused")
        case "drop-before":
            return httpx.ReadError("reset")
        case "hang-before":
            return httpx.ReadTimeout("timed out")
        case "429":
            return refusal(429, "Slow down.", "rate_limit_error")
        case "503" | "500" | "403" | "404" | "409" | "400":
            return refusal(int(wrong), "No.", "api_error")
        case "html":
            return httpx.Response(502, text="<html>Bad gateway</html>")
        case "login":
            return httpx.Response(403, text="<html>Log in</html>")
        case "redirect":
            return httpx.Response(302, headers={"location": "https://elsewhere.example/"})
    return None


def _after(wrong: str, answer: httpx.Response) -> httpx.Response:
    """Return what is heard of a write that was done."""
    match wrong:
        case "drop-after":
            raise httpx.ReadError("reset")
        case "hang-after":
            raise httpx.ReadTimeout("timed out")
        case "act-503" | "act-500":
            return refusal(int(wrong[4:]), "Oops.", "api_error")
        case "act-html":
            return httpx.Response(502, text="<html>Bad gateway</html>")
        case "truncated":
            return httpx.Response(200, text=answer.text[: len(answer.text) // 2])
        case "garbage":
            return httpx.Response(200, text="yes")
        case "list":
            return httpx.Response(200, json=[])
        case "no-data":
            return httpx.Response(202, json={"ok": True})
    return answer


class FastClock:
    """The machine's time, forty times as fast."""

    def __init__(self) -> None:
        self._began = time.time()

    @property
    def time(self) -> float:
        return self._began + 40 * (time.time() - self._began)


@contextmanager
def served(server: Server) -> Iterator[str]:
    """Serve it on this machine, and yield its base URL."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            content = self.rfile.read(int(self.headers.get("content-length") or 0))
            asked = httpx.Request(self.command, f"http://127.0.0.1{self.path}", content=content)
            told = server.handle_request(asked)
            self.send_response(told.status_code)
            self.send_header("content-type", told.headers["content-type"])
            self.send_header("content-length", str(len(told.content)))
            self.end_headers()
            self.wfile.write(told.content)

        do_GET = do_POST = answer

        def log_message(self, *words: object) -> None:
            """Say nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    threading.Thread(target=http.serve_forever, args=[0.05], daemon=True).start()
    try:
        yield f"http://127.0.0.1:{http.server_port}{PREFIX}"
    finally:
        http.shutdown()
        http.server_close()
