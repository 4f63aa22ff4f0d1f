"""The doctor's look at a tenant's sessions: which are in trouble, and what to do.

Invariant: it asks the server alone, about a bounded number of sessions, so that it needs no worker and ends.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Final

from inturn.cli.doctor.findings import Finding, fine, warned
from inturn.client.health import texts
from inturn.client.listing import Sessions, query_for
from inturn.client.status import StatusReader
from inturn.client.temporal.connection import Connection
from inturn.client.temporal.rpc_errors import short
from inturn.client.temporal.transport import SessionTransport
from inturn.errors import InturnError
from inturn.keys import SessionKey
from inturn.values import Health, SessionInfo

LOOKED_AT: Final = 50
"""The latest sessions."""
_AT_ONCE: Final = 10
_NAMED: Final = 5


async def examine_sessions(connection: Connection, tenant: str) -> list[Finding]:
    """Return what is wrong with the tenant's latest sessions, one finding for each kind of trouble."""
    try:
        query = query_for(tenant, agent=None, state=None, parked=None)
        listing = Sessions(connection, tenant, query, limit=LOOKED_AT)
        found = [info async for info in listing if info.state != "closed"]
    except InturnError as error:
        return [warned("sessions", f"they cannot be listed: {short(error)}", "look at the server's visibility")]
    slots = asyncio.Semaphore(_AT_ONCE)

    async def judged(info: SessionInfo) -> Health:
        async with slots:
            return await StatusReader(SessionTransport(connection, SessionKey(tenant, info.session_id))).health()

    healths = await asyncio.gather(*map(judged, found), return_exceptions=True)
    return judge_sessions(tenant, {info.session_id: h for info, h in zip(found, healths, strict=True)})


def judge_sessions(tenant: str, healths: dict[str, Health | BaseException]) -> list[Finding]:
    """Return the findings on sessions, by what is wrong with each; what could not be looked at is passed over."""
    troubled: dict[Health, list[str]] = defaultdict(list)
    for session_id, health in healths.items():
        if not isinstance(health, BaseException) and health != "ok":
            troubled[health].append(session_id)
    if not troubled:
        return [fine("sessions", f"tenant {tenant}: nothing is wrong with the latest {len(healths)}")]
    return [_finding(health, sessions) for health, sessions in troubled.items()]


def _finding(health: Health, sessions: list[str]) -> Finding:
    what, why, to_do = texts(health)
    named = ", ".join(sessions[:_NAMED]) + (f" and {len(sessions) - _NAMED} more" if len(sessions) > _NAMED else "")
    return warned("sessions", f"{health}: {named}: {what}: {why}", to_do)
