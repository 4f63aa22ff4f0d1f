"""Exceptions of our own code, contained.

Rules:
  1. None ends a session, or fails its workflow task again and again: what it struck (a message, the running turn, the
     event that is next, a decision, a delivery) is set aside with the error, and the session goes on.
  2. Where it cannot be laid to one of them, the session waits before it tries again: longer each time, and until
     something comes at most.
  3. Not contained is what only another worker or a reset can mend: a history that does not replay or that this worker
     has not the keys of, state of a newer version, and what Temporal raises to unwind a workflow (no `Exception`).
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from temporalio import workflow

from inturn import sizes
from inturn_workflows.sealed import Unreadable
from inturn_workflows.state import SessionState

NOT_OURS: Final = (workflow.NondeterminismError, workflow.ReadOnlyContextError, Unreadable)
"""Contained nowhere."""
LONGEST_WAIT: Final = 3_600.0
"""Seconds between two tries at most: each costs a timer, and a history has an end."""


class Faults:
    """Notes the faults of a session's code, and waits where nothing else helps."""

    def __init__(self, state: SessionState) -> None:
        self._state = state
        self._waits = 0

    def note(self, doing: str, error: Exception) -> str:
        """Log an exception and show it in the status; return it as text. What is not ours is raised again."""
        if isinstance(error, NOT_OURS):
            raise error
        text = f"an error of inturn's own while {doing}: {type(error).__name__}: {error}"
        text = sizes.clip(text.encode("utf-8", "backslashreplace").decode(), sizes.ERROR)
        workflow.logger.error(
            "an error of inturn's own%s", text.removeprefix("an error of inturn's own"), exc_info=error
        )
        self._state.fault = text
        return text

    async def wait(self) -> None:
        """Wait until something comes, or for some time: 1 s, then longer each time without it."""
        arrived = self._state.inbox.books.accepted, bool(self._state.closing)
        self._waits += 1
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(2.0 ** (self._waits - 1), LONGEST_WAIT)):
                await workflow.wait_condition(
                    lambda: (self._state.inbox.books.accepted, bool(self._state.closing)) != arrived
                )
                self._waits = 0
