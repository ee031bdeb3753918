"""What holds for the commands of all nouns, whatever an answer or a list says."""

import io
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from qoder_cli.nouns.table import NOUNS
from tests.conftest import Qoder
from tests.support.completions import offered
from tests.support.things import Things, refusal

SERVED_BY = ("current",)
POET = ("agent", "create", "--name", "poet", "--model", "auto")


# What scripts cut by its number: only ever appended to.
COLUMNS = {
    "agent": "id name model version tools skills mcp updated archived",
    "env": "id name type network packages updated archived",
    "env work": "id state session created acknowledged started heartbeat stopped",
    "file": "id name bytes type session downloadable expires created",
    "vault": "id name created archived",
    "vault credential": "id name type for created archived",
    "skill": "id name source version updated",
    "memory": "id name entries bytes status updated archived",
    "memory entry": "id path bytes updated",
    "memory version": "id path operation bytes by created redacted",
    "dream": "id status model inputs outputs session created ended",
    "model": "id name enabled price_factor efforts context source",
    "session": "id title status agent deployment environment credits created",
    "session thread": "id status agent parent credits created",
}


@pytest.mark.parametrize("noun", COLUMNS)
def test_list_in_a_pipe_keeps_its_columns(noun: str) -> None:
    assert " ".join(NOUNS[noun].listing.columns).startswith(COLUMNS[noun])


ASKS, ALLOWS = ({"permission_policy": {"type": kind}} for kind in ("always_ask", "always_allow"))
TOOLSET = {"type": "agent_toolset_20260401"}
# What a column shows of a field; nothing where it is not shown.
SHOWN: dict[tuple[str, str, str], list[tuple[Any, str | None]]] = {
    ("agents", "tools", "tools"): [
        ([TOOLSET, {"type": "mcp_toolset", "mcp_server_name": "docs"}], "all"),
        ([TOOLSET | {"configs": [{"name": "Bash", "enabled": False}]}], "all but Bash"),
        ([TOOLSET | {"configs": [{"name": "Bash"}]}], "all"),
        ([TOOLSET | {"disallowed_tools": ["Bash", "Edit"]}], "all but Bash Edit"),
        ([TOOLSET | {"enabled_tools": ["Read"]}, {"type": "browser_toolset_1"}], "Read, browser"),
        ([{"type": "custom", "name": "page"}, {"type": "custom"}], "page, custom"),
        ([], "none"),
    ],
    ("agents", "tools", "asks"): [
        ([TOOLSET | {"default_config": ASKS}], "all"),
        ([TOOLSET | {"default_config": ALLOWS, "configs": [{"name": "Bash", **ASKS}]}], "Bash"),
        ([TOOLSET | {"configs": [{"name": "Bash", **ALLOWS}]}], None),
    ],
    ("agents", "skills", "skills"): [
        ([{"skill_id": "skill_1", "type": "custom"}, {"name": "y", "type": "x"}], "skill_1, y"),
        ([{"x": 1}, {"name": "y"}], "y"),
    ],
    ("agents", "model", "model"): [
        *(({"id": "auto", "effort": "low"}, "auto"), ({"effort": "low"}, '{"effort":"low"}')),
    ],
    ("agents", "name", "name"): [(5, None)],
    ("dreams", "inputs", "inputs"): [
        ([{"memory_store_id": "memstore_1"}, {"session_ids": ["sess_1", "sess_2"]}], "memstore_1, 2 sessions"),
    ],
    ("environments", "config", "packages"): [
        ({"packages": {"pip": ["a", "b"], "apt": "x", "npm": []}}, "pip: a b, apt: x"),
        ({"packages": {}}, None),
    ],
    ("environments", "config", "hosts"): [
        ({"networking": {"allowed_hosts": hosts}}, shown)
        for hosts, shown in ((["a.io", "b.io"], "a.io, b.io"), ("a.io", "a.io"))
    ],
}


@pytest.mark.parametrize("of", SHOWN, ids=" ".join)
def test_get_shows_a_field_in_its_column(qoder: Qoder, service: Things, of: tuple[str, str, str]) -> None:
    plural, field, column = of
    noun, name = OF[plural]
    id = qoder(noun, "get", name, "-q").out.strip()
    fields: dict[str, Any] = {}
    service.lies[f"GET /{plural}/{id}"] = lambda raw: {**raw, **fields}
    for fields[field], shown in SHOWN[of]:
        lines = dict(line.split("\t") for line in qoder(noun, "get", id, "-o", "table").out.splitlines())
        assert lines.get(column) == shown


def test_create_dry_run_prints_what_would_be_made_which_has_no_id_and_no_secret(qoder: Qoder, service: Things) -> None:
    assert qoder(*POET, "--dry-run", "--json").json["name"] == "poet"
    assert (qoder(*POET, "--dry-run", "-q").out, service.writes) == ("", [])
    for words in (POET, ("agent", "update", "writer")):
        shown = qoder(*words, "--metadata", "api_token=s3cret", "--dry-run", "--json").out
        assert ("api_token" in shown, "s3cret" in shown) == (True, False)


OF = {"agents": ("agent", "writer"), "environments": ("env", "default"), "dreams": ("dream", "drm_demo")}


def test_noun_commands_take_what_a_list_shows_twice_for_one_thing(qoder: Qoder, service: Things) -> None:
    for path in ("/agents", "/environments", "/vaults/vault_team/credentials"):
        service.lies[f"GET {path}"] = lambda page: {**page, "data": page["data"] * 2}
    qoder.stdin = "a-secret-of-ours\n"
    assert qoder("agent", "get", "writer").code == 0
    assert qoder("vault", "put", "team-secrets", "GITHUB_TOKEN", "--variable").code == 0
    assert service.writes == ["POST /vaults/vault_team/credentials/vcred_github"]


@pytest.mark.parametrize("verb", ["archive", "delete"])
@pytest.mark.parametrize("id", ["..", "agent_writer", "env_1/../../agents/agent_writer", "env_1\n", 7])
@pytest.mark.few(4)
def test_env_archive_and_delete_write_to_no_impossible_id_of_a_list(qoder: Qoder, id: Any, verb: str) -> None:
    service = Things(qoder)
    service.lies["GET /environments"] = lambda page: {**page, "data": [{"id": id, "name": "staging"}]}
    ran = qoder("env", verb, "staging", "--yes")
    assert (ran.code, service.writes) == (7, []), ran.err
    assert "has something else in it" in ran.err  # and nothing was asked by such an id


@pytest.mark.parametrize(
    "words",
    [
        ("agent", "get", "poet"),
        ("agent", "update", "poet", "--description", "x"),
        ("env", "archive", "poet", "--yes"),
        ("env", "delete", "poet", "--yes"),
    ],
    ids=" ".join,
)
def test_noun_commands_find_nothing_by_an_old_name(qoder: Qoder, service: Things, words: tuple[str, ...]) -> None:
    for list in ("/agents", "/environments"):
        service.lies[f"GET {list}"] = lambda page: {**page, "data": [{**page["data"][0], "name": "poet"}]}
    ran = qoder(*words)
    assert (ran.code, ran.out, service.writes) == (5, "", []), ran.err
    assert re.search("is named '(writer|reviewer|default|workers)' now", ran.err)


@pytest.mark.parametrize(("unknown", "is_suggested"), [(10, True), (11, False)])
def test_deploy_pause_suggests_names_for_a_few_unknown_ones(
    qoder: Qoder, service: Things, unknown: int, is_suggested: bool
) -> None:
    service.thing("dep_demo")["name"] = "nightly"
    ran = qoder("deploy", "pause", *("nightl" + "l" * more for more in range(unknown)), "--json")
    assert (ran.code, "did you mean 'nightly'" in ran.json[0]["error"]["hint"]) == (5, is_suggested)


@pytest.mark.parametrize(
    ("words", "list", "id"),
    [("agent get poet", "agents", "agent_"), ("deploy get dep_poet_x", "deployments", "dep_poet_")],
)
def test_get_suggests_three_at_most(qoder: Qoder, service: Things, words: str, list: str, id: str) -> None:
    poets = [{"id": f"{id}{n}", "name": f"poet-{n}"} for n in range(4)]
    service.lies[f"GET /{list}"] = lambda page: page | {"data": [page["data"][0] | poet for poet in poets]}
    assert qoder(*words.split()).err.count("'poet-") == 3


def test_get_suggests_names_that_something_else_has(qoder: Qoder, service: Things) -> None:
    service.keep("agents", {"id": "agent_9", "type": "agent", "name": None})
    looked = "looked on api.qoder.com, profile default"
    assert f"did you mean 'writer' (agent_writer)? ({looked})" in qoder("agent", "get", "writr").err
    assert f"hint: {looked}; list them" in qoder("agent", "get", "zzz").err
    assert qoder("agent", "get", "agent_writer").err == ""
    missing = qoder("vault", "credential", "get", "vault_team", "vcred_9", "--json").error
    assert missing["next"][1:5] == ["vault", "credential", "list", "vault_team"]
    assert missing["hint"] == "check the id and the profile (default); list them"
    assert "--json prints all fields" in qoder("agent", "get", "status", "--json").error["hint"]
    assert "--json prints all fields" not in qoder("agent", "get", "status").err
    service.instead["GET /deployments/dep_demo"] = [refusal(404, "not_found_error", "No.")]
    ran = qoder("deploy", "get", "dep_demo")  # the list is ahead
    assert (ran.code, "did you mean 'demo'" in ran.err) == (5, False)


def test_agent_get_by_name_needs_no_whole_list_and_no_name_in_the_answer(qoder: Qoder, service: Things) -> None:
    service.lies["GET /agents"] = lambda page: {"data": page["data"]}
    service.lies["GET /agents/agent_writer"] = lambda raw: {**raw, "name": None}
    assert qoder("agent", "get", "writer", "-q").out == "agent_writer\n"


@pytest.mark.parametrize(
    ("line", "asks"),
    [("agent get writer", "true"), ("session list --agent writer", None), ("skill get release-notes", None)],
)
def test_noun_commands_ask_for_archived_things_where_they_may_be_meant(
    qoder: Qoder, service: Things, line: str, asks: str | None
) -> None:
    assert qoder(*line.split()).code == 0
    assert service.requests[0].url.params.get("include_archived") == asks


def test_agent_create_goes_by_the_name_that_a_thing_has_now(qoder: Qoder, service: Things) -> None:
    old = {"id": "agent_old", "type": "agent", "name": "poet", "archived_at": "2026-12-24T18:00:00Z"}
    service.lies["GET /agents"] = lambda page: {**page, "data": [{**page["data"][0], "name": "poet"}, old]}
    assert (qoder(*POET).code, "GET /agents/agent_old" in service.asked) == (0, False)


@pytest.mark.parametrize(("status", "code", "about"), [(403, 4, ""), (404, 5, "agent agent_writer: ")])
def test_archive_at_a_terminal_reads_what_it_asks_about(
    qoder: Qoder, service: Things, questions: Callable[..., list[str]], status: int, code: int, about: str
) -> None:
    questions()
    service.instead["GET /agents/agent_writer"] = [refusal(status, "x", "No.")]
    ran = qoder("agent", "archive", "agent_writer")
    assert (ran.code, service.writes) == (code, [])
    assert ran.errors == [f"error: {about}HTTP {status} from api.qoder.com: No."]


class Unread(io.BytesIO):
    def write(self, data: Any) -> int:
        raise BrokenPipeError


def test_archive_of_several_goes_no_further_where_nobody_reads_on(qoder: Qoder, service: Things) -> None:
    ids, qoder.out = [service.session(), service.session()], Unread()
    assert (qoder("session", "archive", *ids, "--yes", "--json").code, len(service.writes)) == (141, 1)


def test_archive_and_delete_show_of_each_as_much_as_there_is(qoder: Qoder, service: Things) -> None:
    one, two = service.session(title="a"), service.session(title="b")
    twice = qoder("agent", "archive", "writer", "agent_writer", "agent_404", "agent_405", "--yes")
    assert "archiving writer (agent_writer), agent_404, agent_405" in twice.err
    for words, lines in (
        (("agent", "archive", "writer", "agent_404"), ["agent_writer writer archived", "agent_404 - not_found"]),
        (("session", "archive", one, "sess_404"), [f"{one} a archived agent_", "sess_404 - not_found - - - - - -"]),
        (("session", "delete", one, two), [f"{one} - deleted - - - - - -", f"{two} - deleted - - - - - -"]),
    ):
        rows = qoder(*words, "--yes").out.replace("\t", " ").splitlines()
        assert [row[: len(line)] for row, line in zip(rows, lines, strict=True)] == lines
    three, four = service.session(), service.session()
    assert qoder("session", "delete", four, "--yes").out == f"id\t{four}\ntype\tsession_deleted\n"
    qoder.terminal = True
    assert qoder("agent", "archive", "reviewer", "--yes").out == "reviewer (agent_reviewer) is archived\n"
    assert qoder("session", "archive", three, "--yes").out == f"{three} is archived\n"


def test_agent_get_by_name_lets_completion_forget_what_is_gone(qoder: Qoder, service: Things) -> None:
    names = []
    for name in ("writer", "reviewer"):
        assert qoder("agent", "get", name).code == 0
        names.append(set(offered("qoder agent get ", qoder.env)))
        service.world.things["agents"].pop("agent_writer", None)
    assert "writer" in names[0] - names[1]


def test_agent_get_goes_by_the_name_of_the_one_that_is_not_archived(qoder: Qoder, service: Things) -> None:
    old = qoder(*POET, "-q").out.strip()
    assert qoder("agent", "archive", old, "--yes").code == 0
    assert qoder("agent", "get", "poet", "-q").out.strip() == old
    new = qoder(*POET, "-q").out.strip()
    assert qoder("agent", "get", "poet", "-q").out.strip() == new
    assert qoder("agent", "archive", "poet", "--yes", "-q").out.strip() == new
    assert qoder("agent", "get", "poet").code == 2


@pytest.mark.parametrize(
    "answer", [refusal(413, "x", "Large."), httpx.Response(413, html="<h1>")], ids=["API", "proxy"]
)
def test_agent_create_says_to_send_less_at_a_413(qoder: Qoder, service: Things, answer: httpx.Response) -> None:
    service.never = [answer]
    ran = qoder(*POET, "--json")
    assert (ran.code, ran.error["hint"][:10], len(service.writes)) == (6, "send less:", 1)


OURS = ("--description", "Ours")


@pytest.mark.parametrize(
    ("words", "path"),
    [
        (("env", "update", "workers"), "/environments/env_workers"),
        (("memory", "update", "project"), "/memory_stores/memstore_project"),
        (("deploy", "update", "dep_demo"), "/deployments/dep_demo"),
    ],
)
def test_noun_update_shows_what_a_colleague_wrote_beside_it(
    qoder: Qoder, service: Things, words: tuple[str, ...], path: str
) -> None:
    service.meanwhile = [lambda: service.change(path, {"name": "theirs"})]
    ran = qoder(*words, *OURS, "--json")
    assert (ran.code, ran.json["description"], ran.json["name"]) == (0, "Ours", "theirs")
    assert '-> "theirs"' in ran.err.partition("what someone else changed in ")[2]


def test_deploy_update_says_that_a_colleague_changed_it_since(qoder: Qoder, service: Things) -> None:
    def undo() -> None:
        qoder.clock.time += 2
        service.change("/deployments/dep_demo", {"description": "Theirs"})

    service.late = [undo]
    ran = qoder("deploy", "update", "dep_demo", *OURS, "--json")
    assert (ran.code, ran.json["description"], len(service.writes)) == (6, "Theirs", 1)
    assert ran.error["message"].endswith("was changed, but someone else has changed it since: description")
    assert '~ description: "Ours" -> "Theirs"' in ran.err


@pytest.mark.parametrize(
    "line",
    [
        *("env delete default --yes", "env update default --description New"),
        *("deploy run demo", "deploy pause demo", "deploy archive demo --yes", "deploy update demo --name new"),
        *("memory write project a.md -m new", "memory remove project conventions.md --yes"),
        *("memory redact project memver_1 --yes", "vault put team-secrets GH --variable --from-env HOME"),
        *("vault credential delete team-secrets vcred_github --yes", "session new --agent writer -m Hi"),
        "dream create --from project --model auto",
    ],
)
def test_nothing_is_written_by_a_name_in_a_list_that_may_be_cut(qoder: Qoder, service: Things, line: str) -> None:
    lists = ("agents", "deployments", "environments", "memory_stores", "vaults")
    service.lies |= dict.fromkeys([f"GET /{list}" for list in lists], lambda page: {"data": page["data"]})
    qoder.env["HOME"] = "secret"
    ran = qoder(*line.split())
    assert (ran.code, service.writes) == (7, []), ran.err
    assert "does not say whether it is complete; nothing was sent" in ran.err


@pytest.mark.parametrize(("answer", "code"), [(refusal(403, "permission_error", "No."), 0), (httpx.Response(403), 7)])
def test_agent_create_is_not_stopped_by_what_another_account_has(
    qoder: Qoder, service: Things, answer: httpx.Response, code: int
) -> None:
    theirs = qoder(*POET, "-q").out.strip()
    service.lies["GET /agents"] = lambda page: {**page, "data": [row for row in page["data"] if row["id"] != theirs]}
    service.instead[f"GET /agents/{theirs}"] = [answer]
    assert qoder(*POET).code == code


# A write, what it reads before, and the field that it would replace whole.
PARTS = [
    ("agent update writer --tools Read", "/agents/agent_writer", "tools"),
    ("agent update writer --mcp docs=https://mcp.example.com/mcp", "/agents/agent_writer", "tools"),
    ("env update workers --pip pandas", "/environments/env_workers", "config"),
    ("deploy update dep_demo --outcome Report --rubric Dated", "/deployments/dep_demo", "initial_events"),
    *(("session new --like dep_demo", "/deployments/dep_demo", field) for field in ("vault_ids", "resources")),
]


@pytest.mark.parametrize(("line", "path", "field"), PARTS)
def test_nothing_is_replaced_whole_that_the_answer_does_not_show(
    qoder: Qoder, service: Things, line: str, path: str, field: str
) -> None:
    service.lies[f"GET {path}"] = lambda raw: {name: raw[name] for name in raw if name != field}
    ran = qoder(*line.split())
    assert (ran.code, service.writes) == (7, []), ran.err
    assert "does not show the " in ran.err
