"""Rewrites what is made from the code and committed: a test and CI compare them."""

import os
from collections.abc import Sequence
from pathlib import Path

import qoder_cli
from qoder_cli.base.errors import RANKING
from qoder_cli.help.documented import MEANING, THEN
from tests.support import completions
from tests.tools import pages, pictures

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = Path(qoder_cli.__file__).parent / "help" / "pages"


def exit_codes() -> str:
    rows = [(f"{code.value} {code.name.lower()}", meaning, THEN[code]) for code, meaning in MEANING.items()]
    of_several = (
        f"\nFor several runs the exit code is the first of these that applies: {', '.join(map(str, RANKING))}.\n"
    )
    return _table(("Code", "When", "What a script should do"), rows) + of_several


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    rule = "|---" * len(head) + "|\n"
    first, *others = (f"| {' | '.join(line)} |\n" for line in (head, *rows))
    return first + rule + "".join(others)


def with_exit_codes(text: str) -> str:
    """Return the page of exit codes with its table, between the markers, made anew."""
    before, begin, rest = text.partition("<!-- exit codes: begin")
    comment = rest.partition("\n")[0]
    _, end, after = rest.partition("<!-- exit codes: end -->")
    assert all((begin, end)), "no markers of the exit codes"
    return f"{before}{begin}{comment}\n{exit_codes()}{end}{after}"


def write() -> None:
    page = PAGES / "exit-codes.md"
    page.write_text(with_exit_codes(page.read_text("utf-8")), "utf-8", newline="\n")
    for name, script in completions.scripts().items():
        (completions.FOLDER / name).write_text(script, "utf-8", newline="\n")
    if os.name == "posix":
        pages.write()
        pictures.write()
