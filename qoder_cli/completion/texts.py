"""Text for a script: filled templates, and what must be escaped in quotes."""

import re


def filled(template: str, **parts: str) -> str:
    """Return a template with each `@NAME@` replaced."""
    for name, text in parts.items():
        template = template.replace(f"@{name.upper()}@", text)
    return template


def escaped(text: str, characters: str) -> str:
    """Return text with a backslash before each backslash, and before each of the characters."""
    return re.sub(f"[\\\\{re.escape(characters)}]", r"\\\g<0>", text)
