"""Sending events: made once, sent until they land.

Invariant: what one handle sends is accepted in the order of its calls. Each call takes its place when it starts and
holds it, through all its retries, until its event is accepted or given up. An event gets its id once per call, so no
retry can make two of one.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from temporalio.client import WorkflowUpdateHandle

from inturn.client.retries import persist
from inturn.client.transport import Gate, Message
from inturn.errors import InturnError
from inturn.events import Content, Event, derived_id, make_event
from inturn.values import Receipt


@dataclass
class Sending:
    """The sends of one handle, in a chain."""

    gate: Gate
    _chain: asyncio.Lock = field(default_factory=asyncio.Lock)  # its waiters are served in the order they came

    def event(self, content: Content, **fields: Any) -> Event:
        """Make the event of a call.

        Raises:
            InvalidEvent: A field breaks its rule.
        """
        from inturn.client.traceparent import producer_trace

        event = make_event(content=content, agent=self.gate.agent, trace=producer_trace(), **fields)
        if event.event_id is not None:
            return event
        event_id = derived_id(event, 0) if event.sent_at is not None else f"c:{uuid4().hex}"
        return event.model_copy(update={"event_id": event_id})

    async def send(self, event: Event) -> Receipt:
        """Signal it: durable once this returns, with or without a worker."""
        message = event.wire()
        async with self._chain:
            await persist(
                lambda: self.gate.signal_with_start(message),
                patience=self._settings.patience,
                session=str(self.gate.key),
            )
        return Receipt(event_id=str(event.event_id), status="sent")

    async def submit(self, event: Event) -> Receipt:
        """Hand it to the session and bring the receipt."""
        update_id = _update_id(event)
        async with self._chain:
            result = await persist(
                lambda: self._completed(event.wire(), update_id),
                patience=self._settings.patience,
                within=self._settings.worker_timeout,
                alive=self.gate.alive,
                session=str(self.gate.key),
            )
        receipt = Receipt.model_validate(result["receipt"])
        if receipt.status != "duplicate" or receipt.disposition is not None:
            return receipt
        return await self._looked_up(receipt)

    async def accepted(self, event: Event) -> WorkflowUpdateHandle[Message]:
        """Hand it to the session and wait until it is accepted, not for its turn: that is the handle's result.

        The answer's text comes with it where this client has no journal to read it from.
        """
        message = {**event.wire(), "wait": True}
        update_id = _update_id(event)
        async with self._chain:  # before anything is awaited: calls are accepted in call order
            if await self.gate.connection.journal() is None:
                message["inline"] = True
            return await persist(
                lambda: self.gate.update_with_start(message, update_id),
                patience=self._settings.patience,
                within=self._settings.worker_timeout,
                alive=self.gate.alive,
                session=str(self.gate.key),
            )

    async def _looked_up(self, receipt: Receipt) -> Receipt:
        """Add how a duplicate's original stands where the session no longer knows, if this client reads the journal."""
        from inturn.journal.views.turns import disposition_of

        try:
            journal = await self.gate.connection.any_journal()
            disposition = await disposition_of(journal, self.gate.key, receipt.event_id)
        except InturnError:  # the receipt is good without it
            return receipt
        return receipt.model_copy(update={"disposition": disposition})

    @property
    def _settings(self) -> Any:
        return self.gate.connection.settings

    async def _completed(self, message: Message, update_id: str) -> Message:
        handle = await self.gate.update_with_start(message, update_id)
        return await handle.result()


def _update_id(event: Event) -> str:
    """Name a call's update: its retries are one to the server too, and a later call with the same event is another."""
    return f"{event.event_id}~{uuid4().hex[:6]}"
