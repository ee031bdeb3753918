"""Arguments and options used by more than one command, and the global ones.

The global ones work before and after the command's words; the last one given wins. They are declared once, as an
ordinary typer function, and handed to every level of the tree by `cli.main`.
"""

import re
from typing import Annotated, Any

import typer

from qoder_cli.base.choices import OnAsk
from qoder_cli.help.completion import values
from qoder_cli.output.report import Format
from qoder_cli.output.screen import Screen
from qoder_cli.settings.flags import written

# What is named on a command line.
_DEPLOYMENT = typer.Argument(
    metavar="DEPLOYMENT",
    help="Deployment id (dep_…) or exact name.",
    autocompletion=values.deployments,
)
_DEPLOYMENTS = typer.Argument(
    metavar="DEPLOYMENT...",
    help="Ids (dep_…) or exact names; - reads them from stdin.",
    autocompletion=values.deployments,
)
_RUN = typer.Argument(
    metavar="RUN",
    help="drun_…, sess_…, last or DEPLOYMENT@last.",
    autocompletion=values.runs,
    show_default=False,
)
_RUNS = typer.Argument(
    metavar="RUN...",
    help="Run ids, last or DEPLOYMENT@last; - reads from stdin.",
    autocompletion=values.runs,
    show_default=False,
)
OneDeployment = Annotated[str, _DEPLOYMENT]
Deployments = Annotated[list[str], _DEPLOYMENTS]
RunOrLast = Annotated[str | None, _RUN]
Runs = Annotated[list[str], _RUNS]
RunsOrLast = Annotated[list[str] | None, _RUNS]

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Skip the confirmation prompt.")]

# What every command that waits takes.
Timeout = Annotated[
    str | None,
    typer.Option(metavar="D", help="Stop waiting after this long, e.g. 90s, 10m, 1h30m; 0 checks once."),
]
Interval = Annotated[str | None, typer.Option(metavar="D", help="Longest pause between status checks (default 5s).")]
RequireSatisfied = Annotated[
    bool,
    typer.Option("--require-satisfied", help='Exit 1 unless the session\'s outcome evaluation is "satisfied".'),
]
Result = Annotated[bool, typer.Option("--result", help="Print the agent's final message instead of the run.")]
WhenAsked = Annotated[OnAsk, typer.Option("--on-ask", help="When the agent needs an answer: stop (exit 11) or wait.")]


def words_to_wait(*, result: bool = False, require_satisfied: bool = False, on_ask: OnAsk = "stop") -> tuple[str, ...]:
    """Return the options, as words, that a command to resume the same wait needs too."""
    words = ["--result"] if result else []
    words += ["--require-satisfied"] if require_satisfied else []
    words += written("--on-ask", on_ask) if on_ask != "stop" else []
    return tuple(words)


def _remember(ctx: typer.Context, param: typer.CallbackParam, value: Any) -> None:
    if value is None or value is False:
        return
    match param.name:
        case "output" | "format":
            ctx.obj.flags.output = value
        case "json":
            ctx.obj.flags.output = "json"
        case "quiet":
            ctx.obj.flags.output = "id"
        case "no_color":
            ctx.obj.out.color = ctx.obj.err.color = False
        case name:
            setattr(ctx.obj.flags, str(name), value)


def show_help(ctx: Any, screen: Screen) -> None:
    """Write the help of a command, its headings bold where the screen has colour."""
    bold = screen.styled(r"\1", "bold") + r"\2"
    screen.write(re.sub(r"(?m)^( *(?:[A-Z][a-z]+ )?[A-Z][a-z]+:)($| )", bold, ctx.get_help()) + "\n")


def _show_help(ctx: typer.Context, value: bool) -> None:
    if value:
        show_help(ctx, ctx.obj.out)
        raise typer.Exit


def _global(flags: str, help: str, **settings: Any) -> Any:
    return typer.Option(
        *flags.split(), help=help, callback=_remember, expose_value=False, show_default=False, **settings
    )


_PROFILE = _global("--profile", "Profile of the config file to use.", metavar="NAME", autocompletion=values.profiles)
_REGION = _global("--region", "global or cn.", metavar="REGION", autocompletion=values.one_of("region"))
_TIMEOUT = _global("--request-timeout", "Timeout per request (default 30s; 60s to start a run).", metavar="D")
_HELP = typer.Option("-h", "--help", help="Show help.", callback=_show_help, is_eager=True, expose_value=False)


def everywhere(
    output: Annotated[
        Format | None, _global("-o --output", "table, wide, json, jsonl or id.", metavar="FORMAT")
    ] = None,
    format: Annotated[Format | None, _global("--format", "Same as -o.", metavar="FORMAT", hidden=True)] = None,
    json: Annotated[bool, _global("--json", "Same as -o json.")] = False,
    quiet: Annotated[bool, _global("-q --quiet", "Print only ids; same as -o id.")] = False,
    profile: Annotated[str | None, _PROFILE] = None,
    region: Annotated[str | None, _REGION] = None,
    base_url: Annotated[str | None, _global("--base-url", "API base URL.", metavar="URL")] = None,
    workspace: Annotated[str | None, _global("--workspace", "Workspace id to send.", metavar="ID")] = None,
    request_timeout: Annotated[str | None, _TIMEOUT] = None,
    no_progress: Annotated[bool, _global("--no-progress", "Print only warnings and errors on stderr.")] = False,
    bell: Annotated[bool, _global("--bell", "Ring the bell after a wait of over 10 s.")] = False,
    no_input: Annotated[bool, _global("--no-input", "Never prompt.")] = False,
    debug: Annotated[bool, _global("--debug", "Log requests and responses, secrets removed.")] = False,
    no_color: Annotated[bool, _global("--no-color", "Disable colour.")] = False,
    help: Annotated[bool, _HELP] = False,
) -> None:
    """Declare the options that work before and after every command's words."""
