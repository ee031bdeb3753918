"""Paths of files in a container, as a call spells them."""

import re
import unicodedata

from qoder_cli.policy.texts import folded, is_readable

LONGEST = 4_096
_NOT_PLAIN = frozenset("\\$`*?[]{}%<>|\"';&~")
_BELOW = re.compile(r"[A-Za-z0-9_.*?][A-Za-z0-9_.*?/-]*", re.ASCII)


def is_whole(path: object) -> bool:
    """Return whether a path is in the only spelling in which an allow takes it."""
    if not isinstance(path, str) or not path.startswith("/") or len(path) > LONGEST:
        return False
    is_straight = all(part.strip(" .") and part == part.strip(" ") for part in path[1:].split("/"))
    is_plain = unicodedata.normalize("NFKC", path) == path and not _NOT_PLAIN & set(path)
    return is_straight and is_plain and is_readable(path)


def normal(path: str) -> str:
    """Return a path without case, `.` and `..`."""
    parts: list[str] = []
    for part in folded(path).replace("\\", "/").split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def names_below(pattern: object) -> bool:
    """Return whether every reader of globs takes a pattern for files below where it begins. `.*` may stand for `..`."""
    if not isinstance(pattern, str) or len(pattern) > LONGEST or not _BELOW.fullmatch(pattern):
        return False
    return not any(".." in part or (part.startswith(".") and {*"*?"} & {*part}) for part in pattern.split("/"))
