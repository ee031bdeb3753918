"""Arguments and options used by more than one command, and those that every command takes.

The shared ones work before and after the command's words; the last one given wins. They are declared once, as an
ordinary typer function, and handed to every level of the tree by `cli.py`.
"""

from typing import Annotated, Any

import typer

from qoder_cli.base.choices import OnAsk
from qoder_cli.help.completion import values
from qoder_cli.output.report import Format
from qoder_cli.settings.flags import written

# What is named on a command line.
OneDeployment = Annotated[
    str,
    typer.Argument(metavar="DEPLOYMENT", help="The deployment, dep_… or its name.", autocompletion=values.deployments),
]
Deployments = Annotated[
    list[str],
    typer.Argument(
        metavar="DEPLOYMENT...",
        help="Each dep_… or its name; - reads them from stdin.",
        autocompletion=values.deployments,
    ),
]
OneRun = Annotated[
    str,
    typer.Argument(metavar="RUN", help="drun_…, sess_…, last or DEPLOYMENT@last.", autocompletion=values.runs),
]
Runs = Annotated[
    list[str],
    typer.Argument(metavar="RUN...", help="drun_…, sess_…, last, DEP@last; - is stdin.", autocompletion=values.runs),
]

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

# What every command that waits takes.
Timeout = Annotated[str | None, typer.Option(metavar="D", help="Give up waiting after 90s, 10m, 1h30m; 0 checks once.")]
Interval = Annotated[str | None, typer.Option(metavar="D", help="Longest pause between checks; 5s if not given.")]
RequireOutcome = Annotated[
    bool, typer.Option("--require-outcome", help="Exit 1 unless its outcome was evaluated as satisfied.")
]


WhenAsked = Annotated[
    OnAsk, typer.Option("--on-ask", help="When the agent waits for an answer: stop is exit 11, or wait.")
]


def words_to_wait(*, result: bool = False, require_outcome: bool = False, on_ask: OnAsk = "stop") -> tuple[str, ...]:
    """Return the options, as words, that a command needs too which waits on for the same."""
    words = ["--result"] if result else []
    words += ["--require-outcome"] if require_outcome else []
    words += written("--on-ask", on_ask) if on_ask != "stop" else []
    return tuple(words)


def _remember(ctx: typer.Context, param: typer.CallbackParam, value: Any) -> None:
    if value is None or value is False:
        return
    match param.name:
        case "output_by_another_name":
            ctx.obj.flags.output = value
        case "json":
            ctx.obj.flags.output = "json"
        case "quiet":
            ctx.obj.flags.output = "id"
        case "no_color":
            ctx.obj.out.color = ctx.obj.err.color = False
        case name:
            setattr(ctx.obj.flags, str(name), value)


def _show_help(ctx: typer.Context, value: bool) -> None:
    """Write the help to our own standard output, which knows of full disks and readers that are gone."""
    if value:
        ctx.obj.out.write(ctx.get_help() + "\n")
        raise typer.Exit


def _shared(flags: str, help: str, **settings: Any) -> Any:
    return typer.Option(
        *flags.split(), help=help, callback=_remember, expose_value=False, show_default=False, **settings
    )


def everywhere(
    output: Annotated[Format | None, _shared("-o", "table, wide, json, jsonl or id.", metavar="FORMAT")] = None,
    output_by_another_name: Annotated[
        Format | None, _shared("--output --format", "Understood.", metavar="FORMAT", hidden=True)
    ] = None,
    json: Annotated[bool, _shared("--json", "The same as -o json.")] = False,
    quiet: Annotated[bool, _shared("-q", "The same as -o id: only the id.")] = False,
    profile: Annotated[
        str | None,
        _shared(
            "--profile",
            "Use this profile of the config file.",
            metavar="NAME",
            autocompletion=values.profiles,
        ),
    ] = None,
    region: Annotated[
        str | None,
        _shared("--region", "global or cn.", metavar="REGION", autocompletion=values.one_of("region")),
    ] = None,
    base_url: Annotated[str | None, _shared("--base-url", "Ask this server instead.", metavar="URL")] = None,
    workspace: Annotated[str | None, _shared("--workspace", "Send this workspace id.", metavar="ID")] = None,
    request_timeout: Annotated[
        str | None,
        _shared("--request-timeout", "Longest time for one request; 30s, a trigger 60s.", metavar="D"),
    ] = None,
    no_progress: Annotated[bool, _shared("--no-progress", "Nothing on stderr but warnings and errors.")] = False,
    bell: Annotated[bool, _shared("--bell", "Ring the bell after a wait of over 10 s.")] = False,
    no_input: Annotated[bool, _shared("--no-input", "Never ask a question.")] = False,
    debug: Annotated[bool, _shared("--debug", "Show requests and answers, without secrets.")] = False,
    no_color: Annotated[bool, _shared("--no-color", "No colours.")] = False,
    help: Annotated[
        bool,
        typer.Option("-h", "--help", help="Show this text.", callback=_show_help, is_eager=True, expose_value=False),
    ] = False,
) -> None:
    """Declare the options that work before and after every command's words."""
