"""A policy decides about calls: what a rule means, and that nothing else is approved."""

import json
import os
import re
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qoder_cli.files.tree import BadFiles
from qoder_cli.policy.match import Subject, decide, has_rule_about
from qoder_cli.policy.regex import BadPattern, Regex
from qoder_cli.policy.remarks import remarks
from qoder_cli.policy.rules import Policy, load
from qoder_cli.policy.shell import RESERVED, words_of
from tests.conftest import examples

RULES = """\
rules:
  - allow: Bash(git status)
  - allow: Bash(git log:*)
  - allow: Read(/data/**)
  - allow: Glob(/data/**)
  - allow: WebSearch
  - allow: mcp__github__get_*
    keys: [owner]
  - allow: mcp__db__query
    when: {input: {sql: "select .*"}}
  - allow: Bash(make test)
    threads: any
  - allow: Write
    when: {input: {file_path: "/tmp/.*"}}
  - deny: Bash(git push:*)
    because: Pushes need a person.
  - deny: Read(/data/secret/**)
  - deny: "*"
    when: {input: {command: "rm -rf|sudo"}}
"""


def policy_of(folder: Path, text: str = RULES) -> Policy:
    file = folder / "policy.yaml"
    file.write_text(text)
    file.chmod(0o600)
    return load(str(file))


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    return policy_of(tmp_path_factory.mktemp("policy"))


def bash(command: Any, **more: Any) -> Subject:
    return Subject("tool", "Bash", {"command": command, **more})


def read(file_path: Any, **more: Any) -> Subject:
    return Subject("tool", "Read", {"file_path": file_path, **more})


def mcp(server: str | None, name: str, **given: Any) -> Subject:
    return Subject("mcp", name, given, server)


ALLOWED = {
    "the command of the rule": bash("git status"),
    "with more spaces": bash("  git   status "),
    "with a description": bash("git status", description="Größe?"),
    "by the SDK's name": Subject("tool", "bash", {"command": "git status"}),
    "a prefix alone": bash("git log"),
    "a prefix with words": bash("git log --oneline --since=yesterday '--author=A B'"),
    "a path": read("/data/a/b.csv"),
    "a path in the other field, with numbers": Subject("tool", "Read", {"path": "/data/é", "limit": 3}),
    "a glob below a path": Subject("tool", "Glob", {"path": "/data/x", "pattern": "**/*.py"}),
    "a bare tool": Subject("tool", "WebSearch", {"query": "größe"}),
    "a tool of a server": mcp("github", "get_issue", owner="me"),
    "a schema's field": Subject("mcp", "get_issue", {"n": 1}, "github", schema=frozenset(("n",))),
    "a condition on all of a text": mcp("db", "query", sql="select 1"),
    "a path by a condition": Subject("tool", "Write", {"file_path": "/tmp/x", "content": "a\n"}),
    "lines in a file": Subject("tool", "Write", {"file_path": "/tmp/x", "content": "a\r\n\tö"}),
    "lines in a field that a rule names": mcp("github", "get_issue", owner="a\nb"),
    "another agent's, for any thread": bash("make test")._replace(is_main=False),
}
DENIED = {
    "the words of a deny": bash("git push origin"),
    "in capitals": bash("GIT Push"),
    "by its path": bash("/usr/bin/git push"),
    "of another agent": bash("git push")._replace(is_main=False),
    "by another spelling of the tool": Subject("tool", "BASH", {"command": "git push"}),
    "a part of a condition": bash("sudo ls"),
    "a condition across quotes": bash("rm '-rf' /"),
    "a condition, in capitals": mcp("x", "run", Command="SUDO ls"),
    "a condition on what is no text": mcp("x", "run", command=["rm", "-rf"]),
    "a path below a denied folder": read("/data/secret/key"),
    "a path that leads there": read("/data/x/../secret/key"),
    "a path in capitals": read("/DATA/Secret/key"),
    "an input that is no object": Subject("tool", "Bash", ["git status"]),
    "no command": Subject("tool", "Bash", {}),
}
ASKED = {
    "another command": bash("git stash"),
    "more words": bash("git status -s"),
    "a longer word": bash("git logs"),
    "the program by its path": bash("/usr/bin/git status"),
    "other case": bash("git Status"),
    "the words of a deny somewhere": bash("git log push"),
    "the words of a deny behind env": bash("env git -C x push"),
    "the words of a deny in quotes": bash("sh -c 'git push'"),
    "a field that is not named": bash("git status", timeout=5),
    "a description that is no text": bash("git status", description=["x"]),
    "a description that hides something": bash("git status", description="a\u202eb"),
    "a custom tool of that name": Subject("custom", "Bash", {"command": "git status"}),
    "a server's tool of that name": mcp("x", "Bash", command="git status"),
    "a server's tool without a server": mcp(None, "Bash", command="git status"),
    "another agent's": bash("git status")._replace(is_main=False),
    "a path with ..": read("/data/x/../y"),
    "a relative path": read("data/x"),
    "the folder itself": read("/data"),
    "a look-alike path": read("/data/\uff0e\uff0e/etc/passwd"),
    "a path with a NUL": read("/data/x\0"),
    "a path twice": read("/data/x", path="/etc/passwd"),
    "a field that only a schema names": Subject(
        "tool", "Bash", {"command": "git status", "x": 1}, schema=frozenset("x")
    ),
    "a number as text": read("/data/x", limit="3"),
    "true as a number": read("/data/x", limit=True),
    "a glob that leads out": Subject("tool", "Glob", {"path": "/data/x", "pattern": "../../etc/*"}),
    "another server": mcp("hub", "get_issue", owner="me"),
    "a server with the tool's beginning": mcp("github/get_a", "b", owner="me"),
    "a tool with a slash": mcp("github", "get_a/b", owner="me"),
    "an object where a plain value belongs": mcp("github", "get_issue", owner={"x": 1}),
    "a path that leads out, by a condition": Subject("tool", "Write", {"file_path": "/tmp/../x", "content": ""}),
    "a condition on a part": mcp("db", "query", sql="drop x; select 1"),
    "a condition on a field that is missing": mcp("db", "query"),
}


@pytest.mark.parametrize(("calls", "answer"), [(ALLOWED, "allow"), (DENIED, "deny"), (ASKED, "ask")])
def test_policy_decides_by_what_its_rules_mean(policy: Policy, calls: dict[str, Subject], answer: str) -> None:
    assert {name: decide(policy, call).answer for name, call in calls.items()} == dict.fromkeys(calls, answer)


BELOW = """\
rules:
  - {allow: Grep(/srv/**)}
  - {allow: Glob(/srv/**)}
  - {deny: Grep(/srv/app/secret/**)}
  - {deny: Glob(/srv/app/*.key)}
"""
# What may lead a reader of globs out of the folder where it begins.
OUT = (
    *("{/etc,x}/*", "{,/etc}/*", ".{.,x}/x", ".[.]/x", ".?/x", ".*/.*/etc/*", "@(/etc)/*", "(/etc|x)/*", "[/]etc/*"),
    *("\\/etc/*", "$HOME/*", "{~,x}/*", "file:///etc/*", "/etc/*", "~/x", "../x", "x/../../y", "", "-x", "!x", "é"),
)


def test_a_tool_that_reads_folders_reaches_nothing_that_a_rule_does_not_name(tmp_path: Path) -> None:
    policy = policy_of(tmp_path, BELOW)

    def answers(tool: str, *paths: str, **more: str) -> list[str]:
        return [decide(policy, Subject("tool", tool, {"path": path, **more})).answer for path in paths]

    assert answers("Grep", "/srv/web", "/srv/app/secrets", "/srv/app/x", pattern=".") == ["allow"] * 3
    assert answers("Grep", "/srv", "/srv/app", "/SRV/app/.", "/srv/app/secret", pattern=".") == ["ask"] * 4
    assert answers("Grep", "/srv/app/secret/x", "/etc", "/", pattern=".") == ["deny", "ask", "ask"]
    assert answers("Glob", "/srv/web", "/srv/app", "/srv/app/x.key", pattern="**/*.p?") == ["allow", "ask", "deny"]
    for name in ("**/*.py", ".github/x-1_2/*", "a.b/?", ".eslintrc.js"):
        assert (answers("Glob", "/srv/web", pattern=name), answers("Grep", "/srv/x", glob=name)) == (["allow"],) * 2
    for name in OUT:
        assert (answers("Glob", "/srv/web", pattern=name), answers("Grep", "/srv/x", glob=name)) == (["ask"],) * 2
    exact = policy_of(tmp_path, "rules: [{deny: Grep(/srv/app)}]")
    below = [decide(exact, Subject("tool", "Grep", {"path": path})).answer for path in ("/srv/app/x/y", "/srv/apple")]
    assert below == ["deny", "ask"]
    only_denied = policy_of(tmp_path, "rules: [{deny: Glob(/etc/**)}]")
    assert decide(only_denied, Subject("tool", "Glob", {"path": "/srv", "pattern": "{/etc,x}/*"})).rule


@pytest.mark.parametrize("field", ["file_path", "path"])
def test_a_deny_of_a_path_by_a_condition_holds_for_each_spelling_and_field(tmp_path: Path, field: str) -> None:
    deny = policy_of(
        tmp_path, f"rules: [{{allow: Read}}, {{allow: Grep}}, {{deny: '*', when: {{input: {{{field}: '^/etc/'}}}}}}]"
    )
    denied = ("/etc/shadow", "//etc/shadow", "/x/../etc/shadow", "/./etc/shadow", "etc/shadow", "/ETC/x", "/\uff45tc/x")
    for name in ("file_path", "path"):
        answers = {path: decide(deny, Subject("tool", "Read", {name: path})).answer for path in denied}
        assert answers == dict.fromkeys(denied, "deny")
        assert decide(deny, Subject("tool", "Read", {name: "/srv/x"})).answer == "allow"
        for doubtful in ({name: "x"}, {name: "/e\u034ftc"}, {}):
            assert decide(deny, Subject("tool", "Read", doubtful)).rule == deny.rules[2]
        above = [
            decide(deny, Subject("tool", "Grep", {name: path, "pattern": "x"})) for path in ("/srv", "/etc", "/x/..")
        ]
        assert [verdict.answer for verdict in above] == ["allow", "ask", "ask"]
    assert decide(deny, mcp("hub", "get", **{field: "a/b"})).rule is None
    assert decide(deny, mcp("hub", "get", **{field: "a/../etc/x"})).answer == "deny"


def test_a_tool_without_parentheses_is_allowed_with_one_whole_path_only(tmp_path: Path) -> None:
    policy = policy_of(tmp_path, "rules: [{allow: Read}, {allow: Grep}]")
    assert decide(policy, read("/x")).answer == "allow"
    for more in ({}, {"path": "/x", "file_path": "/x"}, {"path": "../x"}, {"path": "x"}, {"path": "//x"}, {"path": 1}):
        assert [decide(policy, Subject("tool", tool, more)).answer for tool in ("Read", "Grep")] == ["ask", "ask"]


# What is not seen, or looks like a space and is none.
UNSEEN = (
    *("\u034f", "\u115f", "\u1160", "\u17b4", "\u17b5", "\u180b", "\u180f", "\u3164", "\ufe00", "\ufe0f", "\uffa0"),
    *("\U000e0100", "\U000e01ef", "\u2800", "\ufffc", "\xad", "\u200b", "\u2060", "\ufeff", "\ufff0", "\U000e0001"),
    *("\U0001bca0", "\U0001d173", "\xa0", "\u3000", "\0", "\x1b", "\x85"),
)


@pytest.mark.parametrize("unseen", [*UNSEEN, "\r", "\n", "\t"], ids=ascii)
@pytest.mark.few(11)
def test_policy_approves_no_text_in_which_something_is_not_seen(policy: Policy, tmp_path: Path, unseen: str) -> None:
    text = f"a{unseen}b"
    calls = [bash("git status", description=text), Subject("tool", "WebSearch", {"query": text}), read(f"/data/{text}")]
    if unseen in UNSEEN:
        calls.append(Subject("tool", "Write", {"file_path": "/tmp/x", "content": text}))
        calls.append(mcp("github", "get_issue", owner=[text]))
    calls.append(Subject("mcp", "get_issue", {"url": text}, "github", schema=frozenset(("url",))))
    assert [decide(policy, call).answer for call in calls] == ["ask"] * len(calls)
    deny = policy_of(tmp_path, "rules: [{deny: WebFetch, when: {input: {url: evil}}}]")
    fetch = {
        url: decide(deny, Subject("tool", "WebFetch", {"url": url})) for url in (f"ev{unseen}il", f"x{unseen}y", "x")
    }
    assert [verdict.rule is not None for verdict in fetch.values()] == [True, True, False]
    assert fetch[f"ev{unseen}il"].answer == "deny"


def test_the_words_of_a_deny_glued_to_an_option_are_left_for_a_person(tmp_path: Path) -> None:
    deny = policy_of(tmp_path, "rules: [{allow: Bash}, {deny: Bash(git push:*)}, {deny: Bash(curl:*)}]")
    glued = (
        "env '-Sgit push'",
        "env '-iSgit push'",
        "su '-cgit push'",
        "rsync '-egit push'",
        "env '-S/usr/bin/git push'",
    )
    for command in (*glued, "env '-Scurl x'", "git grep -Ocurl x", "sh '-cCURL x'"):
        assert decide(deny, bash(command)).answer == "ask", command
    for command in ("x --digit push", "ls -l", "git log -curls"):
        assert decide(deny, bash(command)).answer == "allow", command


DELETES = (
    "*delete*",
    "m*",
    "*__delete_*",
    "mcp__*delete*",
    "delete_*",
    "delete_x",
    "mcp__hub",
    "mcp__hub__d*",
    "MC*_X",
)


@pytest.mark.parametrize("glob", DELETES)
def test_a_deny_by_a_part_of_a_name_reaches_the_tools_of_servers(tmp_path: Path, glob: str) -> None:
    deny = policy_of(tmp_path, f"rules: [{{allow: mcp__hub__delete_x}}, {{allow: mcp__db__get}}, {{deny: '{glob}'}}]")
    calls = (mcp("hub", "delete_x"), mcp("Hub", "mcp__hub__DELETE_x"), mcp("db", "get"), bash("delete_x"))
    assert [decide(deny, call).answer for call in calls] == ["deny", "deny", "deny" if glob == "m*" else "allow", "ask"]
    assert (deny.rules[0], True) in [(rule, remark.startswith("never")) for rule, remark in remarks(deny)]


# What a shell may read as more than words; each is put behind `git status`, or into `git log`.
MORE = (
    *("; x", "| x", "|| x", "& x", "&& x", "\nx", "\rx", "> x", ">> x", "< x", "<<< x", "<<E\nx\nE", "2>&1", "$x"),
    *("${x}", "$(x)", "`x`", "$((1))", "$'x'", '"x"', "\\", "\\x", "{a,b}", "{1..2}", "*", "?", "[a]", "~", "~root"),
    *("#x", "!x", "!!", "@(a)", "a(b)", "(x)", "'", "''", "'a'b", "a'b'", "\t-s", "\0", "\x1b[A", "\x7f"),
    *("é", "\u2010s", "\xa0-s", "\u200b", "\u2028", "\uff53", "^a^b", "'$x'", "'`x`'", "'\\'", "'a\nb'", "'\"'", "'é'"),
)
BEFORE = ("X=1", "!", "time", "{", "(", "if", "exec", "eval", "command", "builtin", ".", "source", "'git'", "-x")
# Builtins that run a text, or change what later commands mean.
BUILTINS = (
    *(
        "printf -v PATH x",
        "read PATH",
        "mapfile a",
        "readarray a",
        "let x",
        "getopts a b",
        "wait -p x",
        "jobs -x git log",
    ),
    *(
        "cd /x",
        "pushd /x",
        "popd",
        "umask 0",
        "ulimit -c 0",
        "exit",
        "return",
        "logout",
        "kill 1",
        "compgen -C x",
        "CD /x",
    ),
)


def test_policy_approves_no_command_that_a_shell_may_read_otherwise(policy: Policy) -> None:
    commands = [f"git status{space}{more}" for more in MORE for space in ("", " ")]
    commands += [f"git log {more} x" for more in MORE] + [f"git log x{more}" for more in MORE]
    commands += (
        ["git log =x", "git log %1"]
        + [f"{before} git status" for before in BEFORE]
        + [f"{before} git log x" for before in BEFORE]
    )
    commands += (
        [f"{word} x" for word in RESERVED] + [*BUILTINS] + ["git log " + "x" * 10_000, "git log " * 5_000, "", " "]
    )
    assert {command for command in commands if decide(policy, bash(command)).answer == "allow"} == set()
    assert {command for command in commands if words_of(command) is not None} == set()


def test_a_command_that_is_not_simple_fits_every_deny_of_bash(tmp_path: Path) -> None:
    deny = policy_of(tmp_path, "rules: [{allow: Bash}, {deny: Bash(zzz)}]")
    answers = {command: decide(deny, bash(f"git status {command}")).answer for command in MORE if command.strip()}
    assert answers == dict.fromkeys(answers, "deny")
    builtin = policy_of(tmp_path, "rules: [{allow: Bash}, {deny: Bash(kill -9:*)}]")
    answers = {command: decide(builtin, bash(command)).answer for command in ("kill -9 1", "env kill -9 1", "pkill x")}
    assert answers == {"kill -9 1": "deny", "env kill -9 1": "ask", "pkill x": "allow"}


WORDS = st.text("abz09_@%+=:,./-' \t\n\"\\$`;|&<>(){}[]*?!#~^é", min_size=1, max_size=8)
BASH = shutil.which("bash")
# Prints each word, in a folder without programs; what is no such command says something else, or nothing.
TRACE = 'command_not_found_handle() { printf "%s\\0" "$@"; }; '


def words_in_bash(commands: list[str], folder: Path) -> list[list[str]]:
    """Return the words that bash makes of each command, which it cannot find."""
    script = TRACE + "".join(f"{command}\nprintf '\\n'\n" for command in commands)
    env = {"PATH": str(folder), "HOME": str(folder)}
    done = subprocess.run([str(BASH), "--norc", "-c", script], cwd=folder, env=env, capture_output=True, timeout=60)
    return [line.split("\0")[:-1] for line in done.stdout.decode().split("\n")[:-1]]


@pytest.mark.skipif(BASH is None, reason="needs bash")
@examples(Fraction(1, 10))
@given(tails=st.lists(st.lists(WORDS, max_size=4).map(" ".join), min_size=40, max_size=40))
def test_bash_reads_each_approved_command_as_the_words_of_the_rule(
    policy: Policy, tails: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    commands = [f"git log {tail}" for tail in tails] + [f"git log '{tail}'" for tail in tails]
    allowed = [command for command in commands if decide(policy, bash(command)).answer == "allow"]
    allowed += [command for command in ("git status", "git log", "git log a  'b c' --x=y:z,%H") if words_of(command)]
    folder = tmp_path_factory.mktemp("empty")
    read_by_bash = words_in_bash(allowed, folder)
    assert read_by_bash == [list(words_of(command) or ()) for command in allowed]
    assert all(words[:2] in (["git", "status"], ["git", "log"]) for words in read_by_bash)
    assert os.listdir(folder) == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@examples(Fraction(2, 3))
@given(value=JSON, name=st.sampled_from(("command", "file_path", "description", "limit", "x", "owner", "sql")))
def test_policy_approves_no_input_of_another_shape(policy: Policy, value: Any, name: str) -> None:
    calls = [
        Subject("tool", "Bash", value),
        Subject("tool", "Bash", {"command": "git status", **({} if name == "description" else {name: value})}),
        Subject("tool", "Read", value),
        Subject("tool", "Read", {name: value}),
        mcp(
            "github", "get_x", **{"owner": value} if not isinstance(value, str | int | type(None) | list) else {"y": 1}
        ),
    ]
    named = [call for call in calls if decide(policy, call).answer == "allow"]
    assert [call for call in named if call.input.get("command") != "git status" or len(call.input) > 1] == []


PARTS = st.sampled_from(
    ("", ".", "..", "...", "data", "data2", "etc", "secret", "x", "~", "*", "é", " ", "．．", "\\..", "%2e")
)


@given(parts=st.lists(PARTS, max_size=6), start=st.sampled_from(("/", "//", "", "/data/", "./", "~/")))
def test_policy_approves_only_paths_below_the_folder(policy: Policy, parts: list[str], start: str) -> None:
    path = start + "/".join(parts)
    answer = decide(policy, read(path)).answer
    is_below = os.path.normpath(path).startswith("/data/") and os.path.normpath(path) == path
    assert answer != "allow" or (is_below and not path.startswith("/data/secret"))


PATTERNS = st.recursive(
    st.sampled_from(("a", "b", ".", r"\d", r"\w", r"\W", "[a-c]", "[^b]", r"\b", "^", "$", r"\.", "[]x-]")),
    lambda inner: (
        st.tuples(inner, inner).map("".join)
        | st.tuples(inner, inner).map("(?:{0[0]}|{0[1]})".format)
        | st.tuples(inner, st.sampled_from(("*", "+", "?", "{2}", "{1,3}", "{2,}", "*?"))).map("({0[0]}){0[1]}".format)
    ),
    max_leaves=8,
)


@examples(Fraction(4, 3))
@given(pattern=PATTERNS, text=st.text("ab.1 x-", max_size=6))
def test_regular_expressions_of_a_policy_are_those_of_python(pattern: str, text: str) -> None:
    ours, theirs = Regex(pattern), re.compile(pattern.replace("$", r"\Z"), re.ASCII)
    assert (ours.fits(text), ours.is_in(text)) == (bool(theirs.fullmatch(text)), bool(theirs.search(text)))


@examples(Fraction(4, 3))
@given(pattern=PATTERNS, begin=st.text("ab.1 x-", max_size=4), more=st.text("ab.1 x-", max_size=4))
def test_a_regular_expression_that_fits_a_longer_text_is_expected_to(pattern: str, begin: str, more: str) -> None:
    regex = Regex(pattern)
    assert regex.may_fit_below(begin, anywhere=False) >= regex.fits(begin + more)
    assert regex.may_fit_below(begin, anywhere=True) >= regex.is_in(begin + more)


def test_a_policy_covers_the_tools_that_its_rules_are_about(policy: Policy, tmp_path: Path) -> None:
    tools = (("tool", "Bash", None), ("tool", "bash", None), ("mcp", "get_x", "github"), ("custom", "Bash", None))
    assert [has_rule_about(policy_of(tmp_path, "rules: [{allow: Bash(ls)}]"), *tool) for tool in tools] == [1, 1, 0, 0]
    assert [has_rule_about(policy, *tool) for tool in tools] == [1, 1, 1, 0]  # with a deny for all
    assert has_rule_about(policy_of(tmp_path, "rules: [{deny: '*delete*'}]"), "mcp", "a/delete_x", "hub")
    other = policy_of(tmp_path, "rules: [{allow: Bash(ls)}]\ndeployments: [nightly]")
    assert [has_rule_about(other, "tool", "Bash", deployment=of) for of in (("dep_1", "nightly"), ("dep_1",))] == [1, 0]


def test_a_regular_expression_that_never_ends_denies_and_does_not_approve(tmp_path: Path) -> None:
    text = "rules: [{allow: mcp__x__y, when: {input: {a: '[ab]*a[ab]{18}c'}}}]"
    slow = mcp("x", "y", a="".join(f"{number:020b}" for number in range(1_500)).translate({48: "a", 49: "b"}))
    assert decide(policy_of(tmp_path, text), slow).answer == "ask"
    assert decide(policy_of(tmp_path, text.replace("allow", "deny")), slow).answer == "deny"
    assert not Regex(r"\b(a*)*(a*)*(a*)*b|rm -rf|sudo", ignores_case=True).is_in("a" * 50_000)
    for pattern in ("(((){999}){999}){999}", "a{9999}", "(?=a)", r"\1", "a**", "(", "[z-a]"):
        with pytest.raises(BadPattern):
            Regex(pattern)


BAD = {
    "rule: []": "1: rule: unknown field; did you mean rules?",
    "rules: []": "1: rules: must be a list of rules",
    "rules: [Bash]": "1: rules[0]: must be `allow: PATTERN` or `deny: PATTERN`",
    "rules: [{alow: Bash}]": "1: rules[0].alow: unknown field; did you mean allow?",
    "rules: [{allow: Bash, deny: Bash}]": "1: rules[0]: must have either `allow` or `deny`",
    "rules: [{allow: Bsh(x)}]": "1: rules[0].allow: unknown tool Bsh; did you mean Bash?",
    "rules: [{allow: '*'}]": "1: rules[0].allow: an allow must name its tool; ",
    "rules: [{allow: mcp__a__b__c}]": "1: rules[0].allow: does not say which part is the server",
    "rules: [{allow: mcp__a*}]": "1: rules[0].allow: an allow must name the server",
    "rules: [{allow: Bash(a | b)}]": "1: rules[0].allow: can never fit: the words may have ",
    "rules: [{allow: Bash(git *)}]": "1: rules[0].allow: can never fit: only :* at the end",
    "rules: [{allow: Bash(time ls)}]": "1: rules[0].allow: can never fit: time is a word of the shell itself",
    "rules: [{allow: Read(data/**)}]": "1: rules[0].allow: needs a whole path",
    "rules: [{allow: Grep(/data/*)}]": "1: rules[0].allow: can never fit: Grep reads all that is below its path",
    "rules: [{allow: WebFetch(x)}]": "1: rules[0].allow: WebFetch takes no ( )",
    "rules: [{allow: Bash, because: x}]": "1: rules[0].because: goes with deny only",
    "rules: [{deny: Bash, threads: any}]": "1: rules[0].threads: goes with allow only",
    "rules: [{deny: Bash, when: {input: {a: '('}}}]": "1: rules[0].when.input.a: the regular expression a ( is",
    "rules:\n- {allow: Bash}\n- {allow: 1}": "3: rules[1].allow: must be a pattern",
    "rules: [{allow: Bash}]\ndeployments: []": "2: deployments: must be a list of texts",
    "rules: [{allow: Bash}]\nrules: []": "2: rules: duplicate key",
}


@pytest.mark.parametrize("text", BAD)
def test_a_policy_that_cannot_be_used_is_refused_with_the_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadFiles) as refused:
        policy_of(tmp_path, text)
    assert f"policy.yaml:{BAD[text]}" in refused.value.message


REMARKS = """\
rules:
  - deny: Bash(git:*)
  - allow: Bash(git status)
  - allow: Bash(env:*)
  - allow: Bash(env x)
  - allow: mcp__github
  - allow: Read(/data/**)
  - allow: Read(/data/x)
  - allow: Bash(sh -c 'git push')
  - allow: Bash(make test)
"""


def test_rules_that_decide_nothing_or_nearly_everything_are_named(tmp_path: Path) -> None:
    found = [(rule.line, remark.partition(":")[0]) for rule, remark in remarks(policy_of(tmp_path, REMARKS))]
    assert found == [
        (3, "never allows anything"),
        (4, "env runs what its words say, so this allows nearly everything"),
        (5, "never decides anything"),
        (6, "fits only calls without input, unless the session shows the tool's fields"),
        (8, "never decides anything"),
        (9, "never allows anything"),
    ]
    denies = (
        "rules: [{allow: Grep(/a/**)}, {deny: Read(/a/x)}, {allow: Write(/b/*)}, {deny: Edit(/c)}, {deny: Write(/c)}]"
    )
    [(rule, remark)] = remarks(policy_of(tmp_path, denies))
    unknown = [
        (rule.line, remark) for rule, remark in remarks(policy_of(tmp_path, "rules:\n- allow: yes\n- deny: 010"))
    ]
    assert {(2, "no built-in tool is known as yes"), (3, "no built-in tool is known as 010")} < {*unknown}
    assert (rule.text, remark) == ("deny Read(/a/x)", "does not stop Grep, which line 1 allows (allow Grep(/a/**))")


@pytest.mark.skipif(os.name != "posix", reason="needs the modes of files")
def test_a_policy_that_others_may_write_is_warned_of(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(json.dumps({"rules": [{"allow": "Bash(ls)"}]}))
    file.chmod(0o666)
    assert [warning.partition(" ")[0] for warning in load(str(file)).warnings] == ["others"]


def tool(name: str, **given: Any) -> Subject:
    return Subject("tool", name, given)


def fetch(url: str) -> Subject:
    return tool("WebFetch", url=url, prompt="x")


AROUND = [  # rules, and a call that a deny among them means, however it is put
    ("[{allow: 'Read(/**)'}, {deny: 'Read(/**/**/secret/**)'}]", read("/secret/x")),
    ("[{allow: Edit}, {deny: 'Edit(/a/**/**/b)'}]", tool("Edit", file_path="/a/b", old_string="a", new_string="b")),
    ("[{allow: WebSearch}, {deny: 'web_*'}]", tool("WebSearch", query="x")),
    ("[{allow: WebFetch}, {deny: '*_fetch'}]", fetch("https://a.example")),
    ("[{allow: Bash}, {deny: 'Bash(git push:*)'}]", bash("sed 's/x/git push/e' f")),
    ("[{allow: Bash}, {deny: 'Bash(git push:*)'}]", bash("sed '1egit push' f")),
    ("[{allow: Bash}, {deny: 'Bash(git push:*)'}]", bash("perl -e 'exec q/git push/'")),
    ("[{allow: Bash}, {deny: '*', when: {input: {command: 'rm -rf'}}}]", bash("sh -c 'rm  -rf x'")),
    (
        "[{allow: mcp__a, keys: [command]}, {deny: '*', when: {input: {command: sudo}}}]",
        mcp("a", "x", command="s'u'do"),
    ),
    ("[{allow: Bash}, {deny: \"Bash(echo 'a  b')\"}]", bash("sed '1eecho a  b' f")),
    ("[{allow: WebFetch}, {deny: '*', when: {input: {url: 'evil\\.com'}}}]", fetch("https://evil\u3002com")),
    ("[{allow: WebFetch}, {deny: '*', when: {input: {url: 'evil\\.com'}}}]", fetch("https://evil\uff61com")),
    ("[{allow: 'mcp__a__*'}, {deny: mcp__a__delete}]", mcp("a", "delete ")),
    ("[{allow: 'Read(/**)'}, {deny: 'Read(/etc/shadow)'}]", read("/etc/shadow ")),
    ("[{allow: 'Read(/**)'}, {deny: 'Read(/etc/**)'}]", read("/ etc/shadow")),
    ("[{allow: Bash}, {deny: 'Bash(/sbin/reboot now)'}]", bash("sed '1ereboot now' f")),
    ("[{allow: 'Write(/data/**)'}, {deny: 'Write(/data/.git/**)'}]", tool("Write", file_path="/data/.git", content="")),
    ("[{allow: Write}, {deny: 'Write(/**/.git/**/**)'}]", tool("Write", file_path="/a/.git", content="")),
]


@pytest.mark.parametrize(("rules", "call"), AROUND)
def test_policy_approves_no_way_around_a_deny(tmp_path: Path, rules: str, call: Subject) -> None:
    assert decide(policy_of(tmp_path, f"rules: {rules}\n"), call).answer != "allow"


@pytest.mark.parametrize("query", ["e\u0301vil", "stra\u00dfe", "\u03bf\u03c2"])  # as of STRASSE, and of capitals
def test_policy_refuses_a_condition_that_can_be_written_in_another_way(tmp_path: Path, query: str) -> None:
    with pytest.raises(BadFiles, match="another way"):
        policy_of(tmp_path, f'rules: [{{deny: WebSearch, when: {{input: {{query: "{query}"}}}}}}]')


def test_a_deny_says_that_a_servers_command_is_not_simple(tmp_path: Path) -> None:
    rules = "rules: [{deny: '*', when: {input: {command: sudo}}, because: No.}]"
    because = decide(policy_of(tmp_path, rules), mcp("a", "run", command="ls; ls")).because
    assert str(because).startswith("No. The command is not simple")


def test_a_deny_of_what_is_in_folders_leaves_the_files_beside_them_alone(tmp_path: Path) -> None:
    rules = "rules: [{allow: 'Write(/data/**)'}, {deny: 'Write(/data/*/**)'}]"
    assert decide(policy_of(tmp_path, rules), tool("Write", file_path="/data/x", content="")).answer == "allow"
