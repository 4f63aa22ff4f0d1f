"""A database of the dev server has one server at a time, whoever was killed meanwhile."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from inturn_worker import dev_server
from inturn_worker.dev_server import NotReady, acquire


async def test_a_server_that_ends_is_waited_for_and_one_that_stays_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = tmp_path / "temporal.db"
    with await acquire(database) as lock:
        command = [sys.executable, "-c", "input()"]
        pipe = asyncio.subprocess.PIPE
        heir = await asyncio.create_subprocess_exec(*command, stdin=pipe, pass_fds=(lock.fileno(),))
    waiting = asyncio.create_task(acquire(database))
    assert not (await asyncio.wait([waiting], timeout=0.2))[0]
    await heir.communicate(b"end\n")
    (await waiting).close()
    monkeypatch.setattr(dev_server, "STOP_SECONDS", 0.0)
    with await acquire(database), pytest.raises(NotReady, match="another server has "):
        await acquire(database)
