"""What people type who know other tools: understood, or answered with the line that does it. Never guessed and run."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qoder_cli.cli import command_tree
from qoder_cli.completion import read
from qoder_cli.mistakes import tables as corrections
from qoder_cli.mistakes.correct import correct
from qoder_cli.output.report import format_typed
from qoder_cli.output.screen import Screen
from qoder_cli.state import State
from tests.conftest import Qoder
from tests.wire import page

# What is typed, and the line that does it, as the error shows it.
CASES = {
    # a deployment or a run where a command should stand
    "run nightly": "deploy run nightly",
    "run nightly --wait": "deploy run nightly --wait",
    "run dep_1 dep_2 --wait --timeout 10m": "deploy run dep_1 dep_2 --wait --timeout 10m",
    "run run nightly": "deploy run nightly",
    "--profile work run dep_1 -w": "deploy run dep_1 --profile work -w",
    "run deployment nightly": "deploy run nightly",
    "run drun_1": "run get drun_1",
    "run last --json": "run get last --json",
    "run nightly@last": "run get nightly@last",
    # another word for it, or its noun left out
    "login": "auth login",
    "login --region cn": "auth login --region cn",
    "logout": "auth logout",
    "whoami": "auth status",
    "init": "auth login",
    "setup": "auth login",
    "configure": "auth login",
    "configure set region cn": "config set region cn",
    "configure list --json": "config list --json",
    "version": "--version",
    "man": "help",
    "docs": "help",
    "man deploy run": "help deploy run",
    "man runs ls": "help runs ls",
    "docs exit-codes": "help exit-codes",
    "ps": "run list",
    "ps -a": "run list --all",
    "jobs": "run list",
    "history nightly": "run list nightly",
    "logs drun_1": "run logs drun_1",
    "logs nightly --tail 5": "run logs nightly@last --tail 5",
    "log -n 20": "run logs last --tail 20",
    "tail -f drun_1": "run logs drun_1 -f",
    "events sess_1": "run logs sess_1",
    "watch drun_1": "run wait drun_1 --follow",
    "follow nightly": "run wait nightly@last --follow",
    "attach": "run wait last --follow",
    "wait drun_1 drun_2 --timeout 1m": "run wait drun_1 drun_2 --timeout 1m",
    "wait -": "run wait -",
    "logs - --tail 5": "run logs - --tail 5",
    "watch -": "run wait - --follow",
    "result drun_1": "run result drun_1",
    "result drun_1 sess_2": "run wait drun_1 sess_2 --result --json",
    "result a dep_1": "run wait a@last dep_1@last --result --json",
    "result nightly": "run result nightly@last",
    "output drun_1": "run result drun_1",
    "run output last": "run result last",
    "run download drun_1": "run result drun_1 --output-dir .",
    "download drun_1 --output-dir x": "run result drun_1 --output-dir x",
    "get drun_1": "run get drun_1",
    "get dep_1": "deploy get dep_1",
    "show drun_1": "run get drun_1",
    "view dep_1 --json": "deploy get dep_1 --json",
    "describe nightly": "deploy get nightly",
    "inspect last": "run get last",
    "info dep_1": "deploy get dep_1",
    "status drun_1": "run get drun_1",
    "stop drun_1": "run cancel drun_1",
    "kill last": "run cancel last",
    "abort drun_1 -y": "run cancel drun_1 -y",
    "cancel drun_1": "run cancel drun_1",
    "terminate drun_1": "run cancel drun_1",
    "rm dep_1": "deploy archive dep_1",
    "delete nightly --force": "deploy archive nightly --yes",
    "remove dep_1": "deploy archive dep_1",
    "destroy dep_1 dep_2": "deploy archive dep_1 dep_2",
    "archive dep_1": "deploy archive dep_1",
    "start nightly": "deploy run nightly",
    "trigger dep_1 --wait": "deploy run dep_1 --wait",
    "launch dep_1": "deploy run dep_1",
    "execute dep_1": "deploy run dep_1",
    "invoke -": "deploy run -",
    "enable nightly": "deploy unpause nightly",
    "unpause nightly": "deploy unpause nightly",
    "resume nightly": "deploy unpause nightly",
    "disable nightly": "deploy pause nightly",
    "pause nightly": "deploy pause nightly",
    "export nightly": "deploy export nightly",
    "create --name x -m 'hello there'": "deploy create --name x -m 'hello there'",
    "update nightly --name x": "deploy update nightly --name x",
    "apply -f x.yaml": "deploy apply -f x.yaml",
    "GET /models --query limit=5": "api GET /models --query limit=5",
    "POST /sessions -f a=b": "api POST /sessions -f a=b",
    "PUT /x": "api PUT /x",
    "PATCH /x": "api PATCH /x",
    "DELETE /sessions/sess_1": "api DELETE /sessions/sess_1",
    # the verb before the noun, or one that another noun has
    "list runs": "run list",
    "list runs nightly": "run list nightly",
    "get runs nightly": "run list nightly",
    "get runs drun_1": "run get drun_1",
    "run deployments list": "deploy list",
    "deploy runs list": "run list",
    "run runs": "run list",
    "get deployments": "deploy list",
    "get run drun_1": "run get drun_1",
    "describe deployment nightly": "deploy get nightly",
    "delete deployment nightly": "deploy archive nightly",
    "create deployment --name x": "deploy create --name x",
    "deploy runs": "run list",
    "deploy runs nightly": "run list nightly",
    "deployments runs dep_1 --json": "run list dep_1 --json",
    "deploy show dep_1": "deploy get dep_1",
    "deploy rm nightly": "deploy archive nightly",
    "deployments logs nightly": "run logs nightly@last",
    "run start nightly": "deploy run nightly",
    "runs describe drun_1": "run get drun_1",
    "run stop drun_1": "run cancel drun_1",
    # options
    "run list --jq .[].id": "run list --json",
    "deploy get dep_1 --jq=.name --json": "deploy get dep_1 --json",
    "run list --query '[].id'": "run list --json",
    "run list --jmespath x": "run list --json",
    "run list -L 5": "run list -n 5",
    "run list -L=5": "run list -n 5",
    "run list -n=5": "run list -n 5",
    "run list -L 5 --json status,conclusion": "run list -n 5 --json",
    "run list --json=status": "run list --json",
    "deploy run nightly --wait=true": "deploy run nightly --wait",
    "deploy run nightly --detach=true": "deploy run nightly",
    "run list --max 5": "run list -n 5",
    "run list --max-results=5": "run list -n 5",
    "deploy list --max-items 5": "deploy list -n 5",
    "deploy list --first 5": "deploy list -n 5",
    "run list --page-size 5": "run list -n 5",
    "run list --per-page 5": "run list -n 5",
    "run list --state failed": "run list --status failed",
    "run logs last --lines 5": "run logs last --tail 5",
    "deploy run nightly --watch": "deploy run nightly --wait",
    "run logs last --watch": "run logs last --follow",
    "run get drun_1 --watch": "run wait drun_1 --follow",
    "run get drun_1 --follow": "run wait drun_1 --follow",
    "run get drun_1 -f": "run wait drun_1 --follow",
    "run get drun_1 --wait": "run wait drun_1",
    "run get last --wait --timeout 5m": "run wait last --timeout 5m",
    "run get last --timeout 5m --wait": "run wait last --timeout 5m",
    "run result last --watch": "run wait last --follow",
    "run result last --follow": "run wait last --follow",
    "run result last -f": "run wait last --follow",
    "run result last --wait": "run wait last --result",
    "run wait last --watch": "run wait last --follow",
    "run wait last --wait": "run wait last",
    "deploy run nightly --detach": "deploy run nightly",
    "deploy run nightly -d": "deploy run nightly",
    "deploy run nightly --no-wait --async": "deploy run nightly",
    "deploy run nightly --background -q": "deploy run nightly -q",
    "deploy run nightly -y": "deploy run nightly",
    "deploy run nightly --yes": "deploy run nightly",
    "deploy run --deployment nightly --wait": "deploy run nightly --wait",
    "deploy run --deployment-id dep_1": "deploy run dep_1",
    "run get --run-id drun_1": "run get drun_1",
    "deploy get --id dep_1": "deploy get dep_1",
    "run list --url http://127.0.0.1:1": "run list --base-url http://127.0.0.1:1",
    "run list --host=x": "run list --base-url x",
    "run list --endpoint x": "run list --base-url x",
    "run list --server x": "run list --base-url x",
    "run list -v": "run list --debug",
    "run list -vv": "run list --debug",
    "-vvv run list": "run list --debug",
    "deploy run -wq nightly --verbose": "deploy run nightly -w -q --debug",
    "-V": "--version",
    "run nightly --watch --detach --jq .id": "deploy run nightly --wait --json",
}

# What is typed of which it is not known what was meant, and what the hint names instead.
UNSURE = {
    "list": "qoder run list",
    "ls": "qoder run list",
    "run nightly weekly": "qoder deploy run DEPLOYMENT",
    "run exec nightly": "qoder deploy run DEPLOYMENT",
    "run attach-to drun_1": "qoder deploy run DEPLOYMENT",
    "run dep_1 drun_1": "qoder deploy run DEPLOYMENT",
    "run get-logs drun_1": "qoder deploy run DEPLOYMENT",
    "run drun_1 drun_2": "qoder run get --help",
    "get deploy demo -o yaml": "qoder deploy get --help",
    "inspect dep_1 --format '{{.Name}}'": "qoder deploy get --help",
    "run list --state bogus": "qoder run list --help",
    "run list -L five": "qoder run list --help",
    "run wait last --wait --timeout soon": "qoder run wait --help",
    "update": "qoder deploy update --help",
    "apply": "qoder deploy apply --help",
    "update --name x": "qoder deploy update --help",
    "docs nonsense": "qoder help --help",
    "configure set token x": "qoder config set --help",
    "configure frobnicate": "qoder config --help",
    "get run nightly": "qoder run get --help",
    "get -": "qoder run get RUN",
    "result a drun_1": "run wait --result",
    "whoami really": "`auth status`",
    "login me": "qoder auth login",
    "init me": "qoder auth login",
    "deploy run x --wait=false": "--wait takes no value",
    "deploy run x --detach=false": "unless --wait is given",
    "deploy apply -f x --dry-run=client": "--dry-run takes no value",
    "status": "qoder auth status",
    "start": "qoder deploy run DEPLOYMENT",
    "archive drun_1": "qoder deploy archive DEPLOYMENT",
    "run pause": "qoder deploy pause DEPLOYMENT",
    "download": "qoder run result RUN --output-dir .",
    **dict.fromkeys(("get", "show", "view", "describe", "inspect", "info"), "qoder deploy get"),
    **{f"{verb} nightly": "qoder run cancel" for verb in ("stop", "kill", "abort", "cancel", "terminate")},
    **{f"{verb} drun_1": "only archived" for verb in ("rm", "delete", "remove", "destroy")},
    **{f"{verb} drun_1": "qoder deploy run" for verb in ("retry", "rerun", "restart")},
    "deploy dep_1": "qoder deploy get",
    "run show nightly": "qoder deploy get",
    "ps --nonsense": "run list",
    "deploy run x --quiet": "-q",
    "deploy run x --silent": "--no-progress",
    "deploy run x --input y": "takes no input",
    "deploy run x --prompt y": "takes no input",
    "deploy run x --message y": "takes no input",
    "deploy run x --env y": "takes no input",
    "deploy run x --jq": "jq picks from JSON",
    "deploy run x --token --wait": "QODER_PAT",
}

# A slip, and what is suggested.
SLIPS = {
    "deploi run x": "qoder deploy",
    "run lst": "qoder run list",
    "deploy rnu x": "qoder deploy run",
    "deploy run x --wiat": "--wait",
    "run list --staus failed": "--status",
    "run list --outptu json": "-o",
    "deploy run x --on_lost fail": "--on-lost",
    "run list --profil x": "--profile",
}


def parses(words: list[str]) -> bool:
    """Return whether the command tree takes a line, by all that typer checks, without running it."""
    state = State(env={}, out=Screen(None), err=Screen(None))
    command: Any = command_tree("qoder")
    context: Any = None
    try:
        while True:
            context = command.make_context(command.name, list(words), parent=context, obj=state)
            if not hasattr(command, "resolve_command") or not (words := [*context._protected_args, *context.args]):
                return True
            _, command, words = command.resolve_command(context, words)
    except typer.Exit:
        return True  # --help and --version
    except Exception:
        return False


@pytest.mark.parametrize("typed", CASES)
def test_a_foreign_line_is_answered_with_the_line_that_does_it(qoder: Qoder, typed: str) -> None:
    meant = shlex.split(CASES[typed])
    ran = qoder(*shlex.split(typed))
    assert (ran.code, ran.out) == (2, "")
    if format_typed(shlex.split(typed)) == "json":
        assert ran.error["next"] == ["qoder", *meant]
    else:
        error, hint = ran.err.splitlines()
        assert error.startswith("error: ")
        assert hint.startswith("hint: ")
        assert hint.endswith(f": {shlex.join(['qoder', *meant])}")
    assert parses(meant)


@pytest.mark.parametrize("typed", UNSURE)
def test_where_it_is_not_sure_nothing_is_rewritten(qoder: Qoder, typed: str) -> None:
    ran = qoder(*shlex.split(typed), "--json")
    assert (ran.code, ran.out, ran.error["next"]) == (2, "", None)
    assert UNSURE[typed] in ran.error["hint"]


@pytest.mark.parametrize("typed", SLIPS)
def test_a_slip_gets_a_suggestion(qoder: Qoder, typed: str) -> None:
    ran = qoder(*shlex.split(typed))
    assert ran.code == 2
    assert f"did you mean {SLIPS[typed]}" in ran.err.replace("'", "")


@pytest.mark.parametrize(
    "typed", ["deploy run x --web", "run list --user me", "vaults", "vault list", "run list --foo", "agents", "xyz"]
)
def test_what_is_no_slip_gets_no_suggestion(qoder: Qoder, typed: str) -> None:
    ran = qoder(*shlex.split(typed))
    assert ran.code == 2
    assert "did you mean" not in ran.err
    assert "--help" in ran.err


# What typer says of a mistake, in plain words.
SAID = {
    "run list --limit five": "--limit takes a number of at least 1, not 'five'",
    "run list -n 0": "--limit takes a number of at least 1, not 0",
    "deploy run x --parallel 1000": "--parallel takes a number from 1 to 100, not 1000",
    "sandbox --speed fast": "--speed takes a number, not 'fast'",
    "run list --format yaml": "--format takes table, json, jsonl or id, not 'yaml'",
    "run list -o yaml": "-o takes table, json, jsonl or id, not 'yaml'",
    "deploy list --status gone": "--status takes active or paused, not 'gone'",
    "deploy run": "DEPLOYMENT... is missing",
    "config set": "KEY is missing",
    "deploy apply": "--filename is missing",
    "run list --wait=x": "qoder run list has no option --wait",
    "deploy run x --dry-run=maybe": "--dry-run takes no value",
    "runs ls --since": "--since needs a value",
    "run get a b": "qoder run get takes only RUN",
}


@pytest.mark.parametrize("typed", SAID)
def test_a_mistake_is_told_in_plain_words_with_the_help_of_its_command(qoder: Qoder, typed: str) -> None:
    ran = qoder(*shlex.split(typed))
    words = typed.replace("runs ls", "run list").split()
    command = words[0] if words[0] == "sandbox" else " ".join(words[:2])
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.splitlines()[0] == f"error: {SAID[typed]}"
    assert f"qoder {command} --help" in ran.err or "--dry-run takes no value: leave it out" in ran.err


def test_an_error_in_json_has_the_words(qoder: Qoder) -> None:
    error = qoder("run", "my report", "--wait", "-o", "json").error
    assert error["message"] == "there is no command 'qoder run my report'"
    assert error["next"] == ["qoder", "deploy", "run", "my report", "--wait", "-o", "json"]


def test_the_line_is_that_of_the_program_that_was_called() -> None:
    meant = correct(["ps"], command_tree("qoder-cli"), "qoder-cli")
    assert meant
    assert meant.words == ["qoder-cli", "run", "list"]


def test_jq_is_told_how_to_be_asked(qoder: Qoder) -> None:
    told = qoder("run", "list", "--jq", ".[] | .id").err
    assert "jq picks from JSON: put | jq '.[] | .id' behind the line: qoder run list --json" in told


def test_every_entry_of_the_tables_has_a_case() -> None:
    typed = {word.partition("=")[0] for line in (*CASES, *UNSURE) for word in shlex.split(line)}
    tables = (corrections.COMMANDS, corrections.OPTIONS, corrections.UNSURE_OPTIONS, corrections.UNSURE)
    foreign = {word for table in tables for word in table}
    secret = {name for name, instead in corrections.OPTIONS.items() if "token" in instead.because}
    assert foreign - secret - {"-n"} <= typed
    assert secret == set(TOKEN_OPTIONS)
    moved = {
        (path, option)
        for path, option in corrections.MOVED
        for line in CASES
        if line.startswith(path) and option in line
    }
    assert moved == set(corrections.MOVED)


def test_what_the_hints_name_is_there() -> None:
    tables = (corrections.COMMANDS.values(), corrections.OPTIONS.values(), corrections.MOVED.values())
    told = [each.because for table in tables for each in table]
    told += [*corrections.UNSURE.values(), *corrections.UNSURE_OPTIONS.values()]
    named = {line for hint in told for line in re.findall("`qoder ([^`]*)`", hint)}
    assert named
    assert [line for line in named if not parses(line.lower().split())] == []


# Tokens.

TOKEN = "Tok.en/0123456789+abc="
TOKEN_OPTIONS = ("--token", "--pat", "--api-key", "--access-token", "--auth-token")


@pytest.mark.parametrize("option", TOKEN_OPTIONS)
@pytest.mark.parametrize(
    "words",
    [
        ["{option}", "{token}", "deploy", "run", "nightly"],
        ["{option}={token}", "deploy", "run", "nightly"],
        ["deploy", "run", "nightly", "{option}", "{token}"],
        ["deploy", "run", "{option}={token}", "nightly"],
        ["run", "{option}", "{token}", "nightly"],
        ["run", "nightly", "{option}", "{token}"],
    ],
)
def test_a_typed_token_is_never_repeated(qoder: Qoder, option: str, words: list[str]) -> None:
    typed = [word.format(option=option, token=TOKEN) for word in words]
    told, shown = qoder(*typed, "-o", "json"), qoder(*typed)
    assert told.code == shown.code == 2
    assert TOKEN not in told.out + told.err + shown.out + shown.err
    assert told.error["next"] == ["qoder", "deploy", "run", "nightly", "-o", "json"]
    assert "QODER_PAT" in told.error["hint"]


@pytest.mark.parametrize(
    "words", [["login", TOKEN], ["login", "--token", TOKEN], ["auth", "login", TOKEN], ["login", f"--pat={TOKEN}"]]
)
def test_a_token_that_is_typed_to_log_in_is_not_repeated(qoder: Qoder, words: list[str]) -> None:
    ran = qoder(*words)
    assert (ran.code, ran.out) == (2, "")
    assert TOKEN not in ran.err
    assert "qoder auth login" in ran.err


def test_what_looks_like_a_token_is_not_repeated_wherever_it_stands(qoder: Qoder) -> None:
    assert "pt-0123456789" not in qoder("pt-0123456789").err
    assert qoder("run", "pt-0123456789", "--json").error["next"] is None
    assert "pt-0123456789" not in qoder("run", "pt-0123456789").err
    assert "pt-0123456789" not in qoder("-o", "pt-0123456789", "run", "list").err


# Any line.

WORDS = st.sampled_from(
    [word for line in (*CASES, *UNSURE, *SLIPS) for word in shlex.split(line) if word not in ("--", "-V", "version")]
    + ["auth", "config", "api", "doctor", "dep_1", "drun_1", "-", "-o", "json", "--json", "--profile", "-n", "3"]
)
LINES = st.lists(WORDS | st.text(max_size=8), max_size=7)
TREE = command_tree("qoder")
GRAMMAR = read(TREE)


@pytest.fixture(scope="module")
def anywhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Qoder]:
    """Return what runs a command line where no request is expected."""
    runner = Qoder(Path(tmp_path_factory.mktemp("anywhere")) / "config.toml")
    yield runner
    runner.wire.check()


@given(LINES)
def test_what_is_rewritten_is_understood(words: list[str]) -> None:
    meant = correct(words, TREE, "qoder")
    if meant and meant.words:
        assert meant.because
        assert meant.words[0] == "qoder"
        assert parses(meant.words[1:]), meant.words


@settings(max_examples=60)
@example(["-o"], "--token", 1, False)
@example(["run", "--profile"], "--token", 2, False)
@example(["-o", "--pat", "logs"], "--token", 1, False)
@given(LINES, st.sampled_from(TOKEN_OPTIONS), st.integers(0, 7), st.booleans())
def test_no_line_with_a_foreign_option_runs_anything_or_shows_the_token(
    anywhere: Qoder, words: list[str], option: str, place: int, attached: bool
) -> None:
    words = [word for word in words if word not in ("--", "-h", "--help")]
    words[place:place] = [f"{option}={TOKEN}"] if attached else [option, TOKEN]
    if parses(words):
        return  # the option is the value of another, and the token a name
    ran = anywhere(*words)
    assert (ran.code, ran.out) == (2, "")
    assert TOKEN not in ran.err
    assert not anywhere.wire.requests


# Understood, and not shown.


@pytest.mark.parametrize(
    "words",
    [
        ["run", "list", "--output", "json"],
        ["run", "list", "--output=json"],
        ["--output", "json", "run", "list"],
        ["--output=json", "run", "list"],
        ["run", "--format", "json", "list"],
        ["run", "list", "--format=json"],
        ["run", "list", "-ojson"],
        ["run", "list", "-o=json"],
        ["--json=true", "run", "list"],
        ["runs", "ls", "--json=true"],
    ],
)
def test_the_format_is_understood_in_other_tools_ways(qoder: Qoder, words: list[str]) -> None:
    qoder.wire.on("GET", "/deployment_runs", page())
    ran = qoder(*words)
    assert (ran.code, ran.json) == (0, [])


def test_the_last_format_wins_whatever_its_name(qoder: Qoder) -> None:
    qoder.wire.on("GET", "/deployment_runs", page(), page())
    assert qoder("--json", "run", "list", "--output", "table").out == ""
    assert qoder("--format=table", "run", "list", "--json").json == []


@pytest.mark.parametrize(
    "words",
    [
        ["--output", "json", "nonsense"],
        ["nonsense", "--output=json"],
        ["nonsense", "--format", "json"],
        ["nonsense", "--json=true"],
        ["nonsense", "-o=json"],
        ["nonsense", "-wojson"],
        ["nonsense", "-wo", "json"],
    ],
)
def test_the_format_is_heeded_by_the_error_of_a_line_that_is_not_understood(qoder: Qoder, words: list[str]) -> None:
    assert qoder(*words).error["type"] == "usage"


def test_what_stands_behind_two_dashes_is_not_ours(qoder: Qoder) -> None:
    assert format_typed(["sandbox", "--", "qoder", "--output", "json"]) == "table"
    ran = qoder("sandbx", "--", "qoder", "login")
    assert ran.code == 2
    assert "auth login" not in ran.err


@pytest.mark.parametrize("noun", ["deploy", "deployment", "deployments"])
@pytest.mark.parametrize("verb", ["runs", "deployment", "deployments"])
def test_another_word_for_a_noun_is_no_command_and_starts_nothing(qoder: Qoder, noun: str, verb: str) -> None:
    ran = qoder(noun, verb, "dep_1", "--json")
    assert (ran.code, ran.out, ran.error["type"]) == (2, "", "usage")
    assert not qoder.wire.requests


@pytest.mark.parametrize("option", ["--idempotency-key", "--workspace", "--timeout", "-o"])
@pytest.mark.parametrize("behind", ["--dry-run", "--wait", "-f", "--json", "--output"])
def test_an_option_is_no_value_of_another_so_that_an_empty_variable_starts_nothing(
    qoder: Qoder, option: str, behind: str
) -> None:
    ran = qoder("deploy", "run", "dep_1", option, behind)
    assert (ran.code, ran.out) == (2, "")
    assert f"{option} needs a value, and what follows is the option {behind}" in ran.err
    assert not qoder.wire.requests


def test_a_value_may_look_like_an_option_where_it_is_attached(qoder: Qoder) -> None:
    assert qoder("deploy", "run", "dep_1", "--idempotency-key=--wait", "--dry-run", "--json").json["dry_run"] is True


def test_a_noun_and_a_verb_are_each_understood_in_their_place_only(qoder: Qoder) -> None:
    qoder.wire.on("GET", "/deployments", page())
    assert qoder("deployments", "ls", "--json").json == []
    for word in ("ls", "resume"):
        assert qoder(word).code == 2


def test_the_other_names_are_not_shown(qoder: Qoder) -> None:
    shown = qoder("deploy", "run", "--help").out
    assert "--output" not in shown
    assert "--format" not in shown


def test_no_command_has_an_option_of_these_names_of_its_own() -> None:
    own = {name for level in GRAMMAR.levels for option in level.options for name in option.names}
    assert not own & {"--output", "--format", "-o", "--json", "-q"}
