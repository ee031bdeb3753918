"""Secrets that a deployment file has, taken out of values before anything is composed of them.

What is said in our own words is never searched for them: a value may be an ordinary word, as `error` is.
"""

import re
from collections.abc import Collection, Iterable
from typing import Any

from qoder_cli import jsontext
from qoder_cli.deployfile.normal import VARIABLES
from qoder_cli.deployfile.tree import Path, spelled

HIDDEN = "[hidden]"


class Secrets:
    """Texts that must not be shown, and `places` of a deployment, whatever stands there: `agent.version`."""

    def __init__(self, texts: Iterable[str], places: Collection[str] = ()) -> None:
        self._places = places
        forms = {form for text in texts if text for form in _forms(text)}
        longest_first = sorted(forms, key=len, reverse=True)
        self._any = re.compile("|".join(map(re.escape, longest_first)) if forms else r"(?!)")  # what matches nothing

    def out_of(self, value: Any, path: Path = ()) -> Any:
        """Return a JSON value without them; keys are left alone, for they are names, wherever they came from."""
        if self._places and self.are_at(spelled(path)):
            return HIDDEN
        if isinstance(value, str):
            return self._any.sub(HIDDEN, value)
        if isinstance(value, list):
            return [self.out_of(item, (*path, index)) for index, item in enumerate(value)]
        if isinstance(value, dict):
            return {key: self.out_of(item, (*path, key)) for key, item in value.items()}
        return value

    def are_at(self, place: str) -> bool:
        """Return whether what stands at a place must not be shown: variables are one text for the server."""
        return place in self._places or (place == VARIABLES and any(map(_is_variable, self._places)))


def _is_variable(place: str) -> bool:
    return place.startswith(f"{VARIABLES}.")


def _forms(text: str) -> set[str]:
    """Return how a text may stand in a text of the server: as it is, within JSON, and within JSON in JSON."""
    forms = {text}
    for _ in range(2):
        forms |= {jsontext.dump(form, ascii_only=ascii_only)[1:-1] for form in forms for ascii_only in (False, True)}
    return forms
