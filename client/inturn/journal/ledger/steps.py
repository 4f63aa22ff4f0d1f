"""The ledger: one row per step, so that each step happens once.

Invariant: the four rules of `Journal`. A row is `open` until it is `done` (its result is recorded) or `settled` (the
session closed it); both are for ever. The token on the row names the only attempt that may write; an empty one names
none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from inturn.journal.ledger import answers, attempts, rows
from inturn.journal.limits import counters, grants, places
from inturn.journal.limits.grants import Grant
from inturn.journal.limits.requests import ResourceWait, Want
from inturn.journal.live import deltas
from inturn.journal.log import codec, contents, log, position, pruned
from inturn.journal.log.log import Log, micros
from inturn.journal.money import reservations
from inturn.journal.money.requests import Paying
from inturn.journal.state import operations
from inturn.journal.store.store import Statement, Transaction
from inturn.journal.values import Attempts, Claim, FailureClass, NewEntry, Outcome, Position, Superseded, new_token
from inturn.journal.views import aliases, outcomes
from inturn.keys import StepKey

SETTLED_RESULT: Final[dict[str, Any]] = {"status": "settled"}
"""The record of a step that the session closed."""


def claim_model(
    tx: Transaction,
    step: StepKey,
    opening: Sequence[NewEntry],
    *,
    token: str = "",
    seen: Position | None = None,
    after: int | None = None,
    types: Sequence[str] = (),
    wants: Sequence[Want] = (),
    lease: float = 0.0,
    scheduled: float = 0.0,
    paying: Paying | None = None,
    hopeful: bool = False,
) -> Claim:
    """Claim a model step; see `Journal.claim_model`. `hopeful`: see `grants.take`, and `reservations.judge`."""
    others = aliases.told(opening)
    own = others.get(step.turn.event_id, ())
    ended = outcomes.answering(step.session, (step.turn.event_id, *own))
    asked = log.asking(step.session, opening), answers.reading(step.session, after, types)
    _lock_for_claim(tx, step, seen, wants, ended, *(statement for some in asked for statement in some))
    with log.locked(tx, step.session) as journal:
        position.confirm(journal, seen)
        row = rows.find(tx, step, lock=True)
        if (outcome := outcomes.ended(tx, step.turn, own)) and not journal.closed:
            return replace(answers.answer("ended", journal, row), outcome=outcome)
        if journal.closed:
            return replace(answers.answer("closed", journal, row), outcome=outcome)
        if row and not row.open:
            return answers.answer(row.state, journal, row)
        now, at = micros(tx.now), micros(scheduled)
        if row and row.overtaken(at, now):
            raise Superseded(f"{step}: a later attempt holds it; nothing was written")
        filled = contents.opening(journal, opening)
        behind = answers.behind(journal, after, types)
        if row and row.held_by(token):  # the answer to this claim was lost
            rows.update(tx, step, "lease_until = ?", now + micros(lease))
            places.renew(tx, step, lease=lease)
            claim = answers.claimed(journal, step, row, filled, behind, types)
            return reservations.reserved_before(tx, step, paying, claim)
        if filled.missing:
            return replace(answers.answer("missing", journal, row), missing=filled.missing)
        if isinstance(granted := _granted(tx, step, wants, lease, hopeful=hopeful), ResourceWait):
            return replace(answers.answer("waiting", journal, row), waiting=granted)
        money = reservations.judge(journal, paying, filled.entries, hopeful=hopeful)
        token, fence, until = token or new_token(), journal.raise_fence(), micros(tx.now + lease)
        if row is None:
            row = rows.insert(tx, step, token, fence=fence, until=until, scheduled=at)
        else:
            row = reservations.count_lost(tx, step, rows.count_lost(tx, step, row), money)
            row = replace(row, token=token, fence=fence)
            changes = "token = ?, fence = ?, lease_until = ?, scheduled = ?, checkpoint = NULL"
            rows.update(tx, step, changes, token, fence, until, at)
        journal.append(filled.entries)
        contents.take(journal, filled.moved)
        aliases.put(tx, step.session, others)
        claimed = answers.claimed(journal, step, row, filled, behind, types)
        if claimed.watched:  # what earlier attempts said is said anew
            deltas.forget(tx, [(step.session, fence - 1)])
        grants.prove(tx, granted)
        return reservations.reserve(tx, step, money, claimed)


def claim_call(
    tx: Transaction,
    step: StepKey,
    *,
    lease: float,
    begin: bool,
    token: str = "",
    seen: Position | None = None,
    wants: Sequence[Want] = (),
    lasts: float = 0.0,
    scheduled: float = 0.0,
    unbegun: Sequence[str] = (),
    hopeful: bool = False,
) -> Claim:
    """Claim a call; see `Journal.claim_call`. `hopeful`: see `grants.take`."""
    _lock_for_claim(tx, step, seen, wants)
    with log.locked(tx, step.session) as journal:
        position.confirm(journal, seen)
        row = rows.find(tx, step, lock=True)
        if row and not row.open:
            return answers.answer(row.state, journal, row)
        if row is None and journal.closed and pruned.upto(tx, step.session):
            return answers.answer("settled", journal, row)  # whether it ran is not known any more
        now, at = micros(tx.now), micros(scheduled)
        if row and row.overtaken(at, now):
            raise Superseded(f"{step}: a later attempt holds it; nothing was written")
        if row and row.token and row.token in unbegun:
            release(tx, step, row.token)
            row = replace(row, token="", began=row.began_before, lease_until=0)
        if row and row.held_by(token):  # the answer to this claim was lost
            return _claimed_call(journal, step, row, now + micros(lease), lease)
        if row and row.began and row.lease_until > now:
            if row.lease_until > (
                longest := now + micros(places.LONGEST)
            ):  # the clock was set back: nobody's lasts for so long
                row = replace(row, lease_until=longest)
                rows.update(tx, step, "lease_until = ?", longest)
            return answers.answer("leased", journal, row)
        if isinstance(granted := _granted(tx, step, wants, lease, lasts, hopeful=hopeful), ResourceWait):
            return replace(answers.answer("waiting", journal, row), waiting=granted)
        token, until = token or new_token(), micros(tx.now + lease)
        if row is None:
            rows.insert(tx, step, token, began=begin, until=until, scheduled=at)
        else:
            row = rows.count_lost(tx, step, row) if row.began else row
            places.abandon(tx, step)
            changes = "token = ?, began = ?, began_before = ?, lease_until = ?, scheduled = ?"
            rows.update(tx, step, changes, token, int(begin or row.began), row.began, until, at)
        claimed = replace(answers.answer("claimed", journal, row), token=token, fence=granted.fence, lease_left=lease)
        grants.prove(tx, granted)
        return claimed


def begin(tx: Transaction, step: StepKey, token: str, *, lease: float) -> bool:
    """Mark that the body begins; return whether the claim was still ours."""
    if not rows.holds(tx, step, token):
        return False
    rows.update(tx, step, "began = 1, lease_until = ?", micros(tx.now + lease))
    return True


def renew(tx: Transaction, step: StepKey, token: str, *, lease: float) -> bool:
    """Hold the claim for longer, and what was granted with it; return whether it was still ours."""
    row = rows.locked(tx, step)
    if row is None:
        return restore(tx, step, token, lease=lease)
    if not row.held_by(token):
        return False
    rows.update(tx, step, "lease_until = ?", micros(tx.now + lease))
    places.renew(tx, step, lease=lease)
    return True


def restore(tx: Transaction, step: StepKey, token: str, *, lease: float) -> bool:
    """Write the row of a running call again, where a failover of the database took it; return whether it was gone.

    So no other attempt runs the body beside this one, and its result counts. Its locks are not given back by this.
    """
    with log.locked(tx, step.session) as journal:
        if rows.find(tx, step, lock=True) is not None:
            return False
        return _restored(journal, step, token, micros(tx.now + lease)) is not None


def _restored(journal: Log, step: StepKey, token: str, until: int = 0) -> rows.Row | None:
    """Write a call's row that is not there; a model step's is claimed anew: its fence is gone as well."""
    if journal.closed or not token or step.is_model:
        return None
    return rows.insert(journal.tx, step, token, began=True, until=until)


def keep(tx: Transaction, step: StepKey, token: str, checkpoint: Any) -> bool:
    """Keep a checkpoint; return whether the claim was still ours."""
    if not rows.holds(tx, step, token):
        return False
    rows.update(tx, step, "checkpoint = ?", rows.sealed(tx, "checkpoint", step, checkpoint))
    return True


def release(
    tx: Transaction,
    step: StepKey,
    token: str,
    *,
    usage: Mapping[str, float] | None = None,
    said: str = "",
    paid: int | None = None,
) -> bool:
    """Release a claim that did nothing; what earlier attempts began stays begun, and what it used stays counted.

    `said`: what its answer had said, which is kept until the next attempt.
    """
    row = rows.locked(tx, step)
    if row is None or not row.held_by(token):
        reservations.settle(tx, step, token, paid)
        return False
    spent = row.failed_attempts()
    attempts.add_usage(spent, usage)
    kept = rows.written(spent)
    rows.update(tx, step, "token = '', began = began_before, lease_until = 0, attempts = ?", kept)
    if said:
        rows.update(tx, step, "checkpoint = ?", rows.sealed(tx, "checkpoint", step, said))
    places.leave(tx, step)
    reservations.settle(tx, step, token, paid)
    return True


def lock(
    tx: Transaction, step: StepKey, token: str, want: Want, *, part: str, lease: float
) -> int | ResourceWait | None:
    """Take a lock for a part of a running body: its fence, or what it waits for; `None`: the claim is not ours."""
    counters.lock(tx, (want,))
    if not rows.holds(tx, step, token):
        return None
    if known := places.fence(tx, places.Caller(step, part)):
        return known  # the answer was lost: a part takes one lock, once
    granted = _granted(tx, step, (want,), lease, part=part)
    return granted if isinstance(granted, ResourceWait) else granted.fence


def append(
    tx: Transaction,
    step: StepKey,
    token: str,
    entries: Sequence[NewEntry],
    usage: Mapping[str, float] | None = None,
) -> int | None:
    """Append entries while the step runs; return the new head, `None` when the claim is not ours any more.

    `usage`: what the step used for them; of entries that are there already it is counted already.
    """
    _lock(tx, step, *log.asking(step.session, entries))
    with log.locked(tx, step.session) as journal:
        row = rows.find(tx, step, lock=True)
        if row is None or not row.held_by(token):
            return None
        before = journal.head
        journal.append(entries)
        if usage and journal.head > before:
            spent = row.failed_attempts()
            attempts.add_usage(spent, usage)
            rows.update(tx, step, "attempts = ?", rows.written(spent))
        return journal.head


def finish(
    tx: Transaction,
    step: StepKey,
    token: str,
    result: dict[str, Any],
    entries: Sequence[NewEntry],
    outcome: Outcome | None,
    *,
    paid: int | None = None,
) -> Position | None:
    """Record a step's result with its last entries; return where the log stands, `None`: the step is not ours any more.

    The same attempt may finish twice with the same result (it never learned that the first time worked). Another result
    came late, such as that of a thread that went on after its call had timed out: it is kept to resolve the call by.
    """
    asked = outcomes.asking(step.session, outcome.event_id) if outcome else ()
    _lock(tx, step, *log.asking(step.session, entries), *asked)
    with log.locked(tx, step.session) as journal:
        row = rows.find(tx, step, lock=True) or _restored(journal, step, token)
        if row and row.state == "done" and row.token == token and row.result == codec.dumps(result):
            return position.reached(journal)
        if row is None or not row.held_by(token) or row.fence not in (None, journal.fence):
            rows.update(
                tx, step, "late_result = COALESCE(late_result, ?)", rows.sealed(tx, "late_result", step, result)
            )
            reservations.settle(tx, step, token, paid)
            return None
        known = outcomes.look(tx, step.session, outcome.event_id) if outcome else None
        journal.append(entries)
        rows.update(tx, step, "state = 'done', lease_until = 0, result = ?", rows.sealed(tx, "result", step, result))
        if row.fence is None:  # a model step has no body that operates on anything
            operations.forget(tx, rows.key_of(step))
        places.leave(tx, step)
        if outcome:
            outcomes.put(journal, outcome, known)
        reservations.settle(tx, step, token, paid)
        return position.reached(journal)


def fail(
    tx: Transaction,
    step: StepKey,
    token: str,
    failure: FailureClass,
    *,
    clean: bool = False,
    place: int | None = None,
    usage: Mapping[str, float] | None = None,
    paid: int | None = None,
) -> Attempts | None:
    """Count a failed attempt; `None`: another attempt holds the step, and this one decides nothing of it.

    It is over: no later one waits out its lease. A body that began stays begun, unless `clean`.
    """
    _lock(tx, step)
    with log.locked(tx, step.session):
        row = rows.find(tx, step, lock=True)
        if row is None:
            return None
        failed = row.failed_attempts(tx.now)
        if row.open and not row.token and token and failed.failed == token:
            return failed  # it is counted: the answer to that was lost
        if not row.held_by(token):
            reservations.settle(tx, step, token, paid)
            return None
        failed.failed = token
        attempts.add_usage(failed, usage)
        attempts.note_place(failed, failure, place, tx.now)
        kept = rows.counted(tx, failed, failure)
        began = ", began = began_before" if clean else ""
        rows.update(tx, step, f"token = '', lease_until = 0{began}, attempts = ?", kept)
        places.leave(tx, step)
        reservations.settle(tx, step, token, paid)
        return failed


def _lock(tx: Transaction, step: StepKey, *more: Statement) -> None:
    """Lock a session and then a step's row, and read more behind them: together, where each would cost a trip."""
    tx.ahead([log.locking(tx, step.session), rows.finding(tx, step), *more])


def _lock_for_claim(
    tx: Transaction, step: StepKey, seen: Position | None, wants: Sequence[Want], *more: Statement
) -> None:
    """Lock as `_lock` does, with the counters of the locks that are wanted in between."""
    if seen is None:
        log.make(tx, step.session)
    if wants:
        more = (*more, places.finding(places.Caller(step)))
    if locks := [want for want in wants if want.is_lock]:
        tx.ahead([log.locking(tx, step.session)])
        counters.lock(tx, locks)
        tx.ahead([rows.finding(tx, step), *more])
    else:
        _lock(tx, step, *more)


def _claimed_call(journal: Log, step: StepKey, row: rows.Row, until: int, lease: float) -> Claim:
    """Return the answer to a call's claim once more, and hold it from now on."""
    tx = journal.tx
    rows.update(tx, step, "lease_until = ?", until)
    places.renew(tx, step, lease=lease)
    before, fence = replace(row, began=row.began_before, lease_until=until), places.fence(tx, places.Caller(step))
    return replace(answers.answer("claimed", journal, before), token=row.token, fence=fence)


def _granted(
    tx: Transaction,
    step: StepKey,
    wants: Sequence[Want],
    lease: float,
    lasts: float = 0.0,
    *,
    part: str = "",
    hopeful: bool = False,
) -> Grant | ResourceWait:
    """Take what is wanted, or say what the step waits for."""
    if not wants:
        return Grant()
    found = grants.take(tx, places.Caller(step, part), wants, lease=lease, lasts=lasts, hopeful=hopeful)
    if isinstance(found, ResourceWait):
        if not part and any(want.is_lock for want in wants):
            _revoke(tx, step)  # an earlier attempt's locks ran out: it can write nothing more
        return found
    for stale in found.stale:
        _revoke(tx, stale)
    return found


def _revoke(tx: Transaction, step: StepKey) -> None:
    """Revoke the claim of a step whose locks another one took over: its attempt can write nothing more."""
    row = rows.find(tx, step, lock=True)
    if row and row.open:
        rows.count_lost(tx, step, row)
        rows.update(tx, step, "token = '', lease_until = 0")
