"""`qoder memory` and `dream`: what a store holds is read and written by path, and never written over unread."""

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import httpx
import pytest

from tests.conftest import Qoder
from tests.support.things import Raw, Things, each_row, refusal

SERVED_BY = ("current",)
LIST = "/memory_stores/memstore_project/memories"
OLD = f"{LIST}/mem_1"
VERSIONS = "/memory_stores/memstore_project/memory_versions"
WRITE = ("memory", "write", "project")


def digest(content: str) -> str:
    return sha256(content.encode()).hexdigest()


def written(service: Things, content: str) -> Callable[[], object]:
    """Return what lets a colleague write conventions.md."""
    return lambda: service.change(OLD, {"content": content})


def memory(service: Things, path: str) -> Raw:
    kept = service.world.things[LIST[1:]].values()
    return next(each.fields for each in kept if each.fields["path"] == path and each.deleted is None)


def test_memory_write_creates_an_unknown_path(qoder: Qoder, service: Things) -> None:
    ran = qoder(*WRITE, "/conventions", "-m", "Für alle", "--json")
    assert ran.code == 0, ran.err
    [body] = service.sent
    assert service.writes == [f"POST {LIST}"]
    assert (body["path"], body["content"]) == ("conventions", "Für alle")
    assert ran.json["content_sha256"] == digest("Für alle")
    assert dict(service.requests[0].url.params) == {"limit": "100"}  # no archived stores
    assert "writing conventions in memstore_project" in ran.err


def test_memory_write_updates_a_known_path_as_it_was_read(qoder: Qoder, service: Things) -> None:
    before = memory(service, "conventions.md")["content"]
    ran = qoder(*WRITE, "conventions.md", "-m", "new", "-q")
    assert (ran.code, ran.out) == (0, "mem_1\n")
    assert service.writes == [f"POST {OLD}"]
    assert service.sent == [{"content": "new", "content_sha256": digest(before)}]
    assert qoder(*WRITE, "mem_1", "-m", "newer").code == 0
    assert service.asked[-3:] == ["GET /memory_stores", f"GET {OLD}", f"POST {OLD}"]
    assert memory(service, "conventions.md")["content"] == "newer"


def test_memory_write_sends_nothing_for_what_it_says_already(qoder: Qoder, service: Things) -> None:
    ran = qoder(*WRITE, "conventions.md", "-m", memory(service, "conventions.md")["content"], "-q")
    assert (ran.code, ran.out, service.writes) == (0, "mem_1\n", [])
    assert "nothing was sent" in ran.err


@pytest.mark.parametrize(
    ("hidden", "code"), [({"content"}, 0), ({"content_sha256"}, 0), ({"content", "content_sha256"}, 7)]
)
def test_memory_write_needs_the_content_or_its_digest(
    qoder: Qoder, service: Things, hidden: set[str], code: int
) -> None:
    service.lies[f"GET {OLD}"] = lambda raw: {name: value for name, value in raw.items() if name not in hidden}
    service.lies[f"GET {LIST}"] = each_row(service.lies[f"GET {OLD}"])
    before = digest(memory(service, "conventions.md")["content"])
    assert qoder(*WRITE, "conventions.md", "-m", "new").code == code
    assert [body["content_sha256"] for body in service.sent] == ([] if code else [before])


@pytest.mark.parametrize("path", ["conventions.md", "new.md"])
def test_memory_write_shows_and_leaves_what_a_colleague_wrote(qoder: Qoder, service: Things, path: str) -> None:
    theirs = "theirs\x1b[2J" + "x" * 2000
    create = {"path": path, "content": theirs}
    service.meanwhile = [written(service, theirs) if path != "new.md" else lambda: service.change(LIST, create)]
    ran = qoder(*WRITE, path, "-m", "mine", "--json", "--no-progress")
    assert ran.code == 6
    assert memory(service, path)["content"] == theirs
    assert ran.err.startswith(f"{path} now says (sha256 {digest(theirs)}):\n  theirs\\u001b[2J{'x' * 1990}\n")
    assert ran.error["message"].endswith(f"; {path} was not written")
    assert ran.error["next"][:5] == ["qoder", "memory", "cat", "memstore_project", path]


@pytest.mark.parametrize("answer", ["lost", "of theirs"])
def test_memory_write_says_what_a_new_one_says_by_then(qoder: Qoder, service: Things, answer: str) -> None:
    service.defaults = lambda raw: raw.update(content="theirs", content_sha256=digest("theirs"))
    if answer == "lost":
        service.loses("reset")
    ran = qoder(*WRITE, "new.md", "-m", "mine")
    assert (ran.code, ran.out, len(service.writes)) == (6, "", 1)
    assert f"was created, but the server has other content: content_sha256 {digest('theirs')}" in ran.err


@pytest.mark.parametrize("answer", ["lost", "of theirs"])
def test_memory_write_shows_what_a_colleague_wrote_while_its_answer_was_lost(
    qoder: Qoder, service: Things, answer: str
) -> None:
    service.late = [written(service, "theirs")]
    if answer == "lost":
        service.loses("reset")
    else:
        service.lies[f"POST {OLD}"] = lambda raw: {**raw, "content": "theirs", "content_sha256": digest("theirs")}
    ran = qoder(*WRITE, "conventions.md", "-m", "new")
    assert (ran.code, memory(service, "conventions.md")["content"], len(service.writes)) == (6, "theirs", 1)
    assert "someone else changed mem_1 in the meantime; our change was not seen, and not sent again" in ran.err
    assert "  theirs\n" in ran.err


def moved(raw: Raw) -> Raw:
    return {**raw, "path": "other.md"} if raw["path"] == "conventions.md" else raw


def test_memory_that_moved_is_neither_overwritten_nor_removed(qoder: Qoder, service: Things) -> None:
    service.lies[f"GET {OLD}"] = moved
    assert qoder("memory", "cat", "project", "conventions.md").code == 5
    assert qoder("memory", "remove", "project", "conventions.md", "--yes").code == 5
    assert service.writes == []
    ran = qoder(*WRITE, "conventions.md", "-m", "Ours.")
    assert ran.code == 6, ran.err  # the server knows one of this path
    assert service.writes == [f"POST {LIST}"]


def test_memory_write_creates_what_only_a_list_still_shows(qoder: Qoder, service: Things) -> None:
    row = {"id": "mem_gone", "type": "memory", "path": "new.md"}
    service.lies[f"GET {LIST}"] = lambda page: {**page, "data": [row]}
    service.instead[f"GET {LIST}/mem_gone"] = [httpx.Response(404, html="<h1>Not found</h1>")]
    assert (qoder(*WRITE, "new.md", "-m", "Ours.").code, service.writes) == (5, [])  # a proxy says so
    ran = qoder(*WRITE, "new.md", "-m", "Ours.")
    assert (ran.code, service.writes) == (0, [f"POST {LIST}"]), ran.err
    assert qoder("memory", "cat", "project", "new.md").code == 5
    ran = qoder(*WRITE, "mem_9", "-m", "x", "--json")  # an id is never that of a new memory
    assert (ran.code, ran.error["next"][1:4]) == (5, ["memory", "ls", "memstore_project"])


def test_memory_write_reads_of_a_list_only_a_memory_of_the_path(qoder: Qoder, service: Things) -> None:
    odd = [
        {"type": "memory_prefix", "id": "mem_1", "path": "new.md"},
        {"path": "new.md"},
        {"id": "mem_1", "path": "new"},
    ]
    service.lies[f"GET {LIST}"] = lambda page: {**page, "data": [*odd, *page["data"]]}
    assert qoder(*WRITE, "new.md", "-m", "Ours.").code == 0
    assert service.asked[-2:] == [f"GET {LIST}", f"POST {LIST}"]


def test_memory_cat_prints_it_exactly_but_on_a_terminal(qoder: Qoder, service: Things) -> None:
    service.change(OLD, {"content": "\n::error::a\x1b[2J \n\n"})
    assert qoder("memory", "cat", "project", "conventions.md").out == "\n::error::a\x1b[2J \n\n"
    assert qoder("memory", "cat", "project", "mem_1", "--json").json == memory(service, "conventions.md")
    assert qoder("memory", "cat", "project", "conventions.md", "-q").out == "mem_1\n"
    qoder.terminal = True
    assert qoder("memory", "cat", "project", "conventions.md").out == "\n::error::a\\u001b[2J \n\n"


def test_memory_ls_shows_what_is_below_a_path(qoder: Qoder, service: Things) -> None:
    folder = {"type": "memory_prefix", "path": "people/deep/"}
    elsewhere = memory(service, "conventions.md")  # from a server that ignores the prefix
    service.lies[f"GET {LIST}"] = lambda page: {**page, "data": [folder, *page["data"], elsewhere]}
    rows = [line.split("\t") for line in qoder("memory", "ls", "project", "/people/").out.splitlines()]
    assert [row[:3] for row in rows] == [["-", "people/deep/", "-"], ["mem_2", "people/on-call.md", "14"]]
    assert qoder("memory", "ls", "project", "people", "--json").json[0]["path"] == "people/deep/"
    assert qoder("memory", "ls", "project", "none").err.endswith("note: no memories found\n")
    assert service.requests[-1].url.params["path_prefix"] == "none"
    service.thing("memstore_project")["archived_at"] = "2027-01-01T00:00:00Z"
    words = ("ls project", "cat project conventions.md", "history project", "write project x -m y")
    assert [qoder("memory", *each.split()).code for each in words] == [0, 0, 0, 5]


def test_memory_history_is_that_of_one_memory_or_of_all(qoder: Qoder, service: Things) -> None:
    qoder.clock.time += 7200
    assert qoder(*WRITE, "conventions.md", "-m", "second").code == 0
    assert qoder("memory", "remove", "project", "people/on-call.md", "--yes").code == 0
    all_ids = qoder("memory", "history", "project", "-q").out.split()
    [newest, oldest] = qoder("memory", "history", "project", "conventions.md", "--json").json
    assert [newest["operation"], oldest["operation"]] == ["modified", "created"]
    assert len(all_ids) == 4
    for word in ("people/on-call.md", "mem_2"):
        gone = [line.split("\t")[1:3] for line in qoder("memory", "history", "project", word).out.splitlines()]
        assert gone == [["people/on-call.md", "deleted"], ["people/on-call.md", "created"]]
    old = qoder("memory", "history", "project", "--version", oldest["id"], "--json").json
    assert old["content"] == "Releases begin at 22:30.\n"
    for words in ("--version a/b", *(f"{more} --version memver_1" for more in ("notes.md", "--limit 5", "--all"))):
        assert qoder("memory", "history", "project", *words.split()).code == 2
    theirs = {**newest, "id": "memver_9", "memory_id": "mem_2"}  # from a server that ignores the filter
    service.lies[f"GET {VERSIONS}"] = lambda page: {**page, "data": [theirs, *page["data"]]}
    assert len(qoder("memory", "history", "project", "conventions.md", "--json").json) == 2


def test_memory_remove_removes_them_as_they_were_read(qoder: Qoder, service: Things) -> None:
    raw = memory(service, "conventions.md")
    words = ["memory", "remove", "project", "conventions.md", "people/on-call.md", "--json"]
    assert (qoder(*words).code, service.asked) == (2, [])
    ran = qoder(*words, "--yes")
    assert ran.code == 0, ran.err
    assert [each["input"] for each in ran.json] == ["conventions.md", "people/on-call.md"]
    assert qoder("memory", "ls", "project", "--json").json == []
    asked = [each for each in service.requests if each.method == "DELETE"]
    assert asked[0].url.params["expected_content_sha256"] == raw["content_sha256"]


def test_memory_remove_leaves_what_was_written_meanwhile(qoder: Qoder, service: Things) -> None:
    service.meanwhile = [written(service, "theirs")]
    ran = qoder("memory", "remove", "project", "conventions.md", "--yes", "--json")
    assert ran.code == 6
    assert memory(service, "conventions.md")["content"] == "theirs"
    assert "someone else has changed it" in ran.error["hint"]


@pytest.mark.parametrize("digest", ["0&view=full", "a\nb", "100%"])
def test_memory_remove_keeps_a_digest_one_value_of_the_query(qoder: Qoder, service: Things, digest: str) -> None:
    service.lies[f"GET {OLD}"] = lambda raw: {**raw, "content_sha256": digest}
    assert qoder("memory", "remove", "project", "conventions.md", "--yes").code == 6  # another than the server's
    [asked] = [each for each in service.requests if each.method == "DELETE"]
    assert asked.url.params.multi_items() == [("expected_content_sha256", digest)]


def test_memory_remove_removes_none_where_one_is_not_there(qoder: Qoder, service: Things) -> None:
    assert qoder("memory", "remove", "project", "conventions.md", "b.md", "--yes").code == 5
    assert service.writes == []


def test_memory_redact_takes_the_content_for_good(qoder: Qoder, service: Things) -> None:
    assert (qoder("memory", "redact", "project", "memver_1").code, service.asked) == (2, [])
    ran = qoder("memory", "redact", "project", "memver_1", "--yes", "--json")
    assert (ran.code, bool(ran.json["redacted_at"])) == (0, True)
    assert qoder("memory", "history", "project", "--version", "memver_1", "--json").json.get("content") is None


def test_dream_create_dreams_of_stores_and_sessions(qoder: Qoder, service: Things) -> None:
    first, second = service.session(), service.session()
    sources = ("project", first, "memstore_project", second, first)
    words = ["dream", "create", *(word for each in sources for word in ("--from", each)), "--model", "auto"]
    ran = qoder(*words, "--instructions", "Be brief.", "--into", "project")
    assert (ran.code, ran.err.count("using memory store project (memstore_project)")) == (0, 1)
    assert service.asked == ["GET /memory_stores", "POST /dreams"]
    into = {"type": "memory_store", "memory_store_id": "memstore_project"}
    assert service.sent == [
        {
            "inputs": [into, {"type": "sessions", "session_ids": [first, second]}],
            "model": "auto",
            "instructions": "Be brief.",
            "output_behavior": {**into, "type": "update_existing"},
        }
    ]


def test_dream_cancel_cancels_what_is_going_and_nothing_that_has_ended(qoder: Qoder, service: Things) -> None:
    ids = ["drm_a", "drm_b"]
    for id in ids:
        service.keep("dreams", {**service.thing("drm_demo"), "id": id, "status": "running"})
    ran = qoder("dream", "cancel", *ids, "--json")
    assert (ran.code, [each["status"] for each in ran.json]) == (0, ["canceled"] * 2), ran.err
    ran = qoder("dream", "cancel", "drm_demo", "--json")
    assert (ran.code, "dream get" in ran.error["hint"]) == (6, True)
    ran = qoder("dream", "cancel", "x" * 99)
    assert (ran.code, f"error: '{'x' * 60}' is not the id of a dream" in ran.err) == (2, True)


RESTORE = ("memory", "restore", "project", "conventions.md", "memver_1")
BEGAN = "Releases begin at 22:30."


def test_memory_restore_writes_what_a_version_said_as_the_memory_was_when_it_was_shown(
    qoder: Qoder, service: Things
) -> None:
    service.change(OLD, {"content": "new"})
    looked = qoder(*RESTORE, "--dry-run", "-q")
    assert (looked.code, looked.out, service.writes) == (0, "mem_1\n", [])
    assert ["  -new", f"  +{BEGAN}"] == looked.err.splitlines()[-2:]
    ran = qoder(*RESTORE, "-q")
    assert (ran.code, ran.out, memory(service, "conventions.md")["content"].strip()) == (0, "mem_1\n", BEGAN)
    assert service.sent[0]["content_sha256"] == digest("new")
    again = qoder(*RESTORE)
    assert (again.code, len(service.writes)) == (0, 1)
    assert "conventions.md already says this; nothing was sent" in again.err
    service.instead[f"GET {OLD}"] = [httpx.Response(200, json=service.thing("mem_1"), headers={"age": "60"})] * 5
    assert qoder(*RESTORE).code == 7


@pytest.mark.parametrize(
    ("version", "typed", "is_its"),
    [
        ({"path": "old.md"}, "conventions.md", True),  # it has moved since
        ({"memory_id": "mem_0"}, "conventions.md", True),  # it was made anew
        ({"memory_id": "mem_0"}, "mem_1", True),
        ({"path": "old.md", "memory_id": "mem_0"}, "conventions.md", False),
        ({"path": "old.md", "memory_id": "mem_0"}, "old.md", True),  # which is not there any more
        ({"memory_id": "mem_0"}, "old.md", False),
    ],
)
def test_memory_restore_knows_the_versions_of_a_memory_by_id_and_path(
    qoder: Qoder, service: Things, version: Raw, typed: str, is_its: bool
) -> None:
    service.change(OLD, {"content": "new"})
    service.lies[f"GET {OLD}"] = lambda raw: {name: value for name, value in raw.items() if name != "content"}
    service.lies[f"GET {VERSIONS}/memver_1"] = lambda raw: {**raw, **version}
    ran = qoder("memory", "restore", "project", typed, "memver_1")
    assert (ran.code, len(service.writes)) == ((0, 1) if is_its else (6, 0)), ran.err
    assert f"  +{BEGAN}" in ran.err.splitlines() or not is_its
    assert "  -" not in ran.err.replace("  --- now", "")


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"redacted_at": "2026-06-14T08:54:06Z"}, "was erased"),
        ({"operation": "deleted", "memory_id": []}, "has no content (deleted)"),
    ],
)
def test_memory_restore_refuses_a_version_without_content(qoder: Qoder, service: Things, fields: Raw, why: str) -> None:
    service.lies[f"GET {VERSIONS}/memver_1"] = lambda raw: {**raw, "content": None, **fields}
    ran = qoder(*RESTORE)
    assert (ran.code, ran.errors, service.writes) == (6, [f"error: memver_1 {why}; nothing was sent"], [])


def test_memory_restore_and_cat_notice_that_a_content_was_cut(qoder: Qoder, service: Things) -> None:
    service.change(OLD, {"content": "new"})
    for path in (OLD, f"{VERSIONS}/memver_1"):
        service.lies[f"GET {path}"] = lambda raw: {**raw, "content": raw["content"][:2]}
    ran = qoder("memory", "cat", "project", "conventions.md")
    assert (ran.code, ran.out, "warning: the content of mem_1 was cut" in ran.err) == (0, "ne", True)
    ran = qoder(*RESTORE)
    assert (ran.code, service.writes, "the content of memver_1 was cut" in ran.err) == (6, [], True)


DREAM = ("dream", "create", "--from", "project", "--model", "auto", "--wait", "--json")
ENDS = {"completed": (0, ""), "failed": (1, " failed: No."), "canceled": (1, " was cancelled: No.")}
ENDS |= {odd: (1, f" ended with the unrecognised status '{odd}': treated as failed: No.") for odd in ("cancelled", "x")}


@pytest.mark.parametrize("status", ENDS)
def test_dream_create_waits_and_exits_with_its_outcome(qoder: Qoder, service: Things, status: str) -> None:
    def lie(raw: Raw) -> Raw:
        return {**raw, "status": status, "error": {"message": "No."}} if raw["status"] == "completed" else raw

    service.late = [lambda: service.lies.update({f"GET /dreams/{id}": lie for id in service.world.things["dreams"]})]
    ran, (code, said) = qoder(*DREAM), ENDS[status]
    assert (ran.code, ran.json["status"]) == (code, status)
    assert ran.code == 0 or ran.error["message"].endswith(said)


@pytest.mark.parametrize("waits", [True, False])
def test_dream_create_warns_of_what_it_does_not_write_to(qoder: Qoder, service: Things, waits: bool) -> None:
    service.lies["POST /dreams"] = lambda raw: {**raw, "output_behavior": {"type": "create_new"}}
    ran = qoder(*(word for word in DREAM if waits or word != "--wait"), "--into", "project")
    assert (ran.code, "the server does not show output_behavior as it was sent" in ran.err) == (0, True)


def test_dream_create_shows_the_dream_that_it_lost_track_of(qoder: Qoder, service: Things) -> None:
    no: list[Any] = [refusal(401, "authentication_error", "No.")]
    service.late = [lambda: service.instead.update({f"GET /dreams/{id}": no for id in service.world.things["dreams"]})]
    ran = qoder(*DREAM)
    assert (ran.code, ran.error["next"][:4]) == (10, ["qoder", "dream", "get", ran.json["id"]])
    assert ran.error["message"].startswith(f"lost track of dream {ran.json['id']}: ")


def test_dream_create_exits_124_while_it_is_still_going(qoder: Qoder, service: Things) -> None:
    ran = qoder(*DREAM, "--timeout", "2")
    assert (ran.code, ran.json["status"] in ("pending", "running"), len(service.writes)) == (124, True, 1)
    assert ran.error["next"] == ["qoder", "dream", "get", ran.json["id"], "-o", "json"]
    assert qoder(*DREAM[:-2], "--timeout", "2").code == 2
    assert (qoder(*DREAM, "--dry-run").code, len(service.writes)) == (0, 1)
