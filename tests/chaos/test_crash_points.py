"""A call whose worker dies at any of its crash points ends as the ledger's rules say; effects are counted outside."""

from __future__ import annotations

from typing import Final

import pytest

from tests.chaos.campaign.crash_points import CELLS, CrashPoints
from tests.support.rig import Rig
from tests.support.sizes import sized

ROUNDS: Final = sized(sample=1, whole=10)
"""Each has every kind of tool at every point; `make chaos` has thirty."""


@pytest.mark.heavy
@pytest.mark.timeout(600)
@pytest.mark.promise("EFF-1", "EFF-2", "SUR-1")
async def test_every_crash_point_of_a_call_ends_as_its_kind_of_tool_allows(rig: Rig) -> None:
    crashes = CrashPoints(rig)
    await crashes.run(ROUNDS)
    assert crashes.wrong == []
    assert crashes.seen == dict.fromkeys(CELLS, ROUNDS)
