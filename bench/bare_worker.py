"""A worker for the bare workflow, with the options of inturn's own: `python -m bench.bare_worker ADDRESS QUEUE`."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from temporalio.client import Client
from temporalio.worker import PollerBehaviorSimpleMaximum, Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from bench.bare import Bare, noop
from inturn_worker import app
from inturn_worker.server import connect, identity, until_polling
from inturn_worker.settings import Settings


async def main(address: str, task_queue: str) -> None:
    """Run until SIGTERM."""
    settings = Settings(address=address, task_queue=task_queue)
    client = await connect(settings)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with alike(client, settings, Bare, [noop]):
        await until_polling(client, task_queue, identity())
        print("bare worker ready", flush=True)
        await stop.wait()


def alike(client: Client, settings: Settings, workflow: type[Any], activities: Sequence[Callable[..., Any]]) -> Worker:
    """Return a worker of another workflow, with the options of inturn's own."""
    pollers = PollerBehaviorSimpleMaximum(settings.pollers)
    restrictions = SandboxRestrictions.default.with_passthrough_modules(*app.PASSED_THROUGH, "bench")
    return Worker(
        client,
        task_queue=settings.task_queue,
        workflows=[workflow],
        activities=activities,
        workflow_runner=SandboxedWorkflowRunner(restrictions=restrictions),
        identity=identity(),
        max_cached_workflows=settings.cached_sessions,
        max_concurrent_workflow_tasks=settings.session_slots,
        max_concurrent_activities=settings.step_slots,
        workflow_task_poller_behavior=pollers,
        activity_task_poller_behavior=pollers,
        sticky_queue_schedule_to_start_timeout=app.STICKY_TIMEOUT,
        max_heartbeat_throttle_interval=app.HEARTBEAT_THROTTLE,
        default_heartbeat_throttle_interval=app.HEARTBEAT_THROTTLE,
    )


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
