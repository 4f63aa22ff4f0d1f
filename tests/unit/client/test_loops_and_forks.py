"""A client's handles and the journal in more than one event loop, and in a process that was forked."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from temporalio.contrib.pydantic import pydantic_data_converter

from inturn.client.temporal.connection import Connection
from inturn.errors import Misconfigured
from inturn.journal import open_journal
from inturn.keys import SessionKey
from inturn.per_loop import PerLoop
from tests.support.stores import journal_url

KEY = SessionKey("acme", "s1")


def in_another_loop(work: Any) -> None:
    """Run it in a thread with a loop of its own."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(work())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert not failed


@pytest.mark.promise("ORD-11")
async def test_a_lock_that_is_held_in_one_loop_keeps_no_other_loop_waiting() -> None:
    locks = PerLoop(asyncio.Lock)

    async def hold() -> None:
        async with locks.get():
            waiting = asyncio.create_task(locks.get().acquire())
            await asyncio.sleep(0)
        await waiting

    async with locks.get():
        assert locks.get() is locks.get()
        await asyncio.to_thread(in_another_loop, hold)


@pytest.mark.promise("ACC-7")
async def test_one_journal_serves_two_loops_at_once(tmp_path: Path) -> None:
    journal = open_journal(journal_url(tmp_path))
    await journal.open()

    async def use() -> None:
        for n in range(20):
            await journal.move_cursor("acme", "reader", "s1", n)

    await asyncio.gather(use(), asyncio.to_thread(in_another_loop, use))
    assert await journal.cursor("acme", "reader", "s1") == 19
    await journal.close()


@pytest.mark.promise("ACC-7")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.skipif(sys.platform == "win32", reason="forks")
async def test_a_journal_that_was_opened_before_a_fork_works_in_the_child(tmp_path: Path) -> None:
    journal = open_journal(journal_url(tmp_path))
    await journal.open()
    await journal.move_cursor("acme", "reader", "s1", 1)

    def forked() -> int:
        child = os.fork()
        if child:
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        try:

            async def use() -> None:
                async with asyncio.timeout(10):
                    assert await journal.cursor("acme", "reader", "s1") == 1
                    await journal.move_cursor("acme", "reader", "s1", 2)

            asyncio.run(use())
        except BaseException:
            os._exit(1)
        os._exit(0)

    assert await asyncio.to_thread(forked) == 0
    assert await journal.cursor("acme", "reader", "s1") == 2
    await journal.move_cursor("acme", "reader", "s1", 3)
    await journal.close()


async def test_a_connection_of_before_a_fork_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    stub: Any = SimpleNamespace(data_converter=pydantic_data_converter)
    connection = Connection(temporal=stub)
    assert await connection.temporal() is stub
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(Misconfigured, match="before a fork"):
        await connection.temporal()
