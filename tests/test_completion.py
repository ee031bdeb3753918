"""`qoder completion`, in the real shells: what TAB offers, that it starts nothing, and where --install puts it."""

import os
import select
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest
import typer

from qoder_cli.cli import NOUNS
from qoder_cli.commands import deploy, run
from qoder_cli.commands.help import TOPICS
from qoder_cli.completion import SHELLS, read, script
from qoder_cli.configfile import KEYS
from qoder_cli.errors import Exit
from tests.completions import FILES, FOLDER, scripts
from tests.conftest import Qoder

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
    "qoder --region ": {"global", "cn"},
    "qoder deploy run --region=g": {"global"},
    "qoder -o json --base-url http://127.0.0.1:8080/ dep": {"deploy"},
    "qoder --profile run aut": {"auth"},
    "qoder deploy run --timeout 10m --dr": {"--dry-run"},
    "qoder config get ": set(KEYS),
    "qoder config set region ": set(),
    "qoder help ": set(TOPICS),
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


@dataclass
class Session:
    """What a shell offered for each line, all that it showed, and whether a program was started."""

    offers: dict[str, set[str]]
    screen: str
    started: bool


# TAB inserts all that it would offer into the line; Ctrl-X w writes the line down in $TYPED. No terminal
# acts on these keys by itself, so none is lost when the shell is not reading yet.
SETUP = {
    "bash": r"""PS1= HISTFILE=; set -u; shopt -s failglob
COMP_WORDBREAKS=${BREAKS-$COMP_WORDBREAKS}
written() { printf '%s\n' "$READLINE_LINE" >>"$TYPED"; READLINE_LINE= READLINE_POINT=0; }
bind 'set bell-style none'; bind '"\t": insert-completions'; bind -x '"\C-xw": written'
. "$SCRIPT"; echo ready >>"$TYPED"
""",
    "zsh": r"""PS1=; unset HISTFILE; unsetopt beep
[[ -v BREAKS ]] || fpath=(${SCRIPT:h} $fpath)
autoload -Uz compinit; compinit -D -u
[[ -v BREAKS ]] && . $SCRIPT
zle -C all complete-word _generic; bindkey '^I' all
zstyle ':completion:all:*' completer _all_matches _complete
zstyle ':completion:all:*' insert true
written() { print -r -- $BUFFER >>$TYPED; BUFFER=; }
zle -N written; bindkey '^Xw' written
echo ready >>$TYPED
""",
    "fish": r"source $argv[1]; for line in $argv[2..]; printf '\x1e'; complete -C $line; end",
}


def press_tab(shell: str, text: str, lines: list[str], folder: Path, **more: str) -> Session:
    """Put a completion script into a real shell, and TAB behind each line."""
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    completion = folder / FILES[shell]
    completion.write_text(text, encoding="utf-8")
    (folder / "letter.txt").touch()
    env = {**environment(folder), "SCRIPT": str(completion), "TYPED": str(folder / "typed"), **more}
    if shell == "fish":
        command = ["fish", "--no-config", "-c", SETUP["fish"], str(completion), *lines]
        ran = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=30, check=True)
        answers = [[row.partition("\t")[0] for row in part.splitlines()] for part in ran.stdout.split("\x1e")[1:]]
        screen = ran.stderr
    else:
        typed, screen = type_into([shell, {"bash": "--norc", "zsh": "-f"}[shell], "-i"], SETUP[shell], lines, env)
        answers = [inserted(line, after) for line, after in zip(lines, typed, strict=True)]
    offers = {line: {bare(word) for word in words} for line, words in zip(lines, answers, strict=True)}
    return Session(offers, screen, started=(folder / "started").exists())


def environment(folder: Path) -> dict[str, str]:
    """Return an environment with a home of its own, where starting qoder or Python leaves a trace."""
    programs = folder / "bin"
    programs.mkdir()
    for name in ("qoder", "qoder-cli", "python", "python3"):
        (programs / name).write_text(f"#!/bin/sh\necho {name} >>'{folder}/started'\n")
        (programs / name).chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    return {**kept, "HOME": str(folder), "PATH": f"{programs}:{os.environ['PATH']}", "TERM": "dumb"}


def type_into(command: list[str], setup: str, lines: list[str], env: Mapping[str, str]) -> tuple[list[str], str]:
    """Type each line, TAB, and the key that writes it down; return what was written, and all that was shown."""
    written, folder = Path(env["TYPED"]), Path(env["HOME"])
    (folder / "setup").write_text(setup)
    ours, theirs = os.openpty()
    screen = bytearray()

    def press(keys: str, *, answers: int) -> None:
        """Press keys and wait until so many lines are written down, reading what is shown."""
        os.write(ours, keys.encode())
        end = time.monotonic() + 20
        while not written.exists() or written.read_text().count("\n") < answers:
            assert time.monotonic() < end, f"after {keys!r} the shell shows {screen!r}"
            if select.select([ours], [], [], 0.002)[0]:
                screen.extend(os.read(ours, 65536))

    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=env, cwd=folder, start_new_session=True
    ) as process:
        try:
            press(". ./setup\r", answers=1)
            del screen[:]  # what the shell says of a terminal that is not its own
            for number, line in enumerate(lines, start=2):
                press(f"{line}\t\x18w", answers=number)
        finally:
            process.kill()
            os.close(theirs)
            os.close(ours)
    return written.read_text().splitlines()[1:], screen.decode()


def inserted(line: str, after: str) -> list[str]:
    """Return the words that TAB put in the place of the last one."""
    head = line[: line.rindex(" ") + 1]
    assert after.startswith(head)
    return [] if after == line else after[len(head) :].split()


def bare(word: str) -> str:
    """Return a word as typed alone: shells offer --name=, and --name=value whole."""
    return word.removesuffix("=").rpartition("=")[2]


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


@pytest.mark.parametrize("name", FILES.values())
def test_the_files_in_completions_are_those_of_the_command_tree(name: str) -> None:
    committed = (FOLDER / name).read_text(encoding="utf-8")
    assert committed == scripts()[name], "python -m tests.completions rewrites them"


def test_the_bash_script_passes_shellcheck() -> None:
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed")
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


def test_powershell_has_no_folder_to_install_in(qoder: Qoder, home: Path) -> None:
    ran = qoder("completion", "powershell", "--install")
    assert (ran.code, ran.out) == (Exit.USAGE, "")
    assert "$PROFILE" in ran.err
