"""The rehearsal server: a model of the service on an injected clock, served over loopback or in process.

    world.py       the service, computed from the clock
    records.py     deployments, runs, sessions, and the requests that were seen
    scripts.py     what happens in a session, as beats on a time line
    presets.py     the deployments that are there to try

    ids.py         ids as the live service makes them
    wire.py        request and answer, free of any HTTP library
    api.py         the table of routes: handle(world, request) -> Answer
    operations.py  what each of them does
    call.py        a request on its way through an operation
    bodies.py      what a caller may write
    pages.py       limits, cursors and filters
    shapes.py      how things look, in either generation
    stream.py      a session's event stream, as one connection gets it

    grammar.py     how a fault is ordered
    faults.py      what can go wrong: Faults.answer(world, request) -> Answer
    inprocess.py   an httpx transport straight into the world
    server.py      the same over real sockets
    child.py       a command that runs inside the sandbox

Only inprocess.py and server.py know an HTTP library; only bodies.py knows pydantic.
"""
