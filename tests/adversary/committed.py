"""What the model or an event brought is committed as it came: does the session go on after it?"""

from __future__ import annotations

import json
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, Final

from inturn.journal import Resolution
from inturn.journal.views.turns import own_turn
from inturn.keys import StepKey
from inturn.testing import Answer, ToolCall
from inturn.testing.claude.errors import Rejection
from inturn.testing.claude.shapes import check_shape
from inturn.tools import tool
from inturn_activities.messages import Decision
from tests.adversary.stage import MODEL, Say, Scripted, Trigger, answer, strict
from tests.support import steps


async def changed_on_an_older_model(model: str, say: Say) -> None:
    async with strict(say, model=model) as stage:
        await stage.ask("e1")
        changed = stage.changed(model=model)
        for event_id in ("e2", "e3", "e4"):
            await changed.ask(event_id)


async def older_model_after_a_change(say: Say) -> None:
    async with strict(say) as stage:
        await stage.ask("e1")
        await stage.changed().ask("e2")
        older = stage.changed(model="claude-haiku-4-5")
        for event_id in ("e3", "e4"):
            await older.ask(event_id)


async def resolved_on_an_older_model(say: Say) -> None:
    @tool
    async def pay(cents: int) -> str:
        """Pay."""
        return f"paid {cents}"

    async with strict(say, model="claude-sonnet-4-6", tools=[pay]) as stage:
        stage.server.script([ToolCall("pay", cents=1)])
        await stage.ask("e1")
        body = {"reason": "stopped", "turn": "e1"}
        end = Decision(type="turn.interrupted", turn="e1", key="e1/end", disposition="cancelled", body=body)
        await stage.steps.record(end, settle=["e1"])
        unknown = await stage.steps.journal.unknown_calls(steps.SESSION)
        say(f"unknown calls: {[call.key for call in unknown]}")
        for call in unknown:
            await stage.steps.journal.resolve_call(StepKey.parse(call.key), Resolution(True, "paid"))
        for event_id in ("e2", "e3"):
            await stage.ask(event_id)


async def whitespace_result(say: Say) -> None:
    @tool(idempotent=True)
    async def shell() -> str:
        """Run."""
        return " \n"

    async with strict(say, tools=[shell]) as stage:
        stage.server.script([ToolCall("shell")])
        await stage.turn("e1")


async def impossible_tool_name(name: str, say: Say) -> None:
    async with strict(say) as stage:
        stage.server.script([ToolCall(name)])
        await stage.turn("e1")
        for event_id in ("e2", "e3"):
            await stage.ask(event_id)


async def cache_markers_of_events(say: Say) -> None:
    async with strict(say) as stage:
        for n in range(1, 5):
            await stage.ask(f"e{n}", [_cached(f"hello {n}")])
        await stage.ask("plain", "plain")


async def cache_marker_for_an_hour(say: Say) -> None:
    async with strict(say) as stage:
        await stage.ask("e1", [_cached("hello", ttl="1h")])


def _cached(text: str, **more: str) -> dict[str, Any]:
    return {"type": "text", "text": text, "cache_control": {"type": "ephemeral", **more}}


async def result_like_blocks(value: list[dict[str, Any]], say: Say) -> None:
    @tool
    async def search() -> list[dict[str, Any]]:
        """Search."""
        return value

    async with strict(say, tools=[search]) as stage:
        stage.server.script([ToolCall("search")])
        if await stage.turn("e1"):
            say(f"the model saw {json.dumps(stage.server.requests[-1].body['messages'][-1]['content'])[:160]}")


async def paused_while_thinking(say: Say) -> None:
    async with strict(say) as stage:
        stage.server.script(Answer("", stop="pause_turn", thinking="let me search"))
        await stage.ask("e1")
        await stage.ask("e1", step=1)


async def paused_with_a_call(say: Say) -> None:
    async with strict(say) as stage:
        stage.server.script(Answer("working", (ToolCall("nope"),), "pause_turn"))
        await stage.ask("e1")
        if await stage.ask("e1", step=1):
            say(f"sent back last: {json.dumps(stage.server.requests[-1].body['messages'][-1])[:200]}")


async def refused_turn(say: Say) -> None:
    async with strict(say) as stage:
        stage.server.script(Answer("Sure, first you", stop="refusal"))
        await stage.ask("e1", "FORBIDDEN THING")
        await stage.ask("e2", "hello")
        sent = json.dumps(stage.server.requests[-1].body["messages"])
        say(
            f"the refused text is in the next request: {'FORBIDDEN' in sent}; what the model had said: {'Sure' in sent}"
        )
        say(f"sent to the provider as user: {stage.server.requests[-1].body.get('metadata')}")


async def twin_call_ids(say: Say) -> None:
    ran: list[int] = []

    @tool
    async def pay(cents: int) -> str:
        """Pay."""
        ran.append(cents)
        return f"paid {cents}"

    model = Scripted(
        answer([_call("call_0", {"cents": 1}), _call("call_0", {"cents": 2})], "tool_use"),
        answer([_call("call_0", {"cents": 3})], "tool_use"),
        answer([{"type": "text", "text": "done"}], None),
    )
    with tempfile.TemporaryDirectory() as directory:
        async with steps.rig(Path(directory), model=model, tools=[pay]) as rig:
            for step in range(2):
                result = await rig.ask("e1", step=step)
                await rig.tools(result, "e1", step=step)
            last = await rig.ask("e1", step=2, inline=True)
            turn = await own_turn(rig.journal, steps.SESSION, "e1")
    say(f"asked to pay 1, 2 and 3; bodies ran with {ran}; a stop reason of None is {last.stop}")
    say(f"the turn's calls: {[(call.args, call.result) for call in turn.tool_calls] if turn else None}")


async def odd_input(value: Any, say: Say) -> None:
    @tool
    async def pay(cents: int) -> str:
        """Pay."""
        return f"paid {cents}"

    model = Scripted(answer([_call("t1", value)], "tool_use"), answer([{"type": "text", "text": "done"}]))
    with tempfile.TemporaryDirectory() as directory:
        async with steps.rig(Path(directory), model=model, tools=[pay]) as rig:
            result = await rig.ask("e1")
            await rig.tools(result, "e1")
            await rig.ask("e1", step=1)
    try:
        check_shape({"model": MODEL, "max_tokens": 1, "messages": model.requests[-1].messages})
        say("what is sent back has a shape that the API takes")
    except Rejection as refusal:
        say(f"what is sent back the API refuses: {refusal.message}")


def _call(call_id: str, value: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": "pay", "input": value}


LIKE_BLOCKS: Final[dict[str, list[dict[str, Any]]]] = {
    "documents": [{"type": "document", "id": 1, "title": "Terms"}],
    "typed rows": [{"type": "text", "value": "42 rows changed"}],
    "scored texts": [{"type": "text", "text": "hello", "score": 0.9}],
    "a TIFF": [{"type": "image", "source": {"type": "base64", "media_type": "image/tiff", "data": "aGk="}}],
}

TRIGGERS: Final[dict[str, Trigger]] = {
    "changed instructions, claude-sonnet-4-6": partial(changed_on_an_older_model, "claude-sonnet-4-6"),
    "changed instructions, claude-haiku-4-5": partial(changed_on_an_older_model, "claude-haiku-4-5"),
    "an older model after a change": older_model_after_a_change,
    "an unknown call resolved, older model": resolved_on_an_older_model,
    "a result of whitespace": whitespace_result,
    "a tool's name with a dot": partial(impossible_tool_name, "do.it"),
    "a tool's name with a space": partial(impossible_tool_name, "do it"),
    "cache markers in events": cache_markers_of_events,
    "a cache marker for an hour": cache_marker_for_an_hour,
    **{
        f"a result that looks like blocks: {name}": partial(result_like_blocks, value)
        for name, value in LIKE_BLOCKS.items()
    },
    "a pause while thinking": paused_while_thinking,
    "a pause with a call": paused_with_a_call,
    "a refused turn": refused_turn,
    "calls with one id": twin_call_ids,
    **{f"an input that is {value!r}": partial(odd_input, value) for value in ([1], "x", None)},
}
