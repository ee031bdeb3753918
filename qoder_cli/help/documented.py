"""What is told of the program beyond its commands, as data: exit codes, environment, output.

`qoder help` prints it as text and as JSON, and the README has tables of it.
"""

from typing import NamedTuple

from qoder_cli.base.errors import Exit

# What a script should do about an exit code.
THEN: dict[Exit, str] = {
    Exit.OK: "go on",
    Exit.RUN_FAILED: "look at why: `qoder run result last`, `qoder run logs last`",
    Exit.USAGE: "correct the command, file or environment",
    Exit.RUN_SKIPPED: "start it again when the other run has ended, or leave it (`--on-skip ok`)",
    Exit.AUTH: "give it a token that is accepted: `qoder auth status`",
    Exit.NOT_FOUND: "correct the id or the name",
    Exit.REJECTED: "do what the message says",
    Exit.UNAVAILABLE: "do it again later; nothing was started",
    Exit.NOT_YET: "ask again later, or wait: `qoder run wait`",
    Exit.OUTCOME_UNKNOWN: "do not repeat it; `qoder run wait last` looks for the run",
    Exit.LOST_SIGHT: "wait again: `qoder run wait last`",
    Exit.NEEDS_ANSWER: "answer it, then wait again: `qoder run wait last`",
    Exit.INTERNAL: "`qoder run wait last` settles whether a run was started; `--debug` shows where it broke",
    Exit.WAIT_TIMEOUT: "wait again: `qoder run wait last`",
    Exit.HUNG_UP: "wait again: `qoder run wait last`",
    Exit.INTERRUPTED: "wait again: `qoder run wait last`",
    Exit.CLOSED_PIPE: "nothing: whoever closed the pipe had enough",
    Exit.TERMINATED: "wait again: `qoder run wait last`",
}


class Named(NamedTuple):
    """A variable, a format or a key of JSON: its names, usually one, and what it is."""

    names: tuple[str, ...]
    meaning: str


def _named(*pairs: tuple[str, str]) -> tuple[Named, ...]:
    return tuple(Named(tuple(names.split(", ")), meaning) for names, meaning in pairs)


# What there is to read about, beside the commands. `commands.help` has its text and `reference` its data.
TOPICS = {
    "exit-codes": "what each exit code means, and which are safe to repeat",
    "environment": "the variables that are read",
    "output": "formats and keys, and what they promise",
}

VARIABLES = _named(
    ("QODER_PAT", "the token"),
    ("QODER_ACCESS_TOKEN", "the token, where QODER_PAT is not set"),
    ("QODER_PERSONAL_ACCESS_TOKEN", "the token, where neither of these is set; Qoder's own tools read it"),
    ("QODER_PAT_FILE", "a file that holds the token, where none of these is set"),
    ("QODER_PROFILE", "the profile of the config file, where there is no --profile"),
    ("QODER_BASE_URL", "the server"),
    ("QODER_MANAGED_BASE_URL", "the server, where QODER_BASE_URL is not set"),
    ("QODER_REGION", "the server by its region, global or cn, where no URL is set"),
    ("QODER_WORKSPACE_ID", "sent as qoder-workspace-id"),
    ("QODER_CONFIG", "the config file, instead of the usual place (qoder config path)"),
    ("QODER_STATE_DIR", "the folder of what is remembered: what was triggered, and what completion offers"),
    ("STATE_DIRECTORY", "the same, as systemd names it to a service, where QODER_STATE_DIR is not set"),
    ("QODER_READ_ONLY", "set to 1: refuse everything but reading"),
    ("QODER_NO_PROGRESS", "set to 1: nothing on stderr but warnings and errors"),
    ("QODER_BELL", "set to 1: the same as --bell"),
    ("QODER_NO_INPUT, CI", "set to 1 or anything but 0: never ask a question"),
    ("QODER_SANDBOX", "set by `qoder sandbox`; nothing inside reaches a real server or changes a real config"),
    (
        "GITHUB_ACTIONS",
        "true: with --ci GitHub Actions is told; with and without, nothing that others wrote becomes a command to its "
        "runner",
    ),
    ("GITHUB_OUTPUT, GITHUB_STEP_SUMMARY", "the files in which --ci tells it"),
    ("GITLAB_CI", "true: with --ci GitLab is told"),
    ("CI_PROJECT_DIR", "the folder of qoder.env, in which --ci tells it"),
    ("NO_COLOR", "no colours"),
    ("FORCE_COLOR", "colours also where there is no terminal; 0 is none"),
    ("TERM", "dumb: no colours, and nothing is drawn anew"),
    ("HTTPS_PROXY, ALL_PROXY", "a proxy, in small letters too"),
    ("NO_PROXY", "who is asked without it; loopback always is"),
    ("SSL_CERT_FILE, SSL_CERT_DIR", "certificates to trust"),
    (
        "XDG_CONFIG_HOME, XDG_STATE_HOME, XDG_DATA_HOME",
        "the folders of config, state and installed completion, where the system has them",
    ),
    ("HOME", "the home folder, in which they are otherwise"),
    ("PATH, PATHEXT", "where `sandbox --` finds its command, and `doctor` other programs of this name"),
    ("SHELL", "of which `doctor` looks for the completion"),
    ("FPATH, ZDOTDIR", "where zsh looks, for `completion zsh --install`"),
)

FORMATS = _named(
    (
        "table",
        "on a terminal a table in local time; in a pipe tab-separated, without header: `key<TAB>value` "
        "lines for one thing, a row a run for several",
    ),
    ("wide", "the same with every column, whole, however wide the terminal is"),
    ("json", "one document: an object for one thing named, an array for several or for -"),
    ("jsonl", "one object a line"),
    ("id", "only the id"),
)

RUN_KEYS = _named(
    ("id", "the run, drun_…"),
    ("type", "always deployment_run"),
    ("deployment_id", "its deployment, dep_…"),
    ("status", "pending, running, completed, failed or skipped; others may come"),
    ("error", "null, or an object of type and message: why it failed or never started"),
    ("session_id", "the session in which the agent works, sess_…, once there is one"),
    ("trigger_context", "an object whose type is manual, schedule or retry"),
    ("agent", "an object of id, type and version"),
    ("created_at", "when it was recorded"),
    ("triggered_at", "when it was triggered, where the server says so"),
    ("completed_at", "when it ended"),
    ("duration_ms", "how long it took, when it completed"),
    ("usage", "what its session used, total_credits among it, where it was read anyway"),
    ("cas_run_extras", "an object of attempt, turn_id and started_at, on older servers"),
    ("derived", "the keys that were filled in from its session; absent where none was"),
    ("adopted", "true when its trigger's answer was lost and it was found in the run list"),
    ("result", "the agent's final message or null; with --result and of `run result`"),
    ("files", "paths of what it delivered; of `run result --output-dir`"),
    ("events", "its session's events; of `run logs`, of several runs"),
)

ITEM_KEYS = _named(
    ("input", "the word that was typed, or read from standard input"),
    ("exit_code", "the exit code of this one alone; null when it was not attempted"),
    ("id", "the run or deployment, whose other keys stand beside; null when there is none"),
    ("error", "the error, with the keys of an error, when there is none"),
)

# What `deploy apply`, and `create` and `update` with --dry-run, print beside the keys of a deployment.
APPLY_KEYS = _named(
    (
        "action",
        "created, changed, unchanged, would_create, would_change, failed, not_attempted, or unknown where an answer "
        "was lost and reading back does not settle it",
    ),
    ("changes", "what differs: objects of path, before and after; what is absent is left out"),
    ("name", "the name, also of one that is not there yet"),
    ("id", "the deployment, null while there is none"),
    ("error", "the error, with the keys of an error, where it failed"),
    ("input", "the file and the line in it"),
    ("exit_code", "the exit code of this one alone; null when it was not attempted"),
)

DRY_RUN_KEYS = _named(
    ("dry_run", "true"),
    ("deployment", "the deployment, dep_…"),
    ("method, url, body", "the request that would be sent"),
    ("idempotency_key", "the key it would have"),
    ("token_from", "where the token comes from"),
    ("profile", "the profile of the config file"),
)

AUTH_STATUS_KEYS = _named(
    ("profile", "the profile of the config file"),
    ("base_url, base_url_source", "the server, and where that comes from"),
    ("token, token_source", "the end of the token, or null, and where it comes from"),
    ("workspace_id", "the workspace that is sent, or null"),
    ("accepted", "true or false; null where the server cannot be asked"),
    ("reason", "why it is not accepted, or null"),
)

CONFIG_KEYS = _named(("key", "profiles.NAME.KEY"), ("value", "what the config file says; of a token its end"))

FINDING_KEYS = _named(
    ("check", "what was looked at"),
    ("status", "ok, warning or failed"),
    ("found", "what was found"),
    ("fix", "what to do, or null"),
)

OPERATION_KEYS = _named(
    ("method, path", "the request, with the names of what to fill in"),
    ("id", "the operation's name"),
    ("kind", "what it answers"),
    ("query, body", "arrays of the names that it takes there"),
    ("required", "an array of those that it needs"),
)

EVENT_KEYS = _named(("run_id", "the run, in JSON lines of several runs"))

# What `deploy get` shows in a pipe, besides the fields of every deployment.
RECENT_FIELDS = ("recent_runs", "durations", "success_rate", "usual_duration")
# And `run get`, besides those of every run: a line for each outcome that was evaluated.
OUTCOME_FIELDS = ("outcome",)
# What `deploy apply` shows of each, in a pipe.
APPLY_COLUMNS = ("name", "id", "action", "changes", "file", "error")

ERROR_KEYS = _named(
    ("type", "the name of the exit code, or what is known beyond it"),
    ("exit_code", "the exit code"),
    ("message", "what happened"),
    ("hint", "what to do, or null"),
    ("next", "the command to type next as an array of words, or null"),
    ("run_id", "the run it is about, or null"),
    ("session_id", "its session, or null"),
    ("run_state", "none was started, it ended, it is going, or unknown"),
    ("api_type", "the server's word for the error, or null"),
    ("http_status", "the status of the server's answer, or null"),
    ("request_id", "the server's id of the request, or null"),
)

# What `--ci` tells: outputs of the step in GitHub Actions; in GitLab, as QODER_RUN_ID and so on, lines of qoder.env.
CI_KEYS = _named(
    ("run_id", "the run, before it is waited for"),
    ("session_id", "its session, as soon as it is known"),
    ("status", "the run's status; the name of the error where there is no run"),
    ("exit_code", "the exit code"),
    ("run_ids, session_ids, statuses, exit_codes", "of several: arrays, in the order of the input"),
)
