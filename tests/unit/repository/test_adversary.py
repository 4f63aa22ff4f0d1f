"""The known triggers of faults stay playable, whatever is renamed around them."""

from __future__ import annotations

from tests.adversary.__main__ import KINDS, play


async def test_every_trigger_plays_to_its_end() -> None:
    outcomes = await play(list(KINDS))
    assert {name: outcome.error for name, outcome in outcomes.items() if outcome.error} == {}
    assert [name for name, outcome in outcomes.items() if not outcome.lines] == []
