"""A fake server: a model of the service on an injected clock, over loopback.

world.py is the service, of records.py; scripts.py and presets.py say what happens in it. wire.py has request
and response, call.py a request on its way. deployments.py and sessions.py are what it can ask for, api.py
answers it; bodies.py reads what it says, shapes.py and stream.py write what it is told. All else is kept by store.py
as kept.py has it, with what is special in catalog.py, contents.py and work.py; samples.py is there from the start.
faults.py lets things go wrong. server.py puts it on a socket, child.py runs a command inside.

Only server.py knows an HTTP library, only bodies.py knows pydantic.
"""
