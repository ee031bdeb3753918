"""No secret is printed: not one that a server says back, and not one that was typed where something else belongs."""

import base64
import html
import json
import shlex
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qoder_cli.base.tokens import names_token
from qoder_cli.http.client import veiled
from qoder_cli.http.redact import KnownSecrets
from tests.conftest import TOKEN, Qoder, examples
from tests.support.desk import Desk
from tests.support.one_run import LEGACY
from tests.support.things import Things, ok, refusal

SECRET = 's3cret-Value/with"quotes" and späces\\of-mine'
REPO_TOKEN = "repo-Token-0123456789"
PIECES = ("s3cret", "Value/with", "quotes", "spaces", "späces", "of-mine", "repo-Token", "0123456789", "hunter2")

# How a server may say back what it was sent.
QUOTED: dict[str, Callable[[str], str]] = {
    "the body": lambda body: f"invalid body: {body}",
    "escaped": lambda body: f"invalid body: {json.dumps(body)}",
    "escaped twice": lambda body: f"invalid body: {json.dumps(json.dumps(body))}",
    "cut": lambda body: f"invalid body: {body[: len(body) - 9]}…",
    "a list of Python": lambda body: f"invalid body: {json.loads(body)!r}",
    "broken in lines": lambda body: "invalid body: " + "\n".join(body[at : at + 17] for at in range(0, len(body), 17)),
    "encoded for a URL": lambda body: f"invalid body: {quote(body)}",
    "in a shell": lambda body: f"invalid body: {shlex.quote(body)}",
}

FILE = {
    "name": "weekly",
    "agent": "agent_1",
    "environment_id": "env_1",
    "message": "Report.",
    "environment_variables": {"MINE": "${MINE}"},
    "resources": [{"type": "github_repository", "url": "https://github.com/a/b", "authorization_token": "${REPO}"}],
}


@pytest.fixture
def desk(qoder: Qoder, desk: Desk) -> Desk:
    qoder.env |= {"MINE": SECRET, "REPO": REPO_TOKEN}
    return desk


def refusing(desk: Desk, said: Callable[[str], str]) -> None:
    """Let the server refuse each write, and say back what it was sent."""

    def refuse() -> None:
        body = desk.service.requests[-1].content.decode()
        desk.service.never = [refusal(400, "invalid_request_error", said(body))]

    desk.service.meanwhile = [refuse] * 9


@pytest.mark.parametrize("how", QUOTED)
@pytest.mark.few(4)
def test_no_command_shows_a_secret_that_a_refusal_quotes(desk: Desk, how: str) -> None:
    file = desk.file(FILE)
    for more in ("--json", "--debug"):
        refusing(desk, QUOTED[how])
        ran = desk.qoder("apply", file, "--yes", more)
        shown = ran.out + ran.err
        assert ran.code == 6, shown
        assert [each for each in PIECES if each in shown] == [], shown
        assert "[redacted]" in shown
        assert "invalid" in shown
        assert "weekly" in shown.lower()


def test_secrets_of_a_few_letters_are_known_by_their_escapes() -> None:
    known = KnownSecrets([{"password": "pässwör"}])
    assert known.out_of(f"invalid: {json.dumps('pässwör')}") == 'invalid: "[redacted]"'


@examples(Fraction(2, 3))
@given(st.text("aB+/7", min_size=8, max_size=20), st.data())
def test_secrets_are_hidden_to_the_letter_however_each_is_spelled(secret: str, data: st.DataObject) -> None:
    ways = st.sampled_from(["{0}", "%{1:02x}", "\\u{1:04x}", "&#{1};"])
    spelled = [data.draw(ways).format(one, ord(one)) for one in secret]
    between = data.draw(st.sampled_from(["", "\u200b", "\r\n", "' '", "%20"]))
    around = data.draw(st.sampled_from(["x-7: <{}>-y", '<{}> &amp; "a"']))
    shown = KnownSecrets([], [secret]).out_of(around.format(between.join(spelled)))
    assert shown == around.format("[redacted]")


@examples(Fraction(2, 3))
@given(st.lists(st.text("xy", max_size=6), max_size=6), st.text("xy", min_size=1, max_size=5))
@example(["x", "xxy"], "xxy")
@example(["yxyx", "yx"], "xyxyx")
def test_token_is_hidden_in_a_stream_wherever_that_is_cut(pieces: list[str], token: str) -> None:
    cut = b"".join(veiled([piece.encode() for piece in pieces], token.encode()))
    assert cut.decode() == "".join(pieces).replace(token, "[redacted]")


@pytest.mark.parametrize(("before", "shared"), [("", 0), ("x", 2), ("xx", 3)])
def test_secrets_are_hidden_in_base_64_from_their_first_letter_on(before: str, shared: int) -> None:
    code = base64.b64encode(f"{before}{SECRET}".encode()).decode()
    assert KnownSecrets([], [SECRET]).out_of(code).index("[redacted]") == shared


EIGHT = [  # letters that stand together are hidden, also those of another spelling; seven are part of other words
    ("swordfish", "swordfis, swordfi", "[redacted], swordfi"),
    ('hunt"er22', "xhunt&quot;er22x", "x[redacted]x"),
    ("abcdef", "xYWJjZGVmx abcdefg", "x[redacted]x abcdefg"),
    ("abcdef", "xYWJj\nZGVmx", "x[redacted]x"),
]


@pytest.mark.parametrize(("secret", "said", "shown"), EIGHT)
def test_secrets_are_hidden_wherever_eight_letters_stand_together(secret: str, said: str, shown: str) -> None:
    assert KnownSecrets([], [secret]).out_of(said) == shown


def test_secrets_are_no_value_that_is_also_a_name() -> None:
    known = KnownSecrets([{"name": "weekly", "environment_variables": "REGION=weekly\nPIN=7;LOG=debug"}])
    said = "weekly: PIN=7 must be over 17, LOG 'debug' is no level for debugging"
    assert known.out_of(said) == ("weekly: PIN=[redacted] must be over 17, LOG '[redacted]' is no level for debugging")
    assert KnownSecrets([{"name": TOKEN}], [TOKEN]).out_of(f"name: {TOKEN}") == "name: [redacted]"


SAID = [
    '{"auth":{"type":"static_bearer","token":"hunter2"},"name":"weekly"}',
    *(json.dumps('{"auth":{"token":"hunter2"}}'), json.dumps(json.dumps('{"password":"hunter2"}'))),
    *('{"headers":{"x-key":["hunter2"]}}', '{"environment_variables":{"A":"hunter2"},"name":"weekly"}'),
    *('{"environment_variables":"A=hunter2\\nB=', "{'password': 'hunter2'}", '"client_secret" => "hunter2"'),
    *("TOKEN=hunter2 in line 3", "https://me:hunter2@git.example/x", "https://git.example/x?access_token=hunter2"),
    *("Authorization: Bearer hunter2hunter2", "ghp_hunter2hunter2hunter2 is not accepted"),
    '{"a":[{"b":{"secret_value":"hunter2"}}]} and {"password":"hunter2"}',
    '{\\"password\\": \\"a\\\\\\"hunter2\\"',
]


@pytest.mark.parametrize("said", SAID)
@pytest.mark.few(5)
def test_deploy_get_and_run_wait_redact_by_shape_what_a_server_says(qoder: Qoder, said: str) -> None:
    error = {"type": "error", "error": {"type": "invalid_request_error", "message": f"No: {said}"}}
    qoder.wire.on("GET", "/deployments/dep_1", (400, error), repeat=True)
    failed = {**LEGACY, "id": "drun_1", "status": "failed", "error": {"type": "x", "message": f"No: {said}"}}
    qoder.wire.on("GET", "/deployment_runs/drun_1", failed)
    for line, code in (("deploy get dep_1", 6), ("deploy get dep_1 --json", 6), ("run wait drun_1 -q", 1)):
        ran = qoder(*line.split())
        assert (ran.code, "No: " in ran.err, "hunter2" in ran.err) == (code, True, False)


# Typed in the wrong place.

TOKENS = [
    *("pt-Abcdefghij0123456789", "eyJhbGciOi.eyJzdWIiOi.c2lnbmF0", "sk-proj-Abcdefghij0123456789"),
    *("ghp_Abcdefghij0123456789", "glpat-Abcdefghij0123456789", "xoxb-Abcdefghij0123456789"),
    "sk_live_Abcdefghij012345",
]
PLACES = [
    *(f"env create --name a {more}" for more in ("--pip {}", "--allow-host {}", "--metadata my_token={}")),
    *(f"agent create --name a --model auto {more}" for more in ("--tools Bash,{}", "--ask {}")),
    *(f"agent create --name a --model auto --mcp docs=https://{more}" for more in ("me:{}@x.example", "x/?x={}")),
    *("run list --status {}", "deploy get {} --json", "{} list", "deploy pause -", "deploy run -"),
    "agent archive - --yes",
]


def test_no_command_sends_or_repeats_a_token_within_a_word_or_on_stdin(qoder: Qoder) -> None:
    for line, token in [*((PLACES[0], token) for token in TOKENS), *((line, TOKENS[3]) for line in PLACES[1:])]:
        qoder.stdin = f"weekly\n{token}\n"
        ran = qoder(*line.format(token).split())
        assert (ran.code, ran.out, qoder.wire.requests) == (2, "", []), line
        assert (token in ran.err, "bcdefghij" in ran.err) == (False, False), line


BEARER = {"type": "static_bearer", "token": "${TOKEN}", "mcp_server_url": "https://mcp.example.com/mcp"}
# What a file has that is as it should be.
WHOLE: dict[str, Any] = {"agent": {"name": "a", "model": "auto"}, "env": {"name": "a"}, "deployment": FILE}
WHOLE["credential"] = {"auth": BEARER}
IN_FILES: dict[str, list[tuple[dict[str, Any], str]]] = {
    "agent": [
        ({"tools": [{"name": TOKENS[3]}]}, "tools[0].name"),
        ({"mcp_servers": [{"url": "https://x/?token=a1b2"}]}, "mcp_servers[0].url"),
        ({"metadata": {TOKENS[2]: "x"}}, "metadata"),
    ],
    "env": [({"config": {"type": "cloud", "packages": {"pip": [TOKENS[2]]}}}, "pip[0]")],
    "deployment": [
        ({"metadata": {"team": TOKENS[1]}}, "metadata.team"),
        ({"metadata": {"github_token": TOKENS[2]}}, "metadata.github_token"),
        ({"created_at": "2026-06-14T08:53:32Z", "metadata": {"team": TOKENS[1]}}, "metadata.team"),
        ({"resources": [{"type": "git_repository", "url": f"https://me:{TOKENS[5]}@x.example/a"}]}, "resources[0].url"),
    ],
    "credential": [
        ({"display_name": TOKENS[2]}, "credentials[0].display_name"),
        ({"auth": {**BEARER, "mcp_server_url": "https://a:b@c"}}, "credentials[0].auth.mcp_server_url"),
    ],
}


@pytest.mark.parametrize(
    ("kind", "wrong", "place"), [(kind, *row) for kind, rows in IN_FILES.items() for row in rows], ids=str
)
def test_no_command_takes_a_file_with_a_token_where_something_else_belongs(
    desk: Desk, kind: str, wrong: dict[str, Any], place: str
) -> None:
    desk.qoder.env["TOKEN"] = TOKENS[4]
    content: Any = {**WHOLE[kind], **wrong}
    if kind == "credential":
        content = {"type": "vault", "display_name": "a", "credentials": [content]}
    if kind in ("agent", "env"):
        ran = desk.qoder(kind, "create", "-f", desk.file(json.dumps(content)))
    else:
        ran = desk.qoder("apply", "--yes", desk.file(content))
    assert (ran.code, ran.out, desk.asked) == (2, "", []), ran.err
    assert place in ran.err
    assert [token for token in TOKENS if token in ran.err] == []
    assert "a1b2" not in ran.err


@pytest.mark.parametrize("field", ["description", "name"])
def test_apply_sends_no_token_from_a_variable_where_something_else_belongs(desk: Desk, field: str) -> None:
    desk.qoder.env["TOKEN"] = TOKENS[4]
    file = desk.file({**FILE, field: "${TOKEN}"})
    (Path(file).parent / "qoder.yaml").write_text("stack: s\n")
    ran = desk.qoder("apply", "--yes", file)
    assert (ran.code, ran.out, ran.err.count("is, or holds, a token")) == (2, "", 1), ran.err
    assert f":1: {field}: is, or holds, a token" in ran.err
    assert (TOKENS[4] in ran.err, [each for each in desk.asked if not each.startswith("GET")]) == (False, [])


def test_apply_shows_names_and_messages_as_they_are(desk: Desk) -> None:
    texts = {
        "name": "sk-learn-pipeline-nightly-report",
        "message": "Rotate ghp_Abcdefghij0123456789 now.",
        "description": "token=none",
    }
    ran = desk.qoder("diff", desk.file({**FILE, **texts}), "--json")
    assert ran.code == 8, ran.err
    after = {change["path"]: change["after"] for change in ran.json[0]["changes"]}
    assert (after["name"], after["description"]) == ("sk-learn-pipeline-nightly-report", "token=none")
    assert not names_token(texts["name"])


def test_session_new_takes_an_outcome_and_a_rubric_that_talk_of_tokens_as_a_message_does(qoder: Qoder) -> None:
    text = "Rotate ghp_Abcdefghij0123456789 now."
    words = ("session", "new", "--agent", "agent_1", "--env", "env_1")
    qoder.wire.on("POST", "/sessions", {"id": "sess_1", "type": "session"})
    assert qoder(*words, "-m", text, "--outcome", text, "--rubric", text).code == 0
    assert qoder.wire.requests[-1].content.decode().count(text) == 3


# Our own token, which a server repeats, however spelled: of another shape than a personal access token, which is hidden
# by that; without a word of the messages around it.

OURS = "svc_Zq4+Xk9/Lw2.Vb7~Nc5-Rt8"


SPELLED = {
    "as it is": OURS,
    "hexadecimal": OURS.encode().hex(),
    "HEXADECIMAL": OURS.encode().hex().upper(),
    "base 64": base64.b64encode(OURS.encode()).decode(),
    "base 64 of a header": base64.b64encode(f"Bearer {OURS}".encode()).decode(),
    "base 64 of a user": base64.urlsafe_b64encode(f"me:{OURS}".encode()).decode(),
    "base 64 in lines": base64.encodebytes(("x" * 40 + OURS).encode()).decode(),
    "percent": quote(OURS, safe=""),
    "all percent": "".join(f"%{ord(one):02x}" for one in OURS),
    "percent twice": quote("".join(f"%{ord(one):02X}" for one in OURS)),
    "unicode": "".join(f"\\u{ord(one):04x}" for one in OURS),
    "entities": "".join(f"&#{ord(one)};" for one in OURS),
    "long entities": "".join(f"&#{ord(one):05};" for one in OURS),
    "entity": html.escape(OURS),
    "lines": f"{OURS[:14]}\r\n  {OURS[14:]}",
    "spaces": " ".join(OURS),
    "zero width": "\u200b".join(OURS),
    "escapes": f"{OURS[:14]}\x1b[0m{OURS[14:]}",
    "backslashes": OURS.replace("/", "\\/").replace("-", "\\-"),
    "json in json": json.dumps(json.dumps({"a": OURS + '"'})),
    "the first half": OURS[:16],
    "the second half": OURS[-14:],
}


BESIDE = ("QmVhcmVy", "eHh4", "[redacted]")  # what stands before the token in base 64


def _left(said: str) -> str:
    """Return what was left between the marks of a message, letters and digits alone."""
    left = said.split("<<")[1].split(">>")[0]
    for each in BESIDE:
        left = left.replace(each, "")
    return "".join(filter(str.isalnum, left))


@pytest.mark.parametrize("how", SPELLED)
@pytest.mark.parametrize("options", [(), ("--json",), ("--debug",)])
@pytest.mark.few(8)
def test_deploy_get_shows_no_token_that_a_refusal_repeats(qoder: Qoder, how: str, options: tuple[str, ...]) -> None:
    qoder.env["QODER_PAT"] = OURS
    message = f"bad <<{SPELLED[how]}>> given"
    body = {"type": "error", "error": {"type": "invalid_request_error", "message": message}}
    qoder.wire.on("GET", "/deployments/dep_1", httpx.Response(400, json=body))
    ran = qoder("deploy", "get", "dep_1", *options)
    assert ran.code == 6
    for said in ran.err.split("bad ")[1:]:
        assert len(_left(said)) < 8, said


def test_deploy_get_shows_no_token_that_a_name_spells_with_escapes(qoder: Qoder) -> None:
    qoder.env["QODER_PAT"] = OURS
    body = f'{{"id": "dep_1", "type": "deployment", "name": "{SPELLED["unicode"]}"}}'
    qoder.wire.on(
        "GET", "/deployments/dep_1", httpx.Response(200, text=body, headers={"content-type": "application/json"})
    )
    ran = qoder("deploy", "get", "dep_1", "--json")
    assert (ran.code, ran.json["name"]) == (0, "[redacted]"), ran.err


def test_deploy_get_shows_a_word_that_a_request_and_the_token_share(qoder: Qoder) -> None:
    qoder.env["QODER_PAT"] = OURS
    body = {"type": "error", "error": {"type": "invalid_request_error", "message": "the svc_id is wrong: a+b/c=="}}
    qoder.wire.on("GET", "/deployments/dep_1", httpx.Response(400, json=body))
    assert "the svc_id is wrong: a+b/c==" in qoder("deploy", "get", "dep_1").err


# A file that has `[redacted]` in a value is not sent, and `export` of what has our token in it says so.


def test_export_says_where_it_hides_the_token(desk: Desk) -> None:
    weekly = desk.add(name="weekly", environment_variables=f"A=1;B={TOKEN}")
    words = f"Use {TOKEN}.\nOr ghp_{'A1b2C3d4' * 5}."
    weekly.fields["initial_events"] = [{"type": "user.message", "content": words}]
    ran = desk.qoder("export", "weekly", "-O", str(desk.folder))
    assert ran.code == 0
    assert "warning: deployments/weekly.md:11: [redacted] stands for a secret; apply will refuse this file" in ran.err
    assert "warning: deployments/weekly.md:12: looks like a token or a password; check before you commit" in ran.err
    assert TOKEN not in (desk.folder / "deployments/weekly.md").read_text()
    desk.qoder.env |= {"A": "1", "B": TOKEN}
    refused = desk.apply(str(desk.folder))
    assert (refused.code, "[redacted] in place of a secret" in refused.err) == (2, True), refused.err


WRITTEN_WHOLE = {
    "env update env_1 --pip pandas": ("environments", "env_1"),
    "memory restore project a.md memver_9": ("memory_stores/memstore_project/memory_versions", "memver_9"),
    "session new --like dep_demo": ("deployments", "dep_demo"),
    "deploy update dep_demo --outcome Done --rubric Well": ("deployments", "dep_demo"),
}


@pytest.mark.parametrize("line", WRITTEN_WHOLE)
def test_no_command_writes_over_the_token_that_it_hid_in_what_it_read(qoder: Qoder, line: str) -> None:
    service, (path, id) = Things(qoder), WRITTEN_WHOLE[line]
    first = [{"type": "user.message", "content": [{"type": "text", "text": f"Use {TOKEN}"}]}]
    theirs = {"id": id, "name": "mine", "path": "a.md", "content": f"Use {TOKEN}", "version": 1}
    theirs |= {"config": {"type": "cloud", "setup_script": f"export QODER_PAT={TOKEN}"}, "archived_at": None}
    service.instead[f"GET /{path}/{id}"] = [ok(theirs)] * 9
    if path == "deployments":
        service.instead = {}
        service.lies[f"GET /{path}/{id}"] = lambda raw: {**raw, "initial_events": first}
    ran = qoder(*line.split(), "--json")
    assert (ran.code, service.writes) == (6, []), ran.err
    assert "has [redacted] where the server may have your token; nothing was sent" in ran.error["message"]


def test_session_new_warns_of_no_token_that_only_the_answer_hides(qoder: Qoder) -> None:
    Things(qoder)
    ran = qoder("session", "new", "--agent", "writer", "--env", "default", "--var", f"PAT={TOKEN}")
    assert (ran.code, "warning" in ran.err) == (0, False), ran.err


def test_session_send_knows_its_message_by_the_token_hidden_in_it(qoder: Qoder) -> None:
    service = Things(qoder)
    for loss in ("", "reset"):
        id = service.session()
        if loss:
            service.loses(loss)
        assert qoder("session", "send", id, "-m", f"Use {TOKEN}").code == 0


@pytest.mark.parametrize("words", [("agent", "create"), ("agent", "update", "agent_1")])
def test_agent_create_refuses_a_file_with_hidden_values(qoder: Qoder, tmp_path: Path, words: tuple[str, ...]) -> None:
    """Where only the server sets a value, it is not sent."""
    file = tmp_path / "a.yaml"
    file.write_text("name: n\nmodel: ultimate\nsystem: Use [redacted].\ncreated_at: '[redacted]'\n")
    ran = qoder(*words, "-f", str(file))
    assert (ran.code, f"{file}:3: system: has [redacted] in place of a secret" in ran.err) == (2, True), ran.err
    assert "[redacted]" not in ran.err.replace("system: has [redacted]", "")


def test_apply_sends_the_word_where_a_variable_has_it(qoder: Qoder, tmp_path: Path) -> None:
    qoder.env["WORD"] = "[redacted]"
    qoder.wire.on("GET", "/deployments", {"data": [], "has_more": False})
    file = tmp_path / "a.yaml"
    file.write_text(
        'type: deployment\nname: n\nagent: agent_1\nenvironment: env_1\nmessage: "Write ${WORD} for names."\n'
    )
    assert qoder("diff", str(file)).code == 8
