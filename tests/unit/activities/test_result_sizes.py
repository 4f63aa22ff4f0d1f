"""What a step answers fits, whatever the model asked for and the journal holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from inturn import sizes
from inturn.testing import ToolCall
from inturn.tools import tool
from inturn.turns.answers import MAX_CALLS
from inturn_activities.messages import Decision
from inturn_workflows.turn_state import CallState
from tests.support.steps import rig

pytestmark = pytest.mark.promise("SUR-15", "EFF-5")
LONG = 'ä"\\' * 20_000


@tool(locks=["order:{order}", "shop", "both:{order}:{order}"])
async def ship(order: str) -> str:
    """Ship an order."""
    return order


@pytest.mark.parametrize("name", ["ship", "s" * 128])
async def test_a_plan_of_as_many_calls_as_an_answer_may_have_is_small_whatever_their_arguments(
    tmp_path: Path, name: str
) -> None:
    calls = [ToolCall(name, order=f"{n}{LONG}") for n in range(MAX_CALLS)]
    async with rig(tmp_path, [calls], tools=[ship], compaction=None) as r:
        result = await r.ask()
        assert len(result.calls) == MAX_CALLS
        assert sizes.written(result) < 128 * 1024
        carried = [CallState.of(plan) for plan in result.calls]
        assert sizes.written(carried) < sizes.CALLS / 2, "as much is left for what people answer"


async def test_what_an_event_ended_for_is_told_in_a_few_kilobytes(tmp_path: Path) -> None:
    async with rig(tmp_path, ["hello"]) as r:
        key = "e1/disposition"
        await r.record(
            Decision(type="event.cancelled", turn="e1", key=key, disposition="cancelled", body={"reason": LONG})
        )
        result = await r.ask()
        assert result.stop == "ended"
        assert sizes.written(result) < sizes.FAILURE + 1_000
