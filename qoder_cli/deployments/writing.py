"""The write of a deployment."""

from typing import Any

from qoder_cli.app import App
from qoder_cli.base.model import Deployment
from qoder_cli.http.change import ObjectWrite


class DeploymentWrite(ObjectWrite[Deployment]):
    """The write of a deployment, or of a new one; `settings` are those of `ObjectWrite`."""

    def __init__(self, app: App, path: str, body: Any = None, **settings: Any) -> None:
        super().__init__(app.client, path, body, parse=Deployment.read, **settings)
