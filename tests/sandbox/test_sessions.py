"""Sessions that a client creates, changes and ends; their threads, resources, and the models."""

from typing import Any

import httpx
import pytest

from qoder_cli.sandbox.wire import GENERATIONS
from tests.support.sandbox_desk import BODY, Desk

AGENT, ENVIRONMENT = BODY["agent"], BODY["environment_id"]


@pytest.fixture(params=GENERATIONS)
def desk(request: pytest.FixtureRequest) -> Desk:
    return Desk(request.param)


@pytest.fixture
def current() -> Desk:
    return Desk("current")


def said(text: str) -> dict[str, Any]:
    return {"type": "user.message", "content": [{"type": "text", "text": text}]}


def made(desk: Desk, *texts: str, **fields: Any) -> Any:
    """Create a session that begins with these messages, and return it."""
    events = {"initial_events": [said(text) for text in texts]} if texts else {}
    answer = desk.post("/sessions", {"agent": AGENT, "environment_id": ENVIRONMENT, **events, **fields})
    assert answer.status_code in (200, 201), answer.text
    return answer.json()


def texts(desk: Desk, session: Any) -> list[str]:
    events = desk.events({"session_id": session["id"]}, types="user.message,agent.message")
    return [event["content"][0]["text"] for event in events]


def test_a_session_does_what_it_is_created_for(desk: Desk) -> None:
    session = made(desk, "What is new?", title="News", metadata={"qoder_key": "k-1"})
    assert session["agent"] | {"id": AGENT, "type": "agent", "version": 1} == session["agent"]
    assert (session["title"], session["metadata"], session["deployment_id"]) == ("News", {"qoder_key": "k-1"}, None)
    desk.clock.sleep(4)
    assert texts(desk, session) == ["What is new?", "You said: What is new?"]
    assert desk.get(f"/sessions/{session['id']}")["status"] == "idle"


def test_a_session_without_a_message_waits_for_one(desk: Desk) -> None:
    session = made(desk)
    desk.clock.sleep(60)
    assert desk.events({"session_id": session["id"]}) == []
    assert (session["status"], session["title"], session["usage"]) == ("idle", None, {"total_credits": 0})
    assert desk.post(f"/sessions/{session['id']}/events", {"events": [said("Hello")]}).is_success
    desk.clock.sleep(4)
    assert texts(desk, session) == ["Hello", "You said: Hello"]


def test_the_agent_decides_what_a_session_is_like(desk: Desk) -> None:
    session = made(desk, "Push it.", agent={"id": "agent_ask", "type": "agent", "version": 3})
    assert session["agent"]["version"] == 3
    desk.clock.sleep(3)
    assert desk.events({"session_id": session["id"]})[-1]["stop_reason"]["type"] == "requires_action"
    like = desk.get("/deployments/dep_ask")["agent"]["id"]
    assert like == "agent_ask"


def test_an_agent_may_be_changed_for_a_session(desk: Desk) -> None:
    agent = {"id": AGENT, "type": "agent_with_overrides", "model": {"id": "auto"}, "system": "Be short."}
    shown = made(desk, agent=agent)["agent"]
    assert (shown["type"], shown["model"], shown["system"]) == ("agent", {"id": "auto"}, "Be short.")
    assert shown["name"] == "sandbox-agent"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"agent": None}, "agent"),
        ({"agent_id": AGENT}, "agent_id"),
        ({"agent": {"id": AGENT}}, "agent.type"),
        ({"agent": {"id": AGENT, "type": "agent", "model": "auto"}}, "agent.model"),
        ({"environment_id": "dep_1"}, "environment_id"),
        ({"initial_events": [{**said("."), "type": "system.message"}]}, "initial_events.0.type"),
        ({"initial_events": [{"type": "user.message", "content": "plain"}]}, "initial_events.0.content"),
        ({"resources": [{"type": "file"}]}, "resources.0.file_id"),
        ({"metadata": {"key": 1}}, "metadata.key"),
        ({"budget": {"type": "limit", "max_credit_cost": "0"}}, "budget.max_credit_cost"),
        ({"environment_variables": {"QODER_X": "1"}}, "environment_variables"),
        ({"tunnel_id": "x"}, "tunnel_id"),
    ],
)
def test_a_session_that_is_wrong_is_refused_by_name(current: Desk, change: dict[str, Any], param: str) -> None:
    body = {"agent": AGENT, "environment_id": ENVIRONMENT, **change}
    assert current.refused("POST", "/sessions", json=body) == (400, "invalid_request_error", param)
    assert current.get("/sessions")["data"] == []


def test_variables_are_written_as_each_generation_wants_them(desk: Desk) -> None:
    right: Any = {"A": "1", "B": "x=y"}
    wrong: Any = "A=1;B=x=y"
    if desk.generation == "legacy":
        right, wrong = wrong, right
    assert made(desk, environment_variables=right)["environment_variables"] == {"A": "1", "B": "x=y"}
    body = {"agent": AGENT, "environment_id": ENVIRONMENT, "environment_variables": wrong}
    assert desk.refused("POST", "/sessions", json=body)[2] == "environment_variables"


def test_an_update_changes_what_it_names(desk: Desk) -> None:
    session = made(desk, metadata={"a": "1", "b": "2"}, budget={"type": "limit", "max_credit_cost": "5"})
    path = f"/sessions/{session['id']}"
    desk.clock.sleep(5)
    changed = desk.post(path, {"title": "New", "metadata": {"a": None, "c": "3"}, "budget": None}).json()
    assert (changed["title"], changed["metadata"], "budget" in changed) == ("New", {"b": "2", "c": "3"}, False)
    assert changed["updated_at"] > session["updated_at"]
    assert desk.get(path) == changed
    assert desk.refused("POST", path, json={"vault_ids": []})[2] == "vault_ids"
    assert desk.post(path, {"agent": {"tools": []}}).json()["agent"]["tools"] == []


def test_an_archived_session_is_out_of_the_list_and_takes_nothing_more(desk: Desk) -> None:
    session = made(desk)
    path = f"/sessions/{session['id']}"
    archived = desk.post(path + "/archive").json()
    assert archived["archived_at"] is not None
    assert desk.get("/sessions")["data"] == []
    assert [one["id"] for one in desk.get("/sessions", include_archived="true")["data"]] == [session["id"]]
    assert desk.get(path) == archived
    writes = {"": {"title": "x"}, "/archive": {}, "/events": {"events": [said("Hi")]}, "/resources": {"type": "file"}}
    for below, body in writes.items():
        assert desk.refused("POST", path + below, json=body)[0] == 409


def test_a_deleted_session_is_gone(desk: Desk) -> None:
    path = f"/sessions/{made(desk, 'Hello')['id']}"
    answer = desk.http.delete(path).json()
    assert answer == {"id": path.removeprefix("/sessions/"), "type": "session_deleted"}
    assert desk.refused("GET", path)[0] == desk.refused("DELETE", path)[0] == 404


def test_sessions_are_found_by_their_agent_and_time(desk: Desk) -> None:
    run = desk.run("dep_demo")
    desk.clock.sleep(60)
    one, other = made(desk), made(desk, agent="agent_ask")
    ids = {session["id"] for session in desk.get("/sessions", **{"created_at[gte]": one["created_at"]})["data"]}
    assert ids == {one["id"], other["id"]}
    assert [each["id"] for each in desk.get("/sessions", agent_id="agent_ask")["data"]] == [other["id"]]
    found = desk.get("/sessions", deployment_id="dep_demo", **{"statuses[]": "idle"})["data"]
    assert [each["id"] for each in found] == [run["session_id"]]


def test_a_run_hands_on_what_its_deployment_has(current: Desk) -> None:
    resources = [{"type": "file", "file_id": "file_1"}]
    more = {"environment_variables": "A=1\nB=2", "vault_ids": ["vault_1"], "resources": resources}
    deployment = current.post("/deployments", BODY | more).json()
    session = current.get(f"/sessions/{current.run(deployment['id'])['session_id']}")
    assert (session["environment_variables"], session["vault_ids"]) == ({"A": "1", "B": "2"}, ["vault_1"])
    assert session["resources"][0]["mount_path"] == "/mnt/session/uploads/file_1"


# Threads, resources, models


def test_a_session_has_one_thread(desk: Desk) -> None:
    session = made(desk, "Hello")
    path = f"/sessions/{session['id']}/threads"
    desk.clock.sleep(4)
    [thread] = desk.get(path)["data"]
    assert (thread["session_id"], thread["parent_thread_id"], thread["status"]) == (session["id"], None, "idle")
    assert desk.get(f"{path}/{thread['id']}") == thread
    events = desk.get(f"{path}/{thread['id']}/events", limit=100)["data"]
    assert events == desk.events({"session_id": session["id"]})
    assert {event.get("session_thread_id") for event in events} == {None, thread["id"]}
    below = f"/threads/{thread['id']}/stream"
    with desk.stream({"session_id": session["id"]}, path=below, after=events[0]["id"]) as told:
        assert next(told) == events[1]
    assert desk.refused("POST", f"{path}/{thread['id']}/archive") == (409, "conflict_error", None)
    assert desk.refused("GET", f"{path}/sthr_none")[0] == 404


def test_files_are_added_to_a_session_and_taken_away(desk: Desk) -> None:
    repository = {"type": "github_repository", "url": "https://github.com/o/r", "authorization_token": "secret"}
    session = made(desk, resources=[repository])
    path = f"/sessions/{session['id']}/resources"
    [repo] = desk.get(path)["data"]
    assert repo["id"].startswith("sesr_")
    assert "authorization_token" not in repo
    added = desk.post(path, {"type": "file", "file_id": "file_1"}).json()
    assert added["mount_path"] == "/mnt/session/uploads/file_1"
    assert desk.refused("POST", path, json={"type": "file", "file_id": "file_1"})[0] == 409
    assert desk.refused("POST", path, json={"type": "memory_store", "memory_store_id": "memstore_1"})[0] == 400
    assert desk.get(path)["data"] == desk.get(f"/sessions/{session['id']}")["resources"] == [repo, added]
    renewed = desk.post(f"{path}/{repo['id']}", {"authorization_token": "another"})
    assert (renewed.status_code, "another" in renewed.text) == (200, False)
    assert desk.refused("POST", f"{path}/{repo['id']}", json={"password": "x"})[2] == "password"
    assert desk.http.delete(f"{path}/{added['id']}").json() == {"id": added["id"], "type": "session_resource_deleted"}
    assert desk.refused("GET", f"{path}/{added['id']}")[0] == 404


def test_models_are_listed(desk: Desk) -> None:
    page = desk.get("/models")
    assert [model["id"] for model in page["data"]] == ["auto", "ultimate"]
    assert page["has_more"] is False


# Faults, and what comes over the stream


@pytest.mark.parametrize(("fault", "acts"), [("drop-before", 0), ("drop-after", 1), ("act-503", 1), ("503", 0)])
def test_a_create_may_be_lost_before_or_after_it_acts(desk: Desk, fault: str, acts: int) -> None:
    desk.faults.add(f"session-write:{fault}")
    try:
        status = desk.post("/sessions", {"agent": AGENT, "environment_id": ENVIRONMENT}).status_code
        assert status == 503
    except httpx.RemoteProtocolError:
        assert fault.startswith("drop")
    assert len(desk.get("/sessions")["data"]) == acts


def test_a_message_is_previewed_while_it_is_written(desk: Desk) -> None:
    run = desk.run()
    came: list[tuple[float, str]] = []
    with desk.stream(run, deltas=["agent.message"]) as told:
        for event in told:
            came.append((desk.clock.now, event["type"]))
            if event["type"] == "session.status_idle":
                break
    writing = [at for at, kind in came if kind in ("event_start", "event_delta", "agent.message")]
    assert len(set(writing)) == len(writing) > 3


def test_a_message_that_is_interrupted_has_no_end(desk: Desk) -> None:
    run = desk.run()
    with desk.stream(run, deltas=["agent.message"]) as told:
        for event in told:
            if event["type"] == "event_delta":
                break
        desk.post(f"/sessions/{run['session_id']}/events", {"events": [{"type": "user.interrupt"}]})
        rest = [next(told) for _ in range(3)]
    assert [event["type"] for event in rest] == ["user.interrupt", "session.thread_status_idle", "session.status_idle"]
    assert event["event_id"] not in {event["id"] for event in rest}


def test_a_stranger_creates_the_same_without_our_mark(desk: Desk) -> None:
    desk.faults.add("session-write:stranger")
    session = made(desk, "Hello", metadata={"qoder_key": "k-1"})
    by_id = {one["id"]: one["metadata"] for one in desk.get("/sessions")["data"]}
    assert by_id.pop(session["id"]) == {"qoder_key": "k-1"}
    assert list(by_id.values()) == [{}]


def test_an_agent_whose_runs_never_start_is_an_ordinary_one_in_a_session(desk: Desk) -> None:
    session = made(desk, "Hello", agent="agent_nostart")
    desk.clock.sleep(4)
    assert texts(desk, session) == ["Hello", "You said: Hello"]
