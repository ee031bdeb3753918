"""Everything a person reads is plain English: the patterns that are not, over all messages of the rooms below."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import typer

import qoder_cli
from qoder_cli.base import errors
from qoder_cli.base.ids import noun
from qoder_cli.cli.main import command_tree
from qoder_cli.cli.options import HiddenCommand
from qoder_cli.commands import run, session
from qoder_cli.help import NOUNS, documented, outputs, reference, suggestions

HOUSE = Path(qoder_cli.__file__).parent

# The rooms whose messages are held to the rules.
ROOMS = sorted(path.name for path in HOUSE.iterdir() if (path / "__init__.py").is_file())

# What takes messages: the calls, and of each which arguments a person reads.
_ERRORS = {"in_words", "BadFiles", "CannotBe"} | {name for name, kind in vars(errors).items() if isinstance(kind, type)}
_SAID = {"note", "warn", "_warn", "print", "waiting", "confirm"}
_FOUND = {"_ok", "_warning", "_failed", "_broken"}
_HINTS = ("hint", "fix")
_NAMES = ("hint", "message", "why", "what", "found", "fix", "meaning")  # of what a message is kept in before it is said

# What is not English or says nothing, and what to write instead.
RULES = {
    r"(?<!\bthere )\b(is|are|be|was|were) no\b": "is not a",
    r"\b(goes|go|going|gone) on\b": "still running, keeps running",
    r"\bneeds a yes\b|\byou said no\b": "confirmation required, cancelled",
    r"\bas in\b(?! the)": "for example",
    r"(^|[,;:] )of several\b": "with several",
    r"\.;|\.\)?: ": "one sentence of fact; strip trailing periods",
    r"\bby hand\b": "start",
    r"\b(not known|not knowable)\b": "unknown",
    r"\bpassed over\b|\bleft out\b": "ignored",
    r"\bsmall letters\b": "lowercase",
    r"\btrying again in\b|\btried again\b": "retrying in, retried",
    r"\banswers?\b(?! (it|these|was given)\b)": "response; an answer is a person's",
    r"\bcontradict each other\b": "cannot be used together",
    r"\brehears": "try for free, sandbox",
    r"\bto be (asked|told)\b|\bis (asked|told)\b": "reports, requests",
    r"\bit needs\b(?! to)": "requires",
    r"\banew\b|\bshall\b|\bmeanwhile\b|\bin the place of\b": "again, should or –, in the meantime, instead of",
    r"\bany more\b|\bcome back to\b": "no longer, return to",
    r"\bwhat (there is|is there|waits|begins|comes)\b": "name the thing",
    r"\bof ours\b|(?<!none )\bof yours\b|\balone\b|\bwhole in\b": "your, only, in full",
    r"\b(narrow|wide)ly\b": "say what counts as proof",
    r"\bsettle[sd]?\b(?! by)": "find out, determine, resolve",
    r"\bto see (what|which) there\b|\blist what\b": "list them: CMD",
}
# What a person answers is an answer: `run answer`, --on-ask and exit 11 are about that.
PEOPLE = re.compile(
    r"(?i)waits? for an answer|needs? an answer|needs_answer|no answer was given"
    r"|(run|session) answer \w|`answer`|answer (the|what|calls)\b|or answer$"
)
# A hint is an imperative, a purpose, a question, or a place to look.
IMPERATIVES = (
    "add|answer|apply|ask|archive|before|cancel|check|choose|compare|confirm|copy|correct|create|did|drop|e[.]g[.]|fix|follow|"
    "for|free|give|if|install|is|join|leave|list|log|move|name|omit|open|remove|swap|"
    "pass|pipe|print|put|quote|resume|run|save|see|send|set|split|start|take|try|type|unset|update|upgrade|use|wait|write"
)
IMPERATIVE = re.compile(rf"(to \w+|{IMPERATIVES})(?!\w)|`last`|[({{]|(tokens|nothing) .+[:;] ")


class Text(NamedTuple):
    """A text that a person reads: where it stands, and whether it is a hint. What is filled in is `{}`."""

    place: str
    text: str
    is_hint: bool


def _spelled(node: ast.AST) -> Iterator[str]:
    """Yield the texts that an expression may be."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=values):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in values)
        case ast.IfExp(body=body, orelse=orelse):
            yield from (*_spelled(body), *_spelled(orelse))
        case ast.BoolOp(values=values):
            yield from (text for value in values for text in _spelled(value))
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            yield from (*_spelled(left), *_spelled(right))


def _messages(path: Path) -> Iterator[Text]:
    """Yield what a module says to people: its messages and hints."""
    module = path.relative_to(HOUSE)
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.Call | ast.Assign):
            continue
        place = f"{module}:{node.lineno}"
        match node:
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=args, keywords=keywords):
                is_error = name in _ERRORS
                if is_error or name in _SAID or name in _FOUND:
                    is_second = name in _FOUND or name == "_warn"
                    said = args[1:2] if is_second else args[:1]
                    yield from (Text(place, text, False) for each in said for text in _spelled(each))
                    for word in keywords:
                        if word.arg in ("hint", "fix", "leaving"):
                            is_hint = word.arg in _HINTS and is_error
                            yield from (Text(place, text, is_hint) for text in _spelled(word.value))
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name in _NAMES:
                yield from (Text(place, text, name == "hint") for text in _spelled(value))


@pytest.fixture(scope="module")
def texts() -> list[Text]:
    """Return everything that the rooms say."""
    paths = [path for room in ROOMS for path in sorted((HOUSE / room).rglob("*.py"))]
    found = [text for path in paths for text in _messages(path)]
    told = [*documented.VARIABLES, *documented.FORMATS, *(each for keys in outputs.keys().values() for each in keys)]
    meanings = [each.meaning for each in told] + [*documented.MEANING.values(), *documented.THEN.values()]
    meanings += [about for about, _ in NOUNS.values()] + [*documented.TOPICS.values(), *documented.PAGES.values()]
    found += [Text("help/documented.py", text, False) for text in meanings]
    suggested = [*(habit.hint for habit in suggestions.thesaurus().habits), suggestions.NO_TOKEN]
    return found + [Text("help/suggestions.py", text, True) for text in suggested]


def test_messages_are_found(texts: list[Text]) -> None:
    assert {"--type must be the name of a type of events", "nothing was changed"} <= {text.text for text in texts}
    assert len(texts) > 400
    assert sum(text.is_hint for text in texts) > 60


def advice_on(text: str) -> str | None:
    """Return what to write instead of the first words that are not plain English."""
    said = PEOPLE.sub("", " ".join(text.split()))
    return next((f"{found[0]}: write {RULES[rule]}" for rule in RULES if (found := re.search(rule, said, re.I))), None)


def test_messages_are_not_translated_word_by_word(texts: list[Text]) -> None:
    assert {text: advice for text in texts if (advice := advice_on(text.text))} == {}


def test_help_is_not_translated_word_by_word() -> None:
    shown = reference.commands(typer.Context(command_tree("qoder"), info_name="qoder"))
    said = [option["help"] or "" for option in shown["everywhere"]]
    for command in shown["commands"]:
        said.append(command["text"])
        said += [param["help"] or "" for param in (*command["arguments"], *command["options"])]
    assert len(said) > 500
    assert {text: advice for text in said if (advice := advice_on(re.sub("`[^`]*`", "…", text)))} == {}


PAGES = [path.relative_to(HOUSE.parent).as_posix() for path in sorted((HOUSE / "help" / "pages").glob("*.md"))]
PAGES += ["README.md", "CHANGELOG.md"]
PAGES += [f"tests/shown/{name}.txt" for name in ("help", "mistakes", "run-list", "deploy-run", "others")]


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.few(13)
def test_pages_are_not_translated_word_by_word(page: str) -> None:
    text = (HOUSE.parent / page).read_text("utf-8")
    text = re.sub(r"(?s)```.*?```|<!--.*?-->", "", text)
    # The command `answer`, and what the server says.
    text = re.sub("`[^`\n]*`|(?:run|session) answer|answer +Give|model did not answer", "…", text)
    for paragraph in re.split(r"\n\s*\n|\n(?=[-|#]|\d\. )", text):
        assert advice_on(paragraph) is None, paragraph


def test_hints_are_imperatives_or_purposes(texts: list[Text]) -> None:
    hints = [text for text in texts if text.is_hint]
    assert [f"{hint.place}: {hint.text}" for hint in hints if not IMPERATIVE.match(hint.text)] == []
    assert [hint for hint in hints if re.search(r"\w\.$", hint.text)] == []


def test_hints_name_no_command_of_sessions_that_help_hides() -> None:
    hidden = {verb for verb, command in session.COMMANDS.items() if isinstance(command, HiddenCommand)}
    assert hidden <= run.COMMANDS.keys()
    assert {verb for verb in session.COMMANDS if noun("sess_1", verb) == "run"} == hidden
    assert {noun("drun_1", verb) for verb in session.COMMANDS} == {"run"}
