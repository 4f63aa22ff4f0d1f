"""What producers do how often.

Invariant: shares alone; what comes when follows from the seed.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shares:
    """Shares of a session's batches, and of their events.

    Attributes:
        merged: Of the batches: all of one handle, to be merged into few turns.
        numbered: Of the batches: of a source that numbers its events and sends them out of order.
        lost: Of the numbers: left out of their batch, and half of them sent with the next one.
    """

    merged: float = 0.6
    numbered: float = 0.06
    lost: float = 0.04
