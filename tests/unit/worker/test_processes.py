"""N processes under one supervisor: restarted when they crash, stopped with it, never restarted for nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from inturn_worker import processes
from inturn_worker.processes import MISCONFIGURED, Supervisor

# Writes its pid, then waits for SIGTERM or for the end of its standard input.
WORKER = """
import os, select, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
number = os.environ["INTURN_SUPERVISED"].replace("/", "of")
open(os.path.join(sys.argv[1], f"{number}-{os.getpid()}"), "w").close()
sys.stdin.read()
open(os.path.join(sys.argv[1], f"orphan-{os.getpid()}"), "w").close()
"""


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition, at most 20 s."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.02)


def names(directory: Path) -> list[str]:
    """The files that workers left."""
    return sorted(path.name for path in directory.iterdir())


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restarts come at once."""
    monkeypatch.setattr(processes, "FIRST_DELAY", 0.05)


async def test_a_crashed_process_is_restarted_and_a_signal_stops_all(tmp_path: Path) -> None:
    running = asyncio.create_task(Supervisor([sys.executable, "-c", WORKER, str(tmp_path)], 2).run())
    await until(lambda: len(names(tmp_path)) == 2)
    assert [name.partition("-")[0] for name in names(tmp_path)] == ["1of2", "2of2"]
    victim = names(tmp_path)[0]
    os.kill(int(victim.partition("-")[2]), signal.SIGKILL)
    await until(lambda: len(names(tmp_path)) == 3)
    assert sum(name.startswith("1of2-") for name in names(tmp_path)) == 2
    os.kill(os.getpid(), signal.SIGTERM)
    assert await running == 0
    assert not any(name.startswith("orphan") for name in names(tmp_path)), "they ended by the signal"


async def test_a_process_that_finds_itself_misconfigured_ends_all_with_its_code(tmp_path: Path) -> None:
    script = WORKER + "\n"
    wrong = f"import os, sys\nif os.environ['INTURN_SUPERVISED'] == '2/2': sys.exit({MISCONFIGURED})\n" + script
    assert await Supervisor([sys.executable, "-c", wrong, str(tmp_path)], 2).run() == MISCONFIGURED


async def test_the_processes_end_when_their_supervisor_was_killed(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys\nfrom inturn_worker.processes import Supervisor\n"
        "asyncio.run(Supervisor([sys.executable, '-c', sys.argv[1], sys.argv[2]], 1).run())"
    )
    supervisor = await asyncio.create_subprocess_exec(sys.executable, "-c", code, WORKER, str(tmp_path))
    await until(lambda: names(tmp_path))
    supervisor.kill()
    await supervisor.wait()
    await until(lambda: any(name.startswith("orphan") for name in names(tmp_path)))
