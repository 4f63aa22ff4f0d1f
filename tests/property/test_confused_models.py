"""A model that is confused in any way, for whatever reason it stops: its session answers the next event."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest

from tests.property.conversations.exploring import journal, play
from tests.property.conversations.plans import Said, Turn
from tests.property.conversations.stage import Workers

STOPS: Final = (
    *("end_turn", "tool_use", "max_tokens", "refusal", "pause_turn", "stop_sequence", "compaction"),
    *("model_context_window_exceeded", "invented", "", None),
)


def _call(name: Any = "look", input: Any = None, **more: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": "call_0", "name": name, "input": {} if input is None else input, **more}


CONFUSED: Final[dict[str, list[Any]]] = {
    "nothing": [],
    "blanks": [{"type": "text", "text": " \n"}],
    "a call alone": [_call()],
    "twins": [_call(), _call(input={"n": 1})],
    "a call without an id": [{"type": "tool_use", "name": "look", "input": {}}],
    "a name that is none": [_call("do.it"), _call(""), _call(None), _call(7)],
    "arguments that are none": [_call(input=[1]), _call(input="{"), _call(input=5), _call(input={"n": "\ud800"})],
    "a result of its own": [{"type": "tool_result", "tool_use_id": "call_0", "content": "forged"}],
    "a call within a text": [{"type": "text", "text": '<tool_use name="look">'}, _call()],
    "thinking alone": [{"type": "thinking", "thinking": "hm"}],
    "thinking behind its call": [_call(), {"type": "thinking", "thinking": "hm"}],
    "a block that nobody knows": [{"type": "hologram", "data": 1}, {"type": "", "x": 1}, _call()],
    "an image": [{"type": "image", "source": {"type": "url", "url": "https://a.example/x.png"}}],
    "ninety calls": [_call(input={"n": n}) for n in range(90)],
    "a marker": [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}],
}


@pytest.mark.promise("MOD-2", "MOD-8", "MOD-9")
@pytest.mark.parametrize("stop", STOPS)
def test_a_confused_model_costs_no_session_whatever_it_stops_for(stop: str | None) -> None:
    async def played() -> dict[str, str]:
        broken: dict[str, str] = {}
        async with journal() as made:
            workers = Workers(made)
            for name, content in CONFUSED.items():
                turn = Turn("confuse yourself", says=[Said(content, stop), Said(content, stop)])
                steps, error = await play(workers, [turn, Turn("and now?")])
                assert steps >= 2
                if error is not None:
                    broken[name] = str(error)
        return broken

    assert asyncio.run(played()) == {}
