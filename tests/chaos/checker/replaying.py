"""Replays exported histories on the code of this checkout: the one part of the checker that imports the project."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from temporalio.client import WorkflowHistory

from inturn_worker.replaying import replayer


async def replay(paths: Iterable[Path]) -> list[str]:
    """Replay each history; return what did not."""
    logging.getLogger("temporalio").setLevel(logging.CRITICAL)
    replays = replayer()
    failed: list[str] = []
    for path in paths:
        text = path.read_text()
        started = json.loads(text)["events"][0]["workflowExecutionStartedEventAttributes"]
        history = WorkflowHistory.from_json(started["workflowId"], text)
        result = await replays.replay_workflow(history, raise_on_replay_failure=False)
        if result.replay_failure is not None:
            failed.append(f"{path.name}: {result.replay_failure}")
    return failed


def replay_all(paths: list[Path], *, processes: int = 2) -> list[str]:
    """Replay in processes of their own."""
    shares = [paths[n::processes] for n in range(min(processes, len(paths)))]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        return [failed for found in pool.map(_replayed, shares) for failed in found]


def _replayed(paths: list[Path]) -> list[str]:
    import asyncio

    return asyncio.run(replay(paths))
