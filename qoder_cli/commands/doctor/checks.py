"""The checks: program, config file, what wins, local state, server. They write nothing and show no secret."""

import os
import platform
import shlex
import shutil
import stat
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qoder_cli import __version__
from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, AuthError, Exit, NoResponse, UsageError
from qoder_cli.base.model import mapping
from qoder_cli.base.plainfile import reason_of
from qoder_cli.base.times import span
from qoder_cli.commands.doctor.finding import Finding, broken, failed, warning
from qoder_cli.http.answers import SEE_DOCTOR
from qoder_cli.local.store import Store, check_seal, state_folder
from qoder_cli.settings.config import (
    PROFILE_VARIABLE,
    SERVER_VARIABLES,
    TOKEN_VARIABLES,
    WORKSPACE_VARIABLE,
    Settings,
    resolve,
)
from qoder_cli.settings.configfile import ANYONE_ELSE, ConfigFile, load, locate
from qoder_cli.settings.values import REGIONS, is_loopback, mask

if TYPE_CHECKING:
    from qoder_cli.http.client import Client

WITHIN = 15.0  # seconds for one response; nothing is asked twice
CLOCKS_MAY_DIFFER = 60.0  # seconds
_CHECK_URL = "check the base URL above, and any proxy, gateway or login page in between"
_DATE_IS_ROUNDED = 1.5  # seconds; a Date header has no fractions
_LARGEST_LAUNCHER = 2**20  # bytes; pip's are smaller
_WITHOUT = "`last` and --idempotency-key cannot see earlier runs"
_ELSEWHERE = "fix its owner or permissions, or set QODER_STATE_DIR to a folder that you can write"


def settings(app: App) -> tuple[Settings | None, list[Finding]]:
    """Return the settings, None if invalid, and findings on them and their file."""
    resolved, refused = None, []
    try:
        resolved = resolve(app.flags, app.env)
    except UsageError as error:
        refused = [broken("settings", error)]
    file, findings = ConfigFile(Path()), list[Finding]()
    try:
        path = locate(app.env)
        file = load(path)
    except UsageError as error:
        of_file = broken("config", error)
        if resolved is None:  # the file is needed, and may be all that is wrong
            return None, [of_file, *(finding for finding in refused if finding.found != of_file.found)]
        findings = [warning("config", f"{of_file.found}; ignored", fix=of_file.fix or "")]
    else:
        what = f"{path} does not exist (not needed)"
        if path.exists():
            what = f"{path}: {', '.join(file.profiles) or 'no profiles'}"
        findings = [Finding("config", what)]
    for message in file.warnings:
        what, _, command = message.partition("; run: ")
        findings.append(warning("config", what, fix=command or f"correct or remove them in {file.path}"))
    return resolved, [*findings, *refused, *(_of(resolved, file, app) if resolved else ())]


def _of(resolved: Settings, file: ConfigFile, app: App) -> Iterator[Finding]:
    flags, env = app.flags, app.env

    def places(variables: tuple[str, ...], *keys: str, options: tuple[str, ...] = ()) -> list[str]:
        """Return where a setting is given, in order of precedence."""
        given = [f"--{name.replace('_', '-')}" for name in options if getattr(flags, name) is not None]
        given += [name for name in variables if env.get(name)]
        return given + [file.key(resolved.profile, key) for key in keys if key in file.profile(resolved.profile)]

    for message in resolved.warnings:
        if message not in file.warnings:
            yield warning("settings", message, fix="unset the one you don't want, or drop the option")
    profiles = places((PROFILE_VARIABLE,), options=("profile",))
    source = f", {_whence(profiles[0], profiles)}" if env.get(PROFILE_VARIABLE) else ""
    yield Finding("profile", resolved.profile + source)
    if resolved.account is not None:
        yield Finding("token", f"of the service account of {resolved.account.source}, from {resolved.account.url}")
    elif resolved.token is None or resolved.token_source is None:
        yield failed("token", f"no token for {resolved.host}", fix=resolved.advice, exit=Exit.AUTH)
    else:
        whence = _whence(resolved.token_source, places(TOKEN_VARIABLES, "token"))
        yield Finding("token", f"{mask(resolved.token)}, {whence}")
    servers = places(SERVER_VARIABLES, "base_url", "region", options=("base_url", "region"))
    yield Finding("base_url", f"{resolved.base_url}, {_whence(resolved.base_url_source, servers)}")
    if resolved.workspace_id is not None:
        given = places((WORKSPACE_VARIABLE,), "workspace_id", options=("workspace",))
        counting = [variable for variable in given if variable != WORKSPACE_VARIABLE or flags.profile is None]
        yield Finding("workspace", f"{resolved.workspace_id}, {_whence((counting or given)[0], given)}")
    if resolved.allowed.level != "all":
        yield Finding("allowed", f"{resolved.allowed.level}, {resolved.allowed.source}")
    if resolved.sandbox:
        yield Finding("inside_sandbox", "QODER_SANDBOX is set: nothing real can be reached")


def _whence(winner: str, places: list[str]) -> str:
    others = [place for place in places if place != winner]
    source = "default" if winner == "default" else f"from {winner}"
    return f"{source} (overrides {' and '.join(others)})" if others else source


def shared_keys(app: App, settings: Settings, *, probe: bool) -> Iterator[Finding]:
    """Check the store of keys that machines share; with `probe`, that it refuses what it must refuse, agents too."""
    from qoder_cli.keys.opening import is_memory_store, shared_store
    from qoder_cli.keys.record import name_of
    from qoder_cli.keys.selftest import check, warning_of_writers

    try:
        keys = shared_store(app)
        if probe:
            check(keys)
            yield Finding("keys", f"{keys.shown}, shared by machines; it refuses what it must")
            if is_memory_store(keys.shown) and (message := warning_of_writers(app.client, keys.shown)):
                fix = "attach it to none of them; who can write to it can free keys"
                yield warning("keys_writers", message, fix=fix)
            return
        keys.read(name_of(settings.host, settings.workspace_id, ""))
    except (UsageError, ApiError) as error:
        yield broken("keys", error)
        return
    yield Finding("keys", f"{keys.shown}, shared by machines (to test it: qoder doctor --probe)")


def memory(app: App, settings: Settings | None) -> Iterator[Finding]:
    """Check the state folder and its store: access, and starts never confirmed."""
    try:
        path = state_folder(app.env)
    except RuntimeError:
        yield warning("state", f"it has no place: HOME is not set; {_WITHOUT}", fix="set HOME or QODER_STATE_DIR")
        return
    try:
        check_seal(app.env)
    except UsageError as error:
        yield broken("state", error)
        return
    nearest = next(parent for parent in (path, *path.parents) if os.path.lexists(parent))
    mode = stat.S_IMODE(os.lstat(nearest).st_mode)
    if not os.path.isdir(nearest) or not os.access(nearest, os.R_OK | os.W_OK | os.X_OK):
        yield warning("state", f"{nearest} is not a folder that you can read and write; {_WITHOUT}", fix=_ELSEWHERE)
    elif nearest != path:
        yield Finding("state", f"{path} will be created when needed")
    elif sys.platform != "win32" and mode & ANYONE_ELSE:
        fix = f"chmod 700 {shlex.quote(str(path))}"
        yield warning("state", f"others can read or write {path} ({mode:04o})", fix=fix)
    else:
        yield Finding("state", str(path))
    with closing(Store(app.env, warn=(complaints := list[str]()).append, looking=True)) as store:
        yield _of_store(store, complaints, app.clock.now(), settings)


def _of_store(store: Store, complaints: list[str], now: float, settings: Settings | None) -> Finding:
    path, entries = store.path, store.entries(settings.host) if settings else []
    if complaints:
        quoted = shlex.quote(str(path))
        fix = f"move it away while no command runs: mv {quoted} {quoted}.old"
        if "newer version" in complaints[0]:
            fix = "use the newer version"
        return warning("store", complaints[0], fix=fix)
    if os.path.lexists(path) and not os.access(path, os.R_OK | os.W_OK):
        return warning("store", f"{path} cannot be written; {_WITHOUT}", fix=_ELSEWHERE)
    if settings is None:
        return Finding("store", str(path))
    started = len({entry.run for entry in entries if entry.run})
    summary = f"{started} {'run' if started == 1 else 'runs'} started on {settings.host} from this machine"
    if unconfirmed := [entry.attempt for entry in entries if entry.open]:
        latest = unconfirmed[-1]
        ago = span(now - latest.at)
        summary += f", {len(unconfirmed)} not confirmed (latest: {latest.deployment}, {ago} ago)"
    last = store.last(profile=settings.profile, host=settings.host)
    if last and last.open:
        return warning("store", summary, fix="qoder run wait last")
    return Finding("store", summary)


def version() -> Iterator[Finding]:
    """Yield which program this is, and its Python."""
    yield Finding("version", f"qoder {__version__} in {Path(__file__).parents[2]}")
    yield Finding("python", f"{platform.python_version()} ({sys.executable}), {platform.system() or sys.platform}")


def on_path(env: Mapping[str, str]) -> Finding:
    """Find the `qoder` that a shell runs: the Qoder IDE's launcher has that name."""
    first, scripts = shutil.which("qoder", path=env.get("PATH", "")), sysconfig.get_path("scripts")
    instead = f"run: {shlex.quote(sys.executable)} -m qoder_cli"
    if first is None:
        return warning("qoder", "not on PATH", fix=f"add {scripts} to PATH, or {instead}")
    if _is_this(os.path.realpath(first), os.path.realpath(scripts)):
        return Finding("qoder", f"{first} (this one)")
    other = f"the shell runs {first}, another installation or program, such as the Qoder IDE's launcher"
    return warning("qoder", other, fix=f"put {scripts} first on PATH, or {instead}")


def _is_this(launcher: str, scripts: str) -> bool:
    """Return whether a launcher starts this installation; beside its own may be that of the Qoder IDE."""
    if launcher == os.path.realpath(sys.argv[0]):
        return True
    with suppress(OSError), open(launcher, "rb") as stream:
        return os.path.dirname(launcher) == scripts and b"qoder_cli" in stream.read(_LARGEST_LAUNCHER)
    return False


def proxy(settings: Settings, env: Mapping[str, str]) -> Finding:
    """Return the proxy in effect, without its password."""
    from qoder_cli.http.proxy import goes_around, masked, named

    if is_loopback(settings.host):
        return Finding("proxy", "none (local server)")
    if (proxy_named := named(env)) is None:
        return Finding("proxy", "none")
    address = masked(proxy_named.address)
    if goes_around(settings.host, env):
        return Finding("proxy", f"none (NO_PROXY excludes {settings.host} from {proxy_named.source}, {address})")
    return Finding("proxy", f"{address}, from {proxy_named.source}")


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
        message = f"{name} names {path}, which cannot be read: {reason_of(error)}"
        return failed("certificates", message, fix=f"correct {name}, or unset it")
    return Finding("certificates", f"from {path} ({name})")


def server(app: App, settings: Settings) -> Iterator[Finding]:
    """Send two requests at most, and check the responses."""
    from qoder_cli.http.client import Client

    if settings.token is None and settings.account is None:
        yield warning("server", "skipped: no token", fix="save a token first (see token, above)")
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


def _answers(client: "Client", settings: Settings) -> Iterator[Finding]:
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
        if isinstance(error, NoResponse) and (error.hint or not error.sent):
            cure = (error.hint or "check the network and the base URL").removesuffix(SEE_DOCTOR)
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
        raise NoResponse(f"{client.settings.host} responded with JSON that is not the API's")
    return data


def _clock(ahead: float) -> Finding:
    off = f"this machine's is {span(abs(ahead))} {'behind' if ahead > 0 else 'ahead of'} the server's"
    if abs(ahead) > CLOCKS_MAY_DIFFER:
        return warning("clock", off, fix="set the clock (NTP); --since and ages are off by this much")
    return Finding("clock", "in sync" if abs(ahead) < _DATE_IS_ROUNDED else off)


def _generation(client: "Client") -> Finding:
    """Return the API version, by the newest run (api.md#runs)."""
    try:
        runs = _page(client, "/deployment_runs")
    except ApiError as error:
        return warning("generation", f"unknown: {error.message}", fix="try again: qoder run list")
    if not runs:
        return Finding("generation", "unknown: there are no runs yet")
    if "status" in mapping(runs[0]):
        return Finding("generation", "legacy: runs have a status")
    return Finding("generation", "current: run status is read from sessions")
