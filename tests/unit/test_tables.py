"""Tables as a terminal draws them: what is cut for room, and what never is. They are drawn, then measured."""

import io
import os
import re
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from qoder_cli.output.cells import Fields, Id, Milliseconds, Moment, Name, Status, Words
from qoder_cli.output.data import Output, Rows
from qoder_cli.output.layout import GAP, LEAST_NAME, Column, fit
from qoder_cli.output.screen import Screen
from qoder_cli.output.tables import cell, drawn, record, table_of
from tests.conftest import examples

NOW = 1_800_000_000.0
LETTERS = st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs", "Cc", "Cf"])
NAMES = st.one_of(
    st.text(LETTERS, max_size=60), st.sampled_from(["日次ステータスレポート" * 2, "🚀🚀 release-train", "nightly"])
)
# Small numbers come often: many of their digits are the same.
IDS = st.builds("{}_01a3{:028x}".format, st.sampled_from(["drun", "dep"]), st.integers(0, 16**28 - 1))
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "name": st.one_of(NAMES.map(Name), IDS.map(Id)),
    "status": st.sampled_from(["completed", "failed", "waits for you 13m"]).map(Status),
    "error": st.one_of(st.none(), st.text(LETTERS, max_size=90).map(Words)),
    "when": st.integers(0, 10**6).map(lambda ago: Moment(f"2027-01-0{1 + ago % 9}T00:00:00Z", NOW)),
    "took": st.one_of(st.none(), st.integers(0, 10**7).map(Milliseconds)),
    "id": IDS.map(Id),
}
TABLES = st.lists(st.fixed_dictionaries(VALUES), min_size=1, max_size=6)


@examples(3)
@given(rows=TABLES, width=st.integers(20, 250))
def test_table_cuts_names_and_hides_columns_only_where_there_is_no_room(rows: list[Fields], width: int) -> None:
    cells = [{name: cell(value) for name, value in row.items()} for row in rows]
    columns = {name: Column.of(name, [row[name] for row in cells]) for name in rows[0]}
    shown = fit([*columns.values()], width, key="id")
    text = drawn(Screen(None), table_of(shown, cells, has_header=True), 500)
    assert max(cell_len(line) for line in text.split("\n")) <= width, "it is as wide as the terminal"
    wanted = max([4, *(cell(row["name"]).text.cell_len for row in rows if isinstance(row["name"], Name))])
    for name in shown:
        if name.kind == "name" and name.width < min(wanted, LEAST_NAME):
            assert [other.name for other in shown if other.width > other.least and other is not name] == []
    hidden = [name for name in columns if name not in {column.name for column in shown}]
    assert [column.name for column in shown] == [name for name in columns if name not in hidden], "in their order"
    used = sum(column.width + GAP for column in shown)
    if hidden and hidden != ["id"]:
        first = columns[hidden[0]]
        assert used + first.least > width or all(column.width <= column.full for column in shown)
    assert used - GAP <= width


@examples(2)
@given(rows=TABLES, width=st.integers(20, 250))
def test_shortened_ids_can_be_told_apart_and_are_reported(rows: list[Fields], width: int) -> None:
    output, heard = Output(Screen(written := io.BytesIO(), is_terminal=True), "table"), list[str]()
    output.on_shortened = heard.extend
    fields = [{**row, "name": Name("nightly")} for row in rows]
    table = Rows[Fields](output, fields=dict, data=dict, first=tuple(VALUES))
    with patch.dict(os.environ, COLUMNS=str(width)), table:
        table.show(fields)
    cut = set(re.findall(r"(?m)((?:drun|dep)_[0-9a-f]*)… *$", written.getvalue().decode()))
    ids = {row["id"].text for row in rows}
    fitting = [[id for id in ids if id.startswith(head)] for head in cut]
    assert [each for each in fitting if len(each) != 1] == []
    assert {id for each in fitting for id in each} == set(heard)


def test_secret_is_hidden_also_where_a_table_or_a_record_would_cut_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    secret, written = "s3cret" * 12, io.BytesIO()
    screen = Screen(written, is_terminal=True)
    screen.keep_secrets([secret])
    output = Output(screen, "table")
    with Rows[Fields](output, fields=dict, data=dict, first=("name", "error")) as rows:
        rows.show([{"name": Name(f"a {secret}"), "error": Words(secret)}])
    output.record({"error": Words(secret), "text": secret})
    assert "s3cret" not in written.getvalue().decode().replace("\n", "")


def test_record_leaves_ids_whole_where_a_terminal_is_narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "24")
    id = "drun_01a3185c51727047b815c7c5d8169727"
    fields = [("id", Id(id)), ("error", "one two three four five six seven eight")]
    text = record(Screen(None), fields, is_wide=False)
    assert text == f"id     {id}\nerror  one two three four five six seven\n       eight\n"
