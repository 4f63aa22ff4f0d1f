"""The activities of a worker, run one by one without a server."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from temporalio.activity import ActivityCancellationDetails
from temporalio.testing import ActivityEnvironment

from inturn.agents import Agent
from inturn.journal import Journal, open_journal
from inturn.keys import SessionKey, StepKey
from inturn.models import Model
from inturn.testing import ScriptedModel
from inturn.values import Entry
from inturn_activities.bounds import Bounds
from inturn_activities.limits.limits import Limits
from inturn_activities.messages import (
    Decision,
    DeliverInput,
    ModelInput,
    ModelResult,
    RecordInput,
    RecordResult,
    ToolInput,
    ToolResult,
)
from inturn_activities.registry import Steps
from tests.support.stores import journal_url

SESSION = SessionKey("acme", "s1")
WAIT = 10.0
"""Seconds after which a test that waits has failed."""


class StepRunner:
    """A worker's steps on a journal of their own. `crash` makes the next claim find what a killed worker leaves."""

    def __init__(self, journal: Journal, model: Model, agents: Sequence[Agent], **options: Any) -> None:
        self.journal = journal
        self.model = model
        self.agents = agents
        self.session = SESSION
        self.steps = Steps(journal, model, agents, **options)

    def of(self, session: SessionKey) -> StepRunner:
        """Return the same worker's steps of another session."""
        other = copy.copy(self)
        other.session = session
        return other

    async def ask(
        self, event_id: str = "e1", content: Any = "hi", *, step: int = 0, attempt: int = 1, **fields: Any
    ) -> ModelResult:
        """Run a model step; the event goes with step 0."""
        if step == 0:
            fields.setdefault("event", {"event_id": event_id, "content": content})
        key = self.session.turn(event_id).step(step)
        return await environment(key, attempt).run(self.steps.call_model, ModelInput(**fields))

    async def tool(
        self, event_id: str = "e1", *, call: str, index: int = 0, step: int = 0, attempt: int = 1, **fields: Any
    ) -> ToolResult:
        """Run a tool call."""
        key = self.session.turn(event_id).step(step, index)
        return await environment(key, attempt).run(self.steps.run_tool, ToolInput(call=call, **fields))

    async def tools(self, result: ModelResult, event_id: str = "e1", step: int = 0) -> list[ToolResult]:
        """Run all calls of a model step at once."""
        calls = [self.tool(event_id, call=c.id, index=i, step=step) for i, c in enumerate(result.calls)]
        return list(await asyncio.gather(*calls))

    async def deliver(self, event_id: str = "e1", step: str = "deliver", **fields: Any) -> None:
        """Run a delivery."""
        key = self.session.turn(event_id).step(step)
        await environment(key).run(self.steps.deliver, DeliverInput(**fields))

    async def record(self, *decisions: Decision, settle: Sequence[str] = (), close: bool = False) -> RecordResult:
        """Record decisions."""
        key = StepKey.parse(f"{self.session}/~record/1")
        message = RecordInput(decisions=list(decisions), settle=list(settle), close=close)
        return await environment(key).run(self.steps.record, message)

    async def entries(self, *types: str) -> list[Entry]:
        """Read the session's entries."""
        return await self.journal.read(self.session, types=types)

    async def bodies(self, type_: str) -> list[dict[str, Any]]:
        """Read the bodies of entries of a type."""
        return [entry.body for entry in await self.entries(type_)]


@asynccontextmanager
async def rig(
    tmp_path: Path,
    script: Sequence[Any] | None = None,
    *,
    tools: Sequence[Any] = (),
    model: Model | None = None,
    agents: Sequence[Agent] = (),
    bounds: Bounds | None = None,
    limits: Limits | None = None,
    resources: Any = None,
    version: str | None = None,
    url: str | None = None,
    **agent: Any,
) -> AsyncIterator[StepRunner]:
    """Return a worker's steps with one agent named `support`, or with these agents; `url`: of their journal."""
    tmp_path.mkdir(exist_ok=True)
    journal = open_journal(url or journal_url(tmp_path))
    await journal.open()
    values: dict[str, Any] = {"model": "m", "instructions": "Be brief.", "tools": tools, **agent}
    try:
        yield StepRunner(
            journal,
            model or ScriptedModel(script),
            agents or [Agent("support", **values)],
            bounds=bounds or Bounds(beat=0.01, lease=0.1, leased_wait=5),
            limits=limits,
            resources=resources,
            version=version,
        )
    finally:
        await journal.close()


def environment(key: StepKey, attempt: int = 1) -> ActivityEnvironment:
    """Return what an activity sees of Temporal."""
    made = ActivityEnvironment()
    made.info = dataclasses.replace(made.info, activity_id=str(key), workflow_id=str(key.session), attempt=attempt)
    return made


async def running(environment: ActivityEnvironment, step: Any, message: Any) -> asyncio.Task[Any]:
    """Start an activity in the background."""
    return asyncio.create_task(environment.run(step, message))


SHUTDOWN = ActivityCancellationDetails(worker_shutdown=True)
