"""The state machine is not blind: bugs are planted in the inbox one at a time, and it finds each."""

from __future__ import annotations

import pytest

from tests.property.exploring import explore
from tests.property.planted import plants_of_books, plants_of_order
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
    "ACC-8",
    "SUR-6",
)
PLANTS = plants_of_books.PLANTS | plants_of_order.PLANTS
STARTS = 120
FOUND_AT = {
    "a source's quota shuts out what its held events wait for": 3,
    "a source's quota does not count what is held": 3,
    "late events are parked without end": 17,
    "what runs is a duplicate by the window alone": 3,
    "expiry ignores sent_at": 2,
    "an interrupting event waits in line": 2,
    "a steering event overtakes its source": 38,
    "an event that had expired when it came interrupts": 2,
    "one that held events keep out stops the clock": 2,
    "the hold buffer makes room before what has come counts": 4,
    "one too many is merged": 2,
    "more bytes are merged than one event may have": 9,
    "more bytes steer at once than one event may have": 31,
    "events lose their host and join the turn before": 10,
    "an event steers another turn": 5,
    "more steers at once than one turn takes": 2,
}
"""The first start that finds what takes a few: a sample begins there, and goes on to all of them."""


def _explore_widely(first: int) -> None:
    for start in (first, *range(STARTS)):
        explore(15, 50, start=start, shrink=False)


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_bug_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    PLANTS[name](monkeypatch)
    with pytest.raises((AssertionError, ExceptionGroup)):
        _explore_widely(sized(sample=FOUND_AT.get(name, 0), whole=0))


def test_every_start_that_is_noted_is_a_plants() -> None:
    assert FOUND_AT.keys() <= PLANTS.keys()
