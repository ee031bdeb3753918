"""Our own keys in metadata: what settles a lost answer, and is no part of what people set, compare or export."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from qoder_cli.sandbox.wire import GENERATIONS
from tests.conftest import Qoder
from tests.support.desk import LIST, Desk
from tests.support.things import LOSSES, Things

NEW = {"name": "weekly", "agent": "agent_1", "environment_id": "env_1", "message": "Report."}
CREATE = ("deploy", "create", "--name", "weekly", "--agent", "agent_1", "--environment", "env_1", "-m", "Report.")
FULL = {f"key-{number}": "x" for number in range(16)}  # as many as there may be


@pytest.fixture(params=GENERATIONS)
def desk(request: pytest.FixtureRequest, qoder: Qoder, tmp_path: Path) -> Desk:
    return Desk(qoder, tmp_path, request.param)


@pytest.mark.parametrize("words", [CREATE, ("deploy", "apply", "--yes")])
def test_deploy_create_and_apply_mark_what_they_make(desk: Desk, words: tuple[str, ...]) -> None:
    file = [desk.file(NEW)] if words[1] == "apply" else []
    assert desk.qoder(*words, *file).code == 0
    [(_, body)] = desk.sent
    [made] = desk.named("weekly")
    assert len(body["metadata"]["qoder_key"]) == 36
    assert made.fields["metadata"]["qoder_key"] == body["metadata"]["qoder_key"]
    assert "qoder_key" not in desk.qoder("deploy", "get", "weekly").out


def test_deploy_export_and_apply_leave_our_keys_alone(desk: Desk) -> None:
    weekly = desk.add(name="weekly", metadata={"team": "core", "qoder_key": "1", "qoder_other": "2"})
    for name, *words in (("a.yaml",), ("a.json", "--json")):
        text = desk.qoder("deploy", "export", "weekly", *words).out
        assert "qoder_" not in text
        assert [item["action"] for item in desk.apply(desk.file(text, name=name), "--json").json] == ["unchanged"]
    assert desk.apply_these(desk.qoder("deploy", "get", "weekly", "--json").out).code == 0
    assert desk.writes == []
    assert desk.apply_these({"name": "weekly", "metadata": {}}).code == 0
    assert desk.sent == [(f"/deployments/{weekly.id}", {"metadata": {"team": None}})]
    assert weekly.fields["metadata"] == {"qoder_key": "1", "qoder_other": "2"}


def test_deploy_apply_gives_up_our_key_where_sixteen_others_need_its_place(desk: Desk) -> None:
    weekly = desk.add(name="weekly", metadata={"qoder_key": "1"})
    assert desk.apply_these({"name": "weekly", "metadata": FULL}).code == 0
    assert weekly.fields["metadata"] == FULL


@pytest.mark.parametrize("fault", ["503", "drop-after", "act-503"])
def test_deploy_apply_ends_as_unknown_where_no_mark_had_room(desk: Desk, fault: str) -> None:
    desk.goes_wrong(f"create:{fault}")
    ran = desk.apply_these({**NEW, "metadata": FULL}, words=("--json",))
    [(_, body)] = desk.sent
    assert (ran.code, body["metadata"]) == (9, FULL)
    assert "nothing shows it" in ran.error["message"]


@pytest.mark.parametrize(
    "words",
    [
        (*CREATE, "--metadata", "qoder_key=1"),
        ("deploy", "update", "demo", "--metadata", "qoder_x=1"),
        ("deploy", "update", "demo", "--remove-metadata", "qoder_key"),
        ("agent", "create", "--name", "a", "--model", "auto", "--metadata", "qoder_key=1"),
        ("agent", "update", "writer", "--remove-metadata", "qoder_key"),
        ("deploy", "apply", "--yes", "deployment.json"),
        ("agent", "create", "-f", "agent.yaml"),
        ("env", "update", "default", "-f", "agent.yaml"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_no_command_takes_a_key_of_ours(desk: Desk, words: tuple[str, ...]) -> None:
    files = {"deployment.json": {**NEW, "metadata": {"qoder_key": "1"}}, "agent.yaml": {"metadata": {"qoder_x": "1"}}}
    ran = desk.qoder(*(desk.file(files[word], name=word) if word in files else word for word in words))
    assert (ran.code, desk.writes) == (2, [])
    assert "is a key of qoder's own" in ran.err


def test_create_knows_its_own_when_a_proxy_sent_it_twice(desk: Desk) -> None:
    server = desk.qoder.transport
    assert server is not None

    def twice(request: httpx.Request) -> httpx.Response:
        answer = server.handle_request(request)
        if request.method == "POST":
            body = request.read()
            again = httpx.Request(
                "POST", request.url, headers={**request.headers, "idempotency-key": "2"}, content=body
            )
            answer = server.handle_request(again)
        return answer

    desk.qoder.transport = httpx.MockTransport(twice)
    ran = desk.qoder(*CREATE, "--json")
    [made] = desk.named("weekly")
    assert (ran.code, ran.json["id"], len(desk.sent)) == (0, made.id, 2)


@pytest.fixture(params=GENERATIONS)
def service(qoder: Qoder, request: pytest.FixtureRequest) -> Things:
    return Things(qoder, request.param)


@pytest.mark.parametrize("loss", LOSSES)
def test_agent_create_does_not_say_that_nothing_was_made_where_metadata_reads_back_empty(
    qoder: Qoder, service: Things, loss: str
) -> None:
    def hide(raw: dict[str, Any]) -> None:
        raw["metadata"] = {}

    service.defaults, service.after = hide, [LOSSES[loss]]
    ran = qoder("agent", "create", "--name", "poet", "--model", "auto", "--json")
    assert (ran.code, len(service.sent)) == (9, 1)
    assert f"{service.made} may be it, and shows nothing that tells" in ran.error["message"]


POET = ("agent", "create", "--name", "poet", "--model", "auto")
OF_OTHERS = {"data": [{"id": "env_1", "type": "environment", "name": "poet"}], "has_more": False}
NO_BOOLEAN = {"data": [], "has_more": "no"}
LONG_AGO = {"id": "agent_7", "type": "agent", "name": "poet", "created_at": "2026-12-24T18:00:00Z", "metadata": {}}
OLDER = {"data": [LONG_AGO], "has_more": False}


@pytest.mark.parametrize(("listed", "code"), [(OF_OTHERS, 9), (NO_BOOLEAN, 9), (OLDER, 7)])
def test_agent_create_relies_on_a_whole_list_and_on_times(
    qoder: Qoder, service: Things, listed: dict[str, Any], code: int
) -> None:
    error = {"type": "error", "error": {"type": "api_error", "message": "It failed."}}
    service.before["POST /agents"] = [httpx.Response(500, json=error)]
    date = {"date": "Fri, 15 Jan 2027 08:00:00 GMT"}
    service.before["GET /agents"] = [httpx.Response(200, json=listed, headers=date) for _ in range(7)]
    ran = qoder(*POET)
    assert (ran.code, len(service.sent)) == (code, 1)
    assert ("could not be read back to the attempt" in ran.err) == (code == 9)


def test_agent_create_takes_nothing_from_before_it_for_its_answer(qoder: Qoder, service: Things) -> None:
    date = {"date": "Fri, 15 Jan 2027 08:00:00 GMT"}
    service.before["POST /agents"] = [httpx.Response(200, json=LONG_AGO, headers=date)]
    ran = qoder(*POET, "--json")
    assert (ran.code, ran.out, len(service.sent)) == (9, "", 1)


def test_env_update_believes_no_kept_answer_when_it_reads_back(qoder: Qoder, service: Things) -> None:
    before = qoder("env", "get", "default", "--json").json
    service.before[f"POST /environments/{before['id']}"] = [httpx.ReadError("reset")] * 3
    kept = httpx.Response(200, json={**before, "description": "New"}, headers={"age": "60"})
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.method)
        return kept if request.method == "GET" and "POST" in asked else service.handle_request(request)

    qoder.transport = httpx.MockTransport(answer)
    ran = qoder("env", "update", before["id"], "--description", "New")
    assert (ran.code, asked.count("POST")) == (9, 1)
    assert "an old one that a proxy has kept" in ran.err


def test_session_update_is_sent_again_though_a_session_moves_by_itself(qoder: Qoder, service: Things) -> None:
    id = service.session(title="Old")
    service.before[f"POST /sessions/{id}"] = [httpx.ReadError("reset")]
    session = service.world.sessions[id]
    qoder.clock.at_sleep = lambda: session.fields.update(updated_at="2027-01-15T08:00:09Z")
    assert qoder("session", "update", id, "--title", "New").code == 0
    assert (session.fields["title"], len(service.sent)) == ("New", 2)


@pytest.mark.parametrize("verb", ["create", "update"])
def test_an_answer_that_a_proxy_has_kept_is_none(desk: Desk, verb: str) -> None:
    weekly = desk.add(name="monthly")
    server, kept = desk.qoder.transport, {"id": weekly.id, "type": "deployment", **weekly.fields}
    assert server is not None
    body = {**kept, "name": "weekly"} if verb == "create" else {**kept, "description": "New"}
    late: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST" and not late:
            late.append(server.handle_request(request).read())
            return httpx.Response(200, json=body, headers={"age": "600"})
        return server.handle_request(request)

    desk.qoder.transport = httpx.MockTransport(answer)
    words = CREATE if verb == "create" else ("deploy", "update", "monthly", "--description", "New")
    ran = desk.qoder(*words, "--json")
    assert (ran.code, ran.json["id"]) == (0, json.loads(late[0])["id"])
    assert "no confirmation (the response is an old one that a proxy has kept)" in ran.err


def test_deploy_create_believes_no_kept_list_that_the_name_is_free(desk: Desk) -> None:
    server = desk.qoder.transport
    assert server is not None

    def answer(request: httpx.Request) -> httpx.Response:
        answered = server.handle_request(request)
        headers = {"age": "600"} if request.method == "GET" and request.url.path.endswith("/deployments") else {}
        return httpx.Response(answered.status_code, headers=headers, content=answered.read())

    desk.qoder.transport = httpx.MockTransport(answer)
    assert (desk.qoder(*CREATE).code, desk.writes) == (7, [])
    assert desk.asked[0] == f"GET {LIST}"
