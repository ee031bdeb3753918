"""What `qoder sandbox` serves, and what it refuses: one table, by where a body is sent, and the field that is named."""

import json
import re
from typing import Any

import pytest

from qoder_cli.nouns.table import Operation
from qoder_cli.sandbox.wire import GENERATIONS, Generation
from tests.sandbox.desk import AGENT, BEARER, BODIES, BODY, KEYS, OPERATIONS, STORE, Desk, said

OAUTH = {"type": "mcp_oauth", "access_token": "t-1", "mcp_server_url": "https://mcp.example.com/"}
SKILL = {"files[]": ("notes/SKILL.md", b"---\nname: notes\ndescription: Notes.\n---\nWrite.\n")}
# What an operation is sent that needs a body or a form.
SENT: dict[str, Any] = {
    **{f"{path[1:]}.create": {"json": body} for path, body in BODIES.items() if path != KEYS},
    "agents.update": {"json": {"version": 3}},
    "environments.work.update": {"json": {"metadata": {"team": "core"}}},
    "memory_stores.memories.create": {"json": {"path": "a.md", "content": "A."}},
    "sessions.resources.add": {"json": {"type": "file", "file_id": "file_notes"}},
    "sessions.events.send": {"json": {"events": [{"type": "user.interrupt"}]}},
    "vaults.credentials.create": {"json": {"auth": OAUTH}},
    "files.upload": {"files": {"file": ("notes.md", b"Remember.")}},
    "skills.create": {"files": SKILL},
    "skills.versions.create": {"files": SKILL},
}
SAMPLES = {
    **{"deployment_id": "dep_demo", "agent_id": "agent_writer", "environment_id": "env_workers"},
    **{"file_id": "file_report", "vault_id": "vault_team", "credential_id": "vcred_github", "version": "1"},
    **{"skill_id": "skill_release_notes", "memory_store_id": "memstore_project", "memory_id": "mem_1"},
    **{"memory_version_id": "memver_1", "dream_id": "drm_demo", "work_id": "work_demo"},
}


def sent(operation: Operation) -> dict[str, Any]:
    return SENT.get(operation.id) or ({} if operation.method == "GET" else {"json": {}})


def path_of(desk: Desk, operation: Operation) -> str:
    """Return the path of an operation with ids of things that there are."""
    ids = dict(SAMPLES)
    if re.search("session|run_id", operation.path):
        run = desk.run()
        below = f"/sessions/{run['session_id']}"
        ids |= {"session_id": run["session_id"], "run_id": run["id"], "deployment_run_id": run["id"]}
        ids["thread_id"] = desk.ids(below + "/threads")[0]
        mounted = {"type": "file", "file_id": "file_notes", "mount_path": "/data/notes.md"}
        ids["resource_id"] = desk.done(below + "/resources", **mounted)["id"]
    match operation.id:
        case "deployments.unpause":
            ids["deployment_id"] = "dep_paused"
        case "environments.work.heartbeat":
            desk.done("/environments/env_workers/work/work_demo/ack")
        case "dreams.cancel":
            ids["dream_id"] = desk.made("/dreams")["id"]
        case "vaults.credentials.mcp_oauth_validate":
            ids["credential_id"] = desk.made(KEYS, auth=OAUTH)["id"]
    return re.sub(r"\{(\w+)\}", lambda name: ids[name[1]], operation.path)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_sandbox_serves_every_operation_of_the_api(generation: Generation) -> None:
    statuses = {}
    for id, operation in OPERATIONS.items():
        desk = Desk(generation)
        statuses[id] = desk.status(path_of(desk, operation), operation.method, **sent(operation))
    assert statuses.pop("sessions.threads.archive") == 409  # there is only the thread that it is not for
    assert {id: status for id, status in statuses.items() if status not in (200, 201, 202)} == {}


def test_sandbox_has_404_for_ids_that_there_are_not(current: Desk) -> None:
    here = [one for one in OPERATIONS.values() if "{" in one.path]
    answers = {one.id: current.refused(one.method, re.sub(r"\{\w+\}", "x_1", one.path), **sent(one)) for one in here}
    assert answers == dict.fromkeys(answers, (404, "not_found_error", None))


def test_sandbox_refuses_a_field_that_an_operation_has_not() -> None:
    answers = {}
    for id, operation in OPERATIONS.items():
        if operation.method == "POST" and "json" in (more := sent(operation)) and id != "sessions.threads.archive":
            desk = Desk("current")
            more = {"json": {**more["json"], "tunnel_id": "t"}}
            answers[id] = desk.refused("POST", path_of(desk, operation), **more)
    assert answers == dict.fromkeys(answers, (400, "invalid_request_error", "tunnel_id"))


@pytest.mark.parametrize("id", [id for id, one in OPERATIONS.items() if "limit" in one.query and id != "models.list"])
@pytest.mark.few(3)
def test_sandbox_lists_refuse_a_wrong_limit_and_two_cursors(current: Desk, id: str) -> None:
    path = path_of(current, OPERATIONS[id])
    for limit in ("0", "101", "ten", ""):
        assert current.refused("GET", path, params={"limit": limit}) == (400, "invalid_request_error", "limit")
    for first, second in (("page", "after_id"), ("page", "before_id"), ("after_id", "before_id")):
        two = {first: "x_1", second: "x_2"}
        assert current.refused("GET", path, params=two) == (400, "invalid_request_error", second)


@pytest.mark.parametrize(
    "request_line",
    [
        "GET /nothing",
        "POST /deployments/dep_demo/start",
        "GET /environments/env_1/",
        "PUT /deployments/dep_demo",
        "DELETE /agents/agent_1",  # the API has it (api.md#operations)
        "POST /agents/search",  # the same
        "POST /memory_stores/memstore_project/memories/search",
        "GET /webhook_endpoints",  # the same
        "GET /deployments/dep_demo/run",
        "GET http://sandbox/api/v1/forward/sessions",
        "GET http://sandbox/",
    ],
)
def test_sandbox_says_501_of_what_it_does_not_serve(desk: Desk, request_line: str) -> None:
    assert desk.refused(*request_line.split()) == (501, "feature_not_available", None)


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer pt-other"}, {"Authorization": "Basic pt-sandbox"}])
@pytest.mark.parametrize("request_line", ["POST /deployments/dep_demo/run", "GET /environments", "GET /nothing"])
def test_sandbox_does_nothing_without_its_token(desk: Desk, headers: dict[str, str], request_line: str) -> None:
    del desk.http.headers["Authorization"]
    assert desk.refused(*request_line.split(), headers=headers) == (401, "authentication_error", None)


def test_sandbox_finds_a_run_below_its_own_deployment_only(desk: Desk) -> None:
    id = desk.run()["id"]
    assert desk.get(f"/deployments/dep_demo/runs/{id}")["id"] == id
    assert desk.refused("GET", f"/deployments/dep_fail/runs/{id}")[0] == 404
    assert desk.refused("GET", "/deployments/dep_demo%2Fruns")[0] == 404  # an encoded slash stays inside the id


def test_sandbox_errors_name_their_request(desk: Desk) -> None:
    answer = desk.http.get("/deployments/dep_none", headers={"x-request-id": "mine"})
    assert answer.headers["x-request-id"] == "mine"
    assert answer.json().get("request_id") == ("mine" if desk.generation == "current" else None)
    assert answer.json()["type"] == "error"


@pytest.mark.parametrize(
    ("request_line", "param"),
    [
        ("/deployments/dep_demo/runs?after_id=drun_none", "after_id"),
        ("/deployments/dep_demo/runs?triggered_after=2026-06-14T08:54:06", "triggered_after"),
        ("/deployment_runs?has_error=1", "has_error"),
        ("/deployment_runs?after_id=before:drun_1", "after_id"),
        ("/sessions?agent_version=1", "agent_version"),
        ("/deployments?status=active&include_archived=true", "include_archived"),
        ("/sessions?statuses[]=idle&statuses[]=archived", "statuses[]"),
        ("/deployments?status=archived", "status"),
        ("/deployment_runs?trigger_type=cron", "trigger_type"),
        ("/dreams?statuses[]=cancelled", "statuses[]"),
        ("/memory_stores/memstore_project/memory_versions?operation=edited", "operation"),
        ("/environments/env_workers/work/poll?block_ms=1000", "block_ms"),
        ("/memory_stores/memstore_project/memories?view=half", "view"),
        ("/memory_stores/memstore_project/memories?depth=0", "depth"),
    ],
)
def test_sandbox_refuses_a_query_that_means_nothing(desk: Desk, request_line: str, param: str) -> None:
    assert desk.refused("GET", request_line) == (400, "invalid_request_error", param)


def test_sandbox_refuses_a_page_that_leads_nowhere_and_ignores_unknown_queries(current: Desk) -> None:
    current.run()
    for page in ("before:drun_none", "before:"):
        assert current.refused("GET", "/deployment_runs", params={"page": page})[::2] == (400, "page")
    assert current.get("/deployments", colour="red")["data"]


EVENT = said("Report.")
RUBRIC = {"type": "text", "content": "x"}
OUTCOME = {"type": "user.define_outcome", "description": "green", "rubric": RUBRIC}
CRON = {"type": "cron", "expression": "0 9 * * *", "timezone": "UTC"}
BUDGET = {"type": "limit", "max_credit_cost": "1.00"}
FILE = {"type": "file", "file_id": "file_notes"}
GIT = {"type": "git_repository", "url": "https://git.example.com/a"}
TOOLSET = {"type": "agent_toolset_20260401"}
UPLOADED = "/mnt/session/uploads/file_notes"
SYSTEM = {"type": "system.message", "content": [{"type": "text", "text": "x"}]}
BROWSER = {"type": "browser_toolset_20260714"}
TEAM = {"type": "coordinator"}
BETA = "browser-use-2026-07-14"
OF_DOCS = {"type": "mcp_toolset", "mcp_server_name": "docs"}
DOCS = {"name": "docs", "type": "url", "url": "https://docs.example.com/mcp"}
NOT_URLS = ("docs", "docs.example.com", "ftp://docs.example.com/", "https://", "https:///mcp", "https://a b/", "")
OPEN = {"type": "unrestricted"}
CLIENT: dict[str, Any] = {"client_id": "c", "refresh_token": "r", "token_endpoint": "https://a.example/"}
CLIENT |= {"token_endpoint_auth": {"type": "none"}}
NO_CLIENTS: dict[str, dict[str, Any]] = {
    "client_id": {"client_id": None},
    "token_endpoint": {"token_endpoint": "a.example"},
    "token_endpoint_auth.type": {"token_endpoint_auth": {"type": "basic"}},
}
CUSTOM = {"type": "custom", "name": "page", "description": "Pages.", "input_schema": {"type": "object"}}
VARIABLE = {"type": "environment_variable", "secret_name": "A", "secret_value": "s"}
NO_NAMES = ("1A", "A-B", "A B", "")
NOT_NAMES = (*NO_NAMES, "QODER_X", "CAW_X", "SERVER_ENDPOINT", "USER_ID", "WORK_DIR")
NOT_VARIABLES = ("A=1;FLAG", *(f"{name}=1" for name in NOT_NAMES))
NOT_COSTS = ("0.00", "1.234", "-1", "1e3", "9" * 13, 5)
NO_POLICY = {"permission_policy": {"type": "always"}}
POLICIES: dict[str, Any] = {
    "configs.0.permission_policy.type": {"configs": [{"name": "Bash", **NO_POLICY}]},
    "default_config.permission_policy.type": {"default_config": NO_POLICY},
    "configs.0.name": {"configs": [{}]},
    "enabled_tools": {"enabled_tools": "Bash"},
}
SEVENTEEN = {f"key-{n}": "" for n in range(17)}


def event(**fields: Any) -> dict[str, Any]:
    return {"initial_events": [fields]}


def cloud(**config: Any) -> dict[str, Any]:
    return {"config": {"type": "cloud", **config}}


def agent(**fields: Any) -> dict[str, Any]:
    return {"agent": {"id": AGENT, "type": "agent", **fields}}


# What is wrong in a body that is well otherwise, and the field that is named.
WRONG: dict[str, list[tuple[dict[str, Any], str]]] = {
    "/deployments": [
        ({"name": None}, "name"),
        ({"name": "x" * 257}, "name"),
        ({"agent": "dep_1"}, "agent.id"),
        ({"environment_id": 7}, "environment_id"),
        (event(type="agent.message"), "initial_events.0.type"),
        (event(type="system.message", content=[]), "initial_events.0.content"),
        *((event(**message | {"content": "Report."}), "initial_events.0.content") for message in (EVENT, SYSTEM)),
        (event(**OUTCOME | {"rubric": {"type": "file", "content": "x"}}), "initial_events.0.rubric.content"),
        ({"schedule": {**CRON, "expression": "@daily"}}, "schedule.expression"),
        ({"metadata": {"key": 1}}, "metadata.key"),
        ({"environment_variables": {"KEY": "VALUE"}}, "environment_variables"),
        *(({"environment_variables": text}, "environment_variables") for text in NOT_VARIABLES),
        ({"environment_id": "env_workers", "environment_variables": "A=1"}, "environment_variables"),
        ({"environment_id": "env_workers", "resources": [FILE]}, "resources"),
        *((event(**OUTCOME, max_iterations=most), "initial_events.0.max_iterations") for most in (0, 21, "3", True)),
        (event(**OUTCOME | {"rubric": {**RUBRIC, "content": "x" * 262_145}}), "initial_events.0.rubric.content"),
        *(({"budget": {**BUDGET, "max_credit_cost": cost}}, "budget.max_credit_cost") for cost in NOT_COSTS),
        ({"resources": [{"type": "file"}]}, "resources.0.file_id"),
        ({"resources": [FILE, FILE]}, "resources"),
        ({"resources": [{**FILE, "mount_path": "/a"}, {**GIT, "mount_path": "/a"}]}, "resources"),
        ({"resources": [{**STORE, "access": "root"}]}, "resources.0.access"),
        ({"name": "  "}, "name"),
    ],
    "/sessions": [
        ({"agent_id": AGENT}, "agent_id"),
        (agent(model="auto"), "agent.model"),
        ({"initial_events": [{**said("."), "type": "system.message"}]}, "initial_events.0.type"),
        *(({"environment_variables": {name: "1"}}, "environment_variables") for name in NOT_NAMES),
        ({"environment_id": "env_workers", "environment_variables": {"A": "1"}}, "environment_variables"),
        ({"environment_id": "env_workers", "resources": [FILE]}, "resources"),
        ({"resources": [FILE, {**FILE, "mount_path": UPLOADED}]}, "resources"),
        (agent(type="agent_with_overrides", model="gpt-99"), "agent.model"),
        (agent(type="agent_with_overrides", tools=[OF_DOCS]), "agent.tools"),
        (agent(type="agent_with_overrides", mcp_servers=[5]), "agent.mcp_servers.0"),
    ],
    "/agents": [
        ({"model": 3}, "model"),
        *(({"model": model}, "model") for model in ("gpt-99", {"id": "gpt-99"})),
        ({"tools": [BROWSER]}, "tools"),
        *(({"tools": [OF_DOCS], "mcp_servers": servers}, "tools") for servers in ([], [{**DOCS, "name": "wiki"}])),
        ({"tools": [OF_DOCS], "mcp_servers": [DOCS, {**DOCS, "url": "https://b.example/"}]}, "mcp_servers"),
        *(({"mcp_servers": [{**DOCS, "url": url}]}, "mcp_servers.0.url") for url in NOT_URLS),
        ({"tools": [{"type": "bash"}]}, "tools.0.type"),
        ({"tools": [{**CUSTOM, "input_schema": {}}]}, "tools.0.input_schema"),
        ({"tools": [{**TOOLSET, "enabled_tools": ["Fly"]}]}, "tools.0"),
        *(({"tools": [{**TOOLSET, **where}]}, f"tools.0.{at}") for at, where in POLICIES.items()),
        *(({"multiagent": {**TEAM, "agents": agents}}, "multiagent.agents") for agents in ([], ["agent_1"] * 22)),
        ({"multiagent": {**TEAM, "agents": [{"type": "advisor", "model": "gpt-99"}]}}, "multiagent.agents.0.model"),
        ({"multiagent": {"type": "team", "agents": ["agent_1"]}}, "multiagent.type"),
        ({"mcp_servers": [5]}, "mcp_servers.0"),
        ({"skills": [{"type": "custom"}]}, "skills.0.skill_id"),
        ({"skills": [{"type": "custom", "skill_id": "skill_1", "version": 2}]}, "skills.0.version"),
        ({"model": {"id": "auto", "effort": "extreme"}}, "model.effort"),
    ],
    "/environments": [
        ({"config": None}, "config"),
        ({"config": {"type": "mine"}}, "config.type"),
        ({"scope": "world"}, "scope"),
        *(({"config": {"type": "self_hosted", name: {}}}, f"config.{name}") for name in ("packages", "networking")),
        ({"config": {"type": "self_hosted", "setup_script": "ls"}}, "config.setup_script"),
        (cloud(networking={"type": "open"}), "config.networking.type"),
        (cloud(networking={"type": "limited", "allowed_hosts": "a.example"}), "config.networking.allowed_hosts"),
        (cloud(packages={"pip": "pandas"}), "config.packages.pip"),
        (cloud(setup_script="x" * 65537), "config.setup_script"),
    ],
    KEYS: [
        ({"auth": {"type": "password"}}, "auth.type"),
        ({"auth": {**BEARER, "secret_name": "A"}}, "auth.secret_name"),
        ({"auth": VARIABLE}, "auth.networking"),
        ({"auth": {**VARIABLE, "networking": {"type": "limited"}}}, "auth.networking.allowed_hosts"),
        *(({"auth": {**VARIABLE, "networking": OPEN, "secret_name": name}}, "auth.secret_name") for name in NO_NAMES),
        *(({"auth": {**BEARER, "mcp_server_url": url}}, "auth.mcp_server_url") for url in NOT_URLS),
        *(({"auth": {**OAUTH, "refresh": CLIENT | wrong}}, f"auth.refresh.{at}") for at, wrong in NO_CLIENTS.items()),
    ],
    "/dreams": [
        ({"inputs": []}, "inputs"),
        ({"model": "gpt-99"}, "model"),
        ({"inputs": [{"type": "sessions"}], "output_behavior": {"x": 1}}, "output_behavior.type"),
    ],
    "/memory_stores": [({"name": None}, "name"), ({"metadata": SEVENTEEN}, "metadata")],
    "/memory_stores/memstore_project/memories": [
        ({"path": "/etc/a", "content": "A."}, "path"),
        ({"path": "a/../b", "content": "A."}, "path"),
        ({"path": "x" * 1025, "content": "A."}, "path"),
        ({"path": "a", "content": ""}, "content"),
        ({"path": "big", "content": "x" * (100 * 1024 + 1)}, "content"),
    ],
}


THERE = {"/deployments": "/deployments/dep_demo", "/memory_stores": "/memory_stores/memstore_project"}


@pytest.mark.parametrize("path", WRONG)
def test_sandbox_names_the_field_that_is_wrong(current: Desk, path: str) -> None:
    sent = [(path, BODIES.get(path, {}) | change, param) for change, param in WRONG[path]]
    sent += [(THERE[path], change, param) for change, param in WRONG[path] if path in THERE]
    before = current.kept
    answers = [(to, body, current.post(to, body)) for to, body, _ in sent]
    refusals = [(to, body, answer.status_code, answer.json()["error"]) for to, body, answer in answers]
    assert [(to, body, status, error["type"], error.get("param")) for to, body, status, error in refusals] == [
        (to, body, 400, "invalid_request_error", param) for to, body, param in sent
    ]
    assert current.kept == before


# What a body cannot refer to, and the field that is named: it is not there, or it is archived.
GONE, RETIRED = (404, "not_found_error"), (409, "conflict_error")
ARCHIVED = {"agents": "agent_writer", "vaults": "vault_team", "memory_stores": "memstore_project"}
REFERRED: dict[str, list[tuple[dict[str, Any], tuple[int, str], str]]] = {
    "/sessions": [
        ({"agent": "agent_x"}, GONE, "agent.id"),
        (agent(version=9), GONE, "agent.version"),
        ({"agent": "agent_writer"}, RETIRED, "agent.id"),
        ({"environment_id": "env_x"}, GONE, "environment_id"),
        ({"environment_id": "env_retired"}, RETIRED, "environment_id"),
        ({"vault_ids": ["vault_x"]}, GONE, "vault_ids.0"),
        ({"vault_ids": ["vault_team"]}, RETIRED, "vault_ids.0"),
        ({"resources": [{"type": "file", "file_id": "file_x"}]}, GONE, "resources.0.file_id"),
        ({"resources": [{**STORE, "memory_store_id": "memstore_x"}]}, GONE, "resources.0.memory_store_id"),
        ({"resources": [STORE]}, RETIRED, "resources.0.memory_store_id"),
        (event(**OUTCOME | {"rubric": {"type": "file", "file_id": "file_x"}}), GONE, "initial_events.0.rubric.file_id"),
    ],
    "/agents": [
        ({"skills": [{"type": "custom", "skill_id": "skill_x"}]}, GONE, "skills.0.skill_id"),
        ({"skills": [{"type": "custom", "skill_id": "skill_release_notes", "version": "9"}]}, GONE, "skills.0.version"),
        ({"multiagent": {"type": "coordinator", "agents": ["agent_x"]}}, GONE, "multiagent.agents.0"),
    ],
    "/dreams": [
        ({"inputs": [{**STORE, "memory_store_id": "memstore_x"}]}, GONE, "inputs.0.memory_store_id"),
        ({"inputs": [{"type": "sessions", "session_ids": ["sess_x"]}]}, GONE, "inputs.0.session_ids.0"),
    ],
}
REFERRED["/deployments"] = REFERRED["/sessions"]


@pytest.mark.parametrize("path", REFERRED)
def test_sandbox_refuses_what_refers_to_something_that_is_not_there(desk: Desk, path: str) -> None:
    well = desk.made(path)
    desk.clock.sleep(10)
    desk.get(f"{path}/{well['id']}")
    for home, id in ARCHIVED.items() if path != "/dreams" else ():
        desk.done(f"/{home}/{id}/archive")
    for change, refused, param in REFERRED[path]:
        assert desk.refused("POST", path, json=BODIES[path] | change) == (*refused, param)
        if path == "/deployments":
            assert desk.refused("POST", f"{path}/{well['id']}", json=change) == (*refused, param)


INVALID = (400, "invalid_request_error")


def test_sandbox_wants_a_header_for_the_browser_toolset(desk: Desk) -> None:
    writes = {"/agents": BODIES["/agents"], "/agents/agent_writer": {"version": 3}}
    for path, body in writes.items():
        written = {**body, "tools": [TOOLSET, BROWSER]}
        for headers in ({}, {"x-qoder-beta": "other-2026-01-01"}):
            assert desk.refused("POST", path, json=written, headers=headers) == (*INVALID, "tools")
        assert desk.post(path, written, **{"x-qoder-beta": f"other-2026-01-01, {BETA}"}).is_success
    assert desk.post("/agents/agent_writer", {"version": 4, "name": "author"}).is_success  # it is not written again


def test_sandbox_takes_no_body_of_more_than_32_mb(desk: Desk) -> None:
    largest = json.dumps(BODIES["/agents"] | {"system": ""}).encode()
    largest = largest.replace(b'""', b'"%s"' % (b"x" * (32_000_000 - len(largest))))
    assert desk.refused("POST", "/agents", content=largest + b" ") == (*INVALID, None)
    assert desk.http.post("/agents", content=largest).is_success


def test_sandbox_says_what_is_missing_and_what_nobody_knows(desk: Desk) -> None:
    without = {key: value for key, value in BODY.items() if key != "name"}
    slip = {**without, "nmae": "report"}  # is reported before what is missing for it
    messages = [desk.post("/deployments", body).json()["error"]["message"] for body in (without, slip)]
    assert messages[0] == "Missing required field: name"
    assert "unknown field" in messages[1]
    assert "nmae" in messages[1]


@pytest.mark.parametrize("path", ["/deployments", "/deployments/dep_demo/run", "/deployments/dep_demo/archive"])
@pytest.mark.parametrize("body", [b"{", b"[]", b"[" * 100_000], ids=["cut", "a list", "deep"])
def test_sandbox_refuses_a_body_that_is_no_json_object(desk: Desk, path: str, body: bytes) -> None:
    assert desk.refused("POST", path, content=body)[0] == 400
