"""What the sandbox keeps that has content: files, skills and memories."""

import io
import json
import zipfile
from hashlib import sha256
from typing import Any

import httpx
import pytest

from qoder_cli.sandbox.wire import GENERATIONS
from tests.support.sandbox_desk import AUTH, Desk

MEMORIES = "/memory_stores/memstore_project/memories"
VERSIONS = "/memory_stores/memstore_project/memory_versions"
SKILL = "/skills/skill_release_notes"
HEAD = b"---\nname: notes\ndescription: 'Notes.'\nmetadata:\n  name: inner\n---\nWrite.\n"


@pytest.fixture(params=GENERATIONS)
def desk(request: pytest.FixtureRequest) -> Desk:
    return Desk(request.param)


def digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def form(desk: Desk, path: str, *files: tuple[str, bytes], field: str = "file", **texts: str) -> httpx.Response:
    return desk.http.post(path, data=texts, files=[(field, file) for file in files])


def told(answer: httpx.Response) -> tuple[int, str | None]:
    return answer.status_code, answer.json()["error"].get("param")


def names(page: Any, field: str) -> list[Any]:
    return [each[field] for each in page["data"]]


# Files.


def test_a_file_is_kept(desk: Desk) -> None:
    metadata = json.dumps({"team": "core"})
    answer = form(desk, "/files", ("a.md", b"Text."), metadata=metadata, expires_in_seconds="60")
    file = answer.json()
    assert (file["filename"], file["size_bytes"], file["mime_type"]) == ("a.md", 5, "text/markdown")
    assert (file["metadata"], file["scope"], file["downloadable"]) == ({"team": "core"}, None, False)
    assert (file["created_at"], file["expires_at"]) == ("2026-06-14T08:54:06Z", "2026-06-14T08:55:06Z")
    assert desk.get(f"/files/{file['id']}") == file
    assert "_content" not in file
    assert form(desk, "/files", ("a.md", b""), name="other.md").json()["filename"] == "other.md"
    assert names(desk.get("/files", name="a.md"), "id") == [file["id"]]
    assert names(desk.get("/files", scope_id="sess_demo"), "filename") == ["report.md"]
    both = {"ids[]": [file["id"], "file_notes"]}
    assert names(desk.get("/files", **both), "filename") == ["a.md", "notes.md"]


@pytest.mark.parametrize(
    ("file", "texts", "refused"),
    [
        (("a", b"x" * 5_000_001), {}, (413, None)),
        (("a", b"\xff\xfe\x00"), {}, (400, "file")),
        (("a", b""), {"name": "x" * 256}, (400, "name")),
        (("a", b""), {"metadata": "team"}, (400, "metadata")),
        (("a", b""), {"metadata": "[" * 100_000}, (400, "metadata")),
        (("a", b""), {"metadata": "[1]"}, (400, "metadata")),
        (("a", b""), {"metadata": json.dumps({"k": "x" * 8192})}, (400, "metadata")),
        (("a", b""), {"expires_in_seconds": "0"}, (400, "expires_in_seconds")),
        (("a", b""), {"expires_in_seconds": "soon"}, (400, "expires_in_seconds")),
        (("a", b""), {"purpose": "assistants"}, (400, "purpose")),
    ],
)
def test_a_file_that_is_wrong_is_refused(file: tuple[str, bytes], texts: dict[str, str], refused: Any) -> None:
    desk = Desk("current")
    assert told(form(desk, "/files", file, **texts)) == refused
    assert len(desk.get("/files")["data"]) == 2


def test_a_file_needs_a_form(desk: Desk) -> None:
    assert told(desk.post("/files", {"file": "a"})) == (400, None)
    assert told(desk.http.post("/files", data={"name": "a"}, files={"name": (None, b"a")})) == (400, "file")


def test_an_artifact_is_downloaded_without_a_token_and_nothing_else_is(desk: Desk) -> None:
    assert desk.refused("GET", "/files/file_notes/content") == (403, "permission_error", None)
    link = desk.get("/files/file_report/content")
    assert set(link) == {"url", "expires_at"}
    del desk.http.headers["Authorization"]
    assert desk.http.get(link["url"]).text == "# Status report\n\nAll checks pass.\n"
    for url in (link["url"][:-1], link["url"].replace("file_report", "file_notes"), link["url"].partition("?")[0]):
        assert desk.http.get(url).status_code == 403
    assert desk.http.post(link["url"]).status_code == 401
    desk.http.headers.update(AUTH)


def test_a_file_that_a_session_uses_stays_until_it_is_archived(desk: Desk) -> None:
    resources = [{"type": "file", "file_id": "file_notes"}]
    body = {"agent": "agent_writer", "environment_id": "env_1", "resources": resources}
    session = desk.post("/sessions", body).json()["id"]
    assert desk.refused("DELETE", "/files/file_notes")[0] == 409
    desk.post(f"/sessions/{session}/archive")
    assert desk.http.delete("/files/file_notes").json() == {"id": "file_notes", "type": "file_deleted"}


# Skills.


def zipped(**files: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for path, content in files.items():
            archive.writestr(path.replace("__", "/").replace("_md", ".md"), content)
    return target.getvalue()


def test_a_skill_is_made_of_files_or_of_a_zip(desk: Desk) -> None:
    files = [("notes/SKILL.md", HEAD), ("notes/parts/a.txt", b"A.")]
    first = form(desk, "/skills", *files, field="files[]", metadata='{"team": "core"}').json()
    assert (first["display_title"], first["latest_version"], first["source"]) == ("notes", "1", "custom")
    assert first["metadata"] == {"team": "core"}
    assert desk.get(f"/skills/{first['id']}") == first
    second = form(desk, "/skills", ("a.zip", zipped(SKILL_md=HEAD)), display_title="Second").json()
    assert second["display_title"] == "Second"
    assert names(desk.get("/skills", name="notes"), "id") == [second["id"], first["id"]]
    assert names(desk.get("/skills", display_title="Second"), "id") == [second["id"]]
    assert desk.get("/skills", source="qoder")["data"] == []
    content = desk.http.get(f"/skills/{first['id']}/versions/1/content")
    with zipfile.ZipFile(io.BytesIO(content.content)) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {"SKILL.md": HEAD, "parts/a.txt": b"A."}


def test_a_skill_has_numbered_versions(desk: Desk) -> None:
    page = desk.get(SKILL + "/versions")
    assert names(page, "version") == ["2", "1"]
    third = form(desk, SKILL + "/versions", ("SKILL.md", HEAD), field="files").json()
    assert (third["version"], third["name"], third["description"], third["skill_id"]) == (
        *("3", "notes", "Notes."), SKILL.rpartition("/")[2],
    )  # fmt: skip
    assert desk.get(SKILL)["latest_version"] == "3"
    assert desk.http.delete(SKILL + "/versions/3").json() == {"id": "3", "type": "skill_version_deleted"}
    assert desk.get(SKILL)["latest_version"] == "2"
    assert form(desk, SKILL + "/versions", ("SKILL.md", HEAD), field="files").json()["version"] == "4"
    assert desk.http.delete(SKILL).json()["type"] == "skill_deleted"
    assert desk.refused("GET", SKILL + "/versions")[0] == 404


@pytest.mark.parametrize(
    ("files", "status"),
    [
        ([("README.md", HEAD)], 400),
        ([("a/SKILL.md", HEAD), ("b/c.md", b"")], 400),
        ([("SKILL.md", b"No front matter.")], 400),
        ([("SKILL.md", b"---\ndescription: nameless\n---\n")], 400),
        ([("SKILL.md", HEAD), ("../up.md", b"")], 400),
        ([("SKILL.md", HEAD), ("/etc/up.md", b"")], 400),
        ([("a.zip", b"PK\x03\x04 no zip")], 400),
        ([("a.zip", zipped(SKILL_md=HEAD)[:-40])], 400),
        ([("SKILL.md", HEAD), ("big", b"x" * (50 * 1024 * 1024))], 413),
    ],
    ids=range(9),
)
def test_a_skill_that_is_none_is_refused(files: list[tuple[str, bytes]], status: int) -> None:
    desk = Desk("current")
    assert form(desk, "/skills", *files, field="files[]", display_title="T").status_code == status
    assert len(desk.get("/skills")["data"]) == 1


# Memories.


def write(desk: Desk, path: str, content: str = "A.", **query: str) -> httpx.Response:
    return desk.http.post(MEMORIES, json={"path": path, "content": content}, params=query)


def test_a_memory_is_one_of_its_path(desk: Desk) -> None:
    memory = write(desk, "a.md", "Äh.", view="full").json()
    assert (memory["content"], memory["content_size_bytes"]) == ("Äh.", 4)
    assert memory["content_sha256"] == digest("Äh.")
    assert desk.get(f"{MEMORIES}/{memory['id']}") == memory
    assert "content" not in desk.get(f"{MEMORIES}/{memory['id']}", view="basic")
    assert told(write(desk, "a.md")) == (409, None)
    assert told(desk.post(f"{MEMORIES}/mem_1", {"path": "a.md"})) == (409, None)
    store = desk.get("/memory_stores/memstore_project")
    sizes = sum(names(desk.get(MEMORIES), "content_size_bytes"))
    assert (store["entry_count"], store["total_size"], store["status"]) == (3, sizes, "active")
    assert told(write(desk, "/etc/a")) == (400, "path")
    assert told(write(desk, "a/../b")) == (400, "path")
    assert told(write(desk, "big", "x" * (100 * 1024 + 1))) == (400, "content")
    assert write(desk, "empty", "").is_success
    assert desk.refused("GET", MEMORIES, params={"view": "half"}) == (400, "invalid_request_error", "view")


def test_a_change_may_name_what_it_changes(desk: Desk) -> None:
    path, before = f"{MEMORIES}/mem_1", desk.get(f"{MEMORIES}/mem_1")
    stale = {"content": "B.", "content_sha256": "0" * 64}
    assert told(desk.post(path, stale)) == (409, None)
    assert desk.get(path) == before
    fresh = {"content": "B.", "content_sha256": before["content_sha256"]}
    assert desk.post(path, fresh).json()["content_sha256"] == digest("B.")
    assert desk.refused("DELETE", path, params={"expected_content_sha256": before["content_sha256"]})[0] == 409
    gone = desk.http.delete(path, params={"expected_content_sha256": digest("B.")})
    assert gone.json() == {"id": "mem_1", "type": "memory_deleted"}
    assert write(desk, before["path"]).is_success  # its path is free


def test_memories_are_listed_by_folder(desk: Desk) -> None:
    for path in ("people/a.md", "people/team/b.md"):
        write(desk, path)
    assert sorted(names(desk.get(MEMORIES, path_prefix="people/"), "path")) == [
        "people/a.md", "people/on-call.md", "people/team/b.md",
    ]  # fmt: skip
    top = desk.get(MEMORIES, depth=1)
    assert sorted((each["type"], each["path"]) for each in top["data"]) == [
        ("memory", "conventions.md"), ("memory_prefix", "people/"),
    ]  # fmt: skip
    inner = desk.get(MEMORIES, path_prefix="people/", depth=1)
    assert "people/team/" in names(inner, "path")
    assert desk.refused("GET", MEMORIES, params={"depth": "0"}) == (400, "invalid_request_error", "depth")


def test_every_change_of_a_memory_is_a_version(desk: Desk) -> None:
    id = write(desk, "a.md").json()["id"]
    desk.post(f"{MEMORIES}/{id}", {"content": "B."})
    desk.http.delete(f"{MEMORIES}/{id}")
    page = desk.get(VERSIONS, memory_id=id, view="full")
    assert names(page, "operation") == ["deleted", "modified", "created"]
    assert names(page, "content") == [None, "B.", "A."]
    assert page["data"][0]["created_by"]["type"] == "api_actor"
    assert names(desk.get(VERSIONS, operation="created", memory_id=id), "path") == ["a.md"]
    assert desk.get(VERSIONS, session_id="sess_x")["data"] == []
    created = page["data"][2]["id"]
    redacted = desk.post(f"{VERSIONS}/{created}/redact").json()
    assert (redacted["content"], redacted["content_sha256"], redacted["redacted_at"]) == (
        *(None, None), "2026-06-14T08:54:06Z",
    )  # fmt: skip
    assert desk.get(f"{VERSIONS}/{created}") == redacted


def test_nothing_is_written_to_an_archived_store(desk: Desk) -> None:
    assert desk.post("/memory_stores/memstore_project/archive").json()["status"] == "archived"
    assert told(write(desk, "a.md")) == (409, None)
    assert desk.post(f"{MEMORIES}/mem_1", {"content": "B."}).status_code == 409
    assert desk.http.delete(f"{MEMORIES}/mem_1").status_code == 409
    assert desk.get(f"{MEMORIES}/mem_1")["content"] == "Releases begin at 22:30.\n"
