"""Models (api.md#agents)."""

from qoder_cli.nouns.table import noun

noun(
    *("model", "models"),
    columns="id name enabled price_factor efforts context source",
    sample="ultimate",
    has_name=False,
    is_paged=False,
)
