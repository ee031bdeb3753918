"""One step of an edit: what it sends, how it is called, and what is said of what others wrote in between."""

from types import SimpleNamespace
from typing import Any

import pytest

from qoder_cli.base.errors import ApiError, NoResponse, NotFound, OutcomeUnknown, QoderError, Rejected
from qoder_cli.nouns.edits.difference import FieldChange
from qoder_cli.nouns.edits.forms import form_of
from qoder_cli.nouns.edits.step import Job, Origin, Send, Step
from qoder_cli.nouns.edits.update import Overtaken
from qoder_cli.nouns.table import NOUNS
from tests.support.answers import Server, without

Raw = dict[str, Any]
AT, LATER = "2027-01-15T08:00:00Z", "2027-01-15T08:00:09Z"
WRITER = {"id": "agent_1", "name": "writer", "description": "Old", "model": "auto", "version": 3, "updated_at": AT}
CHANGE = FieldChange("description", "Old", "New")


UNSHOWN = {"changes": [CHANGE._replace(is_secret=True)]}


def step_of(
    current: Raw | None = WRITER, wanted: Raw | None = None, noun: str = "agent", body: Raw | None = None, **more: Any
) -> Step:
    """Return a step; it sends a body, unless nothing changes."""
    body = {"description": "New"} if body is None else body
    more = {"changes": [CHANGE], **more}
    sends = [Send("update" if current else "create", body)] if more["changes"] else []
    wanted = {"description": "New"} if wanted is None else wanted
    return Step(noun=NOUNS[noun], form=form_of(NOUNS[noun]), wanted=wanted, current=current, **{"sends": sends, **more})


def broken(*given: Any, **how: Any) -> Any:
    raise ValueError("Oops.")


@pytest.mark.parametrize("current", [WRITER, None])
@pytest.mark.parametrize(
    ("prepare", "form", "action", "exit_code"),
    [
        (broken, {}, "failed", 70),
        (lambda *given, **how: SimpleNamespace(start=broken), {}, "unknown", 9),
        (broken, {"settable": broken, "is_read_back": True}, "failed", 70),
    ],
)
def test_step_that_meets_a_bug_is_not_left_open(
    current: Raw | None, prepare: Any, form: Raw, action: str, exit_code: int
) -> None:
    server: Any = Server(WRITER)
    vars(server.client).update(prepare=prepare, writes=[])
    step = step_of(current)
    applied = Job(server, step.with_(form=step.form._replace(**form))).do()
    assert (applied.action, applied.exit_code) == (action, exit_code)
    assert "a bug in qoder: ValueError: Oops." in applied.message


NEW = {**WRITER, "description": "New"}
THEIRS = {**WRITER, "name": "theirs"}
ALREADY = "note: writer (agent_1) was already changed as requested, by someone else"
WHAT = "what someone else changed in writer (agent_1):"
THEIR_NAME = '  ~ name: "writer" -> "theirs"'


@pytest.mark.parametrize(
    ("now", "fields", "outcome", "shown"),
    [
        (WRITER, {}, "open", []),
        ({**WRITER, "version": 4}, {}, "open", []),
        (NEW, {}, "done", [ALREADY]),
        ({**NEW, "name": "theirs"}, {}, "done", [ALREADY]),
        (NEW, UNSHOWN, "Rejected", ['  ~ description: "Old" -> "New"']),
        (NEW, {"body": {"description": "New", "system": "x"}}, "Rejected", ['  ~ description: "Old" -> "New"']),
        ({**WRITER, "description": " New"}, {}, "Rejected", ['  ~ description: "Old" -> " New"']),
        (THEIRS, {}, "Rejected", [THEIR_NAME]),
        ({**NEW, "archived_at": LATER}, {}, "CannotBe", []),
    ],
    ids=str,
)
def test_step_looks_again_before_it_writes(now: Raw, fields: Raw, outcome: str, shown: list[str]) -> None:
    server: Any = Server(now)
    job = Job(server, step_of(**fields))
    try:
        job._look_again()
        found = "open" if job.left else "done"
        assert job.found == now
    except QoderError as error:
        found = type(error).__name__
    what = [WHAT] if outcome == "Rejected" else []
    assert (found, server.lines) == (outcome, what + shown)


def test_step_of_an_old_version_shows_what_came_since() -> None:
    stale = Rejected("Stale.").with_(http_status=409)
    for newer, lines in (
        ({"version": 5, "name": "theirs"}, [THEIR_NAME]),
        ({"version": 5}, ["  nothing that shows"]),
        ({}, []),
        (None, []),
    ):
        server: Any = Server({**WRITER, **newer} if newer is not None else NoResponse("lost"))
        step = step_of(body={"description": "New", "version": 3}, origin=Origin(again=["qoder", "again"]))
        error: Any = Job(server, step)._explained(stale)
        assert server.lines == ([WHAT] if lines else []) + lines
        assert (error is stale) is not bool(lines)
        assert lines == [] or "in the meantime (version 3 was read, 5 is there)" in error.message
        assert lines == [] or error.next == ["qoder", "again"]
    server = Server({**WRITER, "version": 5})
    for other in (stale.with_(http_status=400), ApiError("Gone.")):  # which no version is the cause of
        assert Job(server, step)._explained(other) is other
    assert Job(server, step_of())._explained(stale) is stale
    overtaken = Overtaken("Changed.").with_(http_status=409, theirs=THEIRS)  # of which all is known
    assert Job(server, step)._explained(overtaken) is overtaken
    assert server.lines == [WHAT, THEIR_NAME]


GONE = NotFound("Gone.")
SHORT = {"id": "agent_1"}


@pytest.mark.parametrize(
    ("written", "read", "fields", "reads", "expected"),
    [
        (NEW, [NEW], {}, 1, ""),
        (NEW, [{**NEW, "name": "theirs"}], {}, 1, THEIR_NAME),
        (NEW, [{**NEW, "name": "theirs"}], {"current": None}, 1, ""),
        (NEW, [{**NEW, "name": "theirs"}], {"body": {"description": "New", "version": 3}}, 1, ""),
        (NEW, [{"id": "agent_1", "description": "New"}], {}, 1, ""),  # an answer may be short
        (NEW, [GONE, WRITER, NEW], {}, 3, ""),  # a replica lags
        (NEW, [WRITER], {}, 5, "reading it back still shows something else: description"),
        (SHORT, [WRITER], {}, 5, "reading it back still shows something else: description"),
        (WRITER, [WRITER], {}, 1, "the server stored something else: description"),
        (NEW, [{**WRITER, "updated_at": LATER}], {}, 5, "someone else has changed it since: description"),
        (without(NEW, "updated_at"), [{**WRITER, "updated_at": LATER}], {}, 5, "still shows something else"),
        (NEW, [without(WRITER, "updated_at")], {}, 5, "still shows something else"),
        (NEW, [NoResponse("lost")], {}, 1, "writer (agent_1) was changed, but could not be read back: lost"),
        (SHORT, [NoResponse("lost")], {}, 1, "the response does not show it, and it could not be read back: lost"),
        (SHORT, [NoResponse("lost")], {"current": None}, 1, "was created, but could not be read back: lost"),
    ],
    ids=str,
)
def test_step_reads_back_what_was_written(written: Raw, read: Any, fields: Raw, reads: int, expected: str) -> None:
    server: Any = Server(*read)
    stopped: Any = SimpleNamespace(is_open_or_done=True, result=None, unknown=OutcomeUnknown)
    job = Job(server, step_of(**fields))
    job.write = stopped
    try:
        applied = job._verified(written)
        text = applied.error.message if applied.error else " ".join(server.lines)
    except OutcomeUnknown as error:
        text = error.message
    assert (server.reads, server.clock.slept) == (reads, [0.5, 0.5, 1.0, 2.0][: reads - 1])
    assert expected in text if expected else text == ""
    assert (WHAT in server.lines) == ("since" in expected or expected == THEIR_NAME)
    assert ('  ~ description: "New" -> "Old"' in server.lines) == ("since" in expected)
