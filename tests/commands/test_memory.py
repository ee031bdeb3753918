"""`qoder memory`: what a store holds is read and written by path, and never written over unread."""

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest

from qoder_cli.nouns import memories
from qoder_cli.sandbox.wire import GENERATIONS
from tests.conftest import Qoder
from tests.support.blobs import LOST, UNDONE, Object, Refused, Service

LIST = "/memory_stores/memstore_1/memories"
VERSIONS = "/memory_stores/memstore_1/memory_versions"


@pytest.fixture(params=GENERATIONS)
def service(qoder: Qoder, request: pytest.FixtureRequest) -> Service:
    return Service(qoder, request.param)


def digest(content: str) -> str:
    return sha256(content.encode()).hexdigest()


def written(raw: Object, content: str) -> Callable[[], object]:
    """Return what lets a colleague write a memory."""
    fields = {"content": content, "content_sha256": digest(content), "content_size_bytes": len(content)}
    return lambda: raw.update(fields)


def version(service: Service, **fields: Any) -> Object:
    kind = {"type": "memory_version", "path": "notes.md", "memory_id": "mem_1", "operation": "created"}
    more = {"content": "old", "created_by": {"type": "session", "session_id": "sess_1"}}
    return service.add(VERSIONS, "memver_", **(kind | more | fields))


# Writing.


def test_an_unknown_path_is_created(qoder: Qoder, service: Service) -> None:
    service.memory("notes.md.bak", "other")
    ran = qoder("memory", "write", "project", "/notes.md", "-m", "Für alle", "--json")
    assert ran.code == 0, ran.err
    [(method, path, body)] = service.sent
    assert (method, path, body["path"], body["content"]) == ("POST", LIST, "notes.md", "Für alle")
    assert ran.json["content_sha256"] == digest("Für alle")
    assert "writing notes.md in memstore_1 (profile default, api.qoder.com)" in ran.err


def test_a_known_path_is_updated_as_it_was_read(qoder: Qoder, service: Service) -> None:
    raw = service.memory("notes.md", "old")
    ran = qoder("memory", "write", "project", "notes.md", "-m", "new", "-q")
    assert (ran.code, ran.out) == (0, f"{raw['id']}\n")
    assert service.sent == [("POST", f"{LIST}/{raw['id']}", {"content": "new", "content_sha256": digest("old")})]
    assert raw["content"] == "new"
    assert qoder("memory", "write", "project", raw["id"], "-m", "newer").code == 0
    assert raw["content"] == "newer"


@pytest.mark.parametrize("format", ["table", "json", "jsonl", "id"])
def test_nothing_is_sent_for_what_it_says_already(qoder: Qoder, service: Service, format: str) -> None:
    raw = service.memory("notes.md", "same")
    ran = qoder("memory", "write", "project", "notes.md", "-m", "same", "-o", format)
    assert (ran.code, service.sent) == (0, [])
    assert raw["id"] in ran.out
    assert "nothing was sent" in ran.err


def test_what_is_written_comes_from_standard_input_or_a_file(qoder: Qoder, service: Service, tmp_path: Any) -> None:
    qoder.stdin = "piped\n"
    qoder("memory", "write", "project", "a.md")
    (tmp_path / "b").write_text("in a file")
    qoder("memory", "write", "project", "b.md", "-m", f"@{tmp_path / 'b'}")
    assert [each["content"] for each in service.things[LIST]] == ["piped\n", "in a file"]


@pytest.mark.parametrize("what", ["update", "create"])
def test_what_a_colleague_wrote_in_between_is_shown_and_stays(qoder: Qoder, service: Service, what: str) -> None:
    words = ["memory", "write", "project", "notes.md", "-m", "mine", "--json"]
    if what == "create":
        service.before[f"POST {LIST}"] = lambda: service.memory("notes.md", "theirs\x1b[2J")
    else:
        raw = service.memory("notes.md", "old")
        service.before[f"POST {LIST}/{raw['id']}"] = written(raw, "theirs\x1b[2J")
    ran = qoder(*words)
    assert ran.code == 6
    assert service.things[LIST][0]["content"] == "theirs\x1b[2J"
    assert "\n  theirs\\u001b[2J\n" in ran.err
    assert ran.error["next"] == ["qoder", "memory", "cat", "memstore_1", "notes.md", "-o", "json"]


def test_an_id_is_never_that_of_a_new_memory(qoder: Qoder, service: Service) -> None:
    assert qoder("memory", "write", "project", "mem_9", "-m", "x").code == 5


@pytest.mark.parametrize("fault", LOST)
@pytest.mark.parametrize("known", [False, True])
def test_a_lost_answer_to_a_write_is_settled(qoder: Qoder, service: Service, fault: str, known: bool) -> None:
    if known:
        service.memory("notes.md", "old")
    service.faults["POST"] = []
    service.faults[LIST if not known else f"{LIST}/mem_1"] = [fault]
    ran = qoder("memory", "write", "project", "notes.md", "-m", "new", "--json")
    assert ran.code == 0, ran.err
    assert len(service.sent) == 1
    assert [each["content"] for each in service.things[LIST]] == ["new"]


@pytest.mark.parametrize("fault", UNDONE)
def test_a_lost_answer_that_did_nothing(qoder: Qoder, service: Service, fault: str) -> None:
    service.faults[LIST] = [fault]
    assert qoder("memory", "write", "project", "notes.md", "-m", "new").code == 9
    assert len(service.sent) == 1
    raw = service.memory("notes.md", "old")
    service.faults[f"{LIST}/{raw['id']}"] = [fault]
    assert qoder("memory", "write", "project", "notes.md", "-m", "new").code == 0  # it carries what was read
    assert raw["content"] == "new"


def test_memory_write_shows_what_a_colleague_wrote_while_its_answer_was_lost(qoder: Qoder, service: Service) -> None:
    raw = service.memory("notes.md", "old")
    path = f"{LIST}/{raw['id']}"
    service.faults[path] = ["done-reset"]
    qoder.clock.at_sleep = written(raw, "theirs")  # type: ignore[assignment]
    ran = qoder("memory", "write", "project", "notes.md", "-m", "new")
    assert (ran.code, raw["content"], len(service.sent)) == (6, "theirs", 1)
    assert "someone else changed mem_1 in the meantime; our change was not seen, and not sent again" in ran.err
    assert "  theirs\n" in ran.err


BAD = [
    ["", "-m", "x"],
    ["/", "-m", "x"],
    ["../x", "-m", "x"],
    ["a//b", "-m", "x"],
    ["a/./b", "-m", "x"],
    ["a\nb", "-m", "x"],
    ["notes.md", "-m", ""],
    ["notes.md", "-m", "a\0b"],
    ["notes.md", "-m", "\udcff"],
    ["notes.md", "-m", "x" * (memories.LARGEST + 1)],
    ["notes.md", "-m", "@/missing"],
]


@pytest.mark.parametrize("words", BAD)
def test_what_cannot_be_written_sends_nothing(qoder: Qoder, service: Service, words: list[str]) -> None:
    ran = qoder("memory", "write", "project", *words)
    assert (ran.code, service.asked) == (2, [])


def test_a_token_is_not_a_path_and_not_repeated(qoder: Qoder, service: Service) -> None:
    ran = qoder("memory", "write", "project", "pt-Abcdefgh0123456789", "-m", "x")
    assert (ran.code, service.asked) == (2, [])
    assert "Abcdefgh" not in ran.err


def test_nothing_is_written_where_writing_is_forbidden(qoder: Qoder, service: Service) -> None:
    qoder.env["QODER_READ_ONLY"] = "1"
    assert (qoder("memory", "write", "project", "a", "-m", "x").code, service.sent) == (2, [])


# Reading.


def test_a_memory_is_printed_exactly(qoder: Qoder, service: Service) -> None:
    raw = service.memory("notes.md", "::error::a\x1b[2J")
    assert qoder("memory", "cat", "project", "notes.md").out == "::error::a\x1b[2J"
    assert qoder("memory", "cat", "project", raw["id"], "--json").json == raw
    qoder.terminal = True
    assert qoder("memory", "cat", "project", "notes.md").out == "::error::a\\u001b[2J\n"


def test_a_memory_that_is_not_there_is_said(qoder: Qoder, service: Service) -> None:
    service.memory("notes.md.bak", "x")
    assert qoder("memory", "cat", "project", "notes.md").code == 5
    assert qoder("memory", "cat", "nothing", "notes.md").code == 5


def test_a_store_is_listed_in_every_format(qoder: Qoder, service: Service) -> None:
    service.memory("notes/a.md", "a")
    raw = service.memory("notes/b.md", "bb")
    service.add(LIST, "pre_", type="memory_prefix", path="notes/deep/")
    service.things[LIST][-1].pop("id")
    service.memory("other.md", "x")
    ran = qoder("memory", "ls", "project", "/notes/")
    rows = [line.split("\t") for line in ran.out.splitlines()]
    assert [row[:3] for row in rows] == [
        ["-", "notes/deep/", "-"],
        [raw["id"], "notes/b.md", "2"],
        ["mem_1", "notes/a.md", "1"],
    ]
    assert qoder("memory", "ls", "project", "-q").out.split() == ["mem_4", "mem_2", "mem_1"]
    assert qoder("memory", "ls", "project", "notes", "--json").json[0]["path"] == "notes/deep/"
    assert qoder("memory", "ls", "project", "none").err.endswith("note: no memories found\n")


def test_the_history_is_that_of_one_memory_or_of_all(qoder: Qoder, service: Service) -> None:
    service.memory("notes.md", "x")
    first = version(service)["id"]
    qoder.clock.time += 7200
    other = version(service, memory_id="mem_9", path="gone.md", operation="deleted")["id"]
    assert qoder("memory", "history", "project", "-q").out.split() == [other, first]
    assert qoder("memory", "history", "project", "notes.md", "-q").out.split() == [first]
    assert qoder("memory", "history", "project", "gone.md", "-q").out.split() == [other]
    row = qoder("memory", "history", "project", "notes.md").out.split("\t")
    assert row[:5] == [first, "notes.md", "created", "-", "sess_1"]
    assert qoder("memory", "history", "project", "--version", first, "--json").json["content"] == "old"


@pytest.mark.parametrize("words", [["--version", "a/b"], ["notes.md", "--version", "memver_1"]])
def test_a_history_that_cannot_be_meant(qoder: Qoder, service: Service, words: list[str]) -> None:
    assert (qoder("memory", "history", "project", *words).code, service.asked) == (2, [])


# Removing and redacting.


def test_memories_are_removed_as_they_were_read(qoder: Qoder, service: Service) -> None:
    raw = service.memory("a.md", "a")
    service.memory("b.md", "b")
    ran = qoder("memory", "remove", "project", "a.md", "b.md", "--yes", "--json")
    assert ran.code == 0, ran.err
    assert [each["input"] for each in ran.json] == ["a.md", "b.md"]
    assert service.things[LIST] == []
    asked = [each for each in service.asked if each.method == "DELETE"]
    assert asked[0].url.params["expected_content_sha256"] == raw["content_sha256"]


def test_what_was_written_meanwhile_is_not_removed(qoder: Qoder, service: Service) -> None:
    raw = service.memory("a.md", "a")
    service.before[f"DELETE {LIST}/{raw['id']}"] = written(raw, "theirs")
    ran = qoder("memory", "remove", "project", "a.md", "--yes", "--json")
    assert ran.code == 6
    assert service.things[LIST] == [raw]
    assert "written meanwhile" in ran.error["hint"]


@pytest.mark.parametrize("fault", LOST)
def test_a_lost_answer_to_a_removal_is_settled(qoder: Qoder, service: Service, fault: str) -> None:
    service.memory("a.md", "a")
    service.faults[f"{LIST}/mem_1"] = [fault]
    assert qoder("memory", "remove", "project", "a.md", "--yes").code == 0
    assert len(service.sent) == 1


def test_one_that_is_not_there_removes_nothing(qoder: Qoder, service: Service) -> None:
    service.memory("a.md", "a")
    assert (qoder("memory", "remove", "project", "a.md", "b.md", "--yes").code, service.sent) == (5, [])
    assert (qoder("memory", "remove", "project", "a.md").code, service.sent) == (2, [])


@pytest.mark.parametrize("fault", [None, *LOST, *UNDONE])
def test_a_version_is_redacted_for_good(qoder: Qoder, service: Service, fault: str | None) -> None:
    raw = version(service)
    service.faults["/redact"] = [fault] if fault else []
    ran = qoder("memory", "redact", "project", raw["id"], "--yes", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["redacted_at"]
    assert raw["content"] is None
    assert (qoder("memory", "redact", "project", raw["id"]).code, len(service.sent) <= 2) == (2, True)


def test_a_refusal_is_told(qoder: Qoder, service: Service) -> None:
    service.refusals[LIST] = [Refused(400, "path is invalid")]
    ran = qoder("memory", "write", "project", "a.md", "-m", "x", "--json")
    assert (ran.code, "path is invalid" in ran.error["message"]) == (6, True)


# The stores themselves, and dreams.


@pytest.mark.parametrize("fault", [None, *LOST])
def test_a_store_is_created_once(qoder: Qoder, service: Service, fault: str | None) -> None:
    service.faults["POST /memory_stores"] = [fault] if fault else []
    ran = qoder("memory", "create", "--name", "team", "--description", "What we agreed on", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["id"] == service.things["/memory_stores"][1]["id"]
    assert ran.json["description"] == "What we agreed on"
    assert len(service.sent) == 1


@pytest.mark.parametrize("fault", UNDONE)
def test_a_store_that_does_not_show_is_unknown(qoder: Qoder, service: Service, fault: str) -> None:
    service.faults["POST /memory_stores"] = [fault]
    assert (qoder("memory", "create", "--name", "team").code, len(service.sent)) == (9, 1)


def test_a_store_is_updated_where_it_differs(qoder: Qoder, service: Service) -> None:
    words = ("memory", "update", "project", "--description", "new", "--metadata", "team=core")
    assert qoder(*words, "--dry-run").code == 0
    assert service.sent == []
    assert qoder(*words).code == 0
    assert service.sent[0][2] == {"description": "new", "metadata": {"team": "core"}}
    assert qoder(*words).code == 0
    assert len(service.sent) == 1
    assert qoder("memory", "update", "project").code == 2
    assert qoder("memory", "create").code == 2


def test_a_dream_is_created_from_stores_and_sessions(qoder: Qoder, service: Service) -> None:
    words = ["dream", "create", "--from", "project", "--from", "sess_1", "--from", "sess_2", "--model", "auto"]
    ran = qoder(*words, "--instructions", "Be brief.", "--into", "project", "--json")
    assert ran.code == 0, ran.err
    assert service.sent[0][2] == {
        "inputs": [
            {"type": "memory_store", "memory_store_id": "memstore_1"},
            {"type": "sessions", "session_ids": ["sess_1", "sess_2"]},
        ],
        "model": "auto",
        "instructions": "Be brief.",
        "output_behavior": {"type": "update_existing", "memory_store_id": "memstore_1"},
    }
    assert ran.json["id"] == "drm_1"
    service.faults["POST /dreams"] = ["done-reset"]
    assert (qoder(*words).code, len(service.sent)) == (9, 2)  # nothing marks one as ours


@pytest.mark.parametrize("words", [["--model", "auto"], ["--from", "sess_1"], ["--from", "drm_1", "--model", "auto"]])
def test_a_dream_that_cannot_be_meant(qoder: Qoder, service: Service, words: list[str]) -> None:
    assert (qoder("dream", "create", *words).code, service.sent) == (2, [])


@pytest.mark.parametrize("fault", [None, *LOST, *UNDONE])
def test_dreams_are_cancelled(qoder: Qoder, service: Service, fault: str | None) -> None:
    ids = [service.add("/dreams", "drm_", type="dream", status="running")["id"] for _ in range(2)]
    service.faults["/cancel"] = [fault] if fault else []
    ran = qoder("dream", "cancel", *ids, "--json")
    assert (ran.code, [each["status"] for each in ran.json]) == (0, ["canceled"] * 2), ran.err


def test_a_dream_that_has_ended_is_not_cancelled(qoder: Qoder, service: Service) -> None:
    id = service.add("/dreams", "drm_", type="dream", status="completed")["id"]
    service.refusals["/cancel"] = [Refused(409, "It has completed.")]
    ran = qoder("dream", "cancel", id, "--json")
    assert (ran.code, "dream get" in ran.error["hint"]) == (6, True)
