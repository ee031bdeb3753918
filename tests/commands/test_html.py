"""`-o html` of `report` and `usage`: the numbers of their JSON, in a page that does nothing and loads nothing."""

import hashlib
import re
from base64 import b64encode
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qoder_cli.commands.report.entries import Counted, Fire, Report
from qoder_cli.commands.report.page import ReportPage
from qoder_cli.commands.report.picture import as_html
from qoder_cli.history.nights import Night, ReportOptions
from qoder_cli.history.records import RunDetail, RunRecord, time_text
from qoder_cli.output.screen import inert
from qoder_cli.sandbox.world import World
from tests.conftest import Qoder, examples
from tests.support.one_night import HOUR, serve
from tests.support.webpage import Element, read

pytestmark = pytest.mark.usefixtures("utc")
NOW = 1_800_000_000.0
COUNTED = ("needs_you", "did_not_happen", "failed", "did_nothing", "paused", "cannot_tell")


def rows(page: Element) -> dict[str, tuple[Counter[str], str]]:
    """Return what the picture says of each deployment: how many marks of which kind, and its facts."""
    [table] = page.all("table", _class="night")
    told = {}
    for row in table.all("tbody")[0].all("tr"):
        [name], (drawn, facts) = row.all("th"), row.all("td")
        said = str(drawn.all("svg")[0].attributes["aria-label"]).replace("no runs", "")
        counts = (part.split(" ", 1) for part in said.split(", ") if part)
        told[name.text] = Counter({word: int(count) for count, word in counts}), facts.text
    return told


def cells(table: Element) -> list[list[str]]:
    rows = table.all("tbody")[0].all("tr")
    return [[cell.text.strip() for cell in (*row.all("th"), *row.all("td"))] for row in rows]


def number(facts: str, pattern: str) -> int:
    found = re.search(rf"(\d+){pattern}", facts)
    return int(found[1]) if found else 0


def test_report_as_html_has_the_numbers_of_its_json(qoder: Qoder, night: World) -> None:
    report = qoder("report", "--json").json
    ran = qoder("report", "-o", "html")
    assert (ran.code, ran.err) == (0, "")
    page = read(ran.out)
    titles = {link.attributes["href"]: int(link.all("b")[0].text) for link in page.all("a")}
    counts = {name: len(report[name]) for name in COUNTED} | {
        "failed": sum(each["failed"] for each in report["failed"])
    }
    assert titles == {f"#{name.replace('_', '-')}": count for name, count in counts.items() if count}
    assert {href for href in titles if href} <= {f"#{part.attributes['id']}" for part in page.all("section")}
    assert f"{report['deployments']} deployments, {report['runs']} runs" in page.all("h1")[0].text
    shown = rows(page)
    missed = Counter(each["deployment_name"] for each in report["did_not_happen"] if each["kind"] == "missed")
    assert set(shown) == {each["deployment_name"] for each in report["ran"]}
    for each in report["ran"]:
        marks, facts = shown[each["deployment_name"]]
        assert number(facts, " runs?") == each["runs"] == marks.total() - marks["missed"]
        assert number(facts, " failed") == each["failed"] == marks["failed"]
        assert marks["completed"] + marks["did nothing"] == each["completed"]
        assert marks["waits for you"] + marks["running"] == each["running"]
        assert marks["unknown"] == each["unknown"]
        assert marks["missed"] == missed[each["deployment_name"]]
        assert (each["credits"] is None) or f"{each['credits']} credits" in facts
    [table] = page.all("div", _class="scrolls")
    days = cells(table)
    credits = ["at least " * bool(day["running"]) + day["credits"] for day in report["days"]]
    assert days == [
        [day["day"], "", spent, str(day["runs"])] for day, spent in zip(report["days"], credits, strict=True)
    ]
    both = ([Decimal(each["credits"] or 0) for each in report[name]] for name in ("days", "ran"))
    assert len({sum(amounts) for amounts in both}) == 1
    assert sum(day["runs"] for day in report["days"]) == report["runs"]
    assert sum(day["running"] for day in report["days"]) == 1


def test_report_as_html_tells_all_lines_of_the_text_and_each_command(qoder: Qoder, night: World) -> None:
    text, page = qoder("report").out, read(qoder("report", "-o", "html").out)
    commands = [line.strip() for line in text.splitlines() if line.startswith("    qoder ")]
    assert [code.text for code in page.all("code")] == commands
    assert [each.text.upper() for each in page.all("h2") if each.text not in ("Runs", "Credits by day")] == [
        title for title in re.findall(r"^[A-Z ]+$", text, re.MULTILINE) if title != "RAN"
    ]


def test_report_as_html_needs_no_script_and_no_network(qoder: Qoder, night: World) -> None:
    text = qoder("report", "-o", "html").out
    page = read(text)
    [style] = page.all("style")
    [policy] = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
    digest = b64encode(hashlib.sha256(style.text.encode()).digest()).decode()
    assert policy.attributes["content"] == (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    names = {name for each in page.walk() for name in each.attributes}
    assert {name for name in names if name.startswith("on") or name in ("src", "style", "srcset", "data")} == set()
    links = [str(each.attributes["href"]) for each in page.walk() if "href" in each.attributes]
    assert {link[0] for link in links} == {"#"}
    assert re.findall(r"(?i)<script|url\(|@import|https?:", text) == []
    assert {"prefers-color-scheme: dark", "max-width: 720px"} <= set(re.findall(r"@media \((.*?)\)", style.text))


HOSTILE = [
    "<script>alert(1)</script>",
    "</title></svg></style></script><img src=x onerror=alert(1)>",
    "javascript:alert(1)",
    '" onload="alert(1)',
    "\u202eevil\u202c",
    "\u05e9\u05dc\u05d5\u05dd",
    "a\x00b\x1b[31m\x85",
    "&lt;b&gt; &amp;",
    "::error::x",
    "<!--",
    "]]>",
    "{{7*7}}",
]


def served(qoder: Qoder, name: str, message: str) -> Qoder:
    """Let there be one deployment with one failed run."""
    run: dict[str, Any] = {"id": "drun_1", "deployment_id": "dep_1", "created_at": "2027-01-15T07:00:00Z"}
    run |= {"status": "failed", "session_id": "sess_1", "completed_at": "2027-01-15T07:01:00Z"}
    session: dict[str, Any] = {"id": "sess_1", "status": "idle", "created_at": run["created_at"]}
    session |= {"deployment_id": "dep_1", "deployment_name": name, "usage": {"total_credits": 1.5}}
    serve(qoder, [run | {"error": {"type": message, "message": message}}], sessions={"data": [session]}, name=name)
    return qoder


def skeleton(page: Element) -> list[tuple[str, str | None, list[str]]]:
    return [(each.tag, each.attributes.get("class"), sorted(each.attributes)) for each in page.walk()]


@pytest.mark.parametrize("command", ["report", "usage"])
@examples(Fraction(1, 2))
@example(texts=[HOSTILE[0], HOSTILE[1]])
@example(texts=[HOSTILE[3], HOSTILE[6]])
@given(texts=st.lists(st.sampled_from(HOSTILE) | st.text(min_size=1, max_size=12), min_size=2, max_size=2))
def test_html_shows_what_others_wrote_as_text_alone(qoder: Qoder, command: str, texts: list[str]) -> None:
    name, message = texts
    harmless = read(served(qoder, "name", "message")(command, "-o", "html").out)
    text = served(qoder, name, message)(command, "-o", "html").out
    page = read(text)
    assert skeleton(page) == skeleton(harmless)
    assert inert(name) in [each.text for each in page.all("bdi")]
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)


# Size, and many runs in one place.


def crowded(count: int, every: float) -> tuple[Report, Night]:
    """Return a night of so many deployments, of which each runs and fails so often."""
    night = Night(ReportOptions([], "1d"), None, since=NOW - 86400, until=NOW, now=NOW)
    for n in range(count):
        for number in range(int(86400 / every)):
            at = night.since + n / 4 + number * every
            outcome: Any = ("completed", "failed", "skipped")[number % 3]
            detail = RunDetail("retries_exhausted_" * 4 if outcome == "failed" else None)
            night.runs.append(RunRecord("drun", f"dep_{n}", "sess", None, at, None, outcome, at + 300, 300_000, detail))
    since, until = time_text(night.since) or "", time_text(night.until) or ""
    fires = [Fire("missed", f"dep_{n}", f"name-{n}", ["x"] * 9, time_text(NOW - 60 * n)) for n in range(count)]
    return Report(since, until, None, count, len(night.runs), 0, 0, did_not_happen=[*fires]), night


def test_html_of_two_hundred_deployments_and_a_day_is_under_2_mb() -> None:
    report, night = crowded(200, 180.0)
    page = as_html(report, night, ReportPage(report))
    assert len(page.encode()) < 2_000_000
    shown = rows(read(page))
    assert len(shown) == 200
    assert sum(marks.total() - marks["missed"] for marks, _ in shown.values()) == len(night.runs)


def test_html_draws_the_worst_of_runs_in_one_place_and_counts_all(qoder: Qoder) -> None:
    report, night = crowded(1, 60.0)
    marks = read(as_html(report, night, ReportPage(report))).all("table", _class="night")[0].all("rect")
    assert len(marks) <= 288
    several = [mark for mark in marks if "completed" in mark.text and "failed" in mark.text]
    assert {mark.attributes["class"] for mark in several} == {"failed"}
    assert re.match(r"\S+ \S+ to \S+ \S+ \d failed \(retries_ex\w+…\), (\d skipped, )?\d completed", several[0].text)


def test_html_draws_an_hour_in_which_fewer_runs_came_than_were_due() -> None:
    report, night = crowded(1, 3600.0)
    since, until = (time_text(NOW - ago * HOUR) or "" for ago in (3, 2))
    few, right, many = (Counted("counted", "dep_0", None, None, since, until, due, 10, []) for due in (12, 10, 8))
    page = as_html(replace(report, did_not_happen=[few, right, many]), night, ReportPage(report))
    missed = [mark.text for mark in read(page).all("rect", _class="missed") if mark.text]
    assert missed == ["05:00 to 06:00 2 missed (of 12), 1 completed"]


@pytest.mark.parametrize("words", [(), ("--since", "5m"), ("--since", "2500d"), ("--until", "1h")])
def test_report_as_html_is_a_page_of_any_span(qoder: Qoder, night: World, words: tuple[str, ...]) -> None:
    ran = qoder("report", "-o", "html", *words)
    assert (ran.code, ran.out[:15], ran.out[-8:]) == (0, "<!DOCTYPE html>", "</html>\n")
    has_present = read(ran.out).all("line", _class="now") != []
    assert has_present == ("--until" not in words)
    places = [float(str(mark.attributes.get("x", 0)).rstrip("%")) for mark in read(ran.out).all("rect")]
    assert all(0 <= place <= 100 for place in places)
    assert 1 <= len(read(ran.out).all("g", id="grid")[0].all("line")) <= 12


# Usage.


@pytest.mark.parametrize("by", ["deployment", "day", "trigger"])
def test_usage_as_html_has_the_numbers_of_its_json(qoder: Qoder, night: World, by: str) -> None:
    lines = qoder("usage", "--by", by, "--json").json
    page = read(qoder("usage", "--by", by, "-o", "html").out)
    header = [each.text.strip().lower().replace(" ", "_") for each in page.all("thead")[0].all("th")]
    shown = [dict(zip(header, row, strict=True)) for row in cells(page)]
    assert len(shown) == len(lines)
    for row, line in zip(shown, lines, strict=True):
        assert row[by] == (line["name"] or line["key"] or "-")
        for name in ("runs", "failed", "completed", "sessions"):
            assert int(row[name]) == line[name]
        assert Decimal(row["credits"]) == Decimal(str(line["credits"]))
        assert row["dearest"] == (line["dearest"] or {"session_id": "-"})["session_id"]
    assert page.all("p")[0].text.startswith("At least ")


@pytest.mark.parametrize("format", ["html", "pretty"])
def test_usage_sorted_by_its_key_is_so_in_every_format(qoder: Qoder, night: World, format: str) -> None:
    names = [line["name"] for line in qoder("usage", "--sort", "key", "--json").json]
    assert names == sorted(names)
    text = qoder("usage", "--sort", "key", "-o", format).out.lower().partition("p95")[2]
    assert re.findall(rf"(?m)(?:^|<bdi>)({'|'.join(names)})\b", text) == names
