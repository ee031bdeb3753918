"""`qoder deploy create` and `update`, in the user's words."""

import json
import signal
from typing import Any

import httpx
import pytest

from qoder_cli.base.errors import Signalled
from qoder_cli.output.data import Output
from qoder_cli.sandbox.records import ENVIRONMENT
from qoder_cli.sandbox.samples import WRITER
from tests.conftest import Qoder, Ran
from tests.support.desk import BODY, EVENTS, HOST, Desk
from tests.support.inprocess import at_version
from tests.support.interrupting import interrupt, interrupted
from tests.support.wire import page

AGENT, ENV = "agent_1", "env_1"
NEEDED = ("--name", "weekly", "--agent", AGENT, "--env", ENV, "-m", "Report.")
LISTED = ["GET /agents?limit=100", "GET /environments?limit=100", "GET /vaults?limit=100"]
VERBS = pytest.mark.parametrize("verb", ["create", "update"])


pytestmark = pytest.mark.usefixtures("plain_http")


def create(desk: Desk, *words: str) -> Ran:
    return desk.qoder("deploy", "create", *NEEDED, *words)


def update(desk: Desk, *words: str) -> Ran:
    return desk.qoder("deploy", "update", *words)


def test_deploy_create_sends_each_option_as_a_field(desk: Desk) -> None:
    labels = (word for label in ("team=core", "url=a=b", "none=") for word in ("--metadata", label))
    schedule = {"expression": "0 9 * * 1-5", "timezone": "Europe/Berlin"}
    words: tuple[str, ...] = ("--schedule", schedule["expression"], "--timezone", schedule["timezone"])
    words += ("--description", "What it is for", "--budget", "7.5", "-m", "${HOME} and $$", "--agent", "agent_writer@3")
    ran = create(desk, *words, "--vault", "vault_1", "--vault", "vault_2", *labels)
    assert (ran.code, ran.err.splitlines()[0]) == (0, f"creating weekly ({HOST})")
    fields = {
        "description": "What it is for",
        "schedule": {"type": "cron", **schedule},
        "vault_ids": ["vault_1", "vault_2"],
        "metadata": {"team": "core", "url": "a=b", "none": ""},
        "budget": {"type": "limit", "max_credit_cost": "7.50"},
        "agent": {"id": "agent_writer", "type": "agent", "version": 3},
        "initial_events": [{**EVENTS[0], "content": [{"type": "text", "text": "${HOME} and $$"}]}],
    }
    assert desk.writes == [("/deployments", {**BODY, **fields})]
    desk.world.requests.clear()
    assert create(desk, "--name", "daily", "--description", "").code == 0
    assert desk.writes == [("/deployments", {**BODY, "name": "daily"})]


def test_deploy_create_and_update_send_names_as_ids_and_look_them_up_once(desk: Desk) -> None:
    words = ("--agent", "writer@2", "--env", "default", "--vault", "team-secrets", "--vault", "vault_1")
    ran = create(desk, *words)
    assert ran.code == 0
    agent = {"id": WRITER, "type": "agent", "version": 2}
    named = {"agent": agent, "environment_id": ENVIRONMENT, "vault_ids": ["vault_team", "vault_1"]}
    [(_, body)] = desk.writes
    assert body == {**BODY, **named}
    assert [each for each in desk.asked if not each.split()[1].startswith("/deployments")] == LISTED
    assert f"using agent writer ({WRITER})" in ran.err

    [made] = desk.named("weekly")
    desk.world.requests.clear()
    ran = update(desk, made.id, *words)
    assert (ran.code, desk.writes) == (0, [])
    assert "already up to date" in ran.err
    assert update(desk, made.id, "--agent", "reviewer", "--no-vault").code == 0
    assert desk.writes == [(f"/deployments/{made.id}", {"agent": "agent_reviewer", "vault_ids": []})]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--agent", "writr"), 5, "no agent is named 'writr'"),
        (("--agent", "env_1"), 2, "--agent: must be an id (agent_…) or a name: 'env_1' is an environment"),
        (("--agent", "agent_1@latest"), 2, "--agent: must be an id (agent_…)"),
        (("--env", "defaults"), 5, "no environment is named 'defaults'"),
        (("--vault", ""), 2, "--vault: must be an id (vault_…) or a name: the vault is empty"),
        (("--agent", "twin"), 2, "2 agents are named 'twin'"),
    ],
)
@VERBS
@pytest.mark.few(5)
def test_deploy_edits_refuse_a_name_of_none_or_two(desk: Desk, verb: str, words: Any, code: int, message: str) -> None:
    for _ in range(2):
        assert desk.qoder("api", "POST", "/agents", "-f", "name=twin", "-f", "model=auto").code == 0
    desk.world.requests.clear()
    before = NEEDED if verb == "create" else ("dep_demo",)
    ran = desk.qoder("deploy", verb, *before, *words, "--json")
    assert (ran.code, ran.error["message"][: len(message)], desk.writes) == (code, message, [])
    if "twin" in words:
        assert ran.error["message"].count("agent_") == 2


def test_deploy_create_takes_the_message_from_stdin(desk: Desk) -> None:
    desk.qoder.stdin = "Look at the build.\nSay what you see.\n"
    assert desk.qoder("deploy", "create", *NEEDED[:-2], "-m", "-").code == 0
    [(_, body)] = desk.writes
    assert body["initial_events"][0]["content"] == [{"type": "text", "text": desk.qoder.stdin}]


@pytest.mark.parametrize("name", ["weekly", "dep_weekly"])  # that of an archived one, and what looks like an id
def test_deploy_create_takes_a_name_that_is_free(desk: Desk, name: str) -> None:
    desk.add(name="weekly", archived_at="2026-06-14T08:54:06Z")  # a server that does not rename it
    assert create(desk, "--name", name).code == 0
    assert create(desk, "--name", name).code == 6


def test_deploy_create_exits_6_where_a_stranger_is_faster(desk: Desk) -> None:
    desk.goes_wrong("create:stranger")
    assert create(desk).code == 6
    assert (len(desk.named("weekly")), len(desk.writes), sum(desk.qoder.clock.slept)) == (1, 1, 0)


def test_deploy_create_and_update_show_the_next_fires(qoder: Qoder) -> None:
    schedule = {"type": "cron", "expression": "0 9 * * *", "timezone": "UTC"}
    made = {"id": "dep_1", "type": "deployment", **BODY, "agent": {"id": AGENT, "type": "agent", "version": 1}}
    made |= {"schedule": schedule}
    qoder.wire.on("GET", "/deployments", page()).on("POST", "/deployments", made)
    qoder.wire.on("GET", "/deployments/dep_1", made, repeat=True)
    words = ("--schedule", "0 9 * * *", "--timezone", "UTC")
    fires = [f"next_run\t2027-01-{day}T09:00:00Z" for day in (15, 16, 17, 18, 19)]
    shown = [qoder("deploy", "create", *NEEDED, *words).out, qoder("deploy", "update", "dep_1", *words).out]
    assert [[line for line in out.splitlines() if line.startswith("next_run")] for out in shown] == [fires, fires]


@pytest.mark.parametrize(
    ("words", "body"),
    [
        (("--description", ""), {"description": None}),
        (("--agent", "agent_writer@3"), {"agent": {"id": "agent_writer", "type": "agent", "version": 3}}),
        (("-m", "Go."), {"initial_events": [{**EVENTS[0], "content": [{"type": "text", "text": "Go."}]}]}),
        (
            ("--timezone", "Asia/Tokyo"),
            {"schedule": {"type": "cron", "expression": "0 9 * * *", "timezone": "Asia/Tokyo"}},
        ),
        (("--no-schedule",), {"schedule": None}),
        (("--no-vault",), {"vault_ids": []}),
        (("--metadata", "team=web", "--metadata", "new=1"), {"metadata": {"team": "web", "new": "1"}}),
        (("--remove-metadata", "team", "--metadata", "tier=2"), {"metadata": {"team": None, "tier": "2"}}),
        (("--no-budget",), {"budget": None}),
        (("--description", "New", "--budget", "5"), {"description": "New"}),  # the budget is so already
    ],
)
@pytest.mark.few(5)
def test_deploy_update_sends_only_what_differs(desk: Desk, words: tuple[str, ...], body: dict[str, Any]) -> None:
    weekly = desk.add(
        name="weekly",
        description="Old",
        agent={"id": "agent_1", "type": "agent", "version": 1},
        schedule={"expression": "0 9 * * *", "timezone": "UTC"},
        metadata={"team": "core", "tier": "1"},
        vault_ids=["vault_1"],
        budget={"type": "limit", "max_credit_cost": "5.00"},
    )
    ran = update(desk, weekly.id, *words, "--json")
    assert (ran.code, ran.json["id"]) == (0, weekly.id)
    assert desk.writes == [(f"/deployments/{weekly.id}", body)]
    assert f"changing weekly ({weekly.id}) ({HOST})" in ran.err
    desk.world.requests.clear()
    assert update(desk, weekly.id, *words).code == 0
    assert desk.writes == []


def test_deploy_update_pins_an_agent_to_its_latest_version(desk: Desk) -> None:
    weekly = desk.add(name="weekly", agent={"id": "agent_1", "type": "agent", "version": 1})
    at_version(desk.world, "agent_1", 4)
    assert update(desk, weekly.id, "--agent", "agent_1").code == 0
    [write] = desk.writes
    assert write == (f"/deployments/{weekly.id}", {"agent": {"id": "agent_1", "type": "agent", "version": 4}})
    ran = update(desk, weekly.id, "--agent", "agent_1")
    assert (ran.code, len(desk.writes), "is already up to date" in ran.err) == (0, 1, True)
    desk.goes_wrong("agent:403")
    assert update(desk, weekly.id, "--agent", "agent_1").code == 0
    assert desk.writes == [(f"/deployments/{weekly.id}", {"agent": "agent_1"})]  # which may change nothing
    desk.goes_wrong()
    kept = httpx.Response(200, json={"id": "agent_1", "type": "agent", "version": 4}, headers={"age": "60"})
    desk.service.instead["GET /agents/agent_1"] = [kept] * 20  # by a proxy: there may be a newer version
    assert update(desk, weekly.id, "--agent", "agent_1").code == 0
    assert desk.writes == [(f"/deployments/{weekly.id}", {"agent": "agent_1"})]


def test_deploy_update_pins_no_version_of_another_agent(qoder: Qoder) -> None:
    pinned = {**KNOWN, "agent": {"id": "agent_1", "type": "agent", "version": 1}}
    qoder.wire.on("GET", "/deployments/dep_1", pinned, repeat=True)
    qoder.wire.on("GET", "/agents/agent_1", {"id": "agent_9", "type": "agent", "version": 7})
    qoder.wire.on("POST", "/deployments/dep_1", pinned)
    qoder("deploy", "update", "dep_1", "--agent", "agent_1")
    [sent] = [json.loads(each.content) for each in qoder.wire.requests if each.method == "POST"]
    assert sent == {"agent": "agent_1"}  # the server knows the latest


@pytest.mark.parametrize("way", ["update", "apply"])
def test_deploy_gives_no_new_name_where_the_list_may_hide_who_has_it(desk: Desk, way: str) -> None:
    def rename() -> Ran:
        if way == "update":
            return update(desk, "dep_minute", "--name", "weekly")
        return desk.apply_these({"id": "dep_minute", "name": "weekly"})

    desk.service.lies["GET /deployments"] = lambda page: {"data": []}
    assert (rename().code, desk.writes) == (7, [])
    desk.service.lies["GET /deployments"] = lambda page: {**page, "data": []}
    assert create(desk).code == 0
    assert (rename().code, len(desk.writes)) == (6, 1)


@pytest.mark.parametrize("words", [["--description", "New"], ["--description", "New", "--dry-run"], ["--no-budget"]])
def test_deploy_update_exits_6_where_it_is_archived(desk: Desk, words: list[str]) -> None:
    ran = update(desk, "dep_archived", *words, "--json")
    assert (ran.code, ran.out, desk.writes) == (6, "", [])
    assert "deployment dep_archived was archived on 20" in ran.error["message"]


KNOWN = {"id": "dep_1", "type": "deployment", **BODY, "agent": {"id": AGENT, "type": "agent", "version": 1}}


@pytest.mark.parametrize(
    ("now", "then", "code", "said", "shown"),
    [
        ({"name": "theirs"}, {}, 6, "was changed by someone else in the meantime; nothing was sent", None),
        ({"description": "New"}, {}, 0, "already changed as requested, by someone else", "New"),
        ({}, {"description": "Cut"}, 6, "was changed, but the server stored something else: description", "Cut"),
    ],
    ids=["changed otherwise", "changed as wanted", "stored otherwise"],
)
def test_deploy_update_minds_what_a_colleague_changed_and_what_the_server_stored(
    qoder: Qoder, now: dict[str, Any], then: dict[str, Any], code: int, said: str, shown: str | None
) -> None:
    qoder.wire.on("GET", "/deployments/dep_1", KNOWN, {**KNOWN, **now}, *([KNOWN | then] if then else []))
    if then:
        qoder.wire.on("POST", "/deployments/dep_1", KNOWN | then)
    ran = qoder("deploy", "update", "dep_1", "--description", "New", "--json")
    assert (ran.code, said in ran.err) == (code, True)
    assert (ran.json["description"] if ran.out else None) == shown


def test_deploy_update_looks_past_the_copy_of_a_proxy_for_what_a_colleague_changed(qoder: Qoder) -> None:
    kept = httpx.Response(200, json=KNOWN, headers={"age": "60"})
    qoder.wire.on("GET", "/deployments/dep_1", kept, KNOWN, kept, {**KNOWN, "name": "theirs"})
    ran = qoder("deploy", "update", "dep_1", "--description", "New", "--json")
    assert (ran.code, "changed by someone else in the meantime; nothing was sent" in ran.err) == (6, True)
    assert '\n  ~ name: "weekly" -> "theirs"\n' in ran.err


@VERBS
@pytest.mark.parametrize(
    ("option", "values"),  # what each field may be, is tested of deployment files
    [
        ("--name", ["", "x" * 257, "\udcff"]),
        ("--agent", ["", "env_1", "agent_1@", "agent_1@0", "agent_1@-1", "agent_1@v2", "agent_1@٣", f"a@{'9' * 5000}"]),
        ("--env", ["agent_1"]),
        ("--message", ["", "\udc80"]),
        ("--description", ["x" * 2049]),
        ("--schedule", ["0 9 * *", "", "@daily"]),
        ("--timezone", ["Mars/Olympus", ""]),
        ("--vault", ["agent_1", ""]),
        ("--metadata", ["novalue", "", "=value", f"{'k' * 65}=v", "cas_config=1"]),
        ("--budget", ["0", "lots", ""]),
    ],
)
@pytest.mark.few(7)
def test_deploy_edits_name_the_option_of_a_bad_value(qoder: Qoder, verb: str, option: str, values: list[str]) -> None:
    before = NEEDED if verb == "create" else ("dep_demo",)
    beside = {"--schedule": ("--timezone", "UTC"), "--timezone": ("--schedule", "0 9 * * *")}.get(option, ())
    many: list[tuple[str, ...]] = [(option, value) for value in values]
    if form := {"--vault": "vault_{}", "--metadata": "k{}=v"}.get(option):
        many.append(tuple(word for n in range(51) for word in (option, form.format(n))))
    for words in many:
        ran = qoder("deploy", verb, *before, *beside, *words, "--json")
        assert (ran.code, ran.out, qoder.wire.requests) == (2, "", []), words
        assert ran.error["message"].startswith(f"{option}: ")


@pytest.mark.parametrize("words", [["--json"], []], ids=["json", "table"])
def test_deploy_create_and_update_dry_run_show_what_would_be_done(desk: Desk, words: list[str]) -> None:
    weekly = desk.add(name="daily")
    for ran, action in (
        (create(desk, "--dry-run", *words), "would_create"),
        (update(desk, weekly.id, "--description", "New", "--dry-run", *words), "would_change"),
        (update(desk, weekly.id, "--name", "daily", "--dry-run", *words), "unchanged"),
    ):
        assert (f'"action":"{action}"' if words else f"action\t{action}\n") in ran.out
        assert ('  ~ description: null -> "New"' in ran.err) == (action == "would_change")
    assert create(desk, "--dry-run", "-q").out == ""  # it has no id yet


@pytest.mark.parametrize("answer_comes", [True, False])
@VERBS
def test_deploy_create_and_update_wait_for_the_answer_at_a_signal(desk: Desk, verb: str, answer_comes: bool) -> None:
    words = ("--description", "New", "--json")
    with interrupted(desk.qoder, answer_comes=answer_comes):
        ran = create(desk, *words) if verb == "create" else update(desk, "dep_demo", *words)
    assert (ran.code, len(desk.writes)) == (143, 1)
    if answer_comes:
        assert (ran.json["description"], ran.error["type"]) == ("New", "terminated")
        did = "weekly was created" if verb == "create" else "demo was changed"
        assert ran.error["message"] == f"stopped by a signal; {did}"
    else:
        what = "creating weekly" if verb == "create" else "changing dep_demo"
        assert (ran.out, ran.error["type"]) == ("", "outcome_unknown")
        assert f"stopped by a signal; unknown whether {what} succeeded" in ran.error["message"]
        assert ran.error["next"][:3] == ["qoder", "deploy", "list" if verb == "create" else "get"]


@VERBS
def test_deploy_create_and_update_are_done_at_a_signal_as_they_are_read_back(desk: Desk, verb: str) -> None:
    def is_done() -> None:
        desk.service.lies = {f"GET /deployments/{one.id}": interrupt for one in desk.world.deployments.values()}

    desk.service.late = [is_done]
    words = ("--description", "New", "--json")
    ran = create(desk, *words) if verb == "create" else update(desk, "dep_demo", *words)
    assert (ran.code, ran.json["description"]) == (130, "New")
    did = "weekly was created" if verb == "create" else "demo was changed"
    assert ran.error["message"] == f"stopped by a signal; {did}"


def test_deploy_create_says_at_a_signal_that_nothing_was_attempted(desk: Desk) -> None:
    desk.goes_wrong("create:429")
    desk.qoder.clock.at_sleep = interrupt
    ran = create(desk, "--json")
    assert (ran.code, ran.out, ran.error["type"]) == (130, "", "interrupted")
    assert ran.error["message"] == "stopped by a signal; weekly was not attempted"


@pytest.mark.parametrize("printed", [True, False])
def test_deploy_create_stays_done_while_printed(desk: Desk, printed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    record, calls = Output.record, list[Any]()

    def stopped(*given: Any, **named: Any) -> None:
        calls.append(given)
        if printed or len(calls) > 1:
            record(*given, **named)
        if len(calls) == 1:
            raise Signalled(signal.SIGTERM)

    monkeypatch.setattr(Output, "record", stopped)
    ran = create(desk, "--json")
    assert (ran.code, ran.json["name"]) == (143, "weekly")
    assert ran.error["message"] == "stopped by a signal; weekly was created"


GOAL = ("--outcome", "A report", "--rubric", "It has a date.", "--max-iterations", "2")
DEFINED: dict[str, Any] = {"type": "user.define_outcome", "description": "A report"}
DEFINED |= {"rubric": {"type": "text", "content": "It has a date."}, "max_iterations": 2}


def test_deploy_edits_define_an_outcome_beside_the_message(desk: Desk) -> None:
    assert create(desk, *GOAL).code == 0
    [weekly] = desk.named("weekly")
    first, defined = weekly.fields["initial_events"]
    assert (first["type"], defined) == ("user.message", DEFINED)
    assert update(desk, weekly.id, "--outcome", "Two", "--rubric", "Short").code == 0
    again, defined = weekly.fields["initial_events"]
    assert (again, defined["description"], "max_iterations" in defined) == (first, "Two", False)
