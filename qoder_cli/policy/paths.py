"""Paths of files in a container, as a call spells them. A place is the parts of a whole path, without `.` and `..`."""

import re
import unicodedata

from qoder_cli.policy.texts import folded

LONGEST = 4_096
Place = tuple[str, ...]

_SIGNS = frozenset(" ._-+@%,=:~#()&[]$'/")
_PATTERN = re.compile(r"!?[A-Za-z0-9_.*?{][A-Za-z0-9_.*?{},/ +@-]*", re.ASCII)  # without `[`: it may hold a slash
_LEADS_OUT = re.compile(r"\.\.|\{[,}]|,[,}]|(?:^!|[{,])[/~-]")
# A tool may take away blanks at the ends, and decode a URL.
_TAKEN_OTHERWISE = re.compile("(?:^|/) | (?:/|$)|://|%2[ef]", re.IGNORECASE)
_WILD = frozenset("*?{}!")
_ELSEWHERE = frozenset(("cwd", "exe", "fd", "map_files", "root", "task"))  # in /proc, the way to other places


def is_plain(path: str) -> bool:
    """Return whether every tool takes a path for the same: letters, digits and a few signs."""
    if not path or len(path) > LONGEST or path.startswith("~") or _TAKEN_OTHERWISE.search(path):
        return False
    return unicodedata.normalize("NFKC", path) == path and all(one.isalnum() or one in _SIGNS for one in path)


def place(path: str, at: Place = ()) -> Place:
    """Return the place of a path that is whole, or begins at a place."""
    parts: list[str] = [] if path.startswith("/") else [*at]
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return tuple(parts)


def folded_place(path: str, at: Place = ()) -> Place:
    """Return the place of a path as it may be meant: without case, whatever separates its parts."""
    return place(folded(path).replace("\\", "/"), tuple(map(folded, at)))


def spelled(place: Place) -> str:
    """Return a place as a path."""
    return "/" + "/".join(place)


def is_inside(place: Place, folder: Place) -> bool:
    """Return whether a place is a folder or below it."""
    return place[: len(folder)] == folder


def may_be_anywhere(place: Place) -> bool:
    """Return whether a place is, or is behind, a link that the system makes: /proc/self/root is /."""
    if place[:1] == ("proc",):
        return not _ELSEWHERE.isdisjoint(place[2:])
    return place[:2] == ("dev", "fd")


def beginning(pattern: str) -> str | None:
    """Return the folders with which a pattern begins, before its first wildcard. None if it may lead out of its place.

    `.*` may stand for `..`, and `{x,}/etc` for /etc.
    """
    if len(pattern) > LONGEST or not _PATTERN.fullmatch(pattern) or _LEADS_OUT.search(pattern):
        return None
    literal: list[str] = []
    is_literal = True
    for part in pattern.split("/"):
        if not _WILD.isdisjoint(part):
            is_literal = False
            if any(piece.startswith(".") for piece in re.split("[{,]", part)):
                return None
        if is_literal:
            literal.append(part)
    return "/".join(literal)
