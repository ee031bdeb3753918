"""Deployments as files: read by load.py, written by export.py, compared as normal.py has them.

Only load.py leads to PyYAML and pydantic: export.py and normal.py import neither.
"""
