"""A worker whose threads hang in users' code for good ends all the same when it is told to."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.support.rig import Rig


@pytest.mark.promise("SUR-17", "SUR-8")
async def test_threads_that_hang_keep_no_worker_from_its_end(rig: Rig) -> None:
    worker = rig.process(agents="tests.support.agents.hanging:agents", INTURN_GRACE="1").start()
    async with rig.client() as client:
        turn = await client.session("s", agent="support").ask(
            '[[tool hang {}]] [[tool add {"a": 1, "b": 2}]]', timeout=30
        )
        assert [call.status for call in turn.tool_calls] == ["timeout", "ok"]
    began = time.monotonic()
    assert await asyncio.to_thread(worker.stop) == 0
    assert time.monotonic() - began < 8
