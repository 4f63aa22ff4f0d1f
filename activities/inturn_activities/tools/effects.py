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
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from temporalio import activity

from inturn import names
from inturn.errors import JournalUnavailable, Retry, ToolError
from inturn.journal import Claim, Journal, NewEntry, Position, Superseded, Want, new_token
from inturn.journal.retries import retry_while_unavailable
from inturn.keys import StepKey
from inturn.tools.calling import CallPolicy, attempt_call
from inturn.tools.checks import call_bounded
from inturn.tools.threads import Caller, NoThread, Threads, ThreadSlot
from inturn.turns.call_results import CRASH_LOOP, UNKNOWN, CallResult, FailedAttempt, error_result
from inturn_activities import failures, heartbeat
from inturn_activities.bounds import Bounds
from inturn_activities.commit import committed, uncancelled
from inturn_activities.leases import Leases
from inturn_activities.limits.stuck import watched
from inturn_activities.limits.waits import WaitedTooLong, Waits
from inturn_activities.telemetry.meters import count_retry


@dataclass(frozen=True, slots=True)
class Record:
    """What the last transaction writes: the ledger's result, and the journal's entries."""

    result: dict[str, Any]
    entries: Sequence[NewEntry] = ()


class Effect(Protocol):
    """Something to do once.

    Attributes:
        step: Its key.
        policy: How it may be run.
        wants: Locks and permits that it needs from its claim to its end.
        doing: What it does, for people.
        name: What is called: the tool, or `deliver`.
        decided: Its result, where it is not to run.
        question: The entries that ask a person; where there are any, it does not run before the answer.
    """

    step: StepKey
    policy: CallPolicy
    wants: Sequence[Want]
    doing: str
    name: str
    decided: CallResult | None
    question: Sequence[NewEntry]

    @property
    def resumable(self) -> bool:
        """Whether it kept a checkpoint: another attempt may go on from it."""
        ...

    async def run(self, claim: Claim, slot: ThreadSlot | None) -> Any:
        """Do it, and return its result."""
        ...

    async def record(self, result: CallResult) -> Record:
        """Return how its end is written down."""
        ...


@dataclass(frozen=True, slots=True)
class Finished:
    """The recorded end of the step."""

    result: dict[str, Any] | None
    head: int


class Effects:
    """Runs effects under the ledger."""

    def __init__(
        self, journal: Journal, leases: Leases, waits: Waits, threads: Threads, checks: Threads, bounds: Bounds
    ) -> None:
        """Use a journal, threads for bodies and others for lookups, and wait by `waits`."""
        self._journal = journal
        self._leases = leases
        self._waits = waits
        self._threads = threads
        self._checks = checks
        self._bounds = bounds

    async def once(self, effect: Effect, *, seen: Position | None = None) -> Finished:
        """Do it, or find that it was done; `seen`: only where that is the session's log.

        Raises:
            ApplicationError: Another attempt is to follow.
            Superseded: The claim went to somebody else.
        """
        decided, policy = effect.decided, effect.policy
        begin = decided is None and not effect.question and policy.lookup is None and not policy.threaded
        since = time.monotonic()
        try:
            claim = await self._claim(effect, decided, seen, begin=begin)
        except WaitedTooLong as late:
            decided, begin = error_result(str(late)), False
            claim = await self._claim(effect, decided, seen, begin=begin)
        if claim.status != "claimed":
            return Finished(claim.result, claim.head)
        if decided is None and effect.question:
            return await self._ask(effect, claim)
        doing = effect.doing if decided is None else decided.status
        with watched(effect.step, doing, every=self._waits.limits.stuck_after):
            async with self._leases.held(effect.step, claim.token, during=self._may_last(effect)):
                if decided is None:
                    result = await self._attempt(effect, claim, since if begin else None)
                else:
                    result = UNKNOWN if claim.began else decided  # it ran before, when it was not yet decided
                record = await effect.record(result)
                end = await committed(
                    lambda: self._journal.finish(effect.step, claim.token, record.result, record.entries),
                    patience=self._bounds.commit_patience,
                )
        return Finished(record.result, end.head)

    async def _ask(self, effect: Effect, claim: Claim) -> Finished:
        """Write the question and release the claim: nothing is done until a person has answered."""
        head = await self._journal.append(effect.step, claim.token, effect.question)
        await self._journal.release(effect.step, claim.token)
        return Finished({"status": "needs_approval"}, head)

    async def _claim(self, effect: Effect, decided: CallResult | None, seen: Position | None, *, begin: bool) -> Claim:
        bounds, step = self._bounds, effect.step
        wants, lasts = (effect.wants, effect.policy.timeout) if decided is None else ((), 0.0)
        margin = bounds.thread_wait if decided is None and effect.policy.threaded else 0.0

        token, unbegun = new_token(), heartbeat.unbegun()
        claimed = partial(
            self._journal.claim_call,
            step,
            lease=bounds.lease,
            begin=begin,
            token=token,
            seen=seen,
            wants=wants,
            lasts=lasts,
            scheduled=activity.info().current_attempt_scheduled_time.timestamp(),
            unbegun=unbegun,
        )
        try:
            claim = await self._claimed(step, wants, claimed, bounds.claim_wait - margin)
        except (JournalUnavailable, asyncio.CancelledError):  # it may have been committed all the same
            heartbeat.leave_unbegun(*unbegun, token)
            raise
        heartbeat.leave_unbegun()
        return claim

    async def _claimed(
        self, step: StepKey, wants: Sequence[Want], claim: Callable[[], Awaitable[Claim]], within: float
    ) -> Claim:
        """Claim, and wait another attempt's lease out."""
        bounds, start = self._bounds, time.monotonic()
        while True:
            left = within - (time.monotonic() - start)
            answer = await self._waits.claim(step, wants, claim, within=left)
            if answer.status != "leased":
                return answer
            if time.monotonic() >= start + bounds.leased_wait:
                raise failures.again(
                    names.NOT_YET, "an earlier attempt of this call still runs", after=bounds.lease, benign=True
                )
            await asyncio.sleep(min(max(answer.lease_left + 0.01, 0.05), bounds.lease))

    def _may_last(self, effect: Effect) -> float:
        """Seconds for which it is held: a body that cannot be stopped must not keep the next attempt out for ever."""
        return effect.policy.timeout + self._bounds.thread_wait + self._bounds.commit_patience

    async def _attempt(self, effect: Effect, claim: Claim, begun: float | None) -> CallResult:
        """Run the body, if it is to run. `begun`: before when the claim did not count as begun."""
        if claim.began and claim.attempts.counts.get("lost", 0) >= self._bounds.losses:
            return CRASH_LOOP
        try:
            if claim.began and not effect.policy.idempotent:
                known = await self._look_up(effect, claim)
                if known is not None:
                    return known
            async with self._slot(effect) as slot:
                # Who froze behind the claim looks again: its lease may be over, and another attempt at work.
                if begun is None or time.monotonic() - begun > self._bounds.lease / 2:
                    await self._begin(effect.step, claim.token)
                return await self._run(effect, claim, slot)
        except NoThread as error:
            return await self._without_thread(effect, claim, error)
        except asyncio.CancelledError:
            await self._hand_back(effect, claim)
            raise

    async def _begin(self, step: StepKey, token: str) -> None:
        """Mark that the body begins now; where that may have been committed without an answer, it did not."""
        begin = partial(self._journal.begin, step, token, lease=self._bounds.lease)
        try:
            await retry_while_unavailable(begin, patience=self._bounds.claim_patience)
        except (JournalUnavailable, asyncio.CancelledError):
            heartbeat.leave_unbegun(token)
            raise

    async def _without_thread(self, effect: Effect, claim: Claim, error: NoThread) -> CallResult:
        """Let another attempt follow; return the result of a call that has waited as long as for a lock."""
        waited = claim.attempts.lasted("outage")
        if waited > self._waits.limits.lock_timeout and not claim.began:
            return error_result(f"The call did not run: {error}. It gave up after {waited:.0f} s.")
        with contextlib.suppress(Exception):  # it never began: nobody need wonder what became of it
            if claim.began:
                await self._journal.release(effect.step, claim.token)
            else:
                await self._journal.fail(effect.step, claim.token, "outage", clean=True)
        raise error

    async def _run(self, effect: Effect, claim: Claim, slot: ThreadSlot | None) -> CallResult:
        ended = await attempt_call(lambda: _logged(effect, claim, slot), effect.policy)
        return await self._retry(effect, claim, ended) if isinstance(ended, FailedAttempt) else ended

    async def _retry(self, effect: Effect, claim: Claim, failed: FailedAttempt) -> CallResult:
        attempts, policy = claim.attempts.counts.get("unknown", 0) + 1, effect.policy
        if attempts > policy.retries and claim.attempts.lasted("unknown") >= policy.patience:
            return failed.result(attempts)
        await self._journal.fail(effect.step, claim.token, "unknown", clean=failed.clean)
        count_retry("tool", "unknown")
        if failed.after is None:
            raise failures.again(names.NOT_YET, failed.reason, after=failures.backoff(attempts))
        after = failures.asked_wait(failed.after)
        raise failures.again(names.NOT_YET, f"{failed.reason} (again in {after:.0f} s, as it asked)", after=after)

    async def _look_up(self, effect: Effect, claim: Claim) -> CallResult | None:
        """Find out what an earlier attempt did; `None`: nothing, so the body may run."""
        policy = effect.policy
        if policy.lookup is None:
            return UNKNOWN
        lookup = partial(policy.lookup, str(effect.step))
        try:
            found = await call_bounded(lookup, self._checks, _caller(effect), timeout=policy.timeout)
        except NoThread:
            raise
        except Exception as error:
            tried = claim.attempts.counts.get("outage", 0) + 1
            if tried > policy.retries:
                return UNKNOWN
            reason = f"cannot find out what an earlier attempt did: {failures.describe(error)}"
            await self._journal.fail(effect.step, claim.token, "outage")
            raise failures.again(names.NOT_YET, reason, after=failures.backoff(tried)) from None
        return None if found is None else CallResult("ok", found)

    async def _hand_back(self, effect: Effect, claim: Claim) -> None:
        """Release the claim for another worker, where this one was told to stop and going on is safe."""
        details = activity.cancellation_details()
        stopped = not effect.policy.threaded  # what runs in a thread cannot be stopped: its lease has to run out
        safe = effect.policy.idempotent or effect.resumable
        if details is not None and details.worker_shutdown and stopped and safe:
            with contextlib.suppress(Exception):  # else the next attempt waits the lease out
                await uncancelled(self._journal.release(effect.step, claim.token))

    @asynccontextmanager
    async def _slot(self, effect: Effect) -> AsyncIterator[ThreadSlot | None]:
        if not effect.policy.threaded:
            yield None
            return
        async with self._threads.slot(wait=self._bounds.thread_wait, caller=_caller(effect)) as slot:
            yield slot


def _caller(effect: Effect) -> Caller:
    session = effect.step.session
    return Caller(session.tenant, effect.name, session.session_id)


async def _logged(effect: Effect, claim: Claim, slot: ThreadSlot | None) -> Any:
    try:
        return await effect.run(claim, slot)
    except (ToolError, Retry, Superseded):
        raise
    except Exception:
        activity.logger.warning("the body of %s failed", effect.step, exc_info=True)
        raise
