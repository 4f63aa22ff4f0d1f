"""The status of a session, asked of it, or seen from outside.

Invariant: an answer within a few seconds whether or not a worker lives. What the session says is `live`; else it is put
together from what the server and the journal know, and says what is wrong.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.exceptions import TemporalError
from temporalio.service import RPCError, RPCStatusCode

from inturn import names
from inturn.client.audit.ended_runs import EndedRuns
from inturn.client.control.approvals import ApprovalReader
from inturn.client.health import Signs, judge
from inturn.client.temporal.retries import reraise_cancellation, retry_rpc
from inturn.client.temporal.rpc_errors import translate_error
from inturn.client.temporal.search_attributes import AGENT, STATE
from inturn.client.temporal.server_checks import pollers
from inturn.client.temporal.transport import Message, SessionTransport
from inturn.errors import JournalUnavailable, SessionNotFound
from inturn.histories import ended_how
from inturn.journal.log.pruned import FORKED
from inturn.keys import StepKey
from inturn.values import Approval, Health, SessionState, SessionStatus, TurnProgress

LIVE_WITHIN: Final = 2.0
"""Seconds in which the session itself may answer."""
_DESCRIBE_WITHIN: Final = 10.0
_WAITS: Final = (names.NOT_YET, names.JOURNAL_BEHIND, names.ACCOUNT)
"""Types of failures where nothing failed of the event's: a lock, a lease, its journal, an account to be mended."""
_FAILING_ATTEMPT: Final = 3
"""A workflow task is tried again once or twice when a worker dies; from here on it fails of itself."""


def open_events(status: Message) -> set[str]:
    """Return the events that wait or run, by the session's own status."""
    turn = status.get("turn") or {}
    items = [*status.get("queue", ()), *status.get("held", ()), turn]
    return {item["event_id"] for item in items if item}.union(turn.get("merged", ()))


@dataclass
class StatusReader:
    """Reads the status of one session."""

    transport: SessionTransport

    async def status(self) -> SessionStatus:
        """Return the session's status; see `Session.status`."""
        live, seen = await asyncio.gather(self.live(), self.seen())
        if live is None or (seen is not None and ended_how(seen.status)):
            return await self._fallback(seen)
        status = await ApprovalReader(self.transport).detailed(SessionStatus.model_validate(live))
        if seen is None:
            return status
        lost = [parked["event_id"] for parked in live.get("parked", ()) if parked.get("lost")]
        health = judge(Signs(failures=_failures(seen), lost=lost))
        detailed = {"health": health, "turn": _detailed(status.turn, seen)}
        return status.model_copy(update=detailed)

    async def seen(self) -> WorkflowExecutionDescription | None:
        """Return what the server knows, where it says so at once."""
        try:
            async with asyncio.timeout(LIVE_WITHIN), reraise_cancellation():
                return await self.transport.describe()
        except (TemporalError, TimeoutError):
            return None

    async def health(self) -> Health:
        """Return what the server alone shows to be wrong with the session: not whether anybody is there to answer.

        Raises:
            SessionNotFound: It has no such session.
            Unavailable: It did not answer.
        """
        seen = await self.described()
        if seen.status is not WorkflowExecutionStatus.RUNNING:
            return await self._health(seen)
        return judge(Signs(failing=_fails(seen), failures=_failures(seen)))

    async def live(self, within: float = LIVE_WITHIN) -> Message | None:
        """Return the session's own status; `None` when it does not answer in time."""
        try:
            async with asyncio.timeout(within), reraise_cancellation():
                return await self.transport.status(within)
        except TimeoutError:
            return None
        except TemporalError as error:
            if isinstance(error, RPCError) and error.status is RPCStatusCode.NOT_FOUND:
                return None  # the journal may still know it
            translated = translate_error(error, str(self.transport.key))
            if not translated.retryable:
                raise translated.error from error
            return None

    async def described(self) -> WorkflowExecutionDescription:
        """Return what the server knows.

        Raises:
            SessionNotFound: It has no such session.
            Unavailable: It did not answer.
        """
        return await retry_rpc(self.transport.describe, patience=_DESCRIBE_WITHIN, session=str(self.transport.key))

    async def _fallback(self, seen: WorkflowExecutionDescription | None) -> SessionStatus:
        try:
            seen = seen or await self.described()
        except SessionNotFound:
            return await self._from_journal_alone()
        turn = _progress(seen)
        runs = seen.status is WorkflowExecutionStatus.RUNNING
        return SessionStatus(
            state=_state(seen, turn),
            health=await self._health(seen),
            source="fallback",
            agent=_attribute(seen, AGENT),
            turn=turn,
            history_events=seen.history_length or 0,
            approvals=await self._approvals() if runs else (),
            **await self._journal_fields(),
        )

    async def _from_journal_alone(self) -> SessionStatus:
        """Return the status of a session that only the journal knows.

        Its history is past the server's retention; or it is a fork that no event has started yet.
        """
        known = await self._journal_fields()
        if not known.get("head"):
            raise SessionNotFound(f"no session {self.transport.key}")
        journal = await self.transport.connection.any_journal()
        begun = await journal.read(self.transport.key, limit=2)
        fresh = [entry.type for entry in begun] == [FORKED]
        return SessionStatus(state="idle" if fresh else "closed", source="fallback", **known)

    async def _journal_fields(self) -> dict[str, Any]:
        try:
            journal = await self.transport.connection.any_journal()
            head = await journal.head(self.transport.key)
            counts: dict[str, int] = dict(await journal.outcomes(self.transport.key))
        except JournalUnavailable:
            return {}
        return {"head": head, "counts": counts}

    async def _approvals(self) -> tuple[Approval, ...]:
        try:
            return await ApprovalReader(self.transport).pending()
        except JournalUnavailable:
            return ()

    async def _health(self, seen: WorkflowExecutionDescription) -> Health:
        """Return what is wrong with a session that does not answer, or that was ended from outside."""
        if ended_how(seen.status):
            left = await EndedRuns(self.transport).open_events(seen.run_id)
            return judge(Signs(left=("?",) if left is None else left))
        if seen.status is not WorkflowExecutionStatus.RUNNING:
            return "ok"
        signs = Signs(answers=False, failing=_fails(seen), failures=_failures(seen))
        asked = signs.failing or signs.failures
        return judge(replace(signs, polled=bool(asked) and await self._polled(seen.task_queue)))

    async def _polled(self, task_queue: str) -> bool:
        """Return whether any worker polls; the server remembers one for some minutes."""
        temporal = await self.transport.connection.temporal()
        try:
            return bool(await pollers(temporal, task_queue, "workflow"))
        except RPCError:
            return True


def _detailed(turn: TurnProgress | None, seen: WorkflowExecutionDescription) -> TurnProgress | None:
    """Return the progress with what only the server knows of a step: its attempts and what stopped the last one."""
    progress = _progress(seen)
    if turn is None or turn.waiting_for is not None or progress is None or progress.event_id != turn.event_id:
        return turn
    return turn.model_copy(update={name: getattr(progress, name) for name in ("attempt", "waiting_for", "last_error")})


def _fails(seen: WorkflowExecutionDescription) -> bool:
    """Return whether the session's workflow tasks fail."""
    raw = seen.raw_description
    return raw.HasField("pending_workflow_task") and raw.pending_workflow_task.attempt >= _FAILING_ATTEMPT


def _failures(seen: WorkflowExecutionDescription) -> set[str]:
    """Return the types of what stopped the session's pending steps last."""
    pending = seen.raw_description.pending_activities
    return {step.last_failure.application_failure_info.type for step in pending if step.HasField("last_failure")}


def _state(seen: WorkflowExecutionDescription, turn: TurnProgress | None) -> SessionState:
    if ended_how(seen.status):
        return "idle"  # no close: the next event begins it anew
    if seen.status is not WorkflowExecutionStatus.RUNNING:
        return "closed"
    shown = _attribute(seen, STATE)
    match shown:
        case "requires_action" | "paused" | "closed":
            return shown
        case _:
            return "running" if turn or seen.raw_description.HasField("pending_workflow_task") else "idle"


def _progress(seen: WorkflowExecutionDescription) -> TurnProgress | None:
    """Return what the turn does, by its pending activities: their ids are the steps' keys."""
    found: list[TurnProgress] = []
    for pending in seen.raw_description.pending_activities:
        try:
            step = StepKey.parse(pending.activity_id)
        except ValueError:
            continue
        if not step.turn.turn.startswith("~"):  # no turn's own: records and notices
            found.append(_step(step, pending))
    return max(found, key=lambda progress: progress.attempt, default=None)


def _step(step: StepKey, pending: PendingActivityInfo) -> TurnProgress:
    failure = pending.last_failure
    waits = failure.application_failure_info.type in _WAITS
    return TurnProgress(
        event_id=step.turn.event_id,
        step=int(step.step) if step.step.isdigit() else 0,
        doing=pending.activity_type.name,
        since=_since(pending),
        attempt=pending.attempt,
        waiting_for=_heartbeat(pending) or (failure.message if waits else None),
        last_error=(failure.message or None) if not waits else None,
    )


def _heartbeat(pending: PendingActivityInfo) -> str | None:
    """Return what a step that waits in place reports with its heartbeats."""
    for payload in pending.heartbeat_details.payloads:
        with suppress(ValueError, RecursionError):
            reported = json.loads(payload.data)
            return reported if isinstance(reported, str) else None
    return None


def _since(pending: PendingActivityInfo) -> datetime:
    stamp = pending.last_started_time if pending.HasField("last_started_time") else pending.scheduled_time
    return stamp.ToDatetime(tzinfo=UTC)


def _attribute(seen: WorkflowExecutionDescription, key: Any) -> str | None:
    value = seen.typed_search_attributes.get(key)
    return str(value) if value is not None else None
