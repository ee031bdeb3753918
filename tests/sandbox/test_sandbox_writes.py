"""What the rehearsal server does when deployments are created, changed, paused and archived."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from qoder_cli.sandbox.wire import GENERATIONS
from tests.support.sandbox_desk import BODY, Desk


@pytest.fixture(params=GENERATIONS)
def desk(request: pytest.FixtureRequest) -> Desk:
    return Desk(request.param)


def again(desk: Desk, **settings: Any) -> Desk:
    """Return another desk of the same generation."""
    return Desk(desk.generation, **settings)


# Names.


def test_a_name_is_taken_until_its_deployment_is_archived(desk: Desk) -> None:
    made = desk.post("/deployments", BODY).json()
    assert desk.refused("POST", "/deployments", json=BODY) == (409, "conflict_error", None)
    assert desk.refused("POST", "/deployments/dep_demo", json={"name": BODY["name"]}) == (409, "conflict_error", None)
    assert desk.post(f"/deployments/{made['id']}", {"name": BODY["name"]}).status_code == 200  # its own
    desk.post(f"/deployments/{made['id']}/archive")
    assert desk.post("/deployments", BODY).status_code in (200, 201)


def test_a_server_may_not_care_for_names(desk: Desk) -> None:
    desk = again(desk, unique_names=False)
    assert len({desk.post("/deployments", BODY).json()["id"] for _ in range(2)}) == 2
    assert desk.post("/deployments/dep_demo", {"name": BODY["name"]}).status_code == 200


# Agents.


def test_an_agent_without_a_version_is_pinned_to_the_latest(desk: Desk) -> None:
    path = "/deployments/" + desk.post("/deployments", BODY).json()["id"]
    assert desk.get(path)["agent"] == {"id": BODY["agent"], "type": "agent", "version": 1}
    desk.world.agent_versions[str(BODY["agent"])] = 4
    assert desk.post(path, {"description": "not about the agent"}).json()["agent"]["version"] == 1
    assert desk.post(path, {"agent": BODY["agent"]}).json()["agent"]["version"] == 4
    pinned = {"id": BODY["agent"], "type": "agent", "version": 2}
    assert desk.post(path, {"agent": pinned}).json()["agent"] == pinned
    assert desk.post(path, {"agent": {"id": BODY["agent"], "type": "agent"}}).json()["agent"]["version"] == 4


# Bodies.

OUTCOME = {"type": "user.define_outcome", "description": "all green", "rubric": {"type": "text", "content": "x"}}


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"initial_events": [{"type": "user.message"}]}, "initial_events.0"),
        ({"initial_events": [{"type": "system.message", "content": []}]}, "initial_events.0"),
        ({"initial_events": [{"type": "user.define_outcome", "description": "all green"}]}, "initial_events.0"),
        ({"initial_events": [{**OUTCOME, "rubric": "free text"}]}, "initial_events.0"),
        ({"initial_events": [{**OUTCOME, "rubric": {"type": "file", "content": "x"}}]}, "initial_events.0"),
        ({"environment_variables": "A=1;FLAG"}, "environment_variables"),
        ({"environment_variables": "=1"}, "environment_variables"),
        ({"initial_events": [{"type": "user.message", "content": "Report."}] * 51}, "initial_events"),
        ({"resources": [{"type": "folder"}]}, "resources.0.type"),
        ({"resources": [{"type": "file", "file_id": "file_1"}] * 501}, "resources"),
        ({"vault_ids": ["vault_1"] * 51}, "vault_ids"),
        ({"description": "x" * 2049}, "description"),
        ({"metadata": {"x" * 65: "1"}}, "metadata"),
        ({"metadata": {"team": "x" * 513}}, "metadata.team"),
        ({"budget": {"type": "limit", "max_credit_cost": "1.001"}}, "budget.max_credit_cost"),
        ({"schedule": {"type": "cron", "expression": "0 9 * * MON", "timezone": "UTC"}}, "schedule.expression"),
        ({"schedule": {"expression": "0 9 * * *", "timezone": "UTC"}}, "schedule.type"),
    ],
)
@pytest.mark.parametrize("path", ["/deployments", "/deployments/dep_demo"])
def test_what_is_beyond_the_limits_is_refused_by_name(
    desk: Desk, path: str, change: dict[str, Any], param: str
) -> None:
    body = BODY | change if path == "/deployments" else change
    status, kind, named = desk.refused("POST", path, json=body)
    assert (status, kind) == (400, "invalid_request_error")
    assert str(named).startswith(param)


def test_an_outcome_can_be_defined_and_content_can_be_plain_text(desk: Desk) -> None:
    from_file = {**OUTCOME, "rubric": {"type": "file", "file_id": "file_1"}}
    events = [{"type": "user.message", "content": "Report."}, OUTCOME, from_file]
    assert desk.post("/deployments", BODY | {"initial_events": events}).status_code in (200, 201)


def test_secrets_of_resources_are_never_echoed(desk: Desk) -> None:
    url = "https://github.com/your-org/your-repo"
    github = {"type": "github_repository", "url": url, "authorization_token": "hush-hush"}
    git = {"type": "git_repository", "url": url, "password": "hush-hush"}
    made = desk.post("/deployments", BODY | {"resources": [github, git]})
    assert "hush-hush" not in made.text
    assert made.json()["resources"] == [{"type": kind, "url": url} for kind in ("github_repository", "git_repository")]


def test_metadata_merges(desk: Desk) -> None:
    path = "/deployments/" + desk.post("/deployments", BODY | {"metadata": {"a": "1", "b": "2"}}).json()["id"]

    def metadata(change: object) -> Any:
        changed = desk.post(path, {"metadata": change}).json()["metadata"]
        changed.pop("cas_config", None)  # the older generation's own
        return changed

    assert metadata({"a": None, "c": "3", "gone": None}) == {"b": "2", "c": "3"}
    assert desk.refused("POST", path, json={"metadata": {f"key-{n}": "" for n in range(15)}})[2] == "metadata"
    assert len(metadata({f"key-{n}": "" for n in range(14)})) == 16


# Paused by an error.


def _scheduled(desk: Desk, like: str) -> str:
    """Add a deployment that fires every minute and behaves like a preset; return its id."""
    schedule = {"expression": "* * * * *", "timezone": "UTC"}
    behaviour = desk.world.deployments[f"dep_{like}"].behaviour
    return desk.world.add_deployment(name="each-minute", schedule=schedule, behaviour=behaviour).id


def test_a_scheduled_run_that_cannot_start_pauses_its_deployment(desk: Desk) -> None:
    id = _scheduled(desk, "nostart")
    desk.clock.sleep(300)
    shown = desk.get(f"/deployments/{id}")
    assert shown["status"] == "paused"
    assert shown["paused_reason"] == {"type": "error", "error": {"type": "environment_archived_error"}}
    assert len(desk.get(f"/deployments/{id}/runs")["data"]) == 1
    assert desk.post(f"/deployments/{id}/unpause").json()["paused_reason"] is None
    desk.post(f"/deployments/{id}/pause")
    assert desk.get(f"/deployments/{id}")["paused_reason"] == {"type": "manual"}


def test_neither_a_run_by_hand_nor_a_passing_error_does(desk: Desk) -> None:
    desk.post("/deployments/dep_nostart/run")
    assert desk.get("/deployments/dep_nostart")["status"] == "active"
    id = _scheduled(desk, "skip")
    desk.clock.sleep(150)
    assert desk.get(f"/deployments/{id}")["status"] == "active"


# What goes wrong on order.

WRITES: dict[str, Callable[..., httpx.Response]] = {
    "create": lambda desk, **headers: desk.post("/deployments", BODY, **headers),
    "update": lambda desk, **headers: desk.post("/deployments/dep_demo", {"metadata": {"a": "1"}}, **headers),
    "pause": lambda desk, **headers: desk.post("/deployments/dep_demo/pause", **headers),
    "unpause": lambda desk, **headers: desk.post("/deployments/dep_paused/unpause", **headers),
    "archive": lambda desk, **headers: desk.post("/deployments/dep_demo/archive", **headers),
}
EACH = pytest.mark.parametrize("write", WRITES)


@EACH
@pytest.mark.parametrize("where", ["itself", "write", "deployment", "any"])
def test_a_fault_names_one_kind_of_write_or_all_of_them(desk: Desk, write: str, where: str) -> None:
    desk.faults.add(f"{write if where == 'itself' else where}:503")
    assert WRITES[write](desk).status_code == 503
    assert WRITES[write](desk).status_code in (200, 201)


@EACH
def test_what_is_meant_for_another_write_passes_by(desk: Desk, write: str) -> None:
    for other in {*WRITES, "trigger"} - {write}:
        desk.faults.add(f"{other}:503")
    assert WRITES[write](desk).status_code in (200, 201)
    assert desk.get("/deployments/dep_demo")["id"] == "dep_demo"


@EACH
def test_the_answer_of_a_write_can_be_lost(desk: Desk, write: str) -> None:
    before = str(desk.world.deployments)
    desk.faults.add(f"{write}:drop-before")
    with pytest.raises(httpx.RemoteProtocolError):
        WRITES[write](desk)
    assert str(desk.world.deployments) == before
    desk.faults.add(f"{write}:drop-after")
    with pytest.raises(httpx.RemoteProtocolError):
        WRITES[write](desk)
    assert str(desk.world.deployments) != before


@EACH
def test_a_key_brings_back_the_first_answer_of_a_write(desk: Desk, write: str) -> None:
    first, again = (WRITES[write](desk, **{"Idempotency-Key": "k"}) for _ in range(2))
    assert first.status_code in (200, 201)
    assert again.content == first.content


@pytest.mark.parametrize("write", ["pause", "unpause", "archive", "create"])
def test_a_stranger_is_faster(desk: Desk, write: str) -> None:
    desk.faults.add(f"{write}:stranger")
    assert WRITES[write](desk, **{"Idempotency-Key": "k"}).status_code == 409


def test_a_stranger_comes_only_where_something_is_done(desk: Desk) -> None:
    desk.faults.add("any:stranger")
    desk.get("/deployments/dep_demo")
    assert desk.world.started(origin="other") == []
    desk.run()
    assert len(desk.world.started(origin="other")) == 1


def test_a_stranger_creates_another_of_the_same_name(desk: Desk) -> None:
    desk = again(desk, unique_names=False)
    desk.faults.add("create:stranger")
    ours = desk.post("/deployments", BODY).json()["id"]
    named = [one["id"] for one in desk.get("/deployments")["data"] if one["name"] == BODY["name"]]
    assert ours in named
    assert len(named) == 2


def test_a_stranger_changes_something_else_in_between(desk: Desk) -> None:
    desk.faults.add("update:stranger")
    changed = desk.post("/deployments/dep_demo", {"metadata": {"team": "platform"}}).json()
    assert changed["description"] == "Changed by someone else."
    assert changed["metadata"]["team"] == "platform"


def test_a_lagging_replica_shows_a_deployment_as_it_was(desk: Desk) -> None:
    desk.faults.add("any:lagging=5")
    desk.post("/deployments/dep_demo/pause")
    made = desk.post("/deployments", BODY).json()["id"]
    assert desk.get("/deployments/dep_demo")["status"] == "active"
    assert desk.status(f"/deployments/{made}") == 404
    listed = {one["id"]: one["status"] for one in desk.get("/deployments", limit=100)["data"]}
    assert (listed["dep_demo"], made in listed) == ("active", False)
    desk.clock.sleep(5)
    assert desk.get("/deployments/dep_demo")["status"] == "paused"
    assert desk.get(f"/deployments/{made}")["id"] == made
