"""Runs (help/pages/api.md#runs)."""

from qoder_cli.nouns.table import noun
from qoder_cli.output.views import RUN_COLUMNS

noun(
    *("run", "deployment_runs"),
    columns=" ".join(RUN_COLUMNS),
    sample="last",
    has_name=False,
)
