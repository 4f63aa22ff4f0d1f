"""What a running tool knows of where it runs.

Invariant: ids travel in a context variable, never in a global, so calls that run at once never see each other's;
threads and tasks that a tool starts inherit them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final

from inturn.errors import InturnError
from inturn.events import Event
from inturn.journal.state.changes import Scope
from inturn.tools.credentials import credentials_in
from inturn.tools.event_loop import run_on
from inturn.tools.locks import Lock, Locks, NullLocks
from inturn.tools.secrets import CallSecrets, Secret
from inturn.tools.shared_state import State

Progress = Callable[[str, float | None, float | None], Coroutine[Any, Any, None]]
Checkpoint = Callable[[Any], Coroutine[Any, Any, None]]
Pin = Callable[[str], Coroutine[Any, Any, None]]
Result = Callable[[str], Coroutine[Any, Any, bytes | None]]
Remember = Callable[[str, str, int], Coroutine[Any, Any, int]]

EVENT_FIELDS: Final = ("content", "source", "sender", "sent_at", "metadata")
"""Of an event, what the journal keeps for its tools; the others are about its way in."""
_NOWHERE = State(None, Scope(""))


async def _no_progress(text: str, done: float | None, total: float | None) -> None:
    """Report to nobody: the default outside a worker."""


async def _no_checkpoint(value: Any) -> None:
    """Keep nothing: the default outside a worker."""


async def _no_pin(text: str) -> None:
    """Pin nothing: the default outside a worker."""


async def _no_result(ref: str) -> bytes | None:
    """Find nothing: the default outside a worker."""
    return None


async def _no_memory(name: str, text: str, version: int) -> int:
    """Keep nothing: the default outside a worker."""
    return version + 1


@dataclass(frozen=True)
class ToolContext:
    """The call that runs.

    Attributes:
        tenant: Whose session it is.
        session_id: The session.
        call_id: The model's id of this call.
        event: The event whose turn this is; `event.metadata` holds the address to answer to.
        key: The call's idempotency key: the same on every attempt, for ever. Hand it to whatever you change.
        fence: Grows with every grant of the tool's locks; a target that remembers the highest can refuse stale
            writers. 0 for a tool without locks.
        resources: What the worker's `--lifespan` yielded (pools, clients), one per process.
        last_checkpoint: What an earlier attempt of this call kept last.
        turn: The turn's name: the event's id, with `~n` behind it when redriven.
        state: The session's state: values and queues that its calls share, see `inturn.tools.shared_state`.
        shared: The tenant's state, of all its sessions.
    """

    tenant: str
    session_id: str
    call_id: str
    event: Event
    key: str
    fence: int = 0
    resources: Any = None
    last_checkpoint: Any = None
    turn: str = ""
    state: State = field(default=_NOWHERE, repr=False)
    shared: State = field(default=_NOWHERE, repr=False)
    _progress: Progress = field(default=_no_progress, repr=False)
    _checkpoint: Checkpoint = field(default=_no_checkpoint, repr=False)
    _pin: Pin = field(default=_no_pin, repr=False)
    _result: Result = field(default=_no_result, repr=False)
    _remember: Remember = field(default=_no_memory, repr=False)
    _loop: asyncio.AbstractEventLoop | None = field(default=None, repr=False)
    _secrets: CallSecrets = field(default_factory=CallSecrets, repr=False, compare=False)
    _locks: Locks = field(default_factory=NullLocks, repr=False)

    async def credentials(self, name: str) -> Secret:
        """Return a credential of the worker's (`inturn.tools.Credentials`), refreshed where it has run out.

        What this call was given is redacted in its result, errors and logs. In a tool without `async`:
        `asyncio.run(ctx.credentials("github"))`.

        Raises:
            InturnError: The worker has none of this name, or it cannot be refreshed.
        """
        work = credentials_in(self.resources).get(name, tenant=self.tenant)
        if self._loop not in (None, asyncio.get_running_loop()):
            return self._secrets.add(await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop)))
        return self._secrets.add(await work)

    def progress(self, text: str, done: float | None = None, total: float | None = None) -> Awaitable[None]:
        """Report to readers of the session how far the call is. Await it; in a tool without `async`, just call it."""
        return run_on(self._loop, self._progress(text, done, total))

    def checkpoint(self, value: Any) -> Awaitable[None]:
        """Keep a JSON value: the next attempt finds it in `last_checkpoint`. Durable once it returns.

        Await it; in a tool without `async`, just call it.
        """
        return run_on(self._loop, self._checkpoint(value))

    def pin(self, text: str) -> Awaitable[None]:
        """Tell the model something that no summary of the conversation may lose; a session has 4 KiB for all of it.

        The same text again is fine. Await it; in a tool without `async`, just call it.

        Raises:
            ToolError: It is blank, holds a secret, or finds no room.
        """
        return run_on(self._loop, self._pin(text))

    def lock(self, name: str) -> Lock:
        """Hold a lock of the tenant's alone: `async with ctx.lock("order:17") as lock:`; `lock.fence` is its fence.

        The call waits in place, so what `locks=` of the tool can name belongs there. Waits that form a circle end with
        an error for one of the calls.
        """
        return Lock(self._locks, name, read=False)

    def read_lock(self, name: str) -> Lock:
        """Hold a lock together with other readers; see `lock`."""
        return Lock(self._locks, name, read=True)


_current: ContextVar[ToolContext] = ContextVar("inturn_tool_context")


@contextmanager
def running(context: ToolContext) -> Iterator[None]:
    """Make a context the current one: what a worker does around a tool."""
    token = _current.set(context)
    try:
        yield
    finally:
        _current.reset(token)


def current() -> ToolContext:
    """Return the context of the tool call that runs here, anywhere below the tool.

    Raises:
        InturnError: No tool call runs here.
    """
    try:
        return _current.get()
    except LookupError:
        raise InturnError("no tool call runs here: inturn.current() works inside a tool and what it calls") from None
