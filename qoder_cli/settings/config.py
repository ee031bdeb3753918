"""Which server and token to use: option, environment, file, default.

A token is kept out of every repr, message and traceback here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from qoder_cli.base.errors import UsageError
from qoder_cli.base.tokens import is_token
from qoder_cli.settings.account import VARIABLES as ACCOUNT_VARIABLES
from qoder_cli.settings.account import Account, account_of
from qoder_cli.settings.allowed import ALL, Allowed, allowed_by
from qoder_cli.settings.configfile import DEFAULT_PROFILE, ConfigFile, load, locate
from qoder_cli.settings.values import (
    REGIONS,
    Flags,
    host_of,
    is_loopback,
    origin,
    read_base_url,
    read_region,
    read_token,
    read_workspace,
    repeated,
    token_in_file,
)

# In order of precedence.
TOKEN_VARIABLES = ("QODER_PAT", "QODER_ACCESS_TOKEN", "QODER_PERSONAL_ACCESS_TOKEN", "QODER_PAT_FILE")
BASE_URL_VARIABLES = ("QODER_BASE_URL", "QODER_MANAGED_BASE_URL")
SERVER_VARIABLES = (*BASE_URL_VARIABLES, "QODER_REGION")
WORKSPACE_VARIABLE = "QODER_WORKSPACE_ID"
PROFILE_VARIABLE = "QODER_PROFILE"
KEYS_VARIABLE = "QODER_KEYS"


@dataclass(frozen=True, eq=False, repr=False)
class Found:
    """A value and where it came from."""

    value: str
    source: str


@dataclass(frozen=True, eq=False, repr=False)  # no token in a traceback
class Settings:
    """The settings of a command; server and token with their sources.

    `base_url` has no trailing slash; `request_timeout` is in seconds, None for defaults.
    `advice` is how to get a token, or another if it is refused; `warnings` are for stderr, once.
    """

    server: Found
    profile: str = DEFAULT_PROFILE
    token: str | None = None
    token_source: str | None = None
    account: Account | None = None  # whose key is exchanged for a token, if there is no other
    workspace_id: str | None = None
    keys: Found | None = None  # where idempotency keys are kept, as written; None for this machine
    notify: Found | None = None  # the command to run when a wait is over, as written
    policy: Found | None = None  # the file of the policy that refuses what it denies
    request_timeout: float | None = None
    sandbox: bool = False
    allowed: Allowed = ALL
    is_reading: bool = False  # the command is one that reads
    warnings: tuple[str, ...] = ()
    advice: str = ""

    @property
    def base_url(self) -> str:
        return self.server.value

    @property
    def base_url_source(self) -> str:
        return self.server.source

    @cached_property
    def host(self) -> str:
        return host_of(self.server.value)

    @property
    def read_only(self) -> str:
        """Why nothing but reading is allowed; empty if writes are."""
        if self.allowed.level == "read" or (self.is_reading and self.allowed.level != "all"):
            return self.allowed.why
        return ""

    @property
    def whereabouts(self) -> str:
        """Where a write goes, behind what is said before it is sent: what is not the default, after a space."""
        parts = [] if self.profile == DEFAULT_PROFILE else [f"profile {self.profile}"]
        if self.host != host_of(REGIONS["global"]):
            parts.append(self.host)
        return f" ({', '.join(parts)})" if parts else ""

    @property
    def asked(self) -> str:
        """Which server and profile were asked, for a hint."""
        return f"looked on {self.host}, profile {self.profile}"


def resolve(flags: Flags, env: Mapping[str, str], *, may_create: bool = False) -> Settings:
    """Return the settings for one invocation. A missing token is no failure here.

    With `may_create`, the profile need not exist yet. Raises UsageError for a bad
    value, an unknown profile, or a config file that is needed but unusable.
    """
    if flags.base_url is not None and flags.region is not None:
        raise UsageError("--region and --base-url cannot be used together", hint="remove one of them")
    asked = server_of({"--base-url": flags.base_url, "--region": flags.region})
    sandbox = _sandbox(env)
    by_profile = flags.profile is not None and sandbox is None
    seen = {} if by_profile else env
    token, warnings = _first_of(TOKEN_VARIABLES, seen, lambda name: _token_of(name, env))
    has_account = any(seen.get(name) for name in ACCOUNT_VARIABLES)
    if token and has_account:
        warnings.append(f"using {token.source}; the key of the service account is not used")
    file = ConfigFile(Path())
    if not sandbox:
        file = _file(env, required=token is None and not has_account)
    name = profile_name(flags, env, file)
    kept: Mapping[str, str] = {}
    if not sandbox:
        file.require(name, may_create=may_create)
        kept = file.profile(name)
    if by_profile:  # what would count without it
        names = [*TOKEN_VARIABLES, *ACCOUNT_VARIABLES]
        if asked is None:
            names += SERVER_VARIABLES
        if flags.workspace is None:
            names.append(WORKSPACE_VARIABLE)
        if ignored := [name for name in names if env.get(name)]:
            warnings.append(f"--profile {flags.profile} overrides: {', '.join(ignored)}")
    server = sandbox or asked
    if server is None:
        server, differing = _first_of(BASE_URL_VARIABLES, seen, lambda name: read_base_url(env[name], source=name))
        warnings += differing
    if server is None:
        region = seen.get("QODER_REGION") or None
        server = server_of({"": None, "QODER_REGION": region}) or own_server(file, name)
    if sandbox:
        ignored = [asked.source] if asked and asked.value != sandbox.value else []
        if flags.profile is not None:
            ignored.append("--profile")
        if ignored:
            warnings.append(f"ignored inside the sandbox: {' and '.join(ignored)}")
    saved = {key: Found(value, file.key(name, key)) for key, value in kept.items()}
    workspace = saved.get("workspace_id")
    if seen.get(WORKSPACE_VARIABLE):
        workspace = Found(seen[WORKSPACE_VARIABLE], WORKSPACE_VARIABLE)
    if flags.workspace is not None:
        workspace = Found(flags.workspace, "--workspace")
    workspace_id = None
    if workspace is not None:
        workspace_id = read_workspace(workspace.value, source=workspace.source)
    keys = saved.get("keys")
    if env.get(KEYS_VARIABLE):  # beside --profile, too: what is shared must not silently become this machine's
        keys = Found(env[KEYS_VARIABLE], KEYS_VARIABLE)
    request_timeout = None
    if flags.request_timeout is not None:
        from qoder_cli.base.times import parse_duration

        request_timeout = parse_duration(flags.request_timeout, option="--request-timeout")
        if request_timeout == 0:
            raise UsageError("--request-timeout must be more than 0", hint="remove it for the default of 30s")
    advice = ""
    account = None
    if token is None and has_account:
        account = account_of(seen, server.value, has_region=server.source != "default")
    if account is None and token is None and "token" in saved:
        home, own_token = own_server(file, name).value, saved["token"]
        if origin(home) == origin(server.value):
            token = Found(read_token(own_token.value, source=own_token.source), own_token.source)
        else:
            advice = (
                f"the token of profile {name} is for {host_of(home)} and is not sent to {host_of(server.value)}; "
                f"set QODER_PAT, or log in to it: qoder auth login --profile NAME --base-url {server.value}"
            )
    return Settings(
        server=server,
        profile=name,
        token=getattr(token, "value", None),
        token_source=account.source if account else getattr(token, "source", None),
        account=account,
        workspace_id=workspace_id,
        keys=keys,
        notify=saved.get("notify"),
        policy=saved.get("policy"),
        request_timeout=request_timeout,
        sandbox=sandbox is not None,
        allowed=allowed_by(env).narrowed(kept.get("allow"), file.key(name, "allow")),
        is_reading=flags.purpose == "read",
        warnings=(*file.warnings, *warnings),
        advice=advice or _advice(token, flags, env),
    )


def profile_name(flags: Flags, env: Mapping[str, str], file: ConfigFile) -> str:
    """Return the profile of `--profile`, else of QODER_PROFILE, else the file's choice, else `default`."""
    if flags.profile is not None:
        return flags.profile
    return env.get(PROFILE_VARIABLE) or file.chosen or DEFAULT_PROFILE


def own_server(file: ConfigFile, profile: str) -> Found:
    """Return a profile's own base URL, to which its token may go. Raises UsageError."""
    values = {file.key(profile, key): file.profile(profile).get(key) for key in ("base_url", "region")}
    return server_of(values) or Found(REGIONS["global"], "default")


def server_of(values: Mapping[str, str | None]) -> Found | None:
    """Return the server of a base URL, else of a region, by their sources. Raises UsageError."""
    (url_source, url), (region_source, region) = values.items()
    if url is not None:
        return Found(read_base_url(url, source=url_source), url_source)
    if region is not None:
        return Found(REGIONS[read_region(region, source=region_source)], region_source)
    return None


def _first_of(
    names: Sequence[str], env: Mapping[str, str], read: Callable[[str], str]
) -> tuple[Found | None, list[str]]:
    given = [name for name in names if env.get(name)]
    if not given:
        return None, []
    first, differing = Found(read(given[0]), given[0]), []
    for name in given[1:]:
        try:
            value = read(name)
        except UsageError:  # an unused variable may be broken
            value = ""
        if value != first.value:
            differing.append(name)
    if not differing:
        return first, []
    return first, [f"using {first.source}, which differs from {' and '.join(differing)}"]


def _sandbox(env: Mapping[str, str]) -> Found | None:
    text = env.get("QODER_SANDBOX")
    if not text:
        return None
    url = read_base_url(text, source="QODER_SANDBOX")
    if not is_loopback(host_of(url)):
        raise UsageError(
            f"QODER_SANDBOX names {host_of(url)}, which is not this machine",
            hint="unset QODER_SANDBOX, or run the command with: qoder sandbox --",
        )
    return Found(url, "QODER_SANDBOX")


def _token_of(name: str, env: Mapping[str, str]) -> str:
    if name == "QODER_PAT_FILE":
        return token_in_file(env[name], source=name)
    return read_token(env[name], source=name)


def _file(env: Mapping[str, str], *, required: bool) -> ConfigFile:
    try:
        path = locate(env)
    except UsageError:
        if required:
            raise
        return ConfigFile(Path())  # no home: the environment has all
    return load(path)


def _advice(token: Found | None, flags: Flags, env: Mapping[str, str]) -> str:
    """Return how to get a token, or another; a variable overrides a saved one."""
    import shlex

    login = "run: " + shlex.join(["qoder", "auth", "login", *repeated(flags)])
    if env.get("QODER_SANDBOX"):
        if token is not None and token.source == "QODER_PAT":  # the sandbox sets other variables, too
            return "unset QODER_PAT inside the sandbox"
        return "set QODER_PAT to the token that `qoder sandbox` printed"
    if token is None and flags.profile is None:
        other = next((name for name in sorted(env) if name.startswith("QODER_") and is_token(env[name])), None)
        how = f"rename {other} to" if other else "set"
        return f"{how} QODER_PAT, or {login}"
    if token is None or token.source not in TOKEN_VARIABLES:
        return login
    if token.source == "QODER_PAT_FILE":
        return f"replace the token in that file, or unset QODER_PAT_FILE and {login}"
    return f"set {token.source} to a valid token, or unset it and {login}"
