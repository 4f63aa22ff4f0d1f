"""The client: sessions of one tenant on one Temporal namespace.

Invariant: making one does no I/O. It connects once, at its first call or at `async with`, and closes only what it
opened.
"""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from types import TracebackType
from typing import TYPE_CHECKING, Unpack

from temporalio.exceptions import TemporalError

from inturn.client.journal.documents import Documents
from inturn.client.listing import Sessions, list_approvals, query_for
from inturn.client.reader import Cursor
from inturn.client.schedules import ScheduleInfo, ScheduleOptions, Schedules
from inturn.client.session import Session
from inturn.client.temporal.connection import Connection
from inturn.client.temporal.rpc_errors import translate_error
from inturn.client.temporal.transport import SessionTransport
from inturn.errors import InvalidEvent, Unavailable
from inturn.journal.state.changes import Scope
from inturn.keys import ID_PATTERN, SessionKey, is_id
from inturn.tools.shared_state import State
from inturn.turns.media import check_upload
from inturn.values import PendingApproval, SessionState

if TYPE_CHECKING:
    from typing import Self

    from temporalio.client import Client as Temporal

    from inturn.journal import SessionJournal


class Client:
    """Sends events to sessions and reads them.

    ```python
    async with Client() as client:
        turn = await client.session("order-17", agent="support").ask("Where is it?")
    ```
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        namespace: str | None = None,
        tenant: str = "default",
        task_queue: str | None = None,
        journal: str | SessionJournal | None = None,
        temporal: Temporal | None = None,
    ) -> None:
        """Make a client; nothing is opened yet.

        Args:
            address: `host:port` of the Temporal server. Unset: from `TEMPORAL_*` or its profile, as every Temporal
                client.
            namespace: Unset: the same way.
            tenant: Whose sessions.
            task_queue: The workers' task queue, for sessions that start. Unset: `INTURN_TASK_QUEUE`, else `inturn`.
            journal: Where to read answers and entries: a URL, or a journal of yours that is never closed here. Unset:
                `INTURN_JOURNAL`. Without one, answers come back through the server, up to 4 KB of text, and none of a
                turn that had ended before somebody asked; `ask` for one of long ago raises `JournalUnavailable` then.
            temporal: A client that you have already; it is never closed here, and its data converter must be the
                worker's (`inturn.encryption.data_converter()`).

        Raises:
            InvalidEvent: The tenant is no id.
        """
        _check_id("tenant", tenant)
        self._connection = Connection(address, namespace=namespace, journal=journal, temporal=temporal)
        self._tenant = tenant
        self._task_queue = task_queue
        self._patience: float | None = None
        self._owner = True

    @property
    def tenant(self) -> str:
        """Whose sessions it sees."""
        return self._tenant

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            Unavailable: No server answered.
        """
        await self._connection.temporal()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close what was opened."""
        await self.aclose()

    async def ping(self) -> None:
        """Return once the server has answered.

        Raises:
            Unavailable: It did not.
        """
        try:
            answered = await (await self._connection.temporal()).service_client.check_health()
        except TemporalError as error:
            raise translate_error(error).error from error
        if not answered:
            raise Unavailable("the server answers that it does not serve")

    async def aclose(self) -> None:
        """Close what was opened here; a client made by `with_options` leaves that to its maker."""
        if self._owner:
            await self._connection.close()

    def with_options(
        self, *, tenant: str | None = None, task_queue: str | None = None, patience: float | None = None
    ) -> Client:
        """Return a client with other options that shares this one's connection.

        Args:
            tenant: Whose sessions.
            task_queue: The workers' task queue, for sessions that start.
            patience: Seconds for which an event or a control is repeated while the server cannot take it. Unset:
                `INTURN_PATIENCE`, else 30.

        Raises:
            InvalidEvent: The tenant is no id.
            ValueError: The patience is not above 0.
        """
        other = copy.copy(self)
        other._owner = False
        if tenant is not None:
            _check_id("tenant", tenant)
            other._tenant = tenant
        if task_queue is not None:
            other._task_queue = task_queue
        if patience is not None:
            if not patience > 0:
                raise ValueError(f"patience is {patience} s, it must be above 0")
            other._patience = patience
        return other

    def session(self, session_id: str, *, agent: str | None = None) -> Session:
        """Return a session's handle, without a round trip: its first event starts it where it does not exist.

        Args:
            session_id: Its id within the tenant.
            agent: Who answers; `None` means the session's own agent, or the worker's only one.

        Raises:
            InvalidEvent: An id is no id.
        """
        _check_id("session id", session_id)
        if agent is not None:
            _check_id("agent", agent)
        key = SessionKey(self._tenant, session_id)
        return Session(SessionTransport(self._connection, key, self._task_queue, agent, self._patience))

    def sessions(
        self,
        *,
        agent: str | None = None,
        state: SessionState | None = None,
        parked: bool | None = None,
        limit: int | None = None,
        prefix: str | None = None,
        page: str | None = None,
    ) -> Sessions:
        """Yield the tenant's sessions, the latest first, as the server's visibility shows them (some seconds behind).

        They are found by their workflow ids, whoever began them: this SDK, another one, or the `temporal` CLI.

        Args:
            agent: Only those of this agent, where the one who began the session named it (search attribute
                `InturnAgent`).
            state: Only those that are `requires_action`, `paused` or `closed`.
            parked: Only those with parked events, or (`False`) without.
            limit: At most so many.
            prefix: Only those whose ids begin so.
            page: Where an earlier listing with the same filters was left: its `next_page`, once it was read to its end.

        Raises:
            InvalidEvent: A filter that cannot be asked for, or a page that no listing gave.
            Unavailable: The server did not answer.
        """
        query = query_for(self._tenant, agent=agent, state=state, parked=parked, prefix=prefix)
        return Sessions(self._connection, self._tenant, query, limit=limit, page=page)

    def approvals(self) -> AsyncIterator[PendingApproval]:
        """Yield the approvals that the tenant's sessions wait for, with or without a worker running.

        The sessions are those that the server's visibility shows (some seconds behind), the questions and arguments
        are the journal's; without a journal to read, `args` is `None` and a worker has to answer.

        Raises:
            Unavailable: The server did not answer.
        """
        return list_approvals(self._connection, self._tenant)

    async def upload(self, data: bytes, media_type: str) -> str:
        """Keep a picture, a PDF or a text for this tenant's sessions, and return its reference for events to show.

        ```python
        ref = await client.upload(pdf, "application/pdf")
        shown = {"type": "document", "source": {"type": "inturn", "ref": ref}}
        await session.ask([{"type": "text", "text": "Is this paid?"}, shown])
        ```

        The event stays small: the model gets the bytes with each request. A `document` is a PDF or a text, an `image`
        a PNG, JPEG, GIF or WebP of at most 5 MiB, by what the bytes are; of anything else the model is told that it
        cannot be shown. An upload is kept for as long as a session says it in an entry; what none does goes with
        `inturn journal prune`, once it is as old as that is asked for.

        Args:
            data: 20 MiB at most. The same bytes again have the same reference.
            media_type: What you take it for, such as `image/png`.

        Raises:
            InvalidEvent: There is nothing in it, or too much, or the media type is none.
            JournalUnavailable: This client names no journal, or it does not answer.
        """
        checked, journal = check_upload(data, media_type), await self._connection.any_journal()
        return await journal.put_upload(self._tenant, checked, media_type)

    async def schedule(self, schedule_id: str, **options: Unpack[ScheduleOptions]) -> ScheduleInfo:
        """Make a schedule of events for a session, or change it.

        Each nominal time is one event, `schedule:{id}:{time in UTC}`: late where no worker runs, never twice. What
        becomes of one that finds the session busy, its `when_busy` says.

        ```python
        await client.schedule("daily-check", session_id="order-17", content="Anything open?", cron="0 9 * * 1-5",
                              timezone="Europe/Berlin", when_busy="merge", expires_after=1800)
        ```

        Args:
            schedule_id: Its id within the tenant, at most 64 characters.
            options: See `inturn.ScheduleOptions`; `session_id`, `content`, and `cron` or `every` are needed.

        Raises:
            InvalidEvent: An option breaks its rule, or the server takes no such times or zone.
            Unavailable: The server did not answer.
        """
        return await self.schedules.put(schedule_id, **options)

    @property
    def schedules(self) -> Schedules:
        """The tenant's schedules: to list, pause, resume, trigger, backfill and delete them."""
        return Schedules(self._connection, self._tenant, self._task_queue)

    def cursor(self, name: str) -> Cursor:
        """Return the stored cursor of this name: a reader's place in each session's journal.

        Raises:
            InvalidEvent: The name is no id.
        """
        _check_id("cursor", name)
        return Cursor(self._connection, self._tenant, name)

    @property
    def documents(self) -> Documents:
        """What the tenant's agents remember (`Agent(memory=…)`). It needs the journal, and no worker.

        ```python
        await client.documents.put("rules", "No refunds on Sundays.")
        ```
        """
        return Documents(self._connection, self._tenant)

    @property
    def shared(self) -> State:
        """The tenant's shared state, as tools see it in `ctx.shared`. It needs the journal, and no worker.

        ```python
        await client.shared.push("orders", {"order_id": "1001"}, key="order-1001")
        ```
        """
        return State(self._connection.any_journal, Scope(self._tenant))


def _check_id(what: str, value: object) -> None:
    if not is_id(value):
        raise InvalidEvent(f"{what} {value!r:.200} does not match {ID_PATTERN}")
