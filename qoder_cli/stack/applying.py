"""Write a plan: each thing once what it needs is there, several at a time; then what is pruned."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from queue import SimpleQueue
from typing import Any

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, NotFound, QoderError, Rejected, Signalled
from qoder_cli.base.ids import a
from qoder_cli.base.model import mapping
from qoder_cli.base.pool import Pool
from qoder_cli.deployments import applying as deployments
from qoder_cli.deployments.references import FILE
from qoder_cli.deployments.step import DeploymentStep
from qoder_cli.http.pace import WRITES_PER_SECOND, Closed, Pace
from qoder_cli.http.write import LAST_WORDS
from qoder_cli.local.made import Creation
from qoder_cli.nouns import files, secrets, skills
from qoder_cli.nouns.edits import step as edits
from qoder_cli.nouns.edits.create import creating as creating_once
from qoder_cli.nouns.edits.forms import form_of
from qoder_cli.nouns.edits.step import Action, Applied, give_up, result_of, without_writing
from qoder_cli.nouns.edits.thing import archived, read, target_of
from qoder_cli.nouns.edits.verbs import ARCHIVE, DELETE, Change, ending
from qoder_cli.nouns.noun import Noun
from qoder_cli.nouns.shown import name_of
from qoder_cli.nouns.table import NOUNS, operation
from qoder_cli.nouns.taken import once_listed
from qoder_cli.stack.folder import TYPE_OF
from qoder_cli.stack.items import Doomed, Item, StackPlan, ThingStep
from qoder_cli.stack.lists import ServerLists
from qoder_cli.stack.plan import Planner
from qoder_cli.stack.pruning import name_in_stack, used_elsewhere
from qoder_cli.stack.things import CREDENTIAL, ENTRY, Declaration, key_of
from qoder_cli.stack.turns import StackTurn

Raw = dict[str, Any]

AT_A_TIME = 8  # things that are written
_FINE = ("created", "changed", "unchanged")
_KINDS = {**TYPE_OF, CREDENTIAL: "credential", ENTRY: "memory", FILE: "file"}


@dataclass(frozen=True, kw_only=True)
class AppliedThing(Applied):
    """What became of one thing of the folder, or of one that was pruned."""

    kind: str
    file: str | None

    @classmethod
    def of(cls, thing: Declaration, applied: Applied) -> "AppliedThing":
        """Return a result with the kind and the file of the thing."""
        values = {each.name: getattr(applied, each.name) for each in fields(Applied)}
        return cls(**values, kind=kind_of(thing), file=thing.file or None)

    def as_json(self) -> Raw:
        found = super().as_json()
        more = {"kind": self.kind, "file": self.file}
        if self.found is not None:
            more["version"] = self.found.raw.get("version", self.found.raw.get("latest_version"))
        return {**found, **more}

    def row(self) -> Raw:
        row = super().row()
        return {"kind": self.kind, **row}


def kind_of(thing: Declaration) -> str:
    """Return what JSON and tables call the kind of a thing."""
    return _KINDS[thing.noun.words]


def as_planned(item: Item) -> AppliedThing:
    """Return the result of a thing that is not written."""
    return AppliedThing.of(item.thing, without_writing(item.step))


def apply_all(
    app: App,
    planner: Planner,
    plan: StackPlan,
    on_done: Callable[[Item, AppliedThing], None],
    turn: StackTurn | None = None,
) -> Signalled | None:
    """Write the items of a plan, in the order of what they need. Return the signal that ended this, if any.

    `on_done` gets each item and its result, in this thread. What needs a thing that failed is not attempted; nothing is
    once the turn is over.
    """
    items = plan.items
    number_of = {item: number for number, item in enumerate(items)}
    waits = {item: len({*item.needs}) for item in items}
    needed_by: dict[Item, list[Item]] = {item: [] for item in items}
    for item in items:
        for need in {*item.needs}:
            needed_by[need].append(item)

    def work(number: int) -> Applied:
        try:
            return write(app, planner, items[number], pace)
        except Closed:
            return given_up(items[number])

    def beat() -> None:
        app.progress.beat()
        if turn is not None:
            turn.renew()

    def on_result(number: int, applied: Applied) -> None:
        item = items[number]
        if item.result is None:
            settle(item, applied)
        beat()  # before the next are begun: the turn may have grown old meanwhile
        pool.give(number_of[each] for each in ready if each.result is None)
        ready.clear()

    def settle(item: Item, applied: Applied) -> None:
        item.result = AppliedThing.of(item.thing, applied)
        on_done(item, item.result)
        for dependent in needed_by[item]:
            waits[dependent] -= 1
            if dependent.result is not None:
                continue
            if applied.action not in _FINE or applied.error is not None:
                step = dependent.step
                step.error = step.error or Rejected(
                    f"{dependent.thing.label} was not attempted, because {item.thing.label} is not done",
                    hint="apply again",
                )
                settle(dependent, result_of(step, "not_attempted"))
            elif waits[dependent] == 0:
                ready.append(dependent)

    ready: list[Item] = []
    inbox = SimpleQueue[Any]()
    pace = Pace(app.clock, per_second=WRITES_PER_SECOND, is_over=lambda: turn is not None and turn.is_over)
    pool = Pool(work, on_result, at_a_time=AT_A_TIME, inbox=inbox, clock=app.clock)
    try:
        beat()  # planning may have taken long
        pool.give(number_of[item] for item in items if not waits[item])
        pool.hear(beat)
    except Signalled as signalled:
        pace.close()
        pool.stop(LAST_WORDS, lambda number: given_up(items[number]))
        return signalled
    return None


def given_up(item: Item) -> Applied:
    """Return what is known of a thing whose writing was stopped."""
    if isinstance(item.step, DeploymentStep):
        return deployments.given_up(item.step)
    return give_up(item.step)


def write(app: App, planner: Planner, item: Item, pace: Pace) -> Applied:
    """Write one thing. Raises only Closed, Signalled."""
    try:
        if any(need.step.is_open for need in item.needs):
            planner.again(item)
    except QoderError as error:
        return edits.failed(item.step, error)
    if not item.step.is_open:
        return without_writing(item.step)
    if item.step.current is not None:
        return _written(app, planner, item, pace)
    parent = next(iter(item.step.parents), "")
    note = Creation(item.thing.noun.words, parent, key_of(item.thing), at=app.clock.now())
    note.put(app.store, app.settings)
    try:
        done = _written(app, planner, item, pace)
    except Closed:
        if item.step.write is None or not item.step.write.may_have_acted:
            note.drop(app.store, app.settings)
        raise
    if done.action == "failed" and done.found is None:
        note.drop(app.store, app.settings)
    else:  # of one that is unknown, a list may show it from now on
        id = done.found.id if done.found else ""
        note._replace(id=id, at=app.clock.now()).put(app.store, app.settings)
    return done


def _written(app: App, planner: Planner, item: Item, pace: Pace) -> Applied:
    """Send what writes one thing. Raises only Closed, Signalled."""
    try:
        words, content = item.thing.noun.words, item.thing.content
        if words == "skill":
            _check_unchanged(app, item)
            pace.wait_turn()
            note = partial(setattr, item.step, "write")
            return _done(item, skills.upload(app, item.thing.name, content, item.current, item.step.body, note))
        if words == FILE:
            pace.wait_turn()
            item.step.write = files.upload(app, item.thing.name, content[item.thing.name], item.step.body)
            return _done(item, item.step.write.deliver().raw)
        if words == CREDENTIAL:
            return _credential(app, planner, item, pace)
        if isinstance(item.step, DeploymentStep):
            return deployments.write(app, item.step, pace)
        return edits.apply(app, item.step, pace)
    except Closed:
        raise
    except QoderError as error:
        return edits.failed(item.step, error)


def _done(item: Item, raw: Raw) -> Applied:
    if item.current and "version" in raw:  # of a skill that was there
        raw = {"latest_version": raw["version"]}
    return result_of(item.step, item.step.done, {**(item.current or {}), **raw})


def _check_unchanged(app: App, item: Item) -> None:
    """Raise Rejected if a skill or credential was changed since it was planned; ApiError where nobody can tell."""
    step, current = item.step, item.current
    if current is None:
        return
    target = target_of(step.noun, *step.parents, str(current["id"]))
    now = read(app.client, target, fresh=True)
    if error := archived(target, now):
        raise error
    is_newer = skills.number_of(now.get("latest_version")) > skills.number_of(current.get("latest_version"))
    if is_newer or step.differs(now) != step.differs(current):
        raise Rejected(
            f"{step.label} was changed by someone else in the meantime; nothing was sent",
            hint="check the new differences and try again",
        )


def _credential(app: App, planner: Planner, item: Item, pace: Pace) -> Applied:
    """Put a credential. The secret of one that is there is sent only if that was asked for."""
    step, auth = item.step, mapping(item.thing.fields.get("auth"))
    if step.current is None:  # what comes back shows no secret, so nothing is compared
        what = f"creating {item.thing.label}"
        step.write = creating_once(app, step.noun, step.body, *step.parents, what=what, pace=pace)
        return result_of(step, "created", step.write.deliver().raw)
    if auth.get("type") not in secrets.PLACES:
        error = Rejected(
            f"{step.label}: an OAuth credential is not changed by apply; nothing was sent",
            hint="archive it, then apply again",
        )
        return edits.failed(step, error)
    if not planner.options.send_secrets:
        auth = secrets.without_secret(auth)
    _check_unchanged(app, item)
    pace.wait_turn()
    note, id = partial(setattr, step, "write"), str(step.current["id"])
    raw = secrets.put(app, step.parents[0], id, dict(auth), lambda sentence: None, note)
    return result_of(step, "changed", raw)


# Two applies at once.


def look_again(planner: Planner, plan: StackPlan, things: Sequence[Declaration], *, is_whole: bool) -> None:
    """Plan again, and refuse what is there by now or is another's; leave what is as wanted, or is used.

    Raises BadFiles, ApiError.
    """
    fresh = Planner(planner.app, planner.stack, planner.options)
    now = fresh.plan(things, is_whole=is_whole)
    planner.server = fresh.server
    done = set[Item]()  # by someone else
    for item, again in zip(plan.items, now.items, strict=True):
        if not item.step.is_open or again.current is None:
            continue
        if item.current is None:
            item.step.error = Rejected(
                f"{item.thing.label} was created in the meantime ({again.current['id']}); nothing was changed",
                hint="apply again to see what differs from it",
            )
        elif again.step.error is not None:
            item.step.error = again.step.error
        elif not again.step.changes:
            item.step = again.step
            done.add(item)
    for item in plan.items:
        if item.step.is_open and not done.isdisjoint(item.needs):
            planner.again(item)
    left = {str(each.raw["id"]) for each in now.doomed}
    plan.doomed[:] = [each for each in plan.doomed if str(each.raw["id"]) in left]


def find_twins(app: App, plan: StackPlan) -> None:
    """Put an error on each thing that was created and whose name someone else's thing has, too."""
    created: dict[str, list[tuple[Item, Applied, str]]] = {}
    for item in plan.items:
        result, words = item.result, item.thing.noun.words
        if words in TYPE_OF and result is not None and result.action == "created" and result.found:
            created.setdefault(words, []).append((item, result, result.found.id))
    for words, found in created.items():
        noun, ids = NOUNS[words], {id for _, _, id in found}
        try:
            rows = once_listed(app, noun, ids, partial(_rows_of, app, noun))
        except ApiError as unread:
            app.progress.warn(
                f"unknown whether someone else created {a(noun.called)} of the same name: {unread.message}"
            )
            continue
        for item, result, id in found:
            others = {str(row["id"]) for row in rows if name_of(row) == item.thing.name} - {id}
            if others:
                message = f"{item.thing.label} ({id}) was created, and someone else created another of this name: "
                how = "delete" if operation(noun, "archive") is None else "archive"
                error = Rejected(
                    message + ", ".join(sorted(others)), hint=f"{how} the one you do not want: qoder {words} {how} ID"
                )
                item.result = result.with_(error=error)


def _rows_of(app: App, noun: Noun) -> list[Raw]:
    return ServerLists(app).rows(noun)


# What no file declares any more.


def prune(
    app: App, plan: StackPlan, stack: str, on_done: Callable[[AppliedThing], None], turn: StackTurn | None = None
) -> None:
    """Archive, or delete where that is all there is, what the stack has and no file declares.

    What somebody has begun to use since the plan was made stays; so does all once the turn is over. Raises Signalled,
    once `on_done` has heard of all.
    """
    server = ServerLists(app)
    try:
        rows = {words: server.rows(NOUNS[words]) for words in ("deploy", "agent")}
    except ApiError as error:
        for doomed in plan.doomed:
            step = _step_of(doomed)
            on_done(AppliedThing.of(step.thing, edits.failed(step, error)))
        return
    going = {str(each.raw["id"]) for each in plan.doomed}
    used = used_elsewhere(rows, going)
    for number, doomed in enumerate(plan.doomed):
        if turn is not None:
            turn.renew()
            if turn.is_over:
                return
        id = str(doomed.raw["id"])
        if user := used.get(id):
            app.progress.warn(f"{doomed.label} is kept: {user} uses it")
            continue
        step = _step_of(doomed)
        try:
            result = _pruned(app, doomed, step, stack)
        except Signalled:
            on_done(_interrupted(doomed, step))
            for left in map(_step_of, plan.doomed[number + 1 :]):
                on_done(AppliedThing.of(left.thing, result_of(left, "not_attempted")))
            raise
        on_done(result)
        if result.error is not None:  # it stays, and so does what it uses
            going.discard(id)
            used = used_elsewhere(rows, going)


def _interrupted(doomed: Doomed, step: ThingStep) -> AppliedThing:
    """Return what is known of a thing whose pruning was stopped by a signal."""
    if step.write is None or not step.write.is_open_or_done:
        return AppliedThing.of(step.thing, result_of(step, "not_attempted"))
    if step.write.result is None:
        return AppliedThing.of(
            step.thing, edits.failed(step, step.write.unknown("interrupted before it was confirmed"))
        )
    return AppliedThing.of(step.thing, _gone(doomed, step, step.write.result.value.raw))


def _gone(doomed: Doomed, step: ThingStep, found: Raw) -> Applied:
    done: Action = "archived" if _end_of(doomed) is ARCHIVE else "deleted"
    return result_of(step, done, {**doomed.raw, **found, "id": step.target.id})


def _end_of(doomed: Doomed) -> Change:
    return ARCHIVE if operation(doomed.noun, "archive") else DELETE


def _pruned(app: App, doomed: Doomed, step: ThingStep, stack: str) -> AppliedThing:
    noun, target = doomed.noun, step.target
    try:
        now = read(app.client, target, fresh=True)
        if name_in_stack(stack, noun, now) is None:
            raise Rejected(
                f"{doomed.label} no longer carries the mark of the stack {stack}; it was kept",
                hint="see who changed it",
                next=app.looking(*target.look),
            )
        if now.get("archived_at"):
            found = now
        else:
            step.write = ending(app, target, _end_of(doomed))
            found = step.write.send().value.raw
        applied = _gone(doomed, step, found)
    except QoderError as error:
        if isinstance(error, NotFound) and error.enveloped:  # a proxy's 404 says nothing
            applied = result_of(step, "deleted", doomed.raw)
        else:
            applied = edits.failed(step, error)
    return AppliedThing.of(step.thing, applied)


def as_doomed(doomed: Doomed) -> AppliedThing:
    """Return the result of what would be pruned."""
    action: Any = "would_archive" if _end_of(doomed) is ARCHIVE else "would_delete"
    step = _step_of(doomed)
    return AppliedThing.of(step.thing, result_of(step, action))


def _step_of(doomed: Doomed) -> ThingStep:
    noun = doomed.noun
    thing = Declaration(noun, "", 0, name_of(doomed.raw) or str(doomed.raw["id"]))
    return ThingStep(noun=noun, form=form_of(noun), wanted={}, current=doomed.raw, thing=thing)
