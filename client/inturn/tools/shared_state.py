"""Shared state: named values with versions, and queues with leased claims.

Invariant: a change happens once. Inside a tool its key is the call's key plus the operation's ordinal within the body,
recorded in the transaction of the change: an attempt that follows gets the recorded result, and an attempt that lost
its call changes nothing. Outside of tools `key=` gives the same; without it one that is tried again by itself, when
the journal was away for a moment, is done once.

`ctx.state` is the session's, `ctx.shared` and `client.shared` are the tenant's; the operations are the same. What
tools should know of attempts:

- Operations come in the same order on every attempt of a call. Another one in the place of a recorded one is a
  `ToolError` that names both; where the order is not certain, `key=` names an operation instead of its ordinal.
- `get` reads the present and is not recorded. Decide by what a change gives (`put_if_absent`, `update`, `put` with a
  version): an attempt that follows gets the same answer. Only a refusal after which nothing was changed is asked anew.
- A tool without `async` calls them with `asyncio.run`: `asyncio.run(ctx.shared.incr("refunds"))`.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

from inturn.errors import JournalUnavailable, VersionConflict
from inturn.journal import new_token
from inturn.journal.retries import retry_while_unavailable
from inturn.journal.state.changes import (
    Change,
    ClaimNext,
    Complete,
    Delete,
    Done,
    Incr,
    Operation,
    Push,
    Put,
    PutIfAbsent,
    Release,
    Scope,
    Update,
    describe,
)
from inturn.tools.call_operations import CallOperations
from inturn.values import QueueClaim, Versioned

if TYPE_CHECKING:
    from inturn.journal import SessionJournal

T = TypeVar("T")

MAX_VALUE: Final = 256 * 1024
"""Bytes of a value or an item, as JSON."""
MAX_NAME: Final = 200
"""Characters of a name, a queue's name, a key."""
MAX_LEASE: Final = 24 * 3600.0
"""Seconds."""
PATIENCE: Final = 3.0
"""Seconds for which an operation outside of tools is tried again, under one key: the answer may have been lost."""
_REPEATED: Final = (ClaimNext, Release)
"""What needs no key for that: a second claim leaves the first to its lease, and a second release does nothing."""
FIRST_PAUSE: Final = 0.01
LONGEST_PAUSE: Final = 2.0
"""Seconds between two tries of an update, at most: a hundred that begin at once have to spread to all come through."""


class State:
    """The state of one session, or of one tenant.

    Every call may raise `JournalUnavailable`, and a `ValueError` for what cannot be kept: names have 1 to 200
    characters, values are JSON of at most 256 KiB.
    """

    def __init__(
        self, journal: Callable[[], Awaitable[SessionJournal]] | None, scope: Scope, call: CallOperations | None = None
    ) -> None:
        """Keep it in a journal; within a call each change happens once."""
        self._journal = journal
        self._scope = scope
        self._call = call

    def __repr__(self) -> str:
        """Return whose it is."""
        return f"<{self._scope} of {self._scope.tenant}{'/' * bool(self._scope.session_id)}{self._scope.session_id}>"

    def within(self, call: CallOperations) -> State:
        """Return the same state for the operations of a call."""
        return State(self._journal, self._scope, call)

    async def get(self, name: str) -> Versioned | None:
        """Return a value with its version; `None` where there is none, or where it has expired.

        ```python
        found = await ctx.state.get("draft")
        text = found.value if found else ""
        ```
        """
        _check("name", name)
        journal = await self._open()
        found = await self._persist(lambda: journal.value(self._scope, name))
        return None if found is None else Versioned(value=found[0], version=found[1])

    async def incr(self, name: str, by: int = 1, *, key: str | None = None) -> int:
        """Add to a whole number and return the sum; a number that is absent counts as 0. It keeps its expiry.

        ```python
        if await ctx.shared.incr("refunds:today") > 100:
            raise ToolError("Enough for today.")
        ```

        Raises:
            ValueError: The value is no whole number.
        """
        if type(by) is not int:
            raise TypeError(f"by is {by!r:.60}, it must be a whole number")
        total: int = await self._change(Incr(name, by), key)
        return total

    async def put(self, name: str, value: Any, *, version: int | None = None, key: str | None = None) -> Versioned:
        """Set a value and return it with its version. It does not expire.

        ```python
        seen = await client.shared.get("prices")
        await client.shared.put("prices", {"kettle": 2_450}, version=seen.version)
        ```

        Args:
            name: Its name.
            value: Anything that JSON has.
            version: Only where the value is at this version; 0: only where there is none.
            key: Names this operation; see the module.

        Raises:
            VersionConflict: The value is at another version.
        """
        return Versioned.model_validate(await self._change(Put(name, _text(value), version), key))

    async def update(
        self, name: str, fn: Callable[[Any], Any], *, attempts: int = 10, key: str | None = None
    ) -> Versioned:
        """Compute a new value from the one that is there, again where somebody else was faster. It keeps its expiry.

        ```python
        await ctx.shared.update("tags", lambda tags: sorted({*(tags or []), "vip"}))
        ```

        Args:
            name: Its name.
            fn: Takes the value (`None` where there is none) and gives the new one; async or not. It may be called
                several times, so it should change nothing itself. What it raises ends the update.
            attempts: How often it is tried.
            key: Names this operation; see the module.

        Raises:
            VersionConflict: Others were faster every time.
        """
        if attempts < 1:
            raise ValueError(f"attempts is {attempts}, it must be at least 1")
        _check("name", name)
        operation = self._operation(key)
        journal = await self._open()
        what = describe(self._scope, Update(name, "", 0))
        done = await self._persist(lambda: journal.recall(self._scope, operation, what))
        tried = 0
        while done is None or (done.conflict is not None and tried < attempts):
            if tried:
                await asyncio.sleep(random.uniform(0, min(FIRST_PAUSE * 2**tried, LONGEST_PAUSE)))
            tried += 1
            seen = await self.get(name)
            made = fn(seen.value if seen else None)
            text = _text(await made if isinstance(made, Awaitable) else made)
            done = await self._done(Update(name, text, seen.version if seen else 0), operation)
        return Versioned.model_validate(_value(done))

    async def put_if_absent(self, name: str, value: Any, ttl: float | None = None, *, key: str | None = None) -> bool:
        """Set a value where there is none, and return whether that was so. After `ttl` seconds it is gone.

        ```python
        if not await ctx.shared.put_if_absent(f"greeted:{user}", True, ttl=24 * 3600):
            return "greeted today already"
        ```
        """
        if ttl is not None and not 0 < ttl < math.inf:
            raise ValueError(f"ttl is {ttl} s, it must be above 0")
        return bool(await self._change(PutIfAbsent(name, _text(value), ttl), key))

    async def delete(self, name: str, *, version: int | None = None, key: str | None = None) -> bool:
        """Delete a value, and return whether there was one.

        ```python
        await ctx.state.delete("draft")
        ```

        Raises:
            VersionConflict: The value is at another version than the one given.
        """
        return bool(await self._change(Delete(name, version), key))

    async def push(self, queue: str, item: Any, *, key: str | None = None) -> None:
        """Put an item at the end of a queue.

        ```python
        await client.shared.push("orders", {"order_id": "1001"}, key="order-1001")
        ```
        """
        await self._change(Push(queue, _text(item)), key)

    async def claim(self, queue: str, lease: float = 60, *, key: str | None = None) -> QueueClaim | None:
        """Claim the first item of a queue that nobody holds, for `lease` seconds; `None` where there is none.

        ```python
        claim = await ctx.shared.claim("orders", lease=30)
        if claim is not None:
            await pack(claim.item)
            await ctx.shared.complete(claim)
        ```

        An item comes back to its old place when its claimer neither completes nor releases it in time. An attempt
        that follows takes up the claim of the one before, for another lease, as long as nobody else has the item.
        """
        if not 0 < lease <= MAX_LEASE:
            raise ValueError(f"lease is {lease} s, it must be above 0 and at most a day")
        found: dict[str, Any] | None = await self._change(ClaimNext(queue, float(lease)), key)
        if found is None:
            return None
        return QueueClaim.model_validate({**found, "until": datetime.fromtimestamp(found["until"], UTC)})

    async def complete(self, claim: QueueClaim, *, key: str | None = None) -> None:
        """Take a claimed item out of its queue for good.

        ```python
        await ctx.shared.complete(claim)
        ```

        Raises:
            VersionConflict: The claim is over, and the item with somebody else: the lease was too short for the work.
        """
        await self._change(Complete(claim.queue, claim.seq, claim.token), key)

    async def release(self, claim: QueueClaim, *, key: str | None = None) -> None:
        """Release a claimed item at once, to its old place. A claim that is over already is left alone.

        ```python
        await ctx.shared.release(claim)
        ```
        """
        await self._change(Release(claim.queue, claim.seq, claim.token), key)

    async def _change(self, change: Change, key: str | None) -> Any:
        _check("name", change.name)
        return _value(await self._done(change, self._operation(key, once=type(change) not in _REPEATED)))

    async def _done(self, change: Change, operation: Operation) -> Done:
        if self._call is not None:
            self._call.check(change, operation)
        journal = await self._open()
        return await self._persist(lambda: journal.change(self._scope, change, operation))

    def _operation(self, key: str | None, *, once: bool = True) -> Operation:
        if key is not None:
            _check("key", key)
        if self._call is not None:
            return self._call.next(key)
        return Operation(key=key or (f"auto:{new_token()}" if once else None))

    async def _persist(self, transaction: Callable[[], Awaitable[T]]) -> T:
        if self._call is not None:
            return await self._call.run(transaction)
        return await retry_while_unavailable(transaction, patience=PATIENCE)

    async def _open(self) -> SessionJournal:
        if self._journal is None:
            raise JournalUnavailable(
                "this ToolContext was made without shared state: inturn.testing.context() makes one that has it"
            )
        return await self._journal()


def _value(done: Done) -> Any:
    if done.conflict is not None:
        raise VersionConflict(done.conflict)
    return done.value


def _check(what: str, name: str) -> None:
    if not isinstance(name, str):
        raise TypeError(f"a {what} is a text, not {name!r:.60}")
    if not 1 <= len(name) <= MAX_NAME or "\0" in name:
        raise ValueError(f"{what} {name!r:.60} must have 1 to {MAX_NAME} characters, and no NUL")
    name.encode()  # a lone surrogate is a UnicodeEncodeError, which is a ValueError


def _text(value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"shared state keeps what JSON has: {error}") from error
    size = len(text.encode())
    if size > MAX_VALUE:
        raise ValueError(f"a value of {size:,} bytes is too large: the limit is {MAX_VALUE:,}")
    return text
