"""A worker for one of the ways, each with the options of inturn's own.

`python -m bench.beside.worker ADDRESS QUEUE WAY JOURNAL`; the environment says where the stubs write.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import AsyncExitStack
from typing import Any, Final

from temporalio.client import Client
from temporalio.worker import PollerBehaviorSimpleMaximum, Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

import worker as inturn_worker
from bench.beside import stub
from bench.beside.conversation import Conversation, ConversationTuned
from bench.beside.handler import Handler, HandlerTuned
from inturn_service.server import connect, identity, until_polling
from inturn_service.settings import Settings

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
        if way == "Session":
            opened = await stack.enter_async_context(inturn_worker.opened_journal(settings))
            made = inturn_worker.build_worker(client, stub.agents, journal=opened, model=stub.Stub(), settings=settings)
        else:
            made = _chats(client, settings, WORKFLOWS[way])
        await stack.enter_async_context(made)
        await until_polling(client, task_queue, identity())
        print(READY, flush=True)
        await stop.wait()


def _chats(client: Client, settings: Settings, workflow: type[Any]) -> Worker:
    pollers = PollerBehaviorSimpleMaximum(settings.pollers)
    restrictions = SandboxRestrictions.default.with_passthrough_modules(*inturn_worker.PASSED_THROUGH, "bench")
    return Worker(
        client,
        task_queue=settings.task_queue,
        workflows=[workflow],
        activities=[stub.ask_model, stub.use_tool],
        workflow_runner=SandboxedWorkflowRunner(restrictions=restrictions),
        identity=identity(),
        max_cached_workflows=settings.cached_sessions,
        max_concurrent_workflow_tasks=settings.session_slots,
        max_concurrent_activities=settings.step_slots,
        workflow_task_poller_behavior=pollers,
        activity_task_poller_behavior=pollers,
        sticky_queue_schedule_to_start_timeout=inturn_worker.STICKY_TIMEOUT,
        max_heartbeat_throttle_interval=inturn_worker.HEARTBEAT_THROTTLE,
        default_heartbeat_throttle_interval=inturn_worker.HEARTBEAT_THROTTLE,
    )


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5]))
