"""TAB in the real shells: what it offers and completes, what it shows, and that it starts nothing."""

import subprocess
from pathlib import Path

import pytest

from qoder_cli.commands import run
from qoder_cli.help import NOUNS
from qoder_cli.help.completion import FILES
from tests.support.cells import ALL_CELLS, checkerboard
from tests.support.completions import FOLDER
from tests.support.shells import LINES, Session, environment, need, press_tab, seen_home
from tests.support.stored import put_in_the_way

SHELLS = ["bash", "zsh", "fish"]
TYPED: dict[str, set[str]] = {
    "qoder ": set(NOUNS),
    "qoder-cli run ": set(run.COMMANDS),
    "qoder nonsense ": set(),
    "qoder run get drun_1 --output=js": {"json", "jsonl"},
    "qoder -q 'run' \"list\" --trigger m": {"manual"},
    "qoder agent create --file=let": {"letter.txt"},
}
SEEN = [
    *("qoder deploy run ", "qoder deploy run nightly", "qoder deploy run 日", "qoder deploy run \\$"),
    *("qoder deploy run --profile=work wor", "qoder session new --agent wr"),
]
NOTHING = {"qoder deploy run ": set[str](), "qoder run get ": {"last"}}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the environment of a home where commands have seen deployments and runs."""
    return seen_home(tmp_path_factory.mktemp("home"))


def tab(shell: str, home: Path, lines: list[str], **env: str) -> Session:
    """Press TAB behind each line; nothing may be shown that is an error, and nothing started."""
    session = press_tab(shell, lines, home, LC_ALL="C.UTF-8", **env)
    assert not session.started
    words = ("rror", "denied", "not found", "No such", "warning", "_qoder", "ignored")
    assert [word for word in words if word in session.screen] == []
    return session


@pytest.mark.parametrize("shell", SHELLS)
def test_tab_offers_and_never_starts_another_qoder(shell: str, tmp_path: Path, seen: dict[str, str]) -> None:
    expected = TYPED | {line: LINES[line] for line in (SEEN if ALL_CELLS else SEEN[::2])}
    assert tab(shell, tmp_path, list(expected), **seen).offers == expected


@pytest.mark.parametrize(("shell", "what"), checkerboard(SHELLS, ["commands", "binary"]))
def test_tab_starts_nothing_of_what_others_wrote(shell: str, tmp_path: Path, what: str) -> None:
    put_in_the_way(tmp_path / "own place", what)
    assert tab(shell, tmp_path, list(NOTHING), QODER_STATE_DIR=str(tmp_path / "own place")).offers == NOTHING


@pytest.mark.parametrize("shell", SHELLS)
def test_tab_says_nothing_where_the_program_is_not(shell: str, tmp_path: Path) -> None:
    session = tab(shell, tmp_path, ["./qoder deploy ", "/nowhere/qoder-cli "])
    assert set().union(*session.offers.values()) == set()


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_tab_offers_values_where_a_shell_cuts_no_words_at_an_equals_sign(shell: str, tmp_path: Path) -> None:
    """In bash = cuts no words here, and zsh reads the script as `eval` does."""
    lines = {"qoder run list --trigger=m": {"manual"}, "qoder agent create --file=let": {"letter.txt"}}
    assert press_tab(shell, list(lines), tmp_path, BREAKS=" \t\n;|&").offers == lines


# What stands before the cursor, and what is there when TAB has put the only thing there is behind it.
WHOLE = {
    "qoder agent create -f a:b": "qoder agent create -f a:b.yaml ",
    "qoder agent create --file=a:b": "qoder agent create --file=a:b.yaml ",
    "qoder agent create -f a:": "qoder agent create -f a:b.yaml ",
    "qoder agent create -f 'with sp": "qoder agent create -f 'with space.yaml' ",
    "qoder run result last --output-dir dra": "qoder run result last --output-dir drawer/",
    'qoder run list -o "tab': 'qoder run list -o "table" ',
    "qoder run list --trigger 'man": "qoder run list --trigger 'manual' ",
    "qoder run list --trigger='man": "qoder run list --trigger='manual' ",
    "qoder -qo json run li": "qoder -qo json run list ",
}


@pytest.mark.parametrize("shell", ["bash", "zsh"])  # fish tells only what it offers
def test_tab_completes_the_word_and_nothing_before_it(shell: str, tmp_path: Path) -> None:
    for name in ("a:b.yaml", "with space.yaml", "drawer.yaml"):
        (tmp_path / name).touch()
    (tmp_path / "drawer").mkdir()
    whole = WHOLE | ({"qoder run list --trigger='man": "qoder run list --trigger=manual "} if shell == "zsh" else {})
    assert press_tab(shell, list(whole), tmp_path, WHOLE="yes").typed == whole


@pytest.mark.parametrize("shell", ["bash", "zsh"])  # what stands behind the cursor fish cannot be told in a script
def test_tab_knows_what_stands_behind_the_cursor(shell: str, tmp_path: Path, seen: dict[str, str]) -> None:
    line = "qoder deploy get dep --profile work\x1b[D" + "\x1b[D" * len(" --profile wor")
    [typed] = press_tab(shell, [line], tmp_path, WHOLE="yes", **seen).typed.values()
    assert typed.split() == ["qoder", "deploy", "get", "dep_work", "--profile", "work"]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.few(2)
def test_tab_shows_names_beside_the_ids_and_runs_none(shell: str, tmp_path: Path, seen: dict[str, str]) -> None:
    screen = listed(shell, tmp_path, "qoder deploy run dep_", **seen)
    names = ["nightly-report", "Daily report (EMEA)", 'it\'s "quoted" \\ twice', "$(touch started) `touch", "%F{red}"]
    assert [name for name in names if name not in screen] == []
    assert "\x1b[2J" not in screen
    assert not (tmp_path / "started").exists()


def listed(shell: str, home: Path, line: str, **env: str) -> str:
    """Return what a shell shows when it lists what can follow."""
    need(shell)
    if shell != "fish":
        return press_tab(shell, [line], home, LC_ALL="C.UTF-8", LISTED="yes", **env).screen
    command = ["fish", "--no-config", "-c", "source $argv[1]; complete -C $argv[2]", str(FOLDER / FILES[shell]), line]
    ran = subprocess.run(command, env=environment(home) | env, cwd=home, capture_output=True, text=True, check=True)
    return ran.stdout
