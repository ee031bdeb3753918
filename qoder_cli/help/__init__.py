"""What the program says of itself."""

# Nouns, the module of their commands, and their line in `qoder --help`.
NOUNS = {
    "deploy": ("qoder_cli.commands.deploy", "Run and manage deployments"),
    "run": ("qoder_cli.commands.run", "Inspect runs, read their logs, wait for them"),
    "session": ("qoder_cli.commands.session", "Start, list, change and end sessions, talk to their agents"),
    "agent": ("qoder_cli.commands.agent", "Manage agents: their models, tools and instructions"),
    "env": ("qoder_cli.commands.env", "Manage the environments that sessions run in"),
    "file": ("qoder_cli.commands.file", "Upload files, download what agents made"),
    "vault": ("qoder_cli.commands.vault", "Keep secrets for agents"),
    "skill": ("qoder_cli.commands.skill", "Upload and manage skills"),
    "memory": ("qoder_cli.commands.memory", "Read and write what agents remember"),
    "dream": ("qoder_cli.commands.dream", "Have memories tidied up"),
    "model": ("qoder_cli.commands.model", "List the models that agents can use"),
    "auth": ("qoder_cli.commands.auth", "Log in, log out, show which token is in use"),
    "config": ("qoder_cli.commands.config", "Read and edit the config file"),
    "api": ("qoder_cli.commands.api", "Call any API endpoint directly"),
    "doctor": ("qoder_cli.commands.doctor", "Diagnose setup problems"),
    "sandbox": ("qoder_cli.commands.sandbox", "Run commands against a local fake server"),
    "completion": ("qoder_cli.commands.completion", "Print or install shell completion"),
    "help": ("qoder_cli.commands.help", "Help topics: commands, options, exit-codes, environment, output"),
}

# What agents are made of, with the same verbs: these share a line, that of the first.
ALIKE = ("agent", "env", "file", "vault", "skill", "memory", "dream", "model")
ALIKE_TOLD = "Agents; likewise env, file, vault, skill, memory, dream, model"

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
