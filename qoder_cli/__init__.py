"""`qoder`: run, watch and judge Qoder Cloud Agents deployments from a terminal or a script."""

__version__ = "0.1.0"
