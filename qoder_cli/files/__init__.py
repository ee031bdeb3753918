"""Deployment files: load.py reads, export.py writes, normal.py compares them.

Only load.py leads to PyYAML and pydantic.
"""
