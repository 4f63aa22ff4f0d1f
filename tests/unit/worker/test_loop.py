"""The worker's loop ends with the worker, and says who blocks it."""

from __future__ import annotations

import asyncio
import logging
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from inturn.keys import SessionKey
from inturn_activities.limits.stuck import watched
from inturn_worker import loop as worker_loop
from inturn_worker.loop import WorkerLoop, watched_loop


def run(main: Any) -> Any:
    """Run it as a worker does."""
    with asyncio.Runner(loop_factory=WorkerLoop) as runner:
        return runner.run(main)


@pytest.mark.promise("SUR-17")
@pytest.mark.parametrize("raised", [SystemExit, KeyboardInterrupt])
def test_a_task_that_outlives_its_call_cannot_end_the_worker(
    raised: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    async def bad() -> None:
        raise raised

    async def main() -> str:
        task = asyncio.create_task(bad())
        asyncio.get_running_loop().call_soon(_raise, raised)
        await asyncio.sleep(0.05)
        task.exception()
        return "goes on"

    assert run(main()) == "goes on"
    assert f"raised {raised.__name__}" in caplog.text


def _raise(raised: type[BaseException]) -> None:
    raise raised


@pytest.mark.promise("SUR-17")
def test_a_tool_that_stops_or_closes_the_loop_does_neither(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> str:
        loop = asyncio.get_running_loop()
        loop.stop()
        with pytest.raises(RuntimeError):
            loop.close()
        with pytest.raises(RuntimeError):
            loop.run_forever()
        await asyncio.sleep(0.01)
        loop.stop()
        await asyncio.sleep(0.01)
        return "goes on"

    assert run(main()) == "goes on"
    assert "it goes on" in caplog.text


def test_what_the_worker_itself_raises_ends_it() -> None:
    async def main() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        run(main())


@pytest.mark.promise("SUR-17")
async def test_a_tool_that_blocks_the_loop_is_named_with_its_place(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(worker_loop, "EVERY", 0.02)
    monkeypatch.setattr(worker_loop, "STALLED", 0.05)
    step = SessionKey("acme", "s1").turn("e1").step(0, 0)

    def slow_body() -> None:
        time.sleep(0.5)

    with caplog.at_level(logging.ERROR), watched_loop():
        await asyncio.sleep(0.05)
        with watched(step, "tool slow runs", every=30):
            slow_body()
        await asyncio.sleep(0.05)
    stands, goes_on = [r.getMessage() for r in caplog.records if r.name == "inturn.worker"]
    assert "tool slow runs (acme/s1/e1/0/0)" in stands
    assert "test_loop.py" in stands
    assert "slow_body" in stands
    assert "the event loop goes on after 0." in goes_on


@pytest.mark.promise("SUR-17")
def test_a_signal_handler_that_raises_into_the_loop_does_not_end_it(caplog: pytest.LogCaptureFixture) -> None:
    def late(number: int, frame: object) -> None:
        raise TimeoutError("the tool's own alarm")

    async def main() -> str:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        await asyncio.sleep(0.3)  # the alarm rings while the loop waits for what is next
        return "goes on"

    before = signal.signal(signal.SIGALRM, late)
    try:
        assert run(main()) == "goes on"
    finally:
        signal.signal(signal.SIGALRM, before)
    assert "raised TimeoutError" in caplog.text


BROKEN = """
import asyncio, os
from inturn_worker.loop import WorkerLoop

async def main():
    os.close(asyncio.get_running_loop()._selector.fileno())
    await asyncio.sleep(5)

with asyncio.Runner(loop_factory=WorkerLoop) as runner:
    try:
        runner.run(main())
    except (OSError, ValueError) as error:
        print("ended", flush=True)
        os._exit(0)  # what is left of the loop waits for ever
"""


@pytest.mark.promise("SUR-17")
def test_a_loop_that_is_broken_ends_with_what_broke_it() -> None:
    # In a process of its own: in this one, another file could have the number of the closed one by now.
    ended = subprocess.run([sys.executable, "-c", BROKEN], capture_output=True, text=True, timeout=30, check=False)
    assert ended.stdout == "ended\n", ended.stderr


FORKS = """
import asyncio, os, sys
from inturn_worker.loop import WorkerLoop

async def tool():
    return os.fork()

async def main():
    forked = await asyncio.create_task(tool())
    await asyncio.sleep(0.01)
    print("goes on", flush=True)
    return forked

with asyncio.Runner(loop_factory=WorkerLoop) as runner:
    copy = runner.run(main())
if copy:
    print("copy", os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1]), flush=True)
"""


@pytest.mark.promise("SUR-17", "EFF-3")
def test_a_copy_of_the_worker_that_a_tool_forked_does_not_go_on_as_one() -> None:
    ended = subprocess.run([sys.executable, "-c", FORKS], capture_output=True, text=True, timeout=30, check=False)
    assert ended.stdout.splitlines() == ["goes on", f"copy {worker_loop.FORKED}"], ended.stderr
