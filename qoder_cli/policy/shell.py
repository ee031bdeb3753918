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

_MOVES = re.compile(
    r"(?<![\w./-])(?:cd|chdir|pushd|popd|eval|source|exec)(?![\w./-])|(?:^|[;&|({`\n])\s*[.$](?=[\s\w({])"
)

Words = tuple[str, ...]


class Unreadable(ValueError):
    """A command that is not read; the text says why, for people."""


class Chain(NamedTuple):
    """The words of each command of a text, without a `cd` before them; `cd` is the folder where that goes.

    `joins` are what joins each command to the next: `&&`, `||`, `;`, `|` or a line break.
    """

    commands: tuple[Words, ...]
    joins: tuple[str, ...] = ()
    cd: str | None = None


def chain_of(text: str) -> Chain:
    """Return the commands of a text. Raises Unreadable."""
    commands, joins = _commands_of(text)
    cd = None
    if commands[0][0] == "cd" and len(commands[0]) == 2 and joins[:1] == ["&&"]:
        cd, commands, joins = commands[0][1], commands[1:], joins[1:]
    for name, *_ in commands:
        if name == "cd":
            raise Unreadable("it changes the folder: only `cd WORK && …` is read")
        if name.lower() in RESERVED:
            raise Unreadable(f"{name} is a word of the shell itself")
    return Chain(tuple(commands), tuple(joins), cd)


def words_of(text: str) -> Words:
    """Return the words of a text that is one command. Raises Unreadable."""
    chain = chain_of(text)
    if len(chain.commands) > 1 or chain.cd is not None:
        raise Unreadable("it is more than one command")
    return chain.commands[0]


def _commands_of(text: str) -> tuple[list[Words], list[str]]:
    """Return the words of each command, as programs get them, and what joins it to the next.

    Raises Unreadable.
    """
    if len(text) > LONGEST:
        raise Unreadable(f"it has more than {LONGEST:,} characters")
    text = text.strip(" \n")
    commands, joins = list[Words](), list[str]()
    words: list[str] = []
    at, is_quiet = 0, False
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None or (is_quiet and token["word"]):
            raise Unreadable(f"it has {_sign(text[at:].lstrip(' ')[0])}")
        at = token.end()
        if written := token["word"]:
            if not words and not _PROGRAM.fullmatch(written):
                raise Unreadable("it does not begin with the plain name of a program")
            if written != "=" and _EXPANDED.match(written):
                raise Unreadable("a word begins with = or ^")
            parts = (str(piece[piece.lastgroup or 0]) for piece in _PIECE.finditer(written))
            words.append("".join(parts))
        elif token["quiet"] and words:
            is_quiet = True
        elif words:
            commands.append(tuple(words))
            joins.append(token["join"])
            words, is_quiet = [], False
        elif token["join"] != "\n":
            raise Unreadable("a command is missing")
    if words:
        commands.append(tuple(words))
    elif joins[-1:] == [";"]:
        joins.pop()  # it joins to nothing
    else:
        raise Unreadable("a command is missing")
    return commands, joins


def _sign(character: str) -> str:
    if character in "'\"":
        return "quotes without an end, or double quotes around $, !, a backtick or a backslash"
    if character.isprintable() and character.isascii():
        return f"{character} outside single quotes"
    return f"U+{ord(character):04X} outside single quotes"


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
