"""`-o csv` and `--sort`: what a spreadsheet and a script make of a list."""

import csv
import io
from typing import Any

import pytest

from tests.conftest import Qoder
from tests.support.wire import page

HEADER = "id,name,model,version,tools,skills,mcp,updated,archived"
DOWN = (503, {"type": "error", "error": {"type": "api_error", "message": "Overloaded."}})


def agent(number: int, name: str = "writer", **fields: Any) -> dict[str, Any]:
    return {"id": f"agent_{number}", "type": "agent", "name": name, "version": number, **fields}


def listed(qoder: Qoder, *words: str) -> list[list[str]]:
    ran = qoder("agent", "list", *words, "-o", "csv")
    assert ran.code == 0
    return list(csv.reader(io.StringIO(ran.out, newline=""), strict=True))


def test_csv_is_quoted_where_it_must_be_and_empty_where_nothing_is(qoder: Qoder) -> None:
    odd = 'a "b", c\nd'
    qoder.wire.on("GET", "/agents", page(agent(1, odd)))
    ran = qoder("agent", "list", "-o", "csv")
    assert ran.out == f'{HEADER}\nagent_1,"a ""b"", c\\nd",,1,none,,,,\n'
    qoder.wire.on("GET", "/agents", page(agent(1, odd)))
    assert listed(qoder, "--columns", "name,skills,id") == [["name", "skills", "id"], ['a "b", c\\nd', "", "agent_1"]]


@pytest.mark.parametrize("terminal", [True, False])
def test_csv_of_no_rows_has_its_header_and_is_the_same_on_a_terminal(qoder: Qoder, terminal: bool) -> None:
    qoder.terminal = terminal
    qoder.wire.on("GET", "/agents", page())
    assert qoder("agent", "list", "-o", "csv").out == f"{HEADER}\n"
    qoder.wire.on("GET", "/agents", page(agent(1), more=True), page(agent(2)))
    assert qoder("agent", "list", "--all", "-o", "csv").out.count("id,name") == 1


FORMULAS = ["=HYPERLINK(1)", "+1+cmd", "-2+3", "@sum", "\u2066=1", "＝1"]


@pytest.mark.parametrize("name", [*FORMULAS, "-12.5", "a=b", "1+1"])
def test_csv_holds_nothing_that_a_spreadsheet_would_run(qoder: Qoder, name: str) -> None:
    qoder.wire.on("GET", "/agents", page(agent(1, name)))
    [_, row] = listed(qoder, "--columns", "name")
    assert row[0][0] not in "=+@＝"
    assert row[0].removeprefix("'") == name.replace("\u2066", "\\u2066")
    assert row[0].startswith("'") == (name in FORMULAS and not name.startswith("\u2066"))


def test_csv_of_one_thing_is_a_header_and_a_row(qoder: Qoder) -> None:
    qoder.wire.on("GET", "/agents/agent_1", agent(1, "writer", tools=[]))
    header, row = csv.reader(io.StringIO(qoder("agent", "get", "agent_1", "-o", "csv").out))
    assert dict(zip(header, row, strict=True)) | {"id": "agent_1", "version": "1", "tools": "none"} == dict(
        zip(header, row, strict=True)
    )


ROWS = [agent(1, "b", version=10), agent(2, "A", version=9), agent(3, "c", version=None), agent(4, "a", version=9)]
ORDERS = {
    "version": "2 4 1 3",  # numbers by size; those that are alike as they came; what is absent comes last
    "version:desc": "1 2 4 3",
    "name": "2 4 1 3",
    "name:desc": "3 1 2 4",
    "Version": "2 4 1 3",
}


@pytest.mark.parametrize("format", ["csv", "jsonl", "table", "pretty"])
@pytest.mark.parametrize("column", ORDERS)
@pytest.mark.few(5)
def test_sort_orders_rows_alike_in_every_format(qoder: Qoder, column: str, format: str) -> None:
    qoder.wire.on("GET", "/agents", page(*ROWS[:2], more=True), page(*ROWS[2:]))
    ran = qoder("agent", "list", "--all", "--sort", column, "-o", format)
    order = [ran.out.index(f"agent_{number}") for number in ORDERS[column].split()]
    assert order == sorted(order)


def test_sort_by_a_time_is_not_by_its_text(qoder: Qoder) -> None:
    times = ["2027-01-01T12:00:00+09:00", "2027-01-01T02:00:00Z", "2027-01-01T04:00:00Z"]
    qoder.wire.on("GET", "/agents", page(*(agent(n, updated_at=at) for n, at in enumerate(times))))
    assert qoder("agent", "list", "--sort", "updated", "-q").out == "agent_1\nagent_0\nagent_2\n"


def test_sorted_list_that_cannot_be_read_whole_prints_nothing(qoder: Qoder) -> None:
    qoder.wire.on("GET", "/agents", page(agent(1), more=True), *[DOWN] * 5)
    ran = qoder("agent", "list", "--all", "--sort", "name", "--json")
    assert (ran.code, ran.out) == (7, "")
