"""Command lines that are refused for what is typed: with exit 2, before anything is sent."""

import shlex

import pytest

from tests.conftest import TOKEN, Qoder

# By line: what the error says.
LINES = {
    "deploy run dep_1 --keys required": "--keys only works with --idempotency-key",
    "run wait drun_1 drun_2 --result": "--result with several runs needs",
    "session wait sess_1 sess_2": "session wait takes one session",
    "session logs sess_1 sess_2": "session logs takes one session",
    "run pending drun_1 --since 1d": "--since is for looking without a RUN",
    "session new --agent agent_1 --env env_1 --with-repo-token": "expects the token on standard input",
    "memory write memstore_1 a.md": "missing option -m",
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
    ran = qoder(*shlex.split(line))
    assert (ran.code, ran.out) == (2, "")
    assert LINES[line] in ran.err
