"""Texts for people: how many there are, the first few, the beginning of a long one."""

from collections.abc import Sequence


def counted(count: int, one: str, several: str | None = None) -> str:
    """Return `1 run` or `2 runs`: a count with its noun, or with what is said of `several` instead."""
    if count == 1:
        return f"1 {one}"
    return f"{count} {several or f'{one}s'}"


def few(names: Sequence[str], most: int = 10) -> str:
    """Return the first `most` names in a row, with `and more` if there are others."""
    row = ", ".join(names[:most])
    if len(names) > most:
        row += " and more"
    return row


def first_line(message: str) -> str | None:
    """Return the first line of a message; None if there is nothing in it."""
    return next(iter(message.strip().splitlines()), None)


def shortened(value: str, most: int) -> str:
    """Return at most so many characters of a text, with `…` if it was longer."""
    if len(value) <= most:
        return value
    return value[:most] + "…"
