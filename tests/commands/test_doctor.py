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

from qoder_cli.doctor import checks
from qoder_cli.http.proxy import masked
from qoder_cli.local.store import Attempt, Store
from qoder_cli.settings.seal import seal
from tests.conftest import TOKEN, Qoder, Ran
from tests.support.wire import api_error, page

DEPLOYMENTS = ("GET", "/deployments")
RUNS = ("GET", "/deployment_runs")
OTHER = "pt-another-9876543210"
posix = pytest.mark.skipif(os.name != "posix", reason="file modes and shells as POSIX has them")


def healthy(qoder: Qoder) -> None:
    """Let the server answer as one does that is well."""
    qoder.wire.on(*DEPLOYMENTS, {**page({"id": "dep_1"}), "next_page": None}).on(*RUNS, page({"id": "drun_1"}))


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
    folder = Path(qoder.env["QODER_CONFIG"]).parent
    before = {path: path.lstat() for path in folder.rglob("*")}
    ran = qoder("doctor", "--json", *words)
    after = {path: path.lstat() for path in folder.rglob("*")}
    assert {path: (stat.st_mtime, stat.st_mode) for path, stat in after.items()} == {
        path: (stat.st_mtime, stat.st_mode) for path, stat in before.items()
    }
    findings = found(ran)
    failures = [each for each in findings.values() if each["status"] == "failed"]
    assert (ran.code, bool(failures)) == (code, code != 0)
    if failures:
        assert ran.error["hint"] == failures[0]["fix"]
        assert failures[0]["found"] in ran.error["message"]
    return findings


def configured(qoder: Qoder, text: str, *, mode: int = 0o600) -> None:
    path = Path(qoder.env["QODER_CONFIG"])
    path.write_text(text)
    path.chmod(mode)


# All is well.


def test_all_is_well(qoder: Qoder) -> None:
    healthy(qoder)
    findings = looked(qoder)
    assert findings["token"]["found"] == "pt-****cdef, from QODER_PAT"
    assert findings["base_url"]["found"] == "https://api.qoder.com/api/v1/cloud, default"
    assert findings["access"]["found"] == "the token is accepted"
    assert findings["server"]["found"].startswith("api.qoder.com responded in ")
    assert findings["python"]["found"].startswith(".".join(map(str, sys.version_info[:3])))
    assert {each["check"] for each in findings.values() if each["status"] != "ok"} <= {"qoder"}
    assert [request.url.query for request in qoder.wire.requests] == [b"limit=1", b"limit=1"]


def test_a_line_is_check_status_found_and_fix(qoder: Qoder) -> None:
    ran = qoder("doctor", "--offline")
    rows = [line.split("\t") for line in ran.out.splitlines()]
    assert {len(row) for row in rows} == {4}
    assert ["token", "ok", "pt-****cdef, from QODER_PAT", "-"] in rows


def test_a_terminal_shows_each_fix_below_what_it_fixes(qoder: Qoder) -> None:
    qoder.terminal = True
    del qoder.env["QODER_PAT"]
    ran = qoder("doctor", "--offline")
    assert ran.code == 4
    lines = [line.rstrip() for line in ran.out.splitlines()]
    at = next(number for number, line in enumerate(lines) if line.startswith("token "))
    assert "✗ no token for api.qoder.com" in lines[at]
    assert "fix: set QODER_PAT, or run: qoder auth login" in lines[at + 1]


def test_offline_asks_nobody(qoder: Qoder) -> None:
    findings = looked(qoder, "--offline")
    assert not {"server", "access", "clock", "generation"} & set(findings)


# Which token, server and workspace won, and over what.


def test_what_won_and_over_what(qoder: Qoder) -> None:
    configured(qoder, '[profiles.default]\ntoken = "pt-saved-0123456789"\nregion = "cn"\nworkspace_id = "ws_file"\n')
    qoder.env |= {"QODER_ACCESS_TOKEN": OTHER, "QODER_REGION": "cn", "QODER_WORKSPACE_ID": "ws_env"}
    findings = looked(qoder, "--offline", "--base-url", "https://agents.example")
    file = qoder.env["QODER_CONFIG"]
    assert findings["token"]["found"] == (
        f"pt-****cdef, from QODER_PAT (overrides QODER_ACCESS_TOKEN and profiles.default.token in {file})"
    )
    assert findings["base_url"]["found"] == (
        "https://agents.example/api/v1/cloud, from --base-url"
        f" (overrides QODER_REGION and profiles.default.region in {file})"
    )
    assert findings["workspace"]["found"] == (
        f"ws_env, from QODER_WORKSPACE_ID (overrides profiles.default.workspace_id in {file})"
    )
    assert "differs from QODER_ACCESS_TOKEN" in findings["settings"]["found"]
    assert findings["settings"]["status"] == "warning"


def test_a_profile_wins_over_the_environment(qoder: Qoder) -> None:
    configured(qoder, f'[profiles.work]\ntoken = "{OTHER}"\nregion = "cn"\nworkspace_id = "ws_1"\n')
    qoder.env["QODER_WORKSPACE_ID"] = "ws_env"
    findings = looked(qoder, "--offline", "--profile", "work")
    assert findings["profile"]["found"] == "work"
    assert findings["token"]["found"].startswith("pt-****3210, from profiles.work.token in ")
    assert findings["token"]["found"].endswith(" (overrides QODER_PAT)")
    assert findings["workspace"]["found"].startswith("ws_1, from profiles.work.workspace_id in ")
    assert "overrides: QODER_PAT, QODER_WORKSPACE_ID" in findings["settings"]["found"]


def test_a_token_of_another_host_is_not_there(qoder: Qoder) -> None:
    del qoder.env["QODER_PAT"]
    configured(qoder, f'[profiles.default]\ntoken = "{OTHER}"\n')
    findings = looked(qoder, "--base-url", "https://agents.example", code=4)
    assert "is for api.qoder.com and is not sent to agents.example" in findings["token"]["fix"]
    assert findings["server"]["found"] == "skipped: no token"


def test_what_restricts_commands_is_told(qoder: Qoder, tmp_path: Path) -> None:
    enter_sandbox(qoder, tmp_path)
    qoder.env["QODER_READ_ONLY"] = "1"
    findings = looked(qoder, "--offline")
    assert "only reads" in findings["read_only"]["found"]
    assert "nothing real" in findings["inside_sandbox"]["found"]
    assert findings["proxy"]["found"] == "none (local server)"


# The config file.


@pytest.mark.parametrize("text", ["[broken", "profiles = 1", "[profiles.default]\ntoken = 7", "x = '\x00'"])
def test_a_broken_config_file_is_a_finding(qoder: Qoder, text: str) -> None:
    configured(qoder, text)
    findings = looked(qoder, code=2)
    assert findings["config"]["status"] == "failed"
    assert qoder.env["QODER_CONFIG"] in findings["config"]["found"]
    assert "settings" not in findings  # the same is not said twice
    assert "server" not in findings


def test_a_broken_file_that_is_not_needed_is_a_warning(qoder: Qoder, tmp_path: Path) -> None:
    configured(qoder, "[broken")
    enter_sandbox(qoder, tmp_path)
    assert looked(qoder, "--offline")["config"]["status"] == "warning"


@pytest.mark.parametrize(
    ("variable", "value"),
    [("QODER_REGION", "mars"), ("QODER_PAT", "a b"), ("QODER_BASE_URL", "http://elsewhere.example")],
)
def test_a_variable_that_cannot_be_used_is_a_finding(qoder: Qoder, variable: str, value: str) -> None:
    qoder.env[variable] = value
    findings = looked(qoder, code=2)
    assert variable in findings["settings"]["found"]


def test_a_profile_that_is_not_there_is_a_finding(qoder: Qoder) -> None:
    assert "no profile 'nope'" in looked(qoder, "--profile", "nope", code=2)["settings"]["found"]


@posix
@pytest.mark.parametrize(
    ("text", "mode", "status"),
    [
        (f'[profiles.default]\ntoken = "{OTHER}"\n', 0o600, "ok"),
        (f'[profiles.default]\ntoken = "{OTHER}"\n', 0o644, "warning"),
        ('[profiles.default]\nregion = "cn"\n', 0o644, "ok"),
    ],
)
def test_who_can_read_a_token_in_the_config_file(qoder: Qoder, text: str, mode: int, status: str) -> None:
    configured(qoder, text, mode=mode)
    finding = looked(qoder, "--offline")["config"]
    assert (finding["status"], "readable by others" in finding["found"]) == (status, status == "warning")
    assert finding["fix"] == (f"chmod 600 {qoder.env['QODER_CONFIG']}" if status == "warning" else None)


def test_keys_that_mean_nothing_are_a_warning(qoder: Qoder) -> None:
    configured(qoder, '[profiles.default]\nregoin = "cn"\n')
    rows = qoder("doctor", "--offline", "--json").json
    (told,) = [each for each in rows if each["check"] == "config" and each["status"] == "warning"]
    assert "did you mean profiles.default.region?" in told["found"]


# The server.


@pytest.mark.parametrize(
    ("answer", "code", "check", "fix"),
    [
        (api_error(401, "authentication_error", "Invalid."), 4, "access", "tokens only work in their own region"),
        (api_error(403, "permission_error", "Scope."), 4, "access", "use a token with this permission"),
        (httpx.ConnectError("refused"), 7, "server", "check the network"),
        (httpx.ReadTimeout("slow"), 7, "server", "check the base URL"),
        (
            httpx.Response(200, text="<html>Log in</html>", headers={"content-type": "text/html"}),
            7,
            "server",
            "any proxy",
        ),
        (httpx.Response(404, text="<html>"), 7, "server", "check the base URL"),
        ((302, ""), 7, "server", "check the base URL"),
        (api_error(503, "api_error", "Busy."), 7, "server", "try again later"),
        ({"hello": "world"}, 7, "server", "check the base URL"),
        ("7", 7, "server", "check the base URL"),
    ],
)
def test_a_server_that_does_not_take_us_is_told_apart(
    qoder: Qoder, answer: Any, code: int, check: str, fix: str
) -> None:
    qoder.wire.on(*DEPLOYMENTS, answer)
    findings = looked(qoder, code=code)
    assert "generation" not in findings
    assert findings[check]["status"] == "failed"
    assert fix in findings[check]["fix"]
    assert len([request for request in qoder.wire.requests if request.url.path.endswith("/deployments")]) == 1


@pytest.mark.parametrize(
    ("ahead", "status", "told"),
    [
        (0, "ok", "in sync"),
        (30, "ok", "30s behind the server's"),
        (-3700, "warning", "1h 01m ahead of the server's"),
        (120, "warning", "2m 00s behind the server's"),
    ],
)
def test_a_clock_that_is_off_is_told(qoder: Qoder, ahead: int, status: str, told: str) -> None:
    date = format_datetime(datetime.fromtimestamp(qoder.clock.now(), UTC) + timedelta(seconds=ahead), usegmt=True)
    qoder.wire.on(*DEPLOYMENTS, httpx.Response(200, json=page(), headers={"date": date})).on(*RUNS, page())
    finding = looked(qoder)["clock"]
    assert (finding["status"], told in finding["found"]) == (status, True)


@pytest.mark.parametrize(
    ("runs", "told"),
    [
        (page({"id": "drun_1"}), "current: run status"),
        (page({"id": "drun_1", "status": "completed"}), "legacy: runs have a status"),
        (page(), "unknown: there are no runs yet"),
    ],
)
def test_which_generation_the_server_speaks(qoder: Qoder, runs: Any, told: str) -> None:
    qoder.wire.on(*DEPLOYMENTS, page()).on(*RUNS, runs)
    assert looked(qoder)["generation"]["found"].startswith(told)


@pytest.mark.parametrize("answer", [api_error(500, "api_error", "Oops."), [], {"hello": "world"}, "null"])
def test_runs_that_cannot_be_read_are_a_warning(qoder: Qoder, answer: Any) -> None:
    qoder.wire.on(*DEPLOYMENTS, page()).on(*RUNS, answer)
    assert looked(qoder)["generation"]["status"] == "warning"


def test_a_server_that_echoes_the_token_shows_it_nowhere(qoder: Qoder) -> None:
    qoder.wire.on(*DEPLOYMENTS, api_error(401, "authentication_error", f"{TOKEN} and {OTHER} are not valid"))
    assert OTHER not in json.dumps(looked(qoder, code=4))


# Proxies and certificates.


@pytest.mark.parametrize(
    ("env", "told"),
    [
        ({}, "none"),
        ({"HTTPS_PROXY": "http://proxy.example:3128"}, "http://proxy.example:3128, from HTTPS_PROXY"),
        ({"https_proxy": "http://me:hunter2@proxy.example"}, "http://****@proxy.example, from https_proxy"),
        ({"ALL_PROXY": "me:hunter2@proxy.example"}, "****@proxy.example, from ALL_PROXY"),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": "x, .qoder.com"}, "none (NO_PROXY excludes api.qoder.com from HTTPS"),
        ({"HTTPS_PROXY": "http://p", "no_proxy": "*"}, "none (NO_PROXY excludes api.qoder.com"),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": "notqoder.com"}, "http://p, from HTTPS_PROXY"),
        ({"HTTP_PROXY": "http://p"}, "none"),
    ],
)
def test_the_proxy_in_effect_is_told_without_its_password(qoder: Qoder, env: dict[str, str], told: str) -> None:
    qoder.env |= env
    if sys.platform in ("win32", "darwin") and told == "none":
        pytest.skip("the system may have a proxy of its own")
    finding = looked(qoder, "--offline")["proxy"]
    assert finding["found"].startswith(told)
    assert "hunter2" not in finding["found"]


@given(st.text("ab:/@#?%.", max_size=20), st.text("ab:/@#?%.", max_size=20))
def test_no_password_in_a_proxy_is_shown_however_it_is_written(before: str, after: str) -> None:
    for url in (f"http://me:{before}hunter2{after}@proxy.example:3128", f"me:hunter2{after}@proxy.example"):
        assert masked(url).endswith("****@proxy.example" + (":3128" if ":3128" in url else ""))
        assert "hunter2" not in masked(url)


@pytest.mark.parametrize(("name", "kind"), [("SSL_CERT_FILE", "file"), ("SSL_CERT_DIR", "folder")])
def test_certificates_that_cannot_be_read_are_a_finding(qoder: Qoder, tmp_path: Path, name: str, kind: str) -> None:
    qoder.env[name] = str(tmp_path / "missing")
    assert looked(qoder, "--offline", code=2)["certificates"]["fix"] == f"correct {name}, or unset it"
    (tmp_path / "empty.pem").write_text("")
    qoder.env[name] = str(tmp_path / "empty.pem")
    assert looked(qoder, "--offline", code=2)["certificates"]["status"] == "failed"


def test_certificates_that_can_be_read(qoder: Qoder, tmp_path: Path) -> None:
    import trustme

    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    qoder.env["SSL_CERT_FILE"] = str(tmp_path / "ca.pem")
    assert looked(qoder, "--offline")["certificates"]["found"].endswith("ca.pem (SSL_CERT_FILE)")
    del qoder.env["SSL_CERT_FILE"]
    qoder.env["SSL_CERT_DIR"] = str(tmp_path)
    assert looked(qoder, "--offline")["certificates"]["found"] == f"from {tmp_path} (SSL_CERT_DIR)"


# What this machine remembers.


def trigger(
    qoder: Qoder, *, ago: float, profile: str = "default", host: str = "api.qoder.com", run: str | None = None
) -> Attempt:
    store = Store(qoder.env, warn=pytest.fail)
    attempt = store.begin(
        at=qoder.clock.now() - ago, ahead=None, profile=profile, host=host, deployment="dep_1", key="k"
    )
    if run:
        store.settle(attempt, run)
    store.close()
    return attempt


def test_a_store_that_is_well(qoder: Qoder) -> None:
    assert looked(qoder, "--offline")["store"]["found"] == "starts on api.qoder.com: 0"
    trigger(qoder, ago=3600, run="drun_1")
    trigger(qoder, ago=60)
    finding = looked(qoder, "--offline")["store"]
    found = "starts on api.qoder.com: 2, not confirmed: 1 (latest: dep_1, 1m 00s ago)"
    assert (finding["status"], finding["found"]) == ("ok", found)


def test_a_trigger_that_was_never_settled_is_a_warning(qoder: Qoder) -> None:
    trigger(qoder, ago=3600)
    finding = looked(qoder, "--offline")["store"]
    assert (finding["status"], finding["fix"]) == ("warning", "qoder run wait last")
    assert "starts on api.qoder.com: 1, not confirmed: 1 (latest: dep_1, 1h 00m ago)" in finding["found"]


def test_what_nobody_asks_for_any_more_is_no_warning(qoder: Qoder) -> None:
    trigger(qoder, ago=7200)
    trigger(qoder, ago=3600, run="drun_1")
    trigger(qoder, ago=3600, host="127.0.0.1:8080")
    trigger(qoder, ago=3600, profile="work")
    assert looked(qoder, "--offline")["store"]["status"] == "ok"


def test_the_doctor_sees_what_a_command_under_way_has_written(qoder: Qoder) -> None:
    trigger(qoder, ago=60)
    store = Store(qoder.env, warn=pytest.fail)
    store.begin(at=1.0, ahead=None, profile="default", host="api.qoder.com", deployment="dep_1", key="k")
    finding = next(each for each in qoder("doctor", "--offline", "--json").json if each["check"] == "store")
    store.close()
    assert "not confirmed: 2" in finding["found"]


@posix
@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda path: path.write_text("no database, whatever its name says"), "file is not a database"),
        (lambda path: os.truncate(path, 5000), "database disk image is malformed"),
        (lambda path: newer(path), "a newer version of qoder wrote "),
        (lambda path: pipe(path), "state.db is not a file"),
        (lambda path: (path.unlink(), path.mkdir()), "state.db is not a file"),
    ],
    ids=["text", "cut", "newer", "pipe", "folder"],
)
def test_a_store_that_cannot_be_read_is_not_well(qoder: Qoder, spoil: Any, why: str) -> None:
    trigger(qoder, ago=60)
    path = Path(qoder.env["QODER_STATE_DIR"]) / "state.db"
    spoil(path)
    finding = looked(qoder, "--offline")["store"]
    path.rmdir() if path.is_dir() else path.unlink()
    assert finding["status"] == "warning"
    assert why in finding["found"]
    assert "`last` and --idempotency-key will not know of earlier runs" in finding["found"]
    assert finding["fix"] == (
        "use the newer version" if "newer" in why else f"move it away while no command runs: mv {path} {path}.old"
    )


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")


@posix
def test_a_state_folder_that_others_can_read_is_a_warning(qoder: Qoder) -> None:
    folder = Path(qoder.env["QODER_STATE_DIR"])
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    assert looked(qoder, "--offline")["state"]["fix"] == f"chmod 700 {folder}"
    folder.chmod(0o700)
    assert looked(qoder, "--offline")["state"]["status"] == "ok"


@pytest.mark.parametrize("folder", ["file", "file/below"])
def test_a_state_folder_that_cannot_be_is_a_warning(qoder: Qoder, tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").write_text("")
    qoder.env["QODER_STATE_DIR"] = str(tmp_path / folder)
    finding = looked(qoder, "--offline")["state"]
    assert (finding["status"], "QODER_STATE_DIR" in finding["fix"]) == ("warning", True)


@posix
def test_a_state_folder_that_leads_to_nothing_is_a_warning(qoder: Qoder, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    qoder.env["QODER_STATE_DIR"] = str(tmp_path / "link")
    finding = looked(qoder, "--offline")["state"]
    assert (finding["status"], "link is not a folder" in finding["found"]) == ("warning", True)


@posix
def test_without_a_home_it_looks_all_the_same(qoder: Qoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    monkeypatch.setattr(Path, "home", lambda: pytest.fail("there is none"))
    qoder.env["QODER_CONFIG"] = "~/config.toml"
    rows = found(qoder("doctor", "--offline", "--json"))
    assert rows["config"]["status"] == "warning"
    assert "HOME" in rows["config"]["fix"]
    del qoder.env["QODER_PAT"]
    assert qoder("doctor", "--offline").code == 2


# Other programs called qoder.

OURS = "#!/usr/bin/python\nfrom qoder_cli.__main__ import run\nrun()\n"


def put(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)
    return folder


@posix
def test_which_qoder_the_shell_finds(qoder: Qoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = put(tmp_path / "mine", "qoder", OURS)
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(mine))
    ide, old = put(tmp_path / "ide", "qoder", "#!/bin/sh\nexec ide\n"), put(tmp_path / "old", "qoder", OURS)
    link = tmp_path / "link"
    link.mkdir()
    (link / "qoder").symlink_to(mine / "qoder")

    def said(*folders: Path | str) -> dict[str, Any]:
        qoder.env["PATH"] = os.pathsep.join(map(str, folders))
        return looked(qoder, "--offline")["qoder"]

    assert said(mine)["found"] == f"{mine / 'qoder'} (this one)"
    assert said(link, mine, "", tmp_path / "missing")["found"] == f"{link / 'qoder'} (this one)"
    assert said(mine, ide, old)["status"] == "ok"
    before = said(ide, mine)
    assert (before["status"], "another program" in before["found"]) == ("warning", True)
    assert before["fix"] == f"put {mine} first on PATH, or run: {sys.executable} -m qoder_cli"
    assert said(old)["found"] == f"the shell runs {old / 'qoder'} (another installation)"
    assert said()["found"] == "not on PATH"


@posix
def test_qoder_cli_is_recommended_only_where_it_is_this_program(
    qoder: Qoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = put(put(tmp_path / "mine", "qoder", OURS), "qoder-cli", OURS)
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(mine))
    monkeypatch.setattr(sys, "executable", "/opt/my python/bin/python")
    ide = put(tmp_path / "ide", "qoder", "#!/bin/sh\nexec ide\n")
    both = put(put(tmp_path / "both", "qoder", OURS), "qoder-cli", OURS)
    as_module = "run: '/opt/my python/bin/python' -m qoder_cli"

    def fix(*folders: Path) -> Any:
        qoder.env["PATH"] = os.pathsep.join(map(str, folders))
        return looked(qoder, "--offline")["qoder"]["fix"]

    assert fix(ide, mine) == f"put {mine} first on PATH, or use qoder-cli, the same program"
    assert fix(both, mine) == f"put {mine} first on PATH, or {as_module}"
    assert fix(ide) == f"put {mine} first on PATH, or {as_module}"
    assert fix() == f"add {mine} to PATH, or {as_module}"


@posix
def test_the_program_that_was_started_is_this_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = put(tmp_path, "qoder", "anything") / "qoder"
    assert not checks.is_this(started)
    monkeypatch.setattr(sys, "argv", [str(started)])
    assert checks.is_this(started)


def test_the_profile_of_the_environment_and_two_servers_are_told_of(qoder: Qoder) -> None:
    configured(qoder, f'[profiles.work]\ntoken = "{OTHER}"\nregion = "cn"\n[profiles.b]\nregion = "cn"\n')
    del qoder.env["QODER_PAT"]
    qoder.env["QODER_PROFILE"] = "work"
    findings = looked(qoder, "--offline")
    assert findings["profile"]["found"] == "work, from QODER_PROFILE"
    assert findings["token"]["found"].startswith("pt-****3210, from profiles.work.token in ")
    assert (
        looked(qoder, "--offline", "--profile", "work")["profile"]["found"]
        == "work, from --profile (overrides QODER_PROFILE)"
    )
    qoder.env |= {"QODER_BASE_URL": "https://a.example", "QODER_MANAGED_BASE_URL": "https://b.example"}
    qoder.env["QODER_PERSONAL_ACCESS_TOKEN"] = OTHER
    findings = looked(qoder, "--offline")
    assert findings["settings"] == {
        **findings["settings"],
        "status": "warning",
        "found": "using QODER_BASE_URL, which differs from QODER_MANAGED_BASE_URL",
    }
    assert findings["token"]["found"].startswith(
        "pt-****3210, from QODER_PERSONAL_ACCESS_TOKEN (overrides profiles.work.token"
    )


def test_several_failures_end_with_the_code_of_the_first(qoder: Qoder, tmp_path: Path) -> None:
    del qoder.env["QODER_PAT"]
    qoder.env["SSL_CERT_FILE"] = str(tmp_path / "missing")
    ran = qoder("doctor", "--offline")
    assert (ran.code, ran.errors) == (4, ["error: 2 checks failed; the first: token: no token for api.qoder.com"])


# Real processes.

if os.name == "posix":
    from qoder_cli.sandbox.wire import GENERATIONS, Generation
    from tests.support.processes import Shell, Terminal, sandbox

    @pytest.mark.parametrize("generation", GENERATIONS)
    def test_inside_the_sandbox_it_finds_nothing_in_the_way(tmp_path: Path, generation: Generation) -> None:
        with sandbox(generation) as server:
            server.world.start("dep_demo")
            shell = Shell(tmp_path, server)
            with Terminal(shell, "qoder", "doctor") as terminal:
                assert terminal.end() == 0
                # Only what has no space in it, as a path, is longer than the terminal is wide.
                assert all(len(line) <= 80 or len(line[16:].split()) == 1 for line in terminal.screen)
            ended = shell.qoder("doctor", "--json")
        rows = {each["check"]: each for each in ended.json}
        assert (ended.code, ended.err) == (0, "")
        assert rows["generation"]["found"].startswith(generation)
        assert "(this one)" in rows["qoder"]["found"]
        assert [each.name for each in tmp_path.iterdir()] == ["sandbox.url"]  # nothing was written

    def test_nothing_but_a_path_is_needed(tmp_path: Path) -> None:
        shell = Shell(tmp_path)
        shell.env = {"PATH": shell.env["PATH"]}
        ended = shell.qoder("doctor", "--offline", "--json", env={"QODER_CONFIG": "/dev/null/none"})
        assert (ended.code, ended.error["type"]) == (4, "auth")
