"""`qoder run logs`: what the agent said and did."""

from typing import TYPE_CHECKING

import typer

from qoder_cli.app import App
from qoder_cli.base import ids, jsontext
from qoder_cli.base.errors import NoResponse, UsageError
from qoder_cli.base.ids import segment
from qoder_cli.base.model import Run
from qoder_cli.base.outcome import fill_status
from qoder_cli.base.words import counted
from qoder_cli.cli import options
from qoder_cli.cli.options import Text, Texts, flag, is_list, named, option, or_last, several, when_asked, words_to_wait
from qoder_cli.history import names
from qoder_cli.local.remembered import remember_runs
from qoder_cli.sessions.state import session_of

if TYPE_CHECKING:
    from qoder_cli.sessions.showing import Selection

MOST_OF_TAIL = 10_000  # events, held in memory to be reversed

_TAIL = option("--tail", "N", "Show only the last N events.", min=0, max=MOST_OF_TAIL)
_SINCE = option("--since", "WHEN", "Only events since an age (7d), date or time.")
_THREAD = option("--thread", "ID", "Only events of this thread (sthr_…).")
_OTLP = option("--otlp", "URL", "Send the run as a trace to this OpenTelemetry receiver.", group=options.ADVANCED)
_CONTENT = flag("--with-content", "Put prompts, calls and results into the trace.", group=options.ADVANCED)


def logs(
    ctx: typer.Context,
    runs: Texts = options.RUNS_OR_LAST,
    follow: bool = flag("--follow -f", "Keep streaming until the run finishes."),
    on_ask: Text = options.ON_ASK,
    policy: Text = options.POLICY,
    tail: int | None = _TAIL,
    types: Texts = several("--type", "TYPE", "Only events of this type, e.g. agent.message."),
    since: Text = _SINCE,
    thread: Text = _THREAD,
    otlp: Text = _OTLP,
    with_content: bool = _CONTENT,
    allow_empty: bool = options.ALLOW_EMPTY,
) -> None:
    """Show what the agent said and did.

    In a pipe each line is time, speaker and text, separated by tabs;
    continuation lines start with two tabs. A terminal cuts long calls and
    results. Housekeeping events need --type; -o jsonl prints every event
    unchanged. Exits 0 whatever the outcome.
    On a terminal RUN defaults to `last`.

    With several runs, or -, each log is preceded by a line
      ==> RUN (DEPLOYMENT, STATUS) <==
    -o json prints an array of runs, each with its `events`; -o jsonl adds a
    key `run_id` to each event. A run that cannot be read sets the exit code;
    the others are shown.

    -o otlp prints one run as a trace, --otlp sends it: times, names and ids,
    no text unless --with-content. OTEL_EXPORTER_OTLP_HEADERS is sent along.

    Examples:
      qoder run logs last --follow
      qoder run logs last --type agent.message --since 90m
      qoder run list -n 3 -q | qoder run logs - --tail 20"""
    from qoder_cli.commands.target import sessions_of
    from qoder_cli.sessions.showing import Selection

    app: App = ctx.obj
    app.output.refuse_csv("a log")
    for name, typed_value in (("--on-ask", on_ask), ("--policy", policy)):
        if typed_value is not None and not follow:
            raise UsageError(f"{name} only works with --follow", hint="add --follow")
    if follow:
        app.flags.wait_verb = "logs"
        app.flags.wait_options = ("--follow", *words_to_wait(on_ask=on_ask, policy=policy))
    is_trace = otlp is not None or app.output.format == "otlp"
    if with_content and not is_trace:
        raise UsageError("--with-content only works with -o otlp or --otlp", hint="add -o otlp")
    if is_trace and (follow or tail is not None or types or since or thread or is_list(runs or ())):
        why = "a trace is of one whole run: no --follow, --tail, --type, --since or --thread with it"
        raise UsageError(why, hint="give one run, and none of these options")
    words = [word.strip() for types_typed in types or [] for word in types_typed.split(",")]
    if not all(words):
        raise UsageError("--type must not be empty", hint="for example --type agent.message")
    start = None if since is None else app.when(since, option="--since")
    selection = Selection(tuple(words), start, thread)
    runs = runs or [or_last(None, app, of_sessions=options.is_of_sessions(ctx))]
    if thread is not None and (is_list(runs) or not thread.startswith("sthr_")):
        raise UsageError("--thread takes a thread (sthr_…) of one run", hint="see: qoder session thread list")
    of_sessions = options.is_of_sessions(ctx)
    if is_list(runs):
        if follow:
            command = app.command("run", "wait", *runs, "--follow")
            raise UsageError("--follow takes a single run", hint="to follow several", next=command)
        if of_sessions:
            raise UsageError("session logs takes one session", hint="for several runs: qoder run logs")
        from qoder_cli.commands.run.logs_of_many import show_many

        run_words = named(runs, app, allow_empty=allow_empty)
        for word in run_words:
            ids.run(word)  # check all before any request
        app.pace_reads()
        return show_many(app, run_words, selection, tail)
    if of_sessions:
        chosen = sessions_of(runs, app)[0]
    else:
        chosen = names.run(runs[0], app)
    if follow:
        from qoder_cli.commands.run.logs_followed import follow_run
        from qoder_cli.runs.ending import Wanted

        asked, rules = when_asked(app, on_ask, policy, follow=follow)
        follow_run(app, chosen, selection, tail, Wanted(on_ask=asked, policy=rules))
    elif is_trace:
        _trace(app, chosen, otlp, with_content=with_content)
    else:
        _show(app, chosen, selection, tail)


def _read(app: App, chosen: str) -> Run:
    """Return a run, or a session's last turn, as the server shows it. Raises ApiError."""
    if chosen.startswith("sess_"):
        run: Run | None = Run(session_of(app, chosen))
    else:
        run = Run.read(app.client.get(f"/deployment_runs/{segment(chosen)}"))
    if run is None or run.id != chosen:
        raise NoResponse(f"unexpected response: not run {chosen}")
    return run


def _trace(app: App, chosen: str, url: str | None, *, with_content: bool) -> None:
    """Print a run as a trace, or send it."""
    from qoder_cli.commands.run.logs_of_one import explained, log_of
    from qoder_cli.runs.observe import any_observer
    from qoder_cli.sessions import traces
    from qoder_cli.sessions.showing import Selection
    from qoder_cli.sessions.state import read_session

    address = None if url is None else traces.checked(url)
    run = any_observer(app, chosen).read_once()
    log = log_of(app, run, Selection())
    with explained(run, Selection()):
        events = [event for page in log.whole() for event in page]
    session = read_session(app.client, run.session_id or "")
    service = app.seen_names.standing_for(run.deployment_id) or run.deployment_id or run.id
    trace = traces.as_trace(run, session, events, service=service, with_content=with_content)
    if address is None:
        app.output.screen.write(jsontext.dump(trace) + "\n")
        return
    traces.send(app, address, trace)
    what = "with prompts, calls and results" if with_content else "names, times and ids"
    app.progress.note(
        f"sent {counted(traces.count_of(trace), 'span')} of {run.called} ({what}) to {address}", always=True
    )


def _show(app: App, chosen: str, selection: "Selection", tail: int | None) -> None:
    """Print what has happened so far."""
    from qoder_cli.commands.run.logs_of_one import explained, log_of, nothing_shown
    from qoder_cli.sessions.showing import Printer, credits_of, past_events

    run = _read(app, chosen)
    log = log_of(app, fill_status(run), selection)
    with explained(run, selection), Printer(app, selection) as printer:
        for events in past_events(log, selection, tail):
            printer.show(events)
        printer.sum_up(credits_of(app, run, selection))
    if not printer.shown:
        app.progress.note(nothing_shown(chosen, selection))
    if not run.is_session:
        remember_runs(app.store, app.settings, [run])
