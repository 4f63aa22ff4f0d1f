"""Eight processes on one SQLite journal: nobody fails for a lock, and whatever was acknowledged is there."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from inturn.client.hub import Hub
from inturn.journal import open_journal
from inturn.keys import SessionKey
from tests.support.processes.journal_writer import SHARED
from tests.support.stores import journal_url

PROCESSES = 8
SECONDS = 3.0
ROOT = Path(__file__).parents[2]


async def start(url: str, name: str, acknowledged: Path) -> asyncio.subprocess.Process:
    command = (
        sys.executable,
        "-m",
        "tests.support.processes.journal_writer",
        url,
        name,
        str(SECONDS),
        str(acknowledged),
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    return await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environment, stderr=asyncio.subprocess.PIPE)


def lines(path: Path) -> list[list[str]]:
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


async def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


@pytest.mark.usefixtures("store")
@pytest.mark.promise("ORD-8", "ORD-9", "SHR-9")
async def test_eight_processes_share_one_journal_and_one_is_killed(tmp_path: Path) -> None:
    url = journal_url(tmp_path)
    files = [tmp_path / f"acknowledged-{n}" for n in range(PROCESSES)]
    followed: list[int] = []

    async def read_along() -> None:
        async with aclosing(Hub(journal).entries(SHARED)) as entries:
            async for entry in entries:
                followed.append(entry.seq)

    processes = [await start(url, f"p{n}", files[n]) for n in range(PROCESSES)]
    journal = open_journal(url)
    await journal.open()  # while eight others make the same file
    reader = asyncio.ensure_future(read_along())
    killed = processes.pop(0)
    await until(lambda: len(lines(files[0])) > 20)
    killed.kill()
    errors = [(await process.communicate())[1].decode() for process in (killed, *processes)]
    assert [process.returncode for process in processes] == [0] * len(processes), errors
    assert errors == [""] * PROCESSES

    acknowledged = [line for file in files for line in lines(file)]
    sessions = {SessionKey("acme", session_id) for session_id, *_ in acknowledged}
    for session in sessions:
        assert await journal.verify(session) == []
    head = await journal.head(SHARED)
    await until(lambda: len(followed) == head)
    reader.cancel()
    await asyncio.wait([reader])
    assert followed == list(range(1, head + 1))
    for name, count in Counter(name for name, *_ in acknowledged if name != SHARED.session_id).items():
        applied = (await journal.outcomes(SessionKey("acme", name))).get("applied", 0)
        # The killed one may have recorded one turn more than it lived to tell.
        assert count <= applied <= count + name.startswith("p0-")
    shared = {e.body["text"] for e in await journal.read(SHARED, limit=head)}
    assert {key for name, key, _ in acknowledged if name == SHARED.session_id} <= shared
    slowest = max(float(seconds) for *_, seconds in acknowledged)
    assert slowest < 10, f"one of {len(acknowledged)} writes waited {slowest:.1f} s"
    await journal.close()
