"""Other ids of events.

Invariant: an id stands for one event, the one that took it last; who asks how an event ended is told how that one did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from inturn.journal.store.store import Transaction
from inturn.journal.values import NewEntry
from inturn.keys import SessionKey

EVENT: Final = "(SELECT event_id FROM aliases WHERE tenant = ? AND session = ? AND alias = ?)"
"""An expression: the event that has an id as another one of its own; its parameters are session and id."""


def told(entries: Sequence[NewEntry]) -> dict[str, list[str]]:
    """Return the other ids of the events that these entries say, by event."""
    found = {
        str(e.body.get("joined") or e.event_id): e.body.get("aliases") for e in entries if e.type == "user.message"
    }
    return {event_id: list(aliases) for event_id, aliases in found.items() if aliases}


def put(tx: Transaction, session: SessionKey, aliases: Mapping[str, Sequence[str]]) -> None:
    """Write the other ids of events."""
    rows = {alias: event_id for event_id, others in aliases.items() for alias in others if alias != event_id}
    if not rows:
        return
    values = [(session.tenant, session.session_id, *row) for row in sorted(rows.items())]
    tx.execute(
        "INSERT INTO aliases (tenant, session, alias, event_id) VALUES "
        + ", ".join(["(?, ?, ?, ?)"] * len(values))
        + " ON CONFLICT (tenant, session, alias) DO UPDATE SET event_id = excluded.event_id",
        [value for row in values for value in row],
    )


def of(tx: Transaction, session: SessionKey) -> dict[str, str]:
    """Return a session's events by their other ids."""
    where = (session.tenant, session.session_id)
    return dict(tx.execute("SELECT alias, event_id FROM aliases WHERE tenant = ? AND session = ?", where))
