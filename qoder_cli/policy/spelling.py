"""What a call names, as it spells it: files in a container, addresses on the web, and texts.

A place is the parts of a whole path, without `.` and `..`.
"""

import re
import unicodedata
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote

from qoder_cli.output.visible import hides

LONGEST_PATH = 4_096
Place = tuple[str, ...]

_KEPT = 8  # texts that many rules look at, one rule after the other
_SIGNS = frozenset(" ._-+@%,=:~#()&[]$'/")
_PATTERN = re.compile(r"!?[A-Za-z0-9_.*?{][A-Za-z0-9_.*?{},/ +@-]*", re.ASCII)  # without `[`: it may hold a slash
_LEADS_OUT = re.compile(r"\.\.|\{[,}]|,[,}]|(?:^!|[{,])[/~-]")
# A tool may take away blanks at the ends, and decode a URL.
_TAKEN_OTHERWISE = re.compile("(?:^|/) | (?:/|$)|://|%2[ef]", re.IGNORECASE)
_WILD = frozenset("*?{}!")
_ELSEWHERE = frozenset(("cwd", "exe", "fd", "map_files", "root", "task"))  # in /proc, the way to other places

_CHARACTERS = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+", re.ASCII)  # RFC 3986
_URL = re.compile(r"https://(?P<host>[A-Za-z0-9.-]+)(?::443)?(?:(?P<path>/[^?#]*)(?:[?#].*)?)?", re.ASCII)
_HOST = re.compile(r"(?:\*\.)?[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*", re.ASCII)
_PATH_OF_URL = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@-]+)*/?", re.ASCII)
_UNCLEAR = re.compile(r"%(?:2[ef]|5c)", re.ASCII | re.IGNORECASE)


# Texts.


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


# Files.


def is_plain(path: str) -> bool:
    """Return whether every tool takes a path for the same: letters, digits and a few signs."""
    if not path or len(path) > LONGEST_PATH or path.startswith("~") or _TAKEN_OTHERWISE.search(path):
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
    if len(pattern) > LONGEST_PATH or not _PATTERN.fullmatch(pattern) or _LEADS_OUT.search(pattern):
        return None
    parts = pattern.split("/")
    wild = [number for number, part in enumerate(parts) if not _WILD.isdisjoint(part)]
    if any(piece.startswith(".") for number in wild for piece in re.split("[{,]", parts[number])):
        return None
    return "/".join(parts[: wild[0]] if wild else parts)


# Addresses.


class Site(NamedTuple):
    """A host, `*.` before it for its subdomains, too, and the parts of a path below which all is meant."""

    host: str
    path: tuple[str, ...] = ()

    @classmethod
    def of(cls, text: str) -> "Site":
        """Return the site that a rule names. Raises ValueError, in words for people."""
        if "://" in text:
            raise ValueError(
                f"must be a host without a scheme, such as {text.partition('://')[2] or 'docs.example.com'}"
            )
        host, slash, path = text.partition("/")
        if ":" in host or "@" in host:
            raise ValueError("must be a host alone, without a port or a name before it")
        if not _HOST.fullmatch(host.lower()) or not _PATH_OF_URL.fullmatch(slash + path):
            raise ValueError("must be a host such as docs.example.com, *.example.com or github.com/acme")
        parts = tuple(part for part in path.split("/") if part)
        if {".", ".."} & {*parts}:
            raise ValueError("must have no . or .. in its path")
        return cls(host.lower(), parts)

    @property
    def name(self) -> str:
        return self.host.removeprefix("*.")

    @property
    def has_subdomains(self) -> bool:
        return self.host.startswith("*.")

    @property
    def written(self) -> str:
        return "/".join((self.name, *self.path))

    def is_plainly_in(self, url: str, *, below: bool) -> bool:
        """Return whether all readers see this site in an address, or, with `below`, a host below it.

        Where one may see another, they do not.
        """
        match = _URL.fullmatch(url)
        if match is None or not _CHARACTERS.fullmatch(url):
            return False
        written, host = match["path"] or "/", match["host"].lower()
        path = tuple(written.split("/")[1:])
        dots = {".", ".."} & {part.partition(";")[0] for part in path}
        if _UNCLEAR.search(written) or "" in path[:-1] or dots:
            return False
        is_host = host == self.name or (below and host.endswith(f".{self.name}"))
        return is_host and path[: len(self.path)] == self.path
