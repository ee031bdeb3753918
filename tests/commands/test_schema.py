"""`qoder schema`: what files may hold, told by the same schema that checks them and that the sandbox refuses by."""

import json
import re
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qoder_cli.base.errors import UsageError
from qoder_cli.base.model import Deployment
from qoder_cli.http.redact import by_name
from qoder_cli.nouns.deployments import EMPTY, settable, spelled_out
from qoder_cli.nouns.schema import Fields, Reader, check, fields_of, inside, json_schema
from qoder_cli.nouns.table import NOUNS, all_operations, body_of, in_files, of_file, operation
from qoder_cli.stack.schema import schema_of
from tests.conftest import TOKEN, Qoder, examples
from tests.sandbox.desk import Desk
from tests.support.bodies import bodies, spoiled
from tests.support.deployments import DEPLOYMENTS
from tests.support.exported import taken_back

OF_FILES = {noun: json_schema(of_file(NOUNS[noun])) for noun in in_files()}
# Of a form, what stands beside its fields; and what is not taken yet.
NOT_OF_A_BODY = {"file", "files[]", "sessions.update.vault_ids"}


@cache
def of_noun(noun: str) -> st.SearchStrategy[Any]:
    return bodies(OF_FILES[noun])


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
    assert {*in_files()} >= {"deploy", "agent", "env", "vault", "memory", "dream"}
    for noun in OF_FILES:
        ran = qoder("schema", noun)
        expected = json.loads(ran.out)
        assert (ran.code, ran.err) == (0, "")
        assert (expected["$schema"][-14:], "$ref" in ran.out) == ("2020-12/schema", False)
        assert "^(?:)$" not in ran.out  # a pattern that nothing fits
        assert '"title": "' not in ran.out  # its name once more
        assert ('"additionalProperties": true' in ran.out) is (noun == "agent")  # what a custom tool takes
        assert {*re.findall(r'"minLength": (\d+)', ran.out)} <= {"1"}
        assert ('"writeOnly": true' in ran.out) is (noun in ("deploy", "vault"))
        assert all(field.get("description") for field in expected["properties"].values())
        assert all(set(each.get("required", ())) <= set(each.get("properties", ())) for each in objects(expected))


@pytest.mark.parametrize("noun", OF_FILES)
@pytest.mark.few(2)
@examples(Fraction(1, 3))
@given(data=st.data())
def test_schema_allows_in_a_folder_all_that_it_allows_in_a_body(noun: str, data: st.DataObject) -> None:
    shown = schema_of(NOUNS[noun]) if NOUNS[noun].kind.is_declared else OF_FILES[noun]
    jsonschema_rs.validate(shown, data.draw(of_noun(noun)))


SECRET = {"type": "static_bearer", "token": "${DOCS_TOKEN}", "mcp_server_url": "https://mcp.example.com"}
SKILLS = ["../skills/style", {"path": "../skills/style", "version": 2}]
ONLY_IN_FOLDERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "agent": ({"name": "a", "model": "auto"}, {"type": "agent", "skills": SKILLS}),
    "deploy": ({"name": "a"}, {"agent": "../agents/a.md", "paused": True, "resources": [{"path": "../a.csv"}]}),
    "vault": ({"display_name": "a"}, {"credentials": [{"auth": SECRET}]}),
    "env": ({"name": "a"}, {"id": "env_1", "type": "environment"}),
    "memory": ({"name": "a"}, {"type": "memory_store"}),
}


def test_schema_knows_what_only_the_files_of_a_folder_have(qoder: Qoder) -> None:
    for noun, (named, more) in ONLY_IN_FOLDERS.items():
        shown = json.loads(qoder("schema", noun).out)
        jsonschema_rs.validate(shown, {**named, **more})
        for name in more.keys() - {"id"}:
            assert not jsonschema_rs.is_valid(shown, {**named, **more, name: 7}), name


def test_schema_takes_the_words_of_the_api_and_of_folders(qoder: Qoder) -> None:
    for noun, kinds in {"agent": "agents", "env": "environment environments", "deploy": "deployment"}.items():
        assert {qoder("schema", kind).out for kind in kinds.split()} == {qoder("schema", noun).out} != {""}
    assert qoder("schema", "memory_store").out == qoder("schema", "memory").out != ""


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
    assert {**EMPTY, **taken_back(json.dumps(DEPLOYMENTS[variant]), ".json").fields} == fields


def _in_a_file(noun: str, body: Any) -> bool:
    """Return whether a file with this body is taken."""
    if noun != "deploy":
        return not check(of_file(NOUNS[noun]), body, Reader("file"))[1]
    try:
        taken_back(json.dumps(body), ".json")
    except UsageError:
        return False
    return isinstance(body, dict)


@pytest.mark.parametrize("noun", OF_FILES)
@settings(max_examples=10, suppress_health_check=list(HealthCheck))
@pytest.mark.few(2)
@given(data=st.data())
def test_schema_allows_what_a_file_may_say_and_what_a_file_may_not_say_no_server_takes(
    noun: str, data: st.DataObject
) -> None:
    body = data.draw(of_noun(noun))
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


# --check: files, without a server.

FILES = {
    "qoder.yaml": "stack: team\n",
    "agents/writer.md": "---\nname: writer\nmodel: auto\nskills: [../skills/style]\n---\nWrite.\n",
    "deployments/nightly.yaml": "name: nightly\nagent: ../agents/writer.md\nenvironment: team\nmessage: Go ${WHERE}.\n",
    "skills/style/SKILL.md": "---\nname: style\ndescription: How to write.\n---\nShort.\n",
    "vault_team.yaml": "display_name: team\ncredentials:\n  - display_name: docs\n    auth:\n"
    "      type: static_bearer\n      token: ${DOCS_TOKEN}\n      mcp_server_url: ${DOCS_URL}\n",
}
BROKEN = {
    "agents/writer.md": "---\nname: writer\nmodle: auto\n---\nWrite.\n",
    "deployments/nightly.yaml": "name: nightly\nagent: ../agents/gone.md\nschedule: 61 * * * *\nname: twice\n",
    "odd.json": '{"type": "environment", "config": 3}',
}


@pytest.fixture
def folder(qoder: Qoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a stack, on a machine that has no token and knows no server."""
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    del qoder.env["QODER_PAT"]
    return tmp_path


def test_schema_check_lists_what_files_declare(qoder: Qoder, folder: Path) -> None:
    declared = [
        ("vault", "team", "vault_team.yaml:1"),
        ("credential", "docs", "vault_team.yaml:3"),
        ("skill", "style", "skills/style"),
        ("agent", "writer", "agents/writer.md:2"),
        ("deployment", "nightly", "deployments/nightly.yaml:1"),
    ]
    for paths in ([], ["."], [*FILES]):
        ran = qoder("schema", "--check", *paths, "--json")
        assert (ran.code, ran.err) == (0, "")
        assert [tuple(row.values()) for row in ran.json] == declared
    assert (qoder("schema", "--check", "qoder.yaml").code, qoder("schema", "--check", "skills/style").code) == (0, 0)


def test_schema_check_exits_2_with_what_apply_says_of_the_same_files(qoder: Qoder, folder: Path) -> None:
    for name, text in BROKEN.items():
        (folder / name).write_text(text)
    ran = qoder("schema", "--check", ".")
    assert (ran.code, ran.out) == (2, "")
    assert sorted(line.split(": ")[0] for line in ran.err.splitlines()[1:]) == [
        *("agents/writer.md:2", "agents/writer.md:3"),
        *(f"deployments/nightly.yaml:{line}" for line in (2, 3, 4)),
        *("odd.json:1", "odd.json:1"),
    ]
    qoder.env |= {"QODER_PAT": TOKEN, **dict.fromkeys(("WHERE", "DOCS_TOKEN"), "a"), "DOCS_URL": "https://example.com"}
    assert qoder("apply", "--yes").err == ran.err


USES: list[tuple[list[str], str]] = [
    ([], "one KIND is needed"),
    (["agent", "vault"], "one KIND is needed"),
    (["--check", "gone.yaml"], "gone.yaml: does not exist"),
    (["--check", "empty"], "nothing is declared here"),
    (["--check", "notes.yaml"], "what it declares is not clear"),
]


def test_schema_says_how_it_is_used(qoder: Qoder, folder: Path) -> None:
    (folder / "empty").mkdir()
    (folder / "notes.yaml").write_text("text: 1\n")
    for words, why in USES:
        ran = qoder("schema", *words)
        assert (ran.code, ran.out, why in ran.err) == (2, "", True), ran.err


def test_schema_check_shows_no_secret(qoder: Qoder, folder: Path) -> None:
    (folder / "vault_team.yaml").write_text(FILES["vault_team.yaml"].replace("${DOCS_TOKEN}", "hunter2"))
    ran = qoder("schema", "--check")
    assert (ran.code, "vault_team.yaml:6" in ran.err, "hunter2" in ran.out + ran.err) == (0, True, False)
