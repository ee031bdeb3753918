"""What a stack has on the server and no file declares: what of it can go, and what stays, and why.

Absence is believed of nothing: what goes carries the mark of the stack, is still as that mark recorded it, and is used
by nothing that stays. That is asked when the plan is made, and again right before anything goes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from qoder_cli.app import App
from qoder_cli.base.errors import ApiError, NoResponse, Rejected
from qoder_cli.base.model import Raw, mapping, says_whether_more, text
from qoder_cli.base.times import unix
from qoder_cli.base.words import counted, few
from qoder_cli.nouns.edits.forms import form_of
from qoder_cli.nouns.edits.owner import digest, is_filled_in, name_in_mark, owner_of, recorded
from qoder_cli.nouns.edits.step import Origin, Send, Step
from qoder_cli.nouns.how import how_of
from qoder_cli.nouns.lists import ServerLists
from qoder_cli.nouns.noun import Noun
from qoder_cli.nouns.shown import name_of
from qoder_cli.nouns.table import NOUNS, creation_of, has_id, in_folders, operation, words_of
from qoder_cli.sessions.asks import look
from qoder_cli.stack.plan import Kept, Plan, PlanItem, Planned, Planner

_RECENT = 24 * 3600.0  # seconds after which a session at rest counts as left
_USES = ("agent", "environment_id", "vault_ids", "resources")  # in which a session names what it uses
_STATUSES = ("running", "rescheduling", "idle")  # of sessions that may use something


def pruned(planner: Planner, plan: Plan) -> Plan:
    """Return a plan with what would be pruned; without --prune, with how much there is. Raises Rejected, ApiError."""
    folder, options = planner.reading.folder, planner.options
    if planner.stack is None or not folder.is_whole or options.only:
        return plan
    if not options.prune:
        return replace(plan, notes=[*plan.notes, *_unpruned(planner, plan)]) if options.is_look else plan
    candidates = candidates_of(planner, plan)
    going, kept, idle = judged(planner, plan, candidates)
    belonging = sum(owner_of(noun, row) == planner.stack for noun, row in _rows(planner.lists))
    if going and 2 * len(going) > belonging and not options.prune_all:
        names = few([*map(_label, going)])
        raise Rejected(
            f"--prune would remove {len(going)} of the {counted(belonging, 'thing')} of the stack {planner.stack}:"
            f" {names}; nothing was changed",
            hint="if that is meant, pass --prune-all too",
        )
    removed = [PlanItem(step, (*_uncompared(step),)) for step in going]
    return replace(plan, removed=removed, kept=kept, notes=[*plan.notes, *idle])


def _unpruned(planner: Planner, plan: Plan) -> Iterator[str]:
    try:
        count = sum(step.error is None for step in candidates_of(planner, plan))
    except ApiError as error:
        yield f"unknown whether anything of this stack is in no file: {error.message}"
        return
    if count == 1:
        yield "1 thing of this stack is in no file (--prune archives it)"
    elif count:
        yield f"{count} things of this stack are in no file (--prune archives them)"


def _rows(lists: ServerLists) -> Iterator[tuple[Noun, Raw]]:
    for noun in reversed(in_folders().values()):
        yield from ((noun, row) for row in lists.rows(noun))


def candidates_of(planner: Planner, plan: Plan) -> list[Step]:
    """Return the removal of what carries the stack's mark and no file declares, users before what they use.

    Of what only has the name of something declared it has an error. Raises ApiError.
    """
    declarations = [*planner.reading.things, *planner.reading.others]
    declared = {(declared.noun, declared.name) for declared in declarations}
    planned = {str(item.step.current["id"]) for item in plan.items if item.step.current is not None}
    candidates = []
    for noun, row in _rows(planner.lists):
        is_ours, name = owner_of(noun, row) == planner.stack, name_in_mark(noun, row)
        if is_ours and str(row["id"]) not in planned:
            twin = Rejected("a file declares another of this name") if (noun, name) in declared else None
            removal = Send("archive" if operation(noun, "archive") else "delete", {})
            step = Step(noun=noun, form=form_of(noun), wanted={}, current=row, sends=[removal], origin=Origin(name))
            candidates.append(step.with_(error=twin))
    return candidates


def judged(
    planner: Planner, plan: Plan, candidates: Sequence[Step], staying: Mapping[str, str] = MappingProxyType({})
) -> tuple[list[Step], list[Kept], list[str]]:
    """Return which of some removals go, what stays, with why, and which sessions at rest use what goes.

    Some are known to be `staying`, by their ids. Raises ApiError where nobody can tell.
    """
    by_id = {step.target.id: step for step in candidates}
    if not by_id:
        return [], [], []
    if skipped := planner.reading.folder.skipped:
        why = f"{few(skipped)} may declare it, and does not say what: add a type"
        return [], [Kept(id, _label(step), why) for id, step in by_id.items()], []
    stays = dict(staying)
    for id, step in by_id.items():
        if step.error is not None:
            stays[id] = step.error.message
        elif why := why_changed(planner.lists, planner.stack, step.noun, step.before):
            stays[id] = why
    idle: dict[str, list[str]] = {}  # the sessions, by what they use
    users = [*_users(planner.lists, by_id, plan.items), *_sessions(planner.lists, by_id, idle)]
    while more := {
        used: why for used, user, why in users if used not in stays and (user not in by_id or user in stays)
    }:
        stays |= more
    kept = [Kept(id, _label(step), stays[id]) for id, step in by_id.items() if id in stays]
    going = {id: step for id, step in by_id.items() if id not in stays}
    notes = [
        f"{counted(len(idle[id]), 'idle session')} used {_label(step)}: {few(idle[id])}"
        for id, step in going.items()
        if id in idle
    ]
    return [*going.values()], kept, notes


def _label(step: Step) -> str:
    return f"{step.noun.called} {step.label}"


# Whether it is as it was applied.


def why_changed(lists: ServerLists, stack: str | None, noun: Noun, raw: Raw) -> str:
    """Return why a thing may not be what was applied; empty if it still is. Raises ApiError."""
    if owner_of(noun, raw) != stack:
        return f"it does not carry the mark of the stack {stack}"
    if (differs := how_of(noun).differs) is not None:
        return differs(lists, raw)
    noted, there = recorded(raw), form_of(noun).settable(raw)
    if not any(noted.values()):
        return "its mark does not say what was applied"
    for name in {**there, **noted}:
        value, was = there.get(name), noted.get(name)
        is_new = was is None and value not in (None, "", [], {}) and not is_filled_in(noun, name, value)
        if (was and was != digest(value)) or (is_new and name != noun.naming.named_by):
            return f"changed outside since: {name}"
    return _why_held(lists, stack, noun, str(raw["id"]))


def _uncompared(step: Step) -> Iterator[str]:
    names = [name for name, was in recorded(step.before).items() if not was]
    if names:
        yield f"not compared with what was applied: {', '.join(names)}"


def _why_held(lists: ServerLists, stack: str | None, noun: Noun, id: str) -> str:
    """Return why what a thing holds keeps it: it is not known to be of this stack."""
    if not noun.kind.below:
        return ""
    below = NOUNS[noun.kind.below]
    for row in lists.rows(below, id):
        row = lists.with_fields(["metadata"], below, row, id)
        if why_changed(lists, stack, below, row):
            command = " ".join(words_of(noun, "archive", id))
            name = name_of(row) or row.get(below.naming.named_by) or row["id"]
            return f"it holds the {below.called} {name}, which no apply wrote; to archive it: qoder {command}"
    return ""


# What uses it.

User = tuple[str, str, str]  # the id that is used, that of what uses it, and why that keeps it


def _texts_in(value: Any) -> Iterator[str]:
    """Yield all texts in a value: an id that is used stands somewhere among them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts_in(part)


def _used_by(raw: Raw, ids: Mapping[str, Any]) -> set[str]:
    return ids.keys() & {*_texts_in({key: value for key, value in raw.items() if key != "id"})}


def _users(lists: ServerLists, ids: Mapping[str, Any], items: Sequence[Planned]) -> Iterator[User]:
    """Yield what of some ids something else uses, now or as the plan wants it."""
    planned = {item.step.current["id"]: item.step for item in items if item.step.current is not None}
    for noun in in_folders().values():
        if not noun.kind.refers:
            continue
        places = {str(refers.at[0]) for refers in noun.kind.refers}
        for row in lists.rows(noun):
            row = lists.with_fields({*creation_of(noun).required, *places - row.keys()}, noun, row)
            step = planned.get(row["id"])
            after = row if step is None else {**row, **step.body}  # what a file does not name stays
            for id in _used_by(row, ids) & _used_by(after, ids):
                yield id, str(row["id"]), f"{noun.called} {name_of(row) or row['id']} uses it"
    for item in items:
        for id in _used_by(item.step.wanted, ids):
            yield (
                id,
                str(item.step.before.get("id") or item.step.name),
                f"{item.step.noun.called} {item.step.name} uses it",
            )


def _sessions(lists: ServerLists, by_id: Mapping[str, Step], idle: dict[str, list[str]]) -> Iterator[User]:
    """Yield what of some things a session uses that may go on; others are put into `idle`.

    Raises ApiError for a list that is not whole.
    """
    app, page = lists.app, Raw()
    for page in app.client.pages("/sessions", {"limit": 100, "statuses[]": list(_STATUSES)}, fresh=True):
        for row in map(mapping, page["data"]):
            if not has_id(NOUNS["session"], row):
                raise NoResponse("the list of sessions has something else in it")
            row = lists.with_fields(_USES, NOUNS["session"], row)
            used = _used_by(row, by_id)
            if used and (why := _why_kept(app, row)):
                yield from ((id, str(row["id"]), f"session {row['id']} {why}") for id in used)
            else:
                for id in used:
                    idle.setdefault(id, []).append(str(row["id"]))
    if not says_whether_more(page):
        raise NoResponse("the list of sessions does not say whether it is complete")


def _why_kept(app: App, session: Raw) -> str:
    """Return why a session keeps what it uses; empty if it is left for good, as far as that can be said."""
    status = text(session.get("status"))
    if status == "terminated":
        return ""
    if status != "idle":
        return f"is {status or 'in an unknown state'} and uses it"
    updated = unix(session.get("updated_at"))
    if updated is None or app.client.server_now() - updated < _RECENT:
        return "was active in the last 24 hours and uses it"
    asked = look(app.client, str(session["id"]))
    if asked.open is not None or asked.is_unclear:
        return "waits for an answer and uses it"
    return ""
