"""Servers that lie, beside those that only fail: more faults than `qoder sandbox` offers, for tests.

Disruptions of one response:

    html html=503 act-html   a gateway's page, 502 by default; after the server acted
    redirect=URL             302
    garbage list not-a-run   broken JSON; [] as the response; an object of another kind
    stranger                 someone else does the same just before
    refused                  no connection; only in process

Lasting conditions:

    skew=S                   the server's clock is S seconds off
    half-written=S           runs younger than S seconds have neither session nor error
    echo-token               errors repeat the token
"""

import json
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from qoder_cli.base.marks import without_ours
from qoder_cli.sandbox import api
from qoder_cli.sandbox.faults import CONDITIONS, PLACES, Fault, Faults
from qoder_cli.sandbox.wire import Refusal, Request, Shape, WireResponse, encode
from qoder_cli.sandbox.world import World

ONCE = ("refused", "html", "act-html", "redirect", "garbage", "list", "not-a-run")
LASTING = ("stranger", "skew", "half-written", "echo-token")

_WRITTEN = re.compile(rf"({'|'.join(PLACES)}):({'|'.join([*ONCE, *LASTING])})(?:=(.+?))?(?:\*(\d+|inf))?")
_ALL_WRITES = {"trigger", "write", "send", "session-write"}
_HTML = b"<!doctype html><html><head><title>%d</title></head><body><h1>Bad gateway</h1></body></html>"
_GARBAGE = {
    "garbage": b'{"id": "drun_", "type": deployment_run',
    "list": b"[]",
    "not-a-run": b'{"id":"agent_019e00000000700080000000000a9e27","type":"agent","version":1}',
}


class RefusedConnection(Exception):
    """Nobody listens."""


class Untruth(Fault):
    """A fault that only tests order."""

    def meets(self, where: Collection[str]) -> bool:
        """Return whether it is due for a request. A stranger comes only with writes."""
        if self.what == "skew" or (self.what == "stranger" and not _ALL_WRITES & set(where)):
            return False
        return super().meets(where)


class Lies(Faults):
    """The faults and lies on order, and the answers they spoil."""

    lasting = (*CONDITIONS, *LASTING)

    def add(self, text: str) -> None:
        """Order a fault or a lie. Raises UsageError if it is none."""
        written = _WRITTEN.fullmatch(text)
        if written is None:
            super().add(text)
            return
        where, what, value, times = written.groups()
        if times is None:
            times = "inf" if what in LASTING and what != "stranger" else "1"
        self.on_order.append(Untruth(where, what, value or "", float(times)))

    def answer(self, world: World, request: Request) -> WireResponse:
        with world.lock:
            for fault in self.on_order:
                if fault.what == "skew" and world.skew != float(fault.value):
                    world.skew = float(fault.value)
                    for deployment in world.deployments.values():  # schedules go on from there
                        deployment.replan(world.now())
            return super().answer(world, request)

    def spoil(
        self, world: World, request: Request, disruption: Fault | None, conditions: dict[str, float]
    ) -> WireResponse:
        if disruption and disruption.what == "refused":
            world.requests.remove(request)
            raise RefusedConnection
        if "stranger" in conditions:
            _let_a_stranger_in(world, request)
        answer = _lie(world, request, disruption, conditions) if isinstance(disruption, Untruth) else None
        if answer is None:
            plain = None if isinstance(disruption, Untruth) else disruption
            answer = super().spoil(world, request, plain, conditions)
        if isinstance(disruption, Untruth) and disruption.what in _GARBAGE:
            answer = replace(answer, status=200, body=_GARBAGE[disruption.what], stream=None)
        elif answer.stream is None and answer.headers.get("content-type") == "application/json":
            answer = _rewritten(world, request, answer, conditions)
        return answer


def _lie(world: World, request: Request, lie: Untruth, conditions: Mapping[str, float]) -> WireResponse | None:
    """Return an answer in place of the world's, None where the world's is spoilt afterwards."""
    match lie.what:
        case "redirect":
            return WireResponse(302, {"location": lie.value, **api.dated(world)})
        case "html" | "act-html":
            if lie.what == "act-html":
                api.perform(world, request, world.now(), conditions)
            status = int(lie.value or 502)
            return WireResponse(status, {"content-type": "text/html", **api.dated(world)}, _HTML % status)
    return None


def _let_a_stranger_in(world: World, request: Request) -> None:
    """Let someone else act first, without what marks a request as ours."""
    headers = {name: value for name, value in request.headers.items() if name != "idempotency-key"}
    where, same = api.where(request), replace(request, headers=headers, runs=[])
    _, ids = api.find(same)
    deployment = world.deployments.get(ids[0]) if ids else None
    with suppress(Refusal, ValueError):
        if same.body:
            body = json.loads(same.body)
            if isinstance(body.get("metadata"), dict):
                body["metadata"] = without_ours(body["metadata"])
            same = replace(same, body=encode(body))
        if deployment is None or ("write" in where and "update" not in where):
            api.perform(world, same, world.now(), {})
        elif "update" in where:
            deployment.change(world.now(), description="Changed by someone else.")
        else:
            world.start(deployment, origin="other")


def _rewritten(world: World, request: Request, answer: WireResponse, conditions: Mapping[str, float]) -> WireResponse:
    """Return an answer that tells wrongly of runs, or repeats the token."""
    if not {"half-written", "echo-token"} & conditions.keys():
        return answer
    body = json.loads(answer.body)
    if "error" in body and body.get("type") == "error":
        if "echo-token" in conditions:
            body["error"]["message"] += f" (Authorization: {request.headers.get('authorization', '')})"
    elif isinstance(body.get("data"), list):
        body["data"] = [_run(world, row, conditions) for row in body["data"]]
    else:
        body = _run(world, body, conditions)
    return replace(answer, body=encode(body))


def _run(world: World, shape: Any, conditions: Mapping[str, float]) -> Shape:
    """Return a run as a server shows it that has only half written it, anything else as it is."""
    run = world.runs.get(str(shape.get("id")))
    if run is None:
        return dict(shape)
    if world.now() - run.created < conditions.get("half-written", 0):
        shape = {**shape, "session_id": None, "error": None}
        if world.generation == "legacy":
            gone = ("session_id", "completed_at", "duration_ms", "cas_run_extras")
            shape = {name: value for name, value in shape.items() if name not in gone} | {"status": "pending"}
    return dict(shape)
