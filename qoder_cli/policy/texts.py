"""What a text says to who reads it, and in how many ways a tool may take it."""

import unicodedata
from functools import lru_cache

from qoder_cli.output.visible import hides, visible

_KEPT = 4  # texts that many rules look at, one rule after the other
_LAYOUT = str.maketrans("", "", "\n\t\r")


@lru_cache(_KEPT)
def is_readable(text: str, *, may_have_layout: bool = False) -> bool:
    """Return whether all of a text can be seen; line breaks and tabs only where they belong."""
    seen = text.translate(_LAYOUT) if may_have_layout else text
    return visible(seen) == seen


def folded(text: str) -> str:
    """Return a text without case, in plain letters: what compares equal if it may be taken for the same."""
    return unicodedata.normalize("NFKC", text).casefold()


def has_plain_case(letter: str) -> bool:
    """Return whether a search that ignores case finds a letter in each case: not ß (SS), nor ς, which is a σ."""
    lowest = letter.casefold()
    return len(lowest) == 1 and lowest in (letter, letter.lower(), letter.upper())


@lru_cache(_KEPT)
def forms(text: str) -> frozenset[str]:
    """Return a text in each way that a tool may take it: as it is, in plain letters, without what is not seen.

    They are for a search that ignores case; what has only another case is left out.
    """
    if text.isascii() and text.isprintable():
        return frozenset((text,))
    seen = "".join(one for one in text if not hides(one))
    plain = {unicodedata.normalize("NFKC", each) for each in (text, seen)}
    plain |= {each.replace("\u3002", ".") for each in plain}  # as in the name of a host
    longer = {each.casefold() for each in plain if len(each.casefold()) != len(each)}  # as that of ß is
    return frozenset((text, seen, *plain, *longer))
