"""Events whose ends were too many to be told one by one, as the journal is told of them.

Invariant: how many there were is always said, and of each which one it was, by a short name, as long as there is room;
for how many there was none is said, too. So who counts them later takes none for another.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inturn_activities.messages import Decision


def counted_decisions(
    counts: Mapping[str, int], names: Mapping[str, int], nameless: int, stamp: str, now: float
) -> list[Decision]:
    """Return a decision for each kind of what was only counted.

    Args:
        counts: How many of each kind: the type of its entries, a reason and perhaps a source, with spaces between.
        names: The short names of events, each with the place of its kind.
        nameless: How many have none.
        stamp: What tells these decisions from others of the same kinds.
        now: The time, in seconds since 1970.
    """
    ids: dict[int, list[str]] = {}
    for name, place in names.items():
        ids.setdefault(place, []).append(name)
    made: list[Decision] = []
    for place, (kind, count) in enumerate(counts.items()):
        type_, reason, *source = kind.split(" ", 2)
        body: dict[str, Any] = {"reason": reason, "count": count} | ({"source": source[0]} if source else {})
        if place in ids:
            body["ids"] = "".join(ids[place])
        if nameless and place == 0:
            body["nameless"] = nameless
        made.append(Decision(type=type_, key=f"{kind}/{stamp}", body=body, at=now))
    return made
