"""Man pages: the same words as `--help`, in roff that needs no extension, and where `man` finds them."""

import re
import shutil
import subprocess
from functools import cache
from typing import Any

import pytest

from qoder_cli.commands.help import man_pages
from tests.conftest import Qoder

REQUESTS = {"TH", "SH", "SS", "B", "BR", "PP", "TP", "nf", "fi"}
SECTIONS = ["NAME", "SYNOPSIS", "DESCRIPTION", "ARGUMENTS", "COMMANDS", "OPTIONS", "GLOBAL OPTIONS"]
SECTIONS += ["EXIT STATUS", "ENVIRONMENT", "EXAMPLES", "SEE ALSO"]

pages = cache(man_pages)


def test_man_has_a_page_of_every_command(qoder: Qoder) -> None:
    paths = [each["path"] for each in qoder("help", "--json").json["commands"]]
    groups = {tuple(path[:length]) for path in paths for length in range(1, len(path))}
    assert set(pages()) == {"qoder.1", *(f"qoder-{'-'.join(path)}.1" for path in (*paths, *groups))}


@pytest.mark.parametrize("name", pages())
@pytest.mark.few(24)
def test_man_pages_are_plain_roff_with_their_sections_in_order(name: str) -> None:
    text = pages()[name]
    assert text.isascii()
    lines = text.splitlines()
    assert lines[0].startswith(f'.TH "{name[:-2].upper()}" 1 "" "qoder ')
    assert {line[1:].split()[0] for line in lines if line[:1] == "."} <= REQUESTS
    assert not [line for line in lines if line[:1] == "'" or not line]
    sections = [line.removeprefix(".SH ") for line in lines if line.startswith(".SH ")]
    assert sections == sorted(sections, key=SECTIONS.index)
    assert {"NAME", "SYNOPSIS", "SEE ALSO"} <= set(sections)
    assert lines[2].partition(" \\- ")[0] == name[:-2].replace("-", "\\-")  # what `whatis` reads
    assert text.count(".nf\n") == text.count(".fi\n")
    assert not re.search(r"\\(?![&e\-]|f[BP]|\[u[0-9A-F]{4}\])", text)


def plain(roff: str) -> str:
    """Return what a page says, without what it looks like."""
    text = re.sub(r"\\f[BP]|\\&", "", roff).replace("\\-", "-")
    text = re.sub(r"\\\[u([0-9A-F]{4})\]", lambda found: chr(int(found[1], 16)), text).replace("\\e", "\\")
    return " ".join(line for line in text.splitlines() if not re.match(r"\.(PP|TP|nf|fi)$", line))


def test_man_pages_say_what_help_says(qoder: Qoder) -> None:
    told: dict[str, Any] = qoder("help", "--json").json
    for command in told["commands"]:
        page = " ".join(plain(pages()[f"qoder-{'-'.join(command['path'])}.1"]).split())
        said = [command["summary"], *command["examples"], *(each["help"] for each in command["options"])]
        for paragraph in command["text"].replace("`", "").split("\n\n")[1:]:
            said.append(" ".join(paragraph.removeprefix("Examples:").split()))
        assert [text for text in said if " ".join(text.replace("`", "").split()) not in page] == []
    program = plain(pages()["qoder.1"])
    meanings = [each["meaning"].replace("`", "") for each in (*told["exit_codes"], *told["environment"])]
    assert [meaning for meaning in meanings if meaning not in program] == []
    assert all(name in program for each in told["everywhere"] for name in each["names"])


def test_help_man_prints_a_page(qoder: Qoder) -> None:
    assert qoder("help", "--man").out == pages()["qoder.1"] == qoder("help", "exit-codes", "--man").out
    assert qoder("help", "deploy", "run", "--man").out == pages()["qoder-deploy-run.1"]
    assert qoder("help", "runs", "--man").out == pages()["qoder-run.1"]
    assert qoder("help", "nonsense", "--man").code == 2


@pytest.mark.more
@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_man_pages_pass_groff() -> None:
    text = "".join(pages().values())
    ran = subprocess.run(["groff", "-man", "-ww", "-z"], input=text, text=True, capture_output=True, check=True)
    assert ran.stderr == ""
