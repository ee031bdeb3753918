"""What an apply would do: each thing of a folder beside what the server has, and what would be pruned."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from qoder_cli.app import App
from qoder_cli.base.errors import NotFound, QoderError, Rejected, first_by_rank
from qoder_cli.base.ids import nearest
from qoder_cli.base.marks import is_ours
from qoder_cli.base.model import Raw, array, mapping, text
from qoder_cli.base.polling import doubling
from qoder_cli.base.words import few
from qoder_cli.files.filling import is_unset
from qoder_cli.files.tree import BadFiles
from qoder_cli.local.made import LAGS, Creation, recent
from qoder_cli.nouns.checking import tokens_in, tree_of
from qoder_cli.nouns.declared import Declaration, Reference
from qoder_cli.nouns.declaring import places_of, put
from qoder_cli.nouns.edits.difference import Secrets, differing
from qoder_cli.nouns.edits.forms import form_of, unseen
from qoder_cli.nouns.edits.owner import (
    APPLIED,
    STACK,
    content_digest,
    digest,
    has_room,
    is_filled_in,
    owner_of,
    record_of,
    recorded,
    with_marks,
)
from qoder_cli.nouns.edits.step import Origin, Step, planned
from qoder_cli.nouns.edits.thing import archived
from qoder_cli.nouns.how import how_of
from qoder_cli.nouns.lists import ServerLists
from qoder_cli.nouns.noun import Noun
from qoder_cli.nouns.shown import name_of
from qoder_cli.nouns.table import NOUNS, operation
from qoder_cli.stack.declarations import Reading

_MOVES = "moves from the stack"  # said of what --adopt-from names


class Options(NamedTuple):
    """How a folder is applied, as typed."""

    adopt: bool
    adopt_from: str | None
    repin: bool
    prune: bool
    prune_all: bool
    send_secrets: bool
    only: tuple[Noun, ...]
    is_look: bool  # nothing is written


class ToCome(str):
    """Stands for the id or the version of something that does not exist yet."""


@dataclass(frozen=True, eq=False)
class PlanItem:
    """What a plan does with one thing: removes it, unless it is `Planned`."""

    step: Step
    remarks: tuple[str, ...] = ()  # for the reader of the plan
    details: tuple[str, ...] = ()  # for one who wants to see all of it
    adopts: str = ""  # why a person has to agree: it is not, or not only, of this stack


@dataclass(frozen=True, eq=False, kw_only=True)
class Planned(PlanItem):
    """What a plan does with a thing that a file declares."""

    declared: Declaration
    needs: tuple[int, ...] = ()  # the places in the plan of what it needs


class Kept(NamedTuple):
    """Something of the stack that no file declares, and why it stays."""

    id: str
    label: str
    why: str


@dataclass(frozen=True, eq=False)
class Plan:
    """All that an apply would do, in this order."""

    items: Sequence[Planned]
    removed: Sequence[PlanItem] = ()  # what is pruned after that
    kept: Sequence[Kept] = ()
    notes: Sequence[str] = ()  # what is known of the whole

    @property
    def all(self) -> Sequence[PlanItem]:
        return [*self.items, *self.removed]

    @property
    def is_open(self) -> bool:
        return any(item.step.is_open for item in self.all)

    @property
    def uncompared(self) -> int:
        """How many variables are not set, so that what they fill was not compared."""
        return sum(len(item.declared.unset) for item in self.items)

    @property
    def blocked(self) -> QoderError | None:
        """The error of the worst thing that cannot be done; None if all can."""
        return first_by_rank(item.step.error for item in self.items if item.step.error)

    def refusing_adoption(self, stack: str | None, options: Options) -> "Plan":
        """Return it with an error at each thing that a person would have to agree to, and did not."""

        def refused(item: Planned) -> Planned:
            if options.adopt or not item.adopts or item.step.error or item.adopts.startswith(_MOVES):
                return item
            error = Rejected(
                f"{item.step.label} {item.adopts}; nothing was changed",
                hint="compare it with qoder diff --adopt; to take it over, pass --adopt",
            )
            return replace(item, step=item.step.with_(error=error))

        return replace(self, items=[*map(refused, self.items)])


class Planner:
    """Makes the plan, and a thing's part of it again once what it needs is there."""

    def __init__(self, app: App, reading: Reading, options: Options) -> None:
        self.app, self.reading, self.options = app, reading, options
        self.stack = reading.folder.stack
        self.lists = ServerLists(app)
        self._problems: list[str] = []

    def plan(self) -> Plan:
        """Return the plan for all that is declared. Raises BadFiles with all that is wrong, ApiError."""
        self._await_lists()
        alone = [declared for declared in self.reading.things if declared.parent is None]
        current_of = {declared: self._current(declared) for declared in alone}
        known = [declared for declared in alone if declared.noun.kind.is_declared]
        absent = [declared for declared in known if current_of[declared] is None]
        for noun in dict.fromkeys(declared.noun for declared in absent):
            new = {declared.name: declared for declared in absent if declared.noun is noun}
            unlisted = self.lists.unlisted(noun, [*new])
            current_of |= {new[name]: self._only(new[name], rows) for name, rows in unlisted.items()}
        made: dict[Declaration, Planned] = {}
        numbers: dict[Declaration | None, int] = {
            declared: number for number, declared in enumerate(self.reading.things)
        }
        for declared in self.reading.things:
            current = current_of.get(declared)
            if declared.parent is not None and (holder := made[declared.parent].step.current) is not None:
                current = self._only(declared, self._candidates(declared, str(holder["id"])))
            needs = dict.fromkeys(numbers[needed] for needed in declared.needs if needed in numbers)
            made[declared] = replace(self.item(declared, current, made), needs=tuple(needs))
        self._adopt_holders(made)
        self._problems += _twice([*made.values()])
        self._raise_problems()
        items, others = [*made.values()], [*self.reading.things, *self.reading.others]
        for number, item in enumerate(items):
            if (remarks := how_of(item.step.noun).remarks) is not None:
                more = remarks(self.lists, item.step, item.declared, others)
                items[number] = replace(item, remarks=(*item.remarks, *more))
        return Plan(items)

    def item(self, declared: Declaration, current: Raw | None, known: Mapping[Declaration, Planned]) -> Planned:
        """Return the part of a plan for one thing, of which this is there; what is wrong is gathered.

        What it needs is `known`: as it is, and whether it is still to be written. A list may show less than counts.
        """
        item = self._item(declared, current, known)
        if current is None or not _shows_too_little(item, current):
            return item
        return self._item(declared, self.lists.whole(declared.noun, current), known)

    def _item(self, declared: Declaration, current: Raw | None, known: Mapping[Declaration, Planned]) -> Planned:
        noun, remarks, details = declared.noun, list[str](), list[str]()
        holder = known[declared.parent].step.current if declared.parent else None
        parents = (str(holder["id"]),) if holder else ()
        origin = Origin(declared.name, *declared.place, Secrets(declared.secrets))
        is_object = declared.parent is None and not declared.content
        form = form_of(noun)._replace(is_read_first=True, is_read_back=is_object)
        step = Step(noun=noun, form=form, wanted={}, current=current, parents=parents, origin=origin)
        if current is not None and (error := archived(step.target, current)):
            return Planned(step.with_(error=error), declared=declared)
        if declared.unset:
            remarks.append(
                f"not compared, because it is not set: {', '.join(f'${{{name}}}' for name in declared.unset)}"
            )
        is_nameless = is_unset(declared.name) or (current is None and is_unset(declared.own.get("id")))
        is_kept = current is not None and noun.kind.is_written_once
        if is_nameless or is_kept:
            return Planned(step, declared=declared, remarks=tuple(remarks))
        fields = self._fields(declared, current, known)
        cleared: Raw = {}
        if current is not None:
            cleared = self._cleared(step, fields, remarks)
        step = planned(step.with_(wanted=fields | cleared))
        if current is None:
            self._check_required(declared, fields)
        else:
            step = self._with_secrets(step, details)
            if (taken := self._taken(step)) is not None:
                step = step.with_(error=taken)
        step = self._marked(step, declared, fields, remarks)
        if (plan := how_of(noun).plan) is not None:
            step = plan(self.lists, declared, step)
        if step.changes and not step.sends and step.error is None:
            names = ", ".join(dict.fromkeys(change.field for change in step.changes))
            cannot = Rejected(
                f"{step.label} has another {names}, and a {noun.called} cannot be changed",
                hint="correct the file, or give the new one another name",
            )
            step = step.with_(error=cannot)
        for token in tokens_in(tree_of(step.body)):
            at = (noun.naming.named_by,) if any(map(is_ours, token.at)) else token.at  # our mark has its name
            self._problems.append(declared.place.problem(token.text, at))
        item = Planned(step, declared=declared, remarks=tuple(remarks), details=tuple(details))
        return self._owned(item)

    def again(self, item: Planned, known: Mapping[Declaration, Planned]) -> Planned:
        """Return a thing's part of the plan once what it needs is there. Raises BadFiles, ApiError."""
        fresh = self.item(item.declared, item.step.current, known)
        self._raise_problems()
        return replace(fresh, needs=item.needs, remarks=item.remarks)

    def _raise_problems(self) -> None:
        if self._problems:
            raise BadFiles(list(dict.fromkeys(self._problems)))

    # What is there.

    def _current(self, declared: Declaration) -> Raw | None:
        noun, id = declared.noun, declared.own.get("id")
        if id is None or is_unset(id):
            return self._only(declared, self._candidates(declared))
        try:
            return self.lists.of_id(noun, id) or self.lists.read(noun, id)
        except NotFound as error:
            problem = declared.place.problem(f"no {noun.called} has this id: {error.message}", ("id",))
            self._problems.append(problem)
            return None

    def _candidates(self, declared: Declaration, *parents: str) -> Sequence[Raw]:
        if (find := how_of(declared.noun).find) is not None:
            return find(self.lists, declared, parents)
        return self.lists.named(declared.noun, declared.name)

    def _only(self, declared: Declaration, rows: Sequence[Raw]) -> Raw | None:
        noun = declared.noun
        if len(rows) > 1 and self.stack:
            ours = [row for row in rows if owner_of(noun, row) == self.stack]
            rows = ours if len(ours) == 1 else rows
        if len(rows) > 1 and not noun.kind.is_written_once:
            ids = few([str(row["id"]) for row in rows])
            what = f"{len(rows)} {noun.plural} are named {declared.name!r} ({ids}); add the id of one"
            if declared.parent is not None:
                what = f"{len(rows)} {noun.plural} may be {declared.name!r} ({ids}); archive all but one"
            self._problems.append(declared.place.problem(what))
        return rows[0] if rows else None

    def _await_lists(self) -> None:
        """Wait until lists show what this machine has just created, or may have created when it was cut off.

        Raises ApiError.
        """
        declared_as = {(declared.noun.words, key_of(declared)): declared for declared in self.reading.things}
        clock, now = self.app.clock, self.app.clock.now()
        notes = recent(self.app.store, self.app.settings, now=now)
        notes = [note for note in notes if (note.noun, note.name) in declared_as]
        until = clock.monotonic() + max((note.at for note in notes), default=now) - now + LAGS

        def missing() -> list[Creation]:
            return [note for note in notes if not self._shows(note, declared_as[note.noun, note.name])]

        if not (left := missing()):
            return
        count = f"{len(left)} of {len(notes)}"
        self.app.progress.note(f"waiting for lists to show what was created just now, or may have been: {count}")
        for pause in doubling(0.5, 4.0):
            if not missing() or clock.monotonic() >= until:
                return
            clock.sleep(max(min(pause, until - clock.monotonic()), 0.1))
            self.lists = ServerLists(self.app)

    def _shows(self, note: Creation, declared: Declaration) -> bool:
        parents = [note.parent] if note.parent else []
        try:
            if note.id:
                return any(row["id"] == note.id for row in self.lists.rows(declared.noun, *parents))
            return bool(self._candidates(declared, *parents))
        except NotFound:
            return False  # its holder is not shown yet

    # What it is to be.

    def _fields(self, declared: Declaration, current: Raw | None, known: Mapping[Declaration, Planned]) -> Raw:
        """Return the fields wanted, with the ids of what they refer to."""
        fields = deepcopy(declared.fields)
        for ref in sorted(declared.refs, key=lambda ref: ref.version is None):  # what pins a version takes it first
            id, version = self._id_and_version(declared, ref, known)
            if not ref.pins:
                put(fields, ref.at, id)
                continue
            if current is not None and ref.version is None:
                there = _pinned_there(current, ref, id, fields)
                if version is None or _is_older(version, there):  # a list may be stale
                    version = there
            if version is None and len(ref.at) == 1:  # its creation pins the latest
                put(fields, ref.at, id)
                continue
            pin: Raw = {"type": ref.pins, ref.key: id}
            if version is not None:
                is_text = ref.key != "id" and not isinstance(version, ToCome)
                pin["version"] = str(version) if is_text else version
            put(fields, ref.at, pin)
        if current is not None:
            self._keep_pins(declared.noun, fields, current)
        return fields

    def _keep_pins(self, noun: Noun, fields: Raw, current: Raw) -> None:
        """Give the ids in a list that leave a version open the one that is pinned there: a list is sent whole."""
        for refers in noun.kind.refers:
            for holder, key, at in places_of(refers, fields) if refers.pins and len(refers.at) > 1 else ():
                pin = holder[key]
                if isinstance(pin, str):
                    pin = {"type": refers.pins, refers.key: pin}
                id, version = mapping(pin).get(refers.key), mapping(pin).get("version")
                if isinstance(id, str) and version is None:
                    there = _pinned_there(current, Reference(at, noun, key=refers.key), id, fields)
                    if self.options.repin and pin.get("type", refers.pins) == refers.pins:
                        row = self.lists.of_id(NOUNS[refers.noun], id)
                        newest = row and self._newest(NOUNS[refers.noun], row)
                        there = newest if newest is None or refers.key == "id" else str(newest)
                    holder[key] = {**pin, **({} if there is None else {"version": there})}

    def _id_and_version(
        self, declared: Declaration, ref: Reference, known: Mapping[Declaration, Planned]
    ) -> tuple[str, Any]:
        """Return the id of what is referred to, and its version if that is to be pinned."""
        needed = known.get(ref.target) if ref.target else None
        if needed is not None:
            raw = needed.step.current
            if raw is None:
                name = ref.target.name if ref.target else ref.name
                return ToCome(f"{name} (new)"), ref.version or (ToCome("new") if ref.pins else None)
            if not ref.pins or ref.version:
                return str(raw["id"]), ref.version
            return str(raw["id"]), ToCome("new") if needed.step.is_open else self._newest(needed.step.noun, raw)
        if ref.path and ref.target is None:
            return ToCome(ref.path), None  # a problem that was gathered
        name = ref.target.name if ref.target else ref.name
        rows = self.lists.named(ref.noun, name)
        if len(rows) != 1:
            what = self._why_not(ref.noun, name, rows)
            if ref.target is not None and not rows:
                what = f"no {ref.noun.called} is named {name!r} on the server yet; apply {ref.target.place.file}, too"
            self._problems.append(ref.problem(declared.place, what))
            return ToCome(name), None
        version = None
        if self.options.repin and ref.pins:
            version = self._newest(ref.noun, rows[0])
        return str(rows[0]["id"]), ref.version or version

    def _newest(self, noun: Noun, row: Raw) -> Any:
        """Return the newest version of what is listed, which a list may not show. Raises ApiError."""
        return version_of(row) or version_of(self.lists.whole(noun, row))

    def _why_not(self, noun: Noun, name: str, rows: Sequence[Raw]) -> str:
        """Return why a name means no thing, or several, with what may be meant."""
        if rows:
            ids = few([str(row["id"]) for row in rows])
            return f"{len(rows)} {noun.plural} are named {name!r} ({ids}); write the id of one"
        names = [known for known in map(name_of, self.lists.rows(noun)) if known]
        names += [declared.name for declared in self.reading.things if declared.noun is noun]
        near = nearest(name, names)
        also = f"; did you mean {near[0]!r}?" if near else ", neither in these files nor on the server"
        return f"no {noun.called} is named {name!r}{also}"

    def _check_required(self, declared: Declaration, fields: Raw) -> None:
        created = None if declared.content else operation(declared.noun, "create")
        missing = [name for name in created.body if name in created.required and name not in fields] if created else []
        if missing:
            what = f"no {declared.noun.called} is named {declared.name!r}; to create it, add {', '.join(missing)}"
            self._problems.append(declared.place.problem(what))

    def _taken(self, step: Step) -> Rejected | None:
        if step.parents or name_of(step.before) in (None, step.name):
            return None
        unlisted = self.lists.unlisted(step.noun, [step.name]).get(step.name, [])
        rows = [*self.lists.named(step.noun, step.name), *unlisted]
        others = list(dict.fromkeys(str(row["id"]) for row in rows if row["id"] != step.target.id))
        if not others:
            return None
        return Rejected(f"the name {step.name!r} is taken by {few(others)}", hint="choose another name")

    def _with_secrets(self, step: Step, details: list[str]) -> Step:
        """Return a step that sends the secrets of what is there again, where that is wanted."""
        secrets = unseen(step.noun, step.wanted)
        if not secrets:
            return step
        if not self.options.send_secrets:
            details.append("its secrets cannot be compared, and are sent only with --send-secrets")
            return step
        body = step.body | {change.field: step.wanted[change.field] for change in secrets}
        return step.with_(changes=[*step.changes, *secrets]).sending(body)

    def _cleared(self, step: Step, fields: Raw, remarks: list[str]) -> Raw:
        """Return the fields that the file set once and does not any more, emptied; say which stay, and why."""
        noun, form, current = step.noun, step.form, step.before
        if self.stack is None or owner_of(noun, current) != self.stack:
            return {}
        there, updated = form.settable(current), operation(noun, "update")
        since = text(current.get("updated_at")) or "unknown"
        # What the server would have filled in, where a field cannot be without a value.
        empty = {**form.empty, **noun.kind.filled, "metadata": {}}
        cleared: Raw = {}
        for name, noted in recorded(current).items():
            value = there.get(name)
            if value in (None, "", [], {}):
                continue
            is_same = not noted or noted == digest(value)
            if name in fields:
                if not is_same and not _means(step, name, fields[name], value):
                    remarks.append(f"{name} was changed outside of this folder (last change: {since})")
            elif updated is None or name not in updated.body:
                continue
            elif not noted:
                remarks.append(f"{name} is no longer in the file; it is kept, for nothing tells who set it")
            elif not is_same:
                remarks.append(f"{name} is no longer in the file, but was changed outside since ({since}); it is kept")
            elif not is_filled_in(noun, name, value):
                cleared[name] = deepcopy(empty.get(name))
        return cleared

    def _marked(self, step: Step, declared: Declaration, fields: Raw, remarks: list[str]) -> Step:
        """Return a step that gives a thing the marks of this stack; as it is without a stack."""
        noun, form = step.noun, form_of(step.noun)
        written = operation(noun, "create" if step.current is None else "update")
        is_held = declared.parent is not None and step.current is not None  # its holder has the mark
        if self.stack is None or written is None or "metadata" not in written.body or is_held:
            return step
        if not has_room({**mapping(step.before.get("metadata")), **mapping(fields.get("metadata"))}):
            remarks.append("its metadata has no room for the stack's marks: it will never be pruned or cleared")
            return step
        unseen_places = {change.path for change in unseen(noun, fields)}  # which are compared by nobody
        unrecorded = {re.split(r"[.\[]", place)[0] for place in declared.secrets - unseen_places}
        for refers in noun.kind.refers:
            for holder, key, at in places_of(refers, fields):
                if refers.pins and not mapping(holder[key]).get("version"):
                    unrecorded.add(str(at[0]))  # left open: the server shows the one that it took
        record = record_of(form.normal({name: fields[name] for name in fields if name in written.body}), unrecorded)
        name = declared.name
        if name == declared.own.get("id"):  # the file does not name it
            name = name_of(step.before) or name
        return with_marks(step, {STACK: f"{self.stack}/{noun.type}/{name}", APPLIED: record})

    # Whose it is.

    def _owned(self, item: Planned) -> Planned:
        """Refuse what belongs to another stack, and note what a person has to agree to."""
        step, current = item.step, item.step.current
        if current is None or not step.noun.kind.is_declared:
            return item
        owner = owner_of(step.noun, current)
        if owner == self.stack:
            return item
        if self.stack is None:
            return replace(item, adopts=f"belongs to the stack {owner}" if step.is_open else "")
        if owner is None:
            return replace(item, adopts=f"exists, and was not made by the stack {self.stack}" if step.is_open else "")
        if owner == self.options.adopt_from and operation(step.noun, "update") is not None:
            return replace(item, adopts=f"{_MOVES} {owner} to this one")
        error = Rejected(
            f"{step.label} belongs to the stack {owner}; nothing was changed",
            hint=f"to move it here: --adopt-from {owner}; else give this one another name",
        )
        if owner == self.options.adopt_from:
            error = Rejected(
                f"{step.label} keeps the mark of the stack {owner}, because the API cannot change that of a"
                f" {step.noun.called}; nothing was changed",
                hint="remove its file here, and refer to it by its name",
            )
        return replace(item, step=step.with_(error=error))

    def _adopt_holders(self, made: dict[Declaration, Planned]) -> None:
        """Have a holder taken over where something is written into it: what is there may have no mark."""
        for declared, item in [*made.items()]:
            holder = made.get(declared.parent) if declared.parent else None
            if self.stack is None or holder is None or holder.step.current is None or not item.step.is_open:
                continue
            noun, holding = holder.step.noun, holder.step.current
            if owner_of(noun, holding) is None:  # a list may hide the mark
                holding = self.lists.whole(noun, holding)
            if owner_of(noun, holding) != self.stack and declared.parent and not holder.adopts:
                adopts = f"exists, and was not made by the stack {self.stack}"
                made[declared.parent] = replace(holder, adopts=adopts)


def by_declaration(items: Iterable[Planned]) -> dict[Declaration, Planned]:
    """Return the things of a plan by what declares them."""
    return {item.declared: item for item in items}


def key_of(declared: Declaration) -> str:
    """Return what tells a thing from others of its kind: its name; of an uploaded file its content, too."""
    if declared.content and not declared.noun.kind.is_declared:
        return f"{content_digest(declared.content)} {declared.name}"
    return declared.name


def _shows_too_little(item: Planned, row: Raw) -> bool:
    """Return whether the row of a list shows too little to plan by."""
    noun, declared = item.step.noun, item.declared
    if declared.parent is not None or not noun.kind.is_declared:
        return False
    if item.step.is_open and owner_of(noun, row) is None:  # it may hide the mark
        return True
    if declared.content:
        return False
    updated = operation(noun, "update")
    names = {*declared.fields, *(["version"] if updated and "version" in updated.body else [])}
    if item.step.is_open:
        names |= {"metadata", *recorded(row)}
    return any(row.get(name) in (None, {}) for name in names)


def version_of(raw: Raw) -> Any:
    """Return the newest version of a thing, None if it has none."""
    return raw.get("version", raw.get("latest_version")) or None


def _twice(items: Sequence[Planned]) -> Iterator[str]:
    """Yield what two declarations mean the same of; what is written once may be used by several."""
    first: dict[str, Planned] = {}
    for item in items:
        if item.step.current is None:
            continue
        if item.declared.parent is None and not item.step.noun.kind.is_declared:
            continue
        other = first.setdefault(str(item.step.current["id"]), item)
        if other is not item:
            what = f"is the same {item.step.noun.called} as {other.declared.place} ({item.step.current['id']})"
            yield item.declared.place.problem(what)


def _means(step: Step, name: str, wanted: Any, there: Any) -> bool:
    if isinstance(wanted, ToCome):
        return True
    return not any(differing(step.form, step.form.normal({name: wanted}), {name: there}))


def _pinned_there(current: Raw, ref: Reference, id: str, fields: Raw) -> Any:
    """Return the version that is pinned now of the thing with an id: at a place, else anywhere in the list there.

    What another item of `fields` pins already is that item's. Text there is an id with an open version.
    """
    *at, place = ref.at
    if not isinstance(place, int):
        pinned, version = _pin(_value_at(current, ref.at), ref.key)
        return version if pinned == id else None
    pins = [_pin(item, ref.key) for item in array(_value_at(current, at))]
    for item in array(_value_at(fields, at)):
        if _pin(item, ref.key) in pins and mapping(item).get("version") is not None:
            pins[pins.index(_pin(item, ref.key))] = ("", None)
    for pinned, version in (*pins[place : place + 1], *pins):
        if pinned == id:
            return version
    return None


def _value_at(fields: Any, at: Sequence[Any]) -> Any:
    for key in at:
        fields = mapping(fields).get(key)
    return fields


def _pin(item: Any, key: str) -> tuple[Any, Any]:
    if isinstance(item, str):
        return item, None
    return mapping(item).get(key), mapping(item).get("version")


def _is_older(version: Any, other: Any) -> bool:
    """Return whether a version comes before another; one that is not there yet, or that has no number, does not."""
    return str(version).isdigit() and str(other).isdigit() and int(version) < int(other)
