"""A network before a PostgreSQL server that carries what is said until a moment, and nothing after it."""

import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

_READY = b"Z\x00\x00\x00\x05I"  # the server waits for a statement
_A_FEW = 9  # bytes of an answer


class Moment(NamedTuple):
    """When it goes silent: at the connection, after the login, or at the statement that has a word in it.

    That statement is not done, done, or done and half answered.
    """

    at: Literal["connection", "login", "statement"]
    word: bytes = b""
    how: Literal["lost", "done", "half answered"] = "lost"


class SilentNetwork:
    """Carries connections to a port of this machine. Once it is silent no later one is carried; a file says so."""

    def __init__(self, port: int, moment: Moment, file: Path) -> None:
        self._file = file
        self._is_silent = False
        self._is_asked = False
        self._to = port
        self._moment = moment
        self._door = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port: int = self._door.getsockname()[1]
        threading.Thread(target=self._listen, daemon=True).start()

    def _fall_silent(self) -> None:
        self._is_silent = True
        self._file.touch()

    def close(self) -> None:
        self._door.close()

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._door.accept()
                if self._moment.at == "connection":
                    self._fall_silent()
                server = socket.create_connection(("127.0.0.1", self._to))
                for work in (self._ask, self._answer):
                    threading.Thread(target=work, args=[client, server], daemon=True).start()

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        """Carry what the client says; when it is gone, let go of both."""
        with suppress(OSError):
            while said := client.recv(65_536):
                if self._is_silent:
                    continue
                if self._moment.at == "statement" and self._moment.word in said:
                    self._is_asked = self._moment.how == "half answered"
                    if not self._is_asked:
                        self._fall_silent()
                    if self._moment.how == "lost":
                        continue
                server.sendall(said)
        for each in (client, server):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)  # also where the other thread listens
            each.close()

    def _answer(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while said := server.recv(65_536):
                if self._is_silent:
                    continue
                if self._is_asked:
                    self._fall_silent()
                    said = said[:_A_FEW]
                client.sendall(said)
                if self._moment.at == "login" and _READY in said:
                    self._fall_silent()
