"""The hub: one look at a journal for everybody who follows it, and none for nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

import inturn.client.hub
from inturn.client.hub import Hub
from inturn.client.temporal.connection import Connection
from inturn.errors import JournalUnavailable
from inturn.journal import Journal, NewEntry, Recorded, open_journal, open_store
from inturn.keys import SessionKey, StepKey
from inturn.testing.memory import MemoryStore
from inturn.values import Entry
from tests.support.journal import OTHER, SESSION, answer, applied, opening, plain_turn
from tests.support.stores import away, journal_url


class Counted(Journal):
    """A journal that counts the looks at it."""

    looks = 0
    reads = 0
    sessions = 0

    async def version(self) -> int | None:
        self.looks += 1
        return await super().version()

    async def look(self, after: Mapping[SessionKey, int], *more: Any) -> Any:
        self.reads += 1
        self.sessions += len(after)
        return await super().look(after, *more)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return journal_url(tmp_path)


@pytest.fixture
async def counted(url: str) -> AsyncIterator[Counted]:
    journal = Counted(open_store(url))
    await journal.open()
    yield journal
    await journal.close()


async def collect(journal: Journal, after: int = 0, last: str = "turn.completed") -> list[Entry]:
    collected: list[Entry] = []
    async with aclosing(Hub(journal).entries(SESSION, after=after)) as entries:
        async for entry in entries:
            collected.append(entry)
            if entry.type == last:
                break
    return collected


async def append(journal: Journal, session: SessionKey = SESSION, text: str = "x") -> int:
    return (await journal.record(session, [Recorded(NewEntry("tool.progress", {"text": text}))])).head


async def looked(journal: Counted, times: int) -> None:
    """Return once there were so many looks more."""
    until = journal.looks + times
    async with asyncio.timeout(10):
        while journal.looks < until:
            await asyncio.sleep(0)


async def gone(tasks: set[asyncio.Task[None]]) -> None:
    """Return once nothing but the test itself runs."""
    async with asyncio.timeout(10):
        while asyncio.all_tasks() - tasks:
            await asyncio.sleep(0)


async def test_what_is_there_already_is_not_waited_for(counted: Counted) -> None:
    await append(counted)
    assert await Hub(counted).wait(SESSION, after=0) == await append(counted) - 1 == 1
    async with asyncio.timeout(10):
        assert await Hub(counted).wait(SESSION, after=1) == 2


@pytest.mark.promise("ORD-9")
async def test_what_other_processes_write_is_seen(counted: Counted, url: str) -> None:
    other = open_journal(url)
    waiting = asyncio.create_task(Hub(counted).wait(SESSION, after=1))
    await append(other)
    await looked(counted, 3)
    assert not waiting.done()
    await append(other, OTHER)
    await append(other)
    async with asyncio.timeout(10):
        assert await waiting == 2
    await other.close()


async def test_one_look_serves_everybody_and_reads_only_after_a_commit(counted: Counted, store: str) -> None:
    hub, sessions = Hub(counted), [SessionKey("acme", f"s{n}") for n in range(50)]
    waiting = [asyncio.create_task(hub.wait(session, after=0)) for session in sessions for _ in range(3)]
    await looked(counted, 4)
    assert counted.sessions == 50 * counted.reads
    assert counted.reads == 1 or store == "postgres", "there no number says that nothing was committed"
    for session in sessions:
        await append(counted, session)
    async with asyncio.timeout(10):
        assert await asyncio.gather(*waiting) == [1] * 150
    assert counted.looks < 50


@pytest.mark.promise("ACC-10")
async def test_nobody_looks_while_nobody_waits(counted: Counted) -> None:
    before = asyncio.all_tasks()
    hub = Hub(counted)
    await append(counted)
    async with aclosing(hub.entries(SESSION)) as entries:
        await anext(entries)
        await gone(before)  # its reader is busy with the entry
        looks = counted.looks
        await append(counted)
        assert (await anext(entries)).seq == 2
        assert counted.looks > looks
    await gone(before)


async def test_a_follower_that_is_cancelled_leaves_nothing_behind(counted: Counted) -> None:
    before, hub = asyncio.all_tasks(), Hub(counted)
    waiting = asyncio.create_task(hub.wait(SESSION, after=0))
    await looked(counted, 2)
    waiting.cancel()
    again = asyncio.create_task(hub.wait(SESSION, after=0))
    await append(counted)
    async with asyncio.timeout(10):
        assert await again == 1
    with pytest.raises(asyncio.CancelledError):
        await waiting
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await hub.wait(SESSION, after=1)
    await gone(before)


async def test_who_begins_to_wait_in_quiet_times_is_answered_at_once(
    counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inturn.client.hub, "QUIET_AFTER", -1.0)
    monkeypatch.setattr(inturn.client.hub, "QUIET_PAUSE", 3600.0)
    hub = Hub(counted)
    await append(counted)
    forever = asyncio.create_task(hub.wait(OTHER, after=0))
    await looked(counted, 1)
    async with asyncio.timeout(10):
        assert await hub.wait(SESSION, after=0) == 1
    forever.cancel()


async def test_a_journal_that_goes_away_is_told_to_everybody_and_followed_when_it_is_back(
    counted: Counted, url: str
) -> None:
    hub = Hub(counted)
    waiting = [asyncio.create_task(hub.wait(session, after=0)) for session in (SESSION, OTHER)]
    await looked(counted, 2)
    with away(url):
        errors = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(error) for error in errors] == [JournalUnavailable] * 2
    assert errors[0] is not errors[1]
    await append(counted)
    async with asyncio.timeout(10):
        assert await hub.wait(SESSION, after=0) == 1


async def test_a_closed_journal_is_said_to_be_closed(counted: Counted) -> None:
    await counted.close()
    with pytest.raises(JournalUnavailable, match="it was closed"):
        await Hub(counted).wait(SESSION, after=0)


async def test_a_journal_in_memory_is_followed_as_well() -> None:
    journal = Journal(MemoryStore())
    waiting = asyncio.create_task(Hub(journal).wait(SESSION, after=0))
    await append(journal)
    async with asyncio.timeout(10):
        assert await waiting == 1


async def test_all_clients_of_a_process_share_one_look_and_each_may_close_its_own(url: str, tmp_path: Path) -> None:
    first, second = Connection(journal=url), Connection(journal=url)
    other = Connection(journal=journal_url(tmp_path, "other"))
    hub = await first.hub()
    assert await second.hub() is hub
    assert await other.hub() is not hub
    waiting = asyncio.create_task(hub.wait(SESSION, after=0))
    await asyncio.sleep(0)
    await first.close()
    journal = await second.journal()
    assert isinstance(journal, Journal)
    await append(journal)
    async with asyncio.timeout(10):
        assert await waiting == 1
    await second.close()
    with pytest.raises(JournalUnavailable, match="it was closed"):
        await hub.wait(SESSION, after=1)
    await other.close()


async def test_stops_are_told_once_to_who_listens_and_nobody_looks_for_them_else(counted: Counted, url: str) -> None:
    before, hub, heard = asyncio.all_tasks(), Hub(counted), list[StepKey]()
    first, second = SESSION.turn("e1").step(0), OTHER.turn("e1").step(0, 1)
    other = open_journal(url)
    hub.on_stops(heard.append)
    await other.stop(first)
    async with asyncio.timeout(10):
        while first not in heard:
            await asyncio.sleep(0.001)
        await other.stop(second)
        while second not in heard:
            await asyncio.sleep(0.001)
        await append(other)
        await looked(counted, 3)
    assert heard == [first, second]
    hub.off_stops(heard.append)
    await gone(before)
    await other.close()


def test_each_event_loop_has_a_hub_of_its_own(url: str) -> None:
    journal = open_journal(url)
    connection = Connection(journal=journal)

    async def follow(after: int) -> Hub:
        hub = await connection.hub()
        assert hub is await connection.hub()
        waiting = asyncio.create_task(hub.wait(SESSION, after=after))
        await append(journal)
        async with asyncio.timeout(10):
            assert await waiting == after + 1
        return hub

    assert asyncio.run(follow(0)) is not asyncio.run(follow(1))
    asyncio.run(journal.close())


@pytest.mark.promise("ORD-9")
async def test_a_follower_gets_what_is_there_and_then_what_is_written(journal: Journal) -> None:
    early = asyncio.ensure_future(collect(journal))
    step = SESSION.turn("e1").step(0)
    claim = await journal.claim_model(step, opening("e1"))
    middle = asyncio.ensure_future(collect(journal, after=2))
    await journal.finish(step, claim.token, {}, answer("e1"), applied("e1"))
    assert [e.seq for e in await asyncio.wait_for(early, 5)] == [1, 2, 3, 4, 5]
    assert [e.seq for e in await asyncio.wait_for(middle, 5)] == [3, 4, 5]


@pytest.mark.promise("ORD-9")
async def test_followers_that_stop_anywhere_and_come_back_miss_nothing(journal: Journal) -> None:
    turns = 40

    async def write() -> None:
        for turn in range(turns):
            await plain_turn(journal, SESSION, f"e{turn}")

    async def read() -> list[int]:
        seen: list[int] = []
        while len(seen) < 1 + 4 * turns:
            wanted = len(seen) + 1 + len(seen) % 7
            async with aclosing(Hub(journal).entries(SESSION, after=seen[-1] if seen else 0)) as entries:
                async for entry in entries:
                    seen.append(entry.seq)
                    if len(seen) in (wanted, 1 + 4 * turns):
                        break
        return seen

    _, *readings = await asyncio.wait_for(asyncio.gather(write(), read(), read()), 30)
    assert readings == [list(range(1, 2 + 4 * turns))] * 2


async def test_a_follower_may_ask_for_one_event_and_some_types(journal: Journal) -> None:
    for turn in ("e1", "e2", "e3"):
        await plain_turn(journal, SESSION, turn, turn)
    async with aclosing(Hub(journal).entries(SESSION, event_id="e2", types=("agent.message",))) as entries:
        assert (await anext(entries)).text == "e2"


async def test_a_long_journal_is_followed_page_by_page(journal: Journal) -> None:
    entries = [NewEntry("tool.progress", {"text": str(n)}) for n in range(1_100)]
    await journal.record(SESSION, [Recorded(e) for e in entries])
    await plain_turn(journal, SESSION, "e1")
    assert [e.seq for e in await collect(journal)] == list(range(1, 1_106))
