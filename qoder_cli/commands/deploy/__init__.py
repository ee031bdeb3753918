"""`qoder deploy`: its commands, each imported when typed."""

COMMANDS = {
    "run": "qoder_cli.commands.deploy.run:run",
    "backfill": "qoder_cli.commands.deploy.backfill:backfill",
    "list": "qoder_cli.commands.deploy.state:list_deployments",
    "get": "qoder_cli.commands.deploy.state:get",
    "check": "qoder_cli.commands.deploy.check:check",
    "create": "qoder_cli.commands.deploy.edit:create",
    "update": "qoder_cli.commands.deploy.edit:update",
    "pause": "qoder_cli.commands.deploy.state:pause",
    "unpause": "qoder_cli.commands.deploy.state:unpause",
    "archive": "qoder_cli.commands.deploy.state:archive",
}
