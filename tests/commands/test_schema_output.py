"""`qoder schema output`: what -o json prints. That all of it is so, `support/printed.py` checks in every test."""

from typing import Any

import pytest
import typer
from jsonschema_rs import Draft202012Validator, meta

from qoder_cli.base.model import Run
from qoder_cli.cli.main import command_tree
from qoder_cli.commands.session import SHOWN, VERBS
from qoder_cli.help import outputs, reference
from tests.conftest import Qoder
from tests.support import printed

# Print nothing, or no JSON: what runs inside, scripts for shells, files as they are, a chat.
NO_JSON = (
    *("auth login", "auth logout", "auth switch", "auth token", "config set", "config unset"),
    *("sandbox", "completion", "api"),
)
# What is the API's, and has every field that was sent.
OPEN = {
    "ApiItem",
    "ApiObject",
    "AppliedData",
    "EventData",
    "RunData",
    "RunItem",
    "RunRow",
    "SessionData",
    "SessionItem",
}


def schema_of(qoder: Qoder, name: str) -> dict[str, Any]:
    ran = qoder("schema", "output", name)
    assert (ran.code, ran.err) == (0, "")
    schema: dict[str, Any] = ran.json
    return schema


@pytest.mark.parametrize("name", outputs.OUTPUTS)
def test_schema_output_is_a_schema_that_is_complete_in_itself(qoder: Qoder, name: str) -> None:
    schema = schema_of(qoder, name)
    meta.validate(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"]
    shapes = schema["$defs"]
    assert all(shape["description"] for shape in shapes.values())
    closed = {name for name, shape in shapes.items() if shape.get("additionalProperties") is False}
    assert set(shapes) - closed <= OPEN
    assert closed & OPEN == set()


def test_schema_output_says_what_each_key_is_for(qoder: Qoder) -> None:
    untold = {
        f"{name}.{key}"
        for name in outputs.OUTPUTS
        for key, about in next(iter(schema_of(qoder, name)["$defs"].values()))["properties"].items()
        if not about.get("description")
    }
    assert untold == {"error.error", "work.id", "object.id"}


def test_schema_output_covers_every_command() -> None:
    root = typer.Context(command_tree("qoder"), info_name="qoder")
    commands = [" ".join(each["path"]) for each in reference.commands(root)["commands"]]
    undeclared = {command for command in commands if not printed.outputs_of(command)}
    assert undeclared == set(NO_JSON) - {"api"}
    named = {command for output in outputs.OUTPUTS.values() for command in output.commands if "*" not in command}
    twins = {f"session {verb}" for verb in VERBS if verb not in SHOWN}
    assert named - set(commands) == {"env work poll", *twins}  # which help does not list


RUN = {"id": "drun_1", "type": "deployment_run", "status": "completed", "new_field": {"a": [1, None]}}


def test_run_get_keeps_every_field_that_was_sent(qoder: Qoder) -> None:
    qoder.wire.on("GET", "/deployment_runs/drun_1", RUN)
    ran = qoder("run", "get", "drun_1", "--json")
    assert ran.json == RUN
    validator = Draft202012Validator(schema_of(qoder, "run"))
    assert validator.is_valid(ran.json)
    assert validator.is_valid([{**ran.json, "input": "last", "exit_code": 0}])
    assert not validator.is_valid([ran.json])
    assert not validator.is_valid({**ran.json, "adopted": "yes"})


def test_an_undeclared_field_of_a_run_fails_a_test(qoder: Qoder, monkeypatch: pytest.MonkeyPatch) -> None:
    qoder.wire.on("GET", "/deployment_runs/drun_1", RUN)
    as_json = Run.as_json
    monkeypatch.setattr(Run, "as_json", printed.noting(lambda run: {**as_json(run), "added": 1}))
    with pytest.raises(AssertionError, match=r"not declared: .'added'"):
        qoder("run", "get", "drun_1", "--json")
