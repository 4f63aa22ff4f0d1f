"""Readers of the journal: from any seq, without gap or repeat."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from inturn import Entry
from tests.support.rig import Rig


@pytest.mark.promise("ORD-8", "ORD-9")
async def test_a_reader_follows_and_resumes_from_any_seq(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        await session.ask("zero", event_id="e0")
        seen: list[int] = []

        async def follow() -> None:
            async for entry in session.entries(follow=True):
                seen.append(entry.seq)
                if entry.type == "turn.completed" and entry.event_id == "e4":
                    return

        reader = asyncio.create_task(follow())
        for n in range(1, 5):
            await session.ask(f"message {n}", event_id=f"e{n}")
        async with asyncio.timeout(10):
            await reader
        assert seen == list(range(1, seen[-1] + 1))
        for after in range(seen[-1]):
            entries = [entry async for entry in session.entries(after=after)]
            assert [entry.seq for entry in entries] == seen[after:]
        assert all(a.hash == b.prev for a, b in itertools.pairwise(entries))


@pytest.mark.promise("ORD-9")
async def test_a_stored_cursor_moves_only_after_its_entry_was_handled(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        await session.ask("zero", event_id="e0")
        handled: list[int] = []

        async def handle_two() -> None:
            async for entry in client.cursor("crm").entries("s"):
                if entry.seq == 3:
                    raise RuntimeError("the handler failed")
                handled.append(entry.seq)

        with pytest.raises(RuntimeError, match="the handler failed"):
            await handle_two()
        async for entry in client.cursor("crm").entries("s"):
            handled.append(entry.seq)
        assert handled == list(range(1, handled[-1] + 1))


async def test_a_stream_ends_with_its_turn(rig: Rig) -> None:
    async with rig.worker(), rig.client() as client:
        session = client.session("s", agent="support")
        await session.send("[[delay 0.5]] hi there", event_id="e0")
        await session.send("not mine", event_id="e1")
        async with asyncio.timeout(10):
            entries = [entry async for entry in session.stream("e0") if isinstance(entry, Entry)]
        assert {entry.event_id for entry in entries} == {"e0"}
        assert entries[-1].type == "turn.completed"
