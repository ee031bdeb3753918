"""Rewrites what is made from the code: `python -m tests.generate`. A test and CI compare it with what is committed."""

from pathlib import Path

from qoder_cli.commands.help import exit_codes_as_markdown
from tests import completions

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"


def readme(text: str) -> str:
    """Return the README with the parts between its markers made anew."""
    before, begin, rest = text.partition("<!-- exit codes: begin")
    comment, newline, rest = rest.partition("\n")
    _, end, after = rest.partition("<!-- exit codes: end -->")
    assert begin
    assert end
    return f"{before}{begin}{comment}{newline}{exit_codes_as_markdown()}{end}{after}"


def main() -> None:
    """Write every generated file."""
    README.write_text(readme(README.read_text("utf-8")), "utf-8")
    completions.rewrite()


if __name__ == "__main__":
    main()
