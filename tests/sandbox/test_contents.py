"""What `qoder sandbox` keeps that has content: files, skills and memories."""

import io
import json
import zipfile
from typing import Any

import httpx
import pytest

from tests.sandbox.desk import AUTH, Desk
from tests.support.cells import MORE

STORE = "/memory_stores/memstore_project"


MEMORIES = f"{STORE}/memories"


SKILL = "/skills/skill_release_notes"
HEAD = b"---\nname: notes\ndescription: 'Notes.'\nmetadata:\n  name: inner\n---\nWrite.\n"


def form(desk: Desk, path: str, *files: tuple[str, bytes], field: str = "file", **texts: str) -> httpx.Response:
    return desk.http.post(path, data=texts, files=[(field, file) for file in files])


def told(answer: httpx.Response) -> tuple[int, str | None]:
    return answer.status_code, answer.json()["error"].get("param")


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


def test_sandbox_numbers_the_versions_of_a_skill(desk: Desk) -> None:
    assert desk.ids(SKILL + "/versions", "version") == ["2", "1"]
    third = form(desk, SKILL + "/versions", ("SKILL.md", HEAD), field="files").json()
    expected = {"version": "3", "name": "notes", "description": "Notes.", "skill_id": SKILL.rpartition("/")[2]}
    assert {name: third[name] for name in expected} == expected
    assert desk.get(SKILL)["latest_version"] == "3"
    assert desk.http.delete(SKILL + "/versions/3").json() == {"id": "3", "type": "skill_version_deleted"}
    assert desk.get(SKILL)["latest_version"] == "2"
    assert form(desk, SKILL + "/versions", ("SKILL.md", HEAD), field="files").json()["version"] == "4"
    assert desk.http.delete(SKILL).json()["type"] == "skill_deleted"
    assert desk.status(SKILL + "/versions") == 404


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


def test_sandbox_lists_memories_by_folder(desk: Desk) -> None:
    for path in ("people/a.md", "people/team/b.md"):
        write(desk, path)
    below = ["people/a.md", "people/on-call.md", "people/team/b.md"]
    assert sorted(desk.ids(MEMORIES, "path", path_prefix="people/")) == below
    top = sorted((row["type"], row["path"]) for row in desk.get(MEMORIES, depth=1)["data"])
    assert top == [("memory", "conventions.md"), ("memory_prefix", "people/")]
    assert "people/team/" in desk.ids(MEMORIES, "path", path_prefix="people/", depth=1)
