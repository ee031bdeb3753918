"""`qoder skill upload` and `download`: what is no skill is refused, what is the same is not sent, nothing is unsafe."""

import io
import os
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from qoder_cli.nouns import skill as skills
from tests.conftest import Qoder
from tests.support.completions import offered
from tests.support.things import FAILED, Things, each_row, refusal

SERVED_BY = ("current",)
MAIN = b"---\nname: release-notes\ndescription: Writes them.\n---\n# How\n"
FILES = {"SKILL.md": MAIN, "scripts/run.py": b"print()\n"}
NOTES = "skill_release_notes"
VERSIONS = f"/skills/{NOTES}/versions"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "mine"
    put(made, FILES)
    return made


def put(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def named(folder: Path, name: str) -> Path:
    (folder / "SKILL.md").write_bytes(MAIN.replace(b"release-notes", name.encode()))
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def holds(service: Things, content: bytes) -> None:
    """Let the newest version of release-notes be this zip."""
    service.instead[f"GET {VERSIONS}/2/content"] = [httpx.Response(200, content=content) for _ in range(3)]


def newest(service: Things, id: str) -> dict[str, bytes]:
    """Return the files of a skill's newest version, as the server has them."""
    *_, last = service.world.things[f"skills/{id}/versions"].values()
    files: dict[str, bytes] = last.fields["_files"]
    return files


def test_skill_upload_sends_a_new_one_as_the_sdk_does(qoder: Qoder, service: Things, folder: Path) -> None:
    put(named(folder, "notes"), {".git/config": b"secret", "scripts/__pycache__/run.pyc": b"\0", ".DS_Store": b"\0"})
    ran = qoder("skill", "upload", str(folder), "--metadata", "team=core", "--json")
    assert ran.code == 0, ran.err
    assert (ran.json["display_title"], ran.json["metadata"]["team"]) == ("notes", "core")
    parts = re.findall(rb'name="([^"]*)"; filename="([^"]*)"', service.sent[0])
    assert parts == [(b"files[]", b"notes/SKILL.md"), (b"files[]", b"notes/scripts/run.py")]
    assert "creating skill notes (2 files)" in ran.err


@pytest.mark.parametrize("name", ["release-notes", "new"])
def test_skill_upload_tries_a_zip_once_if_it_is_wanted(qoder: Qoder, service: Things, folder: Path, name: str) -> None:
    wants_a_zip = refusal(400, "invalid_request_error", "Missing required field: file")
    service.never = [wants_a_zip]
    ran = qoder("skill", "upload", str(named(folder, name)), "--title", "Notes", "--json")
    assert (ran.code, len(service.writes)) == (0, 2), ran.err
    assert (newest(service, ran.json["id"]), ran.json["display_title"] == "Notes") == (tree(folder), name == "new")
    put(folder, {"new.md": b"x"})
    service.never = [wants_a_zip] * 2
    assert (qoder("skill", "upload", str(folder)).code, len(service.writes)) == (6, 4)


@pytest.mark.parametrize("top", ["", "release-notes/"])
def test_skill_upload_takes_a_zip_with_a_folder_or_not(qoder: Qoder, service: Things, tmp_path: Path, top: str) -> None:
    packed = {f"{top}{name}": content for name, content in FILES.items()}
    packed |= {"__MACOSX/x": b"\0", f"{top}.x": b"", f"{top}.xy": b""}
    (tmp_path / "a.zip").write_bytes(skills.zipped(packed))
    ran = qoder("skill", "upload", str(tmp_path / "a.zip"), "--title", "Notes", "--json")
    assert (ran.code, ran.json["latest_version"]) == (0, "3"), ran.err
    assert newest(service, NOTES) == FILES
    assert "--title and --metadata are for a new skill" in ran.err
    assert "release-notes has version 3" in ran.err


def test_skill_upload_tells_the_version_whatever_comes_afterwards(qoder: Qoder, service: Things, folder: Path) -> None:
    path = f"GET /skills/{NOTES}"
    service.late = [lambda: service.instead.update({path: [FAILED] * 9})]
    ran = qoder("skill", "upload", str(folder), "--json")
    assert (ran.code, service.writes) == (0, [f"POST {VERSIONS}"]), ran.err
    assert (ran.json["id"], ran.json["latest_version"]) == (NOTES, "3")


@pytest.mark.parametrize("source", ["qoder", {"type": "qoder"}])
def test_skill_upload_goes_by_the_name_and_not_by_the_title(
    qoder: Qoder, service: Things, folder: Path, source: Any
) -> None:
    service.thing(NOTES)["display_title"] = "weekly"
    theirs = {**service.thing(NOTES), "id": "skill_q", "source": source, "display_title": "release-notes"}
    service.keep("skills", theirs)
    assert qoder("skill", "upload", str(folder), "-q").out == f"{NOTES}\n"
    assert qoder("skill", "upload", str(named(folder, "weekly"))).code == 0
    assert service.writes == [f"POST {VERSIONS}", "POST /skills"]


@pytest.mark.parametrize("silent", ["list", "row and version"])
def test_skill_upload_creates_nothing_where_its_name_may_be_taken(
    qoder: Qoder, service: Things, folder: Path, silent: str
) -> None:
    service.lies["GET /skills"] = lambda page: {"data": []}
    if silent == "row and version":
        service.lies["GET /skills"] = each_row(lambda row: {**row, "name": None})
        service.lies[f"GET {VERSIONS}/2"] = lambda version: {**version, "name": None}
    assert (qoder("skill", "upload", str(folder)).code, service.writes) == (7, [])


@pytest.mark.parametrize("top", ["", "release-notes/"])
def test_skill_upload_sends_nothing_for_the_same_files(qoder: Qoder, service: Things, folder: Path, top: str) -> None:
    holds(service, skills.zipped({f"{top}{name}": content for name, content in FILES.items()}))
    ran = qoder("skill", "upload", str(folder), "--json")
    assert (ran.code, service.writes, ran.json["id"]) == (0, [], NOTES)
    assert "nothing was sent" in ran.err
    service.instead[f"GET /skills/{NOTES}"] = [httpx.Response(200, json={"id": NOTES}, headers={"age": "60"})] * 5
    assert (qoder("skill", "upload", str(folder)).code, service.writes) == (7, [])  # a proxy's: there may be a newer


@pytest.mark.parametrize("content", [b"no zip", b""])
def test_skill_upload_says_what_it_cannot_compare(qoder: Qoder, service: Things, folder: Path, content: bytes) -> None:
    holds(service, content)
    ran = qoder("skill", "upload", str(folder))
    assert (ran.code, len(service.writes)) == (0, 1)
    assert "cannot compare it with version 2" in ran.err


def test_skill_upload_refuses_a_name_that_two_have(qoder: Qoder, service: Things, folder: Path) -> None:
    service.keep("skills", {**service.thing(NOTES), "id": "skill_twin"})
    service.world.things["skills/skill_twin/versions"] = service.world.things[f"skills/{NOTES}/versions"]
    assert (qoder("skill", "upload", str(folder)).code, service.writes) == (2, [])


@pytest.mark.parametrize("done", [True, False])
def test_skill_upload_knows_its_own_version(qoder: Qoder, service: Things, folder: Path, done: bool) -> None:
    def theirs() -> None:
        form = {"files": [("files[]", ("release-notes/SKILL.md", MAIN))]}
        headers = {"authorization": service.requests[0].headers["authorization"]}
        request = httpx.Request("POST", f"https://api.qoder.com/api/v1/cloud{VERSIONS}", headers=headers, **form)  # type: ignore[arg-type]
        super(Things, service).handle_request(request)

    service.meanwhile = [theirs]
    service.loses("reset", done=done)
    ran = qoder("skill", "upload", str(folder), "--json")
    assert (ran.code, len(service.writes)) == (0 if done else 9, 1)
    if done:
        assert (ran.json["latest_version"], "release-notes has version 4" in ran.err) == ("4", True)
    else:
        assert ran.error["next"][:3] == ["qoder", "skill", "versions"]


def test_skill_upload_takes_no_version_of_another_for_its_own(qoder: Qoder, service: Things, folder: Path) -> None:
    other = {"id": "skillver_9", "type": "skill_version", "skill_id": "skill_other", "version": "9"}
    service.instead[f"POST {VERSIONS}"] = [httpx.Response(200, json=other)]
    assert qoder("skill", "upload", str(folder)).code == 9


def main_of(text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "SKILL.md").write_text(text)


SPOILT: dict[str, Callable[[Path], object]] = {
    "link": lambda folder: (folder / "link").symlink_to("/etc/passwd"),
    "linked folder": lambda folder: (folder / "link").symlink_to(folder.parent),
    "pipe": lambda folder: os.mkfifo(folder / "pipe"),
    "names that differ in letters alone": lambda folder: put(folder, {"Read.md": b"", "read.md": b""}),
    "line break in a name": lambda folder: put(folder, {"a\nb": b""}),
    "skill.md": lambda folder: (folder / "SKILL.md").rename(folder / "skill.md"),
    "not UTF-8": lambda folder: (folder / "SKILL.md").write_bytes(b"---\nname: \xff\n---\n"),
    "not there": lambda folder: folder.rename(folder.parent / "other"),
    "a pipe itself": lambda folder: os.mkfifo(folder.rename(folder.parent / "other").with_name("mine")),
    "no front matter": main_of("# no front matter"),
    "a list as name": main_of("---\nname: [a]\n---\n"),
    "a path as name": main_of("---\nname: ../x\n---\n"),
    "no name": main_of("---\ndescription: x\n---\n"),
    "no mapping": main_of("---\n- a\n---\n"),
    "no YAML": main_of("---\nname: 'a\n---\n"),
    "no end": main_of("---\nname: a\n"),
    "empty": main_of(""),
}


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such files")
@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_skill_upload_refuses_what_is_none(qoder: Qoder, service: Things, folder: Path, spoil: Any) -> None:
    spoil(folder)
    ran = qoder("skill", "upload", str(folder))
    assert (ran.code, service.asked) == (2, []), ran.err


def test_skill_upload_refuses_too_much(
    qoder: Qoder, service: Things, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(skills, "LARGEST", 1000)
    put(folder, {"a": b"x" * 500, "b": b"x" * 500})
    (bomb := folder.parent / "bomb.zip").write_bytes(skills.zipped({"SKILL.md": MAIN, "zeros": bytes(2000)}))
    assert bomb.stat().st_size < 1000
    (large := folder.parent / "large.zip").write_bytes(b"x" * 1001)
    monkeypatch.setattr(skills, "_MOST", 2)
    (many := folder.parent / "many.zip").write_bytes(skills.zipped({"SKILL.md": MAIN, "a": b"", ".b": b""}))
    why = {
        folder: "is larger than",
        bomb: "has more than 0 MiB",
        large: "is larger than",
        many: "has more than 2 files",
    }
    for path, said in why.items():
        ran = qoder("skill", "upload", str(path))
        assert (ran.code, service.asked, f"{path} {said}" in ran.err) == (2, [], True), ran.err


def member(name: str, *, mode: int = 0o100644, content: bytes = b"") -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("SKILL.md", MAIN)
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        info.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(info, content)
    return made.getvalue()


def lying(data: bytes, at: int, value: bytes) -> bytes:
    """Return a zip whose last member says something else, at a place of its head; in the directory 2 bytes later."""
    changed = bytearray(data)
    for signature, place in ((b"PK\3\4", at), (b"PK\1\2", at + 2)):
        start = bytes(changed).rindex(signature) + place
        changed[start : start + len(value)] = value
    return bytes(changed)


UNSAFE = {
    **{f"name {name[:9]!a}": member(name) for name in ("../evil", "a/../../evil", "/etc/evil", "..\\evil", "C:evil")},
    **{f"name {name[:9]!a}": member(name) for name in ("a//b", "a\x1b[2Jb", "a\u202eb", "a/" * 600 + "b", "skill.MD")},
    **{name: member(name) for name in ("CON", "a:b", "nul.txt", "ends.")},
    "link": member("link", mode=0o120777, content=b"/etc/passwd"),
    "device": member("tty", mode=0o020666),
    "file and folder": member("SKILL.md/x"),
    "folder out": member("../", mode=0o040755),
    "encrypted": lying(member("a"), 6, b"\1"),
    "says too little": lying(member("zeros", content=bytes(200_000)), 22, struct.pack("<I", 10)),
    "says too much": lying(member("zeros", content=b"x"), 22, struct.pack("<I", 1000)),
    "cut": member("a", content=os.urandom(500))[:-100],
    "not a zip": b"PK\3\4 but no zip",
    "empty": b"",
}


@pytest.mark.parametrize("content", UNSAFE.values(), ids=UNSAFE)
@pytest.mark.few(8)
def test_skill_takes_and_unpacks_no_unsafe_zip(qoder: Qoder, service: Things, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    ran = qoder("skill", "upload", str(tmp_path / "a.zip"))
    assert (ran.code, service.asked) == (2, []), ran.err
    assert "\x1b" not in ran.err
    holds(service, content)
    assert qoder("skill", "download", "release-notes", "-O", str(tmp_path / "new")).code == 7
    assert list((tmp_path / "new").iterdir()) == []
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("top", ["", "release-notes/"])
def test_skill_download_unpacks_it_into_a_new_folder(qoder: Qoder, service: Things, tmp_path: Path, top: str) -> None:
    holds(service, skills.zipped({f"{top}{name}": content for name, content in FILES.items()}))
    ran = qoder("skill", "download", "release-notes", "-O", str(tmp_path / "new"), "--json")
    assert ran.code == 0, ran.err
    path = tmp_path / "new" / "release-notes"
    version = service.change(f"{VERSIONS}/2", {}, method="GET")
    assert ran.json == {**version, "path": str(path)}
    assert tree(path) == FILES
    (path / "mine.md").write_text("mine")
    (tmp_path / "new" / "release-notes-2").mkdir()
    assert qoder("skill", "download", NOTES, "-O", str(tmp_path / "new")).code == 0
    assert tree(tmp_path / "new" / "release-notes-3") == FILES
    assert (path / "mine.md").exists()


def test_skill_download_takes_a_version(qoder: Qoder, service: Things, tmp_path: Path) -> None:
    ran = qoder("skill", "download", "release-notes", "--version", "1", "-O", str(tmp_path / "new" / "deep"))
    assert f"path\t{tmp_path / 'new' / 'deep' / 'release-notes'}\n" in ran.out
    text = (tmp_path / "new" / "deep" / "release-notes" / "SKILL.md").read_text()
    assert text.endswith("List the merged changes.\n")
    assert qoder("skill", "download", "release-notes", "--version", "9", "-O", str(tmp_path)).code == 5


def full(source: Path, target: Path) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("place", "value", "code"),
    [("os.replace", full, 2), ("qoder_cli.nouns.skill.UNPACKED", 100, 7), ("", "", 7)],
    ids=["full disk", "bomb", "no answer"],
)
def test_skill_download_leaves_nothing_where_it_cannot_be_unpacked(
    qoder: Qoder, service: Things, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, value: Any, code: int
) -> None:
    if place:
        monkeypatch.setattr(place, value)
    else:
        service.instead[f"GET {VERSIONS}/2/content"] = [httpx.Response(500, text="oops") for _ in range(9)]
    ran = qoder("skill", "download", "release-notes", "-O", str(tmp_path / "new"))
    assert ran.code == code
    assert code == 7 or "No space left" in ran.err
    assert list((tmp_path / "new").iterdir()) == []


def test_skill_download_exits_5_where_there_is_no_version(qoder: Qoder, service: Things, tmp_path: Path) -> None:
    service.lies[f"GET /skills/{NOTES}"] = lambda raw: {**raw, "latest_version": None}
    service.lies[f"GET {VERSIONS}"] = lambda page: {**page, "data": []}
    assert qoder("skill", "download", NOTES, "-O", str(tmp_path)).code == 5


@pytest.mark.parametrize("filter", ["--source qoder", "--title nothing"])
def test_skill_list_of_some_forgets_no_other(qoder: Qoder, service: Things, filter: str) -> None:
    assert qoder("skill", "list", "-q").out == f"{NOTES}\n"
    assert qoder("skill", "list", *filter.split(), "-q").out == ""
    assert NOTES in offered("qoder skill get ", qoder.env)


def test_skill_upload_goes_by_the_newest_version_where_the_skill_shows_none(
    qoder: Qoder, service: Things, folder: Path
) -> None:
    service.lies["GET /skills"] = each_row(lambda row: {**row, "latest_version": None})
    service.lies[f"GET /skills/{NOTES}"] = lambda raw: {**raw, "latest_version": None}
    service.lies[f"GET {VERSIONS}"] = lambda page: {**page, "data": [*page["data"], {"id": "a row without a version"}]}
    for _ in range(2):
        assert qoder("skill", "upload", str(folder)).code == 0
    put(folder, {"scripts/run.py": b"print(2)\n"})
    assert qoder("skill", "upload", str(folder)).code == 0
    assert service.writes == [f"POST {VERSIONS}"] * 2  # the same files were sent once
    put(folder, FILES)
    service.loses("reset", done=False)
    assert qoder("skill", "upload", str(folder)).code == 9  # an older version with these files is not ours
