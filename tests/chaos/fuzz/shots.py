"""What is fired at a session: signals, updates and queries with raw payloads, as any SDK could send them.

Invariant: a shot knows what was acknowledged: the ids of readable events that the server took.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
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

from inturn.keys import is_id
from tests.chaos.fuzz.hostile import TEXTS, Hostile

WITHIN: Final = timedelta(seconds=10)
"""A call that takes longer counts as one without an answer."""
OPS: Final = ("interrupt", "cancel", "pause", "resume", "redrive", "discard", "approve", "deny")
MODES: Final = ("queue", "reject", "interrupt", "steer", "merge")
ENCODINGS: Final = ("json/plain", "json/plain", "json/plain", "binary/plain", "binary/null", "json/protobuf", "x/y", "")
LARGEST: Final = 1_900_000
READABLE: Final = 64 * 1024
"""Bytes up to which a message's id is looked for."""


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
        self.chance = random.Random(seed)
        self.hostile = Hostile(self.chance)
        self.fired = Fired()
        self._number = 0
        self._shots: tuple[tuple[float, Callable[[], Coroutine[Any, Any, str]]], ...] = (
            (0.45, self._event),
            (0.15, self._control),
            (0.15, self._noise),
            (0.05, self._large),
            (0.12, self._update),
            (0.08, self._query),
        )

    async def fire(self) -> None:
        """Fire one hostile shot; whatever it answers is counted."""
        (shot,) = self.chance.choices([shot for _, shot in self._shots], [share for share, _ in self._shots])
        await self._counted(shot())

    async def fire_plain(self) -> None:
        """Fire a small event that is as it should be."""
        data = json.dumps({"event_id": self._new_id(), "content": "plain"}).encode()
        await self._counted(self._signal("submit", Payload(metadata={"encoding": b"json/plain"}, data=data)))

    async def _counted(self, shot: Coroutine[Any, Any, str]) -> None:
        try:
            answer = await shot
        except RPCError as error:
            answer = f"refused: {error.status.name}"
        except ValueError as error:  # the protocol itself has no room for it: a name that is no text
            answer = f"not sendable: {type(error).__name__}"
        self.fired.answers[answer] += 1

    # Shots.

    async def _event(self) -> str:
        event = self._odd_event()
        return await self._signal("submit", self._payload(self.hostile.json(event)))

    async def _control(self) -> str:
        control: dict[str, Any] = {"control_id": self._new_id(), "op": self.chance.choice(OPS)}
        for name in ("event_id", "reason", "approval_id", "by", "at", "pending", "force", "extra"):
            if self.chance.random() < 0.3:
                control[name] = self.hostile.value(1)
        if self.chance.random() < 0.2:
            control[self.chance.choice(("control_id", "op"))] = self.hostile.value(1)
        if self.fired.acknowledged and self.chance.random() < 0.4:
            control["event_id"] = self.chance.choice(sorted(self.fired.acknowledged))
        return await self._signal("control", self._payload(self.hostile.json(control)))

    async def _noise(self) -> str:
        name = self.chance.choice(("submit", "control", "Submit", "__temporal", "\x00", "x" * 200))
        count = self.chance.choice((0, 1, 1, 2, 5))
        payloads = [self._payload(self.hostile.json(self.hostile.value())) for _ in range(count)]
        return await self._signal(name, *payloads)

    async def _large(self) -> str:
        size = self.hostile.size(LARGEST)
        match self.chance.randrange(4):
            case 0:
                data = b'{"content":[' + b"1," * (size // 2) + b"1]}"
            case 1:
                data = b'{"content":"' + b"\\u0001" * (size // 6) + b'"}'
            case 2:
                data = b'{"event_id":"' + b"i" * size + b'","content":"x"}'
            case _:
                data = b"[" * size
        return await self._signal(self.chance.choice(("submit", "submit", "control")), self._payload(data))

    async def _update(self) -> str:
        event = self._odd_event()
        if self.chance.random() < 0.4:
            event = {"event_id": self.hostile.value(1), "wait": self.chance.choice((True, "yes", 1))}
        name = self.chance.choice(("submit", "submit", "submit", "control", "odd"))
        payload = self._payload(self.hostile.json(event))
        request = UpdateWorkflowExecutionRequest(
            namespace=self._temporal.namespace,
            workflow_execution=self._execution,
            wait_policy=WaitPolicy(lifecycle_stage=Stage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_ACCEPTED),
            request=Request(
                meta=Meta(update_id=f"u{self.chance.getrandbits(64):x}"),
                input=Input(name=name, args=Payloads(payloads=[payload])),
            ),
        )
        response = await self._temporal.workflow_service.update_workflow_execution(request, timeout=WITHIN)
        if response.outcome.HasField("failure"):
            return "update refused"
        self._acknowledge(name, [payload])
        return "update accepted"

    async def _query(self) -> str:
        name = self.chance.choice(("status", "status", "odd", "__stack_trace"))
        args = Payloads(payloads=[self._payload(self.hostile.json(self.hostile.value()))])
        request = QueryWorkflowRequest(
            namespace=self._temporal.namespace,
            execution=self._execution,
            query=WorkflowQuery(query_type=name, query_args=args),
        )
        await self._temporal.workflow_service.query_workflow(request, timeout=WITHIN)
        return "query answered"

    # Inside.

    async def _signal(self, name: str, *payloads: Payload) -> str:
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
        if name != "submit" or len(payloads) != 1 or len(payloads[0].data) > READABLE:
            return
        if payloads[0].metadata["encoding"] != b"json/plain":
            return
        try:
            event = json.loads(payloads[0].data.decode())  # as text: the byte order mark is no JSON
            json.dumps(event, ensure_ascii=False, allow_nan=False).encode()  # nor are half a character, or NaN
        except (ValueError, RecursionError):
            return
        if isinstance(event, dict) and is_id(event.get("event_id")) and not event.get("wait"):
            self.fired.acknowledged.setdefault(event["event_id"], repr(payloads[0].data[:160]))

    def _odd_event(self) -> dict[str, Any]:
        event: dict[str, Any] = {"content": self.chance.choice(("hello", self.hostile.text(), self.hostile.value()))}
        if self.chance.random() < 0.8:
            event["event_id"] = self._new_id()
        for name in ("source", "sequence", "sender", "sent_at", "expires_after", "metadata", "agent", "trace", "x"):
            if self.chance.random() < 0.12:
                event[name] = self.hostile.value(1)
        if self.chance.random() < 0.3:
            event["when_busy"] = self.chance.choice((*MODES, "odd"))
        if self.chance.random() < 0.1:
            event["event_id"] = self.chance.choice(TEXTS)
        return event

    def _new_id(self) -> str:
        self._number += 1
        return f"f{self._number}"

    def _payload(self, data: bytes) -> Payload:
        return Payload(metadata={"encoding": self.chance.choice(ENCODINGS).encode()}, data=data)
