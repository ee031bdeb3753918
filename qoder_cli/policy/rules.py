"""A policy: rules in a file, read and checked. Nothing is guessed: what cannot be read is a problem with its line."""

import hashlib
import os
import re
import stat
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path as FilePath

from qoder_cli.base.plainfile import reason_of
from qoder_cli.files.documents import read, trees
from qoder_cli.files.tree import BadFiles, Node, Path, Problem
from qoder_cli.files.yamlread import refuse_unclear
from qoder_cli.policy import programs, shell
from qoder_cli.policy.calls import TOOLS, called
from qoder_cli.policy.hosts import Site
from qoder_cli.policy.paths import Place, is_plain, place
from qoder_cli.policy.shell import Unreadable, Words, unwrapped
from qoder_cli.policy.texts import folded_forms

MOST_RULES = 1_000
_LONGEST_REASON = 1_000  # characters
_LONGEST_VALUE = 10_000
_FIELDS = ("work", "allow", "deny", "agents", "deployments")
ALLOWS = ("read", "write", "run", "fetch", "search", "tool")
DENIES = ("run", "path", "fetch", "tool", "text")
_MORE = {"tool": ("fields",)}  # of an allow
_PATHS = ("read", "write", "path")
_MCP = "mcp__"
_ANY = " *"

# Words typed out of habit, with what is meant here.
_HABITS = {
    **dict.fromkeys(("rules", "permissions", "policy"), "write `allow:` and `deny:`, each a list of rules"),
    **dict.fromkeys(("ask", "default", "defaults"), "leave it out: what no rule covers is left for a person"),
    **dict.fromkeys(("cwd", "folder", "dir", "root", "workdir", "working_directory"), "write `work: /repo`"),
    **dict.fromkeys(("when", "match", "regex", "pattern"), "there are no patterns: write what may be done to what"),
    **dict.fromkeys(("keys", "params", "arguments", "inputs"), "write `fields: [owner, repo]`, with `tool`"),
    **dict.fromkeys(("threads", "thread", "agent", "subagents"), "write `agents: all` beside `allow` and `deny`"),
    **dict.fromkeys(("reason", "message", "why"), "write `because`, with a deny"),
    **dict.fromkeys(("bash", "shell", "command", "cmd", "exec", "sh"), "write `run: git status`"),
    **dict.fromkeys(("url", "host", "hosts", "domain", "web", "webfetch", "http"), "write `fetch: docs.example.com`"),
    **dict.fromkeys(("websearch", "web_search"), "write `search: web`"),
    **dict.fromkeys(("edit", "create", "delete", "modify"), "write `write: /repo/reports`"),
    **dict.fromkeys(
        ("file", "files", "paths", "glob", "grep", "view"), "write `read: /repo`; in a deny, `path: /repo`"
    ),
    **dict.fromkeys(("mcp", "server", "tools"), "write `tool: mcp__server__tool`"),
    **dict.fromkeys(("contains", "word", "secret"), "write `text: id_rsa`, in a deny"),
}
_OTHER_SIDE = {
    ("deny", "read"): "write `path:`, which denies reading and writing",
    ("deny", "write"): "write `path:`, which denies reading and writing",
    ("deny", "search"): "write `tool: WebSearch`",
    ("allow", "path"): "write `read:` or `write:`",
    ("allow", "text"): "`text` is for `deny`",
    ("allow", "because"): "an approval has no reason; `because` is for `deny`",
    ("deny", "fields"): "`fields` is for `allow`: a deny is for the whole tool",
}


@dataclass(frozen=True)
class Rule:
    """One rule, with the line where it begins.

    `words` are those of a command, and `more` whether others may follow; `fields` those of a tool, None where its
    schema has them. What a rule has none of is empty.
    """

    allows: bool
    verb: str
    value: str
    line: int
    because: str | None = None
    fields: frozenset[str] | None = None
    place: Place = ()
    words: Words = ()
    more: bool = False
    site: Site = field(default=Site(""))

    def is_command(self, words: Words, program: Words) -> bool:
        """Return whether an allow is for a command; `program` is that without what only starts it, if it is itself."""
        if not self.more:
            return self.words in (words, shell.untimed(words))
        beginning = unwrapped(self.words).words
        return program[: len(beginning)] == beginning

    def is_tool(self, server: str | None, tool: str) -> bool:
        """Return whether an allow is for a tool of a server, by its own name."""
        of, _, name = self.value.removeprefix(_MCP).partition("__")
        return server == of and (tool == name or (name.endswith("*") and tool.startswith(name[:-1])))

    @property
    def text(self) -> str:
        return f"{'allow' if self.allows else 'deny'} {self.verb}: {self.value}"


@dataclass(frozen=True)
class Policy:
    """The rules of a file, as it was when it was read. `deployments` are ids or names; none: it is for all."""

    source: str
    sha256: str
    rules: tuple[Rule, ...]
    work: Place | None = None
    all_agents: bool = False
    deployments: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def allowing(self, verb: str) -> Iterator[Rule]:
        return (rule for rule in self.rules if rule.allows and rule.verb == verb)

    def denying(self, verb: str) -> Iterator[Rule]:
        return (rule for rule in self.rules if not rule.allows and rule.verb == verb)


def load(path: str) -> Policy:
    """Return the policy in a file. Raises BadFiles with all its problems."""
    problems: list[Problem] = []
    policy = None
    try:
        text = read(path, stdin=None)
        refuse_unclear(text)
        documents = [*trees(path, text, problems)]
        if len(documents) != 1:
            raise Problem("must be one document with `allow` and `deny`")
        policy = _policy(path, text, documents[0], problems)
    except Problem as problem:
        problems.append(problem)
    if problems or policy is None:
        by_line = sorted(problems, key=lambda problem: problem.line)
        raise BadFiles([problem.located(path) for problem in by_line], "the policy")
    return policy


def _policy(path: str, text: str, document: Node, problems: list[Problem]) -> Policy:
    if not isinstance(document.content, dict):
        raise Problem("must be a mapping with `allow` and `deny`", line=document.line)
    for name, child in document.content.items():
        if name not in _FIELDS:
            problems.append(_unknown(name, child, (name,), _FIELDS))
    rules: list[Rule] = []
    for side in ("allow", "deny"):
        for number, node in enumerate(_listed(document, side, problems)):
            try:
                rules.append(_rule(node, (side, number), allows=side == "allow"))
            except Problem as problem:
                problems.append(problem)
    work = _optional(document, "work", problems)
    agents = _optional(document, "agents", problems)
    if work is not None and (why := _not_a_path(work.content)):
        problems.append(Problem(why, line=work.line, path=("work",)))
    if agents is not None and agents.content != "all":
        why = "must be all; leave it out for the main agent alone"
        problems.append(Problem(why, line=agents.line, path=("agents",)))
    if not rules and not problems:
        problems.append(Problem("has no rules: write `allow:` and `deny:`, each a list", line=document.line))
    commands = [rule for rule in rules if rule.allows and rule.verb == "run"]
    if work is None and commands:
        why = "needs `work`, the folder in which commands run: write `work: /repo` at the top"
        problems.append(Problem(why, line=commands[0].line))
    return Policy(
        path,
        hashlib.sha256(text.encode()).hexdigest(),
        tuple(sorted(rules, key=lambda rule: rule.line)),
        place(str(work.content)) if work is not None and not problems else None,
        agents is not None,
        _texts(document, "deployments", (), problems),
        tuple(_writable_by_others(path)),
    )


def _listed(document: Node, side: str, problems: list[Problem]) -> list[Node]:
    child = document.child(side)
    if child is None:
        return []
    if not isinstance(child.content, list) or not child.content:
        problems.append(Problem("must be a list of rules, such as `- run: git status`", line=child.line, path=(side,)))
        return []
    if len(child.content) > MOST_RULES:
        problems.append(Problem(f"has more than {MOST_RULES:,} rules", line=child.line, path=(side,)))
        return []
    return child.content


def _optional(document: Node, name: str, problems: list[Problem]) -> Node | None:
    """Return a field that may be missing, but has text."""
    child = document.child(name)
    if child is not None and not isinstance(child.content, str):
        problems.append(Problem("must be text", line=child.line, path=(name,)))
        return None
    return child


def _texts(node: Node, name: str, at: Path, problems: list[Problem]) -> tuple[str, ...]:
    """Return the texts of a list that may be missing, but not empty."""
    listed = node.child(name)
    if listed is None:
        return ()
    items = listed.content if isinstance(listed.content, list) else []
    if not items or not all(isinstance(item.content, str) and item.content.strip() for item in items):
        problems.append(Problem("must be a list of texts, such as [one, two]", line=listed.line, path=(*at, name)))
        return ()
    return tuple(str(item.content) for item in items)


def _unknown(name: str, node: Node, at: Path, names: tuple[str, ...], hint: str = "") -> Problem:
    near = get_close_matches(name.lower(), names, n=1)
    if not hint and near:
        hint = f"did you mean {near[0]}?"
    hint = hint or _HABITS.get(name.lower(), f"there are {', '.join(names)}")
    return Problem(f"unknown field; {hint}", line=node.line, path=at)


def _rule(node: Node, at: Path, *, allows: bool) -> Rule:
    """Return a rule. Raises Problem."""
    side, verbs = ("allow", ALLOWS) if allows else ("deny", DENIES)
    example = f"must be a rule, such as `{verbs[0]}: {'/repo' if allows else 'git push'}`"
    if isinstance(node.content, str):
        raise Problem(
            f"{example}; {_of_old(node.content)}" if "(" in node.content else example, line=node.line, path=at
        )
    if not isinstance(node.content, dict):
        raise Problem(example, line=node.line, path=at)
    named = [name for name in node.content if name in verbs]
    more = ("because",) if not allows else _MORE.get(named[0] if named else "", ())
    for name, child in node.content.items():
        if name not in (*verbs, *more):
            raise _unknown(name, child, (*at, name), (*verbs, *more), _OTHER_SIDE.get((side, name), ""))
    if len(named) != 1:
        raise Problem(f"must have one of {', '.join(verbs)}", line=node.line, path=at)
    [verb] = named
    child = node.content[verb]
    value, where = child.content, (*at, verb)
    if not isinstance(value, str) or not value.strip() or value != value.strip() or len(value) > _LONGEST_VALUE:
        raise Problem("must be text without blanks around it; put it in quotes", line=child.line, path=where)
    problems: list[Problem] = []
    fields = _texts(node, "fields", at, problems) if "fields" in node.content else None
    because = _optional(node, "because", problems)
    if because is not None and not 0 < len(str(because.content).strip()) <= _LONGEST_REASON:
        raise Problem(f"must be text of 1 to {_LONGEST_REASON:,} characters", line=because.line, path=(*at, "because"))
    if problems:
        raise problems[0]
    reason = None if because is None else str(because.content)
    rule = {"because": reason, "fields": None if fields is None else frozenset(fields)}
    try:
        return Rule(allows, verb, value, node.line, **rule, **_READERS[verb](value, allows))  # type: ignore[arg-type]
    except ValueError as error:
        raise Problem(str(error), line=child.line, path=where) from None


def _of_old(text: str) -> str:
    """Return what is written in place of a pattern, such as Bash(git log:*)."""
    tool, _, inside = text.partition("(")
    inside = inside.rstrip(")")
    rule = TOOLS[called(tool)].rule if called(tool) in TOOLS else "tool"
    if rule == "run":
        inside = inside.replace(":*", _ANY)
    if rule in ("read", "write"):
        inside = inside.removesuffix("/**").removesuffix("/*")
    return f"for {text} write `{rule}: {inside}`"


def _not_a_path(value: object) -> str:
    """Return why a value is no folder or file of a rule; empty if it is one."""
    path = str(value)
    if "*" in path:
        return "must have no *: a rule is for all that is below its path"
    if not path.startswith("/"):
        return "must be a whole path, from / on, such as /repo"
    if not is_plain(path) or {".", ".."} & {*path.split("/")}:
        return "must be a plain path of letters, digits and blanks, without . and .., such as /repo/reports"
    return ""


def _read_path(value: str, allows: bool) -> Mapping[str, object]:
    if why := _not_a_path(value):
        raise ValueError(why)
    return {"place": place(value)}


def _read_command(value: str, allows: bool) -> Mapping[str, object]:
    more, command = value.endswith(_ANY), value.removesuffix(_ANY).rstrip()
    if command.endswith(":*"):
        raise ValueError(f"write `run: {command.removesuffix(':*')} *`, with a blank before the *")
    if more and not allows:
        raise ValueError(f"leave out the *: `run: {command}` denies every command that begins so")
    try:
        words = shell.words_of(command)
    except Unreadable as error:
        hint = "; * stands only at the end, behind a blank" if "*" in command else ""
        raise ValueError(f"cannot be read as one command of plain or quoted words: {error}{hint}") from None
    program, launchers = unwrapped(words)
    row = programs.row_of(program)
    if more and row is not None and not launchers <= {row.launched}:
        raise ValueError(f"{row.name} may be another program behind {words[0]}; write `run: {row.name} *`")
    if more and row is None:
        near = programs.nearest_rows(program)
        hint = f"; there are {', '.join(near)}" if near else ""
        why = (
            f"`qoder` does not know what the options of {words[0]} do, so {_ANY.strip()} cannot stand behind {command}"
        )
        raise ValueError(f"{why}{hint}; without it, exactly this command is allowed")
    return {"words": words, "more": more}


def _read_site(value: str, allows: bool) -> Mapping[str, object]:
    return {"site": Site.of(value)}


def _read_search(value: str, allows: bool) -> Mapping[str, object]:
    if value != "web":
        raise ValueError("must be web: `search: web`")
    return {}


def _read_text(value: str, allows: bool) -> Mapping[str, object]:
    if not all(form.strip() for form in folded_forms(value)):
        raise ValueError("must have letters that can be looked for")
    return {}


def _read_tool(value: str, allows: bool) -> Mapping[str, object]:
    if not re.fullmatch(r"[A-Za-z0-9_.*-]+", value, re.ASCII):
        raise ValueError("must be the name of a tool: letters, digits, _ . - and *")
    if not allows:
        return {}
    if called(value) in TOOLS:
        verb = TOOLS[called(value)].rule
        raise ValueError(f"{value} is a built-in tool: write a rule with `{verb}`")
    server, _, tool = value.removeprefix(_MCP).partition("__")
    is_mcp = value.startswith(_MCP) and server and tool and "__" not in tool and not tool.startswith("_")
    if not is_mcp or "*" in server:
        raise ValueError(
            "must name a server and its tool: mcp__github__get_issue, or mcp__github__* for all of its tools"
        )
    if "*" in tool.removesuffix("*"):
        raise ValueError("may have * only at the end: mcp__github__get_*")
    return {}


_READERS = {
    **dict.fromkeys(_PATHS, _read_path),
    "run": _read_command,
    "fetch": _read_site,
    "search": _read_search,
    "text": _read_text,
    "tool": _read_tool,
}


def _writable_by_others(path: str) -> Iterator[str]:
    """Yield warnings of those who can change the file, or put another in its place."""
    if sys.platform == "win32":
        return
    whole = FilePath(os.path.abspath(path))
    for each in (whole, *whole.parents):
        try:
            about = os.stat(each)
        except OSError as error:
            yield f"whether others may write {each} cannot be read: {reason_of(error)}"
            continue
        is_folder = stat.S_ISDIR(about.st_mode)
        if is_folder and about.st_mode & stat.S_ISVTX:
            continue  # there everybody can only replace what is theirs
        is_anothers = about.st_uid not in (0, os.geteuid()) and os.geteuid() != 0
        is_shared = bool(about.st_mode & stat.S_IWGRP) and not _is_private(about)
        if is_anothers or is_shared or about.st_mode & stat.S_IWOTH:
            what = "files in it, and so replace the policy" if is_folder else "it, and so decide what is approved"
            yield f"others may write {each}: {what}; to prevent it: chmod go-w {each}"


def _is_private(about: os.stat_result) -> bool:
    """Return whether the group of a file is its owner's own, which many systems give to each user."""
    if sys.platform == "win32":
        return False
    import grp
    import pwd

    try:
        owner, group = pwd.getpwuid(about.st_uid).pw_name, grp.getgrgid(about.st_gid)
    except KeyError:
        return False
    return group.gr_name == owner and not set(group.gr_mem) - {owner}
