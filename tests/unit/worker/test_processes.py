"""N processes under one supervisor: restarted when they crash, stopped with it, never restarted for nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
    running = asyncio.create_task(Supervisor([sys.executable, "-c", WORKER, str(tmp_path)], 2, grace=1).run())
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
    assert await Supervisor([sys.executable, "-c", wrong, str(tmp_path)], 2, grace=1).run() == MISCONFIGURED


async def test_the_processes_end_when_their_supervisor_was_killed(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys\nfrom inturn_worker.processes import Supervisor\n"
        "asyncio.run(Supervisor([sys.executable, '-c', sys.argv[1], sys.argv[2]], 1, grace=1).run())"
    )
    supervisor = await asyncio.create_subprocess_exec(sys.executable, "-c", code, WORKER, str(tmp_path))
    await until(lambda: names(tmp_path))
    (worker,) = [int(name.partition("-")[2]) for name in names(tmp_path)]
    supervisor.kill()
    await supervisor.wait()
    await until(lambda: not _alive(worker))


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# Ends with the codes of its starts, one after another; then it works.
UNSTEADY = """
import os, signal, sys, time
number = len(os.listdir(sys.argv[1]))
open(os.path.join(sys.argv[1], f"{number}-{os.getpid()}"), "w").close()
codes = [int(code) for code in sys.argv[2].split(",")]
if number < len(codes):
    sys.exit(codes[number])
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
time.sleep(60)
"""


@pytest.mark.promise("SUR-2", "SUR-17")
@pytest.mark.parametrize("codes", ["1,2", "0,2,2", "3,1,2"])
async def test_a_restart_that_finds_nothing_in_order_comes_again_and_ends_no_other(tmp_path: Path, codes: str) -> None:
    command = [sys.executable, "-c", UNSTEADY, str(tmp_path), codes]
    running = asyncio.create_task(Supervisor(command, 1, grace=1).run())
    await until(lambda: len(names(tmp_path)) == len(codes.split(",")) + 1 or running.done())
    assert not running.done()
    os.kill(os.getpid(), signal.SIGTERM)
    assert await running == 0


@pytest.mark.promise("SUR-2", "SUR-17")
async def test_a_tool_that_exits_with_that_code_ends_its_own_process_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "HEALTHY_AFTER", 0.0)  # every start has gone well
    running = asyncio.create_task(
        Supervisor([sys.executable, "-c", UNSTEADY, str(tmp_path), str(MISCONFIGURED)], 1, grace=1).run()
    )
    await until(lambda: len(names(tmp_path)) == 2 or running.done())
    assert not running.done()
    os.kill(os.getpid(), signal.SIGTERM)
    assert await running == 0


@pytest.mark.promise("SUR-17")
@pytest.mark.parametrize("error", [BlockingIOError(11, "no more"), FileNotFoundError(2, "it is being renewed")])
async def test_a_process_that_cannot_be_started_now_is_started_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    real, failed = asyncio.create_subprocess_exec, list[OSError]()

    async def start(*args: str, **options: Any) -> asyncio.subprocess.Process:
        if not failed:
            failed.append(error)
            raise error
        return await real(*args, **options)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", start)
    running = asyncio.create_task(Supervisor([sys.executable, "-c", WORKER, str(tmp_path)], 1, grace=1).run())
    await until(lambda: names(tmp_path) or running.done())
    assert not running.done()
    os.kill(os.getpid(), signal.SIGTERM)
    assert await running == 0


@pytest.mark.promise("SUR-2", "SUR-17")
async def test_a_process_that_hears_no_signal_is_killed_when_its_time_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "OVER_GRACE", 0.1)
    monkeypatch.setattr(processes, "STUBBORN", 0.1)
    deaf = WORKER.replace("lambda *_: sys.exit(0)", "signal.SIG_IGN").replace(
        "sys.stdin.read()", "select.select([], [], [])"
    )
    running = asyncio.create_task(Supervisor([sys.executable, "-c", deaf, str(tmp_path)], 1, grace=0.1).run())
    await until(lambda: names(tmp_path))
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(20):
        assert await running == 0


@pytest.mark.promise("SUR-17")
async def test_processes_begin_where_the_supervisor_did_wherever_a_users_module_went(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    command = [sys.executable, "-c", WORKER, "."]
    running = asyncio.create_task(Supervisor(command, 1, grace=1, cwd=tmp_path).run())
    await until(lambda: names(tmp_path) or running.done())
    os.kill(os.getpid(), signal.SIGTERM)
    assert await running == 0
    assert names(tmp_path)
