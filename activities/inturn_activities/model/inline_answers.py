"""The answer as it travels to an `ask` that cannot read the journal.

Invariant: it is what the journal holds of the turn. It is put together from memory only where this attempt wrote the
whole turn, and nobody wrote to the session in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from inturn import sizes
from inturn.journal import Claim, Journal, NewEntry
from inturn.journal.views.turns import own_turn, read_turn, turn_of
from inturn.keys import StepKey
from inturn.values import Entry, Turn


async def from_journal(journal: Journal, step: StepKey, *, own: bool) -> Turn | None:
    """Read the turn; `own`: its event was not merged into another's."""
    read = own_turn if own else read_turn
    return await read(journal, step.session, step.turn.event_id)


def from_memory(step: StepKey, claim: Claim, written: Sequence[NewEntry], head: int) -> Turn | None:
    """Return the turn of one step that its claim opened and these entries ended; `None` where there is more to it.

    Args:
        step: The step.
        claim: Its claim, with what was new to this worker.
        written: The entries of its end.
        head: The session's last seq after them.
    """
    turn = step.turn
    opened = [e for e in claim.entries or () if e.type == "user.message" and e.event_id == turn.event_id]
    first_time = step.step == "0" and turn.turn == turn.event_id
    if not opened or not first_time or head != claim.head + len(written):
        return None
    now = datetime.now(UTC)
    ended = [
        Entry.model_construct(
            seq=claim.head + n, type=e.type, event_id=e.event_id, step=e.step, at=now, body=e.body, hash="", prev=""
        )
        for n, e in enumerate(written, start=1)
    ]
    return turn_of([*opened, *ended])


def inline(turn: Turn, most: int) -> dict[str, Any]:
    """Return a turn as JSON, its text cut to `most` bytes, and without an output that is larger."""
    text = turn.text.encode()
    if len(text) > most:
        turn = turn.model_copy(update={"text": text[:most].decode(errors="ignore"), "truncated": True})
    if sizes.written(turn.output) > most:
        turn = turn.model_copy(update={"output": None, "truncated": True})
    return turn.model_dump(mode="json", exclude_defaults=True, exclude={"tool_calls"})
