"""Tenants beside each other: a capped one that floods its sessions costs the others next to nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import ExitStack

import pytest
from temporalio import activity

from inturn import Agent, Client, tool
from tests.support.measuring import usual
from tests.support.rig import Rig
from tests.support.waiting import until

QUIET = 20
"""Tenants with one session each, which asks once in `EVERY` seconds."""
EVERY = 0.8
TURNS = 12
NOISY = 24
"""Sessions of the one that floods them."""
QUEUED = 40
"""Events that each of them gets at once."""
CAP = "4"
"""Steps of one tenant in flight."""


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


async def _quiet(client: Client, tenant: str, phase: str, turns: int) -> list[float]:
    """Ask now and then; return how long each answer took."""
    session, took = client.with_options(tenant=tenant).session("s"), []
    for n in range(turns):
        began = time.monotonic()
        await session.ask("[[delay 0.2]] [[say hi]]", event_id=f"{phase}-{n}", timeout=60)
        took.append(time.monotonic() - began)
        await asyncio.sleep(max(EVERY - took[-1], 0))
    return took


async def _phase(rig: Rig, client: Client, phase: str, turns: int = TURNS) -> list[float]:
    lists = await asyncio.gather(*(_quiet(client, f"{rig.tenant}-{n}", phase, turns) for n in range(QUIET)))
    return sorted(one for took in lists for one in took)


def _p(share: float, took: Sequence[float]) -> float:
    return took[int(share * len(took))]


@pytest.mark.alone
@pytest.mark.timeout(400)
@pytest.mark.promise("ISO-4")
async def test_twenty_quiet_tenants_do_not_notice_a_noisy_one_on_two_workers(rig: Rig) -> None:
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(rig.process(INTURN_LIMITS_MAX_STEPS=CAP))
        async with rig.client() as client:
            await _phase(rig, client, "warm", 2)

            async def slower(number: int) -> float:
                return await _slower_beside_noise(rig, client, f"{number}")

            assert await usual(slower, most=1.3) <= 1.3


async def _slower_beside_noise(rig: Rig, client: Client, name: str) -> float:
    """Return how much longer the quiet ones' p99 is beside a noisy tenant than right before."""
    alone = await _phase(rig, client, f"alone-{name}")
    noisy = client.with_options(tenant=f"{rig.tenant}-noisy")
    sessions = [noisy.session(f"{name}-{n}") for n in range(NOISY)]
    await asyncio.gather(*(session.send("[[delay 0.2]]") for session in sessions for _ in range(QUEUED)))

    async def left() -> int:
        return sum(len(status.queue) for status in await asyncio.gather(*(session.status() for session in sessions)))

    before = await left()
    beside = await _phase(rig, client, f"beside-{name}")
    after = await left()
    for phase, took in (("alone", alone), ("beside", beside)):
        print(f"{phase}: p50 {_p(0.5, took) * 1000:.0f} ms, p99 {_p(0.99, took) * 1000:.0f} ms")
    print(f"noisy: {(before - after) / (TURNS * EVERY):.1f} turns/s, {after} of {before} events left")
    assert after > 0, "it had an end: the quiet ones were alone again"
    assert before - after > 20, "it made no noise"
    await asyncio.gather(*(session.pause() for session in sessions))
    return _p(0.99, beside) / _p(0.99, alone)
