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


def agent_id(typed: str) -> str:
    """Return the agent that was typed. Raises UsageError for what cannot be the id of one."""
    return _checked(typed, prefix="agent_", wanted="an agent id (agent_…)")


def deployment(typed: str) -> str:
    """Return the id or the name of a deployment that was typed. Raises UsageError for what can be neither."""
    wanted = "a deployment (dep_… or its name)"
    _check_text(typed, wanted)
    if not typed.startswith("dep_") and (kind := _kind(typed)):
        raise UsageError(f"{_shown(typed)} is the id of {kind}", hint=f"{wanted} is needed")
    return typed


def run(typed: str) -> str:
    """Return the words that were typed for a run: `drun_…`, `sess_…`, `last` or `DEPLOYMENT@last`.

    Raises UsageError for what can be none of them.
    """
    if typed in LAST:
        return typed
    if of := deployment_of(typed):
        deployment(of)
        return typed
    prefix = "sess_" if typed.startswith("sess_") else "drun_"
    return _checked(typed, prefix=prefix, wanted="a run (drun_…, sess_…, last or DEPLOYMENT@last)")


def deployment_of(typed: str) -> str | None:
    """Return what stands before `@last`, None where nothing does."""
    of, _, last = typed.rpartition("@")
    return of if of and last == "last" else None


def segment(name: str) -> str:
    """Return an id or a name as one segment of a path."""
    return quote(name, safe="")


def _checked(typed: str, *, prefix: str, wanted: str) -> str:
    _check_text(typed, wanted)
    if not typed.startswith(prefix):
        kind = _kind(typed)
        what = f"the id of {kind}" if kind else "no id of the kind needed here"
        raise UsageError(f"{_shown(typed)} is {what}", hint=f"{wanted} is needed")
    return typed


def _check_text(typed: str, wanted: str) -> None:
    """Refuse what can name nothing at all."""
    if not typed.strip():
        raise UsageError(f"{wanted} is needed, not an empty one", hint="check the variable it came from")
    if len(typed) > LONGEST:
        raise UsageError(f"{_shown(typed)} is {len(typed)} characters long; an id or a name has at most {LONGEST}")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in typed):
        raise UsageError(f"{_shown(typed)} has a control character inside", hint=f"{wanted} is needed")
    if {".", ".."} & set(typed.split("/")):
        raise UsageError(f"{_shown(typed)} is a path", hint=f"{wanted} is needed")


def _shown(typed: str) -> str:
    return ascii(typed if len(typed) <= 60 else typed[:60] + "…")


def _kind(typed: str) -> str | None:
    return next((kind for prefix, kind in _KINDS.items() if typed.startswith(prefix)), None)
