"""The store of keys that the settings name: `QODER_KEYS`, or `keys` in the profile."""

import re
import threading

from qoder_cli.app import App
from qoder_cli.base.errors import UsageError
from qoder_cli.base.tokens import without_tokens
from qoder_cli.keys.patience import Patience
from qoder_cli.keys.record import KeyRecord, KeyStore
from qoder_cli.settings.config import Found

REQUIRED = "required"
_MEMORY_STORE = r"memstore_[A-Za-z0-9._~-]+"
# An `@` further back means that a password has `/`, `?` or `#` in it: nobody can tell then where it ends.
_POSTGRES = r"postgres(ql)?://[^\s/?#]*([/?#][^\s@]*)?"
_HINT = "use the id of a memory store (memstore_…) or postgresql://HOST/DATABASE; to make one: qoder key init"

_opening = threading.Lock()


def named(setting: Found | None) -> str:
    """Return the store that a setting names; empty for this machine. Raises UsageError, never repeating it."""
    if setting is None:
        return ""
    name = setting.value.strip()
    if setting.value.partition(":")[0] == REQUIRED:  # the setting itself refuses to fall back to this machine
        name = name.partition(":")[2].strip()
    return checked(name, source=setting.source)


def checked(name: str, *, source: str) -> str:
    """Return the name of a shared store. Raises UsageError, never repeating it: it may hold a password."""
    if re.fullmatch(f"{_MEMORY_STORE}|{_POSTGRES}", name):
        return name
    why, hint = "names no store of keys" if not name else "is not a store of keys", _HINT
    if "://" in name and "@" in name:
        hint = "write / as %2F, ? as %3F, # as %23 and @ as %40 in a password, or put it into ~/.pgpass"
    raise UsageError(f"{source} {why}; nothing was sent", hint=hint)


def is_memory_store(name: str) -> bool:
    """Return whether a store is named by the id of a memory store."""
    return re.fullmatch(_MEMORY_STORE, name) is not None


def shared_store(app: App) -> KeyStore:
    """Return the store that the settings name, one for all threads. Raises UsageError, AuthError."""
    with _opening:
        if not app.shared_keys:
            app.shared_keys.append(opened(app, named(app.settings.keys)))
        keys: KeyStore = app.shared_keys[0]
        return keys


def shared_records(app: App) -> list[KeyRecord]:
    """Return what the store of the settings holds of its host; nothing without a store. Raises QoderError."""
    if app.settings.keys is None:
        return []
    records = (stored.record for stored in shared_store(app).entries())
    return [record for record in records if record.host == app.settings.host]


def opened(app: App, name: str) -> KeyStore:
    """Return the store of this name. Raises UsageError without psycopg, AuthError."""
    patience = Patience(app.clock)
    if is_memory_store(name):
        from qoder_cli.keys.memstore import MemoryKeys

        return MemoryKeys(app.client, name, patience)
    from qoder_cli.keys.postgres import PostgresKeys, passwords

    if secrets := passwords(name):
        app.keep_secrets(name, *secrets)
    return PostgresKeys(name, patience, read_only=app.settings.read_only)


def shown(value: str) -> str:
    """Return a setting without the password that it may have."""
    from qoder_cli.keys.postgres import without_password

    if "://" not in value:
        return without_tokens(value)
    prefix = f"{REQUIRED}:" if value.startswith(f"{REQUIRED}:") else ""
    return prefix + without_password(value.removeprefix(prefix))
