"""The rows of steps in the ledger, one per step.

Nothing here decides; the rules are in `steps.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from inturn.journal.log import codec
from inturn.journal.store.store import Statement, Transaction
from inturn.journal.values import Attempts, FailureClass
from inturn.keys import StepKey, TurnKey

NO_CALL: Final = -1
"""Number of the call in the row of a step that is none."""

USAGE: Final = "usage"
_PLACE: Final = "place"
_FAILED: Final = "failed"
_KEY: Final = "tenant = ? AND session = ? AND turn = ? AND step = ? AND call = ?"
_SELECT: Final = (
    "SELECT state, token, fence, began, began_before, lease_until, scheduled, checkpoint, attempts, result "
    f"FROM steps WHERE {_KEY}"
)
_INSERT: Final = (
    "INSERT INTO steps "
    "(tenant, session, turn, step, call, state, token, fence, began, began_before, lease_until, scheduled, "
    "attempts) VALUES (?, ?, ?, ?, ?, 'open', ?, ?, ?, 0, ?, ?, '{}')"
)


@dataclass(frozen=True, slots=True)
class Row:
    """A step's row."""

    state: str
    token: str
    fence: int | None
    began: int
    began_before: int
    lease_until: int
    scheduled: int
    checkpoint: str | None
    attempts: str
    result: str | None

    @property
    def open(self) -> bool:
        """Whether nothing is recorded yet."""
        return self.state == "open"

    @property
    def unclaimed(self) -> bool:
        """Whether no attempt holds it and its body never began."""
        return self.open and not self.token and not self.began

    def overtaken(self, scheduled: int, now: int) -> bool:
        """Return whether a later attempt than the one scheduled then holds it, and lives.

        One that has died need not be waited for: the clock by which attempts are scheduled may have been set back.
        """
        return self.token != "" and self.scheduled > scheduled and self.lease_until > now

    def held_by(self, token: str) -> bool:
        """Return whether this token may write. An empty one never may, also on a row that was released."""
        return self.open and token != "" and self.token == token

    def failed_attempts(self, now: float = 0.0) -> Attempts:
        """Return the failed attempts so far."""
        kept = codec.loads(self.attempts)
        usage, place, failed = kept.pop(USAGE, {}), kept.pop(_PLACE, None), kept.pop(_FAILED, "")
        counts, since = {name: k[0] for name, k in kept.items()}, {name: k[1] for name, k in kept.items()}
        return Attempts(counts, since, place, usage, now, failed)


def key_of(step: StepKey) -> tuple[str, str, str, str, int]:
    """Return the columns that name a step's row."""
    call = NO_CALL if step.index is None else step.index
    return (step.session.tenant, step.session.session_id, step.turn.turn, step.step, call)


def finding(tx: Transaction, step: StepKey) -> Statement:
    """Return the statement that reads a step's row and locks it."""
    return f"{_SELECT} {tx.for_update}", key_of(step)


def find(tx: Transaction, step: StepKey, *, lock: bool = False) -> Row | None:
    """Return a step's row, where there is one; with `lock` it is what the row says until this transaction ends."""
    rows = tx.execute(*finding(tx, step)) if lock else tx.execute(_SELECT, key_of(step))
    if not rows:
        return None
    row = Row(*rows[0])
    # What settles a row is the same for all, and in clear.
    result = row.result if row.state == "settled" else unsealed(tx, "result", step, row.result)
    return replace(row, checkpoint=unsealed(tx, "checkpoint", step, row.checkpoint), result=result)


def sealed(tx: Transaction, column: str, step: StepKey, value: Any) -> str:
    """Return what a step keeps in a column, as it is stored."""
    return tx.sealing.seal(codec.dumps(value), f"steps.{column}", *key_of(step))


def unsealed(tx: Transaction, column: str, step: StepKey, stored: str | None) -> str | None:
    """Return what a step keeps in a column."""
    return tx.sealing.unseal(stored, f"steps.{column}", *key_of(step))


def insert(
    tx: Transaction,
    step: StepKey,
    token: str = "",
    *,
    fence: int | None = None,
    began: bool = False,
    until: int = 0,
    scheduled: int = 0,
) -> Row:
    """Insert the row of a step that has none, and return it."""
    tx.execute(_INSERT, (*key_of(step), token, fence, int(began), until, scheduled))
    return Row("open", token, fence, int(began), 0, until, scheduled, None, "{}", None)


def update(tx: Transaction, step: StepKey, changes: str, *values: Any) -> None:
    """Change a step's row, whoever holds it."""
    tx.execute(f"UPDATE steps SET {changes} WHERE {_KEY}", (*values, *key_of(step)))


def lock_turn(tx: Transaction, turn: TurnKey) -> None:
    """Lock the rows of a turn's steps."""
    if tx.for_update:
        which = "tenant = ? AND session = ? AND turn = ? ORDER BY step, call"
        tx.execute(
            f"SELECT 1 FROM steps WHERE {which} {tx.for_update}",
            (turn.session.tenant, turn.session.session_id, turn.turn),
        )


def holds(tx: Transaction, step: StepKey, token: str) -> bool:
    """Return whether the token holds the step, and keep it so until this transaction ends."""
    row = locked(tx, step)
    return row is not None and row.held_by(token)


def locked(tx: Transaction, step: StepKey) -> Row | None:
    """Lock the row of a step, where a transaction begins with that, and return it."""
    tx.ahead([finding(tx, step)])
    return find(tx, step, lock=True)


def counted(tx: Transaction, attempts: Attempts, failure: FailureClass) -> str:
    """Count one more failed attempt; return them all as the row keeps them."""
    attempts.counts[failure] = attempts.counts.get(failure, 0) + 1
    attempts.since.setdefault(failure, tx.now)
    return written(attempts)


def written(attempts: Attempts) -> str:
    """Return failed attempts as the row keeps them."""
    kept: dict[str, Any] = {name: [count, attempts.since[name]] for name, count in attempts.counts.items()}
    if attempts.place is not None:
        kept[_PLACE] = attempts.place
    if attempts.usage:
        kept[USAGE] = attempts.usage
    if attempts.failed:
        kept[_FAILED] = attempts.failed
    return codec.dumps(kept)


def count_lost(tx: Transaction, step: StepKey, row: Row) -> Row:
    """Count the attempt that another one takes over from, if how it ended was never recorded."""
    if not row.token:
        return row
    attempts = counted(tx, row.failed_attempts(), "lost")
    update(tx, step, "attempts = ?", attempts)
    return replace(row, attempts=attempts)
