"""What people type who know other tools, or with a slip: understood, or answered with a hint. Never guessed and run."""

import io
import re
import shlex
import string
from collections.abc import Iterator
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import example, given
from hypothesis import strategies as st

from qoder_cli.app import App
from qoder_cli.cli.main import command_tree, main
from qoder_cli.help import ALIKE, suggestions
from qoder_cli.help.suggestions import DESTRUCTIVE, meant
from qoder_cli.nouns.table import NOUNS
from qoder_cli.output.screen import Screen, format_typed
from tests.conftest import Qoder, examples
from tests.contract.lines import COMMANDS
from tests.support.cells import ALL_CELLS
from tests.support.completions import offered
from tests.support.wire import page

# What the hint names, and what is typed. Each row of the thesaurus is tried below.
HINTED = {
    "'qoder session list' or 'qoder key list' or 'qoder config list'?": ["list"],
    "'qoder run list'": ["ls", "get runs"],
    "'qoder run get'": ["show", "describe run drun_1"],
    "the noun comes first: 'qoder run wait'": ["wait drun_1"],
    "the noun comes first: 'qoder deploy archive'": ["archive dep_1"],
    "the noun comes first: 'qoder session cancel'": ["cancel sess_1"],
    "the noun comes first: 'qoder run cancel'": ["cancel last"],
    "the noun comes first: 'qoder run approve'": ["approve nightly@last"],
    "hint: did you mean 'qoder run deny'?": ["deny"],
    "the noun comes first: 'qoder agent create'": ["create agent --name x"],
    "hint: the noun comes first; see: qoder vault credential --help": ["delete vault credential team github-token"],
    "hint: see: qoder memory --help": ["rm memory x", "remove memory project x"],
    "the noun comes first: qoder NOUN VERB": ["delete", "archive x", "create", "edit nightly"],
    "did you mean 'qoder deploy unpause'?": ["resume nightly"],
    "`qoder run wait DEPLOYMENT@last`": ["deploy wait dep_1"],
    "hint: agents can only be archived; see: qoder agent --help": ["agent delete x", "delete agent_1"],
    "hint: runs cannot be deleted; see: qoder run --help": ["run delete last"],
    "hint: see: qoder session --help": ["session purge sess_1"],
    "hint: see: qoder deploy --help; archiving cannot be undone": ["deploy unarchive x"],
    "`qoder deploy update DEPLOYMENT --name NAME`": ["deploy rename x y"],
    "run --help; to run a deployment, see: qoder deploy run --help": ["run nightly --wait"],
    "hint: for a list of commands: qoder run --help": ["run finish last", "run create x"],
    "the noun comes first: 'qoder run retry'": ["retry drun_1", "rerun run last", "start nightly@last"],
    "hint: to start a failed run once more: `qoder run retry RUN`; DEPLOYMENT@last": ["rerun nightly", "retry dep_1"],
    "qoder deploy run DEPLOYMENT": ["deploy nightly-1", "run my-report --wait", "run dep_1"],
    "hint: to show a run: `qoder run get RUN`": ["run drun_1", "deploy drun_1", "last"],
    "to change an agent: `qoder agent update AGENT`": ["agent edit writer"],
    "to write an agent as a file: `qoder export AGENT`": ["agent export writer"],
    "list them: qoder config list": ["config view"],
    "list them: qoder vault list": ["vault credential list"],
    "did you mean --deployment?": ["session list nightly"],
    "did you mean --name?": ["deploy list demo"],
    "did you mean --output?": ["--format json run list"],
    "pipe in their ids from a list with -q: … | qoder deploy pause -": ["deploy pause --all"],
    "did you mean id?": ["run list -o name"],
    "--json | jq FILTER, or choose columns: --columns": ["run list -o jsonpath={.id}"],
    "to name a folder: -O DIR": ["run result last -o out"],
    "drop it: that is so without --follow": ["run wait last --no-follow"],
    "`qoder apply FILE`": ["deploy apply -f x.yaml --yes"],
    "to preview: `qoder diff`": ["apply --dry-run"],
    "to upgrade qoder, use what installed it: pipx upgrade qoder-cli": ["upgrade"],
}
HINTS = {line: hint for hint, lines in HINTED.items() for line in lines}

# A slip, a value that is not one of those that there are, or none at all; and what is said.
MEANINGS = {
    "deploi run x": "did you mean 'qoder deploy'?",
    "run lst": "did you mean 'qoder run list'?",
    "deploy rnu x": "did you mean 'qoder deploy run'?",
    "deploy run x --wiat": "did you mean --wait?",
    "run list --staus failed": "did you mean --status?",
    "run list --outptu json": "did you mean --output?",
    "deploy run x --on_lost fail": "did you mean --on-lost?",
    "run list --profil x": "did you mean --profile?",
    "run list --status success": "did you mean completed?",
    "deploy list --status archived": "--include-archived",
    "run list -o JSON": "did you mean json?",
    "deploy run x --wait=true": "drop the value",
    "run list -n all": "to show all: --all",
    "deploy run x \u2014wait": "type two hyphens: --wait",
    "deploy run x -wait": "type two hyphens: --wait",
    "run list \u2013\u2013status=failed": "type two hyphens: --status",
    "\u2014json run list": "type two hyphens: --json",
    "run list --json id,status": "jq '{id, status}'",
    "deploy run x -o --dry-run": "-o needs a value, but the next word is the option --dry-run",
    "deploy run x --workspace -f": "--workspace needs a value, but the next word is the option -f",
    "deploy run x --idempotency-key --json": "--idempotency-key needs a value, but the next word is the option --json",
}


def parses(words: list[str]) -> bool:
    """Return whether the command tree takes a line, by all that typer checks, without running it."""
    app = App(env={}, out=Screen(None), err=Screen(None))
    command: Any = command_tree("qoder")
    context: Any = None
    try:
        while True:
            context = command.make_context(command.name, list(words), parent=context, obj=app)
            if not hasattr(command, "resolve_command") or not (words := [*context._protected_args, *context.args]):
                return True
            _, command, words = command.resolve_command(context, words)
    except typer.Exit:
        return True  # --help and --version
    except Exception:
        return False


@pytest.mark.parametrize("typed", HINTS)
@pytest.mark.few(19)
def test_corrections_give_a_habit_a_hint_and_run_nothing(qoder: Qoder, typed: str) -> None:
    ran = qoder(*shlex.split(typed))
    assert (ran.code, ran.out) == (2, "")
    error, hint = ran.err.splitlines()
    assert error.startswith("error: ")
    assert hint.startswith("hint: ")
    assert HINTS[typed] in hint
    assert not qoder.wire.requests


@pytest.mark.parametrize("typed", MEANINGS)
def test_corrections_suggest_what_was_meant(qoder: Qoder, typed: str) -> None:
    ran = qoder(*typed.split())
    assert (ran.code, ran.out) == (2, "")
    assert MEANINGS[typed] in ran.err
    assert not qoder.wire.requests


@pytest.mark.parametrize(
    "typed",
    ["deploy run x --wob", "run list --user me", "run list --foo", "tariffs", "xyz"],
)
def test_corrections_suggest_nothing_for_what_is_no_slip(qoder: Qoder, typed: str) -> None:
    ran = qoder(*shlex.split(typed))
    assert ran.code == 2
    assert "did you mean" not in ran.err
    assert "--help" in ran.err


# What typer says of a mistake, in plain words.
SAID = {
    "run list --limit five": "--limit takes a number of at least 1, not 'five'",
    "run list -n 0": "-n takes a number of at least 1, not 0",
    "deploy run x --parallel 1000": "--parallel takes a number from 1 to 100, not 1000",
    "sandbox --speed fast": "--speed takes a number, not 'fast'",
    "run list -o tsv": "-o takes table, wide, pretty, markdown, csv, html, json, jsonl, yaml, otlp or id, not 'tsv'",
    "deploy list --status gone": "--status takes active or paused, not 'gone'",
    "deploy run": "missing argument DEPLOYMENT",
    "run list --wait=x": "qoder run list has no option --wait",
    "deploy run x --dry-run=maybe": "--dry-run is a flag and takes no value",
    "runs ls --since": "--since needs a value",
    "run get a b": "qoder run get takes only RUN",
}


@pytest.mark.parametrize("typed", SAID)
def test_corrections_tell_a_mistake_in_plain_words(qoder: Qoder, typed: str) -> None:
    ran = qoder(*shlex.split(typed))
    words = typed.replace("runs ls", "run list").split()
    command = words[0] if words[0] == "sandbox" else " ".join(words[:2])
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.splitlines()[0] == f"error: {SAID[typed]}"
    assert f"qoder {command} --help" in ran.err


JQ = "--json prints all fields; to select some, pipe it to jq: --json | jq FILTER"
BY_STATUS = "to list the runs of all deployments by status: --status "
NO_NAMES = {
    "run list --limit 2 --json id": JQ,
    "run list failed --json": f"{BY_STATUS}failed",
    "run list --deployment running --json": f"{BY_STATUS}running",
}


@pytest.mark.parametrize("typed", NO_NAMES)
def test_corrections_of_a_field_or_a_status_that_no_deployment_is_named(qoder: Qoder, typed: str) -> None:
    qoder.wire.on("GET", "/deployments", page())
    error = qoder(*typed.split()).error
    assert (error["type"], error["hint"], error["next"]) == ("not_found", NO_NAMES[typed], None)


def test_corrections_in_json_have_the_words(qoder: Qoder) -> None:
    error = qoder("run", "my report", "--wait", "-o", "json").error
    assert error["message"] == 'unknown command "my report" for "qoder run"'
    assert "qoder deploy run DEPLOYMENT" in error["hint"]
    assert error["next"] is None


HABITS = suggestions.thesaurus().habits
AT_ONE_PLACE = [habit for habit in HABITS if "{" not in habit.hint and not habit.needs]  # the others are filled in


def lines_of(habit: suggestions.Habit) -> Iterator[str]:
    """Yield lines in which a word of other tools is typed where the thesaurus has it."""
    every = [words for words in NOUNS if " " not in words]
    for word, place in product(sorted(habit.words), habit.where):
        nouns = every if place == "*" else [place.replace("-", "")]
        if not word.startswith("-") or place == "-":
            yield from (f"{noun} {word}" for noun in nouns)
        else:
            yield from (f"{name} {word}" for name in COMMANDS if place == "*" or name.split()[0] in nouns)


def test_corrections_give_the_hint_of_every_habit_that_the_thesaurus_has() -> None:
    assert [habit for habit in AT_ONE_PLACE if not any(habit.hint in said(line) for line in lines_of(habit))] == []


def said(line: str) -> str:
    """Return the hint that a line gets."""
    error = io.BytesIO()
    assert main(shlex.split(line), App(env={}, out=Screen(None), err=Screen(error))) == 2
    return error.getvalue().decode()


def test_corrections_name_commands_that_are_there() -> None:
    told = [habit.hint for habit in HABITS if "{" not in habit.hint]
    named = {line for hint in told for line in re.findall("`qoder ([^`]*)`", hint)}
    assert named
    typed = {line: line.lower().replace("noun", "run").split() for line in named}
    assert [line for line, words in typed.items() if not parses(words)] == []


TREE = command_tree("qoder")


ALPHABET = string.ascii_lowercase + "-"


def altered(word: str, letters: str = ALPHABET) -> set[str]:
    """Return a word with one slip in it: a letter too few, two that changed places, one replaced, one too many."""
    cuts = [(word[:place], word[place:]) for place in range(len(word) + 1)]
    fewer = {head + tail[1:] for head, tail in cuts if tail}
    changed = {head + tail[1] + tail[0] + tail[2:] for head, tail in cuts if len(tail) > 1}
    replaced = {head + letter + tail[1:] for head, tail in cuts if tail for letter in letters}
    more = {head + letter + tail for head, tail in cuts for letter in letters}
    return fewer | changed | replaced | more


def altered_twice(word: str) -> set[str]:
    """Return a word with two slips in it. Of letters that were not there two do, as `un`: likeness knows no others."""
    letters = "un" if word in DESTRUCTIVE else ""
    return {twice for once in altered(word, letters) for twice in altered(once, letters)}


def groups(context: Any = None) -> Iterator[Any]:
    """Yield the contexts of the program, of every noun that has commands, and of those within a noun."""
    context = context or typer.Context(TREE, info_name="qoder")
    yield context
    for name in context.command.list_commands(context):
        command = context.command.get_command(context, name)
        if hasattr(command, "list_commands"):
            yield from groups(typer.Context(command, info_name=name, parent=context))


def test_corrections_know_every_destructive_command() -> None:
    verbs = {verb for group in groups() for verb in group.command.list_commands(group)}
    assert verbs >= DESTRUCTIVE
    nouns = {word for words in NOUNS for word in words.split()}
    # what is none of these takes nothing away; a new command is put here, or into DESTRUCTIVE
    assert verbs - DESTRUCTIVE - nouns == {
        *("auth", "config", "api", "doctor", "sandbox", "completion", "help"),
        *("key", "list", "get", "create", "new", "update", "apply", "export", "unpause", "files", "pending"),
        *("wait", "logs", "result", "chat", "login", "status", "path"),
        *("versions", "cat", "check", "download", "history"),
        *("ls", "stats", "schema", "switch", "token", "init", "diff", "retry", "usage", "report", "connect"),
        *("policy", "test", "log", "why", "backfill"),
    }


WRITTEN_FOR_A_HABIT = {habit.hint for habit in AT_ONE_PLACE}  # each has a case in HINTED
# Verbs that mean one thing to people: a hint for one may name another of its line, within the noun that was typed.
ALIKE_VERBS = ({"create", "new", "upload"}, {"update", "set", "apply", "put"})


def named_by(hint: str) -> Iterator[str]:
    """Yield the commands that a hint names to be run; where help is shown nothing is done."""
    for words in re.findall("qoder((?: [a-z]+)+)", re.sub("qoder[a-z ]* --help", "", hint)):
        typed = words.split()
        command = next((" ".join(typed[:depth]) for depth in (3, 2, 1) if " ".join(typed[:depth]) in COMMANDS), None)
        assert command or any(name.startswith(" ".join(typed)) for name in COMMANDS), hint
        if command:
            yield command


def is_meant(verb: str, typed: str) -> bool:
    """Return whether somebody may have meant a verb who typed this; a slip is enough for none that takes away."""
    if typed == verb or any({typed, verb} <= same for same in ALIKE_VERBS):
        return True
    return verb not in DESTRUCTIVE and (typed in altered(verb) or sorted(typed) == sorted(verb))


def test_corrections_lead_no_misspelling_to_an_act_that_was_not_meant() -> None:
    verbs = {verb for group in groups() for verb in group.command.list_commands(group)}
    for group in groups():
        names, noun = group.command.list_commands(group), group.command_path.removeprefix("qoder").strip()
        alike = noun in ALIKE  # the same few verbs in each
        slips = sorted({word for name in names for word in altered(name) | (set() if alike else altered_twice(name))})
        lines = [[typed] for typed in (slips if ALL_CELLS else slips[::29]) if typed not in names]
        lines += [[typed, *rest] for typed in sorted(verbs - {*names}) for rest in ((), ("x",), ("agent",), ("dep_1",))]
        for line in lines:
            hint = meant(group, line, names)
            acts = [name for name in named_by(hint) if COMMANDS[name].writes or name.split()[-1] in DESTRUCTIVE]
            is_a_name = "-" in line[0] and hint.startswith("to start a run: ")  # as a deployment may be called
            if hint not in WRITTEN_FOR_A_HABIT and not is_a_name:
                assert [name for name in acts if not is_meant(name.split()[-1], line[0])] == [], (line, hint)
                assert [name for name in acts if noun and not name.startswith(f"{noun} ")] == [], (line, hint)


# What takes away, or lets an agent act, and is named to who typed another word for just that.
DISABLE = ("workflow disable", "schedule disable")
MEANT = {
    "apply": {"apply"},
    "run cancel": {"kill", "cancel", "stop", "abort", "terminate"},
    "deploy pause": {"kill", "cancel", "disable", "suspend", "deactivate", "stop", *DISABLE},
    "vault put": {
        "set",
        "add",
        "rotate",
        *(f"secret {verb}" for verb in ("set", "add", "create", "put")),
        "secrets set",
    },
    "session new": {"run", "ask", "prompt", "query", "claude", "say", "message", "-p", "--print"},
    "deploy run": {*suggestions.thesaurus().groups["@start"]},
    "run retry": {*suggestions.thesaurus().groups["@retry"]},
}


def test_corrections_hint_at_no_act_but_the_one_that_was_meant() -> None:
    for habit in HABITS:
        hint = re.sub("`?qoder [a-z ]*--help`?|set QODER_PAT|{.*?}", "", habit.hint)
        for name in (" ".join(named.split()[:2]) for named in re.findall("qoder ((?:[a-z]+ ?)+)", hint)):
            acts = name in COMMANDS and (COMMANDS[name].writes or name.split()[-1] in DESTRUCTIVE)
            harmless = {"auth login", "auth switch", "session chat", "deploy unpause", "deploy update", "agent update"}
            assert not acts or name in harmless or habit.words <= MEANT[name], (name, habit)


TOKEN = "Tok.en/0123456789+abc="
TOKEN_OPTIONS = ("--token", "--pat", "--api-key", "--access-token", "--auth-token")


@pytest.mark.parametrize("option", TOKEN_OPTIONS)
@pytest.mark.parametrize("line", ["{} TOKEN deploy run x", "{}=TOKEN run", "run {} TOKEN x", "login TOKEN"])
def test_corrections_never_repeat_a_typed_token(qoder: Qoder, option: str, line: str) -> None:
    ran = qoder(*line.format(option).replace("TOKEN", TOKEN).split(), "-o", "json")
    assert (ran.code, ran.out, ran.error["next"]) == (2, "", None)
    assert TOKEN not in ran.err
    assert ("qoder auth login" if "login" in line else "QODER_PAT") in ran.error["hint"]


WORDS = st.sampled_from(
    [word for line in (*HINTS, *MEANINGS) for word in shlex.split(line) if word not in ("--", "-V", "version")]
    + ["auth", "config", "api", "doctor", "dep_1", "drun_1", "-", "-o", "json", "--json", "--profile", "-n", "3"]
)
LINES = st.lists(WORDS | st.text(max_size=8), max_size=7)


@pytest.fixture(scope="module")
def anywhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Qoder]:
    """Return what runs a command line where no request is expected."""
    runner = Qoder(Path(tmp_path_factory.mktemp("anywhere")) / "config.toml")
    yield runner
    runner.wire.check()


@examples(Fraction(2, 3))
@example(["-o"], "--token", 1, False)
@example(["run", "--profile"], "--token", 2, False)
@example(["-o", "--pat", "logs"], "--token", 1, False)
@given(LINES, st.sampled_from(TOKEN_OPTIONS), st.integers(0, 7), st.booleans())
def test_corrections_run_no_line_with_a_foreign_option(
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


@pytest.mark.parametrize(
    "line",
    [
        *("run list --output json", "run list --output=json", "--output json run list", "--output=json run list"),
        *("run --output json list", "run list -ojson", "--output=table run list --json"),
        "-q run list --output table --json",
    ],
)
def test_corrections_let_the_last_format_win(qoder: Qoder, line: str) -> None:
    qoder.wire.on("GET", "/deployment_runs", page())
    ran = qoder(*line.split())
    assert (ran.code, ran.json) == (0, [])


@pytest.mark.parametrize("line", ["--output json X", "X --output=json", "X --json=true", "X -wojson", "X -wo json"])
def test_corrections_heed_the_format_of_a_line_that_is_not_understood(qoder: Qoder, line: str) -> None:
    assert qoder(*line.split()).error["type"] == "usage"


def test_corrections_leave_what_stands_behind_two_dashes(qoder: Qoder) -> None:
    assert format_typed(["sandbox", "--", "qoder", "--output", "json"]) == "table"
    ran = qoder("sandbx", "--", "qoder", "login")
    assert ran.code == 2
    assert "auth login" not in ran.err


def test_corrections_understand_a_noun_and_a_verb_in_their_place_only(qoder: Qoder) -> None:
    qoder.wire.on("GET", "/deployments", page())
    assert qoder("deployments", "ls", "--json").json == []
    for word in ("ls", "resume"):
        assert qoder(word).code == 2


def test_corrections_understand_login_logout_and_whoami(qoder: Qoder) -> None:
    qoder.wire.on("GET", "/deployments", page(), page())
    assert qoder("whoami", "--json").json == qoder("auth", "status", "--json").json
    for word in ("login", "logout"):
        assert qoder(word, "--help").out == qoder("auth", word, "--help").out == qoder("help", word).out
    assert "not logged in" in qoder("logout").err
    assert qoder("run list").code == qoder("auth logout").code == 2  # one word each


# Other words for commands: understood, never shown, and asking what the command asks.

# What is typed, and the command that it is.
ALIASES = {
    "session create": "session new",
    "session threads": "session thread list",
    "session rm": "session delete",
    "file rm": "file delete",
    "file remove": "file delete",
    "vault credential rm": "vault credential delete",
    "memory rm": "memory remove",
    "memory versions": "memory history",
    "agent new": "agent create",
    "deploy new": "deploy create",
    "agents ls": "agent list",
    "environment describe": "env get",
    "run log": "run logs",
    "run stop": "run cancel",
    "dream stop": "dream cancel",
}


@pytest.mark.parametrize("typed", ALIASES)
def test_alias_has_the_help_of_its_command(qoder: Qoder, typed: str) -> None:
    ran = qoder(*typed.split(), "--help")
    assert (ran.code, ran.out) == (0, qoder(*ALIASES[typed].split(), "--help").out)


@pytest.mark.parametrize("typed", ["session threads", "memory versions", "run stop", "session create"])
def test_alias_is_in_no_help_and_no_completion(qoder: Qoder, typed: str) -> None:
    group, word = typed.split()
    assert f"\n  {word} " not in qoder(group, "--help").out
    assert set(offered(f"qoder {group} {word}", {})) <= {"thread"}


def test_version_is_printed_by_either_word(qoder: Qoder) -> None:
    assert qoder("version").out == qoder("--version").out == qoder("--no-color", "version").out != ""
