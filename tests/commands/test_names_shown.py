"""The names of deployments beside their ids, wherever runs and sessions are shown: as this machine saw them last."""

from collections.abc import Callable
from typing import Any

import pytest

from qoder_cli.nouns.table import NOUNS
from qoder_cli.sandbox.world import World
from tests.conftest import TOKEN, Qoder, Ran
from tests.support.asking import Asking, call
from tests.support.one_run import DEPLOYMENTS, DONE, RUN, SESSION, deployment
from tests.support.wire import page

OF_1 = ("GET", "/deployments/dep_1")


def see(qoder: Qoder, *found: dict[str, Any]) -> None:
    qoder.wire.on(*DEPLOYMENTS, page(*found))
    assert qoder("deploy", "list").code == 0


def name_in(ran: Ran) -> str | None:
    """Return the deployment's name in a piped record."""
    return dict(line.split("\t") for line in ran.out.splitlines()).get("deployment_name")


def get(qoder: Qoder, *words: str) -> Ran:
    qoder.wire.on(*RUN, DONE).may(*SESSION, {})
    return qoder("run", "get", "drun_1", *words)


# Each of these asks for what it needs and for nothing more: with the name or without it, the same requests are sent.
SHOW_A_RUN = [
    *("run get {run}", "run wait {run}", "run result {run}", "deploy run dep_scheduled --wait"),
    *("deploy run dep_scheduled", "deploy run dep_scheduled dep_demo"),  # what a wait polls is up to the clock
    *("run list dep_scheduled", "run wait {run} {run}", "run logs {run} -"),
]


@pytest.mark.parametrize("line", SHOW_A_RUN)
@pytest.mark.few(3)
def test_every_command_that_shows_a_run_names_its_deployment_and_asks_for_nothing_more(
    qoder: Qoder, world: World, line: str
) -> None:
    started = world.start("dep_scheduled", at=world.now() - 3600)
    words = line.format(run=started.id).split()
    sent: list[list[tuple[str, str]]] = []
    shown: list[dict[str, Any]] = []
    for sees in (False, True):
        if sees:
            assert qoder("deploy", "get", "dep_scheduled", "-q").code == 0
        before = len(world.requests)
        ran = qoder(*words, "--json")
        assert ran.code == 0
        runs = ran.json if isinstance(ran.json, list) else [ran.json]
        shown.append(next(run for run in runs if run.get("deployment_id") == "dep_scheduled"))
        sent.append(sorted({(seen.method, seen.path.split("/")[4]) for seen in list(world.requests)[before:]}))
    assert set(sent[1]) <= set(sent[0])  # of what a list has kept it asks nothing
    unseen, run = shown
    assert "deployment_name" not in unseen
    assert run["deployment_name"] == "nightly-report"
    assert run["derived"] == [*unseen.get("derived", []), "deployment_name"]


def test_run_list_and_session_list_have_the_name_in_a_column(qoder: Qoder, world: World) -> None:
    started = world.start("dep_scheduled")
    assert started.session
    assert qoder("deploy", "list", "--all", "-q").code == 0
    for noun, id in (("run", started.id), ("session", started.session.id)):
        [row] = [line.split("\t") for line in qoder(noun, "list").out.splitlines() if line.startswith(f"{id}\t")]
        columns = dict(zip(NOUNS[noun].listing.columns, row, strict=True))
        assert (columns["deployment"], columns["deployment_name"]) == ("dep_scheduled", "nightly-report")
        qoder.terminal = True
        assert "nightly-report  " in qoder(noun, "list").out
        assert "dep_scheduled" in qoder(noun, "list", "-o", "wide").out
        qoder.terminal = False
    [item] = [each for each in qoder("session", "list", "--json").json if each["id"] == started.session.id]
    assert "deployment_name" not in item  # sessions are as the server sent them
    assert name_in(qoder("session", "get", started.session.id)) == "nightly-report"


def test_run_get_leaves_a_name_that_the_server_sent(qoder: Qoder) -> None:
    see(qoder, deployment(1, "as seen"))
    for sent in ("as sent", None):
        qoder.wire.on(*RUN, {**DONE, "deployment_name": sent}).may(*SESSION, {})
        shown = qoder("run", "get", "drun_1", "--json").json
        assert shown["deployment_name"] == sent
        assert "deployment_name" not in shown["derived"]


@pytest.mark.parametrize("elsewhere", [{"QODER_PROFILE": "work"}, {"QODER_REGION": "cn"}], ids=str)
def test_run_get_takes_no_name_that_was_seen_with_another_profile_or_host(
    qoder: Qoder, elsewhere: dict[str, str]
) -> None:
    see(qoder, deployment(1, "nightly"))
    qoder.configured(f'[profiles.work]\ntoken = "{TOKEN}"\n')
    qoder.env |= elsewhere
    assert name_in(get(qoder)) is None


# What may show a deployment under its new name.
SAYS_ANEW: dict[str, Callable[[Qoder, dict[str, Any]], Any]] = {
    "deploy list": lambda qoder, new: qoder.wire.on(*DEPLOYMENTS, page(new)),
    "deploy get dep_1": lambda qoder, new: qoder.wire.on(*OF_1, new).may("GET", "/deployments/dep_1/runs", page()),
    "run list new": lambda qoder, new: qoder.wire.on(*DEPLOYMENTS, page(new)).on(
        "GET", "/deployments/dep_1/runs", page()
    ),
}


@pytest.mark.parametrize("line", SAYS_ANEW)
def test_run_get_shows_the_name_that_was_seen_last(qoder: Qoder, line: str) -> None:
    see(qoder, deployment(1, "old"))
    assert name_in(get(qoder)) == "old"
    SAYS_ANEW[line](qoder, deployment(1, "new"))
    assert qoder(*line.split()).code == 0
    assert name_in(get(qoder)) == "new"


@pytest.mark.parametrize("line", ["deploy update dep_scheduled --name new", "apply - --yes", "diff -"])
def test_writes_of_deployments_update_the_name_that_is_shown(qoder: Qoder, world: World, line: str) -> None:
    started = world.start("dep_scheduled", at=world.now() - 3600)
    qoder.stdin = '{"type": "deployment", "id": "dep_scheduled", "name": "new"}'
    is_written = line != "diff -"
    assert qoder(*line.split()).code == (0 if is_written else 8)
    assert name_in(qoder("run", "get", started.id)) == ("new" if is_written else "nightly-report")


def test_run_pending_knows_the_run_of_a_session_and_the_name_of_its_deployment(qoder: Qoder, server: Asking) -> None:
    server.asks("sess_1", call(1))
    [waiting] = qoder("run", "pending", "--json").json
    assert (waiting["run_id"], waiting["deployment_name"]) == (None, None)
    assert qoder("run", "list", "dep_1", "--no-resolve").code == 0
    assert qoder("deploy", "get", "dep_1", "-q").code == 0
    before = len(server.requests)
    [waiting] = qoder("run", "pending", "--json").json
    assert (waiting["run_id"], waiting["deployment_name"]) == ("drun_1", "nightly")
    assert [asked for asked in server.asked[before:] if "/runs" in asked or "deployment" in asked] == []
    assert waiting["answer"]["approve"][:4] == ["qoder", "run", "approve", "sess_1"]
    [row] = [line.split("\t") for line in qoder("session", "pending").out.rstrip("\n").split("\n")]
    assert (row[0], row[2], row[-1]) == ("drun_1", "dep_1", "nightly")


def test_run_pending_knows_the_run_that_was_waited_for_here(qoder: Qoder, world: World) -> None:
    ran = qoder("deploy", "run", "dep_ask", "--wait", "--json")
    assert ran.code == 11
    [waiting] = qoder("run", "pending", "--json").json
    assert (waiting["run_id"], waiting["session_id"]) == (ran.json["id"], ran.json["session_id"])


def test_run_wait_of_several_shows_on_a_terminal_names_and_who_waits_for_you(qoder: Qoder, world: World) -> None:
    runs = [world.start("dep_scheduled", at=world.now() - 3600), world.start("dep_ask", at=world.now() - 600)]
    assert qoder("deploy", "list", "--all", "-q").code == 0
    qoder.terminal = True
    ran = qoder("run", "wait", *(run.id for run in runs), "drun_nowhere")
    assert ran.code == 5
    rows = [line.split("  ") for line in ran.out.splitlines()[1:4]]  # what needs somebody comes first
    assert [row[0] for row in rows] == ["ask", "-", "nightly-report"]
    said = ("waits for you", "not_found", "completed")
    assert [word in " ".join(row) for word, row in zip(said, rows, strict=True)] == [True] * 3
