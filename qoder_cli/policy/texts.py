"""In how many ways a text may be taken."""

import unicodedata
from functools import lru_cache
from urllib.parse import unquote

from qoder_cli.output.visible import hides

_KEPT = 8  # texts that many rules look at, one rule after the other


def folded(text: str) -> str:
    """Return a text without case, in plain letters: what compares equal if it may be taken for the same."""
    return unicodedata.normalize("NFKC", text).casefold()


@lru_cache(_KEPT)
def folded_forms(text: str) -> frozenset[str]:
    """Return a text in each way that it may be taken, folded: as it is, without what is not seen, percent-decoded."""
    if text.isascii() and text.isprintable() and "%" not in text:
        return frozenset((text.lower(),))
    seen = "".join(one for one in text if not hides(one) and one.isprintable())
    forms = {form for one in (text, seen) for form in (one, unquote(one), unquote(unquote(one)))}
    # The stop of an ideographic text separates the parts of a host's name, too.
    return frozenset(folded(form).replace("\u3002", ".") for form in forms)
