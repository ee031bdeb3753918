"""`qoder help`: the same as text for people and as data for agents and generators, and true."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from qoder_cli import documented
from qoder_cli.commands import deploy, run
from qoder_cli.contents import NOUNS
from qoder_cli.documented import TOPICS
from qoder_cli.errors import RANKING, Exit, QoderError
from qoder_cli.model import Run
from qoder_cli.outcome import Ending, apply_ending
from qoder_cli.output.views import DEPLOYMENT_COLUMNS, RUN_COLUMNS
from qoder_cli.waiting.items import Item
from tests.conftest import Qoder

EXAMPLES = Path(__file__).parent / "examples.jsonl"


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


def test_every_command_is_told_as_the_contents_pages_have_them(told: dict[str, Any]) -> None:
    paths = [each["path"] for each in told["commands"]]
    assert list(dict.fromkeys(path[0] for path in paths)) == list(NOUNS)
    assert [path[1] for path in paths if path[0] == "deploy"] == list(deploy.COMMANDS)
    assert [path[1] for path in paths if path[0] == "run"] == list(run.COMMANDS)
    assert ["api"] in paths


def test_a_command_is_told_with_all_that_it_takes(told: dict[str, Any]) -> None:
    found = command(told, "deploy", "run")
    assert found["usage"] == "qoder deploy run [OPTIONS] DEPLOYMENT..."
    assert found["summary"] == "Start runs of deployments by hand"
    assert found["text"].startswith("Start runs of deployments by hand.\n\nWithout --wait")
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
    assert not {"--output", "--format"} & (own | everywhere)


def test_the_words_of_a_command_show_its_help(qoder: Qoder) -> None:
    for path in (["deploy", "run"], ["run", "logs"], ["run"], ["api"], ["help"]):
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
        (["nonsense"], "the topics are exit-codes, environment, output"),
        (["deplyo"], "did you mean 'qoder deploy'?"),
        (["deploy", "rnu"], "did you mean 'qoder deploy run'?"),
        (["run", "get", "drun_1"], "qoder run get --help"),
        (["exit-codes", "more"], "qoder --help lists them"),
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
    assert all(f"qoder help {topic} " in out for topic in TOPICS)
    assert "qoder help COMMAND" in out


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
    assert all(f"{each['code']:>4}  {each['name']}" in text and each["meaning"] in text for each in told["exit_codes"])


def test_the_environment_is_the_same_in_text_and_in_json(qoder: Qoder, told: dict[str, Any]) -> None:
    assert qoder("help", "environment", "--json").json == {"environment": told["environment"]}
    text = " ".join(qoder("help", "environment").out.split())
    assert all(f"{', '.join(each['names'])} {each['meaning']}" in text for each in told["environment"])


def test_the_output_is_the_same_in_text_and_in_json(qoder: Qoder, told: dict[str, Any]) -> None:
    found = qoder("help", "output", "--json").json
    assert found == {key: told[key] for key in ("formats", "keys", "columns")}
    text = " ".join(qoder("help", "output").out.split())
    those = [*found["formats"], *(key for of in ("run", "error", "ci") for key in found["keys"][of])]
    assert all(f"{', '.join(each['names'])} {each['meaning']}" in text for each in those)


@pytest.mark.parametrize("topic", TOPICS)
def test_a_topic_fits_a_terminal(qoder: Qoder, topic: str) -> None:
    assert max(map(len, qoder("help", topic).out.splitlines())) <= 100


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


def test_the_columns_of_a_pipe_are_told(told: dict[str, Any]) -> None:
    assert told["columns"] == {"run": list(RUN_COLUMNS), "deployment": list(DEPLOYMENT_COLUMNS)}


def test_what_to_do_is_said_for_every_exit_code() -> None:
    assert set(documented.THEN) == set(Exit)
