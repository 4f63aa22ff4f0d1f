"""What becomes of a turn whose event's content is not to be had.

Invariant: only what one transaction found neither as a row nor as an entry is lost; a worker that reads another journal
than the sender wrote costs no event its turn.
"""

from __future__ import annotations

from inturn import names
from inturn.journal import JournalBehind
from inturn.journal.values import Missing
from inturn_activities import failures


def missing_content(missing: Missing, event_id: str) -> Exception:
    """Return the error that sets the event aside, or that waits for a worker with the journal that has it."""
    match missing:
        case "elsewhere":
            return JournalBehind(f"what event {event_id} says was put into another journal than the one here")
        case "false":
            return failures.final(names.INVALID_EVENT, f"event {event_id} has another size than it said")
        case "lost":
            message = f"content_lost: the journal does not have what event {event_id} says; send the same event again"
            return failures.final(names.CONTENT_LOST, message)
