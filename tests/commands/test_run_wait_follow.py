"""`--follow` of several runs: whose each line is, on a terminal and elsewhere."""

import io
from typing import Any

import pytest

from qoder_cli.app import App
from qoder_cli.cli.main import main
from qoder_cli.output.screen import Screen
from qoder_cli.sessions import transcript
from qoder_cli.sessions.transcript import cut_inside
from tests.conftest import Qoder
from tests.support.logs import says
from tests.support.one_run import LEGACY
from tests.support.wire import page


def follow(qoder: Qoder, said: dict[str, list[Any]], *, terminal: bool = False, color: bool = False) -> list[str]:
    """Start these deployments, in whose sessions this is said, and follow them; return the lines of their events."""
    named = page(*({"id": f"dep_{n}", "name": name} for n, name in enumerate(said)))
    qoder.wire.on("GET", "/deployments", named)
    for n, events in enumerate(said.values()):
        run = {**LEGACY, "id": f"drun_{n}", "session_id": f"sess_{n}", "deployment_id": f"dep_{n}"}
        qoder.wire.on("POST", f"/deployments/dep_{n}/run", run)
        qoder.wire.on("GET", f"/deployment_runs/drun_{n}", run, {**run, "status": "completed"})
        qoder.wire.on("GET", f"/sessions/sess_{n}/events", page(*events), page(*events), repeat=True)  # each once
    qoder.wire.may("GET", "/sessions", page()).may("GET", "/sessions/*", {})
    out = Screen(io.BytesIO())
    err = Screen(written := io.BytesIO(), is_terminal=terminal, color=color, moves=False)
    app = App(env=qoder.env, out=out, err=err, clock=qoder.clock, transport=qoder.wire)
    assert main(["deploy", "run", *said, "--follow", "-q"], app) == 0
    return [line for line in written.getvalue().decode().splitlines() if " | " in line]


def test_deploy_run_follow_of_several_begins_each_line_with_its_deployment(qoder: Qoder) -> None:
    said = {"nightly-report": [says("One.\nTwo\x1b[2J.", 1)], "tidy": [says("Three.", 2), says("Four.", 3)]}
    lines = follow(qoder, said)
    assert [line for line in lines if line.startswith("nightly")] == [
        "nightly-report | 2026-06-14T08:54:01Z\tagent\tOne.",
        "nightly-report | \t\tTwo\\u001b[2J.",
    ]
    assert [line for line in lines if line.startswith("tidy")] == [
        "tidy | 2026-06-14T08:54:02Z\tagent\tThree.",
        "tidy | 2026-06-14T08:54:03Z\tagent\tFour.",
    ]


def test_deploy_run_follow_of_one_begins_no_line_with_its_deployment(qoder: Qoder) -> None:
    qoder.wire.on("POST", "/deployments/dep_1/run", LEGACY).on("GET", "/sessions/sess_1/events", page(says("Hello.")))
    qoder.wire.on("GET", "/deployment_runs/drun_1", {**LEGACY, "status": "completed"})
    ran = qoder("deploy", "run", "dep_1", "--follow", "-q")
    assert "2026-06-14T08:54:01Z\tagent\tHello." in ran.err.splitlines()


@pytest.mark.parametrize("color", [False, True])
def test_deploy_run_follow_on_terminals_pads_labels(qoder: Qoder, monkeypatch: pytest.MonkeyPatch, color: bool) -> None:
    monkeypatch.setattr(transcript, "terminal_width", lambda: 60)
    long = {"type": "agent.message", "content": "word " * 12}
    lines = follow(qoder, {"nightly-report": [says("Hello.")], "tidy": [long]}, terminal=True, color=color)
    if color:
        assert all(line.startswith("\x1b[2m") for line in lines)
        return
    assert [line for line in lines if line.startswith("tidy")] == [
        "tidy           |           agent     word word word word",
        "tidy           |                     word word word word",
        "tidy           |                     word word word word",
    ]
    [day, hello] = [line for line in lines if line.startswith("nightly-report | ")]
    assert (day[17:21], hello[-6:]) == ("2026", "Hello.")


@pytest.mark.parametrize(
    ("label", "width", "shown"),
    [
        ("tidy", 6, "tidy  "),
        ("tidy", 4, "tidy"),
        ("quarterly-report-emea", 11, "quart…-emea"),
        ("日报日报日报", 7, "日 … 报"),
        ("日报", 4, "日报"),
        ("abc", 1, "…"),
        ("", 2, "  "),
    ],
)
def test_follow_cuts_a_label_in_the_middle(label: str, width: int, shown: str) -> None:
    assert cut_inside(label, width) == shown
