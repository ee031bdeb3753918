"""Other words for commands: understood, never shown, and asking what the command asks."""

import pytest

from tests.conftest import Qoder
from tests.support.completions import offered

# What is typed, and the command that it is.
ALIASES = {
    "session create": "session new",
    "session threads": "session thread list",
    "session rm": "session delete",
    "file rm": "file delete",
    "file remove": "file delete",
    "vault credential rm": "vault credential delete",
    "memory rm": "memory remove",
    "memory versions": "memory history",
    "agent new": "agent create",
    "deploy new": "deploy create",
    "agents ls": "agent list",
    "environment describe": "env get",
    "run log": "run logs",
    "run stop": "run cancel",
    "dream stop": "dream cancel",
}


@pytest.mark.parametrize("typed", ALIASES)
def test_alias_has_the_help_of_its_command(qoder: Qoder, typed: str) -> None:
    ran = qoder(*typed.split(), "--help")
    assert (ran.code, ran.out) == (0, qoder(*ALIASES[typed].split(), "--help").out)


@pytest.mark.parametrize("typed", ["session threads", "memory versions", "run stop", "session create"])
def test_alias_is_in_no_help_and_no_completion(qoder: Qoder, typed: str) -> None:
    group, word = typed.split()
    assert f"\n  {word} " not in qoder(group, "--help").out
    assert set(offered(f"qoder {group} {word}", {})) <= {"thread"}


def test_version_is_printed_by_either_word(qoder: Qoder) -> None:
    assert qoder("version").out == qoder("--version").out == qoder("--no-color", "version").out != ""
