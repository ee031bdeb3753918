"""What the program says of itself."""

# Nouns, their line in completion and `qoder help commands`, and the module of their commands, or the one command.
NOUNS = {
    "deploy": ("Run and manage deployments", "qoder_cli.commands.deploy"),
    "run": ("Inspect runs, read their logs, wait for them", "qoder_cli.commands.run"),
    "session": ("Start, list, change and end sessions, talk to their agents", "qoder_cli.commands.session"),
    "agent": ("Manage agents: their models, tools and instructions", "qoder_cli.commands.agent"),
    "env": ("Manage the environments that sessions run in", "qoder_cli.commands.env"),
    "file": ("Upload files, download what agents made", "qoder_cli.commands.file"),
    "vault": ("Keep secrets for agents", "qoder_cli.commands.vault"),
    "skill": ("Upload and manage skills", "qoder_cli.commands.skill"),
    "memory": ("Read and write what agents remember", "qoder_cli.commands.memory"),
    "dream": ("Have memories tidied up", "qoder_cli.commands.dream"),
    "model": ("List the models that agents can use", "qoder_cli.commands.model"),
    "key": ("Free an idempotency key whose start is in doubt", "qoder_cli.commands.key"),
    "auth": ("Log in, log out, show which token is in use", "qoder_cli.commands.auth"),
    "config": ("Read and edit the config file", "qoder_cli.commands.config"),
    "api": ("Call any API endpoint directly", "qoder_cli.commands.api:api"),
    "doctor": ("Diagnose setup problems", "qoder_cli.commands.doctor:doctor"),
    "sandbox": ("Run commands against a local fake server", "qoder_cli.commands.sandbox:sandbox"),
    "completion": ("Print or install shell completion", "qoder_cli.commands.completion:completion"),
    "help": ("Help topics: recipes, ci, approvals, exit-codes and more", "qoder_cli.commands.help:help"),
}

# What agents are made of, with the same verbs: in `qoder --help`, which fits 24 lines, these
# share the line of the first.
RARE = ("key",)  # left out there: an error names it where it is needed
ALIKE = ("agent", "env", "file", "vault", "skill", "memory", "dream", "model")


def contents() -> dict[str, str]:
    """Return the lines of `qoder --help`: nouns, and what each is about."""
    listed = {noun: about for noun, (about, _) in NOUNS.items() if noun not in (*ALIKE[1:], *RARE)}
    return {**listed, ALIKE[0]: f"Agents; likewise {', '.join(ALIKE[1:])}"}


# What people type for these; understood, and not shown.
NOUNS_UNDERSTOOD = {
    **dict.fromkeys(("deployment", "deployments"), "deploy"),
    "runs": "run",
    "sessions": "session",
    "agents": "agent",
    **dict.fromkeys(("environment", "environments"), "env"),
    "files": "file",
    "vaults": "vault",
    "skills": "skill",
    "dreams": "dream",
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
