"""`qoder report`: one page about the night."""

from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from qoder_cli.app import App
from qoder_cli.base.errors import UsageError
from qoder_cli.base.jsontext import declared
from qoder_cli.cli.judging import conclude
from qoder_cli.cli.options import Text, Texts, argument, flag, option
from qoder_cli.help.completion import values

if TYPE_CHECKING:
    from qoder_cli.commands.report.entries import Report
    from qoder_cli.history.nights import Night

_OF = argument("DEPLOYMENT...", "Only these deployments (ids or names).", values.deployments, default=None)
_SINCE = "Since an age (7d), date or time; with --new, only the first time."
_NEW = "Only what no `report --new` of this reader told before."
_READER = "With --new: whose memory to use."
_ALL = flag("--all", "Ask all sessions, about all runs of 30 days.")
_URGENT = "the report has something that needs you, did not happen or failed"
_JUST_NOW = "something failed or did not happen just now: the next report tells of it"
_LONGEST_READER = 64  # characters


def report(
    app: App,
    deployments: Texts = _OF,
    since: str = option("--since", "WHEN", _SINCE, default="1d"),
    until: Text = option("--until", "WHEN", "Until then (default: now)."),
    exit_status: bool = flag("--exit-status", "Exit 8 if anything needs you, did not happen or failed."),
    new: bool = flag("--new", _NEW),
    reader: Text = option("--reader", "NAME", _READER),
    all: bool = _ALL,
) -> None:
    """Tell on one page what needs you, what did not happen, what failed.

    Also runs that completed but left no message, tool call or file; what ran,
    how long and for how many credits; and the next scheduled times. Every
    report has what lasts (a run waits, a deployment is paused); reports whose
    spans meet have what happened once. A scheduled time is missed if no run
    came within 15 minutes; it is judged a minute later. It lists what was
    unreadable.

    --new remembers on this machine what it told, for each reader and choice of
    deployments: it begins where the last one ended, and prints nothing if
    nothing is new.

    It is plain text, also in a pipe; -o markdown is for a comment, -o html a
    picture for a browser or a mail, -q prints ids. If nothing is wrong but
    something was unreadable, --exit-status exits with 7.

    Examples:
      qoder report
      qoder report nightly-report --since 7d -o markdown
      qoder report -o html > night.html"""
    from qoder_cli.commands.report.telling import Reporter
    from qoder_cli.history.nights import ReportOptions, read_night
    from qoder_cli.local.reports import ReportMemory
    from qoder_cli.nouns.lookup import ids_of_all
    from qoder_cli.stack.turns import machine_turn

    app.output.refuse_csv("a report")
    if new and app.out.is_closed:
        raise UsageError("--new needs standard output, which is closed", hint="for example: qoder report --new > file")
    if new and until is not None:
        raise UsageError("--new tells all until now: it takes no --until", hint="give only one of them")
    if reader is not None and not new:
        raise UsageError("--reader only works with --new", hint="add --new")
    name = (reader or "").strip()
    if reader is not None and (not name or len(reader) > _LONGEST_READER or not reader.isprintable()):
        raise UsageError(f"--reader: {reader[:_LONGEST_READER]!a} is not a name", hint="use for example: team")
    options = ReportOptions(ids_of_all(deployments or (), app), since, until, is_news=new, asks_all=all)
    remembered = ReportMemory(app.store, app.settings, name if new else None, options.deployments)
    turn: AbstractContextManager[None] = nullcontext()
    if new:
        turn = machine_turn(app, f"report {remembered.name}", does="makes a report for this reader")
    with turn:
        night = read_night(app, options, remembered.read())
        reported = Reporter(app, night, remembered).reported(name)
        if not new or not reported.is_empty:
            _print(app, reported.report, night)
        is_noted = remembered.note(reported.memory, reported.keys, at=night.now)
    if new and not reported.is_empty and not is_noted:
        app.progress.warn("this machine cannot note what was reported: the next --new repeats it")
    if exit_status or not new or not reported.is_empty:
        finding = _JUST_NOW if reported.has_just_happened else None
        conclude(
            app,
            finding=_URGENT if reported.report.is_urgent else finding,
            unseen=reported.unseen,
            judges=exit_status,
            hint="see the page",
        )


def _print(app: App, report: "Report", night: "Night") -> None:
    from qoder_cli.commands.report.page import ReportPage
    from qoder_cli.output.sheet import as_markdown, as_text

    output = app.output
    if output.is_json:
        output.record({}, data=declared(report))
        return
    if output.format == "id":
        sections = (report.needs_you, report.did_not_happen, report.failed, report.did_nothing, report.paused)
        entries = [entry for section in (*sections, report.cannot_tell) for entry in section]
        ids = dict.fromkeys(getattr(entry, "run", None) or entry.deployment for entry in entries)
        output.screen.write("".join(f"{id}\n" for id in ids if id is not None))
        return
    names = Counter(deployment.name for deployment in night.deployments.values())
    page = ReportPage(report, twins=[name for name, count in names.items() if name and count > 1])
    if output.is_markdown:
        output.screen.write(as_markdown(page.head, page.sections()))
    elif output.is_html:
        from qoder_cli.commands.report.picture import as_html

        output.screen.write(as_html(report, night, page))
    else:
        output.screen.write(as_text(page.head, page.sections(), output.screen))
