"""Readers in a process of their own: `python -m bench.live.reader URL EVENT SESSION…`.

It prints a line once its sessions are watched, and how late each piece came, in seconds, when all turns have ended. A
piece says when the model said it, by this machine's clock.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import suppress
from typing import Final

from inturn import Client
from inturn.journal import Journal
from inturn.keys import SessionKey
from inturn.values import Delta
from tests.support.waiting import until

TENANT: Final = "bench"


async def read(client: Client, session: str, event: str, late: list[float]) -> None:
    """Read one session's turn."""
    async for new in client.session(session).stream(event):
        now = time.time()
        if isinstance(new, Delta):
            late += [now - said for said in times(new.text)]


def times(text: str) -> list[float]:
    """Return when each piece of a text was said; one that is cut says nothing."""
    found: list[float] = []
    for piece in text.split(" "):
        with suppress(ValueError):
            said = float(piece)
            found += [said] if len(piece) == len(f"{said:.6f}") else []
    return found


async def main(url: str, event: str, sessions: list[str]) -> None:
    """Read all of them."""
    client, late = Client(journal=url, tenant=TENANT), list[float]()
    reading = [asyncio.create_task(read(client, session, event, late)) for session in sessions]
    journal = await client._connection.any_journal()
    assert isinstance(journal, Journal)
    keys = [SessionKey(TENANT, session) for session in sessions]

    async def watched() -> bool:
        return len(await journal.watched(keys)) == len(keys)

    await until(watched)
    print("watched", flush=True)
    await asyncio.gather(*reading)
    await client.aclose()
    print(json.dumps(late), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
