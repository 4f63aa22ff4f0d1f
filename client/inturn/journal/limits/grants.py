"""Locks, permits and rates: who gets what, and who is next.

One row per caller and resource, its place: it is held, or it waits. A caller is a step, or a lock that the step's body
takes on its way.

  1. All that a caller wants is granted at once, or nothing is; a waiter holds nothing but its ticket.
  2. Granted is what no present holder has, and no earlier present ticket waits for. Present is a holder whose lease
     runs, and a waiter that was seen within `PRESENCE`.
  3. A ticket keeps its number until it is granted or its step settled, also while nobody sees it.
  4. A ticket never stands before somebody whom it waits for: who holds something else may have to pass it.
  5. Of permits and tokens a ticket reserves only what it lacks, and none while it lacks a lock or its caller is away:
     what many come back for never lies idle for one of them. Whoever is back is before all that came later.
  6. Who takes over an expired lock takes the claim of the step that held it, too: that one can write nothing more.

Invariant: a lock has one writer or any number of readers, and every grant of a lock has a higher fence than the ones
before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from inturn.journal.ledger import rows
from inturn.journal.limits import buckets, counters, deadlocks, places
from inturn.journal.limits.places import Caller, Other, Ticket
from inturn.journal.limits.requests import ResourceWait, Want
from inturn.journal.log.log import micros
from inturn.journal.store.store import Transaction
from inturn.keys import StepKey


@dataclass(frozen=True, slots=True)
class Grant:
    """All that was wanted is the caller's.

    Attributes:
        fence: Higher than that of every earlier grant of these locks; 0 where there is no lock among them.
        stale: Steps whose expired locks it took over.
        unproved: Permits and rates that it took for free; `prove` is the transaction's last word.
    """

    fence: int = 0
    stale: tuple[StepKey, ...] = ()
    unproved: tuple[Want, ...] = ()


def take(
    tx: Transaction, caller: Caller, wants: Sequence[Want], *, lease: float, lasts: float = 0.0, hopeful: bool = False
) -> Grant | ResourceWait:
    """Grant all of it for `lease` seconds, or keep a ticket. The caller has locked the locks' scopes, then its step.

    Args:
        tx: A transaction that writes.
        caller: Who asks; asking again is the same ticket.
        wants: Everything it wants, each resource once.
        lease: Seconds until the grant runs out, unless it is renewed.
        lasts: Seconds in which the caller should be done.
        hopeful: Take permits and rates for free at first, where rows are locked: they mostly are, and all of a tenant's
            steps want one, so that none can keep them locked while it works.
    """
    locks, counted = [want for want in wants if want.is_lock], [want for want in wants if not want.is_lock]
    if locks and tx.for_update:
        _lock_expired(tx, caller, locks)
    held, ticket = places.mine(tx, caller)
    if hopeful and counted and tx.for_update and not held and ticket.number is None:
        if lacking := _lacking(tx, caller, locks, ticket):
            return _queue(tx, caller, wants, ticket, lacking)
        return _grant(tx, caller, wants, lease, lasts, unproved=tuple(counted))
    counters.lock(tx, counted)
    rates = [want for want in wants if want.mode == "rate"]
    asked = {(want.scope, want.resource, want.mode) for want in wants if want not in rates}
    still = all(held.values()) and held.keys() == asked
    lacking = _lacking(tx, caller, rates if still else wants, ticket)
    if held or ticket.number is not None:
        places.clear(tx, caller)
    if lacking:
        return _queue(tx, caller, wants, ticket, lacking)
    return _grant(tx, caller, wants, lease, lasts)


def prove(tx: Transaction, grant: Grant) -> None:
    """Undo the transaction at its end unless what it took for free is so; see `take`."""
    counters.guard(tx, grant.unproved)
    for want in grant.unproved:
        if want.mode == "rate":
            buckets.take_unseen(tx, want)
        places.guard(tx, want)


def look(tx: Transaction, caller: Caller, wants: Sequence[Want]) -> ResourceWait | None:
    """Return what a waiter still lacks, without a trace; `None`: it may take it now, or its step was settled."""
    _, ticket = places.mine(tx, caller)
    if ticket.number is None:
        return None
    lacking = _lacking(tx, caller, wants, ticket)
    if lacking:
        return _first_lacking(tx, lacking, ticket)
    return ResourceWait(wants[0].resource, deadlock_victim=ticket.deadlock_victim) if ticket.deadlock_victim else None


def _lacking(tx: Transaction, caller: Caller, wants: Sequence[Want], ticket: Ticket) -> dict[Want, ResourceWait]:
    """Return what cannot be had now, and why."""
    missing = {"write": _locked, "read": _locked, "permit": _taken, "rate": _spent}
    found = ((want, missing[want.mode](tx, caller, want, ticket)) for want in wants)
    return {want: waiting for want, waiting in found if waiting is not None}


def _locked(tx: Transaction, caller: Caller, want: Want, ticket: Ticket) -> ResourceWait | None:
    others = places.others(tx, caller, want)
    queue = [o for o in others if o.state == "waiting" and (ticket.number is None or o.number < ticket.number)]
    blocking = [o for o in others if "write" in (want.mode, o.mode)]
    holder = next((o for o in blocking if o.state == "held"), None)
    if holder is not None:
        return _held_by(tx, want, holder, ahead=len(queue))
    before = next((o for o in blocking if o in queue and not _passes(tx, caller, want, o)), None)
    if before is not None:
        return ResourceWait(want.resource, is_lock=True, behind=before.session, ahead=len(queue))
    return None


def _taken(tx: Transaction, caller: Caller, want: Want, ticket: Ticket) -> ResourceWait | None:
    if places.count(tx, caller, want) < want.capacity:
        return None  # the plain way: not even with all who wait
    taken = places.count(tx, caller, want, "AND state = 'held'")
    return _reserved(tx, caller, want, ticket, want.capacity - taken)


def _spent(tx: Transaction, caller: Caller, want: Want, ticket: Ticket) -> ResourceWait | None:
    return _reserved(tx, caller, want, ticket, buckets.level(tx, want))


def _reserved(tx: Transaction, caller: Caller, want: Want, ticket: Ticket, free: float) -> ResourceWait | None:
    earlier = "" if ticket.number is None else f" AND number < {ticket.number:d}"
    ahead = places.count(tx, caller, want, f"AND state = 'waiting'{earlier}")
    return None if free - ahead >= 1 else ResourceWait(want.resource, capacity=want.capacity, ahead=ahead)


def _passes(tx: Transaction, caller: Caller, want: Want, other: Other) -> bool:
    """Return whether a caller that holds something has to pass a ticket that waits for it."""
    return bool(caller.part) and deadlocks.reaches(
        tx, want.scope, (other.turn, other.step), places.call_of(caller.step)
    )


def _held_by(tx: Transaction, want: Want, holder: Other, *, ahead: int) -> ResourceWait:
    now = micros(tx.now)
    over = max(now - holder.done_by, 0) / 1e6 if holder.done_by else 0.0
    held_for = max(now - holder.since, 0) / 1e6
    return ResourceWait(want.resource, is_lock=True, holder=holder.session, held_for=held_for, over=over, ahead=ahead)


def _grant(
    tx: Transaction,
    caller: Caller,
    wants: Sequence[Want],
    lease: float,
    lasts: float,
    *,
    unproved: tuple[Want, ...] = (),
) -> Grant:
    locks = [want for want in wants if want.is_lock]
    stale = dict.fromkeys(step for want in locks for step in places.expired(tx, caller, want))
    for step in stale:
        places.leave(tx, step)
    for want in wants:
        if want.mode == "rate" and want not in unproved:
            buckets.take(tx, want)
    fence = counters.next_fence(tx, locks[0].scope) if locks else 0
    held = [want for want in wants if want.mode != "rate"]
    places.hold(tx, caller, held, fence=fence, lease=lease, lasts=lasts)
    return Grant(fence, tuple(stale), unproved)


def _forgive_clock(tx: Transaction, lacking: Iterable[Want]) -> None:
    """Have nobody wait until a clock that was set back is where it was: the next look finds what it should."""
    for want in lacking:
        if want.mode == "rate":
            buckets.wind(tx, want)
        else:
            places.shorten(tx, want)


def _queue(
    tx: Transaction, caller: Caller, wants: Sequence[Want], ticket: Ticket, lacking: Mapping[Want, ResourceWait]
) -> ResourceWait:
    _forgive_clock(tx, lacking)
    now = micros(tx.now)
    if ticket.number is None:
        places.forget(tx, wants)
        ticket = replace(ticket, number=counters.next_ticket(tx), since=now, seen=now)
    waiting = _first_lacking(tx, lacking, ticket)
    places.queue(tx, caller, {want: _state(want, lacking, waiting) for want in wants}, ticket)
    return waiting if waiting.in_place else replace(waiting, expected=_expected(tx, lacking, ticket))


def _state(want: Want, lacking: Mapping[Want, ResourceWait], waiting: ResourceWait) -> str:
    """Return as what a caller stands at something that it wants."""
    if want.is_lock:
        return "waiting"
    if want not in lacking or waiting.is_lock:
        return "nonblocking"
    return "waiting" if waiting.in_place else "away"


def _expected(tx: Transaction, lacking: Mapping[Want, ResourceWait], ticket: Ticket) -> float:
    """Return in how many seconds it may be a ticket's turn, by who came first and how long such things are held."""
    longest = 0.0
    for want, waiting in lacking.items():
        before, age = places.line(tx, want, ticket.number or 0)
        lasts = 1 / want.refill if want.refill else 2 * max(age, waiting.held_for) / want.capacity
        longest = max(longest, before * lasts)
    return longest


def _first_lacking(tx: Transaction, lacking: Mapping[Want, ResourceWait], ticket: Ticket) -> ResourceWait:
    now = micros(tx.now)
    locks = [waiting for waiting in lacking.values() if waiting.is_lock]
    lacked = locks or list(lacking.values())
    return replace(
        lacked[0],
        ahead=max(waiting.ahead for waiting in lacked),
        waited=max(now - (ticket.since or now), 0) / 1e6,
        waited_before=max(ticket.seen - ticket.since, 0) / 1e6,
        deadlock_victim=ticket.deadlock_victim,
    )


def _lock_expired(tx: Transaction, caller: Caller, locks: Sequence[Want]) -> None:
    """Lock the steps whose leases ran out, before it is judged whether they did: none can renew its own meanwhile."""
    locked = set[StepKey]()
    while True:
        places.ahead(tx, caller, locks)
        stale = {step for want in locks for step in places.expired(tx, caller, want)} - locked
        for step in sorted(stale, key=str):
            rows.find(tx, step, lock=True)
        if not stale:
            return
        locked |= stale  # and the clock has moved on: what ran out meanwhile is locked as well
