"""Ids as a table shows them, shortened: typed with their `…`, they are the ids that were seen on this machine."""

from typing import Any

import pytest

from tests.conftest import Qoder
from tests.support.wire import page

RUN, OTHER = f"drun_{'019ec5a' + 'a' * 25}", f"drun_{'019ec5b' + 'b' * 25}"
SESSION, DEPLOYMENT, AGENT = (f"{kind}_{'019ec5' + 'c' * 26}" for kind in ("sess", "dep", "agent"))
DONE = {"status": "completed", "deployment_id": DEPLOYMENT, "session_id": SESSION}


def run(id: str) -> dict[str, Any]:
    return {"id": id, "type": "deployment_run", **DONE, "created_at": "2027-01-01T00:00:00Z"}


@pytest.fixture
def shown(qoder: Qoder, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the words of a table of two runs that a terminal showed, most of them shortened."""
    monkeypatch.setenv("COLUMNS", "50")
    qoder.wire.on("GET", "/deployment_runs", page(run(RUN), run(OTHER)))
    ran = qoder("run", "list", "--columns", "id,session,deployment", "-o", "pretty")
    return ran.out.split()[3:9]


def test_run_get_takes_the_id_that_a_table_shortened(qoder: Qoder, shown: list[str]) -> None:
    assert shown[0].endswith("…")
    qoder.wire.on("GET", f"/deployment_runs/{RUN}", run(RUN))
    ran = qoder("run", "get", shown[0], "-q")
    assert (ran.out, ran.err) == (f"{RUN}\n", f"{shown[0]} is {RUN}\n")


def test_session_and_deployment_of_a_table_are_found_though_no_list_had_them(qoder: Qoder, shown: list[str]) -> None:
    qoder.wire.on("GET", f"/deployments/{DEPLOYMENT}/runs", page(run(OTHER)))
    assert qoder("run", "list", "--deployment", shown[2], "-q").out == f"{OTHER}\n"
    qoder.wire.on("GET", f"/sessions/{SESSION}/resources", page())
    assert qoder("session", "files", shown[1], "-q").code == 0


def test_shortened_id_may_be_piped_in_and_followed_by_last(qoder: Qoder, shown: list[str]) -> None:
    qoder.wire.on("GET", f"/deployments/{DEPLOYMENT}/runs", page(run(OTHER)))
    qoder.wire.on("GET", f"/deployment_runs/{OTHER}", run(OTHER), repeat=True)
    assert qoder("run", "get", f"{shown[2]}@last", "-q").out == f"{OTHER}\n"
    qoder.stdin = f"{shown[3]}\n"
    assert qoder("run", "wait", "-", "-q").out == f"{OTHER}\n"


def test_shortened_id_that_fits_two_is_refused_with_both(qoder: Qoder, shown: list[str]) -> None:
    requests = len(qoder.wire.requests)
    ran = qoder("run", "get", "drun_019ec5…")
    assert (ran.code, ran.out, len(qoder.wire.requests)) == (2, "", requests)
    assert f"drun_019ec5… fits 2 ids: {RUN}, {OTHER}" in ran.err


@pytest.mark.parametrize("way", ["typed", "piped"])
def test_shortened_id_is_refused_where_yes_leaves_nobody_to_look_at_the_whole_one(
    qoder: Qoder, shown: list[str], way: str
) -> None:
    requests, qoder.stdin = len(qoder.wire.requests), f"{shown[0]}\n"
    ran = qoder("run", "cancel", shown[0] if way == "typed" else "-", "--yes")
    assert (ran.code, ran.out, len(qoder.wire.requests)) == (2, "", requests)
    assert f"{shown[0]} is a shortened id" in ran.err


@pytest.mark.parametrize("dots", ["…", "..."])
def test_shortened_id_of_an_agent_is_taken_without_its_version_and_with_three_dots(
    qoder: Qoder, monkeypatch: pytest.MonkeyPatch, dots: str
) -> None:
    monkeypatch.setenv("COLUMNS", "24")
    agents = [f"agent_{n}{'0' * 25}" for n in ("1", "2")]
    rows = [{"id": f"dep_{n}", "name": f"job-{n}", "agent": {"id": id, "version": 3}} for n, id in enumerate(agents)]
    qoder.wire.on("GET", "/deployments", page(*rows))
    [_, typed, *_] = qoder("deploy", "list", "--columns", "agent", "-o", "pretty").out.split("\n")
    assert "…" in typed
    qoder.wire.on("GET", f"/agents/{agents[0]}", {"id": agents[0], "type": "agent", "name": "writer"})
    shown = typed.split()[0].partition("@")[0]
    assert qoder("agent", "get", shown.replace("…", dots), "--json").json["id"] == agents[0]


def test_text_with_three_dots_stays_as_it_is(qoder: Qoder) -> None:
    qoder.wire.on("POST", "/memory_stores", {"id": "memstore_1", "name": "drun_0…"})
    qoder.wire.on("GET", "/memory_stores", page(), repeat=True)
    assert qoder("memory", "create", "--name", "drun_0…", "--json").json["name"] == "drun_0…"
