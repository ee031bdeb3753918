"""`qoder run`: the contents page of its commands, each imported when it is typed."""

COMMANDS = {
    "list": "qoder_cli.commands.run_list:list_runs",
    "get": "qoder_cli.commands.run_get:get",
    "wait": "qoder_cli.commands.run_wait:wait",
    "logs": "qoder_cli.commands.run_logs:logs",
    "result": "qoder_cli.commands.run_result:result",
    "cancel": "qoder_cli.commands.run_cancel:cancel",
}
