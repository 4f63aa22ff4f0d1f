"""A long session on a real server: compacted by itself and when asked, over runs, at no cost in history."""

from __future__ import annotations

import pytest

from inturn import Agent, Compaction, Session
from tests.support.rig import Rig
from tests.support.waiting import until

SAID = "word " * 400
AGENT = Agent(
    "support",
    model="claude-sonnet-5-5",
    instructions="Be brief.",
    max_tokens=1_000,
    compaction=Compaction(window=8_000),
)


async def _compactions(session: Session) -> list[str]:
    return [entry.event_id or "" async for entry in session.entries() if entry.type == "session.compacted"]


@pytest.mark.promise("MOD-6")
async def test_a_session_goes_on_over_compactions_and_a_wish_for_one_crosses_runs(rig: Rig) -> None:
    async with rig.claude() as claude, rig.worker([AGENT], model=claude.model), rig.client() as client:
        session = client.session("s", agent="support")
        for n in range(12):
            assert (await session.ask(f"{n}: {SAID}", event_id=f"e{n}")).stop_reason == "end_turn"
        by_itself = await _compactions(session)
        assert by_itself

        assert await session.compact(instructions="keep the numbers")
        runs = (await session.status()).runs
        workflow = rig.temporal.get_workflow_handle(str(rig.key("s")))
        await workflow.signal("control", {"op": "continue", "control_id": "c1"})

        async def continued() -> bool:
            return (await session.status()).runs > runs

        await until(continued)
        assert (await session.ask("and now?", event_id="asked")).stop_reason == "end_turn"
        assert (await session.ask("and then?", event_id="after")).stop_reason == "end_turn"
        assert await _compactions(session) == [*by_itself, "asked"], "once"
        asked = [r.body["compaction"] for r in claude.requests if r.body and r.body.get("compaction")]
        assert asked[-1] == {"type": "summarize", "instructions": "keep the numbers"}
        assert not [r.error for r in claude.requests if r.error]
        assert (await session.audit()).ok
