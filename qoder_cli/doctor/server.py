"""Check the server: proxy, response, token, clock and generation."""

import os
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, AuthError, Exit, NoAnswer, UsageError
from qoder_cli.base.model import mapping
from qoder_cli.base.plainfile import reason_of
from qoder_cli.base.times import span
from qoder_cli.doctor import Finding, broken, failed, warning
from qoder_cli.settings.values import REGIONS, is_loopback

if TYPE_CHECKING:
    from qoder_cli.http.client import Client
    from qoder_cli.settings.config import Settings

WITHIN = 15.0  # seconds for one response; nothing is asked twice
CLOCKS_MAY_DIFFER = 60.0  # seconds
_CHECK_URL = "check the base URL above, and any proxy, gateway or login page in between"
_DATE_IS_ROUNDED = 1.5  # seconds; a Date header has no fractions


def proxy(settings: "Settings", env: Mapping[str, str]) -> Finding:
    """Return the proxy in effect, without its password."""
    from qoder_cli.http.proxy import goes_around, masked, named

    if is_loopback(settings.host):
        return Finding("proxy", "none (local server)")
    if (found := named(env)) is None:
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
    try:
        if name == "SSL_CERT_DIR":
            os.listdir(path)
        else:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except (OSError, ValueError) as error:
        said = f"{name} names {path}, which cannot be read: {reason_of(error)}"
        return failed("certificates", said, fix=f"correct {name}, or unset it")
    return Finding("certificates", f"from {path} ({name})")


def server(app: App, settings: "Settings") -> Iterator[Finding]:
    """Send two requests at most, and check the responses."""
    from qoder_cli.http.client import Client

    if settings.token is None:
        yield warning("server", "skipped: no token", fix="fix the token check above")
        return
    try:
        client = Client(
            settings, clock=app.clock, progress=app.progress, transport=app.transport, debug=app.flags.debug
        )
    except UsageError as error:
        yield broken("server", error)
        return
    with closing(client):
        yield from _answers(client, settings)


def _answers(client: "Client", settings: "Settings") -> Iterator[Finding]:
    began, is_well = client.clock.monotonic(), False

    def responded() -> str:
        return f"{settings.host} responded in {(client.clock.monotonic() - began) * 1000:.0f} ms"

    try:
        _page(client, "/deployments")
        yield Finding("server", responded())
        yield Finding("access", "the token is accepted")
        is_well = True
    except AuthError as error:
        yield Finding("server", responded())
        meaning, fix = "rejected", settings.advice
        if error.http_status != 401:
            meaning, fix = "accepted, but may not read deployments", f"use a token with this permission: {fix}"
        if settings.base_url in REGIONS.values():
            fix += "; tokens only work in their own region: try --region global or cn"
        yield failed("access", f"{meaning}: {error.message}", fix=fix, exit=Exit.AUTH)
    except ApiError as error:
        cure = _CHECK_URL
        if isinstance(error, NoAnswer) and (error.hint or not error.sent):
            cure = error.hint or "check the network, and the base URL above"
        elif error.http_status is not None and error.http_status >= 429:
            cure = "try again later: your setup is fine"
        yield failed("server", error.message, fix=cure, exit=Exit.UNAVAILABLE)
    if (ahead := client.server_ahead) is not None:
        yield _clock(ahead)
    if is_well:
        yield _generation(client)


def _page(client: "Client", path: str) -> list[Any]:
    within = client.settings.request_timeout or WITHIN
    data = mapping(client.get(path, {"limit": 1}, within=within, retry=False)).get("data")
    if not isinstance(data, list):
        raise NoAnswer(f"{client.settings.host} responded with JSON that is not the API's")
    return data


def _clock(ahead: float) -> Finding:
    off = f"this machine's is {span(abs(ahead))} {'behind' if ahead > 0 else 'ahead of'} the server's"
    if abs(ahead) > CLOCKS_MAY_DIFFER:
        return warning("clock", off, fix="set the clock (NTP); --since and ages are off by this much")
    return Finding("clock", "in sync" if abs(ahead) < _DATE_IS_ROUNDED else off)


def _generation(client: "Client") -> Finding:
    """Return the API version, by the newest run (api/facts.md, 1.3)."""
    try:
        runs = _page(client, "/deployment_runs")
    except ApiError as error:
        return warning("generation", f"unknown: {error.message}", fix="try again: qoder run list")
    if not runs:
        return Finding("generation", "unknown: there are no runs yet")
    if "status" in mapping(runs[0]):
        return Finding("generation", "legacy: runs have a status")
    return Finding("generation", "current: run status is read from sessions")
