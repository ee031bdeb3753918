"""The body of a create or an update: what files and options say, and what is told when it is wrong."""

import io
from threading import Thread
from types import SimpleNamespace
from typing import Annotated, Any, Literal, get_args

import pytest

from qoder_cli.base import jsontext
from qoder_cli.base.errors import Exit, UsageError
from qoder_cli.nouns import parts, schema
from qoder_cli.nouns.agent import Model, Tools
from qoder_cli.nouns.bodies import body_of, metadata_change, pairs
from qoder_cli.nouns.schema import (
    NEEDED_THERE,
    SECRET,
    UNSET,
    ByType,
    Fields,
    Reader,
    Where,
    check,
    fields_of,
    like,
    secrets_in,
)
from qoder_cli.nouns.table import NOUNS

AGENT = "name: writer\nmodel: auto\n"
OPTIONS = {"name": None, "model": None, "description": None}


def read(
    text: str | None, verb: str = "create", noun: str = "agent", notes: list[str] | None = None, **options: Any
) -> dict[str, Any]:
    """Return the body that a text on standard input and options make."""
    progress = SimpleNamespace(note=(notes if notes is not None else []).append)
    app: Any = SimpleNamespace(stdin=io.StringIO(text or ""), env={"WHO": "Ada"}, progress=progress)
    return body_of(app, NOUNS[noun], verb, OPTIONS | options, file=None if text is None else "-")


def told(text: str | None, verb: str = "create", noun: str = "agent", **options: Any) -> str:
    with pytest.raises(UsageError) as caught:
        read(text, verb, noun, **options)
    assert caught.value.exit == Exit.USAGE
    return caught.value.message


def test_body_takes_options_over_the_file() -> None:
    text = AGENT + "metadata: {team: core, at: home}\ntools: [{type: agent_toolset_20260401}]"
    body = read(text, name="other", metadata={"team": "web"})
    assert body == {
        "name": "other",
        "model": "auto",
        "metadata": {"team": "web", "at": "home"},
        "tools": [{"type": "agent_toolset_20260401"}],
    }


def test_body_fills_variables_in_as_a_deployment_file_does() -> None:
    assert read(AGENT + "system: Help ${WHO}; $${WHO} ${NO:-one}.")["system"] == "Help Ada; ${WHO} one."
    assert "-:3: system: NO is not set" in told(AGENT + "system: ${NO}")


def test_body_takes_an_object_of_the_api_as_it_is() -> None:
    notes: list[str] = []
    shown = {
        "id": "agent_1",
        "type": "agent",
        "version": 3,
        "created_at": "2026-06-14T08:53:32Z",
        "system": "${WHO}",
        "description": None,
        "metadata": {"qoder_key": "1", "team": "core"},
    }
    text = jsontext.dump(shown)
    made = read(text, notes=notes, name="copy", model="auto")
    assert made == {"name": "copy", "model": "auto", "system": "${WHO}", "metadata": {"team": "core"}, "tools": []}
    assert notes == ["-: ignored id, version, created_at, which only the server sets"]
    assert read(text, "update")["version"] == 3


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("name: a\nmodel: b\nid: agent_1", "-:3: id: unknown field"),
        ("name: a\nmodel: b\ndescription: null", "-:3: description: must be text, not null"),
        ("name: a\nmodel: 5", "-:2: model: must be the id of a model"),
        ("type: agent\nname: 5\nmodel: b", "-:2: name: must be text; put it in quotes"),
        ("type: agent\nname: a\nmodel: b\nmetadata: 5", "-:4: metadata: must be a mapping"),
        ("type: subagent\nname: a\nmodel: b", "-:1: type: must be agent here"),
        ("", "-: must be one mapping"),
        ("- a", "-:1: must be the fields of the agent"),
        ("name: a\nmodel: b\n---\nname: c", "must be one mapping"),
        ('{"name": "a"', "-:2: not YAML: did not find expected ',' or '}'"),
        ("name: \ud800", "not UTF-8"),
    ],
)
def test_body_of_a_wrong_file_is_refused_with_its_line(text: str, problem: str) -> None:
    message = told(text)
    assert message.startswith("1 problem in the file; nothing was sent\n")
    assert problem in message


def test_body_of_an_update_clears_by_null() -> None:
    text = "description: null\nmetadata: {team: null}\ntools: null"
    assert read(text, "update") == {"description": None, "metadata": {"team": None}, "tools": None}
    assert "name: must be text, not null" in told("name: null", "update")
    assert "version: must be" in told("version: null", "update")
    assert "-:1: metadata: must be a mapping" in told("metadata: null", "update")


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (None, {}, "missing required options: --model (in a file: model), --name (in a file: name)"),
        ("name: a", {}, "missing required option: --model (in a file: model)"),
        (None, {"name": " ", "model": "b"}, "missing required option: --name (in a file: name)"),
        ("name: ''", {"model": "b"}, "missing required option: --name (in a file: name)"),
        (None, {"noun": "dream", "model": "auto"}, "missing required option: inputs (only in a file)"),
        (None, {"name": "\udcff", "model": "b"}, "--name: is not UTF-8"),
        (None, {"name": "a", "model": "b", "metadata": {"\udcff": "b"}}, "--metadata: is not UTF-8"),
    ],
)
def test_body_names_what_is_missing_or_not_utf_8(text: str | None, options: dict[str, Any], message: str) -> None:
    assert told(text, **options) == message


def test_body_of_an_update_merges_metadata() -> None:
    assert metadata_change(["a=1", "b=x=y"], ["c", "a"]) == {"c": None, "a": "1", "b": "x=y"}
    assert metadata_change(None, None) is None
    with pytest.raises(UsageError, match="--metadata: expected KEY=VALUE, got '='"):
        pairs(["=a"])


EFFORTS = {"low": "file server", "xhihg": "", "enormous": "file"}


class Cloud(Fields):
    """Something rented."""

    type: Literal["cloud"]


class House(Fields):
    """Something owned."""

    type: Literal["house"]


class Plan(Fields):
    """Something with a field of each kind."""

    both: parts.Variables = UNSET
    text: parts.VariablesText = UNSET
    expression: Annotated[str, like("[a-z]+", "must be small letters")] = NEEDED_THERE
    timezone: str = UNSET
    model: Model = UNSET
    resources: parts.Resources = UNSET
    tools: Tools = UNSET
    budget: parts.Budget = UNSET
    config: Annotated[Cloud | House, ByType(default="cloud")] = UNSET
    event: Annotated[Cloud | House, ByType(whole="cloud or house")] = UNSET


@pytest.mark.parametrize(
    ("field", "value", "takers"),
    [
        *(("both", value, "file server") for value in ({"A": "1"}, "A=1;B=2", "A=1\nB=2", "", "A=")),
        *(("both", value, "file") for value in ({"QODER_A": "1"}, "QODER_A=1", {"1A": "x"})),
        *(("both", value, "") for value in ("no pair", "A=x;y", "A=1\nno pair", "A=1\nB", 5, {"A": 5}, {"A=": "1"})),
        ("both", "A=1\nB=x;y", "server"),
        ("both", "1A=1\nB=x;y", ""),
        ("text", {"A": "1"}, "file"),
        ("text", "A=1", "file server"),
        ("expression", "a1", ""),
        ("exprs", "a", "slip"),  # needed, so it is looked for more widely
        ("timez", "UTC", "file"),
        ("timezon", "UTC", "slip"),
        ("timezone", None, "file server"),
        ("expression", None, "file"),
        *(("model", {"id": "auto", "effort": effort}, takers) for effort, takers in EFFORTS.items()),
        ("resources", [{"type": "file", "file_id": "file_1"}], "file server"),
        ("resources", [{"type": "file", "file_id": None}], "file"),
        ("resources", [{"type": "file"}], "file"),
        ("resources", [{"type": "files", "file_id": "file_1"}], ""),
        ("resources", [{"type": ["file"]}], ""),
        ("resources", ["file"], ""),
        ("resources", [{"typ": "file", "file_id": "file_1"}], "slip"),
        *(("budget", value, takers) for value, takers in ((5, ""), (None, "file server"))),
        *(("config", value, takers) for value, takers in (({}, ""), ({"type": "house"}, "file server"), (5, ""))),
        *(("event", value, takers) for value, takers in (({}, ""), ({"type": "house"}, "file server"))),
        ("event", {"type": "x"}, ""),
        ("unheard", 1, "file"),
        ("tools", [{"type": "computer_use"}], "file"),
        ("tools", [{"type": "customs"}], ""),
    ],
    ids=str,
)
def test_fields_are_read_as_a_file_or_a_server_reads_them(field: str, value: Any, takers: str) -> None:
    body = {"expression": "a", field: value}
    if field == "exprs":
        del body["expression"]
    found = {reader: check(Plan, body, Reader(reader)) for reader in get_args(Where)}
    assert " ".join(reader for reader, (_, problems) in found.items() if not problems) == takers.replace("slip", "")
    assert ("did you mean" in str(found["file"])) == (takers == "slip")
    assert ("must be an amount in credits, or null" in str(found["file"])) == (field == "budget" and value == 5)
    assert ("needs a type: cloud or house" in str(found["file"])) == (field == "event" and value == {})
    assert "needs a type" not in str(found["server"])


@pytest.mark.parametrize(("reader", "is_kept"), [("file", True), ("server", False)])
def test_fields_that_are_secret_are_kept_by_a_file_alone(reader: Where, is_kept: bool) -> None:
    repository = {"type": "git_repository", "url": "https://x", "password": "hunter2"}
    body, problems = check(Plan, {"expression": "a", "resources": [repository]}, Reader(reader))
    assert (problems, "password" in body["resources"][0]) == ([], is_kept)


def test_secrets_are_known_to_threads_that_ask_at_the_same_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    class Sealed(Fields):
        token: Annotated[str, SECRET]

    seen: list[Any] = []

    def looked_up_meanwhile(cls: type[Fields]) -> dict[str, Any]:
        monkeypatch.setattr(schema, "fields_of", fields_of)
        other = Thread(target=lambda: seen.extend(secrets_in(Sealed, {"token": "hunter2"})))
        other.start()
        other.join()
        return fields_of(cls)

    monkeypatch.setattr(schema, "fields_of", looked_up_meanwhile)
    assert list(secrets_in(Sealed, {"token": "hunter2"})) == seen == [(("token",), "hunter2")]
