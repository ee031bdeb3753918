"""`qoder session`: the contents page of its commands; those that runs have too are written once for both."""

from qoder_cli.commands import made, run
from qoder_cli.nouns.table import NOUNS

_THREAD = NOUNS["session thread"]

COMMANDS = {
    "new": "qoder_cli.commands.session.new:new",
    "chat": "qoder_cli.commands.session.chat:chat",
    "list": "qoder_cli.commands.session.list:list_sessions",
    "get": "qoder_cli.commands.session.get:get",
    "update": "qoder_cli.commands.session.update:update",
    "archive": "qoder_cli.commands.session.archive:archive",
    "delete": "qoder_cli.commands.session.archive:delete",
    "threads": made.list_command(_THREAD),
    "thread": ("Look at threads one by one, or archive them", made.commands("session thread")),
    "files": "qoder_cli.commands.session.files:files",
    **{verb: command for verb, command in run.COMMANDS.items() if verb not in ("list", "get")},
}
