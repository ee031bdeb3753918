"""Servers that tell their history badly: named cases, and drawn ones. `tests.tools.servers` plays thousands.

`pytest test_servers.py --hypothesis-profile=thorough` draws a thousand servers.
"""

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import examples
from tests.support.cells import checkerboard
from tests.support.hostile import ATTACKS, WAYS, Server
from tests.tools.playing import alone
from tests.tools.servers import Cell, draw, play


def case(flow: str = "wait", **odd: Any) -> Any:
    cell = Cell(Server(**odd), flow)
    return pytest.param(cell, id=str(cell))


# A 500 of a run that did start, with everything that hides it.
LOST = [
    *(case(answer="500", date=skew) for skew in (-7200.0, 2.0)),
    *(case(answer="500", lag=lag) for lag in (10.0, 20.0)),
    *(case(answer="500", created=created) for created in ("null", "number", "absent", "nonsense")),
    *(case(answer="500", context=context) for context in ("null", "other", "number")),
    case(answer="500", order="oldest", older=150),
    case(answer="500", order="shuffled", older=150),
    case(answer="500", newer=110, paging="after_id ignored"),
    case(answer="500", newer=260),
    case(answer="500", order="oldest", older=150, paging="neither"),
    case(answer="503", acts=3.0, lag=10.0),
    *(case(answer="500", forgets=True, strangers=strangers) for strangers in ((), (3.3,))),
    *(case("resend", answer="reset", forgets=True, strangers=strangers) for strangers in ((), (3.3,))),
    case(answer="500", forgets=True, created="null"),
    case(answer="503", times=9, lag=20.0),
]
# The last run of this machine, and its key, behind others' runs.
LAST = [
    case("plain", answer="reset", newer=260),
    case("key", answer="reset", newer=260),
    case("key", answer="reset", order="oldest", older=150),
    case("key", answer="500", date=10.0),
    case("key", answer="reset", acts=3.0, lag=20.0),
    case("two", answer="reset"),
    case("two", answer="reset", step=(0.02, -10.0)),
]
# What an exit 9 says of it in JSON.
LAST += [case("key", answer="reset", **odd) for odd in ({"down": 1e9}, {"date": "absent"}, {"strangers": (3.3,)})]
ADOPTED = [
    case("cancel", answer="reset", acts=None, strangers=(20.0,)),
    case("plain", answer="reset", acts=None, strangers=(130.0,)),
    case("cancel", answer="reset"),
    case("cancel", answer="reset", acts=None, strangers=(3.3,)),
    case(answer="502", step=(0.02, 10.0), strangers=(3.3,)),
]
# Servers that act late, lists that tell the time or the end wrongly, answers that are not ours, runs that move.
LATER = [
    *(case("adopt, last", answer="reset", acts=acts) for acts in (150.0, 300.0)),
    *(case("adopt, next at 11 min", answer=answer, acts=150.0) for answer in ("reset", "hang", "504")),
    case("adopt, key, again at 11 min", answer="reset", acts=300.0),
    case("fail, last at 11 min", answer="504", acts=150.0),
    case("adopt, next at 80 s", answer="hang", acts=150.0),
    *(case("key", answer="reset", acts=70.0, step=(at, 7200.0)) for at in (0.02, 5.0)),
    case("adopt, key, again at 80 s", answer="503", acts=100.0, times=3),
    *(
        case(flow, answer="500", created=created)
        for flow, created in checkerboard(("adopt, last", "fail, last"), ATTACKS["created"])
    ),
    case("adopt, last", answer="500", foreign="instead"),
    case("fail, next", answer="500", foreign="instead"),
    *(case("adopt, last", answer="500", newer=110, paging="next_page null", more=more) for more in ATTACKS["more"]),
    *(case("wait", answer=answer) for answer in ("old run", "kept", "scheduled")),
    *(case("wait", answer=answer, acts=None) for answer in ("old run", "kept", "scheduled")),
    case("adopt, two", answer="another's", acts=None),
    case("cancel", generation="legacy", answer="scheduled"),
    *(case("wait", session=session) for session in ("moves, failed", "moves, completed")),
    case("wait", generation="legacy", answer="reset", script="asks for ever", status="stuck"),
]


@pytest.mark.parametrize("cell", [*LOST, *LAST, *ADOPTED, *LATER])
@pytest.mark.few(12)
def test_deploy_run_keeps_its_promises_on_a_server_that_tells_badly(cell: Cell) -> None:
    assert alone(play, cell).wrong == {}


# What the server can tell well enough is told: no exit 9, 10 or 124 where nothing hides the run or its ending.
SETTLED = [
    *(case(answer=answer) for answer in ("500", "reset", "garbage", "hang", "404 html", "302")),
    *(case(answer="reset", **odd) for odd in ({"acts": 3.0}, {"lag": 3.0}, {"newer": 110}, {"newer": 260})),
    *(case(answer="reset", phase=phase) for phase in WAYS["phase"][1:]),
    *(case(answer="reset", ahead=ahead) for ahead in (-7200.0, 7200.0, 3.0)),
    *(case(answer="reset", order=order, older=150) for order in ("oldest", "shuffled")),
    *(case(answer="reset", newer=110, paging=way) for way in ("overlap", "repeated", "next_page only", "no last_id")),
    *(case(answer="reset", step=step) for step in ((0.02, -10.0), (0.02, 10.0), (2.0, -10.0), (0.02, 7200.0))),
    *(case(script="fails", **odd) for odd in ({"telling": "newest first"}, {"telling": "shuffled"}, {"ids": "absent"})),
    *(case(script="fails", **odd) for odd in ({"events": "strict"}, {"events": "overlap"}, {"session": "changes"})),
    *(case(script="fails", types="ignored", telling=telling) for telling in ("newest first", "shuffled")),
    *(case(script="fails", missing=missing) for missing in WAYS["missing"] if missing and missing[1] < 60),
    *(case(script="asks for ever", **odd) for odd in ({}, {"telling": "newest first"}, {"types": "ignored"})),
]


SETTLED += [
    case("wait", session=session, script=script)
    for session, script in checkerboard(("moves, gone", "moves, silent", "moves, deleted"), ("completes", "fails"))
]


@pytest.mark.parametrize("cell", SETTLED)
@pytest.mark.few(4)
def test_deploy_run_tells_what_can_be_told(cell: Cell) -> None:
    played = alone(play, cell)
    assert (played.wrong, played.open) == ({}, [])


@examples(Fraction(1, 10))
@given(st.randoms(use_true_random=False).map(draw))
def test_deploy_run_keeps_its_promises_on_any_server(cell: Cell) -> None:
    assert alone(play, cell).wrong == {}, str(cell)
