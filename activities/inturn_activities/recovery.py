"""What a session had accepted when a run of it was ended from outside (terminated, timed out, failed), sent again.

Invariant: it goes in the order in which it was accepted, under its ids and by the ordinary way, a signal, so the
session takes what it knows for a duplicate: to do this twice does nothing. What has an end in the journal is not sent,
and ends that the run had decided are written first. However large it came, it fits the run that it is sent to.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Container, Iterable, Iterator, Sequence
from typing import Any, Final

from temporalio import activity
from temporalio.client import WorkflowExecution, WorkflowExecutionStatus, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from inturn import names, sizes
from inturn.decoding import Undecodable, is_claimed, read_event
from inturn.encryption.converter import Undecryptable
from inturn.events import Event, split
from inturn.histories import Fields, ended_how
from inturn.journal import Journal
from inturn.journal.log.pruned import CLOSES
from inturn.journal.views.turns import FOR_GOOD, Ends, ended_events
from inturn.keys import SessionKey, StepKey
from inturn_activities import dead_letters, failures
from inturn_activities.asked import Ask, again
from inturn_activities.ended_run import EndedRun
from inturn_activities.heartbeat import waits_for
from inturn_activities.messages import RecordInput
from inturn_activities.unrecorded import merged, record_parts

logger = logging.getLogger("inturn.worker")
_TAKEN_OUT: Final = "cancelled before its run was ended"
_PASSING: Final = (
    RPCStatusCode.UNAVAILABLE,
    RPCStatusCode.DEADLINE_EXCEEDED,
    RPCStatusCode.RESOURCE_EXHAUSTED,
    RPCStatusCode.ABORTED,
    RPCStatusCode.INTERNAL,
    RPCStatusCode.UNKNOWN,
    RPCStatusCode.CANCELLED,
)
_KEYS_MISSING: Final = 30
"""So often, about half an hour long, a worker is waited for that can decrypt what was sent."""
_LISTED: Final = 4
"""So often it is asked which runs there are: every new session asks, and most have none."""
_ANSWERS: Final = 100
"""A session keeps no more answers to approvals that it has not asked for yet."""
_LEFT_OPEN: Final = "what earlier runs of the session left open"
"""Said with the beats: the next attempt learns from them that there is something."""


async def recovered(journal: Journal, step: StepKey, chain: str) -> bool:
    """Send what earlier runs of the session left open to its present one; return whether there was any.

    Args:
        journal: The session's.
        step: Its first one: its event is there already.
        chain: Of the present run: how its first run's id ends. A run of this chain was reset, and lost nothing.
    """
    try:
        return await _send(journal, step.session, chain, step.turn.event_id) > 0
    except RPCError as error:  # something was left open: the session goes on only where no try can bring it
        if error.status in _PASSING:
            message = f"what the session had accepted cannot be sent again now: {failures.describe(error)}"
            raise failures.again(names.OUTAGE, message, after=failures.backoff(activity.info().attempt)) from error
        _unread(step.session, error)
    except Undecryptable as error:
        raise failures.again(names.OUTAGE, str(error), after=failures.backoff(activity.info().attempt)) from error
    except RuntimeError as error:  # no client in this process
        _unread(step.session, error)
    return False


async def _send(journal: Journal, session: SessionKey, chain: str, running: str) -> int:
    ended = await _found(session)
    if not ended or await journal.read(session, types=CLOSES, limit=1):
        return 0
    waits_for(_LEFT_OPEN)
    runs: list[EndedRun] = []
    begun, chains, patient = set[str | None](), set[str](), activity.info().attempt < _KEYS_MISSING
    async for entry in journal.entries(session, types=("turn.started",)):  # as many as there were turns
        begun.add(entry.event_id)
        chains.add(str(entry.body.get("chain")))
    for run in sorted(ended, key=lambda run: run.start_time):
        with _retained(session):
            old = EndedRun(activity.client(), run, patient=patient, chains=chains)
            if await old.look(chain):
                await old.unrecorded.write(journal, session, old.chain)
                runs.append(old)
    given_up, redrives = await dead_letters.asked(journal, session, _of_parked(runs))
    await record_parts(journal, session, RecordInput(decisions=given_up))
    parked = await journal.parked(session)
    done = await ended_events(journal, session, but={str(e.event_id) for e in parked if not dead_letters.valid(e)})
    done.told |= dict.fromkeys([running, *await merged(journal, session, done.told)], FOR_GOOD)
    told = set[str]()
    await _control(session, dead_letters.letters(journal, session, told, [str(c["event_id"]) for c in redrives]))
    await _control(session, redrives)
    sent = await _sent_again(journal, session, runs, done, begun)
    for old in runs:
        await old.unrecorded.write_others(journal, session, done.told)
    await _control(session, dead_letters.letters(journal, session, told))
    answers = [answer for old in runs for answer in old.asked.answers] if sent or redrives else []
    await _control(session, answers[-_ANSWERS:])
    closing = next((old.asked.closing for old in runs if old.asked.closing), "")
    if closing:  # it was acknowledged, and is final: what waits ends as it was to
        await _control(session, [{"control_id": "again:close", "op": "close", "pending": closing}])
    return sent + len(redrives) + bool(closing)


async def _control(session: SessionKey, controls: Iterable[Fields] | AsyncIterator[Fields]) -> None:
    """Send the session controls, in order."""
    handle = _handle(session)
    if isinstance(controls, AsyncIterator):
        controls = [control async for control in controls]
    for control in controls:
        await handle.signal(names.CONTROL, control)


def _of_parked(runs: Sequence[EndedRun]) -> dict[str, list[Ask]]:
    """Return what was asked of parked events, in order."""
    asks: dict[str, list[Ask]] = {}
    for old in runs:
        for event_id, each in old.asked.parked.items():
            asks.setdefault(event_id, []).extend(each)
    return asks


async def _sent_again(
    journal: Journal, session: SessionKey, runs: Sequence[EndedRun], done: Ends, begun: Container[str | None]
) -> int:
    sent, cancelled, handle = set[str](), set[str](), _handle(session)
    for old in runs:
        with _retained(session):
            async for event_id, message, at, signal, out in old.events():
                if not done.has(event_id, at, signal):
                    done.told[event_id] = FOR_GOOD
                    # One whose turn had begun does not expire any more.
                    when = {} if event_id not in begun else {names.AGAIN: True}
                    small = await _small(journal, session, message | {"event_id": event_id} | when)
                    await handle.signal(names.SUBMIT, small)
                    sent.add(event_id)
                if out and event_id in sent:  # by whichever run it was taken out: this may be its second recovery
                    cancelled.add(event_id)
    await _control(session, map(_cancel, sorted(cancelled)))  # so they end as they had, in the journal, too
    return len(sent)


def _cancel(event_id: str) -> Fields:
    return {"control_id": again(event_id), "op": "cancel", "event_id": event_id, "reason": _TAKEN_OUT}


async def _small(journal: Journal, session: SessionKey, message: Fields) -> Fields:
    """Return what travels of a message: what ended one run for its size is not to end the next."""
    if sizes.written(message) <= sizes.INLINE or is_claimed(message):
        return message
    try:
        event = read_event(message)
    except Undecodable:  # carried by a newer version
        return message
    assert isinstance(event, Event)
    travels, kept = split(event)
    claim = await journal.put_content(session, message["event_id"], kept)
    return travels | {"claim": claim, names.AGAIN: message[names.AGAIN]}


def _handle(session: SessionKey) -> WorkflowHandle[Any, Any]:
    return activity.client().get_workflow_handle(str(session), run_id=activity.info().workflow_run_id)


async def _found(session: SessionKey) -> list[WorkflowExecution]:
    """Return the runs that were ended from outside; none where the server cannot tell: then hardly any is lost."""
    found_before = activity.info().heartbeat_details
    if found_before:  # by an attempt that was cut short: it had begun to send
        waits_for(_LEFT_OPEN)
    try:
        return [run async for run in _ended(session)]
    except RPCError as error:
        if error.status in _PASSING and (found_before or activity.info().attempt < _LISTED):
            raise
        _unread(session, error)
        return []


@contextlib.contextmanager
def _retained(session: SessionKey) -> Iterator[None]:
    """Go on to the next run where the server has this one no more."""
    try:
        yield
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        _unread(session, error)


def _unread(session: SessionKey, error: Exception) -> None:
    # The audit names what is missing; the session does not wait for it.
    logger.warning("the earlier runs of session %s cannot be read: %s", session, error)


async def _ended(session: SessionKey) -> AsyncIterator[WorkflowExecution]:
    """Yield the session's runs that were ended from outside, of those that the server still lists."""
    temporal, own = activity.client(), activity.info().workflow_run_id
    async for run in temporal.list_workflows(f"WorkflowId = '{session}'"):
        status = run.status
        if status is WorkflowExecutionStatus.RUNNING and run.run_id != own:  # the list is some seconds behind
            status = (await temporal.get_workflow_handle(run.id, run_id=run.run_id).describe()).status
        if ended_how(status):
            yield run
