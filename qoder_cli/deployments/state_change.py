"""Deployments paused, unpaused and archived: each by a write that may be repeated."""

from typing import Any

from qoder_cli.base.errors import CannotBe, NotFound
from qoder_cli.base.ids import segment
from qoder_cli.base.model import Deployment, Resource
from qoder_cli.deployments.lookup import explain_missing
from qoder_cli.nouns.change import ARCHIVE, Change, Changes, Ending, Target

PAUSE = Change("pause", "pausing", "paused", "POST", "/pause", "paused")
UNPAUSE = Change("unpause", "unpausing", "unpaused", "POST", "/unpause", "active")


def target_of(id: str) -> Target:
    """Return a deployment by its id."""
    return Target(f"/deployments/{segment(id)}", id, f"deployment {id}", ("deploy", "get", id))


class _StateWrite(Ending):
    def is_so(self, raw: dict[str, Any]) -> bool:
        return self._target.is_it(raw) and Deployment(raw).state == self._change.state

    def look(self, raw: dict[str, Any]) -> Resource | None:
        if raw.get("archived_at") and self._change is not ARCHIVE:
            raise CannotBe(
                f"{self._target.id} was archived on {raw['archived_at']}, so it cannot be {self._change.participle}",
                hint="create a new deployment; archiving cannot be undone",
            )
        return super().look(raw)


class StateChanges(Changes):
    """One change of several deployments, one after the other."""

    write = _StateWrite
    status = "state"

    def missing(self, error: NotFound, target: Target) -> NotFound:
        return explain_missing(error, target.id, self.app)
