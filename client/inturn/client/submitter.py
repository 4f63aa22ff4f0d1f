"""Sending events: made once, sent until they land.

Invariant: what one handle sends is accepted in the order of its calls. Each call takes its place when it starts and
holds it, through all its retries, until its event is accepted or given up. An event gets its id once per call, so no
retry can make two of one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Final, TypeVar, Unpack
from uuid import uuid4

from temporalio.client import WorkflowUpdateHandle

from inturn.client.call_order import CallOrder
from inturn.client.claim_check import ClaimCheck
from inturn.client.temporal.retries import retry_rpc
from inturn.client.temporal.transport import Message, SessionTransport
from inturn.errors import InturnError
from inturn.events import ClaimedEvent, Content, Event, EventOptions, derived_id, make_event
from inturn.journal.views.turns import disposition_of
from inturn.per_loop import PerLoop
from inturn.values import Receipt

T = TypeVar("T")
_OPTIONS: Final = frozenset(EventOptions.__annotations__)
Update = WorkflowUpdateHandle[Message]


@dataclass
class Submitter:
    """The sends of one handle, in a chain."""

    transport: SessionTransport
    order: CallOrder = field(default_factory=CallOrder)
    # Its waiters are served in the order they came. A handle in two loops has two orders.
    _chains: PerLoop[asyncio.Lock] = field(default_factory=lambda: PerLoop(asyncio.Lock))

    @property
    def _claims(self) -> ClaimCheck:
        return ClaimCheck(self.transport)

    def event(self, content: Content | Event, **options: Unpack[EventOptions]) -> Event:
        """Return the event of a call, with its id, the handle's agent and the producer's trace.

        Raises:
            InvalidEvent: A field breaks its rule.
            TypeError: An option that no event has, or any beside an `Event`.
        """
        from inturn.client.traceparent import producer_trace  # loads OpenTelemetry, which only who sends needs

        event = content if isinstance(content, Event) else _made(content, **options)
        if event is content and options:
            raise TypeError(f"an Event has its options itself, so {', '.join(options)} cannot be given beside it")
        added = {
            "event_id": event.event_id or (derived_id(event, 0) if event.sent_at is not None else f"c:{uuid4().hex}"),
            "agent": event.agent or self.transport.agent,
            "trace": event.trace or producer_trace(),
        }
        return event.model_copy(update={name: value for name, value in added.items() if value is not None})

    async def send(self, content: Content | Event, **options: Unpack[EventOptions]) -> Receipt:
        """Signal an event: durable once this returns, with or without a worker."""
        event = self.event(content, **options)
        async with self._chains.get():
            message, tries = self.order.signalled(await self._claims.carried(event)), count()

            async def signalled() -> None:
                if next(tries) and "claim" in message:  # a put of its own: the try before may be rejected, and take its
                    message["claim"] = (await self._claims.carried(event)).get("claim", message["claim"])
                await self.transport.signal_with_start(message)

            await retry_rpc(
                signalled,
                patience=self.transport.patience,
                session=str(self.transport.key),
            )
        return Receipt(event_id=str(event.event_id), status="sent")

    async def submit(self, content: Content | Event, **options: Unpack[EventOptions]) -> Receipt:
        """Return the session's receipt of an event."""
        return await self.hand_over(self.event(content, **options))

    async def hand_over(self, event: Event | ClaimedEvent) -> Receipt:
        """Return the session's receipt of an event as it is."""
        update_id = _update_id(event)

        async with self._chains.get():
            self.order.updates(str(event.event_id))
            message = event.wire() if isinstance(event, ClaimedEvent) else await self._claims.carried(event)

            async def completed() -> Message:
                return await (await self.transport.update_with_start(message, update_id)).result()

            result = await self._retried(completed)
        receipt = Receipt.model_validate(result["receipt"])
        if receipt.status != "duplicate" or receipt.disposition is not None:
            return receipt
        return await self._looked_up(receipt)

    async def accepted(self, event: Event) -> Update:
        """Return the update that waits for the event's turn, once the event is accepted.

        The answer's text comes with it where this client has no journal to read it from.
        """
        update_id = _update_id(event)
        async with self._chains.get():  # before anything is awaited: calls are accepted in call order
            self.order.updates(str(event.event_id))
            message = await self._claims.carried(event) | {"wait": True}
            if await self.transport.connection.journal() is None:
                message["inline"] = True
            return await self._retried(lambda: self.transport.update_with_start(message, update_id))

    async def _retried(self, call: Callable[[], Awaitable[T]]) -> T:
        return await retry_rpc(
            call,
            patience=self.transport.patience,
            within=self.transport.connection.settings.worker_timeout,
            alive=self.transport.alive,
            session=str(self.transport.key),
        )

    async def _looked_up(self, receipt: Receipt) -> Receipt:
        """Add a duplicate's disposition where the session no longer knows it, if this client reads the journal."""
        try:
            journal = await self.transport.connection.any_journal()
            disposition = await disposition_of(journal, self.transport.key, receipt.event_id)
        except InturnError:  # the receipt is good without it
            return receipt
        return receipt.model_copy(update={"disposition": disposition})


def _made(content: Content, **options: Unpack[EventOptions]) -> Event:
    if unknown := options.keys() - _OPTIONS:
        raise TypeError(f"an event has no option {', '.join(sorted(unknown))}; it has {', '.join(sorted(_OPTIONS))}")
    return make_event(content=content, **options)


def _update_id(event: Event | ClaimedEvent) -> str:
    """Return a call's update id: its retries are one to the server too, a later call with the same event is another."""
    return f"{event.event_id}~{uuid4().hex[:6]}"
