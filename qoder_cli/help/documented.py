"""What `qoder help` and the README say beyond the commands, as data."""

import re
from typing import NamedTuple

from qoder_cli.base.errors import Exit

# What an exit code means.
MEANING = {
    Exit.OK: "success: the run was accepted or, with --wait, completed",
    Exit.RUN_FAILED: "the run failed or never started",
    Exit.USAGE: "invalid option, argument, file or config; nothing was sent",
    Exit.RUN_SKIPPED: "the run was skipped, or --if-idle found one running",
    Exit.AUTH: "missing or rejected token (401, 403)",
    Exit.NOT_FOUND: "no such deployment or run (404)",
    Exit.REJECTED: "the server refused (409 and every other 4xx)",
    Exit.UNAVAILABLE: "server unreachable or response invalid, and nothing was started. Of a check: something was"
    " unreadable",
    Exit.NOT_YET: "run get, run result: it is still running. diff: something would change. report, deploy check"
    " --exit-status: something needs you. usage --over: more was used",
    Exit.OUTCOME_UNKNOWN: "unknown whether it happened; check before repeating it",
    Exit.LOST_SIGHT: "lost track of the run; it may still be running",
    Exit.NEEDS_ANSWER: "the run waits for an answer from a person",
    Exit.INTERNAL: "internal error, or output could not be written",
    Exit.WAIT_TIMEOUT: "timed out; the run keeps running",
    Exit.HUNG_UP: "the terminal was closed (SIGHUP)",
    Exit.INTERRUPTED: "Ctrl-C; a run that was started keeps running",
    Exit.CLOSED_PIPE: "output pipe closed",
    Exit.TERMINATED: "SIGTERM; a run that was started keeps running",
}
# What a script should do about it.
_WAIT = "wait again: `qoder run wait last`"
THEN = {
    Exit.OK: "continue",
    Exit.RUN_FAILED: "see why: `qoder run result last`, `qoder run logs last`",
    Exit.USAGE: "correct the command, file or environment",
    Exit.RUN_SKIPPED: "start it later, or accept it (`--on-skip ok`)",
    Exit.AUTH: "check your token: `qoder auth status`",
    Exit.NOT_FOUND: "correct the id or the name",
    Exit.REJECTED: "follow the hint",
    Exit.UNAVAILABLE: "try again later",
    Exit.NOT_YET: "look, or wait: `qoder run wait`",
    Exit.OUTCOME_UNKNOWN: "do not repeat it; `qoder run wait last` looks for the run",
    Exit.LOST_SIGHT: _WAIT,
    Exit.NEEDS_ANSWER: "answer it, then wait again: `qoder run wait last`",
    Exit.INTERNAL: "look for a run: `qoder run wait last`; `--debug` prints a traceback",
    Exit.WAIT_TIMEOUT: _WAIT,
    Exit.HUNG_UP: _WAIT,
    Exit.INTERRUPTED: _WAIT,
    Exit.CLOSED_PIPE: "nothing",
    Exit.TERMINATED: _WAIT,
}


class Named(NamedTuple):
    """A variable, format or JSON key: its names, usually one, and the meaning."""

    names: tuple[str, ...]
    meaning: str


def _named(text: str) -> tuple[Named, ...]:
    """Parse lines of names, two spaces and a meaning."""
    rows = [re.split("  +", line, maxsplit=1) for line in text.strip().splitlines()]
    return tuple(Named(tuple(names.split(", ")), meaning) for names, meaning in rows)


# What there is to read about, beside the commands: made from the program itself, and written (files in `pages/`).
TOPICS = {
    "commands": "all commands",
    "options": "the global options",
    "exit-codes": "what each exit code means, and which are safe to repeat",
    "environment": "the variables that are read",
    "output": "formats and keys, and what they promise",
}
PAGES = {
    "recipes": "from a token to a nightly deployment; many runs at once; retries",
    "ci": "jobs for GitHub, GitLab, Kubernetes",
    "many-machines": "one idempotency key, one run, on every machine",
    "nightly": "the report of a night, sent by cron or CI",
    "approvals": "what to do when the agent asks",
    "agents": "for an AI agent that operates qoder",
    "policies": "rules in a file that decide while nobody is there",
    "sessions": "talk with an agent, with or without a deployment",
    "stack": "a whole folder: agents, deployments and all they need",
    "sandbox": "try everything against a local server",
    "guarantees": "what is promised, and what is not",
}

VARIABLES = _named("""
QODER_PAT  access token
QODER_ACCESS_TOKEN  access token, if QODER_PAT is not set
QODER_PERSONAL_ACCESS_TOKEN  access token, if neither is set; Qoder's own tools read it
QODER_PAT_FILE  file with the access token, if none of these is set
QODER_SA_KEY  key of a service account, exchanged for a token if none of these is set; needs a region
QODER_SA_KEY_FILE  file with that key, if QODER_SA_KEY is not set
QODER_PROFILE  profile of the config file, if --profile is not given; without it that of `auth switch`
QODER_BASE_URL  API base URL
QODER_MANAGED_BASE_URL  API base URL, if QODER_BASE_URL is not set
QODER_REGION  region (global or cn), if no URL is set
QODER_WORKSPACE_ID  workspace id to send
QODER_KEYS  store of idempotency keys that machines share: memstore_… or postgresql://…; required:STORE insists
QODER_CONFIG  config file, instead of the default (qoder config path)
QODER_STATE_DIR  folder for local state: the runs that were started, and the names and ids that were seen
STATE_DIRECTORY  the same, as systemd sets it for a service, if QODER_STATE_DIR is not set
QODER_REPO_TOKEN  token of the repositories that a session is given with --repo
QODER_READ_ONLY  set to 1: refuse everything but reading
QODER_ALLOW  what an agent may do with qoder: `read`, `run`, `answer` or `all` (`qoder help agents`)
QODER_NO_PROGRESS  set to 1: print only warnings and errors on stderr
QODER_BELL  set to 1: same as --bell
QODER_NO_INPUT, CI  set to 1 or anything but 0: never prompt
QODER_EVENT  set for the command of --notify: ended, asks or lost
QODER_SANDBOX  set by `qoder sandbox`; nothing inside reaches a real server or changes a real config or state
GITHUB_ACTIONS  true: --ci writes outputs and annotations of GitHub Actions
GITHUB_OUTPUT  file that --ci writes to
GITLAB_CI  true: --ci writes variables of GitLab
CI_PROJECT_DIR  folder of qoder.env, which --ci writes
NO_COLOR  disables colour
FORCE_COLOR  forces colour without a terminal; 0 disables it
TERM  dumb disables colour and live updates
HTTPS_PROXY, ALL_PROXY  proxy (lowercase names work too)
NO_PROXY  hosts that bypass the proxy; this machine always does
SSL_CERT_FILE, SSL_CERT_DIR  certificates to trust
XDG_CONFIG_HOME, XDG_STATE_HOME, XDG_DATA_HOME  folders of config, state and completion, on systems that have them
HOME  home folder, for the same without these
SHELL  shell that `completion --install` is for, if none is named
PATH, PATHEXT  where `sandbox --` and `doctor` look for programs
""")

FORMATS = _named("""
table  a table in local time on a terminal; tab-separated without a header in a pipe
wide  like table, with every column, however wide the terminal is
pretty  the table of a terminal in a pipe, too: for `watch` and mail
markdown  a Markdown table of every column: for comments and chats; of `diff`, the plan
csv  a header and the columns of a pipe, quoted as RFC 4180 says; reports and logs have none
html  one file for a browser, without scripts or network (mail it as an attachment); only of `report` and `usage`
json  one document: an object for a single id, an array for several ids, for `-` and for lists (`qoder schema output`)
jsonl  one object per line
yaml  one document with the same data as json
id  only the id
""")

# What --ci tells.
CI = _named("""
run_id  run id, before waiting begins
session_id  session id, as soon as it is known
status  status of the run, or the error's type
exit_code  the exit code
result  the agent's final message, cut at 10,000 characters; only in GitHub Actions, and not of several runs
run_ids  for several runs, in place of all but exit_code: an array in input order, before waiting begins
""")

# What `deploy get` shows in a pipe, besides the fields of every deployment.
RECENT_FIELDS = ("recent_runs", "durations", "success_rate", "usual_duration")
# And `run get`: a line for each outcome that was evaluated.
OUTCOME_FIELDS = ("outcome",)
# What `apply` and `diff` show of each, in a pipe.
APPLY_COLUMNS = ("kind", "name", "id", "action", "changes", "file", "error")
