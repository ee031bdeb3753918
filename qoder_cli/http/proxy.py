"""The proxy on the way to a server. We choose it and pass it to httpx, so that our messages name the right one."""

import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

_SCHEME = r"(?i)[a-z][a-z0-9+.-]*://"


class Proxy(NamedTuple):
    """A proxy, and the variable that names it, as it is spelled there."""

    address: str
    source: str

    def __str__(self) -> str:
        return f"{masked(self.address)} (from {self.source})"

    @property
    def url(self) -> str:
        """Its address with a scheme, which may be left out in a variable."""
        if re.match(_SCHEME, self.address):
            return self.address
        return f"http://{self.address}"

    @property
    def fix(self) -> str:
        return f"correct {self.source}, or unset it"


def named(env: Mapping[str, str], scheme: str = "https") -> Proxy | None:
    """Return the proxy that the environment names for a scheme, or None. The API is https."""
    for wanted in ("HTTPS_PROXY" if scheme == "https" else "HTTP_PROXY", "ALL_PROXY"):
        name, address = _variable(env, wanted)
        if address:
            return Proxy(address, name)
    return None


def goes_around(host: str, env: Mapping[str, str]) -> bool:
    """Return whether NO_PROXY contains a host, a domain that it is in, or everything."""
    name = urlsplit(f"//{host}").hostname or ""
    entries = filter(None, map(str.strip, _variable(env, "NO_PROXY")[1].lower().split(",")))
    return any(entry in ("*", host, name) or name.endswith(f".{entry.removeprefix('.')}") for entry in entries)


def _variable(env: Mapping[str, str], name: str) -> tuple[str, str]:
    return next(((spelled, env[spelled]) for spelled in (name.lower(), name) if env.get(spelled)), (name, ""))


def masked(url: str) -> str:
    """Return a URL without user name and password."""
    _, at, host = url.rpartition("@")
    if not at:
        return url
    scheme = re.match(_SCHEME, url)
    return f"{scheme[0] if scheme else ''}****@{host}"
