"""`qoder run why`: how a run ended, and what changed since its deployment last worked."""

import json
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from qoder_cli.sandbox.records import stamp
from qoder_cli.sandbox.scripts import Behaviour, turn
from qoder_cli.sandbox.wire import GENERATIONS, Generation
from qoder_cli.sandbox.world import World
from tests.conftest import TOKEN, Qoder, Ran
from tests.support.inprocess import WorldTransport
from tests.support.wire import api_error

WORKS = Behaviour(turn(seconds=2, message="Done."))
FAILS = Behaviour(turn(seconds=2, reason="retries_exhausted"))
BREAKS = Behaviour(error=("environment_archived_error", "The environment is archived."))
HOUR = 3600.0
PLANTED = "planted-secret-0815"
MEMORY = {"type": "memory_store", "memory_store_id": "memstore_project", "access": "read_write"}


class Team:
    """A deployment `nightly` that ran, and what was changed since; each step takes an hour."""

    def __init__(self, qoder: Qoder, generation: Generation) -> None:
        self.qoder = qoder
        self.world = World(generation=generation, token=TOKEN, clock=qoder.clock.now)
        self.lie: Callable[[httpx.Request], httpx.Response | None] = lambda request: None
        self.retell: dict[str, Callable[[Any], object]] = {}  # what is read, by the end of its path, changed in place
        qoder.transport = WorldTransport(
            self.world,
            sleep=qoder.clock.sleep,
            lie=lambda request, true: self.lie(request) or self._retold(request, true()),
        )
        words = ["--name", "nightly", "--agent", "writer", "--env", "default", "-m", "Report.", "--budget", "5"]
        self.deployment = self("deploy", "create", *words, "-q").out.strip()

    def __call__(self, *words: str) -> Ran:
        self.qoder.clock.sleep(HOUR)
        ran = self.qoder(*words)
        assert ran.code == 0, ran.err
        return ran

    def _retold(self, request: httpx.Request, response: httpx.Response) -> httpx.Response:
        changes = [change for ending, change in self.retell.items() if request.url.path.endswith(ending)]
        if request.method != "GET" or response.status_code != 200 or not changes:
            return response
        value = json.loads(response.read())
        for change in changes:
            change(value)
        return httpx.Response(200, json=value)

    def refuse(self, is_refused: Callable[[str], bool], code: int = 404, kind: str = "not_found_error") -> None:
        """Refuse what is asked at these paths, with their query, from now on."""
        answer = httpx.Response(code, json=api_error(code, kind, "No.")[1])
        self.lie = lambda request: answer if is_refused(request.url.raw_path.decode()) else None

    def new_agent(self, *words: str) -> None:
        """Change the agent, and let the deployment use what it is now."""
        self("agent", "update", "writer", *(words or ("--system", "Answer in French.")))
        self("deploy", "update", "nightly", "--agent", "writer")

    def session_of(self, run: str) -> str:
        return str(self("run", "get", run, "--json").json["session_id"])

    def ran(self, behaviour: Behaviour, times: int = 1) -> str:
        """Return the id of the last of some runs, an hour apart, that have ended."""
        run = ""
        for _ in range(times):
            self.qoder.clock.sleep(HOUR)
            with self.world.lock:
                self.world.deployments[self.deployment].behaviour = behaviour
                run = self.world.start(self.deployment, origin="other").id
        self.qoder.clock.sleep(HOUR)
        return run

    def why(self, run: str) -> Any:
        """Return why a run ended so, of which the change must stand in the first five lines."""
        why = self("run", "why", run, "--json").json
        lines = self("run", "why", run).out.splitlines()
        assert not any("because" in line for line in lines)
        for change in why["changed"][:1]:
            assert any(line.split()[:1] == [change["what"]] for line in lines[:5]), lines
        return why


@pytest.fixture(params=GENERATIONS)
def team(request: pytest.FixtureRequest, qoder: Qoder) -> Team:
    return Team(qoder, request.param)


def changes(why: Any) -> list[tuple[str, str]]:
    return [(change["what"], change["says"]) for change in why["changed"]]


def test_run_why_shows_a_new_version_of_the_agent(team: Team) -> None:
    before, completed = team("deploy", "get", "nightly", "--json").json["agent"], team.ran(WORKS)
    team.new_agent("--system", "Answer in French.", "--model", "auto")
    why = team.why(team.ran(FAILS))
    assert (why["compared_with"], why["is_whole"], why["unknown"]) == (completed, True, [])
    [(what, says)] = changes(why)
    assert (what, says.split(": ")[1]) == ("agent", "model, system")
    assert any("Answer in French." in line for line in why["changed"][0]["lines"])
    assert why["next"][1:4] == ["deploy", "update", team.deployment]
    assert team.qoder(*why["next"][1:]).code == 0
    assert team("deploy", "get", "nightly", "--json").json["agent"] == before


def test_run_why_shows_that_a_colleague_changed_the_environment(team: Team) -> None:
    team.ran(WORKS)
    team("env", "update", "default", "--allow-host", "a.example.com")
    failed = team.ran(FAILS)
    [(what, says)] = changes(team.why(failed))
    assert (what, says.startswith("changed at "), "is not kept" in says) == ("environment", True, True)
    team("env", "archive", "default", "--yes")
    why = team.why(failed)
    assert why["next"] == why["check"][0]["fix"] == ["qoder", "deploy", "update", team.deployment, "--env", "ENV"]


def test_run_why_cannot_tell_of_an_environment_that_was_changed_after_the_run(team: Team) -> None:
    team.ran(WORKS)
    failed = team.ran(FAILS)
    team("env", "update", "default", "--allow-host", "a.example.com")
    why = team.why(failed)
    assert (changes(why), [unknown["what"] for unknown in why["unknown"]]) == ([], ["environment"])
    assert "after the run" in why["unknown"][0]["says"]


def test_run_why_shows_another_prompt_budget_and_environment(team: Team) -> None:
    other = team("env", "create", "--name", "other", "-q").out.strip()
    team.ran(WORKS)
    team("deploy", "update", "nightly", "-m", "Report in one line.", "--budget", "0.01", "--env", other)
    why = team.why(team.ran(FAILS))
    assert [what for what, _ in changes(why)] == ["prompt", "environment", "budget"]
    assert changes(why)[1][1].endswith(f" → {other}")
    assert why["changed"][0]["lines"] == ['~ message: "Report." -> "Report in one line."']


def test_run_why_says_that_nothing_changed(team: Team) -> None:
    team.ran(WORKS)
    failed = team.ran(FAILS)
    why = team.why(failed)
    assert (why["changed"], why["unknown"], why["next"][1:]) == ([], [], ["run", "retry", failed])
    assert "all that was looked at is as it was then" in team("run", "why", failed).out


def test_run_why_says_that_nothing_completed_before(team: Team) -> None:
    first, second = team.ran(FAILS), team.ran(FAILS)
    assert "It has no earlier run." in team("run", "why", first).out
    why = team.why(second)
    assert (why["compared_with"], why["runs_before"], why["is_whole"]) == (None, 1, True)
    assert (why["recurrence"]["failed"], why["recurrence"]["runs"]) == (2, 2)
    asks = team.ran(team.world.deployments["dep_ask"].behaviour)
    assert team.why(asks)["next"][1:] == ["run", "pending", asks]
    team.refuse(lambda path: "/events" in path and team.world.generation == "legacy", 403, "permission_error")
    assert team.world.generation == "current" or team.why(asks)["unknown"][0]["what"] == "answer"
    team.lie = lambda request: None
    works = team.ran(Behaviour(turn(seconds=86400)))
    assert team.why(works)["next"][1:] == ["run", "wait", works]


def test_run_why_looks_no_further_than_its_bounds(team: Team) -> None:
    team.ran(WORKS)
    failed = team.ran(FAILS, times=500)
    before = len(team.world.requests)
    why = team.why(failed)
    assert (why["compared_with"], why["runs_before"] <= 200, why["is_whole"]) == (None, True, False)
    assert len(team.world.requests) - before <= 80  # it was asked twice
    assert "of the newest " in " ".join(team("run", "why", failed).out.split())


def test_run_why_shows_what_another_session_wrote_into_its_memory(team: Team) -> None:
    team.world.deployments[team.deployment].fields["resources"] = [MEMORY]
    team.ran(WORKS)
    by = {"type": "session_actor", "session_id": "sess_other"}
    version = {"path": "notes.md", "operation": "modified", "created_by": by, "memory_id": "mem_1"}
    team.world.keep("memory_stores.memory_versions", "memstore_project", at=team.world.now(), **version)
    failed = team.ran(FAILS)
    [(what, says)] = changes(team.why(failed))
    assert (what, says.rpartition(" at ")[0]) == ("memory", "notes.md modified by session sess_other")

    def unknowns_with(**second: str) -> Any:
        rows = [version | {"created_at": stamp(team.world.now() - HOUR)} | about for about in ({}, second)]
        team.retell["/memory_versions"] = lambda page: page.update(data=rows, has_more=True)
        return unknowns(team.why(failed))

    assert unknowns_with(created_at="2026-01-01T00:00:00Z") == []
    assert unknowns_with() == [("memory", "memstore_project: more was written than one page shows")]


def test_run_why_shows_what_failed_elsewhere_at_that_hour(team: Team) -> None:
    team.ran(WORKS)
    others = team.world.seed_deployments(3, behaviour=BREAKS)
    failed = team.ran(BREAKS)
    unlike = team.world.seed_deployments(1, behaviour=Behaviour(error=("unknown_error", "It did not begin.")))
    for other in [*others, *unlike]:
        team.world.start(other, origin="other")
    why = team.why(failed)
    assert sorted(why["elsewhere"]) == sorted(other.id for other in others)
    assert "3 other deployments failed with it within an hour" in team("run", "why", failed).out
    team.retell["/deployment_runs"] = lambda page: [page.pop(name, None) for name in ("has_more", "next_page")]
    assert ("other deployments", "there may have been more runs than one page shows") in unknowns(team.why(failed))


@pytest.mark.parametrize(
    ("gone", "path", "how"),
    [
        *(("session", r"/sessions/\w+$", ()), ("version", "version=", ()), ("deployment", r"/deployments/\w+$", ())),
        *(("memory", "/memory_versions", how) for how in ((), (503, "api_error"))),
    ],
)
def test_run_why_says_what_cannot_be_read(team: Team, gone: str, path: str, how: Any) -> None:
    team.world.deployments[team.deployment].fields["resources"] = [MEMORY]
    team.ran(WORKS)
    team.new_agent()
    failed = team.ran(FAILS)
    team.refuse(lambda asked: re.search(path, asked) is not None, *how)
    why = team.why(failed)
    assert gone in " ".join(f"{unknown['what']} {unknown['says']}" for unknown in why["unknown"])
    assert [what for what, _ in changes(why)] == ["agent"]


def test_run_why_keeps_hostile_text_and_long_differences_inert(team: Team) -> None:
    team.ran(WORKS)
    team.new_agent("--system", "\x1b]0;x\x07" + "line\n" * 50_000)
    ran = team("run", "why", team.ran(FAILS))
    assert "\x1b" not in ran.out
    assert len(ran.out.splitlines()) < 90


def test_run_why_sends_no_more_requests_than_it_says(team: Team) -> None:
    resources = [{"type": "memory_store", "memory_store_id": f"memstore_{n}"} for n in range(40)]
    team.ran(WORKS)
    failed = team.ran(FAILS, times=30)
    team.world.deployments[team.deployment].fields["resources"] = resources
    before = len(team.world.requests)
    why = team("run", "why", failed, "--json").json
    assert len(team.world.requests) - before <= 40
    assert any("too many requests" in unknown["says"] for unknown in why["unknown"])


def unknowns(why: Any) -> list[tuple[str, str]]:
    return [(unknown["what"], unknown["says"]) for unknown in why["unknown"]]


def test_run_why_reads_a_list_of_runs_in_any_order_and_each_run_once(team: Team) -> None:
    team.ran(WORKS)
    completed = team.ran(WORKS)
    team.ran(FAILS, times=2)
    failed = team.ran(FAILS)

    def change(answer: Any) -> None:
        answer["data"] = [run for run in reversed(answer["data"]) for _ in range(2)]

    team.retell["/runs"] = change
    why = team.why(failed)
    assert (why["compared_with"], why["is_whole"]) == (completed, True)
    assert (why["recurrence"]["failed"], why["recurrence"]["runs"]) == (3, 5)


def test_run_why_finds_what_was_before_an_old_run(team: Team) -> None:
    completed, failed = team.ran(WORKS), team.ran(FAILS)
    team.ran(FAILS, times=210)
    assert team.why(failed)["compared_with"] == completed


def test_run_why_says_that_a_run_in_between_may_have_completed(team: Team) -> None:
    completed, unread = team.ran(WORKS), team.ran(WORKS)
    session, failed = team.session_of(unread), team.ran(FAILS)
    team.refuse(lambda asked: session in asked, 500, "api_error")
    why = team.why(failed)
    if why["compared_with"] == completed:  # where only the session tells
        assert unknowns(why) == [("runs", f"how 1 run after {completed} ended is unknown: it may have completed")]
        assert why["next"][1:3] == ["run", "logs"]


def test_run_why_does_not_take_what_it_looked_at_for_30_days(team: Team) -> None:
    team.ran(FAILS, times=130)
    team.ran(WORKS)
    failed = team.ran(FAILS)
    assert team.why(failed)["recurrence"]["is_whole"] is False
    assert "30 days" not in team("run", "why", failed).out


def test_run_why_says_when_an_error_ended_although_another_followed(team: Team) -> None:
    for behaviour in (FAILS, WORKS, FAILS, BREAKS):
        team.ran(behaviour)
    completed = team.ran(WORKS)
    recurrence = team.why(team.ran(FAILS))["recurrence"]
    unread = recurrence["unknown"]  # the first one, where only its session tells
    assert (unread, recurrence["failed"] + unread, recurrence["runs"] + unread) in ((0, 3, 6), (1, 3, 6))
    assert (recurrence["is_whole"], recurrence["ended_by"]) == (True, completed)


@pytest.mark.parametrize("has_session", [True, False])
def test_run_why_does_not_take_a_later_edit_for_a_change(team: Team, *, has_session: bool) -> None:
    team.ran(WORKS)
    failed = team.ran(FAILS if has_session else BREAKS)
    if has_session:
        gone = team.session_of(failed)
        team.refuse(lambda asked: asked.endswith(gone))
    team.new_agent()
    team("deploy", "update", "nightly", "--budget", "9")
    why = team.why(failed)
    assert changes(why) == []
    assert ("deployment", f"what it gave run {failed}: it was changed since") in unknowns(why)


def test_run_why_compares_a_run_without_a_session_with_its_deployment(team: Team) -> None:
    team.world.deployments[team.deployment].fields |= {"resources": [MEMORY], "environment_variables": "A=1"}
    team.ran(WORKS)
    breaks = Behaviour(error=("unknown_error", "It did not begin."))
    assert changes(team.why(team.ran(breaks))) == []
    team.world.deployments[team.deployment].fields["environment_variables"] = "A=2"
    why = team.why(team.ran(breaks))
    shown = [("variables", "A")]
    assert changes(why) + unknowns(why) in (shown, [("variables", f"deployment {team.deployment} does not show it")])


def without_version(answer: Any) -> None:
    if isinstance(answer.get("agent"), dict):
        answer["agent"].pop("version")


def version_as_text(answer: Any) -> None:
    if isinstance(answer.get("agent"), dict):
        answer["agent"]["version"] = str(answer["agent"]["version"])


def without_settings(answer: Any) -> None:
    for name in ("vault_ids", "resources", "environment_id", "environment_variables"):
        answer.pop(name, None)


def newest_first(answer: Any) -> None:
    later = {"id": "evt_later", "type": "user.message", "content": "Go on.", "processed_at": "2027-12-01T00:00:00Z"}
    answer["data"] = [later, *sorted(answer["data"], key=lambda event: event["processed_at"], reverse=True)]


def newest_first_of_some(answer: Any) -> None:
    newest_first(answer)
    for name in ("has_more", "next_page"):
        answer.pop(name, None)


# What is told otherwise, how, and what cannot be told then; nothing has changed.
TOLD: dict[str, tuple[tuple[str, ...], Callable[[Any], object], list[tuple[str, str]]]] = {
    "no version": (("run", "session"), without_version, [("agent", "the runs do not say which version it was")]),
    "a version as text": (("run", "session"), version_as_text, []),
    "no settings": (("first session",), without_settings, [("environment", "session {} does not show it")]),
    "the newest event first": (("events",), newest_first, []),
    "the newest event first, perhaps of more": (
        ("events",),
        newest_first_of_some,
        [("prompt", "the first message is not shown")],
    ),
    "no times": (
        ("environment",),
        lambda answer: answer.pop("updated_at"),
        [("environment", "{}: it does not say when it was changed")],
    ),
}


@pytest.mark.parametrize("case", TOLD)
def test_run_why_takes_nothing_for_a_change_that_is_only_told_otherwise(team: Team, case: str) -> None:
    paths, change, unknown = TOLD[case]
    first, failed = team.ran(WORKS), team.ran(FAILS)
    session, environment = team.session_of(failed), team("env", "get", "default", "--json").json["id"]
    ends = {"run": failed, "session": session, "events": f"{session}/events", "environment": environment}
    ends["first session"] = team.session_of(first)
    team.retell = {ends[path]: change for path in paths}
    why = team.why(failed)
    assert (changes(why), unknowns(why)) == ([], [(what, says.format(ends[paths[0]])) for what, says in unknown])


def test_run_why_lists_few_credentials_and_no_secret_and_cannot_tell_of_later_changes(team: Team) -> None:
    vault = team("vault", "create", "--name", "keys", "-q").out.strip()
    team("deploy", "update", "nightly", "--vault", vault)

    def keep(host: str) -> None:
        url = f"https://user:word-{PLANTED}@{host}/mcp?token={PLANTED}"
        auth = {"type": "static_bearer", "mcp_server_url": url}
        team.world.keep("vaults.credentials", vault, at=team.world.now(), auth=auth)

    keep("old.example")
    team.ran(WORKS)
    failed = team.ran(FAILS)
    keep("since.example")
    team.retell["/credentials"] = lambda answer: [
        row.update(updated_at=stamp(team.world.now())) for row in answer["data"]
    ]
    why = team.why(failed)
    assert (changes(why), [what for what, _ in unknowns(why)]) == ([], ["credential"])
    team.retell.clear()
    for number in range(60):
        keep(f"new{number}.example")
    why = team.why(team.ran(FAILS))
    assert changes(why)[-1] == ("credential", "56 more")
    assert PLANTED not in json.dumps(why)


def test_run_why_does_not_go_back_to_the_agent_that_is_back(team: Team) -> None:
    team.ran(WORKS)
    agent = team("deploy", "get", "nightly", "--json").json["agent"]
    team.new_agent()
    failed = team.ran(FAILS)
    team("deploy", "update", "nightly", "--agent", f"{agent['id']}@{agent['version']}")
    assert team.why(failed)["next"][1:3] == ["run", "logs"]


def test_run_why_does_not_read_a_long_log_for_the_last_message(team: Team) -> None:
    team.ran(WORKS)
    failed = team.ran(FAILS)
    path, at = f"{team.session_of(failed)}/events", stamp(team.world.now())
    asked = []

    def lie(request: httpx.Request) -> httpx.Response | None:
        if not request.url.path.endswith(path) or "agent.message" not in str(request.url):
            return None
        asked.append(request)
        assert len(asked) < 40
        ids = [f"evt_{len(asked)}_{number}" for number in range(100)]
        rows = [{"id": id, "type": "agent.tool_use", "name": "Bash", "input": {}, "processed_at": at} for id in ids]
        cursors = {"first_id": ids[0], "last_id": ids[-1], "next_page": f"page_{len(asked)}", "has_more": True}
        return httpx.Response(200, json={"data": rows, **cursors})

    team.lie = lie
    ran = team.qoder("run", "why", failed, "--json")
    assert ran.code == 0, ran.err
    assert "last message" in dict(unknowns(ran.json))


@pytest.mark.parametrize(
    ("of", "unread"), [("", {"deployment", "credential", "environment"}), ("/credentials", {"credential"})]
)
def test_run_why_asks_a_server_that_fails_for_little_more(team: Team, of: str, unread: set[str]) -> None:
    vaults = [team("vault", "create", "--name", f"keys-{number}", "-q").out.strip() for number in range(8)]
    team("deploy", "update", "nightly", *(word for vault in vaults for word in ("--vault", vault)))
    team.ran(WORKS)
    failed = team.ran(FAILS)
    before = team.qoder.clock.now()
    asked: list[str] = []

    def is_refused(path: str) -> bool:
        asked.append(path)
        return of in path and not any(part in path for part in (failed, "/sessions/", "/runs"))

    team.refuse(is_refused, 503, "api_error")
    why = team.qoder("run", "why", failed, "--json").json
    assert (len(asked) <= 40, team.qoder.clock.now() - before < 30) == (True, True)
    assert {what for what, _ in unknowns(why)} >= unread


def test_run_why_counts_no_run_that_is_going_on_and_says_when_it_began(team: Team) -> None:
    team.ran(WORKS)
    going = team.ran(Behaviour(turn(seconds=900_000)))
    why = team.why(team.ran(FAILS))
    assert (why["recurrence"]["runs"], why["recurrence"]["unknown"], why["unknown"]) == (2, 0, [])
    assert "nightly: running, begun " in team("run", "why", going).out
