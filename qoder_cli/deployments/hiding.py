"""Secrets that a deployment file has, taken out of values before anything is composed of them.

What is said in our own words is never searched for them: a value may be an ordinary word, as `error` is.
"""

import re
from collections.abc import Collection, Iterable
from typing import Any

from qoder_cli import jsontext
from qoder_cli.deployfile.normal import VARIABLES
from qoder_cli.deployfile.tree import spelled
from qoder_cli.jsontext import Number

HIDDEN = "[hidden]"


class Secrets:
    """Texts that must not be shown, and `variables`, whose values must not be, however short they are."""

    def __init__(self, texts: Iterable[str], variables: Collection[str] = ()) -> None:
        texts = set(texts)
        self._variables = variables
        self._numbers = {text for text in texts if text.isdecimal()}
        forms = {form for text in texts if text for form in _forms(text)}
        longest_first = sorted(forms, key=len, reverse=True)
        self._any = re.compile("|".join(map(re.escape, longest_first)) if forms else r"(?!)")  # what matches nothing

    def out_of(self, value: Any) -> Any:
        """Return a JSON value without them; keys are left alone, for they are names, wherever they came from."""
        if isinstance(value, str):
            return self._any.sub(HIDDEN, value)
        if isinstance(value, int | Number) and str(value) in self._numbers:
            return HIDDEN
        if isinstance(value, list):
            return [self.out_of(item) for item in value]
        return {key: self.out_of(item) for key, item in value.items()} if isinstance(value, dict) else value

    def has(self, path: str) -> bool:
        """Return whether a place, as changes name it, holds the value of such a variable."""
        return any(path in (VARIABLES, spelled((VARIABLES, name))) for name in self._variables)


def _forms(text: str) -> set[str]:
    """Return how a text may stand in a text of the server: as it is, within JSON, and within JSON in JSON."""
    forms = {text}
    for _ in range(2):
        forms |= {jsontext.dump(form, ascii_only=ascii_only)[1:-1] for form in forms for ascii_only in (False, True)}
    return forms
