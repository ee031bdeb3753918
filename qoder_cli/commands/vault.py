"""`qoder vault`: secrets for agents; `put` takes one, never as an argument."""

from itertools import takewhile
from typing import Any

from qoder_cli.app import App
from qoder_cli.base.errors import Rejected, UsageError, WaitTimeout
from qoder_cli.base.ids import id_or_name
from qoder_cli.base.model import Raw
from qoder_cli.base.polling import doubling, poll
from qoder_cli.base.times import parse_duration, span
from qoder_cli.cli.options import YES, Text, Texts, argument, confirmed, flag, option, secret_of, several
from qoder_cli.commands import editing, generic
from qoder_cli.nouns import vault as secrets
from qoder_cli.nouns.lists import ServerLists
from qoder_cli.nouns.named import alive, id_of, read_one
from qoder_cli.nouns.shown import fields, found_at, name_of, sheet_of, show
from qoder_cli.nouns.table import NOUNS
from qoder_cli.output.cells import Id, Name, Status, Words
from qoder_cli.output.data import Rows

_VAULT, _CREDENTIAL = NOUNS["vault"], NOUNS["vault credential"]
_ONE = generic.one_argument(_VAULT)
_FROM = "Read it from this variable."


def put(
    app: App,
    vault: str = _ONE,
    names: list[str] = argument("NAME", "Name of the secret (with --variable: of that variable)."),
    variable: bool = flag("--variable", "Give it to agents as environment variable NAME."),
    mcp: Text = option("--mcp", "URL", "Send it to this MCP server as a bearer token."),
    allow_host: Texts = several("--allow-host", "HOST", "With --variable: only for requests to it."),
    from_env: Text = option("--from-env", "VAR", _FROM),
    yes: bool = YES,
) -> None:
    """Add a secret to a vault, or replace it.

    The secret comes from stdin, a hidden prompt or --from-env, never from an
    argument, which others could see. It cannot be read back. --variable
    replaces that of NAME, --mcp that of the server. Asks before it goes to a
    new server or host; scripts need --yes. Exits 6 if the API refuses to
    replace it, 9 if that is unclear.

    Examples:
      qoder vault put team-secrets --variable GITHUB_TOKEN --from-env GITHUB_TOKEN
      qoder vault put team-secrets docs --mcp https://mcp.example.com < token.txt"""
    name, *more = names
    if more:  # typer would repeat it
        raise UsageError("too many arguments: the secret is never one; nothing was sent", hint=secrets.PIPE_IT)
    secrets.refuse_secret(vault, "VAULT")
    secrets.refuse_secret(name, "NAME")
    if variable == (mcp is not None):
        raise UsageError("pass either --variable or --mcp URL", hint="see qoder vault put --help")
    if variable and not name.startswith("vcred_"):
        secrets.variable(name, "NAME")
    id_or_name(name, "vcred_", "credential", "a name, or an id (vcred_…)")
    if allow_host and not variable:
        raise UsageError(
            "--allow-host only works with --variable", hint="omit it: the MCP server is the only host for its secret"
        )
    auth: Raw = {"type": secrets.VARIABLE, "secret_name": name}
    if mcp is not None:
        auth = {"type": secrets.BEARER, "mcp_server_url": secrets.server(mcp)}
    if allow_host:
        auth["networking"] = {"type": "limited", "allowed_hosts": list(map(secrets.host, allow_host))}
    text, source = _secret(app, name, from_env)
    secret = secrets.checked(app, text, source, is_header=mcp is not None)
    id = id_of(app, _VAULT, vault)
    auth["secret_value" if variable else "token"] = secret

    def agree(what: str) -> None:
        if yes:
            app.progress.note(what, always=True)
        elif not app.may_ask:
            raise UsageError(f"{what}: confirmation required; nothing was sent", hint="confirm with --yes")
        elif not confirmed(app, f"{what}. Go on?", nothing="nothing was sent"):
            raise UsageError("cancelled; nothing was sent")

    editing.write(app, secrets.step_of(app, id, name, auth, agree))


def _secret(app: App, name: str, from_env: str | None) -> tuple[str, str]:
    if from_env is not None:
        variable = secrets.variable(from_env, "--from-env")
        if not app.env.get(variable):
            raise UsageError(f"--from-env: {variable} is not set", hint="set it, or pipe the secret in")
        return app.env[variable], variable
    if not app.is_piped_into and not app.may_ask:
        raise UsageError("the secret is missing, and cannot be asked for here", hint=secrets.PIPE_IT)
    return secret_of(app, secrets.LARGEST + 3, f"Secret for {name}")


def get(app: App, vault: str = _ONE) -> None:
    """Show a vault and its credentials. Secrets are never shown.

    JSON is the server's object, with its `credentials`.

    Examples:
      qoder vault get team-secrets"""
    raw = read_one(app, _VAULT, vault)
    credentials = list(alive(app.client, _CREDENTIAL, str(raw["id"]), archived=True, is_whole=True))
    lines = {"credential": [_line(credential) for credential in credentials]}
    shown = sheet_of(_VAULT, raw, app) | lines
    app.output.record(shown, data={**raw, "credentials": credentials}, id=str(raw["id"]))


def _line(raw: Raw) -> Any:
    shown = fields(raw, ("name", "id", "type", "for", "hosts"))
    shown["archived"] = "archived" if raw.get("archived_at") else None
    return Words("  ".join(str(getattr(value, "text", value)) for value in shown.values() if value is not None))


def check(app: App, vault: str = _ONE) -> None:
    """Check the OAuth credentials of a vault.

    The API tries each, and renews it if it can; others cannot be checked.
    Exits 6 if one is invalid. Piped: id, name, status, why.

    Examples:
      qoder vault check team-secrets"""
    id = id_of(app, _VAULT, vault)
    oauth = [row for row in ServerLists(app).rows(_CREDENTIAL, id) if found_at(row, "auth.type") == "mcp_oauth"]
    invalid = []
    first = ("name", "status", "why", "id")
    with Rows[tuple[Raw, Raw]](app.output, fields=lambda row: row[0], data=lambda row: row[1], first=first) as rows:
        for credential in oauth:
            validation = secrets.validated(app, id, str(credential["id"]))
            called = name_of(credential) or str(credential["id"])
            status, why = str(validation.get("status")), secrets.why_invalid(validation)
            if status == "invalid":
                invalid.append(f"{called} ({why})")
            row = {"id": Id(credential["id"]), "name": Name(called), "status": Status(status), "why": Words(why)}
            rows.show([(row, {**validation, "input": credential["id"]})])
    if not oauth:
        app.progress.note("note: no OAuth credentials found")
    if invalid:
        raise Rejected(f"invalid: {'; '.join(invalid)}", hint="ask their owner to log in again, then create them again")


def connect(
    app: App,
    vault: str = _ONE,
    mcp: str = option("--mcp", "URL", "MCP server to log in to.", default=...),
    open_browser: bool = flag("--open", "Open the page in a browser."),
    timeout: str = option("--timeout", "D", "Stop waiting after D.", default="10m"),
) -> None:
    """Log in to an MCP server by OAuth, and keep the credential in a vault.

    Prints the address of the login page, waits for the login, and shows the
    credential; qoder never sees the token. Exits 124 if nobody logged in, 5 if
    this server cannot do it.

    Examples:
      qoder vault connect team-secrets --mcp https://mcp.example.com/mcp --open"""
    url, limit = secrets.server(mcp), parse_duration(timeout, option="--timeout")
    id = id_of(app, _VAULT, vault)
    before = {row["id"]: row.get("updated_at") for row in secrets.for_server(app, id, url)}
    page = secrets.login_page(app, id, url)
    app.progress.note(f"to log in, open: {page}", always=True)
    if open_browser:
        import webbrowser

        webbrowser.open(page)

    def look() -> Raw | None:
        credentials = secrets.for_server(app, id, url)
        return next((row for row in credentials if before.get(row["id"], "") != row.get("updated_at")), None)

    until = app.clock.monotonic() + limit
    pauses = takewhile(lambda pause: app.clock.monotonic() + pause <= until, doubling(1.0, 5.0))
    credential = poll(look, app.clock, pauses=pauses, is_enough=bool)
    if credential is None:
        raise WaitTimeout(f"nobody has logged in to {url} within {span(limit)}", hint="run it again for a new page")
    if credential["id"] in before:
        why = "has changed: by this login, or because the service renewed its token"
        app.progress.warn(f"{credential['id']} was there before, and {why}")
    show(app, _CREDENTIAL, credential)


COMMANDS = {
    **generic.commands("vault", get=get, put=put, connect=connect, check=check),
    "credential": ("The secrets in a vault, one by one", generic.commands("vault credential")),
}
