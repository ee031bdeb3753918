"""Deployments of `qoder sandbox`: created, changed, paused, archived, and what their schedules do."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.sandbox.desk import BODY, Desk

CONFLICT = (409, "conflict_error", None)
KEYS = [
    *("id", "type", "name", "description", "agent", "environment_id", "environment_variables", "initial_events"),
    *("metadata", "paused_reason", "resources", "schedule", "status", "vault_ids"),
    *("created_at", "updated_at", "archived_at"),
]


def test_sandbox_shows_a_deployment_as_documented(current: Desk, legacy: Desk) -> None:
    shape = current.get("/deployments/dep_scheduled")
    assert list(shape) == KEYS
    assert list(shape["schedule"]) == ["expression", "timezone", "type", "upcoming_runs_at"]
    assert [at[-10:] for at in shape["schedule"]["upcoming_runs_at"]] == ["T09:00:00Z"] * 5
    older = legacy.get("/deployments/dep_scheduled")
    assert list(older) == [key for key in KEYS if key != "environment_variables"]
    assert older["initial_events"] == [{"content": "Generate today's status report", "type": "user.message"}]
    assert older["metadata"]["cas_config"]["stats"]["next_trigger_at"] == "2026-06-14T09:00:00Z"


def test_sandbox_changes_only_what_an_update_names(current: Desk) -> None:
    before = current.made("/deployments", metadata={"a": "1", "b": "2"})
    path = f"/deployments/{before['id']}"
    current.clock.sleep(5)
    named = {"description": "new", "metadata": {"a": None, "c": "3", "gone": None}}
    after = {"description": "new", "metadata": {"b": "2", "c": "3"}, "updated_at": "2026-06-14T08:54:11Z"}
    assert current.done(path, **named) == before | after
    cleared = {"description": None, "schedule": None, "vault_ids": None}
    assert cleared.items() <= (current.done(path, **cleared) | {"vault_ids": None}).items()
    assert current.get(path)["vault_ids"] == []
    assert current.refused("POST", path, json={"metadata": {f"key-{n}": "" for n in range(15)}})[2] == "metadata"
    assert len(current.done(path, metadata={f"key-{n}": "" for n in range(14)})["metadata"]) == 16


def test_sandbox_keeps_a_name_for_one_deployment_until_it_is_archived(desk: Desk) -> None:
    path = f"/deployments/{desk.made('/deployments')['id']}"
    assert desk.refused("POST", "/deployments", json=BODY) == CONFLICT
    assert desk.refused("POST", "/deployments/dep_demo", json={"name": BODY["name"]}) == CONFLICT
    desk.done(path, name=BODY["name"])  # its own
    desk.done(f"{path}/archive")
    desk.made("/deployments")
    careless = Desk(desk.generation, unique_names=False)
    assert len({careless.made("/deployments")["id"] for _ in range(2)}) == 2
    careless.done("/deployments/dep_demo", name=BODY["name"])


def test_sandbox_archives_for_good_and_frees_the_name(desk: Desk) -> None:
    path = "/deployments/dep_scheduled"
    archived = desk.done(f"{path}/archive")
    assert archived["name"] == "nightly-report_archived_1781427246"
    assert (archived["status"], archived["archived_at"]) == ("active", "2026-06-14T08:54:06Z")
    assert archived["schedule"]["upcoming_runs_at"] == []
    for verb in ("/run", "/pause", "/unpause", "/archive", ""):
        assert desk.refused("POST", path + verb, json={} if verb else {"name": "again"}) == CONFLICT


def test_sandbox_hides_secrets_of_resources(desk: Desk) -> None:
    url = "https://github.com/your-org/your-repo"
    github = {"type": "github_repository", "url": url, "authorization_token": "hush-hush"}
    made = desk.made(
        "/deployments", resources=[github, {"type": "git_repository", "url": url, "password": "hush-hush"}]
    )
    assert made["resources"] == [{"type": kind, "url": url} for kind in ("github_repository", "git_repository")]


def each_minute(desk: Desk, like: str, **fields: Any) -> str:
    """Add a deployment that fires every minute and behaves like a preset; return its path."""
    schedule = {"expression": "* * * * *", "timezone": "UTC"}
    behaviour = desk.world.deployments[f"dep_{like}"].behaviour
    return f"/deployments/{desk.world.add_deployment(name='x', schedule=schedule, behaviour=behaviour, **fields).id}"


def test_sandbox_fires_a_schedule_while_the_deployment_is_active(desk: Desk) -> None:
    desk.clock.sleep(86400)
    [run] = desk.get("/deployment_runs")["data"]
    assert run["trigger_context"] == {"type": "schedule", "scheduled_at": "2026-06-14T09:00:00Z"}
    desk.done("/deployments/dep_scheduled/pause")
    desk.clock.sleep(3 * 86400)
    desk.done("/deployments/dep_scheduled/unpause")
    assert len(desk.ids("/deployment_runs")) == 1
    desk.clock.sleep(86400)
    assert len(desk.ids("/deployment_runs")) == 2


def test_sandbox_pauses_a_deployment_whose_scheduled_run_cannot_start(desk: Desk) -> None:
    environment = desk.made("/environments")["id"]
    path = each_minute(desk, "demo", environment_id=environment)
    desk.done(f"/environments/{environment}/archive")
    desk.clock.sleep(300)
    shown = desk.get(path)
    assert shown["status"] == "paused"
    assert shown["paused_reason"] == {"type": "error", "error": {"type": "environment_archived_error"}}
    assert len(desk.ids(f"{path}/runs")) == 1
    assert desk.done(f"{path}/unpause")["paused_reason"] is None
    assert desk.done(f"{path}/pause")["paused_reason"] == {"type": "manual"}


WRITES: dict[str, Callable[..., httpx.Response]] = {
    "create": lambda desk, **headers: desk.post("/deployments", BODY, **headers),
    "update": lambda desk, **headers: desk.post("/deployments/dep_demo", {"metadata": {"team": "a"}}, **headers),
    "pause": lambda desk, **headers: desk.post("/deployments/dep_demo/pause", **headers),
    "unpause": lambda desk, **headers: desk.post("/deployments/dep_paused/unpause", **headers),
    "archive": lambda desk, **headers: desk.post("/deployments/dep_demo/archive", **headers),
}


@pytest.mark.parametrize("write", WRITES)
def test_sandbox_faults_meet_the_write_that_they_name(desk: Desk, write: str) -> None:
    for other in {*WRITES, "trigger"} - {write}:
        desk.faults.add(f"{other}:503")
    assert desk.get("/deployments/dep_demo")["id"] == "dep_demo"
    for where in (write, "write", "deployment", "any"):
        desk.faults.add(f"{where}:503")
        assert WRITES[write](desk).status_code == 503
    before = desk.kept
    for how, acts in (("before", False), ("after", True)):
        desk.faults.add(f"{write}:drop-{how}")
        with pytest.raises(httpx.RemoteProtocolError):
            WRITES[write](desk)
        assert (desk.kept != before) == acts
