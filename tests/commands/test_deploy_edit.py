"""`qoder deploy create` and `update`, in the user's words, on both generations of server."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from qoder_cli.base.errors import InternalError, Signalled
from qoder_cli.output.data import Output
from qoder_cli.output.screen import Screen
from qoder_cli.sandbox.records import ENVIRONMENT
from qoder_cli.sandbox.samples import WRITER
from qoder_cli.sandbox.wire import GENERATIONS
from tests.conftest import TOKEN, Qoder, Ran
from tests.support.desk import ACTED, EVENTS, HOST, LIST, LOST, Desk
from tests.support.interrupting import interrupted
from tests.support.wire import page

AGENT, ENV = "agent_1", "env_1"
NEEDED = ("--name", "weekly", "--agent", AGENT, "--environment", ENV, "-m", "Report.")
BODY = {"name": "weekly", "agent": AGENT, "environment_id": ENV, "initial_events": EVENTS}
LISTED = ["GET /agents?limit=100", "GET /environments?limit=100", "GET /vaults?limit=100"]
VERBS = pytest.mark.parametrize("verb", ["create", "update"])


@pytest.fixture(autouse=True)
def plain_http(qoder: Qoder) -> None:
    """Spare each command reading the certificates."""
    qoder.env["QODER_BASE_URL"] = f"http://{HOST}"


@pytest.fixture(params=GENERATIONS)
def desk(request: pytest.FixtureRequest, qoder: Qoder, tmp_path: Path) -> Desk:
    return Desk(qoder, tmp_path, request.param)


def create(desk: Desk, *words: str) -> Ran:
    return desk.qoder("deploy", "create", *NEEDED, *words)


def update(desk: Desk, *words: str) -> Ran:
    return desk.qoder("deploy", "update", *words)


# Creating.


def test_one_is_created_with_what_it_needs(desk: Desk) -> None:
    ran = create(desk, "--json")
    [made] = desk.named("weekly")
    assert (ran.code, ran.json["id"], ran.json["status"]) == (0, made.id, "active")
    assert desk.writes == [("/deployments", BODY)]
    assert desk.asked == [f"GET {LIST}", "POST /deployments", f"GET /deployments/{made.id}"]
    assert ran.err.splitlines()[:2] == [f"creating weekly (profile default, {HOST})", "weekly (new)"]
    assert "input" not in ran.json


@pytest.mark.parametrize(
    ("words", "fields"),
    [
        (("--description", "What it is for"), {"description": "What it is for"}),
        (
            ("--schedule", "0 9 * * 1-5", "--timezone", "Europe/Berlin"),
            {"schedule": {"type": "cron", "expression": "0 9 * * 1-5", "timezone": "Europe/Berlin"}},
        ),
        (("--vault", "vault_1", "--vault", "vault_2"), {"vault_ids": ["vault_1", "vault_2"]}),
        (
            ("--metadata", "team=core", "--metadata", "url=a=b", "--metadata", "none="),
            {"metadata": {"team": "core", "url": "a=b", "none": ""}},
        ),
        (("--budget", "7.5"), {"budget": {"type": "limit", "max_credit_cost": "7.50"}}),
        (("--agent", "agent_2@3"), {"agent": {"id": "agent_2", "type": "agent", "version": 3}}),
        (
            ("-m", "${HOME} and $$"),
            {"initial_events": [{**EVENTS[0], "content": [{"type": "text", "text": "${HOME} and $$"}]}]},
        ),
        (("--description", ""), {}),
    ],
)
def test_each_option_is_a_field(desk: Desk, words: tuple[str, ...], fields: dict[str, Any]) -> None:
    assert create(desk, *words).code == 0
    assert desk.writes == [("/deployments", {**BODY, **fields})]


def test_names_are_sent_as_ids_and_looked_up_once(desk: Desk) -> None:
    words = ("--agent", "writer@2", "--environment", "default", "--vault", "team-secrets", "--vault", "vault_1")
    ran = create(desk, *words)
    assert ran.code == 0
    agent = {"id": WRITER, "type": "agent", "version": 2}
    named = {"agent": agent, "environment_id": ENVIRONMENT, "vault_ids": ["vault_team", "vault_1"]}
    [(_, body)] = desk.writes
    assert body == {**BODY, **named}
    assert [each for each in desk.asked if not each.split()[1].startswith("/deployments")] == LISTED
    assert f"writer is {WRITER}" in ran.err

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
        (("--agent", "agent_1@latest"), 2, "--agent: invalid version 'latest'"),
        (("--environment", "defaults"), 5, "no environment is named 'defaults'"),
        (("--environment", "agent_1"), 2, "--environment: must be an id (env_…) or a name"),
        (("--vault", "team"), 5, "no vault is named 'team'"),
        (("--vault", ""), 2, "--vault: must be an id (vault_…) or a name: the vault is empty"),
        (("--agent", "twin"), 2, "2 agents are named 'twin'"),
    ],
)
@VERBS
def test_a_name_of_nothing_or_of_two_changes_nothing(
    desk: Desk, verb: str, words: tuple[str, ...], code: int, message: str
) -> None:
    for _ in range(2):
        assert desk.qoder("api", "POST", "/agents", "-f", "name=twin", "-f", "model=auto").code == 0
    desk.world.requests.clear()
    before = NEEDED if verb == "create" else ("dep_demo",)
    ran = desk.qoder("deploy", verb, *before, *words, "--json")
    assert (ran.code, ran.error["message"][: len(message)], desk.writes) == (code, message, [])
    if "twin" in words:
        assert ran.error["message"].count("agent_") == 2


def test_the_message_may_come_from_standard_input(desk: Desk) -> None:
    desk.qoder.stdin = "Look at the build.\nSay what you see.\n"
    assert desk.qoder("deploy", "create", *NEEDED[:-2], "-m", "-").code == 0
    [(_, body)] = desk.writes
    assert body["initial_events"][0]["content"] == [{"type": "text", "text": desk.qoder.stdin}]


def test_it_is_shown_as_by_deploy_get(desk: Desk) -> None:
    table = dict(line.split("\t") for line in create(desk, "--budget", "5").out.splitlines())
    assert (table["name"], table["state"], table["budget"]) == ("weekly", "active", "5.00 credits a run")
    assert table["id"] == desk.named("weekly")[0].id


def test_only_the_id_is_shown_when_that_is_asked_for(desk: Desk) -> None:
    assert create(desk, "-q").out == f"{desk.named('weekly')[0].id}\n"


@pytest.mark.parametrize("without", ["--name", "--agent", "--environment", "-m"])
def test_what_is_missing_is_named(qoder: Qoder, without: str) -> None:
    at = NEEDED.index(without)
    ran = qoder("deploy", "create", *NEEDED[:at], *NEEDED[at + 2 :], "--json")
    assert (ran.code, ran.out) == (2, "")
    option = "--message" if without == "-m" else without
    assert ran.error["message"] == f"missing required option: {option}"


def test_all_that_is_missing_is_named_at_once(qoder: Qoder) -> None:
    ran = qoder("deploy", "create", "--json")
    assert ran.error["message"].startswith("missing required options: --name, --agent, --environment, --message")


@pytest.mark.parametrize("unique_names", [True, False])
def test_a_name_that_is_taken_is_exit_6(desk: Desk, unique_names: bool) -> None:
    desk.goes_wrong(unique_names=unique_names)
    taken = desk.add(name="weekly")
    ran = create(desk, "--json")
    assert (ran.code, ran.out, ran.error["type"], desk.writes) == (6, "", "rejected", [])
    assert ran.error["message"] == f"a deployment named 'weekly' already exists ({taken.id})"
    assert ran.error["next"] is None  # it would change what someone else made
    assert f"qoder deploy update {taken.id}" in ran.error["hint"]
    other = desk.add(name="weekly")
    assert f"{other.id}, {taken.id}" in create(desk, "--json").error["message"]


def test_a_name_that_an_archived_one_had_is_free(desk: Desk) -> None:
    desk.add(name="weekly", archived_at="2026-06-14T08:54:06Z")  # a server that does not rename it
    assert create(desk).code == 0


def test_a_name_that_looks_like_an_id_is_a_name(desk: Desk) -> None:
    assert create(desk, "--name", "dep_weekly").code == 0
    assert create(desk, "--name", "dep_weekly").code == 6


def test_someone_who_is_faster_is_exit_6(desk: Desk) -> None:
    desk.goes_wrong("create:stranger")
    ran = create(desk, "--json")
    assert (ran.code, len(desk.named("weekly")), len(desk.writes)) == (6, 1, 1)


@pytest.mark.parametrize("words", [(), ("--dry-run",)])
def test_a_schedule_is_foreseen_before_it_is_written(desk: Desk, words: tuple[str, ...]) -> None:
    schedule = ("--schedule", "0 9 * * *", "--timezone", "UTC")
    for ran in (create(desk, *schedule, *words), update(desk, "demo", *schedule, *words)):
        _, _, following = ran.err.partition("  fires every day at 09:00 (UTC); next, in local time (")
        assert sum(line.startswith("    2027-01-") for line in following.splitlines()) == 5
    never = ("--schedule", "0 0 30 2 *", "--timezone", "UTC", "--no-progress", *words)
    assert "warning: demo (dep_demo): this schedule never fires" in update(desk, "demo", *never).err


def test_the_next_fires_are_shown_where_the_server_tells_none(qoder: Qoder) -> None:
    schedule = {"type": "cron", "expression": "0 9 * * *", "timezone": "UTC"}
    made = {"id": "dep_1", "type": "deployment", **BODY, "agent": {"id": AGENT, "type": "agent", "version": 1}}
    made |= {"schedule": schedule}
    qoder.wire.on("GET", "/deployments", page()).on("POST", "/deployments", made)
    qoder.wire.on("GET", "/deployments/dep_1", made, repeat=True)
    words = ("--schedule", "0 9 * * *", "--timezone", "UTC")
    fires = [f"next_run\t2027-01-{day}T09:00:00Z" for day in (15, 16, 17, 18, 19)]
    shown = [qoder("deploy", "create", *NEEDED, *words).out, qoder("deploy", "update", "dep_1", *words).out]
    assert [[line for line in out.splitlines() if line.startswith("next_run")] for out in shown] == [fires, fires]


# Changing.


@pytest.mark.parametrize(
    ("words", "body"),
    [
        (("--name", "monthly"), {"name": "monthly"}),
        (("--description", "New"), {"description": "New"}),
        (("--description", ""), {"description": None}),
        (("--environment", "env_2"), {"environment_id": "env_2"}),
        (("--agent", "agent_2"), {"agent": "agent_2"}),
        (("--agent", "agent_1@3"), {"agent": {"id": "agent_1", "type": "agent", "version": 3}}),
        (("-m", "Go."), {"initial_events": [{**EVENTS[0], "content": [{"type": "text", "text": "Go."}]}]}),
        (
            ("--schedule", "30 8 * * *"),
            {"schedule": {"type": "cron", "expression": "30 8 * * *", "timezone": "UTC"}},
        ),
        (
            ("--timezone", "Asia/Tokyo"),
            {"schedule": {"type": "cron", "expression": "0 9 * * *", "timezone": "Asia/Tokyo"}},
        ),
        (("--no-schedule",), {"schedule": None}),
        (("--vault", "vault_2"), {"vault_ids": ["vault_2"]}),
        (("--no-vault",), {"vault_ids": []}),
        (("--metadata", "team=web", "--metadata", "new=1"), {"metadata": {"team": "web", "new": "1"}}),
        (("--remove-metadata", "team"), {"metadata": {"team": None}}),
        (("--remove-metadata", "team", "--metadata", "tier=2"), {"metadata": {"team": None, "tier": "2"}}),
        (("--budget", "8"), {"budget": {"type": "limit", "max_credit_cost": "8.00"}}),
        (("--no-budget",), {"budget": None}),
        (("--description", "New", "--budget", "5"), {"description": "New"}),  # the budget is so already
    ],
)
def test_only_what_is_named_and_differs_is_sent(desk: Desk, words: tuple[str, ...], body: dict[str, Any]) -> None:
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
    assert f"changing weekly ({weekly.id}) (profile default, {HOST})" in ran.err
    desk.world.requests.clear()
    assert update(desk, weekly.id, *words).code == 0
    assert desk.writes == []


def test_an_agent_without_a_version_is_pinned_to_its_latest(desk: Desk) -> None:
    weekly = desk.add(name="weekly", agent={"id": "agent_1", "type": "agent", "version": 1})
    desk.world.agent_versions["agent_1"] = 4
    assert update(desk, weekly.id, "--agent", "agent_1").code == 0
    [write] = desk.writes
    assert write == (f"/deployments/{weekly.id}", {"agent": {"id": "agent_1", "type": "agent", "version": 4}})
    ran = update(desk, weekly.id, "--agent", "agent_1")
    assert (ran.code, len(desk.writes), "is already up to date" in ran.err) == (0, 1, True)
    desk.goes_wrong("agent:403")
    assert update(desk, weekly.id, "--agent", "agent_1").code == 0
    assert desk.writes == [(f"/deployments/{weekly.id}", {"agent": "agent_1"})]  # which may change nothing


def test_a_name_works_as_well(desk: Desk) -> None:
    assert update(desk, "nightly-report", "--description", "New").code == 0
    assert desk.asked == [
        *("GET /deployments?limit=100", "GET /deployments/dep_scheduled", "GET /deployments/dep_scheduled"),
        *("POST /deployments/dep_scheduled", "GET /deployments/dep_scheduled"),
    ]


def test_nothing_to_change_is_fine_and_sends_nothing(desk: Desk) -> None:
    desk.add(name="weekly", description="Same", metadata={"a": "1"})
    ran = update(desk, "weekly", "--description", "Same", "--metadata", "a=1", "--remove-metadata", "gone", "--json")
    assert (ran.code, ran.json["description"], desk.writes) == (0, "Same", [])
    assert "is already up to date" in ran.err


@pytest.mark.parametrize("unique_names", [True, False])
def test_a_name_that_another_one_has_is_not_given(desk: Desk, unique_names: bool) -> None:
    desk.goes_wrong(unique_names=unique_names)
    ran = update(desk, "dep_minute", "--name", "demo", "--json")
    assert (ran.code, ran.out, desk.writes) == (6, "", [])
    assert "the name 'demo' is taken by dep_demo" in ran.error["message"]
    assert update(desk, "dep_minute", "--name", "minute").code == 0  # its own


@pytest.mark.parametrize("words", [["--description", "New"], ["--description", "New", "--dry-run"], ["--no-budget"]])
def test_an_archived_one_is_exit_6(desk: Desk, words: list[str]) -> None:
    ran = update(desk, "dep_archived", *words, "--json")
    assert (ran.code, ran.out, desk.writes) == (6, "", [])
    assert "deployment dep_archived was archived on 20" in ran.error["message"]


def test_an_unknown_one_is_exit_5_with_the_nearest(desk: Desk) -> None:
    for typed in ("dem", "dep_dem0"):
        ran = update(desk, typed, "--description", "New", "--json")
        assert (ran.code, ran.out) == (5, "")
        assert "did you mean 'demo' (dep_demo)?" in ran.error["hint"]


def test_someone_who_changes_it_in_between_is_exit_6(qoder: Qoder) -> None:
    one = {"id": "dep_1", "type": "deployment", **BODY, "agent": {"id": AGENT, "type": "agent", "version": 1}}
    qoder.wire.on("GET", "/deployments/dep_1", one, {**one, "description": "Theirs"})
    ran = qoder("deploy", "update", "dep_1", "--budget", "5", "--json")
    assert (ran.code, ran.out) == (6, "")
    assert "was changed by someone else in the meantime; nothing was sent" in ran.error["message"]


def test_someone_who_changes_it_in_between_as_it_is_wanted_leaves_nothing_to_do(qoder: Qoder) -> None:
    one = {"id": "dep_1", "type": "deployment", **BODY, "agent": {"id": AGENT, "type": "agent", "version": 1}}
    theirs = {**one, "name": "monthly"}
    qoder.wire.on("GET", "/deployments/dep_1", one, theirs).on("GET", "/deployments", page(theirs))
    ran = qoder("deploy", "update", "dep_1", "--name", "monthly", "--json")
    assert (ran.code, ran.json["name"], qoder.wire.asked("POST")) == (0, "monthly", [])
    assert "already changed as requested, by someone else" in ran.err


def test_a_server_that_keeps_something_else_is_exit_6_and_shown(qoder: Qoder) -> None:
    one = {"id": "dep_1", "type": "deployment", **BODY, "agent": {"id": AGENT, "type": "agent", "version": 1}}
    kept = {**one, "description": "Shortened"}
    qoder.wire.on("GET", "/deployments/dep_1", one, one, kept).on("POST", "/deployments/dep_1", kept)
    ran = qoder("deploy", "update", "dep_1", "--description", "All of it", "--json")
    assert (ran.code, ran.json["description"]) == (6, "Shortened")
    assert ran.error["message"] == "weekly (dep_1) was changed, but the server stored something else: description"


# What is wrong with an option.


@VERBS
@pytest.mark.parametrize(
    ("words", "option"),
    [
        (("--name", ""), "--name"),
        (("--name", "  "), "--name"),
        (("--name", "x" * 257), "--name"),
        (("--name", "\udcff"), "--name"),
        (("--agent", ""), "--agent"),
        (("--agent", "env_1"), "--agent"),
        (("--agent", "agent_1@"), "--agent"),
        (("--agent", "agent_1@0"), "--agent"),
        (("--agent", "agent_1@-1"), "--agent"),
        (("--agent", "agent_1@v2"), "--agent"),
        (("--agent", "agent_1@٣"), "--agent"),
        (("--agent", "agent_1@" + "9" * 5000), "--agent"),
        (("--environment", "agent_1"), "--environment"),
        (("--message", ""), "--message"),
        (("--message", "\udc80"), "--message"),
        (("--description", "x" * 2049), "--description"),
        (("--schedule", "0 9 * *", "--timezone", "UTC"), "--schedule"),
        (("--schedule", "", "--timezone", "UTC"), "--schedule"),
        (("--schedule", "@daily", "--timezone", "UTC"), "--schedule"),
        (("--schedule", "0 9 * * *", "--timezone", "Mars/Olympus"), "--timezone"),
        (("--schedule", "0 9 * * *", "--timezone", ""), "--timezone"),
        (("--vault", "agent_1"), "--vault"),
        (("--vault", ""), "--vault"),
        (("--vault", "vault_1") * 51, "--vault"),
        (("--metadata", "novalue"), "--metadata"),
        (("--metadata", ""), "--metadata"),
        (("--metadata", "=value"), "--metadata"),
        (("--metadata", f"{'k' * 65}=v"), "--metadata"),
        (("--metadata", f"k={'v' * 513}"), "--metadata"),
        (("--metadata", "cas_config=1"), "--metadata"),
        (tuple(word for n in range(17) for word in ("--metadata", f"k{n}=v")), "--metadata"),
        (("--budget", "0"), "--budget"),
        (("--budget", "lots"), "--budget"),
        (("--budget", "1.001"), "--budget"),
        (("--budget", "-1"), "--budget"),
        (("--budget", ""), "--budget"),
    ],
)
def test_a_bad_value_names_its_option_before_anything_is_asked(
    qoder: Qoder, verb: str, words: tuple[str, ...], option: str
) -> None:
    before = NEEDED if verb == "create" else ("dep_demo",)
    ran = qoder("deploy", verb, *before, *words, "--json")
    assert (ran.code, ran.out, qoder.wire.requests) == (2, "", [])
    assert ran.error["message"].startswith(f"{option}: ")


@VERBS
def test_all_that_is_wrong_is_told_at_once(qoder: Qoder, verb: str) -> None:
    before = NEEDED if verb == "create" else ("dep_demo",)
    ran = qoder("deploy", verb, *before, "--budget", "lots", "--environment", "agent_1", "--name", "", "--json")
    assert [ran.error["message"].count(option) for option in ("--budget:", "--environment:", "--name:")] == [1, 1, 1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--schedule", "0 9 * * *"], "--schedule needs --timezone"),
        (["--timezone", "UTC"], "--timezone needs --schedule"),
    ],
)
def test_a_schedule_needs_both_halves(desk: Desk, words: list[str], message: str) -> None:
    for ran in (create(desk, *words, "--json"), update(desk, "dep_demo", *words, "--json")):
        assert (ran.code, ran.out, ran.error["message"], desk.writes) == (2, "", message, [])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "nothing to update"),
        (["--no-schedule", "--schedule", "0 9 * * *"], "--schedule and --no-schedule cannot be used together"),
        (["--no-schedule", "--timezone", "UTC"], "--schedule and --no-schedule cannot be used together"),
        (["--no-budget", "--budget", "5"], "--budget and --no-budget cannot be used together"),
        (["--no-vault", "--vault", "vault_1"], "--vault and --no-vault cannot be used together"),
    ],
)
def test_options_that_make_no_sense_are_exit_2_before_anything_is_asked(
    qoder: Qoder, words: list[str], message: str
) -> None:
    ran = qoder("deploy", "update", "dep_demo", *words, "--json")
    assert (ran.code, ran.out, ran.error["message"], qoder.wire.requests) == (2, "", message, [])


def test_a_message_that_does_not_end_is_refused(qoder: Qoder) -> None:
    qoder.stdin = "x" * (4 * 1024 * 1024 + 1)
    ran = qoder("deploy", "create", *NEEDED[:-2], "-m", "-", "--json")
    assert (ran.code, ran.error["message"].startswith("--message -: ")) == (2, True)


# Only looking.


@pytest.mark.parametrize("words", [["--json"], ["-o", "jsonl"], []])
def test_a_dry_run_shows_one_object_and_sends_nothing(desk: Desk, words: list[str]) -> None:
    weekly = desk.add(name="daily")
    for ran, action in (
        (create(desk, "--dry-run", *words), "would_create"),
        (update(desk, weekly.id, "--description", "New", "--dry-run", *words), "would_change"),
        (update(desk, weekly.id, "--name", "daily", "--dry-run", *words), "unchanged"),
    ):
        assert (ran.code, desk.writes) == (0, [])
        if words:
            assert json.loads(ran.out)["action"] == action
        else:
            assert f"action\t{action}\n" in ran.out
    assert "~ description" not in ran.err
    assert '  ~ description: null -> "New"' in update(desk, weekly.id, "--description", "New", "--dry-run").err


def test_a_dry_run_has_no_id_of_what_is_not_there(desk: Desk) -> None:
    assert create(desk, "--dry-run", "-q").out == ""
    assert update(desk, "demo", "--description", "New", "--dry-run", "-q").out == "dep_demo\n"


@VERBS
def test_read_only_lets_only_look(desk: Desk, verb: str) -> None:
    desk.qoder.env["QODER_READ_ONLY"] = "1"
    words = (verb, *(NEEDED if verb == "create" else ("dep_demo", "--description", "New")))
    assert desk.qoder("deploy", *words, "--dry-run").code == 0
    ran = desk.qoder("deploy", *words, "--json")
    assert (ran.code, ran.out, desk.writes) == (2, "", [])
    assert "QODER_READ_ONLY" in ran.error["message"]


def test_without_progress_stderr_is_empty(desk: Desk) -> None:
    assert create(desk, "--no-progress").err == ""
    assert update(desk, "weekly", "--description", "New", "--no-progress").err == ""


# What goes wrong on the way.


@pytest.mark.parametrize("fault", ACTED)
def test_a_lost_answer_is_settled_by_reading_back(desk: Desk, fault: str) -> None:
    desk.goes_wrong(f"write:{fault}*2", unique_names=False)
    ran = create(desk, "--json")
    assert (ran.code, [ran.json["id"]]) == (0, [one.id for one in desk.named("weekly")])
    desk.goes_wrong(f"write:{fault}*2")
    ran = update(desk, "weekly", "--description", "New", "--json")
    assert (ran.code, ran.json["description"], len(desk.writes)) == (0, "New", 1)


@pytest.mark.parametrize("fault", LOST)
def test_what_does_not_show_is_exit_9(desk: Desk, fault: str) -> None:
    desk.goes_wrong(f"write:{fault}*inf")
    ran = create(desk, "--json")
    assert (ran.code, ran.out, ran.error["type"], len(desk.writes)) == (9, "", "outcome_unknown", 1)
    assert ran.error["next"] == ["qoder", "deploy", "list", "-o", "json"]
    ran = update(desk, "dep_demo", "--description", "New", "--json")
    assert (ran.code, ran.out, ran.error["type"], len(desk.writes)) == (9, "", "outcome_unknown", 4)
    assert ran.error["next"] == ["qoder", "deploy", "get", "dep_demo", "-o", "json"]


@VERBS
@pytest.mark.parametrize("words", [("-q",), ("-q", "--base-url", f"http://{HOST}"), ()])
def test_the_command_to_look_with_shows_more_than_an_id(desk: Desk, verb: str, words: tuple[str, ...]) -> None:
    desk.goes_wrong("write:drop-before*inf")
    ran = create(desk, *words) if verb == "create" else update(desk, "dep_demo", "--description", "New", *words)
    look = "qoder deploy list" if verb == "create" else "qoder deploy get dep_demo"
    assert ran.err.splitlines()[-1].endswith(" ".join([look, *words[1:]]))


@VERBS
@pytest.mark.parametrize(
    ("fault", "code"),
    [("400", 6), ("401", 4), ("403", 4), ("409", 6), ("429*inf", 7), ("503*inf", 7), ("refused*inf", 7)],
)
def test_a_refusal_is_certain(desk: Desk, verb: str, fault: str, code: int) -> None:
    desk.goes_wrong(f"write:{fault}")
    ran = create(desk, "--json") if verb == "create" else update(desk, "dep_demo", "--description", "New", "--json")
    assert (ran.code, ran.out) == (code, "")
    assert desk.named("weekly") == []
    assert desk.world.deployments["dep_demo"].fields["description"] != "New"


# Signals.


@pytest.mark.parametrize("answer_comes", [True, False])
@VERBS
def test_a_signal_waits_for_the_answer_under_way(desk: Desk, verb: str, answer_comes: bool) -> None:
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


def test_a_signal_between_two_tries_says_that_nothing_was_done(desk: Desk) -> None:
    def interrupt() -> None:
        raise Signalled(signal.SIGINT)

    desk.goes_wrong("create:429")
    desk.qoder.clock.at_sleep = interrupt
    ran = create(desk, "--json")
    assert (ran.code, ran.out, ran.error["type"]) == (130, "", "interrupted")
    assert ran.error["message"] == "stopped by a signal; weekly was not attempted"


@pytest.mark.parametrize("printed", [True, False])
def test_a_signal_while_it_is_printed_does_not_make_it_undone(
    desk: Desk, printed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_a_full_disk_does_not_keep_the_new_id_for_itself(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(screen: Screen, text: str) -> None:
        raise InternalError("cannot write to standard output: no space", hint="free some space")

    monkeypatch.setattr(Screen, "write", full)
    monkeypatch.setattr(Screen, "tell", lambda screen, text, **_: screen.write_exactly(text.encode()))
    ran = create(desk, "--json")
    [weekly] = desk.named("weekly")
    said = "but cannot write to standard output: no space"
    assert (ran.code, ran.error["message"]) == (70, f"weekly ({weekly.id}) was created, {said}")
    assert ran.error["next"] == ["qoder", "deploy", "get", weekly.id, "-o", "json"]
    ran = update(desk, weekly.id, "--description", "New", "--json")
    assert (ran.code, ran.error["message"]) == (70, f"weekly ({weekly.id}) was changed, {said}")
    ran = desk.apply_these({"name": "weekly"}, words=("--json",))
    message = f"1 of 1 deployments match their files; {said.removeprefix('but ')}"
    assert (ran.code, ran.error["message"]) == (70, message)


# The words of the help.


@VERBS
def test_the_help_fits_a_terminal(qoder: Qoder, verb: str) -> None:
    ran = qoder("deploy", verb, "--help")
    assert max(map(len, ran.out.splitlines())) <= 80
    assert "Examples:" in ran.out


def test_a_list_that_is_none_is_no_reason_to_create(qoder: Qoder) -> None:
    qoder.wire.on("GET", "/deployments", {"data": {}}, page())  # null is an empty list
    assert qoder("deploy", "create", *NEEDED).code == 7
    assert qoder("deploy", "create", *NEEDED, "--dry-run").code == 0


def test_a_token_does_not_become_a_name(qoder: Qoder) -> None:
    words = ("--agent", "agent_1", "--environment", "env_1", "-m", "Report.")
    ran = qoder("deploy", "create", "--name", TOKEN, *words)
    assert (ran.code, ran.out) == (2, "")
    assert "--name: a token was given; nothing was sent" in ran.err
