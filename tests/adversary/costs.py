"""Paid and thrown away: what is written or asked for again, and what outgrows its wire."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import Final

from inturn.testing import Answer, ToolCall
from inturn.tools import tool
from inturn_activities.messages import ModelInput
from tests.adversary.stage import Say, Stage, Trigger, strict
from tests.support import steps
from tests.support.waiting import until

ATTEMPTS: Final = 3


async def cache_beside_calls(calls: int, say: Say) -> None:
    @tool(idempotent=True)
    async def look(i: int) -> str:
        """Look."""
        return "r" * 200

    async with strict(say, tools=[look]) as stage:
        await _long(stage)
        stage.server.script([ToolCall("look", i=i) for i in range(calls)])
        result = await stage.steps.ask("e1", "go")
        await stage.steps.tools(result, "e1")
        await stage.steps.ask("e1", step=1)
        _say_cached(stage)


async def cache_beside_joined(events: int, say: Say) -> None:
    async with strict(say) as stage:
        await _long(stage)
        joined = [{"event_id": f"j{n}", "content": "hi", "source": "b"} for n in range(events)]
        await stage.steps.ask("e1", "go", joined=joined)
        _say_cached(stage)


async def _long(stage: Stage) -> None:
    for n in range(6):
        await stage.steps.ask(f"w{n}", "x" * 1200)


def _say_cached(stage: Stage) -> None:
    usage = stage.server.requests[-1].usage or {}
    read, written = usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"]
    stage.say(
        f"the last request reads {read:,} tokens from the cache and writes {written:,}, of "
        f"{usage['input_tokens'] + read + written:,}"
    )


async def cancelled_attempts(say: Say) -> None:
    async with strict(say) as stage:

        async def streaming(paid: int) -> bool:
            requests = stage.server.requests
            return len(requests) == paid and requests[-1].outcome == "open"

        for attempt in range(1, ATTEMPTS + 1):
            stage.server.script(Answer("a b c d e f g h", delay=30))
            environment = steps.environment(steps.SESSION.turn("e1").step(0), attempt)
            message = ModelInput(event={"content": "hi"})
            running = asyncio.create_task(environment.run(stage.steps.steps.call_model, message))
            await until(partial(streaming, attempt))
            environment.cancel()
            with suppress(asyncio.CancelledError):
                await running
            say(f"cancelled attempt {attempt}: {len(stage.server.requests)} requests were paid")


TRIGGERS: Final[dict[str, Trigger]] = {
    **{f"{n} calls at once": partial(cache_beside_calls, n) for n in (2, 8, 9, 12, 20)},
    **{f"{n} events that joined": partial(cache_beside_joined, n) for n in (5, 19, 21, 40)},
    "attempts that are cancelled": cancelled_attempts,
}
