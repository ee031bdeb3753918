"""`run result --output-dir` where some of the delivered files cannot be had: the others are saved, and listed."""

from pathlib import Path

import httpx
import pytest

from qoder_cli.base.errors import QoderError
from tests.conftest import Qoder
from tests.support.asking import refusal
from tests.support.one_run import DONE, EVENTS, RUN, WORK
from tests.support.result import END, delivers, says
from tests.support.wire import Wire, page

BROKEN: dict[str, tuple[httpx.Response | Exception, int, str]] = {
    "cut": (httpx.RemoteProtocolError("peer closed connection"), 7, "the connection was lost"),
    "slow": (httpx.ReadTimeout(""), 7, "it did not respond in time"),
    "unreachable": (httpx.ConnectError(""), 7, "it cannot be connected to"),
    "refused by the storage": (httpx.Response(403, text="<html>"), 7, "HTTP 403 from storage.example: no file"),
    "refused by the API": (refusal(404, "No such file.", "not_found_error"), 5, "No such file."),
}


class Storage(httpx.BaseTransport):
    """The API on our wire, and a storage host where the second file has something wrong."""

    def __init__(self, wire: Wire, wrong: httpx.Response | Exception) -> None:
        self.wire, self.wrong = wire, wrong

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.host != "storage.example":
            return self.wire.handle_request(request)
        if request.url.path != "/file_2":
            return httpx.Response(200, content=b"new")
        if isinstance(self.wrong, Exception):
            raise self.wrong
        return self.wrong


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize("ended", ["completed", "failed"])
def test_run_result_saves_and_lists_the_files_beside_one_that_fails(
    qoder: Qoder, tmp_path: Path, how: str, ended: str
) -> None:
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
    qoder.transport = Storage(qoder.wire, httpx.Response(500) if how == "refused by the API" else wrong)
    ran = qoder("run", "result", "drun_1", "--output-dir", str(tmp_path / "out"), "--json")
    assert ran.code == code, ran.err
    assert ran.json["files"] == [str(tmp_path / "out" / name) for name in ("a.txt", "c.txt")]
    assert (ran.json["result"], ran.error["run_id"]) == ("Done.", "drun_1")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.txt", "c.txt"]
    assert ran.error["message"].startswith("file 'b.txt' (file_2) was not saved: ")
    assert why in ran.error["message"]
    for kind in (httpx.RemoteProtocolError, httpx.ReadTimeout, httpx.ConnectError, QoderError):
        assert kind.__name__ not in ran.err
