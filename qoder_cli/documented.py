"""What is told of the program beyond its commands, as data: exit codes, environment, output.

`qoder help` prints it as text and as JSON, and the README has tables of it.
"""

from typing import NamedTuple

from qoder_cli.errors import Exit

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
    ("QODER_PAT", "the token; QODER_ACCESS_TOKEN is read too"),
    ("QODER_PAT_FILE", "a file that holds the token"),
    ("QODER_BASE_URL", "the server; QODER_MANAGED_BASE_URL is read too"),
    ("QODER_REGION", "global or cn"),
    ("QODER_WORKSPACE_ID", "sent as qoder-workspace-id"),
    ("QODER_CONFIG", "the config file, instead of the usual place (qoder config path)"),
    ("QODER_STATE_DIR", "the folder of the journal of triggers and of what completion remembers"),
    ("QODER_READ_ONLY=1", "refuse everything but reading"),
    ("QODER_NO_PROGRESS=1", "nothing on stderr but warnings and errors"),
    ("QODER_NO_INPUT=1, CI", "never ask a question"),
    ("QODER_SANDBOX", "set by `qoder sandbox --`; nothing inside can reach a real server"),
    ("GITHUB_ACTIONS, GITLAB_CI", "with --ci: the CI system that is told"),
    ("NO_COLOR, FORCE_COLOR", "colour, with TERM"),
    ("HTTPS_PROXY, ALL_PROXY", "a proxy; NO_PROXY names who is asked without it; loopback always is"),
    ("SSL_CERT_FILE, SSL_CERT_DIR", "certificates to trust"),
)

FORMATS = _named(
    (
        "table",
        "on a terminal a table in local time; in a pipe tab-separated, without header: `key<TAB>value` "
        "lines for one thing, a row a run for several",
    ),
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
    ("id", "the run, whose other keys stand beside; null when there is none"),
    ("error", "the error, with the keys of an error, when there is no run"),
)

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
