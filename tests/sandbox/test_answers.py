"""The agent asks and is answered: what a client sends continues the session's story."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from qoder_cli.sandbox.wire import GENERATIONS
from tests.support.sandbox_desk import Desk

CONFIRMATION = "user.tool_confirmation"


@pytest.fixture(params=GENERATIONS)
def desk(request: pytest.FixtureRequest) -> Desk:
    return Desk(request.param)


@pytest.fixture
def current() -> Desk:
    return Desk("current")


class Talk:
    """A run of a deployment that has asked by now, and a user who answers it."""

    def __init__(self, desk: Desk, word: str, *, seconds: float = 2.5) -> None:
        self.desk = desk
        self.run = desk.run(f"dep_{word}")
        self.path = f"/sessions/{self.run['session_id']}"
        desk.clock.sleep(seconds)

    def send(self, *events: Any) -> httpx.Response:
        return self.desk.post(self.path + "/events", {"events": events})

    def allow(self, *calls: str) -> httpx.Response:
        return self.send(*(self.confirmation(call) for call in calls))

    def say(self, text: str) -> httpx.Response:
        return self.send({"type": "user.message", "content": [{"type": "text", "text": text}]})

    def confirmation(self, call: str, *, allow: bool = True, **more: Any) -> dict[str, Any]:
        current = {"result": "allow" if allow else "deny"}
        legacy = {"decision": "approve" if allow else "deny"}
        verdict = current if self.desk.generation == "current" else legacy
        return {"type": CONFIRMATION, "tool_use_id": call, **verdict, **more}

    def waiting(self) -> list[str]:
        stop = self.events("session.status_idle")[-1]["stop_reason"]
        ids: list[str] = stop.get("event_ids", [])
        return ids

    def events(self, *types: str) -> list[Any]:
        return self.desk.events(self.run, types=",".join(types))

    def message(self) -> str:
        text: str = self.events("agent.message")[-1]["content"][0]["text"]
        return text

    def refused(self, *events: Any) -> tuple[int, str, str | None]:
        before = self.desk.events(self.run)
        refusal = self.desk.refused("POST", self.path + "/events", json={"events": events})
        assert self.desk.events(self.run) == before
        return refusal


def test_an_approved_call_is_made_and_the_turn_completes(desk: Desk) -> None:
    talk = Talk(desk, "ask")
    [call] = talk.waiting()
    answer = talk.allow(call)
    assert answer.status_code == (200 if desk.generation == "current" else 202)
    [sent] = answer.json()["data"]
    assert sent == talk.events(CONFIRMATION)[0]
    assert (sent["tool_use_id"], sent["type"]) == (call, CONFIRMATION)
    with desk.stream(talk.run, after=sent["id"]) as told:
        kinds = [next(told)["type"] for _ in range(7)]
    assert kinds == [
        "session.status_running",
        "session.thread_status_running",
        "agent.tool_result",
        "span.model_request_start",
        "agent.message",
        "span.model_request_end",
        "session.thread_status_idle",
    ]
    assert talk.message() == "I ran 'git push origin main'."
    assert talk.events("session.status_idle")[-1]["stop_reason"] == {"type": "end_turn"}
    ending = desk.world.ending(talk.run["id"])
    assert ending is not None
    assert ending.status == "completed"
    if desk.generation == "legacy":
        assert desk.get(f"/deployment_runs/{talk.run['id']}")["status"] == "completed"


def test_the_agent_tells_what_it_makes_of_a_denial(desk: Desk) -> None:
    talk = Talk(desk, "ask")
    assert talk.send(talk.confirmation(talk.waiting()[0], allow=False, deny_message="not on a Friday")).is_success
    desk.clock.sleep(2)
    [result] = talk.events("agent.tool_result")
    assert (result["is_error"], result["content"][0]["text"]) == (True, "not on a Friday")
    assert talk.message() == "I did not run 'git push origin main': not on a Friday"


def test_several_are_answered_in_one_request(desk: Desk) -> None:
    talk = Talk(desk, "askmany")
    first, second, third = talk.waiting()
    answers = [talk.confirmation(first), talk.confirmation(second, allow=False), talk.confirmation(third, allow=False)]
    assert [event["tool_use_id"] for event in talk.send(*answers).json()["data"]] == [first, second, third]
    desk.clock.sleep(2)
    assert [line.partition(":")[0] for line in talk.message().splitlines()] == [
        "I ran 'git status'.",
        "I did not run 'git push origin main'",
        "I did not run 'rm -rf build'",
    ]


def test_answered_in_part_it_asks_for_the_rest(desk: Desk) -> None:
    talk = Talk(desk, "askmany")
    first, second, third = talk.waiting()
    for call, rest in ((second, [first, third]), (third, [first])):
        talk.allow(call)
        desk.clock.sleep(1)
        assert talk.waiting() == rest
        assert desk.get(talk.path)["status"] == "idle"
    talk.allow(first)
    desk.clock.sleep(2)
    assert talk.waiting() == []
    assert len(talk.message().splitlines()) == 3


def test_one_asks_again_and_again(desk: Desk) -> None:
    talk = Talk(desk, "askthrice")
    asked = []
    while calls := talk.waiting():
        asked += calls
        talk.allow(*calls)
        desk.clock.sleep(2)
    assert len(set(asked)) == 3
    assert [event["tool_use_id"] for event in talk.events("agent.tool_result")] == asked
    assert len(talk.message().splitlines()) == 3


def test_a_custom_tool_is_answered_with_its_result(desk: Desk) -> None:
    talk = Talk(desk, "custom")
    [call] = talk.waiting()
    assert talk.events("agent.custom_tool_use")[0]["id"] == call
    result = {"custom_tool_use_id": call, "content": [{"type": "text", "text": "2.0"}], "is_error": False}
    assert talk.refused(talk.confirmation(call))[0] == 400
    [sent] = talk.send({"type": "user.custom_tool_result", **result}).json()["data"]
    assert {key: sent[key] for key in result} == result
    desk.clock.sleep(2)
    assert talk.message() == "Which version is next? 2.0"


def test_one_goes_on_by_itself(desk: Desk) -> None:
    talk = Talk(desk, "selfask", seconds=3.1)
    assert len(talk.waiting()) == 1
    assert desk.world.ending(talk.run["id"]) is None
    desk.clock.sleep(3)
    assert talk.waiting() == []
    ending = desk.world.ending(talk.run["id"])
    assert ending is not None
    assert ending.status == "completed"


def test_an_answer_while_it_would_go_on_by_itself_counts(desk: Desk) -> None:
    talk = Talk(desk, "selfask", seconds=3.1)
    talk.allow(*talk.waiting())
    desk.clock.sleep(5)
    assert talk.message() == "I ran 'git push origin main'."
    assert len(talk.events("session.status_idle")) == 2


def test_a_call_that_does_not_wait_takes_no_answer(desk: Desk) -> None:
    talk, other = Talk(desk, "ask"), Talk(desk, "ask")
    [call], [others] = talk.waiting(), other.waiting()
    for wrong in ("evt_none", others, talk.events("agent.thinking")[0]["id"]):
        assert talk.refused(talk.confirmation(wrong)) == (400, "invalid_request_error", "events.0.tool_use_id")
    assert talk.refused(talk.confirmation(call), talk.confirmation(call))[2] == "events.1.tool_use_id"
    result = {"type": "user.custom_tool_result", "custom_tool_use_id": call}
    assert talk.refused(result)[2] == "events.0.custom_tool_use_id"
    talk.allow(call)
    assert talk.refused(talk.confirmation(call))[0] == 400  # the turn has not even begun again
    desk.clock.sleep(2)
    assert talk.refused(talk.confirmation(call))[0] == 400


def test_each_generation_has_its_own_word_for_a_verdict(desk: Desk) -> None:
    talk = Talk(desk, "ask")
    other = {"result": "allow"} if desk.generation == "legacy" else {"decision": "approve"}
    refusal = talk.refused({"type": CONFIRMATION, "tool_use_id": talk.waiting()[0], **other})
    assert refusal == (400, "invalid_request_error", f"events.0.{next(iter(other))}")


@pytest.mark.parametrize(
    "wrong",
    [
        lambda talk: [],
        lambda talk: [{"type": "agent.message", "content": []}],
        lambda talk: [{"type": "user.message", "content": "a plain string"}],
        lambda talk: [{"type": "user.message", "content": []}],
        lambda talk: [{"type": "user.message"}],
        lambda talk: [talk.confirmation(talk.waiting()[0], deny_message="only with a denial")],
        lambda talk: [talk.confirmation(talk.waiting()[0], reason="no such field")],
        lambda talk: [{"type": "user.tool_result", "tool_use_id": talk.waiting()[0]}],
    ],
)
def test_an_event_that_is_wrong_is_refused(desk: Desk, wrong: Callable[[Talk], list[Any]]) -> None:
    talk = Talk(desk, "ask")
    status, kind, param = talk.refused(*wrong(talk))
    assert (status, kind, (param or "").partition(".")[0]) == (400, "invalid_request_error", "events")


def test_a_message_begins_the_next_turn(desk: Desk) -> None:
    talk = Talk(desk, "demo", seconds=4)
    ended = desk.world.ending(talk.run["id"])
    [sent] = talk.say("And yesterday?").json()["data"]
    assert sent["content"] == [{"type": "text", "text": "And yesterday?"}]
    assert desk.get(talk.path)["status"] == "running"
    desk.clock.sleep(4)
    assert talk.message() == "You said: And yesterday?"
    assert [event["type"] for event in desk.events(talk.run, after_id=sent["id"])][-1] == "session.status_idle"
    assert desk.world.ending(talk.run["id"]) == ended


def test_a_message_to_one_that_asks_makes_it_ask_again(desk: Desk) -> None:
    talk = Talk(desk, "askthrice")
    for _ in range(2):
        for _ in range(3):
            talk.allow(*talk.waiting())
            desk.clock.sleep(2)
        assert talk.waiting() == []
        talk.say("Once more.")
        desk.clock.sleep(3)
    assert len(talk.waiting()) == 1


@pytest.mark.parametrize("word", ["minute", "ask", "selfask", "slow"])
def test_while_a_turn_is_going_a_message_is_a_conflict(desk: Desk, word: str) -> None:
    talk = Talk(desk, word, seconds=3.1)
    message = {"type": "user.message", "content": [{"type": "text", "text": "Hurry."}]}
    assert talk.refused(message) == (409, "invalid_request_error", None)


@pytest.mark.parametrize("word", ["minute", "ask"])
def test_an_interrupt_ends_the_turn_and_the_session_listens_again(desk: Desk, word: str) -> None:
    talk = Talk(desk, word)
    [sent] = talk.send({"type": "user.interrupt"}).json()["data"]
    assert sent["type"] == "user.interrupt"
    desk.clock.sleep(1)
    assert talk.events("session.status_idle")[-1]["stop_reason"] == {"type": "cancelled"}
    assert desk.world.ending(talk.run["id"]).type == "cancelled"  # type: ignore[union-attr]  # it has ended
    assert talk.say("Something else.").is_success
    assert desk.get(talk.path)["status"] == "running"


def test_an_interrupt_of_nothing_is_noted_and_nothing_happens(desk: Desk) -> None:
    talk = Talk(desk, "demo", seconds=4)
    assert talk.send({"type": "user.interrupt"}).is_success
    desk.clock.sleep(1)
    assert desk.events(talk.run)[-1]["type"] == "user.interrupt"
    assert desk.get(talk.path)["status"] == "idle"


def test_a_session_that_asks_can_be_cancelled(desk: Desk) -> None:
    talk = Talk(desk, "ask")
    assert desk.post(talk.path + "/cancel").status_code == 202
    desk.clock.sleep(1)
    assert talk.waiting() == []
    assert desk.post(talk.path + "/cancel").status_code == 200


def test_a_terminated_session_takes_nothing_more(desk: Desk) -> None:
    talk = Talk(desk, "terminated", seconds=4)
    assert talk.refused({"type": "user.message", "content": [{"type": "text", "text": "Hello?"}]})[0] == 409


# Faults


@pytest.mark.parametrize(
    ("fault", "acts"), [("drop-before", 0), ("drop-after", 1), ("503", 0), ("act-503", 1), ("late=1", 1)]
)
def test_an_answer_may_be_lost_before_or_after_it_counts(desk: Desk, fault: str, acts: int) -> None:
    talk = Talk(desk, "ask")
    desk.faults.add(f"send:{fault}")
    if fault.endswith("503"):
        assert talk.allow(*talk.waiting()).status_code == 503
    else:
        with pytest.raises(httpx.RemoteProtocolError):
            talk.allow(*talk.waiting())
    desk.clock.sleep(4)
    assert len(talk.events(CONFIRMATION)) == acts
    assert (talk.waiting() == []) == bool(acts)


def test_someone_else_may_answer_just_before(desk: Desk) -> None:
    talk = Talk(desk, "ask")
    desk.faults.add("send:stranger")
    assert talk.allow(*talk.waiting()).status_code == 400
    assert len(talk.events(CONFIRMATION)) == 1


def test_a_fault_of_sending_meets_only_that(current: Desk) -> None:
    talk = Talk(current, "ask")
    current.faults.add("send:503*inf")
    assert current.status(talk.path) == current.status(talk.path + "/events") == 200
    assert talk.allow(*talk.waiting()).status_code == 503
