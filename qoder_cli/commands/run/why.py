"""`qoder run why`: how a run ended, and what changed since its deployment last worked."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from qoder_cli.app import App
from qoder_cli.base.jsontext import declared
from qoder_cli.base.times import coarse, unix
from qoder_cli.base.words import counted
from qoder_cli.cli.options import RUN_OR_LAST, Text, or_last

if TYPE_CHECKING:
    from qoder_cli.history.why import Why
    from qoder_cli.output.sheet import Section


def why(app: App, run: Text = RUN_OR_LAST) -> None:
    """Show what changed since the deployment last worked.

    Compares a run with the last one of its deployment that completed: agent,
    first message, environment, variables, credentials, skills, memory, budget.
    Also how often its error came in 30 days, where else it came within an
    hour, and the problems that `deploy check` finds now. A change is not
    called the cause. Each line names its source; what the server keeps no
    history of is unknown.

    Looks at the newest 200 runs, and sends 40 requests at most. Plain text,
    also in a pipe; -o markdown is for a comment. On a terminal RUN defaults
    to `last`.

    Examples:
      qoder run why last
      qoder run why nightly-report@last -o markdown"""
    from qoder_cli.history import names
    from qoder_cli.history.why import why as compared
    from qoder_cli.output.markdown import harmless
    from qoder_cli.output.screen import inert
    from qoder_cli.output.sheet import as_markdown, as_text

    app.output.refuse_csv("a comparison")
    told = compared(app, names.run(or_last(run, app), app))
    output = app.output
    if output.is_json:
        output.record({}, data=declared(told))
    elif output.format == "id":
        output.screen.write(f"{told.run}\n")
    elif output.is_markdown:
        output.screen.write(as_markdown([_head(told, app.server_now, harmless)], _sections(told)))
    else:
        output.screen.write(as_text([_head(told, app.server_now, inert)], _sections(told), output.screen))


def _head(told: "Why", now: float, shown: Callable[[str], str]) -> str:
    """Return which run it is, how it ended, and with which it is compared; names as `shown`."""
    ended = unix(told.ended_at) or unix(told.created_at)
    when = "" if ended is None else f" {coarse(now - ended)} ago"
    name = shown(told.deployment_name or told.deployment or "no deployment")
    head = f"Run {told.run} of {name}: {shown(told.status or 'unknown')}{when}."
    if told.compared_with:
        worked = unix(told.compared_at)
        return f"{head} Before, {shown(told.compared_with)} completed" + (
            "." if worked is None else f" {coarse(now - worked)} ago."
        )
    if told.is_whole and not told.runs_before:
        return f"{head} It has no earlier run."
    if told.is_whole:
        return f"{head} None of the {counted(told.runs_before, 'run')} before it completed."
    return f"{head} None is known to have completed of the newest {counted(told.runs_before, 'run')} before it."


def _sections(told: "Why") -> Iterator["Section"]:
    from qoder_cli.output.sheet import ForeignText, Section, SheetLine

    lines = []
    for change in told.changed:
        lines.append(SheetLine(change.what, [ForeignText(change.says), ForeignText(f" ({change.source})")]))
        lines += [SheetLine("", [ForeignText(line)]) for line in change.lines]
    if told.compared_with and not lines:
        lines = [SheetLine("nothing", ["all that was looked at is as it was then"])]
    if lines:
        yield Section("Changed", "yellow", lines)
    if told.unknown:
        yield Section(
            "Unknown",
            "yellow",
            [SheetLine(each.what, [ForeignText(each.says), ForeignText(f" ({each.source})")]) for each in told.unknown],
        )
    ending = []
    if told.error_type:
        ending.append(SheetLine("error", [ForeignText(f"{told.error_type}: {told.message or ''}".rstrip(": "))]))
    if told.last_message:
        ending.append(SheetLine("last said", [ForeignText(told.last_message)]))
    if often := told.recurrence:
        says = f"in {often.failed} of {counted(often.runs, 'run')} of 30 days"
        if often.unknown:
            says += f", {often.unknown} more not asked"
        if often.ended_by:
            says += f"; before, {often.ended_by} was the first to complete again"
        ending.append(SheetLine("this error", [says, ForeignText(f" ({often.source})")]))
    if told.elsewhere:
        others = f"{counted(len(told.elsewhere), 'other deployment')} failed with it within an hour"
        ending.append(SheetLine("elsewhere", [others, " (runs of all deployments)"]))
    if ending:
        yield Section("Ended", "red", ending)
    if told.check:
        yield Section(
            "Now", "red", [SheetLine(each.weight, [ForeignText(each.says)], [each.fix]) for each in told.check]
        )
    yield Section("Next", "", [SheetLine("", [told.next_because], [told.next])])
