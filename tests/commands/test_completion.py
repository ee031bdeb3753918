"""`qoder completion`: what TAB offers behind a line, and where --install puts the scripts."""

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from qoder_cli.base.errors import Exit
from qoder_cli.commands import deploy
from qoder_cli.help import NOUNS
from qoder_cli.help.completion import FILES, SHELLS, SIGNATURE
from qoder_cli.help.documented import PAGES, TOPICS
from qoder_cli.output.screen import inert
from qoder_cli.settings.configfile import KEYS
from tests.conftest import Qoder
from tests.support.completions import FOLDER, offered, scripts
from tests.support.shells import LINES, NAMES, WITH_NAMES, need, seen_home

HEAVY = {"httpx", "pydantic", "rich", "sqlite3", "tomllib"}
TRIGGERS = {"manual", "schedule", "retry"}
FORMATS = {"table", "wide", "pretty", "markdown", "csv", "html", "json", "jsonl", "yaml", "otlp", "id"}
# What stands before the cursor, and what TAB offers, whatever was seen.
CASES: dict[str, set[str]] = {
    "qoder ": set(NOUNS),
    "qoder dep": {"deploy"},
    "qoder deploy ": set(deploy.COMMANDS),
    "qoder deploy run dep_1 --wai": {"--wait"},
    "qoder -o ": FORMATS,
    "qoder run get drun_1 -o js": {"json", "jsonl"},
    "qoder --output json run lis": {"list"},
    "qoder run list --output=json --trigger ": TRIGGERS,
    "qoder --region ": {"global", "cn"},
    "qoder --profile run aut": {"auth"},
    "qoder deploy run --timeout 10m --dr": {"--dry-run"},
    "qoder config get ": set(KEYS),
    "qoder config set ": set(KEYS) - {"token"},
    "qoder config set region ": {"global", "cn"},
    "qoder help ": {*TOPICS, *PAGES, *NOUNS},
    "qoder help deploy ": set(deploy.COMMANDS),
    "qoder help runs l": {"list", "logs"},
    "qoder runs ls --since 1d --trigger ": TRIGGERS,
    "qoder ls ": set(),
    "qoder -q 'run' \"list\" --trigger ": TRIGGERS,
    "qoder completion ": set(SHELLS),
    "qoder api ": {"GET", "POST", "PUT", "PATCH", "DELETE"},
    "qoder apply let": {"(files)"},
    "qoder api --input=let": {"(files)"},
    "qoder run result last --output-dir dra": {"(folders)"},
    "qoder deploy run 'it is": set(),
    "qoder deploy run --timeout 'a\nb": set(),
    "qoder sandbox -- make ": {"(files)"},
}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the environment of a home where commands have seen deployments and runs."""
    return seen_home(tmp_path_factory.mktemp("home"))


@pytest.mark.parametrize("line", CASES)
def test_completion_offers_what_fits_the_line(line: str) -> None:
    assert set(offered(line, {})) == CASES[line]


@pytest.mark.parametrize("line", LINES)
def test_completion_offers_what_was_seen(seen: dict[str, str], line: str) -> None:
    assert set(offered(line, seen)) == LINES[line]


def test_completion_says_of_each_offer_what_it_is(seen: dict[str, str]) -> None:
    assert offered("qoder ", {})["deploy"] == NOUNS["deploy"][0]
    assert offered("qoder run ", {})["wait"] == "Wait for runs to finish; exit with their outcome"
    assert offered("qoder deploy run --wai", {}) == {"--wait": "Wait for the outcome, and exit with it"}
    assert offered("qoder help exit", {}) == {"exit-codes": TOPICS["exit-codes"]}
    ids = {name: id for id, name in NAMES.items() if name in WITH_NAMES}
    assert offered("qoder deploy run ", seen) == {id: inert(name) for id, name in NAMES.items()} | ids
    assert offered("qoder deploy run nightly-r", seen) == {"nightly-report": "dep_1"}
    assert offered("qoder run get drun_1", seen)["drun_1"].startswith("nightly-report 2026-06-14 ")


def test_completion_heeds_a_profile_behind_the_cursor(seen: dict[str, str]) -> None:
    assert set(offered("qoder deploy get dep", seen, rest=" --profile work")) == {"dep_work"}
    assert set(offered("qoder --profile default deploy get dep", seen, rest=" --profile=work")) == {"dep_work"}


def test_completion_inside_the_sandbox_offers_only_what_was_seen_there(seen: dict[str, str]) -> None:
    env = {**seen, "QODER_SANDBOX": "http://127.0.0.1:8001"}
    assert set(offered("qoder deploy run ", env)) == {"dep_demo", "nightly"}


def test_completion_offers_the_profiles_of_the_config_file(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[profiles.work]\ntoken = "pt-1"\n  [ profiles."play" ] # mine\n[profiles.a b]\n= broken')
    assert set(offered("qoder --profile ", {"QODER_CONFIG": str(config)})) == {"work", "play"}
    assert set(offered("qoder run list --profile=w", {"QODER_CONFIG": str(config)})) == {"work"}


def test_completion_changes_nothing_on_the_disk_while_others_write_there(seen: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(seen["QODER_STATE_DIR"], folder)
    env = {"QODER_STATE_DIR": str(folder)}
    before = {file.name: file.read_bytes() for file in folder.iterdir() if file.name != "state.db-shm"}
    assert set(offered("qoder deploy run ", env)) == WITH_NAMES
    assert {file.name: file.read_bytes() for file in folder.iterdir() if file.name != "state.db-shm"} == before
    with closing(sqlite3.connect(folder / "state.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert set(offered("qoder deploy run ", env)) == WITH_NAMES
    assert not offered("qoder deploy run ", {"QODER_STATE_DIR": str(tmp_path / "none")})
    assert not (tmp_path / "none").exists()


def ask(line: str, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    asking = {**os.environ, "_QODER_COMPLETE": "bash", "_QODER_LINE": line, **env}
    command = [sys.executable, "-m", "qoder_cli", *words]
    return subprocess.run(command, env=asking, capture_output=True, text=True, encoding="utf-8", timeout=60)


@pytest.mark.parametrize(
    ("line", "env"),
    [
        ("qoder deploy run ", dict.fromkeys(("HOME", "QODER_CONFIG", "QODER_STATE_DIR"), "/dev/null/x")),
        ("qoder --profile ", {"HOME": "", "QODER_CONFIG": "~nobody/x", "QODER_STATE_DIR": "~nobody/x"}),
        ("", {}),
        ("qoder deploy run \udce4", {}),
    ],
    ids=["no state", "no config", "no line", "no text"],
)
def test_completion_says_nothing_where_something_goes_wrong(line: str, env: dict[str, str]) -> None:
    ran = ask(line, **env)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_completion_is_not_asked_where_there_are_words() -> None:
    assert ask("qoder ", "--version").stdout.startswith("qoder ")


ASKED_AND_IMPORTED = """import os, sys
from qoder_cli.cli.main import command_tree
from qoder_cli.help.completion.answer import respond
respond(command_tree("qoder"), {"_QODER_LINE": "qoder deploy run --wai"}, sys.stdout)
print(*sys.modules)"""


def test_completion_imports_nothing_heavy_and_no_other_noun() -> None:
    ran = subprocess.run([sys.executable, "-c", ASKED_AND_IMPORTED], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("words\n")
    imported = {*ran.stdout.split()}
    assert "qoder_cli.commands.deploy.run" in imported
    assert not (HEAVY | {"qoder_cli.commands.run"}) & imported


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_prints_the_script_that_is_committed(qoder: Qoder, shell: str) -> None:
    ran = qoder("completion", shell, "-q")
    assert (ran.code, ran.out, ran.err) == (0, scripts()[FILES[shell]], "")
    assert SIGNATURE in ran.out
    committed = (FOLDER / FILES[shell]).read_text(encoding="utf-8")
    assert committed == ran.out, "run: python -m tests.tools generate"


def test_completion_for_bash_passes_shellcheck() -> None:
    need("shellcheck")
    subprocess.run(["shellcheck", FOLDER / FILES["bash"]], check=True)


@pytest.fixture
def home(qoder: Qoder, tmp_path: Path) -> Path:
    """Return the home folder of whoever runs `qoder`."""
    folder = tmp_path / "home"
    qoder.env["HOME"] = str(folder)
    return folder


@pytest.mark.parametrize(
    ("shell", "where", "files"),
    [
        ("bash", ".local/share/bash-completion/completions", ["qoder", "qoder-cli"]),
        ("zsh", ".local/share/zsh/site-functions", ["_qoder"]),
        ("fish", ".config/fish/completions", ["qoder-cli.fish", "qoder.fish"]),
    ],
)
@pytest.mark.parametrize("moved", [False, True])
def test_completion_install_writes_where_the_shell_looks_and_says_so(
    qoder: Qoder, home: Path, tmp_path: Path, shell: str, where: str, files: list[str], moved: bool
) -> None:
    folder = home / where
    qoder.env |= {"XDG_DATA_HOME": "relative", "XDG_CONFIG_HOME": ""}  # neither counts
    if moved:
        qoder.env |= dict.fromkeys(("XDG_DATA_HOME", "XDG_CONFIG_HOME"), str(tmp_path / "moved"))
        folder = tmp_path / "moved" / folder.parent.name / folder.name
    ran = qoder("completion", shell, "--install")
    assert (ran.code, ran.out) == (0, "")
    assert sorted(ran.err.splitlines()[:-1]) == [f"wrote {folder / name}" for name in files]
    script = scripts()[FILES[shell]]
    assert {path.name: path.read_text("utf-8") for path in folder.iterdir()} == dict.fromkeys(files, script)


def test_completion_install_takes_the_shell_that_is_used(qoder: Qoder, home: Path) -> None:
    qoder.env["SHELL"] = "/usr/bin/fish"
    assert qoder("completion", "--install").code == 0
    assert (home / ".config/fish/completions/qoder.fish").exists()


@pytest.mark.skipif(os.name == "nt", reason="not everyone may make a link there")
def test_completion_install_replaces_what_is_ours_and_leaves_a_link(qoder: Qoder, home: Path, tmp_path: Path) -> None:
    folder = home / ".config/fish/completions"
    folder.mkdir(parents=True)
    (folder / "qoder-cli.fish").write_text(f"# {SIGNATURE} fish, an older one")
    (tmp_path / "dotfiles.fish").write_text(f"# {SIGNATURE} fish")
    (folder / "qoder.fish").symlink_to(tmp_path / "dotfiles.fish")
    assert "kept" not in qoder("completion", "fish", "--install").err
    script = scripts()["qoder.fish"]
    assert {path.name: path.read_text("utf-8") for path in folder.iterdir()} == {
        "qoder.fish": script,
        "qoder-cli.fish": script,
    }
    assert (tmp_path / "dotfiles.fish").read_text("utf-8") == script
    assert (folder / "qoder.fish").is_symlink()


def test_completion_install_keeps_what_someone_else_put_there(qoder: Qoder, home: Path) -> None:
    folder = home / ".local/share/zsh/site-functions"
    folder.mkdir(parents=True)
    for text in ("#compdef qoder\n# from the IDE", "#compdef qoder\n# from elsewhere"):
        (folder / "_qoder").write_text(text)
        ran = qoder("completion", "zsh", "--install")
        assert (ran.code, ran.err.splitlines()[0][:22]) == (0, "kept the old file as /")
    assert {path.name: path.read_text("utf-8") for path in folder.iterdir()} == {
        "_qoder": scripts()["_qoder"],
        "_qoder.bak": "#compdef qoder\n# from the IDE",
        "_qoder.bak2": "#compdef qoder\n# from elsewhere",
    }


@pytest.mark.parametrize(
    ("words", "where", "said"),
    [
        ("tcsh --install", "home", "bash, zsh, fish, powershell"),
        ("powershell --install", "home", "$PROFILE"),
        ("bash --install", "", "no home folder to install in"),
        ("bash --install", "{file}", "cannot write {file}"),
        ("--install", "home", "$SHELL is tcsh, which has no completion script"),
        ("", "home", "missing argument SHELL"),
    ],
)
def test_completion_install_says_what_is_in_the_way(
    qoder: Qoder, tmp_path: Path, words: str, where: str, said: str
) -> None:
    (tmp_path / "file").write_text("a file, not a folder")
    qoder.env |= {"HOME": where.format(file=tmp_path / "file"), "SHELL": "/bin/tcsh"}
    ran = qoder("completion", *words.split())
    assert (ran.code, ran.out) == (Exit.USAGE, "")
    assert said.format(file=tmp_path / "file") in ran.err
