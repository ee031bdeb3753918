"""`deploy export` of what has our token in it says so, and no file that has `[redacted]` in a value is sent."""

from pathlib import Path

import pytest

from tests.conftest import TOKEN, Qoder

EVENT = {"type": "user.message", "content": [{"type": "text", "text": f"Use {TOKEN}, please."}]}
DEPLOYMENT = {
    "id": "dep_1",
    "type": "deployment",
    "name": "nightly",
    "agent": {"type": "agent", "id": "agent_1", "version": 1},
    "environment_id": "env_1",
    "environment_variables": f"A=1;B={TOKEN}",
    "initial_events": [EVENT],
    "status": "active",
}


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_deploy_export_says_where_it_hides_the_token(qoder: Qoder, tmp_path: Path, options: tuple[str, ...]) -> None:
    qoder.wire.on("GET", "/deployments/dep_1", DEPLOYMENT)
    ran = qoder("deploy", "export", "dep_1", *options)
    assert ran.code == 0
    places = "environment_variables, initial_events[0].content[0].text"
    assert f"dep_1: [redacted] stands for a secret in {places}; `deploy apply` will refuse this file" in ran.err
    file = tmp_path / "made.yaml"
    file.write_text(ran.out)
    refused = qoder("deploy", "apply", str(file), "--yes")
    assert refused.code == 2, refused.err
    assert "[redacted] in place of a secret" in refused.err
    assert [request.method for request in qoder.wire.requests] == ["GET"]


def test_deploy_apply_names_file_line_and_field_of_what_was_hidden(qoder: Qoder, tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("name: n\nagent: agent_1\nenvironment: env_1\nmessage: |\n  one\n  the [redacted] two\n")
    ran = qoder("deploy", "apply", str(file))
    assert (ran.code, f"{file}:4: message: has [redacted] in place of a secret" in ran.err) == (2, True)


@pytest.mark.parametrize("words", [("agent", "create"), ("agent", "update", "agent_1")])
def test_agent_create_refuses_a_file_with_hidden_values(qoder: Qoder, tmp_path: Path, words: tuple[str, ...]) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("name: n\nmodel: ultimate\nsystem: Use [redacted].\n")
    ran = qoder(*words, "-f", str(file))
    assert (ran.code, f"{file}:3: system: has [redacted] in place of a secret" in ran.err) == (2, True), ran.err


def test_deploy_apply_sends_the_word_where_a_variable_has_it(qoder: Qoder, tmp_path: Path) -> None:
    qoder.env["WORD"] = "[redacted]"
    qoder.wire.on("GET", "/deployments", {"data": [], "has_more": False})
    file = tmp_path / "a.yaml"
    file.write_text('name: n\nagent: agent_1\nenvironment: env_1\nmessage: "Write ${WORD} for names."\n')
    assert qoder("deploy", "apply", str(file), "--dry-run").code == 0
