"""Temporal's RPCs of one session.

Invariant: a session exists once. Each start names the same workflow id, uses a running one, and never reopens one that
was closed; it has no retry policy (that would drop the signal of signal-with-start) and no execution timeout. Nothing
here retries or explains: errors leave as Temporal raised them.
"""

from __future__ import annotations

import asyncio
import hashlib
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
from temporalio.common import Priority, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import TemporalError, WorkflowAlreadyStartedError
from temporalio.service import RPCError

from inturn import names
from inturn.client.temporal.connection import Connection
from inturn.client.temporal.decrypted import decrypt_pending
from inturn.client.temporal.retries import reraise_cancellation
from inturn.client.temporal.search_attributes import lacks_attributes, start_attributes
from inturn.client.temporal.server_checks import supply_attributes
from inturn.keys import SessionKey

Message = dict[str, Any]
TASK_TIMEOUT: Final = timedelta(seconds=5)
"""A workflow task whose worker died comes back after this; the server's 10 s would be most of a recovery."""
FAIRNESS_KEY: Final = 64
"""Bytes that a server takes of one."""
RPC_TIMEOUT: Final = timedelta(seconds=10)
"""One try of a call that the server answers at once."""
ALIVE_WITHIN: Final = 2.0
"""Seconds in which a session with a worker answers a query."""


def fairness_key(tenant: str) -> str:
    """Return by what the server shares workers out among tenants: a session's steps and later runs inherit it."""
    if len(tenant) <= FAIRNESS_KEY:
        return tenant
    return f"{tenant[: FAIRNESS_KEY - 17]}~{hashlib.sha256(tenant.encode()).hexdigest()[:16]}"


@dataclass(frozen=True)
class SessionTransport:
    """Makes the RPCs of one session."""

    connection: Connection
    key: SessionKey
    task_queue: str | None = None
    agent: str | None = None
    own_patience: float | None = None

    @property
    def patience(self) -> float:
        """Seconds for which a call may be repeated while the server cannot take it."""
        return self.own_patience or self.connection.settings.patience

    async def start(self) -> bool:
        """Start the session; return whether there was none, open or closed."""
        temporal = await self.connection.temporal()
        alone: dict[str, Any] = {**self._start(), "id_conflict_policy": WorkflowIDConflictPolicy.FAIL}
        try:
            await temporal.start_workflow(names.SESSION_WORKFLOW, **alone, rpc_timeout=RPC_TIMEOUT)
        except WorkflowAlreadyStartedError:
            return False
        except RPCError as error:
            await self._raise(temporal, error)
        return True

    async def signal_with_start(self, event: Message) -> None:
        """Signal an event; starts the session where there is none."""
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
            await self._raise(temporal, error)

    async def update_with_start(self, event: Message, update_id: str) -> WorkflowUpdateHandle[Message]:
        """Return the update that hands over an event, once it is accepted; starts the session where there is none."""
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
                await self._raise(temporal, error)

    async def update(self, name: str, message: Message, update_id: str) -> WorkflowUpdateHandle[Message]:
        """Return the update that hands a message to the session that is there, once it is accepted."""
        handle = await self.handle()
        return await handle.start_update(
            name, message, wait_for_stage=WorkflowUpdateStage.ACCEPTED, id=update_id, result_type=dict
        )

    async def signal(self, name: str, message: Message) -> None:
        """Signal a message to the session that is there."""
        await (await self.handle()).signal(name, message, rpc_timeout=RPC_TIMEOUT)

    async def status(self, timeout: float) -> Message:
        """Return the session's own status; waits for it at most `timeout` seconds."""
        handle = await self.handle()
        return cast(
            "Message", await handle.query(names.STATUS, result_type=dict, rpc_timeout=timedelta(seconds=timeout))
        )

    async def control_result(self, control_id: str) -> Message | None:
        """Return what the session remembers of a control; `None`: it has not acted on it, or long ago."""
        handle, within = await self.handle(), timedelta(seconds=ALIVE_WITHIN)
        found = await handle.query(names.CONTROL, control_id, result_type=dict, rpc_timeout=within)
        return cast("Message | None", found or None)

    async def alive(self) -> bool:
        """Return whether the session answers, and so has a worker."""
        try:
            async with asyncio.timeout(ALIVE_WITHIN), reraise_cancellation():
                await self.status(ALIVE_WITHIN)
        except (TemporalError, TimeoutError):
            return False
        return True

    async def describe(self) -> WorkflowExecutionDescription:
        """Return what the server knows; needs no worker."""
        seen = await (await self.handle()).describe(rpc_timeout=RPC_TIMEOUT)
        await decrypt_pending(await self.connection.temporal(), seen)
        return seen

    async def ended(self) -> None:
        """Return once the session's last run has ended; costs no history."""
        await (await self.handle()).result()

    async def handle(self, run_id: str | None = None) -> WorkflowHandle[Any, Any]:
        """Return Temporal's handle: of the session, whichever run it is in, or of one run."""
        return (await self.connection.temporal()).get_workflow_handle(str(self.key), run_id=run_id)

    def _start(self) -> dict[str, Any]:
        start: dict[str, Any] = {
            "id": str(self.key),
            "task_queue": self.task_queue or self.connection.settings.task_queue,
            "id_conflict_policy": WorkflowIDConflictPolicy.USE_EXISTING,
            "id_reuse_policy": WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
            "search_attributes": start_attributes(self.key.tenant, self.agent),
            "task_timeout": TASK_TIMEOUT,
            "priority": Priority(fairness_key=fairness_key(self.key.tenant)),
            "memo": {"inturn": {"tenant": self.key.tenant, "session": self.key.session_id, "agent": self.agent}},
            "static_summary": f"{self.agent or 'agent'} session {self.key.session_id}"[:200],
        }
        if self.agent is not None:
            start["args"] = [{"agent": self.agent}]
        return start

    async def _raise(self, temporal: Temporal, error: BaseException) -> NoReturn:
        """Raise the error, after a server that lacks our search attributes was given them: the caller tries again."""
        if isinstance(error, RPCError) and lacks_attributes(error):
            await supply_attributes(temporal, error)
        raise error
