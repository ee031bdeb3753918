"""A listener on loopback that answers every connection alike: a proxy, a server with TLS, a gateway."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager


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
