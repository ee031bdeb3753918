"""`qoder help`: the same as text for people and as data for agents and generators, and true."""

import ast
import io
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qoder_cli.app import App
from qoder_cli.base.errors import RANKING, Exit, QoderError
from qoder_cli.base.model import Run
from qoder_cli.base.outcome import Ending, apply_ending
from qoder_cli.cli.main import main
from qoder_cli.commands import deploy, run
from qoder_cli.help import ALIKE, NOUNS, RARE, documented
from qoder_cli.help.documented import PAGES, TOPICS
from qoder_cli.output.screen import Screen
from qoder_cli.output.views import DEPLOYMENT_COLUMNS, RUN_COLUMNS
from qoder_cli.runs.awaiting import Item
from qoder_cli.runs.listed import picture
from tests.conftest import Qoder
from tests.support.one_run import DONE
from tests.support.wire import page

EXAMPLES = Path(__file__).parents[1] / "support" / "examples.jsonl"


@pytest.fixture
def told(qoder: Qoder) -> dict[str, Any]:
    """Return what `qoder help --json` prints."""
    ran = qoder("help", "--json")
    assert (ran.code, ran.err) == (0, "")
    found: dict[str, Any] = ran.json
    return found


def command(told: dict[str, Any], *path: str) -> dict[str, Any]:
    [found] = [each for each in told["commands"] if each["path"] == list(path)]
    assert isinstance(found, dict)
    return found


def option(of: dict[str, Any], name: str) -> dict[str, Any]:
    [found] = [each for each in of["options"] if name in each["names"]]
    assert isinstance(found, dict)
    return found


# Commands.


def test_ranges_are_told_in_words(qoder: Qoder) -> None:
    assert "[default: 8; 1 to 100]" in qoder("deploy", "run", "--help").out
    assert "[at least 1]" in qoder("run", "list", "--help").out
    assert "<=x" not in qoder("run", "logs", "--help").out


def test_every_command_is_told_as_the_contents_pages_have_them(told: dict[str, Any]) -> None:
    paths = [each["path"] for each in told["commands"]]
    assert list(dict.fromkeys(path[0] for path in paths)) == list(NOUNS)
    assert [path[1] for path in paths if path[0] == "deploy"] == list(deploy.COMMANDS)
    assert [path[1] for path in paths if path[0] == "run"] == list(run.COMMANDS)
    assert ["api"] in paths


def test_a_command_is_told_with_all_that_it_takes(told: dict[str, Any]) -> None:
    found = command(told, "deploy", "run")
    assert found["usage"] == "qoder deploy run [OPTIONS] DEPLOYMENT..."
    assert found["summary"] == "Start a run of one or more deployments"
    assert found["text"].startswith("Start a run of one or more deployments.\n\nReturns")
    assert "qoder deploy run dep_demo --wait" in found["examples"]
    assert all(shlex.split(line) for line in found["examples"])
    assert [(each["name"], each["required"], each["repeatable"]) for each in found["arguments"]] == [
        ("DEPLOYMENT...", True, True)
    ]
    assert option(found, "-w")["metavar"] is None
    assert (option(found, "--timeout")["metavar"], option(found, "--timeout")["values"]) == ("D", [])
    assert option(found, "--on-lost")["values"] == ["adopt", "resend", "fail"]
    assert option(found, "--on-lost")["default"] == "adopt"
    assert option(found, "--parallel")["default"] == 8


def test_values_and_repetition_are_told(told: dict[str, Any]) -> None:
    assert option(command(told, "run", "list"), "--status")["repeatable"] is True
    assert option(command(told, "run", "list"), "--trigger")["repeatable"] is False
    assert "bash" in command(told, "completion")["arguments"][0]["values"]
    assert command(told, "run", "list")["arguments"][0]["required"] is False


def test_the_options_of_every_command_are_told_once_and_the_hidden_ones_never(told: dict[str, Any]) -> None:
    everywhere = {name for each in told["everywhere"] for name in each["names"]}
    assert {"-o", "--json", "--profile", "--help"} <= everywhere
    own = {name for each in told["commands"] for option in each["options"] for name in option["names"]}
    assert not own & everywhere
    assert "--output" in everywhere
    assert "--format" not in own | everywhere


def test_the_words_of_a_command_show_its_help(qoder: Qoder) -> None:
    for path in (["deploy", "run"], ["run", "logs"], ["run"], ["doctor"], ["help"]):
        assert qoder("help", *path).out == qoder(*path, "--help").out
    assert qoder("help", "runs", "ls").out == qoder("run", "list", "--help").out


def test_the_words_of_a_command_choose_it_in_json_too(qoder: Qoder, told: dict[str, Any]) -> None:
    found = qoder("help", "deploy", "run", "--json").json
    assert found == {"commands": [command(told, "deploy", "run")], "everywhere": told["everywhere"]}
    assert [each["path"][1] for each in qoder("help", "runs", "--json").json["commands"]] == list(run.COMMANDS)
    assert len(qoder("help", "-o", "jsonl").out.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["nonsense"], "the pages are commands, options, exit-codes, environment, output, recipes, ci"),
        (["recipe"], "did you mean: qoder help recipes"),
        (["guarantee"], "did you mean: qoder help guarantees"),
        (["deplyo"], "did you mean 'qoder deploy'?"),
        (["deploy", "rnu"], "did you mean 'qoder deploy run'?"),
        (["run", "get", "drun_1"], "qoder run get --help"),
        (["exit-codes", "more"], "see: qoder help exit-codes"),
    ],
)
@pytest.mark.parametrize("format", ["table", "json"])
def test_what_there_is_not(qoder: Qoder, words: list[str], hint: str, format: str) -> None:
    ran = qoder("help", *words, "-o", format)
    assert (ran.code, ran.out) == (2, "")
    assert hint in ran.err


# Topics.


def test_without_a_topic_the_topics_are_listed(qoder: Qoder) -> None:
    out = qoder("help").out
    assert all(f"qoder help {topic} " in out for topic in (*TOPICS, *PAGES))
    assert "qoder help COMMAND" in out


@pytest.mark.parametrize("name", PAGES)
def test_help_prints_a_page_plain_in_a_pipe_and_rendered_on_a_terminal(
    qoder: Qoder, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = qoder("help", name)
    assert (plain.code, plain.out.startswith("# "), "<!--" in plain.out) == (0, True, False)
    assert qoder("help", name, "--json").json == {"page": name, "text": plain.out}
    monkeypatch.setattr("qoder_cli.commands.help.terminal_width", lambda: 80)
    qoder.terminal = True
    shown = qoder("help", name).out.splitlines()
    assert shown[0] == plain.out.splitlines()[0].removeprefix("# ")
    code = {line.strip() for block in plain.out.split("```")[1::2] for line in block.splitlines()}
    assert [line for line in shown if len(line) > 80 and line.strip() not in code] == []
    assert {line.strip() for line in shown} >= code - {"", "sh", "yaml", "powershell", "text"}


def test_exit_codes_are_told_with_what_to_do(qoder: Qoder, told: dict[str, Any]) -> None:
    assert [(each["code"], each["name"]) for each in told["exit_codes"]] == [
        (code.value, code.name.lower()) for code in Exit
    ]
    assert all(each["meaning"] and each["then"] for each in told["exit_codes"])
    assert told["exit_codes_of_several"] == [int(code) for code in RANKING]
    assert qoder("help", "exit-codes", "--json").json == {
        key: told[key] for key in ("exit_codes", "exit_codes_of_several")
    }
    text = qoder("help", "exit-codes").out
    assert all(f"{each['code']:>4}  {each['name']}" in text for each in told["exit_codes"])
    assert all(each["meaning"] in " ".join(text.split()) for each in told["exit_codes"])


def test_the_environment_is_the_same_in_text_and_in_json(qoder: Qoder, told: dict[str, Any]) -> None:
    assert qoder("help", "environment", "--json").json == {"environment": told["environment"]}
    text = " ".join(qoder("help", "environment").out.split())
    assert all(f"{', '.join(each['names'])} {each['meaning']}" in text for each in told["environment"])


def test_the_output_is_the_same_in_text_and_in_json(qoder: Qoder, told: dict[str, Any]) -> None:
    found = qoder("help", "output", "--json").json
    assert found == {key: told[key] for key in ("formats", "keys", "columns", "fields")}
    text = " ".join(qoder("help", "output").out.split())
    those = [*found["formats"], *(key for of in found["keys"].keys() - {"item"} for key in found["keys"][of])]
    assert all(f"{', '.join(each['names'])} {each['meaning']}" in text for each in those)
    shown = [found["columns"]["run"], found["columns"]["deployment"], *found["fields"].values()]
    assert all(f" {' '.join(names)} " in text for names in shown)


@pytest.mark.parametrize("topic", TOPICS)
def test_a_topic_fits_a_terminal(qoder: Qoder, topic: str) -> None:
    assert max(map(len, qoder("help", topic).out.splitlines())) <= 80


def names(keys: list[dict[str, Any]]) -> set[str]:
    return {name for each in keys for name in each["names"]}


def test_the_keys_of_a_run_are_all_told(told: dict[str, Any]) -> None:
    runs = [
        example["json"]
        for example in map(json.loads, EXAMPLES.read_text("utf-8").splitlines())
        if example["json"].get("type") == "deployment_run"
    ]
    ending = Ending("failed", "2026-06-14T08:54:23Z", {"type": "x", "message": "y"})
    shown = [
        each.as_json()
        for run in runs
        for each in (apply_ending(Run(run), ending, usage={"total_credits": 1}), Run(run, adopted=True))
    ]
    assert {"derived", "adopted", "usage", "cas_run_extras", "status"} <= {key for run in shown for key in run}
    assert {key for run in shown for key in run} - names(told["keys"]["run"]) == set()


def test_the_keys_of_an_item_and_of_an_error_are_all_told(told: dict[str, Any]) -> None:
    error = QoderError("something")
    assert names(told["keys"]["error"]) == set(error.as_json())
    assert names(told["keys"]["item"]) == set(Item("dep_1", None, error).as_json())


@pytest.mark.parametrize(
    ("of", "words"),
    [
        ("dry_run", ["deploy", "run", "dep_1", "--dry-run", "--json"]),
        ("auth_status", ["auth", "status", "--json"]),
        ("config_list", ["config", "list", "--json"]),
        ("doctor", ["doctor", "--offline", "--json"]),
        ("api_list", ["api", "--list", "--json"]),
    ],
)
def test_the_keys_of_other_answers_are_all_told(qoder: Qoder, told: dict[str, Any], of: str, words: list[str]) -> None:
    Path(qoder.env["QODER_CONFIG"]).write_text('[profiles.default]\nregion = "global"\n')
    if of == "auth_status":
        qoder.wire.on("GET", "/deployments", page())
    if of == "dry_run":
        qoder.wire.on("GET", "/deployments/dep_1", {"id": "dep_1", "status": "paused"})
    answer = qoder(*words).json
    assert set(answer[0] if isinstance(answer, list) else answer) == names(told["keys"][of])


CREATE = ["deploy", "create", "--name", "x", "--agent", "agent_1", "--environment", "env_1", "-m", "y", "--dry-run"]


def test_the_keys_and_columns_of_what_is_applied_are_told(qoder: Qoder, told: dict[str, Any]) -> None:
    qoder.wire.on("GET", "/deployments", page(), page())
    answer = qoder(*CREATE, "--json").json
    assert set(answer) == names(told["keys"]["apply"]) - {"error"}
    lines = [line.partition("\t")[0] for line in qoder(*CREATE).out.splitlines()]
    assert lines == [name for name in told["columns"]["apply"] if name in lines]


def test_the_columns_of_a_pipe_are_told(qoder: Qoder, told: dict[str, Any]) -> None:
    assert told["columns"].keys() == {"run", "deployment", "apply"}
    assert told["columns"] | {"run": list(RUN_COLUMNS), "deployment": list(DEPLOYMENT_COLUMNS)} == told["columns"]
    qoder.wire.on("GET", "/deployment_runs", page(DONE))
    assert len(qoder("run", "list").out.split("\t")) == len(told["columns"]["run"])


def test_the_lines_of_one_thing_in_a_pipe_are_told(qoder: Qoder, told: dict[str, Any]) -> None:
    session = {"id": "sess_1", "outcome_evaluations": [{"result": "satisfied"}]}
    qoder.wire.on("GET", "/deployment_runs/drun_1", DONE).on("GET", "/sessions/sess_1", session)
    lines = [line.partition("\t")[0] for line in qoder("run", "get", "drun_1").out.splitlines()]
    assert lines == [name for name in told["fields"]["run"] if name in lines]
    assert lines[-1] == "outcome"
    assert set(picture([Run(DONE)])) == set(documented.RECENT_FIELDS)
    assert told["fields"]["deployment"][-4:] == list(documented.RECENT_FIELDS)


# The environment.

CODE = [path for path in (Path(__file__).parents[2] / "qoder_cli").rglob("*.py") if path.name != "documented.py"]
# Read by platformdirs and by shutil.which.
READ_ELSEWHERE = {"XDG_STATE_HOME", "PATHEXT"}
# Capitals with a _ between them that name no variable.
NO_VARIABLES = {"MADE_BY", "O_BINARY", "O_NONBLOCK", "O_NOFOLLOW", "NO_HEARTBEAT", "GITHUB_TOKEN"}
# Read by the official SDK only; the sandbox sets them for it.
NO_VARIABLES |= {"QODER_FORWARD_BASE_URL", "QODER_SA_KEY", "QODER_SA_KEY_FILE", "QODER_KEYS"}
# What the API and the samples of the sandbox call something.
NO_VARIABLES |= {"GITHUB_TOKEN", "NO_HEARTBEAT"}


def read_from(env: ast.expr) -> bool:
    return ast.unparse(env).rpartition(".")[2].lstrip("_") in ("env", "environ")


def variables() -> Iterator[str]:
    """Yield the name of every variable that the code reads."""
    for node in (node for path in CODE for node in ast.walk(ast.parse(path.read_text("utf-8")))):
        match node:
            case ast.Call(func=ast.Attribute(value=env, attr="get"), args=[ast.Constant(value=str(name)), *_]):
                yield from [name] if read_from(env) else []
            case ast.Subscript(value=env, slice=ast.Constant(value=str(name))):
                yield from [name] if read_from(env) else []
            case ast.Call(func=ast.Name(id="is_on"), args=[_, ast.Constant(value=str(name))]):
                yield name
            case ast.Constant(value=str(name)) if re.fullmatch("[A-Z]+(_[A-Z]+)+", name):
                yield name


def test_every_variable_that_is_read_is_told_and_no_other(told: dict[str, Any]) -> None:
    shown = names(told["environment"])
    assert shown == (set(variables()) | READ_ELSEWHERE) - NO_VARIABLES
    assert all(re.fullmatch("[A-Z]+(_[A-Z]+)*", name) for name in shown)


def test_names_are_names_only(told: dict[str, Any]) -> None:
    for of in told["keys"].values():
        assert all(re.fullmatch("[a-z_]+", name) for name in names(of))


def test_what_must_be_given_is_told(told: dict[str, Any]) -> None:
    needed = {
        (*each["path"], max(option["names"], key=len))
        for each in told["commands"]
        for option in each["options"]
        if option["required"]
    }
    create = {("deploy", "create", f"--{name}") for name in ("name", "agent", "environment", "message")}
    said = {(noun, *words) for noun in ("run", "session") for words in (("send", "--message"), ("answer", "--result"))}
    assert needed == create | said


def test_what_to_do_is_said_for_every_exit_code() -> None:
    assert list(documented.THEN) == list(documented.MEANING) == list(Exit)


# What fits, and what a reader finds first.


def test_the_first_page_has_24_lines(qoder: Qoder) -> None:
    lines = qoder("--help").out.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert all(any(line.startswith(f"  {noun} ") for line in lines) for noun in {*NOUNS} - {*ALIKE[1:], *RARE})


def test_a_command_has_its_own_options_and_one_line_for_the_global_ones(qoder: Qoder) -> None:
    lines = qoder("deploy", "run", "--help").out.splitlines()
    assert any("--wait" in line for line in lines)
    assert [line for line in lines if "Global options" in line] == [lines[-1]]
    assert "qoder help options" in lines[-1]
    assert not [line for line in lines if line.lstrip().startswith(("--profile", "--debug", "-h", "--no-color"))]


def test_the_global_options_are_listed(qoder: Qoder, told: dict[str, Any]) -> None:
    text = qoder("help", "options").out
    names = {name for each in told["everywhere"] for name in each["names"]}
    assert {"-q", "--quiet", "-o", "--output", "--profile"} <= names
    assert all(re.search(rf"(^|[ ,]){name}\b", text, re.MULTILINE) for name in names | {"--version"})
    assert qoder("help", "options", "--json").json == {"everywhere": told["everywhere"]}


def test_all_commands_are_listed(qoder: Qoder, told: dict[str, Any]) -> None:
    text = " ".join(qoder("help", "commands").out.split())
    assert all(f"qoder {' '.join(each['path'])} {each['summary']}" in text for each in told["commands"])
    assert qoder("help", "commands", "--json").json["commands"] == told["commands"]


def test_headings_are_bold_on_a_terminal_with_colour_only(qoder: Qoder) -> None:
    qoder.terminal = True
    plain = qoder("run", "wait", "--help").out
    assert "\x1b" not in plain
    out = io.BytesIO()
    screen = Screen(out, is_terminal=True, color=True)
    assert main(["run", "wait", "--help"], App(env=qoder.env, out=screen, err=Screen(None))) == 0
    shown = out.getvalue().decode()
    assert re.sub("\x1b\\[[0-9]*m", "", shown) == plain
    bold = re.findall("\x1b\\[1m(.*?)\x1b\\[0m", shown)
    assert [heading.strip() for heading in bold] == ["Usage:", "Examples:", "Arguments:", "Options:"]
