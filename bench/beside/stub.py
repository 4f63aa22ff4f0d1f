"""The model and the tool that every way works with, and what they write down.

Invariant: every way meets the same model and the same tool; who counts reads what these two wrote, beside what a way
says of itself.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any, Final

import anthropic
import httpx2
from pydantic import BaseModel
from temporalio import activity

from inturn import Agent, ToolContext, tool
from inturn.models import ModelMessage, ModelRequest, OnDelta
from inturn.models.scripted import NAME, call_ids
from inturn.models.scripted_answers import Answer, by_rule, last_text, step_of
from inturn.values import Usage

Message = dict[str, Any]

CALLS: Final = "BESIDE_CALLS"
"""Names the file of the model's calls."""
EFFECTS: Final = "BESIDE_EFFECTS"
"""Names the file of the tool's effects."""
POISON: Final = "[[fault 400]]"
"""In a user's text: the model refuses it, however often it is asked."""
STANDS: Final = 120.0
"""Seconds that the tool stands still after its first effect: it waits for its process to be killed."""


class Event(BaseModel):
    """What a producer sends; its text ends with its id, so that the answer does."""

    event_id: str
    content: str


class Said(BaseModel):
    """What the model answered."""

    content: list[dict[str, Any]]
    stop_reason: str


class Use(BaseModel):
    """A call of the tool."""

    event: str
    stands: bool = False
    key: str | None = None


@activity.defn
async def ask_model(messages: list[Message]) -> Said:
    """Answer a conversation."""
    answer = await _answer(messages)
    request = ModelRequest(model=NAME, system="", messages=messages)
    return Said(content=answer.content(call_ids(request, len(answer.calls))), stop_reason=answer.stop_reason)


@activity.defn
async def use_tool(use: Use) -> str:
    """Run the tool."""
    return await _act(use)


class Stub:
    """The model as inturn's worker calls it."""

    async def respond(self, request: ModelRequest, on_delta: OnDelta) -> ModelMessage:
        """Answer a conversation."""
        answer = await _answer(request.messages)
        on_delta(0, "text", answer.text)
        content = answer.content(call_ids(request, len(answer.calls)))
        return ModelMessage(content, answer.stop_reason, Usage(steps=1), NAME)


@tool(timeout=STANDS)
async def effect(event: str, ctx: ToolContext, stands: bool = False) -> str:
    """Have an effect, as often as it is called: neither safe to repeat nor able to tell what it did."""
    return await _act(Use(event=event, stands=stands, key=ctx.key))


agents = [Agent("beside", model=NAME, instructions="Be brief.", tools=[effect])]


async def _answer(messages: list[Message]) -> Answer:
    event = last_text(messages)[0].rpartition(" ")[2]
    _write(CALLS, event=event, what="begin")
    if step_of(messages).faults:
        _write(CALLS, event=event, what="refuse")
        response = httpx2.Response(400, request=httpx2.Request("POST", "http://model/v1/messages"))
        raise anthropic.BadRequestError("refused", response=response, body=None)
    answer = by_rule(messages)
    await asyncio.sleep(answer.delay)
    _write(CALLS, event=event, what="call" if answer.calls else "end")
    return answer


async def _act(use: Use) -> str:
    before = [line for line in written(Path(os.environ[EFFECTS])) if line["event"] == use.event]
    _write(EFFECTS, event=use.event, key=use.key)
    if use.stands and not before:
        await asyncio.sleep(STANDS)
    return "done"


def written(path: Path) -> list[dict[str, Any]]:
    """Read what was written down; a line that is being written does not count yet."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def _write(file: str, **fields: Any) -> None:
    """Append a line in one write: whoever is killed leaves whole lines."""
    session = activity.info().workflow_id
    line = json.dumps({"session": (session or "").rpartition("/")[2], "at": time.monotonic(), **fields})
    with open(os.environ[file], "ab", buffering=0) as out:
        out.write(line.encode() + b"\n")
