"""What is typed for a deployment or a run and can be none: refused before any request, and shown as it is."""

import pytest

from qoder_cli.base import ids
from qoder_cli.base.errors import UsageError
from tests.conftest import Qoder

# What was typed, and the hint that says what to type instead.
NO_DEPLOYMENT = {
    "dep_demo ": "give the id alone: dep_demo",
    " dep_demo": "give the id alone: dep_demo",
    "\ufeffdep_demo": "give the id alone: dep_demo",
    "dep_demo\u200b": "give the id alone: dep_demo",
    "dep_demo/run": "give the id alone: dep_demo",
    "dep_demo?x=1": "give the id alone: dep_demo",
    "dep_demo#top": "give the id alone: dep_demo",
    "dep_demo,": "give the id alone: dep_demo",
    "dep_demo@last": "give the id alone: dep_demo",
    "dep_日報": "give a deployment id (dep_…) or an exact name",
    "dep_": "give a deployment id (dep_…) or an exact name",
    "dep_demo,dep_slow": "separate several ids by spaces, each a word of its own; on standard input, one a line",
    "dep_demo dep_slow": "separate several ids by spaces, each a word of its own; on standard input, one a line",
    "dep_demo;dep_slow": "separate several ids by spaces, each a word of its own; on standard input, one a line",
    '"dep_demo"': "give the id alone: dep_demo",
    "“dep_demo”": "give the id alone: dep_demo",
    "<dep_demo>": "give the id alone: dep_demo",
    "dep_demo\r": "give the id alone: dep_demo",
    "drun_1": "to see its deployment: qoder run get drun_1",
    " drun_1": "give a deployment id (dep_…) or an exact name",
    "../dep_demo": "give a deployment id (dep_…) or an exact name",
    "": "is a shell variable unset?",
}
NO_RUN = {
    "drun_1 ": "give the id alone: drun_1",
    "sess_1/events": "give the id alone: sess_1",
    "drun_1,drun_2": "separate several ids by spaces, each a word of its own; on standard input, one a line",
    "drun_1\tcompleted": "give the id alone: drun_1",
    "dep_demo,dep_slow@last": "separate several ids by spaces, each a word of its own; on standard input, one a line",
    "dep_demo": "for its latest run: dep_demo@last",
    "dep_demo ": "give a run (drun_…, sess_…, last or DEPLOYMENT@last)",
    "nightly": "for the latest run of a deployment: nightly@last; or give a run id (drun_…)",
    "nightly report": "give a run (drun_…, sess_…, last or DEPLOYMENT@last)",
    "https://qoder.com/cloud/runs/drun_1?tab=log": "give the id alone: drun_1",
    "'drun_1'": "give the id alone: drun_1",
    "drun_1\r\n": "give the id alone: drun_1",
    " last": "give a run (drun_…, sess_…, last or DEPLOYMENT@last)",
}
TAKES_DEPLOYMENT = [
    *(("deploy", verb) for verb in ("run", "get", "export", "pause", "unpause")),
    ("deploy", "archive", "--yes"),
    ("deploy", "update", "--description", "x"),
    ("run", "list"),
]
TAKES_RUN = [("run", "cancel", "--yes"), *(("run", verb) for verb in ("get", "wait", "logs", "result"))]


@pytest.mark.parametrize("typed", NO_DEPLOYMENT)
def test_what_can_be_no_deployment_says_what_to_type(typed: str) -> None:
    with pytest.raises(UsageError) as refused:
        ids.deployment(typed)
    assert refused.value.hint == NO_DEPLOYMENT[typed]


@pytest.mark.parametrize("typed", NO_RUN)
def test_what_can_be_no_run_says_what_to_type(typed: str) -> None:
    with pytest.raises(UsageError) as refused:
        ids.run(typed)
    assert refused.value.hint == NO_RUN[typed]


@pytest.mark.parametrize("typed", ["dep_demo ", "dep_demo,dep_slow", "dep_demo/run", "dep_demo?", "dep_demo#1"])
@pytest.mark.parametrize("words", TAKES_DEPLOYMENT, ids=" ".join)
def test_wherever_a_deployment_is_taken_nothing_is_asked(words: tuple[str, ...], typed: str, qoder: Qoder) -> None:
    ran = qoder(*words, typed, "--json")
    assert (ran.code, ran.out, qoder.wire.requests) == (2, "", [])
    assert ran.error["message"].startswith(f"{typed!r} is not a deployment id: it contains ")


@pytest.mark.parametrize("typed", ["drun_1 ", "drun_1,drun_2", "drun_1/events", "drun_1?", "sess_1#2", "dep_1 @last"])
@pytest.mark.parametrize("words", TAKES_RUN, ids=" ".join)
def test_wherever_a_run_is_taken_nothing_is_asked(words: tuple[str, ...], typed: str, qoder: Qoder) -> None:
    ran = qoder(*words, typed, "--json")
    assert (ran.code, ran.out, qoder.wire.requests) == (2, "", [])
    assert " id: it contains " in ran.error["message"]


@pytest.mark.parametrize("words", [("deploy", "run"), ("deploy", "export"), ("run", "wait"), ("run", "logs")])
def test_on_standard_input_too(words: tuple[str, ...], qoder: Qoder) -> None:
    prefix = "dep" if words[0] == "deploy" else "drun"
    for typed in ("{}_1,{}_2", "{}_1 {}_2", "{}_1/x", "{}_1\tcompleted"):
        qoder.stdin = f"{prefix}_0\n  {typed.replace('{}', prefix)}\t\r\n"
        ran = qoder(*words, "-", "--json")
        assert (ran.code, qoder.wire.requests) == (2, [])


def test_names_may_contain_what_ids_may_not() -> None:
    for name in ("nightly report", "a, b", "a/b", "50%/day?", "#1", "每日報告", "dep", "x dep_demo"):
        assert ids.deployment(name) == name
        assert ids.run(f"{name}@last") == f"{name}@last"


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("dep_每日報告", "'dep_每日報告' is not a deployment id: it contains '每'"),
        ("dep_\u202eevil", r"'dep_\u202eevil' is not a deployment id: it contains '\u202e'"),
        ("dep_\x1b[2J", r"'dep_\x1b[2J' contains a control character"),
    ],
)
def test_it_is_shown_as_it_is_but_for_what_steers_a_terminal(typed: str, shown: str, qoder: Qoder) -> None:
    assert qoder("deploy", "run", typed).errors == [f"error: {shown}"]


@pytest.mark.parametrize("id", ["dep_pt-0123456789abcdef", "drun_eyJhbGciOiJI.eyJzdWIiOiIx.c2ln"])
def test_a_token_behind_the_beginning_of_an_id_is_refused_and_written_nowhere(qoder: Qoder, id: str) -> None:
    words = ("deploy", "run") if id.startswith("dep_") else ("run", "get")
    ran = qoder(*words, id, "--json")
    assert (ran.code, id[6:] in ran.out + ran.err) == (2, False)
