"""A desk at the sandbox, on each generation of server."""

import pytest

from qoder_cli.sandbox.wire import GENERATIONS
from tests.sandbox.desk import Desk


@pytest.fixture(params=GENERATIONS)
def desk(request: pytest.FixtureRequest) -> Desk:
    return Desk(request.param)


@pytest.fixture
def current() -> Desk:
    return Desk("current")


@pytest.fixture
def legacy() -> Desk:
    return Desk("legacy")
