"""`qoder completion`: what is offered, how the real shells show it, and where --install puts the scripts."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from qoder_cli.base.errors import Exit
from qoder_cli.commands import deploy, run
from qoder_cli.help import NOUNS
from qoder_cli.help.completion import FILES, MADE_BY, SHELLS
from qoder_cli.help.documented import PAGES, TOPICS
from qoder_cli.settings.configfile import KEYS
from tests.completions import FOLDER, offered, scripts
from tests.conftest import Qoder
from tests.support.nursery import PATIENCE
from tests.support.programs import need
from tests.support.shells import press_tab

# What stands before the cursor, and what TAB offers.
CASES: dict[str, set[str]] = {
    "qoder ": set(NOUNS),
    "qoder dep": {"deploy"},
    "qoder deploy ": set(deploy.COMMANDS),
    "qoder-cli run ": set(run.COMMANDS),
    "qoder --vers": {"--version"},
    "qoder deploy --vers": set(),
    "qoder deploy run dep_1 --wai": {"--wait"},
    "qoder auth status --no-c": {"--no-color"},
    "qoder -o ": {"table", "wide", "json", "jsonl", "id"},
    "qoder run get drun_1 -o js": {"json", "jsonl"},
    "qoder --output ": {"table", "wide", "json", "jsonl", "id"},
    "qoder run get drun_1 --format=js": {"json", "jsonl"},
    "qoder --format json run lis": {"list"},
    "qoder run list --output=json --trigger ": {"manual", "schedule", "retry"},
    "qoder run list --outp": {"--output"},
    "qoder run logs --form": set(),
    "qoder --region ": {"global", "cn"},
    "qoder deploy run --region=g": {"global"},
    "qoder -o json --base-url http://127.0.0.1:8080/ dep": {"deploy"},
    "qoder --profile run aut": {"auth"},
    "qoder deploy run --region global --wai": {"--wait"},
    "qoder run list --no-color --trigger ": {"manual", "schedule", "retry"},
    "qoder deploy run --timeout 10m --dr": {"--dry-run"},
    "qoder config get ": set(KEYS),
    "qoder config set ": set(KEYS) - {"token"},
    "qoder config set region ": {"global", "cn"},
    "qoder config set region c": {"cn"},
    "qoder config set base_url c": set(),
    "qoder --profile work config set region --no-c": {"--no-color"},
    "qoder help ": {*TOPICS, *PAGES, *NOUNS},
    "qoder help dep": {"deploy"},
    "qoder help deploy ": set(deploy.COMMANDS),
    "qoder help runs l": {"list", "logs"},
    "qoder help exit-codes d": set(),
    "qoder deployments ": set(deploy.COMMANDS),
    "qoder deployment run --wai": {"--wait"},
    "qoder runs ls --trig": {"--trigger"},
    "qoder runs ls --since 1d --trigger ": {"manual", "schedule", "retry"},
    "qoder deploy resume --no-c": {"--no-color"},
    "qoder ls ": set(),
    "qoder -q 'run' \"list\" --trigger ": {"manual", "schedule", "retry"},
    "qoder -ojson run li": {"list"},
    "qoder run list -n 5 --trig": {"--trigger"},
    "qoder completion ": set(SHELLS),
    "qoder nonsense ": set(),
    "qoder deploy show --no-c": {"--no-color"},
    "qoder api ": {"GET", "POST", "PUT", "PATCH", "DELETE"},
    "qoder deploy apply -f let": {"(files)"},
    "qoder api --input=let": {"(files)"},
    "qoder run result last --output-dir dra": {"(folders)"},
    "qoder deploy run 'it is": set(),
    "qoder deploy run --timeout ": set(),
    "qoder deploy run --timeout 'a\nb": set(),
    "qoder sandbox --generation ": {"legacy", "current"},
    "qoder sandbox ": {"--"},
    "qoder sandbox --speed 10 -- qoder-cl": {"(programs)"},
    "qoder sandbox -- make ": {"(files)"},
    "qoder sandbox -- ./bin/qoder -q run ": set(run.COMMANDS),
    "qoder sandbox -- qoder -q run ": set(run.COMMANDS),
}


@pytest.mark.parametrize("line", CASES)
def test_the_program_offers(line: str) -> None:
    assert set(offered(line, {})) == CASES[line]


def test_what_is_offered_says_what_it_is() -> None:
    assert offered("qoder ", {})["deploy"] == NOUNS["deploy"][0]
    assert offered("qoder run ", {})["wait"] == "Wait for runs to finish; exit with their outcome"
    assert offered("qoder deploy run --wai", {}) == {"--wait": "Wait for the outcome, and exit with it"}
    assert offered("qoder help exit", {}) == {"exit-codes": TOPICS["exit-codes"]}


def test_profiles_are_those_of_the_config_file(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[profiles.work]\ntoken = "pt-1"\n  [ profiles."play" ] # mine\n[profiles.a b]\n= broken')
    assert set(offered("qoder --profile ", {"QODER_CONFIG": str(config)})) == {"work", "play"}
    assert set(offered("qoder run list --profile=w", {"QODER_CONFIG": str(config)})) == {"work"}


# --- In a process of its own.


def ask(line: str, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Start the program as a completion script does."""
    asking = {**os.environ, "_QODER_COMPLETE": "bash", "_QODER_LINE": line, **env}
    command = [sys.executable, "-m", "qoder_cli", *words]
    return subprocess.run(command, env=asking, capture_output=True, text=True, encoding="utf-8", timeout=PATIENCE)


ASKED_AND_IMPORTED = """import os, sys
from qoder_cli.cli.main import command_tree
from qoder_cli.help.completion.answer import respond
respond(command_tree("qoder"), {"_QODER_LINE": "qoder deploy run --wai"}, sys.stdout)
print(*sys.modules)"""


def test_an_answer_imports_nothing_heavy_and_no_other_noun() -> None:
    ran = subprocess.run([sys.executable, "-c", ASKED_AND_IMPORTED], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("words\n")
    imported = {*ran.stdout.split()}
    assert "qoder_cli.commands.deploy.run" in imported
    assert not {"httpx", "pydantic", "rich", "sqlite3", "tomllib", "qoder_cli.commands.run"} & imported


@pytest.mark.parametrize(
    "env",
    [
        {"HOME": "/nonexistent", "QODER_CONFIG": "/dev/null/x", "QODER_STATE_DIR": "/dev/null/x"},
        {"HOME": "", "QODER_CONFIG": "~nobody/x", "QODER_STATE_DIR": "~nobody/x"},
        {"_QODER_LINE": ""},
        {"_QODER_LINE": "qoder deploy run \udce4"},
    ],
)
@pytest.mark.parametrize("line", ["qoder deploy run ", "qoder --profile ", "qoder run get x", "qoder nonsense "])
def test_what_goes_wrong_is_no_answer_and_no_error(line: str, env: dict[str, str]) -> None:
    ran = ask(**{"line": line, **env} if "_QODER_LINE" not in env else {"line": env["_QODER_LINE"]})
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_no_option_of_typers_is_there(qoder: Qoder) -> None:
    assert "-completion" not in qoder("--help").out
    assert qoder("--show-completion").code == Exit.USAGE


def test_with_words_it_is_a_command_whatever_the_environment() -> None:
    assert ask("qoder ", "--version").stdout.startswith("qoder ")
    assert ask("qoder ", "deploy", "run").returncode == Exit.USAGE


# --- In the real shells.

SHELL_LINES = {
    "qoder ": set(NOUNS),
    "qoder-cli run ": set(run.COMMANDS),
    "qoder nonsense ": set(),
    "qoder deploy run dep_1 --wai": {"--wait"},
    "qoder run get drun_1 --format=js": {"json", "jsonl"},
    "qoder run list --trigger ": {"manual", "schedule", "retry"},
    "qoder -q 'run' \"list\" --trigger m": {"manual"},
    "qoder deploy apply --filename=let": {"letter.txt"},
    "qoder sandbox --speed 10 -- qoder-cl": {"qoder-cli"},
    "qoder sandbox -- qoder -q run ": set(run.COMMANDS),
}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_tab_offers_and_never_starts_another_qoder_and_shows_no_error(shell: str, tmp_path: Path) -> None:
    session = press_tab(shell, list(SHELL_LINES), tmp_path)
    assert session.offers == SHELL_LINES
    assert not session.started
    assert not [word for word in ("error", "not found", "bash:", "zsh:", "_qoder") if word in session.screen]


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_where_a_shell_cuts_no_words_at_an_equals_sign(shell: str, tmp_path: Path) -> None:
    """In bash = cuts no words here, and zsh reads the script as `eval` does."""
    lines = {"qoder run list --trigger=m": {"manual"}, "qoder deploy apply --filename=let": {"letter.txt"}}
    assert press_tab(shell, list(lines), tmp_path, BREAKS=" \t\n;|&").offers == lines


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_without_the_program_nothing_is_offered_or_said(shell: str, tmp_path: Path) -> None:
    session = press_tab(shell, ["./qoder deploy ", "/nowhere/qoder-cli "], tmp_path)
    assert set().union(*session.offers.values()) == set()
    assert not [word for word in ("error", "not found", "No such") if word in session.screen]


# What stands before the cursor, and what is there when TAB has put the only thing there is behind it.
WHOLE = {
    "qoder deploy apply -f a:b": "qoder deploy apply -f a:b.yaml ",
    "qoder deploy apply --filename=a:b": "qoder deploy apply --filename=a:b.yaml ",
    "qoder deploy apply -f a:": "qoder deploy apply -f a:b.yaml ",
    "qoder deploy apply -f 'with sp": "qoder deploy apply -f 'with space.yaml' ",
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


@pytest.mark.parametrize("name", FILES.values())
def test_the_files_in_completions_are_those_of_the_command_tree(name: str) -> None:
    committed = (FOLDER / name).read_text(encoding="utf-8")
    assert committed == scripts()[name], "python -m tests.completions rewrites them"


def test_the_bash_script_passes_shellcheck() -> None:
    need("shellcheck")
    subprocess.run(["shellcheck", FOLDER / FILES["bash"]], check=True)


# --- qoder completion


@pytest.mark.parametrize("shell", SHELLS)
def test_it_prints_the_script(qoder: Qoder, shell: str) -> None:
    ran = qoder("completion", shell, "-q")
    assert (ran.code, ran.out, ran.err) == (0, scripts()[FILES[shell]], "")


def test_an_unknown_shell_is_told_the_known_ones(qoder: Qoder) -> None:
    ran = qoder("completion", "tcsh")
    assert (ran.code, ran.out) == (Exit.USAGE, "")
    assert "'tcsh'" in ran.err
    assert "bash, zsh, fish, powershell" in ran.err


@pytest.fixture
def home(qoder: Qoder, tmp_path: Path) -> Path:
    """Return the home folder of whoever runs `qoder`."""
    folder = tmp_path / "home"
    qoder.env["HOME"] = str(folder)
    return folder


@pytest.mark.parametrize(
    ("shell", "files"),
    [
        ("bash", ["qoder", "qoder-cli"]),
        ("zsh", ["_qoder"]),
        ("fish", ["qoder.fish", "qoder-cli.fish"]),
    ],
)
@pytest.mark.parametrize("moved", [False, True])
def test_install_writes_where_the_shell_looks_and_says_so(
    qoder: Qoder, home: Path, tmp_path: Path, shell: str, files: list[str], moved: bool
) -> None:
    folder = (
        home
        / {
            "bash": ".local/share/bash-completion/completions",
            "zsh": ".local/share/zsh/site-functions",
            "fish": ".config/fish/completions",
        }[shell]
    )
    if moved:
        qoder.env |= {"XDG_DATA_HOME": str(tmp_path / "moved"), "XDG_CONFIG_HOME": str(tmp_path / "moved")}
        folder = tmp_path / "moved" / folder.parent.name / folder.name
    else:
        qoder.env |= {"XDG_DATA_HOME": "relative", "XDG_CONFIG_HOME": ""}  # neither counts
    ran = qoder("completion", shell, "--install")
    assert (ran.code, ran.out) == (0, "")
    assert ran.err.splitlines()[:-1] == [f"wrote {folder / name}" for name in files]
    assert [path.read_text(encoding="utf-8") for path in sorted(folder.iterdir())] == [
        scripts()[FILES[shell]] for _ in files
    ]


@pytest.mark.parametrize("name", FILES.values())
def test_a_script_says_who_made_it(name: str) -> None:
    assert MADE_BY in scripts()[name]


def test_install_again_replaces_what_is_ours(qoder: Qoder, home: Path) -> None:
    qoder("completion", "fish", "--install")
    folder = home / ".config/fish/completions"
    (folder / "qoder.fish").write_text(f"# {MADE_BY} fish, an older one")
    assert "kept" not in qoder("completion", "fish", "--install").err
    assert sorted(path.name for path in folder.iterdir()) == ["qoder-cli.fish", "qoder.fish"]
    assert (folder / "qoder.fish").read_text("utf-8") == scripts()["qoder.fish"]


def test_what_someone_else_put_there_is_kept(qoder: Qoder, home: Path) -> None:
    folder = home / ".local/share/zsh/site-functions"
    folder.mkdir(parents=True)
    for text in ("#compdef qoder\n# from the IDE", "#compdef qoder\n# from elsewhere"):
        (folder / "_qoder").write_text(text)
        ran = qoder("completion", "zsh", "--install")
        assert (ran.code, ran.err.splitlines()[0][:22]) == (0, "kept the old file as /")
    kept = [(path.name, path.read_text("utf-8")) for path in sorted(folder.iterdir())]
    assert kept == [
        ("_qoder", scripts()["_qoder"]),
        ("_qoder.bak", "#compdef qoder\n# from the IDE"),
        ("_qoder.bak2", "#compdef qoder\n# from elsewhere"),
    ]


@pytest.mark.skipif(os.name == "nt", reason="not everyone may make a link there")
def test_a_link_to_what_is_ours_stays_one(qoder: Qoder, home: Path, tmp_path: Path) -> None:
    folder = home / ".config/fish/completions"
    folder.mkdir(parents=True)
    (tmp_path / "dotfiles.fish").write_text(f"# {MADE_BY} fish")
    (folder / "qoder.fish").symlink_to(tmp_path / "dotfiles.fish")
    assert qoder("completion", "fish", "--install").code == 0
    assert (folder / "qoder.fish").is_symlink()
    assert (tmp_path / "dotfiles.fish").read_text("utf-8") == scripts()["qoder.fish"]


def test_after_install_fish_completes(qoder: Qoder, home: Path) -> None:
    if not shutil.which("fish"):
        pytest.skip("fish is not installed")
    assert qoder("completion", "fish", "--install").code == 0
    program = home / "bin" / "qoder-cli"  # fish looks for completions of what is on PATH only
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(f"#!/bin/sh\nexec '{sys.executable}' -m qoder_cli\n")
    program.chmod(0o755)
    offered = subprocess.run(
        ["fish", "-c", "complete -C 'qoder-cli dep'"],
        env={"HOME": str(home), "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert offered.stdout.startswith("deploy\t")


def test_after_install_zsh_completes_with_the_line_it_was_told(qoder: Qoder, home: Path) -> None:
    if not shutil.which("zsh"):
        pytest.skip("zsh is not installed")
    (home / ".local/share/zsh/site-functions").mkdir(parents=True)
    (home / ".local/share/zsh/site-functions/_qoder").write_text("#compdef qoder qoder-cli\nnot ours")  # kept beside
    line = qoder("completion", "zsh", "--install").err.splitlines()[-1].partition("compinit: ")[2]
    found = subprocess.run(
        [
            "zsh",
            "-fc",
            f"{line}; autoload -Uz compinit; compinit -D -u; print $_comps[qoder] $_comps[qoder-cli]",
        ],
        env={"HOME": str(home), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert found.stdout == "_qoder _qoder\n"


def test_a_folder_that_cannot_be_written(qoder: Qoder, home: Path) -> None:
    home.write_text("a file, not a folder")
    ran = qoder("completion", "bash", "--install")
    assert (ran.code, ran.out) == (Exit.USAGE, "")
    assert f"cannot write {home}" in ran.err


@pytest.mark.parametrize("where", ["", "relative"])
def test_without_a_home_nothing_is_installed(qoder: Qoder, where: str) -> None:
    qoder.env["HOME"] = where
    ran = qoder("completion", "bash", "--install")
    assert (ran.code, "no home folder to install in" in ran.err) == (Exit.USAGE, True)


def test_powershell_has_no_folder_to_install_in(qoder: Qoder, home: Path) -> None:
    ran = qoder("completion", "powershell", "--install")
    assert (ran.code, ran.out) == (Exit.USAGE, "")
    assert "$PROFILE" in ran.err
