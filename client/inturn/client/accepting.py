"""Accepting a journal that a session does not know: another one than its own, or one that ends before.

Invariant: nothing is taken for complete. A session goes on with such a journal only after somebody said so, and the
journal says what it lacks.
"""

from __future__ import annotations

from dataclasses import dataclass

from inturn.client.status import StatusReader
from inturn.client.temporal.transport import SessionTransport
from inturn.errors import InvalidEvent, Unavailable


@dataclass
class JournalAcceptance:
    """Accepts the journal that this client reads for one session."""

    transport: SessionTransport

    async def accept(self, *, by: str | None, reason: str | None) -> None:
        """Accept it; see `Session.accept_journal`."""
        key, journal = self.transport.key, await self.transport.connection.any_journal()
        live = await StatusReader(self.transport).live()
        if live is None:
            raise Unavailable(f"session {key} does not say which journal it knows: start a worker first")
        identity = live.get("journal")
        known = isinstance(identity, str) and await journal.accept(
            key, identity, int(live.get("head") or 0), by=by, reason=reason
        )
        if not known:
            raise InvalidEvent(f"the journal here is that of session {key}, and complete: there is nothing to accept")
