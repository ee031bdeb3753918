"""Text for a comment or a message in GitHub's Markdown: nothing that comes from elsewhere can be markup in it."""

import re

from qoder_cli.output.screen import inert

# Words in which no mark means anything: no list, link, GH-26 or :emoji:, though 09:00:00 is plain. Whatever else it is
# stands in a code span, where GitHub makes no link, mention or HTML of it.
_PLAIN = re.compile(
    r"(?!\d+\. )(?!.*www\.)(?!.*\bGH-\d)(?!.*:(?!\d\d:)[\w-]+:)[A-Za-z0-9][A-Za-z0-9 .,%:-]*", re.ASCII | re.IGNORECASE
)


def harmless(text: str) -> str:
    """Return a text that names nobody, links nowhere and draws nothing."""
    shown = inert(text)
    return shown if not shown or _PLAIN.fullmatch(shown) else code(shown)


def code(text: str) -> str:
    """Return a text as a span of code, whatever is in it."""
    shown = inert(text)
    ticks = "`" * (_longest_ticks(shown) + 1)
    room = " " if {shown[:1], shown[-1:]} & {"`", " ", ""} else ""
    return f"{ticks}{room}{shown}{room}{ticks}"


def block(text: str, language: str = "") -> str:
    """Return lines as a block of code, whatever is in them."""
    fence = "`" * max(3, _longest_ticks(text) + 1)
    return f"{fence}{language}\n{text}\n{fence}\n"


def _longest_ticks(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)
