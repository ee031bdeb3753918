"""A policy: rules in a file, read and checked. Nothing is guessed: what cannot be read is a problem with its line."""

import hashlib
import os
import re
import stat
import sys
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import NamedTuple

from qoder_cli.base.plainfile import reason_of
from qoder_cli.files.documents import read, trees
from qoder_cli.files.tree import BadFiles, Node, Path, Problem
from qoder_cli.policy import shell
from qoder_cli.policy.regex import BadPattern, Regex
from qoder_cli.policy.texts import has_plain_case
from qoder_cli.policy.tools import BASH, PATHS, TOOLS, called

MOST_RULES = 1_000
_LONGEST_REASON = 1_000  # characters
_FIELDS = ("rules", "deployments")
_OF_RULE = ("allow", "deny", "because", "when", "keys", "threads")
_PATTERN = re.compile(r"(?P<name>[A-Za-z0-9_.*-]+)(?:\((?P<inside>.*)\))?", re.ASCII | re.DOTALL)
_MCP = "mcp__"
_PATH = re.compile(r"(?:/[A-Za-z0-9_.,@+=:*-][A-Za-z0-9_.,@+=:* -]*)+", re.ASCII)


class Pattern(NamedTuple):
    """What a rule is about. `kind` is any, tool or mcp; what is None is not asked for."""

    text: str  # as written
    kind: str
    name: Regex | None = None
    tool: str | None = None  # the built-in tool, where it names one
    server: Regex | None = None
    words: tuple[str, ...] | None = None
    is_prefix: bool = False
    path: Regex | None = None
    any_name: Regex | None = None  # of a deny: an MCP tool's own name, or mcp__server__tool, that fits too


@dataclass(frozen=True)
class PolicyRule:
    """One rule, with the line where it begins."""

    allows: bool
    pattern: Pattern
    line: int
    because: str | None = None
    when: Mapping[str, Regex] = field(default_factory=dict)  # by the name of the field
    keys: frozenset[str] = frozenset()
    any_thread: bool = False

    @property
    def text(self) -> str:
        return f"{'allow' if self.allows else 'deny'} {self.pattern.text}"


@dataclass(frozen=True)
class Policy:
    """The rules of a file, as it was when it was read. `deployments` are ids or names; none: it is for all."""

    source: str
    sha256: str
    rules: tuple[PolicyRule, ...]
    deployments: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def load(path: str) -> Policy:
    """Return the policy in a file. Raises BadFiles with all its problems."""
    problems: list[Problem] = []
    policy = None
    try:
        text = read(path, stdin=None)
        documents = [*trees(path, text, problems)]
        if len(documents) != 1:
            raise Problem("must be one document with `rules`")
        policy = _policy(path, text, documents[0], problems)
    except Problem as problem:
        problems.append(problem)
    if problems or policy is None:
        found = sorted(problems, key=lambda problem: problem.line)
        raise BadFiles([problem.located(path) for problem in found], "the policy")
    return policy


def _policy(path: str, text: str, document: Node, problems: list[Problem]) -> Policy:
    if not isinstance(document.content, dict):
        raise Problem("must be a mapping with `rules`", line=document.line)
    problems += _unknown(document, _FIELDS, ())
    listed = document.child("rules")
    if listed is None or not isinstance(listed.content, list) or not listed.content:
        raise Problem("must be a list of rules", line=listed.line if listed else document.line, path=("rules",))
    if len(listed.content) > MOST_RULES:
        raise Problem(f"has more than {MOST_RULES:,} rules", line=listed.line, path=("rules",))
    rules = []
    for number, node in enumerate(listed.content):
        try:
            rules.append(_rule(node, ("rules", number)))
        except Problem as problem:
            problems.append(problem)
    deployments: tuple[str, ...] = ()
    try:
        deployments = _texts(document, "deployments", ())
    except Problem as problem:
        problems.append(problem)
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    return Policy(path, sha256, tuple(rules), deployments, tuple(_writable_by_others(path)))


def _unknown(node: Node, names: tuple[str, ...], at: Path) -> Iterator[Problem]:
    for name, child in node.items():
        if name not in names:
            near = get_close_matches(str(name).lower(), names, n=1)
            better = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(names)}"
            yield Problem(f"unknown field{better}", line=child.line, path=(*at, name))


def _texts(node: Node, name: str, at: Path) -> tuple[str, ...]:
    """Return the texts of a list that may be missing, but not empty. Raises Problem."""
    listed = node.child(name)
    if listed is None:
        return ()
    items = listed.content if isinstance(listed.content, list) else []
    if not items or not all(isinstance(item.content, str) and item.content for item in items):
        raise Problem("must be a list of texts", line=listed.line, path=(*at, name))
    return tuple(str(item.content) for item in items)


def _rule(node: Node, at: Path) -> PolicyRule:
    """Return a rule. Raises Problem."""
    if not isinstance(node.content, dict):
        raise Problem("must be `allow: PATTERN` or `deny: PATTERN`", line=node.line, path=at)
    if problem := next(_unknown(node, _OF_RULE, at), None):
        raise problem
    effects = [name for name in ("allow", "deny") if name in node.content]
    if len(effects) != 1:
        raise Problem("must have either `allow` or `deny`", line=node.line, path=at)
    [effect] = effects
    allows, written = effect == "allow", node.content[effect]
    if not isinstance(written.content, str) or not written.content:
        raise Problem("must be a pattern, such as Bash(git status)", line=written.line, path=(*at, effect))
    try:
        pattern = pattern_of(written.content, allows=allows)
    except ValueError as error:
        raise Problem(str(error), line=written.line, path=(*at, effect)) from None
    because = _optional_text(node, "because", at, most=_LONGEST_REASON)
    threads = _optional_text(node, "threads", at)
    if allows and because is not None:
        raise Problem("goes with deny only: an approval has no reason", line=node.line, path=(*at, "because"))
    if not allows and (threads is not None or "keys" in node.content):
        name = "threads" if threads is not None else "keys"
        raise Problem("goes with allow only: a deny is for all", line=node.line, path=(*at, name))
    if threads not in (None, "any", "main"):
        raise Problem("must be any or main", line=node.line, path=(*at, "threads"))
    keys = frozenset(_texts(node, "keys", at))
    when = dict(_when(node, at, allows=allows))
    tool = TOOLS.get(pattern.tool or "")
    if allows and tool is not None and tool.reads_below and not when.keys().isdisjoint(PATHS):
        why = f"{pattern.tool} reads all that is below its path; write {pattern.tool}(/folder/**) instead"
        raise Problem(why, line=node.line, path=(*at, "when"))
    return PolicyRule(allows, pattern, node.line, because, when, keys, threads == "any")


def _optional_text(node: Node, name: str, at: Path, *, most: int = 100) -> str | None:
    """Return a text that may be missing. Raises Problem."""
    child = node.child(name)
    if child is None:
        return None
    if not isinstance(child.content, str) or not child.content.strip():
        raise Problem("must be text; put it in quotes", line=child.line, path=(*at, name))
    if len(child.content) > most:
        raise Problem(f"has more than {most:,} characters", line=child.line, path=(*at, name))
    return child.content


def _when(node: Node, at: Path, *, allows: bool) -> Iterator[tuple[str, Regex]]:
    """Yield the conditions of a rule by field. Raises Problem."""
    when = node.child("when")
    if when is None:
        return
    inputs = when.child("input")
    if not isinstance(when.content, dict) or list(when.content) != ["input"] or inputs is None:
        raise Problem("must be {input: {FIELD: REGEX}}", line=when.line, path=(*at, "when"))
    if not isinstance(inputs.content, dict) or not inputs.content:
        raise Problem("must be {FIELD: REGEX}", line=inputs.line, path=(*at, "when", "input"))
    for name, child in inputs.content.items():
        where = (*at, "when", "input", name)
        if not isinstance(child.content, str):
            raise Problem("must be a regular expression; put it in quotes", line=child.line, path=where)
        is_normal = unicodedata.normalize("NFKC", child.content) == child.content
        if not is_normal or not (allows or all(map(has_plain_case, child.content))):
            what = (
                "has characters that can be written in another way; use plain letters, or those that are one character"
            )
            raise Problem(what, line=child.line, path=where)
        try:
            yield name, Regex(child.content, ignores_case=not allows)
        except BadPattern as error:
            raise Problem(f"the regular expression {error}", line=child.line, path=where) from None


def pattern_of(text: str, *, allows: bool) -> Pattern:
    """Return the pattern that a rule's text stands for. Raises ValueError, in words for people."""
    found = _PATTERN.fullmatch(text)
    if found is None:
        raise ValueError("is no pattern; write Tool, Tool(…), mcp__server or mcp__server__tool")
    name, inside = found["name"], found["inside"]
    if name.startswith(_MCP):
        if inside is not None:
            raise ValueError("an MCP tool takes no ( ); use `when` to look at its input")
        return _mcp(text, name, allows=allows)
    if name.lower().startswith(_MCP):
        raise ValueError(f"an MCP tool begins with {_MCP}, in lower case")
    if allows and "*" in name:
        raise ValueError("an allow must name its tool; only a deny, or the tool of an MCP server, may have *")
    tool = called(name)
    if tool not in TOOLS and "*" not in name and (near := get_close_matches(tool, TOOLS, n=1, cutoff=0.75)):
        raise ValueError(f"unknown tool {name}; did you mean {near[0]}?")
    if name == "*" and inside is None:
        return Pattern(text, "any")
    named = _name(tool, allows=allows)
    if inside is None:
        if tool in TOOLS:
            return Pattern(text, "tool", named, tool=tool)
        return Pattern(text, "tool", named, any_name=None if allows else named)
    if tool == BASH:
        words, is_prefix = _command(inside, allows=allows)
        return Pattern(text, "tool", named, tool=BASH, words=words, is_prefix=is_prefix)
    if tool in TOOLS and TOOLS[tool].has_path:
        return Pattern(text, "tool", named, tool=tool, path=_path(inside, tool, allows=allows))
    raise ValueError(f"{name} takes no ( ); use `when` to look at its input")


def _name(glob: str, *, allows: bool) -> Regex:
    return Regex.of_glob(glob) if allows else Regex.of_name(glob, ignores_case=True)


def _mcp(text: str, name: str, *, allows: bool) -> Pattern:
    parts = name.removeprefix(_MCP).split("__")
    if len(parts) > 2 or any(not part or part.startswith("_") for part in parts):
        raise ValueError("does not say which part is the server: write mcp__server or mcp__server__tool")
    if allows and "*" in parts[0]:
        raise ValueError("an allow must name the server; only its tool may have *")
    server, tool = (*parts, "*")[:2]
    of_server, of_tool, whole = (_name(part, allows=allows) for part in (server, tool, name))
    return Pattern(text, "mcp", of_tool, server=of_server, any_name=None if allows else whole)


def _command(inside: str, *, allows: bool) -> tuple[tuple[str, ...], bool]:
    """Return the words of a command, and whether more may follow. Raises ValueError."""
    is_prefix = inside.endswith(":*")
    command = inside.removesuffix(":*")
    words = shell.words_of(command) if allows else shell.words_of_any(command)
    if words is not None and command == command.strip(" "):
        return words, is_prefix
    first = command.split(" ")[0]
    if inside in ("*", ":*", ""):
        why = "write Bash, without ( ), for every command"
    elif "*" in command:
        why = "only :* at the end stands for more words: Bash(git log:*)"
    elif first.lower() in shell.RESERVED:
        why = f"{first} is a word of the shell itself, so that no command with it is simple"
    else:
        why = f"the words may have {shell.CHARACTERS}, and spaces in single quotes"
    raise ValueError(f"can never fit: {why}")


def _path(inside: str, tool: str, *, allows: bool) -> Regex:
    if not _PATH.fullmatch(inside) or any(part in (".", "..") for part in inside.split("/")):
        raise ValueError("needs a whole path, such as /data/**, with no . or .. and no wildcard but * and **")
    if any("**" in part and part != "**" for part in inside.split("/")):
        raise ValueError("** stands for folders, so it must be alone between slashes: /data/**")
    if allows and TOOLS[tool].reads_below and not inside.endswith("/**"):
        raise ValueError(f"can never fit: {tool} reads all that is below its path, so the rule must end in /**")
    if allows:
        return Regex.of_glob(inside)
    # To deny that a tree is read is to deny it of each part. In place of a folder there may be a file, as of .git.
    reads_below = TOOLS[tool].reads_below
    return Regex.of_glob(inside, ignores_case=True, with_below=reads_below, with_folder=not reads_below)


def _writable_by_others(path: str) -> Iterator[str]:
    if sys.platform == "win32":
        return
    try:
        found = os.stat(path)
    except OSError as error:
        yield f"whether others may write {path} cannot be read: {reason_of(error)}"
        return
    is_anothers = found.st_uid not in (0, os.geteuid()) and os.geteuid() != 0
    is_shared = bool(found.st_mode & stat.S_IWGRP) and not _is_private(found)
    if is_anothers or is_shared or found.st_mode & stat.S_IWOTH:
        yield f"others may write {path}, and so decide what is approved; to prevent it: chmod go-w {path}"


def _is_private(found: os.stat_result) -> bool:
    """Return whether the group of a file is its owner's own, which many systems give to each user."""
    if sys.platform == "win32":
        return False
    import grp
    import pwd

    try:
        owner, group = pwd.getpwuid(found.st_uid).pw_name, grp.getgrgid(found.st_gid)
    except KeyError:
        return False
    return group.gr_name == owner and not set(group.gr_mem) - {owner}
