"""Many at once: runs of several deployments started and awaited, or several runs awaited, with one answer for all."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from qoder_cli import names
from qoder_cli.awaiting import Awaiting, Wanted
from qoder_cli.conductor import Conductor
from qoder_cli.ending import ending_error, going_on
from qoder_cli.errors import Exit, NotFound, QoderError, RunSkipped, Signalled, UsageError
from qoder_cli.items import Item, Printed
from qoder_cli.launch import OnSkip, Order
from qoder_cli.launches import Launched, Launches
from qoder_cli.limits import Limits
from qoder_cli.model import Run
from qoder_cli.observe import Observer
from qoder_cli.pace import READS_BESIDE_WRITES
from qoder_cli.trigger import check_key
from qoder_cli.wait import SLICE, Watch

if TYPE_CHECKING:
    from qoder_cli.state import State

_LISTED = 5  # names that an error lists


def orders_for(
    typed: Sequence[str], like: Order, state: "State", *, keep_going: bool, allow_duplicates: bool
) -> list[Order | QoderError]:
    """Return an order for each deployment that was typed, `like` the one given but for deployment and key.

    With `keep_going` an unknown name is an error in its place; otherwise it is raised, as is a deployment that is
    named twice, unless that is allowed. Raises QoderError, before anything is started.
    """
    found = names.deployments(typed, state)
    counts = Counter(each for each in found if isinstance(each, str))
    _refuse_duplicates(typed, found, counts, allowed=allow_duplicates and like.key is None)
    unknown = [each for each in found if isinstance(each, QoderError)]
    if unknown and not keep_going:
        raise _nothing_started(unknown, len(typed))
    return [each if isinstance(each, QoderError) else _order(each, like) for each in found]


def _order(deployment_id: str, like: Order) -> Order:
    key = None if like.key is None else check_key(f"{like.key}:{deployment_id}")
    return replace(like, deployment_id=deployment_id, key=key)


def _refuse_duplicates(
    typed: Sequence[str], found: Sequence[str | QoderError], counts: Counter[str], *, allowed: bool
) -> None:
    id, count = next(iter(counts.most_common(1)), ("", 0))
    if count < 2 or allowed:
        return
    words = list(dict.fromkeys(word for word, each in zip(typed, found, strict=True) if each == id))
    named = " and ".join(words) if len(words) > 1 else f"{id} {count} times"
    more = sum(count > 1 for count in counts.values()) - 1
    raise UsageError(
        f"a deployment is named more than once: {named}" + (f", and {more} others" if more else ""),
        hint="name each once; --allow-duplicates, without --idempotency-key, starts it as often as it is named",
    )


def _nothing_started(unknown: Sequence[QoderError], total: int) -> QoderError:
    """Return the error of names that are not known, or that several deployments have."""
    if total == 1:
        return unknown[0]
    listed = "; ".join(error.message for error in unknown[:_LISTED])
    more = f"; and {len(unknown) - _LISTED} more" if len(unknown) > _LISTED else ""
    kind = NotFound if any(isinstance(error, NotFound) for error in unknown) else UsageError
    return kind(
        f"nothing was started, for {len(unknown)} of {total} deployments are not known: {listed}{more}",
        hint=f"{unknown[0].hint}; --keep-going starts the others",
    )


@dataclass(frozen=True)
class Plan:
    """What is to be done with several deployments; the fields are the options of `deploy run`."""

    wait: bool
    limits: Limits
    wanted: Wanted
    parallel: int
    if_idle: bool
    on_skip: OnSkip
    fail_fast: bool
    result: bool


def run_many(state: "State", typed: Sequence[str], orders: Sequence[Order | QoderError], plan: Plan) -> int:
    """Start a run of each deployment, wait for them if that is wanted, and print what became of each.

    `orders` are in the order of `typed`; an error stands for what cannot be ordered. Returns 0, or raises the error
    that decides the exit code.
    """
    if state.ci:
        state.ci.expect(typed)
    settings, inbox = state.client.settings, SimpleQueue[Any]()
    wanted = {number: order for number, order in enumerate(orders) if isinstance(order, Order)}
    state.progress.note(f"starting runs of {_listed(typed)} (profile {settings.profile}, {settings.host})")
    with Printed(state, len(typed), result=plan.result) as printed:
        verb = "completed" if plan.wait else "started"
        conductor = Conductor(state, typed, printed, verb=verb, fail_fast=plan.fail_fast)
        numbers: dict[Watch, int] = {}
        on_launched = partial(_on_launched, state, typed, plan, conductor, numbers)
        launches = Launches(
            state,
            wanted,
            parallel=plan.parallel,
            if_idle=plan.if_idle,
            awaited=plan.wait,
            inbox=inbox,
            on_launched=on_launched,
        )

        conductor.put_up_board(numbers)

        def on_item(watch: Watch, item: Item) -> None:
            number = numbers[watch]
            conductor.put(number, _excused(item._replace(typed=typed[number]), plan.on_skip))

        with conductor.until_signalled():
            for number, order in enumerate(orders):
                if isinstance(order, QoderError):
                    conductor.put(number, Item(typed[number], None, order))
            if plan.wait:
                state.reads.allow(READS_BESIDE_WRITES)
                waiting = Awaiting(
                    state,
                    plan.limits,
                    plan.wanted,
                    on_item,
                    inbox=inbox,
                    is_enough=conductor.is_enough,
                    labels=typed,
                )
                waiting.wait([], launches)
            else:
                _until_started(state, launches, inbox, conductor)
    return conductor.conclude()


def _listed(typed: Sequence[str]) -> str:
    """Return what is to be run in a few words."""
    if len(typed) <= _LISTED:
        return ", ".join(typed)
    return f"{', '.join(typed[: _LISTED - 1])} and {len(typed) - _LISTED + 1} more deployments"


def _until_started(state: "State", launches: Launches, inbox: "SimpleQueue[Any]", conductor: Conductor) -> None:
    try:
        launches.start()
        with state.progress.waiting("starting", leaving="what was not begun is not started"):
            while not launches.done and not conductor.is_enough():
                if (launched := state.clock.take(inbox, SLICE)) is not None:
                    launches.accept(launched)
                state.progress.beat()
    except Signalled:
        launches.stop()
        raise
    launches.stop(None)


def _on_launched(
    state: "State",
    typed: Sequence[str],
    plan: Plan,
    conductor: Conductor,
    numbers: dict[Watch, int],
    launched: Launched,
) -> Watch | None:
    """Take in what became of one order: the run to wait for, or an item that is told of at once."""
    number = launched.number
    if (observer := launched.observer) is not None:
        state.progress.news(f"run {observer.run_id} of {typed[number]}")
        if state.ci:
            state.ci.started(observer.run_id, observer.run.session_id if observer.run else None, number=number)
        if plan.wait:
            watch = Watch(observer, just_triggered=not launched.known, label=typed[number])
            numbers[watch] = number
            return watch
        item = Item(typed[number], observer.run, _not_going(observer.run, state))
    elif launched.going is not None:
        error = RunSkipped(f"nothing was started: run {launched.going.id} is going on", hint="wait for it")
        item = Item(typed[number], launched.going, going_on(error, launched.going, state))
    else:
        item = Item(typed[number], None, launched.error, launched.attempted)
    conductor.put(number, _excused(item, plan.on_skip))
    return None


def _not_going(run: Run | None, state: "State") -> QoderError | None:
    """Return the error of a run that is not waited for and has ended badly already."""
    error = ending_error(run, state) if run else None
    return None if error and error.exit is Exit.NOT_YET else error


def _excused(item: Item, on_skip: OnSkip) -> Item:
    skipped = item.error is not None and item.error.exit is Exit.RUN_SKIPPED
    return item._replace(error=None) if skipped and on_skip == "ok" else item


def wait_many(
    state: "State", typed: Sequence[str], ids: Sequence[str], limits: Limits, wanted: Wanted, *, result: bool
) -> int:
    """Wait for runs, `ids` in the order of `typed`, and print what became of each.

    Returns 0, or raises the error that decides the exit code.
    """
    numbers: dict[str, list[int]] = {}
    for number, id in enumerate(ids):
        numbers.setdefault(id, []).append(number)
    if state.ci:
        state.ci.expect(typed)
        for number, id in enumerate(ids):
            state.ci.started(id, number=number)
    with Printed(state, len(typed), result=result) as printed:
        conductor = Conductor(state, typed, printed, verb="completed")
        watches = {Watch(Observer(state.client, id, progress=state.progress)): places for id, places in numbers.items()}
        conductor.put_up_board({watch: places[0] for watch, places in watches.items()})

        def on_item(watch: Watch, item: Item) -> None:
            for number in watches[watch]:
                conductor.put(number, item._replace(typed=typed[number]))

        with conductor.until_signalled():
            Awaiting(state, limits, wanted, on_item, is_enough=conductor.is_enough, labels=typed).wait(list(watches))
    return conductor.conclude()
