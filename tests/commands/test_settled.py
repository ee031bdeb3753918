"""Every write whose answer is lost is settled by reading back; what never arrived is unknown, or sent again."""

import json
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from qoder_cli.sandbox.records import ENVIRONMENT
from tests.conftest import Qoder
from tests.support.staged import put_files
from tests.support.things import LOSSES, UNDONE, Things


class Case(NamedTuple):
    """A command that writes once, and what tells how much there is of what it writes."""

    line: str
    listing: str
    more: int = 1  # of that, once it is done
    again: bool = False  # whether it may be sent again when it never arrived
    before: str = ""


WORK = "env work list workers"
MEMORIES = "memory ls project --all"
CASES = [
    Case("agent create --name new --model auto", "agent list"),
    Case("agent update writer --tools Bash", "agent versions writer", again=True),
    Case("env create --name new", "env list"),
    Case("env update default --pip polars", "env list", 0, again=True),
    Case("env work ack workers work_demo", WORK, 0, again=True),
    Case("env work stop workers work_demo", WORK, 0, again=True),
    Case("env work stop workers work_demo --force", WORK, 0, again=True, before="env work ack workers work_demo"),
    Case("file upload notes.md", "file list --all"),
    Case("memory write project new.md -m x", MEMORIES),
    Case("memory write project conventions.md -m x", "memory history project conventions.md", again=True),
    Case("memory remove project conventions.md --yes", MEMORIES, -1, again=True),
    Case("memory redact project memver_1 --yes", "memory history project", 0, again=True),
    Case("memory create --name new", "memory list"),
    Case("memory update project --description new", "memory list", 0, again=True),
    Case("vault put team-secrets NEW --env", "vault credential list team-secrets"),
    Case("vault put team-secrets GITHUB_TOKEN --env", "vault credential list team-secrets", 0, again=True),
    Case("vault create --name new", "vault list"),
    Case("skill upload mine", "skill list"),
    Case("skill upload release-notes", "skill versions release-notes"),
    Case("dream cancel drm_new", "dream list", 0, again=True),
    Case("deploy create --name new --agent writer --environment default -m Go.", "deploy list --all"),
    Case("deploy update demo --description New", "deploy list --all", 0, again=True),
    Case("deploy pause demo", "deploy list --status paused", again=True),
    Case("deploy unpause dep_paused", "deploy list --status paused", -1, again=True),
    Case("deploy archive demo --yes", "deploy list --all", -1, again=True),
    Case("deploy apply weekly.yaml --yes", "deploy list --all"),
    Case("session update SESSION --title New", "session list", 0, again=True),
]
# Each write loses one answer; of those that are read back in different ways, one of each loses it in every way.
EVERY_WAY = ("agent create --name new --model auto", "agent update writer --tools Bash", "deploy pause demo")


def lost(ways: Iterable[str]) -> pytest.MarkDecorator:
    each = [(case, way) for case in CASES for way in ways if way == "reset" or case.line in EVERY_WAY]
    return pytest.mark.parametrize(("case", "loss"), each, ids=lambda one: getattr(one, "line", one))


@pytest.fixture
def service(qoder: Qoder, service: Things, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Things:
    monkeypatch.chdir(tmp_path)
    put_files(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "SKILL.md").write_text("---\nname: mine\ndescription: x\n---\n")
    (tmp_path / "release-notes" / "more.md").write_text("More.\n")
    body = "agent: agent_writer\nenvironment_id: env_workers\nmessage: Report.\n"
    (tmp_path / "weekly.yaml").write_text(f"name: weekly\n{body}")
    qoder.stdin = "a secret of ours\n"
    service.keep("dreams", {**service.thing("drm_demo"), "id": "drm_new", "status": "running"})
    return service


def play(qoder: Qoder, service: Things, case: Case, loss: str, *, done: bool) -> tuple[int, int, int]:
    """Return the exit code, how often it was sent, and how much more there is."""
    words = shlex.split(case.line.replace("SESSION", service.session()))
    if case.before:
        assert qoder(*shlex.split(case.before)).code == 0
    before = qoder(*shlex.split(case.listing), "--json").json
    service.requests.clear()
    service.loses(loss, done=done)
    ran = qoder(*words)
    sent = len(service.writes)
    after = qoder(*shlex.split(case.listing), "--json").json
    return ran.code, sent, len(after) - len(before)


@lost(LOSSES)
def test_write_with_a_lost_answer_is_settled_once(qoder: Qoder, service: Things, case: Case, loss: str) -> None:
    assert play(qoder, service, case, loss, done=True) == (0, 1, case.more)


@lost(UNDONE)
def test_write_that_never_arrived_is_unknown_or_resent(qoder: Qoder, service: Things, case: Case, loss: str) -> None:
    expected = (0, 2, case.more) if case.again else (9, 1, 0)
    assert play(qoder, service, case, loss, done=False) == expected


BUSY = httpx.Response(429, headers={"retry-after": "20"})
NOT_SENT: list[httpx.Response | Exception] = [BUSY, httpx.ConnectError("Connection refused")]
# An update, what it changes, and a colleague's change of the same field.
UPDATES: list[tuple[str, str, dict[str, str]]] = [
    ("deploy update demo --description New", "/deployments/dep_demo", {"description": "Theirs"}),
    ("env update default --description New", f"/environments/{ENVIRONMENT}", {"description": "Theirs"}),
    ("memory update project --description New", "/memory_stores/memstore_project", {"description": "Theirs"}),
    ("session update SESSION --title New", "/sessions/SESSION", {"title": "Theirs"}),
]


@pytest.mark.parametrize("answer", NOT_SENT, ids=["429", "no connection"])
@pytest.mark.parametrize(("line", "path", "theirs"), UPDATES, ids=[line for line, *_ in UPDATES])
def test_update_keeps_what_a_colleague_changed_before_it_could_be_sent(
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
