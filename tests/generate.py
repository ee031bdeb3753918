"""Rewrites what is made from the code: `python -m tests.generate`. A test and CI compare it with what is committed."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import typer

from qoder_cli.cli.main import command_tree
from qoder_cli.commands.help import SAFE_TO_REPEAT
from qoder_cli.help import NOUNS
from qoder_cli.help.man import pages
from qoder_cli.help.reference import everything
from tests import completions

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
MAN = completions.FOLDER / "man"

Reference = dict[str, Any]


def reference() -> Reference:
    """Return what `qoder help --json` prints."""
    return everything(typer.Context(command_tree("qoder"), info_name="qoder"))


def man_pages() -> dict[str, str]:
    """Return the man pages by the names of their files."""
    root = typer.Context(command_tree("qoder"), info_name="qoder")
    return {f"{name}.1": text for name, text in pages(root)}


def exit_codes(told: Reference) -> str:
    """Return the table of exit codes."""
    rows = [(f"{code['code']}", code["name"], code["meaning"], code["then"]) for code in told["exit_codes"]]
    return _table(("Code", "Name", "When", "A script then"), rows) + SAFE_TO_REPEAT


def commands(told: Reference) -> str:
    """Return the reference of the commands: tables, folded until a reader opens them."""
    groups: dict[str, list[Reference]] = {}
    for command in told["commands"]:
        noun = command["path"][0]
        groups.setdefault(noun if len(command["path"]) > 1 else "", []).append(command)
    alone = ", ".join(f"<code>{command['path'][0]}</code>" for command in groups[""])
    titles = {noun: f"<code>qoder {noun}</code> {NOUNS.get(noun, ('', ''))[0]}" for noun in groups} | {"": alone}
    folded = "".join(
        f"<details>\n<summary>{titles[noun]}</summary>\n\n{_commands(group)}\n</details>\n"
        for noun, group in sorted(groups.items(), key=lambda item: item[0] == "")
    )
    return f"{folded}\nWith every command: {', '.join(map(_option, told['everywhere']))}.\n"


def _commands(those: list[Reference]) -> str:
    rows = [(_usage(command), command["summary"], ", ".join(map(_option, command["options"]))) for command in those]
    return _table(("Command", "What it does", "Options"), rows)


def _usage(command: Reference) -> str:
    arguments = [each["name"] if each["required"] else f"[{each['name']}]" for each in command["arguments"]]
    return _code(" ".join([*command["path"], *arguments]))


def _option(option: Reference) -> str:
    return _code("/".join(option["names"]) + (f" {option['metavar']}" if option["metavar"] else ""))


def _code(text: str) -> str:
    return "`" + text.replace("|", "\\|") + "`"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    rule = "|---" * len(head) + "|\n"
    first, *others = (f"| {' | '.join(line)} |\n" for line in (head, *rows))
    return first + rule + "".join(others)


# The parts of the README that are made, by the words in their markers.
PARTS: dict[str, Callable[[Reference], str]] = {"exit codes": exit_codes, "commands": commands}


def readme(text: str) -> str:
    """Return the README with the parts between its markers made anew; one without markers is not made."""
    told = reference()
    for name, make in PARTS.items():
        text = _with(text, name, make(told))
    return text


def _with(text: str, name: str, made: str) -> str:
    before, begin, rest = text.partition(f"<!-- {name}: begin")
    comment, newline, rest = rest.partition("\n")
    _, end, after = rest.partition(f"<!-- {name}: end -->")
    return f"{before}{begin}{comment}{newline}{made}{end}{after}" if end else text


def with_first_run(text: str) -> str:
    """Return the README with what its first command prints, where there are terminals as POSIX has them."""
    if os.name != "posix":
        return text
    from tests.support.first_run import first_run

    return _with(text, "first run", first_run())


def main() -> None:
    """Write every generated file."""
    from tests.pages import write  # which reads the README

    README.write_text(with_first_run(readme(README.read_text("utf-8"))), "utf-8", newline="\n")
    completions.rewrite()
    for path in MAN.glob("*.1"):
        path.unlink()
    for name, text in man_pages().items():
        (MAN / name).write_text(text, "utf-8", newline="\n")
    if os.name == "posix":
        write()


if __name__ == "__main__":
    main()
