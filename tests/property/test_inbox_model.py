"""The inbox does what a naive one does, whatever happens in whatever order."""

from __future__ import annotations

import pytest

from tests.property.exploring import explore
from tests.support.sizes import sized

pytestmark = pytest.mark.promise(
    "ORD-1",
    "ORD-3",
    "ORD-4",
    "ORD-5",
    "ORD-6",
    "ORD-7",
    "ORD-10",
    "ORD-12",
    "ACC-2",
    "ACC-5",
    "ACC-6",
    "ACC-7",
    "ACC-8",
    "SUR-6",
)
STEPS = sized(fast=20_000, sample=60_000, whole=1_000_000)
"""`make chaos` has five million."""
PARTS = 4
"""So that every core has some."""


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("part", range(PARTS))
def test_the_inbox_does_what_the_naive_one_does_over_any_interleaving(part: int) -> None:
    done, start = 0, part * STEPS
    while done < STEPS / PARTS:
        done += explore(400, 60, start=start)
        start += 1
