"""Habits from other tools: what is typed, and the hint. No hint names a command that takes something away."""

_LOGIN = "to save a token: `qoder auth login`"
_RUNS = "to list runs: `qoder run list`"
_LOGS = "to read the log of a run: `qoder run logs RUN`; DEPLOYMENT@last is the latest run of a deployment"
_WATCH = "to follow a run to its end: `qoder run wait RUN --follow`"
_STOP = "to end a run or stop a schedule, see: `qoder run --help`, `qoder deploy --help`"
_REMOVE = "nothing can be removed for good; see what can be done: `qoder deploy --help`"
_START = "to start a run: `qoder deploy run DEPLOYMENT`"
_PREVIEW = "to preview the changes of a file: `qoder deploy apply -f FILE --dry-run`"
_JQ = "pipe JSON to jq: --json | jq FILTER"

# An unknown command, alone or behind the noun where it means something else.
COMMANDS: dict[str, str] = {
    "version": "to print the version: `qoder --version`",
    **dict.fromkeys(("init", "configure"), _LOGIN),
    **dict.fromkeys(("ps", "history"), _RUNS),
    **dict.fromkeys(("log", "tail", "events", "deploy logs"), _LOGS),
    **dict.fromkeys(("watch", "follow"), _WATCH),
    "output": "to print the final message of a run: `qoder run result RUN`",
    "status": "to see the status of a run: `qoder run get RUN`; of your token: `qoder auth status`",
    **dict.fromkeys(("stop", "kill"), _STOP),
    **dict.fromkeys(("rm", "remove"), _REMOVE),
    **dict.fromkeys(("start", "trigger", "retry"), _START),
    **dict.fromkeys(("diff", "validate"), _PREVIEW),
    "edit": "to change a deployment: `qoder deploy update DEPLOYMENT`",
    "agent": "to list agents: `qoder api GET /agents`",
    "docs": "for the help topics: `qoder help`",
}

# Not understood either, and what is typed behind one is never repeated.
NO_TOKEN = (
    "tokens are not accepted on the command line, where others can read them: set QODER_PAT, or run `qoder auth login`"
)
TOKEN_OPTIONS = ("--token", "--pat", "--api-key", "--access-token", "--auth-token")

# An unknown option, whatever the command.
OPTIONS: dict[str, str] = {
    **dict.fromkeys(("--jq", "--query"), _JQ),
    "--watch": "to follow a run: `qoder run wait RUN --follow`, or start it with --follow",
    **dict.fromkeys(("-d", "--detach"), "drop it: qoder does not wait unless --wait is given"),
    **dict.fromkeys(("-L", "--max"), "to limit the rows, use -n"),
    **dict.fromkeys(("-v", "--verbose"), "for logs of requests and responses, use --debug"),
    "-V": "to print the version: `qoder --version`",
    **dict.fromkeys(("--input", "--prompt"), "drop it: runs take no input; the prompt is part of the deployment"),
    "--state": "did you mean --status?",
    "--failed": "did you mean --status failed?",
}

# A value that is not one of those that there are, and what was meant.
VALUES: dict[str, str] = {
    **dict.fromkeys(("success", "succeeded", "successful", "done", "ok"), "completed"),
    **dict.fromkeys(("error", "failure"), "failed"),
    **dict.fromkeys(("in_progress", "going"), "running"),
    "queued": "pending",
}
