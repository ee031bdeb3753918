"""`qoder deploy`: the contents page of its commands, each imported when it is typed."""

COMMANDS = {
    "run": "qoder_cli.commands.deploy_run:run",
    "list": "qoder_cli.commands.deploy_list:list_deployments",
    "get": "qoder_cli.commands.deploy_get:get",
    "create": "qoder_cli.commands.deploy_edit:create",
    "update": "qoder_cli.commands.deploy_edit:update",
    "apply": "qoder_cli.commands.deploy_apply:apply",
    "export": "qoder_cli.commands.deploy_export:export",
    "pause": "qoder_cli.commands.deploy_state:pause",
    "unpause": "qoder_cli.commands.deploy_state:unpause",
    "archive": "qoder_cli.commands.deploy_state:archive",
}
