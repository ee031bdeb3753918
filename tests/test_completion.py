"""`qoder completion`, in the real shells: what TAB offers, that it starts nothing, and where --install puts it."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Annotated, Literal

import pytest
import typer

from qoder_cli.commands import deploy, run
from qoder_cli.completion import MADE_BY, SHELLS, read, script
from qoder_cli.configfile import KEYS
from qoder_cli.contents import NOUNS
from qoder_cli.documented import TOPICS
from qoder_cli.errors import Exit
from tests.completions import FILES, FOLDER, scripts
from tests.conftest import Qoder
from tests.programs import need
from tests.shells import Session, press_tab

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
    "qoder -o ": {"table", "json", "jsonl", "id"},
    "qoder run get drun_1 -o js": {"json", "jsonl"},
    "qoder --output ": {"table", "json", "jsonl", "id"},
    "qoder run get drun_1 --format=js": {"json", "jsonl"},
    "qoder --format json run lis": {"list"},
    "qoder run list --output=json --trigger ": {"manual", "schedule", "retry"},
    "qoder run list --outp": set(),
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
    "qoder help ": {*TOPICS, *NOUNS},
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
    "qoder sandbox --generation ": {"legacy", "current"},
    "qoder sandbox ": {"--"},
    "qoder sandbox --speed 10 -- qoder-cl": {"qoder-cli"},
    "qoder sandbox -- qoder -q run ": set(run.COMMANDS),
}

# A tree with what the real one does not have yet, or does not show.
LETTERS = typer.Typer(add_completion=False)
LETTER_CASES: dict[str, set[str]] = {
    "qoder s": {"send"},
    "qoder send --": {"--input", "--how", "--manner", "--stamp", "--help"},
    "qoder send --stamp ": set(),
    "qoder send --input let": {"letter.txt"},
    "qoder send --input=let": {"letter.txt"},
    "qoder send --how=s": {"slowly"},
    "qoder send --manner q": {"quickly"},
    "qoder send someone let": {"letter.txt"},
    "qoder send let": set(),
}


@LETTERS.command()
def send(
    whom: str,
    files: Annotated[list[str], typer.Argument(metavar="FILE...")],
    input: Annotated[str, typer.Option(metavar="FILE|-", help="It's a [file] \\ or -: read it.")] = "-",
    how: Annotated[Literal["slowly", "quickly"], typer.Option("--how", "--manner")] = "slowly",
    stamp: Annotated[str, typer.Option(metavar="KEY")] = "",  # not a key of the config file
    trace: Annotated[bool, typer.Option("--trace", hidden=True)] = False,
) -> None:
    """Send a letter: it's done."""


@LETTERS.command(hidden=True)
def secret() -> None:
    """Nobody is told."""


@pytest.fixture(params=["bash", "zsh", "fish"], scope="module")
def session(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Session:
    """Return what each shell offers with the script in `completions/`."""
    shell: str = request.param
    text = (FOLDER / FILES[shell]).read_text(encoding="utf-8")
    return press_tab(shell, text, list(CASES), tmp_path_factory.mktemp(shell))


@pytest.mark.parametrize("line", CASES)
def test_tab_offers(session: Session, line: str) -> None:
    assert session.offers[line] == CASES[line]


def test_tab_starts_no_program_and_shows_no_error(session: Session) -> None:
    assert not session.started
    assert not [word for word in ("error", "not found", "bash:", "zsh:", "_qoder") if word in session.screen]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_file_names_and_what_is_hidden(shell: str, tmp_path: Path) -> None:
    """In bash = cuts no words here, and zsh reads the script as `eval` does."""
    text = script(shell, read(typer.main.get_command(LETTERS)))
    session = press_tab(shell, text, list(LETTER_CASES), tmp_path, BREAKS=" \t\n;|&")
    assert session.offers == LETTER_CASES


# What stands before the cursor, and what is there when TAB has put the only thing there is behind it.
WHOLE = {
    "qoder deploy apply -f a:b": "qoder deploy apply -f a:b.yaml ",
    "qoder deploy apply --filename=a:b": "qoder deploy apply --filename=a:b.yaml ",
    "qoder deploy apply -f a:": "qoder deploy apply -f a:b.yaml ",
    "qoder deploy apply -f 'with sp": "qoder deploy apply -f 'with space.yaml' ",
    "qoder run result last --output-dir dra": "qoder run result last --output-dir drawer/",
    "qoder run list -oi": "qoder run list -oid ",
    "qoder run list -qoi": "qoder run list -qoid ",
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
    text = (FOLDER / FILES[shell]).read_text(encoding="utf-8")
    whole = WHOLE | ({"qoder run list --trigger='man": "qoder run list --trigger=manual "} if shell == "zsh" else {})
    assert press_tab(shell, text, list(whole), tmp_path, WHOLE="yes").typed == whole


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
        assert (ran.code, ran.err.splitlines()[0][:24]) == (0, "kept what was there as /")
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
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    offered = subprocess.run(
        ["fish", "-c", "complete -C 'qoder-cli dep'"],
        env={"HOME": str(home), "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=30,
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
        timeout=30,
    )
    assert found.stdout == "_qoder _qoder\n"
    (home / ".zshrc").write_text(f"{line}\nautoload -Uz compinit && compinit\n")
    assert qoder("completion", "zsh", "--install").err.endswith("the next zsh completes\n")


def test_a_folder_that_cannot_be_written(qoder: Qoder, home: Path) -> None:
    home.write_text("a file, not a folder")
    ran = qoder("completion", "bash", "--install")
    assert (ran.code, ran.out) == (Exit.USAGE, "")
    assert f"cannot write {home}" in ran.err


@pytest.mark.parametrize("where", ["", "relative"])
def test_without_a_home_nothing_is_installed(qoder: Qoder, where: str) -> None:
    qoder.env["HOME"] = where
    ran = qoder("completion", "bash", "--install")
    assert (ran.code, "there is no home folder" in ran.err) == (Exit.USAGE, True)


def test_powershell_has_no_folder_to_install_in(qoder: Qoder, home: Path) -> None:
    ran = qoder("completion", "powershell", "--install")
    assert (ran.code, ran.out) == (Exit.USAGE, "")
    assert "$PROFILE" in ran.err
