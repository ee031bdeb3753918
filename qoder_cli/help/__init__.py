"""What the program says of itself."""

import re

from qoder_cli.base.kinds import KINDS_OF_NOUNS

# Built by a loop: the start of every command comes by here.
_OF_THE_API: dict[str, tuple[str, str]] = {}
_PLURALS: dict[str, str] = {}
for _words, _kind in KINDS_OF_NOUNS.items():
    if _kind.about:
        _OF_THE_API[_words] = _kind.about, f"qoder_cli.commands.{_words}"
        _PLURALS[re.sub("ys$", "ies", f"{_words}s")] = _words

# Nouns, their line in completion and `qoder help commands`, and the module of their commands, or the one command.
NOUNS = {
    **_OF_THE_API,
    "apply": ("Make agents, deployments and all they need match a folder", "qoder_cli.commands.stack:apply"),
    "diff": ("Show what apply would change", "qoder_cli.commands.stack:diff"),
    "export": ("Write what is on the server as files for apply", "qoder_cli.commands.export:export"),
    "init": ("Start a folder for apply, with an example and CI", "qoder_cli.commands.init:init"),
    "schema": ("Print what a file may hold, or check files", "qoder_cli.commands.schema:schema"),
    "report": ("Tell what needs you, did not happen, failed", "qoder_cli.commands.report:report"),
    "usage": ("Add up what runs used, in credits", "qoder_cli.commands.usage:usage"),
    "policy": ("Rules that approve or deny an agent's calls", "qoder_cli.commands.policy"),
    "key": ("Idempotency keys: those used, here or on all machines", "qoder_cli.commands.key"),
    "auth": ("Log in, log out, show which token is in use", "qoder_cli.commands.auth"),
    "config": ("Read and edit the config file", "qoder_cli.commands.config"),
    "api": ("Call any API endpoint directly", "qoder_cli.commands.api:api"),
    "doctor": ("Diagnose setup problems", "qoder_cli.commands.doctor:doctor"),
    "sandbox": ("Run commands against a local fake server", "qoder_cli.commands.sandbox:sandbox"),
    "completion": ("Print or install shell completion", "qoder_cli.commands.completion:completion"),
    "help": ("Help topics: recipes, ci, approvals; for AI agents: agents", "qoder_cli.commands.help:help"),
}

# What agents are made of, with the same verbs: in `qoder --help`, which fits 24 lines, these
# share the line of the first.
# Left out there: an error, a page or the README names it where it is needed.
RARE = ("usage", "policy", "key", "config", "schema", "diff", "export", "init", "completion")
ALIKE = tuple(_OF_THE_API)[3:]


_FITS = 49  # characters of a line of help


def contents() -> dict[str, str]:
    """Return the lines of `qoder --help`: nouns, and what each is about."""
    listed = {noun: about for noun, (about, _) in NOUNS.items() if noun not in (*ALIKE[1:], *RARE)}
    alike = ", ".join(ALIKE[1:])
    if len(alike) > _FITS:
        alike = alike[:_FITS].rpartition(",")[0] + ", …"
    return {
        **listed,
        ALIKE[0]: f"Agents; likewise {alike}",
        "report": "Tell what needs you or failed; also usage",
        "apply": "Apply a folder of files; also init, diff, export",
        "auth": "Log in and out, show the token; also config",
    }


# What people type for commands: understood as what stands behind, and not shown.
# An alias is one only where it can mean nothing else, and asks what its command asks.
NOUNS_UNDERSTOOD = {
    **_PLURALS,
    **dict.fromkeys(("deployment", "deployments"), "deploy"),
    **dict.fromkeys(("environment", "environments"), "env"),
    "login": "auth login",
    "logout": "auth logout",
    "whoami": "auth status",
    "version": "--version",
}
VERBS_UNDERSTOOD = {  # in each group that has the command
    "ls": "list",
    **dict.fromkeys(("show", "view", "describe", "inspect"), "get"),
    "new": "create",
    **dict.fromkeys(("rm", "remove"), "delete"),
    "resume": "unpause",
    "log": "logs",
}
IN_GROUPS_UNDERSTOOD = {  # in this group alone
    "run": {"stop": "cancel"},
    "dream": {"stop": "cancel"},
    "session": {"create": "new", "threads": "thread list"},
    "memory": {"rm": "remove", "versions": "history"},  # a store is deleted, a memory in it is removed
}
