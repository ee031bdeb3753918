"""The words that were meant by one with a slip in it."""

from collections.abc import Iterable

_A_SLIP = 0.7


def nearest(typed: str, words: Iterable[str], *, most: int = 1, alike: float = _A_SLIP) -> list[str]:
    """Return the words most like what was typed, the best first; none where none is so alike that it was a slip.

    `alike` is how much it must be, from 0 to 1.
    """
    from difflib import get_close_matches

    words = list(words)
    if same := [word for word in words if sorted(word) == sorted(typed)]:
        return same[:most]  # letters that changed places, which count for little in a short word
    return get_close_matches(typed, words, n=most, cutoff=alike)
