"""The lists of `qoder sandbox`: each row once on whatever pages, forwards and back, and what filters them."""

from fractions import Fraction
from itertools import chain
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from qoder_cli.sandbox.wire import GENERATIONS, Generation
from tests.conftest import examples
from tests.sandbox.desk import Desk
from tests.support.inprocess import seed_runs

LISTS = ("/deployment_runs", "/deployments/dep_demo/runs", "/sessions", "/sessions/{session}/events", "/vaults")


def filled(generation: Generation, path: str, count: int) -> tuple[Desk, str, list[str]]:
    """Return a desk at a list of so many rows, its path, and their ids in order."""
    desk = Desk(generation)
    if path == "/vaults":
        for n in range(count):
            desk.made("/vaults", display_name=f"v{n}")
    else:
        seed_runs(desk.world, count)
    path = path.format(session=next(iter(desk.world.sessions), "sess_x"))
    return desk, path, desk.ids(path, limit=100)


@examples(Fraction(1, 2))
@given(
    st.sampled_from(GENERATIONS),
    st.sampled_from(LISTS),
    st.integers(1, 12),
    st.integers(1, 5),
    st.integers(0),
    st.data(),
)
def test_sandbox_shows_each_row_once_on_whatever_pages(
    generation: Generation, path: str, count: int, limit: int, place: int, data: st.DataObject
) -> None:
    desk, path, ids = filled(generation, path, count)
    begin = place % len(ids)

    def walked(first: str, further: str, at: str) -> list[list[str]]:
        """Return the ids page by page, from behind a row on."""
        pages: list[list[str]] = []
        query: dict[str, Any] = {first: ids[begin]}
        for _ in ids:  # a cursor that leads in circles must end the test
            page = desk.get(path, limit=limit, **query)
            pages.append([row["id"] for row in page["data"]])
            ends = pages[-1][:1] + pages[-1][-1:] or [None, None]  # type: ignore[list-item]  # of an empty page
            assert [page["first_id"], page["last_id"]] == ends
            assert ("next_page" in page) == (generation == "current")
            if not page["has_more"]:
                assert page.get("next_page") is None
                break
            query = {"page": page["next_page"]} if further == "page" else {further: page[at]}
        return pages

    further = data.draw(st.sampled_from(("after_id", "page") if generation == "current" else ("after_id",)))
    on = walked("after_id", further, "last_id")
    assert list(chain(*on)) == ids[begin + 1 :]
    further = "page" if further == "page" else "before_id"  # a page says by itself where it leads
    back = walked("before_id", further, "first_id")
    assert list(chain(*reversed(back))) == ids[:begin]
    assert all(len(page) == limit for page in (*on[:-1], *back[:-1]))


def test_sandbox_lists_twenty_rows_unless_asked_newest_first(desk: Desk) -> None:
    made = [run.id for run in seed_runs(desk.world, 30)][::-1]
    assert desk.ids("/deployment_runs") == made[:20]
    assert desk.ids("/deployment_runs", limit=100) == made
    assert desk.ids("/deployments/dep_demo/runs", limit=25) == made[:25]


def test_sandbox_on_an_older_generation_ignores_pages(legacy: Desk) -> None:
    seed_runs(legacy.world, 5)
    first = legacy.get("/deployment_runs", limit=2)
    assert legacy.get("/deployment_runs", limit=2, page=first["last_id"]) == first


def test_sandbox_filters_runs_as_each_generation_can(desk: Desk) -> None:
    done, failed = desk.run("dep_demo")["id"], desk.run("dep_nostart")["id"]
    desk.clock.sleep(60)
    fired = desk.world.start("dep_demo", trigger="schedule").id
    every, is_current = [fired, failed, done], desk.generation == "current"
    of_demo, of_all = "/deployments/dep_demo/runs", "/deployment_runs"
    now = {"created_at[gte]": "2026-06-14T08:55:06Z", "created_at[lt]": "2026-06-14T08:55:07Z"}
    expected: list[tuple[str, dict[str, str], list[str]]] = [
        (of_all, {"status": "failed"}, every if is_current else [failed]),  # what is not known is ignored
        (of_all, {"has_error": "true"}, [failed]),
        (of_all, {"has_error": "false"}, [fired, done]),
        (of_all, {"trigger_type": "schedule"}, [fired]),
        (of_all, {"deployment_id": "dep_demo"}, [fired, done]),
        (of_all, {"deployment_id": "dep_none"}, []),
        (of_all, now, [fired] if is_current else every),
        (of_demo, {"triggered_after": "2026-06-14T08:55:00Z"}, [fired]),
        (of_demo, {"triggered_before": "2026-06-14T08:55:00Z"}, [done]),
    ]
    assert [(path, query, desk.ids(path, **query)) for path, query, _ in expected] == expected


def test_sandbox_filters_sessions(desk: Desk) -> None:
    done = desk.run("dep_demo")["session_id"]
    desk.clock.sleep(10)
    going = desk.run("dep_minute")["session_id"]
    desk.clock.sleep(1)
    asks = desk.made("/sessions", agent="agent_ask")
    at = asks["created_at"]
    expected: list[tuple[dict[str, str], list[str]]] = [
        ({}, [asks["id"], going, done]),
        ({"order": "asc"}, [done, going, asks["id"]]),
        ({"deployment_id": "dep_demo"}, [done]),
        ({"deployment_id": "dep_demo", "statuses[]": "idle"}, [done]),
        ({"statuses": "running,terminated"}, [going]),
        ({"agent_id": "agent_ask"}, [asks["id"]]),
        ({"created_at[gte]": at}, [asks["id"]]),  # as it shows it, to the digit
        ({"created_at[gt]": at}, []),
    ]
    assert [(query, desk.ids("/sessions", **query)) for query, _ in expected] == expected


def test_sandbox_filters_events_and_turns_them_around(desk: Desk) -> None:
    run = desk.run("dep_fail")
    desk.clock.sleep(10)
    events = desk.events(run)
    asked = "session.status_idle,session.error,session.status_running,nonsense"
    wanted = ["session.status_running", "session.error", "session.error", "session.status_idle"]
    for query in ({"types": asked}, {"types[]": asked.split(",")}, {"types": asked.split(",")}):
        assert [event["type"] for event in desk.events(run, **query)] == wanted
    assert desk.events(run, order="desc") == events[::-1]
    late = ["span.model_request_end", "session.thread_status_idle", "session.status_idle"]
    since = {"created_at[gte]": "2026-06-14T08:54:09.1Z"}
    assert [event["type"] for event in desk.events(run, **since)] == late
