"""Listeners on loopback: one that answers every connection alike, and one that forwards them and breaks one."""

import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple


@contextmanager
def listening(answer: bytes, context: ssl.SSLContext | None = None) -> Iterator[tuple[int, list[bytes]]]:
    """Listen on loopback, note the first bytes of every connection, and answer each the same."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_serve, args=[listener, answer, context, heard], daemon=True).start()
        yield listener.getsockname()[1], heard


def _serve(listener: socket.socket, answer: bytes, context: ssl.SSLContext | None, heard: list[bytes]) -> None:
    while True:
        try:
            connection, _ = listener.accept()
            with context.wrap_socket(connection, server_side=True) if context else connection as stream:
                heard.append(stream.recv(65536))
                stream.sendall(answer)
        except ssl.SSLError:
            continue  # the client did not trust us
        except OSError:
            return


class Break(NamedTuple):
    """How a connection breaks: after so many bytes `out` to the server, or back `in`."""

    how: str  # both ends are cut; the client's is reset; one direction is closed; nothing goes that way any more
    way: str
    after: int


@contextmanager
def breaking(port: int, fault: Break) -> Iterator[int]:
    """Forward connections to a server on this machine, but break that of the first trigger; yield the port."""
    links: list[_Link] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    links.append(_Link(client, socket.create_connection(("127.0.0.1", port)), fault, links))

        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)  # wakes who accepts
        accepting.join()
    for link in links:
        link.close()


class _Link:
    """One connection, in two sockets; the first of `links` that carries a trigger breaks."""

    def __init__(self, client: socket.socket, server: socket.socket, fault: Break, links: "list[_Link]") -> None:
        self._client, self._server, self._fault, self._links = client, server, fault, links
        self.breaks = False
        self._left = fault.after
        self._threads = []
        for way, source, target in (("out", client, server), ("in", server, client)):
            source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._threads.append(threading.Thread(target=self._forward, args=[way, source, target], daemon=True))
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self.cut()
        for thread in self._threads:
            thread.join()
        self._client.close()
        self._server.close()

    def cut(self) -> None:
        for end in (self._client, self._server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _forward(self, way: str, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                is_trigger = data.startswith(b"POST ") and b"/run HTTP" in data[:300]
                if is_trigger and not any(link.breaks for link in self._links):
                    self.breaks = True
                if self.breaks and way == self._fault.way:
                    data = data[: self._left]
                    self._left -= len(data)
                target.sendall(data)
                if self.breaks and way == self._fault.way and self._left == 0:
                    return self._break(target)
            target.shutdown(socket.SHUT_WR)

    def _break(self, target: socket.socket) -> None:
        if self._fault.how == "reset":
            self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._client.shutdown(socket.SHUT_RD)  # wakes who reads from it, so that closing it resets it
            self._client.close()
        if self._fault.how in ("reset", "cut"):
            self.cut()
        elif self._fault.how == "half-close":
            target.shutdown(socket.SHUT_WR)
