"""`qoder run logs`: what the agent said and did."""

import typer

from qoder_cli.app import App
from qoder_cli.base import ids
from qoder_cli.base.errors import UsageError
from qoder_cli.cli import options
from qoder_cli.cli.options import Text, Texts, flag, is_list, named, option, or_last, several, when_asked
from qoder_cli.history import names
from qoder_cli.settings.values import written

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
    from qoder_cli.commands.run import logs_printed
    from qoder_cli.commands.target import target_of
    from qoder_cli.runs.ending import Wanted
    from qoder_cli.sessions.showing import Selection

    app: App = ctx.obj
    app.output.refuse_csv("a log")
    for name, typed_value in (("--on-ask", on_ask), ("--policy", policy)):
        if typed_value is not None and not follow:
            raise UsageError(f"{name} only works with --follow", hint="add --follow")
    if follow:
        app.flags.wait_verb = "logs"
        app.flags.wait_options = written({"--follow": True, "--on-ask": on_ask, "--policy": policy})
    is_trace = otlp is not None or app.output.format == "otlp"
    if with_content and not is_trace:
        raise UsageError("--with-content only works with -o otlp or --otlp", hint="add -o otlp")
    if is_trace and (follow or tail is not None or types or since or thread or is_list(runs or ())):
        why = "a trace is of one whole run: no --follow, --tail, --type, --since or --thread with it"
        raise UsageError(why, hint="give one run, and none of these options")
    words = [word.strip() for types_typed in types or [] for word in types_typed.split(",")]
    if not all(word and word.isprintable() for word in words):
        raise UsageError("--type must be the name of a type of events", hint="for example --type agent.message")

    def select() -> Selection:
        start = None if since is None else app.when(since, option="--since")
        return Selection(tuple(words), start, thread)

    select()  # to check it before anything is sent
    of_sessions = options.is_of_sessions(ctx)
    runs = runs or [or_last(None, app, of_sessions=of_sessions)]
    if thread is not None and (is_list(runs) or not thread.startswith("sthr_")):
        raise UsageError("--thread takes a thread (sthr_…) of one run", hint="see: qoder session thread list")
    if is_list(runs):
        if follow:
            command = app.command("run", "wait", *runs, "--follow")
            raise UsageError("--follow takes a single run", hint="to follow several", next=command)
        if of_sessions:
            raise UsageError("session logs takes one session", hint="for several runs: qoder run logs")
        run_words = named(runs, app, allow_empty=allow_empty)
        for word in run_words:
            ids.run(word)  # check all before any request
        app.pace_reads()
        return logs_printed.show_many(app, run_words, select, tail)
    if of_sessions:
        chosen = target_of(runs[0], app).session_id
    else:
        chosen = names.run(runs[0], app)
    if follow:
        asked, rules = when_asked(app, on_ask, policy, follow=follow)
        logs_printed.follow_run(app, chosen, select, tail, Wanted(on_ask=asked, policy=rules))
    elif is_trace:
        logs_printed.trace_run(app, chosen, otlp, with_content=with_content)
    else:
        logs_printed.show_run(app, chosen, select, tail)
