"""A request on its way through an operation: what it names, and what it is shown."""

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from qoder_cli.sandbox import shapes
from qoder_cli.sandbox.pages import Invalid, Query, T, cut, unknown_field
from qoder_cli.sandbox.records import Deployment, Run, Seen, Session
from qoder_cli.sandbox.wire import Request
from qoder_cli.sandbox.world import World


class Refusal(Exception):
    """The API says no, with this status."""

    def __init__(self, status: int, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.param = param


@dataclass(frozen=True, slots=True)
class Conditions:
    """What is out of the ordinary on this server while it answers a request.

    For `lag` seconds it does not know what is new, and shows a deployment as it was; for `half_written`
    seconds a run has neither session nor error; without `honour_key` an Idempotency-Key means nothing; with
    `echo_token` errors repeat the token. An event stream is closed after `cut` seconds, and if `silent` sends
    nothing.
    """

    lag: float = 0.0
    half_written: float = 0.0
    honour_key: bool = True
    echo_token: bool = False
    cut: float = math.inf
    silent: bool = False


@dataclass(slots=True)
class Call:
    """A request on its way through an operation: `ids` are those in its path, `now` is when it acts."""

    world: World
    request: Request
    seen: Seen
    now: float
    conditions: Conditions = field(default_factory=Conditions)
    ids: list[str] = field(default_factory=list)

    @property
    def query(self) -> Query:
        """Return the query."""
        return Query(self.request.parameters())

    @property
    def legacy(self) -> bool:
        """Return whether this server is of the older generation."""
        return self.world.generation == "legacy"

    def body(self) -> Any:
        """Return the parsed body; none at all is an empty object. Raises Invalid unless it is an object."""
        try:
            body = json.loads(self.request.body or b"{}")
        except (ValueError, RecursionError):
            raise Invalid("Request body must be valid JSON.") from None
        if not isinstance(body, dict):
            raise Invalid("Request body must be a JSON object.")
        return body

    def expect_no_fields(self) -> None:
        """Let nothing be said where nothing can be. Raises Invalid."""
        for name in self.body():
            raise Invalid(unknown_field(name), param=name)

    def knows(self, thing: Deployment | Run | Session) -> bool:
        """Return whether a new thing has reached this replica, and whether it is still there for it."""
        as_of = self.now - self.conditions.lag
        deleted = thing.deleted if isinstance(thing, Session) else None
        return thing.created <= as_of and (deleted is None or deleted > as_of)

    def deployment(self) -> Deployment:
        """Return the deployment that the path names. Raises Refusal when it is not known."""
        deployment = self.world.deployments.get(self.ids[0])
        return found(deployment if deployment and self.knows(deployment) else None, "Deployment")

    def as_known(self, deployment: Deployment) -> Deployment:
        """Return a deployment as it has reached this replica: before its last change, if that is young."""
        young = deployment.updated > self.now - self.conditions.lag
        return deployment.before if young and deployment.before is not None else deployment

    def run(self) -> Run:
        """Return the run that the path names. Raises Refusal when it is unknown, or another deployment's."""
        run = self.world.runs.get(self.ids[-1])
        mine = run is not None and self.knows(run) and self.ids[0] in (run.id, run.deployment.id)
        return found(run if mine else None, "Deployment run")

    def session(self) -> Session:
        """Return the session that the path names. Raises Refusal when it is not known."""
        session = self.world.sessions.get(self.ids[0])
        return found(session if session and self.knows(session) else None, "Session")

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
        name: Callable[[T], str],
        descending: bool = True,
    ) -> shapes.Shape:
        """Return the page that the query asks for, of `things` given oldest first."""
        ordered = list(things)[:: -1 if descending else 1]
        page = cut(ordered, self.query, keep=keep, name=name, paged=not self.legacy)
        data = [show(thing) for thing in page.things]
        return shapes.page(data, has_more=page.has_more, next_page=page.next_page, generation=self.world.generation)


def found(thing: T | None, kind: str) -> T:
    """Return `thing`. Raises Refusal when there is none."""
    if thing is None:
        raise Refusal(404, f"{kind} not found.")
    return thing
