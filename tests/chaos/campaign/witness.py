"""The world outside the workers: keeps the ledger of what their steps did, and the logs of producers and faults.

Invariant: it lives in the campaign's process, which no fault touches, and writes down what it is told before it looks
at it.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections import defaultdict
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TextIO

POISON: Final = "[[poison]]"
"""An event with it fails for good, where the scripted model answers."""
PATIENCE: Final = 1.5
"""Seconds that a session waits for a number that its source left out."""


class Log:
    """JSON lines, each with the time."""

    def __init__(self, path: Path) -> None:
        self._file: TextIO = path.open("a", buffering=1 << 16)

    def write(self, **line: Any) -> None:
        """Write one line."""
        self._file.write(json.dumps({**line, "time": round(time.time(), 6)}, separators=(",", ":")) + "\n")

    def close(self) -> None:
        """Write the rest."""
        self._file.close()


class Witness(asyncio.DatagramProtocol):
    """`with Witness(directory) as witness`: the socket that steps report to.

    Attributes:
        seen: The events of each session that a model was asked about.
        effects: Bodies of tools that ran.
        calls: Calls that producers made; `sessions` likewise.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / "witness.sock"
        self.producers = Log(directory / "producers.jsonl")
        self.faults = Log(directory / "faults.jsonl")
        self.seen: defaultdict[str, set[str]] = defaultdict(set)
        self.effects = 0
        self.calls = 0
        self.sessions: set[str] = set()
        self._ledger = Log(directory / "effects.jsonl")

    def session(self, name: str, canary: str) -> None:
        """Note that a session begins."""
        self.sessions.add(name)
        self.producers.write(op="session", session=name, canary=canary, patience=PATIENCE)

    def invoke(self, **call: Any) -> None:
        """Note a call before it is made."""
        self.calls += 1
        self.producers.write(op="invoke", **call)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Book a row."""
        row = json.loads(data)
        self._ledger.write(**row)
        if row["kind"] == "model":
            self.seen[row["session"]].update(row["said"])
        else:
            self.effects += 1

    async def __aenter__(self) -> Self:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.bind(str(self.path))
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, sock=sock)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._transport.close()
        for log in (self._ledger, self.producers, self.faults):
            log.close()
