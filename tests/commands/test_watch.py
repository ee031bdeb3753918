"""`--watch` on a list: what is printed again, and what a server may do meanwhile."""

import signal
from typing import Any

import pytest

from qoder_cli.base.errors import Signalled
from tests.conftest import Qoder
from tests.support.interrupting import interrupt
from tests.support.wire import page

LIST = ("agent", "list", "--watch", "10")
DOWN = (503, {"type": "error", "error": {"type": "api_error", "message": "Overloaded."}})
BUSY = (429, {"type": "error", "error": {"type": "rate_limit_error", "message": "Slow down."}})
REFUSED = (401, {"type": "error", "error": {"type": "authentication_error", "message": "Expired."}})


def agent(number: int, name: str = "writer") -> dict[str, Any]:
    return {"id": f"agent_{number}", "type": "agent", "name": name, "created_at": "2027-01-01T00:00:00Z"}


def looks(qoder: Qoder, *pages: Any, then: Any = None) -> None:
    """Answer each look with a page, or with what a server says for the whole of a look; the next one ends it."""
    answers = [*pages, then or Signalled(signal.SIGINT)]

    def answer(request: Any) -> Any:
        look = sum(seconds == 10 for seconds in qoder.clock.slept)
        said = answers[min(look, len(pages))]
        if isinstance(said, BaseException):
            raise said
        return said

    qoder.wire.on("GET", "/agents", answer, repeat=True)


def test_watch_in_a_pipe_prints_a_row_again_only_where_it_changed(qoder: Qoder) -> None:
    first, second = page(agent(1)), page(agent(2), agent(1))
    looks(qoder, first, first, second, page(agent(2), agent(1, "poet")), page(agent(2)))
    ran = qoder(*LIST, "--columns", "id,name")
    assert (ran.code, ran.out) == (130, "agent_1\twriter\nagent_2\twriter\nagent_1\tpoet\n")
    assert ran.err == "error: interrupted\n"


@pytest.mark.parametrize("trouble", [DOWN, BUSY, (200, "<html>")])
def test_watch_survives_a_server_that_cannot_answer(qoder: Qoder, trouble: Any) -> None:
    looks(qoder, page(agent(1)), trouble, trouble, page(agent(2), agent(1, "poet")), trouble, page())
    ran = qoder(*LIST, "-q")
    assert (ran.code, ran.out) == (130, "agent_1\nagent_2\n")
    assert ran.err.count("warning: could not look again") == 2  # each time that it begins


@pytest.mark.parametrize(
    ("pages", "then", "code", "seconds"),
    [([], DOWN, 7, (0, 60)), ([page(agent(1))], REFUSED, 4, (10, 11)), ([page(agent(1))], DOWN, 7, (301, 500))],
    ids=["the first look fails", "a token is refused", "a server is silent for minutes"],
)
def test_watch_ends_where_nothing_more_can_be_seen(
    qoder: Qoder, pages: list[Any], then: Any, code: int, seconds: tuple[int, int]
) -> None:
    looks(qoder, *pages, then=then)
    assert qoder(*LIST).code == code
    assert seconds[0] <= qoder.clock.time - 1_800_000_000 < seconds[1]


@pytest.mark.parametrize(
    ("typed", "every"), [(("--watch",), 5), (("--watch", "2m"), 120), (("--watch=3",), 3), (("--watch", "--all"), 5)]
)
def test_watch_looks_every_five_seconds_unless_told(qoder: Qoder, typed: tuple[str, ...], every: int) -> None:
    qoder.clock.at_sleep = interrupt
    qoder.wire.on("GET", "/agents", page(agent(1)))
    assert qoder("agent", "list", *typed).code == 130
    assert qoder.clock.slept == [every]


def test_watch_takes_no_name_behind_it_for_a_time(qoder: Qoder) -> None:
    qoder.wire.on("GET", "/deployments", page())
    ran = qoder("run", "list", "--watch", "nightly")
    assert (ran.code, "no deployment is named 'nightly'" in ran.err) == (5, True)
