"""From what was typed to a run: the trigger in words, and everything that can stand in its way."""

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qoder_cli.base.errors import ApiError, Exit, QoderError, Signalled
from qoder_cli.deployments.lookup import explain_refusal
from qoder_cli.http.pace import Pace
from qoder_cli.runs.ending import stopped_with
from qoder_cli.runs.trigger import Started, Trigger
from qoder_cli.settings.values import OnLost, written

if TYPE_CHECKING:
    from qoder_cli.app import State


@dataclass(frozen=True)
class Order:
    """A run that was asked for: of which deployment, under which key (None: a new one), and what if it is lost.

    `options` are the words of the command line that a repetition needs too.
    """

    deployment_id: str
    key: str | None = None
    on_lost: OnLost = "adopt"
    options: tuple[str, ...] = ()

    def repeated(self, state: "State", key: str) -> list[str]:
        """Return the command that gives this order again, under the key it had."""
        return state.command("deploy", "run", self.deployment_id, *written("--idempotency-key", key), *self.options)


def trigger_of(state: "State", order: Order, *, pace: Pace | None = None) -> Trigger:
    """Return the trigger that an order asks for; `pace` spaces it among others."""
    key = order.key or str(uuid.uuid4())
    return Trigger(
        client=state.client,
        store=state.store,
        progress=state.progress,
        deployment_id=order.deployment_id,
        key=key,
        is_new_key=order.key is None,
        on_lost=order.on_lost,
        on_started=state.known.started.append,
        repeat=order.repeated(state, key),
        look=state.command("run", "list", order.deployment_id),
        pace=pace,
    )


def launch(state: "State", order: Order) -> Started:
    """Trigger one run, say which, and return it.

    Raises QoderError that says what is known, with the run on stdout if one is, also when a signal arrived.
    """
    from qoder_cli.local.remembered import remember_run

    state.progress.note(f"starting a run of {order.deployment_id} {state.client.settings.whereabouts}")
    trigger = trigger_of(state, order)
    try:
        started = trigger.start()
    except Signalled as signalled:
        if trigger.run is None and not trigger.may_have_started:
            raise
        raise _stopped(state, trigger, signalled) from None
    except ApiError as error:
        raise explain_refusal(error, order.deployment_id, state) from error
    state.progress.note(f"run {started.run.id} of {order.deployment_id}")
    state.known.ci.started(started.run.id, started.run.session_id)
    remember_run(state, started.run)
    return started


def _stopped(state: "State", trigger: Trigger, signalled: Signalled) -> QoderError:
    """Return the last words when a signal came while the trigger was under way."""
    if trigger.run is not None:
        return stopped_with(signalled, trigger.run, state)
    return signalled.in_words(
        f"interrupted while starting {trigger.deployment_id}; it is unknown whether the run started",
        hint="before starting another, check",
        next=state.command("run", "wait", "last"),
        run_state="unknown",
    ).with_(kind=Exit.OUTCOME_UNKNOWN)
