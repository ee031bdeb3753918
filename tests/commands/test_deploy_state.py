"""`qoder deploy pause`, `unpause` and `archive`, in the user's words, on both generations of server."""

import re
import signal
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import httpx
import pytest
import typer

from qoder_cli.base.errors import Signalled
from qoder_cli.sandbox.wire import BASE_PATH
from qoder_cli.sandbox.world import World
from tests.conftest import Qoder, Ran
from tests.support.interrupting import interrupt, interrupted
from tests.support.things import Things
from tests.support.wire import api_error

VERBS = ("pause", "unpause", "archive")
YES = {"archive": ["--yes"]}
STATES = {"pause": "paused", "unpause": "active", "archive": "archived"}
PLAIN = {"pause": "dep_demo", "unpause": "dep_paused", "archive": "dep_demo"}  # where there is something to do
DONE = {"pause": "dep_paused", "unpause": "dep_demo", "archive": "dep_archived"}  # where there is not
EACH = pytest.mark.parametrize("verb", VERBS)


def goes_wrong(qoder: Qoder, world: World, *faults: str) -> None:
    """Lead the user into the world, where this goes wrong."""
    Things(qoder, world.generation, *faults, world=world)


def change(qoder: Qoder, verb: str, *words: str) -> Ran:
    return qoder("deploy", verb, *words, *YES.get(verb, []))


def asked(world: World, method: str = "POST") -> list[str]:
    return [seen.path.removeprefix(BASE_PATH) for seen in world.requests if seen.method == method]


def state(world: World, id: str) -> str:
    with world.lock:
        world.settle()
    deployment = world.deployments[id]
    return "archived" if deployment.archived is not None else "paused" if deployment.paused else "active"


@EACH
def test_deploy_pause_unpause_archive_send_one_request_and_say_where(qoder: Qoder, world: World, verb: str) -> None:
    ran = change(qoder, verb, PLAIN[verb], "--json")
    assert ran.code == 0
    assert state(world, PLAIN[verb]) == STATES[verb]
    [seen] = world.requests
    assert (seen.method, seen.path) == ("POST", f"{BASE_PATH}/deployments/{PLAIN[verb]}/{verb}")
    assert (seen.body, seen.headers["content-type"], bool(seen.key)) == (b"{}", "application/json", True)
    assert ran.json["id"] == PLAIN[verb]
    assert ran.json["status"] == ("paused" if verb == "pause" else "active")
    assert "input" not in ran.json
    doing = {"pause": "pausing", "unpause": "unpausing", "archive": "archiving"}[verb]
    assert ran.err == f"{doing} {PLAIN[verb]}\n"


@EACH
def test_deploy_pause_unpause_archive_answer_a_terminal_with_one_line(qoder: Qoder, world: World, verb: str) -> None:
    qoder.terminal = True
    shown = change(qoder, verb, PLAIN[verb]).out
    assert shown.endswith(f" ({PLAIN[verb]}) is {STATES[verb]}\n")
    assert shown.count("\n") == 1


@EACH
@pytest.mark.parametrize("is_meanwhile", [False, True])
def test_deploy_pause_unpause_archive_say_what_is_so_already(
    qoder: Qoder, world: World, verb: str, is_meanwhile: bool
) -> None:
    """It was so before, or a stranger is faster."""
    goes_wrong(qoder, world, *[f"{verb}:stranger"] * is_meanwhile)
    id = (PLAIN if is_meanwhile else DONE)[verb]
    ran = change(qoder, verb, id, "--json")
    assert (ran.code, ran.json["id"], len(world.requests)) == (0, id, 2)
    assert f"{id} is already {STATES[verb]}" in ran.err


@pytest.mark.parametrize("verb", ["pause", "unpause"])
@pytest.mark.parametrize("refusal", [409, 403])  # both are documented for what is archived
def test_deploy_pause_and_unpause_refuse_what_is_archived(qoder: Qoder, world: World, verb: str, refusal: int) -> None:
    goes_wrong(qoder, world, f"{verb}:{refusal}")
    ran = change(qoder, verb, "dep_archived", "--json")
    assert (ran.code, ran.out, ran.error["http_status"]) == (6, "", refusal)
    assert "dep_archived was archived on 20" in ran.error["message"]
    assert ran.error["request_id"]
    assert "cannot be changed" in ran.error["message"]
    assert "cannot be undone" in ran.error["hint"]


def test_deploy_pause_exits_6_at_a_409_that_nothing_explains(qoder: Qoder, world: World) -> None:
    goes_wrong(qoder, world, "pause:409")
    ran = change(qoder, "pause", "dep_demo", "--json")
    assert (ran.code, ran.error["message"]) == (6, "HTTP 409 from api.qoder.com: Refused by a fault of the sandbox.")


@EACH
@pytest.mark.parametrize("fault", ["drop-before", "503"])
@pytest.mark.few(2)
def test_deploy_pause_and_others_send_again_what_shows_not(qoder: Qoder, world: World, verb: str, fault: str) -> None:
    goes_wrong(qoder, world, f"{verb}:{fault}*2")
    assert change(qoder, verb, PLAIN[verb]).code == 0
    assert (len(asked(world)), len(asked(world, "GET"))) == (3, 14)
    assert len({seen.key for seen in world.requests if seen.method == "POST"}) == 1
    world.requests.clear()
    made = world.add_deployment(name="job", status={"unpause": "paused"}.get(verb, "active"), at=world.now() - 3600)
    goes_wrong(qoder, world, f"{verb}:{fault}*inf")
    ran = change(qoder, verb, made.id, "--json")
    assert (ran.code, ran.out, len(asked(world))) == (7 if fault in ("503", "500") else 9, "", 3)
    assert ran.code == 7 or ran.error["next"] == ["qoder", "deploy", "get", made.id, "-o", "json"]


@pytest.mark.parametrize(("fault", "looks"), [("503*inf", 7), ("401*inf", 1)])  # a token is not accepted later either
def test_deploy_pause_is_unknown_if_it_cannot_be_read_back(qoder: Qoder, world: World, fault: str, looks: int) -> None:
    goes_wrong(qoder, world, "pause:drop-after", f"deployment:{fault}")
    ran = change(qoder, "pause", "dep_demo", "--json")
    assert (ran.code, len(asked(world)), len(asked(world, "GET"))) == (9, 1, looks)
    assert "it could not be read back" in ran.error["message"]


def test_deploy_pause_reads_a_lagging_replica_again(qoder: Qoder, world: World) -> None:
    goes_wrong(qoder, world, "pause:drop-after", "any:lagging=1.5")
    assert change(qoder, "pause", "dep_demo").code == 0
    assert (sum(qoder.clock.slept), len(asked(world))) == (2.0, 1)


@pytest.mark.parametrize(
    ("seconds", "code", "said"),
    [
        (0.5, 9, "dep_demo was written to in the meantime, and it is active"),  # by whom, a second does not tell
        (5.0, 6, "it is active: someone else changed it; it was not paused again"),
    ],
    ids=["within a second", "later"],
)
def test_deploy_pause_is_not_sent_again_once_a_colleague_changed_it(
    qoder: Qoder, world: World, seconds: float, code: int, said: str
) -> None:
    service, began = Things(qoder, world.generation, world=world), world.now()
    service.loses("reset", done=False)

    def colleague() -> None:
        if world.now() - began >= seconds:
            world.deployments["dep_demo"].change(began + seconds, description="Theirs")

    qoder.clock.at_sleep = colleague
    ran = change(qoder, "pause", "dep_demo")
    assert (ran.code, said in ran.err, len(service.writes)) == (code, True, 1)


ACTIVE = {"id": "dep_1", "type": "deployment", "status": "active", "archived_at": None}
PAUSED = {**ACTIVE, "status": "paused"}
PAUSE_1 = ("POST", "/deployments/dep_1/pause")
GET_1 = ("GET", "/deployments/dep_1")


def test_deploy_pause_is_done_where_the_first_attempt_makes_the_second_fail(qoder: Qoder) -> None:
    def active(_: httpx.Request) -> httpx.Response:
        """Return one of which nothing says when it was changed, on a server that tells the time."""
        return httpx.Response(200, json=ACTIVE, headers={"date": formatdate(qoder.clock.time, usegmt=True)})

    qoder.wire.on(*PAUSE_1, httpx.ReadError("reset"), api_error(409, "conflict_error", "Deployment is already paused."))
    qoder.wire.on(*GET_1, *[active] * 7, PAUSED)
    ran = change(qoder, "pause", "dep_1")
    assert ran.code == 0
    assert re.search(r"\nno confirmation \(.* was lost \(reset\)\); reading back for up to \d+s\n", ran.err), ran.err
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
def test_deploy_pause_stays_unknown_after_a_second_attempt(qoder: Qoder, second: list[Any], looks: list[Any]) -> None:
    qoder.wire.on(*PAUSE_1, httpx.ReadError("reset"), *second).on(*GET_1, *[ACTIVE] * 7, *looks)
    ran = change(qoder, "pause", "dep_1", "--json")
    assert (ran.code, ran.error["type"]) == (9, "outcome_unknown")


def test_deploy_pause_is_sent_again_where_the_server_never_told_its_time(qoder: Qoder) -> None:
    qoder.wire.on(*PAUSE_1, httpx.ReadError("reset"), PAUSED)
    qoder.wire.on(*GET_1, *[{**ACTIVE, "updated_at": "2026-06-14T08:54:06Z"}] * 7)
    assert change(qoder, "pause", "dep_1").code == 0


def test_deploy_pause_names_of_several_losses_the_first(qoder: Qoder) -> None:
    qoder.wire.on(*PAUSE_1, httpx.ReadError("reset"), (502, ""), (502, "")).on(*GET_1, *[ACTIVE] * 21)
    error = change(qoder, "pause", "dep_1", "--json").error
    assert ("reset" in error["message"], error["http_status"]) == (True, None), error["message"]


@EACH
@pytest.mark.parametrize("comes", [True, False], ids=["answer", "no answer"])
def test_deploy_pause_and_others_wait_at_a_signal(qoder: Qoder, world: World, verb: str, comes: bool) -> None:
    with interrupted(qoder, answer_comes=comes):
        ran = change(qoder, verb, PLAIN[verb], "--json")
    assert (ran.code, ran.error["type"]) == (143, "terminated" if comes else "outcome_unknown")
    if comes:
        assert ran.json["id"] == PLAIN[verb]
        assert ran.error["message"] == f"it is {STATES[verb]}; stopped by a signal"
    else:
        assert re.search(rf"unknown whether \w+ing {PLAIN[verb]} succeeded", ran.error["message"])
        assert ran.error["next"] == ["qoder", "deploy", "get", PLAIN[verb], "-o", "json"]


@pytest.mark.parametrize(("fault", "known"), [("429", True), ("drop-after", False), ("503", False)])
def test_deploy_pause_says_what_is_known_between_two_tries(qoder: Qoder, world: World, fault: str, known: bool) -> None:
    goes_wrong(qoder, world, f"pause:{fault}")
    qoder.clock.at_sleep = interrupt
    ran = change(qoder, "pause", "dep_demo", "--json")
    assert (ran.code, ran.out) == (130, "")
    assert ran.error["type"] == ("interrupted" if known else "outcome_unknown")


def test_deploy_pause_of_several_is_an_array_in_the_order_of_the_input(qoder: Qoder, world: World) -> None:
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
    assert ran.error["message"].startswith("3 of 6 are paused; deployment dep_archived was archived on")
    assert asked(world, "GET").count("/deployments") == 2  # the names, and what is near to dep_gone
    assert [state(world, id) for id in ("dep_minute", "dep_scheduled")] == ["paused", "paused"]


def test_deploy_pause_names_a_few_of_many_and_does_each_once(qoder: Qoder, world: World) -> None:
    ids = [deployment.id for deployment in world.seed_deployments(5)]
    ran = change(qoder, "pause", *ids, ids[0], "--json")
    assert ran.err == f"pausing {ids[0]}, {ids[1]}, {ids[2]}, 2 more\n"
    assert [item["input"] for item in ran.json] == [*ids, ids[0]]
    assert sorted(asked(world)) == sorted(f"/deployments/{id}/pause" for id in ids)


def test_deploy_pause_of_several_leaves_the_rest_alone_at_a_signal(qoder: Qoder, world: World) -> None:
    goes_wrong(qoder, world, "pause:429=1", "pause:drop-after")
    slept = iter([lambda: None, interrupt])
    qoder.clock.at_sleep = lambda: next(slept)()
    ran = change(qoder, "pause", "dep_demo", "dep_minute", "dep_slow", "nobody", "--json")
    assert (ran.code, ran.error["type"]) == (130, "outcome_unknown")
    # dep_demo after a 429, then its answer is lost: nothing of the others was begun
    assert [(item["input"], item["exit_code"]) for item in ran.json] == [
        *(("dep_demo", 9), ("dep_minute", None), ("dep_slow", None), ("nobody", 5))
    ]
    assert ran.json[1]["error"] is None
    said = "0 of 4 are paused; stopped by a signal; unknown whether pausing dep_demo succeeded"
    assert ran.error["message"].startswith(said)
    assert [state(world, id) for id in ("dep_minute", "dep_slow")] == ["active", "active"]


@pytest.mark.parametrize("answer", [True, False])
def test_deploy_archive_shows_what_will_become_of_it(
    qoder: Qoder, world: World, questions: Callable[..., list[str]], answer: bool
) -> None:
    asked_for = questions(answer)
    ran = qoder("deploy", "archive", "nightly-report", "--json")
    assert asked_for == [
        "Archive deployment 'nightly-report' (dep_scheduled)? An archived deployment can never be run or changed "
        "again. Its schedule stops, and it is renamed to NAME_archived_TIMESTAMP. Its schedule: at 09:00 every day "
        "(UTC). This cannot be undone."
    ]
    assert (ran.code, state(world, "dep_scheduled")) == ((0, "archived") if answer else (2, "active"))
    said = "archiving nightly-report (dep_scheduled)\n"
    assert ran.err == said if answer else ran.error["message"] == "cancelled; dep_scheduled was not archived"


def test_deploy_archive_asks_with_text_that_steers_nothing(qoder: Qoder, questions: Callable[..., list[str]]) -> None:
    schedule = {"expression": "0 9 * * *", "timezone": "\x1b]0;zone\x07"}
    qoder.wire.on("GET", "/deployments/dep_1", {**ACTIVE, "name": "\x1b[2J\u202ename\n", "schedule": schedule})
    asked_for = questions(False)
    qoder("deploy", "archive", "dep_1")
    [question] = asked_for
    assert not {"\x1b", "\u202e", "\x07"} & set(question)
    assert "'\\u001b[2J\\u202ename\\n'" in question


def test_deploy_archive_asks_before_it_begins(qoder: Qoder, world: World, questions: Callable[..., list[str]]) -> None:
    asked_for = questions(True, False, True)
    words = ["dep_demo", "dep_minute", "dep_archived", "dep_gone", "dep_slow", "dep_demo"]
    ran = qoder("deploy", "archive", *words, "--json")
    assert ran.code == 5
    assert [item["exit_code"] for item in ran.json] == [0, 2, 0, 5, 0, 0]
    assert [text.partition("?")[0] for text in asked_for] == [
        f"Archive deployment '{name}' (dep_{name})" for name in ("demo", "minute", "slow")
    ]
    assert "archiving dep_demo, dep_slow" in ran.err
    assert asked(world) == ["/deployments/dep_demo/archive", "/deployments/dep_slow/archive"]
    assert "dep_archived is already archived" in ran.err


@pytest.mark.parametrize(("answer", "code"), [(typer.Abort(), 2), (Signalled(signal.SIGINT), 130)])
def test_deploy_archive_does_nothing_when_left_in_the_middle_of_the_questions(
    qoder: Qoder, world: World, questions: Callable[..., list[str]], answer: BaseException, code: int
) -> None:
    questions(True, answer)
    ran = qoder("deploy", "archive", "dep_demo", "dep_minute", "--json")
    assert (ran.code, ran.out, asked(world)) == (code, "", [])
    assert code == 2 or ran.error["message"] == "interrupted; nothing was archived"
