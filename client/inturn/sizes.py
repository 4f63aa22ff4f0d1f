"""What fits where, in bytes as written: every bound on bytes in the project has its number here.

Invariant: a bound is judged on what is written: the one JSON text that the message, payload or row holds, in UTF-8,
where a control character costs six bytes. Beyond the server's bounds it terminates the run, so ours lie below them, and
what is beyond ours is refused before it is acknowledged.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final, TypeVar

from pydantic_core import to_json

T = TypeVar("T")

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
SIGNALLED_RUN: Final = RUN * 4 // 5
"""A run's history up to which anything may be sent: with 10,000 signals of `INLINE` alone it has hardly more."""
CUT_RUN: Final = RUN * 3 // 5
"""A run's history beyond which a running model call is cut: whoever sends large signals all the same needs the rest
until the run has ended."""

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

# What is shown.
UPLOAD: Final = 20 * 1024 * 1024
"""What is uploaded at once."""
SHOWN: Final = 28 * 1024 * 1024
"""Pictures and documents of one request, as it has them (base64): the API takes 32 MB with all that is said. The
largest upload fits."""

# A model's answer.
STREAM_EVENT: Final = 32 * 1024 * 1024
"""One event of its stream: as much as the API takes in a whole request."""
DELTAS: Final = 4 * 1024
"""Characters of one row of its preview (`deltas`)."""
PARTIAL: Final = 16 * 1024
"""Characters that are kept of an answer that was stopped."""
STREAMED: Final = 16 * 1024 * 1024
"""Characters of its preview, at most."""

# What agents remember.
DOCUMENT: Final = 64 * 1024
"""One document's text."""
MEMORY: Final = 128 * 1024
"""All documents that a session's model is shown."""

# Texts that are carried, shown or told.
PREVIEW: Final = 240
ERROR: Final = 512
"""Why something was set aside or refused."""
WHO: Final = 256
"""Who answered an approval."""
VIA: Final = 64
"""Through what."""
STEP_FAILURE: Final = 2_000
"""What stopped a step, with its causes: of one over 4 KB, with about 1 KB of traceback, the server keeps no type."""
FAILURE: Final = 4 * 1024
"""Why a turn failed, in the journal."""
REASON: Final = 512
"""Why they did, and why anything was stopped or given up."""
IN_CONTROL: Final = {
    **{"control_id": 128, "event_id": 160, "approval_id": 256, "by": WHO, "via": VIA, "reason": REASON},
    "instructions": REASON,
}
"""Texts of a control: all of them together are below `CONTROL`."""

# What a run carries into the next, by compartments. None takes another's room, so events never shut out a control, and
# the sum fits whatever came: it is below `CARRIED`, which leaves a codec and the envelope 197 kB of `PAYLOAD`.
CARRIED: Final = 1_900_000
WAITING: Final = 512 * 1024
"""Events that wait, queued and held, each with what is noted of it."""
HELD: Final = WAITING - WHOLE - 1024
"""Of these, held ones: the one that they wait for finds room beside them, however large it is."""
RUNNING: Final = WHOLE + 1024
"""Content of the running turn: its event's and those of events that joined it, until a step has recorded them."""
CALLS: Final = 107 * 1024
"""Its calls, with what people answered to them."""
MERGED: Final = 60 * 1024
"""What is noted of the events that joined it, until it ends."""
PARKED: Final = 64 * 1024
REDRIVEN: Final = 57 * 1024
"""Events and deliveries that wait to be driven again."""
DECISIONS: Final = 298 * 1024
"""What the journal must learn yet; the largest event that came late finds room."""
COUNTED: Final = 9 * 1024
"""What of it is only counted, with a bit for each signal of a run. Names of what had waited have no room of their own:
where they are too many they are recorded first."""
SEALED: Final = 8 * 1024 * 1024
"""What the journal keeps of a session's signals that are parked for want of their key: more of them is in the history
alone, for as long as the server keeps that."""
CONTROLS: Final = 32 * 1024
"""Results of controls, the latest."""
EARLY: Final = 40 * 1024
"""Answers to approvals that were not asked for yet, the latest."""
SETTLED: Final = 24 * 1024
"""How approvals ended, the latest."""
SOURCES: Final = 203 * 1024
"""Where 1,000 sources stand."""
WINDOW: Final = 124 * 1024
"""Which ids came lately."""
NOTICES: Final = 24 * 1024
"""What sources are to be told of."""
REST: Final = 6 * 1024
ANSWERS: Final = 128 * 1024
"""Answers for callers without the journal: of what all others leave."""

NOTE: Final = 2 * 1024
"""One decision without an event's content, at most."""
NOTED: Final = 96
"""Of a text, where hundreds are kept."""
QUEUED: Final = 416
"""What is noted of an event that waits, at most."""
PLACE: Final = 224
"""The place that a cancelled event keeps."""
RECORD: Final = 1024 * 1024
"""Decisions that go into one `record`."""
OTHERS: Final = 512 * 1024
"""Of these, where a turn's end goes along, which takes as much at most."""


def written(value: object) -> int:
    """Return the bytes that a value has as JSON."""
    return len(to_json(value))


def portions(values: Sequence[T], most: int) -> list[list[T]]:
    """Return values in order, cut into as few lists as have at most so many bytes each; one at least, and none cut."""
    cut, room = [list[T]()], most
    for value in values:
        size = written(value) + 1
        if size > room and cut[-1]:
            cut.append([])
            room = most
        cut[-1].append(value)
        room -= size
    return cut


def clip(text: str, most: int) -> str:
    """Return a text, or its start and `…`, in at most so many bytes as written, its quotes not counted."""
    if 6 * len(text) <= most or written(text) - 2 <= most:
        return text
    text, room = text[:most], most - 3
    return text[: bisect_right(range(len(text) + 1), room, key=lambda n: written(text[:n]) - 2) - 1] + "…"
