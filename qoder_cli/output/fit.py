"""How text fits into the columns of a terminal, where a character may take two."""

import re

ELLIPSIS = "…"
_WORD = re.compile(r"\s*\S+|\s+$")


def columns(text: str) -> int:
    """Return how many columns a text takes."""
    from rich.cells import cell_len

    return cell_len(text)


def cut(text: str, width: int) -> str:
    """Return a text in exactly `width` columns: filled up with spaces, or cut at its end."""
    missing = width - columns(text)
    return text + " " * missing if missing >= 0 else _sized(text, width - 1) + ELLIPSIS


def cut_inside(text: str, width: int) -> str:
    """Return a text in exactly `width` columns: filled up with spaces, or without a piece of its middle."""
    if columns(text) <= width:
        return cut(text, width)
    head = _sized(text, width // 2)
    tail = _sized(text[::-1], width - width // 2 - len(ELLIPSIS))[::-1]
    return head + ELLIPSIS + tail


def wrapped(line: str, width: int) -> list[str]:
    """Return a line in pieces that fit the width, broken at spaces only: a longer word is left to the terminal."""
    pieces, room = [""], width
    for word in _WORD.findall(line):
        length = columns(word)
        if length > room and pieces[-1]:
            word = word.lstrip()
            pieces.append("")
            length, room = columns(word), width
        pieces[-1] += word
        room -= length
    return pieces


def _sized(text: str, width: int) -> str:
    from rich.cells import set_cell_size

    return set_cell_size(text, width)
