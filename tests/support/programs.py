"""Programs that a fresh machine may not have."""

import shutil

import pytest


def need(*programs: str) -> None:
    """Skip the test, and say why, where one of these programs is not installed."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
