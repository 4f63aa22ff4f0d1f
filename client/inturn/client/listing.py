"""Listing sessions, and the approvals that wait in them, through the server's visibility.

Invariant: a listing never crosses tenants: whose a session is, its workflow id alone decides, never a search attribute
(whoever starts a workflow sets those). Nothing that a user gives is put into a query unchecked.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

from temporalio.client import WorkflowExecution, WorkflowExecutionStatus
from temporalio.exceptions import TemporalError

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
_SHOWN: tuple[str, ...] = ("requires_action", "paused", "closed")
"""States that search attributes hold: the rare ones."""


async def list_sessions(
    connection: Connection, tenant: str, *, agent: str | None, state: str | None, parked: bool | None, limit: int | None
) -> AsyncIterator[SessionInfo]:
    """Yield a tenant's sessions; see `Client.sessions`."""
    if limit is not None and limit < 1:
        raise InvalidEvent(f"limit is {limit!r:.100}, it must be above 0")
    query = query_for(tenant, agent=agent, state=state, parked=parked)
    temporal = await connection.temporal()
    listed: set[SessionKey] = set()  # the latest run of each: one that was terminated and began anew has several
    try:
        async for execution in temporal.list_workflows(query):
            key = _key(execution.id)
            if key is None or key.tenant != tenant or key in listed:
                continue
            listed.add(key)
            yield _info(key, execution)
            if len(listed) == limit:
                return
    except TemporalError as error:
        raise translate_error(error).error from error


def query_for(tenant: str, *, agent: str | None, state: str | None, parked: bool | None) -> str:
    """Return the visibility query: by workflow type and id alone, which every session has, whoever began it.

    Raises:
        InvalidEvent: A filter that visibility does not hold.
    """
    terms = [
        f"WorkflowType = '{names.SESSION_WORKFLOW}'",
        f"WorkflowId STARTS_WITH '{tenant}/'",
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
        async for info in list_sessions(connection, tenant, agent=None, state=state, parked=None, limit=None):
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
