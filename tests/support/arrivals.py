"""Events as they come to an inbox."""

from __future__ import annotations

from inturn.events import Event
from inturn_workflows.inbox.events import Arrival


def arrival(event: Event, size: int) -> Arrival:
    """Return an event's arrival, with whatever size a test needs: it is only a number."""
    return Arrival(event, event.wire(), size)
