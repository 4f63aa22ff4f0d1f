"""A bound that is missed once is measured again; one that is missed twice is missed."""

from __future__ import annotations

import pytest

from tests.support.measuring import usual


@pytest.mark.parametrize(
    ("values", "found", "asked"),
    [
        ((1.0,), 1.0, 1),
        ((9.0, 1.0, 1.2), 1.2, 3),
        ((9.0, 8.0, 1.0), 8.0, 3),
        ((9.0, 1.0, 8.0), 8.0, 3),
    ],
)
async def test_one_stall_decides_nothing_and_what_is_slow_twice_is_slow(
    values: tuple[float, ...], found: float, asked: int
) -> None:
    numbers = []

    async def measure(number: int) -> float:
        numbers.append(number)
        return values[number]

    assert await usual(measure, most=2.0) == found
    assert numbers == list(range(asked))
