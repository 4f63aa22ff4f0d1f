"""A process that writes: `python -m tests.support.processes.journal_writer URL NAME SECONDS ACKNOWLEDGED`.

It runs turns in sessions of its own, and records in a session that all writers share. Whatever the journal acknowledged
goes as a line into the file ACKNOWLEDGED, so that it is known even of a process that was killed.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time

from inturn.journal import NewEntry, Recorded, open_journal
from inturn.keys import SessionKey
from tests.support.journal import plain_turn

SHARED = SessionKey("acme", "shared")
SESSIONS = 3


async def write(url: str, name: str, seconds: float, acknowledged: str) -> None:
    journal = open_journal(url)
    await journal.open()
    end = time.monotonic() + seconds
    file = os.open(acknowledged, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def acknowledge(session: SessionKey, key: str, started: float) -> None:
        os.write(file, f"{session.session_id} {key} {time.monotonic() - started:.6f}\n".encode())

    async def converse(session: SessionKey) -> None:
        count = 0
        while (started := time.monotonic()) < end:
            await plain_turn(journal, session, f"e{count}")
            acknowledge(session, f"e{count}", started)
            count += 1

    async def share() -> None:
        count = 0
        while (started := time.monotonic()) < end:
            key = f"{name}-{count}"
            await journal.record(SHARED, [Recorded(NewEntry("tool.progress", {"text": key}, key=key))])
            acknowledge(SHARED, key, started)
            count += 1

    await asyncio.gather(share(), *(converse(SessionKey("acme", f"{name}-{n}")) for n in range(SESSIONS)))
    await journal.close()
    os.close(file)


if __name__ == "__main__":
    asyncio.run(write(sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4]))
