"""Keys are renewed, taken away and put back while two workers with different rings are at work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from inturn import Session
from inturn.encryption.keys import VARIABLE
from tests.support.encrypted import client, worker
from tests.support.keys import connected, keys
from tests.support.rig import Rig
from tests.support.waiting import until

pytestmark = [pytest.mark.promise("SEC-2", "ACC-1", "EFF-1"), pytest.mark.timeout(180)]
SESSIONS = ("s0", "s1", "s2")
Ring = tuple[str, ...]


class Load:
    """Sends one event after another to several sessions, under the first of the keys that it has by then."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self.sent = dict.fromkeys(SESSIONS, 0)
        self._senders: list[Session] = []
        self._stopped = False

    async def use(self, *ring: str) -> None:
        """Send with these keys from now on."""
        made = client(self._rig, await connected(self._rig.address, *ring))
        self._senders = [made.session(name, agent="support") for name in SESSIONS]

    async def more(self, count: int) -> None:
        """Wait until so many more were sent to each."""
        wanted = min(self.sent.values()) + count

        async def sent() -> bool:
            return min(self.sent.values()) >= wanted

        await until(sent, within=60)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send while the block runs."""
        await self.use("a")
        tasks = [asyncio.create_task(self._send(n)) for n in range(len(SESSIONS))]
        try:
            yield
        finally:
            self._stopped = True
            await asyncio.gather(*tasks)

    async def _send(self, n: int) -> None:
        name = SESSIONS[n]
        while not self._stopped:
            content = f'[[tool charge {{"cents": {self.sent[name]}}}]]' if self.sent[name] % 3 == 0 else "hi"
            await self._senders[n].send(content, event_id=f"e{self.sent[name] + 1}")
            self.sent[name] += 1
            await asyncio.sleep(0.03)


class Fleet:
    """Two workers; a deploy starts the new one before it stops the old one."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._at_work: list[AsyncExitStack] = []

    async def deploy(self, place: int, *ring: str) -> None:
        """Replace a worker by one with these keys."""
        stack = AsyncExitStack()
        await stack.enter_async_context(worker(self._rig, *ring))
        if place < len(self._at_work):
            await self._at_work[place].aclose()
            self._at_work[place] = stack
        else:
            self._at_work.append(stack)

    @asynccontextmanager
    async def running(self, *ring: str) -> AsyncIterator[None]:
        """Run two with these keys."""
        try:
            for place in range(2):
                await self.deploy(place, *ring)
            yield
        finally:
            for stack in self._at_work:
                await stack.aclose()


@pytest.fixture(autouse=True)
def _who_reads_has_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, keys("a", "b"))


async def _all_done_once(rig: Rig, load: Load, *, in_order: bool) -> None:
    holder = client(rig, await connected(rig.address, "a", "b"))
    for name in SESSIONS:
        session = holder.session(name, agent="support")
        wanted = [f"e{n}" for n in range(1, load.sent[name] + 1)]
        for parked in await session.parked():
            assert "key 'a'" in parked.error or "a key that no worker had" in parked.error
            await session.redrive(parked.event_id)
        for event_id in wanted:
            assert (await session.wait(event_id, timeout=60)).disposition == "applied", event_id
        started = [entry.event_id async for entry in session.entries() if entry.type == "turn.started"]
        assert started == wanted if in_order else sorted(map(str, started)) == sorted(wanted)
        audit = await session.audit(deep=True)
        assert audit.ok, audit.differences
    charged = [line[-1] for line in rig.attempts("charge")]
    assert len(set(charged)) == sum((sent + 2) // 3 for sent in load.sent.values())


ROLLING: Sequence[tuple[int, Ring, Ring]] = [
    (0, ("a", "b"), ("a",)),
    (1, ("a", "b"), ("a",)),
    (1, ("b", "a"), ("a",)),
    (0, ("b", "a"), ("b", "a")),
]
"""Which worker gets which keys, and which ones the senders have by then."""


async def test_a_rolling_renewal_of_keys_under_load_loses_nothing_and_sets_nothing_aside(rig: Rig) -> None:
    load, fleet = Load(rig), Fleet(rig)
    async with fleet.running("a"):
        async with load.running():
            await load.more(4)
            for place, ring, senders in ROLLING:
                await fleet.deploy(place, *ring)
                await load.use(*senders)
                await load.more(4)
        await _all_done_once(rig, load, in_order=True)


async def test_a_key_that_one_of_two_workers_has_lost_under_load_costs_time_and_no_event(rig: Rig) -> None:
    """What that worker alone saw is set aside, and driven again by who has the key."""
    load, fleet = Load(rig), Fleet(rig)
    async with fleet.running("a", "b"):
        async with load.running():
            await load.more(4)
            await fleet.deploy(1, "b")
            await load.more(8)
            await fleet.deploy(1, "a", "b")
            await load.more(2)
        await _all_done_once(rig, load, in_order=False)
