"""The two that are compared, driven by the same calls.

Invariant: what is done to one side is done to the other, with the same content, in turns.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, TypeVar

from temporalio.client import WorkflowExecutionDescription, WorkflowHandle

from bench.rig import Lane
from inturn import Client

TEXT: Final = "x" * 489
"""Echoed as "You said: …": a message and a reply of 500 characters."""
QUIET_WITHIN: Final = 30.0

Handle = WorkflowHandle[Any, Any]
T = TypeVar("T")


class Side(Protocol):
    """One of the two."""

    async def begin(self, session_id: str) -> None:
        """Start a session and run its first turn."""

    async def send(self, session_id: str, event_id: str, text: str = TEXT) -> None:
        """Signal an event."""

    async def ask(self, session_id: str, event_id: str, text: str = TEXT) -> None:
        """Send an event and wait for its answer."""

    def handle(self, session_id: str) -> Handle:
        """The session's workflow."""
        ...


class Inturn:
    """Sessions of this project, through its SDK."""

    def __init__(self, lane: Lane, client: Client) -> None:
        self._lane, self._client = lane, client

    async def begin(self, session_id: str) -> None:
        """Start a session and run its first turn."""
        await self._client.session(session_id, agent="bench").ask("hello", event_id="hello")

    async def send(self, session_id: str, event_id: str, text: str = TEXT) -> None:
        """Signal an event."""
        await self._client.session(session_id).send(text, event_id=event_id)

    async def ask(self, session_id: str, event_id: str, text: str = TEXT) -> None:
        """Send an event and wait for its answer."""
        await self._client.session(session_id).ask(text, event_id=event_id)

    def handle(self, session_id: str) -> Handle:
        """The session's workflow."""
        return self._lane.rig.temporal.get_workflow_handle(f"{self._client.tenant}/{session_id}")


class Bare:
    """Sessions of the bare workflow, through Temporal's SDK."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._handles: dict[str, Handle] = {}

    async def begin(self, session_id: str) -> None:
        """Start a session and run its first turn."""
        self._handles[session_id] = await self._lane.bare_session(session_id)
        await self.ask(session_id, "hello", "hello")

    async def send(self, session_id: str, event_id: str, text: str = TEXT) -> None:
        """Signal an event."""
        await self._handles[session_id].signal("submit", {"event_id": event_id, "content": text})

    async def ask(self, session_id: str, event_id: str, text: str = TEXT) -> None:
        """Send an event and wait for its answer."""
        event = {"event_id": event_id, "content": text, "wait": True}
        await self._handles[session_id].execute_update("ask", event, id=event_id)

    def handle(self, session_id: str) -> Handle:
        """The session's workflow."""
        return self._handles[session_id]


async def quiet(handle: Handle, *, every: float = 0.01) -> tuple[int, int]:
    """Wait until neither a step nor a workflow task is due; return the history's events and bytes.

    Where one ends and the other begins the server does both at once, so nothing due means that the turn is over.
    """

    async def looked() -> WorkflowExecutionDescription | None:
        described = await handle.describe()
        raw = described.raw_description
        return None if raw.pending_activities or raw.HasField("pending_workflow_task") else described

    info = (await until(looked, within=QUIET_WITHIN, every=every)).raw_description.workflow_execution_info
    return info.history_length, info.history_size_bytes


async def until(look: Callable[[], Awaitable[T | None]], *, within: float, every: float = 0.01) -> T:
    """Look until there is something.

    Raises:
        TimeoutError: There was nothing within `within` seconds.
    """
    end = time.monotonic() + within
    while (found := await look()) is None:
        if time.monotonic() > end:
            raise TimeoutError(f"nothing within {within:g} s")
        await asyncio.sleep(every)
    return found
