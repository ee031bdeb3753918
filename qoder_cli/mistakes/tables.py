"""What people type who know other tools, and what does it here: tables, which `correct` goes by.

What they lead to is shown with the error, and never run. Where it is not sure what was meant nothing is rewritten: a
hint may name the choices instead.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from qoder_cli.http.pending import METHODS


class Foreign(NamedTuple):
    """A command as other tools have it: why it is another here, and which, by what is named behind it.

    X stands for what is named, `several` for runs where `run` takes one. `rest` takes whatever follows as it is; where
    there is `alone` too, only when something is named.
    """

    because: str
    alone: str = ""
    run: str = ""
    several: str = ""
    deployment: str = ""
    rest: str = ""


class Instead(NamedTuple):
    """An option as other tools have it, and what stands for it here: the first of `ours` that the command knows.

    X makes its value an argument, nothing leaves it out. `only_with` is an option that the command must know.
    """

    because: str
    ours: tuple[str, ...] = ("",)
    valued: bool = False
    only_with: str = ""


_AUTH = "that is a command of `auth`"
_OF_DEPLOY = "that is a command of `deploy`"
_OF_RUN = "that is a command of `run`"
_LOOK = Foreign("`get` shows it", run="run get X", deployment="deploy get X")
_LOGS = Foreign(
    "logs are those of a run; X@last is a deployment's newest, last the newest started here",
    alone="run logs last",
    run="run logs X",
    deployment="run logs X@last",
)
_WATCH = Foreign(
    "waiting is a command of `run`, and --follow shows what happens",
    alone="run wait last --follow",
    run="run wait X --follow",
    deployment="run wait X@last --follow",
)
_RESULT = Foreign(
    "`run result` prints the final message of one run, `run wait --result` those of several",
    alone="run result last",
    run="run result X",
    several="run wait X --result --json",
    deployment="run result X@last",
)
_STOP = Foreign("a run is cancelled", run="run cancel X")
_REMOVE = Foreign("a deployment is not deleted but archived, and that cannot be undone", deployment="deploy archive X")
_START = Foreign("a run is started by `deploy run`", deployment="deploy run X")
_SETUP = Foreign("a token is all that it needs", alone="auth login")
_RUNS = Foreign("`run list` shows what runs and what ran", alone="run list", deployment="run list X")

COMMANDS: dict[str, Foreign] = {
    "login": Foreign(_AUTH, alone="auth login"),
    "logout": Foreign(_AUTH, alone="auth logout"),
    "whoami": Foreign("`auth status` shows whose token is used", alone="auth status"),
    **dict.fromkeys(("init", "setup"), _SETUP),
    "configure": Foreign(
        "`config` changes the config file, `auth login` saves a token", alone="auth login", rest="config"
    ),
    **dict.fromkeys(("ps", "jobs", "history"), _RUNS),
    "runs": _RUNS,  # below a noun, as in `deploy runs`; else it is one
    **dict.fromkeys(("logs", "log", "tail", "events"), _LOGS),
    **dict.fromkeys(("watch", "follow", "attach"), _WATCH),
    "wait": Foreign(_OF_RUN, alone="run wait last", run="run wait X", deployment="run wait X@last"),
    **dict.fromkeys(("result", "output"), _RESULT),
    "download": Foreign("what a run delivered is fetched by `run result`", run="run result X --output-dir ."),
    **dict.fromkeys(("get", "show", "view", "describe", "inspect", "info", "status"), _LOOK),
    **dict.fromkeys(("stop", "kill", "abort", "cancel", "terminate"), _STOP),
    **dict.fromkeys(("rm", "delete", "remove", "destroy"), _REMOVE),
    **dict.fromkeys(("start", "trigger", "launch", "execute", "invoke"), _START),
    **dict.fromkeys(
        ("enable", "unpause", "resume"), Foreign("a deployment is unpaused", deployment="deploy unpause X")
    ),
    **dict.fromkeys(("disable", "pause"), Foreign("a deployment is paused", deployment="deploy pause X")),
    "archive": Foreign("that is a command of `deploy`, and cannot be undone", deployment="deploy archive X"),
    "export": Foreign(_OF_DEPLOY, deployment="deploy export X"),
    "create": Foreign(_OF_DEPLOY, rest="deploy create"),
    "update": Foreign(_OF_DEPLOY, rest="deploy update"),
    "apply": Foreign(_OF_DEPLOY, rest="deploy apply"),
    **{
        method: Foreign("the API's own operations are asked for with `api`", rest=f"api {method}") for method in METHODS
    },
    "version": Foreign("the version is an option", alone="--version"),
    **dict.fromkeys(("man", "docs"), Foreign("`help` has what there is to read", rest="help")),
}

# What a word can mean that stands for none of the commands alone.
UNSURE: dict[str, str] = {
    **dict.fromkeys(("list", "ls"), "`qoder deploy list` lists deployments, `qoder run list` runs"),
    **dict.fromkeys(("login", "init", "setup"), "`qoder auth login` asks for a token, which is never an argument"),
    "status": "`qoder run get RUN` shows how a run stands, `qoder auth status` which token is used",
    **dict.fromkeys(
        ("get", "show", "view", "describe", "inspect", "info"),
        "`qoder deploy get DEPLOYMENT` shows a deployment, `qoder run get RUN` a run",
    ),
    **dict.fromkeys(
        ("stop", "kill", "abort", "cancel", "terminate"),
        "`qoder run cancel RUN` ends a run, `qoder deploy pause DEPLOYMENT` stops a schedule",
    ),
    **dict.fromkeys(("rm", "delete", "remove", "destroy"), "a run cannot be deleted, and a deployment only archived"),
    **dict.fromkeys(
        ("retry", "rerun", "restart"),
        "a run is not repeated: `qoder deploy run DEPLOYMENT` starts another one",
    ),
}

# What can be meant by a deployment where a command should stand, and by a word that may be one or another tool's verb.
A_DEPLOYMENT = "`qoder deploy run DEPLOYMENT` starts a run, `qoder deploy get DEPLOYMENT` shows it"
A_WORD = "`qoder deploy run DEPLOYMENT` starts a run, `qoder run --help` lists what can be done with one"

_DETACH = Instead("it does not wait unless --wait is given", only_with="--wait")
_LIMIT = Instead("how many is -n", ("-n",), valued=True)
TOKEN_OPTIONS = ("--token", "--pat", "--api-key", "--access-token", "--auth-token")
_TOKEN = Instead(
    "a token is never an option, for others could read it: set QODER_PAT, or type it where `qoder auth login` asks",
    valued=True,
)
_OPERAND = Instead("it is named without an option", ("X",), valued=True)
_YES = Instead("it asks nothing", ("--yes", ""))
_SERVER = Instead("the server is --base-url", ("--base-url",), valued=True)

OPTIONS: dict[str, Instead] = {
    "--jq": Instead("jq picks from JSON: put | jq {value} behind the line", ("--json",), valued=True),
    **dict.fromkeys(
        ("--query", "--jmespath"),
        Instead("jq picks from JSON: put | jq and a filter behind the line", ("--json",), valued=True),
    ),
    **dict.fromkeys(("-L", "--max", "--max-results", "--max-items", "--first", "--page-size", "--per-page"), _LIMIT),
    **dict.fromkeys(("-n", "--lines"), Instead("how many is --tail", ("--tail",), valued=True)),
    "-a": Instead("all is --all", ("--all",)),
    "--watch": Instead("staying until the end is --wait", ("--wait", "--follow")),
    **dict.fromkeys(("-d", "--detach", "--no-wait", "--async", "--background"), _DETACH),
    **dict.fromkeys(TOKEN_OPTIONS, _TOKEN),
    **dict.fromkeys(
        ("-v", "-vv", "-vvv", "--verbose"), Instead("requests and answers are shown by --debug", ("--debug",))
    ),
    "-V": Instead("the version is --version", ("--version",)),
    **dict.fromkeys(("-y", "--yes"), _YES),
    "--force": Instead("what is asked is answered by --yes", ("--yes",)),
    **dict.fromkeys(("--deployment", "--deployment-id", "--run-id", "--id"), _OPERAND),
    **dict.fromkeys(("--url", "--host", "--endpoint", "--server"), _SERVER),
    "--state": Instead("a state is --status", ("--status",), valued=True),
}

# Options that turn one command into another.
MOVED: dict[tuple[str, str], Foreign] = {
    **{
        (path, option): Foreign("a run is followed to its end by `run wait`", run="run wait X --follow")
        for path in ("run get", "run result")
        for option in ("--watch", "--follow", "-f")
    },
    ("run get", "--wait"): Foreign("`run wait` waits", run="run wait X"),
    ("run result", "--wait"): Foreign("`run wait` waits", run="run wait X --result"),
    ("run wait", "--watch"): Foreign("what happens is shown by --follow", run="run wait X --follow"),
    ("run wait", "--wait"): Foreign("waiting is what it does", run="run wait X"),
}

# Options of which it is not known what was meant.
UNSURE_OPTIONS: dict[str, str] = {
    **dict.fromkeys(("--quiet", "--silent"), "-q prints only the id; --no-progress keeps standard error quiet"),
    **dict.fromkeys(
        ("--input", "--prompt", "--message", "--env"),
        "a run takes no input: what the agent does is said in its deployment",
    ),
}


def typed_tokens(words: Sequence[str]) -> list[str]:
    """Return what was typed as a token on a command line, wherever it stands; it is not to be repeated."""
    attached = [value for word in words for name, _, value in [word.partition("=")] if name in TOKEN_OPTIONS]
    return attached + [value for word, value in pairwise(words) if word in TOKEN_OPTIONS]
