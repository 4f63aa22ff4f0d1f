"""What a session is called towards a model's provider.

Invariant: the name says nothing. Sessions are named by phone numbers and mail addresses, which a provider must not be
given, and could guess from a plain hash; so it is keyed by what only the session's journal knows. It stays the same for
a session on every worker, and goes with its journal.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from typing import Final

from inturn.journal import Journal
from inturn.journal.log import forks
from inturn.keys import SessionKey

KEPT: Final = 2_000
_HALF: Final = 32
"""Hex digits of a name."""


class OpaqueNames:
    """The names of the sessions that this worker serves."""

    def __init__(self, journal: Journal) -> None:
        """Key names by a journal."""
        self._journal = journal
        self._kept: OrderedDict[SessionKey, str] = OrderedDict()

    async def of(self, session: SessionKey) -> str:
        """Return a session's name; it has begun."""
        if session not in self._kept:
            began = await self._journal.entry(session, forks.KEY)
            self._kept[session] = opaque(session, began.hash if began else "")
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return self._kept[session]


def opaque(session: SessionKey, secret: str) -> str:
    """Return a session's name under a secret."""
    return hmac.new(secret.encode(), str(session).encode(), hashlib.sha256).hexdigest()[:_HALF]
