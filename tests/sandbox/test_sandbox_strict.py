"""The rehearsal server is as strict as the API, and says of what it does not serve that it does not."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from qoder_cli.nouns.table import Operation, all_operations
from qoder_cli.sandbox.wire import GENERATIONS
from tests.support.sandbox_desk import BODY, Desk
from tests.support.seeds import seed_runs


@pytest.fixture(params=GENERATIONS)
def desk(request: pytest.FixtureRequest) -> Desk:
    return Desk(request.param)


@pytest.fixture
def current() -> Desk:
    return Desk("current")


# What is served.

OAUTH = {"type": "mcp_oauth", "access_token": "t-1", "mcp_server_url": "https://mcp.example.com/"}
SKILL = {"files[]": ("notes/SKILL.md", b"---\nname: notes\ndescription: Notes.\n---\nWrite.\n")}
SAMPLES = {
    **{
        "deployment_id": "dep_demo",
        "agent_id": "agent_writer",
        "environment_id": "env_workers",
        "work_id": "work_demo",
    },
    **{"file_id": "file_report", "vault_id": "vault_team", "credential_id": "vcred_github", "version": "1"},
    **{"skill_id": "skill_release_notes", "memory_store_id": "memstore_project", "memory_id": "mem_1"},
    **{"memory_version_id": "memver_1", "dream_id": "drm_demo"},
}
BODIES: dict[str, Any] = {
    "agents.create": {"name": "tester", "model": "auto"},
    "agents.update": {"version": 3},
    "environments.create": {"name": "tests"},
    "environments.work.update": {"metadata": {"team": "core"}},
    "deployments.create": BODY,
    "dreams.create": {"model": "auto", "inputs": [{"type": "memory_store", "memory_store_id": "memstore_project"}]},
    "memory_stores.create": {"name": "notes"},
    "memory_stores.memories.create": {"path": "a.md", "content": "A."},
    "sessions.create": {"agent": BODY["agent"], "environment_id": BODY["environment_id"]},
    "sessions.resources.add": {"type": "file", "file_id": "file_1"},
    "sessions.events.send": {"events": [{"type": "user.interrupt"}]},
    "vaults.create": {"display_name": "keys"},
    "vaults.credentials.create": {"auth": OAUTH},
}
FORMS: dict[str, Any] = {
    "files.upload": {"file": ("notes.md", b"Remember.")},
    "skills.create": SKILL,
    "skills.versions.create": SKILL,
}


def ids_for(desk: Desk, operation: Operation) -> dict[str, str]:
    """Return the ids of things that there are, by the names of parameters."""
    run = desk.run()
    ids = {**SAMPLES, "session_id": run["session_id"]}
    ids |= dict.fromkeys(("run_id", "deployment_run_id"), run["id"])
    below = f"/sessions/{run['session_id']}"
    ids["thread_id"] = desk.get(below + "/threads")["data"][0]["id"]
    ids["resource_id"] = desk.post(below + "/resources", {"type": "file", "file_id": "file_0"}).json()["id"]
    if operation.id == "deployments.unpause":
        ids["deployment_id"] = "dep_paused"
    if operation.id == "environments.work.heartbeat":
        desk.post("/environments/env_workers/work/work_demo/ack")
    if operation.id == "dreams.cancel":
        ids["dream_id"] = desk.post("/dreams", BODIES["dreams.create"]).json()["id"]
    if operation.id == "vaults.credentials.mcp_oauth_validate":
        ids["credential_id"] = desk.post("/vaults/vault_team/credentials", {"auth": OAUTH}).json()["id"]
    return ids


def path_for(desk: Desk, operation: Operation) -> str:
    ids = ids_for(desk, operation)
    return re.sub(r"\{(\w+)\}", lambda name: ids[name[1]], operation.path)


@pytest.mark.parametrize("operation", all_operations(), ids=lambda operation: operation.id)
def test_every_operation_is_served(desk: Desk, operation: Operation) -> None:
    path = path_for(desk, operation)
    form, body = FORMS.get(operation.id), BODIES.get(operation.id)
    sent: dict[str, Any] = {"files": form} if form else {} if operation.method == "GET" else {"json": body or {}}
    with desk.http.stream(operation.method, path, **sent) as answer:
        refuses = operation.id == "sessions.threads.archive"  # there is only the thread that it is not for
        assert answer.status_code in ((409,) if refuses else (200, 201, 202))


@pytest.mark.parametrize(
    "operation", [each for each in all_operations() if "{" in each.path], ids=lambda operation: operation.id
)
def test_what_there_is_not_is_not_found(desk: Desk, operation: Operation) -> None:
    path = re.sub(r"\{\w+\}", "x_1", operation.path)
    form, body = FORMS.get(operation.id), BODIES.get(operation.id)
    sent: dict[str, Any] = {"files": form} if form else {} if operation.method == "GET" else {"json": body or {}}
    assert desk.refused(operation.method, path, **sent) == (404, "not_found_error", None)


@pytest.mark.parametrize(
    "operation",
    [each for each in all_operations() if each.method == "POST" and each.id not in FORMS],
    ids=lambda operation: operation.id,
)
def test_a_field_that_there_is_not_is_refused_by_name(desk: Desk, operation: Operation) -> None:
    path = path_for(desk, operation)
    body = {**BODIES.get(operation.id, {}), "tunnel_id": "t"}
    if operation.id == "sessions.threads.archive":
        return  # refused either way
    assert desk.refused("POST", path, json=body) == (400, "invalid_request_error", "tunnel_id")


TELLS = {"type": "user.message", "content": [{"type": "text", "text": 7}]}
CUSTOM = {"type": "custom", "name": "page", "description": "Pages.", "input_schema": {}}


@pytest.mark.parametrize(
    ("operation", "change", "param"),
    [
        ("sessions.create", {"agent": {"type": "agent", "id": "agent_1", "version": 0}}, "agent.version"),
        ("deployments.create", {"agent": {"type": "agent", "id": "agent_1", "version": True}}, "agent.version"),
        ("agents.create", {"tools": [CUSTOM]}, "tools.0.input_schema"),
        ("sessions.events.send", {"events": [TELLS]}, "events.0.content.0.text"),
        ("sessions.create", {"initial_events": [TELLS]}, "initial_events.0.content.0.text"),
    ],
)
def test_a_value_that_a_field_cannot_have_is_refused_by_name(
    desk: Desk, operation: str, change: dict[str, Any], param: str
) -> None:
    [served] = [each for each in all_operations() if each.id == operation]
    body = {**BODIES.get(operation, {}), **change}
    assert desk.refused("POST", path_for(desk, served), json=body) == (400, "invalid_request_error", param)


@pytest.mark.parametrize(
    "operation",
    [each for each in all_operations() if {"limit"} & set(each.query) and each.id != "models.list"],
    ids=lambda operation: operation.id,
)
def test_every_list_has_a_limit_and_one_cursor(desk: Desk, operation: Operation) -> None:
    path = path_for(desk, operation)
    for limit in ("0", "101", "ten"):
        assert desk.refused("GET", path, params={"limit": limit}) == (400, "invalid_request_error", "limit")
    page = desk.get(path, limit=1)
    assert len(page["data"]) <= 1
    assert ("next_page" in page) == (desk.generation == "current")
    two = {"after_id": "x_1", "before_id": "x_2"}
    assert desk.refused("GET", path, params=two) == (400, "invalid_request_error", "before_id")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/nothing"),
        ("POST", "/deployments/dep_demo/start"),
        ("GET", "/agents/a/b/c/d"),
        ("GET", "/environments/env_1/"),
        ("PUT", "/deployments/dep_demo"),
        ("PUT", "/skills/skill_1"),
        ("DELETE", "/agents/agent_1"),  # the API has it (help/pages/api.md#operations)
        ("GET", "/webhook_endpoints"),  # the same
        ("GET", "/deployments/dep_demo/run"),
        ("GET", "http://sandbox/api/v1/forward/sessions"),
        ("GET", "http://sandbox/api/v1/elsewhere"),
        ("GET", "http://sandbox/"),
    ],
)
def test_what_the_sandbox_does_not_serve_is_501_in_the_api_s_envelope(desk: Desk, method: str, path: str) -> None:
    assert desk.refused(method, path) == (501, "feature_not_available", None)


def test_without_a_token_nothing_is_said_of_what_is_served(desk: Desk) -> None:
    del desk.http.headers["Authorization"]
    assert desk.http.get("/environments").status_code == 401


# Bodies.

EVENT = {"type": "user.message", "content": "Report."}
OUTCOME = {"type": "user.define_outcome", "description": "green", "rubric": {"type": "text", "content": "x"}}
SCHEDULE = {"type": "cron", "expression": "0 9 * * *", "timezone": "UTC"}


@pytest.mark.parametrize("path", ["/deployments", "/deployments/dep_demo"])
@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"tunnel_id": "tun_1"}, "tunnel_id"),
        ({"id": "dep_1"}, "id"),
        ({"agent": {"id": BODY["agent"], "type": "agent", "name": "x"}}, "agent.name"),
        ({"schedule": {**SCHEDULE, "jitter": 5}}, "schedule.jitter"),
        ({"budget": {"type": "limit", "max_credit_cost": "1.00", "currency": "USD"}}, "budget.currency"),
        ({"initial_events": [{**EVENT, "text": "x"}]}, "initial_events.0.text"),
        ({"initial_events": [EVENT, {**OUTCOME, "content": "x"}]}, "initial_events.1.content"),
        (
            {"initial_events": [{**OUTCOME, "rubric": {"type": "text", "content": "x", "weight": 1}}]},
            "initial_events.0.rubric.weight",
        ),
        ({"resources": [{"type": "file", "file_id": "file_1", "path": "/a"}]}, "resources.0.path"),
        ({"resources": [{"type": "memory_store", "memory_store_id": "m", "url": "x"}]}, "resources.0.url"),
    ],
)
def test_a_field_that_nobody_knows_is_refused(desk: Desk, path: str, change: dict[str, Any], param: str) -> None:
    before = str(desk.world.deployments)
    answer = desk.post(path, BODY | {"name": "new"} | change)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["param"]) == (400, "invalid_request_error", param)
    assert "unknown field" in error["message"]
    assert param.rpartition(".")[2] in error["message"]
    assert str(desk.world.deployments) == before


def test_a_slip_in_a_name_is_told_before_what_is_missing_for_it(desk: Desk) -> None:
    body = {"nmae" if name == "name" else name: value for name, value in BODY.items()}
    assert desk.refused("POST", "/deployments", json=body) == (400, "invalid_request_error", "nmae")


@pytest.mark.parametrize("verb", ["run", "pause", "archive"])
def test_where_nothing_can_be_said_every_field_is_refused(desk: Desk, verb: str) -> None:
    before = desk.get("/deployments/dep_demo")
    assert desk.refused("POST", f"/deployments/dep_demo/{verb}", json={"force": True})[2] == "force"
    assert desk.refused("POST", f"/deployments/dep_demo/{verb}", content=b"[]")[0] == 400
    assert desk.get("/deployments/dep_demo") == before
    assert desk.world.started() == []
    assert desk.http.post("/deployments/dep_demo/run").status_code == 200


@pytest.mark.parametrize(
    ("type", "field"),
    [
        ("file", "file_id"),
        ("github_repository", "url"),
        ("git_repository", "url"),
        ("memory_store", "memory_store_id"),
    ],
)
def test_a_resource_needs_what_it_is_about(desk: Desk, type: str, field: str) -> None:
    body = BODY | {"resources": [{"type": type}]}
    assert desk.refused("POST", "/deployments", json=body)[2] == f"resources.0.{field}"


def test_all_that_the_official_sdk_can_say_is_known(desk: Desk) -> None:
    [create] = [operation for operation in all_operations() if operation.id == "deployments.create"]
    checkout = {"type": "branch", "name": "main"}
    body = BODY | {
        "description": "all of it",
        "environment_variables": "A=1",
        "budget": {"type": "limit", "max_credit_cost": "1.00"},
        "initial_events": [EVENT, {**OUTCOME, "max_iterations": 3}, {"type": "system.message", "content": "x"}],
        "metadata": {"a": "1"},
        "resources": [
            {"type": "file", "file_id": "file_1", "mount_path": "/a"},
            {"type": "github_repository", "url": "u", "checkout": checkout, "authorization_token": "t"},
            {"type": "git_repository", "url": "u", "mount_path": "/b", "password": "p"},
            {"type": "memory_store", "memory_store_id": "m", "access": "read_only", "instructions": "x"},
        ],
        "schedule": SCHEDULE,
        "vault_ids": ["vault_1"],
    }
    assert set(create.body) == set(body)
    assert desk.post("/deployments", body).status_code in (200, 201)


# Ids.


def test_a_new_id_is_a_prefix_and_20_digits_of_base_36(desk: Desk) -> None:
    made = desk.post("/deployments", BODY).json()
    assert re.fullmatch("agent_[0-9a-f]{32}", made["agent"]["id"])  # both forms are met
    runs = []
    for _ in range(50):
        runs.append(desk.run(made["id"]))
        desk.clock.sleep(0.001)
    desk.clock.sleep(10)
    ids = [run["id"] for run in runs]
    events = [event["id"] for run in runs for event in desk.events(run)]
    for prefix, some in (("dep", [made["id"]]), ("drun", ids), ("evt", events)):
        assert all(re.fullmatch(f"{prefix}_[0-9a-z]{{20}}", id) for id in some)
    assert all(re.fullmatch("sess_[0-9a-z]{20}", run["session_id"]) for run in runs)
    assert ids == sorted(ids)
    assert len({*ids, *events}) == len(ids) + len(events)
    assert set("".join(ids + events)) > set("ghijklmnopqrstuvwxyz")


@pytest.mark.parametrize("skew", [-1e10, 1e10])
def test_an_id_has_its_length_whatever_the_clock_says(skew: float) -> None:
    assert re.fullmatch("drun_[0-9a-z]{20}", Desk("current", skew=skew).run()["id"])


# Sessions.


def test_a_new_session_looks_as_the_live_ones(desk: Desk) -> None:
    session = desk.get(f"/sessions/{desk.run()['session_id']}")
    assert "budget" not in session
    assert session["usage"] == {"total_credits": 0}
    assert session["status"] == "idle"
    assert session["environment_variables"] == {}
    assert session["agent"]["multiagent"] is None
    assert session["created_at"] == session["updated_at"] == "2026-06-14T08:54:06.271902Z"
    assert session["stats"] == {"active_seconds": 0, "duration_seconds": 0}


def test_a_session_has_the_budget_of_its_deployment(desk: Desk) -> None:
    budget = {"type": "limit", "max_credit_cost": "2.50"}
    made = desk.post("/deployments", BODY | {"budget": budget}).json()["id"]
    assert desk.get(f"/sessions/{desk.run(made)['session_id']}")["budget"] == budget
    assert desk.get(f"/sessions/{desk.run('dep_budget')['session_id']}")["budget"]["max_credit_cost"] == "0.30"


def test_sessions_are_found_by_the_time_that_they_show(desk: Desk) -> None:
    run = desk.run()
    at = desk.get(f"/sessions/{run['session_id']}")["created_at"]
    assert [each["id"] for each in desk.get("/sessions", **{"created_at[gte]": at})["data"]] == [run["session_id"]]
    assert desk.get("/sessions", **{"created_at[gt]": at})["data"] == []


def test_a_stopping_session_has_no_status_of_its_own(current: Desk) -> None:
    run = current.run("dep_minute")
    current.clock.sleep(1)
    current.post(f"/sessions/{run['session_id']}/cancel")
    assert current.get(f"/sessions/{run['session_id']}")["status"] == "running"
    assert len(current.get("/sessions", statuses="running")["data"]) == 1
    current.clock.sleep(0.2)
    assert current.get("/sessions", statuses="running")["data"] == []


# Deleting one.


def test_a_deleted_session_is_gone_and_its_run_remains(desk: Desk) -> None:
    run, other = desk.run("dep_minute"), desk.run()
    path = f"/sessions/{run['session_id']}"
    desk.clock.sleep(1)
    answer = desk.http.delete(path)
    assert (answer.status_code, answer.json()) == (200, {"id": run["session_id"], "type": "session_deleted"})
    asked = [("GET", path), ("GET", f"{path}/events"), ("GET", f"{path}/events/stream"), ("DELETE", path)]
    for method, gone in [*asked, ("POST", f"{path}/cancel")]:
        assert desk.refused(method, gone) == (404, "not_found_error", None)
    assert [each["id"] for each in desk.get("/sessions")["data"]] == [other["session_id"]]
    kept = desk.get(f"/deployment_runs/{run['id']}")
    assert (kept["id"], kept["session_id"]) == (run["id"], run["session_id"])
    assert [each["id"] for each in desk.get("/deployment_runs")["data"]] == [other["id"], run["id"]]
    desk.clock.sleep(120)
    if desk.generation == "legacy":
        assert desk.get(f"/deployment_runs/{run['id']}")["error"]["type"] == "session_deleted"


def test_a_run_that_has_ended_keeps_its_ending(desk: Desk) -> None:
    run = desk.run()
    desk.clock.sleep(5)
    before = desk.get(f"/deployment_runs/{run['id']}")
    desk.http.delete(f"/sessions/{run['session_id']}")
    assert desk.get(f"/deployment_runs/{run['id']}") == before
    ending = desk.world.ending(run["id"])
    assert ending is not None
    assert ending.status == "completed"


def test_whoever_listens_is_told_that_it_is_deleted(desk: Desk) -> None:
    desk.faults.add("stream:cut=100")  # it ends, also if nobody is told
    run = desk.run("dep_minute")
    desk.clock.sleep(1)
    with desk.stream(run) as told:
        next(told)
        desk.http.delete(f"/sessions/{run['session_id']}")
        last = [event["type"] for event in told][-1]
    assert last == "session.deleted"


def test_a_lagging_replica_still_shows_what_is_deleted(desk: Desk) -> None:
    run = desk.run()
    desk.clock.sleep(10)
    desk.faults.add("any:lagging=3")
    path = f"/sessions/{run['session_id']}"
    assert desk.http.delete(path).status_code == 200
    assert desk.http.get(path).status_code == 200
    desk.clock.sleep(3)
    assert desk.http.get(path).status_code == 404


# Pages.


def test_pages_go_back_as_they_go_on(current: Desk) -> None:
    newest_first = [run.id for run in seed_runs(current.world, 10)][::-1]
    seen: list[list[str]] = []
    query: dict[str, Any] = {"before_id": newest_first[8]}
    for _ in range(len(newest_first)):  # a cursor that leads in circles must end the test
        page = current.get("/deployment_runs", limit=3, **query)
        seen.append([run["id"] for run in page["data"]])
        assert (page["first_id"], page["last_id"]) == (seen[-1][0], seen[-1][-1])
        assert page["has_more"] == (page["next_page"] is not None)
        if not page["has_more"]:
            break
        query = {"page": page["next_page"]}  # a cursor says by itself where it leads
    assert seen == [newest_first[5:8], newest_first[2:5], newest_first[:2]]


def test_before_id_goes_back_by_the_first_id(desk: Desk) -> None:
    newest_first = [run.id for run in seed_runs(desk.world, 7)][::-1]
    seen: list[str] = []
    cursor = newest_first[-1]
    for _ in newest_first:
        page = desk.get("/deployments/dep_demo/runs", limit=2, before_id=cursor)
        seen = [run["id"] for run in page["data"]] + seen
        if not page["has_more"]:
            break
        cursor = page["first_id"]
    assert seen == newest_first[:-1]
    assert desk.get("/deployment_runs", before_id=newest_first[0])["data"] == []


def test_events_page_back_too(desk: Desk) -> None:
    run = desk.run()
    desk.clock.sleep(10)
    ids = [event["id"] for event in desk.events(run)]
    page = desk.get(f"/sessions/{run['session_id']}/events", before_id=ids[5], limit=2)
    assert ([event["id"] for event in page["data"]], page["has_more"]) == (ids[3:5], True)


@pytest.mark.parametrize("pair", [("page", "after_id"), ("page", "before_id"), ("after_id", "before_id")])
@pytest.mark.parametrize("path", ["/deployments", "/deployment_runs", "/sessions", "/deployments/dep_demo/runs"])
def test_two_cursors_at_once_are_refused(desk: Desk, path: str, pair: tuple[str, str]) -> None:
    run = desk.run()
    id = {"/deployments": "dep_demo", "/sessions": run["session_id"]}.get(path, run["id"])
    assert desk.refused("GET", path, params=dict.fromkeys(pair, id)) == (400, "invalid_request_error", pair[1])


@pytest.mark.parametrize("cursor", [{"after_id": "before:drun_1"}, {"page": "before:drun_none"}, {"page": "before:"}])
def test_a_cursor_that_leads_nowhere_is_refused(current: Desk, cursor: dict[str, str]) -> None:
    current.run()
    assert current.refused("GET", "/deployment_runs", params=cursor)[::2] == (400, next(iter(cursor)))


def test_a_query_that_nobody_knows_is_let_be(desk: Desk) -> None:
    assert desk.get("/deployments", colour="red")["data"]


# Whatever is said, it is answered.

ODD: tuple[Any, ...] = (None, 0, True, "", "x", [], [1], ["x"], [None], [{}], {}, {"x": 1}, {"permission_policy": "x"})
TOOL = {"type": "custom", "name": "look", "description": "Looks.", "input_schema": {"type": "object"}}
# What a field may be, whether that is in an array, and the fields in it that may be odd.
WHOLE: tuple[tuple[str, bool, dict[str, Any], tuple[str, ...]], ...] = (
    ("tools", True, {"type": "agent_toolset_20260401"}, ("configs", "enabled_tools", "default_config", "type")),
    ("tools", True, TOOL, ("name", "description", "input_schema")),
    ("multiagent", False, {"type": "coordinator"}, ("agents",)),
    ("model", False, {"id": "auto"}, ("id", "effort")),
    ("config", False, {"type": "cloud"}, ("type", "networking", "packages", "setup_script")),
    ("auth", False, OAUTH, ("type", "access_token", "mcp_server_url", "refresh")),
    ("inputs", True, {"type": "memory_store"}, ("type", "memory_store_id")),
    ("inputs", True, {"type": "sessions"}, ("session_ids",)),
    ("output_behavior", False, {"type": "update_existing"}, ("type", "memory_store_id")),
    ("metadata", False, {}, ("team",)),
)


def odd_values(field: str) -> Iterator[Any]:
    yield from ODD
    for name, is_in_array, whole, inner in WHOLE:
        for part in inner if name == field else ():
            for value in ODD:
                yield [{**whole, part: value}] if is_in_array else {**whole, part: value}


@pytest.mark.parametrize(
    "operation",
    [each for each in all_operations() if each.body and each.id not in FORMS and "session" not in each.id],
    ids=lambda operation: operation.id,
)
def test_an_odd_value_is_refused_or_taken(current: Desk, operation: Operation) -> None:
    path, body = path_for(current, operation), BODIES.get(operation.id, {})
    for field in operation.body:
        for value in odd_values(field):
            answer = current.post(path, {**body, field: value})
            assert answer.status_code in (200, 400, 404, 409), (field, value, answer.text)
            if answer.is_success:
                current.clock.sleep(5)  # what it leads to, a dream for example, is done
                assert current.http.get(path.removesuffix("/stop")).status_code == 200
            if answer.is_success and field == "tools":
                session = {"agent": answer.json()["id"], "environment_id": "env_1"}
                assert current.post("/sessions", session).status_code == 200
