"""Read deployments, and explain why one is missing or cannot be run."""

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

from qoder_cli.app import App
from qoder_cli.base import ids
from qoder_cli.base.errors import ApiError, NoResponse, NotFound, QoderError, Rejected, UsageError, first_by_rank
from qoder_cli.base.ids import segment
from qoder_cli.base.model import Deployment, filled

_LISTED = 5  # names that an error lists
_SUGGEST_FROM = 200  # newest deployments to search for near names


def deployment_id_of(word: str, app: App, *, is_whole: bool = False) -> str:
    """Return a deployment's id, by name or id; `is_whole` is that of `Names`. Raises UsageError, ApiError."""
    return ids_of_all([word], app, is_whole=is_whole)[0]


def ids_of_all(words: Sequence[str], app: App, *, is_whole: bool = False) -> list[str]:
    """Return the ids of the deployments typed, each once. Raises QoderError for one that is not there."""
    ids_or_errors = deployment_ids_of(words, app, is_whole=is_whole)
    if error := first_by_rank(error for error in ids_or_errors if isinstance(error, QoderError)):
        raise error
    return list(dict.fromkeys(map(str, ids_or_errors)))


def ids_to_change(words: Sequence[str], app: App) -> list[str | QoderError]:
    """Return the id or error for each, by a list that says that it is complete. Raises UsageError, ApiError."""
    return deployment_ids_of(words, app, is_whole=True)


def deployment_ids_of(words: Sequence[str], app: App, *, is_whole: bool = False) -> list[str | QoderError]:
    """Return the id or error for each, with one listing. Raises UsageError, ApiError."""
    if all(ids.deployment(word).startswith("dep_") for word in words):
        return list(words)
    from qoder_cli.nouns.named import Names
    from qoder_cli.nouns.table import NOUNS

    return Names(app, is_whole=is_whole).ids_of(NOUNS["deploy"], words)


def several_deployment_ids(
    words: Sequence[str], app: App, *, may_repeat: bool, may_lack: bool
) -> list[str | QoderError]:
    """Return the id or error for each of several to be run. Raises UsageError for one twice, QoderError for errors."""
    ids_or_errors = ids_to_change(words, app)
    for id, count in Counter(id for id in ids_or_errors if isinstance(id, str)).most_common(1):
        if count > 1 and not may_repeat:
            same = dict.fromkeys(word for word, other in zip(words, ids_or_errors, strict=True) if other == id)
            hint = "list it once, or pass --allow-duplicates (not with --idempotency-key)"
            raise UsageError(f"duplicate deployment: {id} is listed {count} times ({', '.join(same)})", hint=hint)
    unknown = [error for error in ids_or_errors if isinstance(error, QoderError)]
    if not unknown or may_lack:
        return ids_or_errors
    if len(words) == 1:
        raise unknown[0]
    messages = []
    for error in unknown[:_LISTED]:
        near = (error.hint or "").removesuffix(f"({app.settings.asked})").strip()
        messages.append(f"{error.message}, {near}" if near.startswith("did you mean") else error.message)
    if len(unknown) > _LISTED:
        messages.append(f"and {len(unknown) - _LISTED} more")
    some = f"{len(unknown)} of {len(words)} deployments"
    why = f"nothing was started: {some} unknown or ambiguous: {'; '.join(messages)}"
    hint = f"{app.settings.asked}; list them: qoder deploy list; to start the others, add --keep-going"
    if any(isinstance(error, NotFound) for error in unknown):
        raise NotFound(why, hint=hint)
    raise UsageError(why, hint=hint)


def read_deployment(app: App, id: str, **how: Any) -> Deployment:
    """Return a deployment; `how` is passed to `Client.get`. Raises ApiError, NoResponse for another deployment."""
    try:
        deployment = Deployment.read(app.client.get(f"/deployments/{segment(id)}", **how))
    except NotFound as error:
        raise error.about(f"deployment {id}") from None
    if deployment is None:
        raise NoResponse(f"deployment {id}: unexpected response: not a deployment")
    if deployment.id != id:
        raise NoResponse(f"the response is not deployment {id}")
    return deployment


def find_deployment(app: App, id: str, *, fresh: bool = False) -> Deployment:
    """Return a deployment by the id typed; `fresh` is that of `Client.get`. Raises ApiError, with near ids."""
    try:
        return read_deployment(app, id, fresh=fresh)
    except NotFound as error:
        raise explain_missing(error, id, app) from None


def read_pages(app: App, *, archived: bool = False, retry: bool = True) -> Iterator[dict[str, Any]]:
    """Yield the pages of the list of deployments, newest first. Raises ApiError.

    What is not among them may be created: a list that a proxy has kept is none.
    """
    query = filled({"limit": 100, "include_archived": archived and "true"})
    return app.client.pages("/deployments", query, retry=retry, fresh=True)


def explain_missing(error: NotFound, id: str, app: App) -> NotFound:
    """Return the error of a missing deployment, with near ids and names."""
    if id not in error.message:
        error = error.about(f"deployment {id}")
    with suppress(ApiError):
        from qoder_cli.nouns.named import advice
        from qoder_cli.nouns.table import NOUNS

        listed = (row for page in read_pages(app, retry=False) for row in map(Deployment.read, page["data"]))
        alive = (deployment for deployment in listed if deployment and deployment.archived_at is None)
        names = {deployment.id: deployment.name or "" for deployment in islice(alive, _SUGGEST_FROM)}
        return error.with_(**advice(app, NOUNS["deploy"], id, names))
    return error


def explain_refusal(error: ApiError, id: str, app: App) -> ApiError:
    """Return the error of a refused run, explained: a 409 does not say why (api.md#errors)."""
    if isinstance(error, NotFound):
        return explain_missing(error, id, app)
    if error.http_status != 409:
        return error
    with suppress(ApiError):
        if refusal := refusal_of(read_deployment(app, id), app):
            return error.with_(message=refusal.message, hint=refusal.hint)
    return error


def refusal_of(deployment: Deployment, app: App) -> Rejected | None:
    """Return why a deployment cannot run (archived, paused), or None."""
    if deployment.archived_at:
        return Rejected(
            f"deployment {deployment.id} was archived on {deployment.archived_at}",
            hint="run another deployment; archiving cannot be undone",
        )
    if deployment.state != "paused":
        return None
    because = f" ({deployment.paused_because})" if deployment.paused_because else ""
    fires = f" (its next scheduled run is then at {deployment.next_fires[0]})" if deployment.next_fires else ""
    return Rejected(
        f"deployment {deployment.id} is paused{because}",
        hint=f"resume it first: {shlex.join(app.command('deploy', 'unpause', deployment.id))}{fires}",
    )
