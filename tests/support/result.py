"""What tests share of: `run result`, `run cancel`, `--result` and `--require-satisfied`, in the user's words."""

from typing import Any

from tests.support.one_run import idle

END = idle("end_turn")


def says(words: Any, number: int = 1, **fields: Any) -> dict[str, Any]:
    content = [{"type": "text", "text": words}] if isinstance(words, str) else words
    at = f"2026-06-14T08:54:{10 + number}Z"
    return {"id": f"evt_m{number}", "type": "agent.message", "content": content, "processed_at": at, **fields}


def delivers(name: str, number: int = 1) -> dict[str, Any]:
    return {
        "id": f"evt_f{number}",
        "type": "agent.artifact_delivered",
        "file_id": f"file_{number}",
        "original_filename": name,
        "size": 3,
        "processed_at": f"2026-06-14T08:54:{10 + number}Z",
    }
