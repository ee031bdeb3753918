"""An app whose server gives answers in turn, for what is read back after a write."""

from types import SimpleNamespace
from typing import Any

from tests.support.wire import FakeClock

Raw = dict[str, Any]


class Server:
    """An app whose server gives these answers in turn, the last one for ever; and what it says on stderr."""

    def __init__(self, *answers: Raw | Exception) -> None:
        self.answers = list(answers)
        self.lines: list[str] = []
        self.reads = 0
        self.progress = SimpleNamespace(note=self._note, warn=self.lines.append)
        self.clock = FakeClock()
        self.client: Any = SimpleNamespace(get=self._get, clock=self.clock)

    def _get(self, path: str, *given: Any, **how: Any) -> Raw:
        self.reads += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _note(self, text: str, *, always: bool = False) -> None:
        self.lines.append(text if always else f"note: {text}")

    def looking(self, *words: str) -> list[str]:
        return ["qoder", *words]


def without(raw: Raw, *names: str) -> Raw:
    return {name: value for name, value in raw.items() if name not in names}
