"""What arrives, read: one JSON object per message.

Invariant: any bytes may come in, and none raises anything but `Undecodable`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from temporalio import workflow
from temporalio.common import RawValue

from inturn.events import ClaimedEvent, Event, explain
from inturn.keys import is_id


class Undecodable(ValueError):
    """What arrived is no event, and no control."""


def decode(args: Sequence[RawValue]) -> dict[str, Any]:
    """Return the one JSON object of a message.

    Raises:
        Undecodable: It is something else.
    """
    if len(args) != 1:
        raise Undecodable(f"expected one JSON object, got {len(args)} arguments")
    try:
        value = workflow.payload_converter().from_payload(args[0].payload)
    except Exception as error:  # any bytes may come in, and none may fail the session
        raise Undecodable(f"not readable as JSON: {str(error)[:200]}") from error
    if not isinstance(value, dict):
        raise Undecodable(f"expected a JSON object, got {type(value).__name__}")
    return value


def read_event(fields: dict[str, Any]) -> Event | ClaimedEvent:
    """Return the event that a message's object is, with or without its content; how to answer is no part of it.

    Raises:
        Undecodable: A field breaks its rule.
    """
    try:
        said = {name: value for name, value in fields.items() if name not in ("wait", "inline")}
        return (ClaimedEvent if is_claimed(said) else Event).model_validate(said)
    except (ValidationError, ValueError) as error:
        raise Undecodable(f"invalid event: {explain(error)}") from error


def is_claimed(fields: dict[str, Any]) -> bool:
    """Return whether an event's object says where its content is, and not what."""
    return "claim" in fields and "content" not in fields


def claimed_id(args: Sequence[RawValue]) -> str | None:
    """Return the id that an invalid event claims, where it is one."""
    try:
        event_id = decode(args).get("event_id")
    except Undecodable:
        return None
    return event_id if isinstance(event_id, str) and is_id(event_id) else None
