"""Large events as they travel: without what they say, which the journal has."""

from __future__ import annotations

from typing import Any

from inturn.events import ClaimedEvent, make_event, split
from inturn.journal import SessionJournal
from inturn.keys import SessionKey
from inturn_workflows.inbox.events import Arrival


async def claimed(journal: SessionJournal, session: SessionKey, event_id: str, content: Any, **fields: Any) -> Any:
    """Put an event's content into a journal; return what travels."""
    travels, kept = split(make_event(event_id=event_id, content=content, **fields))
    return travels | {"claim": await journal.put_content(session, event_id, kept)}


def referring(event_id: str, size: int, **fields: Any) -> Arrival:
    """An arrival that refers to so many bytes."""
    claim = {"hash": "0" * 64, "size": size, "gen": 1, "journal": "j"}
    return Arrival.of(ClaimedEvent.model_validate({"event_id": event_id, "claim": claim, "preview": "a", **fields}))
