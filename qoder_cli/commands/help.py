"""`qoder help`: topics that are made from the code itself, and pages that people wrote."""

import json
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import typer

from qoder_cli.app import App
from qoder_cli.base.errors import RANKING, UsageError
from qoder_cli.base.ids import nearest
from qoder_cli.cli.options import Text, Texts, argument, flag, show_help
from qoder_cli.help import outputs, reference
from qoder_cli.help.completion import values
from qoder_cli.help.documented import FORMATS, PAGES, TOPICS, VARIABLES, Named
from qoder_cli.output.screen import terminal_width

WIDTH = 80  # columns of a text
WIDEST = 100  # columns of a page: longer lines are hard to read
_TOPIC = "A topic or a page (without one they are listed), or a command."


def help(
    ctx: typer.Context,
    topic: Text = argument("TOPIC", _TOPIC, values.topics, default=None),
    verb: Texts = typer.Argument(None, metavar="VERB", hidden=True, autocompletion=values.verbs),
    man: bool = flag("--man", "Print the man page instead, in roff."),
    skill: bool = flag("--skill", "With agents: print the page as a SKILL.md."),
) -> None:
    """Show help for a command, or a page of the manual.

    Without TOPIC it lists them. With --json help is printed as data (all of it
    without TOPIC), a page as its Markdown.

    Examples:
      qoder help deploy run
      qoder help deploy run --man | man -l -
      qoder help agents --skill > SKILL.md"""
    app: App = ctx.obj
    words, root = [topic, *(verb or [])] if topic else [], ctx.find_root()
    if skill:
        if topic != "agents" or verb or man or app.output.is_json:
            raise UsageError("--skill only works with the page agents", hint="print it: qoder help agents --skill")
        app.out.write_exactly(skill_of_agents())
        return
    is_topic = len(words) == 1 and topic in TOPICS
    is_written = topic in PAGES or (topic == "exit-codes" and not app.output.is_json)
    if len(words) == 1 and is_written and not man:
        _show_page(app, words[0])
    elif app.output.is_json and is_topic:
        app.output.record({}, data=reference.of_topic(words[0], root))
    elif app.output.is_json and words:
        path = _command(words, root).command_path.split()[1:]
        app.output.record({}, data=reference.commands(root, path))
    elif app.output.is_json:
        app.output.record({}, data=reference.everything(root))
    elif man:
        from qoder_cli.help.man import page

        app.out.write(page(_command(words, root) if words and not is_topic else root))
    elif not words:
        listed = {**TOPICS, **PAGES, "COMMAND": "the help of a command, same as --help"}
        app.out.write("".join(f"qoder help {name:<12} {about}\n" for name, about in listed.items()))
    elif is_topic:
        app.out.write(_text(words[0], root))
    else:
        show_help(_command(words, root), app.out)


def _show_page(app: App, name: str) -> None:
    from qoder_cli.help import written

    text = written.page(name)
    if app.output.is_json:
        data: reference.PageData = {"page": name, "text": text}
        app.output.record({}, data=data)
    elif app.out.is_terminal:
        app.out.write_exactly(written.rendered(text, width=min(terminal_width(), WIDEST), color=app.out.color))
    else:
        app.out.write_exactly(text)


def skill_of_agents() -> str:
    """Return the page for an agent that operates qoder as the SKILL.md of an agent's own harness."""
    from qoder_cli.help import written

    about = "Run Qoder Cloud Agents deployments with the command qoder: start, wait, read the outcome, retry."
    return f"---\nname: qoder\ndescription: {json.dumps(about)}\n---\n\n{written.page('agents')}"


def man_pages() -> dict[str, str]:
    """Return the man page of every command, by the name of its file: they are built into the wheel."""
    from qoder_cli.cli.main import command_tree
    from qoder_cli.help.man import pages

    root = typer.Context(command_tree("qoder"), info_name="qoder")
    return {f"{name}.1": text for name, text in pages(root)}


def _command(words: list[str], root: Any) -> Any:
    if words[0] in TOPICS or words[0] in PAGES:
        raise UsageError(f"{words[0]} takes no further words", hint=f"see: qoder help {words[0]}")
    try:
        return reference.context_of(root, words)
    except UsageError as error:
        if len(words) > 1:
            raise
        hint = error.hint
        if near := nearest(words[0], [*TOPICS, *PAGES]):
            hint = f"did you mean: qoder help {near[0]}"
        what = f"there is no help page or command {words[0][:60]!r}"
        raise UsageError(what, hint=f"{hint}; the pages are {', '.join([*TOPICS, *PAGES])}") from None


def _text(topic: str, root: Any) -> str:
    match topic:
        case "commands":
            summaries = [
                (" ".join(command["path"]), command["summary"]) for command in reference.commands(root)["commands"]
            ]
            return "".join(_row(f"qoder {name:<16} ", summary) for name, summary in summaries)
        case "options":
            formatter = root.make_formatter()
            formatter.write_dl([row for param in root.command.params if (row := param.get_help_record(root))])
            return f"They can appear anywhere on the command line.\n\n{formatter.getvalue()}"
        case "environment":
            return _listed(VARIABLES, 24) + "\n" + _flowed(_PRECEDENCE)
    return _output()


SAFE_TO_REPEAT = f"""
For a single run: after 2, 4, 5, 6 or 7 nothing was started, so it is safe to try again. After
10, 11, 124, 130 or 143 the run may still be running: wait for it, do not start another. After
9, 70, 129 or 141, or if qoder was killed, check with `qoder run wait last`.

For several runs the exit code is the first of {", ".join(map(str, RANKING))} that
applies to any of them; the JSON has each one's `exit_code`. `error.next` waits for what still
runs; if nothing runs, it starts the rest.
"""


_PRECEDENCE = """\
An option overrides the environment, which overrides the config file. Empty variables count as
unset. Deployment files can refer to any other variable.
"""


def _output() -> str:
    columns, fields = reference.columns(), reference.fields()
    keys = outputs.keys()
    others = [(f"{of}: {output.title}", keys[of]) for of, output in outputs.OUTPUTS.items() if of not in _ABOVE]
    listed = "\n".join(f"{title}:\n\n{_listed(those, 17)}" for title, those in others)
    lists = "".join(_row(f"  {of:<17} ", " ".join(names)) for of, names in columns.items() if of not in _FIRST)
    return _flowed(f"""\
Data is written to stdout, everything else to stderr. -o selects the format:

{_listed(FORMATS, 8)}
A run in JSON is the server's object, unchanged. Where the server sends no final status,
`status`, `completed_at`, `duration_ms`, `error` and `usage` are filled in from the run's
session, and `derived` names them: `jq -r .status` works on every server.

{_listed(keys["run"], 17)}
`completed` means that the agent finished its turn, not that it did what you wanted.

Several runs or deployments are an array; each also has `input`, the word that was typed, and
`exit_code`, its own. Items that could not be found are `{{"id": null, "error": {{…}}, …}}`. A
deployment is the server's object, unchanged.

In a pipe these are the columns of runs and of deployments, and then of all other lists. New
ones are only ever added at the end:

{_words(columns["run"])}
{_words(columns["deployment"])}
{lists}
Every list takes --columns id,status: those columns alone, in that order, also on a terminal.
For JSON, jq does this. --sort COLUMN sorts the rows that are listed, in every format;
COLUMN:desc puts the largest first. --watch [D] looks again: on a terminal the list is drawn again every D, in
a pipe each row is printed once, and again when it changes (as table, csv, jsonl or ids).

With -o csv a text that a spreadsheet would run as a formula gets a ' before it.

A run that could not be found has an empty `id`, and the typed word is in the `deployment`
column, unless it is the id of a run or a session.

In a pipe a single run or deployment is lines that begin with these names; those without a
value have no line:

{_words(fields["run"])}
{_words(fields["deployment"])}
With JSON output the last line of stderr is `{{"error": {{…}}}}` whenever the exit code is not
0 or 141, always with all of these keys:

{_listed(keys["error"], 17)}
--notify COMMAND runs a command when a wait is over: its words are read as a shell would, but no
shell expands them. It gets the JSON of the run on its stdin (of several, the array), and in
QODER_EVENT `ended`, `asks` (the agent waits for an answer) or `lost` (the wait is over, and the
run is not, as far as is known). Where a wait goes on after an ask, the command runs then, too. It
gets no token and 10 seconds, of which qoder waits one; it never changes the exit code.
`qoder config set notify COMMAND` runs it for every command that waits.

With --ci GitHub Actions gets these as outputs of the step, and an annotation of a failure:

{_listed(keys["ci"], 17)}
{listed}""")


_ABOVE = ("run", "runs", "error", "object", "work")  # explained above, or without keys of ours
_FIRST = ("run", "deployment", "apply")  # columns that are listed by themselves, before those of other lists


def _flowed(text: str) -> str:
    paragraphs = text.strip("\n").split("\n\n")
    return "\n\n".join(paragraph if "  " in paragraph else _filled(paragraph) for paragraph in paragraphs) + "\n"


def _filled(text: str, indent: str = "") -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False)


def _words(words: Sequence[str]) -> str:
    return _filled("  " + " ".join(words), indent="  ") + "\n"


def _listed(those: Iterable[Named], width: int) -> str:
    return "".join(_row(f"{', '.join(named.names):<{width - 2}}  ", named.meaning, width) for named in those)


def _row(name: str, meaning: str, width: int | None = None) -> str:
    return _filled(name + meaning, indent=" " * (width or len(name))) + "\n"
