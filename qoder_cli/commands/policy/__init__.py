"""`qoder policy`: rules for an agent's calls, checked and tested before they decide, and what they decided."""

COMMANDS = {
    "check": "qoder_cli.commands.policy.check:check",
    "test": "qoder_cli.commands.policy.test:try_out",
    "log": "qoder_cli.commands.policy.log:log",
}
