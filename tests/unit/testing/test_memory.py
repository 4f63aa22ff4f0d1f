"""The test kit knows what agents remember."""

from __future__ import annotations

from typing import Any

import pytest

from inturn import Agent
from inturn.testing import ScriptedModel, ToolCall, run

pytestmark = pytest.mark.promise("AGT-4")
AGENT = Agent("a", model="m", instructions="Be brief.", memory=["rules", "notes:*"])


async def test_a_turn_is_shown_its_agents_documents_and_writes_them() -> None:
    documents = {"rules": "No refunds.", "other": "of another agent"}
    model = ScriptedModel([ToolCall("remember", name="notes:ann", text="Likes tea.", version=0), "noted"])
    turn = await run(AGENT, "Ann likes tea", model=model, documents=documents)
    assert turn.text == "noted"
    assert [call.status for call in turn.tool_calls] == ["ok"]
    assert documents == {"rules": "No refunds.", "other": "of another agent", "notes:ann": "Likes tea."}
    system = model.requests[0].system
    assert system.startswith("Be brief.")
    assert "No refunds." in system
    assert "another agent" not in system


async def test_who_does_not_know_a_documents_version_is_told_what_it_says() -> None:
    documents = {"rules": "No refunds."}
    script: list[Any] = [
        ToolCall("remember", name="rules", text="Refunds.", version=0),
        ToolCall("remember", name="rules", text="Some refunds.", version=1),
        "done",
    ]
    turn = await run(AGENT, "hi", script=script, documents=documents)
    first, second = turn.tool_calls
    assert (first.status, second.status) == ("error", "ok")
    assert "No refunds." in str(first.result)
    assert documents == {"rules": "Some refunds."}


async def test_without_documents_a_memory_is_empty() -> None:
    model = ScriptedModel(["hi"])
    await run(AGENT, "hi", model=model)
    assert "(It is empty.)" in model.requests[0].system
