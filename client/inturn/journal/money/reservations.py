"""Money that is set aside for requests: before each, as much as it can cost at worst.

A day's row in `spend` is what was paid and what is set aside, together. A request's rows in `reservations` say how much
of that is its own, and go when it tells what it cost; the day gets back what was too much. An attempt that is never
heard of again has spent what was set aside for it: its rows stay, until it reports after all.

Invariant: what all requests of a day may cost together, each at its worst until it says what it did, is never more than
the lowest cap that held for any of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from inturn.amounts import NANOS
from inturn.journal.ledger import attempts, rows
from inturn.journal.limits.requests import SEATS, ResourceWait
from inturn.journal.log import codec
from inturn.journal.log.log import Log, body, micros
from inturn.journal.money.requests import Cap, Paying, Reserved
from inturn.journal.store.store import Transaction
from inturn.journal.values import Claim, NewEntry
from inturn.keys import StepKey
from inturn.turns import tokens
from inturn.turns.spending import longest_answer
from inturn.values import Usage

_DAY: Final = 86_400
_SAID: Final = ("session.started", "user.message", "agent.tool_result", "system.message", "session.pinned")
"""Entries that make a prompt longer, beside answers."""
_KEY: Final = "tenant = ? AND session = ? AND turn = ? AND step = ? AND token = ?"
_SPEND: Final = "scope = ? AND resource = ? AND day = ?"
_OWN: Final = Cap("", "", 0)
"""Stands for the request itself, which no cap need bound: what a lost one cost counts for its turn."""


class SetAside(Exception):
    """What is left of a cap is set aside for requests that run: it comes back in part. Nothing was written."""

    def __init__(self, waiting: ResourceWait) -> None:
        """Say what is waited for."""
        super().__init__(str(waiting))
        self.waiting = waiting


@dataclass(frozen=True, slots=True)
class Reservation:
    """A reservation as the claim of a step makes it."""

    paying: Paying
    day: int
    reserved: Reserved
    proved: bool


def judge(journal: Log, paying: Paying | None, opening: Sequence[NewEntry], *, hopeful: bool) -> Reservation | None:
    """Return what is to be set aside for a request, if it is to be paid for so.

    Args:
        journal: The session's log.
        paying: The request.
        opening: What its step says first.
        hopeful: As if there were enough, which `reserve` proves.

    Raises:
        SetAside: There is not enough now, and there may be later today.
    """
    if paying is None:
        return None
    tx, price, asked = journal.tx, paying.price, paying.max_tokens
    day, prompt = int(tx.now // _DAY), min(_prompt(journal, opening), paying.window)
    worst = Reserved(asked, price.worst(prompt, asked))
    if not paying.caps or (hopeful and tx.for_update):
        return Reservation(paying, day, worst, proved=not paying.caps)
    lefts = [(cap.nanos - _locked(tx, cap, day), cap) for cap in _sorted(paying.caps)]
    left, cap = min(lefts, key=lambda found: found[0])
    most = longest_answer(price, prompt, asked, left)
    if most == asked:
        return Reservation(paying, day, worst, proved=True)
    if most < longest_answer(price, prompt, asked, left + _running(tx, cap, day)):
        raise SetAside(ResourceWait(str(cap), capacity=cap.nanos / NANOS, ahead=SEATS))
    return Reservation(paying, day, Reserved(most, price.worst(prompt, most) if most else 0), proved=True)


def reserve(tx: Transaction, step: StepKey, reservation: Reservation | None, claim: Claim) -> Claim:
    """Set money aside for a claim, as the transaction's last word: its day's rows are every request's of the tenant."""
    if reservation is None:
        return claim
    reserved, day = reservation.reserved, reservation.day
    caps = _sorted(reservation.paying.caps) if reserved.max_tokens else []
    for cap in (_OWN, *caps) if reserved.max_tokens else ():
        tx.execute(
            "INSERT INTO reservations (tenant, session, turn, step, token, scope, resource, day, nanos, max_tokens) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*_key(step, claim.token), cap.scope, cap.resource, day, reserved.nanos, reserved.max_tokens),
        )
    for cap in caps:
        tx.execute(
            "INSERT INTO spend (scope, resource, day, nanos) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (scope, resource, day) DO UPDATE SET nanos = spend.nanos + excluded.nanos",
            (cap.scope, cap.resource, day, reserved.nanos),
        )
        if not reservation.proved:
            tx.guard(f"(SELECT nanos FROM spend WHERE {_SPEND}) <= ?", (cap.scope, cap.resource, day, cap.nanos))
    return replace(claim, reserved=reserved)


def settle(tx: Transaction, step: StepKey, token: str, paid: int | None) -> None:
    """Settle what was set aside for an attempt by what it paid, on the day for which it was; `None`: nothing was."""
    if paid is None:
        return
    found = tx.execute(
        f"DELETE FROM reservations WHERE {_KEY} RETURNING scope, resource, day, nanos", _key(step, token)
    )
    for scope, resource, day, amount in sorted(found):
        tx.execute(f"UPDATE spend SET nanos = nanos + ? WHERE {_SPEND}", (paid - amount, scope, resource, day))


def reserved_before(tx: Transaction, step: StepKey, paying: Paying | None, claim: Claim) -> Claim:
    """Return a claim whose answer was lost with what was set aside for it then."""
    return claim if paying is None else replace(claim, reserved=_own(tx, step, claim.token))


def count_lost(tx: Transaction, step: StepKey, row: rows.Row, reservation: Reservation | None) -> rows.Row:
    """Count what an attempt that is taken over has spent: all that was set aside for it, as it does not say."""
    lost = _own(tx, step, row.token) if reservation and row.token else Reserved(0)
    if not lost.nanos:
        return row
    failed = row.failed_attempts()
    attempts.add_usage(failed, {"usd_nanos": lost.nanos})
    kept = rows.written(failed)
    rows.update(tx, step, "attempts = ?", kept)
    return replace(row, attempts=kept)


def _own(tx: Transaction, step: StepKey, token: str) -> Reserved:
    """Return what is set aside for an attempt."""
    own = f"SELECT max_tokens, nanos FROM reservations WHERE {_KEY} AND scope = '' AND resource = ''"
    found = tx.execute(own, _key(step, token))
    return Reserved(*map(int, found[0])) if found else Reserved(0)


def _prompt(journal: Log, opening: Sequence[NewEntry]) -> int:
    """Return the tokens that the session's next prompt may have: what was counted last, and what came since."""
    tx, where = journal.tx, (journal.session.tenant, journal.session.session_id)
    counted, seen = tokens.FRAME, 0
    for seq, stored in tx.execute(
        "SELECT seq, body FROM entries WHERE tenant = ? AND session = ? AND type = 'agent.message' "
        "ORDER BY seq DESC LIMIT 1",
        where,
    ):
        answer = body(tx, journal.session, seq, stored)
        used, failed = (Usage.model_validate(answer.get(name) or {}) for name in ("usage", "failed"))
        counted = used.prompt_tokens + used.output_tokens - failed.prompt_tokens - failed.output_tokens
        seen = int(answer.get("seen") or 0)
    [(size,)] = tx.execute(
        "SELECT COALESCE(SUM(LENGTH(body)), 0) FROM entries WHERE tenant = ? AND session = ? AND seq > ? "
        f"AND type IN ({', '.join('?' * len(_SAID))})",
        (*where, seen, *_SAID),
    )
    size += sum(len(codec.dumps(entry.body).encode()) for entry in opening)
    return counted + int(size) // tokens.BYTES


def _locked(tx: Transaction, cap: Cap, day: int) -> int:
    """Lock a day's row, and return what is spent and set aside."""
    where = (cap.scope, cap.resource, day)
    tx.execute("INSERT INTO spend (scope, resource, day, nanos) VALUES (?, ?, ?, 0) ON CONFLICT DO NOTHING", where)
    return int(tx.execute(f"SELECT nanos FROM spend WHERE {_SPEND} {tx.for_update}", where)[0][0])


def _running(tx: Transaction, cap: Cap, day: int) -> int:
    """Return what is set aside for requests that run: some of it comes back."""
    [(amount,)] = tx.execute(
        "SELECT COALESCE(SUM(r.nanos), 0) FROM reservations r JOIN steps s ON s.tenant = r.tenant "
        "AND s.session = r.session AND s.turn = r.turn AND s.step = r.step AND s.call = ? AND s.token = r.token "
        "WHERE r.scope = ? AND r.resource = ? AND r.day = ? AND s.lease_until > ?",
        (rows.NO_CALL, cap.scope, cap.resource, day, micros(tx.now)),
    )
    return int(amount)


def _sorted(caps: Sequence[Cap]) -> list[Cap]:
    return sorted(caps, key=lambda cap: (cap.scope, cap.resource))


def _key(step: StepKey, token: str) -> tuple[str, str, str, str, str]:
    return step.session.tenant, step.session.session_id, step.turn.turn, step.step, token
