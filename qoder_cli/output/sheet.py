"""A page of sections: plain text of 80 columns, or Markdown for a comment on GitHub."""

import shlex
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from qoder_cli.output.layout import columns, cut, wrapped
from qoder_cli.output.markdown import code, harmless
from qoder_cli.output.screen import Screen, inert

WIDTH = 80


class ForeignText(str):
    """A text that is not ours: of the server, or of who named something."""


class SheetLine(NamedTuple):
    """A line of a section: a label, the text in pieces, and the commands to type next."""

    label: str
    pieces: Sequence[str]
    commands: Sequence[list[str] | None] = ()


class Section(NamedTuple):
    """A part of a page, and the style of its title on a terminal."""

    title: str
    style: str
    lines: Sequence[SheetLine]


def as_text(head: Iterable[str], sections: Iterable[Section], screen: Screen) -> str:
    """Return a page as plain text, its `head` in paragraphs; a screen with colour has its titles in it."""
    parts: list[str] = []
    for paragraph in head:
        parts += [*([""] if parts else []), *_flowed(paragraph, "")]
    for title, style, lines in sections:
        parts += ["", screen.styled(title.upper(), style or "bold")]
        width = min(max(columns(inert(line.label)) for line in lines), 24)
        before = ""
        for line in lines:
            label = cut("" if line.label == before else inert(line.label), width)
            before = "" if line.commands else line.label
            parts += _flowed("".join(map(inert, line.pieces)), f"  {label}  ")
            parts += ["    " + inert(shlex.join(command)) for command in line.commands if command]
    return "\n".join(parts) + "\n"


def _flowed(text: str, first: str) -> Iterator[str]:
    """Yield a text in lines, the first behind something, the others below it."""
    indent = columns(first)
    for piece in wrapped(text, WIDTH - indent, breaks_words=True):
        yield (first + piece).rstrip()
        first = " " * indent


def as_markdown(head: Iterable[str], sections: Iterable[Section]) -> str:
    """Return a page as Markdown, in which nothing that others wrote is more than a text."""
    title, *paragraphs = head
    parts = [f"**{title}**"]
    for paragraph in paragraphs:
        parts += ["", paragraph]
    for section in sections:
        parts += ["", f"### {section.title}", ""]
        for line in section.lines:
            label = f"**{_harmless(line.label)}** " if line.label else ""
            parts.append(f"- {label}{''.join(map(_harmless, line.pieces))}")
            parts += [f"  {code(shlex.join(command))}" for command in line.commands if command]
    return "\n".join(parts) + "\n"


def _harmless(text: str) -> str:
    return harmless(text) if isinstance(text, ForeignText) else text
