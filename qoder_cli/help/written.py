"""The pages of `qoder help` that people wrote: Markdown files, rendered on a terminal and plain in a pipe."""

import re
from pathlib import Path
from typing import Any, ClassVar

_FOLDER = Path(__file__).parent / "pages"
_COMMENT = re.compile(r"<!--.*?-->\n?", re.DOTALL)  # what tests go by
_LINK = re.compile(r"\[([^\]]*)\]\((?!https?:)[^)]*\)")  # to another file, which a terminal cannot open
_STYLES = {"markdown.code": "bold", "markdown.item.number": "none", "markdown.item.bullet": "none"}


def page(name: str) -> str:
    """Return a page as Markdown."""
    text = (_FOLDER / f"{name}.md").read_text("utf-8")
    return _LINK.sub(r"\1", _COMMENT.sub("", text)).strip() + "\n"


def rendered(text: str, *, width: int, color: bool) -> str:
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
