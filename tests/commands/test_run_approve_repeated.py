"""`approve` and `pending` of a call whose JSON names a field twice: readers differ about which one counts."""

import httpx
import pytest

from tests.conftest import Qoder
from tests.support.asking import Server, call

MARK = '"command":"echo 1"'
# What stands in the place of the one field of the call's input, or of another part of the page.
TWICE = {
    "in the input": (MARK, '"command":"rm -rf /","command":"echo 1"'),
    "deep in the input": (MARK, '"command":"echo 1","more":[{"a":{"b":1,"b":2}}]'),
    "spelled otherwise": (MARK, '"\\u0063ommand":"rm -rf /","command":"echo 1"'),
    "the same value": (MARK, '"command":"echo 1","command":"echo 1"'),
    "the input": ('"input":', '"input":{"command":"rm -rf /"},"input":'),
    "the name": ('"name":"Bash"', '"name":"Danger","name":"Bash"'),
    "the type": ('"type":"agent.tool_use"', '"type":"agent.message","type":"agent.tool_use"'),
    "the id": ('"id":"evt_1"', '"id":"evt_9","id":"evt_1"'),
    "below 200 levels": (MARK, '"command":"echo 1","a":1,"a":' + "[" * 150 + "]" * 150),
}


class Doubled(Server):
    """Has something twice in what it sends."""

    swap = ("", "")

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        told = super().handle_request(request)
        if request.method == "GET" and request.url.path.endswith("/events"):
            return httpx.Response(told.status_code, text=told.text.replace(*self.swap), headers={"date": ""})
        return told


@pytest.fixture
def server(qoder: Qoder) -> Doubled:
    qoder.transport = made = Doubled(qoder.clock)
    made.session("sess_1", call(1))
    return made


@pytest.mark.parametrize("where", TWICE)
def test_run_approve_sends_nothing_for_a_call_that_names_a_field_twice(
    qoder: Qoder, server: Doubled, where: str
) -> None:
    server.swap = TWICE[where]
    for words in (("--all",), ("evt_1",)):
        ran = qoder("run", "approve", "drun_1", *words, "--yes")
        assert ran.code == 6
        assert "cannot be read" in ran.err
    assert server.posted == []
    [row] = qoder("run", "pending", "drun_1", "--json").json
    assert (row["call"], row["input"], row["input_sha256"], row["answer"]) == ("evt_1", None, None, {})
    assert qoder("run", "pending", "drun_1").out.split("\t")[4] == "unreadable"


def test_run_approve_takes_a_call_that_names_each_field_once(qoder: Qoder, server: Doubled) -> None:
    server.swap = (MARK, '"command":"echo 1","more":[{"command":1},{"command":2}]')
    assert qoder("run", "approve", "drun_1", "evt_1", "--yes").code == 0
    assert len(server.posted) == 1


def test_run_approve_reads_no_page_that_names_its_list_twice(qoder: Qoder, server: Doubled) -> None:
    server.swap = ('{"data":', '{"data":[],"data":')
    assert qoder("run", "approve", "drun_1", "evt_1", "--yes").code == 7
    assert server.posted == []
