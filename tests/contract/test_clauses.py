"""The contract, clause by clause, for every command. A case is called `deploy run · lost answer · current`.

The commands and their lines come from the program's own help (`lines.py`), so a new command is held to all of this
without a new test. What is special about a command is tested in `tests/commands/`.
"""

import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from qoder_cli.app import App
from qoder_cli.base.errors import ReaderGone
from qoder_cli.cli.main import main
from qoder_cli.output.screen import Screen
from qoder_cli.sandbox.wire import GENERATIONS, Generation
from tests.conftest import Qoder
from tests.contract.lines import COMMANDS, LINES, OF_THIS_MACHINE, Scene, lines_of

Clause = Callable[[Scene], None]
NOTHING_STARTED = (2, 4, 5, 6, 7)
# Without a line that can be played here: they talk with a person, or serve.
NOT_PLAYED = {"auth login", "sandbox", "session chat"}
CLAUSES: dict[str, Clause] = {}


def clause(name: str) -> Callable[[Clause], Clause]:
    def add(function: Clause) -> Clause:
        CLAUSES[name] = function
        return function

    return add


def cases() -> Iterator[Any]:
    for name in LINES:
        asks = name.split()[0] not in OF_THIS_MACHINE
        for about in CLAUSES:
            for generation in GENERATIONS if asks and name.split()[0] in ("deploy", "run", "session") else ("current",):
                yield pytest.param(name, about, generation, id=f"{name} · {about} · {generation}")


def test_every_command_has_a_line() -> None:
    assert set(COMMANDS) - set(LINES) == NOT_PLAYED


# Output.


@clause("json")
def json_is_one_document(scene: Scene) -> None:
    ran = scene.run("--json", "--no-progress")
    assert ran.code == 0, ran.err
    assert ran.err == ""
    if ran.out:
        document = ran.json
        assert isinstance(document, dict | list)
        assert ran.out.count("\n") == 1, "away from a terminal it is one line"


@clause("jsonl")
def jsonl_is_an_object_a_line(scene: Scene) -> None:
    ran = scene.run("-o", "jsonl", "--no-progress")
    assert (ran.code, ran.err) == (0, "")
    assert all(isinstance(each, dict) for each in lines_of(ran.out))


@clause("id")
def only_ids_with_q(scene: Scene) -> None:
    ran = scene.run("-q", "--no-progress")
    assert (ran.code, ran.err) == (0, "")
    assert all(re.fullmatch(r"\S+", line) for line in ran.out.splitlines())


@clause("table in a pipe")
def a_table_in_a_pipe_has_no_escape_and_no_header(scene: Scene) -> None:
    ran = scene.run("--no-progress")
    assert (ran.code, ran.err) == (0, "")
    assert "\x1b" not in ran.out
    assert not ran.out or ran.out.endswith("\n")


@clause("closed pipe")
def a_reader_that_goes_away_is_141_and_no_error(scene: Scene) -> None:
    class Gone(io.BytesIO):
        def write(self, data: Any) -> int:
            raise BrokenPipeError

    code, err = with_stdout(scene, Gone())
    said = scene.run()
    assert code == (141 if said.out else 0), err
    assert "error:" not in err


@clause("full disk")
def output_that_cannot_be_written_is_70(scene: Scene) -> None:
    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            raise OSError(28, "No space left on device")

    code, err = with_stdout(scene, Full())
    said = scene.run()
    assert code == (70 if said.out else 0), err
    assert not said.out or "cannot write to standard output" in err


def with_stdout(scene: Scene, out: io.BytesIO) -> tuple[int, str]:
    """Run the line with another standard output; return the code and stderr."""
    err, qoder = io.BytesIO(), scene.qoder
    app = App(
        env=qoder.env,
        out=Screen(out),
        err=Screen(err),
        stdin=io.StringIO(qoder.stdin),
        clock=qoder.clock,
        transport=qoder.transport,
    )
    code = main(list(scene.words), app)
    return code, err.getvalue().decode()


# What is refused before anything is sent.


@clause("unknown option")
def an_unknown_option_is_2_and_sends_nothing(scene: Scene) -> None:
    ran = scene.run("--no-such-option", "--json")
    assert (ran.code, scene.done, ran.out) == (2, [], "")
    assert ran.error["type"] == "usage"


@clause("unknown format")
def an_unknown_format_is_2_and_sends_nothing(scene: Scene) -> None:
    ran = scene.run("-o", "xml")
    assert (ran.code, scene.done, ran.out) == (2, [], "")
    assert len(ran.errors) == 1


@clause("bad ids")
def an_id_that_cannot_be_one_is_2_and_sends_nothing(scene: Scene) -> None:
    for bad in ("", " ", "x" * 257, "a\x00b", "a\nb"):
        if not (words := with_other_name(scene, bad)):
            return
        scene.done.clear()
        ran = scene.qoder(*words, "--json")
        assert (ran.code, scene.writes, ran.out) == (2, [], ""), (words, ran.err)


def with_other_name(scene: Scene, other: str) -> list[str] | None:
    """Return the line with another id in the place of its first; None if it has none."""
    depth = len(scene.name.split())
    for place, word in enumerate(scene.words[depth:], depth):
        if re.match(r"(dep|drun|sess|agent|env|file|vault|skill|memstore|drm)_|last$", word):
            return [*scene.words[:place], other, *scene.words[place + 1 :]]
        if word.startswith("-"):
            return None
    return None


@clause("read-only")
def read_only_refuses_every_write(scene: Scene) -> None:
    scene.qoder.env["QODER_READ_ONLY"] = "1"
    ran = scene.run("--json")
    assert scene.writes == []
    if ran.code:
        assert (ran.code, "QODER_READ_ONLY" in ran.error["message"], ran.out) == (2, True, "")


@clause("no token")
def without_a_token_nothing_is_sent(scene: Scene) -> None:
    del scene.qoder.env["QODER_PAT"]
    ran = scene.run("--json")
    assert scene.done == []
    if scene.name.split()[0] not in OF_THIS_MACHINE and not is_offline(scene):
        assert (ran.code, ran.error["type"], ran.out) == (4, "auth", "")


def is_offline(scene: Scene) -> bool:
    return scene.name == "api" and "--list" in scene.words


@clause("wrong token")
def a_token_that_is_refused_is_4_and_never_shown(scene: Scene) -> None:
    refused = {"type": "error", "error": {"type": "authentication_error", "message": "Invalid API key or token."}}
    asked = []

    def refuse(request: httpx.Request, answer: Callable[[], httpx.Response]) -> httpx.Response:
        asked.append(request)
        return httpx.Response(401, json=refused)

    scene.lie = refuse
    ran = scene.run("--json")
    if asked and scene.name.split()[0] not in OF_THIS_MACHINE:
        assert ran.code in (4, 10), ran.err
        assert "token" in ran.error["message"] + (ran.error["hint"] or "")


@clause("dry run")
def a_dry_run_sends_no_write(scene: Scene) -> None:
    if "--dry-run" not in scene.qoder(*scene.name.split(), "--help").out:
        return
    ran = scene.run("--dry-run", "--json")
    assert (ran.code, scene.writes) == (0, [])
    assert ran.out


@clause("empty input")
def an_empty_list_is_2_unless_allowed(scene: Scene) -> None:
    if "--allow-empty" not in scene.qoder(*scene.name.split(), "--help").out:
        return
    words = [*scene.name.split(), "-"]
    more = ["--yes"] if "--yes" in scene.words else []
    scene.qoder.stdin = "\n"
    ran = scene.qoder(*words, *more, "--json")
    assert (ran.code, scene.done, ran.out) == (2, [], "")
    ran = scene.qoder(*words, *more, "--allow-empty", "--json")
    assert (ran.code, scene.done) == (0, [])
    assert ran.json == []


# A server, a gateway or a proxy that is not as it should be.


def first_write(scene: Scene, meet: Callable[[Callable[[], httpx.Response]], httpx.Response]) -> None:
    """Let the first write meet this; it is handed what lets the world carry it out."""
    met: list[httpx.Request] = []

    def lie(request: httpx.Request, answer: Callable[[], httpx.Response]) -> httpx.Response:
        if request.method == "GET" or met:
            return answer()
        met.append(request)
        return meet(answer)

    scene.lie = lie


def judge(scene: Scene, *, before: int) -> None:
    """Run the line: nothing is done twice, nothing done is denied, nothing undone is claimed."""
    ran = scene.run("--json")
    acted = len(scene.acted)
    assert acted <= before, f"done {acted} times: {ran.err}"
    assert ran.code not in (1, 70), ran.err
    if acted and before:
        assert ran.code not in NOTHING_STARTED, f"was done, and denied: {ran.err}"
    if ran.code == 0 and before:
        assert acted, "was not done, and claimed"


def count(scene: Scene, folder: Path) -> int:
    """Return how many writes the line does where nothing goes wrong, in another world."""
    folder.mkdir()
    other = Scene(Qoder(folder / "config.toml"), scene.name, folder, scene.generation)
    ran = other.run("--json")
    assert ran.code == 0, ran.err
    return len(other.acted)


def lost(request_is_done: bool, how: Callable[[], httpx.Response]) -> Clause:
    def play(scene: Scene) -> None:
        def meet(answer: Callable[[], httpx.Response]) -> httpx.Response:
            if request_is_done:
                answer()
            return how()

        before = count(scene, scene.folder / "elsewhere")
        if before:
            first_write(scene, meet)
            judge(scene, before=before)

    return play


def raising(error: Exception) -> Callable[[], httpx.Response]:
    def fail() -> httpx.Response:
        raise error

    return fail


def responding(status: int, **body: Any) -> Callable[[], httpx.Response]:
    return lambda: httpx.Response(status, **body)


ENVELOPE = {"type": "error", "error": {"type": "api_error", "message": "Oops."}}
HTML = "<h1>Bad gateway</h1>"
CLAUSES |= {
    "lost answer": lost(True, raising(httpx.RemoteProtocolError("Server disconnected without a response."))),
    "lost request": lost(False, raising(httpx.ReadError("Connection reset by peer"))),
    "no connection": lost(False, raising(httpx.ConnectError("Connection refused"))),
    "5xx that acted": lost(True, responding(503, json=ENVELOPE)),
    "5xx that did nothing": lost(False, responding(500, json=ENVELOPE)),
    "gateway that acted": lost(True, responding(502, html=HTML)),
    "page that acted": lost(True, responding(200, html=HTML)),
    "garbage that acted": lost(True, responding(200, text='{"id": "x')),
    "429": lost(False, responding(429, json=ENVELOPE)),
}


@clause("redirect")
def no_redirect_is_followed(scene: Scene) -> None:
    elsewhere = []

    def lie(request: httpx.Request, answer: Callable[[], httpx.Response]) -> httpx.Response:
        elsewhere.extend([request] if request.url.host == "elsewhere.example" else [])
        return httpx.Response(302, headers={"location": "https://elsewhere.example/"})

    scene.lie = lie
    ran = scene.run("--json")
    assert elsewhere == []
    if scene.name.split()[0] not in OF_THIS_MACHINE and not is_offline(scene):
        assert ran.code in (7, 9, 10), ran.err


@clause("server that is down")
def a_server_that_is_down_is_7(scene: Scene) -> None:
    scene.lie = lambda request, answer: httpx.Response(503, json=ENVELOPE)
    ran = scene.run("--json")
    if scene.name.split()[0] not in OF_THIS_MACHINE and not is_offline(scene):
        assert ran.code in (7, 9, 10), ran.err
        assert scene.acted == []


NASTY = "\x1b[31m\u202e::error::\r\n\t##[x]\x9b\u2028"
_KEPT = re.compile(
    r"id$|_id$|^(type|status|state|object|version|source|content_sha256|kind)$|_at$|url|timezone|cursor|page"
)


def hostile(value: Any, key: str = "") -> Any:
    """Return JSON with hostile text in every field that a person, an agent or a server may have filled."""
    if isinstance(value, dict):
        return {name: hostile(each, name) for name, each in value.items()}
    if isinstance(value, list):
        return [hostile(each, key) for each in value]
    if isinstance(value, str) and not _KEPT.search(key) and not re.match(r"[a-z]+_\w+$|\d{4}-\d\d-\d\d", value):
        return f"{value}{NASTY}"
    return value


@clause("hostile text")
def what_a_server_says_is_inert(scene: Scene) -> None:
    def lie(request: httpx.Request, answer: Callable[[], httpx.Response]) -> httpx.Response:
        said = answer()
        try:
            return httpx.Response(said.status_code, json=hostile(said.json()), headers={"x-request-id": "r"})
        except ValueError:
            return said

    scene.lie = lie
    for format in ("table", "json"):
        ran = scene.run("-o", format)
        assert ran.code != 70, ran.err
        prints_a_text = scene.name in ("run result", "session result", "memory cat", "api")
        out = "" if prints_a_text and format == "table" else ran.out
        for text in (out, ran.err):
            assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\u2028]", text), text
            assert not re.search(r"(?m)^\s*::|##\[", text)
        if format == "json" and ran.out:
            json.loads(ran.out)


@pytest.mark.parametrize(("name", "about", "generation"), list(cases()))
def test_contract(qoder: Qoder, tmp_path: Path, name: str, about: str, generation: Generation) -> None:
    folder = tmp_path / "scene"
    folder.mkdir()
    here = Path.cwd()
    import os

    os.chdir(folder)
    try:
        CLAUSES[about](Scene(qoder, name, folder, generation))
    finally:
        os.chdir(here)


_ = ReaderGone
