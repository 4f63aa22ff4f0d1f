"""The journal as clients see it: the half of it that claims nothing.

Invariant: whatever a method promises holds in one transaction, on every backend. Callers never see SQL, and no backend
adds a rule of its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, Protocol

from inturn.journal.limits.requests import Place
from inturn.journal.state.changes import Change, Done, Operation, Scope
from inturn.journal.values import Ending, Outcome, Resolution
from inturn.keys import SessionKey, StepKey
from inturn.values import Entry, UnknownOutcome

PAGE: Final = 500
"""Entries that are read at once."""


class SessionJournal(Protocol):
    """The append-only log of sessions: what clients, the gateway and the command line need of it.

    Every method may raise `inturn.errors.JournalUnavailable`: the same call again is then safe.
    """

    async def open(self) -> None:
        """Connect, and create the tables where there are none. Calling it twice does nothing."""

    async def close(self) -> None:
        """Finish what is queued and disconnect."""

    # The log.

    async def read(
        self,
        session: SessionKey,
        *,
        after: int = 0,
        limit: int = PAGE,
        event_id: str | None = None,
        types: Sequence[str] = (),
    ) -> list[Entry]:
        """Return at most `limit` entries behind `after`, in order; only of one event and some types where given."""
        ...

    async def entries(
        self, session: SessionKey, *, after: int = 0, event_id: str | None = None, types: Sequence[str] = ()
    ) -> AsyncIterator[Entry]:
        """Yield all entries behind `after`, in order of seq; only of one event and of some types where given."""
        full = True
        while full:
            page = await self.read(session, after=after, limit=PAGE, event_id=event_id, types=types)
            full = len(page) == PAGE
            for entry in page:
                after = entry.seq
                yield entry

    async def head(self, session: SessionKey) -> int:
        """Return the session's last seq, 0 where it has none."""
        ...

    async def heads(self, after: Mapping[SessionKey, int]) -> dict[SessionKey, int]:
        """Return the heads of those sessions that have entries behind the seq given for each."""
        ...

    async def version(self) -> int | None:
        """Return a number that changes with every commit of any process, where looking at it is cheap; else `None`."""
        ...

    async def latest_event(self, session: SessionKey) -> str | None:
        """Return the event whose turn began last."""
        ...

    async def parked(self, session: SessionKey, *, limit: int = 100) -> list[Entry]:
        """Return the latest `event.parked` entries whose events are still parked."""
        ...

    async def verify(self, session: SessionKey) -> list[str]:
        """Check the hash chain; return a line for each seq that does not fit."""
        ...

    async def blob(self, session: SessionKey, ref: str) -> bytes | None:
        """Return the bytes of a reference; `None` where this session has no such reference."""
        ...

    # How events ended.

    async def outcome(self, session: SessionKey, event_id: str) -> Outcome | None:
        """Return how an event ended, where it did."""
        ...

    async def outcomes(self, session: SessionKey) -> dict[str, int]:
        """Count the session's ended events by disposition."""
        ...

    async def endings(self, session: SessionKey) -> dict[str, Ending]:
        """Return how each event ended, by its outcome and by the entries; those that did in either."""
        ...

    # Calls whose outcome is unknown.

    async def unknown_calls(self, session: SessionKey) -> list[UnknownOutcome]:
        """Return the calls whose outcome is unknown and that nobody resolved, in order of their results."""
        ...

    async def resolve_call(self, call: StepKey, resolution: Resolution) -> Resolution | None:
        """Resolve a call whose outcome is unknown, with a `system.message`.

        Returns:
            The resolution on record: an earlier one, where there is one. `None`: the outcome is not unknown.
        """
        ...

    # Cursors, shared state, limits.

    async def cursor(self, tenant: str, name: str, session_id: str) -> int:
        """Return a stored cursor's seq, 0 where it has none."""
        ...

    async def move_cursor(self, tenant: str, name: str, session_id: str, seq: int) -> int:
        """Move a stored cursor forward (never back); return where it is."""
        ...

    async def value(self, scope: Scope, name: str) -> tuple[Any, int] | None:
        """Return a named value with its version, where there is one."""
        ...

    async def change(self, scope: Scope, change: Change, operation: Operation) -> Done:
        """Change shared state, or return what came of this operation before.

        Raises:
            Superseded: The operation's attempt does not hold its call any more.
            ToolError, ValueError: The operation was another before, or the value is not one to change so.
        """
        ...

    async def recall(self, scope: Scope, operation: Operation, what: str) -> Done | None:
        """Return what came of an operation before, where it is not to be done anew. `what`: see `changes.describe`."""
        ...

    async def places(self, tenant: str | None = None) -> list[Place]:
        """Return who holds what and who waits for it, of one tenant or of all."""
        ...
