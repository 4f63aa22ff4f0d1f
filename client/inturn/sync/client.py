"""The twins of `inturn.Client`, and of what it gives.

Invariant: each has every public call of its async one, under its name; only `aclose` is `close` here.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from inturn.client.client import Client as AsyncClient
from inturn.client.journal.documents import Documents as AsyncDocuments
from inturn.client.reader import Cursor as AsyncCursor
from inturn.client.schedules import Schedules as AsyncSchedules
from inturn.client.session import Session as AsyncSession
from inturn.sync.loop import call
from inturn.sync.twins import Twin, iterates, returns, signed
from inturn.tools.shared_state import State as AsyncState


class Session(Twin[AsyncSession]):
    """One session; see `inturn.Session`."""

    create = returns(AsyncSession.create)
    send = returns(AsyncSession.send)
    submit = returns(AsyncSession.submit)
    ask = returns(AsyncSession.ask)
    wait = returns(AsyncSession.wait)
    cancel = returns(AsyncSession.cancel)
    interrupt = returns(AsyncSession.interrupt)
    compact = returns(AsyncSession.compact)
    approve = returns(AsyncSession.approve)
    deny = returns(AsyncSession.deny)
    pause = returns(AsyncSession.pause)
    resume = returns(AsyncSession.resume)
    close = returns(AsyncSession.close)
    control_result = returns(AsyncSession.control_result)
    parked = returns(AsyncSession.parked)
    redrive = returns(AsyncSession.redrive)
    discard = returns(AsyncSession.discard)
    unknown_calls = returns(AsyncSession.unknown_calls)
    settle = returns(AsyncSession.settle)
    accept_journal = returns(AsyncSession.accept_journal)
    status = returns(AsyncSession.status)
    audit = returns(AsyncSession.audit)
    transcript = returns(AsyncSession.transcript)
    read_blob = returns(AsyncSession.read_blob)
    entries = iterates(AsyncSession.entries)
    stream = iterates(AsyncSession.stream)

    @signed(AsyncSession.fork)
    def fork(self, *args: Any, **kwargs: Any) -> Session:
        """Return a handle of the new session."""
        forked = call(self._twin.fork(*args, **kwargs))
        return Session(lambda: forked)

    @property
    def session_id(self) -> str:
        """Its id within the tenant."""
        return self._twin.session_id

    @property
    def tenant(self) -> str:
        """Whose it is."""
        return self._twin.tenant

    @property
    def agent(self) -> str | None:
        """The agent that this handle asks for."""
        return self._twin.agent

    def __repr__(self) -> str:
        """Return it with the session's workflow id."""
        return repr(self._twin)


class Cursor(Twin[AsyncCursor]):
    """A stored place in sessions' journals; see `inturn.Cursor`."""

    entries = iterates(AsyncCursor.entries)
    position = returns(AsyncCursor.position)
    move = returns(AsyncCursor.move)


class State(Twin[AsyncState]):
    """A tenant's shared state; see `inturn.State`."""

    get = returns(AsyncState.get)
    incr = returns(AsyncState.incr)
    put = returns(AsyncState.put)
    update = returns(AsyncState.update)
    put_if_absent = returns(AsyncState.put_if_absent)
    delete = returns(AsyncState.delete)
    push = returns(AsyncState.push)
    claim = returns(AsyncState.claim)
    complete = returns(AsyncState.complete)
    release = returns(AsyncState.release)


class Documents(Twin[AsyncDocuments]):
    """A tenant's documents; see `inturn.Client.documents`."""

    get = returns(AsyncDocuments.get)
    put = returns(AsyncDocuments.put)
    delete = returns(AsyncDocuments.delete)
    list = iterates(AsyncDocuments.list)


class Schedules(Twin[AsyncSchedules]):
    """A tenant's schedules; see `inturn.Client.schedules`."""

    put = returns(AsyncSchedules.put)
    get = returns(AsyncSchedules.get)
    list = iterates(AsyncSchedules.list)
    pause = returns(AsyncSchedules.pause)
    resume = returns(AsyncSchedules.resume)
    trigger = returns(AsyncSchedules.trigger)
    backfill = returns(AsyncSchedules.backfill)
    delete = returns(AsyncSchedules.delete)


class Client(Twin[AsyncClient]):
    """Sends events to sessions and reads them; see `inturn.Client`."""

    @signed(AsyncClient.__init__)
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Make a client; nothing is opened yet."""
        self._stand_for(lambda: AsyncClient(*args, **kwargs))

    @classmethod
    def _of(cls, make: Any) -> Self:
        made = cls.__new__(cls)
        made._stand_for(make)
        return made

    def __enter__(self) -> Self:
        """Connect.

        Raises:
            Unavailable: No server answered.
        """
        self._connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close what was opened."""
        self.close()

    _connect = returns(AsyncClient.__aenter__)
    close = returns(AsyncClient.aclose)
    schedule = returns(AsyncClient.schedule)
    upload = returns(AsyncClient.upload)
    ping = returns(AsyncClient.ping)
    sessions = iterates(AsyncClient.sessions)
    approvals = iterates(AsyncClient.approvals)

    @property
    def tenant(self) -> str:
        """Whose sessions it sees."""
        return self._twin.tenant

    @property
    def shared(self) -> State:
        """The tenant's shared state; see `inturn.Client.shared`."""
        return State(lambda: self._twin.shared)

    @property
    def documents(self) -> Documents:
        """The tenant's documents; see `inturn.Client.documents`."""
        return Documents(lambda: self._twin.documents)

    @property
    def schedules(self) -> Schedules:
        """The tenant's schedules; see `inturn.Client.schedules`."""
        return Schedules(lambda: self._twin.schedules)

    @signed(AsyncClient.with_options)
    def with_options(self, *args: Any, **kwargs: Any) -> Client:
        """Return a client with other options."""
        return self._of(lambda: self._twin.with_options(*args, **kwargs))

    @signed(AsyncClient.session)
    def session(self, *args: Any, **kwargs: Any) -> Session:
        """Return a handle."""
        return Session(lambda: self._twin.session(*args, **kwargs))

    @signed(AsyncClient.cursor)
    def cursor(self, *args: Any, **kwargs: Any) -> Cursor:
        """Return a stored cursor."""
        return Cursor(lambda: self._twin.cursor(*args, **kwargs))
