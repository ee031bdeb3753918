"""The name that was meant by one with a slip in it."""

from collections.abc import Iterable
from difflib import SequenceMatcher

_NEAR = 0.75
_NEAR_ENOUGH = 0.65  # of what begins with the same letter, which is rarely the wrong one


def nearest(typed: str, names: Iterable[str]) -> str | None:
    """Return the name that is most like what was typed; None when none is so alike that it was a slip."""
    rated = [(_likeness(typed.strip("-"), name.strip("-")), name) for name in names]
    likeness, name = max(rated, default=(0.0, ""))
    return name if likeness >= _NEAR else None


def _likeness(typed: str, name: str) -> float:
    """Return how alike two words are, from 0 to 1."""
    if sorted(typed) == sorted(name):
        return 1.0  # letters that changed places
    likeness = SequenceMatcher(None, typed, name).ratio()
    return max(likeness, _NEAR) if likeness >= _NEAR_ENOUGH and typed[:1] == name[:1] else likeness
