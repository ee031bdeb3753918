"""Words on the command line that name a deployment or a run, checked before any request."""

import unicodedata
from urllib.parse import quote

from qoder_cli.errors import UsageError

LONGEST = 256  # characters; the API's limit for a deployment's name (api/facts.md, 1.2)

LAST = ("last", "@last")  # the newest run triggered here

_KINDS = {
    "dep_": "a deployment",
    "drun_": "a run",
    "sess_": "a session",
    "agent_": "an agent",
    "env_": "an environment",
    "file_": "a file",
    "vault_": "a vault",
    "turn_": "a turn",
    "evt_": "an event",
}


def deployment_id(typed: str) -> str:
    """Return the deployment that was typed. Raises UsageError for what cannot be the id of one."""
    return _checked(typed, prefix="dep_", wanted="a deployment id (dep_…)")


def run_id(typed: str) -> str:
    """Return the run that was typed, or `last`. Raises UsageError for what cannot be the id of one."""
    if typed in LAST:
        return typed
    return _checked(typed, prefix="drun_", wanted="a run id (drun_…)")


def segment(name: str) -> str:
    """Return an id or a name as one segment of a path."""
    return quote(name, safe="")


def _checked(typed: str, *, prefix: str, wanted: str) -> str:
    shown = ascii(typed if len(typed) <= 60 else typed[:60] + "…")
    if not typed.strip():
        raise UsageError(f"{wanted} is needed, not an empty one", hint="check the variable it came from")
    if len(typed) > LONGEST:
        raise UsageError(f"{shown} is {len(typed)} characters long; an id has at most {LONGEST}")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in typed):
        raise UsageError(f"{shown} has a control character inside", hint=f"{wanted} is needed")
    if {".", ".."} & set(typed.split("/")):
        raise UsageError(f"{shown} is a path", hint=f"{wanted} is needed")
    if not typed.startswith(prefix):
        raise UsageError(f"{shown} is {_what(typed)}", hint=f"{wanted} is needed")
    return typed


def _what(typed: str) -> str:
    kind = next((kind for prefix, kind in _KINDS.items() if typed.startswith(prefix)), None)
    return f"the id of {kind}" if kind else "no id of the kind needed here"
