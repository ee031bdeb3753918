"""Text for a script: filled templates, and what must be escaped in quotes."""

import re
from collections.abc import Iterator

from qoder_cli.contents import NOUNS_UNDERSTOOD, VERBS_UNDERSTOOD


def filled(template: str, **parts: str) -> str:
    """Return a template with each `@NAME@` replaced."""
    for name, text in parts.items():
        template = template.replace(f"@{name.upper()}@", text)
    return template


def escaped(text: str, characters: str) -> str:
    """Return text with a backslash before each backslash, and before each of the characters."""
    return re.sub(f"[\\\\{re.escape(characters)}]", r"\\\g<0>", text)


def understood() -> Iterator[tuple[str, str, bool]]:
    """Yield the other words for a noun and for a verb, each with ours, and whether it is a noun."""
    for words, is_noun in ((NOUNS_UNDERSTOOD, True), (VERBS_UNDERSTOOD, False)):
        for word, ours in words.items():
            yield word, ours, is_noun
