"""`qoder deploy apply` and `export`, in the user's words, on both generations of server."""

import json
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer

from qoder_cli.base.errors import Signalled
from qoder_cli.sandbox.records import ENVIRONMENT
from qoder_cli.sandbox.samples import WRITER
from qoder_cli.sandbox.world import Deployment
from tests.conftest import Qoder, Ran
from tests.support.deployments import DEPLOYMENTS
from tests.support.desk import ACTED, BODY, EVENTS, FAULTS, HOST, LIST, LOST, NEW, Desk
from tests.support.inprocess import at_version
from tests.support.things import each_row, refusal
from tests.support.wire import page

ALIVE = {variant: one for variant, one in DEPLOYMENTS.items() if not one["archived_at"]}
ARCHIVED = {variant: one for variant, one in DEPLOYMENTS.items() if one["archived_at"]}


pytestmark = pytest.mark.usefixtures("plain_http")


def actions(ran: Ran) -> list[tuple[str, int | None]]:
    return [(item["action"], item["exit_code"]) for item in ran.json]


def test_deploy_apply_writes_once_and_only_what_differs_from_an_export(either: Desk) -> None:
    either.add(name="weekly", description="Old words", schedule={"expression": "0 9 * * 1", "timezone": "UTC"})
    text = either.qoder("deploy", "export", "weekly").out
    file = either.file(text.replace("Old words", "New words").replace("0 9 * * 1", "30 9 * * 1"), name="weekly.yaml")
    either.world.requests.clear()
    ran = either.apply(file)
    [weekly] = either.named("weekly")
    assert (ran.code, ran.out.split("\t")[:3]) == (0, ["weekly", weekly.id, "changed"])
    assert either.asked == [
        f"GET {LIST}",
        f"GET /deployments/{weekly.id}",  # as it is just before the write
        f"POST /deployments/{weekly.id}",
        f"GET /deployments/{weekly.id}",  # read back
    ]
    changed = {"description": "New words", "schedule": {"type": "cron", "expression": "30 9 * * 1", "timezone": "UTC"}}
    assert either.writes == [(f"/deployments/{weekly.id}", changed)]
    assert {name: weekly.fields[name] for name in changed} == changed
    either.world.requests.clear()
    ran = either.apply(file)
    assert (ran.code, ran.err, ran.out.split("\t")[2]) == (0, "", "unchanged")
    assert either.asked == [f"GET {LIST}"]


LOOKS_LIKE_A_VARIABLE = "Run `echo ${HOME}`, ${NOPE:-x}, $${HOME} and ${"


@pytest.mark.parametrize("words", [("export",), ("get", "--json")])
def test_deploy_export_and_get_keep_what_looks_like_a_variable(either: Desk, words: tuple[str, ...]) -> None:
    text = LOOKS_LIKE_A_VARIABLE
    content = [{"type": "text", "text": text}]
    either.qoder.env["HOME"] = "/home/me"
    weekly = either.add(name=text, description=text, metadata={"a": text}, environment_variables=f"A={text}")
    weekly.fields["initial_events"] = [{"type": "user.message", "content": content}]
    file = either.file(either.qoder("deploy", words[0], weekly.id, *words[1:]).out, name="file.yaml")
    ran = either.apply(file, "--exit-code", "--json")
    assert (ran.code, actions(ran), ran.json[0]["description"]) == (0, [("unchanged", 0)], text)
    weekly.fields["description"] = weekly.fields["metadata"]["a"] = "Old"
    assert either.apply(file).code == 0
    assert (weekly.fields["description"], weekly.fields["metadata"]["a"]) == (text, text)


def test_deploy_apply_says_where_variables_are_not_expanded(desk: Desk) -> None:
    desk.add(name="weekly", description="${HOME}")
    file = desk.file(desk.qoder("deploy", "export", "weekly", "--json").out)
    ran = desk.apply(file)
    assert ran.err == f'{file}:1: ${{…}} is not expanded, because the object has "type": "deployment"\n'
    assert desk.apply(file, "--no-progress").err == ""
    assert desk.apply_these(desk.qoder("deploy", "export", "demo", "--json").out).err == ""


@pytest.mark.parametrize("variant", ARCHIVED)
def test_deploy_export_warns_of_what_is_archived_and_apply_refuses_it(qoder: Qoder, variant: str) -> None:
    one = ARCHIVED[variant]
    qoder.wire.on("GET", f"/deployments/{one['id']}", one)
    qoder.wire.on("GET", "/deployments", page(one))
    exported = qoder("deploy", "export", one["id"])
    assert (
        exported.err
        == f"warning: {one['id']} was archived on {one['archived_at']}; `deploy apply` will refuse this file\n"
    )
    qoder.stdin = exported.out
    ran = qoder("deploy", "apply", "-f", "-", "--yes", "--json")
    assert (ran.code, ran.error["type"], actions(ran)) == (6, "rejected", [("failed", 6)])
    assert f"was archived on {one['archived_at']}" in ran.error["message"]
    assert "cannot be undone" in ran.error["hint"]


def test_deploy_export_writes_several_into_one_file_each_once(desk: Desk) -> None:
    desk.qoder.stdin = "demo\ndep_minute\ndep_demo\n"
    text = desk.qoder("deploy", "export", "nightly-report", "-").out
    assert text.count("\n---\n") == 2
    ran = desk.apply(desk.file(text, name="all.yaml"), "--json")
    assert [(item["id"], item["action"]) for item in ran.json] == [
        (id, "unchanged") for id in ("dep_scheduled", "dep_demo", "dep_minute")
    ]
    items = desk.qoder("deploy", "export", "dep_demo", "demo", "--json").json
    assert [item["id"] for item in items] == ["dep_demo", "dep_demo"]  # of those named, each is an item
    for unknown in ("nobody", "dep_gone"):
        ran = desk.qoder("deploy", "export", "dep_demo", unknown)
        assert (ran.code, ran.out) == (5, "")


def test_deploy_export_writes_the_ids_of_those_of_one_name(desk: Desk) -> None:
    desk.goes_wrong(unique_names=False)
    one, two, other = desk.add(name="twin"), desk.add(name="twin"), desk.add(name="other")
    text = desk.qoder("deploy", "export", one.id, two.id, other.id).out
    assert [line for line in text.splitlines() if line.startswith(("id: ", "name: "))] == [
        *(f"id: {one.id}", "name: twin", f"id: {two.id}", "name: twin", "name: other")
    ]
    ran = desk.apply(desk.file(text, name="all.yaml"), "--exit-code", "--json")
    assert actions(ran) == [("unchanged", 0)] * 3


@pytest.mark.parametrize("name", ["dep_weekly", "two\nlines"])
def test_deploy_apply_warns_of_a_name_that_no_command_takes(desk: Desk, name: str) -> None:
    ran = desk.apply_these({**NEW, "name": name})
    assert (ran.code, "commands will not take this name; use its id" in ran.err) == (0, True)
    again = desk.apply_these({**NEW, "name": name})
    assert (again.code, "commands will not take this name; use its id" in again.err, len(desk.writes)) == (0, False, 1)


MALFORMED = ("name", "agent", "schedule", "initial_events", "resources", "vault_ids", "metadata", "budget")


@pytest.mark.parametrize("field", [*MALFORMED, "description", "environment_id", "environment_variables"])
@pytest.mark.parametrize("value", [1, "x", [{"type": []}]])
@pytest.mark.few(2)
def test_deploy_commands_take_a_field_of_another_kind(qoder: Qoder, field: str, value: Any) -> None:
    odd = {**ALIVE[min(ALIVE)], "id": "dep_1", field: value}
    qoder.wire.on("GET", "/deployments/dep_1", odd, repeat=True).on("GET", "/deployments", page(odd), repeat=True)
    if (field, value) == ("agent", "x"):  # which reads as a name
        qoder.wire.on("GET", "/agents", page(), repeat=True)
    qoder("deploy", "list")  # so that this is asked in any case
    for words in (("export", "dep_1"), ("export", "dep_1", "--json"), ("get", "dep_1", "--json")):
        exported = qoder("deploy", *words)
        assert exported.code == 0
        qoder.stdin = exported.out
        assert qoder("deploy", "apply", "-f", "-", "--dry-run").code in (0, 2)
    for words in (("--timezone", "UTC"), ("--metadata", "a=b"), ("--agent", "agent_1")):
        assert qoder("deploy", "update", "dep_1", *words, "--dry-run").code in (0, 2)
    qoder.stdin = json.dumps({"id": "dep_1", **BODY})
    assert qoder("deploy", "apply", "-f", "-", "--dry-run").code == 0


# Creating and changing.


NAMED = "agent: {}\nenvironment: default\nvaults: [team-secrets, vault_1]\nmessage: Report.\n"


@pytest.mark.parametrize("agent", ["writer", "writer@2", "{id: writer, version: 2}"])
@pytest.mark.few(2)
def test_deploy_apply_looks_names_up_once_and_compares_ids(desk: Desk, agent: str) -> None:
    texts = (f"name: {name}\n{NAMED.format(agent)}" for name in ("weekly", "monthly"))
    file = desk.file(*texts, name="a.yaml")
    planned = desk.apply(file, "--dry-run", "--json")
    assert planned.code == 0
    assert f'+ environment_id: "{ENVIRONMENT}"' in planned.err
    assert '+ vault_ids[0]: "vault_team"' in planned.err
    assert f'"{WRITER}"' in planned.err
    assert planned.err.count(f"using agent writer ({WRITER})") == 1
    assert desk.writes == []
    lists = ["GET /agents?limit=100", "GET /environments?limit=100", "GET /vaults?limit=100"]
    assert desk.asked == [*lists, f"GET {LIST}"]

    assert desk.apply(file).code == 0
    for _, body in desk.writes:
        assert body["agent"] in (WRITER, {"id": WRITER, "type": "agent", "version": 2})
        assert (body["environment_id"], body["vault_ids"]) == (ENVIRONMENT, ["vault_team", "vault_1"])
        assert not {"environment", "vaults"} & set(body)
    ran = desk.apply(file, "--exit-code", "--json")
    assert (ran.code, actions(ran)) == (0, [("unchanged", 0)] * 2)


def test_deploy_apply_tells_names_of_nothing_or_of_two_with_their_lines(desk: Desk) -> None:
    for _ in range(2):
        assert desk.qoder("api", "POST", "/agents", "-f", "name=twin", "-f", "model=auto").code == 0
    desk.world.requests.clear()
    first = "name: a\nagent: twin\nenvironment: defaults\nmessage: Hi."
    second = "name: b\nagent: writer\nenvironment: default\nvaults: [nothing]\nmessage: Hi."
    ran = desk.apply(desk.file(first, second, name="a.yaml"), "--json")
    assert (ran.code, desk.writes) == (2, [])
    lines = ran.error["message"].splitlines()
    assert lines[0] == "3 problems in deployment files; nothing was sent"
    assert re.search(r"a.yaml:1: agent: 2 agents are named 'twin': agent_\w+, agent_\w+; use an id$", lines[1])
    assert "a.yaml:1: environment: no environment is named 'defaults'; did you mean 'default' (env_" in lines[2]
    assert "a.yaml:6: vaults: no vault is named 'nothing'; looked on localhost:1, profile default; " in lines[3]
    assert lines[3].endswith("list them: qoder vault list -o json")


def test_deploy_apply_creates_what_is_not_there(either: Desk) -> None:
    empty: dict[str, Any] = {"vault_ids": [], "resources": [], "metadata": {}, "environment_variables": ""}
    empty |= dict.fromkeys(("description", "schedule", "budget"))  # of which nothing is sent
    ran = either.apply_these({**NEW, **empty}, words=("--json",))
    [made] = either.named("weekly")
    assert (ran.code, actions(ran), ran.json[0]["id"]) == (0, [("created", 0)], made.id)
    assert either.asked == [
        f"GET {LIST}",
        "POST /deployments",
        f"GET /deployments/{made.id}",  # read back
        f"GET {LIST}",  # whether someone else created one of this name
    ]
    assert either.writes == [("/deployments", BODY)]
    assert either.world.requests[1].key
    assert actions(either.apply_these(NEW, words=("--json",))) == [("unchanged", 0)]
    assert len(either.writes) == 1


def test_deploy_apply_renames_what_has_an_id(desk: Desk) -> None:
    weekly = desk.add(name="weekly")
    file = desk.file({"id": weekly.id, "name": "monthly"})
    assert desk.apply(file).code == 0
    assert (weekly.name, desk.writes) == ("monthly", [(f"/deployments/{weekly.id}", {"name": "monthly"})])
    desk.world.requests.clear()
    assert actions(desk.apply(file, "--json")) == [("unchanged", 0)]
    assert desk.asked == [f"GET /deployments/{weekly.id}"]  # by an id nothing is listed


def test_deploy_apply_keeps_an_agent_pinned_unless_told(desk: Desk) -> None:
    pinned = {"id": "agent_1", "type": "agent", "version": 2}
    weekly = desk.add(name="weekly", agent=pinned)
    at_version(desk.world, "agent_1", 5)
    assert actions(desk.apply_these({"name": "weekly", "agent": "agent_1"}, words=("--json",))) == [("unchanged", 0)]
    assert (desk.writes, weekly.fields["agent"]) == ([], pinned)
    ran = desk.apply_these({"name": "weekly", "agent": "agent_1"}, words=("--repin",))
    assert (ran.code, "~ agent.version: 2 -> 5" in ran.err) == (0, True)
    assert desk.writes == [(f"/deployments/{weekly.id}", {"agent": {**pinned, "version": 5}})]
    assert weekly.fields["agent"]["version"] == 5
    ran = desk.apply_these({"name": "weekly", "agent": "agent_1"}, words=("--repin", "--exit-code", "--json"))
    assert (ran.code, actions(ran)) == (0, [("unchanged", 0)])


def test_deploy_apply_repin_reads_the_latest_version_once(desk: Desk) -> None:
    names = ("a", "b", "c")
    for name in names:
        desk.add(name=name, agent={"id": "agent_1", "type": "agent", "version": 2})
    named = [{"name": name, "agent": "agent_1"} for name in (*names, "demo")]
    other = {**NEW, "agent": "agent_2"}  # which is new
    ran = desk.apply_these(*named, other, words=("--repin", "--json", "--dry-run"))
    assert [action for action, _ in actions(ran)] == [*["would_change"] * 4, "would_create"]
    assert desk.asked == [f"GET {LIST}", "GET /agents/agent_1"]


@pytest.mark.parametrize("fault", ["403", "503", "list", None])
def test_deploy_apply_repins_where_the_latest_version_is_not_to_be_seen(desk: Desk, fault: str | None) -> None:
    weekly = desk.add(name="weekly", agent={"id": "agent_1", "type": "agent", "version": 5})
    if fault:
        at_version(desk.world, "agent_1", 5)
        desk.goes_wrong(f"agent:{fault}*inf")
    ran = desk.apply_these({"name": "weekly", "agent": "agent_1"}, words=("--repin",))
    assert (ran.code, '~ agent.version: 5 -> "latest"' in ran.err) == (0, True)
    assert desk.writes == [(f"/deployments/{weekly.id}", {"agent": "agent_1"})]


REPOSITORY = {"type": "github_repository", "url": "https://x", "authorization_token": "${GH}"}


@pytest.fixture
def keeper(desk: Desk) -> Deployment:
    """Return what has a repository, whose token may be another by now."""
    desk.qoder.env["GH"] = "new-token"
    shown = {name: value for name, value in REPOSITORY.items() if name != "authorization_token"}
    return desk.add(name="keeper", resources=[shown])


def test_deploy_apply_says_that_a_token_is_not_sent(desk: Desk, keeper: Deployment) -> None:
    said = f"warning: keeper ({keeper.id}): resources[0].authorization_token not sent "
    said += "(secrets cannot be compared; use --send-secrets)\n"
    meant = {"name": "keeper", "resources": [REPOSITORY]}
    for words in ((), ("--exit-code",), ("--no-progress",)):
        ran = desk.apply_these(meant, words=(*words, "--json"))
        assert (ran.code, actions(ran), ran.err, desk.writes) == (0, [("unchanged", 0)], said, [])
    assert said in desk.apply_these({**meant, "description": "New"}).err
    assert desk.writes == [(f"/deployments/{keeper.id}", {"description": "New"})]


def test_deploy_apply_sends_a_token_when_asked_to_or_with_resources_that_differ(desk: Desk, keeper: Deployment) -> None:
    meant = {"name": "keeper", "resources": [REPOSITORY]}
    ran = desk.apply_these(meant, words=("--send-secrets", "--exit-code", "--json"))
    change = {"path": "resources[0].authorization_token", "after": "[hidden]"}
    assert (ran.code, actions(ran), ran.json[0]["changes"]) == (8, [("would_change", 0)], [change])
    assert "--send-secrets" in ran.error["next"]
    ran = desk.apply_these(meant, words=("--send-secrets",))
    assert (ran.code, ran.out.split("\t")[2]) == (0, "changed")
    sent = {**REPOSITORY, "authorization_token": "new-token"}
    assert '  + resources[0].authorization_token: "[hidden]"' in ran.err
    ran = desk.apply_these({"name": "keeper", "resources": [{**REPOSITORY, "mount_path": "/x"}]})
    assert [body["resources"] for _, body in desk.writes] == [[sent], [{**sent, "mount_path": "/x"}]]
    assert ("warning" in ran.err, "new-token" in ran.err) == (False, False)


KEPT = {"type": "github_repository", "url": "https://x"}
FILE_RESOURCE = {"type": "file", "file_id": "file_1", "mount_path": "/x"}


@pytest.mark.parametrize("words", [(), ("--dry-run",), ("--send-secrets",)])
def test_deploy_apply_refuses_to_drop_a_token(desk: Desk, keeper: Deployment, words: tuple[str, ...]) -> None:
    other = {"type": "git_repository", "url": "https://y"}
    keeper.fields["resources"].append({**other, "url": "https://Y.git/"})  # another spelling of it
    for number, resources in enumerate(([KEPT, FILE_RESOURCE], [REPOSITORY, {**other, "mount_path": "/y"}])):
        file = desk.file({"name": "keeper", "resources": resources}, {**NEW, "name": "new"})
        ran = desk.apply(file, *words, "--json")
        assert (ran.code, ran.out, desk.writes) == (2, "", [])
        token = ("authorization_token", "password")[number]
        assert ran.error["message"].splitlines()[1] == (
            f"{file}:1: resources[{number}] has no {token}, and changing resources would drop the one that keeper"
            f" ({keeper.id}) may have: add it as ${{NAME}}, or {token}: null if it needs none"
        )


def test_deploy_apply_replaces_resources_where_nothing_is_lost(desk: Desk, keeper: Deployment) -> None:
    needs_none: dict[str, Any] = {**KEPT, "authorization_token": None}
    new = {"type": "git_repository", "url": "https://new"}
    for resources, sent in (
        ([needs_none, FILE_RESOURCE], [KEPT, FILE_RESOURCE]),
        ([REPOSITORY, new], [{**REPOSITORY, "authorization_token": "new-token"}, new]),
        ([FILE_RESOURCE], [FILE_RESOURCE]),
    ):
        desk.world.requests.clear()
        assert desk.apply_these({"name": "keeper", "resources": resources}).code == 0
        assert desk.writes == [(f"/deployments/{keeper.id}", {"resources": sent})]
    desk.world.requests.clear()
    assert desk.apply_these({**NEW, "resources": [needs_none]}).code == 0
    assert desk.writes == [("/deployments", {**BODY, "resources": [KEPT]})]


@pytest.mark.parametrize("fault", ["drop-before", "drop-after", "503"])
@pytest.mark.few(2)
def test_deploy_apply_knows_by_our_mark_that_a_token_was_taken(desk: Desk, keeper: Deployment, fault: str) -> None:
    meant = {"name": "keeper", "resources": [REPOSITORY]}
    desk.goes_wrong(f"update:{fault}")
    ran, sent = desk.apply_these(meant, words=("--send-secrets",)), 1 if fault == "drop-after" else 2
    assert (ran.code, len(desk.writes)) == (0, sent)
    desk.goes_wrong(f"update:{fault}*inf")
    ran = desk.apply_these(meant, words=("--send-secrets",))
    assert ran.code == 9 if fault != "drop-after" else (ran.code, len(desk.writes)) == (0, 1)


def test_deploy_apply_takes_a_folder_stdin_and_files_together(desk: Desk) -> None:
    desk.file({**NEW, "name": "a"}, name="a.json")
    desk.file("name: b\nagent: agent_1\nenvironment_id: env_1\nmessage: Go.", name="b.yaml")
    elsewhere = desk.folder.parent / "c.yml"
    elsewhere.write_text("name: demo\ndescription: New\n---\nname: minute\n")
    desk.qoder.stdin = json.dumps({**NEW, "name": "d"})
    ran = desk.apply(str(desk.folder), str(elsewhere), "-f", "-", "--json")
    assert [(item["name"], item["action"], item["input"]) for item in ran.json] == [
        ("a", "created", f"{desk.folder}/a.json:1"),
        ("b", "created", f"{desk.folder}/b.yaml:1"),
        ("demo", "changed", f"{elsewhere}:1"),
        ("minute", "unchanged", f"{elsewhere}:4"),
        ("d", "created", "-:1"),
    ]
    assert desk.asked.count(f"GET {LIST}") == 2  # before and after


def test_deploy_apply_says_which_subfolders_it_ignores(desk: Desk) -> None:
    file = desk.file({"name": "demo", "description": "New"})
    for name in ("b", "a", "c", "d.yaml", ".git"):
        (desk.folder / name).mkdir()
        (desk.folder / name / "x.yaml").write_text("not: read")
    note = f"{desk.folder}: subfolders ignored: a, b, c and 1 more"
    ran = desk.apply(str(desk.folder))
    assert (ran.code, ran.err.splitlines().index(note)) == (0, 3)  # after the first line, and what differs
    assert desk.apply(str(desk.folder), "--no-progress").err == ""
    Path(file).unlink()
    ran = desk.apply(str(desk.folder), "--json")
    assert (ran.code, "has no .yaml, .yml or .json file; subfolders are ignored" in ran.error["message"]) == (2, True)


def test_deploy_apply_says_that_a_status_is_ignored(desk: Desk) -> None:
    shown = desk.qoder("deploy", "get", "dep_paused", "--json").out
    ran = desk.apply_these(shown)
    assert (ran.code, desk.writes) == (0, [])
    assert "`status` is ignored; use `deploy pause` and `deploy unpause`" in ran.err
    ran = desk.apply_these({**json.loads(shown), "description": "New"}, {"name": "demo"})
    first, *_, note, done = ran.err.splitlines()
    assert first == f"applying 1 change: change paused ({HOST})"
    assert ("`status` is ignored" in note, done) == (True, "changed paused (dep_paused)")


def test_deploy_apply_shows_what_differs_before_it_is_done(desk: Desk) -> None:
    desk.add(name="weekly", description="Old words", metadata={"a": "1"})
    ran = desk.apply_these({"name": "weekly", "description": None, "metadata": {"b": "2"}}, {**NEW, "name": "new"})
    [weekly], [new] = desk.named("weekly"), desk.named("new")
    *shown, one, other = ran.err.splitlines()
    assert (
        "\n".join(shown)
        == f"""\
applying 2 changes: create new, change weekly ({HOST})
weekly ({weekly.id})
  ~ description: "Old words" -> null
  - metadata.a: "1"
  + metadata.b: "2"
new (new)
  + name: "new"
  + agent: "agent_1"
  + environment_id: "env_1"
  + initial_events[0].type: "user.message"
  + initial_events[0].content[0].type: "text"
  + initial_events[0].content[0].text: "Report.\""""
    )
    assert {one, other} == {f"changed weekly ({weekly.id})", f"created new ({new.id})"}


SCHEDULE = {"expression": "0 9 * * 1-5", "timezone": "Europe/Berlin"}
FORESEEN = """\
  fires at 09:00 on weekdays (Europe/Berlin); next, in local time (UTC):
    2027-01-18 08:00:00  2027-01-18 09:00:00 Europe/Berlin
    2027-01-19 08:00:00  2027-01-19 09:00:00 Europe/Berlin
    2027-01-20 08:00:00  2027-01-20 09:00:00 Europe/Berlin
    2027-01-21 08:00:00  2027-01-21 09:00:00 Europe/Berlin
    2027-01-22 08:00:00  2027-01-22 09:00:00 Europe/Berlin
"""


@pytest.mark.usefixtures("utc")
def test_deploy_apply_foresees_a_schedule_before_it_is_written(desk: Desk) -> None:
    desk.qoder.clock.time += 3 * 3600  # a Friday, past nine in Berlin
    weekly = desk.add(name="weekly", schedule={**SCHEDULE, "expression": "0 8 * * *"})
    file = desk.file({"name": "weekly", "schedule": SCHEDULE}, {**NEW, "name": "new", "schedule": SCHEDULE})
    for words in (("--dry-run",), ()):
        assert desk.apply(file, *words).err.count(FORESEEN) == 2
    assert "fires" not in desk.apply(file).err
    assert "fires" not in desk.apply_these({"name": "weekly", "description": "New"}).err
    assert "fires" not in desk.apply_these({"name": "weekly", "schedule": None}).err
    weekly.change(desk.world.now(), status="paused", paused_reason={"type": "manual"})
    ran = desk.apply_these({"name": "weekly", "schedule": {**SCHEDULE, "timezone": "UTC"}})
    assert "  fires at 09:00 on weekdays (UTC), once it is unpaused; next, in local time (UTC):\n" in ran.err
    assert "    2027-01-18 09:00:00\n" in ran.err  # said once where both clocks show the same


@pytest.mark.parametrize("words", [(), ("--dry-run",), ("--no-progress",)])
def test_deploy_apply_warns_of_a_schedule_that_never_fires(desk: Desk, words: tuple[str, ...]) -> None:
    ran = desk.apply_these({**NEW, "schedule": {**SCHEDULE, "expression": "0 0 30 2 *"}}, words=words)
    assert ran.code == 0
    assert "warning: weekly: this schedule never fires (no such date)\n" in ran.err


def test_deploy_apply_prints_what_became_of_each(desk: Desk) -> None:
    weekly = desk.add(name="weekly")
    file = desk.file({"name": "weekly", "description": "New", "metadata": {"a": "1"}}, {"id": "dep_gone"})
    ran = desk.apply(file, "--json")
    changed, gone = ran.json
    changes = [{"path": "description", "before": None, "after": "New"}, {"path": "metadata.a", "after": "1"}]
    about = {"action": "changed", "changes": changes, "input": f"{file}:1", "exit_code": 0}
    assert changed == changed | about | {"id": weekly.id, "description": "New", "status": "active"}
    assert "error" not in changed
    about = {"id": None, "action": "failed", "changes": [], "input": f"{file}:2", "exit_code": 5}
    assert gone == gone | about
    assert (ran.code, gone["error"]["type"]) == (5, "not_found")
    assert desk.apply(file, desk.file({"id": "dep_archived"}, name="b.json"), "-q").out == f"{weekly.id}\n"
    assert [line.split("\t") for line in desk.apply(file).out.splitlines()] == [
        ["weekly", weekly.id, "unchanged", "-", f"{file}:1", "-"],
        ["dep_gone", "-", "failed", "-", f"{file}:2", "not_found"],
    ]
    desk.qoder.terminal = True
    drawn = [line.split() for line in desk.apply(file, "--dry-run").out.splitlines()]
    assert [row[:3] for row in drawn[1:3]] == [["weekly", "unchanged", "-"], ["dep_gone", "failed", "-"]]


def test_deploy_apply_dry_run_shows_what_would_be_done_also_where_read_only(desk: Desk) -> None:
    desk.qoder.env["QODER_READ_ONLY"] = "1"
    weekly = desk.add(name="weekly")
    file = desk.file({"name": "weekly", "description": "New"}, {**NEW, "name": "new"}, {"name": "demo"})
    ran = desk.apply(file, "--dry-run", "--json", yes=False)
    assert actions(ran) == [("would_change", 0), ("would_create", 0), ("unchanged", 0)]
    assert desk.asked == [f"GET {LIST}"]
    assert '  ~ description: null -> "New"' in ran.err
    assert '  + name: "new"' in ran.err
    assert desk.apply(file, "--dry-run", "-q", yes=False).out == f"{weekly.id}\ndep_demo\n"
    assert desk.apply(file).code == 2
    assert desk.apply_these({"name": "demo"}).code == 0  # where nothing is to be written
    assert desk.writes == []


def test_deploy_apply_exit_code_tells_whether_anything_would_change(desk: Desk) -> None:
    desk.add(name="weekly")
    same, other = desk.file({"name": "weekly"}, name="same.json"), desk.file({"name": "weekly", "description": "New"})
    assert desk.apply(same, "--exit-code", yes=False).code == 0
    ran = desk.apply(other, "--exit-code", "--json", yes=False)
    assert (ran.code, ran.error["type"], ran.error["message"]) == (8, "not_yet", "1 of 1 deployments would change")
    for more in (["--dry-run"], ["--yes"], ["-q"], ["-o", "jsonl"], ["--no-progress"], ["--repin"]):
        assert desk.apply(other, "--exit-code", *more, yes=False).code == 8
        assert desk.apply(same, "--exit-code", *more, yes=False).code == 0
    assert desk.writes == []
    gone = desk.file({"id": "dep_gone"}, name="gone.json")
    assert desk.apply(other, gone, "--exit-code").code == 5  # an error is told before what would change


def test_deploy_apply_in_a_script_needs_a_yes(desk: Desk) -> None:
    ran = desk.apply_these(NEW, words=("--json",), yes=False)
    assert (ran.code, ran.out, desk.writes) == (2, "", [])
    assert ran.error["hint"] == "pass --yes, or --dry-run to preview"
    assert '  + name: "weekly"' in ran.err
    assert desk.apply_these({"name": "demo"}, yes=False).code == 0  # where there is nothing to ask


def test_deploy_apply_asks_a_person_having_shown_what_differs(desk: Desk, questions: Callable[..., list[str]]) -> None:
    asked = questions(True)
    ran = desk.apply_these(NEW, {"name": "demo", "description": "New"}, {"name": "minute"}, yes=False)
    assert asked == [f"Create 1 and change 1 ({HOST})?"]
    assert (ran.code, len(desk.writes)) == (0, 2)
    assert ran.err.index('  + name: "weekly"') < ran.err.index("created weekly")


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (False, 2, "cancelled; nothing was applied"),
        (typer.Abort(), 2, "no answer was given"),
        (Signalled(signal.SIGINT), 130, "interrupted; nothing was applied"),
    ],
)
def test_deploy_apply_sends_nothing_after_a_no(
    desk: Desk, questions: Callable[..., list[str]], answer: BaseException | bool, code: int, words: str
) -> None:
    questions(answer)
    ran = desk.apply_these(NEW, words=("--json",), yes=False)
    assert (ran.code, ran.out, ran.error["message"]) == (code, "", words)
    assert desk.asked == [f"GET {LIST}"]


def test_deploy_apply_leaves_what_changed_during_the_question(desk: Desk, questions: Callable[..., list[str]]) -> None:
    wanted, weekly, gone, daily = (desk.add(name=name) for name in ("wanted", "weekly", "gone", "daily"))

    def meanwhile() -> bool:
        wanted.change(desk.world.now(), metadata={"a": "1"})
        weekly.change(desk.world.now(), description="By someone else")
        gone.archive(desk.world.now())
        return True

    questions(meanwhile)
    file = desk.file(*({"name": name, "metadata": {"a": "1"}} for name in ("wanted", "weekly", "gone", "daily")))
    ran = desk.apply(file, "--json", yes=False)
    assert (ran.code, actions(ran)) == (6, [("unchanged", 0), ("failed", 6), ("failed", 6), ("changed", 0)])
    assert "was already changed as requested, by someone else" in ran.err
    assert "was changed by someone else in the meantime; nothing was sent" in ran.json[1]["error"]["message"]
    assert "was archived on" in ran.json[2]["error"]["message"]
    assert [path for path, _ in desk.writes] == [f"/deployments/{daily.id}"]
    assert desk.asked.count(f"GET {LIST}") == 1
    assert ran.error["message"].startswith("2 of 4 deployments match their files; ")


@pytest.mark.parametrize("unique_names", [True, False])
def test_deploy_apply_creates_nothing_twice(desk: Desk, questions: Callable[..., Any], unique_names: bool) -> None:
    desk.goes_wrong(unique_names=unique_names)
    questions(lambda: desk.world.add_deployment(name="weekly"))
    ran = desk.apply_these(NEW, {**NEW, "name": "daily"}, words=("--json",), yes=False)
    assert (ran.code, actions(ran)) == (6, [("failed", 6), ("created", 0)])
    assert "weekly was created in the meantime" in ran.json[0]["error"]["message"]
    assert [body["name"] for _, body in desk.writes] == ["daily"]
    assert [len(desk.named(name)) for name in ("weekly", "daily")] == [1, 1]
    assert desk.asked.count(f"GET {LIST}") == 3


# What cannot be meant.


def test_deploy_apply_refuses_a_name_that_several_have(desk: Desk) -> None:
    twins = sorted(desk.add(name="twin").id for _ in range(2))
    file = desk.file({**NEW, "name": "twin"}, {**NEW}, {"name": "nobody", "agent": "agent_1"})
    ran = desk.apply(file)
    assert (ran.code, ran.out, desk.writes) == (2, "", [])
    error, first, second = ran.err.splitlines()
    assert error == "error: 2 problems in deployment files; nothing was sent"
    assert first.startswith(f"{file}:1: 'twin' matches 2 deployments (")
    assert all(id in first for id in twins)
    assert second == (f"{file}:3: no deployment named 'nobody'; to create it, add environment_id, initial_events")


def test_deploy_apply_refuses_one_deployment_that_stands_twice(desk: Desk) -> None:
    weekly = desk.add(name="weekly")
    file = desk.file({"id": weekly.id, "name": "monthly"}, {**NEW, "name": "weekly"})
    ran = desk.apply(file)
    assert (ran.code, desk.writes) == (2, [])
    assert f"{file}:2: is the same deployment as {file}:1 ({weekly.id})" in ran.err
    desk.world.requests.clear()
    one, other = desk.file(NEW, name="a.json"), desk.file(NEW, name="b.json")
    ran = desk.apply(one, other)
    assert (ran.code, desk.asked) == (2, [])
    assert f"{other}:1: name: is already used at {one}:1" in ran.err


def test_deploy_apply_lists_archived_ones_only_where_a_name_asks_for_them(desk: Desk) -> None:
    name, archived = "weekly_archived_1781427523", "2026-06-14T08:54:06Z"
    desk.add(name="weekly", archived_at=archived)  # a server that does not rename it
    assert desk.apply_these(NEW).code == 0
    assert ([one.name for one in desk.named("weekly")], desk.asked[0]) == (["weekly"], f"GET {LIST}")
    desk.world.requests.clear()
    desk.add(name=name, archived_at=archived)
    assert desk.apply_these({**NEW, "name": name}).code == 6
    assert desk.asked == [f"GET {LIST}&include_archived=true"]
    alive = desk.add(name=name)
    assert desk.apply_these({"name": name, "description": "New"}).code == 0
    assert alive.fields["description"] == "New"


def test_deploy_apply_reads_nothing_once_more_that_was_listed(desk: Desk) -> None:
    assert desk.apply_these({"id": "dep_demo"}, {"name": "minute"}, {"id": "dep_fail", "name": "fail"}).code == 0
    assert desk.asked == [f"GET {LIST}"]


def test_deploy_apply_does_the_others_where_an_id_is_unknown(desk: Desk) -> None:
    ran = desk.apply_these({"id": "dep_dem0", "name": "x"}, NEW, words=("--json",))
    assert (ran.code, actions(ran)) == (5, [("failed", 5), ("created", 0)])
    assert "did you mean 'demo' (dep_demo)?" in ran.error["hint"]
    assert ran.error["message"].startswith("1 of 2 deployments match their files; deployment dep_dem0")


@pytest.mark.parametrize("option", [[], ["-f"], ["--file"], ["--filename"]])
def test_deploy_apply_takes_files_with_and_without_an_option(desk: Desk, option: list[str]) -> None:
    files = [desk.file({"name": name}, name=f"{name}.yaml") for name in ("demo", "minute")]
    ran = desk.qoder("deploy", "apply", *option, *files, "--json", "--yes")
    assert (ran.code, [item["name"] for item in ran.json]) == (0, ["demo", "minute"])


# What goes wrong on the way.


@pytest.mark.parametrize("fault", [*ACTED, "late=6"])
@pytest.mark.few(3)
def test_deploy_apply_settles_lost_answers_by_reading_back(desk: Desk, fault: str) -> None:
    weekly = desk.add(name="weekly")
    desk.goes_wrong(f"create:{fault}", f"update:{fault}", unique_names=False)
    ran = desk.apply_these({**NEW, "name": "new"}, {"name": "weekly", "description": "New"}, words=("--json",))
    assert (ran.code, actions(ran)) == (0, [("created", 0), ("changed", 0)])
    assert [one.id for one in desk.named("new")] == [ran.json[0]["id"]]
    assert (weekly.fields["description"], len(desk.writes)) == ("New", 2)


def test_deploy_apply_exits_9_where_a_create_does_not_show(desk: Desk) -> None:
    desk.goes_wrong("create:drop-before")
    ran = desk.apply_these(NEW, {"name": "demo"}, words=("--json",))
    assert actions(ran) == [("unknown", 9), ("unchanged", 0)]
    assert "unknown whether creating weekly succeeded" in ran.error["message"]
    assert ran.error["next"] == ["qoder", "deploy", "list", "-o", "json"]
    assert desk.apply_these(NEW).code == 0  # a second apply finishes
    assert len(desk.named("weekly")) == 1


def test_deploy_apply_finds_a_lost_create_on_a_later_page(desk: Desk) -> None:
    desk.goes_wrong("create:drop-after")
    desk.qoder.clock.at_sleep = lambda: crowd_in()

    def crowd_in() -> None:
        desk.qoder.clock.at_sleep = lambda: None
        desk.world.seed_deployments(150)

    assert desk.apply_these(NEW).code == 0
    assert [one.name for one in desk.named("weekly")] == ["weekly"]


def test_deploy_apply_takes_no_namesake_that_differs_for_its_own(desk: Desk) -> None:
    desk.goes_wrong("create:drop-before", unique_names=False)

    def someone_else() -> None:
        desk.qoder.clock.at_sleep = lambda: None
        desk.world.add_deployment(name="weekly", initial_events=EVENTS, description="Theirs")

    desk.qoder.clock.at_sleep = someone_else
    ran = desk.apply_these({**NEW, "description": "Mine"}, words=("--json",))
    assert (ran.code, len(desk.named("weekly"))) == (9, 1)


def test_deploy_apply_tells_its_own_from_a_namesake_by_our_mark(desk: Desk) -> None:
    desk.goes_wrong("create:stranger", "create:drop-after", unique_names=False)
    ran = desk.apply_these(NEW, words=("--json",))
    [ours] = [one for one in desk.named("weekly") if "qoder_key" in one.fields["metadata"]]
    assert (ran.code, len(desk.writes), ran.json[0]["id"]) == (6, 1, ours.id)
    assert "someone else created another of this name" in ran.error["message"]


@pytest.mark.parametrize("fault", [*LOST, "503", "500"])
@pytest.mark.few(2)
def test_deploy_apply_sends_again_a_change_that_does_not_show(desk: Desk, fault: str) -> None:
    weekly = desk.add(name="weekly")
    desk.goes_wrong(f"update:{fault}*2")
    assert desk.apply_these({"name": "weekly", "description": "New"}).code == 0
    assert (weekly.fields["description"], len(desk.writes)) == ("New", 3)
    assert len({seen.key for seen in desk.world.requests if seen.method == "POST"}) == 1
    daily = desk.add(name="daily")
    desk.goes_wrong(f"update:{fault}*inf")
    ran = desk.apply_these({"name": "daily", "description": "New"}, words=("--json",))
    assert len(desk.writes) == 3
    if fault in LOST:
        assert actions(ran) == [("unknown", 9)]
        assert ran.error["next"] == ["qoder", "deploy", "get", daily.id, "-o", "json"]


@pytest.mark.parametrize("beside", [[], ["agent:403*inf"]])
def test_deploy_apply_takes_no_lost_repinning_for_done(desk: Desk, beside: list[str]) -> None:
    weekly = desk.add(name="weekly", agent={"id": "agent_1", "type": "agent", "version": 2})
    at_version(desk.world, "agent_1", 5)
    desk.goes_wrong("update:drop-before", *beside)
    ran = desk.apply_these({"name": "weekly", "agent": "agent_1"}, words=("--repin",))
    assert (ran.code, weekly.fields["agent"]["version"], len(desk.writes)) == (0, 5, 2)
    at_version(desk.world, "agent_1", 6)
    desk.goes_wrong("update:drop-after", *beside)
    ran = desk.apply_these({"name": "weekly", "agent": "agent_1"}, words=("--repin",))
    assert (ran.code, weekly.fields["agent"]["version"], len(desk.writes)) == (0, 6, 1)


def test_deploy_apply_exits_6_where_one_is_archived_while_its_answer_is_lost(desk: Desk) -> None:
    weekly = desk.add(name="weekly")
    desk.goes_wrong("update:drop-before")

    def someone_else() -> None:
        if weekly.archived is None:
            weekly.archive(desk.world.now())

    desk.qoder.clock.at_sleep = someone_else
    ran = desk.apply_these({"name": "weekly", "description": "New"}, words=("--json",))
    assert (ran.code, len(desk.writes)) == (6, 1)
    assert "was archived on" in ran.error["message"]


def test_deploy_apply_keeps_what_a_stranger_wrote_and_the_file_leaves_out(desk: Desk) -> None:
    weekly = desk.add(name="weekly")
    desk.goes_wrong("update:stranger")
    assert desk.apply_these({"name": "weekly", "metadata": {"a": "1"}}).code == 0
    assert (weekly.fields["description"], weekly.fields["metadata"]) == ("Changed by someone else.", {"a": "1"})


@pytest.mark.parametrize("where", ["create", "update"])
@pytest.mark.parametrize(("fault", "code"), [("401", 4), ("404", 5), ("409", 6), ("503*inf", 7)])
@pytest.mark.few(3)
def test_deploy_apply_tells_a_refusal_and_does_the_others(desk: Desk, where: str, fault: str, code: int) -> None:
    desk.add(name="weekly")
    desk.goes_wrong(f"{where}:{fault}")
    these = [{"name": "weekly", "description": "New"}, {**NEW, "name": "new"}]
    ran = desk.apply_these(*(these if where == "update" else reversed(these)), {"name": "demo"}, words=("--json",))
    done = "created" if where == "update" else "changed"
    assert ran.code == code
    assert actions(ran) == [("failed", code), (done, 0), ("unchanged", 0)]
    assert ran.error["message"].startswith("2 of 3 deployments match their files; ")


def test_deploy_apply_exits_6_where_the_server_stores_something_else(desk: Desk) -> None:
    desk.service.defaults = lambda raw: raw.update(description="Shortened", metadata={"b": "2"})
    meant = {**NEW, "description": "All of it", "metadata": {"a": "1"}}
    ran = desk.apply_these(meant, words=("--json",))
    [made] = desk.named("weekly")
    assert (ran.code, actions(ran), ran.json[0]["id"]) == (6, [("created", 6)], made.id)
    assert ran.error["message"] == (
        f"weekly ({made.id}) was created, but the server stored something else: description, metadata.b, metadata.a"
    )
    assert ran.error["next"] == ["qoder", "deploy", "get", made.id, "-o", "json"]
    assert f"warning: {ran.error['message']}\n" in ran.err  # which names it once


@pytest.mark.parametrize(
    "other", [{"name": None}, {"environment_id": "env_other"}, {"archived_at": "2026-06-14T00:00:00Z"}]
)
def test_deploy_apply_believes_no_creation_of_another_deployment(desk: Desk, other: Any) -> None:
    kept = {"id": "dep_1", "type": "deployment", **BODY, "agent": {"id": "agent_1", "type": "agent", "version": 1}}
    desk.service.never = [httpx.Response(200, json=kept | other)]
    ran = desk.apply_these(NEW, words=("--json",))
    assert (ran.code, actions(ran), ran.json[0]["id"]) == (9, [("unknown", 9)], None)
    assert "dep_1" not in ran.out


def test_deploy_apply_exits_6_where_an_older_server_drops_a_field(qoder: Qoder, tmp_path: Path) -> None:
    desk = Desk(qoder, tmp_path, "legacy")
    ran = desk.apply_these({**NEW, "environment_variables": {"A": "1"}}, words=("--json",))
    assert (ran.code, actions(ran)) == (6, [("created", 6)])
    assert ran.error["message"].endswith("the server stored something else: environment_variables.A")


# Files as a stack has them.


def in_markdown(**fields: Any) -> str:
    lines = [f"{name}: {json.dumps(value)}" for name, value in fields.items()]
    return "\n".join(["---", *lines, "---", "Write the report.", ""])


def test_deploy_apply_takes_markdown_of_a_folder_with_paths_in_place_of_names(desk: Desk) -> None:
    store = desk.service.change("/memory_stores", {"name": "notes"})
    agent = desk.service.change("/agents", {"name": "reporter", "model": "auto"})
    desk.file({"name": "notes"}, name="notes.json")
    desk.file("---\nname: reporter\n---\nYou report.\n", name="reporter.md")
    folder = desk.folder / "deployments"
    folder.mkdir()
    resources = [{"path": "../notes.json", "access": "read_write"}]
    fields = {"name": "nightly", "agent": "../reporter.md", "environment": "env_1", "resources": resources}
    (folder / "nightly.md").write_text(in_markdown(**fields))
    (folder / "notes.md").write_text("# Nothing declared\n")
    assert desk.apply(str(folder)).code == 0
    [made] = desk.named("nightly")
    assert made.fields["agent"]["id"] == agent["id"]
    assert made.fields["initial_events"][0]["content"][0]["text"].strip() == "Write the report."
    [resource] = made.fields["resources"]
    assert (resource["memory_store_id"], resource["access"]) == (store["id"], "read_write")
    ran = desk.apply(str(folder), "--json")
    assert actions(ran) == [("unchanged", 0)]
    (folder / "nightly.md").write_text(in_markdown(**fields | {"paused": True}), encoding="utf-8-sig")
    assert desk.apply(str(folder)).code == 0
    assert desk.named("nightly")[0].fields["status"] == "paused"


@pytest.mark.parametrize("agent", ["./reporter.md@1", {"path": "./reporter.md", "version": 1}])
def test_deploy_apply_pins_the_version_behind_the_path_of_an_agent(desk: Desk, agent: Any) -> None:
    id = desk.service.change("/agents", {"name": "reporter", "model": "auto"})["id"]
    desk.service.change(f"/agents/{id}", {"description": "New", "version": 1})
    desk.file("---\nname: reporter\n---\n", name="reporter.md")
    assert desk.apply_these({**NEW, "agent": agent}).code == 0
    assert desk.named("weekly")[0].fields["agent"] == {"id": id, "type": "agent", "version": 1}


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"agent": "../gone.md"}, "nightly.md:3: agent: {folder}gone.md does not exist"),
        ({"agent": "./empty.md"}, "empty.md does not declare one agent with a name"),
        ({"message": "Hi."}, "message: the text below the front matter is message too; keep one of the two"),
        ({"paused": "yes"}, "nightly.md:3: paused: must be true or false"),
        ({"resources": [{"path": "a.csv"}]}, "resources[0].file_id: only qoder apply uploads files"),
    ],
)
def test_deploy_apply_sends_nothing_of_a_file_that_it_cannot_follow(
    desk: Desk, fields: dict[str, Any], problem: str
) -> None:
    desk.file("---\n{}\n---\n", name="empty.md")
    ran = desk.apply(desk.file(in_markdown(name="nightly", **fields), name="nightly.md"))
    assert (ran.code, desk.writes) == (2, [])
    assert problem.format(folder=f"{desk.folder.parent}/") in ran.err, ran.err


def test_deploy_apply_creates_a_deployment_that_is_never_awake(desk: Desk) -> None:
    daily = {"schedule": {"type": "cron", "expression": "0 9 * * *", "timezone": "UTC"}}
    ran = desk.apply_these({**NEW, **daily, "paused": True}, words=("--json",))
    [made] = desk.named("weekly")
    id, [(_, created), *rest] = made.id, desk.writes
    assert (ran.code, "schedule" in created) == (0, False)
    assert [path for path, _ in rest] == [f"/deployments/{id}/pause", f"/deployments/{id}"]
    assert actions(desk.apply_these({**NEW, **daily, "paused": True}, words=("--json",))) == [("unchanged", 0)]
    ran = desk.apply_these({**NEW, **daily, "paused": False}, words=("--json",))
    assert (actions(ran), ran.json[0]["status"]) == ([("changed", 0)], "active")
    assert [change["path"] for change in ran.json[0]["changes"]] == ["paused"]


def test_deploy_apply_names_the_twin_that_the_list_shows_only_later(desk: Desk) -> None:
    desk.goes_wrong("create:stranger", "any:lagging=6.0", unique_names=False)
    ran = desk.apply_these(NEW, words=("--json",))
    assert (ran.code, len(desk.named("weekly"))) == (6, 2)
    assert "someone else created another of this name" in ran.error["message"]


def test_deploy_apply_waits_for_a_lagging_replica(desk: Desk) -> None:
    desk.add(name="weekly")
    desk.goes_wrong("any:lagging=3.0")
    ran = desk.apply_these(NEW | {"name": "new"}, {"name": "weekly", "description": "New"}, words=("--json",))
    assert (ran.code, actions(ran)) == (0, [("created", 0), ("changed", 0)])
    assert [item["description"] for item in ran.json] == [None, "New"]
    assert "warning" not in ran.err


def test_deploy_apply_says_check_again_where_a_replica_lags_for_long(desk: Desk) -> None:
    weekly = desk.add(name="weekly", description="Old")
    desk.goes_wrong("any:lagging=60")
    ran = desk.apply_these({"name": "weekly", "description": "New"}, words=("--json",))
    assert (ran.code, actions(ran), weekly.fields["description"]) == (6, [("changed", 6)], "New")
    said = f"weekly ({weekly.id}) was changed, but reading it back still shows something else: description"
    assert (ran.error["message"], ran.error["hint"]) == (said, "check again later")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("GET /deployments/{id}", "weekly ({id}) was created, but could not be read back: HTTP 403 from "),
        ("GET /deployments", "unknown whether someone else created one of the same name: HTTP 403 from "),
    ],
)
def test_deploy_apply_warns_where_it_cannot_read_back_or_list_afterwards(desk: Desk, asked: str, said: str) -> None:
    made: list[str] = []

    def deny(done: httpx.Response) -> httpx.Response:
        made.append(done.json()["id"])
        desk.service.instead[asked.format(id=made[0])] = [refusal(403, "permission_error", "No.") for _ in range(9)]
        return done

    desk.service.after = [deny]
    ran = desk.apply_these(NEW, words=("--json",))
    assert (ran.code, actions(ran)) == (0, [("created", 0)])
    assert f"warning: {said.format(id=made[0])}{HOST}: No." in ran.err


def test_deploy_apply_exits_9_where_neither_answer_nor_reading_back_shows_the_change(desk: Desk) -> None:
    weekly = desk.add(name="weekly", description="Old")

    def short(done: httpx.Response) -> httpx.Response:
        desk.service.instead[f"GET /deployments/{weekly.id}"] = [refusal(403, "permission_error", "No.")] * 9
        return httpx.Response(200, json={"id": weekly.id, "type": "deployment"})

    desk.service.after = [short]
    ran = desk.apply_these({"name": "weekly", "description": "New"}, words=("--json",))
    assert (ran.code, actions(ran), len(desk.writes)) == (9, [("unknown", 9)], 1)


def test_deploy_apply_waits_for_a_replica_that_lags_after_a_short_answer(desk: Desk) -> None:
    weekly = desk.add(name="weekly", description="Old")
    desk.goes_wrong("any:lagging=1")
    desk.service.after = [lambda done: httpx.Response(200, json={"id": weekly.id, "type": "deployment"})]
    ran = desk.apply_these({"name": "weekly", "description": "New"}, words=("--json",))
    assert (ran.code, actions(ran), weekly.fields["description"]) == (0, [("changed", 0)], "New")


@pytest.mark.parametrize("description", ["Theirs", "Mine"])
def test_deploy_apply_exits_6_where_a_colleague_creates_it_just_before(desk: Desk, description: str) -> None:
    desk.service.meanwhile = [lambda: creates_weekly(desk, description)]
    ran = desk.apply_these({**NEW, "description": "Mine"}, words=("--json",))
    [theirs] = desk.named("weekly")
    assert (ran.code, actions(ran), len(desk.writes)) == (6, [("failed", 6)], 1)
    assert ran.error["http_status"] == 409
    assert ran.error["message"].endswith(f"; the name is that of {theirs.id}")
    assert ran.error["message"] in ran.err.partition("warning: weekly: ")[2]


@pytest.mark.parametrize("words", [[], ["--no-progress"]])
def test_deploy_apply_tells_both_ids_where_two_create_one_name_at_once(desk: Desk, words: list[str]) -> None:
    desk.goes_wrong(unique_names=False)
    theirs: list[str] = []
    desk.service.meanwhile = [lambda: theirs.append(creates_weekly(desk, "Same"))]
    ran = desk.apply_these({**NEW, "description": "Same"}, {**NEW, "name": "daily"}, words=("--json", *words))
    [ours] = {one.id for one in desk.named("weekly")} - set(theirs)
    assert (ran.code, actions(ran), ran.json[0]["id"]) == (6, [("created", 6), ("created", 0)], ours)
    said = f"weekly ({ours}) was created, and someone else created another of this name: {theirs[0]}"
    assert ran.json[0]["error"]["message"] == said
    assert ran.error["message"] == f"1 of 2 deployments match their files; {said}"


def creates_weekly(desk: Desk, description: str) -> str:
    """Let someone else create the weekly one; return its id."""
    agent = {"id": "agent_1", "type": "agent", "version": 1}
    fields: dict[str, Any] = {"agent": agent, "environment_id": "env_1", "initial_events": EVENTS}
    return desk.world.add_deployment(name="weekly", description=description, **fields).id


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.few(4)
def test_deploy_apply_never_lies_nor_creates_two(desk: Desk, fault: str) -> None:
    qoder = desk.qoder
    weekly = desk.add(name="weekly")
    beside = ("any:lagging=3", "any:skew=-3600", "deployment:503*4")
    desk.goes_wrong(f"create:{fault}*2", f"update:{fault}*2", *beside, unique_names=False)
    ran = desk.apply_these({**NEW, "name": "new"}, {"name": "weekly", "description": "New"}, words=("--json",))
    then = len(desk.named("new")), weekly.fields["description"]
    qoder.clock.time += 60  # whatever was to happen late has happened
    assert len(desk.named("new")) <= 1
    if ran.out:
        created, changed = ran.json
        assert created["exit_code"] != 0 or then[0] == 1
        assert changed["exit_code"] != 0 or then[1] == "New"
        assert created["exit_code"] in (0, 9) or not desk.named("new")
        assert changed["exit_code"] in (0, 9) or weekly.fields["description"] is None
        assert ran.code == max(created["exit_code"], changed["exit_code"])
    else:
        assert (ran.code, then, desk.writes) == (7, (0, None), [])
    desk.goes_wrong(unique_names=False)
    assert desk.apply(desk.file({**NEW, "name": "new"}, {"name": "weekly", "description": "New"})).code == 0
    assert len(desk.named("new")) == 1


SECRET = 'hunter2-"quoted"\\'
HIDING = {
    "name": "keeper-${ENV}",
    "agent": "agent_1",
    "environment_id": "env_1",
    "message": "Report on ${ENV}.",
    "description": "Of ${ENV}",
    "metadata": {"where": "pre-${ENV}"},
    "environment_variables": {"TOKEN": "${SECRET}", "PLAIN": "on"},
    "resources": [
        {"type": "github_repository", "url": "https://x", "authorization_token": "literal-token-9"},
        {"type": "git_repository", "url": "https://x", "checkout": {"token": "${SECRET}"}},
    ],
}
OLD = {"environment_variables": "TOKEN=yesterdays-secret\nPLAIN=off", "description": "Old"}


@pytest.mark.parametrize("format", ["table", "json"])
def test_deploy_apply_shows_no_byte_of_a_secret(desk: Desk, format: str) -> None:
    qoder = desk.qoder
    qoder.env |= {"SECRET": SECRET, "ENV": "blue-moon"}
    file = desk.file(HIDING)

    def shown(*words: str, yes: bool = True) -> str:
        ran = desk.apply(file, "-o", format, *words, yes=yes)
        return ran.out + ran.err

    said = [shown("--dry-run", "--debug"), shown(yes=False), shown("--debug"), shown()]
    [keeper] = desk.named("keeper-blue-moon")
    assert keeper.fields["environment_variables"] == f"TOKEN={SECRET}\nPLAIN=on"
    keeper.fields |= {name: OLD[name] for name in ("environment_variables", "description")}
    said += [shown("--exit-code", "--debug"), shown("--debug")]
    assert keeper.fields["environment_variables"] == f"TOKEN={SECRET}\nPLAIN=on"
    for secret in (SECRET, json.dumps(SECRET)[1:-1], "hunter2", "literal-token-9", "yesterdays-secret"):
        assert secret not in "".join(said)
    assert "[hidden]" in "".join(said)
    for plain in ("keeper-blue-moon", "Report on blue-moon.", "Of blue-moon", "pre-blue-moon"):
        assert plain in said[0]


@pytest.mark.parametrize("who", ["e", "active"])
def test_deploy_apply_shows_what_stands_where_no_secret_can(desk: Desk, who: str) -> None:
    desk.qoder.env["WHO"] = who
    meant = {**NEW, "name": "report-${WHO}", "description": "For ${WHO}", "metadata": {"pin": "<${WHO}>"}}
    for words in (("--dry-run",), ("--debug",), ("--exit-code",)):
        ran = desk.apply_these(meant, words=(*words, "--json"))
        assert "[hidden]" not in ran.out + ran.err
        assert "[redacted]" not in ran.out
    assert desk.qoder("deploy", "get", f"report-{who}", "--json").json == {
        key: value for key, value in ran.json[0].items() if key not in ("action", "changes", "input", "exit_code")
    }


@pytest.mark.parametrize("format", ["table", "json"])
def test_deploy_apply_shows_no_secret_in_another_form(either: Desk, format: str) -> None:
    either.qoder.env |= {"ALL": "FOO=topsecretvalue; BAR=qq", "ONE": "on"}
    meant = {**NEW, "environment_variables": "PLAIN=yes\nMINE=${ONE}\n${ALL}"}
    for words in (("--dry-run",), ("--debug",), ("--exit-code",)):
        ran = either.apply_these(meant, words=(*words, "-o", format))
        assert ran.code in (0, 6, 8)  # an older server keeps no variables, which is said
        for secret in ("topsecret", "qq", "=on", '"on"'):
            assert secret not in ran.out + ran.err, secret
        assert "FOO" in ran.err + ran.out or words == ("--exit-code",)
    [body] = [body for _, body in either.writes]
    assert body["environment_variables"] == "PLAIN=yes\nMINE=on\nFOO=topsecretvalue\nBAR=qq"


def test_deploy_apply_takes_an_id_from_a_variable(desk: Desk) -> None:
    desk.qoder.env["DEP"] = "dep_demo"
    ran = desk.apply_these({"id": "${DEP}", "description": "New"}, words=("-q",))
    assert (ran.code, ran.out) == (0, "dep_demo\n")
    assert "changed demo (dep_demo)" in ran.err
    desk.qoder.env["DEP"] = "dep_gone"
    ran = desk.apply_these({"id": "${DEP}", "description": "New"})
    assert (ran.code, ran.out.split("\t")[0], "dep_gone" in ran.err) == (5, "dep_gone", True)


@pytest.mark.parametrize("value", ["error", "null", "name", HOST])
@pytest.mark.few(2)
def test_deploy_apply_takes_none_of_its_own_words_for_a_secret(desk: Desk, value: str) -> None:
    file = desk.file({**NEW, "environment_variables": {"LOG_LEVEL": "${LEVEL}"}}, {"id": "dep_gone"})

    def told(level: str) -> list[tuple[int, str, list[str]]]:
        desk.qoder.env["LEVEL"] = level
        desk.goes_wrong("create:403*2")
        rans = [desk.apply(file, *words) for words in ((), ("--json",), ("--dry-run", "-o", "jsonl"))]
        lines = [sorted(_without_request_ids(ran.err).splitlines()) for ran in rans]  # which is done first is open
        return [(ran.code, _without_request_ids(ran.out), lines) for ran, lines in zip(rans, lines, strict=True)]

    as_a_word = told(value)
    assert as_a_word == told("like-no-other")
    assert [code for code, _, _ in as_a_word] == [4, 4, 5]


def _without_request_ids(text: str) -> str:
    return re.sub(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "", text)


def test_deploy_apply_debug_shows_no_short_secret(desk: Desk) -> None:
    desk.qoder.env["PIN"] = "7"
    for words in (("--debug", "--dry-run"), ("--debug", "--json")):
        ran = desk.apply_these({**NEW, "environment_variables": {"PIN": "<${PIN}>"}}, words=words)
        assert (ran.code in (0, 6), "<7>" in ran.out + ran.err) == (True, False)
        assert "[hidden]" in ran.err


def test_deploy_apply_tells_at_a_signal_what_is_known_of_each(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    receive, received = desk.qoder.clock.receive, list[Any]()

    def interrupted(inbox: Any, seconds: float) -> Any:
        received.append(seconds)
        if len(received) == 3:
            raise Signalled(signal.SIGTERM)
        return receive(inbox, seconds)

    monkeypatch.setattr(desk.qoder.clock, "receive", interrupted)
    names = [f"new-{n}" for n in range(60)]
    ran = desk.apply_these(*({**NEW, "name": name} for name in names), {"name": "demo"}, words=("--json",))
    told = {item["name"]: item["action"] for item in ran.json}
    assert (ran.code, list(told), told.pop("demo")) == (143, [*names, "demo"], "unchanged")
    made = {name for name in names if desk.named(name)}
    by_action = {action: {name for name in names if told[name] == action} for action in set(told.values())}
    created, unknown = by_action.pop("created"), by_action.pop("unknown", set())  # on this clock 2 s may be very short
    assert created <= made <= created | unknown
    assert set(by_action) <= {"not_attempted"}
    assert ran.error["message"].startswith(f"stopped by a signal; {len(created) + 1} of 61 ")


def test_deploy_apply_needs_no_state_folder(desk: Desk) -> None:
    file = desk.folder / "no-folder"
    file.write_text("")
    desk.qoder.env["QODER_STATE_DIR"] = str(file)
    ran = desk.apply_these(NEW)
    assert (ran.code, len(desk.named("weekly"))) == (0, 1)
    assert ran.err.count("warning: ") == 1


SILENT: dict[str, tuple[Any, int]] = {
    "what is not listed yet": (lambda page: {**page, "data": []}, 0),
    "no word on more": (lambda page: {"data": []}, 7),
    "no name": (each_row(lambda row: {**row, "name": None}), 7),
    "something else": (lambda page: {**page, "data": ["dep_1"]}, 7),
}


@pytest.mark.parametrize("how", SILENT)
def test_deploy_apply_creates_nothing_twice_where_the_list_is_silent(desk: Desk, how: str) -> None:
    desk.world.unique_names = False
    assert desk.apply_these(NEW).code == 0
    desk.service.lies["GET /deployments"], code = SILENT[how]
    ran = desk.apply_these(NEW)
    assert (ran.code, len(desk.named("weekly")), len(desk.writes)) == (code, 1, 1)


def test_deploy_apply_leaves_alone_what_differs_by_a_space(desk: Desk) -> None:
    there = desk.add(name="weekly")
    ran = desk.apply_these({**NEW, "name": "weekly "}, words=("--json",))
    assert (ran.code, desk.writes) == (6, [])
    assert ran.json[0]["error"]["message"] == f"'weekly' is there already ({there.id})"
