"""What a text says to who reads it, and in how many ways a tool may take it."""

import unicodedata

from qoder_cli.output.visible import hides, visible

_LAYOUT = str.maketrans("", "", "\n\t\r")


def is_readable(text: str, *, may_have_layout: bool = False) -> bool:
    """Return whether all of a text can be seen; line breaks and tabs only where they belong."""
    seen = text.translate(_LAYOUT) if may_have_layout else text
    return visible(seen) == seen


def folded(text: str) -> str:
    """Return a text without case, in plain letters: what compares equal if it may be taken for the same."""
    return unicodedata.normalize("NFKC", text).casefold()


def forms(text: str) -> set[str]:
    """Return a text in each way that a tool may take it: as it is, in plain letters, without what is not seen."""
    seen = "".join(one for one in text if not hides(one))
    return {form for each in (text, seen) for form in (each, unicodedata.normalize("NFKC", each), folded(each))}
