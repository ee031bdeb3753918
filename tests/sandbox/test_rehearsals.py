"""What was rehearsed works: a run that failed, what mends its cause, and the same once more."""

import pytest

from qoder_cli.sandbox.wire import GENERATIONS, Generation
from qoder_cli.sandbox.world import World
from tests.conftest import TOKEN, Qoder
from tests.support.inprocess import WithoutStreams

# The deployment, how its run ends, and the commands that lead to one that completes.
REHEARSALS = {
    "an archived environment": ("nostart", 1, ["deploy update nostart --env default", "run retry RUN --wait"]),
    "a budget that is too small": ("budget", 1, ["deploy update budget --budget 5", "run retry RUN --wait"]),
    "a budget of the session": ("budget", 1, ["session update RUN --budget 5", "session send RUN -m Continue. --wait"]),
    "an agent that fails": ("fail", 1, ["deploy update fail --agent writer", "run retry RUN --wait"]),
    "an agent that asks": (
        *("ask", 11),
        [
            "agent update ask-agent --ask none",
            "deploy update ask --agent ask-agent@2",
            "run cancel RUN --yes",
            "run retry RUN --wait",
        ],
    ),
    "a paused deployment": ("paused", 6, ["deploy unpause paused", "deploy run paused --wait"]),
}


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("name", REHEARSALS)
def test_sandbox_lets_a_run_complete_once_its_cause_is_mended(qoder: Qoder, name: str, generation: Generation) -> None:
    deployment, code, commands = REHEARSALS[name]
    world = World(generation=generation, token=TOKEN, clock=qoder.clock.now)
    qoder.transport = WithoutStreams(world, sleep=qoder.clock.sleep)
    first = qoder("deploy", "run", deployment, "--wait", "--on-ask", "stop", "--json")
    assert first.code == code
    run = first.json["id"] if first.out else ""
    for command in commands:
        ran = qoder(*command.replace("RUN", run).split(), "--no-input")
        assert ran.code == 0, (command, ran.err)
