"""What `qoder sandbox` keeps besides deployments: agents, environments and their work, vaults, dreams."""

from typing import Any

import pytest

from tests.sandbox.desk import BEARER, KEYS, Desk

WRITER = "/agents/agent_writer"
WORK = "/environments/env_workers/work"
TOOLSET = "agent_toolset_20260401"


def test_sandbox_deletes_a_thing_with_what_it_holds(desk: Desk) -> None:
    answer = desk.http.delete("/vaults/vault_team")
    assert (answer.status_code, answer.json()) == (200, {"id": "vault_team", "type": "vault_deleted"})
    assert [desk.status(path) for path in ("/vaults/vault_team", KEYS, f"{KEYS}/vcred_github")] == [404] * 3
    assert desk.ids("/vaults") == []


def test_sandbox_keeps_the_versions_of_an_agent(desk: Desk) -> None:
    assert [desk.get(WRITER, version=n)["version"] for n in (1, 2, 3)] == [1, 2, 3]
    after = desk.done(WRITER, version=3, system="You write poems.")
    assert (after["version"], after["name"]) == (4, "writer")
    page = desk.get(WRITER + "/versions", limit=2)
    assert ([row["version"] for row in page["data"]], page["first_id"], page["last_id"]) == ([4, 3], "4", "3")
    assert desk.ids(WRITER + "/versions", "version", after_id="3") == [2, 1]
    assert desk.get(WRITER, version=3)["system"] != desk.get(WRITER)["system"] == "You write poems."
    assert [desk.refused("GET", WRITER, params={"version": one})[0] for one in ("9", "")] == [404, 404]


def test_sandbox_changes_the_version_of_an_agent_that_is_named(desk: Desk) -> None:
    for body in ({"name": "a"}, {"name": "a", "version": None}):
        assert desk.refused("POST", WRITER, json=body) == (400, "invalid_request_error", "version")
    stale = {"name": "a", "version": 1}
    assert desk.refused("POST", WRITER, json=stale)[0] == 409
    message = desk.post(WRITER, stale).json()["error"]["message"]
    assert message == "Version conflict. Expected version 3, got 1."


def test_sandbox_limits_a_network_that_is_not_given(desk: Desk) -> None:
    plain = desk.made("/environments")
    assert plain["config"]["networking"] == {
        "type": "limited", "allow_mcp_servers": False, "allow_package_managers": False, "allowed_hosts": [],
    }  # fmt: skip
    config = {"type": "cloud", "networking": {"type": "unrestricted"}, "packages": {"pip": ["pytest"]}}
    path = f"/environments/{plain['id']}"
    assert desk.done(path, config=config)["config"] == config
    assert desk.done(path, config={"type": "cloud"})["config"] == plain["config"]  # replaced whole
    assert desk.done(path, name="b")["config"] == plain["config"]


def test_sandbox_hands_an_item_of_work_from_worker_to_worker(desk: Desk) -> None:
    mine, other = {"Worker-ID": "w-1"}, {"Worker-ID": "w-2"}
    path = WORK + "/work_demo"
    assert desk.get(WORK + "/stats") | {"oldest_queued_at": ""} == {
        "type": "work_queue_stats", "depth": 1, "pending": 0, "oldest_queued_at": "", "workers_polling": 0,
    }  # fmt: skip
    item = desk.http.get(WORK + "/poll", headers=mine).json()
    assert (item["id"], item["state"], item["data"]["id"]) == ("work_demo", "queued", "sess_workers")
    assert desk.http.get(WORK + "/poll", headers=other).json() is None
    assert {"depth": 0, "pending": 1, "workers_polling": 2}.items() <= desk.get(WORK + "/stats").items()
    desk.clock.sleep(6)
    assert desk.http.get(WORK + "/poll", headers=other).json()["id"] == "work_demo"  # it was not acknowledged
    assert [desk.post(path + "/heartbeat").status_code, desk.post(path + "/ack", **mine).status_code] == [409, 409]
    assert desk.post(path + "/ack", **other).json()["state"] == "starting"
    assert desk.post(path + "/ack", **other).status_code == 409
    first = desk.post(path + "/heartbeat?expected_last_heartbeat=NO_HEARTBEAT&desired_ttl_seconds=9999", **other).json()
    lease = {"type": "work_heartbeat", "state": "active", "ttl_seconds": 600, "lease_extended": True}
    assert lease.items() <= first.items()
    took_over = desk.refused("POST", path + "/heartbeat?expected_last_heartbeat=NO_HEARTBEAT", json={})
    assert took_over == (412, "precondition_failed_error", None)
    assert desk.done(path + "/stop")["state"] == "stopping"
    assert desk.done(path + "/heartbeat")["lease_extended"] is False
    stopped = desk.done(path + "/stop", force=True)
    assert (stopped["state"], stopped["stopped_at"] is None) == ("stopped", False)
    assert desk.done(path, metadata={"team": "core"})["metadata"] == {"team": "core"}
    assert not [name for name in desk.get(path) if name.startswith("_")]


def test_sandbox_queues_a_session_on_hosts_of_ones_own(current: Desk) -> None:
    session = current.made("/sessions", environment_id="env_workers")
    assert [data["id"] for data in current.ids(WORK, "data")] == [session["id"], "sess_workers"]
    cloud = current.made("/environments")["id"]
    current.made("/sessions", environment_id=cloud)
    assert current.refused("GET", f"/environments/{cloud}/work")[0] == 400


SECRETS = ("s-token", "s-value", "s-access", "s-refresh", "s-client")
OAUTH = {"type": "mcp_oauth", "access_token": "s-access", "mcp_server_url": "https://b.example.com"}
REFRESH = {
    "client_id": "c",
    "refresh_token": "s-refresh",
    "token_endpoint": "https://b.example.com/t",
    "token_endpoint_auth": {"type": "client_secret_post", "client_secret": "s-client"},
}
VARIABLE = {"type": "environment_variable", "secret_name": "A", "secret_value": "s-value"}
AUTHS: list[dict[str, Any]] = [
    {**BEARER, "token": "s-token"},
    {**VARIABLE, "networking": {"type": "unrestricted"}},
    {**OAUTH, "refresh": REFRESH},
]


@pytest.mark.parametrize("auth", AUTHS, ids=lambda auth: auth["type"])
def test_sandbox_never_shows_a_secret(desk: Desk, auth: dict[str, Any]) -> None:
    credential = desk.made(KEYS, auth=auth, display_name="key")
    path = f"{KEYS}/{credential['id']}"
    # What an update does not know (api.md#vaults).
    assert desk.refused("POST", path, json={"auth": auth})[0] == 400
    change = {name: value for name, value in auth.items() if name not in ("secret_name", "mcp_server_url")}
    again = desk.post(path, {"auth": change, "metadata": {"team": "core"}})
    assert again.status_code == 200
    shown = again.text + "".join(desk.http.get(each).text for each in (path, KEYS, "/vaults/vault_team"))
    assert [secret for secret in SECRETS if secret in shown] == []
    assert (credential["auth"]["type"], credential["vault_id"]) == (auth["type"], "vault_team")
    assert desk.refused("POST", path, json={"auth": {"type": "other"}})[2] == "auth.type"
    assert desk.ids(KEYS, name="key") == [credential["id"]]


def test_sandbox_validates_credentials_of_oauth_only(desk: Desk) -> None:
    assert desk.post("/vaults", {"display_name": "new"}).json()["credentials"] == []
    auths = ({**OAUTH, "refresh": REFRESH}, {**OAUTH, "mcp_server_url": "https://c.example.com"})
    first, second = (desk.done(f"{KEYS}/{desk.made(KEYS, auth=auth)['id']}/mcp_oauth_validate") for auth in auths)
    valid = {"type": "vault_credential_validation", "status": "valid", "has_refresh_token": True}
    assert valid.items() <= first.items()
    assert (second["has_refresh_token"], second["refresh"]["status"]) == (False, "no_refresh_token")
    assert desk.refused("POST", f"{KEYS}/vcred_github/mcp_oauth_validate", json={})[0] == 400


def test_sandbox_dreams_by_the_clock_one_at_a_time(desk: Desk) -> None:
    pending = desk.made("/dreams")
    path = f"/dreams/{pending['id']}"
    assert (pending["status"], pending["session_id"], pending["model"]) == ("pending", None, {"id": "auto"})
    body = {"inputs": pending["inputs"], "model": "auto"}
    assert desk.refused("POST", "/dreams", json=body)[0] == 409
    desk.clock.sleep(2)
    running = desk.get(path)
    assert running["status"] == "running"
    assert desk.get(f"/sessions/{running['session_id']}")["status"] == "running"
    desk.clock.sleep(3)
    done = desk.get(path)
    [output] = done["outputs"]
    assert (done["status"], done["ended_at"] is None) == ("completed", False)
    assert output["memory_store_id"] != "memstore_project"
    assert desk.ids(f"/memory_stores/{output['memory_store_id']}/memories") == []
    assert desk.ids("/dreams", **{"statuses[]": "completed"}) == [pending["id"], "drm_demo"]
    assert desk.get("/dreams", **{"statuses[]": ["pending", "running"]})["data"] == []
    assert desk.refused("POST", path + "/cancel", json={})[0] == 409
    assert desk.done(path + "/archive")["archived_at"]


def test_sandbox_dreams_into_a_store_that_there_is(current: Desk) -> None:
    behaviour = {"type": "update_existing", "memory_store_id": "memstore_project"}
    body = current.made("/dreams", output_behavior=behaviour)
    current.clock.sleep(5)
    [output] = current.get(f"/dreams/{body['id']}")["outputs"]
    assert output["memory_store_id"] == "memstore_project"
    nowhere = {"inputs": body["inputs"], "model": "auto"}
    nowhere["output_behavior"] = {**behaviour, "memory_store_id": "memstore_x"}
    assert current.refused("POST", "/dreams", json=nowhere)[0] == 404
