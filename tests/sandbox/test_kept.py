"""What the sandbox keeps besides deployments and sessions: agents, environments, their work, vaults and dreams."""

from typing import Any

import pytest

from qoder_cli.sandbox.wire import GENERATIONS
from tests.support.sandbox_desk import Desk

WRITER = "/agents/agent_writer"
WORK = "/environments/env_workers/work"
KEYS = "/vaults/vault_team/credentials"
TOOLSET = "agent_toolset_20260401"


@pytest.fixture(params=GENERATIONS)
def desk(request: pytest.FixtureRequest) -> Desk:
    return Desk(request.param)


@pytest.fixture
def current() -> Desk:
    return Desk("current")


def made(desk: Desk, path: str, **fields: Any) -> Any:
    """Create a thing, and return it as it is then read."""
    answer = desk.post(path, fields)
    assert answer.status_code == (201 if desk.generation == "legacy" else 200), answer.text
    read = desk.get(f"{path}/{answer.json()['id']}")
    assert read == {name: value for name, value in answer.json().items() if name != "credentials"}
    return read


def changed(desk: Desk, path: str, **fields: Any) -> Any:
    answer = desk.post(path, fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


def names(page: Any, field: str = "name") -> list[Any]:
    return [each[field] for each in page["data"]]


def refuses(desk: Desk, path: str, body: object = None, method: str = "POST") -> tuple[int, str | None, str]:
    """Return the status, the field at fault and the message of a refusal."""
    answer = desk.http.request(method, path, json=body)
    error = answer.json()["error"]
    return answer.status_code, error.get("param"), error["message"]


# Any kind.


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/agents", {"name": "a", "model": {"id": "auto"}}),
        ("/environments", {"name": "a"}),
        ("/vaults", {"display_name": "a"}),
        ("/memory_stores", {"name": "a"}),
        (KEYS, {"auth": {"type": "static_bearer", "token": "t-1", "mcp_server_url": "https://a.example.com"}}),
    ],
)
def test_a_thing_is_made_found_archived_and_filtered(desk: Desk, path: str, fields: dict[str, Any]) -> None:
    first = made(desk, path, **fields, metadata={"team": "core"})
    assert fields.items() <= first.items() or path == KEYS
    assert (first["metadata"], first["archived_at"], len(first["id"].rpartition("_")[2])) == (
        {"team": "core"},
        None,
        20,
    )
    assert desk.get(path)["data"][0] == first  # the newest
    desk.clock.sleep(60)
    archived = changed(desk, f"{path}/{first['id']}/archive")
    assert archived["archived_at"] == archived["updated_at"] != first["updated_at"]
    assert changed(desk, f"{path}/{first['id']}/archive") == archived
    assert first["id"] not in names(desk.get(path), "id")
    assert first["id"] in names(desk.get(path, include_archived="true"), "id")
    assert desk.refused("GET", path, params={"include_archived": "1"})[0] == 400


def test_a_page_follows_the_other(desk: Desk) -> None:
    for n in range(5):
        made(desk, "/vaults", display_name=f"v{n}")
    first = desk.get("/vaults", limit=2)
    assert names(first, "display_name") == ["v4", "v3"]
    assert (first["has_more"], first["first_id"], first["last_id"]) == (True, *names(first, "id"))
    second = desk.get("/vaults", limit=2, after_id=first["last_id"])
    assert names(second, "display_name") == ["v2", "v1"]
    assert names(desk.get("/vaults", limit=2, before_id=second["first_id"]), "display_name") == ["v4", "v3"]
    if desk.generation == "current":
        assert desk.get("/vaults", limit=2, page=first["next_page"]) == second
    assert names(desk.get("/vaults", name="v3"), "display_name") == ["v3"]


def test_lists_are_filtered_by_time(current: Desk) -> None:
    current.clock.sleep(100)
    made(current, "/agents", name="late", model="auto")
    since = {"created_at[gte]": "2026-06-14T08:55:00Z"}
    assert names(current.get("/agents", **since)) == ["late"]
    assert names(current.get("/agents", **{"created_at[lte]": "2026-06-14T08:55:00Z"})) == ["reviewer", "writer"]
    assert current.refused("GET", "/agents", params={"created_at[gte]": "soon"})[0] == 400


def test_metadata_is_merged_and_a_null_deletes_a_key(desk: Desk) -> None:
    store = made(desk, "/memory_stores", name="a", metadata={"team": "core", "tier": "1"})
    path = f"/memory_stores/{store['id']}"
    after = changed(desk, path, metadata={"tier": None, "owner": "ops"}, description="Notes.")
    assert (after["metadata"], after["name"]) == ({"team": "core", "owner": "ops"}, "a")
    assert after["description"] == "Notes."
    assert changed(desk, path, description=None)["description"] == ""
    assert refuses(desk, path, {"name": None})[:2] == (400, "name")
    assert refuses(desk, path, {"metadata": {"k": 1}})[:2] == (400, "metadata.k")
    assert refuses(desk, path, {"metadata": {str(n): "" for n in range(15)}})[:2] == (400, "metadata")


def cloud(**config: Any) -> dict[str, Any]:
    return {"name": "a", "config": {"type": "cloud", **config}}


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/agents", {"model": "auto"}, "name"),
        ("/agents", {"name": "a", "model": 3}, "model"),
        ("/agents", {"name": "a", "model": {"effort": "low"}}, "model.id"),
        ("/agents", {"name": "x" * 257, "model": "auto"}, "name"),
        ("/agents", {"name": "a", "model": "auto", "tools": {}}, "tools"),
        ("/agents", {"name": "a", "model": "auto", "tools": [{"type": "bash"}]}, "tools.0.type"),
        ("/agents", {"name": "a", "model": "auto", "tools": [{"type": "custom", "name": "x"}]}, "tools.0.description"),
        ("/agents", {"name": "a", "model": "auto", "tools": [{"type": TOOLSET, "enabled_tools": ["Fly"]}]}, "tools.0"),
        ("/agents", {"name": "a", "model": "auto", "tools": [{"type": TOOLSET, "configs": [1]}]}, "tools.0.configs.0"),
        ("/agents", {"name": "a", "model": "auto", "tools": [{"type": TOOLSET, "configs": 1}]}, "tools.0.configs"),
        ("/agents", {"name": "a", "model": "auto", "multiagent": {"agents": []}}, "multiagent.agents"),
        ("/agents", {"name": "a", "model": "auto", "multiagent": {"agents": 3}}, "multiagent.agents"),
        ("/environments", {"name": "a", "config": {}}, "config.type"),
        ("/environments", {"name": "a", "config": None}, "config"),
        ("/environments", {"name": "a", "config": {"type": "mine"}}, "config.type"),
        ("/environments", {"name": "a", "scope": "world"}, "scope"),
        ("/environments", {"name": "a", "config": {"type": "self_hosted", "packages": {}}}, "config.packages"),
        ("/environments", cloud(setup="x"), "config.setup"),
        ("/environments", cloud(networking=1), "config.networking"),
        (
            "/environments",
            {"name": "a", "config": {"type": "cloud", "networking": {"hosts": []}}},
            "config.networking.hosts",
        ),
        ("/environments", cloud(packages={"brew": []}), "config.packages.brew"),
        (
            "/environments",
            {"name": "a", "config": {"type": "cloud", "setup_script": "x" * 65537}},
            "config.setup_script",
        ),
        (KEYS, {"auth": {"type": "password"}}, "auth.type"),
        (KEYS, {"auth": {"type": "static_bearer", "mcp_server_url": "https://a.example.com"}}, "auth.token"),
        (KEYS, {"auth": {"type": "static_bearer", "pin": "1"}}, "auth.pin"),
        ("/dreams", {"inputs": [], "model": "auto"}, "inputs"),
        ("/dreams", {"inputs": ["memstore_project"], "model": "auto"}, "inputs.0"),
        (
            "/dreams",
            {"inputs": [{"type": "sessions"}], "model": "auto", "output_behavior": {"x": 1}},
            "output_behavior.type",
        ),
    ],
)
def test_what_is_wrong_is_refused_by_name(current: Desk, path: str, body: Any, param: str) -> None:
    before = current.get(path, limit=100)
    assert refuses(current, path, body)[:2] == (400, param)
    assert current.get(path, limit=100) == before


def test_a_deleted_thing_is_gone_with_what_it_held(desk: Desk) -> None:
    answer = desk.http.delete("/vaults/vault_team")
    assert (answer.status_code, answer.json()) == (200, {"id": "vault_team", "type": "vault_deleted"})
    for path in ("/vaults/vault_team", KEYS, f"{KEYS}/vcred_github"):
        assert desk.refused("GET", path)[0] == 404
    assert desk.get("/vaults")["data"] == []


def test_a_replica_that_lags_does_not_know_what_is_young() -> None:
    desk = Desk("current", "any:lagging=5")
    id = desk.post("/vaults", {"display_name": "new"}).json()["id"]
    assert desk.refused("GET", f"/vaults/{id}")[0] == 404
    desk.clock.sleep(6)
    assert names(desk.get("/vaults"), "display_name") == ["new", "team-secrets"]


# Agents.


def test_an_agent_has_versions(desk: Desk) -> None:
    assert [desk.get(WRITER, version=n)["version"] for n in (1, 2, 3)] == [1, 2, 3]
    after = changed(desk, WRITER, version=3, system="You write poems.")
    assert (after["version"], after["name"]) == (4, "writer")
    page = desk.get(WRITER + "/versions", limit=2)
    assert (names(page, "version"), page["first_id"], page["last_id"]) == ([4, 3], "4", "3")
    assert names(desk.get(WRITER + "/versions", after_id="3"), "version") == [2, 1]
    assert desk.get(WRITER, version=3)["system"] != desk.get(WRITER)["system"] == "You write poems."
    assert desk.refused("GET", WRITER, params={"version": "9"})[0] == 404


def test_an_update_names_the_version_that_it_changes(desk: Desk) -> None:
    assert refuses(desk, WRITER, {"name": "a"}) == (400, "version", "Field 'version' is required.")
    assert refuses(desk, WRITER, {"name": "a", "version": None})[:2] == (400, "version")
    stale = "Version conflict. Expected version 3, got 1."
    assert refuses(desk, WRITER, {"name": "a", "version": 1}) == (409, None, stale)
    assert desk.get(WRITER)["name"] == "writer"


def test_an_agent_without_tools_has_none(current: Desk) -> None:
    agent = made(current, "/agents", name="a", model="auto")
    assert (agent["tools"], agent["model"], agent["version"]) == ([], {"id": "auto"}, 1)
    path = f"/agents/{agent['id']}"
    tools = [{"type": TOOLSET, "configs": [{"name": "Bash", "permission_policy": {"type": "always_ask"}}]}]
    assert changed(current, path, version=1, tools=tools)["tools"] == tools
    assert changed(current, path, version=2, tools=None)["tools"] == []


def session_of(desk: Desk, agent: Any, environment: str = "env_1") -> Any:
    event = {"type": "user.message", "content": [{"type": "text", "text": "Go."}]}
    body = {"agent": agent, "environment_id": environment, "initial_events": [event]}
    answer = desk.post("/sessions", body)
    assert answer.is_success, answer.text
    return answer.json()


def test_a_session_has_the_version_of_its_agent_that_it_was_made_with(current: Desk) -> None:
    pinned = session_of(current, {"type": "agent", "id": "agent_writer", "version": 1})["agent"]
    latest = session_of(current, "agent_writer")["agent"]
    assert (pinned["version"], latest["version"], pinned["name"]) == (1, 3, "writer")
    assert pinned["system"] == current.get(WRITER, version=1)["system"] != latest["system"]


def test_an_agent_that_has_to_ask_does(current: Desk) -> None:
    session = session_of(current, "agent_reviewer")
    current.clock.sleep(3)
    assert current.events({"session_id": session["id"]})[-1]["stop_reason"]["type"] == "requires_action"


def test_an_archived_agent_starts_nothing(current: Desk) -> None:
    events = [{"type": "user.message", "content": [{"type": "text", "text": "Go."}]}]
    body = {"name": "d", "agent": "agent_writer", "environment_id": "env_1", "initial_events": events}
    deployment = current.post("/deployments", body).json()
    assert deployment["agent"]["version"] == 3
    changed(current, WRITER + "/archive")
    assert current.run(deployment["id"])["error"]["type"] == "agent_archived_error"
    assert refuses(current, "/sessions", {"agent": "agent_writer", "environment_id": "env_1"})[0] == 409
    assert refuses(current, WRITER, {"version": 3, "name": "b"})[0] == 409


# Environments and their work.


def test_a_network_that_is_not_given_is_limited(desk: Desk) -> None:
    plain, packages = made(desk, "/environments", name="a"), {"pip": ["pytest"]}
    assert plain["config"]["networking"] == {
        "type": "limited", "allow_mcp_servers": False, "allow_package_managers": False, "allowed_hosts": [],
    }  # fmt: skip
    config = {"type": "cloud", "networking": {"type": "unrestricted"}, "packages": packages}
    path = f"/environments/{plain['id']}"
    assert changed(desk, path, config=config)["config"] == config
    assert changed(desk, path, config={"type": "cloud"})["config"] == plain["config"]  # replaced whole
    assert changed(desk, path, name="b")["config"] == plain["config"]


def test_an_environment_that_a_session_refers_to_stays(desk: Desk) -> None:
    id = made(desk, "/environments", name="a")["id"]
    session = session_of(desk, "agent_writer", id)
    desk.http.delete(f"/sessions/{session['id']}")
    assert refuses(desk, f"/environments/{id}", method="DELETE")[0] == 409
    assert desk.http.delete("/environments/env_workers").json() == {"id": "env_workers", "type": "environment_deleted"}


def test_an_item_of_work_goes_from_hand_to_hand(desk: Desk) -> None:
    mine, other = {"Worker-ID": "w-1"}, {"Worker-ID": "w-2"}
    assert desk.get(WORK + "/stats") | {"oldest_queued_at": ""} == {
        "type": "work_queue_stats", "depth": 1, "pending": 0, "oldest_queued_at": "", "workers_polling": 0,
    }  # fmt: skip
    item = desk.http.get(WORK + "/poll", headers=mine).json()
    assert (item["id"], item["state"], item["data"]["id"]) == ("work_demo", "queued", "sess_demo")
    assert desk.http.get(WORK + "/poll", headers=other).json() is None
    assert {"depth": 0, "pending": 1, "workers_polling": 2}.items() <= desk.get(WORK + "/stats").items()
    desk.clock.sleep(6)
    assert desk.http.get(WORK + "/poll", headers=other).json()["id"] == "work_demo"  # it was not acknowledged
    path = WORK + "/work_demo"
    assert desk.post(path + "/heartbeat").status_code == 409
    assert desk.post(path + "/ack", **mine).status_code == 409
    assert desk.post(path + "/ack", **other).json()["state"] == "starting"
    assert desk.post(path + "/ack", **other).status_code == 409
    first = desk.post(path + "/heartbeat?expected_last_heartbeat=NO_HEARTBEAT&desired_ttl_seconds=9999", **other).json()
    assert (first["type"], first["state"], first["ttl_seconds"]) == ("work_heartbeat", "active", 600)
    assert first["lease_extended"] is True
    took_over = desk.post(path + "/heartbeat?expected_last_heartbeat=NO_HEARTBEAT")
    assert (took_over.status_code, took_over.json()["error"]["type"]) == (412, "precondition_failed_error")
    assert changed(desk, path + "/stop")["state"] == "stopping"
    assert desk.post(path + "/heartbeat").json()["lease_extended"] is False
    stopped = changed(desk, path + "/stop", force=True)
    assert (stopped["state"], stopped["stopped_at"] is None) == ("stopped", False)
    assert changed(desk, path, metadata={"team": "core"})["metadata"] == {"team": "core"}
    assert not [name for name in desk.get(path) if name.startswith("_")]


def test_a_session_on_hosts_of_ones_own_is_queued(current: Desk) -> None:
    session = session_of(current, "agent_writer", "env_workers")
    assert [item["data"]["id"] for item in current.get(WORK)["data"]] == [session["id"], "sess_demo"]
    cloud = made(current, "/environments", name="a")["id"]
    session_of(current, "agent_writer", cloud)
    assert refuses(current, f"/environments/{cloud}/work", method="GET")[0] == 400
    assert current.refused("GET", WORK + "/poll", params={"block_ms": 1000}) == (
        400,
        "invalid_request_error",
        "block_ms",
    )


# Vaults.


SECRETS = ("s-token", "s-value", "s-access", "s-refresh", "s-client")
AUTHS: list[dict[str, Any]] = [
    {"type": "static_bearer", "token": "s-token", "mcp_server_url": "https://a.example.com"},
    {
        "type": "environment_variable",
        "secret_name": "A",
        "secret_value": "s-value",
        "networking": {"type": "unrestricted"},
    },
    {
        "type": "mcp_oauth",
        "access_token": "s-access",
        "mcp_server_url": "https://b.example.com",
        "refresh": {
            "client_id": "c",
            "refresh_token": "s-refresh",
            "token_endpoint": "https://b.example.com/t",
            "token_endpoint_auth": {"type": "client_secret_post", "client_secret": "s-client"},
        },
    },
]


@pytest.mark.parametrize("auth", AUTHS, ids=lambda auth: auth["type"])
def test_a_secret_is_never_shown(desk: Desk, auth: dict[str, Any]) -> None:
    credential = made(desk, KEYS, auth=auth, display_name="key")
    path = f"{KEYS}/{credential['id']}"
    assert refuses(desk, path, {"auth": auth})[0] == 400  # what an update does not know (help/pages/api.md#vaults)
    changed = {name: value for name, value in auth.items() if name not in ("secret_name", "mcp_server_url")}
    again = desk.post(path, {"auth": changed, "metadata": {"team": "core"}})
    assert again.status_code == 200
    shown = again.text + desk.http.get(path).text + desk.http.get(KEYS).text + desk.http.get("/vaults/vault_team").text
    assert not [secret for secret in SECRETS if secret in shown]
    assert (credential["auth"]["type"], credential["vault_id"]) == (auth["type"], "vault_team")
    assert refuses(desk, path, {"auth": {"type": "other"}})[:2] == (400, "auth.type")
    assert names(desk.get(KEYS, name="key"), "id") == [credential["id"]]


def test_a_credential_is_validated_where_that_can_be(desk: Desk) -> None:
    assert desk.post("/vaults", {"display_name": "new"}).json()["credentials"] == []
    with_refresh = made(desk, KEYS, auth=AUTHS[2])["id"]
    plain = {name: value for name, value in AUTHS[2].items() if name != "refresh"}
    without = made(desk, KEYS, auth=plain | {"mcp_server_url": "https://c.example.com"})["id"]
    first, second = (desk.post(f"{KEYS}/{id}/mcp_oauth_validate").json() for id in (with_refresh, without))
    assert (first["type"], first["status"], first["has_refresh_token"]) == (
        "vault_credential_validation",
        "valid",
        True,
    )
    assert (second["has_refresh_token"], second["refresh"]["status"]) == (False, "no_refresh_token")
    assert refuses(desk, f"{KEYS}/vcred_github/mcp_oauth_validate")[0] == 400


# Dreams.


def dream(desk: Desk, **fields: Any) -> Any:
    inputs = [{"type": "memory_store", "memory_store_id": "memstore_project"}]
    return desk.post("/dreams", {"inputs": inputs, "model": "auto", **fields})


def test_a_dream_goes_by_the_clock(desk: Desk) -> None:
    pending = dream(desk).json()
    path = f"/dreams/{pending['id']}"
    assert (pending["status"], pending["session_id"], pending["model"]) == ("pending", None, {"id": "auto"})
    assert dream(desk).status_code == 409  # one at a time
    desk.clock.sleep(2)
    running = desk.get(path)
    assert running["status"] == "running"
    assert desk.get(f"/sessions/{running['session_id']}")["status"] == "running"
    desk.clock.sleep(3)
    done = desk.get(path)
    [output] = done["outputs"]
    assert (done["status"], done["ended_at"] is None) == ("completed", False)
    assert output["memory_store_id"] != "memstore_project"
    listed = desk.get(f"/memory_stores/{output['memory_store_id']}/memories")
    assert sorted(names(listed, "path")) == ["conventions.md", "dream.md", "people/on-call.md"]
    assert names(desk.get("/dreams", **{"statuses[]": "completed"}), "id") == [pending["id"], "drm_demo"]
    assert desk.get("/dreams", **{"statuses[]": ["pending", "running"]})["data"] == []
    assert refuses(desk, path + "/cancel")[0] == 409
    assert changed(desk, path + "/archive")["archived_at"]


def test_a_dream_may_go_into_a_store_that_there_is(current: Desk) -> None:
    behaviour = {"type": "update_existing", "memory_store_id": "memstore_project"}
    dream(current, output_behavior=behaviour)
    current.clock.sleep(5)
    memories = current.get("/memory_stores/memstore_project/memories")["data"]
    assert [each["path"] for each in memories] == ["dream.md", "people/on-call.md", "conventions.md"]
    nowhere = {"type": "update_existing", "memory_store_id": "memstore_x"}
    assert dream(current, output_behavior=nowhere).status_code == 404


def test_a_canceled_dream_stays_so(desk: Desk) -> None:
    id = dream(desk).json()["id"]
    desk.clock.sleep(2)
    assert changed(desk, f"/dreams/{id}/cancel")["status"] == "canceled"
    desk.clock.sleep(10)
    after = desk.get(f"/dreams/{id}")
    assert (after["status"], after["outputs"]) == ("canceled", [])
    assert dream(desk).is_success
