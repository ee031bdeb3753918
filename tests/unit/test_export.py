"""Deployments as `export` writes them: read back, they are exactly what they were, so that an apply sends nothing."""

import json
import re
from decimal import Decimal
from typing import Any

import pytest
import yaml

from qoder_cli.base import jsontext
from qoder_cli.base.model import Deployment
from qoder_cli.nouns.deployments import EMPTY, FORM, comparable, settable
from qoder_cli.nouns.edits.difference import difference
from qoder_cli.nouns.parts import assignments
from tests.support.deployments import PLAIN
from tests.support.exported import export, taken_back


def of(**fields: Any) -> Deployment:
    """Return a server's deployment with some fields."""
    return Deployment({**PLAIN, **fields})


ENV = {"HOME": "/home/me", "A": "b"}


def said(deployment: Deployment) -> str:
    """Return what is written about a deployment, which must be read back as the same."""
    variables = dict(assignments(str(deployment.raw.get("environment_variables") or "")) or ())
    text = export(deployment, "ENVIRONMENT_VARIABLES", *variables)
    declared = taken_back(text, env=ENV)
    fields = {**EMPTY, **declared.fields}
    assert one_spelling(comparable(fields)) == one_spelling(settable(deployment))
    assert difference(FORM, declared.fields, settable(deployment)) == ({}, [])
    return text


def one_spelling(value: Any) -> Any:
    """Return a value with numbers that have an exponent in one spelling: 1E5 is written as YAML 1.1 reads it too."""
    if isinstance(value, dict):
        return {key: one_spelling(item) for key, item in value.items()}
    if isinstance(value, list):
        return [one_spelling(item) for item in value]
    has_exponent = isinstance(value, jsontext.Number) and "e" in value.text.lower()
    return str(Decimal(value.text).normalize()) if has_exponent else value


def front_of(text: str) -> Any:
    """Return the fields of a file, as PyYAML reads them."""
    return yaml.safe_load(text.split("---\n")[1])


YAML_1_2 = re.compile(r"-?[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?")  # the numbers of its core schema, without signs before


NASTY = [
    *("yes", "No", "null", "~", "1.10", "100", "true", "- a", "# a", "a # b", "a: b", "", " ", "\n", "\n\n", "\t"),
    *(" a", "a ", "a\n", "\na", "a\n\n", "a\nb", "a\nb\n", "a\n\nb", "a \nb", "a\n b", " a\nb", "\ta\nb", "a\n\tb"),
    *("a\r\nb", "a\rb", "a\x85b", "a\u2028b\u2029", "\ufeffa", "a\ufeff\nb", "\x00\x01\x1b[31m\x7f", "\ufffe"),
    *("\U0001f600\n\U0001f600", "${HOME}", "$${HOME}", "$$${HOME}", "${", "$", "a\n${A} $5\n", "{{ x }}", "{a: b}"),
    *("[a]", "&a", "*a", "!a", "%a", "@a", "`a", '"a"', "'a'", "a\\n", "---", "a\n---\nb", "...", "a\n...\n", "|"),
    *(">", "? a", "<<", "=", "2026-06-14", "12:30:00", "0x1F", "1e3", ".inf", ".nan", "a" * 5000, "\u202eevil"),
    *("word " * 300 + "end", "\xa0a\nb\xa0"),
]


@pytest.mark.parametrize("text", NASTY)
@pytest.mark.few(10)
def test_export_of_any_text_is_taken_back_exactly(text: str) -> None:
    said(of(description=text[:2048], metadata={"a": text[:512], text[:64]: "b"}))
    said(of(resources=[{"type": "file", "a": text, text: [text, {text: text}, [[text]]]}]))
    said(of(initial_events=[{"type": "user.message", "content": [{"type": "text", "text": text}]}]))
    if text:
        said(of(initial_events=[{"type": "user.message", "content": text}]))
    if text.strip():
        said(of(name=text[:256]))


@pytest.mark.parametrize(
    ("sent", "written"),
    [
        ("A=1\nB=x=y", ["environment_variables:", '  A: "1"', '  B: "x=y"']),
        ("A=1;B=2;", ["environment_variables:", '  A: "1"', '  B: "2"']),
        ("A=1\nA=2", ["environment_variables: |-", "  A=1", "  A=2"]),
        ("my.var=1;a-b=2;1=3", ["environment_variables:", '  my.var: "1"', '  a-b: "2"']),
    ],
)
def test_export_has_environment_variables_as_a_mapping(sent: str, written: list[str]) -> None:
    lines = said(of(environment_variables=sent)).splitlines()
    assert lines[lines.index(written[0]) :][: len(written)] == written
    hidden = export(of(environment_variables=sent))
    assert all(line not in hidden.splitlines() for line in written[1:])
    assert "${" in hidden


@pytest.mark.parametrize(
    ("sent", "written"),
    [
        *(("1e30", "1.0e+30"), ("1E400", "1.0e+400"), ("-2.50e-7", "-2.50e-7"), ("1.5e3", "1.5e+3")),
        *((same, same) for same in ("0", "-0", "1.10", "123456789012345678901234567890")),
    ],
)
def test_export_of_a_number_is_the_same_in_both_versions_of_yaml(sent: str, written: str) -> None:
    text = said(of(resources=[jsontext.parse(f'{{"type": "file", "value": {sent}}}')]))
    assert f"    value: {written}\n" in text
    by_1_1 = front_of(text)["resources"][0]["value"]  # PyYAML
    assert not isinstance(by_1_1, str)
    assert by_1_1 == json.loads(sent)
    assert YAML_1_2.fullmatch(written)


@pytest.mark.parametrize(
    "sent",
    ["0777", "0o17", "1:30", "190:20:30", "yes", "No", "on", "y", "~", "1_000", "0x1f", ".5", "1e3", "+1", ".inf", "="],
)
def test_export_of_a_text_stays_one_in_both_versions_of_yaml(sent: str) -> None:
    text = said(of(description=sent, metadata={sent: sent}))
    both = front_of(text)
    assert (both["description"], both["metadata"]) == (sent, {sent: sent})
    assert f'description: "{sent}"' in text


def test_export_reads_as_a_person_would_write_it() -> None:
    deployment = of(
        description="Nightly review of main",
        environment_variables="FLAG=on\nLEVEL=info",
        schedule={"type": "cron", "expression": "0 9 * * 1-5", "timezone": "Asia/Shanghai", "upcoming_runs_at": []},
        initial_events=[{"type": "user.message", "content": "Review:\n- what changed\n\nBe brief."}],
        resources=[{"type": "git_repository", "url": "https://example.com/a", "checkout": {"name": "main"}}],
        vault_ids=["vault_1"],
        metadata={"team": "platform", "cas_config": {"stats": {}}},
        budget={"type": "limit", "max_credit_cost": "100.00"},
        status="paused",
        paused_reason={"type": "manual"},
    )
    said(deployment)
    assert (
        export(deployment, "FLAG")
        == """\
---
name: nightly-review
description: Nightly review of main
agent:
  id: agent_1
  version: 3
environment: env_1
# Set these variables before you apply.
environment_variables:
  FLAG: "on"
  LEVEL: ${LEVEL}
# at 09:00 on Monday through Friday (Asia/Shanghai)
schedule:
  expression: "0 9 * * 1-5"
  timezone: Asia/Shanghai
paused: true
budget: "100.00"
metadata:
  team: platform
# The server never returns tokens and passwords. To change resources, add them again as ${NAME}.
resources:
  - type: git_repository
    url: "https://example.com/a"
    checkout:
      name: main
vaults:
  - vault_1
---

Review:
- what changed

Be brief.
"""
    )


@pytest.mark.parametrize(
    "more",
    [
        {"initial_events": [{"type": "user.message", "content": "Hi.", "of_a_newer_server": 1}]},
        {"initial_events": [{"type": "user.message", "content": [{"type": "text", "text": "Hi.", "newer": 1}]}]},
    ],
)
def test_export_shortens_nothing_that_says_more(more: Any) -> None:
    said(of(**more))


@pytest.mark.parametrize(
    "other",
    [
        {"budget": {"type": "soft", "max_credit_cost": "1.00"}},
        {"budget": {"type": "limit"}},
        {"initial_events": "Hi."},
    ],
)
def test_export_keeps_what_is_of_another_shape_as_it_is(other: dict[str, Any]) -> None:
    assert front_of(export(of(**other))).items() >= other.items()


def test_export_speaks_of_tokens_only_where_a_resource_takes_one() -> None:
    assert "never returns tokens" not in said(of(resources=[{"type": "file", "file_id": "file_1"}]))


def test_export_has_no_secrets_and_nothing_that_changes_by_itself() -> None:
    resource = {"type": "github_repository", "url": "x", "authorization_token": "ghp_hunter2", "password": "hunter2"}
    assert "hunter2" not in said(of(resources=[resource]))
    cron = {"type": "cron", "expression": "0 9 * * *", "timezone": "UTC"}
    today = {**cron, "upcoming_runs_at": ["2026-06-15T09:00:00Z"]}
    tomorrow = {**cron, "upcoming_runs_at": ["2026-06-16T09:00:00Z"], "last_run_at": "2026-06-15T09:00:00Z"}
    by_failures = {"status": "paused", "paused_reason": {"type": "error"}, "updated_at": "2026-06-15T09:00:00Z"}
    assert export(of(schedule=today)) == export(of(schedule=tomorrow, **by_failures))


def test_export_lets_nothing_of_a_server_out_of_a_comment() -> None:
    evil = "x\nname: evil\r\u2028\x85budget: 1\x00\ufeff\uffff"
    schedule = {"type": "cron", "expression": "0 9 * * *", "timezone": evil}
    deployment = of(id=f"dep_{evil}", archived_at=evil, metadata={evil: 5})
    text = export(deployment)
    assert {**EMPTY, **taken_back(text, env=ENV).fields} == settable(deployment)
    text += export(of(schedule=schedule))
    assert not re.search("^(name: evil|budget: 1)", text, re.MULTILINE)
