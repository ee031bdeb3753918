"""`qoder agent create` and `update`, in the user's words: tools, servers, skills, and nobody's change overwritten."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from qoder_cli.base.errors import UsageError
from qoder_cli.nouns import agent as agents
from qoder_cli.nouns.edits.difference import missing
from qoder_cli.nouns.edits.forms import form_of
from qoder_cli.nouns.table import NOUNS
from tests.conftest import Qoder
from tests.support.desk import unmarked
from tests.support.things import Things, refusal

SERVED_BY = ("current",)
TOOLSET = {"type": "agent_toolset_20260401"}
ASKS = {"permission_policy": {"type": "always_ask"}}
DOCS = {"name": "docs", "type": "url", "url": "https://mcp.example.com/docs"}
DOCS_TOOLS = {"type": "mcp_toolset", "mcp_server_name": "docs"}
WRITER: dict[str, Any] = {
    "id": "agent_1",
    "type": "agent",
    "name": "helper",
    "model": "auto",
    "version": 3,
    "system": "Be brief.",
    "tools": [TOOLSET, {"type": "custom", "name": "page", "description": "Pages.", "input_schema": {"type": "object"}}],
    "mcp_servers": [],
    "skills": [],
    "metadata": {"team": "core", "qoder_key": "1"},
    "archived_at": None,
}
NEW, LONG = ("agent", "create", "--name", "new", "--model", "auto"), "docs" * 16
GONE = refusal(404, "not_found_error", "Gone.")
UPDATE = ("agent", "update", "helper")


@pytest.fixture
def service(service: Things) -> Things:
    service.keep("agents", WRITER)
    service.keep("skills", {"id": "skill_1", "type": "skill", "display_title": "notes", "source": "custom"})
    for version in "123":
        service.world.keep("skills.versions", "skill_1", at=0, version=version)
    for id, title, source in (("skill_2", "search", {"type": "qoder"}), ("skill_3", "plan", "qoder")):
        service.keep("skills", {"id": id, "type": "skill", "display_title": title, "source": source})
    return service


def sent(service: Things) -> dict[str, Any]:
    """Return the body of the only write, without our mark."""
    [body] = service.sent
    return unmarked(body)


def helper(service: Things) -> dict[str, Any]:
    """Return the agent that updates are about, as it is now."""
    return service.thing("agent_1")


@pytest.mark.parametrize(
    ("words", "fields"),
    [
        ((), {"tools": [TOOLSET]}),
        (("--tools", "none"), {"tools": []}),
        (("--tools", "Bash, Read,Bash"), {"tools": [TOOLSET | {"enabled_tools": ["Bash", "Read"]}]}),
        (("--ask", "Bash"), {"tools": [TOOLSET | {"configs": [{"name": "Bash", **ASKS}]}]}),
        (("--ask", "all"), {"tools": [TOOLSET | {"default_config": ASKS}]}),
        (
            ("--tools", "Bash", "--ask", "Bash"),
            {"tools": [TOOLSET | {"enabled_tools": ["Bash"], "configs": [{"name": "Bash", **ASKS}]}]},
        ),
        (("--tools", "none", "--mcp", f"docs={DOCS['url']}"), {"tools": [DOCS_TOOLS], "mcp_servers": [DOCS]}),
        (
            ("--tools", "none", "--skill", "notes@2", "--skill", "skill_2"),
            {
                "tools": [],
                "skills": [
                    {"type": "custom", "skill_id": "skill_1", "version": "2"},
                    {"type": "qoder", "skill_id": "skill_2"},
                ],
            },
        ),
    ],
    ids=" ".join,
)
def test_agent_create_sends_tools_and_skills(qoder: Qoder, service: Things, words: Any, fields: Any) -> None:
    ran = qoder(*NEW, *words, "--json")
    assert ran.code == 0
    assert sent(service) == {"name": "new", "model": "auto", **fields}
    assert ran.json["tools"] == fields["tools"]
    assert ("tools: all" in ran.err) is ("--tools" not in words)


def test_agent_create_takes_the_rest_from_a_file_and_options_win(qoder: Qoder, service: Things, tmp_path: Path) -> None:
    file, system = tmp_path / "agent.yaml", tmp_path / "system.md"
    file.write_text(
        "name: other\nmodel: {id: auto, effort: low}\nmetadata: {at: home}\nmcp_servers: " + json.dumps([DOCS])
    )
    system.write_text("Be kind.\n")
    words = ("agent", "create", "-f", str(file), "--name", "new", "--system", f"@{system}", "--metadata", "team=core")
    assert qoder(*words).code == 0
    assert service.thing(service.made)["model"] == {"id": "auto", "effort": "low"}
    assert sent(service) == {
        "name": "new",
        "model": {"id": "auto", "effort": "low"},
        "system": "Be kind.\n",
        "metadata": {"at": "home", "team": "core"},
        "mcp_servers": [DOCS],
        "tools": [TOOLSET, DOCS_TOOLS],
    }


def test_agent_gets_the_browser_toolset_with_the_header_that_it_needs(
    qoder: Qoder, service: Things, tmp_path: Path
) -> None:
    file = tmp_path / "agent.json"
    file.write_text(json.dumps({"tools": [TOOLSET, {"type": "browser_toolset_20260714"}]}))
    assert qoder(*NEW, "-f", str(file)).code == 0
    assert qoder("agent", "update", "writer", "-f", str(file)).code == 0
    assert (
        qoder("agent", "update", "writer", "--description", "Writes more.").code == 0
    )  # the tools are not written again
    betas = [request.headers.get("x-qoder-beta") for request in service.requests if request.method == "POST"]
    assert betas == ["browser-use-2026-07-14", "browser-use-2026-07-14", None]


def test_agent_create_warns_of_a_server_without_tools(qoder: Qoder, service: Things) -> None:
    more = {**DOCS, "name": "more"}
    qoder.stdin = json.dumps({"name": "new", "model": "auto", "tools": [DOCS_TOOLS], "mcp_servers": [DOCS, more]})
    ran = qoder("agent", "create", "-f", "-")
    assert ran.code == 0
    assert sent(service)["tools"] == [DOCS_TOOLS]
    assert "tools has no mcp_toolset for more: the agent cannot use them" in ran.err


@pytest.mark.parametrize(("name", "said"), [("docs", "the name docs"), ("${NAME}", "one name")])
def test_agent_create_refuses_two_servers_of_one_name(qoder: Qoder, service: Things, name: str, said: str) -> None:
    qoder.env["NAME"] = "docs"
    qoder.stdin = json.dumps({"name": "new", "model": "auto", "mcp_servers": [DOCS | {"name": name}] * 2})
    ran = qoder("agent", "create", "-f", "-", "--json")
    assert (ran.code, service.asked, f"mcp_servers: has two of {said}" in ran.error["message"]) == (2, [], True), (
        ran.err
    )


def test_agent_get_names_the_tools_or_says_that_there_are_none(qoder: Qoder, service: Things) -> None:
    service.keep("agents", {**WRITER, "id": "agent_2", "name": "idle", "tools": []})
    service.lies["GET /agents"] = lambda page: {**page, "data": page["data"] * 2}
    for name, tools in (("helper", "all, page"), ("idle", "none")):
        shown = qoder("agent", "get", name, "-o", "table").out
        assert "version 9 of agent agent_" in qoder("agent", "get", name, "--version", "9").err
        assert re.findall(r"^(?:tools|metadata)\s+(.+)$", shown, re.MULTILINE) == [tools, "team"]


def test_skill_delete_of_a_version_asks_about_that_version(qoder: Qoder, service: Things, questions: Any) -> None:
    asked = questions(False, True)
    assert (qoder("skill", "delete", "skill_1", "--version", "2").code, service.writes) == (2, [])
    assert qoder("skill", "delete", "skill_1", "skill_2", "--version", "2", "--yes").code == 2
    assert (qoder("skill", "delete", "skill_1").code, service.writes) == (0, ["DELETE /skills/skill_1"])
    assert re.findall(r"Delete (.*?)\?", " ".join(asked)) == ["version 2 of skill_1", "skill 'notes' (skill_1)"]


def test_agent_update_changes_only_what_is_typed(qoder: Qoder, service: Things) -> None:
    ran = qoder(*UPDATE, "--model", "ultimate", "--metadata", "at=home", "--remove-metadata", "team", "--json")
    assert ran.code == 0
    assert service.asked[:3] == ["GET /agents", "GET /agents/agent_1", "POST /agents/agent_1"]
    assert sent(service) == {"model": "ultimate", "version": 3, "metadata": {"at": "home", "team": None}}
    assert ran.json == {**helper(service), "version": 4}
    assert helper(service)["metadata"] == {"at": "home", "qoder_key": "1"}
    assert helper(service)["model"] == {"id": "ultimate"}
    assert '~ model: "auto" -> "ultimate"' in ran.err
    assert '- metadata.team: "core"' in ran.err


OLD_TOOLSET = {"type": "agent_toolset_20250101"}
LIMITED = OLD_TOOLSET | {"enabled_tools": ["Bash", "Read"], "disallowed_tools": ["Edit"]}
READ_ASKS, BASH_NOT = {"name": "Read", **ASKS}, {"name": "Bash", "enabled": False}
BASH_ALLOWED = {"name": "Bash", "permission_policy": {"type": "always_allow"}}


@pytest.mark.parametrize(
    ("toolset", "names", "asks", "becomes"),
    [
        (LIMITED | {"configs": [READ_ASKS, BASH_NOT]}, ("all",), (), OLD_TOOLSET | {"configs": [READ_ASKS]}),
        (LIMITED | {"configs": [READ_ASKS]}, ("Bash",), (), OLD_TOOLSET | {"enabled_tools": ["Bash"]}),
        (LIMITED, (), ("Read",), LIMITED | {"configs": [READ_ASKS]}),
        (LIMITED, (), ("Write",), "--ask: Write is not among the agent's tools (Bash, Read)"),
        (LIMITED | {"enabled_tools": []}, (), ("none",), LIMITED | {"enabled_tools": []}),
        (OLD_TOOLSET | {"default_config": ASKS}, ("all",), (), OLD_TOOLSET | {"default_config": ASKS}),
        (OLD_TOOLSET | {"configs": [BASH_ALLOWED]}, (), ("all",), OLD_TOOLSET | {"default_config": ASKS}),
        (OLD_TOOLSET | {"configs": [BASH_ALLOWED]}, (), ("Bash",), OLD_TOOLSET | {"configs": [BASH_ALLOWED | ASKS]}),
        ({}, ("all",), (), TOOLSET),
    ],
)
def test_agent_update_changes_a_toolset_as_far_as_it_is_typed(
    toolset: dict[str, Any], names: tuple[str, ...], asks: tuple[str, ...], becomes: Any
) -> None:
    try:
        found: Any = agents.with_tools([DOCS_TOOLS, toolset], names, asks)
    except UsageError as error:
        found = [DOCS_TOOLS, error.message]
    assert found == ([DOCS_TOOLS, becomes] if toolset else [becomes, DOCS_TOOLS])


def test_agent_update_knows_a_tool_in_other_letters(qoder: Qoder, service: Things) -> None:
    assert qoder(*UPDATE, "--tools", "Bash,web_fetch", "--ask", "bash,WebFetch").code == 0
    asks = [{"name": "bash", **ASKS}, {"name": "WebFetch", **ASKS}]
    assert helper(service)["tools"][0]["configs"] == asks
    assert qoder(*UPDATE, "--tools", "BASH", "--ask", "Bash").code == 0
    assert helper(service)["tools"][0] == TOOLSET | {"enabled_tools": ["BASH"], "configs": asks[:1]}


def test_agent_update_adds_servers_and_skills_and_replaces_those_of_one_name(qoder: Qoder, service: Things) -> None:
    assert qoder(*UPDATE, "--mcp", f"docs={DOCS['url']}", "--skill", "notes@2").code == 0
    assert (
        qoder(*UPDATE, "--mcp", "more=https://mcp.example.com/more", "--skill", "search", "--skill", "plan").code == 0
    )
    assert "already up to date" in qoder(*UPDATE, "--skill", "notes").err
    assert qoder(*UPDATE, "--mcp", "docs=https://mcp.example.com/new", "--skill", "notes@3").code == 0
    assert helper(service)["mcp_servers"] == [
        {**DOCS, "url": "https://mcp.example.com/new"},
        {"name": "more", "type": "url", "url": "https://mcp.example.com/more"},
    ]
    assert helper(service)["skills"] == [
        {"type": "custom", "skill_id": "skill_1", "version": "3"},
        *({"type": "qoder", "skill_id": id} for id in ("skill_2", "skill_3")),
    ]
    assert helper(service)["tools"].count(DOCS_TOOLS) == 1


def test_agent_update_keeps_what_was_set_for_the_same_model(qoder: Qoder, service: Things) -> None:
    helper(service)["model"] = {"id": "auto", "effort": "high"}
    assert "already up to date" in qoder(*UPDATE, "--model", "auto").err
    assert qoder(*UPDATE, "--model", "ultimate").code == 0
    assert list(missing(form_of(NOUNS["agent"]), {"model": "ultimate"}, helper(service))) == []


def test_agent_update_takes_back_what_get_shows_but_no_older_version(qoder: Qoder, service: Things) -> None:
    shown = qoder("agent", "get", "helper", "--json").json
    qoder.stdin = json.dumps(shown)
    assert "already up to date" in qoder(*UPDATE, "-f", "-").err
    qoder.stdin = json.dumps({**shown, "system": "Be long."})
    assert qoder(*UPDATE, "-f", "-").code == 0
    assert sent(service) == {"system": "Be long.", "version": 3}
    ran = qoder(*UPDATE, "-f", "-", "--json")
    assert ran.code == 6
    assert "has version 3" in ran.error["message"]
    assert len(service.sent) == 1


def test_agent_update_shows_what_a_colleague_changed_and_exits_6(qoder: Qoder, service: Things) -> None:
    service.meanwhile = [lambda: service.change("/agents/agent_1", {"system": "Be funny.", "tools": [TOOLSET]})]
    ran = qoder(*UPDATE, "--tools", "none", "--system", "Be long.", "--json")
    assert ran.code == 6
    assert "version 3 was read, 4 is there" in ran.error["message"]
    assert '~ system: "Be brief." -> "Be funny."' in ran.err
    again = ["qoder", "agent", "update", "agent_1", "--system", "Be long.", "--tools", "none", "-o", "json"]
    assert ran.error["next"] == again
    assert helper(service)["system"] == "Be funny."
    assert len(service.sent) == 1
    service.meanwhile = [lambda: service.change("/agents/agent_1", {"system": "Be kind."})]
    qoder.stdin = "Be long."
    ran = qoder(*UPDATE, "--system", "-", "--json")  # a text that no command repeats
    assert (ran.code, ran.error["next"], len(service.sent)) == (6, None, 2)


def test_agent_update_warns_of_what_the_server_stored_otherwise(qoder: Qoder, service: Things) -> None:
    service.defaults = lambda raw: raw.update(system=raw["system"].upper())
    ran = qoder(*UPDATE, "--system", "Be long.")
    assert ran.code == 0
    assert "the server does not show system as it was sent" in ran.err
    service.defaults = None
    service.lies["POST /agents/agent_1"] = lambda raw: {name: raw[name] for name in ("id", "version")}
    ran = qoder(*UPDATE, "--system", "Be kind.")
    assert (ran.code, "as it was sent" in ran.err) == (0, False)  # a short answer does not show it


def test_agent_update_tells_a_conflict_of_another_kind_as_it_is(qoder: Qoder, service: Things) -> None:
    service.instead["POST /agents/agent_1"] = [refusal(409, "conflict_error", "The name is taken.")] * 9
    ran = qoder(*UPDATE, "--name", "writer", "--json")
    assert ran.code == 6
    assert "The name is taken." in ran.error["message"]


@pytest.mark.parametrize("before", [None, "?"])
def test_agent_update_shows_no_secret_within_a_list_that_comes_whole(
    qoder: Qoder, service: Things, before: Any
) -> None:
    helper(service)["mcp_servers"] = before
    qoder.stdin = json.dumps({"mcp_servers": [DOCS | {"headers": {"X-Key": "hunter2"}, "authorization_token": "abc"}]})
    ran = qoder(*UPDATE, "-f", "-", "--dry-run")
    assert (ran.code, "hunter2" in ran.err, '"abc"' in ran.err) == (0, False, False)
    assert f'"url":"{DOCS["url"]}","headers":"[hidden]","authorization_token":"[hidden]"' in ran.err


LISTED = {"id": "agent_1", "type": "agent", "name": "helper"}
SILENT = [
    ("list", {"data": []}, "does not say whether it is complete"),
    ("list", {"data": [{**LISTED, "id": "env_1"}], "has_more": False}, "has something else in it"),
    ("list", {"data": [{**LISTED, "name": None}], "has_more": False}, "(agent_1)"),
    ("list", {"data": [{**LISTED, "id": "agent_404", "name": None}], "has_more": False}, "agent_404 shows no name"),
    ("agent", {"id": "agent_1", "type": "agent"}, "(agent_1)"),
]


@pytest.mark.parametrize(("which", "answer", "said"), SILENT, ids=[said for *_, said in SILENT])
def test_agent_create_does_not_take_silence_for_a_free_name(
    qoder: Qoder, service: Things, which: str, answer: Any, said: str
) -> None:
    service.lies["GET /agents" if which == "list" else "GET /agents/agent_1"] = lambda told: answer
    ran = qoder("agent", "create", "--name", "helper", "--model", "auto", "--json")
    assert (ran.code, service.writes, said in ran.error["message"]) == (6 if "(" in said else 7, [], True)
    assert "--allow-duplicate" in ran.error["hint"]


def test_agent_create_asks_of_a_name_who_has_it_now(qoder: Qoder, service: Things) -> None:
    spaced = ("agent", "create", "--name", " helper ", "--model", "auto")
    for asked, kept in (("", {"data": [], "has_more": False}), ("/agent_1", {**WRITER, "name": "other"})):
        by_a_proxy = httpx.Response(200, json=kept, headers={"age": "600"})
        service.instead = {f"GET /agents{asked}": [by_a_proxy] * 5}
        assert (qoder(*spaced).code, service.writes) == (7, [])
    service.instead.clear()
    assert [qoder(*each).code for each in (("agent", "get", "agent_1"), spaced)] == [0, 6]
    service.instead["GET /agents/agent_1"] = [GONE]
    assert (qoder(*spaced).code, service.writes) == (6, [])  # the list shows it
    service.lies["GET /agents/agent_1"] = lambda raw: {**raw, "archived_at": "2026-01-01T00:00:00Z"}
    assert (qoder(*spaced).code, service.writes) == (0, ["POST /agents"])


def test_agent_create_remembers_a_name_that_no_list_has_yet_however_it_is_spelled(
    qoder: Qoder, service: Things
) -> None:
    service.lies["GET /agents"] = lambda page: {**page, "data": []}
    words = ("agent", "create", "--name", "two\u2028lines", "--model", "auto")
    assert [qoder(*words).code, qoder(*words).code] == [0, 6]
    service.instead[f"GET /agents/{service.made}"] = [GONE]
    assert [qoder(*words).code, qoder(*NEW).code] == [0, 0]
    assert service.asked[-2:] == ["GET /agents", "POST /agents"]  # nothing of another name is asked for


@pytest.mark.parametrize(("rows_without_names", "code"), [(0, 7), (10, 6), (11, 7)])
def test_agent_create_leaves_a_name_seen_here_that_it_could_not_ask_for(
    qoder: Qoder, service: Things, rows_without_names: int, code: int
) -> None:
    service.lies["GET /agents"] = lambda page: {**page, "data": []}
    assert qoder(*NEW).code == 0
    if not rows_without_names:
        service.instead[f"GET /agents/{service.made}"] = [httpx.Response(404, html="<h1>A proxy's</h1>")]
    else:
        ids = [f"agent_{n}" for n in range(2, 2 + rows_without_names)]
        others = [service.keep("agents", WRITER | {"id": id, "name": f"other-{id}"}) for id in ids]
        service.lies["GET /agents"] = lambda page: {**page, "data": [{"id": each["id"]} for each in others]}
    ran = qoder(*NEW)
    assert (ran.code, len(service.writes)) == (code, 1)


def test_agent_update_removes_servers_with_their_tools_and_skills(qoder: Qoder, service: Things) -> None:
    skills = (word for name in ("notes@2", "search") for word in ("--skill", name))
    assert qoder(*UPDATE, "--mcp", f"docs={DOCS['url']}", *skills).code == 0
    helper(service)["skills"].append({"type": "qoder", "skill_id": "pdf"})
    before = {**helper(service)}
    gone = [word for each in ("notes", "skill_2", "pdf") for word in ("--remove-skill", each)]
    more = ("--mcp", f"more={DOCS['url']}", "--skill", "plan")
    assert qoder(*UPDATE, "--remove-mcp", "docs", *gone, *more).code == 0
    after = helper(service)
    servers = [each for each in before["mcp_servers"] if each["name"] != "docs"]
    assert after["mcp_servers"] == [*servers, {**DOCS, "name": "more"}]
    tools = [each for each in before["tools"] if each != DOCS_TOOLS]
    assert after["tools"] == [*tools, {**DOCS_TOOLS, "mcp_server_name": "more"}]
    assert after["skills"] == [{"type": "qoder", "skill_id": "skill_3"}]
    assert not any("include_archived" in each.url.params for each in service.requests if "skills" in each.url.path)
    assert "already up to date" in qoder(*UPDATE, "--remove-mcp", "docs").err


def pinned(service: Things, version: int, **fields: Any) -> str:
    """Add a deployment of the agent, at a version."""
    agent = {"id": helper(service)["id"], "type": "agent", "version": version}
    return service.world.add_deployment(name=f"job-{version}", agent=agent, **fields).id


def test_agent_update_says_which_deployments_stay_behind_and_what_moves_them(qoder: Qoder, service: Things) -> None:
    one, two, _ = (pinned(service, version) for version in (3, 1, 4))
    id = helper(service)["id"]
    of_another = {"id": "dep_9", "type": "deployment", "agent": {"id": "agent_9"}}
    rows = [of_another, {**of_another, "agent": {"id": id}, "archived_at": "2026-06-14T08:54:06Z"}]
    service.lies["GET /deployments"] = lambda page: {**page, "has_more": True, "data": page["data"] + rows}
    ran = qoder(*UPDATE, "--description", "New.")
    assert f"not at version 4 yet, because they pin another: job-1 ({two}), job-3 ({one})\n" in ran.err
    for each in (one, two):
        assert f"qoder deploy update {each} --agent {id}" in ran.err
    assert ran.err.endswith(f"only 5 of its deployments were looked at; qoder deploy list --agent {id}\n")
    assert service.asked[-1] == "GET /deployments"


def test_agent_update_does_not_fail_where_deployments_cannot_be_read(qoder: Qoder, service: Things) -> None:
    service.instead["GET /deployments"] = [refusal(503, "api_error", "Overloaded.")]
    ran = qoder(*UPDATE, "--description", "New.")
    assert ran.code == 0
    assert "could not tell which deployments stay at an older version" in ran.err
    assert service.asked.count("GET /deployments") == 1
