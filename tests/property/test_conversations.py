"""Whatever a model answers and an event brings: no request is refused twice, and the next good event is answered."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from tests.property.conversations.exploring import explore_now
from tests.support.sizes import sized

STEPS = sized(fast=500, sample=5_000, whole=20_000)
_OFTEN = ("claude", "summary", "summary of all")
COMPACTED_BY = sized(fast=_OFTEN, sample=(*_OFTEN, "cut"), whole=(*_OFTEN, "cut"))
"""By what conversations are compacted at least once in so many steps: a cut is a last resort, and comes seldom."""


@pytest.mark.promise("MOD-2", "MOD-6", "MOD-8")
@pytest.mark.parametrize("start", [0, 1_000_000, 2_000_000, 3_000_000])
def test_nothing_that_was_committed_can_break_a_session(start: int) -> None:
    compacted = Counter[str]()
    assert explore_now(itertools.count(start), steps=STEPS, compacted=compacted) >= STEPS
    assert min(compacted[by] for by in COMPACTED_BY) > 0, compacted
