"""A chat in the terminal that shows a turn's steps as they happen: `python -m examples.chat order-1001`.

Needs the worker's journal (`INTURN_JOURNAL`). End it whenever you like and come back: the session goes on without you.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

from inturn import Client, Entry, Session


async def say(session: Session, text: str) -> AsyncIterator[str]:
    """Send a message and tell what comes of it."""
    receipt = await session.submit(text, source="chat")
    async for entry in session.stream(receipt.event_id):
        if isinstance(entry, Entry) and (line := _line(entry)):
            yield line


def _line(entry: Entry) -> str | None:
    match entry.type:
        case "agent.message":
            return entry.text
        case "agent.tool_use":
            return f"  … {entry.body['tool']} {entry.body['args']}"
        case "turn.failed" | "turn.interrupted" | "event.parked":
            return f"  ({entry.type})"
        case _:
            return None


async def main(session_id: str) -> None:
    """Chat until the input ends."""
    async with Client() as client:
        session = client.session(session_id, agent="support")
        while text := await asyncio.to_thread(sys.stdin.readline):
            async for line in say(session, text.strip()):
                print(line, flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "chat"))
