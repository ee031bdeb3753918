"""`qoder run logs --follow`: what comes right before the end is shown, too."""

from typing import Any

import pytest

from tests.conftest import Qoder
from tests.support.logs import lines_of, says
from tests.support.one_run import DONE, EVENTS, LEGACY, RUN
from tests.support.wire import api_error, page


def test_run_logs_follow_shows_what_came_between_its_first_read_and_the_end(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, LEGACY, DONE)
    qoder.wire.on(*EVENTS, page(says("first", 1)), page(says("last", 2)))
    ran = qoder("run", "logs", "drun_1", "--follow", "-o", "jsonl")
    assert ran.code == 0
    assert lines_of(ran) == [says("first", 1), says("last", 2)]


@pytest.mark.parametrize("bad", [(502, ""), (429, "")])
def test_run_logs_follow_reads_the_last_events_again_where_a_read_fails(qoder: Qoder, bad: Any) -> None:
    qoder.wire.on(*RUN, LEGACY, DONE)
    qoder.wire.on(*EVENTS, page(says("first", 1)), bad, page(says("last", 2)))
    ran = qoder("run", "logs", "drun_1", "--follow", "-o", "jsonl")
    assert lines_of(ran) == [says("first", 1), says("last", 2)]


def test_run_logs_follow_exits_7_where_the_last_events_cannot_be_read(qoder: Qoder) -> None:
    qoder.wire.on(*RUN, LEGACY, DONE)
    qoder.wire.on(*EVENTS, page(says("first", 1))).on(*EVENTS, (502, ""), repeat=True)
    ran = qoder("run", "logs", "drun_1", "--follow", "-o", "jsonl")
    assert ran.code == 7


def test_api_says_that_a_server_cannot_do_what_it_answers_with_501(qoder: Qoder) -> None:
    qoder.wire.on("GET", "/deployments", api_error(501, "feature_not_available", "Not yet."))
    assert qoder("api", "GET", "/deployments", "--json").error["hint"] == (
        "this server cannot do that; check the profile (default): qoder auth status"
    )
