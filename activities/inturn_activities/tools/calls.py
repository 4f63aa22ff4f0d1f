"""A tool call as the journal holds it.

Invariant: a call is found by its place, the key of its entry, and never by the model's id; what runs is what the model
asked for and the journal recorded, and arguments never travel through the workflow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from pydantic import ValidationError

from inturn.events import Event
from inturn.journal import Journal
from inturn.keys import StepKey, TurnKey
from inturn.tools.context import EVENT_FIELDS
from inturn.turns.answers import ToolUse
from inturn_activities.failures import OwnFailure


@dataclass(frozen=True, slots=True)
class Call:
    """A call, and the event in whose turn it is."""

    use: ToolUse
    event: Event


def use_key(step: StepKey) -> str:
    """Return the key of the entry that says what the model asked for."""
    return f"{step.within_session}/use"


async def find_call(journal: Journal, step: StepKey) -> Call:
    """Return the call of a step.

    Raises:
        OwnFailure: The journal has no call there.
    """
    use = await journal.entry(step.session, use_key(step))
    if use is None:
        raise OwnFailure(f"the journal holds no call at {step.within_session}")
    return Call(ToolUse.of(use.body), await find_event(journal, step.turn))


async def find_arguments(journal: Journal, step: StepKey) -> dict[str, Any] | None:
    """Return the arguments of a call, where the journal has it and they are an object."""
    use = await journal.entry(step.session, use_key(step))
    args = use.body.get("args") if use else None
    return cast("dict[str, Any]", args) if isinstance(args, dict) else None


async def find_event(journal: Journal, turn: TurnKey) -> Event:
    """Return the event of a turn; without content where the journal has none (it expired, or was rejected)."""
    found: Event | None = None
    async for entry in journal.entries(turn.session, event_id=turn.event_id, types=("user.message",)):
        found = _event(turn, entry.body) or found
    return found or Event.model_construct(event_id=turn.event_id, content="")


def _event(turn: TurnKey, body: Mapping[str, Any]) -> Event | None:
    if "joined" in body:
        return None
    known = {name: body[name] for name in EVENT_FIELDS if name in body}
    try:
        return Event(event_id=turn.event_id, **known)
    except ValidationError:  # accepted by an older version's rules
        return Event.model_construct(event_id=turn.event_id, **known)
