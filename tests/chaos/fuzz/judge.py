"""What must hold after the fire: nothing acknowledged is lost, nothing is stuck, all replays, audits are true.

Invariant: a finding names its session and what is wrong, and none is left out for being many: they are counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import temporalio.client
from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.client import WorkflowHistory
from temporalio.service import RPCError

from inturn import Client, InturnError, Session
from inturn.journal import Journal
from inturn.keys import SessionKey
from tests.chaos.campaign.export import export
from tests.chaos.checker.replaying import replay_all
from tests.chaos.fuzz.shots import Fired
from tests.support import outside
from tests.support.histories import runs
from tests.support.waiting import until

SETTLED_WITHIN: Final = 90.0
"""Seconds for all that waits to be worked off, or for some of it, where the machine is slow."""
ALLOWED: Final = (
    WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND,  # the end of a run met what just arrived
    WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_RESET_STICKY_TASK_QUEUE,
)


class Judge:
    """Judges the sessions that were fired at."""

    def __init__(self, client: Client, temporal: temporalio.client.Client, journal: Journal) -> None:
        self._client = client
        self._temporal = temporal
        self._journal = journal

    async def settle(self, sessions: Sequence[Session]) -> list[str]:
        """Wait until nothing runs or waits any more; return what stayed."""
        return [found for findings in await asyncio.gather(*map(self._settle, sessions)) for found in findings]

    async def _settle(self, session: Session) -> list[str]:
        async def quiet() -> bool:
            try:
                status = await session.status()
                if status.state == "paused":
                    await session.resume()
                    return False
                for approval in status.approvals:
                    await session.deny(approval.approval_id, reason="the fire is over")
            except (InturnError, RPCError):
                return False
            return (
                status.source == "live" and status.state in ("idle", "closed") and not status.queue and not status.held
            )

        before = -1
        while (ended := len(await self._journal.endings(key_of(session)))) > before:
            before = ended
            with suppress(TimeoutError):
                await until(quiet, within=SETTLED_WITHIN, every=0.5)
                return []
        return [f"{key_of(session)} is stuck: {await _last_status(session)}"]

    async def lost(self, session: Session, fired: Fired) -> list[str]:
        """Return what was acknowledged and stands nowhere, and what the session's own audit finds."""
        endings = await self._journal.endings(key_of(session))
        told = {entry.event_id async for entry in self._journal.entries(key_of(session)) if entry.event_id}
        told |= {parked.event_id for parked in await session.parked()}
        missing = sorted(fired.acknowledged.keys() - endings.keys() - told)
        audit = await session.audit(deep=True)
        found = [f"{key_of(session)}: {e} is nowhere: {fired.acknowledged[e]}" for e in missing]
        return found + [f"{key_of(session)}: audit: {difference}" for difference in audit.differences]

    async def failed_tasks(self, session: Session) -> list[str]:
        """Return the workflow tasks of a session that failed by an exception, in any of its runs."""
        found: list[str] = []
        for run_id in await runs(self._temporal, str(key_of(session))):
            history = await self._temporal.get_workflow_handle(str(key_of(session)), run_id=run_id).fetch_history()
            found += [f"{key_of(session)}: {failure}" for failure in _failures(history)]
        return found

    async def unreplayable(self, sessions: Sequence[Session], directory: Path) -> tuple[int, list[str]]:
        """Return how many runs there are, and those whose history does not replay."""
        await export(self._temporal, [str(key_of(session)) for session in sessions], directory)
        paths = sorted(directory.iterdir())
        return len(paths), await asyncio.to_thread(replay_all, paths)

    async def blind(self, session: Session, journal: str) -> list[str]:
        """Take one event's end out of the journal behind the session's back; return whether the audit saw nothing."""
        endings = await self._journal.endings(key_of(session))
        ended = [event_id for event_id, ending in endings.items() if ending.outcome is not None]
        if not ended:
            return []
        with outside.opened(journal) as tx:
            key = key_of(session)
            where = (key.tenant, key.session_id, ended[0])
            tx.execute("DELETE FROM outcomes WHERE tenant = ? AND session = ? AND event_id = ?", where)
            tx.execute("DELETE FROM entries WHERE tenant = ? AND session = ? AND event_id = ?", where)
        audit = await session.audit()
        return [f"{key_of(session)}: the audit says ok, though event {ended[0]} was removed"] if audit.ok else []


def key_of(session: Session) -> SessionKey:
    """Return a session's key."""
    return SessionKey(session.tenant, session.session_id)


def _failures(history: WorkflowHistory) -> list[str]:
    failures = [
        event.workflow_task_failed_event_attributes
        for event in history.events
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
    ]
    return [f"a workflow task failed: {f.failure.message or f.cause}"[:300] for f in failures if f.cause not in ALLOWED]


async def _last_status(session: Session) -> str:
    try:
        status = await session.status()
    except (InturnError, RPCError) as error:
        return repr(error)
    return f"{status.state}, {status.health}, turn {status.turn}, {len(status.queue)} wait, {len(status.held)} held"
