"""Regular expressions that no text makes slow.

Python's own may take for ever, in a thread that cannot be ended. Here all ways through a pattern are walked at once,
one character after the other, so that a search takes at most the length of the text times that of the pattern. Which
search is too long is counted in steps, not in seconds: the same on every machine.

The patterns are those of Python, as far as they are about text alone: no backreferences, lookarounds or flags.
`\\d`, `\\w` and `\\s` are those of ASCII, and `$` is the end of the text.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

MOST_STEPS = 100_000  # of one search
MOST_PARTS = 2_000  # of one pattern, each repeat written out
DEEPEST = 40  # groups in each other
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}
_DIGITS, _SPACES = "09", "\t\r  "  # ranges: pairs of a first and a last character
_WORDS = "azAZ09__"
_CLASSES = {"d": _DIGITS, "w": _WORDS, "s": _SPACES}
_COUNTS: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
_ANYTHING = "(?:.|\\n)*"
_NAMED_FOLDER = re.compile(r"(.*/[^/*]+)/\*\*", re.DOTALL)
_IN_GLOBS = {"/**/": "/(?:[^/]+/)*", "**": ".+", "*": "[^/]*"}  # what stands for what


class BadPattern(ValueError):
    """A pattern that cannot be read, or has what none here may have."""


class TooLong(Exception):
    """A search took more steps than it may."""


class _Set(NamedTuple):
    """Characters: pairs of a first and a last one; or all others."""

    ranges: str
    is_negated: bool = False

    def has(self, character: str, *, ignores_case: bool) -> bool:
        forms = {character}
        if ignores_case:
            forms |= {form for form in (character.lower(), character.upper(), character.casefold()) if len(form) == 1}
        pairs = zip(self.ranges[::2], self.ranges[1::2], strict=True)
        return any(first <= form <= last for first, last in pairs for form in forms) is not self.is_negated


_OPEN = (("at", "b"), ("at", "B"))  # what may hold or not, by what follows
_ANY = _Set("\n\n", is_negated=True)

# A tree is a _Set, an assertion's letter (^ $ b B), or one of these.
_Tree = Any


class _Sequence(NamedTuple):
    parts: Sequence[_Tree]


class _Choice(NamedTuple):
    parts: Sequence[_Tree]


class _Repeat(NamedTuple):
    part: _Tree
    least: int
    most: int | None


class Regex:
    """A pattern, read. Raises BadPattern."""

    def __init__(self, pattern: str, *, ignores_case: bool = False) -> None:
        self.pattern = pattern
        self.glob: str | None = None  # as it is written, where it is one
        self._ignores_case = ignores_case
        if not pattern:
            raise BadPattern("is empty")
        self._codes: list[tuple[Any, ...]] = []
        self._parts = 0
        self._put(_PatternReader(pattern).read())
        self._codes.append(("end",))
        self._end = len(self._codes) - 1
        self._has_places = any(code[0] == "at" for code in self._codes)

    @classmethod
    def of_glob(
        cls, glob: str, *, ignores_case: bool = False, with_below: bool = False, with_folder: bool = False
    ) -> "Regex":
        """Return the pattern for a path or name: `*` is anything but a slash, `**` any number of folders.

        With `with_below`, what is below each path fits too; with `with_folder`, the folder itself where a glob ends in
        its name and `/**`.
        """
        glob = re.sub(r"/\*\*(?:/\*\*)+(?=/|$)", "/**", glob)  # any number of folders, twice, is that too
        folder = _NAMED_FOLDER.fullmatch(glob) if with_folder else None
        parts = re.split(r"(/\*\*/|\*\*|\*)", folder[1] if folder else glob)
        written = "".join(_IN_GLOBS.get(part) or re.escape(part) for part in parts)
        if with_below or folder:
            written += f"(?:/{_ANYTHING})?"
        regex = cls(written, ignores_case=ignores_case)
        regex.glob = glob
        return regex

    @classmethod
    def of_name(cls, glob: str, *, ignores_case: bool = False) -> "Regex":
        """Return the pattern for a name in which `*` is anything, whatever a server puts into its names."""
        regex = cls(_ANYTHING.join(map(re.escape, glob.split("*"))), ignores_case=ignores_case)
        regex.glob = glob
        return regex

    @property
    def literal(self) -> str | None:
        """The only text that fits, of a glob without a wildcard."""
        return self.glob if self.glob is not None and "*" not in self.glob else None

    def fits(self, text: str) -> bool:
        """Return whether the whole text fits. Raises TooLong."""
        return self._end in self._walk(text, anywhere=False)

    def is_in(self, text: str) -> bool:
        """Return whether a part of the text fits. Raises TooLong."""
        return self._end in self._walk(text, anywhere=True)

    def may_fit_below(self, text: str, *, anywhere: bool) -> bool:
        """Return whether a longer text that begins so may fit, or have `anywhere` a part that does. Raises TooLong."""
        reached = self._walk(text, anywhere=anywhere)
        return any(self._codes[code][0] in ("set", "end") or self._codes[code] in _OPEN for code in reached)

    def _put(self, tree: _Tree) -> None:
        """Write a tree as codes: ("set", …), ("at", …), ("jump", place), ("fork", place, place), ("end",)."""
        codes = self._codes
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise BadPattern(f"is too long with its repeats written out: more than {MOST_PARTS:,} parts")
        match tree:
            case _Set():
                codes.append(("set", tree))
            case str():
                codes.append(("at", tree))
            case _Sequence(parts):
                for part in parts:
                    self._put(part)
            case _Choice(parts):
                self._put_choice(parts)
            case _Repeat(part, least, most):
                for _ in range(least):
                    self._put(part)
                if most is None:
                    start = self._fork()
                    self._put(part)
                    codes.append(("jump", start))
                    self._close(start)
                else:
                    starts = []
                    for _ in range(most - least):
                        starts.append(self._fork())
                        self._put(part)
                    for start in starts:
                        self._close(start)

    def _put_choice(self, parts: Sequence[_Tree]) -> None:
        ends = []
        for part in parts[:-1]:
            start = self._fork()
            self._put(part)
            ends.append(len(self._codes))
            self._codes.append(("jump", -1))
            self._close(start)
        self._put(parts[-1])
        for end in ends:
            self._codes[end] = ("jump", len(self._codes))

    def _fork(self) -> int:
        self._codes.append(("fork", len(self._codes) + 1, -1))
        return len(self._codes) - 1

    def _close(self, start: int) -> None:
        self._codes[start] = ("fork", start + 1, len(self._codes))

    def _walk(self, text: str, *, anywhere: bool) -> frozenset[int]:
        """Return the codes that are reached by a text, or by a part of it that fits. Raises TooLong.

        What follows a set of codes is worked out once for each character, and what is next.
        """
        steps = 0
        again = {0} if anywhere else set[int]()
        moves: dict[tuple[frozenset[int], str, bool | None], frozenset[int]] = {}
        reached = self._reached({0}, text, 0)
        for place, character in enumerate(text, 1):
            if anywhere and self._end in reached:
                return reached
            if not (reached or anywhere):
                return reached
            key = reached, character, _begins_word(text, place) if self._has_places else None
            if (following := moves.get(key)) is None:
                steps += len(reached) + 1
                if steps > MOST_STEPS:
                    raise TooLong
                following = self._reached(again | self._read(reached, character), text, place)
                moves[key] = following
            reached = following
        return reached

    def _read(self, reached: frozenset[int], character: str) -> set[int]:
        """Return the codes behind those that read a character."""
        sets = ((code, self._codes[code]) for code in reached)
        ignores = self._ignores_case
        return {
            code + 1 for code, (what, *is_it) in sets if what == "set" and is_it[0].has(character, ignores_case=ignores)
        }

    def _reached(self, starts: set[int], text: str, place: int) -> frozenset[int]:
        """Return the codes that are reached from some without reading a character."""
        reached: set[int] = set()
        to_go = [*starts]
        while to_go:
            code = to_go.pop()
            if code in reached:
                continue
            reached.add(code)
            match self._codes[code]:
                case ("jump", target):
                    to_go.append(target)
                case ("fork", one, other):
                    to_go += (one, other)
                case ("at", assertion) if _holds(assertion, text, place):
                    to_go.append(code + 1)
        return frozenset(reached)


def _holds(assertion: str, text: str, place: int) -> bool:
    if assertion == "^":
        return place == 0
    if assertion == "$":
        return place == len(text)
    before = place > 0 and _begins_word(text, place - 1)
    return (before is not bool(_begins_word(text, place))) is (assertion == "b")


def _begins_word(text: str, place: int) -> bool | None:
    """Return whether a character of a word stands there; None at the end."""
    if place == len(text):
        return None
    return text[place].isascii() and (text[place].isalnum() or text[place] == "_")


class _PatternReader:
    """Reads a pattern into a tree."""

    def __init__(self, pattern: str) -> None:
        self._text = pattern
        self._at = 0

    def read(self) -> _Tree:
        tree = self._choice(0)
        if self._at < len(self._text):
            raise BadPattern("has a ) too many")
        return tree

    def _next(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self, what: str) -> bool:
        if not self._text.startswith(what, self._at):
            return False
        self._at += len(what)
        return True

    def _required(self, what: str) -> str:
        """Return the next character. Raises BadPattern, saying `what` ends too early."""
        if not (character := self._next()):
            raise BadPattern(f"{what} is not closed")
        self._at += 1
        return character

    def _choice(self, depth: int) -> _Tree:
        if depth > DEEPEST:
            raise BadPattern(f"has more than {DEEPEST} groups in each other")
        parts = [_Sequence([*self._items(depth)])]
        while self._take("|"):
            parts.append(_Sequence([*self._items(depth)]))
        return _Choice(parts)

    def _items(self, depth: int) -> Iterator[_Tree]:
        while (character := self._next()) and character not in "|)":
            yield self._repeated(self._item(depth))

    def _item(self, depth: int) -> _Tree:
        character = self._required("it")
        if character in "^$":
            return character
        if character == ".":
            return _ANY
        if character == "[":
            return self._class()
        if character == "\\":
            return self._escape()
        if character == "(":
            if self._next() == "?" and not self._take("?:"):
                raise BadPattern("only ( ) and (?: ) are supported, no lookaround, name or flag")
            tree = self._choice(depth + 1)
            if not self._take(")"):
                raise BadPattern("a ( is not closed")
            return tree
        if character in "*+?{":
            raise BadPattern(f"has nothing to repeat before {character}; write \\{character} for the character itself")
        return _Set(character * 2)

    def _escape(self) -> _Tree:
        character = self._required("a \\")
        if character in "bB":
            return character
        if character.lower() in _CLASSES:
            return _Set(_CLASSES[character.lower()], is_negated=character.isupper())
        return _Set(self._escaped(character) * 2)

    def _escaped(self, character: str) -> str:
        if character in _ESCAPES:
            return _ESCAPES[character]
        if character.isalnum():
            raise BadPattern(f"\\{character} is not supported")
        return character

    def _class(self) -> _Tree:
        is_negated = self._take("^")
        ranges = ""
        is_first = True
        while is_first or self._next() != "]":
            first = self._member()
            if len(first) > 1:
                ranges += first
            elif self._next() == "-" and self._text[self._at + 1 : self._at + 2] not in ("]", ""):
                self._take("-")
                last = self._member()
                if len(last) > 1 or last < first:
                    raise BadPattern("has a range in [ ] that is none")
                ranges += first + last
            else:
                ranges += first * 2
            is_first = False
        self._take("]")
        return _Set(ranges, is_negated)

    def _member(self) -> str:
        """Return a character of a class, or ranges."""
        character = self._required("a [")
        if character != "\\":
            return character
        character = self._required("a [")
        return _CLASSES.get(character) or self._escaped(character)

    def _repeated(self, tree: _Tree) -> _Tree:
        character = self._next()
        if character in _COUNTS:
            self._at += 1
            least, most = _COUNTS[character]
        elif character == "{":
            least, most = self._counts()
        else:
            return tree
        self._take("?")  # lazy: the same text fits
        if self._next() and self._next() in "*+{":
            raise BadPattern("repeats a repeat; put the inner one in ( )")
        return _Repeat(tree, least, most)

    def _counts(self) -> tuple[int, int | None]:
        """Return the numbers in { }."""
        inside, brace, _ = self._text[self._at + 1 :].partition("}")
        first, comma, last = inside.partition(",")
        are_numbers = all(each.isascii() and each.isdigit() and len(each) < 5 for each in (first or "0", last or "0"))
        if not brace or not are_numbers or not inside.strip(","):
            raise BadPattern("has a { that begins no {m,n}; write \\{ for the character itself")
        self._at += len(inside) + 2
        least = int(first or 0)
        most: int | None = least
        if comma:
            most = int(last) if last else None
        if most is not None and most < least:
            raise BadPattern("has a {m,n} with m over n")
        return least, most
