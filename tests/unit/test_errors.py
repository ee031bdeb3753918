"""Errors are made once: whoever needs another makes another."""

import contextlib
from collections.abc import Iterator

import pytest

from qoder_cli.base.errors import Exit, NoResponse, QoderError, Signalled


@pytest.mark.parametrize("name", ["message", "hint", "next", "run_id", "kind", "exit", "shell", "sent", "anything"])
def test_errors_are_never_written_to(name: str) -> None:
    error = NoResponse("lost", hint="wait")
    before = dict(vars(error))
    with pytest.raises(AttributeError, match="with_"):
        setattr(error, name, "else")
    assert vars(error) == before


def test_errors_are_made_of_others() -> None:
    error = QoderError("lost", hint="wait", run_id="drun_1")
    error.__cause__ = cause = ValueError()
    other = error.with_(message="found", kind=Exit.OUTCOME_UNKNOWN)
    assert (error.message, error.type_name) == ("lost", "internal")
    assert (other.message, other.hint, other.run_id, other.type_name) == ("found", "wait", "drun_1", "outcome_unknown")
    assert (type(other), other.__cause__) == (QoderError, cause)
    with pytest.raises(AttributeError):
        other.hint = None


def test_errors_pass_through_a_context_manager_and_signals_keep_their_exit_code() -> None:
    @contextlib.contextmanager
    def block() -> Iterator[None]:
        yield

    error = Signalled(15).in_words("stopped")
    assert error.exit is Exit.TERMINATED
    with pytest.raises(QoderError), block():
        raise error
