"""What a session's events tell, however they come: a `Story` of a run or of a turn, and the `Log` they come from."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from qoder_cli.base.errors import ApiError, Rejected, Unavailable
from qoder_cli.base.outcome import event_key
from qoder_cli.sessions.log import Log, dated
from qoder_cli.sessions.story import Story, read_story, turn_story
from tests.support.wire import FakeClock

Events = list[dict[str, Any]]

# Kinds of events, and what else they say.
KINDS: dict[str, dict[str, Any]] = {
    "message": {"type": "user.message"},
    "runs": {"type": "session.status_running"},
    "works": {"type": "agent.message"},
    "thread": {"type": "session.thread_status_idle"},
    "ends": {"type": "session.status_idle", "stop_reason": {"type": "end_turn"}},
    "cancelled": {"type": "session.status_idle", "stop_reason": {"type": "cancelled"}},
    "unexplained": {"type": "session.status_idle", "stop_reason": ""},
    "asks": {"type": "session.status_idle", "stop_reason": {"type": "requires_action"}},
    "half": {
        "type": "session.status_idle",
        "stop_reason": {"type": "requires_action", "event_ids": ["evt_9", 5]},
    },
    "odd": {"type": "session.status_running", "stop_reason": {"type": "requires_action"}},
    "reply": {"type": "user.tool_confirmation", "tool_use_id": "evt_9"},
    "terminated": {"type": "session.status_terminated"},
    "untyped": {},
}


def events(written: str) -> Events:
    """Return events that are written as a number, a kind and perhaps a second: `1 runs@5, 2 ends`."""
    found = []
    for each in filter(None, written.split(", ")):
        number, kind, second = *each.partition("@")[0].split(), each.partition("@")[2]
        at = {"processed_at": f"2026-06-14T08:54:{second:0>2}Z"} if second else {}
        found.append({"id": f"evt_{number}", **KINDS[kind], **at})
    return found


AFTER_9, AFTER_1, NOT_1 = {"after": ["evt_9"]}, {"after": ["evt_1"]}, {"before": ["evt_1"]}
# A run (None) or a turn, its events in portions; and what they tell.
STORIES: dict[str, tuple[dict[str, Any] | None, str, str]] = {
    "a message that no list shows": (AFTER_9, "1 ends, 2 runs, 3 ends", "completed, begins at 2, unclear"),
    "neither the message nor work": (AFTER_9, "1 ends", ""),
    "a message that has no type": (AFTER_1, "1 untyped, 2 runs, 3 works, 4 ends", "completed, begins at 1"),
    "something sent before it": ({}, "1 runs, 2 reply, 3 message, 4 works, 5 ends", "completed, begins at 1"),
    "something before it": ({}, "1 runs, 2 thread, 3 message, 4 works, 5 ends", "completed, begins at 1"),
    "two turns": ({}, "1 runs, 2 works, 3 ends, 4 message, 5 works, 6 ends", "completed, begins at 4"),
    "a message from before": (NOT_1, "1 message, 2 runs, 3 ends", "completed"),
    "told otherwise later": ({}, "1 message, 2 runs, 3 works, 4 ends | 4 cancelled", "completed, begins at 1"),
    "work before it, read twice": (
        {}, " | ".join(["1 runs, 2 works, 3 works, 4 works, 5 ends, 6 message"] * 2),
        "begins at 6, unclear, rests since 6",
    ),
    "work that shows late": (None, "1 works@10 | 2 ends@7 | 3 works@5", "completed"),
    "work without a time, after some": (None, "1 works@5 | 2 works", ""),
    "work after some without a time": (None, "1 works | 2 works@5", ""),
    "much work, then some without a time": ({}, "1 works@1, 2 works@2 | 3 works", ""),
    "much work without a time, then some": ({}, "1 works, 2 works | 3 works@5", ""),
    "work after a message that shows late": (
        {}, "1 works@1, 2 works@9 | 3 works@5 | 4 message@7, 5 ends@10", "completed, begins at 4",
    ),
    "an idle, work and a start in one second": (None, "1 ends@5 | 2 works@5 | 3 runs@5", ""),
    "an idle and a start in one second": (None, "1 ends@5, 2 runs@5", "unclear"),
    "an idle and a start a second later": (None, "1 ends@5, 2 runs@6", ""),
    "it asks for nothing that is named": (None, "1 runs, 2 asks", "asks at 2"),
    "it asks so, and something is answered": (None, "1 runs, 2 asks, 3 reply", ""),
    "it asks for what cannot be read, too": (None, "1 runs, 2 half, 3 reply", "asks at 2"),
    "it works for a reason to stop": (None, "1 odd", ""),
    "it rests for no reason": (None, "1 runs, 2 unexplained", "completed"),
    "terminated before any work": ({}, "1 message, 2 terminated", "failed, begins at 1, unclear"),
    "a message, and a reply to nothing": ({}, "1 message, 2 reply", "begins at 1, unclear, rests since 1"),
    "a run that works again after its first end": (None, "1 runs, 2 ends, 3 runs, 4 cancelled, 5 asks", "completed"),
    "a turn that asks once it has ended": ({}, "1 message, 2 works, 3 ends, 4 asks", "begins at 1, asks at 4"),
    "newest first, and a reply at no time": (None, "3 asks@6, 2 reply, 1 runs@5", "asks at 3"),
    "newest first, in one second": (None, "3 ends@5, 2 works@5, 1 runs@5", "completed"),
    "newest first, without times": (None, "3 ends, 2 works, 1 runs", "completed"),
    "a turn that works again, without times": ({}, "1 message, 2 runs, 3 works, 4 ends, 5 runs", "begins at 1"),
    "a message, and it asks at once": ({}, "1 message, 2 asks", "begins at 1, unclear, asks at 2"),
    "a turn without any event of the agent's own": ({}, "1 message, 2 runs, 3 ends", "completed, begins at 1"),
    "a message to an agent at work": ({}, "1 runs, 2 works, 3 message", "begins at 3, unclear"),
}  # fmt: skip


@pytest.mark.parametrize("name", STORIES)
def test_story_tells_of_its_turn_however_events_come(name: str) -> None:
    about, portions, expected = STORIES[name]
    story = Story() if about is None else turn_story(**about)
    for portion in portions.split(" | "):
        story.add(events(portion))
    status, unclear = story.ending and story.ending.status, "unclear" if story.judged.is_unclear else None
    rests, asks = story.unworked and story.unworked.key, story.asks and story.asks.key
    places = {"begins at": story.begins, "rests since": rests, "asks at": asks}
    begins, rests, asks = (key and f"{what} {key.removeprefix('evt_')}" for what, key in places.items())
    assert ", ".join(filter(None, (status, begins, unclear, rests, asks))) == expected
    assert all(story.events)


class Listed:
    """A list of events, page by page in each order; what is asked of it is noted."""

    def __init__(self, **pages: list[Any]) -> None:
        self.pages = pages
        self.asked: list[str] = []
        self.clock = FakeClock()

    def __call__(self, path: str, query: dict[str, Any], **how: Any) -> Iterator[dict[str, Any]]:
        self.asked.append(f"{query['order']} {query['after_id']}" if "after_id" in query else query["order"])
        pages = self.pages[query["order"]]
        for number, page in enumerate(pages, 1):
            if isinstance(page, ApiError):
                pages.remove(page)
                raise page
            self.asked.append(f"page {number}")
            yield {"data": page, "has_more": number < len(pages)}

    def log(self, **how: Any) -> Log:
        client: Any = SimpleNamespace(clock=self.clock, pages=self)
        return Log(client, "sess_1", **how)


def seconds(*ids: str) -> Events:
    """Return events whose ids begin with their seconds, if they have any."""
    times = [{"processed_at": f"2026-06-14T08:54:{id[:2]}Z"} if id[0].isdecimal() else {} for id in ids]
    return [{"id": id, "type": "agent.message"} | at for id, at in zip(ids, times, strict=True)]


# The pages of a list newest first, and oldest first; the portions that are read, and whether from both.
BACK: dict[str, tuple[str, str, str, bool]] = {
    "in order": ("09 08 | 03 01", "", "09 08 | 03 01", False),
    "pages that overlap": ("09 08 | 08 03", "", "09 08 | 03", False),
    "one page": ("01 09", "", "09 01", False),
    "one page, all in one second": ("05b 05a", "05a 05b", "05b 05a", True),
    "the last page rises": ("09 08 | 10 03", "01 03 08 09 10", "09 08 | 10 03 01", True),
    "one page, half without times": ("x 05", "05 x", "x 05", True),
    "a page rises in between": ("09 10 03 | 02", "02 03 09 10", "10 09 03 02", True),
}


@pytest.mark.parametrize("name", BACK)
def test_run_logs_tail_trusts_the_order_of_a_list_while_times_confirm_it(name: str) -> None:
    newest, oldest, expected, is_read_anew = BACK[name]
    desc, asc = ([seconds(*page.split()) for page in pages.split(" | ")] for pages in (newest, oldest))
    listed = Listed(desc=desc, asc=asc)
    assert " | ".join(" ".join(map(event_key, portion)) for portion in listed.log().back()) == expected
    assert ("asc" in listed.asked) == is_read_anew


@pytest.mark.parametrize(
    ("listed", "read", "expected"),
    [("a b", "a", "a b"), ("b a", "a", "a b"), ("a b c", "a c", "a b c"), ("b a c", "a", "b a c"), ("b a", "", "b a")],
)
def test_run_wait_takes_what_is_new_for_later_where_times_do_not_tell(listed: str, read: str, expected: str) -> None:
    found = dated(seconds(*listed.split()), read.split())
    assert [event["id"] for event, _ in found] == expected.split()


BAD = [Rejected("Bad cursor.", http_status=status) for status in (400, 409, 410, 422)]
BUSY = Unavailable("Busy.", http_status=503)


@pytest.mark.parametrize(
    ("is_first", "error", "asked"),
    [*((False, bad, "asc") for bad in BAD), (False, BUSY, "asc evt_0"), (True, BAD[0], "asc evt_0")],
)
def test_run_logs_follow_reads_all_again_where_its_cursor_is_refused(
    is_first: bool, error: ApiError, asked: str
) -> None:
    listed = Listed(asc=[events("0 runs"), error] if is_first else [events("0 runs")])
    log = listed.log()
    if not is_first:
        list(log.on())
        listed.pages["asc"].insert(0, error)
    with pytest.raises(type(error)):
        list(log.on())
    assert [event for new in log.on() for event in new] == []
    assert listed.asked[-2:] == [asked, "page 1"]


@pytest.mark.parametrize(
    "newest",
    [
        *("9 ends@9, 8 works@8 | 7 works@7 | 1 message@1", "9 ends@9, 8 works@8, 2 ends@2, 1 message@1 | 0 works@0"),
        "9 ends@9, 1 message@1 | 0 works@0",
    ],
)
def test_session_wait_reads_a_long_turn_back_only_until_it_is_clear(newest: str) -> None:
    listed = Listed(asc=[events("1 message@1, 9 ends@9")], desc=list(map(events, newest.split(" | "))))
    story = turn_story()
    read_story(listed.log(), story, types=["user.message", "session.status_idle"])
    assert {story.ending is not None, not story.judged.is_unclear} == {"8 works" in newest}
    assert listed.asked[2:] == ["desc", "page 1"]


@pytest.mark.parametrize(
    ("first", "pages"),
    [("1 runs@1, 2 ends@2", 1), ("1 runs@2, 2 ends@2", 2), ("1 runs, 2 ends", 2), ("1 runs@1, 2 works@2", 2)],
)
def test_run_get_reads_no_further_than_an_ending_where_times_bear_out_the_order(first: str, pages: int) -> None:
    listed = Listed(asc=[events(first), events("3 runs@3")])
    read_story(listed.log(), Story())
    assert listed.asked == ["asc", "page 1", "page 2"][: 1 + pages]
    read_story(listed.log(), Story(), whole=True)
    assert listed.asked[1 + pages :] == ["asc", "page 1", "page 2"]
