"""What tests share of: Deployments written as files."""

from pathlib import Path
from typing import Any

from qoder_cli.base import jsontext

EXAMPLES = [
    jsontext.parse(line)
    for line in (Path(__file__).parents[1] / "support" / "examples.jsonl").read_text("utf-8").splitlines()
]


DEPLOYMENTS = {
    example["variant"]: example["json"] for example in EXAMPLES if example["json"].get("type") == "deployment"
}


PLAIN: dict[str, Any] = {
    "id": "dep_1",
    "type": "deployment",
    "name": "nightly-review",
    "description": None,
    "agent": {"id": "agent_1", "type": "agent", "version": 3},
    "environment_id": "env_1",
    "environment_variables": "",
    "schedule": None,
    "initial_events": [{"type": "user.message", "content": [{"type": "text", "text": "Review."}]}],
    "resources": [],
    "vault_ids": [],
    "metadata": {},
    "budget": None,
    "status": "active",
    "archived_at": None,
}
