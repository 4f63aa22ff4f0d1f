"""What the journal takes and gives.

Invariant: values only. They hold no SQL and decide nothing, so any process may make them.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from inturn.errors import JournalUnavailable
from inturn.journal.limits.requests import ResourceWait
from inturn.journal.money.requests import Reserved
from inturn.keys import SessionKey, StepKey
from inturn.values import Disposition, Entry, StopReason, UnknownOutcome, Usage

FailureClass = Literal["own", "account", "refused", "unknown", "outage", "summary", "broken", "overtime", "lost"]
"""`refused`: as for the account's sake, while others were answered.
`broken`: answers that broke off at one place. `overtime`: attempts that took all the time a step has.
`lost`: how the attempt ended was never recorded; its worker died or was cut off."""
ClaimStatus = Literal["claimed", "done", "settled", "leased", "ended", "closed", "waiting", "missing"]
Missing = Literal["lost", "elsewhere", "false"]
"""Why the content that an event refers to is not to be had: neither a row nor an entry has it; it was put into another
journal; it has another size than the event said."""


class Superseded(Exception):
    """The token is no longer the step's: it was settled, is done, or was claimed anew. Nothing was written."""


class AnswerLost(JournalUnavailable):
    """It is not known whether what was to be written is."""


class JournalBehind(Exception):
    """The journal here is not the session's own, or ends before what the session has seen. Nothing was written."""


def new_token() -> str:
    """Return a token for one claim, made before its transaction: tried again with the same one it is the same claim."""
    return os.urandom(8).hex()


@dataclass(frozen=True, slots=True)
class Position:
    """Where a session's log stands.

    Attributes:
        identity: The beginning of its first entry's hash, by which the log is known wherever it lies; empty: no entry.
        head: Its last seq.
        seal: The beginning of its last entry's hash, which covers all before it.
    """

    identity: str = ""
    head: int = 0
    seal: str = ""


@dataclass(frozen=True, slots=True)
class Written(Position):
    """Where a session's log stands behind what the session decided.

    Attributes:
        usage: What attempts used that gave no answer, as the end of a settled turn says.
    """

    usage: dict[str, float] = field(default_factory=dict)


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
class NewDelta:
    """A row of an answer's preview to publish, while its attempt holds the step.

    Attributes:
        token: The claim's.
        fence: The claim's, too: rows of a session are in order of fence and index.
        said: The row 0 says of which event and step they are, the others what was said: lists of the content block,
            what it is (`t`ext, `k`: thinking, `n`: a tool's name, `j`: its input) and the piece.
    """

    step: StepKey
    token: str
    fence: int
    index: int
    said: Any


@dataclass(frozen=True, slots=True)
class DeltaRow:
    """A row of a preview, as `NewDelta` wrote it; `said` is `None` where it cannot be read."""

    fence: int
    index: int
    said: Any


DeltaPlace = tuple[int, int]
"""A fence, and the index of a row under it: the rows of a session's previews are in this order."""
BEGINNING: Final[DeltaPlace] = (0, -1)
"""Before every row."""


@dataclass(frozen=True, slots=True)
class News:
    """What one look finds.

    Attributes:
        heads: Those behind the seqs that are known.
        stopped: Steps, and when they were stopped.
        deltas: Rows of previews behind the places that are known.
    """

    heads: dict[SessionKey, int]
    stopped: list[tuple[StepKey, float]]
    deltas: dict[SessionKey, list[DeltaRow]]


@dataclass(frozen=True, slots=True)
class Spent:
    """What the turn of an event used in all, by the books that bills are read from: in clear, whatever the keys.

    Attributes:
        model: The one that answered last.
    """

    usage: Usage
    agent: str | None = None
    model: str | None = None


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
    spent: Spent | None = None
    """What its turn used; not read back."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How an event ended, by two books: its outcome, and the entries that were written along with outcomes.

    `None`: that book knows of no end. They differ only where somebody changed one of them.
    """

    outcome: Disposition | None
    by_entries: Disposition | None
    into: str | None = None
    into_by_entries: str | None = None
    """Whose turn answers it, where it was merged."""


@dataclass(slots=True)
class Attempts:
    """Failed attempts of a step, by class, and when the first of each was.

    Times are in seconds since 1970 by the journal's clock, which no other one is compared with.

    Attributes:
        now: When the journal said so.
        failed: Token of the attempt that failed last.
        place: Where the answers that are counted as `broken` broke off, in bytes.
        usage: What all of them used, by the names of `Usage`: they are paid, too.
    """

    counts: dict[FailureClass, int] = field(default_factory=dict)
    since: dict[FailureClass, float] = field(default_factory=dict)
    place: int | None = None
    usage: dict[str, float] = field(default_factory=dict)
    now: float = 0.0
    failed: str = ""

    def lasted(self, failure: FailureClass) -> float:
        """Return for how many seconds attempts have failed so."""
        return max(self.now - self.since.get(failure, self.now), 0.0)

    def has_lasted(self, failure: FailureClass, seconds: float) -> bool:
        """Return whether attempts have failed so for so many seconds."""
        return failure in self.counts and self.lasted(failure) >= seconds


@dataclass(frozen=True, slots=True)
class Claim:
    """The answer to a claim.

    Attributes:
        status: `claimed`: go on, with `token`. `done`, `settled`: `result` is the record. `leased`: another attempt's
            body may still run for `lease_left`. `ended`: the event has `outcome` already. `closed`: the session is
            closed. These two carry the step's own record in `result` where it has one (its answer was lost). `waiting`:
            what was wanted is not free, and `waiting` is why; nothing was claimed. `missing`: what the event says is
            not to be had, and `missing` is why; nothing was claimed.
        fence: A model step's: the session's. A call's: that of the locks granted with it.
        began: An earlier attempt's body began and left no result: what it did is not known.
        lease_left: Seconds until the lease on record runs out, by the journal's clock when it answered.
        head: The session's last seq, after the entries of this claim.
        entries: What was asked for with `after`, where the step was claimed; `None` where it is too much for a
            claim.
        apart: Events that were to join and whose content is not to be had.
        watched: Somebody looks at the session now: what the model says is to be shown as it comes.
        reserved: What is set aside for the request, where that was asked for.
    """

    status: ClaimStatus
    token: str = ""
    fence: int = 0
    head: int = 0
    result: dict[str, Any] | None = None
    began: bool = False
    lease_left: float = 0.0
    checkpoint: Any = None
    attempts: Attempts = field(default_factory=Attempts)
    outcome: Outcome | None = None
    entries: tuple[Entry, ...] | None = None
    waiting: ResourceWait | None = None
    missing: Missing | None = None
    apart: tuple[str, ...] = ()
    watched: bool = False
    reserved: Reserved | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """One thing that a session decided, to be written once (by `entry.key`)."""

    entry: NewEntry
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True)
class Resolution:
    """What an operator found out about a call whose outcome is unknown."""

    done: bool
    result: Any = None
    by: str | None = None
    reason: str | None = None

    def text(self, of: UnknownOutcome) -> str:
        """Return it in words, for the model."""
        who = f" by {self.by}" if self.by else ""
        why = f" ({self.reason})" if self.reason else ""
        found = f"The call {of.call_id} of {of.tool}, whose outcome was unknown, was looked into{who}{why}: "
        if not self.done:
            return f"{found}it was not done and had no effect."
        result = self.result if isinstance(self.result, str) else json.dumps(self.result, ensure_ascii=False)
        return f"{found}it was done. Its result: {result}" if self.result is not None else f"{found}it was done."

    def same(self, other: Resolution) -> bool:
        """Return whether both found the same, whoever did."""
        return (self.done, self.result) == (other.done, other.result)


@dataclass(frozen=True, slots=True)
class Serving:
    """What a worker says of an agent that it serves.

    Attributes:
        worker: Who serves it.
        agent: The agent's name.
        queue: The task queue from which workers take its steps that have the same as this one.
        manifest: Hash of what the model is told of it.
        tools: Its tools' names.
        deliver: It has a `deliver`.
        version: The build that the worker is of, `DEPLOYMENT:BUILD`, if any.
        limits: What the worker was set to allow of what all share, by names.
        trouble: What the worker suffers from, for people.
        keys: Names of the keys that it has (`KeyRing.names`), the one that encrypts first.
        since: When the worker began, in seconds since 1970.
        seen: When it said so last.
    """

    worker: str
    agent: str
    queue: str
    manifest: str = ""
    tools: tuple[str, ...] = ()
    deliver: bool = False
    version: str | None = None
    limits: dict[str, float] = field(default_factory=dict)
    trouble: str = ""
    keys: tuple[str, ...] = ()
    since: float = 0.0
    seen: float = 0.0
