"""Folders of stacks, of any size, and what of them is truly on a server."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qoder_cli.nouns.table import NOUNS
from qoder_cli.sandbox.world import World

SECRETS = {"TOKEN": "s3cret-of-ours"}  # what the files name
LISTS = {"env": "environments", "vault": "vaults", "memory": "memory_stores", "skill": "skills", "agent": "agents"}
LISTS |= {"deploy": "deployments", "file": "files"}
NINE = {"expression": "0 9 * * *", "timezone": "UTC"}
Thing = tuple[str, str, str]  # kind, name of what holds it, name


def write(folder: Path, files: Mapping[str, Any]) -> None:
    """Write files by their paths: a text as it is, anything else as JSON, which is YAML too."""
    for path, content in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")


def skill(name: str, text: str = "Short sentences.") -> str:
    return f"---\nname: {name}\ndescription: How we write\n---\n{text}\n"


def sized(scale: int, *, stack: str = "big") -> dict[str, Any]:
    """Return the files of a stack of all kinds: 60 things at 3, as many more as that is more."""
    files: dict[str, Any] = {"qoder.yaml": {"stack": stack}}
    for n in range(scale):
        credentials = [
            {"display_name": f"c{m}", "auth": {"type": "static_bearer", "token": "${TOKEN}", "mcp_server_url": url}}
            for m, url in enumerate(("https://a.example/mcp", "https://b.example/mcp"))
        ]
        files[f"vaults/v{n}.yaml"] = {"display_name": f"v{n}", "credentials": credentials}
        files[f"memory_stores/m{n}.yaml"] = {"name": f"m{n}", "description": "Notes"}
        files |= {f"memory_stores/m{n}/{path}.md": f"{path} of {n}" for path in ("a", "b", "c/d")}
        files[f"data/f{n}.csv"] = f"n\n{n}\n"
    for n in range(2 * scale):
        files[f"environments/e{n}.yaml"] = {"name": f"e{n}", "description": "Builds", "config": {"type": "cloud"}}
        files[f"skills/s{n}/SKILL.md"] = skill(f"s{n}")
    for n in range(4 * scale):
        agent: dict[str, Any] = {"name": f"a{n}", "model": "auto", "system": "Be brief.", "tools": [TOOLSET]}
        if n < 2 * scale:
            agent["skills"] = [f"../skills/s{n}"]
        if n % 4 == 3:
            agent["multiagent"] = {"type": "coordinator", "agents": ["a0", f"../agents/a{n - 1}.yaml"]}
        files[f"agents/a{n}.yaml"] = agent
        held: dict[str, Any] = {"agent": f"../agents/a{n}.yaml", "environment": f"e{n // 2}", "message": "Report."}
        if n % 4 == 0:
            used = {"path": f"../data/f{n // 4}.csv", "mount_path": "/mnt/f.csv"}
            store = {"path": f"../memory_stores/m{n // 4}.yaml", "access": "read_write"}
            held |= {"vaults": [f"v{n // 4}"], "resources": [used, store], "paused": True, "schedule": NINE}
        files[f"deployments/d{n}.yaml"] = {"name": f"d{n}", **held}
    return files


TOOLSET = {"type": "agent_toolset_20260401"}


def things_of(scale: int) -> Counter[Thing]:
    """Return all that the files of that scale declare, each once."""
    found = Counter[Thing]()
    for kind, letter, count in (("env", "e", 2), ("vault", "v", 1), ("memory", "m", 1), ("skill", "s", 2)):
        found.update((kind, "", f"{letter}{n}") for n in range(count * scale))
    for kind, letter in (("agent", "a"), ("deploy", "d")):
        found.update((kind, "", f"{letter}{n}") for n in range(4 * scale))
    for n in range(scale):
        found["file", "", f"f{n}.csv"] = 1
        found.update(("credential", f"v{n}", name) for name in ("c0", "c1"))
        found.update(("entry", f"m{n}", f"{path}.md") for path in ("a", "b", "c/d"))
    return found


def name_of(fields: Mapping[str, Any]) -> str:
    """Return what a thing of the world is called, whatever its kind."""
    return str(next(fields[key] for key in ("display_title", "display_name", "filename", "name") if fields.get(key)))


def there(world: World, *, since: float) -> Counter[Thing]:
    """Return how often each thing is truly there that was made since a moment, archived ones aside."""
    found = Counter[Thing]()
    for kind, path in LISTS.items():
        for thing in world.alive(path):
            if thing.archived is None:
                holder = name_of(thing.fields)
                if thing.created >= since:
                    found[kind, "", holder] += 1
                if kind == "vault":
                    inner = world.alive(f"vaults/{thing.id}/credentials")
                    found.update(
                        ("credential", holder, name_of(each.fields)) for each in inner if each.created >= since
                    )
                elif kind == "memory":
                    inner = world.alive(f"memory_stores/{thing.id}/memories")
                    found.update(("entry", holder, str(each.fields["path"])) for each in inner if each.created >= since)
    return found


assert set(LISTS) <= set(NOUNS)
