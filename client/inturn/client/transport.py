"""The way to one session: every call of Temporal's that concerns it.

Invariant: a session exists once. Each start names the same workflow id, uses a running one, and never reopens one that
was closed; it has no retry policy (that would drop the signal of signal-with-start) and no execution timeout. Nothing
here retries or explains: errors leave as Temporal raised them.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, NoReturn, cast

from temporalio.client import (
    Client as Temporal,
)
from temporalio.client import (
    WithStartWorkflowOperation,
    WorkflowExecutionDescription,
    WorkflowHandle,
    WorkflowUpdateHandle,
    WorkflowUpdateStage,
)
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import TemporalError
from temporalio.service import RPCError

from inturn import names
from inturn.client.connection import Connection
from inturn.client.retries import truthful
from inturn.client.search_attributes import lacking, register, start_attributes
from inturn.keys import SessionKey

Message = dict[str, Any]
TASK_TIMEOUT: Final = timedelta(seconds=5)
"""A workflow task whose worker died comes back after this; the server's 10 s would be most of a recovery."""
RPC_TIMEOUT: Final = timedelta(seconds=10)
"""One try of a call that the server answers at once."""
ALIVE_WITHIN: Final = 2.0
"""Seconds in which a session with a worker answers a query."""


@dataclass(frozen=True)
class Gate:
    """One session, seen through Temporal."""

    connection: Connection
    key: SessionKey
    task_queue: str | None = None
    agent: str | None = None

    async def signal_with_start(self, event: Message) -> None:
        """Leave an event with the server; starts the session where there is none."""
        temporal = await self.connection.temporal()
        try:
            await temporal.start_workflow(
                names.SESSION_WORKFLOW,
                **self._start(),
                start_signal=names.SUBMIT,
                start_signal_args=[event],
                rpc_timeout=RPC_TIMEOUT,
            )
        except RPCError as error:
            await self._explained(temporal, error)

    async def update_with_start(self, event: Message, update_id: str) -> WorkflowUpdateHandle[Message]:
        """Hand an event to the session, which starts where there is none; returns once it is accepted or refused."""
        temporal = await self.connection.temporal()
        operation: WithStartWorkflowOperation[Any, Any] = WithStartWorkflowOperation(
            names.SESSION_WORKFLOW, **self._start()
        )
        async with self.connection.update_slots(str(self.key)):
            try:
                return await temporal.start_update_with_start_workflow(
                    names.SUBMIT,
                    event,
                    start_workflow_operation=operation,
                    wait_for_stage=WorkflowUpdateStage.ACCEPTED,
                    id=update_id,
                    result_type=dict,
                )
            except (TemporalError, asyncio.CancelledError) as error:
                with suppress(TemporalError, asyncio.CancelledError):
                    await operation.workflow_handle()  # holds the same error, and would complain that nobody read it
                await self._explained(temporal, error)

    async def update(self, name: str, message: Message, update_id: str) -> WorkflowUpdateHandle[Message]:
        """Hand a message to the session that is there; returns once it is accepted or refused."""
        handle = await self.handle()
        return await handle.start_update(
            name, message, wait_for_stage=WorkflowUpdateStage.ACCEPTED, id=update_id, result_type=dict
        )

    async def signal(self, name: str, message: Message) -> None:
        """Leave a message for the session that is there."""
        await (await self.handle()).signal(name, message, rpc_timeout=RPC_TIMEOUT)

    async def status(self, timeout: float) -> Message:
        """Ask the session how it stands, for at most `timeout` seconds."""
        handle = await self.handle()
        return cast(
            "Message", await handle.query(names.STATUS, result_type=dict, rpc_timeout=timedelta(seconds=timeout))
        )

    async def alive(self) -> bool:
        """Tell whether the session answers, and so has a worker."""
        try:
            async with asyncio.timeout(ALIVE_WITHIN), truthful():
                await self.status(ALIVE_WITHIN)
        except (TemporalError, TimeoutError):
            return False
        return True

    async def describe(self) -> WorkflowExecutionDescription:
        """Ask the server what it knows; needs no worker."""
        return await (await self.handle()).describe(rpc_timeout=RPC_TIMEOUT)

    async def handle(self, run_id: str | None = None) -> WorkflowHandle[Any, Any]:
        """Give Temporal's handle: of the session, whichever run it is in, or of one run."""
        return (await self.connection.temporal()).get_workflow_handle(str(self.key), run_id=run_id)

    def _start(self) -> dict[str, Any]:
        start: dict[str, Any] = {
            "id": str(self.key),
            "task_queue": self.task_queue or self.connection.settings.task_queue,
            "id_conflict_policy": WorkflowIDConflictPolicy.USE_EXISTING,
            "id_reuse_policy": WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
            "search_attributes": start_attributes(self.key.tenant, self.agent),
            "task_timeout": TASK_TIMEOUT,
            "memo": {"inturn": {"tenant": self.key.tenant, "session": self.key.session_id, "agent": self.agent}},
            "static_summary": f"{self.agent or 'agent'} session {self.key.session_id}"[:200],
        }
        if self.agent is not None:
            start["args"] = [{"agent": self.agent}]
        return start

    async def _explained(self, temporal: Temporal, error: BaseException) -> NoReturn:
        """Give a server that lacks our search attributes what it lacks; the caller tries again."""
        if isinstance(error, RPCError) and lacking(error):
            await register(temporal, error)
        raise error
