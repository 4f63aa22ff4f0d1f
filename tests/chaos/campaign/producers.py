"""Producers: send events to many sessions and write down what they were told.

Invariant: a call is in the log before it is made, and its outcome after it returned; `unknown` where nobody can tell.
Every session has a canary, and every event of it carries that canary.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, TypedDict

import temporalio.client
from temporalio.service import RPCError

from inturn import Client, InturnError, InvalidEvent, Refused, Session, SessionClosed, TurnFailed
from inturn.events import WhenBusy
from tests.chaos.campaign.lanes import Lane
from tests.chaos.campaign.witness import POISON, Witness
from tests.support.waiting import until

BATCH: Final = 20
"""Events that the two handles of a session send together."""
AHEAD: Final = 60
"""Events that may wait in a session before its producers pause."""
EVENTS: Final = 240
"""Of a session, after which it is closed and the next one begins."""
RUNS: Final = (100, 200, 400)
"""History events after which sessions continue as new: the fewer, the more seams, and the less a new worker replays."""
DISPLACED: Final = 4.0
"""Places that a numbered event may come too early or late."""
ASKED: Final = {"queue": 0.04, "merge": 0.01, "steer": 0.04, "interrupt": 0.04}
"""Of the calls: they wait for their answer."""
SUBMITTED: Final = 0.02
MODEL_FAULTS: Final = (
    "[[fault 529]]",
    "[[fault 429 retry_after=1]]",
    "[[fault 500]]",
    "[[fault cut]]",
    "[[fault reset]]",
    "[[fault error]]",
    "[[fault stall seconds=2]]",
    "[[fault hang seconds=2]]",
)
DRAINED_WITHIN: Final = 240.0
"""Seconds after the last fault in which everything accepted must have ended."""
TASK_TIMEOUT: Final = timedelta(seconds=5)


class Fields(TypedDict):
    """What every call of an event carries."""

    event_id: str
    source: str
    sequence: int | None
    when_busy: WhenBusy


@dataclass
class Handle:
    """One producer's handle of a session: its calls are accepted in their order."""

    source: str
    session: Session
    sequence: int = 0
    acknowledged: list[str] = field(default_factory=list)
    number: int = 0
    """The next number of a source that numbers its events."""
    lost: list[int] = field(default_factory=list)


@dataclass
class Conversation:
    """A session's life: batches of events from two handles and a numbered source, then its end."""

    lane: Lane
    client: Client
    temporal: temporalio.client.Client
    witness: Witness
    rng: random.Random
    session_id: str
    deadline: float
    size: int = EVENTS
    sent: list[str] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    """Cancelled, so no model will see them."""

    @property
    def name(self) -> str:
        """The workflow id."""
        return f"{self.client.tenant}/{self.session_id}"

    async def live(self) -> None:
        """Send until it is long enough or time is up, then close it."""
        self.canary = f"canary-{self.rng.getrandbits(48):012x}"
        self.witness.session(self.name, self.canary)
        await self._start()
        traffic = self.lane.traffic
        a, b, numbered = (Handle(name, self.client.session(self.session_id, agent=self.lane.agent)) for name in "abs")
        while len(self.sent) < self.size and time.monotonic() < self.deadline:
            chance = self.rng.random()
            if chance < traffic.merged:
                await self._batch(self.rng.choice((a, b)), BATCH, "merge")
            elif chance < traffic.merged + traffic.numbered:
                await self._numbered_batch(numbered)
            else:
                await asyncio.gather(*(self._batch(handle, BATCH // 2, "queue") for handle in (a, b)))
            await self._pause()
        await self._close([a, b, numbered])

    async def _start(self) -> None:
        """Start the session with limits of its own; where that fails, the first event starts it with the usual ones."""
        limits = {"events": self.rng.choice(RUNS)}
        with contextlib.suppress(RPCError):
            await self.temporal.start_workflow(
                "Session",
                {"agent": self.lane.agent, "limits": limits},
                id=self.name,
                task_queue=self.lane.name,
                task_timeout=TASK_TIMEOUT,
                rpc_timeout=TASK_TIMEOUT,
            )

    async def _batch(self, handle: Handle, size: int, when_busy: WhenBusy) -> None:
        calls = [self._call(handle, self._impatient() if when_busy == "queue" else when_busy) for _ in range(size)]
        await asyncio.gather(*calls)
        if self.rng.random() < 0.05:
            await self._cancel(handle)
        if self.rng.random() < self.lane.traffic.stopped:
            await self._interrupt(handle)

    def _impatient(self) -> WhenBusy:
        """Choose whether an event waits for its turn like all others."""
        chance, traffic = self.rng.random(), self.lane.traffic
        if chance < traffic.steered:
            return "steer"
        return "interrupt" if chance < traffic.steered + traffic.interrupting else "queue"

    async def _numbered_batch(self, handle: Handle) -> None:
        """Send the next numbers of a source, out of order and not all of them, and some that the last batch left out.

        Nobody waits for a model to see them: what is late or behind a gap may never get there.
        """
        numbers = range(handle.number, handle.number + BATCH // 2)
        handle.number = numbers.stop
        late = [number for number in handle.lost if self.rng.random() < 0.5]
        handle.lost = [number for number in numbers if self.rng.random() < self.lane.traffic.lost]
        places = {n: n + self.rng.uniform(0, DISPLACED) for n in numbers if n not in handle.lost}
        places |= {n: numbers.start + self.rng.uniform(0, len(numbers)) for n in late}
        self.gone |= {f"{handle.source}{number}" for number in places}
        order = sorted(places, key=places.__getitem__)
        await asyncio.gather(*(self._call(handle, "queue", number) for number in order))

    async def _call(self, handle: Handle, when_busy: WhenBusy, number: int | None = None) -> None:
        again = (
            number is None
            and when_busy in ("queue", "merge")
            and self.rng.random() < 0.02
            and bool(handle.acknowledged)
        )
        handle.sequence += 1
        event_id = f"{handle.source}{handle.sequence if number is None else number}"
        event_id = self.rng.choice(handle.acknowledged[-BATCH:]) if again else event_id
        call = {"event_id": event_id, "session": self.name, "source": handle.source, "sequence": handle.sequence}
        joins = when_busy in ("merge", "steer")  # what they ask for would be done in another event's name
        text, ends = self._text(event_id, plain=again or joins)
        ends += ["merged"] if joins else []
        if when_busy == "interrupt":
            self._cut()
        if not again:
            self.sent.append(event_id)
        self.witness.invoke(**call, ends=ends, **({} if number is None else {"number": number}))
        fields: Fields = {
            "event_id": event_id,
            "source": handle.source,
            "sequence": number,
            "when_busy": when_busy,
        }
        outcome = await self._made(handle, text, fields)
        self.witness.producers.write(op=outcome, **call)
        if outcome == "ok" and not again:
            handle.acknowledged.append(event_id)
        elif not again:
            self.gone.add(event_id)  # nobody knows whether a model will see it

    async def _made(self, handle: Handle, text: str, fields: Fields) -> str:
        chance, asked = self.rng.random(), ASKED[fields["when_busy"]]
        try:
            if chance < asked:
                await self._ask(handle, text, fields)
            elif chance < asked + SUBMITTED:
                await handle.session.submit(text, **fields)
            else:
                await handle.session.send(text, **fields)
        except (Refused, InvalidEvent, SessionClosed):
            return "fail"
        except InturnError:
            return "unknown"
        return "ok"

    async def _ask(self, handle: Handle, text: str, fields: Fields) -> None:
        """Ask, and write down what was answered; an event that ended without a turn was accepted all the same."""
        with contextlib.suppress(TurnFailed):
            turn = await handle.session.ask(text, **fields, timeout=DRAINED_WITHIN)
            asked = text if fields["when_busy"] == "queue" else ""  # of merged ones the model echoes the last
            answer = {"text": turn.text, "disposition": turn.disposition, "asked": asked}
            self.witness.producers.write(op="answer", session=self.name, event_id=fields["event_id"], **answer)

    def _text(self, event_id: str, *, plain: bool) -> tuple[str, list[str]]:
        """Make a text, and say how its event may end."""
        mix = {} if plain else self.lane.mix
        kind = self.rng.choices([*mix, "plain"], [*mix.values(), 1 - sum(mix.values())])[0]
        text = f"{event_id} {self.canary}"
        match kind:
            case "pay" | "post":
                return f'[[tool {kind} {{"event_id": "{event_id}", "canary": "{self.canary}"}}]] {text}', ["applied"]
            case "poison":
                return self._poison(text)
            case "fault":
                fault = self.rng.choice(MODEL_FAULTS)
                self.witness.faults.write(op="done", kind="model", fault=fault, lane=self.lane.name)
                return f"{fault} {text}", ["applied"]
            case _:
                return text, ["applied"]

    def _poison(self, text: str) -> tuple[str, list[str]]:
        if self.lane.claude:  # fails once, and the next attempt of a killed worker gets its answer
            return f"[[fault 400]] {text}", ["parked", "applied"]
        return f"{POISON} {text}", ["parked"]

    async def _cancel(self, handle: Handle) -> None:
        event_id = f"{handle.source}{handle.sequence}"
        self.witness.producers.write(op="cancel", session=self.name, event_id=event_id)
        try:
            if await handle.session.cancel(event_id):
                self.gone.add(event_id)
        except InturnError:
            self.gone.add(event_id)  # perhaps

    async def _interrupt(self, handle: Handle) -> None:
        self.witness.producers.write(op="interrupt", session=self.name)
        self._cut()
        with contextlib.suppress(InturnError):
            await handle.session.interrupt()

    def _cut(self) -> None:
        """Expect no longer that a model sees what was sent: one turn is to be stopped, and nobody knows which."""
        self.gone.update(self.sent)

    async def _pause(self) -> None:
        """Wait until the session has caught up."""
        seen = self.witness.seen[self.name]
        while len(self.sent) - len(seen | self.gone) > AHEAD and time.monotonic() < self.deadline:
            await asyncio.sleep(0.02)

    async def _close(self, handles: list[Handle]) -> None:
        for handle in handles:
            if handle.acknowledged:
                await _persistently(functools.partial(_ended, handle))
        await _persistently(functools.partial(_idle, handles[0].session))
        await _persistently(functools.partial(handles[0].session.close, timeout=DRAINED_WITHIN))


async def _ended(handle: Handle) -> None:
    """Wait for the last event of a handle."""
    with contextlib.suppress(TurnFailed):  # cancelled or parked: ended all the same
        await handle.session.wait(handle.acknowledged[-1], timeout=DRAINED_WITHIN)


async def _idle(session: Session) -> None:
    """Wait until nothing waits or runs: what arrived late of calls that gave up, too."""

    async def idle() -> bool:
        status = await session.status()
        return status.source == "live" and not status.queue and not status.held and status.turn is None

    await until(idle, within=DRAINED_WITHIN, every=0.2)


async def _persistently(call: Callable[[], Awaitable[None]]) -> None:
    """Repeat a call through outages."""
    deadline = time.monotonic() + DRAINED_WITHIN
    while True:
        try:
            return await call()
        except SessionClosed:
            return
        except InturnError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.5)


async def produce(
    lane: Lane, client: Client, temporal: temporalio.client.Client, witness: Witness, seed: str, deadline: float
) -> None:
    """Keep a lane's sessions busy until the time is up."""

    async def slot(number: int) -> None:
        for generation in itertools.count():
            name = f"{lane.name}-{number}-{generation}"
            rng = random.Random(f"{seed} {name}")
            await Conversation(lane, client, temporal, witness, rng, name, deadline).live()
            if time.monotonic() > deadline:
                return

    await asyncio.gather(*(slot(number) for number in range(lane.slots)))
