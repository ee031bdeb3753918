"""Skills (help/pages/api.md#skills)."""

from typing import Annotated

from qoder_cli.nouns.noun import Kind
from qoder_cli.nouns.parts import Metadata, Title
from qoder_cli.nouns.schema import Fields, Size
from qoder_cli.nouns.table import noun


class Skill(Fields):
    """A skill, as a form; its files stand beside."""

    display_title: Annotated[Title, Size(1, 256)]
    metadata: Metadata


noun(
    *("skill", "skills"),
    columns="id name source version updated",
    more="description metadata created",
    numbered="version name description created",
    sample="release-notes",
    deleted="All versions of the skill are deleted.",
    named_by="_name",
    kept={"display_title": "", "source": "custom", "metadata": {}},
    dated="created_at updated_at",
    takes_file=False,
    body=Skill,
    kind=Kind(rank=5, main="SKILL.md", how="skills"),
)
