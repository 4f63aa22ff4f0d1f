"""What a backend provides: transactions, nothing more.

Invariant: the journal's rules are functions over `Transaction`; a backend runs each of them in one transaction, all or
nothing, and adds no rule of its own.

SQL here is the part that SQLite and PostgreSQL share, with `?` for parameters. Times are whole microseconds since 1970.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from inturn.encryption.columns import Sealing

T = TypeVar("T")
Rows = list[tuple[Any, ...]]
Statement = tuple[str, Sequence[Any]]
"""SQL and its parameters."""


class GuardFailed(Exception):
    """What a transaction had taken for granted was not so. Nothing was written."""


class Transaction(Protocol):
    """An open transaction.

    Attributes:
        sealing: Through which a column goes that holds what somebody said.
    """

    sealing: Sealing

    @property
    def now(self) -> float:
        """The time by which it judges, in seconds since 1970: never before the last row that it locked was its own."""
        ...

    @property
    def for_update(self) -> str:
        """What a SELECT ends with to lock its rows, where the backend needs it."""
        ...

    @property
    def epoch(self) -> str:
        """An expression: no fence that was given before the last failover is above it."""
        ...

    def ahead(self, statements: Sequence[Statement]) -> None:
        """Have these reads sent together, where each would cost a trip: `execute` of one of them then has its rows.

        They are run now, in this order, before whatever `execute` runs next.
        """

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Rows:
        """Run one statement and return all its rows."""
        ...

    def exclude(self) -> None:
        """Keep everybody else from writing until this transaction ends."""

    def refuse(self, why: str) -> None:
        """Have the database refuse from now on what others, who have it open, still write."""

    def guard(self, condition: str, parameters: Sequence[Any] = ()) -> None:
        """Undo the transaction unless a condition holds here; whoever writes then gets `GuardFailed`.

        Nobody waits for the answer, so rows that it locks are locked for no longer than the commit takes.
        """

    def define(self, statement: str) -> None:
        """Run a CREATE statement, with the backend's words for `{bytes}`, `{clustered}` and `{unlogged}`."""


class Store(Protocol):
    """A database that runs transactions for async callers."""

    @property
    def name(self) -> str:
        """What tells the database from others, for this process; without a password."""
        ...

    async def open(self) -> None:
        """Connect, and create the tables where there are none. Calling it twice does nothing."""

    async def close(self) -> None:
        """Finish what is queued and disconnect."""

    async def write(self, work: Callable[[Transaction], T], *, durable: bool = True, urgent: bool = False) -> T:
        """Run `work` in a transaction of its own and commit it; durable once this returns.

        A caller that is cancelled meanwhile does not undo the work. With `durable=False` it survives the death of any
        process at once, but a power cut only with the next durable commit: for what whoever lost it does again. With
        `urgent` it waits for nobody who waits for a lock: for what ends a claim, or holds it.

        Raises:
            JournalUnavailable: Nothing was written.
            AnswerLost: Or perhaps it was.
        """
        ...

    async def version(self) -> int | None:
        """Return a number that changes with every commit of any process, where looking at it is cheap; else `None`.

        Raises:
            JournalUnavailable: The database cannot be read.
        """
        ...

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` on one consistent snapshot, which it must not change.

        Raises:
            JournalUnavailable: The database cannot be read.
        """
        ...
