"""A step with an effect outside, at most once.

    claim ──► done, settled: answer from the record
      ├─────► leased: wait the other attempt out, claim again
      ├─────► waiting: a lock or a permit is not free; come back, or wait in place as the first in line
      ├─────► an earlier attempt began and left no result
      │         idempotent: run it again ─ lookup: ask what it did ─ else: the outcome is unknown, and stays so
      └─────► begin ► body (bounded in time) ► record, in one transaction that no cancel cuts

Invariant: a body runs only under a claim that was good a moment before, its result counts only under that claim, and
what is not known is never guessed.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

from temporalio import activity

from inturn import names
from inturn.errors import Retry, ToolError
from inturn.journal import Claim, Journal, NewEntry, Superseded, Want
from inturn.keys import StepKey
from inturn_activities import failures
from inturn_activities.bounds import Bounds
from inturn_activities.commit import committed, uncancelled
from inturn_activities.heartbeat import Heartbeat, beat_for
from inturn_activities.limits.stuck import Watch, watched
from inturn_activities.limits.waits import WaitedTooLong, Waits
from inturn_activities.telemetry.meters import count_retry
from inturn_activities.tools.threads import NoThread

Status = Literal["ok", "error", "unknown", "denied", "timeout", "settled"]


@dataclass(frozen=True, slots=True)
class Ending:
    """How the body ended. `value` is its result; for all but `ok` a text that says what happened."""

    status: Status
    value: Any = None


UNKNOWN = Ending(
    "unknown",
    "The outcome is unknown: an earlier attempt of this call began and left no result. Its effect may or may not have "
    "happened. It was not repeated; find out before you try again.",
)


DEADLY = Ending(
    "unknown",
    "The outcome is unknown: many attempts of this call began and none came back. It may end the process that runs it. "
    "It is not tried again.",
)


@dataclass(frozen=True, slots=True)
class Effect:
    """Something to do once.

    Attributes:
        body: Does it; gets the claim and a resource from `room`, where there is one.
        timeout: Seconds the body may take.
        retries: Further attempts, where trying again is safe.
        idempotent: Trying again is always safe.
        lookup: Tells what an earlier attempt did: its result, or `None` for nothing.
        doing: What it does, for people.
        wants: Locks and permits that it needs from its claim to its end.
        room: What the body needs before it may begin (a thread).
        kept: Tells whether the body kept a checkpoint: another attempt may go on from it.
    """

    body: Callable[[Claim, Any], Awaitable[Any]]
    timeout: float
    retries: int = 0
    idempotent: bool = False
    lookup: Callable[[], Awaitable[Any]] | None = None
    doing: str = "its body runs"
    wants: Sequence[Want] = ()
    room: Callable[[], AbstractAsyncContextManager[Any]] | None = None
    kept: Callable[[], bool] = bool


@dataclass(frozen=True, slots=True)
class Entered:
    """What the last transaction writes: the ledger's result, and the journal's entries."""

    result: dict[str, Any]
    entries: Sequence[NewEntry] = ()


Enter = Callable[[Ending], Awaitable[Entered]]
"""Says how an ending is written down."""


@dataclass(frozen=True, slots=True)
class Settled:
    """The recorded end of the step."""

    result: dict[str, Any] | None
    head: int
    replayed: bool = False
    """It was in the ledger already."""


class Effects:
    """Runs effects under the ledger."""

    def __init__(self, journal: Journal, waits: Waits, bounds: Bounds) -> None:
        """Use a journal, and wait by `waits`."""
        self._journal = journal
        self._waits = waits
        self._bounds = bounds

    async def once(self, step: StepKey, effect: Effect | Ending, enter: Enter) -> Settled:
        """Do it, or find that it was done. An `Ending` instead of an effect is recorded as it is.

        Raises:
            ApplicationError: Another attempt is to follow.
            Superseded: The claim went to somebody else.
        """
        begin = isinstance(effect, Effect) and effect.lookup is None and effect.room is None
        try:
            claim = await self._claim(step, effect, begin=begin)
        except WaitedTooLong as late:
            effect, begin = Ending("error", str(late)), False
            claim = await self._claim(step, effect, begin=begin)
        if claim.status != "claimed":
            return Settled(claim.result, claim.head, replayed=True)
        doing = effect.doing if isinstance(effect, Effect) else effect.status
        watching = watched(step, doing, every=self._waits.limits.stuck_after)
        with watching as watch:
            async with self._beating(step, claim, effect, watch):
                ending = await self._ending(step, claim, effect, begun=begin)
                entered = await enter(ending)
                head = await committed(
                    lambda: self._journal.finish(step, claim.token, entered.result, entered.entries),
                    patience=self._bounds.commit_patience,
                )
        return Settled(entered.result, head)

    async def _claim(self, step: StepKey, effect: Effect | Ending, *, begin: bool) -> Claim:
        bounds = self._bounds
        body = effect if isinstance(effect, Effect) else None
        wants, lasts = (body.wants, body.timeout) if body else ((), 0.0)
        margin = bounds.thread_wait if body and body.room else 0.0

        async def claimed() -> Claim:
            return await self._journal.claim_call(step, lease=bounds.lease, begin=begin, wants=wants, lasts=lasts)

        start = time.monotonic()
        end = start + bounds.leased_wait
        while True:
            left = bounds.claim_wait - margin - (time.monotonic() - start)
            claim = await self._waits.claim(step, wants, claimed, within=left)
            if claim.status != "leased":
                return claim
            if time.monotonic() >= end:
                raise failures.again(
                    names.NOT_YET, "an earlier attempt of this call still runs", after=self._bounds.lease, benign=True
                )
            left = claim.lease_until - time.time()
            await beat_for(min(max(left + 0.01, 0.05), self._bounds.lease), every=self._bounds.beat)

    def _beating(self, step: StepKey, claim: Claim, effect: Effect | Ending, watch: Watch) -> Heartbeat:
        bounds = self._bounds
        may_last = 0.0 if isinstance(effect, Ending) else effect.timeout + bounds.thread_wait
        end = time.monotonic() + may_last + bounds.commit_patience

        async def renew() -> bool:
            # A body that cannot be stopped must not keep the next attempt waiting for ever.
            if time.monotonic() > end:
                return True
            return await self._journal.renew(step, claim.token, lease=bounds.lease)

        return Heartbeat(renew, every=bounds.beat, lease=bounds.lease, watch=watch)

    async def _ending(self, step: StepKey, claim: Claim, effect: Effect | Ending, *, begun: bool) -> Ending:
        if isinstance(effect, Effect):
            return await self._attempt(step, claim, effect, begun=begun)
        return UNKNOWN if claim.began else effect  # it ran before, when the tool was still there

    async def _attempt(self, step: StepKey, claim: Claim, effect: Effect, *, begun: bool) -> Ending:
        if claim.began and claim.attempts.counts.get("lost", 0) >= self._bounds.losses:
            return DEADLY
        if claim.began and not effect.idempotent:
            known = await self._look_up(step, claim, effect)
            if known is not None:
                return known
        try:
            async with self._room(effect) as room:
                if not begun:
                    await self._journal.begin(step, claim.token, lease=self._bounds.lease)
                return await self._run(step, claim, effect, room)
        except NoThread:
            with contextlib.suppress(Exception):  # it never began: nobody need wonder what became of it
                await self._journal.release(step, claim.token)
            raise
        except asyncio.CancelledError:
            await self._hand_back(step, claim, effect)
            raise

    async def _run(self, step: StepKey, claim: Claim, effect: Effect, room: Any) -> Ending:
        limit = asyncio.timeout(effect.timeout)
        try:
            async with limit:
                return Ending("ok", await effect.body(claim, room))
        except Superseded:
            raise  # found out by what the body reports
        except ToolError as error:
            return Ending("error", str(error))
        except Retry as error:
            return await self._retry(step, claim, effect, error, after=error.after)
        except asyncio.CancelledError as error:
            if _cancelled():
                raise
            return await self._failed(step, claim, effect, error)
        except Exception as error:
            if limit.expired() and isinstance(error, TimeoutError):
                return Ending("timeout", _timed_out(effect))
            activity.logger.warning("the body of %s failed", step, exc_info=True)
            return await self._failed(step, claim, effect, error)

    async def _failed(self, step: StepKey, claim: Claim, effect: Effect, error: BaseException) -> Ending:
        if effect.idempotent:
            return await self._retry(step, claim, effect, error, after=None)
        said = failures.describe(error)
        return Ending("error", f"{said}\nThe call failed on the way: part of its effect may have happened.")

    async def _retry(
        self, step: StepKey, claim: Claim, effect: Effect, error: BaseException, *, after: float | None
    ) -> Ending:
        tried = claim.attempts.counts.get("unknown", 0) + 1
        said = str(error) if isinstance(error, Retry) else failures.describe(error)
        if tried > effect.retries:
            return Ending("error", f"{said} ({tried} attempts)" if tried > 1 else said)
        await self._journal.fail(step, claim.token, "unknown", clean=isinstance(error, Retry))
        count_retry("tool", "unknown")
        raise failures.again(names.NOT_YET, said, after=failures.backoff(tried) if after is None else after)

    async def _look_up(self, step: StepKey, claim: Claim, effect: Effect) -> Ending | None:
        """Find out what an earlier attempt did; `None`: nothing, so the body may run."""
        if effect.lookup is None:
            return UNKNOWN
        try:
            async with asyncio.timeout(effect.timeout):
                found = await effect.lookup()
        except Exception as error:
            tried = claim.attempts.counts.get("outage", 0) + 1
            if tried > effect.retries:
                return UNKNOWN
            said = f"cannot find out what an earlier attempt did: {failures.describe(error)}"
            await self._journal.fail(step, claim.token, "outage")
            raise failures.again(names.NOT_YET, said, after=failures.backoff(tried)) from None
        return None if found is None else Ending("ok", found)

    async def _hand_back(self, step: StepKey, claim: Claim, effect: Effect) -> None:
        """Let another worker go on at once, where this one was told to stop and going on is safe."""
        details = activity.cancellation_details()
        stopped = effect.room is None  # what runs in a thread cannot be stopped: its lease has to run out
        if details is not None and details.worker_shutdown and stopped and (effect.idempotent or effect.kept()):
            with contextlib.suppress(Exception):  # else the next attempt waits the lease out
                await uncancelled(self._journal.release(step, claim.token))

    @asynccontextmanager
    async def _room(self, effect: Effect) -> AsyncIterator[Any]:
        if effect.room is None:
            yield None
            return
        async with effect.room() as room:
            yield room


def _cancelled() -> bool:
    """Tell whether the step itself was cancelled, rather than something that the body awaited."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _timed_out(effect: Effect) -> str:
    said = f"The call took longer than its {effect.timeout:g} s and was stopped."
    if effect.idempotent:
        return said
    return f"{said} Its outcome is unknown: its effect may or may not have happened."
