"""Programs beside the suite: `python -m tests.tools` lists them, with what each does."""

import argparse
import os
import sys
from importlib import import_module
from typing import Any

from tests.tools.playing import play_tool

TOOLS = ("servers", "stack", "keys", "nights", "mutations", "generate", "pages", "pictures")


def _about(tool: Any) -> str:
    return str(tool.__doc__).partition("\n")[0]


def main(words: list[str]) -> int:
    """Run a tool, or list them all. Return its exit code: 1 if something is not as it must be."""
    if not words or words[0] not in TOOLS:
        for name in TOOLS:
            print(f"{name:<10} {_about(import_module(f'tests.tools.{name}'))}")
        return 2 if words else 0
    tool = import_module(f"tests.tools.{words[0]}")
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(f"tests.tools {words[0]}", description=tool.__doc__, formatter_class=form)
    if hasattr(tool, "write"):
        parser.parse_args(words[1:])
        tool.write()
        return 0
    getattr(tool, "arguments", lambda parser: None)(parser)
    parser.add_argument("words", nargs="*", help="only cells that have all of these in their names")
    parser.add_argument("--sample", type=int, metavar="N", help="only so many, drawn by chance")
    parser.add_argument("--random", type=int, metavar="N", help="so many made up by chance, instead")
    parser.add_argument("--seed", type=int, default=1, help="of chance")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="so many at a time")
    parser.add_argument("--examples", type=int, default=3, help="of each kind of finding")
    return play_tool(tool, parser.parse_intermixed_args(words[1:]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
