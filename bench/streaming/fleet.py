"""A fleet of sessions that stream at once, on either side.

Invariant: what a window measured is counted from before the first event until the model has ended its last answer and
the server has heard of it; nothing asks the server meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHandle

from bench.machine import cpu_seconds
from bench.rig import Lane, Rig
from bench.streaming.answers import SECONDS
from inturn import Client

SETTLE: Final = 2.0
"""Seconds behind the model's end in which turns have to end."""
WITHIN: Final = 60.0
AT_ONCE: Final = 25

Handle = WorkflowHandle[Any, Any]


class Fleet(Protocol):
    """Sessions that have begun, on one side."""

    async def begin(self, name: str) -> None:
        """Start a session; its first answer comes at once."""

    async def send(self, name: str, text: str) -> None:
        """Send an event."""

    def handle(self, name: str) -> Handle:
        """A session's workflow."""
        ...


class Inturn:
    """Sessions of this project."""

    def __init__(self, lane: Lane, client: Client) -> None:
        self._lane, self._client = lane, client

    async def begin(self, name: str) -> None:
        """Start a session; its first answer comes at once."""
        await self._client.session(name, agent="bench").ask("hello", timeout=WITHIN)

    async def send(self, name: str, text: str) -> None:
        """Send an event."""
        await self._client.session(name).send(text, event_id=text)

    def handle(self, name: str) -> Handle:
        """A session's workflow."""
        return self._lane.rig.temporal.get_workflow_handle(f"{self._client.tenant}/{name}")


class Bare:
    """Sessions of the bare workflow."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane

    async def begin(self, name: str) -> None:
        """Start a session; its first answer comes at once."""
        queue = f"{self._lane.name}-bare"
        handle = await self._lane.rig.temporal.start_workflow("BareStream", id=f"{queue}/{name}", task_queue=queue)
        await handle.signal("submit", "hello")
        await _ended(handle)

    async def send(self, name: str, text: str) -> None:
        """Send an event."""
        await self.handle(name).signal("submit", text)

    def handle(self, name: str) -> Handle:
        """A session's workflow."""
        return self._lane.rig.temporal.get_workflow_handle(f"{self._lane.name}-bare/{name}")


@dataclass(frozen=True, slots=True)
class Window:
    """What one answer of each session took.

    Attributes:
        worker: CPU of the worker, in milliseconds per turn.
        server: CPU of the Temporal server, in milliseconds per turn.
        requests: Of the worker and its client to the server, per turn.
        later: Seconds from the model's end to the step's, by the server's clock.
    """

    worker: float
    server: float
    requests: float
    later: list[float]


async def begun(fleet: Fleet, count: int) -> None:
    """Start so many sessions."""
    await _each(count, fleet.begin)


async def streamed(rig: Rig, fleet: Fleet, worker: int, answers: str, count: int, tag: str) -> Window:
    """Let so many sessions stream an answer at once; return what that took."""
    texts = {f"s{n}": f"stream-{tag}-{n}" for n in range(count)}
    before = cpu_seconds(worker), cpu_seconds(rig.server_pid), await rig.requests()
    await _each(count, lambda name: fleet.send(name, texts[name]))
    await asyncio.sleep(SECONDS)
    ends = await _ends(answers, set(texts.values()))
    await asyncio.sleep(max(max(ends.values()) + SETTLE - time.time(), 0.0))
    after = cpu_seconds(worker), cpu_seconds(rig.server_pid), await rig.requests()
    stepped = {name: await _ended(fleet.handle(name)) for name in texts}
    later = [stepped[name] - ends[text] for name, text in texts.items()]
    used = [(b - a) / count for a, b in zip(before, after, strict=True)]
    return Window(used[0] * 1000, used[1] * 1000, used[2], later)


async def _each(count: int, do: Callable[[str], Awaitable[None]]) -> None:
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(name: str) -> None:
        async with slots:
            await do(name)

    await asyncio.gather(*(one(f"s{n}") for n in range(count)))


async def _ends(answers: str, wanted: set[str]) -> dict[str, float]:
    """Return when the model ended each of these answers."""
    limit = time.monotonic() + WITHIN
    while time.monotonic() < limit:
        found: dict[str, float] = json.loads(await asyncio.to_thread(_read, f"{answers}/ends"))
        if wanted <= found.keys():
            return {said: found[said] for said in wanted}
        await asyncio.sleep(0.2)
    raise TimeoutError(f"the model was not asked for all of {len(wanted)} answers")


def _read(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=WITHIN) as response:
        body: bytes = response.read()
        return body


async def _ended(handle: Handle) -> float:
    """Return when a session's last step ended, by the server's clock; wait for a step that runs.

    Raises:
        TimeoutError: It did not.
    """
    limit = time.monotonic() + WITHIN
    while time.monotonic() < limit:
        begun = ended = 0
        at = 0.0
        async for event in handle.fetch_history_events():
            if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
                begun += 1
            elif event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
                ended += 1
                at = event.event_time.ToNanoseconds() / 1e9
        if ended and ended == begun:
            return at
        await asyncio.sleep(0.1)
    raise TimeoutError(f"{handle.id}: a step did not end")
