"""Vaults, and the credentials in them: a secret is never shown, new or in place of the old one (api.md#vaults)."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from qoder_cli.app import App
from qoder_cli.base.errors import NoResponse, NotFound, Rejected, UsageError
from qoder_cli.base.marks import without_ours
from qoder_cli.base.model import Raw, array, mapping, text
from qoder_cli.files.filling import is_unset
from qoder_cli.http.redact import by_shape, spellings
from qoder_cli.nouns.agent import server_url
from qoder_cli.nouns.declared import Declaration
from qoder_cli.nouns.edits.difference import FieldChange, Form, differing, missing
from qoder_cli.nouns.edits.forms import form_with, normal, unseen
from qoder_cli.nouns.edits.step import Origin, Step
from qoder_cli.nouns.edits.thing import read, target_of
from qoder_cli.nouns.how import Exporting, How, Lists, Unexportable
from qoder_cli.nouns.lists import ServerLists
from qoder_cli.nouns.noun import Kind
from qoder_cli.nouns.parts import IDENTIFIER, Metadata, Name, Text, Url
from qoder_cli.nouns.schema import KEPT, SECRET, UNSET, ByType, Fields, like, secrets_in, without
from qoder_cli.nouns.shown import found_at, known_as, name_of
from qoder_cli.nouns.table import noun, words_of
from qoder_cli.settings.values import is_loopback, read_token

# Unlike those of environments, these may be * or have an underscore, as names of services have.
HOST = r"[A-Za-z0-9*_][A-Za-z0-9*._-]{0,252}(?::[0-9]{1,5})?"
Secret = Annotated[str, SECRET, "Never shown again."]


class Vault(Fields):
    """A vault."""

    display_name: Name
    metadata: Metadata


class _AnyHost(Fields):
    """The secret may go anywhere."""

    type: Literal["unrestricted"]


class _AllowedHosts(Fields):
    """Where the secret may go."""

    type: Literal["limited"]
    allowed_hosts: list[Annotated[str, like(HOST, "is not a host")]]


Hosts = Annotated[_AnyHost | _AllowedHosts, ByType()]


class _NewClient(Fields, unknown="open"):
    client_secret: Secret = UNSET


class _ClientAuth(_NewClient, unknown="open"):
    """How the client shows who it is."""

    type: Literal["none", "client_secret_basic", "client_secret_post"]


class _NewRefresh(Fields, unknown="open"):
    refresh_token: Secret = UNSET
    token_endpoint_auth: _NewClient = UNSET


class _Refresh(_NewRefresh, unknown="open"):
    """How a new access token is had."""

    client_id: Text
    refresh_token: Annotated[Text, SECRET]
    token_endpoint: Url
    token_endpoint_auth: _ClientAuth


class _NewBearer(Fields):
    """What an update changes of a token for an MCP server."""

    type: Literal["static_bearer"]
    token: Secret = UNSET


class _Bearer(_NewBearer):
    """A token for an MCP server."""

    token: Annotated[Text, SECRET]
    mcp_server_url: Url


class _NewVariable(Fields):
    """What an update changes of an environment variable."""

    type: Literal["environment_variable"]
    secret_value: Secret = UNSET
    networking: Hosts = UNSET
    injection_location: Any = UNSET


class _Variable(_NewVariable):
    """An environment variable."""

    secret_name: Annotated[str, like(IDENTIFIER, "must be the name of a variable: letters, digits and _")]
    secret_value: Annotated[Text, SECRET]
    networking: Hosts


class _NewOAuth(Fields):
    """What an update changes of an OAuth token for an MCP server."""

    type: Literal["mcp_oauth"]
    access_token: Secret = UNSET
    expires_at: Any = UNSET
    refresh: _NewRefresh = UNSET


class _OAuth(_NewOAuth):
    """An OAuth token for an MCP server."""

    access_token: Annotated[Text, SECRET]
    mcp_server_url: Url
    refresh: _Refresh = UNSET


class Credential(Fields, unknown="refused"):
    """A credential."""

    auth: Annotated[_Bearer | _Variable | _OAuth, ByType(), "The secret, and what it is for."]
    display_name: Name = KEPT
    metadata: Metadata = KEPT


class _CredentialUpdate(Fields):
    """What can be changed of a credential."""

    auth: Annotated[_NewBearer | _NewVariable | _NewOAuth, ByType()]
    metadata: Metadata


class InFile(Fields, unknown="refused"):
    """A vault, with the credentials in it."""

    display_name: Name
    metadata: Metadata = KEPT
    credentials: Annotated[
        list[Credential], "Its credentials; write ${NAME} for each secret, and set that variable."
    ] = KEPT


noun(
    *("vault", "vaults"),
    columns="id name created archived",
    more="metadata updated",
    sample="team-secrets",
    created="Put secrets into it with qoder vault put.",
    archived="Sessions can no longer use the credentials of an archived vault.",
    deleted="The credentials in a vault are deleted too.",
    named_by="display_name",
    kept={"display_name": "", "metadata": {}},
    body=Vault,
    in_file=InFile,
    kind=Kind(rank=3, below="vault credential"),
)
_CREDENTIAL = noun(
    *("vault credential", "vaults.credentials"),
    columns="id name type for created archived",
    more="network hosts metadata updated",
    sample="github-token",
    sample_of="team-secrets",
    archived="Sessions can no longer use an archived credential.",
    deleted="The secret is gone for good: it cannot be read back.",
    type="vault_credential",
    named_by="display_name",
    kept={"vault_id": "", "display_name": None, "auth": {}, "metadata": {}},
    takes_file=False,
    body=Credential,
    kind=Kind(
        rank=3,
        is_declared=False,
        refused="the API may not replace secrets; delete it, then add it",
        how="vault:HOW",
    ),
    bodies={"update": _CredentialUpdate},
)


LARGEST = 64 * 2**10  # bytes of a secret
PIPE_IT = "pipe it in, e.g. qoder vault put VAULT NAME --variable < FILE, or use --from-env VAR"
_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]{0,254}")
BEARER, VARIABLE = "static_bearer", "environment_variable"  # types of credentials that are put
PLACES = {BEARER: "auth.mcp_server_url", VARIABLE: "auth.secret_name"}  # where each shows what it is for
_WATCHED = ("auth", "display_name", "metadata", "version", "updated_at")
_SET_ONCE = ("mcp_server_url", "secret_name")  # which no update knows (api.md#vaults)
_MOVES = ("expires_at",)  # of `auth`, which changes by itself
_KEPT = ("networking", "injection_location")  # of a credential of which only the secret changes


def refuse_secret(word: str, what: str) -> str:
    """Return a word. Raises UsageError if it looks like a secret."""
    if by_shape(word) != word:
        raise UsageError(f"{what} looks like a secret, which is never an argument; nothing was sent", hint=PIPE_IT)
    return word


def variable(word: str, what: str) -> str:
    """Return a variable's name. Raises UsageError, without repeating it."""
    if not _NAME.fullmatch(refuse_secret(word, what)):
        hint = "use letters, digits and _, e.g. GITHUB_TOKEN"
        raise UsageError(f"{what} is not the name of an environment variable", hint=hint)
    return word


def server(url: str) -> str:
    """Return the URL of an MCP server. Raises UsageError, also for plain http."""
    parts = server_url(refuse_secret(url, "--mcp"))
    if parts is None or "@" in parts.netloc or not url.isascii():
        raise UsageError("--mcp is not the URL of a server", hint="e.g. --mcp https://mcp.example.com/mcp")
    if parts.scheme == "http" and not is_loopback(parts.netloc):
        raise UsageError("--mcp is plain http: the secret would be sent unencrypted", hint="use https")
    return url


def host(name: str) -> str:
    """Return a host to which the secret may go. Raises UsageError."""
    if not re.fullmatch(HOST, refuse_secret(name, "--allow-host")):
        hint = "e.g. --allow-host api.github.com"
        raise UsageError(f"--allow-host: {name[:60]!r} is not a host", hint=hint)
    return name


def checked(app: App, text: str, source: str, *, is_header: bool) -> str:
    """Return a secret without a byte order mark and its last newline, hidden in output. Raises UsageError."""
    secret = re.sub(r"\r?\n\Z", "", text.removeprefix("\ufeff"))
    hidden = [spelled for line in {secret, *secret.splitlines()} for spelled in spellings(line)]
    app.out.keep_secrets(hidden)
    app.err.keep_secrets(hidden)
    if is_header:
        return read_token(secret, source=source)
    if not secret.strip():
        raise UsageError(f"the secret from {source} is empty", hint="is a variable unset, or a file empty?")
    if "\0" in secret or len(secret.encode("utf-8", "surrogatepass")) > LARGEST:
        raise UsageError(f"the secret from {source} is binary or longer than {LARGEST // 2**10} KiB")
    try:
        secret.encode()
    except UnicodeEncodeError:
        raise UsageError(f"the secret from {source} is not UTF-8") from None
    return secret


def step_of(app: App, vault: str, name: str, auth: Raw, agree: Callable[[str], None]) -> Step:
    """Return the step that puts a secret, `auth` with its type, into a vault.

    What is set decides which one it replaces: the variable, or the server that it is sent to. `agree`
    gets a sentence, and may raise, before it goes anywhere else than the old one did. Raises UsageError if it is not
    clear which one is meant; other QoderErrors.
    """
    credential = _named(app, vault, name, auth, agree)
    form, where = form_with(("auth", "display_name", "metadata"), Credential), app.client.settings.whereabouts
    step = Step(noun=_CREDENTIAL, form=form, wanted={}, current=credential, parents=(vault,), origin=Origin(name))
    if credential is None:
        app.progress.note(f"creating credential {name} in {vault}{where}")
        if auth["type"] == VARIABLE:
            auth = {"networking": {"type": "unrestricted"}, **auth}
            if auth["networking"]["type"] == "unrestricted":
                app.progress.note("it may be sent to any host (--allow-host restricts it)")
        return step.sending({"display_name": name, "auth": auth})
    kept, hosts = mapping(credential.get("auth")), auth.get("networking")
    if hosts is not None and any(missing(form, {"auth": {"networking": hosts}}, credential)):
        said = f"is sent to {_hosts(hosts)} from now on, and not to {_hosts(kept.get('networking'))}"
        agree(f"{credential['id']} {said}")
        now = _read(app, vault, credential)
        if any(now.get(name) != credential.get(name) for name in _WATCHED):  # while a person was asked
            what = f"someone else changed {credential['id']} in the meantime; nothing was sent"
            raise Rejected(what, hint="compare, then run it again", next=app.looking(*step.target.look))
    # What an update does not know is left out (api.md#vaults).
    changed = {key: kept[key] for key in _KEPT if kept.get(key) is not None}
    changed |= {key: value for key, value in auth.items() if key not in _SET_ONCE}
    if auth["type"] == VARIABLE and "networking" not in changed:  # without it the secret might go anywhere
        why = f"{credential['id']} does not show to which hosts its secret may be sent; nothing was sent"
        raise NoResponse(why, hint="pass --allow-host HOST")
    app.progress.note(f"updating credential {step.label}, {_for(credential)}, in {vault}{where}")
    return step.with_(changes=unseen(_CREDENTIAL, {"auth": changed})).sending({"auth": changed})


def without_secret(auth: Mapping[str, Any]) -> Raw:
    """Return what a credential shows of its `auth`; an update with this alone leaves the secret as it is."""
    shown: Raw = without({"auth": auth}, secrets_in(_CREDENTIAL.holds.body, {"auth": auth}))["auth"]
    return shown


def _named(app: App, vault: str, name: str, auth: Raw, agree: Callable[[str], None]) -> Raw | None:
    """Return the credential whose secret is to be replaced, as it is now; None for a new one. Raises as `put`."""
    if name.startswith(_CREDENTIAL.prefix):
        return _of_id(app, vault, name, auth)
    kind, place = auth["type"], PLACES[auth["type"]]
    aim = found_at({"auth": auth}, place)
    there = ServerLists(app).rows(_CREDENTIAL, vault)
    rows = [row for row in there if found_at(row, "auth.type") in (kind, None)]
    credentials = [_read(app, vault, row) if _is_silent(row) else row for row in rows]
    those = [credential for credential in credentials if found_at(credential, place) == aim]
    if kind == BEARER:
        those = [credential for credential in those if name_of(credential) == name] or those
    if len(those) > 1:
        hint = f"use an id: {', '.join(str(credential_row['id']) for credential_row in those)}"
        raise UsageError(f"{len(those)} credentials are {_for(those[0])}", hint=hint)
    if those:
        [match] = those
        if kind == BEARER and name_of(match) != name:
            agree(f"{name_of(match) or match['id']} ({match['id']}) is {_for(match)}, and gets this token")
        return _of_id(app, vault, str(match["id"]), auth)
    if silent := [row for row in credentials if name_of(row) == name and not found_at(row, place)]:
        hint = f"use its id, if it is the one: {silent[0]['id']}"
        raise UsageError(f"{name} ({silent[0]['id']}) does not show what it is for", hint=hint)
    _refuse_silent(credentials)
    for row in (row for row in there if name_of(row) == name):
        agree(f"{name} ({row['id']}) is {_for(row)}, and stays so; another {name} is created for {aim}")
    return None


def _of_id(app: App, vault: str, id: str, auth: Raw) -> Raw:
    """Return a credential as it is now. Raises UsageError if it is for something else; ApiError."""
    current = _read(app, vault, {"id": id})
    if archived := current.get("archived_at"):
        raise UsageError(f"{id} was archived on {archived}", hint="put the secret under a new name")
    kind, place = found_at(current, "auth.type"), PLACES[auth["type"]]
    if kind not in (None, auth["type"]):
        raise UsageError(f"{id} is of the type {kind}, not {auth['type']}", hint="remove it, then add it")
    is_other = found_at(current, place) not in (None, found_at({"auth": auth}, place))
    if is_other and found_at({"auth": auth}, place) != id:  # of a variable an id says nothing
        message = f"{id} is {_for(current)}, and that cannot be changed"
        raise UsageError(message, hint="put the secret under another name; then delete the old one")
    return current


def _is_silent(raw: Raw) -> bool:
    """Return whether a credential does not show what it is for. One of an unknown type need not."""
    kind = found_at(raw, "auth.type")
    if kind in ("mcp_oauth", *PLACES):
        return not found_at(raw, PLACES.get(kind, PLACES[BEARER]))
    return kind is None


def _refuse_silent(credentials: Sequence[Raw]) -> None:
    """Raise NoResponse if one may be for anything: then nobody can tell whether there is one already."""
    for raw in credentials:
        if _is_silent(raw) and name_of(raw) is None:
            raise NoResponse(f"{raw['id']} shows neither a name nor what it is for; nothing was sent")


def _read(app: App, vault: str, row: Raw) -> Raw:
    id = str(row["id"])
    try:
        return read(app.client, target_of(_CREDENTIAL, vault, id), fresh=True)
    except NotFound as error:
        raise error.with_(next=app.looking("vault", "get", vault)) from None


def _for(raw: Raw) -> str:
    return f"for {found_at(raw, PLACES[BEARER]) or found_at(raw, PLACES[VARIABLE]) or 'nothing that it shows'}"


def _hosts(networking: Any) -> str:
    if mapping(networking).get("type") == "unrestricted":
        return "any host"
    hosts = array(mapping(networking).get("allowed_hosts"))
    return ", ".join(map(str, hosts)) or "hosts that it does not show"


def validated(app: App, vault: str, id: str) -> Raw:
    """Return what the API finds on trying an OAuth credential. Raises ApiError."""
    validation = _asked(app, f"{target_of(_CREDENTIAL, vault, id).path}/mcp_oauth_validate")
    if text(validation.get("status")) is None:
        raise NoResponse(f"the response does not tell the status of {id}")
    return validation


def for_server(app: App, vault: str, url: str) -> list[Raw]:
    """Return the OAuth credentials of a vault for exactly this MCP server. Raises ApiError."""
    rows, wanted = ServerLists(app).rows(_CREDENTIAL, vault), ("mcp_oauth", url)
    return [row for row in rows if (found_at(row, "auth.type"), found_at(row, PLACES[BEARER])) == wanted]


def login_page(app: App, vault: str, url: str) -> str:
    """Return the address where somebody logs in to an MCP server (api.md#vaults).

    What is asked twice makes another page, and nothing else. Raises ApiError.
    """
    try:
        page = text(_asked(app, "/oauth/start", {"vault_id": vault, "mcp_server_url": url}).get("authorization_url"))
    except NotFound as error:
        hint = "use qoder vault put VAULT NAME --mcp URL with a token; not every server can do this"
        raise error.with_(hint=hint).about("POST /oauth/start") from None
    if page is None or getattr(server_url(page), "scheme", None) != "https":
        raise NoResponse("the response has no https address of a login page")
    return page


def _asked(app: App, path: str, body: Raw | None = None) -> Raw:
    """Return the answer to a POST that may be sent again."""
    client = app.client
    return client.patiently(lambda: mapping(client.understand(client.send(client.prepare("POST", path, body=body)))))


def why_invalid(validation: Raw) -> str:
    """Return why, as a validation says it (api.md#vaults)."""
    reasons = {
        "status": validation.get("status"),
        "refresh": found_at(validation, "refresh.status"),
        "refresh HTTP": found_at(validation, "refresh.http_response.status_code"),
        "server HTTP": found_at(validation, "mcp_probe.http_response.status_code"),
    }
    return ", ".join(f"{name} {value}" for name, value in reasons.items() if value is not None)


# In a folder: one is found by what it is for, and compared by what it shows.


def _auth_of(auth: Any) -> Any:
    if not isinstance(auth, dict):
        return auth
    shown = normal({"auth": without_secret(auth)})["auth"]
    return {name: value for name, value in shown.items() if name not in _MOVES}


def _auth_differs(before: Any, after: Any) -> Iterator[FieldChange]:
    """Yield how an `auth` must change; what a server adds to it counts only where it says where the secret goes."""
    had, has = mapping(before), mapping(after)
    had = {name: value for name, value in had.items() if name in has or name == "networking"}
    if isinstance(has.get("refresh"), dict):
        had["refresh"] = {name: value for name, value in mapping(had.get("refresh")).items() if name in has["refresh"]}
    return differing(Form(dict, dict, {}), {"auth": has}, {"auth": had})


_FORM = Form(
    lambda raw: {"auth": _auth_of(raw.get("auth")), "metadata": without_ours(mapping(raw.get("metadata")))},
    lambda fields: {"auth": _auth_of(fields.get("auth"))},
    own={"auth": _auth_differs},
)


def _find(lists: Lists, declared: Declaration, parents: Sequence[str]) -> list[Raw]:
    """Return the credentials for the same variable or server, or of the same name."""
    auth = mapping(declared.fields.get("auth"))
    place = PLACES.get(str(auth.get("type")), PLACES[BEARER])
    aim, rows = found_at({"auth": auth}, place), lists.rows(_CREDENTIAL, *parents)
    rows = [lists.whole(_CREDENTIAL, row, *parents) if _is_silent(row) else row for row in rows]
    if is_unset(aim):  # then only its name says which it is
        return [row for row in rows if name_of(row) == declared.name]
    same = [row for row in rows if found_at(row, "auth.type") == auth.get("type") and found_at(row, place) == aim]
    if len(same) > 1:  # then its name says which of them is meant
        same = [row for row in same if row.get("display_name") == declared.fields.get("display_name")] or same
    same = same or [row for row in rows if name_of(row) == declared.name and found_at(row, place) is None]
    if not same:
        _refuse_silent(rows)
    return same


def _plan(lists: Lists, declared: Declaration, step: Step) -> Step:
    """Return a step that sends of a credential that is there what an update knows, and a secret only if asked to."""
    if step.current is None or not step.is_open:
        return step
    auth = dict(mapping(step.wanted.get("auth")))
    if auth.get("type") not in PLACES:
        archive = words_of(_CREDENTIAL, "archive", *step.parents, str(step.current["id"]))
        error = Rejected(
            f"{step.label}: an OAuth credential cannot be changed; nothing was changed",
            hint=f"archive it, then apply again: qoder {' '.join(archive)}",
        )
        return step.with_(error=error)
    if not any(change.is_secret for change in step.changes):
        auth = without_secret(auth)
    return step.sending({"auth": {name: value for name, value in auth.items() if name not in _SET_ONCE}})


def _remarks(lists: Lists, step: Step, declared: Declaration, others: Sequence[Declaration]) -> Iterator[str]:
    is_named = "display_name" in declared.fields
    if is_named and step.current is not None and name_of(step.current) not in (None, declared.name):
        yield f"it is called {name_of(step.current)} there, and a credential keeps its name"


def _export(export: Exporting, fields: Raw) -> Raw:
    """Return the fields of a credential in a file, with a variable in place of each secret."""
    auth = {name: value for name, value in mapping(fields.get("auth")).items() if value is not None}
    label = known_as(export.raw) or str(export.raw["id"])
    match auth.get("type"):
        case "environment_variable":
            auth["secret_value"] = export.secret(text(auth.get("secret_name")) or label)
        case "static_bearer":
            auth["token"] = export.secret(label, "_TOKEN")
        case "mcp_oauth":
            auth["access_token"] = export.secret(label, "_ACCESS_TOKEN")
            if isinstance(refresh := auth.get("refresh"), dict):
                auth["refresh"] = refresh = {**refresh, "refresh_token": export.secret(label, "_REFRESH_TOKEN")}
                client = mapping(refresh.get("token_endpoint_auth"))
                if str(client.get("type")).startswith("client_secret"):
                    secret = export.secret(label, "_CLIENT_SECRET")
                    refresh["token_endpoint_auth"] = {**client, "client_secret": secret}
        case _:
            raise Unexportable("is of an unknown type")
    named = {"display_name": text(export.raw.get("display_name")), "auth": auth, "metadata": fields.get("metadata")}
    return {name: value for name, value in named.items() if value}


HOW = How(find=_find, form=_FORM, plan=_plan, remarks=_remarks, export=_export)
