"""What differs between a file and the server: the body that is sent for it, and how it reads to people."""

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from qoder_cli.base.errors import CannotBe, NoResponse, OutcomeUnknown, QoderError, Rejected
from qoder_cli.base.jsontext import Number
from qoder_cli.base.model import Deployment, Resource
from qoder_cli.nouns.deployments import FORM, LATEST, settable, spelled_out
from qoder_cli.nouns.edits.difference import (
    ABSENT,
    HIDDEN,
    Difference,
    FieldChange,
    Form,
    Secrets,
    difference,
    differing,
    lines_of,
    missing,
    same,
)
from qoder_cli.nouns.edits.forms import form_of, form_with
from qoder_cli.nouns.edits.owner import record_of
from qoder_cli.nouns.edits.thing import target_of
from qoder_cli.nouns.edits.update import Overtaken, Update
from qoder_cli.nouns.table import NOUNS, operation
from tests.support.answers import Server, without
from tests.support.deployments import PLAIN

MESSAGE = [{"type": "user.message", "content": [{"type": "text", "text": "Report."}]}]
OUTCOME = {"type": "user.define_outcome", "description": "Done.", "rubric": {"type": "text", "content": "All of it."}}
FILE = {"type": "file", "file_id": "file_1"}
SERVER: dict[str, Any] = {
    **PLAIN,
    "name": "report",
    "description": "Old words",
    "environment_variables": "A=1\nB=2",
    "schedule": {
        "type": "cron",
        "expression": "0 9 * * *",
        "timezone": "UTC",
        "upcoming_runs_at": ["2026-06-15T09:00:00Z"],
    },
    "initial_events": MESSAGE,
    "resources": [FILE],
    "vault_ids": ["vault_1", "vault_2"],
    "metadata": {"team": "core", "cas_config": {"stats": {"total_runs": 4}}},
    "budget": {"type": "limit", "max_credit_cost": "5.00"},
    "updated_at": "2026-06-14T08:54:05Z",
}


def changed(wanted: dict[str, Any], *, server: dict[str, Any] | None = None) -> Difference:
    return difference(FORM, spelled_out(wanted), settable(Deployment(server or SERVER)))


def merged(server: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    """Return what the documented rules of an update make of the server's object (api.md#deployments)."""
    new = {**server, **{name: value for name, value in body.items() if name != "metadata"}}
    metadata = {**server.get("metadata", {}), **body.get("metadata", {})}
    new["metadata"] = {key: value for key, value in metadata.items() if value is not None}
    if isinstance(body.get("agent"), str):
        new["agent"] = {"id": body["agent"], "type": "agent", "version": 7}
    return new


NEW_SCHEDULE = {"type": "cron", "expression": "0 9 * * *", "timezone": "Europe/Berlin"}


@pytest.mark.parametrize(
    ("wanted", "changes", "body"),  # where that is another than what is wanted
    [
        ({"description": "New"}, [("description", "Old words", "New")], None),
        (
            {"environment_variables": {"A": "1", "C": ""}},
            [("environment_variables.B", "2", ABSENT), ("environment_variables.C", ABSENT, "")],
            {"environment_variables": "A=1\nC="},
        ),
        (
            {"environment_variables": None},
            [("environment_variables.A", "1", ABSENT), ("environment_variables.B", "2", ABSENT)],
            {"environment_variables": ""},
        ),
        ({"environment_variables": "A=1\nA=2"}, [("environment_variables", "A=1\nB=2", "A=1\nA=2")], None),
        ({"schedule": NEW_SCHEDULE}, [("schedule.timezone", "UTC", "Europe/Berlin")], None),  # it is sent whole
        (
            {"message": "Report!"},
            [("initial_events[0].content[0].text", "Report.", "Report!")],
            {"initial_events": [{"type": "user.message", "content": [{"type": "text", "text": "Report!"}]}]},
        ),
        ({"resources": [{**FILE, "mount_path": "/data"}]}, [("resources[0].mount_path", ABSENT, "/data")], None),
        (
            {"metadata": {"team": "web", "tier": ""}},
            [("metadata.team", "core", "web"), ("metadata.tier", ABSENT, "")],
            None,
        ),
        (
            {"budget": Number("7.5")},
            [("budget.max_credit_cost", "5.00", "7.50")],
            {"budget": {"type": "limit", "max_credit_cost": "7.50"}},
        ),
        ({"agent": {"id": "agent_1", "type": "agent", "version": 4}}, [("agent.version", 3, 4)], None),
        ({}, [], None),
    ],
)
def test_difference_sends_only_what_differs(wanted: Any, changes: Any, body: Any) -> None:
    found = changed(wanted)
    assert found.body == (wanted if body is None else body)
    assert [change[:3] for change in found.changes] == changes
    assert not changed(wanted, server=merged(SERVER, found.body)).changes


def test_difference_of_variables_the_server_shows_unreadably_is_of_the_whole_text() -> None:
    found = changed({"environment_variables": "A=1"}, server={**SERVER, "environment_variables": "A"})
    assert [change[:3] for change in found.changes] == [("environment_variables", "A", "A=1")]


def of_a_file(ours: dict[str, Any], theirs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    return {"resources": [{"type": "file", **ours}]}, {"resources": [{"type": "file", **theirs}]}


@pytest.mark.parametrize(
    ("said", "server"),
    [
        ({"environment_variables": {"B": "2", "A": "1"}}, {"environment_variables": "A=1;B=2"}),
        ({"environment_variables": ""}, {"id": "dep_1"}),
        ({"description": ""}, {"description": None}),
        ({"metadata": {}}, {"metadata": {"cas_config": {}}}),
        ({"budget": 5}, {"budget": {"max_credit_cost": "5.00", "type": "limit"}}),
        (
            {"initial_events": [{"content": "Hi", "type": "user.message"}]},
            {"initial_events": [{"type": "user.message", "content": [{"text": "Hi", "type": "text"}]}]},
        ),
        of_a_file({"a": 1}, {"a": Number("1.0")}),
        of_a_file({"a": Number("-0")}, {"a": 0}),
        of_a_file({}, {"a": None, "b": "", "c": [], "d": {}}),
        of_a_file({"password": "hunter2"}, {}),
        ({"agent": "agent_1"}, {"agent": "agent_1"}),  # a server that names it only
        ({"initial_events": [OUTCOME]}, {"initial_events": [{**OUTCOME, "max_iterations": 3}]}),
        ({"initial_events": [{**OUTCOME, "max_iterations": 3}]}, {"initial_events": [OUTCOME]}),
        ({"resources": [FILE]}, {"resources": [{**FILE, "mount_path": "/mnt/session/uploads/file_1"}]}),
        ({"environment_variables": "A=1\nA=2"}, {"environment_variables": "A=1\nA=2"}),  # compared as a text
    ],
)
def test_difference_is_none_where_both_mean_the_same(said: dict[str, Any], server: dict[str, Any]) -> None:
    assert not changed(said, server=server).changes


def test_difference_shows_what_is_no_default_of_the_server() -> None:
    [change] = changed(
        {"initial_events": [OUTCOME]}, server={"initial_events": [{**OUTCOME, "max_iterations": 5}]}
    ).changes
    assert change[:3] == ("initial_events[0].max_iterations", 5, ABSENT)
    [change] = changed({"resources": [FILE]}, server={"resources": [{**FILE, "mount_path": "/data"}]}).changes
    assert change[:3] == ("resources[0].mount_path", "/data", ABSENT)
    shown = [
        change[:3] for change in difference(FORM, {"initial_events": [{**OUTCOME, "max_iterations": 3}]}, {}).changes
    ]
    assert ("initial_events[0].max_iterations", ABSENT, 3) in shown


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *((1, True), (0, False), (1, "1"), ("true", True), (0, None), (False, None), (1, 2), ([], [None]), ([], [{}])),
        *(([""], []), ([1], [1, 1]), ([1], {"a": 1}), ({"a": 1}, {"a": True}), ([[1]], [[True]]), ("a", "a ")),
        *(("a", ""), ("\u00e9", "e\u0301"), (Number("1.10"), Number("1.11")), (Number("1E400"), Number("1E401"))),
        (Number("1E9999999999999999999999"), 1),
        (Number("9007199254740993.0"), Number("9007199254740992.0")),
    ],
)
def test_difference_shows_what_means_something_else_however_deep(one: Any, other: Any) -> None:
    def of(value: Any) -> dict[str, Any]:
        return {"resources": [{"type": "file", "x": {"y": [value, "end"]}}]}

    for before, after in ((one, other), (other, one)):
        found = difference(FORM, of(after), of(before))
        assert found.body == of(after)
        assert {change.path.startswith("resources[0].x.y[0]") for change in found.changes} == {True}


LIST = "resources"
GIT = {"type": "git_repository", "url": "https://x"}


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        (["a", "b", "c"], ["b", "c", "d"], ['- resources[0]: "a"', '+ resources[2]: "d"']),
        (["a", "b"], ["b", "a"], ['+ resources[0]: "b"', '- resources[1]: "b"']),
        ([FILE, GIT], [GIT], ['- resources[0]: {"type":"file","file_id":"file_1"}']),
        ([FILE, GIT], [{**GIT, "ref": "main"}], ["- resources[0]: {FILE}", '+ resources[0].ref: "main"']),
        ([GIT], [FILE, GIT], ['+ resources[0].type: "file"', '+ resources[0].file_id: "file_1"']),
        ([GIT], [{**GIT, "url": "https://y"}], ['+ resources[0].url: "https://y"', "- resources[0]: {GIT}"]),
        ([{"a": [1, 2, 3]}], [{"a": [1, 3]}], ["- resources[0].a[1]: 2"]),
        (
            [FILE],
            [{**FILE, "type": "a"}],
            ['+ resources[0].type: "a"', '+ resources[0].file_id: "file_1"', "- resources[0]: {FILE}"],
        ),
        ([{"a": 1}], [{"a": {"b": 1}}], ['~ resources[0].a: 1 -> {"b":1}']),
        (["a"], [{"x": 1}], ["+ resources[0].x: 1", '- resources[0]: "a"']),
        ([{"x": 1}], [{"name": "a"}], ['+ resources[0].name: "a"', '- resources[0]: {"x":1}']),
        ([{"name": "a"}], [{"x": 1}], ["+ resources[0].x: 1", '- resources[0]: {"name":"a"}']),
        ([{"x": 1}, {"x": 2}], [{"x": 3}], ["~ resources[0].x: 1 -> 3", '- resources[1]: {"x":2}']),
        ([{"x": 1}], [{"x": 2}], ["~ resources[0].x: 1 -> 2"]),  # what has no name is known by its place
    ],
)
def test_difference_shows_of_a_list_what_goes_and_what_comes(before: Any, after: Any, lines: list[str]) -> None:
    found = difference(FORM, {LIST: after}, {LIST: before})
    shown = [line for change in found.changes for line in lines_of(change, Secrets())]
    named = {"FILE": json.dumps(FILE, separators=(",", ":")), "GIT": json.dumps(GIT, separators=(",", ":"))}
    wanted = [line.replace("{FILE}", named["FILE"]).replace("{GIT}", named["GIT"]) for line in lines]
    assert sorted(line for line in shown if ".type" not in line or ".type" in str(wanted)) == sorted(wanted)


def test_difference_sends_what_the_server_never_tells_and_shows_it_not() -> None:
    found = changed({"resources": [{"type": "git_repository", "url": "https://x", "password": "hunter2"}]})
    assert found.body["resources"][0]["password"] == "hunter2"
    assert "hunter2" not in str(found.changes)
    assert [change.path for change in found.changes if "password" in change.path] == []


def shown_lines(path: str, before: Any, after: Any, *secrets: str) -> list[str]:
    return lines_of(FieldChange(path, before, after), Secrets(secrets))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (("name", "a", "b"), '~ name: "a" -> "b"'),
        (("metadata.team", ABSENT, "core"), '+ metadata.team: "core"'),
        (("description", "a", None), '~ description: "a" -> null'),
        (("description", "a" * 60, "b"), f'~ description: "{"a" * 60}" -> "b"'),
        (("schedule", {"timezone": "UTC"}, None), '~ schedule: {"timezone":"UTC"} -> null'),
        (("agent.version", 3, LATEST), '~ agent.version: 3 -> "latest"'),
        (("resources[0].n", Number("1.10"), 2), "~ resources[0].n: 1.10 -> 2"),
        (("name", "\x1b[2J\u202e", "b\x07"), '~ name: "\\u001b[2J\\u202e" -> "b\\u0007"'),
    ],
)
def test_change_is_told_in_one_line(change: tuple[str, Any, Any], line: str) -> None:
    assert lines_of(FieldChange(*change), Secrets([])) == [line]


STEPS = "\n".join(f"Step {n}: look at the build, and say what you see." for n in range(6))


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        (
            STEPS,
            STEPS.replace("Step 3: look at", "Step 3: repair"),
            [
                "     Step 2: look at the build, and say what you see.",
                "    -Step 3: look at the build, and say what you see.",
                "    +Step 3: repair the build, and say what you see.",
                "     Step 4: look at the build, and say what you see.",
            ],
        ),
        (ABSENT, "a\n- b", ["    +a", "    +- b"]),
        ("a\nb", "a\nb\n", ["    +(a line break at the end)"]),
        ("a\nb\n", "a\nc", ["     a", "    -b", "    +c", "    -(a line break at the end)"]),
        ("a\r\nb", "a\nb", ["    -a\\r", "    +a", "     b"]),
        ("x" * 70, "x" * 69, ["    -" + "x" * 70, "    +" + "x" * 69]),
        ("a\n\x1b]0;title\x07", "a\nb", ["     a", "    -\\u001b]0;title\\u0007", "    +b"]),
        ("a\n@@ -1 +1 @@", "a\n@@", ["     a", "    -@@ -1 +1 @@", "    +@@"]),
        ("--- a\nb", "+++ a\nb", ["    ---- a", "    ++++ a", "     b"]),
    ],
)
def test_change_of_a_long_text_is_told_by_its_lines(before: Any, after: Any, lines: list[str]) -> None:
    sign = "+" if before is ABSENT else "-" if after is ABSENT else "~"
    assert shown_lines("description", before, after) == [f"{sign} description:", *lines]


def test_change_of_a_text_of_very_many_lines_is_cut_and_not_compared_for_minutes() -> None:
    for count, shown in ((2000, 4), (2001, 32)):  # lines; of more than 4000 nobody looks which are the same
        before = "\n".join(map(str, range(count)))
        assert len(shown_lines("description", before, f"{before}!")) == shown
    many = [f"{n % 7} {n}" for n in range(60_000)]
    lines = shown_lines("description", "\n".join(many), "\n".join(reversed(many)))
    assert (len(lines), lines[-1]) == (32, "    … and 119970 more lines")


TOKEN = "environment_variables.TOKEN"


@pytest.mark.parametrize(
    ("path", "before", "after", "line"),
    [
        (TOKEN, ABSENT, "hunter2", f'+ {TOKEN}: "[hidden]"'),
        (TOKEN, "hunter2", ABSENT, f'- {TOKEN}: "[hidden]"'),
        ("environment_variables", "?", "also ?", "~ environment_variables: changed"),
        ("environment_variables.LEVEL", "1", "2", "~ environment_variables.LEVEL: changed"),
        ("resources[0]", ABSENT, {"password": "hunter2", "b": 1}, '+ resources[0]: {"password":"[hidden]","b":1}'),
        ("resources[0]", ABSENT, {"password": None}, '+ resources[0]: {"password":null}'),
        ("resources[0]", ABSENT, [{"token": "hunter2"}], '+ resources[0]: [{"token":"[hidden]"}]'),
        *(
            (path, "hunter2", "hunter3", f"~ {path}: changed")
            for path in (TOKEN, "resources[0].token", "mcp_servers[0].headers.X", "auth.token", "api_key")
        ),
        *(
            (path, "hunter2", "hunter3", f'~ {path}: "hunter2" -> "hunter3"')
            for path in (
                "name",
                "metadata.token",
                "schedule.expression",
                "auth.networking.type",
                "tools[0].max_content_tokens",
            )
        ),
    ],
)
def test_change_shows_only_what_stands_where_no_secret_may(path: str, before: Any, after: Any, line: str) -> None:
    assert shown_lines(path, before, after) == [line]
    shown = FieldChange(path, before, after).hidden(Secrets()).as_json()
    assert ("hunter" in json.dumps(shown)) == ("hunter" in line)


def test_change_hides_what_came_from_a_variable_wherever_it_stands() -> None:
    assert shown_lines("name", "a", "b", "name") == ["~ name: changed"]
    assert shown_lines("resources[0]", ABSENT, {"url": "a", "b": "a"}, "resources[0].url") == [
        '+ resources[0]: {"url":"[hidden]","b":"a"}'
    ]


def test_change_repeats_no_token_in_the_wrong_place() -> None:
    [line] = shown_lines("name", "pt-0123456789abcdef", "b pt-0123456789abcdef")
    assert line == '~ name: "[redacted]" -> "b [redacted]"'
    change = FieldChange("schedule", None, {"timezone": "pt-0123456789abcdef"}).hidden(Secrets())
    assert change.as_json() == {"path": "schedule", "before": None, "after": {"timezone": "[redacted]"}}


@pytest.mark.parametrize(("text", "shown"), [("TOKEN=e\nPLAIN=see", HIDDEN), (None, None)])
def test_secrets_hide_variables_of_a_server(text: str | None, shown: str | None) -> None:
    fields = {"id": "dep_e", "name": "e", "metadata": {"TOKEN": "e"}, "environment_variables": text}
    assert Secrets([TOKEN]).out_of(fields) == {**fields, "environment_variables": shown}
    assert Secrets().out_of(fields) == fields
    assert Secrets(["name"]).out_of(fields) == {**fields, "name": HIDDEN}


LIMITED = {"type": "limited"}
NORMAL: list[tuple[str, Any, Any]] = [
    *(("version", 3, None), ("content_sha256", "x", None), ("auth", "x", "x"), ("tools", None, None)),
    *(("model", {}, {}), ("model", {"id": "auto"}, "auto"), ("model", {"id": "auto", "effort": None}, "auto")),
    *(("model", each, each) for each in ({"id": "auto", "effort": "low"}, {"id": None, "effort": None})),
    ("tools", [{"type": "a", "default_config": {"enabled": True}}, 5], [{"type": "a", "default_config": {}}, 5]),
    ("config", {"type": "cloud"}, {"type": "cloud", "networking": LIMITED}),
    *(("config", {}, {"networking": LIMITED}), ("config", {"type": "self_hosted"}, {"type": "self_hosted"})),
    ("config", {"networking": {"allow_mcp": False, "x": False}}, {"networking": {**LIMITED, "x": False}}),
    ("config", {"networking": {"allow_mcp": True}}, {"networking": {**LIMITED, "allow_mcp": True}}),
    ("auth", {"networking": {"allow_mcp": False}}, {"networking": {}}),
]


@pytest.mark.parametrize(("name", "value", "normal"), NORMAL, ids=str)
def test_fields_are_compared_without_what_a_server_fills_in(name: str, value: Any, normal: Any) -> None:
    assert form_with((name,)).normal({name: value}).get(name) == normal


@pytest.mark.parametrize(
    ("noun", "fields"),
    [
        ("session", {"agent", "budget", "environment_variables", "metadata", "title", "vault_ids"}),
        ("dream", {"inputs", "instructions", "model", "output_behavior"}),  # which cannot be updated
        ("file", set()),
    ],
)
def test_things_are_compared_by_what_an_update_can_set(noun: str, fields: set[str]) -> None:
    assert set(form_of(NOUNS[noun]).settable({})) == fields


X, Y = ({"id": id, "n": 1} for id in "xy")
SHOWN: list[tuple[Any, Any, bool]] = [
    *(({"a": 1, "b": 2}, {"a": 1}, True), ({"a": 1}, {"a": 1, "b": 2}, False), ({"a": 2}, {"a": 1}, False)),
    ([2, 1, 3], [1, 3, 2], True),
    *(([1, 2], items, False) for items in ([1], [1, 2, 2], [1, 3], [], {"a": 1}, None)),
    *(([{**Y, "m": 1}, X], [X, Y], True), ([X, {**Y, "n": 2}], [Y, X], False), ([[2, 1]], [[1, 2]], True)),
    *(([{**X, "type": "a"}], [{**X, "type": "b"}], False), (" a\n", "a", True), ("a b", "a", False), (None, {}, True)),
    *(({"id": id}, "auto", id == " auto") for id in (" auto", "other", None, 5)),
    ("auto", {"id": "auto"}, False),
]


@pytest.mark.parametrize(("shown", "sent", "is_so"), SHOWN, ids=str)
def test_thing_shows_what_was_sent_though_a_server_fills_in_trims_and_sorts(shown: Any, sent: Any, is_so: bool) -> None:
    form = form_with(("x",))
    assert any(differing(form, {"x": sent}, {"x": shown}, loosely=True)) is not is_so
    assert any(differing(form, {"x": sent}, {"x": shown})) is (sent != {})
    assert any(missing(form, {"x": sent}, {"x": shown})) is not is_so
    assert any(missing(form._replace(is_exact=True), {"x": sent}, {"x": shown})) is (sent != {})


def test_thing_shows_the_metadata_that_was_set_and_not_what_was_removed() -> None:
    form = form_with(("metadata",))
    for there, is_so in (({"a": "1", "c": "3"}, True), ({"a": "1", "b": "2"}, False), ({"a": "2"}, False), ({}, False)):
        assert any(missing(form, {"metadata": {"a": "1", "b": None}}, {"metadata": there})) is not is_so


@pytest.mark.parametrize("more", [{}, {"b": 1}])
def test_fields_are_the_same_only_where_neither_has_more(more: dict[str, Any]) -> None:
    form, one = form_with(("x",)), {"x": {"a": 1}}
    for other in ({"x": {"a": 1, **more}}, {"x": {"a": 1}, **more}):
        assert same(form, one, other) is same(form, other, one) is (not more)


def test_credential_differs_by_what_its_file_says_of_refreshing() -> None:
    said = {"type": "mcp_oauth", "refresh": {"client_id": "c"}}
    there = {**said, "refresh": {"client_id": "c", "scope": "all"}}
    form = form_of(NOUNS["vault credential"])
    assert not difference(form, {"auth": said}, {"auth": there}).changes
    assert difference(form, {"auth": there}, {"auth": said}).changes


LATER, EARLIER = "2026-06-14T09:00:00Z", "2026-06-14T07:00:00Z"
AGENT = {"id": "agent_1", "name": "w", "description": "Old", "model": "auto", "version": 3}
AGENT |= {"updated_at": "2026-06-14T08:00:00Z", "metadata": {"team": "core"}}
NEW, OF_AGENTS = {"description": "New"}, form_of(NOUNS["agent"])
# A secret, which nothing shows but our mark.
SECRET = {"auth": {"type": "x", "token": "t"}, "metadata": {"qoder_key": "ours"}}
SEALED = {**AGENT, "auth": {"type": "x"}, "metadata": {"qoder_key": "old"}}
OF_SECRETS = form_with(("auth", "name", "metadata"))
UPDATES: dict[str, tuple[dict[str, Any], dict[str, Any], Form]] = {
    "agent": (AGENT, NEW, OF_AGENTS),
    "without a version": (without(AGENT, "version"), NEW, OF_AGENTS),
    "without a date": (without(AGENT, "version", "updated_at"), NEW, OF_AGENTS),
    "a space": ({**AGENT, "description": " New"}, NEW, OF_AGENTS),
    "moves by itself": (AGENT, NEW, OF_AGENTS._replace(moves=True)),
    "exact": (AGENT, NEW, OF_AGENTS._replace(is_exact=True)),
    "read back": (AGENT, NEW, OF_AGENTS._replace(is_read_back=True)),
    "secret": (without(SEALED, "version"), SECRET, OF_SECRETS),
    "secret without a date": (without(SEALED, "version", "updated_at"), SECRET, OF_SECRETS),
    "secret with a version": (SEALED, SECRET, OF_SECRETS),
    "secret without a mark": (without(AGENT, "version"), {"auth": SECRET["auth"]}, OF_SECRETS),
}
BARE: dict[str, Any] = {"metadata": {}}
MARKED_BY_OTHERS = {"metadata": {"qoder_key": "theirs"}}
NEXT, THEIRS, MARKED = {"version": 4}, {"name": "theirs"}, {"metadata": {"team": "core", "qoder_key": "1"}}
# What is read of something that was to be changed: whether that shows the change, answers to it, or is as before; what
# is found in it after a lost answer; and whether the change may then be sent again.
READINGS: list[tuple[str, dict[str, Any], str, str, str]] = [
    *(("agent", each, "as before", "nothing", "again") for each in ({}, {"version": None}, {"version": "4"}, MARKED)),
    *(("agent", each, "", "theirs", "overtaken") for each in ({"version": 5}, {"version": 2}, {"name": "theirs"})),
    *(("agent", each, "an answer", "theirs", "overtaken") for each in (NEXT, {**NEXT, "name": "theirs"})),
    ("agent", {"version": None, "updated_at": LATER}, "an answer", "unclear", "again"),
    ("agent", {"updated_at": LATER}, "", "theirs", "again"),
    ("agent", {"updated_at": None}, "", "unclear", "again"),
    ("agent", {"archived_at": LATER}, "as before", "cannot be", "again"),
    ("agent", {"id": "agent_2"}, "as before", "unclear", "unclear"),
    ("agent", {**NEW, "id": "agent_2"}, "", "unclear", "unclear"),
    *(("agent", {**NEW, **each}, "so, an answer", "ours", "again") for each in ({}, NEXT, {"updated_at": LATER})),
    *(("agent", {**NEW, "version": each}, "so, an answer", "overtaken", "again") for each in (5, 2)),
    *(("agent", {**NEW, **NEXT, **each}, "so, an answer", "overtaken", "again") for each in (THEIRS, BARE)),
    ("without a version", NEXT, "as before", "nothing", "again"),
    ("without a version", {"updated_at": LATER}, "an answer", "theirs", "again"),
    ("without a version", {"updated_at": EARLIER}, "", "theirs", "again"),
    ("without a version", {"updated_at": None}, "", "unclear", "again"),
    ("without a date", {"updated_at": LATER}, "", "theirs", "again"),
    ("a space", {}, "as before", "nothing", "again"),
    ("moves by itself", {"updated_at": LATER}, "as before", "nothing", "again"),
    ("exact", NEXT, "", "theirs", "overtaken"),
    ("exact", {**NEW, **NEXT}, "so, an answer", "ours", "again"),
    ("read back", {}, "an answer, as before", "nothing", "again"),
    ("secret", {}, "an answer, as before", "nothing", "again"),
    ("secret", {"updated_at": LATER}, "an answer", "unknown", "overtaken"),
    ("secret", {"updated_at": None}, "an answer", "unclear", "overtaken"),
    ("secret", {"metadata": {"qoder_key": "ours"}}, "so, an answer, as before", "ours", "again"),
    ("secret", {"metadata": {"qoder_key": "ours"}, **THEIRS}, "so, an answer", "overtaken", "again"),
    ("secret", MARKED_BY_OTHERS, "an answer", "theirs", "overtaken"),  # in the same second
    ("secret", {**MARKED_BY_OTHERS, "updated_at": LATER}, "an answer", "theirs", "overtaken"),
    ("secret", BARE, "an answer, as before", "nothing", "again"),
    ("secret", {**BARE, "updated_at": LATER}, "an answer", "unknown", "overtaken"),
    ("secret", THEIRS, "an answer", "theirs", "overtaken"),
    ("secret without a date", {}, "an answer", "unknown", "again"),
    ("secret without a date", MARKED_BY_OTHERS, "an answer", "theirs", "overtaken"),
    ("secret with a version", NEXT, "an answer", "unknown", "overtaken"),  # by whom, nothing shows
    ("secret with a version", {"version": 5}, "an answer", "theirs", "overtaken"),
    ("secret without a mark", {"updated_at": LATER}, "an answer", "unknown", "overtaken"),
]
ERRORS = {CannotBe: "cannot be", NoResponse: "unclear", OutcomeUnknown: "unknown", Overtaken: "overtaken"}


@pytest.mark.parametrize(("kind", "fields", "shows", "found", "then"), READINGS, ids=str)
def test_update_is_known_by_what_is_read(kind: str, fields: dict[str, Any], shows: str, found: str, then: str) -> None:
    before, body, form = UPDATES[kind]
    raw = {**before, **fields}
    client = SimpleNamespace(get=lambda path, **how: how["fresh"] and raw)
    app: Any = SimpleNamespace(client=client, looking=lambda *words: [*words])
    update = Update(app, target_of(NOUNS["agent"], "agent_1"), before, body, form, is_shown=body is NEW)
    signs = {
        "so": update.is_so(raw),
        "an answer": update._is_answer(Resource(raw)),
        "as before": update._is_as_before(raw),
    }
    assert ", ".join(name for name, is_one in signs.items() if is_one) == shows
    update.is_read = False
    assert _outcome(lambda: "ours" if update._find() else "theirs" if update._theirs else "nothing") == found
    assert update.is_read is (found == "nothing")
    update.is_read = False
    assert _outcome(update._look_again) == then


def test_update_shows_what_others_wrote_first_and_says_what_became_of_ours() -> None:
    theirs, ours = {**AGENT, "name": "theirs"}, {**AGENT, **NEW}
    for second, message in (
        ({**AGENT, "name": "another"}, "our change was not seen, and not sent again"),
        ({**theirs, **NEW}, "our change came late, and has replaced that"),
    ):
        app: Any = SimpleNamespace(looking=lambda *words: [*words])
        update = Update(app, target_of(NOUNS["agent"], "agent_1"), AGENT, NEW, OF_AGENTS)
        for raw in (theirs, second):
            app.client = SimpleNamespace(get=lambda path, raw=raw, **how: raw)
            _outcome(update._find)
        error = update._overtaken(update._theirs or {})
        assert (error.theirs, error.now, error.message.partition("; ")[2]) == (theirs, second, message)
    update._now = ours
    assert update._overtaken(ours).message.endswith("our change is there, too")


@pytest.mark.parametrize(
    ("kind", "before", "is_marked"),
    [
        ("secret", {}, True),
        ("secret", {"metadata": {f"key-{number}": "x" for number in range(16)}}, False),  # no room
        ("agent", {}, False),
        ("of a session's file", {}, False),  # which has no metadata
    ],
)
def test_update_is_marked_where_nothing_else_shows_it(kind: str, before: dict[str, Any], is_marked: bool) -> None:
    old, body, form = {**UPDATES, "of a session's file": (SEALED, {"token": "t"}, form_with(()))}[kind]
    app: Any = SimpleNamespace(client=None, looking=lambda *words: [*words])
    body = without(body, "metadata")
    update = Update(app, target_of(NOUNS["agent"], "agent_1"), {**old, **before}, body, form, is_shown=body == NEW)
    update.write()
    assert ("qoder_key" in update.body.get("metadata", {})) == is_marked


@pytest.mark.parametrize(("may_have_acted", "expected"), [(False, "again"), (True, "overtaken")])
def test_update_that_is_refused_tells_of_others_where_it_may_have_acted(may_have_acted: bool, expected: str) -> None:
    server: Any = Server({**AGENT, "name": "theirs"})
    server.client.prepare = lambda *request, **how: request
    server.client.on_server_clock, server.client.progress = (lambda moment: None), server.progress
    recovery = Update(server, target_of(NOUNS["agent"], "agent_1"), AGENT, NEW, OF_AGENTS).write().recovery
    sent: Any = SimpleNamespace(may_have_acted=may_have_acted)
    assert _outcome(lambda: recovery.already(Rejected("Stale.").with_(http_status=409), sent)) == expected


def _outcome(look: Callable[[], object]) -> str:
    try:
        return str(look() or "again")
    except QoderError as error:
        return ERRORS[type(error)]


def test_record_of_all_that_can_be_applied_fits_a_value_of_metadata() -> None:
    written = [operation(noun, verb) for noun in NOUNS.values() for verb in ("create", "update")]
    assert max(len(record_of(dict.fromkeys(one.body, "x"))) for one in written if one and "metadata" in one.body) <= 512
