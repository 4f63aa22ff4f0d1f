"""Hostile input at every door of a live worker, judged from the outside."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import pytest

from tests.chaos.fuzz.fuzz import Bombardment
from tests.chaos.fuzz.replayed import bombard
from tests.support.sizes import sized

SECONDS: Final = sized(sample=120.0, whole=600.0)
PACE: Final = 15.0
"""Inputs a second: what twelve sessions about keep up with, so that little is left to wait for when the fire ends."""
INPUTS: Final = int(0.5 * SECONDS * PACE)
"""At least: where the machine does not keep the pace, it takes longer."""
MESSAGES: Final = sized(sample=20_000, whole=1_000_000)
SLOWER: Final = 1.5
MEMORY: Final = 400 * 1024 * 1024
"""Bytes of a worker with a few dozen sessions, whatever is thrown at them."""


@pytest.mark.heavy
@pytest.mark.timeout(1_500)
@pytest.mark.promise("ACC-1", "ACC-7", "ACC-8", "SUR-3", "SUR-6", "SUR-7", "SUR-8", "SUR-15", "SUR-17", "SEC-5")
def test_hostile_input_at_every_door_loses_nothing_sticks_nowhere_and_costs_the_innocent_little(
    store: str, tmp_path: Path
) -> None:
    result = asyncio.run(Bombardment(tmp_path, seed=1, seconds=SECONDS, inputs=INPUTS, pace=PACE).run())
    assert result.findings == []
    assert result.inputs >= INPUTS
    assert result.acknowledged >= 0.2 * result.inputs
    assert result.slower <= SLOWER
    assert result.memory_most <= MEMORY


@pytest.mark.timeout(2_400)
@pytest.mark.promise("ACC-7", "ACC-8", "SUR-15", "SEC-5")
def test_whatever_is_signalled_to_a_session_stands_somewhere_and_fits_its_next_run() -> None:
    told = bombard(MESSAGES, seed=1)
    assert told.findings == []
    assert told.messages >= MESSAGES
    assert told.accepted >= 0.8 * MESSAGES
    assert told.by_id >= 0.1 * MESSAGES
