"""When a session's list is read while its stream is followed, by what the stream says and how the list answers."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from qoder_cli.base.errors import ApiError, AuthError, NotFound, Unavailable
from qoder_cli.sessions.chat import followed
from qoder_cli.sessions.log import Events, Log
from qoder_cli.sessions.showing import Showing
from tests.support.wire import FakeClock

OWN = {"enveloped": True}  # an error in the API's own envelope
ERRORS: dict[str, ApiError] = {
    "busy": Unavailable("Busy.").with_(**OWN),
    "gone": NotFound("Gone.").with_(**OWN),
    "expired": AuthError("Expired.").with_(**OWN),
    "a proxy's 404": NotFound("Not here."),
    "a proxy's 403": AuthError("Not you."),
}


class Script(FakeClock):
    """A session's client and its clock: news and pauses come in turn, and answers to each read of the list.

    `9` is nine seconds without news, `z9` as many in which this machine sleeps.
    """

    def __init__(self, script: str, answers: str) -> None:
        super().__init__(0.0)
        self.script, self.answers = script.split(), answers.split(", ")  # the last answer repeats
        self.clock = self
        self.progress = SimpleNamespace(note=lambda text: None)
        self.reads: list[str] = []  # when, and from where on

    def receive(self, inbox: Any, seconds: float) -> Any:
        if not self.script:
            raise EOFError
        kind, _, id = self.script.pop(0).partition(":")
        if kind.isalpha():
            return SimpleNamespace(kind=kind, event={"id": id}, error=None)
        passed = float(kind.strip("z"))
        if passed > seconds and kind[0] != "z":
            self.script.insert(0, str(passed - seconds))
            passed = seconds
        self.time += passed
        return None

    def open_stream(self, *given: Any, **named: Any) -> Any:
        raise Unavailable("The script says what a stream tells.").with_(http_status=501)

    def pages(self, path: str, query: dict[str, Any], **how: Any) -> Iterator[dict[str, Any]]:
        self.reads.append(f"{self.time:.0f}@{query.get('after_id', '')}")
        answer = self.answers.pop(0) if self.answers[1:] else self.answers[0]
        if answer in ERRORS:
            raise ERRORS[answer]
        for page in answer.split("|"):
            yield {"data": [{"id": id} for id in page.split()]}


# What happens, what the list answers; its last three reads, and whether sight is lost at last.
SCRIPTS: dict[str, tuple[str, str, str, bool]] = {
    "no stream": ("15", "", "5@ 10@ 15@", False),
    "heartbeats alone": ("4 alive 4 alive 4", "", "5@ 10@", False),
    "a stream that falls silent": ("up heard:a 66", "", "0@ 60@a 65@a", False),
    "a stream that is alive": ("up heard:a 50 alive 50 alive 50", "", "0@", False),
    "a stream that ends": ("up heard:a 9 down 6", "", "0@ 14@a", False),
    "something missed while the list is busy": ("up heard:a gap heard:b 5 heard:d 9", ", busy, c", "0@ 0@a 5@a", False),
    "a session that is gone": ("up 30 gap 9", "gone", "30@ 30@ 35@", True),
    "a session that is gone for a while": ("up 45", f"{', '.join(['gone'] * 6)}, , gone", "35@ 40@ 45@", False),
    "a session that is gone, but tells": ("up 20 heard:a 20", "gone", "30@ 35@ 40@", False),
    "a list that is busy, and this machine asleep": ("up z600 6", "busy", "0@ 600@ 605@", False),
    "a message that is being written": ("up preview:x 1", "", "0@", False),
    "a proxy that finds nothing": ("up 400", "a proxy's 404", "295@ 300@ 305@", True),
    "a proxy that refuses": ("up 400", "a proxy's 403", "295@ 300@ 305@", True),
    "a token that expires": ("15", ", expired", "5@ 10@", True),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_session_chat_reads_the_list_when_it_is_due(name: str) -> None:
    script, answers, reads, is_lost = SCRIPTS[name]
    client: Any = Script(script, answers)
    previews: list[Any] = []
    with pytest.raises(ApiError if is_lost else EOFError):
        list(followed(Log(client, "sess_1"), previews.append))
    assert " ".join(client.reads[-3:]) == reads
    assert previews == [{"id": "x"}] * ("preview:x" in script)


class Unseen(Showing):
    """Shows a session to nobody."""

    def __init__(self, client: Any) -> None:
        super().__init__()
        self._client = client

    def new_log(self, session_id: str) -> Log:
        return Log(self._client, session_id)

    def write(self, events: Events, session_id: str) -> None:
        pass


def test_run_wait_follow_reads_on_from_its_list_and_from_what_a_stream_says_after_it() -> None:
    client: Any = Script("", "b, busy, c, d")
    showing = Unseen(client)

    def hear(id: str) -> None:
        showing.hear({"id": id}, session_id="sess_1")
        showing.catch_up("sess_1")

    hear("a")  # the list was not read before: what is in it may be older
    assert client.reads == ["0@"]
    hear("x")
    assert client.reads[1:] == ["0@x"]
    hear("y")  # the list could not be read: it may have more than what was heard
    assert client.reads[2:] == ["0@x"]
    hear("z")
    assert client.reads[3:] == ["0@z"]
