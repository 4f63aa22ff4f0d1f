"""What is parked when a session begins anew: told to it, so that it can be driven again or given up there as before.

Invariant: what was asked of a parked event and acknowledged happens, once: the first that was asked since it was parked
decides. What was given up is written, what was to be driven again is asked of the session again under the same id.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Final

from inturn import names, sizes
from inturn.histories import Fields
from inturn.journal import Journal
from inturn.keys import SessionKey
from inturn.values import Entry
from inturn_activities.asked import Ask, again
from inturn_activities.messages import Decision
from inturn_activities.recorded_ends import recorded_outcome

RESTORE: Final = "restore"
"""The control that tells the session of one."""
Asks = Mapping[str, Iterable[Ask]]
"""What was asked of parked events, in order."""


async def asked(journal: Journal, session: SessionKey, asks: Asks) -> tuple[list[Decision], list[Fields]]:
    """Return the decisions that give parked events up, and the controls that drive others again."""
    given_up, redrives = list[Decision](), list[Fields]()
    for event_id, each in asks.items():
        entry = await _parked(journal, session, event_id)
        ask = None if entry is None else next((ask for ask in each if ask.at >= entry.at), None)
        if entry is None or ask is None:
            continue
        if ask.control.get("op") == "discard":
            given_up.append(_discard(str(entry.body.get("turn") or event_id), ask))
        else:
            redrives.append(ask.control)
    return given_up, redrives


async def letters(
    journal: Journal, session: SessionKey, told: set[str], redriven: Iterable[str] = ()
) -> AsyncIterator[Fields]:
    """Yield a control for each of the latest parked events, and for those that are to be driven again; but for `told`.

    Afterwards all of them are `told`.
    """
    latest = {str(entry.event_id): entry for entry in await journal.parked(session)}
    for event_id in redriven:
        entry = latest.pop(event_id, None) or await _parked(journal, session, event_id)
        if entry is not None:  # behind the others: there is room for so many
            latest[event_id] = entry
    for event_id, entry in latest.items():
        if event_id in told:
            continue
        told.add(event_id)
        letter = await _letter(journal, session, entry)
        control_id = again(f"{RESTORE} {event_id}")
        yield {"control_id": control_id, "op": RESTORE, "event_id": event_id, "parked": letter}


def valid(entry: Entry) -> bool:
    """Return whether what is parked is an event: of what never was one there are no attempts to tell of."""
    return "attempts" not in entry.body


async def _letter(journal: Journal, session: SessionKey, entry: Entry) -> dict[str, Any]:
    """Return what a session notes of a parked event."""
    body, outcome = entry.body, await journal.outcome(session, str(entry.event_id))
    effects = outcome is not None and (await recorded_outcome(journal, session, outcome)).effects
    return {
        "turn": str(body.get("turn") or entry.event_id),
        "at": entry.at.timestamp(),
        "error": sizes.clip(str(body.get("error") or ""), sizes.PREVIEW),
        "preview": sizes.clip(str(body.get("preview") or ""), sizes.PREVIEW),
        "effects": effects,
        "valid": valid(entry),
        "lost": body.get("type") == names.CONTENT_LOST,
    }


async def _parked(journal: Journal, session: SessionKey, event_id: str) -> Entry | None:
    """Return the entry of a parked event; `None`: it is not parked."""
    outcome = await journal.outcome(session, event_id)
    if outcome is None or outcome.disposition != "parked":
        return None
    return await journal.entry(session, f"{outcome.turn}/parked")


def _discard(turn: str, ask: Ask) -> Decision:
    reason = ask.control.get("reason")
    body = {"reason": reason if isinstance(reason, str) else "discarded", "turn": turn}
    key, at = f"{turn}/discarded", ask.at.timestamp()
    return Decision(type="event.cancelled", turn=turn, key=key, disposition="discarded", body=body, at=at)
