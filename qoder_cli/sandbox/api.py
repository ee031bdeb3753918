"""The API of the service, strictly as documented, without I/O."""

from collections.abc import Iterator
from email.utils import formatdate

from qoder_cli.nouns.operations import of_path
from qoder_cli.sandbox import catalog, deployments, sessions
from qoder_cli.sandbox.call import Call, Conditions, Route
from qoder_cli.sandbox.contents import fetched
from qoder_cli.sandbox.records import Seen
from qoder_cli.sandbox.wire import BASE_PATH, BLOBS, FORWARD_PATH, Answer, Refusal, Request, encode
from qoder_cli.sandbox.world import World

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

ROUTES = (*deployments.ROUTES, *sessions.ROUTES, *catalog.ROUTES)
_BY_FIRST: dict[str, list[Route]] = {}  # by the first word of their path; of two that match, the later one counts
for _route in sorted(ROUTES, key=lambda route: -route.path.count("{}")):
    _BY_FIRST.setdefault(_route.path.partition("/")[0], []).append(_route)


def perform(world: World, request: Request, seen: Seen, now: float, conditions: Conditions) -> Answer:
    """Return the answer to a request at `now`; what it leads to is noted in `seen`."""
    call = Call(world, request, seen=seen, now=now, conditions=conditions)
    try:
        if request.path.startswith(BLOBS + "/") and request.method == "GET":
            return _answer(world, request, 200, fetched(world, request))
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme == "Bearer" and token == FORBIDDEN_TOKEN:
            raise Refusal(403, "This token has no permission for cloud agents.")
        if scheme != "Bearer" or token != world.token:
            raise Refusal(401, "Invalid API key or token.")  # api/facts.md, 3.2
        route, call.ids = find(request)
        return _once(call, route)
    except Refusal as refusal:
        return refused(world, request, refusal, conditions)


def find(request: Request) -> tuple[Route, list[str]]:
    """Return the route of a request and the ids in its path.

    Raises Refusal: 501 for what only the service has, 405 for another method, 404 otherwise.
    """
    segments = request.segments()
    near = _BY_FIRST.get(segments[0], ()) if segments else ()
    found = {route.method: (route, ids) for route in near if (ids := route.match(segments)) is not None}
    if request.method in found:
        return found[request.method]
    methods = {operation.method for operation in of_path(request.path.removeprefix(BASE_PATH))} if segments else set()
    if request.method in methods or request.path.startswith(FORWARD_PATH + "/"):
        raise Refusal(501, "the sandbox does not serve this operation")
    if methods or found:
        raise Refusal(405, "Method not allowed.")
    raise Refusal(404, "Not found.")


def where(request: Request) -> tuple[str, ...]:
    """Return the words that a fault may name this request by."""
    try:
        route = find(request)[0]
    except Refusal:
        return ()
    return ("stream",) if "events" in route.where and request.wants_stream else route.where


def refused(world: World, request: Request, refusal: Refusal, conditions: Conditions) -> Answer:
    """Return an error; older ones have no request_id (api/facts.md, 3.4)."""
    status, message = refusal.status, str(refusal)
    if "echo-token" in conditions:
        message += f" (Authorization: {request.headers.get('authorization', '')})"
    fallback = "invalid_request_error" if status < 500 else "api_error"
    error = {"type": refusal.type or ERROR_TYPES.get(status, fallback), "message": message}
    if refusal.param:
        error["param"] = refusal.param
    envelope: dict[str, object] = {"type": "error"}
    if world.generation == "current":
        envelope["request_id"] = request.id
    return _answer(world, request, status, {**envelope, "error": error})


def _answer(world: World, request: Request, status: int, reply: object) -> Answer:
    headers = {"content-type": "application/json", "x-request-id": request.id, **dated(world)}
    if isinstance(reply, Iterator):
        headers |= {"content-type": "text/event-stream", "cache-control": "no-cache"}
        return Answer(status, headers, stream=reply)
    if isinstance(reply, bytes):
        return Answer(status, {**headers, "content-type": "application/octet-stream"}, reply)
    return Answer(status, headers, encode(reply))


def dated(world: World) -> dict[str, str]:
    """Return the Date header, by the server's own clock."""
    return {"date": formatdate(world.now(), usegmt=True)}


def _once(call: Call, route: Route) -> Answer:
    """Perform the operation, once for an idempotency key (api/facts.md, 3.5)."""
    world, request, key = call.world, call.request, call.seen.key
    keyed = request.method == "POST" and key and world.honour_key and "no-idempotency" not in call.conditions
    asked = (request.path, call.said()) if keyed else None
    if keyed and key in world.answered:
        past, status, reply = world.answered[key]
        if past != asked:
            raise Refusal(409, "Idempotency key reused with a different request body.")
        call.seen.replayed = True
        return _answer(world, request, status, reply)
    reply = route.operation(call)
    if keyed and key:
        world.answered[key] = asked, call.status, reply
    return _answer(world, request, call.status, reply)
