"""What the state machine chooses from: bounds so small that a few steps reach them.

Sizes are numbers only, so events of 200 KiB cost nothing. `tests/unit` pins the real bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations, product
from typing import Any

from hypothesis import strategies as st

KIB = 1024
choice = st.sampled_from
picks = st.integers(0, 7)
NUMBERED_MODES = ["queue", "queue", "merge", "merge", "steer", "interrupt", "interrupt", "reject"]
MODES = ["queue", "queue", "queue", "merge", "merge", "merge", "steer", "interrupt", "reject"]
SOURCES = ["a", "a", "a", "b", "b", "client", "c", "d"]
SIZES = [100, 100, 100, 1, 60 * KIB, 128 * KIB, 200 * KIB, 512 * KIB, 512 * KIB + 1]
ORDERS = [order for count in (2, 3, 4) for order in permutations(range(5), count)]
SAID = [None, None, None, "sparse", "dense"]
AHEAD = [0, 0, 0, 1, 1, 2, 3, 7, -1, -2]


def drawn(**options: Sequence[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Choose one of each in a single draw: that is what makes millions of steps affordable."""
    return choice([dict(zip(options, values, strict=True)) for values in product(*options.values())])


limits = drawn(
    capacity=[2, 5, 10, 10],
    source_quota=[None, None, 2],
    expires_after=[None, None, 8.0],
    rate=[None, None, 0.5, 2.0, 0.3],
    burst=[1, 3],
    merge_limit=[1, 2, 3, 20],
)
sequencing = drawn(
    sequencing=["dense", "dense", "sparse"],
    first_sequence=[0, 0, None],
    gap_timeout=[5.0, 5.0, 0.5],
    on_gap=["skip", "park"],
    on_late=["park", "park", "accept"],
    hold_capacity=[1, 3, 3, 3],
    hold_overflow=["reject", "release"],
)
