"""The journal as its callers see it.

Invariant: whatever a method of this port promises holds in one transaction, on every backend. Callers never see SQL,
and no backend adds a rule of its own.

The ledger's rules (one row per step):
  1. A step's first claim makes its row; `done` and `settled` rows answer with their record for ever.
  2. A later claim takes the row over with a new token; the older token can commit nothing from then on.
  3. A model step's claim raises the session's fence, and its last append needs that fence.
  4. A call whose body began is not taken over before its lease ran out: the caller hears `leased` until then.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from inturn.journal.limits.requests import Deadlock, Place, Victim, Waiting, Want
from inturn.journal.state.changes import Change, Done, Operation, Scope
from inturn.keys import SessionKey, StepKey, TurnKey
from inturn.values import Disposition, Entry, StopReason, UnknownOutcome

FailureClass = Literal["own", "unknown", "outage", "lost"]
"""`lost`: the attempt never said how it ended; whoever ran it died or was cut off."""
ClaimStatus = Literal["claimed", "done", "settled", "leased", "ended", "closed", "waiting"]


class Superseded(Exception):
    """The token is no longer the step's: it was settled, is done, or was claimed anew. Nothing was written."""


@dataclass(frozen=True, slots=True)
class NewEntry:
    """An entry to append. `key` is unique in the session: an entry whose key exists already is skipped."""

    type: str
    body: dict[str, Any]
    event_id: str | None = None
    step: str | None = None
    key: str | None = None
    at: float | None = None
    """Seconds since 1970, where it happened before it is written; else the transaction's time."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an event ended."""

    event_id: str
    turn: str
    """The turn's name: the event id, with `~n` when redriven."""
    disposition: Disposition
    stop: StopReason | None = None
    reason: str | None = None
    into: str | None = None
    """The event whose turn it was merged into."""
    seqs: tuple[int, int] | None = None
    """First and last entry of its turn; filled in by the journal."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How an event ended, as two books tell it: its outcome, and the entries that were written along with outcomes.

    `None`: that book knows of no end. They differ only where somebody changed one of them.
    """

    outcome: Disposition | None
    told: Disposition | None


@dataclass(frozen=True, slots=True)
class Attempts:
    """Failed attempts of a step, by class, and when the first of each was (seconds since 1970)."""

    counts: dict[FailureClass, int] = field(default_factory=dict)
    since: dict[FailureClass, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Claim:
    """The answer to a claim.

    Attributes:
        status: `claimed`: go on, with `token`. `done`, `settled`: `result` is the record. `leased`: another attempt's
            body may still run until `lease_until`. `ended`: the event has `outcome` already. `closed`: the session is
            closed. These two carry the step's own record in `result` where it has one (its answer was lost). `waiting`:
            what was wanted is not free, and `waiting` tells why; nothing was claimed.
        fence: A model step's: the session's. A call's: that of the locks granted with it.
        began: An earlier attempt's body began and left no result: what it did is not known.
        head: The session's last seq, after the entries of this claim.
        entries: What was asked for with `after`, where the step was claimed; `None` where it is too much to bring
            along.
    """

    status: ClaimStatus
    token: str = ""
    fence: int = 0
    head: int = 0
    result: dict[str, Any] | None = None
    began: bool = False
    lease_until: float = 0.0
    checkpoint: Any = None
    attempts: Attempts = field(default_factory=Attempts)
    outcome: Outcome | None = None
    entries: tuple[Entry, ...] | None = None
    waiting: Waiting | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """One thing that a session decided, to be written once (by `entry.key`)."""

    entry: NewEntry
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True)
class Settlement:
    """What an operator says of a call whose outcome is unknown."""

    done: bool
    result: Any = None
    by: str | None = None
    reason: str | None = None

    def text(self, of: UnknownOutcome) -> str:
        """Say it to the model."""
        who = f" by {self.by}" if self.by else ""
        why = f" ({self.reason})" if self.reason else ""
        found = f"The call {of.call_id} of {of.tool}, whose outcome was unknown, was looked into{who}{why}: "
        if not self.done:
            return f"{found}it was not done and had no effect."
        result = self.result if isinstance(self.result, str) else json.dumps(self.result, ensure_ascii=False)
        return f"{found}it was done. Its result: {result}" if self.result is not None else f"{found}it was done."

    def same(self, other: Settlement) -> bool:
        """Tell whether both say the same, whoever says it."""
        return (self.done, self.result) == (other.done, other.result)


class Journal(Protocol):
    """The append-only log of sessions, with the ledger of their steps.

    Every method may raise `inturn.errors.JournalUnavailable`: the same call again is then safe.
    """

    async def open(self) -> None:
        """Connect and bring the schema up to date. Calling it twice does nothing."""

    async def close(self) -> None:
        """Finish what is queued and let go."""

    # The ledger.

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
        """Claim a model step: raise the session's fence, and append the opening entries (those whose keys are new).

        Answers `closed` for a closed session and `ended` for a turn whose outcome is recorded (a `parked` outcome of an
        earlier redrive does not count), before it looks at the row; it never answers `leased`.

        With `after` the claim brings along the entries of these types behind that seq, its own among them: who has
        read so far needs no read of its own.

        With `wants` the step is claimed only when it gets all of them, for `lease` seconds; else it answers `waiting`
        and keeps a ticket.
        """
        ...

    async def claim_call(
        self, step: StepKey, *, lease: float, begin: bool = True, wants: Sequence[Want] = (), lasts: float = 0.0
    ) -> Claim:
        """Claim a tool call (or a delivery). With `begin` its body counts as begun from here, for `lease` seconds.

        Raises nothing for a row that another attempt holds: it answers `leased` while that one's body may run. With
        `wants` it is claimed only when it gets all of them, else it answers `waiting` and keeps a ticket; it should
        be done in `lasts` seconds.
        """
        ...

    async def begin(self, step: StepKey, token: str, *, lease: float) -> None:
        """Mark that the body begins now.

        Raises:
            Superseded: The token is no longer the step's.
        """

    async def renew(self, step: StepKey, token: str, *, lease: float) -> bool:
        """Hold the claim for `lease` more seconds; `False` when it is no longer ours."""
        ...

    async def keep(self, step: StepKey, token: str, checkpoint: Any) -> None:
        """Keep a checkpoint for the step's next attempt.

        Raises:
            Superseded: The token is no longer the step's.
        """

    async def append(self, step: StepKey, token: str, entries: Sequence[NewEntry]) -> int:
        """Append entries while the step runs; gives the new head.

        Raises:
            Superseded: The token is no longer the step's.
        """
        ...

    async def finish(
        self,
        step: StepKey,
        token: str,
        result: dict[str, Any],
        entries: Sequence[NewEntry] = (),
        outcome: Outcome | None = None,
    ) -> int:
        """Append the step's last entries and record its result, in one transaction; gives the new head.

        A result that comes after the row was settled is kept as the row's `late_result`.

        Raises:
            Superseded: The token is no longer the step's, or (a model step) the session's fence moved on.
        """
        ...

    async def fail(self, step: StepKey, token: str, failure: FailureClass, *, clean: bool = False) -> Attempts:
        """Count a failed attempt and let go of its claim; `clean`: its body surely did nothing, so it never began.

        The attempt is over, so nobody waits out its lease.

        Raises:
            Superseded: The token is no longer the step's: whether it failed is for the attempt that holds it to say.
        """
        ...

    async def release(self, step: StepKey, token: str) -> None:
        """Let go of a claim whose body surely did nothing: the next attempt need not wait or wonder."""

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
        """Write what a session decided, in one transaction; gives the new head.

        First the open steps of the turns in `settle`, or only those of that `number`: done stays done, all else becomes
        `settled`, and each tool_use without a result gets an error result: "interrupted", or "cancelled" with that text
        where one is given. Without `number`, where all decisions are written already, nothing is settled: an earlier
        attempt did that, and what is open now began later. Then the decisions whose keys are new, in order. An outcome
        never replaces one of the same or a later redrive, other than `parked` -> `discarded`. `close` appends
        `session.closed` last.
        """
        ...

    async def settle_call(self, call: StepKey, settlement: Settlement) -> Settlement | None:
        """Settle a call whose outcome is unknown, with a `system.message`.

        Gives the settlement that stands: an earlier one, where there is one. `None`: the outcome is not unknown.
        """
        ...

    # Limits. What a step holds is its own until its row is done, settled or let go; `renew` holds it for longer.

    async def lacks(self, step: StepKey, wants: Sequence[Want], *, part: str = "") -> Waiting | None:
        """Tell what a waiter still lacks; `None`: it may have it. Only looks."""
        ...

    async def lock(self, step: StepKey, token: str, want: Want, *, part: str, lease: float) -> int | Waiting:
        """Take a lock for a part of a running body: its fence, or what it waits for.

        Raises:
            Superseded: The token is no longer the step's.
        """
        ...

    async def leave(self, step: StepKey, *, part: str = "") -> None:
        """Give back what a part of a step holds, or its tickets; without `part` those of the step's claim."""

    async def resolve(self, step: StepKey, victim: Victim) -> Deadlock | None:
        """Break the cycle of waits that a call is part of, if there is one that nobody found before."""
        ...

    async def places(self, tenant: str | None = None) -> list[Place]:
        """Give who holds what and who waits for it, of one tenant or of all."""
        ...

    # Reading.

    async def read(
        self,
        session: SessionKey,
        *,
        after: int = 0,
        limit: int = 500,
        event_id: str | None = None,
        types: Sequence[str] = (),
    ) -> list[Entry]:
        """Read entries in order of seq: at most `limit` behind `after`, of one event and of some types where given."""
        ...

    async def head(self, session: SessionKey) -> int:
        """Give the session's last seq, 0 where it has none."""
        ...

    async def outcome(self, session: SessionKey, event_id: str) -> Outcome | None:
        """Give how an event ended, where it did."""
        ...

    async def latest_event(self, session: SessionKey) -> str | None:
        """Give the event whose turn began last."""
        ...

    async def unknown_calls(self, session: SessionKey) -> list[UnknownOutcome]:
        """Give the calls whose outcome is unknown and that nobody settled, in order of their results."""
        ...

    async def outcomes(self, session: SessionKey) -> dict[str, int]:
        """Count the session's ended events by disposition."""
        ...

    async def endings(self, session: SessionKey) -> dict[str, Ending]:
        """Give how each event of the session ended, by its outcome and by the entries; those that did in either."""
        ...

    async def parked(self, session: SessionKey, *, limit: int = 100) -> list[Entry]:
        """Give the latest `event.parked` entries whose events are still parked."""
        ...

    async def verify(self, session: SessionKey) -> list[str]:
        """Check the hash chain; name each seq that does not fit."""
        ...

    # Large values and cursors.

    async def put_blob(self, session: SessionKey, data: bytes) -> str:
        """Keep bytes and give their reference (by content: the same bytes give the same one)."""
        ...

    async def blob(self, session: SessionKey, ref: str) -> bytes | None:
        """Give the bytes of a reference of this session."""
        ...

    async def cursor(self, tenant: str, name: str, session_id: str) -> int:
        """Give a stored cursor's seq, 0 where it has none."""
        ...

    async def move_cursor(self, tenant: str, name: str, session_id: str, seq: int) -> int:
        """Move a stored cursor forward (never back); gives where it stands."""
        ...

    # Shared state.

    async def value(self, scope: Scope, name: str) -> tuple[Any, int] | None:
        """Give a named value with its version, where there is one."""
        ...

    async def change(self, scope: Scope, change: Change, operation: Operation) -> Done:
        """Change shared state, or give what came of this operation before.

        Raises:
            Superseded: The operation's attempt does not hold its call any more.
            ToolError, ValueError: The operation was another before, or the value is not one to change so.
        """
        ...

    async def recall(self, scope: Scope, operation: Operation, what: str) -> Done | None:
        """Give what came of an operation before, where it is not to be done anew. `what`: see `changes.describe`."""
        ...
