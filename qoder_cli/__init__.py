"""`qoder`: run, watch and judge Qoder Cloud Agents deployments from a terminal or a script."""

import sys

# Here, because nothing gets past it: pip builds the wheel, whose man pages need the commands, before it compares
# `requires-python`. An older Python has to be able to read this file.
if sys.version_info < (3, 11):  # noqa: UP036
    sys.stderr.write("error: qoder needs Python 3.11 or newer\n")
    sys.exit(2)  # nothing was started: 1 would say that a run failed

# Written when it is built or installed, from the newest tag (pyproject.toml).
from qoder_cli._version import __version__ as __version__  # not before an older Python was told
