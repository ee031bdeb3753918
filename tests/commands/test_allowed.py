"""QODER_ALLOW, and `allow` in a profile: what an agent that operates `qoder` may do.

What each command needs is a clause of every command (`contract/test_refused.py`).
"""

from pathlib import Path

import pytest

from tests.conftest import Qoder

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
    qoder.configured(f'[profiles.default]\nallow = "{settings[1]}"\n')
    ran = qoder(*command.split())
    assert (ran.code, qoder.wire.requests, said in ran.err) == (2, [], True)
    assert "hint: " in ran.err


SET_UP = (
    *("auth login --with-token", "auth logout", "auth switch x", "auth token"),
    *("config set allow all", "config unset allow"),
)
DOUBT = ("key free k --yes", "key init --store postgresql://h/d", "run wait last --forget")  # about a start, ended
WAITS = ("deploy run dep_demo --wait", "run wait drun_1", "run logs drun_1 --follow")
ANSWERING = ("--policy P", "--on-ask policy=P", "--on-ask prompt")
# A level, what it may not do, and what is said.
BEYOND = [
    *((level, line, "needs 'all'") for level in ("read", "run", "answer") for line in SET_UP + DOUBT),
    *(("run", f"{line} {options}", "needs 'answer'") for line in WAITS for options in ANSWERING),
    *(("run", f"run cancel {word} --yes", "another word than an id") for word in ("last", "nightly@last")),
]


@pytest.mark.parametrize(("level", "line", "said"), BEYOND)
def test_who_is_restricted_does_no_more_by_an_option_a_word_or_another_setting(
    qoder: Qoder, level: str, line: str, said: str
) -> None:
    text = f'[profiles.default]\nallow = "{level}"\n'
    qoder.configured(text)
    qoder.terminal = True
    ran = qoder(*line.split())
    assert (ran.code, qoder.wire.requests, said in ran.err) == (2, [], True)
    assert qoder.config.read_text("utf-8") == text


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
