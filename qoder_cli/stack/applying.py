"""Write a plan: each thing once what it needs is there, several at a time; then what is pruned."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from queue import SimpleQueue
from typing import Any

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, NoResponse, NotFound, OutcomeUnknown, QoderError, Rejected, Signalled
from qoder_cli.base.ids import a
from qoder_cli.base.model import Deployment, Resource, mapping
from qoder_cli.base.polling import poll
from qoder_cli.base.pool import Pool
from qoder_cli.base.tokens import few
from qoder_cli.deployments.pausing import PAUSE, UNPAUSE
from qoder_cli.deployments.planning import changing, creating
from qoder_cli.deployments.step import DeploymentStep
from qoder_cli.files import skill as skills
from qoder_cli.http.pace import WRITES_PER_SECOND, Closed, Pace
from qoder_cli.http.write import LAST_WORDS
from qoder_cli.local.made import Creation
from qoder_cli.nouns import files, secrets
from qoder_cli.nouns.edits import step as edits
from qoder_cli.nouns.edits.create import creating as creating_once
from qoder_cli.nouns.edits.forms import form_of
from qoder_cli.nouns.edits.step import Applied, give_up, result_of, without_writing
from qoder_cli.nouns.edits.thing import read
from qoder_cli.nouns.edits.verbs import ARCHIVE, DELETE, ending
from qoder_cli.nouns.shown import name_of
from qoder_cli.nouns.table import NOUNS, Noun, operation
from qoder_cli.stack.folder import TYPE_OF
from qoder_cli.stack.items import Doomed, Item, StackPlan, ThingStep
from qoder_cli.stack.lists import ServerLists
from qoder_cli.stack.marks import add_marks
from qoder_cli.stack.plan import Planner
from qoder_cli.stack.pruning import name_in_stack, used_elsewhere
from qoder_cli.stack.things import CREDENTIAL, ENTRY, FILE, Declaration, key_of
from qoder_cli.stack.turns import StackTurn

Raw = dict[str, Any]

AT_A_TIME = 8  # things that are written
_LISTED = 10  # ids that an error lists
_LOOKS = (0.5, 1.0, 2.0, *(4.0,) * 7)  # seconds between two looks at a list that lags: LAGS in all
_FINE = ("created", "changed", "unchanged")
_KINDS = {**TYPE_OF, CREDENTIAL: "credential", ENTRY: "memory", FILE: "file"}


@dataclass(frozen=True, kw_only=True)
class Made(Applied):
    """What became of one thing of the folder, or of one that was pruned."""

    kind: str
    file: str | None

    @classmethod
    def of(cls, thing: Declaration, applied: Applied) -> "Made":
        """Return a result with the kind and the file of the thing."""
        known = {each.name: getattr(applied, each.name) for each in fields(Applied)}
        return cls(**known, kind=kind_of(thing), file=thing.file or None)

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


def as_planned(item: Item) -> Made:
    """Return the result of a thing that is not written."""
    return Made.of(item.thing, without_writing(item.step))


def apply_all(
    app: App,
    planner: Planner,
    plan: StackPlan,
    on_done: Callable[[Item, Made], None],
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
            return give_up(items[number].step)

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
        item.result = Made.of(item.thing, applied)
        on_done(item, item.result)
        for each in needed_by[item]:
            waits[each] -= 1
            if each.result is not None:
                continue
            if applied.action not in _FINE or applied.error is not None:
                step = each.step
                step.error = step.error or Rejected(
                    f"{each.thing.label} was not attempted, because {item.thing.label} is not done", hint="apply again"
                )
                settle(each, result_of(step, "not_attempted"))
            elif waits[each] == 0:
                ready.append(each)

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
        pool.stop(LAST_WORDS, lambda number: give_up(items[number].step))
        return signalled
    return None


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
            pace.wait_turn()
            note = partial(setattr, item.step, "write")
            return _done(item, skills.upload(app, item.thing.name, content, item.current, item.step.body, note))
        if words == FILE:
            pace.wait_turn()
            item.step.write = files.upload(app, item.thing.name, content[item.thing.name], item.step.body)
            return _done(item, item.step.write.deliver().raw)
        if words == CREDENTIAL:
            return _credential(app, item, pace)
        if isinstance(item.step, DeploymentStep):
            return _deployment(app, planner, item, pace)
        return edits.apply(app, item.step, pace)
    except Closed:
        raise
    except QoderError as error:
        return edits.failed(item.step, error)


def _done(item: Item, raw: Raw) -> Applied:
    if item.current and "version" in raw:  # of a skill that was there
        raw = {"latest_version": raw["version"]}
    return result_of(item.step, item.step.done, {**(item.current or {}), **raw})


def _credential(app: App, item: Item, pace: Pace) -> Applied:
    """Put a credential: a secret that is replaced goes where the old one went, and nowhere else."""
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
    pace.wait_turn()
    note, id = partial(setattr, step, "write"), str(step.current["id"])
    raw = secrets.put(app, step.parents[0], id, dict(auth), lambda sentence: None, note)
    return result_of(step, "changed", raw)


def _deployment(app: App, planner: Planner, item: Item, pace: Pace) -> Applied:
    """Write a deployment so that it never fires while it is to be paused.

    A new one is created without its schedule, paused, and given the schedule then; one that is there is paused before
    it changes, and unpaused after it.
    """
    step = item.step
    assert isinstance(step, DeploymentStep)  # asked only for deployments
    wants_pause = item.thing.paused
    if step.current is None and wants_pause:
        return _created_paused(app, planner, item, step, pace)
    state = Deployment(step.current or {}).state
    is_other = wants_pause is not None and step.current is not None and wants_pause != (state == "paused")
    if not is_other:
        step.changes = [change for change in step.changes if change.path != "paused"]
        return edits.apply(app, step, pace) if step.is_open else without_writing(step)
    found = Resource(step.current or {})
    if wants_pause:
        found = _paused(app, step, PAUSE, pace)
        step.current = {**(step.current or {}), **found.raw}
    if step.body:
        step.changes = [change for change in step.changes if change.path != "paused"]
        applied = edits.apply(app, step, pace)
        if applied.error is not None or applied.found is None:
            return applied
        found = applied.found
    if not wants_pause:
        found = _paused(app, step, UNPAUSE, pace)
    return result_of(step, "changed", found.raw)


def _paused(app: App, step: edits.Step, change: Any, pace: Pace) -> Resource:
    write = ending(app, step.target, change)
    write.pace = pace
    step.write = write
    return write.send().value


def _created_paused(app: App, planner: Planner, item: Item, step: DeploymentStep, pace: Pace) -> Applied:
    """Create a deployment that is never awake: without its schedule, paused, then as it is wanted."""
    whole = dict(step.wanted)
    marks = {key: value for key, value in mapping(step.body.get("metadata")).items() if key.startswith("qoder_")}
    asleep = {name: value for name, value in whole.items() if name not in ("schedule", "metadata")}
    asleep |= {"metadata": {key: value for key, value in mapping(whole.get("metadata")).items() if key not in marks}}
    first = creating(replace(step.declared, fields=asleep))
    if marks:
        add_marks(first, marks)
    item.step = first  # by which a signal knows what is under way
    applied = edits.apply(app, first, pace)
    step.write, item.step = first.write, step
    if applied.error is not None or applied.found is None:
        return applied
    first.current = applied.found.raw
    try:
        return result_of(step, "created", _put_to_sleep(app, step, first, pace))
    except Closed:
        stopped = Rejected(f"{applied.label} was created, but is not yet as the file says", hint="apply again")
        return result_of(step, "failed", first.current, stopped)
    except QoderError as error:  # it is there all the same
        action: Any = "unknown" if isinstance(error, OutcomeUnknown) else "failed"
        return result_of(step, action, first.current, error)


def _put_to_sleep(app: App, step: DeploymentStep, first: DeploymentStep, pace: Pace) -> Raw:
    """Pause a new deployment, then give it its schedule; return it. Raises QoderError, Closed."""
    found = _paused(app, first, PAUSE, pace)
    schedule = step.wanted.get("schedule")
    if not schedule:
        return found.raw
    now = Deployment(read(app, first.target, fresh=True))
    declared = replace(step.declared, fields={"schedule": schedule})
    last = edits.apply(app, changing(declared, now, [], repin=False), pace)
    if last.error is not None:
        raise last.error
    return last.found.raw if last.found else now.raw


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
    """Put an error on each thing that was created and whose name someone else's thing has, too.

    A list that does not show yet what was created here cannot show whether another was. So each machine reads on until
    the list shows its own: of two that created at once, the later one then sees both.
    """
    created: dict[str, list[tuple[Item, Applied, str]]] = {}
    for item in plan.items:
        result, words = item.result, item.thing.noun.words
        if words in TYPE_OF and result is not None and result.action == "created" and result.found:
            created.setdefault(words, []).append((item, result, result.found.id))
    for words, found in created.items():
        noun, ids = NOUNS[words], {id for _, _, id in found}
        try:
            rows = _rows_with(app, noun, ids)
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


def _rows_with(app: App, noun: Noun, ids: set[str]) -> list[Raw]:
    """Return what is listed, once that includes some ids. Raises ApiError, also where the list never shows them."""

    def missing(rows: Sequence[Raw]) -> set[str]:
        return ids - {str(row["id"]) for row in rows}

    rows = poll(lambda: ServerLists(app).rows(noun), app.clock, pauses=_LOOKS, is_enough=lambda rows: not missing(rows))
    if left := missing(rows):
        raise NoResponse(f"the list of {noun.plural} does not show {few(sorted(left), _LISTED)}")
    return rows


# What no file declares any more.


def prune(
    app: App, plan: StackPlan, stack: str, on_done: Callable[[Made], None], turn: StackTurn | None = None
) -> None:
    """Archive, or delete where that is all there is, what the stack has and no file declares.

    What somebody has begun to use since the plan was made stays; so does all once the turn is over. Raises Signalled.
    """
    server = ServerLists(app)
    try:
        rows = {words: server.rows(NOUNS[words]) for words in ("deploy", "agent")}
    except ApiError as error:
        for each in plan.doomed:
            step = _step_of(each)
            on_done(Made.of(step.thing, edits.failed(step, error)))
        return
    going = {str(each.raw["id"]) for each in plan.doomed}
    used = used_elsewhere(rows, going)
    for each in plan.doomed:
        if turn is not None:
            turn.renew()
            if turn.is_over:
                return
        id = str(each.raw["id"])
        if user := used.get(id):
            app.progress.warn(f"{each.label} is kept: {user} uses it")
            continue
        made = _pruned(app, each, stack)
        on_done(made)
        if made.error is not None:  # it stays, and so does what it uses
            going.discard(id)
            used = used_elsewhere(rows, going)


def _pruned(app: App, doomed: Doomed, stack: str) -> Made:
    noun, step = doomed.noun, _step_of(doomed)
    target = step.target
    change = ARCHIVE if operation(noun, "archive") else DELETE
    try:
        now = read(app, target, fresh=True)
        if name_in_stack(stack, noun, now) is None:
            raise Rejected(
                f"{doomed.label} no longer carries the mark of the stack {stack}; it was kept",
                hint="see who changed it",
                next=app.looking(*target.look),
            )
        if now.get("archived_at"):
            found = now
        else:
            step.write = ending(app, target, change)
            found = step.write.send().value.raw
        applied = result_of(
            step, "archived" if change is ARCHIVE else "deleted", {**doomed.raw, **found, "id": target.id}
        )
    except QoderError as error:
        if isinstance(error, NotFound) and error.enveloped:  # a proxy's 404 says nothing
            applied = result_of(step, "deleted", doomed.raw)
        else:
            applied = edits.failed(step, error)
    return Made.of(step.thing, applied)


def as_doomed(doomed: Doomed) -> Made:
    """Return the result of what would be pruned."""
    action: Any = "would_archive" if operation(doomed.noun, "archive") else "would_delete"
    step = _step_of(doomed)
    return Made.of(step.thing, result_of(step, action))


def _step_of(doomed: Doomed) -> ThingStep:
    noun = doomed.noun
    thing = Declaration(noun, "", 0, name_of(doomed.raw) or str(doomed.raw["id"]))
    return ThingStep(noun=noun, form=form_of(noun), wanted={}, current=doomed.raw, thing=thing)
