"""Listing sessions, and the approvals that wait in them, through the server's visibility.

Invariant: a listing never crosses tenants: whose a session is, its workflow id alone decides, never a search attribute
(whoever starts a workflow sets those). Nothing that a user gives is put into a query unchecked.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Final

from temporalio.client import WorkflowExecution, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from inturn import names
from inturn.client.control.approvals import ApprovalReader
from inturn.client.status import StatusReader
from inturn.client.temporal.connection import Connection
from inturn.client.temporal.rpc_errors import translate_error
from inturn.client.temporal.search_attributes import AGENT, PARKED, STATE
from inturn.client.temporal.transport import SessionTransport
from inturn.errors import InvalidEvent, JournalUnavailable
from inturn.keys import SessionKey, is_id
from inturn.values import Approval, PendingApproval, SessionInfo

_MAY_WAIT: Final = ("requires_action", "paused")
"""What search attributes hold for sessions with a pending approval: a pause hides it."""
_PAGE: Final = 200
"""Sessions that are asked for at once."""
_TOKEN: Final = 4 * 1024
"""Characters of a page's name, at most."""
_SHOWN: tuple[str, ...] = ("requires_action", "paused", "closed")
"""States that search attributes hold: the rare ones."""


class Sessions(AsyncIterator[SessionInfo]):
    """A listing of sessions; it can be gone on with later, from where it was left after `limit` of them.

    Attributes:
        next_page: Where it goes on, for `Client.sessions(page=…)`; `None` before its end, and where nothing follows.
    """

    def __init__(
        self, connection: Connection, tenant: str, query: str, *, limit: int | None = None, page: str | None = None
    ) -> None:
        """List what a query finds.

        Raises:
            InvalidEvent: The limit or the page is none.
        """
        if limit is not None and limit < 1:
            raise InvalidEvent(f"limit is {limit!r:.100}, it must be above 0")
        self.next_page: str | None = None
        self._connection = connection
        self._tenant = tenant
        self._query = query
        self._left = limit
        self._token = _token(page)
        self._found: list[SessionInfo] = []
        self._listed: set[SessionKey] = set()
        """One that was terminated and began anew has several runs: the latest of each is listed."""
        self._ended = False

    async def __anext__(self) -> SessionInfo:
        """Return the next one.

        Raises:
            Unavailable: The server did not answer.
        """
        while not self._found:
            if self._ended or self._left == 0:
                self.next_page = None if self._ended or not self._token else _page(self._token)
                raise StopAsyncIteration
            self._found = await self._next_found()
        return self._found.pop(0)

    async def _next_found(self) -> list[SessionInfo]:
        """Return what the server's next page has, which is no larger than what is left to list."""
        temporal = await self._connection.temporal()
        size = _PAGE if self._left is None else min(self._left, _PAGE)
        listing = temporal.list_workflows(self._query, page_size=size, next_page_token=self._token)
        try:
            await listing.fetch_next_page()
        except RPCError as error:
            if error.status is RPCStatusCode.INVALID_ARGUMENT and self._token and not self._listed:
                raise InvalidEvent("page is none that this server gave for these sessions") from error
            raise translate_error(error).error from error
        self._token = listing.next_page_token
        self._ended = not self._token
        found = [info for run in listing.current_page or () if (info := self._new(run)) is not None]
        self._left = None if self._left is None else self._left - len(found)
        return await _with_activity(self._connection, self._tenant, found)

    def _new(self, run: WorkflowExecution) -> SessionInfo | None:
        key = _key(run.id)
        if key is None or key.tenant != self._tenant or key in self._listed:
            return None
        self._listed.add(key)
        return _info(key, run)


def query_for(
    tenant: str, *, agent: str | None, state: str | None, parked: bool | None, prefix: str | None = None
) -> str:
    """Return the visibility query: by workflow type and id alone, which every session has, whoever began it.

    Raises:
        InvalidEvent: A filter that visibility does not hold.
    """
    if prefix is not None and not is_id(prefix):
        raise InvalidEvent(f"prefix {prefix!r:.200} begins no session's id")
    terms = [
        f"WorkflowType = '{names.SESSION_WORKFLOW}'",
        f"WorkflowId STARTS_WITH '{tenant}/{prefix or ''}'",
        "ExecutionStatus != 'ContinuedAsNew'",  # earlier runs of the same session
    ]
    if agent is not None:
        if not is_id(agent):
            raise InvalidEvent(f"agent {agent!r:.200} is no agent's name")
        terms.append(f"{names.AGENT_ATTRIBUTE} = '{agent}'")
    if state is not None:
        if state not in _SHOWN:
            raise InvalidEvent(f"sessions can be listed by state {', '.join(_SHOWN)}; {state!r} is in status() only")
        terms.append(f"{names.STATE_ATTRIBUTE} = '{state}'")
    if parked is not None:
        some = f"{names.PARKED_ATTRIBUTE} > 0"
        terms.append(some if parked else f"({names.PARKED_ATTRIBUTE} IS NULL OR {names.PARKED_ATTRIBUTE} = 0)")
    return " AND ".join(terms)


async def _with_activity(connection: Connection, tenant: str, found: list[SessionInfo]) -> list[SessionInfo]:
    """Add when they wrote last, where the journal can be read."""
    with suppress(JournalUnavailable):
        if (journal := await connection.journal()) is not None:
            active = await journal.active(tenant, [info.session_id for info in found])
            return [info.model_copy(update={"active_at": active.get(info.session_id)}) for info in found]
    return found


def _page(token: bytes) -> str:
    return base64.urlsafe_b64encode(token).decode()


def _token(page: str | None) -> bytes | None:
    if page is None:
        return None
    try:
        token = base64.b64decode(page, altchars=b"-_", validate=True) if len(page) <= _TOKEN else b""
    except (binascii.Error, ValueError):
        token = b""
    if not token:
        raise InvalidEvent(f"page {page!r:.100} is none that a listing gave")
    return token


def _key(workflow_id: str) -> SessionKey | None:
    """Return the session that a workflow is; `None` where its id names none: anybody may have started it."""
    try:
        return SessionKey.parse(workflow_id)
    except ValueError:
        return None


def _info(key: SessionKey, execution: WorkflowExecution) -> SessionInfo:
    attributes: dict[str, Any] = {pair.key.name: pair.value for pair in execution.typed_search_attributes}
    closed = execution.status is not WorkflowExecutionStatus.RUNNING
    return SessionInfo(
        session_id=key.session_id,
        tenant=key.tenant,
        agent=attributes.get(AGENT.name),
        state="closed" if closed else attributes.get(STATE.name),
        parked=int(attributes.get(PARKED.name) or 0),
        started_at=execution.start_time,
        closed_at=execution.close_time,
    )


async def list_approvals(connection: Connection, tenant: str) -> AsyncIterator[PendingApproval]:
    """Yield the pending approvals of a tenant's sessions; see `Client.approvals`."""
    asked: set[SessionKey] = set()  # one may be paused, or resumed, while this looks
    for state in _MAY_WAIT:
        async for info in Sessions(connection, tenant, query_for(tenant, agent=None, state=state, parked=None)):
            key = SessionKey(info.tenant, info.session_id)
            if info.closed_at is not None or key in asked:
                continue
            asked.add(key)
            for approval in await _pending(SessionTransport(connection, key)):
                yield PendingApproval(tenant=key.tenant, session_id=key.session_id, **approval.model_dump())


async def _pending(transport: SessionTransport) -> tuple[Approval, ...]:
    try:
        return await ApprovalReader(transport).pending()
    except JournalUnavailable:  # the session itself knows all but the arguments
        return (await StatusReader(transport).status()).approvals
