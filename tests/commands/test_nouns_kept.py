"""What counts as created, changed or gone, whatever an answer or a list says; both generations."""

import re
from typing import Any

import httpx
import pytest

from qoder_cli.base.errors import InternalError
from qoder_cli.output.screen import Screen
from qoder_cli.sandbox.wire import GENERATIONS, Generation
from tests.conftest import Qoder
from tests.support.sessions import Service

FAILED = httpx.Response(500, json={"type": "error", "error": {"type": "api_error", "message": "It failed."}})
PROXY = httpx.Response(404, html="<h1>Not found</h1>")


@pytest.fixture(params=GENERATIONS)
def service(qoder: Qoder, request: pytest.FixtureRequest) -> Service:
    generation: Generation = request.param
    made = Service(qoder, generation)
    made.things.clear()
    return made


def ok(body: Any) -> httpx.Response:
    return httpx.Response(200, json=body)


def test_a_new_thing_of_another_kind_is_not_taken_for_ours(qoder: Qoder, service: Service) -> None:
    service.before["POST /agents"] = [ok({"id": "env_1", "type": "environment", "name": "poet"})]
    ran = qoder("agent", "create", "--name", "poet", "--model", "auto", "--json")
    assert (ran.code, ran.out) == (9, "")
    assert len(service.sent) == 1


def test_a_list_that_tells_no_metadata_of_too_many_leaves_a_new_thing_unknown(qoder: Qoder, service: Service) -> None:
    now = "2026-06-14T23:59:59Z"
    rows = [{"id": f"agent_{n}", "type": "agent", "name": f"a{n}", "created_at": now} for n in range(21)]
    service.before["POST /agents"] = [FAILED]
    service.things["/agents"] = rows
    for row in rows:
        service.before[f"GET /agents/{row['id']}"] = [ok({**row, "metadata": {}})] * 30
    ran = qoder("agent", "create", "--name", "poet", "--model", "auto")
    assert ran.code == 9
    assert "could not be read back" in ran.err
    service.before["POST /agents"] = [FAILED]
    del rows[5:]
    assert qoder("agent", "create", "--name", "poet", "--model", "auto").code == 7


def test_what_carries_no_mark_is_unknown_after_a_failure(qoder: Qoder, service: Service) -> None:
    service.before["POST /dreams"] = [FAILED]
    ran = qoder("dream", "create", "--from", "memstore_project", "--model", "auto")
    assert (ran.code, len(service.sent)) == (9, 1)


def test_an_update_that_is_answered_as_if_nothing_was_sent_is_not_believed(qoder: Qoder, service: Service) -> None:
    before = qoder("agent", "get", "agent_writer", "--json").json
    service.before["POST /agents/agent_writer"] = [ok(before)] * 3
    ran = qoder("agent", "update", "agent_writer", "--description", "Other.", "--json")
    assert (ran.code, ran.out) == (9, "")
    assert qoder("agent", "get", "agent_writer", "--json").json == before


@pytest.mark.parametrize(
    "body", [{"json": {"type": "error", "error": {"type": "x", "message": "Large."}}}, {"html": "<h1>"}]
)
def test_what_is_too_large_is_refused_with_what_to_do(qoder: Qoder, service: Service, body: Any) -> None:
    service.before["POST /agents"] = [httpx.Response(413, **body)]
    ran = qoder("agent", "create", "--name", "poet", "--model", "auto", "--json")
    assert (ran.code, ran.error["hint"][:10], len(service.sent)) == (6, "send less:", 1)


def test_the_answer_to_a_read_must_be_the_thing_that_was_asked_for(qoder: Qoder, service: Service) -> None:
    other = qoder("agent", "get", "agent_reviewer", "--json").json
    for words in (("get", "agent_writer"), ("update", "agent_writer", "--description", "Other.")):
        service.before["GET /agents/agent_writer"] = [ok(other)]
        assert qoder("agent", *words).code == 5
    assert not service.sent


def test_what_a_proxy_does_not_find_is_not_deleted(qoder: Qoder, service: Service) -> None:
    service.before["DELETE /files/file_notes"] = [httpx.ReadError("reset")] * 3
    service.before["GET /files/file_notes"] = [PROXY] * 30
    ran = qoder("file", "delete", "file_notes", "--yes", "--json")
    assert (ran.code, ran.out) == (9, "")


def test_a_name_is_that_of_the_one_that_is_not_archived(qoder: Qoder, service: Service) -> None:
    words = ("agent", "create", "--name", "twin", "--model", "auto", "-q")
    old = qoder(*words).out.strip()
    assert qoder("agent", "archive", old, "--yes").code == 0
    assert qoder("agent", "get", "twin", "-q").out.strip() == old
    new = qoder(*words).out.strip()
    assert qoder("agent", "get", "twin", "-q").out.strip() == new
    assert qoder("agent", "archive", "twin", "--yes", "-q").out.strip() == new
    assert qoder("agent", "get", "twin").code == 2


@pytest.mark.parametrize("verb", ["archive", "delete"])
def test_what_has_another_name_now_is_not_taken_away(qoder: Qoder, service: Service, verb: str) -> None:
    row = qoder("env", "get", "default", "--json").json
    service.things["/environments"] = [{**row, "name": "build"}]  # what the list said before
    ran = qoder("env", verb, "build", "--yes")
    assert (ran.code, service.sent) == (5, [])
    assert "is named 'default' now" in ran.err


def test_a_full_disk_does_not_hide_what_was_created(
    qoder: Qoder, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(screen: Screen, text: str) -> None:
        raise InternalError("cannot write to standard output: No space left on device")

    monkeypatch.setattr(Screen, "write", full)
    ran = qoder("agent", "create", "--name", "poet", "--model", "auto")
    assert ran.code == 70
    assert re.search(r"agent agent_\w+ was created, but cannot write", ran.err)
