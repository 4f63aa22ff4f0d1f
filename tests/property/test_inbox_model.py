"""The inbox does what a naive one does, whatever happens in whatever order."""

from __future__ import annotations

import os

import pytest

from tests.property.inbox_machine import explore

pytestmark = pytest.mark.promise("ORD-1", "ACC-2", "ACC-5", "ACC-7", "ACC-8", "SUR-6")


def test_the_inbox_does_what_the_naive_one_does_over_any_interleaving() -> None:
    explore(40, 50, start=0)


@pytest.mark.slow
@pytest.mark.skipif("INTURN_HYPOTHESIS_STEPS" not in os.environ, reason="long: set INTURN_HYPOTHESIS_STEPS=100000")
@pytest.mark.timeout(0)
def test_the_inbox_does_what_the_naive_one_does_over_long_interleavings() -> None:
    steps = int(os.environ["INTURN_HYPOTHESIS_STEPS"])
    explore(max(1, steps // 200), 200)
