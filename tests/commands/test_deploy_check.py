"""`qoder deploy check`: why tonight will fail, told this afternoon; and nothing where nothing is wrong."""

import shlex
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from qoder_cli.sandbox.scripts import Behaviour, turn
from qoder_cli.sandbox.wire import GENERATIONS
from qoder_cli.sandbox.world import World
from tests.conftest import TOKEN, Qoder
from tests.support.inprocess import WithoutStreams
from tests.support.wire import api_error, page

Fields = dict[str, Any]
DAILY = {"type": "cron", "expression": "0 3 * * *", "timezone": "UTC"}
URL = "https://mcp.example.com/mcp"
TOOLS = [{"type": "agent_toolset_20260401"}]
PROMPT = [{"type": "user.message", "content": [{"type": "text", "text": "Report."}]}]
LIMITED: dict[str, Any] = {
    "type": "cloud",
    "networking": {"type": "limited", "allowed_hosts": ["p.example.com", "*.p.example.com"]},
}
WIDE = {"networking": {"type": "limited", "allowed_hosts": ["*.example.com"]}}


class Place:
    """A world in which all that a healthy deployment needs is there, and a machine in it."""

    def __init__(self, qoder: Qoder, generation: Any = "current") -> None:
        self.qoder = qoder
        self.world = World(generation=generation, token=TOKEN, clock=lambda: qoder.clock.time)
        self.world.deployments.clear()
        self.old = self.world.now() - 86400
        self.lie: Callable[[httpx.Request], httpx.Response | None] = lambda request: None
        self.keep(
            "environments", id="env_well", name="well", config={"type": "cloud", "networking": {"type": "unrestricted"}}
        )
        self.agent("agent_well")
        qoder.transport = WithoutStreams(
            self.world, sleep=qoder.clock.sleep, lie=lambda request, answer: self.lie(request) or answer()
        )

    def keep(self, what: str, held_by: str = "", **fields: Any) -> Any:
        return self.world.keep(what, held_by, at=self.old, **fields)

    def agent(self, id: str, *, version: int = 1, **fields: Any) -> None:
        about = {"id": id, "name": id, "model": {"id": "auto"}, "tools": TOOLS, **fields}
        self.keep("agents.versions", id, **about, version=version)
        self.world.things.get("agents", {}).pop(id, None)
        self.keep("agents", **about, version=version)

    def deployment(self, name: str = "it", **fields: Any) -> str:
        agent = {"id": "agent_well", "type": "agent", "version": 1}
        about: Fields = {"environment_id": "env_well", "agent": agent, "schedule": DAILY, "initial_events": PROMPT}
        about |= {"budget": {"type": "limit", "max_credit_cost": "5.00"}}
        return self.world.add_deployment(id=f"dep_{name}", name=name, at=self.old, **{**about, **fields}).id

    def vault(self, *credentials: Fields) -> list[str]:
        self.keep("vaults", id="vault_1", display_name="team")
        for n, each in enumerate(credentials):
            self.keep(
                "vaults.credentials", "vault_1", id=f"vcred_{n}", vault_id="vault_1", display_name=f"c{n}", **each
            )
        return ["vault_1"]

    def found(self, *words: str) -> list[Fields]:
        ran = self.qoder("deploy", "check", *words, "--json")
        assert ran.code == 0, ran.err
        found: list[Fields] = ran.json
        return found


AGENT: Fields = {"id": "agent_1", "version": 1, "tools": TOOLS}
UNUSED = {"name": "unused", "type": "url", "url": "https://unused.example.com"}
SERVER: Fields = {"mcp_servers": [{"name": "docs", "type": "url", "url": URL}, UNUSED]}
SERVER |= {"tools": [*TOOLS, {"type": "mcp_toolset", "mcp_server_name": "docs"}]}
LONG_AGO = "2026-01-01T00:00:00Z"
BEARER = {"auth": {"type": "static_bearer", "mcp_server_url": URL}}
NO_URL = {"auth": {"type": "static_bearer", "mcp_server_url": "https://[x"}}
NEAR = {"auth": {"type": "static_bearer", "mcp_server_url": f"{URL}/"}}
OVER = {"auth": {"type": "mcp_oauth", "mcp_server_url": URL, "expires_at": "2027-01-01T00:00:00Z"}}
SHORT = {"auth": {**OVER["auth"], "expires_at": "2027-01-15T20:00:00Z"}}
RENEWED = {"auth": {**SHORT["auth"], "refresh": {"client_id": "c", "token_endpoint": "https://t.example"}}}
GITHUB = {"type": "environment_variable", "secret_name": "GITHUB_TOKEN"}
ONLY_GITHUB = {"auth": {**GITHUB, "networking": {"type": "limited", "allowed_hosts": ["api.github.com"]}}}
GONE = {"type": "error", "error": {"type": "environment_archived_error"}}
ASKS = [{**TOOLS[0], "configs": [{"name": "Bash", "permission_policy": {"type": "always_ask"}}]}]
READS: Fields = {**TOOLS[0], "enabled_tools": ["Read", "Bash", "Write"], "disallowed_tools": ["Write"]}
READS |= {"configs": [{"name": "Bash", "enabled": False}]}
STATS = "/environments/env_1/work/stats"
OWN: Fields = {"environment_id": "env_1"}
SELF_HOSTED = {"/environments/env_1": {"id": "env_1", "config": {"type": "self_hosted"}}}
NARROW = {"/environments/env_1": {"id": "env_1", "config": LIMITED}}
USES: Fields = {"agent": {"id": "agent_1"}}
VAULT: Fields = {"vault_ids": ["vault_1"], **USES}
FILE: Fields = {"resources": [{"file_id": "file_1"}]}
STORE: Fields = {"resources": [{"memory_store_id": "memstore_1"}]}
ARCHIVED_STORE = {"/memory_stores/memstore_1": {"id": "memstore_1", "archived_at": LONG_AGO}}
AT_1, AT_3 = ({"agent": {"id": "agent_1", "version": version}} for version in (1, 3))
NEVER = {"schedule": {**DAILY, "expression": "0 0 30 2 *"}}


def vault_with(*credentials: Fields, archived_at: str | None = None, of_agent: bool = True) -> Fields:
    """Return what is at the paths of a vault, and of an agent with a server."""
    rows = [{"id": f"vcred_{n}", **each} for n, each in enumerate(credentials)]
    vault = {"/vaults/vault_1": {"id": "vault_1", "archived_at": archived_at}}
    return {**vault, "/vaults/vault_1/credentials": page(*rows)} | (of(**SERVER) if of_agent else {})


def paused(reason: Any) -> Fields:
    return {"status": "paused", "paused_reason": reason, "updated_at": LONG_AGO}


def work(**stats: int) -> Fields:
    """Return what is at the paths of an environment for which nobody works."""
    return SELF_HOSTED | {STATS: {"workers_polling": 0, **stats}}


def expiring(at: str) -> Fields:
    return {"/files/file_1": {"id": "file_1", "expires_at": at}}


def of(**fields: Any) -> Fields:
    """Return the path of an agent with these fields."""
    return {"/agents/agent_1": AGENT | fields}


def pinned(newest: int, missing: int | None = None, id: str = "agent_1") -> Fields:
    """Return the path of an agent, where the version that is asked for is shown, else the newest."""

    def shown(request: httpx.Request) -> Any:
        version = int(request.url.params.get("version", newest))
        if version == missing:
            return api_error(404, "not_found_error", "No.")
        return {**AGENT, "id": id, "version": version}

    return {f"/agents/{id}": shown}


ROSTER = of(multiagent={"agents": [{"type": "agent", "id": "agent_2", "version": 1}]})
PUT = f"vault put vault_1 docs --mcp {URL}"

UNEXPLAINED: Fields = {"id": "dep_1", "agent": {"id": "agent_0"}, "environment_id": "env_0", **paused(None)}
UNEXPLAINED |= {"budget": {"type": "limit"}}

# The finding and its weight, a part of what it says, and of the command that mends it: what a deployment has besides an
# id and its schedule, and what is at other paths (None: not found).
WRONG: dict[str, tuple[Fields, Fields]] = {
    "paused_by_error problem | (x) | deploy unpause dep_1": (paused({"type": "x"}), {}),
    "paused_by_error problem | its environment is archived | deploy unpause dep_1": (paused(GONE), {}),
    "paused_by_error problem | (agent_archived_error): its agent | deploy unpause dep_1": (
        paused("agent_archived_error"),
        {},
    ),
    "paused_by_error problem | (unknown_error) | deploy unpause dep_1": (paused(["x"]), {}),
    "paused warning | paused by hand since 2026-01-01 | deploy unpause dep_1": (paused({"type": "manual"}), {}),
    "unread warning | why it is paused could not be read | deploy check dep_1": (
        paused(None),
        {"/deployments/dep_1": UNEXPLAINED},
    ),
    "environment_missing problem | env_1 does not exist | --env ENV": (OWN, {"/environments/env_1": None}),
    "agent_archived problem | agent_1 is archived | --agent AGENT": (USES, of(archived_at=LONG_AGO)),
    "agent_missing problem | version 3 of agent agent_1 does not exist | --agent agent_1": (AT_3, pinned(2, missing=3)),
    "agent_behind note | the latest is 2 | --agent agent_1@2": (AT_1, pinned(2)),
    "vault_archived problem | vault_1 is archived | --vault VAULT": (VAULT, vault_with(BEARER, archived_at=LONG_AGO)),
    "memory_store_archived problem | memstore_1 is archived | export dep_1": (STORE, ARCHIVED_STORE),
    "file_missing problem | file_1 does not exist | export dep_1": (FILE, {"/files/file_1": None}),
    "file_expires problem | before the next run | export dep_1": (FILE, expiring("2027-01-15T20:00:00Z")),
    "skill_missing problem | skill_1 version 3 | agent update agent_1 --skill skill_1": (
        USES,
        of(skills=[{"type": "custom", "skill_id": "skill_1", "version": "3"}]) | {"/skills/skill_1/versions/3": None},
    ),
    "roster_agent_missing problem | agent_2 does not exist | agent update agent_1 --file FILE": (
        USES,
        of(multiagent={"agents": ["agent_2"]}) | {"/agents/agent_2": None},
    ),
    "roster_agent_archived problem | agent_2 is archived | agent update agent_1 --file FILE": (
        USES,
        ROSTER | {"/agents/agent_2": {"id": "agent_2", "version": 1, "archived_at": LONG_AGO}},
    ),
    "roster_agent_missing problem | version 1 of roster agent agent_2 | agent update agent_1 --file FILE": (
        USES,
        ROSTER | pinned(2, missing=1, id="agent_2"),
    ),
    f"credential_missing warning | no credential for {URL} | {PUT}": (VAULT, vault_with()),
    "unread warning | does not say whether it is complete | deploy check dep_1": (
        VAULT,
        vault_with() | {"/vaults/vault_1/credentials": {"data": []}},
    ),
    f"credential_missing warning | is asked without one | {PUT}": (
        VAULT | OWN,
        vault_with(NO_URL) | {"/environments/env_1": {"id": "env_1", "config": WIDE}},
    ),
    f"credential_missing problem | one is for {URL}/ | {PUT}": (VAULT, vault_with(NEAR)),
    f"credential_invalid problem | has expired | {PUT}": (VAULT, vault_with(OVER)),
    f"credential_invalid problem | is archived | {PUT}": (VAULT, vault_with({**BEARER, "archived_at": LONG_AGO})),
    f"credential_expires problem | before the next run (2027-01-15T20:00:00Z) | {PUT}": (VAULT, vault_with(SHORT)),
    "mcp_egress problem | does not reach mcp.example.com | env update env_1 --allow-host mcp.example.com": (
        VAULT | OWN,
        vault_with(BEARER) | NARROW,
    ),
    "mcp_egress problem | does not reach https://[x, | env update env_1 --allow-host": (
        VAULT | OWN,
        vault_with(NO_URL) | of(**SERVER | {"mcp_servers": [{"name": "docs", "url": "https://[x"}]}) | NARROW,
    ),
    "hosts warning | GITHUB_TOKEN is only sent to api.github.com | env update env_1 --allow-host": (
        {"vault_ids": ["vault_1"], **OWN},
        vault_with(ONLY_GITHUB, of_agent=False) | NARROW,
    ),
    "will_ask warning | Bash | agent update agent_1 --ask none": (USES, of(tools=ASKS)),
    "no_tools note | has no tools | agent update agent_1 --tools all": (USES, of(tools=[])),
    "no_output_tool note | final message | --tools all": (USES, of(tools=[READS])),
    "no_budget note | any amount | --budget CREDITS": ({"budget": None}, {}),
    "never_fires problem | does not fire within four years | --schedule CRON": (NEVER, {}),
    "self_hosted_no_worker problem | 2 work items wait | env work list env_1": (OWN, work(depth=2)),
    "self_hosted_no_worker problem | no worker polls env_1 | env work list": (OWN, work(depth=0, pending=0)),
    "self_hosted_no_worker warning | no worker polls env_1 | env work list": ({**OWN, "schedule": None}, work()),
}


def serve(qoder: Qoder, fields: Fields, others: Fields) -> None:
    """Let there be one deployment, and what else it refers to."""
    raw = {"id": "dep_1", "name": "it", "status": "active", "budget": {"type": "limit"}, "schedule": DAILY}
    raw |= {"agent": {"id": "agent_0"}, "environment_id": "env_0", **fields}
    qoder.wire.on("GET", "/deployments", page(raw))
    qoder.wire.may("GET", "/agents/agent_0", {**AGENT, "id": "agent_0"})
    qoder.wire.may("GET", "/environments/env_0", {"id": "env_0", "config": {"networking": {"type": "unrestricted"}}})
    for path, answer in {"/deployments/dep_1/runs": page(), **others}.items():
        shown = api_error(404, "not_found_error", "No.") if answer is None else answer
        qoder.wire.on("GET", path, shown, repeat=True)


@pytest.mark.parametrize("case", WRONG)
def test_deploy_check_names_what_is_wrong_with_a_command_that_mends_it(qoder: Qoder, case: str) -> None:
    finding, says, fix = case.split(" | ")
    serve(qoder, *WRONG[case])
    ran = qoder("deploy", "check", "--json", "--exit-status")
    [told] = ran.json
    assert (told["deployment_id"], f"{told['finding']} {told['weight']}") == ("dep_1", finding)
    assert says in told["says"]
    assert fix in shlex.join(told["fix"])
    assert ran.code == (7 if told["finding"] == "unread" else 8 if told["weight"] == "problem" else 0)


ANYWHERE = {"auth": {**GITHUB, "networking": {"type": "unrestricted", "allowed_hosts": ["api.github.com"]}}}
LETS_SERVERS = {"networking": {"type": "limited", "allow_mcp_servers": True}}
NO_LENGTH = [{"id": f"drun_{n}", "deployment_id": "dep_1", "status": "completed"} for n in range(3)]
RIGHT: dict[str, tuple[Fields, Fields]] = {
    "networks": (
        VAULT | OWN,
        vault_with(BEARER, ANYWHERE) | {"/environments/env_1": {"id": "env_1", "config": LETS_SERVERS}},
    ),
    "runs that do not say how long they took": ({}, {"/deployments/dep_1/runs": page(*NO_LENGTH)}),
}


@pytest.mark.parametrize("case", RIGHT)
def test_deploy_check_takes_nothing_for_wrong_that_is_right(qoder: Qoder, case: str) -> None:
    serve(qoder, *RIGHT[case])
    assert qoder("deploy", "check", "--json").json == []


def with_server(place: Place, *credentials: Fields) -> None:
    """Add a deployment of an agent that uses an MCP server, with these credentials in its vault."""
    place.agent("agent_it", **SERVER)
    agent = {"id": "agent_it", "type": "agent", "version": 1}
    place.deployment(agent=agent, vault_ids=place.vault(*credentials))


def ran(place: Place, deployment: str, count: int) -> list[str]:
    """Let it have run each hour, and return the ids of its runs, newest first."""
    with place.world.lock:
        hours = [place.world.now() - 3600 * (n + 1) for n in range(count)]
        return [place.world.start(deployment, origin="seed", at=hour).id for hour in hours]


FAILS = {"id": "agent_fail", "type": "agent", "version": 1}


def may_fail(place: Place) -> None:
    """Add the agent of whose runs each fails."""
    about = {"id": "agent_fail", "name": "fail", "version": 1, "tools": TOOLS}
    place.world.keep("agents.versions", "agent_fail", at=place.old, **about)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_deploy_check_judges_a_deployment_by_its_last_runs(qoder: Qoder, generation: Any) -> None:
    place = Place(qoder, generation)
    may_fail(place)
    newest, *_ = ran(place, place.deployment(agent=FAILS), 3)
    slow = place.deployment("slow", behaviour=Behaviour(turn(seconds=600)))
    ran(place, slow, 3)
    place.world.deployments[slow].change(place.world.now(), schedule={**DAILY, "expression": "*/5 * * * *"})
    failing, too_often = place.found()
    assert (failing["finding"], failing["weight"]) == ("failing", "problem")
    assert failing["fix"][1:4] == ["run", "logs", newest]
    assert failing["says"] == "its last 3 runs failed (retries_exhausted)"
    assert (too_often["finding"], too_often["weight"]) == ("too_often", "warning")
    assert too_often["says"] == "fires 5m 00s after the fire before, but its runs take 10m 00s (median of 3)"


def test_deploy_check_finds_nothing_where_nothing_is_wrong(qoder: Qoder) -> None:
    place = Place(qoder)
    place.deployment("manual", schedule=None)
    place.deployment("often", schedule={**DAILY, "expression": "*/15 * * * *", "timezone": "Europe/Berlin"})
    place.deployment("paused", schedule=None, status="paused", paused_reason={"type": "manual"})
    with_server(place, RENEWED)
    ran(place, "dep_manual", 2)
    checked = qoder("deploy", "check", "--exit-status")
    assert (checked.code, checked.out) == (0, "")
    assert "4 deployments checked: nothing found" in checked.err


TURNS = {  # when it is typed, the schedule, and what is found
    ("2027-03-01", "30 2 * * *", "Europe/Berlin"): ["does not fire on 2027-03-28"],
    ("2027-10-30", "30 2 * * *", "Europe/Berlin"): ["may fire twice on 2027-10-31"],
    ("2027-02-25", "30 2 * * *", "Europe/Berlin"): [],  # more than 30 days before
    ("2027-10-30", "30 2 28 10 *", "Europe/Berlin"): [],
    ("2027-10-30", "30 0-3 * * *", "Europe/Berlin"): ["may fire twice on 2027-10-31"],
    ("2027-10-30", "30 0-4 * * *", "Europe/Berlin"): [],  # of more than 4 a day, one is little
    ("2027-10-30", "30 2 * * *", "UTC"): [],
    ("2027-09-20", "15 2 * * *", "Australia/Lord_Howe"): ["does not fire on 2027-10-03"],
    ("2027-04-01", "45 1 * * *", "Australia/Lord_Howe"): ["may fire twice on 2027-04-04"],
}


@pytest.mark.parametrize(("day", "expression", "zone"), TURNS)
@pytest.mark.few(4)
def test_deploy_check_knows_when_clocks_change(qoder: Qoder, day: str, expression: str, zone: str) -> None:
    qoder.clock.time = datetime.fromisoformat(f"{day}T12:00:00+00:00").timestamp()
    place = Place(qoder)
    place.deployment(schedule={"type": "cron", "expression": expression, "timezone": zone})
    says = [found["says"].partition(":")[0] for found in place.found() if found["finding"] == "dst"]
    assert says == TURNS[day, expression, zone]


@pytest.mark.parametrize(
    ("code", "answer", "finding"),
    [
        (200, {"status": "invalid", "refresh": {"status": "failed"}}, "credential_invalid"),
        (200, {"status": "unknown"}, "unread"),
        (200, {}, "unread"),
        (403, {"type": "error", "error": {"type": "permission_error", "message": "No."}}, "unread"),
    ],
)
def test_deploy_check_probe_has_the_api_try_credentials(qoder: Qoder, code: int, answer: Fields, finding: str) -> None:
    place = Place(qoder)
    lasting = {"auth": {**OVER["auth"], "expires_at": "2099-01-01T00:00:00Z"}}
    archived = {**lasting, "archived_at": "2026-01-01T00:00:00Z"}
    with_server(place, lasting, BEARER, archived)  # of these, the first is tried
    place.lie = lambda request: (
        httpx.Response(code, json=answer) if request.url.path.endswith("/mcp_oauth_validate") else None
    )
    assert place.found() == []
    assert {seen.method for seen in place.world.requests} == {"GET"}
    [found] = place.found("--probe", "--workspace", "ws_1")
    assert (found["finding"], shlex.join(found["fix"])) == (finding, "qoder vault check vault_1 --workspace ws_1")


NOT_FOUND = api_error(404, "not_found_error", "No.")
DENIED = api_error(403, "permission_error", "No.")
# What is said first: what a deployment has, and what is at other paths.
OTHERS: dict[str, tuple[Fields, Fields]] = {
    "environment env_1 could not be read": (OWN, {"/environments/env_1": DENIED}),
    "agent agent_1 could not be read": (USES, {"/agents/agent_1": DENIED}),
    "the credentials of vault vault_1": (VAULT, vault_with() | {"/vaults/vault_1/credentials": DENIED}),
    "how its last runs ended": ({}, {"/deployments/dep_1/runs": DENIED}),
    "how its last runs ended could not be read: the list": ({}, {"/deployments/dep_1/runs": {"data": []}}),
    "the work queue of env_1": (OWN, SELF_HOSTED | {STATS: None}),
    "the work queue of env_1 could not be read": (OWN, SELF_HOSTED | {STATS: {"depth": 0}}),
    "environment env_1 could not be read: the response": (OWN, {"/environments/env_1": {"id": "env_2"}}),
    "agent agent_1 could not be read: the response": (USES, of(id="agent_2")),
    "version 1 of agent agent_1": (AT_1, of(version=2)),  # whichever is asked for
    "the URL of the MCP server docs": (USES | OWN, of(**SERVER | {"mcp_servers": [{"name": "docs"}]}) | NARROW),
    "when file file_1 expires": (FILE, expiring("soon")),
    "its status": ({"status": "dormant"}, {}),
    "its schedule could not be read": ({"schedule": "0 3 * * *"}, {}),
    "its vault_ids could not be read": ({"vault_ids": "vault_1"}, {}),
    "its resources could not be read": ({"resources": FILE["resources"][0]}, {}),
    "cannot tell when it fires": ({"schedule": {**DAILY, "timezone": "Mars/Base"}}, {}),
}


@pytest.mark.parametrize("says", OTHERS)
def test_deploy_check_takes_nothing_for_well_that_no_answer_says(qoder: Qoder, says: str) -> None:
    serve(qoder, *OTHERS[says])
    ran = qoder("deploy", "check", "--json", "--exit-status")
    assert ran.code == 7
    [told] = [each["says"] for each in ran.json if each["weight"] == "warning"]
    assert told.startswith(says)


SHORT_ROW = {"id": "dep_1", "name": "it", "status": "active", "budget": {"type": "limit"}}
UNNAMED = [
    "its environment could not be read: the deployment does not name one",
    "its agent could not be read: the deployment does not name one",
]


@pytest.mark.parametrize(
    ("shown", "says", "code"),
    [
        ({**SHORT_ROW, "agent": "agent_1", "environment_id": "env_1"}, ["environment env_1 does not exist"], 8),
        (SHORT_ROW, UNNAMED, 7),
        (DENIED, UNNAMED, 7),
    ],
)
def test_deploy_check_reads_a_deployment_by_itself_of_which_a_list_does_not_show_what_it_refers_to(
    qoder: Qoder, shown: Any, says: list[str], code: int
) -> None:
    whole = {**SHORT_ROW, "id": "dep_2", "agent": "agent_1", "environment_id": "env_2"}
    qoder.wire.on("GET", "/deployments", page(SHORT_ROW, whole)).on("GET", "/deployments/dep_1", shown)
    qoder.wire.may("GET", "/agents/agent_1", AGENT).may("GET", "/environments/env_1", NOT_FOUND)
    qoder.wire.on("GET", "/environments/env_2", {"id": "env_2", "config": {"type": "cloud"}})
    qoder.wire.on("GET", "/deployments/*/runs", page(), repeat=True)
    ran = qoder("deploy", "check", "--json", "--exit-status")
    assert ([found["says"] for found in ran.json], ran.code) == (says, code)


def test_deploy_check_is_never_0_over_items_of_a_list_that_are_no_deployments(qoder: Qoder) -> None:
    qoder.wire.on("GET", "/deployments", page({"name": "no id"}), repeat=True)
    assert [qoder("deploy", "check", *words).code for words in ([], ["--exit-status"])] == [0, 7]
    assert "1 item of the list of deployments" in qoder("deploy", "check").err


@pytest.mark.parametrize("more", [{}, {"has_more": None}])
def test_deploy_check_is_never_0_over_a_list_that_does_not_say_whether_it_is_complete(
    qoder: Qoder, more: Fields
) -> None:
    qoder.wire.on("GET", "/deployments", {"data": [], **more})
    ran = qoder("deploy", "check", "--exit-status")
    assert (ran.code, "the list of deployments does not say whether it is complete" in ran.err) == (7, True)


@pytest.mark.parametrize("row", [{"id": "drun_1"}, {"id": "drun_1", "deployment_id": "dep_d1", "created_at": None}])
def test_deploy_check_lists_the_runs_of_each_where_the_list_of_all_has_other_things(qoder: Qoder, row: Fields) -> None:
    place = Place(qoder)
    ids = [place.deployment(f"d{n}") for n in range(12)]
    place.lie = lambda request: (
        httpx.Response(200, json=page(row)) if request.url.path.endswith("/deployment_runs") else None
    )
    assert place.found() == []
    assert sorted(seen.path.split("/")[-2] for seen in place.world.requests if seen.path.endswith("/runs")) == sorted(
        ids
    )


def test_deploy_check_reads_the_last_runs_of_each_deployment_however_few_are_among_the_newest(qoder: Qoder) -> None:
    place = Place(qoder)
    may_fail(place)
    place.deployment("busy")
    rare = [place.deployment(f"rare{n}", agent=FAILS) for n in range(12)]
    young = place.world.add_deployment(id="dep_young", name="young", at=place.world.now() - 60, agent=FAILS)
    young.change(place.world.now() - 60, budget={"type": "limit", "max_credit_cost": "5.00"})
    with place.world.lock:
        for hours in (20, 19, 18):
            for id in rare:
                place.world.start(id, origin="seed", at=place.world.now() - 3600 * hours)
        for n in range(900):
            place.world.start("dep_busy", origin="seed", at=place.world.now() - 3600 - n)
    found = [each for each in place.found() if each["finding"] != "agent_missing"]
    assert sorted({each["deployment_id"] for each in found if each["finding"] == "failing"}) == sorted(rare)
    asked = [seen.path for seen in place.world.requests if seen.path.endswith("/runs")]
    assert len(asked) == len(rare)  # one page each; whatever a new one has is among the newest
    before = len(place.world.requests)
    assert [each["finding"] for each in place.found()] == [each["finding"] for each in place.found()]
    again = [seen.path for seen in list(place.world.requests)[before:] if seen.path.endswith("/events")]
    assert again == []  # how they ended is known


@pytest.mark.parametrize("generation", GENERATIONS)
def test_deploy_check_of_200_deployments_takes_60_requests_at_most(qoder: Qoder, generation: Any) -> None:
    place = Place(qoder, generation)
    for n in range(20):
        place.agent(f"agent_{n}")
    for n in range(3):
        config = {"type": "cloud", "networking": {"type": "unrestricted"}}
        place.keep("environments", id=f"env_{n}", name=f"e{n}", config=config)
    ids = [
        place.deployment(
            f"d{n}", agent={"id": f"agent_{n % 20}", "type": "agent", "version": 1}, environment_id=f"env_{n % 3}"
        )
        for n in range(200)
    ]
    with place.world.lock:
        for n, id in enumerate(ids):
            place.world.start(id, origin="seed", at=place.world.now() - 4000 - n)
    place.found()
    before = len(place.world.requests)
    assert place.found() == []
    assert len(place.world.requests) - before <= 60
    paths = [seen.path for seen in list(place.world.requests)[before:] if not seen.query]
    assert len(paths) == len(set(paths)), "a thing was read twice"


def test_deploy_check_draws_a_block_for_each_deployment(qoder: Qoder) -> None:
    place = Place(qoder)
    for n in range(5):
        place.deployment(f"d{n}", budget=None)
    place.deployment("broken", environment_id="env_none")
    shown = qoder("deploy", "check", "-o", "pretty", "--workspace", "ws_1").out.splitlines()
    assert shown[:3] == [
        "broken (dep_broken)",
        "  ✗ environment env_none does not exist",
        "    qoder deploy update dep_broken --env ENV --workspace ws_1",
    ]
    said = ["  · 5 deployments have no budget: a run may cost any amount: d4, d3, d2, d1,", "    d0"]
    assert shown[4:7] == ["5 deployments", *said]
    assert qoder("deploy", "check", "-q").out.splitlines()[0] == "dep_broken"


@pytest.mark.parametrize("of", ["", "deployments: [it]\n", "deployments: [dep_it]\n"])
@pytest.mark.parametrize(
    ("rule", "asks"), [("work: /\nallow: [{run: git status}]", False), ("allow: [{search: web}]", True)]
)
def test_deploy_check_warns_of_no_tool_that_a_policy_answers(
    qoder: Qoder, tmp_path: Path, rule: str, asks: bool, of: str
) -> None:
    place = Place(qoder, "current")
    place.agent("agent_it", tools=ASKS)
    place.deployment(agent={"id": "agent_it", "type": "agent", "version": 1})
    (tmp_path / "policy.yaml").write_text(f"{of}{rule}\n")
    ran = qoder("deploy", "check", "--policy", str(tmp_path / "policy.yaml"), "--json")
    assert ("will_ask" in {each["finding"] for each in ran.json}) is asks
