"""Coming to rest: after an apply `diff` finds nothing and a second apply writes nothing, whatever a server adds."""

import re
from collections.abc import Callable
from fractions import Fraction
from functools import cache, partial
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from qoder_cli.nouns.schema import json_schema
from qoder_cli.nouns.table import in_folders, of_file
from qoder_cli.sandbox.wire import Generation
from tests.conftest import Qoder, examples
from tests.support.bodies import bodies
from tests.support.team import Team
from tests.support.things import Raw, Things

pytestmark = pytest.mark.usefixtures("plain_http")

KINDS = ("environments", "memory_stores", "agents", "deployments", "vaults")
POLICY = {"type": "always_allow"}
WRITER = {"type": "agent", "id": "agent_writer"}
AGENTS = ["agent_writer", WRITER, {**WRITER, "version": 2}]
RELEASE_NOTES = {"type": "custom", "skill_id": "skill_release_notes"}
SKILLS = [RELEASE_NOTES, {**RELEASE_NOTES, "version": "1"}, {"type": "qoder", "skill_id": "pdf"}]
MANAGERS = ("apt", "cargo", "gem", "go", "npm", "pip")
TOOLS: list[Raw] = [
    {"type": "agent_toolset_20260401"},
    {"type": "agent_toolset_20260401", "default_config": {"permission_policy": {"type": "always_ask"}}},
    {"type": "agent_toolset_20260401", "configs": [{"name": "Bash", "enabled": False}]},
    {"type": "custom", "name": "look_up", "description": "Looks up", "input_schema": {"type": "object"}},
]
SERVERS: list[Raw] = [{"type": "url", "name": "docs", "url": "https://mcp.example.com/mcp"}]
RESOURCES: list[Raw] = [
    {"type": "file", "file_id": "file_notes"},
    {"type": "file", "file_id": "file_notes", "mount_path": "/mnt/a"},
    {"type": "memory_store", "memory_store_id": "memstore_project"},
    {"type": "memory_store", "memory_store_id": "memstore_project", "access": "read_only"},
    {"type": "github_repository", "url": "https://github.com/a/b", "authorization_token": "${TOKEN}"},
    {"type": "git_repository", "url": "https://git.example/a", "checkout": {"name": "main"}},
]
# What of a drawn body has to be there already.
KNOWN: dict[str, st.SearchStrategy[Any]] = {
    "model": st.sampled_from(["auto", "ultimate", {"id": "auto"}, {"id": "ultimate", "effort": "high"}]),
    "tools": st.lists(st.sampled_from(TOOLS), max_size=2, unique_by=lambda tool: tool["type"]),
    "mcp_servers": st.sampled_from([SERVERS, []]),
    "agent": st.sampled_from([*AGENTS, "writer", "writer@2", {"name": "writer", "version": 1}]),
    "skills": st.lists(st.sampled_from(SKILLS), max_size=2, unique_by=str),
    "multiagent": st.lists(st.sampled_from([*AGENTS, "writer", "writer@1"]), min_size=1, max_size=2, unique_by=str).map(
        lambda agents: {"type": "coordinator", "agents": agents}
    ),
    "environment": st.sampled_from(["default", "env_workers"]),
    "environment_id": st.sampled_from(["default", "env_019e0000000070008000000000000e27"]),
    "vaults": st.sampled_from([["vault_team"], ["team-secrets"], []]),
    "vault_ids": st.sampled_from([["vault_team"], []]),
    "resources": st.lists(st.sampled_from(RESOURCES), max_size=3, unique_by=str),
    "environment_variables": st.sampled_from([{"A": "1", "B": "${TOKEN}"}, "A=1;B=2", {}, ""]),
    "initial_events": st.just([{"type": "user.message", "content": "Hi."}]),
}
SHORTS = {"environment": "environment_id", "vaults": "vault_ids", "message": "initial_events"}
NEEDED: dict[str, Raw] = {"deploy": {"agent": "writer", "environment": "default", "message": "Hi."}}
SECRETS = ("token", "secret_value", "access_token", "refresh_token", "client_secret")


def hidden(value: Any) -> Any:
    """Return a value with a variable in place of each secret."""
    if isinstance(value, dict):
        return {key: "${TOKEN}" if key in SECRETS else hidden(item) for key, item in value.items()}
    return [hidden(item) for item in value] if isinstance(value, list) else value


@cache
def files_of(words: str) -> st.SearchStrategy[Raw]:
    return bodies(json_schema(of_file(in_folders()[words])))


@st.composite
def declared(draw: st.DrawFn, words: str) -> Raw:
    """Draw the fields of a file of a kind."""
    noun = in_folders()[words]
    fields: Raw = dict(draw(files_of(words)))
    for name in sorted(fields.keys() & KNOWN.keys()):  # draws what it drew before
        fields[name] = draw(KNOWN[name])
    for short, whole in SHORTS.items():
        if short in fields:
            fields.pop(whole, None)
    needed = NEEDED.get(noun.words, {})
    fields = {**{name: each for name, each in needed.items() if SHORTS.get(name) not in fields}, **fields}
    if draw(st.booleans()):
        fields.pop("paused", None)
    named: Raw = hidden(fields) | {noun.naming.named_by: "x"}
    return named


def adds(raw: Raw, newest: int = 3) -> None:
    """Add what a server adds to a thing: defaults spelled out, versions pinned, what it knows itself."""
    raw["served_by"] = {"region": "x"}  # that nobody knows
    for tool in raw.get("tools") or ():
        if str(tool.get("type")).startswith("agent_toolset"):
            tool.setdefault("configs", [])
            tool["default_config"] = {"enabled": True, "permission_policy": POLICY, **tool.get("default_config", {})}
    if isinstance(raw.get("model"), str):
        raw["model"] = {"id": raw["model"]}
    for used in raw.get("skills") or ():
        used.setdefault("version", "3")
    for at, agent in enumerate((raw.get("multiagent") or {}).get("agents", ())):
        pinned = agent if isinstance(agent, dict) else {"type": "agent", "id": agent}
        raw["multiagent"]["agents"][at] = {"version": newest, **pinned}
    if isinstance(config := raw.get("config"), dict) and config.get("type") == "cloud":
        network = {"type": "limited", "allow_mcp_servers": False, "allow_package_managers": False}
        config["networking"] = {**network, "allowed_hosts": [], **config.get("networking", {})}
        config["packages"] = {**{manager: [] for manager in MANAGERS}, **config.get("packages", {})}
    if isinstance(schedule := raw.get("schedule"), dict):
        schedule["upcoming_runs_at"] = ["2027-01-16T09:00:00Z"]
    if isinstance(auth := raw.get("auth"), dict):
        if auth["type"] == "mcp_oauth":
            auth["expires_at"] = "2027-01-15T09:00:00Z"
        if "networking" in auth:
            auth["networking"] = {"allowed_hosts": [], **auth["networking"]}


def apply(team: Team) -> None:
    """Apply what was drawn. The sandbox refuses more than this program knows to be wrong: that says nothing here."""
    ran = team.apply()
    assume("HTTP 400" not in ran.err and ran.code != 2)
    assume("this server keeps no environment_variables" not in ran.err)  # an older one
    assert ran.code == 0, ran.err


Begun = Callable[..., tuple[Team, Raw]]


@pytest.fixture
def begun(qoder: Qoder, served_by: Generation, tmp_path_factory: pytest.TempPathFactory) -> Begun:
    """Return what applies the drawn file of a kind, beside others, at a server that may add what servers add."""

    def begin(data: st.DataObject, words: str, others: Raw) -> tuple[Team, Raw]:
        qoder.clock.time += 60  # no list is waited for to show what was created at the server of the example before
        fields = data.draw(declared(words))
        team = Team(qoder, Things(qoder, served_by), tmp_path_factory.mktemp("drawn"))
        team.service.defaults = adds if data.draw(st.booleans()) else None
        team.write({**others, f"{words}/x.yaml": fields})
        apply(team)
        return team, fields

    return begin


STACK = {"qoder.yaml": "stack: s"}


@pytest.mark.parametrize("words", KINDS)
@examples(Fraction(1, 7))
@given(data=st.data())
def test_apply_comes_to_rest_with_every_field_and_where_some_left_a_file(
    begun: Begun, words: str, data: st.DataObject
) -> None:
    team, fields = begun(data, words, STACK if data.draw(st.booleans()) else {})
    ran = team("diff")
    assert ran.code == 0, ran.out + ran.err
    team.rests()
    named_by = in_folders()[words].naming.named_by
    needed = {named_by, "agent", "environment", "environment_id", "model", "message", "initial_events"}
    left = {name: value for name, value in fields.items() if name in needed or data.draw(st.booleans())}
    team.write({f"{words}/x.yaml": left})
    team.applied()
    team.rests()


@pytest.mark.parametrize("words", KINDS)
@examples(Fraction(1, 7))
@given(data=st.data())
def test_apply_prunes_what_it_made_whatever_a_server_adds(begun: Begun, words: str, data: st.DataObject) -> None:
    team, _ = begun(data, words, {**STACK, "environments/y.yaml": "name: y\n"})
    (team.folder / words / "x.yaml").unlink()
    ran = team.apply("--prune", "--prune-all", "--json")
    assert (ran.code, [row["action"] for row in ran.json]) == (0, ["unchanged", "archived"]), ran.err
    team.rests()


@pytest.mark.parametrize("words", KINDS)
@examples(Fraction(1, 7))
@given(data=st.data())
def test_export_of_a_stack_comes_to_rest(
    begun: Begun, qoder: Qoder, tmp_path_factory: pytest.TempPathFactory, words: str, data: st.DataObject
) -> None:
    team, fields = begun(data, words, STACK)
    before, team.folder = dict(qoder.env), tmp_path_factory.mktemp("again")
    ran = qoder("export", "--stack", "s", "-O", str(team.folder))
    assert ran.code == 0, ran.err
    b = before["TOKEN"] if isinstance(fields.get("environment_variables"), dict) else "2"
    qoder.env |= {"A": "1", "B": b, "X_A": "1", "X_B": b}
    qoder.env |= {name: "secret" for name in re.findall(r"\w+", ran.err) if name not in qoder.env}
    team.rests()
    qoder.env.clear()
    qoder.env |= before


@pytest.mark.parametrize("repin", [False, True])
def test_apply_keeps_the_pin_of_an_id_in_a_list_unless_told(team: Team, repin: bool) -> None:
    team.service.defaults = adds
    agent = {"name": "x", "model": "auto", "multiagent": {"type": "coordinator", "agents": ["agent_writer"]}}
    team.write({"qoder.yaml": "stack: s", "agents/x.yaml": agent})
    team.applied()
    team.service.change("/agents/agent_writer", {"description": "Newer"})
    newest = team.there("agents")["writer"]["version"]
    team.service.defaults = partial(adds, newest=newest)
    agent["multiagent"] = {"type": "coordinator", "agents": ["agent_writer", "agent_reviewer"]}
    team.write({"agents/x.yaml": agent})
    team.applied(*["--repin"] * repin)
    [writer, _] = team.there("agents")["x"]["multiagent"]["agents"]
    assert (writer["version"], newest) == (newest if repin else 3, 4)
    team.rests()


BEARER = {"type": "static_bearer", "token": "${TOKEN}", "mcp_server_url": "https://mcp.example.com/mcp"}


def with_roster(*agents: Any) -> Raw:
    """Return the file of an agent that leads others."""
    return {"agents/x.yaml": {"name": "x", "model": "auto", "multiagent": {"type": "coordinator", "agents": [*agents]}}}


@pytest.mark.parametrize(
    "files",
    [
        with_roster("writer@1", "writer"),
        with_roster("writer", "writer@1"),
        with_roster("agent_writer", {**WRITER, "version": 2}),
        with_roster({**WRITER, "version": 2}, "agent_writer"),
        with_roster("writer@1", "agent_writer"),
        {
            "vaults/x.yaml": {
                "display_name": "x",
                "credentials": [{"auth": BEARER}, {"auth": BEARER, "display_name": "y"}],
            }
        },
    ],
)
@pytest.mark.parametrize("defaults", [None, adds])
def test_apply_comes_to_rest_where_one_thing_is_named_twice(
    team: Team, files: Raw, defaults: Callable[[Raw], None] | None
) -> None:
    team.service.defaults = defaults
    team.write({"qoder.yaml": "stack: s", **files})
    team.applied()
    team.rests()
