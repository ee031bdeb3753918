"""`run result --output-dir`: what delivered files are called, and that nothing is lost, followed or half there."""

import os
import stat
from pathlib import Path

import httpx
import pytest

from qoder_cli.base.errors import QoderError, UsageError
from qoder_cli.nouns import file as files
from qoder_cli.nouns.file import LONGEST_NAME, safe_name
from tests.conftest import TOKEN, Qoder, Ran
from tests.support.one_run import DONE, EVENTS, RUN, WORK
from tests.support.result import END, delivers, says
from tests.support.things import refusal
from tests.support.wire import Wire, page

NAMES = {
    **{"CON": "_CON", "nul.txt": "_nul.txt", "COM1.tar.gz": "_COM1.tar.gz", "LPT³": "_LPT³", "aux .txt": "_aux .txt"},
    **{"CONIN$": "_CONIN$", "COM10": "COM10", "console.log": "console.log", "trailing. . ": "trailing"},
    **{"   ": "file", "...": "file", "a/b/": "file", "a\u202egpj.exe": "a_gpj.exe", "日報.txt": "日報.txt"},
    **{"a\u200bb\x7f\u2028.txt": "a_b__.txt", 'a<b>:"|?*.txt': "a_b______.txt", "a\nb\x1b.txt": "a_b_.txt"},
    **{"/etc/passwd": "passwd", "C:\\x\\evil.exe": "evil.exe", "..": "file", ".hidden": "hidden"},
}


@pytest.mark.parametrize("name", NAMES)
def test_run_result_names_files_as_every_system_takes_and_people_see(name: str) -> None:
    assert safe_name(name) == NAMES[name]


def fetch(qoder: Qoder, folder: Path, *names: str, content: bytes = b"new") -> Ran:
    delivered = [{**delivers(name, number), "size": len(content)} for number, name in enumerate(names, 1)]
    nothing = {**delivers("of no id", 0), "file_id": None}
    qoder.wire.on(*RUN, DONE).on(*EVENTS, page(*WORK, END), page(END, nothing, *reversed(delivered)))
    qoder.wire.on(*EVENTS, page(*WORK, END), page())
    for number in range(1, len(names) + 1):
        qoder.wire.on("GET", f"/files/file_{number}/content", {"url": "https://storage.example/x?sig=1"})
        qoder.wire.on("GET", "/x", httpx.Response(200, content=content))
    return qoder("run", "result", "drun_1", "--output-dir", str(folder), "--json")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "out"
    made.mkdir()
    return made


@pytest.mark.parametrize(("names", "saved"), [((), []), (("",), ["file_1"])])
def test_run_result_says_where_no_files_were_delivered(
    qoder: Qoder, folder: Path, names: tuple[str, ...], saved: list[str]
) -> None:
    assert ("run drun_1 delivered no files" in fetch(qoder, folder, *names).err) is not bool(names)
    assert [path.name for path in folder.iterdir()] == saved


@pytest.mark.parametrize(
    ("name", "ending"),
    [
        ("報" * 150, "報"),
        ("報" * 150 + ".txt", "報.txt"),
        ("é" * 300 + ".tar.gz", "é.tar.gz"),
        ("a" * 300 + ".txt", "a.txt"),
        ("a." + "b" * 300, "b"),
        ("\U0001f600" * 100 + ".md", "\U0001f600.md"),
    ],
)
@pytest.mark.few(3)
def test_run_result_cuts_a_long_name_and_keeps_its_suffix(qoder: Qoder, folder: Path, name: str, ending: str) -> None:
    ran = fetch(qoder, folder, name, name)
    assert ran.code == 0, ran.err
    first, second = (Path(path).name for path in ran.json["files"])
    assert sorted(path.name for path in folder.iterdir()) == sorted([first, second])
    assert first.endswith(ending)
    assert "-2" in second
    assert LONGEST_NAME - 4 < len(first.encode()) <= LONGEST_NAME
    assert len(second.encode()) <= LONGEST_NAME


@pytest.mark.parametrize("what", ["link that leads nowhere", "folder", "file that another one writes meanwhile"])
def test_run_result_keeps_what_is_there(qoder: Qoder, folder: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    there, elsewhere = folder / "a.txt", folder.parent / "elsewhere"
    if what.startswith("link"):
        there.symlink_to(elsewhere)
    elif what == "folder":
        there.mkdir()
    else:
        there.write_text("theirs")
        monkeypatch.setattr(os.path, "lexists", lambda path: False)  # it was not there when we looked
    ran = fetch(qoder, folder, "a.txt")
    assert ran.json["files"] == [str(folder / "a-2.txt")]
    assert (f"saved {folder / 'a-2.txt'}\n" in ran.err, "sig=1" in ran.err) == (True, False)
    assert there.is_symlink() or there.is_dir() or there.read_text() == "theirs"
    assert not elsewhere.exists()


@pytest.mark.skipif(os.name != "posix", reason="only POSIX has a umask")
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_run_result_lets_those_read_a_file_whom_the_umask_lets(qoder: Qoder, folder: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        fetch(qoder, folder, "a.txt")
    finally:
        os.umask(before)
    assert stat.S_IMODE((folder / "a.txt").stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize("size", [1000, 1001])
def test_run_result_refuses_large_files(qoder: Qoder, folder: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(files, "LARGEST_FILE", 1000)
    ran = fetch(qoder, folder, "a.txt", content=b"x" * size)
    assert [file.stat().st_size for file in folder.iterdir()] == ([] if size > 1000 else [1000])
    assert size == 1000 or (ran.code, ran.error["message"]) == (
        7,
        "file 'a.txt' (file_1) was not saved: the file is larger than 1,000 bytes",
    )


def test_run_result_leaves_nothing_on_a_full_disk(qoder: Qoder, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*paths: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert "No space left on device" in fetch(qoder, folder, "a.txt").err
    assert list(folder.iterdir()) == []


def test_run_result_takes_no_token_for_a_folder_but_one_that_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "pt-0123456789abcdef0123"
    with pytest.raises(UsageError, match="takes a folder, not a token"):
        files.prepare_folder(str(folder))
    assert list(tmp_path.iterdir()) == []
    folder.mkdir()
    assert files.prepare_folder(str(folder)) == folder
    assert files.prepare_folder(str(tmp_path / "new")).is_dir()


# Some of the delivered files cannot be had: the others are saved, and listed.


BROKEN: dict[str, tuple[httpx.Response | Exception, int, str]] = {
    "cut": (httpx.RemoteProtocolError("peer closed connection"), 7, "storage.example: the connection failed"),
    "less than was said": (httpx.Response(200, content=b"ne"), 7, "file file_2 is not whole: 2 bytes came, not 3"),
    "more than was said": (httpx.Response(200, content=b"news"), 7, "file file_2 is not whole: 4 bytes came, not 3"),
    "slow": (httpx.ReadTimeout(""), 7, "the connection failed"),
    "unreachable": (httpx.ConnectError(""), 7, "the connection failed"),
    "refused by the storage": (httpx.Response(403, text="<html>"), 7, "HTTP 403 from storage.example: no file"),
    "refused by the API": (refusal(404, "not_found_error", "No such file."), 5, "No such file."),
}


class Storage(httpx.BaseTransport):
    """The API on our wire, and a storage host where the second file has something wrong."""

    def __init__(self, wire: Wire, wrong: httpx.Response | Exception) -> None:
        self.wire, self.wrong = wire, wrong
        self.asked: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.host != "storage.example":
            return self.wire.handle_request(request)
        assert "authorization" not in request.headers, "a host beside the API must never see our token"
        assert TOKEN not in str(request.headers)
        self.asked.append(request.url.path)
        if request.url.path != "/file_2":
            return httpx.Response(200, content=b"new")
        if isinstance(self.wrong, Exception):
            raise self.wrong
        return self.wrong


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize("ended", ["completed", "failed"])
def test_run_result_saves_the_files_beside_one_that_fails(qoder: Qoder, tmp_path: Path, how: str, ended: str) -> None:
    wrong, code, why = BROKEN[how]
    delivered = [delivers(f"{name}.txt", number) for number, name in enumerate("abc", 1)]
    run = {**DONE, "status": ended}
    message = says("Done.")
    qoder.wire.on(*RUN, run)
    qoder.wire.on(*EVENTS, page(*WORK, END), page(END, *reversed(delivered)), page(*WORK, END), page(END, message))
    for number in (1, 2, 3):
        link = {"url": f"https://storage.example/file_{number}"}
        is_refused = number == 2 and how == "refused by the API"
        qoder.wire.on("GET", f"/files/file_{number}/content", wrong if is_refused else link)
    storage = qoder.transport = Storage(qoder.wire, httpx.Response(500) if how == "refused by the API" else wrong)
    ran = qoder("run", "result", "drun_1", "--output-dir", str(tmp_path / "out"), "--json")
    assert ran.code == code, ran.err
    assert storage.asked == ["/file_1", *["/file_2"] * (how != "refused by the API"), "/file_3"]  # each once
    assert ran.json["files"] == [str(tmp_path / "out" / name) for name in ("a.txt", "c.txt")]
    assert (ran.json["result"], ran.error["run_id"]) == ("Done.", "drun_1")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.txt", "c.txt"]
    assert ran.error["message"].startswith("file 'b.txt' (file_2) was not saved: ")
    assert "warning: 'b.txt' (file_2) was not saved: " in ran.err  # as soon as it is clear
    assert why in ran.error["message"]
    for kind in (httpx.RemoteProtocolError, httpx.ReadTimeout, httpx.ConnectError, QoderError):
        assert kind.__name__ not in ran.err
