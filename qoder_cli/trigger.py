"""The one write that must not happen twice: `POST /deployments/{id}/run`.

Its page promises no idempotency and a server can act late (api/facts.md, 3.5 and 5), so only what certainly did not
start anything is sent again.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from qoder_cli.clock import TRIES, TRY_FOR
from qoder_cli.errors import ApiError, NoAnswer, OutcomeUnknown, Signalled, Unavailable
from qoder_cli.ids import segment
from qoder_cli.model import Run
from qoder_cli.progress import Progress
from qoder_cli.times import span

if TYPE_CHECKING:
    from qoder_cli.client import Client, Pending

TRIGGER_TIMEOUT = 60.0  # seconds
LAST_WORDS = 2.0  # seconds to settle a trigger under way when a signal arrives


class TriggerStopped(Exception):
    """A signal arrived while the trigger was under way; `run` is what could still be learnt of it, or None."""

    def __init__(self, signalled: Signalled, run: Run | None) -> None:
        super().__init__(signalled)
        self.signalled = signalled
        self.run = run


def trigger(
    client: "Client", deployment_id: str, *, key: str, progress: Progress, on_started: Callable[[Run], None]
) -> Run:
    """Start one run of the deployment and return it as the server answered; `on_started` hears of it at once.

    Sent again, under the same key, only after 429 or when no connection was ever made. Raises ApiError when certainly
    nothing was started, OutcomeUnknown when that is not certain, TriggerStopped when a signal came in between.
    """
    began = client.clock.monotonic()
    pause = 0.5
    for attempt in range(1, TRIES + 1):
        try:
            return _once(client, deployment_id, key, on_started)
        except Unavailable as error:
            if not _started_nothing(error):
                raise _unknown(deployment_id, error) from error
            wait = error.retry_after if error.retry_after is not None else pause * client.clock.jitter()
            spent = client.clock.monotonic() - began
            if not error.retryable or attempt == TRIES or spent + wait > TRY_FOR:
                raise
            progress.note(f"nothing was started: {error.message}; trying again in {span(wait)}")
            client.clock.sleep(wait)
            pause = min(pause * 2, 8.0)
    raise AssertionError("the last try returns or raises")


def _once(client: "Client", deployment_id: str, key: str, on_started: Callable[[Run], None]) -> Run:
    timeout = client.settings.request_timeout or TRIGGER_TIMEOUT
    path = f"/deployments/{segment(deployment_id)}/run"
    pending = client.begin("POST", path, headers={"idempotency-key": key}, timeout=timeout)
    try:
        run = _read(client, pending, timeout, deployment_id)
        on_started(run)  # inside, so that no signal can come between learning of it and remembering it
        return run
    except Signalled as signalled:
        raise TriggerStopped(signalled, _last_words(client, pending, deployment_id)) from None


def _last_words(client: "Client", pending: "Pending", deployment_id: str) -> Run | None:
    try:
        return _read(client, pending, LAST_WORDS, deployment_id)
    except (ApiError, OutcomeUnknown):
        return None


def _read(client: "Client", pending: "Pending", within: float, deployment_id: str) -> Run:
    run = Run.read(client.understand(pending.result(within)))
    if run is None:
        raise NoAnswer("the server answered with something that is no run")
    if run.deployment_id not in (None, deployment_id):
        raise OutcomeUnknown(
            f"the server answered with a run of {run.deployment_id}, not of {deployment_id}",
            hint="look at the runs of both deployments before starting another",
            run_id=run.id,
            session_id=run.session_id,
            run_state="unknown",
        )
    return run


def _started_nothing(error: Unavailable) -> bool:
    """Return whether the answer, or its lack, is certain to mean that no run was started."""
    if isinstance(error, NoAnswer):
        return not error.sent
    return error.http_status == 429 or 300 <= (error.http_status or 0) < 400


def _unknown(deployment_id: str, error: ApiError) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"whether a run of {deployment_id} was started is not known: {error.message}",
        hint="look at the deployment's runs before starting another; do not blindly repeat",
        run_state="unknown",
        api_type=error.api_type,
        http_status=error.http_status,
        request_id=error.request_id,
    )
