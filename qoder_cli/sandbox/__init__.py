"""A fake server: a model of the service on an injected clock, over loopback.

world.py is the service, of records.py, each thing with the fields of kept.py; samples.py is there
from the start. scripts.py and presets.py say what happens in it. wire.py has request and response,
call.py a request on its way to api.py, which answers it by a method of its kind. kinds.py is what
all kinds can be asked for; deployments.py, sessions.py with stream.py, catalog.py and contents.py
say what is special. bodies.py checks what callers say. faults.py lets things go wrong. server.py
puts it on a socket, child.py runs a command inside.

Only server.py knows an HTTP library, only bodies.py knows pydantic.
"""
