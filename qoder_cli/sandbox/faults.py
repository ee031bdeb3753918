"""What can go wrong on order: the grammar of `--fault`, and what each fault does.

A fault is `WHERE:WHAT[=VALUE][*TIMES]`, such as `trigger:drop-after`, `run:503*2` or `any:skew=-3600`.

WHERE names the request: `trigger` (POST …/run), `run` (one run), `list` (runs), `deployment` (reading and writing
them), of that `write` (any of `create`, `update`, `pause`, `unpause`, `archive`), `session`, `events` (their list),
`stream`, `agent`, `any`. WHAT is one of the words below. A *disruption* meets one request (or
TIMES, or with `*inf` all); several for the same request take turns in the order given. A *condition* goes on for
ever, or for TIMES requests, beside them. Seconds are real seconds, whatever the speed of the world.

| WHAT | Acts? | What the client meets |
|---|---|---|
| `refused` | no | no connection; only in process, for a real server cannot refuse a single request |
| `drop-before` | no | the connection closes without an answer |
| `drop-after` | yes | the same |
| `late=S` | S seconds later | the same, at once |
| `hang-before` | no | nothing, ever |
| `hang-after` | yes | nothing, ever |
| `slow=S` | yes | the true answer, byte by byte, taking S seconds; a stream: its events, S seconds late |
| `truncated` | yes | half of the body, then the connection closes; a stream: half of its first frame |
| `garbage` | yes | 200 with broken JSON |
| `list` | yes | 200 with an empty JSON list |
| `not-a-run` | yes | 200 with an object of another kind |
| `redirect=URL` | no | 302 to URL |
| `503`, `429=5` | no | that status, 400 to 599, in the API's envelope; a value is sent as `Retry-After` |
| `503-bare` | no | that status, without a body |
| `html`, `html=503` | no | a gateway's HTML page, 502 unless told |
| `act-503`, `act-503-bare`, `act-html` | yes | the same as without `act-` |
| `stranger` | yes | just before, someone else starts a run of it, changes its description, or writes the same |
| `skew=S` | yes | condition: the server's clock is off by S seconds, whatever WHERE says; takes no TIMES |
| `no-date` | yes | condition: no `Date` header |
| `lagging=S` | yes | condition: what is younger than S seconds is unknown; a changed deployment reads as before |
| `half-written=S` | yes | condition: runs younger than S seconds have neither session nor error |
| `no-idempotency` | yes | condition: the Idempotency-Key means nothing |
| `echo-token` | yes | condition: error messages repeat the Authorization header |
| `cut=S` | yes | condition: an event stream is closed after S seconds, each time |
| `silent` | yes | condition: an event stream is open, and nothing is ever sent |
"""

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from qoder_cli.sandbox import api
from qoder_cli.sandbox.call import Conditions
from qoder_cli.sandbox.grammar import STATUS, Fault, parse
from qoder_cli.sandbox.records import Seen
from qoder_cli.sandbox.wire import Answer, Request
from qoder_cli.sandbox.world import Conflict, World

_HTML = b"<!doctype html><html><head><title>%d</title></head><body><h1>Bad gateway</h1></body></html>"


class Faults:
    """The faults on order. `answer` stands where `api.handle` stands on a healthy server."""

    def __init__(self, *texts: str) -> None:
        self.on_order = [parse(text) for text in texts]

    def add(self, text: str) -> None:
        """Order one more. Raises UsageError for a text that is no fault."""
        self.on_order.append(parse(text))

    def answer(self, world: World, request: Request) -> Answer:
        """Return the answer to `request`, with what is on order for it gone wrong."""
        with world.lock:
            self._set_clock(world)
            world.settle()
            disruption, conditions = self._take(api.where(request))
            if disruption is not None and disruption.what == "refused":
                return Answer(0, delivery="refuse")  # a connection never made is nothing the world sees
            fault = " ".join(map(str, [*([disruption] if disruption else []), *conditions])) or None
            visit = _Visit(world, request, world.note(request, fault=fault), {c.what: c for c in conditions})
            answer = visit.meet(disruption)
            reached = answer.delivery in ("whole", "slow", "cut")
            visit.seen.status = answer.status if reached else None
            return answer

    def _set_clock(self, world: World) -> None:
        for fault in self.on_order:
            if fault.what == "skew":
                world.turn_clock(fault.seconds())

    def _take(self, where: tuple[str, ...]) -> tuple[Fault | None, list[Fault]]:
        """Return the disruption whose turn it is and the conditions that hold, counted down."""
        due = [fault for fault in self.on_order if fault.meets(where) and fault.what != "skew"]
        conditions = [fault for fault in due if fault.lasting]
        disruption = next((fault for fault in due if not fault.lasting), None)
        for fault in [*conditions, *([disruption] if disruption else [])]:
            fault.times -= 1
        return disruption, conditions


@dataclass(slots=True)
class _Visit:
    """A request that meets faults."""

    world: World
    request: Request
    seen: Seen
    held: dict[str, Fault]  # conditions, by their word
    conditions: Conditions = field(init=False)

    def __post_init__(self) -> None:
        self.conditions = Conditions(
            lag=self.held["lagging"].seconds() if "lagging" in self.held else 0.0,
            half_written=self.held["half-written"].seconds() if "half-written" in self.held else 0.0,
            honour_key="no-idempotency" not in self.held,
            echo_token="echo-token" in self.held,
            cut=self.held["cut"].seconds() if "cut" in self.held else math.inf,
            silent="silent" in self.held,
        )

    def meet(self, disruption: Fault | None) -> Answer:
        """Return what the client gets."""
        if "stranger" in self.held:
            self._let_a_stranger_in()
        answer = self._act() if disruption is None else self._disrupt(disruption)
        if "no-date" in self.held:
            answer = replace(answer, headers={k: v for k, v in answer.headers.items() if k != "date"})
        return answer

    def _act(self, due: float | None = None) -> Answer:
        """Do what is asked for, now or as of `due`."""
        now = self.world.now() if due is None else due
        return api.perform(self.world, self.request, seen=self.seen, now=now, conditions=self.conditions)

    def _let_a_stranger_in(self) -> None:
        """Let someone else act first: start a run, change the description, or write the same; if that can be."""
        where, segments = api.where(self.request), self.request.segments() or []
        deployment = self.world.deployments.get(segments[1]) if len(segments) > 1 else None
        with suppress(Conflict):
            if "create" in where or (deployment is not None and "write" in where and "update" not in where):
                nameless = {name: value for name, value in self.request.headers.items() if name != "idempotency-key"}
                same = replace(self.request, headers=nameless)
                api.perform(self.world, same, seen=Seen(0, same), now=self.world.now(), conditions=Conditions())
            elif deployment is not None and "update" in where:
                self.world.change(deployment, {"description": "Changed by someone else."})
            elif deployment is not None:
                self.world.start(deployment, origin="other")

    def _disrupt(self, fault: Fault) -> Answer:
        if matched := STATUS.fullmatch(fault.what):
            acts, status, bare = matched.groups()
            return self._fail(int(status), acts=bool(acts), bare=bool(bare), retry_after=fault.value)
        return _PLOTS[fault.what](self, fault)

    def _fail(self, status: int, *, acts: bool, bare: bool, retry_after: str) -> Answer:
        if acts:
            self._act()
        message = "Refused by a fault of the sandbox."
        if self.conditions.echo_token:
            message += f" (Authorization: {self.request.headers.get('authorization', '')})"
        answer = api.error_answer(self.world, self.request, status, message)
        if bare:
            answer = Answer(status, api.dated(self.world))
        return replace(answer, headers={**answer.headers, **({"retry-after": retry_after} if retry_after else {})})

    def drop(self, fault: Fault) -> Answer:
        """Close the connection, before or after acting."""
        if fault.what == "drop-after":
            self._act()
        return Answer(0, delivery="drop")

    def late(self, fault: Fault) -> Answer:
        """Close the connection now and act later."""
        self.world.postpone(fault.seconds(), self._act)
        return Answer(0, delivery="drop")

    def hang(self, fault: Fault) -> Answer:
        """Never answer."""
        if fault.what == "hang-after":
            self._act()
        return Answer(0, delivery="hang")

    def slow(self, fault: Fault) -> Answer:
        """Answer in drops; what is streamed comes late."""
        answer = self._act()
        if answer.stream is not None:
            answer.stream.late = fault.seconds()
            return answer
        return replace(answer, delivery="slow", seconds=fault.seconds())

    def cut(self, fault: Fault) -> Answer:
        """Answer by halves."""
        return replace(self._act(), delivery="cut")

    def garbage(self, fault: Fault) -> Answer:
        """Answer with something else than was asked for."""
        body = {
            "garbage": b'{"id": "drun_", "type": deployment_run',
            "list": b"[]",
            "not-a-run": b'{"id":"agent_019e00000000700080000000000a9e27","type":"agent","version":1}',
        }[fault.what]
        answer = self._act()
        return replace(answer, status=200, body=body, stream=None)

    def redirect(self, fault: Fault) -> Answer:
        """Send the client elsewhere."""
        return Answer(302, {"location": fault.value, **api.dated(self.world)})

    def html(self, fault: Fault) -> Answer:
        """Answer as a gateway does."""
        if fault.what == "act-html":
            self._act()
        status = int(fault.value or 502)
        return Answer(status, {"content-type": "text/html", **api.dated(self.world)}, _HTML % status)


_PLOTS: dict[str, Callable[[_Visit, Fault], Answer]] = {
    "drop-before": _Visit.drop,
    "drop-after": _Visit.drop,
    "late": _Visit.late,
    "hang-before": _Visit.hang,
    "hang-after": _Visit.hang,
    "slow": _Visit.slow,
    "truncated": _Visit.cut,
    "garbage": _Visit.garbage,
    "list": _Visit.garbage,
    "not-a-run": _Visit.garbage,
    "redirect": _Visit.redirect,
    "html": _Visit.html,
    "act-html": _Visit.html,
}
