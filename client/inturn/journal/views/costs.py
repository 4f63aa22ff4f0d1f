"""What a turn used, as its entries say.

Invariant: a redriven turn has a budget of its own, so only what came since it began counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from inturn.turns.budget import add
from inturn.values import Entry, Usage

TYPES: Final = ("turn.started", "agent.message")
"""The entries that tell."""


def usage_of(entries: Iterable[Entry]) -> Usage:
    """Return what an event's last turn used, by its entries of `TYPES`."""
    used = Usage()
    for entry in entries:
        if entry.type == "turn.started":
            used = Usage()
        elif entry.type == "agent.message":
            used = add(used, Usage.model_validate(entry.body.get("usage") or {}))
    return used
