"""A worker that is told to stop is gone when its time is over, also where somebody's code blocks its event loop."""

from __future__ import annotations

import asyncio
import signal
import sys

import pytest

pytestmark = pytest.mark.promise("SUR-2", "SUR-17")

BLOCKED = """
import asyncio, hashlib, socket, sys, time
from inturn_worker import shutdown
from inturn_worker.loop import WorkerLoop
shutdown.OVER_GRACE = 0.1

def spin():
    while True:
        pass

def receive():
    ours, theirs = socket.socketpair()
    ours.recv(1)

async def main():
    stop = shutdown.Shutdown(0.2)
    stop.listen()
    stop.started()
    print("blocks", flush=True)
    {"sleep": lambda: time.sleep(60), "spin": spin, "receive": receive}[sys.argv[1]]()

with asyncio.Runner(loop_factory=WorkerLoop) as runner:
    runner.run(main())
"""


@pytest.mark.parametrize("how", ["sleep", "spin", "receive"])
async def test_a_loop_that_is_blocked_keeps_no_worker_from_its_end(how: str) -> None:
    pipe = asyncio.subprocess.PIPE
    worker = await asyncio.create_subprocess_exec(sys.executable, "-c", BLOCKED, how, stdout=pipe, stderr=pipe)
    try:
        assert worker.stdout is not None
        assert b"blocks" in await worker.stdout.readline()
        worker.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            assert await worker.wait() == 1
    finally:
        if worker.returncode is None:
            worker.kill()
