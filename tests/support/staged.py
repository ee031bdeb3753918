"""What the examples of helps and of the README take for granted: a run, a session, a call that waits, files."""

import re
from collections.abc import Callable
from pathlib import Path
from shutil import make_archive
from typing import Any

CONFIG = """\
[profiles.default]
region = "global"
[profiles.work]
base_url = "https://api.qoder.com.cn/api/v1/cloud"
token = "pt-planted-0123456789abcdef"
"""
FILES = {
    "notes.md": "# Notes\n",
    "notes.txt": "Look at the second table too.\n",
    "task.md": "Report on June.\n",
    "data.csv": "month,runs\n6,30\n",
    "build.json": '{"build": 512}\n',
    "release-notes/SKILL.md": "---\nname: release-notes\ndescription: Writes them.\n---\n",
    "policy.yaml": "work: /repo\nallow:\n  - run: git status\n",
    "policy.tests.yaml": "- {command: git status, answer: allow}\n",
    "lookup.sh": "#!/bin/sh\necho build 512 is green\n",
}
# What `apply` and `diff` read: in files of their own, which nothing else names.
FOLDER = {
    "agents/reporter.md": "---\nname: reporter\nmodel: auto\ntools: [{type: agent_toolset_20260401}]\n---\nReport.\n",
    "deployments/nightly.md": "---\nname: nightly\nagent: reporter\nenvironment_id: env_workers\n---\nReport.\n",
}


def put_files(folder: Path, line: str = "") -> None:
    """Write the files that examples name: all, or those that a line may."""
    files = FILES | (FOLDER if re.search(r"qoder (apply|diff|schema --check)\b", line) else {})
    for name, content in files.items():
        if not line or Path(name).parts[0].partition(".")[0] in line or name in FOLDER:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(content)
            (folder / name).chmod(0o755)
    if (folder / "release-notes").exists():
        make_archive(str(folder / "release-notes"), "zip", folder / "release-notes")


def staged(line: str, qoder: Callable[..., Any], *, later: Callable[[], object]) -> str:
    """Start what an example needs, and return it with the ids of that; `later` lets time pass until a call waits.

    `qoder` runs a command, and returns something with its JSON in `json`.
    """
    if found := re.search(r"key (?:free|get) (\S+)", line):
        qoder("deploy", "run", "dep_demo", "--idempotency-key", found[1])
    if " run retry " in line and "--all-failed" not in line:
        failed = qoder("deploy", "run", "dep_fail", "--json").json["id"]
        later()
        return re.sub(r"drun_[0-9a-f…]+|\S+@last", failed, line)
    if found := re.search(r"(\S+)@last", line):
        qoder("deploy", "run", found[1])
        later()
    if not re.search(r" last\b|sess_demo|sess_…|evt_", line):
        return line
    deployment = (
        "dep_custom" if " answer " in line else "dep_ask" if re.search(" approve | deny ", line) else "dep_demo"
    )
    run = qoder("deploy", "run", deployment, "--json").json
    if "cancel" not in line:
        later()
    session = str(run["session_id"])
    line = re.sub("sess_demo|sess_…", session, line).replace("sthr_demo", session.replace("sess_", "sthr_"))
    if re.search("evt_|HEX", line):
        while not (waiting := qoder("run", "pending", run["id"], "--json").json):
            later()
        line = re.sub("evt_[1…]", waiting[0]["call"], line).replace("HEX", waiting[0]["input_sha256"])
    return line
