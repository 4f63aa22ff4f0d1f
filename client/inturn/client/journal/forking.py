"""Forking a session.

Invariant: a fork's id was nobody's before: neither the journal nor the server knows a session of that name.
"""

from __future__ import annotations

from dataclasses import replace

from inturn.client.status import StatusReader
from inturn.client.temporal.transport import SessionTransport
from inturn.errors import InvalidEvent, SessionNotFound
from inturn.keys import ID_PATTERN, SessionKey, is_id


async def fork(transport: SessionTransport, new_id: str, upto: str | None) -> SessionTransport:
    """Make a fork, where it is not made yet; return what reaches it. See `Session.fork`."""
    session = transport.key
    if not is_id(new_id):
        raise InvalidEvent(f"session id {new_id!r:.200} does not match {ID_PATTERN}")
    if upto is not None and not is_id(upto):
        raise InvalidEvent(f"session {session} has no event {upto!r:.200}")
    made = replace(transport, key=SessionKey(session.tenant, new_id))
    journal = await transport.connection.any_journal()
    if await journal.head(made.key) == 0 and await _exists(made):
        raise InvalidEvent(f"there is a session {made.key} already: a fork needs an id that was never used")
    await journal.fork(session, new_id, upto=upto)
    return made


async def _exists(transport: SessionTransport) -> bool:
    """Return whether the server knows a session; what it was only sent is not in the journal yet."""
    try:
        await StatusReader(transport).described()
    except SessionNotFound:
        return False
    return True
