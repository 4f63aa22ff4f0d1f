"""What the inbox costs does not grow with what waits; `make bench` has the numbers."""

from __future__ import annotations

import pytest

from bench.admit import FEW, KINDS, MANY, Kind, cost, growth


@pytest.mark.promise("ACC-5")
@pytest.mark.parametrize("kind", KINDS)
def test_admitting_and_taking_costs_about_the_same_with_ten_and_with_ten_thousand_events_waiting(kind: Kind) -> None:
    assert growth(kind, MANY) < 5


@pytest.mark.promise("ACC-2")
def test_a_full_window_adds_less_than_a_millisecond_to_an_event() -> None:
    assert cost(waiting=FEW) - cost(waiting=FEW, remembered=0) < 0.001
