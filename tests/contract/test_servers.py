"""Each command against a server, a gateway or a proxy that is not as it should be."""

import json
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import yaml

from qoder_cli.sandbox.wire import Generation
from tests.conftest import TOKEN
from tests.contract.clauses import Clauses, where_it_asks, where_it_writes
from tests.contract.lines import COMMANDS, JUDGES
from tests.contract.scene import (
    SECRET,
    Answer,
    Lie,
    Played,
    Scene,
    check_ending,
    check_inert,
    playing,
    run_once,
    usual,
)
from tests.support.things import refusal

CLAUSES = Clauses()
HTML = "<!doctype html><h1>Bad gateway</h1>"


# The answer to a write is lost: what becomes of it is believed neither way without a look.


def at_write(scene: Scene, meet: Callable[[Answer], httpx.Response], *, number: int = 0) -> None:
    """Let a write meet this, which is handed what lets the world carry it out."""
    met = 0

    def lie(request: httpx.Request, answer: Answer) -> httpx.Response:
        nonlocal met
        if request.method == "GET":
            return answer()
        met += 1
        return meet(answer) if met == number + 1 else answer()

    scene.lie = lie


def is_believed(scene: Scene) -> Played:
    """Play a line that writes, and hold it to what it says of that."""
    assert usual(scene.command.name, scene.generation).writes, "the line writes"
    ran = run_once(scene, "--json")
    check_ending(ran)
    assert ran.code != 1
    return ran


# Nothing shows that these were done.
UNSEEN = ("api POST", "dream create", "env work heartbeat")
# What a second time would make two of, or what somebody else may have done meanwhile: it is sent once.
ONCE = (
    *(name for name in COMMANDS if name.endswith((" create", " new", " upload"))),
    *("apply", "apply FILE", "deploy run", "deploy run in a fleet", "run retry", "deploy unpause", "dream cancel"),
    *("run answer", "run approve", "run cancel", "run deny", "run send", "session files --add", *UNSEEN),
)


def lost(how: Callable[[], httpx.Response], *, is_done: bool) -> Callable[[Scene], None]:
    def play(scene: Scene) -> None:
        def meet(answer: Answer) -> httpx.Response:
            if is_done:
                answer()
            return how()

        at_write(scene, meet)
        code, name = is_believed(scene).code, scene.command.name
        if is_done and scene.done:  # an older server refuses the first words of an answer
            assert code == 0 or name in UNSEEN, "it is found by reading back"
            assert len(scene.done) == len(usual(name, scene.generation).writes)
        elif how is reset:
            assert code == (9 if name in ONCE else 0), "it is unknown, or sent again"

    return play


def raising(error: Exception) -> Callable[[], httpx.Response]:
    def fail() -> httpx.Response:
        raise error

    return fail


reset = raising(httpx.ReadError("Connection reset by peer"))
LOSSES = {
    "lost answer": lost(raising(httpx.RemoteProtocolError("Server disconnected.")), is_done=True),
    "lost request": lost(reset, is_done=False),
    "no connection": lost(raising(httpx.ConnectError("Connection refused")), is_done=False),
    "5xx that acted": lost(lambda: refusal(503, "api_error"), is_done=True),
    "5xx that did nothing": lost(lambda: refusal(500, "api_error"), is_done=False),
    "gateway that acted": lost(lambda: httpx.Response(502, html=HTML), is_done=True),
    "page that acted": lost(lambda: httpx.Response(200, html=HTML), is_done=True),
    "page that did nothing": lost(lambda: httpx.Response(200, html=HTML), is_done=False),
    "garbage that acted": lost(lambda: httpx.Response(200, text='{"id": "x'), is_done=True),
    "another's object": lost(lambda: httpx.Response(200, json={"id": "agent_9", "type": "agent"}), is_done=True),
    "array that acted": lost(lambda: httpx.Response(200, json=[]), is_done=True),
    "no body that acted": lost(lambda: httpx.Response(204), is_done=True),
    "429": lost(lambda: refusal(429, "rate_limit_error"), is_done=False),
    "proxy's refusal": lost(lambda: httpx.Response(403, html=HTML), is_done=True),
}
for _name, _play in LOSSES.items():
    CLAUSES.add(_name, where_it_writes, on_both=True)(_play)


@CLAUSES.add("late answer", where_it_writes, on_both=True)
def what_arrives_late_is_no_second_time(scene: Scene) -> None:
    def meet(answer: Answer) -> httpx.Response:
        scene.late.append((scene.clock.time + 12, answer))
        raise httpx.ReadTimeout("The read operation timed out")

    at_write(scene, meet)
    is_believed(scene)


def kept_answer(*, is_done: bool) -> Callable[[Scene], None]:
    """Answer with what the same write was answered an hour ago, as a cache does: it proves and denies nothing."""

    def play(scene: Scene) -> None:
        kept = usual(scene.command.name, scene.generation).first_answer

        def meet(answer: Answer) -> httpx.Response:
            if is_done:
                answer()
            return httpx.Response(200, content=kept, headers={"content-type": "application/json", "age": "3600"})

        at_write(scene, meet)
        is_believed(scene)

    return play


CLAUSES.add("kept answer", where_it_writes, on_both=True)(kept_answer(is_done=False))
CLAUSES.add("kept answer that acted", where_it_writes, on_both=True)(kept_answer(is_done=True))


@CLAUSES.add("refused", where_it_writes)
def a_refusal_is_6_and_is_not_repeated(scene: Scene) -> None:
    at_write(scene, lambda answer: refusal(422, "invalid_request_error"))
    ran = scene.run("--json")
    check_ending(ran)
    assert ran.code == 6
    assert len(scene.writes) == 1
    assert scene.done == []


@CLAUSES.add("forbidden", where_it_writes)
def a_write_that_nobody_may_do_is_4(scene: Scene) -> None:
    at_write(scene, lambda answer: refusal(403, "permission_error"))
    ran = scene.run("--json")
    check_ending(ran)
    assert ran.code == 4
    assert len(scene.writes) == 1


# Nothing comes that can be believed.


def unbelievable(answer: Callable[[httpx.Request], httpx.Response], *codes: int) -> Callable[[Scene], None]:
    def play(scene: Scene) -> None:
        scene.lie = lambda request, _: answer(request)
        ran = scene.run("--json")
        check_ending(ran)
        assert ran.code in (codes or (7, 9, 10))
        assert scene.done == []

    return play


def redirected(request: httpx.Request) -> httpx.Response:
    assert request.url.host == "api.qoder.com", "a redirect is never followed"
    return httpx.Response(302, headers={"location": "https://elsewhere.example/"})


NOWHERE: dict[str, Callable[[httpx.Request], httpx.Response]] = {
    "server that is down": lambda request: refusal(503, "api_error"),
    "no network": lambda request: raising(httpx.ConnectError("[Errno -2] Name or service not known"))(),
    "pages everywhere": lambda request: httpx.Response(200, html=HTML),
    "garbage everywhere": lambda request: httpx.Response(200, text='{"id": "x'),
    "null everywhere": lambda request: httpx.Response(200, json=None),
    "array everywhere": lambda request: httpx.Response(200, json=[]),
    "redirect": redirected,
}
for _name, _answer in NOWHERE.items():
    CLAUSES.add(_name, where_it_asks)(unbelievable(_answer))
# It is a 4xx, which says that nothing was done; where something is waited for, it is no answer.
_refusing = unbelievable(lambda request: httpx.Response(407, html=HTML), 6, 9, 10)
CLAUSES.add("proxy that refuses", where_it_asks)(_refusing)


@CLAUSES.add("not found", where_it_asks)
def what_does_not_exist_is_5(scene: Scene) -> None:
    scene.lie = lambda request, answer: refusal(404, "not_found_error", "Not found.")
    ran = scene.run("--json")
    check_ending(ran)
    assert ran.code == 5
    assert scene.done == []


@CLAUSES.add("read of another", where_it_asks, on_both=True)
def what_is_read_of_another_thing_is_neither_shown_nor_changed(scene: Scene) -> None:
    """A proxy may mix up answers: whoever asks for one thing is told of another."""

    def lie(request: httpx.Request, answer: Answer) -> httpx.Response:
        said = answer()
        id = request.url.path.rpartition("/")[2]
        if request.method != "GET" or id not in said.text or said.json().get("id") != id:
            return said
        return httpx.Response(200, json={**said.json(), "id": f"{id}another"})

    scene.lie = lie
    ran = scene.run("--json")
    check_ending(ran)
    assert "another" not in ran.out
    assert not [one for one in scene.writes if "another" in one]


# What judges what it reads takes nothing for well that it did not see.


def is_cut(answer: Answer) -> httpx.Response:
    """Return a list that says there is more, and not how to get it; else the answer as it is."""
    said = answer()
    if "data" not in said.json():
        return refusal(500, "api_error")
    return httpx.Response(said.status_code, json={"data": [], "has_more": True}, headers=said.headers)


UNREAD: dict[str, Callable[[Answer], httpx.Response]] = {
    "read refused": lambda answer: refusal(403, "permission_error"),
    "read that fails": lambda answer: refusal(500, "api_error"),
    "read that is no answer": lambda answer: httpx.Response(200, html=HTML),
    "read cut short": is_cut,
}


def met_at(path: str, meet: Callable[[Answer], httpx.Response]) -> Lie:
    """Return a server whose reads of a path are met so."""
    return lambda request, answer: (
        meet(answer) if request.url.path.endswith(path) and request.method == "GET" else answer()
    )


def unread(meet: Callable[[Answer], httpx.Response]) -> Callable[[Scene], None]:
    def play(scene: Scene) -> None:
        name = scene.command.name
        assert usual(name, scene.generation).code == 0, "all is well"
        scene.run("--json")
        paths = dict.fromkeys(one.path for one in scene.sent if one.method == "GET")
        for path in (path for path in paths if not path.endswith(JUDGES[name] or ("?",))):
            with playing(name, scene.generation) as again:
                again.lie = met_at(path, meet)
                ran = again.run("--json")
                check_ending(ran)
                assert ran.code == 7 or (ran.code == 4 and not ran.out), f"{path} was not read: {ran.code}"
                assert again.done == []

    return play


for _name, _meet in UNREAD.items():
    CLAUSES.add(_name, lambda command: command.name in JUDGES, on_both=True)(unread(_meet))


# What a server says.

NASTY = "\x1b[31m\u202e::error::\r\n::error::\t##[x]\x9b\u2028"
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


def said_with(change: Callable[[Any], Any]) -> Lie:
    """Return what changes each answer of the world."""

    def lie(request: httpx.Request, answer: Answer) -> httpx.Response:
        said = answer()
        try:
            return httpx.Response(said.status_code, json=change(said.json()), headers={"x-request-id": f"r{NASTY[:2]}"})
        except ValueError:
            return said

    return lie


def hostile_in(format: str) -> Callable[[Scene], None]:
    """Return a clause: a server's text in this format controls no terminal and no CI log; JSON and YAML parse."""

    def play(scene: Scene) -> None:
        scene.lie = said_with(hostile)
        ran = scene.run("-o", format)
        check_inert(ran)
        if format == "json":
            check_ending(ran)
        elif format == "yaml":
            yaml.safe_load(ran.out)

    return play


for _format in ("table", "json", "yaml", "pretty", "csv"):
    CLAUSES.add(f"hostile {_format}", where_it_asks, on_both=_format in ("table", "json"))(hostile_in(_format))


@CLAUSES.add("hostile refusal", where_it_asks)
def an_error_of_a_server_steers_no_terminal(scene: Scene) -> None:
    scene.lie = lambda request, answer: refusal(400, "invalid_request_error", f"No.{NASTY}")
    ran = scene.run()
    check_inert(ran)
    assert len(ran.errors) == 1


@CLAUSES.add("hidden secrets", where_it_asks)
def what_a_refusal_quotes_of_secrets_is_hidden(scene: Scene) -> None:
    said = []

    def lie(request: httpx.Request, answer: Answer) -> httpx.Response:
        if request.method == "GET" and scene.command.writes and not scene.command.ends:
            return answer()
        said.append(request)
        quoted = f"{request.read().decode('utf-8', 'replace')} with {json.dumps(dict(request.headers))} of {TOKEN}"
        return refusal(400, "invalid_request_error", f"Bad request: {quoted}")

    scene.lie = lie
    ran = scene.run("--debug")
    assert said
    assert ran.code == 6
    assert SECRET not in ran.out
    assert SECRET not in ran.err
    assert "Bad request" in ran.err


@pytest.mark.parametrize(("name", "about", "generation"), CLAUSES.cases())
def test_servers(name: str, about: str, generation: Generation) -> None:
    CLAUSES.play(name, about, generation)
