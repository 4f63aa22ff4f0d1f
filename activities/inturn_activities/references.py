"""What sessions show by reference, kept in memory between their requests.

Invariant: what is kept is what the journal has; it is bounded in bytes, and dropping any of it changes no answer.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from inturn.journal import Journal
from inturn.keys import SessionKey

KEPT: Final = 64 * 1024 * 1024
"""Bytes of a worker."""


class References:
    """The least recently shown go first."""

    def __init__(self, journal: Journal, *, size: int = KEPT) -> None:
        """Read from a journal, and keep so many bytes."""
        self._journal = journal
        self._left = size
        self._kept: OrderedDict[tuple[SessionKey, str], bytes] = OrderedDict()

    async def load(self, session: SessionKey, ref: str) -> bytes | None:
        """Return what is under a reference of a session; `None`: nothing is."""
        data = self._kept.pop((session, ref), None)
        if data is not None:
            self._left += len(data)
        else:
            data = await self._journal.blob(session, ref)
        if data is not None:
            self._keep((session, ref), data)
        return data

    def _keep(self, name: tuple[SessionKey, str], data: bytes) -> None:
        before = self._kept.pop(name, b"")  # another request of the session has just read it, too
        self._left += len(before) - len(data)
        self._kept[name] = data
        while self._left < 0:
            _, dropped = self._kept.popitem(last=False)
            self._left += len(dropped)
