"""Decide about a call by a policy. Pure: nothing is read, sent or remembered.

A call is allowed where an allow covers each part of it and no deny may mean any. What cannot be read, or is not known,
is left for a person.
"""

import re
from collections.abc import Collection, Iterator
from typing import Any, Literal, NamedTuple

from qoder_cli.base import jsontext
from qoder_cli.policy import programs, shell
from qoder_cli.policy.calls import LONGEST, Subject
from qoder_cli.policy.denying import Denial, Fit, denials
from qoder_cli.policy.paths import Place, beginning, folded_place, is_inside, is_plain, place, spelled
from qoder_cli.policy.programs import NotCovered, Row, Use
from qoder_cli.policy.rules import Policy, Rule
from qoder_cli.policy.shell import Chain, Command, Words, untimed, unwrapped
from qoder_cli.policy.texts import folded
from qoder_cli.policy.tools import BASH, TOOLS, Tool, is_of_kind

Answer = Literal["allow", "deny", "ask"]
_NAME = re.compile(r"[A-Za-z0-9_.-]+", re.ASCII)
_CUSTOM = "a custom tool takes a result, which no rule gives"


class Verdict(NamedTuple):
    """What a policy says of a call: allow, deny, or ask a person; by which rules, and why, for people."""

    answer: Answer
    rules: tuple[Rule, ...] = ()
    why: str = ""

    @property
    def rule(self) -> Rule | None:
        """The first of the rules."""
        return next(iter(self.rules), None)

    @property
    def rules_in_words(self) -> str | None:
        return "; ".join(rule.text for rule in self.rules) or None

    @property
    def in_words(self) -> str:
        """What it comes to, for a column."""
        if not self.rules:
            return self.answer
        lines = ", ".join(str(rule.line) for rule in self.rules)
        return f"{self.answer} (line {lines})"

    @property
    def because(self) -> str | None:
        """The reason of a deny, for the agent."""
        if self.answer != "deny" or self.rule is None:
            return None
        return self.rule.because or f"A rule denies this: {self.rule.text.removeprefix('deny ')}"

    @property
    def data(self) -> dict[str, Any]:
        """What it comes to, for JSON."""
        line = self.rule and self.rule.line
        return {"answer": self.answer, "line": line, "rule": self.rules_in_words, "why": self.why or None}


def decide(policy: Policy, subject: Subject) -> Verdict:
    """Return what a policy says of a call. Which deployments it is for, the caller knows."""
    if subject.kind not in ("tool", "mcp"):
        return Verdict("ask", (), _CUSTOM)
    if denial := denied(policy, subject):
        if denial.fit is Fit.YES:
            return Verdict("deny", (denial.rule,))
        return Verdict("ask", (), f"line {denial.rule.line} may mean to deny it: {denial.rule.text}")
    try:
        rules = tuple(dict.fromkeys(_Covering(policy, subject).rules()))
    except NotCovered as error:
        return Verdict("ask", (), str(error))
    return Verdict("allow", rules)


def denied(policy: Policy, subject: Subject) -> Denial | None:
    """Return the deny that most plainly means a call, or may."""
    return next(iter(denials(policy, subject)), None)


def may_move(policy: Policy, subject: Subject) -> bool:
    """Return whether a call may leave the shell in another folder than `work`, for calls that come later."""
    if subject.command is None:
        return subject.tool is TOOLS[BASH]
    if subject.chain is None:
        return shell.may_move(subject.command)
    cd = subject.chain.cd
    return cd is not None and (not cd.startswith("/") or place(cd) != policy.work)


def has_rule_about(
    policy: Policy, kind: str, name: str, server: str | None = None, *, deployment: Collection[str] = ()
) -> bool:
    """Return whether a policy has a rule about a tool: whether some call of it is decided without a person.

    `kind` is that of its calls: tool, mcp or custom. `deployment` are the id and the name of the deployment.
    """
    subject = Subject(kind, name, {}, server)
    is_for_it = not policy.deployments or not set(policy.deployments).isdisjoint(deployment)
    if kind not in ("tool", "mcp") or not is_for_it:
        return False
    if any(each.rule.verb == "tool" for each in denials(policy, subject)):
        return True
    if subject.tool is None:
        return any(_names(rule, subject) for rule in policy.allowing("tool"))
    verbs = {"run", "read", "write"} if subject.tool.rule == "run" else {subject.tool.rule}
    return any(rule.verb in verbs for rule in policy.rules if rule.allows or rule.verb == "run")


def _names(rule: Rule, subject: Subject) -> bool:
    """Return whether an allow names the tool of a server, by its own name."""
    server, _, tool = rule.value.removeprefix("mcp__").partition("__")
    is_tool = subject.name == tool or (tool.endswith("*") and subject.name.startswith(tool[:-1]))
    return subject.kind == "mcp" and subject.server == server and is_tool


class _Covering:
    """The allows of a policy, beside one call. Raises NotCovered."""

    def __init__(self, policy: Policy, subject: Subject) -> None:
        self._policy = policy
        self._subject = subject
        self._work = policy.work if subject.in_work else None
        self._denied = [tuple(map(folded, rule.place)) for rule in policy.denying("path")]

    def rules(self) -> Iterator[Rule]:
        """Yield the rules that cover the call, part by part. Raises NotCovered."""
        subject = self._subject
        if not (subject.is_main or self._policy.all_agents):
            raise NotCovered("another agent's thread makes the call; `agents: all` allows that")
        if not isinstance(subject.input, dict) or jsontext.is_repeated(subject.input):
            raise NotCovered("the input is not an object, or names a field twice")
        if any(len(text) > LONGEST for text in subject.texts):
            raise NotCovered("its input is too long")
        if not all(_NAME.fullmatch(name) for name in (subject.name, subject.server) if name is not None):
            raise NotCovered("the name of its tool or server has other characters than letters, digits, _ . -")
        if subject.kind == "mcp":
            yield self._tool_of_server()
        elif (tool := subject.tool) is None:
            raise NotCovered(f"no rule is about {subject.name}")
        else:
            _check_fields(subject, tool)
            yield from self._built_in(tool)

    def _tool_of_server(self) -> Rule:
        why = "no rule is about this tool"
        for rule in self._policy.allowing("tool"):
            if not _names(rule, self._subject):
                continue
            fields = self._subject.schema if rule.fields is None else rule.fields
            unnamed = next((name for name in self._subject.input if name not in fields), None)
            if unnamed is None and all(map(_is_plain_value, self._subject.input.values())):
                return rule
            why = f"line {rule.line} allows other fields, or plain values alone"
            if unnamed is not None and unnamed.isprintable() and len(unnamed) < 40:
                why = f"line {rule.line} does not name its field {unnamed}"
        raise NotCovered(why)

    def _built_in(self, tool: Tool) -> Iterator[Rule]:
        if tool is TOOLS[BASH]:
            yield from self._commands()
        elif tool.has_path:
            yield self._file(tool)
        else:
            yield self._page(tool)

    def _page(self, tool: Tool) -> Rule:
        url = self._subject.fields.get("url")
        for rule in self._policy.allowing(tool.rule):
            if tool.rule == "search" or (isinstance(url, str) and rule.site.allows(url)):
                return rule
        raise NotCovered("no `search: web` is there" if tool.rule == "search" else "no `fetch` covers its address")

    def _file(self, tool: Tool) -> Rule:
        """Return the rule that covers the path of a tool."""
        paths = self._subject.paths
        if len(paths) != 1 and not (tool.goes_down and not paths):
            raise NotCovered("it names no path, or two")
        path = paths[0] if paths else "."
        if not is_plain(path):
            raise NotCovered("its path has other characters than letters, digits, blanks and a few signs")
        below = [beginning(pattern) for pattern in self._subject.patterns]
        if None in below:
            raise NotCovered("its pattern may lead out of the folder")
        at = self._place(path)
        if tool.rule == "write":
            return self._writing(at)
        rule = self._reading(at)
        if tool.goes_down:
            # Each pattern narrows what is looked through; the widest counts.
            wide = min((place(begins or "", at) for begins in below), key=len, default=at)
            self._check_below(wide)
        return rule

    # Paths.

    def _place(self, path: str) -> Place:
        """Return the place of a path as typed. Raises NotCovered for a relative one where the folder is not certain."""
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

    def _reading(self, at: Place) -> Rule:
        rule = next((rule for rule in self._policy.allowing("read") if is_inside(at, rule.place)), None)
        if rule is None:
            raise NotCovered(f"no `read` covers {spelled(at)}")
        return rule

    def _writing(self, at: Place) -> Rule:
        for rule in self._policy.allowing("write"):
            if is_inside(at, rule.place) and not any(map(_is_kept, at[len(rule.place) :])):
                return rule
        raise NotCovered(f"no `write` covers {spelled(at)}")

    def _check_below(self, folder: Place) -> None:
        """Raise NotCovered if a denied path is below a folder that is gone down into."""
        above = folded_place(spelled(folder))
        denied = next(
            (rule for rule in self._policy.denying("path") if is_inside(folded_place(rule.value), above)), None
        )
        if denied is not None:
            raise NotCovered(f"line {denied.line} denies a path below {spelled(folder)}: {denied.value}")

    # Commands.

    def _commands(self) -> Iterator[Rule]:
        chain = self._subject.chain
        if chain is None:
            raise NotCovered(f"its command cannot be read: {self._subject.unread}")
        self._enter(chain)
        for command in chain.commands:
            yield from self._command(command)

    def _enter(self, chain: Chain) -> None:
        """Note where the commands run, after a `cd` before them. Raises NotCovered for one to another folder."""
        if chain.cd is None:
            return
        work = self._policy.work
        if not chain.cd.startswith("/") or work is None or place(chain.cd) != work or not is_plain(chain.cd):
            raise NotCovered("it changes the folder: only `cd WORK && …` is read")
        if chain.stays:
            self._work = work

    def _command(self, command: Command) -> Iterator[Rule]:
        """Yield the rules that cover one command of a chain. Raises NotCovered."""
        words, launchers = unwrapped(command.words)
        row = programs.row_of(words)
        is_itself = row is not None and launchers <= {row.launched}
        for rule in sorted(self._policy.allowing("run"), key=lambda rule: rule.more):
            is_exact = not rule.more and rule.words in (command.words, untimed(command.words))
            is_begun = rule.more and is_itself and _begins(words, unwrapped(rule.words).words)
            if is_exact or is_begun:
                break
        else:
            rule = None
        if rule is not None and self._work is None:
            raise NotCovered(self._why_nowhere)
        if rule is not None and not rule.more:
            yield rule
            return
        if row is None or (rule is None and row.rule == "run"):
            raise NotCovered(f"no rule covers {_shown(words)}")
        if not is_itself:
            raise NotCovered(f"{row.name} may be another program behind what starts it: {_shown(command.words)}")
        yield from self._use(row, programs.use_of(row, words), rule)

    def _use(self, row: Row, use: Use, rule: Rule | None) -> Iterator[Rule]:
        """Yield the rules that cover what a command does, beside the `run` that names it. Raises NotCovered."""
        if rule is not None:
            yield rule
        if row.is_of_git:
            yield self._git(row)
        reads = [self._place(path) for path in use.reads]
        if use.is_in_work:
            reads.append(self._place("."))
        yield from map(self._reading, reads)
        moves = [self._place(path) for path in use.moves]
        writes = [self._place(path) for path in use.writes]
        yield from map(self._writing, (*moves, *writes))
        if moves:
            self._check_moved([*moves, *writes])
        if use.goes_down:
            folders = [*reads, *moves, *writes]
            if row.is_of_git:
                folders.append(self._place("."))
            for folder in folders:
                self._check_below(folder)
        if rule is None and not (reads or moves or writes or row.is_of_git):
            yield self._any(row.rule)

    def _git(self, row: Row) -> Rule:
        """Return the rule for the repository, which git reads as a whole, its config included."""
        of_config = next((rule for rule in self._policy.allowing("write") if ".git" in map(folded, rule.place)), None)
        if of_config is not None:
            raise NotCovered(f"line {of_config.line} covers git's config, which can start programs")
        try:
            return self._reading(self._place("."))
        except NotCovered as error:
            why = f"{row.name} needs `read` on all of `work`: {error}"
            raise NotCovered(why) from None

    def _check_moved(self, places: list[Place]) -> None:
        """Raise NotCovered for moving, or replacing, a folder that a rule names, or one above."""
        named = [rule.place for rule in self._policy.rules if rule.place]
        if self._policy.work is not None:
            named.append(self._policy.work)
        for at in places:
            if any(is_inside(each, at) for each in named):
                raise NotCovered(f"mv of {spelled(at)}, which a rule names, or of a folder above")

    def _any(self, verb: str) -> Rule:
        """Return a rule for a command that names no path."""
        rule = next(self._policy.allowing(verb), None)
        if rule is None:
            raise NotCovered(f"no `{verb}` covers it")
        return rule


def _check_fields(subject: Subject, tool: Tool) -> None:
    """Raise NotCovered for fields that are not known, or of another type."""
    for name, value in subject.input.items():
        if name not in tool.fields:
            shown = name if name.isascii() and name.isprintable() and len(name) < 40 else "a field"
            raise NotCovered(f"it has {shown}, which is not known of this tool")
        if not is_of_kind(value, tool.fields[name]):
            raise NotCovered(f"its {name} is not of the type that is known")
    if tool is TOOLS[BASH] and subject.command is None:
        raise NotCovered("it has no command")


def _is_plain_value(value: Any) -> bool:
    """Return whether a value is text, a number, true, false, null, or a list of such."""
    if isinstance(value, list):
        return all(_is_plain_value(each) and not isinstance(each, list) for each in value)
    return value is None or isinstance(value, str | int | jsontext.Number)


def _is_kept(part: str) -> bool:
    """Return whether a name is none that `write` covers: hidden, or what a repository is made of."""
    return part.startswith(".") or folded(part) == "head" or folded(part).endswith(".git")


def _begins(words: Words, start: Words) -> bool:
    return words[: len(start)] == start


def _shown(words: Words) -> str:
    shown = " ".join(words[:3])
    return shown if shown.isprintable() and len(shown) < 60 else words[0]
