"""Runs of `qoder sandbox` and their sessions: how each preset goes, what the events say, and what a stream tells."""

import itertools
from typing import Any

import pytest

from qoder_cli.sandbox.samples import PRESETS
from qoder_cli.sandbox.wire import GENERATIONS, Generation
from qoder_cli.sandbox.world import World
from tests.conftest import TOKEN, Qoder
from tests.sandbox.desk import STORE, Desk
from tests.support.inprocess import WithoutStreams

KEYS = ["id", "type", "deployment_id", "agent", "created_at", "session_id", "error", "trigger_context"]


def types_of(events: list[Any]) -> list[str]:
    return [event["type"] for event in events]


def test_sandbox_shows_a_run_as_each_generation_does(current: Desk, legacy: Desk) -> None:
    run = current.run()
    assert list(run) == KEYS
    assert run["created_at"] == "2026-06-14T08:54:06Z"
    assert current.get(f"/deployment_runs/{run['id']}") == run
    older = legacy.run()
    assert list(older) == [*KEYS, "status", "triggered_at", "cas_run_extras"]
    assert list(older["cas_run_extras"]) == ["attempt", "turn_id", "started_at"]
    assert len(older["created_at"]) == len("2026-06-14T08:54:06.271902633Z")
    legacy.clock.sleep(4)
    ended = legacy.get(f"/deployment_runs/{older['id']}")
    assert list(ended) == [*KEYS, "status", "triggered_at", "completed_at", "duration_ms", "cas_run_extras"]
    assert ended["created_at"] == older["created_at"][:26].rstrip("0") + "Z"
    assert ended["duration_ms"] == 2960


# Preset, seconds after which it has ended, its ending, and the error an older server names.
LIVES = [
    ("demo", 3, "completed", None),
    ("minute", 60, "completed", None),
    ("slow", 8, "completed", None),
    ("idle", 3, "completed", None),
    ("silent", 3, "completed", None),
    ("file", 3, "completed", None),
    ("scheduled", 3, "completed", None),
    ("fail", 3, "failed", "retries_exhausted"),
    ("terminated", 3, "failed", "session_terminated"),
    ("budget", 3, "failed", "budget_reached"),
    ("nostart", 0, "failed", "environment_archived_error"),
]
# Of these the tests below, test_answers.py and `test_policy.py` (askmany) tell.
ELSEWHERE = {"skip", "ask", "askmany", "askthrice", "custom", "selfask", "paused", "archived"}


@pytest.mark.parametrize(("word", "seconds", "status", "error"), LIVES)
def test_sandbox_ends_a_run_as_its_preset_says(
    desk: Desk, word: str, seconds: float, status: str, error: str | None
) -> None:
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
        assert (shown["status"], (shown["error"] or {}).get("type")) == (status, error)
        assert ("duration_ms" in shown) == (status == "completed")
    else:
        assert "status" not in shown
        assert (shown["session_id"] is None) != (shown["error"] is None)


def test_sandbox_has_no_preset_that_is_not_tried() -> None:
    assert {preset.word for preset in PRESETS} == ELSEWHERE | {word for word, *_ in LIVES}


def test_sandbox_skips_a_run(current: Desk, legacy: Desk) -> None:
    skipped = legacy.run("dep_skip")
    assert (skipped["status"], skipped["session_id"], skipped["error"]) == ("skipped", None, None)
    rejected = current.run("dep_skip")
    assert (rejected["session_id"], rejected["error"]["type"]) == (None, "session_creation_rejected_error")


def test_sandbox_on_an_older_generation_has_pending_runs(legacy: Desk) -> None:
    run = legacy.run("dep_slow")
    assert (run["status"], "cas_run_extras" in run) == ("pending", False)
    legacy.clock.sleep(5.01)
    assert legacy.get(f"/deployment_runs/{run['id']}")["status"] == "running"


def test_sandbox_tells_a_turn_in_the_usual_order(desk: Desk) -> None:
    run = desk.run()
    desk.clock.sleep(10)
    events = desk.events(run)
    assert types_of(events) == [
        *("session.status_running", "session.thread_status_running", "user.message", "span.model_request_start"),
        *("agent.thinking", "agent.tool_use", "agent.tool_result", "agent.message", "span.model_request_end"),
        *("session.thread_status_idle", "session.status_idle"),
    ]
    assert events[6]["tool_use_id"] == events[5]["id"]
    assert events[8]["model_request_start_id"] == events[3]["id"]
    assert [event["processed_at"] for event in events] == sorted(event["processed_at"] for event in events)
    assert ("turn_id" in events[0]) == (desk.generation == "legacy")


def test_sandbox_hands_a_session_what_its_deployment_has(current: Desk) -> None:
    more = {"environment_variables": "A=1\nB=2", "vault_ids": ["vault_team"]}
    made = current.made("/deployments", **more, resources=[{"type": "file", "file_id": "file_notes"}])
    session = current.get(f"/sessions/{current.run(made['id'])['session_id']}")
    assert (session["environment_variables"], session["vault_ids"]) == ({"A": "1", "B": "2"}, ["vault_team"])
    assert session["resources"][0]["mount_path"] == "/mnt/session/uploads/file_notes"


ALL_OF_IT = {"vault_ids": ["vault_team"], "resources": [{"type": "file", "file_id": "file_notes"}, STORE]}


@pytest.mark.parametrize(
    ("request_line", "error"),
    [
        ("POST /agents/agent_writer/archive", "agent_archived_error"),
        ("POST /environments/{env}/archive", "environment_archived_error"),
        ("DELETE /environments/{env}", "environment_not_found_error"),
        ("POST /vaults/vault_team/archive", "vault_archived_error"),
        ("DELETE /vaults/vault_team", "vault_not_found_error"),
        ("DELETE /files/file_notes", "file_not_found_error"),
        ("POST /memory_stores/memstore_project/archive", "memory_store_archived_error"),
        ("DELETE /memory_stores/memstore_project", "session_resource_not_found_error"),
        ("DELETE /skills/skill_release_notes", "skill_not_found_error"),
        ("POST /environments/{env} self_hosted", "self_hosted_resources_unsupported_error"),
    ],
)
def test_sandbox_starts_nothing_without_what_the_deployment_uses(desk: Desk, request_line: str, error: str) -> None:
    skills = [{"type": "custom", "skill_id": "skill_release_notes"}]
    desk.done("/agents/agent_writer", version=3, skills=skills)
    env = desk.made("/environments")["id"]
    made = desk.made("/deployments", **ALL_OF_IT | {"agent": "agent_writer", "environment_id": env})
    method, path, *more = request_line.format(env=env).split()
    body = {"config": {"type": "self_hosted"}} if more else None
    assert desk.http.request(method, path, json=body).is_success
    run = desk.run(made["id"])
    shown = desk.get(f"/deployment_runs/{run['id']}")
    assert (shown["error"]["type"], shown.get("session_id")) == (error, None)


def test_sandbox_stops_a_cancelled_session_a_moment_later(desk: Desk) -> None:
    run = desk.run("dep_minute")
    path = f"/sessions/{run['session_id']}"
    desk.clock.sleep(10)
    for _ in range(2):
        answer = desk.post(path + "/cancel")
        assert answer.status_code == 202
        assert answer.json() == {"id": run["session_id"], "type": "session", "status": "canceling"}
    status = "canceling" if desk.generation == "legacy" else "running"
    assert desk.get(path)["status"] == status
    assert desk.ids("/sessions", statuses=status) == [run["session_id"]]
    desk.clock.sleep(1)
    assert desk.get(path)["status"] == "idle"
    assert desk.ids("/sessions", statuses="running") == []
    assert desk.events(run)[-1]["stop_reason"] == {"type": "cancelled"}
    assert desk.post(path + "/cancel").status_code == 200
    if desk.generation == "legacy":
        assert desk.get(f"/deployment_runs/{run['id']}")["error"]["type"] == "cancelled"


def test_sandbox_forgets_a_deleted_session_and_keeps_its_run(desk: Desk) -> None:
    run, other = desk.run("dep_minute"), desk.run()
    path = f"/sessions/{run['session_id']}"
    desk.clock.sleep(1)
    answer = desk.http.delete(path)
    assert (answer.status_code, answer.json()) == (200, {"id": run["session_id"], "type": "session_deleted"})
    for line in ("GET ", "GET /events", "GET /events/stream", "DELETE ", "POST /cancel"):
        method, _, below = line.partition(" ")
        assert desk.refused(method, path + below) == (404, "not_found_error", None)
    assert desk.ids("/sessions") == [other["session_id"]]
    assert desk.get(f"/deployment_runs/{run['id']}")["session_id"] == run["session_id"]
    assert desk.ids("/deployment_runs") == [other["id"], run["id"]]
    desk.clock.sleep(120)
    if desk.generation == "legacy":
        assert desk.get(f"/deployment_runs/{run['id']}")["error"]["type"] == "session_deleted"
    ended = desk.get(f"/deployment_runs/{other['id']}")
    desk.http.delete(f"/sessions/{other['session_id']}")
    assert desk.get(f"/deployment_runs/{other['id']}") == ended
    assert desk.world.ending(other["id"]).status == "completed"  # type: ignore[union-attr]  # it has ended


@pytest.mark.parametrize("path", ["/events/stream", "/events"])
def test_sandbox_streams_what_comes_to_be_from_now_on(desk: Desk, path: str) -> None:
    run = desk.run()
    desk.clock.sleep(1)
    before = desk.events(run)
    with desk.stream(run, path=path) as told:
        streamed = [next(told) for _ in range(4)]
        desk.clock.sleep(60)
    assert streamed == desk.events(run)[len(before) : len(before) + 4]
    assert 0 < len(before) < len(desk.events(run))


def test_sandbox_streams_go_on_after_the_event_that_is_named(desk: Desk) -> None:
    run = desk.run("dep_terminated")
    desk.clock.sleep(60)
    events = desk.events(run)
    for n, event in enumerate(events):
        with desk.stream(run, after=event["id"]) as told:
            assert list(told) == events[n + 1 :]
    path = f"/sessions/{run['session_id']}/events/stream"
    assert desk.refused("GET", path, headers={"Last-Event-ID": "evt_x"}) == (409, "conflict_error", None)


def test_sandbox_keeps_the_stream_of_an_idle_session_with_heartbeats(desk: Desk) -> None:
    run = desk.run()
    desk.clock.sleep(60)
    began = desk.clock.time
    with desk.http.stream("GET", f"/sessions/{run['session_id']}/events/stream") as answer:
        assert list(itertools.islice(answer.iter_lines(), 6)) == [": heartbeat", ""] * 3
    assert desk.clock.time == began + 45


def test_sandbox_streams_a_message_while_it_is_written(desk: Desk) -> None:
    run = desk.run()
    came: list[tuple[float, Any]] = []
    with desk.stream(run, deltas=["agent.message", "agent.thinking"]) as told:
        for event in itertools.takewhile(lambda event: event["type"] != "session.status_idle", told):
            came.append((desk.clock.time, event))
    kinds = [event["type"] for _, event in came]
    assert kinds[kinds.index("agent.thinking") - 1] == "event_start"
    [message] = [event for _, event in came if event["type"] == "agent.message"]
    deltas = [event for _, event in came if event["type"] == "event_delta"]
    assert {delta["event_id"] for delta in deltas} == {message["id"]}
    assert "".join(delta["delta"]["content"]["text"] for delta in deltas) == message["content"][0]["text"]
    writing = [at for at, event in came if event["type"] in ("event_delta", "agent.message")]
    assert len(set(writing)) == len(writing) > 2
    assert not {"event_start", "event_delta"} & {*types_of(desk.events(run))}


# What was rehearsed works: a run that failed, what mends its cause, and the same once more.

# The deployment, how its run ends, and the commands that lead to one that completes.
REHEARSALS = {
    "an archived environment": ("nostart", 1, ["deploy update nostart --env default", "run retry RUN --wait"]),
    "a budget that is too small": ("budget", 1, ["deploy update budget --budget 5", "run retry RUN --wait"]),
    "a budget of the session": ("budget", 1, ["session update RUN --budget 5", "session send RUN -m Continue. --wait"]),
    "an agent that fails": ("fail", 1, ["deploy update fail --agent writer", "run retry RUN --wait"]),
    "an agent that asks": (
        *("ask", 11),
        [
            "agent update ask-agent --ask none",
            "deploy update ask --agent ask-agent@2",
            "run cancel RUN --yes",
            "run retry RUN --wait",
        ],
    ),
    "a paused deployment": ("paused", 6, ["deploy unpause paused", "deploy run paused --wait"]),
}


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("name", REHEARSALS)
def test_sandbox_lets_a_run_complete_once_its_cause_is_mended(qoder: Qoder, name: str, generation: Generation) -> None:
    deployment, code, commands = REHEARSALS[name]
    world = World(generation=generation, token=TOKEN, clock=qoder.clock.now)
    qoder.transport = WithoutStreams(world, sleep=qoder.clock.sleep)
    first = qoder("deploy", "run", deployment, "--wait", "--on-ask", "stop", "--json")
    assert first.code == code
    run = first.json["id"] if first.out else ""
    for command in commands:
        ran = qoder(*command.replace("RUN", run).split(), "--no-input")
        assert ran.code == 0, (command, ran.err)
