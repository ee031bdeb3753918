"""Command lines that are refused for what is typed: with exit 2, before anything is sent or changed."""

import re
import shlex
from pathlib import Path

import pytest

from qoder_cli.nouns import memory
from tests.conftest import TOKEN, Qoder
from tests.support.wire import page

LONG = "x" * 300
GET = "qoder api GET /deployments"
ONE = "deploy run dep_1"
NEW = "deploy create --name weekly --agent agent_1 --env env_1 -m Report."
NO_TIMES = ["--timeout 5", "--interval 5", "--wait --interval 0"]
NO_TIMES += [f"--wait --timeout {time}" for time in ("abc", "-5", "''", "1e3", "9" * 400)]
BOTH = ["schedule '0 9 * * *'", "budget 5", "vault vault_1"]  # of options that have an opposite
ADDRESSES = ["otel.example", "https://user:s3cret@otel.example", "https://:s3cret@otel.example", "https://[::1"]
ADDRESSES += [f"https://otel{rest}" for rest in (".example:99999", ".example:x", ".example/\0", " example")]
NO_COMMANDS = ["  ", "'open", "''"]
NEW_SESSION = "session new --agent writer --env default"
A_DEPLOYMENT = "hint: give a deployment id (dep_…) or an exact name"
A_RUN = "give a run (drun_…, sess_…, last or DEPLOYMENT@last)"
KINDS = "use one of deployment, agent, environment, vault, memory_store, dream"
IN_URLS = ["me@mcp.example", "mcp.example/?token=a", "mcp.example/?api_key=b"]

NO_MOMENTS = {
    **dict.fromkeys(["3", "90", "20260613"], "needs a unit"),
    **dict.fromkeys(["", "yesterday", "-3d", "1.5h", "٣", "٣d", "'3d ago'", "2026-06"], "not an age, a date or a time"),
    **dict.fromkeys(["2026-02-31", "2026-06-13T25:00", "99999999999w"], "not a valid date"),
    "9" * 5000 + "d": f"--since '{'9' * 60}' is not a valid date",
    "2999-01-01": "in the future",
}

# By line: what is said.
LINES = {
    **{f"run logs drun_1 --since={typed}": why for typed, why in NO_MOMENTS.items()},
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
    "memory write memstore_1 a.md -m ''": "is empty",
    "memory write memstore_1 / -m x": "is empty",
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
    "help nonsense": "the pages are commands, options, exit-codes, environment, output, recipes, ci",
    "help recipe": "did you mean: qoder help recipes",
    "help guarantee": "did you mean: qoder help guarantees",
    "help deplyo": "did you mean 'qoder deploy'?",
    "help deploy rnu": "did you mean 'qoder deploy run'?",
    "help run get drun_1": "qoder run get --help",
    "help exit-codes more": "see: qoder help exit-codes",
    **{f"schema {kind}": KINDS for kind in ("sessions", "session", "skill", LONG, "''")},
    **dict.fromkeys(["schema output", "schema output runn", "schema output run usage"], "use one of run,"),
    "schema run": "or `output NAME`",
    "config set region us": "region must be global or cn",
    "config set allow nothing": "allow is 'nothing'",
    "config set policy guard.yaml": "policy must be",
    "config set base_url http://example.com": "plain http",
    "config set region": "missing value for region",
    "config set regoin cn": "did you mean region?",
    "config get profiles.a.tokn": "did you mean token?",
    "config unset profile.a.region": "unknown key 'profile.a.region'",
    "config get profiles..region": "unknown key",
    "config set profiles.a/b.region cn": "invalid profile name",
    "config set region cn --profile ''": "invalid profile name",
    "config set profiles.a.region cn --profile b": "name two profiles",
    "config get region --profile b": "no profile 'b'",
    "config set workspace_id 'a b'": "workspace_id must be",
    f"config set token {TOKEN}": "auth login --with-token",
    "config set keys required:postgresql://a:s3cret@db.example.com/ci": "passwords cannot be passed as arguments",
    **{f"config set notify {shlex.quote(command)}": "notify" for command in NO_COMMANDS},
    **{f"{ONE} --wait --notify {shlex.quote(command)}": "--notify" for command in ("", *NO_COMMANDS)},
    "run wait drun_1 --on-ask policy=x --policy x": "are the same",
    "run wait drun_1 --on-ask policy=/nowhere/policy.yaml": "cannot be read",
    "run wait drun_1 --on-ask policy=": "cannot be read",
    "run wait drun_1 --on-ask policy=-": "must be a file",
    "run wait drun_1 --on-ask policy": "takes stop, wait, prompt or policy=FILE, not 'policy'",
    "run wait drun_1 --on-ask policy=~/policy.yaml": "no shell replaces the ~",
    **{
        f"deploy get {shlex.quote(typed)}": f"{A_DEPLOYMENT}, and nothing else\n"
        for typed in (
            "dep_demo ",
            "\ufeffdep_demo",
            "dep_demo\r",
            "dep_demo/run",
            '"dep_demo"',
            "dep_1,dep_2",
            "dep_1@last",
        )
    },
    **{f"deploy get {typed}": f"{A_DEPLOYMENT}\n" for typed in ("dep_", "drun_1", "../dep_demo")},
    **{
        f"run get {shlex.quote(typed)}": f"hint: {A_RUN}, and nothing else\n"
        for typed in ("drun_1 ", "drun_1\tcompleted", "'drun_1'", "sess_1/events")
    },
    **{
        f"run get {shlex.quote(typed)}": f"hint: {A_RUN}\n"
        for typed in ("-", "nightly report", " last", "https://qoder.com/runs/drun_1")
    },
    **{
        f"run get {name}": f"for the latest run of a deployment: {name}@last; or {A_RUN}\n"
        for name in ("dep_1", "nightly")
    },
    **dict.fromkeys(["deploy get ''", "run get ''"], "hint: is a shell variable unset?\n"),
    "file download drun_1": "hint: give an id (file_…) or an exact name\n",
    **dict.fromkeys(["agent get agent_019…", "run cancel drun_9… --yes"], "none that was seen on this machine fits"),
    "run result drun_1 --output-dir ''": "error: --output-dir is empty\n",
    **{f"run logs drun_1 --otlp '{address}'": "takes the http or https address" for address in ADDRESSES},
    "run list -o otlp": "-o otlp is a trace of `run logs`",
    **{
        f"run answer sess_1 {words}": "--with TEXT|@FILE|-"
        for words in ("evt_1 --result s3cret", "--result s3cret evt_1", "evt_1 --result")
    },
    f"session cancel {' '.join(f'sess_{number}' for number in range(9))} --yes": "the limit is 8",
    f"{NEW_SESSION} --file C:/no/such": "error: --file: cannot read C:/no/such: No such file or directory\n",
    f"{NEW_SESSION} --file CC:/no/such": "error: --file: cannot read CC: No such file or directory\n",
    "deploy backfill dep_1 --since 2d --yes": "--this-machine",
    "deploy backfill dep_1 --this-machine": "--since",
    **{f"agent create --name a --model auto --mcp docs=https://{url}": "a URL must not hold" for url in IN_URLS},
    **dict.fromkeys(["session rm sess_1", "file rm file_1", "memory rm project a.md", "run stop drun_1"], "--yes"),
    **{
        f"{alias} --yes": "unknown command"
        for alias in ("deploy rm dep_1", "agent rm agent_1", "run rm drun_1", "deploy stop dep_1")
    },
}


@pytest.mark.parametrize("line", LINES)
def test_line_that_is_refused_sends_nothing_and_says_what_is_wrong(qoder: Qoder, line: str) -> None:
    qoder.stdin = None
    qoder.wire.may("GET", "/deployments/dep_1", {"id": "dep_1", "type": "deployment"})  # it has no schedule
    ran = qoder(*shlex.split(line))
    assert (ran.code, ran.out, len(ran.errors)) == (2, "", 1)
    assert (LINES[line] in ran.err, "s3cret" in ran.err) == (True, False)
    assert not Path(qoder.env["QODER_CONFIG"]).exists()


WORD, BAD_URLS = "x" * 64, ["https://me:s3cret@a.example", "https://[example", "https://@a.example"]
NEVER = ("2099-01-01", "7", "x", "-1d")
NO_IDS = ("", ".", "..", "file_1", "a/b")  # DELETE …/resources/.. might be one of the session
# By command: words that make no sense, or do not go together.
SENSELESS = {
    "help": ["nonsense -o json", "recipe --json"],
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
        *("--with-content", "-o otlp --follow", "-o otlp --tail 3", "drun_2 -o otlp"),
    ],
    "run pending": ["--watch --exit-status"],
    "deploy": ["run dep_pt-s3cret0123456789abcdef --json"],
    "run": ["get drun_eyJhbGciOiJI.eyJzdWIiOiIx.s3cret --json"],
    "deploy check": ["--watch --exit-status"],
    "session": [
        *("approve sess_1", "approve sess_1 --yes", "approve sess_1 evt_1", "approve sess_1 --all"),
        *("deny sess_1 evt_1", "approve sess_1 evt_1 --all --yes", "approve sess_1 sess_1 --yes"),
        *("approve sess_1 --all --yes --on-ask wait", "approve sess_1 --all --yes --timeout 9"),
        *("approve dep_1 --all --yes", "send sess_1 -m x --interrupt --when-idle"),
        *("approve sess_1 1 --yes", "deny sess_1 1", "approve sess_1 evt_1 1 --yes", "answer sess_1 1 --with x"),
        *("approve sess_1 0 --yes", "approve sess_1 -1 --yes", "approve sess_1 1234567 --yes", "approve 1 --all --yes"),
        *("approve sess_1 \u0661 --yes", f"approve sess_1 1 --yes --input-sha256 {'0a' * 32}"),
        *("approve sess_1 '' --yes", "send sess_1 -m ''", "send sess_1 -m ' \n '", "answer sess_1 evt_1 --with ''"),
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
    NEW: [
        *("--outcome A", "--rubric B", "--max-iterations 2", "--outcome ' ' --rubric B", "--outcome A --rubric ' '"),
        "--outcome A --rubric B --max-iterations 21",
    ],
    "env create": ["--name ''"],
    "env create --name new": [
        *("--network open --allow-host example.com", "--network closed", "--allow-host https://example.com"),
        *("--allow-host ''", "--pip --index-url", "--pip 'pandas numpy'", "--apt ''", "--metadata team"),
        *(f"--self-hosted {more}" for more in ("--pip pandas", "--network open", "--setup make")),
        "--setup - -f -",
    ],
    "env work poll workers": ["--worker ''", "--worker 'a b'", "--worker w --block-ms 1000"],
    "env update data": ["", "--name ' '", "--self-hosted --allow-host example.com"],
    "vault put team-secrets": [
        *("GITHUB_TOKEN", "GITHUB_TOKEN --variable --mcp https://mcp.example.com"),
        *("docs --mcp https://mcp.example.com --allow-host example.com", "'a b' --variable"),
        *("GITHUB_TOKEN=s3cret --variable", "GITHUB_TOKEN s3cret --variable"),
        *(f"docs --mcp '{url}'" for url in ("http://mcp.example.com", "ftp://mcp.example.com", "", "https:///x")),
        *(
            f"docs --mcp 'https://{url}'"
            for url in ("a.com/b c", "a.com/\x7f", "ex\u00e4mple.com", "a.com/?token=s3cret")
        ),
        *("'Bearer s3cret-0123456789' --mcp https://a", *(f"docs --mcp '{url}'" for url in BAD_URLS)),
        *(f"GITHUB_TOKEN --variable {more}" for more in ("--value s3cret", "--secret=s3cret")),
        *(f"GITHUB_TOKEN --variable --from-env {name}" for name in ("NOT_SET", "'s3cret value'")),
        *(f"X --variable --allow-host {host}" for host in ("https://example.com/s", "example.com:https", "x" * 254)),
    ],
    "memory write memstore_1": [
        *("../x -m x", "a//b -m x", "a/./b -m x", "'a\x1f.md' -m x", f"'\x1f{LONG}' -m x", "a.md -m @/missing"),
        *("a.md -m 'a\0b'", "a.md -m \udcff", f"a.md -m {'é' * memory.LARGEST}"),
    ],
    "file upload": ["-", "- - --name x", "'no\0name'"],
    f"file upload {__file__}": [
        *(f"{__file__} --name x", "--name ''", "--name 'a\nb'", f"--name {'x' * 256}", f"--name {'é' * 128}"),
        *("--expires 0", "--expires soon", "--metadata team"),
    ],
    "session files sess_demo": [
        *(f"--remove sesr_1 --remove '{word}' --yes" for word in NO_IDS),
        *(f"--renew '{word}'" for word in NO_IDS),
    ],
    "session new": ["-m x", "--like file_1", "--agent env_1 -m x", "--agent agent_1 --env agent_1"],
    NEW_SESSION: [
        *("--wait", "--repo https://me:s3cret@github.com/org/repo", "--repo git@github.com:org/repo"),
        *("--repo https://[x/org/repo", "--var QODER_X=1", "--var 1A=s3cret", "--var s3cret", "--budget 5.001"),
        *("-m - --with-repo-token", "-m ''", "-m ' \n'"),
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


# QODER_ALLOW, and `allow` in a profile: what an agent that operates `qoder` may do.

NARROWER = {
    # The variable, the profile: what may not be done, and who says so.
    ("all", "run"): ("deploy pause dep_demo", "profiles.default.allow in "),
    ("run", "all"): ("deploy pause dep_demo", "QODER_ALLOW allows only 'run'"),
    ("answer", "run"): ("run approve last tool_1", "profiles.default.allow in "),
    (None, "answer"): ("session new --agent a -m b", "profiles.default.allow in "),
    ("", "all"): ("deploy list", "QODER_ALLOW is ''"),
    ("RUN", "all"): ("deploy list", "QODER_ALLOW is 'RUN'"),
    ("all", "rum"): ("deploy list", "default.allow"),
}


@pytest.mark.parametrize("settings", NARROWER)
def test_allow_is_the_narrower_of_variable_and_profile_and_never_all_where_it_is_misspelt(
    qoder: Qoder, settings: tuple[str | None, str]
) -> None:
    command, said = NARROWER[settings]
    if settings[0] is not None:
        qoder.env["QODER_ALLOW"] = settings[0]
    qoder.configured(f'[profiles.default]\nallow = "{settings[1]}"\n')
    ran = qoder(*command.split())
    assert (ran.code, qoder.wire.requests, said in ran.err) == (2, [], True)
    assert "hint: " in ran.err


SET_UP = (
    *("auth login --with-token", "auth logout", "auth switch x", "auth token"),
    *("config set allow all", "config unset allow"),
)
DOUBT = ("key free k --yes", "key init --store postgresql://h/d", "run wait last --forget")  # about a start, ended
WAITS = ("deploy run dep_demo --wait", "run wait drun_1", "run logs drun_1 --follow")
ANSWERING = ("--policy P", "--on-ask policy=P", "--on-ask prompt")
# A level, what it may not do, and what is said.
BEYOND = [
    *((level, line, "needs 'all'") for level in ("read", "run", "answer") for line in SET_UP + DOUBT),
    *(("run", f"{line} {options}", "needs 'answer'") for line in WAITS for options in ANSWERING),
    *(("run", f"run cancel {word} --yes", "another word than an id") for word in ("last", "nightly@last")),
]


@pytest.mark.parametrize(("level", "line", "said"), BEYOND)
def test_who_is_restricted_does_no_more_by_an_option_a_word_or_another_setting(
    qoder: Qoder, level: str, line: str, said: str
) -> None:
    text = f'[profiles.default]\nallow = "{level}"\n'
    qoder.configured(text)
    qoder.terminal = True
    ran = qoder(*line.split())
    assert (ran.code, qoder.wire.requests, said in ran.err) == (2, [], True)
    assert qoder.config.read_text("utf-8") == text


def test_help_agents_is_a_skill_too_which_a_new_folder_has(qoder: Qoder, tmp_path: Path) -> None:
    skill = qoder("help", "agents", "--skill").out
    head, page = skill.removeprefix("---\n").split("\n---\n\n")
    assert [line.split(": ")[0] for line in head.splitlines()] == ["name", "description"]
    assert page == qoder("help", "agents").out
    assert len(page.split()) <= 420
    assert qoder("init", str(tmp_path / "folder")).code == 0
    assert (tmp_path / "folder/.agents/skills/qoder/SKILL.md").read_text("utf-8") == skill
    for words in (["help", "ci", "--skill"], ["help", "agents", "--skill", "--json"]):
        assert qoder(*words).code == 2
