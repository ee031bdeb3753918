"""Deployment files: what people write in them, and what they are told when it is wrong."""

import io
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from qoder_cli.base import jsontext
from qoder_cli.base.errors import Exit, UsageError
from qoder_cli.base.jsontext import Number
from qoder_cli.files import yamlread
from qoder_cli.nouns.declared import Declaration
from qoder_cli.nouns.table import NOUNS
from qoder_cli.stack import declarations
from qoder_cli.stack.folder import Folder, Source, find
from tests.conftest import examples
from tests.support.deployments import PLAIN

NIGHTLY = """\
name: nightly-review
agent: agent_1
environment_id: env_1
message: Review what changed.
"""
FIELDS = {
    "name": "nightly-review",
    "agent": "agent_1",
    "environment_id": "env_1",
    "initial_events": [{"type": "user.message", "content": [{"type": "text", "text": "Review what changed."}]}],
}


DEPLOY = NOUNS["deploy"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a folder whose files are deployments."""
    (tmp_path / "deployments").mkdir()
    return tmp_path / "deployments"


def read(text: str, env: Mapping[str, str] | None = None) -> list[Declaration]:
    """Return what a text on standard input declares, of deployments."""
    return of_stdin(io.StringIO(text), env)


def of_stdin(stdin: IO[str] | None, env: Mapping[str, str] | None = None) -> list[Declaration]:
    return [*declarations.read(Folder(".", [Source("-", DEPLOY)]), env or {}, stdin=stdin).things]


def one(text: str, env: Mapping[str, str] | None = None) -> Declaration:
    """Return the only deployment that a text declares."""
    [declared] = read(text, env)
    return declared


def field(name: str, value: str, env: Mapping[str, str] | None = None) -> Any:
    return one(f"id: dep_1\n{name}: {value}", env).fields[name]


def files(*paths: Path | str) -> list[Declaration]:
    return [*declarations.read(find([str(path) for path in paths]), {}, stdin=None).things]


def told(text: str, env: Mapping[str, str] | None = None) -> list[str]:
    """Return the problems of a text on standard input."""
    with pytest.raises(UsageError) as caught:
        read(text, env)
    return lines_of(caught.value)


def told_of(*paths: Path | str) -> list[str]:
    """Return the problems of files and folders."""
    with pytest.raises(UsageError) as caught:
        files(*paths)
    return lines_of(caught.value)


def lines_of(error: UsageError) -> list[str]:
    """Return the problems that an error lists; its first line must count them."""
    assert error.exit == Exit.USAGE
    head, *problems = error.message.split("\n")
    count = len(problems) if not problems[-1].startswith("and ") else int(head.split()[0])
    assert head == f"{count} problem{'s' if count > 1 else ''} in the files; nothing was sent"
    return problems


@pytest.fixture(params=["as installed", "pure Python"])
def _either_parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read with PyYAML's own parser too, which is what there is where its C library was not built."""
    if request.param == "pure Python":
        monkeypatch.setattr(yamlread, "_LOADER", yaml.SafeLoader)


def test_file_says_all_that_a_new_one_needs_or_what_shall_change() -> None:
    declared = one(NIGHTLY)
    assert (declared.noun, declared.place) == (DEPLOY, ("-", 1))
    assert (declared.name, declared.fields) == ("nightly-review", FIELDS)
    declared = one("id: dep_1\nschedule: null\npaused: true\n")
    assert (declared.name, declared.fields) == ("dep_1", {"schedule": None})
    assert declared.own == {"id": "dep_1", "paused": True}


@pytest.mark.usefixtures("_either_parser")
def test_file_may_have_several_each_with_its_line() -> None:
    first, second = read(f"# a comment\n\n{NIGHTLY}---\n---\n# nothing\n---\n\nname: two\n...\n")
    assert (first.place.line, first.name, second.place.line, second.name) == (3, "nightly-review", 12, "two")
    assert [declared.place.line for declared in read('{"name": "a"}\n{"name": "b"}\n\n{"name": "c"}')] == [1, 2, 4]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("a.json", json.dumps(FIELDS)), ("b.yaml", json.dumps(FIELDS))),
        *(("c.json", f"[{json.dumps(FIELDS, indent=2)}]"), ("d.jsonl", json.dumps(FIELDS) + "\n")),
        *(("e.yml", NIGHTLY), ("f", NIGHTLY.replace("\n", "\r\n")), ("g.YAML", "- " + NIGHTLY.replace("\n", "\n  "))),
    ],
)
def test_file_says_the_same_in_yaml_and_json(home: Path, name: str, text: str) -> None:
    (file := home / name).write_bytes(b"\xef\xbb\xbf" + text.encode())
    [declared] = files(file)
    assert (declared.place.file, declared.fields) == (str(file), FIELDS)


def test_files_of_a_folder_are_read_by_name_those_below_too(home: Path) -> None:
    for name in ("b.yaml", "a.json", "c.yml", "team/d.yaml"):
        (home / name).parent.mkdir(exist_ok=True)
        (home / name).write_text(json.dumps({"name": name}))
    for name in (".hidden.yaml", "notes.txt", "README.md"):
        (home / name).write_text("not: read")
    (home / "out.json").write_text('[{"name": "what a command printed"}]')
    assert [declared.name for declared in files(home)] == ["a.json", "b.yaml", "c.yml", "team/d.yaml"]


@pytest.mark.usefixtures("_either_parser")
def test_file_keeps_words_numbers_and_keys_as_they_were_typed() -> None:
    words = "yes on off No y 12:30:00 1:2 2026-06-14 010 0x1F 1_000 .5 1. +1"
    for text in words.split(" "):
        assert field("description", text) == text
    for number in ("1.10", "100", "1e3", "-0", "12345678901234567890123"):
        [resource] = field("resources", f"[{{type: file, size: {number}}}]")
        assert jsontext.dump(resource["size"]) == number
    keys = {"on": "a", "1": "b", "null": "c", "2026-06-14": "d"}
    assert field("metadata", '{on: "a", 1: "b", null: "c", 2026-06-14: "d"}') == keys


PINNED = {"id": "agent_1", "type": "agent", "version": 3}


def limit(cost: str) -> dict[str, str]:
    return {"type": "limit", "max_credit_cost": cost}


MEANT: dict[str, list[tuple[str, object]]] = {
    "agent": [
        *((written, "agent_1") for written in ("agent_1", "{id: agent_1}", "{id: agent_1, type: agent}")),
        *((written, PINNED) for written in ("{id: agent_1, version: 3}", '{id: agent_1, version: "${V}"}')),
    ],
    "budget": [  # a decimal, and never a float
        *(("null", None), ("100.10", limit("100.10")), ("12.5", limit("12.50")), ("7", limit("7.00"))),
        *(('"0.01"', limit("0.01")), ('"007.5"', limit("7.50")), ('"${V}"', limit("3.00"))),
        ("{max_credit_cost: 100.00}", limit("100.00")),
        ('{type: limit, max_credit_cost: "999999999999.99"}', limit("999999999999.99")),
    ],
    "schedule": [
        ("{expression: 0 9 * * *, timezone: UTC}", {"type": "cron", "expression": "0 9 * * *", "timezone": "UTC"})
    ],
    "environment_variables": [
        ("null", ""),
        ("{}", ""),
        ('{LOG_LEVEL: info, FLAG: "on", EMPTY: ""}', "LOG_LEVEL=info\nFLAG=on\nEMPTY="),
        ("A=1;B=a b", "A=1\nB=a b"),
        ('"A=1\\nB=x=y\\n"', "A=1\nB=x=y"),
        ("{TOKEN: '${V}'}", "TOKEN=3"),
    ],
    "description": [("null", None), ('""', None)],
    "resources": [("null", []), ('[{type: file, new: [1, {"x": null}]}]', [{"type": "file", "new": [1, {"x": None}]}])],
    "vault_ids": [("null", [])],
    "metadata": [("null", {})],
}


@pytest.mark.parametrize(("name", "written", "meant"), [(name, *row) for name, rows in MEANT.items() for row in rows])
def test_file_fields_are_read_as_the_api_means_them(name: str, written: str, meant: object) -> None:
    assert field(name, written, {"V": "3"}) == meant


def test_file_events_may_have_plain_texts() -> None:
    blocks = [{"type": "text", "text": "Look."}, {"type": "image", "source": {"type": "file", "file_id": "file_1"}}]
    goal = {"type": "user.define_outcome", "description": "It works.", "rubric": {"type": "text", "content": "All."}}
    brief, look = {"type": "system.message", "content": "Be brief."}, {"type": "user.message", "content": blocks}
    events = json.dumps([brief, look, {**goal, "max_iterations": "${TRIES}"}])
    first = {**brief, "content": [{"type": "text", "text": "Be brief."}]}
    assert field("initial_events", events, {"TRIES": "5"}) == [first, look, {**goal, "max_iterations": 5}]


@pytest.mark.usefixtures("_either_parser")
def test_file_anchors_repeat_what_they_name() -> None:
    declared = one("name: &n same\nmetadata: {a: *n, *n : b}\ndescription: *n")
    assert declared.fields == {"name": "same", "metadata": {"a": "same", "same": "b"}, "description": "same"}


def test_file_in_json_is_read_by_its_own_rules() -> None:
    text = '{"name"\t:"a\\ud83d\\ude00\\/\u2028b", "id":"dep_1",\n\t"resources":[{"type":"file","n":1.10,"m":1E400}]}'
    declared = one(text)
    assert declared.name == "a\U0001f600/\u2028b"
    assert declared.fields["resources"] == [{"type": "file", "n": Number("1.10"), "m": Number("1E400")}]
    assert told('{"name": "a",\n"name": "b"}') == ["-:2: name: duplicate key (first on line 1)"]


def test_file_takes_what_a_command_printed_of_a_deployment() -> None:
    metadata = {"team": "a", "cas_config": {"stats": {"total_runs": 1}}}
    declared = one(json.dumps([{**PLAIN, "metadata": metadata, "input": "nightly-review", "exit_code": 0}]))
    assert (declared.own, declared.fields["metadata"]) == ({"id": "dep_1"}, {"team": "a"})
    assert {"input", "exit_code"} & declared.fields.keys() == set()


def test_file_refuses_what_only_the_server_sets() -> None:
    assert told("name: a\nstatus: paused\nmetadata:\n  cas_config: x\n") == [
        "-:2: status: is read-only; remove it",
        "-:4: metadata.cas_config: is read-only; remove it",
    ]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        *(("${A}", "one"), ("<${A}${B}>", "<onetwo: [3]>"), ("$${A}", "${A}"), ("$$${A}", "$${A}")),
        *(("$A $ 5$ $$ {A}", "$A $ 5$ $$ {A}"), ("${NONE:-else}", "else"), ("${NONE:-}", "")),
        *(("${EMPTY:-a b: }", "a b: "), ("${A:-else}", "one"), ("${NESTED}", "${A}")),
    ],
)
def test_file_fills_variables_in_once_and_never_reads_them_as_yaml(written: str, meant: str) -> None:
    env = {"A": "one", "B": "two: [3]", "NESTED": "${A}", "EMPTY": ""}
    assert field("metadata", json.dumps({"${A}": written}), env) == {"${A}": meant}


def test_file_knows_where_a_variable_is_a_secret() -> None:
    env = {"TOKEN": "hunter2", "ALL": "A=one;B=two", "NONE": ""}
    text = "name: a-${TOKEN}\ndescription: <${TOKEN}>\nmetadata: {token: '${TOKEN}'}\nmessage: ${ALL}\n"
    assert one(text, env).secrets == frozenset()
    mapping = "environment_variables: {A: '${TOKEN}', B: plain, C: '${NONE:-default}', d e: 'x${TOKEN}'}"
    assert one(f"name: a\n{mapping}", env).secrets == {"environment_variables.A", "environment_variables.'d e'"}
    places = {"environment_variables.A", "environment_variables.B"}
    assert one("name: a\nenvironment_variables: ${ALL}", env).secrets == places
    lines = 'name: a\nenvironment_variables: "C=plain\\n${ALL}\\nD=x${TOKEN}"'
    assert one(lines, env).secrets == places | {"environment_variables.D"}


@pytest.mark.parametrize(
    "name",
    ["password", "auth_token", "API_KEY", "client_secret", "deploy_key", "credentials", "pwd", "passphrase", "headers"],
)
def test_file_knows_the_secrets_of_resources_by_their_names(name: str) -> None:
    resources = [
        {"type": "git_repository", "url": "x", name: "hunter2", "authorization_token": None},
        {"type": "file", "inner": [{name: {"a": "b"}}]},
    ]
    declared = one(json.dumps({"name": "a", "resources": resources}))
    assert declared.secrets == {f"resources[0].{name}", f"resources[1].inner[0].{name}"}


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("${NONE}", "NONE is not set; set it, or give a default: ${NONE:-text}"),
        ("${EMPTY}", "EMPTY is not set; set it, or give a default: ${EMPTY:-text}"),
        ("${NONE:-${A}}", "the default of NONE cannot contain a variable"),
        ("${BROKEN}", "BROKEN is not UTF-8"),
        *(
            (text, "${ must be followed by a name: ${NAME} or ${NAME:-text}; write $${ for a literal ${")
            for text in ("${", "${}", "${A", "${1A}", "${A B}", "${A-x}", "${é}", "a ${ b }")
        ),
    ],
)
def test_file_names_a_variable_that_cannot_be(written: str, problem: str) -> None:
    env = {"A": "one", "EMPTY": "", "BROKEN": "\udcff"}
    text = f"name: a\nenvironment_id:\n  {json.dumps(written)}\nmessage: ${{ALSO}}\n"
    also = "ALSO is not set; set it, or give a default: ${ALSO:-text}"
    assert told(text, env) == [f"-:2: environment_id: {problem}", f"-:4: message: {also}"]


def replaced(value: Any) -> Iterator[Any]:
    """Yield a value with ${S} in the place of each part of it, one at a time."""
    yield "${S}"
    places = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for place, inner in places:
        for part in replaced(inner):
            copy = dict(value) if isinstance(value, dict) else list(value)
            copy[place] = part
            yield copy


FULL: dict[str, Any] = {
    **FIELDS,
    "agent": {"id": "agent_1", "type": "agent", "version": 1},
    "description": "d",
    "schedule": {"type": "cron", "expression": "0 9 * * *", "timezone": "UTC"},
    "environment_variables": {"A": "b"},
    "resources": [{"type": "file", "file_id": "file_1"}],
    "vault_ids": ["vault_1"],
    "metadata": {"a": "b"},
    "budget": {"type": "limit", "max_credit_cost": "1"},
    "unknown": "x",
}


SECRETS = ["hunter2\nsecond;", "hunter2", "hunter2 * * * *"]


@pytest.mark.parametrize("secret", SECRETS)
def test_file_errors_show_nothing_of_a_variable_wherever_it_stands(secret: str) -> None:
    turn = SECRETS.index(secret)
    shown = [told(json.dumps([part, part]), {"S": secret}) for part in [*replaced(FULL)][turn::3]]
    assert len(shown) > 10
    assert [problems for problems in shown if "hunter2" in "".join(problems)] == []


@pytest.mark.parametrize(
    ("text", "secret", "problem"),
    [
        ("schedule: {expression: '${S} * * * *', timezone: UTC}", "61", "schedule.expression: invalid cron expression"),
        ("schedule: {expression: 0 0 * * *, timezone: '${S}'}", "Asia/Shangai", "schedule.timezone: unknown time zone"),
        ("resources: [{type: '${S}_repo'}]", "github", ""),
    ],
)
def test_file_errors_hint_at_nothing_of_a_variable(text: str, secret: str, problem: str) -> None:
    [told_once] = told(f"name: a\n{text}", {"S": secret})
    assert "did you mean" not in told_once
    assert told_once.removeprefix("-:2: ") == problem or not problem


# What is wrong: said with file, line and field.


@pytest.mark.parametrize(
    "row",
    [
        ("nmae: a", "nmae: unknown field; did you mean name?"),
        ("environment: agent_1",
            "environment: must be an id (env_…) or a name: 'agent_1' is an agent, not an environment"),
        ("environment: ''", "environment: must be an id (env_…) or a name: the environment is empty"),
        ("environment: a\nenvironment_id: env_1", "environment: stands for environment_id, too; keep one of the two"),
        ("vaults: [a, dep_1]", "vaults[1]: must be an id (vault_…) or a name: 'dep_1' is a deployment, not a vault"),
        ("zzz: 1", "zzz: unknown field"),
        ("create_at: 1", "create_at: unknown field"),  # `created_at` is read-only: never suggested
        ("timezone: UTC", "timezone: unknown field; did you mean schedule.timezone?"),
        ("agent:\n  id: agent_1\n  verison: 2", "4: agent.verison: unknown field; did you mean version?"),
        ("agent: 5", "agent: must be an agent's id or name, or a mapping of id and version"),
        ("agent: {id: agent_, version: 1}", "agent: must be an id (agent_…) or a name: 'agent_' is not an agent id"),
        ("agent: {id: agent_1, version: 0}", "agent.version: must be at least 1"),
        ("agent: {id: agent_1, version: true}", "agent.version: must be a whole number"),
        ("description: 5", "description: must be text; put it in quotes"),
        ("agent: {version: 1}", "agent.id: is required"),
        ("id: drun_1", "id: must be only the id, which begins with dep_"),
        ("id: dep_1/run", "id: must be only the id, which begins with dep_"),
        (f"description: {'x' * 2049}", "description: has more than 2048 characters"),
        ("message: ''", "message: is empty"),
        ("message: a\ninitial_events: []",
            "message: stands for initial_events, too; keep one of the two", "3: initial_events: is empty"),
        ("initial_events: null", "initial_events: must be a list"),
        (f"initial_events: [{', '.join(['{type: user.message, content: a}'] * 51)}]",
            "initial_events: has more than 50 entries"),
        ("initial_events:\n- type: user.mesage\n  content: a",
            "3: initial_events[0]: the type must be 'user.message', 'system.message', 'user.define_outcome'; "
            "did you mean user.message?"),
        ("initial_events:\n- content: a",
            "3: initial_events[0]: needs a type: user.message, user.define_outcome or system.message"),
        ("initial_events:\n- a", "3: initial_events[0]: must be a mapping of fields"),
        ("initial_events:\n- type: user.message\n  content: ''", "4: initial_events[0].content: is empty"),
        ("initial_events:\n- type: user.message\n  content:\n  - type: text\n    txet: a",
            "5: initial_events[0].content[0]: unknown field txet; did you mean text?"),
        ("initial_events:\n- type: user.message\n  content:\n  - type: text",
            "5: initial_events[0].content[0].text: is required"),
        ("initial_events:\n- type: user.define_outcome",
            "3: initial_events[0].description: is required", "3: initial_events[0].rubric: is required"),
        ("initial_events:\n- {type: user.define_outcome, description: a, rubric: {}, max_iterations: 21}",
            "3: initial_events[0].max_iterations: must be at most 20"),
        ("resources: [{type: github_repo}]",
            "resources[0].type: must be 'file', 'github_repository', 'git_repository' or 'memory_store'; "
            "did you mean github_repository?"),
        ("resources: [{}]", "resources[0].type: is required"),
        ("resources: [{typ: file}]", "resources[0]: unknown field typ; did you mean type?"),
        ("resources: [{type: git_repository, pasword: x}, {type: memory_store, memory_store: x}]",
            "resources[0]: unknown field pasword; did you mean password?",
            "resources[1]: unknown field memory_store; did you mean memory_store_id?"),
        (f"resources: [{', '.join(['{type: file}'] * 501)}]", "resources: has more than 500 entries"),
        ("vault_ids: [vault_1, env_1]",
            "vault_ids[1]: must be an id (vault_…) or a name: 'env_1' is an environment, not a vault"),

        ("metadata:\n  a: b\n  'c d': true", "4: metadata.'c d': must be text; put it in quotes"),
        ("metadata: {a: null}", "metadata.a: must be text, not null"),
        ("metadata: '{}'", "metadata: must be a mapping of fields"),
        (f"metadata: {{a: {'x' * 513}}}", "metadata.a: has more than 512 characters"),
        (f"metadata: {{{'x' * 65}: a}}", f"metadata.'{'x' * 40}…': has more than 64 characters"),
        (f"metadata: {json.dumps(dict.fromkeys('abcdefghijklmnopq', 'x'))}", "metadata: has more than 16 entries"),
        ("budget: 0", "budget: must be an amount above 0, with at most 12 digits before the point and 2 after it"),
        ("budget: true", "budget: must be an amount in credits, or null"),
        ("budget: {max_credit_cots: 1}",
            "budget.max_credit_cost: is required",
            "budget.max_credit_cots: unknown field; did you mean max_credit_cost?"),
        ("schedule: 0 9 * * *", 'schedule: must be a mapping like {expression: "0 9 * * *", timezone: UTC}, or null'),
        ("schedule: {expression: 0 9 * * *}", "schedule.timezone: is required"),
        ("schedule:\n  expression: 0 9 * * *\n  timezone: Asia/Shangai",
            "4: schedule.timezone: unknown time zone 'Asia/Shangai'; did you mean Asia/Shanghai?"),
        ("environment_variables: FLAG",
            "environment_variables: must be NAME=VALUE pairs, each on a line of its own or with ; between them"),
        ("environment_variables: |\n  A=1\n  # DB=old",
            "environment_variables: must not contain comments or `export`; remove them, " "or write a mapping"),
        ("environment_variables: 5",
            "environment_variables: must be a mapping of names and values, or a text of NAME=VALUE lines"),
        ("environment_variables:\n  PORT: 80\n  A=: x\n  B: a;b\n  C: \"a\\nb\"",
            "3: environment_variables.PORT: must be text; put it in quotes",
            "4: environment_variables.'A=': is not a valid variable name: no =, ; or line break, and no "
            "space around it",
            "5: environment_variables.B: must not contain a line break or ;, which the API cannot carry",
            "6: environment_variables.C: must not contain a line break or ;, which the API cannot carry"),
        ("type: run", "type: must be deployment here"),
    ],
    ids=lambda row: row[0][:40],
)  # fmt: skip
def test_file_checks_every_field(row: tuple[str, ...]) -> None:
    text, *problems = row  # of its line 2, unless they say another
    expected = [problem if problem[0].isdigit() else f"2: {problem}" for problem in problems]
    assert told(f"name: a\n{text}") == [f"-:{problem}" for problem in expected]


@pytest.mark.parametrize(
    ("before", "said", "values"),
    [
        (
            "name: a\nbudget: ",
            "-:2: budget: must be an amount above 0",
            ["-1", "1.234", "1e3", "0.00", '"$1"', '"١"', ".5"],
        ),
        (
            *("name: a\nschedule: {timezone: UTC, expression: ", "-:2: schedule.expression: "),
            [f'"{text}"}}' for text in ("61 * * * *", "* * * *", "@daily", "")],
        ),
        ("name: ", "-:1: name: ", ["''", "'  '", "x" * 257, "null", "5", "[]"]),
        ("description: ", "-:1: name is required, or the id of one that is there", ["a"]),
        ("", "-: declares nothing", ["", "# only comments\n", "---\n---\n", "null", "~", "[]"]),
        ("", "must be the fields of the deployment", ["name", "5", "- a", "[[]]", '"name"']),
    ],
)
def test_file_refuses_these_values(before: str, said: str, values: list[str]) -> None:
    for value in values:
        [problem] = told(before + value)
        assert said in problem, value


def test_files_are_told_all_their_faults_at_once(home: Path) -> None:
    (home / "a.yaml").write_text("name: a\nzzz: 1\n---\nname: [\n")
    (home / "b.json").write_text('{"name": "b",\n "agent": 5,\n "agent": "agent_1"}')
    (home / "c.yaml").write_text(NIGHTLY)
    problems = told_of(home, home / "nothere.yaml")
    assert [problem.removeprefix(f"{home}{os.sep}") for problem in problems] == [
        "nothere.yaml: does not exist",
        "a.yaml:2: zzz: unknown field",
        "a.yaml:5: not YAML: did not find expected node content (while parsing a flow node, line 5)",
        "b.json:3: agent: duplicate key (first on line 2)",
    ]


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("name: a\n" + "".join(f"zzz{n}: 1\n" for n in range(50)), "and 30 more"),
        ("name: a\n" + "".join(f"nmae{n}: 1\n" for n in range(1200)), "and 980 more"),
        ("\n".join(f"- {{name: n{n}, foo: 1}}" for n in range(1200)), "and 1180 more"),
    ],
    ids=["50", "1,200", "1,200 deployments"],
)
def test_file_shows_twenty_faults_and_counts_at_most_a_thousand_of_each_document(text: str, rest: str) -> None:
    problems = told(text)
    assert (len(problems), problems[-1]) == (21, rest)


def test_files_may_not_have_two_of_one_name_unless_both_have_ids(home: Path) -> None:
    (home / "a.yaml").write_text("id: dep_1\nname: one\n---\nname: two\n")
    (home / "b.yaml").write_text("name: two\n\n---\nname: one\nid: dep_2\nzzz: 1\n")
    (home / "c.json").write_text('{"name": "four"} {"name": "four"} {"name": "five", "id": "dep_3"} {"name": "five"}')
    a, b, c = (home / name for name in ("a.yaml", "b.yaml", "c.json"))
    assert told_of(a, b, c) == [
        f"{b}:6: zzz: unknown field",
        f"{b}:1: name: is that of another deployment, in {a}:4",
        *[f"{c}:1: name: is that of another deployment, in {c}:1"] * 2,
    ]


def test_file_faults_are_short_and_steer_no_terminal() -> None:
    problems = told('name: a\n"\\e[31m\\u202e": 1\n' + f"? {'x' * 5000}\n: 1\n" + f"z: !{'y' * 5000} 1\n")
    assert all(len(problem) < 400 and problem.isprintable() for problem in problems)


# What YAML allows and deployments do not.


@pytest.mark.usefixtures("_either_parser")
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("name: a\nname: b", "2: name: duplicate key (first on line 1)"),
        ("name: a\nmetadata:\n  a: b\n  c: d\n  'a': e", "5: metadata.a: duplicate key (first on line 3)"),
        ("name: a\nmetadata: &m {a: b}\nbudget: {<<: *m}", "3: budget.'<<': merge keys are not supported; "),
        ("name: !!python/object/apply:os.system [ls]", "1: name: the tag !!python/object/apply:os.system is not "),
        ("name: !!binary aGk=", "1: name: the tag !!binary is not supported; only !!str is"),
        ("name: a\nmetadata: &a\n  b: *a", "3: *a refers to itself"),
        ("name: *a", "1: refers to an anchor that is not defined; put a text that begins with * in quotes"),
        ("name: &a b\n---\nname: *a", "3: refers to an anchor that is not defined; "),
        ("name: a\n? [b]\n: c", "2: a key must be text"),
        ("name: a\nvault_ids: &v []\n*v : c", "3: a key must be text"),
        ("name: a\nmetadata:\n\tb: c", "3: not YAML: a value cannot start with '\\t'; indent with spaces"),
        ("name: 😀\ndescription: @home", "2: not YAML: a value cannot start with '@'; put it in quotes"),
        ("name: a: b", "1: not YAML: mapping values are not allowed "),
        ("name: 'a\n\n", "3: not YAML: found unexpected end of stream (while scanning a quoted scalar, line 1)"),
        ("name: a\x00b", "1: not YAML: contains the control character U+0000"),
        ("name: a\ndescription: '\ufffe'", "2: not YAML: contains the control character U+FFFE"),
        ('name: "\\ud83d\\ude00"', "1: not YAML: "),
        ("%YAML 9.1\n---\nname: a", "1: not YAML: found incompatible YAML document"),
    ],
)
def test_file_refuses_yaml_that_is_none_or_does_too_much(text: str, problem: str) -> None:
    assert any(line.startswith(f"-:{problem}") for line in told(text))


@pytest.mark.usefixtures("_either_parser")
@pytest.mark.parametrize("begins", ["*", "!", "!a!", "&a *"])
def test_file_never_repeats_a_password_that_yaml_takes_for_an_anchor_or_a_tag(begins: str) -> None:
    lines = told(f"name: a\nmetadata:\n  password: {begins}hunter2\n")
    assert any(line.startswith("-:3: ") for line in lines)
    assert "hunter2" not in "".join(lines)


@pytest.mark.usefixtures("_either_parser")
@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("message: do this: now", "; put a text with a colon and a space in quotes"),
        ("metadata: {p: ${PIN}}", "; inside { } and [ ], put ${NAME} in quotes"),
        ("vault_ids: [vault_1, ${V}]", "; inside { } and [ ], put ${NAME} in quotes"),
        ("vault_ids: [vault_1", "line 2)"),
    ],
)
def test_file_says_what_needs_quotes(text: str, advice: str) -> None:
    [problem] = told(f"name: a\n{text}")
    assert problem.endswith(advice)


LAUGHS = "".join(f"  a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 20))
MANY = f"[&b [{'a,' * 1000}]{', *b' * 50}]"  # 51,000 values
TOO_LARGE = "larger than 4 MB after expansion"


@pytest.mark.usefixtures("_either_parser")
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f"name: a\nmetadata:\n  a0: &a0 ha\n{LAUGHS}", "8: more than 100,000 values"),
        (f"name: a\nvault_ids: {MANY}\n---\nname: b\nvault_ids: {MANY}", "5: more than 100,000 values"),
        ("name: a\nmetadata: " + "[" * 101, "2: nested more than 100 levels deep"),
        ("name: a\nmetadata: " + "[" * 1200, "2: "),  # the C library's own bound comes first
        ("name: a\nmetadata: " + "{a: " * 101, "2: nested more than 100 levels deep"),
        ("- " * 1200, "1: nested more than 100 levels deep"),
        ("a: &a " + "[" * 60 + "]" * 60 + "\nb: " + "[" * 60 + "*a", "2: nested more than 100 levels deep"),
        (f"name: a\nresources: [{{type: file, a: &a {'x' * 20_000}, b: [{'*a, ' * 215}]}}]", f"2: {TOO_LARGE}"),
        ("name: a\nmessage: " + "${A}" * 4500, f"2: {TOO_LARGE}"),
    ],
    ids=["laughs", "documents", "lists", "many lists", "mappings", "dashes", "repeated", "repeated texts", "variables"],
)
@pytest.mark.few(3)
def test_file_refuses_what_grows_without_bounds(text: str, problem: str) -> None:
    assert any(line.startswith(f"-:{problem}") for line in told(text, {"A": "x" * 1000}))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"name": "a",}', "1: not JSON: expected a key in quotes, like \"name\", found '}'"),
        ('["a",\n]', "2: not JSON: expected a value, found ']'"),
        ("{name: 1}", "1: not JSON: expected a key in quotes, like \"name\", found 'n'"),
        ('{"name" "a"}', "1: not JSON: expected a colon, found '\"'"),
        ('{"name": "a"\n"id": 1}', "2: not JSON: expected a comma or }, found '\"'"),
        ('{"name": "a"', "1: not JSON: expected a comma or }, found the end"),
        ('{"name": "a\n"}', "1: not JSON: unterminated string, or a raw line break or tab in it; "),
        ('{"name": "\\q"}', "1: not JSON: invalid value '\"\\\\q\"'"),
        ('{"name":\n"\\ud83d"}', "2: not JSON: invalid surrogate in a string"),
        ('{"name": NaN}', "1: not JSON: invalid value 'NaN'"),
        ("// hello\n{}", "1: not JSON: JSON does not allow comments; use a .yaml file"),
        ('{"name": "a"} }', "1: not JSON: expected a value, found '}'"),
        ("[" * 100_000, "1: nested more than 100 levels deep"),
    ],
)
def test_file_refuses_json_that_is_none(home: Path, text: str, problem: str) -> None:
    file = home / "a.json"
    file.write_text(text, encoding="utf-8")
    assert told_of(file)[0].startswith(f"{file}:{problem}")


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="no devices on this system")
def test_file_of_100_mb_or_without_end_is_refused(home: Path) -> None:
    with (file := home / "big.yaml").open("wb") as big:
        big.truncate(100 * 1024 * 1024)
    assert told_of(file, "/dev/zero", "/dev/null") == [
        f"{file}: is larger than 4 MB, the limit for a file",
        "/dev/zero: is larger than 4 MB, the limit for a file",
        "/dev/null: declares nothing",
    ]


class Endless(io.RawIOBase):
    """Standard input that somebody pipes a device into."""

    given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        buffer[:] = b"#" * len(buffer)
        self.given += len(buffer)
        return len(buffer)


def test_file_on_stdin_is_refused_after_4_mb() -> None:
    endless = Endless()
    with pytest.raises(UsageError, match="-: is larger than 4 MB, the limit for a file"):
        of_stdin(io.TextIOWrapper(io.BufferedReader(endless)))
    assert endless.given < 5 * 1024 * 1024


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"name: a\ndescription: \xff", ":2: byte 21 (0xff) is not UTF-8"),
        (b"\xef\xbb\xbfname: \xe9t\xe9", ":1: byte 9 (0xe9) is not UTF-8"),
        (b"name: a\xed\xa0\x80", ":1: byte 7 (0xed) is not UTF-8"),
        ("name: a".encode("utf-16"), ":1: is UTF-16; save it as UTF-8"),
    ],
)
def test_file_that_is_not_utf_8_is_refused(tmp_path: Path, data: bytes, problem: str) -> None:
    (file := tmp_path / "a.yaml").write_bytes(data)
    assert told_of(file) == [f"{file}{problem}"]
    with pytest.raises(UsageError, match="UTF-"):
        of_stdin(io.TextIOWrapper(io.BytesIO(data)))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_files_that_cannot_be_read_are_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "broken.yaml").symlink_to(home / "nowhere")
    (home / "circle.yaml").symlink_to("circle.yaml")
    os.mkfifo(pipe := home.parent / "pipe")
    os.mkfifo(home / "pipe.yaml")
    assert told_of(home, "", "a\0b", "x" * 5000, pipe) == [
        f"{home / 'broken.yaml'}: is a link that leads nowhere",
        f"{home / 'circle.yaml'}: cannot be read: Too many levels of symbolic links",
        f"{home / 'pipe.yaml'}: is neither a file nor a folder",
        "'': does not exist",
        "a\\u0000b: does not exist",
        f"{'x' * 5000}: does not exist",
        f"{pipe}: cannot be read: it is a named pipe that nothing writes to",
    ]

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    (file := home.parent / "deployment_a.yaml").write_text(NIGHTLY)
    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(os, "scandir", refuse)
    assert told_of(file, home) == [
        f"{file}: cannot be read: Permission denied",
        f"{home}: cannot be listed: Permission denied",
    ]


def test_file_or_stdin_that_is_named_twice_counts_once(home: Path) -> None:
    (file := home / "a.yaml").write_text(NIGHTLY)
    [declared] = files(home, file, f"{home}{os.sep}.{os.sep}a.yaml")
    assert declared.name == "nightly-review"


def test_file_on_a_closed_stdin_is_said_to_be() -> None:
    with pytest.raises(UsageError, match="-: cannot be read: it is closed"):
        of_stdin(None)
    (closed := io.StringIO()).close()
    with pytest.raises(UsageError, match="-: cannot be read: I/O operation on closed file"):
        of_stdin(closed)


# Whatever it is: read, or refused with exit 2.

SCRAPS = st.sampled_from(
    [
        *("name: a", "id: dep_1", "agent:", "schedule:", "initial_events:", "metadata:", "budget:", "message:"),
        *("- ", "  ", "\n", ": ", "[", "]", "{", "}", ",", '"', "'", "|", ">", "&a ", "*a", "!!str ", "!x ", "<<: "),
        *("${A}", "${", "$${", "#", "---", "...", "?", "%", "@", "\t", "\r", "\x00", "\x85", "\u2028", "\ufeff", "é"),
        *("null", "1.10", "1e9", "-0", "true", "type: user.message", "content:", "\\ud800", "text", "type: deployment"),
    ]
)


@examples(Fraction(2, 3))
@given(st.lists(SCRAPS | st.text(max_size=5), max_size=30).map("".join), st.binary(max_size=30), st.booleans())
@example("name: a\ndescription: >\n \u2028\n", b"", False)
def test_file_of_any_text_is_read_or_refused(text: str, data: bytes, pure: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if pure:
            patch.setattr(yamlread, "_LOADER", yaml.SafeLoader)
        with suppress(UsageError):
            read(text, {"A": "b"})
        with suppress(UsageError, UnicodeEncodeError):
            of_stdin(io.TextIOWrapper(io.BytesIO(text.encode() + data)))
