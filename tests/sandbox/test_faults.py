"""`qoder sandbox --fault`: what is ordered goes wrong, once or for good, where it was ordered and nowhere else."""

import httpx
import pytest

from qoder_cli.base.errors import UsageError
from qoder_cli.commands.sandbox import sandbox as sandbox_command
from qoder_cli.sandbox import faults
from tests.sandbox.desk import Desk
from tests.support import lies

KEY = {"Idempotency-Key": "k"}
TRIGGER = "/deployments/dep_demo/run"
# What is ordered for the trigger, by whether the server acts and what the client meets: an exception or a status.
MISHAPS: dict[tuple[bool, type[Exception] | int], str] = {
    (False, httpx.ConnectError): "refused",
    (False, httpx.RemoteProtocolError): "drop-before",
    (True, httpx.RemoteProtocolError): "drop-after late=0 truncated",
    (False, httpx.ReadTimeout): "hang-before",
    (True, httpx.ReadTimeout): "hang-after slow=100000",
    (True, 200): "slow=20 garbage list not-a-run echo-token skew=-3600 lagging=5 half-written=5 stranger cut=3 silent",
    (False, 302): "redirect=http://elsewhere/",
    (False, 429): "429=7",
    (False, 500): "500-bare",
    (False, 502): "html",
    (True, 502): "act-html",
    (False, 503): "503 html=503",
    (True, 503): "act-503 act-503-bare",
    (True, 504): "late-504=0",
}


@pytest.mark.parametrize(
    ("what", "acts", "met"), [(what, *met) for met, words in MISHAPS.items() for what in words.split()]
)
@pytest.mark.few(19)
def test_sandbox_fault_does_what_it_says(desk: Desk, what: str, acts: bool, met: type[Exception] | int) -> None:
    desk.faults.add(f"trigger:{what}")
    if isinstance(met, int):
        assert desk.post(TRIGGER, **KEY).status_code == met
    else:
        with pytest.raises(met):
            desk.post(TRIGGER, **KEY)
    ours = [run.id for run in desk.world.started()]
    assert len(ours) == acts
    for seen in desk.world.requests:  # none, where the connection is refused
        assert (seen.path, seen.key, seen.body) == (f"/api/v1/cloud{TRIGGER}", "k", b"{}")
        assert seen.runs == ours


def test_sandbox_has_no_fault_that_is_not_tried_and_told() -> None:
    offered, tried = {*faults.DISRUPTIONS, *faults.CONDITIONS}, " ".join(MISHAPS.values()).split()
    assert {*offered, *lies.ONCE, *lies.LASTING} - {what.partition("=")[0] for what in tried} == set()
    assert [word for word in offered if word not in str(sandbox_command.__doc__)] == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("503", "trigger"),
        ("nowhere:503", "trigger, run, list, deployment, session, events, stream, agent, any"),
        ("any:", "drop-after"),
        ("any:explode", "drop-after"),
        ("any:late", "late=3"),
        ("any:slow=fast", "slow=3"),
        ("any:drop-after=3", "no value"),
        ("any:429=a\nb", "printable"),
        ("any:503*00", "TIMES"),
        ("any:late=99999999999", "late=3"),
        ("any:late-503", "late-503=3"),
        ("any:garbage", "truncated"),
    ],
)
def test_sandbox_refuses_what_is_no_fault(text: str, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        faults.parse(text)
    assert told in caught.value.message


def test_sandbox_faults_meet_only_their_own_requests(desk: Desk) -> None:
    run = desk.run()
    paths = {
        "run": f"/deployments/dep_demo/runs/{run['id']}",
        "list": "/deployments/dep_demo/runs",
        "deployment": "/deployments/dep_demo",
        "session": f"/sessions/{run['session_id']}",
        "events": f"/sessions/{run['session_id']}/events",
        "stream": f"/sessions/{run['session_id']}/events/stream",
    }
    met = {}
    for where in paths:
        desk.faults.add(f"{where}:503")
        met[where] = [name for name, path in paths.items() if desk.status(path) == 503]
    assert met == {where: [where] for where in paths}


def test_sandbox_honours_a_key_for_the_request_it_belongs_to(desk: Desk) -> None:
    first = desk.post(TRIGGER, **KEY)
    desk.clock.sleep(10)
    assert desk.post(TRIGGER, **KEY).content == first.content
    for path, body in (("/deployments/dep_minute/run", {}), (TRIGGER, {"other": 1})):
        assert desk.refused("POST", path, json=body, headers=KEY) == (409, "conflict_error", None)
    assert [run.id for run in desk.world.started()] == [first.json()["id"]]


@pytest.mark.parametrize(
    ("fault", "seconds", "created"), [("late=10", 10, "08:54:16"), ("late-504=150", 150, "08:56:36")]
)
def test_sandbox_may_act_late(desk: Desk, fault: str, seconds: int, created: str) -> None:
    desk.faults.add(f"trigger:{fault}")
    if "504" in fault:
        answer = desk.post(TRIGGER)
        assert (answer.status_code, answer.json()["error"]["type"]) == (504, "api_error")
        assert "retry-after" not in answer.headers
    else:
        with pytest.raises(httpx.RemoteProtocolError):
            desk.post(TRIGGER)
    desk.clock.sleep(seconds - 1)
    assert desk.ids("/deployment_runs") == []
    desk.clock.sleep(5)
    [run] = desk.get("/deployment_runs")["data"]
    assert run["created_at"][:19] == f"2026-06-14T{created}"
    assert desk.world.requests[0].runs == [run["id"]]


def test_sandbox_may_have_replicas_that_lag(desk: Desk) -> None:
    desk.faults.add("any:lagging=3")
    run = desk.run()
    session = f"/sessions/{run['session_id']}"
    vault = desk.done("/vaults", display_name="a")["id"]
    paths = (f"/deployment_runs/{run['id']}", session, f"{session}/events", f"/vaults/{vault}")
    assert [desk.status(path) for path in paths] == [404] * 4
    assert desk.ids("/deployment_runs") == desk.ids("/sessions") == []
    assert desk.ids("/vaults") == ["vault_team"]
    desk.clock.sleep(3.01)
    assert [desk.status(path) for path in paths] == [200] * 4
    assert len(desk.ids("/vaults")) == 2
    assert [desk.status(session, "DELETE"), desk.status(session)] == [200, 200]  # it is still shown
    desk.clock.sleep(3)
    assert desk.status(session) == 404
