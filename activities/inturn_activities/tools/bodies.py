"""The running of a user's function: its context, its thread, its bounds.

Invariant: the function sees the ids of its own call and no other's, in a task or in a thread, and everything it
reports is written under its own claim.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from pydantic_core import to_json

from inturn.errors import JournalUnavailable, ToolError
from inturn.events import Event
from inturn.journal import Claim, Journal, NewEntry
from inturn.journal.state.changes import Scope
from inturn.keys import StepKey
from inturn.tools import is_async
from inturn.tools.context import ToolContext, running
from inturn.tools.secrets import Handed
from inturn.tools.shared_state import Attempt, State
from inturn_activities.bounds import Bounds
from inturn_activities.commit import before_cancelled, persistently
from inturn_activities.limits.limits import Limits
from inturn_activities.limits.stuck import moved
from inturn_activities.tools.body_locks import BodyLocks
from inturn_activities.tools.threads import Late, Place, Threads

MAX_CHECKPOINT: Final = 256 * 1024
"""Bytes."""
MAX_PROGRESS: Final = 1_000
"""Characters of a progress text."""


class Reports:
    """What a running body reports, written under its claim."""

    def __init__(self, journal: Journal, step: StepKey, token: str, call_id: str, *, patience: float) -> None:
        """Report for a call under a claim's token; wait so many seconds for a journal that is away."""
        self._patience = patience
        self._journal = journal
        self._step = step
        self._token = token
        self._call_id = call_id
        self.handed = Handed()
        """The secrets that the body was given."""
        self.kept = False
        """It kept a checkpoint: another attempt can go on from there."""

    async def progress(self, text: str, done: float | None, total: float | None) -> None:
        """Tell readers how far it is."""
        moved()
        step = self._step
        body: dict[str, Any] = {"call_id": self._call_id, "text": self.handed.text(text)[:MAX_PROGRESS]}
        body |= {name: value for name, value in (("done", done), ("total", total)) if value is not None}
        entry = NewEntry("tool.progress", body, event_id=step.turn.event_id, step=step.within_turn)
        with contextlib.suppress(JournalUnavailable):  # news only: no reason to end the call
            await self._journal.append(step, self._token, [entry])

    async def checkpoint(self, value: Any) -> None:
        """Keep a value for the next attempt."""
        if self.handed.holds(value):
            raise ToolError("a checkpoint must not hold a secret: ask for the credential again instead")
        moved()
        size = len(to_json(value))
        if size > MAX_CHECKPOINT:
            raise ToolError(f"a checkpoint of {size:,} bytes is too large: the limit is {MAX_CHECKPOINT:,}")
        await before_cancelled(self._keep(value))

    async def _keep(self, value: Any) -> None:
        keep = partial(self._journal.keep, self._step, self._token, value)
        await persistently(keep, patience=self._patience)
        self.kept = True


@dataclass(frozen=True, slots=True)
class Bodies:
    """Makes contexts for calls, and runs functions in them."""

    journal: Journal
    threads: Threads
    bounds: Bounds
    limits: Limits
    resources: Any = None

    def reports(self, step: StepKey, claim: Claim, call_id: str) -> Reports:
        """Give what a body reports with under this claim."""
        return Reports(self.journal, step, claim.token, call_id, patience=self.bounds.commit_patience)

    def context(self, step: StepKey, claim: Claim, call_id: str, event: Event, reports: Reports) -> ToolContext:
        """Give the context of a call under this claim."""
        persist = partial(persistently, patience=self.bounds.commit_patience)
        attempt = Attempt(step, claim.token, persist, reports.handed.holds)
        return ToolContext(
            tenant=step.session.tenant,
            session_id=step.session.session_id,
            call_id=call_id,
            event=event,
            key=str(step),
            fence=claim.fence,
            resources=self.resources,
            last_checkpoint=claim.checkpoint,
            turn=step.turn.turn,
            state=State(self._opened, Scope(step.session.tenant, step.session.session_id), attempt),
            shared=State(self._opened, Scope(step.session.tenant), attempt),
            _progress=reports.progress,
            _checkpoint=reports.checkpoint,
            _loop=asyncio.get_running_loop(),
            _handed=reports.handed,
            _locks=BodyLocks(self.journal, step, claim.token, self.bounds, self.limits),
        )

    async def _opened(self) -> Journal:
        return self.journal

    def room(self, fn: Callable[..., Any]) -> Callable[[], AbstractAsyncContextManager[Any]] | None:
        """Give what a function needs before it may begin: a thread, if it is not async."""
        return None if is_async(fn) else lambda: self.threads.place(wait=self.bounds.thread_wait)

    async def call(
        self, context: ToolContext, place: Place | None, fn: Callable[[], Any], late: Late | None = None
    ) -> Any:
        """Call a function within a context; in a thread where it has a place for one (see `Place.run` for `late`).

        What it returns or raises has no secret in it.
        """
        handed = context._handed
        with running(context):
            try:
                result = fn() if place is None else await place.run(fn, late and _masked(late, handed))
                return handed.value(await result if inspect.isawaitable(result) else result)
            except (asyncio.CancelledError, GeneratorExit):
                raise
            except BaseException as error:
                failed = error
        # Out of the `except`, so that the new error does not bring the old one along.
        raise handed.error(_bearable(failed))


def _bearable(error: BaseException) -> BaseException:
    """Give an error that ends the call and not the worker."""
    if isinstance(error, Exception):
        return error
    said = f"it called exit({error.code})" if isinstance(error, SystemExit) else f"it raised {type(error).__name__}"
    made = RuntimeError(said)  # KeyboardInterrupt, and what else would end the event loop
    made.__cause__ = error
    return made


def _masked(late: Late, handed: Handed) -> Late:
    return lambda result, error: late(handed.value(result), None if error is None else handed.error(error))
