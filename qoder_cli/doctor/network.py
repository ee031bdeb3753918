"""What stands between here and the server: proxies, and the certificates that are trusted."""

import os
import re
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from qoder_cli.doctor.finding import Finding, failed

if TYPE_CHECKING:
    from qoder_cli.config import Settings

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_PROXIES = ("HTTPS_PROXY", "ALL_PROXY")  # the API is https; plain http is loopback, which is never proxied


def proxy(settings: "Settings", env: Mapping[str, str]) -> Finding:
    """Return which proxy is in effect, without a password in it."""
    if settings.is_loopback:
        return Finding("proxy", "none: the server is this machine")
    name, url = _proxy_in(env)
    if not url:
        return Finding("proxy", "none")
    around = _variable(env, "NO_PROXY")[1]
    if _goes_around(settings.host, around):
        return Finding("proxy", f"none for {settings.host}: NO_PROXY takes it out of {name} ({masked(url)})")
    return Finding("proxy", f"{masked(url)}, from {name}")


def _proxy_in(env: Mapping[str, str]) -> tuple[str, str]:
    for wanted in _PROXIES:
        name, url = _variable(env, wanted)
        if url:
            return name, url
    if sys.platform in ("win32", "darwin"):
        from urllib.request import getproxies

        return "the system's settings", getproxies().get("https", "")
    return "", ""


def _variable(env: Mapping[str, str], name: str) -> tuple[str, str]:
    """Return the name that is set, in small or capital letters, and its value."""
    return next(((each, env[each]) for each in (name.lower(), name) if env.get(each)), (name, ""))


def _goes_around(host: str, no_proxy: str) -> bool:
    """Return whether NO_PROXY has the host, a domain that it is in, or everything."""
    name = host.partition(":")[0]
    entries = [entry.strip() for entry in no_proxy.lower().split(",") if entry.strip()]
    return any(entry in ("*", name) or name.endswith(f".{entry.removeprefix('.')}") for entry in entries)


def masked(url: str) -> str:
    """Return a URL without user name and password."""
    _, at, host = url.rpartition("@")
    scheme = _SCHEME.match(url)
    return f"{scheme[0] if scheme else ''}****@{host}" if at else url


def certificates(env: Mapping[str, str]) -> Finding:
    """Return which certificates are trusted, and whether they can be read."""
    import ssl

    name = next((name for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if env.get(name)), None)
    if name is None:
        return Finding("certificates", "those that come with it (certifi)")
    path = env[name]
    fix = f"correct {name}, or unset it"
    if name == "SSL_CERT_DIR":
        if os.path.isdir(path):
            return Finding("certificates", f"those in {path}, from {name}")
        return failed("certificates", f"{name} names {path}, which is no folder", fix=fix)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(path)
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        return failed("certificates", f"{name} names {path}, which cannot be used: {reason}", fix=fix)
    return Finding("certificates", f"{len(context.get_ca_certs())} in {path}, from {name}")
