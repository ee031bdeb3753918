"""A fake server: a model of the service on an injected clock, over loopback.

world.py is the service, of things in records.py, begun with samples.py; scripts.py says what
happens in it. wire.py has request and response. api.py calls a method of a request's kind: of
kinds.py, or what is special in catalog.py, contents.py and sessions.py. bodies.py checks what
callers say, faults.py lets things go wrong, server.py has the socket and alone knows an HTTP
library.
"""
