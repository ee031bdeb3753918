"""`qoder doctor`: checks what decides how commands work, and suggests fixes.

The checks write nothing without --probe, and show no secret.
"""

import os
import platform
import shlex
import shutil
import stat
import sys
import sysconfig
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict

from qoder_cli import __version__
from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, AuthError, Exit, NoResponse, QoderError, UsageError
from qoder_cli.base.model import mapping
from qoder_cli.base.plainfile import reason_of
from qoder_cli.base.times import span
from qoder_cli.base.words import counted
from qoder_cli.cli.options import flag
from qoder_cli.http.answers import SEE_DOCTOR
from qoder_cli.http.redact import by_shape
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

_SIGNS = {"ok": "✓", "warning": "!", "failed": "✗"}
_PROBE = flag("--probe", "Also test the shared store of keys (QODER_KEYS) by writing to it.")

Status = Literal["ok", "warning", "failed"]


class CheckData(TypedDict):
    """What a check of the setup found."""

    check: Annotated[str, "name of the check"]
    status: Annotated[Status, "ok, warning or failed"]
    found: Annotated[str, "what was found"]
    fix: Annotated[str | None, "what to do, or null"]


def doctor(
    app: App, offline: bool = flag("--offline", "Skip checks that contact the server."), probe: bool = _PROBE
) -> None:
    """Check your setup and suggest fixes.

    Checks config file, token, server, connection, clock, proxy, certificates,
    local state, and other programs named qoder. Changes nothing without
    --probe; shows no secrets. Piped: check, status (ok, warning or failed),
    found, fix. Exits 0 if there are only warnings, otherwise with the code of
    the first failed check (2, 4 or 7).

    Examples:
      qoder doctor
      qoder doctor --json | jq -r '.[] | select(.status != "ok") | .fix'"""
    checks = _Doctor(app)
    checks.make(offline=offline, probe=probe)
    findings, errors = checks.findings, checks.errors
    if app.output.is_drawn:
        sheet: dict[str, list[str]] = {}
        for finding in findings:
            lines = sheet.setdefault(finding["check"], [])
            lines.append(f"{_SIGNS[finding['status']]} {finding['found']}")
            if finding["fix"]:
                lines.append(f"  fix: {finding['fix']}")
        app.output.record(sheet)
    else:
        app.output.records([dict(finding) for finding in findings], data=findings, id="check")
    if len(errors) > 1:
        raise errors[0].with_(message=f"{len(errors)} checks failed; the first: {errors[0].message}")
    if errors:
        raise errors[0]


class _Doctor:
    """The checks, with what they found, and an error for each that failed."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._env: Mapping[str, str] = app.env
        self.findings: list[CheckData] = []
        self.errors: list[QoderError] = []

    def make(self, *, offline: bool, probe: bool) -> None:
        """Make the checks, none that contacts the server if `offline`."""
        self._ok("version", f"qoder {__version__} in {Path(__file__).parents[1]}")
        running = f"{platform.python_version()} ({sys.executable}), {platform.system() or sys.platform}"
        self._ok("python", running)
        settings = self._config()
        if settings is not None:
            self._proxy(settings)
            self._certificates()
            if not offline:
                with self._app.progress.waiting(f"contacting {settings.host}", leaving="nothing is changed"):
                    self._server(settings)
                if settings.keys is not None:
                    self._shared_keys(settings, probe=probe)
        self._state(settings)
        self._on_path()

    def _add(self, check: str, status: Status, found: str, fix: str | None = None) -> None:
        """Note what was found, without a token, wherever it was."""
        self.findings.append({"check": check, "status": status, "found": by_shape(found), "fix": fix and by_shape(fix)})

    def _ok(self, check: str, found: str) -> None:
        self._add(check, "ok", found)

    def _warning(self, check: str, found: str, *, fix: str) -> None:
        """Note what may cause trouble."""
        self._add(check, "warning", found, fix)

    def _failed(self, check: str, found: str, *, fix: str, exit: Exit = Exit.USAGE) -> None:
        """Note what ends other commands with this exit code (2, 4 or 7)."""
        self._add(check, "failed", found, fix)
        self.errors.append(QoderError(by_shape(f"{check}: {found}"), hint=by_shape(fix)).with_(exit=exit))

    def _broken(self, check: str, error: QoderError) -> None:
        """Note an error, with its exit code."""
        self._failed(check, error.message, fix=error.hint or "fix the setting named above", exit=error.exit)

    # The settings, and their file.

    def _config(self) -> Settings | None:
        """Check the settings and their file; return the settings, None if they are invalid."""
        resolved, refused = None, None
        try:
            resolved = resolve(self._app.flags, self._env)
        except UsageError as error:
            refused = error
        file = ConfigFile(Path())
        try:
            path = locate(self._env)
            file = load(path)
        except UsageError as error:
            if resolved is None:  # the file is needed, and may be all that is wrong
                self._broken("config", error)
            else:
                self._warning("config", f"{error.message}; ignored", fix=error.hint or "")
            if refused is not None and refused.message == error.message:
                return None
        else:
            what = f"{path} does not exist (not needed)"
            if path.exists():
                what = f"{path}: {', '.join(file.profiles) or 'no profiles'}"
            self._ok("config", what)
        for message in file.warnings:
            what, _, command = message.partition("; run: ")
            self._warning("config", what, fix=command or f"correct or remove them in {file.path}")
        if refused is not None:
            self._broken("settings", refused)
        if resolved is not None:
            self._won(resolved, file)
        return resolved

    def _won(self, resolved: Settings, file: ConfigFile) -> None:
        """Tell which settings won, and over what."""
        flags, env = self._app.flags, self._env

        def places(variables: tuple[str, ...], *keys: str, options: tuple[str, ...] = ()) -> list[str]:
            """Return where a setting is given, in order of precedence."""
            given = [f"--{name.replace('_', '-')}" for name in options if getattr(flags, name) is not None]
            given += [name for name in variables if env.get(name)]
            return given + [file.key(resolved.profile, key) for key in keys if key in file.profile(resolved.profile)]

        for message in resolved.warnings:
            if message not in file.warnings:
                self._warning("settings", message, fix="unset the one you don't want, or drop the option")
        profiles = places((PROFILE_VARIABLE,), options=("profile",))
        source = f", {_whence(profiles[0], profiles)}" if env.get(PROFILE_VARIABLE) else ""
        self._ok("profile", resolved.profile + source)
        if resolved.account is not None:
            self._ok("token", f"of the service account of {resolved.account.source}, from {resolved.account.url}")
        elif resolved.token is None or resolved.token_source is None:
            self._failed("token", f"no token for {resolved.host}", fix=resolved.advice, exit=Exit.AUTH)
        else:
            whence = _whence(resolved.token_source, places(TOKEN_VARIABLES, "token"))
            self._ok("token", f"{mask(resolved.token)}, {whence}")
        servers = places(SERVER_VARIABLES, "base_url", "region", options=("base_url", "region"))
        self._ok("base_url", f"{resolved.base_url}, {_whence(resolved.base_url_source, servers)}")
        if resolved.workspace_id is not None:
            given = places((WORKSPACE_VARIABLE,), "workspace_id", options=("workspace",))
            counting = [variable for variable in given if variable != WORKSPACE_VARIABLE or flags.profile is None]
            self._ok("workspace", f"{resolved.workspace_id}, {_whence((counting or given)[0], given)}")
        if resolved.allowed.level != "all":
            self._ok("allowed", f"{resolved.allowed.level}, {resolved.allowed.source}")
        if resolved.sandbox:
            self._ok("inside_sandbox", "QODER_SANDBOX is set: nothing real can be reached")

    def _proxy(self, settings: Settings) -> None:
        """Tell which proxy is in effect, without its password."""
        from qoder_cli.http.proxy import goes_around, masked, named

        proxy, found = named(self._env), "none"
        if is_loopback(settings.host):
            found = "none (local server)"
        elif proxy is not None:
            found = f"{masked(proxy.address)}, from {proxy.source}"
            if goes_around(settings.host, self._env):
                around = f"{proxy.source}, {masked(proxy.address)}"
                found = f"none (NO_PROXY excludes {settings.host} from {around})"
        self._ok("proxy", found)

    def _certificates(self) -> None:
        """Check which certificates are trusted, and whether they can be read."""
        import ssl

        name = next((name for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if self._env.get(name)), None)
        if name is None:
            return self._ok("certificates", "bundled certificates (certifi)")
        path = self._env[name]
        try:
            if name == "SSL_CERT_DIR":
                os.listdir(path)
            else:
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
        except (OSError, ValueError) as error:
            message = f"{name} names {path}, which cannot be read: {reason_of(error)}"
            return self._failed("certificates", message, fix=f"correct {name}, or unset it")
        self._ok("certificates", f"from {path} ({name})")

    # The server.

    def _server(self, settings: Settings) -> None:
        """Send two requests at most, and check the responses."""
        from qoder_cli.http.client import Client

        app = self._app
        if settings.token is None and settings.account is None:
            return self._warning("server", "skipped: no token", fix="save a token first (see token, above)")
        try:
            client = Client(
                settings, clock=app.clock, progress=app.progress, transport=app.transport, debug=app.flags.debug
            )
        except UsageError as error:
            return self._broken("server", error)
        with closing(client):
            is_well = self._access(client, settings)
            if (ahead := client.server_ahead) is not None:
                self._clock(ahead)
            if is_well:
                self._generation(client)

    def _access(self, client: "Client", settings: Settings) -> bool:
        """Check whether the server responds and accepts the token. Return whether it does."""
        began = client.clock.monotonic()

        def responded() -> None:
            self._ok("server", f"{settings.host} responded in {(client.clock.monotonic() - began) * 1000:.0f} ms")

        try:
            _page(client, "/deployments")
        except AuthError as error:
            responded()
            meaning, fix = "rejected", settings.advice
            if error.http_status != 401:
                meaning, fix = "accepted, but may not read deployments", f"use a token with this permission: {fix}"
            if settings.base_url in REGIONS.values():
                fix += "; tokens only work in their own region: try --region global or cn"
            self._failed("access", f"{meaning}: {error.message}", fix=fix, exit=Exit.AUTH)
            return False
        except ApiError as error:
            cure = _CHECK_URL
            if isinstance(error, NoResponse) and (error.hint or not error.sent):
                cure = (error.hint or "check the network and the base URL").removesuffix(SEE_DOCTOR)
            elif error.http_status is not None and error.http_status >= 429:
                cure = "try again later: your setup is fine"
            self._failed("server", error.message, fix=cure, exit=Exit.UNAVAILABLE)
            return False
        responded()
        self._ok("access", "the token is accepted")
        return True

    def _clock(self, ahead: float) -> None:
        off = f"this machine's is {span(abs(ahead))} {'behind' if ahead > 0 else 'ahead of'} the server's"
        if abs(ahead) > CLOCKS_MAY_DIFFER:
            self._warning("clock", off, fix="set the clock (NTP); --since and ages are off by this much")
        else:
            self._ok("clock", "in sync" if abs(ahead) < _DATE_IS_ROUNDED else off)

    def _generation(self, client: "Client") -> None:
        """Tell the API version, by the newest run (api.md#runs)."""
        try:
            runs = _page(client, "/deployment_runs")
        except ApiError as error:
            return self._warning("generation", f"unknown: {error.message}", fix="try again: qoder run list")
        found = "unknown: there are no runs yet"
        if runs:
            found = "current: run status is read from sessions"
            if "status" in mapping(runs[0]):
                found = "legacy: runs have a status"
        self._ok("generation", found)

    def _shared_keys(self, settings: Settings, *, probe: bool) -> None:
        """Check the store of keys that machines share; with `probe`, that it refuses what it must, agents too."""
        from qoder_cli.keys.opening import is_memory_store, shared_store
        from qoder_cli.keys.record import name_of
        from qoder_cli.keys.selftest import check, warning_of_writers

        try:
            keys = shared_store(self._app)
            if not probe:
                keys.read(name_of(settings.host, settings.workspace_id, ""))
                return self._ok("keys", f"{keys.shown}, shared by machines (to test it: qoder doctor --probe)")
            check(keys)
            self._ok("keys", f"{keys.shown}, shared by machines; it refuses what it must")
            if is_memory_store(keys.shown) and (message := warning_of_writers(self._app.client, keys.shown)):
                fix = "attach it to none of them; who can write to it can free keys"
                self._warning("keys_writers", message, fix=fix)
        except (UsageError, ApiError) as error:
            self._broken("keys", error)

    # This machine.

    def _state(self, settings: Settings | None) -> None:
        """Check the state folder and its store: access, and starts never confirmed."""
        try:
            path = state_folder(self._env)
            check_seal(self._env)
        except RuntimeError:
            fix = "set HOME or QODER_STATE_DIR"
            return self._warning("state", f"it has no place: HOME is not set; {_WITHOUT}", fix=fix)
        except UsageError as error:
            return self._broken("state", error)
        nearest = next(parent for parent in (path, *path.parents) if os.path.lexists(parent))
        mode = stat.S_IMODE(os.lstat(nearest).st_mode)
        if not os.path.isdir(nearest) or not os.access(nearest, os.R_OK | os.W_OK | os.X_OK):
            found = f"{nearest} is not a folder that you can read and write; {_WITHOUT}"
            self._warning("state", found, fix=_ELSEWHERE)
        elif nearest != path:
            self._ok("state", f"{path} will be created when needed")
        elif sys.platform != "win32" and mode & ANYONE_ELSE:
            fix = f"chmod 700 {shlex.quote(str(path))}"
            self._warning("state", f"others can read or write {path} ({mode:04o})", fix=fix)
        else:
            self._ok("state", str(path))
        with closing(Store(self._env, warn=(complaints := list[str]()).append, looking=True)) as store:
            self._store(store, complaints, settings)

    def _store(self, store: Store, complaints: list[str], settings: Settings | None) -> None:
        path, entries = store.path, store.entries(settings.host) if settings else []
        if complaints:
            quoted = shlex.quote(str(path))
            fix = f"move it away while no command runs: mv {quoted} {quoted}.old"
            if "newer version" in complaints[0]:
                fix = "use the newer version"
            return self._warning("store", complaints[0], fix=fix)
        if os.path.lexists(path) and not os.access(path, os.R_OK | os.W_OK):
            return self._warning("store", f"{path} cannot be written; {_WITHOUT}", fix=_ELSEWHERE)
        if settings is None:
            return self._ok("store", str(path))
        started = counted(len({entry.run for entry in entries if entry.run}), "run")
        summary = f"{started} started on {settings.host} from this machine"
        if unconfirmed := [entry.attempt for entry in entries if entry.open]:
            latest = unconfirmed[-1]
            ago = span(self._app.clock.now() - latest.at)
            summary += f", {len(unconfirmed)} not confirmed (latest: {latest.deployment}, {ago} ago)"
        last = store.last(profile=settings.profile, host=settings.host)
        if last and last.open:
            return self._warning("store", summary, fix="qoder run wait last")
        self._ok("store", summary)

    def _on_path(self) -> None:
        """Find the `qoder` that a shell runs: the Qoder IDE's launcher has that name."""
        first, scripts = shutil.which("qoder", path=self._env.get("PATH", "")), sysconfig.get_path("scripts")
        instead = f"run: {shlex.quote(sys.executable)} -m qoder_cli"
        if first is None:
            self._warning("qoder", "not on PATH", fix=f"add {scripts} to PATH, or {instead}")
        elif _is_this(os.path.realpath(first), os.path.realpath(scripts)):
            self._ok("qoder", f"{first} (this one)")
        else:
            other = f"the shell runs {first}, another installation or program, such as the Qoder IDE's launcher"
            self._warning("qoder", other, fix=f"put {scripts} first on PATH, or {instead}")


def _whence(winner: str, places: list[str]) -> str:
    others = [place for place in places if place != winner]
    source = "default" if winner == "default" else f"from {winner}"
    return f"{source} (overrides {' and '.join(others)})" if others else source


def _page(client: "Client", path: str) -> list[Any]:
    within = client.settings.request_timeout or WITHIN
    data = mapping(client.get(path, {"limit": 1}, within=within, retry=False)).get("data")
    if not isinstance(data, list):
        raise NoResponse(f"{client.settings.host} responded with JSON that is not the API's")
    return data


def _is_this(launcher: str, scripts: str) -> bool:
    """Return whether a launcher starts this installation; beside its own may be that of the Qoder IDE."""
    if launcher == os.path.realpath(sys.argv[0]):
        return True
    with suppress(OSError), open(launcher, "rb") as stream:
        return os.path.dirname(launcher) == scripts and b"qoder_cli" in stream.read(_LARGEST_LAUNCHER)
    return False
