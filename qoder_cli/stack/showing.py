"""A plan, as people read it: on standard error, and as Markdown."""

from collections.abc import Iterator

from qoder_cli.app import App
from qoder_cli.base.cron import next_fires, words_of
from qoder_cli.base.model import mapping
from qoder_cli.nouns.edits.difference import lines_of
from qoder_cli.nouns.table import operation
from qoder_cli.output.markdown import block
from qoder_cli.output.screen import inert
from qoder_cli.stack.applying import kind_of
from qoder_cli.stack.items import Doomed, Item, StackPlan
from qoder_cli.stack.marks import APPLIED

_FIRES = 3  # times of a new schedule that are shown


def in_words(plan: StackPlan) -> str:
    """Return how much there is to do: `3 to create, 2 to change, 14 unchanged`."""
    new = sum(item.step.is_open and item.current is None for item in plan.items)
    changed = sum(item.step.is_open and item.current is not None for item in plan.items)
    failed = sum(item.step.error is not None for item in plan.items)
    counts = {"to create": new, "to change": changed, "to archive": len(plan.doomed), "blocked": failed}
    counts["unchanged"] = len(plan.items) - new - changed - failed
    return ", ".join(f"{count} {word}" for word, count in counts.items() if count) or "nothing to do"


def show_plan(app: App, plan: StackPlan, *, verbose: bool) -> None:
    """Show a line for each thing, and under a change its fields."""
    for item in plan.items:
        if not (_is_news(item) or verbose):
            continue
        app.err.print(f"{app.err.styled(_sign(item), _STYLES.get(_sign(item), ''))} {_title(item)}\n")
        for line in [*_lines(app, item), *(map(inert, item.details) if verbose else ())]:
            style = {"+": "green", "-": "red"}.get(line[:5].removeprefix("    ")[:1], "")
            app.err.print(f"    {app.err.styled(line, style)}\n")
    for doomed in plan.doomed:
        app.err.print(f"{app.err.styled('-', 'red')} {_to_remove(doomed)}\n")
    for kept in plan.kept:
        app.progress.note(f"{inert(kept.label)} is kept: {inert(kept.user)} uses it", always=True)
    app.err.print(f"{in_words(plan)}\n")


_STYLES = {"+": "green", "~": "yellow", "-": "red", "!": "red"}


def _is_news(item: Item) -> bool:
    """Return whether a plan shows a thing: also one that is only taken over, as a vault that gets a credential."""
    return item.step.is_open or item.is_adopted or item.step.error is not None or bool(item.remarks)


def _sign(item: Item) -> str:
    if item.step.error is not None:
        return "!"
    if not (item.step.is_open or item.is_adopted):
        return "="
    return "+" if item.current is None else "~"


def _title(item: Item) -> str:
    verb = {"+": "create", "~": "change", "=": "unchanged", "!": "blocked"}[_sign(item)]
    if item.is_adopted:
        verb = "adopt"
    id = f" ({item.current['id']})" if item.current else ""
    holder = f" in {item.thing.parent.name}" if item.thing.parent else ""
    return inert(f"{verb} {kind_of(item.thing).replace('_', ' ')} {item.thing.name}{id}{holder}")


def _to_remove(doomed: Doomed) -> str:
    verb = "archive" if operation(doomed.noun, "archive") else "delete"
    return inert(f"{verb} {doomed.label}: no file declares it")


def _lines(app: App, item: Item) -> Iterator[str]:
    """Yield what a change changes, and what its reader should know."""
    if item.step.error is not None:
        yield inert(item.step.error.message)
        return
    changes = [change for change in item.step.changes if change.path != f"metadata.{APPLIED}"]
    if item.current is not None and item.step.is_open:
        if not changes:
            yield "notes which fields the file sets"
        for change in changes:
            yield from lines_of(change, item.step.secrets)
    schedule = mapping(item.step.body.get("schedule")) if item.step.is_open else {}
    if item.thing.noun.words == "deploy" and schedule:
        fires = next_fires(schedule, now=app.client.server_now())[:_FIRES]
        when = "once it is unpaused" if item.thing.paused else "from now on"
        yield inert(f"fires {when}: {words_of(schedule)}; next {', '.join(fires) or 'never'}")
    yield from map(inert, item.remarks)


def as_markdown(app: App, plan: StackPlan) -> str:
    """Return the plan as a comment for a merge request. What is not ours in it cannot be markup."""
    lines = [f"**qoder**: {in_words(plan)}", ""]
    shown = filter(_is_news, plan.items)
    body = []
    for item in shown:
        body.append(f"{_sign(item)} {_title(item)}")
        body += [f"    {line}" for line in _lines(app, item)]
    body += [f"- {_to_remove(doomed)}" for doomed in plan.doomed]
    if body:
        lines.append(block("\n".join(body), "diff"))
    return "\n".join(lines).rstrip("\n") + "\n"
