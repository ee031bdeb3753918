"""Secrets that a deployment file has, taken out of values before anything is composed of them.

What is said in our own words is never searched for them: a value may be an ordinary word, as `error` is.
"""

import re
from collections.abc import Iterable
from typing import Any

from qoder_cli import jsontext

HIDDEN = "[hidden]"


class Secrets:
    """Texts that must not be shown."""

    def __init__(self, texts: Iterable[str]) -> None:
        forms = {form for text in texts if text for form in _forms(text)}
        longest_first = sorted(forms, key=len, reverse=True)
        self._any = re.compile("|".join(map(re.escape, longest_first)) if forms else r"(?!)")  # what matches nothing

    def out_of(self, value: Any) -> Any:
        """Return a JSON value without them; keys are left alone, for no variable is ever filled into one."""
        if isinstance(value, str):
            return self._any.sub(HIDDEN, value)
        if isinstance(value, list):
            return [self.out_of(item) for item in value]
        return {key: self.out_of(item) for key, item in value.items()} if isinstance(value, dict) else value


def _forms(text: str) -> set[str]:
    """Return how a text may stand in a text of the server: as it is, within JSON, and within JSON in JSON."""
    forms = {text}
    for _ in range(2):
        forms |= {jsontext.dump(form, ascii_only=ascii_only)[1:-1] for form in forms for ascii_only in (False, True)}
    return forms
