"""A wire to PostgreSQL that counts what goes over it, and can be slow, or be cut where it hurts.

A trip is a change of direction: the client sends again after it was answered. A statement is an Execute message.
`in_turn` is the wire of a busy machine: what a client sends behind a Sync gets through after that is answered.
"""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from types import TracebackType
from typing import Final

_PLAIN: Final = 80_000_000
"""Codes of first messages above this ask for encryption; those below begin a session."""
_READY: Final = b"Z\0\0\0\5"
"""What answers a Sync, before the state of the transaction."""


class PostgresProxy:
    """`with PostgresProxy(port) as proxy:` listens at `proxy.port`; counts are of all connections together."""

    def __init__(self, port: int, *, delay: float = 0.0, in_turn: bool = False) -> None:
        self._target = port
        self.delay = delay
        self.in_turn = in_turn
        self.trips = 0
        self.statements = 0
        self.lose: Callable[[bytes], bool] | None = None
        """Told each answer of the server: whether to cut the connection instead of passing it on."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> PostgresProxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Reset all connections."""
        while self._sockets:
            one = self._sockets.pop()
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def counted(self) -> tuple[int, int]:
        """Return trips and statements since the last time."""
        found = self.trips, self.statements
        self.trips = self.statements = 0
        return found

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                for one in (client, server):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._sockets += [client, server]
                _Wire(self, client, server)


class _Wire:
    """One connection."""

    def __init__(self, proxy: PostgresProxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._answered = True
        self._begun = False
        self._pending = b""
        self._ready = threading.Event()
        self._client, self._server = client, server
        self._late: SimpleQueue[tuple[float, bytes]] = SimpleQueue()
        for pump in (self._requests, self._answers, self._deliver):
            threading.Thread(target=pump, daemon=True).start()

    def _requests(self) -> None:
        with suppress(OSError):
            while data := self._client.recv(1 << 16):
                if self._answered:
                    self._answered, self._proxy.trips = False, self._proxy.trips + 1
                self._send(data, self._complete(data))
        self._close()

    def _send(self, data: bytes, messages: list[bytes]) -> None:
        self._proxy.statements += sum(message[:1] == b"E" for message in messages)
        if not self._proxy.in_turn:
            return self._server.sendall(data)
        for message in messages:
            self._ready.clear()
            self._server.sendall(message)
            if message[:1] == b"S":
                self._ready.wait(10.0)

    def _answers(self) -> None:
        with suppress(OSError):
            while data := self._server.recv(1 << 16):
                if self._proxy.lose is not None and self._proxy.lose(data):
                    break
                if data[-6:-1] == _READY:
                    self._ready.set()
                self._late.put((time.monotonic() + self._proxy.delay, data))
        self._late.put((0.0, b""))

    def _deliver(self) -> None:
        with suppress(OSError):
            while (late := self._late.get())[1]:
                time.sleep(max(late[0] - time.monotonic(), 0.0))
                self._answered = True
                self._client.sendall(late[1])
        self._close()

    def _complete(self, data: bytes) -> list[bytes]:
        """Return the messages that are complete by now; the first ones of a connection have no type."""
        self._pending += data
        found = list[bytes]()
        while len(self._pending) >= (5 if self._begun else 8):
            typed = 1 if self._begun else 0
            end = int.from_bytes(self._pending[typed : typed + 4], "big") + typed
            if len(self._pending) < end:
                break
            message, self._pending = self._pending[:end], self._pending[end:]
            found.append(message)
            self._begun = self._begun or int.from_bytes(message[4:8], "big") < _PLAIN
        return found

    def _close(self) -> None:
        for one in (self._client, self._server):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


if __name__ == "__main__":  # PORT DELAY: prints its own port, and goes on until it is ended
    with PostgresProxy(int(sys.argv[1]), delay=float(sys.argv[2])) as made:
        print(made.port, flush=True)
        threading.Event().wait()
