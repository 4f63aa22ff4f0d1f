"""What a step asks for before it runs, and what it is answered.

Invariant: values only; whether something is free is decided in `grants.py`, inside a transaction.

A resource is named by its scope (the tenant; empty for what all tenants share) and a name that people can read: it
appears in messages as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Mode = Literal["write", "read", "permit", "rate"]
Victim = Literal["oldest_waiter", "youngest", "report_only"]

SEATS: Final = 8
"""So many wait in place for a permit, at most: it goes from hand to hand, however many come back later."""


@dataclass(frozen=True, slots=True)
class Want:
    """One resource that is wanted.

    Attributes:
        mode: `write` excludes all others, `read` excludes writers, of a `permit` there are `capacity`, and a `rate`
            is a bucket of tokens, of which one is used up.
        capacity: Permits that there are, or tokens that the bucket holds.
        refill: Tokens that come back in a second.
    """

    scope: str
    resource: str
    mode: Mode
    capacity: float = 1
    refill: float = 0.0

    @property
    def is_lock(self) -> bool:
        """Whether it is held by one writer or by readers."""
        return self.mode in ("write", "read")


@dataclass(frozen=True, slots=True)
class ResourceWait:
    """What a caller waits for: of all that it lacks, the first. Times in seconds.

    Attributes:
        resource: What it lacks.
        is_lock: It lacks a lock.
        holder: Who holds that: a session; `None` where there are many, or none.
        held_for: How long that one has held it.
        over: How long ago that one should have been done.
        behind: Whoever came first, where it is not held.
        capacity: How many permits or tokens there are.
        ahead: How many wait in place before this caller.
        expected: Seconds in which it may be its turn, as far as can be told.
        waited: Since its ticket was made.
        waited_before: The same, at its visit before.
        deadlock_victim: It is the victim of a deadlock, which this text describes.
    """

    resource: str
    is_lock: bool = False
    holder: str | None = None
    held_for: float = 0.0
    over: float = 0.0
    behind: str | None = None
    capacity: float = 1
    ahead: int = 0
    expected: float = 0.0
    waited: float = 0.0
    waited_before: float = 0.0
    deadlock_victim: str = ""

    @property
    def in_place(self) -> bool:
        """Whether it may wait in place: as the next for a lock, or as one of the next few for permits and tokens."""
        return self.ahead < (1 if self.is_lock else min(self.capacity, SEATS))

    def __str__(self) -> str:
        """Return it in words, for people."""
        waiting = f"waiting for {self.resource}"
        if self.holder is not None:
            over = f" ({self.over:.0f} s over its limit)" if self.over >= 1 else ""
            return f"{waiting}, held by {self.holder} for {self.held_for:.0f} s{over}"
        if self.is_lock:
            return f"{waiting}, after {self.behind}, who came first"
        return f"{waiting}: all {self.capacity:g} taken"


@dataclass(frozen=True, slots=True)
class Place:
    """A caller's place at one resource, as the doctor shows it.

    Attributes:
        call: The step's key.
        state: `held`, `waiting`; `away`: it comes back for that later, and keeps nobody from it meanwhile; or
            `nonblocking`: it wants that too, and lacks something else.
        lasted: Seconds for which it has been so, by the journal's clock.
        present: It was seen lately; a holder's lease has not run out.
    """

    scope: str
    resource: str
    call: str
    mode: Mode
    state: Literal["held", "waiting", "away", "nonblocking"]
    number: int
    fence: int
    lasted: float
    present: bool


@dataclass(frozen=True, slots=True)
class Deadlock:
    """A cycle of calls of which each waits for a lock that the next one holds.

    Attributes:
        text: The cycle in words.
        victim: The call that has to give way; `None` where it was only reported.
    """

    text: str
    victim: str | None
