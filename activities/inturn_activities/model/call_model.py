"""One answer of the model.

Invariant: an answer is recorded, in ledger and journal at once, before anybody hears of it; so no answer is paid for
twice, and a turn sees only what its transcript holds. A plain turn costs two transactions: one claims and opens, one
records and ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from temporalio import activity

from inturn import names
from inturn.agents import Agent
from inturn.errors import JournalUnavailable
from inturn.journal import Claim, Journal, NewEntry, Outcome, Superseded
from inturn.journal.views.transcript import TYPES, Transcript
from inturn.keys import StepKey
from inturn.models import Model, ModelMessage, ModelRequest
from inturn.turns.budget import add, exceeded
from inturn.turns.stop_reasons import Stop, ends_turn, interpret, tool_uses
from inturn.values import StopReason, Usage
from inturn_activities import failures
from inturn_activities import recorded_ends as ends
from inturn_activities.approval_entries import requested
from inturn_activities.bounds import Bounds
from inturn_activities.commit import committed, uncancelled
from inturn_activities.failures import OwnFailure
from inturn_activities.heartbeat import Heartbeat, beat_for
from inturn_activities.limits.limits import Limits
from inturn_activities.limits.pacing import TurnPacing
from inturn_activities.limits.stuck import moved, watched
from inturn_activities.limits.waits import Waits
from inturn_activities.messages import ModelInput, ModelResult
from inturn_activities.model import inline_answers as answers
from inturn_activities.model import joined_events as joining
from inturn_activities.model.call_plans import plan
from inturn_activities.model.manifest_changes import changed
from inturn_activities.model.opening import opening
from inturn_activities.model.transcript_cache import Transcripts
from inturn_activities.model.usage import spent
from inturn_activities.roster import Roster, policy_of
from inturn_activities.telemetry.meters import count_retry
from inturn_activities.telemetry.spans import model_span, tracing
from inturn_activities.telemetry.turn_spans import trace_completed

_RELEASE_PATIENCE: Final = 3.0
"""Seconds; nobody beats for the step then, and its worker is taken for dead after 5."""


@dataclass(frozen=True, slots=True)
class _Attempt:
    """What one attempt works with."""

    step: StepKey
    input: ModelInput
    agent: Agent
    claim: Claim
    known: int | None = None
    """The seq up to which this worker had read the session before."""
    said: Sequence[NewEntry] = ()
    """What the user says at the beginning of the turn."""

    @property
    def key(self) -> str:
        """The step within the session."""
        return self.step.within_session

    def entry(self, type_: str, body: dict[str, Any], *, key: str, step: str | None = None) -> NewEntry:
        """Make an entry of this turn."""
        return NewEntry(type_, body, event_id=self.step.turn.event_id, step=step, key=key)


class ModelSteps:
    """Calls the model for sessions."""

    def __init__(
        self,
        journal: Journal,
        model: Model,
        roster: Roster,
        transcripts: Transcripts,
        waits: Waits,
        bounds: Bounds,
        limits: Limits,
    ) -> None:
        """Use a model for the agents of a roster."""
        self._journal = journal
        self._model = model
        self._roster = roster
        self._transcripts = transcripts
        self._waits = waits
        self._bounds = bounds
        self._limits = limits
        self._pacing = TurnPacing(limits.backlog_spacing, partial(beat_for, every=bounds.beat))

    async def run(self, step: StepKey, input: ModelInput) -> ModelResult:
        """Answer, or give the answer that is recorded."""
        if step.step == "0":
            await self._pacing.begin(step.session, backlogged=input.backlogged)
        agent = await self._agent(step, input)
        known = self._transcripts.known(step.session)
        apart = await joining.ended_before(self._journal, step.session, input.joined)
        if apart:
            left = [event for event in input.joined if event.get("event_id") not in apart]
            input = input.model_copy(update={"joined": left})
        begin = await opening(self._journal, step, input, agent, known=known is not None)
        claim = await self._claim(step, agent, begin, known)
        said = [entry for entry in begin if entry.type == "user.message"] if step.step == "0" else []
        attempt = _Attempt(step, input, agent, claim, known, said)
        if claim.status == "claimed":
            if (lost := claim.attempts.counts.get("lost", 0)) >= self._bounds.losses:
                raise OwnFailure(f"{lost} attempts ended without a word: this step may end the process that runs it")
            result = await self._guarded(attempt)
        else:
            result = await self._described(attempt, _recorded(attempt))
            apart += await joining.unsaid(self._journal, step.turn, input.joined)
        return await self._addressed(attempt, result, apart)

    async def _claim(self, step: StepKey, agent: Agent, begin: Sequence[NewEntry], known: int | None) -> Claim:
        wants = self._limits.of_model(step.session.tenant, agent.name, agent.model)
        lease = self._bounds.lease

        async def claimed() -> Claim:
            return await self._journal.claim_model(step, begin, after=known, types=TYPES, wants=wants, lease=lease)

        return await self._waits.claim(step, wants, claimed, within=self._bounds.claim_wait)

    async def _agent(self, step: StepKey, input: ModelInput) -> Agent:
        """Find the agent: the one asked for, else the session's own, else the only one."""
        name = input.agent
        if name is None and self._roster.find(None) is None:
            started = await self._journal.read(step.session, types=("session.started",), limit=1)
            name = started[0].body["agent"] if started else None
        return self._roster.get(name)

    async def _guarded(self, attempt: _Attempt) -> ModelResult:
        step, token = attempt.step, attempt.claim.token
        bounds = self._bounds
        watching = watched(step, f"model {attempt.agent.model} answers", every=self._limits.stuck_after)

        async def renew() -> bool:
            return await self._journal.renew(step, token, lease=bounds.lease)

        try:
            with watching as watch:
                async with Heartbeat(renew, every=bounds.beat, lease=bounds.lease, watch=watch):
                    return await self._answer(attempt)
        except Superseded:
            raise
        except (asyncio.CancelledError, JournalUnavailable):
            with contextlib.suppress(Exception):  # it ended here: nobody need wonder what became of it
                await committed(lambda: self._journal.release(step, token), patience=_RELEASE_PATIENCE)
            raise
        except Exception as error:
            failure = failures.classify(error)
            attempts = await self._journal.fail(step, token, failure.kind)
            verdict = failures.verdict(failure, attempts, patience=bounds.outage_patience)
            if not verdict.non_retryable:
                count_retry("model", failure.kind)
            raise verdict from error

    async def _answer(self, attempt: _Attempt) -> ModelResult:
        step, agent = attempt.step, attempt.agent
        transcript = await self._transcript(attempt)
        used = Usage() if step.step == "0" else await spent(self._journal, step.turn)
        if exceeded(agent.budget, used):
            return await self._record(attempt, "budget_reached", used)
        frozen = transcript.manifest or {}
        request = ModelRequest(
            model=agent.model,
            system=frozen.get("system") or "",
            messages=transcript.request_messages(),
            tools=frozen.get("tools") or [],
            max_tokens=agent.max_tokens,
            user_id=str(step.session),
        )
        seen = transcript.seq
        number = activity.info().attempt
        with model_span(step, attempt.input.trace, request, agent=agent.name, attempt=number) as span:
            message, without = await self._asked(attempt, transcript, request)
            span.answered(message)
        stop = interpret(message.stop_reason, message.content)
        said = _said(attempt, message, seen, without)
        return await self._record(attempt, stop, add(used, message.usage), said, message.content)

    async def _asked(
        self, attempt: _Attempt, transcript: Transcript, request: ModelRequest
    ) -> tuple[ModelMessage, list[str]]:
        """Ask the model; where it refuses, once more without what stopped turns had said: that may be why.

        Gives the answer, and the events that its request left out.
        """
        seen, without = transcript.seq, transcript.others(attempt.step.turn.event_id)
        try:
            return await self._model.respond(request, _heard), []
        except Exception as error:
            if not without or transcript.seq != seen or failures.classify(error).kind == "outage":
                raise
        messages = transcript.request_messages(without=without)
        return await self._model.respond(dataclasses.replace(request, messages=messages), _heard), without

    async def _transcript(self, attempt: _Attempt) -> Transcript:
        """Load the transcript; the journal hears of an agent that is not what the session froze."""
        session, agent = attempt.step.session, attempt.agent
        claim = attempt.claim
        transcript = await self._transcripts.load(session, claim.head, after=attempt.known, entries=claim.entries)
        frozen = transcript.manifest or {}
        if frozen.get("agent") != agent.name:
            raise OwnFailure(f"the session's agent is {frozen.get('agent')!r}, not {agent.name!r}")
        if transcript.manifest_hash != agent.manifest_hash():
            note = attempt.entry("system.message", changed(frozen, agent), key=f"{attempt.key}/{agent.manifest_hash()}")
            head = await self._journal.append(attempt.step, attempt.claim.token, [note])
            transcript = await self._transcripts.load(session, head)
        if attempt.said and not transcript.awaits(attempt.step.turn.event_id):
            transcript = await self._said_again(attempt)
        return transcript

    async def _said_again(self, attempt: _Attempt) -> Transcript:
        """Say it again: it was said in a run that was terminated, and the answers since have taken it up."""
        again = [dataclasses.replace(entry, key=f"{entry.key}/{attempt.claim.head}") for entry in attempt.said]
        head = await self._journal.append(attempt.step, attempt.claim.token, again)
        return await self._transcripts.load(attempt.step.session, head)

    async def _record(
        self,
        attempt: _Attempt,
        stop: Stop,
        used: Usage,
        said: NewEntry | None = None,
        content: Sequence[Mapping[str, Any]] = (),
    ) -> ModelResult:
        """Record the step's end in one transaction."""
        entries = [said] if said else []
        uses = tool_uses(content) if stop == "tool_use" else []
        calls = [plan(attempt.agent, block) for block in uses]
        entries += [_use(attempt, index, block) for index, block in enumerate(uses)]
        turn, number = attempt.step.turn, attempt.step.step
        entries += [requested(turn.step(number, index), call) for index, call in enumerate(calls) if call.approval]
        outcome = None
        if ends_turn(stop):
            entries.append(_completed(attempt, stop, used))
            outcome = Outcome(turn.event_id, turn.turn, "applied", stop)
        result = ModelResult(stop=stop, calls=calls, usage=said.body["usage"] if said else {})
        record = result.model_dump(mode="json")
        head = await committed(
            lambda: self._journal.finish(attempt.step, attempt.claim.token, record, entries, outcome),
            patience=self._bounds.commit_patience,
        )
        if ends_turn(stop) and tracing():
            carried = attempt.input.trace
            end = trace_completed(self._journal, attempt.step.turn, carried, attempt.agent.name, stop, used)
            await uncancelled(end)
        more: dict[str, Any] = {"head": head}
        if attempt.input.inline and ends_turn(stop):
            told = answers.from_memory(attempt.step, attempt.claim, entries, head)
            more |= {"turn": answers.inline(told, self._bounds.inline)} if told else {}
        return result.model_copy(update=more)

    async def _described(self, attempt: _Attempt, result: ModelResult) -> ModelResult:
        """Add what the journal tells of the event's end."""
        if result.stop != "ended" or attempt.claim.outcome is None:
            return result
        ended = await ends.told(self._journal, attempt.step.session, attempt.claim.outcome)
        return result.model_copy(update={"ended": ended})

    async def _addressed(self, attempt: _Attempt, result: ModelResult, apart: Sequence[str]) -> ModelResult:
        """Add what this workflow does not know yet, or cannot read."""
        input, agent = attempt.input, attempt.agent
        more: dict[str, Any] = {"apart": list(apart)} if apart else {}
        if input.agent != agent.name:
            more["agent"] = agent.name
        if input.policy != agent.policy_hash():
            more["policy"] = policy_of(agent)
        if input.inline and result.turn is None and result.stop not in ("tool_use", "pause_turn", "closed"):
            turn = await answers.from_journal(self._journal, attempt.step, own=result.ended is None)
            more["turn"] = answers.inline(turn, self._bounds.inline) if turn else None
        return result.model_copy(update=more) if more else result


def _recorded(attempt: _Attempt) -> ModelResult:
    """Give what stands already: no model is called."""
    claim = attempt.claim
    record = claim.result
    if record is not None and "status" in record:
        record = None  # settled: there is no answer
    if claim.status == "closed":
        return ModelResult(stop="closed", head=claim.head)
    if claim.status == "ended" and claim.outcome is not None and not _was_lost(attempt, record):
        return ModelResult(stop="ended", head=claim.head)
    if record is None:
        raise failures.final(names.SUPERSEDED, "the step was settled without an answer")
    return ModelResult.model_validate(record).model_copy(update={"head": claim.head})


def _was_lost(attempt: _Attempt, record: dict[str, Any] | None) -> bool:
    """Tell whether an earlier attempt of this activity ended the turn, and its worker died before it could say so."""
    return activity.info().attempt > 1 and record is not None


def _said(attempt: _Attempt, message: ModelMessage, seen: int, without: Sequence[str]) -> NewEntry:
    body: dict[str, Any] = {
        "seen": seen,  # what was written since is no part of what was answered
        "content": message.content,
        "stop": message.stop_reason,
        "usage": message.usage.model_copy(update={"steps": 1}).model_dump(mode="json", exclude_defaults=True),
        "model": message.model,
    }
    if without:
        body["without"] = list(without)
    if message.request_id:
        body["request_id"] = message.request_id
    return attempt.entry("agent.message", body, key=attempt.key, step=attempt.step.step)


def _use(attempt: _Attempt, index: int, block: Any) -> NewEntry:
    body = {"call_id": block["id"], "tool": block["name"], "args": block["input"], "index": index}
    tool = attempt.agent.tool(block["name"])
    if tool is not None and tool.idempotent:
        body["idempotent"] = True  # for whoever wonders what became of it
    step = f"{attempt.step.step}/{index}"
    return attempt.entry("agent.tool_use", body, key=f"{attempt.step.turn.turn}/{step}/use", step=step)


def _completed(attempt: _Attempt, stop: StopReason, used: Usage) -> NewEntry:
    turn = attempt.step.turn.turn
    body = {"stop": stop, "usage": used.model_dump(mode="json", exclude_defaults=True), "turn": turn}
    return attempt.entry("turn.completed", body, key=f"{turn}/end")


def _heard(text: str) -> None:
    """Nobody reads deltas yet; the model is not stuck."""
    moved()
