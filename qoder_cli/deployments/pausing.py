"""Pausing a deployment, and letting it run again."""

from collections.abc import Callable
from typing import Any

from qoder_cli.base.model import Deployment
from qoder_cli.nouns.edits.verbs import Change

Raw = dict[str, Any]


def _is(state: str) -> Callable[[Raw], bool]:
    return lambda raw: Deployment(raw).state == state


PAUSE = Change("pause", "pausing", "paused", "POST", "/pause", "paused", shows=_is("paused"), can_be_undone=True)
UNPAUSE = Change(
    "unpause", "unpausing", "unpaused", "POST", "/unpause", "active", shows=_is("active"), can_be_undone=True
)
