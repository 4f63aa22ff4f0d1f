"""The composition root: settings -> journal, model, agents -> Worker.

Invariant: it says `inturn worker ready …` on standard output only when the server has seen its pollers.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

from temporalio.client import Client
from temporalio.converter import DataConverter
from temporalio.worker import PollerBehaviorSimpleMaximum, Worker
from temporalio.worker.workflow_sandbox import SandboxRestrictions

from inturn.agents import Agent
from inturn.encryption.converter import keys_of
from inturn.errors import InturnError, Misconfigured
from inturn.journal import Journal, open_journal
from inturn.keys import SessionKey
from inturn.loading import Lifespan
from inturn.models import Model
from inturn.models.prices import prices_of
from inturn_activities.bounds import Bounds
from inturn_activities.model.claude import Claude
from inturn_activities.registry import Steps
from inturn_activities.tools.thread_pools import ThreadPools
from inturn_worker.agent_worker import AgentWorker, Registration
from inturn_worker.beats import BeatsEvery
from inturn_worker.health import Check, serve_health
from inturn_worker.loop import watched_loop
from inturn_worker.models import check_prices, check_settings, choose_model, looked_up
from inturn_worker.sandbox import Sandbox, wants_contexts
from inturn_worker.server import connect, identity, until_polling
from inturn_worker.settings import Settings
from inturn_worker.shutdown import SUPERVISED, Shutdown
from inturn_worker.telemetry import core_runtime
from inturn_worker.versions import versioned, without_sessions
from inturn_workflows.session import Session
from inturn_workflows.tick import Tick

logger = logging.getLogger("inturn.worker")

# What workflow code imports is pure; loading it anew for each session would cost 3 ms and 70 KiB every time.
PASSED_THROUGH = (
    "inturn",
    "inturn_workflows",
    "inturn_activities",
    "pydantic",
    "pydantic_core",
    "opentelemetry",
    "annotated_types",
)
# A cancel reaches a running step as the answer to a heartbeat. Steps beat every two seconds by themselves, and a few
# times at once when they are stopped: the SDK is to hold none of these back.
HEARTBEAT_THROTTLE = timedelta(milliseconds=50)
# How long a session's next event waits for a dead worker's cache before any worker takes it.
STICKY_TIMEOUT = timedelta(seconds=2)
# Seconds that one task of a session may compute. After a flood it replays up to 10,000 signals, on a busy machine for
# more than the SDK's 2 s; what the SDK takes for a deadlock it interrupts midway, and then cannot evict the session.
DEADLOCK_TIMEOUT = 60
# Seconds for which threads that hang must fill a worker before its process ends: those that are merely slow end first.
FULL_FOR = 60
# Seconds for which a lifespan begins without a word.
SLOW_START = 15
# Of the task queues where only workers like this one take steps: nobody is sent there in most deployments.
POLLERS_BESIDE = 2
# Seconds for which one thread keeps the interpreter from the others. In a flood a turn waits for that dozens of times:
# with Python's 5 ms twice as long as with this, which costs nothing to measure; 0.5 ms would cost 10% of the CPU.
SWITCH_INTERVAL = 0.002


def build_worker(
    client: Client,
    agents: Sequence[Agent],
    *,
    journal: Journal,
    model: Model,
    settings: Settings | None = None,
    task_queue: str | None = None,
    resources: Any = None,
    bounds: Bounds | None = None,
) -> AgentWorker:
    """Return a worker, for `async with` or `run()`; the caller has opened the journal."""
    settings = settings or Settings()
    queue = task_queue or settings.task_queue
    usual = Bounds()
    bounds = bounds or replace(usual, beat=settings.beat)
    prices = prices_of(settings.prices)
    check_prices(model, agents, settings.limits, prices)
    steps = Steps(
        journal,
        model,
        agents,
        resources=resources,
        bounds=bounds,
        limits=settings.limits,
        version=settings.version,
        prices=prices,
    )
    pollers = PollerBehaviorSimpleMaximum(settings.pollers)
    taking_steps: dict[str, Any] = {
        "activities": steps.activities,
        "identity": identity(),
        "max_concurrent_activities": settings.step_slots,
        # Newer servers hand steps back to the worker whose workflow asked, past the queue and its fairness.
        "disable_eager_activity_execution": True,
        "max_heartbeat_throttle_interval": HEARTBEAT_THROTTLE,
        "default_heartbeat_throttle_interval": HEARTBEAT_THROTTLE,
        "graceful_shutdown_timeout": timedelta(seconds=settings.grace),
        **versioned(settings),
    }
    ring = keys_of(client.data_converter)
    registration = Registration(journal, agents, queue, steps, settings.version, ring.names if ring else ())
    few = PollerBehaviorSimpleMaximum(POLLERS_BESIDE)
    worker = AgentWorker(
        client,
        registration=registration,
        steps=steps,
        beside=[
            Worker(client, task_queue=own, activity_task_poller_behavior=few, **taking_steps)
            for own in registration.queues
            if own != queue
        ],
        task_queue=queue,
        workflows=[Session, Tick],
        workflow_runner=workflow_runner(client.data_converter),
        interceptors=[BeatsEvery(settings.beat)] if settings.beat != usual.beat else [],
        max_cached_workflows=settings.cached_sessions,
        max_concurrent_workflow_tasks=settings.session_slots,
        workflow_task_poller_behavior=pollers,
        activity_task_poller_behavior=pollers,
        sticky_queue_schedule_to_start_timeout=STICKY_TIMEOUT,
        **taking_steps,
    )
    # The SDK has no setting for it.
    worker._workflow_worker._deadlock_timeout_seconds = DEADLOCK_TIMEOUT  # type: ignore[union-attr] # pyright: ignore
    return worker


def workflow_runner(converter: DataConverter) -> Sandbox:
    """Return the sandbox in which sessions run, and in which their histories replay."""
    restrictions = SandboxRestrictions.default.with_passthrough_modules(*PASSED_THROUGH)
    return Sandbox(restrictions=restrictions, contexts=wants_contexts(converter))


async def serve(settings: Settings, agents: Sequence[Agent], lifespan: Lifespan | None) -> None:
    """Run one worker until a signal comes.

    Raises:
        Misconfigured: It cannot run as it is set up.
        InturnError: It ended though nobody had told it to.
    """
    warn_of_unserved(agents)
    stop = Shutdown(settings.grace)
    stop.listen()
    try:
        await _serve(settings, agents, lifespan, stop)
    except asyncio.CancelledError as error:
        if stop.requested:
            raise
        raise InturnError("code of an agent's, or of the lifespan, cancelled the worker's main task") from error


async def _serve(settings: Settings, agents: Sequence[Agent], lifespan: Lifespan | None, stop: Shutdown) -> None:
    client = await connect(settings, core_runtime())
    async with AsyncExitStack() as stack:
        journal = await stack.enter_async_context(opened_journal(settings))
        model, model_name = choose_model(settings)
        check_settings(model, agents)
        if isinstance(model, Claude):
            stack.push_async_callback(model.aclose)
        resources = await stack.enter_async_context(_begun(lifespan)) if lifespan else None
        worker = build_worker(client, agents, journal=journal, model=model, settings=settings, resources=resources)
        port = await _serve_health(stack, settings, worker, stop, client, journal)
        # What is loaded by now stays: without it a full collection takes 12 ms instead of 77.
        gc.collect()
        gc.freeze()
        sys.setswitchinterval(SWITCH_INTERVAL)
        async with worker:
            stop.started()
            await until_polling(client, settings.task_queue, identity())
            if why := await without_sessions(client, settings):
                logger.warning("%s", why)
            _print_ready(client, settings, agents, model_name, port)
            async with looked_up(model, agents):
                with watched_loop():
                    watching = asyncio.create_task(_until_full(worker.pools, stop))
                    await stop.wait()
                    watching.cancel()
        logger.info("drained")
    if worker.pools.full:
        raise InturnError(f"this worker needed a restart: {worker.pools.trouble()}")


@asynccontextmanager
async def _begun(lifespan: Lifespan) -> AsyncGenerator[Any, None]:
    """Yield what the lifespan yields; say so where it has not begun, or blocks the loop: nobody else would."""
    said = f"the lifespan has not begun after {SLOW_START} s: the worker takes nothing before it has"
    late = asyncio.get_running_loop().call_later(SLOW_START, logger.warning, said)
    async with AsyncExitStack() as stack:
        try:
            with watched_loop():
                resources = await stack.enter_async_context(lifespan())
        finally:
            late.cancel()
        yield resources


async def _until_full(pools: ThreadPools, stop: Shutdown) -> None:
    """End the worker, drained, where threads that hang fill it for good and somebody starts another one.

    Elsewhere a worker that can do little is better than none: `/livez`, `/readyz`, the log and `doctor` say so.
    """
    if "/" not in os.environ.get(SUPERVISED, ""):
        return
    since = 0
    while since < FULL_FOR:
        await asyncio.sleep(1)
        since = since + 1 if pools.full else 0
    logger.error("%s: this process ends and is started again, as nothing else helps", pools.trouble())
    stop.request("threads that hang fill this worker")


def warn_of_unserved(agents: Sequence[Agent]) -> None:
    """Warn of what agents ask for and this version does not do yet, before somebody relies on it."""
    for agent in agents:
        if agent.subagents:
            logger.warning("agent %s: subagents= is not served yet; the model is not told of them", agent.name)


@asynccontextmanager
async def opened_journal(settings: Settings) -> AsyncGenerator[Journal, None]:
    """Yield the journal, open for as long as the block runs.

    Raises:
        Misconfigured: Its address is wrong, or it cannot be written.
    """
    try:
        journal = open_journal(settings.journal)
        await journal.open()
        await journal.move_cursor("inturn", "worker", "start", 0)  # a file may open that cannot be written
    except (InturnError, OSError, ValueError) as error:
        raise Misconfigured(
            f"the journal cannot be opened for writing: {error}. Name another with --journal or INTURN_JOURNAL "
            f"(sqlite:///FILE, postgresql://USER@HOST/DATABASE), or correct the permissions"
        ) from error
    try:
        yield journal
    finally:
        await journal.close()


async def _serve_health(
    stack: AsyncExitStack, settings: Settings, worker: AgentWorker, stop: Shutdown, client: Client, journal: Journal
) -> int | None:
    if settings.health_port is None:
        return None

    stuck = worker.pools.stuck

    async def working() -> None:
        if stop.requested or not worker.is_running:
            raise RuntimeError("draining" if stop.requested else "not running")
        if trouble := stuck():
            raise RuntimeError(trouble)

    async def server() -> None:
        if not await client.service_client.check_health():
            raise RuntimeError("the Temporal server says that it does not serve")

    async def readable() -> None:
        await journal.head(SessionKey("inturn", "readyz"))

    checks: dict[str, Check] = {"worker": working, "server": server, "journal": readable}
    shared = SUPERVISED in os.environ
    try:
        health = serve_health(settings.health_host, settings.health_port, checks, alive=stuck, shared=shared)
        return await stack.enter_async_context(health)
    except OSError as error:
        raise Misconfigured(
            f"the health endpoint cannot listen on port {settings.health_port}: {error.strerror}"
        ) from error


def _print_ready(client: Client, settings: Settings, agents: Sequence[Agent], model: str, health: int | None) -> None:
    words = {
        "pid": os.getpid(),
        "identity": identity(),
        "namespace": client.namespace,
        "task_queue": settings.task_queue,
        "agents": ",".join(agent.name for agent in agents),
        "model": model,
    }
    if settings.version is not None:
        words["version"] = settings.version
    if health is not None:
        words["health_port"] = health
    print("inturn worker ready", *(f"{name}={value}" for name, value in words.items()), flush=True)
