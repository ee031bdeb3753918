"""What stands between this machine and the server: proxies, and the certificates that are trusted."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from qoder_cli.doctor.finding import Finding, failed

if TYPE_CHECKING:
    from qoder_cli.settings.config import Settings


def proxy(settings: "Settings", env: Mapping[str, str]) -> Finding:
    """Return which proxy is in effect, without a password in it."""
    from qoder_cli.http.proxy import goes_around, masked, named

    if settings.is_loopback:
        return Finding("proxy", "none (local server)")
    found = named(env)
    if found is None:
        return Finding("proxy", "none")
    address = masked(found.address)
    if goes_around(settings.host, env):
        return Finding("proxy", f"none (NO_PROXY excludes {settings.host} from {found.source}, {address})")
    return Finding("proxy", f"{address}, from {found.source}")


def certificates(env: Mapping[str, str]) -> Finding:
    """Return which certificates are trusted, and whether they can be read."""
    import ssl

    name = next((name for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if env.get(name)), None)
    if name is None:
        return Finding("certificates", "bundled certificates (certifi)")
    path = env[name]
    fix = f"correct {name}, or unset it"
    if name == "SSL_CERT_DIR":
        if os.path.isdir(path):
            return Finding("certificates", f"from {path} ({name})")
        return failed("certificates", f"{name} names {path}, which is not a folder", fix=fix)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(path)
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        return failed("certificates", f"{name} names {path}, which cannot be read: {reason}", fix=fix)
    return Finding("certificates", f"{len(context.get_ca_certs())} in {path}, from {name}")
