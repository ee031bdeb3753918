"""`qoder apply` and `qoder diff`: a folder, in the user's words, on both generations of server."""

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from itertools import count, groupby
from pathlib import Path
from typing import Any

import httpx
import pytest

from qoder_cli.base.errors import Signalled
from qoder_cli.base.times import utc_text
from qoder_cli.nouns.edits import step
from qoder_cli.sandbox.scripts import Behaviour, Script, asking, call, idles, terminated, turn
from qoder_cli.stack.folder import find
from tests.conftest import Qoder
from tests.support import stacks
from tests.support.interrupting import interrupt
from tests.support.stacks import NINE, TOOLSET, skill
from tests.support.team import DOCS, EXAMPLE, REPORTER, THREE, URL, Team
from tests.support.things import Raw, each_row, refusal, without

pytestmark = pytest.mark.usefixtures("plain_http")

ORDER = ["environment", "file", "vault", "credential", "memory_store", "memory", "skill", "agent", "deployment"]


def actions(rows: list[Raw]) -> dict[str, str]:
    return {row["kind"]: row["action"] for row in rows}


# From the first to the second.


def test_apply_makes_a_folder_of_all_kinds_and_then_finds_nothing_to_do(team: Team) -> None:
    team.write()
    rows = team.applied()
    assert [row["kind"] for row in rows] == ORDER
    assert {row["action"] for row in rows} == {"created"}
    assert len(team.writes) == len(rows)
    nightly, reporter = team.there("deployments")["nightly"], team.there("agents")["reporter"]
    assert nightly["agent"] == {"id": reporter["id"], "type": "agent", "version": 1}
    assert nightly["environment_id"] == team.there("environments")["build"]["id"]
    assert nightly["vault_ids"] == [team.there("vaults")["mcp"]["id"]]
    file, store = team.there("files")["glossary.csv"], team.there("memory_stores")["notes"]
    assert [each.get("file_id") or each.get("memory_store_id") for each in nightly["resources"]] == [
        file["id"],
        store["id"],
    ]
    assert reporter["skills"][0]["skill_id"] == team.there("skills")["house-style"]["id"]
    assert reporter["metadata"]["qoder_stack"] == "nightly/agent/reporter"
    team.rests()
    assert team("diff").code == 0
    assert team.service.writes == []


NARROW = "its network is limited: without `networking` nothing outside can be reached"


def test_diff_prints_a_comment_for_a_merge_request_where_no_file_can_end_its_block(team: Team) -> None:
    team.write({"environments/build.yaml": "name: build\ndescription: before\n"})
    team.applied()
    team.write({"environments/build.yaml": 'name: build\ndescription: "```\\n# hello"\n'})
    team.write({"environments/new.yaml": "name: new\n"})
    ran = team("diff", "-o", "markdown")
    build = team.there("environments")["build"]
    title, _, fence, *lines, end = ran.out.splitlines()
    assert (ran.code, title, fence) == (8, "**qoder**: 1 to create, 1 to change", "````diff")
    assert (lines[0], end) == (f"~ change environment build ({build['id']})", "````")
    assert lines[-2:] == ["+ create environment new", f"    {NARROW}"]


def test_diff_exits_0_8_or_6_and_writes_nothing(team: Team) -> None:
    team.write()
    ran = team("diff")
    assert (ran.code, team.writes, ran.err.splitlines()[-1]) == (8, [], "9 to create")
    only = team("diff", "--only", "environments", "--only", "vault", "--json").json
    assert sorted(row["kind"] for row in only) == ["credential", "environment", "vault"]
    team.applied()
    team.edit("agents/reporter.md", "Writes reports", "Writes all reports")
    ran = team.plan()
    assert (ran.code, team.writes) == (8, [])
    assert '~ description: "Writes reports" -> "Writes all reports"' in ran.out
    team.there("agents")["reporter"]["metadata"]["qoder_stack"] = "other/agent/reporter"
    ran = team("diff", "--adopt")
    assert (ran.code, team.writes) == (6, [])
    assert "belongs to the stack other" in ran.err


# References and pins.


def test_apply_pins_an_agent_to_the_version_of_the_skill_that_it_made(team: Team) -> None:
    team.write()
    team.applied()
    team.edit("skills/house-style/SKILL.md", "Short", "Shorter")
    rows = team.applied()
    assert [row["kind"] for row in rows if row["action"] == "changed"] == ["skill", "agent", "deployment"]
    assert team.there("agents")["reporter"]["skills"][0]["version"] == "2"
    assert team.there("deployments")["nightly"]["agent"]["version"] == 2
    team.rests()


OUTSIDE = {"name": "weekly", "agent": "writer", "environment": "workers", "message": "Report."}


def test_apply_keeps_the_pin_of_an_agent_outside_unless_told_to_repin(team: Team) -> None:
    team.write({"qoder.yaml": "stack: s", "deployments/weekly.yaml": OUTSIDE})
    team.applied()
    assert team.there("deployments")["weekly"]["agent"]["version"] == 3
    team.service.change("/agents/agent_writer", {"description": "Newer"})
    team.rests()
    assert {row["action"] for row in team.applied("--repin")} == {"changed"}
    assert team.there("deployments")["weekly"]["agent"]["version"] == 4


def test_apply_never_takes_a_pin_back_to_an_older_version_that_a_stale_list_shows(team: Team) -> None:
    team.write(THREE)
    team.applied()
    team.edit("agents/reporter.md", "short reports", "long reports")
    team.applied()
    stale = each_row(lambda row: row | {"version": 1} if row["name"] == "reporter" else row)
    team.service.lies["GET /agents"] = stale
    rows = team.applied()
    assert (actions(rows)["deployment"], team.writes) == ("unchanged", [])


# What is cleared, and what is kept.


def test_apply_says_what_to_apply_too_where_a_path_leads_to_what_is_not_there_yet(team: Team) -> None:
    team.write(THREE)
    ran = team.qoder("apply", str(team.folder / "deployments"), "--yes")
    assert (ran.code, team.writes) == (2, [])
    assert "no agent is named 'reporter' on the server yet; apply " in ran.err
    assert "agents/reporter.md, too" in ran.err


def test_apply_keeps_what_left_the_file_and_was_changed_outside_since(team: Team) -> None:
    team.write(THREE)
    team.applied()
    team.service.change(f"/agents/{team.there('agents')['reporter']['id']}", {"description": "Theirs"})
    team.edit("agents/reporter.md", "description: Writes reports\n", "")
    ran = team("diff")
    assert "description is no longer in the file, but was changed outside since" in ran.err
    team.applied()
    assert team.there("agents")["reporter"]["description"] == "Theirs"
    team.edit("agents/reporter.md", "model: auto\n", "model: auto\ndescription: Theirs\n")
    noted = f"agent reporter ({team.there('agents')['reporter']['id']})\n    notes which fields the file sets"
    assert noted in team.plan().out


def test_apply_without_a_stack_clears_and_marks_nothing(team: Team) -> None:
    team.write({name: text for name, text in THREE.items() if name != "qoder.yaml"})
    team.applied()
    team.edit("agents/reporter.md", "description: Writes reports\n", "")
    team.rests()
    assert not {"qoder_stack", "qoder_applied"} & team.there("agents")["reporter"]["metadata"].keys()


def test_apply_clears_metadata_that_left_the_file(team: Team) -> None:
    agent = {"name": "a", "model": "auto", "tools": [TOOLSET], "metadata": {"ours": "1", "kept": "2"}}
    team.write({"qoder.yaml": "stack: s", "agents/a.yaml": agent})
    team.applied()
    team.write({"agents/a.yaml": agent | {"metadata": {"kept": "2"}}})
    team.applied()
    assert "ours" not in team.there("agents")["a"]["metadata"]
    team.rests()


@pytest.mark.parametrize(("keys", "is_marked"), [(13, True), (14, False)])
def test_apply_marks_what_has_room_for_three_more_keys(team: Team, keys: int, is_marked: bool) -> None:
    """An object takes 16: two marks of the stack, and one that settles a lost answer."""
    metadata = {f"key{number}": "x" for number in range(keys)}
    team.write({"qoder.yaml": "stack: s", "environments/build.yaml": {"name": "build", "metadata": metadata}})
    ran = team.apply()
    assert (ran.code, "has no room for the stack's marks" in ran.out + ran.err) == (0, not is_marked)
    assert ("qoder_stack" in team.there("environments")["build"]["metadata"]) == is_marked


# Whose it is.

BUILD = {"qoder.yaml": "stack: s", "environments/build.yaml": {"name": "build", "description": "Ours"}}


def test_apply_moves_what_another_stack_has_only_from_the_one_that_is_named(team: Team) -> None:
    team.write(BUILD | {"skills/mine/SKILL.md": skill("mine")})
    team.applied()
    team.write({"qoder.yaml": "stack: t"})
    refused = [team.apply(*words) for words in ((), ("--adopt",), ("--adopt-from", "u"))]
    assert [(ran.code, "belongs to the stack s; nothing was changed" in ran.err) for ran in refused] == [(6, True)] * 3
    ran = team.apply("--adopt-from", "s")
    assert (ran.code, "the API cannot change that of a skill" in ran.err, team.writes) == (6, True, [])
    removed(team, "skills/mine/SKILL.md")
    team.edit("environments/build.yaml", "Ours", "Moved")
    assert "moves from the stack s to this one" in team.plan("--adopt-from", "s").out
    [build] = team.applied("--adopt-from", "s")
    change = {"path": "metadata.qoder_stack", "before": "s/environment/build", "after": "t/environment/build"}
    assert (build["action"], build["changes"][1:]) == ("changed", [change])
    team.rests()


def test_apply_says_that_a_server_did_not_keep_its_marks(team: Team) -> None:
    team.write({"qoder.yaml": "stack: s", "agents/a.yaml": {"name": "a", "model": "auto"}})
    team.service.defaults = lambda raw: raw.update(metadata={})
    ran = team.apply()
    assert (ran.code, "the server stored something else: metadata.qoder_stack" in ran.err) == (6, True), ran.err


def test_apply_believes_no_mark_that_was_copied_from_another_thing(team: Team) -> None:
    mark = {"qoder_stack": "s/environment/other", "qoder_applied": "description=000000000000"}
    team.service.change("/environments", {"name": "build", "description": "Theirs", "metadata": mark})
    team.write(BUILD)
    ran = team.apply()
    assert (ran.code, team.writes) == (6, [])
    assert "was not made by the stack s" in ran.err


def test_apply_knows_its_own_among_things_of_one_name(team: Team) -> None:
    team.write(BUILD)
    team.applied()
    theirs = team.service.change("/environments", {"name": "build"})
    team.rests()
    team.write({"agents/build.yaml": {"name": "build", "model": "auto"}})
    assert actions(team.applied()) == {"environment": "unchanged", "agent": "created"}
    team.service.change(f"/environments/{theirs['id']}", {"metadata": {"qoder_stack": "s/environment/build"}})
    ran = team.apply()
    assert (ran.code, team.writes, "2 environments are named 'build'" in ran.err) == (2, [], True)


CLONE = {".git/config": '[remote "origin"]\n\turl = https://git.example/team/stack.git\n'}
WORKTREE = {".git": "gitdir: ../folder/.git/worktrees/theirs\n"}


@pytest.mark.parametrize(
    ("ours", "theirs", "stack", "is_told"),
    [
        (CLONE, CLONE, "s", False),
        (CLONE, WORKTREE, "s", False),
        (CLONE, {}, "s", True),
        ({}, {}, "s", True),
        (CLONE, {}, "t", False),
        (CLONE, CLONE, "t", False),
        ({"qoder.yaml": ""}, {}, "", False),
    ],
)
def test_apply_tells_of_another_folder_of_its_stack_that_is_no_clone_of_it(
    team: Team, ours: dict[str, Any], theirs: dict[str, Any], stack: str, is_told: bool
) -> None:
    other = team.folder.parent / "theirs"
    team.write(BUILD | ours)
    stacks.write(other, BUILD | theirs)
    assert team.qoder("apply", str(other), "--yes").code == 0
    stacks.write(other, {"qoder.yaml": f"stack: {stack}"})  # what it is by now
    assert (f"the stack s has another folder, {other}" in team.apply().err) == is_told
    assert "has another folder" not in team.apply().err  # its own


@pytest.mark.parametrize("theirs", [{"qoder.yaml": "stack: t"}, {}])
def test_apply_takes_no_folders_of_different_stacks(team: Team, theirs: dict[str, Any]) -> None:
    team.write(BUILD)
    stacks.write(team.folder.parent / "theirs", theirs | {"agents/a.yaml": {"name": "a", "model": "auto"}})
    ran = team("apply", str(team.folder.parent / "theirs"), "--yes")
    assert (ran.code, team.service.asked, "belong to different stacks" in ran.err) == (2, [], True)


def test_apply_puts_no_credential_into_a_vault_of_others_unless_it_adopts_it(team: Team) -> None:
    vault = {"id": "vault_team", "display_name": "team-secrets", "credentials": [DOCS]}
    team.write({"qoder.yaml": "stack: s", "vaults/v.yaml": vault})
    ran = team.apply()
    assert (ran.code, team.writes) == (6, [])
    assert "team-secrets (vault_team) exists, and was not made by the stack s" in ran.err
    assert "~ adopt vault team-secrets (vault_team)" in team.plan("--adopt").out
    assert actions(team.applied("--adopt")) == {"vault": "unchanged", "credential": "created"}
    team.rests()
    team.edit("vaults/v.yaml", URL, f"{URL}/2")
    team.service.thing("vault_team").update(archived_at="2026-06-14T08:00:00Z", metadata={})
    ran = team.apply()
    assert (ran.code, "error: vault vault_team was archived on 2026-06-14T08:00:00Z" in ran.err) == (6, True), ran.err


# What no file declares.


def removed(team: Team, *paths: str) -> None:
    for path in paths:
        (team.folder / path).unlink()


def two_envs(team: Team) -> None:
    team.write(BUILD | {f"environments/{n}.yaml": {"name": n} for n in ("one", "two", "three")})
    team.applied()


def undeclared(team: Team) -> None:
    """Let the environment `one` be there without a file."""
    two_envs(team)
    removed(team, "environments/one.yaml")


def test_apply_prunes_what_no_file_declares_and_nothing_else(team: Team) -> None:
    undeclared(team)
    team.rests()
    ran = team.plan("--prune")
    assert (ran.code, "archive environment one" in ran.out, team.writes) == (8, True, [])
    id = team.there("environments")["one"]["id"]
    rows = team.applied("--prune")
    assert [(row["action"], row["id"]) for row in rows][-1] == ("archived", id)
    assert team.writes == [f"POST /environments/{id}/archive"]
    assert {"build", "two", "three", "default", "workers"} <= team.there("environments").keys()


ONE = {"one.yaml": "type: environment\nname: one\n", "one.json": '{"type": "environment", "name": "one"}'}
ONE |= {"one.md": "---\ntype: environment\nname: one\n---\n", "agents/README.md": REPORTER}


@pytest.mark.parametrize("file", ONE)
@pytest.mark.few(2)
def test_apply_prunes_nothing_because_an_editor_saves_a_file_in_another_encoding(team: Team, file: str) -> None:
    skills = {"skills/house-style/SKILL.md": skill("house-style")}
    team.write({"qoder.yaml": "stack: nightly\n", "environments/build.yaml": {"name": "build"}, **skills})
    team.write({file: ONE[file]})
    assert len(team.applied()) == 3
    (team.folder / file).write_bytes(ONE[file].encode("utf-8-sig"))
    assert [row["action"] for row in team.applied("--prune")] == ["unchanged"] * 3
    (team.folder / file).write_bytes(ONE[file].encode("utf-16"))
    ran = team.apply("--prune")
    assert (ran.code, f"{file}:1: is UTF-16; save it as UTF-8" in ran.err, team.writes) == (2, True, [])


def test_apply_prunes_nothing_while_a_file_does_not_say_what_it_declares(team: Team) -> None:
    undeclared(team)
    team.write({"notes/maybe.yaml": "name: maybe\n"})
    ran = team.apply("--prune")
    assert (ran.code, team.writes) == (0, []), ran.err
    assert "maybe.yaml may declare it, and does not say what: add a type" in ran.err


MAY_DECLARE = {
    "md": ["---\ntitle: a\n---\nText\n", "---\n{title: a}\n---\n", "---\n[a]\n---\n"],
    "yaml": ["name: a\n", "display_name: a\n"],
    "json": ['{"name": "a"}', '{"display_name": "a"}'],
}
DECLARES_NOTHING = {
    "md": ["name: a\n", ""],
    "yaml": ["title: a\n", "[name]"],
    "json": ['{"title": "name"}', '["name"]'],
}


def test_apply_skips_what_looks_as_if_it_declared_something(tmp_path: Path) -> None:
    may = {f"{n}.{suffix}": text for suffix, texts in MAY_DECLARE.items() for n, text in enumerate(texts)}
    stacks.write(tmp_path, may)
    stacks.write(
        tmp_path, {f"no{n}.{suffix}": text for suffix, all in DECLARES_NOTHING.items() for n, text in enumerate(all)}
    )
    assert sorted(map(os.path.basename, find([str(tmp_path)]).skipped)) == sorted(may)


def test_apply_prunes_only_with_a_stack_and_the_whole_folder(team: Team, qoder: Qoder) -> None:
    two_envs(team)
    part = str(team.folder / "environments")
    ran = qoder("apply", part, "--yes", "--prune")
    assert (ran.code, "--prune needs the whole folder" in ran.err) == (2, True)
    for words in (("--prune", "--only", "env"), ("--prune-all",)):
        assert (team.apply(*words).code, team.writes) == (2, [])
    (team.folder / "qoder.yaml").write_text("")
    ran = team.apply("--prune")
    assert (ran.code, "--prune needs a stack" in ran.err, team.writes) == (2, True, [])


def test_apply_prunes_more_than_half_of_a_stack_only_when_told_so_twice(team: Team) -> None:
    two_envs(team)
    removed(team, *(f"environments/{name}.yaml" for name in ("one", "two", "three")))
    ran = team.apply("--prune")
    assert (ran.code, "would remove 3 of the 4 things" in ran.err, team.writes) == (6, True, [])
    team.applied("--prune", "--prune-all")
    assert len(team.writes) == 3


def undeclared_three(team: Team) -> None:
    """Let an environment, an agent and a deployment that uses both be there without files, beside three with."""
    old = {"environments/old.yaml": {"name": "old"}, "agents/old.yaml": {"name": "old", "model": "auto"}}
    old["deployments/old.yaml"] = {"name": "old", "agent": "old", "environment": "old", "message": "Hi."}
    team.write(THREE | old)
    team.applied()
    removed(team, *old)


def test_apply_prunes_users_before_what_they_use_and_keeps_what_others_use(team: Team) -> None:
    undeclared_three(team)
    theirs = {"name": "theirs", "agent": "agent_writer", "initial_events": [_event("Hi.")]}
    theirs["environment_id"] = team.there("environments")["old"]["id"]
    made = team.service.change("/deployments", theirs)
    ran = team.apply("--prune")
    assert ran.code == 0
    assert "environment old" in ran.err
    assert "is kept: deployment theirs uses it" in ran.err
    assert [each.split("/")[1] for each in team.writes] == ["deployments", "agents"]
    quiet = team.apply("--prune", "--no-progress")
    assert (quiet.code, quiet.err.startswith("warning: environment old (")) == (0, True)
    team.service.change(f"/deployments/{made['id']}/archive", {})
    team.applied("--prune")
    assert [each.split("/")[1] for each in team.writes] == ["environments"]


def test_apply_prunes_nothing_that_a_kept_thing_uses(team: Team) -> None:
    undeclared_three(team)
    team.service.change(f"/deployments/{team.there('deployments')['old']['id']}", {"description": "Theirs"})
    ran = team.apply("--prune", "--prune-all")
    assert (ran.code, team.writes) == (0, []), ran.err
    assert ran.err.count("is kept: deployment old uses it") == 2


def _event(text: str) -> Raw:
    return {"type": "user.message", "content": [{"type": "text", "text": text}]}


def test_apply_prunes_no_skill_that_an_agent_of_the_folder_goes_on_using(team: Team) -> None:
    """The agent's file says nothing of skills: what it has stays, whatever else changes."""
    agent = {"name": "a", "model": "auto", "tools": [TOOLSET], "system": "Be brief."}
    team.write({"qoder.yaml": "stack: s", "agents/a.yaml": agent, "skills/old/SKILL.md": skill("old"), **BUILD})
    team.applied()
    used = [{"type": "custom", "skill_id": team.there("skills")["old"]["id"]}]
    team.service.change(f"/agents/{team.there('agents')['a']['id']}", {"skills": used})
    removed(team, "skills/old/SKILL.md")
    (team.folder / "skills/old").rmdir()
    team.write({"agents/a.yaml": agent | {"system": "Be long."}})
    ran = team.apply("--prune")
    assert (ran.code, "is kept: agent a uses it" in ran.err) == (0, True)
    assert "old" in team.there("skills")


def test_apply_deletes_no_skill_that_was_renamed_and_nothing_that_a_kept_agent_uses(team: Team) -> None:
    """Both happen between the plan and the pruning."""
    used = {"name": "b", "model": "auto", "tools": [TOOLSET], "skills": ["../skills/used"]}
    skills = {f"skills/{name}/SKILL.md": skill(name) for name in ("other", "used")}
    team.write({"qoder.yaml": "stack: s", "agents/b.yaml": used, **skills, **BUILD})
    team.applied()
    team.write(BUILD | {"environments/build.yaml": {"name": "build", "description": "New"}})
    removed(team, "agents/b.yaml", *skills)

    def meet() -> None:
        team.there("skills")["other"].update(display_title="renamed")
        team.there("agents")["b"]["metadata"].pop("qoder_stack")

    team.service.meanwhile = [meet]
    ran = team.apply("--prune", "--prune-all")
    assert (ran.code, team.there("skills").keys() >= {"renamed", "used"}) == (6, True), ran.err
    assert "skill used" in ran.err
    assert "is kept: agent b uses it" in ran.err


LIES: dict[str, Callable[[Raw], Raw]] = {
    "not said to be whole": lambda page: {**page, "has_more": None, "next_page": None},
    "something else in it": lambda page: {**page, "data": [*page["data"], {"id": "x_1", "type": "other"}]},
}


@pytest.mark.parametrize("lie", LIES)
def test_apply_prunes_nothing_by_a_list_that_is_told_badly(team: Team, lie: str) -> None:
    undeclared(team)
    started(team, "one")
    for kind in ("environments", "agents", "skills", "deployments", "sessions"):
        team.service.lies = {f"GET /{kind}": LIES[lie]}
        ran = team.apply("--prune")
        assert (ran.code, team.writes) == (7, []), (kind, ran.err)


DAY = 86_400.0
SESSIONS: dict[str, tuple[Script, float, str]] = {  # what it does, how long ago it began, why it keeps what it uses
    "running": (turn(seconds=30 * DAY), 3 * DAY, "is running and uses it"),
    "rescheduling": (turn(seconds=30 * DAY), 3 * DAY, "is rescheduling and uses it"),
    "asking": (asking(call("git push"), seconds=2), 3 * DAY, "waits for an answer and uses it"),
    "recent": (turn(seconds=3), DAY / 2, "was active in the last 24 hours and uses it"),
    "undated": (turn(seconds=3), 3 * DAY, "was active in the last 24 hours and uses it"),
    "unclear": (idles(3, {"stop_reason": 7}), 3 * DAY, "waits for an answer and uses it"),
    "idle": (turn(seconds=3), 3 * DAY, ""),
    "terminated": (terminated(seconds=3), DAY / 2, ""),
}


def started(team: Team, environment: str, state: str = "running") -> str:
    """Have a session in an environment; return its id."""
    script, age, _ = SESSIONS[state]
    world, agent = team.service.world, {"id": "agent_writer", "type": "agent", "version": 1}
    used = team.there("environments")[environment]["id"]
    session = world.add_session(
        at=world.now() - age,
        behaviour=Behaviour(script),
        agent=agent,
        environment_id=used,
        initial_events=[_event("Hi.")],
    )
    told = {"rescheduling": {"status": state}, "undated": {"updated_at": None}}.get(state, {})
    team.service.lies[f"GET /sessions/{session.id}"] = lambda row: row | told
    team.service.lies["GET /sessions"] = each_row(lambda row: row | told)
    return session.id


@pytest.mark.parametrize("is_short", [False, True])
@pytest.mark.parametrize("state", SESSIONS)
def test_apply_prunes_nothing_that_a_session_may_go_on_using(team: Team, state: str, is_short: bool) -> None:
    undeclared(team)
    id, why = started(team, "one", state), SESSIONS[state][2]
    if is_short:  # a list that does not show what they use: each is read
        told = team.service.lies.get("GET /sessions", lambda page: page)
        short = each_row(lambda row: {name: value for name, value in row.items() if name != "environment_id"})
        team.service.lies["GET /sessions"] = lambda page: short(told(page))
    ran = team.apply("--prune")
    asked = [request.url.params for request in team.service.requests if request.url.path.endswith("/sessions")]
    assert {tuple(params.get_list("statuses[]")) for params in asked} == {("running", "rescheduling", "idle")}
    assert (ran.code, "one" in team.there("environments")) == (0, bool(why)), ran.err
    assert (f"session {id} {why}" if why else "applying: 1 to archive") in ran.err
    assert ("1 idle session used environment one" in ran.err) == (state == "idle")


AUTH = {"type": "static_bearer", "token": "t", "mcp_server_url": "https://x.example/mcp"}
# What somebody did to a thing of a list: what they sent below its path; and why it is kept.
SINCE: dict[str, tuple[str, str, Raw, str]] = {
    "a field is changed": ("environments", "", {"description": "Theirs"}, "changed outside since: description"),
    "a field is set": ("agents", "", {"system": "Theirs"}, "changed outside since: system"),
    "a label is added": ("environments", "", {"metadata": {"team": "core"}}, "changed outside since: metadata"),
    "it is marked by hand": (
        *("environments", "", {"metadata": {"qoder_applied": None}}),
        "its mark does not say what was applied",
    ),
    "a version is added": ("skills", "/versions", {}, "its version 2 is not what was uploaded first"),
    "a credential is added": (
        *("vaults", "/credentials", {"display_name": "theirs", "auth": AUTH}),
        "it holds the credential theirs, which no apply wrote",
    ),
    "an entry is added": (
        *("memory_stores", "/memories", {"path": "theirs.md", "content": "Theirs."}),
        "it holds the memory theirs.md, which no apply wrote",
    ),
    "an entry is changed": (
        *("memory_stores", "/memories/{entry}", {"content": "Theirs."}),
        "it holds the memory a.md, which no apply wrote",
    ),
    "nothing": ("", "", {}, ""),
}


@pytest.mark.parametrize("deed", SINCE)
def test_apply_prunes_only_what_still_is_as_it_was_applied(team: Team, deed: str) -> None:
    files: dict[str, Any] = {
        "environments/old.yaml": {"name": "old", "description": "Ours"},
        "agents/old.yaml": {"name": "old", "model": "auto", "tools": [TOOLSET], "skills": ["../skills/old"]},
        "vaults/old.yaml": {"display_name": "old", "credentials": [DOCS]},
        "memory_stores/old.yaml": {"name": "old"},
        "memory_stores/old/a.md": "Ours.",
        "skills/old/SKILL.md": skill("old"),
    }
    team.write(BUILD | files)
    team.applied()
    shutil.rmtree(team.folder)
    team.write(BUILD)
    kind, below, body, why = SINCE[deed]
    for path, held in (("vaults", "credentials"), ("memory_stores", "memories")):
        team.service.lies[f"GET /{path}/{team.there(path)['old']['id']}/{held}"] = without("metadata")
    if below == "/versions":
        team.upload("old", "Long sentences.")
    elif kind:
        [entry] = team.service.world.alive(f"memory_stores/{team.there('memory_stores')['old']['id']}/memories")
        team.service.change(f"/{kind}/{team.there(kind)['old']['id']}{below.format(entry=entry.id)}", body)
    ran = team.apply("--prune", "--prune-all")
    left = [
        kind for kind in ("environments", "agents", "vaults", "memory_stores", "skills") if "old" in team.there(kind)
    ]
    kept = {"": [], "agents": ["agents", "skills"]}.get(kind, [kind])  # what is kept keeps what it uses
    assert (ran.code, left) == (0, kept), ran.err
    assert f"is kept: {why}" in ran.err or not why


THEIRS = {"name": "theirs", "agent": "agent_writer", "initial_events": [_event("Hi.")]}
SHORT = ("id", "type", "name", "status", "metadata")


def test_apply_prunes_nothing_of_which_a_short_list_does_not_show_that_it_is_used(team: Team) -> None:
    undeclared(team)
    one = team.there("environments")["one"]["id"]
    team.service.change("/deployments", THEIRS | {"environment_id": one})
    team.service.lies["GET /deployments"] = each_row(lambda row: {name: row[name] for name in SHORT})
    ran = team.apply("--prune")
    assert (ran.code, team.writes) == (0, []), ran.err
    assert "environment one" in ran.err
    assert "is kept: deployment theirs uses it" in ran.err


@pytest.mark.parametrize("hidden", [["skills"], ["multiagent"]])
def test_apply_prunes_nothing_that_an_agent_uses_in_a_field_its_list_does_not_show(
    team: Team, hidden: list[str]
) -> None:
    skills = {"skills/old/SKILL.md": skill("old"), "agents/old.yaml": {"name": "old", "model": "auto"}}
    team.write({"qoder.yaml": "stack: nightly\n", "environments/build.yaml": {"name": "build"}, **skills})
    team.applied()
    removed(team, *skills)
    used: dict[str, Any] = {"skills": [{"type": "custom", "skill_id": team.there("skills")["old"]["id"]}]}
    used["multiagent"] = {"type": "coordinator", "agents": [{"type": "agent", "id": team.there("agents")["old"]["id"]}]}
    team.service.change("/agents", {"name": "theirs", "model": "auto", **{name: used[name] for name in hidden}})
    team.service.lies["GET /agents"] = without(*hidden)
    ran = team.apply("--prune", "--prune-all")
    assert ran.err.count("is kept: agent theirs uses it") == 1, ran.err


def test_apply_prunes_nothing_that_the_list_right_before_does_not_show(team: Team) -> None:
    undeclared(team)
    one = team.there("environments")["one"]["id"]
    team.edit("environments/build.yaml", "Ours", "Ours now")
    team.service.meanwhile = [lambda: team.service.change("/deployments", THEIRS | {"environment_id": one})]
    pages = count()
    team.service.lies["GET /environments"] = lambda page: {
        **page,
        "data": [row for row in page["data"] if row["id"] != one or next(pages) == 0],
    }
    ran = team.apply("--prune")
    assert (ran.code, f"POST /environments/{one}/archive" in team.writes) == (6, False), ran.err
    assert "is kept: the list does not show it any more" in ran.err


def test_apply_does_not_say_that_nothing_was_sent_where_a_list_is_unreadable_after_writes(team: Team) -> None:
    undeclared(team)
    team.edit("environments/build.yaml", "Ours", "Ours now")
    lie = {"GET /environments": LIES["something else in it"]}
    team.service.meanwhile = [lambda: team.service.lies.update(lie)]
    ran = team.apply("--prune")
    assert (ran.code, len(team.writes), "nothing was sent" in ran.err) == (7, 1, False), ran.err
    assert "the list of environments has something else in it" in ran.err


def test_apply_reads_a_deployment_of_which_the_list_does_not_show_whether_it_is_paused(team: Team) -> None:
    team.write(THREE)
    team.applied()
    team.edit("deployments/nightly.md", "environment: build", "environment: build\npaused: false")
    id = team.there("deployments")["nightly"]["id"]
    team.service.change(f"/deployments/{id}/pause", {})
    without_status = each_row(lambda row: {name: value for name, value in row.items() if name != "status"})
    team.service.lies["GET /deployments"] = without_status
    assert team("diff").code == 8
    team.service.lies[f"GET /deployments/{id}"] = lambda row: {**row, "status": None}
    ran = team.apply()
    assert (ran.code, team.writes) == (6, []), ran.err
    assert "the server does not say whether it is paused" in ran.err
    del team.service.lies[f"GET /deployments/{id}"]
    assert team.apply().code == 0
    assert team.there("deployments")["nightly"]["status"] == "active"


def test_apply_prunes_what_the_folder_has_just_ceased_to_use(team: Team) -> None:
    two_envs(team)
    team.write({"deployments/weekly.yaml": OUTSIDE | {"environment": "one"}})
    team.applied()
    team.write({"deployments/weekly.yaml": OUTSIDE | {"environment": "two"}})
    removed(team, "environments/one.yaml")
    assert [row["action"] for row in team.applied("--prune")][-2:] == ["changed", "archived"]


def test_apply_prunes_nothing_that_a_new_file_uses(team: Team) -> None:
    undeclared(team)
    team.write({"deployments/weekly.yaml": OUTSIDE | {"environment": "one"}})
    ran = team.apply("--prune")
    assert (ran.code, "is kept: deployment weekly uses it" in ran.err) == (0, True), ran.err
    assert "one" in team.there("environments")
    removed(team, "deployments/weekly.yaml")
    assert "not compared with what was applied: agent" in team.plan("--prune").out  # its version was left open


def test_apply_has_nothing_to_prune_of_what_somebody_archived_or_deleted_meanwhile(team: Team) -> None:
    two_envs(team)
    team.write({"skills/old/SKILL.md": skill("old")})
    team.applied()
    removed(team, "environments/one.yaml", "skills/old/SKILL.md")
    team.edit("environments/build.yaml", "Ours", "Ours now")
    one, old = team.there("environments")["one"]["id"], team.there("skills")["old"]["id"]

    def meet() -> None:
        team.service.change(f"/environments/{one}/archive", {})
        team.service.change(f"/skills/{old}", {}, method="DELETE")

    team.service.meanwhile = [meet]
    rows = team.applied("--prune")
    assert [row["action"] for row in rows if row["id"] in (one, old)] == ["deleted", "archived"]
    assert len(team.writes) == 1


def test_apply_prunes_nothing_that_a_file_declares_by_its_id(team: Team) -> None:
    two_envs(team)
    team.write({"environments/one.yaml": {"id": team.there("environments")["one"]["id"], "name": "renamed"}})
    assert {row["action"] for row in team.applied("--prune")} == {"changed", "unchanged"}
    assert "renamed" in team.there("environments")
    two = team.there("environments")["two"]
    team.service.change("/environments", {"name": "two", "metadata": two["metadata"]})
    team.write({"environments/two.yaml": {"id": two["id"], "name": "two"}})
    ran = team.apply("--prune", "--json")
    assert {row["action"] for row in ran.json} == {"unchanged"}
    assert "is kept: a file declares another of this name" in ran.err
    assert "no file" not in team.plan().out


def test_apply_prunes_nothing_once_a_write_failed(team: Team) -> None:
    undeclared(team)
    team.edit("environments/build.yaml", "Ours", "Ours now")
    team.service.never = [refusal(400, "invalid_request_error", "No.")]
    ran = team.apply("--prune", "--json")
    assert (ran.code, {row["name"]: row["action"] for row in ran.json}["one"]) == (6, "not_attempted")
    assert "warning: nothing was pruned, because not all was written" in ran.err


def test_apply_calls_nothing_deleted_that_a_proxy_does_not_find(team: Team) -> None:
    undeclared(team)
    id = team.there("environments")["one"]["id"]
    team.service.instead[f"GET /environments/{id}"] = [httpx.Response(404, html="<h1>Not here</h1>")] * 9
    ran = team.apply("--prune", "--json")
    assert (ran.code, {row["name"]: row["action"] for row in ran.json}["one"]) == (5, "failed"), ran.err


# Asleep and awake.


def test_apply_makes_a_paused_deployment_that_is_never_awake(team: Team) -> None:
    asleep = f"paused: true\nschedule: {json.dumps(NINE)}\nenvironment:"
    nightly = THREE["deployments/nightly.md"].replace("environment:", asleep)
    team.write(THREE | {"deployments/nightly.md": nightly})
    moments = []

    def look(done: Any) -> Any:
        known = team.there("deployments").get("nightly")
        moments.append(known and (known["status"], known["schedule"] and known["schedule"]["expression"]))
        return done

    team.service.after = [look] * 20
    team.applied()
    states = [state for state, _ in groupby(filter(None, moments))]  # others are written at the same time
    assert states == [("active", None), ("paused", None), ("paused", "0 9 * * *")]
    team.rests()


def test_apply_pauses_and_unpauses_as_a_file_says_and_never_fights_a_pause_by_error(team: Team) -> None:
    weekly = OUTSIDE | {"schedule": NINE}
    team.write({"qoder.yaml": "stack: s", "deployments/weekly.yaml": weekly})
    team.applied()
    id = team.there("deployments")["weekly"]["id"]
    team.write({"deployments/weekly.yaml": weekly | {"paused": True, "schedule": NINE | {"expression": "0 8 * * *"}}})
    team.applied()
    assert team.writes == [f"POST /deployments/{id}/pause", f"POST /deployments/{id}"]
    team.write({"deployments/weekly.yaml": weekly | {"paused": False}})
    team.applied()
    assert team.writes == [f"POST /deployments/{id}", f"POST /deployments/{id}/unpause"]
    reason = {"type": "error", "error": {"type": "environment_archived_error", "message": "Gone."}}
    team.service.thing(id).update(status="paused", paused_reason=reason)
    team.write({"deployments/weekly.yaml": weekly})
    ran = team.apply()
    assert (ran.code, team.writes) == (0, [])
    assert "paused by an error" in ran.err
    team.write({"deployments/weekly.yaml": weekly | {"paused": False}})
    team.applied()
    assert team.writes == [f"POST /deployments/{id}/unpause"]


# Contents.


def test_apply_writes_memory_entries_once_and_uploads_a_file_once(team: Team) -> None:
    team.write()
    team.applied()
    store = team.there("memory_stores")["notes"]["id"]
    [entry] = team.service.world.alive(f"memory_stores/{store}/memories")
    entry.fields["content"] = "Learned since."
    others = {"people.md": "Other\n", "new/one.md": "New\n", ".one.md": "New\n", "one.txt": "New\n", "empty.md": " \n"}
    team.write({f"memory_stores/notes/{name}": text for name, text in others.items()})
    assert "memory_stores/notes/empty.md: is empty, which no memory can be; left out" in team.plan().err
    rows = team.applied()
    assert team.writes == [f"POST /memory_stores/{store}/memories"]
    assert entry.fields["content"] == "Learned since."
    team.edit("data/glossary.csv", "one", "each")
    rows = team.applied()
    assert [row["kind"] for row in rows if row["action"] != "unchanged"] == ["file", "deployment"]


@pytest.mark.parametrize(("left", "action"), [(7200, "unchanged"), (1800, "created")])
def test_apply_uploads_a_file_again_that_expires_within_an_hour(team: Team, left: float, action: str) -> None:
    team.write()
    team.applied()
    team.there("files")["glossary.csv"]["expires_at"] = utc_text(team.service.world.now() + left)
    assert actions(team.applied())["file"] == action


def test_apply_takes_no_file_of_another_name_for_one_with_the_same_content(team: Team) -> None:
    team.write()
    team.applied()
    line = "  - {path: ../data/glossary.csv, mount_path: /mnt/glossary.csv}\n"
    team.edit("deployments/nightly.md", line, line + line.replace("glossary", "copy"))
    team.write({"data/copy.csv": EXAMPLE["data/glossary.csv"]})
    rows = team.applied()
    assert [row["action"] for row in rows if row["kind"] == "file"] == ["unchanged", "created"]
    assert {"copy.csv", "glossary.csv"} <= team.there("files").keys()
    team.rests()


def test_apply_sends_secrets_once_and_again_only_when_told(team: Team) -> None:
    team.write({name: EXAMPLE[name] for name in ("qoder.yaml", "vaults/mcp.yaml")})
    team.applied()
    team.qoder.env["TOKEN"] = "n3w-secret"
    team.rests()
    rows = team.applied("--send-secrets")
    assert actions(rows)["credential"] == "changed"
    vault, ran = team.there("vaults")["mcp"]["id"], json.dumps(rows)
    assert len(team.writes) == 1
    assert f"/vaults/{vault}/credentials/" in team.writes[0]
    assert team.service.sent[0]["auth"]["token"] == "n3w-secret"
    assert "n3w-secret" not in ran


def test_apply_changes_where_a_secret_goes_without_sending_it(team: Team) -> None:
    def vault(host: str) -> dict[str, Any]:
        hosts = {"type": "limited", "allowed_hosts": [host]}
        auth = {"type": "environment_variable", "secret_name": "KEY", "secret_value": "${TOKEN}", "networking": hosts}
        return {"vaults/mcp.yaml": {"display_name": "mcp", "credentials": [{"display_name": "key", "auth": auth}]}}

    team.write({"qoder.yaml": "stack: s", **vault("a.example.com")})
    team.applied()
    [key] = team.there(f"vaults/{team.there('vaults')['mcp']['id']}/credentials").values()
    key["metadata"].pop("qoder_stack")  # that of its vault is enough
    team.write(vault("b.example.com"))
    assert actions(team.applied())["credential"] == "changed"
    [sent] = team.service.sent
    hosts = {"type": "limited", "allowed_hosts": ["b.example.com"]}
    assert sent["auth"] == {"type": "environment_variable", "networking": hosts}
    team.rests()


def test_apply_never_sends_a_secret_for_the_name_of_a_credential(team: Team) -> None:
    """A credential's name cannot be changed: that is said, and apply comes to an end."""
    team.write({name: EXAMPLE[name] for name in ("qoder.yaml", "vaults/mcp.yaml")})
    team.applied()
    team.edit("vaults/mcp.yaml", '"docs"', '"documents"')
    for _ in range(2):
        ran = team.apply()
        assert (ran.code, team.writes) == (0, [])
        assert "it is called docs there, and a credential keeps its name" in ran.err


def test_apply_refuses_what_cannot_be_written_before_it_writes(team: Team) -> None:
    vault = {"display_name": "mcp", "credentials": [DOCS]}
    team.write({"vaults/mcp.yaml": vault})
    team.applied()
    team.write({"vaults/mcp.yaml": vault | {"metadata": {"team": "core"}}, "agents/a.yaml": AGENT})
    ran = team.apply()
    assert (ran.code, "has another metadata, and a vault cannot be changed" in ran.err, team.writes) == (6, True, [])
    id = team.there("vaults")["mcp"]["id"]
    [docs] = team.service.world.alive(f"vaults/{id}/credentials")
    team.service.keep(f"vaults/{id}/credentials", docs.fields | {"id": "vcred_2"})
    ran = team.apply()
    assert (ran.code, "2 credentials may be 'docs'" in ran.err, team.writes) == (2, True, []), ran.err


def test_apply_lets_a_colleague_keep_what_he_writes_in_between(team: Team) -> None:
    team.write(THREE)
    team.applied()
    id = team.there("agents")["reporter"]["id"]
    team.edit("agents/reporter.md", "short reports", "long reports")
    team.service.meanwhile = [lambda: team.service.change(f"/agents/{id}", {"description": "Theirs"})]
    ran = team.apply()
    assert (ran.code, team.there("agents")["reporter"]["description"]) == (6, "Theirs")
    assert "was changed by someone else in the meantime" in ran.err


def test_apply_changes_no_deployment_that_somebody_changed_since_it_was_paused(team: Team) -> None:
    team.write({"qoder.yaml": "stack: s", "deployments/d.yaml": OUTSIDE})
    team.applied()
    id = team.there("deployments")["weekly"]["id"]
    team.write({"deployments/d.yaml": OUTSIDE | {"paused": True, "message": "Report all."}})

    def theirs(done: Any) -> Any:
        team.service.change(f"/deployments/{id}", {"description": "Theirs"})
        return done

    team.service.after = [theirs]
    ran = team.apply()
    assert (ran.code, team.writes) == (6, [f"POST /deployments/{id}/pause"]), ran.err
    assert "was changed by someone else in the meantime; not all was sent" in ran.err


def test_apply_waits_for_lists_no_longer_where_the_clock_is_set_back(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    team.write(THREE)
    team.service.loses("reset", done=False)
    assert team.apply().code == 9
    clock, began = team.qoder.clock, team.qoder.clock.time
    clock.at_sleep = lambda: monkeypatch.setattr(clock, "now", lambda: clock.time - 3600)
    assert "waiting for lists to show" in team.apply().err
    assert clock.time - began < 60


def test_apply_does_not_wait_for_lists_that_show_what_may_have_been_created(team: Team) -> None:
    team.write({"environments/build.yaml": {"name": "build"}})
    team.service.loses("reset", done=False)
    assert team.apply().code == 9
    team.service.change("/environments", {"name": "build"})
    assert "waiting for lists" not in team.apply().err


UNDER_WAY: dict[str, dict[str, Any]] = {
    "skill": {"skills/s/SKILL.md": skill("s")},
    "file": {"deployments/d.yaml": OUTSIDE | {"resources": [{"path": "../f.csv", "mount_path": "/f"}]}, "f.csv": "1"},
    "credential": {"vaults/mcp.yaml": {"display_name": "mcp", "credentials": [DOCS]}},
    "deployment": {"deployments/d.yaml": OUTSIDE | {"paused": True}},
    "deployment, only to be paused": {"deployments/d.yaml": OUTSIDE | {"paused": True}},
    "deployment, only to be unpaused": {"deployments/d.yaml": OUTSIDE | {"paused": False}},
}


def stop_once_a_write_is_sent(
    team: Team, monkeypatch: pytest.MonkeyPatch, *, is_answered: bool = False
) -> threading.Event:
    """Have a signal come while the next write is under way. Return what has its answer come, if it does not by then."""
    is_sent, answer = threading.Event(), threading.Event()
    receive, signals = team.qoder.clock.receive, [Signalled(signal.SIGTERM)]

    def interrupted(inbox: Any, seconds: float) -> Any:
        while inbox.empty() and not is_sent.wait(0.001):
            pass  # what was read before is not there yet
        if not is_sent.is_set():
            return receive(inbox, seconds)
        if signals:
            raise signals.pop()
        if is_answered:  # from here on nothing more is sent
            answer.set()
        else:
            team.qoder.clock.patience = 0.005
        return receive(inbox, seconds)

    def hang() -> None:
        is_sent.set()
        answer.wait(20)

    monkeypatch.setattr(team.qoder.clock, "receive", interrupted)
    team.service.meanwhile = [hang]
    return answer


@pytest.mark.parametrize("what", UNDER_WAY)
@pytest.mark.few(3)
def test_apply_says_at_a_signal_that_what_is_under_way_is_unknown(
    team: Team, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    kind, _, only = what.partition(", ")
    if only:
        before = OUTSIDE | {"paused": not UNDER_WAY[what]["deployments/d.yaml"]["paused"]}
        team.write({"qoder.yaml": "stack: s", "deployments/d.yaml": before})
        team.applied()
    team.write({"qoder.yaml": "stack: s", **UNDER_WAY[what]})
    words = []
    if kind == "credential":  # one whose secret is replaced
        team.applied()
        words = ["--send-secrets"]
    answer = stop_once_a_write_is_sent(team, monkeypatch)
    try:
        ran = team.apply("--json", *words)
    finally:
        answer.set()
    assert ran.code == 143, ran.err
    assert {row["kind"]: row["action"] for row in ran.json}[kind] == "unknown", ran.err


def test_apply_says_at_a_signal_that_a_new_deployment_is_not_yet_paused(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    team.write({"qoder.yaml": "stack: s", **UNDER_WAY["deployment"]})
    stop_once_a_write_is_sent(team, monkeypatch, is_answered=True)
    ran = team.apply("--json")
    assert ran.code == 143, ran.err
    [row] = ran.json
    assert (row["status"], row["action"], row["exit_code"]) == ("active", "failed", 6), ran.err
    assert "was created, but is not yet as the file says" in ran.err


@pytest.mark.parametrize(
    ("more", "action"), [({}, "created"), ({"paused": True, "schedule": NINE}, "failed")], ids=["whole", "begun"]
)
def test_apply_says_at_a_signal_what_is_done_of_a_deployment_that_is_being_read(
    team: Team, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any], action: str
) -> None:
    """It is read back at the end, and before the schedule of one that was paused is sent."""
    team.write({"qoder.yaml": "stack: s", "deployments/d.yaml": OUTSIDE | more})
    answer = stop_once_a_write_is_sent(team, monkeypatch)
    [hang], team.service.meanwhile = team.service.meanwhile, []
    monkeypatch.setattr(step, "read", lambda *asked, **how: hang())
    try:
        ran = team.apply("--json")
    finally:
        answer.set()
    [row] = ran.json
    assert (ran.code, row["action"]) == (143, action), ran.err


def test_apply_pauses_no_deployment_that_somebody_changed_meanwhile(team: Team) -> None:
    team.write({"qoder.yaml": "stack: s", "deployments/d.yaml": OUTSIDE})
    team.applied()
    weekly = team.there("deployments")["weekly"]
    team.write({"deployments/d.yaml": OUTSIDE | {"paused": True}})
    team.service.lies[f"GET /deployments/{weekly['id']}"] = lambda raw: raw | {"description": "Theirs"}
    ran = team.apply()
    assert (ran.code, team.writes) == (6, []), ran.err
    assert "was changed by someone else in the meantime" in ran.err


def test_apply_shows_all_rows_at_a_signal_after_its_writes(team: Team) -> None:
    team.write(BUILD)

    team.service.lies["GET /environments"] = lambda page: page | {"data": []}  # so it waits for the list
    team.service.meanwhile = [lambda: setattr(team.qoder.clock, "at_sleep", interrupt)]
    ran = team.apply("--json")
    assert (ran.code, [row["action"] for row in ran.json]) == (130, ["created"]), ran.err


def test_apply_writes_eight_things_at_a_time(team: Team) -> None:
    going, most, are_eight = set[int](), [0], threading.Event()

    def slow(answer: Raw) -> Raw:
        going.add(threading.get_ident())
        most.append(len(going))
        if len(going) == 8:
            are_eight.set()
        assert are_eight.wait(10)
        time.sleep(0.01)  # in which a ninth would come
        going.discard(threading.get_ident())
        return answer

    team.write({"qoder.yaml": "stack: s", **{f"environments/e{n}.yaml": {"name": f"e{n}"} for n in range(16)}})
    team.service.lies["POST /environments"] = slow
    assert (len(team.applied()), max(most)) == (16, 8)


def test_apply_says_at_a_signal_what_was_pruned_what_may_be_and_what_was_not(team: Team) -> None:
    team.write(BUILD | {f"environments/{n}.yaml": {"name": n} for n in ("one", "two", "three", "four", "five")})
    team.applied()
    removed(team, "environments/one.yaml", "environments/two.yaml", "environments/three.yaml")

    team.service.meanwhile = [lambda: None, interrupt]
    ran = team.apply("--prune", "--json")
    assert ran.code == 130, ran.err
    pruned = [row["action"] for row in ran.json if row["action"] != "unchanged"]
    assert pruned == ["archived", "unknown", "not_attempted"], ran.err


# Bad input: nothing is sent, and file and line are named.

AGENT = "name: a\nmodel: auto\ntools: [{type: agent_toolset_20260401}]\n"
BAD: dict[str, tuple[dict[str, Any], list[str]]] = {
    "a cycle": (
        {
            "agents/a.yaml": AGENT + "multiagent: {type: coordinator, agents: [b]}\n",
            "agents/b.yaml": AGENT.replace("a\n", "b\n", 1) + "multiagent: {type: coordinator, agents: [a]}\n",
        },
        ["needs itself"],
    ),
    "a name that two have": (
        {
            **{f"agents/{n}.yaml": f"id: agent_{n}\n{AGENT}" for n in (1, 2)},
            "deployments/d.yaml": "name: d\nagent: a\nenvironment: default\nmessage: Hi.\n",
        },
        ["deployments/d.yaml:2", "two agents here are named 'a'; write the id of one"],
    ),
    "an id that nothing has": ({"agents/a.yaml": "id: agent_gone\n" + AGENT}, ["agents/a.yaml:1", "agent_gone"]),
}


@pytest.mark.parametrize("what", BAD)
def test_apply_refuses_bad_files_before_anything_is_sent(team: Team, what: str) -> None:
    files, told = BAD[what]
    team.write({"qoder.yaml": "stack: s", **files})
    for words in (("apply", "--yes"), ("diff",)):
        ran = team(*words)
        assert ran.code in (2, 5), ran.err
        assert [word for word in told if word not in ran.err] == [], ran.err
        assert team.writes == []


@pytest.mark.parametrize(
    "place",
    ["agents/a.yaml", "agents", "skills/s/more.md", "memory_stores/m/note.md", "memory_stores/m/more", "data/f.csv"],
)
def test_apply_refuses_links_that_lead_out_of_the_folder(team: Team, tmp_path: Path, place: str) -> None:
    outside = tmp_path / "outside"
    stacks.write(outside, {"a.yaml": AGENT, "note.md": "Not yours."})
    files = {"skills/s/SKILL.md": skill("s"), "memory_stores/m.yaml": "name: m\n", "qoder.yaml": "stack: s"}
    resources = [{"path": "../data/f.csv", "mount_path": "/mnt/f"}] if place.startswith("data") else []
    team.write(files | {"deployments/d.yaml": OUTSIDE | {"resources": resources}})
    target = team.folder / place
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(
        outside
        if place in ("agents", "memory_stores/m/more")
        else outside / ("a.yaml" if "agents" in place else "note.md")
    )
    ran = team.apply()
    assert (ran.code, team.writes) == (2, []), ran.err
    assert "link" in ran.err or "out of the folder" in ran.err
    assert place in ran.err.replace("skills/s: has '", "skills/s/")


@pytest.mark.skipif(os.name == "nt", reason="links need a right there")
@pytest.mark.parametrize("place", ["environments", "agents/more", "agents/a.yaml", "skills"])
@pytest.mark.parametrize("target", [".hidden", "gone"])
def test_apply_prunes_nothing_because_a_link_hides_it(team: Team, place: str, target: str) -> None:
    team.write(BUILD | {".hidden/build.yaml": {"name": "build"}, "agents/b.yaml": AGENT})
    link = team.folder / place
    if link.is_dir():
        removed(team, "environments/build.yaml")
        link.rmdir()
    link.symlink_to(team.folder / target)
    ran = team.apply("--prune")
    assert (ran.code, team.service.asked) == (2, []), ran.err
    assert f"{place}: is a link" in ran.err


@pytest.mark.parametrize("token", ["pl4in-secret", '"${UNSET_TOKEN:-pl4in-secret}"', '"$${pl4in-secret"'])
def test_apply_warns_of_secrets_in_plain_text_by_their_line_and_never_shows_them(team: Team, token: str) -> None:
    auth = f"{{type: static_bearer, token: {token}, mcp_server_url: https://mcp.example.com/mcp}}"
    text = f"display_name: v\ncredentials:\n  - display_name: c\n    auth: {auth}\n"
    team.write({"vaults/v.yaml": text, "qoder.yaml": "stack: s"})
    for words in (("diff",), ("diff", "--json"), ("diff", "-o", "markdown"), ("apply", "--yes", "--json", "--verbose")):
        ran = team(*words)
        assert "vaults/v.yaml:4: credentials[0].auth.token: is a secret in plain text" in ran.err
        assert "pl4in-secret" not in ran.out + ran.err


STACK_BELOW = {f"stacks/far/{path}": text for path, text in BUILD.items()} | {"stacks/far/qoder.yaml": "region: cn\n"}
FENCES = ("region: cn", "base_url: https://elsewhere.example/api/v1/cloud", "workspace_id: ws_other")
UNASKED: dict[str, tuple[dict[str, Any], str]] = {
    **{f"the fence {fence}": (BUILD | {"qoder.yaml": f"stack: s\n{fence}\n"}, "nothing was sent") for fence in FENCES},
    "a fence that is none": (BUILD | {"qoder.yaml": "region: us"}, "qoder.yaml: region must be global or cn"),
    # Its things would be made without its mark, and beyond its fence.
    "a stack below none": (STACK_BELOW, "stacks/far: has a qoder.yaml of its own"),
    "a stack below another": (STACK_BELOW | {"qoder.yaml": "stack: all"}, "stacks/far: has a qoder.yaml of its own"),
    "a token as the name of a stack": (
        BUILD | {"qoder.yaml": f"stack: ghp_{'A1b2C3d4' * 5}"},
        "qoder.yaml:1: stack: is, or holds, a token",
    ),
    "a list as the settings": (BUILD | {"qoder.yaml": "- stack: s"}, "qoder.yaml: must be one mapping of fields"),
    "a number as the name of a stack": (BUILD | {"qoder.yaml": "stack: 3"}, "qoder.yaml:1: stack: must be text"),
    "a file without an end": (BUILD | {"one.md": "---\ntype: environment\n"}, "its front matter has no end"),
    "a skill without its main file": (
        {"skills/style/skill.md": skill("style"), "qoder.yaml": "stack: s"},
        "skills/style/skill.md: belongs to no skill: its folder has no SKILL.md",
    ),
}


@pytest.mark.parametrize("what", UNASKED)
def test_apply_and_diff_refuse_a_folder_before_anything_is_asked(team: Team, what: str) -> None:
    files, said = UNASKED[what]
    team.write(files)
    for words in (("apply", "--yes"), ("diff",)):
        ran = team(*words)
        assert (ran.code, team.service.asked) == (2, [])
        assert said in ran.err


@pytest.mark.parametrize("fence", FENCES)
def test_create_refuses_what_lies_in_the_folder_of_a_stack_that_lives_elsewhere(
    team: Team, fence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    team.write(BUILD | {"qoder.yaml": f"stack: s\n{fence}\n"})
    team.qoder.stdin, file = "name: build", "environments/build.yaml"
    for there, typed in ((team.folder, file), (team.folder, "-"), (Path("/"), str(team.folder / file))):
        monkeypatch.chdir(there)
        ran = team.qoder("env", "create", "--file", typed)
        assert (ran.code, team.service.asked, "this stack lives" in ran.err) == (2, [], True)


def test_apply_refuses_a_kind_that_the_token_may_not_read_before_it_writes(team: Team) -> None:
    team.write()
    team.service.instead["GET /vaults"] = [refusal(403, "permission_error", "Not yours.")] * 3
    ran = team.apply()
    assert (ran.code, team.writes) == (4, [])
    assert "vaults" in ran.err


def test_apply_names_a_thing_with_a_slash_and_a_long_name_by_its_mark(team: Team) -> None:
    names = ["a/b/c", "n" * 200]
    team.write(
        {"qoder.yaml": f"stack: {'s' * 63}"}
        | {f"agents/{n}.yaml": {"name": name, "model": "auto"} for n, name in enumerate(names)}
    )
    team.applied()
    team.rests()


# Meanwhile.


NIGHTLY = ("deploy", "create", "--name", "nightly", "--agent", "writer", "--env", "default", "-m", "Hi.")


@pytest.mark.parametrize("theirs", [("apply", "--yes"), NIGHTLY], ids=["all", "one"])
def test_apply_makes_nothing_that_another_made_while_the_plan_was_read(
    team: Team, questions: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch, theirs: tuple[str, ...]
) -> None:
    team.write(THREE)
    monkeypatch.chdir(team.folder)
    asked = questions(lambda: team.qoder(*theirs))
    ran = team("apply")
    assert (ran.code, len(asked)) == (6, 1)
    assert "was created in the meantime" in ran.err
    found = stacks.there(team.service.world, since=1_800_000_000.0)
    assert set(found.values()) == {1}, found


def test_apply_names_the_twins_that_lists_show_only_later(team: Team) -> None:
    """Two machines create the same names at the same moment: a list that lags shows none of them."""
    team.write({f"environments/{name}.yaml": f"name: {name}\n" for name in "ab"})
    hidden, theirs = team.qoder.clock.now() + 6, list[Raw]()

    def lie(page: Any) -> Any:
        if team.qoder.clock.now() > hidden:
            return page
        return page | {"data": [row for row in page["data"] if row["name"] not in ("a", "b")]}

    def create_both() -> None:
        theirs.extend(team.service.change("/environments", {"name": name}) for name in "ab")

    team.service.lies["GET /environments"] = lie
    team.service.meanwhile = [create_both]
    ran = team.apply()
    assert ran.code == 6, ran.err
    for twin in theirs:
        assert f"someone else created another of this name: {twin['id']}" in ran.err


@pytest.mark.parametrize("is_twin", [False, True])
def test_apply_names_a_credential_that_another_put_into_the_vault_at_the_same_moment(team: Team, is_twin: bool) -> None:
    team.write({"vaults/v.yaml": {"display_name": "team-secrets", "credentials": [DOCS]}})
    url = URL if is_twin else "https://other.example/mcp"
    theirs = {**DOCS, "auth": {"type": "static_bearer", "token": "t", "mcp_server_url": url}}
    team.service.meanwhile = [lambda: team.service.change("/vaults/vault_team/credentials", theirs)]
    ran = team.apply()
    assert (ran.code, "someone else created another of this name: vcred_" in ran.err) == (6 * is_twin, is_twin)


@pytest.mark.parametrize("is_cut", [False, True])
def test_apply_says_that_a_twin_cannot_be_ruled_out_where_a_list_does_not_show_enough(team: Team, is_cut: bool) -> None:
    team.write(BUILD)

    def lie(page: Any) -> Any:
        if is_cut:
            return page | {"has_more": None, "next_page": None}
        return page | {"data": [row for row in page["data"] if row["name"] != "build"]}

    team.service.meanwhile = [lambda: team.service.lies.update({"GET /environments": lie})]
    ran = team.apply()
    assert "unknown whether someone else created an environment of the same name" in ran.err
    assert "nothing was sent" not in ran.err  # it was created before


def test_apply_pins_the_version_that_another_made_while_the_plan_was_read(
    team: Team, questions: Callable[..., list[str]]
) -> None:
    team.write(THREE)
    team.applied()
    id = team.there("agents")["reporter"]["id"]
    questions(lambda: team.service.change(f"/agents/{id}", {"description": "New"}))
    team.edit("agents/reporter.md", "Writes reports", "New")
    assert team("apply").code == 0
    assert team.there("deployments")["nightly"]["agent"]["version"] == 2


def test_apply_pauses_nothing_that_another_stack_took_over_while_the_plan_was_read(
    team: Team, questions: Callable[..., list[str]]
) -> None:
    team.write(THREE)
    team.applied()
    id = team.there("deployments")["nightly"]["id"]
    taken = {"metadata": {"qoder_stack": "other/deployment/nightly"}}
    questions(lambda: team.service.change(f"/deployments/{id}", taken))
    team.edit("deployments/nightly.md", "environment:", "paused: true\nenvironment:")
    ran = team("apply")
    assert (ran.code, f"POST /deployments/{id}/pause" in team.writes) == (6, False), ran.err
    assert "belongs to the stack other" in ran.err


def test_apply_asks_before_it_takes_over_and_a_yes_is_enough(team: Team, questions: Callable[..., list[str]]) -> None:
    team.service.change("/environments", {"name": "build", "description": "Theirs"})
    team.write(BUILD)
    asked = questions(False, True)
    assert team("apply").code == 2
    assert team.writes == []
    ran = team("apply")
    assert (ran.code, len(asked)) == (0, 2)
    assert ("~ adopt environment build" in ran.err, "\nchanged environment build" in ran.err) == (True, True)
    assert team.there("environments")["build"]["description"] == "Ours"


# An older server does not show environment_variables.
CURRENT, LEGACY = (pytest.mark.parametrize("served_by", [each]) for each in ("current", "legacy"))


@CURRENT
def test_apply_puts_no_digest_of_a_secret_where_others_can_read_it(team: Team) -> None:
    """Whoever reads the metadata could try passwords against one; so what held a secret is kept when it leaves."""
    repository = {"type": "github_repository", "url": "https://github.com/a/b", "authorization_token": "${TOKEN}"}
    weekly = OUTSIDE | {"environment": "default", "environment_variables": {"A": "${TOKEN}"}}
    records = []
    for secret in ("hunter2", "hunter3"):
        team.qoder.env["TOKEN"] = secret
        team.write({"qoder.yaml": "stack: s", "deployments/weekly.yaml": weekly | {"resources": [repository]}})
        team.applied("--send-secrets")
        records.append(team.there("deployments")["weekly"]["metadata"]["qoder_applied"])
    assert {each for each in records[0].split() if "agent" not in each} <= {*records[1].split()}
    team.write({"deployments/weekly.yaml": OUTSIDE | {"environment": "default"}})
    ran = team.apply()
    assert "environment_variables is no longer in the file" in ran.err
    found = team.there("deployments")["weekly"]
    assert (found["environment_variables"], found["resources"]) == ("A=hunter3", [])


VARIABLES = OUTSIDE | {"environment": "default", "environment_variables": {"LOG_LEVEL": "debug"}}


@LEGACY
@pytest.mark.parametrize("stack", [{}, {"qoder.yaml": "stack: s"}])
def test_apply_says_before_it_writes_that_an_older_server_drops_variables(team: Team, stack: dict[str, str]) -> None:
    team.write({**stack, "deployments/weekly.yaml": VARIABLES, "environments/build.yaml": {"name": "build"}})
    for _ in range(2):
        ran = team.apply()
        assert (ran.code, team.writes) == (6, []), ran.err
        assert "this server keeps no environment_variables of a deployment" in ran.err
        assert "qoder vault put" in ran.err
        looked = team.plan()
        assert (looked.code, "! blocked deployment weekly" in looked.out) == (6, True)


@CURRENT
def test_apply_says_once_that_a_server_dropped_variables_and_does_not_send_them_each_night(team: Team) -> None:
    """A server of which nothing else shows that it is an older one."""
    team.service.defaults = lambda raw: raw.pop("environment_variables", None)
    team.write({"qoder.yaml": "stack: s", "deployments/weekly.yaml": VARIABLES})
    ran = team.apply("--json")
    assert (ran.code, ran.error["message"].partition(": ")[2]) == (6, "environment_variables.LOG_LEVEL"), ran.err
    ran = team.apply()
    assert (ran.code, team.writes) == (6, []), ran.err
    assert "this server keeps no environment_variables" in ran.err


@CURRENT
@pytest.mark.parametrize("before", [{}, {"environment_variables": ""}])
def test_apply_sends_new_variables_where_a_server_leaves_out_what_is_empty(team: Team, before: dict[str, str]) -> None:
    team.write(
        {"qoder.yaml": "stack: s", "deployments/weekly.yaml": VARIABLES | {"environment_variables": ""} | before}
    )
    team.applied()
    id = team.there("deployments")["weekly"]["id"]

    def hide(raw: Raw) -> Raw:
        return {name: value for name, value in raw.items() if value != ""}

    team.service.lies |= {"GET /deployments": each_row(hide), f"GET /deployments/{id}": hide}
    team.write({"deployments/weekly.yaml": VARIABLES})
    team.applied()
    assert team.there("deployments")["weekly"]["environment_variables"] == "LOG_LEVEL=debug"
