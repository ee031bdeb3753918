"""The rehearsal server: as strict as the documented API on both generations, and wrong exactly as ordered."""

import itertools
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from qoder_cli.base.errors import UsageError
from qoder_cli.commands.sandbox import sandbox as sandbox_command
from qoder_cli.commands.sandbox import variables
from qoder_cli.sandbox import faults
from qoder_cli.sandbox.faults import Faults
from qoder_cli.sandbox.samples import PRESETS, Preset
from qoder_cli.sandbox.server import Server, serve
from qoder_cli.sandbox.wire import GENERATIONS, Request
from qoder_cli.sandbox.world import World
from tests.support.nursery import PATIENCE
from tests.support.processes import until
from tests.support.sandbox_desk import AUTH, BODY, START, TOKEN, Desk, needs_signals, sandbox, started
from tests.support.seeds import seed_runs

RUN_KEYS = ["id", "type", "deployment_id", "agent", "created_at", "session_id", "error", "trigger_context"]
DEPLOYMENT_KEYS = [
    *("id", "type", "name", "description", "agent", "environment_id", "environment_variables", "initial_events"),
    *("metadata", "paused_reason", "resources", "schedule", "status", "vault_ids"),
    *("created_at", "updated_at", "archived_at"),
]


@pytest.fixture(params=GENERATIONS)
def desk(request: pytest.FixtureRequest) -> Desk:
    return Desk(request.param)


@pytest.fixture
def current() -> Desk:
    return Desk("current")


@pytest.fixture
def legacy() -> Desk:
    return Desk("legacy")


# Who may ask, and what for


@pytest.mark.parametrize(
    "headers",
    [{}, {"x-api-key": "pt-sandbox"}, {"Authorization": "Bearer pt-other"}, {"Authorization": "Basic pt-sandbox"}],
)
def test_without_the_bearer_token_nothing_is_done(desk: Desk, headers: dict[str, str]) -> None:
    del desk.http.headers["Authorization"]
    refusal = desk.refused("POST", "/deployments/dep_demo/run", headers=headers)
    assert refusal == (401, "authentication_error", None)
    assert desk.world.started() == []


def test_a_token_may_be_good_and_have_no_permission(desk: Desk) -> None:
    desk.http.headers["Authorization"] = "Bearer pt-sandbox-forbidden"
    assert desk.refused("GET", "/deployments") == (403, "permission_error", None)


@pytest.mark.parametrize(
    "path",
    ["/deployments/dep_none", "/deployments/dep_none/runs", "/deployment_runs/drun_none", "/sessions/x"],
)
def test_what_does_not_exist_is_404(desk: Desk, path: str) -> None:
    assert desk.refused("GET", path) == (404, "not_found_error", None)


def test_an_encoded_slash_stays_inside_its_id(desk: Desk) -> None:
    assert desk.refused("GET", "/deployments/dep_demo%2Fruns")[0] == 404


def test_a_run_is_not_found_below_another_deployment(desk: Desk) -> None:
    run = desk.run()
    assert desk.get(f"/deployments/dep_demo/runs/{run['id']}")["id"] == run["id"]
    assert desk.refused("GET", f"/deployments/dep_fail/runs/{run['id']}")[0] == 404


def test_an_error_names_its_request(desk: Desk) -> None:
    answer = desk.http.get("/deployments/dep_none", headers={"x-request-id": "mine"})
    assert answer.headers["x-request-id"] == "mine"
    assert answer.json().get("request_id") == ("mine" if desk.generation == "current" else None)
    assert answer.json()["type"] == "error"


def test_a_body_that_is_no_json_object_is_refused(desk: Desk) -> None:
    for body in (b"{", b"[]", b"[" * 100_000):
        assert desk.refused("POST", "/deployments", content=body)[0] == 400


# Lists


@pytest.mark.parametrize("limit", ["0", "101", "-1", "abc", "", "1e1", "99999999999"])
@pytest.mark.parametrize("path", ["/deployments", "/deployment_runs", "/deployments/dep_demo/runs", "/sessions"])
def test_a_limit_outside_1_to_100_is_refused(desk: Desk, path: str, limit: str) -> None:
    assert desk.refused("GET", path, params={"limit": limit}) == (400, "invalid_request_error", "limit")


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"after_id": "a", "before_id": "b"}, "before_id"),
        ({"page": "a", "after_id": "b"}, "after_id"),
        ({"after_id": "drun_none"}, "after_id"),
        ({"triggered_after": "yesterday"}, "triggered_after"),
        ({"triggered_after": "2026-06-14T08:54:06"}, "triggered_after"),
    ],
)
def test_a_query_that_means_nothing_is_refused(desk: Desk, query: dict[str, str], param: str) -> None:
    refusal = desk.refused("GET", "/deployments/dep_demo/runs", params=query)
    assert refusal == (400, "invalid_request_error", param)


def test_a_page_has_twenty_unless_asked(desk: Desk) -> None:
    seed_runs(desk.world, 30)
    page = desk.get("/deployment_runs")
    assert len(page["data"]) == 20
    assert page["has_more"] is True
    assert (page["first_id"], page["last_id"]) == (page["data"][0]["id"], page["data"][-1]["id"])


def test_pages_show_every_run_once_newest_first(desk: Desk) -> None:
    made = [run.id for run in seed_runs(desk.world, 250)]
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = desk.get("/deployments/dep_demo/runs", limit=100, **cursor)
        seen += [run["id"] for run in page["data"]]
        if not page["has_more"]:
            break
        cursor = {"page": page["next_page"]} if desk.generation == "current" else {"after_id": page["last_id"]}
    assert seen == made[::-1]


def test_before_id_goes_back(desk: Desk) -> None:
    newest_first = [run.id for run in seed_runs(desk.world, 10)][::-1]
    page = desk.get("/deployment_runs", before_id=newest_first[5], limit=3)
    assert [run["id"] for run in page["data"]] == newest_first[2:5]
    assert page["has_more"] is True


def test_only_the_current_generation_knows_pages(current: Desk, legacy: Desk) -> None:
    for desk in (current, legacy):
        seed_runs(desk.world, 5)
    first = current.get("/deployment_runs", limit=2)
    assert current.get("/deployment_runs", limit=2, page=first["next_page"])["data"][0] != first["data"][0]
    first = legacy.get("/deployment_runs", limit=2)
    assert "next_page" not in first
    assert legacy.get("/deployment_runs", limit=2, page=first["last_id"]) == first


def test_the_last_page_and_an_empty_one(current: Desk) -> None:
    assert current.get("/deployment_runs") == {
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
        "next_page": None,
    }


def test_runs_are_filtered_as_each_generation_can(current: Desk, legacy: Desk) -> None:
    for desk in (current, legacy):
        desk.run("dep_demo")
        desk.run("dep_nostart")
        desk.world.start("dep_demo", trigger="schedule")
    ids = {"current": 3, "legacy": 1}  # a status that nothing knows is ignored
    for desk in (current, legacy):
        assert len(desk.get("/deployment_runs", status="failed")["data"]) == ids[desk.generation]
        assert len(desk.get("/deployment_runs", has_error="true")["data"]) == 1
        assert len(desk.get("/deployment_runs", has_error="false")["data"]) == 2
        assert len(desk.get("/deployment_runs", trigger_type="schedule")["data"]) == 1
        assert len(desk.get("/deployment_runs", deployment_id="dep_demo")["data"]) == 2
        assert desk.get("/deployment_runs", deployment_id="dep_none")["data"] == []
        assert desk.refused("GET", "/deployment_runs", params={"has_error": "1"})[2] == "has_error"


def test_runs_are_found_by_time(desk: Desk) -> None:
    desk.run()
    desk.clock.sleep(60)
    second = desk.run()
    found = desk.get("/deployments/dep_demo/runs", triggered_after="2026-06-14T08:55:00Z")["data"]
    assert [run["id"] for run in found] == [second["id"]]
    assert len(desk.get("/deployments/dep_demo/runs", triggered_before="2026-06-14T08:55:00Z")["data"]) == 1
    at = {"created_at[gte]": "2026-06-14T08:55:06Z", "created_at[lt]": "2026-06-14T08:55:07Z"}
    assert len(desk.get("/deployment_runs", **at)["data"]) == (1 if desk.generation == "current" else 2)


def test_deployments_are_listed_newest_first_without_the_archived(desk: Desk) -> None:
    listed = [deployment["id"] for deployment in desk.get("/deployments", limit=100)["data"]]
    assert listed == [preset.id for preset in PRESETS if not preset.archived]
    assert len(desk.get("/deployments", include_archived="true")["data"]) == len(PRESETS)
    assert [d["id"] for d in desk.get("/deployments", status="paused")["data"]] == ["dep_paused"]


def test_sessions_are_filtered(desk: Desk) -> None:
    done = desk.run("dep_demo")
    desk.clock.sleep(10)
    going = desk.run("dep_minute")
    desk.clock.sleep(1)

    def ids(**query: Any) -> list[str]:
        return [session["id"] for session in desk.get("/sessions", **query)["data"]]

    assert ids() == [going["session_id"], done["session_id"]]
    assert ids(order="asc") == [done["session_id"], going["session_id"]]
    assert ids(deployment_id="dep_demo") == ids(**{"statuses[]": "idle"}) == [done["session_id"]]
    assert ids(statuses="running,terminated") == [going["session_id"]]
    assert desk.refused("GET", "/sessions", params={"agent_version": "1"})[2] == "agent_version"


# Deployments


def test_a_deployment_looks_as_documented(current: Desk, legacy: Desk) -> None:
    shape = current.get("/deployments/dep_scheduled")
    assert list(shape) == DEPLOYMENT_KEYS
    assert list(shape["schedule"]) == ["expression", "timezone", "type", "upcoming_runs_at"]
    assert shape["schedule"]["upcoming_runs_at"][0] == "2026-06-14T09:00:00Z"
    assert len(shape["schedule"]["upcoming_runs_at"]) == 5
    older = legacy.get("/deployments/dep_scheduled")
    assert list(older) == [key for key in DEPLOYMENT_KEYS if key != "environment_variables"]
    assert older["initial_events"] == [{"content": "Generate today's status report", "type": "user.message"}]
    assert older["metadata"]["cas_config"]["stats"]["next_trigger_at"] == "2026-06-14T09:00:00Z"


def test_a_created_deployment_can_be_run(desk: Desk) -> None:
    answer = desk.post("/deployments", BODY | {"budget": {"type": "limit", "max_credit_cost": "100.00"}})
    made = answer.json()
    assert answer.status_code in (200, 201)
    assert made["id"].startswith("dep_")
    assert re.fullmatch("dep_[0-9a-z]{20}", made["id"])
    assert made["agent"] == {"id": BODY["agent"], "type": "agent", "version": 1}
    assert made["budget"] == {"type": "limit", "max_credit_cost": "100.00"}
    assert desk.get(f"/deployments/{made['id']}") == made
    run = desk.run(made["id"])
    desk.clock.sleep(4)
    assert desk.events(run, types="user.message")[0]["content"] == [{"type": "text", "text": "Report."}]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"name": None}, "name"),
        ({"name": "x" * 257}, "name"),
        ({"agent": "dep_1"}, "agent.id"),
        ({"agent": {"id": BODY["agent"]}}, "agent.type"),
        ({"environment_id": 7}, "environment_id"),
        ({"initial_events": []}, "initial_events"),
        ({"initial_events": [{"type": "agent.message"}]}, "initial_events.0.type"),
        ({"schedule": {"type": "cron", "expression": "0 9 * * *"}}, "schedule.timezone"),
        ({"schedule": {"type": "cron", "expression": "@daily", "timezone": "UTC"}}, "schedule.expression"),
        ({"schedule": {"type": "cron", "expression": "0 9 * * *", "timezone": "Mars"}}, "schedule.timezone"),
        ({"metadata": {"key": 1}}, "metadata.key"),
        ({"metadata": {f"key-{n}": "" for n in range(17)}}, "metadata"),
        ({"budget": {"type": "limit", "max_credit_cost": "0.00"}}, "budget.max_credit_cost"),
        ({"environment_variables": {"KEY": "VALUE"}}, "environment_variables"),
    ],
)
def test_a_deployment_that_is_wrong_is_refused_by_name(desk: Desk, change: dict[str, Any], param: str) -> None:
    before = len(desk.world.deployments)
    assert desk.refused("POST", "/deployments", json=BODY | change) == (400, "invalid_request_error", param)
    assert len(desk.world.deployments) == before


def test_a_missing_field_is_named_in_the_message(desk: Desk) -> None:
    message = desk.post("/deployments", {key: BODY[key] for key in BODY if key != "name"}).json()["error"]["message"]
    assert message == "Missing required field: name"


def test_an_update_changes_only_what_it_names(current: Desk) -> None:
    path = "/deployments/" + current.post("/deployments", BODY | {"metadata": {"a": "1", "b": "2"}}).json()["id"]
    before = current.get(path)
    current.clock.sleep(5)
    changed = current.post(path, {"description": "new", "metadata": {"a": None, "c": "3"}}).json()
    assert changed == before | {
        "description": "new",
        "metadata": {"b": "2", "c": "3"},
        "updated_at": "2026-06-14T08:54:11Z",
    }
    cleared = current.post(path, {"description": None, "schedule": None, "vault_ids": None}).json()
    assert (cleared["description"], cleared["schedule"], cleared["vault_ids"]) == (None, None, [])


def test_an_update_cannot_clear_what_is_needed(desk: Desk) -> None:
    for field in ("name", "agent", "environment_id", "initial_events"):
        assert desk.refused("POST", "/deployments/dep_demo", json={field: None})[0] == 400


def test_pause_and_unpause(desk: Desk) -> None:
    paused = desk.post("/deployments/dep_scheduled/pause").json()
    assert (paused["status"], paused["paused_reason"]) == ("paused", {"type": "manual"})
    assert paused["schedule"]["upcoming_runs_at"]
    assert desk.refused("POST", "/deployments/dep_scheduled/pause") == (409, "conflict_error", None)
    assert desk.refused("POST", "/deployments/dep_scheduled/run") == (409, "conflict_error", None)
    active = desk.post("/deployments/dep_scheduled/unpause").json()
    assert (active["status"], active["paused_reason"]) == ("active", None)
    assert desk.refused("POST", "/deployments/dep_scheduled/unpause") == (409, "conflict_error", None)


def test_archiving_frees_the_name_and_leaves_the_status(desk: Desk) -> None:
    archived = desk.post("/deployments/dep_scheduled/archive").json()
    assert archived["name"] == "nightly-report_archived_1781427246"
    assert (archived["status"], archived["archived_at"]) == ("active", "2026-06-14T08:54:06Z")
    assert archived["schedule"]["upcoming_runs_at"] == []
    for verb in ("run", "pause", "unpause", "archive"):
        assert desk.refused("POST", f"/deployments/dep_scheduled/{verb}") == (409, "conflict_error", None)
    assert desk.refused("POST", "/deployments/dep_scheduled", json={"name": "again"})[0] == 409


def test_a_schedule_fires_while_the_deployment_is_active(desk: Desk) -> None:
    desk.clock.sleep(86400)
    (run,) = desk.get("/deployment_runs")["data"]
    assert run["trigger_context"] == {"type": "schedule", "scheduled_at": "2026-06-14T09:00:00Z"}
    desk.post("/deployments/dep_scheduled/pause")
    desk.clock.sleep(3 * 86400)
    desk.post("/deployments/dep_scheduled/unpause")
    assert len(desk.get("/deployment_runs")["data"]) == 1
    desk.clock.sleep(86400)
    assert len(desk.get("/deployment_runs")["data"]) == 2


# Runs


def test_a_run_looks_as_each_generation_shows_it(current: Desk, legacy: Desk) -> None:
    run = current.run()
    assert list(run) == RUN_KEYS
    assert run["created_at"] == "2026-06-14T08:54:06Z"
    assert current.get(f"/deployment_runs/{run['id']}") == run
    older = legacy.run()
    assert list(older) == [*RUN_KEYS, "status", "triggered_at", "cas_run_extras"]
    assert list(older["cas_run_extras"]) == ["attempt", "turn_id", "started_at"]
    assert len(older["created_at"]) == len("2026-06-14T08:54:06.271902633Z")
    legacy.clock.sleep(4)
    ended = legacy.get(f"/deployment_runs/{older['id']}")
    assert list(ended) == [*RUN_KEYS, "status", "triggered_at", "completed_at", "duration_ms", "cas_run_extras"]
    assert ended["created_at"] == older["created_at"][:26].rstrip("0") + "Z"
    assert ended["duration_ms"] == 2960


# Preset, seconds after which it has ended, its ending, and the error an older server names.
LIVES = [
    ("demo", 3, "completed", None),
    ("minute", 60, "completed", None),
    ("slow", 8, "completed", None),
    ("idle", 3, "completed", None),
    ("silent", 3, "completed", None),
    ("scheduled", 3, "completed", None),
    ("fail", 3, "failed", "retries_exhausted"),
    ("terminated", 3, "failed", "session_terminated"),
    ("budget", 3, "failed", "budget_reached"),
    ("nostart", 0, "failed", "environment_archived_error"),
]


@pytest.mark.parametrize(("word", "seconds", "status", "error"), LIVES)
def test_how_a_preset_ends(desk: Desk, word: str, seconds: float, status: str, error: str | None) -> None:
    run = desk.run(f"dep_{word}")
    if seconds:
        desk.clock.sleep(seconds - 0.01)
        assert desk.world.ending(run["id"]) is None
        desk.clock.sleep(0.02)
    ending = desk.world.ending(run["id"])
    assert ending is not None
    assert (ending.status, ending.type or None) == (status, error)
    shown = desk.get(f"/deployment_runs/{run['id']}")
    if desk.generation == "legacy":
        assert shown["status"] == status
        assert (shown["error"] or {}).get("type") == error
        assert ("duration_ms" in shown) == (status == "completed")
    else:
        assert "status" not in shown
        assert (shown["session_id"] is None) != (shown["error"] is None)


def test_speed_makes_sessions_shorter(desk: Desk) -> None:
    desk.world.speed = 60
    run = desk.run("dep_minute")
    desk.clock.sleep(1.01)
    assert desk.events(run)[-1]["type"] == "session.status_idle"


def test_a_skipped_run(current: Desk, legacy: Desk) -> None:
    skipped = legacy.run("dep_skip")
    assert (skipped["status"], skipped["session_id"], skipped["error"]) == ("skipped", None, None)
    rejected = current.run("dep_skip")
    assert (rejected["session_id"], rejected["error"]["type"]) == (None, "session_creation_rejected_error")


def test_the_slow_one_is_pending_until_its_turn_starts(legacy: Desk) -> None:
    run = legacy.run("dep_slow")
    assert run["status"] == "pending"
    assert "cas_run_extras" not in run
    legacy.clock.sleep(5.01)
    assert legacy.get(f"/deployment_runs/{run['id']}")["status"] == "running"


def test_the_asking_one_waits_for_ever(desk: Desk) -> None:
    run = desk.run("dep_ask")
    desk.clock.sleep(86400)
    *_, use, _, _, idle = desk.events(run)
    assert use["evaluated_permission"] == "ask"
    assert idle["stop_reason"] == {"type": "requires_action", "event_ids": [use["id"]]}
    assert desk.world.ending(run["id"]) is None
    if desk.generation == "legacy":
        assert desk.get(f"/deployment_runs/{run['id']}")["status"] == "running"


def test_every_preset_is_tried_here() -> None:
    elsewhere = {"skip", "ask", "askmany", "askthrice", "custom", "selfask", "paused", "archived"}
    assert {preset.word for preset in PRESETS} == elsewhere | {word for word, *_ in LIVES}


# Sessions and events


@pytest.mark.parametrize("preset", [one for one in PRESETS if one.behaviour.script], ids=lambda preset: preset.word)
def test_only_who_is_made_for_it_says_that_it_is_idle_before_any_work(desk: Desk, preset: Preset) -> None:
    says_so = {"idle", "slow"}
    run = desk.run(desk.world.add_deployment(name="like it", behaviour=preset.behaviour).id)
    told = [(event["type"], event["stop_reason"]) for event in desk.events(run)]
    assert told == ([("session.status_idle", {"type": "end_turn"})] if preset.word in says_so else [])
    assert desk.get(f"/sessions/{run['session_id']}")["status"] == "idle"


def test_a_turn_is_told_in_the_usual_order(desk: Desk) -> None:
    run = desk.run()
    desk.clock.sleep(10)
    events = desk.events(run)
    assert [event["type"] for event in events] == [
        "session.status_running",
        "session.thread_status_running",
        "user.message",
        "span.model_request_start",
        "agent.thinking",
        "agent.tool_use",
        "agent.tool_result",
        "agent.message",
        "span.model_request_end",
        "session.thread_status_idle",
        "session.status_idle",
    ]
    assert events[6]["tool_use_id"] == events[5]["id"]
    assert events[8]["model_request_start_id"] == events[3]["id"]
    assert len({event["id"] for event in events}) == len(events)
    assert all(first["processed_at"] <= second["processed_at"] for first, second in pairwise(events))
    assert ("turn_id" in events[0]) == (desk.generation == "legacy")


def test_events_are_filtered_and_turned_around(desk: Desk) -> None:
    run = desk.run("dep_fail")
    desk.clock.sleep(10)
    wanted = ["session.status_running", "session.error", "session.error", "session.status_idle"]
    asked = "session.status_idle,session.error,session.status_running,nonsense"
    for query in ({"types": asked}, {"types[]": asked.split(",")}, {"types": asked.split(",")}):
        assert [event["type"] for event in desk.events(run, **query)] == wanted
    assert desk.events(run, order="desc") == desk.events(run)[::-1]
    late = desk.events(run, **{"created_at[gte]": "2026-06-14T08:54:09.1Z"})
    assert [event["type"] for event in late] == [
        "span.model_request_end",
        "session.thread_status_idle",
        "session.status_idle",
    ]
    after = desk.events(run, after_id=late[0]["id"])
    assert [event["id"] for event in after] == [event["id"] for event in late[1:]]


def test_an_error_is_retried_before_it_is_final(desk: Desk) -> None:
    run = desk.run("dep_fail")
    desk.clock.sleep(10)
    errors = desk.events(run, types="session.error")
    assert [event["error"]["retry_status"]["type"] for event in errors] == ["retrying", "exhausted"]


def test_a_session_says_what_it_costs(desk: Desk) -> None:
    run = desk.run()
    path = f"/sessions/{run['session_id']}"
    assert desk.get(path)["usage"] == {"total_credits": 0}
    desk.clock.sleep(10)
    session = desk.get(path)
    assert session["usage"]["total_credits"] > 0
    assert session["deployment_id"] == "dep_demo"


def test_a_cancelled_session_stops_a_moment_later(desk: Desk) -> None:
    run = desk.run("dep_minute")
    path = f"/sessions/{run['session_id']}"
    desk.clock.sleep(10)
    for _ in range(2):
        answer = desk.post(path + "/cancel")
        assert answer.status_code == 202
        assert answer.json() == {"id": run["session_id"], "type": "session", "status": "canceling"}
    assert desk.get(path)["status"] == ("canceling" if desk.generation == "legacy" else "running")
    desk.clock.sleep(1)
    assert desk.get(path)["status"] == "idle"
    assert desk.events(run)[-1]["stop_reason"] == {"type": "cancelled"}
    assert desk.post(path + "/cancel").status_code == 200
    if desk.generation == "legacy":
        assert desk.get(f"/deployment_runs/{run['id']}")["error"]["type"] == "cancelled"


def test_a_turn_cancelled_before_it_starts_never_does(desk: Desk) -> None:
    run = desk.run("dep_slow")
    desk.post(f"/sessions/{run['session_id']}/cancel")
    desk.clock.sleep(60)
    assert desk.events(run, types="session.status_running") == []
    assert desk.events(run)[-1]["stop_reason"] == {"type": "cancelled"}


# The event stream


@pytest.mark.parametrize("path", ["/events/stream", "/events"])
def test_a_stream_tells_of_what_comes_to_be_from_now_on(desk: Desk, path: str) -> None:
    run = desk.run()
    desk.clock.sleep(1)
    before = desk.events(run)
    with desk.stream(run, path=path) as told:
        streamed = [next(told) for _ in range(4)]
        desk.clock.sleep(60)
    assert streamed == desk.events(run)[len(before) : len(before) + 4]
    assert 0 < len(before) < len(desk.events(run))


def test_a_stream_goes_on_after_the_event_it_is_told(desk: Desk) -> None:
    run = desk.run("dep_terminated")
    desk.clock.sleep(60)
    events = desk.events(run)
    for n, event in enumerate(events):
        with desk.stream(run, after=event["id"]) as told:
            assert list(told) == events[n + 1 :]


def test_a_cursor_that_names_no_event_is_a_conflict(desk: Desk) -> None:
    path = f"/sessions/{desk.run()['session_id']}/events/stream"
    assert desk.refused("GET", path, headers={"Last-Event-ID": "evt_x"}) == (409, "conflict_error", None)


def test_a_stream_of_a_session_that_is_not_there_is_404(desk: Desk) -> None:
    assert desk.refused("GET", "/sessions/sess_x/events/stream")[0] == 404


def test_a_frame_names_its_event(desk: Desk) -> None:
    run = desk.run()
    with desk.http.stream("GET", f"/sessions/{run['session_id']}/events/stream") as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        id, event, data, end = itertools.islice(answer.iter_lines(), 4)
    first = desk.events(run)[0]
    assert (id, event, end) == (f"id: {first['id']}", f"event: {first['type']}", "")
    assert json.loads(data.removeprefix("data: ")) == first


def test_an_idle_session_keeps_its_stream_with_heartbeats(desk: Desk) -> None:
    run = desk.run()
    desk.clock.sleep(60)
    began = desk.clock.now
    with desk.http.stream("GET", f"/sessions/{run['session_id']}/events/stream") as answer:
        lines = list(itertools.islice(answer.iter_lines(), 6))
    assert lines == [": heartbeat", ""] * 3
    assert desk.clock.now == began + 45


def test_a_stream_hears_of_a_cancel(desk: Desk) -> None:
    run = desk.run("dep_minute")
    desk.clock.sleep(10)
    desk.post(f"/sessions/{run['session_id']}/cancel")
    with desk.stream(run) as told:
        assert [next(told)["type"], next(told)["stop_reason"]["type"]] == ["session.thread_status_idle", "cancelled"]


def test_messages_are_previewed_when_asked_for(desk: Desk) -> None:
    run = desk.run()
    with desk.stream(run, deltas=["agent.message", "agent.thinking"]) as told:
        streamed = list(itertools.takewhile(lambda event: event["type"] != "session.status_idle", told))
    kinds = [event["type"] for event in streamed]
    thought = kinds.index("agent.thinking")
    assert kinds[thought - 1] == "event_start"
    message = next(event for event in streamed if event["type"] == "agent.message")
    deltas = [event for event in streamed if event["type"] == "event_delta"]
    assert {delta["event_id"] for delta in deltas} == {message["id"]}
    assert "".join(delta["delta"]["content"]["text"] for delta in deltas) == message["content"][0]["text"]
    assert not {"event_start", "event_delta"} & {event["type"] for event in desk.events(run)}


def test_a_stream_that_is_cut_again_and_again_misses_nothing(desk: Desk) -> None:
    desk.faults.add("stream:cut=2")
    run = desk.run("dep_minute")
    desk.clock.sleep(1)
    told = desk.events(run)
    for connection in range(1, 31):  # the session ends before the 30th is closed
        with desk.stream(run, after=told[-1]["id"]) as stream:
            told += list(stream)
        assert desk.clock.now == pytest.approx(START + 1 + 2 * connection)
    assert told == desk.events(run)


def test_a_silent_stream_uses_up_the_clients_patience(desk: Desk) -> None:
    desk.faults.add("stream:silent")
    run = desk.run()
    with desk.stream(run) as told, pytest.raises(httpx.ReadTimeout):
        next(told)
    assert desk.clock.now == START + 30


def test_what_else_a_stream_may_do(desk: Desk) -> None:
    run = desk.run()
    for what in ("html=200", "truncated", "slow=100", "503"):
        desk.faults.add(f"stream:{what}")
    path = f"/sessions/{run['session_id']}/events/stream"
    assert "<html>" in desk.http.get(path).text
    with pytest.raises(httpx.RemoteProtocolError):
        desk.http.get(path)
    began = desk.clock.now
    with desk.stream(run) as told:
        next(told)
    assert desk.clock.now > began + 90
    assert desk.http.get(path).status_code == 503


# Idempotency keys


def test_a_key_brings_back_the_first_answer(desk: Desk) -> None:
    first = desk.post("/deployments/dep_demo/run", **{"Idempotency-Key": "k"})
    desk.clock.sleep(10)
    again = desk.post("/deployments/dep_demo/run", **{"Idempotency-Key": "k"})
    assert again.content == first.content
    assert [run.id for run in desk.world.started()] == [first.json()["id"]]


def test_a_key_belongs_to_one_request(desk: Desk) -> None:
    key = {"Idempotency-Key": "k"}
    desk.post("/deployments/dep_demo/run", **key)
    for path, body in (("/deployments/dep_minute/run", {}), ("/deployments/dep_demo/run", {"other": 1})):
        assert desk.refused("POST", path, json=body, headers=key) == (409, "conflict_error", None)
    assert len(desk.world.started()) == 1


@pytest.mark.parametrize("settings", [{"honour_key": False}, {}])
def test_a_server_may_not_honour_keys(settings: dict[str, Any]) -> None:
    desk = Desk("current", *([] if settings else ["trigger:no-idempotency"]), **settings)
    for _ in range(2):
        desk.post("/deployments/dep_demo/run", **{"Idempotency-Key": "k"})
    assert len(desk.world.started()) == 2


# Faults

# What is ordered for the trigger, whether the server acts, and what the client meets: an exception or a status.
MISHAPS: list[tuple[str, bool, type[Exception] | int]] = [
    ("refused", False, httpx.ConnectError),
    ("drop-before", False, httpx.RemoteProtocolError),
    ("drop-after", True, httpx.RemoteProtocolError),
    ("late=0", True, httpx.RemoteProtocolError),
    ("hang-before", False, httpx.ReadTimeout),
    ("hang-after", True, httpx.ReadTimeout),
    ("slow=20", True, 200),
    ("slow=100000", True, httpx.ReadTimeout),
    ("truncated", True, httpx.RemoteProtocolError),
    ("garbage", True, 200),
    ("list", True, 200),
    ("not-a-run", True, 200),
    ("redirect=http://elsewhere/", False, 302),
    ("503", False, 503),
    ("429=7", False, 429),
    ("500-bare", False, 500),
    ("html", False, 502),
    ("html=503", False, 503),
    ("act-503", True, 503),
    ("act-503-bare", True, 503),
    ("act-html", True, 502),
    ("no-date", True, 200),
    ("echo-token", True, 200),
    ("skew=-3600", True, 200),
    ("lagging=5", True, 200),
    ("half-written=5", True, 200),
    ("moving=5", True, 200),
    ("undated", True, 200),
    ("year=1970", True, 200),
    ("foreign", True, 200),
    ("old=600", True, 200),
    ("kept=30", False, 200),
    ("no-idempotency", True, 200),
    ("stranger", True, 200),
    ("cut=3", True, 200),
    ("silent", True, 200),
]


@pytest.mark.parametrize(("what", "acts", "met"), MISHAPS)
def test_what_a_fault_does(desk: Desk, what: str, acts: bool, met: type[Exception] | int) -> None:
    desk.faults.add(f"trigger:{what}")
    if isinstance(met, int):
        assert desk.post("/deployments/dep_demo/run").status_code == met
    else:
        with pytest.raises(met):
            desk.post("/deployments/dep_demo/run")
    assert len(desk.world.started()) == acts
    assert sum(len(seen.runs) for seen in desk.world.requests) == acts


def test_every_fault_is_tried_here() -> None:
    tried = {what.partition("=")[0] for what, *_ in MISHAPS}
    assert set(faults.DISRUPTIONS) | set(faults.CONDITIONS) <= tried


def test_a_hanging_server_uses_up_the_clients_patience(desk: Desk) -> None:
    desk.faults.add("any:hang-before")
    with pytest.raises(httpx.ReadTimeout):
        desk.http.get("/deployments")
    assert desk.clock.now == START + 30


def test_what_broken_answers_look_like(current: Desk) -> None:
    for what in ("garbage", "list", "not-a-run", "html", "503", "429=soon", "500-bare"):
        current.faults.add(f"trigger:{what}")
    garbage, empty, other, html, envelope, limited, bare = (current.post("/deployments/dep_demo/run") for _ in range(7))
    with pytest.raises(ValueError, match="Expecting"):
        garbage.json()
    assert empty.json() == []
    assert other.json()["type"] == "agent"
    assert "<html>" in html.text
    assert envelope.json()["error"]["type"] == "api_error"
    assert limited.headers["Retry-After"] == "soon"
    assert bare.content == b""


def test_faults_take_turns_and_are_used_up(desk: Desk) -> None:
    desk.faults.add("run:503*2")
    desk.faults.add("any:404")
    statuses = [desk.http.get("/deployment_runs/drun_x").status_code for _ in range(4)]
    assert statuses == [503, 503, 404, 404]
    desk.faults.add("list:500*inf")
    assert {desk.http.get("/deployment_runs").status_code for _ in range(50)} == {500}


def test_a_healthy_server_answers_alike_with_and_without_faults_at_hand(desk: Desk) -> None:
    request = Request("GET", "/api/v1/cloud/deployments/dep_demo", headers={"authorization": "Bearer pt-sandbox"})
    answer = Faults().answer(desk.world, request)
    assert (answer.status, json.loads(answer.body)) == (200, desk.get("/deployments/dep_demo"))


def test_a_fault_meets_only_its_own_requests(desk: Desk) -> None:
    run = desk.run()
    paths = {
        "run": f"/deployments/dep_demo/runs/{run['id']}",
        "list": "/deployments/dep_demo/runs",
        "deployment": "/deployments/dep_demo",
        "session": f"/sessions/{run['session_id']}",
        "events": f"/sessions/{run['session_id']}/events",
        "stream": f"/sessions/{run['session_id']}/events/stream",
    }
    for where in paths:
        desk.faults.add(f"{where}:503")
        met = {name for name, path in paths.items() if desk.status(path) == 503}
        assert met == {where}


def test_a_late_server_acts_in_its_own_time(desk: Desk) -> None:
    desk.faults.add("trigger:late=10")
    with pytest.raises(httpx.RemoteProtocolError):
        desk.run()
    desk.clock.sleep(9)
    assert desk.get("/deployment_runs")["data"] == []
    desk.clock.sleep(5)
    (run,) = desk.get("/deployment_runs")["data"]
    assert run["created_at"][:19] == "2026-06-14T08:54:16"
    assert desk.world.requests[0].runs == [run["id"]]


@pytest.mark.parametrize(("honoured", "started"), [(True, 1), (False, 2)])
def test_a_late_act_and_a_second_try_under_one_key(honoured: bool, started: int) -> None:
    desk = Desk("current", "trigger:late=10", honour_key=honoured)
    key = {"Idempotency-Key": "k"}
    with pytest.raises(httpx.RemoteProtocolError):
        desk.post("/deployments/dep_demo/run", **key)
    assert desk.post("/deployments/dep_demo/run", **key).status_code == 200
    desk.clock.sleep(60)
    assert len(desk.world.started()) == started


def test_a_late_server_may_answer_with_an_error(desk: Desk) -> None:
    desk.faults.add("trigger:late-504=150")
    answer = desk.post("/deployments/dep_demo/run")
    assert (answer.status_code, answer.json()["error"]["type"]) == (504, "api_error")
    assert "retry-after" not in answer.headers
    desk.clock.sleep(149)
    assert desk.get("/deployment_runs")["data"] == []
    desk.clock.sleep(2)
    (run,) = desk.get("/deployment_runs")["data"]
    assert run["created_at"][:19] == "2026-06-14T08:56:36"


@pytest.mark.parametrize(("what", "age", "started"), [("old=600", None, 1), ("kept=30", "30", 0)])
def test_a_trigger_may_be_answered_with_another_run(desk: Desk, what: str, age: str | None, started: int) -> None:
    desk.faults.add(f"any:{what}")
    assert "age" not in desk.http.get("/deployments/dep_demo").headers
    answer = desk.post("/deployments/dep_demo/run", **{"Idempotency-Key": "k"})
    assert answer.headers.get("age") == age
    [other] = desk.world.started(origin="other")
    assert (answer.json()["id"], START - other.created) == (other.id, float(what.partition("=")[2]))
    assert len(desk.world.started()) == started
    assert desk.post("/deployments/dep_demo/run", **{"Idempotency-Key": "k"}).json()["id"] != other.id


def test_a_moving_run_names_a_session_that_is_not_found_at_first(desk: Desk) -> None:
    desk.faults.add("any:moving=3")
    run = desk.run()
    assert desk.status(f"/sessions/{run['session_id']}") == 404
    desk.clock.sleep(3.01)
    moved = desk.get(f"/deployment_runs/{run['id']}")
    assert moved["session_id"] != run["session_id"]
    assert desk.get(f"/sessions/{moved['session_id']}")["deployment_id"] == "dep_demo"


@pytest.mark.parametrize(
    ("fault", "begins"), [("undated", None), ("year=1", "0001-06-14T"), ("year=1970", "1970-06-14T")]
)
def test_when_runs_were_created_may_be_told_wrongly(desk: Desk, fault: str, begins: str | None) -> None:
    desk.faults.add(f"any:{fault}")
    told = [desk.run(), desk.get("/deployments/dep_demo/runs")["data"][0]]
    for run in told:
        times = {run[name] for name in ("created_at", "triggered_at") if name in run}
        assert {time and time[:11] for time in times} == {begins}


def test_a_list_may_have_rows_of_another_deployment(desk: Desk) -> None:
    run = desk.run()
    desk.faults.add("list:foreign")
    ours, foreign = desk.get("/deployments/dep_demo/runs")["data"]
    assert (ours["id"], foreign["deployment_id"]) == (run["id"], "dep_foreign")
    assert desk.status(f"/deployment_runs/{foreign['id']}") == 404
    assert len(desk.get("/deployment_runs")["data"]) == 1


def test_a_late_act_on_what_was_paused_meanwhile_does_nothing(desk: Desk) -> None:
    desk.faults.add("trigger:late=10")
    with pytest.raises(httpx.RemoteProtocolError):
        desk.run()
    desk.post("/deployments/dep_demo/pause")
    desk.clock.sleep(60)
    assert desk.world.started() == []


def test_a_stranger_starts_a_run_in_the_same_second(desk: Desk) -> None:
    desk.faults.add("any:stranger")
    desk.faults.add("trigger:drop-after")
    desk.get("/deployments/dep_demo")
    with pytest.raises(httpx.RemoteProtocolError):
        desk.run()
    runs = desk.get("/deployments/dep_demo/runs")["data"]
    assert len({run["created_at"] for run in runs}) == 1
    assert len(desk.world.started()) == len(desk.world.started(origin="other")) == 1


def test_a_lagging_replica_does_not_know_what_is_young(desk: Desk) -> None:
    desk.faults.add("any:lagging=3")
    run = desk.run()
    paths = (f"/deployment_runs/{run['id']}", f"/sessions/{run['session_id']}", f"/sessions/{run['session_id']}/events")
    assert [desk.http.get(path).status_code for path in paths] == [404, 404, 404]
    assert desk.get("/deployment_runs")["data"] == desk.get("/sessions")["data"] == []
    desk.clock.sleep(3.01)
    assert [desk.http.get(path).status_code for path in paths] == [200, 200, 200]


def test_a_half_written_run_has_neither_session_nor_error(desk: Desk) -> None:
    desk.faults.add("any:half-written=2")
    run = desk.run()
    assert (run.get("session_id"), run["error"]) == (None, None)
    if desk.generation == "legacy":
        assert run["status"] == "pending"
        assert "session_id" not in run
    desk.clock.sleep(2.01)
    assert desk.get(f"/deployment_runs/{run['id']}")["session_id"]


def test_a_skewed_clock_shows_in_everything(desk: Desk) -> None:
    desk.faults.add("any:skew=-86400")
    answer = desk.post("/deployments/dep_demo/run")
    assert answer.headers["date"] == "Sat, 13 Jun 2026 08:54:06 GMT"
    assert answer.json()["created_at"].startswith("2026-06-13T08:54:06")
    desk.clock.sleep(3.01)
    assert desk.events(answer.json())[-1]["processed_at"].startswith("2026-06-13T08:54:09")


def test_a_clock_decades_off_fires_no_schedule(desk: Desk) -> None:
    desk.faults.add("any:skew=1000000000")
    assert desk.get("/deployment_runs")["data"] == []


def test_an_answer_may_have_no_date(desk: Desk) -> None:
    assert "date" in desk.http.get("/deployments").headers
    desk.faults.add("any:no-date*1")
    assert "date" not in desk.http.get("/deployments").headers
    assert "date" in desk.http.get("/deployments").headers


def test_an_error_may_repeat_the_token(desk: Desk) -> None:
    desk.faults.add("any:echo-token")
    desk.faults.add("run:503")
    for path in ("/deployment_runs/drun_none", "/deployments/dep_none"):
        assert "Bearer pt-sandbox" in desk.http.get(path).json()["error"]["message"]


def test_the_log_says_what_was_asked_and_what_it_started(desk: Desk) -> None:
    desk.faults.add("trigger:act-503")
    desk.post("/deployments/dep_demo/run", **{"Idempotency-Key": "k"})
    (seen,) = desk.world.requests
    assert (seen.method, seen.path, seen.key) == ("POST", "/api/v1/cloud/deployments/dep_demo/run", "k")
    assert seen.body == b"{}"
    assert seen.runs == [run.id for run in desk.world.started()]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("503", "trigger"),
        ("nowhere:503", "trigger, run, list, deployment, session, events, stream, agent, any"),
        ("any:", "drop-after"),
        ("any:explode", "drop-after"),
        ("any:302", "drop-after"),
        ("any:late", "late=3"),
        ("any:slow=fast", "slow=3"),
        ("any:slow=-1", "slow=3"),
        ("any:drop-after=3", "no value"),
        ("any:redirect", "redirect=https"),
        ("any:html=999", "html=502"),
        ("any:429=a\nb", "printable"),
        ("any:503*00", "TIMES"),
        ("any:skew=5*2", "TIMES"),
        ("any:late-503", "late-503=3"),
        ("any:year=19700", "year=1970"),
        ("any:year=-1", "year=1970"),
        ("any:skew=99999999999", "skew=3"),
    ],
)
def test_what_is_no_fault(text: str, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        faults.parse(text)
    assert told in caught.value.message


def test_every_fault_is_in_the_help() -> None:
    for word in {*faults.DISRUPTIONS, *faults.CONDITIONS} - {"refused"}:
        assert word in str(sandbox_command.__doc__)


# Over real sockets


@pytest.fixture
def server() -> Iterator[Server]:
    with serve(World(speed=10, token=TOKEN)) as server:
        yield server


@pytest.fixture
def wire(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.base_url, headers=AUTH, timeout=PATIENCE, trust_env=False) as client:
        yield client


def test_the_real_server_answers_as_the_world_does(server: Server, wire: httpx.Client) -> None:
    run = wire.post("/deployments/dep_demo/run", json={}).json()
    assert wire.get(f"/deployment_runs/{run['id']}").json() == run
    error = wire.get("/deployments/dep%2F1?limit=3")
    assert (error.status_code, error.json()["type"]) == (404, "error")
    assert server.world.requests[-1].path.endswith("/dep%2F1")


def patience(met: type[Exception]) -> float:
    """Return the seconds after which nothing more is waited for: few only where that is what is met."""
    return 0.3 if met is httpx.ReadTimeout else PATIENCE


@pytest.mark.parametrize(
    ("what", "acts", "met"),
    [
        ("drop-before", 0, httpx.RemoteProtocolError),
        ("drop-after", 1, httpx.RemoteProtocolError),
        ("hang-before", 0, httpx.ReadTimeout),
        ("hang-after", 1, httpx.ReadTimeout),
        ("truncated", 1, httpx.RemoteProtocolError),
    ],
)
def test_connections_really_break(
    server: Server, wire: httpx.Client, what: str, acts: int, met: type[Exception]
) -> None:
    server.faults.add(f"trigger:{what}")
    with pytest.raises(met):
        wire.post("/deployments/dep_demo/run", timeout=httpx.Timeout(PATIENCE, read=patience(met)))
    assert wire.get("/deployments/dep_demo").status_code == 200
    assert len(server.world.started()) == acts


def test_a_slow_answer_comes_in_drops(server: Server, wire: httpx.Client) -> None:
    server.faults.add("trigger:slow=0.2")
    with wire.stream("POST", "/deployments/dep_demo/run") as answer:
        pieces = [piece for piece in answer.iter_raw() if piece]
    assert len(pieces) > 5
    assert json.loads(b"".join(pieces))["type"] == "deployment_run"


def test_other_faults_travel_as_they_are(server: Server, wire: httpx.Client) -> None:
    for what in ("redirect=http://elsewhere/", "429=7", "503-bare", "garbage"):
        server.faults.add(f"deployment:{what}")
    redirect, limited, bare, garbage = (wire.get("/deployments/dep_demo") for _ in range(4))
    assert redirect.headers["location"] == "http://elsewhere/"
    assert (limited.status_code, limited.headers["retry-after"]) == (429, "7")
    assert (bare.status_code, bare.content) == (503, b"")
    assert (garbage.status_code, garbage.text[0]) == (200, "{")


def test_a_real_stream_comes_live(server: Server, wire: httpx.Client) -> None:
    run = wire.post("/deployments/dep_terminated/run", json={}).json()
    path = f"/sessions/{run['session_id']}/events"
    until(lambda: wire.get(path).json()["first_id"], "its turn")
    first = wire.get(path).json()["first_id"]
    with wire.stream("GET", path + "/stream", headers={"Last-Event-ID": first}) as answer:
        lines = list(answer.iter_lines())
    told = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    assert told == wire.get(path).json()["data"][1:]


def test_a_real_stream_that_is_quiet_has_heartbeats(server: Server, wire: httpx.Client) -> None:
    server.world.heartbeat = 0.1
    run = wire.post("/deployments/dep_ask/run", json={}).json()  # its session stays open, and nothing happens any more
    with wire.stream("GET", f"/sessions/{run['session_id']}/events/stream") as answer:
        assert ": heartbeat" in answer.iter_lines()


@pytest.mark.parametrize(("what", "met"), [("silent", httpx.ReadTimeout), ("truncated", httpx.RemoteProtocolError)])
def test_a_real_stream_really_breaks(server: Server, wire: httpx.Client, what: str, met: type[Exception]) -> None:
    server.faults.add(f"stream:{what}")
    run = wire.post("/deployments/dep_demo/run", json={}).json()
    timeout = httpx.Timeout(PATIENCE, read=patience(met))
    path = f"/sessions/{run['session_id']}/events/stream"
    with pytest.raises(met), wire.stream("GET", path, timeout=timeout) as answer:
        answer.read()


def test_a_cut_stream_just_ends(server: Server, wire: httpx.Client) -> None:
    server.faults.add("stream:cut=0.1")
    run = wire.post("/deployments/dep_ask/run", json={}).json()
    assert wire.get(f"/sessions/{run['session_id']}/events/stream").status_code == 200


def test_fifty_clients_at_once(server: Server) -> None:
    def trigger(n: int) -> str:
        with httpx.Client(base_url=server.base_url, headers=AUTH, timeout=PATIENCE, trust_env=False) as client:
            return str(client.post("/deployments/dep_demo/run").json()["id"])

    with ThreadPoolExecutor(50) as pool:
        ids = set(pool.map(trigger, range(50)))
    assert ids == {run.id for run in server.world.started()}
    assert len(ids) == 50


def test_it_listens_on_loopback_only_and_stops() -> None:
    with serve(World()) as server:
        assert server.origin == f"http://127.0.0.1:{server.port}"
        with pytest.raises(OSError, match="use"):
            serve(World(), port=server.port)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", server.port)) != 0


def test_a_refused_connection_is_only_for_in_process() -> None:
    with pytest.raises(UsageError, match="in process"):
        serve(World(), faults=Faults("any:refused"))


# `qoder sandbox` as a process


def outcome(*words: str) -> tuple[int, str, str]:
    with started(sandbox(*words)) as process:
        out, err = process.communicate(timeout=30)
        return process.returncode, out, err


def python(code: str) -> list[str]:
    return ["--", sys.executable, "-c", code]


def test_a_command_runs_inside_and_its_code_comes_out() -> None:
    code = (
        "import os, urllib.request as u\n"
        "request = u.Request(os.environ['QODER_BASE_URL'] + '/deployments/dep_demo')\n"
        "request.add_header('Authorization', 'Bearer ' + os.environ['QODER_PAT'])\n"
        "print(u.build_opener(u.ProxyHandler({})).open(request).read().decode())\n"
        "raise SystemExit(42)"
    )
    returned, out, err = outcome("--generation", "legacy", "--speed", "20", *python(code))
    assert returned == 42
    assert "cas_config" in json.loads(out)["metadata"]
    assert err.startswith("sandbox at http://127.0.0.1:")
    assert "(legacy API, speed 20); nothing here is real or charged\n" in err


def test_a_command_that_cannot_be_run(tmp_path: Path) -> None:
    code, out, err = outcome("-o", "json", "--", "no-such-command")
    assert (code, out) == (2, "")
    assert json.loads(err.splitlines()[-1])["error"]["message"].startswith("cannot run 'no-such-command': ")
    (tmp_path / "data").write_text("no program")
    assert outcome("--", str(tmp_path / "data"))[0] == 2
    code, _, err = outcome("deploy", "run", "dep_demo")
    assert (code, "for example: qoder sandbox -- qoder deploy run dep_demo\n" in err) == (2, True)


@pytest.mark.parametrize(
    "words",
    [["--speed", "0"], ["--speed", "nan"], ["--port", "70000"], ["--fault", "any:x"], ["--generation", "old"]],
)
def test_options_that_cannot_be_meant(words: list[str]) -> None:
    code, out, err = outcome(*words, "--", "never-started")
    assert (code, out) == (2, "")
    assert "error: " in err
    assert "nothing real" not in err


def test_a_port_in_use_is_named() -> None:
    with serve(World()) as server:
        code, _, err = outcome("--port", str(server.port), "--", "never-started")
    assert code == 2
    assert f"--port {server.port}" in err


@needs_signals
@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL"])
def test_a_killed_command_gives_128_and_the_signal(name: str) -> None:
    signum = signal.Signals[name]
    assert outcome(*python(f"import os; os.kill(os.getpid(), {int(signum)})"))[0] == 128 + signum


# Prints a line when ready, then one at each signal, and ends with 7 half a second after the first.
LISTENER = """
import os, signal, sys, time
end = float("inf")
def heard(signum, frame):
    global end
    end = min(end, time.monotonic() + 0.5)
    os.write(1, signal.Signals(signum).name.encode() + b"\\n")  # the other print may not be over yet
for name in ("SIGINT", "SIGTERM", "SIGHUP"):
    signal.signal(getattr(signal, name), heard)
print("ready", flush=True)
while time.monotonic() < end:
    time.sleep(0.05)
sys.exit(7)
"""


@needs_signals
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_signals_are_passed_on_once_and_the_command_is_waited_for(name: str) -> None:
    with started(sandbox(*python(LISTENER))) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.Signals[name])
        out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (7, f"{name}\n")


@needs_signals
def test_ctrl_c_at_a_terminal_reaches_the_command_once() -> None:
    spawn = f"import os, pty; raise SystemExit(os.waitstatus_to_exitcode(pty.spawn({sandbox(*python(LISTENER))!r})))"
    with started([sys.executable, "-c", spawn], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        while "ready" not in (line := process.stdout.readline()):
            assert line, "it ended too soon"
        process.stdin.write("\x03")
        process.stdin.flush()
        out, _ = process.communicate(timeout=30)
    assert (process.returncode, out.count("SIGINT")) == (7, 1)


@needs_signals
@pytest.mark.parametrize(("name", "code"), [("SIGINT", -signal.SIGINT), ("SIGTERM", 143)])
def test_alone_it_serves_until_a_signal(name: str, code: int) -> None:
    with started(sandbox()) as process:
        assert process.stdout is not None
        expected = variables(os.environ, base_url="http://127.0.0.1:1/api/v1/cloud", token=TOKEN, folder=Path("/own"))
        lines = [process.stdout.readline() for _ in expected]
        exports = dict(shlex.split(line.removeprefix("export "))[0].split("=", 1) for line in lines)
        assert list(exports) == list(expected)
        token = {"Authorization": f"Bearer {exports['QODER_PAT']}"}
        assert httpx.get(exports["QODER_BASE_URL"] + "/deployments", headers=token, trust_env=False).status_code == 200
        process.send_signal(signal.Signals[name])
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (code, "")
    assert "Ctrl-C" in err
