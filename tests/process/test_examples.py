"""Every example of every help, page and the README works: typed in process, or pasted into bash where it needs one."""

import re
import shlex
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from shutil import which

import pytest

from qoder_cli.cli.main import command_tree
from qoder_cli.help import ALIKE, RARE, reference
from qoder_cli.sandbox.server import Server
from qoder_cli.sandbox.wire import GENERATIONS, Generation
from qoder_cli.sandbox.world import World
from tests.conftest import TOKEN, Qoder
from tests.support.cells import ALL_CELLS, checkerboard
from tests.support.inprocess import WithoutStreams
from tests.support.processes import Ended, Going, Shell, Terminal, sandbox, until
from tests.support.staged import CONFIG, put_files, staged
from tests.tools.generate import PAGES, README

TOLD = reference.commands(command_tree("qoder").make_context("qoder", [], resilient_parsing=True))["commands"]
UNTOLD = [  # commands for the hosts of workers, and their examples; help lists them nowhere
    "qoder env work ack workers work_demo",
    "qoder env work heartbeat workers work_demo --ttl 60",
    "qoder env work poll workers --worker w1 --block-ms 500 --json",
    "qoder env work update workers work_demo --metadata team=core",
]
LINES = "\n".join(line for each in TOLD for line in each["examples"]).replace("\\\n", "").splitlines()


def of_pages() -> Iterator[str]:
    """Yield each line of README and pages that is typed at a prompt, with what `…` stands for; recipes are whole."""
    written = "\n".join(page.read_text("utf-8") for page in (README, *sorted(PAGES.glob("*.md"))))
    for block in re.findall(r"(?<!-->\n)```(?:sh|powershell)\n(.*?)```", written, re.DOTALL):
        for line in re.sub(r"(?: \\|(?<= \|))\n +", " ", block).splitlines():
            line = re.split("  #| [|] ConvertFrom-Json", line)[0].strip()
            line = line.replace("dep_…", "dep_demo").replace("$key", "nightly").replace("--all -q |", "-n 3 -q |")
            if line.startswith("qoder ") and not re.search("auth login|db.example.com|--in repo-web|backfill", line):
                yield re.sub("( run cancel .*| apply reports)$", r"\1 --yes", line.replace(" NAME", " nightly-report"))


EXAMPLES = list(dict.fromkeys([*LINES, *UNTOLD, *of_pages()]))
PATHS = [*(tuple(each["path"]) for each in TOLD), *(tuple(line.split()[1:4]) for line in UNTOLD)]
GROUPS = [(), *sorted({path[:length] for path in PATHS for length in range(1, len(path))})]

A_RUN = re.compile(r"drun_[0-9a-f]{32}")
ASKING = [line for line in EXAMPLES if "auth login" in line and "--with-token" not in line]
TALKING = [line for line in EXAMPLES if "session chat" in line or line == "qoder run approve last"]
DIFFERING = "qoder diff -o markdown > plan.md"  # 8: that is what it is for
PASTED = [line for line in EXAMPLES if re.search(r"[|<>$;&]|^qoder sandbox|--install", line) and line not in ASKING]
PASTED.remove(DIFFERING)
REFUSED = [
    "qoder key init --store postgresql://qoder@db.example.com/ci",  # there is no such database
    "qoder apply",  # it asks
    *("qoder diff", "qoder diff reports"),  # 8: something differs
    "qoder session thread archive sess_demo sthr_demo --yes",  # 409: the session has only its coordinator's
    "qoder dream cancel drm_demo",  # 409: it has ended
    "qoder env work heartbeat workers work_demo --ttl 60",  # 409: it is not acknowledged
    "qoder vault connect team-secrets --mcp https://mcp.example.com/mcp --open",  # 501: it is none of the 98 operations
]
TYPED = [line for line in EXAMPLES if line not in [*ASKING, *TALKING, *PASTED, *REFUSED, DIFFERING]]
ON_BOTH = ("deploy", "run", "session")  # nouns that differ between the generations of server


def furnish(home: Path) -> dict[str, str]:
    """Write the config file that the examples take for granted, and return the environment that leads there."""
    home.mkdir(exist_ok=True)
    (home / "config.toml").write_text(CONFIG)
    (home / "config.toml").chmod(0o600)
    return {"QODER_CONFIG": str(home / "config.toml"), "HOME": str(home), "GITHUB_TOKEN": "x-secret"}


@pytest.mark.parametrize(
    ("line", "generation"),
    [
        *((line, "current") for line in TYPED if line.split()[1] not in ON_BOTH),
        *checkerboard([line for line in TYPED if line.split()[1] in ON_BOTH], GENERATIONS),
    ],
)
@pytest.mark.few(33)
def test_help_has_examples_that_work_as_typed(
    qoder: Qoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, generation: Generation
) -> None:
    monkeypatch.chdir(tmp_path)
    put_files(tmp_path, line if re.search("(apply|--check) agents", line) else "")
    world = World(clock=qoder.clock.now, token=TOKEN, generation=generation)
    qoder.transport = WithoutStreams(world, sleep=qoder.clock.sleep)
    qoder.clock.patience = 0.005
    qoder.env |= furnish(tmp_path / "home")
    if "apply reports" in line:
        assert qoder("init", "reports").code == 0
    line = staged(line, qoder, later=lambda: qoder.clock.sleep(60))
    program, *words = shlex.split(A_RUN.sub(lambda _: world.start("dep_demo").id, line).replace("/tmp", str(tmp_path)))
    ran = qoder(*words)
    assert (program, ran.code, "error:" in ran.err) == ("qoder", 0, False), ran.err


def furnished(home: Path, server: Server) -> Shell:
    """Return a shell in a sandbox, with what the examples take for granted."""
    env = furnish(home)
    shell = Shell(home, server).hurry().quick()
    (home / "token.txt").write_text(shell.env["QODER_PAT"] + "\n")
    shell.env["QODER_CONFIG"] = env["QODER_CONFIG"]
    return shell


def is_in_the_way(line: str) -> bool:
    return re.search(" (un)?pause | archive ", line) is not None


def test_help_has_examples_with_a_shells_signs_that_work_when_pasted(tmp_path: Path) -> None:
    going: dict[str, Going] = {}
    ended: dict[str, Ended] = {}
    with sandbox("current") as server:
        server.world.seed_deployments(3)  # the newest, which complete
        # Those that change what others use come last, each alone.
        for number, line in enumerate(sorted(PASTED[:: 1 if ALL_CELLS else 14], key=is_in_the_way)):
            if is_in_the_way(line):
                ended |= {line: one.end() for line, one in going.items()}
                going.clear()
            shell = furnished(tmp_path / str(number), server)
            put_files(shell.home)
            fitting = staged(line, shell.qoder, later=partial(time.sleep, 0.2))
            pasted = A_RUN.sub(server.world.start("dep_demo").id, fitting)
            pasted = re.sub(r"qoder sandbox (--speed 10 )?", "qoder sandbox --speed 200 ", pasted)
            pasted = pasted.replace("/tmp/", f"{shell.home}/")
            pasted = re.sub(r" \| (jq|man) .*", lambda pipe: pipe[0] if which(pipe[1]) else "", pasted)
            pasted += " --yes" if "--with-token" in line else ""  # the sandbox is another server than the file's
            going[line] = shell.start("bash", "-c", f"set -o pipefail; {pasted}")
        ended |= {line: one.end() for line, one in going.items()}
    assert {line: (one.code, one.err) for line, one in ended.items() if one.code or "rror:" in one.err} == {}


@pytest.mark.parametrize("line", ASKING + TALKING)
@pytest.mark.few(2)
def test_help_has_examples_that_talk_and_work_on_a_terminal(tmp_path: Path, line: str) -> None:
    with sandbox("current") as server:
        shell = furnished(tmp_path, server)
        words = [*staged(line, shell.qoder, later=partial(time.sleep, 0.2)).split(), *["--yes"] * (line in ASKING)]
        while "approve" in words and not shell.qoder("run", "pending", "last", "--json").json:
            time.sleep(0.2)
        with Terminal(shell, *words) as terminal:
            if line in ASKING:
                terminal.shows("Token for").type(f"{shell.env['QODER_PAT']}\n")
            elif "approve" in words:
                terminal.shows("[y]es [n]o").reply("y\n")
            else:
                until(lambda: "\x1b[?2004h" in terminal.raw, "the editor: it takes pasted lines")
                terminal.type("\x04")
            assert terminal.end() == 0
            assert shell.env["QODER_PAT"] not in terminal.raw


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
@pytest.mark.few(90)
def test_help_explains_every_command(qoder: Qoder, path: tuple[str, ...]) -> None:
    ran = qoder(*path, "--help")
    assert (ran.code, ran.err) == (0, "")
    usage, _, summary, *rest = ran.out.splitlines()
    assert usage.startswith("Usage: qoder " + " ".join(path))
    assert summary.startswith("  ")
    assert summary.endswith(".")
    assert "  Examples:" in rest
    assert max(map(len, ran.out.splitlines())) <= 80
    assert ran.out.splitlines()[-1] == "More: qoder help"


@pytest.mark.parametrize("path", GROUPS, ids=lambda path: " ".join(path) or "qoder")
def test_help_of_a_group_lists_its_commands(qoder: Qoder, path: tuple[str, ...]) -> None:
    bare = qoder(*path)
    assert (bare.code, bare.err) == (0, "")
    listed = dict(re.findall(r"^  (\w+) +(\S.*)$", bare.out.partition("Commands:")[2], re.MULTILINE))
    paths = [tuple(each["path"]) for each in TOLD]
    assert {each[len(path)] for each in paths if each[: len(path)] == path} - {*ALIKE, *RARE} <= set(listed)
