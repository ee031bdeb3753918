"""Shells in a home of their own, and servers that tests share: processes as POSIX has them."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from qoder_cli.sandbox.server import Server
    from qoder_cli.sandbox.wire import Generation
    from tests.support.processes import Shell

    Servers = dict[Generation, Server]

collect_ignore_glob = ["test_*.py"] if sys.platform == "win32" else []


@pytest.fixture(scope="session")
def servers() -> "Iterator[Servers]":
    """Serve a fast world of each generation, shared by the tests that do not look into it."""
    from tests.support.processes import sandbox

    with sandbox("current") as current, sandbox("legacy") as legacy:
        yield {"current": current, "legacy": legacy}


@pytest.fixture(scope="session")
def lasting() -> "Iterator[Servers]":
    """Serve worlds in which a minute is a minute: runs that go on."""
    from tests.support.processes import sandbox

    with sandbox("current", speed=1) as current, sandbox("legacy", speed=1) as legacy:
        yield {"current": current, "legacy": legacy}


@pytest.fixture
def alone(tmp_path: Path) -> "Shell":
    """Return a shell that knows no server."""
    from tests.support.processes import Shell

    return Shell(tmp_path)


@pytest.fixture
def shell(alone: "Shell", servers: "Servers") -> "Shell":
    return alone.enter(servers["current"])


@pytest.fixture
def broken_pipe() -> Iterator[int]:
    """Return the end for writing of a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)
