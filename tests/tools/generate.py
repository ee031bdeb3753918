"""Rewrites what is made from the code and committed: a test and CI compare them."""

import os
from collections.abc import Sequence
from pathlib import Path

import qoder_cli
from qoder_cli.commands.help import SAFE_TO_REPEAT
from qoder_cli.help.documented import MEANING, THEN
from tests.support import completions
from tests.tools import pages

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = Path(qoder_cli.__file__).parent / "help" / "pages"


def exit_codes() -> str:
    rows = [(f"{code.value} {code.name.lower()}", meaning, THEN[code]) for code, meaning in MEANING.items()]
    return _table(("Code", "When", "What a script should do"), rows) + SAFE_TO_REPEAT


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    rule = "|---" * len(head) + "|\n"
    first, *others = (f"| {' | '.join(line)} |\n" for line in (head, *rows))
    return first + rule + "".join(others)


def with_exit_codes(text: str) -> str:
    """Return the page of exit codes with its table made anew."""
    return _with(text, "exit codes", exit_codes())


def with_first_run(text: str) -> str:
    """Return the README with what its first command prints, where there are terminals as POSIX has them."""
    if os.name != "posix":
        return text
    from tests.tools.first_run import first_run

    return _with(text, "first run", first_run())


def _with(text: str, name: str, made: str) -> str:
    """Return a text with the part between its markers replaced. Raises ValueError without them."""
    before, begin, rest = text.partition(f"<!-- {name}: begin")
    comment, newline, rest = rest.partition("\n")
    _, end, after = rest.partition(f"<!-- {name}: end -->")
    if not end:
        raise ValueError(f"no markers of {name}")
    return f"{before}{begin}{comment}{newline}{made}{end}{after}"


def write() -> None:
    for path, make in ((README, with_first_run), (PAGES / "exit-codes.md", with_exit_codes)):
        path.write_text(make(path.read_text("utf-8")), "utf-8", newline="\n")
    for name, script in completions.scripts().items():
        (completions.FOLDER / name).write_text(script, "utf-8", newline="\n")
    if os.name == "posix":
        pages.write()
