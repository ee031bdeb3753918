"""`qoder run`: its commands, each imported when typed."""

COMMANDS = {
    "list": "qoder_cli.commands.run.list:list_runs",
    "get": "qoder_cli.commands.run.get:get",
    "wait": "qoder_cli.commands.run.wait:wait",
    "logs": "qoder_cli.commands.run.logs:logs",
    "why": "qoder_cli.commands.run.why:why",
    "result": "qoder_cli.commands.run.result:result",
    "retry": "qoder_cli.commands.run.retry:retry",
    "cancel": "qoder_cli.commands.run.cancel:cancel",
    "pending": "qoder_cli.commands.run.pending:pending",
    "approve": "qoder_cli.commands.run.replies:approve",
    "deny": "qoder_cli.commands.run.replies:deny",
    "answer": "qoder_cli.commands.run.replies:answer",
    "send": "qoder_cli.commands.run.replies:send",
}
