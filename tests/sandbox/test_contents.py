"""What `qoder sandbox` keeps that has content: files, skills and memories."""

import io
import json
import zipfile
from hashlib import sha256
from typing import Any

import httpx
import pytest

from tests.sandbox.desk import AUTH, Desk
from tests.support.cells import MORE

STORE = "/memory_stores/memstore_project"
OVERTAKEN = (409, "invalid_request_error", None)  # api.md#memory
MEMORIES = f"{STORE}/memories"
VERSIONS = f"{STORE}/memory_versions"
SKILL = "/skills/skill_release_notes"
HEAD = b"---\nname: notes\ndescription: 'Notes.'\nmetadata:\n  name: inner\n---\nWrite.\n"


def digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def form(desk: Desk, path: str, *files: tuple[str, bytes], field: str = "file", **texts: str) -> httpx.Response:
    return desk.http.post(path, data=texts, files=[(field, file) for file in files])


def told(answer: httpx.Response) -> tuple[int, str | None]:
    return answer.status_code, answer.json()["error"].get("param")


def test_sandbox_keeps_a_file_with_what_is_told_of_it(desk: Desk) -> None:
    file = form(desk, "/files", ("a.md", b"Text.")).json()
    expected = {"size_bytes": 5, "mime_type": "text/markdown", "scope": None, "downloadable": False}
    assert {name: file[name] for name in expected} == expected
    assert desk.get(f"/files/{file['id']}") == file
    assert desk.ids("/files", name="a.md") == [file["id"]]
    assert desk.ids("/files", "filename", scope_id="sess_demo") == ["report.md"]
    assert desk.ids("/files", "filename", **{"ids[]": [file["id"], "file_notes"]}) == ["a.md", "notes.md"]


@pytest.mark.parametrize(
    ("content", "texts", "refused"),
    [
        (b"x" * 5_000_001, {}, (413, None)),
        (b"\xff\xfe\x00", {}, (400, "file")),
        (b"", {"name": "x" * 256}, (400, "name")),
        (b"", {"metadata": "[" * 100_000}, (400, "metadata")),
        (b"", {"metadata": "[1]"}, (400, "metadata")),
        (b"", {"metadata": json.dumps({"k": "x" * 8192})}, (400, "metadata")),
        (b"", {"expires_in_seconds": "0"}, (400, "expires_in_seconds")),
        (b"", {"purpose": "assistants"}, (400, "purpose")),
    ],
    ids=range(8),
)
def test_sandbox_refuses_a_file_that_is_wrong(current: Desk, content: bytes, texts: Any, refused: Any) -> None:
    before = current.kept
    assert told(form(current, "/files", ("a", content), **texts)) == refused
    assert current.kept == before


def test_sandbox_refuses_a_file_outside_a_form(desk: Desk) -> None:
    assert told(desk.post("/files", {"file": "a"})) == (400, None)
    assert told(desk.http.post("/files", data={"name": "a"}, files={"name": (None, b"a")})) == (400, "file")


def test_sandbox_has_artifacts_downloaded_without_a_token_and_nothing_else(desk: Desk) -> None:
    assert desk.refused("GET", "/files/file_notes/content") == (403, "permission_error", None)
    link = desk.get("/files/file_report/content")
    assert set(link) == {"url", "expires_at"}
    del desk.http.headers["Authorization"]
    assert desk.http.get(link["url"]).text == "# Status report\n\nAll checks pass.\n"
    for url in (link["url"][:-1], link["url"].replace("file_report", "file_notes"), link["url"].partition("?")[0]):
        assert desk.http.get(url).status_code == 403
    assert desk.http.post(link["url"]).status_code == 401
    desk.http.headers.update(AUTH)


def test_sandbox_keeps_a_file_that_a_session_uses(desk: Desk) -> None:
    session = desk.made("/sessions", resources=[{"type": "file", "file_id": "file_notes"}])
    assert desk.refused("DELETE", "/files/file_notes")[0] == 409
    desk.done(f"/sessions/{session['id']}/archive")
    assert desk.http.delete("/files/file_notes").json() == {"id": "file_notes", "type": "file_deleted"}


def zipped(**files: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for path, content in files.items():
            archive.writestr(path.replace("_md", ".md"), content)
    return target.getvalue()


def test_sandbox_finds_skills_by_what_is_told_of_them(desk: Desk) -> None:
    first = form(desk, "/skills", ("notes/SKILL.md", HEAD), field="files[]").json()
    assert desk.get(f"/skills/{first['id']}") == first
    second = form(desk, "/skills", ("SKILL.md", HEAD), field="files[]", display_title="Second").json()
    assert desk.ids("/skills", name="notes") == [second["id"], first["id"]]
    assert desk.ids("/skills", display_title="Second") == [second["id"]]
    assert desk.ids("/skills", source="qoder") == []


def test_sandbox_gives_no_two_versions_of_a_skill_one_number(desk: Desk) -> None:
    assert desk.http.delete(SKILL + "/versions/2").json() == {"id": "2", "type": "skill_version_deleted"}
    assert form(desk, SKILL + "/versions", ("SKILL.md", HEAD), field="files").json()["version"] == "3"


@pytest.mark.parametrize(
    ("files", "status"),
    [
        ([("README.md", HEAD)], 400),
        ([("a/SKILL.md", HEAD), ("b/c.md", b"")], 400),
        ([("SKILL.md", b"No front matter.")], 400),
        ([("SKILL.md", HEAD), ("../up.md", b"")], 400),
        ([("a.zip", b"PK\x03\x04 no zip")], 400),
        ([("a.zip", zipped(SKILL_md=HEAD)[:-40])], 400),
        pytest.param([("SKILL.md", HEAD), ("big", b"x" * (50 * 1024 * 1024))], 413, marks=MORE),
    ],
    ids=range(7),
)
def test_sandbox_refuses_a_skill_that_is_none(current: Desk, files: list[tuple[str, bytes]], status: int) -> None:
    assert form(current, "/skills", *files, field="files[]", display_title="T").status_code == status
    assert len(current.ids("/skills")) == 1


def write(desk: Desk, path: str, content: str = "A.", **query: str) -> Any:
    answer = desk.http.post(MEMORIES, json={"path": path, "content": content}, params=query)
    assert answer.is_success, answer.text
    return answer.json()


def test_sandbox_keeps_one_memory_of_a_path(desk: Desk) -> None:
    memory = write(desk, "a.md", "Äh.", view="full")
    expected = {"content": "Äh.", "content_size_bytes": 4, "content_sha256": digest("Äh.")}
    assert {name: memory[name] for name in expected} == expected
    assert desk.get(f"{MEMORIES}/{memory['id']}") == memory
    assert "content" not in desk.get(f"{MEMORIES}/{memory['id']}", view="basic")
    assert desk.refused("POST", MEMORIES, json={"path": "a.md", "content": "A."}) == OVERTAKEN
    assert desk.refused("POST", f"{MEMORIES}/mem_1", json={"path": "a.md"}) == OVERTAKEN
    store = {"entry_count": 3, "total_size": sum(desk.ids(MEMORIES, "content_size_bytes")), "status": "active"}
    assert store.items() <= desk.get(STORE).items()


def test_sandbox_lists_memories_by_folder(desk: Desk) -> None:
    for path in ("people/a.md", "people/team/b.md"):
        write(desk, path)
    below = ["people/a.md", "people/on-call.md", "people/team/b.md"]
    assert sorted(desk.ids(MEMORIES, "path", path_prefix="people/")) == below
    top = sorted((row["type"], row["path"]) for row in desk.get(MEMORIES, depth=1)["data"])
    assert top == [("memory", "conventions.md"), ("memory_prefix", "people/")]
    assert "people/team/" in desk.ids(MEMORIES, "path", path_prefix="people/", depth=1)


def test_sandbox_makes_every_change_of_a_memory_a_version(desk: Desk) -> None:
    id = write(desk, "a.md")["id"]
    desk.done(f"{MEMORIES}/{id}", content="B.")
    desk.http.delete(f"{MEMORIES}/{id}")
    write(desk, "a.md")  # its path is free
    rows = desk.get(VERSIONS, memory_id=id, view="full")["data"]
    assert [(row["operation"], row["content"]) for row in rows] == [
        ("deleted", None), ("modified", "B."), ("created", "A."),
    ]  # fmt: skip
    assert rows[0]["created_by"]["type"] == "api_actor"
    assert desk.ids(VERSIONS, "path", operation="created", memory_id=id) == ["a.md"]
    assert desk.ids(VERSIONS, session_id="sess_x") == []


def test_sandbox_writes_nothing_to_an_archived_store(desk: Desk) -> None:
    assert desk.done(STORE + "/archive")["status"] == "archived"
    assert desk.refused("POST", MEMORIES, json={"path": "a.md", "content": "A."})[::2] == (409, None)
    assert desk.refused("POST", f"{MEMORIES}/mem_1", json={"content": "B."})[0] == 409
    assert desk.refused("DELETE", f"{MEMORIES}/mem_1")[0] == 409
