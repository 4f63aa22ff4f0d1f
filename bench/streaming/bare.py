"""The bare workflow whose activity reads the same stream with the SDK's defaults, and its worker.

`python -m bench.streaming.bare ADDRESS QUEUE`, with the model's address in `ANTHROPIC_BASE_URL`.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections import deque
from datetime import timedelta
from functools import cache
from typing import Any, Final

from temporalio import activity, workflow

with workflow.unsafe.imports_passed_through():
    import anthropic

    from bench.bare_worker import alike
    from inturn_worker.server import connect, identity, until_polling
    from inturn_worker.settings import Settings

BEAT: Final = 2.0
"""Seconds between two signs of life: as many as inturn's."""


@cache
def client() -> anthropic.AsyncAnthropic:
    """The SDK as it comes."""
    return anthropic.AsyncAnthropic()


@activity.defn
async def answer(text: str) -> str:
    """Stream an answer."""
    beaten = time.monotonic()
    messages: Any = [{"role": "user", "content": text}]
    async with client().messages.stream(model="claude-sonnet-5-5", max_tokens=8_192, messages=messages) as stream:
        async for _ in stream:
            if time.monotonic() - beaten > BEAT:
                beaten = time.monotonic()
                activity.heartbeat()
        return await stream.get_final_text()


@workflow.defn(name="BareStream")
class BareStream:
    """A session without promises."""

    def __init__(self) -> None:
        self._queue: deque[str] = deque()

    @workflow.signal
    def submit(self, text: str) -> None:
        """Take an event."""
        self._queue.append(text)

    @workflow.run
    async def run(self) -> None:
        """Answer for ever."""
        while True:
            await workflow.wait_condition(lambda: bool(self._queue))
            await workflow.execute_activity(
                answer,
                self._queue.popleft(),
                start_to_close_timeout=timedelta(minutes=10),
                heartbeat_timeout=timedelta(seconds=5),
            )


async def main(address: str, task_queue: str) -> None:
    """Run until SIGTERM."""
    settings = Settings(address=address, task_queue=task_queue)
    temporal = await connect(settings)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with alike(temporal, settings, BareStream, [answer]):
        await until_polling(temporal, task_queue, identity())
        print("bare worker ready", flush=True)
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
