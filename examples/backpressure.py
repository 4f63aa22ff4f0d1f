"""Many events into one session, none lost, none twice: `seq 2000 | python -m examples.backpressure import-1`.

A full inbox refuses with `Backpressure`; waiting as long as it says, then submitting the same id, gets every event in.
Run it again after a crash: what is in already is answered `duplicate`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable

from inturn import Backpressure, Client, Receipt, Session


async def submit(session: Session, text: str, event_id: str) -> Receipt:
    """Submit one event, however long the inbox is full."""
    while True:
        try:
            return await session.submit(text, event_id=event_id, source="import")
        except Backpressure as full:
            await asyncio.sleep(full.retry_after)


async def load(session: Session, lines: Iterable[str]) -> dict[str, int]:
    """Submit all lines in order; count the receipts by status."""
    counts: dict[str, int] = {}
    for number, line in enumerate(lines):
        receipt = await submit(session, line.strip(), f"line-{number}")
        counts[receipt.status] = counts.get(receipt.status, 0) + 1
    return counts


async def main(session_id: str) -> None:
    """Load standard input."""
    async with Client() as client:
        print(await load(client.session(session_id, agent="support"), sys.stdin))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "import"))
