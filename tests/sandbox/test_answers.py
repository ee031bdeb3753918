"""The agents of `qoder sandbox` ask and are answered: what a client sends continues the session's story."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.sandbox.desk import Desk, said

CONFIRMATION = "user.tool_confirmation"


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

    def confirmation(self, call: str, *, allow: bool = True, **more: Any) -> dict[str, Any]:
        current = {"result": "allow" if allow else "deny"}
        legacy = {"decision": "approve" if allow else "deny"}
        verdict = current if self.desk.generation == "current" else legacy
        return {"type": CONFIRMATION, "tool_use_id": call, **verdict, **more}

    def waiting(self) -> list[str]:
        ids: list[str] = self.events("session.status_idle")[-1]["stop_reason"].get("event_ids", [])
        return ids

    def events(self, *types: str) -> list[Any]:
        return self.desk.events(self.run, types=",".join(types))

    def message(self) -> str:
        text: str = self.events("agent.message")[-1]["content"][0]["text"]
        return text

    def ending(self) -> str | None:
        """Return how the run ended: the type of its error, else its status; None while it is going."""
        ending = self.desk.world.ending(self.run["id"])
        return (ending.type or ending.status) if ending else None

    def refused(self, *events: Any) -> tuple[int, str, str | None]:
        before = self.desk.events(self.run)
        refusal = self.desk.refused("POST", self.path + "/events", json={"events": events})
        assert self.desk.events(self.run) == before
        return refusal


def test_sandbox_makes_a_call_that_is_approved_and_completes_the_turn(desk: Desk) -> None:
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
        *("session.status_running", "session.thread_status_running", "agent.tool_result", "span.model_request_start"),
        *("agent.message", "span.model_request_end", "session.thread_status_idle"),
    ]
    assert talk.message() == "I ran 'git push origin main'."
    assert talk.events("session.status_idle")[-1]["stop_reason"] == {"type": "end_turn"}
    assert talk.ending() == "completed"
    if desk.generation == "legacy":
        assert desk.get(f"/deployment_runs/{talk.run['id']}")["status"] == "completed"


def test_sandbox_asks_again_and_again(desk: Desk) -> None:
    talk, asked = Talk(desk, "askthrice"), []
    while calls := talk.waiting():
        asked += calls
        talk.allow(*calls)
        desk.clock.sleep(2)
    assert (len(set(asked)), len(talk.message().splitlines())) == (3, 3)


def test_sandbox_takes_the_result_of_a_custom_tool(desk: Desk) -> None:
    talk = Talk(desk, "custom")
    [call] = talk.waiting()
    assert talk.events("agent.custom_tool_use")[0]["id"] == call
    result = {"custom_tool_use_id": call, "content": [{"type": "text", "text": "2.0"}], "is_error": False}
    assert talk.refused(talk.confirmation(call))[0] == 400
    [sent] = talk.send({"type": "user.custom_tool_result", **result}).json()["data"]
    assert {key: sent[key] for key in result} == result
    desk.clock.sleep(2)
    assert talk.message() == "Which version is next? 2.0"


def test_sandbox_refuses_an_answer_to_a_call_that_does_not_wait(desk: Desk) -> None:
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


OTHER_WORDS = {"legacy": {"result": "allow"}, "current": {"decision": "approve"}}  # of the other generation


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        (lambda talk: [], "events"),
        (lambda talk: [{"type": "agent.message", "content": []}], "events.0.type"),
        (lambda talk: [{"type": "user.message", "content": "a plain string"}], "events.0.content"),
        (lambda talk: [{"type": "user.message", "content": [{"type": "text", "text": 7}]}], "events.0.content.0.text"),
        (lambda talk: [talk.confirmation(talk.waiting()[0], deny_message="if denied")], "events.0"),
        (lambda talk: [talk.confirmation(talk.waiting()[0], reason="no such field")], "events.0.reason"),
        (lambda talk: [{"type": "user.tool_result", "tool_use_id": talk.waiting()[0]}], "events.0.type"),
        (
            lambda talk: [
                {"type": CONFIRMATION, "tool_use_id": talk.waiting()[0], **OTHER_WORDS[talk.desk.generation]}
            ],
            "events.0.{other}",
        ),
    ],
    ids=range(8),
)
def test_sandbox_refuses_an_event_that_is_wrong(desk: Desk, wrong: Callable[[Talk], list[Any]], param: str) -> None:
    talk = Talk(desk, "ask")
    param = param.format(other=next(iter(OTHER_WORDS[desk.generation])))
    assert talk.refused(*wrong(talk)) == (400, "invalid_request_error", param)


@pytest.mark.parametrize("word", ["minute", "ask", "selfask", "slow", "terminated"])
def test_sandbox_refuses_a_message_while_a_turn_is_going_or_all_is_over(desk: Desk, word: str) -> None:
    talk = Talk(desk, word, seconds=3.1)
    assert talk.refused(said("Hurry."))[::2] == (409, None)
