"""A fake server: a model of the service on an injected clock, over loopback or in process.

world.py is the service, of records.py; scripts.py and presets.py say what happens in it. wire.py has request and
response, api.py the table of routes, operations.py what each of them does with a call.py; bodies.py and pages.py read
what it asks, shapes.py and stream.py write what it is told. faults.py lets things go wrong. inprocess.py is an httpx
transport into the world, server.py the same over sockets, child.py a command that runs inside.

Only inprocess.py and server.py know an HTTP library; only bodies.py knows pydantic.
"""
