"""Judging what is measured on a machine that others use, too.

Invariant: what is slow of itself is slow again, so a bound that is missed once in measuring it, and met twice, was
missed for the machine; one that is missed twice is missed.
"""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable


async def usual(measure: Callable[[int], Awaitable[float]], *, most: float) -> float:
    """Return what is measured; where that is more than `most`, the median of it and of two more.

    Args:
        measure: Measures; it is told how often it has before.
        most: The bound that the caller holds it to.
    """
    first = await measure(0)
    if first <= most:
        return first
    found = [first, await measure(1), await measure(2)]
    print(f"measured three times, {most:g} being the bound: {', '.join(f'{value:.3f}' for value in found)}")
    return statistics.median(found)
