"""How a run ended: what the run says, and each row of help/pages/api.md#stop-reasons, as cases."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qoder_cli.base.errors import Exit
from qoder_cli.base.model import Run
from qoder_cli.base.outcome import (
    SESSION_DELETED,
    Ending,
    SessionStory,
    Standing,
    apply_ending,
    settle,
    standing,
    verdict,
)

RUN = {
    "id": "drun_1",
    "type": "deployment_run",
    "deployment_id": "dep_1",
    "created_at": "2026-06-14T08:54:06Z",
}


def running() -> dict[str, Any]:
    return {"type": "session.status_running"}


def idle(reason: Any = "end_turn") -> dict[str, Any]:
    return {"type": "session.status_idle", "stop_reason": reason}


def told(events: list[dict[str, Any]], *, with_ids: bool = True) -> list[dict[str, Any]]:
    """Return events as a list has them: one a second, each with an id of its own."""
    ids = [{"id": f"evt_{n}"} if with_ids else {} for n in range(len(events))]
    times = [{"processed_at": f"2026-06-14T08:54:{7 + n:02}Z"} for n in range(len(events))]
    return [{**id, **event, **at} for id, event, at in zip(ids, events, times, strict=True)]


def error(retry_status: Any, kind: str = "billing_error") -> dict[str, Any]:
    return {"type": "session.error", "error": {"type": kind, "message": "No.", "retry_status": retry_status}}


MESSAGE = {"type": "agent.message", "content": []}
TERMINATED = {"type": "session.status_terminated"}
DELETED = {"type": "session.deleted"}

# (what happened in the session, status, error type); a status of None with no error type means: no ending yet
STORIES = {
    "nothing yet": ([], None, None),
    "running": ([running()], None, None),
    "idle before work": ([idle()], None, None),
    "idle before work, stop_sequence": ([idle({"type": "stop_sequence"})], None, None),
    "idle before work, no reason": ([idle(None)], None, None),
    "idle before work, empty reason": ([idle("")], None, None),
    "initial idle, then running": ([idle(), running()], None, None),
    "initial idle, work, idle": ([idle(), running(), idle({"type": "end_turn"})], "completed", None),
    "plain string reason": ([running(), idle("end_turn")], "completed", None),
    "stop_sequence after work": ([running(), idle({"type": "stop_sequence"})], "completed", None),
    "an agent event is work": ([MESSAGE, idle()], "completed", None),
    "no reason after work": ([running(), idle(None)], "completed", None),
    "empty object as reason": ([running(), idle({})], "completed", None),
    "empty type as reason": ([running(), idle({"type": ""})], "completed", None),
    "no reason, exhausted error": (
        [running(), error({"type": "exhausted"}), idle(None)],
        "failed",
        "billing_error",
    ),
    "no reason, terminal error as string": (
        [running(), error("terminal"), idle("")],
        "failed",
        "billing_error",
    ),
    "no reason, retrying error": ([running(), error({"type": "retrying"}), idle(None)], "completed", None),
    "exhausted before the last running": (
        [running(), error({"type": "exhausted"}), running(), idle(None)],
        "completed",
        None,
    ),
    "end_turn beats an exhausted error": (
        [running(), error({"type": "exhausted"}), idle()],
        "completed",
        None,
    ),
    "budget": ([running(), idle({"type": "budget_reached"})], "failed", "budget_reached"),
    "budget before work": ([idle({"type": "budget_reached"})], "failed", "budget_reached"),
    "retries": ([running(), idle({"type": "retries_exhausted"})], "failed", "retries_exhausted"),
    "cancelled": ([running(), idle({"type": "cancelled"})], "failed", "cancelled"),
    "an unknown reason": ([running(), idle({"type": "moon_phase"})], "failed", "moon_phase"),
    "an unknown plain reason": ([running(), idle("moon_phase")], "failed", "moon_phase"),
    "requires_action is last": ([running(), idle({"type": "requires_action"})], None, None),
    "requires_action, answered": ([running(), idle("requires_action"), running()], None, None),
    "requires_action, answered, done": (
        [running(), idle("requires_action"), running(), idle()],
        "completed",
        None,
    ),
    "requires_action again": (
        [running(), idle("requires_action"), idle("requires_action")],
        None,
        None,
    ),
    "requires_action, then cancelled": (
        [running(), idle("requires_action"), idle("cancelled")],
        "failed",
        "cancelled",
    ),
    "requires_action before any running": ([idle("requires_action")], None, None),
    **{
        f"a reason that cannot be read: {reason}": ([running(), idle(reason)], "failed", "unreadable_stop_reason")
        for reason in (7, 0, False, ["end_turn"], [], {"kind": "end_turn"}, {"type": 7}, {"type": ["end_turn"]})
    },
    "null as type of the reason": ([running(), idle({"type": None})], "completed", None),
    "retrying ends nothing": ([running(), error({"type": "retrying"})], None, None),
    "an exhausted error alone": ([running(), error({"type": "exhausted"})], None, None),
    "terminated": ([running(), TERMINATED], "failed", "session_terminated"),
    "terminated before work": ([TERMINATED], "failed", "session_terminated"),
    "deleted before an ending": ([running(), DELETED], None, "session_deleted"),
    "deleted after the ending": ([running(), idle(), DELETED], "completed", None),
    "chats on afterwards": ([running(), idle(), running(), idle("budget_reached")], "completed", None),
    "terminated afterwards": ([running(), idle("budget_reached"), TERMINATED], "failed", "budget_reached"),
    "other events say nothing": ([{"type": "span.model_request_start"}, {"type": None}, {}], None, None),
    "an old error form": (
        [running(), {"type": "session.error", "error": "boom", "code": "E1"}, idle(None)],
        "completed",
        None,
    ),
}


@pytest.mark.parametrize(("events", "status", "kind"), STORIES.values(), ids=STORIES.keys())
def test_the_first_ending_of_a_session(events: list[Any], status: str | None, kind: str | None) -> None:
    ending = SessionStory().tell(told(events)).ending
    if status is None and kind is None:
        assert ending is None
    else:
        assert ending is not None
        assert ending.status == status
        assert (ending.error or {}).get("type") == kind


@pytest.mark.parametrize(("events", "status", "kind"), STORIES.values(), ids=STORIES.keys())
def test_it_does_not_matter_in_which_portions_the_events_come(events: list[Any], status: Any, kind: Any) -> None:
    story = SessionStory()
    for event in told(events):
        story.tell([event])
    assert story.ending == SessionStory().tell(told(events)).ending


@given(
    kinds=st.lists(
        st.sampled_from([running(), idle(), idle("x"), idle(None), idle("requires_action"), error("exhausted")])
        | st.sampled_from([TERMINATED, DELETED, MESSAGE]),
        max_size=12,
    ),
    with_ids=st.booleans(),
    data=st.data(),
)
def test_a_story_does_not_depend_on_how_it_is_told(kinds: list[Any], with_ids: bool, data: st.DataObject) -> None:
    """In pages of any size, in any order, turned around, overlapping, again and again, with and without ids."""
    events = told(kinds, with_ids=with_ids)
    straight = SessionStory().tell(events)
    places = st.lists(st.integers(0, len(events)), min_size=2, max_size=2).map(sorted)
    pages = [events[first:last] for first, last in data.draw(st.lists(places, max_size=8))]
    pages += [[event] for event in data.draw(st.permutations(events))]  # whatever came before, all of it is told
    pages = [page[::-1] if data.draw(st.booleans()) else page for page in data.draw(st.permutations(pages))]
    story = SessionStory()
    for page in pages:
        story.tell(page)
    assert (story.ending, story.asks, story.rest, story.judged.worked, story.judged.is_unclear) == (
        straight.ending,
        straight.asks,
        straight.rest,
        straight.judged.worked,
        straight.judged.is_unclear,
    )


def test_what_is_older_than_the_run_is_somebody_else_s() -> None:
    events = told([running(), idle(), running(), idle("cancelled")])
    begins = 1781427249.0  # 08:54:09 UTC, the time of the second running
    assert (SessionStory(since=begins).tell(events).ending or Ending("x")).status == "failed"
    assert SessionStory(since=begins).tell(events).judged.worked  # what happened just then is the run's
    assert SessionStory(since=begins).tell(events[:2]).ending is None
    assert SessionStory(since=begins).tell(events[:2]).judged.worked is False


def test_where_no_times_tell_the_order_is_that_of_the_list() -> None:
    events = [{**event, "id": f"evt_{n}"} for n, event in enumerate([idle(), running(), idle("cancelled"), running()])]
    assert (SessionStory().tell(events).ending or Ending("x")).status == "failed"


def test_times_of_whole_seconds_leave_the_order_of_the_list_also_where_that_is_newest_first() -> None:
    at = "2026-06-14T08:54:0{}Z"
    events = [
        {**event, "id": f"evt_{n}", "processed_at": at.format(second)}
        for n, (event, second) in enumerate([(idle(), 6), (running(), 7), (error("exhausted"), 8), (idle(None), 8)])
    ]
    for page in (events, events[::-1]):
        assert (SessionStory().tell(page).ending or Ending("x")).status == "failed"


def test_what_an_agent_waits_for_is_told_while_nothing_follows() -> None:
    waits = {"type": "requires_action", "event_ids": ["evt_a", 7, "evt_b"]}
    events = told([running(), idle(waits), MESSAGE, running(), idle("requires_action")])
    asks = SessionStory().tell(events[:3]).asks
    assert asks is not None
    assert asks.event_ids == ["evt_a", "evt_b"]
    assert SessionStory().tell(events[:4]).asks is None
    again = SessionStory().tell(events).asks
    assert again is not None
    assert again.event_ids == []


@pytest.mark.parametrize(
    ("events", "status"),
    [
        ([running(), idle()], "completed"),
        ([running(), idle(), running()], None),
        ([running(), idle(), running(), idle()], "completed"),
        ([running(), idle(), running(), idle("cancelled")], "failed"),
        ([running(), idle("cancelled"), running(), idle()], "failed"),
        ([running(), idle(), idle("requires_action")], None),
        ([running(), idle(), error("retrying")], "completed"),
        ([idle()], None),
    ],
)
def test_what_a_session_rests_at(events: list[Any], status: str | None) -> None:
    rest = SessionStory().tell(told(events)).rest
    assert (rest and rest.ending.status) == status


@given(
    st.lists(
        st.sampled_from([running(), idle(), idle("x"), error("exhausted"), TERMINATED, DELETED, MESSAGE]), max_size=40
    )
)
def test_nothing_that_happens_later_changes_an_ending(later: list[Any]) -> None:
    for first in ([running(), idle()], [idle("budget_reached")], [TERMINATED]):
        assert SessionStory().tell(told(first + later)).ending == SessionStory().tell(told(first)).ending


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from(["type", "stop_reason", "error", "retry_status"]), inner)
        ),
    )
)
def test_no_event_however_odd_breaks_the_reading(event: Any) -> None:
    SessionStory().tell(
        [
            event,
            {"type": "session.status_idle", "stop_reason": event},
            {"type": "session.error", "error": event},
        ]
    )


RUNS = {
    "completed": ({"status": "completed"}, Standing.ENDED, Exit.OK),
    "failed": ({"status": "failed", "error": {"type": "x", "message": "y"}}, Standing.ENDED, Exit.RUN_FAILED),
    "skipped": ({"status": "skipped"}, Standing.ENDED, Exit.RUN_SKIPPED),
    "pending": ({"status": "pending"}, Standing.GOING, Exit.NOT_YET),
    "running": ({"status": "running", "session_id": "sess_1"}, Standing.GOING, Exit.NOT_YET),
    "unknown": ({"status": "paused?"}, Standing.GOING, Exit.NOT_YET),
    "unknown and ended": (
        {"status": "cancelled", "completed_at": "2026-06-14T08:55:00Z"},
        Standing.ENDED,
        Exit.RUN_FAILED,
    ),
    "never started": ({"error": {"type": "x"}, "session_id": None}, Standing.ENDED, Exit.RUN_FAILED),
    "an error in words": ({"error": "No capacity.", "session_id": None}, Standing.ENDED, Exit.RUN_FAILED),
    "an error in words, with a session": ({"error": "Boom.", "session_id": "s"}, Standing.ENDED, Exit.RUN_FAILED),
    "an empty error": ({"error": {}, "session_id": None}, Standing.HALF_WRITTEN, Exit.NOT_YET),
    "an empty error, with a session": ({"error": {}, "session_id": "s"}, Standing.ASK_SESSION, Exit.NOT_YET),
    "session": ({"session_id": "sess_1", "error": None}, Standing.ASK_SESSION, Exit.NOT_YET),
    "half-written": ({"session_id": None, "error": None}, Standing.HALF_WRITTEN, Exit.NOT_YET),
    "null status": ({"status": None, "session_id": "sess_1"}, Standing.ASK_SESSION, Exit.NOT_YET),
    "status of a wrong type": ({"status": 7, "session_id": "sess_1"}, Standing.ASK_SESSION, Exit.NOT_YET),
}


@pytest.mark.parametrize(("fields", "where", "code"), RUNS.values(), ids=RUNS.keys())
def test_what_a_run_object_alone_says(fields: dict[str, Any], where: Standing, code: Exit) -> None:
    run = Run({**RUN, **fields})
    assert standing(run) is where
    assert verdict(settle(run)) is code


def test_a_final_status_is_never_touched() -> None:
    run = Run({**RUN, "status": "completed", "duration_ms": 17268})
    assert settle(run).as_json() == {**RUN, "status": "completed", "duration_ms": 17268}


def test_what_is_filled_in_is_named() -> None:
    run = apply_ending(
        Run({**RUN, "session_id": "sess_1"}),
        Ending("completed", "2026-06-14T08:54:09.5Z"),
        usage={"total_credits": 1},
    )
    assert run.as_json() == {
        **RUN,
        "session_id": "sess_1",
        "status": "completed",
        "completed_at": "2026-06-14T08:54:09.5Z",
        "duration_ms": 3500,
        "usage": {"total_credits": 1},
        "derived": ["status", "completed_at", "duration_ms", "usage"],
    }


def test_a_deleted_session_gives_no_status_and_exit_9() -> None:
    ending = SessionStory().tell([running(), DELETED]).ending
    assert ending is not None
    run = apply_ending(Run({**RUN, "session_id": "sess_1"}), ending)
    assert "status" not in run.as_json()
    assert verdict(run) is Exit.OUTCOME_UNKNOWN


def test_a_deleted_session_takes_a_status_away_that_was_not_final() -> None:
    run = apply_ending(Run({**RUN, "session_id": "sess_1", "status": "running"}), SESSION_DELETED)
    assert "status" not in run.as_json()
    assert run.as_json()["derived"] == ["status", "error"]
    assert (run.status, verdict(run)) == (None, Exit.OUTCOME_UNKNOWN)


def examples() -> list[dict[str, Any]]:
    path = Path(__file__).parents[1] / "support" / "examples.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    "example", [e for e in examples() if e["variant"].startswith("run")], ids=lambda e: e["variant"]
)
def test_every_example_of_a_run_reads_as_its_variant_says(example: dict[str, Any]) -> None:
    run = settle(Run(example["json"]))
    words = {Exit.OK: "completed", Exit.RUN_FAILED: "failed", Exit.RUN_SKIPPED: "skipped"}
    expected = next((word for word in words.values() if word in example["variant"]), None)
    assert words.get(verdict(run)) == expected


NO_ERRORS: list[Any] = [
    None,
    {},
    "",
    " ",
    [],
    False,
    0,
    {"type": None},
    {"type": "", "message": ""},
    {"code": 7},
    ["x"],
    True,
    5,
]
ERRORS: list[Any] = [{"type": "x"}, {"message": "No."}, "No.", {"type": 7}]


@pytest.mark.parametrize("error", NO_ERRORS, ids=repr)
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"session_id": "sess_1"}, Standing.ASK_SESSION),
        ({}, Standing.HALF_WRITTEN),
        ({"status": "running"}, Standing.GOING),
    ],
)
def test_an_error_that_says_nothing_is_none(error: Any, fields: dict[str, Any], expected: Standing) -> None:
    run = Run({**RUN, **fields, "error": error})
    assert (standing(run), run.error_type, run.error_message) == (expected, None, None)


@pytest.mark.parametrize("error", ERRORS, ids=repr)
@pytest.mark.parametrize("fields", [{"session_id": "sess_1"}, {}])
def test_an_error_with_a_type_or_a_message_is_a_failure(error: Any, fields: dict[str, Any]) -> None:
    run = Run({**RUN, **fields, "error": error})
    assert (standing(run), verdict(settle(run)), bool(run.error_type)) == (Standing.ENDED, Exit.RUN_FAILED, True)
