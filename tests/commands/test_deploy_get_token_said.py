"""`deploy get` and others: a server that repeats our own token, however spelled, does not get it shown."""

import html
import json
from base64 import b64encode, encodebytes, urlsafe_b64encode
from urllib.parse import quote

import httpx
import pytest

from tests.conftest import Qoder

# Of another shape than a personal access token, which is hidden by that; without a word of the messages around it.
TOKEN = "svc_Zq4+Xk9/Lw2.Vb7~Nc5-Rt8"
SPELLED = {
    "as it is": TOKEN,
    "hexadecimal": TOKEN.encode().hex(),
    "HEXADECIMAL": TOKEN.encode().hex().upper(),
    "base 64": b64encode(TOKEN.encode()).decode(),
    "base 64 of a header": b64encode(f"Bearer {TOKEN}".encode()).decode(),
    "base 64 of a user": urlsafe_b64encode(f"me:{TOKEN}".encode()).decode(),
    "base 64 in lines": encodebytes(("x" * 40 + TOKEN).encode()).decode(),
    "percent": quote(TOKEN, safe=""),
    "all percent": "".join(f"%{ord(one):02x}" for one in TOKEN),
    "percent twice": quote("".join(f"%{ord(one):02X}" for one in TOKEN)),
    "unicode": "".join(f"\\u{ord(one):04x}" for one in TOKEN),
    "entities": "".join(f"&#{ord(one)};" for one in TOKEN),
    "long entities": "".join(f"&#{ord(one):05};" for one in TOKEN),
    "entity": html.escape(TOKEN),
    "lines": f"{TOKEN[:14]}\r\n  {TOKEN[14:]}",
    "spaces": " ".join(TOKEN),
    "zero width": "\u200b".join(TOKEN),
    "escapes": f"{TOKEN[:14]}\x1b[0m{TOKEN[14:]}",
    "backslashes": TOKEN.replace("/", "\\/").replace("-", "\\-"),
    "json in json": json.dumps(json.dumps({"a": TOKEN + '"'})),
    "the first half": TOKEN[:16],
    "the second half": TOKEN[-14:],
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
def test_deploy_get_shows_no_token_that_a_refusal_repeats(qoder: Qoder, how: str, options: tuple[str, ...]) -> None:
    qoder.env["QODER_PAT"] = TOKEN
    message = f"bad <<{SPELLED[how]}>> given"
    body = {"type": "error", "error": {"type": "invalid_request_error", "message": message}}
    qoder.wire.on("GET", "/deployments/dep_1", httpx.Response(400, json=body))
    ran = qoder("deploy", "get", "dep_1", *options)
    assert ran.code == 6
    for said in ran.err.split("bad ")[1:]:
        assert len(_left(said)) < 8, said


@pytest.mark.parametrize("how", ["base 64", "HEXADECIMAL", "lines", "percent twice"])
def test_run_wait_does_not_show_the_token_that_the_error_of_a_run_repeats(qoder: Qoder, how: str) -> None:
    qoder.env["QODER_PAT"] = TOKEN
    error = {"type": "unknown_error", "message": f"bad <<{SPELLED[how]}>> given"}
    qoder.wire.on("GET", "/deployment_runs/drun_1", {"id": "drun_1", "session_id": None, "error": error})
    ran = qoder("run", "wait", "drun_1", "-o", "id")
    assert (ran.code, len(_left(ran.err)) < 8) == (1, True), ran.err


def test_deploy_get_shows_a_word_that_a_request_and_the_token_share(qoder: Qoder) -> None:
    qoder.env["QODER_PAT"] = TOKEN
    body = {"type": "error", "error": {"type": "invalid_request_error", "message": "the svc_id is wrong: a+b/c=="}}
    qoder.wire.on("GET", "/deployments/dep_1", httpx.Response(400, json=body))
    assert "the svc_id is wrong: a+b/c==" in qoder("deploy", "get", "dep_1").err
