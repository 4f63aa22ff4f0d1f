"""What a verified delivery means, made durable: messages sent, clicks answered, events withdrawn, turns stopped.

Invariant: what is not durable in time is `later`, never `taken`; and of one session nothing is taken behind something
that was not, so a delivery that comes again finds the order that it had.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from inturn import Client
from inturn.channels import Channel, Click, Ignored, Inbound, Message, Stop, Taken, Withdraw
from inturn.channels.cards import named
from inturn.channels.inbound import Answered
from inturn.client.session import Session
from inturn.errors import (
    ApprovalConflict,
    InturnError,
    InvalidEvent,
    Refused,
    SessionClosed,
    SessionNotFound,
    Unavailable,
)
from inturn_gateway import bounds
from inturn_gateway.buckets import Buckets
from inturn_gateway.cards import Cards
from inturn_gateway.outcomes import answer, answered, outcome
from inturn_gateway.problems import Problem

logger = logging.getLogger("inturn.gateway")


@dataclass
class Intake:
    """Takes what channels read.

    Attributes:
        client: Reaches Temporal; its tenant is that of channels that have none.
        cards: Told what came of clicks.
        tenants: What each tenant may send.
        sessions: What each session may be sent.
    """

    client: Client
    cards: Cards
    tenants: Buckets = field(default_factory=lambda: Buckets(bounds.TENANT_RATE, bounds.TENANT_BURST))
    sessions: Buckets = field(default_factory=lambda: Buckets(bounds.SESSION_RATE, bounds.SESSION_BURST))

    async def take(self, channel: Channel, found: Sequence[Inbound], *, within: float) -> list[Taken]:
        """Return what became of each, in their order, after so many seconds at most."""
        settled = dict[int, Taken]()
        groups = dict[tuple[str, str], list[int]]()
        for number, inbound in enumerate(found):
            if isinstance(inbound, Ignored):
                settled[number] = Taken(inbound, "ignored", inbound.reason)
            else:
                groups.setdefault((self._tenant(channel, inbound), inbound.session), []).append(number)

        async def in_order(numbers: Sequence[int]) -> None:
            for number in numbers:
                settled[number] = await self._one(channel, found[number], within)
                if settled[number].status == "later":
                    return

        await _all(channel, [asyncio.create_task(in_order(numbers)) for numbers in groups.values()], within)
        return [settled.get(number) or Taken(inbound, "later", "not in time") for number, inbound in enumerate(found)]

    def _tenant(self, channel: Channel, inbound: Message | Click | Withdraw | Stop) -> str:
        return inbound.tenant or channel.tenant or self.client.tenant

    async def _one(self, channel: Channel, inbound: Inbound, within: float) -> Taken:
        if isinstance(inbound, Ignored):
            return Taken(inbound, "ignored", inbound.reason)
        try:
            tenant = self._tenant(channel, inbound)
            client = self.client.with_options(tenant=tenant, patience=within)
            if isinstance(inbound, Message):
                self.tenants.take(tenant, "messages of this tenant")
                self.sessions.take((tenant, inbound.session), "messages of this session")
                session = client.session(inbound.session, agent=inbound.agent or channel.agent)
                receipt = await session.send(inbound.content, **inbound.options(channel.label))
                return Taken(inbound, event_id=receipt.event_id)
            if isinstance(inbound, Click):
                return await self._clicked(channel, client, inbound)
            return await _steered(channel, client.session(inbound.session), inbound)
        except (InturnError, Problem) as error:
            return _refused(inbound, error)

    async def _clicked(self, channel: Channel, client: Client, click: Click) -> Taken:
        if (reason := await channel.allows(click)) is not None:
            self.cards.clicked(channel, client, click, Answered("refused", reason=reason))
            return Taken(click, "refused", reason)
        known = await named(click, client.shared)
        if known is None or not (known.session and known.approval_id):
            return Taken(click, "refused", "the card is of no approval that waits")
        session = client.session(known.session)
        try:
            await answer(session, known, channel.name, wait=False)
        except ApprovalConflict as error:
            self.cards.clicked(channel, client, known, answered(error.answer, error.by, str(error)))
            return Taken(click, "refused", str(error))
        self.cards.clicked(channel, client, known, partial(outcome, session, known, channel.name))
        return Taken(click)


async def _all(channel: Channel, tasks: Sequence[asyncio.Task[None]], within: float) -> None:
    """Wait for tasks, and give up those that take longer; what one raises is logged."""
    if not tasks:
        return
    _, late = await asyncio.wait(tasks, timeout=within)
    for task in late:
        task.cancel()
    if late:
        await asyncio.wait(late, timeout=bounds.CANCEL_WITHIN)
    for task in tasks:
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a delivery of %s was not taken", channel.label, exc_info=error)


async def _steered(channel: Channel, session: Session, inbound: Withdraw | Stop) -> Taken:
    reason = f"{inbound.by or 'somebody'} asked for it through {channel.name}"
    if isinstance(inbound, Withdraw):
        await session.cancel(inbound.event_id, reason=reason, wait=False)
    else:
        await session.interrupt(reason=reason, wait=False)
    return Taken(inbound)


def _refused(inbound: Inbound, error: InturnError | Problem) -> Taken:
    match error:
        case SessionClosed():
            return Taken(inbound, "closed", "this conversation was closed")
        case SessionNotFound():  # nothing of it is there to be steered
            return Taken(inbound, "ignored", "no session")
        case InvalidEvent():
            return Taken(inbound, "refused", str(error)[: bounds.SHOWN])
        case Refused() | Problem():
            return Taken(inbound, "later", "too much for now", retry_after=error.retry_after or 1.0)
        case Unavailable():
            return Taken(inbound, "later", "not now")
        case _:
            logger.error("a delivery was not taken", exc_info=error)
            return Taken(inbound, "later", "not now")
