"""Write a plan: each thing once what it needs is there, several at a time; then what is pruned."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from queue import SimpleQueue
from typing import Any

from qoder_cli.base.errors import ApiError, NotFound, QoderError, Rejected, Signalled
from qoder_cli.base.ids import a
from qoder_cli.base.pool import Pool
from qoder_cli.http.pace import WRITES_PER_SECOND, Closed, Pace
from qoder_cli.http.write import LAST_WORDS
from qoder_cli.local.made import Creation
from qoder_cli.nouns.edits.step import Applied, Job, OfStack, Step, result_of
from qoder_cli.nouns.lists import ServerLists, once_listed
from qoder_cli.nouns.noun import Noun
from qoder_cli.nouns.shown import name_of
from qoder_cli.nouns.table import operation
from qoder_cli.stack.plan import Plan, Planned, Planner, by_declaration, key_of, version_of
from qoder_cli.stack.pruning import candidates_of, judged, why_changed
from qoder_cli.stack.turns import StackTurn

AT_A_TIME = 8  # things that are written
_FINE = ("created", "changed", "unchanged")
_UNLISTED = "the list does not show it any more"


def shown(applied: Applied, remarks: Sequence[str] = ()) -> Applied:
    """Return a result with what a stack says of each thing besides: its kind, its file, its version."""
    step = applied.step
    more: OfStack = {"kind": step.noun.kind_name, "file": step.origin.file or None}
    if remarks:
        more["remarks"] = [*remarks]
    if applied.found is not None:
        more["version"] = version_of(applied.found.raw)
    return applied.with_(of_stack=more)


class Writer:
    """Writes a plan. `on_done` hears of each result, in the thread that calls."""

    def __init__(
        self, planner: Planner, plan: Plan, turn: StackTurn | None, on_done: Callable[[Applied], None]
    ) -> None:
        self.app, self.planner, self.plan, self.turn, self.on_done = planner.app, planner, plan, turn, on_done
        self.all = plan.all
        self.results: list[Applied | None] = [None] * len(self.all)
        self._jobs: dict[int, Job] = {}
        self._known = by_declaration(plan.items)
        self._pace = Pace(self.app.clock, per_second=WRITES_PER_SECOND, is_over=self._is_over)

    def _is_over(self) -> bool:
        return self.turn is not None and self.turn.is_over

    def _beat(self) -> None:
        self.app.progress.beat()
        if self.turn is not None:
            self.turn.renew()

    @property
    def done(self) -> list[Applied]:
        """All results, in the order of the plan; of what was stopped, what is known of it."""
        return [result or self._given_up(number) for number, result in enumerate(self.results)]

    def write(self) -> None:
        """Write all; what needs a thing that failed is not attempted. Nothing is once the turn is over.

        Raises Signalled; `done` says then how far it came.
        """
        items = self.plan.items
        waits = [len(item.needs) for item in items]
        needed_by: list[list[int]] = [[] for _ in items]
        for number, item in enumerate(items):
            for need in item.needs:
                needed_by[need].append(number)
        ready: list[int] = []

        def work(number: int) -> Applied:
            try:
                return self._written(number)
            except Closed:
                return self._given_up(number)

        def on_result(number: int, applied: Applied) -> None:
            if self.results[number] is None:
                settle(number, applied)
            self._beat()  # before the next are begun: the turn may have grown old meanwhile
            pool.give([number for number in ready if self.results[number] is None])
            ready.clear()

        def settle(number: int, applied: Applied) -> None:
            self.results[number] = applied
            self.on_done(applied)
            current = applied.found.raw if applied.found else applied.step.current
            item = replace(items[number], step=applied.step.with_(current=current, sends=()))
            self._known[item.declared] = item
            for dependent in needed_by[number]:
                waits[dependent] -= 1
                if self.results[dependent] is not None:
                    continue
                if applied.action not in _FINE or applied.error is not None:
                    settle(dependent, _not_reached(items[dependent].step, applied.step))
                elif waits[dependent] == 0:
                    ready.append(dependent)

        pool = Pool(work, on_result, at_a_time=AT_A_TIME, inbox=SimpleQueue[Any](), clock=self.app.clock)
        try:
            self._beat()  # planning may have taken long
            pool.give([number for number in range(len(items)) if not waits[number]])
            pool.hear(self._beat)
        except Signalled:
            self._pace.close()
            pool.stop(LAST_WORDS, self._given_up)
            raise
        find_twins(self)
        if self.plan.removed and any(result.error for result in self.done):
            self.app.progress.warn("nothing was pruned, because not all was written")
        elif self.plan.removed:
            self._prune()

    def _given_up(self, number: int) -> Applied:
        job = self._jobs.get(number) or Job(self.app, self.all[number].step, self._pace)
        return job.given_up()

    def _written(self, number: int) -> Applied:
        item = self.plan.items[number]
        try:
            if item.step.error is None and any(self.plan.items[need].step.is_open for need in item.needs):
                item = self.planner.again(item, self._known)
        except QoderError as error:
            return result_of(item.step, "failed", error=error)
        step, app = item.step, self.app
        if step.current is not None or not step.is_open:
            job = self._jobs[number] = Job(app, step, self._pace)
            return job.do()
        note = Creation(step.noun.words, next(iter(step.parents), ""), key_of(item.declared), at=app.clock.now())
        job = Job(app, step, self._pace, at_send=lambda: note._replace(at=app.clock.now()).put(app.store, app.settings))
        self._jobs[number] = job
        done = job.do()
        if done.found is not None or done.action == "unknown":  # a list may show it from now on
            id = done.found.id if done.found else ""
            note._replace(id=id, at=app.clock.now()).put(app.store, app.settings)
        elif job.write is not None:
            note.drop(app.store, app.settings)
        return done

    # What no file declares any more.

    def _prune(self) -> None:
        """Archive, or delete where that is all there is, what the stack has and no file declares.

        What is used by then, or was changed, stays, and is named. All is read again first, and each right before it
        goes; once one stays, what it uses is found out anew. Nothing goes once the turn is over. Raises Signalled.
        """
        staying: dict[str, str] = {}
        going: set[str] | None = None
        for number, item in enumerate(self.plan.removed, len(self.plan.items)):
            self._beat()
            if self._is_over():
                return
            id = str(item.step.before["id"])
            try:
                if going is None:
                    planner = self.planner
                    planner.lists = ServerLists(self.app)
                    steps, stays, _ = judged(planner, self.plan, candidates_of(planner, self.plan), staying)
                    staying |= {kept.id: kept.why for kept in stays}
                    going = {step.target.id for step in steps}
                result = self._pruned_one(number, None if id in going else staying.get(id, _UNLISTED))
            except ApiError as error:
                result = result_of(item.step, "failed", error=error)
            if result.error is not None:
                staying.setdefault(id, "it could not be archived")
                going = None
            self.results[number] = result
            self.on_done(result)

    def _pruned_one(self, number: int, why: str | None) -> Applied:
        """Return what became of one thing, read once more before it goes. Raises ApiError, Signalled."""
        step, lists = self.all[number].step, ServerLists(self.app)
        try:
            now = lists.read(step.noun, step.target.id)
        except NotFound as error:
            if error.enveloped:  # a proxy's 404 says nothing
                return result_of(step, "deleted")
            raise
        if now.get("archived_at"):
            return result_of(step, "archived", now)
        if why in (None, _UNLISTED):
            why = why_changed(lists, self.planner.stack, step.noun, now) or why
        if why:
            kept = Rejected(
                f"{step.noun.called} {step.label} is kept: {why}",
                hint="compare it with its mark, then archive it yourself if it can go",
                next=self.app.looking(*step.target.look),
            )
            return result_of(step, "failed", now, kept)
        job = self._jobs[number] = Job(self.app, step, self._pace)
        try:
            return job.do()
        except Closed:
            return job.given_up()


def _not_reached(step: Step, needed: Step) -> Applied:
    error = Rejected(
        f"{step.noun.called} {step.name} was not attempted, because {needed.noun.called} {needed.name} is not done",
        hint="apply again",
    )
    return result_of(step, "not_attempted", error=error)


# Two applies at once.


def look_again(planner: Planner, plan: Plan) -> Plan:
    """Return a plan without what somebody else did since; what is there by now, or is another's, is refused.

    Raises BadFiles, ApiError.
    """
    fresh = Planner(planner.app, planner.reading, planner.options)
    now = fresh.plan()
    planner.lists = fresh.lists
    items, done = list[Planned](), set[int]()
    for number, (item, again) in enumerate(zip(plan.items, now.items, strict=True)):
        step = item.step
        if step.is_open and again.step.current is not None:
            there = again.step.current["id"]
            if step.current is None:
                error = Rejected(
                    f"{step.noun.called} {step.name} was created in the meantime ({there}); nothing was changed",
                    hint="apply again to see what differs from it",
                )
                step = step.with_(error=error)
            elif again.step.error is not None:
                step = step.with_(error=again.step.error)
            elif not again.step.is_open:
                step = again.step
                done.add(number)
        items.append(replace(item, step=step))
    known = by_declaration(items)
    for number, item in enumerate(items):
        if item.step.is_open and not done.isdisjoint(item.needs):
            items[number] = item = planner.again(item, known)
            known |= by_declaration([item])
    return replace(plan, items=items)


def find_twins(writer: Writer) -> None:
    """Put an error on each thing that was created and whose name someone else's thing has, too."""
    created: dict[tuple[Noun, tuple[str, ...]], dict[int, Applied]] = {}
    for number, result in enumerate(writer.results):
        if result is None or result.found is None or result.action != "created":
            continue
        step = result.step
        if not step.noun.kind.is_written_once:  # files may have one name
            created.setdefault((step.noun, step.parents), {})[number] = result
    for (noun, parents), results in created.items():
        ids = {result.found.id for result in results.values() if result.found}
        try:
            rows = once_listed(writer.app, noun, ids, *parents)
        except ApiError as unread:
            why = unread.message.removesuffix("; nothing was sent")  # a thing was created before
            writer.app.progress.warn(f"unknown whether someone else created {a(noun.called)} of the same name: {why}")
            continue
        # A vault may have credentials of one name that are for other servers.
        listed = [(str(row["id"]), (name_of(row), row.get("auth"))) for row in rows]
        for number, result in results.items():
            like = (result.step.name, result.found and result.found.raw.get("auth"))
            if others := {id for id, shown_as in listed if shown_as == like} - ids:
                verb = "archive" if operation(noun, "archive") else "delete"
                twin = Rejected(
                    f"{noun.called} {result.label} was created, and someone else created another of this name: "
                    + ", ".join(sorted(others)),
                    hint=f"{verb} the one you do not want: qoder {' '.join((noun.words, verb, *parents))} ID",
                )
                writer.results[number] = failed = result.with_(error=twin)
                writer.on_done(failed)
