"""What becomes of a turn whose event's content is not to be had.

Invariant: only what one transaction found neither as a row nor as an entry is lost. What a sender put into another
journal than the worker's is waited for, but not for ever: anybody may name a journal that does not exist.
"""

from __future__ import annotations

from inturn import names
from inturn.journal import Journal, JournalBehind
from inturn.journal.values import Missing
from inturn.keys import StepKey
from inturn_activities import failures


async def missing_content(journal: Journal, step: StepKey, missing: Missing, *, patience: float) -> Exception:
    """Return the error that sets the event aside, or that has another attempt, or another worker, look for it.

    Args:
        journal: The one here.
        step: The turn's step.
        missing: Why it is not to be had.
        patience: Seconds for which it is waited for, where another journal has it.
    """
    event_id = step.turn.event_id
    if missing == "false":
        return failures.final(names.INVALID_EVENT, f"event {event_id} has another size than it said")
    what = "the journal does not have what event {} says"
    if missing == "elsewhere":
        what = "what event {} says was put into another journal than the one here"
        # Waited for once for all such events: a sender that names a hundred such journals costs no more than one.
        if await journal.lacking(step.session.turn("~content").step("elsewhere")) < patience:
            return JournalBehind(what.format(event_id))
    return failures.final(names.CONTENT_LOST, f"content_lost: {what.format(event_id)}; send the same event again")
