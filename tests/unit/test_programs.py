"""The table of programs, held against the programs: each row with each of its options in a hostile folder.

Nothing is written but where `write` allows it, nothing started, sent, or read of a file beside the folder. The values
of options and the operands that are text are the path of that file: a program that takes one for a name opens it.
`QODER_TEST_PROGRAMS` may name a folder with more programs.
"""

import os
import random
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from qoder_cli.policy.calls import Subject
from qoder_cli.policy.deciding import decide
from qoder_cli.policy.programs import KINDS, ProgramOption, ProgramRow, table
from qoder_cli.policy.reading import load
from qoder_cli.policy.rules import Policy
from qoder_cli.policy.shell import Chain, Unreadable, chain_of
from tests.support.cells import ALL_CELLS
from tests.support.hostile_folder import HostileFolder
from tests.support.shells import need

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what the table says is of Linux")

ROWS = {row.name: row for row in table().values() if row.rule != "run"}
_FINE = {
    "sed": "1p",
    "jq": ".",
    "name": "root",
    "number": "1",
    "path": "src/a.txt",
    "folder": "src",
    "spec": "HEAD",
    "written": "out/x",
    "moved": "out/x",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> HostileFolder:
    need("git", "bash")
    return HostileFolder(tmp_path_factory.mktemp("hostile"))


@pytest.fixture(scope="module")
def policy(folder: HostileFolder) -> Policy:
    file = folder.home / "policy.yaml"
    file.write_text(f"work: {folder.work}\nallow: [{{read: {folder.work}}}, {{write: {folder.out}}}]\n")
    return load(str(file))


def test_each_row_of_the_table_says_what_it_is() -> None:
    wrong = []
    for row in table().values():
        kinds = [kind for option in row.options.values() for kind in option.kinds if "|" not in kind]
        kinds += [kind.rstrip("*+?") for kind in row.operands if "|" not in kind]
        named = {word for word in row.down.split() if word.startswith("-")} - row.options.keys()
        if not KINDS.issuperset(kinds) or named or row.rule not in ("read", "write", "run"):
            wrong.append((row.name, {*kinds} - KINDS, named, row.rule))
    assert wrong == []
    assert len(table()) > 80


def test_programs_that_read_options_from_files_take_no_free_text() -> None:
    """As pytest, mypy and ruff do for @file, and aws for file://."""
    free = {
        row.name
        for row in table().values()
        for kind in (*row.operands, *(kind for option in row.options.values() for kind in option.kinds))
        if row.rule == "run" and kind.rstrip("*+?") in ("text", "pattern", "format")
    }
    assert free == {"docker ps", "git commit", "git grep"}


def _value(kind: str, secret: str) -> str:
    if kind in ("date", "format"):
        return f"{'+%Y' if kind == 'date' else '%H'} {secret}"
    return _FINE.get(kind, secret) if kind in KINDS else kind.split("|")[0]


def _operands(row: ProgramRow, secret: str) -> list[str]:
    kinds = [kind for kind in row.operands if kind != "spec*"]
    values = [_value(kind.rstrip("*+?"), secret) for kind in kinds]
    if row.words in (("cp",), ("mv",)):
        values[-1] = "out/z"
    return values


def _commands(row: ProgramRow, secret: str) -> Iterator[list[str]]:
    """Yield the command of a row with each of its options, in each way that its value may be given."""
    operands = _operands(row, secret)
    yield [*row.words, *operands]
    for name, option in row.options.items():
        if name == "-#":
            yield [*row.words, "-1", *operands]
            continue
        for words in _written(row, name, option, secret):
            is_first = option.kinds[:1] == row.operands[:1] and option.kinds[:1] in (("pattern",), ("sed",))
            yield [*row.words, *words, *operands[is_first:]]


def _written(row: ProgramRow, name: str, option: ProgramOption, secret: str) -> Iterator[list[str]]:
    values = [_value(kind, secret) for kind in option.kinds]
    if not values or option.is_optional:
        yield [name]
    if values and not option.is_optional:
        yield [name, *values]
    if len(values) == 1 and name.startswith("--"):
        yield [f"{name}={values[0]}"]
    elif len(values) == 1 and len(name) == 2 and not row.has_whole_options:
        yield [name + values[0]]


def _is_allowed(policy: Policy, command: str) -> bool:
    return decide(policy, Subject("tool", "Bash", {"command": command})).answer == "allow"


def _renew(folder: HostileFolder) -> None:
    """Make `out` what it was."""
    shutil.rmtree(folder.out)
    (folder.out / "sub").mkdir(parents=True)
    (folder.out / "x").write_text("x\n")


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.few(6)
def test_a_program_that_only_reads_only_reads(folder: HostileFolder, policy: Policy, name: str) -> None:
    row = ROWS[name]
    program = shutil.which(row.words[0], path=folder.env["PATH"])
    if program is None:
        pytest.skip(f"needs {row.words[0]}")
    commands = [words for words in _commands(row, str(folder.secret)) if _is_allowed(policy, shlex.join(words))]
    _renew(folder)
    if row.rule == "read":  # all at once, and each alone only if one does harm
        ran = folder.run("\n".join(shlex.join([program, *words[1:]]) for words in commands), shell="bash")
        if (ran.started, {**ran.harm, "started": []}) == ([program] * len(commands), {"started": []}):
            return
    for words in commands:
        _renew(folder)
        if row.words == ("mkdir",):
            (folder.out / "x").unlink()
        assert folder.run(*words).harm == {}, words
    assert row.rule == "write", ran


def test_nearly_every_command_of_a_row_is_allowed(folder: HostileFolder, policy: Policy) -> None:
    """So that the test above plays something."""
    commands = [shlex.join(words) for row in ROWS.values() for words in _commands(row, str(folder.secret))]
    assert [command for command in commands if not _is_allowed(policy, command)] == []


# What an agent may try, one after the other; what is allowed is done. SECRET is the file beside the folder.
# Beside the commands of `test_policy.py`, which are never allowed.
ATTEMPTS = {
    "a bare repository": r"""
        mkdir -p out/objects out/refs
        echo '[core]' | tee out/config
        echo ref: refs/heads/x | tee out/HEAD
        cp bare/HEAD out/HEAD
        cp bare/HEAD out/head
        mv out/config out/HEAD
        cp bare/config out/
        git -C out status
        cd out && git status
        git status
        git -C bare log
        cd bare && git status
    """,
    "git's options": r"""
        git log -p
        git log --ext-diff -p
        git diff a SECRET
        git grep -Osh x
        git blame --contents SECRET a
        git ls-files -X SECRET
        git tag evil
        git status
        git describe --dirty
        git archive HEAD
    """,
    "options that write, in every spelling": r"""
        sort --output caught a
        sort a -o caught
        sort -- a -o
        find . -fprint caught
        sed -n -i 1p a
        sed -ni 1p a
        sed -n '1p;$w caught' a
        sed -n --expression='w caught' a
        tee caught
        cp a caught
        touch caught
        file -C -m a
        diff a src/a.txt --output=caught
        jq -n '"x"|@sh' --output caught
    """,
    "options that run": r"""
        find . -name a -execdir touch caught '{}' +
        sort --compress-program=./git a
        rg --hostname-bin=./git x
        test 'a[$(touch caught)]' -eq 1
        sed '1s/.*/touch caught/e' a
        uv run cat a
        timeout 5 ./git
        file -z a
        date -s now
        echo $(touch caught)
        cat a | sh
        ls; touch caught
    """,
    "files that are named elsewhere": r"""
        cat -- SECRET
        cat ./link/../SECRET
        grep x -f SECRET
        jq -Rn --rawfile x SECRET '$x'
        jq -R . SECRET
        jq -n 'include "a"; x'
        jq -L . -n .
        wc --files0-from=SECRET
        du -X SECRET
        diff a SECRET
        diff --to-file=SECRET a
        cmp a SECRET
        cut -f1 SECRET
        tail -n+1 SECRET
        head -c9 SECRET
        nl SECRET
        cd .. && cat outside/secret.txt
        rg -f SECRET
        rg x ../outside
        find ../outside
        ls -R ..
        mv SECRET out/
        cat -rf
        cat ./-rf
        cat -- -rf
    """,
    "odd names": r"""
        cat '--output=caught'
        cat -- '--output=caught'
        sort -- '--output=caught'
        cat 'a b'
        cat './$(touch caught)'
        cat './a;touch caught'
        grep -rn odd .
        wc -l ./-o
        ls -la
        find . -type f
        du -ah .
        stat ./-o
        git log -- ./-o
        git diff --stat -- 'a b'
        git show 'HEAD:a b'
        git ls-files -- '*'
        file ./-o 'a b'
    """,
}


_PROGRAMS = {words[0] for words in table()}


def _harm(folder: HostileFolder, command: str) -> dict[str, object]:
    """Return what harm a command does, beside starting programs of the table."""
    ran = folder.run(command, shell="bash")
    ran.started = [each for each in ran.started if Path(each).name not in _PROGRAMS]
    return ran.harm


@pytest.mark.parametrize("name", ATTEMPTS)
def test_what_is_allowed_of_an_attack_harms_nothing(folder: HostileFolder, policy: Policy, name: str) -> None:
    shutil.rmtree(folder.out)
    folder.out.mkdir()
    for line in ATTEMPTS[name].strip().splitlines():
        command = line.strip().replace("SECRET", "../outside/secret.txt")
        if _is_allowed(policy, command):
            assert _harm(folder, command) == {}, command
    assert not (folder.root / "caught").exists()


_ODD_WORDS = r"""
a src src/a.txt . out out/x out/sub ./a bare bare/HEAD link link/a.txt - -- HEAD HEAD~1 HEAD:a v1 main HEAD..v1 :!a
HEAD:../outside/secret.txt ../outside/secret.txt $(touch\tcaught) `touch\tcaught` a;touch\tcaught --output=caught -o
caught @opts * src/*.txt 1 -1 +2 1p $p /one/p w\tcaught .. / ~ = != -e -p -f -R env .a %H %GG +%F ^HEAD --all --exec
-delete {} ; e ./-rf ./@opts a\tb /dev/null /proc/self/environ out/.x out/HEAD out/x.git file:a s3://x one :(top)a
"""
_ODD = [word.replace("\\t", " ") for word in _ODD_WORDS.split()]


def _drawn(rows: list[ProgramRow], random: random.Random) -> list[str]:
    """Return a command of a row with some options, values and operands that may be of any kind."""

    def value(kind: str) -> str:
        fine = _FINE.get(kind, "one") if kind in KINDS else random.choice(kind.split("|"))
        return random.choice((fine, random.choice(_ODD)))

    row = random.choice(rows)
    words = [*row.words]
    for name, option in random.choices([*row.options.items()] or [("--", ProgramOption())], k=random.randint(0, 3)):
        words += random.choice([*_written(row, name, ProgramOption(option.kinds), value("text"))] or [[name]])
    for kind in row.operands:
        words += [value(kind.rstrip("*+?")) for _ in range(random.randint(0, 3) if kind[-1] in "*+?" else 1)]
    return words


def test_drawn_commands_that_are_allowed_harm_nothing(folder: HostileFolder, policy: Policy) -> None:
    def harm_of(command: str) -> dict[str, object]:
        _renew(folder)
        return _harm(folder, command)

    draws, rows = random.Random(49), [*ROWS.values()]
    commands: list[str] = []
    while len(commands) < (2_400 if ALL_CELLS else 40):
        command = shlex.join(_drawn(rows, draws))
        if _is_allowed(policy, command):
            commands.append(command)  # also where it is missing here, so that each machine draws the same
    there = [command for command in commands if shutil.which(shlex.split(command)[0], path=folder.env["PATH"])]
    writing = [command for command in there if ROWS.get(command.split()[0], ROWS["cat"]).rule == "write"]
    reading = [command for command in there if command not in writing]
    for some in ("\n".join(reading[start : start + 40]) for start in range(0, len(reading), 40)):
        writing += [some] if not harm_of(some) else some.split("\n")
    assert {command: harm for command in writing if (harm := harm_of(command))} == {}
    assert not (folder.root / "caught").exists()


# Words.

_C = """
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int main(int count, char **words) {
    char all[65536]; int at = 0, file = open(getenv("WORDS"), O_WRONLY | O_APPEND | O_CREAT, 0600);
    const char *slash = strrchr(words[0], '/'); if (slash) words[0] = (char *)slash + 1;
    for (int i = 0; i < count; i++) { int size = strlen(words[i]) + 1; memcpy(all + at, words[i], size); at += size; }
    all[at++] = 1; all[at++] = 0;
    return write(file, all, at) != at || words[0][1] == '1';
}
"""
_PLAIN = "abXY01_@%+=:,./^~-"
_SPECIAL = "*?[]{}$`\\!#&|;<>()~ \t\n\"'\u00e9\x02"
_WHOLE = (
    *("~", "=", "HEAD~1", "a=~b", "x:~", "=a", "^", "{a,b}", "*.py", "~/x", "2>&1", ">/dev/null", "if", "done", "--"),
    *("!", "a2>/dev/null", "1", "%n", "-~", "~+", "a=b", "2>", "$x", "''", '""'),
)


def _some(draws: random.Random, characters: str, most: int) -> str:
    return "".join(draws.choices(characters, k=draws.randint(0, most)))


def _piece(draws: random.Random) -> str:
    kinds = ["plain"] * 12 + ["single"] * 4 + ["double"] * 3 + ["special", "whole", "whole"]
    match draws.choice(kinds):
        case "plain":
            return _some(draws, _PLAIN, 4)
        case "single":
            return "'" + _some(draws, _PLAIN + _SPECIAL.replace("'", ""), 5) + "'"
        case "double":
            return '"' + _some(draws, _PLAIN + "*?[]{}#&|;<>()~ '", 5) + '"'
        case "special":
            return draws.choice(_SPECIAL)
    return draws.choice(_WHOLE)


def _command(draws: random.Random) -> str:
    words = [draws.choice(("p0", "p0", "p0", "p1", "p1", "'p0'", "A=b"))]
    for _ in range(draws.randint(0, 4)):
        words.append("".join(_piece(draws) for _ in range(draws.choice((1, 1, 2)))))
    end = draws.choice(("", "", "", "", " 2>&1", " >/dev/null", " 2> /dev/null"))
    return draws.choice((" ", " ", "  ")).join(words) + end


def _text(draws: random.Random) -> str:
    """Return a command text, most of which can be read."""
    text = draws.choice(("", "", " ", "\n")) + _command(draws)
    for _ in range(draws.choice((0, 0, 1, 2))):
        text += draws.choice((" && ", "&&", " || ", "; ", "|", "\n", " ;\n", " &&\n ", " & ")) + _command(draws)
    return text + draws.choice(("", "", ";", "\n", " "))


def _that_run(chain: Chain) -> list[tuple[str, ...]]:
    """Return the commands of a chain that run, by how those before them end: p1 fails."""
    ran: list[tuple[str, ...]] = []
    has_failed, runs = False, True
    for words, join, joins_next in zip(chain.commands, ("", *chain.joins), (*chain.joins, ""), strict=True):
        if join != "|":
            runs = join not in ("&&", "||") or has_failed is (join == "||")
        if runs:
            ran.append(words)
        if runs and joins_next != "|":
            has_failed = words[0] == "p1"
    return sorted(ran)


@pytest.mark.parametrize("shell", ["bash", "dash"])
def test_the_words_of_a_command_are_those_that_shells_see(tmp_path: Path, shell: str) -> None:
    need(shell, "cc")
    (tmp_path / "words.c").write_text(_C)
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/p0"
    subprocess.run(("cc", "-o", program, tmp_path / "words.c"), check=True)
    os.link(program, tmp_path / "bin/p1")
    draws, seen = random.Random(2026), tmp_path / "words"
    left = 10_000 if ALL_CELLS else 120
    env = {"PATH": str(tmp_path / "bin"), "WORDS": str(seen), "HOME": "/home/x", "LC_ALL": "C.UTF-8"}
    executable = str(shutil.which(shell))
    while left:
        text = _text(draws)
        try:
            chain = chain_of(text)
        except Unreadable:
            continue
        if not all(re.fullmatch("p[01]", words[0]) for words in chain.commands):
            continue
        left -= 1
        seen.write_bytes(b"")
        subprocess.run((executable, "-c", text), cwd=tmp_path, env=env, stdin=subprocess.DEVNULL, capture_output=True)
        ran = [tuple(each.decode().split("\0")) for each in seen.read_bytes().split(b"\0\x01\0")[:-1]]
        assert sorted(ran) == _that_run(chain), text
