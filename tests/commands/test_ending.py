"""Runs that wait for an answer, commands that go on, `--if-idle`, and results on servers that do not do as asked."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from qoder_cli.sandbox.faults import Faults
from qoder_cli.sandbox.wire import GENERATIONS, Generation
from qoder_cli.sandbox.world import World
from tests.conftest import Qoder
from tests.support.inprocess import WorldTransport
from tests.support.one_run import CURRENT, DONE, EVENTS, FIRST_IDLE, LEGACY, RUN, SESSION, TRIGGER, WORK, event, idle
from tests.support.result import says
from tests.support.wire import api_error, page

WAITS = event("status_idle", 20, stop_reason={"type": "requires_action", "event_ids": ["evt_call"]})
ON = event("status_running", 30)
END = idle("end_turn", 40)
RUNS = ("GET", "/deployments/dep_1/runs")
SESSIONS = ("GET", "/sessions")


@pytest.fixture
def place(qoder: Qoder, generation: Generation) -> World:
    world = World(clock=qoder.clock.now, generation=generation, seed=1)
    qoder.env["QODER_PAT"] = world.token
    qoder.transport = WorldTransport(world, faults=Faults("stream:501*inf"), sleep=qoder.clock.sleep)
    return world


# A run that waits for an answer


def test_a_run_that_waits_for_an_answer_is_running_and_says_for_what(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, CURRENT, CURRENT, CURRENT).on(*EVENTS, *[page(*WORK, WAITS)] * 3)
    ran = qoder("run", "get", "drun_1", "--json")
    assert ran.json == {
        **CURRENT,
        "status": "running",
        "requires_action": {"event_ids": ["evt_call"]},
        "derived": ["status", "requires_action"],
    }
    assert "evt_call" in qoder("run", "get", "drun_1").out
    ran = qoder("run", "get", "drun_1", "--exit-status", "--json")
    assert (ran.code, "waits for an answer" in ran.error["message"]) == (8, True)


def test_a_run_that_was_answered_does_not_say_so_any_more(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, page(*WORK, WAITS, ON))
    assert "requires_action" not in qoder("run", "get", "drun_1", "--json").json


@pytest.mark.parametrize("command", [("deploy", "run", "dep_1", "--wait"), ("run", "wait", "drun_1")], ids="-".join)
def test_waiting_ends_with_exit_11_once_it_has_been_so_for_15_seconds(qoder: Qoder, command: tuple[str, ...]) -> None:
    qoder.wire.on(*(TRIGGER if command[0] == "deploy" else RUN), CURRENT)
    qoder.wire.on(*EVENTS, page(*WORK, WAITS), repeat=True)
    ran = qoder(*command, "--json")
    assert (ran.code, ran.json["status"]) == (11, "running")
    assert (ran.error["type"], ran.error["run_state"], ran.error["run_id"]) == ("needs_answer", "going", "drun_1")
    assert ran.error["next"] == ["qoder", "run", "pending", "drun_1", "-o", "json"]
    assert "approve, deny or answer it" in ran.error["hint"]
    assert 15 <= sum(qoder.clock.slept) < 17


def test_a_session_that_passes_through_it_by_itself_goes_on(qoder: Qoder) -> None:
    began = qoder.clock.time

    def listed(request: httpx.Request) -> Any:
        passed = qoder.clock.time - began
        return page(*WORK, WAITS, *[ON] * (passed > 14), *[END] * (passed > 60))

    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, listed, repeat=True).on(*SESSION, {})
    ran = qoder("run", "wait", "drun_1", "--json")
    assert (ran.code, ran.json["status"]) == (0, "completed")
    assert "requires_action" not in ran.json


def test_what_a_session_asks_after_the_runs_own_end_is_not_the_runs(qoder: Qoder) -> None:
    began = qoder.clock.time
    qoder.wire.on(*RUN, lambda _: LEGACY if qoder.clock.time - began < 300 else DONE, repeat=True)
    later = event("status_idle", 30, stop_reason={"type": "requires_action", "event_ids": ["evt_call"]})
    told = page(*WORK, idle("end_turn", 20), event("status_running", 25), later)
    qoder.wire.on(*EVENTS, told, repeat=True)
    ran = qoder("run", "wait", "drun_1", "--json")
    assert (ran.code, ran.json) == (0, DONE)


def test_on_ask_wait_waits_on(qoder: Qoder) -> None:
    began = qoder.clock.time

    def listed(request: httpx.Request) -> Any:
        return page(*WORK, WAITS, *([ON, END] if qoder.clock.time - began > 600 else []))

    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, listed, repeat=True).on(*SESSION, {})
    assert qoder("run", "wait", "drun_1", "--on-ask", "wait").code == 0


def test_a_server_that_gives_a_status_is_seen_to_wait_for_an_answer(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, LEGACY, repeat=True).on(*EVENTS, page(*WORK, WAITS), repeat=True)
    ran = qoder("run", "wait", "drun_1", "--json")
    assert (ran.code, ran.json["status"], ran.json["derived"]) == (11, "running", ["requires_action"])
    assert sum(qoder.clock.slept) < 85


@pytest.mark.parametrize("generation", GENERATIONS)
def test_of_many_one_waits_for_an_answer(qoder: Qoder, place: World, generation: Generation) -> None:
    ran = qoder("deploy", "run", *["dep_demo"] * 10, "dep_ask", "--allow-duplicates", "--wait", "--json")
    assert (ran.code, [item["exit_code"] for item in ran.json]) == (11, [0] * 10 + [11])
    assert ran.error["next"][:4] == ["qoder", "run", "wait", ran.json[-1]["id"]]


def test_on_ask_is_for_waiting(qoder: Qoder) -> None:
    assert qoder("deploy", "run", "dep_1", "--on-ask", "wait").code == 2
    assert qoder("run", "logs", "drun_1", "--on-ask", "wait").code == 2
    assert qoder("run", "wait", "drun_1", "--on-ask", "prompt").code == 2


# The command that goes on


WANTS = ("--result", "--require-satisfied", "--on-ask", "wait")


@pytest.mark.parametrize("command", [("deploy", "run", "dep_1"), ("run", "wait", "drun_1")], ids="-".join)
def test_the_command_that_goes_on_wants_the_same(qoder: Qoder, command: tuple[str, ...]) -> None:
    qoder.wire.on(*(TRIGGER if command[0] == "deploy" else RUN), LEGACY).on(*RUN, LEGACY, repeat=True)
    ran = qoder(*command, *WANTS, "--no-progress", "--timeout", "2", "--json")
    assert ran.code == 124
    assert ran.error["next"] == ["qoder", "run", "wait", "drun_1", *WANTS, "--no-progress", "-o", "json"]


def test_a_key_that_looks_like_an_option_stays_a_key(qoder: Qoder) -> None:
    qoder.wire.on("POST", "/deployments/dep_1/run", httpx.ReadError("cut"))
    qoder.wire.on(*RUNS, page(), repeat=True)
    ran = qoder("deploy", "run", "dep_1", "--idempotency-key=-x", "--json")
    assert ran.code == 9
    assert "--idempotency-key=-x" in ran.error["next"]


def test_what_is_next_of_a_failed_run_is_its_log(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, page(*WORK, idle("cancelled"))).on(*SESSION, {})
    ran = qoder("run", "wait", "drun_1", "-q")
    assert (ran.code, ran.errors[0][:20]) == (1, "error: run drun_1 fa")
    assert "qoder run logs drun_1\n" in ran.err


# Lists that are not what was asked for


Listed = Callable[[httpx.Request, list[dict[str, Any]]], Any]


def heeds(request: httpx.Request, events: list[dict[str, Any]]) -> Any:
    types = request.url.params.get_list("types[]")
    return ignores_types(request, [one for one in events if not types or one["type"] in types])


def ignores_types(request: httpx.Request, events: list[dict[str, Any]], size: int = 10) -> Any:
    query = request.url.params
    events = events[::-1] if query["order"] == "desc" else events
    begin = next((n + 1 for n, one in enumerate(events) if one.get("id") == query.get("after_id", "")), 0)
    rest = events[begin:]
    return page(*rest[:size], more=len(rest) > size)


def oldest_first(request: httpx.Request, events: list[dict[str, Any]]) -> Any:
    return heeds(httpx.Request("GET", request.url.copy_set_param("order", "asc")), events)


def newest_first(request: httpx.Request, events: list[dict[str, Any]]) -> Any:
    return heeds(httpx.Request("GET", request.url.copy_set_param("order", "desc")), events)


def one_a_page(request: httpx.Request, events: list[dict[str, Any]]) -> Any:
    query = request.url.copy_set_param("order", "desc")
    return ignores_types(httpx.Request("GET", query), events, size=1)


def overlapping(request: httpx.Request, events: list[dict[str, Any]]) -> Any:
    answer = heeds(request, events)
    cursor = request.url.params.get("after_id")
    again = [one for one in events if one["id"] == cursor]
    return {**answer, "data": [*again, *again, *answer["data"]]}


def ignores_cursors(request: httpx.Request, events: list[dict[str, Any]]) -> Any:
    types = request.url.params.get_list("types[]")
    return {**page(*[one for one in events if one["type"] in types]), "last_id": None}


def without_ids(request: httpx.Request, events: list[dict[str, Any]]) -> Any:
    return page(
        *[
            {name: value for name, value in one.items() if name != "id"}
            for one in ignores_cursors(request, events)["data"]
        ]
    )


def refuses_cursors(request: httpx.Request, events: list[dict[str, Any]]) -> Any:
    if "after_id" in request.url.params and request.url.params["after_id"].startswith("evt_status_running"):
        return api_error(400, "invalid_request_error", "after_id is not in this list.")
    return heeds(request, events)


SERVERS: list[Listed] = [
    *(heeds, ignores_types, oldest_first, newest_first, one_a_page, overlapping, ignores_cursors, without_ids),
    refuses_cursors,
]
# A turn that fails late; in between the session asks, and goes on by itself.
STORY = [
    *(WORK[0], WORK[1], says("first", -1), event("status_idle", 12, stop_reason="requires_action")),
    *(event("status_running", 13), event("error", 14, error={"type": "x", "retry_status": {"type": "retrying"}})),
    *(
        says("the result", 9),
        idle("cancelled", 20),
        event("status_running", 40),
        says("chat", 32),
        idle("end_turn", 50),
    ),
]


@pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.__name__)
def test_a_run_ends_as_it_ended_however_its_session_is_listed(qoder: Qoder, server: Listed) -> None:
    """At every moment it is told as far as it has come, and once more when it is over."""
    began = qoder.clock.time

    def listed(request: httpx.Request) -> Any:
        return server(request, STORY[: 1 + int(qoder.clock.time - began) // 7])

    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, listed, repeat=True).on(*SESSION, {}, repeat=True)
    qoder.wire.on(*RUN, CURRENT)
    for _ in range(2):
        ran = qoder("run", "wait", "drun_1", "--json")
        assert (ran.code, ran.json["error"]["type"]) == (1, "cancelled")


@pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.__name__)
def test_the_result_is_found_however_the_session_is_listed(qoder: Qoder, server: Listed) -> None:
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, lambda request: server(request, STORY), repeat=True).on(*SESSION, {})
    assert qoder("run", "result", "drun_1").out == "the result\n"


def test_work_without_times_is_placed_where_the_list_has_it(qoder: Qoder) -> None:
    """Only the agent's message, which is asked for last, tells which of the two is the end."""
    told = [idle("end_turn", 6), says("done", 7), idle("end_turn", 8)]
    for each in told:
        del each["processed_at"]

    def listed(request: httpx.Request) -> Any:
        return page(*(each for each in told if each["type"] in request.url.params.get_list("types[]")))

    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, listed, listed).on(*SESSION, {})
    assert qoder("run", "get", "drun_1", "--json").json["status"] == "completed"


TOLD = {  # of a turn that no status begins, what it came to, and its error
    "end_turn": ([FIRST_IDLE, idle("end_turn", 20)], "completed", None),
    "exhausted": (
        [event("error", 8, error={"type": "x", "retry_status": {"type": "exhausted"}}), event("status_idle", 9)],
        *("failed", "x"),
    ),
}


@pytest.mark.parametrize("name", TOLD)
def test_a_first_turn_that_no_status_began_is_not_taken_for_none(qoder: Qoder, name: str) -> None:
    """A later turn, with a status, must not stand for it: the agent's own events tell that it worked."""
    first, status, error = TOLD[name]
    story = [says("working", -3), *first, event("status_running", 40), idle("cancelled", 50)]
    if status == "failed":
        story[-1] = idle("end_turn", 50)

    def listed(request: httpx.Request) -> Any:
        return page(*(each for each in story if each["type"] in request.url.params.get_list("types[]")))

    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, listed, listed).on(*SESSION, {})
    ran = qoder("run", "get", "drun_1", "--json").json
    assert (ran["status"], (ran["error"] or {}).get("type")) == (status, error)


def test_an_error_that_a_later_read_leaves_out_still_counts(qoder: Qoder) -> None:
    """A replica may lag behind the one that was asked before."""
    exhausted = event("error", 8, error={"type": "model_error", "retry_status": {"type": "exhausted"}})
    end = event("status_idle", 30)
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, page(exhausted, end), page(says("working", 1), end)).on(*SESSION, {})
    ran = qoder("run", "get", "drun_1", "--json")
    assert (ran.json["status"], ran.json["error"]["type"]) == ("failed", "model_error")


def test_a_session_whose_next_turn_stands_on_a_later_page_is_at_work(qoder: Qoder) -> None:
    """A turn is the newest: its session's first ending is an earlier one's."""
    session = {"id": "sess_1", "type": "session", "status": "running", "created_at": CURRENT["created_at"]}
    first = {**page(*WORK, idle("end_turn", 9)), "has_more": True, "next_page": "p2"}

    def listed(request: httpx.Request) -> Any:
        return page(ON) if "page" in request.url.params else first

    qoder.wire.tells_of_asks = True
    qoder.wire.on(*SESSION, session, repeat=True).on(*EVENTS, listed, repeat=True)
    ran = qoder("session", "wait", "sess_1", "--timeout", "5s", "--json")
    assert (ran.code, ran.json["turn"]["status"]) == (124, "running")


def test_an_empty_list_may_be_null(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, {"data": None, "has_more": False})
    assert qoder("run", "get", "drun_1", "--json").json["status"] == "running"
    qoder.wire.on("GET", "/deployment_runs", {"data": None})
    assert qoder("run", "list", "--json").json == []


def test_a_session_that_changes_has_a_story_of_its_own(qoder: Qoder) -> None:
    """The first session's ending is not the run's, once the run has another."""
    other = {**LEGACY, "session_id": "sess_2"}
    began = qoder.clock.time
    qoder.wire.on(*RUN, lambda _: LEGACY if qoder.clock.time - began < 100 else other, repeat=True)
    qoder.wire.on(*EVENTS, page(*WORK, idle("end_turn")), repeat=True)
    qoder.wire.on("GET", "/sessions/sess_2/events", page(*WORK), repeat=True)
    ran = qoder("run", "wait", "drun_1", "--timeout", "10m", "--json")
    assert (ran.code, ran.json["status"]) == (124, "running")


@pytest.mark.parametrize("words", [("run", "get", "drun_1"), ("run", "result", "drun_1"), ("run", "logs", "drun_1")])
def test_the_events_of_another_session_say_nothing_of_a_run(qoder: Qoder, words: tuple[str, ...]) -> None:
    """A proxy may answer with what it kept of another request."""
    others = [{**each, "session_id": "sess_2"} for each in (*WORK, says("done", 8), idle("end_turn", 9))]
    qoder.wire.on(*RUN, CURRENT).on(*EVENTS, page(*others), repeat=True)
    ran = qoder(*words, "--json")
    assert (ran.code, "another session" in ran.error["message"], "done" in ran.out) == (7, True, False)


@pytest.mark.parametrize(
    ("session_id", "code"), [("sess_\udc80", 9), ("sess_" + "1" * 70_000, 10)], ids=["odd", "long"]
)
def test_a_session_that_no_url_can_hold_is_no_bug(qoder: Qoder, session_id: str, code: int) -> None:
    """Half a character can be asked for, and is not found."""
    qoder.wire.on(*TRIGGER, {**CURRENT, "session_id": session_id})
    if code == 9:
        qoder.wire.on("GET", "/sessions/sess_%ED%B2%80/events", api_error(404, "not_found_error", "None."), repeat=True)
    ran = qoder("deploy", "run", "dep_1", "--wait", "--json")
    assert (ran.code, ran.json["id"], ran.error["run_id"]) == (code, "drun_1", "drun_1")


# --if-idle


class Deployment(httpx.BaseTransport):
    """A deployment with a history of ended runs, newest first, but for those `going` and `asking`.

    `told` changes the page of a list before it is sent; the list is "runs", "running", "pending" or "sessions".
    """

    def __init__(
        self,
        count: int,
        *,
        generation: Generation = "current",
        going: int = -1,
        asking: int = -1,
        told: Callable[[str, dict[str, Any]], Any] = lambda which, body: body,
    ) -> None:
        self.count, self.generation, self.going, self.asking, self.told = count, generation, going, asking, told
        self.asked: list[str] = []

    @property
    def started(self) -> bool:
        return "POST /deployments/dep_1/run" in self.asked

    def run(self, number: int) -> dict[str, Any]:
        at = f"2026-06-14T0{number // 60}:{number % 60:02}:00Z"
        run = {**CURRENT, "id": f"drun_{number}", "session_id": f"sess_{number}", "created_at": at}
        if self.generation == "current":
            return run
        return {**run, "status": "running" if number in (self.going, self.asking) else "completed"}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        path, query = request.url.path.removeprefix("/api/v1/cloud"), request.url.params
        self.asked.append(f"{request.method} {path}")
        if request.method == "POST":
            return httpx.Response(200, json={**self.run(0), "id": "drun_new", "session_id": "sess_new"})
        if path.endswith("/runs"):
            status = query.get("status")
            runs = [self.run(number) for number in reversed(range(self.count))]
            runs = [run for run in runs if status in (None, run.get("status"))]
            return self.respond(status or "runs", page(*runs[:100], more=len(runs) > 100))
        if path == "/sessions":
            moving = [{"id": f"sess_{self.going}", "status": "running", "deployment_id": "dep_1"}]
            return self.respond("sessions", page(*(moving if self.going >= 0 else [])))
        number = int(path.split("/")[2].removeprefix("sess_"))
        last = [WAITS] if number == self.asking else [END]
        events = [{key: value for key, value in one.items() if key != "processed_at"} for one in (*WORK, *last)]
        return self.respond("events", page(*events))

    def respond(self, which: str, body: dict[str, Any]) -> httpx.Response:
        told = self.told(which, body)
        return told if isinstance(told, httpx.Response) else httpx.Response(200, json=told)


IF_IDLE = ("deploy", "run", "dep_1", "--if-idle", "--json")


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("count", [0, 1, 2, 3, 100, 101, 250])
def test_deploy_run_if_idle_starts_after_five_requests_at_most(
    qoder: Qoder, generation: Generation, count: int
) -> None:
    qoder.transport = server = Deployment(count, generation=generation)
    assert qoder(*IF_IDLE).json["id"] == "drun_new"
    assert len(server.asked) - 1 <= 5


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("on_skip", [(), ("--on-skip", "ok")], ids=["fail", "ok"])
@pytest.mark.parametrize("count", [1, 100, 250])
@pytest.mark.parametrize("place", ["newest", "oldest"])
def test_deploy_run_if_idle_finds_the_run_that_is_going_whatever_the_history(
    qoder: Qoder, generation: Generation, count: int, place: str, on_skip: tuple[str, ...]
) -> None:
    number = count - 1 if place == "newest" else 0
    qoder.transport = server = Deployment(count, generation=generation, going=number)
    ran = qoder(*IF_IDLE, *on_skip)
    assert (ran.code, server.started) == (0 if on_skip else 3, False)
    assert len(server.asked) <= 5
    if generation == "current" and count == 250 and place == "oldest":  # no list names the run of a session
        assert ran.out == ""
        assert on_skip or ran.error["session_id"] == "sess_0"
    else:
        assert ran.json["id"] == f"drun_{number}"


@pytest.mark.parametrize("age", [1, 2, 3])
def test_deploy_run_if_idle_asks_the_newest_three_whether_they_wait(qoder: Qoder, age: int) -> None:
    qoder.transport = server = Deployment(150, asking=150 - age)
    ran = qoder(*IF_IDLE)
    assert (ran.code, ran.json["id"], server.started) == (3, f"drun_{150 - age}", False)
    assert ran.json["requires_action"] == {"event_ids": ["evt_call"]}


def test_deploy_run_if_idle_does_not_ask_older_ones(qoder: Qoder) -> None:
    qoder.transport = Deployment(150, asking=146)
    assert qoder(*IF_IDLE).code == 0


def rows(body: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return a page with these fields in each row."""
    return {**body, "data": [{**row, **fields} for row in body["data"]]}


OTHER = {"id": "sess_x", "status": "running", "deployment_id": "dep_2"}
NOT_TOLD: dict[str, tuple[Generation, str, Callable[[dict[str, Any]], Any]]] = {
    "runs of another deployment": ("current", "runs", lambda body: rows(body, deployment_id="dep_2")),
    "rows that are no runs": ("current", "runs", lambda body: rows(body, id=7, type="x")),
    "a kept list of runs": ("current", "runs", lambda body: httpx.Response(200, json=body, headers={"age": "60"})),
    "runs, has_more a word": ("current", "runs", lambda body: {**body, "has_more": "false"}),
    "runs, oldest first": ("current", "runs", lambda body: {**body, "data": body["data"][::-1]}),
    "sessions without deployment": ("current", "sessions", lambda body: page({"id": "sess_x", "status": "running"})),
    "sessions of all deployments": ("current", "sessions", lambda body: page(OTHER)),
    "sessions at rest": (
        "current",
        "sessions",
        lambda body: page({**OTHER, "deployment_id": "dep_1", "status": "idle"}),
    ),
    "sessions without status": ("current", "sessions", lambda body: page({"id": "sess_x", "deployment_id": "dep_1"})),
    "a list of sessions cut short": ("current", "sessions", lambda body: {**body, "next_page": "more"}),
    "sessions, has_more a word": ("current", "sessions", lambda body: {**body, "has_more": "true"}),
    "a kept list of sessions": (
        "current",
        "sessions",
        lambda _: httpx.Response(200, json=page(), headers={"age": "6"}),
    ),
    "no list of sessions": ("current", "sessions", lambda body: httpx.Response(501)),
    "sessions refused": ("current", "sessions", lambda body: httpx.Response(400, json={})),
    "events of another session": ("current", "events", lambda body: rows(body, session_id="sess_other")),
    "no events": ("current", "events", lambda body: httpx.Response(501)),
    "runs by status refused": ("legacy", "running", lambda body: httpx.Response(400, json={})),
    "runs by status, ended": ("legacy", "running", lambda body: page(DONE)),
    "runs by status cut short": ("legacy", "pending", lambda body: {**body, "has_more": True, "last_id": "drun_5"}),
}


@pytest.mark.parametrize("on_skip", [(), ("--on-skip", "ok")], ids=["fail", "ok"])
@pytest.mark.parametrize(("generation", "which", "told"), NOT_TOLD.values(), ids=NOT_TOLD.keys())
def test_deploy_run_if_idle_starts_nothing_where_it_cannot_be_told(
    qoder: Qoder, generation: Generation, which: str, told: Callable[[Any], Any], on_skip: tuple[str, ...]
) -> None:
    server = Deployment(150, generation=generation, told=lambda each, body: told(body) if each == which else body)
    qoder.transport = server
    ran = qoder(*IF_IDLE, *on_skip)
    assert (ran.code, ran.error["run_state"], ran.out, server.started) == (7, "none", "", False)


@pytest.mark.parametrize("which", ["sessions without deployment", "sessions of all deployments", "sessions at rest"])
def test_deploy_run_if_idle_finds_what_is_going_also_in_a_list_that_does_not_tell_all(qoder: Qoder, which: str) -> None:
    _, _, told = NOT_TOLD[which]
    moving = {"id": "sess_3", "status": "rescheduling", "deployment_id": "dep_1"}

    def with_moving(each: str, body: dict[str, Any]) -> Any:
        return page(*told(body)["data"], moving) if each == "sessions" else body

    qoder.transport = server = Deployment(100, told=with_moving)
    ran = qoder(*IF_IDLE)
    assert (ran.code, ran.json["id"], server.started) == (3, "drun_3", False)


def test_deploy_run_if_idle_of_a_deployment_that_is_not_there_is_exit_5(qoder: Qoder) -> None:
    gone = httpx.Response(404, json=api_error(404, "not_found_error", "None.")[1])
    qoder.transport = Deployment(0, told=lambda which, body: gone)
    assert qoder(*IF_IDLE).code == 5


# A stream that does not deliver


@pytest.mark.parametrize("started", [LEGACY, CURRENT], ids=["legacy", "current"])
def test_an_end_is_heard_within_six_seconds_where_a_stream_is_open_but_silent(
    qoder: Qoder, monkeypatch: pytest.MonkeyPatch, started: dict[str, Any]
) -> None:
    from qoder_cli.runs import listen
    from qoder_cli.sessions.feed import News
    from tests.support.listen import FakeFeed

    class Heartbeats(FakeFeed):
        made: list[FakeFeed] = []  # noqa: RUF012  (what FakeFeed declares)

        def start(self) -> None:
            self.inbox.put(News("up", self.session_id))
            qoder.clock.at_sleep = lambda: self.inbox.put(News("alive", self.session_id))

    began = qoder.clock.time
    monkeypatch.setattr(listen, "Feed", Heartbeats)

    def is_over() -> bool:
        return qoder.clock.time - began >= 60

    qoder.wire.on(*TRIGGER, started)
    if started is LEGACY:
        qoder.wire.on(*RUN, lambda _: DONE if is_over() else LEGACY, repeat=True)
    else:
        qoder.wire.on(*EVENTS, lambda _: page(*WORK, *[END] * is_over()), repeat=True).on(*SESSION, {})
    assert qoder("deploy", "run", "dep_1", "--wait").code == 0
    assert qoder.clock.time - began <= 66
