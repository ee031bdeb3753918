"""Deployment files: load.py reads (with PyYAML, pydantic), export.py writes, normal.py compares."""
