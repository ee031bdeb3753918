"""`qoder auth`: save a token, remove it, show which is in use."""

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, TypedDict

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, AuthError, UsageError
from qoder_cli.base.model import data_of, filled
from qoder_cli.base.plainfile import refuse_outside
from qoder_cli.base.times import parse_duration
from qoder_cli.cli.options import Text, argument, confirmed, flag, option, secret_of
from qoder_cli.help.completion import values
from qoder_cli.settings.account import LONGEST_TTL, TTL
from qoder_cli.settings.config import (
    PROFILE_VARIABLE,
    SERVER_VARIABLES,
    TOKEN_VARIABLES,
    WORKSPACE_VARIABLE,
    Settings,
    own_server,
    profile_name,
    resolve,
)
from qoder_cli.settings.configfile import CHOICE, ConfigFile, change, load, locate
from qoder_cli.settings.values import LONGEST_TOKEN, REGIONS, host_of, is_on, mask, origin, read_token

if TYPE_CHECKING:
    from qoder_cli.http.client import Client

_PROFILE = argument("PROFILE", "Profile of the config file; `default` is always one.", values.profiles)
_PIPE_IT = "pipe it in: qoder auth login --with-token < FILE"
# Where people make tokens (api.md#hosts-and-regions).
_PAT_PAGES = {"global": "https://qoder.com/cloud/pat-keys", "cn": "https://qoder.com.cn/cloud/pat-keys"}


_SERVER = "API base URL, and where it comes from"
_TOKEN = "end of the token or null, and where it comes from"


def login(
    app: App,
    with_token: bool = flag("--with-token", "Read the token from standard input."),
    yes: bool = flag("--yes -y", "Overwrite a token saved for another server without asking."),
) -> None:
    """Save an access token.

    Prompts for the token, verifies it, and saves it with its region (or base
    URL) and workspace in the profile in use, `default` at first, or that of
    --profile. Use --region cn for tokens from qoder.com.cn. Create one at
    https://qoder.com/cloud/pat-keys

    Exits 2 if no token was given, 4 if it was rejected.

    Examples:
      qoder auth login
      qoder auth login --with-token < token.txt"""
    if with_token and not app.is_piped_into:
        raise UsageError("--with-token expects the token on standard input", hint=_PIPE_IT)
    if not with_token and not app.may_ask:
        raise UsageError("cannot prompt for a token (no terminal, or prompts are disabled)", hint=_PIPE_IT)
    settings = resolve(app.flags, app.env, may_create=True)  # the profile may be new
    for warning in settings.warnings:
        app.progress.warn(warning)
    file = load(locate(app.env))
    refuse_outside(file.path, app.env)  # before anything is asked
    _keep_apart(app, file, settings, yes=yes)
    region = next((region for region, url in REGIONS.items() if url == settings.base_url), None)
    if region:
        app.progress.note(f"create a token at {_PAT_PAGES[region]}")
    text, source = secret_of(app, LONGEST_TOKEN + len("\r\n") + 1, f"Token for {settings.host}")
    token = read_token(text, source=source)
    given = replace(settings, token=token, token_source="the token just given")
    from qoder_cli.http.client import Client

    try:
        with closing(Client(given, clock=app.clock, progress=app.progress, transport=app.transport)) as client:
            _ask_for_a_page(client)
    except ApiError as error:
        hint = error.hint
        if isinstance(error, AuthError):
            hint = "create a new token, or check how this one was copied"
        if isinstance(error, AuthError) and region:
            other = next(name for name in REGIONS if name != region)
            hint = f"tokens only work in their own region: try --region {other}, or create a new one"
        raise error.with_(message=f"{error.message.rstrip('.')}; nothing was saved", hint=hint) from None
    server = {"region": region, "base_url": None if region else settings.base_url}
    workspace = filled({"workspace_id": settings.workspace_id})
    change(file.path, settings.profile, {"token": token, **server, **workspace}, env=app.env)
    app.progress.note(f"saved the token for {settings.host} in profile {settings.profile} of {file.path}")
    if not settings.sandbox and app.flags.profile is None:
        _warn_of_variables(app, settings.profile)


def logout(app: App) -> None:
    """Remove the token from the config file.

    The rest of the profile stays. The token itself is still valid: revoke it
    where it was created. Exits 0 even if there was no token.

    Examples:
      qoder auth logout"""
    file = load(locate(app.env))
    profile = profile_name(app.flags, app.env, file)
    file.require(profile)
    if "token" in file.profile(profile):
        change(file.path, profile, {"token": None}, env=app.env)
        app.progress.note(f"token removed from profile {profile} of {file.path}")
        pages = " or ".join(_PAT_PAGES.values())
        app.progress.note(f"the token itself is still valid; revoke it at {pages}")
    else:
        app.progress.note(f"not logged in (profile {profile}, {file.path})")
    _warn_of_variables(app, profile)


def switch(app: App, name: str = _PROFILE) -> None:
    """Make a profile the one that commands use by default.

    --profile and QODER_PROFILE still choose another; it names variables that
    override the profile's token or server. Exits 2 if there is no such
    profile.

    Examples:
      qoder auth switch work"""
    if app.flags.profile not in (None, name):
        why = f"PROFILE and --profile name two profiles: {name}, {app.flags.profile}"
        raise UsageError(why, hint="give only one of them")
    file = load(locate(app.env))
    file.require(name)
    change(file.path, None, {CHOICE: name}, env=app.env)
    app.progress.note(f"profile {name} is used by default from now on ({file.path})")
    _warn_of_variables(app, name)


class AuthStatus(TypedDict):
    """Which token and server are in use."""

    profile: Annotated[str, "the profile of the config file"]
    base_url: Annotated[str, _SERVER]
    base_url_source: Annotated[str, _SERVER]
    token: Annotated[str | None, _TOKEN]
    token_source: Annotated[str | None, _TOKEN]
    workspace_id: Annotated[str | None, "workspace id or null"]
    accepted: Annotated[bool | None, "true or false; null if the server cannot be reached"]
    reason: Annotated[str | None, "why not, or null"]


def status(app: App) -> None:
    """Show which token and server are in use, and whether it is accepted.

    Never shows the whole token. Exits 4 if it is missing or rejected, 7 if the
    server cannot be reached.

    Examples:
      qoder auth status
      qoder auth status --profile work --json"""
    settings = app.settings
    error: ApiError | None = None
    accepted: bool | None = True
    accepted_text = "yes"
    try:
        _ask_for_a_page(app.client)
    except AuthError as failure:
        error, accepted, accepted_text = failure, False, f"no: {failure.message}"
    except ApiError as failure:
        error, accepted, accepted_text = failure, None, f"unknown: {failure.message}"
    shown = None
    if settings.token:
        shown = mask(settings.token)
    elif settings.account:
        shown = "of a service account"
    data = data_of(AuthStatus, settings, token=shown, accepted=accepted, reason=error and error.message)
    fields = {name: value for name, value in data.items() if name != "reason"}
    app.output.record({**fields, "accepted": accepted_text}, data=data, id=settings.profile)
    if error:
        raise error


def token(
    app: App,
    ttl: Text = option("--ttl", "D", "For how long it is good, up to 12h (default 1h); service accounts only."),
    yes: bool = flag("--yes -y", "Print it on a terminal, too."),
) -> None:
    """Print an access token, for a program that needs one.

    With QODER_SA_KEY, the key of a service account, it is a new token that
    expires; otherwise the token in use. No other command prints one: keep it
    out of logs. GitHub Actions masks it.

    Exits 2 on a terminal without --yes, 4 if the key was refused.

    Examples:
      qoder auth token > token.txt
      QODER_PAT=$(qoder auth token) qoder auth status"""
    settings, seconds = app.settings, TTL
    if ttl is not None:
        seconds = int(parse_duration(ttl, option="--ttl"))
        if settings.account is None:
            raise UsageError("--ttl is for service accounts", hint="set QODER_SA_KEY and QODER_REGION")
        if not 0 < seconds <= LONGEST_TTL:
            raise UsageError("--ttl must be from 1s to 12h", hint="e.g. --ttl 1h")
    if app.out.is_terminal and not yes:
        raise UsageError("a token would be shown on the terminal", hint="pipe it, or pass --yes")
    account = app.client.account
    token_text = settings.token or ""
    if account is not None:
        token_text = account.exchange(seconds).value
    if is_on(app.env, "GITHUB_ACTIONS"):
        app.err.write_exactly(f"::add-mask::{token_text}\n".encode())  # not veiled, so that runner hides it
    app.out.write_exactly(token_text + "\n")


def _warn_of_variables(app: App, profile: str) -> None:
    variables = (PROFILE_VARIABLE, *TOKEN_VARIABLES, *SERVER_VARIABLES, WORKSPACE_VARIABLE)
    over = [name for name in variables if app.env.get(name) and (name, app.env[name]) != (PROFILE_VARIABLE, profile)]
    if over:
        app.progress.warn(f"set, and stronger than the profile: {', '.join(over)}")


def _keep_apart(app: App, file: ConfigFile, settings: Settings, *, yes: bool) -> None:
    if yes or "token" not in file.profile(settings.profile):
        return
    home = own_server(file, settings.profile).value
    if origin(home) == origin(settings.base_url):
        return
    what = f"profile {settings.profile} already holds a token for {host_of(home)}"
    if not app.may_ask:
        raise UsageError(f"{what}; nothing was changed", hint="pass --yes to replace it, or use --profile NAME")
    if not confirmed(app, f"{what}. Replace it with one for {settings.host}?", nothing="nothing was changed"):
        raise UsageError("nothing was changed", hint="to keep both, use --profile NAME")


def _ask_for_a_page(client: "Client") -> None:
    next(client.pages("/deployments", {"limit": 1}))


COMMANDS = {"login": login, "logout": logout, "status": status, "switch": switch, "token": token}
