"""Every write whose answer is lost is settled by reading back; what never arrived is unknown, or sent again."""

import json
import shlex
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from qoder_cli.sandbox.records import ENVIRONMENT, stamp
from tests.conftest import Qoder
from tests.support.things import Things


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
