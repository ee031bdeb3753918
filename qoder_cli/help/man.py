"""Man pages in roff, from `--help`; the program's has what holds for all."""

import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from qoder_cli import __version__
from qoder_cli.help.documented import MEANING, VARIABLES
from qoder_cli.help.reference import context_of

_MANUAL = "Qoder Cloud Agents"
_SECTIONS = (
    "Arguments",
    "Commands",
    "Options",
    "Global options",
    "Exit status",
    "Environment",
)  # others are of options


def pages(context: Any) -> Iterator[tuple[str, str]]:
    """Yield names and texts of the pages of a command and all below it."""
    command = context.command
    yield context.command_path.replace(" ", "-"), page(context)
    for word in command.list_commands(context) if hasattr(command, "list_commands") else ():
        yield from pages(context_of(context, [word]))


def page(context: Any) -> str:
    """Return the page of a command, a noun or the program."""
    path, command = context.command_path, context.command
    summary, _, rest = (command.help or "").partition("\n")
    described, _, examples = rest.partition("Examples:\n")
    examples, _, more = examples.partition("\n\n")
    usage = " ".join(context.get_usage().removeprefix(f"Usage: {path}").split())
    lines = [
        f'.TH "{path.upper().replace(" ", "-")}" 1 "" "qoder {__version__}" "{_MANUAL}"',
        *(".SH NAME", f"{_inert(path.replace(' ', '-'))} \\- {_inert(summary.rstrip('.'))}"),
        *(".SH SYNOPSIS", f".B {_inert(path)}", _inert(usage)),
    ]
    if (described + more).strip():
        lines.append(".SH DESCRIPTION")
        for paragraph in filter(None, f"{described}\n\n{more}".strip("\n").split("\n\n")):
            lines.append(".PP")
            for is_indented, group in groupby(paragraph.splitlines(), key=lambda line: line.startswith(" ")):
                texts = list(group)
                lines += _verbatim(texts) if is_indented else [_inert(" ".join(texts))]
    sections = list(command.sections(context, whole=True))
    if not context.parent:
        options = [row for param in command.params if (row := param.get_help_record(context))]
        codes = [(f"{code.value}", f"{code.name.lower()}: {meaning}") for code, meaning in MEANING.items()]
        variables = [(", ".join(variable.names), variable.meaning) for variable in VARIABLES]
        sections += [("Global options", options), ("Exit status", codes), ("Environment", variables)]
    for title, rows in sections:
        if rows:
            lines.append(f".SS {title}" if title not in _SECTIONS else f".SH {title.upper()}")
        lines += [line for name, text in rows for line in (".TP", f"\\fB{_inert(name)}\\fP", _inert(text))]
    if examples:
        lines += [".SH EXAMPLES", *_verbatim(examples.splitlines())]
    if context.parent:
        lines += [".SH SEE ALSO", f".BR {path.split()[0]} (1)"]
    else:
        lines += [".SH SEE ALSO", ".BR qoder\\-COMMAND (1), for example", ".BR qoder\\-deploy\\-run (1)"]
    return "\n".join(lines) + "\n"


def _verbatim(lines: Iterable[str]) -> list[str]:
    return [".nf", *map(_inert, lines), ".fi"]


def _inert(text: str) -> str:
    """Return text without roff requests, with hyphens that can be pasted."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    text = re.sub("`([^`]*)`", r"\\fB\1\\fP", text)
    text = re.sub(r"[^\x00-\x7f]", lambda match: f"\\[u{ord(match[0]):04X}]", text)
    if text.startswith((".", "'")):
        return f"\\&{text}"
    return text
