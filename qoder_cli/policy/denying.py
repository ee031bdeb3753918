"""What the denies of a policy mean of a call: plainly, perhaps, or not at all. Perhaps is wide: it asks a person."""

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cached_property
from typing import NamedTuple

from qoder_cli.policy.calls import LONGEST, Subject, called
from qoder_cli.policy.programs import NotCovered, ShellCommand, Use
from qoder_cli.policy.rules import Policy, PolicyRule
from qoder_cli.policy.shell import Chain, may_hold, pieces
from qoder_cli.policy.spelling import (
    LONGEST_PATH,
    Place,
    beginning,
    folded,
    folded_forms,
    folded_place,
    is_inside,
    may_be_anywhere,
    place,
    spelled,
)

_APART = re.compile(r"[\s;&|<>(){}`\"']+")
_WILD = re.compile(r"[*?\[{$`\\]")
_MOST_STARTS = 50  # of paths in one word; what has more may be anything


class Denial(NamedTuple):
    """A deny that means a call: plainly, or perhaps."""

    rule: PolicyRule
    is_plain: bool

    @property
    def in_words(self) -> str:
        doing = "denies it" if self.is_plain else "may mean to deny it"
        return f"line {self.rule.line} {doing}: {self.rule.text}"


def denied(policy: Policy, subject: Subject) -> Denial | None:
    """Return the first deny that plainly means a call, of whatever kind of tool; else the first that may."""
    meaning = _Meaning(policy, subject)
    denies = [rule for rule in policy.rules if not rule.allows]
    if plain := next(filter(meaning.is_plain_of, denies), None):
        return Denial(plain, is_plain=True)
    if perhaps := next(filter(meaning.may_be_of, denies), None):
        return Denial(perhaps, is_plain=False)
    return None


def names_tool(rule: PolicyRule, subject: Subject, *, perhaps: bool) -> bool:
    """Return whether a deny names the tool of a call by any of its names, `perhaps` in other letters."""
    bare = subject.name.removeprefix(f"mcp__{subject.server}__")
    names = [subject.name, bare, called(subject.name) if subject.kind == "tool" else f"mcp__{subject.server}__{bare}"]
    globs = [rule.value]
    if perhaps:
        names += list(map(folded, names))
        globs += folded(rule.value), folded(called(rule.value))
    return any(fnmatchcase(name, glob) for name in names for glob in globs)


class _Meaning:
    """What denies mean of a call, which is read once for all of them."""

    def __init__(self, policy: Policy, subject: Subject) -> None:
        self._policy = policy
        self._subject = subject
        self._work = policy.work or ()
        self._is_long = any(len(text) > LONGEST for text in subject.values)

    def is_plain_of(self, rule: PolicyRule) -> bool:
        """Return whether a deny plainly means the call."""
        subject = self._subject
        match rule.verb:
            case "tool":
                return names_tool(rule, subject, perhaps=False)
            case "run":  # a command that begins so, behind what only starts it
                beginnings = [words for command in subject.commands for words in (command.words, command.program)]
                return any(words[: len(rule.command.words)] == rule.command.words for words in beginnings)
            case "path":
                return any(is_inside(place(path, self._work), rule.place) for path in self._opened)
            case "fetch":
                return any(rule.site.is_plainly_in(url, below=True) for url in subject.named("url"))
        return any(rule.value in text for text in subject.texts)

    def may_be_of(self, rule: PolicyRule) -> bool:
        """Return whether a deny may mean the call."""
        match rule.verb:
            case "tool":
                return names_tool(rule, self._subject, perhaps=True)
            case "run":
                return self._is_long or may_hold(self._pieces, rule.command.words)
            case "path":
                inner = tuple(map(folded, rule.place))
                if self._is_long or any(self._may_be_in(inner, name, is_cut) for name, is_cut in self._names):
                    return True
                # Its blanks are no ends of words.
                return " " in rule.value and any(
                    spelled(inner) in form for text in self._suspects for form in folded_forms(text)
                )
        wanted = folded_forms(rule.site.written if rule.verb == "fetch" else rule.value)
        texts = [*self._subject.texts, *self._subject.unread]
        return any(one in form for text in texts for form in folded_forms(text) for one in wanted)

    @cached_property
    def _pieces(self) -> list[str]:
        """All that may be a word of a command, in order."""
        texts = self._others
        if self._subject.command is not None:
            texts = [*self._subject.unread, *(" ".join(command.words) for command in self._subject.commands)]
        return [piece for text in texts for piece in pieces(text)]

    @property
    def _others(self) -> list[str]:
        """The values that may be anything: of a tool that is not built in."""
        return self._subject.values if self._subject.tool is None else []

    @cached_property
    def _is_placed(self) -> bool:
        """Whether it is certain that a relative path begins in `work`."""
        work, chain = self._policy.work, self._subject.chain
        if work is None or not self._subject.in_work:
            return False
        if isinstance(chain, Chain):
            return chain.cd is None or place(chain.cd, work) == work
        return chain is None

    @cached_property
    def _uses(self) -> list[tuple[ShellCommand, Use]]:
        """What each command does; empty if unknown."""
        uses = []
        for command in self._subject.commands:
            try:
                uses.append((command, command.use))
            except NotCovered:
                uses.append((command, Use()))
        return uses

    @cached_property
    def _opened(self) -> list[str]:
        """The paths that the call plainly names: a tool's, and operands of programs of the table."""
        subject = self._subject
        opened = subject.named("path")
        if patterns := subject.named("pattern"):
            folders = opened or ["."]
            opened = [f"{folder}/{beginning(pattern) or ''}" for folder in folders for pattern in patterns]
        opened += [path for _, use in self._uses for path in use.paths]
        return [path for path in opened if self._is_placed or path.startswith("/")]

    @cached_property
    def _suspects(self) -> list[str]:
        """The texts in which a path may be."""
        subject, chain = self._subject, self._subject.chain
        texts = [*self._others, *(text for kind in ("path", "pattern", "filter") for text in subject.named(kind))]
        for command, use in self._uses:  # a pattern is no path, but the same word may stand there as one
            texts += [*(word for word in command.words if word not in use.texts), *use.paths]
        texts += [chain.cd or ""] if isinstance(chain, Chain) else subject.unread
        return texts

    @cached_property
    def _names(self) -> list[tuple[Place, bool]]:
        return [name for text in self._suspects for name in _names_in(text, self._work)]

    def _may_be_in(self, folder: Place, name: Place, is_cut: bool) -> bool:
        """Return whether a name may be in a folder; where its beginning is not certain, by the folder's name alone."""
        if is_inside(name, folder) or may_be_anywhere(name):
            return True
        if not self._is_placed and folder[-1:] != () and folder[-1] in name:
            return True
        depth = len(name)
        is_above = is_cut and name[:-1] == folder[: depth - 1] and depth <= len(folder)
        return is_above and depth > 0 and folder[depth - 1].startswith(name[-1])


def _names_in(text: str, work: Place) -> Iterator[tuple[Place, bool]]:
    """Yield what may be a path in a text: the whole, each part of it, and what stands behind `=`, `:` and `-x`.

    Each as it begins in `work`, and as it begins at the root; and whether it is cut before a wildcard.
    """
    for form in folded_forms(text):
        for name in {form, *_APART.split(form)}:
            if len(name) > LONGEST_PATH:
                continue  # a part of it may be one
            starts = {0, *(match.end() for match in re.finditer("[=:,@]", name))}
            if name.startswith("-"):
                starts |= {2, max(name.find("/"), 0)}
            if len(starts) > _MOST_STARTS:
                yield ("dev", "fd"), False
                continue
            for rest in (name[start:] for start in starts):
                path = _WILD.split(rest, maxsplit=1)[0]
                if path:
                    is_cut = path != rest and not path.endswith("/")
                    yield folded_place(path, work), is_cut
                    yield folded_place(f"/{path}"), is_cut
