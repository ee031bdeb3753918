"""Drift: what somebody else set is shown; and mended, or kept where the file leaves it out, as `qoder apply` says."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from qoder_cli.base.marks import without_ours
from qoder_cli.nouns.table import NOUNS, operation
from tests.support.stacks import NINE, TOOLSET, skill
from tests.support.team import DOCS, EXAMPLE, URL, Team
from tests.support.things import Lie, Raw, each_row, without

pytestmark = pytest.mark.usefixtures("plain_http")


PLAIN: dict[str, tuple[str, Raw]] = {
    "environment": ("environments", {"name": "x"}),
    "memory_store": ("memory_stores", {"name": "x"}),
    "agent": ("agents", {"name": "x", "model": "auto"}),
    "deployment": ("deployments", {"name": "x", "agent": "writer", "environment": "default", "message": "Hi."}),
}
EVENTS = [{"type": "user.message", "content": [{"type": "text", "text": "Theirs."}]}]
SETTABLE: dict[str, dict[str, tuple[Any, Any]]] = {  # of each field, what the file and what somebody else says
    "environment": {
        "description": ("Ours", "Theirs"),
        "config": ({"type": "cloud", "networking": {"type": "unrestricted"}}, {"type": "cloud", "setup_script": "x"}),
        "scope": ("account", "organization"),
        "metadata": ({"a": "1"}, {"a": "2"}),
    },
    "memory_store": {"description": ("Ours", "Theirs"), "metadata": ({"a": "1"}, {"a": "2"})},
    "agent": {
        "description": ("Ours", "Theirs"),
        "system": ("Ours", "Theirs"),
        "model": ("auto", "ultimate"),
        "tools": ([TOOLSET], [{**TOOLSET, "enabled_tools": ["Read"]}]),
        "mcp_servers": (
            [{"type": "url", "name": "docs", "url": URL}],
            [{"type": "url", "name": "docs", "url": "https://theirs.example/mcp"}],
        ),
        "skills": (
            [{"type": "custom", "skill_id": "skill_release_notes", "version": "1"}],
            [{"type": "custom", "skill_id": "skill_release_notes", "version": "2"}],
        ),
        "multiagent": (
            {"type": "coordinator", "agents": [{"type": "agent", "id": "agent_writer", "version": 1}]},
            {"type": "coordinator", "agents": [{"type": "agent", "id": "agent_writer", "version": 2}]},
        ),
        "metadata": ({"a": "1"}, {"a": "2"}),
    },
    "deployment": {
        "description": ("Ours", "Theirs"),
        "schedule": (NINE, NINE | {"type": "cron", "expression": "0 8 * * *"}),
        "budget": ({"max_credit_cost": "1.00"}, {"type": "limit", "max_credit_cost": "2.00"}),
        "environment_variables": ("A=1", "A=2"),
        "vault_ids": (["vault_team"], []),
        "resources": (
            [{"type": "file", "file_id": "file_notes", "mount_path": "/mnt/a"}],
            [{"type": "file", "file_id": "file_notes", "mount_path": "/mnt/b"}],
        ),
        "initial_events": (None, EVENTS),
        "agent": ("writer@2", {"type": "agent", "id": "agent_writer", "version": 1}),
        "environment_id": (None, "env_workers"),
        "metadata": ({"a": "1"}, {"a": "2"}),
    },
}
# An environment of one's own hosts takes no files and no variables.
APART = "environment_id"


@pytest.mark.parametrize(("kind", "apart"), [*((kind, False) for kind in SETTABLE), ("deployment", True)])
@pytest.mark.few(2)
def test_apply_shows_and_mends_what_somebody_else_set_and_keeps_what_no_file_says(
    team: Team, kind: str, apart: bool
) -> None:
    """In the order: in the file and changed; not in it and set; once in it, not any more, and unchanged since."""
    list, plain = PLAIN[kind]
    said = {name: both for name, both in SETTABLE[kind].items() if (name == APART) == apart}
    if team.service.world.generation == "legacy":
        said.pop("environment_variables", None)  # an older server does not show them
    path, theirs = f"{list}/x.yaml", {name: their for name, (_, their) in said.items()}
    ours = {name: our for name, (our, _) in said.items() if our is not None}
    # What the file does not say stays as somebody else sets it.
    team.write({"qoder.yaml": "stack: s", path: plain})
    team.applied()
    id = str(team.there(list)["x"]["id"])
    if unsaid := {name: theirs[name] for name in ours if name not in plain}:
        team.service.change(f"/{list}/{id}", unsaid)
        team.rests()
    # What it says is shown, and mended.
    team.write({path: plain | ours})
    team.applied()
    before = {name: team.service.thing(id)[name] for name in said}
    team.service.change(f"/{list}/{id}", theirs)
    ran = team.plan()
    assert (ran.code, [name for name in said if not re.search(rf"\b{name}\b", ran.out)]) == (8, []), ran.out
    assert "was changed outside of this folder" in ran.out
    team.applied()
    assert {name: team.service.thing(id)[name] for name in said} == before
    team.rests()
    # What leaves the file is cleared.
    cleared = [name for name in ours if name not in (*plain, "model", "scope", "agent", "config")]
    team.write({path: plain | {name: our for name, our in ours.items() if name not in cleared}})
    team.applied()
    left = team.service.thing(id)
    assert [name for name in cleared if (without_ours(left[name]) if name == "metadata" else left[name])] == []


def test_apply_knows_every_field_that_can_be_set() -> None:
    for kind, (list, _) in PLAIN.items():
        noun = next(noun for noun in NOUNS.values() if noun.operations == list)
        updated = operation(noun, "update")
        assert updated
        assert {*SETTABLE[kind], "name", "version"} >= {*updated.body}, kind


# What has no field to be set: contents, secrets, and what is gone.

Deed = Callable[[Team], None]
HOSTS = {"type": "limited", "allowed_hosts": ["a.example.com"]}
KEY = {
    "display_name": "key",
    "auth": {"type": "environment_variable", "secret_name": "KEY", "secret_value": "${TOKEN}", "networking": HOSTS},
}
WHOLE = EXAMPLE | {"vaults/mcp.yaml": {"display_name": "mcp", "credentials": [DOCS, KEY]}}
ELSEWHERE = {"type": "environment_variable", "networking": {"type": "unrestricted"}}


THERE = {"environments": "build", "memory_stores": "notes", "skills": "house-style", "agents": "reporter"}
THERE |= {"vaults": "mcp", "deployments": "nightly", "files": "glossary.csv"}


def somebody(line: str, **body: Any) -> Deed:
    """Return what sends a request about things of the folder: each is named by its list, or as its holder knows it."""
    method, path = line.split()

    def do(team: Team) -> None:
        ids = {list: team.there(list)[name]["id"] for list, name in THERE.items()}
        keys = team.there(f"vaults/{ids['vaults']}/credentials")
        [entry] = team.service.world.alive(f"memory_stores/{ids['memory_stores']}/memories")
        ids |= {"entry": entry.id, **{name: held["id"] for name, held in keys.items()}}
        team.service.change(path.format(**ids), body, method=method)

    return do


def a_newer_skill(team: Team) -> None:
    team.upload("house-style", "Long sentences.")


OF_VAULT = {"vault": "created", "credential": "created", "deployment": "changed"}
OF_SKILL = {"agent": "changed", "deployment": "changed"}
OF_STORE = {"memory_store": "created", "memory": "created", "deployment": "changed"}
SENT_ELSEWHERE = somebody("POST /vaults/{vaults}/credentials/{key}", auth=ELSEWHERE)
MENDED: dict[str, tuple[Deed, dict[str, str]]] = {  # what somebody did; what becomes of which kinds
    "a skill has a newer version": (a_newer_skill, {"skill": "changed", **OF_SKILL}),
    "a secret goes elsewhere": (SENT_ELSEWHERE, {"credential": "changed"}),
    "a credential is archived": (
        somebody("POST /vaults/{vaults}/credentials/{key}/archive"),
        {"credential": "created"},
    ),
    "a credential is deleted": (somebody("DELETE /vaults/{vaults}/credentials/{key}"), {"credential": "created"}),
    "a vault is archived": (somebody("POST /vaults/{vaults}/archive"), OF_VAULT),
    "a vault is deleted": (somebody("DELETE /vaults/{vaults}"), OF_VAULT),
    "a file is deleted": (somebody("DELETE /files/{files}"), {"file": "created", "deployment": "changed"}),
    "a skill is deleted": (somebody("DELETE /skills/{skills}"), {"skill": "created", **OF_SKILL}),
    "a memory store is archived": (somebody("POST /memory_stores/{memory_stores}/archive"), OF_STORE),
    "an environment is archived": (
        somebody("POST /environments/{environments}/archive"),
        {"environment": "created", "deployment": "changed"},
    ),
    "an agent is archived": (
        somebody("POST /agents/{agents}/archive"),
        {"agent": "created", "deployment": "changed"},
    ),
    "a deployment is archived": (somebody("POST /deployments/{deployments}/archive"), {"deployment": "created"}),
    "a memory is deleted": (somebody("DELETE /memory_stores/{memory_stores}/memories/{entry}"), {"memory": "created"}),
}
KEPT: dict[str, Deed] = {
    "an agent wrote to a memory": somebody("POST /memory_stores/{memory_stores}/memories/{entry}", content="Theirs"),
    "a secret is replaced": somebody(
        "POST /vaults/{vaults}/credentials/{docs}", auth={"type": "static_bearer", "token": "theirs"}
    ),
    "a deployment is paused": somebody("POST /deployments/{deployments}/pause"),
}


@pytest.mark.parametrize("turn", range(8))
@pytest.mark.few(1)
def test_apply_shows_and_mends_what_somebody_did(team: Team, turn: int) -> None:
    team.write(WHOLE)
    team.applied()
    for did, (deed, expected) in [*MENDED.items()][turn::8]:
        deed(team)
        ran = team("diff", "--json")
        rows = {row["kind"]: row["action"].removeprefix("would_") for row in ran.json if row["action"] != "unchanged"}
        shown = {kind: action.removesuffix("d") for kind, action in expected.items()}
        assert (did, ran.code, rows) == (did, 8, shown), ran.err
        done = {row["kind"]: row["action"] for row in team.applied() if row["action"] != "unchanged"}
        assert (did, done) == (did, expected)
    team.rests()


def test_apply_shows_what_it_asks_about_and_replaces_nothing_written_since(team: Team, questions: Any) -> None:
    team.write(WHOLE)
    team.applied()
    team.edit("skills/house-style/SKILL.md", "house-style", "house-style\nlicense: MIT")
    team.edit("vaults/mcp.yaml", "a.example.com", "b.example.com")

    def meanwhile() -> None:
        a_newer_skill(team)
        SENT_ELSEWHERE(team)
        for path in ("/skills", f"/vaults/{team.there('vaults')['mcp']['id']}/credentials"):  # lists that lag
            team.service.lies[f"GET {path}"] = lambda page: {**page, "data": []}

    questions(meanwhile)
    ran = team("apply", "--only", "skill", "--only", "vault", "--no-progress")
    assert (ran.code, '"a.example.com"' in ran.err, len(team.writes)) == (6, True, 1)  # that of their skill


def test_apply_keeps_what_somebody_did_where_no_file_says_otherwise(team: Team) -> None:
    team.write(WHOLE)
    team.applied()
    for did, deed in KEPT.items():
        deed(team)
        assert (did, team("diff").code) == (did, 0)
    team.rests()


# A list that shows less than there is.

LISTS = ("agents", "deployments", "environments", "files", "memory_stores", "vaults")


@pytest.mark.parametrize(
    "hidden", ["metadata", "tools", "system", "version", "config", "initial_events", "resources", "description"]
)
def test_apply_rests_where_a_list_hides_a_field(team: Team, hidden: str) -> None:
    team.write()
    team.applied()
    team.service.lies |= {f"GET /{list}": without(hidden) for list in LISTS}
    assert team("diff").code == 0
    if hidden == "metadata":
        empty = each_row(lambda row: {**row, "metadata": {}})
        team.service.lies |= {f"GET /{list}": empty for list in LISTS}
    team.rests()


@pytest.mark.parametrize("stack", [{"stack": "s"}, {}], ids=["stack", "no stack"])
def test_apply_takes_tools_away_that_a_list_does_not_show(team: Team, stack: Raw) -> None:
    agent: Raw = {"name": "x", "model": "auto", "tools": []}
    team.write({"qoder.yaml": stack, "agents/x.yaml": agent})
    team.applied()
    team.service.change(f"/agents/{team.there('agents')['x']['id']}", {"tools": [TOOLSET]})
    team.service.lies["GET /agents"] = without("tools")
    assert team("diff").code == 8
    assert ([row["action"] for row in team.applied()], team.there("agents")["x"]["tools"]) == (["changed"], [])


def test_apply_clears_what_a_list_does_not_show(team: Team) -> None:
    team.write({"qoder.yaml": {"stack": "s"}, "agents/x.yaml": {"name": "x", "model": "auto", "description": "Old"}})
    team.applied()
    team.write({"agents/x.yaml": {"name": "x", "model": "auto"}})
    team.service.lies["GET /agents"] = without("description")
    assert ([row["action"] for row in team.applied()], team.there("agents")["x"]["description"]) == (["changed"], "")


HIDES_MARKS: list[Lie] = [lambda page: page, without("metadata"), each_row(lambda row: {**row, "metadata": {}})]


@pytest.mark.parametrize("shown", HIDES_MARKS, ids=["whole", "short", "empty"])
def test_apply_without_a_stack_changes_what_one_has_only_with_adopt_and_leaves_its_mark(team: Team, shown: Lie) -> None:
    team.write({"qoder.yaml": {"stack": "s"}, "agents/x.yaml": {"name": "x", "model": "auto", "system": "Ours"}})
    team.applied()
    team.write({"qoder.yaml": {}, "agents/x.yaml": {"name": "x", "model": "auto", "system": "Theirs"}})
    team.service.lies["GET /agents"] = shown
    for ran in (team("diff"), team.apply()):
        assert (ran.code, team.writes, "belongs to the stack s; nothing was changed" in ran.err) == (6, [], True)
    assert [row["action"] for row in team.applied("--adopt")] == ["changed"]
    assert team.there("agents")["x"]["metadata"]["qoder_stack"] == "s/agent/x"


@pytest.mark.parametrize("shown", [without("metadata"), each_row(lambda row: {**row, "metadata": {"a": "1"}})])
def test_apply_changes_what_is_its_own_though_a_list_hides_the_mark(team: Team, shown: Lie) -> None:
    vault = {"display_name": "v", "credentials": []}
    team.write({"qoder.yaml": {"stack": "s"}, "environments/x.yaml": {"name": "x", "metadata": {"a": "1"}}})
    team.write({"skills/mine/SKILL.md": skill("mine"), "vaults/v.yaml": vault})
    team.applied()
    team.write({"environments/x.yaml": {"name": "x", "description": "New", "metadata": {"a": "1"}}})
    team.write({"skills/mine/SKILL.md": skill("mine", "New."), "vaults/v.yaml": vault | {"credentials": [DOCS]}})
    team.service.lies |= {f"GET /{list}": shown for list in ("environments", "skills", "vaults")}
    done = {row["kind"]: row["action"] for row in team.applied()}
    assert done == {"environment": "changed", "skill": "changed", "vault": "unchanged", "credential": "created"}
    team.rests()


def test_diff_repins_where_a_list_shows_no_version(team: Team) -> None:
    lead = {"multiagent": {"type": "coordinator", "agents": ["writer"]}, "skills": ["release-notes"]}
    team.write({"agents/lead.yaml": {"name": "lead", "model": "auto", **lead}})
    team.applied()
    team.service.change("/agents/agent_writer", {"description": "Newer"})
    team.service.lies |= {"GET /agents": without("version"), "GET /skills": without("latest_version")}
    assert team("diff", "--repin").code == 8


def test_diff_finds_a_newer_version_of_a_skill_that_a_list_does_not_show(team: Team) -> None:
    team.write({"qoder.yaml": {"stack": "s"}, "skills/mine/SKILL.md": skill("mine")})
    team.applied()
    team.upload("mine", "Theirs.")
    team.service.lies["GET /skills"] = without("latest_version")
    assert team("diff").code == 8


@pytest.mark.parametrize("is_marked", [True, False])
def test_diff_compares_a_skill_by_its_mark_or_else_by_its_files(team: Team, is_marked: bool) -> None:
    team.write({"qoder.yaml": "stack: s", "skills/mine/SKILL.md": skill("mine")})
    team.applied()
    if not is_marked:
        del team.there("skills")["mine"]["metadata"]["qoder_sha256"]
    team.service.requests.clear()
    assert team("diff").code == 0
    id = team.there("skills")["mine"]["id"]
    assert any(id in asked for asked in team.service.asked) != is_marked


def hides(*names: str) -> Lie:
    """Return a list of credentials of which none shows its name, nor these fields of its `auth`."""
    return each_row(
        lambda row: {
            **row,
            "display_name": None,
            "auth": {key: row["auth"][key] for key in row["auth"] if key not in names},
        }
    )


@pytest.mark.parametrize("hidden", [("type",), ("mcp_server_url",), ("type", "mcp_server_url")], ids="+".join)
def test_apply_adds_no_second_credential_where_a_list_hides_what_they_are_for(
    team: Team, hidden: tuple[str, ...]
) -> None:
    team.write()
    team.applied()
    path = f"/vaults/{team.there('vaults')['mcp']['id']}/credentials"
    team.service.lies[f"GET {path}"] = hides(*hidden)
    team.rests()
    id = next(iter(team.service.world.things[path[1:]]))
    team.service.lies[f"GET {path}/{id}"] = lambda raw: {**raw, "auth": {}, "display_name": None}
    assert (team.apply().code, team.writes) == (7, [])
