"""What producers do how often.

Invariant: shares alone; what comes when follows from the seed.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Traffic:
    """Shares of a session's batches, and of their events.

    Attributes:
        merged: Of the batches: all of one handle, to be merged into few turns.
        numbered: Of the batches: of a source that numbers its events and sends them out of order.
        lost: Of the numbers: left out of their batch, and half of them sent with the next one.
        steered: Of the events that wait in the queue else: they are to join the running turn.
        interrupting: Of them: they stop the running turn and come next.
        stopped: Of the batches: the running turn is stopped after them.
    """

    merged: float = 0.78
    numbered: float = 0.1
    lost: float = 0.06
    steered: float = 0.04
    interrupting: float = 0.02
    stopped: float = 0.04
