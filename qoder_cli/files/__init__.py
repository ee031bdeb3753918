"""Deployments as files: read and checked by load.py, written by export.py, compared in the shape of normal.py.

Only load.py leads to PyYAML and pydantic: export.py and normal.py import neither.
"""
