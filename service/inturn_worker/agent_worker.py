"""A worker that says in the journal which agents it serves and which limits it was set to, and takes over lower ones.

Invariant: it says so before it takes its first step and until it has ended its last one; a journal that is away keeps
nobody from working.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

from pydantic_core import to_json
from temporalio.worker import Worker

from inturn.agents import Agent
from inturn.errors import InturnError
from inturn.journal import Journal, Serving
from inturn_activities.registry import Steps
from inturn_worker.server import identity
from inturn_workflows.stops import heard_by

logger = logging.getLogger("inturn.worker")

REFRESH: Final = 5.0
"""Seconds; who said nothing for four times as long is taken for gone."""

_numbers: Final = itertools.count(1)


class Registration:
    """What a worker says of itself."""

    def __init__(
        self,
        journal: Journal,
        agents: Sequence[Agent],
        queue: str,
        steps: Steps,
        version: str | None = None,
        keys: tuple[str, ...] = (),
    ) -> None:
        """Say that agents are served on a task queue, by which build; with the limits and troubles of these steps."""
        self._journal = journal
        self._agents = agents
        self._version = version
        self._keys = keys
        # Workers of other apps, or of other code, may serve the same queue. The server gives a step that one of them
        # could not do to the same one again, as it polled last; on this queue there are only workers like this. Of one
        # build all have the same code, and the next one is to poll the queues that this one did.
        alike = to_json(sorted([agent.name] if version else _content(agent) for agent in agents))
        self._queue = f"{queue[:900]}~{hashlib.sha256(alike).hexdigest()[:8]}"
        self._steps = steps
        self.worker = f"{identity()}/{next(_numbers)}"
        """Its name in the journal: processes may have several."""

    @property
    def queues(self) -> list[str]:
        """The task queues on which only workers that have the same take steps."""
        return sorted({row.queue for row in self.rows()})

    def rows(self) -> list[Serving]:
        """Return what is written."""
        return [
            Serving(
                worker=self.worker,
                agent=agent.name,
                queue=agent.task_queue or self._queue,
                manifest=agent.manifest_hash,
                tools=tuple(tool.name for tool in agent.tools),
                deliver=agent.deliver is not None,
                version=self._version,
                limits=self._steps.agreed.own,
                trouble=self._steps.pools.trouble(),
                keys=self._keys,
            )
            for agent in self._agents
        ]

    @asynccontextmanager
    async def kept(self) -> AsyncGenerator[None, None]:
        """Keep it written while the block runs."""
        await self.refresh()
        refreshing = asyncio.create_task(self._refreshing())
        try:
            yield
        finally:
            refreshing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await refreshing
            with contextlib.suppress(InturnError):
                await self._journal.retire(self.worker)

    async def _refreshing(self) -> None:
        while True:
            await asyncio.sleep(REFRESH)
            await self.refresh()

    async def refresh(self) -> None:
        """Write it anew, and take over the limits that all workers hold now."""
        try:
            await self._journal.register(self.rows())
            self._steps.agreed.agree(row.limits for row in await self._journal.serving())
        except Exception as error:  # whatever it is: the next time is in a few seconds, and nobody else would come
            logger.warning("the journal does not take which agents this worker serves: %s", error)


def _content(agent: Agent) -> list[str]:
    return [agent.name, agent.manifest_hash, agent.policy_hash]


class AgentWorker(Worker):
    """A worker of sessions, with one more for each task queue on which only workers like it take steps."""

    def __init__(
        self, *args: Any, registration: Registration, steps: Steps, beside: Sequence[Worker] = (), **options: Any
    ) -> None:
        """Make a worker of Temporal's that registers itself, and runs those beside it."""
        super().__init__(*args, **options)
        self._registration = registration
        self._beside = tuple(beside)
        self._stops = steps.stops
        self.pools = steps.pools
        """The threads of its steps."""

    async def run(self) -> None:
        """Run until it is shut down."""
        async with AsyncExitStack() as stack:
            stack.enter_context(heard_by(self._stops.listener()))
            await stack.enter_async_context(self._registration.kept())
            for worker in self._beside:
                await stack.enter_async_context(worker)
            await super().run()
