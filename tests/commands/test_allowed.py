"""QODER_ALLOW, and `allow` in a profile: what an agent that operates `qoder` may do.

What each command needs is a clause of every command (`contract/test_refused.py`).
"""

from pathlib import Path

import pytest

from tests.conftest import Qoder


def configured(qoder: Qoder, text: str) -> None:
    Path(qoder.env["QODER_CONFIG"]).write_text(text, "utf-8")


NARROWER = {
    # The variable, the profile: what may not be done, and who says so.
    ("all", "run"): ("deploy pause dep_demo", "profiles.default.allow in "),
    ("run", "all"): ("deploy pause dep_demo", "QODER_ALLOW allows only 'run'"),
    ("answer", "run"): ("run approve last tool_1", "profiles.default.allow in "),
    (None, "answer"): ("session new --agent a -m b", "profiles.default.allow in "),
    ("", "all"): ("deploy list", "QODER_ALLOW is ''"),
    ("RUN", "all"): ("deploy list", "QODER_ALLOW is 'RUN'"),
    ("all", "rum"): ("deploy list", "default.allow"),
}


@pytest.mark.parametrize("settings", NARROWER)
def test_allow_is_the_narrower_of_variable_and_profile_and_never_all_where_it_is_misspelt(
    qoder: Qoder, settings: tuple[str | None, str]
) -> None:
    command, said = NARROWER[settings]
    if settings[0] is not None:
        qoder.env["QODER_ALLOW"] = settings[0]
    configured(qoder, f'[profiles.default]\nallow = "{settings[1]}"\n')
    ran = qoder(*command.split())
    assert (ran.code, qoder.wire.requests, said in ran.err) == (2, [], True)
    assert "hint: " in ran.err


SET_UP = (
    *("auth login --with-token", "auth logout", "auth switch x", "auth token"),
    *("config set allow all", "config unset allow"),
)


@pytest.mark.parametrize("command", SET_UP)
@pytest.mark.parametrize("level", ["read", "run", "answer"])
def test_what_is_allowed_is_not_changed_by_who_is_restricted(qoder: Qoder, command: str, level: str) -> None:
    text = f'[profiles.default]\nallow = "{level}"\n'
    configured(qoder, text)
    ran = qoder(*command.split())
    assert (ran.code, qoder.wire.requests, "needs 'all'" in ran.err) == (2, [], True)
    assert Path(qoder.env["QODER_CONFIG"]).read_text("utf-8") == text


@pytest.mark.parametrize("command", ["key free k --yes", "key init --store postgresql://h/d", "run wait last --forget"])
@pytest.mark.parametrize("level", ["read", "run", "answer"])
def test_doubt_about_a_start_is_not_ended_by_who_is_restricted(qoder: Qoder, command: str, level: str) -> None:
    qoder.env["QODER_ALLOW"] = level
    ran = qoder(*command.split())
    assert (ran.code, qoder.wire.requests, "needs 'all'; nothing was sent" in ran.err) == (2, [], True)


@pytest.mark.parametrize("options", ["--policy P", "--on-ask policy=P", "--on-ask prompt"])
@pytest.mark.parametrize("command", ["deploy run dep_demo --wait", "run wait drun_1", "run logs drun_1 --follow"])
def test_who_may_run_may_not_answer(qoder: Qoder, command: str, options: str) -> None:
    qoder.env["QODER_ALLOW"] = "run"
    qoder.terminal = True
    ran = qoder(*command.split(), *options.split())
    assert (ran.code, qoder.wire.requests) == (2, [])
    assert "QODER_ALLOW allows only 'run'" in ran.err
    assert "needs 'answer'" in ran.err


@pytest.mark.parametrize("word", ["last", "nightly@last"])
def test_who_may_run_cancels_by_id(qoder: Qoder, word: str) -> None:
    qoder.env["QODER_ALLOW"] = "run"
    ran = qoder("run", "cancel", word, "--yes")
    assert (ran.code, qoder.wire.requests, "another word than an id" in ran.err) == (2, [], True)


def test_help_agents_is_a_skill_too_which_a_new_folder_has(qoder: Qoder, tmp_path: Path) -> None:
    skill = qoder("help", "agents", "--skill").out
    head, page = skill.removeprefix("---\n").split("\n---\n\n")
    assert [line.split(": ")[0] for line in head.splitlines()] == ["name", "description"]
    assert page == qoder("help", "agents").out
    assert len(page.split()) <= 420
    assert qoder("init", str(tmp_path / "folder")).code == 0
    assert (tmp_path / "folder/.agents/skills/qoder/SKILL.md").read_text("utf-8") == skill
    for words in (["help", "ci", "--skill"], ["help", "agents", "--skill", "--json"]):
        assert qoder(*words).code == 2
