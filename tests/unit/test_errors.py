"""Errors are made once: whoever needs another makes another."""

import contextlib
import io
from collections.abc import Iterator

import pytest

from qoder_cli.base.errors import Exit, NoResponse, QoderError, Signalled, broken_down
from qoder_cli.output.layout import columns
from qoder_cli.output.screen import Screen, write_error


@pytest.mark.parametrize("name", ["message", "hint", "next", "run_id", "kind", "exit", "shell", "sent", "anything"])
def test_errors_are_never_written_to(name: str) -> None:
    error = NoResponse("lost", hint="wait")
    before = dict(vars(error))
    with pytest.raises(AttributeError, match="with_"):
        setattr(error, name, "else")
    assert vars(error) == before


def test_errors_have_no_token_in_json() -> None:
    token = "ghp_Abcdefghij0123456789"
    error = NoResponse(f"lost {token}", hint=f"try {token}", next=["qoder", "run", "get", token])
    assert token not in str(error.as_json())


def test_errors_pass_through_a_context_manager_and_signals_keep_their_exit_code() -> None:
    @contextlib.contextmanager
    def block() -> Iterator[None]:
        yield

    error = Signalled(15).in_words("stopped")
    assert error.exit is Exit.TERMINATED
    with pytest.raises(QoderError), block():
        raise error


@pytest.mark.parametrize(
    ("runs", "words", "run_id", "hint"),
    [
        ((), "", None, "check whether a run was started: qoder run wait last"),
        (("drun_1",), "; run drun_1 may still be running", "drun_1", "to wait for it"),
        (("drun_1", "drun_2"), "; 2 runs may still be running", None, "to wait for them"),
    ],
)
def test_internal_error_names_the_runs_that_may_go_on(
    runs: tuple[str, ...], words: str, run_id: str | None, hint: str
) -> None:
    error = broken_down(ValueError("odd"), runs)
    assert error.message.endswith(f"ValueError: odd{words}")
    assert (error.exit, error.run_id, error.hint, error.run_state) == (Exit.INTERNAL, run_id, hint, "unknown")


COMMAND = "qoder run retry drun_01a2332f82ec7c9013f7673006b51241"
SAID = {
    f"fix what the error names, then: {COMMAND}; to see more: qoder deploy check dep_1": COMMAND,
    f"the key is known in this place already, look at it with `{COMMAND}` first": f"`{COMMAND}`",
    "answer it once you have read what it says: qoder run answer drun_1 --with 'yes; go  on'": (
        "qoder run answer drun_1 --with 'yes; go  on'"
    ),
}


@pytest.mark.parametrize("hint", SAID)
def test_hints_on_a_terminal_are_broken_around_each_command_in_them(hint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    write_error(QoderError("failed", hint=hint), Screen(written := io.BytesIO(), is_terminal=True), "table")
    lines = written.getvalue().decode().splitlines()
    assert " ".join(lines) == f"error: failed hint: {hint}"
    assert max(map(len, lines)) <= 80
    assert any(SAID[hint] in line for line in lines)


def test_message_with_wide_names_is_broken_where_the_terminal_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    message = "starting runs of 日次ステータスレポート, 한국어 배포 이름이 아주 길다, 🚀 release-train: プロダクション"
    lines = Screen(None, is_terminal=True).worded(message).split("\n")
    assert [line for line in lines if columns(line) > 40] == []
    assert " ".join(line.strip() for line in lines) == message
