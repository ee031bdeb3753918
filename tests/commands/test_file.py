"""`qoder file upload` and `download`: texts sent once, and what agents made fetched whole, never over another file."""

import io
import json
import os
from pathlib import Path
from typing import Any

import httpx
import pytest

from qoder_cli.base.errors import Signalled
from qoder_cli.nouns import files
from qoder_cli.output.screen import Screen
from qoder_cli.sandbox.wire import GENERATIONS
from tests.conftest import Qoder
from tests.support.blobs import LOST, UNDONE, Service, form_of


@pytest.fixture(params=GENERATIONS)
def service(qoder: Qoder, request: pytest.FixtureRequest) -> Service:
    return Service(qoder, request.param)


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    file = tmp_path / "notes.md"
    file.write_text("Für alle\n", encoding="utf-8")
    return file


def made_by_an_agent(service: Service, name: str, content: bytes = b"a,b\n") -> str:
    raw = service.add("/files", "file_", type="file", filename=name, downloadable=True, metadata={})
    service.contents[raw["id"]] = content
    return str(raw["id"])


# Uploading.


def test_a_file_is_uploaded_with_what_was_said_of_it(qoder: Qoder, service: Service, notes: Path) -> None:
    ran = qoder("file", "upload", str(notes), "--metadata", "team=core", "--expires", "2h", "--json")
    assert ran.code == 0, ran.err
    assert ran.json == service.things["/files"][0]
    assert ran.json["filename"] == "notes.md"
    assert ran.json["expires_in_seconds"] == 7200
    assert ran.json["metadata"]["team"] == "core"
    assert service.contents[ran.json["id"]] == "Für alle\n".encode()
    assert ran.err.startswith(f"uploading {notes} (profile default, api.qoder.com)")


@pytest.mark.parametrize(
    ("format", "out"),
    [("id", "file_1\n"), ("jsonl", '{"id":"file_1",'), ("table", "id\tfile_1\nname\tnotes.md\n")],
)
def test_an_upload_is_told_in_every_format(qoder: Qoder, service: Service, notes: Path, format: str, out: str) -> None:
    assert qoder("file", "upload", str(notes), "-o", format).out.startswith(out)


def test_several_files_are_an_array_each_with_its_result(qoder: Qoder, service: Service, tmp_path: Path) -> None:
    names = [str(tmp_path / name) for name in ("a.txt", "b.txt", "c.txt")]
    for name in names:
        Path(name).write_text(name)
    service.refusals["POST /files"] = []
    service.before["POST /files"] = lambda: service.refusals["POST /files"].append(_refusal(413))
    ran = qoder("file", "upload", *names, "--json")
    assert ran.code == 6
    assert [each["input"] for each in ran.json] == names
    assert [each["exit_code"] for each in ran.json] == [6, 0, 0]
    assert len(service.things["/files"]) == 2


def _refusal(status: int) -> Any:
    from tests.support.blobs import Refused

    return Refused(status, "Too large.")


def test_standard_input_is_uploaded_under_a_name(qoder: Qoder, service: Service) -> None:
    qoder.stdin = "hello"
    ran = qoder("file", "upload", "-", "--name", "today.md", "--json")
    assert (ran.json["filename"], service.contents[ran.json["id"]]) == ("today.md", b"hello")


BAD = {
    "binary": b"a\0b",
    "latin": "é".encode("latin-1"),
    "large": b"x" * (files.LARGEST + 1),
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
def test_what_is_no_text_is_refused_before_anything_is_sent(
    qoder: Qoder, service: Service, notes: Path, content: bytes
) -> None:
    bad = notes.parent / "bad.txt"
    bad.write_bytes(content)
    ran = qoder("file", "upload", str(notes), str(bad))
    assert ran.code == 2
    assert str(bad) in ran.err
    assert service.asked == []


def test_a_file_of_just_the_size_that_is_allowed_is_uploaded(qoder: Qoder, service: Service, notes: Path) -> None:
    notes.write_bytes(b"x" * files.LARGEST)
    assert qoder("file", "upload", str(notes)).code == 0


def test_what_is_no_file_is_refused(qoder: Qoder, service: Service, tmp_path: Path) -> None:
    kinds = [tmp_path, tmp_path / "missing", tmp_path / "no\0name"]
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        kinds.append(tmp_path / "pipe")
    for kind in kinds:
        ran = qoder("file", "upload", str(kind))
        assert (ran.code, service.asked) == (2, []), kind


@pytest.mark.parametrize(
    "words",
    [
        ["-"],
        ["-", "-", "--name", "x"],
        ["NOTES", "NOTES", "--name", "x"],
        ["NOTES", "--name", ""],
        ["NOTES", "--name", "a\nb"],
        ["NOTES", "--name", "x" * 256],
        ["NOTES", "--name", "é" * 128],
        ["NOTES", "--expires", "0"],
        ["NOTES", "--expires", "soon"],
        ["NOTES", "--metadata", "team"],
        [],
    ],
)
def test_words_that_cannot_be_meant_send_nothing(qoder: Qoder, service: Service, notes: Path, words: list[str]) -> None:
    ran = qoder("file", "upload", *(str(notes) if word == "NOTES" else word for word in words))
    assert (ran.code, service.asked) == (2, [])


def test_closed_standard_input_is_said(qoder: Qoder, service: Service) -> None:
    from qoder_cli.app import App
    from qoder_cli.cli.main import main

    err = io.BytesIO()
    app = App(env=qoder.env, out=Screen(io.BytesIO()), err=Screen(err), stdin=None, transport=qoder.transport)
    assert main(["file", "upload", "-", "--name", "x"], app) == 2
    assert b"cannot read standard input: it is closed" in err.getvalue()


def test_nothing_is_uploaded_where_writing_is_forbidden(qoder: Qoder, service: Service, notes: Path) -> None:
    qoder.env["QODER_READ_ONLY"] = "1"
    assert (qoder("file", "upload", str(notes)).code, service.asked) == (2, [])


@pytest.mark.parametrize("fault", LOST)
def test_a_lost_answer_is_settled_by_our_mark(qoder: Qoder, service: Service, notes: Path, fault: str) -> None:
    theirs = service.add("/files", "file_", type="file", filename="notes.md", metadata={"qoder_key": "theirs"})
    service.faults["POST /files"] = [fault]
    ran = qoder("file", "upload", str(notes), "--json")
    assert ran.code == 0, ran.err
    assert ran.json["id"] == service.things["/files"][1]["id"] != theirs["id"]
    assert len(service.sent) == 1
    assert "confirmed by reading it back" in ran.err


@pytest.mark.parametrize("fault", UNDONE)
def test_an_upload_that_does_not_show_is_unknown_and_not_repeated(
    qoder: Qoder, service: Service, notes: Path, fault: str
) -> None:
    service.before["POST /files"] = lambda: service.add(
        "/files", "file_", type="file", filename="notes.md", metadata={"qoder_key": "theirs"}
    )
    service.faults["POST /files"] = [fault]
    ran = qoder("file", "upload", str(notes), "--json")
    assert (ran.code, len(service.sent)) == (9, 1)
    assert ran.error["next"][:3] == ["qoder", "file", "list"]


def test_a_signal_stops_those_that_were_not_begun(qoder: Qoder, service: Service, tmp_path: Path) -> None:
    names = [str(tmp_path / name) for name in ("a.txt", "b.txt")]
    for name in names:
        Path(name).write_text(name)

    def interrupt() -> None:
        raise Signalled(15)

    service.before["POST /files"] = interrupt
    ran = qoder("file", "upload", *names, "--json")
    assert ran.code == 143
    assert len(service.sent) == 1
    assert ran.json[1]["exit_code"] is None


# Downloading.


def test_a_file_is_downloaded_under_its_name(qoder: Qoder, service: Service, tmp_path: Path) -> None:
    id = made_by_an_agent(service, "report.csv")
    ran = qoder("file", "download", "report.csv", "-O", str(tmp_path / "new"), "--json")
    assert ran.code == 0, ran.err
    path = tmp_path / "new" / "report.csv"
    assert ran.json == {**service.things["/files"][0], "path": str(path)}
    assert path.read_bytes() == b"a,b\n"
    assert f"saved {path}" in ran.err
    assert qoder("file", "download", id, "-O", str(tmp_path / "new"), "-q").out == f"{id}\n"
    assert (tmp_path / "new" / "report-2.csv").exists()


@pytest.mark.parametrize("name", ["../../evil", "/etc/passwd", "a\\..\\b", "\x1b[2J.txt", "CON"])
def test_the_servers_names_stay_in_the_folder(qoder: Qoder, service: Service, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "new"
    id = made_by_an_agent(service, name)
    ran = qoder("file", "download", id, "-O", str(folder))
    assert ran.code == 0
    assert "\x1b" not in ran.out + ran.err
    [saved] = folder.iterdir()
    assert saved.read_bytes() == b"a,b\n"


def test_several_are_downloaded_and_one_that_may_not_be_is_explained(
    qoder: Qoder, service: Service, tmp_path: Path
) -> None:
    id = made_by_an_agent(service, "report.csv")
    service.add("/files", "file_", type="file", filename="mine.md", downloadable=False)
    ran = qoder("file", "download", "mine.md", id, "-O", str(tmp_path / "new"), "--json")
    assert ran.code == 4
    assert [each["exit_code"] for each in ran.json] == [4, 0]
    assert "what was uploaded usually cannot" in ran.error["hint"]


def test_a_download_that_breaks_leaves_nothing(qoder: Qoder, service: Service, tmp_path: Path) -> None:
    id = made_by_an_agent(service, "report.csv")
    del service.contents[id]

    class Broken(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            if request.url.host == "storage.example":
                return httpx.Response(200, content=_breaking())
            return service.handle_request(request)

    qoder.transport = Broken()
    ran = qoder("file", "download", id, "-O", str(tmp_path / "new"))
    assert ran.code == 7
    assert list((tmp_path / "new").iterdir()) == []


def _breaking() -> Any:
    yield b"half"
    raise httpx.RemoteProtocolError("peer closed connection")


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_asked(
    qoder: Qoder, service: Service, notes: Path
) -> None:
    ran = qoder("file", "download", "file_1", "-O", str(notes))
    assert (ran.code, service.asked) == (2, [])
    assert "--output-dir" in ran.err


def test_a_file_that_is_not_there_is_said(qoder: Qoder, service: Service, tmp_path: Path) -> None:
    assert qoder("file", "download", "file_9", "-O", str(tmp_path)).code == 5
    assert qoder("file", "download", "other.md", "-O", str(tmp_path)).code == 5


def test_no_more_than_the_metadata_of_ours_is_sent_beside_it(qoder: Qoder, service: Service, notes: Path) -> None:
    qoder("file", "upload", str(notes))
    texts, [(field, name, _)] = form_of(service.asked[0])
    assert (field, name) == ("file", "notes.md")
    assert list(json.loads(texts["metadata"])) == ["qoder_key"]
