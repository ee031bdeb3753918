"""Standard output and standard error: UTF-8, `\\n`, no BOM, with or without colour.

Also the error that ends standard error. Light: it may be all that ever runs.
"""

import os
import re
import signal
import stat
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import BinaryIO, Literal, TextIO, get_args

from qoder_cli.base import signals
from qoder_cli.base.errors import InternalError, QoderError, ReaderGone
from qoder_cli.base.tokens import REDACTED, without_tokens

# Control characters, bidirectional controls, line separators, lone surrogates: harmful to a
# terminal, or to a line that a script reads.
_STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# What CI systems take for a command when a step writes it: GitHub Actions and Gitea `::` behind nothing but spaces, and
# `##[` anywhere in a line (`TryParseV2` and `TryParse` of ActionCommand.cs in actions/runner); Azure Pipelines `##vso[`
# in any case, anywhere in a line; TeamCity `##teamcity[`. A byte order mark is dropped before they look.
_COMMAND = re.compile(r"^(?:[^\S\n]|[\ufeff\u200b])*::|##(?=\w*\[)", re.MULTILINE)
# The words of a message. A command to type is one: in backticks, or behind a colon, to a semicolon that is not quoted.
_WORDS = re.compile(
    r"\s*(?:[^\s`]*`qoder [^`]*`\S*|(?<=: )(?<!error: )(?<!note: )(?<!warning: )qoder (?:'[^']*'|[^';])*\S*|\S+)|\s+$"
)
Format = Literal["table", "wide", "pretty", "markdown", "csv", "html", "json", "jsonl", "yaml", "otlp", "id"]

# -q or -o behind options that take no value in any command, as in -wq and -wojson.
_CLUSTER = re.compile(r"-[wyi]*(?:(?P<quiet>q)[wyi]*|o(?P<value>.*))", re.DOTALL)
_SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}
_STYLES = {"red": "31", "green": "32", "yellow": "33", "dim": "2", "bold": "1"}


def inert(text: str) -> str:
    """Return text that cannot steer a terminal, with `\\n`, `\\t`, `\\u001b` spelled out."""
    return _STEERING.sub(lambda match: _SHORT.get(match[0]) or f"\\u{ord(match[0]):04x}", text)


def inert_lines(text: str) -> str:
    """Return text made inert, but for its line breaks and tabs."""
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join("\t".join(map(inert, line.split("\t"))) for line in lines)


def commandless(text: str) -> str:
    """Return text without CI commands: `::` at a line's start as `: :`, `##[` as `## [`."""
    if "::" not in text and "##" not in text:
        return text
    return _COMMAND.sub(lambda command: command[0].replace("::", ": :").replace("##", "## "), text)


class Screen:
    """One of the two streams. `binary` is None if closed: what is written is dropped."""

    def __init__(
        self, binary: BinaryIO | None, *, is_terminal: bool = False, color: bool = False, moves: bool = True
    ) -> None:
        self._binary = binary
        self.is_terminal = is_terminal
        self.color = color
        self.is_animated = is_terminal and moves  # a dumb terminal cannot take a line back
        self.is_piped = False  # another program reads it
        self.has_written = False
        self._secrets: list[str] = []  # the longest first
        self._other: Callable[[str], None] | None = None  # gets what other threads show

    @classmethod
    def of(cls, stream: TextIO | None, env: Mapping[str, str]) -> "Screen":
        """Return the screen for one of Python's streams; the environment sets colour."""
        if stream is None:
            return cls(None)
        is_terminal, is_dumb = stream.isatty(), env.get("TERM") == "dumb"
        color = is_terminal and not is_dumb
        if forced := env.get("FORCE_COLOR"):
            color = forced != "0"
        if env.get("NO_COLOR"):
            color = False
        screen = cls(stream.buffer, is_terminal=is_terminal, color=color, moves=not is_dumb)
        with suppress(OSError, ValueError):
            if sys.platform != "win32":
                os.set_blocking(stream.fileno(), True)  # else what a pipe has no room for is lost
            mode = os.fstat(stream.fileno()).st_mode
            screen.is_piped = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
        return screen

    def keep_secrets(self, tokens: Iterable[str]) -> None:
        """Never show these tokens here, also as JSON spells them."""
        kept = {*self._secrets}
        for token in tokens:
            kept |= {token, token.replace("\\", "\\\\").replace('"', '\\"')}
        self._secrets = sorted(kept, key=len, reverse=True)

    def veiled(self, text: str) -> str:
        """Return a text without the secrets kept here."""
        for secret in self._secrets:
            text = text.replace(secret, REDACTED)
        return text

    def write(self, text: str) -> None:
        """Write lines at once, without secrets and CI commands, on every machine.

        JSON is not changed: `jsontext.dump` writes none. Raises ReaderGone if the
        reader went away, InternalError if it cannot be written (a full disk).
        """
        self.write_exactly(commandless(text))

    def write_exactly(self, data: str | bytes) -> None:
        """Write bytes as they are, text without secrets. Raises what `write` raises."""
        self.has_written = True
        if self._binary is None:
            return
        if isinstance(data, str):
            data = self.veiled(data).encode("utf-8", "replace")
        try:
            self._binary.write(data)
            self._binary.flush()
        except BrokenPipeError:
            raise ReaderGone from None
        except (OSError, ValueError) as error:
            hint = "free some disk space or redirect elsewhere"
            raise InternalError(f"cannot write to standard output: {error}", hint=hint) from None

    @property
    def is_closed(self) -> bool:
        """Whether what is written is dropped."""
        return self._binary is None

    @property
    def reader_is_gone(self) -> bool:
        """Whether a pipe's reader is gone; False if only writing would show it."""
        if not self.is_piped or self._binary is None or sys.platform == "win32":
            return False
        import select

        poll = select.poll()
        poll.register(self._binary.fileno(), 0)  # errors are always reported
        return bool(poll.poll(0))

    def print(self, text: str, *, is_command: bool = False) -> None:
        """Write for people, without tokens and, unless it `is_command`, CI commands.

        If nobody can read it, it is dropped.
        """
        text = without_tokens(text)
        self.show(text if is_command else commandless(text))

    def show(self, text: str) -> None:
        """Write as it is, without secrets, what a person decides by. If nobody can read it, it is dropped."""
        if self._other is not None and threading.current_thread() is not threading.main_thread():
            return self._other(text)
        try:
            self.write_exactly(text)
        except (ReaderGone, InternalError):
            self._binary = None

    @contextmanager
    def handed_to(self, other: Callable[[str], None]) -> Iterator[None]:
        """Hand to another what threads beside the main one would show in this block, in which that draws here."""
        self._other = other
        try:
            yield
        finally:
            self._other = None

    def worded(self, text: str) -> str:
        """Return a message broken between words, if this is a terminal; a command in it is not, so it can be copied."""
        if not self.is_terminal:
            return text
        from qoder_cli.output.layout import wrapped

        return "\n".join(wrapped(text, terminal_width(), words=_WORDS))

    def styled(self, text: str, style: str) -> str:
        if self.color and style and text:
            return f"\x1b[{_STYLES[style]}m{text}\x1b[0m"
        return text


_AGAIN = "interrupted again; what was under way may have been done"
_AGAIN_HINT = "look before you repeat it; for a run: qoder run wait last"


def errors_of_second_signals(format: Format, *, on_line: bool) -> dict[int, bytes]:
    """Return the error for a second signal by its number, as `write_error` would write it, ready to be written.

    `on_line` says that the cursor may stand in a line, as on a terminal. Nothing is imported for it.
    """
    kinds = {"SIGINT": ("interrupted", 130), "SIGTERM": ("terminated", 143), "SIGHUP": ("hung_up", 129)}
    lines = {}
    for name, (kind, code) in kinds.items():
        text = f"error: {_AGAIN}\nhint: {_AGAIN_HINT}\n"
        if format in ("json", "jsonl"):
            text = f'{{"error":{{"type":"{kind}","exit_code":{code},"message":"{_AGAIN}","hint":"{_AGAIN_HINT}",'
            text += '"next":null,"run_id":null,"session_id":null,"run_state":"unknown",'
            text += '"api_type":null,"http_status":null,"request_id":null}}\n'
        if (signum := getattr(signal, name, None)) is not None:
            lines[int(signum)] = (b"\n" if on_line else b"") + text.encode()
    return lines


def write_error(error: QoderError, screen: Screen, format: Format) -> None:
    """Write the error; with JSON output as one line, the last of stderr."""
    signals.begin_error()
    if format in ("json", "jsonl"):
        from qoder_cli.base.jsontext import dump

        screen.print(dump({"error": error.as_json()}) + "\n")
        return
    message = f"error: {error.message}" if error.has_lines else screen.worded(f"error: {inert(error.message)}")
    screen.print(f"{screen.styled('error:', 'red')}{message.removeprefix('error:')}\n")
    if advice := inert(error.advice):
        message = screen.worded(f"hint: {advice}")
        screen.print(f"{screen.styled('hint:', 'yellow')}{message.removeprefix('hint:')}\n")
    if error.request_id:
        screen.print(f"request id: {inert(error.request_id)}\n")


def format_typed(words: Sequence[str]) -> Format:
    """Return the format a command line asks for, without parsing the rest of it."""
    chosen: Format = "table"
    for word, following in zip(words, [*words[1:], ""], strict=False):
        if word == "--":
            break
        name, is_bound, value = word.partition("=")
        asked = None
        if name == "--json":
            asked = "json"
        elif name == "--output":
            asked = value if is_bound else following
        elif cluster := _CLUSTER.fullmatch(word):
            asked = "id" if cluster["quiet"] else cluster["value"] or following
        chosen = next((format for format in get_args(Format) if format == asked), chosen)
    return chosen


def silence(stream: TextIO | None) -> None:
    """Flush a stream; if that fails, redirect it to null, as Python flushes it again."""
    if stream is None:
        return
    try:
        stream.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def terminal_width() -> int:
    """Return the terminal's width in columns: 80 if unknown, 20 at least."""
    from shutil import get_terminal_size

    return max(get_terminal_size((80, 24)).columns, 20)
