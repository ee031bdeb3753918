"""`qoder schema`: what files may hold, told by the same schema that checks them and that the sandbox refuses by."""

import json
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qoder_cli.base.errors import UsageError
from qoder_cli.base.model import Deployment
from qoder_cli.files.load import load
from qoder_cli.files.normal import EMPTY, settable, spelled_out
from qoder_cli.http.redact import by_name
from qoder_cli.nouns.schema import Fields, Reader, check, fields_of, inside, json_schema
from qoder_cli.nouns.table import NOUNS, all_operations, body_of, in_files, of_file, operation
from tests.conftest import Qoder
from tests.sandbox.desk import Desk
from tests.support.bodies import bodies, spoiled
from tests.support.deployments import DEPLOYMENTS

OF_FILES = {noun: json_schema(of_file(NOUNS[noun], is_new=True)) for noun in in_files()}
# Of a form, what stands beside its fields; and what is not taken yet.
NOT_OF_A_BODY = {"file", "files[]", "sessions.update.vault_ids"}


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield all schemas of mappings in a schema."""
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield schema
        for inner in schema.values():
            yield from objects(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from objects(inner)


def test_schema_prints_one_for_each_noun_that_files_declare(qoder: Qoder) -> None:
    assert in_files() == ["deploy", "agent", "env", "vault", "memory", "dream"]
    for noun, expected in OF_FILES.items():
        ran = qoder("schema", noun)
        assert (ran.code, ran.err, json.loads(ran.out)) == (0, "", expected)
        assert (expected["$schema"][-14:], "$ref" in ran.out) == ("2020-12/schema", False)
        assert all(field.get("description") for field in expected["properties"].values())
        assert all(set(each.get("required", ())) <= set(each.get("properties", ())) for each in objects(expected))


def test_schema_update_requires_nothing_and_has_what_only_an_update_takes(qoder: Qoder) -> None:
    shown = json.loads(qoder("schema", "agent", "--update").out)
    assert shown["required"] == []
    assert set(shown["properties"]) - set(OF_FILES["agent"]["properties"]) == {"version"}


@pytest.mark.parametrize("kind", ["agents", "session", "skill", "x" * 500, ""])
def test_schema_names_what_there_is(qoder: Qoder, kind: str) -> None:
    ran = qoder("schema", kind)
    assert (ran.code, ran.out, "use one of deploy, agent, env, vault, memory, dream" in ran.err) == (2, "", True)


def test_schema_of_a_noun_has_the_fields_of_its_operations() -> None:
    for each in all_operations():
        missing = set(each.body) - set(fields_of(body_of(each)))
        assert {name for name in missing if not {name, f"{each.id}.{name}"} & NOT_OF_A_BODY} == set(), each.id


def secrets_of(cls: type[Fields]) -> Iterator[str]:
    """Yield the names of the fields that are secrets, also further in."""
    for name, field in fields_of(cls).items():
        if field.is_secret:
            yield name
        for inner in inside(field.hint):
            yield from secrets_of(inner)


def test_schema_has_no_secret_that_a_preview_would_show() -> None:
    found = {name for each in all_operations() if each.body for name in secrets_of(body_of(each))}
    assert found > {"token", "secret_value", "access_token", "authorization_token", "password"}
    assert {name: value for name, value in by_name(dict.fromkeys(found, "hunter2")).items() if value == "hunter2"} == {}


@pytest.mark.parametrize("variant", DEPLOYMENTS)
def test_schema_takes_every_deployment_that_the_docs_show(variant: str) -> None:
    fields = settable(Deployment(DEPLOYMENTS[variant]))
    for verb in ("create", "update"):
        done = operation(NOUNS["deploy"], verb)
        assert done is not None
        assert check(body_of(done), fields, Reader("server"))[1] == []
    [declared] = load(["-"], stdin=StringIO(json.dumps(DEPLOYMENTS[variant])), env={})
    assert {**EMPTY, **declared.fields} == fields


def _in_a_file(noun: str, body: Any) -> bool:
    """Return whether a file with this body is taken."""
    created = operation(NOUNS[noun], "create")
    assert created is not None
    if noun != "deploy":
        return not check(body_of(created), body, Reader("file"))[1]
    try:
        load(["-"], stdin=StringIO(json.dumps(body)), env={})
    except UsageError:
        return False
    return isinstance(body, dict)


@pytest.mark.parametrize("noun", OF_FILES)
@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_schema_allows_what_a_file_may_say_and_what_a_file_may_not_say_no_server_takes(
    noun: str, data: st.DataObject
) -> None:
    body = data.draw(bodies(OF_FILES[noun]))
    if noun == "deploy":  # short forms say the same as the fields that they stand for
        body = {name: each for name, each in body.items() if name not in ("environment", "vaults", "message", "id")}
        body = {"name": "report", **body}
    assert _in_a_file(noun, body)
    desk, created = Desk("current"), operation(NOUNS[noun], "create")
    assert created is not None
    wrong = data.draw(st.sampled_from([each for each in spoiled(body) if isinstance(each, dict)]))
    if not _in_a_file(noun, wrong):
        sent = spelled_out(wrong) if noun == "deploy" else wrong
        assert desk.post(created.path, sent).status_code == 400, sent
