"""How much one lets an agent do that operates `qoder`: QODER_ALLOW, or `allow` in a profile; the narrower counts.

It prevents mistakes, not intent: who has the token can do all of it.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple, get_args

from qoder_cli.base.errors import UsageError

Level = Literal["read", "run", "answer", "all"]  # each allows what those before it do
Purpose = Literal["read", "wait", "run", "answer", "all", "set up"]
VARIABLE = "QODER_ALLOW"
READ_ONLY_VARIABLE = "QODER_READ_ONLY"

LEVELS: tuple[Level, ...] = get_args(Level)
_NEEDED: dict[Purpose, Level] = {
    **{"read": "read", "wait": "read", "run": "run"},
    **{"answer": "answer", "all": "all", "set up": "all"},
}
_PURPOSES: dict[Purpose, tuple[str, ...]] = {
    "wait": ("run wait", "run logs", "session wait", "session logs"),  # `--policy` and a prompt answer, too
    "run": ("deploy run", "deploy backfill", "run retry", "run cancel", "session cancel"),
    "answer": (
        *(f"{noun} {verb}" for noun in ("run", "session") for verb in ("approve", "deny", "answer", "send")),
        "session chat",
    ),
    "set up": ("auth login", "auth logout", "auth switch", "auth token", "config set", "config unset"),
    "read": (
        *("deploy check", "run result", "run pending", "session result", "session pending", "session files"),
        *("env work stats", "agent versions", "skill versions", "file download", "skill download", "vault check"),
        *("memory ls", "memory cat", "memory history", "diff", "export", "report", "usage", "schema", "init"),
        *("policy check", "policy test", "policy log", "auth status", "config path", "doctor", "completion", "help"),
        *("run why", "api", "sandbox"),  # `api` sends no more than GET then; nothing leaves a sandbox
    ),
}
_BY_COMMAND = {command: purpose for purpose, commands in _PURPOSES.items() for command in commands}
_READING_VERBS = ("list", "get")


def purpose_of(command: str) -> Purpose:
    """Return what a command is for, by its words without the program's: `all` for one that is not known here."""
    if command.rpartition(" ")[2] in _READING_VERBS:
        return "read"
    return _BY_COMMAND.get(command, "all")


class Allowed(NamedTuple):
    """What is allowed, and which setting says so."""

    level: Level = "all"
    source: str = ""

    @property
    def why(self) -> str:
        if self.source == READ_ONLY_VARIABLE:
            return f"{READ_ONLY_VARIABLE} is set"
        return f"{self.source} allows only {self.level!r}"

    @property
    def remedy(self) -> str:
        if self.source == READ_ONLY_VARIABLE:
            return f"to allow writes, unset {READ_ONLY_VARIABLE}"
        return f"ask the person who set {self.source}"

    def permits(self, purpose: Purpose) -> bool:
        return LEVELS.index(_NEEDED[purpose]) <= LEVELS.index(self.level)

    def check(self, purpose: Purpose, what: str) -> None:
        """Raise UsageError unless what is for that purpose is allowed."""
        if not self.permits(purpose):
            why = f"{self.why}: {what} needs {_NEEDED[purpose]!r}; nothing was sent"
            raise UsageError(why, hint=self.remedy)

    def narrowed(self, text: str | None, source: str) -> "Allowed":
        """Return the narrower of this and what a setting says, if it says something. Raises UsageError."""
        if text is None:
            return self
        level = read_level(text, source=source)
        if LEVELS.index(level) < LEVELS.index(self.level):
            return Allowed(level, source)
        return self


ALL = Allowed()


def read_level(text: str, *, source: str) -> Level:
    """Return a level as written. Raises UsageError for a word that is none, also an empty one."""
    if text not in LEVELS:
        why = f"{source} is {text[:40]!r}; nothing was sent"
        raise UsageError(why, hint=f"set it to one of {', '.join(LEVELS)}")
    return text


def allowed_by(env: Mapping[str, str]) -> Allowed:
    """Return what the environment allows. Raises UsageError for a word that is no level."""
    read_only = ALL
    if env.get(READ_ONLY_VARIABLE, "") not in ("", "0"):
        read_only = Allowed("read", READ_ONLY_VARIABLE)
    return read_only.narrowed(env.get(VARIABLE), VARIABLE)
