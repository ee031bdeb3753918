"""The shared options as they were typed."""

from dataclasses import dataclass

from qoder_cli.output.report import Format


def written(option: str, value: str) -> list[str]:
    """Return an option as the words of a command; a value that looks like an option is bound to it."""
    return [f"{option}={value}"] if value.startswith("-") else [option, value]


@dataclass
class Flags:
    """The shared options as given on the command line; None and False when not given."""

    output: Format = "table"
    profile: str | None = None
    region: str | None = None
    base_url: str | None = None
    workspace: str | None = None
    request_timeout: str | None = None
    no_progress: bool = False
    bell: bool = False
    no_input: bool = False
    debug: bool = False

    def selectors(self) -> list[str]:
        """Return the options that select profile, host, format and how much is said, for a command to type next."""
        words: list[str] = []
        for option, value in (
            ("--profile", self.profile),
            ("--region", self.region),
            ("--base-url", self.base_url),
            ("--workspace", self.workspace),
        ):
            words += written(option, value) if value is not None else []
        words += ["--no-progress"] if self.no_progress else []
        return words + (["-o", self.output] if self.output != "table" else [])
