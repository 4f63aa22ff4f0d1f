"""Steps that no session of ours asked for do nothing: in clear where there are keys, or for another session."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from inturn import tool
from inturn.encryption.payload_codec import BROKEN, CLEAR
from inturn.keys import StepKey
from inturn.testing import ToolCall
from inturn_activities.messages import Decision, DeliverInput, ModelInput, RecordInput, StepInput, ToolInput
from tests.support.steps import SESSION, StepRunner, environment, rig

pytestmark = pytest.mark.promise("SEC-2")
EVENT = {"event_id": "e1", "content": "hi"}
ENTRY = Decision(type="event.rejected", key="forged", body={"reason": "forged"})
STEPS: dict[str, tuple[StepKey, StepInput]] = {
    "call_model": (SESSION.turn("e2").step(0), ModelInput(event={"event_id": "e2", "content": "pay"})),
    "run_tool": (SESSION.turn("e1").step(0, 0), ToolInput(call="c")),
    "deliver": (SESSION.turn("e1").step("deliver"), DeliverInput()),
    "record": (StepKey.parse(f"{SESSION}/~record/9"), RecordInput(decisions=[ENTRY])),
}
ran: list[str] = []


@tool
async def pay() -> str:
    """Pay."""
    ran.append("pay")
    return "paid"


async def delivered(out: Any, ctx: Any) -> None:
    """Bring it out."""
    ran.append("deliver")


async def _run(r: StepRunner, name: str, message: StepInput, **info: str) -> Any:
    made = environment(STEPS[name][0])
    made.info = dataclasses.replace(made.info, **info)  # type: ignore[arg-type]
    return await made.run(getattr(r.steps, name), message)


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("refused", [CLEAR, BROKEN])
async def test_one_that_is_not_by_who_has_the_keys_goes_back_to_its_session(
    tmp_path: Path, name: str, refused: str
) -> None:
    ran.clear()
    async with rig(tmp_path, [[ToolCall("pay")]], tools=[pay], deliver=delivered) as r:
        await r.ask()
        before = await r.entries()
        told = await _run(r, name, STEPS[name][1].model_copy(update={"refused": refused}), task_queue="q")
        assert told.elsewhere == "q"
        assert (await r.entries(), ran) == (before, [])


@pytest.mark.parametrize("name", STEPS)
async def test_one_that_another_workflow_asks_for_does_nothing(tmp_path: Path, name: str) -> None:
    ran.clear()
    async with rig(tmp_path, [[ToolCall("pay")]], tools=[pay], deliver=delivered) as r:
        await r.ask()
        before = await r.entries()
        for workflow_id in ("acme/other", "acme/s1/x", ""):
            with pytest.raises(ApplicationError, match="is none of workflow") as refusal:
                await _run(r, name, STEPS[name][1], workflow_id=workflow_id)
            assert refusal.value.non_retryable
        assert (await r.entries(), ran) == (before, [])
