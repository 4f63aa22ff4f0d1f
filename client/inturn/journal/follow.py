"""Following a journal as it grows.

Invariant: every entry comes once and in order, whichever process wrote it. A reader that starts again behind the last
seq it handled misses nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Final

from inturn.journal.values import Journal
from inturn.keys import SessionKey
from inturn.values import Entry

SHORTEST_PAUSE: Final = 0.020
"""Seconds between looks while something happens."""
LONGEST_PAUSE: Final = 0.250
"""Seconds between looks at a session that is quiet."""
_PAGE: Final = 500


async def follow(
    journal: Journal,
    session: SessionKey,
    after: int = 0,
    *,
    event_id: str | None = None,
    types: Sequence[str] = (),
    until: Callable[[Entry], bool] | None = None,
) -> AsyncGenerator[Entry, None]:
    """Give a session's entries behind `after`, then each new one as it is written, for ever or until `until` says so.

    Args:
        journal: Where to read. Any process may write, so this looks again and again; a quiet look is one row.
        session: Whose entries.
        after: The seq behind which to begin.
        event_id: Only this event's entries.
        types: Only entries of these types.
        until: Asked for each entry given; the first one it is true for is the last one.

    Raises:
        JournalUnavailable: The journal cannot be read; following on from the last entry is safe.
    """
    pause, looked = SHORTEST_PAUSE, -1
    while True:
        head = await journal.head(session)
        if head > looked:
            page = await journal.read(session, after=after, limit=_PAGE, event_id=event_id, types=types)
            for entry in page:
                after = entry.seq
                yield entry
                if until is not None and until(entry):
                    return
            if len(page) == _PAGE:
                continue
            looked, pause = head, SHORTEST_PAUSE
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, LONGEST_PAUSE)
