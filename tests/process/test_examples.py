"""Every example of every help works as it stands: typed in process, or pasted into bash where it needs a shell."""

import re
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from functools import partial
from importlib import import_module
from inspect import cleandoc
from pathlib import Path
from shutil import which
from typing import Any

import pytest

if sys.platform == "win32":
    pytest.skip("bash and terminals", allow_module_level=True)

from qoder_cli.cli.main import function_of
from qoder_cli.cli.options import Untold
from qoder_cli.help import ALIKE, NOUNS, RARE
from qoder_cli.sandbox.faults import Faults
from qoder_cli.sandbox.server import Server
from qoder_cli.sandbox.wire import GENERATIONS, Generation
from qoder_cli.sandbox.world import World
from tests.conftest import TOKEN, Qoder
from tests.support.inprocess import WithoutStreams
from tests.support.processes import Ended, Going, Shell, Terminal, sandbox
from tests.support.staged import put_files, staged


def _below(path: tuple[str, ...], commands: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the commands of a group and of those within it, by their words."""
    for name, command in commands.items():
        words = path if (name,) == path else (*path, name)
        if isinstance(command, tuple):
            yield from _below(words, command[1])
        else:
            yield words, command


def _of_noun(noun: str, module: str) -> Mapping[str, Any]:
    return {noun: module} if ":" in module else import_module(module).COMMANDS


_ALL = {
    path: command for noun, (_, module) in NOUNS.items() for path, command in _below((noun,), _of_noun(noun, module))
}
COMMANDS = {path: function_of(command) for path, command in _ALL.items()}
UNTOLD = {path for path, command in _ALL.items() if isinstance(command, Untold)}
PATHS = list(COMMANDS)
GROUPS = [(), *sorted({path[:length] for path in PATHS for length in range(1, len(path))})]


def examples() -> list[str]:
    """Return every example line of every help."""
    lines = []
    for path, command in COMMANDS.items():
        block = re.search(r"Examples:\n((?: {2,}\S.*(?:\n|$))+)", cleandoc(command.__doc__ or ""))
        assert block, path
        lines += [line.strip() for line in block[1].replace("\\\n", "").splitlines()]
    return list(dict.fromkeys(lines))  # some commands stand under two nouns


A_RUN = re.compile(r"drun_[0-9a-f]{32}")
ASKING = [line for line in examples() if "auth login" in line and "--with-token" not in line]
TALKING = [line for line in examples() if "session chat" in line or line == "qoder run approve last"]
PASTED = [line for line in examples() if re.search(r"[|<>$;&]|^qoder sandbox|--install", line) and line not in ASKING]
REFUSED = [
    "qoder session thread archive sess_demo sthr_demo --yes",  # 409: the session has only its coordinator's
    "qoder dream cancel drm_demo",  # 409: it has ended
    "qoder env work heartbeat workers work_demo --ttl 60",  # 409: it is not acknowledged
]
TYPED = [line for line in examples() if line not in ASKING + TALKING + PASTED + REFUSED]

CONFIG = f"""\
[profiles.default]
region = "global"
[profiles.work]
base_url = "https://api.qoder.com.cn/api/v1/cloud"
token = "{TOKEN}"
"""


def furnish(home: Path) -> Path:
    """Write the config file that the examples take for granted, and return it."""
    home.mkdir(exist_ok=True)
    (home / "config.toml").write_text(CONFIG)
    (home / "config.toml").chmod(0o600)
    return home / "config.toml"


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("line", TYPED)
def test_an_example_works_as_typed(
    qoder: Qoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, generation: Generation
) -> None:
    monkeypatch.chdir(tmp_path)
    put_files(tmp_path)
    world = World(clock=qoder.clock.now, token=TOKEN, generation=generation)
    qoder.transport = WithoutStreams(world, faults=Faults(), sleep=qoder.clock.sleep)
    qoder.env |= {
        "QODER_CONFIG": str(furnish(tmp_path / "home")),
        "HOME": str(tmp_path / "home"),
        "GITHUB_TOKEN": "x-secret",
    }
    line = staged(line, qoder, later=lambda: qoder.clock.sleep(60))
    program, *words = shlex.split(A_RUN.sub(lambda _: world.start("dep_demo").id, line).replace("/tmp", str(tmp_path)))
    ran = qoder(*words)
    assert (program, ran.code, "error:" in ran.err) == ("qoder", 0, False), ran.err


def furnished(home: Path, server: Server) -> Shell:
    """Return a shell in a sandbox, with what the examples take for granted."""
    config = furnish(home)
    shell = Shell(home, server).hurry().quick()
    (home / "token.txt").write_text(shell.env["QODER_PAT"] + "\n")
    shell.env["QODER_CONFIG"] = str(config)
    return shell


def _is_in_the_way(line: str) -> bool:
    return re.search(" (un)?pause | archive ", line) is not None


def test_every_example_with_a_shells_signs_works_when_pasted(tmp_path: Path) -> None:
    going: dict[str, Going] = {}
    ended: dict[str, Ended] = {}
    with sandbox("current") as server:
        # Those that change what others use come last, each alone.
        for number, line in enumerate(sorted(PASTED, key=_is_in_the_way)):
            if _is_in_the_way(line):
                ended |= {line: one.end() for line, one in going.items()}
                going.clear()
            shell = furnished(tmp_path / str(number), server)
            put_files(shell.home)
            fitting = staged(line, shell.qoder, later=partial(time.sleep, 0.2))
            pasted = A_RUN.sub(server.world.start("dep_demo").id, fitting)
            pasted = pasted.replace("qoder sandbox ", "qoder sandbox --speed 40 ").replace("/tmp/", f"{shell.home}/")
            pasted = re.sub(r" \| (jq|man) .*", lambda pipe: pipe[0] if which(pipe[1]) else "", pasted)
            pasted += " --yes" if "--with-token" in line else ""  # the sandbox is another server than the file's
            going[line] = shell.start("bash", "-c", f"set -o pipefail; {pasted}")
        ended |= {line: one.end() for line, one in going.items()}
    assert {line: (one.code, one.err) for line, one in ended.items() if one.code or "rror:" in one.err} == {}


def test_the_examples_that_ask_work_when_pasted(tmp_path: Path) -> None:
    assert ASKING
    with sandbox("current") as server:
        for number, line in enumerate(ASKING):
            shell = furnished(tmp_path / str(number), server)
            with Terminal(shell, *line.split(), "--yes") as terminal:
                terminal.shows("Token for").type(f"{shell.env['QODER_PAT']}\n")
                assert terminal.end() == 0
                assert shell.env["QODER_PAT"] not in terminal.raw


@pytest.mark.parametrize("line", TALKING)
def test_an_example_that_talks_works_when_pasted(tmp_path: Path, line: str) -> None:
    with sandbox("current") as server:
        shell = furnished(tmp_path, server)
        words = staged(line, shell.qoder, later=partial(time.sleep, 0.2)).split()
        while "approve" in words and not shell.qoder("run", "pending", "last", "--json").json:
            time.sleep(0.2)
        with Terminal(shell, *words) as terminal:
            if "approve" in words:
                terminal.shows("[y]es [n]o").type("y\n")
            else:
                terminal.shows("> ").type("\x04")
            assert terminal.end() == 0


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_every_command_explains_itself(qoder: Qoder, path: tuple[str, ...]) -> None:
    ran = qoder(*path, "--help")
    assert (ran.code, ran.err) == (0, "")
    usage, _, summary, *rest = ran.out.splitlines()
    assert usage.startswith("Usage: qoder " + " ".join(path))
    assert summary.startswith("  ")
    assert summary.endswith(".")
    assert "  Examples:" in rest
    assert max(map(len, ran.out.splitlines())) <= 80
    assert ran.out.splitlines()[-1].endswith("Exit codes: qoder help exit-codes")


@pytest.mark.parametrize("path", GROUPS, ids=lambda path: " ".join(path) or "qoder")
def test_a_group_lists_its_commands(qoder: Qoder, path: tuple[str, ...]) -> None:
    bare = qoder(*path)
    assert (bare.code, bare.err) == (0, "")
    names = {command[len(path)] for command in PATHS if command[: len(path)] == path and command not in UNTOLD}
    listed = dict(re.findall(r"^  (\w+) +(\S.*)$", bare.out.partition("Commands:")[2], re.MULTILINE))
    assert names - {*ALIKE, *RARE} <= set(listed)


def test_help_has_a_short_name(qoder: Qoder) -> None:
    assert qoder("deploy", "run", "-h").out == qoder("deploy", "run", "--help").out
