"""From what people type to ids: deployments by their name, runs by their session, `last` and `DEPLOYMENT@last`."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from qoder_cli import ids
from qoder_cli.errors import ApiError, NoAnswer, NotFound, QoderError, UsageError
from qoder_cli.ids import segment
from qoder_cli.model import Deployment, Run, mapping, text
from qoder_cli.times import parse_timestamp

if TYPE_CHECKING:
    from qoder_cli.state import State

SUGGEST_FROM = 2  # pages of deployments that are looked through for something near
SUGGESTIONS = 3
_SUGGESTED_FOR = 10  # unknown names; to look for something near takes long where there are many
_LISTED = 10  # ids that an error about an ambiguous name lists
_NEAR_ID = 0.85  # ids made in the same minute already share half of their characters
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
    known = dict(_deployments(_pages(state))) if names else {}
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
        return NotFound(f"no deployment is named {name!r}", hint=_hint(name, known, _asked(state)))
    return matches[0]


def explain_missing(error: NotFound, deployment_id: str, state: "State") -> NotFound:
    """Return the error of a deployment that is not there, with the nearest ids and names, where they can be read."""
    if deployment_id not in error.message:
        error.message = f"deployment {deployment_id}: {error.message}"
    try:
        known = dict(_deployments(islice(_pages(state, retry=False), SUGGEST_FROM)))
    except ApiError:
        return error
    error.hint = _hint(deployment_id, known, error.hint or _asked(state))
    return error


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
        page = state.client.get(_runs_path(deployment_id), {"limit": 1})
    except NotFound as error:
        raise explain_missing(error, deployment_id, state) from None
    newest = next(_runs([page]), None)
    if newest is None:
        raise NotFound(f"deployment {deployment_id} has no runs yet", hint=_asked(state))
    return newest.id


def _run_of_session(session_id: str, state: "State") -> str:
    """Look through the runs of the deployment that the session belongs to, from its time on."""
    session = mapping(state.client.get(f"/sessions/{segment(session_id)}"))
    deployment_id = text(session.get("deployment_id"))
    if deployment_id is None:
        raise NotFound(f"session {session_id} belongs to no deployment, so there is no run of it", hint=_asked(state))
    created = parse_timestamp(session.get("created_at"))
    for found in _runs(state.client.pages(_runs_path(deployment_id), {"limit": 100})):
        if found.session_id == session_id:
            return found.id
        begun = parse_timestamp(found.raw.get("created_at"))
        if created and begun and (created - begun).total_seconds() > _SESSION_AGE:
            break  # newest first (api/facts.md, 1.3): what follows is older still
    raise NotFound(f"no run of deployment {deployment_id} has the session {session_id}", hint=_asked(state))


def _runs_path(deployment_id: str) -> str:
    return f"/deployments/{segment(deployment_id)}/runs"


def _runs(pages: Iterable[Any]) -> Iterator[Run]:
    return filter(None, map(Run.read, _items(pages)))


def _pages(state: "State", *, retry: bool = True) -> Iterator[dict[str, Any]]:
    return state.client.pages("/deployments", {"limit": 100}, retry=retry)


def _deployments(pages: Iterable[Any]) -> Iterator[tuple[str, str]]:
    """Yield id and name of those that are not archived."""
    for found in filter(None, map(Deployment.read, _items(pages))):
        if found.archived_at is None:
            yield found.id, found.name or ""


def _items(pages: Iterable[Any]) -> Iterator[Any]:
    for page in pages:
        data = mapping(page).get("data")
        if not isinstance(data, list):
            raise NoAnswer("the server answered a list with something that is no page")
        yield from data


def _asked(state: "State") -> str:
    return f"asked {state.settings.host} as profile {state.settings.profile}"


def _hint(typed: str, known: dict[str, str], asked: str) -> str:
    """Return the nearest of the deployments that are known (name by id), and who was asked."""
    near = [f"{known[id]!r} ({id})" if known[id] else id for id in _nearest(typed, known)]
    return f"did you mean {' or '.join(near)}? {asked}" if near else f"qoder deploy list shows what there is; {asked}"


def _nearest(typed: str, known: dict[str, str]) -> list[str]:
    from difflib import get_close_matches

    by_name = {name.lower(): id for id, name in known.items()}
    near_ids = get_close_matches(typed, known, n=SUGGESTIONS, cutoff=_NEAR_ID)
    near_names = get_close_matches(typed.removeprefix("dep_").lower(), by_name, n=SUGGESTIONS)
    return list(dict.fromkeys([*near_ids, *(by_name[name] for name in near_names)]))[:SUGGESTIONS]
