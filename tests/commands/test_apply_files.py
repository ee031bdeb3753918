"""`qoder apply FILE…` and `-`, without a stack: deployments in files, in the user's words, on both generations."""

import json
import re
import signal
from collections.abc import Callable
from itertools import groupby
from typing import Any

import httpx
import pytest
import typer

from qoder_cli.base.errors import Signalled
from qoder_cli.sandbox.records import ENVIRONMENT
from qoder_cli.sandbox.samples import WRITER
from qoder_cli.sandbox.world import FakeDeployment
from tests.conftest import Ran
from tests.support.desk import BODY, FAULTS, HOST, LIST, NEW, Desk
from tests.support.things import refusal

pytestmark = pytest.mark.usefixtures("plain_http")


def actions(ran: Ran) -> list[tuple[str, int | None]]:
    return [(item["action"], item["exit_code"]) for item in ran.json]


def test_apply_of_a_file_writes_once_and_only_what_differs(either: Desk) -> None:
    weekly = either.add(name="weekly", description="Old words", schedule={"expression": "0 9 * * 1", "timezone": "UTC"})
    changed = {"description": "New words", "schedule": {"type": "cron", "expression": "30 9 * * 1", "timezone": "UTC"}}
    file = either.file({"name": "weekly", **changed})
    ran = either.apply(file)
    row = ["deployment", "weekly", weekly.id, "changed", "description, schedule", f"{file}:1", "-"]
    assert (ran.code, ran.out.rstrip("\n").split("\t")) == (0, row)
    assert [asked for asked, _ in groupby(either.asked)] == [
        f"GET {LIST}",
        f"GET /deployments/{weekly.id}",  # its owner, where the list shows no metadata; again before the write
        f"POST /deployments/{weekly.id}",
        f"GET /deployments/{weekly.id}",  # read back
    ]
    assert either.writes == [(f"/deployments/{weekly.id}", changed)]
    assert {name: weekly.fields[name] for name in changed} == changed
    either.world.requests.clear()
    ran = either.apply(file)
    assert (ran.code, ran.err, ran.out.split("\t")[3]) == (0, "1 unchanged\n", "unchanged")
    assert either.asked == [f"GET {LIST}"]


def test_apply_of_a_file_creates_what_is_not_there(either: Desk) -> None:
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


LOOKS_LIKE_A_VARIABLE = "Run `echo ${HOME}`, ${NOPE:-x}, $${HOME} and ${"


def test_apply_takes_back_what_get_printed_whatever_looks_like_a_variable(either: Desk) -> None:
    text = LOOKS_LIKE_A_VARIABLE
    either.qoder.env["HOME"] = "/home/me"
    weekly = either.add(name=text, description=text, metadata={"a": text}, environment_variables=f"A={text}")
    weekly.fields["initial_events"] = [{"type": "user.message", "content": [{"type": "text", "text": text}]}]
    file = either.file(either.qoder("deploy", "get", weekly.id, "--json").out)
    assert actions(either.apply(file, "--json")) == [("unchanged", 0)]
    weekly.fields["description"] = weekly.fields["metadata"]["a"] = "Old"
    assert either.apply(file).code == 0
    assert (weekly.fields["description"], weekly.fields["metadata"]["a"]) == (text, text)


# What it refers to, and what that pins.


NAMED = "type: deployment\nagent: {}\nenvironment: default\nvaults: [team-secrets, vault_1]\nmessage: Report.\n"


@pytest.mark.parametrize("agent", ["writer", "writer@2", "{id: writer, version: 2}"])
@pytest.mark.few(2)
def test_apply_of_a_file_looks_names_up_once_and_compares_ids(desk: Desk, agent: str) -> None:
    texts = (f"name: {name}\n{NAMED.format(agent)}" for name in ("weekly", "monthly"))
    file = desk.file(*texts, name="a.yaml")
    assert desk.apply(file).code == 0
    lists = ["GET /agents?limit=100", "GET /environments?limit=100", f"GET {LIST}", "GET /vaults?limit=100"]
    assert sorted(desk.asked[:4]) == sorted(lists)
    for _, body in desk.writes:
        assert body["agent"] in (WRITER, {"id": WRITER, "type": "agent", "version": 2})
        assert (body["environment_id"], body["vault_ids"]) == (ENVIRONMENT, ["vault_team", "vault_1"])
        assert not {"environment", "vaults"} & set(body)
    assert actions(desk.apply(file, "--json")) == [("unchanged", 0)] * 2


def test_apply_of_a_file_tells_names_of_nothing_or_of_two_with_their_lines(desk: Desk) -> None:
    for _ in range(2):
        assert desk.qoder("api", "POST", "/agents", "-f", "name=twin", "-f", "model=auto").code == 0
    desk.world.requests.clear()
    first = "type: deployment\nname: a\nagent: twin\nenvironment: defaults\nmessage: Hi."
    second = "type: deployment\nname: b\nagent: writer\nenvironment: default\nvaults: [nothing]\nmessage: Hi."
    ran = desk.apply(desk.file(first, second, name="a.yaml"), "--json")
    assert (ran.code, desk.writes) == (2, [])
    lines = ran.error["message"].splitlines()
    assert lines[0] == "3 problems in the files; nothing was sent"
    assert re.search(
        r"a.yaml:3: agent: 2 agents are named 'twin' \(agent_\w+, agent_\w+\); write the id of one$", lines[1]
    )
    assert "a.yaml:4: environment: no environment is named 'defaults'; did you mean 'default'?" in lines[2]
    assert "a.yaml:11: vaults[0]: no vault is named 'nothing', neither in these files nor on the server" in lines[3]


def test_apply_of_a_file_renames_what_has_an_id(desk: Desk) -> None:
    weekly = desk.add(name="weekly")
    file = desk.file({"id": weekly.id, "name": "monthly"})
    assert desk.apply(file).code == 0
    assert (weekly.name, desk.writes) == ("monthly", [(f"/deployments/{weekly.id}", {"name": "monthly"})])
    assert actions(desk.apply(file, "--json")) == [("unchanged", 0)]
    assert actions(desk.apply_these({"id": weekly.id, "description": "New"}, words=("--json",))) == [("changed", 0)]
    taken = desk.add(name="daily")
    ran = desk.apply_these({"id": weekly.id, "name": "daily"})
    assert (ran.code, f"the name 'daily' is taken by {taken.id}" in ran.err) == (6, True)


def in_markdown(**fields: Any) -> str:
    lines = [f"{name}: {json.dumps(value)}" for name, value in fields.items()]
    return "\n".join(["---", *lines, "---", "Write the report.", ""])


@pytest.mark.parametrize("agent", ["./reporter.md@1", {"path": "./reporter.md", "version": 1}])
def test_apply_of_a_file_applies_no_file_that_it_refers_to_and_pins_what_is_there(desk: Desk, agent: Any) -> None:
    store = desk.service.change("/memory_stores", {"name": "notes"})
    id = desk.service.change("/agents", {"name": "reporter", "model": "auto"})["id"]
    desk.service.change(f"/agents/{id}", {"description": "New", "version": 1})
    desk.file("name: notes\ndescription: Theirs\n", name="notes.yaml")
    desk.file("---\nname: reporter\nmodel: auto\n---\nYou report.\n", name="reporter.md")
    resources = [{"path": "./notes.yaml", "access": "read_write"}]
    fields = {"name": "nightly", "agent": agent, "environment": "env_1", "resources": resources}
    file = desk.file(in_markdown(type="deployment", **fields), name="nightly.md")
    desk.world.requests.clear()
    assert actions(desk.apply(file, "--json")) == [("created", 0)]
    [made] = desk.named("nightly")
    assert made.fields["agent"] == {"id": id, "type": "agent", "version": 1}
    assert made.fields["initial_events"][0]["content"][0]["text"].strip() == "Write the report."
    assert made.fields["resources"][0]["memory_store_id"] == store["id"]
    assert [path for path, _ in desk.writes] == ["/deployments"]
    assert actions(desk.apply(file, "--json")) == [("unchanged", 0)]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"agent": "./gone.md"}, "nightly.md:4: agent: ./gone.md does not exist"),
        ({"agent": "../gone.md"}, "nightly.md:4: agent: ../gone.md leads out of the folder"),
        ({"agent": "./empty.md"}, "declares no agent"),
        ({"resources": [{"path": "./gone.yaml"}]}, "nightly.md:4: resources[0].path: ./gone.yaml does not exist"),
        ({"message": "Hi."}, "message: the text below the front matter is message too; keep one of the two"),
        ({"paused": "yes"}, "nightly.md:4: paused: must be true or false"),
    ],
)
def test_apply_of_a_file_sends_nothing_of_one_that_it_cannot_follow(
    desk: Desk, fields: dict[str, Any], problem: str
) -> None:
    desk.file("---\n{}\n---\n", name="empty.md")
    ran = desk.apply(desk.file(in_markdown(type="deployment", name="nightly", **fields), name="nightly.md"))
    assert (ran.code, desk.writes) == (2, [])
    assert problem in ran.err, ran.err


# Tokens of repositories, which no server shows.


REPOSITORY = {"type": "github_repository", "url": "https://x", "authorization_token": "${GH}"}


@pytest.fixture
def keeper(desk: Desk) -> FakeDeployment:
    """Return what has a repository, whose token may be another by now."""
    desk.qoder.env["GH"] = "new-token"
    shown = {name: value for name, value in REPOSITORY.items() if name != "authorization_token"}
    return desk.add(name="keeper", resources=[shown])


def test_apply_of_a_file_sends_no_token_again_unless_told_and_says_so(desk: Desk, keeper: FakeDeployment) -> None:
    meant = {"name": "keeper", "resources": [REPOSITORY]}
    ran = desk.apply_these(meant, words=("--json", "--verbose"))
    assert (ran.code, actions(ran), desk.writes) == (0, [("unchanged", 0)], [])
    assert "its secrets cannot be compared, and are sent only with --send-secrets" in ran.err
    assert desk.apply_these({**meant, "description": "New"}).code == 0
    assert desk.writes == [(f"/deployments/{keeper.id}", {"description": "New"})]


def test_apply_of_a_file_sends_a_token_when_told_or_with_resources_that_differ(
    desk: Desk, keeper: FakeDeployment
) -> None:
    meant = {"name": "keeper", "resources": [REPOSITORY]}
    ran = desk.qoder("diff", desk.file(meant), "--send-secrets", "--json")
    change = {"path": "resources[0].authorization_token", "after": "[hidden]"}
    assert (ran.code, actions(ran), ran.json[0]["changes"]) == (8, [("would_change", 0)], [change])
    ran = desk.apply_these(meant, words=("--send-secrets",))
    assert (ran.code, ran.out.split("\t")[3]) == (0, "changed")
    sent = {**REPOSITORY, "authorization_token": "new-token"}
    assert '+ resources[0].authorization_token: "[hidden]"' in ran.err
    ran = desk.apply_these({"name": "keeper", "resources": [{**REPOSITORY, "mount_path": "/x"}]})
    assert [body["resources"] for _, body in desk.writes] == [[sent], [{**sent, "mount_path": "/x"}]]
    assert ("warning" in ran.err, "new-token" in ran.err) == (False, False)


KEPT = {"type": "github_repository", "url": "https://x"}
FILE_RESOURCE = {"type": "file", "file_id": "file_1", "mount_path": "/x"}


@pytest.mark.parametrize("words", [("apply", "--yes"), ("diff",), ("apply", "--yes", "--send-secrets")])
def test_apply_of_a_file_refuses_to_drop_a_token(desk: Desk, keeper: FakeDeployment, words: tuple[str, ...]) -> None:
    other = {"type": "git_repository", "url": "https://y"}
    keeper.fields["resources"].append({**other, "url": "https://Y.git/"})  # another spelling of it
    for number, resources in enumerate(([KEPT, FILE_RESOURCE], [REPOSITORY, {**other, "mount_path": "/y"}])):
        file = desk.file({"name": "keeper", "resources": resources}, {**NEW, "name": "new"})
        ran = desk.qoder(*words, file, "--json")
        assert (ran.code, desk.writes) == (2, [])
        token = ("authorization_token", "password")[number]
        assert (
            f"resources[{number}] has no {token}, and changing resources would drop the one that it may have:"
            f" add it as ${{NAME}}, or {token}: null if it needs none"
        ) in ran.error["message"]


def test_apply_of_a_file_replaces_resources_where_nothing_is_lost(desk: Desk, keeper: FakeDeployment) -> None:
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
def test_apply_of_a_file_knows_by_our_mark_that_a_token_was_taken(
    desk: Desk, keeper: FakeDeployment, fault: str
) -> None:
    meant = {"name": "keeper", "resources": [REPOSITORY]}
    desk.goes_wrong(f"update:{fault}")
    ran, sent = desk.apply_these(meant, words=("--send-secrets",)), 1 if fault == "drop-after" else 2
    assert (ran.code, len(desk.writes)) == (0, sent)
    desk.goes_wrong(f"update:{fault}*inf")
    ran = desk.apply_these(meant, words=("--send-secrets",))
    assert ran.code == 9 if fault != "drop-after" else (ran.code, len(desk.writes)) == (0, 1)


# What it shows, and asks.


def test_apply_takes_a_folder_stdin_and_files_together(desk: Desk) -> None:
    desk.file({**NEW, "name": "a"}, name="a.json")
    desk.file("type: deployment\nname: b\nagent: agent_1\nenvironment_id: env_1\nmessage: Go.", name="b.yaml")
    elsewhere = desk.folder.parent / "c.yml"
    elsewhere.write_text("type: deployment\nname: demo\ndescription: New\n---\ntype: deployment\nname: minute\n")
    desk.qoder.stdin = json.dumps({"type": "deployment", **NEW, "name": "d"})
    ran = desk.apply(str(desk.folder), str(elsewhere), "-", "--json")
    assert [(item["name"], item["action"], item["input"]) for item in ran.json] == [
        ("a", "created", f"{desk.folder}/a.json:1"),
        ("b", "created", f"{desk.folder}/b.yaml:1"),
        ("demo", "changed", f"{elsewhere}:1"),
        ("minute", "unchanged", f"{elsewhere}:5"),
        ("d", "created", "-:1"),
    ]
    assert desk.asked.count(f"GET {LIST}") == 2  # before and after


@pytest.mark.usefixtures("utc")
def test_apply_of_a_file_foresees_a_schedule_before_it_is_written(desk: Desk) -> None:
    schedule = {"expression": "0 9 * * 1-5", "timezone": "Europe/Berlin"}
    weekly = desk.add(name="weekly", schedule={**schedule, "expression": "0 8 * * *"})
    ran = desk.apply_these({"name": "weekly", "schedule": schedule})
    assert "fires from now on: at 09:00 on Monday through Friday (Europe/Berlin); next " in ran.err
    weekly.change(desk.world.now(), status="paused", paused_reason={"type": "manual"})
    never = {**schedule, "expression": "0 0 30 2 *"}
    ran = desk.apply_these({"name": "weekly", "schedule": never, "paused": True})
    assert (ran.code, "fires once it is unpaused" in ran.err, "next never" in ran.err) == (0, True, True)
    assert "fires" not in desk.apply_these({"name": "weekly", "description": "New"}).err
    unset = desk.qoder("diff", desk.file({**NEW, "schedule": {**schedule, "timezone": "${ZONE}"}}))
    assert (unset.code, "fires" in unset.out + unset.err) == (8, False), unset.out + unset.err


def test_apply_of_a_file_asks_and_writes_nothing_without_a_yes(desk: Desk, questions: Callable[..., list[str]]) -> None:
    ran = desk.apply_these(NEW, words=("--json",), yes=False)
    assert (ran.code, ran.out, desk.writes) == (2, "", [])
    assert ran.error["hint"] == "pass --yes, or preview with qoder diff"
    assert desk.apply_these({"name": "demo"}, yes=False).code == 0  # where there is nothing to ask
    asked = questions(True)
    ran = desk.apply_these(NEW, {"name": "demo", "description": "New"}, {"name": "minute"}, yes=False)
    assert asked == [f"Apply to {HOST}: 1 to create, 1 to change, 1 unchanged?"]
    assert (ran.code, len(desk.writes)) == (0, 2)


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (False, 2, "cancelled; nothing was applied"),
        (typer.Abort(), 2, "no answer was given"),
        (Signalled(signal.SIGINT), 130, "interrupted; nothing was applied"),
    ],
)
def test_apply_of_a_file_sends_nothing_after_a_no(
    desk: Desk, questions: Callable[..., list[str]], answer: BaseException | bool, code: int, words: str
) -> None:
    questions(answer)
    ran = desk.apply_these(NEW, words=("--json",), yes=False)
    assert (ran.code, ran.out, ran.error["message"]) == (code, "", words)
    assert desk.asked == [f"GET {LIST}"]


def test_apply_of_a_file_leaves_what_changed_during_the_question(
    desk: Desk, questions: Callable[..., list[str]]
) -> None:
    wanted, weekly, gone, daily = (desk.add(name=name) for name in ("wanted", "weekly", "gone", "daily"))

    def meanwhile() -> bool:
        wanted.change(desk.world.now(), metadata={"a": "1"})
        weekly.change(desk.world.now(), description="By someone else")
        gone.archive(desk.world.now())
        return True

    questions(meanwhile)
    file = desk.file(*({"id": one.id, "metadata": {"a": "1"}} for one in (wanted, weekly, gone, daily)))
    ran = desk.apply(file, "--json", yes=False)
    assert (ran.code, actions(ran)) == (6, [("unchanged", 0), ("failed", 6), ("failed", 6), ("changed", 0)])
    assert "was changed by someone else in the meantime; nothing was sent" in ran.json[1]["error"]["message"]
    assert "was archived on" in ran.json[2]["error"]["message"]
    assert [path for path, _ in desk.writes] == [f"/deployments/{daily.id}"]


# What cannot be meant.


def test_apply_of_a_file_refuses_a_name_that_several_have_and_one_that_stands_twice(desk: Desk) -> None:
    twins = sorted(desk.add(name="twin").id for _ in range(2))
    weekly = desk.add(name="weekly")
    file = desk.file(
        {**NEW, "name": "twin"},
        {"id": weekly.id, "name": "monthly"},
        {**NEW, "name": "weekly"},
        {"name": "nobody", "agent": "agent_1"},
    )
    ran = desk.apply(file)
    assert (ran.code, ran.out, desk.writes) == (2, "", [])
    error, first, *others = ran.err.splitlines()
    assert error == "error: 3 problems in the files; nothing was sent"
    assert first.startswith(f"{file}:1: 2 deployments are named 'twin' (")
    assert all(id in first for id in twins)
    assert others == [
        f"{file}:4: no deployment is named 'nobody'; to create it, add environment_id, initial_events",
        f"{file}:3: is the same deployment as {file}:2 ({weekly.id})",
    ]
    desk.world.requests.clear()
    one, other = desk.file(NEW, name="a.json"), desk.file(NEW, name="b.json")
    ran = desk.apply(one, other)
    assert (ran.code, desk.asked) == (2, [])
    assert f"{other}:1: name: is that of another deployment, in {one}:1" in ran.err


# What goes wrong on the way.


@pytest.mark.parametrize("where", ["create", "update"])
@pytest.mark.parametrize(("fault", "code"), [("401", 4), ("404", 5), ("409", 6), ("503*inf", 7)])
@pytest.mark.few(3)
def test_apply_of_a_file_tells_a_refusal_and_does_the_others(desk: Desk, where: str, fault: str, code: int) -> None:
    weekly = desk.add(name="weekly")
    desk.goes_wrong(f"{where}:{fault}")
    ran = desk.apply_these({**NEW, "name": "new"}, {"name": "weekly", "description": "New"}, words=("--json",))
    expected = [("created", 0), ("changed", 0)]
    expected[where == "update"] = ("failed", code)
    assert (ran.code, actions(ran)) == (code, expected)
    assert (weekly.fields["description"] == "New") == (where == "create")


def test_apply_of_a_file_exits_9_where_neither_answer_nor_reading_back_shows_the_change(desk: Desk) -> None:
    weekly = desk.add(name="weekly", description="Old")

    def short(done: httpx.Response) -> httpx.Response:
        desk.service.instead[f"GET /deployments/{weekly.id}"] = [refusal(403, "permission_error", "No.")] * 9
        return httpx.Response(200, json={"id": weekly.id, "type": "deployment"})

    desk.service.after = [short]
    ran = desk.apply_these({"name": "weekly", "description": "New"}, words=("--json",))
    assert (ran.code, actions(ran), len(desk.writes)) == (9, [("unknown", 9)], 1)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.few(4)
def test_apply_of_a_file_never_lies_nor_creates_two(desk: Desk, fault: str) -> None:
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


@pytest.mark.parametrize("seconds", [2, 4])
def test_apply_of_a_new_paused_file_waits_for_a_replica_that_lags(desk: Desk, seconds: int) -> None:
    desk.goes_wrong(f"any:lagging={seconds}")
    schedule = {"expression": "0 9 * * *", "timezone": "UTC"}
    ran = desk.apply_these({**NEW, "name": "new", "paused": True, "schedule": schedule}, words=("--json",))
    assert (ran.code, actions(ran)) == (0, [("created", 0)]), ran.err


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


@pytest.mark.parametrize("format", ["table", "json", "pretty", "markdown"])
def test_apply_and_diff_show_no_byte_of_a_secret(desk: Desk, format: str) -> None:
    desk.qoder.env |= {"SECRET": SECRET, "ENV": "blue-moon"}
    file = desk.file(HIDING)

    def shown(command: str, *words: str) -> str:
        ran = desk.qoder(command, file, "-o", format if command == "diff" or format != "markdown" else "json", *words)
        return ran.out + ran.err

    said = [shown("diff", "--debug"), shown("apply"), shown("apply", "--yes", "--debug"), shown("apply", "--yes")]
    [keeper] = desk.named("keeper-blue-moon")
    assert keeper.fields["environment_variables"] == f"TOKEN={SECRET}\nPLAIN=on"
    keeper.fields |= {name: OLD[name] for name in ("environment_variables", "description")}
    said += [shown("diff", "--debug"), shown("apply", "--yes", "--debug")]
    assert keeper.fields["environment_variables"] == f"TOKEN={SECRET}\nPLAIN=on"
    for secret in (SECRET, json.dumps(SECRET)[1:-1], "hunter2", "literal-token-9", "yesterdays-secret"):
        assert secret not in "".join(said)
    assert "[hidden]" in "".join(said) or "environment_variables.TOKEN: changed" in "".join(said)
    assert "keeper-blue-moon" in said[0]


def test_apply_shows_what_stands_where_no_secret_can(desk: Desk) -> None:
    desk.qoder.env["WHO"] = "e"
    meant = {**NEW, "name": "report-${WHO}", "description": "For ${WHO}", "metadata": {"pin": "<${WHO}>"}}
    for ran in (desk.qoder("diff", desk.file(meant), "--json"), desk.apply_these(meant, words=("--json",))):
        assert "[hidden]" not in ran.out + ran.err
        assert "[redacted]" not in ran.out
    [row] = ran.json
    shown = desk.qoder("deploy", "get", "report-e", "--json").json
    assert shown.items() <= {**row, "metadata": shown["metadata"]}.items()


@pytest.mark.parametrize("format", ["table", "json"])
def test_apply_shows_no_secret_in_another_form(either: Desk, format: str) -> None:
    either.qoder.env |= {"ALL": "FOO=topsecretvalue; BAR=qq", "ONE": "on"}
    meant = {**NEW, "environment_variables": "PLAIN=yes\nMINE=${ONE}\n${ALL}"}
    for command in (("diff",), ("apply", "--yes", "--debug"), ("apply", "--yes")):
        ran = either.qoder(*command, either.file(meant), "-o", format)
        assert ran.code in (0, 6, 8)  # an older server keeps no variables, which is said
        for secret in ("topsecret", "qq", "=on", '"on"'):
            assert secret not in ran.out + ran.err, secret
    if either.world.generation == "current":
        bodies = [body for path, body in either.writes if path == "/deployments"]
        assert bodies[0]["environment_variables"] == "PLAIN=yes\nMINE=on\nFOO=topsecretvalue\nBAR=qq"


def test_apply_takes_an_id_from_a_variable(desk: Desk) -> None:
    desk.qoder.env["DEP"] = "dep_demo"
    ran = desk.apply_these({"id": "${DEP}", "description": "New"}, words=("-q",))
    assert (ran.code, ran.out) == (0, "dep_demo\n")


UNSET: tuple[Any, ...] = ("${X}", ["${X}"])


@pytest.mark.parametrize(
    "fields",
    [
        *({"type": "vault", "display_name": "v", "credentials": unset} for unset in UNSET),
        *({**NEW, "resources": unset} for unset in UNSET),
    ],
    ids=str,
)
def test_diff_says_of_a_part_that_is_not_set_that_it_did_not_compare_it(desk: Desk, fields: Any) -> None:
    ran = desk.qoder("diff", desk.file(fields))
    assert (ran.code, ran.err.splitlines()[-1]) == (8, "1 to create, 1 not compared")


@pytest.mark.parametrize("resources", UNSET)
def test_diff_of_resources_that_are_not_set_finds_nothing_that_it_would_lose(desk: Desk, resources: Any) -> None:
    assert desk.apply_these(NEW).code == 0
    ran = desk.qoder("diff", desk.file({**NEW, "resources": resources}))
    assert ran.err.splitlines()[-1].endswith(", 1 not compared")


@pytest.mark.parametrize("named", [{}, NEW])
def test_diff_does_not_say_that_it_would_create_what_an_id_that_is_not_set_may_name(desk: Desk, named: Any) -> None:
    ran = desk.qoder("diff", desk.file({"id": "${DEP}", "description": "New", **named}))
    assert (ran.code, ran.err.splitlines()[-1]) == (0, "1 unchanged, 1 not compared")
    assert "not compared, because it is not set: ${DEP}" in ran.err
