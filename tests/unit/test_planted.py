"""A token that is typed where something else belongs is never repeated, whatever the command.

Every command is tried with a token in each of its arguments, in the value of each option, in each variable, in each key
of the config file, on standard input, and in the files that options name. Nothing that it writes may have it.
"""

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from qoder_cli.app import App
from qoder_cli.cli.main import command_tree, main
from qoder_cli.help.documented import VARIABLES
from qoder_cli.output.screen import Screen
from tests.conftest import TOKEN as OWN
from tests.support.wire import FakeClock

PAT = "pt-misplaced-0123456789abcdef"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJtaXNwbGFjZWQifQ.bWlzcGxhY2Vk"
TOKENS = (PAT, JWT)
PIECES = ("misplaced-0123", "eyJhbGci", "eyJzdWIi", "bWlzcGxh")  # also of a token that was cut
DEPLOYMENT = {
    "id": "dep_1",
    "type": "deployment",
    "name": "nightly",
    "agent": {"id": "agent_1", "type": "agent", "version": 1},
    "environment_id": "env_1",
    "initial_events": [{"type": "user.message", "content": [{"type": "text", "text": "Report."}]}],
    "status": "active",
    "archived_at": None,
    "created_at": "2026-06-14T00:00:00Z",
}
RUN = {
    "id": "drun_1",
    "type": "deployment_run",
    "deployment_id": "dep_1",
    "status": "completed",
    "session_id": "sess_1",
    "created_at": "2026-06-14T00:00:00Z",
    "completed_at": "2026-06-14T00:01:00Z",
}
# What every command needs beside what is tried.
NEEDED = {
    "deploy create": ["--name", "a", "--agent", "agent_1", "--environment", "env_1", "-m", "Report", "--dry-run"],
    "deploy update": ["--description", "a", "--dry-run"],
    "deploy apply": ["--dry-run"],
    "deploy run": ["--dry-run"],
    "completion": [],
}
GOOD = {  # for an argument, by its metavar
    "DEPLOYMENT": "dep_1",
    "RUN": "drun_1",
    "METHOD": "GET",
    "PATH": "/deployments/dep_1",
    "KEY": "region",
    "VALUE": "cn",
    "SHELL": "bash",
    "TOPIC": "environment",
}


class Try(NamedTuple):
    """A command line with TOKEN somewhere in it."""

    words: list[str]


def commands(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    """Yield every command below one, by its words."""
    if not hasattr(command, "list_commands"):
        yield path, command
        return
    for name in command.list_commands(None):
        yield from commands(f"{path} {name}".strip(), command.get_command(None, name))


COMMANDS = dict(commands("", command_tree("qoder")))


def arguments(command: Any) -> list[Any]:
    return [param for param in command.params if param.param_type_name == "argument"]


def good(param: Any) -> str:
    metavar = (param.metavar or param.name.upper()).strip("[]. ").removesuffix("...")
    return next((value for name, value in GOOD.items() if metavar.startswith(name)), "x")


def tries(path: str, command: Any) -> Iterator[list[str]]:
    """Yield command lines, each with TOKEN in one place."""
    start = path.split()
    needed = NEEDED.get(path, [])
    usual = [good(param) for param in arguments(command) if not param.hidden]
    if path == "sandbox":
        usual = ["true"]
    for position in range(len(usual)):
        for planted in ("TOKEN", "https://TOKEN", "x TOKEN", "TOKEN@last", "profiles.TOKEN.region"):
            yield [*start, *(planted if at == position else word for at, word in enumerate(usual)), *needed]
    yield [*start, *usual, "TOKEN", *needed]
    yield [*start, *usual, "--TOKEN", *needed]
    yield [*start, *usual, "-oTOKEN", *needed]
    yield [*start, "TOKEN", "TOKEN"]
    for param in command.params:
        if param.param_type_name == "option" and not param.is_flag:
            for name in (*param.opts, *param.secondary_opts):
                yield [*start, *usual, *needed, name, "TOKEN"]
                yield [*start, *usual, *needed, f"{name}=TOKEN" if name.startswith("--") else f"{name}TOKEN"]
                yield [*start, *usual, *needed, name, "k=TOKEN"]
                yield [name, "TOKEN", *start, *usual, *needed]


def answer(request: httpx.Request) -> httpx.Response:
    """Answer as a server that has one deployment and one run, and repeats whatever else it is asked for."""
    path = request.url.path.removeprefix("/api/v1/cloud")
    known = {"/deployments/dep_1": DEPLOYMENT, "/deployment_runs/drun_1": RUN}
    lists = {"/deployments": [DEPLOYMENT], "/deployment_runs": [RUN]}
    if request.method == "GET" and path in known:
        return httpx.Response(200, json=known[path])
    if request.method == "GET" and path in lists:
        return httpx.Response(200, json={"data": lists[path], "has_more": False})
    said = f"what is {request.url} with {dict(request.headers)} and {request.content.decode('utf-8', 'replace')}?"
    error = {"type": "error", "error": {"type": "not_found_error", "message": said}}
    return httpx.Response(404, json=error, headers={"x-request-id": "req_1"})


class Person:
    """Someone who types tokens in the wrong places."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "config.toml"
        self.env = {"QODER_PAT": OWN, "QODER_CONFIG": str(self.config), "QODER_STATE_DIR": str(folder / "state")}

    def types(self, *words: str, stdin: str = "", **env: str) -> str:
        """Return all that is written: standard output, standard error, and every file that is kept."""
        out, err = io.BytesIO(), io.BytesIO()
        app = App(
            env=self.env | env,
            out=Screen(out),
            err=Screen(err),
            stdin=io.StringIO(stdin),
            clock=FakeClock(),
            transport=httpx.MockTransport(answer),
        )
        main(list(words), app)
        self.out, self.err = out.getvalue().decode(), err.getvalue().decode()
        there = list(os.walk(self.folder))
        kept = [Path(place, name) for place, _, names in there if "/state" in place for name in names]
        texts = [path.read_text("utf-8", "replace") for path in kept]
        return "\n".join([self.out, self.err, *texts, str(there)])

    def is_discreet(self, *words: str, stdin: str = "", **env: str) -> None:
        """Assert that nothing of a token is written."""
        written = self.types(*words, stdin=stdin, **env)
        assert "Traceback" not in written
        for piece in (*TOKENS, *PIECES):
            assert piece not in written, f"{words} {env}: {piece} in {written}"


@pytest.fixture
def person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Person:
    monkeypatch.chdir(tmp_path)
    return Person(tmp_path)


@pytest.mark.parametrize("path", COMMANDS)
def test_no_argument_and_no_option_is_repeated_when_it_is_a_token(person: Person, path: str) -> None:
    for number, words in enumerate(tries(path, COMMANDS[path])):
        token = TOKENS[number % 2]
        format = (["--json"], [], ["--debug"])[number % 3]
        person.is_discreet(*(word.replace("TOKEN", token) for word in words), *format)


@pytest.mark.parametrize("token", TOKENS, ids=["pat", "jwt"])
@pytest.mark.parametrize("words", [[], ["--json"]], ids=" ".join)
def test_no_command_is_repeated_when_it_is_a_token(person: Person, token: str, words: list[str]) -> None:
    for line in ("TOKEN", "TOKEN/x", "run TOKEN", "help TOKEN", "help run TOKEN", "-o TOKEN run", "run list -nTOKEN"):
        person.is_discreet(*line.replace("TOKEN", token).split(), *words)


LOOKS = [
    line.split()
    for line in (
        "auth status",
        "auth logout",
        "config list",
        "config path",
        "config set region cn",
        "doctor",
        "deploy list",
        "deploy run dep_1 --dry-run",
        "run get last",
        "api GET /x",
    )
]


@pytest.mark.parametrize("name", [name for names in VARIABLES for name in names.names])
def test_no_variable_is_repeated_when_it_is_a_token(person: Person, name: str) -> None:
    for number, words in enumerate(LOOKS):
        for value in (TOKENS[number % 2], f"https://{TOKENS[number % 2]}", f"/no/{TOKENS[number % 2]}"):
            if name in ("QODER_CONFIG", "QODER_STATE_DIR") and value.startswith("/no"):
                continue
            person.is_discreet(*words, *(["--json"] if number % 3 else []), **{name: value})


@pytest.mark.parametrize("token", TOKENS, ids=["pat", "jwt"])
@pytest.mark.parametrize(
    "text",
    [
        '[profiles.default]\nregion = "TOKEN"\n',
        '[profiles.default]\nbase_url = "TOKEN"\n',
        '[profiles.default]\nbase_url = "https://u:TOKEN@host/x"\n',
        '[profiles.default]\nbase_url = "https://host/TOKEN"\n',
        '[profiles.default]\nworkspace_id = "TOKEN"\n',
        '[profiles.default]\n"TOKEN" = "x"\n',
        '[profiles."TOKEN"]\nregion = "cn"\n',
        '[profiles."TOKEN"]\nregion = 7\n',
        '"TOKEN" = 7\n',
        'token = "TOKEN\n',
        "TOKEN\n",
    ],
)
def test_no_word_of_the_config_file_is_repeated_when_it_is_a_token(person: Person, text: str, token: str) -> None:
    for number, words in enumerate([*LOOKS, ["config", "get", "region"], ["config", "get", "workspace_id"]]):
        person.config.write_text(text.replace("TOKEN", token))
        person.config.chmod(0o600)
        person.is_discreet(*words, *(["--json"] if number % 2 else []))
        person.is_discreet(*words, "--profile", token)


FIELDS = {**DEPLOYMENT, "name": "weekly", "agent": "agent_1", "message": "Report."}


def spoiled(token: str) -> Iterator[str]:
    """Yield deployment files with a token in one place of each."""
    fields = {key: FIELDS[key] for key in ("name", "agent", "environment_id", "message")}
    more = ("description", "schedule", "budget", "id", "type", "unknown", "vault_ids", "metadata", "resources")
    for key in (*fields, *more):
        for value in (token, [token], {"k": token}, {token: "x"}, {"type": token, "url": token}):
            yield json.dumps({**fields, key: value})
    yield json.dumps({**fields, token: "x"})
    yield f"{token}"
    yield f"name: {token}\n- x"
    yield f"name: ${{{token}}}"
    yield f"name: a\nname: {token}"
    yield json.dumps({**fields, "environment_variables": f"A={token}"})


@pytest.mark.parametrize("token", TOKENS, ids=["pat", "jwt"])
def test_no_word_of_a_deployment_file_is_repeated_when_it_is_a_token(person: Person, token: str) -> None:
    for number, text in enumerate(spoiled(token)):
        Path("file.yaml").write_text(text)
        format = (["--json"], [], ["--debug"])[number % 3]
        person.is_discreet("deploy", "apply", "-f", "file.yaml", "--dry-run", *format)
        person.is_discreet("deploy", "apply", "-f", "-", "--dry-run", stdin=text)
    Path("token.txt").write_text(token + " and more\n")
    person.is_discreet("deploy", "run", "dep_1", "--dry-run", QODER_PAT_FILE="token.txt", QODER_PAT="")
    person.is_discreet("api", "POST", "/deployments", "--input", "token.txt")
    person.is_discreet("deploy", "apply", "-f", "token.txt")


@pytest.mark.parametrize("token", TOKENS, ids=["pat", "jwt"])
@pytest.mark.parametrize("words", ["run get", "run wait", "run logs", "deploy run", "deploy pause"])
@pytest.mark.parametrize("options", [[], ["--json"], ["-o", "jsonl"], ["--debug"]], ids=" ".join)
def test_no_line_of_standard_input_is_repeated_when_it_is_a_token(
    person: Person, token: str, words: str, options: list[str]
) -> None:
    for lines in (f"drun_1\n{token}\n", f"dep_1\n{token}\n", f"{token}\n"):
        person.is_discreet(*words.split(), "-", *options, stdin=lines)
    person.is_discreet("auth", "login", "--with-token", *options, stdin=f"{token} {token}\n")
