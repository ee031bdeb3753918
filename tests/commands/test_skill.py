"""`qoder skill upload` and `download`: what is no skill is refused, what is the same is not sent, nothing is unsafe."""

import io
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from qoder_cli.nouns import skills
from qoder_cli.sandbox.wire import GENERATIONS
from tests.conftest import Qoder
from tests.support.blobs import LOST, UNDONE, Object, Refused, Service, form_of, zipped

MAIN = b"---\nname: release-notes\ndescription: Writes them.\n---\n# How\n"
FILES = {"SKILL.md": MAIN, "scripts/run.py": b"print()\n"}


@pytest.fixture(params=GENERATIONS)
def service(qoder: Qoder, request: pytest.FixtureRequest) -> Service:
    return Service(qoder, request.param)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "mine"
    put(made, FILES)
    return made


def put(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def versions(service: Service, skill: Object) -> list[Object]:
    return service.things[f"/skills/{skill['id']}/versions"]


# Uploading.


@pytest.mark.parametrize("format", ["table", "json", "jsonl", "id"])
def test_a_new_skill_is_uploaded_as_the_sdk_does(qoder: Qoder, service: Service, folder: Path, format: str) -> None:
    put(folder, {".git/config": b"secret", "scripts/__pycache__/run.pyc": b"\0", ".DS_Store": b"\0"})
    ran = qoder("skill", "upload", str(folder), "--metadata", "team=core", "-o", format)
    assert ran.code == 0, ran.err
    [made] = service.things["/skills"]
    assert made["id"] in ran.out
    assert (made["display_title"], made["metadata"]["team"]) == ("release-notes", "core")
    _, parts = form_of(next(each for each in service.asked if each.method == "POST"))
    assert [(field, name) for field, name, _ in parts] == [
        ("files[]", "release-notes/SKILL.md"),
        ("files[]", "release-notes/scripts/run.py"),
    ]
    assert "creating skill release-notes (2 files) (profile default, api.qoder.com)" in ran.err


@pytest.mark.parametrize("known", [False, True])
def test_a_server_that_wants_a_zip_gets_one_try_in_that_form(
    qoder: Qoder, service: Service, folder: Path, known: bool
) -> None:
    service.takes = "file"
    if known:
        service.skill("release-notes", {"SKILL.md": MAIN})
    ran = qoder("skill", "upload", str(folder), "--json")
    assert (ran.code, len(service.sent)) == (0, 2), ran.err
    id, version = ran.json["id"], ran.json["latest_version"]
    assert version == ("2" if known else "1")
    assert skills.unzipped(service.contents[f"{id}/{version}"], skills.LARGEST) == FILES
    service.takes = "other files"
    put(folder, {"new.md": b"x"})
    assert (qoder("skill", "upload", str(folder)).code, len(service.sent)) == (6, 4)


def test_a_refusal_for_another_reason_is_not_sent_again(qoder: Qoder, service: Service, folder: Path) -> None:
    service.refusals["POST /skills"] = [Refused(400, "description is too long")]
    assert (qoder("skill", "upload", str(folder)).code, len(service.sent)) == (6, 1)


@pytest.mark.parametrize("top", ["", "release-notes/"])
def test_a_zip_may_have_the_skill_at_its_root_or_in_its_one_folder(
    qoder: Qoder, service: Service, tmp_path: Path, top: str
) -> None:
    packed = {f"{top}{name}": content for name, content in FILES.items()} | {"__MACOSX/x": b"\0", f"{top}.x": b""}
    (tmp_path / "a.zip").write_bytes(zipped(packed))
    ran = qoder("skill", "upload", str(tmp_path / "a.zip"), "--title", "Notes", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["display_title"] == "Notes"
    assert skills.rooted(skills.unzipped(service.contents[f"{ran.json['id']}/1"], 9999)) == FILES


def test_a_known_name_gets_a_new_version(qoder: Qoder, service: Service, folder: Path) -> None:
    raw = service.skill("release-notes", {"SKILL.md": MAIN})
    ran = qoder("skill", "upload", str(folder), "--title", "x", "--json")
    assert (ran.code, ran.json["id"], ran.json["latest_version"]) == (0, raw["id"], "2")
    assert [path for _, path, _ in service.sent] == [f"/skills/{raw['id']}/versions"]
    assert "--title and --metadata are for a new skill" in ran.err
    assert "release-notes has version 2" in ran.err


def test_a_skill_is_known_by_the_name_of_its_version_too(qoder: Qoder, service: Service, folder: Path) -> None:
    raw = service.skill("release-notes", {"SKILL.md": MAIN})
    raw["display_title"] = "Release notes"
    service.skill("other", {"SKILL.md": MAIN})
    service.add("/skills", "skill_", type="skill", source="qoder", display_title="release-notes", latest_version="1")
    ran = qoder("skill", "upload", str(folder), "-q")
    assert (ran.code, ran.out) == (0, f"{raw['id']}\n"), ran.err


@pytest.mark.parametrize("top", ["", "release-notes/"])
def test_nothing_is_sent_for_the_same_files(qoder: Qoder, service: Service, folder: Path, top: str) -> None:
    raw = service.skill("release-notes", {f"{top}{name}": content for name, content in FILES.items()})
    ran = qoder("skill", "upload", str(folder), "--json")
    assert (ran.code, service.sent, ran.json) == (0, [], raw)
    assert "nothing was sent" in ran.err


@pytest.mark.parametrize("content", [b"no zip", b""])
def test_what_cannot_be_compared_is_uploaded_and_said(
    qoder: Qoder, service: Service, folder: Path, content: bytes
) -> None:
    raw = service.skill("release-notes", FILES)
    service.contents[f"{raw['id']}/1"] = content
    ran = qoder("skill", "upload", str(folder))
    assert (ran.code, len(service.sent)) == (0, 1)
    assert "cannot compare it with version 1" in ran.err


def test_a_name_that_two_have_is_refused(qoder: Qoder, service: Service, folder: Path) -> None:
    service.skill("release-notes", FILES)
    service.skill("release-notes", FILES)
    assert (qoder("skill", "upload", str(folder)).code, service.sent) == (2, [])


@pytest.mark.parametrize("fault", LOST)
@pytest.mark.parametrize("known", [False, True])
def test_a_lost_answer_is_settled(qoder: Qoder, service: Service, folder: Path, fault: str, known: bool) -> None:
    if known:
        raw = service.skill("release-notes", {"SKILL.md": MAIN})
        theirs = zipped({"SKILL.md": MAIN, "theirs.md": b""})
        service.before["/versions"] = lambda: service._version(raw, "release-notes", theirs)
        service.faults["/versions"] = [fault]
    else:
        service.before["POST /skills"] = lambda: service.skill("release-notes", FILES)
        service.faults["POST /skills"] = [fault]
    ran = qoder("skill", "upload", str(folder), "--json")
    assert ran.code == 0, ran.err
    assert len(service.sent) == 1
    if known:
        assert (ran.json["latest_version"], "release-notes has version 3" in ran.err) == ("3", True)
    else:
        assert ran.json["id"] == service.things["/skills"][1]["id"]


@pytest.mark.parametrize("fault", UNDONE)
@pytest.mark.parametrize("known", [False, True])
def test_what_does_not_show_is_unknown_and_not_sent_again(
    qoder: Qoder, service: Service, folder: Path, fault: str, known: bool
) -> None:
    if known:
        raw = service.skill("release-notes", {"SKILL.md": MAIN})
        service.before["/versions"] = lambda: service._version(raw, "release-notes", zipped({"SKILL.md": MAIN}))
    service.faults["/versions" if known else "POST /skills"] = [fault]
    ran = qoder("skill", "upload", str(folder), "--json")
    assert (ran.code, len(service.sent)) == (9, 1)
    assert ran.error["next"][:3] == ["qoder", "skill", "versions" if known else "list"]


def test_nothing_is_uploaded_where_writing_is_forbidden(qoder: Qoder, service: Service, folder: Path) -> None:
    qoder.env["QODER_READ_ONLY"] = "1"
    assert (qoder("skill", "upload", str(folder)).code, service.sent) == (2, [])


# What is no skill.


def linked(folder: Path) -> None:
    (folder / "link").symlink_to("/etc/passwd")


def linked_folder(folder: Path) -> None:
    (folder / "link").symlink_to(folder.parent)


def piped(folder: Path) -> None:
    os.mkfifo(folder / "pipe")


def same_names(folder: Path) -> None:
    put(folder, {"Read.md": b"", "read.md": b""})


def controls(folder: Path) -> None:
    put(folder, {"a\nb": b""})


def without_main(folder: Path) -> None:
    (folder / "SKILL.md").rename(folder / "skill.md")


def binary_main(folder: Path) -> None:
    (folder / "SKILL.md").write_bytes(b"---\nname: \xff\n---\n")


def _main(text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "SKILL.md").write_text(text)

    return write


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such files")
@pytest.mark.parametrize(
    "spoil",
    [
        linked,
        linked_folder,
        piped,
        same_names,
        controls,
        without_main,
        binary_main,
        _main("# no front matter"),
        _main("---\nname: [a]\n---\n"),
        _main("---\nname: ../x\n---\n"),
        _main("---\ndescription: x\n---\n"),
        _main("---\n- a\n---\n"),
        _main("---\nname: 'a\n---\n"),
        _main("---\nname: a\n"),
        _main(""),
    ],
)
def test_a_folder_that_is_no_skill_is_refused_before_anything_is_asked(
    qoder: Qoder, service: Service, folder: Path, spoil: Callable[[Path], None]
) -> None:
    spoil(folder)
    ran = qoder("skill", "upload", str(folder))
    assert (ran.code, service.asked) == (2, []), ran.err


def test_what_is_too_large_is_refused(
    qoder: Qoder, service: Service, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(skills, "LARGEST", 1000)
    put(folder, {"a": b"x" * 500, "b": b"x" * 500})
    assert (qoder("skill", "upload", str(folder)).code, service.asked) == (2, [])
    packed = folder.parent / "a.zip"
    packed.write_bytes(zipped({"SKILL.md": MAIN, "zeros": bytes(2000)}))
    assert packed.stat().st_size < 1000
    assert (qoder("skill", "upload", str(packed)).code, service.asked) == (2, [])
    packed.write_bytes(b"x" * 1001)
    ran = qoder("skill", "upload", str(packed))
    assert (ran.code, service.asked, "is larger than" in ran.err) == (2, [], True)


@pytest.mark.parametrize("missing", ["missing", "mine/pipe"])
def test_what_is_not_there_is_refused(qoder: Qoder, service: Service, folder: Path, missing: str) -> None:
    if missing.endswith("pipe") and hasattr(os, "mkfifo"):
        piped(folder)
    assert (qoder("skill", "upload", str(folder.parent / missing)).code, service.asked) == (2, [])


def member(name: str, *, mode: int = 0o100644, content: bytes = b"") -> bytes:
    """Return a zip of a skill and one more member."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("SKILL.md", MAIN)
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        info.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(info, content)
    return made.getvalue()


def lying(content: bytes, said: int) -> bytes:
    """Return a zip whose last member says that it is of another size."""
    data = bytearray(member("zeros", content=content))
    for signature, at in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        place = bytes(data).rindex(signature) + at
        data[place : place + 4] = struct.pack("<I", said)
    return bytes(data)


def encrypted() -> bytes:
    data = bytearray(member("a"))
    for signature, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[bytes(data).rindex(signature) + at] |= 1
    return bytes(data)


UNSAFE = {
    "dots": member("../evil"),
    "inner-dots": member("a/../../evil"),
    "absolute": member("/etc/evil"),
    "backslash": member("..\\evil"),
    "drive": member("C:evil"),
    "empty": member("a//b"),
    "control": member("a\x1b[2Jb"),
    "bidi": member("a\u202eb"),
    "long": member("a/" * 600 + "b"),
    "link": member("link", mode=0o120777, content=b"/etc/passwd"),
    "device": member("tty", mode=0o020666),
    "same": member("skill.MD"),
    "file-and-folder": member("SKILL.md/x"),
    "folder-out": member("../", mode=0o040755),
    "encrypted": encrypted(),
    "lies-small": lying(bytes(200_000), 10),
    "lies-large": lying(b"x", 1000),
    "cut": member("a", content=os.urandom(500))[:-100],
    "not-a-zip": b"PK\3\4 but no zip",
    "empty-file": b"",
}


@pytest.mark.parametrize("content", UNSAFE.values(), ids=UNSAFE)
def test_an_unsafe_zip_is_neither_uploaded_nor_unpacked(
    qoder: Qoder, service: Service, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    ran = qoder("skill", "upload", str(tmp_path / "a.zip"))
    assert (ran.code, service.asked) == (2, []), ran.err
    assert "\x1b" not in ran.err
    raw = service.skill("release-notes", FILES)
    service.contents[f"{raw['id']}/1"] = content
    ran = qoder("skill", "download", "release-notes", "-O", str(tmp_path / "new"), "--json")
    assert ran.code == 7
    assert list((tmp_path / "new").iterdir()) == []
    assert not (tmp_path / "evil").exists()


def test_a_bomb_of_the_server_is_not_unpacked(
    qoder: Qoder, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(skills, "UNPACKED", 100_000)
    service.skill("release-notes", {"SKILL.md": MAIN, "zeros": bytes(200_000)})
    assert qoder("skill", "download", "release-notes", "-O", str(tmp_path / "new")).code == 7
    assert list((tmp_path / "new").iterdir()) == []


# Downloading.


@pytest.mark.parametrize("top", ["", "release-notes/"])
def test_a_skill_is_unpacked_into_a_folder_of_its_name(
    qoder: Qoder, service: Service, tmp_path: Path, top: str
) -> None:
    raw = service.skill("release-notes", {f"{top}{name}": content for name, content in FILES.items()})
    ran = qoder("skill", "download", "release-notes", "-O", str(tmp_path / "new"), "--json")
    assert ran.code == 0, ran.err
    path = tmp_path / "new" / "release-notes"
    assert ran.json == {**versions(service, raw)[0], "path": str(path)}
    assert tree(path) == FILES
    (path / "mine.md").write_text("mine")
    assert qoder("skill", "download", raw["id"], "-O", str(tmp_path / "new"), "-q").code == 0
    assert tree(tmp_path / "new" / "release-notes-2") == FILES
    assert (path / "mine.md").exists()


def test_a_version_is_downloaded(qoder: Qoder, service: Service, folder: Path, tmp_path: Path) -> None:
    service.skill("release-notes", {"SKILL.md": MAIN})
    qoder("skill", "upload", str(folder))
    ran = qoder("skill", "download", "release-notes", "--version", "1", "-O", str(tmp_path / "new"))
    assert f"path\t{tmp_path / 'new' / 'release-notes'}\n" in ran.out
    assert tree(tmp_path / "new" / "release-notes") == {"SKILL.md": MAIN}
    assert qoder("skill", "download", "release-notes", "--version", "9", "-O", str(tmp_path)).code == 5


@pytest.mark.parametrize("name", ["../../evil", "a/b", "CON", "\x1b[2J"])
def test_the_servers_name_stays_in_the_folder(qoder: Qoder, service: Service, tmp_path: Path, name: str) -> None:
    raw = service.skill(name, FILES)
    ran = qoder("skill", "download", raw["id"], "-O", str(tmp_path / "new"))
    assert (ran.code, "\x1b" in ran.out + ran.err) == (0, False)
    assert len(list((tmp_path / "new").iterdir())) == 1
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("name", ["CON", "a:b", "nul.txt", "ends."])
def test_names_that_not_every_system_takes_are_not_unpacked(
    qoder: Qoder, service: Service, tmp_path: Path, name: str
) -> None:
    service.skill("release-notes", {"SKILL.md": MAIN, name: b""})
    assert qoder("skill", "download", "release-notes", "-O", str(tmp_path / "new")).code == 7


def test_a_disk_that_is_full_leaves_nothing(
    qoder: Qoder, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replace(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    service.skill("release-notes", FILES)
    monkeypatch.setattr(os, "replace", replace)
    ran = qoder("skill", "download", "release-notes", "-O", str(tmp_path / "new"))
    assert (ran.code, "No space left" in ran.err) == (2, True)
    assert list((tmp_path / "new").iterdir()) == []


def test_a_skill_without_a_version_is_said(qoder: Qoder, service: Service, tmp_path: Path) -> None:
    service.skill("release-notes", FILES)["latest_version"] = None
    assert qoder("skill", "download", "release-notes", "-O", str(tmp_path)).code == 5


def test_a_download_that_is_refused_or_lost(qoder: Qoder, service: Service, tmp_path: Path) -> None:
    raw = service.skill("release-notes", FILES)
    inner = service

    class Flaky(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            if request.url.path.endswith("/content"):
                return httpx.Response(500, text="oops")
            return inner.handle_request(request)

    qoder.transport = Flaky()
    assert qoder("skill", "download", raw["id"], "-O", str(tmp_path / "new")).code == 7
    assert list((tmp_path / "new").iterdir()) == []
