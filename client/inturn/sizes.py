"""What fits where, in bytes as written: every bound on bytes in the project has its number here.

Invariant: a bound is judged on what is written: the one JSON text that the message, payload or row holds, in UTF-8,
where a control character costs six bytes. Beyond the server's bounds it terminates the run, so ours lie below them, and
what is beyond ours is refused before it is acknowledged.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

from pydantic_core import to_json

# The server's.
PAYLOAD: Final = 2 * 1024 * 1024
"""One payload: a signal's, an update's, a run's input, an activity's input or result."""
MESSAGE: Final = 4_000_000
"""One message over the wire, with all of its payloads."""
RUN: Final = 50 * 1024 * 1024
"""A run's history."""
INLINE_RUN: Final = RUN // 2
"""A run's history up to which events over `INLINE` may travel as they are: senders who look at the same time find the
same room, and all of them fit into the other half."""

# An event's.
CONTENT: Final = 256 * 1024
"""Content of one event."""
METADATA: Final = 16 * 1024
"""An event's metadata; and the fields of a newer peer together."""
WHOLE: Final = CONTENT + 2 * METADATA + 4 * 1024
"""A whole event, with its other fields."""
BLOCKS: Final = 2_000
"""Blocks in one event's content: so many are looked at, whatever comes."""
INLINE: Final = 4 * 1024
"""A whole event that travels as it is; a larger one goes through the journal (claim check)."""
SENDER: Final = 256
ADDRESS: Final = 192
"""A large event's sender and metadata that travel all the same: where they are as small as this."""
CONTROL: Final = 2 * 1024
"""A control: `approve`, `cancel`, `pause` and their like."""
READ_EVENT: Final = 1024 * 1024
"""What came for the inbox and is read at all: escapes make an event longer, never as long as this."""
READ_CONTROL: Final = 4 * CONTROL
"""What came as a control and is read at all."""
READ_START: Final = 2 * 1024
"""What a session was started with, by hand or by another SDK, and is read at all."""

# Texts that are carried, shown or told.
PREVIEW: Final = 240
ERROR: Final = 512
"""Why something was set aside or refused."""
WHO: Final = 256
"""Who answered an approval."""
REASON: Final = 512
"""Why they did, and why anything was stopped or given up."""


def written(value: object) -> int:
    """Return the bytes that a value has as JSON."""
    return len(to_json(value))


def clip(text: str, most: int) -> str:
    """Return a text, or its start and `…`, in at most so many bytes as written, its quotes not counted."""
    if 6 * len(text) <= most or written(text) - 2 <= most:
        return text
    text, room = text[:most], most - 3
    return text[: bisect_right(range(len(text) + 1), room, key=lambda n: written(text[:n]) - 2) - 1] + "…"
