"""Sessions of `qoder sandbox` that a client creates, changes and ends; their threads and resources."""

from typing import Any

import pytest

from tests.sandbox.desk import AGENT, Desk, said


def texts(desk: Desk, session: Any) -> list[str]:
    events = desk.events(session, types="user.message,agent.message")
    return [event["content"][0]["text"] for event in events]


@pytest.mark.parametrize("agent", [AGENT, "agent_skip"])  # whose runs never start is an ordinary one here
def test_sandbox_does_in_a_session_what_it_is_created_for(desk: Desk, agent: str) -> None:
    begin = {"initial_events": [said("What is new?")], "metadata": {"qoder_key": "k-1"}}
    session = desk.made("/sessions", agent=agent, title="News", **begin)
    assert {"id": agent, "type": "agent", "version": 1}.items() <= session["agent"].items()
    assert {"title": "News", "metadata": {"qoder_key": "k-1"}, "deployment_id": None}.items() <= session.items()
    desk.clock.sleep(4)
    assert texts(desk, session) == ["What is new?", "You said: What is new?"]
    assert desk.get(f"/sessions/{session['id']}")["status"] == "idle"


def test_sandbox_sessions_are_as_their_agent_and_as_it_is_changed_for_them(desk: Desk) -> None:
    asks = {"id": "agent_ask", "type": "agent", "version": 1}
    session = desk.made("/sessions", agent=asks, initial_events=[said("Push it.")])
    assert asks.items() <= session["agent"].items()
    desk.clock.sleep(3)
    assert desk.events(session)[-1]["stop_reason"]["type"] == "requires_action"
    overrides = {"id": AGENT, "type": "agent_with_overrides", "model": {"id": "auto"}, "system": "Be short."}
    shown = desk.made("/sessions", agent=overrides)["agent"]
    assert (overrides | {"type": "agent", "name": "demo-agent"}).items() <= shown.items()


@pytest.mark.parametrize("variables", [{"A": "1", "B": "x=y"}, "A=1;B=x=y", "A=1\nB=x=y"])
def test_sandbox_takes_variables_of_a_session_as_text_and_as_object(desk: Desk, variables: Any) -> None:
    session = desk.made("/sessions", environment_variables=variables)
    assert session["environment_variables"] == {"A": "1", "B": "x=y"}
    path = f"/sessions/{desk.made('/sessions')['id']}"
    assert desk.done(path, environment_variables=variables)["environment_variables"] == {"A": "1", "B": "x=y"}


def test_sandbox_changes_of_a_session_what_an_update_names(desk: Desk) -> None:
    budget = {"type": "limit", "max_credit_cost": "5"}
    session = desk.made("/sessions", metadata={"a": "1", "b": "2"}, budget=budget)
    path = f"/sessions/{session['id']}"
    desk.clock.sleep(5)
    changed = desk.done(path, title="New", metadata={"a": None, "c": "3"}, budget=None)
    assert (changed["title"], changed["metadata"], "budget" in changed) == ("New", {"b": "2", "c": "3"}, False)
    assert changed["updated_at"] > session["updated_at"]
    assert desk.get(path) == changed
    assert desk.refused("POST", path, json={"vault_ids": []})[2] == "vault_ids"
    assert desk.done(path, agent={"tools": []})["agent"]["tools"] == []


def test_sandbox_takes_nothing_more_for_an_archived_session(desk: Desk) -> None:
    path = f"/sessions/{desk.made('/sessions')['id']}"
    archived = desk.done(path + "/archive")
    assert archived["archived_at"] is not None
    assert desk.ids("/sessions") == []
    assert desk.ids("/sessions", include_archived="true") == [archived["id"]]
    assert desk.get(path) == archived
    writes = {"": {"title": "x"}, "/archive": {}, "/events": {"events": [said("Hi")]}, "/resources": {"type": "file"}}
    assert [desk.refused("POST", path + below, json=body)[0] for below, body in writes.items()] == [409] * 4


def test_sandbox_gives_a_session_one_thread(desk: Desk) -> None:
    session = desk.made("/sessions", initial_events=[said("Hello")])
    path = f"/sessions/{session['id']}/threads"
    desk.clock.sleep(4)
    [thread] = desk.get(path)["data"]
    assert {"session_id": session["id"], "parent_thread_id": None, "status": "idle"}.items() <= thread.items()
    assert desk.get(f"{path}/{thread['id']}") == thread
    events = desk.get(f"{path}/{thread['id']}/events", limit=100)["data"]
    assert events == desk.events(session)
    assert {event.get("session_thread_id") for event in events} == {None, thread["id"]}
    below = f"/threads/{thread['id']}/stream"
    with desk.stream({"session_id": session["id"]}, path=below, after=events[0]["id"]) as told:
        assert next(told) == events[1]
    assert desk.refused("POST", f"{path}/{thread['id']}/archive") == (409, "conflict_error", None)


def test_sandbox_adds_resources_to_a_session_and_takes_them_away(desk: Desk) -> None:
    repository = {"type": "github_repository", "url": "https://github.com/o/r", "authorization_token": "secret"}
    session = f"/sessions/{desk.made('/sessions', resources=[repository])['id']}"
    path = f"{session}/resources"
    [repo] = desk.get(path)["data"]
    assert repo["id"].startswith("sesr_")
    assert "authorization_token" not in repo
    file = {"type": "file", "file_id": "file_notes"}
    added = desk.done(path, **file)
    assert added["mount_path"] == "/mnt/session/uploads/file_notes"
    assert desk.refused("POST", path, json=file)[0] == 409
    assert desk.refused("POST", path, json={"type": "memory_store", "memory_store_id": "memstore_1"})[0] == 400
    assert desk.get(path)["data"] == desk.get(session)["resources"] == [repo, added]
    renewed = desk.post(f"{path}/{repo['id']}", {"authorization_token": "another"})
    assert (renewed.status_code, "another" in renewed.text) == (200, False)
    assert desk.refused("POST", f"{path}/{repo['id']}", json={"password": "x"})[2] == "password"
    assert desk.http.delete(f"{path}/{added['id']}").json() == {"id": added["id"], "type": "session_resource_deleted"}
    assert desk.status(f"{path}/{added['id']}") == 404
