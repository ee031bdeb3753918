"""`qoder session`: the contents page of its commands; those that runs have too are written once for both."""

COMMANDS = {
    "new": "qoder_cli.commands.session.new:new",
    "chat": "qoder_cli.commands.session.chat:chat",
    "list": "qoder_cli.commands.session.list:list_sessions",
    "get": "qoder_cli.commands.session.get:get",
    "update": "qoder_cli.commands.session.update:update",
    "archive": "qoder_cli.commands.session.archive:archive",
    "delete": "qoder_cli.commands.session.archive:delete",
    "threads": "qoder_cli.commands.session.threads:threads",
    "files": "qoder_cli.commands.session.files:files",
    "wait": "qoder_cli.commands.run.wait:wait",
    "logs": "qoder_cli.commands.run.logs:logs",
    "result": "qoder_cli.commands.run.result:result",
    "cancel": "qoder_cli.commands.run.cancel:cancel",
    "pending": "qoder_cli.commands.run.pending:pending",
    "approve": "qoder_cli.commands.run.approve:approve",
    "deny": "qoder_cli.commands.run.deny:deny",
    "answer": "qoder_cli.commands.run.answer:answer",
    "send": "qoder_cli.commands.run.send:send",
}
