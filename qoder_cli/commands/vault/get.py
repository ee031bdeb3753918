"""`qoder vault get` and `check`: a vault with its credentials, and whether these still work."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from qoder_cli.app import App
from qoder_cli.base.errors import Exit, Rejected, UsageError
from qoder_cli.cli.options import argument
from qoder_cli.commands.vault.put import Vault
from qoder_cli.nouns.named import read_one
from qoder_cli.nouns.table import NOUNS

if TYPE_CHECKING:
    from qoder_cli.output.data import Rows

_VAULT, _CREDENTIAL = NOUNS["vault"], NOUNS["vault credential"]


def get(ctx: typer.Context, vault: Vault) -> None:
    """Show a vault and its credentials. Secrets are never shown.

    JSON is the server's object, with its `credentials`. Exits 5 if it does
    not exist.

    Examples:
      qoder vault get team-secrets
      qoder vault get team-secrets --json | jq -r '.credentials[].id'"""
    from qoder_cli.nouns.named import alive
    from qoder_cli.nouns.shown import fields

    app: App = ctx.obj
    raw = read_one(app, _VAULT, vault)
    held = list(alive(app, _CREDENTIAL, str(raw["id"]), archived=True))
    shown = fields(raw, (*_VAULT.columns, *_VAULT.more)) | {"credential": [_line(each) for each in held]}
    app.output.record(shown, data={**raw, "credentials": held}, id=str(raw["id"]))


def _line(raw: dict[str, Any]) -> Any:
    from qoder_cli.nouns.shown import fields
    from qoder_cli.output.cells import Words

    shown = fields(raw, ("name", "id", "type", "for", "hosts"))
    shown["archived"] = "archived" if raw.get("archived_at") else None
    return Words("  ".join(str(getattr(value, "text", value)) for value in shown.values() if value is not None))


def check(
    ctx: typer.Context,
    vault: Vault,
    name: Annotated[str | None, argument("NAME", "Only this credential (vcred_… or an exact name).")] = None,
) -> int:
    """Check the OAuth credentials of a vault.

    The API tries each, and renews it if it can. Other credentials cannot be
    checked. JSON is an array of what the API found, each with its `input`.

    Piped: id, name, status, why.
    Exits 0 if none is invalid, 6 if one is.

    Examples:
      qoder vault check team-secrets"""
    from qoder_cli.nouns import secrets
    from qoder_cli.nouns.named import alive, id_of
    from qoder_cli.nouns.shown import found_at, name_of
    from qoder_cli.output.cells import Id, Status, Words

    app: App = ctx.obj
    id = id_of(app, _VAULT, vault)
    held = list(alive(app, _CREDENTIAL, id))
    wanted = held
    if name is not None:
        one = id_of(app, _CREDENTIAL, name, id)
        wanted = [each for each in held if each["id"] == one]
    oauth = [each for each in wanted if found_at(each, "auth.type") == "mcp_oauth"]
    if name is not None and not oauth:
        raise UsageError(f"{name} is not an OAuth credential of {id}; others cannot be checked")
    invalid = []
    columns = ("id", "name", "status", "why")
    rows: Rows[tuple[dict[str, Any], dict[str, Any]]] = app.output.rows(
        fields=lambda row: row[0], data=lambda row: row[1], first=columns
    )
    with rows:
        for each in oauth:
            found = secrets.validated(app, id, str(each["id"]))
            called = name_of(each) or str(each["id"])
            status, why = str(found.get("status")), secrets.why_invalid(found)
            if status == "invalid":
                invalid.append(f"{called} ({why})")
            cells = (Id(each["id"]), called, Status(status), Words(why))
            rows.show([(dict(zip(columns, cells, strict=True)), {**found, "input": each["id"]})])
    if not oauth:
        app.progress.note("note: no OAuth credentials found")
    if invalid:
        raise Rejected(f"invalid: {'; '.join(invalid)}", hint="create these anew: their owner has to log in again")
    return Exit.OK
