"""On a real server: forms of answers, models that events name, models that stand in; and what they cost a history."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from inturn import Agent, CodeExecution, ModelSettings, TurnFailed
from inturn.testing.claude.script import Reply
from inturn.tools import tool
from inturn_activities.bounds import Bounds
from tests.support.rig import Rig

OWN, OTHER = "claude-sonnet-5-5", "claude-opus-5-5"
CODE = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "code_execution", "input": {"code": "1"}}
RAN = {
    "type": "code_execution_tool_result",
    "tool_use_id": "srvtoolu_1",
    "content": {"type": "code_execution_result", "stdout": "1", "stderr": "", "return_code": 0, "content": []},
}


class Verdict(BaseModel):
    refund: bool
    cents: int


@tool
async def look_up(id: str) -> str:
    """Look an order up."""
    return f"{id}: here"


AGENT = Agent(
    "support",
    model=OWN,
    instructions="Be brief.",
    tools=[look_up],
    models=[OTHER],
    fallback=[OTHER],
    settings=ModelSettings(effort="high"),
    server_tools=[CodeExecution()],
)


async def test_events_name_models_and_answers_have_forms_over_a_real_server(rig: Rig) -> None:
    judge = Agent("judge", model=OWN, instructions="", output=Verdict)
    async with rig.claude() as claude, rig.client() as client:
        async with rig.worker([AGENT, judge], model=claude.model):
            judged = client.session("j", agent="judge")
            claude.script('{"refund": true}', '{"refund": true, "cents": 500}')
            turn = await judged.ask("May I?", event_id="e1")
            assert turn.output == {"refund": True, "cents": 500}
            assert Verdict.model_validate((await judged.wait("e1")).output).cents == 500

            session = client.session("s", agent="support")
            named = await session.ask('hi [[tool look_up {"id": "o1"}]]', event_id="e1", model=OTHER)
            assert (named.stop_reason, len(named.tool_calls)) == ("end_turn", 1)
            with pytest.raises(TurnFailed, match="has no model 'gpt-9'"):
                await session.ask("hi", event_id="e2", model="gpt-9")
            assert [each.event_id for each in await session.parked()] == ["e2"]
            claude.script(Reply(content=[CODE], stop="pause_turn"), Reply(content=[RAN, {"type": "text", "text": "1"}]))
            assert (await session.ask("run it", event_id="e3")).text == "1"
            begun = [entry.body async for entry in session.entries() if entry.type == "turn.started"]
        assert [(body.get("model"), body.get("settings")) for body in begun] == [
            (OTHER, {"effort": "high"}),
            (None, {"effort": "high"}),
        ]
        asked = [each.body for each in claude.requests if each.body]
        assert [body["model"] for body in asked[2:]] == [OTHER, OTHER, OWN, OWN]
        assert asked[-1]["container"]
        assert not [each.error for each in claude.requests if each.error]


async def test_another_model_answers_once_one_has_been_away_for_long(rig: Rig) -> None:
    bounds = Bounds(fallback_after=0.5)
    async with rig.claude() as claude, rig.client() as client:
        async with rig.worker([AGENT], model=claude.model, bounds=bounds):
            claude.faults("529")
            turn = await client.session("s", agent="support").ask("hi", event_id="e1")
            assert turn.stop_reason == "end_turn"
        models = [each.body["model"] for each in claude.requests if each.body]
        assert models == [OWN, OTHER]
