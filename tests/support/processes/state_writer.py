"""A process that changes shared state: `python -m tests.support.processes.state_writer URL NAME SECONDS ACKNOWLEDGED`.

Whatever was acknowledged goes as a line into the file ACKNOWLEDGED, so that it is known even of a process that was
killed.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from contextlib import suppress

from inturn.errors import VersionConflict
from inturn.journal import Journal, open_journal
from inturn.journal.state.changes import Scope
from inturn.tools.shared_state import State

TENANT = "acme"
AT_ONCE = 4
LEASE = 2.0
"""Seconds; what the killed process held comes back after them, and what a starved one held as well."""


async def write(url: str, name: str, seconds: float, acknowledged: str) -> None:
    journal = open_journal(url)

    async def opened() -> Journal:
        return journal

    shared = State(opened, Scope(TENANT))  # what `client.shared` is, without the time that importing a client takes
    end = time.monotonic() + seconds
    file = os.open(acknowledged, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def acknowledge(what: str, key: object, started: float) -> None:
        os.write(file, f"{what} {key} {time.monotonic() - started:.6f}\n".encode())

    async def work(n: int) -> None:
        count = 0
        while (started := time.monotonic()) < end:
            key = f"{name}-{n}-{count}"
            sums = [await shared.incr("n", key=key) for _ in range(2)]
            assert sums[0] == sums[1], "an operation with a key was done twice"
            acknowledge("incr", sums[0], started)
            await shared.push("q", key, key=f"push-{key}")
            acknowledge("push", key, started)
            if n == 0:
                await shared.update("rounds", lambda value: (value or 0) + 1, attempts=1000)
                acknowledge("update", key, started)
            claim = await shared.claim("q", lease=LEASE)
            if claim is not None:
                with suppress(VersionConflict):
                    await shared.complete(claim)
                    acknowledge("complete", claim.item, started)
            count += 1

    await asyncio.gather(*(work(n) for n in range(AT_ONCE)))
    await journal.close()
    os.close(file)


if __name__ == "__main__":
    asyncio.run(write(sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4]))
