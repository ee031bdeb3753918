"""`qoder export`: what is on the server as files, of which `qoder apply` says that nothing differs."""

import os
from fractions import Fraction
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qoder_cli.sandbox.world import World
from tests.conftest import TOKEN, Qoder, Ran, examples
from tests.support.inprocess import WorldTransport
from tests.support.things import Things, refusal, without

SERVED_BY = ("current",)
TOOLSET = [{"type": "agent_toolset_20260401"}]
CLOUD = {"type": "cloud", "networking": {"type": "unrestricted"}}
FIRST = {"type": "agent", "id": "agent_0", "version": 1}
WRITER = {"id": "agent_writer", "type": "agent", "version": 3}
VARIABLES = {"LOG_LEVEL": "${x}", "A": "1", "B": "2"}
SECRETS = {"GITHUB_TOKEN": "t-1", "DOCS_TOKEN": "t-2"}

ODD = (
    *("---", "\n", "---\n", "${HOME}", "$${", "${", "type: vault", "no", "null", "1e3", ": ", " #", "- ", "\t", "|"),
    *("CON", "nul.md", "../", "/", "\\", ".", " ", "x", "X", "é", "e\u0301", "\r\n", "\x07", "\u2028", "\ufeff"),
)
# What YAML, front matter, file systems and variables each take for something else.
HOSTILE = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
    st.lists(st.sampled_from(ODD), min_size=1, max_size=6).map("".join),
)
NAME = HOSTILE.filter(lambda name: name.strip() != "" and len(name) <= 64)


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def texts(folder: Path) -> dict[str, str]:
    return {path: content.decode() for path, content in tree(folder).items()}


def actions(ran: Ran) -> dict[str, str]:
    return {f"{each['kind']} {each['name']}": each["action"] for each in ran.json}


def emptied(world: World) -> World:
    """Take everything that files can declare out of a world."""
    kinds = ("deployments", "agents", "environments", "vaults", "skills", "memory_stores")
    for path, kept in world.things.items():
        if path.partition("/")[0] in kinds:
            kept.clear()
    return world


def led_to(qoder: Qoder, world: World) -> World:
    qoder.transport = WorldTransport(world, sleep=qoder.clock.sleep)
    qoder.clock.patience = 0.05
    return world


def a_world(qoder: Qoder, seed: int = 7) -> World:
    return World(clock=qoder.clock.now, token=TOKEN, seed=seed)


def unchanged(qoder: Qoder, *folder: str) -> None:
    """Check that nothing is to be done for the files of a folder."""
    ran = qoder("diff", *folder, "--verbose", "--json")
    assert (ran.code, {each["action"] for each in ran.json}) == (0, {"unchanged"}), ran.err


def test_export_of_everything_says_the_same_on_an_empty_server(qoder: Qoder, home: Path) -> None:
    led_to(qoder, a_world(qoder))
    first, shown = qoder("export", "--all", "-O", "first", "--json"), qoder("env", "get", "default", "--json").json
    assert (first.code, set(actions(first).values())) == (0, {"written"})
    qoder.env |= SECRETS
    unchanged(qoder, "first")
    (home / "first/deployments/nostart.md").unlink()  # its environment is archived
    led_to(qoder, emptied(a_world(qoder, seed=8)))
    assert qoder("apply", "first", "--yes").code == 0
    assert qoder("env", "get", "default", "--json").json["config"] == shown["config"]
    assert qoder("export", "--all", "-O", "second").code == 0
    assert texts(home / "second") == texts(home / "first")
    again = qoder("export", "--all", "-O", "second", "--json")
    assert (again.code, set(actions(again).values())) == (0, {"unchanged"})


LABELS = st.dictionaries(st.text("abcXYZ_", min_size=1, max_size=8), HOSTILE, max_size=2)


@st.composite
def stacks(draw: st.DrawFn) -> dict[str, Any]:
    """Draw an environment, a store, agents that use each other, a deployment of them: texts are whatever they are."""
    names = draw(st.lists(NAME, min_size=4, max_size=4, unique=True))
    script = draw(HOSTILE)
    agents = [
        {"name": name, "system": draw(HOSTILE | st.just("")), "description": draw(HOSTILE), "tools": TOOLSET}
        for name in names[:2]
    ]
    return {
        "agents": [{"model": {"id": "auto"}, "metadata": draw(LABELS), **each} for each in agents],
        "environment": {"name": names[2], "description": draw(HOSTILE), "config": {**CLOUD, "setup_script": script}},
        "store": {"name": names[3], "description": draw(HOSTILE), "metadata": draw(LABELS)},
        "entries": draw(st.dictionaries(NAME | st.sampled_from(["a.md", "b/c.md", "A.md"]), HOSTILE, max_size=4)),
        "message": draw(HOSTILE),
        "variables": draw(st.sampled_from(["", "LOG_LEVEL=${x}", "A=1\nB=2"])),
        "paused": draw(st.booleans()),
    }


def built(world: World, drawn: dict[str, Any]) -> None:
    """Put what was drawn into an empty world."""
    at = world.now() - 86400
    for n, agent in enumerate(drawn["agents"]):
        more: dict[str, Any] = {"multiagent": {"type": "coordinator", "agents": [FIRST]}}
        for kind, held_by in (("agents.versions", f"agent_{n}"), ("agents", "")):
            world.keep(kind, held_by, at=at, id=f"agent_{n}", version=1, **agent, **(more if n else {}))
    world.keep("environments", at=at, id="env_0", **drawn["environment"])
    world.keep("memory_stores", at=at, id="memstore_0", **drawn["store"])
    for n, (path, content) in enumerate(drawn["entries"].items()):
        size, digest = len(content.encode()), sha256(content.encode()).hexdigest()
        more = {"content_sha256": digest, "content_size_bytes": size, "memory_store_id": "memstore_0"}
        world.keep("memory_stores.memories", "memstore_0", at=at, id=f"mem_{n}", path=path, content=content, **more)
    world.add_deployment(
        id="dep_0",
        at=at,
        name="deployment",
        agent={"id": "agent_1", "type": "agent", "version": 1},
        environment_id="env_0",
        environment_variables=drawn["variables"],
        initial_events=[{"type": "user.message", "content": [{"type": "text", "text": drawn["message"]}]}],
        resources=[{"type": "memory_store", "memory_store_id": "memstore_0", "access": "read_write"}],
        status="paused" if drawn["paused"] else "active",
        paused_reason={"type": "manual"} if drawn["paused"] else None,
    )


@examples(Fraction(1, 15))
@given(drawn=stacks())
def test_export_carries_whatever_names_and_texts_there_are(
    qoder: Qoder, tmp_path_factory: pytest.TempPathFactory, drawn: dict[str, Any]
) -> None:
    folder = tmp_path_factory.mktemp("export")
    built(led_to(qoder, emptied(a_world(qoder))), drawn)
    first, second = folder / "first", folder / "second"
    assert qoder("export", "--all", "-O", str(first)).code == 0
    qoder.env |= VARIABLES
    unchanged(qoder, str(first))
    led_to(qoder, emptied(a_world(qoder, seed=8)))
    applied = qoder("apply", str(first), "--yes")
    assert applied.code == 0, applied.err
    qoder.env = {name: value for name, value in qoder.env.items() if name not in VARIABLES}
    assert qoder("export", "--all", "-O", str(second)).code == 0
    assert texts(second) == texts(first)
    for path in tree(first):
        assert "qoder_" not in path
        assert not any(part.startswith(".") or part.rstrip(". ") != part for part in path.split("/"))
    assert len({path.casefold() for path in tree(first)}) == len(tree(first))


def agent(service: Things, id: str, name: str, *, version: int = 1, **more: Any) -> None:
    """Put an agent there with all its versions."""
    at = service.world.now() - 3600
    fields = {"name": name, "model": {"id": "auto"}, "tools": TOOLSET, **more}
    for number in range(1, version + 1):
        service.world.keep("agents.versions", id, at=at, id=id, version=number, **fields)
    service.world.keep("agents", at=at, id=id, version=version, **fields)


def deployment(service: Things, id: str = "dep_1", **more: Any) -> None:
    message = {"type": "user.message", "content": [{"type": "text", "text": "Report."}]}
    fields = {"name": "weekly", "agent": {"id": "agent_1", "type": "agent", "version": 1}, "initial_events": [message]}
    service.world.add_deployment(id=id, at=service.world.now() - 3600, **{**fields, **more})


def vault(service: Things, **credentials: dict[str, Any]) -> None:
    """Put a vault `other` there with these credentials, by their ids."""
    at = service.world.now() - 3600
    service.world.keep("vaults", at=at, id="vault_2", display_name="other")
    for id, fields in credentials.items():
        service.world.keep("vaults.credentials", "vault_2", at=at, id=id, vault_id="vault_2", **fields)


def front(folder: Path, path: str) -> list[str]:
    """Return the lines of a file that are no comments."""
    return [line for line in (folder / path).read_text().splitlines() if line and not line.startswith("#")]


def test_export_names_what_is_exported_by_path_all_else_by_name_and_keeps_pins(
    qoder: Qoder, service: Things, home: Path
) -> None:
    agent(service, "agent_1", "reporter", version=3)
    deployment(service, vault_ids=["vault_team"])
    assert qoder("export", "weekly", "agent_1", "-O", "both").code == 0
    assert front(home, "both/deployments/weekly.md") == [
        *("---", "name: weekly", "agent:", "  path: ../agents/reporter.md", "  version: 1"),
        *("environment: default", "vaults:", "  - team-secrets", "---", "Report."),
    ]
    unchanged(qoder, "both")
    deployment(service, "dep_2", name="newest", agent={"id": "agent_1", "type": "agent", "version": 3})
    assert qoder("export", "dep_1", "dep_2", "-O", "alone").code == 0
    assert front(home, "alone/deployments/newest.md")[2] == "agent: reporter"
    assert front(home, "alone/deployments/weekly.md")[2:5] == ["agent:", "  name: reporter", "  version: 1"]
    unchanged(qoder, "alone")


def test_export_tells_things_of_one_name_apart_by_their_ids(qoder: Qoder, service: Things, home: Path) -> None:
    for id in ("agent_1", "agent_2"):
        agent(service, id, "reporter", description=id)
    agent(service, "agent_3", "Reporter")
    deployment(service)
    assert qoder("export", "agent_1", "agent_2", "agent_3", "weekly").code == 0
    assert sorted(os.listdir(home / "agents")) == ["Reporter.md", "reporter-2.md", "reporter-3.md"]
    assert front(home, "agents/reporter-3.md")[1:3] == ["id: agent_2", "name: reporter"]
    assert front(home, "deployments/weekly.md")[3:5] == ["  id: agent_1", "  version: 1"]
    unchanged(qoder)


@pytest.mark.parametrize("name", ["qoder", "README"])
def test_export_calls_no_file_what_apply_passes_over(qoder: Qoder, service: Things, home: Path, name: str) -> None:
    service.change("/environments", {"name": name})
    assert qoder("export", name, "-O", ".").code == 0
    unchanged(qoder)


def test_export_uses_ids_where_agents_use_each_other_in_a_circle(qoder: Qoder, service: Things, home: Path) -> None:
    for id, other in (("agent_1", "agent_2"), ("agent_2", "agent_1")):
        roster = {"type": "coordinator", "agents": [{"type": "agent", "id": other, "version": 1}]}
        agent(service, id, f"of-{id}", multiagent=roster)
    assert qoder("export", "agent_1", "agent_2").code == 0
    unchanged(qoder)


def test_export_keeps_what_differs_unless_forced(qoder: Qoder, service: Things, home: Path) -> None:
    names = ("writer", "release-notes", "project")
    qoder("export", *names)
    before = tree(home)
    (home / "agents/writer.md").write_text("mine")
    (home / "skills/release-notes/more.md").write_text("mine")
    (home / "memory_stores/project/conventions.md").unlink()
    ran = qoder("export", *names, "--json")
    assert (ran.code, actions(ran)) == (
        6,
        {"agent writer": "kept", "skill release-notes": "kept", "memory_store project": "written"},
    )
    assert "kept 2 existing files that differ: skills/release-notes/more.md, agents/writer.md" in ran.err
    assert (home / "agents/writer.md").read_text() == "mine"
    forced = qoder("export", *names, "--force", "--json")
    mine = {path: text for path, text in tree(home).items() if path not in before}
    assert (forced.code, tree(home)) == (6, before | mine)
    assert (mine, "kept 1 file that the server does not have" in forced.err) == (
        {"skills/release-notes/more.md": b"mine"},
        True,
    )
    assert actions(forced) == {
        "agent writer": "replaced",
        "skill release-notes": "replaced",
        "memory_store project": "unchanged",
    }
    (home / "memory_stores/project/people/on-call.md").write_text("mine")
    (new := home / "memory_stores/project/conventions.md").unlink()
    assert (actions(qoder("export", "project", "--json")), new.exists()) == ({"memory_store project": "kept"}, True)


def test_export_never_writes_outside_of_the_folder(qoder: Qoder, service: Things, home: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (home / "agents").symlink_to(outside)
    ran = qoder("export", "writer", "default")
    assert (ran.code, "outside of the folder" in ran.err, tree(outside), tree(home)) == (2, True, {}, {})
    (home / "agents").unlink()
    (home / "agents").write_text("mine")
    ran = qoder("export", "writer")
    assert (ran.code, "writer.md cannot be written: " in ran.err) == (2, True), ran.err
    (home / "agents").unlink()
    (home / "agents").mkdir()
    (outside / "mine.md").write_text("mine")
    (home / "agents/writer.md").symlink_to(outside / "mine.md")
    assert qoder("export", "writer").code == 6
    assert qoder("export", "writer", "--force").code == 0
    assert (outside / "mine.md").read_text() == "mine"


def test_export_writes_no_secret_and_names_the_variables_that_apply_needs(
    qoder: Qoder, service: Things, home: Path
) -> None:
    auth = {"type": "environment_variable", "secret_name": "GITHUB_TOKEN", "networking": {"type": "unrestricted"}}
    static = {"type": "static_bearer", "mcp_server_url": "https://mcp.example.com/mcp"}
    new = {"auth": {"type": "new"}, "display_name": "new"}
    vault(service, vcred_1={"auth": auth}, vcred_2={"auth": static, "display_name": "docs"}, vcred_3=new)
    deployment(service, agent=WRITER, environment_variables="API_KEY=hunter2\nA=1")
    ran = qoder("export", "other", "team-secrets", "weekly")
    wanted = ["GITHUB_TOKEN", "DOCS_TOKEN", "TEAM_SECRETS_GITHUB_TOKEN", "API_KEY", "A"]
    assert (ran.code, ran.err.splitlines()[-1].endswith(f"these variables: {', '.join(wanted)}")) == (0, True)
    assert "vault other: the credential new is of an unknown type; left out" in ran.err
    assert "hunter2" not in "".join(texts(home).values())
    refused, uncompared = qoder("apply", "--yes"), qoder("diff")
    assert (refused.code, "API_KEY is not set" in refused.err) == (2, True)
    assert (uncompared.code, uncompared.err.splitlines()[-1]) == (0, "6 unchanged, 5 not compared")
    qoder.env |= dict.fromkeys(wanted, "t-1") | {"API_KEY": "hunter2", "A": "1"}
    unchanged(qoder)


def test_export_shares_a_variable_only_where_all_agree(qoder: Qoder, service: Things, home: Path) -> None:
    deployment(service, agent=WRITER, environment_variables="A=1\nB=2\nC=3\nd-d=4\nQODER_E=5")
    deployment(service, "dep_2", name="2nd", agent=WRITER, environment_variables="A=1\nB=3\nsecret_2nd_b=6")
    qoder.env["C"] = "of this machine"
    ran = qoder("export", "weekly", "2nd")
    names = "A, SECRET_2ND_B_2, secret_2nd_b, WEEKLY_B, WEEKLY_C, WEEKLY_D_D, WEEKLY_QODER_E"
    assert (ran.code, ran.err.splitlines()[-1].endswith(f"these variables: {names}")) == (0, True), ran.err


def test_export_says_that_no_deployment_has_the_variable_that_is_to_be_plain(
    qoder: Qoder, service: Things, home: Path
) -> None:
    deployment(service, agent=WRITER, environment_variables="LEVEL=info")
    ran = qoder("export", "weekly", "--plain", "LEVLE")
    assert ran.code == 0
    assert "--plain: no exported deployment has the variable LEVLE" in ran.err


def test_export_puts_a_variable_where_apply_takes_no_token(qoder: Qoder, service: Things, home: Path) -> None:
    token, url = "ghp_Abcdefghij0123456789", "https://me:hunter2hunter2@mcp.example.com/mcp"
    deployment(service, agent=WRITER, metadata={"team": token, "plain": "x"}, description=f"see {token}")
    service.thing("agent_writer")["mcp_servers"] = [{"type": "url", "name": "docs", "url": url}]
    static = {"type": "static_bearer", "mcp_server_url": url}
    vault(service, vcred_2={"auth": static, "display_name": "docs"})
    ran = qoder("export", "weekly", "writer", "other")
    assert ran.code == 0, ran.err
    names = ["DOCS_TOKEN", "OTHER_MCP_SERVER_URL", "WRITER_URL", "WEEKLY_DESCRIPTION", "WEEKLY_TEAM"]
    assert ran.err.splitlines()[-1].endswith(f"these variables: {', '.join(names)}")
    assert "deployment weekly: metadata.team holds a token or a password" in ran.err
    written = "".join(texts(home).values())
    assert ("Abcdefghij" in written, "hunter2" in written) == (False, False)
    uncompared = qoder("diff")
    assert (uncompared.code, uncompared.err.splitlines()[-1]) == (0, "4 unchanged, 5 not compared")
    qoder.env |= {
        "DOCS_TOKEN": "t-1",
        "OTHER_MCP_SERVER_URL": url,
        "WEEKLY_TEAM": token,
        "WEEKLY_DESCRIPTION": f"see {token}",
        "WRITER_URL": url,
    }
    unchanged(qoder)
    qoder.env["WEEKLY_DESCRIPTION"] = f"see also {token}"
    refused = qoder("apply", "--yes")
    assert (refused.code, "weekly.md:2: description: is, or holds, a token" in refused.err) == (2, True), refused.err
    assert token not in refused.err
    qoder.env |= {"WEEKLY_DESCRIPTION": "see the vault", "WEEKLY_TEAM": "us"}
    assert qoder("apply", "--yes").code == 0
    assert service.thing("dep_1")["metadata"]["team"] == "us"


@pytest.mark.parametrize(
    ("paused", "why"),
    [({"type": "error", "error": {"type": "agent_archived_error"}}, "paused by an error"), (None, "does not say why")],
)
def test_export_says_what_no_file_can_carry(
    qoder: Qoder, service: Things, home: Path, paused: dict[str, Any] | None, why: str
) -> None:
    at = service.world.now() - 3600
    resource = {"type": "file", "file_id": "file_notes", "mount_path": "/mnt/notes.md"}
    deployment(
        service, agent=WRITER, environment_id="env_retired", resources=[resource], status="paused", paused_reason=paused
    )
    for n, path in enumerate((".hidden.md", "CON.md", "notes.txt", "a.md", "A.md", "a.md/b.md")):
        size = {"content_sha256": "0" * 64, "content_size_bytes": 1}
        service.world.keep(
            "memory_stores.memories", "memstore_project", at=at, id=f"mem_9{n}", path=path, content="x", **size
        )
    ran = qoder("export", "weekly", "project")
    assert (ran.code, ran.err.count("warning:")) == (0, 4)
    left_out = ".hidden.md, CON.md, a.md, a.md/b.md, notes.txt"
    for said in ("env_retired is archived", "uploaded files", why, left_out):
        assert said in ran.err
    assert "paused" not in "\n".join(front(home, "deployments/weekly.md"))
    unchanged(qoder)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "say what to export"),
        (["writer", "--all"], 2, "say what to export"),
        (["demo"], 2, "agent agent_1, deployment dep_demo"),  # a name that two kinds have
        (["writer", "nobody"], 5, "nothing is named 'nobody'"),
        (["writr"], 5, "did you mean 'writer'?"),
        (["drun_1"], 2, "is a run"),
        (["agent_nobody"], 5, "not"),
        (["env_retired"], 6, "is archived"),
        (["--stack", "no/name"], 2, "not the name of a stack"),
        (["--stack", "other"], 5, "nothing carries the mark"),
        ([""], 2, "is empty"),
    ],
)
def test_export_says_what_is_wrong_and_writes_nothing(
    qoder: Qoder, service: Things, home: Path, words: list[str], code: int, said: str
) -> None:
    agent(service, "agent_1", "demo")
    ran = qoder("export", *words)
    assert (ran.code, ran.out, said in ran.err, tree(home)) == (code, "", True, {}), ran.err
    assert {request.method for request in service.requests} <= {"GET"}


def test_export_leaves_out_a_skill_that_no_folder_can_hold(qoder: Qoder, service: Things, home: Path) -> None:
    *_, version = service.world.things["skills/skill_release_notes/versions"].values()
    version.fields["_files"] = {**version.fields["_files"], "aux.md": b"x"}
    ran = qoder("export", "release-notes", "writer", "--json")
    assert (ran.code, actions(ran)) == (6, {"agent writer": "written"})
    assert "not every system takes" in ran.err


def test_export_writes_what_a_list_does_not_show(qoder: Qoder, service: Things, tmp_path: Path) -> None:
    assert qoder("export", "--all", "-O", str(tmp_path / "whole")).code == 0
    for list, required in (("agents", "model"), ("deployments", "agent"), ("environments", "config")):
        service.lies[f"GET /{list}"] = without("system", "tools", "initial_events", "metadata", required)
    service.lies["GET /vaults/vault_team/credentials"] = without("auth", "display_name")
    service.lies["GET /memory_stores/memstore_project/memories"] = without("path")
    assert qoder("export", "--all", "-O", str(tmp_path / "hidden")).code == 0
    assert texts(tmp_path / "hidden") == texts(tmp_path / "whole")


def test_export_leaves_out_what_is_listed_and_gone(qoder: Qoder, service: Things, tmp_path: Path) -> None:
    service.instead["GET /agents/agent_reviewer"] = [refusal(404, "not_found_error", "No.")]
    ran = qoder("export", "--all", "-O", str(tmp_path))
    assert (ran.code, "agents/reviewer.md" in tree(tmp_path)) == (6, False)
    assert "error: 1 thing could not be exported" in ran.err


def test_export_of_a_stack_finds_what_a_list_hides_the_mark_of(qoder: Qoder, service: Things, tmp_path: Path) -> None:
    service.thing("agent_writer")["metadata"] = {"qoder_stack": "s/agent/writer"}
    service.lies["GET /agents"] = without("metadata")
    assert qoder("export", "--stack", "s", "-O", str(tmp_path)).code == 0
    assert set(tree(tmp_path)) == {"qoder.yaml", "agents/writer.md"}
