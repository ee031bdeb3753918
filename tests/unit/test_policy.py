"""What the rules of a policy mean (help/pages/policies.md), call by call."""

import json
import os
import posixpath
import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qoder_cli.base import jsontext
from qoder_cli.files.tree import BadFiles
from qoder_cli.policy.calls import Subject
from qoder_cli.policy.deciding import decide, has_rule_about, may_move
from qoder_cli.policy.denying import denied
from qoder_cli.policy.reading import load
from qoder_cli.policy.rules import Policy
from tests.conftest import examples

# As on the page.
TEXT = """\
work: /repo
allow:
  - read: /repo
  - write: /repo/reports
  - run: npm test
  - run: pytest *
  - fetch: docs.example.com
  - search: web
  - tool: mcp__github__get_*
    fields: [owner, repo]
deny:
  - run: git push
    because: "Pushes need a person: ask in #ops."
  - path: /repo/secrets
  - fetch: pastebin.com
  - tool: "*delete*"
  - text: id_rsa
"""


def read(folder: Path, text: str) -> Policy:
    file = folder / "policy.yaml"
    file.write_text(text)
    return load(str(file))


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    return read(tmp_path_factory.mktemp("policy"), TEXT)


def bash(command: str, **more: Any) -> Subject:
    return Subject("tool", "Bash", {"command": command}, **more)


def tool(name: str, **fields: Any) -> Subject:
    return Subject("tool", name, fields)


def mcp(name: str, server: str = "github", schema: frozenset[str] = frozenset(), **fields: Any) -> Subject:
    return Subject("mcp", name, fields, server, schema=schema)


def answer(policy: Policy, call: Subject | str) -> str:
    return decide(policy, bash(call) if isinstance(call, str) else call).answer


# Commands, each with what the policy of the page says.
COMMANDS = {
    # Programs that only read, their options, and where.
    "cat src/a.py": "allow",
    "cat -n 'src/a b.py' | head -20": "allow",
    "ls -la && pwd; git status": "allow",
    "wc -l src/a.py\ntail -n +5 src/a.py": "allow",
    "git log --oneline -5 HEAD~3..HEAD": "allow",
    "git diff --stat 2>/dev/null": "allow",
    "grep -rn 'def x' src --include='*.py'": "allow",
    "grep secrets src/a.py": "allow",
    "grep -r secrets secrets": "deny",
    "grep SECRETS SECRETS": "ask",
    "jq '.[0] | .secrets' src/a.json": "allow",
    "jq '.a.env' src/a.json": "allow",
    "sed -n '1,5p;/x/,$p' src/a.py": "allow",
    "timeout 60 git --no-pager log -3": "allow",
    "date +%F": "allow",
    "test -f src/a.py": "allow",
    "echo ---": "allow",
    "cat /etc/passwd": "ask",
    "cat ../etc/passwd": "ask",
    "cat src/../../etc/passwd": "ask",
    "cat ~/x": "ask",
    "cat @opts": "ask",
    "cat ''": "ask",
    "grep -f /etc/passwd x": "ask",
    "grep -e a /etc/passwd": "ask",
    "sort -o reports/x src/a": "ask",
    "sort -oreports/x src/a": "ask",
    "sort -uo reports/x src/a": "ask",
    "sort --output=reports/x src/a": "ask",
    "sort --outp reports/x src/a": "ask",
    "uniq src/a reports/b": "ask",
    "date 01010101": "ask",
    "date -f src/a": "ask",
    "test -v 'a[$(id)]'": "ask",
    "test 1 -eq 'a[$(id)]'": "ask",
    "test src/a -nt src/b": "ask",
    "jq 'import \"a\" as a; .' x": "ask",
    "jq '.a | env' x": "ask",
    "jq '$ENV.PATH' x": "ask",
    "jq '$ ENV.PATH' x": "ask",
    "jq '$#\nENV.PATH' x": "ask",
    "jq -n '[inputs | input_filename]' x": "ask",
    "jq -f a.jq x": "ask",
    "sed -i s/a/b/ x": "ask",
    "sed -n '1w out' x": "ask",
    "sed -n '1e id' x": "ask",
    "find src -exec id": "ask",
    "find src -delete": "ask",
    "file -f x": "ask",
    "diff -l src/a src/b": "ask",
    "rg --pre id x src": "ask",
    # git.
    "git log --output=.git/config": "ask",
    "git log --author --output=.git/config": "ask",
    "head -n -5 src/a": "allow",
    "git show HEAD:../../etc/passwd": "ask",
    "git -C /tmp status": "ask",
    "git --git-dir=/tmp/x log": "ask",
    "git -c core.pager=id log": "ask",
    "git branch evil": "ask",
    "git diff --no-index /etc/passwd src/a": "ask",
    "git log --format=%GG": "ask",
    "git log --format='%+G?'": "ask",
    "git log --format='% G?'": "ask",
    "git log --format='%h %an %(trailers)'": "allow",
    "git tag --format='%(raw)'": "ask",
    "git branch --sort=-committerdate": "allow",
    "git branch --sort=signature:key": "ask",
    "git tag --sort='*raw'": "ask",
    "git tag --format='%(*raw)'": "ask",
    "git tag --format='%(refname) %(contents:subject)'": "allow",
    "git commit -m x": "ask",
    # Writing.
    "mkdir -p reports/2026 && cp src/a.py reports/2026/": "allow",
    "cat src/a | tee -a reports/a.txt >/dev/null": "allow",
    "mv reports/a reports/b": "allow",
    "rm -f reports/a": "allow",
    "touch src/a.py": "ask",
    "rm -r .": "ask",
    "rm -rf reports/x": "ask",
    "cp -r src reports/": "ask",
    "cp /etc/passwd reports/": "ask",
    "cp src/.env reports/": "ask",
    "cp src/HEAD reports/x": "ask",
    "tee reports/.git/config": "ask",
    "tee reports/x/hEaD": "ask",
    "tee reports/x.git": "ask",
    "mv reports reports2": "ask",
    "mv reports/a reports": "ask",
    # Commands that are named.
    "npm test": "allow",
    "cd /repo && npm test": "allow",
    "timeout 5m npm test": "allow",
    "npm test -- --watch": "ask",
    "npm run test": "ask",
    "pytest -q -k 'a and not b' tests/a.py::Test::test_b": "allow",
    "python -m pytest && uv run pytest -x": "allow",
    "npx pytest": "ask",
    "npx wc src/a": "ask",
    "timeout 60 uv run python -m pytest": "allow",
    "python -m timeout 5 pytest": "ask",
    "python -m uv run pytest": "ask",
    "python -m python3 -m pytest": "ask",
    "uv run poetry run pytest": "ask",
    "uv run timeout 5 pytest": "ask",
    "python -m json.tool src/a": "ask",
    "pytest @src/opts": "ask",
    "pytest src/../../other/x.py::/../../repo/src": "ask",
    "pytest ../other": "ask",
    "pytest -p evil": "ask",
    "pytest -k 'not (a or b) and c'": "allow",
    'pytest -k \'__import__("os").system("id")\'': "ask",
    "pytest -m 'exec(chr(105))'": "ask",
    "pytest -q --cov --cov=src --cov-report=term-missing": "allow",
    "pytest --cov-report=html:x": "ask",
    "pytest --cov-config=x": "ask",
    "pytest --basetemp=/repo": "ask",
    # Folders.
    "cd /tmp && ls": "ask",
    "cd repo && ls": "ask",
    "cd missing; cat ../../../etc/shadow": "ask",
    "cd /repo; ls": "ask",
    "ls && cd /repo && npm test": "ask",
    # What cannot be read.
    "cat $X": "ask",
    "cat `id`": "ask",
    "cat *": "ask",
    "cat a\\ b": "ask",
    "cat {a,b}": "ask",
    "cat <src/a": "ask",
    "ls > reports/x": "ask",
    "ls &": "ask",
    "A=b ls": "ask",
    "ls # x": "ask",
    'cat "$X"': "ask",
    "if true": "ask",
    "export X": "ask",
    "ls; ; ls": "ask",
    "echo ''=ls": "ask",
    "": "ask",
    "'ls'": "ask",
    "./ls": "ask",
    "cat caf\u00e9": "ask",
    "cat 'caf\u00e9'": "allow",
    "cat \u2028": "ask",
    # Denies.
    "git push": "deny",
    "git push --force origin main": "deny",
    "ls && git push": "deny",
    "timeout 60 git --no-pager push": "deny",
    "sh -c 'git push'": "ask",
    "sh -c 'git  -C x  push'": "ask",
    "/usr/bin/git push": "ask",
    "git -C x push": "ask",
    "echo git push": "ask",
    "env -S'git push'": "ask",
    "GIT PUSH": "ask",
    "git push $X": "ask",
    "git pu's'h $X": "ask",
    "git pushed": "ask",
    "cat secrets/key": "deny",
    "cat src/../secrets/key": "deny",
    "git show HEAD:secrets/key": "deny",
    "cat ./SECRETS/key": "ask",
    "make X=secrets/key": "ask",
    "echo secrets/key": "ask",
    "cat /proc/self/cwd/secrets/key": "ask",
    "grep -rn x .": "ask",
    "grep -rn x": "ask",
    "find . -name x": "ask",
    "git diff": "ask",
    "git show HEAD": "ask",
    "git log -p": "ask",
    "git log -S x": "ask",
    "git diff --stat -p": "ask",
    "git show HEAD -- ':!x'": "ask",
    "rg x": "ask",
    "ls -R": "ask",
    "curl https://pastebin.com/x": "ask",
    "curl https://www.PASTEBIN.com": "ask",
    "echo pastebin%2Ecom": "ask",
    "cat id_rsa": "deny",
    "cat id'_'rsa": "deny",
    "cat ID_RSA": "ask",
    "cat $HOME/id_rsa": "ask",
}


@pytest.mark.parametrize("command", COMMANDS, ids=ascii)
@pytest.mark.few(40)
def test_a_command_is_decided_by_what_it_does(policy: Policy, command: str) -> None:
    assert answer(policy, command) == COMMANDS[command], decide(policy, bash(command))


# Small policies, each with what it says of commands.
POLICIES: dict[str, tuple[str, dict[str, str]]] = {
    "`npx npx` and `npx timeout` run what node_modules has by these names; `--noEmit false` writes": (
        "work: /repo\nallow: [{read: /repo}, {run: eslint *}, {run: tsc *}]",
        {
            "eslint src": "allow",
            "npx eslint src": "allow",
            "timeout 60 npx tsc --noEmit": "allow",
            "npx npx eslint src": "ask",
            "npx timeout 5 eslint src": "ask",
            "npx python -m eslint src": "ask",
            "tsc --noEmit false": "ask",
        },
    ),
    "without work, no relative path is allowed": (
        "allow: [{read: /}]",
        {"cat /a": "allow", "cat a": "ask", "ls": "ask", "git status": "ask", "echo x": "allow"},
    ),
    "a hidden folder is written to only where the rule names it": (
        "work: /repo\nallow: [{write: /repo/.github}]",
        {"touch .github/x": "allow", "touch .github/.x": "ask", "touch .x": "ask"},
    ),
    "git is read-only only where all of the folder may be read": (
        "work: /repo\nallow: [{read: /repo/src}, {run: git log *}]",
        {"git status": "ask", "git log": "ask", "cat src/a": "allow"},
    ),
    "a program may begin with words of one's own": (
        """
        work: /repo
        allow:
          - read: /repo
          - run: kubectl get pods *
          - run: python -m ruff check *
          - run: git add *
          - run: git fetch *
          - run: npm run *
          - run: aws ec2 describe-instances *
        """,
        {
            "kubectl get pods -n=x -o json": "allow",
            "kubectl get secret": "ask",
            "kubectl get pods --kubeconfig=x": "ask",
            "ruff check .": "allow",
            "uv run ruff check src": "allow",
            "ruff check --fix": "ask",
            "git add -A": "allow",
            "git add ../x": "ask",
            "git fetch origin feature/x": "allow",
            "git fetch src/../../other": "ask",
            "git fetch host:x": "ask",
            "git fetch": "allow",
            "git fetch reports": "ask",  # a file of work can name a repository anywhere
            "aws ec2 describe-instances help": "ask",
            "npm run test:unit": "allow",
            "npm run env": "ask",
            "aws ec2 describe-instances --region=evil.com/x": "ask",
            "aws ec2 describe-instances --filters Name=a,Values=b": "allow",
            "aws ec2 describe-instances --filters file:///etc/passwd": "ask",
            "aws ec2 describe-instances --filters file:x": "ask",
            "kubectl get pods -o templatefile=x": "ask",
        },
    ),
    "secrets of a cluster are left for a person": (
        "work: /repo\nallow: [{run: kubectl get *}, {run: kubectl describe *}]",
        {
            "kubectl get pods": "allow",
            "kubectl get pods secret-santa": "allow",
            "kubectl get pod/secrets-of-a-pod": "allow",
            "kubectl get secretstores": "allow",
            "kubectl get secrets": "ask",
            "kubectl get pods Secret/x": "ask",
            "kubectl get secrets.v1. -o yaml": "ask",
            "kubectl get pods,secret": "ask",
            "kubectl describe secret x": "ask",
        },
    ),
    "denied short options are found in any cluster": (
        "work: /repo\nallow: [{run: git branch -qD x}, {run: rm -fr x}]\ndeny: [{run: git branch -D}, {run: rm -rf}]",
        {"git branch -qD x": "ask", "rm -fr x": "ask", "git branch -D x": "deny", "rm -rf x": "deny"},
    ),
    "git does not go down into a path that is denied elsewhere": (
        "work: /repo\nallow: [{read: /}]\ndeny: [{path: /data/secrets}]",
        {
            "git diff": "allow",
            "git diff /data src": "ask",
            "grep -r x /data": "ask",
            "mv /data /x": "ask",
            "cat /data/a": "allow",
        },
    ),
}


@pytest.mark.parametrize("what", POLICIES)
def test_a_small_policy_decides_commands(tmp_path: Path, what: str) -> None:
    text, calls = POLICIES[what]
    policy = read(tmp_path, text)
    assert {command: answer(policy, command) for command in calls} == calls


CALLS: list[tuple[Subject, str]] = [
    (tool("Read", file_path="/repo/src/a.py", offset=5, limit=jsontext.Number("1E2")), "allow"),
    (tool("read", path="src/a.py"), "allow"),
    (tool("Read", file_path="/repo/app/[id]/page $x.tsx"), "allow"),
    (tool("Read", file_path="/repo/src/a.py", path="/repo/b"), "ask"),
    (tool("Read"), "ask"),
    (tool("Read", file_path="/etc/passwd"), "ask"),
    (tool("Read", file_path="../x"), "ask"),
    (tool("Read", file_path="~/x"), "ask"),
    (tool("Read", file_path="/repo/a\u200bb"), "ask"),
    (tool("Read", file_path="/repo/e\u0301"), "ask"),
    (tool("Read", file_path="/repo/a "), "ask"),
    (tool("Read", file_path=" /repo/a"), "ask"),
    (tool("Read", file_path="/repo/ secrets/x"), "ask"),
    (tool("Read", file_path="/repo/a b"), "allow"),
    (tool("Read", file_path="/repo/\u00e9"), "allow"),
    (tool("Read", file_path="/repo/a*"), "ask"),
    (tool("Read", file_path="file:///etc/passwd"), "ask"),
    (tool("Read", file_path="/repo/%2e%2e/etc/passwd"), "ask"),
    (tool("Read", file_path="/repo/a%2F..%2fb"), "ask"),
    (tool("Read", file_path="/repo/100% a"), "allow"),
    (tool("Read", file_path="/repo/a", mode="x"), "ask"),
    (tool("Read", file_path="/repo/a", limit="5"), "ask"),
    (tool("Read", file_path="/repo/a", limit=True), "ask"),
    (tool("Read", file_path=["/repo/a"]), "ask"),
    (tool("Read", file_path="/repo/secrets/key"), "deny"),
    (tool("Read", file_path="/repo/./src/../secrets"), "deny"),
    (tool("Read", file_path="/repo/Secrets/key"), "ask"),
    (tool("Write", file_path="/repo/reports/a.md", content="secrets/key git push"), "allow"),
    (tool("Write", file_path="/repo/reports/a.md", content="id_rsa"), "deny"),
    (tool("Write", file_path="/repo/reports/a.md", content="ID\u200b_RSA"), "ask"),
    (tool("Write", file_path="/repo/reports/a.md", content="see pastebin.com"), "ask"),
    (tool("Write", file_path="/repo/src/a.md", content="x"), "ask"),
    (tool("Write", file_path="/repo/reports/.env", content="x"), "ask"),
    (tool("Write", file_path="/repo/reports/x/HEAD", content="x"), "ask"),
    (tool("Edit", path="reports/a", old_string="a", new_string="b", replace_all=True), "allow"),
    (tool("Edit", path="reports/a", old_string="a", new_string="b", replace_all="yes"), "ask"),
    (tool("Grep", pattern="secrets/key", path="src"), "allow"),
    (tool("Grep", pattern="x", path="src", glob="*.{ts,tsx}", output_mode="content"), "allow"),
    (tool("Grep", pattern="x"), "ask"),
    (tool("Grep", pattern="x", path="/repo", glob="src/*"), "ask"),
    (tool("Grep", pattern="x", path="src", glob="/etc/*"), "ask"),
    (tool("Grep", pattern="x", path="src", glob="../*"), "ask"),
    (tool("Glob", pattern="src/**/*.py"), "allow"),
    (tool("Glob", pattern="**/*.py"), "ask"),
    (tool("Glob", pattern="/etc/*", path="src"), "ask"),
    (tool("Glob", pattern=".*/x", path="src"), "ask"),
    (tool("Glob", pattern="{x,}/etc", path="src"), "ask"),
    (tool("Glob", pattern="secrets/*"), "deny"),
    (tool("WebFetch", url="https://docs.example.com/a?b=c#d", prompt="Summarize"), "allow"),
    (tool("web_fetch", url="https://DOCS.example.com:443"), "allow"),
    (tool("WebFetch", url="http://docs.example.com/"), "ask"),
    (tool("WebFetch", url="https://docs.example.com:8443/"), "ask"),
    (tool("WebFetch", url="https://docs.example.com@evil.com/"), "ask"),
    (tool("WebFetch", url="https://evil.com\\@docs.example.com/"), "ask"),
    (tool("WebFetch", url="https://evil.com/https://docs.example.com/"), "ask"),
    (tool("WebFetch", url="https://docs.example.com?@evil.com/"), "ask"),
    (tool("WebFetch", url="https://docs.example.com#@evil.com/"), "ask"),
    (tool("WebFetch", url="https://sub.docs.example.com/"), "ask"),
    (tool("WebFetch", url="https://docs.example.com./"), "ask"),
    (tool("WebFetch", url="https://docs.example.com/\u00e9"), "ask"),
    (tool("WebFetch", url="https://x.pastebin.com/a"), "deny"),
    (tool("WebFetch", url="https://docs.example.com/?to=pastebin.com"), "ask"),
    (tool("WebFetch", url="https://docs.example.com/?to=pastebin%252ecom"), "ask"),
    (tool("WebSearch", query="anything"), "allow"),
    (tool("WebSearch", query="anything", count=5), "ask"),
    (tool("Frobnicate"), "ask"),
    (tool("Bash"), "ask"),
    (tool("Bash", command=["ls"]), "ask"),
    (tool("Bash", command="ls", description="List files", timeout=1000), "allow"),
    (tool("Bash", command="ls", cwd="/tmp"), "ask"),
    (mcp("get_issue", owner="a", repo="b"), "allow"),
    (mcp("get_issue"), "allow"),
    (mcp("get_issue", owner=["a", 1, None, True]), "allow"),
    (mcp("get_issue", owner={"a": 1}), "ask"),
    (mcp("get_issue", owner=[["a"]]), "ask"),
    (mcp("get_issue", owner="a", path="x"), "ask"),
    (mcp("get_issue", server="hub"), "ask"),
    (mcp("set_issue"), "ask"),
    (mcp("get_\u0456ssue"), "ask"),
    (mcp("get issue"), "ask"),
    (mcp("get_deleted_x"), "deny"),
    (mcp("mcp__github__delete_x"), "deny"),
    (mcp("Delete_x", server="hub"), "ask"),
    (mcp("get_file", owner="x", repo="secrets/key"), "ask"),
    (mcp("get_file", owner="x", repo="see /repo/secrets/key now"), "ask"),
    (mcp("get_file", owner="git", repo="git push"), "ask"),
    (mcp("get_file", owner="x", repo="id_rsa"), "deny"),
    (Subject("tool", "get_issue", {}, "github"), "ask"),
    (Subject("custom", "Bash", {"command": "ls"}), "ask"),
    (Subject("tool", "Bash", "ls"), "ask"),
    (Subject("tool", "Bash", None), "ask"),
    (Subject("tool", "Bash", {"command": "ls"}, "github"), "ask"),
    (Subject("tool", "Read", jsontext.parse('{"path": "/etc/x", "path": "/repo/x"}', exact=True)), "ask"),
    (bash("ls", is_main=False), "ask"),
    (bash("git push", is_main=False), "deny"),
    (bash("ls", in_work=False), "ask"),
    (bash("git status", in_work=False), "ask"),
    (bash("npm test", in_work=False), "ask"),
    (bash("cat /repo/src/a", in_work=False), "allow"),
    (bash("cd /repo && npm test && ls | head", in_work=False), "allow"),
    (bash("cd /repo && npm test; ls", in_work=False), "ask"),
    (bash("cd /repo && npm test || ls", in_work=False), "ask"),
    (bash("cat secrets/key", in_work=False), "ask"),
    (bash("cat repo/secrets/key", in_work=False), "ask"),
]


@pytest.mark.parametrize(("call", "wanted"), CALLS, ids=lambda value: ascii(str(value))[:80])
@pytest.mark.few(40)
def test_a_call_is_decided_by_what_it_does(policy: Policy, call: Subject, wanted: str) -> None:
    assert answer(policy, call) == wanted, decide(policy, call)


def test_a_policy_for_all_agents_allows_calls_of_others(tmp_path: Path) -> None:
    policy = read(tmp_path, "agents: all\n" + TEXT)
    calls = {"ls": "allow", "git push": "deny", "make": "ask"}
    assert {command: answer(policy, bash(command, is_main=False)) for command in calls} == calls


def test_a_policy_without_work_searches_nowhere(tmp_path: Path) -> None:
    assert answer(read(tmp_path, "allow: [{read: /}]"), tool("Grep", pattern="x")) == "ask"


def test_git_is_read_only_where_nobody_can_write_its_config(tmp_path: Path) -> None:
    for write, wanted in (
        ("/repo", "allow"),
        ("/", "allow"),
        ("/repo/.git", "ask"),
        ("/repo/.GIT/info", "ask"),
        ("/repo/app.git", "ask"),
    ):
        policy = read(tmp_path, f"work: /repo\nallow: [{{read: /repo}}, {{write: {write}}}]")
        assert answer(policy, "git status") == wanted


def test_a_fetch_rule_may_have_subdomains_or_a_path(tmp_path: Path) -> None:
    policy = read(
        tmp_path, "allow: [{fetch: '*.example.com'}, {fetch: github.com/acme}]\ndeny: [{fetch: github.com/acme/x}]"
    )
    urls = {
        "https://example.com/": "allow",
        "https://a.b.example.com/": "allow",
        "https://badexample.com/": "ask",
        "https://github.com/acme": "allow",
        "https://github.com/acme/y": "allow",
        "https://github.com/acmeevil": "ask",
        "https://github.com/acme/../evil": "ask",
        "https://github.com/acme%2f..%2fevil": "ask",
        "https://github.com/acme/%2e%2e/evil": "ask",
        "https://github.com/acme//x": "ask",
        "https://github.com/acme/x/z": "deny",
        "https://github.com/acme/%78": "ask",
    }
    assert {url: answer(policy, tool("WebFetch", url=url)) for url in urls} == urls


def test_a_tool_without_fields_has_those_of_its_schema(tmp_path: Path) -> None:
    policy = read(tmp_path, "allow: [{tool: mcp__hub__get_x}]")
    schema = frozenset(("a",))
    calls = [
        mcp("get_x", "hub", schema, a=1),
        mcp("get_x", "hub", schema, b=1),
        mcp("get_x", "hub", a=1),
        mcp("get_xy", "hub"),
    ]
    assert [answer(policy, each) for each in calls] == ["allow", "ask", "ask", "ask"]


def test_a_denied_path_is_found_in_the_values_of_a_servers_tool(tmp_path: Path) -> None:
    text = "work: /repo\nallow: [{tool: mcp__hub__say, fields: [a]}]\ndeny: [{path: /repo/my secrets}]"
    policy = read(tmp_path, text)
    values = {
        "see /repo/my secrets/x now": "ask",
        "x" * 5000 + " my secrets /repo/my secrets": "ask",
        "a:" * 60: "ask",  # too many to look at each
        "my secrets are none": "allow",
        "/repo/my": "allow",
    }
    assert {value: answer(policy, mcp("say", "hub", a=value)) for value in values} == values


MOVES = {
    "cd /tmp": True,
    "cd /tmp && ls": True,
    "cd /repo && ls": False,
    "cd repo && ls": True,
    "ls && pwd": False,
    "grep -r cd .": False,
    "X=1; pushd x": True,
    "c'd' /tmp; $X": True,
    ". ./env": True,
    "for f in *; do ls $f; done": False,
    "git -C /tmp log": False,
}


def test_a_command_that_leaves_the_folder_is_noticed(policy: Policy) -> None:
    assert {command: may_move(policy, bash(command)) for command in MOVES} == MOVES
    assert may_move(policy, tool("Bash", command="ls", cwd="/tmp"))
    assert may_move(policy, Subject("tool", "Bash", None))


def test_a_policy_has_rules_about_the_tools_that_it_decides(policy: Policy, tmp_path: Path) -> None:
    named = {
        ("tool", "Bash", None): True,
        ("tool", "bash", None): True,
        ("tool", "WebFetch", None): True,
        ("tool", "Frob", None): False,
        ("mcp", "get_x", "github"): True,
        ("mcp", "get_x", "hub"): False,
        ("mcp", "delete_x", "hub"): True,
        ("custom", "Bash", None): False,
    }
    assert {call: has_rule_about(policy, *call) for call in named} == named
    named = {("tool", "Bash", None): False, ("tool", "Read", None): True}
    policy = read(tmp_path, "deny: [{tool: Read}]")
    assert {call: has_rule_about(policy, *call) for call in named} == named
    policy = read(tmp_path, "work: /x\nallow: [{run: ls}]\ndeployments: [a]")
    assert [has_rule_about(policy, "tool", "Bash", deployment=[name]) for name in "ab"] == [True, False]


PLAIN = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(("/repo/a", "ls", "../..", "@x"))
)
LISTS = PLAIN | st.lists(PLAIN | st.lists(PLAIN, max_size=2), max_size=3)
VALUES = LISTS | st.dictionaries(st.sampled_from(("a", "path", "command")), LISTS)


@examples(1)
@given(
    name=st.sampled_from(("Bash", "Read", "Glob", "Grep", "Write", "Edit", "WebFetch", "get_x", "\ud800")),
    given=st.dictionaries(
        st.sampled_from(("command", "path", "file_path", "pattern", "url", "glob", "content", "owner", "x")), VALUES
    ),
    kind=st.sampled_from(("tool", "mcp")),
)
def test_a_call_of_another_shape_is_never_allowed(policy: Policy, name: str, given: Any, kind: str) -> None:
    verdict = decide(policy, Subject(kind, name, given, "github" if kind == "mcp" else None))
    json.dumps(verdict.data)
    if verdict.answer == "allow" and kind == "tool":
        assert all(isinstance(value, str | int) for value in given.values())
    denied(policy, Subject("custom", name, given))


PARTS = st.lists(
    st.sampled_from(("a", "..", ".", "", "secrets", "SECRETS", ".x", "HEAD", "a b", "reports")), max_size=6
)


@examples(2)
@given(parts=PARTS, start=st.sampled_from(("/repo/", "/", "", "./", "//repo//")), verb=st.sampled_from(("cat", "tee")))
def test_a_path_is_allowed_only_where_it_leads(policy: Policy, parts: list[str], start: str, verb: str) -> None:
    path = start + "/".join(parts)
    whole = posixpath.normpath(posixpath.join("/repo", path)).replace("//", "/")
    folder = "/repo" if verb == "cat" else "/repo/reports"
    verdict = decide(policy, bash(f"{verb} {shlex.quote(path)}"))
    inside = whole == folder or whole.startswith(f"{folder}/")
    if verdict.answer == "allow":
        assert inside
        assert not f"{whole.lower()}/".startswith("/repo/secrets/")
        assert verb == "cat" or not any(part.startswith(".") or part == "HEAD" for part in whole.split("/"))


# The file.

BAD = {
    "": "must be one mapping",
    "[]": "must be one mapping",
    "work: /x": "has no rules",
    "allow: x": "allow: must be a list of rules",
    "allow: [ls]": "allow[0]: must be a rule, such as `read: /repo`",
    "allow: ['Bash(git log:*)']": "allow[0]: must be a rule, such as `read: /repo`",
    "allow: [{}]": "must have one of read, write",
    "allow: [{read: /x, write: /x}]": "must have one of read, write",
    "rules: [{read: /x}]": "rules: unknown field; write `allow:` and `deny:`",
    "alow: [{read: /x}]": "alow: unknown field; did you mean allow?",
    "allow: [{reed: /x}]": "did you mean read?",
    "allow: [{bash: ls}]": "write `run: git status`",
    "allow: [{read: /x, because: y}]": "an approval has no reason",
    "allow: [{path: /x}]": "write `read:` or `write:`",
    "allow: [{read: /x, when: y}]": "there are no patterns",
    "allow: [{read: /x, keys: [y]}]": "write `fields:",
    "deny: [{read: /x}]": "write `path:`",
    "deny: [{search: web}]": "write `tool: WebSearch`",
    "deny: [{tool: x, fields: [y]}]": "leave it out: a deny is for every call of the tool",
    "deny: [{path: /x, because: ''}]": "and not empty",
    "deny: [{path: /x, because: [y]}]": "must be text",
    "deny: [{text: ' x'}]": "must be text without blanks",
    "deny: [{text: 5}]": "must be text",
    'deny: [{text: "id\\u200b_rsa"}]': "has the character U+200B, which nobody sees",
    'deny: [{path: /x, because: "a\\u00adb"}]': "has the character U+00AD",
    'deployments: ["x\\u3164"]\ndeny: [{path: /x}]': "has the character U+3164",
    "allow: []": "leave it out if there are none",
    "deny: [{run: git push *}]": "leave out the *: `run: git push` denies",
    "deny: [{run: git push; ls}]": "more than one command",
    "deny: [{path: x}]": "must be an absolute path",
    "deny: [{path: /x/*}]": "must have no *",
    "deny: [{path: /x/../y}]": "must be a plain path",
    "deny: [{fetch: 'https://x.com'}]": "without a scheme, such as x.com",
    "deny: [{fetch: 'x.com:80'}]": "without a port",
    "deny: [{fetch: '*'}]": "must be a host such as",
    "allow: [{run: ls}]": "1: needs `work`",
    "work: x\nallow: [{read: /x}]": "work: must be an absolute path",
    "work: [/x]\nallow: [{read: /x}]": "work: must be text",
    "work: /x\nallow: [{run: 'make *'}]": "does not know what the options of make do",
    "work: /x\nallow: [{run: 'git pull *'}]": "it knows git blame, git branch",
    "work: /x\nallow: [{run: 'pytst *'}]": "it knows pytest",
    "work: /x\nallow: [{run: 'npx wc *'}]": "may be another program behind npx",
    "work: /x\nallow: [{run: 'git log:*'}]": "write `run: git log *`",
    "work: /x\nallow: [{run: 'ls * x'}]": "* stands only at the end",
    "work: /x\nallow: [{run: 'cd /x && ls'}]": "more than one command",
    "work: /x\nallow: [{run: 'export A=b'}]": "export is a word of the shell itself",
    "work: /x\nallow: [{run: 'ls $X'}]": "it has $",
    "allow: [{search: all}]": "must be web",
    "allow: [{tool: Bash}]": "Bash is a built-in tool: write a rule with `run`",
    "allow: [{tool: github}]": "must name a server and its tool",
    "allow: [{tool: mcp__github}]": "must name a server and its tool",
    "allow: [{tool: mcp__a__b__c}]": "must name a server and its tool",
    "allow: [{tool: 'mcp__*__b'}]": "must name a server and its tool",
    "allow: [{tool: 'mcp__a__*b'}]": "* only at the end",
    "allow: [{tool: mcp__a__b, fields: []}]": "fields: must be a list of texts",
    "allow: [{read: /x}]\nagents: main": "must be all",
    "allow: [{read: /x}]\ndeployments: x": "must be a list of texts",
    "allow: [{read: /x}]\nallow: [{read: /y}]": "duplicate key",
    "allow: [{read: /x}]\n---\nallow: [{read: /y}]": "must be one mapping",
}


@pytest.mark.parametrize("text", BAD, ids=ascii)
@pytest.mark.few(30)
def test_a_policy_that_cannot_be_used_is_refused_with_the_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadFiles) as refused:
        read(tmp_path, text)
    assert BAD[text] in refused.value.message


UNCLEAR = ["\x85", "\u2028", "\u2029", "\r", "\u202e", "\u2066", "\u200f", "\u061c"]


@pytest.mark.parametrize("character", UNCLEAR, ids=ascii)
@pytest.mark.few(4)
def test_a_character_that_readers_disagree_about_is_refused_in_comments_too(tmp_path: Path, character: str) -> None:
    file = tmp_path / "policy.yaml"
    for text in (f"# a{character}  - b\nallow: [{{read: /x}}]\n", f'{{"allow": [{{"read": "/x{character}"}}]}}'):
        file.write_bytes(text.encode())
        with pytest.raises(BadFiles, match=rf"policy.yaml:1: has the character U\+{ord(character):04X}"):
            load(str(file))
    file.write_bytes(b"# a\r\nallow: [{read: /x}]\r\n")
    assert load(str(file)).rules


@pytest.mark.skipif(os.name != "posix", reason="needs the modes of files")
def test_a_policy_that_others_may_write_or_replace_is_warned_of(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o755)
    file = folder / "policy.yaml"
    file.write_text("allow: [{read: /x}]")
    warned = {}
    modes = ((0o600, 0o755), (0o644, 0o755), (0o646, 0o755), (0o1646, 0o755), (0o600, 0o757), (0o600, 0o1777))
    for mode, of_folder in modes:
        file.chmod(mode)
        folder.chmod(of_folder)
        here = [each for each in load(str(file)).warnings if str(folder) in each]
        warned[mode, of_folder] = [each.split(",")[0].removeprefix("others may write ") for each in here]
    assert warned == {
        (0o600, 0o755): [],
        (0o644, 0o755): [],
        (0o646, 0o755): [str(file)],
        (0o1646, 0o755): [str(file)],  # which keeps others only from what is in a folder
        (0o600, 0o757): [str(folder)],
        (0o600, 0o1777): [],
    }
    folder.chmod(0o757)
    link = tmp_path / "link.yaml"
    link.symlink_to(file)
    assert any(str(folder) in warning for warning in load(str(link)).warnings)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="gives a file to another user")
def test_a_policy_of_another_user_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("allow: [{read: /x}]")
    file.chmod(0o600)
    assert [warning for warning in load(str(file)).warnings if str(file) in warning] == []
    os.chown(file, 12345, 12345)
    assert [warning for warning in load(str(file)).warnings if str(file) in warning]
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert [warning for warning in load(str(file)).warnings if str(tmp_path) in warning] == []  # root may write all
