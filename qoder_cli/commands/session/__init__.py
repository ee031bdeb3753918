"""`qoder session`: the contents page of its commands, written once for runs and sessions."""

COMMANDS = {
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
