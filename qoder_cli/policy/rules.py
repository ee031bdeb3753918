"""The rules of a policy, as values. `reading.py` makes them of a file."""

from collections.abc import Iterator
from dataclasses import dataclass

from qoder_cli.policy.programs import ShellCommand
from qoder_cli.policy.spelling import Place, Site

MCP = "mcp__"
NO_COMMAND = ShellCommand((), (), (), None, is_itself=False)
NO_SITE = Site("")


@dataclass(frozen=True)
class PolicyRule:
    """One rule, with the line where it begins.

    `more` is whether other words may follow its `command`; `fields` are those of a tool, None where its schema has
    them. What a rule has none of is empty.
    """

    allows: bool
    verb: str
    value: str
    line: int
    because: str | None = None
    fields: frozenset[str] | None = None
    place: Place = ()
    command: ShellCommand = NO_COMMAND
    more: bool = False
    site: Site = NO_SITE

    @property
    def text(self) -> str:
        return f"{'allow' if self.allows else 'deny'} {self.verb}: {self.value}"

    def is_command(self, command: ShellCommand) -> bool:
        """Return whether an allow is for a command."""
        if not self.more:
            return self.command.words in (command.words, command.untimed)
        beginning = self.command.program
        return command.is_itself and command.program[: len(beginning)] == beginning

    def is_tool(self, server: str | None, tool: str) -> bool:
        """Return whether an allow is for a tool of a server, by its own name."""
        of, _, name = self.value.removeprefix(MCP).partition("__")
        return server == of and (tool == name or (name.endswith("*") and tool.startswith(name[:-1])))


@dataclass(frozen=True)
class Policy:
    """The rules of a file, as it was when it was read. `deployments` are ids or names; none: it is for all."""

    source: str
    sha256: str
    rules: tuple[PolicyRule, ...]
    work: Place | None = None
    all_agents: bool = False
    deployments: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def allowing(self, verb: str) -> Iterator[PolicyRule]:
        return (rule for rule in self.rules if rule.allows and rule.verb == verb)

    def denying(self, verb: str) -> Iterator[PolicyRule]:
        return (rule for rule in self.rules if not rule.allows and rule.verb == verb)
