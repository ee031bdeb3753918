"""`qoder auth`: save a token, remove it, see which one is used and whether the server accepts it."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qoder_cli.app import State
from qoder_cli.base.errors import ApiError, AuthError, UsageError
from qoder_cli.settings.config import TOKEN_VARIABLES, Settings, own_server, profile_name, resolve
from qoder_cli.settings.configfile import ConfigFile, change, load, locate
from qoder_cli.settings.values import LONGEST_TOKEN, REGIONS, host_of, mask, origin, read_token

if TYPE_CHECKING:
    from qoder_cli.http.client import Client

# Where people make tokens (api/facts.md, 3.1).
_PAT_PAGES = {"global": "https://qoder.com/cloud/pat-keys", "cn": "https://qoder.com.cn/cloud/pat-keys"}
_Verdict = tuple[bool | None, ApiError | None]  # accepted, refused, or None when not known; and why


def login(
    ctx: typer.Context,
    with_token: Annotated[bool, typer.Option("--with-token", help="Read the token from standard input.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Replace a token of another server.")] = False,
) -> None:
    """Check a token and save it in the config file.

    Asks for the token without showing it, or reads it from standard input
    with --with-token. It is saved only when the server accepts it, together
    with the region or base URL and the workspace that it was checked with, in
    the profile `default` or that of --profile. --region cn is for tokens made
    at qoder.com.cn.

    Examples:
      qoder auth login
      qoder auth login --profile work --region cn
      qoder auth login --with-token < token.txt

    Exit 0 saved, 2 no token was given, 4 the token is not accepted, 7 the
    server cannot be reached. All exit codes: qoder help exit-codes"""
    state: State = ctx.obj
    _require_a_source(state, with_token=with_token)
    settings = _settings_to_save(state)
    file = load(locate(state.env))
    _keep_apart(state, file, settings, yes=yes)
    region = _region_of(settings.base_url)
    if region:
        state.progress.note(f"tokens for region {region} are made at {_PAT_PAGES[region]}")
    token = _token_from_stdin(state) if with_token else _token_from_prompt(settings)
    _check(state, replace(settings, token=token, token_source="the token just given"))
    server = {"region": region, "base_url": None if region else settings.base_url}
    workspace = {"workspace_id": settings.workspace_id} if settings.workspace_id else {}
    change(file.path, settings.profile, {"token": token, **server, **workspace})
    state.progress.note(f"token for {settings.host} saved in profile {settings.profile} of {file.path}")
    _warn_of_what_wins(state, settings)


def logout(ctx: typer.Context) -> None:
    """Remove the token from the config file.

    The rest of the profile stays. The token itself stays valid: revoke it
    where it was made.

    Examples:
      qoder auth logout
      qoder auth logout --profile work

    Exit 0 also when there was no token. All exit codes: qoder help exit-codes"""
    state: State = ctx.obj
    file, profile = load(locate(state.env)), profile_name(state.flags, state.env)
    file.require(profile, from_variable=state.flags.profile is None)
    if "token" in file.profile(profile):
        change(file.path, profile, {"token": None})
        state.progress.note(f"token removed from profile {profile} of {file.path}")
        state.progress.note(f"it is not revoked; do that where it was made: {' or '.join(_PAT_PAGES.values())}")
    else:
        state.progress.note(f"profile {profile} of {file.path} has no token")
    still = [name for name in TOKEN_VARIABLES if state.env.get(name)]
    if still:
        state.progress.note(f"the token from the environment still applies: {', '.join(still)}")


def status(ctx: typer.Context) -> None:
    """Show which token and server are used, and ask whether it is accepted.

    The token is never shown whole. Asks the server once.

    Examples:
      qoder auth status
      qoder auth status --profile work --json

    Exit 0 accepted, 4 no token or not accepted, 7 the server cannot be
    reached. All exit codes: qoder help exit-codes"""
    state: State = ctx.obj
    settings = state.settings
    accepted, error = _ask(state)
    shown: dict[str, Any] = {
        "profile": settings.profile,
        "base_url": settings.base_url,
        "base_url_source": settings.base_url_source,
        "token": mask(settings.token) if settings.token else None,
        "token_source": settings.token_source,
        "workspace_id": settings.workspace_id,
    }
    reason = error.message if error else None
    word = {True: "yes", False: "no", None: "unknown"}[accepted]
    state.output.record(
        {**shown, "accepted": f"{word}: {reason}" if reason else word},
        data={**shown, "accepted": accepted, "reason": reason},
        id=settings.profile,
    )
    if error:
        raise error


def _require_a_source(state: State, *, with_token: bool) -> None:
    piped = state.stdin is not None and not state.stdin.isatty()
    if with_token and not piped:
        raise UsageError(
            "--with-token reads the token from a pipe or a file, and standard input is neither",
            hint="qoder auth login --with-token < FILE",
        )
    if not with_token and not state.may_ask:
        raise UsageError(
            "there is no terminal to ask for the token, or asking is switched off",
            hint="qoder auth login --with-token < FILE",
        )


def _settings_to_save(state: State) -> Settings:
    """Return the settings that the token is checked with; unlike `state.settings` the profile may be new."""
    settings = resolve(state.flags, state.env, may_create=True)
    for warning in settings.warnings:
        state.progress.warn(warning)
    if settings.sandbox:
        state.progress.warn(
            f"this saves the sandbox's server and token in profile {settings.profile}; "
            "set QODER_CONFIG to keep them apart"
        )
    return settings


def _keep_apart(state: State, file: ConfigFile, settings: Settings, *, yes: bool) -> None:
    """Raise UsageError unless the profile has no token of another server, or someone says that it may go."""
    if yes or "token" not in file.profile(settings.profile):
        return
    home = own_server(file, settings.profile).value
    if origin(home) == origin(settings.base_url):
        return
    what = f"profile {settings.profile} has a token for {host_of(home)}, not {settings.host}"
    if not state.may_ask:
        raise UsageError(f"{what}; nothing was changed", hint="replace it with --yes, or choose another --profile")
    if not typer.confirm(f"{what}. Replace it?", err=True):
        raise UsageError("nothing was changed", hint="--profile NAME saves beside it")


def _region_of(base_url: str) -> str | None:
    return next((region for region, url in REGIONS.items() if url == base_url), None)


def _token_from_stdin(state: State) -> str:
    assert state.stdin is not None  # _require_a_source
    try:
        text = state.stdin.read(LONGEST_TOKEN + len("\r\n") + 1)
    except (OSError, ValueError) as error:
        raise UsageError(f"standard input cannot be read: {type(error).__name__}") from None
    return read_token(text, source="standard input")


def _token_from_prompt(settings: Settings) -> str:
    from getpass import getpass

    try:
        text = getpass(f"Token for {settings.host} (not shown): ")
    except EOFError:
        text = ""
    return read_token(text, source="the prompt")


def _check(state: State, settings: Settings) -> None:
    """Ask the server whether it accepts the token. Raises ApiError, saying that nothing was saved."""
    from qoder_cli.http.client import Client

    client = Client(settings, clock=state.clock, progress=state.progress, transport=state.transport)
    try:
        _ask_for_a_page(client)
    except AuthError as error:
        elsewhere = "; a token works only in the region it was made for: --region global or cn"
        error.hint = "nothing was saved" + (elsewhere if _region_of(settings.base_url) else "")
        raise
    except ApiError as error:
        error.hint = f"nothing was saved; {error.hint}" if error.hint else "nothing was saved"
        raise
    finally:
        client.close()


def _ask_for_a_page(client: "Client") -> None:
    """Ask for something that only the API answers so. Raises ApiError, also for an answer that is not the API's."""
    next(client.pages("/deployments", {"limit": 1}))


def _warn_of_what_wins(state: State, saved: Settings) -> None:
    """Warn when a later command, without this one's options, would not use what was saved."""
    if saved.sandbox:
        return
    try:
        later = resolve(replace(state.flags, region=None, base_url=None), state.env)
    except UsageError as error:
        state.progress.warn(f"saved, but other commands will stop: {error.message}")
        return
    if later.token_source in TOKEN_VARIABLES:
        state.progress.warn(f"{later.token_source} is set and wins over the token that was saved")
    if origin(later.base_url) != origin(saved.base_url):
        state.progress.warn(f"{later.base_url_source} is set and wins over the server that was saved")


def _ask(state: State) -> _Verdict:
    try:
        _ask_for_a_page(state.client)
    except AuthError as error:
        return False, error
    except ApiError as error:
        return None, error
    return True, None


COMMANDS = {"login": login, "logout": logout, "status": status}
