"""The API of the service: `handle(world, request)` gives the answer, strictly as documented, without I/O."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from email.utils import formatdate

from qoder_cli.api.operations import of_path
from qoder_cli.sandbox import operations as do
from qoder_cli.sandbox.call import Call, Conditions, Refusal
from qoder_cli.sandbox.operations import Reply
from qoder_cli.sandbox.pages import Invalid
from qoder_cli.sandbox.records import Seen
from qoder_cli.sandbox.stream import EventStream
from qoder_cli.sandbox.wire import BASE_PATH, FORWARD_PATH, Answer, Request, encode
from qoder_cli.sandbox.world import Conflict, World

FORBIDDEN_TOKEN = "pt-sandbox-forbidden"  # accepted as a token, allowed to do nothing

ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    409: "conflict_error",
    413: "request_too_large_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    501: "feature_not_available",
    529: "overloaded_error",
}


@dataclass(frozen=True, slots=True)
class Route:
    """An operation: method, path with `{}` for ids, the words that a fault may name it by, and what it does."""

    method: str
    path: str
    where: tuple[str, ...]
    operation: Callable[[Call], Reply]

    def match(self, segments: list[str]) -> list[str] | None:
        """Return the ids in a path that is this route's, None for any other path."""
        parts = self.path.split("/")
        if len(parts) != len(segments):
            return None
        pairs = list(zip(parts, segments, strict=True))
        if any(part not in ("{}", segment) for part, segment in pairs):
            return None
        return [segment for part, segment in pairs if part == "{}"]


ROUTES = (
    Route("POST", "deployments", ("create", "write", "deployment"), do.create_deployment),
    Route("GET", "deployments", ("deployment",), do.list_deployments),
    Route("GET", "deployments/{}", ("deployment",), do.get_deployment),
    Route("POST", "deployments/{}", ("update", "write", "deployment"), do.update_deployment),
    Route("POST", "deployments/{}/pause", ("pause", "write", "deployment"), do.pause_deployment),
    Route("POST", "deployments/{}/unpause", ("unpause", "write", "deployment"), do.unpause_deployment),
    Route("POST", "deployments/{}/archive", ("archive", "write", "deployment"), do.archive_deployment),
    Route("POST", "deployments/{}/run", ("trigger",), do.run_deployment),
    Route("GET", "deployments/{}/runs", ("list",), do.list_runs_of_deployment),
    Route("GET", "deployments/{}/runs/{}", ("run",), do.get_run),
    Route("GET", "deployment_runs", ("list",), do.list_runs),
    Route("GET", "deployment_runs/{}", ("run",), do.get_run),
    Route("GET", "agents/{}", ("agent",), do.get_agent),
    Route("GET", "sessions", ("session",), do.list_sessions),
    Route("GET", "sessions/{}", ("session",), do.get_session),
    Route("DELETE", "sessions/{}", ("session",), do.delete_session),
    Route("POST", "sessions/{}/cancel", ("session",), do.cancel_session),
    Route("GET", "sessions/{}/events", ("events",), do.list_events),
    Route("GET", "sessions/{}/events/stream", ("stream",), do.stream_events),
)


def handle(world: World, request: Request, conditions: Conditions | None = None) -> Answer:
    """Return the world's answer to `request`, having acted on it."""
    with world.lock:
        world.settle()
        seen = world.note(request)
        answer = perform(world, request, seen=seen, now=world.now(), conditions=conditions or Conditions())
        seen.status = answer.status
        return answer


def perform(world: World, request: Request, *, seen: Seen, now: float, conditions: Conditions) -> Answer:
    """Act on a request as of `now`, write what it led to into `seen`, and return the answer."""
    call = Call(world, request, seen=seen, now=now, conditions=conditions)
    try:
        _check_token(world, request)
        route, call.ids = find(request)
        return _once(call, route)
    except Invalid as error:
        return _refuse(call, 400, str(error), error.param)
    except Conflict as error:
        return _refuse(call, 409, str(error))
    except Refusal as error:
        return _refuse(call, error.status, str(error), error.param)


def find(request: Request) -> tuple[Route, list[str]]:
    """Return the route of a request and the ids in its path.

    Raises Refusal: 501 for an operation that only the service has, 405 for a method, 404 for a path that neither has.
    """
    segments = request.segments()
    matches = [(route, ids) for route in ROUTES if segments and (ids := route.match(segments)) is not None]
    for route, ids in matches:
        if route.method == request.method:
            return route, ids
    methods = {operation.method for operation in of_path(request.path.removeprefix(BASE_PATH))} if segments else set()
    if request.method in methods or request.path.startswith(FORWARD_PATH + "/"):
        raise Refusal(501, "the sandbox does not serve this operation")
    if methods or matches:
        raise Refusal(405, "Method not allowed.")
    raise Refusal(404, "Not found.")


def where(request: Request) -> tuple[str, ...]:
    """Return the words that a fault may name this request by, none for a path that is no operation."""
    try:
        route = find(request)[0]
    except Refusal:
        return ()
    return ("stream",) if route.operation is do.list_events and request.wants_stream else route.where


def error_answer(world: World, request: Request, status: int, message: str, *, param: str | None = None) -> Answer:
    """Return an error in the API's envelope; older bodies have no request_id (api/facts.md, 3.4)."""
    request_id = _request_id(request)
    error = {
        "type": ERROR_TYPES.get(status, "invalid_request_error" if status < 500 else "api_error"),
        "message": message,
    }
    envelope = {
        "type": "error",
        **({"request_id": request_id} if world.generation == "current" else {}),
        "error": error | ({"param": param} if param else {}),
    }
    return json_answer(world, request, status, envelope, request_id=request_id)


def json_answer(world: World, request: Request, status: int, value: object, *, request_id: str | None = None) -> Answer:
    """Return `value` as an answer of this server."""
    headers = {
        "content-type": "application/json",
        "x-request-id": request_id or _request_id(request),
        **dated(world),
    }
    return Answer(status, headers, encode(value))


def _stream_answer(world: World, request: Request, stream: EventStream) -> Answer:
    headers = {"content-type": "text/event-stream", "cache-control": "no-cache", "x-request-id": _request_id(request)}
    return Answer(200, {**headers, **dated(world)}, stream=stream)


def dated(world: World) -> dict[str, str]:
    """Return the Date header, by the server's own clock."""
    return {"date": formatdate(world.now(), usegmt=True)}


def _request_id(request: Request) -> str:
    return request.headers.get("x-request-id") or str(uuid.uuid4())


def _check_token(world: World, request: Request) -> None:
    """Raise Refusal unless the request carries a bearer token that may do something (api/facts.md, 3.2)."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme == "Bearer" and token == FORBIDDEN_TOKEN:
        raise Refusal(403, "This token has no permission for cloud agents.")
    if scheme != "Bearer" or token != world.token:
        raise Refusal(401, "Invalid API key or token.")


def _refuse(call: Call, status: int, message: str, param: str | None = None) -> Answer:
    if call.conditions.echo_token:
        message += f" (Authorization: {call.request.headers.get('authorization', '')})"
    return error_answer(call.world, call.request, status, message, param=param)


def _once(call: Call, route: Route) -> Answer:
    """Perform the operation, unless an idempotency key brings back an earlier answer (api/facts.md, 3.5)."""
    world, request, key = call.world, call.request, call.seen.key
    if request.method != "POST" or not key or not (world.honour_key and call.conditions.honour_key):
        status, said = route.operation(call)
        if isinstance(said, EventStream):
            return _stream_answer(world, request, said)
        return json_answer(world, request, status, said)
    asked = (request.path, call.body())
    if key in world.answered:
        past, answer = world.answered[key]
        if past != asked:
            raise Conflict("Idempotency key reused with a different request body.")
        call.seen.replayed = True
        return replace(json_answer(world, request, answer.status, None), body=answer.body)
    answer = json_answer(world, request, *route.operation(call))
    world.answered[key] = asked, answer
    return answer
