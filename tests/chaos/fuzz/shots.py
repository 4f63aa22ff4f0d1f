"""What is fired at a session: signals, updates and queries with raw payloads, as any SDK could send them.

Invariant: a shot knows what was acknowledged: the ids of readable events that the server took.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

import temporalio.client
from temporalio.api.common.v1 import Payload, Payloads, WorkflowExecution
from temporalio.api.enums.v1 import UpdateWorkflowExecutionLifecycleStage as Stage
from temporalio.api.query.v1 import WorkflowQuery
from temporalio.api.update.v1 import Input, Meta, Request, WaitPolicy
from temporalio.api.workflowservice.v1 import (
    QueryWorkflowRequest,
    SignalWorkflowExecutionRequest,
    UpdateWorkflowExecutionRequest,
)
from temporalio.service import RPCError

from tests.chaos.fuzz.messages import Messages, readable_id

WITHIN: Final = timedelta(seconds=10)
"""A call that takes longer counts as one without an answer."""


@dataclass
class Fired:
    """What was fired at one session."""

    acknowledged: dict[str, str] = field(default_factory=dict[str, str])
    """Events that have a readable id, each with its start: each must end in one disposition."""
    answers: Counter[str] = field(default_factory=Counter)


class Gun:
    """Fires at one workflow."""

    def __init__(self, temporal: temporalio.client.Client, workflow_id: str, seed: str) -> None:
        self._temporal = temporal
        self._execution = WorkflowExecution(workflow_id=workflow_id)
        self._messages = Messages(seed)
        self.fired = Fired()

    async def fire(self) -> None:
        """Fire one hostile shot; whatever it answers is counted."""
        pick = self._messages.chance.random()
        if pick < 0.12:
            await self._counted(self._update())
        elif pick < 0.2:
            await self._counted(self._query())
        else:
            await self._counted(self._signal(*self._messages.signal()))

    async def fire_plain(self) -> None:
        """Fire a small event that is as it should be."""
        await self._counted(self._signal(*self._messages.plain()))

    async def _counted(self, shot: Coroutine[Any, Any, str]) -> None:
        try:
            answer = await shot
        except RPCError as error:
            answer = f"refused: {error.status.name}"
        except ValueError as error:  # the protocol itself has no room for it: a name that is no text
            answer = f"not sendable: {type(error).__name__}"
        self.fired.answers[answer] += 1

    # Shots.

    async def _update(self) -> str:
        chance, hostile = self._messages.chance, self._messages.hostile
        event = self._messages.odd_event()
        if chance.random() < 0.4:
            event = {"event_id": hostile.value(1), "wait": chance.choice((True, "yes", 1))}
        name = chance.choice(("submit", "submit", "submit", "control", "odd"))
        payload = self._messages.payload(event)
        request = UpdateWorkflowExecutionRequest(
            namespace=self._temporal.namespace,
            workflow_execution=self._execution,
            wait_policy=WaitPolicy(lifecycle_stage=Stage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_ACCEPTED),
            request=Request(
                meta=Meta(update_id=f"u{chance.getrandbits(64):x}"),
                input=Input(name=name, args=Payloads(payloads=[payload])),
            ),
        )
        response = await self._temporal.workflow_service.update_workflow_execution(request, timeout=WITHIN)
        if response.outcome.HasField("failure"):
            return "update refused"
        self._acknowledge(name, [payload])
        return "update accepted"

    async def _query(self) -> str:
        name = self._messages.chance.choice(("status", "status", "odd", "__stack_trace"))
        args = Payloads(payloads=[self._messages.payload(self._messages.hostile.value())])
        request = QueryWorkflowRequest(
            namespace=self._temporal.namespace,
            execution=self._execution,
            query=WorkflowQuery(query_type=name, query_args=args),
        )
        await self._temporal.workflow_service.query_workflow(request, timeout=WITHIN)
        return "query answered"

    # Inside.

    async def _signal(self, name: str, payloads: Sequence[Payload]) -> str:
        request = SignalWorkflowExecutionRequest(
            namespace=self._temporal.namespace,
            workflow_execution=self._execution,
            signal_name=name,
            input=Payloads(payloads=payloads),
        )
        await self._temporal.workflow_service.signal_workflow_execution(request, timeout=WITHIN)
        self._acknowledge(name, payloads)
        return "signal acknowledged"

    def _acknowledge(self, name: str, payloads: Sequence[Payload]) -> None:
        """Note the id of what was taken, where it has one that can be read."""
        if (event_id := readable_id(name, payloads)) is not None:
            self.fired.acknowledged.setdefault(event_id, repr(payloads[0].data[:160]))
