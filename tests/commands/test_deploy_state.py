"""`qoder deploy pause`, `unpause` and `archive`, in the user's words, on both generations of server."""

import json
import signal
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import typer

from qoder_cli.app import App
from qoder_cli.base.errors import Signalled
from qoder_cli.sandbox.faults import Faults
from qoder_cli.sandbox.wire import BASE_PATH, GENERATIONS
from qoder_cli.sandbox.world import World
from tests.conftest import TOKEN, Qoder, Ran
from tests.support.inprocess import WorldTransport
from tests.support.interrupting import interrupted
from tests.support.wire import api_error

VERBS = ("pause", "unpause", "archive")
YES = {"archive": ["--yes"]}
STATES = {"pause": "paused", "unpause": "active", "archive": "archived"}
PLAIN = {"pause": "dep_demo", "unpause": "dep_paused", "archive": "dep_demo"}  # where there is something to do
DONE = {"pause": "dep_paused", "unpause": "dep_demo", "archive": "dep_archived"}  # where there is not
EACH = pytest.mark.parametrize("verb", VERBS)


@pytest.fixture(params=GENERATIONS)
def world(request: pytest.FixtureRequest, qoder: Qoder) -> World:
    made = World(clock=qoder.clock.now, generation=request.param, token=TOKEN, seed=7)
    goes_wrong(qoder, made)
    return made


def goes_wrong(qoder: Qoder, world: World, *faults: str) -> None:
    """Lead the user into the world, where this goes wrong."""
    qoder.transport = WorldTransport(world, faults=Faults(*faults), sleep=qoder.clock.sleep)


def change(qoder: Qoder, verb: str, *words: str) -> Ran:
    return qoder("deploy", verb, *words, *YES.get(verb, []))


def asked(world: World, method: str = "POST") -> list[str]:
    """Return the paths that were asked with this method."""
    return [seen.path.removeprefix(BASE_PATH) for seen in world.requests if seen.method == method]


def state(world: World, id: str) -> str:
    """Return what has truly become of a deployment."""
    with world.lock:
        world.settle()
    deployment = world.deployments[id]
    return "archived" if deployment.archived is not None else "paused" if deployment.paused else "active"


# One deployment.


@EACH
def test_it_is_done_with_one_request(qoder: Qoder, world: World, verb: str) -> None:
    ran = change(qoder, verb, PLAIN[verb], "--json")
    assert ran.code == 0
    assert state(world, PLAIN[verb]) == STATES[verb]
    [seen] = world.requests
    assert (seen.method, seen.path) == ("POST", f"{BASE_PATH}/deployments/{PLAIN[verb]}/{verb}")
    assert (seen.body, seen.headers["content-type"]) == (b"{}", "application/json")
    assert seen.key
    assert ran.json["id"] == PLAIN[verb]
    assert ran.json["status"] == ("paused" if verb == "pause" else "active")
    assert "input" not in ran.json


@EACH
def test_the_first_line_names_deployment_profile_and_host(qoder: Qoder, world: World, verb: str) -> None:
    doing = {"pause": "pausing", "unpause": "unpausing", "archive": "archiving"}[verb]
    assert change(qoder, verb, PLAIN[verb]).err == f"{doing} {PLAIN[verb]} (profile default, api.qoder.com)\n"


def test_it_is_shown_as_by_deploy_get(qoder: Qoder, world: World) -> None:
    table = dict(line.split("\t") for line in change(qoder, "pause", "nightly-report").out.splitlines())
    assert (table["id"], table["state"], table["paused_because"]) == ("dep_scheduled", "paused", "manual")
    assert table["schedule_words"] == "every day at 09:00 (UTC)"
    assert change(qoder, "pause", "dep_scheduled", "-q").out == "dep_scheduled\n"
    line = json.loads(change(qoder, "pause", "dep_scheduled", "-o", "jsonl").out)
    assert line["paused_reason"] == {"type": "manual"}


@EACH
def test_at_a_terminal_one_line_is_the_answer(qoder: Qoder, world: World, verb: str) -> None:
    qoder.terminal = True
    shown = change(qoder, verb, PLAIN[verb]).out
    assert shown.endswith(f" ({PLAIN[verb]}) is {STATES[verb]}\n")
    assert shown.count("\n") == 1


def test_a_name_works_as_well(qoder: Qoder, world: World) -> None:
    ran = change(qoder, "pause", "nightly-report")
    assert ran.code == 0
    assert "pausing nightly-report (dep_scheduled) (profile" in ran.err
    assert asked(world) == ["/deployments/dep_scheduled/pause"]


@EACH
def test_what_is_so_already_is_fine_and_said(qoder: Qoder, world: World, verb: str) -> None:
    ran = change(qoder, verb, DONE[verb], "--json")
    assert ran.code == 0
    assert ran.json["id"] == DONE[verb]
    assert f"{DONE[verb]} is already {STATES[verb]}" in ran.err
    assert len(world.requests) == 2


def test_archiving_frees_the_name_and_nothing_else(qoder: Qoder, world: World) -> None:
    ran = change(qoder, "archive", "nightly-report", "--json")
    assert ran.json["name"].startswith("nightly-report_archived_1")
    assert (ran.json["status"], ran.json["schedule"]["upcoming_runs_at"]) == ("active", [])
    assert ran.json["archived_at"]


@pytest.mark.parametrize("verb", ["pause", "unpause"])
@pytest.mark.parametrize("refusal", [409, 403])  # both are documented for what is archived
def test_what_is_archived_can_be_neither_paused_nor_unpaused(
    qoder: Qoder, world: World, verb: str, refusal: int
) -> None:
    goes_wrong(qoder, world, f"{verb}:{refusal}")
    ran = change(qoder, verb, "dep_archived", "--json")
    assert (ran.code, ran.out, ran.error["http_status"]) == (6, "", refusal)
    assert "dep_archived was archived on 20" in ran.error["message"]
    assert ran.error["request_id"]
    assert f"cannot be {verb}d" in ran.error["message"]
    assert "cannot be undone" in ran.error["hint"]


def test_a_deployment_that_an_error_paused_can_be_unpaused(qoder: Qoder, world: World) -> None:
    every_minute = {"expression": "* * * * *", "timezone": "UTC"}
    never_starts = world.deployments["dep_nostart"].behaviour
    broken = world.add_deployment(name="broken", schedule=every_minute, behaviour=never_starts)
    qoder.clock.time += 90
    shown = qoder("deploy", "get", "broken", "--json").json
    assert (shown["status"], shown["paused_reason"]["error"]["type"]) == ("paused", "environment_archived_error")
    assert change(qoder, "unpause", broken.id, "--json").json["paused_reason"] is None


# What is refused.


@EACH
def test_an_unknown_deployment_is_exit_5_with_the_nearest(qoder: Qoder, world: World, verb: str) -> None:
    assert "did you mean 'demo' (dep_demo)?" in change(qoder, verb, "dem", "--json").error["hint"]
    ran = change(qoder, verb, "dep_dem0", "--json")
    assert (ran.code, ran.out, ran.error["type"]) == (5, "", "not_found")
    assert "dep_demo" in ran.error["hint"]


def test_a_name_that_several_have_is_exit_2(qoder: Qoder, world: World) -> None:
    twins = [world.add_deployment(name="twin").id for _ in range(2)]
    ran = change(qoder, "pause", "twin", "--json")
    assert ran.code == 2
    assert all(id in ran.error["message"] for id in twins)
    assert asked(world) == []


@EACH
@pytest.mark.parametrize(
    "words", [[], [""], ["  "], ["drun_1"], ["dep_a/../b"], ["dep_\x1b"], ["dep_1", "sess_1"], ["x" * 300], ["--what"]]
)
def test_bad_usage_is_exit_2_before_any_request(qoder: Qoder, verb: str, words: list[str]) -> None:
    ran = change(qoder, verb, *words)
    assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)


@EACH
@pytest.mark.parametrize(("status", "code"), [(401, 4), (403, 4), (400, 6), (404, 5), (422, 6)])
def test_a_refusal_is_not_repeated(qoder: Qoder, world: World, verb: str, status: int, code: int) -> None:
    goes_wrong(qoder, world, f"{verb}:{status}")
    ran = change(qoder, verb, PLAIN[verb], "--json")
    assert (ran.code, ran.out, asked(world)) == (code, "", [f"/deployments/{PLAIN[verb]}/{verb}"])
    assert state(world, PLAIN[verb]) != STATES[verb]
    assert not qoder.clock.slept or qoder.clock.slept == [0.0]


@EACH
def test_a_refusal_that_is_not_the_apis_stands_if_reading_back_shows_no_change(
    qoder: Qoder, world: World, verb: str
) -> None:
    goes_wrong(qoder, world, f"{verb}:redirect=http://elsewhere/")
    ran = change(qoder, verb, PLAIN[verb], "--json")
    assert (ran.code, ran.out) == (7, "")
    assert [path for path in asked(world) if path.endswith(verb)] == [f"/deployments/{PLAIN[verb]}/{verb}"]
    assert state(world, PLAIN[verb]) != STATES[verb]


def test_a_409_that_nothing_explains_is_exit_6(qoder: Qoder, world: World) -> None:
    goes_wrong(qoder, world, "pause:409")
    ran = change(qoder, "pause", "dep_demo", "--json")
    assert (ran.code, ran.error["message"]) == (6, "HTTP 409 from api.qoder.com: Refused by a fault of the sandbox.")


@EACH
def test_read_only_refuses_before_anything_is_sent(qoder: Qoder, verb: str) -> None:
    qoder.env["QODER_READ_ONLY"] = "1"
    assert change(qoder, verb, "dep_1").code == 2


@EACH
def test_without_a_token_it_is_exit_4(qoder: Qoder, verb: str) -> None:
    del qoder.env["QODER_PAT"]
    assert change(qoder, verb, "dep_1").code == 4


# What goes wrong on the way.


@EACH
@pytest.mark.parametrize("fault", ["429=3*2", "refused*2"])
def test_what_did_nothing_is_sent_again_under_the_same_key(qoder: Qoder, world: World, verb: str, fault: str) -> None:
    goes_wrong(qoder, world, f"{verb}:{fault}")
    assert change(qoder, verb, PLAIN[verb]).code == 0
    assert len({seen.key for seen in world.requests}) == 1
    assert sum(qoder.clock.slept) == (6 if "429" in fault else 1.5)


@pytest.mark.parametrize("fault", ["429*inf", "refused*inf", "429=31536000"])
def test_what_never_gets_through_is_exit_7(qoder: Qoder, world: World, fault: str) -> None:
    goes_wrong(qoder, world, f"pause:{fault}")
    ran = change(qoder, "pause", "dep_demo", "--json")
    assert (ran.code, ran.error["type"], state(world, "dep_demo")) == (7, "unavailable", "active")


@EACH
@pytest.mark.parametrize(
    "fault",
    ["drop-after", "hang-after", "truncated", "garbage", "list", "not-a-run", "act-html", "act-503", "act-503-bare"],
)
def test_a_lost_answer_is_read_back(qoder: Qoder, world: World, verb: str, fault: str) -> None:
    goes_wrong(qoder, world, f"{verb}:{fault}")
    ran = change(qoder, verb, PLAIN[verb], "--json")
    assert (ran.code, ran.json["id"]) == (0, PLAIN[verb])
    assert f"{PLAIN[verb]} is {STATES[verb]} (confirmed by reading it back)" in ran.err
    assert asked(world) == [f"/deployments/{PLAIN[verb]}/{verb}"]
    assert asked(world, "GET") == [f"/deployments/{PLAIN[verb]}"]


@EACH
@pytest.mark.parametrize("fault", ["drop-before", "hang-before", "html", "503", "503-bare", "500"])
def test_what_does_not_show_is_sent_again_for_that_does_no_harm(
    qoder: Qoder, world: World, verb: str, fault: str
) -> None:
    goes_wrong(qoder, world, f"{verb}:{fault}*2")
    assert change(qoder, verb, PLAIN[verb]).code == 0
    assert state(world, PLAIN[verb]) == STATES[verb]
    assert len(asked(world)) == 3
    assert len(asked(world, "GET")) == 14
    assert len({seen.key for seen in world.requests if seen.method == "POST"}) == 1


@pytest.mark.parametrize("fault", ["drop-before", "hang-before", "html", "503-bare"])
def test_what_stays_lost_is_exit_9_with_the_command_to_look(qoder: Qoder, world: World, fault: str) -> None:
    goes_wrong(qoder, world, f"pause:{fault}*inf")
    ran = change(qoder, "pause", "dep_demo", "--json")
    assert (ran.code, ran.out, ran.error["type"]) == (9, "", "outcome_unknown")
    assert ran.error["next"] == ["qoder", "deploy", "get", "dep_demo", "-o", "json"]
    assert len(asked(world)) == 3


def test_a_server_that_says_no_each_time_is_exit_7(qoder: Qoder, world: World) -> None:
    goes_wrong(qoder, world, "pause:503*inf")
    assert change(qoder, "pause", "dep_demo").code == 7
    assert len(asked(world)) == 3


def test_a_lost_answer_that_cannot_be_read_back_is_exit_9(qoder: Qoder, world: World) -> None:
    goes_wrong(qoder, world, "pause:drop-after", "deployment:503*inf")
    ran = change(qoder, "pause", "dep_demo", "--json")
    assert ran.code == 9
    assert "it could not be read back" in ran.error["message"]
    assert len(asked(world)) == 1


@EACH
def test_a_replica_that_lags_is_read_again(qoder: Qoder, world: World, verb: str) -> None:
    goes_wrong(qoder, world, f"{verb}:drop-after", "any:lagging=1.5")
    assert change(qoder, verb, PLAIN[verb]).code == 0
    assert sum(qoder.clock.slept) == 2.0
    assert len(asked(world)) == 1


@EACH
def test_someone_else_may_be_faster(qoder: Qoder, world: World, verb: str) -> None:
    goes_wrong(qoder, world, f"{verb}:stranger")
    ran = change(qoder, verb, PLAIN[verb])
    assert ran.code == 0
    assert f"is already {STATES[verb]}" in ran.err


def test_someone_else_may_archive_it_in_between(qoder: Qoder) -> None:
    archived = {"id": "dep_1", "type": "deployment", "status": "active", "archived_at": "2026-06-14T08:58:42Z"}
    qoder.wire.on("POST", "/deployments/dep_1/pause", httpx.ReadError("reset"))
    qoder.wire.on("GET", "/deployments/dep_1", {**archived, "archived_at": None}, archived)
    ran = change(qoder, "pause", "dep_1", "--json")
    assert (ran.code, "was archived on 2026-06-14T08:58:42Z" in ran.error["message"]) == (6, True)


ACTIVE = {"id": "dep_1", "type": "deployment", "status": "active", "archived_at": None}
PAUSED = {**ACTIVE, "status": "paused"}
PAUSE_1 = ("POST", "/deployments/dep_1/pause")
GET_1 = ("GET", "/deployments/dep_1")


def test_a_second_attempt_that_is_refused_because_of_the_first(qoder: Qoder) -> None:
    qoder.wire.on(*PAUSE_1, httpx.ReadError("reset"), api_error(409, "conflict_error", "Deployment is already paused."))
    qoder.wire.on(*GET_1, *[ACTIVE] * 7, PAUSED)
    ran = change(qoder, "pause", "dep_1")
    assert ran.code == 0
    assert "dep_1 is paused (confirmed by reading it back)" in ran.err


@pytest.mark.parametrize(
    ("second", "looks"),
    [
        ([api_error(401, "authentication_error", "No.")], []),
        ([api_error(404, "not_found_error", "No.")], []),
        ([(403, "<html>")], [ACTIVE] * 7),
        ([(429, "")] * 5, []),
        ([httpx.ConnectError("refused")] * 5, []),
        ([api_error(409, "conflict_error", "No.")], [(503, "")] * 5),
    ],
    ids=["401", "404", "403 of a gateway", "429", "never made", "409 that is not explained"],
)
def test_a_second_attempt_that_is_refused_does_not_settle_the_first(
    qoder: Qoder, second: list[Any], looks: list[Any]
) -> None:
    qoder.wire.on(*PAUSE_1, httpx.ReadError("reset"), *second).on(*GET_1, *[ACTIVE] * 7, *looks)
    ran = change(qoder, "pause", "dep_1", "--json")
    assert (ran.code, ran.error["type"]) == (9, "outcome_unknown")


def test_an_answer_that_does_not_show_it_is_not_believed(qoder: Qoder) -> None:
    qoder.wire.on(*PAUSE_1, ACTIVE, {**PAUSED, "id": "dep_2"}, ACTIVE).on(*GET_1, ACTIVE, repeat=True)
    ran = change(qoder, "pause", "dep_1", "--json")
    assert (ran.code, ran.error["type"]) == (9, "outcome_unknown")


FAULTS = (
    *("refused", "drop-before", "drop-after", "late=1", "late=3", "late=30", "hang-before", "hang-after", "slow=20"),
    *("truncated", "garbage", "list", "not-a-run", "html", "act-html", "429=2", "429", "400", "401", "403", "404"),
    *("409", "500", "503", "act-500", "act-503", "503-bare", "act-503-bare", "stranger"),
)


@EACH
@pytest.mark.parametrize("fault", FAULTS)
def test_no_fault_makes_it_lie(qoder: Qoder, world: World, verb: str, fault: str) -> None:
    for times, beside in ((1, []), (3, ["any:lagging=3"]), (1, ["deployment:503*4"])):
        made = world.add_deployment(name="job", status={"unpause": "paused"}.get(verb, "active"), at=world.now() - 3600)
        goes_wrong(qoder, world, f"{verb}:{fault}*{times}", *beside)
        code = change(qoder, verb, made.id).code
        then = state(world, made.id)
        qoder.clock.time += 60  # whatever was to happen late has happened
        assert code in (0, 4, 5, 6, 7, 9), beside
        assert then == STATES[verb] or code != 0, beside
        assert state(world, made.id) != STATES[verb] or code in (0, 9), beside


# Signals.


@EACH
def test_a_signal_waits_for_the_answer_under_way(qoder: Qoder, world: World, verb: str) -> None:
    with interrupted(qoder, answer_comes=True):
        ran = change(qoder, verb, PLAIN[verb], "--json")
    assert (ran.code, ran.json["id"], ran.error["type"]) == (143, PLAIN[verb], "terminated")
    assert ran.error["message"] == f"it is {STATES[verb]}; stopped by a signal"


def test_a_signal_without_an_answer_says_that_it_is_not_known(qoder: Qoder, world: World) -> None:
    with interrupted(qoder, answer_comes=False):
        ran = change(qoder, "pause", "dep_demo", "--json")
    assert (ran.code, ran.out, ran.error["type"]) == (143, "", "outcome_unknown")
    assert "unknown whether pausing dep_demo succeeded" in ran.error["message"]
    assert ran.error["next"] == ["qoder", "deploy", "get", "dep_demo", "-o", "json"]


def interrupt() -> None:
    raise Signalled(signal.SIGINT)


@pytest.mark.parametrize(("fault", "known"), [("429", True), ("drop-after", False), ("503", False)])
def test_a_signal_between_two_tries(qoder: Qoder, world: World, fault: str, known: bool) -> None:
    goes_wrong(qoder, world, f"pause:{fault}")
    qoder.clock.at_sleep = interrupt
    ran = change(qoder, "pause", "dep_demo", "--json")
    assert (ran.code, ran.out) == (130, "")
    assert ran.error["type"] == ("interrupted" if known else "outcome_unknown")


# Several.


def test_several_are_an_array_in_the_order_of_the_input(qoder: Qoder, world: World) -> None:
    ran = change(
        qoder, "pause", "dep_minute", "nightly-report", "dep_archived", "nobody", "dep_gone", "dep_paused", "--json"
    )
    assert ran.code == 6
    assert [(item["input"], item["id"], item["exit_code"]) for item in ran.json] == [
        ("dep_minute", "dep_minute", 0),
        ("nightly-report", "dep_scheduled", 0),
        ("dep_archived", None, 6),
        ("nobody", None, 5),
        ("dep_gone", None, 5),
        ("dep_paused", "dep_paused", 0),
    ]
    assert ran.json[0]["status"] == "paused"
    assert ran.json[2]["error"]["type"] == "rejected"
    assert ran.error["message"].startswith("3 of 6 are paused; dep_archived was archived on")
    assert asked(world, "GET").count("/deployments") == 2  # the names, and what is near to dep_gone
    assert [state(world, id) for id in ("dep_minute", "dep_scheduled")] == ["paused", "paused"]


def test_the_first_line_names_a_few_of_many(qoder: Qoder, world: World) -> None:
    ids = [deployment.id for deployment in world.seed_deployments(5)]
    assert change(qoder, "pause", *ids).err == (
        f"pausing {ids[0]}, {ids[1]}, {ids[2]}, 2 more (profile default, api.qoder.com)\n"
    )


def test_each_is_done_once_however_often_it_is_named(qoder: Qoder, world: World) -> None:
    ran = change(qoder, "pause", "dep_scheduled", "nightly-report", "dep_scheduled", "--json")
    assert [item["input"] for item in ran.json] == ["dep_scheduled", "nightly-report", "dep_scheduled"]
    assert asked(world) == ["/deployments/dep_scheduled/pause"]
    assert "already" not in ran.err


def test_they_come_from_standard_input(qoder: Qoder, world: World) -> None:
    qoder.stdin = "dep_demo\n\n# a comment\n  nightly-report  \n"
    assert [item["id"] for item in change(qoder, "pause", "-", "--json").json] == ["dep_demo", "dep_scheduled"]
    qoder.stdin = "dep_demo\n"
    assert len(change(qoder, "unpause", "-", "--json").json) == 1  # an array, be it of one
    qoder.stdin = ""
    assert change(qoder, "pause", "-").code == 2


def test_the_other_formats_of_several(qoder: Qoder, world: World) -> None:
    words = ("dep_demo", "nobody", "dep_minute")
    rows = [line.split("\t") for line in change(qoder, "pause", *words).out.splitlines()]
    assert [row[:3] for row in rows] == [
        ["dep_demo", "demo", "paused"],
        ["nobody", "-", "not_found"],
        ["dep_minute", "minute", "paused"],
    ]
    assert len({len(row) for row in rows}) == 1
    assert change(qoder, "pause", *words, "-q").out == "dep_demo\ndep_minute\n"
    lines = [json.loads(line) for line in change(qoder, "pause", *words, "-o", "jsonl").out.splitlines()]
    assert [line["exit_code"] for line in lines] == [0, 5, 0]
    qoder.terminal = True
    drawn = change(qoder, "pause", *words).out
    assert [line.split()[0] for line in drawn.splitlines()[1:4]] == list(words)


def test_all_is_well_only_when_each_is(qoder: Qoder, world: World) -> None:
    assert change(qoder, "pause", "dep_demo", "dep_minute").code == 0
    assert change(qoder, "pause", "dep_demo", "nobody").code == 5


def test_a_signal_leaves_the_rest_alone_and_says_what_was_done(qoder: Qoder, world: World) -> None:
    goes_wrong(qoder, world, "pause:429=1", "pause:drop-after")
    slept = iter([lambda: None, interrupt])
    qoder.clock.at_sleep = lambda: next(slept)()
    ran = change(qoder, "pause", "dep_demo", "dep_minute", "dep_slow", "nobody", "--json")
    assert (ran.code, ran.error["type"]) == (130, "outcome_unknown")
    # dep_demo after a 429, then its answer is lost: nothing of the others was begun
    assert [(item["input"], item["exit_code"]) for item in ran.json] == [
        *(("dep_demo", 9), ("dep_minute", None), ("dep_slow", None), ("nobody", 5)),
    ]
    assert ran.json[1]["error"] is None
    said = "0 of 4 are paused; stopped by a signal; unknown whether pausing dep_demo succeeded"
    assert ran.error["message"].startswith(said)
    assert [state(world, id) for id in ("dep_minute", "dep_slow")] == ["active", "active"]


def test_a_signal_between_two_of_several(qoder: Qoder, world: World) -> None:
    goes_wrong(qoder, world, "unpause:429")
    qoder.clock.at_sleep = interrupt
    ran = change(qoder, "unpause", "dep_paused", "dep_demo", "--json")
    assert (ran.code, ran.error["type"]) == (130, "interrupted")
    assert [item["exit_code"] for item in ran.json] == [None, None]
    assert ran.error["message"] == "0 of 2 are active; stopped by a signal"


# Archiving asks.


@pytest.fixture
def questions(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Sit at the terminal: return what answers the questions to come, which gives the list of those asked."""
    asked: list[str] = []

    def answering(*answers: Any) -> list[str]:
        left = list(answers)

        def choice_of(stdin: Any, screen: Any, text: str, choices: str, **_: Any) -> str:
            asked.append(text.removesuffix(" [y/N]:"))
            answer = left.pop(0)
            if isinstance(answer, BaseException):
                raise answer
            return "y" if answer else "n"

        monkeypatch.setattr(App, "may_ask", True)
        monkeypatch.setattr("qoder_cli.cli.options.choice_of", choice_of)
        return asked

    return answering


@pytest.mark.parametrize("words", [["dep_demo"], ["nightly-report"], ["dep_demo", "dep_minute"], ["-"]])
def test_archiving_in_a_script_needs_a_yes(qoder: Qoder, words: list[str]) -> None:
    qoder.stdin = "dep_demo\n"
    ran = qoder("deploy", "archive", *words, "--json")
    assert (ran.code, ran.out, ran.error["hint"]) == (2, "", "confirm with --yes")
    assert qoder.wire.requests == []


def test_a_person_is_shown_what_will_become_of_it(
    qoder: Qoder, world: World, questions: Callable[..., list[str]]
) -> None:
    asked_for = questions(True)
    ran = qoder("deploy", "archive", "nightly-report", "--json")
    assert asked_for == [
        "Archive deployment 'nightly-report' (dep_scheduled)? It can never be run or changed again, its schedule "
        "stops, and it is renamed to NAME_archived_TIMESTAMP. Its schedule: every day at 09:00 (UTC). "
        "This cannot be undone."
    ]
    assert ran.err == "archiving nightly-report (dep_scheduled) (profile default, api.qoder.com)\n"
    assert (ran.code, state(world, "dep_scheduled")) == (0, "archived")


def test_what_the_server_says_of_it_steers_nothing(qoder: Qoder, questions: Callable[..., list[str]]) -> None:
    schedule = {"expression": "0 9 * * *", "timezone": "\x1b]0;zone\x07"}
    evil = {
        "id": "dep_1",
        "type": "deployment",
        "name": "\x1b[2J\u202ename\n",
        "status": "active",
        "schedule": schedule,
    }
    qoder.wire.on("GET", "/deployments/dep_1", evil)
    asked_for = questions(False)
    qoder("deploy", "archive", "dep_1")
    [question] = asked_for
    assert not {"\x1b", "\u202e", "\x07"} & set(question)
    assert "'\\u001b[2J\\u202ename\\n'" in question


def test_no_means_no(qoder: Qoder, world: World, questions: Callable[..., list[str]]) -> None:
    questions(False)
    ran = qoder("deploy", "archive", "dep_demo", "--json")
    assert (ran.code, ran.error["message"]) == (2, "cancelled; dep_demo was not archived")
    assert (asked(world), "archiving" in ran.err) == ([], False)


def test_each_of_several_is_asked_for_before_any_is_archived(
    qoder: Qoder, world: World, questions: Callable[..., list[str]]
) -> None:
    asked_for = questions(True, False, True)
    words = ["dep_demo", "dep_minute", "dep_archived", "dep_gone", "dep_slow", "dep_demo"]
    ran = qoder("deploy", "archive", *words, "--json")
    assert ran.code == 5
    assert [item["exit_code"] for item in ran.json] == [0, 2, 0, 5, 0, 0]
    assert [text.partition("?")[0] for text in asked_for] == [
        f"Archive deployment '{name}' (dep_{name})" for name in ("demo", "minute", "slow")
    ]
    assert "archiving dep_demo, dep_slow (profile default" in ran.err
    assert asked(world) == ["/deployments/dep_demo/archive", "/deployments/dep_slow/archive"]
    assert "dep_archived is already archived" in ran.err


@pytest.mark.parametrize(("answer", "code"), [(typer.Abort(), 2), (Signalled(signal.SIGINT), 130)])
def test_leaving_in_the_middle_of_the_questions_archives_nothing(
    qoder: Qoder, world: World, questions: Callable[..., list[str]], answer: BaseException, code: int
) -> None:
    questions(True, answer)
    ran = qoder("deploy", "archive", "dep_demo", "dep_minute", "--json")
    assert (ran.code, ran.out, asked(world)) == (code, "", [])
    assert code == 2 or ran.error["message"] == "interrupted; nothing was archived"


# The words of the help.


@EACH
def test_the_help_fits_a_terminal(qoder: Qoder, verb: str) -> None:
    ran = qoder("deploy", verb, "--help")
    assert max(map(len, ran.out.splitlines())) <= 80
    assert "Examples:" in ran.out


def test_they_are_on_the_contents_page(qoder: Qoder) -> None:
    page = qoder("deploy", "--help").out
    assert all(f"  {verb} " in page for verb in VERBS)
