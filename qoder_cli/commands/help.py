"""`qoder help`: topics that are made from the code itself, and pages that people wrote."""

import json
import re
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import typer

import qoder_cli.help
from qoder_cli.app import App
from qoder_cli.base.errors import UsageError
from qoder_cli.base.ids import nearest
from qoder_cli.cli.options import Text, Texts, argument, flag, show_help
from qoder_cli.help import outputs, reference
from qoder_cli.help.completion import values
from qoder_cli.help.documented import FORMATS, PAGES, TOPICS, VARIABLES, Named
from qoder_cli.output.screen import terminal_width

WIDTH = 80  # columns of a text
WIDEST = 100  # columns of a page: longer lines are hard to read
_FOLDER = Path(qoder_cli.help.__file__).parent
_COMMENT = re.compile(r"<!--.*?-->\n?", re.DOTALL)  # what tests go by
_LINK = re.compile(r"\[([^\]]*)\]\((?!https?:)[^)]*\)")  # to another file, which a terminal cannot open
_STYLES = {"markdown.code": "bold", "markdown.item.number": "none", "markdown.item.bullet": "none"}
_TOPIC = "A topic or a page (without one they are listed), or a command."


def help(
    ctx: typer.Context,
    topic: Text = argument("TOPIC", _TOPIC, values.topics, default=None),
    verb: Texts = typer.Argument(None, metavar="VERB", hidden=True, autocompletion=values.verbs),
    man: bool = flag("--man", "Print the man page instead, in roff."),
    skill: bool = flag("--skill", "With agents: print the page as a SKILL.md."),
) -> None:
    """Show help for a command, or a page of the manual.

    Without TOPIC it lists them. With --json help is printed as data: that of a
    command, or without TOPIC all of it.

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
    is_page = len(words) == 1 and (topic in PAGES or topic == "exit-codes")
    if app.output.is_json and (is_topic or is_page):
        raise UsageError("pages have no JSON", hint="for all that help knows, as data: qoder help --json")
    if is_page and not man:
        text = _page(words[0])
        if app.out.is_terminal:
            text = _rendered(text, width=min(terminal_width(), WIDEST), color=app.out.color)
        app.out.write_exactly(text)
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


def _page(name: str) -> str:
    """Return a page as Markdown."""
    text = (_FOLDER / "pages" / f"{name}.md").read_text("utf-8")
    return _LINK.sub(r"\1", _COMMENT.sub("", text)).strip() + "\n"


def _rendered(text: str, *, width: int, color: bool) -> str:
    """Return Markdown as lines for a terminal of so many columns."""
    from rich.console import Console
    from rich.markdown import CodeBlock, Heading, Markdown
    from rich.text import Text
    from rich.theme import Theme

    class Title(Heading):
        """A heading at the margin: rich centres it."""

        def __rich_console__(self, *_: Any) -> Any:
            yield Text(self.text.plain, style="bold")

    class Verbatim(CodeBlock):
        """Lines to copy: rich would break the long ones."""

        def __rich_console__(self, *_: Any) -> Any:
            for line in str(self.text).rstrip().split("\n"):
                yield Text(f"  {line}", no_wrap=True, overflow="ignore")

    class HelpPage(Markdown):
        elements: ClassVar[Any] = {
            **Markdown.elements,
            "heading_open": Title,
            "fence": Verbatim,
            "code_block": Verbatim,
        }

    color_system: Any = "standard" if color else None
    console = Console(width=width, force_terminal=color, color_system=color_system, theme=Theme(_STYLES))
    with console.capture() as captured:
        console.print(HelpPage(text, hyperlinks=False), crop=False)
    lines = "\n".join(line.rstrip() for line in captured.get().split("\n"))
    return re.sub(r"\n{3,}", "\n\n", lines).strip("\n") + "\n"


def skill_of_agents() -> str:
    """Return the page for an agent that operates qoder as the SKILL.md of an agent's own harness."""
    about = "Run Qoder Cloud Agents deployments with the command qoder: start, wait, read the outcome, retry."
    return f"---\nname: qoder\ndescription: {json.dumps(about)}\n---\n\n{_page('agents')}"


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
    columns, keys = reference.columns(), outputs.keys()
    others = [(f"{of}: {output.title}", keys[of]) for of, output in outputs.OUTPUTS.items() if of not in _ABOVE]
    text = (_FOLDER / "output.txt").read_text("utf-8")
    parts = {
        "formats": _listed(FORMATS, 8),
        "keys": {of: _listed(names, 17) for of, names in keys.items()},
        "columns": {of: _words(names) for of, names in columns.items()},
        "fields": {of: _words(names) for of, names in reference.fields().items()},
        "lists": "".join(_row(f"  {of:<17} ", " ".join(columns[of])) for of in columns if of not in _FIRST),
        "others": "\n".join(f"{title}:\n\n{_listed(names, 17)}" for title, names in others),
    }
    return _flowed(text.format(**parts))


_PRECEDENCE = """\
An option overrides the environment, which overrides the config file. Empty variables count as
unset. Deployment files can refer to any other variable.
"""


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
