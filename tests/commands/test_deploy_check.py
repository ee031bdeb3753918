"""`qoder deploy check`: why tonight will fail, told this afternoon; and nothing where nothing is wrong."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from qoder_cli.sandbox.scripts import Behaviour, turn
from qoder_cli.sandbox.wire import GENERATIONS
from qoder_cli.sandbox.world import World
from tests.conftest import TOKEN, Qoder
from tests.support.cells import checkerboard
from tests.support.inprocess import WithoutStreams
from tests.support.wire import api_error, page

Fields = dict[str, Any]
DAILY = {"type": "cron", "expression": "0 3 * * *", "timezone": "UTC"}
URL = "https://mcp.example.com/mcp"
TOOLS = [{"type": "agent_toolset_20260401"}]
PROMPT = [{"type": "user.message", "content": [{"type": "text", "text": "Report."}]}]
LIMITED = {"type": "cloud", "networking": {"type": "limited", "allowed_hosts": ["packages.example.com"]}}


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

    def archived(self, what: str, **fields: Any) -> None:
        self.keep(what, **fields).change(self.old, archived_at="2027-01-14T08:00:00Z")

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


def uses(**fields: Any) -> Callable[[Place], None]:
    """Return what makes a deployment with these fields."""

    def make(place: Place) -> None:
        place.deployment(**fields)

    return make


def of_agent(**fields: Any) -> Callable[[Place], None]:
    """Return what makes a deployment of an agent with these fields."""

    def make(place: Place) -> None:
        place.agent("agent_it", **fields)
        place.deployment(agent={"id": "agent_it", "type": "agent", "version": 1})

    return make


SERVER: Fields = {"mcp_servers": [{"name": "docs", "type": "url", "url": URL}]}
SERVER |= {"tools": [*TOOLS, {"type": "mcp_toolset", "mcp_server_name": "docs"}]}


def with_server(*credentials: Fields, **fields: Any) -> Callable[[Place], None]:
    """Return what makes a deployment of an agent that uses an MCP server, with these credentials in its vault."""

    def make(place: Place) -> None:
        place.agent("agent_it", **SERVER)
        vaults = place.vault(*credentials)
        place.deployment(agent={"id": "agent_it", "type": "agent", "version": 1}, vault_ids=vaults, **fields)

    return make


def behind(place: Place) -> None:
    place.agent("agent_it")
    place.agent("agent_it", version=2)
    place.deployment(agent={"id": "agent_it", "type": "agent", "version": 1})


def archived(what: str, field: str, id: str, **more: Any) -> Callable[[Place], None]:
    def make(place: Place) -> None:
        value: Any = id
        if field == "agent":
            place.keep("agents.versions", id, id=id, name="gone", version=1, tools=TOOLS)
            value = {"id": id, "type": "agent", "version": 1}
        place.archived(what, id=id, **more)
        if field == "vault_ids":
            value = [id]
        if field == "resources":
            value = [{"type": "memory_store", "memory_store_id": id}]
        place.deployment(**{field: value})

    return make


def narrow(*credentials: Fields) -> Callable[[Place], None]:
    def make(place: Place) -> None:
        place.keep("environments", id="env_narrow", name="narrow", config=LIMITED)
        with_server(*credentials, environment_id="env_narrow")(place)

    return make


def expiring(place: Place) -> None:
    place.keep("files", id="file_it", filename="a.md", expires_at="2027-01-15T20:00:00Z")
    place.deployment(resources=[{"type": "file", "file_id": "file_it"}])


def no_worker(place: Place) -> None:
    place.keep("environments", id="env_own", name="own", config={"type": "self_hosted"})
    place.keep("environments.work", "env_own", id="work_1", environment_id="env_own")
    place.deployment(environment_id="env_own")


def ran(place: Place, deployment: str, count: int) -> None:
    for n in range(count):
        with place.world.lock:
            place.world.start(deployment, origin="seed", at=place.world.now() - 3600 * (n + 1))


def failing(place: Place) -> None:
    place.world.keep(
        "agents.versions", "agent_fail", at=place.old, id="agent_fail", name="fail", version=1, tools=TOOLS
    )
    ran(place, place.deployment(agent={"id": "agent_fail", "type": "agent", "version": 1}), 3)


def too_often(place: Place) -> None:
    id = place.deployment(behaviour=Behaviour(turn(seconds=600)))
    ran(place, id, 4)
    place.world.deployments[id].change(place.world.now(), schedule={**DAILY, "expression": "*/5 * * * *"})


BEARER = {"auth": {"type": "static_bearer", "mcp_server_url": URL}}
NEAR = {"auth": {"type": "static_bearer", "mcp_server_url": f"{URL}/"}}
OVER = {"auth": {"type": "mcp_oauth", "mcp_server_url": URL, "expires_at": "2027-01-01T00:00:00Z"}}
GITHUB = {"type": "environment_variable", "secret_name": "GITHUB_TOKEN"}
ONLY_GITHUB = {"auth": {**GITHUB, "networking": {"type": "limited", "allowed_hosts": ["api.github.com"]}}}
GONE = {"type": "error", "error": {"type": "environment_archived_error"}}
ASKS = [{**TOOLS[0], "configs": [{"name": "Bash", "permission_policy": {"type": "always_ask"}}]}]
READS = [{**TOOLS[0], "enabled_tools": ["Read", "Grep"]}]

# What is wrong, and what is found: the finding, its weight, a part of what it says, and of the command.
WRONG: dict[str, tuple[Callable[[Place], None], str, str, str, str]] = {
    "odd pause": (uses(status="paused", paused_reason={"type": "x"}), "paused_by_error", "problem", "(x)", "unpause"),
    "paused": (
        uses(status="paused", paused_reason=GONE),
        *("paused_by_error", "problem", "its environment is archived", "deploy unpause dep_it"),
    ),
    "environment archived": (
        archived("environments", "environment_id", "env_it", name="it", config={"type": "cloud"}),
        *("environment_archived", "problem", "env_it is archived", "deploy update dep_it --env ENV"),
    ),
    "environment gone": (
        uses(environment_id="env_none"),
        *("environment_missing", "problem", "env_none does not exist", "deploy update dep_it --env ENV"),
    ),
    "agent archived": (
        archived("agents", "agent", "agent_it", name="it", version=1, tools=TOOLS),
        *("agent_archived", "problem", "agent_it is archived", "deploy update dep_it --agent AGENT"),
    ),
    "agent gone": (
        uses(agent={"id": "agent_none", "type": "agent", "version": 1}),
        *("agent_missing", "problem", "agent_none does not exist", "--agent AGENT"),
    ),
    "vault archived": (
        archived("vaults", "vault_ids", "vault_it", display_name="it"),
        *("vault_archived", "problem", "vault_it is archived", "--vault VAULT"),
    ),
    "vault gone": (uses(vault_ids=["vault_none"]), "vault_missing", "problem", "vault_none", "--vault VAULT"),
    "memory store archived": (
        archived("memory_stores", "resources", "memstore_it", name="it"),
        *("memory_store_archived", "problem", "memstore_it is archived", "export dep_it"),
    ),
    "file gone": (
        uses(resources=[{"type": "file", "file_id": "file_none"}]),
        *("file_missing", "problem", "file_none does not exist", "export dep_it"),
    ),
    "file expires": (expiring, "file_expires", "problem", "before the next run", "export dep_it"),
    "skill gone": (
        of_agent(skills=[{"type": "custom", "skill_id": "skill_none", "version": "3"}]),
        *("skill_missing", "problem", "skill_none version 3", "agent update agent_it --skill skill_none"),
    ),
    "agent behind": (behind, "agent_behind", "note", "the latest is 2", "--agent agent_it@2"),
    "no credential": (
        with_server(),
        *("credential_missing", "warning", f"no credential for {URL}", f"vault put vault_1 docs --mcp {URL}"),
    ),
    "a credential for nearly that URL": (
        with_server(NEAR),
        *("credential_missing", "problem", f"one is for {URL}/", "vault put vault_1 docs"),
    ),
    "a credential that has ended": (
        with_server(OVER),
        *("credential_invalid", "problem", "has expired", "vault put vault_1 docs"),
    ),
    "MCP server not reached": (
        narrow(BEARER),
        *(
            "mcp_egress",
            "problem",
            "does not reach mcp.example.com",
            "env update env_narrow --allow-host mcp.example.com",
        ),
    ),
    "will ask": (of_agent(tools=ASKS), "will_ask", "warning", "Bash", "agent update agent_it --ask none"),
    "no tools": (of_agent(tools=[]), "no_tools", "note", "has no tools", "agent update agent_it --tools all"),
    "only reads": (of_agent(tools=READS), "no_output_tool", "note", "final message", "--tools all"),
    "no budget": (uses(budget=None), "no_budget", "note", "any amount", "--budget CREDITS"),
    "never fires": (
        uses(schedule={**DAILY, "expression": "0 0 30 2 *"}),
        *("never_fires", "problem", "does not fire within four years", "--schedule CRON"),
    ),
    "fires too often": (too_often, "too_often", "warning", "fires 5m 00s after the fire before", "--schedule CRON"),
    "no worker": (no_worker, "self_hosted_no_worker", "problem", "1 work items wait", "env work list env_own"),
    "failing": (failing, "failing", "problem", "its last 3 runs failed (retries_exhausted)", "run logs drun_"),
}


@pytest.mark.parametrize(("case", "generation"), checkerboard(WRONG, GENERATIONS))
@pytest.mark.few(8)
def test_deploy_check_names_what_is_wrong_with_a_command_that_mends_it(
    qoder: Qoder, case: str, generation: Any
) -> None:
    make, finding, weight, says, fix = WRONG[case]
    place = Place(qoder, generation)
    make(place)
    [found] = place.found()
    assert (found["deployment_id"], found["finding"], found["weight"]) == ("dep_it", finding, weight)
    assert says in found["says"]
    assert fix in shlex.join(found["fix"])
    ended = qoder("deploy", "check", "--exit-status")
    assert ended.code == (8 if weight == "problem" else 0)


def test_deploy_check_finds_nothing_where_nothing_is_wrong(qoder: Qoder) -> None:
    place = Place(qoder)
    place.deployment("manual", schedule=None)
    place.deployment("often", schedule={**DAILY, "expression": "*/15 * * * *", "timezone": "Europe/Berlin"})
    with_server(BEARER)(place)
    ran(place, "dep_manual", 2)
    checked = qoder("deploy", "check", "--exit-status")
    assert (checked.code, checked.out) == (0, "")
    assert "3 deployments checked: nothing found" in checked.err


def test_deploy_check_of_an_account_without_deployments(qoder: Qoder) -> None:
    Place(qoder)
    checked = qoder("deploy", "check", "--exit-status", "--json")
    assert (checked.code, checked.json) == (0, [])


def test_deploy_check_tells_of_a_secret_that_can_be_sent_nowhere(qoder: Qoder) -> None:
    place = Place(qoder)
    place.keep("environments", id="env_narrow", name="narrow", config=LIMITED)
    place.deployment(environment_id="env_narrow", vault_ids=place.vault(ONLY_GITHUB))
    [found] = place.found()
    assert (found["finding"], found["weight"]) == ("hosts", "warning")
    assert "GITHUB_TOKEN is only sent to api.github.com" in found["says"]


TURNS = {
    ("30 2 * * *", "Europe/Berlin"): ["does not fire on 2027-03-28", "may fire twice on 2027-10-31"],
    ("30 2 28 10 *", "Europe/Berlin"): [],
    ("0 * * * *", "Europe/Berlin"): [],
    ("30 2 * * *", "UTC"): [],
    ("15 2 * * *", "Australia/Lord_Howe"): ["does not fire on 2027-10-03"],
    ("45 1 * * *", "Australia/Lord_Howe"): ["may fire twice on 2027-04-04"],
}


@pytest.mark.parametrize(("expression", "zone"), TURNS)
@pytest.mark.few(3)
def test_deploy_check_knows_when_clocks_change(qoder: Qoder, expression: str, zone: str) -> None:
    place = Place(qoder)
    place.deployment(schedule={"type": "cron", "expression": expression, "timezone": zone})
    says = [found["says"].partition(":")[0] for found in place.found() if found["finding"] == "dst"]
    assert says == TURNS[expression, zone]


def test_deploy_check_says_of_a_schedule_that_nobody_understands_that_it_cannot_tell(qoder: Qoder) -> None:
    raw = {"id": "dep_1", "name": "o", "budget": {}, "schedule": {**DAILY, "timezone": "Mars/Base"}, "status": "active"}
    qoder.wire.on("GET", "/deployments", page(raw)).on("GET", "/deployments/dep_1/runs", page())
    [found] = [each for each in qoder("deploy", "check", "--json").json if each["finding"] != "no_budget"]
    assert (found["finding"], found["weight"]) == ("schedule_unclear", "warning")
    assert "cannot tell when it fires: unknown time zone 'Mars/Base'" in found["says"]


FORBIDDEN = {
    "/environments/": "environment env_well",
    "/agents/": "agent agent_well",
    "/credentials": "the credentials of vault vault_1",
    "/runs": "how its last runs ended",
}


@pytest.mark.parametrize("part", FORBIDDEN)
def test_deploy_check_takes_nothing_for_well_that_it_could_not_read(qoder: Qoder, part: str) -> None:
    place = Place(qoder)
    place.deployment(vault_ids=place.vault())
    status, body = api_error(403, "permission_error", "No.")
    place.lie = lambda request: (
        httpx.Response(status, json=body) if part in f"{request.url.path}/" or request.url.path.endswith(part) else None
    )
    [found] = place.found()
    assert (found["finding"], found["weight"]) == ("unread", "warning")
    assert found["says"].startswith(FORBIDDEN[part])
    assert qoder("deploy", "check", "--exit-status").code == 7


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
    with_server(lasting, BEARER, archived)(place)  # of these, the first is tried
    place.lie = lambda request: (
        httpx.Response(code, json=answer) if request.url.path.endswith("/mcp_oauth_validate") else None
    )
    assert place.found() == []
    assert {seen.method for seen in place.world.requests} == {"GET"}
    [found] = place.found("--probe", "--workspace", "ws_1")
    assert (found["finding"], shlex.join(found["fix"])) == (finding, "qoder vault check vault_1 --workspace ws_1")


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
    assert shown[4:6] == ["5 deployments", "  · no budget: a run may cost any amount: d4, d3, d2, d1, d0"]
    assert qoder("deploy", "check", "-q").out.splitlines()[0] == "dep_broken"


def test_deploy_check_exits_5_for_a_name_that_nothing_has(qoder: Qoder) -> None:
    Place(qoder).deployment()
    assert qoder("deploy", "check", "nothing").code == 5


@pytest.mark.parametrize("of", ["", "deployments: [it]\n", "deployments: [dep_it]\n"])
@pytest.mark.parametrize(
    ("rule", "asks"), [("work: /\nallow: [{run: git status}]", False), ("allow: [{search: web}]", True)]
)
def test_deploy_check_warns_of_no_tool_that_a_policy_answers(
    qoder: Qoder, tmp_path: Path, rule: str, asks: bool, of: str
) -> None:
    place = Place(qoder, "current")
    of_agent(tools=ASKS)(place)
    (tmp_path / "policy.yaml").write_text(f"{of}{rule}\n")
    ran = qoder("deploy", "check", "--policy", str(tmp_path / "policy.yaml"), "--json")
    assert ("will_ask" in {each["finding"] for each in ran.json}) is asks
