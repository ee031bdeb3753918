"""Errors are made once: whoever needs another makes another."""

import contextlib
from collections.abc import Iterator

import pytest

from qoder_cli.base.errors import Exit, NoAnswer, QoderError, Signalled


@pytest.mark.parametrize("name", ["message", "hint", "next", "run_id", "kind", "exit", "shell", "sent", "anything"])
def test_an_error_is_never_written_to(name: str) -> None:
    error = NoAnswer("lost", hint="wait")
    before = dict(vars(error))
    with pytest.raises(AttributeError, match="with_"):
        setattr(error, name, "else")
    assert vars(error) == before


def test_another_error_is_made_of_it() -> None:
    cause = ValueError()
    error = QoderError("lost", hint="wait", run_id="drun_1")
    error.__cause__ = cause
    other = error.with_(message="found", kind=Exit.OUTCOME_UNKNOWN)
    assert (error.message, error.type_name) == ("lost", "internal")
    assert (other.message, other.hint, other.run_id, other.type_name) == ("found", "wait", "drun_1", "outcome_unknown")
    assert (type(other), other.__cause__) == (QoderError, cause)
    with pytest.raises(AttributeError):
        other.hint = None


def test_a_signal_in_words_has_its_own_exit_code() -> None:
    assert Signalled(15).in_words("stopped").exit is Exit.TERMINATED


def test_it_passes_through_a_context_manager() -> None:
    @contextlib.contextmanager
    def block() -> Iterator[None]:
        yield

    with pytest.raises(QoderError), block():
        raise QoderError("lost")
