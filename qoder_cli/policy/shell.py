"""Read a shell command that is simple: one command of plain and single-quoted words. Nothing else is read.

What is allowed must mean the same to every shell that may get it, so the characters are a short list, and what a shell
takes for more than the name of a program is no simple command.
"""

import re
from collections.abc import Iterator, Sequence

LONGEST = 10_000  # characters
_PLAIN = r"A-Za-z0-9_@%+=:,./\-"
CHARACTERS = "letters, digits and _ @ % + = : , . / -"
# `=` and `%` begin words that some shells expand.
_WORD = re.compile(rf"'(?P<quoted>[{_PLAIN} ]+)'|(?P<plain>[A-Za-z0-9_@+:,./\-][{_PLAIN}]*)", re.ASCII)
_BARE = re.sub(r"\?P<\w+>", "?:", _WORD.pattern)
_COMMAND = re.compile(rf" *(?:{_BARE})(?: +(?:{_BARE}))* *", re.ASCII)
_FIRST = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_+./-]*", re.ASCII)
_PARTS = re.compile(r"[^\s=:,@%+]+")

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

# Programs that run what their words say.
_RUNNERS = """
    sh bash zsh dash ksh fish env xargs sudo doas su nohup nice timeout watch parallel find ssh python python3 perl ruby
    node deno bun php lua awk gawk sed make git docker kubectl npx npm pnpm yarn uv uvx busybox setsid stdbuf strace
    script tmux screen"""
RUNNERS = frozenset(_RUNNERS.split())


def words_of(command: str) -> tuple[str, ...] | None:
    """Return the words of a simple command, unquoted; None if it is not simple."""
    words = words_of_any(command)
    return None if words is None or words[0].lower() in RESERVED else words


def words_of_any(command: str) -> tuple[str, ...] | None:
    """Return the words of a command, also of one that the shell itself understands; None if it has other signs."""
    if len(command) > LONGEST or not _COMMAND.fullmatch(command):
        return None
    found = [*_WORD.finditer(command)]
    first = found[0]["plain"]
    if first is None or not _FIRST.fullmatch(first):
        return None
    return tuple(match["quoted"] or match["plain"] for match in found)


def begins(command: Sequence[str], rule: Sequence[str]) -> bool:
    """Return whether a command begins with the words of a rule."""
    return tuple(command[: len(rule)]) == tuple(rule)


def lowered(words: Sequence[str]) -> tuple[str, ...]:
    """Return words as a deny compares them: without case, the program without its folder."""
    return tuple(word.lower().rpartition("/")[2] if n == 0 else word.lower() for n, word in enumerate(words))


def may_hold(command: Sequence[str], rule: Sequence[str]) -> bool:
    """Return whether the words of a rule stand anywhere in a command, in their order: `env git -C x push`."""
    pieces = _parts(command)
    if all(any(_may_be(piece, part) for piece in pieces) for part in _parts(rule)):
        return True
    wanted = one_spaced(lowered(rule))
    texts = [one_spaced([word]).lower() for word in command if " " in word]
    return any(wanted in text for text in texts)  # which another program may run: sed '1egit push'


def one_spaced(words: Sequence[str]) -> str:
    """Return words as a text with one space between them, also where a quoted word has more."""
    return " ".join(" ".join(words).split())


def _may_be(piece: str, part: str) -> bool:
    """Return whether a piece of a command is one of a rule, or is glued to options before it: `env '-Sgit push'`."""
    is_glued = piece.startswith("-") and not piece.startswith("--") and len(piece) > len(part) + 1
    return piece == part or (is_glued and piece.endswith(part))


def _parts(words: Sequence[str]) -> Iterator[str]:
    """Yield the pieces of words, without case; of a path the last part."""
    for word in words:
        for piece in _PARTS.findall(word.lower()):
            yield piece.rpartition("/")[2] or piece
