"""A tenant's sessions at a glance, for who watches many of them at once.

Invariant: one look costs three statements, whatever the sessions hold: a session is judged by its last entry.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any, Final

from inturn.journal.store.store import Transaction
from inturn.values import SessionGlance

_OPEN: Final = (
    "user.message",
    "turn.started",
    "agent.message",
    "agent.thinking",
    "agent.tool_use",
    "agent.tool_result",
    "tool.progress",
    "approval.requested",
    "approval.answered",
    "transcript.doubted",
    "session.compacted",
)
"""What is written while a turn runs, and behind its end only with the next one."""
_LATEST: Final = (
    "FROM sessions s JOIN entries e ON e.tenant = s.tenant AND e.session = s.session AND e.seq = s.head "
    "WHERE s.tenant = ? AND s.session NOT LIKE '~%'"
)


def overview(tx: Transaction, tenant: str, limit: int) -> list[SessionGlance]:
    """Return a tenant's sessions, those with the latest entries first."""
    select = f"SELECT s.session, s.head, s.closed, e.type, e.event_id, e.at {_LATEST} ORDER BY e.at DESC LIMIT ?"
    rows, parked = tx.execute(select, (tenant, limit)), _parked(tx, tenant)
    return [_glance(row, parked.get(row[0], 0)) for row in rows]


def active(tx: Transaction, tenant: str, session_ids: Collection[str]) -> dict[str, datetime]:
    """Return when sessions wrote their last entries, of those that have one."""
    if not session_ids:
        return {}
    some = f"{_LATEST} AND s.session IN ({', '.join('?' * len(session_ids))})"
    rows = tx.execute(f"SELECT s.session, e.at {some}", (tenant, *session_ids))
    return {session_id: _time(at) for session_id, at in rows}


def _parked(tx: Transaction, tenant: str) -> dict[str, int]:
    counted = "SELECT session, COUNT(*) FROM outcomes WHERE tenant = ? AND disposition = 'parked' GROUP BY session"
    return {session_id: int(count) for session_id, count in tx.execute(counted, (tenant,))}


def _glance(row: tuple[Any, ...], parked: int) -> SessionGlance:
    session_id, head, closed, type_, event_id, at = row
    return SessionGlance(
        session_id=session_id,
        head=head,
        type=type_,
        event_id=event_id,
        at=_time(at),
        open=type_ in _OPEN and not closed,
        parked=parked,
        closed=bool(closed),
    )


def _time(at: int) -> datetime:
    return datetime.fromtimestamp(at / 1e6, UTC)
