"""`--debug` shows what was asked and answered, and never a secret."""

import io
import json
from pathlib import Path
from random import Random
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qoder_cli.base.times import Clock
from qoder_cli.base.tokens import has_token, without_tokens
from qoder_cli.http import redact
from qoder_cli.http.client import Client
from qoder_cli.output.progress import Progress
from qoder_cli.output.screen import Screen
from qoder_cli.sandbox.faults import Faults
from qoder_cli.sandbox.world import World
from qoder_cli.settings.config import Settings
from tests.conftest import TOKEN, Qoder
from tests.support.inprocess import WithoutStreams
from tests.support.one_run import LEGACY, TRIGGER
from tests.support.wire import api_error

SECRETS = [
    "pt-0123456789abcdef",
    "Bearer anything-at-all",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    "ghp_0123456789abcdefghijklmnopqrstuvwxyz",
    "glpat-0123456789abcdefghij",
    "X-Amz-Signature=0123456789abcdef",
]


def shown_body(text: str) -> str:
    return redact.body(text.encode("utf-8", "replace"))


@pytest.mark.parametrize("secret", SECRETS)
def test_what_looks_like_a_token_is_not_shown(secret: str) -> None:
    shown = shown_body(f"before https://files.example/x?{secret} after")
    assert secret not in shown
    assert shown.startswith("before ")
    assert shown.endswith(" after")


NAMES = [
    *("authorization", "authorization_token", "password", "client_secret", "access_token", "refresh_token", "pwd"),
    *("passphrase", "pass_phrase", "session_key", "sessionKey", "private_key", "privateKey", "api-key", "x-api-key"),
    *("signing_key", "credentials", "auth", "headers", "environment_variables", "connection_string", "id_token"),
]


@pytest.mark.parametrize("name", NAMES)
def test_what_goes_by_the_name_of_a_secret_is_not_shown(name: str) -> None:
    assert "hunter2" not in shown_body(json.dumps({"a": [{name: "hunter2"}]}))
    assert "hunter2" not in redact.header(name, "hunter2")


@pytest.mark.parametrize("name", NAMES)
def test_nor_wherever_it_travels(name: str) -> None:
    inner = json.dumps({"deep": [{name: "hunter2", "n": 1}]})
    shown = [
        shown_body(json.dumps({"deep": {"deeper": [{name: {"user": "hunter2"}}, {name: ["hunter2"]}]}})),
        shown_body(json.dumps({"input": inner})),  # JSON within JSON
        shown_body(json.dumps({name: "hunter2"})[:-1]),  # which is cut, and so is no JSON
        shown_body(json.dumps({name: "hunter2"})[:-2]),
        redact.body(f"a=1&{name}=hunter2&b=2".encode(), "application/x-www-form-urlencoded"),
        redact.body(f"{name}=hunter2".encode(), "application/x-www-form-urlencoded"),
        redact.by_shape(f"https://host/path?a=1&{name}=hunter2#x"),
    ]
    assert [text for text in shown if "hunter2" in text] == []


@pytest.mark.parametrize("name", ["session_id", "name", "agent", "idempotency-key", "key", "message", "author", "path"])
def test_what_is_no_secret_is_shown(name: str) -> None:
    assert "hunter2" in shown_body(json.dumps({name: "hunter2"}))
    assert "hunter2" in redact.header(name, "hunter2")


@pytest.mark.parametrize(
    "url",
    [
        "https://me:hunter2@host/x",
        "https://hunter2@host/x",
        "postgres://me:hunter2@host:5432/db",
        "https://me:hun@hunter2@host",
        "https:\\/\\/me:hunter2@host",
        "https://login.example/?next=https%3A%2F%2Fme%3Ahunter2%40host%2Fx",
    ],
)
def test_user_and_password_of_a_url_are_not_shown(url: str) -> None:
    for text in (url, f"see {url}, or not", json.dumps({"url": url}), f'{{"url": "{url}'):
        shown = shown_body(text)
        assert "hunter2" not in shown
        assert "host" in shown
    assert "hunter2" not in redact.header("location", url)


@pytest.mark.parametrize("value", ["Basic bWU6aHVudGVyMg==", "basic bWU6aHVudGVyMg", "Bearer bWU6aHVudGVyMg=="])
def test_no_scheme_of_authorization_is_shown_wherever_it_stands(value: str) -> None:
    assert "bWU6" not in shown_body(json.dumps({"note": f"send {value} there"}))
    assert "bWU6" not in redact.header("x-note", value)


@pytest.mark.parametrize(
    "text", ["pt-br-reports", "dept-0123456789", "script-pt-", "keyJabberwocky", "a@b.c", "x://y z@h"]
)
def test_what_only_looks_a_little_like_a_token_is_shown(text: str) -> None:
    assert without_tokens(text) == text
    assert not has_token(text)


def test_what_an_agent_wrote_is_printed_as_it_is(qoder: Qoder) -> None:
    note = "see pt-0123456789abcdef and \u2028 https://u:p@h"
    qoder.wire.on("GET", "/deployment_runs/drun_1", {**LEGACY, "id": "drun_1", "status": "completed", "note": note})
    assert qoder("run", "get", "drun_1", "--json").json["note"] == note


def test_json_has_no_line_separators(qoder: Qoder) -> None:
    found = {**LEGACY, "id": "drun_1", "status": "completed", "note": "\u2028\u2029"}
    qoder.wire.on("GET", "/deployment_runs/drun_1", found)
    assert '"note":"\\u2028\\u2029"' in qoder("run", "get", "drun_1", "--json").out


SIGNED = [
    "x-oss-signature=hunter2",
    "x-oss-credential=hunter2%2F20260101",
    "x-oss-security-token=hunter2",
    "OSSAccessKeyId=hunter2",
    "AWSAccessKeyId=hunter2",
    "X-Amz-Credential=hunter2%2Fus-east-1",
    "X-Goog-Signature=hunter2",
    "GoogleAccessId=hunter2@iam",
    "q-signature=hunter2",
    "sig=hunter2",
    "Signature=hunter2~",
    "auth_key=1800000000-0-0-hunter2",
    "token=hunter2",
    "access_token=hunter2",
    "api-key=hunter2",
]


@pytest.mark.parametrize("parameter", SIGNED)
def test_what_signs_a_link_is_not_shown(parameter: str) -> None:
    inner = f"https://files.example/x?page=2&{parameter}"
    for link in (inner, f"{inner}&other=1#part", f"https://files.example/x?{parameter}", f"https://x#{parameter}"):
        assert "hunter2" not in shown_body(f"see {link} there")
        assert "hunter2" not in shown_body(json.dumps({"url": link}))
        assert "hunter2" not in shown_body(json.dumps({"url": link}).replace("&", "\\u0026")[:-1])
        assert "hunter2" not in redact.header("location", link)
        assert "hunter2" not in redact.header("location", f"https://login.example/?next={quote(link, safe='')}")
    assert "page=2&" in redact.header("location", inner)


def test_debug_shows_no_link_that_is_signed(qoder: Qoder) -> None:
    link = f"https://oss.example/x?{'&'.join(SIGNED)}"
    answer = httpx.Response(302, headers={"location": link}, json={"url": link})
    qoder.wire.on("GET", "/files/file_1/content", answer)
    words = ("api", "GET", "/files/file_1/content", "--query", "token=hunter2", "--query", "limit=5", "--debug")
    ran = qoder(*words)
    assert "hunter2" not in ran.err
    assert "limit=5" in ran.err
    assert "https://oss.example/x" in ran.err


@given(st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), min_size=8), st.text(), st.text())
def test_our_own_token_is_never_shown_whatever_its_shape(token: str, before: str, after: str) -> None:
    assert token not in redact.by_shape(before + token + after, token).replace(redact.REDACTED, "")


def test_debug_shows_requests_and_answers(qoder: Qoder) -> None:
    qoder.wire.on(*TRIGGER, {**LEGACY, "metadata": {"note": f"the token is {TOKEN}", "password": "hunter2"}})
    ran = qoder("deploy", "run", "dep_1", "--debug", "--json")
    assert ran.code == 0
    assert "> POST https://api.qoder.com/api/v1/cloud/deployments/dep_1/run" in ran.err
    assert "authorization: [redacted]" in ran.err
    assert "< 200 to POST" in ran.err
    assert "hunter2" not in ran.err
    assert "idempotency-key: [redacted]" not in ran.err


def test_a_long_body_is_cut() -> None:
    assert len(shown_body("x" * 10_000)) < 2100


COMMANDS = [
    ("deploy", "list"),
    ("deploy", "get", "dep_demo"),
    ("deploy", "run", "dep_demo", "--wait", "--timeout", "5"),
    ("deploy", "run", "dep_demo", "--idempotency-key", "k-1"),
    ("run", "list"),
    ("run", "get", "last"),
    ("run", "wait", "drun_1", "--timeout", "5"),
    ("run", "logs", "drun_1"),
    ("run", "result", "drun_1"),
    ("run", "cancel", "drun_1", "--yes"),
    ("api", "GET", "/deployments", "--include"),
    ("api", "GET", "/deployment_runs", "--paginate"),
    ("api", "POST", "/deployments/dep_demo/pause", "-i"),
    ("doctor",),
    ("auth", "status"),
    ("config", "list"),
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("fault", ["500*inf", "400*inf", "act-503*inf", "garbage*inf", "drop-after*inf"])
@pytest.mark.parametrize("options", [[], ["--json", "--debug"]], ids=["table", "json and debug"])
def test_a_server_that_echoes_the_token_gets_it_nowhere(
    qoder: Qoder, words: tuple[str, ...], fault: str, options: list[str]
) -> None:
    world = World(clock=qoder.clock.now, token=TOKEN)
    faults = Faults("any:echo-token", f"any:{fault}")
    qoder.transport = WithoutStreams(world, faults=faults, sleep=qoder.clock.sleep)
    qoder(*words, *options)  # what it prints, and what it leaves behind, is searched for the token there


SLASHED = "pt-abc/def/ghijkl0123"
SPELLED = {
    "a slash behind a backslash": SLASHED.replace("/", "\\/"),
    "one escape": SLASHED.replace("p", "\\u0070", 1),
    "all of it, in capitals": "".join(f"\\u{ord(one):04X}" for one in SLASHED),
    "mixed": SLASHED.replace("/", "\\u002f", 1).replace("/", "\\/"),
}


@pytest.mark.parametrize("spelled", SPELLED.values(), ids=SPELLED.keys())
@pytest.mark.parametrize("options", [[], ["--json"], ["--debug"]], ids=" ".join)
def test_a_token_that_is_echoed_in_escapes_is_not_shown(qoder: Qoder, spelled: str, options: list[str]) -> None:
    qoder.env["QODER_PAT"] = SLASHED
    refused = json.dumps(api_error(401, "authentication_error", "bad token TOKEN.")[1]).replace("TOKEN", spelled)
    qoder.wire.on("GET", "/deployments/dep_1", (401, refused))
    ran = qoder("deploy", "get", "dep_1", *options)
    assert ran.code == 4
    assert SLASHED not in (ran.out + ran.err).replace("\\/", "/")
    assert "bad token [redacted]." in ran.err


CHARACTERS = "".join(one for one in map(chr, range(33, 127)) if one not in '"\\\\')


@given(st.text(CHARACTERS, min_size=8, max_size=60), st.randoms())
def test_no_spelling_of_a_token_in_json_is_shown(token: str, random: Random) -> None:
    def spell(one: str) -> str:
        return random.choice([one, f"\\u{ord(one):04x}", f"\\u{ord(one):04X}", *(["\\/"] if one == "/" else [])])

    progress = Progress(Screen(io.BytesIO()), clock=Clock(), quiet=True)
    client = Client(Settings("https://api.example", "here", token=token), clock=Clock(), progress=progress)
    assert json.loads(client.hide(f'["{"".join(map(spell, token))}"]')) == ["[redacted]"]


@pytest.mark.parametrize(
    "words",
    [
        ["deploy", "get", "dep_1", "--profile", TOKEN],
        ["run", "list", "--status", TOKEN],
        ["config", "get", TOKEN],
        ["api", "GET", f"/{TOKEN}", "-f", TOKEN],
        ["deploy", "run", "dep_1", "--idempotency-key", f"night-{TOKEN}"],
        ["deploy", "run", "dep_1", "dep_2", "--idempotency-key", TOKEN],
        ["api", "POST", "/deployments", "--idempotency-key", TOKEN],
    ],
)
def test_a_token_that_is_typed_where_something_else_belongs_is_not_shown(qoder: Qoder, words: list[str]) -> None:
    ran = qoder(*words, "--json")  # which looks for the token in all that is written
    assert (ran.code, ran.out) == (2, "")
    assert ran.error["message"]


SPELLINGS = {"with a quote": 'pt-abcd"efgh', "with a line break": "pt-abcdefgh\n"}


@pytest.mark.parametrize("token", SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize("options", [[], ["--json"]], ids=" ".join)
def test_a_typed_token_is_not_shown_however_it_is_spelled(qoder: Qoder, token: str, options: list[str]) -> None:
    qoder.env["QODER_PAT"] = token
    ran = qoder("deploy", "run", "dep_1", "--wait", "--timeout", token.strip(), *options)
    assert (ran.code, "abcd" in ran.err, "[redacted]" in ran.err) == (2, False, True)


@pytest.mark.parametrize(
    "words", [["--wait", "--timeout", "TOKEN"], ["--idempotency-key", "night-TOKEN"], ["--timeout", "TOKEN/.."]]
)
def test_a_token_from_its_file_is_not_shown_nor_kept(qoder: Qoder, tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "token").write_text("pt-kept-in-its-file\n")
    del qoder.env["QODER_PAT"]
    qoder.env["QODER_PAT_FILE"] = str(tmp_path / "token")
    ran = qoder("deploy", "run", "dep_1", *(word.replace("TOKEN", "pt-kept-in-its-file") for word in words))
    assert (ran.code, "pt-kept" in ran.err) == (2, False)
    kept = [path.read_text() for path in tmp_path.rglob("*") if path.is_file() and path.name != "token"]
    assert "pt-kept" not in "".join(kept)


def test_a_token_from_the_file_is_not_shown_either(qoder: Qoder) -> None:
    del qoder.env["QODER_PAT"]
    Path(qoder.env["QODER_CONFIG"]).write_text('[profiles.default]\ntoken = "pt-kept-in-the-file"\n')
    qoder.wire.on("GET", "/deployments", {"data": []})
    ran = qoder("deploy", "get", "pt-kept-in-the-file")
    assert (ran.code, "no deployment" in ran.err, "pt-kept" in ran.err) == (5, True, False)
