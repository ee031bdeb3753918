"""`--debug` shows what was asked and answered, and never a secret."""

import json
from base64 import b64encode
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from qoder_cli.base.tokens import without_tokens
from qoder_cli.http import redact
from tests.conftest import TOKEN, Qoder
from tests.support.cells import checkerboard
from tests.support.one_run import LEGACY
from tests.support.things import Things


@pytest.mark.parametrize(
    "secret",
    [
        *("pt-0123456789abcdef", "Bearer anything-at-all", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"),
        *("ghp_0123456789abcdefghijklmnopqrstuvwxyz", "glpat-0123456789abcdefghij", "X-Amz-Signature=0123456789abcdef"),
        *("Basic bWU6aHVudGVyMg==", "basic bWU6aHVudGVyMg", "Bearer bWU6aHVudGVyMg=="),
    ],
)
def test_debug_hides_what_looks_like_a_token(secret: str) -> None:
    shown = shown_body(f"before https://files.example/x?{secret} after")
    assert secret not in shown
    assert shown.startswith("before ")
    assert shown.endswith(" after")
    assert secret.split()[-1] not in redact.header("x-note", secret)


def shown_body(text: str) -> str:
    return redact.body(text.encode("utf-8", "replace"))


NAMES = [
    *("authorization", "authorization_token", "password", "client_secret", "access_token", "refresh_token", "pwd"),
    *("passphrase", "pass_phrase", "session_key", "sessionKey", "private_key", "privateKey", "api-key", "x-api-key"),
    *("signing_key", "credentials", "auth", "headers", "environment_variables", "connection_string", "id_token"),
]


@pytest.mark.parametrize("name", NAMES)
def test_debug_hides_what_goes_by_the_name_of_a_secret(name: str) -> None:
    inner = json.dumps({"deep": [{name: "hunter2", "n": 1}]})
    shown = [
        shown_body(json.dumps({"a": [{name: "hunter2"}]})),
        shown_body(json.dumps({"deep": {"deeper": [{name: {"user": "hunter2"}}, {name: ["hunter2"]}]}})),
        shown_body(json.dumps({"input": inner})),  # JSON within JSON
        shown_body(json.dumps({"input": json.dumps({"inner": inner})})),
        shown_body(json.dumps({name: "hunter2"})[:-1]),  # which is cut, and so is no JSON
        shown_body(json.dumps({name: "hunter2"})[:-2]),
        redact.header(name, "hunter2"),
        redact.body(f"a=1&{name}=hunter2&b=2".encode(), "application/x-www-form-urlencoded"),
        redact.body(f"{name}=hunter2".encode(), "application/x-www-form-urlencoded"),
        redact.by_shape(f"https://host/path?a=1&{name}=hunter2#x"),
    ]
    assert [text for text in shown if "hunter2" in text] == []


def test_debug_shows_what_is_no_secret() -> None:
    assert redact.body(b"a\0b") == "(3 bytes of no stated type)"
    assert redact.body(b"a b", "multipart/form-data") == "(3 bytes of multipart/form-data)"
    assert redact.KnownSecrets([{"password": "a"}]).out_of("61 a") == "61 [redacted]"
    plain = {"message": '{"password": "x"}', "n": [1, None], "token": None, "password": ""}
    assert redact.by_name(plain) == plain
    public = {"token_type": "of-a-bearer", "credential": {"type": "static_bearer"}, "name": " any ", "secret": "any"}
    assert redact.KnownSecrets([public]).out_of("of-a-bearer static_bearer any") == "of-a-bearer static_bearer any"
    sent = redact.KnownSecrets([{"password": "hunter2-hunter2\n \nswordfish", "token": None, "secret": True, "pin": 1}])
    assert sent.out_of("None is True ( ): hunter2-hunter2 / swordfish") == "None is True ( ): [redacted] / [redacted]"
    assert sent.out_of("most of it: wordfish") == "most of it: [redacted]"
    assert sent.out_of('most of it: "swordfis", in quotes') == 'most of it: "[redacted]", in quotes'
    assert sent.out_of("\n".join((b"hunter2-hunter2".hex()[:9], b"hunter2-hunter2".hex()[9:]))) == "[redacted]"
    codes = [b64encode(b"x" * before + b"hunter2-hunter2" + b"yy").decode() for before in range(3)]
    assert [code for code in codes if redact.REDACTED not in sent.out_of(code)] == []
    for name in ("session_id", "name", "agent", "idempotency-key", "key", "message", "author", "path"):
        assert "hunter2" in shown_body(json.dumps({name: "hunter2"})), name
        assert "hunter2" in redact.header(name, "hunter2"), name


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
def test_debug_hides_user_and_password_of_a_url(url: str) -> None:
    for text in (url, f"see {url}, or not", json.dumps({"url": url}), f'{{"url": "{url}'):
        shown = shown_body(text)
        assert "hunter2" not in shown
        assert "host" in shown
    assert "hunter2" not in redact.header("location", url)


def test_debug_shows_what_only_looks_a_little_like_a_token() -> None:
    for text in ("pt-br-reports", "dept-0123456789", "script-pt-", "keyJabberwocky", "a@b.c", "x://y z@h"):
        assert without_tokens(text) == text


def test_run_get_prints_what_an_agent_wrote_as_it_is(qoder: Qoder) -> None:
    note = "see pt-0123456789abcdef and \u2028 https://u:p@h"
    qoder.wire.on("GET", "/deployment_runs/drun_1", {**LEGACY, "id": "drun_1", "status": "completed", "note": note})
    ran = qoder("run", "get", "drun_1", "--json")
    assert ran.json["note"] == note
    assert "\\u2028" in ran.out


SIGNED = [
    *("x-oss-signature=hunter2", "x-oss-credential=hunter2%2F20260101", "x-oss-security-token=hunter2"),
    *("OSSAccessKeyId=hunter2", "AWSAccessKeyId=hunter2", "X-Amz-Credential=hunter2%2Fus-east-1", "sig=hunter2"),
    *("X-Goog-Signature=hunter2", "GoogleAccessId=hunter2@iam", "q-signature=hunter2", "Signature=hunter2~"),
    *("auth_key=1800000000-0-0-hunter2", "token=hunter2", "access_token=hunter2", "api-key=hunter2"),
]


@pytest.mark.parametrize("parameter", SIGNED)
def test_debug_hides_what_signs_a_link(parameter: str) -> None:
    inner = f"https://files.example/x?page=2&{parameter}"
    for link in (inner, f"{inner}&other=1#part", f"https://files.example/x?{parameter}", f"https://x#{parameter}"):
        assert "hunter2" not in shown_body(f"see {link} there")
        assert "hunter2" not in shown_body(json.dumps({"url": link}))
        assert "hunter2" not in shown_body(json.dumps({"url": link}).replace("&", "\\u0026")[:-1])
        assert "hunter2" not in redact.header("location", link)
        assert "hunter2" not in redact.header("location", f"https://login.example/?next={quote(link, safe='')}")
    assert "page=2&" in redact.header("location", inner)


def test_debug_shows_requests_and_answers_without_secrets(qoder: Qoder) -> None:
    link = f"https://oss.example/x?{'&'.join(SIGNED)}"
    metadata = {"note": f"the token is {TOKEN}", "password": "hunter2"}
    answer = httpx.Response(200, headers={"location": link}, json={"url": link, "metadata": metadata, "z": "x" * 9000})
    qoder.wire.on("POST", "/files/file_1/x", answer)
    words = ("--query", "token=hunter2", "--query", "limit=5", "--idempotency-key", "k-1", "--debug")
    ran = qoder("api", "POST", "/files/file_1/x", *words)
    assert "> POST https://api.qoder.com/api/v1/cloud/files/file_1/x?" in ran.err
    assert "authorization: [redacted]" in ran.err
    assert "idempotency-key: k-1" in ran.err
    assert "< 200 to POST" in ran.err
    assert "limit=5" in ran.err
    assert "https://oss.example/x" in ran.err
    assert "hunter2" not in ran.err
    assert len(shown_body("x" * 10_000)) < 2100


@pytest.mark.parametrize(
    ("line", "fault"),
    checkerboard(
        ["deploy run dep_demo", "doctor", "api GET /deployments --include", "auth status"],
        ["500*inf", "act-503*inf", "garbage*inf"],
    ),
)
@pytest.mark.few(4)
def test_debug_never_shows_a_token_that_is_echoed(qoder: Qoder, line: str, fault: str) -> None:
    Things(qoder, "current", "any:echo-token", f"any:{fault}")
    qoder(*line.split(), "--json", "--debug")  # the token is looked for there in all that it prints and leaves behind


@pytest.mark.parametrize("token", ['pt-abcd"efgh', "pt-abcdefgh\n"], ids=["with a quote", "with a line break"])
def test_deploy_run_shows_no_typed_token_however_it_is_spelled(qoder: Qoder, token: str) -> None:
    qoder.env["QODER_PAT"] = token
    for options in ((), ("--json",)):
        ran = qoder("deploy", "run", "dep_1", "--wait", "--timeout", token.strip(), *options)
        assert (ran.code, "abcd" in ran.err, "[redacted]" in ran.err) == (2, False, True)


@pytest.mark.parametrize("where", ["token", "config.toml"])
@pytest.mark.parametrize(
    "words", [["--wait", "--timeout", "TOKEN"], ["--idempotency-key", "night-TOKEN"], ["--timeout", "TOKEN/.."]]
)
def test_deploy_run_shows_no_token_from_its_file(qoder: Qoder, tmp_path: Path, words: list[str], where: str) -> None:
    token = "pt-kept-in-its-file"
    del qoder.env["QODER_PAT"]
    if where == "token":
        (tmp_path / "token").write_text(f"{token}\n")
        qoder.env["QODER_PAT_FILE"] = str(tmp_path / "token")
    else:
        qoder.configured(f'[profiles.default]\ntoken = "{token}"\n')
    ran = qoder("deploy", "run", "dep_1", *(word.replace("TOKEN", token) for word in words))
    assert (ran.code, "pt-kept" in ran.err) == (2, False)
    kept = [path.read_text() for path in tmp_path.rglob("*") if path.is_file() and path.name != where]
    assert "pt-kept" not in "".join(kept)
