"""Tenants beside each other: one that floods its sessions costs the others next to nothing."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from typing import TypeVar

import pytest
from temporalio import activity

from inturn import Agent, Client, Session, tool
from tests.support.rig import Rig
from tests.support.waiting import until

T = TypeVar("T")

QUIET = 20
"""Tenants with one session each, which asks once in `EVERY` seconds."""
EVERY = 0.8
TURNS = 6
ROUNDS = 5
"""Of those alone and those beside the noisy one by turns: what else the machine does falls on both, or on one round."""
NOISY = 24
"""Sessions of the one that floods them."""
QUEUED = 30
"""Events that each of them has at the begin of a round."""


@pytest.mark.promise("ISO-4")
async def test_steps_and_later_runs_inherit_their_tenants_fairness_key(rig: Rig) -> None:
    seen: list[str | None] = []

    @tool
    async def look() -> str:
        """Look at the priority."""
        seen.append(activity.info().priority.fairness_key)
        return "looked"

    agent = Agent("support", model="m", instructions="", tools=[look])
    async with rig.worker([agent]), rig.client() as client:
        session = client.session("s")
        await session.ask("[[tool look {}]]")
        await rig.temporal.get_workflow_handle(str(rig.key("s"))).signal(
            "control", {"control_id": "c", "op": "continue"}
        )

        async def continued() -> bool:
            return (await session.status()).runs == 2

        await until(continued)
        await session.ask("[[tool look {}]]")
        await client.session("t").send("[[tool look {}]]", event_id="e")
        await client.session("t").wait("e")
    assert seen == [rig.tenant] * 3


async def _quiet(client: Client, number: int, phase: str, turns: int = TURNS) -> list[float]:
    """Ask now and then; return how long each answer took, but for the first: that is for what begins to settle."""
    session, took = client.with_options(tenant=f"{client.tenant}-{number}").session("s"), []
    await asyncio.sleep(number * EVERY / QUIET)  # not in step with each other
    for n in range(turns + 1):
        began = time.monotonic()
        await session.ask("[[delay 0.2]] [[say hi]]", event_id=f"{phase}-{n}", timeout=60)
        took.append(time.monotonic() - began)
        await asyncio.sleep(max(EVERY - took[-1], 0))
    return took[1:]


async def _phase(client: Client, phase: str, turns: int = TURNS) -> list[float]:
    lists = await asyncio.gather(*(_quiet(client, number, phase, turns) for number in range(QUIET)))
    return [one for took in lists for one in took]


class Noise:
    """The tenant that floods the workers, while it may."""

    def __init__(self, client: Client) -> None:
        noisy = client.with_options(tenant=f"{client.tenant}-noisy")
        self.sessions = [noisy.session(f"s{number}") for number in range(NOISY)]

    async def begin(self) -> None:
        """Begin its sessions."""
        await self._all(lambda session: session.ask("hi"))

    async def left(self) -> int:
        """Return how many events wait."""
        return sum(len(status.queue) for status in await self._all(lambda session: session.status()))

    async def fill(self) -> None:
        """Have enough events wait for another round."""
        await self._all(lambda session: session.pause())
        for session, status in zip(self.sessions, await self._all(lambda session: session.status()), strict=True):
            await asyncio.gather(*(session.send("[[delay 0.2]]") for _ in range(QUEUED - len(status.queue))))

    async def go(self) -> None:
        """Have them work."""
        await self._all(lambda session: session.resume())

    async def _all(self, what: Callable[[Session], Awaitable[T]]) -> list[T]:
        return await asyncio.gather(*(what(session) for session in self.sessions))


def _p99(took: Sequence[float]) -> float:
    return sorted(took)[int(0.99 * len(took))]


@pytest.mark.alone
@pytest.mark.timeout(300)
@pytest.mark.promise("ISO-4")
async def test_twenty_quiet_tenants_do_not_notice_a_noisy_one_on_two_workers(rig: Rig) -> None:
    rounds, done = list[tuple[float, float]](), 0
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(rig.process())
        async with rig.client() as client:
            noise = Noise(client)
            await noise.begin()
            await _phase(client, "warm", 2)
            for round_ in range(ROUNDS):
                await noise.fill()
                alone = await _phase(client, f"alone{round_}")
                before = await noise.left()
                await noise.go()
                beside = await _phase(client, f"beside{round_}")
                after = await noise.left()
                assert after > 0, "it had an end: the quiet ones were alone again"
                done += before - after
                rounds.append((_p99(alone), _p99(beside)))
                print(f"p99 alone {_p99(alone) * 1000:.0f} ms, beside {_p99(beside) * 1000:.0f} ms")
    ratio = statistics.median(beside / alone for alone, beside in rounds)
    rate = done / (ROUNDS * (TURNS + 1) * EVERY)
    print(f"{ratio:.2f}x beside {rate:.1f} turns/s of one, to {QUIET / EVERY:.0f} of theirs")
    assert rate > 10, "it made no noise"
    assert ratio <= 1.3
