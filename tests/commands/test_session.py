"""`qoder session`, in the user's words: sessions listed, looked at, changed, and ended."""

import httpx
import pytest

from qoder_cli.sandbox.wire import GENERATIONS
from tests.conftest import Qoder
from tests.support.sessions import ENVIRONMENT, Service

LOST = ("drop-after", "hang-after", "truncated", "garbage", "act-503-bare", "act-html", "drop-before", "503-bare")


@pytest.fixture(params=GENERATIONS)
def service(qoder: Qoder, request: pytest.FixtureRequest) -> Service:
    return Service(qoder, request.param)


# Listed and looked at.


def test_sessions_are_listed_newest_first(qoder: Qoder, service: Service) -> None:
    first = service.session(title="June")
    qoder.clock.time += 60
    second = service.session(deployment_id="dep_demo")
    ran = qoder("session", "list")
    rows = [line.split("\t") for line in ran.out.splitlines()]
    assert [row[0] for row in rows] == [second, first]
    assert rows[1][1] == "June"
    assert rows[0][4] == "dep_demo"
    assert rows[0][5] == ENVIRONMENT
    assert qoder("session", "list", "--deployment", "dep_demo", "-q").out == f"{second}\n"
    assert qoder("session", "list", "--until", "30s", "-q").out == f"{first}\n"
    assert qoder("session", "list", "--agent", "writer", "-q").out == f"{second}\n{first}\n"
    assert qoder("session", "list", "--status", "terminated", "--json").json == []


def test_a_list_that_is_cut_says_so(qoder: Qoder, service: Service) -> None:
    for _ in range(21):
        service.session()
    assert qoder("session", "list").err.endswith("note: 20 shown, more match; --all shows them\n")
    assert len(qoder("session", "list", "--all", "-q").out.splitlines()) == 21


def test_an_archived_session_is_listed_where_asked_for(qoder: Qoder, service: Service) -> None:
    id = service.session()
    qoder("session", "archive", id, "--yes")
    assert qoder("session", "list", "-q").out == ""
    assert qoder("session", "list", "--include-archived").out.split("\t")[:3] == [id, "-", "archived"]


def test_a_session_tells_how_its_latest_turn_ended(qoder: Qoder, service: Service) -> None:
    qoder("deploy", "run", "dep_demo", "--wait")
    ran = qoder("session", "get", "last", "--json")
    assert ran.code == 0
    assert ran.json["id"].startswith("sess_")
    assert ran.json["turn"]["status"] == "completed"
    fields = dict(line.split("\t", 1) for line in qoder("session", "get", ran.json["id"]).out.splitlines())
    assert (fields["status"], fields["latest_turn"], fields["deployment"]) == ("idle", "completed", "dep_demo")


def test_what_is_no_session_is_refused_before_anything_is_asked(qoder: Qoder, service: Service) -> None:
    for words in (("get", "env_1"), ("update", "agent_1", "--title", "x"), ("delete", "file_1", "--yes")):
        assert qoder("session", *words).code == 2
    assert service.asked == []
    gone = qoder("session", "get", "sess_gone", "--json")
    assert (gone.code, "sess_gone" in gone.error["message"]) == (5, True)


def test_a_name_that_two_agents_have_is_refused_with_both_ids(qoder: Qoder, service: Service) -> None:
    service.things["/agents"] += [{"id": "agent_2", "name": "writer"}, {"id": "agent_3", "name": "reader"}]
    ran = qoder("session", "list", "--agent", "writer")
    assert ran.code == 2
    assert "agent_2" in ran.err
    near = qoder("session", "list", "--agent", "readr")
    assert (near.code, "'reader'" in near.err) == (5, True)


# Updated.


def test_only_what_differs_is_sent(qoder: Qoder, service: Service) -> None:
    id = service.session(metadata={"team": "core", "old": "1"})
    words = ("--title", "July", "--metadata", "team=core", "--metadata", "day=1", "--remove-metadata", "old")
    ran = qoder("session", "update", id, *words, "--budget", "12.5", "--json")
    assert ran.code == 0
    assert ran.json["metadata"] == {"team": "core", "day": "1"}
    assert service.sent == [
        (
            "POST",
            f"/sessions/{id}",
            {
                "title": "July",
                "metadata": {"day": "1", "old": None},
                "budget": {"type": "limit", "max_credit_cost": "12.50"},
            },
        )
    ]
    again = qoder("session", "update", id, *words, "--budget", "12.50")
    assert (again.code, len(service.sent), "already up to date" in again.err) == (0, 1, True)
    assert "budget" not in qoder("session", "update", id, "--no-budget", "--json").json


def test_an_archived_session_is_not_changed(qoder: Qoder, service: Service) -> None:
    id = service.session()
    qoder("session", "archive", id, "--yes")
    ran = qoder("session", "update", id, "--title", "x", "--json")
    assert (ran.code, "archived" in ran.error["message"]) == (6, True)
    assert qoder("session", "update", id).code == 2
    assert qoder("session", "update", id, "--budget", "lots").code == 2


# Archived and deleted.


def test_ending_a_session_requires_confirmation(qoder: Qoder, service: Service) -> None:
    id = service.session()
    for verb in ("archive", "delete"):
        ran = qoder("session", verb, id)
        assert (ran.code, "--yes" in ran.err, service.sent) == (2, True, [])


def test_several_are_deleted_one_after_the_other(qoder: Qoder, service: Service) -> None:
    ids = [service.session() for _ in range(2)]
    qoder.stdin = "\n".join(ids)
    ran = qoder("session", "delete", "-", "sess_gone", "--yes", "--json")
    assert ran.code == 5
    assert [(item["id"], item["exit_code"]) for item in ran.json] == [(ids[0], 0), (ids[1], 0), (None, 5)]
    assert ran.error["message"].startswith("2 of 3 are deleted; ")
    assert qoder("session", "get", ids[0]).code == 5


def test_a_session_is_meant_by_its_run(qoder: Qoder, service: Service) -> None:
    run = qoder("deploy", "run", "dep_demo", "-q").out.strip()
    ran = qoder("session", "archive", run, "--yes", "--json")
    assert (ran.code, bool(ran.json["archived_at"])) == (0, True)
    assert qoder("session", "archive", "last", "--yes").code == 0  # it is so already


@pytest.mark.parametrize("fault", LOST)
@pytest.mark.parametrize("words", [("update", "--title", "x"), ("archive", "--yes"), ("delete", "--yes")])
def test_a_lost_response_is_settled(qoder: Qoder, service: Service, words: tuple[str, ...], fault: str) -> None:
    id = service.session()
    service.faults.add(f"session-write:{fault}")
    ran = qoder("session", words[0], id, *words[1:])
    assert (ran.code, ran.errors) == (0, [])
    assert len(service.sent) <= 2


def test_what_cannot_be_read_back_is_unknown(qoder: Qoder, service: Service) -> None:
    id = service.session()
    service.faults.add("session:drop-after*inf")
    ran = qoder("session", "delete", id, "--yes", "--json")
    assert (ran.code, ran.error["next"][:4]) == (9, ["qoder", "session", "get", id])
    assert len(service.sent) == 1


def test_another_who_was_faster_is_no_failure(qoder: Qoder, service: Service) -> None:
    id = service.session()
    service.before[f"POST /sessions/{id}/archive"] = [httpx.ReadError("reset")]
    service.world.sessions[id].archived = service.world.now()
    assert qoder("session", "archive", id, "--yes").code == 0
