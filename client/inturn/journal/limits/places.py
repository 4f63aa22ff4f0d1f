"""The rows of callers at resources: held, or waiting.

Invariant: a caller has at most one row at a resource, and all rows of a step go when its row in the ledger is settled.
Nothing here decides; the rules are in `grants.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from inturn.journal.limits.requests import Place, Want
from inturn.journal.log import codec
from inturn.journal.log.log import micros
from inturn.journal.log.sweeps import sweep
from inturn.journal.store.store import Statement, Transaction
from inturn.keys import StepKey, TurnKey

PRESENCE: Final = 15.0
"""Seconds after which a waiter that was not seen is passed over."""
RESERVED: Final = 7.0
"""Seconds after which it reserves no permit any more, as long as who holds one has it without a sign of life."""
LONGEST: Final = 120.0
"""Seconds for which nobody is present without a word: leases are far shorter."""
FORGET_AFTER: Final = 24 * 3600.0
"""Seconds after which the rows of a step that never settled (its workflow was terminated) are deleted."""
_COLUMNS_OF_KEY: Final = "turn, step, part, scope, resource"
_MINE: Final = "turn = ? AND step = ? AND part = ?"
_IN_THE_WAY: Final = "state IN ('held', 'waiting')"
_OTHERS: Final = f"scope = ? AND resource = ? AND until > ? AND {_IN_THE_WAY} AND NOT (turn = ? AND step = ?)"

Call = tuple[str, str]
"""A step as the rows name it: its turn, and the step within it."""


def call_of(step: StepKey) -> Call:
    """Return a step as the rows name it."""
    return str(step.turn), step.within_turn


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: a step before its body, or a part of its body."""

    step: StepKey
    part: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """What its rows have in common."""
        return (*call_of(self.step), self.part)


@dataclass(frozen=True, slots=True)
class Ticket:
    """A caller's place in all its queues. Times in microseconds since 1970; no number: it is new."""

    number: int | None = None
    since: int = 0
    seen: int = 0
    deadlock_victim: str = ""
    deadlock_reported: str = ""


@dataclass(frozen=True, slots=True)
class Other:
    """Another caller's row at a resource."""

    turn: str
    step: str
    mode: str
    state: str
    number: int
    since: int
    done_by: int

    @property
    def session(self) -> str:
        """Whose it is."""
        return self.turn.rpartition("/")[0]


def finding(caller: Caller) -> Statement:
    """Return the statement that reads a caller's rows."""
    columns = "scope, resource, mode, state, number, since, until, deadlock_victim, deadlock_reported"
    return f"SELECT {columns} FROM places WHERE {_MINE}", caller.key


def mine(tx: Transaction, caller: Caller) -> tuple[dict[tuple[str, str, str], bool], Ticket]:
    """Return what a caller holds (scope, resource, mode: whether its lease still runs), and its ticket."""
    held, ticket = dict[tuple[str, str, str], bool](), Ticket()
    for scope, resource, mode, state, number, since, until, *deadlock in tx.execute(*finding(caller)):
        if state == "held":
            held[scope, resource, mode] = until > micros(tx.now)
        else:
            ticket = Ticket(number, since, until - micros(_presence(mode, state)), *deadlock)
    return held, ticket


def fence(tx: Transaction, caller: Caller) -> int:
    """Return the fence of the locks that a caller holds; 0 where it holds none."""
    held = f"{_MINE} AND state = 'held' AND until > ?"
    found = tx.execute(f"SELECT COALESCE(MAX(fence), 0) FROM places WHERE {held}", (*caller.key, micros(tx.now)))
    return int(found[0][0])


def ahead(tx: Transaction, caller: Caller, wants: Sequence[Want]) -> None:
    """Have what is going to be asked of locks read at once."""
    tx.ahead([statement(tx, caller, want) for want in wants for statement in (_expired, _others)])


def others(tx: Transaction, caller: Caller, want: Want) -> list[Other]:
    """Return the present rows of all others at a resource, in order."""
    return [Other(*row) for row in tx.execute(*_others(tx, caller, want))]


def count(tx: Transaction, caller: Caller, want: Want, which: str = "") -> int:
    """Return how many of all others' present rows are at a resource."""
    where = (want.scope, want.resource, micros(tx.now), *call_of(caller.step))
    return int(tx.execute(f"SELECT COUNT(*) FROM places WHERE {_OTHERS} {which}", where)[0][0])


def line(tx: Transaction, want: Want, number: int) -> tuple[int, float]:
    """Return how many came before a ticket, seen lately or not, and how long ago its holders came, on average."""
    now = micros(tx.now)
    [(before, since)] = tx.execute(
        "SELECT COUNT(CASE WHEN state <> 'held' THEN 1 END), AVG(CASE WHEN state = 'held' AND until > ? THEN since END)"
        " FROM places WHERE scope = ? AND resource = ? AND until > ? AND number < ?",
        (now, want.scope, want.resource, now - micros(LONGEST), number),
    )
    return int(before), max(now - float(since or now), 0.0) / 1e6


def guard(tx: Transaction, want: Want) -> None:
    """Undo the transaction where what it took for granted was not free: others hold it, or came first."""
    here, where = "scope = ? AND resource = ? AND until > ?", (want.scope, want.resource, micros(tx.now))
    if want.mode == "permit":  # the caller's own is among them
        tx.guard(f"(SELECT COUNT(*) FROM places WHERE {here} AND {_IN_THE_WAY}) <= ?", (*where, want.capacity))
        return
    waiting = f"SELECT COUNT(*) FROM places WHERE {here} AND state = 'waiting'"
    left = "SELECT tokens FROM buckets WHERE scope = ? AND resource = ?"
    tx.guard(f"({left}) >= ({waiting})", (want.scope, want.resource, *where))


def expired(tx: Transaction, caller: Caller, want: Want) -> list[StepKey]:
    """Return the steps whose lease of a lock ran out, and who would be in the way."""
    rows = tx.execute(*_expired(tx, caller, want))
    return [StepKey.parse(f"{turn}/{step}") for turn, step, mode in rows if "write" in (want.mode, mode)]


def _others(tx: Transaction, caller: Caller, want: Want) -> Statement:
    return (
        f"SELECT turn, step, mode, state, number, since, done_by FROM places WHERE {_OTHERS} ORDER BY number, since",
        (want.scope, want.resource, micros(tx.now), *call_of(caller.step)),
    )


def _expired(tx: Transaction, caller: Caller, want: Want) -> Statement:
    return (
        "SELECT turn, step, mode FROM places WHERE scope = ? AND resource = ? AND state = 'held' AND until <= ? "
        "AND NOT (turn = ? AND step = ?)",
        (want.scope, want.resource, micros(tx.now), *call_of(caller.step)),
    )


def hold(tx: Transaction, caller: Caller, wants: Sequence[Want], *, fence: int, lease: float, lasts: float) -> None:
    """Insert a caller that holds something."""
    now = micros(tx.now)
    done_by = now + micros(lasts) if lasts else 0
    for want in wants:
        tx.execute(
            "INSERT INTO places (turn, step, part, scope, resource, mode, state, number, fence, since, until, done_by) "
            "VALUES (?, ?, ?, ?, ?, ?, 'held', 0, ?, ?, ?, ?)",
            (*caller.key, want.scope, want.resource, want.mode, fence, now, now + micros(lease), done_by),
        )


def queue(tx: Transaction, caller: Caller, wants: Mapping[Want, str], ticket: Ticket) -> None:
    """Insert a caller that waits, in these states."""
    deadlock = (codec.whole(ticket.deadlock_victim), codec.whole(ticket.deadlock_reported))
    for want, state in wants.items():
        where = (*caller.key, want.scope, want.resource, want.mode, state)
        until = micros(tx.now + _presence(want.mode, state))
        tx.execute(
            "INSERT INTO places (turn, step, part, scope, resource, mode, state, number, fence, since, until, done_by, "
            "deadlock_victim, deadlock_reported) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?, 0, ?, ?)",
            (*where, ticket.number, ticket.since, until, *deadlock),
        )


def _presence(mode: str, state: str) -> float:
    return RESERVED if state == "waiting" and mode in ("permit", "rate") else PRESENCE


def shorten(tx: Transaction, want: Want) -> None:
    """Have nobody be present for longer than anybody is at once: the clock was set back since."""
    longest = micros(tx.now + LONGEST)
    tx.execute(
        "UPDATE places SET until = ? WHERE scope = ? AND resource = ? AND until > ?",
        (longest, want.scope, want.resource, longest),
    )


def clear(tx: Transaction, caller: Caller) -> None:
    """Delete a caller's rows."""
    tx.execute(f"DELETE FROM places WHERE {_MINE}", caller.key)


def renew(tx: Transaction, step: StepKey, *, lease: float) -> None:
    """Hold what a step holds for longer.

    A permit that ran out is gone: somebody may have it. A lock is its holder's until another takes the step over.
    """
    now, until = micros(tx.now), micros(tx.now + lease)
    held = "state = 'held' AND (mode <> 'permit' OR until > ?)"
    tx.execute(f"UPDATE places SET until = ? WHERE turn = ? AND step = ? AND {held}", (until, *call_of(step), now))


def leave(tx: Transaction, step: StepKey, part: str | None = None) -> None:
    """Release what a step holds, and its tickets.

    With `part` only that part's; with an empty one the tickets of the step itself: what it holds goes with its claim.
    """
    if part is None:
        tx.execute("DELETE FROM places WHERE turn = ? AND step = ?", call_of(step))
    else:
        which = _MINE if part else f"{_MINE} AND state <> 'held'"
        tx.execute(f"DELETE FROM places WHERE {which}", (*call_of(step), part))


def abandon(tx: Transaction, step: StepKey) -> None:
    """Release what the body of an earlier attempt took on its way."""
    tx.execute("DELETE FROM places WHERE turn = ? AND step = ? AND part <> ''", call_of(step))


def renew_all(tx: Transaction, steps: Sequence[StepKey], *, lease: float) -> None:
    """Hold what those steps hold for longer; a permit that ran out is gone, and somebody may have it."""
    now, until = micros(tx.now), micros(tx.now + lease)
    which = f"(turn, step) IN (VALUES {', '.join(['(?, ?)'] * len(steps))})"
    held = "state = 'held' AND (mode <> 'permit' OR until > ?)"
    calls = [value for step in steps for value in call_of(step)]
    tx.execute(f"UPDATE places SET until = ? WHERE {which} AND {held}", (until, *calls, now))


def settle(tx: Transaction, turn: TurnKey, number: str | None = None) -> None:
    """Release everything of a turn, or of its steps and calls of one number."""
    which = "%" if number is None else f"{number}/%"
    tx.execute("DELETE FROM places WHERE turn = ? AND step || '/' LIKE ?", (str(turn), which))


def forget(tx: Transaction, wants: Iterable[Want]) -> None:
    """Delete tickets that nobody saw for long, and the permits among `wants` that ran out as long ago.

    An expired lock stays: who takes it over has to know whose it was.
    """
    old = micros(tx.now - FORGET_AFTER)
    sweep(tx, "places", _COLUMNS_OF_KEY, "until < ? AND state <> 'held'", (old,))  # as the index is declared
    for want in wants:
        if want.mode == "permit":
            over = "scope = ? AND resource = ? AND until < ? AND state = 'held'"
            sweep(tx, "places", _COLUMNS_OF_KEY, over, (want.scope, want.resource, old))


def listed(tx: Transaction, tenant: str | None = None) -> list[Place]:
    """Return all places, of one tenant (with what all share) where given, by resource and number."""
    where, values = ("", ()) if tenant is None else ("WHERE scope IN (?, '')", (tenant,))
    rows = tx.execute(
        f"SELECT scope, resource, turn, step, mode, state, number, fence, since, until FROM places {where} "
        "ORDER BY scope, resource, number, turn, step, part",
        values,
    )
    now = micros(tx.now)
    return [
        Place(scope, resource, f"{turn}/{step}", mode, state, number, fence, max(now - since, 0) / 1e6, until > now)
        for scope, resource, turn, step, mode, state, number, fence, since, until in rows
    ]
