"""Our own keys in metadata: what settles a lost answer, and is no part of what people set, compare or export."""

import json
import shlex
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from qoder_cli.sandbox.records import ENVIRONMENT, stamp
from tests.conftest import Qoder
from tests.support.desk import LIST, NEW, Desk
from tests.support.things import FAILED, Answer, Things, each_row, refusal
from tests.support.wire import page

CREATE = ("deploy", "create", "--name", "weekly", "--agent", "agent_1", "--env", "env_1", "-m", "Report.")
FULL = {f"key-{number}": "x" for number in range(16)}  # as many as there may be


def test_export_and_apply_leave_our_keys_alone(desk: Desk) -> None:
    weekly = desk.add(name="weekly", metadata={"team": "core", "qoder_key": "1", "qoder_other": "2"})
    assert desk.qoder("export", "weekly", "-O", str(desk.folder)).code == 0
    file = desk.folder / "deployments/weekly.md"
    assert "qoder_" not in file.read_text() + desk.qoder("deploy", "get", "weekly").out
    assert [item["action"] for item in desk.apply(str(file), "--json").json] == ["unchanged"]
    assert desk.apply_these(desk.qoder("deploy", "get", "weekly", "--json").out).code == 0
    assert desk.writes == []
    assert desk.apply_these({"name": "weekly", "metadata": {}}).code == 0
    assert desk.sent == [(f"/deployments/{weekly.id}", {"metadata": {"team": None}})]
    assert weekly.fields["metadata"] == {"qoder_key": "1", "qoder_other": "2"}


def test_apply_gives_up_our_key_where_sixteen_others_need_its_place(desk: Desk) -> None:
    weekly = desk.add(name="weekly", metadata={"qoder_key": "1"})
    assert desk.apply_these({"name": "weekly", "metadata": FULL}).code == 0
    assert weekly.fields["metadata"] == FULL


@pytest.mark.parametrize("fault", ["503", "drop-after", "act-503"])
def test_apply_ends_as_unknown_where_no_mark_had_room(desk: Desk, fault: str) -> None:
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
        ("file", "upload", "agent.yaml", "--metadata", "qoder_x=1"),
        ("apply", "--yes", "deployment.json"),
        ("agent", "create", "-f", "agent.yaml"),
        ("env", "update", "default", "-f", "agent.yaml"),
    ],
    ids=" ".join,
)
def test_no_command_takes_a_key_of_ours(desk: Desk, words: tuple[str, ...]) -> None:
    files = {"deployment.json": {**NEW, "metadata": {"qoder_key": "1"}}, "agent.yaml": {"metadata": {"qoder_x": "1"}}}
    ran = desk.qoder(*(desk.file(files[word], name=word) if word in files else word for word in words))
    assert (ran.code, desk.writes) == (2, [])
    assert "is a key of qoder's own" in ran.err
    assert all(f"{word}: qoder_" in ran.err for word in words if word.endswith("-metadata"))


def test_deploy_create_knows_its_own_when_a_proxy_sent_it_twice(desk: Desk) -> None:
    desk.service.meanwhile = [desk.service.repeat]
    ran = desk.qoder(*CREATE, "--json")
    [made] = desk.named("weekly")
    assert (ran.code, ran.json["id"], len(desk.sent)) == (0, made.id, 2)


POET = ("agent", "create", "--name", "poet", "--model", "auto")
LONG_AGO = {"id": "agent_7", "type": "agent", "name": "poet", "created_at": "2026-12-24T18:00:00Z", "metadata": {}}
ANY = pytest.mark.parametrize("served_by", ["current"])  # what a generation of servers does not matter for
LOOKS = (0, 1, 2, 4, 8, 16, 30)  # seconds at which it is looked for


@pytest.mark.parametrize(
    ("listed", "headers", "code"),
    [
        ({"data": [{"id": "env_1", "type": "environment", "name": "poet"}], "has_more": False}, {}, 9),
        ({"data": [], "has_more": "no"}, {}, 9),
        ({"data": [LONG_AGO], "has_more": False}, {}, 7),
        ({"data": [LONG_AGO], "has_more": False}, {"age": "60"}, 9),
    ],
    ids=["of others", "no boolean", "older", "kept by a proxy"],
)
def test_agent_create_relies_on_a_whole_list(
    qoder: Qoder, service: Things, listed: dict[str, Any], headers: dict[str, str], code: int
) -> None:
    service.never = [FAILED]
    dates = [{"date": f"Fri, 15 Jan 2027 08:00:{at:02} GMT", **headers} for at in LOOKS]
    service.instead["GET /agents"] = [httpx.Response(200, json=listed, headers=date) for date in dates]
    ran = qoder(*POET, "--allow-duplicate")
    assert (ran.code, len(service.writes)) == (code, 1)
    whys = ("could not be read in full", "an old one that a proxy has kept")
    assert any(why in ran.err for why in whys) == (code == 9)


@pytest.mark.parametrize(
    ("there", "code"),
    [
        ({}, 9),
        ({"name": "writer"}, 7),
        ({"metadata": {"team": "core"}}, 9),
        ({"metadata": {"team": "sales"}}, 7),
        ({"metadata": {"n": 5}}, 9),  # what cannot be of a create says nothing
        ({"metadata": None}, 9),
        ({"model": "ultimate"}, 7),
        ({"model": {"id": "auto", "effort": "low"}}, 9),
        ({"created_at": None}, 9),
        ({"created_at": "2027-01-15T07:59:10Z"}, 9),  # clocks may be off by a minute
        ({"created_at": "2027-01-15T07:59:00Z"}, 9),
        ({"created_at": "2027-01-15T07:58:50Z"}, 7),
        ({"deployment_id": "dep_1"}, 7),
        ({"type": "environment", "id": "env_1"}, 9),  # whoever lists that may list anything
    ],
    ids=str,
)
def test_agent_create_is_unknown_where_what_is_there_may_be_it(
    qoder: Qoder, service: Things, there: dict[str, Any], code: int
) -> None:
    young = {**LONG_AGO, "created_at": "2027-01-15T08:00:00Z", "model": "auto"}
    service.never = [FAILED]
    service.lies["GET /agents"] = lambda listed: {**listed, "data": [{**young, **there}]}
    ran = qoder(*POET, "--metadata", "team=core", "--allow-duplicate", "--json")
    assert (ran.code, len(service.writes)) == (code, 1), ran.err
    assert ("agent_7 may be yours, but nothing in it tells" in ran.err) == (code == 9 and "id" not in there)


@ANY
@pytest.mark.parametrize(
    ("words", "answer", "is_believed"),
    [
        (POET, {}, True),
        (POET, {"id": "x_1"}, True),
        (POET, {"type": "thing"}, True),
        (POET, {"id": "x_1", "type": "thing"}, False),
        (POET, {"id": "env_1", "type": "environment"}, False),
        (POET, {"archived_at": "2027-01-15T08:00:00Z"}, False),
        (POET, {"name": " poet"}, True),
        (POET, {"name": None}, False),
        (POET, {"name": "writer"}, False),
        (POET, {"metadata": {}}, True),
        (POET, {"metadata": {"qoder_key": "another"}}, False),
        (POET, {"created_at": None}, True),
        (POET, {"created_at": "2027-01-15T07:59:00Z"}, True),
        (POET, {"created_at": "2027-01-15T07:58:59.99Z"}, False),
        (("session", "new", "--agent", "writer", "--env", "default"), {"name": None}, True),
    ],
    ids=str,
)
def test_create_believes_an_answer_that_can_be_of_what_was_sent(
    qoder: Qoder, service: Things, words: tuple[str, ...], answer: dict[str, Any], is_believed: bool
) -> None:
    service.lies["POST /agents"] = service.lies["POST /sessions"] = lambda raw: {**raw, **answer}
    ran = qoder(*words)
    assert (ran.code, len(service.writes)) == (0, 1), ran.err
    assert ("no confirmation (the response does not show the change)" in ran.err) is not is_believed


@ANY
@pytest.mark.parametrize(
    ("count", "fields", "code", "why"),
    [
        (6, {}, 9, "agent_1, agent_2, agent_3, agent_4, agent_5 may be yours"),
        (20, {"name": "writer", "metadata": None}, 7, "It failed."),
        (21, {"name": "writer", "metadata": None}, 9, "could not be read in full"),
    ],
)
def test_agent_create_reads_singly_so_many_as_a_list_is_silent_about(
    qoder: Qoder, service: Things, count: int, fields: dict[str, Any], code: int, why: str
) -> None:
    rows = [{**LONG_AGO, "created_at": None, "id": f"agent_{n + 1}", **fields} for n in range(count)]
    service.never = [FAILED]
    service.lies["GET /agents"] = lambda listed: {**listed, "data": rows}
    ran = qoder(*POET, "--allow-duplicate", "--json")
    assert (ran.code, why in ran.error["message"]) == (code, True), ran.err


@ANY
def test_agent_create_finds_its_own_first_in_a_list_without_metadata(qoder: Qoder, service: Things) -> None:
    others = [
        {**LONG_AGO, "created_at": None, "id": f"agent_{n}", "name": "writer", "metadata": None} for n in range(25)
    ]
    silent = each_row(lambda row: {**row, "metadata": None})
    service.lies["GET /agents"] = lambda listed: {**listed, "data": [*others, *silent(listed)["data"]]}
    service.loses("reset")
    assert (qoder(*POET, "--allow-duplicate").code, len(service.writes)) == (0, 1)
    assert service.asked[-1] == f"GET /agents/{service.made}"


@ANY
@pytest.mark.parametrize(
    ("words", "status", "reads"),
    [(POET, 409, True), (POET, 400, False), (("dream", "create", "--from", "project", "--model", "auto"), 409, False)],
)
def test_create_that_is_refused_looks_for_its_own_only_where_a_repeat_may_be_why(
    qoder: Qoder, service: Things, words: tuple[str, ...], status: int, reads: bool
) -> None:
    service.never = [refusal(status, "invalid_request_error", "No.")]
    ran = qoder(*words)
    assert (ran.code, len(service.writes)) == (6, 1), ran.err
    assert service.asked[-1].startswith("GET") is reads


@ANY
def test_dream_create_sends_no_mark_and_says_what_is_unknown(qoder: Qoder, service: Things) -> None:
    service.loses("reset", done=False)
    ran = qoder("dream", "create", "--from", "project", "--model", "auto", "--wait", "--json")
    assert (ran.code, "metadata" in service.sent[0]) == (9, False)
    assert "unknown whether creating the dream succeeded" in ran.error["message"]


def test_env_update_believes_no_kept_answer_when_it_reads_back(qoder: Qoder, service: Things) -> None:
    before = qoder("env", "get", "default", "--json").json
    kept: dict[str, list[Answer]] = {
        f"GET /environments/{before['id']}": [aged({**before, "description": "New"}) for _ in range(30)]
    }
    service.never, service.meanwhile = [httpx.ReadError("reset")] * 3, [lambda: service.instead.update(kept)]
    ran = qoder("env", "update", before["id"], "--description", "New")
    assert (ran.code, len(service.writes)) == (9, 1)
    assert "an old one that a proxy has kept" in ran.err


def aged(body: Any) -> httpx.Response:
    return httpx.Response(200, json=body, headers={"age": "600"})


def test_deploy_create_believes_no_kept_list_that_the_name_is_free(desk: Desk) -> None:
    desk.service.instead["GET /deployments"] = [aged(page()) for _ in range(9)]
    assert (desk.qoder(*CREATE).code, desk.writes) == (7, [])
    assert desk.service.asked[0] == f"GET {LIST}".partition("?")[0]


# Every write whose answer is lost is settled by reading back; what never arrived is unknown, or sent again.


class Case(NamedTuple):
    """A command that writes once, and what tells how much there is of what it writes."""

    line: str
    listing: str
    more: int = 1  # of that, once it is done
    again: bool = False  # whether it may be sent again when it never arrived
    before: str = ""


# What a command does otherwise than in its line of the contract, whose clauses lose the answer to every other write.
CASES = [
    Case(
        "env work stop workers work_demo --force",
        "env work list workers",
        0,
        again=True,
        before="env work ack workers work_demo",
    ),
    Case("memory write project new.md -m x", "memory ls project --all"),
    Case("vault put team-secrets NEW --variable", "vault credential list team-secrets"),
    Case("skill upload mine", "skill list"),
    Case("dream cancel drm_new", "dream list", 0, again=True),
    Case("deploy unpause dep_paused", "deploy list --status paused", -1, again=True),
]


@pytest.fixture
def service(qoder: Qoder, service: Things, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Things:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "SKILL.md").write_text("---\nname: mine\ndescription: x\n---\n")
    qoder.stdin = "a secret of ours\n"
    service.keep("dreams", {**service.thing("drm_demo"), "id": "drm_new", "status": "running"})
    return service


def play(qoder: Qoder, service: Things, case: Case, *, done: bool) -> tuple[int, int, int]:
    """Return the exit code, how often it was sent, and how much more there is."""
    if case.before:
        assert qoder(*shlex.split(case.before)).code == 0
    before = qoder(*shlex.split(case.listing), "--json").json
    service.requests.clear()
    service.loses("reset", done=done)
    ran = qoder(*shlex.split(case.line))
    sent = len(service.writes)
    after = qoder(*shlex.split(case.listing), "--json").json
    return ran.code, sent, len(after) - len(before)


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.line)
@pytest.mark.few(6)
def test_write_with_a_lost_answer_is_settled_once(qoder: Qoder, service: Things, case: Case, done: bool) -> None:
    """What never arrived is unknown, or sent again."""
    undone = (0, 2, case.more) if case.again else (9, 1, 0)
    assert play(qoder, service, case, done=done) == ((0, 1, case.more) if done else undone)


BUSY = httpx.Response(429, headers={"retry-after": "20"})
NOT_DONE: list[httpx.Response | Exception] = [BUSY, httpx.ConnectError("Connection refused"), httpx.ReadError("reset")]
# An update, what it changes, and a colleague's change of the same field.
UPDATES: list[tuple[str, str, dict[str, str]]] = [
    ("deploy update demo --description New", "/deployments/dep_demo", {"description": "Theirs"}),
    ("env update default --description New", f"/environments/{ENVIRONMENT}", {"description": "Theirs"}),
    ("memory update project --description New", "/memory_stores/memstore_project", {"description": "Theirs"}),
    ("session update SESSION --title New", "/sessions/SESSION", {"title": "Theirs"}),
]


@pytest.mark.parametrize("answer", NOT_DONE, ids=["429", "no connection", "no answer"])
@pytest.mark.parametrize(("line", "path", "theirs"), UPDATES, ids=[line for line, *_ in UPDATES])
@pytest.mark.few(4)
def test_update_keeps_what_a_colleague_changed_before_it_could_be_made(
    qoder: Qoder, service: Things, line: str, path: str, theirs: dict[str, str], answer: httpx.Response | Exception
) -> None:
    session = service.session()
    path = path.replace("SESSION", session)
    service.instead[f"POST {path}"] = [answer]
    service.meanwhile = [lambda: service.change(path, theirs)]
    ran = qoder(*shlex.split(line.replace("SESSION", session)), "--json")
    assert (ran.code, len(service.writes)) == (6, 1)
    assert "in the meantime; our change was not seen, and not sent again" in ran.error["message"]
    assert theirs.items() <= json.loads(qoder("api", "GET", path).out).items()


def test_session_update_is_sent_again_though_its_agent_works_on(qoder: Qoder, service: Things) -> None:
    session = service.session()
    service.lies[f"GET /sessions/{session}"] = lambda raw: {**raw, "updated_at": stamp(qoder.clock.time)}
    service.loses("reset", done=False)
    ran = qoder("session", "update", session, "--title", "New", "--json")
    assert (ran.code, ran.json["title"], len(service.writes)) == (0, "New", 2)
