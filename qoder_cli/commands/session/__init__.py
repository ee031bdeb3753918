"""`qoder session`: its commands, and those that runs have too."""

from qoder_cli.commands import made, run
from qoder_cli.nouns.table import NOUNS

_SESSION = NOUNS["session"]

COMMANDS = {
    "new": "qoder_cli.commands.session.new:new",
    "chat": "qoder_cli.commands.session.chat:chat",
    "list": made.list_command(_SESSION),
    "get": "qoder_cli.commands.session.get:get",
    "update": made.edit_command(_SESSION, "update"),
    "archive": made.change_command(_SESSION, "archive"),
    "delete": made.change_command(_SESSION, "delete"),
    "threads": made.list_command(NOUNS["session thread"]),
    "thread": ("Look at threads one by one, or archive them", made.commands("session thread")),
    "files": "qoder_cli.commands.session.files:files",
    **{verb: command for verb, command in run.COMMANDS.items() if verb not in ("list", "get")},
}
