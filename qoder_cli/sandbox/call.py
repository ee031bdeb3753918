"""A request on its way through an operation: what it names, and what it is shown."""

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, TypeVar

from qoder_cli.sandbox import shapes
from qoder_cli.sandbox.pages import Query, T, cut
from qoder_cli.sandbox.records import Deployment, Run, Seen, Session
from qoder_cli.sandbox.wire import Refusal, Request, invalid, unknown_field
from qoder_cli.sandbox.world import World

Thing = TypeVar("Thing", Deployment, Run, Session)


@dataclass(frozen=True, slots=True)
class Conditions:
    """The conditions of faults.py that hold for a request: seconds, or 0 and 1 for no and yes."""

    lagging: float = 0  # younger things are not visible, a deployment shows as before
    half_written: float = 0  # younger runs have neither session nor error
    cut: float = math.inf  # when an event stream closes
    behind: float = 0  # how late an event stream is
    no_idempotency: float = 0
    echo_token: float = 0
    silent: float = 0
    stranger: float = 0
    no_date: float = 0


@dataclass(slots=True)
class Call:
    """A request. `ids` are those in its path, `now` is when it acts."""

    world: World
    request: Request
    seen: Seen
    now: float
    conditions: Conditions = field(default_factory=Conditions)
    ids: list[str] = field(default_factory=list)
    status: int = 200  # of a success

    @property
    def query(self) -> Query:
        """Return the query."""
        return Query(self.request.parameters())

    @property
    def legacy(self) -> bool:
        """Return whether this server is of the older generation."""
        return self.world.generation == "legacy"

    def body(self) -> Any:
        """Return the parsed body, {} for none. Raises Refusal unless it is an object."""
        try:
            body = json.loads(self.request.body or b"{}")
        except (ValueError, RecursionError):
            raise invalid("Request body must be valid JSON.") from None
        if not isinstance(body, dict):
            raise invalid("Request body must be a JSON object.")
        return body

    def expect_no_fields(self) -> None:
        """Raise Refusal for a body with fields, where there are none."""
        for name in self.body():
            raise unknown_field(name, name)

    def knows(self, thing: Deployment | Run | Session) -> bool:
        """Return whether a thing is visible on this replica."""
        as_of = self.now - self.conditions.lagging
        deleted = thing.deleted if isinstance(thing, Session) else None
        return thing.created <= as_of and (deleted is None or deleted > as_of)

    def deployment(self) -> Deployment:
        """Return the deployment that the path names. Raises Refusal when it is unknown."""
        return self._known(self.world.deployments.get(self.ids[0]), "Deployment")

    def run(self) -> Run:
        """Return the run that the path names. Raises Refusal when it is unknown."""
        run = self._known(self.world.runs.get(self.ids[-1]), "Deployment run")
        return self._known(run if self.ids[0] in (run.id, run.deployment.id) else None, "Deployment run")

    def session(self) -> Session:
        """Return the session that the path names. Raises Refusal when it is unknown."""
        return self._known(self.world.sessions.get(self.ids[0]), "Session")

    def _known(self, thing: Thing | None, kind: str) -> Thing:
        if thing is None or not self.knows(thing):
            raise Refusal(404, f"{kind} not found.")
        return thing

    def as_known(self, deployment: Deployment) -> Deployment:
        """Return a deployment as visible here: before its last change, if that is young."""
        young = deployment.updated > self.now - self.conditions.lagging
        return deployment.before if young and deployment.before is not None else deployment

    def show_run(self, run: Run, *, fresh: bool = False) -> shapes.Shape:
        """Return a run as this server shows it."""
        young = run.created > self.now - self.conditions.half_written
        generation = self.world.generation
        return shapes.run(run, now=self.now, generation=generation, fresh=fresh, half_written=young)

    def show_deployment(self, deployment: Deployment) -> shapes.Shape:
        """Return a deployment as this server shows it."""
        return shapes.deployment(deployment, now=self.now, generation=self.world.generation)

    def page(
        self,
        things: Iterable[T],
        show: Callable[[T], shapes.Shape],
        *,
        keep: Callable[[T], bool],
        name: Callable[[T], str] = attrgetter("id"),
        descending: bool = True,
    ) -> shapes.Shape:
        """Return the page that the query asks for, of `things` given oldest first."""
        ordered = list(things)[:: -1 if descending else 1]
        page, next_page = cut(ordered, self.query, keep=keep, name=name, paged=not self.legacy)
        return shapes.page([show(thing) for thing in page], next_page=next_page, generation=self.world.generation)
