"""What an apply would do: each thing of the folder beside what the server has, and what would be pruned."""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Any

from qoder_cli.app import App
from qoder_cli.base.errors import NotFound, QoderError, Rejected, first_by_rank
from qoder_cli.base.ids import nearest
from qoder_cli.base.model import Deployment, mapping, text
from qoder_cli.base.polling import doubling
from qoder_cli.base.times import unix
from qoder_cli.base.words import few
from qoder_cli.deployments.load import Declared as DeclaredDeployment
from qoder_cli.deployments.planning import changing, creating, problems_of
from qoder_cli.deployments.references import FILE, Reference, put
from qoder_cli.deployments.step import DeploymentStep
from qoder_cli.files.tree import BadFiles, Path
from qoder_cli.local.made import LAGS, Creation, recent
from qoder_cli.nouns import deployments as normal
from qoder_cli.nouns import memories, skills
from qoder_cli.nouns.deployments import FORM as DEPLOYMENTS
from qoder_cli.nouns.edits.difference import ABSENT, FieldChange, Form, Secrets, differing
from qoder_cli.nouns.edits.forms import form_of, form_with
from qoder_cli.nouns.edits.step import Step
from qoder_cli.nouns.edits.thing import archived
from qoder_cli.nouns.noun import Noun
from qoder_cli.nouns.secrets import PLACES, SECRET_FIELDS, without_secret
from qoder_cli.nouns.shown import found_at, name_of
from qoder_cli.nouns.table import NOUNS, operation
from qoder_cli.stack.folder import KINDS, WHAT
from qoder_cli.stack.items import Doomed, Item, Options, StackPlan, ThingStep, ToCome
from qoder_cli.stack.lists import ServerLists
from qoder_cli.stack.marks import (
    APPLIED,
    CONTENT,
    STACK,
    add_marks,
    content_digest,
    digest,
    has_room,
    mark_of,
    owner_of,
    record_of,
    recorded,
)
from qoder_cli.stack.pruning import doomed_by
from qoder_cli.stack.remarks import FolderCredentials, remarks_of
from qoder_cli.stack.things import CREDENTIAL, ENTRY, Declaration, key_of

Raw = dict[str, Any]

_LISTED = 10  # ids or names that an error lists


class Planner:
    """Makes the plan, and a thing's part of it again once what it needs is there."""

    def __init__(self, app: App, stack: str | None, options: Options) -> None:
        self.app, self.stack, self.options = app, stack, options
        self.server = ServerLists(app)
        self._items: dict[tuple[str, str], Item] = {}  # by noun and name
        self._files: dict[str, Item] = {}
        self._problems: list[str] = []
        self._unlisted: dict[str, dict[str, list[Raw]]] = {}

    def plan(self, things: Sequence[Declaration], *, is_whole: bool) -> StackPlan:
        """Return the plan for the things, each after those that it needs. Raises BadFiles, ApiError."""
        meant = [thing for thing in things if thing.is_meant]
        self._await_lists(meant)
        found: dict[Declaration, Raw | None] = {thing: self._current(thing) for thing in meant if thing.parent is None}
        for words in dict.fromkeys(thing.noun.words for thing in meant):
            new = [each.name for each, raw in found.items() if each.noun.words == words and raw is None]
            self._unlisted[words] = self.server.unlisted(NOUNS[words], new)
        items: list[Item] = []
        by_thing: dict[Declaration, Item] = {}
        for thing in meant:
            if thing.parent is None and found[thing] is None:
                unlisted = self._unlisted[thing.noun.words].get(thing.name, [])
                found[thing] = self._only(thing, unlisted)
            item = Item(thing, ThingStep(noun=thing.noun, form=form_of(thing.noun), wanted={}, thing=thing))
            by_thing[thing] = item
            if thing.noun.words == FILE:
                self._files[thing.file] = item
            elif thing.parent is None:
                self._items[thing.noun.words, thing.name] = item
            else:
                item.needs.append(by_thing[thing.parent])
            item.needs += filter(None, map(self._needed, thing.refs))
            self._take(item, found.get(thing))
            items.append(item)
        deploys = [item.step for item in items if isinstance(item.step, DeploymentStep)]
        if deploys:
            self._problems += problems_of(deploys, [*map(Deployment, self.server.rows(NOUNS["deploy"]))])
        self._problems += self._twice(items)
        self._adopt_holders(items)
        if self._problems:
            raise BadFiles(list(dict.fromkeys(self._problems)), WHAT)
        credentials = FolderCredentials(items)
        for item in items:
            item.remarks += remarks_of(item, credentials)
        doomed: list[Doomed] = []
        kept: list[Doomed] = []
        if self.options.prune and self.stack and is_whole and not self.options.only:
            doomed, kept = doomed_by(self.server, self.stack, things, items, may_be_most=self.options.prune_all)
        return StackPlan(items, doomed, kept)

    def _twice(self, items: Sequence[Item]) -> Iterator[str]:
        first: dict[str, Item] = {}
        for item in items:
            if item.current is not None and item.thing.noun.words not in (FILE,):
                other = first.setdefault(str(item.current["id"]), item)
                if other is not item:
                    yield item.thing.problem(
                        f"is the same {item.thing.noun.called} as {other.thing.place} ({item.current['id']})"
                    )

    # What is there.

    def _await_lists(self, things: Sequence[Declaration]) -> None:
        """Wait until lists show what this machine has just created, or may have created when it was cut off.

        Raises ApiError.
        """
        names = {(thing.noun.words, key_of(thing)) for thing in things}
        notes = recent(self.app.store, self.app.settings, now=self.app.clock.now())
        notes = [each for each in notes if (each.noun, each.name) in names]
        until = max((each.at for each in notes), default=0.0) + LAGS

        def missing() -> list[Creation]:
            return [each for each in notes if not self._shows(each)]

        if not (left := missing()):
            return
        count = f"{len(left)} of {len(notes)}"
        self.app.progress.note(f"waiting for lists to show what was created just now, or may have been: {count}")
        for pause in doubling(0.5, 4.0):
            if not missing() or self.app.clock.now() >= until:
                return
            self.app.clock.sleep(max(min(pause, until - self.app.clock.now()), 0.1))
            self.server = ServerLists(self.app)

    def _shows(self, note: Creation) -> bool:
        noun, parents = NOUNS[note.noun], filter(None, [note.parent])
        try:
            rows = self.server.rows(noun, *parents)
        except NotFound:
            return False  # its holder is not shown yet
        if note.id:
            return any(row["id"] == note.id for row in rows)
        if note.noun == FILE:
            return any(_is_upload(row, *note.name.split(" ", 1)) for row in rows)
        if note.noun == ENTRY:
            return any(memories.path_in(row) == note.name for row in rows)
        if note.parent:
            return any(name_of(row) == note.name for row in rows)
        return bool(self.server.named(noun, note.name))

    def _current(self, thing: Declaration) -> Raw | None:
        """Return what the server has of a thing. Raises ApiError."""
        noun = thing.noun
        if thing.id:
            try:
                return self.server.of_id(noun, thing.id) or self.server.read(noun, thing.id)
            except NotFound as error:
                self._problems.append(thing.problem(f"no {noun.called} has this id: {error.message}", ("id",)))
                return None
        if noun.words == FILE:
            return self._uploaded(thing)
        return self._only(thing, self.server.named(noun, thing.name))

    def _only(self, thing: Declaration, rows: Sequence[Raw]) -> Raw | None:
        """Return the only one of a name, or gather the problem."""
        if len(rows) > 1 and self.stack:
            ours = [row for row in rows if owner_of(thing.noun, row, thing.name) == self.stack]
            rows = ours if len(ours) == 1 else rows
        if len(rows) > 1:
            ids = few([str(row["id"]) for row in rows], _LISTED)
            self._problems.append(
                thing.problem(f"{len(rows)} {thing.noun.plural} are named {thing.name!r} ({ids}); add the id of one")
            )
        return rows[0] if rows else None

    def _uploaded(self, thing: Declaration) -> Raw | None:
        """Return the file that was uploaded before, if it is still there."""
        wanted = content_digest(thing.content)
        for row in self.server.rows(thing.noun):
            is_same = _is_upload(row, wanted, thing.name)
            expires = unix(row.get("expires_at"))
            if is_same and (expires is None or expires > self.app.clock.now() + 3600):
                return row
        return None

    def _needed(self, ref: Reference) -> Item | None:
        if ref.noun == FILE:
            return self._files.get(ref.path)
        return self._items.get((ref.noun, ref.name))

    # What is referred to.

    def _id_and_version(self, thing: Declaration, ref: Reference) -> tuple[str, Any]:
        """Return the id of what is referred to, and its version if that is to be pinned."""
        item = self._needed(ref)
        if item is not None:
            raw = item.result.found.raw if item.result and item.result.found else item.current
            is_open = item.result is None and item.step.is_open
            if raw is None:
                return ToCome(f"{item.thing.name} (new)"), ref.version or (ToCome("new") if ref.pins else None)
            version = skills.newest(raw) if ref.noun == "skill" else raw.get("version")
            if is_open:
                version = ToCome("new")
            return str(raw["id"]), ref.version or version
        if ref.path:
            return ToCome(ref.path), None  # a problem that was gathered
        rows = self.server.named(NOUNS[ref.noun], ref.name)
        if len(rows) != 1:
            self._problems.append(thing.problem(self._why_not(ref, rows), ref.at, ref.line))
            return ToCome(ref.name), None
        version = None
        if self.options.repin and ref.pins:
            version = skills.newest(rows[0]) if ref.noun == "skill" else rows[0].get("version")
        return str(rows[0]["id"]), ref.version or version

    def _why_not(self, ref: Reference, rows: Sequence[Raw]) -> str:
        noun = NOUNS[ref.noun]
        if rows:
            ids = few([str(row["id"]) for row in rows], _LISTED)
            return f"{len(rows)} {noun.plural} are named {ref.name!r} ({ids}); write the id of one"
        names = [name for name in map(name_of, self.server.rows(noun)) if name]
        names += [name for words, name in self._items if words == ref.noun]
        near = nearest(ref.name, names)
        also = f"; did you mean {near[0]!r}?" if near else ", neither in the folder nor on the server"
        return f"no {noun.called} is named {ref.name!r}{also}"

    def _fields(self, item: Item) -> Raw:
        """Return the fields wanted, with the ids of what they refer to."""
        fields = deepcopy(item.thing.fields)
        for ref in item.thing.refs:
            id, version = self._id_and_version(item.thing, ref)
            if not ref.pins:
                put(fields, ref.at, id)
                continue
            named = "skill_id" if ref.noun == "skill" else "id"
            if item.current is not None and ref.version is None:
                pinned = _pinned_there(item.current, ref.at, named, id)
                if version is None or _is_older(version, pinned):  # a list may be stale
                    version = pinned
            pin: Raw = {"type": ref.pins, named: id}
            if version is not None:
                pin["version"] = version
                if ref.noun == "skill" and not isinstance(version, ToCome):
                    pin["version"] = str(version)
            elif ref.at == ("agent",):
                put(fields, ref.at, id)  # a new deployment pins the latest
                continue
            put(fields, ref.at, pin)
        return fields

    # What differs.

    def _take(self, item: Item, current: Raw | None) -> None:
        """Give an item its step."""
        item.step.current = current
        words = item.thing.noun.words
        if words == "skill":
            item.step = self._skill(item, current)
        elif words == FILE:
            item.step = self._file(item, current)
        elif words == CREDENTIAL:
            item.step = self._credential(item)
        elif words == ENTRY:
            item.step = self._entry(item)
        else:
            item.step = self._object(item, current)
        self._adopt(item)

    def again(self, item: Item) -> None:
        """Make an item's step again, once what it needs is there. Raises QoderError."""
        if item.thing.refs or item.thing.parent is not None:
            before, item.remarks, item.details = item.step, [], []
            self._take(item, before.current)
            if before.error is not None:
                item.step.error = before.error

    def _object(self, item: Item, current: Raw | None) -> Step:
        """Return the step of what has plain fields, or is a deployment."""
        thing, noun = item.thing, item.thing.noun
        fields = self._fields(item)
        marks = self._marks(item, fields, current)
        form = form_of(noun)
        if current is not None:
            fields |= self._cleared(item, fields, current)
        step: Step
        if noun.words == "deploy":
            declared = DeclaredDeployment(
                thing.file, thing.line, fields, thing.id, secret_places=thing.secret_places, paused=thing.paused
            )
            if current is None:
                step = creating(declared)
            else:
                others = [*map(Deployment, self.server.rows(noun))]
                how = {"repin": False, "send_secrets": self.options.send_secrets}
                step = changing(declared, Deployment(current), others, **how)
            form = step.form
        else:
            step = ThingStep(
                noun=noun,
                form=form._replace(is_read_back=True),  # each is read again right before and after its write
                wanted=fields,
                current=current,
                thing=thing,
                secrets=Secrets(thing.secret_places),
            )
            if current is not None and (error := archived(step.target, current)):
                step.error = error
                return step
            step.plan()
            if current is None:
                step.body = dict(fields)
        if marks:
            add_marks(step, marks)
        if step.changes and current is not None and operation(noun, "update") is None:
            names = ", ".join(dict.fromkeys(change.field for change in step.changes))
            step.error = Rejected(
                f"{step.label} has another {names}, and a {noun.called} cannot be changed",
                hint="correct the file, or give the new one another name",
            )
        return step

    def _marks(self, item: Item, fields: Raw, current: Raw | None) -> Raw:
        """Return the marks that a thing is to have; none without a stack, or where nothing can carry them."""
        noun = item.thing.noun
        written = operation(noun, "create" if current is None else "update")
        if self.stack is None or written is None or "metadata" not in written.body:
            return {}
        if not has_room({**mapping((current or {}).get("metadata")), **mapping(fields.get("metadata"))}):
            item.remarks.append("its metadata has no room for the stack's marks: it will never be pruned or cleared")
            return {}
        form = _form_of(noun)
        secret = {place.partition(".")[0] for place in item.thing.secret_places}  # those of resources are left out
        record = record_of(form.normal(fields), secret)
        return {STACK: mark_of(self.stack, noun, item.thing.name), APPLIED: record}

    def _cleared(self, item: Item, fields: Raw, current: Raw) -> Raw:
        """Return the fields that the file set once and does not any more, emptied; say which stay, and why."""
        noun, form = item.thing.noun, _form_of(item.thing.noun)
        if self.stack is None or owner_of(noun, current) != self.stack:
            return {}
        there, noted = form.settable(current), recorded(current)
        updated = operation(noun, "update")
        cleared: Raw = {}
        for name, noted_digest in noted.items():
            value = there.get(name)
            if value in (None, "", [], {}):
                continue
            since = text(current.get("updated_at")) or "unknown"
            if name in fields:
                if noted_digest and noted_digest != digest(value) and not _means(form, name, fields[name], value):
                    item.remarks.append(f"{name} was changed outside of this folder (last change: {since})")
            elif updated is None or name not in updated.body:
                continue
            elif not noted_digest:
                item.remarks.append(
                    f"{name} is no longer in the file; it is kept, for nothing tells whose it is by now"
                )
            elif noted_digest != digest(value):
                item.remarks.append(
                    f"{name} is no longer in the file, but was changed outside since ({since}); it is kept"
                )
            else:
                empty: Any = {} if name == "metadata" else None
                cleared[name] = deepcopy(normal.EMPTY.get(name)) if noun.words == "deploy" else empty
        return cleared

    def _skill(self, item: Item, current: Raw | None) -> Step:
        thing = item.thing
        step = ThingStep(noun=thing.noun, form=form_of(thing.noun), wanted=thing.fields, current=current, thing=thing)
        wanted = content_digest(thing.content)
        if current is None:
            marks = {CONTENT: wanted}
            if self.stack:
                marks[STACK] = mark_of(self.stack, thing.noun, thing.name)
            step.body = {**thing.fields, "metadata": marks}
            step.changes = [FieldChange("files", ABSENT, sorted(thing.content))]
            return step
        noted = mapping(current.get("metadata")).get(CONTENT)
        is_first = skills.newest(current) in ("1", None)
        if noted and is_first:
            is_same = noted == wanted
        else:
            is_same = skills.is_same(self.app, current, thing.content)
        if not is_same:
            step.changes = [FieldChange("files", f"version {skills.newest(current)}", sorted(thing.content))]
        return step

    def _file(self, item: Item, current: Raw | None) -> Step:
        thing = item.thing
        step = ThingStep(noun=thing.noun, form=form_of(thing.noun), wanted={}, current=current, thing=thing)
        if current is None:
            step.body = {"metadata": {CONTENT: content_digest(thing.content)}}
            step.changes = [FieldChange("content", ABSENT, f"{sum(map(len, thing.content.values()))} bytes")]
        return step

    def _holder(self, item: Item) -> str | None:
        """Return the id of what holds a credential or an entry; None if it is not there yet."""
        [holder] = [each for each in item.needs if each.thing is item.thing.parent]
        raw = holder.result.found.raw if holder.result and holder.result.found else holder.current
        return None if raw is None else str(raw["id"])

    def _entry(self, item: Item) -> Step:
        thing, id = item.thing, self._holder(item)
        parents = () if id is None else (id,)
        step = ThingStep(noun=thing.noun, form=form_of(thing.noun), wanted=thing.fields, thing=thing, parents=parents)
        if id is not None and self._was_there(item):
            rows = self.server.rows(thing.noun, id)
            step.current = next((row for row in rows if memories.path_in(row) == thing.name), None)
        if step.current is None:
            step.body = dict(thing.fields)
            step.changes = [FieldChange("content", ABSENT, thing.fields["content"])]
        return step

    def _was_there(self, item: Item) -> bool:
        """Return whether what holds it was there before this apply: else nothing can be in it."""
        [holder] = [each for each in item.needs if each.thing is item.thing.parent]
        return holder.current is not None

    def _credential(self, item: Item) -> Step:
        thing, id = item.thing, self._holder(item)
        form = form_with(("auth",))
        parents = () if id is None else (id,)
        wanted = {"auth": without_secret(mapping(thing.fields.get("auth")))}  # the rest of one that is there stays
        step = ThingStep(noun=thing.noun, form=form, wanted=wanted, thing=thing, parents=parents)
        step.secrets = Secrets(thing.secret_places)
        if id is not None and self._was_there(item):
            step.current = self._same_credential(thing, self.server.rows(thing.noun, id))
        step.plan()
        if step.current is None:
            step.body = dict(thing.fields)
            return step
        if name_of(step.current) not in (None, thing.name):
            item.remarks.append(f"it is called {name_of(step.current)} there, and a credential keeps its name")
        if self.options.send_secrets:
            secret = [name for name in SECRET_FIELDS if name in mapping(thing.fields.get("auth"))]
            step.changes = [*step.changes, *(FieldChange(f"auth.{name}", ABSENT, "sent") for name in secret)]
        else:
            item.details.append("its secret cannot be compared, and was not sent (--send-secrets sends it)")
        return step

    def _same_credential(self, thing: Declaration, rows: Sequence[Raw]) -> Raw | None:
        """Return the credential for the same variable or server, or of the same name."""
        auth = mapping(thing.fields.get("auth"))
        place = PLACES.get(str(auth.get("type")), "auth.mcp_server_url")
        aim = found_at({"auth": auth}, place)
        found = [row for row in rows if found_at(row, "auth.type") == auth.get("type") and found_at(row, place) == aim]
        found = found or [row for row in rows if name_of(row) == thing.name and found_at(row, place) is None]
        if len(found) > 1:
            ids = few([str(row["id"]) for row in found], _LISTED)
            self._problems.append(
                thing.problem(f"{len(found)} credentials of the vault are for {aim} ({ids}); archive all but one")
            )
        return found[0] if found else None

    # Whose it is.

    def _adopt(self, item: Item) -> None:
        """Refuse what belongs to another stack, and note what belongs to this one from now on."""
        current, noun = item.current, item.thing.noun
        if self.stack is None or current is None or noun.words not in KINDS or item.step.error is not None:
            return
        owner = owner_of(noun, current, item.thing.name if noun.words == "skill" else None)
        if owner == self.stack:
            return
        if owner is not None:
            item.step.error = Rejected(
                f"{item.step.label} belongs to the stack {owner}; nothing was changed",
                hint="give this one another name, or remove it from that stack first",
            )
        elif item.step.is_open:
            item.is_adopted = True

    def _adopt_holders(self, items: Sequence[Item]) -> None:
        """Have a vault taken over where a credential is written into it: nothing can mark one that is there."""
        for item in items:
            holder = next((each for each in item.needs if each.thing is item.thing.parent), None)
            if self.stack and holder and holder.current is not None and item.step.is_open:
                noun = holder.thing.noun
                holder.is_adopted = holder.is_adopted or owner_of(noun, holder.current) != self.stack


def _is_upload(row: Raw, digest: str, name: str) -> bool:
    return mapping(row.get("metadata")).get(CONTENT) == digest and name_of(row) == name


def _form_of(noun: Noun) -> Form:
    return DEPLOYMENTS if noun.words == "deploy" else form_of(noun)


def _means(form: Form, name: str, wanted: Any, there: Any) -> bool:
    if isinstance(wanted, ToCome):
        return True
    return not any(differing(form, form.normal({name: wanted}), {name: there}))


def _pinned_there(current: Raw, at: Path, named: str, id: str) -> Any:
    """Return the version that is pinned now of the thing with an id, in the list or the field of a place."""
    where: Any = current
    for step in at:
        if isinstance(step, int):
            break
        where = mapping(where).get(step)
    for entry in where if isinstance(where, list) else [where]:
        if mapping(entry).get(named) == id:
            return mapping(entry).get("version")
    return None


def _is_older(version: Any, other: Any) -> bool:
    """Return whether a version comes before another; one that is not there yet, or that has no number, does not."""
    return str(version).isdigit() and str(other).isdigit() and int(version) < int(other)


def refuse_adoption(plan: StackPlan, options: Options, stack: str | None) -> None:
    """Have every step fail that takes over what this stack did not make, unless that is wanted."""
    for item in plan.items:
        if item.is_adopted and not options.adopt and item.step.error is None:
            item.step.error = Rejected(
                f"{item.step.label} exists, and was not made by the stack {stack}; nothing was changed",
                hint="compare it (qoder diff --adopt), then pass --adopt to take it over",
            )


def blocked(plan: StackPlan) -> QoderError | None:
    """Return the error of the worst thing that cannot be done; None if all can."""
    return first_by_rank(item.step.error for item in plan.items if item.step.error)
