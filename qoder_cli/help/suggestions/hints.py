"""Habits from other tools, and what does it here: what is typed, and the hint.

A hint never names a command that takes something away or cannot be undone, and no hint is ever run.
"""

_LOGIN = "`qoder auth login` saves a token"
_RUNS = "`qoder run list` shows what runs and what ran"
_LOGS = "`qoder run logs RUN` shows what a run does; DEPLOYMENT@last is the newest run of a deployment"
_WATCH = "`qoder run wait RUN --follow` follows a run to its end"
_STOP = "`qoder run --help` has what ends a run, `qoder deploy --help` what stops a schedule"
_REMOVE = "nothing is removed for good: `qoder deploy --help` has what can be done with a deployment"
_START = "`qoder deploy run DEPLOYMENT` starts a run"
_LIMIT = "-n says how many"
_DETACH = "leave it out: nothing is waited for unless --wait is given"

# An unknown command, alone or behind the noun where it means something else.
COMMANDS: dict[str, str] = {
    "version": "`qoder --version` prints it",
    "whoami": "`qoder auth status` shows whose token is used",
    **dict.fromkeys(("init", "configure"), _LOGIN),
    **dict.fromkeys(("ps", "history"), _RUNS),
    **dict.fromkeys(("log", "tail", "events", "deploy logs"), _LOGS),
    **dict.fromkeys(("watch", "follow"), _WATCH),
    "output": "`qoder run result RUN` prints the final message of a run",
    "status": "`qoder run get RUN` shows how a run stands, `qoder auth status` which token is used",
    **dict.fromkeys(("stop", "kill"), _STOP),
    **dict.fromkeys(("rm", "remove"), _REMOVE),
    **dict.fromkeys(("start", "trigger", "retry"), _START),
    "docs": "`qoder help` has what there is to read",
}

# Not understood either, and what is typed behind one is never repeated.
NO_TOKEN = "a token is never an option, because others could read it: set QODER_PAT, or run `qoder auth login`"
TOKEN_OPTIONS = ("--token", "--pat", "--api-key", "--access-token", "--auth-token")

# An unknown option, whatever the command.
OPTIONS: dict[str, str] = {
    "--jq": "jq picks from JSON: --json | jq FILTER",
    "--query": "jq picks from JSON: --json | jq FILTER",
    "--watch": "`qoder run wait RUN --follow` follows a run, `qoder deploy run DEPLOYMENT --follow` starts one too",
    **dict.fromkeys(("-d", "--detach"), _DETACH),
    **dict.fromkeys(("-L", "--max"), _LIMIT),
    **dict.fromkeys(("-v", "--verbose"), "--debug shows requests and answers"),
    "-V": "`qoder --version` prints the version",
    "--quiet": "-q prints only the id; --no-progress keeps standard error quiet",
    **dict.fromkeys(("--input", "--prompt"), "a run takes no input: what the agent does is said in its deployment"),
    "--state": "--status takes a state",
}
