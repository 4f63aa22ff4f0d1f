"""A worker for the bare workflow, with the options of inturn's own: `python -m bench.bare_worker ADDRESS QUEUE`."""

from __future__ import annotations

import asyncio
import signal
import sys

from temporalio.worker import PollerBehaviorSimpleMaximum, Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

import worker as inturn_worker
from bench.bare import Bare, noop
from inturn_service.server import connect, identity, until_polling
from inturn_service.settings import Settings


async def main(address: str, task_queue: str) -> None:
    """Run until SIGTERM."""
    settings = Settings(address=address, task_queue=task_queue)
    client = await connect(settings)
    pollers = PollerBehaviorSimpleMaximum(settings.pollers)
    restrictions = SandboxRestrictions.default.with_passthrough_modules(*inturn_worker.PASSED_THROUGH, "bench")
    worker = Worker(
        client,
        task_queue=task_queue,
        workflows=[Bare],
        activities=[noop],
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
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with worker:
        await until_polling(client, task_queue, identity())
        print("bare worker ready", flush=True)
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
