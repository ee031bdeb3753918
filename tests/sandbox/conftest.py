"""A desk at the sandbox, on each generation of server."""

from typing import Any

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


@pytest.fixture
def qca() -> Any:
    """Return the SDK; it is imported late, for it takes a second, and each worker collects all tests."""
    return pytest.importorskip("qca", reason="the official SDK (qca-sdk) is not installed")
