"""What the denies of a policy mean of a call: plainly, perhaps, or not at all. Perhaps is wide: it asks a person."""

import re
from collections.abc import Iterator
from enum import IntEnum
from functools import cached_property
from typing import NamedTuple

from qoder_cli.policy import programs
from qoder_cli.policy.calls import LONGEST, Subject
from qoder_cli.policy.paths import Place, beginning, folded_place, is_inside, may_be_anywhere, place
from qoder_cli.policy.programs import NotCovered
from qoder_cli.policy.rules import Policy, Rule
from qoder_cli.policy.shell import Words, may_hold, pieces, unwrapped
from qoder_cli.policy.texts import folded, folded_forms
from qoder_cli.policy.tools import called


class Fit(IntEnum):
    """Whether a deny means a call."""

    NO = 0
    MAYBE = 1
    YES = 2


class Denial(NamedTuple):
    """A deny that means a call, or may."""

    rule: Rule
    fit: Fit


def denials(policy: Policy, subject: Subject) -> list[Denial]:
    """Return the denies that mean a call, or may, the plainest first; of any kind of tool."""
    reader = _Reader(policy, subject)
    fits = [Denial(rule, reader.fit(rule)) for rule in policy.rules if not rule.allows]
    return sorted((each for each in fits if each.fit), key=lambda each: (-each.fit, each.rule.line))


class _Reader:
    """A call, read once for all denies."""

    def __init__(self, policy: Policy, subject: Subject) -> None:
        self._policy = policy
        self._subject = subject
        self._work = policy.work or ()
        self._is_long = any(len(text) > LONGEST for text in subject.texts)

    def fit(self, rule: Rule) -> Fit:
        fit: Fit = getattr(self, f"_{rule.verb}")(rule)
        return fit

    @cached_property
    def _pieces(self) -> list[str]:
        """All that may be a word of a command, in order."""
        texts = self._subject.unknown_texts
        if self._subject.command is not None:
            texts = [self._subject.command, *(" ".join(words) for words in self._commands)]
        return [piece for text in texts for piece in pieces(text)]

    @cached_property
    def _names(self) -> list["_Name"]:
        """All that may be a path."""
        return [name for text in self._suspects() for name in _names_in(text, self._work)]

    @property
    def _commands(self) -> Iterator[Words]:
        chain = self._subject.chain
        if self._subject.command is not None and chain is not None:
            yield from (command.words for command in chain.commands)

    def _run(self, rule: Rule) -> Fit:
        """`git push` plainly means a command that begins so, behind what only starts it."""
        for words in self._commands:
            if any(each[: len(rule.words)] == rule.words for each in (words, unwrapped(words).words)):
                return Fit.YES
        return Fit.MAYBE if self._is_long or may_hold(self._pieces, rule.words) else Fit.NO

    def _fetch(self, rule: Rule) -> Fit:
        url = self._subject.fields.get("url")
        is_fetch = self._subject.tool is not None and self._subject.tool.rule == "fetch"
        if is_fetch and isinstance(url, str) and rule.site.denies(url):
            return Fit.YES
        return Fit.MAYBE if any(map(rule.site.may_be_in, self._subject.texts)) else Fit.NO

    def _text(self, rule: Rule) -> Fit:
        if any(rule.value in text for text in self._subject.texts):
            return Fit.YES
        wanted = folded_forms(rule.value)
        is_there = any(one in form for text in self._subject.texts for form in folded_forms(text) for one in wanted)
        return Fit.MAYBE if is_there else Fit.NO

    def _tool(self, rule: Rule) -> Fit:
        subject = self._subject
        bare = subject.name.removeprefix(f"mcp__{subject.server}__")
        names = [subject.name, bare]
        if subject.server is not None:
            names.append(f"mcp__{subject.server}__{bare}")
        elif subject.kind == "tool":
            names.append(called(subject.name))
        if any(_fits(rule.value, name) for name in names):
            return Fit.YES
        wanted = [folded(rule.value), folded(called(rule.value))]
        return Fit.MAYBE if any(_fits(glob, folded(name)) for glob in wanted for name in names) else Fit.NO

    def _path(self, rule: Rule) -> Fit:
        """A denied path is plainly meant by a path of a tool, or an operand of a program of the table."""
        if any(is_inside(place(path, self._work), rule.place) for path in self._plain()):
            return Fit.YES
        denied = tuple(map(folded, rule.place))
        if self._is_long or any(self._may_be(name, denied) for name in self._names):
            return Fit.MAYBE
        return Fit.NO

    def _may_be(self, name: "_Name", denied: Place) -> bool:
        if may_be_anywhere(name.place) or name.may_be_inside(denied):
            return True
        # Where the folder is not certain, a relative path may begin anywhere.
        return not self._is_placed and denied != () and denied[-1] in name.place

    @property
    def _is_placed(self) -> bool:
        """Whether relative paths certainly begin in `work`."""
        if self._policy.work is None or not self._subject.in_work:
            return False
        if self._subject.command is None:
            return True
        chain = self._subject.chain
        return chain is not None and (chain.cd is None or place(chain.cd, self._work) == self._policy.work)

    def _plain(self) -> Iterator[str]:
        """Yield the paths that the call plainly names."""
        subject = self._subject
        if not self._is_placed:
            yield from (path for path in subject.paths if path.startswith("/"))
            return
        for path in subject.paths or ["."] * (subject.tool is not None and subject.tool.goes_down):
            for pattern in subject.patterns or [""]:
                yield f"{path}/{beginning(pattern) or ''}" if pattern else path
        for words in self._commands:
            row = programs.row_of(unwrapped(words).words)
            try:
                use = programs.use_of(row, unwrapped(words).words) if row is not None else programs.Use()
            except NotCovered:
                continue
            yield from (*use.reads, *use.writes, *use.moves)

    def _suspects(self) -> Iterator[str]:
        """Yield the texts in which a path may be named."""
        subject = self._subject
        yield from subject.unknown_texts
        yield from (*subject.paths, *subject.patterns)
        if subject.command is not None:
            yield from (word for words in self._commands for word in words)
            yield subject.command if subject.chain is None else subject.chain.cd or ""


_APART = re.compile(r"[\s;&|<>(){}`\"']+")
_WILD = re.compile(r"[*?\[{$`\\]")


class _Name(NamedTuple):
    """What may be a path; with `is_cut` only the beginning of one, before a wildcard."""

    place: Place
    is_cut: bool

    def may_be_inside(self, folder: Place) -> bool:
        if is_inside(self.place, folder):
            return True
        *above, last = self.place or ("",)
        place = len(above)
        return (
            self.is_cut
            and folder[:place] == tuple(above)
            and last != ""
            and folder[place : place + 1] != ()
            and (folder[place].startswith(last))
        )


def _names_in(text: str, work: Place) -> Iterator[_Name]:
    """Yield what may be a path in a text: the whole, each part of it, and what stands behind `=`, `:` and `-x`.

    Each as it begins in `work`, and as it begins at the root.
    """
    for form in folded_forms(text):
        for name in {form, *_APART.split(form)}:
            starts = {0, *(match.end() for match in re.finditer("[=:,@]", name))}
            if name.startswith("-"):
                starts |= {2, name.find("/")}
            for start in starts - {-1}:
                rest = name[start:]
                if wild := _WILD.search(rest):
                    rest = rest[: wild.start()]
                if rest:
                    is_cut = wild is not None and not rest.endswith("/")
                    yield _Name(folded_place(rest, work), is_cut)
                    yield _Name(folded_place(f"/{rest}"), is_cut)


def _fits(glob: str, name: str) -> bool:
    """Return whether a name is what a glob says, in which only * is special."""
    first, *others = glob.split("*")
    if not others:
        return name == glob
    *middle, last = others
    if len(name) < len(first) + len(last) or not name.startswith(first) or not name.endswith(last):
        return False
    at, end = len(first), len(name) - len(last)
    for part in middle:
        if (found := name.find(part, at, end)) < 0:
            return False
        at = found + len(part)
    return True
