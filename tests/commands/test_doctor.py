"""`qoder doctor`: what may be wrong is found, each with its fix; nothing is changed, and no secret is shown."""

import json
import os
import sqlite3
import sys
import sysconfig
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qoder_cli.base.plainfile import seal
from qoder_cli.http.proxy import masked
from qoder_cli.local.store import Attempt, Store
from tests.conftest import TOKEN, Qoder, Ran
from tests.support.wire import api_error, page

DEPLOYMENTS = ("GET", "/deployments")
RUNS = ("GET", "/deployment_runs")
OTHER = "pt-another-9876543210"
posix = pytest.mark.skipif(os.name != "posix", reason="file modes and shells as POSIX has them")


def enter_sandbox(qoder: Qoder, folder: Path) -> None:
    """Lead commands into a sandbox, whose folder this is."""
    qoder.env["QODER_SANDBOX"] = "http://127.0.0.1:9/api/v1/cloud"
    seal(folder, qoder.env["QODER_SANDBOX"])


def found(ran: Ran) -> dict[str, dict[str, Any]]:
    """What was found, by the check's name; each finding has the same keys, and what is not ok has a fix."""
    assert all(list(each) == ["check", "status", "found", "fix"] for each in ran.json)
    assert all((each["fix"] is None) == (each["status"] == "ok") for each in ran.json)
    return {each["check"]: each for each in ran.json}


def looked(qoder: Qoder, *words: str, code: int = 0) -> dict[str, dict[str, Any]]:
    """Return what the doctor found, having ended with this exit code; whatever it found, nothing has changed."""
    folder = qoder.config.parent

    def files() -> dict[Path, tuple[float, int]]:
        return {path: (path.lstat().st_mtime, path.lstat().st_mode) for path in folder.rglob("*")}

    before = files()
    ran = qoder("doctor", "--json", *words)
    assert files() == before
    findings = found(ran)
    failures = [each for each in findings.values() if each["status"] == "failed"]
    assert (ran.code, bool(failures)) == (code, code != 0)
    if failures:
        assert ran.error["hint"] == failures[0]["fix"]
        assert failures[0]["found"] in ran.error["message"]
    return findings


def offline(qoder: Qoder, check: str, *words: str, code: int = 0) -> dict[str, Any]:
    """Return what one check found where nobody is asked."""
    return looked(qoder, "--offline", *words, code=code)[check]


def told(finding: dict[str, Any]) -> tuple[str, str]:
    return finding["status"], finding["found"]


# How it is told.


def test_doctor_finds_nothing_wrong_where_all_is_well(qoder: Qoder) -> None:
    qoder.wire.on(*DEPLOYMENTS, {**page({"id": "dep_1"}), "next_page": None}).on(*RUNS, page({"id": "drun_1"}))
    findings = looked(qoder)
    assert findings["token"]["found"] == "pt-****cdef, from QODER_PAT"
    assert findings["base_url"]["found"] == "https://api.qoder.com/api/v1/cloud, default"
    assert findings["access"]["found"] == "the token is accepted"
    assert findings["server"]["found"].startswith("api.qoder.com responded in ")
    assert findings["python"]["found"].startswith(".".join(map(str, sys.version_info[:3])))
    assert {each["check"] for each in findings.values() if each["status"] != "ok"} <= {"qoder"}
    assert [request.url.query for request in qoder.wire.requests] == [b"limit=1", b"limit=1"]


def test_doctor_on_a_terminal_shows_each_fix_below_what_it_fixes(qoder: Qoder) -> None:
    qoder.terminal = True
    del qoder.env["QODER_PAT"]
    ran = qoder("doctor", "--offline")
    assert ran.code == 4
    lines = [line.rstrip() for line in ran.out.splitlines()]
    at = next(number for number, line in enumerate(lines) if line.startswith("token "))
    assert "✗ no token for api.qoder.com" in lines[at]
    assert "fix: set QODER_PAT, or run: qoder auth login" in lines[at + 1]


def test_doctor_ends_with_the_code_of_the_first_of_several_failures(qoder: Qoder, tmp_path: Path) -> None:
    del qoder.env["QODER_PAT"]
    qoder.env["SSL_CERT_FILE"] = str(tmp_path / "missing")
    ran = qoder("doctor", "--offline")
    assert (ran.code, ran.errors) == (4, ["error: 2 checks failed; the first: token: no token for api.qoder.com"])


# Which token, server and workspace won, and over what.


def test_doctor_says_what_won_and_over_what(qoder: Qoder) -> None:
    qoder.configured('[profiles.default]\ntoken = "pt-saved-0123456789"\nregion = "cn"\nworkspace_id = "ws_file"\n')
    qoder.env |= {"QODER_ACCESS_TOKEN": OTHER, "QODER_REGION": "cn", "QODER_WORKSPACE_ID": "ws_env"}
    findings = looked(qoder, "--offline", "--base-url", "https://agents.example")
    of = "profiles.default.{} in " + qoder.env["QODER_CONFIG"]
    assert {name: findings[name]["found"] for name in ("token", "base_url", "workspace")} == {
        "token": f"pt-****cdef, from QODER_PAT (overrides QODER_ACCESS_TOKEN and {of.format('token')})",
        "base_url": "https://agents.example/api/v1/cloud, from --base-url"
        f" (overrides QODER_REGION and {of.format('region')})",
        "workspace": f"ws_env, from QODER_WORKSPACE_ID (overrides {of.format('workspace_id')})",
    }
    assert "differs from QODER_ACCESS_TOKEN" in findings["settings"]["found"]
    assert findings["settings"]["status"] == "warning"


def test_doctor_says_what_restricts_commands(qoder: Qoder, tmp_path: Path) -> None:
    enter_sandbox(qoder, tmp_path)
    qoder.env["QODER_READ_ONLY"] = "1"
    findings = looked(qoder, "--offline")
    assert findings["allowed"]["found"] == "read, QODER_READ_ONLY"
    assert "nothing real" in findings["inside_sandbox"]["found"]
    assert findings["proxy"]["found"] == "none (local server)"


# The config file.


def test_doctor_finds_a_broken_config_file(qoder: Qoder, tmp_path: Path) -> None:
    qoder.configured("[broken")
    findings = looked(qoder, code=2)
    assert findings["config"]["status"] == "failed"
    assert qoder.env["QODER_CONFIG"] in findings["config"]["found"]
    assert not {"settings", "server"} & set(findings)  # the same is not said twice
    enter_sandbox(qoder, tmp_path)  # where it is not needed
    assert offline(qoder, "config")["status"] == "warning"


def test_doctor_finds_unusable_settings(qoder: Qoder) -> None:
    assert "no profile 'nope'" in looked(qoder, "--profile", "nope", code=2)["settings"]["found"]
    qoder.env["QODER_PAT"] = "a b"
    assert "QODER_PAT" in looked(qoder, code=2)["settings"]["found"]


@posix
@pytest.mark.parametrize(
    ("mode", "line", "status"),
    [
        (0o600, f'token = "{OTHER}"\n', "ok"),
        (0o640, f'token = "{OTHER}"\n', "warning"),
        (0o604, f'token = "{OTHER}"\n', "warning"),
        (0o644, 'region = "cn"\n', "ok"),
    ],
)
def test_doctor_warns_of_a_token_that_others_can_read(qoder: Qoder, mode: int, line: str, status: str) -> None:
    qoder.configured(f"[profiles.default]\n{line}", mode=mode)
    finding = offline(qoder, "config")
    assert (finding["status"], "readable by others" in finding["found"]) == (status, status == "warning")
    assert finding["fix"] == (f"chmod 600 {qoder.env['QODER_CONFIG']}" if status == "warning" else None)


# The server.


@pytest.mark.parametrize(
    ("answer", "code", "check", "fix"),
    [
        (api_error(401, "authentication_error", f"{TOKEN} and {OTHER} are not valid"), 4, "access", "own region"),
        (api_error(403, "permission_error", "Scope."), 4, "access", "use a token with this permission"),
        (httpx.ConnectError("refused"), 7, "server", "check the network"),
        (httpx.Response(200, html="<html>Log in</html>"), 7, "server", "any proxy"),
        ((302, ""), 7, "server", "check the base URL"),
        (api_error(503, "api_error", "Busy."), 7, "server", "try again later"),
        ({"hello": "world"}, 7, "server", "check the base URL"),
    ],
)
def test_doctor_tells_servers_apart_that_refuse(qoder: Qoder, answer: Any, code: int, check: str, fix: str) -> None:
    qoder.wire.on(*DEPLOYMENTS, answer)
    findings = looked(qoder, code=code)
    assert "generation" not in findings
    assert findings[check]["status"] == "failed"
    assert fix in findings[check]["fix"]
    assert OTHER not in json.dumps(findings)
    assert len([request for request in qoder.wire.requests if request.url.path.endswith("/deployments")]) == 1


@pytest.mark.parametrize(
    ("ahead", "status", "said"),
    [
        (0, "ok", "in sync"),
        (-3700, "warning", "1h 01m ahead of the server's"),
        (120, "warning", "2m 00s behind the server's"),
    ],
)
def test_doctor_warns_of_a_clock_that_is_off(qoder: Qoder, ahead: int, status: str, said: str) -> None:
    date = format_datetime(datetime.fromtimestamp(qoder.clock.now(), UTC) + timedelta(seconds=ahead), usegmt=True)
    qoder.wire.on(*DEPLOYMENTS, httpx.Response(200, json=page(), headers={"date": date})).on(*RUNS, page())
    finding = looked(qoder)["clock"]
    assert finding["status"] == status
    assert said in finding["found"]


@pytest.mark.parametrize(
    ("runs", "status", "said"),
    [
        (page({"id": "drun_1"}), "ok", "current: run status"),
        (page({"id": "drun_1", "status": "completed"}), "ok", "legacy: runs have a status"),
        (page(), "ok", "unknown: there are no runs yet"),
        (api_error(500, "api_error", "Oops."), "warning", ""),
        ({"hello": "world"}, "warning", ""),
    ],
)
def test_doctor_says_which_generation_the_server_speaks(qoder: Qoder, runs: Any, status: str, said: str) -> None:
    qoder.wire.on(*DEPLOYMENTS, page()).on(*RUNS, runs)
    finding = looked(qoder)["generation"]
    assert finding["status"] == status
    assert finding["found"].startswith(said)


# Proxies and certificates.


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({}, "none"),
        ({"HTTPS_PROXY": "http://proxy.example:3128"}, "http://proxy.example:3128, from HTTPS_PROXY"),
        ({"https_proxy": "http://me:hunter2@proxy.example"}, "http://****@proxy.example, from https_proxy"),
        ({"ALL_PROXY": "me:hunter2@proxy.example"}, "****@proxy.example, from ALL_PROXY"),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": "x, .qoder.com"}, "none (NO_PROXY excludes api.qoder.com from HTTPS"),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": "notqoder.com"}, "http://p, from HTTPS_PROXY"),
        ({"HTTP_PROXY": "http://p"}, "none"),
    ],
)
def test_doctor_names_the_proxy_in_effect_without_its_password(qoder: Qoder, env: dict[str, str], said: str) -> None:
    qoder.env |= env
    finding = offline(qoder, "proxy")
    assert finding["found"].startswith(said)
    assert "hunter2" not in finding["found"]


@given(st.text("ab:/@#?%.", max_size=20), st.text("ab:/@#?%.", max_size=20))
def test_doctor_masks_a_password_in_a_proxy_however_it_is_written(before: str, after: str) -> None:
    for url in (f"http://me:{before}hunter2{after}@proxy.example:3128", f"me:hunter2{after}@proxy.example"):
        assert masked(url).endswith("****@proxy.example" + (":3128" if ":3128" in url else ""))
        assert "hunter2" not in masked(url)


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_doctor_finds_certificates_that_cannot_be_read(qoder: Qoder, tmp_path: Path, name: str) -> None:
    import trustme

    qoder.env[name] = str(tmp_path / "missing")
    assert offline(qoder, "certificates", code=2)["fix"] == f"correct {name}, or unset it"
    (tmp_path / "empty.pem").write_text("")
    qoder.env[name] = str(tmp_path / "empty.pem")
    assert offline(qoder, "certificates", code=2)["status"] == "failed"
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    qoder.env[name] = str(tmp_path / "ca.pem" if name == "SSL_CERT_FILE" else tmp_path)
    assert f"{qoder.env[name]} ({name})" in offline(qoder, "certificates")["found"]


# What this machine remembers.


def trigger(
    qoder: Qoder, *, ago: float, profile: str = "default", host: str = "api.qoder.com", run: str | None = None
) -> Attempt:
    with closing(Store(qoder.env, warn=pytest.fail)) as store:
        at = qoder.clock.now() - ago
        attempt = store.begin(at=at, ahead=None, profile=profile, host=host, deployment="dep_1", key="k")
        if run:
            store.record_run(attempt, run)
        return attempt


def test_doctor_warns_of_a_start_that_is_in_doubt_as_long_as_it_is_the_latest(qoder: Qoder) -> None:
    assert told(offline(qoder, "store")) == ("ok", "0 runs started on api.qoder.com from this machine")
    trigger(qoder, ago=60)
    recent = "0 runs started on api.qoder.com from this machine, 1 not confirmed (latest: dep_1, 1m 00s ago)"
    warned = offline(qoder, "store")
    assert (*told(warned), warned["fix"]) == ("warning", recent, "qoder run wait last")
    qoder.clock.time += 3600
    assert told(offline(qoder, "store")) == ("warning", recent.replace("1m 00s", "1h 01m"))
    trigger(qoder, ago=1, run="drun_1")
    trigger(qoder, ago=3600, host="127.0.0.1:8080")
    trigger(qoder, ago=3600, profile="work")
    assert offline(qoder, "store")["status"] == "ok"


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")


@posix
@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda path: path.write_text("no database, whatever its name says"), "file is not a database"),
        (newer, "a newer version of qoder wrote "),
        (pipe, "state.db is not a file"),
    ],
    ids=["text", "newer", "pipe"],
)
def test_doctor_warns_of_a_store_that_cannot_be_read(qoder: Qoder, spoil: Any, why: str) -> None:
    trigger(qoder, ago=60)
    path = Path(qoder.env["QODER_STATE_DIR"]) / "state.db"
    spoil(path)
    finding = offline(qoder, "store")
    path.unlink()
    assert finding["status"] == "warning"
    assert why in finding["found"]
    assert "`last` and --idempotency-key will not know of earlier runs" in finding["found"]
    assert finding["fix"] == (
        "use the newer version" if "newer" in why else f"move it away while no command runs: mv {path} {path}.old"
    )


@posix
def test_doctor_warns_of_a_state_folder_that_others_can_read(qoder: Qoder) -> None:
    folder = Path(qoder.env["QODER_STATE_DIR"])
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    assert offline(qoder, "state")["fix"] == f"chmod 700 {folder}"
    folder.chmod(0o700)
    assert offline(qoder, "state")["status"] == "ok"


@posix
@pytest.mark.parametrize("folder", ["file", "file/below", "link"])
def test_doctor_warns_of_a_state_folder_that_cannot_be(qoder: Qoder, tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    qoder.env["QODER_STATE_DIR"] = str(tmp_path / folder)
    finding = offline(qoder, "state")
    assert finding["status"] == "warning"
    assert "QODER_STATE_DIR" in finding["fix"]
    assert folder != "link" or "link is not a folder" in finding["found"]


def test_doctor_names_a_state_outside_the_sandbox(qoder: Qoder, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    enter_sandbox(qoder, tmp_path / "own")
    ran = qoder("doctor", "--offline", "-q")
    assert ran.code == 2
    assert f"state: {tmp_path}/state/state.db is outside the folder of this sandbox" in ran.err


# Other programs called qoder.


def put(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "qoder").write_text("from qoder_cli.__main__ import run\n")
    (folder / "qoder").chmod(0o755)
    return folder


@posix
def test_doctor_says_which_qoder_the_shell_finds(qoder: Qoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, ide, link = put(tmp_path / "mine"), put(tmp_path / "ide"), tmp_path / "link"
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(mine))
    monkeypatch.setattr(sys, "executable", "/opt/my python/bin/python")
    as_module = "run: '/opt/my python/bin/python' -m qoder_cli"
    link.mkdir()
    (link / "qoder").symlink_to(mine / "qoder")

    def said(*folders: Path | str) -> dict[str, Any]:
        qoder.env["PATH"] = os.pathsep.join(map(str, folders))
        return offline(qoder, "qoder")

    assert said(mine, ide)["found"] == f"{mine / 'qoder'} (this one)"
    assert said(link, mine, "", tmp_path / "missing")["found"] == f"{link / 'qoder'} (this one)"
    before = said(ide, mine)
    assert (before["status"], "another installation or program" in before["found"]) == ("warning", True)
    assert before["fix"] == f"put {mine} first on PATH, or {as_module}"
    assert (said()["found"], said()["fix"]) == ("not on PATH", f"add {mine} to PATH, or {as_module}")
    monkeypatch.setattr(sys, "argv", [str(ide / "qoder")])
    assert said(ide)["found"] == f"{ide / 'qoder'} (this one)"
    (mine / "qoder").write_text("#!/bin/sh\n")  # the IDE's has replaced ours
    assert "another installation or program" in said(mine)["found"]


def test_doctor_shows_no_token_wherever_it_was(qoder: Qoder) -> None:
    qoder.env |= dict.fromkeys(("SSL_CERT_FILE", "HTTPS_PROXY", "QODER_BASE_URL"), f"https://{OTHER}.example")
    ran = qoder("doctor", "--offline", "--json")
    assert ("[redacted]" in ran.out, OTHER in ran.out + ran.err) == (True, False)


def test_doctor_and_last_say_that_a_state_folder_cannot_be_looked_into(qoder: Qoder, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")  # as with a folder of another user: what is in it cannot be seen
    qoder.env["QODER_STATE_DIR"] = str(tmp_path / "loop/state")
    assert "\nstore\twarning\tthis machine's history of runs cannot be read" in qoder("doctor", "--offline").out
    ran = qoder("run", "wait", "last")
    assert ran.code == 7
    assert "history of runs cannot be read" in ran.err
