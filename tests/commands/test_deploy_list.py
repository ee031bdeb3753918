"""`qoder deploy list` and `deploy get`: deployments as they are, their next fires, and a picture of their runs."""

from typing import Any

import pytest

from qoder_cli.sandbox.world import World
from tests.conftest import Qoder, Ran
from tests.support.one_run import CURRENT, DONE, LEGACY
from tests.support.wire import api_error, page

DEPLOYMENTS = ("GET", "/deployments")
OF_1 = ("GET", "/deployments/dep_1")
RUNS_OF_1 = ("GET", "/deployments/dep_1/runs")
HOUR = 3600.0
pytestmark = pytest.mark.usefixtures("utc")


def listed(qoder: Qoder, *words: str) -> list[str]:
    return [item["id"] for item in qoder("deploy", "list", *words, "--json").json]


def deployment(number: int, **fields: Any) -> dict[str, Any]:
    return {"id": f"dep_{number}", "type": "deployment", "name": f"job-{number}", "status": "active", **fields}


def test_deploy_list_shows_the_newest_first_without_archived_ones(qoder: Qoder, world: World) -> None:
    made = world.seed_deployments(30)
    ran = qoder("deploy", "list", "--json")
    assert (len(ran.json), ran.json[0]["id"]) == (20, made[-1].id)
    assert ran.err.splitlines()[-1] == "note: showing 20, more match; use --all to see the rest"
    ran = qoder("deploy", "list", "--sort", "name")
    assert ran.err.splitlines()[-1] == "note: showing 20, more match; use --all to sort all of them"
    everything = listed(qoder, "--all")
    assert "dep_archived" not in everything
    assert len(everything) == len(world.deployments) - 1
    assert "dep_archived" in listed(qoder, "--all", "--include-archived")


def test_deploy_list_tells_archived_by_when_it_was_and_never_by_status(qoder: Qoder) -> None:
    archived = deployment(1, archived_at="2026-06-14T08:54:06Z")
    qoder.wire.on(*DEPLOYMENTS, page(archived, deployment(2, status="archived")), repeat=True)
    assert listed(qoder) == ["dep_2"]  # although the server sent both
    rows = [line.split("\t") for line in qoder("deploy", "list", "--include-archived").out.splitlines()]
    assert [row[2] for row in rows] == ["archived", "archived"]


def test_deploy_list_filters_by_status_and_agent(qoder: Qoder, world: World) -> None:
    other = world.add_deployment(name="other", agent={"id": "agent_2", "type": "agent", "version": 1}, status="paused")
    assert listed(qoder, "--agent", "agent_2") == [other.id]
    for words in ((), ("--include-archived",)):
        assert set(listed(qoder, "--status", "paused", *words)) == {other.id, "dep_paused"}
    queries = [seen.query for seen in world.requests if seen.path.endswith("/deployments")]
    assert not [query for query in queries if "status=" in query and "include_archived=" in query]


def test_deploy_list_shows_archived_ones_alone(qoder: Qoder, world: World) -> None:
    world.seed_deployments(120)
    assert listed(qoder, "--archived") == ["dep_archived"]
    assert listed(qoder, "--archived", "--include-archived", "--name", "ARCH") == ["dep_archived"]
    assert listed(qoder, "--archived", "--status", "paused") == []


def test_deploy_list_finds_by_a_part_of_the_name_what_the_server_does_not_filter(qoder: Qoder) -> None:
    pages = page(deployment(3), deployment(2, name="nightly"), more=True), page(deployment(1, name="the Night"))
    qoder.wire.on(*DEPLOYMENTS, *pages)
    ran = qoder("deploy", "list", "--name", "night", "-n", "5", "-q")
    assert ran.out == "dep_2\ndep_1\n"
    assert [request.url.params["limit"] for request in qoder.wire.requests] == ["100", "100"]


def test_deploy_list_in_a_pipe_has_documented_columns(qoder: Qoder) -> None:
    schedule = {"expression": "0 9 * * *", "timezone": "Asia/Shanghai", "upcoming_runs_at": ["2026-06-15T01:00:00Z"]}
    paused = {"status": "paused", "paused_reason": {"type": "error", "error": {"type": "agent_archived_error"}}}
    agent = {"agent": {"id": "agent_1", "version": 4}, "environment_id": "env_1", "created_at": "2026-06-14T08:53:32Z"}
    qoder.wire.on(*DEPLOYMENTS, page(deployment(1, schedule=schedule, **paused, **agent)))
    assert qoder("deploy", "list").out.rstrip("\n").split("\t") == [
        *("dep_1", "job-1", "paused", "agent_archived_error", "0 9 * * *", "Asia/Shanghai", "2026-06-15T01:00:00Z"),
        *("-", "agent_1@4", "env_1", "2026-06-14T08:53:32Z"),
    ]


FULL = {
    **deployment(1),
    "agent": {"id": "agent_1", "type": "agent", "version": 4},
    "environment_id": "env_1",
    "environment_variables": "FEATURE_FLAG=on;API_TOKEN=hush-hush\nLOG_LEVEL=info",
    "initial_events": [{"type": "user.message", "content": [{"type": "text", "text": "Do\nit. " * 100}]}],
    "resources": [
        {
            "type": "github_repository",
            "url": "https://joe:hush-hush@github.com/your-org/your-repo",
            "mount_path": "/workspace/your-repo",
            "checkout": {"type": "branch", "name": "main"},
            "authorization_token": "hush-hush",
        },
        {"type": "memory_store", "memory_store_id": "memstore_1", "access": "read_write"},
        {"type": "file", "file_id": "file_1"},
    ],
    "vault_ids": ["vault_1", "vault_2"],
    "metadata": {"team": "platform", "cas_config": {"stats": {}}},
    "budget": {"type": "limit", "max_credit_cost": "100.00"},
    "schedule": {
        "type": "cron",
        "expression": "0 9 * * *",
        "timezone": "Asia/Shanghai",
        "upcoming_runs_at": ["2026-06-15T01:00:00Z", "2026-06-16T01:00:00Z"],
    },
}


def sheet(ran: Ran) -> dict[str, list[str]]:
    """Return the `key<TAB>value` lines, by key."""
    values: dict[str, list[str]] = {}
    for line in ran.out.splitlines():
        key, value = line.split("\t")
        values.setdefault(key, []).append(value)
    return values


def test_deploy_get_shows_a_deployment_in_full_and_without_secrets(qoder: Qoder) -> None:
    qoder.wire.on("GET", "/deployments/dep_1", FULL).on(*RUNS_OF_1, page())
    ran = qoder("deploy", "get", "dep_1")
    shown = sheet(ran)
    assert ran.code == 0
    assert "hush" not in ran.out
    assert shown["variables"] == ["FEATURE_FLAG, API_TOKEN, LOG_LEVEL"]
    assert shown["resource"] == [
        "github_repository https://github.com/your-org/your-repo main at /workspace/your-repo",
        "memory_store memstore_1 read_write",
        "file file_1",
    ]
    assert shown["vault"] == ["vault_1", "vault_2"]
    assert shown["budget"] == ["100.00 credits a run"]
    assert shown["metadata"] == ["1 key"]
    assert shown["next_run"] == ["2026-06-15T01:00:00Z", "2026-06-16T01:00:00Z"]
    assert len(shown["first_message"][0]) == 201
    assert shown["recent_runs"] == ["none yet"]


@pytest.mark.parametrize(("archived_at", "fires"), [(None, 5), ("2026-06-14T08:54:06Z", 0)])
def test_deploy_get_works_out_next_fires_unless_it_is_archived(
    qoder: Qoder, archived_at: str | None, fires: int
) -> None:
    schedule = {"type": "cron", "expression": "0 9 * * *", "timezone": "UTC"}
    qoder.wire.on(*OF_1, deployment(1, schedule=schedule, archived_at=archived_at)).on(*RUNS_OF_1, page())
    assert len(sheet(qoder("deploy", "get", "dep_1")).get("next_run", [])) == fires


@pytest.mark.parametrize("zone", ["Asia/Shanghai", "Mars/Olympus", "", None, "../../etc/passwd", "x" * 5000])
def test_deploy_get_tells_next_fires_in_local_time_and_in_a_zone_that_is_known(qoder: Qoder, zone: str | None) -> None:
    qoder.terminal = True
    schedule = {**FULL["schedule"], "timezone": zone}
    qoder.wire.on(*OF_1, {**FULL, "schedule": schedule}).on(*RUNS_OF_1, page())
    lines = qoder("deploy", "get", "dep_1").out.splitlines()
    [first] = [n for n, line in enumerate(lines) if line.startswith("next run")]
    if zone == "Asia/Shanghai":
        assert lines[first].rstrip().endswith("2026-06-15 09:00:00 Asia/Shanghai")
        assert lines[first + 1].rstrip().endswith("2026-06-16 09:00:00 Asia/Shanghai")
        qoder.wire.on(*OF_1, {**FULL, "schedule": schedule}).on(*RUNS_OF_1, page())
        assert qoder("deploy", "get", "dep_1", "-o", "wide").out.splitlines()[-1].startswith("times are local (")
    else:
        assert "Shanghai" not in lines[first]


@pytest.mark.parametrize("format", ["json", "jsonl", "id"])
def test_deploy_get_for_scripts_is_one_request_and_unchanged(qoder: Qoder, format: str) -> None:
    qoder.wire.on(*OF_1, FULL)
    ran = qoder("deploy", "get", "dep_1", "-o", format)
    assert ran.out == "dep_1\n" if format == "id" else ran.json == FULL


def test_deploy_get_draws_a_picture_of_recent_runs(qoder: Qoder, world: World) -> None:
    for hours, kind in ((6, "silent"), (5, "terminated"), (4, "silent"), (3, "fail"), (2, "minute"), (0, "minute")):
        deployment = world.deployments["dep_demo"]
        deployment.behaviour = world.deployments[f"dep_{kind}"].behaviour
        world.start(deployment, at=world.now() - HOUR * hours)
    shown = sheet(qoder("deploy", "get", "dep_demo"))
    assert shown["recent_runs"] == ["CFCFCR"]
    assert shown["success_rate"] == ["60% (3 of 5)"]
    assert len(shown["durations"][0].split()) == 6
    assert float(shown["usual_duration"][0]) < 10
    qoder.terminal = True
    drawn = qoder("deploy", "get", "dep_demo").out
    assert "✓✗✓✗✓…" in drawn
    assert "█" in drawn


def test_deploy_get_shows_the_deployment_though_its_runs_cannot_be_read(qoder: Qoder) -> None:
    qoder.wire.on(*OF_1, FULL).on(*RUNS_OF_1, api_error(403, "permission_error", "No."))
    ran = qoder("deploy", "get", "dep_1")
    assert (ran.code, "recent_runs" in sheet(ran)) == (0, False)
    assert "could not read its runs" in ran.err


def test_deploy_get_leaves_out_of_the_picture_what_cannot_be_known(qoder: Qoder) -> None:
    done = [{**DONE, "duration_ms": ms} for ms in (8000, 3000, 1000)]
    skipped, lost, failed = (
        LEGACY | {"status": "skipped"},
        CURRENT | {"session_id": "sess_9"},
        DONE | {"status": "failed"},
    )
    told: list[dict[str, Any]] = [LEGACY, skipped, lost, failed]
    runs = [{**run, "id": f"drun_{n}"} for n, run in enumerate([*told, *done])]
    qoder.wire.on(*OF_1, FULL).on(*RUNS_OF_1, page(*runs)).may("GET", "/sessions/sess_1/events", page())
    qoder.wire.on("GET", "/sessions/sess_9/events", api_error(404, "not_found_error", "Gone."))
    shown = sheet(qoder("deploy", "get", "dep_1"))
    assert shown["success_rate"] == ["75% (3 of 4)"]
    assert shown["usual_duration"] == ["3.000"]
    assert shown["recent_runs"] == ["CCCF?SR"]
