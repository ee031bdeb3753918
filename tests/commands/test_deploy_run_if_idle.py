"""`qoder deploy run --if-idle`: nothing is started while a run is going, or where that cannot be told."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest

from qoder_cli.sandbox.scripts import Behaviour, turn
from qoder_cli.sandbox.wire import GENERATIONS, Generation
from qoder_cli.sandbox.world import World
from tests.conftest import TOKEN, Qoder
from tests.support.cells import checkerboard
from tests.support.inprocess import WorldTransport
from tests.support.one_run import DONE
from tests.support.wire import api_error, page

IF_IDLE = ("deploy", "run", "dep_1", "--if-idle", "--json")
Told = Callable[[str, Any], Any]
ON_SKIP = pytest.mark.parametrize("on_skip", [(), ("--on-skip", "ok")], ids=["fail", "ok"])
BOTH = pytest.mark.parametrize("generation", GENERATIONS)


class Place:
    """A deployment with `count` runs, all ended but the one `going` and the one `asking`, counted from the oldest.

    `told` may change a list before it is shown: "runs", "running" and "pending" (runs by status), "sessions", "events".
    With `more` the list of runs is said to go on.
    """

    def __init__(
        self,
        qoder: Qoder,
        count: int,
        generation: Generation = "current",
        *,
        going: int = -1,
        asking: int = -1,
        more: bool = False,
        told: Told = lambda which, body: body,
    ) -> None:
        self.world = World(clock=qoder.clock.now, generation=generation, token=TOKEN, seed=7)
        self.told, self.more = told, more
        deployment = self.world.add_deployment(id="dep_1", name="nightly")
        behaviours = {going: Behaviour(turn(seconds=1e6)), asking: self.world.deployments["dep_ask"].behaviour}
        ended = deployment.behaviour
        self.runs = []
        for number in range(count):
            deployment.behaviour = behaviours.get(number, ended)
            at = self.world.now() - 60 * (count - number) - 3600
            self.runs.append(self.world.start(deployment, at=at, trigger="schedule"))
        deployment.behaviour = ended
        qoder.transport = WorldTransport(self.world, sleep=qoder.clock.sleep, lie=self._tell)

    def _tell(self, request: httpx.Request, answer: Callable[[], httpx.Response]) -> httpx.Response:
        true = answer()
        body = httpx.Response(true.status_code, content=true.read()).json()
        path, query = request.url.path, request.url.params
        which = query.get("status", "runs") if path.endswith("/runs") else path.rpartition("/")[2]
        if which == "runs" and self.more:
            body |= {"has_more": True, "next_page": "p2"}
        told = self.told(which, body) if request.method == "GET" else body
        if isinstance(told, httpx.Response):
            return told
        return httpx.Response(true.status_code, json=told, headers={"date": true.headers["date"]})

    @property
    def started(self) -> int:
        return len(self.world.started())


def test_deploy_run_if_idle_starts_nothing_where_a_session_does_not_say_why_it_stopped(qoder: Qoder) -> None:
    def without_reason(which: str, body: Any) -> Any:
        for event in body["data"] if which == "events" else ():
            if event["type"] == "session.status_idle":
                event["stop_reason"] = {**event["stop_reason"], "type": ""}
        return body

    place = Place(qoder, 1, asking=0, told=without_reason)
    ran = qoder(*IF_IDLE)
    assert (ran.code, place.started) == (7, 0), ran
    assert "why run" in ran.error["message"]


REQUESTS: dict[Generation, dict[int, int]] = {  # by the number of runs
    "legacy": {0: 1, 1: 1, 3: 1, 100: 1, 201: 3},
    "current": {0: 1, 1: 3, 3: 5, 100: 5, 201: 5},
}


@pytest.mark.parametrize(("generation", "count"), [(each, count) for each in GENERATIONS for count in REQUESTS[each]])
def test_deploy_run_if_idle_starts_after_at_most_5_requests(qoder: Qoder, generation: Generation, count: int) -> None:
    place = Place(qoder, count, generation)
    assert qoder(*IF_IDLE).code == 0
    assert place.started == 1
    assert len(place.world.requests) - 1 == REQUESTS[generation][count]


@BOTH
@ON_SKIP
@pytest.mark.parametrize("count", [1, 101])
@pytest.mark.parametrize("which", ["newest", "oldest"])
@pytest.mark.few(5)
def test_deploy_run_if_idle_finds_the_run_that_is_going_whatever_the_history(
    qoder: Qoder, generation: Generation, count: int, which: str, on_skip: tuple[str, ...]
) -> None:
    number = count - 1 if which == "newest" else 0
    place = Place(qoder, count, generation, going=number)
    ran = qoder(*IF_IDLE, *on_skip)
    assert (ran.code, place.started) == (0 if on_skip else 3, 0)
    assert len(place.world.requests) <= 5
    is_run_listed = generation == "legacy" or count == 1 or which == "newest"  # else only its session is
    going = place.runs[number].id
    if not is_run_listed:
        going = place.runs[number].fields["session_id"]
    if on_skip:
        assert ran.json == {"id": None, "input": "dep_1", "exit_code": 0, "going": going}
        assert f"nothing was started: {'run' if is_run_listed else 'session'} {going}" in ran.err
        assert qoder(*IF_IDLE[:-1], *on_skip, "--result", "-q").out == ""  # it is no run of this command
    elif is_run_listed:
        assert ran.json["id"] == going
        assert ran.error["next"] == ["qoder", "run", "wait", going, "-o", "json"]
    else:
        assert (ran.out, ran.error["session_id"]) == ("", going)


def test_deploy_run_if_idle_on_skip_ok_names_the_session_of_a_run_that_is_not_listed(qoder: Qoder) -> None:
    place = Place(qoder, 101, "current", going=0)
    assert qoder(*IF_IDLE, "--on-skip", "ok").json["going"] == place.runs[0].fields["session_id"]


@pytest.mark.parametrize(("age", "is_turned"), checkerboard([1, 2, 3, 4], [False, True]))
def test_deploy_run_if_idle_asks_the_newest_three_whether_they_wait(qoder: Qoder, age: int, is_turned: bool) -> None:
    lists = on("runs", NOT_TOLD["runs, oldest first"][2]) if is_turned else on("", dict)
    place = Place(qoder, 5, asking=5 - age, more=not is_turned, told=lists)
    ran = qoder(*IF_IDLE)
    assert (ran.code, place.started) == ((3, 0) if age < 4 else (0, 1))
    assert age == 4 or (ran.json["id"], *ran.json["requires_action"]) == (place.runs[-age].id, "event_ids")


def test_deploy_run_if_idle_asks_three_runs_though_one_is_listed_twice(qoder: Qoder) -> None:
    repeating = on("runs", lambda body: {**body, "data": [*body["data"][:1] * 3, *body["data"][1:]]})
    place = Place(qoder, 5, asking=3, told=repeating)
    assert (qoder(*IF_IDLE).code, place.started) == (3, 0)


@pytest.mark.parametrize(("count", "code"), [(3, 0), (4, 7)])
def test_deploy_run_if_idle_starts_nothing_where_it_cannot_know_the_newest_three(
    qoder: Qoder, count: int, code: int
) -> None:
    place = Place(qoder, count, asking=4, told=on("runs", NOT_TOLD["runs without times"][2]))
    ran = qoder(*IF_IDLE)
    assert (ran.code, place.started) == (code, code == 0)
    assert code == 0 or "does not say when its runs were created" in ran.error["message"]


def on(list_: str, change: Callable[[Any], Any]) -> Told:
    return lambda which, body: change(body) if which == list_ else body


def rows(body: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {**body, "data": [{**row, **fields} for row in body["data"]]}


def endless() -> httpx.Response:
    event = {"id": f"evt_{uuid4().hex}", "type": "agent.message"}
    return httpx.Response(200, json={**page(event), "next_page": uuid4().hex})


def kept(body: Any) -> httpx.Response:
    return httpx.Response(200, json=body, headers={"age": "60"})


OTHER = {"id": "sess_x", "status": "running", "deployment_id": "dep_2"}
OURS = {**OTHER, "deployment_id": "dep_1"}
NOT_TOLD: dict[str, tuple[Generation, str, Callable[[Any], Any]]] = {
    "runs of another deployment": ("current", "runs", lambda body: rows(body, deployment_id="dep_2")),
    "rows that are no runs": ("current", "runs", lambda body: rows(body, id=7, type="x")),
    "a kept list of runs": ("current", "runs", kept),
    "runs, has_more a word": ("current", "runs", lambda body: {**body, "has_more": "false"}),
    "two runs, but more": ("current", "runs", lambda body: {**body, "data": body["data"][:2]}),
    "runs, oldest first": ("current", "runs", lambda body: {**body, "data": body["data"][::-1]}),
    "runs without times": ("current", "runs", lambda body: rows(body, created_at=None)),
    "sessions without deployment": ("current", "sessions", lambda body: page({"id": "sess_x", "status": "running"})),
    "sessions of all deployments": ("current", "sessions", lambda body: page(OTHER)),
    "sessions at rest": ("current", "sessions", lambda body: page({**OURS, "status": "idle"})),
    "sessions without status": ("current", "sessions", lambda body: page({"id": "sess_x", "deployment_id": "dep_1"})),
    "sessions without id": ("current", "sessions", lambda body: page({"status": "running", "deployment_id": "dep_1"})),
    "a list of sessions cut short": ("current", "sessions", lambda body: {**body, "next_page": "more"}),
    "sessions, has_more a word": ("current", "sessions", lambda body: {**body, "has_more": "true"}),
    "a kept list of sessions": ("current", "sessions", kept),
    "no list of sessions": ("current", "sessions", lambda body: httpx.Response(501)),
    "sessions refused": ("current", "sessions", lambda body: httpx.Response(400, json={})),
    "events of another session": ("current", "events", lambda body: rows(body, session_id="sess_other")),
    "events without end": ("current", "events", lambda body: endless()),
    "no events": ("current", "events", lambda body: httpx.Response(501)),
    "runs by status refused": ("legacy", "running", lambda body: httpx.Response(400, json={})),
    "runs by status, ended": ("legacy", "running", lambda body: page(DONE)),
    "runs by status cut short": ("legacy", "pending", lambda body: {**body, "has_more": True, "last_id": "drun_5"}),
}


@pytest.mark.parametrize(("case", "on_skip"), checkerboard(NOT_TOLD, ((), ("--on-skip", "ok"))))
def test_deploy_run_if_idle_starts_nothing_in_doubt(qoder: Qoder, case: str, on_skip: tuple[str, ...]) -> None:
    generation, which, change = NOT_TOLD[case]
    place = Place(qoder, 4, generation, more=True, told=on(which, change))
    ran = qoder(*IF_IDLE, *on_skip)
    assert (ran.code, ran.out, place.started) == (7, "", 0)
    assert len(place.world.requests) <= 5 or "kept" in case  # which is read again
    assert ran.error["run_state"] == "none"
    assert ran.error["message"].count("cannot tell") == (case != "a kept list of runs")


NOT_ALL = ["sessions without deployment", "sessions of all deployments", "sessions at rest"]


@pytest.mark.parametrize(("case", "named"), checkerboard(NOT_ALL, ["dep_1", None]))
def test_deploy_run_if_idle_finds_what_is_going_also_in_a_list_that_does_not_tell_all(
    qoder: Qoder, case: str, named: str | None
) -> None:
    def with_moving(which: str, body: Any) -> Any:
        moving = {"id": place.runs[3].fields["session_id"], "status": "rescheduling", "deployment_id": named}
        return page(*NOT_TOLD[case][2](body)["data"], moving) if which == "sessions" else body

    place = Place(qoder, 4, more=True, told=with_moving)
    ran = qoder(*IF_IDLE)
    assert (ran.code, ran.json["id"], place.started) == (3, place.runs[3].id, 0)


def test_deploy_run_if_idle_of_a_deployment_that_is_not_there_is_exit_5(qoder: Qoder) -> None:
    Place(qoder, 0, told=lambda which, body: GONE)
    assert qoder(*IF_IDLE).code == 5


GONE = httpx.Response(404, json=api_error(404, "not_found_error", "None.")[1])


@pytest.mark.parametrize(
    ("age", "answer", "fields", "code"),
    [
        *((60, GONE, {}, 3), (300, GONE, {}, 3), (301, GONE, {}, 0), (3600, GONE, {"created_at": None}, 3)),
        (3600, httpx.Response(404, html="<h1>No.</h1>"), {}, 3),
    ],
)
def test_deploy_run_if_idle_takes_a_session_that_is_not_there_for_ended_only_once_it_is_old(
    qoder: Qoder, age: int, answer: httpx.Response, fields: dict[str, Any], code: int
) -> None:
    place = Place(qoder, 0, told=lambda which, body: {"events": answer, "runs": rows(body, **fields)}.get(which, body))
    place.world.start(place.world.deployments["dep_1"], at=place.world.now() - age, trigger="schedule")
    ran = qoder(*IF_IDLE)
    assert (ran.code, place.started) == (code, 1 if code == 0 else 0), ran.err


WORKING = {
    "by its events alone": on("sessions", lambda body: page()),
    "without a session": on("runs", lambda body: rows(body, session_id=None)),
    "in a session that no run names": on("runs", lambda body: rows(body, session_id=None, error={"type": "x"})),
}


@pytest.mark.parametrize("shown", WORKING)
def test_deploy_run_if_idle_finds_a_run_that_works(qoder: Qoder, shown: str) -> None:
    place = Place(qoder, 4, going=3, more="no run" in shown, told=WORKING[shown])
    assert (qoder(*IF_IDLE).code, place.started) == (3, 0)
