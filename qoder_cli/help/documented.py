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
    Exit.UNAVAILABLE: "server unreachable or response invalid, and nothing was started; or not everything could be read"
    " (report or deploy check --exit-status, usage --over)",
    Exit.NOT_YET: "still running (run get --exit-status, run result), changes pending (diff), something"
    " to look at (report or deploy check --exit-status), or more used than asked about (usage --over)",
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
    Exit.RUN_SKIPPED: "start a new run when the other one has finished, or accept it (`--on-skip ok`)",
    Exit.AUTH: "check your token: `qoder auth status`",
    Exit.NOT_FOUND: "correct the id or the name",
    Exit.REJECTED: "follow the hint",
    Exit.UNAVAILABLE: "try again later",
    Exit.NOT_YET: "check again later, or wait: `qoder run wait`",
    Exit.OUTCOME_UNKNOWN: "do not repeat it; `qoder run wait last` looks for the run",
    Exit.LOST_SIGHT: _WAIT,
    Exit.NEEDS_ANSWER: "answer it, then wait again: `qoder run wait last`",
    Exit.INTERNAL: "check whether a run was started: `qoder run wait last`; `--debug` prints a traceback",
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


def _sections(text: str) -> dict[str, tuple[Named, ...]]:
    """Parse such lines under titles (`TITLE:`), separated by blank lines."""
    parts = (part.partition(":\n") for part in text.strip().split("\n\n"))
    return {title: _named(lines) for title, _, lines in parts}


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
    "comparison": "beside curl, the SDK, gh, prefect and kubectl",
    "api": "what is known of the API, with sources",
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
json  one document: an object for a single id, an array for several ids, for `-` and for lists
jsonl  one object per line
yaml  one document with the same data as json
id  only the id
""")

# Keys of JSON by object; those of a deployment are the server's. `item` adds what each
# of several has, `apply` what `apply` and `diff` do.
KEYS = _sections("""
run:
id  run id, drun_…
type  always deployment_run
deployment_id  deployment id, dep_…
deployment_name  the deployment's name, if the server sent it or this machine has seen it
status  pending, running, completed, failed or skipped; more may be added
error  why it failed or never started: null, or an object with type and message
session_id  session id, sess_…, once there is one
trigger_context  an object whose type is manual, schedule or retry
agent  an object with id, type and version
created_at  when it was created
triggered_at  when it was triggered, if the server says so
completed_at  when it ended
duration_ms  how long it took, when it completed
elapsed_ms  from its trigger to its end, however it ended; missing where its times do not tell
usage  the session's usage (e.g. total_credits), if it was read; of many runs `session list` has it, never `run list`
cas_run_extras  attempt, turn_id and started_at, on older servers
derived  the keys that were filled in: from its session, its times, or what this machine has seen
adopted  true if the run was found in the run list after a lost response
retry_of  the run that was started once more with this one, by `run retry` on this machine
result  the agent's final message or null, with --result and `run result`
files  paths of downloaded files, with `run result -O DIR`
events  its session's events, with `run logs` of several runs

check:
deployment_id, deployment_name  the deployment
finding  a word for what was found, e.g. environment_archived; unread is what could not be read; more may be added
weight  problem (the next run fails or never comes), warning (it may) or note
says  the same for people
fix  the command that mends it, as an array of words; those in capitals are for you to fill in

usage:
by, key, name  what is added up, its id or word (null for what has none), and its name if that is known
runs  how many runs; null where runs may not be read
completed, failed, skipped, going, unknown  how they ended; unknown where nobody can tell
success_percent  completed runs of those that completed or failed, rounded down, or null
p50_ms, p95_ms  how long completed runs took: half of them at most so long, and 95 of 100
credits  the least that was used, an exact decimal; null where no session says
credits_per_run  credits by the runs that have them, rounded down to two places
dearest  the session that used most: an object with session_id and credits, or null
sessions  how many sessions
credits_unknown  sessions that do not say what they used, or are gone
growing  sessions that are still running

pending:
run, session, deployment  ids; run is null unless one was named, or this machine has seen whose session it is
run_id, session_id, deployment_id  the same
deployment_name  the deployment's name, if this machine has seen it
call  id of the call, evt_…
kind  tool, mcp or custom; null if the call cannot be read (unreadable in a table)
name  the tool; in a table with its server, as server/tool
mcp_server_name  its MCP server, or null
thread  thread of the sub-agent that called it, or null
input  all of it; at most 100 characters in a table
length  of its input in one line, in characters
asked, asked_at  when it was made
credits  what its session has used
number  its place among the calls of its session
input_sha256  SHA-256 of the object with kind, name, mcp_server_name, thread and input as JSON (keys sorted, no spaces)
answer  the commands that answer it, each as an array of words; no column
policy  with --policy: an object with the keys `answer`, line, rule and why of policy_test

policy_check:
file, sha256  the policy, and the SHA-256 of what is in it
deployments  those that it names
rules  each rule: an object with line, rule, says (what it means) and warnings (what it opens that it does not say)
opens  in a table: the warnings

policy_test:
answer  allow, deny, or ask: left for a person
calls, runs  how many calls of past runs that is about, and how many runs had them
line, rule  the rule that decides, or null
example  the first of these calls
group  the command or tool of calls that are left for a person, or null
why  why it is left for a person, or null
case, expected  with --call and --expect: the place in the file, and what it expects, or null

policy_log:
at  when it was decided
run, session, call  ids; run is null where only the session was named
call_sha256  the input_sha256 of the call, as of pending
asked_by  id of the event that asked
name, input  the tool, and the beginning of its input in one line
answer  allow or deny
rule, line  the rule that decided
file, policy_sha256  the policy, and the SHA-256 of what was in it
state  sending, sent or gone

item:
input  the word that was typed, or read from stdin
exit_code  exit code of this item; null if it was not attempted
id  run or deployment id, with its other keys; null if there is none
error  the error, if there is no run or deployment

error:
type  name of the exit code, e.g. run_failed
exit_code  the exit code
message  what happened
hint  what to do, or null
next  suggested next command as an array of words, or null
run_id  run id or null
session_id  session id or null
run_state  one of none (nothing started), ended, going or unknown
api_type  error type reported by the API, or null
http_status  status of the response, or null
request_id  request id reported by the API, or null

ci:
run_id  run id, before waiting begins
session_id  session id, as soon as it is known
status  status of the run, or the error's type
exit_code  the exit code
result  the agent's final message, cut at 10,000 characters; only in GitHub Actions, and not of several runs
run_ids  for several runs, in place of all but exit_code: an array in input order, before waiting begins

apply:
action  created, changed, unchanged, archived, deleted, the same with would_, failed, not_attempted or unknown
changes  what differs: objects with path, before and after
kind  what it is, with `apply` and `diff`
name  its name
id  its id, null while there is none
version  its version, if it has one
file  the file that declares it
remarks  what a reader of the plan should know
error  the error, if it failed
input  file and line; null for what was typed
exit_code  exit code of this item; null if it was not attempted

dry_run:
dry_run  true
deployment  deployment id, dep_…
method, url, body  the request that would be sent
idempotency_key  its idempotency key
token_from  where the token comes from
profile  the profile of the config file
error  why it would be refused, if it would

auth_status:
profile  the profile of the config file
base_url, base_url_source  API base URL, and where it comes from
token, token_source  end of the token or null, and where it comes from
workspace_id  workspace id or null
accepted  true or false; null if the server cannot be reached
reason  why not, or null

config_list:
key  profiles.NAME.KEY
value  the value (tokens: last characters only)

doctor:
check  name of the check
status  ok, warning or failed
found  what was found
fix  what to do, or null

report:
since, until  the time that it covers, on the server's clock
verdict  a sentence where all is well, else null
deployments, runs, fires  how many were looked at; fires are those that were judged
not_decided  fires and runs that cannot be judged yet
needs_you  kind waits (run, session, since, calls), paused (error_type, message, then) or credential (run, message)
did_not_happen  kind missed, late, twice or stray (due, came, run, runs), counted (due, came), skipped or not_started
failed  for each deployment and error: failed, runs, error_type, message, in_a_row, run (the newest) and run_ids
did_nothing  run, completed
paused  schedules that a person paused: since, message
cannot_tell  kind (changed, paused, unknown, …), message, until, detail and run; or problem, with what and message
ran  for each deployment: runs, runs_before, completed, failed, skipped, running, unknown, median_ms, p95_ms, credits
next  for each deployment: first, and how many fires in as long a time
problems  what was not read, or not whole: what and message
reader, began  with --new: who reads it, and when the first report began; else null
kind, deployment, deployment_name, next  of each thing: what it is, whose, and the command to type next as words

api_list:
method, path  the request, with placeholders
id  operation id
kind  response kind: model, page, stream or binary
query, body  arrays of names it accepts
required  array of names it requires
command  the command that does the same, as an array of words

event:
run_id  run id, in JSON lines of several runs
""")

# What `deploy get` shows in a pipe, besides the fields of every deployment.
RECENT_FIELDS = ("recent_runs", "durations", "success_rate", "usual_duration")
# And `run get`: a line for each outcome that was evaluated.
OUTCOME_FIELDS = ("outcome",)
# What `apply` and `diff` show of each, in a pipe.
APPLY_COLUMNS = ("kind", "name", "id", "action", "changes", "file", "error")
