"""Someone with a folder, at the sandbox with hooks."""

from pathlib import Path
from typing import Any

from tests.conftest import Qoder, Ran
from tests.support import stacks
from tests.support.stacks import skill
from tests.support.things import Raw, Things

URL = "https://mcp.example.com/mcp"
REPORTER = """---
name: reporter
model: auto
description: Writes reports
tools: [{type: agent_toolset_20260401}]
skills: [../skills/house-style]
---
You write short reports.
"""
NIGHTLY = """---
name: nightly
agent: ../agents/reporter.md
environment: build
vaults: [mcp]
resources:
  - {path: ../data/glossary.csv, mount_path: /mnt/glossary.csv}
  - {path: ../memory_stores/notes.yaml, access: read_write}
---
Write the report.
"""
DOCS = {"display_name": "docs", "auth": {"type": "static_bearer", "token": "${TOKEN}", "mcp_server_url": URL}}
EXAMPLE: dict[str, Any] = {
    "qoder.yaml": "stack: nightly\n",
    "README.md": "# Ours\n",
    "environments/build.yaml": {"name": "build", "config": {"type": "cloud"}},
    "vaults/mcp.yaml": {"display_name": "mcp", "credentials": [DOCS]},
    "memory_stores/notes.yaml": {"name": "notes", "description": "What we know"},
    "memory_stores/notes/people.md": "Ask the team.\n",
    "skills/house-style/SKILL.md": skill("house-style"),
    "data/glossary.csv": "term,meaning\nrun,one execution\n",
    "agents/reporter.md": REPORTER,
    "deployments/nightly.md": NIGHTLY,
}

# The least of it in which one thing is of another.
THREE: dict[str, Any] = {
    **{name: EXAMPLE[name] for name in ("qoder.yaml", "environments/build.yaml")},
    "agents/reporter.md": REPORTER.replace("skills: [../skills/house-style]\n", ""),
    "deployments/nightly.md": "---\nname: nightly\nagent: ../agents/reporter.md\nenvironment: build\n---\nWrite.\n",
}


class Team:
    """What they type about it, and what is on the server then."""

    def __init__(self, qoder: Qoder, service: Things, folder: Path) -> None:
        self.qoder, self.service, self.folder = qoder, service, folder
        qoder.env |= stacks.SECRETS
        qoder.clock.patience = 20.0

    def write(self, files: dict[str, Any] = EXAMPLE) -> None:
        stacks.write(self.folder, files)

    def __call__(self, *words: str) -> Ran:
        """Type a command about the folder, and forget what was asked before."""
        self.service.requests.clear()
        return self.qoder(words[0], str(self.folder), *words[1:])

    def apply(self, *words: str) -> Ran:
        return self("apply", "--yes", *words)

    def plan(self, *words: str) -> Ran:
        """Type `diff`, as it is shown on a terminal."""
        return self("diff", "-o", "pretty", *words)

    def applied(self, *words: str) -> list[Raw]:
        """Apply, which must go well; return what it came to."""
        ran = self.apply("--json", *words)
        assert ran.code == 0, ran.err
        rows: list[Raw] = ran.json
        return rows

    def rests(self) -> None:
        """Apply once more, which must find nothing to do."""
        assert ({row["action"] for row in self.applied()}, self.writes) == ({"unchanged"}, [])

    def upload(self, name: str, text: str) -> None:
        """Let somebody else upload a skill of this name from a folder of their own."""
        theirs = self.folder.parent / "theirs"
        stacks.write(theirs, {"SKILL.md": skill(name, text)})
        assert self.qoder("skill", "upload", str(theirs)).code == 0

    def edit(self, path: str, old: str, new: str) -> None:
        file = self.folder / path
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    @property
    def writes(self) -> list[str]:
        return self.service.writes

    def there(self, list: str) -> dict[str, Raw]:
        """Return what of a list is not archived, by name."""
        held = self.service.world.alive(list)
        return {stacks.name_of(each.fields): each.fields for each in held if each.archived is None}
