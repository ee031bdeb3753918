"""A vault's secrets: never shown, new or in place of the old one."""

import re
from typing import Any
from urllib.parse import urlsplit

from qoder_cli.app import App
from qoder_cli.base import jsontext
from qoder_cli.base.errors import NoAnswer, NotFound, Rejected, UsageError
from qoder_cli.base.model import mapping, text
from qoder_cli.http.redact import by_shape
from qoder_cli.nouns.named import alive
from qoder_cli.nouns.shown import found_at, name_of
from qoder_cli.nouns.table import NOUNS, words_of
from qoder_cli.nouns.write import Create, target_of, update
from qoder_cli.settings.values import is_loopback, read_token

LARGEST = 64 * 2**10  # bytes of a secret
PIPE_IT = "pipe it in, e.g. qoder vault put VAULT NAME --env < FILE, or use --from-env VAR"
_CREDENTIAL = NOUNS["vault credential"]
_SHORTEST_HIDDEN = 8  # characters; shorter ones occur in other words
_VARIABLE = re.compile("[A-Za-z_][A-Za-z0-9_]{0,254}")
# Unlike those of environments, these may be * or have an underscore, as names of services have.
_HOST = re.compile(r"[A-Za-z0-9*_][A-Za-z0-9*._-]{0,252}(?::[0-9]{1,5})?")
# Beyond `by_shape`, which knows our tokens and those of code hosts.
_SECRET = re.compile(r"(?i)\b(?:sk|rk|xox[a-z]|hf|npm|pypi)[-_][\w-]{16,}|\bAIza[\w-]{20,}|-----BEGIN")
_KEPT = ("networking", "injection_location")  # of a credential whose secret alone changes

Raw = dict[str, Any]


def refuse_secret(word: str, what: str) -> str:
    """Return a word. Raises UsageError if it looks like a secret."""
    if by_shape(word) != word or _SECRET.search(word):
        raise UsageError(f"{what} looks like a secret, which is never an argument; nothing was sent", hint=PIPE_IT)
    return word


def variable(word: str, what: str) -> str:
    """Return a variable's name. Raises UsageError, without repeating it."""
    if not _VARIABLE.fullmatch(refuse_secret(word, what)):
        hint = "use letters, digits and _, e.g. GITHUB_TOKEN"
        raise UsageError(f"{what} is not the name of an environment variable", hint=hint)
    return word


def server(url: str) -> str:
    """Return the URL of an MCP server. Raises UsageError, also for plain http."""
    refuse_secret(url, "--mcp")
    try:
        parts = urlsplit(url)
        is_url = bool(parts.hostname) and parts.scheme in ("https", "http") and "@" not in parts.netloc
        is_url = is_url and url.isascii() and url.isprintable() and " " not in url
    except ValueError:
        is_url = False
    if not is_url:
        raise UsageError("--mcp is not the URL of a server", hint="e.g. --mcp https://mcp.example.com/mcp")
    if parts.scheme == "http" and not is_loopback(parts.netloc):
        raise UsageError("--mcp is plain http: the secret would be sent unencrypted", hint="use https")
    return url


def host(name: str) -> str:
    """Return a host to which the secret may go. Raises UsageError."""
    if not _HOST.fullmatch(refuse_secret(name, "--allow-host")):
        hint = "e.g. --allow-host api.github.com"
        raise UsageError(f"--allow-host: {name[:60]!r} is not a host", hint=hint)
    return name


def checked(app: App, text: str, source: str, *, is_header: bool) -> str:
    """Return a secret without its last newline, hidden in output. Raises UsageError."""
    secret = re.sub(r"\r?\n\Z", "", text)
    lines = {secret, *secret.splitlines()}
    lines |= {jsontext.dump(line)[1:-1] for line in lines}
    hidden = [line for line in lines if len(line) >= _SHORTEST_HIDDEN]
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


def put(app: App, vault: str, name: str, auth: Raw) -> Raw:
    """Put a secret, `auth` with its type, into a vault under a name; return its credential.

    Raises UsageError if several have the name, or one of another type; other QoderErrors.
    """
    named = [each for each in alive(app, _CREDENTIAL, vault) if name in (each["id"], *_names(each))]
    if len(named) > 1:
        hint = f"use an id: {', '.join(str(each['id']) for each in named)}"
        raise UsageError(f"{len(named)} credentials are named {name!r}", hint=hint)
    where = app.client.settings.whereabouts
    if not named and name.startswith(_CREDENTIAL.prefix):
        raise NotFound(f"no credential {name} in {vault}", next=app.looking("vault", "get", vault))
    if not named:
        app.progress.note(f"creating credential {name} in {vault} {where}")
        return Create(app, _CREDENTIAL, {"display_name": name, "auth": auth}, vault).deliver().raw
    [known] = named
    id, kind = str(known["id"]), found_at(known, "auth.type")
    delete = app.command(*words_of(_CREDENTIAL, "delete", vault, id, "--yes"))
    anew = "delete it, then add it"
    if kind not in (None, auth["type"]):
        raise UsageError(f"{name} is of the type {kind}, not {auth['type']}", hint=anew, next=delete)
    app.progress.note(f"updating credential {name} ({id}) in {vault} {where}")
    kept = {key: value for key in _KEPT if (value := mapping(known.get("auth")).get(key)) is not None}
    if "secret_name" in auth:
        kept["secret_name"] = found_at(known, "auth.secret_name") or name
        auth = {key: value for key, value in auth.items() if key != "secret_name"}
    try:
        # Nothing shows whether a secret was replaced; doing it twice does no harm.
        target, body = target_of(_CREDENTIAL, vault, id), {"auth": {**kept, **auth}}
        return update(app, target, body, shows=target.is_it, is_told=False)
    except (Rejected, NotFound) as error:
        raise error.with_(hint=f"the API may not replace secrets; {anew}", next=delete) from None


def _names(raw: Raw) -> tuple[Any, Any]:
    return name_of(raw), found_at(raw, "auth.secret_name")


def validated(app: App, vault: str, id: str) -> Raw:
    """Return what the API finds on trying an OAuth credential. Raises ApiError."""
    path = f"{target_of(_CREDENTIAL, vault, id).path}/mcp_oauth_validate"
    client = app.client

    def ask() -> Raw:
        return mapping(client.understand(client.send(client.prepare("POST", path))))

    found = client.patiently(ask)
    if text(found.get("status")) is None:
        raise NoAnswer(f"the response does not tell the status of {id}")
    return found


def why_invalid(found: Raw) -> str:
    """Return why, as a validation says it (api/facts.md, 7.3)."""
    told = {
        "status": found.get("status"),
        "refresh": found_at(found, "refresh.status"),
        "refresh HTTP": found_at(found, "refresh.http_response.status_code"),
        "server HTTP": found_at(found, "mcp_probe.http_response.status_code"),
    }
    return ", ".join(f"{name} {value}" for name, value in told.items() if value is not None)
