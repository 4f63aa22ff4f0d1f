"""What arrives, read: one JSON object per message.

Invariant: any bytes may come in, and none raises anything but `Undecodable` or costs more than milliseconds: their
number is looked at before they are read, and the first error ends the reading.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import from_json
from temporalio.common import RawValue

from inturn import names, sizes
from inturn.encryption.payload_codec import ENCODING, verdict
from inturn.events import ClaimedEvent, Event, explain
from inturn.keys import is_id

_JSON: Final = b"json/plain"
_OF_THE_MESSAGE: Final = frozenset({"wait", "inline", names.AFTER, names.AGAIN})
"""What its object says of the message, and not of the event."""


class Undecodable(ValueError):
    """What arrived is no event, and no control."""

    def __init__(self, message: str, event_id: str | None = None) -> None:
        """Say what is wrong with it, and which id it names all the same."""
        super().__init__(sizes.clip(message, sizes.ERROR))
        self.event_id = event_id
        """The id that it names all the same, where it does."""


def decode(args: Sequence[RawValue], most: int, *, ours: bool = False) -> dict[str, Any]:
    """Return the one JSON object of a message of at most so many bytes. `ours`: as only this project writes it.

    Raises:
        Undecodable: It is something else.
    """
    if len(args) != 1:
        raise Undecodable(f"expected one JSON object, got {len(args)} arguments")
    payload = args[0].payload
    if len(payload.data) > most:
        raise Undecodable(f"the message has {len(payload.data):,} bytes, the limit is {most:,}")
    if (encoding := payload.metadata.get("encoding", b"")) == ENCODING:
        raise Undecodable(f"not readable: {verdict(payload)[1] or 'it is not as this version encrypts'}")
    if encoding != _JSON:
        raise Undecodable(f"expected JSON, got the encoding {encoding[:40]!r}")
    try:
        value = from_json(payload.data, allow_inf_nan=ours)
    except ValueError as error:
        raise Undecodable(f"not readable as JSON: {error}") from error
    if not isinstance(value, dict):
        raise Undecodable(f"expected a JSON object, got {type(value).__name__}")
    return value


def read_event(fields: dict[str, Any]) -> Event | ClaimedEvent:
    """Return the event that a message's object is, with or without its content; how to answer is no part of it.

    Raises:
        Undecodable: A field breaks its rule.
    """
    try:
        said = {name: value for name, value in fields.items() if name not in _OF_THE_MESSAGE}
        return (ClaimedEvent if is_claimed(said) else Event).model_validate(said)
    except (ValidationError, ValueError) as error:
        raise Undecodable(f"invalid event: {explain(error)}", _id_in(fields)) from error


def only_waits(fields: dict[str, Any]) -> bool:
    """Return whether a message's object sends no event: its caller waits for one."""
    return bool(fields.get("wait")) and not fields.keys() & {"content", "claim"}


def is_claimed(fields: dict[str, Any]) -> bool:
    """Return whether an event's object says where its content is, and not what."""
    return "claim" in fields and "content" not in fields


def named_id(args: Sequence[RawValue]) -> str | None:
    """Return the id that a message names, where it names one."""
    try:
        return _id_in(decode(args, sizes.READ_EVENT))
    except Undecodable:
        return None


def invalid_id(args: Sequence[RawValue]) -> str:
    """Return the id of what brings none of its own."""
    digest = hashlib.blake2b(digest_size=12)
    for raw in args:
        digest.update(raw.payload.data)
    return f"invalid:{digest.hexdigest()}"


def _id_in(fields: dict[str, Any]) -> str | None:
    event_id = fields.get("event_id")
    return event_id if is_id(event_id) else None
