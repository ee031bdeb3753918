"""Deployments as files: reading and checking them, and writing them.

    source.py     files, folders and standard input, to text
    tree.py       what a text says, as values that know their line
    jsonread.py   JSON text to trees
    yamlread.py   YAML text to trees; the only module that knows PyYAML
    variables.py  ${VAR}, filled in from the environment
    normal.py     the one shape in which files and the server's objects are compared
    model.py      the documented limits, as pydantic's models
    check.py      what is wrong by them, in words
    problems.py   what is wrong in files, as one error
    load.py       all of it together: load(paths) -> list[Declared]
    export.py     the way back: export(deployment) -> YAML

Only load.py leads to PyYAML and pydantic: export.py and normal.py import neither.
"""
