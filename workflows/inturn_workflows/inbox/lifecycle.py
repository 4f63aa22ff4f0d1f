"""An event's life: where it can stand, and what moves it on.

Invariant: the table is all there is. The inbox makes no other move (the property tests watch it), and the diagram in
the README is drawn from here by `scripts/event-life`. After a reset or a duplicate older than the window, a running
event ends as the journal says that it had ended.
"""

from __future__ import annotations

from typing import Final, NamedTuple

ARRIVES: Final = "[*]"
"""Before it was accepted; a rejected id may come again."""


class Move(NamedTuple):
    """One move of an event."""

    before: str
    cause: str
    after: str


MOVES: Final = (
    Move(ARRIVES, "accepted", "pending"),
    Move(ARRIVES, "its sequence is not due", "held"),
    Move(ARRIVES, "no event, or late", "parked"),
    Move(ARRIVES, "a signal finds no room", "rejected"),
    Move("held", "its turn in the sequence", "pending"),
    Move("held", "its gap never closed, or close", "parked"),
    Move("held", "cancel", "cancelled"),
    Move("held", "the session was closed", "rejected"),
    Move("pending", "taken; joins or steers a turn", "running"),
    Move("pending", "expires_after", "expired"),
    Move("pending", "cancel", "cancelled"),
    Move("pending", "close", "parked"),
    Move("pending", "the session was closed", "rejected"),
    Move("running", "end of turn", "applied"),
    Move("running", "end of the turn that it joined", "merged"),
    Move("running", "it is no part of that turn", "pending"),
    Move("running", "interrupt", "cancelled"),
    Move("running", "fails for good", "parked"),
    Move("running", "the session was closed", "rejected"),
    Move("parked", "redrive", "pending"),
    Move("parked", "discard", "discarded"),
)


def diagram() -> str:
    """Return the table as a Mermaid diagram."""
    lines = ["stateDiagram-v2", "    direction LR"]
    lines += [f"    {move.before} --> {move.after}: {move.cause}" for move in MOVES]
    return "\n".join(lines)
