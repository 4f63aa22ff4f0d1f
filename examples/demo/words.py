"""Words as they come: somebody who watches all sessions live, beside the producers.

Invariant: it keeps what a reader gets and nothing else: the pieces of each answer, and the entry that holds it. Whether
they say the same is found out at the end.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Final

from examples.demo.checks import Check
from examples.demo.producers import SESSIONS
from inturn import Client, Delta, Entry

WELL: Final = 24
"""Characters."""

Attempt = tuple[str, int]
"""A session, and which attempt at an answer of it: no two have the same number."""


@dataclass
class Words:
    """What was said live, and what was recorded."""

    client: Client
    said: dict[Attempt, str] = field(default_factory=dict)
    recorded: dict[Attempt, str] = field(default_factory=dict)
    pieces: int = 0
    come: asyncio.Event = field(default_factory=asyncio.Event)
    """Set where an answer is well begun."""
    now: dict[str, str] = field(default_factory=dict)
    """What each session's model has said so far of the answer that it is at."""

    async def watch(self) -> None:
        """Watch all sessions until cancelled."""
        async with asyncio.TaskGroup() as group:
            for session_id in SESSIONS:
                group.create_task(self._watch(session_id))

    async def _watch(self, session_id: str) -> None:
        async for new in self.client.session(session_id).stream(None):
            self.take(session_id, new)

    def take(self, session_id: str, new: Entry | Delta) -> None:
        """Take what a reader of a session got."""
        if isinstance(new, Delta):
            self._say(session_id, new)
            return
        if new.type == "agent.message":
            self.recorded[session_id, new.body["attempt"]] = _text(new)
        self.now.pop(session_id, None)

    def _say(self, session_id: str, piece: Delta) -> None:
        if piece.kind == "start":  # a new attempt begins: what another one had said is nobody's answer
            self.now[session_id] = ""
        elif piece.kind == "text":
            self.pieces += 1
            self.now[session_id] = self.said[session_id, piece.attempt] = self.now.get(session_id, "") + piece.text
            if len(self.now[session_id]) > WELL:
                self.come.set()

    def check(self) -> Check:
        """Compare what was said live with the answers that were recorded of the same attempts."""
        both = self.said.keys() & self.recorded.keys()
        others = sum(1 for attempt in both if not self.recorded[attempt].startswith(self.said[attempt]))
        found = f"{len(both)} answers seen live in {self.pieces} pieces; {others} were recorded with other words"
        return Check("words as they come", self.pieces > len(both) > 0 and not others, found)


def _text(entry: Entry) -> str:
    content: list[dict[str, Any]] = entry.body["content"]
    return "".join(block["text"] for block in content if block.get("type") == "text")
