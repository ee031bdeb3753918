"""Secrets that a deployment file has: taken out of what is shown, value by value, and out of the text of a screen."""

import re
from collections.abc import Collection, Iterable
from typing import Any

from qoder_cli import jsontext
from qoder_cli.output.screen import Screen, inert

HIDDEN = "[hidden]"
_SHORTEST_IN_TEXT = 4  # characters; a shorter one gives little away, and would hide parts of ordinary words
_CUT = "…"  # how a text that was cut ends


class Secrets:
    """Texts that must not be shown."""

    def __init__(self, texts: Iterable[str]) -> None:
        known = set(filter(None, texts))
        self._forms = {form for text in known if len(text) >= _SHORTEST_IN_TEXT for form in _forms(text)}
        self._in_texts = _any_of(self._forms)
        self._in_values = _any_of(self._forms | known)

    def out_of(self, value: Any) -> Any:
        """Return a JSON value without them; keys are left alone, for no variable is ever filled into one."""
        if isinstance(value, str):
            return self._in_values.sub(HIDDEN, value)
        if isinstance(value, list):
            return [self.out_of(item) for item in value]
        return {key: self.out_of(item) for key, item in value.items()} if isinstance(value, dict) else value

    def out_of_text(self, text: str) -> str:
        """Return a composed text without them, however they are escaped in it and wherever it was cut."""
        *cut, last = self._in_texts.sub(HIDDEN, text).split(_CUT)
        return _CUT.join([*map(self._without_beginning, cut), last])

    def _without_beginning(self, text: str) -> str:
        """Return a text without the beginning of a secret at its end."""
        starts = [start for form in self._forms if (start := _start_at_end(form, text)) is not None]
        return text[: min(starts)] + HIDDEN if starts else text


def _any_of(texts: Collection[str]) -> re.Pattern[str]:
    longest_first = sorted(texts, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) if texts else r"(?!)")  # what matches nothing


def _forms(text: str) -> set[str]:
    """Return how a text may stand in what is shown: as it is, made harmless, within JSON, and within JSON in JSON."""
    forms = {text}
    for _ in range(2):
        forms |= {jsontext.dump(form, ascii_only=ascii_only)[1:-1] for form in forms for ascii_only in (False, True)}
    return forms | set(map(inert, forms))


def _start_at_end(form: str, text: str) -> int | None:
    """Return where a beginning of `form` starts that ends where `text` does."""
    start = text.find(form[:_SHORTEST_IN_TEXT], max(len(text) - len(form) + 1, 0))
    while start >= 0 and not form.startswith(text[start:]):
        start = text.find(form[:_SHORTEST_IN_TEXT], start + 1)
    return start if start >= 0 else None


class Discreet(Screen):
    """A screen as another one, and where that one writes, that never shows secrets."""

    def __init__(self, screen: Screen, secrets: Secrets) -> None:
        vars(self).update(vars(screen))
        self._secrets = secrets

    def write(self, text: str) -> None:
        """Write text at once, without the secrets in it. Raises what any screen raises."""
        super().write(self._secrets.out_of_text(text))

    def tell(self, text: str, *, is_command: bool = False) -> None:
        """Write what is only for the eye, without secrets; they are hidden first, for defusing may change them."""
        super().tell(self._secrets.out_of_text(text), is_command=is_command)
