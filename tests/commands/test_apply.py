"""`qoder deploy apply` and `export`, in the user's words, on both generations of server."""

import json
import re
import signal
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer

from qoder_cli.app import App
from qoder_cli.base.errors import Signalled
from qoder_cli.sandbox.records import ENVIRONMENT
from qoder_cli.sandbox.samples import WRITER
from qoder_cli.sandbox.wire import GENERATIONS
from qoder_cli.sandbox.world import Deployment
from tests.conftest import Qoder, Ran
from tests.support.deployments import DEPLOYMENTS
from tests.support.desk import ACTED, EVENTS, HOST, LIST, LOST, Desk
from tests.support.wire import api_error, page

ALIVE = {variant: one for variant, one in DEPLOYMENTS.items() if not one["archived_at"]}
ARCHIVED = {variant: one for variant, one in DEPLOYMENTS.items() if one["archived_at"]}
NEW = {"name": "weekly", "agent": "agent_1", "environment_id": "env_1", "message": "Report."}
BODY = {"name": "weekly", "agent": "agent_1", "environment_id": "env_1", "initial_events": EVENTS}


@pytest.fixture(autouse=True)
def plain_http(qoder: Qoder) -> None:
    """Spare each command reading the certificates."""
    qoder.env["QODER_BASE_URL"] = f"http://{HOST}"


@pytest.fixture(params=GENERATIONS)
def desk(request: pytest.FixtureRequest, qoder: Qoder, tmp_path: Path) -> Desk:
    return Desk(qoder, tmp_path, request.param)


@pytest.fixture
def questions(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Sit at the terminal: return what answers the question to come, which gives the list of those asked."""
    asked: list[str] = []

    def answering(answer: Any) -> list[str]:
        def choice_of(stdin: Any, screen: Any, text: str, choices: str, **_: Any) -> str:
            asked.append(text.removesuffix(" [y/N]:"))
            if isinstance(answer, BaseException):
                raise answer
            return "y" if (answer() if callable(answer) else answer) else "n"

        monkeypatch.setattr(App, "may_ask", True)
        monkeypatch.setattr("qoder_cli.cli.options.choice_of", choice_of)
        return asked

    return answering


def actions(ran: Ran) -> list[tuple[str, int | None]]:
    """Return what became of each, from the JSON."""
    return [(item["action"], item["exit_code"]) for item in ran.json]


# Export, edit, apply, apply again.


def test_the_cycle_writes_once_and_only_what_differs(desk: Desk) -> None:
    desk.add(name="weekly", description="Old words", schedule={"expression": "0 9 * * 1", "timezone": "UTC"})
    text = desk.qoder("deploy", "export", "weekly").out
    edited = text.replace("Old words", "New words").replace("0 9 * * 1", "30 9 * * 1")
    assert edited != text
    desk.world.requests.clear()

    file = desk.file(edited, name="weekly.yaml")
    ran = desk.apply(file)
    [weekly] = desk.named("weekly")
    assert (ran.code, ran.out.split("\t")[:3]) == (0, ["weekly", weekly.id, "changed"])
    schedule = {"type": "cron", "expression": "30 9 * * 1", "timezone": "UTC"}
    assert desk.asked == [
        f"GET {LIST}",
        f"GET /deployments/{weekly.id}",  # as it is just before the write
        f"POST /deployments/{weekly.id}",
        f"GET /deployments/{weekly.id}",  # read back
    ]
    assert desk.writes == [(f"/deployments/{weekly.id}", {"description": "New words", "schedule": schedule})]
    schedule = {"type": "cron", "expression": "30 9 * * 1", "timezone": "UTC"}
    assert (weekly.fields["description"], weekly.fields["schedule"]) == ("New words", schedule)

    desk.world.requests.clear()
    ran = desk.apply(file)
    assert (ran.code, ran.err, ran.out.split("\t")[2]) == (0, "", "unchanged")
    assert desk.asked == [f"GET {LIST}"]


@pytest.mark.parametrize("variant", ALIVE)
@pytest.mark.parametrize("format", ["table", "json", "jsonl"])
def test_what_is_exported_is_applied_without_a_change(qoder: Qoder, variant: str, format: str) -> None:
    one = ALIVE[variant]
    qoder.wire.on("GET", f"/deployments/{one['id']}", one, repeat=True)
    qoder.wire.on("GET", "/deployments", page(one), repeat=True)
    qoder("deploy", "list")  # so that this is asked whatever the format
    qoder.stdin = qoder("deploy", "export", one["id"], "-o", format).out
    ran = qoder("deploy", "apply", "-f", "-", "--exit-code", "--json")
    assert (ran.code, [item["action"] for item in ran.json]) == (0, ["unchanged"])
    assert qoder.wire.asked("POST") == []


LOOKS_LIKE_A_VARIABLE = "Run `echo ${HOME}`, ${NOPE:-x}, $${HOME} and ${"


@pytest.mark.parametrize("words", [("export",), ("export", "--json"), ("export", "-o", "jsonl"), ("get", "--json")])
def test_what_looks_like_a_variable_on_a_server_is_none(desk: Desk, words: tuple[str, ...]) -> None:
    text = LOOKS_LIKE_A_VARIABLE
    content = [{"type": "text", "text": text}]
    desk.qoder.env["HOME"] = "/home/me"
    weekly = desk.add(name=text, description=text, metadata={"a": text}, environment_variables=f"A={text}")
    weekly.fields["initial_events"] = [{"type": "user.message", "content": content}]
    file = desk.file(desk.qoder("deploy", words[0], weekly.id, *words[1:]).out, name="file.yaml")
    ran = desk.apply(file, "--exit-code", "--json")
    assert (ran.code, actions(ran), ran.json[0]["description"]) == (0, [("unchanged", 0)], text)
    weekly.fields["description"] = weekly.fields["metadata"]["a"] = "Old"
    assert desk.apply(file).code == 0
    assert (weekly.fields["description"], weekly.fields["metadata"]["a"]) == (text, text)


def test_it_is_said_where_what_looks_like_a_variable_is_none(desk: Desk) -> None:
    desk.add(name="weekly", description="${HOME}")
    file = desk.file(desk.qoder("deploy", "export", "weekly", "--json").out)
    ran = desk.apply(file)
    assert ran.err == f'{file}:1: ${{…}} is not expanded, because the object has "type": "deployment"\n'
    assert desk.apply(file, "--no-progress").err == ""
    assert desk.apply_these(desk.qoder("deploy", "export", "demo", "--json").out).err == ""


@pytest.mark.parametrize("variant", ARCHIVED)
def test_what_is_archived_is_exported_with_a_warning_and_refused(qoder: Qoder, variant: str) -> None:
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


def test_several_are_exported_into_one_file_and_taken_back(desk: Desk) -> None:
    desk.qoder.stdin = "demo\ndep_minute\n"
    text = desk.qoder("deploy", "export", "nightly-report", "-").out
    assert text.count("\n---\n") == 2
    ran = desk.apply(desk.file(text, name="all.yaml"), "--json")
    assert [item["id"] for item in ran.json] == ["dep_scheduled", "dep_demo", "dep_minute"]
    assert {item["action"] for item in ran.json} == {"unchanged"}


def test_one_that_is_named_twice_is_exported_once(desk: Desk) -> None:
    text = desk.qoder("deploy", "export", "dep_demo", "demo", "dep_fail", "dep_demo").out
    desk.qoder.stdin = text
    ran = desk.apply("-f", "-", "--exit-code")
    assert (ran.code, [row.split("\t")[2] for row in ran.out.splitlines()]) == (0, ["unchanged"] * 2)


def test_in_json_each_that_is_named_is_an_item(desk: Desk) -> None:
    items = desk.qoder("deploy", "export", "dep_demo", "demo", "--json").json
    assert [item["id"] for item in items] == ["dep_demo", "dep_demo"]


def test_those_of_one_name_are_exported_with_their_ids(desk: Desk) -> None:
    desk.goes_wrong(unique_names=False)
    one, two, other = desk.add(name="twin"), desk.add(name="twin"), desk.add(name="other")
    text = desk.qoder("deploy", "export", one.id, two.id, other.id).out
    assert [line for line in text.splitlines() if line.startswith(("id: ", "name: "))] == [
        *(f"id: {one.id}", "name: twin", f"id: {two.id}", "name: twin", "name: other"),
    ]
    desk.qoder.stdin = text
    ran = desk.apply("-f", "-", "--exit-code")
    assert (ran.code, [row.split("\t")[2] for row in ran.out.splitlines()]) == (0, ["unchanged"] * 3)


@pytest.mark.parametrize("name", ["dep_weekly", "drun_1", "two\nlines", "a/../b"])
def test_a_name_that_no_command_can_be_given_is_warned_of(desk: Desk, name: str) -> None:
    ran = desk.apply_these({**NEW, "name": name})
    assert (ran.code, "commands will not take this name; use its id" in ran.err) == (0, True)
    again = desk.apply_these({**NEW, "name": name})
    assert (again.code, "commands will not take this name; use its id" in again.err, len(desk.writes)) == (0, False, 1)


def test_export_prints_nothing_when_one_is_not_known(desk: Desk) -> None:
    for format in ("table", "json", "jsonl", "id"):
        for unknown in ("nobody", "dep_gone"):
            ran = desk.qoder("deploy", "export", "dep_demo", unknown, "-o", format)
            assert (ran.code, ran.out) == (5, "")


MALFORMED = ("name", "agent", "schedule", "initial_events", "resources", "vault_ids", "metadata", "budget")


@pytest.mark.parametrize("field", [*MALFORMED, "description", "environment_id", "environment_variables"])
@pytest.mark.parametrize("value", [1, True, "x", [1], {"type": 1}, [{"type": []}], None])
def test_what_is_no_deployment_as_documented_is_no_bug_here(qoder: Qoder, field: str, value: Any) -> None:
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
def test_names_in_files_are_looked_up_once_and_compared_by_their_ids(desk: Desk, agent: str) -> None:
    texts = (f"name: {name}\n{NAMED.format(agent)}" for name in ("weekly", "monthly"))
    file = desk.file(*texts, name="a.yaml")
    planned = desk.apply(file, "--dry-run", "--json")
    assert planned.code == 0
    assert f'+ environment_id: "{ENVIRONMENT}"' in planned.err
    assert '+ vault_ids[0]: "vault_team"' in planned.err
    assert f'"{WRITER}"' in planned.err
    assert planned.err.count(f"writer is {WRITER}") == 1
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


def test_ids_alone_send_no_request_more(desk: Desk) -> None:
    one = {**NEW, "environment": NEW["environment_id"], "vaults": ["vault_1"]}
    del one["environment_id"]
    assert desk.apply_these(one, words=("--dry-run",)).code == 0
    assert desk.asked == [f"GET {LIST}"]


def test_names_of_nothing_or_of_two_are_told_with_their_lines(desk: Desk) -> None:
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
    assert "a.yaml:6: vaults: no vault is named 'nothing'; to see what there is (looked on " in lines[3]
    assert lines[3].endswith("): qoder vault list -o json")


def test_a_list_that_cannot_be_read_is_told_as_it_is(desk: Desk) -> None:
    desk.goes_wrong("any:503*inf")
    ran = desk.apply_these({**NEW, "agent": "writer"})
    assert ran.code == 7
    assert desk.writes == []


def test_what_is_not_there_is_created(desk: Desk) -> None:
    ran = desk.apply_these(NEW, words=("--json",))
    [made] = desk.named("weekly")
    assert (ran.code, actions(ran), ran.json[0]["id"]) == (0, [("created", 0)], made.id)
    assert desk.asked == [
        f"GET {LIST}",
        "POST /deployments",
        f"GET /deployments/{made.id}",  # read back
        f"GET {LIST}",  # whether someone else created one of this name
    ]
    assert desk.writes == [("/deployments", BODY)]
    assert desk.world.requests[1].key
    assert actions(desk.apply_these(NEW, words=("--json",))) == [("unchanged", 0)]
    assert len(desk.writes) == 1


def test_what_is_empty_in_a_file_is_not_sent_to_create(desk: Desk) -> None:
    empty: dict[str, Any] = {
        "description": None,
        "schedule": None,
        "vault_ids": [],
        "resources": [],
        "metadata": {},
        "budget": None,
    }
    desk.apply_these({**NEW, **empty, "environment_variables": ""})
    assert desk.writes == [("/deployments", BODY)]


def test_metadata_in_a_file_is_all_of_it(desk: Desk) -> None:
    desk.add(name="weekly", metadata={"team": "core", "tier": "1", "old": "x"})
    ran = desk.apply_these({"name": "weekly", "metadata": {"team": "core", "tier": "2", "note": ""}})
    [(_, body)] = desk.writes
    assert body == {"metadata": {"tier": "2", "note": "", "old": None}}
    [weekly] = desk.named("weekly")
    assert (ran.code, weekly.fields["metadata"]) == (0, {"team": "core", "tier": "2", "note": ""})
    desk.apply_these({"name": "weekly", "metadata": {}})
    assert desk.writes[1][1] == {"metadata": {"team": None, "tier": None, "note": None}}
    assert "cas_config" not in json.dumps(desk.writes)


def test_an_id_gives_a_new_name(desk: Desk) -> None:
    weekly = desk.add(name="weekly")
    file = desk.file({"id": weekly.id, "name": "monthly"})
    assert desk.apply(file).code == 0
    assert (weekly.name, desk.writes) == ("monthly", [(f"/deployments/{weekly.id}", {"name": "monthly"})])
    desk.world.requests.clear()
    assert actions(desk.apply(file, "--json")) == [("unchanged", 0)]
    assert desk.asked == [f"GET /deployments/{weekly.id}"]  # by an id nothing is listed


def test_a_pinned_agent_stays_pinned_unless_told(desk: Desk) -> None:
    pinned = {"id": "agent_1", "type": "agent", "version": 2}
    weekly = desk.add(name="weekly", agent=pinned)
    desk.world.agent_versions["agent_1"] = 5
    assert actions(desk.apply_these({"name": "weekly", "agent": "agent_1"}, words=("--json",))) == [("unchanged", 0)]
    assert (desk.writes, weekly.fields["agent"]) == ([], pinned)
    ran = desk.apply_these({"name": "weekly", "agent": "agent_1"}, words=("--repin",))
    assert (ran.code, "~ agent.version: 2 -> 5" in ran.err) == (0, True)
    assert desk.writes == [(f"/deployments/{weekly.id}", {"agent": {**pinned, "version": 5}})]
    assert weekly.fields["agent"]["version"] == 5
    ran = desk.apply_these({"name": "weekly", "agent": "agent_1"}, words=("--repin", "--exit-code", "--json"))
    assert (ran.code, actions(ran)) == (0, [("unchanged", 0)])


def test_the_latest_version_of_an_agent_is_read_once(desk: Desk) -> None:
    pinned = {"id": "agent_1", "type": "agent", "version": 2}
    for name in ("a", "b", "c"):
        desk.add(name=name, agent=pinned)
    named = [{"name": name, "agent": "agent_1"} for name in ("a", "b", "c")]
    other = [{"name": "demo", "agent": "agent_1"}, {**NEW, "agent": "agent_2"}]  # whose agent is another, or new
    ran = desk.apply_these(*named, *other, words=("--repin", "--json", "--dry-run"))
    assert (ran.code, [item["action"] for item in ran.json]) == (0, [*["would_change"] * 4, "would_create"])
    assert desk.asked == [f"GET {LIST}", "GET /agents/agent_1"]


def test_a_replica_that_knows_an_older_version_only_does_not_decide(desk: Desk) -> None:
    desk.add(name="weekly", agent={"id": "agent_1", "type": "agent", "version": 5})
    ran = desk.apply_these({"name": "weekly", "agent": "agent_1"}, words=("--repin", "--dry-run"))
    assert (ran.code, '~ agent.version: 5 -> "latest"' in ran.err) == (0, True)


@pytest.mark.parametrize("fault", ["401", "403", "404", "503", "html", "garbage", "list"])
def test_an_agent_that_cannot_be_read_is_repinned_all_the_same(desk: Desk, fault: str) -> None:
    weekly = desk.add(name="weekly", agent={"id": "agent_1", "type": "agent", "version": 5})
    desk.world.agent_versions["agent_1"] = 5
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


def test_a_token_that_nothing_can_be_compared_with_is_said_not_to_be_sent(desk: Desk, keeper: Deployment) -> None:
    said = f"warning: keeper ({keeper.id}): resources[0].authorization_token not sent "
    said += "(secrets cannot be compared; use --send-secrets)\n"
    meant = {"name": "keeper", "resources": [REPOSITORY]}
    for words in ((), ("--exit-code",), ("--no-progress",)):
        ran = desk.apply_these(meant, words=(*words, "--json"))
        assert (ran.code, actions(ran), ran.err, desk.writes) == (0, [("unchanged", 0)], said, [])
    assert said in desk.apply_these({**meant, "description": "New"}).err
    assert desk.writes == [(f"/deployments/{keeper.id}", {"description": "New"})]


def test_a_token_is_sent_when_that_is_asked_for(desk: Desk, keeper: Deployment) -> None:
    meant = {"name": "keeper", "resources": [REPOSITORY]}
    ran = desk.apply_these(meant, words=("--send-secrets", "--exit-code", "--json"))
    change = {"path": "resources[0].authorization_token", "after": "[hidden]"}
    assert (ran.code, actions(ran), ran.json[0]["changes"]) == (8, [("would_change", 0)], [change])
    assert (desk.writes, "warning" in ran.err) == ([], False)
    ran = desk.apply_these(meant, words=("--send-secrets",))
    assert (ran.code, ran.out.split("\t")[2]) == (0, "changed")
    sent = {"resources": [{**REPOSITORY, "authorization_token": "new-token"}]}
    assert desk.writes == [(f"/deployments/{keeper.id}", sent)]
    assert '  + resources[0].authorization_token: "[hidden]"' in ran.err
    assert "new-token" not in ran.err


def test_a_token_goes_with_resources_that_differ(desk: Desk, keeper: Deployment) -> None:
    ran = desk.apply_these({"name": "keeper", "resources": [{**REPOSITORY, "mount_path": "/x"}]})
    [(_, body)] = desk.writes
    assert (body["resources"][0]["authorization_token"], "warning" in ran.err) == ("new-token", False)


KEPT = {"type": "github_repository", "url": "https://x"}
FILE_RESOURCE = {"type": "file", "file_id": "file_1", "mount_path": "/x"}


@pytest.mark.parametrize("words", [(), ("--dry-run",), ("--send-secrets",)])
def test_apply_refuses_to_drop_the_token_of_a_repository(
    desk: Desk, keeper: Deployment, words: tuple[str, ...]
) -> None:
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


def test_apply_replaces_resources_where_nothing_is_lost(desk: Desk, keeper: Deployment) -> None:
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
def test_apply_knows_by_our_mark_whether_a_lost_token_was_taken(desk: Desk, keeper: Deployment, fault: str) -> None:
    meant = {"name": "keeper", "resources": [REPOSITORY]}
    desk.goes_wrong(f"update:{fault}")
    ran, sent = desk.apply_these(meant, words=("--send-secrets",)), 1 if fault == "drop-after" else 2
    assert (ran.code, len(desk.writes)) == (0, sent)
    desk.goes_wrong(f"update:{fault}*inf")
    ran = desk.apply_these(meant, words=("--send-secrets",))
    assert ran.code == 9 if fault != "drop-after" else (ran.code, len(desk.writes)) == (0, 1)


def test_null_clears(desk: Desk) -> None:
    budget = {"type": "limit", "max_credit_cost": "5.00"}
    schedule = {"expression": "0 9 * * *", "timezone": "UTC"}
    weekly = desk.add(name="weekly", description="Old", budget=budget, schedule=schedule, vault_ids=["vault_1"])
    cleared: dict[str, Any] = {"description": None, "budget": None, "schedule": None, "vault_ids": []}
    assert desk.apply_these({"name": "weekly", **cleared}).code == 0
    assert desk.writes == [(f"/deployments/{weekly.id}", cleared)]


def test_a_folder_standard_input_and_files_are_applied_together(desk: Desk) -> None:
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


def test_folders_in_a_folder_are_said_to_be_passed_over(desk: Desk) -> None:
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


def test_a_status_in_a_file_is_said_not_to_be_applied(desk: Desk) -> None:
    shown = desk.qoder("deploy", "get", "dep_paused", "--json").out
    ran = desk.apply_these(shown)
    assert (ran.code, desk.writes) == (0, [])
    assert "`status` is ignored; use `deploy pause` and `deploy unpause`" in ran.err
    ran = desk.apply_these({**json.loads(shown), "description": "New"})
    first, *_, note, done = ran.err.splitlines()
    assert first == f"applying: change 1 paused (profile default, {HOST})"
    assert ("`status` is ignored" in note, done) == (True, "changed paused (dep_paused)")


# What is shown.


def test_what_differs_is_shown_before_it_is_done(desk: Desk) -> None:
    desk.add(name="weekly", description="Old words", metadata={"a": "1"})
    ran = desk.apply_these({"name": "weekly", "description": None, "metadata": {"b": "2"}}, {**NEW, "name": "new"})
    [weekly], [new] = desk.named("weekly"), desk.named("new")
    assert ran.err.splitlines() == [
        f"applying: create 1 and change 1 weekly, new (profile default, {HOST})",
        f"weekly ({weekly.id})",
        '  ~ description: "Old words" -> null',
        '  - metadata.a: "1"',
        '  + metadata.b: "2"',
        "new (new)",
        '  + name: "new"',
        '  + agent: "agent_1"',
        '  + environment_id: "env_1"',
        '  + initial_events[0].type: "user.message"',
        '  + initial_events[0].content[0].type: "text"',
        '  + initial_events[0].content[0].text: "Report."',
        *ran.err.splitlines()[-2:],
    ]
    assert set(ran.err.splitlines()[-2:]) == {f"changed weekly ({weekly.id})", f"created new ({new.id})"}


@pytest.fixture
def in_tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the clocks of this machine be those of Tokyo."""
    if not hasattr(time, "tzset"):
        pytest.skip("the zone of a process cannot be changed here")
    with monkeypatch.context() as changed:
        changed.setenv("TZ", "JST-9")
        time.tzset()
        yield
    time.tzset()


SCHEDULE = {"expression": "0 9 * * 1-5", "timezone": "Europe/Berlin"}
FORESEEN = """\
  fires at 09:00 on weekdays (Europe/Berlin); next, in local time (JST):
    2027-01-18 17:00:00  2027-01-18 09:00:00 Europe/Berlin
    2027-01-19 17:00:00  2027-01-19 09:00:00 Europe/Berlin
    2027-01-20 17:00:00  2027-01-20 09:00:00 Europe/Berlin
    2027-01-21 17:00:00  2027-01-21 09:00:00 Europe/Berlin
    2027-01-22 17:00:00  2027-01-22 09:00:00 Europe/Berlin
"""


@pytest.mark.usefixtures("in_tokyo")
def test_a_schedule_is_foreseen_before_it_is_written(desk: Desk) -> None:
    desk.qoder.clock.time += 3 * 3600  # a Friday, past nine in Berlin
    weekly = desk.add(name="weekly", schedule={**SCHEDULE, "expression": "0 8 * * *"})
    file = desk.file({"name": "weekly", "schedule": SCHEDULE}, {**NEW, "name": "new", "schedule": SCHEDULE})
    for words in (("--dry-run",), ()):
        assert desk.apply(file, *words).err.count(FORESEEN) == 2
    assert "fires" not in desk.apply(file).err
    assert "fires" not in desk.apply_these({"name": "weekly", "description": "New"}).err
    assert "fires" not in desk.apply_these({"name": "weekly", "schedule": None}).err
    weekly.change(desk.world.now(), status="paused", paused_reason={"type": "manual"})
    ran = desk.apply_these({"name": "weekly", "schedule": {**SCHEDULE, "timezone": "Asia/Tokyo"}})
    assert "  fires at 09:00 on weekdays (Asia/Tokyo), once it is unpaused; next, in local time (JST):\n" in ran.err
    assert "    2027-01-18 09:00:00\n" in ran.err  # said once where both clocks show the same


@pytest.mark.parametrize("words", [(), ("--dry-run",), ("--no-progress",)])
def test_a_schedule_that_never_fires_is_warned_of(desk: Desk, words: tuple[str, ...]) -> None:
    ran = desk.apply_these({**NEW, "schedule": {**SCHEDULE, "expression": "0 0 30 2 *"}}, words=words)
    assert ran.code == 0
    assert "warning: weekly: this schedule never fires (no such date)\n" in ran.err


def test_a_schedule_from_a_variable_is_put_into_words_too(desk: Desk) -> None:
    desk.qoder.env["CRON"] = SCHEDULE["expression"]
    ran = desk.apply_these({**NEW, "schedule": {**SCHEDULE, "expression": "${CRON}"}})
    assert (ran.code, "fires" in ran.err, "weekdays" in ran.err) == (0, True, True)


def test_without_progress_stderr_is_empty(desk: Desk) -> None:
    assert desk.apply_these(NEW, words=("--no-progress",)).err == ""


def test_the_formats_of_what_was_done(desk: Desk) -> None:
    weekly = desk.add(name="weekly")
    file = desk.file({"name": "weekly", "description": "New", "metadata": {"a": "1"}}, {"id": "dep_gone"})
    ran = desk.apply(file, "--json")
    assert ran.code == 5
    changed, gone = ran.json
    assert {**changed, "id": weekly.id, "description": "New", "status": "active"} == changed
    assert (changed["action"], changed["input"], changed["exit_code"]) == ("changed", f"{file}:1", 0)
    assert changed["changes"] == [
        {"path": "description", "before": None, "after": "New"},
        {"path": "metadata.a", "after": "1"},
    ]
    assert "error" not in changed
    assert (gone["id"], gone["action"], gone["changes"], gone["input"], gone["exit_code"]) == (
        *(None, "failed", [], f"{file}:2", 5),
    )
    assert gone["error"]["type"] == "not_found"
    lines = [json.loads(line) for line in desk.apply(file, "-o", "jsonl").out.splitlines()]
    assert [line["action"] for line in lines] == ["unchanged", "failed"]
    assert desk.apply(file, desk.file({"id": "dep_archived"}, name="b.json"), "-q").out == f"{weekly.id}\n"
    assert [line.split("\t") for line in desk.apply(file).out.splitlines()] == [
        ["weekly", weekly.id, "unchanged", "-", f"{file}:1", "-"],
        ["dep_gone", "-", "failed", "-", f"{file}:2", "not_found"],
    ]
    desk.qoder.terminal = True
    drawn = [line.split() for line in desk.apply(file, "--dry-run").out.splitlines()]
    assert [row[:3] for row in drawn[1:3]] == [["weekly", weekly.id, "unchanged"], ["dep_gone", "-", "failed"]]


def test_one_is_an_array_too(desk: Desk) -> None:
    assert len(desk.apply_these(NEW, words=("--json",)).json) == 1


# Only looking.


@pytest.mark.parametrize("format", ["table", "json", "jsonl", "id"])
def test_a_dry_run_shows_and_sends_nothing(desk: Desk, format: str) -> None:
    weekly = desk.add(name="weekly")
    file = desk.file({"name": "weekly", "description": "New"}, {**NEW, "name": "new"}, {"name": "demo"})
    ran = desk.apply(file, "--dry-run", "-o", format, yes=False)
    assert (ran.code, desk.asked) == (0, [f"GET {LIST}"])
    assert '  ~ description: null -> "New"' in ran.err
    assert '  + name: "new"' in ran.err
    said = {
        "table": ["would_change", "would_create", "unchanged"],
        "json": ['"would_change"', '"would_create"', '"unchanged"'],
        "jsonl": ['"would_change"', '"would_create"', '"unchanged"'],
        "id": [weekly.id, "dep_demo"],
    }[format]
    assert all(word in ran.out for word in said)
    assert (weekly.fields["description"], desk.named("new")) == (None, [])


def test_exit_code_tells_a_script_whether_anything_would_change(desk: Desk) -> None:
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


def test_read_only_lets_only_look(desk: Desk) -> None:
    desk.qoder.env["QODER_READ_ONLY"] = "1"
    file = desk.file(NEW)
    assert desk.apply(file, "--dry-run").code == 0
    assert desk.apply(file, "--exit-code").code == 8
    ran = desk.apply(file, "--json")
    assert (ran.code, ran.out, desk.writes) == (2, "", [])
    assert "QODER_READ_ONLY" in ran.error["message"]
    assert desk.apply_these({"name": "demo"}).code == 0  # where nothing is to be written


# The question.


def test_a_script_needs_a_yes(desk: Desk) -> None:
    ran = desk.apply_these(NEW, words=("--json",), yes=False)
    assert (ran.code, ran.out, desk.writes) == (2, "", [])
    assert ran.error["hint"] == "pass --yes, or --dry-run to preview"
    assert '  + name: "weekly"' in ran.err
    assert desk.apply_these({"name": "demo"}, yes=False).code == 0  # where there is nothing to ask


def test_a_person_is_asked_having_seen_what_differs(desk: Desk, questions: Callable[..., list[str]]) -> None:
    asked = questions(True)
    ran = desk.apply_these(NEW, {"name": "demo", "description": "New"}, {"name": "minute"}, yes=False)
    assert asked == [f"Create 1 and change 1 (profile default, {HOST})?"]
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
def test_no_means_no(
    desk: Desk, questions: Callable[..., list[str]], answer: BaseException | bool, code: int, words: str
) -> None:
    questions(answer)
    ran = desk.apply_these(NEW, words=("--json",), yes=False)
    assert (ran.code, ran.out, ran.error["message"]) == (code, "", words)
    assert desk.asked == [f"GET {LIST}"]


def test_what_someone_else_has_changed_as_it_is_wanted_is_unchanged(
    desk: Desk, questions: Callable[..., list[str]]
) -> None:
    weekly = desk.add(name="weekly")

    def meanwhile() -> bool:
        weekly.change(desk.world.now(), description="As wanted")
        return True

    questions(meanwhile)
    ran = desk.apply(desk.file({"name": "weekly", "description": "As wanted"}), "--json", yes=False)
    assert (ran.code, actions(ran), desk.writes) == (0, [("unchanged", 0)], [])
    assert "was already changed as requested, by someone else" in ran.err


def test_what_was_changed_while_the_question_stood_is_left_alone(
    desk: Desk, questions: Callable[..., list[str]]
) -> None:
    weekly, daily = desk.add(name="weekly"), desk.add(name="daily")
    gone = desk.add(name="gone")

    def meanwhile() -> bool:
        weekly.change(desk.world.now(), description="By someone else")
        gone.archive(desk.world.now())
        return True

    questions(meanwhile)
    file = desk.file(*({"name": name, "metadata": {"a": "1"}} for name in ("weekly", "daily", "gone")))
    ran = desk.apply(file, "--json", yes=False)
    assert (ran.code, actions(ran)) == (6, [("failed", 6), ("changed", 0), ("failed", 6)])
    assert "was changed by someone else in the meantime; nothing was sent" in ran.json[0]["error"]["message"]
    assert "was archived on" in ran.json[2]["error"]["message"]
    assert [path for path, _ in desk.writes] == [f"/deployments/{daily.id}"]
    assert desk.asked.count(f"GET {LIST}") == 1
    assert ran.error["message"].startswith("1 of 3 deployments match their files; ")


@pytest.mark.parametrize("unique_names", [True, False])
def test_what_was_created_while_the_question_stood_is_not_created_again(
    desk: Desk, questions: Callable[..., list[str]], unique_names: bool
) -> None:
    desk.goes_wrong(unique_names=unique_names)
    questions(lambda: desk.world.add_deployment(name="weekly"))
    ran = desk.apply_these(NEW, {**NEW, "name": "daily"}, words=("--json",), yes=False)
    assert (ran.code, actions(ran)) == (6, [("failed", 6), ("created", 0)])
    assert "weekly was created by someone else in the meantime" in ran.json[0]["error"]["message"]
    assert [body["name"] for _, body in desk.writes] == ["daily"]
    assert [len(desk.named(name)) for name in ("weekly", "daily")] == [1, 1]
    assert desk.asked.count(f"GET {LIST}") == 3


# What cannot be meant.


def test_a_name_that_several_have_is_refused_before_anything_is_sent(desk: Desk) -> None:
    twins = sorted(desk.add(name="twin").id for _ in range(2))
    file = desk.file({**NEW, "name": "twin"}, {**NEW}, {"name": "nobody", "agent": "agent_1"})
    ran = desk.apply(file)
    assert (ran.code, ran.out, desk.writes) == (2, "", [])
    error, first, second = ran.err.splitlines()
    assert error == "error: 2 problems in deployment files; nothing was sent"
    assert first.startswith(f"{file}:1: 'twin' matches 2 deployments (")
    assert all(id in first for id in twins)
    assert second == (f"{file}:3: no deployment named 'nobody'; to create it, add environment_id, initial_events")


def test_one_deployment_named_by_its_name_and_by_its_id_is_refused(desk: Desk) -> None:
    weekly = desk.add(name="weekly")
    file = desk.file({"id": weekly.id, "name": "monthly"}, {**NEW, "name": "weekly"})
    ran = desk.apply(file)
    assert (ran.code, desk.writes) == (2, [])
    assert f"{file}:2: is the same deployment as {file}:1 ({weekly.id})" in ran.err


def test_two_of_one_name_in_files_are_refused_before_anything_is_asked(desk: Desk) -> None:
    one, other = desk.file(NEW, name="a.json"), desk.file(NEW, name="b.json")
    ran = desk.apply(one, other)
    assert (ran.code, desk.asked) == (2, [])
    assert f"{other}:1: name: is already used at {one}:1" in ran.err


@pytest.mark.parametrize("unique_names", [True, False])
def test_a_name_that_is_taken_is_not_given_a_second_time(desk: Desk, unique_names: bool) -> None:
    desk.goes_wrong(unique_names=unique_names)
    weekly = desk.add(name="weekly")
    ran = desk.apply_these({"id": weekly.id, "name": "demo"}, words=("--json",))
    assert (ran.code, actions(ran), desk.writes) == (6, [("failed", 6)], [])
    assert "the name 'demo' is taken by dep_demo" in ran.error["message"]


def test_the_name_of_an_archived_one_is_free(desk: Desk) -> None:
    desk.add(name="weekly", archived_at="2026-06-14T08:54:06Z")  # a server that does not rename it
    taken = desk.add(name="daily")
    assert desk.apply_these({"id": taken.id, "name": "weekly"}).code == 0


def test_archived_ones_are_listed_only_where_a_name_asks_for_them(desk: Desk) -> None:
    name = "weekly_archived_1781427523"
    desk.add(name="weekly", archived_at="2026-06-14T08:54:06Z")  # a server that does not rename it
    desk.apply_these(NEW)
    assert ([one.name for one in desk.named("weekly")], desk.asked[0]) == (["weekly"], f"GET {LIST}")
    desk.world.requests.clear()
    desk.add(name=name, archived_at="2026-06-14T08:54:06Z")
    assert desk.apply_these({**NEW, "name": name}).code == 6
    assert desk.asked == [f"GET {LIST}&include_archived=true"]
    alive = desk.add(name=name)
    desk.add(name=name, archived_at="2026-06-14T08:54:06Z")
    assert desk.apply_these({"name": name, "description": "New"}).code == 0
    assert alive.fields["description"] == "New"


def test_what_was_listed_is_not_read_once_more(desk: Desk) -> None:
    assert desk.apply_these({"id": "dep_demo"}, {"name": "minute"}, {"id": "dep_fail", "name": "fail"}).code == 0
    assert desk.asked == [f"GET {LIST}"]


def test_an_unknown_id_leaves_the_others_done(desk: Desk) -> None:
    ran = desk.apply_these({"id": "dep_dem0", "name": "x"}, NEW, words=("--json",))
    assert (ran.code, actions(ran)) == (5, [("failed", 5), ("created", 0)])
    assert "did you mean 'demo' (dep_demo)?" in ran.error["hint"]
    assert ran.error["message"].startswith("1 of 2 deployments match their files; deployment dep_dem0")


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "100 MB": (lambda path: _hole(path), "the limit for a file"),
    "not UTF-8": (lambda path: path.write_bytes(b"name: \xff\n"), "byte 6 (0xff) is not UTF-8"),
    "laughs": (
        lambda path: path.write_text(
            "a: &a [x, x, x, x, x, x, x, x, x]\n"
            + "".join(f"{n}: &{n} [{', '.join([f'*{before}'] * 9)}]\n" for before, n in pairwise("abcdefghi"))
        ),
        "more than 100,000 values",
    ),
    "unset": (lambda path: path.write_text("name: x\ndescription: ${NOPE}\n"), "NOPE is not set"),
    "missing": (lambda path: None, "cannot be read: No such file or directory"),
}


def _hole(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(100 * 1024 * 1024)


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_file_is_told_by_name_and_nothing_is_asked(desk: Desk, bad: str) -> None:
    make, words = BAD[bad]
    path = desk.folder / "bad.yaml"
    make(path)
    for format in ("table", "json"):
        ran = desk.apply(desk.file(NEW), str(path), "-o", format)
        assert (ran.code, ran.out, desk.asked) == (2, "", [])
        message = ran.error["message"] if format == "json" else ran.err
        assert f"{path}:" in message
        assert words in message


def test_several_problems_are_a_line_each(desk: Desk) -> None:
    file = desk.file("name: x\nagnt: agent_1\nbudget: lots\nschedule: {expression: 61 * * * *, timezone: Mars/X}")
    ran = desk.apply(file.replace(".json", ".json"), desk.file("description: ''", name="b.yaml"))
    assert ran.code == 2
    assert ran.err.startswith("error: ")
    assert len(ran.err.splitlines()) > 2
    assert all(line.startswith(str(desk.folder)) for line in ran.err.splitlines()[1:])


@pytest.mark.parametrize("words", [[], ["-f"], ["-f", ""], ["-f", "nowhere"], ["file.yaml"], ["-f", "-"]])
def test_bad_usage_is_exit_2_before_any_request(qoder: Qoder, words: list[str]) -> None:
    ran = qoder("deploy", "apply", *words)
    assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)


@pytest.mark.parametrize("option", [[], ["-f"], ["--file"], ["--filename"]])
def test_files_are_named_with_and_without_an_option_in_their_order(desk: Desk, option: list[str]) -> None:
    files = [desk.file({"name": name}, name=f"{name}.yaml") for name in ("demo", "minute")]
    ran = desk.qoder("deploy", "apply", *option, *files, "--json", "--yes")
    assert (ran.code, [item["name"] for item in ran.json]) == (0, ["demo", "minute"])


# What goes wrong on the way.


@pytest.mark.parametrize("fault", ACTED)
def test_a_lost_answer_to_a_create_is_settled_by_reading_back(desk: Desk, fault: str) -> None:
    desk.goes_wrong(f"create:{fault}", unique_names=False)
    ran = desk.apply_these(NEW, words=("--json",))
    assert (ran.code, actions(ran)) == (0, [("created", 0)])
    assert ([one.id for one in desk.named("weekly")], len(desk.writes)) == ([ran.json[0]["id"]], 1)


@pytest.mark.parametrize("fault", LOST)
def test_a_create_that_does_not_show_is_exit_9_and_not_repeated(desk: Desk, fault: str) -> None:
    desk.goes_wrong(f"create:{fault}")
    ran = desk.apply_these(NEW, {"name": "demo"}, words=("--json",))
    assert (ran.code, actions(ran)) == (9, [("unknown", 9), ("unchanged", 0)])
    assert "unknown whether creating weekly succeeded" in ran.error["message"]
    assert ran.error["next"] == ["qoder", "deploy", "list", "-o", "json"]
    assert len(desk.writes) == 1
    assert desk.apply_these(NEW).code == 0  # a second apply finishes
    assert len(desk.named("weekly")) == 1


def test_a_create_whose_answer_is_lost_among_many_is_found_on_a_later_page(desk: Desk) -> None:
    desk.goes_wrong("create:drop-after")
    desk.qoder.clock.at_sleep = lambda: crowd_in()

    def crowd_in() -> None:
        desk.qoder.clock.at_sleep = lambda: None
        desk.world.seed_deployments(150)

    assert desk.apply_these(NEW).code == 0
    assert [one.name for one in desk.named("weekly")] == ["weekly"]


def test_what_is_older_than_a_lost_create_is_not_looked_through_for_it(desk: Desk) -> None:
    for n in range(150):
        desk.add(name=f"old-{n}")
        desk.qoder.clock.time += 1
    desk.goes_wrong("create:drop-before")
    assert desk.apply_these(NEW).code == 9
    assert [path.partition("&")[0] for path in desk.asked[2:]] == ["POST /deployments", *[f"GET {LIST}"] * 7]


def test_a_create_that_acts_seconds_late_is_found(desk: Desk) -> None:
    desk.goes_wrong("create:late=6")
    assert desk.apply_these(NEW).code == 0
    assert (len(desk.named("weekly")), len(desk.writes)) == (1, 1)


def test_a_namesake_that_is_older_or_different_is_not_taken_for_ours(desk: Desk) -> None:
    desk.goes_wrong("create:drop-before", unique_names=False)

    def someone_else() -> None:
        desk.qoder.clock.at_sleep = lambda: None
        desk.world.add_deployment(name="weekly", initial_events=EVENTS, description="Theirs")

    desk.qoder.clock.at_sleep = someone_else
    ran = desk.apply_these({**NEW, "description": "Mine"}, words=("--json",))
    assert (ran.code, len(desk.named("weekly"))) == (9, 1)


def test_apply_tells_its_own_from_a_namesake_by_our_mark(desk: Desk) -> None:
    desk.goes_wrong("create:stranger", "create:drop-after", unique_names=False)
    ran = desk.apply_these(NEW, words=("--json",))
    [ours] = [one for one in desk.named("weekly") if "qoder_key" in one.fields["metadata"]]
    assert (ran.code, len(desk.writes), ran.json[0]["id"]) == (6, 1, ours.id)
    assert "someone else created another of this name" in ran.error["message"]


@pytest.mark.parametrize("fault", ACTED)
def test_a_lost_answer_to_a_change_is_settled_by_reading_back(desk: Desk, fault: str) -> None:
    weekly = desk.add(name="weekly")
    desk.goes_wrong(f"update:{fault}")
    ran = desk.apply_these({"name": "weekly", "description": "New"}, words=("--json",))
    assert (ran.code, actions(ran)) == (0, [("changed", 0)])
    assert (weekly.fields["description"], len(desk.writes)) == ("New", 1)


@pytest.mark.parametrize("fault", [*LOST, "503", "500"])
def test_a_change_that_does_not_show_is_sent_again_for_that_does_no_harm(desk: Desk, fault: str) -> None:
    weekly = desk.add(name="weekly")
    desk.goes_wrong(f"update:{fault}*2")
    assert desk.apply_these({"name": "weekly", "description": "New"}).code == 0
    assert (weekly.fields["description"], len(desk.writes)) == ("New", 3)
    assert len({seen.key for seen in desk.world.requests if seen.method == "POST"}) == 1


def test_a_change_that_stays_lost_is_exit_9(desk: Desk) -> None:
    weekly = desk.add(name="weekly")
    desk.goes_wrong("update:drop-before*inf")
    ran = desk.apply_these({"name": "weekly", "description": "New"}, words=("--json",))
    assert (ran.code, actions(ran), len(desk.writes)) == (9, [("unknown", 9)], 3)
    assert ran.error["next"] == ["qoder", "deploy", "get", weekly.id, "-o", "json"]


def test_an_answer_that_shows_another_one_is_not_believed(qoder: Qoder) -> None:
    one = {"id": "dep_1", "type": "deployment", **BODY, "agent": {"id": "agent_1", "type": "agent", "version": 1}}
    kept = {**one, "description": "New"}
    qoder.wire.on("GET", "/deployments/dep_1", one, one, kept, kept).on(
        "POST", "/deployments/dep_1", {**kept, "id": "dep_2"}
    )
    qoder.stdin, qoder.clock.patience = json.dumps({"id": "dep_1", "description": "New"}), 5.0
    ran = qoder("deploy", "apply", "-f", "-", "--yes", "--json")
    assert (ran.code, ran.json[0]["id"]) == (0, "dep_1")
    assert "no confirmation" in ran.err


@pytest.mark.parametrize("beside", [[], ["agent:403*inf"]])
def test_a_lost_repinning_is_not_taken_for_done(desk: Desk, beside: list[str]) -> None:
    weekly = desk.add(name="weekly", agent={"id": "agent_1", "type": "agent", "version": 2})
    desk.world.agent_versions["agent_1"] = 5
    desk.goes_wrong("update:drop-before", *beside)
    ran = desk.apply_these({"name": "weekly", "agent": "agent_1"}, words=("--repin",))
    assert (ran.code, weekly.fields["agent"]["version"], len(desk.writes)) == (0, 5, 2)
    desk.world.agent_versions["agent_1"] = 6
    desk.goes_wrong("update:drop-after", *beside)
    ran = desk.apply_these({"name": "weekly", "agent": "agent_1"}, words=("--repin",))
    assert (ran.code, weekly.fields["agent"]["version"], len(desk.writes)) == (0, 6, 1)


def test_one_that_is_archived_while_its_answer_is_lost_is_exit_6(desk: Desk) -> None:
    weekly = desk.add(name="weekly")
    desk.goes_wrong("update:drop-before")

    def someone_else() -> None:
        if weekly.archived is None:
            weekly.archive(desk.world.now())

    desk.qoder.clock.at_sleep = someone_else
    ran = desk.apply_these({"name": "weekly", "description": "New"}, words=("--json",))
    assert (ran.code, len(desk.writes)) == (6, 1)
    assert "was archived on" in ran.error["message"]


def test_someone_who_writes_just_before_keeps_what_the_file_leaves_out(desk: Desk) -> None:
    weekly = desk.add(name="weekly")
    desk.goes_wrong("update:stranger")
    assert desk.apply_these({"name": "weekly", "metadata": {"a": "1"}}).code == 0
    assert (weekly.fields["description"], weekly.fields["metadata"]) == ("Changed by someone else.", {"a": "1"})


@pytest.mark.parametrize("where", ["create", "update"])
@pytest.mark.parametrize(
    ("fault", "code", "word"),
    [
        *(("400", 6, "rejected"), ("401", 4, "auth"), ("403", 4, "auth"), ("404", 5, "not_found")),
        *(("409", 6, "rejected"), ("422", 6, "rejected"), ("429*inf", 7, "unavailable"), ("503*inf", 7, "unavailable")),
        *(("refused*inf", 7, "unavailable"), ("redirect=http://elsewhere/", 7, "unavailable")),
    ],
)
def test_a_refusal_is_told_and_the_others_are_done(desk: Desk, where: str, fault: str, code: int, word: str) -> None:
    desk.add(name="weekly")
    desk.goes_wrong(f"{where}:{fault}")
    meant = {"name": "weekly", "description": "New"} if where == "update" else {**NEW, "name": "new"}
    other = {**NEW, "name": "other"} if where == "update" else {"name": "weekly", "description": "New"}
    ran = desk.apply_these(meant, other, {"name": "demo"}, words=("--json",))
    done = "created" if where == "update" else "changed"
    assert (ran.code, ran.error["type"]) == (code, word)
    assert actions(ran) == [("failed", code), (done, 0), ("unchanged", 0)]
    assert ran.error["message"].startswith("2 of 3 deployments match their files; ")
    assert (desk.named("new"), "weekly was changed" in ran.err) == ([], False)


@pytest.mark.parametrize("fault", ["429=3*2", "refused*3"])
def test_what_did_nothing_is_sent_again_under_the_same_key(desk: Desk, fault: str) -> None:
    desk.goes_wrong(f"create:{fault}")
    assert desk.apply_these(NEW).code == 0
    assert len({seen.key for seen in desk.world.requests if seen.method == "POST"}) == 1
    assert len(desk.named("weekly")) == 1


def test_a_list_that_cannot_be_read_is_exit_7_and_nothing_is_sent(desk: Desk) -> None:
    desk.goes_wrong("deployment:503*inf")
    assert (desk.apply_these(NEW).code, desk.writes) == (7, [])


def test_a_server_that_keeps_something_else_is_told(qoder: Qoder) -> None:
    kept = {"id": "dep_1", "type": "deployment", **BODY, "agent": {"id": "agent_1", "type": "agent", "version": 1}}
    kept |= {"name": "weekly", "description": "Shortened", "metadata": {"b": "2"}}
    qoder.wire.on("GET", "/deployments", page(), page(kept))
    qoder.wire.on("POST", "/deployments", kept).on("GET", "/deployments/dep_1", kept)
    qoder.stdin = json.dumps({**NEW, "description": "All of it", "metadata": {"a": "1"}})
    qoder.clock.patience = 5.0
    ran = qoder("deploy", "apply", "-f", "-", "--yes", "--json")
    assert (ran.code, actions(ran), ran.json[0]["id"]) == (6, [("created", 6)], "dep_1")
    assert ran.error["message"] == (
        "weekly (dep_1) was created, but the server stored something else: description, metadata.b, metadata.a"
    )
    assert ran.error["next"] == ["qoder", "deploy", "get", "dep_1", "-o", "json"]
    assert f"warning: {ran.error['message']}\n" in ran.err  # which names it once
    assert qoder.clock.slept == []


@pytest.mark.parametrize(
    "other",
    [
        {"name": "another"},
        {"name": None},
        {"agent": {"id": "agent_other", "type": "agent", "version": 1}},
        {"environment_id": "env_other"},
        {"archived_at": "2026-06-14T00:00:00Z"},
    ],
    ids=json.dumps,
)
def test_a_create_that_is_answered_with_another_deployment_is_not_believed(qoder: Qoder, other: Any) -> None:
    kept = {"id": "dep_1", "type": "deployment", **BODY, "agent": {"id": "agent_1", "type": "agent", "version": 1}}
    qoder.wire.on("GET", "/deployments", page(), repeat=True).on("POST", "/deployments", kept | other)
    qoder.stdin, qoder.clock.patience = json.dumps(NEW), 5.0
    ran = qoder("deploy", "apply", "-f", "-", "--yes", "--json")
    assert (ran.code, actions(ran), ran.json[0]["id"]) == (9, [("unknown", 9)], None)
    assert "dep_1" not in ran.out


def test_a_server_that_fills_in_what_is_documented_keeps_nothing_else(qoder: Qoder) -> None:
    outcome = {"type": "user.define_outcome", "description": "Done.", "rubric": {"type": "text", "content": "All."}}
    file = {"type": "file", "file_id": "file_1"}
    kept = {"id": "dep_1", "type": "deployment", **BODY, "agent": {"id": "agent_1", "type": "agent", "version": 1}}
    kept |= {"initial_events": [{**outcome, "max_iterations": 3}]}
    kept |= {"resources": [{**file, "mount_path": "/mnt/session/uploads/file_1"}]}
    qoder.wire.on("GET", "/deployments", page(), page(kept), page(kept))
    qoder.wire.on("POST", "/deployments", kept).on("GET", "/deployments/dep_1", kept)
    fields = {name: value for name, value in NEW.items() if name != "message"}
    qoder.stdin, qoder.clock.patience = json.dumps({**fields, "initial_events": [outcome], "resources": [file]}), 5.0
    for action in ("created", "unchanged"):
        ran = qoder("deploy", "apply", "-f", "-", "--yes", "--json")
        assert (ran.code, actions(ran)) == (0, [(action, 0)])


def test_an_older_server_that_drops_a_field_is_told(qoder: Qoder, tmp_path: Path) -> None:
    desk = Desk(qoder, tmp_path, "legacy")
    ran = desk.apply_these({**NEW, "environment_variables": {"A": "1"}}, words=("--json",))
    assert (ran.code, actions(ran)) == (6, [("created", 6)])
    assert ran.error["message"].endswith("the server stored something else: environment_variables.A")


@pytest.mark.parametrize("lag", [0.2, 1.5, 3.0])
def test_a_replica_that_lags_is_not_mistaken_for_a_server_that_kept_something_else(desk: Desk, lag: float) -> None:
    desk.add(name="weekly")
    desk.goes_wrong(f"any:lagging={lag}")
    ran = desk.apply_these(NEW | {"name": "new"}, {"name": "weekly", "description": "New"}, words=("--json",))
    assert (ran.code, actions(ran)) == (0, [("created", 0), ("changed", 0)])
    assert [item["description"] for item in ran.json] == [None, "New"]
    assert "warning" not in ran.err


def test_a_replica_that_lags_for_long_is_not_said_to_have_kept_something_else(desk: Desk) -> None:
    weekly = desk.add(name="weekly", description="Old")
    desk.goes_wrong("any:lagging=60")
    ran = desk.apply_these({"name": "weekly", "description": "New"}, words=("--json",))
    assert (ran.code, actions(ran), weekly.fields["description"]) == (6, [("changed", 6)], "New")
    said = f"weekly ({weekly.id}) was changed, but reading it back still shows something else: description"
    assert (ran.error["message"], ran.error["hint"]) == (said, "check again later")


def test_what_was_written_and_cannot_be_read_back_is_done_with_a_warning(qoder: Qoder) -> None:
    made = {"id": "dep_1", "type": "deployment", **BODY}
    qoder.wire.on("GET", "/deployments", page(), page(made)).on("POST", "/deployments", made)
    qoder.wire.on("GET", "/deployments/dep_1", api_error(403, "permission_error", "Write only."))
    qoder.stdin, qoder.clock.patience = json.dumps(NEW), 5.0
    ran = qoder("deploy", "apply", "-f", "-", "--yes", "--json")
    assert (ran.code, actions(ran)) == (0, [("created", 0)])
    assert "weekly (dep_1) was created, but could not be read back: HTTP 403 from localhost:1: Write only." in ran.err


@pytest.mark.parametrize("description", ["Theirs", "Mine"])
def test_one_that_someone_creates_just_before_is_exit_6(desk: Desk, description: str) -> None:
    theirs = someone_creates(desk, description=description)
    ran = desk.apply_these({**NEW, "description": "Mine"}, words=("--json",))
    assert (ran.code, actions(ran), len(desk.writes)) == (6, [("failed", 6)], 1)
    assert [one.id for one in desk.named("weekly")] == theirs
    assert (ran.error["http_status"], ran.error["message"].endswith(f"; the name is that of {theirs[0]}")) == (
        409,
        True,
    )
    assert ran.error["message"] in ran.err.partition("warning: weekly: ")[2]


@pytest.mark.parametrize("words", [[], ["--no-progress"]])
def test_two_of_one_name_by_two_at_once_are_told_with_both_ids(desk: Desk, words: list[str]) -> None:
    desk.goes_wrong(unique_names=False)
    theirs = someone_creates(desk, description="Same")
    ran = desk.apply_these({**NEW, "description": "Same"}, {**NEW, "name": "daily"}, words=("--json", *words))
    [ours] = {one.id for one in desk.named("weekly")} - set(theirs)
    assert (ran.code, actions(ran), ran.json[0]["id"]) == (6, [("created", 6), ("created", 0)], ours)
    said = f"weekly ({ours}) was created, and someone else created another of this name: {theirs[0]}"
    assert ran.json[0]["error"]["message"] == said
    assert ran.error["message"] == f"1 of 2 deployments match their files; {said}"


def test_a_listing_that_fails_afterwards_is_a_warning(qoder: Qoder) -> None:
    made = {"id": "dep_1", "type": "deployment", **BODY}
    denied = api_error(403, "permission_error", "No lists.")
    qoder.wire.on("GET", "/deployments", page(), denied).on("POST", "/deployments", made)
    qoder.wire.on("GET", "/deployments/dep_1", made)
    qoder.stdin, qoder.clock.patience = json.dumps(NEW), 5.0
    ran = qoder("deploy", "apply", "-f", "-", "--yes", "--json")
    assert (ran.code, actions(ran)) == (0, [("created", 0)])
    said = "unknown whether someone else created one of the same name: HTTP 403 from localhost:1: No lists."
    assert f"warning: {said}" in ran.err


def someone_creates(desk: Desk, **fields: Any) -> list[str]:
    """Let someone else create the weekly one when we are about to; return the list that gets its id."""
    made: list[str] = []
    server = desk.qoder.transport
    assert server is not None

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST" and not made:
            made.append(desk.world.add_deployment(name="weekly", initial_events=EVENTS, **AGENT_AND_MORE, **fields).id)
        return server.handle_request(request)

    desk.qoder.transport = httpx.MockTransport(answer)
    return made


AGENT_AND_MORE: dict[str, Any] = {"agent": {"id": "agent_1", "type": "agent", "version": 1}, "environment_id": "env_1"}
FAULTS = (
    *("refused", "drop-before", "drop-after", "late=1", "late=3", "late=30", "hang-before", "hang-after", "slow=20"),
    *("truncated", "garbage", "list", "not-a-run", "html", "act-html", "429=2", "429", "400", "401", "403", "404"),
    *("409", "500", "503", "act-500", "act-503", "503-bare", "act-503-bare"),
)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("beside", [[], ["any:lagging=3", "any:skew=-3600"], ["deployment:503*4", "any:no-date"]])
def test_no_fault_makes_it_lie_or_create_two(qoder: Qoder, tmp_path: Path, fault: str, beside: list[str]) -> None:
    desk = Desk(qoder, tmp_path, "current")
    weekly = desk.add(name="weekly")
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


# Secrets.

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


@pytest.mark.parametrize("format", ["table", "json", "jsonl", "id"])
def test_secrets_are_in_no_byte_that_is_shown(qoder: Qoder, tmp_path: Path, format: str) -> None:
    desk = Desk(qoder, tmp_path, "current")
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


@pytest.mark.parametrize("who", ["e", "a", "1", "weekly", "active"])
def test_what_stands_where_no_secret_can_is_shown_whatever_it_is(desk: Desk, who: str) -> None:
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
def test_a_secret_is_not_shown_in_another_form_than_it_came_in(desk: Desk, format: str) -> None:
    desk.qoder.env |= {"ALL": "FOO=topsecretvalue; BAR=qq", "ONE": "on"}
    meant = {**NEW, "environment_variables": "PLAIN=yes\nMINE=${ONE}\n${ALL}"}
    for words in (("--dry-run",), ("--debug",), ("--exit-code",)):
        ran = desk.apply_these(meant, words=(*words, "-o", format))
        assert ran.code in (0, 6, 8)  # an older server keeps no variables, which is said
        for secret in ("topsecret", "qq", "=on", '"on"'):
            assert secret not in ran.out + ran.err, secret
        assert "FOO" in ran.err + ran.out or words == ("--exit-code",)
    [body] = [body for _, body in desk.writes]
    assert body["environment_variables"] == "PLAIN=yes\nMINE=on\nFOO=topsecretvalue\nBAR=qq"


def test_apply_shows_no_value_of_a_variable_though_the_file_itself_has_it(desk: Desk) -> None:
    desk.qoder.env["TOKEN"] = SECRET
    desk.add(name="old", environment_variables="REGION=us-east-17")
    variables = "REGION=eu-west-17\nTOKEN=${TOKEN}"
    these = [{**NEW, "environment_variables": variables}, {"name": "old", "environment_variables": variables}]
    for format in ("table", "json"):
        ran = desk.apply_these(*these, words=("--dry-run", "-o", format))
        assert ran.err.count('+ environment_variables.TOKEN: "[hidden]"') == 2
        assert '+ environment_variables.REGION: "[hidden]"' in ran.err
        known = "~ environment_variables.REGION: changed" in ran.err
        assert known == (desk.world.generation == "current")  # an older server has none
        assert "eu-west-17" not in ran.out + ran.err


def test_yesterdays_secrets_are_not_shown_when_todays_are_applied(desk: Desk) -> None:
    desk.qoder.env["SECRET"] = SECRET
    old = "yesterdays-secret"
    desk.add(name="keeper", description="Of ours", environment_variables=f"TOKEN={old}")
    meant = {"name": "keeper", "environment_variables": {"TOKEN": "${SECRET}"}}
    for words in (("--dry-run",), ("--json", "--dry-run"), ("--json", "--debug")):
        ran = desk.apply_these(meant, words=words)
        assert old not in ran.out + ran.err
    assert ran.json[0]["description"] == "Of ours"


def test_an_id_from_a_variable_is_still_an_id(desk: Desk) -> None:
    desk.qoder.env["DEP"] = "dep_demo"
    ran = desk.apply_these({"id": "${DEP}", "description": "New"}, words=("-q",))
    assert (ran.code, ran.out) == (0, "dep_demo\n")
    assert "changed demo (dep_demo)" in ran.err
    desk.qoder.env["DEP"] = "dep_gone"
    ran = desk.apply_these({"id": "${DEP}", "description": "New"})
    assert (ran.code, ran.out.split("\t")[0], "dep_gone" in ran.err) == (5, "dep_gone", True)


ORDINARY = ("error", "null", "default", "hint", "type", "path", "qoder", "JSON", "name", "applying", HOST)


@pytest.mark.parametrize("value", ORDINARY)
def test_our_own_words_are_never_taken_for_a_value(desk: Desk, value: str) -> None:
    file = desk.file({**NEW, "environment_variables": {"LOG_LEVEL": "${LEVEL}"}}, {"id": "dep_gone"})

    def told(level: str) -> list[tuple[int, str, list[str]]]:
        desk.qoder.env["LEVEL"] = level
        desk.goes_wrong("create:403*2")
        rans = [desk.apply(file, *words) for words in ((), ("--json",), ("--dry-run", "-o", "jsonl"))]
        lines = [sorted(_without_request_ids(ran.err).splitlines()) for ran in rans]  # which is done first is open
        return [(ran.code, _without_request_ids(ran.out), lines) for ran, lines in zip(rans, lines, strict=True)]

    assert told(value) == told("like-no-other")
    assert [code for code, _, _ in told(value)] == [4, 4, 5]


def _without_request_ids(text: str) -> str:
    return re.sub(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "", text)


@pytest.mark.parametrize("pin", ["7", "42", "9.1"])
@pytest.mark.parametrize("words", [("--debug",), ("--debug", "--json"), ("--debug", "--dry-run")])
def test_a_short_secret_is_not_shown_by_debug(desk: Desk, pin: str, words: tuple[str, ...]) -> None:
    desk.qoder.env["PIN"] = pin
    ran = desk.apply_these({**NEW, "environment_variables": {"PIN": "<${PIN}>"}}, words=words)
    assert (ran.code in (0, 6), f"<{pin}>" in ran.out + ran.err) == (True, False)
    assert "[hidden]" in ran.err


# A signal.


def test_a_signal_ends_it_with_what_is_known_of_each(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    take, taken = desk.qoder.clock.take, list[Any]()

    def interrupted(inbox: Any, seconds: float) -> Any:
        taken.append(seconds)
        if len(taken) == 3:
            raise Signalled(signal.SIGTERM)
        return take(inbox, seconds)

    monkeypatch.setattr(desk.qoder.clock, "take", interrupted)
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


def test_a_signal_while_it_is_printed_does_not_make_it_undone(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    from qoder_cli.output.data import Output

    def stopped(*_: Any, **__: Any) -> None:
        raise Signalled(signal.SIGTERM)

    monkeypatch.setattr(Output, "records", stopped)
    ran = desk.apply_these(NEW, words=("--json",))
    assert (ran.code, ran.error["message"]) == (143, "stopped by a signal; 1 of 1 deployments match their files")


def test_apply_needs_no_state_folder_to_take_its_turn(desk: Desk) -> None:
    file = desk.folder / "no-folder"
    file.write_text("")
    desk.qoder.env["QODER_STATE_DIR"] = str(file)
    ran = desk.apply_these(NEW)
    assert (ran.code, len(desk.named("weekly"))) == (0, 1)
    assert ran.err.count("warning: ") == 1


# The words of the help.


@pytest.mark.parametrize("verb", ["apply", "export"])
def test_the_help_fits_a_terminal(qoder: Qoder, verb: str) -> None:
    ran = qoder("deploy", verb, "--help")
    assert max(map(len, ran.out.splitlines())) <= 80
    assert "Examples:" in ran.out
