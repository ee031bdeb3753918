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

    Looks at the newest 200 runs before it, and sends 40 requests at most.
    Plain text, also in a pipe; -o markdown is for a comment. On a terminal
    RUN defaults to `last`.

    Examples:
      qoder run why last
      qoder run why nightly-report@last -o markdown"""
    from qoder_cli.history import names
    from qoder_cli.history.why import why as compared
    from qoder_cli.output.markdown import harmless
    from qoder_cli.output.screen import inert
    from qoder_cli.output.sheet import as_markdown, as_text

    app.output.refuse_csv("a comparison")
    comparison = compared(app, names.run(or_last(run, app), app))
    output = app.output
    if output.is_json:
        output.record({}, data=declared(comparison))
    elif output.format == "id":
        output.screen.write(f"{comparison.run}\n")
    elif output.is_markdown:
        output.screen.write(as_markdown([_head(comparison, app.server_now, harmless)], _sections(comparison)))
    else:
        output.screen.write(as_text([_head(comparison, app.server_now, inert)], _sections(comparison), output.screen))


def _head(comparison: "Why", now: float, shown: Callable[[str], str]) -> str:
    """Return which run it is, how it ended, and with which it is compared; names as `shown`."""
    ended = unix(comparison.ended_at) or unix(comparison.created_at)
    begun = "" if comparison.ended_at else ", begun"
    when = "" if ended is None else f"{begun} {coarse(now - ended)} ago"
    name = shown(comparison.deployment_name or comparison.deployment or "no deployment")
    head = f"Run {comparison.run} of {name}: {shown(comparison.status or 'unknown')}{when}."
    before = counted(comparison.runs_before, "run")
    if comparison.compared_with:
        worked = unix(comparison.compared_at)
        ago = "" if worked is None else f" {coarse(now - worked)} ago"
        return f"{head} Before, {shown(comparison.compared_with)} completed{ago}."
    if not comparison.runs_before:
        return f"{head} It has no earlier run." if comparison.is_whole else f"{head} No run before it was seen."
    if not comparison.is_whole:
        return f"{head} None is known to have completed of the newest {before} before it."
    return f"{head} None of the {before} before it completed."


def _sections(comparison: "Why") -> Iterator["Section"]:
    from qoder_cli.output.sheet import ForeignText, Section, SheetLine

    lines = []
    for change in comparison.changed:
        lines.append(SheetLine(change.what, [ForeignText(f"{change.says} ({change.source})")]))
        lines += [SheetLine("", [ForeignText(line)]) for line in change.lines]
    if comparison.compared_with and not lines:
        lines = [SheetLine("nothing", ["all that was looked at is as it was then"])]
    if lines:
        yield Section("Changed", "yellow", lines)
    lines = []
    for unknown in comparison.unknown:
        lines.append(SheetLine(unknown.what, [ForeignText(f"{unknown.says} ({unknown.source})")]))
    if lines:
        yield Section("Unknown", "yellow", lines)
    ending = []
    if comparison.error_type:
        error = f"{comparison.error_type}: {comparison.message or ''}".rstrip(": ")
        ending.append(SheetLine("error", [ForeignText(error)]))
    if comparison.last_message:
        ending.append(SheetLine("last said", [ForeignText(comparison.last_message)]))
    if often := comparison.recurrence:
        which = "of 30 days" if often.is_whole else "that were looked at"
        says = f"in {often.failed} of {counted(often.runs, 'run')} {which}"
        if often.unknown:
            says += f", how {often.unknown} more ended is unknown"
        if often.ended_by:
            says += f"; before, {often.ended_by} was the first to complete again"
        ending.append(SheetLine("this error", [says, ForeignText(f" ({often.source})")]))
    if comparison.elsewhere:
        others = f"{counted(len(comparison.elsewhere), 'other deployment')} failed with it within an hour"
        ending.append(SheetLine("elsewhere", [others, " (runs of all deployments)"]))
    if ending:
        yield Section("Ended", "red", ending)
    if comparison.check:
        problems = [
            SheetLine(problem.weight, [ForeignText(problem.says)], [problem.fix]) for problem in comparison.check
        ]
        yield Section("Now", "red", problems)
    yield Section("Next", "", [SheetLine("", [comparison.next_because], [comparison.next])])
