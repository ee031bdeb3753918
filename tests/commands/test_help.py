"""`qoder help`: the same as text for people and as data for agents and generators, and true."""

import re
import shlex
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from qoder_cli.base.errors import RANKING, Exit
from qoder_cli.base.model import Run
from qoder_cli.commands import deploy, run
from qoder_cli.commands.help import man_pages
from qoder_cli.help import ALIKE, NOUNS, RARE, documented
from qoder_cli.help.documented import PAGES, TOPICS
from qoder_cli.nouns.views import DEPLOYMENT_COLUMNS, RUN_COLUMNS, recent_fields
from tests.conftest import Qoder
from tests.support.one_run import DONE
from tests.support.wire import page


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what `qoder help --json` prints."""
    ran = Qoder(tmp_path_factory.mktemp("help") / "config.toml")("help", "--json")
    assert (ran.code, ran.err) == (0, "")
    found: dict[str, Any] = ran.json
    return found


def command(document: dict[str, Any], *path: str) -> dict[str, Any]:
    [found] = [each for each in document["commands"] if each["path"] == list(path)]
    assert isinstance(found, dict)
    return found


def option(of: dict[str, Any], name: str, key: str) -> Any:
    [found] = [each for each in of["options"] if name in each["names"]]
    return found[key]


def names(keys: list[dict[str, Any]]) -> set[str]:
    return {name for each in keys for name in each["names"]}


def squeezed(text: str) -> str:
    return " ".join(text.split())


def test_help_json_has_every_command_in_the_order_of_the_contents_pages(document: dict[str, Any]) -> None:
    paths = [each["path"] for each in document["commands"]]
    assert list(dict.fromkeys(path[0] for path in paths)) == list(NOUNS)
    assert [path[1] for path in paths if path[0] == "deploy"] == list(deploy.COMMANDS)
    assert [path[1] for path in paths if path[0] == "run"] == list(run.COMMANDS)
    assert ["api"] in paths


def test_help_json_tells_all_that_a_command_takes(document: dict[str, Any]) -> None:
    found, listed = command(document, "deploy", "run"), command(document, "run", "list")
    assert found["usage"] == "qoder deploy run [OPTIONS] DEPLOYMENT..."
    assert found["summary"] == "Start a run of one or more deployments"
    assert found["text"].startswith("Start a run of one or more deployments.\n\nReturns")
    assert "qoder deploy run dep_demo --wait" in found["examples"]
    assert all(shlex.split(line) for line in found["examples"])
    [argument] = found["arguments"]
    assert {"name": "DEPLOYMENT...", "required": True, "repeatable": True}.items() <= argument.items()
    assert listed["arguments"][0]["required"] is False
    assert (option(found, "-w", "metavar"), option(found, "--timeout", "metavar")) == (None, "D")
    assert option(found, "--on-lost", "values") == ["adopt", "resend", "fail"]
    assert (option(found, "--on-lost", "default"), option(found, "--parallel", "default")) == ("adopt", 8)
    assert (option(listed, "--status", "repeatable"), option(listed, "--trigger", "repeatable")) == (True, False)
    assert "bash" in command(document, "completion")["arguments"][0]["values"]


def test_help_json_tells_the_options_of_every_command_once_and_hidden_ones_never(document: dict[str, Any]) -> None:
    everywhere = names(document["everywhere"])
    own = {name for each in document["commands"] for name in names(each["options"])}
    assert {"-o", "--json", "--output", "--profile", "--help"} <= everywhere
    assert not own & everywhere
    assert "--format" not in own | everywhere


def test_help_is_printed_by_its_words_and_by_its_short_name(qoder: Qoder, document: dict[str, Any]) -> None:
    for path in (["deploy", "run"], ["run", "logs"], ["run"], ["doctor"], ["help"]):
        assert qoder("help", *path).out == qoder(*path, "--help").out == qoder(*path, "-h").out
    assert qoder("help", "runs", "ls").out == qoder("run", "list", "--help").out
    found = qoder("help", "deploy", "run", "--json").json
    assert found == {"commands": [command(document, "deploy", "run")], "everywhere": document["everywhere"]}
    assert [each["path"][1] for each in qoder("help", "runs", "--json").json["commands"]] == list(run.COMMANDS)
    assert len(qoder("help", "-o", "jsonl").out.splitlines()) == 1


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.few(5)
def test_help_prints_pages_plain_or_for_a_terminal(qoder: Qoder, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = qoder("help", name)
    assert (plain.code, plain.out.startswith("# "), "<!--" in plain.out) == (0, True, False)
    assert qoder("help", name, "--json").code == 2
    monkeypatch.setattr("qoder_cli.commands.help.terminal_width", lambda: 80)
    qoder.terminal = True
    shown = qoder("help", name).out.splitlines()
    assert shown[0] == plain.out.splitlines()[0].removeprefix("# ")
    lines = [line for block in plain.out.split("```")[1::2] for line in block.splitlines()]
    assert [line for line in lines if len(line) > 77] == []
    code = {line.strip() for line in lines}
    assert [line for line in shown if len(line) > 80 and line.strip() not in code] == []
    assert {line.strip() for line in shown} >= code - {"", "sh", "yaml", "powershell", "text"}


@pytest.mark.parametrize("topic", TOPICS)
@pytest.mark.few(2)
def test_help_tells_a_topic_as_the_reference_does(qoder: Qoder, document: dict[str, Any], topic: str) -> None:
    out = qoder("help", topic).out
    text = squeezed(out)
    assert topic == "exit-codes" or max(map(len, out.splitlines())) <= 80  # that one is a page
    match topic:
        case "commands":
            said = [f"qoder {' '.join(each['path'])} {each['summary']}" for each in document["commands"]]
        case "options":
            said = sorted(names(document["everywhere"]) | {"--version", "-q", "--quiet", "-o", "--output"})
        case "exit-codes":
            said = [f"{each['code']} {each['name']} | {each['meaning']}" for each in document["exit_codes"]]
        case "environment":
            said = [f"{', '.join(each['names'])} {each['meaning']}" for each in document["environment"]]
        case _:
            keys = [key for of in document["keys"].keys() - {"item"} for key in document["keys"][of]]
            said = [f"{', '.join(each['names'])} {each['meaning']}" for each in (*document["formats"], *keys)]
            columns = (document["columns"]["run"], document["columns"]["deployment"], *document["fields"].values())
            said += [f" {' '.join(each)} " for each in columns]
    assert [each for each in said if each not in text] == []


def test_help_lists_its_topics_and_the_exit_codes_of_the_program(qoder: Qoder, document: dict[str, Any]) -> None:
    out = qoder("help").out
    assert [topic for topic in (*TOPICS, *PAGES) if f"qoder help {topic} " not in out] == []
    assert "qoder help COMMAND" in out
    codes = [(each["code"], each["name"]) for each in document["exit_codes"]]
    assert codes == [(code.value, code.name.lower()) for code in Exit]
    assert all(each["meaning"] and each["then"] for each in document["exit_codes"])
    assert document["exit_codes_of_several"] == [int(code) for code in RANKING]
    assert list(documented.THEN) == list(documented.MEANING) == list(Exit)


def test_help_tells_the_columns_and_lines_of_a_pipe(qoder: Qoder, document: dict[str, Any]) -> None:
    columns, fields = document["columns"], document["fields"]
    assert (columns["run"], columns["deployment"]) == (list(RUN_COLUMNS), list(DEPLOYMENT_COLUMNS))
    assert columns["agent versions"] == ["version", "name", "model", "tools", "skills", "mcp", "updated"]
    qoder.wire.on("GET", "/vaults", page({"id": "vault_1", "display_name": "x"}))
    assert len(qoder("vault", "list").out.split("\t")) == len(columns["vault"])

    def lines(*words: str) -> list[str]:
        return [line.partition("\t")[0] for line in qoder(*words).out.splitlines()]

    qoder.wire.on("GET", "/deployment_runs", page(DONE))
    assert len(qoder("run", "list").out.split("\t")) == len(columns["run"])
    session = {"id": "sess_1", "outcome_evaluations": [{"result": "satisfied"}]}
    qoder.wire.on("GET", "/deployment_runs/drun_1", DONE).on("GET", "/sessions/sess_1", session)
    shown = lines("run", "get", "drun_1")
    assert shown == [name for name in fields["run"] if name in shown]
    assert shown[-1] == "outcome"
    assert set(recent_fields([Run(DONE)])) == set(documented.RECENT_FIELDS)
    assert fields["deployment"][-4:] == list(documented.RECENT_FIELDS)


CODE = [path for path in (Path(__file__).parents[2] / "qoder_cli").rglob("*.py") if path.name != "documented.py"]
# Read by platformdirs and by shutil.which.
READ_ELSEWHERE = {"XDG_STATE_HOME", "PATHEXT"}
# Capitals with a _ between them that name no variable.
NO_VARIABLES = {"O_BINARY", "O_NONBLOCK", "O_NOFOLLOW", "NO_HEARTBEAT", "PC_VDISABLE", "GITHUB_TOKEN"}
# Read by the official SDK only; the sandbox sets them for it.
NO_VARIABLES |= {"QODER_FORWARD_BASE_URL"}


# A name that is read: `env.get("X"…`, `env["X"]`, `is_on(env, "X")`, and whatever has a _ in it.
READ = re.compile(
    r"""(?:env(?:iron)?(?:\.get\(|\[)\s*|\bis_on\([^,]+, )["']([A-Z_]+)["']|["']([A-Z]+(?:_[A-Z]+)+)["']"""
)


def test_help_tells_every_variable_that_is_read_and_no_other(document: dict[str, Any]) -> None:
    shown = names(document["environment"])
    read = {one or other for path in CODE for one, other in READ.findall(path.read_text("utf-8"))}
    assert shown == (read | READ_ELSEWHERE) - NO_VARIABLES
    assert all(re.fullmatch("[A-Z]+(_[A-Z]+)*", name) for name in shown)


def test_help_has_a_first_page_of_24_lines(qoder: Qoder) -> None:
    lines = qoder("--help").out.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert all(any(line.startswith(f"  {noun} ") for line in lines) for noun in {*NOUNS} - {*ALIKE[1:], *RARE})


def test_help_explains_shared_options_once(qoder: Qoder) -> None:
    shared = {
        "session wait": ("--timeout, --interval, --follow, --result", "qoder run wait --help"),
        "agent update": ("--name, --model, --description, --system, --tools", "qoder agent create --help"),
        "vault list": ("--columns, --sort, --watch", "qoder help output"),
    }
    for command, (names, where) in shared.items():
        out = squeezed(qoder(*command.split(), "--help").out)
        assert f"also {names}" in out
        assert f": see {where} More: qoder help" in out
    assert "also" not in squeezed(qoder("run", "wait", "--help").out.partition("Options:")[2])


# Man pages: the same words as `--help`, in roff that needs no extension, and where `man` finds them.

REQUESTS = {"TH", "SH", "SS", "B", "BR", "PP", "TP", "nf", "fi"}
SECTIONS = ["NAME", "SYNOPSIS", "DESCRIPTION", "ARGUMENTS", "COMMANDS", "OPTIONS", "GLOBAL OPTIONS"]
SECTIONS += ["EXIT STATUS", "ENVIRONMENT", "EXAMPLES", "SEE ALSO"]

pages = cache(man_pages)


def test_man_has_a_page_of_every_command(qoder: Qoder) -> None:
    paths = [each["path"] for each in qoder("help", "--json").json["commands"]]
    groups = {tuple(path[:length]) for path in paths for length in range(1, len(path))}
    assert set(pages()) == {"qoder.1", *(f"qoder-{'-'.join(path)}.1" for path in (*paths, *groups))}


@pytest.mark.parametrize("name", pages())
@pytest.mark.few(24)
def test_man_pages_are_plain_roff_with_their_sections_in_order(name: str) -> None:
    text = pages()[name]
    assert text.isascii()
    lines = text.splitlines()
    assert lines[0].startswith(f'.TH "{name[:-2].upper()}" 1 "" "qoder ')
    assert {line[1:].split()[0] for line in lines if line[:1] == "."} <= REQUESTS
    assert not [line for line in lines if line[:1] == "'" or not line]
    sections = [line.removeprefix(".SH ") for line in lines if line.startswith(".SH ")]
    assert sections == sorted(sections, key=SECTIONS.index)
    assert {"NAME", "SYNOPSIS", "SEE ALSO"} <= set(sections)
    assert lines[2].partition(" \\- ")[0] == name[:-2].replace("-", "\\-")  # what `whatis` reads
    assert text.count(".nf\n") == text.count(".fi\n")
    assert not re.search(r"\\(?![&e\-]|f[BP]|\[u[0-9A-F]{4}\])", text)


def plain(roff: str) -> str:
    """Return what a page says, without what it looks like."""
    text = re.sub(r"\\f[BP]|\\&", "", roff).replace("\\-", "-")
    text = re.sub(r"\\\[u([0-9A-F]{4})\]", lambda found: chr(int(found[1], 16)), text).replace("\\e", "\\")
    return " ".join(line for line in text.splitlines() if not re.match(r"\.(PP|TP|nf|fi)$", line))


def test_man_pages_say_what_help_says(qoder: Qoder) -> None:
    told: dict[str, Any] = qoder("help", "--json").json
    for command in told["commands"]:
        page = " ".join(plain(pages()[f"qoder-{'-'.join(command['path'])}.1"]).split())
        said = [command["summary"], *command["examples"], *(each["help"] for each in command["options"])]
        for paragraph in command["text"].replace("`", "").split("\n\n")[1:]:
            said.append(" ".join(paragraph.removeprefix("Examples:").split()))
        assert [text for text in said if " ".join(text.replace("`", "").split()) not in page] == []
    program = plain(pages()["qoder.1"])
    meanings = [each["meaning"].replace("`", "") for each in (*told["exit_codes"], *told["environment"])]
    assert [meaning for meaning in meanings if meaning not in program] == []
    assert all(name in program for each in told["everywhere"] for name in each["names"])


def test_help_man_prints_a_page(qoder: Qoder) -> None:
    assert qoder("help", "--man").out == pages()["qoder.1"] == qoder("help", "exit-codes", "--man").out
    assert qoder("help", "deploy", "run", "--man").out == pages()["qoder-deploy-run.1"]
    assert qoder("help", "runs", "--man").out == pages()["qoder-run.1"]
    assert qoder("help", "nonsense", "--man").code == 2


@pytest.mark.more
@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_man_pages_pass_groff() -> None:
    text = "".join(pages().values())
    ran = subprocess.run(["groff", "-man", "-ww", "-z"], input=text, text=True, capture_output=True, check=True)
    assert ran.stderr == ""
