"""`qoder vault put`: the only command that takes a secret, and never as an argument."""

from typing import Annotated, Any

import typer

from qoder_cli.app import App
from qoder_cli.base.errors import UsageError
from qoder_cli.cli.options import argument, asking, flag
from qoder_cli.commands.made import one_argument
from qoder_cli.nouns.shown import show
from qoder_cli.nouns.table import NOUNS

_VAULT = NOUNS["vault"]
Vault: Any = one_argument(_VAULT)


def put(
    ctx: typer.Context,
    vault: Vault,
    names: Annotated[list[str], argument("NAME", "Name; with --env that of the variable.")],
    env: Annotated[bool, flag("--env", "Agents find it in the environment variable NAME.")] = False,
    mcp: Annotated[
        str | None, typer.Option(metavar="URL", help="It is sent to this MCP server, as a bearer token.")
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(metavar="HOST", help="With --env: only for requests to it. Repeatable.")
    ] = None,
    from_env: Annotated[
        str | None, typer.Option(metavar="VAR", help="Take it from this variable instead of stdin or a prompt.")
    ] = None,
) -> None:
    """Put a secret into a vault: a new one, or in place of the one before.

    The secret comes from standard input, from a prompt that does not show it,
    or from --from-env; never from an argument, which others could see. It is
    never shown, and cannot be read back. Exits 6 where the API does not let
    it be replaced, 9 if it is unclear whether it was.

    Examples:
      qoder vault put team-secrets GITHUB_TOKEN --env --from-env GITHUB_TOKEN
      qoder vault put team-secrets docs --mcp https://mcp.example.com < token.txt"""
    from qoder_cli.base.ids import id_or_name
    from qoder_cli.nouns import secrets
    from qoder_cli.nouns.named import id_of

    app: App = ctx.obj
    name, *more = names
    if more:  # typer would repeat it
        raise UsageError("too many arguments: the secret is never one; nothing was sent", hint=secrets.PIPE_IT)
    secrets.refuse_secret(vault, "VAULT")
    secrets.refuse_secret(name, "NAME")
    if env == (mcp is not None):
        raise UsageError("pass either --env or --mcp URL", hint="see qoder vault put --help")
    if env and not name.startswith("vcred_"):
        secrets.variable(name, "NAME")
    id_or_name(name, "vcred_", "credential", "a name, or an id (vcred_…)")
    if allow_host and not env:
        raise UsageError(
            "--allow-host only works with --env", hint="omit it: the MCP server is the only host for its secret"
        )
    auth: dict[str, Any] = {"type": "environment_variable", "secret_name": name}
    if mcp is not None:
        auth = {"type": "static_bearer", "mcp_server_url": secrets.server(mcp)}
    if allow_host:
        auth["networking"] = {"type": "limited", "allowed_hosts": list(map(secrets.host, allow_host))}
    text, source = _secret(app, name, from_env)
    secret = secrets.checked(app, text, source, is_header=mcp is not None)
    id = id_of(app, _VAULT, vault)
    auth["secret_value" if env else "token"] = secret
    show(app, NOUNS["vault credential"], secrets.put(app, id, name, auth))


def _secret(app: App, name: str, from_env: str | None) -> tuple[str, str]:
    """Return a secret as it comes, and what it comes from. Raises UsageError."""
    from qoder_cli.nouns import secrets

    if from_env is not None:
        variable = secrets.variable(from_env, "--from-env")
        if not app.env.get(variable):
            raise UsageError(f"--from-env: {variable} is not set", hint="set it, or pipe the secret in")
        return app.env[variable], variable
    if app.stdin is not None and not app.stdin.isatty():
        from qoder_cli.base.plainfile import read_typed

        try:
            return read_typed("-", app.stdin, secrets.LARGEST + 3).decode(), "standard input"
        except (OSError, ValueError) as error:
            raise UsageError(f"cannot read the secret from standard input: {type(error).__name__}") from None
    if not app.may_ask:
        raise UsageError("there is no secret, and no terminal to ask for it", hint=secrets.PIPE_IT)
    from getpass import getpass

    try:
        with asking(app):
            return getpass(f"Secret for {name} (not shown): "), "the prompt"
    except EOFError:
        return "", "the prompt"
