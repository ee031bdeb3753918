"""A fake server: a model of the service on an injected clock, over loopback.

world.py is the service, of things in records.py with fields of kept.py, begun with samples.py.
scripts.py and presets.py say what happens in it. wire.py has request and response; call.py is a
request on its way to api.py, which calls a method of its kind: of kinds.py, or what is special in
deployments.py, sessions.py with stream.py, catalog.py, contents.py. bodies.py checks what callers
say, faults.py lets things go wrong, server.py has the socket, child.py runs a command inside.

Only server.py knows an HTTP library, only bodies.py knows pydantic.
"""
