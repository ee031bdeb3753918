"""Decide about a call by a policy. Pure: nothing is read, sent or remembered.

A call is allowed where an allow covers each part of it and no deny may mean any. What cannot be read, or is not known,
is left for a person.
"""

import re
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from qoder_cli.base import jsontext
from qoder_cli.policy import shell
from qoder_cli.policy.calls import BASH, LONGEST, TOOLS, Subject, Tool, is_of_kind
from qoder_cli.policy.denying import denied, names_tool
from qoder_cli.policy.programs import NotCovered, ProgramRow, ShellCommand
from qoder_cli.policy.rules import Policy, PolicyRule
from qoder_cli.policy.shell import Chain, Unreadable
from qoder_cli.policy.spelling import Place, beginning, folded, folded_place, is_inside, is_plain, place, spelled
from qoder_cli.policy.verdict import Answer, VerdictData

_NAME = re.compile(r"[A-Za-z0-9_.-]+", re.ASCII)
_DECIDED = ("tool", "mcp")  # kinds of calls


class Verdict(NamedTuple):
    """What a policy says of a call: allow, deny, or ask a person; by which rules, and why, for people."""

    answer: Answer
    rules: tuple[PolicyRule, ...] = ()
    why: str = ""

    @property
    def in_words(self) -> str:
        """What it comes to, for a column."""
        lines = ", ".join(str(rule.line) for rule in self.rules)
        return f"{self.answer} (line {lines})" if lines else self.answer

    @property
    def because(self) -> str | None:
        """The reason of a deny, for the agent."""
        if self.answer != "deny":
            return None
        rule = self.rules[0]
        return rule.because or f"A rule denies this: {rule.verb}: {rule.value}"

    @property
    def data(self) -> VerdictData:
        """What it comes to, for JSON."""
        line = next((rule.line for rule in self.rules), None)
        rules = "; ".join(rule.text for rule in self.rules) or None
        return {"answer": self.answer, "line": line, "rule": rules, "why": self.why or None}


def decide(policy: Policy, subject: Subject) -> Verdict:
    """Return what a policy says of a call. Which deployments it is for, the caller knows."""
    if subject.kind not in _DECIDED:
        return Verdict("ask", why="a custom tool takes a result, which no rule gives")
    if denial := denied(policy, subject):
        return Verdict("deny", (denial.rule,)) if denial.is_plain else Verdict("ask", why=denial.in_words)
    try:
        return Verdict("allow", tuple(dict.fromkeys(_Covering(policy, subject).rules())))
    except NotCovered as error:
        return Verdict("ask", why=str(error))


def _leaves_work(policy: Policy, chain: Chain) -> bool:
    """Return whether a command goes to another folder first; `cd .` may, for nobody knows from where."""
    return chain.cd is not None and (not chain.cd.startswith("/") or place(chain.cd) != policy.work)


def may_move(policy: Policy, subject: Subject) -> bool:
    """Return whether a call may leave the shell in another folder than `work`, for calls that come later."""
    chain = subject.chain
    if isinstance(chain, Unreadable):
        return shell.may_move(subject.command or "")
    if subject.tool is not TOOLS[BASH]:
        return False
    if chain is None or not {*subject.input} <= {*subject.tool.fields}:
        return True  # another field may be the folder to begin in
    return _leaves_work(policy, chain)


def has_rule_about(
    policy: Policy, kind: str, name: str, server: str | None = None, *, deployment: Collection[str] = ()
) -> bool:
    """Return whether a policy has a rule about a tool: whether some call of it is decided without a person.

    `kind` is that of its calls: tool, mcp or custom. `deployment` are the id and the name of the deployment.
    """
    subject = Subject(kind, name, {}, server)
    is_for_it = not policy.deployments or not set(policy.deployments).isdisjoint(deployment)
    if kind not in _DECIDED or not is_for_it:
        return False
    if any(names_tool(rule, subject, perhaps=True) for rule in policy.denying("tool")):
        return True
    if subject.tool is None:
        return any(rule.is_tool(subject.server, subject.name) for rule in policy.allowing("tool"))
    if subject.tool.rule == "run":
        return any(rule.verb in ("run", "read", "write") for rule in policy.rules)
    return any(policy.allowing(subject.tool.rule))


class _Covering:
    """The allows of a policy, beside one call. Its methods raise NotCovered."""

    def __init__(self, policy: Policy, subject: Subject) -> None:
        self._policy = policy
        self._subject = subject
        self._work = policy.work if subject.in_work else None

    def rules(self) -> Iterator[PolicyRule]:
        """Yield the rules that cover the call, part by part."""
        subject, tool = self._subject, self._subject.tool
        if not (subject.is_main or self._policy.all_agents):
            raise NotCovered("another agent's thread makes the call; `agents: all` allows that")
        if not isinstance(subject.input, dict) or jsontext.is_repeated(subject.input):
            raise NotCovered("the input is not an object, or names a field twice")
        if any(len(text) > LONGEST for text in subject.values):
            raise NotCovered("its input is too long")
        if not all(_NAME.fullmatch(name) for name in (subject.name, subject.server) if name is not None):
            raise NotCovered("the name of its tool or server has other characters than letters, digits, _ . -")
        if subject.kind == "mcp":
            yield self._tool_of_server()
            return
        if tool is None:
            raise NotCovered(f"no rule is about {subject.name}")
        for name, value in subject.input.items():
            if name not in tool.fields:
                raise NotCovered(f"it has {_quoted(name)}, an unknown field of this tool")
            if not is_of_kind(value, tool.fields[name]):
                raise NotCovered(f"its {name} is of another type than expected")
        if tool is TOOLS[BASH]:
            yield from self._commands()
        elif tool.rule in ("read", "write"):
            yield self._file(tool)
        else:
            yield self._page(tool)

    def _tool_of_server(self) -> PolicyRule:
        why = "no rule is about this tool"
        for rule in self._policy.allowing("tool"):
            if not rule.is_tool(self._subject.server, self._subject.name):
                continue
            fields = self._subject.schema if rule.fields is None else rule.fields
            unnamed = next((name for name in self._subject.input if name not in fields), None)
            if unnamed is None and all(map(_is_plain_value, self._subject.input.values())):
                return rule
            why = f"line {rule.line} does not name its field {_quoted(unnamed)}"
            if rule.fields is None and not fields:
                why = f"its input_schema is unknown, and line {rule.line} names no `fields`"
            if unnamed is None:
                why = f"line {rule.line} is for text, numbers, true, false, null, and lists of these"
        raise NotCovered(why)

    def _page(self, tool: Tool) -> PolicyRule:
        for rule in self._policy.allowing(tool.rule):
            urls = self._subject.named("url")
            if rule.verb == "search" or any(
                rule.site.is_plainly_in(url, below=rule.site.has_subdomains) for url in urls
            ):
                return rule
        raise NotCovered("no `search: web` is there" if tool.rule == "search" else "no `fetch` covers its address")

    def _file(self, tool: Tool) -> PolicyRule:
        paths = self._subject.named("path") or ["."] * tool.goes_down
        if len(paths) != 1:
            raise NotCovered("it names no path, or two")
        if not is_plain(paths[0]):
            raise NotCovered("its path has other characters than letters, digits, blanks and a few signs")
        begins, chooses = ([*map(beginning, self._subject.named(kind))] for kind in ("pattern", "filter"))
        if None in (*begins, *chooses):
            raise NotCovered("its pattern may lead out of the folder")
        at = self._place(paths[0])
        if tool.goes_down:
            self._check_below(place("/".join(map(str, begins)), at))
        return self._covering(tool.rule, at)

    # Paths.

    def _place(self, path: str) -> Place:
        """Return the place of a path as typed; a relative one needs a certain folder."""
        if path.startswith("/"):
            return place(path)
        if self._work is None:
            raise NotCovered(self._why_nowhere)
        return place(path, self._work)

    @property
    def _why_nowhere(self) -> str:
        if self._policy.work is None:
            return "it depends on the folder of the shell, and the policy has no `work`"
        return "the shell may be in another folder since an earlier call"

    def _covering(self, verb: str, at: Place) -> PolicyRule:
        """Return the rule by which a place may be read, or written."""
        for rule in self._policy.allowing(verb):
            is_kept = verb == "write" and any(map(_is_kept, at[len(rule.place) :]))
            if is_inside(at, rule.place) and not is_kept:
                return rule
        raise NotCovered(f"no `{verb}` covers {spelled(at)}")

    def _check_below(self, folder: Place) -> None:
        above = folded_place(spelled(folder))
        for deny in self._policy.denying("path"):
            if is_inside(folded_place(deny.value), above):
                raise NotCovered(f"line {deny.line} denies a path below {spelled(folder)}: {deny.value}")

    # Commands.

    def _commands(self) -> Iterator[PolicyRule]:
        chain = self._subject.chain
        if not isinstance(chain, Chain):
            raise NotCovered(f"its command cannot be read: {chain}")
        if _leaves_work(self._policy, chain):
            raise NotCovered("it changes the folder: only `cd WORK && …` is read")
        if chain.cd is not None and {*chain.joins} <= {"&&", "|"}:  # each runs only where the `cd` went well
            self._work = self._policy.work
        for command in self._subject.commands:
            yield from self._command(command)

    def _command(self, command: ShellCommand) -> Iterator[PolicyRule]:
        """Yield the rules that cover what a command does, which a `run` may name."""
        row = command.row
        runs = sorted(self._policy.allowing("run"), key=lambda rule: rule.more)
        rule = next((rule for rule in runs if rule.is_command(command)), None)
        if rule is not None:
            if self._work is None:
                raise NotCovered(self._why_nowhere)
            yield rule
            if not rule.more:
                return
        if row is None or (rule is None and row.rule == "run"):
            raise NotCovered(f"no rule covers {_quoted(' '.join(command.program[:3]))}")
        if not command.is_itself:
            raise NotCovered(f"{row.name} may be another program behind {command.words[0]}")
        use = command.use
        reads = [self._place(path) for path in (*use.reads, *["."] * use.is_in_work)]
        moves, writes = ([self._place(path) for path in paths] for paths in (use.moves, use.writes))
        if row.is_of_git:
            yield self._git(row)
        yield from (self._covering("read", at) for at in reads)
        yield from (self._covering("write", at) for at in (*moves, *writes))
        if moves:  # or replaces
            named = [*filter(None, (self._policy.work, *(rule.place for rule in self._policy.rules)))]
            for at in (*moves, *writes):
                if any(is_inside(folder, at) for folder in named):
                    raise NotCovered(f"it moves {spelled(at)}, which a rule names, or a folder above")
        if use.goes_down:
            for folder in (*reads, *moves, *writes, *[self._place(".")] * row.is_of_git):
                self._check_below(folder)
        if rule is None and not (reads or moves or writes or row.is_of_git):
            rule = next(self._policy.allowing(row.rule), None)
            if rule is None:
                raise NotCovered(f"no `{row.rule}` covers it")
            yield rule

    def _git(self, row: ProgramRow) -> PolicyRule:
        """Return the rule for the repository, which git reads as a whole, its config included."""
        for rule in self._policy.allowing("write"):
            if any(folded(part).endswith(".git") for part in rule.place):  # also a bare repository
                raise NotCovered(f"line {rule.line} covers git's config, which can start programs")
        try:
            return self._covering("read", self._place("."))
        except NotCovered as error:
            raise NotCovered(f"{row.name} needs `read` on all of `work`: {error}") from None


def _is_plain_value(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_plain_value(item) and not isinstance(item, list) for item in value)
    return value is None or isinstance(value, str | int | jsontext.Number)


def _is_kept(part: str) -> bool:
    """Return whether a name is none that `write` covers: hidden, or what a repository is made of."""
    return part.startswith(".") or folded(part) == "head" or folded(part).endswith(".git")


def _quoted(text: str | None) -> str:
    """Return another's text for a message, if it can be seen."""
    return text if text and text.isascii() and text.isprintable() and len(text) < 60 else "what cannot be shown"
