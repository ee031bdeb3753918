"""The API of the service, strictly as documented, without I/O."""

import json
import math
import secrets
from collections.abc import Iterator
from email.utils import formatdate
from functools import lru_cache
from urllib.parse import unquote

from qoder_cli.nouns.table import Operation, of_path
from qoder_cli.sandbox import catalog as catalog  # each of these registers its kinds
from qoder_cli.sandbox import contents
from qoder_cli.sandbox import sessions as sessions
from qoder_cli.sandbox.kinds import SERVED, Conditions, OperationCall, Reply
from qoder_cli.sandbox.wire import BASE_PATH, BLOBS, Refusal, Request, WireResponse, encode, unknown_field
from qoder_cli.sandbox.world import World

EXCHANGE = "/api/v1/serviceToken/exchange"  # api.md#tokens
SERVICE_KEY = "sak-sandbox-0123456789"
_LONGEST = 43_200  # seconds that a token may live

ERROR_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large_error",
    429: "rate_limit_error",
    501: "feature_not_available",
    529: "overloaded_error",
}

_SEARCH = "/search"  # operations that are not served here, whose path is like that of an object

_of_path = lru_cache(1000)(of_path)
_METHODS = {"list": "page", "retrieve_metadata": "retrieve"}  # of a kind, where called otherwise


def perform(world: World, request: Request, now: float, conditions: Conditions) -> WireResponse:
    """Return the answer to a request that acts at `now`."""
    try:
        if request.path.startswith(BLOBS + "/") and request.method == "GET":
            return _answer(world, request, 200, contents.fetched(world, request))
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if request.path == EXCHANGE and request.method == "POST":
            return _answer(world, request, 200, _exchanged(world, request, token, now))
        if scheme != "Bearer" or (token != world.token and world.service_tokens.get(token, 0.0) <= now):
            raise Refusal(401, "Invalid API key or token.")  # api.md#tokens
        return _once(OperationCall(world, request, *find(request), now, conditions))
    except Refusal as refusal:
        return refused(world, request, refusal)


def _exchanged(world: World, request: Request, key: str, now: float) -> dict[str, object]:
    if key != SERVICE_KEY:
        raise Refusal(401, "Invalid service account key.")
    try:
        wanted = json.loads(request.body)
        ttl = wanted["ttl_seconds"]
        is_fit = wanted["grant_type"] == "client_credentials" and wanted["scope"] == "qca.access"
    except (ValueError, KeyError, TypeError):
        raise Refusal(400, "The body must have grant_type, scope and ttl_seconds.") from None
    if not is_fit or not isinstance(ttl, int) or not 1 <= ttl <= _LONGEST:
        raise Refusal(400, f"ttl_seconds must be from 1 to {_LONGEST}.")
    token = f"eyJzYW5kYm94.{secrets.token_hex(16)}.{len(world.service_tokens)}"
    world.service_tokens[token] = now + ttl
    return {"access_token": token, "token_type": "Bearer", "expires_in": ttl}


def find(request: Request) -> tuple[Operation, list[str]]:
    """Return a request's operation and the ids in its path.

    Raises Refusal: 501, for a 404 or 405 would say that the API has no such operation, and it has more than these
    (api.md#operations).
    """
    path = request.path.removeprefix(BASE_PATH)
    for operation in _of_path(path) if path != request.path else ():
        if operation.method == request.method and not path.endswith(_SEARCH):
            parts = zip(operation.path.split("/"), path.split("/"), strict=True)
            return operation, [unquote(word) for part, word in parts if part.startswith("{")]
    raise Refusal(501, f"The sandbox does not serve {request.method} {request.path}.")


def where(request: Request) -> tuple[str, ...]:
    """Return the words that a fault may name this request by."""
    try:
        operation = find(request)[0]
    except Refusal:
        return ()
    what, _, verb = operation.id.rpartition(".")
    is_write, type = operation.method != "GET", SERVED[what].layout.type
    if operation.id == "deployments.run":
        return ("trigger",)
    if type == "deployment_run":
        if verb == "list":
            return ("list",)
        return ("run",)
    if type == "event":
        if is_write:
            return ("send",)
        if verb == "stream" or request.wants_stream:
            return ("stream",)
        return ("events",)
    if type.startswith("session"):
        return ("session-write", "session") if is_write else ("session",)
    return (verb, "write", type) if is_write else (type,)


def refused(world: World, request: Request, refusal: Refusal) -> WireResponse:
    """Return an error; older ones have no request_id (api.md#errors)."""
    status, message = refusal.status, str(refusal)
    fallback = "invalid_request_error" if status < 500 else "api_error"
    error = {"type": refusal.type or ERROR_TYPES.get(status, fallback), "message": message}
    if refusal.param:
        error["param"] = refusal.param
    envelope: dict[str, object] = {"type": "error"}
    if world.generation == "current":
        envelope["request_id"] = request.id
    return _answer(world, request, status, {**envelope, "error": error})


def _answer(world: World, request: Request, status: int, reply: object) -> WireResponse:
    headers = {"content-type": "application/json", "x-request-id": request.id, **dated(world)}
    if isinstance(reply, Iterator):
        headers |= {"content-type": "text/event-stream", "cache-control": "no-cache"}
        return WireResponse(status, headers, stream=reply)
    if isinstance(reply, bytes):
        return WireResponse(status, {**headers, "content-type": "application/octet-stream"}, reply)
    return WireResponse(status, headers, encode(reply))


def dated(world: World) -> dict[str, str]:
    """Return the Date header, by the server's own clock."""
    return {"date": _date(math.floor(world.now()))}


@lru_cache(10)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)


def _once(call: OperationCall) -> WireResponse:
    """Do the operation, once per idempotency key (api.md#idempotency)."""
    world, request, key = call.world, call.request, call.request.key
    if request.method == "POST" and key and world.honour_key:
        asked: tuple[str, object] = request.path, request.body
        if not request.headers.get("content-type", "").startswith("multipart/"):
            asked = request.path, call.body()
        if key not in world.answered:
            reply = _act(call)
            world.answered[key] = asked, call.status, reply
        past, call.status, reply = world.answered[key]
        if past != asked:
            raise Refusal(409, "Idempotency key reused with a different request body.")
    else:
        reply = _act(call)
    return _answer(world, request, call.status, reply)


def _act(call: OperationCall) -> Reply:
    """Do the operation. Raises Refusal if what holds the thing is missing."""
    what, _, verb = call.operation.id.rpartition(".")
    steps = what.split(".")
    for length in range(1, len(steps)):
        SERVED[".".join(steps[:length])].find(call)
    kind = SERVED[what]
    kind.guard(call)
    if call.request.method == "POST" and not call.operation.body:
        for name in call.body():
            raise unknown_field(name, name)
    reply: Reply = getattr(kind, _METHODS.get(verb, verb))(call)
    return reply
