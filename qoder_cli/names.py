"""From what people type to ids: deployments by their name, runs by their session, `last` and `DEPLOYMENT@last`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qoder_cli import ids
from qoder_cli.errors import NotFound, QoderError, UsageError
from qoder_cli.ids import segment
from qoder_cli.lookup import asked, explain_missing, nearest, not_archived
from qoder_cli.model import mapping, text
from qoder_cli.runs.newest import all_runs, newest_runs
from qoder_cli.times import parse_timestamp

if TYPE_CHECKING:
    from qoder_cli.state import State

_SUGGESTED_FOR = 10  # unknown names; to look for something near takes long where there are many
_LISTED = 10  # ids that an error about an ambiguous name lists
_SESSION_AGE = 3600.0  # seconds by which a session and its run may differ in age, at the very most


def deployment(typed: str, state: "State") -> str:
    """Return the id of the deployment that was typed: `dep_…` as it is, a name by listing those not archived.

    Raises UsageError for what can be neither and for a name that several have, NotFound with the nearest names, and
    ApiError.
    """
    [found] = deployments([typed], state)
    if isinstance(found, QoderError):
        raise found
    return found


def deployments(typed: Sequence[str], state: "State") -> list[str | QoderError]:
    """Return what `deployment` returns or raises for each, with one listing for all names.

    Raises UsageError for what can be neither an id nor a name, before anything is asked, and ApiError.
    """
    names = {word for word in typed if not ids.deployment(word).startswith("dep_")}
    known = dict(not_archived(state)) if names else {}
    if known:
        from qoder_cli.remembered import remember_names

        remember_names(state, known, whole=True)
    ids_of: dict[str, list[str]] = {}
    for id, name in known.items():
        ids_of.setdefault(name, []).append(id)
    near_to = known if len(names - ids_of.keys()) <= _SUGGESTED_FOR else {}
    found = {name: _only(name, ids_of.get(name, []), near_to, state) for name in names}
    return [found.get(word, word) for word in typed]


def _only(name: str, matches: list[str], known: dict[str, str], state: "State") -> str | QoderError:
    if len(matches) > 1:
        listed = ", ".join(matches[:_LISTED]) + (" and more" if len(matches) > _LISTED else "")
        return UsageError(f"{len(matches)} deployments are named {name!r}: {listed}", hint="name it by its id")
    if not matches:
        return NotFound(f"no deployment is named {name!r}", hint=nearest(name, known, asked(state)))
    return matches[0]


def run(typed: str, state: "State") -> str:
    """Return the id of the run that was typed: `drun_…` as it is, `last`, `DEPLOYMENT@last`, or `sess_…`.

    Raises UsageError for what can be none of them, NotFound, OutcomeUnknown for a `last` that is not settled, and
    ApiError.
    """
    if ids.run(typed) in ids.LAST:
        from qoder_cli.runs.last import last_run

        return last_run(state)
    if of := ids.deployment_of(typed):
        return _newest_run(deployment(of, state), state)
    return _run_of_session(typed, state) if typed.startswith("sess_") else typed


def _newest_run(deployment_id: str, state: "State") -> str:
    try:
        newest = newest_runs(state.client, deployment_id, 1)
    except NotFound as error:
        raise explain_missing(error, deployment_id, state) from None
    if not newest:
        raise NotFound(f"deployment {deployment_id} has no runs yet", hint=asked(state))
    return newest[0].id


def _run_of_session(session_id: str, state: "State") -> str:
    """Look through the runs of the deployment that the session belongs to, from its time on."""
    session = mapping(state.client.get(f"/sessions/{segment(session_id)}"))
    deployment_id = text(session.get("deployment_id"))
    if deployment_id is None:
        raise NotFound(f"session {session_id} belongs to no deployment, so there is no run of it", hint=asked(state))
    created = parse_timestamp(session.get("created_at"))
    for found in all_runs(state.client, deployment_id):
        if found.session_id == session_id:
            return found.id
        begun = parse_timestamp(found.raw.get("created_at"))
        if created and begun and (created - begun).total_seconds() > _SESSION_AGE:
            break  # newest first (api/facts.md, 1.3): what follows is older still
    raise NotFound(f"no run of deployment {deployment_id} has the session {session_id}", hint=asked(state))
