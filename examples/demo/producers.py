"""Four producers that race events into five sessions, and deliver some of them twice.

Invariant: an event counts as sent only once the server acknowledged it; of each producer and session the order of the
first acknowledgements is kept, to be compared with the order of the turns.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

from inturn import Client, Receipt, Session, Unavailable

ORDERS: Final = {"1001": 3_900, "1002": 2_450, "1003": 4_800, "1004": 12_000, "1005": 1_900}
"""Orders and their price in cents; each has a session of its own."""
SESSIONS: Final = tuple(f"order-{order}" for order in ORDERS)

Call = tuple[str, dict[str, Any]]
T = TypeVar("T")


@dataclass
class Sent:
    """What was acknowledged."""

    lanes: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    """Event ids by producer and session, in the order of sending."""
    delivered: int = 0
    repeated: int = 0
    recognized: int = 0
    """Repeated deliveries that were answered `duplicate` at once; a signal has no such answer."""

    @property
    def events(self) -> list[tuple[str, str]]:
        """Session and id of every event."""
        return [(session, event_id) for (_, session), ids in self.lanes.items() for event_id in ids]

    def acknowledged(self, source: str, session_id: str, event_id: str, receipt: Receipt | None = None) -> None:
        """Count a delivery."""
        lane = self.lanes[source, session_id]
        self.delivered += 1
        if event_id in lane:
            self.repeated += 1
            self.recognized += receipt is not None and receipt.status == "duplicate"
        else:
            lane.append(event_id)


@dataclass
class Producers:
    """The four of them: Slack, the payment provider's webhook, cron, and people who wait for their answers."""

    client: Client
    scripted: bool
    sent: Sent = field(default_factory=Sent)
    answers: int = 0
    """Answers that people got."""

    async def run(self) -> None:
        """Send everything; returns when all is acknowledged and all people have their answers."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._slack())
            group.create_task(self._webhook())
            group.create_task(self._cron())
            for session_id in SESSIONS:
                group.create_task(self._person(session_id))

    async def _slack(self) -> None:
        """Slack's servers: they deliver again what was not acknowledged fast enough, after later events."""
        pace = random.Random(1)
        for n, text in enumerate(("Where is order {0}?", "Please send the invoice again.", "Any news?", "Thank you!")):
            for order in pace.sample(list(ORDERS), len(ORDERS)):
                calls: list[Call] = []
                if n == 0:
                    calls = [("look_up_order", {"order_id": order})]
                if n == 1:
                    calls = [("add_note", {"order_id": order, "text": "invoice sent again"})]
                phrase = self._phrase(text.format(order), *calls)
                await self._send("slack", f"order-{order}", f"slack-{order}-{n}", phrase)
                if n in (1, 3):
                    again = self._phrase(("Where is order {0}?" if n == 1 else "Any news?").format(order))
                    if pace.random() < 0.6:
                        await self._send("slack", f"order-{order}", f"slack-{order}-{n - 1}", again)
                await asyncio.sleep(pace.uniform(0.1, 0.4))

    async def _webhook(self) -> None:
        """A payment provider: it asks for a receipt, and where the receipt is lost it sends the event again."""
        pace = random.Random(2)
        for n, what in enumerate(("settled", "shipment created", "shipment delayed", "shipment delivered")):
            for order in pace.sample(list(ORDERS), len(ORDERS)):
                call: Call = ("add_note", {"order_id": order, "text": what})
                phrase = self._phrase(
                    f"Payment provider: {what}. Note it on order {order}.", *([call] if n < 3 else [])
                )
                session = self._session(f"order-{order}")
                for _ in range(2 if pace.random() < 0.3 else 1):
                    submit = partial(session.submit, phrase, event_id=f"webhook-{order}-{n}", source="webhook")
                    receipt = await _taken(submit)
                    self.sent.acknowledged("webhook", session.session_id, receipt.event_id, receipt)
                await asyncio.sleep(pace.uniform(0.1, 0.4))

    async def _cron(self) -> None:
        """A scheduler: every session, every round, whether somebody is talking or not."""
        pace = random.Random(3)
        for n in range(4):
            for order in ORDERS:
                calls: list[Call] = []
                if n == 2:  # two tools at once
                    calls = [("look_up_order", {"order_id": order}), ("list_orders", {"customer": "ada"})]
                phrase = self._phrase(f"Scheduled check {n}: is anything open on order {order}?", *calls)
                await self._send("cron", f"order-{order}", f"cron-{order}-{n}", phrase)
            await asyncio.sleep(pace.uniform(1.0, 2.0))

    async def _person(self, session_id: str) -> None:
        """Somebody who asks and waits for the answer, whatever happens to the workers meanwhile."""
        order = session_id.removeprefix("order-")
        refund: Call = ("refund", {"order_id": order, "cents": ORDERS[order]})
        talk: list[tuple[str, list[Call]]] = [
            (f"Hello, I have a question about order {order}.", []),
            (f"It arrived broken. Refund order {order}, all {ORDERS[order]} cents.", [refund]),
            ("Is that done?", []),
            ("Thank you!", []),
        ]
        for n, (text, calls) in enumerate(talk):
            event_id = f"person-{order}-{n}"
            ask = partial(
                self._session(session_id).ask,
                self._phrase(text, *calls, seconds=0.8),
                event_id=event_id,
                source="person",
            )
            turn = await _taken(ask)
            self.sent.acknowledged("person", session_id, event_id)
            self.answers += turn.disposition == "applied"

    async def _send(self, source: str, session_id: str, event_id: str, text: str) -> None:
        await self._session(session_id).send(text, event_id=event_id, source=source)
        self.sent.acknowledged(source, session_id, event_id)

    def _session(self, session_id: str) -> Session:
        return self.client.session(session_id, agent="support")

    def _phrase(self, text: str, *calls: Call, seconds: float = 0.2) -> str:
        """Say it so that the scripted model knows what to do, and how long to speak; Claude knows by itself."""
        if not self.scripted:
            return text
        directives = [f"[[tool {name} {json.dumps(args)}]]" for name, args in calls]
        return " ".join([f"[[delay {seconds}]]", *directives, text])


async def _taken(call: Callable[[], Awaitable[T]]) -> T:
    """Make a call again, with the same event id, while nobody takes it: its worker may have just been killed."""
    while True:
        try:
            return await call()
        except Unavailable:
            await asyncio.sleep(0.5)
