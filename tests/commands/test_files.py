"""`run result --output-dir`: what delivered files are called, and that nothing is lost, followed or half there."""

import os
import stat
from pathlib import Path

import httpx
import pytest

from qoder_cli.nouns import files
from qoder_cli.nouns.files import LONGEST_NAME, safe_name
from tests.conftest import Qoder, Ran
from tests.support.one_run import DONE, EVENTS, RUN, WORK
from tests.support.result import END, delivers
from tests.support.wire import Wire, page

LINK = {"url": "https://storage.example/x"}
NAMES = {
    "CON": "_CON",
    "nul.txt": "_nul.txt",
    "COM1.tar.gz": "_COM1.tar.gz",
    "LPT³": "_LPT³",
    "aux .txt": "_aux .txt",
    "CONIN$": "_CONIN$",
    "COM10": "COM10",
    "console.log": "console.log",
    "trailing. . ": "trailing",
    "   ": "file",
    "...": "file",
    "a/b/": "file",
    "a\u202egpj.exe": "a_gpj.exe",
    "a\u200bb\x7f\u2028.txt": "a_b__.txt",
    'a<b>:"|?*.txt': "a_b______.txt",
    "日報.txt": "日報.txt",
}


class Storage(httpx.BaseTransport):
    """The API on our wire, and a storage host beside it that gives this."""

    def __init__(self, wire: Wire, content: bytes, **headers: str) -> None:
        self.wire, self.content, self.headers = wire, content, headers

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.host != "storage.example":
            return self.wire.handle_request(request)
        return httpx.Response(200, content=self.content, headers=self.headers)


def fetch(qoder: Qoder, folder: Path, *names: str, content: bytes = b"new") -> Ran:
    """Fetch files of these names into the folder."""
    delivered = [delivers(name, number) for number, name in enumerate(names, 1)]
    events = (page(*WORK, END), page(END, *reversed(delivered)), page(*WORK, END), page())
    qoder.wire.on(*RUN, DONE).on(*EVENTS, *events)
    for number in range(1, len(names) + 1):
        qoder.wire.on("GET", f"/files/file_{number}/content", LINK)
    qoder.transport = Storage(qoder.wire, content)
    return qoder("run", "result", "drun_1", "--output-dir", str(folder), "--json")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "out"
    made.mkdir()
    return made


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_one_that_every_system_takes_and_people_see(name: str) -> None:
    assert safe_name(name) == NAMES[name]


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
def test_a_long_name_is_cut_by_bytes_and_keeps_its_suffix(qoder: Qoder, folder: Path, name: str, ending: str) -> None:
    ran = fetch(qoder, folder, name, name)
    assert ran.code == 0, ran.err
    first, second = (Path(path).name for path in ran.json["files"])
    assert sorted(path.name for path in folder.iterdir()) == sorted([first, second])
    assert first.endswith(ending)
    assert "-2" in second
    assert LONGEST_NAME - 4 < len(first.encode()) <= LONGEST_NAME
    assert len(second.encode()) <= LONGEST_NAME


def test_a_link_that_leads_nowhere_is_kept_and_not_followed(qoder: Qoder, folder: Path) -> None:
    (folder / "a.txt").symlink_to(folder.parent / "elsewhere")
    ran = fetch(qoder, folder, "a.txt")
    assert ran.json["files"] == [str(folder / "a-2.txt")]
    assert (folder / "a.txt").is_symlink()
    assert not (folder.parent / "elsewhere").exists()


def test_a_name_that_another_one_takes_meanwhile_is_not_written_over(
    qoder: Qoder, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "a.txt").write_text("theirs")
    monkeypatch.setattr(os.path, "lexists", lambda path: False)  # it was not there when we looked
    ran = fetch(qoder, folder, "a.txt")
    assert ran.json["files"] == [str(folder / "a-2.txt")]
    assert (folder / "a.txt").read_text() == "theirs"


@pytest.mark.skipif(os.name != "posix", reason="only POSIX has a umask")
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_a_file_may_be_read_by_whom_the_umask_lets(qoder: Qoder, folder: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        fetch(qoder, folder, "a.txt")
    finally:
        os.umask(before)
    assert stat.S_IMODE((folder / "a.txt").stat().st_mode) == 0o666 & ~umask


def test_a_file_of_just_the_size_that_is_allowed_is_saved(
    qoder: Qoder, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LARGEST_FILE", 1000)
    assert fetch(qoder, folder, "a.txt", content=b"x" * 1000).code == 0
    assert (folder / "a.txt").stat().st_size == 1000


def test_a_file_that_is_too_large_leaves_nothing(qoder: Qoder, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LARGEST_FILE", 1000)
    ran = fetch(qoder, folder, "a.txt", content=b"x" * 1001)
    assert (ran.code, ran.error["message"]) == (
        7,
        "file 'a.txt' (file_1) was not saved: the file is larger than 1,000 bytes",
    )
    assert list(folder.iterdir()) == []


def test_a_folder_of_the_name_is_kept(qoder: Qoder, folder: Path) -> None:
    (folder / "a.txt").mkdir()
    assert fetch(qoder, folder, "a.txt").json["files"] == [str(folder / "a-2.txt")]


def test_a_disk_that_is_full_is_said_and_nothing_is_left(
    qoder: Qoder, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replace(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", replace)
    ran = fetch(qoder, folder, "a.txt")
    assert ran.code == 2
    assert ran.error["message"].endswith(f"file file_1 cannot be saved in {folder}: No space left on device")
    assert list(folder.iterdir()) == []


def test_an_empty_folder_name_is_not_this_folder(qoder: Qoder) -> None:
    ran = qoder("run", "result", "drun_1", "--output-dir", "")
    assert (ran.code, ran.errors) == (2, ["error: --output-dir is empty"])
