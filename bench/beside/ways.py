"""The ways that are compared, driven by the same calls.

Invariant: what is done to one way is done to all, with the same content; each has a worker process of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHandle

from bench.beside.chat import texts
from bench.beside.stub import CALLS, EFFECTS, written
from bench.beside.worker import READY
from bench.rig import Lane, Process, Rig

Handle = WorkflowHandle[Any, Any]

INTURN: Final = "inturn"
NAMES: Final = {
    INTURN: "Session",
    "handler": "Handler",
    "tuned handler": "HandlerTuned",
    "conversation": "Conversation",
    "tuned conversation": "ConversationTuned",
}
"""Each way with its workflow's type."""


class Way:
    """One of them: its sessions, its worker, and what its stubs wrote down."""

    def __init__(self, lane: Lane, name: str) -> None:
        self.name, self.lane = name, lane
        self.type = NAMES[name]
        self._queue = f"{lane.name}-{self.type}"
        self._calls, self._effects = (lane.rig.directory / f"{self._queue}.{kind}" for kind in ("calls", "effects"))
        self._worker: Process | None = None

    @property
    def module(self) -> str:
        """The file of its workflow, among the chats."""
        return "conversation.py" if self.type.startswith("Conversation") else "handler.py"

    @property
    def worker(self) -> Process:
        """The worker that runs."""
        assert self._worker is not None
        return self._worker

    async def start(self) -> None:
        """Start a worker, and wait until it is ready."""
        args = (self.lane.rig.address, self._queue, self.type, self.lane.journal)
        env = {CALLS: str(self._calls), EFFECTS: str(self._effects)}
        self._worker = await self.lane.program(READY, "bench.beside.worker", *args, **env)

    async def stop(self) -> None:
        """Stop the worker."""
        await self.worker.stop()

    async def begin(self, session_id: str, *, limit: int = 0) -> None:
        """Start a session; `limit` is the events after which it continues as new (0: its own)."""
        given: dict[str, Any] = {"limit": limit}
        if self.name == INTURN:
            given = {"agent": "beside", "limits": {"events": limit} if limit else {}}
        await self.lane.rig.temporal.start_workflow(self.type, given, id=self._id(session_id), task_queue=self._queue)

    async def send(self, session_id: str, event_id: str, text: str = "") -> None:
        """Signal an event whose text ends with its id."""
        event = {"event_id": event_id, "content": f"{text} {event_id}".strip()}
        await self.handle(session_id).signal("submit", event)

    async def answers(self, session_id: str) -> list[str]:
        """Return what the conversation holds as said by the model, in order."""
        if self.name != INTURN:
            found: list[str] = await self.handle(session_id).query("answers")
            return found
        async with self.lane.client(journal=True) as client:
            return texts(await client.with_options(tenant=self._queue).session(session_id).transcript())

    def calls(self, session_id: str) -> list[dict[str, Any]]:
        """Read the model's calls of a session."""
        return [line for line in written(self._calls) if line["session"] == session_id]

    def effects(self) -> list[dict[str, Any]]:
        """Read the tool's effects."""
        return written(self._effects)

    def handle(self, session_id: str) -> Handle:
        """The session's workflow, whichever run it is in."""
        return self.lane.rig.temporal.get_workflow_handle(self._id(session_id))

    async def runs(self, session_id: str) -> list[list[HistoryEvent]]:
        """Read the histories of all runs of a session, from the first on."""
        described = await self.handle(session_id).describe()
        run: str | None = described.raw_description.workflow_execution_info.first_run_id or described.run_id
        found = []
        while run:
            handle = self.lane.rig.temporal.get_workflow_handle(self._id(session_id), run_id=run)
            events = [event async for event in handle.fetch_history_events()]
            found.append(events)
            last = events[-1]
            continued = last.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW
            run = last.workflow_execution_continued_as_new_event_attributes.new_execution_run_id if continued else None
        return found

    def _id(self, session_id: str) -> str:
        return f"{self.lane.name}-{self.type}/{session_id}"


@asynccontextmanager
async def running(rig: Rig) -> AsyncGenerator[Sequence[Way]]:
    """All ways with their workers, for as long as the block runs."""
    lane = rig.lane("beside")
    ways = [Way(lane, name) for name in NAMES]
    async with AsyncExitStack() as stack:
        await asyncio.gather(*(way.start() for way in ways))
        for way in ways:
            stack.push_async_callback(way.stop)
        yield ways


def journal_bytes(way: Way) -> int:
    """Measure the journal of a way's sessions; those that have none keep nothing beside Temporal."""
    if way.name != INTURN:
        return 0
    path = Path(way.lane.journal.removeprefix("sqlite:///"))
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as journal:
        pages, size = (journal.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    return int(pages) * int(size)
