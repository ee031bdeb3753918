"""Addresses on the web, as a call spells them."""

import re
from typing import NamedTuple

_CHARACTERS = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+", re.ASCII)  # RFC 3986
_PARTS = re.compile(r"https://(?P<host>[A-Za-z0-9.-]+)(?::443)?(?:(?P<path>/[^?#]*)(?:[?#].*)?)?", re.ASCII)
_HOST = re.compile(r"(?:\*\.)?[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*", re.ASCII)
_PATH = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@-]+)*/?", re.ASCII)
_UNCLEAR = re.compile(r"%(?:2[ef]|5c)", re.ASCII | re.IGNORECASE)


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
        if not _HOST.fullmatch(host.lower()) or not _PATH.fullmatch(slash + path):
            raise ValueError("must be a host such as docs.example.com, *.example.com or github.com/acme")
        parts = tuple(part for part in path.split("/") if part)
        if {".", ".."} & {*parts}:
            raise ValueError("must have no . or .. in its path")
        return cls(host.lower(), parts)

    @property
    def name(self) -> str:
        return self.host.removeprefix("*.")

    @property
    def written(self) -> str:
        return "/".join((self.name, *self.path))

    def allows(self, url: str) -> bool:
        """Return whether every reader takes an address for one of this site."""
        return self._has(url, below=self.host.startswith("*."))

    def denies(self, url: str) -> bool:
        """Return whether an address is plainly one of this site, or of a host below it."""
        return self._has(url, below=True)

    def _has(self, url: str, *, below: bool) -> bool:
        """Return whether all readers see this site in an address; where one may see another, they do not."""
        match = _PARTS.fullmatch(url)
        if match is None or not _CHARACTERS.fullmatch(url):
            return False
        written, host = match["path"] or "/", match["host"].lower()
        path = tuple(written.split("/")[1:])
        dots = {".", ".."} & {part.partition(";")[0] for part in path}
        if _UNCLEAR.search(written) or "" in path[:-1] or dots:
            return False
        is_host = host == self.name or (below and host.endswith(f".{self.name}"))
        return is_host and path[: len(self.path)] == self.path
