"""Answers as they come, with everything in between: a real server, workers that die, readers in other processes."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from inturn.journal import Journal
from inturn.journal.store.store import Transaction
from inturn.testing import Answer, Fault, ScriptedModel
from tests.support.histories import size
from tests.support.rig import Rig
from tests.support.screen import Screen
from tests.support.waiting import until

pytestmark = pytest.mark.promise("MOD-7")
WITHIN = 30.0
READER = """
import asyncio, sys
from inturn import Client

async def main(journal, tenant, session, event):
    client = Client(journal=journal, tenant=tenant)
    async for new in client.session(session).stream(event):
        print(new.model_dump_json(), flush=True)
    await client.aclose()

asyncio.run(main(*sys.argv[1:]))
"""
WORDS = " ".join(f"word{n}" for n in range(150))


@asynccontextmanager
async def reading(rig: Rig, session: str, event_id: str) -> AsyncIterator[tuple[Screen, asyncio.Task[None]]]:
    """A reader in a process of its own, which ends with the turn."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", READER, rig.journal, rig.tenant, session, event_id), stdout=asyncio.subprocess.PIPE
    )
    screen = Screen()

    async def read() -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            screen.take(json.loads(line))
        assert await process.wait() == 0

    task = asyncio.create_task(read())
    try:
        yield screen, task
    finally:
        if process.returncode is None:
            process.kill()
        task.cancel()
        await asyncio.wait({task})


async def watched(rig: Rig, journal: Journal, session: str) -> None:
    await until(lambda: journal.watched([rig.key(session)]), within=WITHIN)


async def rows(journal: Journal) -> int:
    def count(tx: Transaction) -> int:
        return int(tx.execute("SELECT COUNT(*) FROM deltas")[0][0])

    return await journal.look_within(count)


async def test_readers_in_other_processes_see_words_as_they_come_and_no_history_is_spent(rig: Rig) -> None:
    async with rig.worker(model=ScriptedModel()) as journal, rig.client() as client:
        session = client.session("s", agent="support")
        await session.ask("hello", event_id="first")
        handle = rig.temporal.get_workflow_handle(str(rig.key("s")))
        before = (await size(handle))[0]
        async with reading(rig, "s", "e1") as (early, first), reading(rig, "s", "e1") as (other, second):
            await watched(rig, journal, "s")
            await session.send(f"[[say {WORDS}]] [[delay 2]]", event_id="e1")
            await until(lambda: _seen(early, "word20"), within=WITHIN)
            late = Screen()
            async with asyncio.timeout(WITHIN):
                async for new in session.stream("e1"):  # here: to start a process may take longer than the answer
                    late.take(new.model_dump(mode="json"))
                await asyncio.gather(first, second)
        for screen in (early, other, late):
            assert screen.kept == [WORDS]
            assert WORDS.startswith(screen.whole[-1])
            assert len(screen.starts) == 1
        assert early.pieces > 20
        assert late.pieces > 0
        assert (await size(handle))[0] - before == 10
        await until(lambda: _none(journal), within=WITHIN)


async def _seen(screen: Screen, text: str) -> bool:
    return text in screen.open


async def _none(journal: Journal) -> bool:
    return await rows(journal) == 0


async def test_what_nobody_reads_leaves_no_row(rig: Rig) -> None:
    async with rig.worker(model=ScriptedModel()) as journal, rig.client() as client:
        asking = asyncio.create_task(client.session("s", agent="support").ask(f"[[say {WORDS}]] [[delay 1.5]]"))
        while not asking.done():
            assert await rows(journal) == 0
            await asyncio.sleep(0.1)
        assert (await asking).text == WORDS


async def test_a_stream_that_is_cut_is_seen_anew_and_never_doubled(rig: Rig) -> None:
    async with rig.claude() as claude:
        claude.script(Answer(WORDS, delay=1.5), Answer(WORDS, delay=1.5))
        claude.faults(Fault(kind="cut", at=-2_000))
        async with rig.worker(model=claude.model) as journal, rig.client() as client:
            async with reading(rig, "s", "e1") as (screen, ended):
                await watched(rig, journal, "s")
                await client.session("s", agent="support").ask("go", event_id="e1")
                async with asyncio.timeout(WITHIN):
                    await ended
        assert screen.starts == sorted(set(screen.starts))
        assert len(screen.starts) == 2
        assert screen.kept == [WORDS]
        assert all(WORDS.startswith(text) for text in screen.whole)


@pytest.mark.parametrize("fault", ["killed", "frozen"])
async def test_an_attempt_whose_worker_goes_is_replaced_by_the_next_ones(rig: Rig, fault: str) -> None:
    async with rig.opened_journal() as journal, rig.client() as client:
        worker = await asyncio.to_thread(rig.process().start)
        async with reading(rig, "s", "e1") as (screen, ended):
            await watched(rig, journal, "s")
            await client.session("s", agent="support").send(f"[[say {WORDS}]] [[delay 4]]", event_id="e1")
            await until(lambda: _seen(screen, "word50"), within=WITHIN)
            worker.send(signal.SIGKILL if fault == "killed" else signal.SIGSTOP)
            await asyncio.to_thread(rig.process().start)
            await until(lambda: _begun(screen, 2), within=WITHIN)
            if fault == "frozen":
                worker.send(signal.SIGCONT)
            async with asyncio.timeout(WITHIN):
                await ended
        assert screen.starts == sorted(set(screen.starts))
        assert screen.kept == [WORDS]
        assert all(WORDS.startswith(text) for text in screen.whole)


async def _begun(screen: Screen, attempts: int) -> bool:
    return len(screen.starts) >= attempts
