"""Threads for what is not async: tools, and the small functions around them.

Invariant: at most so many run at once, nobody takes all of them, and a thread whose call was given up (it timed out,
or was stopped) makes room for another one: what hangs costs its own call. So many may hang beside; from then on they
keep their places until they really end, so that neither a flood of calls nor a hanging tool exhausts the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple, TypeVar

from inturn.tools.raised import settled

T = TypeVar("T")
OnLate = Callable[[Any, BaseException | None], None]
"""Takes the result, or the error, of a thread whose caller was cancelled."""

SURE: Final = 3
"""Places of a tool's that each session may have while there are any, however few are left."""

logger = logging.getLogger("inturn.worker")


class Caller(NamedTuple):
    """Whose call a thread runs."""

    tenant: str = ""
    tool: str = ""
    session: str = ""

    @property
    def of_tenant(self) -> tuple[str, str]:
        """The tool of that tenant, in whichever session."""
        return self.tenant, self.tool

    def __str__(self) -> str:
        """Return the tool and the session, for people."""
        return f"{self.tool or 'a function'} ({self.tenant}/{self.session})"


NOBODY: Final = Caller()


class NoThread(Exception):
    """No place became free for the whole of the wait."""


class Threads:
    """Places for threads. Threads are daemons: a hanging tool cannot keep a stopped worker alive.

    A tool of one tenant may have `share` of them and no more than are left for others; within these a session may have
    no more than are left for other sessions, and a tenant three quarters of all. So whoever hangs in all that it may
    have, the next one finds a place.
    """

    def __init__(self, size: int, *, share: int | None = None, spare: int = 0) -> None:
        """Allow `size` at once, `share` of them to one tool of a tenant, and `spare` that hang beside."""
        self._size = size
        self._share = min(share or size, size)
        self._spare = spare
        self._tools: Counter[tuple[str, str]] = Counter()
        self._sessions: Counter[Caller] = Counter()
        self._kept: Counter[Caller] = Counter()
        """Hung, in the place that its call had."""
        self._beside: Counter[Caller] = Counter()
        """Hung, beside the places."""
        self._waiting: list[tuple[Caller, asyncio.Future[None]]] = []

    @property
    def hung(self) -> Counter[Caller]:
        """Threads that go on after their calls were given up."""
        return self._kept + self._beside

    @property
    def full(self) -> bool:
        """Whether threads that hang are in the way of calls that have nothing to do with them."""
        if self._beside.total() >= self._spare and 2 * self._kept.total() >= self._size:
            return True
        tenants = Counter[str]()
        for caller, hanging in self._kept.items():
            tenants[caller.tenant] += hanging
        return max(tenants.values(), default=0) >= self._size - self._size // 4  # of that one nothing runs any more

    @asynccontextmanager
    async def slot(self, *, wait: float, caller: Caller = NOBODY) -> AsyncIterator[ThreadSlot]:
        """Hold a place, after at most `wait` seconds.

        Raises:
            NoThread: None became free.
        """
        await self._take(caller, wait)
        slot = ThreadSlot(self, caller)
        try:
            yield slot
        finally:
            slot.leave()

    async def call(self, fn: Callable[[], T], *, timeout: float, caller: Caller = NOBODY) -> T:
        """Run a function in a thread, and return its result; the wait for a place is part of the `timeout`.

        Raises:
            NoThread: No place became free in that time.
            TimeoutError: It took too long; its thread is given up.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        async with self.slot(wait=timeout, caller=caller) as slot:
            async with asyncio.timeout_at(end):
                made: T = await slot.run(lambda: _survivably(fn))
        return made

    def leave(self, caller: Caller) -> None:
        """Release a place, and give it to the first who may have it."""
        self._tools[caller.of_tenant] -= 1
        self._sessions[caller] -= 1
        if not self._tools[caller.of_tenant]:
            del self._tools[caller.of_tenant]
        if not self._sessions[caller]:
            del self._sessions[caller]
        for waiter in list(self._waiting):
            if waiter[1].done() or self._may(waiter[0]):
                self._waiting.remove(waiter)
                if not waiter[1].done():
                    self._hold(waiter[0])
                    waiter[1].set_result(None)

    def give_up(self, caller: Caller) -> Callable[[], None]:
        """Note that a thread's call was given up. Returns what to call when it ends."""
        room = self._spare - self._beside.total()
        own = _of_tenant(self._beside, caller)
        where = self._beside if room > 0 and own < max(room, SURE) else self._kept
        where[caller] += 1
        if where is self._beside:
            self.leave(caller)
        self._report(caller)

        def end() -> None:
            where[caller] -= 1
            if not where[caller]:
                del where[caller]
            if where is self._kept:
                self.leave(caller)

        return end

    async def _take(self, caller: Caller, wait: float) -> None:
        if self._may(caller):  # who waits may not: `leave` looks at each of them
            return self._hold(caller)
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiter = (caller, granted)
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(wait):
                return await granted
        except BaseException as error:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            if granted.done() and not granted.cancelled():  # both at once
                self.leave(caller)
            if isinstance(error, TimeoutError):
                raise NoThread(self._taken(caller)) from None
            raise

    def _may(self, caller: Caller) -> bool:
        free = self._size - self._tools.total()
        tool = self._tools[caller.of_tenant]
        others = max(self._share - tool, SURE)
        if tool >= min(self._share, free) or self._sessions[caller] >= others:
            return False
        tenant = sum(n for (tenant, _), n in self._tools.items() if tenant == caller.tenant)
        return tenant < self._size - self._size // 4

    def _hold(self, caller: Caller) -> None:
        self._tools[caller.of_tenant] += 1
        self._sessions[caller] += 1

    def _taken(self, caller: Caller) -> str:
        held, hung = self._tools[caller.of_tenant], sum(self.hung.values())
        hanging = f"; {hung} threads hang" if hung else ""
        if held < self._tools.total():
            return f"all threads that {caller.tool or 'this'} may have are taken: {held} of {self._size}{hanging}"
        return f"all {self._size} threads for tools are taken{hanging}"

    def _report(self, caller: Caller) -> None:
        hung = self.hung
        logger.warning("the thread of %s goes on after its call has ended; %d hang now", caller, hung.total())
        if self.full:
            most = ", ".join(f"{n} of {who}" for who, n in hung.most_common(3))
            logger.error("threads that hang fill this worker: %s. It needs a restart", most)
        elif _of_tenant(self._kept, caller) >= self._share:
            logger.error("all threads that %s may have hang: its calls wait here until the worker restarts", caller)


def _ended(fn: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    """Return what a function returned and raised: whatever it was belongs to the caller, who may ask what it says."""
    try:
        return fn(), None
    except (StopIteration, GeneratorExit) as stop:  # a future cannot hold one, nor a coroutine be given the other
        return None, RuntimeError(f"the tool raised {type(stop).__name__}: {stop}")
    except BaseException as raised:
        return None, settled(raised)


def _survivably(fn: Callable[[], Any]) -> Any:
    try:
        return fn()
    except Exception:
        raise
    except BaseException as error:  # it would end the event loop, or look like the caller's own cancel
        raise RuntimeError(f"it raised {type(error).__name__}") from error


def _of_tenant(counted: Counter[Caller], caller: Caller) -> int:
    return sum(n for other, n in counted.items() if other.of_tenant == caller.of_tenant)


class ThreadSlot:
    """One place; good for one run."""

    def __init__(self, threads: Threads, caller: Caller) -> None:
        """Hold a place of the threads'."""
        self._threads = threads
        self._caller = caller
        self._used = False
        self.given_up = False
        """Its call ended before the thread: nobody waits for what comes of it."""

    async def run(self, fn: Callable[[], Any], on_late: OnLate | None = None) -> Any:
        """Run a function in a thread, with the caller's context variables.

        A cancel stops the wait, not the thread: it is given up, and what comes of it then goes to `on_late`.
        """
        self._used = True
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()
        context = contextvars.copy_context()
        leave = self._leave

        def end(result: Any, error: BaseException | None) -> None:
            leave()
            if done.cancelled():
                if on_late is not None:
                    on_late(result, error)
            elif error is None:
                done.set_result(result)
            else:
                done.set_exception(error)

        def body() -> None:
            ended = _ended(lambda: context.run(fn))
            with contextlib.suppress(RuntimeError):  # the loop is closed: the worker has ended
                loop.call_soon_threadsafe(end, *ended)

        self._start(body)
        try:
            return await done
        except asyncio.CancelledError:
            if done.cancelled():
                self.given_up = True
                leave = self._threads.give_up(self._caller)
            raise

    def _start(self, body: Callable[[], None]) -> None:
        thread = threading.Thread(target=body, name=f"inturn-{self._caller.tool or 'tool'}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the system has no more
            self._leave()
            raise NoThread(f"the system starts no thread: {error}") from error

    def _leave(self) -> None:
        self._threads.leave(self._caller)

    def leave(self) -> None:
        """Release the place, if no thread took it over."""
        if not self._used:
            self._used = True
            self._threads.leave(self._caller)
