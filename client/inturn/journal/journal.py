"""The journal as workers see it: with the ledger that makes each step happen once, and the limits.

Invariant: as in `reader.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

from inturn.journal.ledger import decisions, remembering, renewals, serving, steps, stops
from inturn.journal.ledger.renewals import Claims
from inturn.journal.limits import deadlocks, grants, places
from inturn.journal.limits.requests import Deadlock, ResourceWait, Victim, Want
from inturn.journal.live import deltas, watches
from inturn.journal.log import blobs, position
from inturn.journal.money.requests import Paying
from inturn.journal.money.reservations import SetAside
from inturn.journal.reader import P, Rule, SessionJournal, T
from inturn.journal.store.store import GuardFailed
from inturn.journal.values import (
    Attempts,
    Claim,
    FailureClass,
    NewDelta,
    NewEntry,
    Outcome,
    Position,
    Recorded,
    Serving,
    Written,
    new_token,
)
from inturn.keys import SessionKey, StepKey, TurnKey


class Journal(SessionJournal):
    """The log of sessions, with the ledger of their steps.

    The ledger's rules (one row per step):
      1. A step's first claim makes its row; `done` and `settled` rows answer with their record for ever.
      2. A later claim takes the row over with a new token; the older token can commit nothing from then on.
      3. A model step's claim raises the session's fence, and its last append needs that fence.
      4. A call whose body began is not taken over before its lease ran out: it answers `leased` until then.
    """

    async def check(self, session: SessionKey, identity: str, head: int) -> bool:
        """Check that this is the log that a session knows, up to `head` at least.

        Returns:
            Whether it is another, or shorter, and was accepted for the session.

        Raises:
            JournalBehind: It is another, or shorter, and was not: no step of the session may run here.
        """
        return await self._read(position.check, session, identity, head)

    async def claim_model(
        self,
        step: StepKey,
        opening: Sequence[NewEntry] = (),
        *,
        token: str = "",
        seen: Position | None = None,
        after: int | None = None,
        types: Sequence[str] = (),
        wants: Sequence[Want] = (),
        lease: float = 0.0,
        scheduled: float = 0.0,
        paying: Paying | None = None,
    ) -> Claim:
        """Claim a model step: raise the session's fence, and append the opening entries (those whose keys are new).

        Answers `closed` for a closed session and `ended` for a turn whose outcome is recorded (a `parked` outcome of an
        earlier redrive does not count), before it looks at the row; it never answers `leased`.

        Args:
            step: The step.
            opening: The entries that it begins with.
            token: The claim's own, made once by who may have to try it again: with the same one it is the same claim.
            seen: Claim only where this is the log that the session knows, up to the head that it has seen.
            after: Return the entries of `types` behind this seq, the claim's own among them: who has read so far needs
                no read of its own.
            types: Of which entries.
            wants: Claim only with all of these, for `lease` seconds; else answer `waiting` and keep a ticket.
            lease: Seconds for which it is held.
            scheduled: When this attempt was scheduled, in seconds since 1970 by the clock that schedules them all: one
                that was held up on its way takes nothing away from a later one that lives.
            paying: Set money aside for the request, as much as it can cost at worst, or for a shorter answer
                (`Claim.reserved`). Where it is set aside for others, who will not need all of it: answer `waiting`.

        Raises:
            Superseded: A later attempt holds it.
            JournalBehind: The log is another, or shorter; `check` says whether it was accepted.
        """
        claim = partial(
            steps.claim_model,
            step=step,
            opening=opening,
            token=token or new_token(),
            seen=seen,
            after=after,
            types=types,
            wants=wants,
            lease=lease,
            scheduled=scheduled,
            paying=paying,
        )
        # A power cut that takes the claim takes the attempt with it; the next one claims and appends the same again.
        return await self._claimed(claim, durable=False)

    async def claim_call(
        self,
        step: StepKey,
        *,
        lease: float,
        begin: bool = True,
        token: str = "",
        seen: Position | None = None,
        wants: Sequence[Want] = (),
        lasts: float = 0.0,
        scheduled: float = 0.0,
        unbegun: Sequence[str] = (),
    ) -> Claim:
        """Claim a tool call (or a delivery). With `begin` its body counts as begun from here, for `lease` seconds.

        `token`, `seen`, `scheduled`: as for `claim_model`. `unbegun`: tokens of earlier attempts that ended without the
        answer to their claim: where one of them holds the row, its body surely never began.

        Raises nothing for a row that another attempt holds: it answers `leased` while that one's body may run. With
        `wants` it is claimed only when it gets all of them, else it answers `waiting` and keeps a ticket; it should
        be done in `lasts` seconds.

        Raises:
            Superseded, JournalBehind: As `claim_model` does.
        """
        token = token or new_token()
        claim = partial(
            steps.claim_call,
            step=step,
            lease=lease,
            begin=begin,
            token=token,
            seen=seen,
            wants=wants,
            lasts=lasts,
            scheduled=scheduled,
            unbegun=unbegun,
        )
        return await self._claimed(claim)

    async def _claimed(self, claim: Callable[..., Claim], *, durable: bool = True) -> Claim:
        """Claim as if permits, rates and money were there, and with a look at them where they are not."""
        try:
            try:
                return await self._store.write(partial(claim, hopeful=True), durable=durable)
            except GuardFailed:
                return await self._store.write(claim, durable=durable)
        except SetAside as found:
            return Claim("waiting", waiting=found.waiting)

    async def begin(self, step: StepKey, token: str, *, lease: float) -> None:
        """Mark that the body begins now.

        Raises:
            Superseded: The token is no longer the step's.
        """
        self._held(step, await self._write(steps.begin, step, token, lease=lease))

    async def renew(self, step: StepKey, token: str, *, lease: float) -> bool:
        """Hold the claim for `lease` more seconds; `False` when it is no longer ours."""
        return await self._write_soon(steps.renew, step, token, lease=lease)

    async def renew_all(self, claims: Claims, *, lease: float) -> list[tuple[StepKey, str]]:
        """Hold claims (steps with their tokens) for `lease` more seconds; return those that are no longer ours."""
        # A power cut that takes a renewal takes its holder with it.
        lost = await self._store.write(
            lambda tx: renewals.renew_all(tx, claims, lease=lease), durable=False, urgent=True
        )
        return [claim for claim in lost if not await self._write_soon(steps.restore, *claim, lease=lease)]

    async def keep(self, step: StepKey, token: str, checkpoint: Any) -> None:
        """Keep a checkpoint for the step's next attempt.

        Raises:
            Superseded: The token is no longer the step's.
        """
        self._held(step, await self._write(steps.keep, step, token, checkpoint))

    async def append(
        self, step: StepKey, token: str, entries: Sequence[NewEntry], *, usage: Mapping[str, float] | None = None
    ) -> int:
        """Append entries while the step runs; return the new head. `usage`: what the step used for them, see `fail`.

        Raises:
            Superseded: The token is no longer the step's.
        """
        return self._held(step, await self._write(steps.append, step, token, entries, usage))

    async def remember(self, step: StepKey, token: str, name: str, text: str, version: int) -> int:
        """Write a document that the session's agent remembers, at the version that the call knows; return the new one.

        Raises:
            Superseded: The token is no longer the step's.
            Changed: The document is at another version.
            Full: There is no room for another document.
        """
        return self._held(step, await self._write(remembering.remember, step, token, name, text, version))

    async def finish(
        self,
        step: StepKey,
        token: str,
        result: dict[str, Any],
        entries: Sequence[NewEntry] = (),
        outcome: Outcome | None = None,
        *,
        paid: int | None = None,
    ) -> Position:
        """Append the step's last entries and record its result, in one transaction; return where the log stands then.

        A result that comes after the row was settled is kept as the row's `late_result`. `paid`: nanodollars, where
        money was set aside for the attempt; they count however late they are told, as in `fail` and `release`.

        Raises:
            Superseded: The token is no longer the step's, or (a model step) the session's fence moved on.
        """
        return self._held(step, await self._write_soon(steps.finish, step, token, result, entries, outcome, paid=paid))

    async def fail(
        self,
        step: StepKey,
        token: str,
        failure: FailureClass,
        *,
        clean: bool = False,
        place: int | None = None,
        usage: Mapping[str, float] | None = None,
        paid: int | None = None,
    ) -> Attempts:
        """Count a failed attempt and release its claim; `clean`: its body surely did nothing, so it never began.

        The attempt is over, so no later one waits out its lease; failing it again counts nothing. `place`: bytes after
        which its answer broke off; `usage`: what it used all the same, by the names of `Usage`.

        Raises:
            Superseded: The token is no longer the step's: only the attempt that holds it may fail it.
        """
        counted = self._write_soon(steps.fail, step, token, failure, clean=clean, place=place, usage=usage, paid=paid)
        return self._held(step, await counted)

    async def release(
        self,
        step: StepKey,
        token: str,
        *,
        usage: Mapping[str, float] | None = None,
        said: str = "",
        paid: int | None = None,
    ) -> None:
        """Release a claim whose body surely did nothing: the next attempt need not wait or wonder.

        `usage`: what it used all the same. `said`: what a model's answer had said; where its turn ends here, the entry
        of that end has it.
        """
        await self._write_soon(steps.release, step, token, usage=usage, said=said, paid=paid)

    async def record(
        self,
        session: SessionKey,
        recorded: Sequence[Recorded],
        *,
        settle: Sequence[TurnKey] = (),
        close: bool = False,
        cancelled: str | None = None,
        number: str | None = None,
        unclaimed: bool = False,
    ) -> Written:
        """Write what a session decided, in one transaction; return where the log stands then.

        First the open steps of the turns in `settle`, or only those of that `number`: done stays done, all else becomes
        `settled`, and each tool_use without a result gets an error result: "interrupted", or "cancelled" with that text
        where one is given. With `unclaimed` this touches only calls that no attempt holds and whose bodies never began:
        those that wait. Without `number`, where all decisions are written already, nothing is settled: an earlier
        attempt did that, and what is open now began later. Then the decisions whose keys are new, in order. An outcome
        never replaces one of the same or a later redrive, other than `parked` -> `discarded`. `close` appends
        `session.closed` last.
        """
        write = self._write_soon if settle else self._write
        return await write(decisions.record, session, recorded, settle, close, cancelled, number, unclaimed)

    async def put_blob(self, session: SessionKey, data: bytes) -> str:
        """Keep bytes and return their reference (by content: the same bytes have the same one)."""
        return await self._write(blobs.put, session, data)

    # Limits. What a step holds is its own until its row is done, settled or released; `renew` holds it for longer.

    async def lacks(self, step: StepKey, wants: Sequence[Want], *, part: str = "") -> ResourceWait | None:
        """Return what a waiter still lacks; `None`: it may have it, or its ticket is gone. Only looks."""
        return await self._read(grants.look, places.Caller(step, part), wants)

    async def lock(self, step: StepKey, token: str, want: Want, *, part: str, lease: float) -> int | ResourceWait:
        """Take a lock for a part of a running body; return its fence, or what it waits for.

        Raises:
            Superseded: The token is no longer the step's.
        """
        found = await self._write(steps.lock, step, token, want, part=part, lease=lease)
        return found if isinstance(found, ResourceWait) else self._held(step, found)

    async def leave(self, step: StepKey, *, part: str = "") -> None:
        """Release what a part of a step holds, or its tickets; without `part` those of the step's claim."""
        await self._write_soon(places.leave, step, part)

    async def break_deadlock(self, step: StepKey, victim: Victim) -> Deadlock | None:
        """Break the cycle of waits that a call is part of, if there is one that was not found before."""
        if not await self._read(deadlocks.cycle, step.session.tenant, places.call_of(step)):
            return None
        return await self._write(deadlocks.break_cycle, step, victim)

    # Previews. Best effort: what is lost of them is no loss.

    async def publish(self, batch: Sequence[NewDelta]) -> None:
        """Publish what models say now; rows of attempts that do not hold their steps any more are dropped."""
        await self._store.write(lambda tx: deltas.publish(tx, batch), durable=False)

    async def watched(self, sessions: Collection[SessionKey]) -> set[SessionKey]:
        """Return which of these sessions somebody looks at."""
        return await self._read(watches.watched, sessions)

    async def forget_deltas(self, over: Collection[tuple[SessionKey, int]], *, age: float | None = None) -> None:
        """Delete the previews of sessions up to a fence, and with `age` (in seconds) some of those that are older."""
        await self._store.write(lambda tx: deltas.forget(tx, over, age=age), durable=False)

    # Workers, and what they serve.

    async def stop(self, step: StepKey) -> None:
        """Write down that a step is being stopped, for the worker that runs it."""
        await self._store.write(lambda tx: stops.put(tx, step), durable=False)

    async def register(self, rows: Sequence[Serving]) -> None:
        """Write what a worker serves; it is taken for gone 20 s after the last time."""
        await self._store.write(lambda tx: serving.register(tx, rows), durable=False)

    async def retire(self, worker: str) -> None:
        """Forget what a worker serves: it ends."""
        await self._write(serving.retire, worker)

    async def lacking(self, step: StepKey) -> float:
        """Note that a step finds no worker that can do it; return for how many seconds that has been so."""
        return await self._write(serving.lacking, step)

    async def _write_soon(self, rule: Rule[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Write what ends a claim or holds it: it waits for nobody who waits for a lock."""
        return await self._store.write(lambda tx: rule(tx, *args, **kwargs), urgent=True)
