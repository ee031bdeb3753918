"""The error that ends a command, by how its run stands, with the next command."""

import shlex
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from qoder_cli.app import App
from qoder_cli.base.errors import (
    ApiError,
    Exit,
    LostSight,
    NeedsAnswer,
    NoResponse,
    NotYet,
    OutcomeUnknown,
    QoderError,
    RunFailed,
    RunSkipped,
    RunState,
    Signalled,
    UsageError,
    WaitTimeout,
)
from qoder_cli.base.ids import noun, segment
from qoder_cli.base.model import Run, RunData, SessionData, open_shape
from qoder_cli.base.outcome import (
    FINAL,
    SESSION_ARCHIVED,
    Standing,
    calls_to_answer,
    is_going,
    standing,
    verdict,
    waits_for_answer,
)
from qoder_cli.base.pool import Late
from qoder_cli.base.times import Clock, Limits, span
from qoder_cli.base.tokens import without_tokens
from qoder_cli.output.results import Item, NotFoundItem, Result
from qoder_cli.settings.values import OnAsk

if TYPE_CHECKING:
    from qoder_cli.output.cells import Fields
    from qoder_cli.policy.rules import Policy
    from qoder_cli.runs.observe import Observer

CANCEL_WITHIN = 1.0  # seconds for reading a run that is left, and again for cancelling it
_TO_ANSWER = "to see what it waits for, before you approve, deny or answer it"


class Wanted(NamedTuple):
    """The options of a wait: its limits, and what is wanted beyond the run itself."""

    limits: Limits = Limits()
    follow: bool = False  # show the session's events as they happen
    require_satisfied: bool = False  # fail unless all evaluations are `satisfied`
    result: bool = False  # print the final message, in JSON with the run
    on_ask: OnAsk = "stop"  # what to do while the agent waits for an answer
    policy: "Policy | None" = None  # what answers first

    def since(self, began: float, clock: Clock) -> "Wanted":
        """Return these for a wait that has run since `began` (monotonic clock)."""
        return self._replace(limits=self.limits._replace(spent=clock.monotonic() - began))


@open_shape
class RunItem(RunData, Item):
    """A run that is one of several."""


@open_shape
class SessionItem(SessionData, Item):
    """A session that is one of several."""


class GoingItem(Item):
    """What stands for a run that was not started beside others (--if-idle, --queue-timeout; --on-skip ok)."""

    id: Annotated[None, "null"]
    going: Annotated[str | None, "the run, or the session, that is going; null after --queue-timeout"]


AnyRun = RunData | GoingItem
AnyItem = RunItem | NotFoundItem | GoingItem
AnySession = SessionItem | NotFoundItem


@dataclass(frozen=True, eq=False, repr=False)
class Ended(Result[Run]):
    """The result of a run, or of one that was to be started; `with_message`: its final message is to be printed.

    `going` is the run, or the session, because of which none was started, where --on-skip accepts that; empty for
    several.
    """

    with_message: bool = False
    going: str | None = None

    def excused(self) -> "Ended":
        """Return this as --on-skip ok has it: without an error if the run was skipped, or not started beside another.

        That other run is somebody else's result, so it is named here and not printed.
        """
        if not isinstance(self.error, RunSkipped):
            return self
        if self.found is None or is_going(self.found):
            return self.with_(found=None, error=None, going=self.error.run_id or self.error.session_id or "")
        return self.with_(error=None)

    @property
    def run_id(self) -> str | None:
        if self.found is not None:
            return self.found.id
        return self.error.run_id if self.error else None

    @property
    def goes_on(self) -> bool:
        """Whether there is a run that may still be running."""
        if self.found is not None:
            return is_going(self.found)
        error = self.error
        return isinstance(error, WaitTimeout) or bool(error and error.run_id and error.run_state != "ended")

    @property
    def is_unknown(self) -> bool:
        """Whether nobody knows if a run was started."""
        return self.found is None and self.exit_code == Exit.OUTCOME_UNKNOWN

    @property
    def status(self) -> str:
        if self.found is not None:
            return self.found.status or "gone"
        if not self.attempted or self.going is not None:
            return "not_started"
        return self.error.type_name if self.error else "pending"

    @property
    def stands(self) -> str:
        """How it stands in a word for people."""
        from qoder_cli.output.cells import WAITS

        if self.found is not None and waits_for_answer(self.found):
            return WAITS
        return self.status.replace("_", " ")

    def as_json(self) -> dict[str, Any]:
        if self.going is None:
            return super().as_json()
        beside: GoingItem = {"id": None, **self.item, "going": self.going or None}
        return dict(beside)

    def row(self, app: App) -> "Fields":
        """Return its row. On a terminal it has the deployment as it was typed, or by the name that stands for it."""
        from qoder_cli.nouns.views import missing_row, run_row, waiting_status, with_name

        run, is_wide = self.found, app.output.is_wide
        if run is None:
            row = missing_row(without_tokens(self.typed), self.status)
            return with_name(row, None, None, is_wide=is_wide) if app.output.is_drawn else row
        if not app.output.is_drawn:
            return run_row(app.named(run))
        row, name = run_row(run), app.seen_names.standing_for(run.deployment_id)
        if not self.typed.startswith(("drun_", "sess_", "dep_")) and not self.typed.endswith("last"):
            name = self.typed
        row["status"] = waiting_status(run, app.client.server_now()) or row["status"]
        return with_name(row, run.deployment_id, name, is_wide=is_wide)

    def named(self, app: App) -> "Ended":
        """Return this with its deployment's name, if this machine has seen it."""
        if self.found is None:
            return self
        return self.with_(found=app.named(self.found))


def naming(run: Run, run_state: RunState) -> dict[str, Any]:
    """Return the fields of an error that name its run."""
    return {"run_id": run.id, "session_id": run.session_id, "run_state": run_state}


def ending_error(run: Run, app: App) -> QoderError | None:
    """Return the error for a run, its status filled in; None if it completed."""
    about = {**naming(run, "ended"), "api_type": run.error_type}
    match verdict(run):
        case Exit.OK:
            return None
        case Exit.NOT_YET:
            return not_ended(run, app)
        case Exit.OUTCOME_UNKNOWN:
            is_archived = run.derived.get("error") == SESSION_ARCHIVED.error
            why = "archived before its turn ended" if is_archived else "deleted"
            return OutcomeUnknown(
                f"the outcome of {run.called} is unknown: {'it' if run.is_session else 'its session'} was {why}",
                hint="check what the run did before starting another",
                next=app.looking(noun(run.id), "get", run.id),
                **{**about, "run_state": "unknown"},
            )
        case Exit.LOST_SIGHT:
            return LostSight(
                f"no work was seen after the message to {run.called}, which has rested for a minute",
                hint="to see whether the message is there, before you send it again",
                next=app.looking(noun(run.id), "logs", run.id, "--tail", "20"),
                **{**about, "run_state": "unknown"},
            )
        case Exit.RUN_SKIPPED:
            return RunSkipped(
                f"run {run.id} was skipped: too many runs of this deployment at once",
                hint=f"start it once more when another one has finished: {_again(run, app)}",
                **about,
            )
    if run.session_id and run.error_type == "budget_reached":
        about |= {
            "hint": "raise the budget of its session (qoder session update … --budget); it may then go on when it is"
            " sent a message (qoder session send); to see what it has used",
            "next": app.looking("session", "get", run.session_id),
        }
    elif run.is_session:
        about |= {"hint": "to see what the agent did", "next": app.looking("session", "logs", run.id)}
    elif run.session_id:
        about |= {"hint": "to see what changed since it last worked", "next": app.looking("run", "why", run.id)}
    elif run.deployment_id:
        about |= {
            "hint": f"fix what the error names, then: {_again(run, app)}; to see what else is wrong",
            "next": app.looking("deploy", "check", run.deployment_id),
        }
    return RunFailed(_failure(run, app), **about)


def _again(run: Run, app: App) -> str:
    """Return the command that starts it once more, whoever else does so, too."""
    return shlex.join(app.command("run", "retry", run.id))


def accepted_error(run: Run, app: App) -> QoderError | None:
    """Return the error for a run that nobody waits for; None while it is still going."""
    error = ending_error(run, app)
    return None if isinstance(error, NotYet) else error


def not_ended(run: Run, app: App) -> QoderError:
    """Return the error for a run that is still going: how to wait for it or answer it."""
    if waits_for_answer(run):
        pending = app.command("run", "pending", run.id)
        return going_on(NotYet(f"{run.called} waits for an answer", hint=_TO_ANSWER, next=pending), run, app)
    return going_on(NotYet(f"{run.called} is still {run.status}", hint="to wait for it"), run, app)


def going_on(error: QoderError, run: Run, app: App) -> QoderError:
    """Return the error with the command to wait for a run that is still going."""
    run_state = error.run_state
    if run_state == "none":
        run_state = "going"
    return error.with_(next=error.next or app.wait_again(run.id), **naming(run, run_state))


def needs_answer(run: Run, app: App) -> NeedsAnswer:
    """Return the error that a run needs an answer, with the next command."""
    calls = calls_to_answer(run)
    waits = f"{run.called} waits for an answer" + (f" to {', '.join(calls)}" if calls else "")
    next = app.command("run", "pending", run.id)
    return NeedsAnswer(waits, hint=_TO_ANSWER, next=next, run_state="going")


def unanswered(
    observer: "Observer", wanted: Wanted, app: App, *, left: Callable[[], float] | None
) -> QoderError | None:
    """Return the error that a run needs an answer; None once it is answered, or if no time is `left` for it.

    A policy answers first. With --on-ask wait there is none: a person may still answer elsewhere.
    """
    if (run := observer.run) is None:
        return None
    if wanted.policy is not None:
        try:
            if not _left_by_policy(observer, run, wanted.policy, app):
                return None
        except QoderError as error:
            return _unanswerable(error, run, observer, app)
        run = observer.run or run
    if wanted.on_ask != "stop" and app.flags.may_notify:
        from qoder_cli.runs.notify import notify_of_ask

        notify_of_ask(app, run)
    if wanted.on_ask == "wait":
        return None
    if wanted.on_ask != "prompt":
        return needs_answer(run, app)
    from qoder_cli.sessions.question import prompted

    try:
        if not (run.session_id and prompted(app, run.session_id, run=run, left=left)):
            return needs_answer(run, app)
    except Late:
        app.progress.note("no reply came in time; nothing was sent", always=True)
        return None
    except Signalled as signalled:
        next = app.command("run", "approve", run.id)
        return stopped_waiting(signalled, run.id, run, app).with_(hint="to answer what the agent asks", next=next)
    except QoderError as error:
        return _unanswerable(error, run, observer, app)
    observer.forget_asks()
    return None


def _left_by_policy(observer: "Observer", run: Run, policy: "Policy", app: App) -> bool:
    """Let a policy answer what a run asks. Return whether something is left for a person. Raises QoderError."""
    from qoder_cli.sessions.by_policy import answer_by

    left = answer_by(app, policy, run.session_id or "", run_id="" if run.is_session else run.id)
    observer.forget_asks()
    if left:
        observer.asks_a_person = True
        observer.note_rest()
        with suppress(ApiError):
            observer.look()  # so that it does not show what is answered by now
    return left


def _unanswerable(error: QoderError, run: Run, observer: "Observer", app: App) -> QoderError:
    """Return the error that ends a wait after one from answering."""
    if not isinstance(error, UsageError | ApiError):
        return error.with_(run_id=observer.run_id, run_state="going")
    asks, why = needs_answer(run, app), error.message.removesuffix("; nothing was sent")  # the run still waits
    about = {"api_type": error.api_type, "http_status": error.http_status, "request_id": error.request_id}
    return asks.with_(message=f"{asks.message}: {why}", **about)


_SILENT = 60.0  # seconds after which what was heard last may be over


def timed_out(run_id: str, run: Run | None, timeout: float | None, silence: float = 0.0) -> WaitTimeout:
    """Return the error that waiting timed out (in seconds; 0 means one read), after so many seconds of silence."""
    when = f"timed out after {span(timeout)}; " if timeout else ""
    what = f"{when}{noun(run_id)} {run_id}"
    if run and run.status and silence > _SILENT:
        what += f" was {run.status} when it was last heard of, {span(silence)} ago"
        return WaitTimeout(what, hint="to resume waiting", run_state="unknown")
    if run and run.status:
        return WaitTimeout(f"{what} is still {run.status}", hint="to resume waiting", run_state="going")
    return WaitTimeout(f"{what} may be running: nothing was heard of it", run_state="unknown")


def stopped_waiting(signalled: Signalled, run_id: str, run: Run | None, app: App) -> QoderError:
    """Return the error for a signal that ends a wait, with how to resume."""
    stands, session_id, run_state = "may be running (no status yet)", None, "unknown"
    if run:
        stands, session_id, run_state = "keeps running", run.session_id, "going"
    return signalled.in_words(
        f"stopped waiting; {noun(run_id)} {run_id} {stands}",
        hint="to resume waiting",
        next=app.wait_again(run_id),
        run_id=run_id,
        session_id=session_id,
        run_state=run_state,
    )


def _failure(run: Run, app: App) -> str:
    if run.status not in FINAL:
        return f"{run.called} ended with the unrecognised status {run.status!r}: treated as failed"
    kind = f" ({run.error_type})" if run.error_type else ""
    why = f": {app.client.veil(run.error_message)}" if run.error_message else ""
    return f"{run.called} {'failed' if run.session_id else 'did not start'}{kind}{why}"


def beside_record(error: QoderError, run: Run | None, app: App) -> QoderError:
    """Return the error, shortened if the record above it says the same."""
    is_above = run is not None and error.message == _failure(run, app)
    if is_above and app.output.is_drawn and app.err.is_terminal:
        return error.with_(message="the run failed" if error.session_id else "the run did not start")
    return error


def unread(run: Run, signalled: Signalled) -> QoderError:
    """Return the error of a run that has ended, when a signal stopped the reading of the rest."""
    return signalled.in_words(f"{run.called} has ended, but nothing more was read of it", **naming(run, "ended"))


def unreadable(run: Run, error: ApiError, app: App, wanted: Wanted) -> QoderError:
    """Return the error of a run that has ended, when the rest cannot be read."""
    again = ["result", run.id]
    if wanted.require_satisfied:
        again = ["wait", run.id, "--require-satisfied"]
    return LostSight(
        f"{run.called} has ended, but its outcome cannot be read: {error.message}",
        hint="try again; do not start another",
        next=app.command(noun(run.id, again[0]), *again),
        cause=error,
        **naming(run, "ended"),
    )


def leave_run(error: QoderError, run: Run, app: App) -> QoderError:
    """Cancel a run that is left running, if it is ours and --on-leave says so. Return the error."""
    if app.flags.on_leave != "cancel":
        return error
    if run.adopted:
        app.progress.warn(f"run {run.id} was not cancelled: it was adopted")
        return error
    from qoder_cli.http.write import cancelling

    path = f"/deployment_runs/{segment(run.id)}"
    try:
        now = Run.read(app.client.get(path, within=CANCEL_WITHIN, retry=False))  # it may name another session
        if now is None or now.id != run.id:
            raise NoResponse(f"the response is not run {run.id}")
        if standing(now) is Standing.ENDED:  # what works in its session by now is somebody else's
            app.progress.warn(f"run {run.id} was not cancelled: it has ended")
            return error
        if now.session_id is None:
            raise NoResponse(f"the response names no session of run {run.id}")
        session_id = now.session_id
        cancelling(app.client, lambda: session_id, timeout=CANCEL_WITHIN, retries=False).send()
    except QoderError as failure:
        app.progress.warn(f"run {run.id} could not be cancelled and may still be running: {failure.message}")
        return error
    message = f"{error.message}; cancellation was requested"
    return error.with_(asked_to_cancel=True, message=message, hint="to check the outcome")
