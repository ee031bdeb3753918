"""What is written about the program is made from it, or checked against it."""

import os
import re
from pathlib import Path

import pytest

import qoder_cli
from qoder_cli.help.documented import PAGES as NAMES
from qoder_cli.help.documented import TOPICS
from qoder_cli.local.store import NAME
from qoder_cli.nouns.table import all_operations, in_folders
from qoder_cli.runs.lost import ADOPT_WITHIN, RUN_LIST_LOOKS, THOROUGH_LOOKS
from qoder_cli.runs.trigger import TRIGGER_RESENDS
from tests.conftest import Qoder
from tests.support.cells import MORE
from tests.support.crowd import Town
from tests.support.wire import FakeClock
from tests.tools.generate import PAGES, README, ROOT
from tests.tools.pages import FILES, FOLDER

HOUSE = Path(qoder_cli.__file__).parent
WRITTEN = {path.relative_to(ROOT).as_posix(): path for path in [*ROOT.glob("*.md"), *ROOT.glob("*/*.md")]}
WRITTEN |= {f"qoder_cli/help/pages/{path.name}": path for path in PAGES.glob("*.md")}
MOST_BYTES = 10_240  # of the README: a front that invites


def test_readme_stays_short_and_links_every_page() -> None:
    text = README.read_text("utf-8")
    assert len(text.encode()) <= MOST_BYTES
    assert set(re.findall(r"\(qoder_cli/help/pages/([\w-]+)\.md\)", text)) == {*NAMES, "exit-codes"}
    assert {path.stem for path in PAGES.glob("*.md")} == {*NAMES, "exit-codes"}


def test_readme_tells_how_many_operations_there_are() -> None:
    assert f"Each of the {len(all_operations())} operations " in README.read_text("utf-8")


@pytest.mark.parametrize("name", WRITTEN)
def test_pages_have_links_that_lead_somewhere(name: str) -> None:
    text = WRITTEN[name].read_text("utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if not path.startswith("https:"):
            found = (WRITTEN[name].parent / path).resolve() if path else WRITTEN[name]
            assert found.exists(), target
            assert not anchor or anchor in anchors(found), target


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_pages_have_what_the_code_cites_of_the_api() -> None:
    cited = {
        anchor
        for path in (*HOUSE.rglob("*.py"), *(ROOT / "tests").rglob("*.py"))
        for anchor in re.findall(r"api\.md#([\w-]+)", path.read_text("utf-8"))
    }
    assert cited - anchors(HOUSE / "api.md") == set()


def test_pages_name_only_help_topics_that_exist(qoder: Qoder) -> None:
    text = "".join(path.read_text("utf-8") for path in WRITTEN.values())
    named = set(re.findall(r"`qoder help ([a-z][a-z-]*)", text))
    known = {*TOPICS, *NAMES, *(each["path"][0] for each in qoder("help", "--json").json["commands"])}
    assert named - known == set()


def test_page_of_stacks_names_every_kind_and_its_folder() -> None:
    text = (PAGES / "stack.md").read_text("utf-8")
    named = {words for folder, noun in in_folders().items() for words in (f"`{noun.type}`", f"\n{folder}/")}
    assert {words for words in named if words not in text} == set()


def test_map_of_the_house_has_every_room() -> None:
    text = (HOUSE / "README.md").read_text("utf-8")
    rooms = [f"{path.name}/" for path in HOUSE.iterdir() if (path / "__init__.py").is_file()]
    rooms += [path.name for path in HOUSE.glob("*.py") if path.name not in ("__init__.py", "_version.py")]
    assert [room for room in rooms if f"`{room}`" not in text] == []


def test_guarantees_tell_the_numbers_that_decide_about_a_lost_start() -> None:
    pages = (PAGES / "guarantees.md", PAGES / "many-machines.md")
    text = " ".join(word for page in pages for word in page.read_text("utf-8").split())
    short, thorough = (f"{looks[-1]:.0f} seconds" for looks in (RUN_LIST_LOOKS, THOROUGH_LOOKS))
    words = {120.0: "two minutes", 2: "twice"}
    assert {ADOPT_WITHIN, TRIGGER_RESENDS} <= words.keys(), "put the new number in words, here and in both pages"
    within, resends = words[ADOPT_WITHIN], words[TRIGGER_RESENDS]
    promised = [
        f"it resends at most {resends}, each time only after the deployment's run list has shown for {thorough} that",
        f"carries out a request more than {thorough} after it refused it",
        f"`qoder` checks the run list for {short}:",
        f"created by the server's clock within {within} after the attempt",
        f"looks at the run list for {thorough}, and",
        f"manually within {within}, and",
        f"processed more than {short} late",
        f"manually within the same {within} may be adopted",
    ]
    assert [sentence for sentence in promised if sentence not in text] == []


def test_pages_tell_what_an_uninstall_leaves(tmp_path: Path) -> None:
    text = (PAGES / "guarantees.md").read_text("utf-8")
    town = Town("current", tmp_path, FakeClock())
    assert town("deploy", "run", "dep_demo", "--wait", "--idempotency-key", "k").code == 0
    assert town("deploy", "list").code == 0
    files = {file.name for file in tmp_path.iterdir()}
    assert files == {NAME, "keys.lock"}
    assert [name for name in files if f"`{name}`" not in text] == []


# What people are shown, kept as text, for a reviewer to read and to see what a change does to it.

POSIX = pytest.mark.skipif(os.name != "posix", reason="needs time.tzset, which Windows lacks")
# What tells the right value in the error itself, and has no hint.
NO_HINT = ("--schedule", "nightly.yaml")


@POSIX
# `.ci/run` writes all of them anew.
@pytest.mark.parametrize(
    "name", ["help.txt", *(pytest.param(each, marks=MORE) for each in FILES if each != "help.txt")]
)
def test_shown_pages_are_up_to_date(name: str) -> None:
    assert FILES[name]() == (FOLDER / name).read_text("utf-8"), "run: python -m tests.tools pages"


def test_shown_mistakes_are_one_error_and_what_to_do() -> None:
    page = (FOLDER / "mistakes.txt").read_text("utf-8")
    mistakes = re.findall(r"(?ms)^\$ (.*?)\n(.*?^\[exit [24567]\]\n)", page)
    assert len({line for line, _ in mistakes}) == page.count("\n$ ") == 60
    for line, output in mistakes:
        assert len(re.findall(r"(?m)^error: |^\{\"error\"", output)) == 1, line
        assert re.search(r"(?m)^hint: |\"hint\":\"", output) or any(word in line for word in NO_HINT), line
        assert not re.search(r"\bpt-\w", output), "a token is never repeated"
