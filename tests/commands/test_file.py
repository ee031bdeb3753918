"""`qoder file upload` and `download`: texts sent once, and what agents made fetched whole, never over another file."""

import gzip
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import Qoder
from tests.support.things import Things, each_row, ok, refusal

REPORT = "# Status report\n\nAll checks pass.\n"
LINK = "https://storage.example/1"


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    file = tmp_path / "plan.md"
    file.write_text("Für alle\n", encoding="utf-8")
    return file


def test_file_upload_sends_what_was_said_of_it_and_no_more(qoder: Qoder, service: Things, notes: Path) -> None:
    ran = qoder("file", "upload", str(notes), "--metadata", "team=core", "--expires", "2h", "--json")
    assert ran.code == 0, ran.err
    kept = service.thing(ran.json["id"])
    assert (ran.json["filename"], kept["_content"]) == ("plan.md", "Für alle\n".encode())
    assert ran.json["metadata"]["team"] == "core"
    assert ran.json["expires_at"] == "2027-01-15T10:00:00Z"
    assert ran.err.startswith(f"uploading {notes}")
    assert re.findall(rb' name="([^"]*)"', service.sent[0]) == [b"metadata", b"expires_in_seconds", b"file"]


def test_file_upload_sends_several_each_with_its_result(qoder: Qoder, service: Things, tmp_path: Path) -> None:
    names = [str(tmp_path / name) for name in ("a.txt", "b.txt", "c.txt")]
    for name in names:
        Path(name).write_text(name)
    service.never = [refusal(413, "request_too_large_error", "Too large.")]
    ran = qoder("file", "upload", *names, "--json")
    assert ran.code == 6
    assert [(each["input"], each["exit_code"]) for each in ran.json] == list(zip(names, (6, 0, 0), strict=True))


def test_file_upload_sends_stdin_under_a_name(qoder: Qoder, service: Things) -> None:
    qoder.stdin = "hello"
    ran = qoder("file", "upload", "-", "--name", "today.md", "--json")
    assert (ran.json["filename"], service.thing(ran.json["id"])["_content"]) == ("today.md", b"hello")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b"a\0b"),
        lambda path: path.write_bytes("é".encode("latin-1")),
        lambda path: path.write_bytes(b"x" * (5 * 2**20 + 1)),
        lambda path: path.mkdir(),
        lambda path: None,
        pytest.param(
            lambda path: os.mkfifo(path), marks=pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
        ),
    ],
    ids=["binary", "latin", "large", "folder", "missing", "pipe"],
)
def test_file_upload_refuses_what_is_no_text_before_anything_is_sent(
    qoder: Qoder, service: Things, notes: Path, spoil: Callable[[Path], object]
) -> None:
    spoil(bad := notes.parent / "bad.txt")
    ran = qoder("file", "upload", str(notes), str(bad))
    assert ran.code == 2
    assert f"error: {bad}" in ran.err.replace("cannot read ", "")
    assert service.asked == []


def test_file_upload_takes_just_the_size_that_is_allowed(qoder: Qoder, service: Things, notes: Path) -> None:
    notes.write_bytes(b"x" * 5_000_000)
    assert qoder("file", "upload", str(notes)).code == 0


@pytest.mark.parametrize("done", [True, False])
def test_file_upload_tells_its_own_from_a_colleagues(qoder: Qoder, service: Things, notes: Path, done: bool) -> None:
    theirs = {**service.thing("file_notes"), "id": "file_theirs", "filename": "plan.md", "metadata": {"qoder_key": "1"}}
    service.meanwhile = [lambda: service.keep("files", theirs)]
    service.loses("reset", done=done)
    ran = qoder("file", "upload", str(notes), "--json")
    assert (ran.code, len(service.writes)) == (0 if done else 9, 1)
    if done:
        assert ran.json["id"] != "file_theirs"
        assert "confirmed by reading it back" in ran.err
    else:
        assert ran.error["next"][:3] == ["qoder", "file", "list"]


def test_file_upload_warns_of_one_that_may_not_expire(qoder: Qoder, service: Things, notes: Path) -> None:
    service.lies["POST /files"] = lambda raw: {**raw, "expires_at": None}
    ran = qoder("file", "upload", str(notes), "--expires", "2h", "-q")
    assert (ran.code, "may not expire" in ran.err) == (0, True)
    assert "may not expire" not in qoder("file", "upload", str(notes), "-q").err


@pytest.mark.parametrize("loss", ["", "reset"])
def test_file_upload_says_that_the_server_has_a_part_of_it(
    qoder: Qoder, service: Things, notes: Path, loss: str
) -> None:
    service.lies["POST /files"] = lambda raw: {**raw, "size_bytes": 3}
    service.lies["GET /files"] = each_row(service.lies["POST /files"])
    if loss:
        service.loses(loss)
    ran = qoder("file", "upload", str(notes), "--json")
    assert (ran.code, ran.out, len(service.writes)) == (6, "", 1)
    assert "was created, but the server has other content: size_bytes 3" in ran.error["message"]


def test_file_download_never_writes_over_another(qoder: Qoder, service: Things, tmp_path: Path) -> None:
    ran = qoder("file", "download", "report.md", "-O", str(tmp_path / "new"), "--json")
    assert ran.code == 0, ran.err
    path = tmp_path / "new" / "report.md"
    assert ran.json["path"] == str(path)
    assert path.read_text() == REPORT
    assert f"saved {path}" in ran.err
    assert qoder("file", "download", "file_report", "-O", str(tmp_path / "new"), "-q").out == "file_report\n"
    assert (tmp_path / "new" / "report-2.md").read_text() == REPORT


@pytest.mark.parametrize("name", ["../../evil", "/etc/passwd", "a\\..\\b", "\x1b[2J.txt", "CON"])
def test_file_download_lets_no_name_out_of_the_folder(qoder: Qoder, service: Things, tmp_path: Path, name: str) -> None:
    service.thing("file_report")["filename"] = name
    ran = qoder("file", "download", "file_report", "-O", str(tmp_path / "new"))
    assert ran.code == 0
    assert "\x1b" not in ran.out + ran.err
    [saved] = (tmp_path / "new").iterdir()
    assert saved.read_text() == REPORT


def test_file_download_explains_a_refusal_and_saves_the_rest(qoder: Qoder, service: Things, tmp_path: Path) -> None:
    ran = qoder("file", "download", "notes.md", "file_report", "-O", str(tmp_path / "new"), "--json")
    assert ran.code == 4
    assert [each["exit_code"] for each in ran.json] == [4, 0]
    assert "what was uploaded usually cannot" in ran.error["hint"]
    content = "GET /files/file_report/content"
    service.lies[content], service.instead[content] = lambda link: {}, [refusal(401, "authentication_error", "No.")]
    for code, message in ((4, ": No."), (7, "no download link for file file_report")):
        ran = qoder("file", "download", "file_report", "-O", str(tmp_path / "new"))
        assert (ran.code, message in ran.err, "what was uploaded" in ran.err) == (code, True, False)


ZIPPED = gzip.compress(b"x" * 34)


def breaking(error: Exception) -> Iterator[bytes]:
    yield b"half"
    raise error


@pytest.mark.parametrize(
    ("content", "said", "coding"),
    [
        (lambda: breaking(httpx.RemoteProtocolError("peer closed connection")), "error: ", ""),
        (lambda: breaking(UnicodeError("label empty or too long")), "error: ", ""),  # of a name, as asking for it does
        (lambda: iter([]), "0 bytes came, not 34", "gzip"),
        (lambda: iter([b"x" * 33]), "33 bytes came, not 34", ""),  # of no stated length
        (lambda: iter([ZIPPED[:-1]]), "the connection failed", "gzip"),
        (lambda: iter([ZIPPED, ZIPPED]), "the connection failed", "gzip"),  # the second would be left out
    ],
    ids=["broken", "unnamed", "empty", "cut", "cut in its checksum", "two in one"],
)
def test_file_download_that_breaks_leaves_nothing_and_sends_no_token(
    qoder: Qoder, service: Things, tmp_path: Path, content: Callable[[], Iterator[bytes]], said: str, coding: str
) -> None:
    service.lies["GET /files/file_report/content"] = lambda link: {"url": LINK}
    service.instead[f"GET {LINK}"] = [httpx.Response(200, content=content(), headers={"content-encoding": coding})]
    ran = qoder("file", "download", "file_report", "-O", str(tmp_path / "new"))
    assert (ran.code, said in ran.err) == (7, True)
    assert list((tmp_path / "new").iterdir()) == []
    assert "authorization" not in service.requests[-1].headers
    service.instead[f"GET {LINK}"] = [httpx.Response(200, content=iter([b"x" * 34]))]
    assert qoder("file", "download", "file_report", "-O", str(tmp_path / "new")).code == 0


@pytest.mark.parametrize(
    ("link", "code", "shown"),
    [
        ("http://127.0.0.1:9/1", 0, ""),
        ("http://a.example/1", 7, "the download link is not https, so it was not followed"),
        ("https://[", 7, "the download link is not a URL"),
        ("https://a.example:x/1", 7, "cannot download the file from a.example: the connection failed"),
    ],
)
def test_file_download_follows_a_plain_link_on_this_machine_alone(
    qoder: Qoder, service: Things, tmp_path: Path, link: str, code: int, shown: str
) -> None:
    service.lies["GET /files/file_report/content"] = lambda _: {"url": link}
    service.instead[f"GET {link}"] = [httpx.Response(200, content=REPORT.encode())]
    ran = qoder("file", "download", "file_report", "-O", str(tmp_path / "new"))
    assert (ran.code, shown in ran.err) == (code, True)
    assert (f"GET {link}" in service.asked) == (code == 0)


def test_file_download_asks_nothing_for_a_folder_that_is_none(qoder: Qoder, service: Things, notes: Path) -> None:
    ran = qoder("file", "download", "file_1", "-O", str(notes))
    assert (ran.code, service.asked) == (2, [])
    assert "--output-dir" in ran.err
    assert "Errno" not in ran.err


def test_file_delete_believes_no_404_of_a_proxy(qoder: Qoder, service: Things) -> None:
    service.never = [httpx.ReadError("reset")] * 3
    service.instead["GET /files/file_notes"] = [httpx.Response(404, html="<h1>Not found</h1>") for _ in range(30)]
    ran = qoder("file", "delete", "file_notes", "--yes", "--json")
    assert (ran.code, ran.out) == (9, "")


def test_file_delete_whose_answer_was_lost_is_done_though_a_replica_lags(qoder: Qoder, service: Things) -> None:
    service.loses("reset")
    service.instead["GET /files/file_notes"] = [ok({"id": "file_notes", "type": "file"})] * 7
    assert qoder("file", "delete", "file_notes", "--yes").code == 0
    assert service.writes == ["DELETE /files/file_notes"] * 2
    assert qoder.clock.slept[:7] == pytest.approx([0.5, 0.5, 1.0, 2.0, 4.0, 8.0, 14.0])
