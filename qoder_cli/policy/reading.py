"""Read a policy from its file. Nothing is guessed: what cannot be read is a problem with its line."""

import hashlib
import re
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, TypeVar

from qoder_cli.base.plainfile import writable_by_others
from qoder_cli.files.documents import read, trees
from qoder_cli.files.tree import Node, Path, Problem, Problems
from qoder_cli.files.yamlread import refuse_unclear
from qoder_cli.output.visible import hides
from qoder_cli.policy import shell
from qoder_cli.policy.calls import TOOLS, called
from qoder_cli.policy.programs import ShellCommand, nearest_rows
from qoder_cli.policy.rules import MCP, Policy, PolicyRule
from qoder_cli.policy.shell import Unreadable
from qoder_cli.policy.spelling import Place, Site, folded_forms, is_plain, place

T = TypeVar("T")

LONGEST_REASON = 1_000  # characters
_LONGEST_VALUE = 10_000
_FIELDS = ("work", "allow", "deny", "agents", "deployments")
_VERBS = {
    "allow": ("read", "write", "run", "fetch", "search", "tool"),
    "deny": ("run", "path", "fetch", "tool", "text"),
}
_MORE = " *"
_OF_SERVER = re.compile(rf"{MCP}(?:(?!__)[^*])+__(?!_)(?:(?!__)[^*])*(?:[^*_]|\*)")
# What is typed out of habit, at the top, in an allow or in a deny; and what is meant here.
_HABITS = """
rules permissions: write `allow:` and `deny:`, each a list of rules
ask default: leave it out: what no rule covers is left for a person
cwd folder dir root workdir: write `work: /repo`
when match regex pattern: write what may be done to what; there are no patterns
keys params arguments inputs: write `fields: [owner, repo]`, with `tool`
threads thread agent subagents: write `agents: all` beside `allow` and `deny`
reason message why: write `because`, with a deny
bash shell command cmd exec: write `run: git status`
url host domain web webfetch http: write `fetch: docs.example.com`
websearch: write `search: web`
edit create delete: write `write: /repo/reports`
file files glob grep view: write `read: /repo`, or in a deny `path: /repo`
mcp server tools: write `tool: mcp__github__get_issue`
contains word secret: write `text: id_rsa`, in a deny
deny.read deny.write: write `path:`, which denies both
deny.search: write `tool: WebSearch`
deny.fields: leave it out: a deny is for every call of the tool
allow.path: write `read:` or `write:`
allow.text: move it to `deny`
allow.because: leave it out: an approval has no reason
"""


def load(path: str) -> Policy:
    """Return the policy in a file. Raises BadFiles with all its problems."""
    problems = Problems()
    policy = problems.of(_policy, path, problems)
    problems.refuse(path, "the policy")
    assert policy is not None
    return policy


def _policy(path: str, problems: Problems) -> Policy:
    """Return what is in a file, which is a policy only where that has no problems. Raises Problem."""
    text = read(path, stdin=None)
    refuse_unclear(text)
    documents = [*trees(path, text, problems)]
    if len(documents) != 1 or not isinstance(documents[0].content, dict):
        raise Problem("must be one mapping with `allow` and `deny`", line=1)
    [document] = documents
    for name, child in document.items():
        if name not in _FIELDS:
            problems.append(_unknown(str(name), child, (name,), _FIELDS))
    rules = [
        problems.of(_rule, node, side, (side, number))
        for side in _VERBS
        for number, node in enumerate(problems.of(_field, document, side, _rules) or ())
    ]
    work = problems.of(_field, document, "work", _folder)
    agents = problems.of(_field, document, "agents", _agents)
    deployments = problems.of(_field, document, "deployments", _texts) or ()
    commands = [rule.line for rule in rules if rule is not None and rule.allows and rule.verb == "run"]
    if "work" not in document.plain() and commands:
        what = "needs `work`, the folder in which commands run: write `work: /repo` at the top"
        problems.append(Problem(what, line=min(commands)))
    if not rules and not problems:
        problems.append(Problem("has no rules: write `allow:` and `deny:`, each a list", line=document.line))
    warnings = [
        f"others may write {writable}, and so decide what is approved; keep a policy where only you can write"
        for writable in writable_by_others(path)
    ]
    ordered = tuple(sorted(filter(None, rules), key=lambda rule: rule.line))
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    return Policy(path, sha256, ordered, work, agents is not None, deployments, tuple(warnings))


def _unknown(name: str, node: Node, at: Path, names: tuple[str, ...], side: str = "") -> Problem:
    habits = [line.partition(": ") for line in _HABITS.strip().splitlines()]
    meant = {f"{side}.{name}", name.lower().replace("_", "")}
    advice = next((what for words, _, what in habits if meant & {*words.split()}), "")
    if near := get_close_matches(name.lower(), names, n=1):
        advice = advice or f"did you mean {near[0]}?"
    return Problem(f"unknown field; {advice or 'known are ' + ', '.join(names)}", line=node.line, path=at)


def _rule(node: Node, side: str, at: Path) -> PolicyRule:
    verbs = _VERBS[side]
    if not isinstance(node.content, dict):
        example = f"must be a rule, such as `{verbs[0]}: {'/repo' if side == 'allow' else 'git push'}`"
        raise Problem(example, line=node.line, path=at)
    named = [name for name in node.content if name in verbs]
    others = ("because",) if side == "deny" else ("fields",) if named == ["tool"] else ()
    for name, child in node.content.items():
        if name not in (*verbs, *others):
            raise _unknown(name, child, (*at, name), (*verbs, *others), side)
    if len(named) != 1:
        raise Problem(f"must have one of {', '.join(verbs)}", line=node.line, path=at)
    [verb] = named
    value = _field(node, verb, _text, at) or ""
    fields = _field(node, "fields", _texts, at)
    because = _field(node, "because", lambda content: _text(content, LONGEST_REASON), at)
    meaning = _field(node, verb, lambda content: _meaning(verb, value, allows=side == "allow"), at) or {}
    names = None if fields is None else frozenset(fields)
    return PolicyRule(side == "allow", verb, value, node.line, because, names, **meaning)


# What stands in a field. Each raises ValueError, in words for people.


def _field(node: Node, name: str, read: Callable[[Any], T], at: Path = ()) -> T | None:
    """Return what is read from a field; None if it is missing. Raises Problem."""
    child = node.child(name)
    if child is None:
        return None
    try:
        return read(child.content)
    except ValueError as error:
        raise Problem(str(error), line=child.line, path=(*at, name)) from None


def _rules(content: Any) -> list[Node]:
    if not content or not isinstance(content, list):
        raise ValueError("must be a list of rules; leave it out if there are none")
    return content


def _text(content: Any, most: int = _LONGEST_VALUE) -> str:
    if not isinstance(content, str):
        raise ValueError("must be text; put it in quotes")
    if content != content.strip() or not content:
        raise ValueError("must be text without blanks or line breaks at its ends, and not empty")
    if len(content) > most:
        raise ValueError(f"must have at most {most:,} characters")
    return _seen(content)


def _seen(text: str) -> str:
    """Return a text without a character that nobody sees: it would not mean what it seems to."""
    if unseen := next((character for character in text if hides(character) and character != "\n"), None):
        raise ValueError(f"has the character U+{ord(unseen):04X}, which nobody sees; leave it out")
    return text


def _agents(content: Any) -> str:
    if _text(content) != "all":
        raise ValueError("must be all, or left out: then it is for the main agent")
    return "all"


def _texts(content: Any) -> tuple[str, ...]:
    texts = [item.content for item in content] if isinstance(content, list) else []
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise ValueError("must be a list of texts, such as [one, two]")
    return tuple(map(_seen, texts))


def _folder(content: Any) -> Place:
    path = _text(content)
    if "*" in path:
        raise ValueError("must have no *: a rule is for all that is below its path")
    if not path.startswith("/"):
        raise ValueError("must be an absolute path, from / on, such as /repo")
    if not is_plain(path) or {".", ".."} & {*path.split("/")}:
        raise ValueError("must be a plain path of letters, digits and blanks, without . and .., such as /repo/reports")
    return place(path)


def _meaning(verb: str, value: str, *, allows: bool) -> dict[str, Any]:
    """Return what the value of a rule means, by the fields of `PolicyRule`."""
    match verb:
        case "read" | "write" | "path":
            return {"place": _folder(value)}
        case "run":
            return _command(value, allows=allows)
        case "fetch":
            return {"site": Site.of(value)}
        case "search" if value != "web":
            raise ValueError("must be web: `search: web`")
        case "text" if not all(form.strip() for form in folded_forms(value)):
            raise ValueError("must have letters that can be looked for")
        case "tool" if not re.fullmatch(r"[A-Za-z0-9_.*-]+", value, re.ASCII):
            raise ValueError("must be the name of a tool: letters, digits, _ . - and *")
        case "tool" if allows and called(value) in TOOLS:
            raise ValueError(f"{value} is a built-in tool: write a rule with `{TOOLS[called(value)].rule}`")
        case "tool" if allows and not _OF_SERVER.fullmatch(value):
            raise ValueError("must name a server and its tool, with * only at the end: mcp__github__get_*")
    return {}


def _command(value: str, *, allows: bool) -> dict[str, Any]:
    more, words = value.endswith(_MORE), value.removesuffix(_MORE).rstrip()
    if words.endswith(":*"):
        raise ValueError(f"write `run: {words.removesuffix(':*')} *`, with a blank before the *")
    if more and not allows:
        raise ValueError(f"leave out the *: `run: {words}` denies every command that begins so")
    try:
        command = ShellCommand.of(shell.words_of(words))
    except Unreadable as error:
        only = "; * stands only at the end, behind a blank" if "*" in words else ""
        raise ValueError(f"cannot be read as one command of plain or quoted words: {error}{only}") from None
    if more and command.row is None:
        near = "".join(f"; it knows {', '.join(names)}" for names in [nearest_rows(command.program)] if names)
        why = f"`qoder` does not know what the options of {command.words[0]} do, so * cannot stand behind {words}"
        raise ValueError(f"{why}{near}; without it, exactly this command is allowed")
    if more and command.row is not None and not command.is_itself:
        name = command.row.name
        raise ValueError(f"{name} may be another program behind {command.words[0]}; write `run: {name} *`")
    return {"command": command, "more": more}
