"""The test kit compacts as a worker does."""

from __future__ import annotations

from typing import Any

import pytest

from inturn import Agent, Compaction, ToolContext
from inturn.journal.views.requests import SUMMARISED
from inturn.models import ModelMessage, ModelRequest, OnDelta
from inturn.testing import ScriptedModel, ToolCall, run
from inturn.tools import tool
from inturn.values import Usage

SETTINGS = Compaction(window=8_000)


class Brief:
    """Says "fine", and writes summaries."""

    def __init__(self) -> None:
        self.requests: list[ModelRequest] = []

    async def respond(self, request: ModelRequest, on_delta: OnDelta) -> ModelMessage:
        """Answer."""
        self.requests.append(request)
        said = "the codeword is swordfish" if request.settings.tool_choice == "none" else "fine"
        return ModelMessage([{"type": "text", "text": said}], "end_turn", Usage(), "brief")


@pytest.mark.promise("MOD-6")
async def test_a_long_conversation_is_compacted_in_a_test_as_well() -> None:
    agent = Agent("a", model="m", instructions="Be brief.", max_tokens=500, compaction=SETTINGS)
    messages: list[dict[str, Any]] = []
    model = Brief()
    for n in range(20):
        turn = await run(agent, f"{n}: {'word ' * 300}", model=model, messages=messages)
        assert turn.text == "fine"
    summaries = [request for request in model.requests if request.settings.tool_choice == "none"]
    assert summaries
    assert len(messages) < 30
    assert messages[0]["content"][0]["text"].startswith(SUMMARISED)
    assert "swordfish" in messages[0]["content"][0]["text"]


@pytest.mark.promise("MOD-6")
async def test_a_script_has_a_line_for_a_summary() -> None:
    agent = Agent("a", model="m", instructions="Be brief.", max_tokens=500, compaction=SETTINGS)
    long = [{"role": role, "content": "word " * 900} for _ in range(3) for role in ("user", "assistant")]
    model = ScriptedModel(["what was said", "fine"])
    turn = await run(agent, "and now?", model=model, messages=long)
    assert turn.text == "fine"
    assert model.left == 0
    assert "what was said" in str(model.requests[-1].messages[0])


@pytest.mark.promise("MOD-6")
async def test_what_a_tool_pins_the_model_is_told() -> None:
    @tool
    async def remember(ctx: ToolContext) -> str:
        """Remember."""
        await ctx.pin("The codeword is swordfish.")
        return "noted"

    agent = Agent("a", model="claude-sonnet-5-5", instructions="Be brief.", tools=[remember])
    model = ScriptedModel([ToolCall("remember"), "fine"])
    await run(agent, "go", model=model)
    assert "swordfish" in str(model.requests[-1].messages)
