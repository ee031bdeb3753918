"""A token that is typed where something else belongs is never repeated, whatever the command.

Every command is tried with a token in each of its arguments, in the value of each option, in each variable, in each key
of the config file, on standard input, and in the files that options name. Nothing that it writes may have it.
"""

import json
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from qoder_cli.base.plainfile import replace_file
from qoder_cli.cli.options import _FOR_TOKENS
from qoder_cli.help.documented import VARIABLES
from tests.conftest import Qoder
from tests.contract.lines import PLAYED
from tests.contract.scene import Scene, playing
from tests.support.cells import ALL_CELLS, checkerboard
from tests.support.things import Things

PAT = "pt-misplaced-0123456789abcdef"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJtaXNwbGFjZWQifQ.bWlzcGxhY2Vk"
TOKENS = (PAT, JWT)
PIECES = ("misplaced-0123", "eyJhbGci", "eyJzdWIi", "bWlzcGxh")  # also of a token that was cut
FORMATS: tuple[list[str], ...] = (["--json"], [], ["--debug"])
EACH = pytest.mark.parametrize("token", TOKENS, ids=["pat", "jwt"])


def tries(scene: Scene) -> Iterator[list[str]]:
    """Yield the line of a command, each time with TOKEN in another place."""
    words = scene.words
    for at in [place.at for place in scene.command.places(words)]:
        for planted in ("https://TOKEN", "x TOKEN", "TOKEN@last", "profiles.TOKEN.region")[at % 2 :: 2]:
            yield [*words[:at], planted, *words[at + 1 :]]
    for more in ("--TOKEN", "-oTOKEN"):
        yield [*words, more]
    for name, param in scene.command.options.items():
        if not param.is_flag and param.name not in _FOR_TOKENS:
            both = [[f"{name}=TOKEN" if name.startswith("--") else f"{name}TOKEN"], [name, "k=TOKEN"]]
            turn = (len(words[0]) + len(name)) % 2  # so that another command tries the other
            yield from ([*words, *planted] for planted in (both if ALL_CELLS else both[turn : turn + 1]))


@pytest.fixture
def qoder(qoder: Qoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Qoder:
    monkeypatch.chdir(tmp_path)
    Things(qoder)
    return qoder


def kept() -> str:
    """Return what is kept of commands: the names of all files, and the contents of those in a state folder."""
    there = list(os.walk("."))
    files = [Path(place, name) for place, _, names in there if "/state" in place for name in names]
    return "\n".join([*(path.read_text("utf-8", "replace") for path in files), str(there)])


def pieces(written: str) -> list[str]:
    """Return what of a token is written."""
    return [piece for piece in (*TOKENS, *PIECES) if piece in written]


def is_discreet(qoder: Qoder, *words: str, stdin: str = "", **env: str) -> None:
    """Assert that nothing of a token is written: to standard output or error, or to a file that is kept."""
    usual, qoder.stdin = qoder.env, stdin
    qoder.env = {**usual, **env}
    ran = qoder(*words)
    qoder.env = usual
    written = f"{ran.out}{ran.err}{kept()}"
    assert pieces(written) == [], f"{words} {env}: {written}"


@pytest.mark.parametrize("name", PLAYED)
@pytest.mark.few(33)
def test_planted_token_is_repeated_by_no_command(name: str) -> None:
    with playing(name) as scene:
        for number, words in enumerate(tries(scene)):
            typed = [word.replace("TOKEN", TOKENS[number % 2]) for word in words]
            ran = scene.run(*FORMATS[number % 3], words=typed)
            assert pieces(ran.out + ran.err) == [], f"{typed}: {ran.out}{ran.err}"
        assert pieces(kept()) == [], kept()


@EACH
@pytest.mark.parametrize("words", [[], ["--json"]], ids=" ".join)
def test_planted_token_is_not_repeated_as_a_command(qoder: Qoder, token: str, words: list[str]) -> None:
    for line in ("TOKEN", "TOKEN/x", "run TOKEN", "help TOKEN", "help run TOKEN", "-o TOKEN run", "run list -nTOKEN"):
        is_discreet(qoder, *line.replace("TOKEN", token).split(), *words)


LOOKS = [
    *("auth status", "auth logout", "config list", "config path", "deploy run dep_demo --dry-run", "doctor"),
    *("config get workspace_id", "deploy list", "config set region cn", "config get region"),
]


@pytest.mark.parametrize("name", [name for names in VARIABLES for name in names.names])
@pytest.mark.few(4)
def test_planted_token_in_a_variable_is_not_repeated(qoder: Qoder, name: str) -> None:
    for number, line in enumerate(LOOKS[::2]):
        value = ("TOKEN", "https://TOKEN", "/no/TOKEN")[number % 3].replace("TOKEN", TOKENS[number % 2])
        if name not in ("QODER_CONFIG", "QODER_STATE_DIR") or not value.startswith("/no"):
            is_discreet(qoder, *line.split(), *(["--json"] if number % 3 else []), **{name: value})


@EACH
@pytest.mark.parametrize(
    "text",
    [
        *('[profiles.default]\nregion = "TOKEN"\n', '[profiles.default]\nbase_url = "TOKEN"\n'),
        '[profiles.default]\nbase_url = "https://u:TOKEN@host/x"\n',
        *('[profiles.default]\nbase_url = "https://host/TOKEN"\n', '[profiles.default]\nworkspace_id = "TOKEN"\n'),
        *('[profiles.default]\n"TOKEN" = "x"\n', '[profiles."TOKEN"]\nregion = "cn"\n'),
        *('[profiles."TOKEN"]\nregion = 7\n', '"TOKEN" = 7\n', 'token = "TOKEN\n', "TOKEN\n"),
    ],
)
@pytest.mark.few(5)
def test_planted_token_in_the_config_file_is_not_repeated(qoder: Qoder, text: str, token: str) -> None:
    config = Path(qoder.env["QODER_CONFIG"])
    for number, line in enumerate(LOOKS[::2]):
        config.write_text(text.replace("TOKEN", token))
        config.chmod(0o600)
        is_discreet(qoder, *line.split(), *(["--json"] if number % 2 else []))
        is_discreet(qoder, *line.split(), "--profile", token)


def spoiled(token: str) -> Iterator[str]:
    """Yield deployment files with a token in one place of each."""
    fields = {"name": "weekly", "agent": "agent_1", "environment_id": "env_1", "message": "Report."}
    more = ("description", "schedule", "budget", "id", "type", "unknown", "vault_ids", "metadata", "resources")
    for key in (*fields, *more):
        for value in (token, [token], {"k": token}, {token: "x"}, {"type": token, "url": token}):
            yield json.dumps({**fields, key: value})
    yield json.dumps({**fields, token: "x"})
    yield from (token, f"name: {token}\n- x", f"name: ${{{token}}}", f"name: a\nname: {token}", f"{token} and more\n")
    yield json.dumps({**fields, "environment_variables": f"A={token}"})


@EACH
def test_planted_token_in_a_file_is_not_repeated(qoder: Qoder, token: str) -> None:
    mine = spoiled(token) if ALL_CELLS else islice(spoiled(token), TOKENS.index(token), None, len(TOKENS))
    for number, text in enumerate(mine):
        Path("deployment_a.yaml").write_text(text)
        file = ("deployment_a.yaml", "-")[number % 2]
        is_discreet(qoder, "diff", file, *FORMATS[number % 3], stdin=text)
    Path("token.txt").write_text(token + " and more\n")
    is_discreet(qoder, "deploy", "run", "dep_demo", "--dry-run", QODER_PAT_FILE="token.txt", QODER_PAT="")
    is_discreet(qoder, "api", "POST", "/deployments", "--input", "token.txt")


@pytest.mark.parametrize(
    ("words", "token"), checkerboard(["run get", "run wait", "run logs", "deploy run", "deploy pause"], TOKENS)
)
@pytest.mark.few(3)
def test_planted_token_on_stdin_is_not_repeated(qoder: Qoder, words: str, token: str) -> None:
    for options in (*FORMATS, ["-o", "jsonl"]):
        for lines in (f"drun_1\n{token}\n", f"dep_1\n{token}\n", f"{token}\n"):
            is_discreet(qoder, *words.split(), "-", *options, stdin=lines)
        is_discreet(qoder, "auth", "login", "--with-token", *options, stdin=f"{token} {token}\n")


def test_planted_token_is_left_in_no_file_that_could_not_be_put_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "config.toml").mkdir()
    with pytest.raises(OSError, match="config"):
        replace_file(tmp_path / "config.toml", b"token")
    assert [one.name for one in tmp_path.iterdir()] == ["config.toml"]
    replace_file(tmp_path / ("n" * 255), b"a name of the greatest length")
