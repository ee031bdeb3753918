"""`qoder env create` and `update`, in the user's words: the network is always said, and config is sent whole."""

import json
from pathlib import Path
from typing import Any

import pytest

from qoder_cli.nouns.edits.difference import missing, same
from qoder_cli.nouns.edits.forms import form_of, normal
from qoder_cli.nouns.table import NOUNS
from tests.conftest import Qoder
from tests.support.things import FAILED, Things, ok, refusal

SERVED_BY = ("current",)
OPEN = {"type": "cloud", "networking": {"type": "unrestricted"}}
LIMITED = {"type": "limited", "allowed_hosts": ["example.com"], "allow_mcp_servers": True}
CONFIG = {
    "type": "cloud",
    "networking": LIMITED,
    "packages": {"pip": ["pandas", "numpy"], "apt": []},
    "setup_script": "echo hi",
}
DATA: dict[str, Any] = {
    "id": "env_1",
    "type": "environment",
    "name": "data",
    "description": "For reports",
    "config": CONFIG,
    "metadata": {"team": "core"},
    "archived_at": None,
}
NEW = ("env", "create", "--name", "new")
UPDATE = ("env", "update", "data")


@pytest.fixture
def service(service: Things) -> Things:
    service.keep("environments", DATA)
    return service


def sent(service: Things) -> dict[str, Any]:
    """Return the config of the only write."""
    [body] = service.sent
    config: dict[str, Any] = body["config"]
    return config


def data(service: Things) -> dict[str, Any]:
    """Return the environment that updates are about, as it is now."""
    return service.thing("env_1")


def limited(**more: Any) -> dict[str, Any]:
    return {"type": "cloud", "networking": {"type": "limited", **more}}


@pytest.mark.parametrize(
    ("words", "config", "said"),
    [
        ((), OPEN, "network: open"),
        (("--network", "open"), OPEN, ""),
        (("--network", "limited"), limited(), ""),
        (("--allow-host", "example.com"), limited(allowed_hosts=["example.com"]), "network: limited"),
        (("--allow-host", "*.example.com"), None, "network: limited"),
        (("--setup", "echo hi"), OPEN | {"setup_script": "echo hi"}, "network: open"),
        (("--self-hosted",), {"type": "self_hosted"}, ""),
        (
            ("--pip", "pandas==2.2", "--pip", "numpy", "--npm", "@scope/tool"),
            OPEN | {"packages": {"pip": ["pandas==2.2", "numpy"], "npm": ["@scope/tool"]}},
            "network: open",
        ),
    ],
)
def test_env_create_always_sends_and_says_the_network(
    qoder: Qoder, service: Things, words: tuple[str, ...], config: dict[str, Any] | None, said: str
) -> None:
    ran = qoder(*NEW, *words, "--json")
    assert ran.code == 0
    assert list(missing(form_of(NOUNS["env"]), {"config": sent(service)}, ran.json)) == []
    if config is not None:
        assert sent(service) == config
    assert said in ran.err
    assert ("network:" in ran.err) is bool(said)


def test_env_create_lets_options_change_a_config_of_a_file(qoder: Qoder, service: Things, tmp_path: Path) -> None:
    file, setup = tmp_path / "env.yaml", tmp_path / "setup.sh"
    file.write_text("name: new\nconfig:\n  networking: {type: limited}\n  packages: {pip: [pandas]}\n")
    setup.write_text("make\n")
    words = ("--pip", "numpy", "--allow-host", "example.com", "--setup", f"@{setup}")
    assert qoder("env", "create", "-f", str(file), *words).code == 0
    assert sent(service) == {
        "type": "cloud",
        "networking": {"type": "limited", "allowed_hosts": ["example.com"]},
        "packages": {"pip": ["pandas", "numpy"]},
        "setup_script": "make\n",
    }


BAD: list[tuple[Any, str]] = [
    ({}, "config: is empty, and the API refuses that"),
    ({"type": "self_hosted", "networking": {"type": "limited"}}, "config: is self-hosted, and takes no networking"),
    ({"type": "cloud", "setup_script": "x" * (64 * 1024 + 1)}, "setup_script: has more than 65536 characters"),
    ([], "config: must be a mapping of fields"),
]


@pytest.mark.parametrize("words", [("create", "--name", "new"), ("update", "data")])
def test_env_sends_no_bad_config(qoder: Qoder, service: Things, words: Any) -> None:
    for config, message in BAD:
        qoder.stdin = json.dumps({"config": config})
        ran = qoder("env", *words, "-f", "-", "--json")
        assert (ran.code, message in ran.error["message"], service.asked) == (2, True, []), message


def test_env_create_takes_64_kb_of_setup_by_bytes(qoder: Qoder, service: Things) -> None:
    assert qoder(*NEW, "--setup", "ä" * (32 * 1024)).code == 0
    assert qoder(*NEW, "--setup", "ä" * (32 * 1024) + "x").code == 2


KEPT = CONFIG | {"packages": {"pip": ["pandas", "numpy"]}}
NULLS = {"type": "cloud", "networking": None, "packages": {"pip": None, "apt": ["git"]}, "setup_script": None}
APT = {"type": "cloud", "packages": {"apt": ["git"]}}
# What an environment has, the options (a file has APT), and what is sent.
UPDATES: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
    (CONFIG, "--pip polars", KEPT | {"packages": {"pip": ["pandas", "numpy", "polars"]}}),
    (CONFIG, "--npm left", KEPT | {"packages": {"pip": ["pandas", "numpy"], "npm": ["left"]}}),
    (
        *(CONFIG, "--allow-host a.example.com"),
        KEPT | {"networking": LIMITED | {"allowed_hosts": ["example.com", "a.example.com"]}},
    ),
    (CONFIG, "--network open", KEPT | {"networking": {"type": "unrestricted"}}),
    (CONFIG, "--setup make", KEPT | {"setup_script": "make"}),
    (CONFIG, "--setup @/dev/null", {name: KEPT[name] for name in KEPT if name != "setup_script"}),
    (CONFIG, "-f -", APT | {"networking": LIMITED}),
    ({"type": "cloud"}, "--pip pandas", limited() | {"packages": {"pip": ["pandas"]}}),
    (NULLS, "--pip polars", limited() | {"packages": {"apt": ["git"], "pip": ["polars"]}}),
]


@pytest.mark.parametrize(("before", "words", "config"), UPDATES)
def test_env_update_sends_config_whole(qoder: Qoder, service: Things, before: Any, words: str, config: Any) -> None:
    data(service)["config"], qoder.stdin = before, json.dumps({"config": APT})
    ran = qoder(*UPDATE, *words.split(), "--json")
    assert (ran.code, sent(service)) == (0, config)
    assert ran.json == data(service)
    assert same(form_of(NOUNS["env"]), normal({"config": ran.json["config"]}), normal({"config": sent(service)}))
    assert "config." in ran.err


def test_env_update_gives_a_self_hosted_one_nothing_of_the_cloud(qoder: Qoder, service: Things) -> None:
    assert qoder(*UPDATE, "--self-hosted").code == 0
    assert sent(service) == {"type": "self_hosted"}
    ran = qoder(*UPDATE, "--pip", "pandas", "--json")
    assert ran.code == 2
    assert "a self-hosted environment does not take --pip" in ran.error["message"]


@pytest.mark.parametrize(
    "words",
    [
        ("--pip", "pandas"),
        ("--allow-host", "example.com"),
        ("--network", "limited"),
        ("--setup", "echo hi"),
        ("--metadata", "team=core"),
    ],
)
def test_env_update_sends_nothing_where_all_is_so(qoder: Qoder, service: Things, words: tuple[str, ...]) -> None:
    ran = qoder(*UPDATE, *words, "--json")
    assert (ran.code, ran.json, service.sent) == (0, DATA, [])
    assert "env_1 is already up to date" in ran.err


# `qoder env work`: what waits for workers, stopped by people, and worked on by programs.

ITEM = "/environments/env_workers/work/work_demo"
POLL = "/environments/env_workers/work/poll"


def work(qoder: Qoder, verb: str, *words: str, item: bool = True) -> Any:
    return qoder("env", "work", verb, "workers", *(["work_demo"] if item else []), *words)


def test_env_work_stats_shows_the_queue(qoder: Qoder, service: Things) -> None:
    ran = work(qoder, "stats", item=False)
    assert ran.out == "depth\t1\npending\t0\noldest_queued_at\t2026-12-16T08:00:00Z\nworkers_polling\t0\n"


def test_env_work_stop_stops_an_item_that_has_begun_at_once_only_with_force(qoder: Qoder, service: Things) -> None:
    assert work(qoder, "ack").code == 0
    assert work(qoder, "stop", "--json").json["state"] == "stopping"
    assert work(qoder, "stop", "--force", "--json").json["state"] == "stopped"
    assert service.sent[1:] == [{}, {"force": True}]


def test_env_work_lists_no_commands_of_workers(qoder: Qoder) -> None:
    shown = qoder("env", "work", "--help").out
    assert "stats" in shown
    for verb in ("poll", "ack", "heartbeat", "update"):
        assert f"\n  {verb}" not in shown
        assert qoder("env", "work", verb, "--help").code == 0


def test_env_work_poll_asks_once_and_shows_no_secret(qoder: Qoder, service: Things) -> None:
    service.thing("work_demo")["secret"] = "s3cret-of-a-worker"
    words = ("--worker", "w1", "--block-ms", "500")
    given = work(qoder, "poll", *words, "--json", item=False).json
    assert (given["id"], given["secret"]) == ("work_demo", "s3cret-of-a-worker")
    assert service.requests[-1].headers["worker-id"] == "w1"
    assert service.requests[-1].url.params["block_ms"] == "500"
    ran = work(qoder, "poll", *words, "--json", item=False)
    assert (ran.code, ran.json, "no work is waiting" in ran.err) == (0, None, True)
    assert work(qoder, "poll", *words, "-q", item=False).out == ""
    service.instead[f"GET {POLL}"] = [ok(given), FAILED]
    assert "s3cret" not in work(qoder, "poll", *words, item=False).out
    service.requests.clear()
    assert qoder("env", "work", "poll", "env_workers", *words).code == 7
    assert service.asked == [f"GET {POLL}"]


@pytest.mark.parametrize("answer", [{}, {"id": "env_1", "type": "environment"}, [], "x", 5, False])
def test_env_work_poll_takes_nothing_else_for_an_item(qoder: Qoder, service: Things, answer: Any) -> None:
    service.instead[f"GET {POLL}"] = [ok(answer)]
    ran = work(qoder, "poll", "--worker", "w1", "--json", item=False)
    assert (ran.code, ran.out) == (7, "")


def test_env_work_heartbeat_says_which_was_the_last(qoder: Qoder, service: Things) -> None:
    assert work(qoder, "ack").code == 0
    last = work(qoder, "heartbeat", "--json").json["last_heartbeat"]
    assert dict(service.requests[-1].url.params) == {"expected_last_heartbeat": "NO_HEARTBEAT"}
    assert work(qoder, "heartbeat", "--expected", last, "--ttl", "60").code == 0
    assert dict(service.requests[-1].url.params) == {"expected_last_heartbeat": last, "desired_ttl_seconds": "60"}


@pytest.mark.parametrize(
    ("answer", "code"), [(refusal(412, "x", "another worker took over"), 6), (FAILED, 9), (refusal(502, "", ""), 9)]
)
def test_env_work_heartbeat_does_not_know_it_was_taken(qoder: Qoder, service: Things, answer: Any, code: int) -> None:
    assert work(qoder, "ack").code == 0
    service.never = [answer]
    assert work(qoder, "heartbeat").code == code
    assert service.writes == [f"POST {ITEM}/ack", f"POST {ITEM}/heartbeat"]


def test_env_work_update_sets_metadata(qoder: Qoder, service: Things) -> None:
    assert work(qoder, "update", "--metadata", "host=b3", "--json").json["metadata"] == {"host": "b3"}
    assert work(qoder, "update").code == 2
