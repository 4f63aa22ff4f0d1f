"""What failed attempts of a step leave in its row: how many of each class, and what they used.

Invariant: nothing that was paid is forgotten, and patience is for trouble that lasts: an outage begins anew once the
account was in trouble, and answers count as broken at one place only while they break there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from inturn.journal.values import Attempts, FailureClass

SAME_PLACE: Final = 64
"""Bytes between two places that count as one; of long answers a twentieth."""


def add_usage(attempts: Attempts, usage: Mapping[str, float] | None) -> None:
    """Add what an attempt used."""
    for name, value in (usage or {}).items():
        attempts.usage[name] = attempts.usage.get(name, 0) + value


def note_place(attempts: Attempts, failure: FailureClass, place: int | None, now: float) -> None:
    """Note where an attempt's answer broke off, and which patience its failure ends; before it is counted."""
    if failure in ("account", "refused"):
        attempts.counts.pop("outage", None)
        attempts.since.pop("outage", None)
    if place is None:
        return
    before = attempts.place
    if before is None or abs(place - before) > max(SAME_PLACE, before // 20):
        attempts.place = place
        attempts.counts["broken"] = 0
    attempts.counts["broken"] = attempts.counts.get("broken", 0) + 1
    attempts.since.setdefault("broken", now)
