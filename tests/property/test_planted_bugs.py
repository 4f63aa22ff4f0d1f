"""The state machine is not blind: bugs are planted in the inbox one at a time, and it finds each."""

from __future__ import annotations

import pytest

from tests.property.exploring import explore
from tests.property.planted import plants_of_books, plants_of_order
from tests.property.planted.planting import Plant

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
    "ACC-8",
    "SUR-6",
)
PLANTS = plants_of_books.PLANTS | plants_of_order.PLANTS


def _explore_widely() -> None:
    for start in range(120):
        explore(15, 50, start=start, shrink=False)


@pytest.mark.parametrize("plant", PLANTS.values(), ids=list(PLANTS))
def test_a_planted_bug_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    with pytest.raises((AssertionError, ExceptionGroup)):
        _explore_widely()
