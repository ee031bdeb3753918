"""What a change of a thing concludes from its answer, and from reading the thing once more."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from qoder_cli.base.errors import NoResponse, QoderError, Rejected
from qoder_cli.base.marks import KEY
from qoder_cli.http.write import Meaning
from qoder_cli.nouns.edits.difference import Form
from qoder_cli.nouns.edits.forms import form_of, form_with
from qoder_cli.nouns.edits.thing import target_of
from qoder_cli.nouns.edits.update import Update
from qoder_cli.nouns.table import NOUNS
from tests.support.answers import Server

Raw = dict[str, Any]
AT, LATER = "2027-01-15T08:00:00Z", "2027-01-15T08:00:09Z"
OLD: Raw = {"id": "agent_1", "name": "writer", "description": "Old", "version": 3, "updated_at": AT, "metadata": {}}
NEW = {"description": "New", "version": 4, "updated_at": LATER}
UNDATED = {"version": None, "updated_at": None}
OURS, THEIRS = {KEY: "ours"}, {KEY: "theirs"}
AGENT, MARKED = form_of(NOUNS["agent"]), form_with(("metadata",))
# What someone else did.
OVERTAKEN = "Overtaken: someone else changed agent_1 in the meantime; "
UNSEEN = f"{OVERTAKEN}our change was not seen, and not sent again"
TOO = f"{OVERTAKEN}our change is there, too"
UNDATED_NOW = "OutcomeUnknown: it could not be read back: the response does not show which version of agent_1 it is"


def changing(now: Raw, before: Raw, form: Form, *, is_shown: bool) -> tuple[Update, Any, Any]:
    """Return the change of a description, or of a secret, its write, and its server, where the thing is `now` so."""
    server: Any = Server(now)
    server.client.prepare = lambda *request, **how: request
    server.client.on_server_clock, server.client.progress = (lambda moment: None), server.progress
    body = {"description": "New"} if is_shown else {"token": "secret"}
    update = Update(server, target_of(NOUNS["agent"], "agent_1"), before, body, form, is_shown=is_shown)
    write = update.write()
    if mark := update.body.get("metadata", {}).get(KEY):  # a word that a row can have
        now["metadata"] = {KEY: mark} if now["metadata"] == OURS else now["metadata"]
    return update, write, server


def outcome(call: Callable[[], Any]) -> str:
    """Return what a call came to, in words."""
    try:
        return "settled" if call() else "as before"
    except QoderError as error:
        return f"{type(error).__name__}: {error.message}"


@pytest.mark.parametrize(
    ("now", "before", "expected"),
    [
        ({}, {}, "as before"),
        (NEW, {}, "settled"),
        ({**NEW, "version": 5}, {}, TOO),
        ({**NEW, "name": "poet"}, {}, TOO),
        ({**NEW, "version": 3}, {}, "settled"),
        ({**NEW, **UNDATED}, {}, "settled"),
        ({**NEW, "archived_at": AT}, {}, f"CannotBe: agent agent_1 was archived on {AT}; it cannot be changed"),
        ({"version": 4}, {}, UNSEEN),
        ({"updated_at": LATER}, {}, UNSEEN),
        ({"name": "poet"}, {}, UNSEEN),
        ({"description": "Theirs"}, {}, UNSEEN),
        ({"version": None}, {}, "as before"),
        ({"version": None, "name": "poet"}, {}, UNDATED_NOW),
        ({"updated_at": None}, {}, UNDATED_NOW),
        ({}, UNDATED, "as before"),
        ({"name": "poet"}, UNDATED, UNSEEN),
        ({"metadata": THEIRS}, {}, "as before"),  # what they changed would show
    ],
    ids=str,
)
def test_update_whose_answer_was_lost_is_settled_by_what_the_thing_shows(now: Raw, before: Raw, expected: str) -> None:
    before = {**OLD, **before}
    _, write, server = changing({**before, **now}, before, AGENT, is_shown=True)
    write.request()
    assert outcome(lambda: write.recovery.settle(NoResponse("lost"), Meaning.DOUBTFUL)) == expected
    reads = server.reads
    if expected == "as before":
        write.request()
    assert server.reads == reads  # what was just read is not read once more


@pytest.mark.parametrize(
    ("now", "is_shown", "expected"),
    [
        ({}, True, "as before"),
        (NEW, True, "as before"),  # ours, which arrived late
        ({**NEW, "name": "poet"}, True, "as before"),  # theirs is kept, and ours is there
        ({"version": 4}, True, UNSEEN),
        ({"updated_at": LATER}, True, "as before"),  # a time may be that of something that cannot be set
        ({"name": "poet"}, True, UNSEEN),
        ({**UNDATED, "name": "poet"}, True, UNSEEN),
        ({}, False, "as before"),
        ({"updated_at": LATER}, False, UNSEEN),
        ({"metadata": THEIRS}, False, UNSEEN),
        ({"metadata": OURS, "updated_at": LATER}, False, "as before"),
    ],
    ids=str,
)
def test_update_is_sent_again_only_where_nobody_has_written(now: Raw, is_shown: bool, expected: str) -> None:
    _, write, server = changing({**OLD, **now}, OLD, AGENT if is_shown else MARKED, is_shown=is_shown)
    write.request()
    assert server.reads == 0  # it was read before
    assert outcome(lambda: write.request() and None) == expected
    assert server.reads == 1


@pytest.mark.parametrize(("may_have_acted", "expected"), [(False, "as before"), (True, UNSEEN)])
def test_update_that_is_refused_tells_of_others_where_it_may_have_acted(may_have_acted: bool, expected: str) -> None:
    _, write, _ = changing({**OLD, "name": "poet"}, OLD, AGENT, is_shown=True)
    sent: Any = SimpleNamespace(may_have_acted=may_have_acted)
    assert outcome(lambda: write.recovery.already(Rejected("Stale.").with_(http_status=409), sent)) == expected
