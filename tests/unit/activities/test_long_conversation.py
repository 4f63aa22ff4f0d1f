"""A session of thousands of turns in a small window: no request is too long, nothing is parked, what was pinned stays.

Invariant: requests are counted by the strict Claude, not by ourselves.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from inturn import Agent, Compaction, ToolContext
from inturn.models import ModelRequest
from inturn.sizes import written
from inturn.testing.claude.answering import Api, Judged
from inturn.tools import tool
from inturn_activities.messages import ModelResult
from tests.property.conversations.plans import Said
from tests.property.conversations.strict import Strict
from tests.support.sizes import sized
from tests.support.steps import StepRunner, rig

TURNS: Final = sized(sample=120, whole=2_000)
WINDOW: Final = 30_000
MOST: Final = 28_000
COMPACTIONS: Final = 150
"""Of 2,000 turns."""


class Counting(Strict):
    """Notes how long the longest request was."""

    def __init__(self) -> None:
        super().__init__()
        self.api = Api(context_window=WINDOW)
        self.longest = 0

    def _judged(self, request: ModelRequest, raw: bytes) -> Judged:
        asked = super()._judged(request, raw)
        self.longest = max(self.longest, asked.line[-1].tokens)
        return asked


@tool(idempotent=True)
async def remember(ctx: ToolContext) -> str:
    """Remember."""
    await ctx.pin("The codeword is swordfish.")
    return "noted"


@tool(idempotent=True)
async def read(n: int = 0) -> str:
    """Read a lot."""
    return "line " * 6_500


def _calls(name: str, count: int = 1) -> Said:
    return Said([{"type": "tool_use", "name": name, "input": {}} for _ in range(count)])


async def _turn(r: StepRunner, event_id: str, content: str) -> ModelResult:
    step, result = 0, await r.ask(event_id, content)
    while result.stop == "tool_use":
        for index, call in enumerate(result.calls):
            await r.tool(event_id, call=call.id, index=index, step=step, result=call.result)
        step += 1
        result = await r.ask(event_id, step=step)
    return result


@pytest.mark.promise("MOD-6")
async def test_a_session_of_many_turns_stays_within_a_small_window(tmp_path: Path) -> None:
    model, sizes = Counting(), list[int]()
    agent = Agent(
        "support",
        model="claude-sonnet-5-5",
        instructions="Be brief.",
        tools=[remember, read],
        max_tokens=2_000,
        compaction=Compaction(window=WINDOW),
    )
    async with rig(tmp_path, model=model, agents=[agent]) as r:
        for n in range(TURNS):
            if n == 3:
                model.said.append(_calls("remember"))
            elif n % 20 == 10:
                model.said.append(_calls("read", 8))
            result = await _turn(r, f"e{n}", f"{n}: {'word ' * 200}")
            assert result.stop == "end_turn"
            sizes.append(written(result))
        made = await r.bodies("session.compacted")
    assert model.refusals == []
    assert model.longest <= MOST
    assert 1 <= len(made) <= max(2, COMPACTIONS * TURNS // 2_000)
    assert {body["by"] for body in made} == {"claude"}
    assert sizes[-2] <= 1.05 * sizes[9], "what the workflow learns of a turn stays as small"
    assert "swordfish" in made[-1].get("text", ""), "said again behind the last summary"
