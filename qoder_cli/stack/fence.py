"""The fence of a stack: where `qoder.yaml` says that it lives. Anywhere else nothing is sent."""

from qoder_cli.app import App
from qoder_cli.base.errors import UsageError
from qoder_cli.settings.values import REGIONS, host_of, read_base_url
from qoder_cli.stack.folder import ROOT_FILE, Fence


def check(app: App, fence: Fence) -> None:
    """Raise UsageError if this command would talk to another place than the fence says."""
    settings = app.settings
    wanted = None
    if fence.region is not None:
        if fence.region not in REGIONS:
            raise UsageError(f"{ROOT_FILE}: region must be {' or '.join(REGIONS)}", hint="correct the file")
        wanted = REGIONS[fence.region]
    if fence.base_url is not None:
        wanted = read_base_url(fence.base_url, source=f"{ROOT_FILE}: base_url")
    if settings.sandbox:
        return  # nothing there is real
    if wanted is not None and wanted != settings.base_url:
        raise UsageError(
            f"this stack lives on {host_of(wanted)} ({ROOT_FILE}), and this command would go to {settings.host};"
            " nothing was sent",
            hint="choose the profile for it: --profile NAME",
        )
    if fence.workspace_id is not None and fence.workspace_id != settings.workspace_id:
        raise UsageError(
            f"this stack lives in another workspace than this command would use ({ROOT_FILE}); nothing was sent",
            hint=f"pass --workspace {fence.workspace_id}",
        )
