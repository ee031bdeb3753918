"""Command lines that are refused for what is typed: with exit 2, before anything is sent."""

import re
import shlex

import pytest

from tests.conftest import TOKEN, Qoder
from tests.support.wire import page

LONG = "x" * 300
GET = "qoder api GET /deployments"
ONE = "deploy run dep_1"
NEW = "deploy create --name weekly --agent agent_1 --env env_1 -m Report."
NO_TIMES = ["--timeout 5", "--interval 5", "--wait --interval 0"]
NO_TIMES += [f"--wait --timeout {time}" for time in ("abc", "-5", "''", "1e3", "9" * 400)]
BOTH = ["schedule '0 9 * * *'", "budget 5", "vault vault_1"]  # of options that have an opposite

# By line: what is said.
LINES = {
    f"{ONE} --keys required": "--keys only works with --idempotency-key",
    **{f"{ONE} {times}": times.split()[-2] for times in NO_TIMES},
    f"{ONE} --at-most 0": "--at-most takes a number",
    f"{ONE} --at-most -3": "--at-most takes a number",
    f"{ONE} --in repo": "--in only works with --at-most",
    f"{ONE} --queue-timeout 1m": "--queue-timeout only works with --at-most",
    f"{ONE} --at-most 1 --in ../repo": "is not the name of a group",
    f"{ONE} --at-most 1 --in ''": "is not the name of a group",
    f"{ONE} --at-most 1 --in repo": "needs a store of keys",
    f"{ONE} --at-most 1 --parallel 3": "--parallel and --at-most",
    f"{ONE} --at-most 1 --if-idle": "--if-idle and --at-most",
    "deploy create": "missing required options: --name, --agent, --env, --message",
    "deploy create --name weekly": "missing required options: --agent, --env, --message",
    "deploy create --name weekly --agent agent_1 --env env_1": "missing required option: --message",
    "deploy update dep_1": "nothing to update",
    **{
        f"{line} {option}": f"{option.split()[0]} needs {other}"
        for line in (NEW, "deploy update dep_1")
        for option, other in (("--schedule '0 9 * * *'", "--timezone"), ("--timezone UTC", "--schedule"))
    },
    **{
        f"deploy update dep_1 --no-{name} --{value}": f"--{name} and --no-{name} cannot be used together"
        for name, value in [("schedule", "timezone UTC"), *((value.split()[0], value) for value in BOTH)]
    },
    "run wait drun_1 drun_2 --result": "--result with several runs needs",
    "session wait sess_1 sess_2": "session wait takes one session",
    "session logs sess_1 sess_2": "session logs takes one session",
    **{f"{line} -o csv": "-o csv is for tables" for line in ("report", "run logs drun_1", "session logs sess_1")},
    "run pending drun_1 --since 1d": "--since is for looking without a RUN",
    "session new --agent agent_1 --env env_1 --with-repo-token": "expects the token on standard input",
    "memory write memstore_1 a.md": "missing option -m",
    f"memory update memstore_1 --metadata k={LONG}{LONG}": "--metadata: k: has more than 512 characters",
    f"agent create --model auto --name {LONG}": "--name: has more than 256 characters",
    f"vault create --name {LONG}": "--name: has more than 256 characters",
    f"env update env_1 --metadata {LONG[:70]}=v": "--metadata: 'xxx",
    f"env update env_1 --metadata qoder_{LONG}=v": f"--metadata: qoder_{LONG[:54]} is",
    "api": GET,
    "api /deployments": GET,
    "api GET": GET,
    "api HEAD /deployments": GET,
    "api GET /deployments dep_1": "quote PATH",
    "api POST /files --form purpose=agent": "--form needs a file",
    "api GET /deployments?name=%ff": "has a query that is not UTF-8",
    "api GET //elsewhere.example/deployments": "begins with //",
    "api GET https://api.qoder.com/elsewhere": "is a URL that does not begin with",
    "api GET /api/v2/deployments": "is not below",
    "api GET ''": "is empty or too long",
    "api GET /": "PATH is empty",
    f"api GET /deployments/{TOKEN.replace('-', '%2D')}": "contains a token; nothing was sent",
    "apply --only planet": "'planet' is not a kind",
    "apply --adopt-from 'a b'": "--adopt-from is not the name of a stack",
    "export agent_?": "is not an id",
    "report --since 1h --until 2h": "--since is later than --until",
}


@pytest.mark.parametrize("line", LINES)
def test_line_that_is_refused_sends_nothing_and_says_what_is_wrong(qoder: Qoder, line: str) -> None:
    qoder.stdin = None
    qoder.wire.may("GET", "/deployments/dep_1", {"id": "dep_1", "type": "deployment"})  # it has no schedule
    ran = qoder(*shlex.split(line))
    assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)
    assert LINES[line] in ran.err


WORD, BAD_URLS = "x" * 64, ["https://me:s3cret@a.example", "https://[example", "https://@a.example"]
NEVER = ("2099-01-01", "7", "x", "-1d")
# By command: words that make no sense, or do not go together.
SENSELESS = {
    "dream create": ["--model auto", "--from sess_1", "--from drm_1 --model auto"],
    "deploy list": ["--status archived", "--agent dep_1", "-n 0"],
    ONE: [
        *("--on-ask wait", "--require-satisfied", "--notify true"),
        *(f"--idempotency-key {key}" for key in ("''", "' '", "'a\nb'", "a\0", "é", "k" * 256, "' k'", "'k '")),
    ],
    "run wait drun_1": ["--on-ask prompt", "--timeout soon"],
    "run logs drun_1": [
        *("--on-ask wait", "--tail=-1", "--tail=1000000000", "--tail=many"),
        *("--type=", "--type=agent.message,", "--type=\udcff"),
    ],
    "run list": [
        *("-n 0", "-n -1", "-n many", "--all -n 3", "--status done", "--trigger cron", "drun_1"),
        *("--status failed,done", "--status failed,", "dep_1 --deployment dep_2", "--deployment drun_1"),
        *("--since 1h --until 2h", "--since 7", "--until x", "--since 2099-01-01", "--since 0001-01-01T00:00:00Z"),
    ],
    "run retry": [
        *("", "drun_1 --all-failed dep_1 --since 1d", "--all-failed dep_1", "drun_1 --since 1d"),
        *("--all-failed dep_1 --all --since 1d", "drun_1 --all", "--all-failed --since 1d"),
        *("--all-failed dep_1 --since 2099-01-01", "drun_1 drun_2 --result"),
    ],
    "report": [
        *("--reader team", "--new --reader ' '", "--new --reader 'a\tb'", f"--new --reader {'y' * 65}"),
        *("--new --until 2027-01-15", "--since 1d --until 3d", "--until 2099-01-01"),
        *(f"--since={since}" for since in NEVER),
    ],
    "agent create": ["--name new", "--name ' ' --model auto"],
    "agent create --name new --model auto": [
        *("--tools ''", "--tools all,Bash", f"--tools 'Bash {WORD}'", "--metadata team", "-f /no/such/file"),
        *("--mcp docs", "--mcp =https://example.com", "--mcp docs=https://example.com/pt-s3cret0123456789abcdef"),
        *(f"--mcp {WORD}={url}" for url in ("ftp://example.com", *BAD_URLS)),
        *(f"--mcp {WORD}=https://a.example --mcp {WORD}=https://b.example", "--system ''", "--system @/no/such/file"),
        *("--ask none,Bash", "--tools Read --ask Bash", "--tools none --ask Bash", "--system - -f -"),
    ],
    "agent update helper": ["", "--name ''", "--tools all,none", "--mcp docs=https://a.example --remove-mcp docs"],
    "env create": ["--name ''"],
    "env create --name new": [
        *("--network open --allow-host example.com", "--network closed", "--allow-host https://example.com"),
        *("--allow-host ''", "--pip --index-url", "--pip 'pandas numpy'", "--apt ''", "--metadata team"),
        *(f"--self-hosted {more}" for more in ("--pip pandas", "--network open", "--setup make")),
        "--setup - -f -",
    ],
    "env update data": ["", "--name ' '", "--self-hosted --allow-host example.com"],
    "vault put team-secrets": [
        *("GITHUB_TOKEN", "GITHUB_TOKEN --variable --mcp https://mcp.example.com"),
        *("docs --mcp https://mcp.example.com --allow-host example.com", "'a b' --variable"),
        *("GITHUB_TOKEN=s3cret --variable", "GITHUB_TOKEN s3cret --variable"),
        *(f"docs --mcp '{url}'" for url in ("http://mcp.example.com", "ftp://mcp.example.com", "", "https:///x")),
        *(
            f"docs --mcp 'https://{url}'"
            for url in ("a.com/b c", "a.com/\x7f", "ex\u00e4mple.com", "a.com/?token=s3cret-1")
        ),
        *("'Bearer s3cret-0123456789' --mcp https://a", *(f"docs --mcp '{url}'" for url in BAD_URLS)),
        *(f"GITHUB_TOKEN --variable {more}" for more in ("--value s3cret", "--secret=s3cret")),
        *(f"GITHUB_TOKEN --variable --from-env {name}" for name in ("NOT_SET", "'s3cret value'")),
        *(f"X --variable --allow-host {host}" for host in ("https://example.com/s", "example.com:https", "x" * 254)),
    ],
    "usage": ["--over ten", "--over NaN", "--over=-1", "--since 2099-01-01", "--by colour", "--over 5 --watch"],
}


@pytest.mark.parametrize("command", SENSELESS)
def test_line_that_makes_no_sense_is_refused(qoder: Qoder, command: str) -> None:
    qoder.wire.may("GET", "/deployments", page())  # whose answer tells the time of the server
    qoder.stdin = "s3cret"
    for words in SENSELESS[command]:
        ran = qoder(*shlex.split(f"{command} {words}"))
        assert (ran.code, ran.out, qoder.wire.asked("POST")) == (2, "", []), words
        assert not re.search("s3cret|x{61}", ran.err), words
