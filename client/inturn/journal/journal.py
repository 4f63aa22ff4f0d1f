"""The journal: the port's promises, kept by the rules over a store.

Invariant: each method is one transaction; nothing here decides, it only joins a rule and a store.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from inturn.journal.ledger import decisions
from inturn.journal.ledger import steps as ledger
from inturn.journal.ledger import unknown_calls as settling
from inturn.journal.limits import deadlocks as waits
from inturn.journal.limits import grants, places
from inturn.journal.limits.requests import Deadlock, Place, Victim, Waiting, Want
from inturn.journal.log import blobs, cursors, log
from inturn.journal.state import apply as shared
from inturn.journal.state import values as shelf
from inturn.journal.state.changes import Change, Done, Operation, Scope
from inturn.journal.store.store import Store
from inturn.journal.values import (
    Attempts,
    Claim,
    Ending,
    FailureClass,
    NewEntry,
    Outcome,
    Recorded,
    Settlement,
    Superseded,
)
from inturn.journal.views import outcomes
from inturn.keys import SessionKey, StepKey, TurnKey
from inturn.values import Entry, UnknownOutcome


class StoredJournal:
    """A journal in a store; see `port.Journal` for what each method promises."""

    def __init__(self, store: Store) -> None:
        """Put the rules over a store."""
        self._store = store

    async def open(self) -> None:
        """Connect and bring the schema up to date."""
        await self._store.open()

    async def close(self) -> None:
        """Finish what is queued and let go."""
        await self._store.close()

    async def claim_model(
        self,
        step: StepKey,
        opening: Sequence[NewEntry] = (),
        *,
        after: int | None = None,
        types: Sequence[str] = (),
        wants: Sequence[Want] = (),
        lease: float = 0.0,
    ) -> Claim:
        """Claim a model step."""
        work = partial(
            ledger.claim_model, step=step, opening=opening, after=after, types=types, wants=wants, lease=lease
        )
        # A power cut that takes the claim takes the attempt with it; the next one claims and says the same again.
        return await self._store.write(work, durable=False)

    async def claim_call(
        self, step: StepKey, *, lease: float, begin: bool = True, wants: Sequence[Want] = (), lasts: float = 0.0
    ) -> Claim:
        """Claim a tool call or a delivery."""
        work = partial(ledger.claim_call, step=step, lease=lease, begin=begin, wants=wants, lasts=lasts)
        return await self._store.write(work)

    async def begin(self, step: StepKey, token: str, *, lease: float) -> None:
        """Mark that the body begins now."""
        if not await self._store.write(partial(ledger.begin, step=step, token=token, lease=lease)):
            raise _superseded(step)

    async def renew(self, step: StepKey, token: str, *, lease: float) -> bool:
        """Hold the claim for longer."""
        return await self._store.write(partial(ledger.renew, step=step, token=token, lease=lease))

    async def keep(self, step: StepKey, token: str, checkpoint: Any) -> None:
        """Keep a checkpoint."""
        if not await self._store.write(partial(ledger.keep, step=step, token=token, checkpoint=checkpoint)):
            raise _superseded(step)

    async def append(self, step: StepKey, token: str, entries: Sequence[NewEntry]) -> int:
        """Append entries while the step runs."""
        head = await self._store.write(partial(ledger.append, step=step, token=token, entries=entries))
        if head is None:
            raise _superseded(step)
        return head

    async def finish(
        self,
        step: StepKey,
        token: str,
        result: dict[str, Any],
        entries: Sequence[NewEntry] = (),
        outcome: Outcome | None = None,
    ) -> int:
        """Record the step's result with its last entries."""
        work = partial(ledger.finish, step=step, token=token, result=result, entries=entries, outcome=outcome)
        head = await self._store.write(work)
        if head is None:
            raise _superseded(step)
        return head

    async def fail(self, step: StepKey, token: str, failure: FailureClass, *, clean: bool = False) -> Attempts:
        """Count a failed attempt."""
        attempts = await self._store.write(partial(ledger.fail, step=step, token=token, failure=failure, clean=clean))
        if attempts is None:
            raise _superseded(step)
        return attempts

    async def release(self, step: StepKey, token: str) -> None:
        """Let go of a claim whose body did nothing."""
        await self._store.write(partial(ledger.release, step=step, token=token))

    async def record(
        self,
        session: SessionKey,
        recorded: Sequence[Recorded],
        *,
        settle: Sequence[TurnKey] = (),
        close: bool = False,
        cancelled: str | None = None,
        number: str | None = None,
    ) -> int:
        """Write what a session decided."""
        work = partial(
            decisions.record,
            session=session,
            recorded=recorded,
            settle=settle,
            close=close,
            cancelled=cancelled,
            number=number,
        )
        return await self._store.write(work)

    async def settle_call(self, call: StepKey, settlement: Settlement) -> Settlement | None:
        """Settle a call whose outcome is unknown."""
        return await self._store.write(partial(settling.settle, call=call, settlement=settlement))

    async def lacks(self, step: StepKey, wants: Sequence[Want], *, part: str = "") -> Waiting | None:
        """Tell what a waiter still lacks."""
        return await self._store.read(partial(grants.look, caller=places.Caller(step, part), wants=wants))

    async def lock(self, step: StepKey, token: str, want: Want, *, part: str, lease: float) -> int | Waiting:
        """Take a lock for a part of a running body."""
        work = partial(ledger.lock, step=step, token=token, want=want, part=part, lease=lease)
        found = await self._store.write(work)
        if found is None:
            raise _superseded(step)
        return found

    async def leave(self, step: StepKey, *, part: str = "") -> None:
        """Give back what a part of a step holds."""
        await self._store.write(partial(places.leave, step=step, part=part))

    async def resolve(self, step: StepKey, victim: Victim) -> Deadlock | None:
        """Break the cycle that a call is part of."""
        if not await self._store.read(partial(waits.cycle, scope=step.session.tenant, call=places.called(step))):
            return None
        return await self._store.write(partial(waits.resolve, step=step, victim=victim))

    async def places(self, tenant: str | None = None) -> list[Place]:
        """Give who holds what and who waits for it."""
        return await self._store.read(partial(places.listed, tenant=tenant))

    async def read(
        self,
        session: SessionKey,
        *,
        after: int = 0,
        limit: int = 500,
        event_id: str | None = None,
        types: Sequence[str] = (),
    ) -> list[Entry]:
        """Read entries in order of seq."""
        return await self._store.read(
            partial(log.read, session=session, after=after, limit=limit, event_id=event_id, types=types)
        )

    async def head(self, session: SessionKey) -> int:
        """Give the last seq."""
        return await self._store.read(partial(log.head, session=session))

    async def outcome(self, session: SessionKey, event_id: str) -> Outcome | None:
        """Give how an event ended."""
        return await self._store.read(partial(outcomes.get, session=session, event_id=event_id))

    async def latest_event(self, session: SessionKey) -> str | None:
        """Give the event of the latest turn."""
        return await self._store.read(partial(log.latest_event, session=session))

    async def unknown_calls(self, session: SessionKey) -> list[UnknownOutcome]:
        """Give the calls whose outcome is unknown."""
        return await self._store.read(partial(settling.unknown, session=session))

    async def outcomes(self, session: SessionKey) -> dict[str, int]:
        """Count ended events by disposition."""
        return await self._store.read(partial(outcomes.counts, session=session))

    async def endings(self, session: SessionKey) -> dict[str, Ending]:
        """Give how events ended, by outcomes and by entries."""
        return await self._store.read(partial(outcomes.endings, session=session))

    async def parked(self, session: SessionKey, *, limit: int = 100) -> list[Entry]:
        """Give the latest parked events' entries."""
        return await self._store.read(partial(log.parked, session=session, limit=limit))

    async def verify(self, session: SessionKey) -> list[str]:
        """Check the hash chain."""
        return await self._store.read(partial(log.verify, session=session))

    async def put_blob(self, session: SessionKey, data: bytes) -> str:
        """Keep bytes."""
        return await self._store.write(partial(blobs.put, session=session, data=data))

    async def blob(self, session: SessionKey, ref: str) -> bytes | None:
        """Give the bytes of a reference."""
        return await self._store.read(partial(blobs.get, session=session, ref=ref))

    async def cursor(self, tenant: str, name: str, session_id: str) -> int:
        """Give a stored cursor."""
        return await self._store.read(partial(cursors.get, tenant=tenant, name=name, session_id=session_id))

    async def move_cursor(self, tenant: str, name: str, session_id: str, seq: int) -> int:
        """Move a stored cursor forward."""
        work = partial(cursors.move, tenant=tenant, name=name, session_id=session_id, seq=seq)
        return await self._store.write(work)

    async def value(self, scope: Scope, name: str) -> tuple[Any, int] | None:
        """Give a named value with its version."""
        return await self._store.read(partial(shelf.get, scope=scope, name=name))

    async def change(self, scope: Scope, change: Change, operation: Operation) -> Done:
        """Change shared state once."""
        done = await self._store.write(partial(shared.change, scope=scope, change=change, operation=operation))
        if done is None:
            assert operation.step is not None
            raise _superseded(operation.step)
        return done

    async def recall(self, scope: Scope, operation: Operation, what: str) -> Done | None:
        """Give what came of an operation before."""
        return await self._store.read(partial(shared.recall, scope=scope, operation=operation, what=what))


def _superseded(step: StepKey) -> Superseded:
    return Superseded(f"{step}: this attempt's claim was settled, finished or taken over; nothing was written")
