"""A plan, as people read it, and as Markdown."""

from collections.abc import Iterator, Sequence

from qoder_cli.nouns.edits.difference import lines_of
from qoder_cli.nouns.edits.owner import APPLIED
from qoder_cli.nouns.shown import name_of
from qoder_cli.output.markdown import block
from qoder_cli.output.screen import Screen, inert
from qoder_cli.stack.plan import Plan, PlanItem, Planned

_STYLES = {"+": "green", "~": "yellow", "-": "red", "!": "red"}
_VERBS = {"+": "create", "~": "change", "=": "unchanged", "!": "blocked"}


def in_words(plan: Plan) -> str:
    """Return how much there is to do: `3 to create, 2 to change, 14 unchanged`."""
    signs = [sign_of(item) for item in plan.items]
    new, blocked = signs.count("+"), signs.count("!")
    changed = sum(item.step.is_open and item.step.current is not None for item in plan.items)
    counts = {"to create": new, "to change": changed, "to archive": len(plan.removed), "blocked": blocked}
    counts["unchanged"] = len(plan.items) - new - changed - blocked
    counts["not compared"] = plan.uncompared
    return ", ".join(f"{count} {word}" for word, count in counts.items() if count)


def show(screen: Screen, plan: Plan, *, verbose: bool) -> None:
    """Show a line for each thing, and under a change its fields; last how much there is to do."""
    for item in plan.all:
        if is_news(item) or verbose:
            sign = sign_of(item)
            screen.print(f"{screen.styled(sign, _STYLES.get(sign, ''))} {_title(item)}\n")
            for line in [*_lines(item), *(map(inert, item.details) if verbose else ())]:
                style = {"+": "green", "-": "red"}.get(line[:5].removeprefix("    ")[:1], "")
                screen.print(f"    {screen.styled(line, style)}\n")
    for note in notes_of(plan):
        screen.print(f"{note}\n")
    screen.print(f"{in_words(plan)}\n")


def as_markdown(plan: Plan) -> str:
    """Return the plan as a comment for a merge request. What is not ours in it cannot be markup."""
    body = []
    for item in filter(is_news, plan.all):
        body.append(f"{sign_of(item)} {_title(item)}")
        body += [f"    {line}" for line in _lines(item)]
    body += notes_of(plan)
    lines = [f"**qoder**: {in_words(plan)}", ""]
    if body:
        lines.append(block("\n".join(body), "diff"))
    return "\n".join(lines).rstrip("\n") + "\n"


def is_news(item: PlanItem) -> bool:
    """Return whether a plan shows a thing: also one that is only taken over, as a vault that gets a credential."""
    return item.step.is_open or bool(item.adopts or item.step.error or item.remarks)


def sign_of(item: PlanItem) -> str:
    """Return the sign of what would be done with a thing."""
    if item.step.error is not None:
        return "!"
    if not isinstance(item, Planned):
        return "-"
    if not (item.step.is_open or item.adopts):
        return "="
    return "+" if item.step.current is None else "~"


def _title(item: PlanItem) -> str:
    step, sign = item.step, sign_of(item)
    kind = step.noun.called
    if not isinstance(item, Planned):
        called = f"{kind} {name_of(step.before) or '-'} ({step.before['id']})"
        return inert(f"{step.sends[-1].verb} {called}: no file declares it")
    verb = "adopt" if item.adopts and sign == "~" else _VERBS[sign]
    id = f" ({step.before['id']})" if step.current else ""
    holder = f" in {item.declared.parent.name}" if item.declared.parent else ""
    return inert(f"{verb} {kind} {step.name}{id}{holder}")


def _lines(item: PlanItem) -> Iterator[str]:
    step = item.step
    if step.error is not None:
        yield inert(step.error.message)
        return
    if item.adopts:
        yield inert(f"it {item.adopts}")
    if isinstance(item, Planned) and step.current is not None and step.is_open:
        changes = [change for change in step.changes if change.path != f"metadata.{APPLIED}"]
        if not changes:
            yield "notes which fields the file sets"
        for change in changes:
            yield from lines_of(change, step.origin.secrets)
    yield from map(inert, item.remarks)


def remarks_of(items: Sequence[PlanItem]) -> Iterator[str]:
    """Yield what a reader should know of things, each with what it is about."""
    for item in items:
        about = [f"it {item.adopts}"] if item.adopts and item.step.error is None else []
        yield from (inert(f"{item.step.noun.called} {item.step.name}: {line}") for line in (*about, *item.remarks))


def kept_of(plan: Plan) -> Iterator[str]:
    """Yield what stays that no file declares, and why."""
    yield from (inert(f"{kept.label} is kept: {kept.why}") for kept in plan.kept)


def notes_of(plan: Plan) -> Iterator[str]:
    """Yield what is said of the whole."""
    yield from kept_of(plan)
    yield from map(inert, plan.notes)
