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


def test_if_idle_does_not_take_the_runs_of_another_deployment_for_its_own(qoder: Qoder) -> None:
    qoder.wire.on(*RUNS, page({**DONE, "deployment_id": "dep_2"}))
    ran = qoder("deploy", "run", "dep_1", "--if-idle", "--json")
    assert (ran.code, "another deployment" in ran.error["message"]) == (7, True)


def test_if_idle_believes_no_list_of_runs_that_a_proxy_has_kept(qoder: Qoder) -> None:
    qoder.wire.on(*RUNS, lambda _: httpx.Response(200, json=page(DONE), headers={"age": "60"}), repeat=True)
    ran = qoder("deploy", "run", "dep_1", "--if-idle", "--json")
    assert (ran.code, "has kept" in ran.error["message"]) == (7, True)


def test_if_idle_believes_no_list_of_sessions_that_a_proxy_has_kept(qoder: Qoder) -> None:
    """It shows none at work, as it was a minute ago."""

    class Kept(Deployment):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            if request.url.path.endswith("/sessions"):
                return httpx.Response(200, json=page(), headers={"age": "60"})
            return super().handle_request(request)

    qoder.transport = server = Kept(moving=3)
    assert qoder("deploy", "run", "dep_1", "--if-idle").code == 3
    assert not any(asked.startswith("POST") for asked in server.asked)


def history(count: int, **fields: Any) -> list[dict[str, Any]]:
    """Return runs of sessions that only these tell the ending of, newest first."""
    at = "2026-06-14T0{}:{:02}:00Z"
    numbers = reversed(range(count))
    return [
        {**CURRENT, "id": f"drun_{n}", "session_id": f"sess_{n}", "created_at": at.format(n // 60, n % 60), **fields}
        for n in numbers
    ]


def of_session(number: int, *events: dict[str, Any]) -> list[dict[str, Any]]:
    return [{key: value for key, value in one.items() if key != "processed_at"} for one in events]


class Deployment(httpx.BaseTransport):
    """A deployment with 100 runs of history, whose sessions are idle but for those in `moving` and `asking`."""

    def __init__(self, *, moving: int = -1, asking: int = -1, filters: bool = True, lists: bool = True) -> None:
        self.moving, self.asking, self.filters, self.lists = moving, asking, filters, lists
        self.asked: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(f"{request.method} {request.url.path}")
        path, query = request.url.path.removeprefix("/api/v1/cloud"), request.url.params
        if request.method == "POST":
            return httpx.Response(200, json=LEGACY)
        if path.endswith("/runs"):
            return httpx.Response(200, json=page(*history(100)))
        if path == "/sessions":
            rows = [
                {"id": f"sess_{n}", "status": "running" if n == self.moving else "idle", "deployment_id": "dep_1"}
                for n in reversed(range(100))
            ]
            rows = [row for row in rows if not self.filters or row["status"] in query.get_list("statuses[]")]
            return httpx.Response(200, json=page(*rows)) if self.lists else httpx.Response(501)
        number = int(path.split("/")[2].removeprefix("sess_"))
        last = [WAITS] if number == self.asking else [] if number == self.moving else [END]
        return httpx.Response(200, json=page(*of_session(number, *WORK, *last)))


@pytest.mark.parametrize("filters", [True, False])
@pytest.mark.parametrize(
    ("asked", "going"),
    [({}, None), ({"moving": 99}, 99), ({"moving": 3}, 3), ({"asking": 99}, 99), ({"asking": 97}, 97)],
)
def test_if_idle_costs_five_requests_at_most(
    qoder: Qoder, filters: bool, asked: dict[str, int], going: int | None
) -> None:
    qoder.transport = server = Deployment(**asked, filters=filters)  # type: ignore[arg-type]  # numbers and truths
    ran = qoder("deploy", "run", "dep_1", "--if-idle", "--json")
    assert (ran.code, ran.json["id"]) == ((0, "drun_1") if going is None else (3, f"drun_{going}"))
    assert len([each for each in server.asked if each.startswith("GET")]) <= 5
    assert ("POST /api/v1/cloud/deployments/dep_1/run" in server.asked) == (going is None)


def test_if_idle_starts_nothing_where_a_session_at_work_is_listed_again_at_rest(qoder: Qoder) -> None:
    class Twice(Deployment):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            answer = super().handle_request(request)
            if not request.url.path.endswith("/sessions"):
                return answer
            again = {"id": "sess_3", "status": "idle", "deployment_id": "dep_1"}
            return httpx.Response(200, json=page(*answer.json()["data"], again))

    qoder.transport = Twice(moving=3, filters=False)
    ran = qoder("deploy", "run", "dep_1", "--if-idle", "--json")
    assert (ran.code, ran.json["id"]) == (3, "drun_3")


def test_if_idle_starts_nothing_where_it_cannot_be_known(qoder: Qoder) -> None:
    qoder.clock.sleep = lambda seconds: None  # type: ignore[method-assign]  # time stands still
    qoder.transport = Deployment(lists=False)
    assert qoder("deploy", "run", "dep_1", "--if-idle").code == 3


def test_if_idle_finds_a_session_whose_run_is_not_listed(qoder: Qoder) -> None:
    qoder.wire.on(*RUNS, page(*history(5))).on(
        *SESSIONS, page({"id": "sess_x", "status": "running", "deployment_id": "dep_1"})
    )
    for n in (4, 3):
        qoder.wire.on("GET", f"/sessions/sess_{n}/events", page(*of_session(n, *WORK, END)))
    qoder.wire.on("GET", "/sessions/sess_2/events", page(*of_session(2, *WORK, END)))
    ran = qoder("deploy", "run", "dep_1", "--if-idle", "--json")
    assert (ran.code, ran.out, ran.error["session_id"]) == (3, "", "sess_x")


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
