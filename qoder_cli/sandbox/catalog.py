"""What sessions are made of, as far as it is needed to make one: agents, environments and files (api/facts.md, 4)."""

import json
from email.message import EmailMessage, Message
from email.parser import BytesParser
from email.policy import HTTP
from operator import itemgetter
from typing import cast

from qoder_cli.sandbox.call import Call, Reply, Route
from qoder_cli.sandbox.records import ENVIRONMENT
from qoder_cli.sandbox.shapes import Shape, stamp
from qoder_cli.sandbox.wire import Refusal, Request, invalid

# By their names. Each has whatever version is asked for, and behaves as the demo.
AGENTS = {"writer": "agent_writer", "reviewer": "agent_reviewer"}


def _agent(call: Call, id: str) -> Shape:
    name = next((name for name, known in AGENTS.items() if known == id), id)
    return {"id": id, "type": "agent", "name": name, "version": call.world.latest_version(id), "archived_at": None}


def _get_agent(call: Call) -> Reply:
    # Whatever it is called: only its latest version matters here.
    [id] = call.ids
    return _agent(call, id)


def _list_agents(call: Call) -> Reply:
    return call.page([_agent(call, id) for id in AGENTS.values()], dict, name=itemgetter("id"))


def _list_environments(call: Call) -> Reply:
    only = {"id": ENVIRONMENT, "type": "environment", "name": "default", "archived_at": None}
    return call.page([only], dict, name=itemgetter("id"))


def _upload_file(call: Call) -> Reply:
    fields = _form(call.request)
    if "file" not in fields:
        raise invalid("file is required.", "file")
    content = cast(bytes, fields["file"].get_payload(decode=True) or b"")
    texts = {name: str(part.get_payload()) for name, part in fields.items() if name != "file"}
    made: Shape = {
        "id": call.world.new_id("file"),
        "type": "file",
        "filename": texts.get("name") or fields["file"].get_filename(),
        "mime_type": fields["file"].get_content_type(),
        "size_bytes": len(content),
        "downloadable": False,
        "scope": None,
        "metadata": json.loads(texts.get("metadata", "{}")),
        "created_at": stamp(call.now),
    }
    call.world.files[made["id"]] = made
    return made


def _form(request: Request) -> dict[str, Message]:
    """Return the parts of a form by their names. Raises Refusal for a body that is none."""
    kind = request.headers.get("content-type", "").encode()
    form = BytesParser(EmailMessage, policy=HTTP).parsebytes(b"content-type: " + kind + b"\r\n\r\n" + request.body)
    if not form.is_multipart():
        raise invalid("The body must be multipart/form-data.")
    named = {part.get_param("name", header="content-disposition"): part for part in form.iter_parts()}
    return {str(name): part for name, part in named.items()}


def _list_files(call: Call) -> Reply:
    name = call.query.one("name")
    return call.page(
        call.world.files.values(),
        dict,
        keep=lambda file: name in (None, file["filename"]),
        name=itemgetter("id"),
    )


def _get_file(call: Call) -> Reply:
    if (file := call.world.files.get(call.ids[0])) is None:
        raise Refusal(404, "File not found.")
    return file


ROUTES = (
    Route("GET", "agents", ("agent",), _list_agents),
    Route("GET", "agents/{}", ("agent",), _get_agent),
    Route("GET", "environments", ("environment",), _list_environments),
    Route("POST", "files", ("upload", "write"), _upload_file),
    Route("GET", "files", ("file",), _list_files),
    Route("GET", "files/{}", ("file",), _get_file),
)
