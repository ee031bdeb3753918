"""What must not be shown of a deployment, by its place: variables that came from `${VAR}`, and tokens of resources.

Nothing is ever searched for by its text: a value may be an ordinary word, as `error` is (contract, section 3).
"""

from collections.abc import Collection
from typing import Any

from qoder_cli.files.normal import VARIABLES, assignments
from qoder_cli.files.tree import Path, spelled

HIDDEN = "[hidden]"


class Secrets:
    """The places of a deployment that hold a secret, whatever stands there: `environment_variables.TOKEN`."""

    def __init__(self, places: Collection[str] = ()) -> None:
        self._places = frozenset(places)

    def out_of(self, value: Any, path: Path = ()) -> Any:
        """Return a deployment, or what stands at a path in it, with these places hidden and all else as it is."""
        if spelled(path) in self._places:
            return HIDDEN
        if path == (VARIABLES,) and isinstance(value, str):
            return self._out_of_variables(value)
        if isinstance(value, list):
            return [self.out_of(item, (*path, index)) for index, item in enumerate(value)]
        if isinstance(value, dict):
            return {key: self.out_of(item, (*path, key)) for key, item in value.items()}
        return value

    def are_at(self, place: str) -> bool:
        """Return whether what stands at a place must not be shown; the variables may stand there as one text."""
        return place in self._places or (place == VARIABLES and self._has_variables)

    @property
    def _has_variables(self) -> bool:
        return any(place.startswith(f"{VARIABLES}.") for place in self._places)

    def _out_of_variables(self, text: str) -> str:
        pairs = assignments(text)
        if pairs is None:
            return HIDDEN if self._has_variables else text
        hidden = {name for name, _ in pairs if spelled((VARIABLES, name)) in self._places}
        if not hidden:
            return text
        return "\n".join(f"{name}={HIDDEN if name in hidden else value}" for name, value in pairs)
