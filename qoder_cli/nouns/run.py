"""Runs (api.md#runs)."""

from qoder_cli.nouns.table import noun
from qoder_cli.nouns.views import RUN_COLUMNS

noun(
    *("run", "deployment_runs"),
    columns=" ".join(RUN_COLUMNS),
    sample="last",
    type="deployment_run",
    kept={"deployment_id": "", "agent": {}, "created_at": "", "session_id": None, "error": None, "trigger_context": {}},
    dated="created_at",
    has_name=False,
)
