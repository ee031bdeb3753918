"""The contents page: every noun of the command line, and what people type for some words of it."""

# A noun, the module that has its commands, and its line in `qoder --help`.
NOUNS = {
    "deploy": ("qoder_cli.commands.deploy", "Run deployments, and look at them"),
    "run": ("qoder_cli.commands.run", "Look at runs, and wait for their end"),
    "auth": ("qoder_cli.commands.auth", "Log in, log out, see which token is used"),
    "config": ("qoder_cli.commands.config", "Read and change the config file"),
    "api": ("qoder_cli.commands.api", "Ask for any operation of the API"),
    "doctor": ("qoder_cli.commands.doctor", "Look for what may be wrong"),
    "sandbox": ("qoder_cli.commands.sandbox", "Rehearse against a server on this machine"),
    "completion": ("qoder_cli.commands.completion", "Print or install shell completion"),
    "help": ("qoder_cli.commands.help", "Read about commands, exit codes, environment and output"),
}

# What people type for these, a noun and a verb below one; understood, and not shown.
NOUNS_UNDERSTOOD = {"deployment": "deploy", "deployments": "deploy", "runs": "run"}
VERBS_UNDERSTOOD = {
    "ls": "list",
    **dict.fromkeys(("show", "view", "describe", "inspect"), "get"),
    "resume": "unpause",
}
