"""What the program says of itself: the contents page, topics, reference, suggestions, completion."""

# A noun, the module that has its commands, and its line in `qoder --help`.
NOUNS = {
    "deploy": ("qoder_cli.commands.deploy", "Run and manage deployments"),
    "run": ("qoder_cli.commands.run", "Inspect runs, read their logs, wait for them"),
    "session": ("qoder_cli.commands.session", "Start, list, change and end sessions, talk to their agents"),
    "model": ("qoder_cli.commands.model", "List the models that agents can use"),
    "auth": ("qoder_cli.commands.auth", "Log in, log out, show which token is in use"),
    "config": ("qoder_cli.commands.config", "Read and edit the config file"),
    "api": ("qoder_cli.commands.api", "Call any API endpoint directly"),
    "doctor": ("qoder_cli.commands.doctor", "Diagnose setup problems"),
    "sandbox": ("qoder_cli.commands.sandbox", "Run commands against a local fake server"),
    "completion": ("qoder_cli.commands.completion", "Print or install shell completion"),
    "help": ("qoder_cli.commands.help", "Help topics: commands, options, exit-codes, environment, output"),
}

# What people type for these, a noun and a verb below one; understood, and not shown.
NOUNS_UNDERSTOOD = {
    **dict.fromkeys(("deployment", "deployments"), "deploy"),
    "runs": "run",
    "sessions": "session",
    "models": "model",
    "login": "auth login",
    "logout": "auth logout",
    "whoami": "auth status",
}
VERBS_UNDERSTOOD = {
    "ls": "list",
    **dict.fromkeys(("show", "view", "describe", "inspect"), "get"),
    "resume": "unpause",
}
