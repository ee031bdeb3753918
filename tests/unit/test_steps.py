"""Killed or interrupted in the middle of the trigger; `python -m tests.support.steps 1` does it at each instruction."""

import json
import subprocess
import sys

import pytest

SOME = 2  # steps of each server


@pytest.mark.skipif(sys.version_info[:2] == (3, 12), reason="Python 3.12 tells a tracer of few instructions")
def test_killed_or_interrupted_at_any_step_it_starts_no_run_twice_and_loses_none() -> None:
    # Of its own, because it forks: a process of the suite has threads.
    ended = subprocess.run(
        [sys.executable, "-m", "tests.support.steps", "--some", str(SOME)], capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["cases"] >= 30
    assert found["wrong"] == []
