"""A tool call as the journal holds it.

Invariant: what runs is what the model asked for and the journal recorded; arguments never travel through the workflow.
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
from inturn_activities.failures import OwnFailure


@dataclass(frozen=True, slots=True)
class Call:
    """A call, and the event in whose turn it is."""

    call_id: str
    tool: str
    arguments: Mapping[str, Any]
    event: Event


async def find_call(journal: Journal, step: StepKey, call_id: str) -> Call:
    """Return a call by its id.

    Raises:
        OwnFailure: The journal has no such call in this step.
    """
    event: Event | None = None
    async for entry in journal.entries(
        step.turn.session, event_id=step.turn.event_id, types=("user.message", "agent.tool_use")
    ):
        if entry.type == "user.message":
            event = _event(step.turn, entry.body) or event
        elif entry.body["call_id"] == call_id and entry.body["index"] == step.index:
            return Call(call_id, entry.body["tool"], entry.body["args"], event or _no_event(step.turn))
    raise OwnFailure(f"the journal holds no call {call_id!r} at {step.within_session}")


async def find_arguments(journal: Journal, turn: TurnKey, call_id: str) -> dict[str, Any] | None:
    """Return the arguments of a call of a turn."""
    async for entry in journal.entries(turn.session, event_id=turn.event_id, types=("agent.tool_use",)):
        if entry.body["call_id"] == call_id:
            return cast("dict[str, Any]", entry.body["args"])
    return None


async def find_event(journal: Journal, turn: TurnKey) -> Event:
    """Return the event of a turn; without content where the journal has none (it expired, or was rejected)."""
    found: Event | None = None
    async for entry in journal.entries(turn.session, event_id=turn.event_id, types=("user.message",)):
        found = _event(turn, entry.body) or found
    return found or _no_event(turn)


def _event(turn: TurnKey, body: Mapping[str, Any]) -> Event | None:
    if "joined" in body:
        return None
    known = {name: body[name] for name in EVENT_FIELDS if name in body}
    try:
        return Event(event_id=turn.event_id, **known)
    except ValidationError:  # accepted by an older version's rules
        return Event.model_construct(event_id=turn.event_id, **known)


def _no_event(turn: TurnKey) -> Event:
    return Event.model_construct(event_id=turn.event_id, content="")
