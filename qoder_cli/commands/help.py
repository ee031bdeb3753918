"""`qoder help`: what people read about once, made from the code that does it."""

import textwrap
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer

from qoder_cli.app import State
from qoder_cli.base.errors import RANKING, Exit, UsageError
from qoder_cli.help.completion import values
from qoder_cli.help.documented import CI_KEYS, ERROR_KEYS, FORMATS, RUN_KEYS, TOPICS, VARIABLES, Named

WIDTH = 80  # columns of a text


def help(
    ctx: typer.Context,
    topic: Annotated[
        str | None,
        typer.Argument(
            metavar="TOPIC",
            help="exit-codes, environment, output, or a command.",
            autocompletion=values.topics,
        ),
    ] = None,
    verb: Annotated[list[str] | None, typer.Argument(metavar="VERB", hidden=True, autocompletion=values.verbs)] = None,
) -> None:
    """Read about commands, exit codes, environment and output.

    The words of a command show its help, as --help does. With --json it is
    data: without a topic everything, for agents and generators.

    Examples:
      qoder help exit-codes
      qoder help deploy run
      qoder help --json | jq -r '.commands[].usage'
      qoder help run wait --json | jq .commands[0].options

    Exit 0, 2 for what there is not. All exit codes: qoder help exit-codes"""
    state: State = ctx.obj
    words, root = [topic, *(verb or [])] if topic else [], ctx.find_root()
    if state.output.is_json:
        state.output.record({}, data=_data(words, root))
    elif not words:
        state.output.raw("".join(f"qoder help {name:<12} {about}\n" for name, about in TOPICS.items()))
        state.output.raw("qoder help COMMAND      the help of a command, as --help shows it\n")
    elif _is_topic(words):
        state.output.raw(_TEXTS[words[0]]())
    else:
        state.output.raw(_command(words, root).get_help() + "\n")


def _data(words: list[str], root: Any) -> dict[str, Any]:
    from qoder_cli.help import reference

    if not words:
        return reference.everything(root)
    if _is_topic(words):
        told: dict[str, Any] = getattr(reference, words[0].replace("-", "_"))()
        return told
    return reference.commands(root, _command(words, root).command_path.split()[1:])


def _is_topic(words: list[str]) -> bool:
    return len(words) == 1 and words[0] in TOPICS


def _command(words: list[str], root: Any) -> Any:
    """Return the context of a command. Raises UsageError, with the topics too where only one word was given."""
    from qoder_cli.help.reference import context_of

    if words[0] in TOPICS:
        raise UsageError(f"{words[0]} is a topic, and has none below it", hint=f"qoder help {words[0]} shows it")
    try:
        return context_of(root, words)
    except UsageError as error:
        error.hint = f"{error.hint}; the topics are {', '.join(TOPICS)}" if len(words) == 1 else error.hint
        raise


def exit_codes() -> str:
    """Return the table of exit codes, and what they mean for what is done next."""
    rows = (_row(f"{code.value:>4}  {code.name.lower():<16} ", code.meaning) for code in Exit)
    return "".join(rows) + "\n" + _flowed(SAFE_TO_REPEAT)


SAFE_TO_REPEAT = f"""
Of one run, 2, 4, 5, 6 and 7 mean that this command started nothing. 10, 11, 124, 130 and 143
name the run that goes on, if there is one: wait again, do not start again. 9, 70 and death
by another signal settle nothing: `qoder run wait last` does. Of several runs the first that
applies counts: {", ".join(str(code.value) for code in RANKING)}.
Some of them may have been started then: each one's own `exit_code` in JSON says it of that
one. With --wait the error's `next` waits for those that go on, if any does; otherwise, with
4, 6 and 7, it starts those that were not started.
"""


def environment() -> str:
    """Return the variables that are read, a line each."""
    return _listed(VARIABLES, 24) + "\n" + _flowed(_PRECEDENCE)


_PRECEDENCE = """\
An option beats the environment, which beats the config file. An empty variable is not set.
A deployment's file may ask for any other.
"""


def output() -> str:
    """Return what the formats are and promise."""
    from qoder_cli.help.reference import columns, fields

    return _flowed(f"""\
Standard output has the data, standard error everything else. -o chooses how data looks:

{_listed(FORMATS, 8)}
A run in JSON is the server's object, unchanged. Where the server sends no final status,
`status`, `completed_at`, `duration_ms`, `error` and `usage` are filled in from the run's
session, and `derived` names them: `jq -r .status` works on every server.

{_listed(RUN_KEYS, 17)}
`completed` means that the agent finished its turn, not that it did what you wanted.

Several runs or deployments are an array; each also has `input`, the word that was typed, and
`exit_code`, its own. One that is not there is `{{"id": null, "error": {{…}}, …}}`. A
deployment is the server's object, unchanged.

In a pipe these are the columns of runs and of deployments in a table. New ones are only ever
added at the end:

{_words(columns()["run"])}
{_words(columns()["deployment"])}
Of several runs, one that there is not leaves its `id` empty, and what was typed stands below
`deployment`, unless it is the id of a run or a session.

One run or deployment alone is lines that begin with these names, as far as there is something
to say:

{_words(fields()["run"])}
{_words(fields()["deployment"])}
With JSON output the last line of stderr is `{{"error": {{…}}}}` whenever the exit code is not
0 or 141, always with all of these keys:

{_listed(ERROR_KEYS, 17)}
With --ci the same is told to GitHub Actions, as outputs of the step, a table in its summary
and an annotation of a failure, and to GitLab in the file qoder.env, for
artifacts:reports:dotenv, as QODER_RUN_ID and so on (of several QODER_RUN_IDS, with spaces
between, and QODER_EXIT_CODE):

{_listed(CI_KEYS, 17)}
{_others()}""")


def _others() -> str:
    """Return the keys of what is neither a run nor an error."""
    from qoder_cli.help.reference import KEYS

    return "\n".join(f"{title}:\n\n{_listed(KEYS[of], 17)}" for of, title in _TITLES.items())


_TITLES = {
    "apply": "JSON of `deploy apply`, and of `create` and `update` with --dry-run, has besides the deployment's",
    "dry_run": "JSON of `deploy run --dry-run`",
    "auth_status": "JSON of `auth status`",
    "config_list": "JSON of `config list`",
    "doctor": "JSON of `doctor`",
    "api_list": "JSON of `api --list`",
    "event": "JSON of `run logs` is the server's events, with",
}


def _flowed(text: str) -> str:
    """Return text with its paragraphs as wide as they may be; those with columns are left as they are."""
    paragraphs = text.strip("\n").split("\n\n")
    return "\n\n".join(each if "  " in each else _filled(each) for each in paragraphs) + "\n"


def _filled(paragraph: str) -> str:
    return textwrap.fill(paragraph, WIDTH, break_on_hyphens=False, break_long_words=False)


def _words(words: Sequence[str]) -> str:
    """Return words in lines of their own."""
    return textwrap.fill(" ".join(words), WIDTH, initial_indent="  ", subsequent_indent="  ") + "\n"


def _listed(those: Iterable[Named], width: int) -> str:
    """Return names and their meanings in two columns, a meaning on as many lines as it needs."""
    return "".join(_row(f"{', '.join(each.names):<{width - 2}}  ", each.meaning, width) for each in those)


def _row(name: str, meaning: str, width: int | None = None) -> str:
    """Return a row of two columns, the first as wide as the name or given, the other on as many lines as it needs."""
    indent = " " * (width or len(name))
    return textwrap.fill(name + meaning, WIDTH, subsequent_indent=indent, break_on_hyphens=False) + "\n"


_TEXTS = {"exit-codes": exit_codes, "environment": environment, "output": output}

COMMANDS = {"help": help}
