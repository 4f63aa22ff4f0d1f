"""A worker for one of the ways, each with the options of inturn's own.

`python -m bench.beside.worker ADDRESS QUEUE WAY JOURNAL`; the environment says where the stubs write.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import AsyncExitStack
from typing import Any, Final

from temporalio.worker import Worker

from bench.bare_worker import alike
from bench.beside import stub
from bench.beside.conversation import Conversation, ConversationTuned
from bench.beside.handler import Handler, HandlerTuned
from inturn_worker import app
from inturn_worker.server import connect, identity, until_polling
from inturn_worker.settings import Settings

READY: Final = "worker ready"
WORKFLOWS: Final[dict[str, type[Any]]] = {
    "Handler": Handler,
    "HandlerTuned": HandlerTuned,
    "Conversation": Conversation,
    "ConversationTuned": ConversationTuned,
}


async def main(address: str, task_queue: str, way: str, journal: str) -> None:
    """Run until SIGTERM."""
    settings = Settings(address=address, task_queue=task_queue, journal=journal)
    client = await connect(settings)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with AsyncExitStack() as stack:
        made: Worker
        if way == "Session":
            opened = await stack.enter_async_context(app.opened_journal(settings))
            made = app.build_worker(client, stub.agents, journal=opened, model=stub.Stub(), settings=settings)
        else:
            made = alike(client, settings, WORKFLOWS[way], [stub.ask_model, stub.use_tool])
        await stack.enter_async_context(made)
        await until_polling(client, task_queue, identity())
        print(READY, flush=True)
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5]))
