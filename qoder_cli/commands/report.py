"""`qoder report`: what became of the night."""

from typing import TYPE_CHECKING

from qoder_cli.app import App
from qoder_cli.base.errors import NotYet, QoderError, Unavailable, first_by_rank
from qoder_cli.cli.options import Texts, argument, flag, option
from qoder_cli.help.completion import values

if TYPE_CHECKING:
    from qoder_cli.report.items import Report

_OF = argument("DEPLOYMENT...", "Only these deployments (ids or names).", values.deployments, default=None)
_SINCE = option("--since", "WHEN", "From when: an age (90m, 7d, 2w), a date or an RFC 3339 time.", default="1d")
_NEW = flag("--new", "Tell only what no `report --new` of this machine told before.")


def report(
    app: App,
    deployments: Texts = _OF,
    since: str = _SINCE,
    exit_status: bool = flag("--exit-status", "Exit 8 if anything needs you, did not happen or failed."),
    new: bool = _NEW,
) -> None:
    """Tell on one page what needs you, what did not happen, what failed.

    Also runs that completed but left no message, tool call or file; what ran,
    how long and for how many credits, with the runs of the time before; and
    the next fires. A fire of a schedule is missed if no run came of it within 15
    minutes. Where a deployment was changed, paused or archived since, or a
    list could not be read whole, it says that it cannot tell.
    The page is plain text, also in a pipe; -o markdown is for a comment, -q
    prints ids, of runs where there is one. JSON is one object. --new prints
    nothing where nothing is new. With --exit-status, what could not be read is
    an error too, if nothing else is to tell.

    Examples:
      qoder report
      qoder report nightly-report --since 7d -o markdown
      qoder report --new"""
    from qoder_cli.deployments.lookup import deployment_ids_of
    from qoder_cli.local.reported import note_reported, reported
    from qoder_cli.report.items import report_of
    from qoder_cli.report.reading import read_night

    app.output.refuse_csv("a report")
    found = deployment_ids_of(deployments, app) if deployments else []
    for id in found:
        if isinstance(id, QoderError):
            raise id
    night = read_night(app, list(dict.fromkeys(map(str, found))), since)
    whole = shown = report_of(app, night)
    if new:
        reported_keys = reported(app.store, app.settings, [item.key for item in whole.items])
        shown = whole.only(lambda key: key not in reported_keys)
    if not new or shown.items:
        _print(app, shown, is_news=new)
    if new and shown.items:
        keys = [item.key for item in shown.items]
        if not note_reported(app.store, app.settings, keys, at=app.clock.now()):
            app.progress.warn("what was reported cannot be noted on this machine: the next --new tells it again")
    for problem in night.problems if app.output.format == "id" or app.output.is_json else ():
        app.progress.warn(f"{problem.what} not read whole: {problem.message}")
    if not exit_status:
        return
    if shown.is_urgent:
        raise NotYet("the report has something that needs you, did not happen or failed", hint="see the page")
    if error := first_by_rank(problem.error for problem in night.problems if problem.error):
        raise error
    if whole.is_unread:
        raise Unavailable("not everything could be read", hint="see the page")


def _print(app: App, shown: "Report", *, is_news: bool) -> None:
    from qoder_cli.report.page import ReportPage, as_markdown, as_text

    output = app.output
    if output.is_json:
        output.record({}, data=shown.as_json())
    elif output.format == "id":
        ids = dict.fromkeys(str(item.fields.get("run") or item.fields["deployment"]) for item in shown.items)
        output.screen.write("".join(f"{id}\n" for id in ids if id != "None"))
    elif output.is_markdown:
        output.screen.write(as_markdown(ReportPage(shown, is_news=is_news)))
    else:
        output.screen.write(as_text(ReportPage(shown, is_news=is_news), output.screen))
