"""The one write that must not happen twice: `POST /deployments/{id}/run`.

Its page promises no idempotency, responses get lost and a server can act late (api.md#idempotency and
#open-questions). What settles it is the run list (`lost`). After a 5xx from the API itself the request is sent again,
at most TRIGGER_RESENDS times; after a lost response only with --on-lost resend, or when the key is used again. In each
case only if the list rules out a run of ours. An attempt that failed stays open after exit 6 or 7, too: the server may
act on it late, so the next start under its key looks first.
"""

import math
import re
import shlex
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from itertools import repeat
from typing import NamedTuple

from qoder_cli.app import App
from qoder_cli.base import signals
from qoder_cli.base.errors import (
    LONGEST_RETRY_AFTER,
    ApiError,
    LostSight,
    NoResponse,
    OutcomeUnknown,
    Unavailable,
    UsageError,
)
from qoder_cli.base.ids import segment
from qoder_cli.base.model import Run
from qoder_cli.base.polling import poll
from qoder_cli.base.times import span
from qoder_cli.http.answers import Answer, Pending
from qoder_cli.http.pace import Closed, Pace
from qoder_cli.http.write import Journal, Meaning, Recovery, Write
from qoder_cli.local.store import Attempt, StoredAttempt
from qoder_cli.runs.lost import (
    NO_OTHERS,
    RUN_LIST_LOOKS,
    THOROUGH_LOOKS,
    Others,
    age,
    dated,
    hint_to_end_doubt,
    look_for_run,
    note_not_started,
    to_forget,
)
from qoder_cli.settings.values import OnLost, written

TRIGGER_TIMEOUT = 60.0  # seconds
TRIGGER_RESENDS = 2
KEY_PAUSE = 0.2  # seconds between two looks whether another process has let go of the key
KEY_SAID_AFTER = 10  # seconds until even a quiet command says that it waits for that
KEY_LIMIT = 600  # seconds; no start takes longer, so the process was stopped or hangs
# A key of our own making, which the hint of an exit 9 repeats: no run from before its first attempt can have it.
_GENERATED_KEY = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


class Order(NamedTuple):
    """A run to start; `options` are the words to repeat it with, `typed` is its name."""

    deployment_id: str
    key: str | None = None
    on_lost: OnLost = "adopt"
    options: tuple[str, ...] = ()
    typed: str = ""
    until_completed: bool = False  # a run that failed frees its key; only with a shared store
    covers: tuple[str, ...] = ()  # other keys under which its run is written, too (`runs.shared`)
    retry_of: str | None = None  # the run that is started once more; the key is then that of `ids.retry_key`


def repeating(app: App, orders: Sequence[Order]) -> list[str]:
    """Return the command that repeats orders, all from one command, under the same keys."""
    first, ids = orders[0], [order.deployment_id for order in orders]
    if first.retry_of is not None:
        return app.command("run", "retry", *(order.retry_of or "" for order in orders), *first.options)
    key = first.key
    if key is not None and len(orders) > 1:
        key = key.removesuffix(f":{ids[0]}")
    words = [*written({"--idempotency-key": key}), *first.options]
    if len(set(ids)) < len(ids):
        words.append("--allow-duplicates")
    return app.command("deploy", "run", *ids, *words)


class Hold(ABC):
    """What a trigger holds while it starts a run: a slot of a queue, or other keys."""

    @property
    def left(self) -> str:
        """What is said of it where nobody knows whether a run was started."""
        return ""

    @abstractmethod
    def during(self, trigger: "RunTrigger") -> AbstractContextManager[None]:
        """Take it, and at the end write down how the trigger ended. Raises QoderError, Closed, Signalled."""

    def before_sending(self) -> None:
        """Act right before each attempt; by default not at all. Raises QoderError where it must not be sent."""
        return


class RunTrigger:
    """One run to start, once. `on_sending` is called before anything is sent, if anything is.

    `run` is set as soon as it is known, and `on_known` is called, which raises nothing.

    `holds` are taken first, in this order. `answer` is the run that it was answered with, started or not.

    With `others`, several machines share the key (`shared`): what may have acted is never sent again.
    """

    def __init__(
        self,
        app: App,
        order: Order,
        *,
        pace: Pace | None = None,
        others: Others | None = None,
        on_sending: Callable[[], None] = lambda: None,
        on_known: Callable[[Run], None] = lambda run: None,
        holds: Sequence[Hold] = (),
    ) -> None:
        recovery = Recovery(
            self.doubt,
            settle=self._settle,
            already=self._already,
            resend_after=self._resend_after,
            can_rule_out=others is None,
            nothing="not started",
            absent="no new run is listed",
        )
        journal = Journal(self._begin, self._did_nothing, self._note_run)
        self.write = Write(app.client, self._request, self._read, recovery, journal, pace=pace)
        self.run: Run | None = None
        self.answer: Run | None = None
        self._app = app
        self._order = order
        self._others = others
        self._on_sending = on_sending
        self._on_known = on_known
        self._holds = holds
        self._is_told = False
        self._key = order.key or str(uuid.uuid4())
        self._first_under_key: Attempt | None = None  # of an earlier command
        self._open_under_key: list[Attempt] = []  # of earlier commands, oldest first
        self._sent: dict[Attempt, float] = {}  # this command's that may have started a run, and when each was sent

    @property
    def repeat(self) -> list[str]:
        """The command that repeats this trigger under the same key."""
        return repeating(self._app, [self._order._replace(key=self._key)])

    def start(self) -> Run:
        """Start a run and return it, or the run that this key has started before.

        Raises ApiError if nothing was started, OutcomeUnknown if that is uncertain, UsageError, Closed, Signalled;
        `run` and `write` then say what is known.
        """
        with signals.deferred(), ExitStack() as holding:
            for hold in self._holds:
                holding.enter_context(hold.during(self))
            holding.enter_context(self._key_to_itself())
            self.answer = run = self._start()
            if not self._sent:
                self._app.tracked.already_started.add(run.id)
            self._tell(run)
        return run

    def _start(self) -> Run:
        return self._started_before() or self._send_now()

    def _send_now(self) -> Run:
        self._on_sending()
        return self.write.send().value

    def _tell(self, run: Run) -> None:
        """Tell which run it is, once."""
        if not self._is_told:
            self._is_told = True
            if self._order.retry_of is not None:
                self._app.tracked.retries[run.id] = self._order.retry_of
            self._on_known(run)

    # The write.

    @property
    def _freed_after(self) -> str:
        """What was started under the key, or may have been, when it was freed last; empty if it never was."""
        if self._order.key is None:
            return ""
        return self._app.store.freed_after(self._key, host=self._app.client.settings.host)

    def _request(self) -> Pending:
        client, path = self._app.client, f"/deployments/{segment(self._order.deployment_id)}/run"
        key, timeout = self._key, client.settings.request_timeout or TRIGGER_TIMEOUT
        if freed_after := self._freed_after:  # another key, or the server may answer with its old run
            key = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{key}\0{freed_after}"))
        return client.prepare("POST", path, headers={"idempotency-key": key}, timeout=timeout)

    def _read(self, answer: Answer) -> Run:
        """Return the run in a response. Raises ApiError, and OutcomeUnknown for another deployment's run."""
        run = Run.read(self._app.client.understand(answer))
        if run is None:
            raise NoResponse("the response is not a run")
        self._mine(run)
        why = None
        owner = self._app.store.owner(run.id, host=self._app.client.settings.host)
        if run.is_scheduled:
            why = "a run that a schedule started"
        elif owner is not None:
            why = "a run that another command of this machine started"
        elif run.created is not None and run.created < self._no_run_before:
            why = "a run from before this command"
        if why is not None:
            raise NoResponse(f"the response is {why} ({run.id})")
        return run

    @property
    def _no_run_before(self) -> float:
        """The time before which no run can have been started under the key, by the server's clock; -inf if unknown.

        A key that was typed may have started its run long ago, and the server may return that old run.
        """
        if self._order.key is None:
            return self._attempts()[0].no_run_before
        if self._first_under_key is not None and re.fullmatch(_GENERATED_KEY, self._order.key):
            return dated(self._app.client, self._first_under_key).no_run_before
        return -math.inf

    def doubt(self, why: str, cause: ApiError | None, may_repeat: bool) -> OutcomeUnknown:
        """Return the error that a run may have been started; `may_repeat` if none shows, or nobody looked.

        Under a key that machines share nothing is repeated.
        """
        message = f"unknown whether a run of {self._order.deployment_id} was started: {why}{self.left}"
        end_doubt = to_forget(self._app)
        if self._order.key is not None:
            end_doubt = shlex.join(self._app.command("key", "free", self._key))
        hint, next = hint_to_end_doubt(end_doubt), self._to_look
        if may_repeat and self._others is None:
            check = shlex.join(self._app.command("run", "wait", "last"))
            hint = f"check first: {check}; only if it finds no run, send it again, under the same key"
            next = self.repeat
        return OutcomeUnknown(message, hint=hint, next=next, run_state="unknown", cause=cause)

    @property
    def left(self) -> str:
        """What is said of what it holds where nobody knows whether a run was started."""
        return "".join(hold.left for hold in self._holds)

    def _begin(self) -> None:
        for hold in self._holds:
            hold.before_sending()
        clock, settings = self._app.client.clock, self._app.client.settings
        attempt = self._app.store.begin(
            at=clock.now(),
            ahead=self._app.client.server_ahead,
            profile=settings.profile,
            host=settings.host,
            deployment=self._order.deployment_id,
            key=self._key,
        )
        self._sent[attempt] = clock.monotonic()

    def _did_nothing(self) -> None:
        self._app.store.record_nothing(self._sent.popitem()[0])

    def _note_run(self, value: Run) -> None:
        self._app.store.record_run([*self._sent][-1], value.id)
        self._hear_of(value)

    def _settle(self, error: ApiError, meaning: Meaning) -> Run | None:
        if self._order.on_lost == "fail":
            raise OutcomeUnknown("not looked for, because of --on-lost fail")
        thoroughly = meaning is not Meaning.LOST or self._order.on_lost == "resend"
        seconds = THOROUGH_LOOKS[-1] if thoroughly else RUN_LIST_LOOKS[-1]
        self._app.client.progress.note(
            f"no confirmation ({error.message.rstrip('.')}); checking the run list for up to {span(seconds)}"
        )
        return self._find(thoroughly=thoroughly)

    def _already(self, error: ApiError, write: Write[Run]) -> Run | None:
        """Return the run that a failed attempt turns out to have started, when a later attempt was refused."""
        if Meaning.FAILED not in write.unsettled:
            return None
        return self._find(thoroughly=False)

    def _resend_after(self, error: ApiError, meaning: Meaning, resends: int, spent: float) -> float | None:
        """Return the seconds to wait before sending again; None if the list does not rule out a run."""
        if self._others is not None or meaning is Meaning.DOUBTFUL or resends == TRIGGER_RESENDS:
            return None
        if meaning is Meaning.LOST:
            return 0.0 if self._order.on_lost == "resend" else None
        pause = error.retry_after or 0.0
        if pause > LONGEST_RETRY_AFTER:
            return None
        return max(pause - THOROUGH_LOOKS[-1], 0.0)  # looking has already used up a part of it

    # The run list.

    def _find(self, *, thoroughly: bool) -> Run | None:
        """Look for the run of any open attempt under this key."""
        others = self._others or NO_OTHERS
        run = look_for_run(self._app.client, self._app.store, self._attempts, thoroughly=thoroughly, others=others)
        if run is not None:
            run = replace(run, adopted=True)
            self._hear_of(run)
            self._app.client.progress.warn(
                f"adopted run {run.id}: the response was lost, and this is the only run started since"
            )
        return run

    def _attempts(self) -> list[Attempt]:
        """Return the open attempts under this key, oldest first, on the server's clock."""
        client = self._app.client
        attempts = [dated(client, attempt) for attempt in self._open_under_key]
        for attempt, sent in self._sent.items():
            moment = client.on_server_clock(sent)
            if moment is None:
                attempts.append(attempt)
                continue
            ahead = moment - attempt.at
            if attempt.ahead is None:
                self._app.store.know_offset(attempt, ahead)
            attempts.append(attempt._replace(ahead=ahead))
        return attempts

    def _hear_of(self, run: Run) -> None:
        self.run = run
        self._app.tracked.started.append(run)

    # The key.

    @contextmanager
    def _key_to_itself(self) -> Iterator[None]:
        """Hold the key's lock; wait while another process has it. Raises Unavailable in the end, Signalled, Closed."""
        if self._order.key is None:  # nobody else can have a new one
            yield
            return
        store, host, lock = self._app.store, self._app.client.settings.host, f"key {self._key}"

        def take() -> bool:
            if self.write.pace and self.write.pace.is_closed:
                raise Closed
            return store.hold(lock, host=host)

        progress, busy = self._app.client.progress, f"another command of this machine is using the key {self._key!r}"

        def pauses() -> Iterator[float]:
            yield from repeat(KEY_PAUSE, round(KEY_SAID_AFTER / KEY_PAUSE))
            progress.warn(f"{busy}; waiting for it, up to {span(KEY_LIMIT)}")
            yield from repeat(KEY_PAUSE, round((KEY_LIMIT - KEY_SAID_AFTER) / KEY_PAUSE))

        if not store.hold(lock, host=host):
            progress.note(f"{busy}; waiting for it")
            if not poll(take, self._app.client.clock, pauses=pauses(), is_enough=bool):
                raise Unavailable(f"{busy}, for {span(KEY_LIMIT)} now; nothing was sent", hint="see whether it hangs")
        try:
            yield
        finally:
            store.let_go(lock, host=host)

    def _started_before(self) -> Run | None:
        """Return the run that this key has started before. Raises OutcomeUnknown, UsageError."""
        if self._order.key is None:
            return None
        entries = self._app.store.of_key(self._key, host=self._app.client.settings.host)
        for entry in entries:
            if entry.attempt.deployment != self._order.deployment_id:
                raise UsageError(
                    f"the key {self._key!r} belongs to deployment {entry.attempt.deployment}",
                    hint="use another key for another deployment",
                )
        if begun := next((entry for entry in entries if entry.run), None):
            return self._reread(begun)
        self._first_under_key = next((entry.attempt for entry in entries), None)
        self._open_under_key = [entry.attempt for entry in entries if entry.open]
        if not self._open_under_key:
            return None
        self.write.unsettled.add(Meaning.LOST)
        why = f"an earlier attempt with the key {self._key!r} is unconfirmed"
        if self._order.on_lost == "fail":
            raise self.write.unknown(why)
        self._app.client.progress.note(f"{why}; looking for its run")
        try:
            run = self._find(thoroughly=True)
        except OutcomeUnknown as unsettled:
            raise self.write.unknown(why, unsettled.message) from unsettled
        if run is None:
            self._open_under_key = note_not_started(self._app.client, self._app.store, self._open_under_key)
        if not self._open_under_key:
            self.write.unsettled.discard(Meaning.LOST)
        return run

    def _reread(self, entry: StoredAttempt) -> Run:
        """Return that run as it is now. Raises ApiError, LostSight."""
        from qoder_cli.runs.observe import YOUNG, Observer

        assert entry.run is not None
        already = f"the key {self._key!r} already started run {entry.run}; nothing was sent"
        self._app.client.progress.note(already, always=True)
        is_young = age(self._app.client, entry.attempt) < YOUNG
        observer = Observer(self._app.client, entry.run, is_fresh=lambda _: is_young)
        try:
            run = observer.read_once()
        except ApiError as error:
            raise LostSight(
                f"the key {self._key!r} started run {entry.run}, which cannot be read now: {error.message}",
                hint="try again later; nothing was sent",
                next=self.repeat,
                run_id=entry.run,
                run_state="unknown",
                cause=error,
            ) from error
        return replace(self._mine(run), adopted=entry.adopted)

    def _mine(self, run: Run) -> Run:
        if run.deployment_id not in (None, self._order.deployment_id):
            raise OutcomeUnknown(
                f"the response is a run of {run.deployment_id}, not of {self._order.deployment_id}",
                hint="check the runs of both deployments before starting another",
                next=self._to_look,
                run_id=run.id,
                session_id=run.session_id,
                run_state="unknown",
            )
        return run

    @property
    def _to_look(self) -> list[str]:
        return self._app.command("run", "list", self._order.deployment_id)
