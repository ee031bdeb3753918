"""`deploy run`: a second signal ends it at once, and standard error still ends with an error."""

import signal
import sys
import time
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("signals as POSIX has them", allow_module_level=True)

from qoder_cli.base.errors import Signalled
from qoder_cli.output.screen import errors_of_second_signals
from tests.support.processes import HEARING, MORE_THAN_ONE_SIGNAL, Shell, sandbox, until

SIGNALS = {signal.SIGINT: ("interrupted", 130), signal.SIGTERM: ("terminated", 143), signal.SIGHUP: ("hung_up", 129)}
SAID = "interrupted again; what was under way may have been done"


@pytest.mark.parametrize("signum", SIGNALS)
@pytest.mark.parametrize("options", [(), ("--json",), ("-ojsonl",)])
def test_deploy_run_says_how_it_stands_when_a_second_signal_ends_it(
    tmp_path: Path, signum: signal.Signals, options: tuple[str, ...]
) -> None:
    with sandbox("current", "trigger:hang-before") as server:
        going = Shell(tmp_path, server).begin("deploy", "run", "dep_demo", *options, prologue=HEARING)
        until(lambda: server.world.requests, "a request")
        going.signal(signum).says("heard")
        time.sleep(MORE_THAN_ONE_SIGNAL)
        ended = going.signal(signum).end()
    assert (ended.code, ended.out) == (-signum, "")
    kind, code = SIGNALS[signum]
    if options:
        error = ended.error
        assert (error["type"], error["exit_code"], error["message"], error["run_state"]) == (
            kind,
            code,
            SAID,
            "unknown",
        )
    else:
        assert ended.err.splitlines()[-2:] == [
            f"error: {SAID}",
            "hint: look before you repeat it; for a run: qoder run wait last",
        ]


@pytest.mark.parametrize("signum", SIGNALS)
def test_deploy_run_prepares_the_json_error_with_all_that_errors_have(signum: signal.Signals) -> None:
    import json

    told = json.loads(errors_of_second_signals("json", on_line=False)[signum])
    hint = told["error"]["hint"]
    assert told == {"error": Signalled(signum).in_words(SAID, hint=hint, run_state="unknown").as_json()}
