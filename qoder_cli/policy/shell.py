"""Read a command as the words that every shell sees. What shells read differently, or as more, is not read."""

import re
from typing import NamedTuple

LONGEST = 10_000  # characters
# A word is pieces without a blank between them. `~` is plain as in HEAD~1, but not where it may stand for a home.
_PIECE = re.compile(
    r"(?P<plain>[A-Za-z0-9_@%+=:,./^-](?:(?<![:=])~|[A-Za-z0-9_@%+=:,./^-])*+)"
    r"|'(?P<single>[^'\0]*)'"
    r'|"(?P<double>[ #%-\[\]^_a-~]*)"'
)
_TOKEN = re.compile(
    r" *(?:(?P<quiet>(?<= )(?:2>&1|2?> ?/dev/null)(?=[ \n;|&]|\Z))|(?P<join>&&|\|\||[;|\n])"
    rf"|(?P<word>(?:{re.sub('[?]P<[a-z]+>', '?:', _PIECE.pattern)})++))"
)
_EXPANDED = re.compile(r"""(?:''|"")*[=^]""")  # by zsh, to the path of a program
_PROGRAM = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_+./-]*", re.ASCII)

# Words with which bash, zsh, ksh or fish begin something else than one program with its words, ...
_KEYWORDS = """
    if then else elif fi case esac for select foreach while until do done in function time coproc repeat end begin and
    or not switch namespace nocorrect noglob"""
# ... and those that run another text, or change what later commands mean.
_BUILTINS = """
    . source eval exec command builtin trap alias unalias hash enable set setopt unsetopt shopt export declare
    typeset local readonly unset autoload emulate fc bind complete compopt compgen printf print read mapfile
    readarray let getopts wait jobs bg fg disown suspend kill times caller history dirs cd chdir pushd popd umask
    ulimit limit unlimit exit return logout break continue shift disable rehash integer float nameref private
    functions vared zle zmodload zparseopts zformat zstyle zpty sched pushln getln r hist newgrp login abbr argparse
    block commandline emit funced funcsave prevd nextd"""
RESERVED = frozenset(f"{_KEYWORDS} {_BUILTINS}".split())

_NUMBER = re.compile(r"\d+(?:\.\d+)?[smhd]?", re.ASCII)
# What may start programs and modules of Python, one of each, in this order.
_LAUNCHERS = ((("uv", "run"), ("poetry", "run")), (("python", "-m"), ("python3", "-m")))
_MOVES = re.compile(
    r"(?<![\w./-])(?:cd|chdir|pushd|popd|eval|source|exec)(?![\w./-])|(?:^|[;&|({`\n])\s*[.$](?=[\s\w({])"
)

Words = tuple[str, ...]


class Unreadable(ValueError):
    """A command that is not read; the text says why, for people."""


class ShellCommand(NamedTuple):
    """One command of a chain, and what joins it to the one before: nothing, `&&`, `||`, `;`, `|` or a line break."""

    words: Words
    join: str = ""


class Chain(NamedTuple):
    """What a command text does, without a `cd` to the folder in which it begins; `cd` is where that goes."""

    commands: tuple[ShellCommand, ...]
    cd: str | None = None

    @property
    def is_in_cd(self) -> bool:
        """Whether each command runs only where the `cd` before it went well."""
        return self.cd is not None and all(command.join in ("", "&&", "|") for command in self.commands)


def chain_of(text: str) -> Chain:
    """Return the commands of a text. Raises Unreadable."""
    commands = _commands_of(text)
    first, cd = commands[0].words, None
    if first[0] == "cd" and len(first) == 2 and [command.join for command in commands[1:2]] == ["&&"]:
        cd, commands = first[1], [commands[1]._replace(join=""), *commands[2:]]
    for name in (command.words[0] for command in commands):
        if name == "cd":
            raise Unreadable("it changes the folder: only `cd WORK && …` is read")
        if name.lower() in RESERVED:
            raise Unreadable(f"{name} is a word of the shell itself")
    return Chain(tuple(commands), cd)


def words_of(text: str) -> Words:
    """Return the words of a text that is one command. Raises Unreadable."""
    chain = chain_of(text)
    if len(chain.commands) > 1 or chain.cd is not None:
        raise Unreadable("it is more than one command")
    return chain.commands[0].words


def _commands_of(text: str) -> list[ShellCommand]:
    if len(text) > LONGEST:
        raise Unreadable(f"it has more than {LONGEST:,} characters")
    text = text.strip(" \n")
    commands: list[ShellCommand] = []
    words: list[str] = []
    join, at, is_quiet = "", 0, False
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None or (is_quiet and token["word"]):
            raise Unreadable(f"it has {_sign(text[at:].lstrip(' ')[0])}")
        at = token.end()
        if token["word"]:
            words.append(_word(token["word"], is_first=not words))
        elif token["quiet"] and words:
            is_quiet = True
        elif words:
            commands.append(ShellCommand(tuple(words), join))
            words, join, is_quiet = [], token["join"], False
        elif token["join"] != "\n":
            raise Unreadable("a command is missing")
    if words:
        commands.append(ShellCommand(tuple(words), join))
    elif join != ";":
        raise Unreadable("a command is missing")
    return commands


def _word(written: str, *, is_first: bool) -> str:
    """Return a word as a program gets it. Raises Unreadable for one that shells read differently."""
    if is_first and not _PROGRAM.fullmatch(written):
        raise Unreadable("it does not begin with the plain name of a program")
    if written != "=" and _EXPANDED.match(written):
        raise Unreadable("a word begins with = or ^")
    return "".join(str(piece[piece.lastgroup or 0]) for piece in _PIECE.finditer(written))


def _sign(character: str) -> str:
    if character in "'\"":
        return "quotes without an end, or double quotes around $, !, a backtick or a backslash"
    if character.isprintable() and character.isascii():
        return f"{character} outside single quotes"
    return f"U+{ord(character):04X} outside single quotes"


def untimed(words: Words) -> Words:
    """Return a command without a `timeout 60` before it."""
    if words[0] == "timeout" and len(words) > 2 and _NUMBER.fullmatch(words[1]):
        return words[2:]
    return words


def unwrapped(words: Words) -> tuple[Words, set[str]]:
    """Return a command without what only starts it, such as `timeout 60`; and what does: `python`, or `node`.

    `python -m timeout` would start a module of work, and `npx npx` a program of node_modules, so that neither counts.
    """
    words = untimed(words)
    if words[:2] == ("git", "--no-pager") and len(words) > 2:
        return ("git", *words[2:]), set()
    if words[0] == "npx" and len(words) > 1:
        return words[1:], {"node"}
    launchers: set[str] = set()
    for alternatives in _LAUNCHERS:
        if words[:2] in alternatives and len(words) > 2:
            words = words[2:]
            launchers.add("python")
    return words, launchers


def may_move(text: str) -> bool:
    """Return whether a command that is not read may leave the shell in another folder, for calls that come later."""
    return _MOVES.search(unquoted(text)) is not None


def unquoted(text: str) -> str:
    """Return a command that is not read without quotes and backslashes."""
    return re.sub(r"[\"'\\]", "", text)


# As a deny looks at it.

_PIECES = re.compile(r"[^\s=:,/;&|<>(){}`\"']+")
_LONGEST_GLUED = 200  # characters of an option with what is glued to it


def pieces(text: str) -> list[str]:
    """Return all that may be a word of a command in a text, in order: what stands between separators, and each letter
    of short options, also what may be glued to one: `-Sgit` may be -S and git.
    """
    parts: list[str] = []
    for piece in _PIECES.findall(text.casefold()):
        parts.append(piece)
        if piece.startswith("-") and not piece.startswith("--") and len(piece) < _LONGEST_GLUED:
            parts += [f"-{letter}" for letter in piece[1:]]
            parts += [piece[start:] for start in range(1, len(piece))]
    return parts


def may_hold(text_pieces: list[str], words: Words) -> bool:
    """Return whether words may stand somewhere among pieces, in their order; letters of short options in any."""
    at = 0
    for word in words:
        for piece in _PIECES.findall(word.casefold()):
            is_short = piece.startswith("-") and not piece.startswith("--")
            if is_short and all(f"-{letter}" in text_pieces for letter in piece[1:]):
                continue
            try:
                at = text_pieces.index(piece, at) + 1
            except ValueError:
                return False
    return True
